"""The figures of the chapter on code similarities:
what they count and draw is what they were given.
"""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from hashlab import codes, plots
from hashlab.chapters.figures import csdh
from hashlab.errors import InputError


def drawn(count, bits, seed):
    return np.random.default_rng(seed).random((count, bits)) < 0.4


@given(st.integers(1, 12), st.booleans(), st.integers(0, 1000))
def test_distance_counts_with_plain_loops(bits, several, seed):
    generator = np.random.default_rng(seed)
    a, b = drawn(5, bits, seed), drawn(7, bits, seed + 1)
    shape = ((5, 3), (7, 3)) if several else (5, 7)
    labels = [generator.integers(0, 2, size) for size in shape]
    expected = np.zeros((2, bits + 1), int)
    for i, j in itertools.product(range(5), range(7)):
        x, y = labels[0][i], labels[1][j]
        alike = (x & y).any() if several else x == y
        expected[0 if alike else 1, int((a[i] != b[j]).sum())] += 1
    assert np.array_equal(
        csdh.distance_counts(codes.pack(a), codes.pack(b), *labels, bits), expected
    )


def test_distance_counts_of_more_queries_than_a_block():
    bits, labels = drawn(450, 20, 0), np.arange(450) % 3
    packed = codes.pack(bits)
    whole = csdh.distance_counts(packed, packed, labels, labels, 20)
    parts = [
        csdh.distance_counts(packed[i : i + 1], packed, labels[i : i + 1], labels, 20)
        for i in range(450)
    ]
    assert np.array_equal(whole, sum(parts)) and whole.sum() == 450**2


def test_distance_counts_wants_labels_for_all():
    packed = codes.pack(drawn(4, 8, 0))
    with pytest.raises(InputError, match="as many labels as codes expected, got 3 and 4"):
        csdh.distance_counts(packed, packed, np.arange(4), np.arange(3), 8)


def test_mean_distances():
    assert csdh.mean_distances(np.array([[3, 1, 0], [0, 1, 3]])) == (0.25, 1.75)


def test_distances_draws_shares_and_means():
    counts = {"one": np.array([[6, 2, 0], [0, 5, 15]]), "two": np.array([[4, 4, 0], [1, 1, 2]])}
    figure = csdh.distances(counts)
    for ax, (name, given_counts) in zip(figure.axes, counts.items(), strict=True):
        heights = np.array([bar.get_height() for bar in ax.patches]).reshape(2, 3)
        share = given_counts / given_counts.sum(1, keepdims=True)
        assert np.allclose(heights, [share[0], -share[1]]) and ax.get_title(loc="left") == name
        marks = [line.get_xdata()[0] for line in ax.lines if line.get_marker() in "^v"]
        assert np.allclose(marks, csdh.mean_distances(given_counts))
        colours = {to_rgb(bar.get_facecolor()) for bar in ax.patches}
        assert colours == set(map(tuple, plots.palette(2)))
    assert [text.get_text() for text in figure.axes[0].texts] == [
        "similar pairs",
        "dissimilar pairs",
    ]
    low, high = figure.axes[0].get_ylim()
    assert low < -0.75 and high > 0.75  # nothing is cut off


def test_distances_wants_one_length():
    with pytest.raises(InputError, match=r"codes of one length expected, got \{'a': 1, 'b': 2\}"):
        csdh.distances({"a": np.ones((2, 2)), "b": np.ones((2, 3))})


def test_lines_of_kinds_draws_every_curve_in_its_colour():
    panels = {"left": {"a": [1, 2], "b": [2, 3]}, "right": {"a": [3, 4], "b": [0, 1]}}
    figure = csdh.lines_of_kinds([0, 1], panels, "x", "y")
    for ax, (title, curves) in zip(figure.axes, panels.items(), strict=True):
        assert ax.get_title() == title and ax.get_xlabel() == "x"
        for line, (name, y), colour in zip(ax.lines, curves.items(), plots.palette(2), strict=True):
            assert (
                np.array_equal(line.get_ydata(), y)
                and line.get_label() == name
                and line.get_color() == colour
            )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
    with pytest.raises(InputError, match="the curves a expected in every panel"):
        csdh.lines_of_kinds([0], {"left": {"a": [1]}, "right": {"b": [1]}}, "x", "y")


def test_named_lines_put_every_name_at_its_place_in_its_colour():
    lines = {"up": [0, 1], "down": [1, 0]}
    ax = csdh.named_lines(
        [0, 1], lines, {"down": (0.1, 0.95, "left"), "up": (0.9, 0.95, "right")}, "x", "y"
    )
    for line, text, (name, y), colour in zip(
        ax.lines, ax.texts, lines.items(), plots.palette(2), strict=True
    ):
        assert (
            np.array_equal(line.get_ydata(), y) and line.get_color() == text.get_color() == colour
        )
        assert text.get_text() == name
    assert [(text.get_position(), text.get_ha()) for text in ax.texts] == [
        ((0.9, 0.95), "right"),
        ((0.1, 0.95), "left"),
    ]
    with pytest.raises(InputError, match="a place for each of up, down expected, got up"):
        csdh.named_lines([0, 1], lines, {"up": (0, 0, "left")}, "x", "y")
