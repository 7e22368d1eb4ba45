# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How a run works
#
# Behind every number in this book stands a run: a method was trained, images were turned into codes, codes were
# ranked, and what came of it was written down. This chapter takes one run apart. Afterwards you can start one, choose
# its settings without fooling yourself, stop it in the middle and go on, use the network it leaves behind, and read
# what others have recorded.
#
# You need no more than a CPU. Codes and mean average precision (mAP) are those of {doc}`01_hamming_space`; the method
# is {doc}`Mu and Liu's <03_mu_liu>`, but nothing here hangs on it: every method of the book is run in the same way.
#
# | word | meaning |
# |---|---|
# | *data set* | images and their labels |
# | *protocol* | which images train, which are queries, which are searched; it has a name |
# | *method* | a way to learn codes: `fit` learns, `encode` makes codes |
# | *record* | what a run did and what came of it, in two small files |
# | *checkpoint* | the state of a run under way, from which it can go on |
# | *model* | a trained network in a folder, ready to make codes |
#
# Table: Words of this chapter.

# %%
from hashlab import (
    codes,
    data,
    experiments,
    grid,
    methods,
    metrics,
    records,
)

# %% tags=["hide-cell"]
import os
import shlex
import signal
import tempfile
import warnings
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from IPython.display import display
from PIL import Image
from scipy import stats

from hashlab import cli, plots
from hashlab.chapters import exercises, runs
from hashlab.chapters.figures import run as figures
from hashlab.chapters.tables import table
from hashlab.methods import models
from hashlab.training import checkpoints, seeds


def terminal(line):
    """Run a command `hashlab …` and print what it says; returns its exit code."""
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = cli.main(shlex.split(line)[1:])
    print(f"$ {line}\n{printed.getvalue()}", end="")
    return code


# All files of this chapter are written into a folder that is gone afterwards.
before, results = os.getcwd(), records.root().resolve()
folder = tempfile.TemporaryDirectory()
os.chdir(folder.name)

# %% [markdown]
# ## The way of an image
#
# Six steps lead from a picture to a number, and each has its place in the package. {numref}`fig:run-steps` follows one
# handwritten digit through them.

# %%
K = 12
SETTINGS = {"epochs": 6, "pretrain_epochs": 2, "batch_size": 64, "shift": 1}

digits = data.load("digits")
method = methods.create("mu_liu", K, **SETTINGS).fit(digits.train, seed=0)
query_codes = method.encode(digits.query)
database_codes = method.encode(digits.database)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six boxes from top to bottom, joined by arrows, each with the call that does it and what comes of it. Data set: an image of a digit. Protocol: the numbers of training images, queries and images to search. Fit: a network. Encode: the twelve bits of the digit as dark and light squares. Evaluate: mean average precision and more. Record: a JSON file and the codes."}, "figure": {"caption": "One digit on its way: from a data set through six steps to a record.", "name": "fig:run-steps"}}
sizes = {
    part: len(getattr(digits, part))
    for part in ("train", "query", "database")
}
counts = ", ".join(f"{part} {count:,}" for part, count in sizes.items())
steps = {
    "data set": ('data.load("digits")', digits.query.images[0]),
    "protocol": (f'protocol="{digits.protocol}"', counts),
    "fit": ("method.fit(data.train)", "a network with trained weights"),
    "encode": (
        "method.encode(data.query)",
        codes.unpack(query_codes, K)[0],
    ),
    "evaluate": (
        "metrics.evaluate(…)",
        "a Report: mAP, precision, recall, …",
    ),
    "record": (
        "experiments.run(…) does it all",
        "a .json file, and the codes as .npz",
    ),
}
ax = figures.stages(steps)

# %% [markdown]
# ## A run, step by step
#
# The cell above has done the first four steps. Let us look at what is in our hands. The *data set* has come as arrays
# of bytes, divided as its *protocol* says:

# %% tags=["hide-input"] mystnb={"table": {"caption": "The parts of the data set.", "name": "tbl:run-parts"}}
table(
    ["part", "images", "labels", "what it is for"],
    *[
        [f"`.{name}`", part.images.shape, part.labels.shape, use]
        for name, part, use in (
            ("train", digits.train, "the method learns from it"),
            (
                "validation",
                digits.validation,
                "a tenth of `.train`, to choose settings",
            ),
            ("query", digits.query, "asked once, at the end"),
            ("database", digits.database, "searched"),
        )
    ],
)

# %% [markdown]
# A protocol is a list of positions, not a random draw at run time: everybody who says `digits` means these very
# images. Its SHA-256 is part of the record.
#
# The *method* was created with the length of its codes and with the settings that differ from its defaults. `fit`
# then chose what was left open. For images of this size that means a very small network:

# %%
print("network:", method.backbone, "on images", method.shape)
print("weights:", sum(p.numel() for p in method.network.parameters()))
print("epochs: ", dict(Counter(line["phase"] for line in method.history)))

# %% mystnb={"image": {"alt": "Training loss per epoch: two epochs of pre-training and six epochs of hashing. Both fall."}, "figure": {"caption": "The loss by epoch: first of the classifier, then of the codes.", "name": "fig:run-loss"}}
ax = plots.losses(method.history)

# %% [markdown]
# {numref}`fig:run-loss` shows two *phases*, one after the other: learn to classify, then learn to hash. Within a phase the learning rate rises
# during the first tenth of the steps, the *warm-up*, and then falls as the setting `schedule` says. All images stay on the device as
# bytes; cropping, mirroring and normalising happen there, batch by batch. No worker processes wait to be fed.
#
# `encode` gives *packed* codes, eight bits to a byte and padded to whole 64-bit words. With labels they are all that
# `evaluate` wants:

# %% tags=["nbval-ignore-output"]
report = metrics.evaluate(
    query_codes,
    database_codes,
    digits.query.labels,
    digits.database.labels,
    bits=K,
)
print(
    f"query codes {query_codes.shape}, {query_codes.dtype}; mAP {report.map:.3f}"
)

# %% [markdown]
# ## The same in one call, and in one command
#
# `experiments.run` does all of this and returns a record. With the same settings and the same seed it arrives at the
# same codes, so at the same mAP, to the last digit:

# %%
record = experiments.run("mu_liu", "digits", K, seed=0, **SETTINGS)
print("same mAP:", record.map == report.map)

# %% [markdown]
# On the command line it is one line, and the record stays in a folder. (`terminal` stands for your terminal: it runs
# `hashlab` with these words and prints what the command would print.)

# %% tags=["nbval-ignore-output"]
as_words = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
command = f"hashlab run mu_liu digits --bits {K} --seeds 0 1 --root runs"
command += f" --set {as_words}"
assert terminal(command) == 0

# %% [markdown]
# Two seeds, two records. Without `--root` they go into the folder `results`, where the records of this book lie. Give
# the command once more and nothing is computed: a run whose record is there is not repeated. That makes long lists of
# runs easy to live with. Interrupted by whatever, the same command does what is missing.

# %%
files = sorted(Path("runs").rglob("*.json"))
written = [file.stat().st_mtime_ns for file in files]
with redirect_stdout(StringIO()):
    cli.main(shlex.split(command)[1:])
print(
    "files untouched:",
    [file.stat().st_mtime_ns for file in files] == written,
)
print(*files, sep="\n")

# %% [markdown]
# The name ends in a hash of what tells this run from others: method, data, protocol, bits, seed, and the settings that
# differ from the method's defaults. Two different runs never share a name. (Where a default has changed since a record
# was made, the command says so and does nothing.)
#
# (sec:run-record)=
# ## What a record holds
#
# Here is a real one, a run on the 70,000 digits of MNIST, read from `results`. {numref}`tbl:run-record` shows some of its
# fields; all of them are in the folded cell below it. Long values are cut.

# %% tags=["hide-input"] mystnb={"table": {"caption": "A record of a run on MNIST: some of its fields.", "name": "tbl:run-record"}}
full = {"protocol": "mnist-full", "method": "mu_liu", "bits": K}
full |= {"seed": 0, "variant": "defaults"}
real = max(records.load(results, **full), key=lambda one: one.started)
FEW = ["method", "dataset", "protocol", "bits", "seed", "variant"]
FEW += ["config", "map", "metrics", "seconds", "hardware", "git", "codes"]
FEW += ["digest"]
runs.fields(real, FEW)

# %% tags=["hide-cell"] mystnb={"table": {"caption": "The same record, all its fields.", "name": "tbl:run-record-all"}}
runs.fields(real)

# %% [markdown]
# Beside the JSON file lies an `.npz` file with the codes of all queries and all database images, a few bytes each. So
# a record can be questioned: whoever doubts a metric, or wants another one, computes it from the codes. `verify` looks
# at the digest first, which shows that nothing was changed since the record was written. But whoever touches up a
# record can also give it a new digest. So `verify` holds the name of the file against what the record says was run, and
# recomputes every metric from the codes; and for a few queries of each record it does so once more, with plain loops
# that have nothing in common with the fast ones. Here we also ask it about a record that has been touched up a little.

# %%
for name, array in real.codes().items():
    print(f"{name:15}", array.shape, array.dtype)
print("differs from its codes: ", records.verify(real) or "nothing")

improved = records.read(files[0])
improved["map"] = improved["metrics"]["map"] = 0.999
noticed = records.verify(improved)
print("after touching it up:   ", noticed[0].partition(":")[0])
improved["digest"] = records.digest(improved)
differences = records.verify(improved)
print("with a digest that fits:", differences[0].rpartition(",")[0])

# %% [markdown]
# On the command line, `hashlab verify` does this for all records, and `hashlab table` puts them side by side:

