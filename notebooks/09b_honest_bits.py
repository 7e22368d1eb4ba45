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
# # What keeps bits honest
#
# A loss looks at real numbers; search looks at their signs. {doc}`09_family_of_losses` asked who pulls an image and where
# to. This chapter asks the second question about every loss: **do the bits keep what the outputs promise?** Four things
# can go wrong on the way from the first step to the last, and one can make the whole too dear.
#
# 1. [Outputs lie between the codes](#sec:hb-quantisation), and a sign says less than they do.
# 2. [Near zero](#sec:hb-zero), where every bit begins, it is chance that decides.
# 3. [Far out](#sec:hb-saturation) a bit can no longer be changed.
# 4. [One kind of pair is rare](#sec:hb-balance), and a loss finds comfort in one code for all.
# 5. [The loss costs](#sec:hb-cost) more than it brings.
#
# | symbol | meaning |
# |---|---|
# | $z_i \in \mathbb{R}^K$ | what the network computes for image $i$ |
# | $u_i$ | what the loss sees: $z_i$ itself, or $\tanh$ of it; each section says which |
# | $\lambda$ | the weight of a penalty; in the code of DPSH `alpha` |
# | $S_{ij}$ | $+1$ for similar images, negative for others |
#
# Table: Letters of this chapter, beside those of {doc}`09_family_of_losses`.
#
# ## Four networks
#
# Take DPSH {cite:p}`li2016dpsh`: a loss of pairs, and a *penalty* that wants every output to be $-1$ or $+1$, with $u_i =
# z_i$:
#
# $$ \mathcal{L} = \operatorname*{mean}_{i \neq j}\, \ell_{ij}
#    + \lambda \operatorname*{mean}_{i,k}\, ( |u_{ik}| - 1 )^2 . $$ (eq:hb-penalty)
#
# Here are four short trainings on the 8×8 `digits`, 16 bits, that differ in $\lambda$ only.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Imports"}
import math
import warnings
from collections import Counter

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hashlab import data, methods, plots
from hashlab.chapters import exercises, family
from hashlab.chapters.family import in_batch
from hashlab.chapters.figures import losses as draw
from hashlab.chapters.tables import source, table
from hashlab.losses import clouds, pairs, quantisation
from hashlab.methods import csq, greedyhash
from hashlab.networks import backbones

# `fit` warns where codes have collapsed, which is what is to be seen here.
warnings.simplefilter("ignore", UserWarning)

# %%
K = 16
digits = data.load("digits")
query = digits.query.images


def trained(name, **settings):
    settings = {"epochs": 12, "batch_size": 64, "shift": 1} | settings
    return methods.create(name, K, **settings).fit(digits.train)


WEIGHTS = (0.0, 0.1, 1.0, 10.0)
weighed = {
    weight: trained("dpsh", pairs="batch", alpha=weight)
    for weight in WEIGHTS
}
outputs = {weight: weighed[weight].outputs(query) for weight in WEIGHTS}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four histograms of outputs from minus 3 to 3. Without a penalty: one hill around zero with long tails on both sides. With weight 0.1: the tails are gone and the hill is broad. With weight 1: two clear peaks near minus one and one. With weight 10: two narrower peaks."}, "figure": {"caption": "Outputs of DPSH for the query digits, by the weight of its penalty; what lies beyond ±3 is counted at the edge. The best codes are not where you might look for them.", "name": "fig:hb-histograms"}}
figure = draw.histograms(
    {f"λ = {weight:g}": outputs[weight] for weight in WEIGHTS},
    "output that the loss sees",
)

# %% [markdown]
# In {numref}`fig:hb-histograms` the penalty does what it should: it cuts the tails and splits the hill around 0 in two. Before you read on: which of
# the four would you take?

# %% tags=["hide-input"] mystnb={"table": {"caption": "DPSH on digits, 16 bits, seed 0: how near outputs are to codes, how unevenly a bit divides the images, and how well the codes retrieve.", "name": "tbl:hb-weights"}}
near = {weight: family.near_codes(outputs[weight]) for weight in WEIGHTS}
uneven = {weight: family.lopsided(outputs[weight]) for weight in WEIGHTS}
maps = {
    weight: family.report(weighed[weight], digits).map for weight in WEIGHTS
}
table(
    ["λ", "outputs within ½ of ±1", "on a bit's commoner side", "mAP"],
    *[
        [
            f"{weight:g}",
            f"{near[weight]:.2f}",
            f"{uneven[weight]:.2f}",
            f"{maps[weight]:.1f}",
        ]
        for weight in WEIGHTS
    ],
)

# %% [markdown]
# A moderate penalty helps. With the largest weight the outputs are close to codes, and the codes are the worst of all. The
# penalty knows no labels: a bit that is the same for nearly all images satisfies it as well as one that tells classes
# apart, and pairs that weigh a tenth of it cannot object. **A penalty sees to it that bits are decided, not that they
# are decided well.** That is why it must not weigh much more than the pairs.
#
# (sec:hb-quantisation)=
# ## From numbers to bits
#
# If all outputs lie close to 0, agreement of outputs says little about agreement of bits. Making codes of numbers is
# called *quantisation*. Four answers have been found.
#
# ### A penalty
#
# On outputs that are not $-1$ or $+1$: the squared distance $(|u| - 1)^2$ in DPSH, DTSH and DSDH, the absolute one in DSH,
# $\log\cosh(|u| - 1)$ in DHN and CSQ, the cube in GreedyHash. DCH has another: it takes
# $\log(1 + d / \gamma)$, where $d = \frac K2 (1 - \cos)$ with the *cosine* between $|u_i|$ and $(1, \dots, 1)$. {numref}`fig:hb-penalties` draws the package's functions, as one output
# of an image moves and its other eleven stay at 1.

# %%
PENALTIES = {
    "cubic": family.cubic,
    "squared": quantisation.squared,
    "absolute": quantisation.absolute,
    "log cosh": quantisation.log_cosh,
    "Cauchy": family.cauchy,  # of DCH
}
axis = np.linspace(-2, 2, 201)
penalties = {
    name: family.along(penalty, axis) for name, penalty in PENALTIES.items()
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels over an output from minus 2 to 2. Above, five penalties, all zero at minus one and one, with a peak at zero; cubic and squared also rise steeply outside. Below, their derivatives, which jump at zero from positive to negative: by 6 for cubic, 4 for squared, 2 for absolute, less for log cosh, and hardly for Cauchy."}, "figure": {"caption": "Five penalties and their slopes. All are lowest at the codes and have a peak at 0, where the slope jumps.", "name": "fig:hb-penalties"}}
figure, (above, below) = plots.subplots(2, 1, figsize=(6, 7), sharex=True)
for ax, which, name in ((above, 0, "penalty"), (below, 1, "its slope")):
    lines = {key: (axis, both[which]) for key, both in penalties.items()}
    plots.curves(lines, "", name, ax, marks="-")
label = above.set(ylim=(-0.05, 1.15), xlim=(-2, 2))
label = below.set(xlabel="output u", xticks=(-2, -1, 0, 1, 2))

# %% [markdown]
# At 0 an undecided bit is pushed to whichever side it happens to be on, and with the cube and the square it is pushed
# harder there than anywhere between the codes, though nothing is known of it yet. The absolute value pulls equally from everywhere; log cosh
# does so from afar and lets go gently at the end. DCH's curve is flat, and for a reason: by the cosine it compares the
# outputs of an image with *each other*, not with 1. If all have the same size, it is content, whatever the size:

# %%
small = torch.full((2, 12), 0.01).double()
pushed = {
    name: draw.pulls(penalty, small).abs().max().item() > 1e-9
    for name, penalty in PENALTIES.items()
}
for name, yes in pushed.items():
    print(f"all at 0.01: {name}{'' if yes else ' not'} pushed outwards")

# %% [markdown]
# ### A steeper tanh
#
# HashNet {cite:p}`cao2017hashnet` has no penalty. Its loss sees $u = \tanh(\beta z)$, and $\beta$ grows in stages, so that
# the tanh turns into the sign while the network learns. This is called *continuation*.
#
# ### A straight-through sign
#
# GreedyHash {cite:p}`su2018greedyhash` lets the loss see the sign itself, whose derivative is 0 wherever it has one. On the
# way back it pretends that the sign was not there, and passes the gradient on as it is. Two lines do it:

# %%
source(quantisation.signs, greedyhash.greedy_sign)

# %% [markdown]
# The second term of the last line is 0, but automatic differentiation sees in it a $z$, which has the derivative 1.
# (GreedyHash's cubic penalty keeps $z$ from wandering off.)

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels over the output z from minus 2 to 2. Above, what the loss sees: tanh of z, of 3 z, of 7 z, and the sign, each steeper than the one before. Below, the derivative that is used on the way back: bells that become narrower and higher, 7 at the top for 7 z, and for the straight-through sign a constant 1."}, "figure": {"caption": "What the loss sees of an output, and the derivative that is used on the way back: narrow bells for steep tanh, 1 everywhere for the straight-through sign.", "name": "fig:hb-signs"}}
figure, (above, below) = plots.subplots(2, 1, figsize=(6, 6.4), sharex=True)
ticks = torch.from_numpy(axis)
seen = {
    f"tanh {beta}z" if beta > 1 else "tanh z": lambda x, beta=beta: (
        torch.tanh(beta * x)
    )
    for beta in (1, 3, 7)
}
seen["sign, straight through"] = greedyhash.greedy_sign
lines = {name: (axis, of(ticks)) for name, of in seen.items()}
plots.curves(lines, "", "what the loss sees", above, marks="-")
slopes = {
    name: (axis, -draw.pulls(lambda x, of=of: of(x).sum(), ticks))
    for name, of in seen.items()
}
ax = plots.curves(slopes, "output z", "derivative used", below, marks="-")
label = ax.set(xticks=(-2, -1, 0, 1, 2), yticks=(0, 1, 3, 7))

# %% [markdown]
# {numref}`fig:hb-signs` compares them. At $\beta = 7$ the bits that have decided are frozen, and only those near 0 still learn, with seven times the strength.
# The straight-through sign never freezes a bit, but its gradient is not the derivative of anything: it says where $z$
# would go if it were the code.
#
# ### A discrete step
#
# ADSH, CNNH and DSDH find codes apart from the network, as {doc}`09_family_of_losses` shows; there codes are codes from
# the start, and what has to be learned is to reach them.
#
# {numref}`fig:hb-two-more` shows the outputs of the second and third kind, trained as before:

# %% mystnb={"image": {"alt": "Two histograms of outputs from minus 3 to 3. HashNet, after its tanh: nearly everything at minus one and one. GreedyHash: two broad hills, with tops somewhat outside minus one and one."}, "figure": {"caption": "Outputs of HashNet and GreedyHash for the query digits. HashNet leaves hardly anything near zero; GreedyHash, whose loss sees only signs, fills the valley between its hills.", "name": "fig:hb-two-more"}}
hashnet = trained("hashnet")
steep = hashnet.config.last_beta  # 7
two_more = {
    "HashNet, tanh 7z": np.tanh(steep * hashnet.outputs(query)),
    "GreedyHash, z": trained("greedyhash").outputs(query),
}
figure = draw.histograms(two_more, "output")

# %% [markdown]
# (sec:hb-zero)=
# ## Near zero
#
# A new network's outputs are small. What does a loss do there? Look at one bit of two images as a plane: one output to
# the right, the other upwards.

# %% mystnb={"image": {"alt": "Two planes with level lines and arrows. DPSH, similar pair: near the origin arrows come in along one diagonal and leave along the other, where both outputs have the same sign. CSQ with both centres at plus one: all arrows point to the upper right, also at the origin."}, "figure": {"caption": "One bit of two images: level lines, and arrows downhill. A pair has a saddle at the origin, from which two ways lead down; a centre makes a slope.", "name": "fig:hb-saddle"}}
alike = torch.zeros(2).long()  # both of class 0
plus = torch.ones(2, 1).double()
figure, (left, right) = plots.subplots(
    1, 2, figsize=(6.6, 3.6), sharey=True
)
draw.landscape(lambda u: in_batch(u, alike), left, "DPSH, similar pair")
ax = draw.landscape(
    lambda u: csq.csq_loss(u, plus, weight=0.0),
    right,
    "CSQ, centres at +1",
)
label = ax.set_ylabel("")

# %% [markdown]
# The left plane of {numref}`fig:hb-saddle` has a *saddle* at the origin: there the gradient is zero, downhill goes to two opposite sides, and which
# one is taken depends on where one stands. (A dissimilar pair has the same, turned by a quarter.) It must be so for every
# loss that sees outputs only through inner products $\Theta_{ij} = \frac12 u_i^{\mathsf T} u_j$, for then
#
# $$ \frac{\partial \mathcal{L}}{\partial u_i} =
#    \sum_{j} \frac{\partial \mathcal{L}}{\partial \Theta_{ij}}\; u_j
#    \;\longrightarrow\; 0 , $$ (eq:hb-saddle)
#
# when all $u_j \to 0$,
# where $\Theta_{ij}$ and $\Theta_{ji}$ count as one. Flip the sign of one bit in *all* images, and no inner product changes;
# so nothing prefers $+1$ to $-1$. The right plane has a slope at the origin: somebody, here the centre, knows which side
# to take.
#
# Which losses are of which kind? Take random outputs of 60 images, shrink them towards 0, and watch the gradient. If it
# shrinks as the outputs do, it is a saddle (power 1); if it stays, a slope (power 0).

# %%
sixty = torch.arange(60) % 10
losses = family.without_penalties(sixty, bits=K, count=10)
generator = torch.Generator().manual_seed(1)
noise = torch.randn(60, K, generator=generator).double()
powers = {
    name: draw.growth(loss, noise) for name, (_, loss) in losses.items()
}

# %% tags=["hide-input"] mystnb={"table": {"caption": "The power with which the gradient shrinks towards zero outputs, for every loss without its penalty.", "name": "tbl:hb-powers"}}
BEGINNINGS = {1: "saddle", 0: "slope", -1: "directions only"}
table(
    ["power", "at zero", "losses"],
    *[
        [
            power,
            beginning,
            ", ".join(
                f"{name} ({kind})"
                for name, (kind, _) in losses.items()
                if round(powers[name]) == power
            ),
        ]
        for power, beginning in BEGINNINGS.items()
    ],
)

# %% [markdown]
# *Company* makes a saddle, *addresses* make a slope: losses of pairs and triplets begin with chance, those of classes,
# centres and given codes do not. (DSH has a saddle too: distances do not change when a bit is flipped in all images,
# either.) Two losses see only directions, by a cosine: DCH and OrthoHash. Their gradient *grows* as outputs shrink,
# because a small step turns a short vector far. OrthoHash puts a batch normalisation before its loss, which keeps outputs
# at the size of 1 and does away with the question.
#
# ### The beginning decides the bits
#
# What comes of a saddle can be worked out. For small outputs $\sigma(\Theta) \approx \frac12$, and descent on DPSH's pairs
# follows a linear rule: every image is drawn along the outputs of its class and away from those of the others,
#
# $$ -\frac{\partial \mathcal{L}}{\partial u_i} \approx \frac{1}{2N(N-1)} \Big( \sum_{\substack{j \neq i \\ s_{ij} = 1}} u_j
#    - \sum_{s_{ij} = 0} u_j \Big) . $$ (eq:hb-linear)
#
# In this rule *every bit is on its own*: bit 3 of an image is moved by bit 3 of others and by nothing else. Let there be
# $C$ classes with $N/C$ images each. Look at the mean of a class minus the mean of all, its *contrast* $v_m$, and let
# every image of class $m$ stand at $v_m$. All contrasts add up to 0, so the first sum is $(N/C - 1)\, v_m$ and the second
# is all minus the own class, $0 - (N/C)\, v_m$. Together,
#
# $$ -\frac{\partial \mathcal{L}}{\partial u_i} \;\approx\; \frac{N/C - \frac12}{N(N-1)}\; v_m : $$ (eq:hb-rate)
#
# contrasts grow at this rate, per unit of learning rate. Everything else shrinks. What distinguishes the images of a
# class adds up to 0 within the class, so the first sum is minus the image itself and the second is 0. What all images
# have in common has $N/C - 1$ for it and $N - N/C$ against it.
#
# So a bit grows in the direction in which noise has tipped it first: class $m$ will get $+1$ if, at the start, its mean
# happened to lie above the mean of all. Is that so? Take 100 outputs that are free to move, under DPSH's pairs alone, from
# noise of ever smaller size, with a learning rate at which contrasts should grow by a twentieth per step:

# %%
N, C = 100, 10
hundred = torch.arange(N) % C
generator = torch.Generator().manual_seed(0)
start = torch.randn(N, K, generator=generator).double()
rate = 0.05 * N * (N - 1) / (N / C - 0.5)


def descend(loss, u, most=1000):
    """Gradient descent until outputs have the typical size 1/2."""
    sizes = [family.size(u)]
    while sizes[-1] < 0.5 and len(sizes) <= most:
        u = u + rate * draw.pulls(loss, u)
        sizes.append(family.size(u))
    return sizes, u


SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
runs = {
    size: descend(lambda u: in_batch(u, hundred), size * start)
    for size in SIZES
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "Typical size of the outputs against the number of steps, on a logarithmic axis, for starts of size 0.1 to 0.00001. After a short flat start all curves rise as parallel straight lines; each tenth of the starting size arrives later by the same number of steps."}, "figure": {"caption": "From a small start all outputs grow at the same rate; each tenth of the size costs the same number of steps.", "name": "fig:hb-growth"}}
written = {size: f"{size:.5f}".rstrip("0") for size in SIZES}
lines = {
    f"from {written[size]}": (range(len(path)), path)
    for size, (path, _) in runs.items()
}
ax = plots.curves(
    lines,
    "steps",
    "typical size of an output",
    marks="-",
    log=True,
    named_at=0,
)
label = ax.set(xlim=(-110, None), xticks=range(0, 300, 50))

