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
# # What does mAP mean?
#
# Two papers test on the same images. One reports a mean average precision (mAP) of 0.80, the other 0.75. Is the first
# method better? Often one cannot tell, because mAP is the name of many numbers. {numref}`fig:map-ladder` shows sixteen
# of them. All sixteen grade the *same ranking*: not one bit differs between the rows. Each row follows a definition that
# published programs use.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One ranking, sixteen grades. A dot is the mAP expected over ties, the line through it runs from the worst to the best order of ties. The dashed line marks the whole ranking.", "name": "fig:map-ladder"}, "image": {"alt": "Sixteen rows, each a published definition of mAP, sorted by the value it gives to one and the same ranking, the highest on top. The highest stands above one half, the lowest near zero, and the whole ranking lies between. The longest lines from worst to best order of ties belong to rankings cut after 100 images."}}
import numpy as np

from hashlab import metrics, plots, records
from hashlab.errors import InputError

LENGTHS = (12, 16, 24, 32, 48, 64)
RUN = {
    "protocol": "cifar10-59k",
    "method": "mu_liu",
    "seed": 0,
    "backbone": "lenet",
}


def recorded(bits):
    """The one record of this chapter's run with codes of so many bits."""
    alike = records.load(**RUN, bits=bits)
    if len(alike) != 1:
        wanted = f"one record of {RUN} with {bits} bits expected"
        raise InputError(
            f"{wanted} in {records.root()}, found {len(alike)}"
        )
    return alike[0]


runs = {bits: recorded(bits) for bits in LENGTHS}
if len({run.variant for run in runs.values()}) > 1:
    raise InputError(
        f"equal settings expected at all lengths, got {[run.variant for run in runs.values()]}"
    )
stored = {bits: run.codes() for bits, run in runs.items()}
truth, labels = (
    stored[48][name] for name in ("query_labels", "database_labels")
)  # (Q,), (N,)


def evaluate(bits, **choices):
    """The report on the recorded codes of so many bits."""
    arrays = (
        stored[bits][name] for name in ("query_codes", "database_codes")
    )
    return metrics.evaluate(*arrays, truth, labels, bits=bits, **choices)


CUTS = (None, 5000, 1000, 100)
WORDS = {
    "min_k_r": "over min(n, R)",
    "all_relevant": "over R",
    "hits_in_topk": "over hits",
    "hits_in_topk_drop": "over hits, or dropped",
    "map_at_r": "first R, over R",
    "step_integral": "all, ties enter together",
    "trapezoid_radius": "all, area by radius",
}


def ladder_rows(score):
    """score(convention, n) of every definition that differs from the others, by its name in words."""
    cut = [name for name in WORDS if metrics.CONVENTIONS[name].cut]
    rows = {
        f"first {n:,}, {WORDS[name]}": score(name, n)
        for n in CUTS[1:]
        for name in cut
    }
    rows |= {
        WORDS[name]: score(name, None) for name in WORDS if name not in cut
    }
    return rows | {"all": score("min_k_r", None)}


# `asymmetric` needs the real outputs of the network, which a record does not keep.
NAMES = [name for name in metrics.conventions() if name != "asymmetric"]
scored = {
    (name, n): evaluate(48, convention=name, at=n)
    for name in NAMES
    for n in (CUTS if metrics.CONVENTIONS[name].cut else CUTS[:1])
}


def three(name, n):
    graded = scored[name, n]
    return graded.map_worst, graded.map, graded.map_best


ladder = ladder_rows(three)
ax = plots.ladder(ladder, "mAP of the same 48-bit codes", stress="all")

# %% [markdown]
# "First 100" grades nothing but the first 100 images; the word after "over" names what is divided by. The next section
# explains both. And the definition is not all. Papers also break ties in different ways, search other images, or choose
# the training epoch with knowledge of the answer. In this chapter we take codes, leave them as they are, and watch the
# grade move. You will see which choices move it, by how much, and in which direction. At the end there is a list of what
# a result has to say so that others can stand beside it.
#
# You should know what average precision (AP) is and why ties matter; {doc}`01_hamming_space` explains both with seven
# cats and dogs. Its letters stay, but for ranks: $n$ is now the rank at which a ranking is cut off, and $i$ counts the
# ranks up to it.
#
# ## Where the definitions part
#
# The codes of the figure come from a recorded run: 48-bit codes of one method, {doc}`Mu and Liu <03_mu_liu>`, for
# CIFAR-10, photographs of ten kinds of things. The protocol is called `cifar10-59k`: it asks 100 images of each class as
# queries and searches all the others. This is what `hashlab` says of them, over the whole ranking:

# %%
from hashlab import metrics

report = metrics.evaluate(
    stored[48]["query_codes"],  # packed, (Q, 8)
    stored[48]["database_codes"],  # (N, 8)
    truth,
    labels,
    bits=48,
)
R = np.bincount(labels)[truth]  # relevant images of each query, (Q,)
print(len(truth), "queries,", len(labels), "images in the database")
print("relevant to a query:", *sorted(set(R.tolist())))
print(f"worst mAP    {report.map_worst:.4f}")
print(f"expected mAP {report.map:.4f}")
print(f"best mAP     {report.map_best:.4f}")

# %% [markdown]
# The network is small and has seen few images. That does not matter here: we are not going to improve the codes, only
# the *grade*.
#
# With the whole ranking in hand, AP is the mean precision at the relevant ranks,
#
# $$ \mathrm{AP} = \frac1R \sum_{i=1}^{N} \mathrm{rel}_i\, P(i), $$ (eq:map-ap)
#
# and nobody disagrees. The trouble starts when the ranking is cut off at a rank $n < N$, which is natural (who looks at
# image 40,000?) and saves time. The sum stops at $n$, and what used to be $R$ becomes a matter of taste:
#
# $$
# \begin{aligned}
# \mathrm{AP}@n &= \frac{1}{\text{divisor}} \sum_{i=1}^{n} \mathrm{rel}_i\, P(i), \\[1ex]
# \text{divisor} &= \begin{cases} R, \\ \min(n, R), \\ \text{hits within } n. \end{cases}
# \end{aligned}
# $$ (eq:map-at-k)
#
# - Division by $R$ punishes the cut: no ranking can score more than $n / R$.
# - Division by $\min(n, R)$ asks what is the best that $n$ places could hold, so 1 can be reached.
# - Division by the hits asks only about images that were retrieved. What was missed costs nothing.
#
# Take a query with ten relevant images, cut at $n = 3$. One program answers hit, miss, hit: the sum is
# $1 + \tfrac23$, and the three divisors give $\tfrac16$, $\tfrac59$ and $\tfrac56$. Another answers hit, miss, miss: the
# sum is 1, and they give $\tfrac1{10}$, $\tfrac13$ and $1$. By the hits, the answer with *one* hit is better than the
# answer with two. If a query hits *nothing* within $n$, that divisor is 0. Some programs count 0, others drop the query,
# and the mean over queries no longer means "all queries".
#
# `hashlab` has each of these definitions under a name, and knows which published code computes it:

# %%
# evaluate(48, …) is the call above, with more arguments
for rule in ("all_relevant", "min_k_r", "hits_in_topk"):
    graded = evaluate(48, convention=rule, at=1000)  # n = 1000
    print(f"{rule:13} mAP@1000 = {graded.map:.4f}")

# %% [markdown]
# The folded tables list all names with what they compute and who uses them ({numref}`tbl:map-definitions`), and what
# they give for our codes ({numref}`tbl:map-values`).

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "The definitions and who uses them", "table": {"caption": "Published definitions of mAP. The cut-off that we call n is k in these words.", "name": "tbl:map-definitions"}}
from hashlab.chapters.tables import table

table(
    ["convention", "mAP is the mean of", "used by"],
    *(
        [
            f"`{name}`",
            metrics.CONVENTIONS[name].definition,
            metrics.CONVENTIONS[name].users,
        ]
        for name in NAMES
    ),
)


# %% tags=["hide-cell"] mystnb={"code_prompt_show": "The same ranking under all of them", "table": {"caption": "Every number is the mAP of the same ranking.", "name": "tbl:map-values"}}
def cells(name):
    """A convention's grades at every cut; the last column is for the one that cuts each ranking at its own R."""
    grades = [
        f"{scored[name, n].map:.4f}" if (name, n) in scored else ""
        for n in CUTS
    ]
    own = name == "map_at_r"
    return [*[""] * len(CUTS), grades[0]] if own else [*grades, ""]


heads = ("all ranks" if n is None else f"n = {n:,}" for n in CUTS)
table(
    ["convention", *heads, "n = R"],
    *([f"`{name}`", *cells(name)] for name in NAMES),
)

# %% [markdown]
# Three things to take from the ladder.
#
# **Only the whole ranking is common ground.** Without a cut, the definitions that average precisions agree to the last
# digit. The other two treat ties, or the curve between two radii, in ways of their own and come close. So a mAP over
# *all* ranks can be compared, up to ties. A mAP@1000 cannot, until its divisor is named.
#
# **Dividing by the hits rewards a short look.** The far end of a ranking is its worst part, and with this divisor it is
# forgiven. Every cut of ours scores above the whole ranking. With the other two divisors, every cut scores below.
#
# **There is no exchange rate.** Nothing turns one of these numbers into another, because each looks at another part of
# the ranking. They even disagree about who is better. Here are our codes of 48 and of 64 bits:

# %% tags=["hide-input"]
RIVALS = (48, 64)
duel = ladder_rows(
    lambda name, n: [
        scored[name, n],
        evaluate(64, convention=name, at=n),
    ]
)
won = [
    RIVALS[np.argmax([graded.map for graded in pair])]
    for pair in duel.values()
]


def standard_errors(one, other):
    """Mean difference of AP over the queries that both grade, in standard errors of it; None if there are none."""
    gap = one.ap - other.ap
    gap = gap[np.isfinite(gap)]
    if not len(gap):  # the area by radius pools queries and grades none
        return None
    return abs(gap.mean()) / gap.std(ddof=1) * len(gap) ** 0.5


noise = [standard_errors(*pair) for pair in duel.values()]
noise = [value for value in noise if value is not None]
print(
    f"48 bits win by {won.count(48)} definitions, 64 bits by {won.count(64)}"
)
print(
    f"the clearest win: {max(noise):.2f} standard errors over the queries"
)

# %% [markdown]
# No winner is significant: a difference under two standard errors is easily luck with the queries. But a table of mAP
# without error bars prints a winner all the same, and the definition decides which.
#
# ## How much is left to ties
#
# The lines in the ladder are the room that ties leave. How wide is it for the whole ranking, and what does the length
# of the codes do to it? There is a recorded run for every length, all with the same settings and the same seed;
# {numref}`fig:map-ties` shows them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "mAP of the whole ranking by code length: the line is expected, the band runs from the worst to the best order of ties. The vertical axis does not start at 0.", "name": "fig:map-ties"}, "image": {"alt": "mAP against code length from 12 to 64 bits. The expected mAP rises a little, though not at every step. Around it a shaded band from the worst to the best order of ties is wide at 12 bits and narrows steadily towards 64 bits."}}
worst, expected, best = (
    np.array([getattr(evaluate(bits), name) for bits in LENGTHS])
    for name in ("map_worst", "map", "map_best")
)
ax = plots.against_bits(
    LENGTHS,
    {"expected": expected},
    "mAP, whole ranking",
    band={
        "relevant last in every tie": worst,
        "relevant first in every tie": best,
    },
)
_ = ax.set_ylim(worst.min() - 0.04, best.max() + 0.04)

# %% tags=["hide-input"] mystnb={"table": {"caption": "The band of the figure in numbers.", "name": "tbl:map-ties"}}
rows = zip(LENGTHS, worst, expected, best, best - worst, strict=True)
print(
    f"expected mAP rises by {expected.max() - expected[0]:.3f} from 12 bits to the best length"
)
table(
    ["bits", "worst", "expected", "best", "width of the band"],
    *([K, *(f"{value:.3f}" for value in row)] for K, *row in rows),
)

# %% [markdown]
# Look at the last column of {numref}`tbl:map-ties`, then at the line above it. At 12 bits, the order of ties alone can
# move mAP further than all the longer codes do.
#
# ## A database stored class by class
#
# What do programs do with ties in practice? This is the loop of most published hashing code: distances, `argsort`,
# precision at the hits.

# %%
from hashlab import codes


def ap_by_loop(queries, database, truth, labels, kind=None):
    """AP of every query by sorting, as most programs do it, (Q,)."""
    aps = []
    for code, label in zip(queries, truth, strict=True):
        distance = codes.hamming(code[None], database)[0]  # (N,)
        ranking = np.argsort(distance, kind=kind)
        ranks = 1 + np.flatnonzero(labels[ranking] == label)  # of hits
        aps.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
    return np.array(aps)


# %% [markdown]
# `argsort` must put ties into *some* order. A stable sort keeps the order in which the database is stored. The default
# sort of NumPy promises nothing; its order of ties comes out of the algorithm, and depends on the library, the number
# type and even the processor.
#
# And how are databases stored? Often class by class: two widely used programs, DeepHash-pytorch and OrthoHash, join the
# classes of their CIFAR-10 database one after the other. OrthoHash's
# [notes](https://github.com/kamwoh/orthohash#database-shuffling) even list shuffling the database among the tricks that
# raise mAP.
#
# So let us store ours in three ways and run the loop. Every fifth query will do, with 12-bit codes. Nothing changes but
# the order of the images.

# %%
some = slice(None, None, 5)
asked, wanted = stored[12]["query_codes"][some], truth[some]
searched = stored[12]["database_codes"]
storages = {
    "first class first": np.argsort(labels, kind="stable"),
    "last class first": np.argsort(-labels.astype(int), kind="stable"),
    "shuffled": np.random.default_rng(0).permutation(len(labels)),
}
fair = metrics.evaluate(asked, searched, wanted, labels, bits=12)
print(f"expected over all orders of ties: mAP {fair.map:.4f}")

looped = {}
for name, order in storages.items():
    stored_so = searched[order], wanted, labels[order]
    ap = looped[name] = ap_by_loop(asked, *stored_so, kind="stable")
    off = ap.mean() - fair.map
    print(f"{name:18} mAP {ap.mean():.4f}, off by {off:+.4f}")

# %% [markdown]
# Up to about a hundredth, from nothing but storage. And the mean hides the worse half of it. {numref}`fig:map-storage`
# shows the same shift class by class: how much higher or lower the loop grades the queries of a class than it should.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The class that is stored first wins every tie, the one stored last loses every tie.", "name": "fig:map-storage"}, "image": {"alt": "Shift of average precision per class of CIFAR-10 for three ways to store the database. Stored with the first class first, the line falls from a clear gain for airplanes to a clear loss for trucks; stored with the last class first, it rises the other way, so that the two lines cross in the middle. Shuffled, it stays at zero."}}
from hashlab import data

kinds = data.info("cifar10").classes
shifts = {
    name: [
        np.mean((ap - fair.ap)[wanted == number])
        for number in range(len(kinds))
    ]
    for name, ap in looped.items()
}
shapes = {
    name: (range(len(kinds)), shift) for name, shift in shifts.items()
}
ax = plots.curves(
    shapes,
    "class, in the order of its number",
    "AP by sorting − expected AP",
)
ax.axhline(0, color="0.7", lw=1, zorder=0)
_ = ax.set_xticks(range(len(kinds)), kinds, rotation=45, ha="right")

# %% [markdown]
# Turn the storage around, and winners and losers change places. In the mean most of it cancels; in a table of mAP per
# class, or with classes of unequal size, it does not. Shuffling takes the bias away and leaves a little noise, and so
# one more thing to seed. The closed form from {doc}`01_hamming_space` needs neither.
#
# And the default sort, whose order of ties is not defined? The folded cell runs it on this machine; the numbers may
# differ on yours, which is the point. It also says how long a query takes. (`hashlab` is compiled when it is first
# called. That was done above and is not counted.)

# %% tags=["nbval-ignore-output", "hide-input"]
from time import perf_counter


def per_query(work, count):
    """The result of work, and how long it took in milliseconds for each of so many queries."""
    start = perf_counter()
    result = work()
    return result, 1000 * (perf_counter() - start) / count


for name, order in storages.items():
    stored_so = asked, searched[order], wanted, labels[order]
    ap, took = per_query(
        lambda args=stored_so: ap_by_loop(*args), len(asked)
    )
    off = ap.mean() - fair.map
    print(
        f"default sort, {name:18} off by {off:+.4f}   {took:.2f} ms a query"
    )
again, took = per_query(
    lambda: metrics.evaluate(asked, searched, wanted, labels, bits=12),
    len(asked),
)
off = again.map - fair.map
print(
    f"{'hashlab, of any storage':32} off by {off:+.4f}   {took:.2f} ms a query"
)

# %% [markdown]
# ## Choosing the epoch
#
# So far the ranking was given. The next choice is made before there is one: *which network* makes the codes. Training
# goes on for many epochs (an epoch is one pass over the training images), and mAP goes up and down from one to the next.
# Several widely used programs evaluate on the queries every few epochs and keep the best value seen. A maintainer once
# printed both, for HashNet trained by [DeepHash-pytorch](https://github.com/swuxyj/DeepHash-pytorch/issues/17) on
# CIFAR-10 with 48 bits and 150 epochs:
#
# (tbl:map-peeking)=
#
# | database | mAP at the last epoch | best mAP |
# |---|---|---|
# | 54,000 | 0.782 | 0.797 |
# | 59,000 | 0.794 | 0.807 |
#
# Table: What a maintainer printed, at the last epoch and at the best.
#
# Is the difference a better network, or luck? To find out we need images that took no part in the choice. `digits` is
# small enough to train on while you watch, and we arrange it like this:
#
# - the network trains on a tenth of the tuning images, about a hundred: few, so that it stays unsure of itself;
# - `data.tuning()` sets aside the *validation* part for choices;
# - the protocol's queries, and the images of the database that are in no training part, are new to it. They are
#   exchangeable, so we shuffle the two together and call some of them *queries* and the rest *fresh*.
#
# After every epoch we write down the AP of each of these images, searching the images it was trained on. A method calls
# `each_epoch` when an epoch is over:

# %%
from hashlab import methods

digits = data.load("digits")
tuning = digits.tuning()
few = tuning.train.pool.part(tuning.train.index[::10])
unused = digits.train.pool.part(
    np.setdiff1d(digits.database.index, digits.train.index)
)
parts = (tuning.validation, digits.query, unused)
pictures = np.concatenate([part.images for part in parts])
truths = np.concatenate([part.labels for part in parts])

SETTINGS = {"epochs": 30, "lr": 0.1, "batch_size": 32}
SETTINGS |= {"pretrain_epochs": 0, "shift": 0}  # the plainest training


def train_and_watch(seed):
    """A trained network, and the AP of every picture after each epoch."""
    method = methods.create("mu_liu", 12, **SETTINGS)
    aps = []

    def look(phase, epoch):
        a, b = method.encode(pictures), method.encode(few.images)
        graded = metrics.evaluate(a, b, truths, few.labels, bits=12)
        aps.append(graded.ap)

    return method.fit(few, seed=seed, each_epoch=look), np.array(aps)


