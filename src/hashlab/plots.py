"""Every figure of the book. Each function draws on `ax` (or makes a figure) and returns what it drew on.

Colours come from seaborn's colour-blind-safe palette, and no meaning hangs on colour alone: curves and clusters
carry their names, right and wrong neighbours carry a tick or a cross.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import Report

COLOURS = sns.color_palette("colorblind")
RIGHT, WRONG = COLOURS[2], COLOURS[3]
# Late come those near to orange, last the ones that are faint on white: pink and yellow.
ORDER = (0, 1, 2, 4, 9, 7, 5, 3, 6, 8)
HALO = [withStroke(linewidth=3, foreground="white")]
# Where a label may stand, in points from where it belongs: there, or on rings around it.
MOVES = [(0.0, 0.0), *((r * np.cos(a), r * np.sin(a)) for r in range(12, 90, 6) for a in np.arange(16) * np.pi / 8)]


def palette(count: int) -> list[tuple[float, float, float]]:
    """`count` colours that can be told apart, by the colour-blind too for up to ten."""
    return [COLOURS[i] for i in ORDER[:count]] if count <= 10 else sns.husl_palette(count, l=0.55)


def axes(ax: Axes | None, width: float = 6.0, height: float = 4.0) -> Axes:
    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


def precision_recall(reports: Mapping[str, Report], ax: Axes | None = None) -> Axes:
    """Precision against recall, a point per Hamming radius 0..K, for each named report.

    The radius where a curve reaches precision is not a free choice: a ball of radius r holds what it holds.
    """
    ax = axes(ax)
    named_at = np.linspace(0.7, 0.3, len(reports)) if len(reports) > 1 else [0.5]  # not one below the other
    for (name, report), colour, place in zip(reports.items(), palette(len(reports)), named_at, strict=True):
        there = np.isfinite(report.precision)
        recall, precision = report.recall[there], report.precision[there]
        ax.plot(recall, precision, "o-", ms=3.5, color=colour)
        middle = int(np.argmin(np.abs(recall - place)))
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
    ax = axes(ax, 6, 5)
    flat = TSNE(init="pca", perplexity=min(30, len(points) / 4), random_state=seed).fit_transform(
        points.astype(np.float32)
    )
    for label, colour in zip(np.unique(labels), palette(len(np.unique(labels))), strict=True):
        mine = flat[labels == label]
        ax.scatter(*mine.T, s=16, color=colour, alpha=0.7, linewidths=0)
        away = ((mine - np.median(mine, axis=0)) ** 2).sum(1)
        near = mine[away <= np.quantile(away, 0.9)]  # without those that strayed to another cluster
        top = np.median(near[:, 0]), near[:, 1].max()  # above the points: on them, a name hides what it names
        ax.annotate(classes[label], top, (0, 5), textcoords="offset points", ha="center", weight="bold", fontsize=13)
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
    code's commonest class; a class is named at its fullest code, or beside it where names would overlap.

    Args:
        bits: bool (N, K).
        labels: int (N,).
    """
    if bits.ndim != 2 or not 2 <= bits.shape[1] <= 16:
        raise InputError(f"bits must be (N, K) with K in 2..16, got {bits.shape}")
    ax = axes(ax, 5, 5)
    down = bits.shape[1] // 2
    row, column = (_place(half) for half in (bits[:, :down], bits[:, down:]))
    counts = np.zeros((2**down, 2 ** (bits.shape[1] - down), labels.max() + 1), np.int64)
    np.add.at(counts, (row, column, labels), 1)
    rows, columns = np.nonzero(counts.sum(-1))
    totals, commonest = counts[rows, columns].sum(-1), counts[rows, columns].argmax(-1)
    colours = np.array(palette(len(classes)))[commonest]
    ax.scatter(columns, rows, s=4 + 420 * totals / totals.max(), c=colours, alpha=0.85, linewidths=0)
    ax.set(xlim=(-2, counts.shape[1] + 1), ylim=(counts.shape[0] + 1, -2), xticks=[], yticks=[], aspect="equal")
    _name_codes(ax, counts, classes)
    return ax


