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
# # Zhang et al. 2019: hierarchies
#
# Not all mistakes are equal. Ask a search engine for a maple, and an oak among the answers is a small mistake; a lorry is
# a large one. Most methods of this book know only right and wrong. {cite:t}`zhang2019shpdh` teach the codes a whole tree
# of classes, *maple, tree, plant*, so that what is not quite right is at least near. Their method is called SHPDH, or HPDH
# in their code.
#
# This chapter builds the loss from a picture of clouds, runs it on digits with and without the tree, and measures on
# CIFAR-100 what the tree is worth. It uses codes, Hamming distance and mean average precision (mAP) as
# {doc}`01_hamming_space` introduces them, and the letters of {doc}`../book/notation`; these are new:
#
# | symbol | meaning |
# |---|---|
# | $u_i \in \mathbb{R}^K$ | the output for image $i$: here that of a linear layer, $u_i = z_i$ |
# | $y_i^l$ | the class of image $i$ on level $l$ of the tree: 1 is the finest, $L$ the coarsest |
# | $C_l$ | how many classes level $l$ has |
# | $\mu^l_m \in \mathbb{R}^K$ | the centre of class $m$ of level $l$ |
# | $\kappa_l = 1/\sigma_l^2$ | one over the variance of the classes of level $l$; the setting `s` |
#
# Table: Symbols of this chapter.
#
# > **What was read and what was not.** The loss, its weights and the rule for the centres are those of the authors'
# > [published code](https://github.com/mzhang367/hpdh). Of the paper itself we could read the title, the abstract and
# > the first lines of the introduction; its tables of results we have not seen. The [ledger](#sec:shpdh-ledger) says
# > what was read or chosen by us.

# %%
from itertools import product

import numpy as np
import torch
from torch import nn

from hashlab import codes, data, methods, metrics
from hashlab.chapters import exercises
from hashlab.chapters.tables import source, table
from hashlab.losses import clouds
from hashlab.methods import shpdh

# %% tags=["hide-input"]
from hashlab import plots
from hashlab.chapters.differences import (
    difference,
    verdicts,
    with_verdicts,
)
from hashlab.chapters.figures import shpdh as figures
from hashlab.chapters.tables import command, recorded, spread

# %% [markdown]
# ## The problem in one picture
#
# The data set `digit_tree` has 1,797 real handwritten digits of 8×8 pixels and a small tree that we have put above them,
# {numref}`fig:shpdh-tree`.

# %% tags=["hide-input"] mystnb={"image": {"alt": "A tree. Its root has three branches: loop, stroke and curve. Below loop stand images of the digits 0, 6, 8 and 9, below stroke 1, 4 and 7, below curve 2, 3 and 5."}, "figure": {"caption": "Digits with a loop, of straight strokes, and with an open curve: ten classes on the fine level, three on the coarse one.", "name": "fig:shpdh-tree"}}
digits = data.load("digit_tree")
# (10,): the shape of each digit
shape_of = np.array([shape for _, shape in digits.info.tree])
shapes = digits.info.levels[1]
first_of_each = [
    np.flatnonzero(digits.train.labels == label)[0] for label in range(10)
]
ax = figures.tree(digits.train.images[first_of_each], shape_of, shapes)

# %% [markdown]
# Now train the same network twice, from the same start, to give each digit 16 bits. The *flat* one is told the digits
# only; the other is told the *tree*. Three seeds each; the first is shown.

# %%
K = 16
SETTINGS = {"epochs": 10, "batch_size": 64, "shift": 1}
NAMES = {1: "flat: the digit only", 2: "tree: digit and shape"}
SEEDS = range(3)

learners = {}
for levels, seed in product(NAMES, SEEDS):
    learner = methods.create("shpdh", K, levels=levels, **SETTINGS)
    learners[levels, seed] = learner.fit(digits.train, seed=seed)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two stacked charts of what the 300 queries find at ranks 1 to 800. In both, most of the first 150 ranks hold the same digit. In the flat chart the ranks after it are a mixture in which same shape is about as common as chance would have it. In the tree chart most ranks from 150 to 450 hold another digit of the same shape."}, "figure": {"caption": "What 300 query digits find at each rank of the 1,497 others, ranked by Hamming distance. Dashed: how many images a digit has, 150, and the smaller shapes, 450. Only the network with the tree goes on with digits of the same shape.", "name": "fig:shpdh-ranks"}}
query, database = digits.query, digits.database
sides = (query, database)
shares = {}
for levels, name in NAMES.items():
    packed = [learners[levels, 0].encode(part.images) for part in sides]
    shares[name] = figures.agreement_by_rank(
        *packed, query.levels, database.levels
    )[:800]
kinds = ["same digit", "other digit of the same shape", "another shape"]
figure = figures.ranks(shares, kinds, marks=(150, 450))

# %% [markdown]
# Up to the first dashed line of {numref}`fig:shpdh-ranks` the two networks do the same: they find the digit. What comes
# *after* is left to chance by the flat one. The other goes on with digits of the same shape. How? In four steps
# ({numref}`fig:shpdh-network`):
#
# 1. **A class is a cloud.** The outputs of its images lie around a centre. The network is trained so that each image lies
#    closer to the centre of its own class than to any other.
# 2. **A family of classes is a wider cloud.** Do the same on every level of the tree: maples around the centre of maples,
#    trees around the centre of trees.
# 3. **A parent stands in the middle of its children.** The centre of trees is the mean of the centres of maple, oak,
#    pine. So the levels pull together, not against each other.
# 4. **Stay near the corners.** Codes are signs; penalties keep the outputs close to $-1$ and $+1$, so that little is lost
#    when they become bits.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Boxes and arrows from left to right. An image goes through the network to its output u of K numbers. From u arrows lead to three losses: one for the fine centres, one for the coarse centres, which are the means of the fine ones, and the penalties that keep u near the corners. The two losses on centres stand out."}, "figure": {"caption": "One output, a loss on each level of the tree, and penalties. Centres are no weights: they are moved to the means after each epoch, fine ones first, coarse ones to the middle of those.", "name": "fig:shpdh-network"}}
ax = figures.network()

# %% [markdown]
# ## The loss, step by step
#
# ### Classes as clouds
#
# Take one level and leave its number away. Suppose the outputs of class $m$ are spread around the centre $\mu_m$ as a
# Gaussian with variance $1/\kappa$ in every direction, and that all classes are equally likely. Bayes' rule then says how
# likely class $m$ is where we see the output $u$. The constant in front of the Gaussians cancels:
#
# $$ p(m \mid u) = \frac{\exp\left( -\frac{\kappa}{2} \lVert u - \mu_m \rVert^2 \right)}
#    {\sum_{m'} \exp\left( -\frac{\kappa}{2} \lVert u - \mu_{m'} \rVert^2 \right)} . $$ (eq:shpdh-posterior)
#
# The loss of a batch of $M$ images is the usual one for probabilities, minus the logarithm of that of the true class:
#
# $$ \mathcal{L} = -\frac{1}{M} \sum_{i=1}^{M} \log p(y_i \mid u_i) . $$ (eq:shpdh-classwise)
#
# A large $\kappa$ means narrow clouds and a sharp border; with a small one an image must lie far on its own side before
# the loss is content ({numref}`fig:shpdh-clouds`).

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three S-shaped curves of the probability of the right-hand class against the position between minus two and two. All pass through one half at 0; the curve for kappa = 4 is steep, that for kappa = 0.25 is nearly a straight slope."}, "figure": {"caption": "Two centres on a line, at −1 and +1: how likely the class on the right is, for narrow clouds (κ = 4) and wide ones.", "name": "fig:shpdh-clouds"}}
ax = figures.borders((4.0, 1.0, 0.25))

