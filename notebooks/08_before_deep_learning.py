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
# made by hand or by a network trained for something else. How does one turn vectors into bits? The answers
# came between 2002 (LSH) and 2016 (COSDISH). Most take seconds, a deep method must beat them on
# its own features, and many losses of deep hashing are one of these ideas with a network put under it.
#
# This chapter draws nine of them in two dimensions, where one can see what a bit does, derives each in a few lines,
# and runs all of them on real digits. Codes, Hamming distance and mean average precision (mAP) are those of
# {doc}`01_hamming_space`. You need eigenvectors, the singular value decomposition, variance and covariance.
#
# | symbol | meaning |
# |---|---|
# | $x_i \in \mathbb{R}^D$ | the features of image $i$, a *row* for short |
# | $u_i \in \mathbb{R}^K$ | its outputs, before signs are taken |
# | $w_k$ | the weights of bit $k$: the normal of a line, an axis, weights of kernels |
# | $B$, $Y$ | codes and labels of all rows |
# | $S_{ij}$ | $+1$ if two rows share a class, $-1$ if not |
#
# Table: Letters of this chapter; all others are on the page of {doc}`notation </book/notation>`.

# %%
import numpy as np

from hashlab import data, methods, metrics, plots, shallow
from hashlab.chapters import exercises
from hashlab.chapters import shallow as chapter
from hashlab.chapters.figures import shallow as figures
from hashlab.chapters.tables import source, table
from hashlab.shallow import base, cosdish, itq, ksh, sdh, sh

# %% tags=["hide-cell"]
from itertools import pairwise, product

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hashlab import records
from hashlab.chapters import comparison
from hashlab.chapters.differences import difference
from hashlab.chapters.tables import recorded
from hashlab.chapters.tables import spread as over_seeds
from hashlab.errors import InputError

# %% [markdown]
# ## A bit is a line
#
# Take a real function $f_k$ of the features. The set $f_k(x) = 0$ is a line in the plane, a surface in more
# dimensions: on one side the bit is 1, on the other 0. $K$ functions cut the plane into *cells*, a code each:
#
# $$ u_{ik} = f_k(x_i), \qquad b_{ik} = \operatorname{sign} u_{ik}, \qquad \operatorname{sign} 0 = +1 . $$ (eq:shallow-bit)
#
# Step across one line and one bit changes. The methods differ in how they choose their lines.
# {numref}`fig:shallow-lines` shows that it matters: only on the right do all near rows
# get the same code. (By luck, two random lines may do as well. Most draws cut a clump or leave two in one cell.)

# %% mystnb={"image": {"alt": "Two panels with the same four clumps of rows at the corners of a tilted diamond. On the left one of two random lines runs through two of the clumps and cuts them. On the right two lines run between the clumps, and each clump has a cell of its own."}, "figure": {"caption": "Four clumps under two lines: at random on the left, chosen on the right. The number of its bit stands at a line; cells that meet at a line differ in shade.", "name": "fig:shallow-lines"}}
rng = np.random.default_rng(0)
ellipse, diamond, layers, layer, circle, place = chapter.plane(rng)

two_lines = {
    "random lines": shallow.LSH(bits=2, random_state=5).fit(diamond),
    "chosen lines": shallow.ITQ(bits=2).fit(diamond),
}
figure = figures.cell_maps(two_lines, diamond)

# %% [markdown]
# ## Random lines: LSH
#
# The simplest choice is none: take the lines at random. *Locality-sensitive hashing* {cite:p}`charikar2002similarity`
# draws a vector $w_k$ of independent standard normal numbers and asks on which side of the line through the mean
# $\bar x$ with normal $w_k$ a row lies:
#
# $$ f_k(x) = w_k^{\mathsf T} (x - \bar x), \qquad w_k \sim \mathcal{N}(0, I) . $$ (eq:shallow-lsh)
#
# (The mean is taken off by us: seen from the origin, features that are never negative all lie in one
# direction, and most lines through the origin pass them by.) In code:

# %%
source(shallow.LSH._fit, base.LinearHasher._outputs)

# %% mystnb={"image": {"alt": "Two panels with one long tilted cloud of rows. On the left four lines through its middle cut the plane into eight wedges. On the right are twelve lines and many narrow wedges."}, "figure": {"caption": "LSH: all lines pass through the mean, and the cells are wedges.", "name": "fig:shallow-lsh"}}
lsh = {
    f"LSH, {bits} bits": shallow.LSH(bits=bits).fit(ellipse)
    for bits in (4, 12)
}
figure = figures.cell_maps(lsh, ellipse)

# %% [markdown]
# LSH sees the *direction* of a row from the mean, and not how far out it lies ({numref}`fig:shallow-lsh`).
#
# ### What random lines guarantee
#
# Nothing has been learned, and yet there is a guarantee. Take two rows, seen from the mean as vectors $x$ and $x'$
# with an angle $\alpha$ between them. A line through the origin gives them different bits exactly when it passes
# between them ({numref}`fig:shallow-between`).

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two arrows x and x′ from the origin with the angle alpha between them, and twelve evenly spaced lines through the origin. The solid lines are those that pass between the arrows; the dashed ones leave both on one side."}, "figure": {"caption": "Two rows, and lines through the mean. The solid lines give them different bits.", "name": "fig:shallow-between"}}
ax = figures.separated(0.9)

# %% [markdown]
# The direction of the line is uniform over the half circle, $\pi$, and an arc of length $\alpha$ separates the
# two. In more dimensions only the part of $w$ in the plane of $x$ and $x'$ matters, and its
# direction is uniform too: the normal distribution is the same in all directions. So
#
# $$ P\left( b_k(x) = b_k(x') \right) = 1 - \frac{\alpha}{\pi} . $$ (eq:shallow-collision)
#
# The expected Hamming distance of two codes is $K \alpha / \pi$: it *measures the angle*. With $K$ independent bits,
# the share that agrees scatters around this value with standard deviation
# $\sqrt{\tfrac{\alpha}{\pi} (1 - \tfrac{\alpha}{\pi}) / K}$. {numref}`fig:shallow-angle` counts it on pairs of
# vectors in 64 dimensions.

# %% tags=["hide-input"] mystnb={"image": {"alt": "The share of equal bits against the angle from 0 to 180 degrees. The formula is a straight line from one to zero. Dots for 4096 bits lie on it; triangles for 32 bits scatter around it by up to a tenth or two."}, "figure": {"caption": "The share of equal bits tells the angle: well with 4,096 bits, roughly with 32.", "name": "fig:shallow-angle"}}
angles = np.linspace(0.05, 0.95, 19) * np.pi
pairs = [chapter.pair_at(angle, rng) for angle in angles]


def agreement(bits):
    """Share of equal bits of each pair."""
    hashed = [
        shallow.LSH(bits=bits, center=False).fit(X).transform(X)
        for X in pairs
    ]
    return np.array([(one == other).mean() for one, other in hashed])


agreed = {bits: agreement(bits) for bits in (4096, 32)}
promised = 1 - angles / np.pi
ax = figures.measured(
    (np.rad2deg(angles), promised),
    {
        f"{bits} bits": (np.rad2deg(angles), share)
        for bits, share in agreed.items()
    },
    "angle α (degrees)",
    "share of equal bits",
)

# %% [markdown]
# The guarantee is about *many* bits. Thirty-two of them tell a right angle from a small one, and little more
# ([exercise 1](#sec:shallow-exercise-1)). Choosing lines well means to say the same with fewer bits.
#
# ## Random waves: SKLSH
#
# {cite:t}`raginsky2009sklsh` measure distances instead of angles, with a *wave* in place of a line and
# random thresholds $\tau_k$:
#
# $$ \begin{aligned}
# f_k(x) &= \cos( w_k^{\mathsf T} x + \beta_k ) + \tau_k, \\
# w_k &\sim \mathcal{N}(0, \gamma I), \quad \beta_k \sim \mathcal{U}[0, 2\pi], \quad \tau_k \sim \mathcal{U}[-1, 1] .
# \end{aligned} $$ (eq:shallow-sklsh)
#
# The bit is 1 on stripes ({numref}`fig:shallow-waves`). Narrow ones ($\gamma$ large) tell near
# rows apart, and confuse rows that are a whole wave away.

# %% mystnb={"image": {"alt": "Two panels with the long cloud under SKLSH with three bits. On the left, with a small gamma, three wide stripes cross the plane; on the right, with gamma sixteen times as large, each bit has many narrow parallel stripes, and the cells are small and many."}, "figure": {"caption": "SKLSH with three bits: wide and narrow waves.", "name": "fig:shallow-waves"}}
waves = {
    f"SKLSH, 3 bits, γ = {g}": shallow.SKLSH(
        bits=3, gamma=g, random_state=4
    ).fit(ellipse)
    for g in (0.05, 0.8)
}
figure = figures.cell_maps(waves, ellipse)

# %% [markdown]
# What is the chance that two rows get different bits? Fix the two phases $\psi = w^{\mathsf T} x + \beta$ and
# $\psi' = w^{\mathsf T} x' + \beta$. The threshold falls between the cosines with probability
# $\tfrac12 |\cos \psi - \cos \psi'|$, which is $|\sin \tfrac{\psi + \psi'}{2}|\,|\sin \tfrac{\psi - \psi'}{2}|$. The
# random $\beta$ turns the first factor into its mean, $2/\pi$. What is left is
# $\tfrac{2}{\pi} |\sin \tfrac{\Delta}{2}|$ with $\Delta = w^{\mathsf T} (x - x')$. Now write it as a sum of cosines,
# its *Fourier series*, $|\sin \tfrac{\Delta}{2}| = \tfrac{4}{\pi} \sum_{p \ge 1} \frac{1 - \cos p\Delta}{4 p^2 - 1}$.
# The mean of a cosine of a normal variable is $\mathbb{E} \cos p \Delta = e^{-\gamma p^2 \|x - x'\|^2 / 2}$.
# Together,
#
# $$ P\left( b_k(x) \ne b_k(x') \right) = \frac{8}{\pi^2} \sum_{p=1}^{\infty}
#    \frac{1 - e^{-\gamma p^2 \|x - x'\|^2 / 2}}{4 p^2 - 1} . $$ (eq:shallow-kernel)
#
# It depends on the distance alone. Again we count ({numref}`fig:shallow-distance`).

# %% tags=["hide-input"] mystnb={"image": {"alt": "The share of differing bits against the distance of two rows, from 0 to 4. The formula rises steeply, bends at a distance of about 1.5, and levels off at 0.405; dots counted with 4096 bits lie on it."}, "figure": {"caption": "The share of differing bits tells the distance of near rows; all far rows look alike.", "name": "fig:shallow-distance"}}


def differ(distance, gamma=1.0):
    """Equation (eq:shallow-kernel)."""
    p = np.arange(1, 400)
    terms = (1 - np.exp(-gamma * (p * distance) ** 2 / 2)) / (4 * p**2 - 1)
    return 8 / np.pi**2 * terms.sum()


apart = np.linspace(0.1, 4, 14)
counted = []
for distance in apart:
    X = np.array([[0.0, 0.0, 0.0], [0.6 * distance, 0.0, 0.8 * distance]])
    one, other = shallow.SKLSH(bits=4096, gamma=1.0).fit(X).transform(X)
    counted.append((one != other).mean())
curve = np.array([differ(distance) for distance in apart])
ax = figures.measured(
    (apart, curve),
    {"4096 bits": (apart, counted)},
    "distance of two rows, for γ = 1",
    "share of differing bits",
)

# %% [markdown]
# Beyond about $2/\sqrt\gamma$ all rows are equally far, at
# $4/\pi^2 \approx 0.405$ of the bits.
#
# ## The directions of the data: PCAH
#
# The plainest method that looks at the data takes its *principal axes*, the eigenvectors of the covariance: directions
# along which the rows vary most. (It is the unsupervised half of {cite:t}`wang2010ssh`.)
#
# $$ f_k(x) = w_k^{\mathsf T} (x - \bar x), \qquad w_k \text{ the } k\text{-th principal axis} . $$ (eq:shallow-pcah)
#
# A line across a direction of large variance separates rows that are far apart, and outputs along different axes are
# *uncorrelated*: one says nothing linear about the other. There are two catches. There are at most $D$ axes, and so
# at most $D$ bits. And the axes are unequal: the first may carry most of the variance and the last next to none, but
# each gets one bit.
#
# ## Waves along the axes: SH
#
# *Spectral hashing* {cite:p}`weiss2008spectral` gives a long axis more than one bit. Join all rows
# in a *graph*, with weights that are large for near rows,
# $G_{ij} = e^{-\|x_i - x_j\|^2 / 2\varepsilon^2}$. Near rows
# shall have near codes, every bit shall be balanced, and no two bits shall be correlated:
#
# $$ \min_B \; \sum_{i,j} G_{ij} \| b_i - b_j \|^2, \qquad \sum_i b_i = 0, \qquad B^{\mathsf T} B = N I . $$ (eq:shallow-sh)
#
# With bits this is NP-hard: no quick way to solve it is known. With real numbers in $B$ it becomes easy: the sum is
# $2 \operatorname{tr} B^{\mathsf T} \Lambda B$ with the graph's *Laplacian* $\Lambda$, which holds $-G_{ij}$ off the
# diagonal; its diagonal makes every row sum to 0. The best columns are the eigenvectors of $\Lambda$ with the
# smallest eigenvalues after the constant one. But an eigenvector has no value for a new row. So the paper lets the
# rows fill a box evenly. Along an axis of length $g$, with $t$ from 0 to $g$, the eigenvectors become cosine waves,
#
# $$ \cos\left( p \pi \, \frac{t}{g} \right), \quad p = 1, 2, \dots, \qquad
#    \text{with eigenvalues that grow with } \left( \frac{p \pi}{g} \right)^2 , $$ (eq:shallow-wave)
#
# which can be computed anywhere. Try it: rows evenly spaced on a line, their graph, its eigenvectors.

