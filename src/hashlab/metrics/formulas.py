"""Metrics of rankings with ties, in closed form: per query, expected over all orders of the ties.

A tie group of n items, r of them relevant, follows N items with R relevant ones. Under a random
order of the group, each of its positions holds a relevant item with probability r / n, and then the
i-th has (i - 1) (r - 1) / (n - 1) relevant ones of the group before it on average. The expected sum
of precisions over the first m positions is therefore

    sum_{i=1..m} (r/n) (R + 1 + (i - 1) rho) / (N + i)
    = (r/n) [ m rho + (R + 1 - rho (N + 1)) (H[N+m] - H[N]) ]

with rho = (r - 1) / (n - 1) and harmonic numbers H: no look at single ranks. With gains in place of
ones (A before, s in the group) r R becomes r A, r becomes s, and r (r - 1) becomes s (r - 1). The
worst order has the relevant items last in every group, the best has them first.

Reference: K. He, F. Cakir, S. A. Bargal, S. Sclaroff, "Hashing as Tie-Aware Learning to Rank", CVPR
2018 (arXiv 1705.08562), give the expectation as a sum over positions; the harmonic form is the same
number.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from hashlab.metrics.histogram import Histogram

ORDERS = ("expected", "worst", "best")


@lru_cache(maxsize=2)
def harmonic(n: int) -> np.ndarray:
    """Harmonic numbers H[0..n], float64 (n + 1,)."""
    rank = np.arange(1, n + 1)
    return np.concatenate([[0.0], np.cumsum(1.0 / rank)])


@lru_cache(maxsize=2)
def discounts(n: int) -> np.ndarray:
    """Sums of 1 / log2(1 + rank) over the first 0..n ranks, float64 (n + 1,)."""
    rank = np.arange(1, n + 1)
    return np.concatenate([[0.0], np.cumsum(1.0 / np.log2(1 + rank))])


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
    hits = np.clip(m - skip, 0, r)  # among the positions counted
    before = np.where(hits > 0, before + skip, 0)
    return hits + (gained - before) * (h[before + hits] - h[before])


def precision_sums(
    ranking: Histogram, at: int | np.ndarray | None = None, order: str = "expected"
) -> np.ndarray:
    """Sum of precisions over the relevant ranks up to `at` (a number, or one per query),
    float64 (Q,).
    """
    n = ranking.items  # (Q, B)
    r = ranking.hits
    before = ranking.items_to - n
    gained = ranking.hits_to - r
    h = harmonic(ranking.size)
    return total(tie_sum(ranking.seen(at), n, r, r, before, gained, h, order))


def average_precision(
    ranking: Histogram, at: int | None = None, order: str = "expected"
) -> np.ndarray:
    """AP: `precision_sums` over min(at, R); 0 where nothing is relevant; float64 (Q,).

    What this is not: interpolated. Precision is taken as it is at each relevant rank, not as the
    best at that recall or beyond, and no area of trapezoids is drawn under it.
    """
    return precision_sums(ranking, at, order) / possible(ranking, at)


def weighted_average_precision(ranking: Histogram, at: int | None = None) -> np.ndarray:
    """AP with the average cumulative gain (ACG) in place of precision, over min(at, R),
    float64 (Q,).

    What this is not: a number in 0..1, for ACG counts labels; nor a mean of AP in which queries
    have weights.

    Reference: F. Zhao, Y. Huang, L. Wang, T. Tan, "Deep Semantic Ranking Based Hashing for
    Multi-Label Image Retrieval", CVPR 2015.
    """
    n = ranking.items  # (Q, B)
    s = ranking.gains
    before = ranking.items_to - n
    gained = s.cumsum(1) - s
    h = harmonic(ranking.size)
    sums = tie_sum(ranking.seen(at), n, ranking.hits, s, before, gained, h)
    return total(sums) / possible(ranking, at)


def total(values: np.ndarray) -> np.ndarray:
    """Sums over tie groups, (Q, B) to (Q,), one after the other:
    empty groups in between change no bit of them.
    """
    return values.cumsum(1)[:, -1]


def possible(ranking: Histogram, at: int | None) -> np.ndarray:
    """min(at, R), and 1 where nothing is relevant, (Q,)."""
    return np.clip(ranking.total_hits, 1, at)


def within(
    items: np.ndarray, values: np.ndarray, cutoffs: Sequence[int], table: np.ndarray
) -> np.ndarray:
    """Expected sums of discounted values within the first k ranks.

    Args:
        items, values: items and sums of values per tie group, int64 (Q, B), nearest first.
        cutoffs: C numbers k.
        table: sums of the discounts of the first 0..N ranks, (N + 1,).

    Returns:
        float64, (Q, C).
    """
    from hashlab.metrics import _numba

    ascending, places = np.unique(np.array(cutoffs, np.int64), return_inverse=True)
    sums = np.empty((len(items), len(ascending)))
    counts = (np.ascontiguousarray(one, np.int64) for one in (items, values))
    _numba.within(*counts, ascending, table, sums)
    return sums[:, places]


@lru_cache(maxsize=2)
def ranks(n: int) -> np.ndarray:
    """A table for `within` without discount, float64 (n + 1,)."""
    return np.arange(n + 1.0)


def ndcg(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """nDCG within the first k ranks: gain over log2(1 + rank), over the best ranking's, (Q, C).

    What this is not: the form with gains 2^g - 1 of web search, nor one in which the first two
    ranks weigh the same. The best ranking is that of the whole database, not of what was retrieved.
    """
    return relative_to_ideal(ranking, cutoffs, discounts(ranking.size))


def relative_to_ideal(ranking: Histogram, cutoffs: Sequence[int], table: np.ndarray) -> np.ndarray:
    """Discounted gain within the first k ranks over that of the best ranking, 0 if that is 0,
    float64 (Q, C).
    """
    gained = within(ranking.items, ranking.gains, cutoffs, table)
    best = within(*ranking.ideal, cutoffs, table)
    return gained / np.where(best > 0, best, 1)


def hierarchical_precision(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """Gain within the first k ranks over the best possible there, float64 (Q, C).

    What this is not: precision. Items of another fine class have gain too, and the best ranking
    always has 1.
    """
    return relative_to_ideal(ranking, cutoffs, ranks(ranking.size))


def mean_hierarchical_precision(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """mAHP: mean over the ranks 1..k of `hierarchical_precision`, float64 (Q, C).

    What this is not: a kind of AP. Every rank counts, not those of relevant items only, and k is
    not cut to R.
    """
    return mean_over_ranks(ranking, cutoffs, np.ones(max(cutoffs)))


def mean_over_ranks(ranking: Histogram, cutoffs: Sequence[int], discount: np.ndarray) -> np.ndarray:
    """Mean over the ranks 1..k of the discounted gain so far over the best possible,
    float64 (Q, C).

    Nothing else here looks at single ranks. The discounts are of the first ranks, (max(cutoffs),).
    """
    from hashlab.metrics import _numba

    ascending, places = np.unique(np.array(cutoffs, np.int64), return_inverse=True)
    means = np.empty((len(ranking.items), len(ascending)))
    _numba.mean_ratios(ranking.items, ranking.gains, *ranking.ideal, ascending, discount, means)
    return means[:, places]
