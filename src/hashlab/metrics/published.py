"""Published definitions of mAP that differ from one another, by name.

Ties are averaged over in closed form here too. Where AP is divided by the hits within the first k
ranks, their number is random if a tie group straddles rank k: it is hypergeometric, and the
expectation is the sum over its values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from hashlab.metrics import formulas
from hashlab.metrics.formulas import ORDERS, harmonic, precision_sums, tie_sum
from hashlab.metrics.histogram import Histogram


@dataclass(frozen=True)
class Scores:
    """AP of Q queries under a convention, float64 (Q,) each.

    Attributes:
        expected, worst, best: over the orders of ties in which the query counts; NaN where it never
            does.
        kept: the probability that the query enters the mean at all.
        sure: bool (Q,), whether it does in every order; a probability of less than 1 may round to 1.
    """

    expected: np.ndarray
    worst: np.ndarray
    best: np.ndarray
    kept: np.ndarray
    sure: np.ndarray

    @staticmethod
    def join(parts: Sequence[Scores]) -> Scores:
        """The scores of several blocks of queries as one."""
        joined = {}
        for field in fields(Scores):
            joined[field.name] = np.concatenate([getattr(part, field.name) for part in parts])
        return Scores(**joined)


@dataclass(frozen=True)
class Convention:
    """One published definition.

    Attributes:
        name: as in `evaluate(..., convention=name)`.
        definition: what is computed, in words.
        users: the code that computes it so.
        score: AP per query from rankings and a cut-off.
        cut: whether a cut-off has a meaning.
        pooled: mAP from items and relevant items within each radius, (R + 1,) each, where it is no
            mean of AP.
        ndcg: nDCG per query at each of C cut-offs, (Q, C).
    """

    name: str
    definition: str
    users: str
    score: Callable[[Histogram, int | None], Scores]
    cut: bool = True
    pooled: Callable[[np.ndarray, np.ndarray], float] | None = None
    ndcg: Callable[[Histogram, Sequence[int]], np.ndarray] = formulas.ndcg


def _scores(
    ranking: Histogram, at: int | None, over: np.ndarray, drop: np.ndarray | None = None
) -> Scores:
    """Precision sums of the three orders over one denominator per query (Q,),
    leaving out the queries in `drop`.
    """
    sure = np.ones(len(over), bool) if drop is None else ~drop
    over = np.where(sure, over, np.nan)
    expected, worst, best = (precision_sums(ranking, at, order) / over for order in ORDERS)
    return Scores(expected, worst, best, sure.astype(float), sure)


def _always(expected: np.ndarray, worst: np.ndarray, best: np.ndarray) -> Scores:
    """Scores of queries that all count."""
    sure = np.ones(len(expected), bool)
    return Scores(expected, worst, best, sure.astype(float), sure)


def _min_k_r(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: over R where k < R, so that a perfect top k has AP 1."""
    return _scores(ranking, at, formulas.possible(ranking, at))


def _all_relevant(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: in reach of 1 where k < R, however good the top k."""
    return _scores(ranking, at, formulas.possible(ranking, None))


def _all_relevant_drop(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: a mean over all queries; those with nothing relevant leave it."""
    return _scores(ranking, at, formulas.possible(ranking, None), drop=ranking.total_hits == 0)


def _map_at_r(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: mAP at one k for all queries, R-precision, or AP of the whole ranking."""
    return _scores(
        ranking, ranking.total_hits, formulas.possible(ranking, None), drop=ranking.total_hits == 0
    )


def _hits_in_topk(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: a measure of recall; one hit, at rank 1, is AP 1 whatever was missed."""
    dropped = _hits_in_topk_drop(ranking, at)
    expected = np.nan_to_num(dropped.expected) * dropped.kept
    # where an order of ties without a hit exists, it is the worst
    worst = np.where(dropped.sure, np.nan_to_num(dropped.worst), 0.0)
    return _always(expected, worst, np.nan_to_num(dropped.best))


def _hits_in_topk_drop(ranking: Histogram, at: int | None) -> Scores:
    """What this is not: a mean over all queries; to find nothing within k costs nothing."""
    at = ranking.size if at is None else at
    inside = ranking.items_to <= at  # groups that end within k, (Q, B)
    whole = np.where(inside, ranking.items_to, 0).max(1)  # their ranks, (Q,)
    hits = np.where(inside, ranking.hits_to, 0).max(1)
    scores = _scores(ranking, whole, np.maximum(hits, 1), drop=hits == 0)
    for q in np.flatnonzero(whole < at):  # a group straddles rank k
        _straddle(scores, ranking, q, at, int(whole[q]), int(hits[q]))
    return scores


def _straddle(scores: Scores, ranking: Histogram, q: int, at: int, before: int, hits: int) -> None:
    """Complete the scores of query q, which are those of `before` ranks with `hits` relevant ones.

    How many hits the group that straddles rank k has within k is random, and with it what AP is
    divided by.
    """
    group = int((ranking.items_to[q] <= at).sum())
    m = at - before  # positions of the group within k
    n = int(ranking.items[q, group])
    r = int(ranking.hits[q, group])
    inside, chance = hypergeometric(n, r, m)  # hits among the m positions
    some = inside + hits > 0
    scores.sure[q] = some.all()
    # rounding must not make it more than certain
    scores.kept[q] = 1.0 if some.all() else min(chance[some].sum(), 1.0)
    if not some.any():
        return  # NaN, as it is without any hit in whole groups
    whole = {order: getattr(scores, order)[q] * hits if hits else 0.0 for order in ORDERS}
    inside = inside[some]
    chance = chance[some]
    h = harmonic(ranking.size)

    def ap(order: str) -> np.ndarray:
        """AP for each number of hits inside."""
        sums = whole[order] + tie_sum(m, m, inside, inside, before, hits, h, order)
        return sums / (hits + inside)

    scores.expected[q] = chance @ ap("expected") / chance.sum()
    scores.worst[q] = ap("worst").min()
    scores.best[q] = ap("best").max()


def hypergeometric(n: int, r: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of r special items fall among m drawn from n:
    the possible numbers and their probabilities.
    """
    least = max(0, m - (n - r))
    most = min(r, m)
    x = np.arange(least, most + 1)
    y = x[:-1].astype(float)
    over = np.log((r - y) * (m - y))
    under = np.log((y + 1) * (n - r - m + y + 1))
    steps = over - under  # log of p(x + 1) / p(x)
    log = np.concatenate([[0.0], np.cumsum(steps)])
    p = np.exp(log - log.max())
    return x, p / p.sum()


def _step_integral(ranking: Histogram, at: None) -> Scores:
    """What this is not: an expectation over orders of ties; with long ties it differs from AP."""
    precision = ranking.hits_to / np.maximum(ranking.items_to, 1)
    ap = formulas.total(ranking.hits * precision) / formulas.possible(ranking, None)
    return _always(ap, ap, ap)


def _hpdh(ranking: Histogram, at: None) -> Scores:
    """What this is not: a number where a query has nothing relevant: then mAP is NaN."""
    relevant = ranking.total_hits
    return _scores(ranking, None, np.where(relevant > 0, relevant, np.nan))


def _hpdh_ndcg(ranking: Histogram, cutoffs: Sequence[int]) -> np.ndarray:
    """Mean over the cut-offs 1..k of nDCG with discounts 1, 1, 1/log2(2), 1/log2(3), …, (Q, C).

    What this is not: nDCG at k, nor one with the usual discounts.
    """
    discount = 1.0 / np.log2(np.maximum(np.arange(max(cutoffs)), 2))
    return formulas.mean_over_ranks(ranking, cutoffs, discount)


def _no_ap(ranking: Histogram, at: None) -> Scores:
    nothing = np.full(len(ranking.items), np.nan)  # one area for all queries, none per query
    return _always(nothing, nothing, nothing)


def trapezoid_area(retrieved: np.ndarray, relevant: np.ndarray) -> float:
    """Area under precision over recall by radius,
    as HABIR's `recall_precision.m` and `area_RP.m` draw it.

    What this is not: a mean of AP over queries, or an area by rank: there is a point per radius,
    pooled over queries.

    Args:
        retrieved, relevant: all and relevant items within radius 0..R, pooled over queries,
            int64 (R + 1,).
    """
    last = int(
        (retrieved < retrieved[-1]).sum()
    )  # the largest distance that occurs; its own radius is left out
    recall = relevant[:last] / max(relevant[-1], 1)
    precision = relevant[:last] / np.maximum(retrieved[:last], 1)
    if last:  # a point at recall 0 that is there already has this precision, too
        recall = np.append(0.0, recall)
        precision = np.append(precision[0], precision)
    recall, first = np.unique(recall, return_index=True)
    return float(np.trapezoid(precision[first], recall))


def mean(scores: Scores) -> tuple[float, float, float]:
    """Expected, worst and best mean AP over the queries that count."""
    sure = scores.sure
    maybe = ~scores.sure & (scores.kept > 0)
    if maybe.any():
        expected = _expected_mean(scores, sure, maybe)
        worst = _least_mean(scores.worst[sure], np.sort(scores.worst[maybe]))
        best = -_least_mean(-scores.best[sure], np.sort(-scores.best[maybe]))
        return expected, worst, best
    if not sure.any():
        return 0.0, 0.0, 0.0
    return tuple(float(ap[sure].mean()) for ap in (scores.expected, scores.worst, scores.best))


def _expected_mean(scores: Scores, sure: np.ndarray, maybe: np.ndarray) -> float:
    """E[sum of AP / number of kept queries],
    over the number m of kept ones among those that may be dropped.
    """
    chance = np.array([1.0])  # P(m), (m + 1,)
    total = np.array([scores.expected[sure].sum()])  # E[sum of AP; m], (m + 1,)
    for p, ap in zip(scores.kept[maybe], scores.expected[maybe], strict=True):
        with_it = total + ap * chance  # where this query is kept, m grows by one
        total = (1 - p) * np.append(total, 0) + p * np.append(0, with_it)
        chance = (1 - p) * np.append(chance, 0) + p * np.append(0, chance)
    counts = sure.sum() + np.arange(len(total))
    return float((total / np.maximum(counts, 1)).sum())


def _least_mean(sure: np.ndarray, maybe: np.ndarray) -> float:
    """The least mean of `sure` and any number of the ascending `maybe`."""
    sums = sure.sum() + np.append(0, maybe.cumsum())
    counts = len(sure) + np.arange(len(maybe) + 1)
    return float((sums / np.maximum(counts, 1)).min())


CONVENTIONS = {
    c.name: c
    for c in (
        Convention(
            "min_k_r",
            (
                "precisions at the hits within k over min(k, R); a query with nothing relevant "
                "counts 0 (the default)"
            ),
            "open-metric-learning, DSH_Analysis",
            _min_k_r,
        ),
        Convention(
            "all_relevant",
            (
                "precisions at the hits within k over R, also where k < R; a query with nothing "
                "relevant counts 0"
            ),
            "TALR (whole ranking), cisip-FIRe by image ids",
            _all_relevant,
        ),
        Convention(
            "all_relevant_drop",
            "as all_relevant; a query with nothing relevant is left out of the mean",
            "pytorch-metric-learning mean_average_precision",
            _all_relevant_drop,
        ),
        Convention(
            "map_at_r",
            (
                "precisions at the hits within R over R; a query with nothing relevant is left out "
                "of the mean"
            ),
            "pytorch-metric-learning mean_average_precision_at_r",
            _map_at_r,
            cut=False,
        ),
        Convention(
            "hits_in_topk",
            (
                "precisions at the hits within k over their number; a query with no hit within k "
                "counts 0"
            ),
            (
                "DPSH-pytorch, DeepHash-pytorch, TreezzZ's DSDH/DPSH/ADSH, OrthoHash, cisip-FIRe, "
                "torchmetrics"
            ),
            _hits_in_topk,
        ),
        Convention(
            "hits_in_topk_drop",
            "as hits_in_topk; a query with no hit within k is left out of the mean",
            "HashNet, thulab DeepHash, cisip-FIRe with old_eval",
            _hits_in_topk_drop,
        ),
        Convention(
            "asymmetric",
            (
                "as hits_in_topk, ranked by the L1 distance of sigmoid(query output) to the "
                "database bits"
            ),
            "hashing-baseline (map_asymhamming)",
            _hits_in_topk,
        ),
        Convention(
            "step_integral",
            (
                "sum over distances of recall gained times precision within that distance: ties "
                "enter together"
            ),
            "scikit-learn average_precision_score",
            _step_integral,
            cut=False,
        ),
        Convention(
            "trapezoid_radius",
            (
                "area of trapezoids under pooled precision over recall by Hamming radius, the last "
                "radius left out"
            ),
            "HABIR (hashing-baseline-for-image-retrieval), after ITQ's code",
            _no_ap,
            cut=False,
            pooled=trapezoid_area,
        ),
        Convention(
            "hpdh",
            "AP of the whole ranking over R, NaN with nothing relevant; nDCG is the mean over the "
            "cut-offs 1..k with "
            "discounts 1, 1, 1/log2(2), 1/log2(3), …",
            "hpdh (Semantic Hierarchy Preserving Deep Hashing)",
            _hpdh,
            cut=False,
            ndcg=_hpdh_ndcg,
        ),
    )
}


def conventions() -> tuple[str, ...]:
    """Names of the published mAP conventions, each usable as `evaluate(..., convention=name)`.

    Example:
        >>> from hashlab import metrics
        >>> "map_at_r" in metrics.conventions()
        True
        >>> metrics.CONVENTIONS["map_at_r"].definition.partition(";")[0]
        'precisions at the hits within R over R'
    """
    return tuple(CONVENTIONS)
