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
# # Redaoui et al. 2022: several scales, one code
#
# A convolutional network looks at an image several times, from close by and from ever farther away. Most hashing
# methods ask only its last layer. {cite:t}`redaoui2022dmsh` say that this loses the structure of an image, and take
# features from several layers, fuse them, and hash what comes out. They call it *deep multi-scale hashing*, DMSH.
#
# This chapter builds such a network step by step, derives its loss, and puts the claim to the test: is the fusion of
# several layers better than the best single one? Codes, Hamming distance and mean average precision (mAP) are those of
# {doc}`01_hamming_space`.
#
# | symbol | meaning |
# |---|---|
# | $l$ | a *level* of the network, here a block of convolutions; a level that is used is called a *scale* |
# | $x^l$ | what level $l$ gives for an image: $D_l$ *maps*; $x^l_p \in \mathbb{R}^{D_l}$ is their values at place $p$ |
# | $u_i \in (-1, 1)^K$ | the output in training, $u_{ik} = \tanh z_{ik}$ |
# | $s_{ij}$ | 1 if images $i$ and $j$ share a label, 0 if not |
# | $\Theta_{ij}$ | half of the inner product of two outputs |
# | $\lambda \ge 0$ | the weight of the quantisation term |
#
# Table: Letters of this chapter; all others are on the page of {doc}`notation </book/notation>`.
#
# > **This is a reconstruction.** Of the paper we could read the abstract. It says that features of several
# > convolutional layers are fused, and why. Which layers, how they are fused, and the loss we have not seen. Where the
# > same authors' later papers say more, we follow them, and the [ledger](#sec:dmsh-ledger) says where.

# %%
import numpy as np
import torch
from torch.nn import functional as F

from hashlab import codes, data, methods, metrics, plots
from hashlab.losses import pairs
from hashlab.methods import dmsh

# %% tags=["hide-cell"]
from itertools import product
from types import SimpleNamespace


from hashlab import records
from hashlab.chapters import comparison, exercises, reported, tables
from hashlab.chapters.differences import difference
from hashlab.chapters.figures import dmsh as figures
from hashlab.metrics import diagnostics

# %% [markdown]
# ## The problem in one picture
#
# The data set `digit_scenes` has images of 16×16 pixels: four cells, of which one to three hold a handwritten digit.
# An image has a label for every digit in it, and two images are alike if they share one. Let a small network with
# three levels learn to hash them (how, is the matter of this chapter), and look at what its levels see. (`SMALL` names the
# network, the widths of two layers that come below, the mini-batch, and by how much training images are shifted.)

# %%
K = 16
SMALL = {
    "backbone": "quick",
    "width": 64,
    "fused": 64,
    "batch_size": 64,
    "shift": 1,
}

scenes = data.load("digit_scenes")
on_scenes = methods.create("dmsh", K, epochs=12, **SMALL).fit(scenes.train)
print("levels that are fused:", ", ".join(on_scenes.taps))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three rows, one per level of the network. On the left the same scene of two digits, with a frame around what the middle place of the level's maps sees: 4 pixels, about a stroke, for conv1; 10 pixels, more than a digit, for conv2; nearly the whole image for conv3. To the right of it four maps of the level: those of conv1 are fine and show strokes, those of conv2 have four by four places, those of conv3 two by two."}, "figure": {"caption": "What three levels see of one scene: the frame is what the middle place of a map depends on; four maps of each level.", "name": "fig:dmsh-levels"}}
first_two = np.flatnonzero(scenes.query.labels.sum(1) == 2)[
    0
]  # a scene with two digits
scene = scenes.query.images[first_two]
backbone = on_scenes.network.backbone.eval()
x = on_scenes.view.plain(torch.from_numpy(scene[None, ..., None]))
with torch.no_grad():
    maps = backbone.forward_levels(x, on_scenes.taps)  # (1, C, H, W) each
seen = {
    level: figures.receptive_field(backbone, level, 1, 16)
    for level in on_scenes.taps
}
figure = figures.scale_maps(
    scene,
    {level: m[0].numpy() for level, m in zip(seen, maps, strict=True)},
    seen,
)

# %% [markdown]
# The frame in {numref}`fig:dmsh-levels` is the *receptive field* of the place in the middle of a map: the pixels that it
# depends on. A place of `conv1` sees a few pixels, enough to tell a stroke. One of `conv2` sees a digit and a little more.
# One of `conv3` sees nearly the whole scene, but there are only 2×2 such places: of where things are, little remains.
#
# ## The idea
#
# 1. **Ask several levels**, not only the last one.
# 2. **Bring them to one form.** Levels differ in the number of their maps and in their size. Reduce each to the same
#    number of features.
# 3. **Fuse them** into one vector, and let a layer of $K$ outputs make the code from it.
# 4. **Learn everything together** from pairs of images: the code of similar ones should agree, that of others not.
#
# {numref}`fig:dmsh-wiring` shows the wiring, from left to right.

# %% mystnb={"image": {"alt": "A diagram. Three boxes on the left, conv1 below, conv2, conv3 on top, each fed by the one below it. From each leads a row to the right: mean, then 1 by 1. The three rows meet in a box named fuse; then follow hash and code."}, "figure": {"caption": "The network of DMSH: levels are reduced to one form, fused, and hashed.", "name": "fig:dmsh-wiring"}}
ax = figures.wiring(["conv1", "conv2", "conv3"])

# %% [markdown]
# ## From levels to a code, step by step
#
# ### Reduction
#
# The usual tool for changing the number of maps is a *1×1 convolution*: at every place $p$ it makes new numbers from the
# $D_l$ numbers there, with the same weights $A_l$ and offsets $\beta_l$ everywhere. Then the mean over all places is taken, written
# $\bar x^l = \operatorname{mean}_p x^l_p$. But the mean of linear maps is the linear map of the mean,
#
# $$ \operatorname{mean}_p \left( A_l\, x^l_p + \beta_l \right) = A_l\, \bar x^l + \beta_l . $$ (eq:dmsh-mean)
#
# So the mean may come first, and the convolution becomes a small matrix product:

# %%
(fine, *_), convolution = maps, torch.nn.Conv2d(32, 5, 1)
last = convolution(fine).mean((2, 3))
first = F.linear(
    fine.mean((2, 3)), convolution.weight[:, :, 0, 0], convolution.bias
)
print(
    "mean first and mean last agree:",
    torch.allclose(last, first, atol=1e-6),
)