# %% [markdown]
# ### What the gradient does
#
# Write $\bar\mu(u) = \sum_m p(m \mid u)\, \mu_m$ for the centre that the network *expects*, its mean guess. Differentiate
#
# $$ \begin{aligned}
# -\log p(y \mid u) &= \frac{\kappa}{2} \lVert u - \mu_y \rVert^2 \\
#    &\quad + \log \sum_m e^{ -\frac{\kappa}{2} \lVert u - \mu_m \rVert^2 } ,
# \end{aligned} $$
#
# and $u$ itself drops out of the difference:
#
# $$ \begin{aligned}
# & \frac{\partial}{\partial u} \left[ -\log p(y \mid u) \right] \\
# &\quad = \kappa\,(u - \mu_y) - \kappa \sum_m p(m \mid u)\, (u - \mu_m) \\
# &\quad = \kappa\, \bigl( \bar\mu(u) - \mu_y \bigr) .
# \end{aligned} $$ (eq:shpdh-gradient)
#
# A step against the gradient moves $u$ from the centre where it is guessed towards the centre where it belongs. When the
# guess is right, $\bar\mu = \mu_y$, and the pull is gone. Automatic differentiation agrees:

# %%
# 4 images, 3 classes, 5 bits
generator = torch.Generator().manual_seed(0)
u = torch.randn(4, 5, generator=generator).double().requires_grad_()
centres = torch.randn(3, 5, generator=generator).double()
y, s = torch.tensor([0, 2, 1, 1]), 0.5
loss = clouds.class_wise_loss(u, y, centres, s)
by_autograd = torch.autograd.grad(loss, u)[0]
logits = -s / 2 * clouds.squared_distances(u, centres)
p = torch.softmax(logits, 1).detach()  # (4, 3)
# the loss is a mean over 4 images
by_formula = s * (p @ centres - centres[y]) / 4
agree = torch.allclose(by_autograd, by_formula, rtol=0, atol=1e-12)
print("they agree to twelve digits:", agree)

# %% [markdown]
# ### One cloud per level
#
# The tree gives each image a class on every level. SHPDH adds up the losses of all levels, each with its own centres and
# its own variance:
#
# $$ \begin{aligned}
# \mathcal{L}_{\text{class}} &= \sum_{l=1}^{L} \mathcal{L}_l , \\
# \mathcal{L}_l &= -\frac{1}{M} \sum_{i=1}^{M} \log
#    \frac{e^{ -\frac{\kappa_l}{2} \lVert u_i - \mu^l_{y_i^l} \rVert^2 }}
#    {\sum_{m} e^{ -\frac{\kappa_l}{2} \lVert u_i - \mu^l_{m} \rVert^2 }} .
# \end{aligned} $$ (eq:shpdh-levels)
#
# No level has a weight of its own; what tells them apart is $\kappa_l$. The authors take $\kappa = (1, 0.5)$ for two
# levels and $(1, 0.67, 0.5, 0.25)$ for four: the coarser the level, the wider its clouds, as it should be when a cloud
# holds several others.
#
# A small example: four classes of 3 bits in two families, and an image of class 0 that sits exactly on the centre of class
# $m$. How much does it pay?

# %% mystnb={"table": {"caption": "What an image of class 0 pays on both levels where it sits. The fine level charges by distance, the coarse one for another family only.", "name": "tbl:shpdh-pays"}}
fine = torch.tensor([[1.0, 1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]])
coarse = torch.stack([fine[:2].mean(0), fine[2:].mean(0)])
truth = torch.tensor([0])  # class 0, and its family is family 0


def pays(m):
    """The loss on each level of an image on the centre of class m."""
    on_fine = clouds.class_wise_loss(fine[[m]], truth, fine, 1.0)
    on_coarse = clouds.class_wise_loss(fine[[m]], truth, coarse, 0.5)
    return on_fine.item(), on_coarse.item()


seats = {
    "its own class": 0,
    "a sibling": 1,
    "a stranger, 2 bits away": 2,
    "a stranger, 3 bits away": 3,
}
table(
    [
        "sits on the centre of",
        "$\\mathcal{L}_1$",
        "$\\mathcal{L}_2$",
        "sum",
    ],
    *[
        [name, *(f"{x:.2f}" for x in (*pays(m), sum(pays(m))))]
        for name, m in seats.items()
    ],
)

# %% [markdown]
# That is the whole idea of {numref}`tbl:shpdh-pays`: *where* an image errs has a price.
#
# ### Where the centres are
#
# The centres are not trained by gradient. They start at random, every number drawn from a standard Gaussian, and after
# each epoch they are moved to where the training images are by then. A fine centre goes to the mean output of its class,
# and every other centre to the plain mean of the centres *below* it, $\operatorname{ch}(m)$:
#
# $$ \begin{aligned}
# \mu^1_m &= \operatorname*{mean}_{i :\, y^1_i = m} u_i , \\
# \mu^l_m &= \operatorname*{mean}_{m' \in \operatorname{ch}(m)} \mu^{l-1}_{m'} \quad (l > 1) .
# \end{aligned} $$ (eq:shpdh-centres)
#
# The second mean does not ask how many images a child has: a rare bird pulls the centre of its family as strongly as a
# common one. With 5 images at 0 and 1 image at 6, in two classes under one parent:

# %%
two = clouds.Centres([torch.tensor([0, 0])], [2, 1], bits=1)
outputs_of_two = torch.tensor([[0.0]] * 5 + [[6.0]])
two.move(outputs_of_two, torch.tensor([0] * 5 + [1]))
print("fine centres:", *(f"{x:g}" for x in two.level0[:, 0]))
print(f"their parent: {two.level1.item():g},", end=" ")
print(f"the mean of all images: {outputs_of_two.mean():g}")

# %% [markdown]
# ### Staying near the corners
#
# Nothing so far keeps $u$ near $\pm 1$, and a sign forgets everything else. Two penalties do ({numref}`fig:shpdh-edges`).
# The *cubic* one keeps the outputs inside a cube, slightly wider than the codes; the *vertex* one draws them to its
# corners:
#
# $$ \begin{aligned}
# \mathcal{L}_{\text{cubic}} &= \frac{1}{M} \sum_{i,k} \max\left( 0, \lvert u_{ik} \rvert - 1.1 \right) , \\
# \mathcal{L}_{\text{vertex}} &= \frac{1}{M} \sum_{i} \lVert b_i - u_i \rVert^2 , \\
# \mathcal{L} &= \mathcal{L}_{\text{class}} + \frac{10\, \mathcal{L}_{\text{cubic}} + 0.1\,
#    \mathcal{L}_{\text{vertex}}}{K} .
# \end{aligned} $$ (eq:shpdh-total)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Penalty of one output between minus two and two. The cubic one is zero between minus 1.1 and 1.1 and climbs steeply beyond. The vertex one is a shallow double valley with its floor at minus one and one and a crest at 0."}, "figure": {"caption": "What one output pays: the cubic penalty is a wall beyond ±1.1, the vertex penalty a gentle slope towards −1 and +1.", "name": "fig:shpdh-edges"}}
ax = figures.penalties()