networks, watched = zip(*map(train_and_watch, range(5)), strict=True)
watched = np.stack(watched)  # (runs, epochs, pictures)
validation, new = np.split(watched, [len(tuning.validation)], axis=2)
of_protocol = new[:, :, : len(digits.query)]
print(len(few), "training images")
print(len(tuning.validation), "for validation;", new.shape[2], "new ones")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One run, from the tenth epoch on. Both curves go up and down; a star marks the highest point of each.", "name": "fig:map-epochs"}, "image": {"alt": "mAP per epoch of one training run, from the tenth epoch on, for the validation images and for the queries. Both rise with ups and downs and do not peak at the same epoch. The validation images lie below the queries throughout."}}
epochs = np.arange(1, watched.shape[1] + 1)
shown = {
    "queries": of_protocol[0].mean(1),
    "validation": validation[0].mean(1),
}
ax = plots.curves(
    {name: (epochs[9:], line[9:]) for name, line in shown.items()},
    "epoch",
    "mAP",
)
for name, colour in zip(shown, plots.palette(2), strict=True):
    peak = shown[name].argmax()
    ax.plot(epochs[peak], shown[name][peak], "*", ms=16, color=colour)
_ = ax.set_xticks(epochs[9::5])

# %% [markdown]
# Why does validation in {numref}`fig:map-epochs` lie below the queries? Its images happen to be harder. They are the same
# in all five runs, and score less in all five; a plain classifier that learns from the same hundred images also names
# fewer of them rightly. A draw so hard is rare, as the next lines say. But it does no harm: to choose an epoch, validation
# is compared with itself.

# %% tags=["nbval-ignore-output", "hide-input"]
from sklearn.linear_model import LogisticRegression


def pixels(part):
    return part.images.reshape(len(part), -1) / 255  # (N, 64)


plain = LogisticRegression(max_iter=1000).fit(pixels(few), few.labels)
named_rightly = {
    "validation": plain.score(pixels(tuning.validation), parts[0].labels),
    "queries": plain.score(pixels(digits.query), digits.query.labels),
}
for name, share in named_rightly.items():
    print(f"the plain classifier names rightly, {name:10} {share:.2f}")
at_last, count = watched[:, -1].mean(0), len(tuning.validation)
rng = np.random.default_rng(0)
drawn = np.array(
    [
        rng.choice(at_last[count:], count, replace=False).mean()
        for _ in range(5000)
    ]
)
as_low = (drawn <= at_last[:count].mean()).mean()
print(
    f"of random draws of {count} new images, {as_low:.1%} score as low as validation"
)

# %% [markdown]
# {numref}`tbl:map-picked` has three ways to pick an epoch, graded on the protocol's queries.

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"table": {"caption": "mAP of the queries at the epoch that each rule picks, for five runs. In this chapter ± is the standard deviation over runs.", "name": "tbl:map-picked"}}
from hashlab.chapters.tables import spread


def at(curves, epoch):
    """curves (runs, epochs) at one epoch per run, (runs,)."""
    return curves[np.arange(len(curves)), epoch]


on_queries, on_validation = of_protocol.mean(2), validation.mean(2)
picked = {
    "best on the queries": at(on_queries, on_queries.argmax(1)),
    "best on validation": at(on_queries, on_validation.argmax(1)),
    "last": on_queries[:, -1],
}
gained = picked["best on the queries"] - picked["best on validation"]
table(
    ["epoch", *(f"run {seed}" for seed in range(5)), "mean"],
    *(
        [
            name,
            *(f"{value:.3f}" for value in values),
            f"{values.mean():.3f}",
        ]
        for name, values in picked.items()
    ),
    [
        "gained by peeking",
        *(f"{gain:.3f}" for gain in gained),
        spread(gained),
    ],
)

# %% [markdown]
# The standard deviation of the gain is of the same size as the gain itself: so few runs show its sign, hardly its size.
# Nor does choosing on validation do better here than the last epoch. It is fair, not clairvoyant.
#
# What peeking gains is never negative, and no experiment was needed to know it. Let $\hat A_e$ be the mAP measured on
# the queries after epoch $e$, and $v$ the epoch that validation picks. Then
#
# $$ \max_e \hat A_e \ge \hat A_v, $$ (eq:map-max)
#
# because $v$ is one of the epochs. Whoever reports the maximum has reported a larger number, not a better network.
# It is worse than that. Write $A_e$ for the mAP we would measure with endlessly many queries. A single measurement is
# fair, $\mathbb{E}[\hat A_e] = A_e$, but the largest of many is not:
#
# $$
# \begin{aligned}
# \mathbb{E}\big[\max_e \hat A_e\big] &\ge \max_e \mathbb{E}\big[\hat A_e\big] \\
# &= \max_e A_e.
# \end{aligned}
# $$ (eq:map-jensen)
#
# On average, the reported value is at least what the *truly* best epoch would score, and above it as soon as luck can
# change the choice. The maximum looks for good epochs and for lucky queries, and cannot tell them apart
# {cite:p}`cawley2010overfitting`.
#
# Now the test. Draw some of the new images as queries, pick the epoch with them, report their mAP; then grade the same
# network with the fresh images that are left. If the number was honest, the two agree on average.
# {numref}`fig:map-peeking` and the folded {numref}`tbl:map-excess` have the difference.


# %% tags=["hide-input"] mystnb={"figure": {"caption": "By how much the reported mAP exceeds that of fresh images; a small dot is one run. Chosen on the queries, it is too high in every run, most with few queries.", "name": "fig:map-peeking"}, "image": {"alt": "How far reported mAP exceeds the mAP of fresh images, against the number of queries from 25 to 300. Where the epoch was chosen on the queries themselves, the excess is largest for few queries and falls as their number grows, but stays above zero. Chosen on validation, or simply the last epoch, it is zero."}}
def reported_minus_fresh(count, draws=2000):
    """Mean difference over random draws of `count` queries, for three rules to pick the epoch, (3, runs)."""
    places = np.random.default_rng(0).random((draws, new.shape[2]))
    drawn = places.argsort(1) < count  # bool: a query, or fresh
    reported, fresh = (
        new @ rows.T / rows[0].sum() for rows in (drawn, ~drawn)
    )  # (runs, epochs, draws)
    gap = reported - fresh
    peeked = np.take_along_axis(
        gap, reported.argmax(1, keepdims=True), 1
    )  # (runs, 1, draws)
    by_validation = [
        gap[run, epoch] for run, epoch in enumerate(on_validation.argmax(1))
    ]  # (runs, draws)
    return np.stack(
        [
            peeked[:, 0].mean(1),
            np.mean(by_validation, 1),
            gap[:, -1].mean(1),
        ]
    )


counts = (25, 50, 100, 200, 300)
excess = np.stack([reported_minus_fresh(count) for count in counts])
rules = (
    "epoch chosen on the queries",
    "chosen on validation",
    "last epoch",
)
ax = plots.curves(
    {name: (counts, excess[:, i]) for i, name in enumerate(rules)},
    "number of queries",
    "reported mAP − mAP of fresh images",
)
_ = ax.axhline(0, color="0.7", lw=1, zorder=0)

