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
# A network that hashes gives $K$ real numbers for an image, and their signs are its code. What it learns depends on the
# *loss*: the rule that looks at these numbers and at the labels, and says which number should go up and which should
# go down. The package has some twenty losses. On paper they look very different. This chapter asks one question of all
# of them: **who pulls an image, and where to?** Asked like that, they are a family of five
# branches ({numref}`fig:fl-kinds`).

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Imports and drawing", "image": {"alt": "Five sketches, each with an image of class A in the middle. Pairs: arrows lead to two other images of A, and dashed arrows come from two images of B. Triplets: one arrow to an image of A, one dashed arrow from an image of B. Classes: an arrow to the diamond of class A, dashed arrows from the diamonds of B and C. Centres: one arrow to a square, the code of A. Codes first: one arrow to a square, a code that the image has to itself."}, "figure": {"caption": "What an image of class A is compared with. Arrows lead to what pulls it; dashed ones come from what pushes it away.", "name": "fig:fl-kinds"}}
import math
from collections import Counter

import numpy as np
import torch

from hashlab import data, methods, plots
from hashlab.chapters import exercises, family
from hashlab.chapters.family import in_batch
from hashlab.chapters.figures import losses as draw
from hashlab.chapters.tables import source, table
from hashlab.losses import classes, clouds, codebooks, pairs
from hashlab.methods import adsh, cnnh, csq, dhn, dsh, dtsh, greedyhash
from hashlab.methods import dch, orthohash

figure = draw.kinds()

# %% [markdown]
# 1. [Who pulls whom](#sec:fl-kinds): an image and its five kinds of company.
# 2. [How hard](#sec:fl-pairs): all losses of pairs on one axis.
# 3. [How far](#sec:fl-room): how much room there is for the codes of classes.
#
# The signs do not appear in these questions, although search sees nothing else. What a loss does for the bits
# themselves is the next chapter, {doc}`09b_honest_bits`. Which loss is best takes a common protocol, and is the
# business of {doc}`10_side_by_side`. The losses of the five papers are derived in their own chapters; here they meet
# their relatives.
#
# | symbol | meaning |
# |---|---|
# | $u_i \in \mathbb{R}^K$ | what the loss sees of image $i$: the outputs $z_i$ of the network itself, unless said otherwise |
# | $s_{ij}$ | 1 if images $i$ and $j$ are similar (share a class), 0 if not |
# | $\Theta_{ij}$ | half the inner product of two outputs, $\tfrac12 u_i^{\mathsf T} u_j$ |
# | $a_{ij}$ | agreement, $u_i^{\mathsf T} u_j / K$: of codes 1 if they are equal, $-1$ if they are opposite |
# | $d_{ij}$ | their Hamming distance, $K (1 - a_{ij}) / 2$ |
# | $\mu_m \in \mathbb{R}^K$ | the vector that stands for class $m$: a row of a classifier's weights, a mean, or a fixed code |
#
# Table: Letters of this chapter. {doc}`../book/notation` has those of the whole book.
#
# Three functions return all the time. The *logistic function* $\sigma(x) = 1 / (1 + e^{-x})$ makes a probability of a
# number. The *logistic loss* $\log(1 + e^{x})$ is close to 0 for negative $x$ and close to $x$ for positive ones: a hinge
# whose corner is rounded off. *Cross-entropy* is minus the logarithm of the probability that a model gives to the
# right answer; with two answers it is a logistic loss.
#
# **No loss is typed twice.** What is drawn below comes from the functions that the package trains with, and arrows and
# slopes come from these by automatic differentiation. Where a formula is explained, its code is shown as it runs. Only
# the last cell writes formulas once more, to compare.
#
# (sec:fl-kinds)=
# ## Who pulls whom
#
# | kind | an image is compared with | it shall | members in the package |
# |---|---|---|---|
# | pairs | every other image of the mini-batch | agree with similar images, not with others | Mu and Liu, DSH, DHN, DPSH, HashNet, DCH, CSDH |
# | triplets | two others at once | be closer to the similar one than to the other | DTSH |
# | classes | classes that are learned along | be told apart by a classifier, or lie in the cloud of its class | GreedyHash, DCWH, SHPDH, a plain classifier |
# | centres | a fixed code for each class | become that code | CSQ, DPN, OrthoHash |
# | codes first | codes that were found before, in a discrete step | become its own code, agree with those of similar images | ADSH, CNNH; DSDH in part |
#
# Table: The five branches. (`hashlab methods` counts the three of the last kind among the pairwise ones, for their codes
# are learned from pairs.)
#
# To see them at work, take nine images of three classes and only two bits, so that outputs are points in the plane. A
# bit changes where an axis is crossed: the four quarters of the plane are the four codes.

# %%
POINTS = {
    "A": [(0.9, 0.5), (0.2, 1.1), (-0.5, 0.6)],
    "B": [(-1.0, 0.3), (-0.7, -0.6), (0.1, -0.4)],
    "C": [(0.6, -0.9), (1.1, -0.3), (-0.2, -1.1)],
}
z = torch.tensor([p for three in POINTS.values() for p in three])
z = z.double()  # (9, 2)
labels = torch.arange(3).repeat_interleave(3)


def pulls(loss):
    """Minus the gradient of a loss of (z, labels) at the points."""
    return draw.pulls(lambda u: loss(u, labels), z)  # (9, 2)


# %% [markdown]
# An arrow is minus the gradient: where a small step of gradient descent takes a point, if the point were free to go. (In
# a network it is not quite free: the weights move, and with them all points at once.) In each picture the longest arrow
# has the same length, so compare arrows within a picture, not between two. A point without an arrow is hardly pulled.
#
# ### Pairs
#
# DPSH {cite:p}`li2016dpsh`, and with it DHN {cite:p}`zhu2016dhn` and HashNet {cite:p}`cao2017hashnet`, says that two
# images are similar with probability $\sigma(\Theta_{ij})$, and takes the cross-entropy:
#
# $$ \begin{aligned}
# \ell_{ij} &= \log\left( 1 + e^{\Theta_{ij}} \right) - s_{ij}\, \Theta_{ij},
#    \qquad \Theta_{ij} = \tfrac12\, u_i^{\mathsf T} u_j , \\
# -\frac{\partial \ell_{ij}}{\partial u_i} &= \tfrac12 \left( s_{ij} - \sigma(\Theta_{ij}) \right) u_j .
# \end{aligned} $$ (eq:fl-likelihood)
#
# (HashNet has a constant of its own in place of the $\frac12$.) The second line says who pulls where. A similar partner
# pulls $u_i$ *in the direction of its own vector* $u_j$, and the harder the less sure the model is; a dissimilar one
# pushes the other way. In code the loss is a line:

# %%
source(pairs.likelihood_loss)

# %% [markdown]
# DSH {cite:p}`liu2016dsh` measures distances instead. A similar pair is drawn together along the line between the two. A
# dissimilar one is pushed apart along that line until its squared distance reaches a *margin*, here $2K$, and then it
# is left alone:
#
# $$ \begin{aligned}
# \ell_{ij} = {} & \tfrac12\, s_{ij}\, \lVert u_i - u_j \rVert^2 \\
#    & + \tfrac12 (1 - s_{ij}) \max\left( 2K - \lVert u_i - u_j \rVert^2,\, 0 \right) .
# \end{aligned} $$ (eq:fl-margin)
#
# `in_batch` is DPSH's loss: the mean of `likelihood_loss` over all pairs of the mini-batch.

# %% mystnb={"image": {"alt": "Two planes with the same nine points of three classes A, B and C, and an arrow at each. Left, DPSH: the arrows of a class lean towards a common direction, A upwards, B to the left, C to the lower right. Right, DSH: all arrows point outwards, away from the other classes, and those of one class fan out."}, "figure": {"caption": "Pairs. With DPSH the three points of a class lean towards a common direction; with DSH every point flees from the six of other classes, and the arrows fan out.", "name": "fig:fl-pairs-plane"}}
margin = {"m": 2 * 2, "alpha": 0}  # no penalty: the next chapter's matter
pairwise = {
    "DPSH: likelihood": (pulls(in_batch), None),
    "DSH: margin": (pulls(lambda u, y: dsh.dsh_loss(u, y, **margin)), None),
}
figure = draw.planes(pairwise, z, labels)

# %% [markdown]
# {numref}`fig:fl-pairs-plane` has both. With DSH the two partners of a point's own class, two against six, hold it back
# only a little. What happens when one
# kind of pair is rare is a section of {doc}`09b_honest_bits`.
#
# Both losses leave open *where* a class should go. No corner of the square is named in the formula; the classes sort it
# out among themselves.
#
# ### Triplets
#
# DTSH {cite:p}`wang2016dtsh` looks at three images: a query $q$, a positive $+$ of the same class, and a negative $-$ of
# another. The query shall agree with the positive more than with the negative, by a margin $\alpha$. How far this is
# from true goes into a logistic loss:
#
# $$ \begin{aligned}
# \ell_{q+-} &= \log\left( 1 + e^{\alpha - (\Theta_{q+} - \Theta_{q-})} \right), \\
# -\frac{\partial \ell_{q+-}}{\partial u_q} &\;\propto\; u_+ - u_- .
# \end{aligned} $$ (eq:fl-triplet)
#
# ($\propto$: equal up to a positive factor.)


# %% mystnb={"image": {"alt": "Two planes. Left, three images: the query and the positive of class A, the negative of class B. The arrows of query and positive cross over to the upper side of each other and away from the negative; the arrow of the negative points away from both. Right, all triplets of the nine points: outward arrows that are much like those of DPSH."}, "figure": {"caption": "Triplets. Three images at the left: each is a query in turn, so the positive is moved too. At the right all triplets of the nine.", "name": "fig:fl-triplets-plane"}}
def triplets(u, y):
    return dtsh.dtsh_loss(u, y, alpha=1.0, weight=0)


three = [0, 2, 5]  # query and positive of class A, negative of class B
single = torch.zeros_like(z)
single[three] = draw.pulls(lambda u: triplets(u, labels[three]), z[three])
names = dict(zip(("q", "+", "−"), z[three].tolist(), strict=True))
figure = draw.planes(
    {
        "DTSH: three images": (single, names),
        "DTSH: all triplets": (pulls(triplets), None),
    },
    z,
    labels,
)