# %% [markdown]
# For a frozen network this is more than a shortcut. The means of all levels are computed once, kept, and every choice
# of scales is then trained in seconds.
#
# Levels also differ in how large their numbers are. We bring each mean to mean 0 and variance 1 over the training
# images (written $\hat x^l$; it is batch normalisation without learned scales), so that no scale drowns out another
# at the start. A rectifier makes the reduction non-linear:
#
# $$ g^l = \max\left( 0,\; A_l\, \hat x^l + \beta_l \right) . $$ (eq:dmsh-reduce)
#
# ### Fusion and hashing
#
# The reduced scales are written side by side, one fully connected layer mixes them, and a last one gives $K$
# numbers. The code is their sign:
#
# $$ f = \max\left( 0,\; A \left[ g^1;\; g^2;\; g^3 \right] + \beta \right), \qquad
#    z = W f + \beta', \qquad b = \operatorname{sign} z . $$ (eq:dmsh-fuse)
#
# With a single scale the bracket holds one entry and everything else stays. That is the comparison of this chapter: the
# same network, the same loss, one scale or several.
#
# ### A probability for a pair
#
# Now the loss. For codes, the inner product counts bits: {eq}`eq:signs` of the first chapter says $b_i^{\mathsf T}
# b_j = K - 2 d_{ij}$, with the Hamming distance $d_{ij}$. Half of it is called
#
# $$ \Theta_{ij} = \tfrac12\, u_i^{\mathsf T} u_j, \qquad\text{and for codes}\quad
#    \Theta_{ij} = \frac{K}{2} - d_{ij} . $$ (eq:dmsh-theta)
#
# It is 0 when half of the bits differ, positive for closer codes and negative for more distant ones. The *pairwise
# likelihood* {cite:p}`li2016dpsh` reads it as the evidence that the two images are similar:
#
# $$ P(s_{ij} = 1) = \sigma(\Theta_{ij}) = \frac{1}{1 + e^{-\Theta_{ij}}} . $$ (eq:dmsh-sigma)
#
# The loss of a pair is the negative logarithm of the probability given to what is true. For $s = 1$ that is $-\log
# \sigma(\Theta) = \log(1 + e^{\Theta}) - \Theta$, for $s = 0$ it is $-\log(1 - \sigma(\Theta)) = \log(1 + e^{\Theta})$. In
# one line:
#
# $$ \ell_{ij} = \log\left( 1 + e^{\Theta_{ij}} \right) - s_{ij}\, \Theta_{ij} . $$ (eq:dmsh-pair)
#
# It is logistic regression, with the inner product of two codes as its only input.

# %% mystnb={"image": {"alt": "Loss of a pair against Hamming distance, 0 to 16 bits. The curve for similar pairs is near zero up to about 5 bits, passes 0.7 at 8 and rises in a straight line to 8. The curve for dissimilar pairs is its mirror image."}, "figure": {"caption": "The likelihood loss of a pair of 16-bit codes. At half of the bits a pair says nothing.", "name": "fig:dmsh-loss"}}
d = np.arange(K + 1)
theta = torch.from_numpy(K / 2 - d)
lines = {}
for kind, similar in (("similar", 1.0), ("dissimilar", 0.0)):
    lines[kind] = (
        d,
        pairs.likelihood_loss(theta, torch.full((K + 1,), similar)).numpy(),
    )
ax = plots.curves(
    lines, "Hamming distance d (bits)", "loss of the pair", named_at=0.75
)

# %% [markdown]
# At half of the bits both curves of {numref}`fig:dmsh-loss` cross at $\log 2$. From there on the loss grows by one at most
# for each bit in the wrong direction. (The loss of {doc}`03_mu_liu` grows by a *factor* with every wrong bit.)
#
# Only about a tenth of all pairs is similar when there are ten classes. So we take the mean over the similar pairs
# $\mathcal S$ of a mini-batch and the mean over the dissimilar pairs $\mathcal D$, and give each half a vote. No image
# makes a pair with itself.
#
# ### Quantisation
#
# The network moves $u$, but what is kept is its sign. A second term pulls outputs towards the code that they will
# become:
#
# $$ \mathcal{L} = \frac{1}{2 |\mathcal S|} \sum_{\mathcal S} \ell_{ij}
#      + \frac{1}{2 |\mathcal D|} \sum_{\mathcal D} \ell_{ij}
#      + \frac{\lambda}{M K} \sum_{i=1}^{M} \sum_{k=1}^{K} \left( b_{ik} - u_{ik} \right)^2 . $$ (eq:dmsh-loss)
#
# Here $M$ is the number of images in the batch. Is the term needed? With $\tanh$ outputs cannot leave $(-1, 1)$, and
# a pair is the better off the larger they are, so the likelihood already pushes outwards. The term settles what it
# leaves undecided: bits that are torn between partners ([exercise 2](#sec:dmsh-exercise-2)).
#
# ### The gradient
#
# The derivative of {eq}`eq:dmsh-pair` by $\Theta$ is $\sigma(\Theta_{ij}) - s_{ij}$, the error of the predicted
# probability; that of $\Theta$ by $u_i$ is $\tfrac12 u_j$. A pair therefore moves $u_i$ along its partner:
#
# $$ \frac{\partial \ell_{ij}}{\partial u_i} = \tfrac12 \left( \sigma(\Theta_{ij}) - s_{ij} \right) u_j,
#    \qquad \frac{\partial}{\partial u_{ik}} \left( b_{ik} - u_{ik} \right)^2 = 2 \left( u_{ik} - b_{ik} \right) . $$ (eq:dmsh-gradient)
#
# A similar partner attracts ($\sigma - 1 < 0$, and descent goes against the gradient), a dissimilar one repels, and
# either the stronger the more wrong the probability is. Automatic differentiation agrees:

# %%
generator = torch.Generator().manual_seed(0)
u = torch.tanh(
    torch.randn(6, K, generator=generator, dtype=torch.float64)
).requires_grad_()
labels, lam = torch.tensor([0, 0, 1, 1, 2, 2]), 0.1
by_autograd = torch.autograd.grad(dmsh.dmsh_loss(u, labels, lam), u)[0]