# %% tags=["nbval-ignore-output"]
assert terminal("hashlab table --root runs") == 0

# %% [markdown]
# (sec:run-seeds)=
# ## Seeds, and what bit-identical means
#
# A run draws random numbers for many purposes: first weights, the order of the images, their shifts. Each purpose gets
# a seed of its own, made from the run's seed and a few words by SHA-256. No two share their numbers, and a change at
# one place leaves the others as they are: a longer code, say, starts from the same backbone.

# %%
for words in (("backbone",), ("head",), ("hashing", 0), ("hashing", 1)):
    print(
        f"seed 0, {' '.join(map(str, words)):10}: {seeds.derived(0, *words)}"
    )

# %% [markdown]
# So the order of the images in epoch 7 follows from the seed, the phase and the number 7, not from what happened in
# epochs 1 to 6. That is why a run can be taken up at any step.
#
# Is the same seed the same run? Compare all weights, bit for bit:


# %%
def equal(one, other):
    """How many tensors of two networks are equal in every bit."""
    ours, theirs = one.state()[0], other.state()[0]
    same = [torch.equal(ours[name], theirs[name]) for name in ours]
    return f"{sum(same)} of {len(ours)} tensors are equal"


again = methods.create("mu_liu", K, **SETTINGS).fit(digits.train, seed=0)
other_seed = methods.create("mu_liu", K, **SETTINGS).fit(
    digits.train, seed=1
)
print("seed 0 again:", equal(method, again))
print("seed 1:      ", equal(method, other_seed))

# %% [markdown]
# (What agrees under another seed are the counters of the batch normalisation: they count steps.)
#
# *Bit-identical* is a promise under conditions: the same version of PyTorch, the same processor or GPU, the same number
# of threads. A sum of floating-point numbers depends on its order, and each of these may change the order. Then the last
# bits differ, and after some thousand steps so do the weights. Checkpoints and records write the conditions down:

# %% tags=["nbval-ignore-output"]
for name, value in checkpoints.environment().items():
    print(f"{name}: {value}")

# %% [markdown]
# On a GPU there is one condition more. Its fastest algorithms add in whatever order comes first; `--set
# deterministic=true` keeps to those that do not, at some cost.
#
# Metrics need no such care. They are computed from integer histograms, so the same codes give the same mAP, whatever
# the number of threads and with or without a GPU.
#
# (sec:run-verdict)=
# ### When is a difference more than chance?
#
# One seed is one throw of the dice, and so is one set of queries. So in this book a difference between two methods is a
# mean over at least three seeds, of pairs of runs that share one, and it has two 95 % intervals. *Over seeds*, by
# Student's t: what would other training runs give? *Over queries*, by a bootstrap: what would other queries give? (The
# same queries are drawn again and again, with replacement, for both methods and all seeds, and each time the mean
# difference of AP is taken.) A method is **above** another where both intervals lie above zero, **below** where both lie
# below, and otherwise the comparison is **open**. Open does not mean equal: an interval that holds zero holds much else.
#
# Why not two standard errors, as is often done? With few seeds the standard error is itself a guess:

# %%
chance, needed = {}, {}
for count in (3, 5, 8):
    chance[count] = 2 * stats.t.sf(2, count - 1)
    needed[count] = stats.t.ppf(0.975, count - 1)
    print(
        f"{count} seeds: two standard errors are exceeded by chance in "
        f"{chance[count]:.0%} of cases; 5 % takes {needed[count]:.2f}"
    )

# %% [markdown]
# Another trap is to look at many differences at once: of twenty that are nothing, one is expected to pass. Where many
# methods are held against one, tables give the verdict after Holm's correction, which keeps the chance of *any* false
# alarm in the table at 5 %. Each table says whether its verdicts stand by themselves or among all. The functions are
# `over_seeds`, `over_queries` and `holm` in `hashlab.metrics.uncertainty`.
#
# (sec:run-tuning)=
# ## Choosing settings: validation, not queries
#
# How many epochs? Which learning rate? Whoever tries ten settings and reports the best result on the queries reports
# how lucky the luckiest of ten was. So the queries are left alone. `tuning()` gives a data set of the same shape that
# is made from the training images only:

# %% mystnb={"table": {"caption": "The data set, and the one that settings are chosen on: images in each part.", "name": "tbl:run-tuning"}}
tuning = digits.tuning()
table(
    ["protocol", "train", "query", "database"],
    *[
        [f"`{d.protocol}`", *(len(getattr(d, k)) for k in sizes)]
        for d in (digits, tuning)
    ],
)

# %%
used = np.concatenate(
    [tuning.train.index, tuning.query.index, tuning.database.index]
)
forbidden = np.intersect1d(used, digits.query.index)
alike = np.array_equal(tuning.query.index, digits.validation.index)
print("images of tuning() that are queries:", len(forbidden))
print("its queries are the validation part:", alike)

# %% [markdown]
# `hashlab run` tries every combination of settings; commas separate the values. With `--tuning` all of them train on
# nine tenths, and none sees a query.

# %% tags=["nbval-ignore-output"]
rest = as_words.replace("epochs=6", "epochs=2,6", 1)
several = f"hashlab run mu_liu digits --bits {K} --tuning --root runs"
several += f" --set lr=0.001,0.1 {rest}"
assert terminal(several) == 0

# %% [markdown]
# How good is each? The held-out images are searched among *each other*: one half of them for the other half. Images that
# were trained on stay out of it, for a network may know them by heart, and large rates learn by heart best.

# %% tags=["nbval-ignore-output"] mystnb={"table": {"caption": "mAP of held-out images among each other.", "name": "tbl:run-trials"}}
tried = records.load("runs", protocol="digits/tuning")
graded = {
    (one.config["lr"], one.config["epochs"]): grid.unseen(one)
    for one in tried
}
chosen = max(graded, key=graded.get)
table(
    ["", "2 epochs", "6 epochs"],
    *[
        [f"rate {lr}", *(f"{graded[lr, epochs]:.3f}" for epochs in (2, 6))]
        for lr in (0.001, 0.1)
    ],
)

# %% [markdown]
# The best of them are the largest rate and the most epochs that were tried, so the next grid should go on from there:
# `hashlab grid` widens its lists by itself until the best value stands inside, a few times at most.
#
# The final run then trains on all of `.train`, with the chosen settings, and asks the queries once. Records of the two
# kinds cannot be mixed up: the protocol of a tuning run ends in `/tuning`, and `hashlab table` shows those only when
# asked with `--tuning`.
#
# (sec:run-checkpoints)=
# ## Stop, and go on
#
# Machines are needed for something else, sessions end, batteries run out. While a run trains, its state is saved once
# a minute. Here we save after every step, and press Ctrl-C at the end of the third epoch of hashing:


# %%
def ctrl_c(phase, epoch):
    """What the keyboard does, at a moment of our choice."""
    if (phase, epoch) == ("hashing", 3):
        signal.raise_signal(signal.SIGINT)


begun = methods.create("mu_liu", K, **SETTINGS)
try:
    begun.fit(
        digits.train,
        seed=0,
        each_epoch=ctrl_c,
        checkpoints="state",
        every=0,
    )
except checkpoints.Interrupted as stopped:
    print(stopped)

# %% [markdown]
# An epoch has 18 full batches of 64. The key was seen after the next step, the first one of the fourth epoch: 54 steps in
# three epochs, and one. That step was finished, the state was saved, then the run ended. (The command `hashlab run` also
# prints the line with which to go on.) What is in the file? Its name counts files from 0, and the 36 steps of two epochs
# of pre-training were saved before. The position counts phases, epochs and steps that are done:

# %%
newest = sorted(Path("state").iterdir())[-1]
tensors, facts = checkpoints.unpack(newest.read_bytes(), "checkpoint")
print(
    "tensors:",
    dict(sorted(Counter(name.split("/")[0] for name in tensors).items())),
)
print("position, as phase, epoch and step:", facts["position"])
print("and:", ", ".join(facts))

# %% [markdown]
# Weights (those of the classifier of the pre-training too), what the optimiser remembers, the state of the random
# number generator, the losses of the epoch so far; and which run it belongs to. Now a new object that knows nothing,
# with the same settings, the same seed and the same folder:

# %%
resumed = methods.create("mu_liu", K, **SETTINGS)
resumed.fit(digits.train, seed=0, checkpoints="state")
print("never stopped, and stopped:", equal(method, resumed))
losses = [
    [line["loss"] for line in learner.history]
    for learner in (method, resumed)
]
print("losses of all epochs equal:", losses[0] == losses[1])

# %% [markdown]
# Bit for bit the same network. Ctrl-C is the friendly case; the package's tests kill runs at twenty random moments,
# also in the middle of writing a checkpoint, and ask for the same. A checkpoint is written beside its place and then
# renamed, so it is there whole or not at all, and it carries a digest of its content. The newest two are kept. If one
# is damaged all the same, the one before it is used:

# %%
damaged = sorted(Path("state").iterdir())[-1]
content = bytearray(damaged.read_bytes())
content[-1] ^= 1  # a single bit
damaged.write_bytes(content)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    mended = methods.create("mu_liu", K, **SETTINGS)
    mended.fit(digits.train, seed=0, checkpoints="state")
print("warning:", said[0].message)
print("weights:", equal(method, mended))

# %% [markdown]
# With `experiments.run(…, save=True)` and with `hashlab run` all this happens by itself: checkpoints are kept beside
# the records while a run lasts and removed when it is done. `--no-resume` begins anew.
#
# (sec:run-shared)=
# ## Several runs in one pass
#
# Runs often have work in common. The pre-training above does not know how long the codes will be, so runs that differ
# only in the code length do it once. `hashlab run` with several `--bits` shares what can be shared; in Python it is
# `plan`. A table of a paper takes hundreds of runs: they stand in a file (`experiments/*.toml`), with the values that a
# search may choose from, and `hashlab grid FILE` does those that are missing, in several processes if you like.