# %% tags=["nbval-ignore-output", "hide-cell"] mystnb={"code_prompt_show": "The figure in numbers", "table": {"caption": "Reported mAP minus the mAP of fresh images, mean ± standard deviation over five runs.", "name": "tbl:map-excess"}}
table(
    ["queries", *rules],
    *(
        [count, *(spread(values, 4) for values in row)]
        for count, row in zip(counts, excess, strict=True)
    ),
)

# %% [markdown]
# Chosen on other images, or not chosen at all, the number is right on average. With the 300 queries of `digits` the damage is
# small, less than a hundredth. But it always points the same way, and it grows with every further thing that is tried:
# settings, seeds, stopping times. How much is that? In the
# [table](https://github.com/swuxyj/DeepHash-pytorch#mean-average-precision48-bitsalexnet) of the very program quoted
# above, three methods stand at 0.775, 0.781 and 0.782 under the same protocol; they are closer together than the last
# epoch and the best. {cite:t}`musgrave2020reality` compared many methods of metric learning with all settings chosen on
# validation data, and found the improvements of years to be marginal.
#
# The remedy costs a tenth of the training images: choose on `data.tuning()`, fix the number of epochs, train once more
# on all training images, and ask the queries once.
#
# ## What a random code scores
#
# A score needs a floor to stand on. Suppose the codes know nothing of the labels. Then the $R$ relevant images are
# spread over the ranks by pure chance, and it does not matter how many ties there are. An exercise in
# {doc}`01_hamming_space` did the sum for a database in which all codes are equal; here it holds for any such code:
#
# $$
# \begin{aligned}
# \mathbb{E}[\mathrm{AP}] &= f + (1 - f) \frac{H_N}{N} \approx \frac RN, \\[1ex]
# f &= \frac{R - 1}{N - 1},
# \end{aligned}
# $$ (eq:map-floor)
#
# where $H_N = 1 + \frac12 + \dots + \frac1N \approx \ln N$ is small beside $N$. With $C$ classes of equal size the
# floor is about $1 / C$, the *class prior*. Let us toss coins for the queries and the database of our protocol:


# %%
def chance(N, R):
    f = (R - 1) / (N - 1)
    return f + (1 - f) * np.sum(1 / np.arange(1, N + 1)) / N


def coins(count, bits, rng):
    return codes.pack(rng.integers(0, 2, (count, bits)).astype(bool))


def evaluate_coins(bits, **choices):
    rng = np.random.default_rng(0)
    a, b = coins(len(truth), bits, rng), coins(len(labels), bits, rng)
    return metrics.evaluate(a, b, truth, labels, bits=bits, **choices)


print(f"by the formula:          {chance(len(labels), R[0]):.4f}")
floors = [evaluate_coins(bits) for bits in (12, 48)]
for bits, floor in zip((12, 48), floors, strict=True):
    ties = f"({floor.map_worst:.4f} to {floor.map_best:.4f})"
    print(f"random codes of {bits} bits: {floor.map:.4f} {ties}")

# %% [markdown]
# So on ten classes, 0.1 is nothing. But that is the floor of the *whole ranking*. Each definition has its own, as
# {numref}`fig:map-floors` shows.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The ladder again, with a cross where random codes of the same length land: each definition has its own floor.", "name": "fig:map-floors"}, "image": {"alt": "The ladder of definitions again, now with a cross per row for random codes. The crosses are not in one place: divided by R or by min(n, R) they stand close to zero, on the whole ranking at one tenth, and divided by the hits within 100 clearly above it."}}
crosses = ladder_rows(
    lambda name, n: evaluate_coins(48, convention=name, at=n).map
)
ax = plots.ladder(
    ladder,
    "mAP of trained codes (dots) and random codes (crosses)",
    stress="all",
    crosses=crosses,
)

# %%
lucky = evaluate_coins(12, convention="hits_in_topk", at=100)
print("random codes of 12 bits, first 100, over the hits:")
print(f"worst {lucky.map_worst:.2f}  expected {lucky.map:.2f}", end="  ")
print(f"best {lucky.map_best:.2f}")

# %% [markdown]
# Read the last number twice. Codes made by tossing coins, a short look, the hits as divisor and the kindest order of
# ties: and mAP looks like a good method. Cut-off, divisor and ties multiply each other's harm.
#
# ## What a classifier scores
#
# Now the other end. Forget hashing. Train a plain classifier, here logistic regression on the pixels of `digits`, and
# write down the class it names as a *one-hot* code: ten bits, a single 1. Two images are at distance 0 if the classifier
# says the same of both, else at distance 2.


# %%
def one_hot(classifier, x):
    return codes.pack(classifier.predict(x)[:, None] == classifier.classes_)


def score(dataset, encode, bits):
    """The report on a data set, encoded by a function of one of its parts."""
    a, b = encode(dataset.query), encode(dataset.database)
    of = dataset.query.labels, dataset.database.labels
    return metrics.evaluate(a, b, *of, bits=bits)


classifier = LogisticRegression(max_iter=1000)  # of scikit-learn
# pixels(part): its images as rows of 64 grey values, (N, 64)
classifier.fit(pixels(digits.train), digits.train.labels)
named = score(digits, lambda part: one_hot(classifier, pixels(part)), 10)
accuracy = classifier.score(pixels(digits.query), digits.query.labels)
print(f"accuracy on the queries   {accuracy:.2f}")
print(f"mAP of its one-hot codes  {named.map:.2f}")

# %% [markdown]
# mAP comes out near the accuracy, and it is easy to see why. If the database is named without error, a query that is
# classified right finds its whole class at distance 0 and scores AP = 1; one that is classified wrong finds none of it
# there, and scores little. The mean of ones and near-zeros is the share of ones.
#
# {cite:t}`sablayrolles2017evaluate` showed this: by the usual test, such codes beat the supervised hashing methods of
# the day, with fewer bits. So what does the usual test measure? The database holds nothing but the classes of training.
# Whoever can *name* the class has solved the task, and nothing has to be learned about similarity.
#
# Their remedy is to ask about classes that took no part in training. `hashlab` has such protocols, here
# `digits-unseen`: trained on seven digits, asked about the other three, in a database of those three. We let four ways
# to make codes take both tests, five times each:
#
# - **one-hot**: the class named by a network that was trained to classify;
# - **hashing**: Mu and Liu's codes of ten bits, from the same kind of network trained for as many epochs;
# - **planes, features**: the *same classifying network*, whose last features are hashed by 64 random hyperplanes;
# - **planes, pixels**: 64 random hyperplanes on the pixels. No labels, no training.