# %% tags=["hide-input"] mystnb={"table": {"caption": "Steps from a small start to outputs of size ½, and the bits of classes that lie on the side to which noise had tipped them.", "name": "tbl:hb-noise"}}
first = family.contrasts(start, hundred, C).sign()
kept = {
    size: (first == family.contrasts(end, hundred, C).sign())
    .double()
    .mean()
    .item()
    for size, (_, end) in runs.items()
}
steps = {size: len(path) - 1 for size, (path, _) in runs.items()}
table(
    ["size at the start", "steps", "decided by noise"],
    *[[written[size], steps[size], f"{kept[size]:.0%}"] for size in SIZES],
)

# %% [markdown]
# First, a small start costs *time* ({numref}`fig:hb-growth`): each tenth costs the same number of steps, $\ln 10 / \ln 1.05 = 47$, and nothing else.
# Very small initial weights lengthen this phase, and so does a *warm-up*, a learning rate that begins small and grows.
# Second, it is noise that decides nearly all bits. Each bit splits the classes by a coin toss, and *nothing near the
# saddle keeps two bits from choosing the same split*, or two classes from getting the same code: bits hear of each other
# only when outputs have grown and the $\sigma(\Theta)$ begin to differ. From the same noise, a loss with addresses goes to
# where its centres are:

# %%
addressed = csq.CSQLoss(C, K, weight=0.0).double()
_, end = descend(lambda u: addressed(u, hundred), 1e-3 * start)
reached = (end.sign() == addressed.centres[hundred]).double().mean().item()
agree = (first == end[:C].sign()).double().mean().item()
print(f"CSQ: {reached:.0%} of the bits are those of the centres;")
print(f"{agree:.0%} of the bits of classes are as the noise had them")

# %% [markdown]
# (sec:hb-saturation)=
# ## Far out
#
# At the other end, far from zero, waits the opposite trouble. Where the loss sees $u = \tanh(\beta z)$, the slope
# $\beta (1 - u^2)$ multiplies the gradient on the way back. Here it is in single precision, in which networks compute:

# %% tags=["hide-input"] mystnb={"table": {"caption": "The slope of tanh βz in single precision. A plain 0 is exactly zero.", "name": "tbl:hb-slopes"}}
places = torch.tensor([0.0, 0.5, 1.0, 2.0, 5.0, 10.0], requires_grad=True)
slope = {}
for beta in (1, 3, 7):
    seen_there = torch.tanh(beta * places).sum()
    (slope[beta],) = torch.autograd.grad(seen_there, places)
table(
    ["", *(f"z = {place:g}" for place in places.tolist())],
    *[
        [
            f"β = {beta}",
            *(
                "0"
                if value == 0
                else f"{value:{'.0e' if value < 0.01 else '.2f'}}"
                for value in slope[beta].tolist()
            ),
        ]
        for beta in slope
    ],
)