# %%
LENGTHS = (8, 12, 16, 24)
plan = experiments.plan(["mu_liu"], digits, LENGTHS, variants=[SETTINGS])
together = [run() for run in plan]

# %% mystnb={"image": {"alt": "Four rows of eight squares, one row for each code length and one square for each epoch. The two squares of pre-training are filled in the first row and hollow in the other three; the six squares of hashing are filled everywhere."}, "figure": {"caption": "Epochs of four runs in one pass. Hollow squares are epochs that were taken over.", "name": "fig:run-shared"}}
ax = figures.epochs_done(
    {f"{one.bits} bits": one.history for one in together}
)

# %% [markdown]
# Pre-training was done once ({numref}`fig:run-shared`). The results are those of separate runs:

# %%
trained = sum(
    not line.get("shared") for one in together for line in one.history
)
print(
    "epochs trained:",
    trained,
    "of",
    sum(len(one.history) for one in together),
)
print("12 bits, same mAP as alone:", together[1].map == record.map)

# %% [markdown]
# With pretrained weights and `frozen=true`, where the backbone stays as it is, more is shared: its features are
# computed once, for all code lengths, seeds and methods. The seconds of a record are honest about pre-training: epochs
# that were taken over count with the time they took.
#
# (sec:run-model)=
# ## Keeping a model, and encoding a folder
#
# A trained network is worth keeping. `--save-model FOLDER` keeps it, or `save` in Python:

# %%
about = {"dataset": digits.name, "protocol": digits.protocol, "seed": 0}
place = method.save("model", about)
print(*sorted(file.name for file in place.iterdir()))
print((place / "README.md").read_text().split("\n\nEncode")[0])

# %% [markdown]
# Weights as safetensors, settings as JSON, a card for people. Nothing in it is executed when it is loaded. Now a folder
# of pictures. We make one from ten queries, as PNG files in two subfolders, and add a file that is no picture, as every
# real folder has one:

# %%
names = [f"{'ab'[row % 2]}/{row}.png" for row in range(10)]
for name, image in zip(names, digits.query.images, strict=False):
    file = Path("pictures") / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)
Path("pictures/b/empty.jpg").touch()

strict = terminal("hashlab encode model pictures -o codes.npz")
lenient = terminal(
    "hashlab encode model pictures -o codes.npz --skip-broken"
)
print("exit codes:", strict, lenient)

# %% [markdown]
# Asked plainly, the command refuses, names the file, and writes nothing. With `--skip-broken` it leaves the file out
# and says so. Pictures of other sizes, colour, grey, transparent or turned by the camera would have been brought into
# the form that the network was trained on. In the file are names and codes, and with them a search is two lines:

# %%
with np.load("codes.npz") as stored:
    found_names, packed = stored["names"], codes.pad(stored["codes"], K)
rows = [
    names.index(name) for name in found_names
]  # which queries they were
print("names:", *found_names[:3], "…")
print(
    "as encoded from the arrays:", np.array_equal(packed, query_codes[rows])
)

distances = codes.hamming(packed[:1], database_codes)[0]  # (1497,)
nearest = np.argsort(distances, kind="stable")[:5]
shown = digits.query.labels[rows[0]]
print(
    f"{found_names[0]} shows a {shown}; nearest:",
    *digits.database.labels[nearest],
)

# %% [markdown]
# One warning, which holds for every learned code: the network knows the kind of images it was trained on. It gives
# codes for holiday photos too, and they mean nothing.
#
# (sec:run-machines)=
# ## A CPU, a borrowed GPU, a big GPU
#
# The same command runs everywhere; `--device` is `cuda` where there is one and `cpu` elsewhere. A few settings decide
# how well a machine is used. (`hashlab methods mu_liu` lists all settings with their defaults.)

# %% tags=["hide-input"] mystnb={"table": {"caption": "Settings that decide how well a machine is used.", "name": "tbl:run-machine"}}
USE = {
    "precision": "bfloat16 or float32; `auto` is bfloat16 on GPUs that have arithmetic for it. Weights and losses are float32 always",
    "compiler": "`inductor` is torch.compile, `graphs` are CUDA graphs: a slow start, then faster. For long runs on a GPU",
    "batch_size": "larger ones keep a large GPU busy; the learning rate has to follow",
    "resident_mb": "images of up to this many MiB stay on the device, larger sets are read batch by batch",
    "deterministic": "on CUDA the same bits every time, at some cost; a CPU does not need it",
}
defaults = methods.create("mu_liu", K).config
table(
    ["setting", "default", "what it does"],
    *[[f"`{k}`", f"`{getattr(defaults, k)}`", v] for k, v in USE.items()],
)

# %% [markdown]
# **A laptop's CPU.** Good for `digits`, for MNIST, and for small networks on 32-pixel images. The number of threads is
# not a setting but a variable of the environment:
#
# ```
# OMP_NUM_THREADS=1 hashlab run mu_liu mnist --bits 12 --seeds 0
# OMP_NUM_THREADS=1 hashlab run mu_liu mnist --bits 12 --seeds 1
# ```
#
# Start the second in another terminal (in PowerShell the variable is a command before it: `$env:OMP_NUM_THREADS = 1`). Small networks leave little to divide, so two runs side by side, with one thread
# each, often get more done than one run with two threads; [exercise 4](#sec:run-exercise-4) measures what a second
# thread brings to one run. Whatever you choose, keep it: with another number of threads the last bits change.
#
# **A GPU on Colab.** Choose *Runtime, Change runtime type* and a GPU. Install hashlab (in a published copy of this book, a
# button at the top of each chapter opens it on Colab, and its first cell does that; else it is `!git clone` with the
# address of the repository and `!pip install` with the folder). Then mount your Drive (*Files* on the left), and keep the
# records there, where they outlive the session. In a cell, a command of the shell has `!` before it:
#
# ```
# !hashlab data fetch cifar10
# !hashlab run mu_liu cifar10 --bits 12 24 48 --root /content/drive/MyDrive/runs
# ```
#
# Checkpoints lie below `--root` as well, so when the session is taken from you, the same command goes on in the next
# one. Older GPUs such as the T4 have no hardware for bfloat16; there the run takes float32 by itself.
#
# **A big GPU.** Small images and small networks cannot keep it busy at a batch of 128. The time then goes into
# starting thousands of tiny tasks, which is what the two compilers save:
#
# ```
# hashlab run mu_liu cifar10 --bits 48 \
#     --set backbone=resnet9 compiler=graphs batch_size=512
# ```
#
# Mind that settings are part of a result. Another batch size or precision is another line in every table, and one has
# to say which it was; the record does.
#
# (sec:run-errors)=
# ## When something is wrong
#
# Whatever can be known before a run starts is checked before it starts, and the message says what was expected and
# what came. On the command line that is one line and exit code 2. A small collection:


# %% tags=["hide-input"] mystnb={"table": {"caption": "Mistakes, and what is said of them.", "name": "tbl:run-errors"}}
def run(name="digits", bits=K, **settings):
    """A run with some settings, not yet started."""
    return lambda: experiments.run(
        "mu_liu", name, bits, **SETTINGS | settings
    )


Path("empty").mkdir()
attempts = {
    "a data set that was not fetched": lambda: data.load(
        "mnist", root="nowhere"
    ),
    "a protocol of another set": lambda: data.load(
        "digits", protocol="mnist-full"
    ),
    "images with several labels": run("digit_scenes"),
    "a code without bits": run(bits=0),
    "a setting of the wrong type": run(epochs=2.5),
    "a batch larger than the set": run(batch_size=5000),
    "a network for larger images": run(backbone="alexnet"),
    "weights that are not there": run(
        backbone="resnet18", size=64, weights="mine.safetensors"
    ),
    "codes before training": lambda: methods.create("mu_liu", K).encode(
        digits.query
    ),
    "a checkpoint of another run": lambda: methods.create(
        "mu_liu", K, **SETTINGS
    ).fit(digits.train, seed=1, checkpoints="state"),
    "a folder that holds no model": lambda: methods.load("empty"),
    "a folder without images": lambda: models.encode_folder(
        methods.load("model"), "empty", "codes.npz"
    ),
    "a learning rate far too high": run(pretrain_lr=1e20),
}
found = {name: runs.message(attempt) for name, attempt in attempts.items()}
table(
    ["mistake", "message"], *[[name, text] for name, text in found.items()]
)

# %% [markdown]
# The last one could not be known beforehand. A loss that is not a number ends the run, the message names the step, and
# what is lost is never saved into a checkpoint. Memory that runs out ends a run as well; that message names the setting
# to lower. Where several runs were asked for, the others still take place.
#
# (sec:run-cost)=
# ## What it costs
#
# Every record holds the seconds of its steps, so what follows is made from the folder `results`: the first runs of
# {doc}`Mu and Liu's method <03_mu_liu>`, grouped by what they did and on what. Where a group has several runs, the median
# stands first and the range behind it. It is not certain that any of them had its machine to itself, as the ranges show. Later runs
# did not, and those on a GPU shared the card, so their seconds on the clock are left out; they record
# `cpu_seconds`, too.

# %% tags=["hide-input"] mystnb={"table": {"caption": "What runs cost, machine by machine: median, and range where a group has several runs.", "name": "tbl:run-costs"}}
machines = runs.machines(records.load(results))
for name, alone in machines.items():
    print(name)
    display(runs.costs(alone))

