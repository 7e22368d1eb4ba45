"""Figures of the chapter on hierarchies: a tree of classes, what stands at each rank, how far classes lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashlab import codes
from hashlab.errors import InputError
from hashlab.plots import HALO, palette


def tree(images: np.ndarray, parents: Sequence[int], names: Sequence[str], ax: Axes | None = None) -> Axes:
    """A tree of two levels from left to right: the names of the upper classes, and an image of each class below them.

    Args:
        images: uint8 (M, H, W[, C]), one per class.
        parents: (M,), the upper class of each.
        names: of the upper classes.
    """
    if len(images) != len(parents) or max(parents) >= len(names):
        raise InputError(f"a parent among {len(names)} for each of {len(images)} images expected, got {list(parents)}")
    order = np.argsort(parents, kind="stable")
    place = np.empty(len(images))  # images of one upper class side by side, a gap between two of them
    place[order] = np.arange(len(images)) + 0.6 * np.asarray(parents)[order]
    ax = ax if ax is not None else plt.subplots(figsize=(0.62 * (place.max() + 1), 2.4), layout="constrained")[1]
    middle = place.mean()
    for upper, (name, colour) in enumerate(zip(names, palette(len(names)), strict=True)):
        below = place[np.asarray(parents) == upper]
        ax.plot((middle, below.mean()), (3, 1.9), color="0.6", lw=1.2, zorder=0)
        for x in below:
            ax.plot((below.mean(), x), (1.9, 0.45), color=colour, lw=1.5, zorder=0)
        box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
        ax.text(below.mean(), 1.9, name, ha="center", va="center", fontsize=12, bbox=box)
    for x, image in zip(place, images, strict=True):
        ax.imshow(image, cmap="gray_r" if image.ndim == 2 else None, extent=(x - 0.42, x + 0.42, -0.42, 0.42))
    ax.plot(middle, 3, "o", color="0.4")
    ax.set(xlim=(-0.6, place.max() + 0.6), ylim=(-0.5, 3.2), aspect="auto")
    ax.set_axis_off()
    return ax


def agreement_by_rank(
    query_codes: np.ndarray, database_codes: np.ndarray, query_levels: np.ndarray, database_levels: np.ndarray
) -> np.ndarray:
    """Which share of the queries has, at each rank, an item that agrees on 0, 1, …, L levels: float64 (N, L + 1).

    Ties are in random order: each rank of a group holds the group's mean.

    Args:
        query_codes, database_codes: packed, uint8 (Q, 8 W) and (N, 8 W).
        query_levels, database_levels: int (Q, L) and (N, L).
    """
    depth = query_levels.shape[1] + 1
    found = np.zeros((len(database_codes), depth))
    for code, levels in zip(query_codes, query_levels, strict=True):
        distance = codes.hamming(code[None], database_codes)[0]  # (N,)
        agreeing = (levels == database_levels).sum(1)  # (N,)
        counts = np.zeros((distance.max() + 1, depth))
        np.add.at(counts, (distance, agreeing), 1)
        sizes = counts.sum(1).astype(int)
        found += np.repeat(counts / np.maximum(sizes, 1)[:, None], sizes, axis=0)
    return found / len(query_codes)


def ranks(
    shares: Mapping[str, np.ndarray], names: Sequence[str], marks: Sequence[int] = (), top: float = 1.0
) -> Figure:
    """What stands at each rank, a panel per ranking: shares of items that agree on L levels, on fewer, on none.

    Args:
        shares: title -> (N, L + 1) as `agreement_by_rank` gives them, or the first rows of it.
        names: of the L + 1 kinds, best first.
        marks: ranks with a dashed line, where an ideal ranking changes.
        top: of the axis of shares.
    """
    figure, axes = plt.subplots(
        len(shares), 1, figsize=(6, 2.1 * len(shares) + 0.4), sharex=True, squeeze=False, layout="constrained"
    )
    colours = [*sns.color_palette("Blues", 2 * len(names) - 1)[::-2][: len(names) - 1], (0.9, 0.9, 0.9)]
    for ax, (title, share) in zip(axes[:, 0], shares.items(), strict=True):
        if share.shape[1] != len(names):
            raise InputError(f"{title}: a share for each of {', '.join(names)} expected, got {share.shape}")
        heights = share[:, ::-1].T  # best first, at the foot
        ax.stackplot(np.arange(1, len(share) + 1), heights, colors=colours)
        for name, low, high in zip(names, *_edges(heights), strict=True):
            _name_area(ax, name, low.clip(max=top), high.clip(max=top))
        for mark in marks:
            ax.axvline(mark, ls="--", lw=1, color="0.2")
        ax.set(xlim=(1, len(share)), ylim=(0, top), ylabel="share of queries")
        ax.set_title(title)
    axes[-1, 0].set_xlabel("rank")
    return figure


def _edges(heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper edge (kinds, N) of stacked areas."""
    upper = heights.cumsum(0)
    return upper - heights, upper


