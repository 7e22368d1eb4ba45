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
# # Hamming space
#
# You have a picture, and want the pictures most like it out of a hundred million. Comparing pixels is of little use: move
# the camera by a step, and all of them change. A neural network can do better. It turns every picture into a short list
# of numbers, and it can be trained so that similar pictures get similar numbers. But a hundred million lists of 64
# numbers take 25.6 GB, and each search has to go through all of them.
#
# *Hashing* keeps one bit of each number: whether it is negative or not. Now a picture is 64 bits, the hundred million
# take 0.8 GB, and a processor compares two of them in a few instructions. {numref}`fig:hamming-why` shows such a search, with
# handwritten digits for pictures and eight bits for each.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "From an image to a ranked list. The network gives eight outputs; each becomes a bit, by its sign. The database is sorted by the number of bits that differ from those of the query (framed).", "name": "fig:hamming-why"}, "image": {"alt": "A search from top to bottom. A query image of a five goes into a network, which gives eight outputs, drawn as bars above or below zero. Below each bar stands its bit, 1 where the bar points up and 0 where it points down. Then six images of the ranked list, from rank 1 to rank 400, each with its eight bits and its distance. The first images have the same bits as the query and show fives; later ones differ in one or more bits, and some show other digits."}}
import numpy as np

from hashlab import codes, data, methods
from hashlab.chapters.figures import hamming

digits = data.load("digits")
network = methods.create("mu_liu", 8, epochs=2, pretrain_epochs=0, shift=0)
network.fit(digits.train, seed=0)
asked = 10  # the number of the query
outputs = network.outputs(digits.query.images[asked : asked + 1])[0]  # (8,)
bits = codes.binarize(network.outputs(digits.database.images))  # (N, 8)
apart = (bits != codes.binarize(outputs[None])).sum(1)  # (N,)
ranks = np.array([1, 2, 50, 100, 200, 400])
on_list = np.argsort(apart, kind="stable")[ranks - 1]
ax = hamming.from_image_to_list(
    digits.query.images[asked],
    outputs,
    digits.database.images[on_list],
    bits[on_list],
    ranks,
    digits.database.labels[on_list] == digits.query.labels[asked],
)

# %% [markdown]
# Some words, in the order of the figure. The picture that we ask with is the *query*. A network computes its *outputs*;
# the bits made from them are its *code*. The pictures that are searched are the *database*: their codes were computed
# once and wait in memory. The *distance* of two codes is the number of bits in which they differ, and the search returns
# the database sorted by it, nearest first. Last comes the question whether that was any good. An image is *relevant* to
# the query if it shows the same digit: those have a tick.
#
# How a network learns to give similar codes to similar pictures is the matter of this book from {doc}`03_mu_liu` on.
# (The one of the figure has been trained for a second or two in the folded cell above it.) This chapter starts where
# the network ends: how bits are made, stored and compared, what the space they live in looks like, and how a ranked
# list gets its grade. Every network of this book is judged with these tools, so it pays to know exactly what their
# numbers mean. Most of it can be checked with a pencil. Where there is a formula, the cell below it computes the plain
# definition beside what `hashlab` says.
#
# (tbl:hamming-letters)=
#
# | symbol | meaning |
# |---|---|
# | $K$ | number of bits in a code |
# | $u \in \mathbb{R}^K$ | the outputs of the network for an image |
# | $h \in \{0, 1\}^K$ | its code, bits written as 0 and 1 |
# | $b \in \{-1, +1\}^K$ | the same code, bits written as signs |
# | $d(h, h')$ | Hamming distance: in how many bits two codes differ |
# | $N$ | number of images in the database |
# | $R$ | how many of them are relevant to a query |
# | $r$ | a Hamming radius: what lies within it differs in at most $r$ bits |
# | $n$ | a rank: 1 is the first image of the list |
#
# Table: Letters of this chapter. Those of the whole book are on the [page of notation](../book/notation.md).

# %% [markdown]
# ## From outputs to bits
#
# A code keeps nothing of the outputs $u = (u_1, \dots, u_K)$ but their signs:
#
# $$ h_k = \begin{cases} 1 & \text{if } u_k \ge 0, \\ 0 & \text{if } u_k < 0. \end{cases} $$ (eq:sign)

# %%
from fractions import Fraction
from itertools import permutations, product
from math import comb

import numpy as np

from hashlab import codes, data, metrics

u = np.array(
    [[0.7, -1.2, 0.0, 3.1], [-0.4, -0.1, 2.5, -0.0]]
)  # (2 images, 4 outputs)

plain = [[1 if value >= 0 else 0 for value in row] for row in u]
bits = codes.binarize(u)  # bool (2, 4)

print("by the rule:", plain)
print("by hashlab: ", bits.astype(int).tolist())

# %% [markdown]
# Zero counts as positive, and so does the "minus zero" of floating point. That sounds pedantic, but the usual sign
# function does something else: it sends zero to zero, and then the code has a third symbol.
#
# To see what goes wrong, write bits as signs, $b = 2h - 1 \in \{-1, +1\}^K$. The losses of later chapters do so, because
# the product $b_k b'_k$ is $+1$ where two codes agree and $-1$ where they differ. With $d$ differences there are $K - d$
# agreements, so
#
# $$
# \begin{aligned}
# b^{\mathsf T} b' &= (K - d) - d = K - 2\,d, \\
# d &= \tfrac12 \, (K - b^{\mathsf T} b').
# \end{aligned}
# $$ (eq:signs)
#
# An inner product of signs is a Hamming distance in other units. Now give the formula a zero:


# %%
def distance_of_signs(b, other):
    return (len(b) - b @ other) / 2


by_sign = np.sign(u[0]).astype(int)
by_rule = 2 * bits[0].astype(int) - 1
for name, b in (("np.sign(u):", by_sign), ("u >= 0:", by_rule)):
    print(f"{name:12}{b}  distance from itself:", distance_of_signs(b, b))

# %% [markdown]
# A code at distance one half from itself is not a code. And zeros are no rarity: a layer that ends in a ReLU, which
# replaces negative numbers by zero, puts out many. Rule {eq}`eq:sign` gives zero one meaning, everywhere in this book.
# (An output that is no number at all has no sign; `codes.binarize` refuses it.)
#
# ## Packing
#
# NumPy spends a byte on each Boolean, eight times what it is worth. So codes are *packed*: eight bits to a byte, the
# first bit in the lowest place,
#
# $$ \text{byte} = \sum_{k=1}^{8} h_k\, 2^{k-1}. $$ (eq:byte)

# %%
eight = np.array([[1, 0, 1, 1, 0, 0, 1, 0]], dtype=bool)  # (1, 8)
by_hand = 1 + 4 + 8 + 64  # the places of bits 1, 3, 4 and 7

packed = codes.pack(eight)  # uint8 (1, 8)
print("by hand:   ", by_hand)
print("by hashlab:", packed[0].tolist())

# %% [markdown]
# Why seven zeros behind the 77? Processors work on *words* of 64 bits, so `codes.pack` fills every code with zeros to
# whole words. Two codes of a pair get the same zeros, hence padding never adds to their distance. `codes.unpack` takes
# it off again.
#
# ## Hamming distance
#
# The Hamming distance {cite:p}`hamming1950error` of two codes is the number of places in which they differ:
#
# $$ d(h, h') = \sum_{k=1}^{K} [\,h_k \ne h'_k\,], $$ (eq:hamming)
#
# where $[\,\cdot\,]$ is 1 if what stands inside is true and 0 if not. "Differs" is a logical operation, exclusive or
# (XOR, written $\oplus$): $h_k \oplus h'_k$ is 1 exactly where the bits differ. What remains is to count ones, and for
# that processors have an instruction too, *population count*:
#
# $$ d(h, h') = \operatorname{popcount}(h \oplus h'). $$ (eq:popcount)

# %%
one, other = 0b10110010, 0b10010111

print(f"one            {one:08b}")
print(f"other          {other:08b}")
print(f"one xor other  {one ^ other:08b}")
print("ones in it:   ", (one ^ other).bit_count())

# %% [markdown]
# Three ways to the same distances: the definition {eq}`eq:hamming`, the inner product {eq}`eq:signs`, and the library,
# which follows {eq}`eq:popcount` on packed codes.

# %%
rng = np.random.default_rng(0)
x, y = rng.random((3, 100)) < 0.5, rng.random((4, 100)) < 0.5  # bits

definition = [
    [sum(p != q for p, q in zip(i, j, strict=True)) for j in y] for i in x
]

signs, others = 2 * x.astype(int) - 1, 2 * y.astype(int) - 1
inner = (100 - signs @ others.T) // 2  # (3, 4)

library = codes.hamming(codes.pack(x), codes.pack(y))  # (3, 4)
print(library)
print("definition agrees:   ", np.array_equal(definition, library))
print("inner product agrees:", np.array_equal(inner, library))

# %% [markdown]
# One XOR and one popcount compare 64 bits. And before anything can be compared it must be fetched from memory: a
# 64-bit code is 8 bytes, the 64 numbers it was made from are 256. For a large database the fetching is often what takes
# the time. Here is one query against 200,000 images, once with the numbers (their inner products, as fast as NumPy does
# them), once with the bits. These times are your machine's.

# %% tags=["nbval-ignore-output", "hide-input"]
from timeit import repeat


def milliseconds(work):
    """The fastest of a few runs: the one least disturbed by the rest of the machine."""
    return 1000 * min(repeat(work, number=1, repeat=7))


floats = rng.normal(size=(200_000, 64)).astype(np.float32)
packed = codes.pack(codes.binarize(floats))

time_floats = milliseconds(lambda: floats @ floats[0])
time_bits = milliseconds(lambda: codes.hamming(packed[:1], packed))
print(f"numbers: {floats.nbytes / 1e6:5.1f} MB, {time_floats:5.2f} ms")
print(f"bits:    {packed.nbytes / 1e6:5.1f} MB, {time_bits:5.2f} ms")

# %% [markdown]
# For large databases there are libraries that do the same with more care for the processor, such as Faiss
# {cite:p}`douze2024faiss`; {doc}`12_search` uses them.
#
# ## The cube
#
# A code of $K$ bits is a corner of a cube in $K$ dimensions. Flipping one bit is a walk along one edge, so the Hamming
# distance is the length of the shortest walk from corner to corner. {numref}`fig:hamming-cube` draws the cube of four
# dimensions.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The cube of four dimensions, its corners sorted by their distance from 0000. Each edge flips one bit.", "name": "fig:hamming-cube"}, "image": {"alt": "The 16 corners of the four-dimensional cube in five columns by Hamming distance from 0000. The columns hold 1, 4, 6, 4 and 1 codes; lines join codes that differ in one bit."}}
ax = hamming.cube(4)

# %% [markdown]
# How many codes lie at distance $r$ from a given one? As many as there are ways to choose the $r$ bits to flip:
#
# $$ \#\{h' : d(h, h') = r\} = \binom{K}{r}. $$ (eq:sphere)
#
# Counted over all $2^K$ codes:

# %%
for K in (4, 8):
    corners = codes.pack(
        np.array(list(product([False, True], repeat=K)))
    )  # 2^K codes
    counted = np.bincount(codes.hamming(corners[:1], corners)[0]).tolist()
    print(f"{K} bits, counted:   ", counted)
    print(f"{K} bits, by formula:", [comb(K, r) for r in range(K + 1)])

# %% [markdown]
# ### Strangers are half the bits apart
#
# Take two codes at random, every bit a fair coin. In each place they differ with probability $\tfrac12$. Their
# distance is a sum of $K$ independent coin flips, that is, binomial:
#
# $$
# \begin{aligned}
# \Pr[d = r] &= 2^{-K} \binom{K}{r}, \\
# \mathbb{E}[d] &= \frac{K}{2}, \\
# \operatorname{sd}[d] &= \frac{\sqrt{K}}{2},
# \end{aligned}
# $$ (eq:binomial)
#
# where $\mathbb{E}$ is the mean and sd the standard deviation. (One flip has mean $\tfrac12$ and variance $\tfrac14$;
# means and variances of independent flips add up.) Measured in code lengths, the mean stays at $\tfrac12$ while the
# spread $1 / (2\sqrt{K})$ shrinks: the longer the codes, the more exactly two strangers are half the bits apart, as
# {numref}`fig:hamming-strangers` shows.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How far apart two random codes are. Long codes are half their bits apart, nearly always.", "name": "fig:hamming-strangers"}, "image": {"alt": "Three bell-shaped curves of the distance of two random codes as a share of the code length, for 8, 32 and 128 bits. All are centred at one half; the longer the code, the narrower and taller the curve."}}
ax = hamming.distance_spread([8, 32, 128])

# %%
one, other = np.random.default_rng(1).integers(
    0, 2, (2, 2000, 64)
)  # 2,000 pairs of codes
distances = (one != other).sum(1)  # (2000,)
print(f"mean {distances.mean():.1f}, by the formula {64 / 2:.1f}")
print(f"sd    {distances.std():.1f}, by the formula  {64**0.5 / 2:.1f}")

# %% [markdown]
# This is what makes long codes so telling. How likely is it that two strangers come close by accident?


# %%
def chance_within(r, K):
    """Probability that two random K-bit codes are at most r apart."""
    return sum(comb(K, i) for i in range(r + 1)) / 2**K


