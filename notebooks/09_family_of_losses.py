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
# # The family of losses
#
# A network that hashes gives $K$ real numbers for an image, and their signs are its code. Whatever else distinguishes
# one deep hashing method from the next, the heart of it is the *loss*: the rule that looks at these numbers and at
# the labels, and says which number should go up and which should go down. This book's package has some twenty of
# them. They look very different on paper. Put side by side, they are a family, and most of what sets its members
# apart can be seen in a few pictures.
#
# This chapter asks the same questions of all of them:
#
# 1. [Who pulls whom, and where to?](#sec:fl-kinds) One picture for each kind of supervision.
# 2. [How far apart should dissimilar images be](#sec:fl-pairs), and [how far apart can they be](#sec:fl-room)?
# 3. [How do real numbers become bits?](#sec:fl-quantisation) What quantisation terms do.
# 4. [What happens near zero](#sec:fl-zero), where every bit begins?
# 5. [What if one kind of pair is rare?](#sec:fl-balance)
# 6. [What does a loss cost](#sec:fl-cost) as the batch grows?
#
# It does not ask which one is best; that takes a common protocol and is the business of {doc}`10_side_by_side`. The
# losses of the five papers are derived in their own chapters; here they only meet their relatives.
#
# | symbol | meaning |
# |---|---|
# | $K$, $B$, $C$, $N$ | bits of a code, images of a batch, classes, training images |
# | $z_i \in \mathbb{R}^K$ | what the network computes for image $i$ |
# | $u_i$ | what the loss sees: $z_i$ itself, or $\tanh z_i$ |
# | $b_i = \operatorname{sign} u_i$ | the code, bits written as $-1$ and $+1$ |
# | $s_{ij}$ | 1 if images $i$ and $j$ are similar (share a class), 0 if not |
# | $\Theta_{ij} = u_i^{\mathsf T} u_j / 2$ | half the inner product of two outputs |
# | $a_{ij} = u_i^{\mathsf T} u_j / K$ | agreement: 1 for equal codes, $-1$ for opposite ones |
# | $d_{ij} = K (1 - a_{ij}) / 2$ | their Hamming distance, when $u_i$ and $u_j$ are codes |
#
# A note on names. *Logistic loss*: $\log(1 + e^{x})$, a smooth hinge. *Cross-entropy*: the same for several classes.
# Everything below is computed with the package's own functions and with automatic differentiation; nothing is drawn
# from a formula typed a second time.

# %%
import math
import re
import time
import warnings
from collections import Counter
from importlib import import_module

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from hashlab import data, methods, metrics, plots, records
from hashlab.chapters.figures import losses as draw
from hashlab.chapters.tables import table
from hashlab.losses import classes, clouds, codebooks, pairs, quantisation
from hashlab.methods import (
    adsh,
    classifier_sign,
    cnnh,
    csdh,
    csq,
    dch,
    dhn,
    dpn,
    dpsh,
    dsh,
    dtsh,
    greedyhash,
    hashnet,
    mu_liu,
    orthohash,
)
from hashlab.networks import backbones

# %% [markdown]
# (sec:fl-kinds)=
# ## Who pulls whom
#
# Losses differ first in what an image is compared *with*. That is called the kind of supervision.
#
# | kind | an image is compared with | it shall | members in the package |
# |---|---|---|---|
# | pairwise | every other image of the batch | agree with similar images, not with others | Mu and Liu, DSH, DHN, DPSH, HashNet, DCH, CSDH |
# | triplet | two others at once | be closer to the similar one than to the other | DTSH |
# | class-wise | classes that are learned along | be told apart by a classifier, or lie in the cloud of its class | GreedyHash, DCWH, SHPDH, a plain classifier |
# | centre | a fixed code for each class | become that code | CSQ, DPN, OrthoHash |
# | asymmetric, two-stage | codes that were found before, in a discrete step | become its own code, agree with those of similar images | ADSH, CNNH; DSDH in part |
#
# (The last kind is this chapter's. The package's own list, `hashlab methods`, counts its three members among the
# pairwise ones, for they learn from pairs, too.)
#
# To see the difference, take nine images of three classes A, B and C and only two bits, so that outputs are points in
# the plane. A bit changes where an axis is crossed; the four quarters of the plane are the four codes. The arrow at a
# point is minus the gradient: where one small step of gradient descent takes it, if the point were free to go. (In a
# network it is not quite free: the weights move, and with them all points at once.) In each picture the longest arrow
# has the same length; compare arrows within a picture, not between two. A point without an arrow is hardly pulled.

# %%
POINTS = {
    "A": [(0.9, 0.5), (0.2, 1.1), (-0.5, 0.6)],
    "B": [(-1.0, 0.3), (-0.7, -0.6), (0.1, -0.4)],
    "C": [(0.6, -0.9), (1.1, -0.3), (-0.2, -1.1)],
}
z = torch.tensor(
    [point for three in POINTS.values() for point in three]
).double()  # (9, 2)
labels = torch.arange(3).repeat_interleave(3)
rows = torch.arange(9)  # their places in the training part


def in_batch(u, y, alpha=0.0):
    """DPSH within a batch, where no image makes a pair with itself."""
    apart = pairs.off_diagonal(len(u), u.device)
    return dpsh.dpsh_loss(u, u, pairs.similar(y), alpha, counted=apart)


# %% [markdown]
# ### Pairs
#
# The commonest kind. Two members stand for the two ways to go about it. DPSH
# {cite:p}`li2016dpsh`, and with it DHN {cite:p}`zhu2016dhn` and HashNet {cite:p}`cao2017hashnet`, says that
# two images are similar with probability $\sigma(\Theta_{ij}) = 1 / (1 + e^{-\Theta_{ij}})$, and takes minus the
# logarithm of the likelihood of the labels:
#
# $$ \begin{aligned}
# \ell_{ij} &= \log\left( 1 + e^{\Theta_{ij}} \right) - s_{ij}\, \Theta_{ij},
#    \qquad \Theta_{ij} = \tfrac12\, u_i^{\mathsf T} u_j , \\
# -\frac{\partial \ell_{ij}}{\partial u_i} &= \tfrac12 \left( s_{ij} - \sigma(\Theta_{ij}) \right) u_j .
# \end{aligned} $$ (eq:fl-likelihood)
#
# (HashNet has a constant of its own in place of the $\frac12$.)
#
# The second line says who pulls where: a similar partner pulls $u_i$ *in the direction of its own vector* $u_j$,
# outwards, and the more so the less sure the model is; a dissimilar one pushes the other way. DSH {cite:p}`liu2016dsh`
# instead measures distances. A similar pair is drawn together along the line between the two; a dissimilar one is
# pushed apart along that line until its squared distance reaches the *margin* $m$, and then left alone:
#
# $$ \begin{aligned}
# \ell_{ij} &= \tfrac12\, s_{ij}\, D_{ij} + \tfrac12 (1 - s_{ij}) \max(m - D_{ij}, 0), \\
# D_{ij} &= \lVert u_i - u_j \rVert^2, \quad m = 2K .
# \end{aligned} $$ (eq:fl-margin)

# %% mystnb={"image": {"alt": "Two planes with the same nine points of three classes A, B and C, and an arrow at each. Left, DPSH: the arrows of a class lean towards a common direction, A upwards, B to the left, C to the lower right. Right, DSH: all arrows point outwards, away from the other classes, and those of one class fan out."}}
pairwise = {
    "DPSH: likelihood": (
        draw.pulls(lambda u: in_batch(u, labels), z),
        None,
    ),
    "DSH: margin": (
        draw.pulls(lambda u: dsh.dsh_loss(u, labels, m=2 * 2, alpha=0), z),
        None,
    ),
}
figure = draw.planes(pairwise, z, labels)

# %% [markdown]
# In the left picture the three arrows of a class lean towards a common direction: its points feel much the same sum of
# vectors. In the right one they fan out. Every point flees from the six points of other classes along six lines, and
# the two of its own class, two against six, hold it back only a little; we [come back to this](#sec:fl-balance).
#
# Both leave open *where* a class should go. No corner of the square is named in the loss; the classes sort it out
# among themselves. That freedom is the strength of pairs, and, as we shall see, makes the beginning of training a
# matter of luck.
#
# ### Triplets
#
# DTSH {cite:p}`wang2016dtsh` looks at three images: a query $q$, a positive $p$ of the same class, a negative $n$ of
# another. The query shall agree with the positive more than with the negative, by a margin $\alpha$, and how much more
# is again put into a logistic loss:
#
# $$ \ell_{qpn} = \log\left( 1 + e^{\alpha - (\Theta_{qp} - \Theta_{qn})} \right), \qquad
#    -\frac{\partial \ell_{qpn}}{\partial u_q} \;\propto\; u_p - u_n . $$ (eq:fl-triplet)

# %% mystnb={"image": {"alt": "Two planes. Left, three images: q and p of class A, n of class B. The arrows of q and p cross over to the upper side of each other and away from n; the arrow of n points away from both. Right, all triplets of the nine points: outward arrows that are much like those of DPSH."}}
one = torch.tensor([0, 2, 5])  # q, p of class A; n of class B
single = torch.zeros_like(z)
single[one] = draw.pulls(
    lambda u: dtsh.dtsh_loss(
        u, torch.tensor([0, 0, 1]), alpha=1.0, weight=0
    ),
    z[one],
)
triplet = {
    "DTSH: three images": (
        single,
        {"q": z[0].tolist(), "p": z[2].tolist(), "n": z[5].tolist()},
    ),
    "DTSH: all triplets": (
        draw.pulls(
            lambda u: dtsh.dtsh_loss(u, labels, alpha=1.0, weight=0), z
        ),
        None,
    ),
}
figure = draw.planes(triplet, z, labels)

# %% [markdown]
# Only differences of agreement count. A triplet asks nothing of the distance itself: add the same amount to both
# agreements, and it is as content as before. Nor is there a problem of rare similar pairs, as each triplet has one pair
# of either kind. The price is their number, to which [we come back](#sec:fl-cost).
#
# (Three images make two triplets: in the left picture $p$ is a query too, with $q$ as its positive. So $q$ is moved by
# $u_p - u_n$ as a query and by $u_p$ as a positive, and $n$ is pushed by both.)
#
# ### Classes
#
# The next kind does not compare images with each other at all. GreedyHash {cite:p}`su2018greedyhash` puts a linear
# classifier $W$ on the code itself and takes its cross-entropy; DCWH {cite:p}`zhe2018dcwh` keeps a mean output $c_m$
# for each class and asks that an image lie nearer to the mean of its own class than to others, in the sense of Gaussian
# clouds around them ({doc}`04_shpdh` does this on several levels of a tree). For both the arrow of an image of class
# $y$ is a difference of class vectors,
#
# $$ -\frac{\partial \ell_i}{\partial u_i} \;=\; v_{y} - \sum_m p_{im}\, v_m , $$ (eq:fl-classes)
#
# where $p_{im}$ is the probability that the model gives to class $m$, and $v_m$ the row $w_m$ of $W$, or the mean
# $c_m$: away from where the model thinks the image belongs, towards where it does belong.

# %% mystnb={"image": {"alt": "Two planes, each with the nine points and three crosses for the class vectors. Left, GreedyHash: two points of A in the upper right quarter have exactly the same arrow, and so have two points of C in the lower right one. Right, DCWH: crosses at the means of the classes, and arrows towards the own mean and away from the others."}}
torch.manual_seed(0)
greedy = greedyhash.GreedyHashLoss(3, 2, alpha=0.0).double()
with torch.no_grad():
    greedy.classifier.weight.copy_(
        torch.tensor([[0.1, 0.5], [-0.4, -0.1], [0.4, -0.3]])
    )
means = clouds.means(z, labels, torch.zeros(3, 2).double())  # (3, 2)


def marks(vectors, names="ABC"):
    return {
        name: tuple(vector.tolist())
        for name, vector in zip(names, vectors, strict=True)
    }


def dcwh(u, y):
    return clouds.class_wise_loss(u, y, means, s=1.0)


class_wise = {
    "GreedyHash: classifier": (
        draw.pulls(lambda u: greedy(u, labels), z),
        marks(greedy.classifier.weight.detach()),
    ),
    "DCWH: means": (draw.pulls(lambda u: dcwh(u, labels), z), marks(means)),
}
figure = draw.planes(class_wise, z, labels)

# %% [markdown]
# GreedyHash's classifier sees only the signs, so two images of a class in the same quarter get *exactly* the same
# arrow, as two of A do at the upper right and two of C at the lower right; how the arrow gets past the sign at all is a trick that [comes later](#sec:fl-quantisation). Where the class
# vectors go is learned: the classifier is trained along, the means move every epoch or two.
#
# ### Centres
#
# If all that matters is that each class ends with a code of its own, why not hand out the codes beforehand? CSQ
# {cite:p}`yuan2020csq`, DPN {cite:p}`fan2020dpn` and OrthoHash {cite:p}`hoe2021orthohash` do. The fixed code $t_m$ of
# class $m$ is called its *centre*, and hashing becomes a classification with known answers. CSQ treats each bit as a
# yes-or-no question with a logistic loss. OrthoHash compares the angles between $u$ and all centres in a soft-max.

# %% mystnb={"image": {"alt": "Two planes with the nine points and three crosses at corners of the square, the codes of the classes. Left, CSQ: every arrow points to its corner's quarter; points on the wrong side have the longest arrows. Right, OrthoHash: every arrow is at right angles to the line from the origin to its point and turns it towards its corner."}}
central, cosine = (
    csq.CSQLoss(3, 2, weight=0.0).double(),
    orthohash.OrthoHashLoss(3, 2).double(),
)
# the same codes for both, so that the pictures can be compared
cosine.o.copy_(central.centres)
centre = {
    "CSQ: every bit by itself": (
        draw.pulls(lambda u: central(u, labels), z),
        marks(central.centres),
    ),
    "OrthoHash: angles": (
        draw.pulls(lambda u: cosine(u, labels), z),
        marks(central.centres),
    ),
}
figure = draw.planes(centre, z, labels)

# %% [markdown]
# Now every arrow knows its corner, and it is not always a near one: the codes were handed out without a look at the
# images, and B, which sits at the left, has been given a corner at the right. CSQ pushes each bit to its side and,
# being logistic, never quite stops. OrthoHash sees only the direction of $u$: its arrows stand at right angles to the
# line from the origin, they turn an output and neither lengthen nor shorten it.
#
# ### Codes first, network second
#
# The last kind finds codes for the *training images* in a discrete step of its own, and lets the network chase them.
# CNNH {cite:p}`xia2014cnnh` does it once, before the network is trained, by factorising the matrix of similarities (as
# KSH does without a network, in {doc}`08_before_deep_learning`). ADSH {cite:p}`jiang2018adsh` takes turns: codes $v_j$
# for all training images given the network's outputs, then the network given the codes, with
#
# $$ \sum_{i,j} \left( u_i^{\mathsf T} v_j - K S_{ij} \right)^2 + \gamma \sum_i \lVert v_i - u_i \rVert^2,
#    \qquad u_i = \tanh z_i, $$ (eq:fl-asymmetric)
#
# where $S_{ij}$ is 1 for similar images and negative for others. It is called asymmetric because the two sides of a
# pair are different things: an output that can move a little, and a code that can only flip. DSDH {cite:p}`li2017dsdh`
# does both: pairs of outputs, and a pull to codes that a linear classifier can read.

# %% mystnb={"image": {"alt": "Two planes with the nine points and crosses at the corners where the discrete step put each class's codes. Left, ADSH, right, CNNH: arrows point towards the crosses of the point's own class, in ADSH less so for points that lie far out."}}
torch.manual_seed(2)
two_stage, alternating = (
    cnnh.CNNHLoss(labels, 2).double(),
    adsh.ADSHLoss(labels, 2, gamma=1.0, dissimilar="ratio").double(),
)
two_stage.first_stage(sweeps=5)
alternating.begin(z)
alternating.renew()


def corners(found):
    """The commonest code of each class, as a mark."""
    places = {}
    for name, three in zip("ABC", found.view(3, 3, 2), strict=True):
        (place, _), *_ = Counter(
            tuple(code.tolist()) for code in three
        ).most_common(1)
        places.setdefault(place, []).append(name)
    return {" ".join(names): place for place, names in places.items()}


discrete = {
    "ADSH: in turns": (
        draw.pulls(lambda u: alternating(u, labels, rows), z),
        corners(alternating.b),
    ),
    "CNNH: codes first": (
        draw.pulls(lambda u: two_stage(u, labels, rows), z),
        corners(two_stage.codes),
    ),
}
figure = draw.planes(discrete, z, labels)

# %% [markdown]
# ### The same question, asked of the code
#
# Who pulls whom can be tested. Leave one image out of the batch, the last of class C, and see whether the arrow of
# the first of class A points elsewhere.


# %%
def turns(loss):
    """Whether the first image's arrow turns when the last image is left out."""
    both = [
        draw.pulls(lambda u, n=n: loss(u, labels[:n], rows[:n]), z[:n])[0]
        for n in (9, 8)
    ]
    first, second = (arrow / arrow.norm() for arrow in both)
    return bool((first - second).norm() > 1e-9)


asked = {
    "pairs: DPSH": lambda u, y, i: in_batch(u, y),
    "pairs: DSH": lambda u, y, i: dsh.dsh_loss(u, y, m=4, alpha=0),
    "triplets: DTSH": lambda u, y, i: dtsh.dtsh_loss(
        u, y, alpha=1.0, weight=0
    ),
    "classes: GreedyHash": lambda u, y, i: greedy(u, y),
    "classes: DCWH": lambda u, y, i: dcwh(u, y),
    "centres: CSQ": lambda u, y, i: central(u, y),
    "centres: OrthoHash": lambda u, y, i: cosine(u, y),
    "codes first: ADSH": alternating,
    "codes first: CNNH": two_stage,
}
depends = {name: turns(loss) for name, loss in asked.items()}
table(
    ["loss", "another image of the batch matters"],
    *[[name, "yes" if d else "no"] for name, d in depends.items()],
)

# %% [markdown]
# Pairs and triplets are about *company*: what a step does hangs on who else is in the batch, so batches must be large
# enough to hold similar images. The other three kinds are about *addresses*: an image learns from its class vector,
# its centre or its code, whoever else is there. Addresses must come from somewhere, of course: they are learned
# along, handed out, or computed.
#
# (sec:fl-pairs)=
# ## All pair losses on one axis
#
# Back to pairs, the largest branch. Give the two outputs the length that codes have, $\sqrt K$. Then every pair loss
# in the package is a function of the agreement $a$ alone:
#
# | loss | similar pair | dissimilar pair |
# |---|---|---|
# | Mu and Liu ({doc}`03_mu_liu`) | $e^{-c a}$ | $e^{c a}$ |
# | DSH | $K (1 - a)$ | $\max(K a, 0)$ |
# | DPSH, DHN | $\log(1 + e^{-K a / 2})$ | $\log(1 + e^{K a / 2})$ |
# | HashNet | $\log(1 + e^{-10 a})$ | $\log(1 + e^{10 a})$ |
# | DCH | $\log\left( 1 + \frac{K (1 - a)}{2 \gamma} \right)$ | $\log\left( 1 + \frac{2 \gamma}{K (1 - a)} \right)$ |
# | CSDH, our reading ({doc}`07_csdh`) | $(1 - a)^2$ | $a^2$ |
#
# (Of the two targets of CSDH's squared loss this is "half of the bits", which {doc}`07_csdh` found better than
# "opposite codes", $(1 + a)^2$.)
#
# Here are all of them as the package computes them, for 48 bits, against the Hamming distance as a share of $K$. The
# axis runs from 0.02 to 0.98, since DCH's loss of a dissimilar pair is infinite at distance 0. To be compared, each
# loss is stretched to run from 0 to 1 on this axis. The right column shows the *pull*: how steep the loss is, divided
# by its steepest.

# %%
SCALE, GAMMA = (
    4.0,
    20.0,
)  # c of Mu and Liu, gamma of DCH: the package's defaults


def exponentiated(u, y):
    sign = 1.0 if y[0] == y[1] else -1.0
    return mu_liu.exponentiated_loss(
        u, torch.full((2, 2), sign).double(), SCALE
    )[0, 1]


regression = csdh.CSDHLoss(
    activation="none", alpha=0.0, balance="none", unlike="half"
)
PAIR_LOSSES = {  # of outputs (2, K) and labels (2,)
    "Mu and Liu": exponentiated,
    "DSH": lambda u, y: dsh.dsh_loss(u, y, m=2 * u.shape[1], alpha=0),
    "DPSH, DHN": in_batch,  # the same but for tanh and penalty
    "HashNet": lambda u, y: hashnet.hashnet_loss(
        u, y, alpha=10 / u.shape[1]
    ),
    "DCH": lambda u, y: dch.dch_loss(u, y, GAMMA, weight=0),
    "CSDH": regression,
}
KINDS = {"similar": True, "dissimilar": False}
shares = np.linspace(0.02, 0.98, 49)  # Hamming distance / K


def curves(bits):
    """Loss and derivative of every pair loss, for both kinds of pairs."""
    return {
        name: {
            kind: draw.pair_curve(loss, same, bits, 1 - 2 * shares)
            for kind, same in KINDS.items()
        }
        for name, loss in PAIR_LOSSES.items()
    }


long, short = curves(48), curves(12)

# %% mystnb={"image": {"alt": "Six rows, one per pair loss, and two columns over Hamming distance from 0 to 1 as a share of the code length. Left the losses: for similar pairs rising, for dissimilar pairs falling. Right the pulls. Mu and Liu: both pulls decay exponentially from the wrong end. DSH: constant pull on similar pairs, constant pull on dissimilar pairs up to half, then none. DPSH and HashNet: a step at one half, similar pairs are pulled above it and dissimilar ones below. DCH: both pulls are strongest at distance zero and fade. CSDH: both pulls are straight lines; similar pairs are pulled more the farther apart, dissimilar pairs the farther from half of the bits, on either side."}}
figure = draw.ridges(long, shares, "Hamming distance / K")

# %% [markdown]
# The right column, row by row:
#
# - **The exponential (Mu and Liu)** pulls the worst pairs most, and its pull fades as they get better. At $c = 4$ next
#   to nothing is left of it at half of the bits, for either kind.
# - **DSH** is the only one whose pull on similar pairs is the same at every distance, so they are drawn together to
#   the last bit; and it alone leaves dissimilar pairs *exactly* in peace from half of the bits on, at every distance.
# - **The likelihoods (DPSH, DHN, HashNet) are switches.** Their pull is a step at half the bits. A similar pair is
#   pulled only while *more* than about half of its bits differ, a dissimilar one only while fewer do. Then the loss is
#   content. It does not ask for equal codes, nor for opposite ones.
# - **DCH** {cite:p}`cao2018dch` turns the likelihood round. Its pull on similar pairs is strongest where they are already
#   close: it is made for search in a small ball. The price is at the other end, where similar pairs are called back the
#   more weakly the farther they are apart.
# - **The squared loss (CSDH)** pulls the worst pairs most, too, but its pull falls along a straight line and ends only
#   where codes are equal, or differ in half of their bits: it does not stop before. A dissimilar pair beyond half is
#   drawn back to it.
#
# ### What the code length does
#
# Compare the formulas in the table again: in four of them $K$ is gone once the loss is stretched to 0 to 1, in two
# it is not. Here is how far from 48 bits to 12 bits the stretched curves move at most, and from which Hamming
# distance on a loss is content: where it has less than a hundredth left of what there is to lose between the worst
# distance and the best. (CSDH's dissimilar pairs are content around half of the bits only, and no longer far beyond.)
# Here distances run from 0 to $K$; at 0 DCH's loss of a dissimilar pair is as large as the
# package lets it be, with a distance kept above 0.001, and its last two numbers depend on this floor.


# %%
def content(name, kind, bits):
    """How far apart a similar, or a dissimilar pair is when it is content."""
    d = np.arange(bits + 1)
    inside = np.clip(1 - 2 * d / bits, -1 + 1e-9, 1 - 1e-9)
    left = draw.unit(
        draw.pair_curve(PAIR_LOSSES[name], KINDS[kind], bits, inside)[0]
    )
    return (
        d[left < 0.01].max() if kind == "similar" else d[left < 0.01].min()
    )


moved = {
    name: max(
        np.abs(
            draw.unit(long[name][kind][0]) - draw.unit(short[name][kind][0])
        ).max()
        for kind in KINDS
    )
    for name in PAIR_LOSSES
}
at_ease = {
    (name, kind, bits): content(name, kind, bits)
    for name in moved
    for kind in KINDS
    for bits in (12, 48)
}
table(
    [
        "loss",
        "curve moves by",
        "similar, 12 bits: up to",
        "of 48",
        "dissimilar, 12 bits: from",
        "of 48",
    ],
    *[
        [
            name,
            f"{moved[name]:.2f}",
            *(
                at_ease[name, kind, bits]
                for kind in KINDS
                for bits in (12, 48)
            ),
        ]
        for name in moved
    ],
)

# %% [markdown]
# DPSH and DHN put $K$ into the exponent. At 12 bits they still distinguish between close and closer; at 48 bits their
# pull is nearly a step, and a similar pair that differs in 22 of 48 bits is as good as content. HashNet's constant
# $10/K$ takes this dependence out. DCH's $\gamma$ is a Hamming distance, 20 bits, which is nearly half of a code of 48
# and more than there are in a code of 12. A loss that was tuned at one length is not the same loss at another.
#
# (sec:fl-room)=
# ## How far apart can classes be?
#
# What a dissimilar pair is asked for differs: *opposite codes* (Mu and Liu), *half of the bits* (DSH and CSDH exactly;
# DHN, DPSH and HashNet in effect), *as far as possible, with less and less zeal* (DCH). Can it be had?
#
# Opposite codes can be had by two classes, not by three: what is opposite to A's code is one code, and B and C would
# share it. In general, let $w_1, \dots, w_C$ be the codes of $C$ classes. A bit that is $+1$ for $m$ of them
# separates $m (C - m)$ pairs of classes, at most $\lfloor C/2 \rfloor \lceil C/2 \rceil$ of all $C (C-1)/2$. This
# holds for every bit, so the mean distance between two classes is at most
#
# $$ \bar d \;\le\; K \cdot \frac{\lfloor C/2 \rfloor \lceil C/2 \rceil}{C (C - 1) / 2} ,
#    \qquad\text{which is } \frac{K}{2} \cdot \frac{C}{C - 1} \text{ for even } C . $$ (eq:fl-room)


