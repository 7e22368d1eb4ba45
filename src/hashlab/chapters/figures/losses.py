"""Figures of the chapter on the family of losses: which way each loss pulls, and how hard, as autograd finds it.

A loss here is a function of outputs z (B, K) alone; labels and all else are bound before. Everything is computed in
double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hashlab.errors import InputError
from hashlab.plots import HALO, palette

Loss = Callable[[Tensor], Tensor]
LETTERS = "ABCDEFGHIJ"  # of classes, so that colour is not needed


def pulls(loss: Loss, z: Tensor) -> Tensor:
    """Minus the gradient of `loss` at outputs z (B, K): which way, and how hard, descent moves each. float64 (B, K).

    Zero where the loss does not depend on z.
    """
    z = z.detach().double().requires_grad_()
    value = loss(z)
    if not value.requires_grad:
        return torch.zeros_like(z)
    (gradient,) = torch.autograd.grad(value, z)
    return -gradient


def growth(loss: Loss, z: Tensor, sizes: tuple[float, float] = (1e-4, 1e-6)) -> float:
    """The power p with which gradients vanish towards zero: |gradient at e z| goes as e^p for small e.

    1 for a saddle at zero, 0 for a slope, -1 for a loss that sees directions only. Measured between two sizes e;
    NaN where there is no gradient.
    """
    norms = [pulls(loss, size * z).norm().item() for size in sizes]
    if min(norms) == 0:
        return float("nan")
    return float(np.log(norms[0] / norms[1]) / np.log(sizes[0] / sizes[1]))


def plane(
    z: Tensor,
    labels: Tensor,
    moves: Tensor,
    marks: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
    longest: float = 0.75,
) -> Axes:
    """Outputs of two bits as points of the plane, each with an arrow; a class has a colour and a letter.

    The longest arrow is drawn with length `longest`, the others to scale. Each quarter carries its code.

    Args:
        z, moves: (B, 2).
        labels: int (B,).
        marks: text -> place, what the arrows refer to: centres, codes.
    """
    if z.ndim != 2 or z.shape[1] != 2 or z.shape != moves.shape:
        raise InputError(f"outputs and moves must be (B, 2), got {tuple(z.shape)} and {tuple(moves.shape)}")
    ax = ax if ax is not None else plt.subplots(figsize=(4, 4), layout="constrained")[1]
    _quarters(ax)
    points, arrows = z.detach().numpy(), moves.detach().numpy()
    arrows = arrows * (longest / max(np.linalg.norm(arrows, axis=1).max(), 1e-12))
    colours = palette(int(labels.max()) + 1)
    for (x, y), (right, up), label in zip(points, arrows, labels.tolist(), strict=True):
        if (length := np.hypot(right, up)) > 0.02:
            style = {"arrowstyle": "-|>", "color": colours[label], "lw": 2, "shrinkA": 0, "shrinkB": 0}
            style["mutation_scale"] = min(12, 4 + 24 * length)
            ax.annotate("", (x + right, y + up), (x, y), arrowprops=style, zorder=4)
        ax.plot(x, y, "o", ms=12.5, color=colours[label], mec="white", mew=0.8, zorder=5)
        ax.text(x, y, LETTERS[label], ha="center", va="center_baseline", color="white", weight="bold", zorder=6)
    for text, (x, y) in (marks or {}).items():
        ax.plot(x, y, "+", ms=14, mew=2.5, color="0.25", zorder=4.5)
        look = {"fontsize": 12, "color": "0.25", "path_effects": HALO, "zorder": 8}
        ax.annotate(text, (x, y), (8, -16), textcoords="offset points", **look)
    return ax


def _quarters(ax: Axes) -> None:
    """Axes of the plane where bits change, the square of tanh, and the code of each quarter in its corner."""
    ax.axhline(0, color="0.6", lw=1, zorder=0)
    ax.axvline(0, color="0.6", lw=1, zorder=0)
    ax.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], ":", color="0.6", lw=1.2, zorder=0)
    for x in (0, 1):
        for y in (0, 1):
            place = 0.03 + 0.94 * x, 0.03 + 0.94 * y
            sides = {"ha": "right" if x else "left", "va": "top" if y else "bottom"}
            ax.text(*place, f"{x}{y}", transform=ax.transAxes, fontsize=14, color="0.5", family="monospace", **sides)
    ax.set(xlim=(-1.85, 1.85), ylim=(-1.85, 1.85), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    ax.set(xlabel="output $z_1$", ylabel="output $z_2$")


def planes(panels: Mapping[str, tuple], z: Tensor, labels: Tensor) -> Figure:
    """Planes side by side, each under its name: name -> (moves (B, 2), marks or None)."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.4 * len(panels), 3.9), squeeze=False, layout="constrained")
    for ax, (name, (moves, marks)) in zip(axes[0], panels.items(), strict=True):
        plane(z, labels, moves, marks, ax)
        ax.set_title(name, fontsize=13)
        ax.label_outer()
    return figure


