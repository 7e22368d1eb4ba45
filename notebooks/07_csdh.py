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
# # Liu et al. 2024: code similarities
#
# Two images of the same thing should have nearly the same code. {cite:t}`liu2024csdh` say what goes wrong when they
# do not: search returns the wrong images, however good the network's eyes are. They call it *semantic inconsistency*,
# and their method, code similarity-based deep hashing (CSDH), is trained to remove it: the similarity of two *codes*
# is to follow the similarity of the two images' *labels*.
#
# That is one sentence, and it can be turned into a loss in more than one way. This chapter derives three, works out
# what each asks of the codes and whether it can be had, and runs all three beside the usual reference for learning from
# pairs, deep pairwise-supervised hashing (DPSH) {cite:p}`li2016dpsh`. It needs codes, Hamming distance and mean average
# precision (mAP) as {doc}`01_hamming_space` introduces them; the rest is a first course in machine learning.
#
# | symbol | meaning |
# |---|---|
# | $K$ | number of bits in a code |
# | $z_i \in \mathbb{R}^K$ | what the network's last layer computes for image $i$ |
# | $u_i \in [-1, 1]^K$ | the same after an activation function, for example $u_{ik} = \tanh z_{ik}$ |
# | $b_i \in \{-1, +1\}^K$ | the code of image $i$, bits written as signs: $b_{ik} = \operatorname{sign} u_{ik}$ |
# | $C$ | number of classes, or of labels where an image may have several |
# | $s_{ij} \in [0, 1]$ | label similarity of images $i$ and $j$ (in {doc}`04_shpdh` $s_l$ is one over a variance) |
# | $d_{ij}$ | Hamming embedding distance of their outputs, equation {eq}`eq:csdh-distance` |
# | $a_{ij} \in [-1, 1]$ | agreement of their outputs, $a_{ij} = 1 - 2 d_{ij} / K$ |
# | $\Theta_{ij}$ | half of their inner product, $\tfrac12 u_i^{\mathsf T} u_j$, as in {doc}`06_dmsh` |
# | $\ell_{ij}$, $L$ | the loss of a pair, and of a batch (in {doc}`04_shpdh` the loss is $J$, and $L$ counts levels) |
#
# > **This is a reconstruction.** Of the paper we could read the abstract. It names a pre-trained network, one fully
# > connected layer at its end whose *activation function* gives the bits, and a loss made of *label similarities* and
# > *Hamming embedding distances*. It gives no formula, no setting and no figure. What follows is **CSDH-style
# > (reconstruction)**, and when this chapter says "CSDH" it means that. The [ledger](#sec:csdh-ledger) says of every
# > part whether it was read or chosen by us.

# %%
import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import torch

from hashlab import codes, data, methods, metrics, plots, shallow
from hashlab.chapters.differences import difference, verdicts
from hashlab.chapters.figures import csdh as figures
from hashlab.chapters.tables import (
    command,
    recorded,
    source,
    spread,
    table,
)
from hashlab.losses import quantisation
from hashlab.methods import csdh
from hashlab.metrics import diagnostics

# %% [markdown]
# ## The problem in one picture
#
# The data set `digits` has 1,797 real handwritten digits of 8×8 pixels. Here are six of them with two codes each. The
# first was made from the pixels alone, by iterative quantisation (ITQ) {cite:p}`gong2011itq`: project on the principal
# components, and turn them so that rounding to bits loses little. It has never seen a label. The second comes from a
# small network that was trained with the loss of this chapter.

# %%
K = 12
SETTINGS = {
    "optimiser": "adamw",
    "lr": 0.01,
    "batch_size": 64,
    "shift": 1,
    "balance": "none",
}

digits = data.load("digits")
pixels = {
    part: getattr(digits, part).images.reshape(-1, 64) / 255
    for part in ("train", "query", "database")
}
itq = shallow.ITQ(bits=K).fit(pixels["train"])
trained = methods.create("csdh", K, **SETTINGS).fit(digits.train)

# %% mystnb={"image": {"alt": "Six handwritten digits, two threes, two fives and two eights, each beside two codes of twelve bits. In the codes made from pixels, images of one digit differ in several bits, and images of different digits in somewhat more. In the codes of the trained network the two images of a digit have the same or nearly the same code, and different digits differ in about half of the bits."}}
two_each = np.concatenate(
    [
        np.flatnonzero(digits.query.labels == label)[:2]
        for label in (3, 5, 8)
    ]
)
from_pixels = itq.transform(pixels["query"])
learned = codes.unpack(trained.encode(digits.query.images), K)
shown = {
    "bits from pixels": from_pixels[two_each],
    "bits from training": learned[two_each],
}
figure = plots.code_rows(digits.query.images[two_each], shown)

# %% [markdown]
# The number beside a code is its Hamming distance from the code in the first row. On the left, distance is a rough
# guide to what is in the image: the other three is hardly nearer than the eights. On the right, it says nearly
# everything: the same digit, the same bits, or almost; another digit, about half of the bits, or some more or fewer.
#
# Over all pairs of a query and a database image, in bits:


# %% tags=["nbval-ignore-output"]
def count(packed_query, packed_database, loaded=digits, bits=K):
    """How many similar and dissimilar pairs lie at each Hamming distance."""
    labels = loaded.query.targets, loaded.database.targets
    return figures.distance_counts(
        packed_query, packed_database, *labels, bits
    )


def encoded(method, loaded=digits):
    return [
        method.encode(part.images)
        for part in (loaded.query, loaded.database)
    ]


counts = {
    "pixels (ITQ)": count(
        *(
            codes.pack(itq.transform(pixels[part]))
            for part in ("query", "database")
        )
    ),
    "training (CSDH)": count(*encoded(trained)),
}
table(
    ["bits from", "mean distance of similar pairs", "of dissimilar pairs"],
    *[
        [name, *(f"{mean:.2f}" for mean in figures.mean_distances(c))]
        for name, c in counts.items()
    ],
)

# %% [markdown]
# ## The idea
#
# 1. **Say how similar two images are**, from their labels: a number between 0 and 1.
# 2. **Say how similar two codes are**, by a formula that is the Hamming distance at codes and smooth between them.
# 3. **Make the second follow the first**, for all pairs of images in a batch. How exactly, is a choice, and the
#    choice matters.
# 4. **Keep the outputs close to codes**, so that little is lost when they are rounded to bits.
#
# ## The loss, step by step
#
# ### A distance with a slope
#
# Write bits as $-1$ and $+1$. Where two codes agree, the product of their bits is $+1$; where they differ, it is
# $-1$. So the inner product of two codes counts agreements minus differences, $b_i^{\mathsf T} b_j = (K - d) - d$,
# and the Hamming distance is $d = (K - b_i^{\mathsf T} b_j) / 2$. This formula does not care whether the numbers in it
# are signs. Put the network's outputs into it:
#
# $$ \begin{aligned}
# d_{ij} &= \frac{K - u_i^{\mathsf T} u_j}{2}, \\
# a_{ij} &= 1 - \frac{2\, d_{ij}}{K} = \frac{u_i^{\mathsf T} u_j}{K} .
# \end{aligned} $$ (eq:csdh-distance)
#
# This is what we take *Hamming embedding distance* to mean. At codes it is the Hamming distance, exactly; between
# them it changes smoothly, and gradients can follow it. The agreement $a_{ij}$ is the same thing on a scale that does
# not depend on the code length: $+1$ for equal codes, 0 when half of the bits differ, $-1$ for opposite codes.

# %%
b = torch.tensor(
    [[1.0, 1, -1, 1], [1, -1, -1, 1], [-1, -1, 1, -1]]
)  # three codes of four bits
packed = codes.pack(b.numpy() > 0)
print("by the formula: ", csdh.hamming_embedding(b)[0].int().tolist())
print("counted in bits:", codes.hamming(packed, packed)[0].tolist())
u = 0.9 * b  # outputs on their way to these codes
print(
    "outputs of 0.9: ",
    [round(x, 2) for x in csdh.hamming_embedding(u)[0].tolist()],
)