# %% mystnb={"image": {"alt": "Largest possible mean distance between the codes of different classes, as a share of the bits, against the number of classes from 2 to 100. It starts at 1 for two classes, is two thirds for three and four, and falls quickly towards one half."}}
def room(count):
    """The largest mean distance between codes of `count` classes, over K."""
    return (count // 2) * (count - count // 2) / math.comb(count, 2)


counts = [2, 3, 4, 5, 6, 8, 10, 20, 50, 100]
ax = plots.curves(
    {"at most": (counts, [room(count) for count in counts])},
    "classes C",
    "mean distance / K",
)
ax.set_xscale("log")
ax.set(
    xticks=[2, 3, 5, 10, 20, 50, 100],
    xticklabels=[2, 3, 5, 10, 20, 50, 100],
    ylim=(0.4, 1.05),
)
ax.minorticks_off()
half = ax.axhline(0.5, color="0.6", ls=":")

# %% [markdown]
# With ten classes the best mean is five ninths of the bits. So in the end *all* these losses ask for about the same:
# half of the bits, and a little more. Whether they ask for "opposite" or for "half" shows only in how they treat
# unequal distances. A loss that is straight in $a$ does not care whether two classes share a code as long as the mean
# is right; one that bends cares ({doc}`03_mu_liu` has a run in which this decides everything).
#
# The *smallest* distance is the harder question, and an old one: coding theory asks how many words of $K$ bits there
# are with at least $d$ bits between any two. If $d$ is more than half of the bits, {eq}`eq:fl-room` has an answer
# (the smallest distance is at most the mean one), which is known as Plotkin's bound {cite:p}`plotkin1960`:
#
# $$ C \;\le\; 2 \left\lfloor \frac{d}{2d - K} \right\rfloor . $$ (eq:fl-plotkin)
#
# For even $C$, $d \le \frac K2 \cdot \frac{C}{C-1}$ is the same as $\frac C2 \le \frac{d}{2d - K}$, and as the left side
# is an integer, the right one may be rounded down. For odd $C$ the bound of {eq}`eq:fl-room` is
# $d \le \frac K2 \cdot \frac{C+1}{C}$, which is the same as $\frac{C+1}{2} \le \frac{d}{2d - K}$: rounded down again, this
# is even a little stricter.
#
# At three fifths of the bits this leaves room for six codes, however long they are. For six bits a computer can try
# everything:


# %%
def most(bits, distance):
    """The most codes so far apart, by trying; one of them is zero."""
    far = {
        x: {y for y in range(2**bits) if (x ^ y).bit_count() >= distance}
        for x in range(2**bits)
    }

    def grow(size, left):
        best = size
        while left and size + len(left) > best:
            x = min(left)
            best = max(best, grow(size + 1, left & far[x]))
            left = left - {x}
        return best

    return grow(1, far[0])


largest = {d: most(6, d) for d in (3, 4, 5, 6)}
bound = {d: 2 * (d // (2 * d - 6)) for d in (4, 5, 6)}
table(
    ["codes of 6 bits", *(f"at least {d} apart" for d in largest)],
    ["found by trying", *largest.values()],
    ["Plotkin's bound", "", *bound.values()],
)

# %% [markdown]
# At half of the bits there is room for eight; one bit more, and there is room for four; beyond that only for two. The
# cliff at one half is general: at exactly half of the bits there is room for $2K$ codes wherever a *Hadamard matrix* of
# size $K$ exists. Any two of its rows differ in half of the bits, and so do they and their opposites. Nor is there room
# for more: at least half of the codes agree in their first bit; leave it out, and these are codes of $K - 1$ bits,
# still $K/2$ apart, of which {eq}`eq:fl-plotkin` allows no more than $K$.
#
# That is where CSQ takes its centres from, when there are few enough classes and $K$ is a power of two. DPN and
# OrthoHash toss a fair coin for every bit. What is the difference?


# %%
def closest(codewords):
    """The smallest Hamming distance between two codes (C, K) of -1 and +1."""
    count, bits = codewords.shape
    agreement = codewords @ codewords.T - 2 * bits * torch.eye(count)
    return int((bits - agreement.max().item()) / 2)


lines, nearest = [], {}
for count, bits in (
    (10, 16),
    (10, 48),
    (10, 64),
    (100, 16),
    (100, 48),
    (100, 64),
):
    torch.manual_seed(0)
    chosen, coins = (
        codebooks.centres(count, bits),
        classes.random_signs(count, bits),
    )
    nearest[count, bits] = closest(chosen), closest(coins)
    rows_of = (
        "Hadamard"
        if (bits & (bits - 1) == 0 and count <= 2 * bits)
        else "drawn one after the other"
    )
    lines.append([count, bits, rows_of, *nearest[count, bits], bits // 2])
table(
    [
        "classes",
        "bits",
        "CSQ's centres",
        "closest two",
        "closest two, fair coins",
        "half of the bits",
    ],
    *lines,
)

# %% [markdown]
# For ten classes and enough bits coins do well enough. Where $K$ is no power of two, or there are more than $2K$
# classes, CSQ as the package has it draws codes with half of the bits set, each as far as possible from those before
# it, which is a good deal better than coins. (Hadamard matrices of other sizes exist, of 48 for one; the package
# builds those of powers of two only.) But for a hundred classes in 16 bits nothing finds room, since half of the bits
# can be had by $2K = 32$ codes and no more. A loss with fixed centres cannot mend this. The codes were handed out before the first image was
# seen, and cats may have got the code next to the one of trucks.
#
# (sec:fl-quantisation)=
# ## How real numbers become bits
#
# The losses so far look at $u$, retrieval looks at its sign. If all $u$ lie close to 0, agreement of outputs says
# little about agreement of bits. Four answers have been found.
#
# **A penalty** on outputs that are not $-1$ or $+1$: the squared distance $(|u| - 1)^2$ in DPSH, DTSH and DSDH, the
# absolute one in DSH, $\log\cosh(|u| - 1)$ in DHN and CSQ, the cube in GreedyHash. DCH has another: with the *cosine*
# between $|u|$ and $(1, \dots, 1)$ it takes $\log(1 + d / \gamma)$.
#
# Let one output $u$ of an image move and the other eleven stay at $\pm 1$:

# %%
outputs = np.linspace(-2, 2, 201)


def moving(penalty):
    """12 times a penalty of u (1, 12), and its slope, as one output moves."""
    values, slopes = [], []
    for x in outputs:
        u = torch.ones(1, 12).double()
        u[0, 0] = x
        u.requires_grad_()
        value = 12 * penalty(u)
        values.append(value.item())
        slopes.append(torch.autograd.grad(value, u)[0][0, 0].item())
    return np.array(values), np.array(slopes)


def cauchy(u):
    """The penalty of DCH: what its weight adds to the loss of equal images."""
    two = torch.cat([u, u])
    with_it, without = (
        dch.dch_loss(two, torch.zeros(2), GAMMA, weight=weight)
        for weight in (1, 0)
    )
    return (with_it - without) / 12


def cubic(u):
    """The penalty of GreedyHash alone: a classifier of zeros adds log 2."""
    w, y = torch.zeros(2, u.shape[1]).double(), torch.zeros(1).long()
    return greedyhash.greedyhash_loss(u, y, w, alpha=1.0) - math.log(2)


PENALTIES = {
    "cubic": cubic,
    "squared": quantisation.squared,
    "absolute": quantisation.absolute,
    "log cosh": quantisation.log_cosh,
    "Cauchy": cauchy,
}
penalties = {name: moving(penalty) for name, penalty in PENALTIES.items()}

# %% mystnb={"image": {"alt": "Two panels over an output from minus 2 to 2. Above, five penalties, all zero at minus one and one, with a peak at zero; cubic and squared also rise steeply outside. Below, their derivatives, which jump at zero from positive to negative: by 6 for cubic, 4 for squared, 2 for absolute, less for log cosh, and hardly for Cauchy."}}
figure, axes = plt.subplots(
    2, 1, figsize=(6, 7), sharex=True, layout="constrained"
)
for ax, which, name in zip(
    axes, (0, 1), ("penalty", "its derivative"), strict=True
):
    plots.curves(
        {key: (outputs, both[which]) for key, both in penalties.items()},
        "",
        name,
        ax,
        marks="-",
    )
label = axes[0].set(ylim=(-0.05, 1.15), xlim=(-2, 2))
label = axes[1].set(xlabel="output u", xticks=(-2, -1, 0, 1, 2))

# %% [markdown]
# All are lowest at the codes and have a *peak* at 0: the derivative jumps there, from one sign to the other. An
# undecided bit is pushed to whichever side it happens to be on, and with the cube and the square it is pushed hardest
# exactly there, where nothing is known of it yet. The absolute value pulls equally from everywhere; log cosh does so
# from afar and lets go gently at the end. Cauchy's curve is flat, and for a reason: by the cosine it compares the
# outputs of an image with *each other*, not with 1. If all twelve have the same size, it is content, whatever the size:

# %%
small = torch.full((1, 12), 0.01).double()
sizes = {
    name: draw.pulls(penalty, small).abs().max().item() > 1e-9
    for name, penalty in PENALTIES.items()
}
for name, pushed in sizes.items():
    does = "pushes" if pushed else "does not push"
    print(f"all at 0.01: {name} {does} them outwards")

# %% [markdown]
# **A steeper tanh.** HashNet has no penalty. It lets the loss see $\tanh(\beta z)$ and raises $\beta$ in stages, so
# that the tanh turns into the sign while the network learns. This is called *continuation*.
#
# **A straight-through sign.** GreedyHash lets the loss see the sign itself, and on the way back pretends that it was
# not there: its derivative, which is 0, is replaced by 1. (Its cubic penalty keeps $z$ from wandering off.)
#
# **A discrete step**, as in ADSH, CNNH and DSDH, where codes are codes from the start.

# %% mystnb={"image": {"alt": "Two panels over the output z from minus 2 to 2. Above, what the loss sees: tanh of z, of 3 z, of 7 z, and the sign, each steeper than the one before. Below, the derivative that is used on the way back: bells that become narrower and higher, 7 at the top for 7 z, and for the straight-through sign a constant 1."}}
figure, axes = plt.subplots(
    2, 1, figsize=(6, 6.4), sharex=True, layout="constrained"
)
zs = torch.from_numpy(outputs)
seen = {
    f"tanh {beta}z" if beta > 1 else "tanh z": lambda x, beta=beta: (
        torch.tanh(beta * x)
    )
    for beta in (1, 3, 7)
}
seen["sign, straight through"] = greedyhash.greedy_sign
plots.curves(
    {name: (outputs, of(zs)) for name, of in seen.items()},
    "",
    "what the loss sees",
    axes[0],
    marks="-",
)
slopes = {
    name: (outputs, -draw.pulls(lambda x, of=of: of(x).sum(), zs))
    for name, of in seen.items()
}
ax = plots.curves(slopes, "output z", "derivative used", axes[1], marks="-")
label = ax.set(xticks=(-2, -1, 0, 1, 2), yticks=(0, 1, 3, 7))

# %% [markdown]
# At $\beta = 7$ the slope at $z = 1$ is 0.00002: the bits that have decided are frozen, and only those near 0 still
# learn, with seven times the strength. The straight-through sign never freezes a bit, but its gradient is not the
# derivative of anything: it says where $z$ would go if it were the code.
#
# ### What it does to a network
#
# Six short trainings on `digits`, 16 bits: DPSH with four weights $\alpha$ of its squared penalty, from none to much,
# then HashNet and GreedyHash. The histograms show where the outputs of the query digits lie in the end;
# what lies beyond ±3 is counted in the bar at the edge.

# %%
K = 16
SHORT = {"epochs": 12, "batch_size": 64, "shift": 1}
digits = data.load("digits")
# one code for all is what the largest weight is to show
warnings.simplefilter("ignore", UserWarning)


def trained(name, **settings):
    """A method, trained on digits with seed 0; the rest is its default."""
    return methods.create(name, K, **SHORT | settings).fit(digits.train)


WEIGHTS = (0.0, 0.1, 1.0, 10.0)
weighed = {
    weight: trained("dpsh", pairs="batch", alpha=weight)
    for weight in WEIGHTS
}
continued, straight = trained("hashnet"), trained("greedyhash")

# %% mystnb={"image": {"alt": "Six histograms of outputs from minus 3 to 3. DPSH without a penalty: one hill around zero with long tails on both sides. With weight 0.1: the tails are gone and the hill is broad. With weight 1: two clear peaks near minus one and one. With weight 10: two narrower peaks. HashNet, after its tanh: nearly everything at minus one and one. GreedyHash: two broad hills, with tops somewhat outside minus one and one."}}
query = digits.query.images
spread_of = {
    f"DPSH, α = {weight:g}": method.outputs(query)
    for weight, method in weighed.items()
}
spread_of["HashNet, tanh 7z"] = np.tanh(
    continued.config.last_beta * continued.outputs(query)
)
spread_of["GreedyHash"] = straight.outputs(query)
figure = draw.histograms(
    spread_of, "output that the loss sees (GreedyHash: before the sign)"
)

# %% [markdown]
# The penalty does what it should: it cuts the tails and splits the hill around 0 in two. But a histogram is not
# retrieval:


# %% tags=["nbval-ignore-output"]
def evaluate(method):
    """Retrieval metrics of a fitted method on the queries of digits."""
    found = (
        method.encode(digits.query.images),
        method.encode(digits.database.images),
    )
    return metrics.evaluate(
        *found, digits.query.labels, digits.database.labels, bits=K
    )


def near_codes(u):
    """The share of outputs that lie within 1/2 of -1 or +1."""
    return np.mean(np.abs(np.abs(u) - 1) < 0.5)


def lopsided(u):
    """The share of images on the commoner side of a bit: from 1/2 to 1."""
    ones = (u >= 0).mean(0)
    return np.maximum(ones, 1 - ones).mean()


start = methods.create("dpsh", K, **SHORT | {"epochs": 0}).fit(digits.train)
maps = {weight: evaluate(method).map for weight, method in weighed.items()}
near = {
    weight: near_codes(method.outputs(query))
    for weight, method in weighed.items()
}
uneven = {
    weight: lopsided(method.outputs(query))
    for weight, method in weighed.items()
}
table(
    [
        "DPSH on digits, 16 bits, seed 0",
        "outputs within ½ of ±1",
        "images on a bit's commoner side",
        "mAP",
    ],
    *[
        [
            f"α = {weight:g}",
            f"{near[weight]:.2f}",
            f"{uneven[weight]:.2f}",
            f"{maps[weight]:.1f}",
        ]
        for weight in WEIGHTS
    ],
)

# %% [markdown]
# A moderate penalty helps. With the largest weight the outputs are nearest to codes of all, and the codes are poor. The
# penalty knows no labels: a bit that is the same for nearly all images satisfies it as well as one that tells classes
# apart, and pairs that weigh a tenth of it cannot object. A quantisation term is a promise that bits will be
# decided, not that they will be decided *well*. That is why its weight is small, and why continuation waits.
#
# (sec:fl-zero)=
# ## Near zero
#
# A new network's outputs are small. What does a loss do there? Look at one bit of two images as a plane: one output
# to the right, the other upwards. Level lines are grey, the arrows point downhill.

# %% mystnb={"image": {"alt": "Three planes with level lines and arrows. DPSH, similar pair: near the origin arrows come in along one diagonal and leave along the other, where both outputs have the same sign. DPSH, dissimilar pair: the same turned by a quarter, leaving where signs differ. CSQ with both centres at plus one: all arrows point to the upper right, also at the origin."}}
ONE, TWO = torch.zeros(2).long(), torch.arange(2)
figure, axes = plt.subplots(
    1, 3, figsize=(7.4, 3.0), sharey=True, layout="constrained"
)
plus = torch.ones(2, 1).double()
draw.landscape(lambda u: in_batch(u, ONE), axes[0], "DPSH, similar pair")
draw.landscape(lambda u: in_batch(u, TWO), axes[1], "DPSH, dissimilar pair")
draw.landscape(
    lambda u: csq.csq_loss(u, plus, weight=0.0),
    axes[2],
    "CSQ, centres at +1",
)
for ax in axes[1:]:
    ax.set_ylabel("")

# %% [markdown]
# The first two planes have a *saddle* at the origin: there the gradient is zero, downhill goes to two opposite sides,
# and which one is taken depends on where one stands. It must be so for every loss that sees outputs only through inner
# products $\Theta_{ij}$, for then
#
# $$ \frac{\partial L}{\partial u_i} = \sum_j \frac{\partial L}{\partial \Theta_{ij}}\; u_j
#    \;\longrightarrow\; 0 \quad\text{when all } u_j \to 0 . $$ (eq:fl-saddle)
#
# Flip the sign of one bit in *all* images, and no inner product changes; so there is nothing to prefer $+1$ to $-1$,
# and at 0 the loss cannot decide. The third plane has a slope at the origin: somebody, here the centre, knows which
# side to take. Which losses are of which kind? Take random outputs of 60 images, shrink them towards 0, and
# watch the gradient. If it shrinks as the outputs do, it is a saddle (power 1); if it stays, a slope (power 0).


# %%
def everything(y, bits, count):
    """Losses without quantisation terms: name -> (kind, loss of z alone)."""
    torch.manual_seed(0)
    places = torch.arange(len(y))
    made = {
        "ADSH": adsh.ADSHLoss(y, bits, dissimilar="ratio"),
        "CNNH": cnnh.CNNHLoss(y, bits),
        "GreedyHash": greedyhash.GreedyHashLoss(count, bits, alpha=0),
        "classifier": classifier_sign.ClassifierSignLoss(count, bits),
        "CSQ": csq.CSQLoss(count, bits, weight=0),
        "DPN": dpn.DPNLoss(count, bits),
        "OrthoHash": orthohash.OrthoHashLoss(count, bits),
    }
    made = {name: loss.double() for name, loss in made.items()}
    made["ADSH"].begin(torch.randn(len(y), bits).double())
    made["CNNH"].first_stage(sweeps=2)
    clouds_at = torch.randn(
        count, bits
    ).double()  # as SHPDH's and DCWH's centres begin
    return {
        "Mu and Liu": (
            "pairwise",
            lambda z: mu_liu.mu_liu_loss(z, y, SCALE),
        ),
        "DSH": (
            "pairwise",
            lambda z: dsh.dsh_loss(z, y, m=2 * bits, alpha=0),
        ),
        "DHN": ("pairwise", lambda z: dhn.DHNLoss(weight=0)(z, y)),
        "DPSH": ("pairwise", lambda z: in_batch(z, y)),
        "HashNet": (
            "pairwise",
            lambda z: hashnet.HashNetLoss(bits).double()(z, y),
        ),
        "DCH": ("pairwise", lambda z: dch.DCHLoss(weight=0)(z, y)),
        "CSDH": (
            "pairwise",
            lambda z: csdh.CSDHLoss(alpha=0, unlike="half")(z, y),
        ),
        "DTSH": ("triplet", lambda z: dtsh.DTSHLoss(bits, weight=0)(z, y)),
        "GreedyHash": ("class-wise", lambda z: made["GreedyHash"](z, y)),
        "DCWH": (
            "class-wise",
            lambda z: clouds.class_wise_loss(z, y, clouds_at, s=1.0),
        ),
        "classifier": ("class-wise", lambda z: made["classifier"](z, y)),
        "CSQ": ("centre", lambda z: made["CSQ"](z, y)),
        "DPN": ("centre", lambda z: made["DPN"](z, y)),
        "OrthoHash": ("centre", lambda z: made["OrthoHash"](z, y)),
        "ADSH": ("codes first", lambda z: made["ADSH"](z, y, places)),
        "CNNH": ("codes first", lambda z: made["CNNH"](z, y, places)),
    }


sixty = torch.arange(60) % 10
losses = everything(sixty, K, 10)
direction = torch.randn(
    60, K, generator=torch.Generator().manual_seed(1)
).double()
powers = {
    name: draw.growth(loss, direction) for name, (_, loss) in losses.items()
}
KIND_OF_START = {1: "saddle", 0: "slope", -1: "directions only"}
table(
    ["loss", "kind", "power", "at zero"],
    *[
        [name, losses[name][0], round(power), KIND_OF_START[round(power)]]
        for name, power in powers.items()
    ],
)

# %% [markdown]
# The pattern is clear. *Company* makes a saddle, *addresses* make a slope. (DSH has a saddle too: distances do not
# change when a bit is flipped in all images, either.) Two losses see only directions, by a cosine: DCH and OrthoHash.
# Their gradient *grows* as outputs shrink, with power $-1$, because a small step turns a short vector far. OrthoHash
# puts a batch normalisation before its loss, which keeps outputs at the size of 1 and does away with the question.
#
# ### The beginning decides the bits
#
# What comes of a saddle can be worked out. For small outputs the likelihood's $\sigma(\Theta) \approx \frac12$, and
# descent follows a linear rule: every image is drawn along the outputs of its class and away from those of the others,
#
# $$ -\frac{\partial L}{\partial u_i} \;\approx\; \frac{1}{2N(N-1)} \Big( \sum_{j \neq i,\; s_{ij} = 1} u_j
#    - \sum_{s_{ij} = 0} u_j \Big) . $$ (eq:fl-linear)
#
# In this rule *every bit is on its own*: bit 3 of an image is moved by bit 3 of others and by nothing else. For $C$
# classes with $n$ images each, look at the mean of a class minus the mean of all, the *contrast* $v_c$ of class $c$. Let
# every image of class $c$ stand at $v_c$. The contrasts of all classes add up to 0, so the first sum in
# {eq}`eq:fl-linear` is $(n - 1)\, v_c$ and the second is all minus the own class, $0 - n\, v_c$. Together,
#
# $$ -\frac{\partial L}{\partial u_i} \;\approx\; \frac{(n - 1)\, v_c + n\, v_c}{2N(N-1)}
#    = \frac{n - \frac12}{N(N-1)}\; v_c : $$ (eq:fl-rate)
#
# contrasts grow at this rate, per unit of learning rate. Everything else shrinks: what distinguishes the images of a
# class adds up to 0 within the class, so the first sum is minus the image itself and the second is 0; and what all
# images have in common has $n - 1$ for it and $N - n$ against it. So a bit
# grows in the direction in which noise has tipped it first: class $c$ will get $+1$ if, at the start, its mean
# happened to lie above the mean of all. Is that so? 100 outputs, free to move, under DPSH's pairs alone, from noise
# of ever smaller size, with a learning rate that should let contrasts grow by a twentieth per step:

# %%
hundred = torch.arange(100) % 10
noise = torch.randn(
    100, K, generator=torch.Generator().manual_seed(0)
).double()
RATE = 0.05 * 100 * 99 / 9.5


def flow(loss, z, rate=RATE, steps=1000):
    """Typical size of outputs at each step until it is 1/2; the last outputs."""
    path = [z]
    while path[-1].square().mean().sqrt() < 0.5 and len(path) <= steps:
        path.append(path[-1] + rate * draw.pulls(loss, path[-1]))
    return [step.square().mean().sqrt().item() for step in path], path[-1]


SIZES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
flows = {
    size: flow(lambda u: in_batch(u, hundred), size * noise)
    for size in SIZES
}

# %% mystnb={"image": {"alt": "Typical size of the outputs against the number of steps, on a logarithmic axis, for starts of size 0.1 to 0.00001. After a short flat start all curves rise as parallel straight lines; each tenth of the starting size arrives later by the same number of steps."}}
written = {size: f"{size:.5f}".rstrip("0") for size in SIZES}
lines = {
    f"from {written[size]}": (range(len(path)), path)
    for size, (path, _) in flows.items()
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


# %%
def contrasts(u):
    """Means of the ten classes minus the mean of all: (10, K)."""
    return clouds.means(u, hundred, torch.zeros(10, K).double()) - u.mean(0)


kept = {
    size: (contrasts(noise).sign() == contrasts(end).sign())
    .double()
    .mean()
    .item()
    for size, (_, end) in flows.items()
}
steps = {size: len(path) - 1 for size, (path, _) in flows.items()}
table(
    [
        "size at the start",
        "steps to ½",
        "bits of classes that the noise decided",
    ],
    *[
        [written[size], steps[size], f"{share:.0%}"]
        for size, share in kept.items()
    ],
)

# %% [markdown]
# Two things can be read here. First, a small start costs *time*: each tenth costs the same number of steps, $\ln 10 /
# \ln 1.05 = 47$, and nothing else. Learning rates with a warm-up, or very small initial weights, lengthen this phase.
# Second, it is noise that decides nearly all bits. Each bit splits the classes by a coin toss, and *nothing near the
# saddle keeps two bits from choosing the same split*, or two classes from getting the same code: bits hear of each
# other only when the outputs have grown and the $\sigma(\Theta)$ begin to differ. (How the exponential loss makes bits
# heed each other is a section of {doc}`03_mu_liu`.) From the same noise, a loss with addresses goes to where its
# centres are:

# %%
addressed = csq.CSQLoss(10, K, weight=0.0).double()
_, end = flow(lambda u: addressed(u, hundred), 1e-3 * noise)
agree = (contrasts(noise).sign() == end[:10].sign()).double().mean().item()
reached = (end.sign() == addressed.centres[hundred]).double().mean().item()
print(f"CSQ: {reached:.0%} of the bits are those of the centres;")
print(f"{agree:.0%} of the bits of classes are as the noise had them")

# %% [markdown]
# ### Where the tanh saturates
#
# At the other end, far from zero, waits the opposite trouble. Many methods let the loss see $t = \tanh(\beta z)$; on
# the way back its slope $\beta (1 - t^2)$ multiplies the gradient. Here it is in single precision, in which
# networks compute:

# %%
places = torch.tensor([0.0, 0.5, 1.0, 2.0, 5.0, 10.0], requires_grad=True)
slope = {}
for beta in (1, 3, 7):
    (slope[beta],) = torch.autograd.grad(
        torch.tanh(beta * places).sum(), places
    )
table(
    ["slope of tanh βz", *(f"z = {place:g}" for place in places.tolist())],
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
# Where a plain 0 stands, the slope is not small but exactly zero: for $\beta = 1$ at $z = 10$, for $\beta = 3$ at 5, for
# $\beta = 7$ already at 2, and from there on. A bit that got there on the wrong side never comes back, however large
# the loss. {doc}`03_mu_liu` shows a training that ends this way. CSQ, too, takes a tanh: the logarithm of
# $(\tanh z + 1)/2$ for a bit that shall be 1. But this is the logistic function of $2z$, as
# $\frac12 (\tanh z + 1) = \frac{e^{z}}{e^{z} + e^{-z}} = \sigma(2z)$, and written as one function of $z$, the loss
# $\log(1 + e^{-2z})$ has a derivative that tends to $-2$ on the wrong side.
# Linear outputs with a penalty (DSH, DPSH, DTSH) avoid it in yet another way: there is no tanh.
#
# (sec:fl-balance)=
# ## When one kind of pair is rare
#
# Of the pairs of a batch with $C$ equally common classes only one in $C$ is similar. Near zero, where every pair
# pulls equally hard, the rare kind has that share of the say. And with many classes and small batches an image may
# not meet any of its kind:

# %%
rare = {}
for count, size in ((2, 64), (10, 64), (10, 256), (100, 64), (100, 256)):
    expected = math.comb(size, 2) / count
    alone = (1 - 1 / count) ** (size - 1)
    row = [
        count,
        size,
        math.comb(size, 2),
        f"{expected:.0f}",
        f"{1 / count:.0%}",
        f"{alone:.0%}",
    ]
    rare[count, size] = row
table(
    [
        "classes",
        "batch",
        "pairs",
        "similar ones",
        "their share",
        "images without a similar one",
    ],
    *rare.values(),
)

# %% [markdown]
# Three remedies are in the family. *Weights*: HashNet and DCH divide each kind by its number, Mu and Liu's and CSDH's
# losses here take half from each, and DPSH, DHN and DSH do so on demand (`balance="halves"`). *Triplets* have one pair
# of each kind by construction. *Memory*: DPSH and DSDH pair the images of a batch with the last outputs of all
# training images, so that nobody is alone.
#
# What weights do near the saddle can be computed from {eq}`eq:fl-linear`: only the sum of both pulls enters the rate
# at which a contrast grows. Weighing the kinds equally makes the beginning faster and changes nothing else about it:


# %%
def rate_of(balance):
    """Growth of contrasts per unit of learning rate: mean and spread."""
    apart = pairs.off_diagonal(100, noise.device)
    contrast = contrasts(noise)[hundred] * 1e-6

    def loss(u):
        s = pairs.similar(hundred)
        return dpsh.dpsh_loss(u, u, s, 0.0, balance, counted=apart)

    ratios = draw.pulls(loss, contrast) / contrast
    return ratios.mean().item(), ratios.std().item()


rates = {balance: rate_of(balance) for balance in ("none", "halves")}
print(
    f"all pairs alike: {rates['none'][0]:.6f}, formula {9.5 / (100 * 99):.6f}"
)
print(
    f"half of each:    {rates['halves'][0]:.6f},"
    f" {rates['halves'][0] / rates['none'][0]:.2f} times as fast"
)

# %% [markdown]
# ### A trap for the asymmetric
#
# For one kind of loss balance is a matter of life and death. In {eq}`eq:fl-asymmetric` take $S = +1$ for similar and
# $S = -1$ for other images, with a share $p$ of similar ones. Now let *every* image have the same output $u$ and
# every code be the same $v$. The agreement $q = u^{\mathsf T} v / K$ may be negative, as $u$ and $v$ are different
# things. The best constant is the mean of $S$, $q = 2p - 1$, and it leaves the variance of $S$ as the loss:
#
# $$ \min_q \; \operatorname{mean}_{i,j} (q - S_{ij})^2 = 4 p\, (1 - p) , $$ (eq:fl-constant)
#
# 0.36 for ten classes, where ignorance ($q = 0$) costs 1. So "everything is opposite to everything" is an excellent
# start, and all images get one code. A symmetric loss cannot fall into this: there $q = u^{\mathsf T} u / K \ge 0$. The
# authors' code of ADSH sets $S = -p / (1 - p)$ for other images instead. Then the mean of $S$ is 0, and a constant
# gains nothing. Both, on `digits`:

# %% tags=["nbval-ignore-output"]
opposed = {
    kind: trained("adsh", dissimilar=kind) for kind in ("one", "ratio")
}
distinct = {}
for kind, method in opposed.items():
    found = method.outputs(digits.train.images) >= 0
    (_, share), *_ = Counter(map(bytes, found)).most_common(1)
    distinct[kind] = share / len(found)
    said = {"one": "S = −1", "ratio": "S = −p/(1 − p)"}[kind]
    print(
        f"{said}: the commonest code stands for {distinct[kind]:.0%}"
        f" of the images, mAP {evaluate(method).map:.1f}"
    )

# %% [markdown]
# (sec:fl-cost)=
# ## What a loss costs
#
# The network works on each image once. The loss may look at each pair, or triplet. From the formulas:
#
# | loss | numbers that are computed | grows with the batch as |
# |---|---|---|
# | centre, classifier, DCWH | a score per image and class: $B C$, each of $K$ products | $B$ |
# | CNNH | a term per image and bit: $B K$ | $B$ |
# | pairs of a batch | an inner product per pair: $B^2$, each of $K$ products | $B^2$ |
# | Mu and Liu's product | a factor per pair *and bit*: $B^2 K$, all kept in memory | $B^2$ |
# | pairs with a memory, ADSH | $B N$ inner products of $K$ | $B$, but $N$ times |
# | triplets | a term per similar pair and third image: about $B^3 / C$ | $B^3$ |
#
# Measured on whatever machine has made this page, forward and backward, 48 bits and ten classes, the best of seven:


# %%
def seconds(loss, z, repeats=7):
    """The best time of a forward and backward pass."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.autograd.grad(loss(z), z)
        times.append(time.perf_counter() - start)
    return min(times)


def contestants(y, bits=48, memory=5000):
    labels_of_all = torch.arange(memory) % 10
    remembered = torch.randn(memory, bits)
    similar = pairs.similar(y, labels_of_all)
    code = codebooks.centres(10, bits)
    return {
        "triplets (DTSH)": lambda z: dtsh.dtsh_loss(z, y, bits / 2),
        "product (Mu and Liu)": lambda z: mu_liu.mu_liu_loss(z, y, SCALE),
        "memory of 5,000 (DPSH)": lambda z: dpsh.dpsh_loss(
            z, remembered, similar
        ),
        "pairs (DPSH)": lambda z: in_batch(z, y, 0.1),
        "centres (OrthoHash)": lambda z: orthohash.orthohash_loss(
            z, classes.indicators(y, 10), code
        ),
    }


BATCHES = (16, 32, 64, 128, 256)
measured = {}
for size in BATCHES:
    y = torch.arange(size) % 10
    moved_by = torch.randn(size, 48, requires_grad=True)
    for name, loss in contestants(y).items():
        measured[name, size] = seconds(loss, moved_by)

# %% mystnb={"image": {"alt": "Milliseconds per step against the batch size from 16 to 256, both axes logarithmic. At 16 all but the memory lie close together. Centres stay nearly flat and pairs within the batch rise gently. Triplets and the product of Mu and Liu rise steeply; at 256 they and the memory cost many times what pairs cost."}}
names = list(contestants(torch.arange(16) % 10))
lines = {
    name: (BATCHES, [1000 * measured[name, size] for size in BATCHES])
    for name in names
}
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
ax.set_xscale("log", base=2)
ax = plots.curves(lines, "batch size B", "milliseconds", ax, log=True)
label = ax.set(xticks=BATCHES, xticklabels=BATCHES)

# %% [markdown]
# At the smallest batch all but one lie close together: what is measured there is the handful of calls, not the
# arithmetic. The exception is the memory, whose 5,000 inner products per image are there from the first image on. For
# the three dear ones the exponents of the table show from some size on, or more than that, where the numbers outgrow
# the processor's fast memory. Pairs within the batch and centres are so cheap that at these sizes theirs do not show.
# The times are this machine's and serve only to see the shape.
#
# Is any of it much? Count operations for one image instead of measuring time. In a batch of 128, an image has 128
# inner products of 48 numbers, forward; and the network, here MobileNetV2 for pictures of 128 pixels:

# %%
mobile = backbones.create("mobilenet_v2", (128, 128, 3)).eval()
with FlopCounterMode(display=False) as counter, torch.no_grad():
    mobile(torch.zeros(1, 3, 128, 128))
network_flops = counter.get_total_flops()
pair_flops = 2 * 128 * 48
print(f"network: {network_flops / 1e6:.0f} million operations per image")
share = round(network_flops / pair_flops, -3)
print(f"pairs:   {pair_flops:,} per image, or 1 in {share:,.0f}")

# %% [markdown]
# By arithmetic, pairs are nothing beside the network. On a GPU arithmetic is not the whole story, since each small call
# costs some microseconds however little it does. `benchmarks/losses.py` measures every loss of the package at several
# batch sizes and code lengths, and the step of MobileNetV2 at 128 pixels beside them, and says what share of the step
# a loss takes. It runs on a CPU too. On a large GPU it printed what `results/speed/` keeps; here is the share of a step
# that each loss with pairs takes, forward and backward:

# %%
printed = (
    (records.root() / "speed" / "losses-h100.txt").read_text().splitlines()
)
print(*printed[:3], sep="\n")
of_step, batch = {}, 0
for line in printed:
    if line.startswith("batches of") and "a step of the network" in line:
        batch = int(line.split()[2].rstrip(";"))
    elif line.count("%") == 2:  # 12 and 48 bits
        words = line[18:].split()
        of_step[line[:18].strip(), batch] = [
            float(word[:-1]) for word in words if word.endswith("%")
        ]

WITH_PAIRS = (
    "mu_liu",
    "csdh",
    "dsh",
    "dhn",
    "dpsh, batch",
    "dpsh, memory",
    "hashnet",
    "dch",
    "dsdh",
    "adsh",
)
table(
    [
        "share of a step",
        *(
            f"batch {batch}, {bits} bits"
            for batch in (128, 512)
            for bits in (12, 48)
        ),
    ],
    *[
        [
            name,
            *(
                f"{share:.1f} %"
                for batch in (128, 512)
                for share in of_step[name, batch]
            ),
        ]
        for name in WITH_PAIRS
    ],
)

# %% [markdown]
# Not nothing: a few hundredths of a step. In milliseconds it hardly depends on the batch or on the bits, so it is the
# calls that cost, not the arithmetic. DCH, whose formula makes the most of them, took more than a tenth in one case (since
# then it makes fewer).
#
# ## One of each kind, on digits
#
# Finally one member of each kind on `digits`, 16 bits, 12 epochs, one seed, with default settings (but DPSH takes its
# pairs from the batch). This is to see that every kind of supervision *works*, not which is best: one seed on a small
# set, with settings that nobody has tuned for it, decides nothing. {doc}`10_side_by_side` compares methods properly.

# %%
kinds = {
    "not trained": start,
    "pairs: DPSH in the batch": weighed[0.1],
    "triplets: DTSH": trained("dtsh"),
    "classes: GreedyHash": straight,
    "centres: CSQ": trained("csq"),
    "in turns: ADSH": opposed["ratio"],
    "codes first: CNNH": trained("cnnh"),
}
reports = {name: evaluate(method) for name, method in kinds.items()}

# %% mystnb={"image": {"alt": "A dot for each of seven codes on an axis of mAP from 0 to 1, with a line from the worst to the best order of ties. The untrained network is far to the left; all six trained ones are far to the right."}}
ax = draw.dots(
    {name: (r.map_worst, r.map, r.map_best) for name, r in reports.items()},
    "mAP on digits, 16 bits, one seed",
)

# %% [markdown]
# ## What we learned
#
# - Losses differ in what an image is compared with: with other images (pairs, triplets), with class vectors that are
#   learned along, with fixed centres, or with codes found before. The first two make a step depend on who else is in
#   the batch, the others do not.
# - On the common axis of agreement, likelihoods are switches at half the bits, margins end there exactly, the
#   exponential has faded there, the square does not end, and Cauchy's pull is strongest where similar images are close.
#   Where $K$ stands in the exponent, the loss changes with the code length.
# - More than half of the bits cannot be had by many classes, {eq}`eq:fl-room`. "Opposite" and "half" end in the same
#   place.
# - A quantisation term sees to it that bits are decided, not that they are decided well; too strong, it is content with
#   bits that are the same for everybody.
# - Losses of pairs and triplets have a saddle at zero, where noise decides the bits, one by one. Losses with
#   addresses have a slope. DCH and OrthoHash, which see only directions, have neither.
# - An asymmetric loss with $-1$ for all dissimilar pairs rewards one code for everything, {eq}`eq:fl-constant`.
# - Pairs cost $B^2$ and are cheap; triplets cost $B^3 / C$.
#
# ## The ledger
#
# Where each formula was seen, from the descriptions of the methods in the package. *Recalled* means: known from the
# literature, but neither the paper nor its authors' code was read for it here. Code that was read bears the name of
# its owner on GitHub. {doc}`../book/methods` has all methods of the package with their settings.


# %% tags=["hide-input", "nbval-ignore-output"]
def stands(name):
    """What the method's file says of its sources: marks, and links to code."""
    text = " ".join(
        import_module(f"hashlab.methods.{name}").__doc__.split()
    )
    links = list(
        dict.fromkeys(re.findall(r"https://github\.com/[\w./-]*\w", text))
    )
    said = [
        mark
        for mark in ("SEEN at second hand", "SEEN", "RECALLED", "INFERRED")
        if mark in text
    ]
    if "SEEN at second hand" in said and text.count("SEEN") == text.count(
        "SEEN at second hand"
    ):
        said.remove("SEEN")
    shown = " ".join(f"[{link.split('/')[3]}]({link})" for link in links)
    return ", ".join(word.lower() for word in said), shown


FAMILY = [
    "mu_liu",
    "csdh",
    "dsh",
    "dhn",
    "dpsh",
    "hashnet",
    "dch",
    "dtsh",
    "greedyhash",
    "dcwh",
    "shpdh",
]
FAMILY += [
    "classifier_sign",
    "csq",
    "dpn",
    "orthohash",
    "dsdh",
    "adsh",
    "cnnh",
]
ledger = {name: stands(name) for name in FAMILY}
table(
    [
        "method",
        "paper",
        "in the package",
        "what the file marks",
        "code that was read",
    ],
    *[
        [
            f"`{name}`",
            f"*{about.title}*, {about.paper}",
            about.status,
            *ledger[name],
        ]
        for name, about in ((name, methods.about(name)) for name in FAMILY)
    ],
)

# %% [markdown]
# Which constant, which weight and which balance was seen where stands at the head of each file,
# `src/hashlab/methods/NAME.py`. The pictures of this chapter, the saddle's rate, the constant's loss and the room for
# codes are worked out here and checked below.
#
# ## Exercises
#
# ### Exercise 1: one pair by hand
# Two images, one bit, DPSH's likelihood with $\Theta = u u' / 2$: $u = 2$, $u' = 1$, and the pair is dissimilar. What
# are the loss and the derivative by $u$? Where does descent take the two outputs, and where do they come to rest?
#
# <details class="solution"><summary>Solution</summary>
#
# $\Theta = 1$; the loss is $\log(1 + e) \approx 1.313$, its derivative by $u$ is $\sigma(1)\, u' / 2 \approx 0.366$.
# Both outputs fall. The second crosses 0 first; from then on $\Theta$ is negative, the first is pushed up, the second
# further down. They never rest: the loss goes on falling as $\Theta \to -\infty$, ever more slowly. A weight decay or
# a quantisation term is what stops them.
#
# </details>
#
# ### Exercise 2: three classes
# Three classes are to have codes of $K$ bits. How far apart can they be at most, if all three distances are equal?
# For which $K$ can it be reached exactly?
#
# <details class="solution"><summary>Solution</summary>
#
# By {eq}`eq:fl-room` the mean distance is at most $K \cdot 1 \cdot 2 / 3 = \frac23 K$. It is reached when $K$ is a
# multiple of 3: in the first third of the bits class A differs from B and C, in the second B, in the last C. Any
# two classes then differ in two thirds.
#
# </details>
#
# ### Exercise 3: arrows at right angles
# Show that the gradient of any loss that sees only the direction of $u$ is at right angles to $u$, and that it halves
# when $u$ is doubled.
#
# <details class="solution"><summary>Solution</summary>
#
# $L(r u) = L(u)$ for all $r > 0$. Differentiate by $r$ at $r = 1$: $u^{\mathsf T} \nabla L(u) = 0$. Differentiate by
# $u$ instead: $r\, \nabla L(r u) = \nabla L(u)$; put $r = 2$. This is the power $-1$ of OrthoHash and DCH.
#
# </details>
#
# ### Exercise 4: how many triplets
# How many triplets has a batch of $B$ images of $C$ classes with $B / C$ images each? Evaluate for $B = 128$, $C =
# 8$, and compare with the number of pairs.
#
# <details class="solution"><summary>Solution</summary>
#
# $B$ queries, $B/C - 1$ positives, $B - B/C$ negatives: $B \left( \frac BC - 1 \right) \left( B - \frac BC \right)$,
# about $\frac{B^3}{C} \left( 1 - \frac1C \right)$. For 128 and 8: $128 \cdot 15 \cdot 112 = 215{,}040$ triplets,
# against $128 \cdot 127 / 2 = 8{,}128$ pairs.
#
# </details>
#
# ### Exercise 5: the price of a constant
# Prove {eq}`eq:fl-constant`. For what share $p$ of similar pairs does the trap vanish?
#
# <details class="solution"><summary>Solution</summary>
#
# The mean square distance to a set of numbers is least at their mean, and what is left is their variance. $S$ is 1
# with share $p$ and $-1$ otherwise: mean $2p - 1$, mean square 1, variance $1 - (2p - 1)^2 = 4p(1-p)$. For $p =
# \frac12$ the best constant is $q = 0$ and gains nothing: with two classes of equal size there is no trap.
#
# </details>
#
# ### Exercise 6: a loss of your own
# Write a pair loss whose pull is the same for every pair that is not yet where it should be: similar pairs at
# distance 0, dissimilar ones at half of the bits or more. To which member of the family is it related? Draw its
# row on the common axis, and find its power at zero.
#
# <details class="solution"><summary>Solution</summary>
#
# $1 - a$ for similar pairs and $\max(a, 0)$ for others: DSH's loss divided by $K$, if all outputs have length $\sqrt
# K$. As a function of inner products it has a saddle, power 1. The folded cell checks both.
#
# </details>


# %% tags=["hide-cell"] jupyter={"source_hidden": true}
def hinged(u, y):
    a = u @ u.T / u.shape[1]
    losses = torch.where(pairs.similar(y), 1 - a, a.clamp(min=0))
    return pairs.mean(
        losses, pairs.similar(y), pairs.off_diagonal(len(u), u.device)
    )


alike = [
    np.allclose(
        48 * draw.pair_curve(hinged, same, 48, 1 - 2 * shares)[0],
        long["DSH"][kind][0],
    )
    for kind, same in KINDS.items()
]
power = draw.growth(lambda u: hinged(u, sixty), direction)
print(f"as DSH over K: {all(alike)}; power at zero {power:.2f}")

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %%
# Who pulls whom: the formulas of the arrows
arrows = draw.pulls(lambda u: in_batch(u, labels), z)
theta, similar = z @ z.T / 2, pairs.similar(labels).double()
apart = pairs.off_diagonal(9, z.device)
assert torch.allclose(
    arrows, (((similar - theta.sigmoid()) * apart) @ z) / (9 * 8)
)
q, p, n = z[one]
first, second = (
    torch.sigmoid(1 - x @ y / 2 + x @ n / 2) for x, y in ((q, p), (p, q))
)  # two triplets
assert torch.allclose(single[one[0]], (first * (p - n) + second * p) / 4)
assert torch.allclose(single[one[2]], -(first * q + second * p) / 4)
by_means = torch.softmax(-clouds.squared_distances(z, means) / 2, 1)
assert torch.allclose(
    class_wise["DCWH: means"][0] * 9, means[labels] - by_means @ means
)
assert torch.equal(
    class_wise["GreedyHash: classifier"][0][0],
    class_wise["GreedyHash: classifier"][0][1],
)
lengths = class_wise["GreedyHash: classifier"][0].norm(dim=1)
assert min(lengths[[0, 1, 6, 7]]) > lengths.max() / 3  # they are seen
assert torch.equal(*class_wise["GreedyHash: classifier"][0][[6, 7]])
assert (centre["OrthoHash: angles"][0] * z).sum(1).abs().max() < 1e-12
assert list(depends.values()) == [True] * 3 + [False] * 6

# Pair losses on one axis: codes, curves and the table of formulas agree
two_codes = torch.ones(2, 48).double()
for d in (6, 24, 40):
    two_codes[1, :d], two_codes[1, d:] = -1, 1
    a = 1 - 2 * d / 48
    formulas = {
        "Mu and Liu": (math.exp(-SCALE * a), math.exp(SCALE * a)),
        "DSH": (48 * (1 - a), max(48 * a, 0)),
        "DPSH, DHN": (
            math.log1p(math.exp(-24 * a)),
            math.log1p(math.exp(24 * a)),
        ),
        "HashNet": (
            math.log1p(math.exp(-10 * a)),
            math.log1p(math.exp(10 * a)),
        ),
        "DCH": (
            math.log1p(24 * (1 - a) / GAMMA),
            math.log1p(GAMMA / 24 / (1 - a)),
        ),
        "CSDH": ((1 - a) ** 2, a**2),
    }
    for name, values in formulas.items():
        for value, same in zip(values, KINDS.values(), strict=True):
            at_codes = PAIR_LOSSES[name](
                two_codes, torch.tensor([0, 0 if same else 1])
            ).item()
            on_curve = draw.pair_curve(PAIR_LOSSES[name], same, 48, [a])[0][
                0
            ]
            assert abs(at_codes - value) < 1e-6 * max(value, 1) and abs(
                on_curve - value
            ) < 1e-6 * max(value, 1)
assert (
    abs(dhn.dhn_loss(two_codes, ONE, weight=0) - in_batch(two_codes, ONE))
    < 1e-12
)
assert {name for name, by in moved.items() if by < 1e-9} == {
    "Mu and Liu",
    "DSH",
    "HashNet",
    "CSDH",
}
assert (
    at_ease["DPSH, DHN", "similar", 48] == 22
    and at_ease["DSH", "dissimilar", 48] == 24
)

middle = np.abs(shares - 0.5).argmin()
for kind, of_most in (("similar", 0.5), ("dissimilar", 0.0)):
    fading, straight_line = (
        np.abs(long[name][kind][1]) for name in ("Mu and Liu", "CSDH")
    )
    assert fading[middle] < 0.03 * fading.max()
    assert abs(straight_line[middle] / straight_line.max() - of_most) < 0.02
# back towards half from beyond
assert np.sign(long["CSDH"]["dissimilar"][1])[[0, -1]].tolist() == [1, -1]
at_zero = dch.dch_loss(torch.ones(2, 48).double(), TWO, GAMMA, weight=0)
assert abs(at_zero - math.log1p(GAMMA / 0.001)) < 1e-6  # the floor

# Room for codes
assert (
    abs(room(10) - 5 / 9) < 1e-12
    and room(2) == 1
    and abs(room(3) - 2 / 3) < 1e-12
)
assert largest == {3: 8, 4: 4, 5: 2, 6: 2} and all(
    largest[d] == bound[d] for d in bound
)
assert 2 * (6 // (2 * 6 - 10)) == 6  # three fifths of ten bits
assert 2 * (8 // (2 * 8 - 15)) == 16  # codes of 15 bits, 8 apart
rows_and_opposites = torch.cat(
    [codebooks.hadamard(16), -codebooks.hadamard(16)]
)
assert closest(rows_and_opposites) == 8 and len(rows_and_opposites) == 32
assert (
    all(chosen > coins for chosen, coins in nearest.values())
    and nearest[100, 16][0] < 8
)
assert nearest[10, 16] == (8, 3) and nearest[100, 64] == (32, 17)

# Quantisation: jumps at zero, Cauchy's indifference, the straight-through sign
before, after = np.searchsorted(outputs, [-0.005, 0.005]) - [1, 0]
jumps = {
    name: slope[before] - slope[after]
    for name, (_, slope) in penalties.items()
}
assert (
    list(jumps) == sorted(jumps, key=jumps.get, reverse=True)
    and jumps["Cauchy"] < 0.1
)
assert [name for name, pushed in sizes.items() if not pushed] == ["Cauchy"]
assert torch.equal(
    draw.pulls(lambda x: greedyhash.greedy_sign(x).sum(), zs),
    -torch.ones(len(zs)).double(),
)
assert near[1.0] > near[0.0] + 0.2 and near[10.0] > near[0.1] + 0.1
assert (
    maps[10.0] < 0.6 < min(maps[weight] for weight in (0.0, 0.1, 1.0))
    and maps[1.0] > maps[0.0] + 0.05
)
assert uneven[10.0] > uneven[1.0] + 0.08

assert [round(jump) for jump in jumps.values()][:3] == [6, 4, 2]

# Near zero
assert all(abs(power - round(power)) < 1e-3 for power in powers.values())
company = {
    name
    for name, (kind, _) in losses.items()
    if kind in ("pairwise", "triplet")
}
assert {
    name for name, power in powers.items() if round(power) == 1
} == company - {"DCH"}
assert {name for name, power in powers.items() if round(power) == -1} == {
    "DCH",
    "OrthoHash",
}
flipped = direction * torch.tensor([-1.0] + [1.0] * (K - 1)).double()
for name in company:
    assert abs(losses[name][1](direction) - losses[name][1](flipped)) < 1e-9
later = np.diff(list(steps.values()))
assert (
    abs(later - math.log(10) / math.log(1.05)).max() < 2
    and round(math.log(10) / math.log(1.05)) == 47
)
assert min(kept.values()) > 0.9 and reached > 0.99 and 0.35 < agree < 0.7
within = (
    noise
    - clouds.means(noise, hundred, torch.zeros(10, K).double())[hundred]
)
for part in (within, noise.mean(0).expand(100, K)):  # all else shrinks
    assert (
        (
            draw.pulls(lambda u: in_batch(u, hundred), 1e-6 * part) * part
        ).sum()
        < 0
    ).item()
assert f"{slope[7][2]:.5f}" == "0.00002"
assert [(s > 0).sum().item() for s in slope.values()] == [5, 4, 3]
wrong = draw.pulls(
    lambda x: csq.csq_loss(x, torch.ones(1, 1).double(), weight=0),
    torch.tensor([[-50.0]]),
)
assert abs(wrong.item() - 2) < 1e-9

# Balance
assert all(spread < 1e-4 * mean for mean, spread in rates.values())
assert (
    abs(rates["none"][0] - 9.5 / 9900) < 1e-7
    and abs(rates["halves"][0] - 1 / 360) < 1e-7
)
S = torch.where(
    pairs.similar(hundred), 1.0, -1.0
)  # ten classes, an image with itself too
assert (
    abs(S.var(unbiased=False).item() - 4 * 0.1 * 0.9) < 1e-6
    and abs(S.mean().item() - (2 * 0.1 - 1)) < 1e-6
)
assert distinct["one"] > 0.8 and distinct["ratio"] < 0.3
assert (
    evaluate(opposed["one"]).map < 0.3
    and evaluate(opposed["ratio"]).map > 0.6
)

# Cost, and one of each kind: these fail if the losses are replaced by zero
assert network_flops / pair_flops > 10_000
of_pairs = [
    share
    for name in WITH_PAIRS
    for batch in (128, 512)
    for share in of_step[name, batch]
]
assert (
    len(of_pairs) == 40
    and sorted(of_pairs)[-2] < 10 < max(of_pairs) == of_step["dch", 128][0]
)
assert measured["memory of 5,000 (DPSH)", 16] > measured["pairs (DPSH)", 16]
assert (
    measured["triplets (DTSH)", 256]
    > 4 * measured["centres (OrthoHash)", 256]
)
untrained, *others = (report.map for report in reports.values())
assert untrained < 0.4 and min(others) > 0.6

# The ledger and the exercises
assert {methods.about(m).kind for m in ("adsh", "cnnh", "dsdh")} == {
    "pairwise"
}
assert all(
    "seen" in ledger[name][0]
    for name in FAMILY
    if not name.startswith("classifier")
)
x = torch.tensor([[2.0], [1.0]]).double()
assert f"{in_batch(x, TWO).item():.3f}" == "1.313"
assert (
    f"{-draw.pulls(lambda u: in_batch(u, TWO), x)[0, 0].item():.3f}"
    == "0.366"
)
y = torch.arange(128) % 8
triplets = sum(
    int((y == c).sum() * ((y == c).sum() - 1) * (y != c).sum())
    for c in range(8)
)
assert triplets == 215_040 and math.comb(128, 2) == 8_128
assert all(alike)
print("every claim holds")