# %% [markdown]
# In {numref}`fig:fl-triplets-plane` only differences of agreement count: add the same amount to both, and a triplet is as content as before. Similar pairs
# cannot be rare, as each triplet has one pair of either kind. The price is the number of triplets, which grows with the
# cube of the mini-batch.
#
# ### Classes
#
# The next kind does not compare images with each other at all. GreedyHash {cite:p}`su2018greedyhash` puts a linear
# classifier on the code itself and takes its cross-entropy; $\mu_m$ is the row of its weights for class $m$. DCWH
# {cite:p}`zhe2018dcwh` keeps the mean output $\mu_m$ of each class and asks that an image lie nearer to its own mean than
# to others, in the sense of Gaussian clouds around them ({doc}`04_shpdh` does this on several levels of a tree). For
# both, the arrow of an image of class $y_i$ is a difference of class vectors,
#
# $$ -\frac{\partial \ell_i}{\partial u_i} \;\propto\; \mu_{y_i} - \sum_{m=1}^{C} p_{im}\, \mu_m , $$ (eq:fl-classes)
#
# where $p_{im}$ is the probability that the model gives to class $m$: away from where the model thinks the image
# belongs, towards where it does belong.

# %% mystnb={"image": {"alt": "Two planes, each with the nine points and three crosses for the class vectors. Left, GreedyHash: two points of A in the upper right quarter have exactly the same arrow, and so have two points of C in the lower right one. Right, DCWH: crosses at the means of the classes, and arrows towards the own mean and away from the others."}, "figure": {"caption": "Classes. Crosses are the class vectors. GreedyHash's classifier sees only signs: two points of a class in the same quarter get exactly the same arrow.", "name": "fig:fl-classes-plane"}}
greedy = greedyhash.GreedyHashLoss(count=3, bits=2, alpha=0.0).double()
with torch.no_grad():
    rows = torch.tensor([[0.1, 0.5], [-0.4, -0.1], [0.4, -0.3]])
    greedy.classifier.weight.copy_(rows)
means = clouds.means(z, labels, torch.zeros(3, 2).double())  # (3, 2)


def dcwh(u, y):
    return clouds.class_wise_loss(u, y, means, s=1.0)


def marks(vectors):
    return dict(zip("ABC", vectors.tolist(), strict=True))


class_wise = {
    "GreedyHash: classifier": (pulls(greedy), marks(rows)),
    "DCWH: means": (pulls(dcwh), marks(means)),
}
figure = draw.planes(class_wise, z, labels)

# %% [markdown]
# How GreedyHash's arrow in {numref}`fig:fl-classes-plane` gets past the sign at all is a trick that {doc}`09b_honest_bits` explains. Where the class
# vectors go is learned: the classifier is trained along, the means move every epoch or two.
#
# ### Centres
#
# If all that matters is that each class ends with a code of its own, why not hand out the codes beforehand? CSQ
# {cite:p}`yuan2020csq`, DPN {cite:p}`fan2020dpn` and OrthoHash {cite:p}`hoe2021orthohash` do. The fixed code $\mu_m$ of
# class $m$ is called its *centre*, and hashing becomes a classification with known answers. CSQ asks of each bit whether
# it is that of the centre, with a logistic loss; here $u_i = \tanh z_i$. OrthoHash compares the angles between $u_i$ and all
# centres in a soft-max, the logistic function for more than two classes.

# %%
source(csq.csq_loss)

# %% mystnb={"image": {"alt": "Two planes with the nine points and three crosses at corners of the square, the codes of the classes. Left, CSQ: every arrow points to its corner's quarter; points on the wrong side have the longest arrows. Right, OrthoHash: every arrow is at right angles to the line from the origin to its point and turns it towards its corner."}, "figure": {"caption": "Centres. Every arrow knows its corner, the cross of its class. CSQ moves each bit by itself; OrthoHash turns an output and neither lengthens nor shortens it.", "name": "fig:fl-centres-plane"}}
torch.manual_seed(0)
central = csq.CSQLoss(count=3, bits=2, weight=0.0).double()
cosine = orthohash.OrthoHashLoss(count=3, bits=2).double()
cosine.o.copy_(central.centres)  # the same codes for both
crosses = marks(central.centres)
centre = {
    "CSQ: every bit by itself": (pulls(central), crosses),
    "OrthoHash: angles": (pulls(cosine), crosses),
}
figure = draw.planes(centre, z, labels)

# %% [markdown]
# The corner is not always a near one ({numref}`fig:fl-centres-plane`). The codes were handed out without a look at the images, and B, which sits at the
# left, has been given a corner at the right.
#
# ### Codes first, network second
#
# The last kind finds codes for the *training images* in a discrete step of its own, and lets the network follow them.
# CNNH {cite:p}`xia2014cnnh` does it once, before the network is trained, by factorising the matrix of similarities (as
# KSH does without a network, in {doc}`08_before_deep_learning`). ADSH {cite:p}`jiang2018adsh` takes turns: codes $b_j$ of
# all $N$ training images for given outputs of the network, then the network for given codes, with
#
# $$ \sum_{i,j} \left( u_i^{\mathsf T} b_j - K S_{ij} \right)^2
#    + \lambda \sum_i \lVert b_i - u_i \rVert^2 , $$ (eq:fl-asymmetric)
#
# where $u_i = \tanh z_i$, and $S_{ij}$ is 1 for similar images and negative for others. It is called asymmetric because the two sides of a
# pair are different things: an output that can move a little, and a code that can only flip. DSDH {cite:p}`li2017dsdh`
# does both: pairs of outputs, and a pull to codes that a linear classifier can read. {numref}`fig:fl-codes-plane` shows the
# first two.

