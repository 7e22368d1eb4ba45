"""`Report`: every metric of one evaluation, and how blocks of rankings add up to it."""

from __future__ import annotations

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


@dataclass(frozen=True, repr=False)
class Report:
    """Retrieval metrics of one set of codes. Means are over queries, and expected under a random order of ties.

    Attributes:
        bits: K, bits per code; None where distances were given.
        relevance, convention: which items are relevant, and whose definition of mAP (None: ours, "min_k_r").
        at: the cut-off of AP, or None for the whole ranking.
        tables, combine: bits of each hash table and how their distances are combined; None for one table.
        queries, items: how many queries, and items in the database.
        queries_without_relevant: queries to which nothing in the database is relevant; by default their AP is 0.
        map, map_worst, map_best: mean AP, expected under a random order of ties, and its extremes.
        ap, ap_worst, ap_best: AP per query, float64 (Q,); NaN where the convention leaves the query out.
        weighted_map: mean AP with ACG in place of precision; for several labels only.
        precision, recall: within radius r = 0..R, pooled over queries, float64 (R + 1,); precision is NaN where
            nothing is retrieved. Radius is distance, for a union of tables the smallest. None for real distances.
        lookup_success: share of queries with any item within radius r, float64 (R + 1,).
        lookup_hit: share of queries with a relevant item within radius r, float64 (R + 1,).
        precision_radius2: mean over queries of the precision within radius 2, where an empty ball counts 0.
        precision_at, recall_at: {k: precision or recall within the first k ranks}; recall is 0 if nothing is relevant.
        ndcg_at: {k: nDCG}, gain = levels or labels in common, discount 1 / log2(1 + rank).
        acg_at: {k: average gain within the first k ranks}; for several labels only.
        hp_at, mahp_at: {k: hierarchical precision at k, and its mean over ranks 1..k}; for levels only.
        query_labels: int64 (Q, L), for `per_class`.
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
            lines.append(f"convention  {self.convention}: {published.CONVENTIONS[self.convention].definition}")
        radius = "precision within radius 2", self.precision_radius2
        for words, value in (radius, ("weighted_map", self.weighted_map)):
            if value is not None:
                lines.append(f"{words}  {value:.4f}")
        for name in ("precision_at", "recall_at", "ndcg_at", "acg_at", "hp_at", "mahp_at"):
            if getattr(self, name):
                lines.append(f"{name:12}  " + "  ".join(f"{k}: {v:.4f}" for k, v in getattr(self, name).items()))
        if self.queries_without_relevant:
            lines.append(f"{self.queries_without_relevant} queries have no relevant item")
        return "\n".join(lines)

    def pr_curve(self, interpolated: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Recall and precision at the radii where something is retrieved, float64 (P,) each.

        Args:
            interpolated: precision is the best one at that recall or any higher.
        """
        if self.precision is None:
            raise InputError("a precision-recall curve by radius needs integer distances, got real ones")
        drawn = ~np.isnan(self.precision)
        precision = self.precision[drawn]
        if interpolated:
            precision = np.maximum.accumulate(precision[::-1])[::-1]
        return self.recall[drawn], precision

    def per_class(self) -> dict[int, float]:
        """Mean AP of the queries of each class (fine level; each label that a query has); NaN if all were left out."""
        if self.relevance == "shares_label":
            members = {label: self.query_labels[:, label] > 0 for label in range(self.query_labels.shape[1])}
        else:
            members = {int(c): self.query_labels[:, 0] == c for c in np.unique(self.query_labels[:, 0])}
        counted = ~np.isnan(self.ap)
        return {
            c: float(self.ap[rows & counted].mean()) if (rows & counted).any() else float("nan")
            for c, rows in members.items()
            if rows.any()
        }

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Confidence interval of mAP, were the queries a sample of many: mean AP +- z s / sqrt(Q), s with Q - 1.

        It says nothing about another training run; NaN with fewer than two queries that count.
        """
        if not 0 < level < 1:
            raise InputError(f"level must lie between 0 and 1, got {level!r}")
        ap = self.ap[~np.isnan(self.ap)]
        if len(ap) < 2:
            return float("nan"), float("nan")
        half = NormalDist().inv_cdf((1 + level) / 2) * float(ap.std(ddof=1)) / len(ap) ** 0.5
        return float(ap.mean()) - half, float(ap.mean()) + half

    def to_dict(self) -> dict[str, Any]:
        """All but the per-query arrays as plain numbers, strings and lists; NaN is None, what has no value is left out.

        Adds `interval95` and `map_per_class`.
        """
        shown = {f.name: getattr(self, f.name) for f in fields(self) if not f.metadata}
        shown |= {"interval95": self.interval(), "map_per_class": self.per_class()}
        settings = ("convention", "at")
        return {name: _plain(x) for name, x in shown.items() if x is not None or name in settings}


def _plain(x: Any) -> Any:
    if isinstance(x, dict):
        return {str(k): _plain(v) for k, v in x.items()}
    if isinstance(x, (list, tuple, np.ndarray)):
        return [_plain(v) for v in x]
    if isinstance(x, (float, np.floating)):
        return None if np.isnan(x) else float(x)
    return int(x) if isinstance(x, np.integer) else x


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
    scores, found, balls = [], [], []
    for ranking in rankings:
        scores.append(rule.score(ranking, at))
        found.append(_per_query(ranking, relevance, rule, at, cutoffs))
        balls.append(np.zeros((4, 0), np.int64) if radii is None else _balls(ranking, radii))
    joined = Scores.join(scores)
    means = {name: np.concatenate([part[name] for part in found]).mean(0) for name in found[0]}
    mean_ap = published.mean(joined)
    if rule.pooled is not None:
        mean_ap = (rule.pooled(*sum(balls)[:2]),) * 3
    return Report(
        **settings,
        at=at,
        relevance=relevance.name,
        queries=len(relevance.query),
        items=len(relevance.database),
        queries_without_relevant=round(means.pop("without") * len(relevance.query)),
        **dict(zip(("map", "map_worst", "map_best"), mean_ap, strict=True)),
        **{name: None for name in OPTIONAL if name not in means},
        **{name: float(v) if v.ndim == 0 else dict(zip(cutoffs, v.tolist(), strict=True)) for name, v in means.items()},
        **_curves(sum(balls), len(relevance.query)),
        ap=joined.expected,
        ap_worst=joined.worst,
        ap_best=joined.best,
        query_labels=relevance.query_labels,
    )


def _per_query(
    ranking: Histogram, relevance: Relevance, rule: Convention, at: int | None, cutoffs: list[int]
) -> dict[str, np.ndarray]:
    """Metrics per query, float64 (Q,) or (Q, C) for C cut-offs, by their names in `Report`."""
    ranks = formulas.ranks(ranking.size)
    hits = formulas.within(ranking.items, ranking.hits, cutoffs, ranks)
    found = {
        "without": ranking.total_hits == 0,
        "precision_at": hits / cutoffs,
        "recall_at": hits / formulas.possible(ranking, None)[:, None],
        "ndcg_at": rule.ndcg(ranking, cutoffs),
    }
    if ranking.radius is not None:
        near = ranking.radius <= 2
        items, good = ranking.items[:, near].sum(1), ranking.hits[:, near].sum(1)
        found["precision_radius2"] = good / np.maximum(items, 1)
    if relevance.shared:
        found["acg_at"] = formulas.within(ranking.items, ranking.gains, cutoffs, ranks) / cutoffs
        found["weighted_map"] = formulas.weighted_average_precision(ranking, at)
    if relevance.name == "levels":
        found["hp_at"] = formulas.hierarchical_precision(ranking, cutoffs)
        found["mahp_at"] = formulas.mean_hierarchical_precision(ranking, cutoffs)
    return found


def _balls(ranking: Histogram, radii: int) -> np.ndarray:
    """Items, relevant items, queries with any and queries with a relevant item, by radius, int64 (4, R + 1)."""
    bins = np.searchsorted(ranking.radius, np.arange(radii), side="right")  # tie groups within each radius
    sums = [x.sum(0) for x in (ranking.items_to, ranking.hits_to, ranking.items_to > 0, ranking.hits_to > 0)]
    return np.pad(np.stack(sums), ((0, 0), (1, 0)))[:, bins]


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