# %%
t = (np.arange(200) + 0.5) / 200
G = np.exp(-((t[:, None] - t) ** 2) / (2 * 0.02**2))
values, vectors = np.linalg.eigh(np.diag(G.sum(1)) - G)
likeness = {
    p: abs(np.corrcoef(vectors[:, p], np.cos(p * np.pi * t))[0, 1])
    for p in (1, 2, 3)
}
grown = values[2:4] / values[1]
for p, correlation in likeness.items():
    print(f"eigenvector {p} and wave {p}: correlation {correlation:.3f}")
print(
    f"eigenvalues 2 and 3 over the first: {grown[0]:.1f} and {grown[1]:.1f};"
    " the squares of p are 4 and 9"
)

# %% [markdown]
# The method: find the principal axes, lay a box around the rows, sort the waves of all axes by $p / g$, keep the
# smoothest $K$, and take their signs. (Products of waves along two axes solve it too; their signs say nothing new.)
# In the code $p$ is `mode`:

# %%
source(sh.smoothest)

# %% mystnb={"image": {"alt": "Two panels with the long cloud. On the left PCAH with two bits: one line across the long axis and one along it. On the right SH with three bits: parallel lines across the long axis, one in the middle for the first bit and one on each side of it for the second, and lines along the long axis for the third, one of them through its middle."}, "figure": {"caption": "PCAH gives each axis one bit. SH gives the long axis two, wave 1 and wave 2, before the short one gets its first. Waves go on outside the box around the rows.", "name": "fig:shallow-axes"}}
axes_and_waves = {
    "PCAH, 2 bits": shallow.PCAH(bits=2).fit(ellipse),
    "SH, 3 bits": shallow.SH(bits=3).fit(ellipse),
}
figure = figures.cell_maps(axes_and_waves, ellipse)

# %% [markdown]
# Two bits on one axis tell four stretches of it apart ({numref}`fig:shallow-axes`). What one pays: real data do not
# fill a box evenly, and the ends of the box are the most extreme rows of the training set.
#
# (sec:shallow-itq)=
# ## Turning the axes: ITQ
#
# The other answer to unequal axes is to *turn* them. Let $V \in \mathbb{R}^{N \times K}$ hold the coordinates of all
# rows along the first $K$ principal axes, and let $O$ be any *orthogonal* matrix, $O^{\mathsf T} O = I$: a rotation,
# perhaps with a mirror. It keeps distances and total variance, and changes nothing but where the signs cut. Which
# rotation cuts best? *Iterative quantisation* {cite:p}`gong2011itq` says: the one for which rounding to $\pm 1$ loses
# least,
#
# $$ \min_{B, O} \; \| B - V O \|^2, \qquad B \in \{-1, +1\}^{N \times K}, \qquad O^{\mathsf T} O = I . $$ (eq:shallow-itq)
#
# Written out, this is $N K + \|V\|^2 - 2 \operatorname{tr} B^{\mathsf T} V O$. Only the last term can change, and it is
# improved in two steps that take turns.
#
# 1. **$O$ fixed.** The trace is the sum of all $b_{ik} (V O)_{ik}$, so $B = \operatorname{sign}(V O)$, and it becomes the
#    sum of all $|(V O)_{ik}|$: a good rotation keeps outputs away from zero.
# 2. **$B$ fixed.** This is the *orthogonal Procrustes problem*. With the singular value decomposition $B^{\mathsf T} V
#    = U_1 \Sigma U_2^{\mathsf T}$ the trace is $\operatorname{tr} \Sigma\, (U_2^{\mathsf T} O\, U_1)$. The matrix in brackets
#    is orthogonal, none of its entries exceeds 1, and the trace is largest when it is the identity:
#
# $$ O = U_2 U_1^{\mathsf T} . $$ (eq:shallow-procrustes)
#
# Neither step can raise the loss.

# %%
source(itq.rotate)

# %% mystnb={"image": {"alt": "Two panels with the diamond of four clumps. On the left PCAH: its two lines run right through the clumps. On the right ITQ: its two lines are turned by about 45 degrees and run between the clumps, so that each clump has a cell of its own."}, "figure": {"caption": "The principal axes point at the clumps, and PCAH cuts each in two. ITQ turns the lines until they run between.", "name": "fig:shallow-turned"}}
turning = {
    "PCAH": shallow.PCAH(bits=2).fit(diamond),
    "ITQ": shallow.ITQ(bits=2).fit(diamond),
}
figure = figures.cell_maps(turning, diamond)

# %% tags=["hide-input"] mystnb={"image": {"alt": "The outputs of PCAH and of ITQ for the diamond, with the four corners of the square from minus one to one. Under PCAH the clumps lie on the axes, and lines run from each to two corners. Under ITQ each clump lies near a corner of its own, and the lines are short."}, "figure": {"caption": "The same outputs with a line to the corner that each row is rounded to; above, the mean squared length of these lines.", "name": "fig:shallow-corners"}}
outputs = {
    name: model.decision_function(diamond)
    for name, model in turning.items()
}
figure = figures.to_corners(outputs)

# %% [markdown]
# {numref}`fig:shallow-turned` shows the cells, {numref}`fig:shallow-corners` what is minimised.
#
# ### Variance per bit
#
# The rotation has another effect: it *evens out the variances*. {numref}`fig:shallow-variance` takes the 1,200
# training digits with 16 bits (`digits`: real handwritten digits of 8×8 pixels, so $D = 64$). A control takes a
# rotation at random: it is ITQ before its first round, and known as PCA with random rotation.

