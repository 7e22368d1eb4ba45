"""The figures of a paper on real images, from the records of a grid.

Each takes `Results` and the names of rows, draws those rows that were run, each in its own colour,
and returns axes or a figure. A band holds all seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashlab import plots
from hashlab.chapters import reproduction
from hashlab.chapters.differences import report
from hashlab.chapters.reproduction import Results
from hashlab.records import Record

SIZE = (5.6, 3.6)  # of a figure, in inches
NAMED = 5  # lines that can be named at their ends; more are listed
SHARES = np.linspace(0, 1, 201)


def map_by_bits(results: Results, names: Sequence[str]) -> Axes:
    """mAP against code length: the mean, and a dot per seed."""
    return _by_bits(results, names, lambda run: run.map, "mAP")


def radius2_by_bits(results: Results, names: Sequence[str]) -> Axes:
    """Precision within Hamming radius 2 against code length; an empty ball counts 0."""
    ylabel = "precision within radius 2"
    return _by_bits(results, names, lambda run: run.metrics["precision_radius2"], ylabel)


def _by_bits(
    results: Results, names: Sequence[str], value: Callable[[Record], float], ylabel: str
) -> Axes:
    lines = {}
    for name in names:
        if lengths := results.bits(name):
            values = [[value(run) for run in results.group(name, bits)] for bits in lengths]
            lines[name] = (lengths, values)
    look = {"marks": "o-"}
    if len(lines) > NAMED:
        look["named_at"] = "lower right"
    ax = _curves(results, lines, "code length K (bits)", ylabel, **look)
    ax.set_xticks(sorted({bits for lengths, _ in lines.values() for bits in lengths}))
    return ax


def precision_recall(results: Results, names: Sequence[str], bits: int = 48) -> Axes:
    """Precision against recall, both within a Hamming radius and pooled over queries.

    A curve begins at the recall of radius 0, the largest of any seed; between radii it is straight.
    """
    lines = {}
    for name, group in results.there(names, bits).items():
        curves = [(run.metrics["recall"], run.metrics["precision"]) for run in group]
        begin = max(recall[0] for recall, _ in curves)
        at = np.concatenate([[begin], SHARES[begin < SHARES]])
        lines[name] = (at, np.transpose([_interpolated(at, *curve) for curve in curves]))
    ax = _curves(results, lines, "recall", "precision", band=True, named_at="lower left")
    first = min(recall[0] for recall, _ in lines.values())
    ax.set(xlim=(max(first - 0.15, 0), 1.02), ylim=(0, 1.02))
    return ax


def _interpolated(at: np.ndarray, recall: Sequence, precision: Sequence) -> np.ndarray:
    """Precision at these recalls; radii at which nothing is retrieved have none."""
    filled = [place for place, value in enumerate(precision) if value is not None]
    return np.interp(at, np.take(recall, filled), [precision[place] for place in filled])


def precision_at(results: Results, names: Sequence[str], bits: int = 48) -> Axes:
    """Precision among the first n of the ranking, n to 1,000."""
    lines = {}
    for name, group in results.there(names, bits).items():
        found = [report(run).precision_at for run in group]
        ranks = list(found[0])
        lines[name] = (ranks, [[one[rank] for one in found] for rank in ranks])
    return _curves(results, lines, "first n of the ranking", "precision among them", band=True)


def tsne(
    results: Results,
    names: Sequence[str],
    classes: Sequence[str],
    bits: int = 48,
    queries: int = 1000,
) -> Figure:
    """t-SNE of the codes of the first queries, one row of the grid below the other, of the first
    seed; each class is named at the median of its island.
    """
    groups = results.there(names, bits)
    figure, axes = plots.panels(len(groups), 1, (5.6, 4.7 * len(groups)))
    for ax, name in zip(axes[:, 0], groups, strict=True):
        # Titles first: they take room, and labels are placed in what is left.
        ax.set_title(name)
        ax.set(xlabel="t-SNE, first axis (no unit)")
    for ax, (first, *_) in zip(axes[:, 0], groups.values(), strict=True):
        query_bits, labels = reproduction.query_bits(first)
        plots.tsne(query_bits[:queries], labels[:queries], classes, ax)
    return figure


def losses(results: Results, name: str, bits: int = 48) -> Axes:
    """Mean training loss per epoch, a curve per phase, phases one after the other."""
    group = results.group(name, bits)
    phases = list(dict.fromkeys(line["phase"] for line in group[0].history))
    lines = {}
    epochs = 0
    for phase in phases:
        of_seeds = [[line["loss"] for line in r.history if line["phase"] == phase] for r in group]
        values = np.transpose(of_seeds)  # (epochs, seeds)
        lines[phase] = (range(epochs + 1, epochs + len(values) + 1), values)
        epochs += len(values)
    ax = plots.curves(lines, "epoch", "mean training loss", band=True, named_at=0.5)
    ax.set_ylim(0, None)
    ax.xaxis.get_major_locator().set_params(integer=True)
    return ax


def bits_used(results: Results, names: Sequence[str], bits: int = 48) -> Figure:
    """How bits of the database's codes are used: the share of ones of each bit, and the correlation
    of every two bits without its sign, both in rising order.
    """
    found = {
        name: [reproduction.diagnosed(run) for run in group]
        for name, group in results.there(names, bits).items()
    }
    figure, axes = plots.panels(2, 1, (5.6, 6.4))
    for ax in axes[:, 0]:
        ax.set_ylim(0, 1)
    shares = {
        name: (np.arange(1, bits + 1), np.transpose([np.sort(one.balance) for one, _ in seeds]))
        for name, seeds in found.items()
    }
    look = {"band": True, "ax": axes[0, 0]}
    _curves(results, shares, "bits, in rising order", "share of ones", **look)
    axes[0, 0].axhline(0.5, ls="--", lw=1, color="0.4", zorder=0)
    correlations = {
        name: (100 * SHARES, np.transpose([_quantiles(pairs) for _, pairs in seeds]))
        for name, seeds in found.items()
    }
    xlabel = "pairs of bits, in rising order (%)"
    look = {"band": True, "ax": axes[1, 0], "named_at": "upper left"}
    _curves(results, correlations, xlabel, "correlation, without its sign", **look)
    return figure


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Of the values that are known; a bit that never changes has no correlation."""
    return np.nanquantile(values, SHARES)


def _curves(results: Results, lines: dict, xlabel: str, ylabel: str, **look) -> Axes:
    """Curves in the colours of their rows."""
    ax = look.pop("ax", None) or plots.axes(None, *SIZE)
    look = {"marks": "-"} | look
    return plots.curves(lines, xlabel, ylabel, ax, colours=results.colours, **look)
