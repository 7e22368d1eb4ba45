"""The figure of the chapter on mAP: one ranking under many definitions."""

import numpy as np
import pytest

from hashlab import plots
from hashlab.errors import InputError

ROWS = {"middle": (0.3, 0.4, 0.45), "high": (0.6, 0.7, 0.9), "low": (0.0, 0.1, 0.15)}


def points(ax, marker):
    """(x, y) of everything drawn with a marker."""
    return [
        point
        for line in ax.lines
        if line.get_marker() == marker
        for point in line.get_xydata().tolist()
    ]


def test_ladder_sorts_its_rows_and_draws_each_where_it_belongs():
    ax = plots.ladder(ROWS, "mAP")
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["low", "middle", "high"]
    heights = dict(zip(names, ax.get_yticks().tolist(), strict=True))
    assert points(ax, "o") == [[ROWS[name][1], heights[name]] for name in names]
    spans = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "None"]
    assert spans == [[[ROWS[name][end], heights[name]] for end in (0, 2)] for name in names]
    said = {text.get_position()[1]: text.get_text() for text in ax.texts}
    assert said == {heights[name]: f"{ROWS[name][1]:.4f}" for name in names}
    assert ax.get_xlabel() == "mAP" and ax.get_xlim()[0] <= 0
    assert not points(ax, "x")


def test_ladder_stresses_one_row_and_marks_crosses():
    crosses = {"high": 0.2, "low": 0.05, "middle": 0.1}
    ax = plots.ladder(ROWS, "mAP", stress="middle", crosses=crosses)
    assert points(ax, "x") == [[0.05, 0], [0.1, 1], [0.2, 2]]
    (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert np.allclose(dashed.get_xdata(), 0.4)
    colours = [line.get_color() for line in ax.lines if line.get_marker() == "o"]
    assert colours[0] == colours[2] != colours[1] == dashed.get_color()


def test_ladder_asks_for_a_cross_in_every_row():
    with pytest.raises(InputError, match="a cross for each of middle, high, low expected, got low"):
        plots.ladder(ROWS, "mAP", crosses={"low": 0.1})
