"""Every figure of the book. Each function draws on `ax` (or makes a figure) and returns what it drew on.

Colours come from seaborn's colour-blind-safe palette, and no meaning hangs on colour alone: curves and clusters
carry their names, right and wrong neighbours carry a tick or a cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import Report

RIGHT, WRONG = sns.color_palette("colorblind")[2], sns.color_palette("colorblind")[3]
HALO = [withStroke(linewidth=3, foreground="white")]


def palette(count: int) -> list[tuple[float, float, float]]:
    """`count` colours that can be told apart, by the colour-blind too for up to ten."""
    return sns.color_palette("colorblind", count) if count <= 10 else sns.husl_palette(count, l=0.55)


def _axes(ax: Axes | None, width: float = 6.0, height: float = 4.0) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


def precision_recall(reports: Mapping[str, Report], ax: Axes | None = None) -> Axes:
    """Precision against recall, a point per Hamming radius 0..K, for each named report.

    The radius where a curve reaches precision is not a free choice: a ball of radius r holds what it holds.
    """
    ax = _axes(ax)
    for (name, report), colour in zip(reports.items(), palette(len(reports)), strict=True):
        there = np.isfinite(report.precision)
        recall, precision = report.recall[there], report.precision[there]
        ax.plot(recall, precision, "o-", ms=3.5, color=colour)
        middle = int(np.argmin(np.abs(recall - 0.5)))
        ax.annotate(
            name,
            (recall[middle], precision[middle]),
            (0, 6),
            textcoords="offset points",
            color=colour,
            path_effects=HALO,
        )
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.04))
    sns.despine(ax=ax)
    return ax


def tsne(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], ax: Axes | None = None, seed: int = 0) -> Axes:
    """t-SNE of codes, bool or real (N, K), coloured and named by class.

    Distances between clusters mean little in t-SNE; what it shows is which points are neighbours.
    """
    from sklearn.manifold import TSNE

    if len(points) != len(labels) or len(points) < 5:
        raise InputError(
            f"as many labels as points expected, 5 or more; got {len(points)} points, {len(labels)} labels"
        )
    ax = _axes(ax, 6, 5)
    flat = TSNE(init="pca", perplexity=min(30, len(points) / 4), random_state=seed).fit_transform(
        points.astype(np.float32)
    )
    for label, colour in zip(np.unique(labels), palette(len(np.unique(labels))), strict=True):
        mine = flat[labels == label]
        ax.scatter(*mine.T, s=8, color=colour, alpha=0.7, linewidths=0)
        middle = mine[np.argmin(((mine - np.median(mine, axis=0)) ** 2).sum(1))]
        ax.annotate(classes[label], middle, ha="center", va="center", weight="bold", fontsize=13, path_effects=HALO)
    ax.set(xticks=[], yticks=[], xlabel="t-SNE, first axis (no unit)", ylabel="t-SNE, second axis (no unit)")
    sns.despine(ax=ax)
    return ax


def retrieved(
    queries: np.ndarray,
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    nearest: int = 8,
) -> Figure:
    """A row per query: the query, then its nearest images with their Hamming distance, ticked or crossed.

    Images uint8 (Q, H, W[, C]) and (N, H, W[, C]); packed codes. Ties stand in database order.
    """
    distances = codes.hamming(query_codes, database_codes)  # (Q, N)
    order = np.argsort(distances, axis=1, kind="stable")[:, :nearest]
    size = (1.0 * (nearest + 1), 1.22 * len(queries) + 0.3)
    figure, grid = plt.subplots(len(queries), nearest + 1, figsize=size, squeeze=False, layout="constrained")
    for row, (axes, found) in enumerate(zip(grid, order, strict=True)):
        _image(axes[0], queries[row], "query", "black")
        for ax, item in zip(axes[1:], found, strict=True):
            hit = database_labels[item] == query_labels[row]
            _image(ax, database[item], f"{'✓' if hit else '✗'} {distances[row, item]}", RIGHT if hit else WRONG)
    return figure


def _image(ax: Axes, image: np.ndarray, text: str, colour: str | tuple) -> None:
    ax.imshow(image, cmap="gray_r" if image.ndim == 2 else None)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(text, fontsize=9, color=colour, pad=3)
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=2)


def gray(bits: int) -> np.ndarray:
    """The 2**bits numbers in Gray order (each differs from the next in one bit), as bool (2**bits, bits)."""
    numbers = np.arange(2**bits)
    return ((numbers ^ (numbers >> 1))[:, None] >> np.arange(bits)[::-1] & 1).astype(bool)


def code_map(bits: np.ndarray, labels: np.ndarray, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """All 2**K codes as cells of a map (K <= 16); a disc where images fell, its area growing with their number.

    Rows and columns are in Gray order, so a step to the next cell changes one bit. Discs take the colour of the
    code's commonest class; a class is named at its fullest code.

    Args:
        bits: bool (N, K).
        labels: int (N,).
    """
    if bits.ndim != 2 or not 2 <= bits.shape[1] <= 16:
        raise InputError(f"bits must be (N, K) with K in 2..16, got {bits.shape}")
    ax = _axes(ax, 6, 6)
    down = bits.shape[1] // 2
    row, column = (_place(half) for half in (bits[:, :down], bits[:, down:]))
    counts = np.zeros((2**down, 2 ** (bits.shape[1] - down), labels.max() + 1), np.int64)
    np.add.at(counts, (row, column, labels), 1)
    rows, columns = np.nonzero(counts.sum(-1))
    totals, commonest = counts[rows, columns].sum(-1), counts[rows, columns].argmax(-1)
    colours = np.array(palette(len(classes)))[commonest]
    ax.scatter(columns, rows, s=3 + 420 * totals / totals.max(), c=colours, alpha=0.85, linewidths=0)
    for label in np.unique(labels):
        place = np.unravel_index(counts[:, :, label].argmax(), counts.shape[:2])
        ax.annotate(classes[label], place[::-1], ha="center", va="center", weight="bold", path_effects=HALO)
    ax.set(
        xlim=(-1.5, counts.shape[1] + 0.5),
        ylim=(counts.shape[0] + 0.5, -1.5),
        xticks=[],
        yticks=[],
        aspect="equal",
    )
    return ax


def _place(half: np.ndarray) -> np.ndarray:
    """Position (N,) of codes, bool (N, k), in Gray order."""
    number = half @ (1 << np.arange(half.shape[1])[::-1])
    order = gray(half.shape[1]) @ (1 << np.arange(half.shape[1])[::-1])
    return np.argsort(order)[number]


def losses(history: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """Mean training loss per epoch, a curve per phase, phases one after the other."""
    ax = _axes(ax, 6, 3)
    phases = list(dict.fromkeys(line["phase"] for line in history))
    for phase, colour in zip(phases, palette(len(phases)), strict=True):
        at = [(i, line["loss"]) for i, line in enumerate(history, 1) if line["phase"] == phase]
        ax.plot(*zip(*at, strict=True), "o-", ms=4, color=colour)
        ax.annotate(phase, at[0], (6, 4), textcoords="offset points", color=colour)
    ax.set(xlabel="epoch", ylabel="mean training loss", ylim=(0, None))
    sns.despine(ax=ax)
    return ax