# %% mystnb={"image": {"alt": "Variance of the output against the number of the bit, 1 to 16. PCAH starts far above the others and falls to a small fraction; the random rotation scatters around the common mean, and ITQ stays close to it for all bits."}, "figure": {"caption": "Variance of each output on digits: unequal along the axes, more even after a random rotation, nearly equal after ITQ.", "name": "fig:shallow-variance"}}
digits = data.load("digits")
pixels = digits.train.images.reshape(-1, 64) / 255
spread = {
    name: hasher(bits=16).fit(pixels).decision_function(pixels).var(0)
    for name, hasher in {
        "PCAH": shallow.PCAH,
        "turned at random": shallow.PCARotation,
        "ITQ": shallow.ITQ,
    }.items()
}
lines = {name: (range(1, 17), v) for name, v in spread.items()}
ax = plots.curves(lines, "bit", "variance of the output")
_ = ax.set_xticks(range(1, 17, 3))

# %% [markdown]
# Under PCAH the first four bits carry more than half of the total, and
# the last ones are spent on directions that hardly vary. After ITQ all carry nearly the same, as bits should that all
# count the same. [Below](#sec:shallow-digits), even the random rotation is far better than the bare axes.
#
# ## Why labels help: CCA-ITQ
#
# What varies most need not matter most. In {numref}`fig:shallow-layers` the
# classes differ along the *short* axis.

# %% mystnb={"image": {"alt": "Two panels with two long thin clouds, a class each, one above the other. On the left ITQ: its line runs across both and splits each class in half. On the right CCA-ITQ: its line runs between the clouds and separates the classes."}, "figure": {"caption": "One bit for two classes. Without labels it cuts across the long axis, with labels between the classes.", "name": "fig:shallow-layers"}}
one_bit = {
    "ITQ, 1 bit": shallow.ITQ(bits=1).fit(layers),
    "CCA-ITQ, 1 bit": shallow.CCAITQ(bits=1).fit(layers, layer),
}
figure = figures.cell_maps(one_bit, layers, layer)

# %% [markdown]
# The *correlation* of two quantities is their covariance divided by both standard deviations, a number from $-1$ to 1.
# *Canonical correlation analysis* (CCA) looks for directions $w$ in
# which features go together with labels: the correlation $\xi$
# of $w^{\mathsf T} x$ with the best linear function of $y$ shall be largest. With the covariances
# $C_{xx}$, $C_{yy}$, $C_{xy}$ of features and labels (each of the first two plus a little, $\rho I$, so that they can
# be inverted), the directions and their correlations solve
#
# $$ C_{xy}\, C_{yy}^{-1}\, C_{yx}\; w = \xi^2\, C_{xx}\, w . $$ (eq:shallow-cca)
#
# CCA-ITQ {cite:p}`gong2011itq` takes these directions in place of the principal axes, each scaled by its
# $\xi$, and then turns them as before. For class labels the directions are known under another name: those of *linear
# discriminant analysis*.

# %%
ours = one_bit["CCA-ITQ, 1 bit"].weights_[:, 0]
lda = LinearDiscriminantAnalysis().fit(layers, layer).coef_[0]
cosine = abs(ours @ lda) / np.linalg.norm(ours) / np.linalg.norm(lda)
print(f"CCA and linear discriminant analysis: cosine {cosine:.4f}")

# %% [markdown]
# There are at most $C - 1$ such directions for $C$ classes. Ask for more bits, and the rotation spreads what there is
# over all of them.
#
# ## Bent lines: KSH
#
# Lines are not always enough. In {numref}`fig:shallow-circle` opposite clumps share a class, so the
# mean of every class is in the middle, and no direction goes with the labels. What bends a
# line is a *kernel*: a number that says how near two rows are. Choose some training rows $x_j$ as *anchors*,
# describe every row by its kernels to them, and take linear functions of these:
#
# $$ f_k(x) = \sum_{j} w_{jk} \left( \varphi_j(x) - \bar\varphi_j \right), \qquad
#    \varphi_j(x) = e^{-\gamma \|x - x_j\|^2} , $$ (eq:shallow-kernels)
#
# with $\bar\varphi_j$ the mean over the training rows. *Supervised hashing with kernels* {cite:p}`liu2012ksh` learns
# the $w_{jk}$ from pairs. The inner product of two codes is $K$ when all bits agree and $-K$ when none does, so KSH
# seeks
#
# $$ \min \; \| K S - B B^{\mathsf T} \|^2 . $$ (eq:shallow-ksh)
#
# $B B^{\mathsf T}$ is the sum of $b_k b_k^{\mathsf T}$ over the columns $b_k$ of $B$, each a bit of all rows. They
# are found one after another. With $E_k = K S - \sum_{j<k} b_j b_j^{\mathsf T}$, what the bits so far have left over,
#
# $$ \| E_k - b\, b^{\mathsf T} \|^2 = \| E_k \|^2 - 2\, b^{\mathsf T} E_k\, b + N^2 , $$ (eq:shallow-greedy)
#
# so the next bit maximises $b^{\mathsf T} E_k\, b$ over $b = \operatorname{sign}(\bar{\Phi} w)$, where $\bar{\Phi}$
# holds the centred kernels, a column for each anchor. The sign stands in the way, and KSH avoids it in two ways. First
# it leaves the sign out: maximise $w^{\mathsf T} \bar{\Phi}^{\mathsf T} E_k \bar{\Phi} w$ at fixed length of
# $\bar{\Phi} w$, an eigenvalue problem. From there it climbs by gradient steps, with the smooth $\tanh(u/2)$ of the
# outputs in place of the sign. The better of the two is kept:

# %%
source(ksh.greedy)

