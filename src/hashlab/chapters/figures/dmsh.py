"""Figures of the chapter on several scales: what the levels of a network see, and how they become one code."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import nn

from hashlab.errors import InputError
from hashlab.networks.backbones import Backbone, check_levels
from hashlab.plots import HALO, palette


def receptive_field(backbone: Backbone, level: str, channels: int, side: int) -> tuple[int, int]:
    """The first and the last column of an image that the middle place of a level's maps depends on.

    Found by asking, not by counting: in a copy of the network all weights are positive and pooling takes means, so
    that no two paths from a pixel to the place cancel; then the gradient is positive exactly where there is a path.

    Args:
        channels, side: of the square images, in pixels.

    Raises InputError for an unknown level and for one that is a vector: it depends on the whole image.
    """
    check_levels(backbone, [level])
    if backbone.levels[level].stride is None:
        raise InputError(f"level {level} is a vector, which depends on the whole image; a level with maps is expected")
    image = torch.ones(1, channels, side, side, dtype=torch.float64, requires_grad=True)
    (maps,) = _positive(backbone).forward_levels(image, [level])
    middle = maps.shape[3] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, maps.shape[2] // 2, middle].sum(), image)
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
    image: np.ndarray, maps: Mapping[str, np.ndarray], fields: Mapping[str, tuple[int, int]], each: int = 4
) -> Figure:
    """A row per level: the image with a frame around what one place sees, then the maps that vary most over it.

    Args:
        image: uint8 (H, W) or (H, W, 3).
        maps: level -> (C, h, w).
        fields: level -> first and last column that the middle place sees, as `receptive_field` gives them.
        each: maps per level.
    """
    if maps.keys() != fields.keys():
        raise InputError(f"a receptive field for each of {', '.join(maps)} expected, got {', '.join(fields)}")
    size = (1.25 * (each + 1), 1.45 * len(maps) + 0.2)
    figure, grid = plt.subplots(len(maps), each + 1, figsize=size, squeeze=False, layout="constrained")
    for axes, (level, found), colour in zip(grid, maps.items(), palette(len(maps)), strict=True):
        first, last = fields[level]
        axes[0].imshow(image, cmap="gray_r" if image.ndim == 2 else None)
        width = last - first + 1
        frame = Rectangle((first - 0.5, first - 0.5), width, width, fill=False, lw=3, edgecolor=colour)
        axes[0].add_patch(frame)
        axes[0].set_title(f"{level}: {width} px", fontsize=11, color=colour)
        chosen = np.argsort(-found.std((1, 2)), kind="stable")[:each]
        for ax, number in zip(axes[1:], chosen, strict=False):
            ax.imshow(found[number], cmap="viridis")
            ax.set_title(f"map {number}", fontsize=9)
        for ax in axes:
            ax.set(xticks=[], yticks=[])
    return figure


def wiring(levels: Sequence[str], pyramid: bool = False, ax: Axes | None = None) -> Axes:
    """How levels become a code, from left to right: a row per level, the coarsest on top.

    Without `pyramid`, every level is averaged and reduced, all are fused, and the result is hashed; with it, each
    level also hears what stands above it, and is hashed on its own before the codes are fused.
    """
    ax = ax if ax is not None else plt.subplots(figsize=(8, 0.95 * len(levels) + 0.5), layout="constrained")[1]
    steps = ["1×1", "3×3", "mean", "hash"] if pyramid else ["mean", "1×1"]
    ends = ["fuse", "code"] if pyramid else ["fuse", "hash", "code"]
    middle, across = (len(levels) - 1) / 2, len(steps) + 1
    for row, (level, colour) in enumerate(zip(levels, palette(len(levels)), strict=True)):
        for column, text in enumerate([level, *steps]):
            _box(ax, column, row, text, colour)
            if column:
                _arrow(ax, (column - 1, row), (column, row))
        _arrow(ax, (across - 1, row), (across, middle))
        if row:
            _arrow(ax, (0, row - 1), (0, row))  # the network goes on from level to level
        if pyramid and row:
            _arrow(ax, (1, row), (1, row - 1), "+")
    for i, text in enumerate(ends):
        _box(ax, across + i, middle, text, "0.2")
        if i:
            _arrow(ax, (across + i - 1, middle), (across + i, middle))
    ax.set(xlim=(-0.5, across + len(ends) - 0.5), ylim=(-0.5, len(levels) - 0.5))
    ax.set_axis_off()
    return ax


def _box(ax: Axes, x: float, y: float, text: str, colour: str | tuple) -> None:
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour, "linewidth": 2}
    ax.text(x, y, text, ha="center", va="center", fontsize=11, bbox=box, zorder=2)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    style = {"arrowstyle": "->", "color": "0.45", "shrinkA": 20, "shrinkB": 20, "linewidth": 1.3}
    ax.annotate("", end, start, arrowprops=style, zorder=1)
    if text:
        ax.text((start[0] + end[0]) / 2 + 0.1, (start[1] + end[1]) / 2, text, ha="left", va="center", fontsize=12)


def by_scale(groups: Mapping[str, Sequence[float]], ylabel: str, fused: str, ax: Axes | None = None) -> Axes:
    """A column per choice of scales: a dot per run, a bar across at their mean, its value on top.

    Args:
        groups: name -> a value per run.
        ylabel: what the values are.
        fused: the group that stands out; a dashed line runs through all at its mean.
    """
    if fused not in groups:
        raise InputError(f"fused must be one of {', '.join(groups)}, got {fused!r}")
    ax = ax if ax is not None else plt.subplots(figsize=(1.2 * len(groups) + 0.8, 3.4), layout="constrained")[1]
    for column, (name, values) in enumerate(groups.items()):
        colour = palette(2)[name == fused]
        ax.plot([column] * len(values), values, "o", ms=5, color=colour, alpha=0.6)
        ax.plot((column - 0.25, column + 0.25), [np.mean(values)] * 2, color=colour, lw=2.5)
        text = f"{np.mean(values):.3f}"
        above = {"textcoords": "offset points", "ha": "center", "color": colour, "path_effects": HALO}
        ax.annotate(text, (column, max(values)), (0, 8), **above)
    ax.axhline(np.mean(groups[fused]), ls="--", lw=1, color=palette(2)[1], zorder=0)
    ax.set(xticks=range(len(groups)), xticklabels=groups, ylabel=ylabel, xlim=(-0.6, len(groups) - 0.4))
    ax.margins(y=0.15)
    ax.tick_params(axis="x", length=0)
    sns.despine(ax=ax)
    return ax
