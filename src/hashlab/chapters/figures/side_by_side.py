"""Figures of the chapter that compares all methods: a ranking with its spread, two rankings, what a setting does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from hashlab.errors import InputError
from hashlab.plots import HALO, palette

MARKERS = "oDs^vPX*"
BESIDE = ((8, -11), (-5, 8), (-5, 8))  # where the words for a mark stand, in points, for each line in turn


def ranking(
    values: Mapping[str, Sequence[float]], kinds: Mapping[str, str], xlabel: str, ax: Axes | None = None
) -> Axes:
    """A row per method, the best on top: a mark per seed, a bar at their mean; a colour and a mark for each kind.

    Args:
        values: method -> a value per seed.
        kinds: method -> its kind; a kind is named at its best method.
    """
    if values.keys() - kinds.keys():
        raise InputError(f"a kind for every method expected, got none for {sorted(values.keys() - kinds.keys())[0]}")
    ax = ax if ax is not None else plt.subplots(figsize=(6.4, 0.27 * len(values) + 0.8), layout="constrained")[1]
    order = sorted(values, key=lambda name: np.mean(values[name]))
    used = sorted({kinds[name] for name in values})  # the same looks in every figure of the same methods
    looks = dict(zip(used, zip(palette(len(used)), MARKERS, strict=False), strict=True))
    named: set[str] = set()
    for row, name in reversed(list(enumerate(order))):
        colour, marker = looks[kinds[name]]
        ax.plot(values[name], [row] * len(values[name]), marker, ms=5, color=colour, alpha=0.75, mew=0)
        ax.plot([np.mean(values[name])] * 2, (row - 0.38, row + 0.38), color=colour, lw=2)
        if kinds[name] not in named:
            named.add(kinds[name])
            place = (max(values[name]), row)
            ax.annotate(kinds[name], place, (8, 0), textcoords="offset points", va="center", color=colour, fontsize=9)
    ax.set(yticks=range(len(order)), yticklabels=order, xlabel=xlabel, ylim=(-0.7, len(order) - 0.3))
    ax.margins(x=0.14)
    ax.grid(axis="y", color="0.9", lw=0.8)
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax


def slopes(left: Mapping[str, float], right: Mapping[str, float], names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Places of the same methods in two rankings, the best on top, joined by a line each.

    A line that falls or rises past others changes its rank.

    Args:
        left, right: method -> value, higher is better.
        names: of the two rankings.
    """
    if left.keys() != right.keys():
        raise InputError(f"the same methods expected on both sides, got {sorted(left)} and {sorted(right)}")
    ax = ax if ax is not None else plt.subplots(figsize=(5, 0.42 * len(left) + 0.8), layout="constrained")[1]
    places = [{name: i for i, name in enumerate(sorted(side, key=side.__getitem__))} for side in (left, right)]
    for name, colour in zip(sorted(left, key=left.__getitem__, reverse=True), palette(len(left)), strict=True):
        ends = [side[name] for side in places]
        ax.plot((0, 1), ends, "o-", color=colour, lw=2)
        for x, end, side, align in ((-0.05, ends[0], left, "right"), (1.05, ends[1], right, "left")):
            text = f"{name}  {side[name]:.3f}" if align == "right" else f"{side[name]:.3f}  {name}"
            ax.text(x, end, text, ha=align, va="center", color=colour)
    for x, text in zip((0, 1), names, strict=True):
        ax.text(x, len(left) - 0.35, text, ha="center", va="bottom", weight="bold")
    ax.set(xlim=(-0.9, 1.9), ylim=(-0.5, len(left) + 0.2))
    ax.set_axis_off()
    return ax


def paths(
    others: Sequence[tuple[float, float]],
    ways: Mapping[str, Sequence[tuple[float, float, float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """What one setting does to two measures: for each method a line through its values, other methods as grey dots.

    Args:
        others: (x, y) of methods that are not named.
        ways: what varies, in words -> (value, x, y) in the order in which they are joined.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]
    ax.plot(*zip(*others, strict=True), "o", color="0.75", ms=5, mew=0, label="other methods")
    looks = zip(palette(len(ways)), MARKERS, cycle(BESIDE), strict=False)
    for (name, way), (colour, marker, beside) in zip(ways.items(), looks, strict=False):
        values, x, y = zip(*way, strict=True)
        ax.plot(x, y, f"{marker}-", color=colour, lw=1.5, ms=6, mew=0, label=name)
        for value, *place in zip(values, x, y, strict=True):
            words = {"ha": "left" if beside[0] > 0 else "right", "color": colour, "fontsize": 9, "path_effects": HALO}
            ax.annotate(f"{value:g}", place, beside, textcoords="offset points", **words)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False, loc="lower right")
    sns.despine(ax=ax)
    return ax
