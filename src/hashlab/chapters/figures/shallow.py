"""Figures of the chapter on hashing before deep learning:
how methods cut a plane into cells, and how well it fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from hashlab.errors import InputError
from hashlab.plots import HALO, axes, box, palette, panels

MARKERS = "o^sDvP*X<>d"


def cells(
    model: Any, X: np.ndarray, labels: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    """The plane as a fitted estimator sees it:
    a numbered line where a bit changes, a cell per code.

    Cells are white or grey by whether the number of ones in the code is even, so that two cells
    with one bit between them never look alike.

    Args:
        model: fitted on rows of two features; its `decision_function` gives the outputs, (N, K).
        X: rows to draw, (N, 2).
        labels: int (N,), for the colour and the marker of a row.
    """
    if X.ndim != 2 or X.shape[1] != 2:
        raise InputError(f"rows of two features expected, (N, 2), got {X.shape}")
    ax = axes(ax, 4.2, 4.2)
    low = X.min(0)
    high = X.max(0)
    middle = (low + high) / 2
    half = 0.58 * (high - low).max()  # of the square that is drawn
    x, y = (np.linspace(m - half, m + half, 241) for m in middle)
    grid = np.stack(np.meshgrid(x, y), -1)  # (241, 241, 2)
    outputs = model.decision_function(grid.reshape(-1, 2)).reshape(241, 241, -1)
    odd = (outputs >= 0).sum(-1) % 2  # (241, 241)
    look = {"cmap": "Greys", "vmin": 0, "vmax": 7, "shading": "nearest", "rasterized": True}
    ax.pcolormesh(x, y, odd, **look)
    lines = {}
    for number, bit in enumerate(np.moveaxis(outputs, -1, 0), 1):
        if bit.min() < 0 <= bit.max():  # else there is no line here
            lines[number] = ax.contour(x, y, bit, [0.0], colors=["0.15"], linewidths=1.6)
    scatter(ax, X, labels)
    _number(ax, lines, middle, half)
    ax.set(xlim=x[[0, -1]], ylim=y[[0, -1]], xticks=[], yticks=[], aspect="equal")
    ax.set(xlabel="first feature", ylabel="second feature")
    return ax


def scatter(ax: Axes, X: np.ndarray, labels: np.ndarray | None) -> None:
    """Rows (N, 2) as points; a class, int (N,), has a colour and a marker of its own."""
    kinds = np.zeros(len(X), int) if labels is None else np.unique(labels, return_inverse=True)[1]
    for kind, colour in enumerate(palette(kinds.max() + 1)):
        look = {"s": 16, "color": colour, "linewidths": 0, "alpha": 0.75}
        ax.scatter(*X[kinds == kind].T, marker=MARKERS[kind % len(MARKERS)], **look)


def _number(ax: Axes, lines: Mapping[int, QuadContourSet], middle: np.ndarray, half: float) -> None:
    """Write its number at a line of every bit: far out, and away from the numbers before it."""
    taken: list[np.ndarray] = []
    for number, line in lines.items():
        points = np.concatenate([path.vertices for path in line.get_paths()])
        points = points[(np.abs(points - middle) < 0.93 * half).all(1)]
        if len(points):
            others = np.array(taken) if taken else middle[None]
            room = np.linalg.norm(points[:, None] - others, axis=-1).min(1)
            out = np.abs(points - middle).max(1)
            best = points[np.argmax(np.minimum(room, half) + out)]
            taken.append(best)
            look = {"style": "circle", "pad": 0.15, "linewidth": 1, "fontsize": 11, "zorder": 5}
            box(ax, *best, str(number), "0.15", **look)


def cell_maps(
    models: Mapping[str, Any],
    X: np.ndarray,
    labels: np.ndarray | None = None,
    columns: int = 2,
    side: float = 3.6,
) -> Figure:
    """The same rows under several fitted estimators, `cells` side by side under their names."""
    rows = -(-len(models) // columns)
    figure, grid = panels(rows, columns, (side * columns, (side + 0.1) * rows))
    for ax in grid.flat[len(models) :]:
        ax.set_axis_off()
    for ax, (name, model) in zip(grid.flat, models.items(), strict=False):
        cells(model, X, labels, ax)
        ax.set_title(name, fontsize=13)
    return figure


def separated(angle: float, normals: int = 12, ax: Axes | None = None) -> Axes:
    """Two directions at an angle (radians), and lines through the origin:
    solid ones pass between the two.
    """
    ax = axes(ax, 4.4, 4.4)
    for turn in (np.arange(normals) + 0.5) * np.pi / normals:
        between = {"color": palette(2)[1], "lw": 2}
        beside = {"color": "0.6", "lw": 1, "ls": "--"}
        line = np.outer((-1.25, 1.25), _direction(turn))
        ax.plot(*line.T, **(between if turn < angle else beside), zorder=1)
    words = {"ha": "center", "va": "center", "path_effects": HALO, "zorder": 4}
    for name, turn in {"x": 0.0, "x′": angle}.items():
        end = _direction(turn)
        style = {"arrowstyle": "-|>", "lw": 3, "color": "black"}
        ax.annotate("", end, (0, 0), arrowprops=style, zorder=3)
        ax.text(*(1.12 * end), name, fontsize=16, style="italic", **words)
    arc = 0.45 * _direction(np.linspace(0, angle, 40))
    ax.plot(*arc, color="black", lw=1.5, zorder=3)
    ax.text(*(0.6 * _direction(angle / 2)), "α", fontsize=15, **words)
    ax.set(xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
    ax.set_axis_off()
    return ax


def _direction(turn: float | np.ndarray) -> np.ndarray:
    """The unit vector at an angle (radians) from the first direction,
    which itself lies 0.25 above the axis.
    """
    return np.array([np.cos(0.25 + turn), np.sin(0.25 + turn)])


def measured(
    theory: tuple[np.ndarray, np.ndarray],
    dots: Mapping[str, tuple[np.ndarray, np.ndarray]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """What was counted, a dot each, on the curve that a formula promises.

    Args:
        theory: x and y of the curve.
        dots: name -> x and y.
    """
    ax = axes(ax, 5.5, 3.6)
    looks = zip(palette(len(dots)), MARKERS, strict=False)
    for (name, (x, y)), (colour, marker) in zip(dots.items(), looks, strict=False):
        ax.plot(x, y, marker, ms=6, color=colour, label=name)
    ax.plot(*theory, color="0.15", lw=2, label="the formula")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False)
    sns.despine(ax=ax)
    return ax


def to_corners(turned: Mapping[str, np.ndarray]) -> Figure:
    """Rows (N, 2) before their signs are taken, each with a line to its corner of the square:
    what rounding loses.
    """
    figure, grid = panels(1, len(turned), (3.7 * len(turned), 3.9))
    most = 1.08 * max(1.0, *(np.abs(V).max() for V in turned.values()))
    for ax, (name, V) in zip(grid[0], turned.items(), strict=True):
        corners = np.where(V >= 0, 1.0, -1.0)
        for start, end in zip(V, corners, strict=True):
            ax.plot(*np.stack([start, end]).T, color="0.7", lw=0.7, zorder=1)
        ax.scatter(*V.T, s=14, color=palette(1)[0], linewidths=0, zorder=2)
        ax.plot((-1, -1, 1, 1), (-1, 1, 1, -1), "s", ms=9, color="black", zorder=3)
        ax.axhline(0, color="0.15", lw=1.6)
        ax.axvline(0, color="0.15", lw=1.6)
        ax.set(xlim=(-most, most), xticks=[-1, 0, 1], xlabel="first output")
        ax.set(ylim=(-most, most), yticks=[-1, 0, 1], ylabel="second output", aspect="equal")
        ax.set_title(f"{name}: {((corners - V) ** 2).sum(1).mean():.2f} per row", fontsize=12)
        sns.despine(ax=ax)
    return figure
