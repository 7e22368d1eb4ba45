"""The figures of the chapter on hashing before deep learning:
what they draw is what they were given.
"""

import numpy as np
import pytest

from hashlab import shallow
from hashlab.chapters.figures import shallow as figures
from hashlab.errors import InputError


class Halves:
    """Two bits: which side of x = 0.5, which side of y = -1."""

    def decision_function(self, X):
        return X - [0.5, -1.0]


class Nowhere:
    """A bit that is 1 everywhere."""

    def decision_function(self, X):
        return 1 + X[:, :1] ** 2


X = np.random.default_rng(0).uniform(-3, 3, (60, 2))


def test_cells_are_shaded_by_the_number_of_ones_and_numbered_at_their_lines():
    ax = figures.cells(Halves(), X)
    mesh = ax.collections[0]
    shade = mesh.get_array().reshape(241, 241)
    y, x = np.meshgrid(
        np.linspace(*ax.get_ylim(), 241), np.linspace(*ax.get_xlim(), 241), indexing="ij"
    )
    assert (shade == ((x >= 0.5).astype(int) + (y >= -1)) % 2).all()
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places.keys() == {"1", "2"}
    step = 6.96 / 240
    assert abs(places["1"][0] - 0.5) < step and abs(places["2"][1] + 1) < step
    assert np.hypot(*np.subtract(places["1"], places["2"])) > 1  # not on each other


def test_cells_hold_every_row_and_are_as_wide_as_high():
    ax = figures.cells(Halves(), X * [1, 5])
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    assert x1 - x0 == pytest.approx(y1 - y0)
    assert (
        x0 < X[:, 0].min()
        and X[:, 0].max() < x1
        and y0 < 5 * X[:, 1].min()
        and 5 * X[:, 1].max() < y1
    )


def test_a_bit_without_a_line_has_no_number():
    assert not figures.cells(Nowhere(), X).texts


def test_cells_want_two_features():
    with pytest.raises(InputError, match=r"two features expected, \(N, 2\), got \(5, 3\)"):
        figures.cells(Halves(), np.zeros((5, 3)))


def test_classes_differ_in_colour_and_marker():
    ax = figures.cells(Halves(), X, np.arange(60) % 3)
    points = [found for found in ax.collections if len(found.get_offsets()) == 20]
    assert len(points) == 3
    assert len({tuple(p.get_facecolor()[0]) for p in points}) == 3
    assert len({p.get_paths()[0].vertices.tobytes() for p in points}) == 3


def test_cell_maps_draws_a_named_panel_each():
    models = {name: shallow.LSH(bits=2, random_state=i).fit(X) for i, name in enumerate("abc")}
    figure = figures.cell_maps(models, X)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", ""]
    assert not figure.axes[3].axison


@pytest.mark.parametrize(("angle", "between"), [(0.9, 3), (np.pi / 2, 6), (3.0, 11)])
def test_separated_counts_the_lines_between(angle, between):
    """Of twelve evenly spaced lines, about the share α/π passes between."""
    ax = figures.separated(angle)
    assert [text.get_text() for text in ax.texts if text.get_text()] == ["x", "x′", "α"]
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    ends = [np.array([np.cos(a), np.sin(a)]) for a in (0.25, 0.25 + angle)]
    assert len(lines) == 12
    for line in lines:
        normal = np.array([-line.get_ydata()[1], line.get_xdata()[1]])
        apart = (ends[0] @ normal >= 0) != (ends[1] @ normal >= 0)
        assert (line.get_linestyle() == "-") == apart
    assert sum(line.get_linestyle() == "-" for line in lines) == between


def test_measured_draws_dots_and_the_curve():
    ax = figures.measured(([0, 1], [1, 0]), {"a": ([0.5], [0.4])}, "x", "y")
    dots, curve = ax.lines
    assert dots.get_ydata().tolist() == [0.4] and curve.get_ydata().tolist() == [1, 0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "the formula"]


def test_to_corners_says_what_rounding_loses():
    V = np.array([[0.5, 0.5], [-2.0, 1.0]])
    figure = figures.to_corners({"V": V, "corners": np.sign(V)})
    first, second = figure.axes
    assert first.get_title() == "V: 0.75 per row" and second.get_title() == "corners: 0.00 per row"
    ends = [line.get_xydata()[1].tolist() for line in first.lines[:2]]
    assert ends == [[1.0, 1.0], [-1.0, 1.0]]
