"""Figures of the page "Five papers, one table"."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from hashlab import plots
from hashlab.chapters import five_papers
from hashlab.chapters.reproduction import Results


def cost(results: Results, names: Sequence[str], bits: int = 48) -> Axes:
    """mAP against seconds of training: a small dot per seed, a large one at their means."""
    points = {
        name: (
            five_papers.training_seconds(results, name, bits),
            [run.map for run in five_papers.whole_runs(results, name, bits)],
        )
        for name in results.there(names, bits)
    }
    ylabel = f"mAP at {bits} bits"
    return plots.points(points, "training (s on the clock)", ylabel, colours=results.colours)
