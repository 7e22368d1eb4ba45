"""The figures of the chapter on a table per level: how it is wired, two distances at once, ways to spend the bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashlab.errors import InputError
from hashlab.plots import HALO, RIGHT, WRONG, palette

BORDERS = [WRONG, *palette(4)[2:]]  # of rules in a plane: far from each other, and from the discs


def wiring(levels: Sequence[str], bits: Sequence[int], ax: Axes | None = None) -> Axes:
    """A row per level, the deepest on top: what it sees, its hash functions, its table; then one ranking of all.

    Args:
        levels: in the order of the network.
        bits: of each level's table.
    """
    if len(levels) != len(bits):
        raise InputError(f"bits of {len(levels)} tables expected, one per level, got {len(bits)}")
    ax = ax if ax is not None else plt.subplots(figsize=(8, 0.95 * len(levels) + 0.5), layout="constrained")[1]
    for row, (level, size, colour) in enumerate(zip(levels, bits, palette(len(levels)), strict=True)):
        for column, text in enumerate([level, "mean", "COSDISH", f"table\n{size} bits"]):
            _box(ax, column, row, text, colour)
            if column:
                _arrow(ax, (column - 1, row), (column, row))
        _arrow(ax, (3, row), (4, (len(levels) - 1) / 2))
        if row:
            _arrow(ax, (0, row - 1), (0, row))  # the network goes on from level to level
    _box(ax, 4, (len(levels) - 1) / 2, "one\nranking", "0.2")
    ax.set(xlim=(-0.5, 4.5), ylim=(-0.5, len(levels) - 0.5))
    ax.set_axis_off()
    return ax


def _box(ax: Axes, x: float, y: float, text: str, colour: str | tuple) -> None:
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
    ax.text(x, y, text, ha="center", va="center", fontsize=11, bbox=box, zorder=2)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "->", "color": "0.45", "shrinkA": 20, "shrinkB": 28, "linewidth": 1.3}
    ax.annotate("", end, start, arrowprops=style, zorder=1)


def neighbours(
    query: np.ndarray,
    label: int,
    images: np.ndarray,
    labels: np.ndarray,
    distances: Mapping[str, np.ndarray],
    nearest: int = 7,
) -> Figure:
    """A row per table: the query, then the images that are nearest in it, ticked or crossed, with their distance.

    Args:
        query: uint8 (H, W[, C]); `label` is its class.
        images, labels: the database, uint8 (N, H, W[, C]) and int (N,).
        distances: name of a table, or of a rule over several -> int (N,). Ties stand in database order.
    """
    size = (1.0 * (nearest + 1) + 1.2, 1.22 * len(distances) + 0.2)
    figure, grid = plt.subplots(len(distances), nearest + 1, figsize=size, squeeze=False, layout="constrained")
    for axes, (name, d) in zip(grid, distances.items(), strict=True):
        _image(axes[0], query, "query", "black")
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=11, labelpad=6)
        for ax, item in zip(axes[1:], np.argsort(d, kind="stable")[:nearest], strict=True):
            hit = labels[item] == label
            _image(ax, images[item], f"{'✓' if hit else '✗'} {d[item]}", RIGHT if hit else WRONG)
    return figure


def _image(ax: Axes, image: np.ndarray, text: str, colour: str | tuple) -> None:
    ax.imshow(image, cmap="gray_r" if image.ndim == 2 else None)
    ax.set(xticks=[], yticks=[])
    ax.set_title(text, fontsize=9, color=colour, pad=3)
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=2)


def plane(
    distances: tuple[np.ndarray, np.ndarray],
    relevant: np.ndarray,
    names: tuple[str, str],
    borders: Mapping[str, Sequence[tuple[float, float]]],
    ax: Axes | None = None,
) -> Axes:
    """All pairs of a query and an image, by their distances in two tables: a disc per pair of distances.

    A disc's area grows with the root of the number of pairs, its colour says which share of them is relevant.

    Args:
        distances: in the first and in the second table, int (Q, N) each.
        relevant: bool (Q, N).
        names: of the two tables.
        borders: name -> corners of a line; what lies on the side of the origin is returned by the rule of that name.
    """
    first, second = distances
    if not first.shape == second.shape == relevant.shape:
        raise InputError(
            f"distances and relevant must have one shape, got {first.shape}, {second.shape} and {relevant.shape}"
        )
    counts = np.zeros((2, first.max() + 1, second.max() + 1), np.int64)  # all, relevant
    np.add.at(counts[0], (first, second), 1)
    np.add.at(counts[1], (first, second), relevant)
    x, y = np.nonzero(counts[0])
    pairs, share = counts[0, x, y], counts[1, x, y] / counts[0, x, y]
    ax = ax if ax is not None else plt.subplots(figsize=(6.4, 5.2), layout="constrained")[1]
    discs = ax.scatter(x, y, s=10 + 420 * np.sqrt(pairs / pairs.max()), c=share, cmap="cividis", vmin=0, vmax=1)
    ax.figure.colorbar(discs, ax=ax, label="share of relevant images", shrink=0.8)
    for (name, corners), colour in zip(borders.items(), cycle(BORDERS), strict=False):
        ax.plot(*np.transpose(corners), color=colour, lw=2.5, zorder=3)
        look = {"textcoords": "offset points", "color": colour, "weight": "bold", "path_effects": HALO}
        ax.annotate(name, corners[0], (6, 2), va="bottom", **look)
    labels = [f"distance in the table on {name} (bits)" for name in names]
    ax.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.7, counts.shape[1] - 0.3), ylim=(-0.7, counts.shape[2] - 0.3))
    sns.despine(ax=ax)
    return ax


def arms(groups: Mapping[str, Sequence[float]], xlabel: str, reference: str, ax: Axes | None = None) -> Axes:
    """A row per way, the first on top: a dot per run, a bar at their mean, its value at the right.

    Args:
        groups: name -> a value per run.
        xlabel: what the values are.
        reference: the way that all are measured against; a dashed line runs through the rows at its mean.
    """
    if reference not in groups:
        raise InputError(f"reference must be one of {', '.join(groups)}, got {reference!r}")
    ax = ax if ax is not None else plt.subplots(figsize=(7, 0.45 * len(groups) + 0.9), layout="constrained")[1]
    low, high = min(map(min, groups.values())), max(map(max, groups.values()))
    for row, (name, values) in enumerate(groups.items()):
        colour = palette(2)[name != reference]
        ax.plot(values, [row] * len(values), "o", ms=5, color=colour, alpha=0.6)
        ax.plot([np.mean(values)] * 2, (row - 0.3, row + 0.3), color=colour, lw=2.5)
        ax.text(high + 0.04 * (high - low), row, f"{np.mean(values):.3f}", va="center", color=colour)
    ax.axvline(np.mean(groups[reference]), ls="--", lw=1, color=palette(1)[0], zorder=0)
    ax.set(yticks=range(len(groups)), yticklabels=groups, xlabel=xlabel, ylim=(len(groups) - 0.5, -0.5))
    ax.set_xlim(low - 0.05 * (high - low), high + 0.16 * (high - low))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax
