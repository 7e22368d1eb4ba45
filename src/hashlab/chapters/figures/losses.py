"""Figures of the chapter on the family of losses:
which way each loss pulls, and how hard, as autograd finds it.

A loss here is a function of outputs z (B, K) alone; labels and all else are bound before.
Everything is computed in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hashlab.errors import InputError
from hashlab.plots import HALO, axes, palette, panels, span

Loss = Callable[[Tensor], Tensor]
LETTERS = "ABCDEFGHIJ"  # of classes, so that colour is not needed
# Of the two kinds of pairs.
LINES = [{"ls": ls, "color": c, "lw": 2} for ls, c in zip(("-", "--"), palette(2), strict=True)]


def pulls(loss: Loss, z: Tensor) -> Tensor:
    """Minus the gradient of `loss` at outputs z (B, K):
    which way, and how hard, descent moves each. float64 (B, K).

    Zero where the loss does not depend on z.
    """
    z = z.detach().double().requires_grad_()
    value = loss(z)
    if not value.requires_grad:
        return torch.zeros_like(z)
    (gradient,) = torch.autograd.grad(value, z)
    return -gradient


def growth(loss: Loss, z: Tensor, sizes: tuple[float, float] = (1e-4, 1e-6)) -> float:
    """The power p with which gradients vanish towards zero:
    |gradient at e z| goes as e^p for small e.

    1 for a saddle at zero, 0 for a slope, -1 for a loss that sees directions only. Measured between
    two sizes e; NaN where there is no gradient.
    """
    norms = [pulls(loss, size * z).norm().item() for size in sizes]
    if min(norms) == 0:
        return float("nan")
    return float(np.log(norms[0] / norms[1]) / np.log(sizes[0] / sizes[1]))


# What an image of class A, at (0, 0), is compared with: kind -> point -> letter of a class, and shape.
COMPARED = {
    "pairs": {(0.8, 0.55): "Ao", (0.75, -0.6): "Ao", (-0.85, 0.5): "Bo", (-0.7, -0.65): "Bo"},
    "triplets": {(0.8, 0.55): "Ao", (-0.85, 0.5): "Bo"},
    "classes": {(0.9, 0.0): "AD", (-0.7, 0.7): "BD", (-0.7, -0.7): "CD"},
    "centres": {(0.95, 0.8): "As"},
    "codes first": {(0.95, -0.8): " s"},
}


def kinds() -> Figure:
    """A sketch of the kinds of supervision: arrows lead from an image of class A to what pulls it,
    and dashed ones to it from what pushes it away.
    """
    figure, grid = panels(2, 3, (6.6, 4.8))
    for ax, (kind, compared) in zip(grid.ravel(), COMPARED.items(), strict=False):
        _sketch(ax, compared)
        ax.set_title(kind, fontsize=13)
    spare = grid[1, 2]
    spare.axis("off")
    shapes = "● an image\n◆ a class, learned\n■ a code, fixed"
    spare.text(0, 0.5, shapes, va="center", fontsize=13, linespacing=1.7)
    return figure


def _sketch(ax: Axes, compared: Mapping[tuple[float, float], str]) -> None:
    """Draw an image of class A, and what it is compared with, each with its arrow."""
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.2, 1.2), xticks=[], yticks=[], aspect="equal")
    for point, (letter, shape) in compared.items():
        pulls = letter in "A "
        end, start = (0.72, 0.2) if pulls else (0.25, 0.78)
        look = {"arrowstyle": "-|>", "lw": 2, "color": "0.35", "mutation_scale": 14}
        look |= {"ls": "-" if pulls else (0, (2, 1)), "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", np.multiply(point, end), np.multiply(point, start), arrowprops=look)
        _symbol(ax, point, letter, shape)
    _symbol(ax, (0, 0), "A", "o")


def _symbol(ax: Axes, point: tuple[float, float], letter: str, shape: str) -> None:
    """Draw a letter on a disc, a diamond or a square in the colour of its class."""
    colour = "0.25" if letter == " " else palette(3)[LETTERS.index(letter)]
    ax.plot(*point, shape, ms=17, color=colour, mec="white", zorder=5)
    words = {"ha": "center", "va": "center_baseline", "weight": "bold", "color": "white"}
    ax.text(*point, letter, zorder=6, **words)


def plane(
    z: Tensor,
    labels: Tensor,
    moves: Tensor,
    marks: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
    longest: float = 0.75,
) -> Axes:
    """Outputs of two bits as points of the plane, each with an arrow;
    a class has a colour and a letter.

    The longest arrow is drawn with length `longest`, the others to scale. Each quarter carries its
    code.

    Args:
        z, moves: (B, 2).
        labels: int (B,).
        marks: text -> point, what the arrows refer to: centres, codes.
    """
    if z.ndim != 2 or z.shape[1] != 2 or z.shape != moves.shape:
        raise InputError(
            f"outputs and moves must be (B, 2), got {tuple(z.shape)} and {tuple(moves.shape)}"
        )
    ax = axes(ax, 4, 4)
    _quarters(ax)
    points = z.detach().numpy()
    arrows = moves.detach().numpy()
    arrows = arrows * (longest / max(np.linalg.norm(arrows, axis=1).max(), 1e-12))
    colours = palette(int(labels.max()) + 1)
    for point, move, label in zip(points, arrows, labels.tolist(), strict=True):
        _pulled(ax, point, move, LETTERS[label], colours[label])
    for text, (x, y) in (marks or {}).items():
        ax.plot(x, y, "+", ms=14, mew=2.5, color="0.25", zorder=4.5)
        look = {"fontsize": 12, "color": "0.25", "path_effects": HALO, "zorder": 8}
        ax.annotate(text, (x, y), (8, -16), textcoords="offset points", **look)
    return ax


def _pulled(ax: Axes, point: np.ndarray, move: np.ndarray, letter: str, colour: tuple) -> None:
    """Draw a point with its letter,
    and the arrow along which it moves unless that is too short to be seen.
    """
    length = np.hypot(*move)
    if length > 0.02:
        style = {"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
        style["mutation_scale"] = min(12, 4 + 24 * length)
        ax.annotate("", point + move, point, arrowprops=style, zorder=4)
    ax.plot(*point, "o", ms=12.5, color=colour, mec="white", mew=0.8, zorder=5)
    words = {"ha": "center", "va": "center_baseline", "weight": "bold"}
    ax.text(*point, letter, color="white", zorder=6, **words)


def _quarters(ax: Axes) -> None:
    """Axes of the plane where bits change, the square of tanh,
    and the code of each quarter in its corner.
    """
    ax.axhline(0, color="0.6", lw=1, zorder=0)
    ax.axvline(0, color="0.6", lw=1, zorder=0)
    ax.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], ":", color="0.6", lw=1.2, zorder=0)
    look = {"transform": ax.transAxes, "fontsize": 14, "color": "0.5", "family": "monospace"}
    for x, side in ((0, "left"), (1, "right")):
        for y, end in ((0, "bottom"), (1, "top")):
            corner = (0.03 + 0.94 * x, 0.03 + 0.94 * y)
            ax.text(*corner, f"{x}{y}", ha=side, va=end, **look)
    ax.set(xlim=(-1.85, 1.85), xticks=(-1, 0, 1), xlabel="output $z_1$")
    ax.set(ylim=(-1.85, 1.85), yticks=(-1, 0, 1), ylabel="output $z_2$", aspect="equal")


def planes(drawn: Mapping[str, tuple], z: Tensor, labels: Tensor) -> Figure:
    """Planes side by side, each under its name: name -> (moves (B, 2), marks or None)."""
    figure, grid = panels(1, len(drawn), (3.4 * len(drawn), 3.9))
    for ax, (name, (moves, marks)) in zip(grid[0], drawn.items(), strict=True):
        plane(z, labels, moves, marks, ax)
        ax.set_title(name, fontsize=13)
        ax.label_outer()
    return figure


def pair(agreement: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Two outputs (K,) of length sqrt(K), as codes have,
    whose inner product is K times `agreement`, in -1..1.
    """
    first, second = torch.zeros(2, bits, dtype=torch.float64)
    first[0] = second[1] = 1.0
    across = (1 - agreement.square()).clamp(min=1e-30).sqrt()
    turned = agreement * first + across * second
    return bits**0.5 * first, bits**0.5 * turned


def pair_curve(
    loss: Callable[[Tensor, Tensor], Tensor], same: bool, bits: int, agreements: Sequence[float]
) -> tuple:
    """Loss of one pair at each agreement, and its derivative by agreement: two arrays.

    Args:
        loss: of outputs (2, K) and labels (2,).
    """
    labels = torch.tensor([0, 0 if same else 1])
    values = []
    slopes = []
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
    """A row per loss on one shared axis:
    at the left the losses of both kinds of pairs, at the right their pulls.

    Losses are stretched to 0..1; a pull is divided by its largest.

    Args:
        rows: loss -> kind of pair -> (loss (N,), pull (N,)).
    """
    figure, grid = panels(len(rows), 2, (6.8, 0.95 * len(rows) + 0.9), sharex=True)
    kinds = list(next(iter(rows.values())))
    for (left, right), (name, curves) in zip(grid, rows.items(), strict=True):
        for kind, look in zip(kinds, LINES, strict=True):
            _ridge(left, right, x, *curves[kind], look)
        for ax in (left, right):
            ax.set(yticks=(0, 1), ylim=(-0.05, 1.1), xlim=(min(x), max(x)))
            ax.axvline(0.5, color="0.7", lw=1, ls=":", zorder=0)
            sns.despine(ax=ax)
        left.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        right.set_yticks([])
    grid[0, 0].set_title("loss", fontsize=13)
    grid[0, 1].set_title("pull", fontsize=13)
    for ax in grid[-1]:
        ax.set_xlabel(xlabel)
    for kind, look in zip(kinds, LINES, strict=True):
        grid[0, 0].plot([], [], label=kind, **look)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=12)
    return figure


