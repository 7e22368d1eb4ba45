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
# # Hashing before deep learning
#
# Before networks learned features and codes together, the features were given: a vector of numbers for every image,
# made by hand or by a network trained for something else. The question was how to turn vectors into bits. The answers
# came within fifteen years, from LSH in 2002 to COSDISH in 2016. They are still worth knowing, for three reasons.
# They take seconds. They are what a deep method must beat on its own features. And many losses of deep hashing are
# one of these ideas with a network put under it.
#
# This chapter draws nine of them in two dimensions, where one can see what a bit does, derives each in a few lines,
# and then runs all of them on real digits. It uses codes, Hamming distance and mean average precision (mAP) as
# {doc}`01_hamming_space` introduces them. From linear algebra you need eigenvectors and the singular value
# decomposition, from machine learning principal components and ridge regression.
#
# | symbol | meaning |
# |---|---|
# | $x_i \in \mathbb{R}^d$ | the features of row $i$; $X$ holds all $N$ rows, $\bar x$ is their mean |
# | $K$ | number of bits |
# | $f_k$ | the real function behind bit $k$ |
# | $b_i \in \{-1, +1\}^K$ | the code of row $i$, $b_{ik} = \operatorname{sign} f_k(x_i)$; $B$ holds all codes, $N \times K$ |
# | $y_i$, $Y$ | the label of row $i$; $Y$ is $N \times C$, with a 1 in the column of the row's class |
# | $S$ | similarity of two rows, $+1$ if they share a class and $-1$ if not |
# | $w_k$; $W$ | the normal of a line, as in LSH; in SDH a linear classifier |
# | $v_k$; $V$ | the $k$-th principal axis; coordinates of all rows along the first $K$ of them, $N \times K$ |
# | $R$; $R_k$ | in ITQ a rotation; in KSH what the bits before the $k$-th have left over |
# | $\Omega$, $\Gamma$ | in COSDISH the rows that are sampled, and all others |
#
# As everywhere in this book, the bit is 1 where $f_k(x) \ge 0$, so $\operatorname{sign} 0 = +1$.

# %%
import time
from functools import partial
from itertools import pairwise, product

import matplotlib.pyplot as plt
import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics.pairwise import rbf_kernel

from hashlab import codes, data, methods, metrics, plots, records, shallow
from hashlab.chapters import comparison
from hashlab.chapters.differences import difference
from hashlab.chapters.figures import shallow as figures
from hashlab.chapters.tables import source, table
from hashlab.chapters.tables import spread as over_seeds
from hashlab.errors import InputError
from hashlab.shallow import algebra, base, cosdish, itq, ksh, sdh, sh

# %% [markdown]
# ## A bit is a line
#
# Take a real function $f_k$ of the features. The set $f_k(x) = 0$ is a line in the plane, a surface in more
# dimensions. On one side the bit is 1, on the other it is 0. With $K$ functions the plane falls into *cells*, and all
# rows in one cell get the same code. Step across one line and one bit changes. That is the whole geometry of hashing,
# and the methods differ in one thing: how they choose their lines.
#
# Four small data sets will show it. Three of them look like this; the fourth comes with the methods that need it.

# %% tags=["hide-input"]
rng = np.random.default_rng(0)


def turned(X, degrees):
    """Rows (N, 2), turned about the origin."""
    a = np.deg2rad(degrees)
    return X @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


def on_circle(count, rng):
    """Eight clumps in four classes; clumps opposite to each other share one."""
    place = rng.integers(0, 8, count)
    angle = np.pi * (place / 4 + 1 / 8)
    clumps = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return clumps + 0.25 * rng.standard_normal((count, 2)), place % 4


ellipse = turned(rng.standard_normal((300, 2)) * [3, 1], 30) + np.array(
    [4, 2]
)

centres = np.repeat([(1.2, 0), (0, 0.9), (-1.2, 0), (0, -0.9)], 60, axis=0)
diamond = turned(centres + 0.15 * rng.standard_normal((240, 2)), 20)

layer = np.repeat([0, 1], 150)
height = 1.6 * (layer - 0.5) + 0.3 * rng.standard_normal(300)
layers = turned(np.stack([2.5 * rng.standard_normal(300), height], 1), 30)

circle, place = on_circle(400, rng)

