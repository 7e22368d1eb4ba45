"""Figures and measurements of the chapter on search: queries with nothing near, cost and quality."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from hashlab import plots, search
from hashlab.chapters import five_papers
from hashlab.chapters.reproduction import Results
from hashlab.errors import InputError
from hashlab.records import Record


def index_of(record: Record) -> tuple[search.Index, np.ndarray]:
    """An index of a record's database, ids its positions, and the packed codes of its queries."""
    stored = record.codes()
    index = search.Index(record.bits, record.get("tables"))
    index.add(np.arange(len(stored["database_codes"])), stored["database_codes"])
    return index, stored["query_codes"]


def best_ms(works: Mapping[str, Callable[[], object]], repeats: int = 3) -> dict[str, float]:
    """Milliseconds of the quickest of a few calls of each, all in turn."""
    if repeats < 1:
        raise InputError(f"repeats must be 1 or more, got {repeats}")
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * min(of_work) for name, of_work in times.items()}


def sparse_balls(shares: Mapping[str, Mapping[int, float]], ylabel: str) -> Axes:
    """Shares of queries with too little near them against code length, a curve per method.

    Args:
        shares: method -> code length -> share, the same lengths for all.
        ylabel: what the shares are.
    """
    lines = {name: (list(of), list(of.values())) for name, of in shares.items()}
    ax = plots.curves(lines, "code length K (bits)", ylabel, plots.axes(None, 5.6, 3.6))
    ax.set_xticks(sorted({bits for bits_of, _ in lines.values() for bits in bits_of}))
    ax.set_ylim(-0.02, None)
    return ax


def cost(results: Results, names: Sequence[str], bits: int) -> Axes:
    """mAP against seconds of training on a logarithmic axis: a small dot per seed, a large one at
    their means; rows run without a GPU say so, rows not run at this length are left out.
    """
    points = {
        _with_machine(name, group): (
            five_papers.training_seconds(results, name, bits),
            [run.map for run in five_papers.whole_runs(results, name, bits)],
        )
        for name, group in results.there(names, bits).items()
    }
    ax = plots.axes(None, 5.6, 4.5)
    ax.set_xscale("log")
    ylabel = f"mAP at {bits} bits"
    return plots.points(points, "training (s on the clock)", ylabel, ax)


def _with_machine(name: str, group: Sequence[Record]) -> str:
    on_cpu = {record.hardware["kind"] for record in group} == {"cpu"}
    return f"{name} (CPU)" if on_cpu else name
