"""A picture of sample images of a set, per class."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlab import files
from hashlab.data import opening, parts
from hashlab.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IN_ROWS = 21  # up to so many classes get a row of images each, more get one image each
MOST = 100  # classes in a picture


def save(name: str, file: Path, path: str | Path | None = None) -> None:
    """Write a picture of the set `name` to `file` (.png); `path` is the cache folder.

    Raises:
        InputError: another suffix, a folder that does not exist, a set that is not in the cache, or
            is of features.
    """
    if file.suffix.lower() != ".png" or not file.parent.is_dir():
        raise InputError(f"a .png file in a folder that exists is expected, got {file}")
    about = opening.info(name, path)
    if len(about.shape) == 1:
        raise InputError(f"{name} is of features: there is nothing to draw")
    import matplotlib as mpl

    with mpl.rc_context({"backend": "Agg"}):
        picture = samples(opening.open_pool(about, path))
        drawing = io.BytesIO()
        picture.savefig(drawing, format="png", dpi=100)
    files.write(file, drawing.getvalue())


def samples(pool: parts.Pool, each: int = 8) -> Figure:
    """The first images of every class:
    a row of `each` per class, or one per class where there are many.

    An image with several labels stands under each of them. Of more than 100 classes every so
    manieth is shown.
    """
    if each < 1:
        raise InputError(f"1 image or more per class are drawn, got {each}")
    classes = len(pool.about.classes)
    labels = range(0, classes, -(-classes // MOST))
    members = {pool.about.classes[label]: _members(pool.labels, label) for label in labels}
    return _rows(pool, members, each) if classes <= IN_ROWS else _grid(pool, members)


def _members(labels: np.ndarray, label: int) -> np.ndarray:
    """Positions of the images of a class, (N,) or one of several labels, (N, L)."""
    if labels.ndim == 1:
        return np.flatnonzero(labels == label)
    return np.flatnonzero(labels[:, label] == 1)


def _figure(height: int, width: int, cell: tuple[float, float]) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    cell_width, cell_height = cell
    size = (width * cell_width, height * cell_height)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(height, width, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, axes


def _rows(pool: parts.Pool, members: dict[str, np.ndarray], each: int) -> Figure:
    """A row per class: its name and the first of its images."""
    figure, axes = _figure(len(members), each + 1, (1.0, 1.05))
    for row, (name, index) in zip(axes, members.items(), strict=True):
        row[0].text(1, 0.5, name.replace("_", " "), ha="right", va="center", fontsize=10)
        for ax, image in zip(row[1:], pool.gather(index[:each]), strict=False):
            _draw(ax, image)
    return figure


def _grid(pool: parts.Pool, members: dict[str, np.ndarray]) -> Figure:
    """The first image of every class, under the name of the class."""
    figure, axes = _figure(-(-len(members) // 10), 10, (1.3, 1.5))
    for ax, (name, index) in zip(axes.flat, members.items(), strict=False):
        ax.set_title(name.replace("_", " ")[:22], fontsize=7, pad=2)
        for image in pool.gather(index[:1]):
            _draw(ax, image)
    return figure


def _draw(ax: Axes, image: np.ndarray) -> None:
    ax.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