# %% [markdown]
# Where a plain 0 stands, a bit on the wrong side never comes back, however large the loss: the tanh is *saturated*.
# {doc}`03_mu_liu` shows a training that ends this way. There are two ways round it. CSQ takes the logarithm of
# $(\tanh z + 1)/2$ for a bit that shall be $+1$, but this is the logistic function of $2z$, and written as one function of
# $z$ the loss $\log(1 + e^{-2z})$ has a derivative that tends to $-2$ on the wrong side. Linear outputs with a penalty
# (DSH, DPSH, DTSH) have no tanh at all.
#
# (sec:hb-balance)=
# ## When one kind of pair is rare
#
# Of the pairs of a mini-batch with $C$ equally common classes only one in $C$ is similar. Near zero, where every pair
# pulls equally hard, the rare kind has that share of the say. With many classes and small mini-batches an image may
# not meet any of its kind:

# %% tags=["hide-input"] mystnb={"table": {"caption": "Similar pairs in a mini-batch of M images, and the images that meet none of their class.", "name": "tbl:hb-rare"}}
alone = {
    (count, size): (1 - 1 / count) ** (size - 1)
    for count, size in ((10, 64), (10, 256), (100, 64), (100, 256))
}
table(
    ["C", "M", "similar pairs", "images without one"],
    *[
        [
            count,
            size,
            f"{math.comb(size, 2) / count:.0f} of {math.comb(size, 2)}",
            f"{share:.0%}",
        ]
        for (count, size), share in alone.items()
    ],
)

# %% [markdown]
# Three remedies are in the family. *Weights*: HashNet and DCH divide each kind by its number, Mu and Liu's and CSDH's
# losses here take half from each, and DPSH, DHN and DSH do so on demand (`balance="halves"`). *Triplets* have one pair
# of each kind by construction. *Memory*: DPSH and DSDH pair the images of a mini-batch with the last outputs of all
# training images, so that nobody is alone.
#
# What weights do near the saddle can be computed from {eq}`eq:hb-linear`: only the sum of both pulls enters the rate
# at which a contrast grows. Halves make the beginning faster and change nothing else about it:

# %%
tiny = 1e-6 * family.contrasts(start, hundred, C)[hundred]  # (N, K)


def growth(balance):
    """By how much contrasts grow, per unit of learning rate: (N, K)."""
    moves = draw.pulls(
        lambda u: in_batch(u, hundred, balance=balance), tiny
    )
    return moves / tiny


rates = {balance: growth(balance) for balance in ("none", "halves")}
alike, halves = (rate.mean().item() for rate in rates.values())
print(f"all pairs alike: {alike:.6f}, by the formula {9.5 / 9900:.6f}")
print(f"half of each:    {halves:.6f}, {halves / alike:.2f} times as fast")

# %% [markdown]
# ### A trap for the asymmetric
#
# For one kind of loss, balance decides everything. ADSH {cite:p}`jiang2018adsh` compares outputs $u_i = \tanh z_i$ with
# learned codes $b_j$ of the training images, and asks for an agreement $u_i^{\mathsf T} b_j / K$ of $S_{ij}$
# ({eq}`eq:fl-asymmetric`). Take $S_{ij} = -1$ for all dissimilar pairs. Now let *every* image have the same output $u$, and
# every code be the same $b$. Their agreement $a = u^{\mathsf T} b / K$ may be negative, as $u$ and $b$ are different things.
# The best constant is the mean of $S$, and what is left is its variance. One pair in $C$ is similar, so
#
# $$ \min_a \; \operatorname*{mean}_{i,j}\, (a - S_{ij})^2 = \frac{4}{C} \Big( 1 - \frac1C \Big) $$ (eq:hb-constant)
#
# at $a = 2/C - 1$: 0.36 for ten classes, where ignorance ($a = 0$) costs 1. "Everything is opposite to everything" is an excellent start, and
# all images get one code. A symmetric loss cannot fall into this: there $a = u^{\mathsf T} u / K \ge 0$. The authors' code
# of ADSH sets $S_{ij} = -\eta$ for other images instead, $\eta$ being the ratio of similar to dissimilar pairs. Then the
# mean of $S$ is 0, and a constant gains nothing. Both, on `digits`:

# %% tags=["nbval-ignore-output"]
opposed = {
    "S = −1": trained("adsh", dissimilar="one"),
    "S = −η": trained("adsh", dissimilar="ratio"),
}
commonest, opposed_maps = {}, {}
for name, method in opposed.items():
    codes = Counter(map(bytes, method.encode(digits.train.images)))
    commonest[name] = codes.most_common(1)[0][1] / codes.total()
    opposed_maps[name] = family.report(method, digits).map
    print(
        f"{name}: the commonest code stands for {commonest[name]:.0%}"
        f" of the images, mAP {opposed_maps[name]:.1f}"
    )

# %% [markdown]
# (sec:hb-cost)=
# ## What a loss costs
#
# The network works on each image once. The loss may look at each pair, or triplet.
#
# | loss | numbers that are computed | grows with $M$ as |
# |---|---|---|
# | centre, classifier, DCWH | a score per image and class: $M C$, each of $K$ products | $M$ |
# | pairs of a mini-batch | an inner product per pair: $M^2$, each of $K$ products | $M^2$ |
# | Mu and Liu's product | a factor per pair *and bit*: $M^2 K$, all kept in memory | $M^2$ |
# | pairs with a memory, ADSH | $M N$ inner products of $K$ | $M$, but $N$ times |
# | triplets | a term per similar pair and third image: about $M^3 / C$ | $M^3$ |
#
# Table: The cost of a loss, from its formula; $M$ images in a mini-batch.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Milliseconds per step against the batch size from 16 to 256, both axes logarithmic. At 16 all but the memory lie close together. Centres stay nearly flat and pairs within the batch rise gently. Triplets and the product of Mu and Liu rise steeply; at 256 they and the memory cost many times what pairs cost."}, "figure": {"caption": "Time of a forward and backward pass on the machine that made this page, 48 bits, ten classes. At the left it is the number of calls that counts, at the right the arithmetic.", "name": "fig:hb-cost"}}
BATCHES = (16, 32, 64, 128, 256)
measured = {}
for size in BATCHES:
    z = torch.randn(size, 48, requires_grad=True)
    contestants = family.contestants(torch.arange(size) % 10, 48, 5000)
    for name, loss in contestants.items():
        measured[name, size] = family.seconds(loss, z)
lines = {
    name: (BATCHES, [1000 * measured[name, size] for size in BATCHES])
    for name in contestants
}
figure, ax = plots.subplots(figsize=(6, 4))
ax.set_xscale("log", base=2)
ax = plots.curves(lines, "images in a batch", "milliseconds", ax, log=True)
label = ax.set(xticks=BATCHES, xticklabels=BATCHES)

# %% [markdown]
# In {numref}`fig:hb-cost` centres hardly grow, and pairs within the mini-batch stay cheap. The memory costs several times
# as much from the start. Triplets and the product begin as cheap as pairs, and end many times as dear. Is any of it much? Count operations for one image: in a mini-batch of 128 it has
# 128 inner products of 48 numbers; beside that stands the network, here MobileNetV2 for pictures of 128 pixels.

# %%
mobile = backbones.create("mobilenet_v2", (128, 128, 3)).eval()
with FlopCounterMode(display=False) as counter, torch.no_grad():
    mobile(torch.zeros(1, 3, 128, 128))
of_network = counter.get_total_flops()
of_pairs = 2 * 128 * 48
print(f"network: {of_network / 1e6:.0f} million operations per image")
print(
    f"pairs:   {of_pairs:,}, or 1 in {round(of_network / of_pairs, -3):,.0f}"
)

# %% [markdown]
# By arithmetic, pairs are nothing beside the network. On a GPU arithmetic is not the whole story, since each call costs
# some microseconds however little it does. `benchmarks/losses.py` measures every loss beside a step of this network; here
# is what it printed on a large GPU (`results/speed/`):

# %% tags=["hide-input"] mystnb={"table": {"caption": "The share of a training step that a loss with pairs takes on a large GPU, forward and backward, in per cent: the cheapest, the middle and the dearest of ten losses.", "name": "tbl:hb-gpu"}}
WITH_PAIRS = ("mu_liu", "csdh", "dsh", "dhn", "dpsh, batch")
WITH_PAIRS += ("dpsh, memory", "hashnet", "dch", "dsdh", "adsh")
printed, of_step = family.shares_of_step()
rows = []
for batch in (128, 512):
    for bits in (12, 48):
        costs = {name: of_step[name, batch, bits] for name in WITH_PAIRS}
        low, high = min(costs, key=costs.get), max(costs, key=costs.get)
        rows.append(
            [
                batch,
                bits,
                f"{costs[low]:.1f} ({low})",
                f"{np.median(list(costs.values())):.1f}",
                f"{costs[high]:.1f} ({high})",
            ]
        )
