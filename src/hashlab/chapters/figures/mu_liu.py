"""Figures of the chapter on Mu and Liu: the network, the identity, and what the scale does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hashlab import codes, plots
from hashlab.chapters.figures import drawings

Ways = Mapping[str, Sequence[float]]  # name of a training -> a value per scale


def network() -> Axes:
    """Two layers side by side on one body: classes first, bits afterwards."""
    body = "image $x$:\nconvolutions and\na dense layer"
    classifier = "linear layer,\nsoft-max"
    bits = "linear layer,\n$u = \\tanh z$"
    first = "cross-entropy:\nfirst, then dropped"
    second = "exponentiated loss\nof pairs"
    boxes = {body: (0, 0.5), classifier: (0.9, 0), bits: (0.9, 1)}
    boxes |= {first: (1.85, 0), second: (1.85, 1)}
    arrows = [(body, classifier), (body, bits), (classifier, first), (bits, second)]
    return drawings.network(boxes, arrows, new=[bits, second])


def identity(share: float = 2.0) -> Axes:
    """The share that one bit has of a loss, as the exponential and as the line through its ends.

    Args:
        share: c/K; larger than in use, so that the curve is seen to bend.
    """
    right = np.linspace(-1, 1, 41)
    line = np.cosh(share) - right * np.sinh(share)
    lines = {"straight line": (right, line), "exponential": (right, np.exp(-right * share))}
    name = "β: −1 where the bit is wrong, +1 where it is right"
    ax = plots.curves(lines, name, "share of the loss", marks="-", named_at=0.5)
    ax.plot([-1, 1], np.exp([share, -share]), "o", ms=9, color="black")
    return ax


def class_distances(packed: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Hamming distances between the commonest codes of all pairs of classes, int (C (C - 1) / 2,).

    Args:
        packed: codes (N, bytes).
        labels: classes (N,).
    """
    own = np.array([_commonest(packed[labels == label]) for label in np.unique(labels)])
    among = codes.hamming(own, own)
    return among[np.triu_indices(len(own), 1)]


def _commonest(packed: np.ndarray) -> np.ndarray:
    found, counts = np.unique(packed, axis=0, return_counts=True)
    return found[counts.argmax()]


def scales(values: Sequence[float], score: Ways, least: Ways) -> Figure:
    """mAP, and below it the least distance of two classes, against the scale c.

    The curves of the first name are drawn thicker, so that both are seen where they meet.
    """
    figure, grid = plots.panels(2, 1, (5.5, 6.0), sharex=True)
    rows = ((score, "mAP"), (least, "least distance of\ntwo classes (bits)"))
    for ax, (ways, ylabel) in zip(grid[:, 0], rows, strict=True):
        ax.set(xticks=values, xlim=(values[0] - 2.4, values[-1] + 0.4))
        lines = {way: (values, heights) for way, heights in ways.items()}
        plots.curves(lines, "", ylabel, ax, named_at=0, nested=True)
    grid[0, 0].set_ylim(0, 1.04)
    grid[1, 0].set_xlabel("scale c")
    return figure
