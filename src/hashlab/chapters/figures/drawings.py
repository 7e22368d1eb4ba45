"""Drawings of networks: boxes on a grid, and arrows between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from matplotlib.axes import Axes

from hashlab import plots
from hashlab.errors import InputError

STEP = (2.3, 1.35)  # from a box to the next, in inches


def network(
    boxes: Mapping[str, tuple[float, float]],
    arrows: Iterable[tuple[str, str]],
    *,
    new: Iterable[str] = (),
    notes: Mapping[tuple[str, str], str] | None = None,
) -> Axes:
    """Draw a network from left to right.

    Args:
        boxes: a text for each box -> its column and row; row 0 is the topmost.
        arrows: pairs of texts, from box to box.
        new: the boxes that a paper adds; they stand out.
        notes: an arrow -> what goes along it, written beside it.

    Raises InputError where an arrow names no box.
    """
    arrows = list(arrows)
    notes = dict(notes or {})
    unknown = {name for pair in [*arrows, *notes, tuple(new)] for name in pair} - set(boxes)
    if unknown:
        raise InputError(f"boxes among {list(boxes)} expected, got {sorted(unknown)}")
    columns = max(column for column, _ in boxes.values())
    rows = max(row for _, row in boxes.values())
    ax = plots.axes(None, STEP[0] * (columns + 1), STEP[1] * (rows + 0.8))
    ax.set(xlim=(-0.5, columns + 0.5), ylim=(rows + 0.4, -0.4))
    ax.axis("off")
    frames = {}
    for text, (column, row) in boxes.items():
        colour = plots.COLOURS[3] if text in set(new) else plots.COLOURS[0]
        frames[text] = plots.box(ax, column, row, text, colour, fontsize=10, zorder=3)
    for start, end in arrows:
        plots.arrow(ax, frames[start], frames[end])
        _note(ax, boxes[start], boxes[end], notes.get((start, end), ""))
    return ax


def _note(ax: Axes, start: tuple[float, float], end: tuple[float, float], text: str) -> None:
    """A text beside an upright arrow, above any other."""
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    upright = start[0] == end[0]
    move = (6, 0) if upright else (0, 5 if start[1] == end[1] else 12)
    align = {"ha": "left", "va": "center"} if upright else {"ha": "center", "va": "bottom"}
    ax.annotate(text, middle, move, textcoords="offset points", fontsize=9, **align)