print("bits   within K/4   within 2")
for K in (8, 16, 32, 64, 128):
    quarter, two = chance_within(K // 4, K), chance_within(2, K)
    print(f"{K:4} {quarter:11.0e} {two:10.0e}")

# %% [markdown]
# Two long codes that agree in three quarters of their bits are no accident. Keep the last column in mind as well: a
# ball of radius 2, all codes within two bits of a given one, holds less and less of the cube. The last section needs it.
#
# ## A ranking is a row of ties
#
# A search compares the query with all $N$ images of the database and shows the nearest first. But the distance is one
# of $0, 1, \dots, K$. With more than $K + 1$ images, some *must* share a distance, and usually nearly all do. A ranking
# by Hamming distance is at most $K + 1$ groups in order; within a group, the codes say nothing about who comes first.
#
# Here is a database small enough for a pencil: a query with code `0000` shows a cat, and so do four of seven images.

# %%
names = "ABCDEFG"
words = ["0000", "0100", "0001", "0011", "1010", "0110", "1111"]
animal = ["dog", "cat"]
cats = np.array([1, 0, 1, 1, 0, 1, 0])


def pack_words(words):
    return codes.pack(np.array([list(word) for word in words]) == "1")


query, images = pack_words(["0000"]), pack_words(words)
distance = codes.hamming(query, images)[0]  # (7,)
for r in range(5):
    group = np.flatnonzero(distance == r)
    listed = [f"{names[i]} {words[i]} {animal[cats[i]]}" for i in group]
    print(f"distance {r}:", ", ".join(listed) or "nobody")

# %% [markdown]
# ## Average precision
#
# How good is a ranking? Write $\mathrm{rel}_n = 1$ if the image at rank $n$ is relevant to the query (here: a cat) and
# 0 if not. *Precision* at rank $n$ is the share of relevant images among the first $n$:
#
# $$ P(n) = \frac{1}{n} \sum_{i=1}^{n} \mathrm{rel}_i. $$ (eq:precision)
#
# *Average precision* takes the precision at each rank where a relevant image stands (a *hit*), and averages over the
# $R$ relevant images of the database:
#
# $$ \mathrm{AP} = \frac{1}{R} \sum_{n=1}^{N} \mathrm{rel}_n\, P(n). $$ (eq:ap)
#
# AP is 1 when all relevant images come first, and only then. A wrong image costs the more the earlier it stands, because
# it spoils the precision of every hit behind it. The mean of AP over all queries is *mean average precision*, mAP, the
# number by which hashing papers are compared. (Where a query has nothing relevant in the database, AP is 0 by
# convention, and `hashlab` says how many such queries there were.)
#
# Take our images in the order A B C D E F G. Hits stand at ranks 1, 3, 4 and 6, so AP is
#
# $$ \frac14 \left( \frac11 + \frac23 + \frac34 + \frac46 \right) = \frac{37}{48}. $$ (eq:by-hand)


# %%
def average_precision(relevant):
    """AP by its definition, as a fraction; `relevant` is 1 or 0 by rank."""
    hits, total = 0, Fraction(0)
    for n, hit in enumerate(relevant, start=1):
        if hit:
            hits += 1
            total += Fraction(hits, n)
    return total / hits


print("A B C D E F G:", average_precision(cats))

# %% [markdown]
# ## Why ties matter
#
# Nothing but the alphabet put B before C. The codes allow every order that keeps the groups: $1! \cdot 2! \cdot 3!
# \cdot 1! = 12$ of them. We try all.

# %%
groups = [np.flatnonzero(distance == r) for r in np.unique(distance)]
orders = [
    np.concatenate(parts) for parts in product(*map(permutations, groups))
]
every_ap = [average_precision(cats[order]) for order in orders]
mean_ap = sum(every_ap) / len(orders)

print(len(orders), "orders")
print("worst AP", min(every_ap))
print("mean AP ", mean_ap)
print("best AP ", max(every_ap))

# %% [markdown]
# Which of two cats comes first makes no difference, so the twelve orders show the six patterns of hits of
# {numref}`fig:hamming-orders`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The six patterns of hits that the same codes allow, from the worst to the best. A full square is a cat.", "name": "fig:hamming-orders"}, "image": {"alt": "Six rankings of the seven images, one per row, with tie groups at distances 0, 1, 2 and 4 set apart. Full squares are relevant. From top to bottom the average precision rises from 0.7333 to 0.8875 as relevant images move forward inside their groups."}}
patterns = sorted(
    {tuple(cats[order]) for order in orders}, key=average_precision
)
pattern_aps = [average_precision(pattern) for pattern in patterns]
ax = hamming.tie_orders(np.array(patterns), np.sort(distance), pattern_aps)

# %% [markdown]
# The same codes, the same distances, and a grade that depends on who stands where in a group. In many programs the
# sorting routine decides, together with the order in which the images happen to lie in the database. That order is
# seldom innocent: data sets are often stored class by class. Papers on evaluation have warned of it
# {cite:p}`he2018talr,jiang2019metric`.
#
# An honest report can say three things, none of which depends on storage: AP when ties are broken in the *worst* way,
# in the *best* way, and what is *expected* when they are broken at random. `hashlab` reports all three, and means the
# expected one where it just says mAP.

# %%
cat_report = metrics.evaluate(query, images, np.array([1]), cats, bits=4)
for name, value, by_hand in (
    ("worst", cat_report.map_worst, min(every_ap)),
    ("expected", cat_report.map, mean_ap),
    ("best", cat_report.map_best, max(every_ap)),
):
    print(f"{name:9} {value:.4f}, by hand {float(by_hand):.4f}")

# %% [markdown]
# ## Expected AP without trying all orders
#
# Twelve orders can be listed. A single group of a hundred images has $100! \approx 10^{158}$, and yet the mean over all
# of them has a short formula. We derive it in five steps.
#
# Look at the group at distance $r$: $N_r$ images, $R_r$ of them relevant. Nearer than the group are $N_{<r}$ images,
# $R_{<r}$ of them relevant. So the group fills the ranks $N_{<r} + 1, \dots, N_{<r} + N_r$, and all orders within it are
# equally likely. Its positions are $p = 1, \dots, N_r$: position $p$ is rank $n = N_{<r} + p$.
#
# **Step 1: one position at a time.** The expectation of a sum is the sum of expectations, whether or not the terms
# depend on each other. By {eq}`eq:ap`,
#
# $$ R \cdot \mathbb{E}[\mathrm{AP}] = \sum_{r=0}^{K} \; \sum_{p=1}^{N_r} \mathbb{E}[ \mathrm{rel}_n P(n) ]. $$ (eq:step-sum)
#
# **Step 2: is there a hit at position $p$?** Each of the $N_r$ images is equally likely to stand there, and $R_r$ are
# relevant:
#
# $$ \Pr[\mathrm{rel}_n = 1] = \frac{R_r}{N_r}. $$ (eq:step-hit)
#
# **Step 3: if so, how many hits came before?** All $R_{<r}$ of the nearer groups, and some of this group. The $p - 1$
# positions in front are filled from the other $N_r - 1$ images, of which $R_r - 1$ are relevant. So each holds a hit
# with probability
#
# $$ f = \frac{R_r - 1}{N_r - 1}, $$ (eq:share-of-others)
#
# and $(p - 1)\,f$ hits are expected there. (A group of one has no others: there $f = 0$.)
#
# **Step 4: put together.** If position $p$ holds a hit, the precision there counts that hit and all before it, out of
# $n = N_{<r} + p$ images. Without a hit the term is zero. So
#
# $$
# \begin{aligned}
# & \mathbb{E}[ \mathrm{rel}_n P(n) ] \\
# & = \frac{R_r}{N_r} \cdot \frac{R_{<r} + 1 + (p - 1)\,f}{n}.
# \end{aligned}
# $$ (eq:step-position)
#
# **Step 5: sum over the group.** The rank stands below the fraction bar, and hidden in $p$ above it. Write
# $p - 1 = n - (N_{<r} + 1)$, and the fraction splits into a constant and a multiple of a reciprocal:
#
# $$
# \begin{aligned}
# & \frac{R_{<r} + 1 + (p - 1)\,f}{n} = f + \frac{g}{n}, \\[1ex]
# & g = R_{<r} + 1 - f\,(N_{<r} + 1).
# \end{aligned}
# $$ (eq:step-split)
#
# Sums of reciprocals have a name, harmonic numbers: $H_n = 1 + \tfrac12 + \dots + \tfrac1n$. The reciprocals of the
# group's ranks add up to $\Delta = H_{N_{<r} + N_r} - H_{N_{<r}}$, and the group contributes
#
# $$ G_r = \frac{R_r}{N_r} \big( N_r f + g\, \Delta \big). $$ (eq:group-sum)
#
# All groups together give
#
# $$ \mathbb{E}[\mathrm{AP}] = \frac{1}{R} \sum_{r=0}^{K} G_r. $$ (eq:expected-ap)
#
# {cite:t}`he2018talr` give the expectation as a sum over positions, like {eq}`eq:step-position`; {eq}`eq:group-sum`
# is the same number without the loop.
#
# Try it with a pencil on the group at distance 2: $N_2 = 3$, $R_2 = 2$, $N_{<2} = 3$, $R_{<2} = 2$, hence
# $f = \tfrac12$. By {eq}`eq:step-position` its three positions give
#
# $$
# \begin{aligned}
# & \frac23 \cdot \frac{3}{4} + \frac23 \cdot \frac{3.5}{5} + \frac23 \cdot \frac{4}{6} \\[1ex]
# & = \frac12 + \frac{7}{15} + \frac49 = \frac{127}{90}.
# \end{aligned}
# $$ (eq:group-by-hand)


# %%
def harmonic(n):
    return sum((Fraction(1, i) for i in range(1, n + 1)), Fraction(0))


def group_sum(N, R, nearer, hits_nearer):
    """G of N images, R relevant, behind nearer ones with so many hits."""
    f = Fraction(R - 1, N - 1) if N > 1 else Fraction(0)
    g = hits_nearer + 1 - f * (nearer + 1)
    delta = harmonic(nearer + N) - harmonic(nearer)
    return Fraction(R, N) * (N * f + g * delta)


def expected_ap(total, hits):
    """From the images and the hits at every distance, nearest first."""
    summed, nearer, hits_nearer = Fraction(0), 0, 0
    for N, R in zip(total, hits, strict=True):
        if N:
            summed += group_sum(N, R, nearer, hits_nearer)
        nearer, hits_nearer = nearer + N, hits_nearer + R
    return summed / hits_nearer


total = np.bincount(distance, minlength=5).tolist()
hits = np.bincount(distance[cats == 1], minlength=5).tolist()
print("images at distance 0..4:     ", total)
print("hits at distance 0..4:       ", hits)
print("G of the group at distance 2:", group_sum(3, 2, 3, 2))
print("expected AP by the formula:  ", expected_ap(total, hits))
print("mean AP of the twelve orders:", mean_ap)

# %% [markdown]
# Not nearly equal, but the same fraction. One example proves little, so the folded cell compares formula and
# enumeration for every ranking of three groups with up to three images each.


# %% tags=["hide-input"]
def arrangements(n, hits):
    """All ways to place hits among n positions; each is equally likely."""
    return sorted(set(permutations([1] * hits + [0] * (n - hits))))


def mean_over_orders(total, hits):
    rankings = product(*map(arrangements, total, hits))
    aps = [average_precision(sum(parts, ())) for parts in rankings]
    return sum(aps) / len(aps)


one_group = [(n, hits) for n in range(4) for hits in range(n + 1)]
small = [
    tuple(zip(*case, strict=True)) for case in product(one_group, repeat=3)
]
small = [case for case in small if sum(case[1]) > 0]
equal = sum(expected_ap(*case) == mean_over_orders(*case) for case in small)
print(f"the same fraction in {equal} of {len(small)} rankings")

# %% [markdown]
# See what the formula asks for: two counts per distance, of all images and of relevant ones. Two histograms with $K +
# 1$ bins hold all there is to know about a query. No sort is needed and no order is chosen, so nothing can depend on
# it. This is how `hashlab.metrics` works, for every metric of a ranking by Hamming distance.
#
# ## A whole data set
#
# Time for real images. `digits` ships with scikit-learn: handwritten digits of 8 × 8 pixels. The split of that name
# asks 300 of them as queries and searches the rest. An image is relevant if it shows the same digit.
#
# The hash function is about the simplest there is, *random hyperplanes*. For each bit draw a random direction $w_k$,
# and ask on which side of the plane through the mean training image $\bar x$ the image $x$ lies:
#
# $$ u_k = w_k^{\mathsf T} (x - \bar x). $$ (eq:hyperplanes)
#
# The bit is its sign, by {eq}`eq:sign`.
#
# Seen from $\bar x$, two images form an angle $\alpha$. A random plane through $\bar x$ separates them with probability
# $\alpha / \pi$ {cite:p}`charikar2002similarity`, so the Hamming distance is about $K \alpha / \pi$: the codes estimate
# an angle, and the estimate gets better with every bit. Nothing is learned here, and labels play no part.

# %%
digits = data.load("digits")
truth, labels = digits.query.labels, digits.database.labels  # (Q,), (N,)
mean = digits.train.images.mean(0)  # (8, 8)


def vectors(part):
    return (part.images - mean).reshape(len(part), -1)  # (N, 64)


queries, database = vectors(digits.query), vectors(digits.database)


def hash_codes(x, K, seed=0):
    planes = np.random.default_rng(seed).normal(size=(64, K))
    return codes.pack(codes.binarize(x @ planes))


def score(K, seed=0):
    a, b = hash_codes(queries, K, seed), hash_codes(database, K, seed)
    return metrics.evaluate(a, b, truth, labels, bits=K)


report = score(K=8)
print(len(queries), "queries,", len(database), "images in the database")
print("8 bits:")
print(f"worst mAP    {report.map_worst:.3f}")
print(f"expected mAP {report.map:.3f}")
print(f"best mAP     {report.map_best:.3f}")

# %% [markdown]
# {numref}`fig:hamming-nearest` shows the first three queries and what comes nearest to them. The lines above it say how many
# images could have stood at the last place.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Three queries and the eight images that come first. Above each stands its distance, with a tick where the digit is right: right and wrong digits share a distance.", "name": "fig:hamming-nearest"}, "image": {"alt": "Three rows: a query digit, then its eight nearest database images by 8-bit codes, each with its Hamming distance and a tick or a cross. All distances are 0 or 1, and rows mix right and wrong digits at the same distance."}}
from hashlab import plots

a, b = hash_codes(queries[:3], 8), hash_codes(database, 8)
for row, distances in enumerate(codes.hamming(a, b), start=1):
    eighth = np.sort(distances)[7]
    size = (distances == eighth).sum()
    print(
        f"query {row}: the image at rank 8 is one of {size} at distance {eighth}"
    )
shown, stored = digits.query.images[:3], digits.database.images
figure = plots.retrieved(shown, a, truth[:3], stored, b, labels)

# %% [markdown]
# Which images of a group stand in front, and so are shown, is luck. How much does this luck matter for mAP? We do
# what many evaluation scripts do, sort by distance with `argsort`, and change nothing but the order in which the
# database is stored:


# %%
def map_of(ranking):
    """mAP by its definition; ranking (Q, N) lists the database by rank."""
    relevant = labels[ranking] == truth[:, None]  # (Q, N)
    precision = relevant.cumsum(1) / np.arange(1, len(labels) + 1)
    return ((precision * relevant).sum(1) / relevant.sum(1)).mean()


def map_by_sorting(K, stored):
    """mAP after a stable sort of a database stored in that order, (N,)."""
    a, b = hash_codes(queries, K), hash_codes(database[stored], K)
    order = np.argsort(codes.hamming(a, b), axis=1, kind="stable")
    return map_of(stored[order])


storage = {
    "class by class, 0 to 9": np.argsort(labels, kind="stable"),
    "class by class, 9 to 0": np.argsort(-labels, kind="stable"),
    "shuffled": np.random.default_rng(0).permutation(len(labels)),
}
sorted_map = {
    name: map_by_sorting(4, stored) for name, stored in storage.items()
}
for name, value in sorted_map.items():
    print(f"{name:24} mAP {value:.3f}")
print(f"expected over all orders mAP {score(4).map:.3f}")

# %% [markdown]
# Same images, same codes of 4 bits, same formula {eq}`eq:ap`. Here the database stored class by class scores higher for
# nothing. Within a group, the classes stored first gain and those stored last lose; which of the two weighs more
# depends on the classes and the codes. The shuffled database comes close to the expectation, as it should.
#
# Now for all lengths. We average over ten draws of the planes, and compare with the ranking by the angle itself, which
# the codes only estimate. {numref}`fig:hamming-band` shows it; the numbers are in {numref}`tbl:hamming-band`, below.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "mAP of random hyperplanes, mean of ten draws. All of the shaded band is the mAP of the same codes, under one order of ties or another.", "name": "fig:hamming-band"}, "image": {"alt": "mAP against code length from 2 to 128 bits. The expected mAP climbs steadily towards a dashed line, the mAP of ranking by the angle itself. A band between worst and best order of ties is very wide at 2 bits and closes as codes grow longer; its upper edge starts high, falls, and then rises."}}
lengths, draws = [2, 4, 8, 16, 32, 64, 128], range(10)
reports = {K: [score(K, seed) for seed in draws] for K in lengths}


def curve(metric):
    """The metric of that name per length, mean over the draws."""
    return np.array(
        [np.mean([getattr(r, metric) for r in reports[K]]) for K in lengths]
    )


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


worst, expected, best = curve("map_worst"), curve("map"), curve("map_best")
cosine = (
    unit(queries) @ unit(database).T
)  # (Q, N): large where the angle is small
angle = map_of(np.argsort(-cosine, axis=1, kind="stable"))
ax = plots.against_bits(
    lengths,
    {"expected over ties": expected, "the angle itself": angle},
    "mAP, mean of 10 draws",
    band={
        "relevant last in every tie": worst,
        "relevant first in every tie": best,
    },
)

# %% [markdown]
# If you remember one figure of this chapter, take this one. The line climbs towards the dashed level: more bits, a
# better estimate of the angle. But follow the upper edge of the band from the left. It starts high and *falls*, and only
# longer codes lift it again. Codes of 2 bits sort the database into three groups; if somebody then puts the relevant
# images first in each, the order is their work, not the codes'.

# %% tags=["hide-input"] mystnb={"table": {"caption": "mAP under the worst order of ties, expected, and under the best; the ranking by the angle has no ties to speak of.", "name": "tbl:hamming-band"}}
from hashlab.chapters.tables import table

beaten = [
    K for K, value in zip(lengths, expected, strict=True) if value < best[0]
]
print(
    f"2 bits with the kindest ties beat every expected mAP up to {max(beaten)} bits"
)
rows = zip(lengths, worst, expected, best, strict=True)
table(
    ["bits", "worst", "expected", "best"],
    *([K, *(f"{value:.3f}" for value in row)] for K, *row in rows),
    ["the angle", "", f"{angle:.3f}", ""],
)

# %% [markdown]
# ## Precision and recall by radius
#
# There is a way to grade without breaking ties: never cut through a group. Retrieve the whole *ball* of radius $r$,
# all images with $d \le r$, and count over all queries (a hit is a relevant image in the ball)
#
# $$
# \begin{aligned}
# \text{precision}(r) &= \frac{\text{hits}}{\text{images in the ball}}, \\[1ex]
# \text{recall}(r) &= \frac{\text{hits}}{\text{all relevant}}.
# \end{aligned}
# $$ (eq:by-radius)
#
# Each radius gives one point, $K + 1$ points in all. For the cats:

# %%
for r in range(5):
    ball = distance <= r
    inside = cats[ball].sum()
    by_hand = f"precision {inside}/{ball.sum()}, recall {inside}/4"
    p, recall = cat_report.precision[r], cat_report.recall[r]
    print(f"radius {r}: {by_hand}; hashlab: {p:.3f}, {recall:.3f}")

# %% [markdown]
# And for the digits, in {numref}`fig:hamming-by-radius`: short codes have few points to choose from, and their first point,
# radius 0, already holds many images. All curves end at the lower right, where the ball is the whole space and precision
# is the share of the class in the database.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision against recall of random hyperplanes, a point per radius. Longer codes lie higher and leave more radii to choose from.", "name": "fig:hamming-by-radius"}, "image": {"alt": "Precision against recall for random hyperplane codes of 8, 32 and 128 bits, one point per Hamming radius. Longer codes lie higher and have more points; all curves end at full recall with a precision of about one tenth."}}
ax = plots.precision_recall(
    {f"{K} bits": reports[K][0] for K in (8, 32, 128)}
)

# %% [markdown]
# ## Within radius 2, and the empty ball
#
# Short codes can do what no ranking can: they can be *addresses*. Put every image into the bucket that its code names,
# and a query finds its neighbours by opening the buckets around its own {cite:p}`salakhutdinov2009semantic`. Within
# radius 2 these are
#
# $$ 1 + K + \binom{K}{2} $$ (eq:ball)
#
# buckets, however large the database. The grade of such a search is *precision within radius 2*: the share of relevant
# images in the ball, averaged over queries, where an empty ball counts 0. It stands in many papers. But remember what
# happened to balls of radius 2 as the cube grew, and look at {numref}`fig:hamming-empty-balls`.


# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision within radius 2 rises, then falls to nothing: the longer the codes, the more queries find nobody so near.", "name": "fig:hamming-empty-balls"}, "image": {"alt": "Three curves against code length from 2 to 128 bits. mAP climbs all the way. Precision within radius 2 climbs to a peak at middle lengths and then falls to zero. The share of queries with an empty ball is zero at first and climbs to one."}}
def share_of_empty_balls(K, seed):
    distances = codes.hamming(
        hash_codes(queries, K, seed), hash_codes(database, K, seed)
    )
    return (distances.min(1) > 2).mean()


empty = [
    np.mean([share_of_empty_balls(K, seed) for seed in draws])
    for K in lengths
]
within2 = curve("precision_radius2")
ax = plots.against_bits(
    lengths,
    {
        "mAP": expected,
        "precision within radius 2": within2,
        "queries with an empty ball": empty,
    },
    "mean over queries and draws",
)

# %% [markdown]
# Up to some length, longer codes make the ball purer. Beyond it, the ball is empty, and the very codes that rank best
# get the worst grade. So precision within radius 2 says something about one code length; it does not compare lengths. A
# good method can keep balls filled at longer codes, by sending images of a class to nearly the same code, and this is
# what supervised hashing tries. And a search need not stop at radius 2: with several tables, each for a part of the
# code, larger balls can be searched exactly {cite:p}`norouzi2014mih`.
#
# ## What we learned
#
# - A bit is 1 where $u_k \ge 0$, zero included: rule {eq}`eq:sign`.
# - Packed codes are compared by XOR and popcount, {eq}`eq:popcount`; with signs, $d = (K - b^{\mathsf T} b')/2$.
# - Random codes are about $K/2$ apart, the more exactly the longer they are, {eq}`eq:binomial`.
# - A ranking by Hamming distance is at most $K + 1$ groups of ties. AP depends on the order inside them unless we say
#   worst, best or expected, and the expected one has a closed form, {eq}`eq:group-sum`.
# - The shorter the codes, the wider the band from worst to best. A mAP without a tie rule may mean anything inside it.
# - Grades by radius need no tie rule. But as codes grow, balls of a fixed radius become empty.
#
# The next chapter, {doc}`02_what_map_means`, asks how far published numbers can be compared; {doc}`03_mu_liu` begins
# to learn codes.
#
# Two papers to read on: {cite:t}`he2018talr` make tie-aware AP something a network can be trained on;
# {cite:t}`sablayrolles2017evaluate` ask whether the usual test of supervised hashing tests hashing at all.
#
# ## Exercises
#
# ### Exercise 1: distance in plain Python
# Two codes are given as lists of bytes, of equal length. Write their Hamming distance, without NumPy. Python's whole
# numbers know XOR (`^`) and `bit_count()`.

# %%
from hashlab.chapters import exercises


def bytes_apart(one, other):
    # your lines
    ...


exercises.check(
    bytes_apart,
    (([77], [77]), 0),
    (([178], [151]), 3),
    (([255, 0, 1], [0, 255, 3]), 17),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def bytes_apart(one, other):
    return sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True))


