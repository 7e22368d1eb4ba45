"""Figures of the chapter on how a run works:
its steps from image to record, and which epochs runs share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes

from hashlab.plots import axes, box, palette, shades


def stages(steps: Mapping[str, tuple[str, str | np.ndarray]], ax: Axes | None = None) -> Axes:
    """The steps of a run from top to bottom:
    a step's name in a box, the call that does it, what comes of it.

    Args:
        steps: name -> (call, outcome). An outcome is text; or an image uint8 (H, W[, C]), or bits
            bool (K,), dark where they are 1.
    """
    ax = axes(ax, 6.6, 0.88 * len(steps))  # a row is as high as one unit is wide
    for row, (name, (call, outcome)) in enumerate(steps.items()):
        box(ax, 0.85, row, name, palette(1)[0], pad=0.5, linewidth=1.5)
        if row:
            style = {"arrowstyle": "->", "color": "0.35"}
            ax.annotate("", (0.85, row - 0.26), (0.85, row - 0.74), arrowprops=style)
        ax.text(1.9, row - 0.22, call, va="center", family="monospace", fontsize=10)
        _outcome(ax, outcome, 1.9, row + 0.2)
    ax.set(xlim=(0, 7.5), ylim=(len(steps) - 0.45, -0.55))
    ax.set_axis_off()
    return ax


def _outcome(ax: Axes, outcome: str | np.ndarray, x: float, y: float) -> None:
    if isinstance(outcome, str):
        ax.text(x, y, outcome, va="center", color="0.35")
    elif outcome.dtype == bool:
        greys = ["0.05" if bit else "0.87" for bit in outcome]
        across = x + 0.12 + 0.26 * np.arange(len(outcome))
        ax.scatter(across, np.full(len(outcome), y), s=190, marker="s", c=greys)
    else:
        extent = (x, x + 0.5, y + 0.23, y - 0.27)
        ax.imshow(outcome, cmap=shades(outcome), extent=extent, aspect="auto")


def epochs_done(histories: Mapping[str, Sequence[Mapping]], ax: Axes | None = None) -> Axes:
    """A row per run with a square per epoch, in the colour of its phase;
    hollow where another run had done it.
    """
    ax = axes(ax, 6.0, 0.42 * len(histories) + 1.1)
    lines = [line for history in histories.values() for line in history]
    phases = list(dict.fromkeys(line["phase"] for line in lines))
    colour = dict(zip(phases, palette(len(phases)), strict=True))
    for row, history in enumerate(histories.values()):
        edges = [colour[line["phase"]] for line in history]
        faces = ["white" if line.get("shared") else colour[line["phase"]] for line in history]
        look = {"marker": "s", "c": faces, "edgecolors": edges, "lw": 2}
        ax.scatter(range(1, len(history) + 1), [row] * len(history), s=150, **look)
    longest = max(histories.values(), key=len)
    for phase in phases:
        first = next((i for i, line in enumerate(longest, 1) if line["phase"] == phase), 1)
        ax.text(first - 0.3, -0.65, phase, color=colour[phase])
    ax.set(xlabel="epoch", xticks=range(1, len(longest) + 1), xlim=(0.3, len(longest) + 0.7))
    ax.set(yticks=range(len(histories)), yticklabels=histories, ylim=(len(histories) - 0.5, -1.2))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax
