"""The figures of the chapter on Mu and Liu: what they draw is what they were given."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hashlab import codes, plots
from hashlab.chapters.figures import mu_liu as figures
from hashlab.errors import InputError


def names(ax):
    return {text.get_text(): text for text in ax.texts}


def test_code_rows_draws_images_bits_and_distances_from_the_first():
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    bits = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [1, 0, 0, 1]], bool)
    figure = plots.code_rows(images, {"before": bits, "after": bits[:, :2]})
    pictures, before, after = figure.axes
    drawn = sorted(
        pictures.images, key=lambda image: image.get_extent()[2]
    )  # by height, the first on top
    assert all(
        np.array_equal(image.get_array(), given) for image, given in zip(drawn, images, strict=True)
    )
    assert pictures.yaxis_inverted() and before.yaxis_inverted()
    for ax, given, title in ((before, bits, "before"), (after, bits[:, :2], "after")):
        (mesh,) = ax.collections
        assert np.array_equal(mesh.get_array().reshape(given.shape), given)
        assert mesh.norm(1) > 0.5 > mesh.norm(0) and mesh.get_cmap()(1.0)[0] == 0  # 1 is dark
        assert ax.get_title() == title
        assert [label.get_text() for label in ax.get_yticklabels()] == [
            str(n) for n in (given != given[0]).sum(1)
        ]


def test_code_rows_wants_a_code_for_every_image():
    with pytest.raises(InputError, match=r"after: bits must be \(3, K\).*\(2, 4\)"):
        plots.code_rows(np.zeros((3, 8, 8), np.uint8), {"after": np.zeros((2, 4), bool)})


def test_curves_draws_means_and_a_dot_per_run():
    x, runs = [1, 2, 4], [[0.1, 0.3], [0.5, 0.7], [0.2, 0.2]]
    ax = plots.curves({"ours": (x, runs), "theirs": (x, [0.9, 0.8, 0.7])}, "scale c", "mAP")
    mean, *dots, other = ax.lines
    assert list(mean.get_xdata()) == x and np.allclose(mean.get_ydata(), [0.2, 0.6, 0.2])
    assert np.array_equal(np.transpose([line.get_ydata() for line in dots]), runs)
    assert all(line.get_linestyle() == "None" for line in dots)
    assert list(other.get_ydata()) == [0.9, 0.8, 0.7]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("scale c", "mAP", "linear")
    assert all(
        names(ax)[name].get_color() == line.get_color()
        for name, line in (("ours", mean), ("theirs", other))
    )
    assert plots.curves({"a": (x, [1, 10, 100])}, "x", "y", log=True).get_yscale() == "log"


@pytest.mark.parametrize(
    ("at", "place", "side"),
    [(1.0, (4, 0.2), "left"), (0.0, (1, 0.1), "right"), (0.5, (2, 0.5), "left")],
)
def test_curves_are_named_where_asked(at, place, side):
    ax = plots.curves({"ours": ([1, 2, 4], [0.1, 0.5, 0.2])}, "x", "y", named_at=at)
    assert names(ax)["ours"].xy == pytest.approx(place)
    assert names(ax)["ours"].get_ha() == side


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_names_of_curves_that_meet_do_not_overlap(at, log):
    _, axes = plt.subplots(2, 1, sharex=True, layout="constrained")
    meeting = {"a": 0.0205, "b": 1, "c": 0.0165}
    lines = {name: ([0, 1, 2], [there, 0.01, there]) for name, there in meeting.items()}
    ax = plots.curves(lines, "x", "y", axes[1], named_at=at, log=log)
    ax.figure.canvas.draw()
    boxes = sorted((text.get_window_extent() for text in ax.texts), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))
    height = {name: text.get_window_extent().y0 for name, text in names(ax).items()}
    assert height["c"] < height["a"] < height["b"]  # in the order of the curves


def test_curves_wants_a_y_for_every_x():
    with pytest.raises(InputError, match="ours: as many y as x expected, got 2 and 3"):
        plots.curves({"ours": ([1, 2, 3], [1, 2])}, "x", "y")


def test_losses_counts_whole_epochs():
    epochs = list(range(1, 11))
    history = [
        {"phase": phase, "loss": 1 / i} for phase in ("pre-training", "hashing") for i in epochs
    ]
    ax = plots.losses(history)
    assert [list(line.get_xdata()) for line in ax.lines] == [epochs, list(range(11, 21))]
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_the_network_ends_in_a_classifier_and_in_bits():
    ax = figures.network()
    boxes = {text for text in names(ax) if text}
    assert any("cross-entropy" in text for text in boxes) and any("tanh" in t for t in boxes)
    assert len(boxes) == 5 and sum(text.get_text() == "" for text in ax.texts) >= 4  # arrows


@pytest.mark.parametrize("share", [0.5, 2.0])
def test_the_identity_holds_at_both_ends_and_only_there(share):
    line, curve, dots = figures.identity(share).lines
    assert np.allclose(np.diff(line.get_ydata(), n=2), 0) and curve.get_ydata()[1] > 0
    gap = line.get_ydata() - curve.get_ydata()
    assert np.allclose(gap[[0, -1]], 0) and (gap[1:-1] > 0).all()
    assert np.allclose(dots.get_ydata(), np.exp([share, -share]))


def test_the_distance_of_classes_is_that_of_their_commonest_codes():
    bits = np.zeros((9, 12), bool)
    labels = np.array([7, 7, 7, 2, 2, 2, 5, 5, 5])
    bits[:2, :3] = True  # two of three images of class 7, three bits
    bits[8] = True  # one of three of class 5
    found = figures.class_distances(codes.pack(bits), labels)
    assert found.tolist() == [0, 3, 3]  # 2 and 5, 2 and 7, 5 and 7


def test_scales_draws_a_curve_for_each_way_in_both_panels():
    score = {"one": [0.5, 0.9, 0.1], "other": [0.8, 0.9, 0.2]}
    least = {"one": [0, 4, 0], "other": [2, 3, 1]}
    upper, lower = figures.scales((1, 4, 8), score, least).axes
    for ax, ways in ((upper, score), (lower, least)):
        drawn = [line.get_ydata().tolist() for line in ax.lines]
        assert drawn == list(ways.values()) and set(ways) <= set(names(ax))
        assert ax.lines[0].get_linewidth() > ax.lines[1].get_linewidth()