# %% [markdown]
# The last line shows the small print: outputs that have not arrived at $\pm 1$ have distances that lie closer to
# $K/2$ than those of their codes. Keeping the outputs near $\pm 1$ is what the [penalty](#sec:csdh-penalty) is for.
#
# ### Label similarity
#
# With one class per image there is not much to choose: $s_{ij} = 1$ if the classes are the same, 0 if not. With
# several labels per image there is. Let $y_i \in \{0, 1\}^C$ say which of $C$ labels image $i$ has. Two similarities
# are in use:
#
# $$ \begin{aligned}
# s_{ij} &= \begin{cases} 1 & \text{if } y_i^{\mathsf T} y_j > 0 \\ 0 & \text{otherwise} \end{cases} \qquad\text{or} \\
# s_{ij} &= \frac{y_i^{\mathsf T} y_j}{\lVert y_i \rVert \, \lVert y_j \rVert} .
# \end{aligned} $$ (eq:csdh-similarity)
#
# The first asks whether two images share a label, the second also how much of what they show they have in common: it
# is the cosine of the angle between the label vectors. For one label per image both are the same. Three images with
# the labels *dog*, *dog and cat*, *cat and car*:

# %%
y = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, 1]])
for kind in ("shares", "cosine"):
    print(
        kind,
        csdh.label_similarity(y, kind).double().numpy().round(2).tolist(),
    )

# %% [markdown]
# (sec:csdh-forms)=
# ### Three ways to make the one follow the other
#
# **Regression** takes the sentence at its word. The agreement of two codes is to be a given function of the
# similarity of their labels, and the loss of a pair is the square of what is missing:
#
# $$ \begin{aligned}
# \ell^{\text{reg}}_{ij} &= \left( a_{ij} - \tau(s_{ij}) \right)^2, \\
# \tau(s) &= \tau_0 + (1 - \tau_0)\, s .
# \end{aligned} $$ (eq:csdh-regression)
#
# The target $\tau$ is a straight line: 1 for full similarity, so that codes are to be equal, and $\tau_0$ for none.
# With $\tau_0 = -1$ dissimilar images are to have *opposite* codes, with $\tau_0 = 0$ codes that differ in *half* of
# their bits. This is our reading of the paper, and the package's default, with $\tau_0 = -1$.
#
# **Contrastive**: similar pairs are drawn together, dissimilar ones pushed apart until they are far enough. With the
# squared distance $D_{ij} = \lVert u_i - u_j \rVert^2$, which is $4 d_{ij}$ at codes,
#
# $$ \begin{aligned}
# & \ell^{\text{con}}_{ij} = \frac{1}{2K} \big[ s_{ij}\, D_{ij} \\
# & \; + (1 - s_{ij}) \max(2K - D_{ij}, 0) \big] .
# \end{aligned} $$ (eq:csdh-contrastive)
#
# It is the loss of deep supervised hashing (DSH) {cite:p}`liu2016dsh`, divided by $K$. At the *margin* $D = 2K$ half of
# the bits differ, and a dissimilar pair that has reached it is left in peace.
#
# **Likelihood**: suppose two images are similar with probability $\sigma(\Theta_{ij})$, where $\sigma(\Theta) = 1 /
# (1 + e^{-\Theta})$ and $\Theta_{ij} = \tfrac12 u_i^{\mathsf T} u_j = \tfrac{K}{2} - d_{ij}$. The negative logarithm
# of the probability of what was seen is
#
# $$ \ell^{\text{lik}}_{ij} = \log\left( 1 + e^{\Theta_{ij}} \right) - s_{ij}\, \Theta_{ij} . $$ (eq:csdh-likelihood)
#
# This is logistic regression on pairs, and the loss of DPSH. (CSDH in this form and DPSH still differ: DPSH has no
# activation function, and compares each image of a batch with all training images rather than with the batch.)
#
# At codes all three are functions of the Hamming distance alone:

# %% mystnb={"image": {"alt": "Loss of a pair against Hamming distance from 0 to 12, two panels. Similar pairs: all curves are least at distance 0 and rise; the regression curves are parabolas, contrastive is a straight line, likelihood is flat at first and then a straight line. Dissimilar pairs: regression towards opposite codes falls all the way to distance 12, regression towards half is a parabola with its lowest point at 6, contrastive falls to 0 at 6 and stays there, likelihood falls and flattens soon after 6."}}
FORMS = {
    "regression, opposite": (csdh.regression, -1.0),
    "regression, half": (csdh.regression, 0.0),
    "contrastive": (csdh.contrastive, -1.0),
    "likelihood": (csdh.likelihood, -1.0),
}
staircase = 1 - 2 * torch.tril(
    torch.ones(K + 1, K), -1
)  # row d differs from row 0 in d bits
distance = np.arange(K + 1)


def at_codes(form, low, s):
    """The loss of a pair of codes at every Hamming distance 0..K."""
    return form(staircase, torch.full((K + 1, K + 1), s), low)[0].numpy()


panels = {
    f"{kind} pairs": {
        name: at_codes(*form, s) for name, form in FORMS.items()
    }
    for kind, s in (("similar", 1.0), ("dissimilar", 0.0))
}
figure = figures.lines_of_kinds(
    distance, panels, "Hamming distance (bits)", "loss of the pair"
)

# %% [markdown]
# For similar pairs the curves tell one story: come closer. (The two regressions coincide there.) They part over the
# dissimilar ones.
#
# | loss | what it asks of a dissimilar pair | who is left in peace |
# |---|---|---|
# | regression, opposite | all $K$ bits different | nobody who is not opposite |
# | regression, half | exactly half of the bits different | only those at $K/2$; who is farther is called back |
# | contrastive | at least half of the bits different | everybody from $K/2$ on |
# | likelihood | as many bits different as possible | nobody, but the pull fades within a few bits beyond $K/2$ |
#
# ### How much room is there?
#
# Can these wishes be granted? Opposite codes come in pairs: if $b$ is opposite to two codes, these two are equal. So
# with three classes or more, "all bits different for every pair of classes" is impossible. How far apart can $C$
# codes be? Look at one bit. If $n$ of the $C$ codes have a 1 there, the bit separates $n (C - n)$ of the $C (C - 1) /
# 2$ pairs, at most when the codes are split evenly. Summed over $K$ bits, for even $C$:
#
# $$ \begin{aligned}
# \operatorname*{mean}_{p < q} \; d_{pq} &\le \frac{K \cdot C^2 / 4}{C (C - 1) / 2} \\
# &= \frac{K}{2} \cdot \frac{C}{C - 1} .
# \end{aligned} $$ (eq:csdh-room)
#
# (For odd $C$ it is a little less.) Where all distances are at least $\delta > K/2$, it follows that $C \le 2\delta /
# (2\delta - K)$: the bound of
# {cite:t}`plotkin1960`. Up to $\delta = K/2$ there is much more room. The rows of a Hadamard matrix are $K$ vectors of
# signs, any two of which differ in exactly half of their places; add their opposites, and there are $2K$ codes with no
# two closer than $K/2$. Let us build those of 12 bits.

# %%
squares = {
    x * x % 11 for x in range(1, 11)
}  # the construction of Paley, from the squares modulo 11
hadamard = np.ones((12, 12), int)
for row, column in product(range(11), repeat=2):
    hadamard[row + 1, column + 1] = (
        1 if row != column and (row - column) % 11 in squares else -1
    )
words = codes.pack(np.concatenate([hadamard, -hadamard]) > 0)
between = codes.hamming(words, words)[np.triu_indices(24, 1)]
print(f"{len(words)} codes of 12 bits, least distance {between.min()}")


def room(delta):
    """The most codes of K bits of which no two are closer than delta > K / 2 bits, by the bound."""
    return math.floor(2 * delta / (2 * delta - K))


table(
    [
        "bits that differ between any two of the 12-bit codes, at least",
        *range(7, 13),
    ],
    ["codes, at most", *map(room, range(7, 13))],
)

# %% [markdown]
# So at 12 bits there is room for 24 classes at half of the bits, but for no more than seven at seven bits. Ten classes
# can be $K/2$ apart, and on average not much farther: {eq}`eq:csdh-room` gives 6.67 of 12 bits. For the three losses
# this means:
#
# - *Contrastive* and *regression, half* can be satisfied, down to a loss of 0: $2K$ classes fit for the first, $K$ of
#   them (one of every opposite pair) for the second.
# - *Regression, opposite* can not, from three classes on. Does that make it a bad loss? It asks for too much, but it
#   asks in a useful way. The square $(1 + a)^2$ punishes a pair of classes that share a code most, and by its bend it
#   prefers all distances equal to some large and some small. The best it can get with ten classes is a mean agreement
#   of $-\frac19$, so its loss never falls below $(1 - \frac19)^2 = 0.79$ for dissimilar pairs
#   ([exercise 2](#sec:csdh-exercise-2)).
# - *Likelihood* also asks for more than there is, but hardly insists once half of the bits differ.
#
# ### What a pair with half a label in common should do
#
# With several labels, $s$ may lie between 0 and 1, and then the losses want quite different things. At which distance
# is the loss of a pair least? For regression and likelihood, set the derivative to zero. The contrastive loss is made of
# two straight pieces that meet at $K/2$: before it the slope has the sign of $2s - 1$, beyond it that of $s$. So it is
# least where it starts, or where the pieces meet:
#
# $$ \begin{aligned}
# d^{\text{reg}} &= \frac{K}{2} \left( 1 - \tau(s) \right), \\
# d^{\text{con}} &= \begin{cases} 0 & \text{for } s > \tfrac12, \\ K/2 & \text{for } 0 < s < \tfrac12, \end{cases} \\
# d^{\text{lik}} &= \frac{K}{2} - \log \frac{s}{1 - s},
# \end{aligned} $$ (eq:csdh-wanted)
#
# where $d^{\text{lik}}$ is cut off at 0 and $K$. In two cases the contrastive loss is level: for $s = \tfrac12$ all
# distances up to $K/2$ are as good, for $s = 0$ all from $K/2$ on. Here are the same distances found without formulas,
# by trying all of them at 24 bits:

# %% mystnb={"image": {"alt": "The distance in bits at which the loss of a pair is least, against label similarity from 0 to 1, at 24 bits. Regression towards opposite codes: a straight line from 24 down to 0. Regression towards half: a straight line from 12 to 0. Contrastive: a step from 12 to 0 at one half. Likelihood: close to 12 in the whole middle, and steep at both ends."}}
similarity = np.linspace(0.02, 0.98, 49)
fine = torch.linspace(
    0, 24, 2401
).double()  # distances in hundredths of a bit


def wanted(loss):
    return [float(fine[loss(fine, s).argmin()]) for s in similarity]


def contrast(d, s):  # at codes, where D = 4 d
    return (4 * s * d + (1 - s) * (2 * 24 - 4 * d).clamp(min=0)) / (2 * 24)


best = {
    "regression, opposite": wanted(
        lambda d, s: (1 - d / 12 - (2 * s - 1)) ** 2
    ),
    "regression, half": wanted(lambda d, s: (1 - d / 12 - s) ** 2),
    "contrastive": wanted(contrast),
    "likelihood": wanted(
        lambda d, s: torch.nn.functional.softplus(12 - d) - s * (12 - d)
    ),
}
places = {
    "regression, opposite": (0.27, 19, "left"),
    "regression, half": (0.24, 7.8, "right"),
    "contrastive": (0.48, 3, "right"),
    "likelihood": (0.72, 12, "left"),
}
ax = figures.named_lines(
    similarity,
    best,
    places,
    "label similarity s",
    "distance of least loss (bits)",
)

# %% [markdown]
# Only regression spreads label similarity over the whole range of distances. The contrastive loss knows near and far
# and nothing between. The likelihood hardly tells $s = 0.3$ from $s = 0.7$: for both it wants about half of the bits,
# give or take one. If a paper promises that *code* similarity follows *label* similarity, regression is the form that
# does it, which is a reason for taking it as our reading. We shall see on scenes with several labels what it is
# worth.
#
# (sec:csdh-penalty)=
# ### Activation and penalty
#
# The abstract says that bits come from an activation function, not which. Four are at hand: $\tanh z$; the sigmoid
# brought to $-1 \ldots 1$, which is $2\sigma(z) - 1 = \tanh (z/2)$; the straight line cut off at $\pm 1$; and none,
# $u = z$.
#
# An activation that ends at $\pm 1$ keeps outputs from running away, but does not make them arrive. That is what a
# penalty does, for instance the mean of $(|u_{ik}| - 1)^2$. The whole loss of a batch is
#
# $$ \begin{aligned}
# L = {} & \operatorname*{mean}_{i \neq j} \, \ell_{ij} \\
# & + \alpha \operatorname*{mean}_{i, k} \left( |u_{ik}| - 1 \right)^2 .
# \end{aligned} $$ (eq:csdh-total)
#
# Of the pairs of a batch few are similar: with ten classes, a tenth. The mean over pairs is then mostly about pushing
# apart. The setting `balance` can give similar and dissimilar pairs half of the weight each, as in {doc}`03_mu_liu`;
# both are tried below.
#
# ### The gradient
#
# Differentiate by the chain rule, for one pair and its first image, and write $\Delta = a_{ij} - \tau(s_{ij})$:
#
# $$ \begin{aligned}
# \frac{\partial \ell^{\text{reg}}_{ij}}{\partial u_i} &= \frac{2 \Delta}{K} \, u_j, \\
# \frac{\partial \ell^{\text{con}}_{ij}}{\partial u_i} &= \frac{v_{ij}}{K} \, (u_i - u_j), \\
# v_{ij} &= s_{ij} - (1 - s_{ij}) [D_{ij} < 2K] , \\
# \frac{\partial \ell^{\text{lik}}_{ij}}{\partial u_i} &= \frac{\sigma(\Theta_{ij}) - s_{ij}}{2} \, u_j ,
# \end{aligned} $$ (eq:csdh-gradient)
#
# where $[\cdot]$ is 1 if the condition holds and 0 if not; and $\partial u / \partial z = 1 - u^2$ for the tanh. Let
# automatic differentiation check it, for a similar and a dissimilar pair:

# %%
generator = torch.Generator().manual_seed(0)
pair = torch.rand(2, 5, generator=generator).double() * 2 - 1
checked = 0
for (name, (form, low)), s in product(FORMS.items(), (1.0, 0.0)):
    moving = pair.clone().requires_grad_()
    loss = form(moving, torch.full((2, 2), s), low)[0, 1]
    by_autograd = torch.autograd.grad(loss, moving)[0][0]
    u_i, u_j = pair
    a, theta, D = u_i @ u_j / 5, u_i @ u_j / 2, (u_i - u_j).square().sum()
    by_formula = {
        "regression, opposite": 2 * (a - (2 * s - 1)) / 5 * u_j,
        "regression, half": 2 * (a - s) / 5 * u_j,
        "contrastive": (s - (1 - s) * (D < 10)) / 5 * (u_i - u_j),
        "likelihood": (torch.sigmoid(theta) - s) / 2 * u_j,
    }[name]
    checked += torch.allclose(by_autograd, by_formula, rtol=1e-9)
print(
    f"formula and automatic differentiation agree in {checked} of 8 cases"
)

# %% [markdown]
# Two things can be read off. *Regression and likelihood* move $u_i$ along $u_j$, by an amount that depends on how far
# the pair is from where it should be. The *contrastive* loss moves $u_i$ along the difference $u_i - u_j$, and gives
# every pair within the margin the same weight. So where two images of different classes have nearly the same output,
# the difference is nearly zero, and so is the push: **classes that have once fallen together are hardly parted
# again**. (The other two losses draw both images back towards 0, where a small difference is enough to part them.)
# This is worth remembering when we look at runs.
#
# ## The code beside the formula
#
# | in the formulas | in the code |
# |---|---|
# | $u_i$, $s_{ij}$, $K$ | `u` (B, K), `s` (B, B), `u.shape[1]`, with $B$ images in a batch |
# | $y_i$ | `labels` (B, L): the L of the code is our $C$ |
# | $d_{ij}$, equation {eq}`eq:csdh-distance` | `hamming_embedding(u)` (B, B) |
# | $\Theta_{ij}$ | `theta` in the text of `likelihood`, `u @ u.T / 2` |
# | $\tau_0$ | `low` |
# | $D_{ij}$ | `d` in `contrastive` |

# %%
source(
    csdh.label_similarity,
    csdh.hamming_embedding,
    csdh.regression,
    csdh.contrastive,
    csdh.likelihood,
)

# %% [markdown]
# And equation {eq}`eq:csdh-total`, from the outputs $z$ of the last layer to the number that is minimised:

# %%
source(csdh.CSDHLoss.forward, quantisation.squared)

# %% [markdown]
# ## A run you can repeat
#
# The network behind the first figure was trained with regression towards opposite codes, by the second cell of this
# chapter. It has two layers of convolutions and one dense layer, and saw 1,200 digits for 15 epochs.

# %% mystnb={"image": {"alt": "Training loss per epoch, fifteen epochs: it falls quickly at first and then levels off far above zero."}}
ax = plots.losses(trained.history)
floor = 0.9 * (1 - 1 / 9) ** 2  # nine tenths of the pairs are dissimilar
line = ax.axhline(floor, ls="--", lw=1, color="0.4")
note = ax.annotate(
    "no codes do better",
    (1, floor),
    (0, -12),
    textcoords="offset points",
    color="0.4",
)