with torch.no_grad():
    s = (labels[:, None] == labels).double()
    other = 1 - torch.eye(6)
    weight = s * other / (2 * (s * other).sum()) + (1 - s) / (
        2 * (1 - s).sum()
    )  # half a vote for each kind
    error = weight * (
        torch.sigmoid(u @ u.T / 2) - s
    )  # (6, 6); i, j and j, i are both pairs: twice one half
    by_formula = error @ u + lam * 2 * (u - torch.sign(u)) / u.numel()
print(
    "largest difference below 1e-12:",
    bool((by_formula - by_autograd).abs().max() < 1e-12),
)

# %% [markdown]
# Note what multiplies the first part of {eq}`eq:dmsh-gradient`: the partner's outputs $u_j$. If all outputs are close to 0
# at the start, so are the gradients of the likelihood, and training takes long to wake up. The hash layer's first weights are therefore
# drawn so that its outputs vary as its inputs do.
#
# ## The code beside the formula
#
# The loss {eq}`eq:dmsh-loss`, as the package runs it:

# %%
tables.source(dmsh.dmsh_loss)

# %% [markdown]
# The reduction {eq}`eq:dmsh-reduce` and the fusion {eq}`eq:dmsh-fuse`. What comes in are the means of all scales side by
# side; `split` takes them apart:

# %%
tables.source(dmsh.Fusion)

# %% [markdown]
# ## A run you can repeat
#
# ### One label: digits
#
# First the plain case, `digits`: 1,797 real handwritten digits of 8×8 pixels, ten classes, 300 of them queries. The
# same small network, three scales fused, 16 bits, gives {numref}`tbl:dmsh-digits`, the loss of {numref}`fig:dmsh-digits-loss`
# and the curves of {numref}`fig:dmsh-digits-pr`:


# %% tags=["nbval-ignore-output"] mystnb={"table": {"caption": "DMSH on digits, 16 bits.", "name": "tbl:dmsh-digits"}}
def evaluate(method, loaded):
    """Retrieval metrics of a fitted method on the queries of a data set."""
    query, database = loaded.query, loaded.database
    found = method.encode(query.images), method.encode(database.images)
    return metrics.evaluate(
        *found,
        query.targets,
        database.targets,
        bits=method.bits,
        relevance=loaded.relevance,
    )


digits = data.load("digits")
learners = {
    "untrained": methods.create("dmsh", K, epochs=0, **SMALL).fit(
        digits.train
    ),
    "trained": methods.create("dmsh", K, epochs=8, **SMALL).fit(
        digits.train
    ),
}
reports = {
    name: evaluate(learner, digits) for name, learner in learners.items()
}
figures.scores(reports)

# %% mystnb={"image": {"alt": "Training loss per epoch on digits: it falls steeply in the first epochs and levels off."}, "figure": {"caption": "The loss on digits by epoch.", "name": "fig:dmsh-digits-loss"}}
ax = plots.losses(learners["trained"].history)

# %% mystnb={"image": {"alt": "Precision against recall, one point per Hamming radius. The trained network keeps a high precision up to a recall of nine tenths; the untrained one falls towards one tenth."}, "figure": {"caption": "Precision and recall on digits; a point is a Hamming radius.", "name": "fig:dmsh-digits-pr"}}
ax = plots.precision_recall(reports)

# %% [markdown]
# {numref}`fig:dmsh-digits-tsne` lays the outputs of the queries out on a plane with t-SNE {cite:p}`vandermaaten2008tsne`,
# which tries to keep neighbours together; the network has never seen these digits.

# %% mystnb={"image": {"alt": "t-SNE of the outputs of 300 query digits: an island for each digit, with a few points on the wrong island."}, "figure": {"caption": "Outputs for 300 query digits on a plane, by t-SNE.", "name": "fig:dmsh-digits-tsne"}}
outputs = np.tanh(
    learners["trained"].outputs(digits.query.images)
)  # (300, 16)
ax = plots.tsne(outputs, digits.query.labels, digits.classes)

# %% [markdown]
# {numref}`fig:dmsh-digits-nearest` shows what a user would meet.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Six query digits, each followed by its five nearest images. In the first three rows all are of the class asked for; in the last three rows most are crossed, of another digit."}, "figure": {"caption": "Three queries that go well, and the three with the lowest average precision.", "name": "fig:dmsh-digits-nearest"}}
order = np.argsort(-reports["trained"].ap, kind="stable")
chosen = np.concatenate([order[:3], order[-3:]])
query, database, encode = (
    digits.query,
    digits.database,
    learners["trained"].encode,
)
asked, answers = (
    (query.images[chosen], query.labels[chosen]),
    (database.images, database.labels),
)
figure = plots.retrieved(
    asked[0],
    encode(asked[0]),
    asked[1],
    answers[0],
    encode(answers[0]),
    answers[1],
    nearest=5,
)

# %% [markdown]
# Do the bits earn their place? A good bit is 1 for half of the images, and no two bits say the same: their *correlation* is
# near 0. The *entropy* of the codes says how many fair coins they are worth ($\log_2$ of the number of codes if all are
# equally common).

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"table": {"caption": "The bits of 1,497 digits.", "name": "tbl:dmsh-bits"}}
figures.bits(
    {
        name: diagnostics.diagnose(m.encode(digits.database.images), K)
        for name, m in learners.items()
    }
)

# %% [markdown]
# Ten classes are worth $\log_2 10 \approx 3.3$ bits; what the entropy of the trained codes has beyond that is differences
# within a class, and errors. Sixteen bits that tell ten classes apart and little more cannot all be uncorrelated. The
# untrained network has bits that hardly ever change, and few codes; its correlation is that of the bits that do change.
#
# ### Several labels: scenes
#
# Nothing in the loss changes when images have several labels: $s_{ij}$ is 1 if two images share one.
# {numref}`fig:dmsh-scene` shows a scene that the network of {numref}`fig:dmsh-levels` has not seen, and what it finds:

# %% tags=["hide-input"] mystnb={"image": {"alt": "A query scene with two digits and the eight scenes nearest to its code, each with its Hamming distance; a tick marks those that share a digit with the query."}, "figure": {"caption": "A scene, and the eight scenes nearest to its code. A tick: a digit is shared.", "name": "fig:dmsh-scene"}}
shares = (
    scenes.database.labels @ scenes.query.labels[first_two] > 0
)  # (1497,)
asked = scenes.query.images[[first_two]]
figure = plots.retrieved(
    asked,
    on_scenes.encode(asked),
    np.array([1]),
    scenes.database.images,
    on_scenes.encode(scenes.database.images),
    shares,
)

# %% tags=["nbval-ignore-output"]
prior = (
    scenes.query.labels.astype(int) @ scenes.database.labels.T.astype(int)
    > 0
).mean()
print(f"mAP of three scales fused: {evaluate(on_scenes, scenes).map:.3f}")
print(
    f"of random codes: {prior:.3f}, the share of scenes with a common digit"
)

# %% [markdown]
# ## Is the fusion better than its best part?
#
# This is the claim that gives the paper its name, so we test it on its own. Every single scale and the fusion get the
# same head, loss and training. Verdicts (*above*, *below*, *open*) are those of {doc}`11_how_a_run_works`: the mean
# difference over runs with equal seeds, with an interval over seeds and one over queries; each verdict by itself. All runs
# below were made once and recorded: eight seeds each on the scenes, three on CIFAR-10. Settings were chosen on a validation
# part of the training images, and no query was used for it.
#
# ### Scenes, from scratch
#
# First the scenes, where the whole network is learned with the code. Two more networks take part as a control: a single
# scale that is reduced to three times as many features. If it is only the width that helps, it must help them too.
# *Pyramid* is another way to fuse, described later.


# %% tags=["hide-input"] mystnb={"table": {"caption": "Scenes, 16 bits, learning rate 0.01: mAP, and fused minus each (± over seeds ± over queries).", "name": "tbl:dmsh-scenes"}}
def gap(group, other):
    """Mean paired difference of mAP with its intervals and the verdict, in words."""
    one = difference(group, other)
    return f"{one}, {one.verdict}"


def maps_of(seeds, settings, **conditions):
    """mAP per seed of recorded runs, and the records."""
    group = tables.recorded(seeds, settings, method="dmsh", **conditions)
    return [record.map for record in group], group


spread = tables.spread
FUSED = "conv1+conv2+conv3"
WAYS = {
    "conv1": {"scales": "conv1"},
    "conv2": {"scales": "conv2"},
    "conv3": {"scales": "conv3"},
    "conv2, wide": {"scales": "conv2", "width": 192},
    "conv3, wide": {"scales": "conv3", "width": 192},
    "fused": {"scales": FUSED},
    "pyramid": {"scales": FUSED, "fusion": "pyramid"},
}
on_record = {
    name: maps_of(
        range(8),
        {"lr": 0.01, "width": 64, "fusion": "concat"} | way,
        dataset="digit_scenes",
        bits=K,
    )
    for name, way in WAYS.items()
}
scene_maps = {name: maps for name, (maps, _) in on_record.items()}
on_scene = {name: group for name, (_, group) in on_record.items()}
tables.table(
    ["scales", "mAP", "fused minus this"],
    *[
        [
            name,
            spread(maps),
            ""
            if name == "fused"
            else gap(on_scene["fused"], on_scene[name]),
        ]
        for name, maps in scene_maps.items()
    ],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "mAP on digit_scenes in seven columns, a dot per seed. conv1 is lowest, conv3 higher, conv2 higher still, and widening lifts neither of them. The dots of fused lie about as high as those of conv2, and as far apart. The pyramid, at the right, reaches a little higher."}, "figure": {"caption": "Scenes, 16 bits: a dot is a seed. The fusion is about as high as conv2 alone.", "name": "fig:dmsh-scenes"}}
ax = figures.by_scale(
    scene_maps,
    "mAP",
    "fused",
    plots.subplots(figsize=(8, 3.6))[1],
)

# %% [markdown]
# At this learning rate ({numref}`fig:dmsh-scenes`) the claim holds in part. The fusion is above `conv1` and above `conv3`. Against `conv2`, whose
# places see about as much as a digit is large, it is open, and the mean of `conv2` alone is the higher one. The wide
# controls have no higher mean than the narrow ones, so width hardly is what the single scales miss. Of two rates 0.01 was
# the better or nearly the better one for every choice of scales, in one run each on the validation part. Here is the other, 0.003,
# {numref}`tbl:dmsh-scenes-slow`:

# %% tags=["hide-input"] mystnb={"table": {"caption": "Scenes, 16 bits, learning rate 0.003.", "name": "tbl:dmsh-scenes-slow"}}
slower = {
    name: maps_of(
        range(8),
        {"lr": 0.003, "width": 64} | WAYS[name],
        dataset="digit_scenes",
        bits=K,
    )
    for name in ("conv1", "conv2", "conv3", "fused")
}
slow_scene = {name: group for name, (_, group) in slower.items()}
best_rates = difference(slow_scene["fused"], on_scene["conv2"])
print(
    "fused at 0.003, minus conv2 at 0.01:",
    f"{best_rates}, {best_rates.verdict}",
)
tables.table(
    ["scales", "mAP", "fused minus this", "mAP at rate 0.01"],
    *[
        [
            name,
            spread(maps),
            ""
            if name == "fused"
            else gap(slow_scene["fused"], slow_scene[name]),
            spread(scene_maps[name]),
        ]
        for name, (maps, _) in slower.items()
    ],
)

