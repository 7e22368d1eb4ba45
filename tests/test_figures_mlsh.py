"""The figures of the chapter on a table per level: what they draw is what they were given."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hashlab.chapters.figures import mlsh
from hashlab.errors import InputError


def test_wiring_names_every_step_of_every_level_and_nothing_overlaps():
    ax = mlsh.wiring(["conv1", "conv2", "fc"], [8, 8, 16])
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert texts.count("mean") == texts.count("COSDISH") == 3 and texts.count("one\nranking") == 1
    assert texts.count("table\n8 bits") == 2 and texts.count("table\n16 bits") == 1
    height = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert height["conv1"] < height["conv2"] < height["fc"]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(ax.figure.bbox.x0 <= box.x0 and box.x1 <= ax.figure.bbox.x1 for box in boxes)
    with pytest.raises(InputError, match="bits of 2 tables expected, one per level, got 1"):
        mlsh.wiring(["conv1", "conv2"], [8])


def test_neighbours_are_the_nearest_of_each_table():
    images, labels = np.arange(5 * 4, dtype=np.uint8).reshape(5, 2, 2), np.array([0, 1, 0, 1, 0])
    tables = {"conv1": np.array([3, 0, 1, 2, 4]), "sum": np.array([1, 1, 1, 0, 1])}
    figure = mlsh.neighbours(images[0], 0, images, labels, tables, nearest=3)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "query",
        "✗ 0",
        "✓ 1",
        "✗ 2",
        "query",
        "✗ 0",
        "✓ 1",
        "✗ 1",
    ]  # ties: the first comes first
    shown = [ax.images[0].get_array()[0, 0] // 4 for ax in figure.axes]
    assert shown == [0, 1, 2, 3, 0, 3, 0, 1]
    assert [figure.axes[i].get_ylabel() for i in (0, 4)] == ["conv1", "sum"]


def test_plane_counts_pairs_by_their_two_distances():
    rng = np.random.default_rng(0)
    first, second, relevant = (
        rng.integers(0, 4, (5, 30)),
        rng.integers(0, 3, (5, 30)),
        rng.random((5, 30)) < 0.3,
    )
    corners = [(0, 2), (2, 0)]
    ax = mlsh.plane((first, second), relevant, ("conv1", "fc"), {"the rule": corners})
    discs = ax.collections[0]
    places, areas, shares = discs.get_offsets(), discs.get_sizes(), discs.get_array()
    assert len(places) == len({(x, y) for x, y in places.tolist()}) == 12
    most = max(((first == x) & (second == y)).sum() for x, y in places)
    for (x, y), area, share in zip(places, areas, shares, strict=True):
        here = (first == x) & (second == y)
        assert area == pytest.approx(10 + 420 * np.sqrt(here.sum() / most))
        assert share == pytest.approx(relevant[here].mean())
    assert np.array_equal(ax.lines[0].get_xydata(), corners)
    assert [text.get_text() for text in ax.texts] == ["the rule"]
    assert "conv1 (bits)" in ax.get_xlabel() and "fc (bits)" in ax.get_ylabel()


def test_plane_gives_every_border_a_colour_that_is_no_neighbour():
    first = np.arange(9).reshape(3, 3)
    borders = {name: [(0, 2), (2, 0)] for name in ("union", "sum", "weighted", "a fourth")}
    ax = mlsh.plane((first, first), first > 4, ("conv1", "fc"), borders)
    colours = np.array([to_rgb(line.get_color()) for line in ax.lines])
    assert [text.get_color() for text in ax.texts] == [line.get_color() for line in ax.lines]
    assert all(np.abs(one - other).max() > 0.5 for one, other in combinations(colours[:3], 2))


def test_plane_wants_three_arrays_of_one_shape():
    with pytest.raises(InputError, match=r"one shape, got \(2, 3\), \(2, 3\) and \(2, 4\)"):
        mlsh.plane(
            (np.ones((2, 3), int), np.ones((2, 3), int)), np.ones((2, 4), bool), ("a", "b"), {}
        )


def test_arms_draw_every_run_and_the_means():
    groups = {"one table": [0.60, 0.62, 0.61], "sum": [0.5, 0.55, 0.52], "union": [0.45, 0.5, 0.4]}
    ax = mlsh.arms(groups, "mAP", "one table")
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    assert np.array_equal(dots, list(groups.values()))
    means = [line.get_xdata()[0] for line in ax.lines if line.get_marker() != "o"]
    assert np.allclose(
        means, [0.61, np.mean(groups["sum"]), 0.45, 0.61]
    )  # and the level of the reference
    assert [text.get_text() for text in ax.texts] == ["0.610", "0.523", "0.450"]
    assert ax.get_xlabel() == "mAP" and [t.get_text() for t in ax.get_yticklabels()] == list(groups)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first on top
    with pytest.raises(
        InputError, match="reference must be one of one table, sum, union, got 'all'"
    ):
        mlsh.arms(groups, "mAP", "all")
