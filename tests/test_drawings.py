"""How figures are shown: as SVG that is the same on any day, small, and legible in light and dark."""

import base64
import io
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from hashlab import plots

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
DRAWN_IN = [*(ROOT / "notebooks").glob("[0-9]*.py"), *(ROOT / "src/hashlab/chapters").rglob("*.py")]
LARGEST = 150_000  # letters of a figure
GROUND = np.array([18 / 255] * 3)  # of a page in the dark
# What a browser makes of a colour with hue-rotate(180deg): Filter Effects Module, section 9.6.
HALF_TURN = 2 * np.array([[0.213, 0.715, 0.072]] * 3) - np.eye(3)


def light(colour):
    values = np.array(colour)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


def contrast(one, other):
    darker, lighter = sorted(light(colour) + 0.05 for colour in (one, other))
    return lighter / darker


def in_the_dark(colour):
    """The colour that hashlab.css makes of one, on the ground of a page."""
    turned = np.clip(HALF_TURN @ (1 - np.array(colour)), 0, 1)
    return 1 - (1 - turned) * (1 - GROUND)


def scattered(count, groups=1, sizes=True):
    rng = np.random.default_rng(0)
    _, ax = plots.subplots(figsize=(3, 3))
    for colour in plots.palette(groups):
        look = {"alpha": 0.7, "color": colour, "s": rng.integers(9, 90, count) if sizes else 20}
        ax.scatter(*rng.random((2, count)), **look)
    return ax.figure