# %% [markdown]
# Now the fusion is above every single scale. But `conv2` is better at 0.01, and the fusion, at either of its own rates, is
# not above that. So the answer hangs on the rate: *with equal settings* the paper's claim
# holds at one rate and is open at the other; *at the better setting of each* it is open, with the means the other way
# round. An ablation that fixes one setting for all, as is usual, would have found either. (The runs at 0.003 were made after the
# queries had been asked at 0.01, and five of the eight seeds after that, because three had left the comparison with
# `conv3` open. So these tables are a second look, not a fresh test.)
#
# ### CIFAR-10, frozen features
#
# Now photographs: CIFAR-10 {cite:p}`krizhevsky2009cifar`, ten classes, 32×32 pixels. The protocol `cifar10-59k` has
# 1,000 queries, 5,000 training images, and 59,000 images that are searched. Here the network is *frozen*: a
# MobileNetV2 with the weights of ImageNet, which sees the images enlarged to 128 pixels and is not trained further. Its
# levels are given, and the question is only what can be read from them. Each choice of scales got the learning rate that
# served it best on the validation part, at 24 bits and one seed: 0.001, 0.003 and 0.01 were tried for all, and 0.03 for
# `conv3` and `conv4`, whose best was the largest of the three.

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-10, frozen features: mAP, and fused minus each level.", "name": "tbl:dmsh-frozen"}}
FROZEN = {
    "backbone": "mobilenet_v2",
    "frozen": True,
    "size": 128,
    "fusion": "concat",
    "width": 256,
}
LEVELS = {
    "conv3": (32, 0.01),
    "conv4": (96, 0.01),
    "conv5": (1280, 0.003),
    "fused": (1408, 0.003),
}  # maps, rate
cifar = {"protocol": "cifar10-59k"}
frozen, frozen_runs = {}, {}
for (name, (_, lr)), bits in product(LEVELS.items(), (12, 48)):
    scales = "conv3+conv4+conv5" if name == "fused" else name
    frozen[name, bits], frozen_runs[name, bits] = maps_of(
        range(3), FROZEN | {"scales": scales, "lr": lr}, bits=bits, **cifar
    )
tables.table(
    [
        "level",
        "maps",
        "mAP, 12 bits",
        "mAP, 48 bits",
        "fused minus this, 12 bits",
        "48 bits",
    ],
    *[
        [
            name,
            LEVELS[name][0],
            *(spread(frozen[name, bits]) for bits in (12, 48)),
        ]
        + [
            ""
            if name == "fused"
            else gap(frozen_runs["fused", bits], frozen_runs[name, bits])
            for bits in (12, 48)
        ]
        for name in LEVELS
    ],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "mAP on CIFAR-10 with frozen features at 48 bits, a dot per seed: conv3 is far below the rest, then come conv4, conv5 and fused, each higher than the one before, with no overlap."}, "figure": {"caption": "CIFAR-10, frozen, 48 bits: a dot is a seed. Here the fusion is above every level.", "name": "fig:dmsh-frozen"}}
ax = figures.by_scale(
    {name: frozen[name, 48] for name in LEVELS}, "mAP", "fused"
)

# %% [markdown]
# Here the claim holds ({numref}`fig:dmsh-frozen`). The fusion is above every single scale at both lengths, and the single scales come in the order of
# their depth. What the last level forgets is still useful, although `conv3` and `conv4` on their own are far behind.
#
# Note what the row `conv5` has: the same input as nearly all methods of {doc}`10_side_by_side`, the last level of this
# network, but three layers on it where those have one. At 12 bits it stands above every other method there. So what puts
# DMSH on top of that table is to a large part its head, not its scales. In {numref}`fig:dmsh-frozen-pr` the curves
# lie in the same order.


# %% tags=["hide-input"] mystnb={"image": {"alt": "Precision against recall on CIFAR-10 with frozen features and 48 bits, one curve each for conv3, conv4, conv5 and fused. conv3 runs lowest, then conv4, then conv5, and fused runs highest."}, "figure": {"caption": "CIFAR-10, frozen, 48 bits, first seed: precision and recall by radius.", "name": "fig:dmsh-frozen-pr"}}
def curve(record):
    """Precision and recall per radius, as a record keeps them."""
    said = record["metrics"]
    return SimpleNamespace(
        **{
            key: np.array(said[key], float)
            for key in ("precision", "recall")
        }
    )


ax = plots.precision_recall(
    {name: curve(frozen_runs[name, 48][0]) for name in LEVELS}
)

# %% [markdown]
# ### CIFAR-10, the network fine-tuned
#
# The same protocol and the same levels, but now all layers are trained along with the code, as a paper on deep hashing
# would have it: from the weights of ImageNet, for eight epochs, on images enlarged to 96 pixels. Two learning rates were
# tried on the validation part, at 12 bits and with one seed, for each choice of scales; the larger served all. (Nine tenths
# of the training images were searched there, which the network knows by heart; {doc}`10_side_by_side` shows what that does
# to a choice.) With it the queries were asked about the fusion and its strongest rival, the last level:

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-10, the whole network trained.", "name": "tbl:dmsh-tuned"}}
TUNED = {
    "backbone": "mobilenet_v2",
    "frozen": False,
    "size": 96,
    "epochs": 8,
    "fusion": "concat",
}
SCALES = {
    "conv3": "conv3",
    "conv4": "conv4",
    "conv5": "conv5",
    "fused": "conv3+conv4+conv5",
}
tried = {
    (name, lr): maps_of(
        [0],
        TUNED | {"scales": scales, "lr": lr},
        bits=12,
        protocol="cifar10-59k/tuning",
    )[0][0]
    for (name, scales), lr in product(SCALES.items(), (0.0003, 0.001))
}
tuned = {
    (name, bits): maps_of(
        range(3),
        TUNED | {"scales": SCALES[name], "lr": 0.001},
        bits=bits,
        **cifar,
    )
    for name, bits in product(("conv5", "fused"), (12, 48))
}
tables.table(
    ["", "mAP, 12 bits", "mAP, 48 bits"],
    *[
        [name, *(spread(tuned[name, bits][0]) for bits in (12, 48))]
        for name in ("conv5", "fused")
    ],
    [
        "fused minus conv5",
        *(
            gap(tuned["fused", bits][1], tuned["conv5", bits][1])
            for bits in (12, 48)
        ),
    ],
)

# %% [markdown]
# Trained all through, the fusion is above the frozen fusion at both lengths, and the last level is above the frozen last
# level at 12 bits. Whether the fusion is above the last level is open at both. At 48 bits the mean difference is large, and new queries would not change that, but the
# three runs of the last level lie so far apart that three seeds cannot show it. That level does worse with more
# bits here: its rate was chosen at 12 bits, among two. So how much of the difference is the fusion's merit, how much a
# poor rate, and how much chance, cannot be said.
#
# ### CIFAR-10, from scratch
#
# And a network that knows nothing at first: the small one that the scenes have, on photographs of 32 pixels, for twenty
# epochs. Three rates were tried for each choice of scales, and graded by how held-out images find each other; the middle one
# serves all, or does no harm.

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-10 from scratch, 12 bits: mAP at rate 0.01, and fused minus each level.", "name": "tbl:dmsh-scratch"}}
SCRATCH = {
    "backbone": "quick",
    "epochs": 20,
    "width": 64,
    "fusion": "concat",
}
LRS = (0.003, 0.01, 0.03)
graded = {
    (name, lr): comparison.unseen(
        maps_of(
            [0],
            SCRATCH | WAYS[name] | {"lr": lr},
            bits=12,
            protocol="cifar10-59k/tuning",
        )[1][0]
    )
    for name, lr in product(("conv1", "conv2", "conv3", "fused"), LRS)
}
small, small_runs = {}, {}
for name in ("conv1", "conv2", "conv3", "fused"):
    small[name], small_runs[name] = maps_of(
        range(3), SCRATCH | WAYS[name] | {"lr": 0.01}, bits=12, **cifar
    )
tables.table(
    ["level", "mAP", "fused minus this"],
    *[
        [
            name,
            spread(maps),
            ""
            if name == "fused"
            else gap(small_runs["fused"], small_runs[name]),
        ]
        for name, maps in small.items()
    ],
)

# %% [markdown]
# The levels come in the order of depth once more. But whether the
# fusion is above the last level is open: one run on the validation part had it ahead, three on the queries have a lower
# mean.
#
# ### Beside the reported figures
#
# DMSH's own figures we have not seen. Its follow-up DFPH {cite:p}`redaoui2023dfph` prints an ablation: mAP on CIFAR-10,
# averaged over code lengths that we have not seen, with a VGG-19. Values must not be compared with ours; their *order* can
# be.

# %% tags=["hide-input"] mystnb={"table": {"caption": "The ablation of DFPH, as reported, and ours: compare the order only.", "name": "tbl:dmsh-reported"}}
ablation = [
    row for row in reported.load("dmsh") if row["dataset"] == "CIFAR-10"
]
ours = {
    "Conv 4 only": "conv4",
    "Conv 5 only": "conv5",
    "all scales": "fused",
}
tables.table(
    [
        "scales",
        "DFPH, as reported",
        "status",
        "here: frozen MobileNetV2, 12 bits",
        "48 bits",
    ],
    *[
        [row["method"].split(", ")[1], row["value"], row["status"]]
        + [
            spread(frozen[ours[row["method"].split(", ")[1]], bits])
            for bits in (12, 48)
        ]
        for row in ablation
    ],
)

# %% [markdown]
# The order is the same: the later level is better than the earlier, and all scales are better than either. Note that
# DFPH's last row is its pyramid, ours is the plain fusion, and that ours also reads `conv3`.
#
# {doc}`06b_dmsh_on_real_images` asks the same of another network, at four lengths, beside other methods, and goes through
# the claims one by one. The commands that make the runs of this page are in the folded cell.

# %% tags=["hide-cell"]
groups = [on_record[name][1] for name in ("conv1", "fused", "pyramid")]
groups += [frozen_runs["conv3", 12], frozen_runs["fused", 12]]
groups += [tuned["fused", 12][1], small_runs["fused"]]
print("\n".join(tables.command(group) for group in groups))

# %% [markdown]
# ## The pyramid of the follow-up
#
# Plain fusion lets scales meet only after each has been averaged. The *pyramid* of DFPH lets them talk earlier. From the
# coarsest level down, its maps are enlarged and added to those of the next finer level, after 1×1 convolutions have given
# all the same number of maps; a 3×3 convolution follows. So fine places learn from coarse ones what they are part of.
# Every level then has a code of its own, and a last layer fuses them:
#
# $$ \begin{gathered} v^3 = A_3 * x^3, \qquad v^l = A_l * x^l + \operatorname{enlarge}\left( v^{l+1} \right), \\
#    z^l = W_l \operatorname{mean} \max\left( 0,\; G_l * v^l \right) + \beta_l,
#    \qquad z = W \left[ z^1; z^2; z^3 \right] + \beta . \end{gathered} $$ (eq:dmsh-pyramid)
#
# ($v^l$ are the maps of the pyramid on level $l$, $*$ is a convolution, $A_l$ are 1×1 and $G_l$ 3×3.) We train it with
# the mean of the loss over the fused outputs and
# those of the levels. {numref}`fig:dmsh-pyramid` is the drawing. That there is a top-down path, and that codes are learned at several scales and then fused, was
# read; the rest is our choice.

# %% mystnb={"image": {"alt": "A diagram like the one before: three levels, each followed by 1 by 1, 3 by 3, mean and hash. Arrows with a plus sign lead from the 1 by 1 box of each level down to that of the level below. The three hash boxes lead to fuse, then code."}, "figure": {"caption": "The pyramid: coarse levels speak to finer ones before codes are made.", "name": "fig:dmsh-pyramid"}}
ax = figures.wiring(["conv1", "conv2", "conv3"], pyramid=True)

# %% tags=["hide-cell"]
tables.source(dmsh.Pyramid)

# %% [markdown]
# Its runs on the scenes stand in {numref}`tbl:dmsh-scenes`. Its mean is higher than that of the plain fusion, but over eight seeds
# the interval of the difference holds both signs: open.
#
# ## What we learned
#
# - A 1×1 convolution and a mean over places can change places, {eq}`eq:dmsh-mean`. So a frozen network needs to be asked
#   once, whatever the scales.
# - The pairwise likelihood {eq}`eq:dmsh-pair` is logistic regression on $\Theta = K/2 - d$: half of the bits is the
#   border between similar and not.
# - On photographs and with a frozen network, fusing three levels is above the best single one, as the paper says, and
#   the levels come in the order that the group's own ablation has.
# - With the network fine-tuned it is open at both lengths whether the fusion is above the last level.
# - With a small network learned from scratch on photographs it is open, too, and the fusion has the lower mean.
# - On scenes and with a small network learned from scratch it depends on the learning rate. At the better rate of each,
#   the level whose receptive field fits a digit has the higher mean.
# - Layers between features and bits are worth much: at 12 bits, on the last level alone, this head has a higher
#   mAP than any other method of {doc}`10_side_by_side`.
#
# **What did not reproduce, and what stays open.** That the fusion is above *every* single scale whenever a network is
# trained along with the code. What was tried on the scenes: two rates, a wider single scale, the pyramid. NUS-WIDE has not
# been run.
#
# (sec:dmsh-ledger)=
# ## The ledger
#
# **Seen**: read in the named source. **Inferred**: our judgement, read nowhere. **Not seen**: wanted, and not available
# to us. DFPH (*Information* 14(1), 6, 2023), DSHFMDF (*Information* 15(3), 143, 2024) and MDFF-SH (*Journal of Imaging*
# 11(1), 20, 2025) are later papers by the same group.
#
# | element | status | what the source says | what we chose |
# |---|---|---|---|
# | several convolutional layers, fused, then hashed | seen (abstract) | the last layer alone ignores structure; multi-scale features make a more robust representation | the same |
# | which layers | not seen; seen for MDFF-SH | MDFF-SH: last layers of the blocks conv3, conv4, conv5, and the fully connected layer, of a ResNet-50 | the last three levels of convolutions (inferred) |
# | network | not seen; seen for DFPH | DFPH: VGG-19, the best of VGG-13, 16 and 19 | MobileNetV2, frozen and fine-tuned (CIFAR-10), and a small network from scratch (`digits`, scenes, CIFAR-10) |
# | reduction | not seen; seen for DFPH's ablation | 3×3 and 1×1 convolutions | standardised means, 1×1, rectifier: {eq}`eq:dmsh-reduce` (inferred) |
# | fusion operator | not seen; seen in words for DSHFMDF | "fusion layer" | side by side, then fully connected: {eq}`eq:dmsh-fuse` (inferred) |
# | loss | not seen | nothing | {eq}`eq:dmsh-loss` (inferred: the loss of DPSH) |
# | weight $\lambda$, activation | not seen | nothing | 0.1 and tanh |
# | top-down pyramid | seen (DFPH) | codes learned at several scales, then fused | {eq}`eq:dmsh-pyramid`; details and the sum of losses inferred; never part of what we call DMSH |
# | data sets | seen (abstract) | CIFAR-10 and NUS-WIDE | CIFAR-10; `digit_scenes` for several labels |
# | NUS-WIDE | | | the package reads it (`nuswide21`) and DMSH takes its labels; its images were not at hand, so there is no run |
# | splits, code lengths, metric, schedule, baselines | not seen | nothing | `cifar10-59k`; mAP over the whole ranking, expected under ties |
# | reported figures of DMSH | not seen | | none |
# | reported ablation of DFPH | seen | 58, 76.5 and 82.75 per cent | set beside ours as an order only |
#
# Table: The ledger of DMSH.
#
# A reader who owns the paper can fill a gap by adding a row to `src/hashlab/chapters/papers/dmsh.csv`, or by telling us.
#
# ## Exercises
#
# ### Exercise 1: how far apart can ten classes be?
# Suppose every class has one code of $K$ bits, and there are $C$ classes. How large can the mean Hamming distance of
# two different classes be? What does that mean for {eq}`eq:dmsh-theta` when $C = 10$ and $K = 16$?
#
# <details class="solution"><summary>Solution</summary>
#
# A bit that is 1 for $g$ classes separates $g\,(C - g)$ of the $C (C-1)/2$ pairs; that is most for $g = C/2$. So the mean
# distance is at most $K \cdot \frac{C^2/4}{C (C-1)/2} = \frac{K}{2} \cdot \frac{C}{C-1}$. For ten classes and 16 bits that
# is $80/9 \approx 8.9$, hardly more than half of the bits: $\Theta \ge -8/9$ on average, and as the loss is convex in
# $\Theta$, dissimilar pairs keep a mean loss of at least $\log(1 + e^{-8/9}) \approx 0.34$. The loss {eq}`eq:dmsh-loss` cannot come near 0, and with longer codes
# the dissimilar half can get lower.
#
# </details>
#
# (sec:dmsh-exercise-2)=
# ### Exercise 2: what the quantisation term settles
# Take two similar images with a single bit and $u_1 = u_2 = u$. Where is $\ell = \log(1 + e^{u^2/2}) - u^2/2$ smallest?
# And where is the loss smallest that has $\lambda (1 - |u|)^2$ added? Now let the bit be torn, with one similar and one
# dissimilar partner at $u_2 = u_3 = 1$.
#
# <details class="solution"><summary>Solution</summary>
#
# The first falls as $|u|$ grows, so with $\tanh$ it has no minimum inside; outputs run to the ends by themselves, and
# the quantisation term pulls the same way. For the torn bit, $\Theta = u/2$ with both partners, and the two losses add up
# to $2 \log(1 + e^{u/2}) - u/2$, which is smallest at $u = 0$, on the fence. The term
# has a peak with a kink at 0, which turns the fence into a maximum: the bit has to choose.
#
# </details>
#
# ### Exercise 3: order matters
# In {eq}`eq:dmsh-reduce` the rectifier stands after the mean. Put it before, $g^l = \operatorname{mean}_p \max(0, A_l x^l_p
# + \beta_l)$, and {eq}`eq:dmsh-mean` no longer helps. Find two maps with the same mean that the second form tells apart and
# the first does not.
#
# <details class="solution"><summary>Solution</summary>
#
# One map with two places, $A = 1$, $\beta = -1$: the values $(1, 1)$ and $(2, 0)$ have the same mean, so the first form gives
# $\max(0, 1 - 1) = 0$ for both. The second gives $0$ and $\tfrac12$. It sees that somewhere there is much, even if the mean
# is low; the price is that the maps must be kept, not only their means.
#
# </details>
#
# ### Exercise 4: what a place sees
# Layers are pairs (width of the window, step), from the image on. A window of 3 that moves by 1 sees 3 pixels; a second
# one behind it sees 5. Behind a layer that moves by 2, every further pixel of a map is 2 pixels of the image. Write the
# receptive field of a place behind a list of layers. (The small network of this chapter repeats a convolution of 3, step 1,
# and a maximum over 2, step 2: compare with the frames of {numref}`fig:dmsh-levels`; the last is
# cut off at the border.)


# %%
def field(layers):
    # your lines; layers: pairs (width, step)
    ...


BLOCK = [(3, 1), (2, 2)]
FIELDS = [
    (([(3, 1)],), 3),
    (([(3, 1)] * 2,), 5),
    ((BLOCK,), 4),
    ((BLOCK * 2,), 10),
]
exercises.check(field, *FIELDS)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def field(layers):
    seen, step = 1, 1
    for width, move in layers:
        seen += (width - 1) * step
        step *= move
    return seen


exercises.check(field, *FIELDS, required=True)

# %% [markdown]
# ### Exercise 5: half a vote for each kind
# Write the likelihood part of {eq}`eq:dmsh-loss` for outputs $u$ (M, K) and labels (M,), in NumPy: the mean over similar
# pairs and the mean over dissimilar pairs, half of each; no image with itself. `np.logaddexp(0, x)` is $\log(1 + e^x)$.


# %%
def likelihood(u, labels):
    # your lines; u: (M, K), labels: (M,)
    ...


U = np.tanh(np.random.default_rng(0).normal(size=(6, 8)))
LABELS = np.array([0, 0, 1, 1, 2, 2])
BATCHES = [
    (
        (U[:n], LABELS[:n]),
        dmsh.dmsh_loss(torch.tensor(U[:n]), torch.tensor(LABELS[:n]), 0.0),
    )
    for n in (4, 6)
]
exercises.check(likelihood, *BATCHES)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def likelihood(u, labels):
    theta = u @ u.T / 2
    similar = labels[:, None] == labels
    others = ~np.eye(len(u), dtype=bool)
    loss = np.logaddexp(0, theta) - similar * theta
    return (loss[similar & others].mean() + loss[~similar].mean()) / 2


exercises.check(likelihood, *BATCHES, required=True)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %% tags=["hide-input"]
# The formulas
assert (
    torch.allclose(last, first, atol=1e-6)
    and (by_formula - by_autograd).abs().max() < 1e-12
)
assert [last - first + 1 for first, last in seen.values()] == [4, 10, 15]
every = torch.tensor(list(product([-1.0, 1.0], repeat=4)))
assert np.array_equal(
    (every @ every.T / 2).numpy(),
    4 / 2 - codes.hamming(*[codes.pack(every.numpy() > 0)] * 2),
)
assert np.allclose([lines[kind][1][K // 2] for kind in lines], np.log(2))
assert abs(np.diff(lines["similar"][1])[-1] - 1) < 0.01

# The runs: what is learned is learned from the loss
assert reports["trained"].map > 0.85 > 0.4 > reports["untrained"].map
assert (
    learners["trained"].history[-1]["loss"]
    < 0.6 * learners["trained"].history[0]["loss"]
)
assert evaluate(on_scenes, scenes).map > prior + 0.15


def above(group, other):
    return difference(group, other).verdict == "above"


def is_open(group, other):
    return difference(group, other).verdict == "open"


# Scenes from scratch: above every single scale at one rate, open at the other and at the better of each
for name in ("conv1", "conv3"):
    assert above(on_scene["fused"], on_scene[name])
against_conv2 = difference(on_scene["fused"], on_scene["conv2"])
assert against_conv2.verdict == "open" and against_conv2.mean < 0
assert (
    np.mean(scene_maps["conv2"])
    > np.mean(scene_maps["conv3"])
    > np.mean(scene_maps["conv1"])
)
assert all(
    np.mean(scene_maps[f"{name}, wide"]) < np.mean(scene_maps[name])
    for name in ("conv2", "conv3")
)
assert np.mean(scene_maps["pyramid"]) > np.mean(scene_maps["fused"])
assert is_open(on_scene["pyramid"], on_scene["fused"])
assert all(
    above(slow_scene["fused"], slow_scene[name])
    for name in ("conv1", "conv2", "conv3")
)
assert above(on_scene["conv2"], slow_scene["conv2"])
assert best_rates.verdict == "open" and best_rates.mean < 0

# CIFAR-10, frozen: above every single scale, which come in the order of depth, as in the reported ablation
for bits in (12, 48):
    assert all(
        above(frozen_runs["fused", bits], frozen_runs[name, bits])
        for name in ("conv3", "conv4", "conv5")
    )
    for worse, better in (("conv3", "conv4"), ("conv4", "conv5")):
        assert above(frozen_runs[better, bits], frozen_runs[worse, bits])

# The head on the last level, at 12 bits, is above all methods with the same input
others = records.load(protocol="cifar10-59k", bits=12)
linear = [
    r.map
    for r in others
    if r["config"].get("frozen") is True and r.method != "dmsh"
]
assert len(linear) > 30 and min(frozen["conv5", 12]) > max(linear)

# From scratch: the levels in the order of depth, the last one open
for worse, better in (("conv1", "conv2"), ("conv2", "conv3")):
    assert above(small_runs[better], small_runs[worse])
assert above(small_runs["fused"], small_runs["conv2"])
assert is_open(small_runs["fused"], small_runs["conv3"])
assert np.mean(small["fused"]) < np.mean(small["conv3"])
assert graded["fused", 0.01] > graded["conv3", 0.01]
assert all(
    graded[name, 0.01]
    > max(graded[name, 0.003], graded[name, 0.03]) - 0.002
    for name in small
)

# Fine-tuned: on validation the same order at both rates; on the queries the last level is open
for lr in (0.0003, 0.001):
    assert sorted(SCALES, key=lambda name: tried[name, lr]) == [
        "conv3",
        "conv4",
        "conv5",
        "fused",
    ]
assert all(tried[name, 0.001] > tried[name, 0.0003] for name in SCALES)
for bits in (12, 48):
    assert is_open(tuned["fused", bits][1], tuned["conv5", bits][1])
    assert above(tuned["fused", bits][1], frozen_runs["fused", bits])
at_48 = difference(tuned["fused", 48][1], tuned["conv5", 48][1])
assert at_48.mean > 0.05 and at_48.queries.low > 0 > at_48.seeds.low
assert above(tuned["conv5", 12][1], frozen_runs["conv5", 12])
assert (
    np.mean(tuned["conv5", 48][0]) < np.mean(tuned["conv5", 12][0])
    and np.ptp(tuned["conv5", 48][0]) > 0.05
)
assert [row["value"] for row in ablation] == sorted(
    row["value"] for row in ablation
) and len(ablation) == 3

# Exercises
assert (
    f"{80 / 9:.1f}" == "8.9"
    and f"{np.log(1 + np.exp(-8 / 9)):.2f}" == "0.34"
)
print("every claim holds")