exercises.check(
    bytes_apart,
    (([77], [77]), 0),
    (([178], [151]), 3),
    (([255, 0, 1], [0, 255, 3]), 17),
    required=True,
)

# %% [markdown]
# ### Exercise 2: the kindest order
# A query has so many images and so many hits at each distance, nearest first. Write the AP of the best order of ties.
# (Every group starts with its hits; `average_precision` grades a ranking.) The cats are the first case.


# %%
def best_ap(total, hits):
    # your lines
    ...


exercises.check(
    best_ap,
    (([1, 2, 3, 0, 1], [1, 1, 2, 0, 0]), 71 / 80),
    (([4], [2]), 1),
    (([1, 1], [0, 1]), 1 / 2),
)


# %% tags=["hide-cell"] jupyter={"source_hidden": true} mystnb={"code_prompt_show": "Solution"}
def best_ap(total, hits):
    ranking = []
    for N, R in zip(total, hits, strict=True):
        ranking += [1] * R + [0] * (N - R)
    return float(average_precision(ranking))


exercises.check(
    best_ap,
    (([1, 2, 3, 0, 1], [1, 1, 2, 0, 0]), 71 / 80),
    (([4], [2]), 1),
    (([1, 1], [0, 1]), 1 / 2),
    required=True,
)

# %% [markdown]
# ### Exercise 3: buckets
# How many buckets lie within radius 2 of a 48-bit code? From which code length on are there more of them than images
# in a database of 60,000, so that it would be quicker to look at every image?
#
# <details class="solution"><summary>Solution</summary>
#
# By {eq}`eq:ball`, $1 + 48 + \tfrac{48 \cdot 47}{2} = 1177$. The number of buckets exceeds 60,000 first at $K = 346$:
# $1 + 346 + \tfrac{346 \cdot 345}{2} = 60\,032$, while $K = 345$ gives $59\,686$. Most of these buckets are empty, of
# course, which is the other half of the problem.
#
# </details>
#
# ### Exercise 4: saying everything twice
# A friend doubles her codes by writing every bit twice. What happens to mAP (worst, expected, best)? To precision
# within radius 2?
#
# <details class="solution"><summary>Solution</summary>
#
# Every distance doubles, so the groups of ties and their order stay what they were, and all three mAPs with them: mAP
# knows the order of distances, not their size. The ball of radius 2 now holds what the ball of radius 1 held before,
# so precision within radius 2 changes.
#
# </details>
#
# ### Exercise 5: a code that says nothing
# Let every image have the same code. What is the expected AP of a query with $R$ relevant images among $N$? Use
# {eq}`eq:group-sum`; then put in $N = 1000$ and $R = 100$.
#
# <details class="solution"><summary>Solution</summary>
#
# There is one group, at distance 0, with $N_0 = N$, $R_0 = R$ and nothing nearer, so $g = 1 - f$ and
#
# $$
# \begin{aligned}
# \mathbb{E}[\mathrm{AP}] &= \frac1R \cdot \frac RN \big( N f + (1 - f) H_N \big) \\
# &= f + (1 - f) \frac{H_N}{N}, \\
# f &= \frac{R - 1}{N - 1}.
# \end{aligned}
# $$
#
# That is a little more than $R / N$: for $N = 1000$ and $R = 100$ it is $0.106$. It is the floor of the *expected* mAP:
# read expected mAPs against it, not against zero. The worst order of ties can score less: here it puts all hits last,
# for an AP of $0.052$.
#
# </details>
#
# ## What this chapter claims
#
# A claim that is not tested goes stale. The folded cell fails if one of ours stops being true.

# %% tags=["hide-input"]
# Bits and distances
assert 64 * 10**8 * 4 == 25.6e9 and 64 * 10**8 / 8 == 0.8e9
assert (np.diff(apart[on_list]) >= 0).all()  # the figure's list is sorted
assert codes.binarize(np.array([[0.0, -0.0]])).all()
assert distance_of_signs(by_sign, by_sign) == 0.5
assert np.array_equal(definition, library)
assert np.array_equal(inner, library)
assert np.array_equal(codes.unpack(codes.pack(x), bits=100), x)
assert floats.nbytes == 32 * packed.nbytes

# The worked example: every fraction in the text
assert average_precision(cats) == Fraction(37, 48)
assert min(every_ap) == Fraction(11, 15)
assert max(every_ap) == Fraction(71, 80)
assert len(orders) == 12 and len(patterns) == 6
assert group_sum(3, 2, 3, 2) == Fraction(127, 90)
assert expected_ap(total, hits) == mean_ap == Fraction(73, 90)
assert abs(cat_report.map - 73 / 90) < 1e-12
assert equal == len(small) > 900

# Digits: the codes say something, and the more the longer they are
chance = np.bincount(labels).max() / len(labels)
by_cosine = metrics.evaluate_distances(-cosine, truth, labels)
assert np.isclose(by_cosine.map, angle)
assert chance < expected[0] and (np.diff(expected) > 0).all()
assert expected[-1] < angle
# Ties decide much at short lengths, little at long ones
assert (np.diff(best - worst) < 0).all()
assert 0 < best.argmin() < len(best) - 1  # the upper edge falls, then rises
assert len(beaten) >= 3
by_class, reverse, shuffled = sorted_map.values()
assert min(by_class, reverse) > score(4).map
assert abs(shuffled - score(4).map) < 0.002
# Balls run empty
assert 0 < within2.argmax() < 6 and within2[-1] < within2[0]
assert empty[0] == 0 and empty[-1] > 0.99

# Exercises 3 to 5
buckets = [1 + K + comb(K, 2) for K in (48, 345, 346)]
assert buckets == [1177, 59_686, 60_032]
once = [hash_codes(x, 8) for x in (queries, database)]
twice = [
    codes.pack(np.repeat(codes.unpack(x, bits=8), 2, axis=1)) for x in once
]
doubled = metrics.evaluate(*twice, truth, labels, bits=16)
for metric in ("map_worst", "map", "map_best"):
    assert np.isclose(getattr(doubled, metric), getattr(report, metric))
assert doubled.precision_radius2 != report.precision_radius2
assert round(float(expected_ap([1000], [100])), 3) == 0.106
hits_last = [0] * 900 + [1] * 100
assert round(float(average_precision(hits_last)), 3) == 0.052
print("every claim holds")