# %% tags=["hide-input"]
print("runs in the table:", sum(map(len, machines.values())))

# %% [markdown]
# Read ranges with care. One and the same work takes longer when the machine has something else to do, and nobody writes
# down what else a machine did. The first evaluation after the package was installed also translates the code that counts
# distances into machine code, which is then kept. Ratios are sturdier. The script `benchmarks/train.py` lets the training
# loop and its rivals, a bare loop and the usual pipeline of PIL images and worker processes, take turns in one run:
#
# ```
# python benchmarks/train.py                  # on a CPU
# python benchmarks/train.py --device cuda    # on a GPU
# ```
#
# The second command measures the same ratios on a GPU, and then the seconds of two whole runs, with each of the
# compilers. It needs CIFAR-10 in the cache (`hashlab data fetch cifar10`).
#
# ## What we learned
#
# - A run is six steps, one call, or one command; same settings and same seed, same bits, under conditions that the
#   record names.
# - A record holds settings, data, software, hardware, times and codes. Its metrics can be computed again by anybody.
# - Settings are chosen on `tuning()`. The queries are asked once.
# - A run can be stopped anywhere and goes on to the same weights. A finished run is not repeated.
# - Runs that share work share its cost, and their results stay as they were.
#
# ## Exercises
#
# ### Exercise 1: the bill
# You want codes of 12, 24, 32 and 48 bits with three seeds each, with 3 epochs of pre-training and 12 of hashing. How
# many epochs are trained in separate runs, and how many in one pass?
#
# <details class="solution"><summary>Solution</summary>
#
# Separately $4 \cdot 3 \cdot (3 + 12) = 180$. In one pass each seed pre-trains once: $3 \cdot 3 + 4 \cdot 3 \cdot 12 =
# 153$.
#
# </details>
#
# ### Exercise 2: too large for the device
# With `resident_mb=0` no image stays on the device; every batch is read from the array anew. Which bits of the weights
# change?
#
# <details class="solution"><summary>Solution</summary>
#
# None. Order and shifts are drawn in the same way, and the same images arrive at the network. The folded cell below
# compares the weights.
#
# </details>
#
# ### Exercise 3: the same beginning
# A colleague claims that networks for 12 and for 24 bits with the same seed cannot be compared, as they start from
# different weights. Check it with `epochs=0` and `pretrain_epochs=0`.
#
# <details class="solution"><summary>Solution</summary>
#
# The backbones are equal in every bit. Their seed is made from the run's seed and the word "backbone"; the code length
# plays no part in it. Only the last layers differ: they have different shapes. The folded cell compares them.
#
# </details>
#
# (sec:run-exercise-4)=
# ### Exercise 4: threads
# Does a second thread help on your machine? Measure `fit` on `digits` with one thread and with two
# (`torch.set_num_threads`). Then think of a run for which the answer might be another one.
#
# <details class="solution"><summary>Solution</summary>
#
# The folded cell measures it. For this tiny network there is little to divide, and dividing it costs time too. A larger network on larger images, such as ResNet-18 at 224 pixels, has enough work in
# each step to keep several threads busy.
#
# </details>


# %% tags=["hide-cell", "nbval-ignore-output"] jupyter={"source_hidden": true}
def seconds(threads):
    """Seconds of an epoch on a few images, after one to warm up."""
    torch.set_num_threads(threads)
    short_run = SETTINGS | {"epochs": 2, "pretrain_epochs": 0}
    few = digits.train.pool.part(digits.train.index[::8])  # 150 images
    return (
        methods.create("mu_liu", K, **short_run)
        .fit(few)
        .history[1]["seconds"]
    )


usual = torch.get_num_threads()
for threads in (1, 2):
    print(
        f"exercise 4: {threads} thread(s), {seconds(threads):.3f} s for an epoch of 150 images"
    )
torch.set_num_threads(usual)

# %% tags=["hide-cell"] jupyter={"source_hidden": true}
streamed = methods.create("mu_liu", K, **SETTINGS, resident_mb=0).fit(
    digits.train, seed=0
)
print("exercise 2:", equal(method, streamed))

start = {
    bits: methods.create("mu_liu", bits, epochs=0, pretrain_epochs=0)
    .fit(digits.train)
    .network.backbone.state_dict()
    for bits in (12, 24)
}
same = sum(
    torch.equal(tensor, start[24][name])
    for name, tensor in start[12].items()
)
print(
    f"exercise 3: {same} of {len(start[12])} tensors of the backbones are equal"
)

# %% [markdown]
# ### Exercise 5: the bill, in code
# Write the count of exercise 1 for any number of code lengths and seeds. Return two
# numbers: epochs trained separately, and in one pass.


# %%
def epochs_trained(lengths, seeds, pretraining, hashing):
    # your lines: how many lengths, seeds, and epochs of each phase
    ...