# %% mystnb={"image": {"alt": "Two planes with the nine points and crosses at the corners where the discrete step put each class's codes. Left, ADSH, right, CNNH: arrows point towards the crosses of the point's own class, in ADSH less so for points that lie far out."}, "figure": {"caption": "Codes first. Crosses stand where the discrete step put most codes of a class; arrows lead there, be it near or far.", "name": "fig:fl-codes-plane"}}
places = torch.arange(9)  # of the nine in the training part
torch.manual_seed(2)
once = cnnh.CNNHLoss(labels, bits=2).double()
once.first_stage(sweeps=5)
in_turns = adsh.ADSHLoss(labels, bits=2, gamma=1.0).double()
in_turns.begin(z)
in_turns.renew()  # the discrete step


def corners(codes):
    """The commonest code of each class, as a mark."""
    names = {}
    for name, three in zip("ABC", codes.view(3, 3, 2), strict=True):
        ((corner, _),) = Counter(map(tuple, three.tolist())).most_common(1)
        names.setdefault(corner, []).append(name)
    return {" ".join(sharing): corner for corner, sharing in names.items()}


discrete = {
    "ADSH: in turns": (
        pulls(lambda u, y: in_turns(u, y, places)),
        corners(in_turns.b),
    ),
    "CNNH: codes first": (
        pulls(lambda u, y: once(u, y, places)),
        corners(once.codes),
    ),
}
figure = draw.planes(discrete, z, labels)

# %% [markdown]
# ### Company or address?
#
# Does it matter to an image who else is in the mini-batch? Leave one image out, the last of class C, and see whether the
# arrow of the first of class A turns.

# %% mystnb={"table": {"caption": "Whether the arrow of one image turns when another image leaves the mini-batch.", "name": "tbl:fl-company"}}
asked = {
    "pairs: DPSH": lambda u, y, i: in_batch(u, y),
    "pairs: DSH": lambda u, y, i: dsh.dsh_loss(u, y, **margin),
    "triplets: DTSH": lambda u, y, i: triplets(u, y),
    "classes: GreedyHash": lambda u, y, i: greedy(u, y),
    "classes: DCWH": lambda u, y, i: dcwh(u, y),
    "centres: CSQ": lambda u, y, i: central(u, y),
    "centres: OrthoHash": lambda u, y, i: cosine(u, y),
    "codes first: ADSH": in_turns,
    "codes first: CNNH": once,
}


def direction(loss, n):
    """Where the first image goes in a mini-batch of the first n."""
    moves = draw.pulls(lambda u: loss(u, labels[:n], places[:n]), z[:n])
    return moves[0] / moves[0].norm()


turns = {
    name: bool((direction(loss, 9) - direction(loss, 8)).norm() > 1e-9)
    for name, loss in asked.items()
}
table(
    ["loss", "the arrow turns"],
    *[[name, "yes" if yes else "no"] for name, yes in turns.items()],
)

# %% [markdown]
# Pairs and triplets are about *company*: what a step does depends on who else is there, so mini-batches must be large
# enough to hold similar images. The other three kinds are about *addresses*: an image learns from its class vector, its
# centre or its code, whoever else is there. Addresses must come from somewhere, of course: they are learned along,
# handed out, or computed. This one difference returns in {doc}`09b_honest_bits`, where it decides how bits begin.
#
# (sec:fl-pairs)=
# ## All losses of pairs on one axis
#
# Pairs are the largest branch. Give both outputs the length that codes have, $\sqrt K$. Then every such loss is a function
# of the agreement $a$ alone, and so of the distance $d = K (1 - a) / 2$:
#
# | loss | similar pair | dissimilar pair |
# |---|---|---|
# | Mu and Liu ({doc}`03_mu_liu`) | $e^{-c a}$ | $e^{c a}$ |
# | DSH | $K (1 - a)$ | $\max(K a, 0)$ |
# | DPSH, DHN | $\log(1 + e^{-K a / 2})$ | $\log(1 + e^{K a / 2})$ |
# | HashNet | $\log(1 + e^{-10 a})$ | $\log(1 + e^{10 a})$ |
# | DCH | $\log\left( 1 + d / \gamma \right)$ | $\log\left( 1 + \gamma / d \right)$ |
# | CSDH, our reading ({doc}`07_csdh`) | $(1 - a)^2$ | $a^2$ |
#
# Table: Losses of a pair as functions of agreement. $c$ is the scale of Mu and Liu, here 4; $\gamma$ is a Hamming
# distance, 20 bits by default. Of CSDH's two targets this is "half of the bits", which its chapter found the better one.
#
# {numref}`fig:fl-ridges` draws all of them at 48 bits, against the share of bits that differ. Each loss is stretched to
# run from 0 to 1. The right column is the *pull*: how steep the loss is, divided by its steepest. (The axis begins at
# 0.02 because DCH's loss of a dissimilar pair is infinite at distance 0.)