# %% [markdown]
# The dashed line is what the argument above leaves: nine tenths of the pairs are dissimilar, and each costs at least
# 0.79 on average. Training comes close to it.
#
# For comparison, the same network before training, and one trained with DPSH (pairs within the batch, so that only
# the loss differs). The 300 query digits rank the 1,497 others:


# %% tags=["nbval-ignore-output"]
def evaluate(method, loaded=digits):
    """Retrieval metrics of a fitted method on the queries of a data set."""
    labels = loaded.query.targets, loaded.database.targets
    return metrics.evaluate(
        *encoded(method, loaded),
        *labels,
        bits=method.bits,
        relevance=loaded.relevance,
    )


learners = {
    "untrained": methods.create("csdh", K, **SETTINGS | {"epochs": 0}).fit(
        digits.train
    ),
    "CSDH": trained,
    "DPSH": methods.create("dpsh", K, **SETTINGS | {"pairs": "batch"}).fit(
        digits.train
    ),
}
reports = {name: evaluate(learner) for name, learner in learners.items()}
table(
    [
        "digits, 12 bits",
        "mAP, ties in random order",
        "worst order",
        "best order",
        "precision within radius 2",
    ],
    *[
        [
            name,
            *(
                f"{value:.3f}"
                for value in (
                    r.map,
                    r.map_worst,
                    r.map_best,
                    r.precision_radius2,
                )
            ),
        ]
        for name, r in reports.items()
    ],
)

# %% mystnb={"image": {"alt": "Precision against recall, one point per Hamming radius. CSDH and DPSH keep a precision close to one up to a recall of about nine tenths; the untrained network starts low and falls to one tenth."}}
ax = plots.precision_recall(reports)

# %% [markdown]
# Every point is a Hamming radius, from 0 at the left to 12 at the right. Next, the outputs $u$ of the query digits on
# a plane, by t-SNE {cite:p}`vandermaaten2008tsne`, which tries to keep neighbours together. None of these digits was
# seen in training.

# %% mystnb={"image": {"alt": "t-SNE of the outputs of 300 query digits: ten islands, one for each digit, with a few points on the wrong island."}}
outputs = np.tanh(trained.outputs(digits.query.images))  # (300, 12)
ax = plots.tsne(outputs, digits.query.labels, digits.classes)

# %% [markdown]
# And as a user meets them: three queries that go well, then the three with the lowest average precision, each with
# its five nearest images and their distances.

# %% mystnb={"image": {"alt": "Six query digits with the five nearest images each. In the first three rows all images show the digit asked for. In the last three rows most images are crossed: they show another digit."}}
ap = reports["CSDH"].ap
query, database = digits.query, digits.database
good = [
    max(np.flatnonzero(query.labels == label), key=lambda i: ap[i])
    for label in (2, 5, 8)
]
chosen = np.concatenate([good, np.argsort(ap, kind="stable")[:3]])
figure = plots.retrieved(
    query.images[chosen],
    trained.encode(query.images[chosen]),
    query.labels[chosen],
    database.images,
    trained.encode(database.images),
    database.labels,
    nearest=5,
)

# %% [markdown]
# What are the bits like? A good bit is 1 for about half of the images, and no two bits say the same. Here are three
# sets of codes of the database, those from pixels and two that were trained:

# %% mystnb={"image": {"alt": "For codes from pixels, of CSDH and of DPSH: above, twelve bars for the share of ones per bit, most between three and seven tenths; below, a square of the correlations between bits. Codes from pixels have nearly uncorrelated bits. Codes of CSDH and DPSH have visible correlations between some pairs of bits."}}
packed_of = {
    "pixels (ITQ)": codes.pack(itq.transform(pixels["database"])),
    "CSDH": trained.encode(database.images),
    "DPSH": learners["DPSH"].encode(database.images),
}
figure = figures.bit_portrait(packed_of, K)


# %% tags=["nbval-ignore-output"]
def described(packed, outputs=None):
    found = diagnostics.diagnose(packed, K, outputs)
    return [
        found.distinct,
        found.largest_bucket,
        f"{found.effective_bits:.1f}",
        f"{found.correlation:.2f}",
        found.constant_bits,
    ]


table(
    [
        "1,497 images",
        "different codes",
        "images on the fullest",
        "entropy (bits)",
        "mean correlation",
        "constant bits",
    ],
    *[[name, *described(packed)] for name, packed in packed_of.items()],
)

# %% [markdown]
# Codes from pixels spread the images over many codes: their bits tell much, only not what we ask. Trained networks put
# most of the 1,497 images on a few codes, whose entropy is a little more than the $\log_2 10 = 3.3$ bits that it takes
# to name a digit. With ten classes and twelve bits, bits must repeat part of what others say.
#
# ## Near codes for similar images: which form does it best?
#
# The paper's promise is a small Hamming distance between similar images. Each form was trained above or is trained
# now, same network, same epochs, same rate. We look at all pairs of a query and a database image.

# %% mystnb={"image": {"alt": "Four panels, one per method: regression, contrastive, likelihood, DPSH. Upwards, the shares of similar pairs per Hamming distance, in all panels mostly at 0 and 1. Downwards, the shares of dissimilar pairs: for regression, likelihood and DPSH a hump between 4 and 9; for the contrastive loss part of the dissimilar pairs stand at distance 0 to 2, among the similar ones."}}
learners["regression"] = trained
for form in ("contrastive", "likelihood"):
    learners[form] = methods.create(
        "csdh", K, **SETTINGS | {"form": form}
    ).fit(digits.train)
names = {
    "regression": "CSDH, regression",
    "contrastive": "CSDH, contrastive",
    "likelihood": "CSDH, likelihood",
}
names |= {"DPSH": "DPSH"}
live = {names[key]: count(*encoded(learners[key])) for key in names}
figure = figures.distances(live)


# %% tags=["nbval-ignore-output"]
def least(learner):
    """The least distance between the commonest codes of two classes."""
    unpacked, words = (
        codes.unpack(learner.encode(digits.train.images), K),
        [],
    )
    for label in range(10):
        found, counts = np.unique(
            unpacked[digits.train.labels == label],
            axis=0,
            return_counts=True,
        )
        words.append(found[counts.argmax()])
    packed = codes.pack(np.array(words))
    return codes.hamming(packed, packed)[np.triu_indices(10, 1)].min()


closest = {key: least(learners[key]) for key in names}
table(
    [
        "digits, 12 bits",
        "mean distance, similar",
        "dissimilar",
        "dissimilar pairs within radius 2",
        "closest classes (bits)",
    ],
    *[
        [
            name,
            *(f"{mean:.2f}" for mean in figures.mean_distances(live[name])),
            f"{live[name][1, :3].sum() / live[name][1].sum():.1%}",
            closest[key],
        ]
        for key, name in names.items()
    ],
)

# %% [markdown]
# All of them bring similar images together, and that alone is easy: give every image the same code. The second half
# is the hard one. Under the *contrastive* loss some classes share a code ("closest classes: 0"), and their pairs stand
# at distance 0 where only similar ones should be. It is what its gradient let us fear: the outputs start out small
# and close together, similar pairs are drawn to each other, and where two classes have fallen together nothing pushes
# them apart.
#
# ## Several labels: what the cosine is worth
#
# `digit_scenes` has scenes of 16×16 pixels with one to three different digits; two scenes are relevant to each other
# when they share a digit, which about a third of random pairs do. Four numbers judge a ranking here. *mAP* counts a
# scene as relevant or not: it is the precision of the first $n$ scenes, averaged over the ranks $n$ of all relevant
# ones. The other three also ask how *many* digits are shared. *ACG@n* is the mean number of digits that the first $n$
# scenes share with the query; we look at ACG@100. *Weighted mAP* is mAP with ACG@n in place of the precision. In
# *nDCG@100* what stands first counts more. All are means over the 300 query scenes, at 24 bits.

# %% tags=["nbval-ignore-output"]
scenes = data.load("digit_scenes")
SCENES = SETTINGS | {"balance": "halves", "epochs": 12}
several = {
    (form, kind): evaluate(
        methods.create(
            "csdh", 24, **SCENES | {"form": form, "similarity": kind}
        ).fit(scenes.train),
        scenes,
    )
    for form, kind in product(
        ("regression", "likelihood"), ("shares", "cosine")
    )
}
table(
    [
        "form",
        "label similarity",
        "mAP",
        "weighted mAP",
        "ACG@100",
        "nDCG@100",
    ],
    *[
        [
            form,
            kind,
            *(
                f"{x:.3f}"
                for x in (
                    r.map,
                    r.weighted_map,
                    r.acg_at[100],
                    r.ndcg_at[100],
                )
            ),
        ]
        for (form, kind), r in several.items()
    ],
)