# %% [markdown]
# What a bit gets wrong stands in $E_k$ with more weight than before, and the bits that follow
# can mend it. The squared distance {eq}`eq:shallow-ksh` as bits are added, as a share of $\|K S\|^2$:

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
# It cannot go to 0: four classes cannot all be opposite to each other. The sum of their four codes has a squared length
# of at least 0, so their inner products are at least $-K/3$ on average. Three quarters of the pairs are off by
# $\tfrac23 K$: that leaves $\tfrac34 \cdot \tfrac49 = \tfrac13$ of $\|KS\|^2$. Twelve bits come close to it.
#
# ## Discrete from the start: SDH
#
# For *supervised discrete hashing* {cite:p}`shen2015sdh` codes are good if a *linear classifier*
# $W$ can read the labels from them. Codes, classifier and hash functions are learned together,
#
# $$ \min_{B, W, P} \; \| Y - B W \|^2 + \lambda \|W\|^2 + \nu \| B - \Phi P \|^2, \quad B \in \{-1, +1\}^{N \times K} , $$ (eq:shallow-sdh)
#
# where $\Phi$ holds the kernels of all rows to the anchors and a column of ones, and $P$ the weights of the hash
# functions. With two of the three fixed, each has a simple answer. $W$ is a *ridge regression*, least squares with
# the size of the weights held down by $\lambda$, and so is $P$, with a small ridge of ours that the equation leaves
# out. $B$ *stays discrete*. Take one column $b$ of it, with $w$ its row of $W$, and let $B', W'$ be the rest. In
# $\|Y - B' W' - b\, w^{\mathsf T}\|^2$ the square of the last term is $N \|w\|^2$ whatever the signs, so only terms
# linear in $b$ are left, and every entry of $b$ can be chosen on its own:
#
# $$ b = \operatorname{sign}\left( q - B' W' w \right), \qquad q \text{ its column of } Q = Y W^{\mathsf T} + \nu\, \Phi P . $$ (eq:shallow-dcc)
#
# Then comes the next column, until no bit changes:

# %%
source(sdh.cyclic_descent)

# %% [markdown]
# Is it worth the trouble? The alternative is to *relax*: let $B$ be real, solve, and take signs at the end. With eight
# bits we can also try all 256 codes for each row and know the best. {numref}`tbl:shallow-sdh` has
# all three on the 1,200 digits, from six random starts, after one step and after five rounds.

# %% tags=["hide-input"] mystnb={"table": {"caption": "The discrete step of SDH, three ways; lowest and highest of six starts.", "name": "tbl:shallow-sdh"}}
turns = chapter.Turns(pixels, digits.train.labels, bits=8)
starts = [
    base.signs(np.random.default_rng(seed).standard_normal((1200, 8)))
    for seed in range(6)
]
stepped = [turns.one_step(start, chapter.WAYS) for start in starts]
learned = {
    name: [turns.after(5, start, way) for start in starts]
    for name, way in chapter.WAYS.items()
}
table(
    [
        "codes are found",
        "one step: share of the possible gain",
        "rows with their best code",
        "five rounds: objective",
        "different codes",
    ],
    *[
        [
            name,
            chapter.reach([one[name][0] for one in stepped], ".0%"),
            chapter.reach([one[name][1] for one in stepped], ".0%"),
            chapter.reach([value for value, _ in learned[name]], ".0f"),
            chapter.reach([count for _, count in learned[name]], "d"),
        ]
        for name in chapter.WAYS
    ],
)

# %% [markdown]
# In one step bit by bit finds nearly all that there is to gain, rounding about a half to three
# quarters. After five rounds neither is reliably ahead: $W$ and $P$ adapt to whatever codes they are given. A run that
# ends with fewer than ten codes has put classes together. From one start bit by bit ends with eight, far worse than
# the rest, and so does the search through all codes: the turns are to blame, not the step. There are never more codes
# than classes: with $\nu = 10^{-5}$ they come from the labels alone.
#
# ## Sampled columns: COSDISH
#
# *Column sampling based discrete supervised hashing* {cite:p}`kang2016cosdish` wants what KSH wants,
# $B B^{\mathsf T}$ near $K S$, with discrete codes as in SDH. It draws
# $K$ rows $\Omega$ at a time and looks at their columns of $S$ only, $S_\Omega \in \mathbb{R}^{N
# \times K}$, and at their codes $B_\Omega$,
#
# $$ \min_B \; \| K S_\Omega - B\, B_\Omega^{\mathsf T} \|^2 , $$ (eq:shallow-cosdish)
#
# and takes turns: the codes of the sampled rows, bit after bit, by a method with a guarantee; then those of all
# others, $\Gamma$, by a vote of the sampled rows, $B_\Gamma = \operatorname{sign}(S_\Gamma B_\Omega)$
# with $S_\Gamma$ their rows of $S_\Omega$. (So that similar and dissimilar pairs weigh the same, $S$ has a smaller
# number in place of $-1$.)
# {doc}`05_mlsh` takes it apart step by step. Its hash functions are a ridge regression of the codes on the features:
# lines, then.

# %%
source(cosdish.improve, shallow.COSDISH._regress)

# %% [markdown]
# ## Three ways round a circle
#
# {numref}`fig:shallow-circle` has four bits each, and COSDISH once more with kernels as its features.

# %% mystnb={"image": {"alt": "Four panels with eight clumps on a circle in four classes, opposite clumps sharing a class. KSH draws bent lines that give opposite clumps the same code. SDH's bent lines separate most classes. COSDISH draws straight lines through the middle, which give opposite clumps opposite codes. COSDISH on kernels draws bent lines again."}, "figure": {"caption": "Opposite clumps share a class. Bent lines can give them one code, straight lines cannot.", "name": "fig:shallow-circle"}}
four_bits = chapter.with_labels(circle, place, bits=4)
figure = figures.cell_maps(four_bits, circle, place)

# %% [markdown]
# (sec:shallow-outside)=
# ### From training rows to all others
#
# COSDISH first finds codes of the *training rows*, from labels
# alone, and only then fits a function from features to these codes, the *out-of-sample extension*. With its small
# $\nu$, SDH does very nearly the same. If the function cannot follow, the best codes are of no use to a new row
# ({numref}`tbl:shallow-carried`).

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"table": {"caption": "The circle, 16 bits: codes that were learned, and what the function makes of them.", "name": "tbl:shallow-carried"}}
fresh = chapter.on_circle(400, np.random.default_rng(1))
carried = {
    name: chapter.carried(model, (circle, place), fresh)
    for name, model in chapter.with_labels(circle, place, bits=16).items()
}
table(
    [
        "method",
        "mAP of learned codes",
        "bits the function gets wrong",
        "mAP of new rows",
    ],
    *[
        [
            name,
            *(
                ("none learned", "")
                if one.wrong is None
                else (f"{one.learned:.2f}", f"{one.wrong:.0%}")
            ),
            f"{one.new:.2f}",
        ]
        for name, one in carried.items()
    ],
)