# %% [markdown]
# ### In numbers a computer can hold
#
# The authors' code computes {eq}`eq:shpdh-posterior` as it stands, with $10^{-8}$ added to the denominator and to the
# probability so that nothing is divided by 0. But two random codes of $K$ bits have squared distance $2K$ on average, and
# $e^{-K}$ is soon smaller than $10^{-8}$. Then the probability is 0 whatever the image does, and there is no slope. The
# remedy is old: {eq}`eq:shpdh-classwise` is a *cross-entropy* with the logits $-\frac{\kappa}{2} \lVert u - \mu_m
# \rVert^2$, which every library has in a stable form. {numref}`fig:shpdh-forms` has both: they hardly differ up to 64
# bits, which the authors probably used; at 128 bits theirs gives no direction at the start.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Length of the gradient, on a logarithmic axis, against the number of bits from 16 to 256. The stable form grows slowly from about 4 to 20. The authors' form lies on it up to 64 bits, falls to a ten-thousandth at 96 bits and below a billionth at 128."}, "figure": {"caption": "How hard an image is pulled at the very start: outputs at 0, random centres of 100 classes. The authors' form loses its slope beyond 64 bits; what is below 1e-13 is drawn there.", "name": "fig:shpdh-forms"}}
LENGTHS = (16, 32, 48, 64, 96, 128, 256)
pulls = {
    form: [figures.first_pull(bits, floor) for bits in LENGTHS]
    for form, floor in (("stable", 0.0), ("authors'", 1e-8))
}
lines = {
    form: (LENGTHS, np.maximum(found, 1e-13))
    for form, found in pulls.items()
}
ax = plots.curves(
    lines, "bits K", "length of the gradient", log=True, named_at=0.5
)

# %% [markdown]
# ## The code beside the formula
#
# | in the formulas | in the code |
# |---|---|
# | $u_i$, $y_i^l$, $\mu^l_m$, $\kappa_l$, $K$ | `u` (B, K), `y` (B, L), `centres` (a tensor (C_l, K) per level), `s`, `u.shape[1]` |
# | $-\frac{\kappa}{2} \lVert u_i - \mu_m \rVert^2$ | `logits` (B, C) |
# | $\mathcal{L}_l$, equation {eq}`eq:shpdh-levels` | `class_wise_loss`: stable, or as the authors compute it with `floor=1e-8` |
# | $\mathcal{L}_{\text{cubic}}$, $\mathcal{L}_{\text{vertex}}$, $\mathcal{L}$, equation {eq}`eq:shpdh-total` | `cubic_loss`, `vertex_loss`, `shpdh_loss` |
# | the centres, equation {eq}`eq:shpdh-centres` | `Centres.move` |
#
# Table: Names in the code; the package shows the functions that it runs.

# %%
source(clouds.class_wise_loss, shpdh.shpdh_loss, clouds.Centres.move)

# %% [markdown]
# With these, a training takes a few lines. The network is that of {doc}`03_mu_liu`; what is new is that the centres move
# between two epochs.


# %% tags=["nbval-ignore-output"]
def convolution(inputs, outputs):
    """Half as high and half as wide, with `outputs` maps."""
    convolve = nn.Conv2d(inputs, outputs, 3, padding=1)
    norm = nn.BatchNorm2d(outputs)
    return nn.Sequential(convolve, nn.MaxPool2d(2), norm, nn.ReLU())


def ready(part):
    """The images of a part of the data, as float (N, 1, 8, 8) in 0..1."""
    return torch.from_numpy(part.images).float()[:, None] / 255


def train(images, y, parents, s, epochs=10):
    """A network trained on classes y (N, 2): fine, coarse."""
    torch.manual_seed(0)
    maps = nn.Sequential(convolution(1, 16), convolution(16, 32))
    dense = nn.Linear(128, 100), nn.BatchNorm1d(100), nn.ReLU()
    network = nn.Sequential(maps, nn.Flatten(), *dense, nn.Linear(100, K))
    centres = clouds.Centres([parents], [10, 3], K)
    optimiser = torch.optim.SGD(network.parameters(), 0.02, momentum=0.9)
    for epoch in range(epochs):
        if epoch > 0:
            with torch.no_grad():
                centres.move(network.eval()(images), y[:, 0])
        network.train()
        for batch in torch.randperm(len(images)).split(64):
            u = network(images[batch])
            loss = shpdh.shpdh_loss(u, y[batch], centres, s)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()


classes = torch.from_numpy(digits.train.levels)
above = torch.from_numpy(shape_of)
network = train(ready(digits.train), classes, above, s=(1.0, 0.5))
with torch.no_grad():
    signs = [network(ready(part)).numpy() >= 0 for part in sides]
of_loop = metrics.evaluate(
    *map(codes.pack, signs), query.labels, database.labels, bits=K
)
print(f"mAP of the loop above: {of_loop.map:.2f}")

# %% [markdown]
# (sec:shpdh-metrics)=
# ## How large is a mistake?
#
# Average precision knows right and wrong only. To see what the tree does we need a measure that knows levels. Let $g_t$ be
# the *gain* at rank $t$: on how many levels the item there agrees with the query. With two levels it is 2 for the same
# class, 1 for a sibling, 0 for a stranger. Let $g^*_t$ be the same for the best ranking there is, which has all 2s first
# and then all 1s. *Hierarchical precision* at $n$ compares the two, and mAHP@$n$ is its mean over the ranks 1 to $n$, and
# over queries:
#
# $$ \begin{aligned}
# \text{HP@}n &= \sum_{t=1}^{n} g_t \;\Big/\; \sum_{t=1}^{n} g^*_t , \\
# \text{mAHP@}n &= \operatorname*{mean}_{q} \; \frac{1}{n} \sum_{n'=1}^{n} \text{HP@}n' .
# \end{aligned} $$ (eq:shpdh-mahp)
#
# On CIFAR-100 the authors take for $n$ the number of images of a superclass in the database. nDCG@$n$ weighs the gains by
# rank:
#
# $$ \begin{aligned}
# \text{nDCG@}n &= \frac{\sum_{t=1}^{n} w_t\, g_t}{\sum_{t=1}^{n} w_t\, g^*_t} , \\
# w_t &= \frac{1}{\log_2 (1 + t)} .
# \end{aligned} $$ (eq:shpdh-ndcg)
#
# The authors' code differs twice: the first three ranks count fully, and what it reports as nDCG@100 is the *mean over the
# cut-offs* 1 to 100. Both forms are given below; the second has the name `hpdh`, after the code.
#
# ### What a flat method can reach
#
# CIFAR-100 has 100 classes in 20 superclasses of five. Its database has 500 images of each class, so a superclass has
# 2,500. Which mAHP@2500 would a ranking get that knows the class perfectly and nothing else? Its first 500 ranks are those
# of the best ranking. After that, every rank holds one of the other 2,000 of the superclass with probability 2000/49500:

