"""Figures of the chapters on Hamming space and on mAP:
the way from an image to a ranked list, codes and their distances, the order of ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import comb

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from hashlab import codes
from hashlab.errors import InputError
from hashlab.plots import RIGHT, WRONG, axes, box, palette, shades

TALLEST = 1.7  # bar, in widths of a bit
ROW = 1.45  # from an image of the list to the next, in widths of a bit


def from_image_to_list(
    query: np.ndarray,
    outputs: np.ndarray,
    listed: np.ndarray,
    bits: np.ndarray,
    ranks: Sequence[int],
    relevant: Sequence[bool],
) -> Axes:
    """A search from top to bottom: the query and a network, its outputs as bars, their bits,
    and some images of the ranked list with theirs, framed where they differ from the query's.

    Args:
        query: an image, uint8 (H, W[, C]).
        outputs: of the network for the query, (K,).
        listed: images of the list, uint8 (N, H, W[, C]).
        bits: theirs, bool (N, K).
        ranks: at which they stand, (N,); each is written beside its image.
        relevant: whether they show what the query shows, (N,).
    """
    of_query = codes.binarize(outputs[None])[0]  # (K,)
    if bits.shape != (len(listed), len(of_query)):
        wanted = f"bits ({len(listed)}, {len(of_query)}) expected"
        raise InputError(f"{wanted}, one row per image and one bit per output, got {bits.shape}")
    length = len(of_query)
    ax = axes(None, 0.33 * (length + 9.5), 0.33 * (6.6 + ROW * len(listed)))
    _picture(ax, query, -5.5, 0, 2.4)
    _bars(ax, outputs)
    box(ax, -2, 0, "network", palette(1)[0], fontsize=11)
    _step(ax, (-4.1, 0), (-3.3, 0))
    _step(ax, (-0.7, 0), (0.1, 0))
    _step(ax, (length / 2, TALLEST + 0.2), (length / 2, TALLEST + 0.85))
    _bits(ax, of_query, of_query, 3.2)
    names = {"query": (-5.5, -1.5), "outputs": (length / 2, -TALLEST - 0.45)}
    for name, (x, y) in names.items():
        ax.text(x, y, name, ha="center", va="center")
    ax.text(-0.5, 3.2, "its bits", ha="right", va="center")
    ax.text(length + 0.5, 4.5, "distance", va="center")
    for number, image in enumerate(listed):
        row = 5.6 + ROW * number
        colour = RIGHT if relevant[number] else WRONG
        _picture(ax, image, -1.4, row, 1.25, colour)
        ax.text(-2.5, row, f"rank {ranks[number]}", ha="right", va="center")
        _bits(ax, bits[number], of_query, row)
        distance = (bits[number] != of_query).sum()
        sign = "✓" if relevant[number] else "✗"
        ax.text(length + 0.5, row, f"{distance} {sign}", va="center", color=colour)
    ax.set(xlim=(-6.9, length + 2.7), ylim=(5.6 + ROW * len(listed) - 0.6, -TALLEST - 0.9))
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def _picture(
    ax: Axes, image: np.ndarray, x: float, y: float, size: float, colour: str | tuple = "black"
) -> None:
    """Draw a framed image around a point; y grows downwards."""
    half = size / 2
    ends = (x - half, x + half, y + half, y - half)
    ax.imshow(image, cmap=shades(image), extent=ends)
    frame = {"fill": False, "edgecolor": colour, "linewidth": 1.5}
    ax.add_patch(Rectangle((x - half, y - half), size, size, **frame))


def _bars(ax: Axes, outputs: np.ndarray) -> None:
    """Draw a bar for each output, up where it is positive, around the line of zero."""
    heights = -TALLEST * outputs / np.abs(outputs).max()  # y grows downwards
    colours = ["0.25" if value >= 0 else "0.7" for value in outputs]
    ax.bar(np.arange(len(outputs)) + 0.5, heights, 0.7, color=colours)
    ax.plot((0.1, len(outputs) - 0.1), (0, 0), color="0.35", lw=1)


def _bits(ax: Axes, bits: np.ndarray, of_query: np.ndarray, y: float) -> None:
    """Write bits into a row of cells, dark where they are 1, framed where the query's differ."""
    for k, bit in enumerate(bits):
        face = {"facecolor": "0.25" if bit else "0.92", "edgecolor": "white", "linewidth": 1.5}
        ax.add_patch(Rectangle((k, y - 0.5), 1, 1, **face))
        ax.text(k + 0.5, y, int(bit), ha="center", va="center", color="white" if bit else "0.25")
    for k in np.flatnonzero(bits != of_query):
        frame = {"fill": False, "edgecolor": palette(1)[0], "linewidth": 2.5, "zorder": 3}
        ax.add_patch(Rectangle((k + 0.06, y - 0.44), 0.88, 0.88, **frame))


def _step(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "->", "color": "0.45", "linewidth": 1.3}
    ax.annotate("", end, start, arrowprops=style)


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