# %% [markdown]
# COSDISH's learned codes are faultless, and its lines get nearly every second bit of them wrong, little better than a
# coin. On kernels the codes are followed well. A reported figure can hide this: if the database is ranked by its
# *learned* codes, its labels go into the ranking. On this page every code comes from the function.
#
# (sec:shallow-digits)=
# ## All of them on digits
#
# Now the nine methods on the 64 pixels of `digits`, at 24 bits: 1,200 digits to learn from, 300
# queries, 1,497 digits to search, the 1,200 among them: methods with labels have seen those of most. Two controls tell what a number is worth. *Random codes* know nothing: their
# mAP is about the share of relevant digits in the database. *PCA with random rotation* knows the features and nothing
# else.

# %%
SMALLER = {"ksh": {"anchors": 150}, "sdh": {"anchors": 300}}  # to be quick

fitted, reports = {}, {}
for name in methods.SHALLOW:
    method = methods.create(name, 24, **SMALLER.get(name, {}))
    fitted[name] = method.fit(digits.train, seed=0)
    reports[name] = metrics.evaluate(
        method.encode(digits.query),
        method.encode(digits.database),
        digits.query.labels,
        digits.database.labels,
        bits=24,
    )

# %% tags=["hide-input", "nbval-ignore-output"] mystnb={"image": {"alt": "A row for each method with a dot at its mAP. Random codes are at one tenth. SKLSH, PCAH, SH and LSH follow, then PCA with random rotation and ITQ; the four methods that learn from labels are at the top, SDH and KSH close to one."}, "figure": {"caption": "mAP on digits; a line runs from the worst order of equal distances to the best. The four methods with labels are at the top.", "name": "fig:shallow-digits"}}
TITLES = {
    "random": "random codes (control)",
    "pca_rotation": "PCA, random rotation (control)",
    "lsh": "LSH",
    "sklsh": "SKLSH",
    "pcah": "PCAH",
    "sh": "SH",
    "itq": "ITQ",
    "cca_itq": "CCA-ITQ (labels)",
    "ksh": "KSH (labels)",
    "sdh": "SDH (labels)",
    "cosdish": "COSDISH (labels)",
}
rows = {
    TITLES[name]: (r.map_worst, r.map, r.map_best)
    for name, r in reports.items()
}
ax = plots.ladder(
    rows, "mAP on digits, 24 bits", stress=TITLES["pca_rotation"]
)

# %% [markdown]
# One seed on one small set is a look, not a ranking. But the large differences of {numref}`fig:shallow-digits`
# have reasons that we have seen. Labels count most. Without them, equal variances do: PCAH, on the bare axes, ends
# below random lines. Of all methods SKLSH, which sees near neighbours only, is last.
#
# ## Which one when
#
# - **No labels, any length of code, and a guarantee:** LSH: the more bits, the nearer to the angle.
# - **No labels, short codes:** ITQ. If it does not beat PCA with a random rotation on your features, learning the
#   rotation gains you nothing.
# - **No labels, few dimensions:** SH, which can take many bits from a long axis.
# - **Near-duplicates:** SKLSH, whose distances level off where nothing is near, or another without labels
#   ({doc}`12_search`); not tried here.
# - **Labels, and features from the last layer of a network**, which tell classes apart already: CCA-ITQ, whose lines
#   are straight, with a strong ridge. In {numref}`tbl:shallow-layer`, with $\rho = 1$, it is above SDH and COSDISH;
#   against KSH, which learns and encodes far more slowly, that is open at 24 bits. But few settings were tried: with a
#   stronger ridge than any of them, COSDISH too is open against it at 24 bits ({doc}`05_mlsh`). With the
#   default $\rho = 0.0001$ CCA-ITQ found held-out images worse than the three ({doc}`10_side_by_side`).
# - **Labels, and features that do not,** such as pixels: KSH or SDH. Their anchors, a thousand in
#   {numref}`tbl:shallow-layer`, cost memory, and time for each query.
# - **Before you believe in a deep method:** run ITQ, and one of those with labels, on its own features.
#
# {numref}`tbl:shallow-layer` has the four with labels on features of a MobileNetV2, from the runs of
# {doc}`10_side_by_side`: three seeds each, settings chosen among four at most on held-out images, seconds of a
# processor core at 24 bits.

