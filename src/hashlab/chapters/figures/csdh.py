"""Figures of the chapter on code similarities: how far apart images of both kinds of pairs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashlab import codes
from hashlab.errors import InputError
from hashlab.plots import axes, palette, panels

KINDS = ("similar", "dissimilar")
BLOCK = 200  # queries whose distances are counted at once


def distance_counts(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_labels: np.ndarray,
    database_labels: np.ndarray,
    bits: int,
) -> np.ndarray:
    """How many pairs of a query and a database image lie at each Hamming distance:
    int64 (2, bits + 1).

    Row 0 counts the similar pairs, which have the same class or share a label, row 1 the dissimilar
    ones.

    Args:
        query_codes, database_codes: packed, uint8 (Q, 8 W) and (N, 8 W).
        query_labels, database_labels: classes (Q,) and (N,), or 0/1 (Q, L) and (N, L) of several.
    """
    for packed, labels in ((query_codes, query_labels), (database_codes, database_labels)):
        if len(packed) != len(labels):
            raise InputError(
                f"as many labels as codes expected, got {len(labels)} and {len(packed)}"
            )
    counts = np.zeros((2, bits + 1), np.int64)
    for start in range(0, len(query_codes), BLOCK):
        d = codes.hamming(query_codes[start : start + BLOCK], database_codes)  # (B, N)
        s = _similar(query_labels[start : start + BLOCK], database_labels)
        counts += [np.bincount(d[kind].ravel(), minlength=bits + 1) for kind in (s, ~s)]
    return counts


def _similar(labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    if labels.ndim == 1:
        return labels[:, None] == others[None, :]
    return labels.astype(np.float32) @ others.T.astype(np.float32) > 0


def mean_distances(counts: np.ndarray) -> tuple[float, float]:
    """Mean Hamming distance of similar and of dissimilar pairs, of counts (2, bits + 1)."""
    similar, dissimilar = (counts @ np.arange(counts.shape[1])) / counts.sum(1)
    return float(similar), float(dissimilar)


def distances(counts_of: Mapping[str, np.ndarray]) -> Figure:
    """How Hamming distances are spread:
    a panel per name, similar pairs upwards and dissimilar ones downwards.

    Heights are shares of the pairs of their kind; a triangle stands at the mean of each kind.

    Args:
        counts_of: name -> counts (2, K + 1) of `distance_counts`, all of one K.
    """
    lengths = {name: counts.shape[1] - 1 for name, counts in counts_of.items()}
    if len(set(lengths.values())) != 1:
        raise InputError(f"codes of one length expected, got {lengths}")
    size = (6, 1.55 * len(counts_of) + 0.5)
    figure, grid = panels(len(counts_of), 1, size, sharex=True)
    shares = {name: counts / counts.sum(1, keepdims=True) for name, counts in counts_of.items()}
    highest = max(share.max() for share in shares.values())
    for ax, (name, share) in zip(grid[:, 0], shares.items(), strict=True):
        _mirrored(ax, share)
        ax.set_title(name, fontsize=11, loc="left")
        ax.set(ylim=(-1.1 * highest, 1.1 * highest), yticks=[])
    _name_kinds(grid[0, 0], highest)
    grid[-1, 0].set_xlabel("Hamming distance (bits)")
    figure.supylabel("share of the pairs of their kind", fontsize=10)
    return figure


def _mirrored(ax: Axes, share: np.ndarray) -> None:
    d = np.arange(share.shape[1])
    for heights, colour, up, mark in zip(share, palette(2), (1, -1), "^v", strict=True):
        ax.bar(d, up * heights, width=0.85, color=colour)
        ax.plot(heights @ d, 0, mark, ms=8, color=colour, mec="white", mew=1, zorder=3)
    ax.axhline(0, color="0.3", lw=0.8)
    sns.despine(ax=ax, left=True)


def _name_kinds(ax: Axes, highest: float) -> None:
    """Say which bars are which, at the right end, where neither kind has many pairs."""
    look = {"transform": ax.transAxes, "ha": "right", "va": "center"}
    for kind, colour, up in zip(KINDS, palette(2), (1, -1), strict=True):
        ax.text(0.99, 0.5 + 0.4 * up, f"{kind} pairs", color=colour, **look)


def lines_of_kinds(
    x: Sequence[float],
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    xlabel: str,
    ylabel: str,
) -> Figure:
    """Panels side by side that share both axes and the colours of their named curves;
    a legend stands on top.

    Args:
        x: (N,).
        groups: title -> name -> (N,), the same names in every panel.
    """
    names = list(next(iter(groups.values())))
    if any(list(curves) != names for curves in groups.values()):
        raise InputError(f"the curves {', '.join(names)} expected in every panel")
    figure, grid = panels(1, len(groups), (3.4 * len(groups), 3.5), sharey=True)
    colours = palette(len(names))
    for ax, (title, curves) in zip(grid[0], groups.items(), strict=True):
        for (name, y), colour, mark in zip(curves.items(), colours, "os^Dv<>", strict=False):
            ax.plot(x, y, mark + "-", ms=4.5, color=colour, label=name)
        ax.set_title(title, fontsize=11)
        ax.set_xlabel(xlabel)
        sns.despine(ax=ax)
    grid[0, 0].set_ylabel(ylabel)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def named_lines(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    places: Mapping[str, tuple[float, float, str]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Lines in the colours of `lines_of_kinds`, each with its name at a given place:
    for lines that cross.

    Args:
        x: (N,).
        lines: name -> (N,).
        places: name -> x and y of the name, and which end of it stands there, "left" or "right".
    """
    if places.keys() != lines.keys():
        got = ", ".join(places)
        raise InputError(f"a place for each of {', '.join(lines)} expected, got {got}")
    ax = axes(ax, 5.5, 3.6)
    for (name, y), colour in zip(lines.items(), palette(len(lines)), strict=True):
        ax.plot(x, y, color=colour)
        across, up, end = places[name]
        ax.text(across, up, name, ha=end, va="center", color=colour)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    sns.despine(ax=ax)
    return ax
