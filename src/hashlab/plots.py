"""Figures that several pages draw, and what all figures are made of.

Each figure draws on `ax` (or makes a figure) and returns what it drew on. Figures of a single
chapter are in `hashlab.chapters.figures`.

Colours come from seaborn's colour-blind-safe palette, and no meaning hangs on colour alone: curves
and clusters carry their names, right and wrong neighbours carry a tick or a cross.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection, QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import Report

OF_LINES, OF_WORDS = 3.0, 4.5  # least contrast of what is seen, and of what is read
ORDER = (0, 1, 2, 4, 9, 7, 5, 3, 6, 8)  # late comes what is near to orange
FAINT = ORDER[8:]  # pink and yellow; darker they would be like others


def deepened(colour: str | tuple, contrast: float) -> tuple[float, float, float]:
    """The colour, or the darker one of its hue that has this contrast with white.

    Contrast is that of the Web Content Accessibility Guidelines, 1 to 21.
    """
    values = np.array(to_rgb(colour))
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    light = linear @ (0.2126, 0.7152, 0.0722)
    most = 1.05 / contrast - 0.05
    if light <= most:
        return to_rgb(colour)
    linear *= most / light
    values = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return tuple(values.tolist())


COLOURS = [
    deepened(colour, 2.0 if number in FAINT else OF_LINES)
    for number, colour in enumerate(sns.color_palette("colorblind"))
]
RIGHT, WRONG = COLOURS[2], COLOURS[3]
HALO = [withStroke(linewidth=3, foreground="white")]
STYLES = ("-", "--", "-.", ":")  # of curves whose names are listed
MOST = 100_000  # letters of SVG for the discs of a figure; more are drawn as pixels
DENSITY = 100  # of these pixels, to an inch
LARGE = 20_000  # letters of a picture in base64, from which on it has 256 colours
ANGLES = np.arange(16) * np.pi / 8
# Where a label may stand, in points from where it belongs: right there, or on rings around it.
MOVES = [(0.0, 0.0), *((r * np.cos(a), r * np.sin(a)) for r in range(12, 90, 6) for a in ANGLES)]


# ---- what figures are made of


class Drawing(Figure):
    """A figure that a notebook shows as SVG: sharp on every screen and on paper.

    The same figure is the same text on any day, so a notebook that is run again stays as it is.
    Letters are outlines, for phones and hosts lack matplotlib's font.
    """

    def svg(self) -> str:
        """The figure as SVG, cut to what is drawn."""
        self._fit()
        drawing = io.StringIO()
        undated = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with plt.rc_context({"svg.hashsalt": "hashlab", "svg.fonttype": "path"}):
            self.savefig(drawing, format="svg", bbox_inches="tight", dpi=DENSITY, metadata=undated)
        return _shorter(drawing.getvalue())

    def _fit(self) -> None:
        """Darken faint words, and make pixels of crowds, each part of which is a line of SVG."""
        for text in self.findobj(Text):
            if to_rgb(text.get_color()) != (1, 1, 1):  # white words stand on something dark
                text.set_color(deepened(text.get_color(), OF_WORDS))
        for image in self.findobj(AxesImage):
            image.set_interpolation("none")  # its own pixels, for the screen to enlarge
        for kind in (PathCollection, PolyCollection, QuadMesh):
            crowd = self.findobj(kind)
            if sum(map(_letters, crowd)) > MOST:
                for each in crowd:
                    each.set_rasterized(True)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display({"image/svg+xml": self.svg(), "text/plain": repr(self)}, raw=True)


def _letters(crowd: PathCollection | PolyCollection | QuadMesh) -> int:
    """About how much SVG discs, areas or cells take; of discs of one size the outline is written once."""
    if isinstance(crowd, QuadMesh):
        return 150 * crowd.get_array().size
    if isinstance(crowd, PolyCollection):
        return 30 * sum(len(outline.vertices) for outline in crowd.get_paths())
    return len(crowd.get_offsets()) * (100 if len(crowd.get_sizes()) == 1 else 430)


def _shorter(svg: str) -> str:
    """The same picture in fewer letters: points in hundredths, which no screen shows,
    and large pictures in 256 colours.
    """
    svg = " ".join(svg[svg.index("<svg") :].split()).replace("base64, ", "base64,")
    points = r' (?:d|x|y)="[^"]*"|translate\([^)]*\)'
    svg = re.sub(points, lambda part: re.sub(r"\d+\.\d{3,}", _in_hundredths, part[0]), svg)
    return re.sub(rf"(?<=base64,)[^\"]{{{LARGE},}}", _in_few_colours, svg)


def _in_hundredths(number: re.Match) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _in_few_colours(content: re.Match) -> str:
    from PIL import Image

    picture = Image.open(io.BytesIO(base64.b64decode(content[0])))
    smaller = io.BytesIO()
    picture.quantize(256, method=Image.Quantize.FASTOCTREE).save(smaller, "png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode()


def subplots(*shape: int, **look: Any) -> tuple[Figure, Any]:
    """`plt.subplots` of a figure that a notebook shows as SVG; `look` may say more."""
    return plt.subplots(*shape, FigureClass=Drawing, layout="constrained", **look)


def palette(count: int) -> list[tuple[float, float, float]]:
    """`count` colours that can be told apart, by the colour-blind too for up to ten."""
    return [COLOURS[i] for i in ORDER[:count]] if count <= 10 else sns.husl_palette(count, l=0.55)


def axes(ax: Axes | None, width: float = 6.0, height: float = 4.0) -> Axes:
    """`ax`, or where there is none those of a new figure of this size in inches."""
    return ax if ax is not None else subplots(figsize=(width, height))[1]


def panels(
    rows: int, columns: int, size: tuple[float, float], **shape: Any
) -> tuple[Figure, np.ndarray]:
    """A new figure of this size in inches and its axes, (rows, columns);
    `shape` goes to `subplots`.
    """
    return subplots(rows, columns, figsize=size, squeeze=False, **shape)


def box(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    colour: str | tuple,
    *,
    style: str = "round",
    pad: float = 0.4,
    linewidth: float = 2,
    **look: Any,
) -> Text:
    """Write a text into a white box with a coloured border; `look` goes to `ax.text`."""
    border = {"edgecolor": colour, "linewidth": linewidth}
    frame = {"boxstyle": f"{style},pad={pad}", "facecolor": "white", **border}
    return ax.text(x, y, text, ha="center", va="center", bbox=frame, **look)


def arrow(ax: Axes, start: Text, end: Text, text: str = "") -> None:
    """Draw an arrow from the border of a `box` to that of another, and write a text at its middle."""
    style = {"arrowstyle": "->", "color": "0.45", "linewidth": 1.3, "shrinkA": 4, "shrinkB": 4}
    style |= {"patchA": start.get_bbox_patch(), "patchB": end.get_bbox_patch()}
    ax.annotate("", end.get_position(), start.get_position(), arrowprops=style, zorder=1)
    if text:
        x, y = np.mean([start.get_position(), end.get_position()], axis=0)
        ax.text(x + 0.1, y, text, ha="left", va="center", fontsize=12)


def shades(image: np.ndarray) -> str | None:
    """The colour map of an image (H, W[, C]): one that has no colours is drawn dark on white."""
    return "gray_r" if image.ndim == 2 else None


def thumbnail(ax: Axes, image: np.ndarray, text: str, colour: str | tuple) -> None:
    """Draw a small image (H, W[, C]) in a coloured frame under its text."""
    ax.imshow(image, cmap=shades(image))
    ax.set(xticks=[], yticks=[])
    ax.set_title(text, fontsize=13, color=colour, pad=5)
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=2)


def neighbours(
    cells: Sequence[Axes], images: np.ndarray, distances: np.ndarray, relevant: np.ndarray
) -> None:
    """Draw the nearest images, one in each cell, ticked or crossed, with their distance;
    ties in their order.

    Args:
        cells: one or more axes.
        images: uint8 (N, H, W[, C]).
        distances: int (N,).
        relevant: bool (N,).
    """
    nearest = np.argsort(distances, kind="stable")
    for ax, item in zip(cells, nearest, strict=False):
        sign = "✓" if relevant[item] else "✗"
        colour = RIGHT if relevant[item] else WRONG
        thumbnail(ax, images[item], f"{sign} {distances[item]}", colour)


def runs(
    ax: Axes, row: float, values: Sequence[float], colour: str | tuple, half: float = 0.3
) -> None:
    """Draw a row of a figure: a dot per run,
    and at their mean a bar that reaches `half` a row up and down.
    """
    mean = np.mean(values)
    ax.plot(values, [row] * len(values), "o", ms=5, color=colour, alpha=0.6)
    ax.plot([mean, mean], (row - half, row + half), color=colour, lw=2.5)


def span(ax: Axes, row: float, low: float, value: float, high: float, colour: str | tuple) -> None:
    """Draw a row of a figure: a dot at a value, and a line from low to high."""
    ax.plot((low, high), (row, row), color=colour, lw=2, alpha=0.5, solid_capstyle="round")
    ax.plot(value, row, "o", ms=7, color=colour)


# ---- figures


def precision_recall(reports: Mapping[str, Report], ax: Axes | None = None) -> Axes:
    """Precision against recall, a point per Hamming radius 0..K, for each named report.

    The radius where a curve reaches precision is not a free choice: a ball of radius r holds what
    it holds.
    """
    ax = axes(ax)
    named_at = (
        np.linspace(0.7, 0.3, len(reports)) if len(reports) > 1 else [0.5]
    )  # not one below the other
    colours = palette(len(reports))
    for (name, report), colour, at in zip(reports.items(), colours, named_at, strict=True):
        filled = np.isfinite(report.precision)  # radii at which anything is retrieved
        recall = report.recall[filled]
        precision = report.precision[filled]
        ax.plot(recall, precision, "o-", ms=3.5, color=colour)
        middle = int(np.argmin(np.abs(recall - at)))
        look = {"textcoords": "offset points", "color": colour, "path_effects": HALO}
        ax.annotate(name, (recall[middle], precision[middle]), (0, 6), **look)
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.04))
    sns.despine(ax=ax)
    return ax


def tsne(
    points: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    ax: Axes | None = None,
    seed: int = 0,
) -> Axes:
    """t-SNE of codes, bool or real (N, K), coloured by class; each class is named at the median of
    its island, or beside it where names would overlap.

    Equal codes are one disc for each class, its area growing with their number. Distances between
    clusters mean little in t-SNE; what it shows is which points are neighbours.
    """
    different, which = np.unique(points.astype(np.float32), axis=0, return_inverse=True)
    if len(points) != len(labels) or len(different) < 5:
        got = f"{len(points)} points, {len(different)} different, {len(labels)} labels"
        raise InputError(f"as many labels as points expected, 5 different or more; got {got}")
    ax = axes(ax, 6, 5)
    flat = flattened(different, seed)
    present = np.unique(labels)
    for label, colour in zip(present, palette(len(present)), strict=True):
        mine, counts = np.unique(which[labels == label], return_counts=True)
        areas = 11 + 5 * counts
        ax.scatter(*flat[mine].T, s=areas, color=colour, alpha=0.7, linewidths=0)
    ax.set(xticks=[], yticks=[])
    ax.set(xlabel="t-SNE, first axis (no unit)", ylabel="t-SNE, second axis (no unit)")
    sns.despine(ax=ax)
    islands = {_middle(flat[which[labels == label]]): classes[label] for label in present}
    _without_overlap(ax, islands)
    return ax


def flattened(different: np.ndarray, seed: int = 0) -> np.ndarray:
    """Where t-SNE puts different points, (M, K) with M >= 5, in the plane: float32 (M, 2)."""
    from sklearn.manifold import TSNE

    model = TSNE(init="pca", perplexity=min(30, len(different) / 4), random_state=seed)
    return model.fit_transform(different.astype(np.float32))


def _middle(points: np.ndarray) -> tuple[float, float]:
    """The median of an island (N, 2), without the points that strayed to another one."""
    away = ((points - np.median(points, axis=0)) ** 2).sum(1)
    x, y = np.median(points[away <= np.quantile(away, 0.9)], axis=0)
    return float(x), float(y)


def retrieved(
    queries: np.ndarray,
    query_codes: np.ndarray,
    query_labels: np.ndarray,
    database: np.ndarray,
    database_codes: np.ndarray,
    database_labels: np.ndarray,
    nearest: int = 8,
) -> Figure:
    """A row per query: the query, then its nearest images with their Hamming distance,
    ticked or crossed.

    Images uint8 (Q, H, W[, C]) and (N, H, W[, C]); packed codes. Ties stand in database order.
    """
    distances = codes.hamming(query_codes, database_codes)  # (Q, N)
    size = (1.0 * (nearest + 1), 1.22 * len(queries) + 0.3)
    figure, grid = panels(len(queries), nearest + 1, size)
    for row, cells in enumerate(grid):
        thumbnail(cells[0], queries[row], "query", "black")
        relevant = database_labels == query_labels[row]
        neighbours(cells[1:], database, distances[row], relevant)
    return figure


def gray(bits: int) -> np.ndarray:
    """The 2**bits numbers in Gray order (each differs from the next in one bit),
    as bool (2**bits, bits).
    """
    numbers = np.arange(2**bits)
    order = numbers ^ (numbers >> 1)
    shifts = np.arange(bits)[::-1]  # the highest bit first
    return (order[:, None] >> shifts & 1).astype(bool)


def code_map(
    bits: np.ndarray, labels: np.ndarray, classes: Sequence[str], ax: Axes | None = None
) -> Axes:
    """All 2**K codes as cells of a map (K <= 16);
    a disc where images fell, its area growing with their number.

    Rows and columns are in Gray order, so a step to the next cell changes one bit. Discs take the
    colour of the code's commonest class; a class is named at its fullest code, or beside it where
    names would overlap.

    Args:
        bits: bool (N, K).
        labels: int (N,).
    """
    if bits.ndim != 2 or not 2 <= bits.shape[1] <= 16:
        raise InputError(f"bits must be (N, K) with K in 2..16, got {bits.shape}")
    ax = axes(ax, 5, 5)
    counts = _per_code(bits, labels)  # (rows, columns, classes)
    rows, columns = np.nonzero(counts.sum(-1))
    filled = counts[rows, columns]  # (codes, classes)
    totals = filled.sum(-1)
    colours = np.array(palette(len(classes)))[filled.argmax(-1)]
    areas = 4 + 420 * totals / totals.max()
    ax.scatter(columns, rows, s=areas, c=colours, alpha=0.85, linewidths=0)
    height, width = counts.shape[:2]
    ax.set(xlim=(-2, width + 1), ylim=(height + 1, -2), xticks=[], yticks=[], aspect="equal")
    _name_codes(ax, counts, classes)
    return ax


def _per_code(bits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many images of each class have each code, int64 (rows, columns, classes):
    the first bits say the row.
    """
    down = bits.shape[1] // 2
    row = _gray_position(bits[:, :down])
    column = _gray_position(bits[:, down:])
    counts = np.zeros((2**down, 2 ** (bits.shape[1] - down), labels.max() + 1), np.int64)
    np.add.at(counts, (row, column, labels), 1)
    return counts


def _gray_position(half: np.ndarray) -> np.ndarray:
    """Position (N,) of codes, bool (N, k), in Gray order."""
    weights = 1 << np.arange(half.shape[1])[::-1]
    order = gray(half.shape[1]) @ weights
    return np.argsort(order)[half @ weights]


def _name_codes(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> None:
    """Write each class at its fullest code, the fullest first;
    classes that share it share a label.
    """
    names: dict[tuple[int, int], list[str]] = {}
    for label in np.argsort(-counts.max((0, 1)), kind="stable"):
        if counts[:, :, label].any():
            row, column = np.unravel_index(counts[:, :, label].argmax(), counts.shape[:2])
            names.setdefault((int(column), int(row)), []).append(classes[label])
    _without_overlap(ax, {code: " ".join(sorted(sharing)) for code, sharing in names.items()})


def _without_overlap(ax: Axes, names: Mapping[tuple[int, int], str]) -> None:
    """Write `names` at their points;
    one that would lie on an earlier one moves beside it, or is left out.
    """
    ax.figure.draw_without_rendering()  # fixes the size of the axes, and so of the labels in it
    look = {"ha": "center", "va": "center", "weight": "bold", "fontsize": 13, "path_effects": HALO}
    line = {"arrowstyle": "-", "color": "0.4", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
    taken: list[Bbox] = []
    for point, name in names.items():
        text = ax.annotate(name, point, (0, 0), textcoords="offset points", arrowprops=line, **look)
        extent = text.get_window_extent().padded(3)  # the line has no length yet
        for move in MOVES:
            moved = extent.translated(*(np.array(move) * ax.figure.dpi / 72))
            if _fits(moved, taken, ax.bbox):
                text.set_position(move)
                taken.append(moved)
                break
        else:
            text.remove()


def _fits(extent: Bbox, taken: Sequence[Bbox], inside: Bbox) -> bool:
    """Whether `extent` lies inside and off all that are taken."""
    across = inside.x0 <= extent.x0 and extent.x1 <= inside.x1
    down = inside.y0 <= extent.y0 and extent.y1 <= inside.y1
    return across and down and not any(extent.overlaps(other) for other in taken)


def code_maps(maps: Mapping[str, tuple[np.ndarray, np.ndarray]], classes: Sequence[str]) -> Figure:
    """Code maps one below the other, each under its name,
    so that they stay large on a narrow screen.

    Args:
        maps: name -> bits, bool (N, K), and labels, int (N,).
        classes: their names.
    """
    figure, grid = panels(len(maps), 1, (5, 5.5 * len(maps)))
    for ax, name in zip(grid[:, 0], maps, strict=True):
        # Titles first: they take room, and labels are placed in what is left.
        ax.set_title(name, fontsize=14)
    for ax, (bits, labels) in zip(grid[:, 0], maps.values(), strict=True):
        code_map(bits, labels, classes, ax)
    return figure


def losses(history: Sequence[Mapping], ax: Axes | None = None) -> Axes:
    """Mean training loss per epoch, a curve per phase, phases one after the other."""
    ax = axes(ax, 6, 3)
    phases = list(dict.fromkeys(line["phase"] for line in history))
    for phase, colour in zip(phases, palette(len(phases)), strict=True):
        epochs = [epoch for epoch, line in enumerate(history, 1) if line["phase"] == phase]
        values = [line["loss"] for line in history if line["phase"] == phase]
        ax.plot(epochs, values, "o-", ms=4, color=colour)
        look = {"textcoords": "offset points", "color": colour}
        ax.annotate(phase, (epochs[0], values[0]), (6, 4), **look)
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
    ax = axes(ax, 5.6, 3.6)
    colours = dict(zip(curves, palette(len(curves)), strict=True))
    ends = []
    for name, values in curves.items():
        heights = np.broadcast_to(values, len(lengths))
        marks = "--" if np.isscalar(values) else "o-"
        ax.plot(lengths, heights, marks, ms=5, color=colours[name])
        ends.append((lengths[-1], heights[-1]))
    if band:
        _shade_between(ax, lengths, band)
    ax.set_xscale("log", base=2)
    ax.set(xticks=lengths, xticklabels=lengths, xlabel="code length K (bits)", ylabel=ylabel)
    ax.set_ylim(-0.03 * ax.get_ylim()[1], None)  # a value of 0 is seen too
    ax.minorticks_off()
    sns.despine(ax=ax)
    _name_curves(ax, colours, np.array(ends, float), 1.0)
    return ax


def _shade_between(ax: Axes, lengths: Sequence[int], band: Mapping[str, Sequence[float]]) -> None:
    """Shade what lies between two named edges, and write their names at their left ends."""
    colour = palette(1)[0]
    ax.fill_between(lengths, *band.values(), color=colour, alpha=0.2, linewidth=0)
    for (name, values), up in zip(band.items(), (-1, 1), strict=True):
        ax.plot(lengths, values, lw=1, color=colour)
        start = (lengths[0], values[0])
        ax.annotate(name, start, (0, 9 * up), textcoords="offset points", va="center")


def code_rows(images: np.ndarray, codes_of: Mapping[str, np.ndarray]) -> Figure:
    """A row per image: the image, then its code in every named set, dark where the bit is 1.

    The number beside a code is its Hamming distance from the code in the first row.

    Args:
        images: uint8 (N, H, W[, C]).
        codes_of: name -> bool (N, K).
    """
    for name, bits in codes_of.items():
        if bits.ndim != 2 or len(bits) != len(images):
            expected = f"bits must be ({len(images)}, K), one row per image"
            raise InputError(f"{name}: {expected}, got {bits.shape}")
    widths = [
        2.4,
        *(bits.shape[1] + 1.0 for bits in codes_of.values()),
    ]  # in bits: an image is as high as two
    size = (0.27 * sum(widths), 0.54 * len(images) + 0.4)
    figure, grid = panels(1, len(widths), size, width_ratios=widths)
    pictures, *columns = grid[0]
    for row, image in enumerate(images):
        pictures.imshow(image, cmap="gray_r", extent=(0.06, 0.94, row + 0.94, row + 0.06))
    pictures.set(xlim=(0, 1), ylim=(len(images), 0))
    pictures.set_axis_off()
    for ax, (name, bits) in zip(columns, codes_of.items(), strict=True):
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
    named_at: float | str = 1.0,
    marks: str = "o-",
    log: bool = False,
    nested: bool = False,
    band: bool = False,
    colours: Mapping[str, tuple] | None = None,
) -> Axes:
    """Named curves, each with its name written at it.

    Args:
        lines: name -> (x, y). Where y is (N, S), the curve is the mean over S runs and each run a
            small dot.
        named_at: where names stand: 1 at the right end of the curves, 0 at the left, else above
            that part of them. Where curves lie too close for that, the corner ("lower left") in
            which names are listed.
        marks: matplotlib's format of the curves.
        log: a logarithmic y axis.
        nested: each curve is drawn thinner than the one before it, so that one under another is
            still seen.
        band: shade what lies between the lowest and the highest run, instead of a dot for each.
        colours: name -> its colour, where it shall be the same in several figures.
    """
    ax = axes(ax, 5.5, 3.6)
    colours = colours or dict(zip(lines, palette(len(lines)), strict=True))
    if log:
        ax.set_yscale("log")
    listed = isinstance(named_at, str)
    styles = cycle(STYLES)
    points = []  # where the names stand
    # In points: the last curve is always thin.
    widths = [1.5 + 3 * nested * over for over in range(len(lines))][::-1]
    for (name, (x, y)), width in zip(lines.items(), widths, strict=True):
        colour = colours[name]
        if len(x) != len(y):
            raise InputError(f"{name}: as many y as x expected, got {len(y)} and {len(x)}")
        heights = np.asarray(y, float).reshape(len(x), -1)  # (N, S)
        look = {"ms": 3.5 + width, "lw": width, "color": colour, "label": name}
        (line,) = ax.plot(x, heights.mean(1), marks, **look)
        if listed:  # a name that stands elsewhere needs more than a colour
            line.set_linestyle(next(styles))
        if band:
            ends = heights.min(1), heights.max(1)
            ax.fill_between(x, *ends, color=colour, alpha=0.2, linewidth=0)
        elif heights.shape[1] > 1:
            ax.plot(x, heights, "o", ms=3, color=colour, alpha=0.5)
        if not listed:
            at = round(named_at * (len(x) - 1))
            points.append((x[at], heights.mean(1)[at]))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    sns.despine(ax=ax)
    if listed:
        ax.legend(loc=named_at, labelcolor="linecolor", frameon=False)
        return ax
    _name_curves(ax, {name: colours[name] for name in lines}, np.array(points, float), named_at)
    return ax


def points(
    groups: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
    *,
    colours: Mapping[str, tuple] | None = None,
) -> Axes:
    """Named groups of points (x, y): each point small, their mean large, the name beside it.

    Args:
        groups: name -> x and y, as many of one as of the other.
        colours: name -> its colour, where it shall be the same in several figures.
    """
    ax = axes(ax, 5.6, 3.6)
    colours = colours or dict(zip(groups, palette(len(groups)), strict=True))
    means = []
    for name, (x, y) in groups.items():
        if len(x) != len(y):
            raise InputError(f"{name}: as many y as x expected, got {len(y)} and {len(x)}")
        ax.plot(x, y, "o", ms=3, color=colours[name], alpha=0.5)
        ax.plot(np.mean(x), np.mean(y), "o", ms=8, color=colours[name])
        means.append((np.mean(x), np.mean(y)))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.15)
    sns.despine(ax=ax)
    _name_points(ax, {name: colours[name] for name in groups}, np.array(means))
    return ax


