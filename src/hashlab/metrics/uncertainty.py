"""Whether a difference is more than chance: between training runs, between queries, and among
many comparisons.

Two methods are compared by the mean difference of a metric. It would be another one with other
seeds, and with other queries, so it has two intervals: Student's t over seeds, and a bootstrap
over queries. A difference is "above" zero where both lie above it, "below" where both lie below,
and "open" otherwise: an interval that holds both signs does not say that there is no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from hashlab.errors import InputError

ERROR = 0.05  # of a verdict, two-sided: intervals are of 95 %
DRAWS = 9_999  # ERROR / 2 of one more is a whole number, so that an interval ends at draws
BLOCK = 500  # draws at once
RANK_DRAWS = 1_999
LEAST = 3  # seeds


class Interval(NamedTuple):
    """A mean difference, the ends of its 95 % interval, and the two-sided p value of zero.

    p is at most 0.05 exactly where the interval does not hold zero.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def half(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def over_seeds(differences: Sequence[float]) -> Interval:
    """Student's t interval of a mean difference between runs that share a seed.

    Args:
        differences: one per seed, (S,), at least three.

    Raises InputError for fewer, or for what is no number. Where all are equal the interval is their
    value.

    Example:
        >>> from hashlab.metrics import uncertainty
        >>> interval = uncertainty.over_seeds([0.02, 0.03, 0.01])
        >>> round(interval.mean, 3), interval.low < 0 < interval.high  # open: zero lies within
        (0.02, True)
    """
    paired = _checked(differences, LEAST, "a difference for each of at least three seeds")
    mean = float(paired.mean())
    error = float(paired.std(ddof=1)) / len(paired) ** 0.5
    if error == 0:
        return Interval(mean, mean, mean, float(mean == 0))
    freedom = len(paired) - 1
    half = float(stats.t.ppf(1 - ERROR / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Interval(mean, mean - half, mean + half, p)


def over_queries(differences: Sequence[float], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Bootstrap interval of a mean difference, were the queries a sample of many (percentiles).

    The same queries are drawn for both methods and for all seeds, as often as there are queries,
    with replacement; so what a hard query takes from both does not count.

    Args:
        differences: of a metric per query, mean over seeds, (Q,).
        draws: how many samples of queries; 0.05 / 2 of one more must be a whole number.
        seed: of the draws.

    Raises InputError for fewer than two queries, for what is no number, and for other draws.

    Reference: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    per_query = _checked(differences, 2, "a difference for each of at least two queries")
    rank = round((draws + 1) * ERROR / 2)
    if rank < 1 or abs(rank - (draws + 1) * ERROR / 2) > 1e-9:
        raise InputError(f"draws must be 39, 79, … (40 n - 1), got {draws!r}")
    from hashlab.metrics import _numba

    counts = _counts(len(per_query), draws, seed)
    means = np.empty(draws)
    _numba.mean_draws(counts, per_query, means)
    means.sort()
    beyond = min((means <= 0).sum(), (means >= 0).sum())
    p = min(2 * (int(beyond) + 1) / (draws + 1), 1.0)
    return Interval(float(per_query.mean()), float(means[rank - 1]), float(means[-rank]), p)


@lru_cache(maxsize=2)
def _counts(queries: int, draws: int, seed: int) -> np.ndarray:
    """How often each query is in each sample, uint16 (D, Q): all comparisons share them."""
    from hashlab.metrics import _numba

    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, queries), np.uint16)
    for first in range(0, draws, BLOCK):
        block = counts[first : first + BLOCK]
        _numba.tally_draws(rng.integers(queries, size=block.shape), block)
    return counts


def ranks(scores: np.ndarray, *, draws: int = RANK_DRAWS, seed: int = 0) -> np.ndarray:
    """The ranks that methods would have with other queries and other seeds: a bootstrap.

    The same queries are drawn for all methods; each draws its own seeds, for what a seed starts
    differs from one method to the next. With few seeds they say less of others than there is to
    say: an interval from three is too short rather than too long.

    Args:
        scores: a metric of each method, seed and query, (M, S, Q).
        draws: how many samples.
        seed: of the draws.

    Returns:
        int (D, M), 1 for the highest mean; methods that are equal share the better rank.

    Raises InputError for other shapes and for what is no number.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3 or not scores.size or not np.isfinite(scores).all():
        expected = "scores of methods, seeds and queries (M, S, Q), all of them numbers, expected"
        raise InputError(f"{expected}, got {scores.shape}")
    methods, seeds, queries = scores.shape
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(seeds, [1 / seeds] * seeds, (draws, methods)) / seeds  # (D, M, S)
    flat = scores.reshape(-1, queries).T  # (Q, M S)
    counts = _counts(queries, draws, seed)
    blocks = (counts[first : first + BLOCK] / queries for first in range(0, draws, BLOCK))
    means = np.concatenate([block @ flat for block in blocks])  # (D, M S)
    of_methods = (means.reshape(weights.shape) * weights).sum(2)  # (D, M)
    return 1 + (of_methods[:, None, :] > of_methods[:, :, None]).sum(2)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values of many comparisons, corrected so that the chance of any false alarm among all of
    them stays that of one.

    Reference: Holm, A simple sequentially rejective multiple test procedure, 1979.

    Example:
        >>> from hashlab.metrics import uncertainty
        >>> uncertainty.holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    p = _checked(p_values, 0, "a p value for each comparison")
    order = np.argsort(p, kind="stable")
    times = np.arange(len(p), 0, -1)  # the smallest counts for all, the next for all but one, …
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * times), 1)
    return corrected.tolist()


def verdicts(comparisons: Sequence[Sequence[Interval]]) -> list[str]:
    """Each comparison's verdict among all of them: "above", "below" or "open".

    Args:
        comparisons: the intervals of each, over seeds and, where known, over queries. All must lie
            on one side of zero, still after Holm's correction of the largest of their p values.
    """
    corrected = holm([max(interval.p for interval in intervals) for intervals in comparisons])
    return [_side(*pair) for pair in zip(comparisons, corrected, strict=True)]


def _side(intervals: Sequence[Interval], p: float) -> str:
    """On which side of zero all intervals lie."""
    if p > ERROR:
        return "open"
    if all(interval.low > 0 for interval in intervals):
        return "above"
    return "below" if all(interval.high < 0 for interval in intervals) else "open"


def _checked(values: Sequence[float], least: int, expected: str) -> np.ndarray:
    """Values as float64 (N,); raises InputError for too few, or for what is no number."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise InputError(f"{expected} expected, got {array.tolist()}"[:200])
    return array