# %% mystnb={"image": {"alt": "Three scatter plots. The ellipse is one long cloud, tilted. The diamond is four round clumps at the corners of a tilted diamond. The layers are two long thin clouds, one class above the other."}}
shapes = {
    "ellipse": (ellipse, None),
    "diamond": (diamond, None),
    "layers": (layers, layer),
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, (name, (X, labels)) in zip(axes, shapes.items(), strict=True):
    figures.scatter(ax, X, labels)
    ax.set(
        title=name,
        aspect="equal",
        xticks=[],
        yticks=[],
        xlabel="first feature",
        ylabel="second feature",
    )

# %% [markdown]
# ## Random lines: LSH
#
# The simplest choice is none: take the lines at random. *Locality-sensitive hashing* {cite:p}`charikar2002similarity`
# draws a vector $w_k$ of independent standard normal numbers and asks on which side of the line through $\bar x$ with
# normal $w_k$ a row lies:
#
# $$ f_k(x) = w_k^{\mathsf T} (x - \bar x), \qquad w_k \sim \mathcal{N}(0, I) . $$ (eq:shallow-lsh)
#
# (The mean is taken off by us. Features such as pixels are never negative; seen from the origin they all lie in one
# direction, and most lines through the origin pass them by.) The method is two lines of code:

# %%
source(shallow.LSH._fit, base.LinearHasher._outputs)

# %% mystnb={"image": {"alt": "Two panels with the ellipse. On the left four lines through its middle cut the plane into eight wedges. On the right are twelve lines and many narrow wedges."}}
lsh = {
    f"LSH, {bits} bits": shallow.LSH(bits=bits).fit(ellipse)
    for bits in (4, 12)
}
figure = figures.cell_maps(lsh, ellipse)

# %% [markdown]
# Each line bears the number of its bit, and two cells that meet at a line differ in shade. All
# lines pass through the mean, so the cells are wedges: LSH sees the *direction* of a row from the mean, and not how far out
# it lies. Of the twelve random lines some nearly coincide. Nothing has been learned, and yet there is a guarantee.
#
# ### What random lines guarantee
#
# Take two rows, seen from the mean as vectors $x$ and $x'$ with an angle $\theta$ between them. A line through the
# origin gives them different bits exactly when it passes between them.

# %% mystnb={"image": {"alt": "Two arrows x and x′ from the origin with the angle theta between them, and twelve evenly spaced lines through the origin. The solid lines are those that pass between the arrows; the dashed ones leave both on one side."}}
ax = figures.separated(0.9)

# %% [markdown]
# The direction of the line is uniform over the half circle, $\pi$, and an arc of length $\theta$ of it separates the
# two. In more dimensions only the part of $w$ in the plane of $x$ and $x'$ matters for the two signs, and its
# direction is uniform too, because the normal distribution is the same in all directions. So
#
# $$ P\left( b_k(x) = b_k(x') \right) = 1 - \frac{\theta}{\pi} . $$ (eq:shallow-collision)
#
# The expected Hamming distance of two codes is $K \theta / \pi$: it *measures the angle*. With $K$ independent bits,
# the share that agrees scatters around $p = 1 - \theta/\pi$ with standard deviation $\sqrt{p (1 - p) / K}$. Counted
# on pairs of vectors in 64 dimensions:


# %% mystnb={"image": {"alt": "The share of equal bits against the angle from 0 to 180 degrees. The formula is a straight line from one to zero. Dots for 4096 bits lie on it; triangles for 32 bits scatter around it by up to a tenth or two."}}
def pair_at(angle, rng, size=64):
    """Two random directions with this angle between them, (2, size)."""
    u, v = np.linalg.qr(rng.standard_normal((size, 2)))[0].T
    return np.stack([u, np.cos(angle) * u + np.sin(angle) * v])


angles = np.linspace(0.05, 0.95, 19) * np.pi
pairs = [pair_at(angle, rng) for angle in angles]


def agreement(bits):
    """Share of equal bits of each pair."""
    found = [
        shallow.LSH(bits=bits, center=False).fit(X).transform(X)
        for X in pairs
    ]
    return np.array([(first == second).mean() for first, second in found])


agreed = {bits: agreement(bits) for bits in (4096, 32)}
dots = {
    f"{bits} bits": (np.rad2deg(angles), share)
    for bits, share in agreed.items()
}
promised = 1 - angles / np.pi
ax = figures.measured(
    (np.rad2deg(angles), promised),
    dots,
    "angle θ (degrees)",
    "share of equal bits",
)

# %%
error = {
    bits: np.abs(share - promised).max() for bits, share in agreed.items()
}
four = {
    bits: 4 * np.sqrt(promised * (1 - promised) / bits) for bits in agreed
}
within = {
    bits: (np.abs(share - promised) < four[bits]).sum()
    for bits, share in agreed.items()
}
for bits, count in within.items():
    print(
        f"{bits} bits: {count} of {len(angles)} pairs"
        " within four standard deviations of the formula"
    )

# %% [markdown]
# The guarantee is about *many* bits. Thirty-two of them tell a right angle from a small one, and little more
# ([exercise 1](#sec:shallow-exercise-1)). This is why so much work went into choosing lines well: to say the same with
# fewer bits.
#
# ## Random waves: SKLSH
#
# LSH measures angles. {cite:t}`raginsky2009sklsh` measure distances instead, with a *wave* in place of a line:
#
# $$ \begin{aligned}
# f_k(x) &= \cos( w_k^{\mathsf T} x + \beta_k ) + t_k, \\
# w_k &\sim \mathcal{N}(0, \gamma I), \quad \beta_k \sim \mathcal{U}[0, 2\pi], \quad t_k \sim \mathcal{U}[-1, 1] .
# \end{aligned} $$ (eq:shallow-sklsh)
#
# The bit is 1 on stripes that repeat for ever. Narrow stripes ($\gamma$ large) tell near rows apart, and confuse rows
# that are a whole wave away.

# %% mystnb={"image": {"alt": "Two panels with the ellipse under SKLSH with three bits. On the left, with a small gamma, three wide stripes cross the plane; on the right, with gamma sixteen times as large, each bit has many narrow parallel stripes, and the cells are small and many."}}
waves = {
    f"SKLSH, 3 bits, γ = {g}": shallow.SKLSH(
        bits=3, gamma=g, random_state=4
    ).fit(ellipse)
    for g in (0.05, 0.8)
}
figure = figures.cell_maps(waves, ellipse)

# %% [markdown]
# What is the chance that two rows get different bits? Fix the two phases $a = w^{\mathsf T} x + \beta$ and
# $a' = w^{\mathsf T} x' + \beta$. The threshold $t$ falls between the cosines with probability
# $\tfrac12 |\cos a - \cos a'|$, which is $|\sin \tfrac{a + a'}{2}|\,|\sin \tfrac{a - a'}{2}|$. The random $\beta$
# turns the first factor into its mean, $2/\pi$. What is left is $\tfrac{2}{\pi} |\sin \tfrac{\Delta}{2}|$ with
# $\Delta = w^{\mathsf T} (x - x')$. The Fourier series
# $|\sin \tfrac{\Delta}{2}| = \tfrac{4}{\pi} \sum_{m \ge 1} \frac{1 - \cos m\Delta}{4 m^2 - 1}$ and the mean of a
# cosine of a normal variable, $\mathbb{E} \cos m \Delta = e^{-\gamma m^2 \|x - x'\|^2 / 2}$, give
#
# $$ P\left( b_k(x) \ne b_k(x') \right) = \frac{8}{\pi^2} \sum_{m=1}^{\infty}
#    \frac{1 - e^{-\gamma m^2 \|x - x'\|^2 / 2}}{4 m^2 - 1} . $$ (eq:shallow-kernel)
#
# The terms are Gaussian kernels of the distance. Again we count:


# %% mystnb={"image": {"alt": "The share of differing bits against the distance of two rows, from 0 to 4. The formula rises steeply, bends at a distance of about 1.5, and levels off at 0.405; dots counted with 4096 bits lie on it."}}
def differ(distance, gamma=1.0):
    """Equation (eq:shallow-kernel)."""
    m = np.arange(1, 400)
    terms = (1 - np.exp(-gamma * (m * distance) ** 2 / 2)) / (4 * m**2 - 1)
    return 8 / np.pi**2 * terms.sum()


apart = np.linspace(0.1, 4, 14)
counted = []
for distance in apart:
    X = np.array([[0.0, 0.0, 0.0], [0.6 * distance, 0.0, 0.8 * distance]])
    first, second = shallow.SKLSH(bits=4096, gamma=1.0).fit(X).transform(X)
    counted.append((first != second).mean())
curve = np.array([differ(distance) for distance in apart])
x_name = "distance of two rows, for γ = 1"
ax = figures.measured(
    (apart, curve),
    {"4096 bits": (apart, counted)},
    x_name,
    "share of differing bits",
)

# %% [markdown]
# Codes measure the distance of near rows, and beyond about $2/\sqrt\gamma$ all rows are equally far, at
# $4/\pi^2 \approx 0.405$ of the bits. That is fine for finding near-duplicates, and a loss for whoever wants to rank
# far neighbours. The package takes the mean distance to the 50th neighbour, and sets $\gamma$ to 1 over its square.
#
# ## The directions of the data: PCAH
#
# Random lines do not look at the data. The plainest method that does takes the *principal axes*: the eigenvectors
# $v_1, v_2, \dots$ of the covariance, along which the rows vary most.
#
# $$ f_k(x) = v_k^{\mathsf T} (x - \bar x) . $$ (eq:shallow-pcah)
#
# A line across a direction of large variance separates rows that are far apart, and the principal components are
# uncorrelated, so no two bits say the same: two good reasons. (It is the unsupervised half of {cite:t}`wang2010ssh`,
# and came to be called PCAH.) There are two catches. First, there are at most $d$ axes, and so at most $d$ bits.
# Second, the axes are unequal: the first may carry most of the variance and the last next to none, and yet each gets
# one bit, and each bit counts the same in a Hamming distance.
#
# ## Waves along the axes: SH
#
# *Spectral hashing* {cite:p}`weiss2008spectral` gives a long axis more than one bit. It starts from a wish. Let
# $A_{ij}$ be large for rows that are near each other, say $A_{ij} = e^{-\|x_i - x_j\|^2 / 2\varepsilon^2}$; near rows
# shall have near codes, every bit shall be balanced, and no two bits shall be correlated:
#
# $$ \min_B \; \sum_{i,j} A_{ij} \| b_i - b_j \|^2, \qquad \sum_i b_i = 0, \qquad B^{\mathsf T} B = N I . $$ (eq:shallow-sh)
#
# With bits this is a problem of cutting graphs, and NP-hard. Let the entries of $B$ be real numbers,
# and it becomes easy: the sum is $2 \operatorname{tr} B^{\mathsf T} L B$ with the graph's *Laplacian* $L = D - A$
# ($D$ is diagonal and holds the row sums of $A$), and the best columns are the eigenvectors of $L$ with the smallest
# eigenvalues after the constant one. But an eigenvector has a value for each training row, and none for a new row. So
# the paper asks what the eigenvectors become when the rows fill a box evenly, with sides $[\ell, \ell + h]$ along
# each axis. They become cosine waves,
#
# $$ \phi_m(x) = \cos\left( m \pi \, \frac{x - \ell}{h} \right), \qquad
#    \text{eigenvalues that grow with } \left( \frac{m \pi}{h} \right)^2 , $$ (eq:shallow-wave)
#
# and a wave can be computed anywhere. Try it: rows evenly spaced on a line, their graph, its eigenvectors.

# %%
spaced = (np.arange(200) + 0.5) / 200
A = np.exp(-((spaced[:, None] - spaced) ** 2) / (2 * 0.02**2))
values, vectors = np.linalg.eigh(np.diag(A.sum(1)) - A)
likeness = {
    m: abs(np.corrcoef(vectors[:, m], np.cos(m * np.pi * spaced))[0, 1])
    for m in (1, 2, 3)
}
for m, found in likeness.items():
    print(
        f"eigenvector {m} and the wave with m = {m}: correlation {found:.3f}"
    )
grown = values[2:4] / values[1]
print(
    f"eigenvalues 2 and 3 over the first: {grown[0]:.1f} and {grown[1]:.1f};"
    " the squares of m are 4 and 9"
)

# %% [markdown]
# The method: find the principal axes, lay a box around the rows, sort the waves of all axes by $m / h$, keep the
# smoothest $K$, and take their signs. (Products of waves along two axes are eigenfunctions too; they are left out,
# because the sign of a product says nothing new once the signs of the factors are known.)

# %%
source(sh.smoothest)

# %% mystnb={"image": {"alt": "Two panels with the ellipse. On the left PCAH with two bits: one line across the long axis and one along it. On the right SH with three bits: parallel lines across the long axis, one in the middle for the first bit and one on each side of it for the second, and lines along the long axis for the third, one of them through its middle."}}
axes_and_waves = {
    "PCAH, 2 bits": shallow.PCAH(bits=2).fit(ellipse),
    "SH, 3 bits": shallow.SH(bits=3).fit(ellipse),
}
figure = figures.cell_maps(axes_and_waves, ellipse)

# %% tags=["hide-input"]
spectral = axes_and_waves["SH, 3 bits"]
for bit, (axis, mode) in enumerate(
    zip(spectral.axis_, spectral.mode_, strict=True), 1
):
    print(
        f"bit {bit}: wave {mode} along the {('long', 'short')[axis]} axis"
    )

# %% [markdown]
# The long axis gets two bits before the short one gets its first, and two bits on one axis tell four stretches of it
# apart. (Outside the box the waves go on, and so do the lines.) What one pays: real data do not fill a box evenly, and the ends of the box are the most extreme rows of
# the training set.
#
# (sec:shallow-itq)=
# ## Turning the axes: ITQ
#
# The other answer to unequal axes is to *turn* them. Let $V \in \mathbb{R}^{N \times K}$ hold the coordinates of
# all rows along the first $K$ principal axes, the *principal components*, and $R$ any orthogonal matrix. $V R$ has the same distances and the same total variance as $V$; a
# rotation changes nothing but where the signs cut. So which rotation cuts best? *Iterative quantisation*
# {cite:p}`gong2011itq` says: the one for which rounding to $\pm 1$ loses least,
#
# $$ \min_{B, R} \; J = \| B - V R \|^2, \qquad B \in \{-1, +1\}^{N \times K}, \qquad R^{\mathsf T} R = I . $$ (eq:shallow-itq)
#
# Written out, $J = N K + \|V\|^2 - 2 \operatorname{tr} B^{\mathsf T} V R$. Only the last term can change, and it is
# improved in two steps that take turns.
#
# 1. **$R$ fixed.** The trace is a sum of $b_{ik} (V R)_{ik}$, so $B = \operatorname{sign}(V R)$, and the trace is the
#    sum of all $|(VR)_{ik}|$. The best rotation keeps the outputs away from zero, where a small change flips a bit.
# 2. **$B$ fixed.** This is the *orthogonal Procrustes problem*. With the singular value decomposition $B^{\mathsf T} V
#    = U_1 \Sigma U_2^{\mathsf T}$ the trace is $\operatorname{tr} \Sigma\, (U_2^{\mathsf T} R\, U_1)$. The matrix in brackets is orthogonal, so
#    none of its entries exceeds 1, and the trace is largest when it is the identity:
#
# $$ R = U_2 U_1^{\mathsf T} . $$ (eq:shallow-procrustes)
#
# Neither step can raise $J$.

# %%
source(itq.rotate)

# %% mystnb={"image": {"alt": "Two panels with the diamond of four clumps. On the left PCAH: its two lines run right through the clumps. On the right ITQ: its two lines are turned by about 45 degrees and run between the clumps, so that each clump has a cell of its own."}}
turning = {
    "PCAH, 2 bits": shallow.PCAH(bits=2).fit(diamond),
    "ITQ, 2 bits": shallow.ITQ(bits=2).fit(diamond),
}
figure = figures.cell_maps(turning, diamond)

# %% [markdown]
# The principal axes point at the clumps, and so the lines of PCAH cut each clump in two: neighbours get codes that
# differ. The next figure shows the outputs of both, each row with a line to the corner that it is rounded to. The sum
# of the squared lengths of these lines is $J$; above each panel stands its mean, $J / N$.

# %% mystnb={"image": {"alt": "The outputs of PCAH and of ITQ for the diamond, with the four corners of the square from minus one to one. Under PCAH the clumps lie on the axes, and lines run from each to two corners. Under ITQ each clump lies near a corner of its own, and the lines are short."}}
outputs = {
    name.split(",")[0]: model.decision_function(diamond)
    for name, model in turning.items()
}
figure = figures.to_corners(outputs)

# %%
rounding = {
    name: ((base.signs(V) - V) ** 2).sum() for name, V in outputs.items()
}
by_absolutes = {
    name: V.size + (V**2).sum() - 2 * np.abs(V).sum()
    for name, V in outputs.items()
}
for name in rounding:
    print(
        f"{name}: J = {rounding[name]:.1f}, and from the sum of absolute"
        f" outputs {by_absolutes[name]:.1f}"
    )

# %% [markdown]
# ### Variance per bit
#
# On real data the clumps are less obliging, and another effect of the rotation counts as well: it *evens out the
# variances*. Here are the 1,200 training digits with 16 bits (`digits`: real handwritten digits of 8×8 pixels, 64
# features). A control takes a rotation at random: it is ITQ before its first round, and known as PCA with random
# rotation.

# %% mystnb={"image": {"alt": "Variance of the output against the number of the bit, 1 to 16. PCAH starts far above the others and falls to a small fraction; the random rotation scatters around the common mean, and ITQ stays close to it for all bits."}}
digits = data.load("digits")
pixels = {
    name: getattr(digits, name).images.reshape(-1, 64) / 255
    for name in ("train", "query", "database")
}
linear = {
    name: getattr(shallow, name)(bits=16).fit(pixels["train"])
    for name in ("PCAH", "PCARotation", "ITQ")
}
spread = {
    name: model.decision_function(pixels["train"]).var(0)
    for name, model in linear.items()
}
names = {"PCAH": "PCAH", "PCARotation": "turned at random", "ITQ": "ITQ"}
lines = {names[name]: (range(1, 17), v) for name, v in spread.items()}
ax = plots.curves(lines, "bit", "variance of the output")
_ = ax.set_xticks(range(1, 17, 3))

# %%
for name, v in spread.items():
    ratio = v.max() / v.min()
    times = f"{ratio:.{0 if ratio > 10 else 1}f}"
    print(
        f"{name}: total {v.sum():.2f},"
        f" the largest is {times} times the smallest"
    )

# %% [markdown]
# The total is the same for all three, as it must be. Under PCAH the first four bits carry more than half of it, and
# the last ones are spent on directions that hardly vary. After a random rotation bits are far more even than before, and
# after ITQ they carry nearly the same, which is what codes want whose bits all count the same. How much it is worth shows [below](#sec:shallow-digits): there, even
# the random rotation is far better than the bare axes.
#
# ## Why labels help: CCA-ITQ
#
# PCAH, SH and ITQ take it that what varies most matters most. It need not be so. In the `layers` the classes differ
# along the *short* axis:

# %% mystnb={"image": {"alt": "Two panels with the two layers, one bit each. On the left ITQ: its line runs across both layers and splits each class in half. On the right CCA-ITQ: its line runs between the layers and separates the classes."}}
one_bit = {
    "ITQ, 1 bit": shallow.ITQ(bits=1).fit(layers),
    "CCA-ITQ, 1 bit": shallow.CCAITQ(bits=1).fit(layers, layer),
}
figure = figures.cell_maps(one_bit, layers, layer)

# %% [markdown]
# *Canonical correlation analysis* looks for directions $w$ in which features go together with labels: the correlation
# of $w^{\mathsf T} x$ with the best linear function of $y$ shall be as large as possible. With the covariances
# $C_{xx}$, $C_{yy}$, $C_{xy}$ of features and labels (each of the first two plus a little, $\rho I$, so that they can
# be inverted), the directions and their correlations $\lambda$ solve
#
# $$ C_{xy}\, C_{yy}^{-1}\, C_{yx}\; w = \lambda^2\, C_{xx}\, w . $$ (eq:shallow-cca)
#
# CCA-ITQ {cite:p}`gong2011itq` takes these directions in place of the principal axes, each scaled by its
# $\lambda$, and then turns them as before. For class labels it is an old friend: the directions are those of *linear
# discriminant analysis*.

# %%
ours = one_bit["CCA-ITQ, 1 bit"].weights_[:, 0]
lda = LinearDiscriminantAnalysis().fit(layers, layer).coef_[0]
cosine = abs(ours @ lda) / np.linalg.norm(ours) / np.linalg.norm(lda)
right = {
    name: (model.transform(layers)[:, 0] == layer).mean()
    for name, model in one_bit.items()
}
print(f"CCA and linear discriminant analysis: cosine {cosine:.4f}")
for name, share in right.items():
    share = max(share, 1 - share)
    print(
        f"{name}: the bit separates the classes in {share:.0%} of all rows"
    )

# %% [markdown]
# There are at most $C - 1$ such directions for $C$ classes. Ask for more bits, and the rotation spreads what there is
# over all of them. (Like the other methods with labels below, it also takes images with several labels.)
#
# ## Bent lines: KSH
#
# Lines are not always enough. In the `circle` below, clumps that lie opposite to each other share a class, so the
# mean of every class is in the middle, and there is no direction that goes with the labels. What bends a
# line is a *kernel*. Choose $m$ training rows as *anchors* $z_1, \dots, z_m$, describe every row by how near it is to
# each, and take linear functions of that:
#
# $$ f_k(x) = \sum_{j=1}^{m} a_{jk} \left( \kappa(x, z_j) - \bar\kappa_j \right), \qquad
#    \kappa(x, z) = e^{-\gamma \|x - z\|^2} , $$ (eq:shallow-kernels)
#
# with $\bar\kappa_j$ the mean over the training rows. *Supervised hashing with kernels* {cite:p}`liu2012ksh` learns
# the $a_{jk}$ from pairs. The inner product of two codes is $K$ when all bits agree and $-K$ when none does, so ask
# for
#
# $$ \min \; \| K S - B B^{\mathsf T} \|^2 . $$ (eq:shallow-ksh)
#
# $B B^{\mathsf T}$ is the sum of $b_k b_k^{\mathsf T}$ over the columns of $B$, and they are found one after another.
# With $R_k = K S - \sum_{j<k} b_j b_j^{\mathsf T}$, what the bits so far have left over,
#
# $$ \| R_k - b\, b^{\mathsf T} \|^2 = \| R_k \|^2 - 2\, b^{\mathsf T} R_k\, b + N^2 , $$ (eq:shallow-greedy)
#
# so the next bit maximises $b^{\mathsf T} R_k\, b$ over $b = \operatorname{sign}(\bar{\mathcal K} a)$, where
# $\bar{\mathcal K} \in \mathbb{R}^{N \times m}$ holds the centred kernels. As always it is the sign that stands in
# the way, and KSH goes round it twice. First it leaves the sign out: maximise
# $a^{\mathsf T} \bar{\mathcal K}^{\mathsf T} R_k \bar{\mathcal K} a$ at fixed length of $\bar{\mathcal K} a$, an
# eigenvalue problem. Then it starts from that solution and climbs by gradient steps, with a smooth curve,
# $\varphi(u) = \tanh(u/2)$, in place of the sign. The better of the two is kept:

# %%
source(ksh.greedy)

# %% [markdown]
# A mistake is not lost. What a bit gets wrong stands in $R_k$ with more weight than before, and the bits that follow
# can mend it. The squared distance {eq}`eq:shallow-ksh` as bits are added,
# as a share of $\|K S\|^2$:

# %%
kernel_hash = shallow.KSH(bits=12, anchors=60).fit(circle, place)
B = base.signs(kernel_hash.decision_function(circle))  # (400, 12)
S = np.where(place[:, None] == place, 1.0, -1.0)
left = [
    ((12 * S - B[:, :k] @ B[:, :k].T) ** 2).mean() / 12**2
    for k in range(13)
]
for k in (0, 3, 6, 9, 12):
    print(f"left over after {k} bits: {left[k]:.1f}")

# %% [markdown]
# It does not go to 0, and cannot: four classes cannot all be opposite to each other. By the argument of the second
# exercise in {doc}`03_mu_liu` the inner products of four codes are at least $-K/3$ on average, which leaves about a
# third of $\|KS\|^2$. Twelve bits found one after another come close to it.

# %% [markdown]
# ## Discrete from the start: SDH
#
# *Supervised discrete hashing* {cite:p}`shen2015sdh` turns the task round: codes are good if a *linear classifier*
# can read the labels from them. Codes, classifier and hash functions are learned together,
#
# $$ \min_{B, W, P} \; \| Y - B W \|^2 + \lambda \|W\|^2 + \nu \| B - \Phi P \|^2, \qquad B \in \{-1, +1\}^{N \times K} , $$ (eq:shallow-sdh)
#
# where $\Phi$ holds the kernels of all rows to the anchors and a column of ones. With two of the three fixed, each
# has a simple answer: $W$ is a ridge regression, and so is $P$, with a small ridge of ours that the equation leaves out.
# For $B$, the paper's point is to *keep it discrete*. Look at
# one column $b$ of $B$, with $w$ its row of $W$, and let $B', W'$ be the rest. In
# $\|Y - B' W' - b\, w^{\mathsf T}\|^2$ the square of the last term is $N \|w\|^2$ whatever the signs, so only terms
# linear in $b$ are left, and every entry of $b$ can be chosen on its own:
#
# $$ b = \operatorname{sign}\left( q - B' W' w \right), \qquad q \text{ the column of } Q = Y W^{\mathsf T} + \nu\, \Phi P . $$ (eq:shallow-dcc)
#
# This is the best column there is. Then comes the next, again and again, until no bit changes:

# %%
source(sdh.cyclic_descent)

# %% [markdown]
# Is it worth the trouble? The alternative is to *relax*: let $B$ be real, solve, and take signs at the end. And as
# every row of $B$ is a problem of its own while $W$ and $P$ stay, with eight bits we can even try all $2^8$ codes for
# each row and know the best. First a single step, with $W$ and $P$ fitted to random codes of the 1,200 digits, and once
# more for five other draws of these codes:


# %%
def relaxed(B, W, Q):
    return base.signs(Q @ np.linalg.inv(W @ W.T + NU * np.eye(len(W))))


def bit_by_bit(B, W, Q):
    return sdh.cyclic_descent(B, W, Q, sweeps=10)


def all_tried(B, W, Q):
    every = np.array(list(product([-1.0, 1.0], repeat=len(W))))  # (256, 8)
    costs = ((every @ W) ** 2).sum(1) - 2 * Q @ every.T  # (N, 256)
    return every[costs.argmin(1)]


def objective(B, W, P):
    """Equation (eq:shallow-sdh) with λ = 1."""
    return (
        ((Y - B @ W) ** 2).sum()
        + (W**2).sum()
        + NU * ((B - phi @ P) ** 2).sum()
    )


NU = 1e-5
WAYS = {
    "relaxed": relaxed,
    "bit by bit": bit_by_bit,
    "all 256 tried": all_tried,
}
Y = np.eye(10)[digits.train.labels]
hasher = shallow.SDH(bits=8, anchors=100).fit(
    pixels["train"], digits.train.labels
)
phi = np.column_stack(
    [
        rbf_kernel(pixels["train"], hasher.anchors_, hasher.gamma_),
        np.ones(len(Y)),
    ]
)
regress = algebra.ridge_solver(phi, 1e-2)
starts = [
    base.signs(np.random.default_rng(seed).standard_normal((len(Y), 8)))
    for seed in range(6)
]


def one_step(start):
    """For each way: share of what there is to gain, share of best codes."""
    W, P = algebra.ridge(start, Y, 1.0), regress(start)
    found = {
        name: step(start, W, Y @ W.T + NU * phi @ P)
        for name, step in WAYS.items()
    }
    best = found["all 256 tried"]
    low, high = objective(best, W, P), objective(start, W, P)
    return {
        name: (
            (high - objective(B, W, P)) / (high - low),
            (best == B).all(1).mean(),
        )
        for name, B in found.items()
    }


stepped = [one_step(start) for start in starts]
table(
    ["one step", *(f"start {seed}" for seed in range(6))],
    *[
        [f"{name}: {what}", *(f"{one[name][i]:.0%}" for one in stepped)]
        for name in ("relaxed", "bit by bit")
        for i, what in enumerate(("gained", "rows with their best code"))
    ],
)

# %% [markdown]
# In one step rounding gains about a half to three quarters of what there is to gain, and few rows or none get their
# best code; bit by bit finds it for nearly all of them, from every start. But the steps take turns, and $W$ and $P$
# adapt to whatever codes they are given. After five rounds:


# %%
def learn(step, start, rounds=5):
    """The objective after some rounds, and how many different codes."""
    B = start
    for _ in range(rounds):
        W, P = algebra.ridge(B, Y, 1.0), regress(B)
        B = step(B, W, Y @ W.T + NU * phi @ P)
    value = objective(B, algebra.ridge(B, Y, 1.0), regress(B))
    return value, len(np.unique(B, axis=0))


learned = {
    name: [learn(step, start) for start in starts]
    for name, step in WAYS.items()
}
table(
    ["five rounds: objective, codes", *(f"start {s}" for s in range(6))],
    *[
        [name, *(f"{value:.0f}, {count}" for value, count in found)]
        for name, found in learned.items()
    ],
)

# %% [markdown]
# Now neither way is reliably ahead. What is fixed early stays: a way that ends with fewer than ten codes has put two
# classes or more on one and the same code, and no query can tell them apart again. That happens to both; where bit by
# bit loses classes, so does the search through all codes, so it is the turns that are to blame and not the step. Note
# also that there are never more codes than classes. With a $\nu$ this small the codes come from the labels alone,
# and all rows of a class get the same.
#
# ## Sampled columns: COSDISH
#
# *Column sampling based discrete supervised hashing* {cite:p}`kang2016cosdish` wants what KSH wants,
# $B B^{\mathsf T}$ near $K S$, and the codes discrete as in SDH. The matrix $S$ has $N^2$ entries; COSDISH draws
# $K$ rows $\Omega$ at a time and looks at the $K$ columns of $S$ that belong to them, $S_\Omega \in \mathbb{R}^{N
# \times K}$, and at their codes $B_\Omega$,
#
# $$ \min_B \; \| K S_\Omega - B\, B_\Omega^{\mathsf T} \|^2 , $$ (eq:shallow-cosdish)
#
# and takes turns: the codes of the sampled rows, bit after bit, by a method with a guarantee; then the codes of all
# others, $\Gamma$, whose best code is a vote of the sampled rows, $B_\Gamma = \operatorname{sign}(S_\Gamma B_\Omega)$
# with $S_\Gamma$ the rows of $S_\Omega$ that belong to them. (So that both kinds of pairs weigh the same, $S$ has a smaller
# number in place of $-1$ here.)
# {doc}`05_mlsh` takes it apart step by step, because the method of that chapter is built on it. What it says about
# hash functions is short: ridge regression of the codes on the features. A line, then.

# %%
source(cosdish.improve, shallow.COSDISH._regress)

# %% [markdown]
# ## Three ways round a circle
#
# Here are the three on the `circle`, four bits each, and COSDISH once more with the kernels as its features.


# %% mystnb={"image": {"alt": "Four panels with eight clumps on a circle in four classes, opposite clumps sharing a class. KSH draws bent lines that give opposite clumps the same code. SDH's bent lines separate most classes. COSDISH draws straight lines through the middle, which give opposite clumps opposite codes. COSDISH on kernels draws bent lines again."}}
class OnKernels:
    """COSDISH on kernels to the anchors of an estimator, not on features."""

    def __init__(self, like, X, y, bits):
        self.like = like
        self.hasher = shallow.COSDISH(bits=bits).fit(self.kernels(X), y)

    def kernels(self, X):
        return rbf_kernel(X, self.like.anchors_, self.like.gamma_)

    def decision_function(self, X):
        return self.hasher.decision_function(self.kernels(X))


def four_ways(bits):
    """The estimators with labels on the circle."""
    k = shallow.KSH(bits=bits, anchors=60).fit(circle, place)
    return {
        "KSH": k,
        "SDH": shallow.SDH(bits=bits, anchors=60).fit(circle, place),
        "COSDISH": shallow.COSDISH(bits=bits).fit(circle, place),
        "COSDISH on kernels": OnKernels(k, circle, place, bits),
    }


figure = figures.cell_maps(four_ways(4), circle, place)

# %% [markdown]
# (sec:shallow-outside)=
# ### From training rows to all others
#
# The picture shows a step that is easy to forget. COSDISH first finds codes of the *training rows*, from labels
# alone, and only then fits a function from features to these codes, the *out-of-sample extension*. With its small
# $\nu$, SDH does very nearly the same. If the function cannot follow, the best codes are of no use to a new row. How
# often does the function get a bit of these codes wrong, and what is left for a new row?


# %% tags=["nbval-ignore-output"]
def retrieval(model, bits):
    """mAP of 400 fresh rows as queries; the training rows are the database."""
    query, truth = on_circle(400, np.random.default_rng(1))
    found = [
        codes.pack(model.decision_function(X) >= 0) for X in (query, circle)
    ]
    return metrics.evaluate(*found, truth, place, bits=bits).map


def disagreement(model):
    """Share of bits of training rows that learned codes and function differ in."""
    hasher = getattr(model, "hasher", model)
    learned = getattr(hasher, "codes_", None)
    return (
        None
        if learned is None
        else (learned != (model.decision_function(circle) >= 0)).mean()
    )


def among_themselves(model):
    """mAP of the learned codes of the training rows, each asked against all."""
    packed = codes.pack(getattr(model, "hasher", model).codes_)
    return metrics.evaluate(packed, packed, place, place, bits=16).map


longer = four_ways(16)
carried = {
    name: (disagreement(model), retrieval(model, 16))
    for name, model in longer.items()
}
inner = {
    name: among_themselves(longer[name])
    for name, (d, _) in carried.items()
    if d is not None
}
table(
    [
        "circle, 16 bits",
        "mAP among learned codes",
        "bits the function gets wrong",
        "mAP of new rows",
    ],
    *[
        [
            name,
            *(
                (f"{inner[name]:.2f}", f"{d:.0%}")
                if name in inner
                else ("no such codes",) * 2
            ),
            f"{m:.2f}",
        ]
        for name, (d, m) in carried.items()
    ],
)

# %% [markdown]
# COSDISH's learned codes are faultless, and its line gets nearly every second bit of them wrong: no better than a
# coin. On kernels the codes are followed well. A reported figure can hide this: if the database is ranked by its
# *learned* codes, the labels of the database go into the ranking, and nothing has to be followed but the queries.
# Here every code comes from the function, and the labels of the database are for the judge alone.
#
# | carried to new rows by | methods |
# |---|---|
# | nothing to carry: the function is drawn at random | LSH, SKLSH |
# | a linear function of the features | PCAH, ITQ, CCA-ITQ, COSDISH |
# | waves along principal axes | SH |
# | a linear function of kernels to anchors | KSH, SDH |
#
# (sec:shallow-digits)=
# ## All of them on digits
#
# Now the nine methods and two controls on the 64 pixels of `digits`, at 24 bits: 1,200 digits to learn from, 300
# queries, 1,497 digits to search. To be quick, KSH has 150 anchors here and SDH 300, fewer than by default. The two controls tell what a number is worth. *Random codes* know nothing: their
# mAP is about the share of relevant digits in the database. *PCA with random rotation* knows the features and nothing
# else.

# %% tags=["nbval-ignore-output"]
BITS, SMALLER = 24, {"ksh": {"anchors": 150}, "sdh": {"anchors": 300}}


def learning(name):
    method = methods.create(name, BITS, **SMALLER.get(name, {}))
    return method.fit(digits.train, seed=0)


def encoding(method):
    return [method.encode(part) for part in (digits.query, digits.database)]


def fastest(work, times=3):
    """What some work gives, and its seconds: the fewest of several runs."""
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - begun)
    return result, min(spent)


fitted, seconds, reports = {}, {}, {}
for name in methods.SHALLOW:
    times = 1 if name == "ksh" else 3
    fitted[name], to_learn = fastest(partial(learning, name), times)
    packed, to_encode = fastest(partial(encoding, fitted[name]))
    seconds[name] = to_learn, to_encode
    reports[name] = metrics.evaluate(
        *packed, digits.query.labels, digits.database.labels, bits=BITS
    )

TITLES = {
    "random": "random codes (control)",
    "pca_rotation": "PCA, random rotation (control)",
    "lsh": "LSH",
    "sklsh": "SKLSH",
    "pcah": "PCAH",
    "sh": "SH",
    "itq": "ITQ",
    "cca_itq": "CCA-ITQ",
    "ksh": "KSH",
    "sdh": "SDH",
    "cosdish": "COSDISH",
}
table(
    [
        "digits, 24 bits, seed 0",
        "learns from labels",
        "mAP",
        "precision within radius 2",
    ],
    *[
        [
            title,
            "yes" if fitted[name].hasher.supervised else "no",
            f"{reports[name].map:.3f}",
            f"{reports[name].precision_radius2:.3f}",
        ]
        for name, title in TITLES.items()
    ],
)

# %% [markdown]
# This is one seed on one small set: a look, not a ranking. {doc}`10_side_by_side` compares these methods, and the
# deep ones, on CIFAR-10 with three seeds and settings chosen for each. But the large differences have the reasons
# that we have seen. The same numbers as a picture; a line runs from the worst order of ties to the best:

