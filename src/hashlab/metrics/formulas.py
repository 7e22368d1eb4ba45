"""Metrics of rankings with ties, in closed form: per query, expected over all orders of the ties.

A tie group of n items, r of them relevant, follows N items with R relevant ones. Under a random order of the group,
each of its positions holds a relevant item with probability r / n, and then the i-th has (i - 1) (r - 1) / (n - 1)
relevant ones of the group before it on average. The expected sum of precisions over the first m positions is therefore

    sum_{i=1..m} (r/n) (R + 1 + (i - 1) rho) / (N + i) = (r/n) [ m rho + (R + 1 - rho (N + 1)) (H[N+m] - H[N]) ]

with rho = (r - 1) / (n - 1) and harmonic numbers H: no look at single ranks. With gains in place of ones (A before,
s in the group) r R becomes r A, r becomes s, and r (r - 1) becomes s (r - 1). The worst order has the relevant items
last in every group, the best has them first.

Reference: K. He, F. Cakir, S. A. Bargal, S. Sclaroff, "Hashing as Tie-Aware Learning to Rank", CVPR 2018
(arXiv 1705.08562), give the expectation as a sum over positions; the harmonic form is the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hashlab.metrics.histogram import Histogram, seen

ORDERS = ("expected", "worst", "best")
CACHED = 1 << 15  # ranks of queries looked at together: 256 KB


@lru_cache(maxsize=2)
def harmonic(n: int) -> np.ndarray:
    """Harmonic numbers H[0..n], float64 (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])


@lru_cache(maxsize=2)
def discounts(n: int) -> np.ndarray:
    """Sums of 1 / log2(1 + rank) over the first 0..n ranks, float64 (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(2, n + 2)))])


def tie_sum(
    m: np.ndarray,
    n: np.ndarray,
    r: np.ndarray,
    s: np.ndarray,
    before: np.ndarray,
    gained: np.ndarray,
    h: np.ndarray,
    order: str = "expected",
) -> np.ndarray:
    """Sum of (gain so far / rank) over the relevant ranks of one tie group; arguments broadcast.

    Args:
        m: positions counted, of n.
        n, r, s: items, relevant items and sum of gains in the group.
        before, gained: items and sum of gains in front of the group.
        h: harmonic numbers.
        order: "expected", "worst" or "best"; the latter two for gains of one (s = r).
    """
    if order == "expected":
        first = (r * gained + s) / np.maximum(n, 1)
        step = s * (r - 1) / np.maximum(n * (n - 1.0), 1)
        return step * m + (first - step * (before + 1)) * (h[before + m] - h[before])
    skip = n - r if order == "worst" else 0 * n  # irrelevant items in front of the relevant ones
    found = np.clip(m - skip, 0, r)
    before = np.where(found > 0, before + skip, 0)
    return found + (gained - before) * (h[before + found] - h[before])


def precision_sums(ranking: Histogram, at: int | np.ndarray | None = None, order: str = "expected") -> np.ndarray:
    """Sum of precisions over the relevant ranks up to `at` (a number, or one per query), float64 (Q,)."""
    n, r = ranking.items, ranking.hits  # (Q, B)
    before, hits = ranking.items_to - n, ranking.hits_to - r
    return total(tie_sum(ranking.seen(at), n, r, r, before, hits, harmonic(ranking.size), order))


def average_precision(ranking: Histogram, at: int | None = None, order: str = "expected") -> np.ndarray:
    """AP: `precision_sums` over min(at, R); 0 where nothing is relevant; float64 (Q,)."""
    return precision_sums(ranking, at, order) / possible(ranking, at)


def weighted_average_precision(ranking: Histogram, at: int | None = None) -> np.ndarray:
    """AP with the average cumulative gain (ACG) in place of precision, over min(at, R), float64 (Q,).

    Reference: F. Zhao, Y. Huang, L. Wang, T. Tan, "Deep Semantic Ranking Based Hashing for Multi-Label Image
    Retrieval", CVPR 2015.
    """
    n, s = ranking.items, ranking.gains
    before, gained = ranking.items_to - n, s.cumsum(1) - s
    sums = tie_sum(ranking.seen(at), n, ranking.hits, s, before, gained, harmonic(ranking.size))
    return total(sums) / possible(ranking, at)


def total(values: np.ndarray) -> np.ndarray:
    """Sums over tie groups, (Q, B) to (Q,), one after the other: empty groups in between change no bit of them."""
    return values.cumsum(1)[:, -1]


def possible(ranking: Histogram, at: int | None) -> np.ndarray:
    """min(at, R), and 1 where nothing is relevant, (Q,)."""
    return np.clip(ranking.total_hits, 1, at)


def within(items: np.ndarray, values: np.ndarray, cutoffs: Sequence[int], table: np.ndarray) -> np.ndarray:
    """Expected sums of discounted values within the first k ranks.

    Args:
        items, values: items and sums of values per tie group, (Q, B), nearest first.
        cutoffs: C numbers k.
        table: sums of the discounts of the first 0..N ranks, (N + 1,).

    Returns:
        float64, (Q, C).
    """
    to, query = items.cumsum(1), np.arange(len(items))
    mean = values / np.maximum(items, 1)
    sums = (mean * (table[to] - table[to - items])).cumsum(1)  # with each whole group, (Q, B)
    found = []
    for k in cutoffs:
        last = query, (to < k).sum(1)  # the group in which rank k lies
        found.append(sums[last] - mean[last] * (table[to[last]] - table[k]))
    return np.stack(found, 1)


@lru_cache(maxsize=2)
def ranks(n: int) -> np.ndarray:
    """A table for `within` without discount, float64 (n + 1,)."""
    return np.arange(n + 1.0)


def ndcg(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """nDCG within the first k ranks: gain over log2(1 + rank), relative to the best ranking, float64 (Q, C)."""
    return relative_to_ideal(ranking, cutoffs, discounts(ranking.size))


def relative_to_ideal(ranking: Histogram, cutoffs: Sequence[int], table: np.ndarray) -> np.ndarray:
    """Discounted gain within the first k ranks over that of the best ranking, 0 if that is 0, float64 (Q, C)."""
    best = within(*ranking.ideal, cutoffs, table)
    return within(ranking.items, ranking.gains, cutoffs, table) / np.where(best > 0, best, 1)


def by_rank(items: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Expected value at each of the first k ranks, from items and sums of values per group, float64 (Q, k)."""
    mean = values / np.maximum(items, 1)
    return np.repeat(mean.ravel(), seen(items, k).ravel()).reshape(len(items), k)


def hierarchical_precision(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """Gain within the first k ranks over the best possible there, float64 (Q, C)."""
    return relative_to_ideal(ranking, cutoffs, ranks(ranking.size))


def mean_hierarchical_precision(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """Mean over the ranks 1..k of `hierarchical_precision`, float64 (Q, C)."""
    return mean_over_ranks(ranking, cutoffs, np.ones(max(cutoffs)))


def mean_over_ranks(ranking: Histogram, cutoffs: Sequence[int], discount: np.ndarray) -> np.ndarray:
    """Mean over the ranks 1..k of the discounted gain so far over the best possible, float64 (Q, C).

    Nothing else here looks at single ranks. The discounts are of the first ranks, (max(cutoffs),).
    """
    last, found = max(cutoffs), np.empty((len(ranking.items), len(cutoffs)))
    step = max(1, CACHED // last)
    for rows in (slice(i, i + step) for i in range(0, len(found), step)):
        gained = (by_rank(ranking.items[rows], ranking.gains[rows], last) * discount).cumsum(1)  # (rows, last)
        best = (by_rank(*(x[rows] for x in ranking.ideal), last) * discount).cumsum(1)
        mean = (gained / np.where(best > 0, best, 1)).cumsum(1) / np.arange(1, last + 1)
        found[rows] = mean[:, np.array(cutoffs) - 1]
    return found