def _name_area(ax: Axes, name: str, low: np.ndarray, high: np.ndarray) -> None:
    """Write a name in the middle of where its area is high; not where it is thin everywhere."""
    height = high - low
    if height.max() > 0.12:
        at = int(np.median(np.flatnonzero(height > 0.4 * height.max())))
        middle, left = (low[at] + high[at]) / 2, at < len(low) / 8  # at the left it must not run into the axis
        place = len(low) / 60 if left else at + 1
        ax.text(place, middle, name, ha="left" if left else "center", va="center", path_effects=HALO)


def class_distances(packed: np.ndarray, labels: np.ndarray, bits: int) -> np.ndarray:
    """Mean Hamming distance between images of every two classes, and within each: float64 (C, C), in bits.

    Args:
        packed: codes uint8 (N, 8 W).
        labels: int (N,), classes 0..C-1, each with an image.
    """
    ones = codes.unpack(packed, bits).astype(np.float64)
    share = np.stack([ones[labels == label].mean(0) for label in range(labels.max() + 1)])  # (C, K): of ones, per bit
    return share @ (1 - share).T + (1 - share) @ share.T


def distance_blocks(
    matrices: Mapping[str, np.ndarray], groups: Sequence[int], names: Sequence[str], axes_names: Sequence[str] = ()
) -> Figure:
    """Distances between classes as shades, dark where near; classes of one group stand together in a frame.

    Args:
        matrices: title -> (C, C) in bits; all share their shades.
        groups: (C,), the upper class of each class.
        names: of the upper classes, written beside the frames.
        axes_names: of the classes, where there is room for them.
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=len(names))
    ends = sizes.cumsum()
    width = 4.6
    figure, axes = plt.subplots(
        len(matrices), 1, figsize=(width + 1.4, (width - 0.3) * len(matrices)), squeeze=False, layout="constrained"
    )
    top = max(float(matrix.max()) for matrix in matrices.values())
    for ax, (title, matrix) in zip(axes[:, 0], matrices.items(), strict=True):
        drawn = ax.imshow(matrix[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=top)
        for size, end in zip(sizes, ends, strict=True):
            corner = end - size - 0.5
            ax.add_patch(plt.Rectangle((corner, corner), size, size, fill=False, ec="white", lw=1.5))
        ax.set_title(title)
        small = 7 if len(names) > 10 else 10
        ax.set_yticks(ends - sizes / 2 - 0.5, [name.replace("_", " ") for name in names], fontsize=small)
        ticks = range(len(order)) if axes_names else []
        ax.set_xticks(ticks, [axes_names[i] for i in order] if axes_names else [])
        ax.tick_params(length=0)
    figure.colorbar(drawn, ax=axes, label="mean Hamming distance (bits)", shrink=0.6)
    return figure


def gains(
    groups: Mapping[str, Sequence[float]], anchors: Mapping[str, float], xlabel: str, ax: Axes | None = None
) -> Axes:
    """A row per method: a dot per run and a bar at their mean; dashed lines at values that can be worked out.

    Args:
        groups: name -> a value per run; the first stands on top.
        anchors: name -> value.
        xlabel: what the values are.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(6.2, 0.5 * len(groups) + 1.5), layout="constrained")[1]
    for row, values in enumerate(groups.values()):
        ax.plot(values, [row] * len(values), "o", ms=5, color=palette(1)[0], alpha=0.6)
        ax.plot([np.mean(values)] * 2, (row - 0.25, row + 0.25), color=palette(1)[0], lw=2.5)
        text = f"{np.mean(values):.3f}"
        ax.annotate(text, (max(values), row), (8, 0), textcoords="offset points", va="center", path_effects=HALO)
    for name, value in anchors.items():
        ax.axvline(value, ls="--", lw=1, color="0.4", zorder=0)
        ax.annotate(
            name, (value, -0.55), (0, 3), textcoords="offset points", ha="center", va="bottom", color="0.3", fontsize=9
        )
    ax.set(yticks=range(len(groups)), yticklabels=groups, xlabel=xlabel, xlim=(0, 1.02), ylim=(len(groups) - 0.5, -0.6))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax


def by_loss(panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], xlabel: str) -> Figure:
    """mAP against a training loss: a panel per condition, a mark per run in the colour of its method.

    Args:
        panels: condition -> method -> (loss, mAP) per run; all panels have the same methods.
        xlabel: which loss it is.
    """
    methods = list(next(iter(panels.values())))
    top = max(score for groups in panels.values() for runs in groups.values() for _, score in runs)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.9 * len(panels), 3.2), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, groups) in zip(axes[0], panels.items(), strict=True):
        for method, colour, marker in zip(methods, palette(len(methods)), "osD^v<>", strict=False):
            x, y = np.array(groups[method]).T
            ax.plot(x, y, marker, color=colour, ms=7, alpha=0.8)
            text = (x.mean(), y.max()), (0, 9)
            ax.annotate(method, *text, textcoords="offset points", ha="center", color=colour, path_effects=HALO)
        ax.margins(x=0.15)
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1.2 * top))
    axes[0, 0].set_ylabel("mAP in the end")
    sns.despine(figure)
    return figure