# %% mystnb={"image": {"alt": "A row for each method with a dot at its mAP. Random codes are at one tenth. SKLSH, PCAH, SH and LSH follow, then PCA with random rotation and ITQ; the four methods that learn from labels are at the top, SDH and KSH close to one."}}
rows = {
    TITLES[name]: (r.map_worst, r.map, r.map_best)
    for name, r in reports.items()
}
ax = plots.ladder(
    rows, "mAP on digits, 24 bits", stress=TITLES["pca_rotation"]
)

# %% mystnb={"image": {"alt": "Two panels of precision against recall. Above, without labels: random codes are flat at one tenth, and all others begin high and fall to one tenth, ITQ latest and SKLSH first. Below, with labels: SDH and KSH stay at precision one until nearly everything relevant is found; CCA-ITQ falls earlier and COSDISH earlier still; PCA with random rotation falls from the start."}}
panels = {
    "without labels": [
        "itq",
        "pca_rotation",
        "lsh",
        "sh",
        "pcah",
        "sklsh",
        "random",
    ],
    "with labels": ["ksh", "sdh", "cca_itq", "cosdish", "pca_rotation"],
}
# The first three have their colours of "Variance per bit"; further down, two
# methods share a colour that never meet in one panel.
alone = ["pcah", "pca_rotation", "itq"]
shared = [("lsh", "ksh"), ("sh", "sdh"), ("sklsh", "cca_itq")]
painted = dict(
    zip([(n,) for n in alone] + shared, plots.palette(6), strict=True)
)
painted["random", "cosdish"] = "0.2"
short_title = {name: title.split(" (")[0] for name, title in TITLES.items()}
colours = {
    short_title[n]: colour
    for names, colour in painted.items()
    for n in names
}
figure, axes = plt.subplots(2, 1, figsize=(6, 8), layout="constrained")
for ax, (name, chosen) in zip(axes, panels.items(), strict=True):
    figures.precision_recall(
        {short_title[m]: reports[m] for m in chosen}, ax, colours
    )
    ax.set_title(name)

# %% [markdown]
# ### What each costs
#
# Seconds on the machine that made this page (with 150 and 300 anchors for KSH and SDH), the fastest of three runs (one
# run of learning for KSH); they are not compared when the book is tested. And how many numbers have to be kept to encode a
# new image, which follows from the formulas.

# %% tags=["nbval-ignore-output"]
arrays = {
    "random": ("key_",),
    "lsh": ("weights_", "mean_"),
    "sklsh": ("directions_", "phases_", "thresholds_"),
    "sh": ("axes_", "low_", "frequencies_", "axis_", "mode_"),
    "ksh": ("anchors_", "weights_", "offset_"),
    "sdh": ("anchors_", "weights_", "offset_"),
}
linear_ones = ("pca_rotation", "pcah", "itq", "cca_itq", "cosdish")
arrays |= dict.fromkeys(linear_ones, ("weights_", "mean_"))
kept = {}
for name, keys in arrays.items():
    found = fitted[name].hasher.fitted_arrays()
    kept[name] = sum(np.size(found[key]) for key in keys)
table(
    [
        "digits, 24 bits",
        "learning (s)",
        "encoding 1,797 digits (s)",
        "numbers kept",
    ],
    *[
        [title, *(f"{s:.3f}" for s in seconds[name]), f"{kept[name]:,}"]
        for name, title in TITLES.items()
    ],
)