# %% [markdown]
# For *regression* the cosine is a large gain on all four numbers, also on mAP, which knows only yes and no. Why? The
# 0/1 similarity asks scenes {2}, {2, 7} and {7} for the impossible: the second is to have the code of the first and
# the code of the third, while these two are to be opposite. The cosine lets the middle one stand in the middle.
#
# The *likelihood* does not gain by it: three of its four numbers are lower, in one run each. Equation
# {eq}`eq:csdh-wanted` tells why there is little to gain: in between, it wants about half of the bits, whatever the
# similarity. It also needs the cosine less. With 0/1 it is about where regression gets only with the cosine: the pull
# of a pair that cannot be satisfied is bounded, so it can live with contradictions. These are single runs; a few
# hundredths between two rows mean nothing.

# %% [markdown]
# ## Real images: CIFAR-10
#
# Now 60,000 colour photographs of ten kinds of things {cite:p}`krizhevsky2009cifar`, under the protocol `cifar10-59k`:
# 5,000 training images, 1,000 queries, and a database of 59,000 images, all but the queries. Two networks are used,
# in three ways, and mAP of one way never stands beside mAP of another:
#
# - **Frozen features**: MobileNetV2, trained by others on ImageNet and left as it is, sees images of 128 pixels. Only
#   the hash layer on top is trained. Most of what follows is of this kind.
# - **Fine-tuned**: the same network, but all of it is trained on, with images of 96 pixels. This is what the abstract
#   says of the paper's network: pre-trained, then trained end to end. Which network it was, we have not seen.
# - **From scratch**: a small network of three layers of convolutions, trained end to end on the 5,000 images of 32
#   pixels.
#
# ### Which form? Asked of held-out data
#
# All choices were made on the validation part: train on 4,500 of the 5,000 training images, retrieve the other 500
# among them. No query is touched. The three forms of CSDH and DPSH were given the same number of trials: twelve
# settings each, with one seed, at 12 and at 48 bits, AdamW, 15 epochs.
#
# - All four: three learning rates (0.003, 0.01, 0.03) and two ways to count pairs, all alike or half of the weight for
#   the few similar ones.
# - Regression: also the two targets. Contrastive and likelihood: with and without tanh.
# - DPSH: pairs with all training images or within the batch. In place of the largest learning rate it had other
#   weights of its penalty, a smaller learning rate, and once plain SGD; where 12 bits were far behind, 48 were not run.
#
# The setting with the best mean over both lengths was run with two more seeds. These are the winners on frozen
# features, mean ± standard deviation over three seeds (the one of the search among them, so the figures flatter all
# four alike):

# %%
SEEDS, LENGTHS = range(3), (12, 48)
FROZEN = {"backbone": "mobilenet_v2", "frozen": True, "size": 128}
TRAINING = {"optimiser": "adamw", "epochs": 15, "batch_size": 128}
USUAL = {
    "activation": "tanh",
    "quantise": "squared",
    "alpha": 0.1,
    "unlike": "opposite",
}
CHOSEN = {
    "CSDH, regression": USUAL
    | {
        "form": "regression",
        "unlike": "half",
        "balance": "none",
        "lr": 0.01,
    },
    "CSDH, contrastive": USUAL
    | {
        "form": "contrastive",
        "activation": "none",
        "balance": "none",
        "lr": 0.01,
    },
    "CSDH, likelihood": USUAL
    | {"form": "likelihood", "balance": "halves", "lr": 0.01},
    "DPSH": {
        "pairs": "memory",
        "balance": "halves",
        "lr": 0.003,
        "alpha": 0.1,
    },
}


def frozen(name, bits, protocol="cifar10-59k", **changed):
    """Records of the chosen setting of a method, one per seed, on frozen features."""
    settings = FROZEN | TRAINING | CHOSEN[name] | changed
    return recorded(
        SEEDS,
        settings,
        method=name[:4].lower(),
        protocol=protocol,
        bits=bits,
        backbone="mobilenet_v2",
    )


def maps(records):
    return [record.map for record in records]


SEARCHED = {"CSDH, regression": ["unlike"], "DPSH": ["pairs", "alpha"]}
SEARCHED |= {
    name: ["activation"]
    for name in ("CSDH, contrastive", "CSDH, likelihood")
}
held_out = {
    (name, bits): frozen(name, bits, "cifar10-59k/tuning")
    for name in CHOSEN
    for bits in LENGTHS
}
table(
    [
        "held-out CIFAR-10, mAP",
        *(f"{bits} bits" for bits in LENGTHS),
        "chosen",
    ],
    *[
        [
            name,
            *(spread(maps(held_out[name, bits])) for bits in LENGTHS),
            ", ".join(
                f"{key} {settings[key]}"
                for key in (*SEARCHED[name], "balance", "lr")
            ),
        ]
        for name, settings in CHOSEN.items()
    ],
)

# %%
average = {
    name: np.mean([maps(held_out[name, bits]) for bits in LENGTHS])
    for name in CHOSEN
}
form_chosen = max(
    (name for name in CHOSEN if name != "DPSH"), key=average.get
)
print("best form of CSDH on held-out data:", form_chosen)

# %% [markdown]
# Regression wins, at both lengths, but with settings that are not the package's defaults: codes of unlike images are to
# differ in *half* of their bits, and all pairs count the same. That is the wish that can be granted. How much depends
# on these two is the next question.
#
# A caution: the database here consists of the very images that the hash layer was trained on. {doc}`05_mlsh` shows that
# such a database flatters, and can mislead. It may do so here: at 12 bits regression is above the likelihood in this
# table, while on queries, further down, that is open, with the likelihood's mean a little ahead.
#
# ### What activation, penalty, target and balance are worth
#
# One thing changed at a time, from the chosen setting of regression; held-out data again, 12 bits. The last column is
# the mean difference over pairs of runs with the same seed, half of its 95 % interval over seeds (Student's t), half of
# that over queries (a bootstrap), and the verdict on this change by itself: *open* where an interval holds both signs
# ({doc}`11_how_a_run_works`).

# %%
CHANGES = [
    ("activation", "sigmoid"),
    ("activation", "clip"),
    ("activation", "none"),
]
CHANGES += [
    ("quantise", "absolute"),
    ("quantise", "log_cosh"),
    ("quantise", "none"),
]
CHANGES += [("unlike", "opposite"), ("balance", "halves")]
reference = held_out["CSDH, regression", 12]
ablation = {
    change: frozen(
        "CSDH, regression", 12, "cifar10-59k/tuning", **dict([change])
    )
    for change in CHANGES
}
steps = {
    change: difference(group, reference)
    for change, group in ablation.items()
}
table(
    ["changed", "mAP", "difference ± seeds ± queries"],
    [
        "nothing: tanh, squared, half, all pairs alike",
        spread(maps(reference)),
        "",
    ],
    *[
        [
            f"{key}: {value}",
            spread(maps(ablation[key, value])),
            f"{steps[key, value]}, {steps[key, value].verdict}",
        ]
        for key, value in CHANGES
    ],
)
decided = [change for change, one in steps.items() if one.verdict != "open"]
left = [
    change for change, word in verdicts(steps).items() if word != "open"
]
print(
    f"of {len(steps)} changes {len(decided)} are decided each by itself, "
    f"{len(left)} among all of them, by Holm's correction"
)

# %% [markdown]
# Eight changes with three seeds each are too many to be sure of one: among all of them none is shown. Taken each by
# itself, and by the size of the means:
#
# - *Target and balance* matter much: "opposite", or half of the weight for the few similar pairs, costs 0.1 of mAP and
#   more. The two go together with the form. For the likelihood and DPSH the search chose the balance that ruins
#   regression here.
# - *Some bounded activation* is needed. Without one, mAP falls to less than half, and differently for every seed. A
#   likely reason: this loss is a square of products of outputs, so it grows with the fourth power of the outputs, and a
#   few large ones rule it. Which bounded function it is matters little: the means of the other two are about a
#   hundredth behind tanh, which for one of them is open.
# - *The penalty* does nothing that we can show. All its forms are open against each other, and without any the mean is
#   slightly higher. With the tanh the target itself asks for outputs near $\pm 1$: similar pairs have $a = 1$ nowhere
#   else. We keep the setting that was chosen before this table was made.
#
# ### The queries, asked once
#
# With these settings frozen, all training images are used, and the 1,000 queries are asked once. **Frozen features of
# MobileNetV2**; mAP over the whole ranking, ties in random order; three seeds.