# %% mystnb={"image": {"alt": "Six rows, one per loss of pairs, and two columns over Hamming distance from 0 to 1 as a share of the code length. Left the losses: for similar pairs rising, for dissimilar pairs falling. Right the pulls. Mu and Liu: both pulls decay exponentially from the wrong end. DSH: constant pull on similar pairs, constant pull on dissimilar pairs up to half, then none. DPSH and HashNet: a step at one half, similar pairs are pulled above it and dissimilar ones below. DCH: both pulls are strongest at distance zero and fade. CSDH: both pulls are straight lines; similar pairs are pulled more the farther apart, dissimilar pairs the farther from half of the bits, on either side."}, "figure": {"caption": "Loss and pull of one pair at 48 bits. Likelihoods (DPSH, HashNet) are switches at half of the bits; DSH never lets go of a similar pair; DCH pulls hardest where similar codes are already close.", "name": "fig:fl-ridges"}}
shares = np.linspace(0.02, 0.98, 49)  # Hamming distance / K
long = family.pair_curves(48, shares)  # of family.PAIR_LOSSES
figure = draw.ridges(long, shares, "Hamming distance / K")

# %% [markdown]
# The right column, row by row:
#
# - **The exponential (Mu and Liu)** pulls the worst pairs most, and its pull fades as they get better. At $c = 4$ next
#   to nothing is left of it at half of the bits, for either kind.
# - **DSH** is the only one whose pull on similar pairs is the same at every distance, so they are drawn together to
#   the last bit. It alone leaves dissimilar pairs *exactly* in peace from half of the bits on.
# - **The likelihoods (DPSH, DHN, HashNet) are switches.** A similar pair is pulled only while *more* than about half of
#   its bits differ, a dissimilar one only while fewer do. They do not ask for equal codes, nor for opposite ones.
# - **DCH** {cite:p}`cao2018dch` turns the likelihood round. Its pull on similar pairs is strongest where they are already
#   close: it is made for search in a small ball. The farther similar pairs are apart, the more weakly they are called
#   back.
# - **The squared loss (CSDH)** pulls the worst pairs most, too, but its pull falls along a straight line and ends only
#   where codes are equal, or differ in half of their bits. A dissimilar pair beyond half is drawn back to it.
#
# ### What the code length does
#
# Look at the formulas once more: in four of them $K$ is gone once the loss is stretched to 0 to 1, in two it is not.
# {numref}`tbl:fl-lengths` says how far the stretched curves move between 48 and 12 bits, and from which distance on a
# loss is content: where it has less than a hundredth left of what there is to lose. (CSDH's dissimilar pairs are content
# around half of the bits only, and no longer far beyond. Distances here include 0, where DCH's loss of a dissimilar pair
# is kept finite by a floor of 0.001 under the distance.)

# %% tags=["hide-input"] mystnb={"table": {"caption": "How a loss of pairs depends on the code length: how far its stretched curve moves between 12 and 48 bits, and the distance up to which a similar pair, or from which a dissimilar one, is content.", "name": "tbl:fl-lengths"}}
short = family.pair_curves(12, shares)
moved = {
    name: max(
        np.abs(
            draw.unit(long[name][kind][0]) - draw.unit(short[name][kind][0])
        ).max()
        for kind in family.KINDS
    )
    for name in long
}
at_ease = {
    (name, kind, bits): family.content(name, kind, bits)
    for name in long
    for kind in family.KINDS
    for bits in (12, 48)
}
table(
    ["loss", "moves by", "similar: up to", "dissimilar: from"],
    *[
        [
            name,
            f"{moved[name]:.2f}",
            *(
                f"{at_ease[name, kind, 12]} of 12, {at_ease[name, kind, 48]} of 48"
                for kind in family.KINDS
            ),
        ]
        for name in moved
    ],
)

# %% [markdown]
# DPSH and DHN have $K$ in the exponent. At 12 bits they still distinguish between close and closer; at 48 bits their
# pull is nearly a step, and a similar pair that differs in 22 of 48 bits is as good as content. HashNet's constant takes
# this dependence out. DCH's $\gamma$ is nearly half of a code of 48 bits, and more than there are in a code of 12. A loss
# that was tuned at one length is not the same loss at another.
#
# (sec:fl-room)=
# ## How far apart can classes be?
#
# What a dissimilar pair is asked for differs: *opposite codes* (Mu and Liu), *half of the bits* (DSH and CSDH exactly;
# DHN, DPSH and HashNet in effect), *as far as possible* (DCH). Can it be had?
#
# Opposite codes can be had by two classes, not by three: what is opposite to A's code is one code, and B and C would
# share it. In general, a bit that is $+1$ for $g$ of the $C$ classes separates $g (C - g)$ pairs of classes, at most
# $\lfloor C/2 \rfloor \lceil C/2 \rceil$ of all $C (C-1)/2$. ($\lfloor x \rfloor$ is $x$ rounded down, $\lceil x \rceil$
# rounded up.) This holds for every bit, so the mean distance between two classes is at most
#
# $$ \bar d \;\le\; K \cdot \frac{\lfloor C/2 \rfloor \lceil C/2 \rceil}{C (C - 1) / 2} , $$ (eq:fl-room)
#
# which is $\frac{K}{2} \cdot \frac{C}{C - 1}$ for even $C$.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Largest possible mean distance between the codes of different classes, as a share of the bits, against the number of classes from 2 to 100. It starts at 1 for two classes, is two thirds for three and four, and falls quickly towards one half."}, "figure": {"caption": "The largest mean distance between the codes of classes falls quickly to half of the bits as classes become more.", "name": "fig:fl-room"}}
counts = [2, 3, 4, 5, 6, 8, 10, 20, 50, 100]
ax = plots.curves(
    {"at most": (counts, [family.room(count) for count in counts])},
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
# With ten classes the best mean is five ninths of the bits ({numref}`fig:fl-room`). So in the end *all* these losses ask for about the same:
# half of the bits, and a little more. "Opposite" and "half" differ only in how they treat unequal distances. A loss that
# is straight in $a$ does not care whether two classes share a code as long as the mean is right; one that bends cares
# ({doc}`03_mu_liu` has a run in which this decides everything).
#
# The *smallest* distance is the harder question, and an old one: coding theory asks how many words of $K$ bits there
# are with at least $d$ bits between any two. If $d$ is more than half of the bits, {eq}`eq:fl-room` has an answer, as
# the smallest distance is at most the mean one. It is known as Plotkin's bound {cite:p}`plotkin1960`:
#
# $$ C \;\le\; 2 \left\lfloor \frac{d}{2d - K} \right\rfloor . $$ (eq:fl-plotkin)
#
# For even $C$, $d \le \frac K2 \cdot \frac{C}{C-1}$ is the same as $\frac C2 \le \frac{d}{2d - K}$, and as the left side
# is an integer, the right one may be rounded down. (For odd $C$ the same steps give $C + 1$ in the place of $C$.) At three
# fifths of the bits this leaves room for six codes, however long they are. For six bits a computer can try everything:

# %% tags=["hide-input"] mystnb={"table": {"caption": "How many codes of six bits there are that differ from each other in so many bits.", "name": "tbl:fl-six-bits"}}
largest = {d: family.most(6, d) for d in (3, 4, 5, 6)}
bound = {d: family.plotkin(6, d) for d in (4, 5, 6)}
table(
    ["apart by", *(f"{d} or more" for d in largest)],
    ["found by trying", *largest.values()],
    ["Plotkin's bound", "", *bound.values()],
)

# %% [markdown]
# At half of the bits there is room for eight; one bit more, and there is room for four. This cliff at one half is general.
# At exactly half of the bits there is room for $2K$ codes wherever a *Hadamard matrix* of size $K$ exists, a matrix of
# signs in which any two rows differ in half of their places:

# %%
hadamard = codebooks.hadamard(4)
print(hadamard.int().numpy())
both = torch.cat([hadamard, -hadamard])  # rows and their opposites
print(len(both), "codes of 4 bits,", family.closest(both), "apart or more")

# %% [markdown]
# That is where CSQ takes its centres from, when $K$ is a power of two and there are at most $2K$ classes. Otherwise it
# draws codes with half of the bits set, each as far as possible from those before it. DPN and OrthoHash toss a fair coin
# for every bit. What is the difference?

# %% tags=["hide-input"] mystnb={"table": {"caption": "The smallest Hamming distance between the centres of two classes.", "name": "tbl:fl-centres"}}
nearest = {}
for count in (10, 100):
    for bits in (16, 48, 64):
        torch.manual_seed(0)
        chosen = codebooks.centres(count, bits)
        coins = classes.random_signs(count, bits)
        nearest[count, bits] = family.closest(chosen), family.closest(coins)
table(
    ["classes", "bits", "half of the bits", "CSQ", "fair coins"],
    *[
        [count, bits, bits // 2, *distances]
        for (count, bits), distances in nearest.items()
    ],
)

# %% [markdown]
# For ten classes and enough bits coins do well enough. For a hundred classes in 16 bits nothing finds room, since half
# of the bits can be had by $2K = 32$ codes and no more. A loss with fixed centres cannot mend this: the codes were handed
# out before the first image was seen, and cats may have got the code next to the one of trucks.
#
# ## One of each kind, on digits
#
# Do they all work? {numref}`fig:fl-digits` has one member of each kind on the 8×8 `digits`, with 16 bits, 12 epochs and default settings (but
# DPSH takes its pairs from the mini-batch). Four of five images that are searched were trained on. One seed on a small set, with settings that nobody has tuned for it, decides
# nothing about which is best.

# %%
digits = data.load("digits")
SHORT = {"epochs": 12, "batch_size": 64, "shift": 1}


def trained(name, **settings):
    settings = SHORT | settings
    return methods.create(name, 16, **settings).fit(digits.train)


kinds = {
    "not trained": trained("dpsh", epochs=0),
    "pairs: DPSH": trained("dpsh", pairs="batch"),
    "triplets: DTSH": trained("dtsh"),
    "classes: GreedyHash": trained("greedyhash"),
    "centres: CSQ": trained("csq"),
    "codes first: ADSH": trained("adsh"),
    "codes first: CNNH": trained("cnnh"),
}

# %% tags=["hide-input"] mystnb={"image": {"alt": "A dot for each of seven codes on an axis of mAP from 0 to 1, with a line from the worst to the best order of ties. The untrained network is far to the left; all six trained ones are far to the right."}, "figure": {"caption": "mAP of one seed on digits. Every kind of supervision works; the order among them means nothing here. Lines run from the worst to the best order of ties.", "name": "fig:fl-digits"}}
reports = {
    name: family.report(method, digits) for name, method in kinds.items()
}
ax = draw.dots(
    {name: (r.map_worst, r.map, r.map_best) for name, r in reports.items()},
    "mAP on digits, 16 bits, one seed",
)

# %% [markdown]
# ## What we learned
#
# - Losses differ in what an image is compared with: other images (pairs, triplets), class vectors that are learned
#   along, fixed centres, or codes found before. The first two make a step depend on who else is in the mini-batch, the
#   others do not.
# - On the common axis of agreement, likelihoods are switches at half the bits, margins end there exactly, the exponential
#   has faded there, the square does not end, and DCH's pull is strongest where similar images are close. Where $K$ stands
#   in the exponent, the loss changes with the code length.
# - More than half of the bits cannot be had by many classes, {eq}`eq:fl-room`. "Opposite" and "half" end in the same
#   place.
#
# **Open here:** which of them is best. **Next:** what becomes of the bits, in {doc}`09b_honest_bits`.
#
# (sec:fl-ledger)=
# ## The ledger
#
# Where each formula was seen, from the descriptions of the methods in the package. *Recalled* means: known from the
# literature, but neither the paper nor its authors' code was read for it here. Code that was read bears the name of
# its owner on GitHub. Which constant and which weight was seen where stands at the head of each file,
# `src/hashlab/methods/NAME.py`; {doc}`../book/methods` has all methods with their settings.

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"table": {"caption": "What the package's file of each method says of its sources.", "name": "tbl:fl-ledger"}}
FAMILY = ["mu_liu", "csdh", "dsh", "dhn", "dpsh", "hashnet", "dch", "dtsh"]
FAMILY += ["greedyhash", "dcwh", "shpdh", "classifier_sign", "csq", "dpn"]
FAMILY += ["orthohash", "dsdh", "adsh", "cnnh"]
ledger = {name: family.sources(name) for name in FAMILY}
table(
    ["method", "paper", "its formulas are", "code that was read"],
    *[
        [f"`{name}`", methods.about(name).paper, *ledger[name]]
        for name in FAMILY
    ],
)

# %% [markdown]
# ## Exercises
#
# ### Exercise 1: one pair by hand
# Two images, one bit, DPSH's loss {eq}`eq:fl-likelihood`: $u_i = 2$, $u_j = 1$, and the pair is dissimilar. What are the
# loss and its derivative by $u_i$? Where does descent take the two outputs, and where do they come to rest?
#
# <details class="solution"><summary>Solution</summary>
#
# $\Theta = 1$; the loss is $\log(1 + e) \approx 1.313$, its derivative by $u_i$ is $\sigma(1)\, u_j / 2 \approx 0.366$.
# Both outputs fall. The second crosses 0 first; from then on $\Theta$ is negative, the first is pushed up, the second
# further down. They never rest: the loss goes on falling as $\Theta \to -\infty$, ever more slowly. What stops them is a
# quantisation term, or a weight decay, which draws all weights towards 0.
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
# ### Exercise 3: no more than $2K$
# Show that codes of $K$ bits (even) of which any two differ in $K/2$ or more number at most $2K$. Use
# {eq}`eq:fl-plotkin` for codes of $K - 1$ bits.
#
# <details class="solution"><summary>Solution</summary>
#
# At least half of the codes agree in their first bit. Leave it out: these are codes of $K - 1$ bits, still $d = K/2$
# apart, and $2d - (K - 1) = 1$, so {eq}`eq:fl-plotkin` allows no more than $2 d = K$ of them. All codes are at most twice
# as many.
#
# </details>
#
# ### Exercise 4, in code: a likelihood
# Write DPSH's loss {eq}`eq:fl-likelihood` of one pair of outputs, given as lists of numbers.


# %%
def likelihood(u, v, similar):
    # your lines; u and v: K numbers each, similar: 1 or 0
    ...


pair_cases = (
    (([2.0], [1.0], 0), 1.3132617),
    (([2.0], [1.0], 1), 0.3132617),
    (([1, 1, -1, 1], [1, -1, -1, -1], 1), math.log(2)),
)
exercises.check(likelihood, *pair_cases)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def likelihood(u, v, similar):
    theta = sum(x * y for x, y in zip(u, v, strict=True)) / 2
    return math.log(1 + math.exp(theta)) - similar * theta


exercises.check(likelihood, *pair_cases, required=True)

# %% [markdown]
# ### Exercise 5, in code: the closest two
# Write the smallest Hamming distance between two rows of a matrix of signs. Then try `classes.random_signs(10, 16)`
# a few times: how lucky can coins be?


# %%
def closest_two(codes):
    # your lines; codes: (C, K) of -1 and +1
    ...


row_cases = (
    (([[1, 1, 1], [1, -1, -1]],), 2),
    ((codebooks.hadamard(16),), 8),
    (([[1, 1, 1, 1], [-1, -1, -1, -1], [1, 1, 1, -1]],), 1),
)
exercises.check(closest_two, *row_cases)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def closest_two(codes):
    codes = np.asarray(codes)
    differ = (codes[:, None] != codes[None]).sum(2)  # (C, C)
    return differ[~np.eye(len(codes), dtype=bool)].min()


exercises.check(closest_two, *row_cases, required=True)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true. Here it also writes the
# formulas of the text once more, and compares the package with them.

# %% tags=["hide-cell"] jupyter={"source_hidden": true}
# Who pulls whom: the formulas of the arrows
theta, similar = z @ z.T / 2, pairs.similar(labels).double()
apart = pairs.off_diagonal(9, z.device)
assert torch.allclose(
    pairwise["DPSH: likelihood"][0],
    (((similar - theta.sigmoid()) * apart) @ z) / (9 * 8),
)
squares = (z[:, None] - z[None]).square().sum(2)
by_hand = similar * squares + (1 - similar) * (4 - squares).clamp(min=0)
assert torch.allclose(
    dsh.dsh_loss(z, labels, **margin), by_hand[apart].mean() / 2
)
q, plus, minus = z[three]
first, second = (
    torch.sigmoid(1 - x @ y / 2 + x @ minus / 2)
    for x, y in ((q, plus), (plus, q))
)  # two triplets
assert torch.allclose(
    single[three[0]], (first * (plus - minus) + second * plus) / 4
)
assert torch.allclose(single[three[2]], -(first * q + second * plus) / 4)
by_means = torch.softmax(-clouds.squared_distances(z, means) / 2, 1)
assert torch.allclose(
    class_wise["DCWH: means"][0] * 9, means[labels] - by_means @ means
)
arrows = class_wise["GreedyHash: classifier"][0]
weights = rows.double()
by_signs = torch.softmax(torch.sign(z) @ weights.T, 1)
assert torch.allclose(
    arrows * 9, weights[labels] - by_signs @ weights, atol=1e-6
)
assert torch.equal(*arrows[[0, 1]]) and torch.equal(*arrows[[6, 7]])
lengths = arrows.norm(dim=1)
assert min(lengths[[0, 1, 6, 7]]) > lengths.max() / 3  # they are seen
assert (centre["OrthoHash: angles"][0] * z).sum(1).abs().max() < 1e-12
assert crosses["B"][0] > 0 and means[1, 0] < 0  # B's corner is far
assert list(turns.values()) == [True] * 3 + [False] * 6

# Losses of pairs: codes, curves and the table of formulas agree
SCALE, GAMMA = family.SCALE, family.GAMMA
assert (SCALE, GAMMA) == (4, 20)
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
        "DCH": (math.log1p(d / GAMMA), math.log1p(GAMMA / d)),
        "CSDH": ((1 - a) ** 2, a**2),
    }
    for name, values in formulas.items():
        loss = family.PAIR_LOSSES[name]
        for value, same in zip(values, family.KINDS.values(), strict=True):
            at_codes = loss(two_codes, torch.tensor([0, 0 if same else 1]))
            on_curve = draw.pair_curve(loss, same, 48, [a])[0][0]
            near = 1e-6 * max(value, 1)
            assert abs(at_codes.item() - value) < near
            assert abs(on_curve - value) < near