def _name_points(ax: Axes, names: Mapping[str, tuple], points: np.ndarray) -> None:
    """Write names, in their colours, beside points (N, 2): on the left of one that has another
    close by on its right.
    """
    ax.get_xlim()
    at = ax.transData.transform(points) * 72 / ax.figure.dpi  # in points of type
    right, up = (at[None] - at[:, None]).transpose(2, 0, 1)  # (N, N) from one to the other
    crowded = ((right > 0) & (right < 70) & (np.abs(up) < 12)).any(1)
    for side, chosen in ((1.0, ~crowded), (0.0, crowded)):
        some = {name: names[name] for name, mine in zip(names, chosen, strict=True) if mine}
        if some:
            _name_curves(ax, some, points[chosen], side)


def _name_curves(ax: Axes, names: Mapping[str, tuple], points: np.ndarray, at: float) -> None:
    """Write the names of curves, in their colours, at `points` (N, 2):
    beside their ends, above the rest, and never on each other.
    """
    right, up, side = {0.0: (-9, 0, "right"), 1.0: (9, 0, "left")}.get(at, (8, 9, "left"))
    ax.get_ylim()  # brings the axis up to date with the curves just drawn
    heights = ax.transData.transform(points)[:, 1] * 72 / ax.figure.dpi  # in points of type
    lifts = _spread_out(heights) - heights
    look = {"textcoords": "offset points", "ha": side, "va": "center", "path_effects": HALO}
    for (name, colour), point, lift in zip(names.items(), points, lifts, strict=True):
        ax.annotate(name, point, (right, up + lift), color=colour, **look)