def _ridge(
    left: Axes, right: Axes, x: Sequence[float], loss: np.ndarray, pull: np.ndarray, look: dict
) -> None:
    """Draw the loss of one kind of pairs at the left and its pull, shaded, at the right."""
    strength = np.abs(pull) / np.abs(pull).max()
    left.plot(x, unit(np.asarray(loss)), **look)
    right.plot(x, strength, **look)
    right.fill_between(x, strength, color=look["color"], alpha=0.15, lw=0)


def landscape(loss: Loss, ax: Axes, title: str, reach: float = 2.0) -> Axes:
    """One bit of two images as a plane: level lines of `loss` (of z (2, 1)) and arrows downhill.

    All arrows have one length; where nothing slopes stands none.
    """
    ticks = np.linspace(-reach, reach, 41)
    outputs = np.stack(np.meshgrid(ticks, ticks), -1)  # (41, 41, 2)
    heights = [[loss(torch.tensor(z)[:, None]).item() for z in line] for line in outputs]
    ax.contour(ticks, ticks, heights, 14, colors="0.75", linewidths=0.8)
    coarse = np.linspace(-0.9 * reach, 0.9 * reach, 10)
    grid = [(x, y) for x in coarse for y in coarse]
    moves = np.array([pulls(loss, torch.tensor(z)[:, None]).numpy()[:, 0] for z in grid])
    norms = np.linalg.norm(moves, axis=1, keepdims=True)
    moves = np.divide(moves, norms, out=np.zeros_like(moves), where=norms > 1e-12)
    look = {"color": palette(1)[0], "angles": "xy", "pivot": "mid", "width": 0.007, "scale": 13}
    ax.quiver(*np.transpose(grid), *moves.T, **look)
    ax.plot(0, 0, "o", ms=7, color=palette(2)[1])
    ax.set(xticks=(-1, 0, 1), xlabel="output of image $i$")
    ax.set(yticks=(-1, 0, 1), ylabel="output of image $j$", aspect="equal")
    ax.set_title(title, fontsize=11)
    return ax


def histograms(
    outputs: Mapping[str, np.ndarray], xlabel: str, reach: float = 3.0, bins: int = 61
) -> Figure:
    """How outputs spread, a row per run, its name at the left;
    what lies beyond ±reach is counted at the edge.
    """
    figure, grid = panels(len(outputs), 1, (6.2, 0.95 * len(outputs) + 0.6), sharex=True)
    colours = palette(len(outputs))
    for ax, (name, values), colour in zip(grid[:, 0], outputs.items(), colours, strict=True):
        clipped = np.clip(np.asarray(values, float).ravel(), -reach, reach)
        ax.hist(clipped, np.linspace(-reach, reach, bins), color=colour, density=True)
        for code in (-1, 1):
            ax.axvline(code, color="0.6", lw=1, ls=":", zorder=0)
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        ax.set(yticks=[], xlim=(-reach, reach))
        sns.despine(ax=ax, left=True)
    grid[-1, 0].set_xlabel(xlabel)
    return figure


def dots(rows: Mapping[str, tuple[float, float, float]], xlabel: str) -> Axes:
    """A row per name in the order given, from the top:
    a dot at the middle value, a line from low to high.

    Args:
        rows: name -> (low, value, high), in 0..1.
    """
    ax = axes(None, 6, 0.38 * len(rows) + 0.8)
    for row, (low, value, high) in enumerate(rows.values()):
        span(ax, row, low, value, high, palette(1)[0])
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5))
    ax.set(xlabel=xlabel, xlim=(0, 1.02))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.9")
    sns.despine(ax=ax, left=True)
    return ax