# %% tags=["hide-input"] mystnb={"figure": {"caption": "The usual test and the test of unseen digits; a small dot is one run. On unseen digits the order turns over.", "name": "fig:map-unseen"}, "image": {"alt": "Two columns of mAP joined by lines, for digits that were trained on and for unseen digits. On seen digits the one-hot code and the trained hash codes are nearly perfect and random hyperplanes on pixels are far behind. On unseen digits the order turns over: the one-hot code ends lowest, little above chance, the trained hash codes next, and random hyperplanes on top, those on features and those on pixels close together."}}
def hashing(dataset, seed):
    method = methods.create(
        "mu_liu", 10, epochs=8, pretrain_epochs=3, shift=0
    ).fit(dataset.train, seed=seed)
    return score(dataset, lambda part: method.encode(part.images), 10).map


def classifying(dataset, seed):
    """mAP of the classifier's one-hot codes, and of random hyperplanes on its features."""
    # Without a hashing phase the hash layer stays as it began: 64 random projections of the features.
    method = methods.create(
        "mu_liu", 64, epochs=0, pretrain_epochs=11, shift=0
    ).fit(dataset.train, seed=seed)
    x = method.outputs(dataset.train.images)  # (N, 64)
    head = LogisticRegression(max_iter=1000).fit(x, dataset.train.labels)
    named = score(
        dataset,
        lambda part: one_hot(head, method.outputs(part.images)),
        len(head.classes_),
    )
    planes = score(
        dataset,
        lambda part: signs(method.outputs(part.images) - x.mean(0)),
        64,
    )
    return named.map, planes.map


def signs(x):
    return codes.pack(codes.binarize(x))


def planes_on_pixels(dataset, seed):
    w = np.random.default_rng(seed).normal(size=(64, 64))
    mean = pixels(dataset.train).mean(0)
    return score(
        dataset, lambda part: signs((pixels(part) - mean) @ w), 64
    ).map


SEEDS = range(5)
tests = {
    "seen": digits,
    "unseen": data.load("digits", protocol="digits-unseen"),
}
taken = {
    name: np.array(
        [
            (*classifying(d, s), hashing(d, s), planes_on_pixels(d, s))
            for s in SEEDS
        ]
    )
    for name, d in tests.items()
}  # (runs, methods)
takers = ("one-hot", "planes, features", "hashing", "planes, pixels")
seen, unseen = taken["seen"], taken["unseen"]
lines = {
    name: ([0, 1], np.stack([seen[:, i], unseen[:, i]]))
    for i, name in enumerate(takers)
}
lines["chance"] = (
    [0, 1],
    [
        chance(len(d.database), np.bincount(d.database.labels).max())
        for d in tests.values()
    ],
)
ax = plots.curves(lines, "", f"mAP, mean and each of {len(SEEDS)} runs")
_ = ax.set_xticks([0, 1], ["digits trained on", "unseen digits"])

# %% tags=["nbval-ignore-output", "hide-input"] mystnb={"table": {"caption": "mAP in both tests, mean ± standard deviation over five runs.", "name": "tbl:map-unseen"}}
ahead = (
    unseen[:, takers.index("planes, pixels")]
    - unseen[:, takers.index("planes, features")]
)
print(
    f"unseen: pixels ahead of features in {(ahead > 0).sum()} of {len(SEEDS)} runs"
)
table(
    ["codes", "seen digits", "unseen digits"],
    *(
        [name, spread(seen[:, i]), spread(unseen[:, i])]
        for i, name in enumerate(takers)
    ),
)

# %% [markdown]
# {numref}`fig:map-unseen` and {numref}`tbl:map-unseen` have the outcome. On seen digits the trained networks win, and the
# usual test can hardly tell hashing from naming. On unseen digits the one-hot code fails: it knows seven names, none of
# which fits, and throws away all else the network had seen. The *features* of that very network, hashed by planes that
# learned nothing, keep far more of it. But so do planes on the bare pixels, where nothing was learned at all; which of
# the two is ahead depends on the run. Mu and Liu's ten bits beat the one-hot code and fall short of both: they were
# trained to pull seven classes together, and whatever is not needed for that was given up. (With three classes in place
# of ten, chance scores more, too.)
#
# Three digits and 90 queries make a small test, and another method or a larger set may order the middle
# differently. But a result on seen classes says little about unseen ones, and a paper that means *similarity* should
# show both.
#
# (sec:map-protocol)=
# ## The protocol is part of the number
#
# Three more choices that seldom make it into the caption. Each is shown on the five networks from the section on epochs.
#
# **Are the training images in the database?** For CIFAR-10 both are customary: `cifar10-54k` leaves them out,
# `cifar10-59k` keeps them. A network knows the images it was trained on, and their codes are cleaner than those of
# images it has never met. Same codes, same queries, three databases:

# %% tags=["nbval-ignore-output", "hide-input"]
fitted = np.isin(digits.database.index, few.index)  # (N,)
encoded = [
    (net.encode(digits.query.images), net.encode(digits.database.images))
    for net in networks
]


def searching(rows, **choices):
    """The report of every network on the database's images in `rows` (N,) bool."""
    of = digits.query.labels, digits.database.labels[rows]
    return [
        metrics.evaluate(a, b[rows], *of, bits=12, **choices)
        for a, b in encoded
    ]


def mean_map(reports):
    return np.mean([r.map for r in reports])


databases = {
    "never trained on": ~fitted,
    "all": fitted | ~fitted,
    "trained on": fitted,
}
by_database = {
    name: mean_map(searching(rows)) for name, rows in databases.items()
}
for name, rows in databases.items():
    print(f"{name:18} {rows.sum():5} images   mAP {by_database[name]:.3f}")
share = runs[48].sizes["train"] / runs[48].sizes["database"]
print(
    f"trained on: {fitted.mean():.0%} of this database, {share:.0%} in cifar10-59k"
)

# %% [markdown]
# Training images are found more easily. Here they are a small part of the database and move the mean little; in
# `cifar10-59k` their share is about the same. But in protocols that search the training set itself, such as
# `cifar10-full`, they are all of it, and mAP says how well training was fitted as much as how well new images are found.
#
# **Which queries count?** Let three digits be missing from the database, as classes are when somebody's download was
# cut short. Their queries have nothing to find. `hashlab` counts them as 0 and says how many there were; other
# programs drop them, and some say so.

# %% tags=["hide-input"]
gap = digits.database.labels > 2
counted, dropped = (
    searching(gap, convention=name)
    for name in ("all_relevant", "all_relevant_drop")
)
print(
    f"{counted[0].queries_without_relevant} of {counted[0].queries} queries have nothing relevant in the database"
)
print(
    f"counted as 0: mAP {mean_map(counted):.1f}   dropped: mAP {mean_map(dropped):.1f}"
)

# %% [markdown]
# **Is the query a code at all?** The database must be stored in bits, but a query is used once and may keep its real
# numbers. Ranking by them is called *asymmetric*, breaks nearly all ties, and usually scores higher. It is a fair
# thing to do and to report, under its name. hashing-baseline's `map_asymhamming` is of this kind.


# %% tags=["nbval-ignore-output", "hide-input"]
def asymmetric(network, database_codes):
    outputs = network.outputs(digits.query.images)  # float32 (Q, 12)
    of = digits.query.labels, digits.database.labels
    return metrics.evaluate(
        outputs, database_codes, *of, bits=12, convention="asymmetric"
    )


by_outputs = [
    asymmetric(net, b)
    for net, (_, b) in zip(networks, encoded, strict=True)
]
both = {
    "bits to bits": mean_map(searching(databases["all"])),
    "real numbers to bits": mean_map(by_outputs),
}
for name, value in both.items():
    print(f"{name:22} mAP {value:.3f}")

# %% [markdown]
# ## How to report
#
# A number that others can stand beside says, in the caption or one line below it:
#
# 1. **Data and split.** Which images were queries, which trained, which were searched; whether the database holds the
#    training images; index lists or a seed that gives them. Whether any image is in two parts.
# 2. **Relevance.** Same class, a shared label, a level of a hierarchy. How many queries have nothing relevant, and
#    what they count.
# 3. **The metric.** Whole ranking or cut-off $n$; the divisor; the tie rule. If in doubt: the whole ranking,
#    expected under ties, with worst and best beside it.
# 4. **Choices.** On which images settings and epoch were chosen. Not on the queries.
# 5. **Spread.** How many seeds, mean and standard deviation; never the best one.
# 6. **The network.** Backbone and where its weights come from. Two backbones make two columns.
# 7. **Floors and rivals.** What random codes and a classifier's one-hot codes score under the same rules. If the claim
#    is similarity: unseen classes too.
# 8. **The codes.** Publish them. Then everybody can compute every other number from them.
#
# General lists of this kind exist for all of machine learning {cite:p}`pineau2021improving`; these eight are what
# hashing adds or most often leaves out. `hashlab` records hold the answers to 1 to 6, and `hashlab verify` computes
# every metric again from the stored codes.
#
# The eighth is the easiest. Codes from any program, written by one call of NumPy, can be scored. It takes four arrays,
# the number of bits, and a word on how bits are written where that is not plain:

# %%
import tempfile
from pathlib import Path

from hashlab import cli

mine = {
    name: codes.unpack(stored[48][name], bits=48) * 2 - 1  # -1 and +1
    for name in ("query_codes", "database_codes")
}
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "mine.npz"
    of = {"query_labels": truth, "database_labels": labels}
    np.savez(file, **mine, **of, bits=48, format="signs")
    status = cli.main(["evaluate", str(file)])

# %% [markdown]
# On a terminal this is `hashlab evaluate mine.npz`; `--json` prints everything, `--pr curve.png` draws the curve. To
# compare with a paper that cut its ranking, `--convention all --at 1000` names the cut-off and asks for all definitions
# at once.
#
# One line of this output looks like a mistake: precision at rank 1 is *lower* than at rank 1000. Should a ranking not
# start with its best part? Split the queries by whether any image of the database has exactly their code:

# %% tags=["hide-input"]
queries, database = (
    stored[48][name] for name in ("query_codes", "database_codes")
)
alike = codes.hamming(queries, database).min(1) == 0  # (Q,)
split = {
    "an image has the query's code": alike,
    "none has": ~alike,
}
graded = {
    name: metrics.evaluate(
        queries[rows], database, truth[rows], labels, bits=48
    )
    for name, rows in split.items()
}
for name, part in graded.items():
    at_1, at_1000 = part.precision_at[1], part.precision_at[1000]
    print(
        f"{name:30} {part.queries:4} queries: at 1 {at_1:.3f}, at 1000 {at_1000:.3f}"
    )

# %% [markdown]
# It is no mistake. Where the query's code occurs in the database, precision is about the same at both ranks. The rise
# comes from the other queries. A likely reason: such a code lies between the codes that many images share. Nearest to it
# are a few images with codes as unusual as its own, of mixed classes; the many images of one class come a little later.
#
# ## What we learned
#
# - The same ranking has many mAPs. Only the whole ranking, {eq}`eq:map-ap`, is common ground; a cut needs its
#   divisor, {eq}`eq:map-at-k`.
# - Ties leave a band, wide for short codes. A sort fills it with the order of the database, class by class if that is
#   how it is stored.
# - The best of many measurements is too high, {eq}`eq:map-jensen`. Choose on validation; ask the queries once.
# - Random codes score the class prior on the whole ranking, {eq}`eq:map-floor`, and more under some cut-offs.
# - A classifier that names the class passes the usual test. Unseen classes tell naming from similarity.
#
# To read on: {cite:t}`he2018talr` and {cite:t}`jiang2019metric` on ties and what mAP misses;
# {cite:t}`sablayrolles2017evaluate` on what to test; {cite:t}`musgrave2020reality` on what is left of progress when
# everybody is measured alike.
#
# ## Exercises
#
# ### Exercise 1: three divisors
# Write AP@n. `ranking` holds a 1 for each hit and a 0 for each miss, `R` is the number of relevant images, and `over` is
# `"R"`, `"min"` or `"hits"`. Then find a hit that you can take out of `[1, 0, 1]` to raise one of the three grades.

# %%
from hashlab.chapters import exercises


def ap_at(ranking, n, R, over):
    # your lines
    ...