alike = torch.zeros(2).long()
assert torch.isclose(
    dhn.dhn_loss(two_codes, alike, weight=0), in_batch(two_codes, alike)
)
assert {name for name, by in moved.items() if by < 1e-9} == {
    "Mu and Liu",
    "DSH",
    "HashNet",
    "CSDH",
}
assert at_ease["DPSH, DHN", "similar", 48] == 22
assert at_ease["DSH", "dissimilar", 48] == 24
middle = np.abs(shares - 0.5).argmin()
for kind, of_most in (("similar", 0.5), ("dissimilar", 0.0)):
    fading, straight_line = (
        np.abs(long[name][kind][1]) for name in ("Mu and Liu", "CSDH")
    )
    assert fading[middle] < 0.03 * fading.max()
    assert abs(straight_line[middle] / straight_line.max() - of_most) < 0.02
back = np.sign(long["CSDH"]["dissimilar"][1])
assert back[[0, -1]].tolist() == [1, -1]  # back towards half from beyond
at_zero = dch.dch_loss(
    torch.ones(2, 48).double(), torch.arange(2), weight=0
)
assert abs(at_zero - math.log1p(GAMMA / 0.001)) < 1e-6  # a floor, no inf

# Room for codes
assert abs(family.room(10) - 5 / 9) < 1e-12 and family.room(2) == 1
assert abs(family.room(3) - 2 / 3) + abs(family.room(4) - 2 / 3) < 1e-12
assert largest == {3: 8, 4: 4, 5: 2, 6: 2}
assert all(largest[d] == bound[d] for d in bound)
assert family.plotkin(10, 6) == 6 and family.plotkin(15, 8) == 16
both = torch.cat([codebooks.hadamard(16), -codebooks.hadamard(16)])
assert family.closest(both) == 8 and len(both) == 32
assert all(chosen > coins for chosen, coins in nearest.values())
assert nearest[100, 16][0] < 8
assert nearest[10, 16] == (8, 3) and nearest[100, 64] == (32, 17)

# One of each kind; this fails if the losses are replaced by zero
untrained, *others = (report.map for report in reports.values())
assert untrained < 0.4 and min(others) > 0.6

# The ledger and the exercises
assert {methods.about(m).kind for m in ("adsh", "cnnh", "dsdh")} == {
    "pairwise"
}
assert all("seen" in ledger[m][0] for m in FAMILY if m != "classifier_sign")
x = torch.tensor([[2.0], [1.0]]).double()
unlike = torch.arange(2)
pushed = draw.pulls(lambda u: in_batch(u, unlike), x)
assert f"{in_batch(x, unlike).item():.3f}" == "1.313"
assert f"{-pushed[0, 0].item():.3f}" == "0.366"
print("every claim holds")