print(*printed, sep="\n")
table(["images", "bits", "cheapest", "middle", "dearest"], *rows)

# %% [markdown]
# Not nothing: a few hundredths of a step. It hardly depends on the mini-batch or on the bits, so it is the calls that
# cost. DCH, whose formula makes the most of them, took more than a tenth in one case (since then it makes fewer).
#
# ## What we learned
#
# - A penalty sees to it that bits are decided, not that they are decided well; too strong, it is content with bits that
#   are the same for everybody.
# - Losses of pairs and triplets have a saddle at zero, where noise decides the bits, one by one. Losses with addresses
#   have a slope. DCH and OrthoHash, which see only directions, have neither.
# - A saturated tanh keeps a bit where it is, right or wrong. Written as one function of $z$, or without a tanh, a loss can
#   still move it.
# - An asymmetric loss with $-1$ for all dissimilar pairs rewards one code for everything, {eq}`eq:hb-constant`.
# - Pairs grow with $M^2$ and are cheap; triplets grow with $M^3 / C$.
#
# **Open here:** how much of this a large network and a long training repair; one seed on `digits` shows what can happen,
# not how often. The sources of all losses stand in [the ledger](#sec:fl-ledger) of {doc}`09_family_of_losses`; the saddle's
# rate and the constant's loss are worked out here and checked below.
#
# ## Exercises
#
# ### Exercise 1: arrows at right angles
# Show that the gradient of any loss that sees only the direction of $u$ is at right angles to $u$, and that it halves
# when $u$ is doubled.
#
# <details class="solution"><summary>Solution</summary>
#
# $\ell(t u) = \ell(u)$ for all $t > 0$. Differentiate by $t$ at $t = 1$: $u^{\mathsf T} \nabla \ell(u) = 0$.
# Differentiate by $u$ instead: $t\, \nabla \ell(t u) = \nabla \ell(u)$; put $t = 2$. This is the power $-1$ of OrthoHash
# and DCH.
#
# </details>
#
# ### Exercise 2: the price of a constant
# Prove {eq}`eq:hb-constant`. For how many classes does the trap vanish?
#
# <details class="solution"><summary>Solution</summary>
#
# The mean square distance to a set of numbers is least at their mean, and what is left is their variance. $S$ is 1
# with share $1/C$ and $-1$ otherwise: mean $2/C - 1$, mean square 1, variance $1 - (2/C - 1)^2 = \frac4C (1 - \frac1C)$.
# For $C = 2$ the best constant is 0 and gains nothing: with two classes of equal size there is no trap.
#
# </details>
#
# ### Exercise 3: a smaller start
# In {numref}`tbl:hb-noise`, how many more steps would a start of size $10^{-8}$ need than one of $10^{-2}$? And with half
# the learning rate?
#
# <details class="solution"><summary>Solution</summary>
#
# Six tenths: $6 \ln 10 / \ln 1.05 = 283$ steps. With half the rate contrasts grow by a fortieth per step: $6 \ln 10 / \ln
# 1.025 = 559$, nearly twice as many. The bits come out the same, for the noise is the same.
#
# </details>
#
# ### Exercise 4, in code: count triplets
# How many triplets are there in a mini-batch with these labels? Each image is a query; a positive is another image of
# its class, a negative an image of another one. Compare 128 images of 8 classes with the number of their pairs.


# %%
def count_triplets(labels):
    # your lines; labels: the class of each image
    ...


batches = (
    (([0, 0, 1],), 2),
    (([0, 1, 2],), 0),
    ((np.arange(128) % 8,), 215_040),
)
exercises.check(count_triplets, *batches)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def count_triplets(labels):
    same = np.equal.outer(labels, labels)
    positives = same.sum(1) - 1
    negatives = (~same).sum(1)
    return int((positives * negatives).sum())


# 128 images of 8 classes: 8,128 pairs, 215,040 triplets


exercises.check(count_triplets, *batches, required=True)

# %% [markdown]
# ### Exercise 5, in code: the trap
# Write the constant that comes closest to a matrix $S$ in the mean square, and the mean square that is left. Which of
# the matrices below offers a trap?


# %%
def best_constant(S):
    # your lines; the constant and what it leaves, as a tuple
    ...


two = np.where(np.eye(2, dtype=bool), 1.0, -1.0)  # as many of each kind
ten = np.where(np.eye(10, dtype=bool), 1.0, -1.0)
soft = np.where(np.eye(10, dtype=bool), 1.0, -1 / 9)  # S = -eta
matrices = (
    ((two,), (0.0, 1.0)),
    ((ten,), (-0.8, 0.36)),
    ((soft,), (0.0, 1 / 9)),
)
exercises.check(best_constant, *matrices)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def best_constant(S):
    constant = np.mean(S)
    return constant, np.mean((S - constant) ** 2)