def pair(agreement: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Two outputs (K,) of length sqrt(K), as codes have, whose inner product is K times `agreement`, in -1..1."""
    first, second = torch.zeros(2, bits, dtype=torch.float64)
    first[0] = second[1] = 1.0
    turned = agreement * first + (1 - agreement.square()).clamp(min=1e-30).sqrt() * second
    return bits**0.5 * first, bits**0.5 * turned


def pair_curve(loss: Callable[[Tensor, Tensor], Tensor], same: bool, bits: int, agreements: Sequence[float]) -> tuple:
    """Loss of one pair at each agreement, and its derivative by agreement: two arrays.

    Args:
        loss: of outputs (2, K) and labels (2,).
    """
    labels = torch.tensor([0, 0 if same else 1])
    values, slopes = [], []
    for agreement in agreements:
        a = torch.tensor(float(agreement), dtype=torch.float64, requires_grad=True)
        value = loss(torch.stack(pair(a, bits)), labels)
        values.append(value.item())
        slopes.append(torch.autograd.grad(value, a)[0].item())
    return np.array(values), np.array(slopes)


def unit(values: np.ndarray) -> np.ndarray:
    """Values stretched to 0..1."""
    return (values - values.min()) / (values.max() - values.min())


def ridges(rows: Mapping[str, Mapping[str, tuple]], x: Sequence[float], xlabel: str) -> Figure:
    """A row per loss on one shared axis: at the left the losses of both kinds of pairs, at the right their pulls.

    Losses are stretched to 0..1; a pull is divided by its largest.

    Args:
        rows: loss -> kind of pair -> (loss (N,), pull (N,)).
    """
    size = (6.8, 0.95 * len(rows) + 0.9)
    figure, axes = plt.subplots(len(rows), 2, figsize=size, sharex=True, squeeze=False, layout="constrained")
    kinds = list(next(iter(rows.values())))
    for line, (name, curves) in zip(axes, rows.items(), strict=True):
        for kind, style, colour in zip(kinds, ("-", "--"), palette(2), strict=True):
            loss, pull = curves[kind]
            line[0].plot(x, unit(np.asarray(loss)), style, color=colour, lw=2)
            line[1].plot(x, np.abs(pull) / np.abs(pull).max(), style, color=colour, lw=2)
            line[1].fill_between(x, np.abs(pull) / np.abs(pull).max(), color=colour, alpha=0.15, lw=0)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        for ax in line:
            ax.set(yticks=(0, 1), ylim=(-0.05, 1.1), xlim=(min(x), max(x)))
            ax.axvline(0.5, color="0.7", lw=1, ls=":", zorder=0)
            sns.despine(ax=ax)
        line[1].set_yticks([])
    axes[0, 0].set_title("loss", fontsize=13)
    axes[0, 1].set_title("pull", fontsize=13)
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
    for kind, style, colour in zip(kinds, ("-", "--"), palette(2), strict=True):
        axes[0, 0].plot([], [], style, color=colour, lw=2, label=kind)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=12)
    return figure


def landscape(loss: Loss, ax: Axes, title: str, reach: float = 2.0) -> Axes:
    """One bit of two images as a plane: level lines of `loss` (of z (2, 1)) and arrows downhill.

    All arrows have one length; where there is no slope stands none.
    """
    ticks = np.linspace(-reach, reach, 41)
    heights = np.array([[loss(torch.tensor([[x], [y]]).double()).item() for x in ticks] for y in ticks])
    ax.contour(ticks, ticks, heights, 14, colors="0.75", linewidths=0.8)
    coarse = np.linspace(-0.9 * reach, 0.9 * reach, 10)
    grid = [(x, y) for x in coarse for y in coarse]
    moves = np.array([pulls(loss, torch.tensor(place)[:, None]).numpy()[:, 0] for place in grid])
    norms = np.linalg.norm(moves, axis=1, keepdims=True)
    moves = np.divide(moves, norms, out=np.zeros_like(moves), where=norms > 1e-12)
    look = {"color": palette(1)[0], "angles": "xy", "pivot": "mid", "width": 0.007, "scale": 13}
    ax.quiver(*np.transpose(grid), *moves.T, **look)
    ax.plot(0, 0, "o", ms=7, color=palette(2)[1])
    ax.set(aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1), xlabel="output of image $i$")
    ax.set_title(title, fontsize=11)
    ax.set_ylabel("output of image $j$")
    return ax


def histograms(outputs: Mapping[str, np.ndarray], xlabel: str, reach: float = 3.0, bins: int = 61) -> Figure:
    """How outputs spread, a row per run, its name at the left; what lies beyond ±reach is counted at the edge."""
    size = (6.2, 0.95 * len(outputs) + 0.6)
    figure, axes = plt.subplots(len(outputs), 1, figsize=size, sharex=True, squeeze=False, layout="constrained")
    for ax, (name, values), colour in zip(axes[:, 0], outputs.items(), palette(len(outputs)), strict=True):
        clipped = np.clip(np.asarray(values, float).ravel(), -reach, reach)
        ax.hist(clipped, np.linspace(-reach, reach, bins), color=colour, density=True)
        for code in (-1, 1):
            ax.axvline(code, color="0.6", lw=1, ls=":", zorder=0)
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        ax.set(yticks=[], xlim=(-reach, reach))
        sns.despine(ax=ax, left=True)
    axes[-1, 0].set_xlabel(xlabel)
    return figure


def dots(rows: Mapping[str, tuple[float, float, float]], xlabel: str) -> Axes:
    """A row per name in the order given, from the top: a dot at the middle value, a line from low to high.

    Args:
        rows: name -> (low, value, high), in 0..1.
    """
    ax = plt.subplots(figsize=(6, 0.38 * len(rows) + 0.8), layout="constrained")[1]
    for row, (low, value, high) in enumerate(rows.values()):
        ax.plot((low, high), (row, row), color=palette(1)[0], lw=2, alpha=0.5, solid_capstyle="round")
        ax.plot(value, row, "o", ms=7, color=palette(1)[0])
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5), xlim=(0, 1.02), xlabel=xlabel)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.9")
    sns.despine(ax=ax, left=True)
    return ax
