"""Metrics of rankings with ties, in closed form.

A tie group of n items, r of them relevant, follows N items with R relevant ones. Under a random order of the group,
the i-th of its positions holds a relevant item with probability r / n, and then (i - 1)(r - 1) / (n - 1) relevant ones
of the group are expected before it. The expected sum of precisions over the first m positions is therefore

    sum_{i=1..m} (r/n) (R + 1 + (i - 1) rho) / (N + i) = (r/n) [ m rho + (R + 1 - rho (N + 1)) (H[N+m] - H[N]) ]

with rho = (r - 1) / (n - 1) and harmonic numbers H. The worst order has the relevant items last, the best first.

Reference: K. He, F. Cakir, S. A. Bargal, S. Sclaroff, "Hashing as Tie-Aware Learning to Rank", CVPR 2018
(arXiv 1705.08562), gives the expectation as a sum over positions; the harmonic form above is the same number.
"""

from __future__ import annotations

import numpy as np

from hashlab.metrics.histogram import Histogram


def harmonic(n: int) -> np.ndarray:
    """Harmonic numbers H[0..n], float64 (n + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])


def precision_sums(ranking: Histogram, at: int | None, order: str) -> np.ndarray:
    """Sum the precision over the ranks that hold a relevant item, up to rank `at`.

    Args:
        ranking: Q rankings.
        at: the last rank k, or None for all.
        order: of ties: "expected" (mean over all orders), "worst" or "best".

    Returns:
        float64, (Q,).
    """
    n, r = ranking.items, ranking.hits  # (Q, B)
    before, hits = ranking.items_to - n, ranking.hits_to - r
    seen = n if at is None else np.clip(at - before, 0, n)  # m, positions of the group that count
    h = harmonic(ranking.size)
    if order == "expected":
        rho = (r - 1) / np.maximum(n - 1, 1)  # r = n = 1 gives 0; r = 0 is cancelled by the factor r / n
        spread = seen * rho + (hits + 1 - rho * (before + 1)) * (h[before + seen] - h[before])
        return (r / np.maximum(n, 1) * spread).sum(1)
    skip = n - r if order == "worst" else 0  # irrelevant items in front of the relevant ones
    found = np.clip(seen - skip, 0, r)
    before = before + skip * (found > 0)  # no look beyond the table for groups that count nothing
    return (found + (hits - before) * (h[before + found] - h[before])).sum(1)


def hits_at(ranking: Histogram, k: int) -> np.ndarray:
    """Expected number of relevant items within rank k, float64 (Q,)."""
    before = ranking.items_to - ranking.items
    seen = np.clip(k - before, 0, ranking.items)  # (Q, B)
    return (seen / np.maximum(ranking.items, 1) * ranking.hits).sum(1)


def average_precision(ranking: Histogram, at: int | None, order: str = "expected") -> np.ndarray:
    """AP per query, divided by min(k, R); 0 where nothing is relevant. See `precision_sums`."""
    possible = ranking.total_hits if at is None else np.minimum(at, ranking.total_hits)
    return precision_sums(ranking, at, order) / np.maximum(possible, 1)