# only the second: its constant leaves 0.36 where 0 costs 1
exercises.check(best_constant, *matrices, required=True)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %% tags=["hide-cell"] jupyter={"source_hidden": true}
# Four networks
assert near[1.0] > near[0.0] + 0.2 and near[10.0] > near[0.1] + 0.1
assert maps[10.0] < 0.6 < min(maps[weight] for weight in (0.0, 0.1, 1.0))
assert maps[1.0] > maps[0.0] + 0.05
assert uneven[10.0] > uneven[1.0] + 0.08

# Penalties and the straight-through sign
before, after = np.searchsorted(axis, [-0.005, 0.005]) - [1, 0]
jumps = {
    name: slope_of[before] - slope_of[after]
    for name, (_, slope_of) in penalties.items()
}
assert list(jumps) == sorted(jumps, key=jumps.get, reverse=True)
assert jumps["Cauchy"] < 0.1
assert [round(jump) for jump in jumps.values()][:3] == [6, 4, 2]
formulas = {
    "cubic": np.abs(np.abs(axis) - 1) ** 3,
    "squared": (np.abs(axis) - 1) ** 2,
    "absolute": np.abs(np.abs(axis) - 1),
    "log cosh": np.log(np.cosh(np.abs(axis) - 1)),
}
for name, values in formulas.items():
    assert np.allclose(penalties[name][0], values)
assert [name for name, yes in pushed.items() if not yes] == ["Cauchy"]
passed = draw.pulls(lambda x: greedyhash.greedy_sign(x).sum(), ticks)
assert torch.equal(passed, -torch.ones(len(ticks)).double())
assert steep == 7
assert min(np.mean(np.abs(u) > 0.5) for u in two_more.values()) > 0.8

# Near zero
assert all(abs(power - round(power)) < 1e-3 for power in powers.values())
company = {
    name
    for name, (kind, _) in losses.items()
    if kind in ("pairs", "triplets")
}
by_power = {
    power: {name for name in powers if round(powers[name]) == power}
    for power in BEGINNINGS
}
assert by_power[1] == company - {"DCH"}
assert by_power[-1] == {"DCH", "OrthoHash"}
assert set.union(*by_power.values()) == set(losses)
flipped = noise * torch.tensor([-1.0] + [1.0] * (K - 1)).double()
for name in company:
    assert abs(losses[name][1](noise) - losses[name][1](flipped)) < 1e-9
tenth = math.log(10) / math.log(1.05)
later = np.diff(list(steps.values()))
assert abs(later - tenth).max() < 2 and round(tenth) == 47
assert round(6 * tenth) == 283
assert round(6 * math.log(10) / math.log(1.025)) == 559
assert min(kept.values()) > 0.9 and reached > 0.99 and 0.35 < agree < 0.7
empty = torch.zeros(C, K).double()
within = start - clouds.means(start, hundred, empty)[hundred]
for part in (within, start.mean(0).expand(N, K)):  # all else shrinks
    moves = draw.pulls(lambda u: in_batch(u, hundred), 1e-6 * part)
    assert (moves * part).sum() < 0

# Far out
assert [(s > 0).sum().item() for s in slope.values()] == [5, 4, 3]
right = torch.ones(1, 1).double()
wrong = draw.pulls(
    lambda x: csq.csq_loss(x, right, weight=0), torch.tensor([[-50.0]])
)
assert abs(wrong.item() - 2) < 1e-9

# Balance
for pulled, formula in (
    (rates["none"], 9.5 / 9900),
    (rates["halves"], 1 / 360),
):
    assert abs(pulled.mean() - formula) < 1e-7
    assert pulled.std() < 1e-4 * pulled.mean()
S = torch.where(pairs.similar(hundred), 1.0, -1.0)  # ten classes
assert abs(S.var(unbiased=False).item() - 4 * 0.1 * 0.9) < 1e-6
assert abs(S.mean().item() - (2 * 0.1 - 1)) < 1e-6
assert commonest["S = −1"] > 0.8 and commonest["S = −η"] < 0.3
assert opposed_maps["S = −1"] < 0.3 and opposed_maps["S = −η"] > 0.6

# Cost
assert of_network / of_pairs > 10_000
shares = sorted(
    of_step[name, batch, bits]
    for name in WITH_PAIRS
    for batch in (128, 512)
    for bits in (12, 48)
)
assert len(shares) == 40
assert shares[-2] < 10 < shares[-1] == of_step["dch", 128, 12]
memory = "memory of 5,000 (DPSH)"
assert measured[memory, 16] > measured["pairs (DPSH)", 16]
assert (
    measured["triplets (DTSH)", 256]
    > 4 * measured["centres (OrthoHash)", 256]
)
assert math.comb(128, 2) == 8_128 < count_triplets(np.arange(128) % 8) / 20
print("every claim holds")
