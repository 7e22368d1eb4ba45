"""A picture of sample images of a set, per class."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlab import files
from hashlab.data import opening, parts
from hashlab.data.sets import info
from hashlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IN_ROWS = 21  # up to so many classes get a row of images each, more get one image each
MOST = 100  # classes in a picture


def save(name: str, file: Path, path: str | Path | None = None) -> None:
    """Write a picture of the set `name` to `file` (.png); `path` is the cache folder.

    Raises:
        InputError: another suffix, a folder that does not exist, a set that is not in the cache.
    """
    if file.suffix.lower() != ".png" or not file.parent.is_dir():
        raise InputError(f"a .png file in a folder that exists is expected, got {file}")
    import matplotlib as mpl

    with mpl.rc_context({"backend": "Agg"}):
        picture, out = samples(opening.open_pool(info(name), path)), io.BytesIO()
        picture.savefig(out, format="png", dpi=100)
    files.write(file, out.getvalue())


def samples(pool: parts.Pool, each: int = 8) -> Figure:
    """The first images of every class: a row of `each` per class, or one per class where there are many.

    An image with several labels stands under each of them. Of more than 100 classes every so manieth is shown.
    """
    if each < 1:
        raise InputError(f"1 image or more per class are drawn, got {each}")
    classes = len(pool.about.classes)
    shown = np.arange(0, classes, -(-classes // MOST))
    rows = [_members(pool.labels, label)[: each if classes <= IN_ROWS else 1] for label in shown]
    names = [pool.about.classes[label] for label in shown]
    return _rows(pool, rows, names, each) if classes <= IN_ROWS else _grid(pool, rows, names)


def _members(labels: np.ndarray, label: int) -> np.ndarray:
    """Positions of the images of a class, (N,) or one of several labels, (N, L)."""
    return np.flatnonzero(labels == label if labels.ndim == 1 else labels[:, label] == 1)


def _figure(height: int, width: int, cell: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * cell[0], height * cell[1]), layout="constrained")
    axes = figure.subplots(height, width, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def _rows(pool: parts.Pool, rows: list[np.ndarray], names: list[str], each: int) -> Figure:
    figure, axes = _figure(len(rows), each + 1, (1.0, 1.05))
    for line, members, name in zip(axes, rows, names, strict=True):
        line[0].text(1, 0.5, name.replace("_", " "), ha="right", va="center", fontsize=10)
        for ax, image in zip(line[1:], pool.gather(members), strict=False):
            _draw(ax, image)
    return figure


def _grid(pool: parts.Pool, rows: list[np.ndarray], names: list[str]) -> Figure:
    figure, axes = _figure(-(-len(rows) // 10), 10, (1.3, 1.5))
    for ax, members, name in zip(axes.flat, rows, names, strict=False):
        ax.set_title(name.replace("_", " ")[:22], fontsize=7, pad=2)
        for image in pool.gather(members):
            _draw(ax, image)
    return figure


def _draw(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