# %%
asked = {
    (name, bits): frozen(name, bits) for name in CHOSEN for bits in LENGTHS
}
gain = {
    (name, bits): difference(asked[name, bits], asked["DPSH", bits])
    for name, bits in asked
    if name != "DPSH"
}


def against(name, bits):
    if name == "DPSH":
        return ""
    return f"{gain[name, bits]}, {gain[name, bits].verdict}"


table(
    [
        "frozen features",
        *(
            f"{bits} bits, {what}"
            for bits in LENGTHS
            for what in ("mAP", "minus DPSH, ± seeds ± queries")
        ),
    ],
    *[
        [
            name,
            *(
                x
                for bits in LENGTHS
                for x in (
                    spread(maps(asked[name, bits])),
                    against(name, bits),
                )
            ),
        ]
        for name in CHOSEN
    ],
)

# %% [markdown]
# CSDH-style regression is above DPSH at both lengths, and so is the likelihood
# form, which shares its loss with DPSH and differs in the tanh and in where pairs come from. The contrastive form is
# below DPSH at 12 bits and above it at 48. All six verdicts stand with Holm's correction, too. At 12 bits it is open
# which of regression and likelihood is better. Regression and the contrastive form gain from longer codes; for the
# likelihood and DPSH that is open, and the means stay about where they are. Equation
# {eq}`eq:csdh-likelihood` tells why that may be. Its pull fades within a few bits beyond $K/2$, whatever $K$ is, so
# with longer codes ever less of the room is used in earnest. The other two count in shares of $K$, and pull until their
# target or margin is met.
#
# A word of caution. DPSH was made for training a whole network, with pairs from a memory of all training images. Here
# it is a linear layer on frozen features, with 15 epochs and twelve trials; what happens when more is trained comes
# [below](#sec:csdh-whole). Public re-implementations that train all of AlexNet report far higher figures under other
# protocols; what we compare is two losses in one place, not two papers.
#
# How near are similar images, and how far are dissimilar ones? The distances are those of the first 200 queries to the
# whole database, at 48 bits, seed 0. (The last two columns of the table are of all 1,000 queries.)

# %% mystnb={"image": {"alt": "Four panels of Hamming distances from 0 to 48 bits, one per method. Similar pairs, drawn upwards: those of CSDH regression lie nearest to zero, with many pairs below 10 bits; those of the other three centre at about 15. Dissimilar pairs, drawn downwards, form a hump around 24 bits in all four."}}
spreads = {}
for name in CHOSEN:
    stored = asked[name, 48][0].codes()
    first = {
        key: value[:200] if key.startswith("query") else value
        for key, value in stored.items()
    }
    spreads[name] = figures.distance_counts(**first, bits=48)
figure = figures.distances(spreads)

# %%
table(
    [
        "48 bits, seed 0",
        "mean distance, similar (200 queries)",
        "dissimilar (200 queries)",
        "similar pairs within radius 2 (all queries)",
        "precision within radius 2 (all queries)",
    ],
    *[
        [
            name,
            *(
                f"{mean:.1f}"
                for mean in figures.mean_distances(spreads[name])
            ),
            f"{asked[name, 48][0].metrics['recall'][2]:.2f}",
            f"{asked[name, 48][0].metrics['precision_radius2']:.2f}",
        ]
        for name in CHOSEN
    ],
)

# %% [markdown]
# This is the paper's promise, and on these features regression keeps it best: its similar pairs are on average about
# five bits nearer than those of DPSH, its dissimilar ones less than two. Within radius 2 of a query it finds about a
# tenth of the similar images, the others next to none; so their precision there is low, as an empty ball counts 0.
#
# At 12 bits, precision against recall for the chosen form and for DPSH, seed 0:

# %% mystnb={"image": {"alt": "Precision against recall on CIFAR-10 at 12 bits, one point per Hamming radius, for CSDH regression and DPSH. The curve of CSDH lies above that of DPSH up to a recall of about 0.85; from there on they coincide, and both end at one tenth."}}
said = {
    name: asked[name, 12][0].metrics
    for name in ("CSDH, regression", "DPSH")
}
curves = {
    name: SimpleNamespace(
        **{k: np.array(m[k], float) for k in ("precision", "recall")}
    )
    for name, m in said.items()
}
ax = plots.precision_recall(curves)

# %% [markdown]
# (sec:csdh-whole)=
# ### The whole network trained
#
# The same two losses with the settings found above, at 24 bits, but now with all of the network trained. First
# **fine-tuned**, for eight epochs on images of 96 pixels. Only the learning rate was chosen anew, one of two on held-out
# data.

# %%
PAIR = ("CSDH, regression", "DPSH")
FINE = TRAINING | {
    "backbone": "mobilenet_v2",
    "frozen": False,
    "size": 96,
    "epochs": 8,
}
SCRATCH = TRAINING | {
    "backbone": "quick",
    "weights": "scratch",
    "epochs": 10,
}
RATE = {"CSDH, regression": 0.0003, "DPSH": 0.001}  # fine-tuned


def whole(name, settings, seeds=SEEDS, protocol="cifar10-59k"):
    """Records of a method at 24 bits, one per seed, with all of the network trained."""
    return recorded(
        seeds,
        CHOSEN[name] | settings,
        method=name[:4].lower(),
        protocol=protocol,
        bits=24,
    )


def beside(way, groups):
    """mAP of each of two methods, and how ties bear on it."""
    ends = [
        [
            np.mean([r["metrics"][key] for r in g])
            for key in ("map_worst", "map_best")
        ]
        for g in groups.values()
    ]
    rows = [
        [name, spread(maps(group)), *(f"{end:.3f}" for end in two)]
        for (name, group), two in zip(groups.items(), ends, strict=True)
    ]
    return table(
        [f"{way}, 24 bits", "mAP", "worst order of ties", "best order"],
        *rows,
    )


tuned = {name: whole(name, FINE | {"lr": RATE[name]}) for name in PAIR}
beside("fine-tuned", tuned)

# %% [markdown]
# Then **from scratch**: from random weights, on the 5,000 images of 32 pixels, for 10 epochs. Nothing was chosen anew.

# %%
scratch = {name: whole(name, SCRATCH) for name in PAIR}
beside("from scratch", scratch)

# %%
fine_tuned, from_scratch = (
    difference(*groups.values()) for groups in (tuned, scratch)
)
print("CSDH minus DPSH, ± seeds ± queries")
print(f"fine-tuned: {fine_tuned}, {fine_tuned.verdict}")
print(f"from scratch: {from_scratch}, {from_scratch.verdict}")

# %% [markdown]
# Both ways it is open which of the two is better. The lead that regression has on frozen features is not seen where
# the features may follow the loss, though three seeds leave room for a small one. From scratch mAP is low for both: 5,000 images and 10 epochs are little for a network
# that starts from nothing, and no setting was chosen for this case.
#
# ### Beside the reported figures
#
# There is nothing to put beside them. The paper reports figures for CIFAR-10 and NUS-WIDE, against five shallow and
# six deep methods; **none of them has been seen by us**, nor its splits, code lengths and metric. One claim of the
# abstract has: the method is called *competitive* with popular deep hashing methods. What we can judge is that claim,
# for our reconstruction, against one such method. We read it as "not more than 0.01 below". It holds where both
# intervals of the difference, over seeds and over queries, lie above that mark, fails where both lie below it, and
# is open otherwise:

# %% tags=["hide-input"]
first = asked["CSDH, regression", 12][0]
competitive = {
    f"frozen features, {bits} bits": gain["CSDH, regression", bits]
    for bits in LENGTHS
}
competitive |= {
    "fine-tuned, 24 bits": fine_tuned,
    "from scratch, 24 bits": from_scratch,
}


def judge(one, mark=-0.01):
    """Whether a difference is established to lie above a mark."""
    if all(interval.low > mark for interval in one.intervals):
        return "holds"
    if all(interval.high < mark for interval in one.intervals):
        return "fails"
    return "open"


table(
    [
        "",
        "CSDH as reported",
        "regression minus DPSH here, ± seeds ± queries",
        "not below DPSH by more than 0.01",
    ],
    *[
        [where, "not seen", str(one), judge(one)]
        for where, one in competitive.items()
    ],
)

