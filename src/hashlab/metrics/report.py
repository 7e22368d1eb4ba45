"""`Report`: every metric of one evaluation, and how blocks of rankings add up to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import Any

import numpy as np

from hashlab.errors import InputError
from hashlab.metrics import formulas, published
from hashlab.metrics.histogram import Histogram
from hashlab.metrics.labels import Relevance
from hashlab.metrics.published import Convention, Scores
from hashlab.metrics.rankings import Rankings

Curve = np.ndarray | None
AtK = dict[int, float] | None
OPTIONAL = ("precision_radius2", "weighted_map", "acg_at", "hp_at", "mahp_at")


@dataclass(frozen=True)
class Report:
    """Retrieval metrics of one set of codes.
    Means are over queries, and expected under a random order of ties.

    Attributes:
        bits: K, bits per code; None where distances were given.
        relevance, convention: which items are relevant, and whose definition of mAP
            (None: ours, "min_k_r").
        at: the cut-off of AP, or None for the whole ranking.
        tables, combine: bits of each hash table and how their distances are combined; None where
            neither was asked for.
        queries, items: how many queries, and items in the database.
        queries_without_relevant: queries to which nothing in the database is relevant; by default
            their AP is 0.
        map, map_worst, map_best: mean AP, expected under a random order of ties, and its extremes.
            What this is not: interpolated; the area under `precision` over `recall`, which go by
            radius.
        ap, ap_worst, ap_best: AP per query, float64 (Q,); NaN where the convention leaves the query
            out.
        weighted_map: mean AP with ACG in place of precision; for several labels only.
            What this is not: a number in 0..1, as ACG counts labels; a mean in which queries have
            weights.
        precision, recall: within radius r = 0..R, pooled over queries, float64 (R + 1,); precision
            is NaN where nothing is retrieved. Radius is distance, for a union of tables the
            smallest. None for real distances. What this is not: a mean over queries. Those with
            many items within the radius weigh more.
        lookup_success: share of queries with any item within radius r, float64 (R + 1,).
            What this is not: a measure of relevance. Any item will do.
        lookup_hit: share of queries with a relevant item within radius r, float64 (R + 1,).
            What this is not: recall. One relevant item will do.
        precision_radius2: mean over queries of the precision within radius 2, where an empty ball
            counts 0. What this is not: `precision[2]`, which is pooled; a mean over those queries
            only that find something.
        precision_at: {k: precision within the first k ranks}.
            What this is not: R-precision. With fewer than k relevant items it cannot reach 1.
        recall_at: {k: recall within the first k ranks}; 0 if nothing is relevant.
            What this is not: the Recall@k of metric learning, which asks for one relevant item. It
            is over all R relevant items, not over min(k, R).
        ndcg_at: {k: nDCG}, gain = levels or labels in common, discount 1 / log2(1 + rank).
            What this is not: the form with gains 2^g - 1 of web search; the two agree for gains of
            0 and 1.
        acg_at: {k: average gain within the first k ranks}; for several labels only.
            What this is not: normalised. It grows with the labels that images have.
        hp_at: {k: hierarchical precision, the gain within the first k ranks over the best
            possible}; for levels only. What this is not: precision. Items of another fine class
            count too, and an ideal ranking always has 1.
        mahp_at: {k: mean of hierarchical precision over the ranks 1..k}; for levels only.
            What this is not: a kind of AP. Every rank counts, not only those of relevant items.
        query_labels: int64 or text (Q, L), for `per_class`.
    """

    bits: int | None
    relevance: str
    convention: str | None
    at: int | None
    tables: tuple[int, ...] | None
    combine: str | None
    queries: int
    items: int
    queries_without_relevant: int
    map: float
    map_worst: float
    map_best: float
    weighted_map: float | None
    precision: Curve
    recall: Curve
    lookup_success: Curve
    lookup_hit: Curve
    precision_radius2: float | None
    precision_at: AtK
    recall_at: AtK
    ndcg_at: AtK
    acg_at: AtK
    hp_at: AtK
    mahp_at: AtK
    ap: np.ndarray = field(metadata={"per_query": True})
    ap_worst: np.ndarray = field(metadata={"per_query": True})
    ap_best: np.ndarray = field(metadata={"per_query": True})
    query_labels: np.ndarray = field(metadata={"per_query": True})

    def __repr__(self) -> str:
        return f"<Report: {self._headline()}>"

    def __str__(self) -> str:
        return self.summary()

    def _headline(self) -> str:
        at = "" if self.at is None else f"@{self.at}"
        length = f"{self.bits} bits" if self.bits else "real distances"
        what = f"{self.queries} queries x {self.items} items, {length}, {self.relevance}"
        return f"mAP{at} {self.map:.4f} (ties {self.map_worst:.4f} to {self.map_best:.4f}), {what}"

    def summary(self) -> str:
        """A few lines of text with the main numbers."""
        low, high = self.interval()
        lines = [self._headline()]
        if low <= high:  # NaN where there is no AP per query
            lines.append(f"95 % interval over queries  {low:.4f} to {high:.4f}")
        if self.convention:
            lines.append(
                f"convention  {self.convention}: "
                f"{published.CONVENTIONS[self.convention].definition}"
            )
        if self.precision_radius2 is not None:
            lines.append(f"precision within radius 2  {self.precision_radius2:.4f}")
        if self.weighted_map is not None:
            lines.append(f"weighted_map  {self.weighted_map:.4f}")
        for name in ("precision_at", "recall_at", "ndcg_at", "acg_at", "hp_at", "mahp_at"):
            by_cutoff = getattr(self, name) or {}
            values = "  ".join(f"{k}: {value:.4f}" for k, value in by_cutoff.items())
            if values:
                lines.append(f"{name:12}  {values}")
        if self.queries_without_relevant:
            lines.append(f"{self.queries_without_relevant} queries have no relevant item")
        return "\n".join(lines)

    def pr_curve(self, interpolated: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision at the radii where something is retrieved, float64 (P,) each.

        Args:
            interpolated: precision is the best one at that recall or any higher.
        """
        if self.precision is None:
            raise InputError(
                "a precision-recall curve by radius needs integer distances, got real ones"
            )
        drawn = ~np.isnan(self.precision)
        precision = self.precision[drawn]
        if interpolated:
            from_the_end = np.maximum.accumulate(precision[::-1])
            precision = from_the_end[::-1]
        return self.recall[drawn], precision

    def per_class(self) -> dict[int | str, float]:
        """Mean AP of the queries of each class (fine level; each label that a query has), each
        query counting once; NaN if all were left out.
        """
        means = {}
        for name, rows in self._members().items():
            ap = self.ap[rows & ~np.isnan(self.ap)]
            if rows.any():
                means[name] = float(ap.mean()) if len(ap) else float("nan")
        return means

    def _members(self) -> dict[int | str, np.ndarray]:
        """Of each class, or label, which queries have it: bool (Q,)."""
        if self.relevance == "shares_label":
            return {label: has > 0 for label, has in enumerate(self.query_labels.T)}
        fine = self.query_labels[:, 0]
        return {name: fine == name for name in np.unique(fine).tolist()}

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of mAP, were the queries a sample of many.

            mAP +- z s / sqrt(Q)

        s is the standard deviation of their AP, with Q - 1.

        It says nothing about another training run. NaN with fewer than two queries that count, and
        where a convention counts a query in some orders of ties only, so that mAP is no plain mean.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, got {level!r}")
        ap = self.ap[~np.isnan(self.ap)]
        if len(ap) < 2:
            return float("nan"), float("nan")
        mean = float(ap.mean())
        if not math.isclose(mean, self.map, abs_tol=1e-9):
            return float("nan"), float("nan")
        z = NormalDist().inv_cdf((1 + level) / 2)
        half = z * float(ap.std(ddof=1)) / len(ap) ** 0.5
        return mean - half, mean + half

    def to_dict(self) -> dict[str, Any]:
        """All but the per-query arrays as plain numbers, strings and lists;
        NaN is None, what has no value is left out.

        Adds `interval95` and `map_per_class`.
        """
        shown = {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata}
        shown |= {"interval95": self.interval(), "map_per_class": self.per_class()}
        settings = ("convention", "at")  # where None has a meaning
        return {name: _plain(x) for name, x in shown.items() if x is not None or name in settings}


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)):
        return [_plain(v) for v in x]
    if isinstance(x, (float, np.floating)):
        return None if np.isnan(x) else float(x)
    return int(x) if isinstance(x, np.integer) else x