def _spread_out(heights: np.ndarray, gap: float = 14.0) -> np.ndarray:
    """Heights (N,) moved up as far as needed so that any two differ by `gap` or more."""
    free = heights.copy()
    for lower, upper in pairwise(np.argsort(heights, kind="stable")):
        free[upper] = max(free[upper], free[lower] + gap)
    return free


def ladder(
    rows: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    *,
    stress: str | None = None,
    crosses: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One quantity under several definitions:
    a row each, the smallest at the foot, its value in figures at the right.

    Args:
        rows: name -> (low, value, high): a dot at the value, a line from low to high.
        xlabel: what the values are.
        stress: the row that the others are compared with; a dashed line runs through all of them at
            its value.
        crosses: name -> another value to mark in that row.
    """
    if crosses is not None and crosses.keys() != rows.keys():
        got = ", ".join(crosses)
        raise InputError(f"a cross for each of {', '.join(rows)} expected, got {got}")
    ax = axes(ax, 5.6, 0.3 * len(rows) + 0.9)
    names = sorted(rows, key=lambda name: rows[name][1])
    for height, name in enumerate(names):
        low, value, high = rows[name]
        colour = palette(2)[name == stress]
        span(ax, height, low, value, high, colour)
        at_edge = ax.get_yaxis_transform()  # across in shares of the axes, up in rows
        ax.text(1.02, height, f"{value:.4f}", transform=at_edge, va="center", color=colour)
    if crosses is not None:
        ax.plot([crosses[name] for name in names], range(len(names)), "x", ms=7, mew=2, color="0.2")
    if stress is not None:
        ax.axvline(rows[stress][1], ls="--", lw=1, color=palette(2)[1], zorder=0)
    ax.set(yticks=range(len(names)), yticklabels=names, xlabel=xlabel)
    ax.set_xlim(left=min(0, ax.get_xlim()[0]))
    ax.tick_params(axis="y", length=0)
    sns.despine(ax=ax, left=True)
    return ax