# %% tags=["hide-input"]
sizes = first.sizes
table(
    ["protocol", first.protocol],
    [
        "queries, trained on, searched",
        f"{sizes['query']:,}, {sizes['train']:,}, {sizes['database']:,}",
    ],
    ["metric", first.metric],
    ["relevant", "same class"],
    [
        "frozen features, and fine-tuned",
        f"{first.backbone}, {first.weights[:50]}…",
    ],
    [
        "from scratch",
        f"{scratch['DPSH'][0].backbone}, {scratch['DPSH'][0].weights}",
    ],
    ["seeds", ", ".join(map(str, SEEDS))],
    [
        "hardware, threads",
        ", ".join(
            sorted(
                {
                    "{device}, {threads}".format(**r.hardware)
                    for group in asked.values()
                    for r in group
                }
            )
        ),
    ],
    [
        "fine-tuned on",
        ", ".join(
            sorted(
                {
                    "{device}, {precision}".format(**r.hardware)
                    for group in tuned.values()
                    for r in group
                }
            )
        ),
    ],
)

# %% [markdown]
# {doc}`07b_csdh_on_real_images` asks the same of another network, at four lengths, and goes through the claims one by one.
#
# The runs on queries were made with these commands (`FILE` is where the weights lie):

# %% tags=["hide-input"]
groups = [group for (_, bits), group in asked.items() if bits == 12] + [
    *tuned.values(),
    *scratch.values(),
]
for group in groups:
    line = command(group).replace("--bits 12", "--bits 12 48")
    parts = [
        part for part in line.split() if not part.startswith("weights=")
    ]
    print(
        " ".join(parts)
        + (" weights=FILE" if "backbone=mobilenet_v2" in line else "")
    )

# %% [markdown]
# ## What we learned
#
# - $d = (K - u_i^{\mathsf T} u_j) / 2$ is the Hamming distance at codes and smooth between them,
#   {eq}`eq:csdh-distance`. Every loss of this chapter is a function of it there.
# - "Code similarity follows label similarity" can be meant in several ways. They agree about similar pairs and differ
#   in what they ask of dissimilar ones: all bits, half of the bits, at least half, as many as possible.
# - Not every wish can be granted. More than half of the bits between every two of ten classes is impossible at 12 bits,
#   and at any length possible by little, {eq}`eq:csdh-room`; half of the bits is easy once codes are long enough.
# - With several labels only regression gives label similarities between 0 and 1 distances of their own,
#   {eq}`eq:csdh-wanted`. There the cosine is a large gain over 0/1. The likelihood did not gain by it.
# - The contrastive loss pushes dissimilar images along their difference, {eq}`eq:csdh-gradient`, so classes that fall
#   together early may stay together.
# - A bounded activation was needed, a penalty was not; the target for unlike images and the balance of pairs moved
#   mAP most among what trains at all.
# - On CIFAR-10 with frozen features CSDH-style regression is above DPSH at 12 and at 48 bits, and its similar pairs are
#   nearer. Where the whole network is trained, it is open which is better. "Competitive", in the sense of not
#   more than 0.01 below, holds for frozen features, and is open fine-tuned and from scratch: for this reconstruction,
#   against this one method.
#
# **What did not reproduce, and what stays open.** No figure of the paper was available, so none is reproduced. Its
# loss is not known; each of our three forms fits the words that we read. Its pre-trained network was trained on; ours
# was frozen in most runs, and trained on in a few, of one form and one length. NUS-WIDE, where images have several labels
# and label similarity has most to say, was not run; scenes of digits stand in for it. And with other features or more
# epochs the order of the forms may change.
#
# (sec:csdh-ledger)=
# ## The ledger
#
# **Seen**: read in the named source. **Inferred**: our judgement, read nowhere. **Not seen**: wanted, and not
# available to us.
#
# | element | status | what the source says | what we chose |
# |---|---|---|---|
# | aim | seen (abstract) | against semantic inconsistency: similar images with different codes | measured above by distances of pairs |
# | training | seen (abstract) | end to end; a pre-trained deep network extracts features | MobileNetV2, frozen and fine-tuned; a small network from scratch (inferred) |
# | hash layer | seen (abstract) | one hidden fully connected layer at the end | the same |
# | activation function | its existence seen (abstract); which one not seen | bits come from an activation function | tanh; three others as settings (inferred) |
# | loss | its ingredients seen (abstract); formula not seen | label similarities and Hamming embedding distances | {eq}`eq:csdh-regression`, with {eq}`eq:csdh-contrastive` and {eq}`eq:csdh-likelihood` as alternatives (inferred) |
# | label similarity of several labels | not seen | nothing | shared or not, or the cosine, {eq}`eq:csdh-similarity` (inferred) |
# | target of unlike images, balance of pairs | not seen | nothing | settings; chosen on held-out data (inferred) |
# | quantisation penalty | not seen | nothing | {eq}`eq:csdh-total` (inferred) |
# | constants of the contrastive loss | seen in a public re-implementation of DSH | margin $2K$ | the same, divided by $K$ |
# | DPSH | seen (the authors' code, [jiangqy/DPSH-pytorch](https://github.com/jiangqy/DPSH-pytorch); and a re-implementation, [swuxyj/DeepHash-pytorch](https://github.com/swuxyj/DeepHash-pytorch), with other weights) | likelihood of pairs against a memory of all training outputs, and a penalty | the same, the penalty weighted 0.1 as in the second; network, optimiser and balance are ours |
# | backbone, optimiser, epochs, code lengths | not seen | nothing | every setting stands in the records |
# | data sets | seen (abstract) | CIFAR-10, NUS-WIDE | CIFAR-10; scenes of digits for several labels |
# | splits, metrics | not seen | nothing | `cifar10-59k`; mAP over the whole ranking, expected under ties (inferred) |
# | baselines | their number seen (abstract); names not seen | five shallow, six deep | DPSH here; more in {doc}`09_family_of_losses` |
# | reported figures | not seen | none in the abstract | none |
# | claim | seen (abstract) | "competitive" | judged against DPSH |
#
# Whoever has the paper at hand (it is open access; we could not reach it) can fill a gap by adding a file
# `src/hashlab/chapters/papers/csdh.csv`, or by telling us.
#
# ## Exercises
#
# ### Exercise 1: a pair by hand
# Let $K = 4$, $u_i = (1, 1, 1, 1)$ and $u_j = (1, 1, 1, -1)$, images of two different classes. What are $d_{ij}$,
# $a_{ij}$, and the three losses (regression with both targets)? Which of them leave this pair in peace?
#
# <details class="solution"><summary>Solution</summary>
#
# $u_i^{\mathsf T} u_j = 2$, so $d = 1$ and $a = \frac12$. Regression: $(\frac12 + 1)^2 = 2.25$ towards opposite codes,
# $(\frac12 - 0)^2 = 0.25$ towards half. Contrastive: $D = 4$ and $2K - D = 4$, so $\frac{4}{8} = 0.5$. Likelihood:
# $\Theta = 1$, so $\log (1 + e) \approx 1.313$. None of them is 0: the codes differ in fewer than half of the bits.
#
# </details>
#
# (sec:csdh-exercise-2)=
# ### Exercise 2: the floor
# Show that for $C$ classes with one code each, the mean of $(1 + a_{pq})^2$ over all pairs of classes is at least $(1 -
# \frac{1}{C - 1})^2$. Hint: the square of the length of a sum of vectors is not negative, and the mean of squares is
# at least the square of the mean. When is it reached for $C = 4$ and $K = 3$?
#
# <details class="solution"><summary>Solution</summary>
#
# Let $w_1, \dots, w_C$ be the codes. From $0 \le \lVert \sum_p w_p \rVert^2 = CK + \sum_{p \ne q} w_p^{\mathsf T}
# w_q$ the mean of $a_{pq} = w_p^{\mathsf T} w_q / K$ over $p \neq q$ is at least $-\frac{1}{C-1}$. So the mean of
# $1 + a_{pq}$ is at least $1 - \frac{1}{C-1}$, and the mean of its square at least the square of that. For $C = 10$ it
# is $(8/9)^2 \approx 0.79$.
#
# It is reached when the codes sum to zero and all agreements are equal. For four classes and three bits: $(1, 1, 1)$,
# $(1, -1, -1)$, $(-1, 1, -1)$, $(-1, -1, 1)$, any two of which differ in two of three bits.
#
# </details>
#
# ### Exercise 3: half a bit
# Outputs are often not at $\pm 1$ but at $\pm r$ with $r < 1$. Two images have outputs $\pm r$ whose signs differ in
# $d$ of $K$ bits. What is their Hamming embedding distance? Which $r$ is best for a dissimilar pair that shares its
# code ($d = 0$), under regression towards half, and why is that no solution?
#
# <details class="solution"><summary>Solution</summary>
#
# $u_i^{\mathsf T} u_j = r^2 (K - 2d)$, so the embedding distance is $\frac{K}{2} (1 - r^2) + r^2 d$: it is drawn from $d$
# towards $K/2$. With $d = 0$ the loss is $r^4$, least at $r = 0$. The pair has talked its way out: by having no opinion
# on any bit it reaches the target without differing anywhere. That is what the penalty on $(|u| - 1)^2$ is for, and
# why similar pairs, which want $r^2 = 1$, matter.
#
# </details>
#
# ### Exercise 4: half a label
# Two scenes have label similarity $s = \frac12$. What is their contrastive loss as long as $D < 2K$, and what its
# gradient? What does that mean for contrastive training with the cosine?
#
# <details class="solution"><summary>Solution</summary>
#
# $\frac{1}{2K} [\frac12 D + \frac12 (2K - D)] = \frac12$, whatever $D$ is, and the gradient is 0: the pull of the one
# half and the push of the other cancel. Such a pair teaches nothing until it is beyond the margin, where only the
# pull is left. In general a pair is drawn with the weight $2s - 1$: the cosine makes pairs count more or less, but
# gives none of them a place in the middle.
#
# </details>

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %%
# The formulas: distance at codes, room, distances of least loss, gradients, exercises
assert (
    csdh.hamming_embedding(b)[0].tolist() == [0, 1, 4] and room(6.5) == 13
)
assert (
    len(words) == 24
    and between.min() == 6
    and [room(x) for x in range(7, 13)] == [7, 4, 3, 2, 2, 2]
)
assert (
    f"{K / 2 * 10 / 9:.2f}" == "6.67"
    and f"{(1 - 1 / 9) ** 2:.2f}" == "0.79"
)
assert (
    np.abs(best["regression, opposite"] - 24 * (1 - similarity)).max()
    < 0.02
)
assert np.abs(best["regression, half"] - 12 * (1 - similarity)).max() < 0.02
assert (
    np.abs(
        best["likelihood"] - (12 - np.log(similarity / (1 - similarity)))
    ).max()
    < 0.02
)
flat = contrast(fine[fine <= 12], 0.5), contrast(fine[fine >= 12], 0.0)
assert all((losses.max() - losses.min()).item() < 1e-12 for losses in flat)
apart = np.abs(similarity - 0.5) > 0.01
assert np.array_equal(
    np.array(best["contrastive"])[apart],
    np.where(similarity < 0.5, 12, 0)[apart],
)
assert 2 * math.log(0.7 / 0.3) < 2 and checked == 8
two = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, -1]]).double()
by_hand = [
    form(two, torch.zeros(2, 2).double(), low)[0, 1].item()
    for form, low in FORMS.values()
]
assert (
    np.allclose(by_hand, [2.25, 0.25, 0.5, math.log(1 + math.e)])
    and f"{by_hand[3]:.3f}" == "1.313"
)
half_bit = 0.5 * torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, 1]])
assert csdh.hamming_embedding(half_bit)[0, 1] == 2 * (1 - 0.25) + 0.25 * 1
four = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
assert np.allclose(
    csdh.regression(four, torch.zeros(4, 4))[0, 1:], (1 - 1 / 3) ** 2
)

