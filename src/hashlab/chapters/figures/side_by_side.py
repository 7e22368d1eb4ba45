"""Figures of the chapter that compares all methods:
a ranking with its spread, two rankings, what a setting does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from hashlab.errors import InputError
from hashlab.plots import HALO, axes, palette

MARKERS = "oDs^vPX*"
BESIDE = (
    (8, -11),
    (-5, 8),
    (-5, 8),
)  # where the words for a mark stand, in points, for each line in turn


def ranking(
    values: Mapping[str, Sequence[float]],
    kinds: Mapping[str, str],
    xlabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A row per method, the best on top: a mark per seed, a bar at their mean;
    a colour and a mark for each kind.

    Args:
        values: method -> a value per seed.
        kinds: method -> its kind; a kind is named at its best method.
    """
    if missing := sorted(values.keys() - kinds.keys()):
        raise InputError(f"a kind for every method expected, got none for {missing[0]}")
    ax = axes(ax, 4.6, 0.29 * len(values) + 0.8)  # narrow, so that labels stay readable on a phone
    order = sorted(values, key=lambda name: np.mean(values[name]))
    used = sorted(
        {kinds[name] for name in values}
    )  # the same looks in every figure of the same methods
    looks = dict(zip(used, zip(palette(len(used)), MARKERS, strict=False), strict=True))
    named: set[str] = set()
    for row, name in reversed(list(enumerate(order))):
        colour, marker = looks[kinds[name]]
        mean = np.mean(values[name])
        ax.plot(
            values[name], [row] * len(values[name]), marker, ms=5, color=colour, alpha=0.75, mew=0
        )
        ax.plot([mean, mean], (row - 0.38, row + 0.38), color=colour, lw=2)
        if kinds[name] not in named:
            named.add(kinds[name])
            look = {"textcoords": "offset points", "va": "center", "color": colour, "fontsize": 11}
            ax.annotate(kinds[name], (max(values[name]), row), (8, 0), **look)
    ax.set(yticks=range(len(order)), yticklabels=order, ylim=(-0.7, len(order) - 0.3))
    ax.set_xlabel(xlabel)
    ax.margins(x=0.2)
    ax.grid(axis="y", color="0.9", lw=0.8)
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax


def slopes(
    left: Mapping[str, float],
    right: Mapping[str, float],
    names: Sequence[str],
    ax: Axes | None = None,
) -> Axes:
    """Places of the same methods in two rankings, the best on top, joined by a line each.

    A line that falls or rises past others changes its rank.

    Args:
        left, right: method -> value, higher is better.
        names: of the two rankings.
    """
    if left.keys() != right.keys():
        got = f"{sorted(left)} and {sorted(right)}"
        raise InputError(f"the same methods expected on both sides, got {got}")
    ax = axes(ax, 5, 0.42 * len(left) + 0.8)
    left_rank = _ranks(left)
    right_rank = _ranks(right)
    best_first = sorted(left, key=left.__getitem__, reverse=True)
    for name, colour in zip(best_first, palette(len(left)), strict=True):
        ends = (left_rank[name], right_rank[name])
        ax.plot((0, 1), ends, "o-", color=colour, lw=2)
        look = {"va": "center", "color": colour}
        ax.text(-0.05, ends[0], f"{name}  {left[name]:.3f}", ha="right", **look)
        ax.text(1.05, ends[1], f"{right[name]:.3f}  {name}", ha="left", **look)
    for x, text in zip((0, 1), names, strict=True):
        ax.text(x, len(left) - 0.35, text, ha="center", va="bottom", weight="bold")
    ax.set(xlim=(-0.9, 1.9), ylim=(-0.5, len(left) + 0.2))
    ax.set_axis_off()
    return ax


def _ranks(values: Mapping[str, float]) -> dict[str, int]:
    """The rank of each name, 0 for the lowest value."""
    return {name: rank for rank, name in enumerate(sorted(values, key=values.__getitem__))}


def paths(
    others: Sequence[tuple[float, float]],
    ways: Mapping[str, Sequence[tuple[float, float, float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """What one setting does to two measures:
    for each method a line through its values, other methods as grey dots.

    Args:
        others: (x, y) of methods that are not named.
        ways: what varies, in words -> (value, x, y) in the order in which they are joined.
    """
    ax = axes(ax, 6.4, 4.2)
    ax.plot(*zip(*others, strict=True), "o", color="0.75", ms=5, mew=0, label="other methods")
    looks = zip(palette(len(ways)), MARKERS, cycle(BESIDE), strict=False)
    for (name, way), (colour, marker, beside) in zip(ways.items(), looks, strict=False):
        values, x, y = zip(*way, strict=True)
        ax.plot(x, y, f"{marker}-", color=colour, lw=1.5, ms=6, mew=0, label=name)
        side = "left" if beside[0] > 0 else "right"
        words = {"ha": side, "color": colour, "fontsize": 9, "path_effects": HALO}
        for value, *point in zip(values, x, y, strict=True):
            ax.annotate(f"{value:g}", point, beside, textcoords="offset points", **words)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False, loc="lower right")
    sns.despine(ax=ax)
    return ax