# %% tags=["hide-input"] mystnb={"table": {"caption": "CIFAR-10, protocol cifar10-59k, features of MobileNetV2's last layer: mAP (mean ± standard deviation over seeds) and seconds.", "name": "tbl:shallow-layer"}}
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
        "method",
        "mAP, 12 bits",
        "mAP, 24 bits",
        "learning (s)",
        "encoding 60,000 (s)",
    ],
    *[
        [
            TITLES[name].split(" (")[0],
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
# Deep losses come back to these ideas. Mu and Liu ({doc}`03_mu_liu`) train on KSH's products of codes;
# methods with a term $\| b_i - u_i \|^2$ pull outputs to their signs as ITQ does; those that learn codes and a
# classifier together have SDH inside.
#
# ## What we learned
#
# - A bit is a line, a code is a cell, and a method chooses lines.
# - Random lines measure angles, {eq}`eq:shallow-collision`, random waves measure distances, {eq}`eq:shallow-kernel`:
#   exactly, but only with many bits.
# - Principal axes carry unequal amounts. SH gives long ones more bits; ITQ turns them until
#   rounding loses least, {eq}`eq:shallow-itq`.
# - What varies most need not be what matters. Labels say what does: CCA finds lines, kernels bend them.
# - Signs can be chosen column by column without a detour through real numbers, {eq}`eq:shallow-dcc`: on digits a gain in
#   one step, but not after five rounds.
# - Codes of training rows are worth what the function to new rows can follow.
#
# (sec:shallow-ledger)=
# ## The ledger
#
# **Seen**: read in the source named. **Worked out**: derived above and checked by counting. **Ours**: our choice.
# Of the papers mostly titles and abstracts were at hand: formulas are seen *in code*.
#
# | method | what was seen, and where | worked out or ours |
# |---|---|---|
# | LSH | the sign of a random normal projection: HABIR | {eq}`eq:shallow-collision` worked out; taking off the mean is ours |
# | SKLSH | the draws of {eq}`eq:shallow-sklsh`, and that the distance follows the kernel: HABIR, abstract | {eq}`eq:shallow-kernel` worked out; the default $\gamma$ is ours |
# | PCAH | {eq}`eq:shallow-pcah`: HABIR | the sign of each axis is ours |
# | SH | box, waves, their order, their number per axis: HABIR; that the graph problem is NP-hard and relaxed: abstract | {eq}`eq:shallow-wave` checked on a line; the order of equal eigenvalues is ours |
# | ITQ | random start, Procrustes step, about 50 rounds: first author's code in HABIR | {eq}`eq:shallow-procrustes` worked out |
# | CCA-ITQ | {eq}`eq:shallow-cca`, $\rho = 0.0001$, scaling by $\xi$: the same | solved as a singular value decomposition, which gives the same (ours) |
# | KSH | kernel, start, climb, stopping rule, the better of two, 300 anchors: SSHBIR and others | $S$ is not written down, and so more labelled rows than the 2,000 there (ours) |
# | SDH | the three steps, 5 rounds, 10 sweeps, $\lambda = 1$, $\nu = 10^{-5}$, 1,000 anchors: SSHBIR | {eq}`eq:shallow-dcc` worked out; the kernel's width by KSH's rule (ours) |
# | COSDISH | all steps: SSHBIR | see {doc}`05_mlsh` |
# | controls | random rotation: HABIR | random codes are ours: a hash of the features |
#
# Table: The ledger of the shallow methods.
#
# HABIR is `willard-yuan/hashing-baseline-for-image-retrieval`, SSHBIR
# `Eddie-Wang1120/single-modal-supervised-hashing-baseline-for-image-retrieval`, both on GitHub.
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
# ### Exercise 2: a rotation in the plane
# The coordinates along two principal axes have variances $\sigma_1^2 > \sigma_2^2$. Turn them by an angle $\alpha$.
# What are the variances of the outputs, and for which $\alpha$ are they equal? Are the outputs still uncorrelated?
#
# <details class="solution"><summary>Solution</summary>
#
# If $v_1$ and $v_2$ are the coordinates, the first output is $\cos\alpha\, v_1 + \sin\alpha\, v_2$, with variance
# $\sigma_1^2 \cos^2\alpha + \sigma_2^2 \sin^2\alpha$; the second has the two swapped. At $\alpha = 45°$ both are
# $\tfrac12 (\sigma_1^2 + \sigma_2^2)$. The covariance is $\pm \tfrac12 (\sigma_1^2 - \sigma_2^2) \sin 2\alpha$,
# largest exactly there: the price of equal variances is correlation.
#
# </details>
#
# ### Exercise 3: two classes
# With two classes, and a first bit that separates them perfectly, what is $E_2$ in KSH? What will the other bits be,
# and what does this mean for a 32-bit code?
#
# <details class="solution"><summary>Solution</summary>
#
# If $b_1$ is $+1$ on one class and $-1$ on the other, then $b_1 b_1^{\mathsf T} = S$ and $E_2 = (K - 1) S$: the same
# problem up to a factor. So the second bit is the first again, and so on. The code says the class, 32 times over, and
# ranks by nothing else. That is the optimum of {eq}`eq:shallow-ksh`, and it is as much as pairs of labels can ask
# for.
#
# </details>
#
# ### Exercise 4: the bits of a box
# Write the choice of spectral hashing: for a box with these sides, the $K$ waves with the smallest $p / g$, smoothest
# first, each as (axis, $p$); axes count from 0. Work out the first case by hand.


# %%
def smoothest_waves(sides, K): ...  # your lines


BOXES = [
    (([10, 3], 5), [(0, 1), (0, 2), (0, 3), (1, 1), (0, 4)]),
    (([2, 3], 3), [(1, 1), (0, 1), (1, 2)]),
    (([5], 3), [(0, 1), (0, 2), (0, 3)]),
]
exercises.check(smoothest_waves, *BOXES)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def smoothest_waves(sides, K):
    every = [(a, p) for a in range(len(sides)) for p in range(1, K + 1)]
    return sorted(every, key=lambda wave: wave[1] / sides[wave[0]])[:K]


exercises.check(smoothest_waves, *BOXES, required=True)

# %% [markdown]
# ### Exercise 5: the best rotation
# Write the second step of ITQ, {eq}`eq:shallow-procrustes`: the orthogonal matrix $O$ that brings coordinates $V$ (N,
# K) nearest to codes $B$ (N, K). `np.linalg.svd(A)` gives $U_1$, the diagonal of $\Sigma$, and $U_2^{\mathsf T}$.


# %%
def best_rotation(B, V): ...  # your lines


CORNERS = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
THIRTY = np.array([[np.sqrt(3), -1.0], [1.0, np.sqrt(3)]]) / 2  # degrees
CLOUD = np.random.default_rng(0).normal(size=(40, 4))
TURNS = [
    ((CORNERS, CORNERS), np.eye(2)),  # all in place already
    ((CORNERS, CORNERS @ THIRTY), THIRTY.T),  # turn back
    ((base.signs(CLOUD), CLOUD), itq.rotate(CLOUD, np.eye(4), 1)[0]),
]
exercises.check(best_rotation, *TURNS)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def best_rotation(B, V):
    left, _, right = np.linalg.svd(B.T @ V)  # right is the transpose of U_2
    return right.T @ left.T


exercises.check(best_rotation, *TURNS, required=True)

# %% [markdown]
# ## What this chapter claims
#
# As in every chapter, the last cell fails if something that the text says stops being true.

# %% tags=["hide-input"]
# Lines: chosen ones give each clump a cell of its own, most random ones do not


def usual_codes(model):
    """Codes of the diamond's rows (4, 60, K), and of each clump the usual one (4, 1, K)."""
    clumps = model.transform(diamond).reshape(4, 60, -1)
    return clumps, np.median(clumps, axis=1, keepdims=True)


def together(model):
    """Of each clump, the share of rows with its usual code, (4,)."""
    clumps, usual = usual_codes(model)
    return (clumps == usual).all(2).mean(1)


def told_apart(model):
    """Whether each clump has a code of its own, and nearly all its rows have it."""
    own = len(np.unique(usual_codes(model)[1], axis=0))
    return own == 4 and together(model).min() > 0.9


assert told_apart(turning["ITQ"]) and told_apart(two_lines["chosen lines"])
assert together(turning["PCAH"]).max() < 0.9
assert not told_apart(two_lines["random lines"])
draws = [
    shallow.LSH(bits=2, random_state=i).fit(diamond) for i in range(40)
]
assert 0 < sum(map(told_apart, draws)) < 20

# Guarantees: what was counted lies on the curves
four_deviations = {
    bits: 4 * np.sqrt(promised * (1 - promised) / bits) for bits in agreed
}
for bits, share in agreed.items():
    assert (np.abs(share - promised) < four_deviations[bits]).all()
assert np.abs(agreed[4096] - promised).max() < 0.04
assert np.abs(agreed[32] - promised).max() > 0.05
assert np.abs(curve - counted).max() < 4 * np.sqrt(0.25 / 4096)
assert abs(differ(50.0) - 4 / np.pi**2) < 1e-3
assert f"{4 / np.pi**2:.3f}" == "0.405"
assert differ(2.0) > 0.9 * 4 / np.pi**2

# Waves and rotations
assert min(likeness.values()) > 0.999
assert np.allclose(grown, [4, 9], rtol=0.03)
spectral = axes_and_waves["SH, 3 bits"]
assert spectral.axis_.tolist() == [0, 0, 1]
assert spectral.mode_.tolist() == [1, 2, 1]
rounding = {
    name: ((base.signs(u) - u) ** 2).sum() for name, u in outputs.items()
}
assert rounding["ITQ"] < 0.4 * rounding["PCAH"]
for name, u in outputs.items():
    by_absolutes = u.size + (u**2).sum() - 2 * np.abs(u).sum()
    assert np.isclose(rounding[name], by_absolutes)
evenness = {name: v.max() / v.min() for name, v in spread.items()}
assert np.allclose([v.sum() for v in spread.values()], spread["PCAH"].sum())
assert spread["PCAH"][:4].sum() > 0.53 * spread["PCAH"].sum()
assert evenness["PCAH"] > 8 > 4 > evenness["turned at random"] > 2
assert evenness["ITQ"] < 2

# More bits than directions: refused, but for random lines and for waves
for hasher in (shallow.PCAH, shallow.ITQ):
    try:
        hasher(bits=65).fit(pixels)
    except InputError as error:
        assert "bits must be at most" in str(error)
    else:
        raise AssertionError("65 bits from 64 pixels")
for hasher in (shallow.LSH, shallow.SKLSH, shallow.SH):
    assert hasher(bits=96).fit(pixels).transform(pixels[:1]).shape[1] == 96

# Labels
right = {
    name: (model.transform(layers)[:, 0] == layer).mean()
    for name, model in one_bit.items()
}
assert cosine > 0.999
assert max(right["CCA-ITQ, 1 bit"], 1 - right["CCA-ITQ, 1 bit"]) > 0.97
assert abs(right["ITQ, 1 bit"] - 0.5) < 0.1
assert all(after < before for before, after in pairwise(left))
assert 0.32 < left[-1] < 0.36

# Discrete steps
gains, hits = (
    {name: [one[name][i] for one in stepped] for name in chapter.WAYS}
    for i in (0, 1)
)
assert 0.4 < min(gains["relaxed"]) < max(gains["relaxed"]) < 0.75
assert min(gains["bit by bit"]) > 0.98 and min(hits["bit by bit"]) > 0.95
assert max(hits["relaxed"]) < 0.15
pairs_of_ends = zip(learned["relaxed"], learned["bit by bit"], strict=True)
behind = [rounded > exact for (rounded, _), (exact, _) in pairs_of_ends]
assert 0 < sum(behind) < len(behind)  # neither is reliably ahead
counts = {name: [n for _, n in ends] for name, ends in learned.items()}
assert max(map(max, counts.values())) == 10
assert max(map(min, counts.values())) < 10
assert counts["bit by bit"] == counts["all codes tried"]
for name in ("bit by bit", "all codes tried"):
    astray = [n for value, n in learned[name] if value > 300]
    assert astray == [8] and counts[name].count(10) == 5

# From training rows to all others
for name in ("KSH", "SDH", "COSDISH on kernels"):
    assert carried[name].new > 0.9 > 0.5 > carried["COSDISH"].new
assert carried["KSH"].learned is None
for name in ("SDH", "COSDISH", "COSDISH on kernels"):
    assert carried[name].learned > 0.99
assert 0.4 < carried["COSDISH"].wrong < 0.6
assert carried["COSDISH on kernels"].wrong < 0.25

# Digits
scores = {name: report.map for name, report in reports.items()}
labelled = {name for name in scores if fitted[name].hasher.supervised}
assert labelled == {n for n, title in TITLES.items() if "labels" in title}
assert set(scores) == set(TITLES)
assert abs(scores["random"] - 0.1) < 0.02
plain = [name for name in scores if name not in labelled | {"random"}]
assert max(plain, key=scores.get) == "itq"
assert min(plain, key=scores.get) == "sklsh"
assert min(scores[name] for name in labelled) > scores["itq"] + 0.05
assert scores["itq"] > scores["pca_rotation"] + 0.05
assert scores["pca_rotation"] > scores["pcah"] + 0.1
assert scores["lsh"] > scores["pcah"]
assert min(scores["ksh"], scores["sdh"]) > 0.93

# Which one when: the four with labels on the last layer of a network
for bits in (12, 24):
    ranked = {
        name: np.mean([run.map for run in one.records[bits]])
        for name, one in on_layer.items()
    }
    assert sorted(ranked, key=ranked.get, reverse=True) == list(on_layer)
assert ranked["cca_itq"] - ranked["ksh"] < 0.01  # at 24 bits
for name in ("cca_itq", "cosdish"):  # without anchors
    for kernel in ("ksh", "sdh"):
        assert cores[kernel, "encode"] > 3 * cores[name, "encode"]
assert cores["ksh", "train"] > 20 * cores["cca_itq", "train"]
for name in ("ksh", "sdh"):
    assert on_layer[name].best["anchors"] == 1000
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
# chapter 05: COSDISH on this layer, with a ridge that was not among the four
stronger = recorded(
    range(3),
    {"scales": "conv5", "ridge": 1000.0, "frozen": True},
    method="mlsh",
    protocol="cifar10-59k",
    bits=24,
)
assert max(one["ridge"] for one in comparison.variants("cosdish")) < 1000
assert (
    difference(on_layer["cca_itq"].records[24], stronger).verdict == "open"
)
others = [max(graded[name]) for name in ("ksh", "sdh", "cosdish")]
assert graded["cca_itq"][weak] < min(others)

# Exercises
assert round((180 * np.sqrt(3 / 16) / 5) ** 2) == 243
assert round(180 * np.sqrt(3 / 16 / 32)) == 14
noise = np.random.default_rng(0).standard_normal((300, 2))
far = noise + 8 * layer[:, None]  # two classes far apart
twins = shallow.KSH(bits=8, anchors=60).fit(far, layer).transform(far)
assert len(np.unique(twins ^ twins[:1], axis=1).T) == 1
print("every claim holds")
