"""The figures of the chapter on several scales: what they draw is what they were given."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hashlab import plots
from hashlab.chapters.figures import dmsh
from hashlab.errors import InputError
from hashlab.networks import backbones


def by_rule(layers):
    """Side of the receptive field after (kernel, stride) layers:
    each adds kernel - 1 steps as wide as the last.
    """
    size, step = 1, 1
    for kernel, stride in layers:
        size, step = size + (kernel - 1) * step, step * stride
    return size


@pytest.mark.parametrize(
    "name, level, layers",
    [
        ("quick", "conv1", [(3, 1), (2, 2)]),
        ("quick", "conv3", [(3, 1), (2, 2)] * 3),
        ("lenet", "conv2", [(5, 1), (2, 2)] * 2),
        ("resnet9", "conv3", [(3, 1), (3, 1), (2, 2), (3, 1), (3, 1), (3, 1), (2, 2)]),
        ("alexnet", "conv2", [(11, 4), (3, 2), (5, 1)]),
        ("mobilenet_v2", "conv2", [(3, 2), (3, 1), (3, 2), (3, 1)]),
    ],
)
def test_receptive_fields_follow_the_rule(name, level, layers):
    channels = 1 if name in ("quick", "lenet") else 3
    first, last = dmsh.receptive_field(
        backbones.create(name, (96, 96, channels)), level, channels, 96
    )
    assert last - first + 1 == by_rule(layers)
    assert 0 < first < last < 95  # not cut off by the border


def test_receptive_fields_end_at_the_border():
    backbone = backbones.create("quick", (8, 8))
    before = [p.clone() for p in backbone.parameters()]
    assert dmsh.receptive_field(backbone, "conv3", 1, 8) == (0, 7)
    assert all(
        (p == q).all() for p, q in zip(backbone.parameters(), before, strict=True)
    )  # a copy was asked


@pytest.mark.parametrize(
    "level, words", [("fc", "fc is a vector"), ("conv9", "unknown level 'conv9'")]
)
def test_receptive_fields_of_levels_without_maps(level, words):
    with pytest.raises(InputError, match=words):
        dmsh.receptive_field(backbones.create("tiny", (8, 8)), level, 1, 8)


def test_scale_maps_draws_the_frame_and_the_maps_that_vary_most():
    image = np.zeros((8, 8), np.uint8)
    fine = np.stack([np.full((4, 4), 3.0), np.eye(4), 5 * np.eye(4)])
    figure = dmsh.scale_maps(
        image, {"fine": fine, "coarse": np.ones((3, 2, 2))}, {"fine": (2, 5), "coarse": (0, 7)}, 2
    )
    first, strongest, second, coarse, *_ = figure.axes
    assert (
        np.array_equal(strongest.images[0].get_array(), fine[2])
        and strongest.get_title() == "map 2"
    )
    assert np.array_equal(second.images[0].get_array(), fine[1])
    assert first.get_title() == "fine: 4 px" and coarse.get_title() == "coarse: 8 px"
    (frame,) = first.patches
    assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (1.5, 1.5, 4, 4)
    assert to_rgb(frame.get_edgecolor()) == plots.palette(2)[0]


def test_scale_maps_wants_a_field_for_every_level():
    with pytest.raises(InputError, match="a receptive field for each of a expected, got b"):
        dmsh.scale_maps(np.zeros((8, 8), np.uint8), {"a": np.ones((1, 2, 2))}, {"b": (0, 1)})


@pytest.mark.parametrize("pyramid", [False, True])
def test_wiring_names_every_step_and_nothing_overlaps(pyramid):
    ax = dmsh.wiring(["conv1", "conv2", "conv3"], pyramid)
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert (
        texts.count("1×1") == texts.count("mean") == 3
        and texts.count("code") == texts.count("fuse") == 1
    )
    assert texts.count("3×3") == (3 if pyramid else 0) and texts.count("hash") == (
        3 if pyramid else 1
    )
    assert texts.count("+") == (2 if pyramid else 0)
    height = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert height["conv1"] < height["conv2"] < height["conv3"]
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(ax.figure.bbox.x0 <= box.x0 and box.x1 <= ax.figure.bbox.x1 for box in boxes)


def test_by_scale_draws_every_run_and_the_means():
    groups = {"conv1": [0.2, 0.3, 0.25], "conv2": [0.5, 0.55, 0.52], "fused": [0.6, 0.62, 0.61]}
    ax = dmsh.by_scale(groups, "mAP", "fused")
    dots = [line.get_ydata() for line in ax.lines if line.get_marker() == "o"]
    assert np.array_equal(dots, list(groups.values()))
    means = [line.get_ydata()[0] for line in ax.lines if line.get_marker() != "o"]
    assert np.allclose(
        means, [0.25, np.mean(groups["conv2"]), 0.61, 0.61]
    )  # and the level of the fused one
    assert [text.get_text() for text in ax.texts] == ["0.250", "0.523", "0.610"]
    assert ax.get_ylabel() == "mAP" and [t.get_text() for t in ax.get_xticklabels()] == list(groups)
    with pytest.raises(InputError, match="fused must be one of conv1, conv2, fused, got 'all'"):
        dmsh.by_scale(groups, "mAP", "all")
