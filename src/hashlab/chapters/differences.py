"""Differences between methods as the chapters show them: with their uncertainty and a verdict.

A group is what one method has: a record, a report or a number per seed. Two groups of records or
reports are compared over seeds and over queries, two of numbers over seeds only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import TypeVar

import numpy as np

from hashlab import metrics, records
from hashlab.errors import InputError
from hashlab.metrics import uncertainty
from hashlab.metrics.report import Report
from hashlab.metrics.uncertainty import Interval
from hashlab.records import Record

Group = Sequence[Record] | Sequence[Report] | Sequence[float]
Key = TypeVar("Key", bound=Hashable)
RANKS = (1, 10, 50, *range(100, 1001, 100))
_kept: dict[str, Report] = {}  # of records, by digest: a page asks for them often


@dataclass(frozen=True)
class Difference:
    """How one group differs from another in mAP: mean, and what other seeds and queries would do.

    `queries` is None where AP per query is not at hand.
    """

    seeds: Interval
    queries: Interval | None
    groups: tuple[Group, Group] = field(compare=False, repr=False)

    @property
    def mean(self) -> float:
        return self.seeds.mean

    @property
    def intervals(self) -> list[Interval]:
        """Those that are known."""
        return [self.seeds] if self.queries is None else [self.seeds, self.queries]

    @property
    def verdict(self) -> str:
        """ "above", "below" or "open", as the only comparison that is made."""
        return uncertainty.verdicts([self.intervals])[0]

    def beyond(self, mark: float) -> Difference:
        """By how much more than `mark` the one is above the other."""
        return difference(*self.groups, mark)

    def __str__(self) -> str:
        return self.shown()

    def shown(self, digits: int = 3) -> str:
        """The mean and half of each interval: over seeds, then over queries."""
        halves = "".join(f" ± {interval.half:.{digits}f}" for interval in self.intervals)
        return f"{self.mean:+z.{digits}f}{halves}"


def difference(group: Group, other: Group, mark: float = 0.0) -> Difference:
    """By how much a group is above another, seed by seed; with a mark, by how much more than that.

    Raises InputError unless both have the same seeds, three at least, and the same queries.
    """
    group = list(group)
    other = list(other)
    if (ours := _seeds(group)) != (theirs := _seeds(other)):
        raise InputError(f"runs with the same seeds expected, got {ours} and {theirs}")
    steps = np.subtract([_score(run) for run in group], [_score(run) for run in other])
    seeds = uncertainty.over_seeds(steps - mark)
    return Difference(seeds, _over_queries(group, other, mark), (group, other))


def _seeds(group: list) -> list[int]:
    """The seed of each run; of what does not say it, its place."""
    return [getattr(run, "seed", place) for place, run in enumerate(group)]


def _score(run: Record | Report | float) -> float:
    return run if isinstance(run, Real) else run.map


def _over_queries(group: list, other: list, mark: float) -> Interval | None:
    """The interval over queries; None where a group has numbers only."""
    runs = [*group, *other]
    if any(isinstance(run, Real) for run in runs):
        return None
    check_same_queries(runs)
    ours, theirs = (
        np.mean([average_precisions(run) for run in half], axis=0) for half in (group, other)
    )
    return uncertainty.over_queries(ours - theirs - mark)


def check_same_queries(runs: list) -> None:
    """Raise InputError where runs were asked other queries, as far as they say which."""
    first = report(runs[0]).query_labels
    alike = [np.array_equal(report(run).query_labels, first) for run in runs]
    splits = {str(run.data) for run in runs if isinstance(run, Record)}
    if not all(alike) or len(splits) > 1:
        expected = "the same queries in all groups expected"
        raise InputError(f"{expected}, got runs that were asked others")


def average_precisions(run: Record | Report) -> np.ndarray:
    """AP of each query, float64 (Q,): of a record from its codes, once in a process."""
    return report(run).ap


def report(run: Record | Report) -> Report:
    """The report of a run: of a record from its codes, under its own convention, with precision
    at `RANKS`.
    """
    if isinstance(run, Report):
        return run
    if run.digest not in _kept:
        settings = records.comparison(run) | {"convention": run.metrics.get("convention")}
        ranks = [rank for rank in RANKS if rank <= run.sizes["database"]]
        settings |= {"bits": run.bits, "relevance": run.relevance, "at": run.metrics.get("at")}
        _kept[run.digest] = metrics.evaluate(**run.codes(), **settings, cutoffs=ranks)
    return _kept[run.digest]


def verdicts(differences: Mapping[Key, Difference]) -> dict[Key, str]:
    """The verdict on each difference among all of them, by Holm's correction."""
    found = uncertainty.verdicts([one.intervals for one in differences.values()])
    return dict(zip(differences, found, strict=True))


def with_verdicts(
    differences: Mapping[Key, Difference], digits: int = 3, *, many: bool = False
) -> dict[Key, str]:
    """Each difference with its intervals and its verdict, for a table.

    Where there is no interval over queries, the verdict says so.

    Args:
        many: whether the verdicts are those among all of them, see `verdicts`.
    """
    alone = {key: one.verdict for key, one in differences.items()}
    words = verdicts(differences) if many else alone
    return {
        key: f"{one.shown(digits)}, {words[key]}" + ("" if one.queries else " (seeds only)")
        for key, one in differences.items()
    }