# Learning: the network has learned to hash, and similar images have near codes
assert reports["CSDH"].map > 0.9 > 0.3 > reports["untrained"].map
assert (
    floor < trained.history[-1]["loss"] < 0.9 < trained.history[0]["loss"]
)
(near, far), (pixel_near, pixel_far) = (
    figures.mean_distances(counts[key]) for key in reversed(counts)
)
assert near < 1 < 2.5 < pixel_near and min(far, pixel_far) > 5.5
between_two = (learned[two_each][:, None] != learned[two_each]).sum(
    -1
)  # (6, 6)
assert between_two[[0, 2, 4], [1, 3, 5]].max() < min(
    between_two[:2, 2:].min(), between_two[2:4, 4:].min()
)
rows = (from_pixels[two_each] != from_pixels[two_each][0]).sum(1)
assert abs(rows[1] - rows[4:].min()) < 3 and reports["DPSH"].map > 0.9

# The forms on digits
too_near = {
    key: live[name][1, :3].sum() / live[name][1].sum()
    for key, name in names.items()
}
assert closest.pop("contrastive") == 0 < min(closest.values())
assert too_near.pop("contrastive") > 0.03 > max(too_near.values())

# Several labels
judged = {
    key: np.array([r.map, r.weighted_map, r.acg_at[100], r.ndcg_at[100]])
    for key, r in several.items()
}
gained = {
    form: judged[form, "cosine"] - judged[form, "shares"]
    for form in ("regression", "likelihood")
}
assert (
    gained["regression"].min() > 0.06
    and (gained["regression"] > 2 * gained["likelihood"]).all()
)
assert (
    gained["likelihood"].max() < 0.1 and gained["likelihood"].mean() < 0.02
)
assert (
    abs(
        judged["likelihood", "shares"][0]
        - judged["regression", "cosine"][0]
    )
    < 0.08
)

# CIFAR-10, held-out data: regression is chosen; what it hangs on
assert (
    form_chosen == "CSDH, regression"
    and csdh.CSDH(12).config.unlike == "opposite"
)
for bits in LENGTHS:
    scores = {name: np.mean(maps(held_out[name, bits])) for name in CHOSEN}
    assert max(scores, key=scores.get) == "CSDH, regression"
assert set(decided) == {
    ("activation", "sigmoid"),
    ("activation", "none"),
    ("unlike", "opposite"),
    ("balance", "halves"),
}
assert not left and len(steps) == 8
assert steps["quantise", "none"].mean > 0
assert (
    max(steps["unlike", "opposite"].mean, steps["balance", "halves"].mean)
    < -0.1
)
assert np.mean(maps(ablation["activation", "none"])) < 0.5 * np.mean(
    maps(reference)
)
assert all(
    -0.02 < steps["activation", name].mean < 0
    for name in ("sigmoid", "clip")
)

# CIFAR-10, queries: one set of settings per method, one split, the comparison with DPSH
everything = [*asked.values(), *tuned.values(), *scratch.values()]
assert all(
    len({record.variant for record in group}) == 1 for group in everything
)
assert (
    len({record.data["split"] for group in everything for record in group})
    == 1
)
of_forms = verdicts(gain)
for name, bits in gain:
    lower = (name, bits) == ("CSDH, contrastive", 12)
    assert of_forms[name, bits] == ("below" if lower else "above")
score = {key: np.mean(maps(group)) for key, group in asked.items()}
assert all(
    score[name, 48] > score[name, 12] + 0.05
    for name in ("CSDH, regression", "CSDH, contrastive")
)
assert all(
    abs(score[name, 48] - score[name, 12]) < 0.015
    for name in ("CSDH, likelihood", "DPSH")
)
regression, likelihood = "CSDH, regression", "CSDH, likelihood"
on_queries = difference(asked[regression, 12], asked[likelihood, 12])
misled = difference(held_out[regression, 12], held_out[likelihood, 12])
assert on_queries.verdict == "open" and on_queries.mean < 0
assert misled.verdict == "above"
for name, word in zip(
    CHOSEN, ("above", "above", "open", "open"), strict=True
):
    assert difference(asked[name, 48], asked[name, 12]).verdict == word
assert fine_tuned.verdict == from_scratch.verdict == "open"
assert [judge(one) for one in competitive.values()] == [
    "holds",
    "holds",
    "open",
    "open",
]
for name, rate in RATE.items():
    tried = {
        lr: whole(name, FINE | {"lr": lr}, [0], "cifar10-59k/tuning")[0].map
        for lr in sorted(RATE.values())
    }
    assert max(tried, key=tried.get) == rate
spread_means = {
    name: figures.mean_distances(found) for name, found in spreads.items()
}
assert (
    4.5
    < spread_means["DPSH"][0] - spread_means["CSDH, regression"][0]
    < 5.5
)
assert 0 < spread_means["DPSH"][1] - spread_means["CSDH, regression"][1] < 2
within = {name: asked[name, 48][0].metrics for name in CHOSEN}
assert within.pop("CSDH, regression")["precision_radius2"] > 0.5
assert max(found["recall"][2] for found in within.values()) < 0.02

half_label = csdh.contrastive(
    pair.clone(), torch.full((2, 2), 0.5).double()
)
assert (pair[0] - pair[1]).square().sum() < 10 and torch.allclose(
    half_label, torch.tensor(0.5).double()
)
print("every claim holds")