def pictures(svg):
    """The pictures of pixels inside of a drawing."""
    found = re.findall(r"base64,([^\"]*)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(each))) for each in found]


# ---- the drawing


def test_what_draws_makes_drawings():
    made = [
        plots.subplots()[0],
        plots.panels(2, 1, (3, 3))[0],
        plots.axes(None).figure,
        plots.losses([{"phase": "one", "loss": 1.0}]).figure,
    ]
    assert all(isinstance(figure, plots.Drawing) for figure in made)


@pytest.mark.parametrize("path", DRAWN_IN, ids=lambda path: path.stem)
def test_no_page_makes_figures_of_another_kind(path):
    assert not re.search(r"pyplot|\bplt\.|(?<!: )\bFigure\(", path.read_text())


def test_a_notebook_shows_svg(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **about: shown.append((a, about)))
    scattered(3)._ipython_display_()
    (((data,), about),) = shown
    assert about == {"raw": True}
    assert data == {
        "image/svg+xml": scattered(3).svg(),
        "text/plain": "<Drawing size 300x300 with 1 Axes>",
    }


def test_the_same_figure_is_the_same_text():
    one, other = scattered(30).svg(), scattered(30).svg()
    assert one == other
    assert not re.search(r"20\d\d-\d\d|[Mm]atplotlib v|\n", one)


def test_letters_are_outlines_and_the_whole_is_xml():
    _, ax = plots.subplots(figsize=(3, 3))
    ax.set_title("a < b")
    svg = ax.figure.svg()
    root = xml.fromstring(svg)
    assert root.tag.endswith("svg") and not root.findall(".//{*}text")
    assert "DejaVuSans" in svg


def test_points_are_rounded_and_stay_where_they_were():
    _, ax = plots.subplots(figsize=(3, 3))
    x = np.linspace(0, 1, 7) ** 3
    ax.plot(x, "o", color="#1f77b4")
    svg = ax.figure.svg()
    assert not re.search(r' (x|y|d)="[^"]*\d\.\d{3}', svg)
    height = np.array(re.findall(r' y="([\d.]+)" style="fill: #1f77b4', svg), float)
    assert np.allclose((height[0] - height) / (height[0] - height[-1]), x, atol=1e-4)


@pytest.mark.parametrize("groups", [1, 5])
@pytest.mark.parametrize("most, sizes", [(230, True), (1000, False)])
def test_a_crowd_is_drawn_as_pixels_and_a_few_are_not(groups, most, sizes):
    few, many = (scattered(n // groups, groups, sizes).svg() for n in (most, most + 10))
    assert not pictures(few) and few.count("fill-opacity: 0.7") >= most
    assert len(pictures(many)) == 1 and many.count("fill-opacity: 0.7") == 0
    assert max(len(few), len(many)) < LARGEST


def test_many_cells_are_drawn_as_pixels():
    for side, count in ((20, 0), (40, 1)):
        _, ax = plots.subplots()
        ax.pcolormesh(np.random.default_rng(0).random((side, side)))
        assert len(pictures(ax.figure.svg())) == count


@pytest.mark.parametrize(("ranks", "in_pixels"), [(50, 0), (5000, 1)])
def test_areas_of_many_corners_are_drawn_as_pixels(ranks, in_pixels):
    figure, ax = plots.subplots(figsize=(3, 3))
    ax.fill_between(np.arange(ranks), np.random.default_rng(0).random(ranks))
    svg = figure.svg()
    assert len(pictures(svg)) == in_pixels
    assert len(svg) < LARGEST


def test_an_image_keeps_its_own_pixels():
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    _, ax = plots.subplots()
    plots.thumbnail(ax, image, "query", "black")
    svg = ax.figure.svg()
    (picture,) = pictures(svg)
    assert np.array_equal(np.array(picture.convert("RGB")), image)
    assert "image-rendering:pixelated" in svg


# ---- colours


@pytest.mark.parametrize("wanted", [3.0, 4.5, 7.0])
def test_colours_are_deepened_as_far_as_needed(wanted):
    for colour in [*plots.COLOURS, (0.9, 0.9, 0.9), "yellow", "0.6"]:
        deeper = plots.deepened(colour, wanted)
        if contrast(to_rgb(colour), (1, 1, 1)) >= wanted:
            assert deeper == to_rgb(colour)
        else:
            assert contrast(deeper, (1, 1, 1)) == pytest.approx(wanted)
            linear = [light([v, v, v]) for v in deeper], [light([v, v, v]) for v in to_rgb(colour)]
            assert np.linalg.matrix_rank(np.array(linear), tol=1e-6) == 1  # the same hue


@pytest.mark.parametrize("count", range(1, 9))
def test_lines_are_seen_on_both_grounds(count):
    for colour in plots.palette(count):
        assert contrast(colour, (1, 1, 1)) > plots.OF_LINES - 1e-9
        assert contrast(in_the_dark(colour), GROUND) > plots.OF_LINES


def test_words_are_read_on_both_grounds():
    _, ax = plots.subplots()
    for colour in [*plots.palette(10), "0.6", "black"]:
        ax.text(0.5, 0.5, "name", color=colour)
    on_dark = ax.text(0.5, 0.5, "1", color="white")
    ax.figure.svg()
    assert to_rgb(on_dark.get_color()) == (1, 1, 1)
    for text in ax.texts[:-1]:
        colour = to_rgb(text.get_color())
        assert contrast(colour, (1, 1, 1)) > plots.OF_WORDS - 1e-9
        assert contrast(in_the_dark(colour), GROUND) > plots.OF_WORDS


def test_the_page_turns_figures_round_in_the_dark():
    """As `in_the_dark` reckons."""
    style = (ROOT / "book" / "_static" / "hashlab.css").read_text()
    rule = re.search(r'html\[data-theme="dark"\] [^{]*img[^{]*\{([^}]*)\}', style)[1]
    assert "filter: invert(1) hue-rotate(180deg);" in rule
    assert "mix-blend-mode: screen;" in rule


# ---- what notebooks hold


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_of_a_notebook_are_small_drawings(path):
    assert path.stat().st_size < 2_000_000
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            kinds = [kind for kind in data if kind.startswith("image/")]
            if data.get("text/plain", "").startswith("<Drawing"):
                assert kinds == ["image/svg+xml"], cell.source
                assert len(data["image/svg+xml"]) < LARGEST, cell.source