exercises.check(
    ap_at,
    (([1, 0, 1, 1], 3, 10, "R"), 1 / 6),
    (([1, 0, 1, 1], 3, 10, "min"), 5 / 9),
    (([1, 0, 1, 1], 3, 10, "hits"), 5 / 6),
    (([1, 0, 0, 1], 3, 10, "hits"), 1),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def ap_at(ranking, n, R, over):
    hits, total = 0, 0.0
    for i in range(n):
        if ranking[i]:
            hits += 1
            total += hits / (i + 1)
    return total / {"R": R, "min": min(n, R), "hits": hits}[over]


exercises.check(
    ap_at,
    (([1, 0, 1, 1], 3, 10, "R"), 1 / 6),
    (([1, 0, 1, 1], 3, 10, "min"), 5 / 9),
    (([1, 0, 1, 1], 3, 10, "hits"), 5 / 6),
    (([1, 0, 0, 1], 3, 10, "hits"), 1),
    required=True,
)
# Without the later hit, AP@3 over the hits is 1: a grade that rises when answers get worse.

# %% [markdown]
# ### Exercise 2: peeking
# `queries` and `validation` list the mAP after each epoch, measured on the queries and on validation images. Give two
# mAPs, both measured on the queries: that of the epoch which somebody chooses who looks at the queries, and that of the
# epoch which somebody chooses who looks at validation. (Of equal maxima, take the first.)


# %%
def reported(queries, validation):
    # your lines
    ...


exercises.check(
    reported,
    (([0.5, 0.8, 0.7], [0.4, 0.5, 0.6]), (0.8, 0.7)),
    (([0.6, 0.6], [0.3, 0.2]), (0.6, 0.6)),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def reported(queries, validation):
    return max(queries), queries[int(np.argmax(validation))]


exercises.check(
    reported,
    (([0.5, 0.8, 0.7], [0.4, 0.5, 0.6]), (0.8, 0.7)),
    (([0.6, 0.6], [0.3, 0.2]), (0.6, 0.6)),
    required=True,
)

# %% [markdown]
# ### Exercise 3: the ceiling
# Divided by $R$, what is the largest possible AP@$n$ for $n = 100$ in our database? What would a perfect method print?
#
# <details class="solution"><summary>Solution</summary>
#
# At most $n$ terms of at most 1, divided by $R$: $n / R = 100 / 5900 \approx 0.017$. A perfect method prints that. The
# number is not wrong, only read against the wrong ceiling.
#
# </details>
#
# ### Exercise 4: why the crosses are not in one place
# Random codes score about $R/N = 0.1$ on the whole ranking but clearly more over the hits within the first 100. Why?
# Use {eq}`eq:map-floor` a second time.
#
# <details class="solution"><summary>Solution</summary>
#
# The first $n = 100$ images of a random ranking are a small random ranking of their own: $n$ images, of which about
# $nR/N = 10$ are relevant. Dividing by the hits forgets that there ever were more, so {eq}`eq:map-floor` holds with
# $n$ and $nR/N$ in the places of $N$ and $R$: $f = 9/99$ and $H_{100}/100 \approx 0.052$ give $0.138$. The term
# $H_N / N$, next to nothing for a large database, is not small for a short list. It comes from lucky first places: an
# image that is both first and relevant has precision 1.
#
# </details>
#
# ## What this chapter claims
#
# A claim that is not tested goes stale. The folded cell fails if one of ours stops being true.

# %% tags=["hide-input"]
# One ranking, many mAPs
grades = [value for _, value, _ in ladder.values()]
whole = {
    name
    for name in NAMES
    if scored[name, None].map == scored["min_k_r", None].map
}
assert set(R.tolist()) == {5900} and len(labels) == 59_000
assert {
    "min_k_r",
    "all_relevant",
    "hits_in_topk",
    "hits_in_topk_drop",
    "hpdh",
} <= whole
assert len(ladder) == 16 and max(grades) > 10 * min(grades)
over_hits, over_r = (
    [scored[name, n].map for n in CUTS[1:]]
    for name in ("hits_in_topk", "all_relevant")
)
assert min(over_hits) > report.map > max(over_r)
assert (np.diff(over_r) < 0).all()
assert max(scored["min_k_r", n].map for n in CUTS[1:]) < report.map
assert all(
    scored["hits_in_topk_drop", n].map >= scored["hits_in_topk", n].map
    for n in CUTS
)
assert all(
    value <= n / 5900 for n, value in zip(CUTS[1:], over_r, strict=True)
)
assert set(won) == set(RIVALS) and max(noise) < 2
assert len(noise) == len(duel) - 1
odd = [
    scored[name, None].map for name in ("step_integral", "trapezoid_radius")
]
assert all(0 < abs(value - report.map) < 0.05 for value in odd)

# Ties: the shorter the codes, the wider the band
assert (np.diff(best - worst) < 0).all()
assert best[0] - worst[0] > expected.max() - expected[0]
off = {name: ap.mean() - fair.map for name, ap in looped.items()}
by_class = abs(off["first class first"]), abs(off["last class first"])
assert 0.003 < max(by_class) < 0.05 and abs(off["shuffled"]) < 0.002
first, last, shuffled = (np.array(shift) for shift in shifts.values())
assert first[0] > 0.02 > -0.02 > first[-1]
assert last[0] < -0.02 < 0.02 < last[-1]
assert abs(shuffled).max() < 0.02

# Epochs
assert (validation[:, -1].mean(1) < of_protocol[:, -1].mean(1)).all()
assert named_rightly["validation"] < named_rightly["queries"]
assert as_low < 0.05
assert (gained >= 0).all() and gained.mean() > 0
assert gained.std(ddof=1) > gained.mean() / 2
of_validation = picked["best on validation"].mean()
assert abs(of_validation - picked["last"].mean()) < 0.01
chosen, from_validation, from_nowhere = excess.mean(2).T
assert excess[:, 0].min() > 0 and (np.diff(chosen) < 0).all()
assert 0.002 < chosen[-1] < 0.01
assert abs(from_validation).max() < 0.002
assert abs(from_nowhere).max() < 0.002
assert (
    on_queries[:, -1].min() > 0.75
)  # these networks learned something: random codes have 0.1

# Floors and ceilings
for floor in floors:
    assert abs(floor.map - chance(59_000, 5900)) < 0.002
assert abs(chance(100, 10) - crosses["first 100, over hits"]) < 0.005
assert all(
    value < 0.03
    for name, value in crosses.items()
    if name.endswith(("over R", "over min(n, R)"))
)
assert lucky.map_best > 0.7 and 0.1 < lucky.map < 0.2
assert abs(named.map - accuracy) < 0.05
one_hots, features, hashed, on_pixels = range(4)
means = {name: x.mean(0) for name, x in taken.items()}
of_seen, of_unseen = means["seen"], means["unseen"]
assert of_seen[[one_hots, hashed]].min() > of_seen[features]
assert of_seen[features] > of_seen[on_pixels] + 0.2
assert of_unseen.argmin() == one_hots
assert len(tests["unseen"].query) == 90
assert of_unseen[[features, on_pixels]].min() > of_unseen[hashed] + 0.03

# Protocols
never, mixed, always = by_database.values()
assert never < mixed < always
assert max(fitted.mean(), share) < 0.1
assert counted[0].queries_without_relevant == 90
assert np.isclose(mean_map(counted), 0.7 * mean_map(dropped))
assert both["real numbers to bits"] > both["bits to bits"]
assert status == 0

# Precision at ranks 1 and 1000
rises = [
    part.precision_at[1000] - part.precision_at[1]
    for part in graded.values()
]
assert abs(rises[0]) < 0.01 < rises[1]
assert report.precision_at[1] < report.precision_at[1000]

# Exercises 3 and 4
assert round(100 / 5900, 3) == 0.017 and round(chance(100, 10), 3) == 0.138
print("every claim holds")