# %% [markdown]
# KSH learns longest, for it climbs by gradient steps, bit after bit. For linear methods the work is a product with a
# matrix, whatever the number of training rows; kernel methods also compare every new row with each of their anchors.
# On larger data the script `benchmarks/shallow.py` times them all.
#
# ### More bits than directions
#
# Ask PCAH or ITQ for more bits than the training rows have directions, and there is nothing to take them from. The
# package says so in one sentence, as it does for other things that cannot work:


# %%
def refuse(what, work):
    try:
        work()
    except InputError as error:
        print(f"{what}:\n    {error}")


X, y = pixels["train"], digits.train.labels
refuse("65 bits from 64 pixels", lambda: shallow.ITQ(bits=65).fit(X))
refuse(
    "64 bits: three pixels are never inked",
    lambda: shallow.PCAH(bits=64).fit(X),
)
refuse(
    "more anchors than rows",
    lambda: shallow.SDH(bits=8, anchors=2000).fit(X, y),
)
refuse("one class", lambda: shallow.KSH(bits=8).fit(X, np.zeros_like(y)))
refuse(
    "rows that are all alike",
    lambda: shallow.LSH(bits=8).fit(np.ones((50, 64))),
)
refuse("no labels", lambda: shallow.COSDISH(bits=8).fit(X))
more = {
    name: getattr(shallow, name)(bits=96).fit(X).transform(X[:1]).shape[1]
    for name in ("LSH", "SKLSH", "SH")
}
print("96 bits from 64 pixels, where a method can:", more)