def _name_codes(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Write each class at its fullest code, the fullest first; classes that share it share a label."""
    names: dict[tuple[int, int], list[str]] = {}
    for label in np.argsort(-counts.max((0, 1)), kind="stable"):
        if counts[:, :, label].any():
            row, column = np.unravel_index(counts[:, :, label].argmax(), counts.shape[:2])
            names.setdefault((int(column), int(row)), []).append(classes[label])
    _without_overlap(ax, {place: " ".join(sorted(sharing)) for place, sharing in names.items()})


def _without_overlap(ax: Axes, names: Mapping[tuple[int, int], str]) -> None:
    """Write `names` at their places; one that would lie on an earlier one moves beside it, or is left out."""
    ax.figure.draw_without_rendering()  # fixes the size of the axes, and so of the labels in it
    look = {"ha": "center", "va": "center", "weight": "bold", "fontsize": 13, "path_effects": HALO}
    line = {"arrowstyle": "-", "color": "0.4", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    taken: list[Bbox] = []
    for place, name in names.items():
        text = ax.annotate(name, place, (0, 0), textcoords="offset points", arrowprops=line, **look)
        box = text.get_window_extent().padded(3)  # the line has no length yet
        for move in MOVES:
            moved = box.translated(*(np.array(move) * ax.figure.dpi / 72))
            if _fits(moved, taken, ax.bbox):
                text.set_position(move)
                taken.append(moved)
                break
        else:
            text.remove()


def _fits(box: Bbox, taken: Sequence[Bbox], inside: Bbox) -> bool:
    """Whether `box` lies inside and off all that are taken."""
    corners = inside.x0 <= box.x0 and inside.y0 <= box.y0 and box.x1 <= inside.x1 and box.y1 <= inside.y1
    return corners and not any(box.overlaps(other) for other in taken)


def code_maps(maps: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str]) -> Figure:
    """Code maps one below the other, each under its name, so that they stay large on a narrow screen.

    Args:
        maps: name -> bits, bool (N, K), and labels, int (N,).
        classes: their names.
    """
    size = (5, 5.5 * len(maps))
    figure, axes = plt.subplots(len(maps), 1, figsize=size, squeeze=False, layout="constrained")
    for ax, name in zip(axes[:, 0], maps, strict=True):
        ax.set_title(name, fontsize=14)  # titles first: they take room, and labels are placed in what is left
    for ax, (bits, labels) in zip(axes[:, 0], maps.values(), strict=True):
        code_map(bits, labels, classes, ax)
    return figure


def _place(half: np.ndarray) -> np.ndarray:
    """Position (N,) of codes, bool (N, k), in Gray order."""
    number = half @ (1 << np.arange(half.shape[1])[::-1])
    order = gray(half.shape[1]) @ (1 << np.arange(half.shape[1])[::-1])
    return np.argsort(order)[number]


def losses(history: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """Mean training loss per epoch, a curve per phase, phases one after the other."""
    ax = axes(ax, 6, 3)
    phases = list(dict.fromkeys(line["phase"] for line in history))
    for phase, colour in zip(phases, palette(len(phases)), strict=True):
        at = [(i, line["loss"]) for i, line in enumerate(history, 1) if line["phase"] == phase]
        ax.plot(*zip(*at, strict=True), "o-", ms=4, color=colour)
        ax.annotate(phase, at[0], (6, 4), textcoords="offset points", color=colour)
    ax.set(xlabel="epoch", ylabel="mean training loss", ylim=(0, None))
    ax.xaxis.get_major_locator().set_params(integer=True)
    sns.despine(ax=ax)
    return ax


def against_bits(
    lengths: Sequence[int],
    curves: Mapping[str, Sequence[float] | float],
    ylabel: str,
    band: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Named curves against code length K on a logarithmic axis; a single number is a dashed level.

    Args:
        lengths: K, ascending.
        curves: name -> a value per length, or one value.
        ylabel: what the values are.
        band: the two edges, lower then upper, of a shaded band: name -> a value per length.
    """
    ax = axes(ax, 6.5, 4)
    for (name, values), colour in zip(curves.items(), palette(len(curves)), strict=True):
        level = np.isscalar(values)
        heights = np.broadcast_to(values, len(lengths))
        ax.plot(lengths, heights, "--" if level else "o-", ms=5, color=colour)
        ax.annotate(name, (lengths[-1], heights[-1]), (8, 0), textcoords="offset points", va="center", color=colour)
    if band:
        (lower, low), (upper, high) = band.items()
        ax.fill_between(lengths, low, high, color=palette(1)[0], alpha=0.2, linewidth=0)
        for name, values, up in ((lower, low, -1), (upper, high, 1)):
            ax.plot(lengths, values, lw=1, color=palette(1)[0])
            ax.annotate(name, (lengths[0], values[0]), (0, 9 * up), textcoords="offset points", va="center")
    ax.set_xscale("log", base=2)
    ax.set(xticks=lengths, xticklabels=lengths, xlabel="code length K (bits)", ylabel=ylabel)
    ax.set_ylim(-0.03 * ax.get_ylim()[1], None)  # a value of 0 is seen too
    ax.minorticks_off()
    sns.despine(ax=ax)
    return ax


def code_rows(images: np.ndarray, codes_of: Mapping[str, np.ndarray]) -> Figure:
    """A row per image: the image, then its code in every named set, dark where the bit is 1.

    The number beside a code is its Hamming distance from the code in the first row.

    Args:
        images: uint8 (N, H, W[, C]).
        codes_of: name -> bool (N, K).
    """
    for name, bits in codes_of.items():
        if bits.ndim != 2 or len(bits) != len(images):
            raise InputError(f"{name}: bits must be ({len(images)}, K), one row per image, got {bits.shape}")
    widths = [2.4, *(bits.shape[1] + 1.0 for bits in codes_of.values())]  # in bits: an image is as high as two
    size = (0.27 * sum(widths), 0.54 * len(images) + 0.4)
    figure, axes = plt.subplots(1, len(widths), figsize=size, width_ratios=widths, layout="constrained")
    for row, image in enumerate(images):
        axes[0].imshow(image, cmap="gray_r", extent=(0.06, 0.94, row + 0.94, row + 0.06))
    axes[0].set(xlim=(0, 1), ylim=(len(images), 0))
    axes[0].set_axis_off()
    for ax, (name, bits) in zip(axes[1:], codes_of.items(), strict=True):
        ax.pcolormesh(bits, cmap="gray_r", vmin=-0.15, vmax=1.2, edgecolors="white", linewidth=2)
        ax.set(xticks=[], yticks=np.arange(len(bits)) + 0.5, yticklabels=(bits != bits[0]).sum(1))
        ax.set_title(name, fontsize=14)
        ax.yaxis.tick_right()
        ax.tick_params(length=0, labelsize=13)
        ax.invert_yaxis()
        sns.despine(ax=ax, left=True, bottom=True)
    return figure


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    *,
    named_at: float = 1.0,
    marks: str = "o-",
    log: bool = False,
    nested: bool = False,
) -> Axes:
    """Named curves, each with its name written at it.

    Args:
        lines: name -> (x, y). Where y is (N, S), the curve is the mean over S runs and each run a small dot.
        named_at: where names stand: 1 at the right end of the curves, 0 at the left, else above that part of them.
        marks: matplotlib's format of the curves.
        log: a logarithmic y axis.
        nested: each curve is drawn thinner than the one before it, so that one under another is still seen.
    """
    ax = axes(ax, 5.5, 3.6)
    if log:
        ax.set_yscale("log")
    places = []
    widths = [1.5 + 3 * nested * over for over in range(len(lines))][::-1]  # points; the last curve is always thin
    for (name, (x, y)), colour, width in zip(lines.items(), palette(len(lines)), widths, strict=True):
        if len(x) != len(y):
            raise InputError(f"{name}: as many y as x expected, got {len(y)} and {len(x)}")
        runs = np.asarray(y, float).reshape(len(x), -1)  # (N, S)
        ax.plot(x, runs.mean(1), marks, ms=3.5 + width, lw=width, color=colour)
        if runs.shape[1] > 1:
            ax.plot(x, runs, "o", ms=3, color=colour, alpha=0.5)
        there = round(named_at * (len(x) - 1))
        places.append((x[there], runs.mean(1)[there]))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    sns.despine(ax=ax)
    _names(ax, list(lines), np.array(places, float), named_at)
    return ax


def _names(ax: Axes, names: Sequence[str], places: np.ndarray, at: float) -> None:
    """Write the names of curves at `places` (N, 2): beside their ends, above the rest, and never on each other."""
    gap = 14.0  # points from line to line
    (right, up), side = {0.0: ((-9, 0), "right"), 1.0: ((9, 0), "left")}.get(at, ((8, 9), "left"))
    ax.get_ylim()  # brings the axis up to date with the curves just drawn
    heights = ax.transData.transform(places)[:, 1] * 72 / ax.figure.dpi  # points
    free = heights.copy()
    for lower, upper in pairwise(np.argsort(heights, kind="stable")):
        free[upper] = max(free[upper], free[lower] + gap)
    for name, place, lift, colour in zip(names, places, free - heights, palette(len(names)), strict=True):
        offset = (right, up + lift)
        kwargs = {"textcoords": "offset points", "ha": side, "va": "center", "path_effects": HALO}
        ax.annotate(name, place, offset, color=colour, **kwargs)


def ladder(
    rows: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    *,
    stress: str | None = None,
    crosses: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One quantity under several definitions: a row each, the smallest at the foot, its value in figures at the right.

    Args:
        rows: name -> (low, value, high): a dot at the value, a line from low to high.
        xlabel: what the values are.
        stress: the row that the others are compared with; a dashed line runs through all of them at its value.
        crosses: name -> another value to mark in that row.
    """
    if crosses is not None and crosses.keys() != rows.keys():
        raise InputError(f"a cross for each of {', '.join(rows)} expected, got {', '.join(crosses)}")
    ax = axes(ax, 5.6, 0.3 * len(rows) + 0.9)
    names = sorted(rows, key=lambda name: rows[name][1])
    for height, name in enumerate(names):
        (low, value, high), colour = rows[name], palette(2)[name == stress]
        ax.plot((low, high), (height, height), color=colour, lw=2, alpha=0.5, solid_capstyle="round")
        ax.plot(value, height, "o", ms=7, color=colour)
        ax.text(1.02, height, f"{value:.4f}", transform=ax.get_yaxis_transform(), va="center", color=colour)
    if crosses is not None:
        ax.plot([crosses[name] for name in names], range(len(names)), "x", ms=7, mew=2, color="0.2")
    if stress is not None:
        ax.axvline(rows[stress][1], ls="--", lw=1, color=palette(2)[1], zorder=0)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax


