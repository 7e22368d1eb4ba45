"""The five papers in one table: what the page, and the README, read from two grid files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hashlab.chapters import differences, reproduction, tables
from hashlab.chapters.differences import Difference
from hashlab.chapters.reproduction import EMPTY, Results
from hashlab.metrics import uncertainty
from hashlab.records import Record

if TYPE_CHECKING:
    from IPython.display import Markdown

# row of the grids -> file of its paper's figures, see `reported`
PAPERS = {
    "Mu & Liu": "mu_liu",
    "MLSH": "mlsh",
    "DMSH": "dmsh",
    "CSDH": "csdh",
    "SHPDH": "shpdh",
}
RIVALS = ["DPSH", "classifier"]
NAMES = [*PAPERS, *RIVALS]
BODIES = {"tail trained": "five-papers-tail", "fully trained": "five-papers"}
ENDS = (0.025, 0.975)  # of an interval of ranks


def bodies(root: str | Path | None = None) -> dict[str, Results]:
    """How networks were trained -> what was run so."""
    return {body: Results(name, root=root) for body, name in BODIES.items()}


def readme(root: str | Path | None = None) -> str:
    """The table of the five papers as Markdown, of those bodies that have a run."""
    run = {body: r for body, r in bodies(root).items() if any(map(r.bits, NAMES))}
    if not run:
        return "No run is there yet."
    return reproduction.map_table(run, NAMES).data.replace("\u202f", " ")


# ---- ranks


class Rank(NamedTuple):
    """The rank of a row by mean mAP, and which it has with other queries and seeds."""

    rank: int
    low: int  # ends of the 95 % interval
    high: int
    first: float  # share of draws in which it is first, perhaps with others

    def __str__(self) -> str:
        return f"{self.rank} ({self.low} to {self.high})"


def ranks(results: Results, names: Sequence[str], bits: int) -> dict[str, Rank]:
    """The rank of each row that was run at a length, see `uncertainty.ranks`.

    Raises InputError where rows were asked other queries.
    """
    groups = results.there(names, bits)
    differences.check_same_queries([run for group in groups.values() for run in group])
    scores = np.array(
        [[differences.average_precisions(run) for run in group] for group in groups.values()]
    )  # (M, S, Q)
    means = scores.mean((1, 2))
    drawn = uncertainty.ranks(scores)  # (D, M)
    low, high = np.quantile(drawn, ENDS, axis=0, method="inverted_cdf")
    first = (drawn == 1).mean(0)
    return {
        name: Rank(int((means > means[i]).sum()) + 1, int(low[i]), int(high[i]), float(first[i]))
        for i, name in enumerate(groups)
    }


def rank_table(results: Results, names: Sequence[str]) -> Markdown:
    """Rank and its interval, by code length; a row that lacks a run has none there."""
    lengths = results.grid.row(names[0]).bits
    by_length = {bits: ranks(results, names, bits) for bits in lengths}
    lines = [[name, *(by_length[bits].get(name, EMPTY) for bits in lengths)] for name in names]
    return tables.table(["rank", *(f"{bits} bits" for bits in lengths)], *lines)


# ---- pairs


def pairs(
    results: Results, names: Sequence[str], lengths: Sequence[int]
) -> dict[tuple[int, str, str], Difference]:
    """(code length, row, other row) -> by how much the first is above the other, every two once."""
    return {
        (bits, one, other): differences.difference(group, others)
        for bits in lengths
        for (one, group), (other, others) in combinations(results.there(names, bits).items(), 2)
    }


# ---- cost


def training_seconds(results: Results, name: str, bits: int) -> list[float]:
    """Seconds on the clock that training took, one for each of the `whole_runs`."""
    return [run.seconds["train"] for run in whole_runs(results, name, bits)]


def whole_runs(results: Results, name: str, bits: int) -> list[Record]:
    """The runs of a row that took over no stage from another run, one a seed at most."""
    return [
        run
        for run in results.group(name, bits)
        if not any(line.get("shared") for line in run.history)
    ]