# %% [markdown]
# ## Which one when
#
# - **No labels, any length of code, and a guarantee:** LSH. Nothing is learned, so little can go wrong, and the more
#   bits the nearer to the angle.
# - **No labels, short codes:** ITQ. If it does not beat PCA with a random rotation on your features, learning the
#   rotation gains you nothing.
# - **No labels, few dimensions:** SH, which can take many bits from a long axis.
# - **Near-duplicates:** SKLSH, whose distances level off where nothing is near any more.
# - **Labels, and features from the last layer of a network**, which tell classes apart already: CCA-ITQ, whose lines
#   are straight, with a strong ridge. In the table below, with $\rho = 1$, it is above SDH and COSDISH; against KSH that is
#   open at 24 bits, but KSH learns and encodes far more slowly there. With its default, $\rho = 0.0001$, it found held-out images
#   worse than any of the three ({doc}`10_side_by_side`).
# - **Labels, and features that do not,** such as pixels: KSH or SDH. Both need anchors, and so more memory, and with a
#   thousand anchors, as in the table below, more time per query.
# - **Before you believe in a deep method:** run ITQ, and one of those with labels, on its own features.
#   {doc}`09_family_of_losses` shows what networks add, {doc}`10_side_by_side` how much.
#
# Here are the four with labels on features of the last layer of a MobileNetV2, from the runs on CIFAR-10 that
# {doc}`10_side_by_side` compares: three seeds each, with their standard deviation, settings chosen on held-out images,
# and seconds of a processor core at 24 bits.

# %%
on_layer = {
    name: comparison.found(
        records.load(dataset="cifar10", method=name), name
    )
    for name in ("cca_itq", "ksh", "sdh", "cosdish")
}
cores = {
    (name, step): np.mean(
        [run.cpu_seconds[step] for run in one.records[24]]
    )
    for name, one in on_layer.items()
    for step in ("train", "encode")
}
table(
    [
        "CIFAR-10",
        "mAP, 12 bits",
        "mAP, 24 bits",
        "learning (s)",
        "encoding 60,000 (s)",
    ],
    *[
        [
            TITLES[name],
            *(
                over_seeds([r.map for r in one.records[b]])
                for b in (12, 24)
            ),
            *(f"{cores[name, step]:.1f}" for step in ("train", "encode")),
        ]
        for name, one in on_layer.items()
    ],
)

# %% [markdown]
# Many losses of deep hashing are old acquaintances. Mu and Liu ({doc}`03_mu_liu`) train on KSH's products of codes;
# methods with a term $\| B - F \|^2$, where $F$ are the real outputs, pull these to their signs as ITQ does; those that learn codes and a classifier
# together have SDH inside.
#
# ## What we learned
#
# - A bit is a line, a code is a cell, and a method is a way of choosing lines.
# - Random lines measure angles, {eq}`eq:shallow-collision`, random waves measure distances, {eq}`eq:shallow-kernel`:
#   exactly, but only with many bits.
# - Principal axes look at the data, but carry unequal amounts. SH gives long axes more bits; ITQ turns the axes until
#   rounding loses least, {eq}`eq:shallow-itq`.
# - What varies most need not be what matters. Labels say what does: CCA finds lines, kernels bend them.
# - Signs can be chosen column by column without a detour through real numbers, {eq}`eq:shallow-dcc`.
# - Codes of training rows are worth what the function to new rows can follow.
#
# (sec:shallow-ledger)=
# ## The ledger
#
# **Seen**: read in the source named. **Worked out**: derived above and checked by counting. **Ours**: our choice. For
# these methods public code was at hand, but of the papers themselves mostly titles and abstracts. So the formulas are
# seen *in code*.
#
# | method | what was seen, and where | worked out or ours |
# |---|---|---|
# | LSH | the sign of a random normal projection: HABIR | {eq}`eq:shallow-collision` worked out; taking off the mean is ours |
# | SKLSH | the draws of {eq}`eq:shallow-sklsh`, and that the distance follows the kernel: code in the toolkit HABIR, abstract | {eq}`eq:shallow-kernel` worked out; the default $\gamma$ is ours |
# | PCAH | {eq}`eq:shallow-pcah`: HABIR | the sign of each axis is ours |
# | SH | box, waves, their order, at most so many per axis: HABIR; that the graph problem is NP-hard and is relaxed to eigenvectors: abstract | {eq}`eq:shallow-wave` checked on a line; the order of equal eigenvalues is ours |
# | ITQ | random start, Procrustes step, about 50 rounds: first author's code in HABIR | {eq}`eq:shallow-procrustes` worked out |
# | CCA-ITQ | {eq}`eq:shallow-cca`, $\rho = 0.0001$, scaling by $\lambda$: the same | solved as a singular value decomposition, which gives the same (ours) |
# | KSH | kernel, start, climb, stopping rule, the better of two, 300 anchors: code in the toolkit SSHBIR and others | products with $S$ without writing it down, and so more labelled rows than the 2,000 there (ours) |
# | SDH | the three steps, 5 rounds, 10 sweeps, $\lambda = 1$, $\nu = 10^{-5}$, 1,000 anchors: SSHBIR | {eq}`eq:shallow-dcc` worked out; the kernel's width by KSH's rule (ours) |
# | COSDISH | all steps: SSHBIR | see {doc}`05_mlsh` |
# | controls | PCA with random rotation is part of HABIR | random codes are ours: a hash of the features |
#
# HABIR is `willard-yuan/hashing-baseline-for-image-retrieval`, SSHBIR
# `Eddie-Wang1120/single-modal-supervised-hashing-baseline-for-image-retrieval`, both on GitHub. Where the docstrings
# of `hashlab.shallow` say *seen*, they mean the same; each gives its settings.
#
# ## Exercises
#
# (sec:shallow-exercise-1)=
# ### Exercise 1: how many bits for an angle?
# Two vectors are at 45°. How many bits does LSH need to tell their angle up to a standard deviation of 5°?
#
# <details class="solution"><summary>Solution</summary>
#
# The angle is estimated as $180°$ times the share of differing bits. That share has mean $\tfrac14$ and standard
# deviation $\sqrt{\tfrac14 \cdot \tfrac34 / K}$, so the angle scatters by
# $180° \cdot 0.433 / \sqrt{K} \approx 78°/\sqrt{K}$. For 5° this asks for 243 bits. With 32 bits it is 14°.
#
# </details>
#
# ### Exercise 2: the bits of a box
# A box is 10 long and 3 wide. Which waves make the first five bits of spectral hashing?
#
# <details class="solution"><summary>Solution</summary>
#
# Sort by $m / h$: the long axis has 0.1, 0.2, 0.3, 0.4, …, the short one 0.333, 0.667, …. So waves 1, 2, 3 of the
# long axis, then wave 1 of the short one, then wave 4 of the long axis.
#
# </details>
#
# ### Exercise 3: a rotation in the plane
# Two principal components have variances $\sigma_1^2 > \sigma_2^2$. Turn them by an angle $\alpha$. What are the
# variances of the outputs, and for which $\alpha$ are they equal? Are the outputs still uncorrelated?
#
# <details class="solution"><summary>Solution</summary>
#
# If $p_1$ and $p_2$ are the components, the first output is $\cos\alpha\, p_1 + \sin\alpha\, p_2$, with variance
# $\sigma_1^2 \cos^2\alpha + \sigma_2^2 \sin^2\alpha$; the second has the two swapped. At $\alpha = 45°$ both are
# $\tfrac12 (\sigma_1^2 + \sigma_2^2)$. The covariance is $\pm \tfrac12 (\sigma_1^2 - \sigma_2^2) \sin 2\alpha$,
# largest exactly there: the price of equal variances is correlation.
#
# </details>
#
# (sec:shallow-exercise-4)=
# ### Exercise 4: two classes
# With two classes, and a first bit that separates them perfectly, what is $R_2$ in KSH? What will the other bits be,
# and what does this mean for a 32-bit code?
#
# <details class="solution"><summary>Solution</summary>
#
# If $b_1$ is $+1$ on one class and $-1$ on the other, then $b_1 b_1^{\mathsf T} = S$ and $R_2 = (K - 1) S$: the same
# problem up to a factor. So the second bit is the first again, and so on. The code says the class, 32 times over, and
# ranks by nothing else. That is the optimum of {eq}`eq:shallow-ksh`, and it is as much as pairs of labels can ask
# for.
#
# </details>
#
# (sec:shallow-exercise-5)=
# ### Exercise 5: CCA-ITQ on kernels
# On the circle, CCA-ITQ on the two features is lost. Give it kernels, as we did with COSDISH.
#
# <details class="solution"><summary>Solution</summary>
#
# `shallow.CCAITQ(bits=2).fit(longer["COSDISH on kernels"].kernels(circle), place)`. The folded cell runs it: two bits
# are enough for four classes.
#
# </details>