BILLS = [((4, 3, 3, 12), (180, 153)), ((1, 5, 2, 6), (40, 40))]
exercises.check(epochs_trained, *BILLS)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def epochs_trained(lengths, seeds, pretraining, hashing):
    separately = lengths * seeds * (pretraining + hashing)
    return separately, seeds * (pretraining + lengths * hashing)


exercises.check(epochs_trained, *BILLS, required=True)

# %% [markdown]
# ### Exercise 6: half of the images for the other half
# Write what grades a trial: of codes and labels of held-out images, those at even places are searched for those at odd
# places, and the other way round; the grade is the mean of both mAPs. `metrics.evaluate` does the rest.


# %%
def grade(packed, labels, bits):
    # your lines; packed: codes as `encode` gives them
    ...


TRIALS = []
for one in tried:
    stored = one.codes()
    held_out = (stored["query_codes"], stored["query_labels"], K)
    TRIALS.append((held_out, grid.unseen(one)))
exercises.check(grade, *TRIALS)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def grade(packed, labels, bits):
    even = np.arange(len(labels)) % 2 == 0
    maps = [
        metrics.evaluate(
            packed[one], packed[~one], labels[one], labels[~one], bits=bits
        ).map
        for one in (even, ~even)
    ]
    return sum(maps) / 2


exercises.check(grade, *TRIALS, required=True)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %% tags=["hide-input"]
# The run: it learned, and call, command and single steps agree
assert (
    report.map > 0.9
    and report.map == record.map == records.read(files[0]).map
)
hashing = [
    line["loss"] for line in method.history if line["phase"] == "hashing"
]
assert hashing[-1] < 0.8 * hashing[0]
assert (
    sizes == {"train": 1200, "query": 300, "database": 1497}
    and len(digits.validation) == 120
)
assert len(files) == 2 and len({file.stem for file in files}) == 2
assert records.read(files[0]).map != records.read(files[1]).map

# Records: every field explained, metrics follow from codes, touching up is found out
assert {*real, *record} <= set(runs.FIELDS)
assert records.verify(real) == [] and all(
    records.verify(records.read(file)) == [] for file in files
)
assert len(noticed) == 1 and noticed[0].startswith(
    "changed since it was written: digest"
)
assert differences == [f"map: 0.999 recorded, {report.map} recomputed"]

# Seeds, and tuning
count = len(method.state()[0])
every_tensor = f"{count} of {count} tensors are equal"
assert equal(method, again) == every_tensor != equal(method, other_seed)
others = other_seed.state()[0]
agreeing = {
    name
    for name, tensor in method.state()[0].items()
    if torch.equal(tensor, others[name])
}
assert agreeing and all(
    name.endswith("num_batches_tracked") for name in agreeing
)
assert (
    not np.isin(used, digits.query.index).any()
    and tuning.protocol == "digits/tuning"
)
assert len(tried) == len(graded) == 4 and chosen == (0.1, 6)

# Checkpoints: it was stopped early, and ends where the run ended that was never stopped
assert facts["position"] == [1, 3, 1] and facts["identity"]["seed"] == 0
assert (
    len(digits.train) // 64 == 18
    and int(newest.stem) == 2 * 18 + 3 * 18 + 1 - 1
)
assert {name.split("/")[0] for name in tensors} == {
    "weights",
    "optimiser",
    "generator",
    "losses",
}
assert equal(method, resumed) == equal(method, mended) == every_tensor
assert (
    len(said) == 1
    and "damaged" in str(said[0].message)
    and losses[0] == losses[1]
)

# One pass, models, folders
assert trained == 2 + 4 * 6 and together[1].map == record.map
assert (strict, lenient) == (2, 0) and sorted(names) == list(found_names)
assert np.array_equal(packed, query_codes[rows])
assert np.array_equal(
    methods.load("model").encode(digits.query), query_codes
)
assert (digits.database.labels[nearest] == shown).all()

# Two standard errors of three seeds
assert 0.18 < chance[3] < 0.19 and max(chance, key=chance.get) == 3
assert needed[3] > 4 > needed[5] > needed[8] > 2

# Settings, errors, costs, exercises
assert set(USE) <= set(vars(defaults)) and defaults.batch_size == 128
assert (
    len(found) == 13
    and "another run" in found["a checkpoint of another run"]
)
assert found["a learning rate far too high"].startswith(
    "pre-training: the loss is"
)
assert machines and all(
    one.seconds["train"] > 0 for group in machines.values() for one in group
)
for text in (
    "precision=float32",
    "backbone=resnet9 compiler=graphs batch_size=512",
):
    methods.create("mu_liu", K, **cli.settings(text.split()))
assert 4 * 3 * (3 + 12) == 180 and 3 * 3 + 4 * 3 * 12 == 153
assert equal(method, streamed) == every_tensor and same == len(start[12])

os.chdir(before)
folder.cleanup()
print("every claim holds")
