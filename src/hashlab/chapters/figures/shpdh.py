"""Figures of the chapter on hierarchies:
a tree of classes, what stands at each rank, how far classes lie apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hashlab import codes
from hashlab.chapters.figures import drawings
from hashlab.errors import InputError
from hashlab.losses import clouds
from hashlab.plots import HALO, axes, box, curves, palette, panels, runs, shades


def tree(
    images: np.ndarray, parents: Sequence[int], names: Sequence[str], ax: Axes | None = None
) -> Axes:
    """A tree of two levels from left to right:
    names of the upper classes, an image of each class below them.

    Args:
        images: uint8 (M, H, W[, C]), one per class.
        parents: (M,), the upper class of each.
        names: of the upper classes.
    """
    if len(images) != len(parents) or max(parents) >= len(names):
        expected = f"a parent among {len(names)} for each of {len(images)} images"
        raise InputError(f"{expected} expected, got {list(parents)}")
    parents = np.asarray(parents)
    across = _side_by_side(parents)
    ax = axes(ax, 0.62 * (across.max() + 1), 2.4)
    middle = across.mean()
    for upper, (name, colour) in enumerate(zip(names, palette(len(names)), strict=True)):
        below = across[parents == upper]
        centre = below.mean()
        ax.plot((middle, centre), (3, 1.9), color="0.6", lw=1.2, zorder=0)
        for x in below:
            ax.plot((centre, x), (1.9, 0.45), color=colour, lw=1.5, zorder=0)
        box(ax, centre, 1.9, name, colour, pad=0.3, fontsize=12)
    for x, image in zip(across, images, strict=True):
        ax.imshow(image, cmap=shades(image), extent=(x - 0.42, x + 0.42, -0.42, 0.42))
    ax.plot(middle, 3, "o", color="0.4")
    ax.set(xlim=(-0.6, across.max() + 0.6), ylim=(-0.5, 3.2), aspect="auto")
    ax.set_axis_off()
    return ax


def network() -> Axes:
    """One output, a loss on each level, and the penalties."""
    body = "image $x$:\nnetwork, last\nlayer linear"
    output = "output\n$u = z$"
    fine = "centres $\\mu^1$ of classes:\nloss $\\mathcal{L}_1$"
    coarse = "centres $\\mu^2$ of families:\nloss $\\mathcal{L}_2$"
    edges = "corners of the cube:\npenalties"
    boxes = {body: (0, 1), output: (0.75, 1)}
    boxes |= {coarse: (1.7, 0), fine: (1.7, 1), edges: (1.7, 2)}
    arrows = [(body, output), *((output, loss) for loss in (coarse, fine, edges))]
    return drawings.network(boxes, arrows, new=[fine, coarse])


def borders(kappas: Sequence[float]) -> Axes:
    """How likely the class on the right is, between two centres on a line, for each kappa."""
    at = torch.linspace(-2, 2, 41)[:, None]
    squares = clouds.squared_distances(at, torch.tensor([[-1.0], [1.0]]))
    lines = {
        f"κ = {kappa:g}": (at[:, 0], torch.softmax(-kappa / 2 * squares, 1)[:, 1])
        for kappa in kappas
    }
    names = ("u, between centres at −1 and +1", "p(class on the right | u)")
    return curves(lines, *names, marks="-", named_at=0.66)


def penalties(cubic: float = 10.0, vertex: float = 0.1) -> Axes:
    """What one output pays by each of the two penalties, with their weights."""
    at = torch.linspace(-2, 2, 81)
    lines = {
        f"{weight:g} × {name}": (at, [weight * loss(x.view(1, 1)).item() for x in at])
        for name, weight, loss in (
            ("cubic", cubic, clouds.cubic_loss),
            ("vertex", vertex, clouds.vertex_loss),
        )
    }
    return curves(lines, "output u of one bit", "penalty", marks="-", named_at=0.99)


def first_pull(bits: int, floor: float, classes: int = 100) -> float:
    """How hard an image is pulled where all outputs are 0 and centres random: the median length of
    its gradient.

    Args:
        floor: see `clouds.class_wise_loss`.
    """
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, bits, generator=generator)
    u = torch.zeros(classes, bits, requires_grad=True)
    loss = clouds.class_wise_loss(u, torch.arange(classes), centres, 1.0, floor)
    (gradient,) = torch.autograd.grad(loss, u)
    return classes * gradient.norm(dim=1).median().item()  # the loss is a mean over images


def _side_by_side(parents: np.ndarray) -> np.ndarray:
    """A place for each class, (M,):
    those of one upper class side by side, a gap between two of these.
    """
    order = np.argsort(parents, kind="stable")
    across = np.empty(len(parents))
    across[order] = np.arange(len(parents)) + 0.6 * parents[order]
    return across


def agreement_by_rank(
    query_codes: np.ndarray,
    database_codes: np.ndarray,
    query_levels: np.ndarray,
    database_levels: np.ndarray,
) -> np.ndarray:
    """Which share of the queries has, at each rank, an item that agrees on 0, 1, …, L levels:
    float64 (N, L + 1).

    Ties are in random order: each rank of a group holds the group's mean.

    Args:
        query_codes, database_codes: packed, uint8 (Q, 8 W) and (N, 8 W).
        query_levels, database_levels: int (Q, L) and (N, L).
    """
    depth = query_levels.shape[1] + 1
    totals = np.zeros((len(database_codes), depth))
    for code, levels in zip(query_codes, query_levels, strict=True):
        distance = codes.hamming(code[None], database_codes)[0]  # (N,)
        agreeing = (levels == database_levels).sum(1)  # (N,)
        counts = np.zeros((distance.max() + 1, depth))
        np.add.at(counts, (distance, agreeing), 1)
        sizes = counts.sum(1).astype(int)
        shares = counts / np.maximum(sizes, 1)[:, None]
        totals += np.repeat(shares, sizes, axis=0)
    return totals / len(query_codes)


def ranks(
    shares: Mapping[str, np.ndarray],
    names: Sequence[str],
    marks: Sequence[int] = (),
    top: float = 1.0,
) -> Figure:
    """What stands at each rank, a panel per ranking:
    shares of items that agree on L levels, on fewer, on none.

    Args:
        shares: title -> (N, L + 1) as `agreement_by_rank` gives them, or the first rows of it.
        names: of the L + 1 kinds, best first.
        marks: ranks with a dashed line, where an ideal ranking changes.
        top: of the axis of shares.
    """
    figure, grid = panels(len(shares), 1, (6, 2.1 * len(shares) + 0.4), sharex=True)
    blues = sns.color_palette("Blues", 2 * len(names) - 1)[::-2]
    colours = [*blues[: len(names) - 1], (0.9, 0.9, 0.9)]
    for ax, (title, share) in zip(grid[:, 0], shares.items(), strict=True):
        if share.shape[1] != len(names):
            expected = f"a share for each of {', '.join(names)}"
            raise InputError(f"{title}: {expected} expected, got {share.shape}")
        heights = share[:, ::-1].T  # best first, at the foot
        ax.stackplot(np.arange(1, len(share) + 1), heights, colors=colours)
        for name, low, high in zip(names, *_edges(heights), strict=True):
            _name_area(ax, name, low.clip(max=top), high.clip(max=top))
        for mark in marks:
            ax.axvline(mark, ls="--", lw=1, color="0.2")
        ax.set(xlim=(1, len(share)), ylim=(0, top), ylabel="share of queries")
        ax.set_title(title)
    grid[-1, 0].set_xlabel("rank")
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
        x, side = at + 1, "center"
        if at < len(low) / 8:  # at the left it must not run into the axis
            x, side = len(low) / 60, "left"
        ax.text(x, (low[at] + high[at]) / 2, name, ha=side, va="center", path_effects=HALO)


def class_distances(packed: np.ndarray, labels: np.ndarray, bits: int) -> np.ndarray:
    """Mean Hamming distance between images of every two classes, and within each:
    float64 (C, C), in bits.

    Args:
        packed: codes uint8 (N, 8 W).
        labels: int (N,), classes 0..C-1, each with an image.
    """
    ones = codes.unpack(packed, bits).astype(np.float64)
    classes = range(labels.max() + 1)
    share = np.stack(
        [ones[labels == label].mean(0) for label in classes]
    )  # (C, K): of ones, per bit
    return share @ (1 - share).T + (1 - share) @ share.T


def distance_blocks(
    matrices: Mapping[str, np.ndarray],
    groups: Sequence[int],
    names: Sequence[str],
    axes_names: Sequence[str] = (),
) -> Figure:
    """Distances between classes as shades, dark where near;
    classes of one group stand together in a frame.

    Args:
        matrices: title -> (C, C) in bits; all share their shades.
        groups: (C,), the upper class of each class.
        names: of the upper classes, written beside the frames.
        axes_names: of the classes, where there is room for them.
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.bincount(groups, minlength=len(names))
    ends = sizes.cumsum()
    figure, grid = panels(len(matrices), 1, (6.0, 4.3 * len(matrices)))
    top = max(float(matrix.max()) for matrix in matrices.values())
    for ax, (title, matrix) in zip(grid[:, 0], matrices.items(), strict=True):
        drawn = ax.imshow(matrix[np.ix_(order, order)], cmap="viridis", vmin=0, vmax=top)
        for size, end in zip(sizes, ends, strict=True):
            corner = end - size - 0.5
            ax.add_patch(Rectangle((corner, corner), size, size, fill=False, ec="white", lw=1.5))
        ax.set_title(title)
        spoken = [name.replace("_", " ") for name in names]
        ax.set_yticks(ends - sizes / 2 - 0.5, spoken, fontsize=7 if len(names) > 10 else 10)
        columns = [axes_names[i] for i in order] if axes_names else []
        ax.set_xticks(range(len(columns)), columns)
        ax.tick_params(length=0)
    figure.colorbar(drawn, ax=grid, label="mean Hamming distance (bits)", shrink=0.6)
    return figure


def gains(
    groups: Mapping[str, Sequence[float]],
    anchors: Mapping[str, float],
    xlabel: str,
    ax: Axes | None = None,
) -> Axes:
    """A row per method: a dot per run and a bar at their mean;
    dashed lines at values that can be worked out.

    Args:
        groups: name -> a value per run; the first stands on top.
        anchors: name -> value.
        xlabel: what the values are.
    """
    ax = axes(ax, 6.2, 0.5 * len(groups) + 1.5)
    for row, values in enumerate(groups.values()):
        runs(ax, row, values, palette(1)[0], half=0.25)
        look = {"textcoords": "offset points", "va": "center", "path_effects": HALO}
        ax.annotate(f"{np.mean(values):.3f}", (max(values), row), (8, 0), **look)
    for name, value in anchors.items():
        ax.axvline(value, ls="--", lw=1, color="0.4", zorder=0)
        look = {"textcoords": "offset points", "ha": "center", "color": "0.3", "fontsize": 9}
        ax.annotate(name, (value, -0.55), (0, 3), va="bottom", **look)
    ax.set(yticks=range(len(groups)), yticklabels=groups, ylim=(len(groups) - 0.5, -0.6))
    ax.set(xlabel=xlabel, xlim=(0, 1.02))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax


def by_loss(
    conditions: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], xlabel: str
) -> Figure:
    """mAP against a training loss: a panel per condition,
    a mark per run in the colour of its method.

    Args:
        conditions: condition -> method -> (loss, mAP) per run; all panels have the same methods.
        xlabel: which loss it is.
    """
    methods = list(next(iter(conditions.values())))
    points = [
        point for groups in conditions.values() for group in groups.values() for point in group
    ]
    top = max(score for _, score in points)
    size = (3.9 * len(conditions), 3.2)
    figure, grid = panels(1, len(conditions), size, sharex=True, sharey=True)
    colours = palette(len(methods))
    for ax, (title, groups) in zip(grid[0], conditions.items(), strict=True):
        for method, colour, marker in zip(methods, colours, "osD^v<>", strict=False):
            x, y = np.array(groups[method]).T
            ax.plot(x, y, marker, color=colour, ms=7, alpha=0.8)
            look = {"textcoords": "offset points", "ha": "center", "path_effects": HALO}
            ax.annotate(method, (x.mean(), y.max()), (0, 9), color=colour, **look)
        ax.margins(x=0.15)
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1.2 * top))
    grid[0, 0].set_ylabel("mAP in the end")
    sns.despine(figure)
    return figure
