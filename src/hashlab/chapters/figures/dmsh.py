"""Figures of the chapter on several scales:
what the levels of a network see, and how they become one code.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from hashlab.chapters.tables import table
from hashlab.errors import InputError, check_word
from hashlab.metrics import Report
from hashlab.metrics.diagnostics import Diagnosis
from hashlab.networks.backbones import Backbone, check_levels
from hashlab.plots import HALO, arrow, axes, box, palette, panels, shades

if TYPE_CHECKING:
    from IPython.display import Markdown


def receptive_field(backbone: Backbone, level: str, channels: int, side: int) -> tuple[int, int]:
    """The first and the last column of an image that the middle of a level's maps depends on.

    It is measured, not counted: in a copy of the network all weights are positive and pooling takes
    means, so that no two paths from a pixel to the middle cancel; then the gradient is positive
    exactly where a path exists.

    Args:
        channels, side: of the square images, in pixels.

    Raises InputError for an unknown level and for one that is a vector: it depends on the whole
    image.
    """
    check_levels(backbone, [level])
    if backbone.levels[level].stride is None:
        problem = f"level {level} is a vector, which depends on the whole image"
        raise InputError(f"{problem}; a level with maps is expected")
    image = torch.ones(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    (maps,) = _positive(backbone).forward_levels(image, [level])
    down = maps.shape[2] // 2
    across = maps.shape[3] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, down, across].sum(), image)
    seen = torch.nonzero(gradient[0].sum((0, 1)))[:, 0]  # columns
    return int(seen[0]), int(seen[-1])


def _positive(network: nn.Module) -> nn.Module:
    """A copy whose outputs grow with every pixel that they depend on."""
    made = copy.deepcopy(network).double().eval().requires_grad_(False)
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.weight.fill_(1 / layer.weight[0].numel())
            if layer.bias is not None:
                layer.bias.zero_()
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.reset_parameters()
        for name, child in layer.named_children():
            if isinstance(child, nn.MaxPool2d):
                setattr(layer, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, nn.ReLU6):
                setattr(layer, name, nn.ReLU())
    return made


def scale_maps(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    fields: Mapping[str, tuple[int, int]],
    each: int = 4,
) -> Figure:
    """A row per level: the image with a frame around what one place sees,
    then the maps that vary most over it.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        maps: level -> (C, h, w).
        fields: level -> first and last column that the middle of its maps sees, as
            `receptive_field` gives them.
        each: maps per level.
    """
    if maps.keys() != fields.keys():
        got = ", ".join(fields)
        raise InputError(f"a receptive field for each of {', '.join(maps)} expected, got {got}")
    size = (1.25 * (each + 1), 1.45 * len(maps) + 0.2)
    figure, grid = panels(len(maps), each + 1, size)
    for (picture, *cells), level, colour in zip(grid, maps, palette(len(maps)), strict=True):
        picture.imshow(image, cmap=shades(image))
        _frame(picture, level, fields[level], colour)
        varied = np.argsort(-maps[level].std((1, 2)), kind="stable")[:each]
        for ax, number in zip(cells, varied, strict=False):
            ax.imshow(maps[level][number], cmap="viridis")
            ax.set_title(f"map {number}", fontsize=11)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
    return figure


def _frame(ax: Axes, level: str, field: tuple[int, int], colour: str | tuple) -> None:
    """Draw a square frame from the first to the last column of a field,
    and write its width above.
    """
    first, last = field
    width = last - first + 1
    corner = (first - 0.5, first - 0.5)
    ax.add_patch(Rectangle(corner, width, width, fill=False, lw=3, edgecolor=colour))
    ax.set_title(f"{level}: {width} px", fontsize=11, color=colour)


def wiring(levels: Sequence[str], pyramid: bool = False, ax: Axes | None = None) -> Axes:
    """How levels become a code, from left to right: a row per level, the coarsest on top.

    Without `pyramid`, every level is averaged and reduced, all are fused, and the result is hashed;
    with it, each level also hears what stands above it, and is hashed on its own before the codes
    are fused.
    """
    ax = axes(ax, 8, 0.95 * len(levels) + 0.5)
    steps = ["1×1", "3×3", "mean", "hash"] if pyramid else ["mean", "1×1"]
    ends = ["fuse", "code"] if pyramid else ["fuse", "hash", "code"]
    middle = (len(levels) - 1) / 2
    across = len(steps) + 1
    look = {"fontsize": 14, "zorder": 2}
    last = [box(ax, x, middle, name, "0.2", **look) for x, name in enumerate(ends, across)]
    rows = []
    for row, (level, colour) in enumerate(zip(levels, palette(len(levels)), strict=True)):
        boxes = [box(ax, x, row, name, colour, **look) for x, name in enumerate([level, *steps])]
        rows.append(boxes)
        for start, end in pairwise([*boxes, last[0]]):
            arrow(ax, start, end)
    for start, end in pairwise(last):
        arrow(ax, start, end)
    for below, above in pairwise(rows):
        arrow(ax, below[0], above[0])  # the network goes on from level to level
        if pyramid:
            arrow(ax, above[1], below[1], "+")
    ax.set(xlim=(-0.5, across + len(ends) - 0.5), ylim=(-0.5, len(levels) - 0.5))
    ax.set_axis_off()
    return ax


def by_scale(
    groups: Mapping[str, Sequence[float]], ylabel: str, fused: str, ax: Axes | None = None
) -> Axes:
    """A column per choice of scales: a dot per run, a bar across at their mean, its value on top.

    Args:
        groups: name -> a value per run.
        ylabel: what the values are.
        fused: the group that stands out; a dashed line runs through all at its mean.
    """
    check_word("fused", fused, groups)
    ax = axes(ax, 1.2 * len(groups) + 0.8, 3.4)
    for column, (name, values) in enumerate(groups.items()):
        colour = palette(2)[name == fused]
        mean = np.mean(values)
        ax.plot([column] * len(values), values, "o", ms=5, color=colour, alpha=0.6)
        ax.plot((column - 0.25, column + 0.25), (mean, mean), color=colour, lw=2.5)
        look = {"textcoords": "offset points", "ha": "center", "path_effects": HALO}
        ax.annotate(f"{mean:.3f}", (column, max(values)), (0, 8), color=colour, **look)
    ax.axhline(np.mean(groups[fused]), ls="--", lw=1, color=palette(2)[1], zorder=0)
    ax.set(xticks=range(len(groups)), xticklabels=groups, xlim=(-0.6, len(groups) - 0.4))
    ax.set_ylabel(ylabel)
    ax.margins(y=0.15)
    ax.tick_params(axis="x", length=0)
    sns.despine(ax=ax)
    return ax


# ---- tables


def scores(reports: Mapping[str, Report]) -> Markdown:
    """Reports side by side: mAP, its extremes under ties, and precision within radius 2."""
    head = [
        "",
        "mAP, ties in random order",
        "worst order",
        "best order",
        "precision within radius 2",
    ]
    rows = []
    for name, report in reports.items():
        values = (report.map, report.map_worst, report.map_best, report.precision_radius2)
        rows.append([name, *(f"{value:.3f}" for value in values)])
    return table(head, *rows)


def bits(diagnoses: Mapping[str, Diagnosis]) -> Markdown:
    """What is good and bad about the bits of several sets of codes."""
    each = list(diagnoses.values())
    rows = {
        "bits that never change": [str(one.constant_bits) for one in each],
        "share of ones, least to greatest": [
            f"{one.balance.min():.2f} to {one.balance.max():.2f}" for one in each
        ],
        "mean correlation of two bits": [f"{one.correlation:.2f}" for one in each],
        "different codes": [str(one.distinct) for one in each],
        "entropy (bits)": [f"{one.effective_bits:.1f}" for one in each],
    }
    return table(["", *diagnoses], *[[name, *cells] for name, cells in rows.items()])