@np.errstate(under="ignore")  # chances that are too small for doubles are as good as 0
def build(
    rankings: Rankings,
    relevance: Relevance,
    rule: Convention,
    at: int | None,
    cutoffs: list[int],
    radii: int | None,
    **settings: Any,
) -> Report:
    """Add blocks of rankings up to a `Report`.

    Args:
        rankings: of all queries.
        radii: how many radii there are, R + 1; None where distances are real numbers.
        settings: attributes of the report that say what was done.
    """
    scores = []
    values = []  # of each block, by name
    balls = np.zeros((4, radii or 0), np.int64)
    without = 0
    for ranking in rankings:
        scores.append(rule.score(ranking, at))
        values.append(_per_query(ranking, relevance, rule, at, cutoffs))
        without += int((ranking.total_hits == 0).sum())
        if radii is not None:
            balls += _balls(ranking, radii)
    queries = len(relevance.query)
    joined = Scores.join(scores)
    expected, worst, best = published.mean(joined)
    if rule.pooled is not None:
        expected = worst = best = rule.pooled(balls[0], balls[1])
    return Report(
        **settings,
        at=at,
        relevance=relevance.name,
        queries=queries,
        items=len(relevance.database),
        queries_without_relevant=without,
        map=expected,
        map_worst=worst,
        map_best=best,
        **_means(values, cutoffs),
        **_curves(balls, queries),
        ap=joined.expected,
        ap_worst=joined.worst,
        ap_best=joined.best,
        query_labels=relevance.query_labels,
    )


def _means(blocks: list[dict[str, np.ndarray]], cutoffs: list[int]) -> dict[str, float | AtK]:
    """Means over queries by their names in `Report`: a number, {k:
    number}, or None for no value.
    """
    means = dict.fromkeys(OPTIONAL)
    for name in blocks[0]:
        mean = np.concatenate([block[name] for block in blocks]).mean(0)
        if mean.ndim == 0:
            means[name] = float(mean)
        else:
            means[name] = dict(zip(cutoffs, mean.tolist(), strict=True))
    return means


def _per_query(
    ranking: Histogram, relevance: Relevance, rule: Convention, at: int | None, cutoffs: list[int]
) -> dict[str, np.ndarray]:
    """Metrics per query, float64 (Q,) or (Q, C) for C cut-offs, by their names in `Report`."""
    ranks = formulas.ranks(ranking.size)
    hits = formulas.within(ranking.items, ranking.hits, cutoffs, ranks)
    values = {
        "precision_at": hits / cutoffs,
        "recall_at": hits / formulas.possible(ranking, None)[:, None],
        "ndcg_at": rule.ndcg(ranking, cutoffs),
    }
    if ranking.radius is not None:
        near = ranking.radius <= 2
        items = ranking.items[:, near].sum(1)
        good = ranking.hits[:, near].sum(1)
        values["precision_radius2"] = good / np.maximum(items, 1)
    if relevance.several:
        gains = formulas.within(ranking.items, ranking.gains, cutoffs, ranks)
        values["acg_at"] = gains / cutoffs
        values["weighted_map"] = formulas.weighted_average_precision(ranking, at)
    if relevance.name == "levels":
        values["hp_at"] = formulas.hierarchical_precision(ranking, cutoffs)
        values["mahp_at"] = formulas.mean_hierarchical_precision(ranking, cutoffs)
    return values


def _balls(ranking: Histogram, radii: int) -> np.ndarray:
    """Items, relevant items, queries with any and queries with a relevant item, by radius,
    int64 (4, R + 1).
    """
    bins = np.searchsorted(
        ranking.radius, np.arange(radii), side="right"
    )  # tie groups within each radius
    counts = (ranking.items_to, ranking.hits_to, ranking.items_to > 0, ranking.hits_to > 0)
    sums = np.stack([count.sum(0) for count in counts])  # (4, B)
    before = np.pad(sums, ((0, 0), (1, 0)))  # of the first 0..B tie groups
    return before[:, bins]


def _curves(balls: np.ndarray, queries: int) -> dict[str, Curve]:
    retrieved, good, any_item, any_hit = balls
    if balls.shape[1] == 0:
        return dict.fromkeys(("precision", "recall", "lookup_success", "lookup_hit"))
    with np.errstate(invalid="ignore"):  # nothing retrieved: NaN
        precision = good / retrieved
    return {
        "precision": precision,
        "recall": good / max(good[-1], 1),
        "lookup_success": any_item / queries,
        "lookup_hit": any_hit / queries,
    }