# %% tags=["hide-cell", "nbval-ignore-output"] jupyter={"source_hidden": true}
kernels = longer["COSDISH on kernels"].kernels
query, truth = on_circle(400, np.random.default_rng(1))
views = {"two features": lambda X: X, "kernels": kernels}
solved = {}
for name, view in views.items():
    model = shallow.CCAITQ(bits=2).fit(view(circle), place)
    packed = [codes.pack(model.transform(view(X))) for X in (query, circle)]
    solved[name] = metrics.evaluate(*packed, truth, place, bits=2).map
    print(
        f"exercise 5, CCA-ITQ with 2 bits on {name}: mAP {solved[name]:.2f}"
    )
noise = np.random.default_rng(0).standard_normal((300, 2))
far = noise + 8 * layer[:, None]  # exercise 4
twins = shallow.KSH(bits=8, anchors=60).fit(far, layer).transform(far)
print(
    "exercise 4: different columns among 8 bits:",
    len(np.unique(twins ^ twins[:1], axis=1).T),
)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %%
# Guarantees: what was counted lies on the curves
assert (np.abs(agreed[4096] - promised) < four[4096]).all() and error[
    4096
] < 0.04
assert error[32] > 0.05 and all(
    count == len(angles) for count in within.values()
)
assert np.abs(curve - counted).max() < 4 * np.sqrt(0.25 / 4096)
assert (
    abs(differ(50.0) - 4 / np.pi**2) < 1e-3
    and f"{4 / np.pi**2:.3f}" == "0.405"
)
assert differ(2.0) > 0.9 * 4 / np.pi**2

# Waves and rotations
assert min(likeness.values()) > 0.999 and np.allclose(
    grown, [4, 9], rtol=0.03
)
assert spectral.axis_.tolist() == [0, 0, 1]
assert spectral.mode_.tolist() == [1, 2, 1]
assert rounding["ITQ"] < 0.4 * rounding["PCAH"]
assert all(
    np.isclose(rounding[name], by_absolutes[name]) for name in rounding
)
clumps = turning["ITQ, 2 bits"].transform(diamond).reshape(4, 60, 2)
assert (clumps == clumps[:, :1]).mean() > 0.98 and len(
    np.unique(np.median(clumps, axis=1), axis=0)
) == 4
evenness = {name: v.max() / v.min() for name, v in spread.items()}
assert np.allclose([v.sum() for v in spread.values()], spread["PCAH"].sum())
assert spread["PCAH"][:4].sum() > 0.53 * spread["PCAH"].sum()
assert (
    evenness["PCAH"] > 8 > 4 > evenness["PCARotation"] > 2 > evenness["ITQ"]
)

# Labels
assert cosine > 0.999
assert max(right["CCA-ITQ, 1 bit"], 1 - right["CCA-ITQ, 1 bit"]) > 0.97
assert abs(right["ITQ, 1 bit"] - 0.5) < 0.1
assert (
    all(after < before for before, after in pairwise(left))
    and 0.32 < left[-1] < 0.36
)

# Discrete steps
gains, hits = (
    {name: [one[name][i] for one in stepped] for name in WAYS}
    for i in (0, 1)
)
assert 0.4 < min(gains["relaxed"]) < max(gains["relaxed"]) < 0.75
assert min(gains["bit by bit"]) > 0.98 and min(hits["bit by bit"]) > 0.95
assert max(hits["relaxed"]) < 0.15
pairs_of_ends = zip(learned["relaxed"], learned["bit by bit"], strict=True)
behind = [rounded > exact for (rounded, _), (exact, _) in pairs_of_ends]
assert 0 < sum(behind) < len(behind)  # neither is reliably ahead
counts = {
    name: [count for _, count in found] for name, found in learned.items()
}
assert max(max(found) for found in counts.values()) == 10
assert min(counts["relaxed"]) < 10 and min(counts["bit by bit"]) < 10
assert counts["bit by bit"] == counts["all 256 tried"]

# From training rows to all others
assert (
    min(carried[name][1] for name in ("KSH", "SDH", "COSDISH on kernels"))
    > 0.9
    > 0.5
    > carried["COSDISH"][1]
)
assert (
    min(inner.values()) > 0.99
    and 0.4 < carried["COSDISH"][0] < 0.6
    and carried["COSDISH on kernels"][0] < 0.25
)

# Digits
scores = {name: report.map for name, report in reports.items()}
labelled = {name for name in scores if fitted[name].hasher.supervised}
assert labelled == {"cca_itq", "ksh", "sdh", "cosdish"} and set(
    scores
) == set(TITLES)
assert abs(scores["random"] - 0.1) < 0.02
plain = [name for name in scores if name not in labelled | {"random"}]
assert max(plain, key=scores.get) == "itq"
assert min(plain, key=scores.get) == "sklsh"
assert min(scores[name] for name in labelled) > scores["itq"] + 0.05
assert scores["itq"] > scores["pca_rotation"] + 0.05 > scores["pcah"] + 0.15
assert min(scores["ksh"], scores["sdh"]) > 0.93 and more == {
    "LSH": 96,
    "SKLSH": 96,
    "SH": 96,
}

# Which one when: the four with labels on the last layer of a network
ranked = {
    bits: {
        name: np.mean([run.map for run in one.records[bits]])
        for name, one in on_layer.items()
    }
    for bits in (12, 24)
}
for found in ranked.values():
    assert sorted(found, key=found.get, reverse=True) == list(on_layer)
assert ranked[24]["cca_itq"] - ranked[24]["ksh"] < 0.01
for name in ("cca_itq", "cosdish"):  # without anchors
    for kernel in ("ksh", "sdh"):
        assert cores[kernel, "encode"] > 3 * cores[name, "encode"]
assert cores["ksh", "train"] > 20 * cores["cca_itq", "train"]
assert (
    on_layer["ksh"].best["anchors"]
    == on_layer["sdh"].best["anchors"]
    == 1000
)
graded = {
    name: [comparison.unseen(run) for run in one.tried]
    for name, one in on_layer.items()
}
weak = comparison.variants("cca_itq").index({"rho": 1e-4})
assert on_layer["cca_itq"].best == {"rho": 1.0}
for name, bits in product(("ksh", "sdh", "cosdish"), (12, 24)):
    groups = (on_layer[which].records[bits] for which in ("cca_itq", name))
    word = "open" if (name, bits) == ("ksh", 24) else "above"
    assert difference(*groups).verdict == word
assert graded["cca_itq"][weak] < min(
    max(found) for name, found in graded.items() if name != "cca_itq"
)

# Exercises
assert (
    round((180 * np.sqrt(3 / 16) / 5) ** 2) == 243
    and round(180 * np.sqrt(3 / 16 / 32)) == 14
)
axis, mode = sh.smoothest(np.array([10.0, 3.0]), 5)
assert axis.tolist() == [0, 0, 0, 1, 0] and mode.tolist() == [1, 2, 3, 1, 4]
assert solved["kernels"] > 0.9 > 0.5 > solved["two features"]
assert len(np.unique(twins ^ twins[:1], axis=1).T) == 1
print("every claim holds")
