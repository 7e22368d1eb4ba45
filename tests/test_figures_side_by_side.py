"""The figures that compare methods: what they draw is what they were given."""

import numpy as np
import pytest

from hashlab.chapters.figures import side_by_side
from hashlab.errors import InputError

VALUES = {"low": [0.1, 0.2], "high": [0.8, 0.9], "middle": [0.5, 0.4]}
KINDS = {"low": "control", "high": "centre", "middle": "centre"}


def test_ranking_has_the_best_on_top_and_a_mark_per_seed():
    ax = side_by_side.ranking(VALUES, KINDS, "mAP")
    assert [text.get_text() for text in ax.get_yticklabels()] == ["low", "middle", "high"]
    marks, bars = ax.lines[::2], ax.lines[1::2]
    assert [list(line.get_xdata()) for line in marks] == [
        VALUES["high"],
        VALUES["middle"],
        VALUES["low"],
    ]
    assert [line.get_ydata()[0] for line in marks] == [2, 1, 0]
    np.testing.assert_allclose([line.get_xdata()[0] for line in bars], [0.85, 0.45, 0.15])


def test_a_kind_has_one_look_and_one_name():
    ax = side_by_side.ranking(VALUES, KINDS, "mAP")
    high, middle, low = ax.lines[::2]
    assert high.get_color() == middle.get_color() != low.get_color()
    assert high.get_marker() == middle.get_marker() != low.get_marker()
    assert {text.get_text(): text.xy for text in ax.texts} == {
        "centre": (0.9, 2),
        "control": (0.2, 0),
    }


def test_slopes_join_places_not_values():
    left, right = {"a": 0.9, "b": 0.5, "c": 0.1}, {"a": 0.2, "b": 0.3, "c": 0.1}
    ax = side_by_side.slopes(left, right, ["theirs", "ours"])
    assert [list(line.get_ydata()) for line in ax.lines] == [[2, 1], [1, 2], [0, 0]]
    said = [text.get_text() for text in ax.texts]
    assert said[:2] == ["a  0.900", "0.200  a"] and said[-2:] == ["theirs", "ours"]


def test_paths_join_values_in_their_order():
    way = [(4.0, 0.7, 0.6), (0.5, 0.9, 0.8), (0.25, 0.95, 0.7)]
    ax = side_by_side.paths(
        [(0.8, 0.75), (0.85, 0.78)], {"margin of DSH": way, "s": [(1, 0.5, 0.5)]}, "sure", "mAP"
    )
    grey, margin, other = ax.lines
    assert list(grey.get_xdata()) == [0.8, 0.85] and list(grey.get_ydata()) == [0.75, 0.78]
    assert list(margin.get_xdata()) == [0.7, 0.9, 0.95] and list(margin.get_ydata()) == [
        0.6,
        0.8,
        0.7,
    ]
    assert margin.get_color() != other.get_color() and margin.get_marker() != other.get_marker()
    assert [text.get_text() for text in ax.texts] == ["4", "0.5", "0.25", "1"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "other methods",
        "margin of DSH",
        "s",
    ]


def test_what_does_not_fit_together():
    with pytest.raises(InputError, match="a kind for every method expected, got none for middle"):
        side_by_side.ranking(VALUES, {"low": "x", "high": "x"}, "mAP")
    with pytest.raises(InputError, match="the same methods expected on both sides"):
        side_by_side.slopes({"a": 1}, {"b": 1}, ["x", "y"])
