"""Figures of the chapters on Hamming space and on mAP:
codes and their distances, the order of ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import comb

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from hashlab import codes
from hashlab.errors import InputError
from hashlab.plots import RIGHT, axes, box, palette


def cube(bits: int = 4, ax: Axes | None = None) -> Axes:
    """The cube whose corners are all codes of 1..5 bits and whose edges are single flips,
    by distance from 0.
    """
    if not 1 <= bits <= 5:
        raise InputError(f"bits must lie in 1..5 for a cube that can be drawn, got {bits}")
    ax = axes(ax, 1.25 * bits + 1, 4)
    corners = np.array(list(product((0, 1), repeat=bits)), bool)  # (2**bits, bits)
    column = corners.sum(1)
    row = _rows_in_columns(column)
    packed = codes.pack(corners)
    for ends in np.argwhere(np.triu(codes.hamming(packed, packed) == 1)):
        ax.plot(column[ends], row[ends], color="0.75", lw=1, zorder=1)
    for code, x, y in zip(corners, column, row, strict=True):
        text = "".join(map(str, code.astype(int)))
        look = {"linewidth": 1.5, "family": "monospace", "zorder": 2}
        box(ax, x, y, text, palette(1)[0], pad=0.3, **look)
    ax.set(xlim=(-0.5, bits + 0.5), xticks=range(bits + 1))
    ax.set(ylim=(row.min() - 0.6, row.max() + 0.6), yticks=[])
    ax.set_xlabel(f"Hamming distance from {'0' * bits} (bits)")
    sns.despine(ax=ax, left=True)
    return ax


def _rows_in_columns(column: np.ndarray) -> np.ndarray:
    """A height for each corner (N,): those of one column one below the other, around zero."""
    row = np.zeros(len(column))
    for number in np.unique(column):
        mine = column == number
        row[mine] = np.arange(mine.sum())[::-1] - (mine.sum() - 1) / 2
    return row


def distance_spread(lengths: Sequence[int], ax: Axes | None = None) -> Axes:
    """How the distance of two random codes spreads, as a share of the code length,
    a curve per length.
    """
    ax = axes(ax, 6, 3.5)
    for bits, colour in zip(lengths, palette(len(lengths)), strict=True):
        density = [bits * comb(bits, r) / 2**bits for r in range(bits + 1)]
        ax.plot(np.arange(bits + 1) / bits, density, "o-", ms=3, color=colour)
        at = bits // 2 + round(bits**0.5 / 2)  # one standard deviation to the right of the middle
        look = {"textcoords": "offset points", "color": colour}
        ax.annotate(f"{bits} bits", (at / bits, density[at]), (6, 3), **look)
    ax.set(xlabel="Hamming distance / code length", xlim=(0, 1))
    ax.set(ylabel="density", ylim=(0, None))
    sns.despine(ax=ax)
    return ax


def tie_orders(
    relevant: np.ndarray, distances: np.ndarray, ap: Sequence[float], ax: Axes | None = None
) -> Axes:
    """Rankings that differ only in the order of ties:
    a row each with its AP, a full square per relevant item.

    Args:
        relevant: bool (M, N), in the order of ranks.
        distances: int (N,), at every rank; equal ones are ties.
        ap: (M,).
    """
    ax = axes(ax, 0.65 * relevant.shape[1] + 1.2, 0.45 * len(relevant) + 1)
    group = np.unique(distances, return_inverse=True)[1]  # (N,)
    x = np.arange(len(distances)) + 0.5 * group  # a gap between two groups of ties
    for row, hits in enumerate(relevant):
        faces = [RIGHT if hit else "white" for hit in hits]
        look = {"marker": "s", "c": faces, "edgecolors": "0.35", "linewidths": 1}
        ax.scatter(x, np.full(len(hits), row), s=230, **look)
        ax.text(x[-1] + 1.1, row, f"{float(ap[row]):.4f}", va="center", ha="center")
    for number in np.unique(group):
        mine = group == number
        ends = x[mine][[0, -1]] + (-0.3, 0.3)
        ax.plot(ends, (-0.65, -0.65), color="0.35", lw=1.5)
        ax.text(ends.mean(), -0.75, distances[mine][0], ha="center", va="bottom")
    ax.text(-0.6, -0.75, "distance", ha="right", va="bottom")
    ax.text(x[-1] + 1.1, -0.75, "AP", ha="center", va="bottom", weight="bold")
    ax.set(xticks=x, xticklabels=range(1, len(x) + 1), yticks=[], xlabel="rank")
    ax.set(xlim=(-1.8, x[-1] + 1.7), ylim=(len(relevant) - 0.4, -1.4))
    sns.despine(ax=ax, left=True, bottom=True)
    return ax