# %%
FLAT = "perfect class, the rest at random"
SUPER = "perfect superclass, random inside it"
n = np.arange(1, 2501)
of_class, beyond = np.minimum(n, 500), np.maximum(n - 500, 0)
best = 2 * of_class + beyond  # sums of gains up to rank n
gained = {
    "random": n * (2 * 500 + 2000) / 50_000,
    FLAT: 2 * of_class + beyond * 2000 / 49_500,
    SUPER: n * (2 * 500 + 2000) / 2500,
    "ideal": best,
}
anchors = {
    name: float((gain / best).mean()) for name, gain in gained.items()
}

# %% tags=["hide-input"] mystnb={"table": {"caption": "Rankings of CIFAR-100 that know a part of the truth. mAHP@2500 by hand, and all measures by the package, which was given such rankings as distances.", "name": "tbl:shpdh-anchors"}}
parent = np.array([coarse for _, coarse in data.info("cifar100").tree])
items = np.repeat(np.arange(100), 500)
# all classes are alike here, so ten of them ask
asked, stored = (
    np.stack([fine, parent[fine]], 1)
    for fine in (np.arange(0, 100, 10), items)
)
other_class, other_family = (
    asked[:, None, level] != stored[None, :, level] for level in (0, 1)
)
rankings = [
    0 * other_class,
    other_class,
    other_family,
    1.0 * other_class + other_family,
]
scores = {}
for name, ranking in zip(anchors, rankings, strict=True):
    call = (ranking.astype(float), asked, stored)
    how = {"relevance": "levels", "cutoffs": [100, 250, 2500]}
    ours, theirs = (
        metrics.evaluate_distances(*call, **how, convention=form)
        for form in (None, "hpdh")
    )
    of_hpdh = theirs.ndcg_at[100]
    cuts = [ours.mahp_at[2500], ours.mahp_at[250], ours.ndcg_at[100]]
    scores[name] = [ours.map, *cuts, of_hpdh]
table(
    [
        "ranking",
        "mAHP@2500, by hand",
        "mAP",
        "mAHP@2500",
        "mAHP@250",
        "nDCG@100",
        "nDCG, authors'",
    ],
    *[
        [name, f"{anchors[name]:.3f}", *(f"{x:.3f}" for x in found)]
        for name, found in scores.items()
    ],
)

# %% [markdown]
# Keep the second row of {numref}`tbl:shpdh-anchors` in mind. **A method that knows the class perfectly, and nothing of the
# tree, ends at about 0.65**; one that knows the superclass alone, and has a mAP of 0.2, gets about 0.82. So a method that
# was shown the tree is expected to lead in mAHP@2500: the measure asks for the tree. It does not show that a flat method
# is bad at what it was made for. mAHP@250, in turn, sees the class only.
#
# ## What the tree does to digits
#
# Back to the three seeds of each network, with $n = 450$, the images of a smaller shape, {numref}`tbl:shpdh-digits`:


# %%
def evaluate(method, loaded, at):
    """The report of a fitted method, plain and in the authors' form."""
    parts = (loaded.query, loaded.database)
    packed = [method.encode(part.images) for part in parts]
    call = (*packed, *(part.levels for part in parts))
    how = {"relevance": "levels", "cutoffs": [100, at]}
    return [
        metrics.evaluate(*call, bits=method.bits, convention=form, **how)
        for form in (None, "hpdh")
    ]


reports = {
    key: evaluate(learner, digits, 450) for key, learner in learners.items()
}


# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"table": {"caption": "Digits, 16 bits, mean ± standard deviation over three seeds; below, the mean difference of runs with the same seed ± half of its 95 % interval over seeds (for mAP also over queries), and a verdict.", "name": "tbl:shpdh-digits"}}
def numbers(plain, theirs):
    """mAP, mAHP, and nDCG in both forms."""
    mahp = plain.mahp_at[max(plain.mahp_at)]
    return plain.map, mahp, plain.ndcg_at[100], theirs.ndcg_at[100]


def gaps_of(groups, values):
    """Differences in all four measures between two groups: mAP from runs,
    the others from a value per seed.
    """
    columns = zip(*(v.T[1:] for v in values), strict=True)
    return [difference(*groups), *(difference(*pair) for pair in columns)]


rows = {
    name: np.array([numbers(*reports[levels, seed]) for seed in SEEDS])
    for levels, name in NAMES.items()
}
on_digits = gaps_of(
    [[reports[levels, seed][0] for seed in SEEDS] for levels in (2, 1)],
    [rows[NAMES[levels]] for levels in (2, 1)],
)
table(
    ["", "mAP (digit)", "mAHP@450", "nDCG@100", "nDCG@100, authors'"],
    *[[name, *map(spread, found.T)] for name, found in rows.items()],
    ["tree − flat", *with_verdicts(dict(enumerate(on_digits))).values()],
)

# %% [markdown]
# A gain in mAHP, and none to be seen in mAP. (*Open*: an interval holds both signs, see {doc}`11_how_a_run_works`. Verdicts
# on *seeds only* leave other queries aside.) This is half of the paper's claim in small: the tree buys order beyond the
# fine level. The other half is that the fine level gains, too. nDCG@100 hardly sees the tree, for the first hundred ranks
# are of the digit itself. {numref}`fig:shpdh-blocks` and {numref}`fig:shpdh-tsne` show what has changed: how far
# classes lie apart.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two maps of ten by ten mean distances between digits, sorted by shape. In both the diagonal is the most violet. In the flat map the rest is green to yellow, with some pairs of digits a little nearer. In the tree map three violet blocks stand along the diagonal, one for each shape, and the rest is yellower than in the flat one."}, "figure": {"caption": "Mean Hamming distance between the query images of every two digits, violet where they are near. With the tree, digits of one shape form a block.", "name": "fig:shpdh-blocks"}}
packed = {
    levels: learners[levels, 0].encode(query.images) for levels in NAMES
}
matrices = {
    NAMES[levels]: figures.class_distances(words, query.labels, K)
    for levels, words in packed.items()
}
figure = figures.distance_blocks(matrices, shape_of, shapes, digits.classes)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two t-SNE maps of the outputs of 300 query digits, without the tree above and with it below. Both have ten islands, one for each digit, with a few strays. In the lower one 2, 3 and 5 lie in one region, 1, 4 and 7 in another, 0, 6, 8 and 9 in a third; in the upper one shapes are mixed."}, "figure": {"caption": "The outputs of the queries, laid out by t-SNE, which keeps neighbours together: ten islands in both, and with the tree those of one shape in one region. Distances between islands mean little.", "name": "fig:shpdh-tsne"}}
figure, grid = plots.panels(2, 1, (6, 10))
for ax, (levels, name) in zip(grid[:, 0], NAMES.items(), strict=True):
    outputs = learners[levels, 0].outputs(query.images)
    plots.tsne(outputs, query.labels, digits.classes, ax)
    ax.set_title(name)

# %% [markdown]
# ### What does the work?
#
# Two parts of the method are changed in {numref}`tbl:shpdh-parts`, with one seed. We train on nine tenths of the training
# digits and retrieve the remaining tenth among them, so that no query is touched.

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"table": {"caption": "Validation digits, one run each. mAHP rises with the coarse level, and falls where the centres are left where chance has put them.", "name": "tbl:shpdh-parts"}}
tuning = digits.tuning()
AT_TUNING = 324  # images of the smaller shapes among those nine tenths


def trained(**changes):
    """mAP and mAHP of a network with changed settings on validation."""
    method = methods.create("shpdh", K, **SETTINGS | changes)
    report, _ = evaluate(method.fit(tuning.train), tuning, AT_TUNING)
    return report.map, report.mahp_at[AT_TUNING]


PARTS = {
    "no coarse level": {"levels": 1},
    "$\\kappa_2 = 0.02$": {"s": "1:0.02"},
    "$\\kappa_2 = 0.5$, the authors'": {"s": "1:0.5"},
    "$\\kappa_2 = 2$": {"s": "1:2.0"},
    "$\\kappa_2 = 0.5$, centres never moved": {"every": 100},
}
changed = {name: trained(**settings) for name, settings in PARTS.items()}
table(
    ["", "mAP (digit)", "mAHP@324"],
    *[
        [name, *(f"{value:.3f}" for value in found)]
        for name, found in changed.items()
    ],
)

# %% [markdown]
# The smaller $\kappa_2$, the less the coarse level says: by {eq}`eq:shpdh-gradient` its pull is proportional to it. If the
# centres stay where they began, the network learns ten random codes, and the distances among them are an accident.

# %% [markdown]
# (sec:shpdh-cifar)=
# ## Real images: CIFAR-100
#
# CIFAR-100 {cite:p}`krizhevsky2009cifar` has photographs of 32×32 pixels in 100 classes and 20 official superclasses of
# five. The protocol `cifar100` is the one of the authors' code: the 50,000 training images are both what is learned from
# and what is searched, the 10,000 test images are the queries. Three methods meet:
#
# - **SHPDH with the tree**, {eq}`eq:shpdh-total` with two levels and the authors' $\kappa = (1, 0.5)$;
# - **SHPDH without it**: `levels=1`, and nothing else is different, down to the random start of layer and centres;
# - **DCWH** (Deep Class-wise Hashing), the single-level method from which SHPDH sets out, with centres that move every
#   second epoch and other weights of the penalties, as in [its code](https://github.com/mzhang367/dcwh).
#
# As in the authors' code, a network that was trained on the photographs of ImageNet is *fine-tuned*, all layers of it. It
# is a small one, MobileNetV2 where they have a ResNet-50, on images enlarged to 96 pixels, and it is trained for 5 epochs
# where they have 150. Each method chose the smaller of two learning rates on the validation part
# ({numref}`tbl:shpdh-rates`); a still smaller one may be better. {numref}`tbl:shpdh-cifar` has what the queries found,
# {numref}`tbl:shpdh-gaps` the differences.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "How the rate was chosen", "table": {"caption": "mAP on validation images, 32 bits, one run each.", "name": "tbl:shpdh-rates"}}
ARMS = {
    "DCWH": ("dcwh", {"sides": "equal"}),
    "SHPDH, flat": ("shpdh", {"levels": 1}),
    "SHPDH, tree": ("shpdh", {"levels": 2}),
}
TREE, PLAIN = "SHPDH, tree", "SHPDH, flat"


def runs_of(
    arm, bits, seeds=SEEDS, protocol="cifar100", frozen=False, **settings
):
    """Recorded runs of one of the three on CIFAR-100."""
    method, own = ARMS[arm]
    settings = own | {"frozen": frozen} | settings
    where = {"method": method, "bits": bits, "protocol": protocol}
    return recorded(seeds, settings, **where)


tried = {
    (arm, lr): runs_of(arm, 32, [0], "cifar100/tuning", lr=lr)[0].map
    for arm, lr in product(ARMS, (0.01, 0.04))
}
table(
    ["validation mAP", *(f"rate {lr}" for lr in (0.01, 0.04))],
    *[
        [arm, *(f"{tried[arm, lr]:.3f}" for lr in (0.01, 0.04))]
        for arm in ARMS
    ],
)

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-100, network fine-tuned, three seeds: mean ± standard deviation. mAP and the plain nDCG are over all 10,000 queries, the other two over every tenth.", "name": "tbl:shpdh-cifar"}}
runs = {
    (arm, bits): runs_of(arm, bits, lr=0.01)
    for bits in (32, 48)
    for arm in ARMS
}


def measured(record, every=10):
    """The four measures, from a record and its codes; `every=1` asks all."""
    kept = record.codes()
    asked = ("query_codes", "query_labels")
    kept |= {key: kept[key][::every] for key in asked}
    how = {"relevance": "levels", "convention": "hpdh"}
    report = metrics.evaluate(
        **kept, bits=record.bits, cutoffs=[100, 2500], **how
    )
    ours = record.map, report.mahp_at[2500]
    return *ours, record.metrics["ndcg_at"]["100"], report.ndcg_at[100]


COLUMNS = ["mAP (class)", "mAHP@2500", "nDCG@100", "nDCG@100, authors'"]
# (seeds, 4) each
cifar = {
    key: np.array([measured(record) for record in group])
    for key, group in runs.items()
}
table(
    ["", "bits", *COLUMNS],
    *[
        [arm, bits, *map(spread, found.T)]
        for (arm, bits), found in cifar.items()
    ],
)


# %% tags=["hide-input"] mystnb={"table": {"caption": "The same as differences between runs with the same seed, with intervals and verdicts as above.", "name": "tbl:shpdh-gaps"}}
def gaps(arm, other, bits, of_runs=runs, found=cifar):
    """Differences in all measures between two of the three, at a length."""
    keys = [(arm, bits), (other, bits)]
    return gaps_of([of_runs[k] for k in keys], [found[k] for k in keys])


def with_words(differences):
    return with_verdicts(dict(enumerate(differences))).values()


table(
    ["tree minus", "bits", *COLUMNS[:3]],
    *[
        [other, bits, *list(with_words(gaps(TREE, other, bits)))[:3]]
        for bits in (32, 48)
        for other in ("DCWH", PLAIN)
    ],
)

# %% tags=["hide-input"] mystnb={"image": {"alt": "mAHP at 2500 of DCWH, SHPDH flat and SHPDH with the tree at 32 and 48 bits, a row each with a dot per seed, on an axis from 0 to 1. At 32 bits the tree is right of the other two. At 48 bits flat and tree have one dot each far to the left of their other two. All lie between the dashed lines of a random ranking at 0.04 and of a perfect class at 0.65."}, "figure": {"caption": "mAHP@2500 on CIFAR-100, a dot per seed and a bar at their mean; dashed, rankings that know a part of the truth. Two runs at 48 bits lie far behind their sisters.", "name": "fig:shpdh-gains"}}
marks = {"random": anchors["random"], "perfect\nclass": anchors[FLAT]}
marks |= {"perfect\nsuperclass": anchors[SUPER]}
rows_of = {
    f"{arm}, {bits} bits": found[:, 1]
    for (arm, bits), found in cifar.items()
}
ax = figures.gains(rows_of, marks, "mAHP@2500")

# %% [markdown]
# - *Everything is open.* At 32 bits the mean of the tree is above that of DCWH in mAHP@2500 by more than the 0.05 that we
#   had set as a mark beforehand, but three seeds do not show that there is a difference. And more than the tree is
#   different between these two.
# - *Beside its own flat form*, where nothing else is different, the tree's mean at 32 bits is higher in mAHP and lower in
#   mAP, but seeds differ far more than that.
# - *At 48 bits nothing can be said.* One of the three runs with the tree, and one of the three flat ones, is far worse than
#   its sisters ({numref}`fig:shpdh-gains`).
#
# Queries are not the reason: their intervals are narrow, as there are ten thousand.
#
# One thing we cannot explain: DCWH found far less on the validation part than it finds here. That run had nine tenths of
# the images and of the steps, and ends with a higher loss on its own training images; whether the missing steps do that was
# not tried. It does not bear on the choice of the rate as long as it does the same to both rates.
#
# (sec:shpdh-first)=
# ### The first epoch decides
#
# Why do sister runs differ so much? {numref}`fig:shpdh-first` shows the mAP in the end against the loss on the training
# images in the last epoch *before the centres moved for the first time*: the first epoch of SHPDH, the second of DCWH.
# (The tree adds up two losses, so compare within a method.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "mAP in the end against the early training loss, two panels for 32 and 48 bits, with a mark per run in the colour of its method. Within each method a lower early loss goes with a higher mAP. At 48 bits one run with the tree and one flat run stand apart: the highest loss of their method, and half the mAP of their sisters."}, "figure": {"caption": "CIFAR-100, a mark per run. The run that has learned least when the centres move for the first time is the worst in the end.", "name": "fig:shpdh-first"}}
# the epoch before the first move
BEFORE = {"DCWH": 2, PLAIN: 1, TREE: 1}
early = {
    (arm, bits): [
        (record.history[BEFORE[arm] - 1]["loss"], record.map)
        for record in group
    ]
    for (arm, bits), group in runs.items()
}  # (loss, mAP) per seed
by_bits = {
    f"{bits} bits": {arm: early[arm, bits] for arm in ARMS}
    for bits in (32, 48)
}
figure = figures.by_loss(by_bits, "training loss before centres move")

# %% [markdown]
# With SHPDH, the run that has learned least by then is the worst in the end, in all four groups of three. A likely reason
# stands in the loss. Centres are random at first, and are then moved to wherever the images of their class happen to be.
# Where two classes are together by that time, their centres are equal, and by {eq}`eq:shpdh-gradient` equal centres pull
# equally. Take an image of each of two such classes, at the same place:

# %%
torch.manual_seed(0)
five = torch.randn(5, K)  # centres
five[1] = five[0]
both = torch.randn(1, K).expand(2, K).clone().requires_grad_()
loss = clouds.class_wise_loss(both, torch.tensor([0, 1]), five, 1.0)
alike = torch.autograd.grad(loss, both)[0]
print("both are pulled alike:", torch.allclose(alike[0], alike[1]))

# %% [markdown]
# Nothing in the loss drives these two classes apart again, and where their centres are nearly equal, it does so slowly.
# With 150 epochs, as the authors have, there may be time; with 5 there was not. Their code also keeps, of all epochs, the
# model of the lowest training loss; by the same rule among seeds nobody would have kept the two runs that failed. We report
# all that were made.
#
# ### The same with frozen features
#
# Where only the last, linear layer is trained and the network stays as it is, the trap is the same for all seeds, and what
# is left is the effect of the tree with all else equal, {numref}`tbl:shpdh-frozen`.

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-100, features frozen, 32 bits, 10 epochs with AdamW on images of 128 pixels: three seeds, and their differences.", "name": "tbl:shpdh-frozen"}}
still = {(arm, 32): runs_of(arm, 32, frozen=True) for arm in (PLAIN, TREE)}
still_found = {
    key: np.array([measured(record) for record in group])
    for key, group in still.items()
}
still_gap = gaps(TREE, PLAIN, 32, still, still_found)
table(
    ["", *COLUMNS],
    *[
        [arm, *map(spread, found.T)]
        for (arm, _), found in still_found.items()
    ],
    ["tree − flat", *with_words(still_gap)],
)

# %% [markdown]
# *The tree raises mAHP@2500*, the measure that it is for: the interval over seeds lies above zero. (Asked among all four
# measures, with Holm's correction, it would be open.) For mAP of the class it is open, and for nDCG@100 in
# either form: a hundred ranks are not enough to get beyond the class. All values are far below those of the fine-tuned
# network: a single linear layer can only divide what is there.
#
# ### Where the mistakes go
#
# Back to the fine-tuned network with 32 bits: how far the classes lie apart, {numref}`fig:shpdh-cifar-blocks`.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two maps of 100 by 100 mean Hamming distances between the classes of CIFAR-100, with a frame around each of 20 superclasses. In both the diagonal is violet, and larger regions that tend to violet show where superclasses resemble each other. In the map of the network with the tree most frames on the diagonal are clearly more violet than in the flat one."}, "figure": {"caption": "Mean Hamming distances between the 100 classes, one run each, a frame around each superclass. The flat network has classes of one superclass nearer too, as they look alike; with the tree the difference is wider.", "name": "fig:shpdh-cifar-blocks"}}
info = data.info("cifar100")
matrices_cifar = {}
for arm in (PLAIN, TREE):
    kept = runs[arm, 32][0].codes()
    truth_of = kept["query_labels"][:, 0].astype(int)
    matrices_cifar[arm] = figures.class_distances(
        kept["query_codes"], truth_of, 32
    )
figure = figures.distance_blocks(matrices_cifar, parent, info.levels[1])


# %% tags=["hide-input"]
def inside_and_between(matrix, groups):
    """Mean distance of two classes of one group, and of two groups."""
    same = np.equal.outer(groups, groups)
    off = ~np.eye(len(groups), dtype=bool)
    return matrix[same & off].mean(), matrix[~same].mean()


apart = {
    arm: inside_and_between(matrix, parent)
    for arm, matrix in matrices_cifar.items()
}
for arm, (inside, between) in apart.items():
    print(f"{arm}: {inside:.1f} bits between classes of one superclass,")
    print(f"  {between:.1f} between superclasses")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "The commands of all these runs"}
print(
    *(command(group) for group in [*runs.values(), *still.values()]),
    sep="\n",
)

# %% [markdown]
# ### Beside the reported figures
#
# There are none to set beside them. The paper's tables, and those of the methods it compares with, **have not been seen**;
# the abstract has no numbers. {numref}`tbl:shpdh-context` has what could be seen of related work, with its protocol. It is
# context and no comparison: other networks, trained all through, many times as long, on larger images.
#
# (tbl:shpdh-context)=
#
# | source | setting | figures |
# |---|---|---|
# | README of [the DCWH code](https://github.com/mzhang367/dcwh) | CIFAR-100, the same split, GoogLeNet fine-tuned; mAP of the class | 0.639, 0.743, 0.748, 0.764 with 16, 24, 32, 48 bits |
# | the same, quoting the DCWH paper | the same | 0.757, 0.769 with 32, 48 bits |
# | README of [Barz and Denzler's code](https://github.com/cvjena/semantic-embeddings) | CIFAR-100, real-valued embeddings, another tree of its classes; mAHP@250 by the trapezoid rule | 0.819 to 0.862, by network |
#
# Table: Figures of others on CIFAR-100.
#
# ## Summary
#
# - A class-wise loss sees classes as clouds; its gradient {eq}`eq:shpdh-gradient` moves an output from the centre where it
#   is guessed to the one where it belongs.
# - The same loss on every level of a tree, with parents in the middle of their children, gives mistakes a price that
#   depends on where they lead.
# - As a cross-entropy the loss is stable at any length; the form with $10^{-8}$ has no slope at the start at 128 bits.
# - mAHP@2500 on CIFAR-100 asks for the tree: a method that knows the class perfectly and nothing else ends at 0.65.
# - Classes that are together when their centres move for the first time are slow to part again.
#
# **What did reproduce.** The tree brings related classes together and raises mAHP: on the digits, and on CIFAR-100 with
# frozen features, with all else equal (verdicts over seeds).
#
# **What did not.** That the tree also improves retrieval of the class itself, as the abstract says: on the digits and on
# CIFAR-100 it is open whether mAP differs with the tree. And with the network fine-tuned even the gain in mAHP is open:
# its means are higher at 32 bits, but our runs are too unequal to tell.
#
# **What stays open.** Fine-tuning at a smaller rate and for long, so that no run fails; the paper's tables, and with them
# the size of its gains; and NABirds, photographs of birds with four levels of labels, which waits for somebody who has the
# images (`hashlab run shpdh nabirds`). {doc}`04b_shpdh_on_real_images` puts SHPDH beside its rivals on photographs, and
# takes the paper's claims one by one; {doc}`09_family_of_losses` sets class-wise losses beside others, and
# {doc}`10_side_by_side` compares all methods.
#
# (sec:shpdh-ledger)=
# ## The ledger
#
# **Seen**: read in the named source. **Worked out**: follows by calculation. **Inferred**: our judgement. **Not seen**:
# not available to us.
#
# | element | status | what the source says | what we chose |
# |---|---|---|---|
# | aim | seen (abstract) | better at the fine level, "significantly better" codes for hierarchical retrieval; two data sets | the claims that are tested above |
# | class-wise loss, {eq}`eq:shpdh-levels` | seen (code) | with $10^{-8}$ added | the cross-entropy that it is without (inferred); theirs as `form=clamped` |
# | gradient, {eq}`eq:shpdh-gradient` | worked out | | |
# | $\kappa_l$ | seen (code) | (1, 0.5) for CIFAR-100, (1, 0.67, 0.5, 0.25) for NABirds | the same; $1/l$ for other numbers of levels (inferred) |
# | penalties and weights, {eq}`eq:shpdh-total` | seen (code) | 10 and 0.1, divided by $K$ | the same |
# | centres, {eq}`eq:shpdh-centres` | seen (code) | random at first, moved after every epoch, parents by the plain mean of their children | the same |
# | the pass that moves them | seen (code) | the network still in training mode, images cropped at random | images as they are encoded (inferred to be meant); theirs as `centre_pass=train` |
# | output layer | seen (code) | linear; its Xavier start never takes effect | linear, with PyTorch's usual start |
# | network, input | seen (code) | ResNet-50 or GoogLeNet, ImageNet, fine-tuned; 240 pixels, random crop of 224 | MobileNetV2, 96 pixels, shifted and mirrored (frozen: 128); a small network for digits |
# | optimiser, epochs | seen (code) | SGD, rate 0.001, 150 epochs, a tenth of it after 50 and 100 | chosen on the validation part; the rest stands in the records |
# | which model is kept | seen (code) | that of the lowest training loss | the last one |
# | bits | inferred (help text, examples) | 16, 32, 48, 64, 128 are mentioned | 32 and 48 |
# | data and protocol | seen (code) | training images are the database, official test images the queries | the same for CIFAR-100; of NABirds we have no copy |
# | codes of the database | seen (code) | of randomly cropped images | of images as they are |
# | mAP, mAHP@2500, nDCG@100 | seen (code) | ties in the order that a sort leaves; nDCG averaged over cut-offs; the ideal ranking for mAHP built for 250 ranks, used for 2,500 | expected under ties; nDCG in both forms; 2,500 |
# | DCWH | seen (its code) | what lies below the cube counts once per batch, what lies above it once per image: probably a slip | mended in the runs here (`sides=equal`) |
# | reported figures | **not seen** | | none |
#
# Table: What was read, worked out or chosen.
#
# ## Exercises
#
# ### Exercise 1: two centres
# A class-wise loss has two centres at distance $\delta$ from each other. How large is the loss of an image that sits on
# its own centre, and how large that of one that sits on the other?
#
# <details class="solution"><summary>Solution</summary>
#
# Put $t = \frac{\kappa}{2} \delta^2$. On its own centre the image has $p = 1 / (1 + e^{-t})$ and pays $\log(1 + e^{-t})$;
# on the other it pays $\log(1 + e^{t}) = t + \log(1 + e^{-t})$. The difference is $\frac{\kappa}{2} \delta^2$ exactly. In
# {numref}`tbl:shpdh-pays` the coarse centres are $(1, 1, 0)$ and $(-1, -1, 0)$, so $\delta^2 = 8$, and a sibling and a
# stranger who both sit one bit from their middle differ by $\frac{0.5}{2} \cdot 8 = 2$ in $\mathcal{L}_2$, as it shows.
#
# </details>
#
# ### Exercise 2: a linear classifier in disguise
# Show that {eq}`eq:shpdh-posterior` is a soft-max of linear functions of $u$. What are weights and biases? What is
# missing, compared with an ordinary classifier?
#
# <details class="solution"><summary>Solution</summary>
#
# Expand the square: $-\frac{\kappa}{2} \lVert u - \mu_m \rVert^2 = -\frac{\kappa}{2} \lVert u \rVert^2 + \kappa\,
# \mu_m^{\mathsf T} u - \frac{\kappa}{2} \lVert \mu_m \rVert^2$. The first term is common to all classes and cancels. So the
# weights are $\kappa\, \mu_m$ and the biases $-\frac{\kappa}{2} \lVert \mu_m \rVert^2$. An ordinary classifier learns its
# weights; here they are tied to the mean outputs of the classes, which only move once per epoch.
#
# </details>
#
# ### Exercise 3: how good without knowing
# A set has classes of equal size in families of $f$ classes. A ranking knows the family and nothing inside it. What is its
# expected HP@$n$, for $n$ up to the size of a class? Check it against {numref}`tbl:shpdh-anchors`.
#
# <details class="solution"><summary>Solution</summary>
#
# Every rank holds an image of the class with probability $1/f$, for a gain of 2, and a sibling else, for a gain of 1: $1 +
# 1/f$ on average. The best ranking has 2 at each of these ranks. So HP@$n = \frac12 (1 + 1/f)$, for CIFAR-100 with $f = 5$
# this is 0.6, as the column mAHP@250 says.
#
# </details>
#
# ### Exercise 4: which cloud, in code
# Write {eq}`eq:shpdh-posterior` for one output. The last case is far from all centres: take care that not all
# exponentials vanish.


