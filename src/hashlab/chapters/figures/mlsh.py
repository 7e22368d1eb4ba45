"""Figures of the chapter on a table per level:
how it is wired, two distances at once, ways to spend the bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from hashlab import plots
from hashlab.errors import InputError, check_word
from hashlab.plots import HALO, WRONG, arrow, axes, box, palette, panels, runs, thumbnail

BORDERS = [WRONG, *palette(4)[2:]]  # of rules in a plane: far from each other, and from the discs


def wiring(levels: Sequence[str], bits: Sequence[int], ax: Axes | None = None) -> Axes:
    """A row per level, the deepest on top: what it sees, its hash functions, its table;
    then one ranking of all.

    Args:
        levels: in the order of the network.
        bits: of each level's table.
    """
    if len(levels) != len(bits):
        raise InputError(f"bits of {len(levels)} tables expected, one per level, got {len(bits)}")
    ax = axes(ax, 8, 0.95 * len(levels) + 0.5)
    middle = (len(levels) - 1) / 2
    look = {"fontsize": 14, "zorder": 2}
    end = box(ax, 4, middle, "one\nranking", "0.2", **look)
    firsts: list[Text] = []
    tables = zip(levels, bits, palette(len(levels)), strict=True)
    for row, (level, size, colour) in enumerate(tables):
        names = [level, "mean", "COSDISH", f"table\n{size} bits"]
        boxes = [box(ax, column, row, name, colour, **look) for column, name in enumerate(names)]
        firsts.append(boxes[0])
        for start, after in pairwise([*boxes, end]):
            arrow(ax, start, after)
    for below, above in pairwise(firsts):  # the network goes on from level to level
        arrow(ax, below, above)
    ax.set(xlim=(-0.5, 4.5), ylim=(-0.5, len(levels) - 0.5))
    ax.set_axis_off()
    return ax


def neighbours(
    query: np.ndarray,
    label: int,
    images: np.ndarray,
    labels: np.ndarray,
    distances: Mapping[str, np.ndarray],
    nearest: int = 7,
) -> Figure:
    """A row per table: the query, then the images that are nearest in it, ticked or crossed,
    with their distance.

    Args:
        query: uint8 (H, W[, C]); `label` is its class.
        images, labels: the database, uint8 (N, H, W[, C]) and int (N,).
        distances: name of a table, or of a rule over several -> int (N,). Ties stand in database
            order.
    """
    size = (1.0 * (nearest + 1) + 1.2, 1.22 * len(distances) + 0.2)
    figure, grid = panels(len(distances), nearest + 1, size)
    words = {"rotation": 0, "ha": "right", "va": "center", "fontsize": 14, "labelpad": 6}
    for (first, *cells), (name, d) in zip(grid, distances.items(), strict=True):
        thumbnail(first, query, "query", "black")
        first.set_ylabel(name, **words)
        plots.neighbours(cells, images, d, labels == label)
    return figure


def plane(
    distances: tuple[np.ndarray, np.ndarray],
    relevant: np.ndarray,
    names: tuple[str, str],
    borders: Mapping[str, Sequence[tuple[float, float]]],
    ax: Axes | None = None,
) -> Axes:
    """All pairs of a query and an image, by their distances in two tables:
    a disc per pair of distances.

    A disc's area grows with the root of the number of pairs, its colour says which share of them is
    relevant.

    Args:
        distances: in the first and in the second table, int (Q, N) each.
        relevant: bool (Q, N).
        names: of the two tables.
        borders: name -> corners of a line; what lies on the side of the origin is returned by the
            rule of that name.
    """
    first, second = distances
    if not first.shape == second.shape == relevant.shape:
        got = f"{first.shape}, {second.shape} and {relevant.shape}"
        raise InputError(f"distances and relevant must have one shape, got {got}")
    counts = np.zeros((2, first.max() + 1, second.max() + 1), np.int64)  # all, relevant
    np.add.at(counts[0], (first, second), 1)
    np.add.at(counts[1], (first, second), relevant)
    x, y = np.nonzero(counts[0])
    pairs = counts[0, x, y]
    share = counts[1, x, y] / pairs
    areas = 10 + 420 * np.sqrt(pairs / pairs.max())
    ax = axes(ax, 6.4, 5.2)
    discs = ax.scatter(x, y, s=areas, c=share, cmap="cividis", vmin=0, vmax=1)
    ax.figure.colorbar(discs, ax=ax, label="share of relevant images", shrink=0.8)
    for (name, corners), colour in zip(borders.items(), cycle(BORDERS), strict=False):
        ax.plot(*np.transpose(corners), color=colour, lw=2.5, zorder=3)
        look = {"textcoords": "offset points", "weight": "bold", "path_effects": HALO}
        ax.annotate(name, corners[0], (6, 2), va="bottom", color=colour, **look)
    across, up = (f"distance in the table on {name} (bits)" for name in names)
    ax.set(xlabel=across, xlim=(-0.7, counts.shape[1] - 0.3))
    ax.set(ylabel=up, ylim=(-0.7, counts.shape[2] - 0.3))
    sns.despine(ax=ax)
    return ax


def arms(
    groups: Mapping[str, Sequence[float]], xlabel: str, reference: str, ax: Axes | None = None
) -> Axes:
    """A row per way, the first on top: a dot per run, a bar at their mean, its value at the right.

    Args:
        groups: name -> a value per run.
        xlabel: what the values are.
        reference: the way that all are measured against; a dashed line runs through the rows at its
            mean.
    """
    check_word("reference", reference, groups)
    ax = axes(ax, 7, 0.45 * len(groups) + 0.9)
    low = min(map(min, groups.values()))
    high = max(map(max, groups.values()))
    width = high - low
    for row, (name, values) in enumerate(groups.items()):
        colour = palette(2)[name != reference]
        runs(ax, row, values, colour)
        ax.text(high + 0.04 * width, row, f"{np.mean(values):.3f}", va="center", color=colour)
    ax.axvline(np.mean(groups[reference]), ls="--", lw=1, color=palette(1)[0], zorder=0)
    ax.set(yticks=range(len(groups)), yticklabels=groups, ylim=(len(groups) - 0.5, -0.5))
    ax.set(xlabel=xlabel, xlim=(low - 0.05 * width, high + 0.16 * width))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax
