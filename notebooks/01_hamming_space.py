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
# A hashing method turns an image into $K$ bits. This chapter starts where the method ends: how bits are made, stored
# and compared, what the space they live in looks like, and how a list of answers gets its grade. Nothing is learned
# yet. But every network in this book is judged with the tools of this chapter, so it pays to know exactly what their
# numbers mean.
#
# Most of it can be checked with a pencil. Where there is a formula, the cell below it computes the plain definition
# beside what `hashlab` says.
#
# | symbol | meaning |
# |---|---|
# | $K$ | number of bits in a code |
# | $u \in \mathbb{R}^K$ | the real numbers that a hash function computes for one image |
# | $b \in \{0, 1\}^K$ | the code of that image |
# | $d(b, b')$ | Hamming distance: in how many bits two codes differ |
# | $N$ | number of images in the database |
# | $Q$ | number of queries |
# | $R$ | how many images of the database are relevant to a query |

# %%
from fractions import Fraction
from itertools import permutations, product
from math import comb

import numpy as np

from hashlab import codes, data, metrics, plots
from hashlab.chapters.figures import hamming
from hashlab.errors import InputError

# %% [markdown]
# ## From real numbers to bits
#
# A hash function computes $K$ real numbers $u = (u_1, \dots, u_K)$ and keeps nothing but their signs:
#
# $$ b_k = \begin{cases} 1 & \text{if } u_k \ge 0, \\ 0 & \text{if } u_k < 0. \end{cases} $$ (eq:sign)

# %%
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
# To see what goes wrong, write bits as signs, as many papers do: $s = 2b - 1 \in \{-1, +1\}^K$. The product
# $s_k s'_k$ is $+1$ where two codes agree and $-1$ where they differ. With $d$ differences there are $K - d$
# agreements, so
#
# $$
# \begin{aligned}
# s \cdot s' &= (K - d) - d = K - 2\,d, \\
# d &= \tfrac12 \, (K - s \cdot s').
# \end{aligned}
# $$ (eq:signs)
#
# An inner product of signs is a Hamming distance in disguise: the losses of later chapters live on this. Now give the
# formula a zero:


# %%
def distance_of_signs(s, t):
    return (len(s) - s @ t) / 2


by_sign = np.sign(u[0]).astype(int)
by_rule = 2 * bits[0].astype(int) - 1
print(
    "np.sign(u):",
    by_sign,
    " distance from itself:",
    distance_of_signs(by_sign, by_sign),
)
print(
    "u >= 0:    ",
    by_rule,
    " distance from itself:",
    distance_of_signs(by_rule, by_rule),
)

# %% [markdown]
# A code at distance one half from itself is not a code. And zeros are no rarity: a layer that ends in a ReLU puts out
# many. Rule {eq}`eq:sign` gives zero one meaning, everywhere in this book.
#
# One value has no sign at all, and there the only honest answer is a refusal:

# %%
try:
    codes.binarize(np.array([[0.7, np.nan]]))
except InputError as error:
    print(error)

# %% [markdown]
# ## Packing
#
# NumPy spends a byte on each Boolean, eight times what it is worth. So codes are *packed*: eight bits to a byte, the
# first bit in the lowest place,
#
# $$ \text{byte} = \sum_{k=1}^{8} b_k\, 2^{k-1}. $$ (eq:byte)

# %%
eight = np.array([[1, 0, 1, 1, 0, 0, 1, 0]], dtype=bool)  # (1, 8)
by_hand = 1 + 4 + 8 + 64  # the places of bits 1, 3, 4 and 7

packed = codes.pack(eight)  # uint8 (1, 8)
print("by hand:   ", by_hand)
print("by hashlab:", packed[0].tolist())

# %% [markdown]
# Why seven zeros behind the 77? Processors work on *words* of 64 bits, so `codes.pack` fills every code with zeros to
# whole words. Two codes of a pair get the same zeros, hence padding never adds to their distance. In a file it would
# be waste, and `codes.trim` takes it off again.

# %%
print("bits   bytes in memory   bytes in a file   as 32-bit floats")
for K in (12, 48, 64, 128):
    code = codes.pack(np.zeros((1, K), bool))
    print(
        f"{K:4} {code.nbytes:17} {codes.trim(code, K).nbytes:17} {4 * K:18}"
    )

random_bits = (
    np.random.default_rng(0).integers(0, 2, (1000, 100)).astype(bool)
)
there_and_back = codes.unpack(codes.pack(random_bits), bits=100)
print(
    "unpacking undoes packing:", np.array_equal(there_and_back, random_bits)
)

# %% [markdown]
# ## Hamming distance
#
# The Hamming distance {cite:p}`hamming1950error` of two codes is the number of places in which they differ:
#
# $$ d(b, b') = \sum_{k=1}^{K} [\,b_k \ne b'_k\,], $$ (eq:hamming)
#
# where $[\,\cdot\,]$ is 1 if what stands inside is true and 0 if not. "Differs" is a logical operation, exclusive or
# (XOR, written $\oplus$): $b_k \oplus b'_k$ is 1 exactly where the bits differ. What remains is to count ones, and for
# that processors have an instruction too, *population count*:
#
# $$ d(b, b') = \operatorname{popcount}(b \oplus b'). $$ (eq:popcount)

# %%
a, b = 0b10110010, 0b10010111

print(f"a        {a:08b}")
print(f"b        {b:08b}")
print(f"a xor b  {a ^ b:08b}   ones: {(a ^ b).bit_count()}")

# %% [markdown]
# Three ways to the same distances: the definition {eq}`eq:hamming`, the inner product {eq}`eq:signs`, and the library,
# which follows {eq}`eq:popcount` on packed codes.

# %%
x, y = random_bits[:3], random_bits[3:7]  # bool (3, 100) and (4, 100)

definition = [
    [sum(p != q for p, q in zip(i, j, strict=True)) for j in y] for i in x
]

s, t = 2 * x.astype(int) - 1, 2 * y.astype(int) - 1  # signs
inner = (100 - s @ t.T) // 2  # (3, 4)

library = codes.hamming(codes.pack(x), codes.pack(y))  # (3, 4)
print(library)
print("definition agrees:   ", np.array_equal(definition, library))
print("inner product agrees:", np.array_equal(inner, library))

# %% [markdown]
# ### Why it is fast
#
# One XOR and one popcount compare 64 bits. And before anything can be compared it must be fetched from memory: a
# 64-bit code is 8 bytes, the 64 floats it was made from are 256. For a large database the fetching is often what takes
# the time. Measure it: one query against 200,000 items, once with the floats (their inner products, as fast as NumPy does
# them), once with the bits. These times are your machine's, so this cell is the only one of the chapter whose output
# the tests do not compare.

# %% tags=["nbval-ignore-output"]
from time import perf_counter


def milliseconds(work, repeats=7):
    """The fastest of a few runs: the one least disturbed by the rest of the machine."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        work()
        times.append(1000 * (perf_counter() - start))
    return min(times)


floats = (
    np.random.default_rng(0).normal(size=(200_000, 64)).astype(np.float32)
)
packed = codes.pack(codes.binarize(floats))

time_floats = milliseconds(lambda: floats @ floats[0])
time_bits = milliseconds(lambda: codes.hamming(packed[:1], packed))
print(f"floats: {floats.nbytes / 1e6:5.1f} MB, {time_floats:5.2f} ms")
print(f"bits:   {packed.nbytes / 1e6:5.1f} MB, {time_bits:5.2f} ms")

# %% [markdown]
# For large databases there are libraries that do the same with more care for the processor, such as Faiss
# {cite:p}`douze2024faiss`.
#
# ## The cube
#
# A code of $K$ bits is a corner of a cube in $K$ dimensions. Flipping one bit is a walk along one edge, so the Hamming
# distance is the length of the shortest walk from corner to corner. Here is the cube of four dimensions, with its
# corners sorted by their distance from `0000`.

# %% mystnb={"image": {"alt": "The 16 corners of the four-dimensional cube in five columns by Hamming distance from 0000. The columns hold 1, 4, 6, 4 and 1 codes; lines join codes that differ in one bit."}}
ax = hamming.cube(4)

# %% [markdown]
# How many codes lie at distance $r$ from a given one? As many as there are ways to choose the $r$ bits to flip:
#
# $$ \#\{b' : d(b, b') = r\} = \binom{K}{r}. $$ (eq:sphere)
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
# where sd is the standard deviation. (One flip has mean $\tfrac12$ and variance $\tfrac14$; means and variances of
# independent flips add up.) Measured in code lengths, the mean stays at $\tfrac12$ while the spread $1 / (2\sqrt{K})$ shrinks: the longer the codes, the more
# exactly two strangers are half the bits apart.

# %% mystnb={"image": {"alt": "Three bell-shaped curves of the distance of two random codes as a share of the code length, for 8, 32 and 128 bits. All are centred at one half; the longer the code, the narrower and taller the curve."}}
ax = hamming.distance_spread([8, 32, 128])

# %%
one, other = np.random.default_rng(1).integers(
    0, 2, (2, 2000, 64)
)  # 2,000 pairs
distances = (one != other).sum(1)  # (2000,)
print(
    f"mean:               {distances.mean():.1f}, by the formula {64 / 2:.1f}"
)
print(
    f"standard deviation: {distances.std():.1f}, by the formula {64**0.5 / 2:.1f}"
)


# %% [markdown]
# This is what makes long codes so telling. How likely is it that two strangers come close by accident?


# %%
def chance_within(r, K):
    """Probability that two random K-bit codes are at most r apart."""
    return sum(comb(K, i) for i in range(r + 1)) / 2**K


print("bits   within K/4   within 2")
for K in (8, 16, 32, 64, 128):
    print(
        f"{K:4} {chance_within(K // 4, K):11.0e} {chance_within(2, K):10.0e}"
    )

# %% [markdown]
# Two long codes that agree in three quarters of their bits are no accident. Keep the last column in mind as well: a
# ball of radius 2 fills less and less of the cube. It will come back to bite.
#
# ## A ranking is a row of ties
#
# A search compares the query with all $N$ items of the database and shows the nearest first. But the distance is one of
# $0, 1, \dots, K$. With more than $K + 1$ items, some *must* share a distance, and usually nearly all do. A ranking by
# Hamming distance is at most $K + 1$ groups in order; within a group, the codes say nothing about who comes first.
#
# Here is a database that fits on a napkin: a query with code `0000` shows a cat, and so do four of seven items.

# %%
names = "ABCDEFG"
words = ["0000", "0100", "0001", "0011", "1010", "0110", "1111"]
animal = ["dog", "cat"]
cats = np.array([1, 0, 1, 1, 0, 1, 0])


def pack_words(words):
    return codes.pack(
        np.array([[digit == "1" for digit in word] for word in words])
    )


query, items = pack_words(["0000"]), pack_words(words)
distance = codes.hamming(query, items)[0]  # (7,)
for r in range(5):
    group = np.flatnonzero(distance == r)
    listed = [f"{names[i]} {words[i]} {animal[cats[i]]}" for i in group]
    print(f"distance {r}:", ", ".join(listed) or "nobody")

# %% [markdown]
# ## Average precision
#
# How good is a ranking? Write $\mathrm{rel}_i = 1$ if the item at rank $i$ is relevant to the query (here: a cat) and
# 0 if not. *Precision* at rank $i$ is the share of relevant items among the first $i$:
#
# $$ P(i) = \frac{1}{i} \sum_{j=1}^{i} \mathrm{rel}_j. $$ (eq:precision)
#
# *Average precision* takes the precision at each rank where a relevant item stands, and averages over the $R$ relevant
# items of the database:
#
# $$ \mathrm{AP} = \frac{1}{R} \sum_{i=1}^{N} \mathrm{rel}_i\, P(i). $$ (eq:ap)
#
# AP is 1 when all relevant items come first, and only then. A wrong item costs the more the earlier it stands, because
# it spoils the precision of every hit behind it. The mean of AP over all queries is *mean average precision*, mAP, the
# number by which hashing papers are compared. (Where a query has nothing relevant in the database, AP is 0 by
# convention, and `hashlab` says how many such queries there were.)
#
# Take our items in the order A B C D E F G. Hits stand at ranks 1, 3, 4 and 6, so AP is
#
# $$ \frac14 \left( \frac11 + \frac23 + \frac34 + \frac46 \right) = \frac{37}{48}. $$ (eq:by-hand)


# %%
def average_precision(relevant):
    """AP by its definition, as an exact fraction; `relevant` in the order of ranks."""
    hits, total = 0, Fraction(0)
    for rank, hit in enumerate(relevant, start=1):
        if hit:
            hits += 1
            total += Fraction(hits, rank)
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
print(
    "worst AP",
    min(every_ap),
    " mean AP",
    mean_ap,
    " best AP",
    max(every_ap),
)

# %% [markdown]
# Which of two cats comes first makes no difference, so the twelve orders show six patterns of hits. Here they are, from
# the worst to the best. A full square is a cat.

# %% mystnb={"image": {"alt": "Six rankings of the seven items, one per row, with tie groups at distances 0, 1, 2 and 4 set apart. Full squares are relevant. From top to bottom the average precision rises from 0.7333 to 0.8875 as relevant items move forward inside their groups."}}
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
cat_report = metrics.evaluate(query, items, np.array([1]), cats, bits=4)
print(
    f"worst:    {cat_report.map_worst:.4f}, by hand {float(min(every_ap)):.4f}"
)
print(f"expected: {cat_report.map:.4f}, by hand {float(mean_ap):.4f}")
print(
    f"best:     {cat_report.map_best:.4f}, by hand {float(max(every_ap)):.4f}"
)

# %% [markdown]
# ## Expected AP without trying all orders
#
# Twelve orders can be listed. A single group of a hundred items has $100! \approx 10^{158}$, and yet the mean over all
# of them has a short formula. We derive it in five steps.
#
# Look at one group: $n$ items with the same distance, $r$ of them relevant. Nearer than the group are $n_0$ items,
# $r_0$ of them relevant. So the group fills the ranks $n_0 + 1, \dots, n_0 + n$, and all orders within it are equally
# likely.
#
# **Step 1: one position at a time.** The expectation of a sum is the sum of expectations, whether or not the terms
# depend on each other. By {eq}`eq:ap`,
#
# $$ R \cdot \mathbb{E}[\mathrm{AP}] = \sum_{\text{groups}} \; \sum_{i=1}^{n} \mathbb{E}\big[ \mathrm{rel}_{n_0+i}\, P(n_0 + i) \big]. $$ (eq:step-sum)
#
# **Step 2: is there a hit at position $i$?** Each of the $n$ items is equally likely to stand there, and $r$ are
# relevant:
#
# $$ \Pr[\mathrm{rel}_{n_0+i} = 1] = \frac{r}{n}. $$ (eq:step-hit)
#
# **Step 3: if so, how many hits came before?** All $r_0$ of the nearer groups, and some of this group. The $i - 1$
# positions in front are filled from the other $n - 1$ items, of which $r - 1$ are relevant. So each holds a hit with
# probability
#
# $$ \rho = \frac{r - 1}{n - 1} \qquad (\rho = 0 \text{ if } n = 1), $$ (eq:rho)
#
# and $(i - 1)\,\rho$ hits are expected there.
#
# **Step 4: put together.** If position $i$ holds a hit, the precision there counts that hit and all before it, out of
# $n_0 + i$ items. Without a hit the term is zero. So
#
# $$ \mathbb{E}\big[ \mathrm{rel}_{n_0+i}\, P(n_0 + i) \big] = \frac{r}{n} \cdot \frac{r_0 + 1 + (i - 1)\,\rho}{n_0 + i}. $$ (eq:step-position)
#
# **Step 5: sum over the group.** The position $i$ stands above and below the fraction bar. Write
# $i - 1 = (n_0 + i) - (n_0 + 1)$ above, and the fraction splits into a constant and a multiple of a reciprocal:
#
# $$ \frac{r_0 + 1 + (i - 1)\,\rho}{n_0 + i} = \rho + \frac{r_0 + 1 - \rho\,(n_0 + 1)}{n_0 + i}. $$ (eq:step-split)
#
# Sums of reciprocals have a name, harmonic numbers: $H_m = \sum_{j=1}^{m} \tfrac1j$. With them, the group contributes
#
# $$ S = \frac{r}{n} \Big[ n \rho + \big( r_0 + 1 - \rho\,(n_0 + 1) \big) \big( H_{n_0 + n} - H_{n_0} \big) \Big], $$ (eq:group-sum)
#
# and all groups together give
#
# $$ \mathbb{E}[\mathrm{AP}] = \frac{1}{R} \sum_{\text{groups}} S. $$ (eq:expected-ap)
#
# {cite:t}`he2018talr` give the expectation as a sum over positions, like {eq}`eq:step-position`; {eq}`eq:group-sum`
# is the same number without the loop.
#
# Try it with a pencil on the group at distance 2: $n = 3$, $r = 2$, $n_0 = 3$, $r_0 = 2$, hence $\rho = \tfrac12$. By
# {eq}`eq:step-position` its three positions give
#
# $$
# \begin{aligned}
# & \frac23 \cdot \frac{3}{4} + \frac23 \cdot \frac{3.5}{5} + \frac23 \cdot \frac{4}{6} \\[1ex]
# & = \frac12 + \frac{7}{15} + \frac49 = \frac{127}{90}.
# \end{aligned}
# $$ (eq:group-by-hand)


# %%
def harmonic(m):
    return sum((Fraction(1, j) for j in range(1, m + 1)), Fraction(0))


def group_sum(n, r, n0, r0):
    """S of a group of n items, r relevant, behind n0 nearer items, r0 relevant."""
    rho = Fraction(r - 1, n - 1) if n > 1 else Fraction(0)
    reciprocals = harmonic(n0 + n) - harmonic(n0)
    return Fraction(r, n) * (
        n * rho + (r0 + 1 - rho * (n0 + 1)) * reciprocals
    )


def expected_ap(sizes, hits):
    """Expected AP from the items and the relevant items per group, nearest first."""
    total, n0, r0 = Fraction(0), 0, 0
    for n, r in zip(sizes, hits, strict=True):
        if n:
            total += group_sum(n, r, n0, r0)
        n0, r0 = n0 + n, r0 + r
    return total / r0


sizes = np.bincount(distance, minlength=5).tolist()
hits = np.bincount(distance[cats == 1], minlength=5).tolist()
print("items at distance 0..4:   ", sizes)
print("relevant at distance 0..4:", hits)
print("S of the group at distance 2:", group_sum(n=3, r=2, n0=3, r0=2))
print("expected AP by the formula:  ", expected_ap(sizes, hits))
print("mean AP of the twelve orders:", mean_ap)

# %% [markdown]
# Not nearly equal, but the same fraction. One example proves little, so here is every ranking of three groups with up
# to three items each, formula against enumeration:


# %%
def arrangements(n, r):
    """All ways to place r hits among n positions; each is equally likely."""
    return sorted(set(permutations([1] * r + [0] * (n - r))))


def mean_over_orders(sizes, hits):
    rankings = product(*map(arrangements, sizes, hits))
    aps = [average_precision(sum(groups, ())) for groups in rankings]
    return sum(aps) / len(aps)


one_group = [
    (n, r) for n in range(4) for r in range(n + 1)
]  # n items, r relevant
small = [
    tuple(zip(*case, strict=True)) for case in product(one_group, repeat=3)
]
small = [(sizes, hits) for sizes, hits in small if sum(hits) > 0]
equal = sum(expected_ap(*case) == mean_over_orders(*case) for case in small)
print(f"the same fraction in {equal} of {len(small)} rankings")

# %% [markdown]
# See what the formula asks for: two counts per distance, of all items and of relevant ones. Two histograms with
# $K + 1$ bins hold all there is to know about a query. No sort is needed and no order is chosen, so nothing can depend
# on it. This is how `hashlab.metrics` works, for every metric in this book.
#
# ### Cut off at k: ask for the denominator
#
# Many papers cut the ranking after $k$ items. The sum in {eq}`eq:ap` then stops at $k$, but what should it be divided
# by? Published programs divide by the hits found within $k$, by $R$, or by $\min(k, R)$, and all call the result
# mAP@$k$. `metrics.evaluate(..., at=k)` divides by $\min(k, R)$; the others are there by name, to recompute published numbers. Here are
# two answers of three items each, for a query with ten relevant items in the database:


# %%
def ap_at(relevant, R):
    """AP of a ranking cut after k = len(relevant) items, by denominator."""
    k, hits = len(relevant), sum(relevant)
    total = average_precision(relevant) * hits  # the sum over hits
    return {
        "hits": total / hits,
        "R": total / R,
        "min(k, R)": total / min(k, R),
    }


def library_ap_at(relevant, R, rule):
    ranking = np.array(
        relevant + [1] * (R - sum(relevant))
    )  # the other hits come later
    ranks, cat = (
        np.arange(len(ranking))[None],
        np.array([1]),
    )  # all different: no ties
    k = len(relevant)
    return metrics.evaluate_distances(
        ranks, cat, ranking, at=k, convention=rule
    ).map


published = {
    "hits": "hits_in_topk",
    "R": "all_relevant",
    "min(k, R)": "min_k_r",
}
for relevant in ([1, 0, 1], [1, 0, 0]):
    print(*("hit" if item else "miss" for item in relevant))
    for denominator, ap in ap_at(relevant, R=10).items():
        library_ap = library_ap_at(relevant, 10, published[denominator])
        print(
            f"    over {denominator:10} {ap!s:>4}   hashlab: {library_ap:.3f}"
        )

# %% [markdown]
# Divided by the hits, the answer with two hits scores *lower* than the answer with one.
#
# ## A whole data set
#
# Time for real images. `digits` ships with scikit-learn: handwritten digits of 8 × 8 pixels. The split of that name
# asks 300 of them as queries and searches the rest. An image is relevant if it shows the same digit.
#
# The hash function is about the simplest there is, *random hyperplanes*. For each bit draw a random direction $w_k$,
# and ask on which side of the plane through the mean training image $m$ the image $x$ lies:
#
# $$ u_k = w_k \cdot (x - m). $$ (eq:hyperplanes)
#
# The bit is its sign, by {eq}`eq:sign`.
#
# Seen from $m$, two images form an angle $\theta$. A random plane through $m$ separates them with probability
# $\theta / \pi$ {cite:p}`charikar2002similarity`, so the Hamming distance is about $K \theta / \pi$: the codes estimate
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
print(
    len(queries),
    "queries,",
    len(database),
    "images in the database, 8 bits",
)
print(f"worst mAP    {report.map_worst:.3f}")
print(f"expected mAP {report.map:.3f}")
print(f"best mAP     {report.map_best:.3f}")

# %% [markdown]
# The first three queries and what comes nearest to them, with the Hamming distance above each image and a tick where
# the digit is right:

# %% mystnb={"image": {"alt": "Three rows: a query digit, then its eight nearest database images by 8-bit codes, each with its Hamming distance and a tick or a cross. All distances are 0 or 1, and rows mix right and wrong digits at the same distance."}}
a, b = hash_codes(queries[:3], 8), hash_codes(database, 8)
shown, stored = digits.query.images[:3], digits.database.images
figure = plots.retrieved(shown, a, truth[:3], stored, b, labels)

# %%
for row, distances in enumerate(codes.hamming(a, b), start=1):
    eighth = np.sort(distances)[7]
    size = (distances == eighth).sum()
    print(
        f"query {row}: the image at rank 8 is one of {size} at distance {eighth}"
    )

# %% [markdown]
# Which images of a group stand in front, and so are shown, is luck. How much does this luck matter for mAP? We do
# what many evaluation scripts do, sort by distance with `argsort`, and change nothing but the order in which the
# database is stored:


# %%
def map_of(ranking):
    """mAP by its definition; ranking (Q, N) lists the database by rank for each query."""
    relevant = labels[ranking] == truth[:, None]  # (Q, N)
    precision = relevant.cumsum(1) / np.arange(1, len(labels) + 1)
    return ((precision * relevant).sum(1) / relevant.sum(1)).mean()


def map_by_sorting(K, stored):
    """mAP after a stable sort by distance of a database in the order `stored` (N,)."""
    a, b = hash_codes(queries, K), hash_codes(database[stored], K)
    return map_of(
        stored[np.argsort(codes.hamming(a, b), axis=1, kind="stable")]
    )


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
# Same images, same codes, same formula {eq}`eq:ap`. Here the database stored class by class scores higher for nothing.
# Within a group, the classes stored first gain and those stored last lose; which of the two weighs more depends on the
# classes and the codes. The shuffled database comes close to the expectation, as it should.
#
# Now for all lengths. We average over ten draws of the planes, and compare with the ranking by the angle itself, which
# the codes only estimate.

# %%
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

print("bits   worst  expected   best")
for K, *row in zip(lengths, worst, expected, best, strict=True):
    print("{:4} {:7.3f} {:9.3f} {:6.3f}".format(K, *row))
print(f"angle {angle:16.3f}")

# %% mystnb={"image": {"alt": "mAP against code length from 2 to 128 bits. The expected mAP climbs steadily towards a dashed line, the mAP of ranking by the angle itself. A band between worst and best order of ties is very wide at 2 bits and closes as codes grow longer; its upper edge falls before it rises."}}
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
# If you remember one figure of this chapter, take this one. The whole shaded band is the mAP of the same codes, under
# one order of ties or another. The line climbs towards the dashed level: more bits, a better estimate of the angle.
# But follow the upper edge from the left. It starts high and *falls*. Codes of 2 bits sort the database into three
# groups; if somebody then puts the relevant items first in each, the order is their work, not the codes'.

# %%
beaten = [
    K for K, value in zip(lengths, expected, strict=True) if value < best[0]
]
print(
    f"2 bits with the kindest ties beat every expected mAP up to {max(beaten)} bits"
)

# %% [markdown]
# ## Precision and recall by radius
#
# There is a way to grade without breaking ties: never cut through a group. Retrieve the whole *ball* of radius $r$,
# all items with $d \le r$, and count over all queries
#
# $$
# \begin{aligned}
# \text{precision}(r) &= \frac{\text{relevant in the ball}}{\text{all in the ball}}, \\[1ex]
# \text{recall}(r) &= \frac{\text{relevant in the ball}}{\text{all relevant}}.
# \end{aligned}
# $$ (eq:by-radius)
#
# Each radius gives one point, $K + 1$ points in all. For the cats:

# %%
for r in range(5):
    ball = distance <= r
    found = cats[ball].sum()
    print(
        f"radius {r}: precision {found}/{ball.sum()}, recall {found}/4",
        end="; ",
    )
    print(
        f"hashlab: {cat_report.precision[r]:.3f}, {cat_report.recall[r]:.3f}"
    )

# %% [markdown]
# And for the digits:

# %% mystnb={"image": {"alt": "Precision against recall for random hyperplane codes of 8, 32 and 128 bits, one point per Hamming radius. Longer codes lie higher and have more points; all curves end at full recall with a precision of about one tenth."}}
ax = plots.precision_recall(
    {f"{K} bits": reports[K][0] for K in (8, 32, 128)}
)

# %% [markdown]
# Short codes have few points to choose from, and their first point, radius 0, already holds many items. All curves end
# at the lower right, where the ball is the whole space and precision is the share of the class in the database.
#
# ## Within radius 2, and the empty ball
#
# Short codes have a charm that no ranking has: they can be *addresses*. Put every item into the bucket that its code
# names, and a query finds its neighbours by opening the buckets around its own {cite:p}`salakhutdinov2009semantic`.
# Within radius 2 these are
#
# $$ 1 + K + \binom{K}{2} $$ (eq:ball)
#
# buckets, however large the database. The grade of such a search is *precision within radius 2*: the share of relevant
# items in the ball, averaged over queries, where an empty ball counts 0. It stands in many papers. But remember what
# happened to balls of radius 2 as the cube grew:


# %%
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
print("bits   buckets   precision within 2   empty balls")
for K, precision, share in zip(lengths, within2, empty, strict=True):
    print(
        f"{K:4} {sum(comb(K, r) for r in range(3)):9} {precision:20.3f} {share:13.3f}"
    )

# %% mystnb={"image": {"alt": "Three curves against code length from 2 to 128 bits. mAP climbs all the way. Precision within radius 2 climbs to a peak at middle lengths and then falls to zero. The share of queries with an empty ball is zero at first and climbs to one."}}
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
# Up to some length, longer codes make the ball purer. Beyond it, the ball catches nobody, and the very codes that rank
# best get the worst grade. So precision within radius 2 says something about one code length; it does not compare
# lengths. A good method can push the collapse out, by sending images of a class to nearly the same code, and this is
# what supervised hashing tries. And a search need not stop at radius 2: with several tables, each for a part of the
# code, larger balls can be searched exactly {cite:p}`norouzi2014mih`.
#
# ## What we learned
#
# - A bit is 1 where $u_k \ge 0$, zero included: rule {eq}`eq:sign`.
# - Packed codes are compared by XOR and popcount, {eq}`eq:popcount`; with signs, $d = (K - s \cdot s')/2$.
# - Random codes are about $K/2$ apart, the more exactly the longer they are, {eq}`eq:binomial`.
# - A ranking by Hamming distance is at most $K + 1$ groups of ties. AP depends on the order inside them unless we say
#   worst, best or expected, and the expected one has a closed form, {eq}`eq:group-sum`.
# - The shorter the codes, the wider the band from worst to best. A mAP without a tie rule may mean anything inside it,
#   and a mAP@$k$ without a denominator is not yet a number.
# - Grades by radius need no tie rule. But a fixed radius is a moving target: as codes grow, its balls run empty.
#
# The next chapter, {doc}`02_what_map_means`, asks how far published numbers can be compared; {doc}`03_mu_liu` begins
# to learn codes.
#
# Two papers to read on: {cite:t}`he2018talr` make tie-aware AP something a network can be trained on;
# {cite:t}`sablayrolles2017evaluate` ask whether the usual test of supervised hashing tests hashing at all.
#
# ## Exercises
#
# ### Exercise 1: buckets
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
# ### Exercise 2: a detour is never shorter
# Show the triangle inequality $d(a, c) \le d(a, b) + d(b, c)$. Then show that $d(a, b) + d(b, c) + d(a, c)$ is always
# even.
#
# <details class="solution"><summary>Solution</summary>
#
# Look at one place $k$. If $a_k \ne c_k$, then $b_k$ cannot equal both, so at least one of $a_k \ne b_k$ and
# $b_k \ne c_k$ is true. Every place that adds 1 to the left side adds at least 1 to the right; sum over $k$.
#
# For the second part: among the three bits $a_k, b_k, c_k$ either all are equal, and the place adds 0 to the sum, or
# one differs from the other two, and the place adds 2.
#
# </details>
#
# ### Exercise 3: saying everything twice
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
# ### Exercise 4: a code that says nothing
# Let every image have the same code. What is the expected AP of a query with $R$ relevant items among $N$? Use
# {eq}`eq:group-sum`; then put in $N = 1000$ and $R = 100$.
#
# <details class="solution"><summary>Solution</summary>
#
# There is one group with $n = N$, $r = R$, $n_0 = r_0 = 0$, so
#
# $$ \mathbb{E}[\mathrm{AP}] = \frac1R \cdot \frac RN \big[ N \rho + (1 - \rho) H_N \big] = \rho + (1 - \rho) \frac{H_N}{N}, \qquad \rho = \frac{R - 1}{N - 1}. $$
#
# That is a little more than $R / N$: for $N = 1000$ and $R = 100$ it is $0.106$. Read every mAP of this book against
# this floor, not against zero.
#
# </details>
#
# ### Exercise 5: without the mean
# Run the experiment again without subtracting the mean image in `vectors`. Why are the codes worse?
#
# <details class="solution"><summary>Solution</summary>
#
# Grey values are never negative, so seen from the origin all images lie in one corner of the space, at small angles to
# each other. A plane through the origin seldom passes between them: many bits are the same for nearly all images. The
# distances crowd near zero, the groups of ties grow, mAP falls and the band widens. The last cell below checks it.
#
# </details>
#
# ## What this chapter claims
#
# A claim that is not tested goes stale. This cell fails if one of ours stops being true.

# %%
# Bits and distances
assert codes.binarize(np.array([[0.0, -0.0]])).all()
assert distance_of_signs(by_sign, by_sign) == 0.5
assert np.array_equal(definition, library) and np.array_equal(
    inner, library
)
assert floats.nbytes == 32 * packed.nbytes

# The worked example: every fraction in the text
assert average_precision(cats) == Fraction(37, 48)
assert (min(every_ap), max(every_ap)) == (
    Fraction(11, 15),
    Fraction(71, 80),
)
assert group_sum(3, 2, 3, 2) == Fraction(127, 90)
assert expected_ap(sizes, hits) == mean_ap == Fraction(73, 90)
assert abs(cat_report.map - 73 / 90) < 1e-12
assert equal == len(small) > 900
assert ap_at([1, 0, 1], R=10)["hits"] < ap_at([1, 0, 0], R=10)["hits"]

# Digits: the codes say something, and the more the longer they are
chance = np.bincount(labels).max() / len(labels)
assert np.isclose(
    metrics.evaluate_distances(-cosine, truth, labels).map, angle
)
assert (
    chance < expected[0]
    and (np.diff(expected) > 0).all()
    and expected[-1] < angle
)
# Ties decide much at short lengths, little at long ones
assert (
    (np.diff(best - worst) < 0).all()
    and best[1] < best[0]
    and len(beaten) >= 3
)
by_class, reverse, shuffled = sorted_map.values()
assert (
    min(by_class, reverse) > score(4).map
    and abs(shuffled - score(4).map) < 0.002
)
# Balls run empty
assert 0 < within2.argmax() < 6 and within2[-1] < within2[0]
assert empty[0] == 0 and empty[-1] > 0.99

# Exercises 1, 3, 4 and 5
assert [1 + K + comb(K, 2) for K in (48, 345, 346)] == [
    1177,
    59_686,
    60_032,
]
once = [hash_codes(x, 8) for x in (queries, database)]
twice = [
    codes.pack(np.repeat(codes.unpack(x, bits=8), 2, axis=1)) for x in once
]
doubled = metrics.evaluate(*twice, truth, labels, bits=16)
for metric in ("map_worst", "map", "map_best"):
    assert np.isclose(getattr(doubled, metric), getattr(report, metric))
assert doubled.precision_radius2 != report.precision_radius2
assert round(float(expected_ap([1000], [100])), 3) == 0.106
queries, database = (
    p.images.reshape(len(p), -1) for p in (digits.query, digits.database)
)
uncentred = [score(16, seed) for seed in draws]
assert np.mean([r.map for r in uncentred]) < expected[3]
assert (
    np.mean([r.map_best - r.map_worst for r in uncentred])
    > (best - worst)[3]
)
print("every claim holds")