# %%
def posterior(u, centres, kappa):
    # p(m | u) of an output (K,) for centres (C, K): an array (C,)
    ...  # your lines


line = np.array([[-1.0], [1.0]])
exercises.check(
    posterior,
    ((np.array([0.0]), line, 1.0), np.array([0.5, 0.5])),
    ((np.array([1.0]), line, 1.0), np.array([0.119203, 0.880797])),
    ((np.array([1.0]), line, 0.0), np.array([0.5, 0.5])),
    ((np.array([100.0]), line, 1.0), np.array([0.0, 1.0])),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def posterior(u, centres, kappa):
    logits = -kappa / 2 * ((u - centres) ** 2).sum(1)
    shares = np.exp(logits - logits.max())
    return shares / shares.sum()


exercises.check(
    posterior,
    ((np.array([0.0]), line, 1.0), np.array([0.5, 0.5])),
    ((np.array([1.0]), line, 1.0), np.array([0.119203, 0.880797])),
    ((np.array([1.0]), line, 0.0), np.array([0.5, 0.5])),
    ((np.array([100.0]), line, 1.0), np.array([0.0, 1.0])),
    required=True,
)

# %% [markdown]
# ### Exercise 5: hierarchical precision, in code
# Write mAHP@$n$ of one query, {eq}`eq:shpdh-mahp`, from the gains of its ranking; the best ranking has the same gains,
# sorted.


# %%
def mahp(gains, n):
    # the mean of HP@1 to HP@n, from the gain at each rank
    ...  # your lines


exercises.check(
    mahp,
    (([2, 1, 0], 3), 1.0),
    (([1, 2, 0], 1), 0.5),
    (([1, 2, 0], 2), 0.75),
    (([0, 1, 2], 3), (0 + 1 / 3 + 1) / 3),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def mahp(gains, n):
    best = np.cumsum(sorted(gains, reverse=True))
    return (np.cumsum(gains) / best)[:n].mean()


exercises.check(
    mahp,
    (([2, 1, 0], 3), 1.0),
    (([1, 2, 0], 1), 0.5),
    (([1, 2, 0], 2), 0.75),
    (([0, 1, 2], 3), (0 + 1 / 3 + 1) / 3),
    required=True,
)

# %% [markdown]
# ## What this chapter claims
#
# The last cell fails if something that the text says stops being true.

# %% tags=["hide-input"]
# The formulas: the gradient, what a level adds, the parent's mean
assert agree
on = {name: pays(m) for name, m in seats.items()}
own, sibling, stranger = (
    on[name]
    for name in ("its own class", "a sibling", "a stranger, 2 bits away")
)
assert own[1] == sibling[1] < stranger[1] and own[0] < sibling[0]
assert abs(stranger[1] - sibling[1] - 0.5 / 2 * 8) < 1e-5  # exercise 1
assert two.level1.item() == 3 and outputs_of_two.mean() == 1

# Both forms at the start: alike to 64 bits, one without a slope at 128
stable, theirs = (np.array(pulls[form]) for form in ("stable", "authors'"))
assert (theirs[:3] > 0.9 * stable[:3]).all() and theirs[3] > 0.5 * stable[3]
assert (theirs[5:] < 1e-9).all() and stable.min() > 3

# The measures: by hand and by the package
for name, found in scores.items():
    assert abs(found[1] - anchors[name]) < 1e-9
shown = [f"{x:.2f}" for x in anchors.values()]
assert shown == ["0.04", "0.65", "0.82", "1.00"]
assert f"{scores[SUPER][0]:.1f}" == "0.2"
assert abs(scores[SUPER][2] - (1 + 1 / 5) / 2) < 1e-9  # exercise 3

# The digits: they are learned, and the tree orders what comes after them
assert min(rows[name][:, 0].mean() for name in NAMES.values()) > 0.85
assert abs(of_loop.map - rows[NAMES[2]][:, 0].mean()) < 0.1
by_seed = rows[NAMES[2]] - rows[NAMES[1]]  # (3, 4)
assert by_seed[:, 1].min() > 0.03
assert max(abs(by_seed[:, 0].mean()), abs(by_seed[:, 2].mean())) < 0.05
assert on_digits[1].verdict == "above" and on_digits[1].mean > 0.05
assert on_digits[0].verdict == "open"
blocks = [inside_and_between(m, shape_of) for m in matrices.values()]
(flat_inside, flat_between), (tree_inside, tree_between) = blocks
assert flat_inside > 0.85 * flat_between
assert tree_inside < 0.75 * tree_between
assert np.bincount(database.labels).min() > 140
assert np.bincount(database.levels[:, 1]).min() in range(440, 460)

# What does the work
without, narrow, usual, _, stayed = (found[1] for found in changed.values())
assert usual > without + 0.04 and abs(narrow - without) < 0.06
assert usual > stayed
assert min(found[0] for found in list(changed.values())[:4]) > 0.8

# CIFAR-100
assert all(tried[arm, 0.01] > tried[arm, 0.04] for arm in ARMS)
assert gaps(TREE, "DCWH", 32)[1].mean > 0.05
lower, higher, *_ = gaps(TREE, PLAIN, 32)
assert lower.mean < 0 < higher.mean
for bits, other in product((32, 48), ("DCWH", PLAIN)):
    for gap in gaps(TREE, other, bits):
        assert gap.verdict == "open"
    assert gaps(TREE, other, bits)[0].queries.half < 0.01
(on_validation,) = runs_of("DCWH", 32, [0], "cifar100/tuning", lr=0.01)
of_dcwh = runs["DCWH", 32]
assert on_validation.map < 0.7 * min(record.map for record in of_dcwh)
last = [record.history[-1]["loss"] for record in of_dcwh]
assert on_validation.history[-1]["loss"] > 1.2 * max(last)
assert on_validation.sizes["train"] == 0.9 * of_dcwh[0].sizes["train"]
assert max(found[:, 1].max() for found in cifar.values()) < anchors[FLAT]
for arm in (PLAIN, TREE):
    for bits in (32, 48):  # least learned, worst in the end
        maps = [score for _, score in early[arm, bits]]
        assert max(early[arm, bits])[1] == min(maps)
    worst, second, _ = sorted(score for _, score in early[arm, 48])
    assert worst < 0.6 * second
    losses = [record.history[-1]["loss"] for record in runs[arm, 48]]
    of_run = [record.map for record in runs[arm, 48]]
    assert np.argmax(losses) == np.argmin(of_run)  # not to be kept
assert torch.allclose(alike[0], alike[1]) and alike.norm() > 0.01
gap_map, gap_mahp, *of_ndcg = still_gap
assert gap_mahp.verdict == "above"
assert set(verdicts(dict(enumerate(still_gap))).values()) == {"open"}
assert all(gap.verdict == "open" for gap in (gap_map, *of_ndcg))
highest = max(found[:, 0].max() for found in still_found.values())
assert highest < 0.7 * np.median(cifar[PLAIN, 32][:, 0])
inside_flat, inside_tree = (
    apart[a][0] / apart[a][1] for a in (PLAIN, TREE)
)
assert inside_tree < inside_flat - 0.03 and inside_flat < 0.95
print("every claim holds")
