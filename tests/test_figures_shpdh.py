"""The figures of the chapter on hierarchies: what they draw is what they were given."""

import numpy as np
import pytest
import torch

from hashlab import codes, data, metrics
from hashlab.chapters.figures import shpdh
from hashlab.errors import InputError

RNG = np.random.default_rng(0)


def some(queries=7, items=40, bits=5):
    """Packed codes and levels (fine of six classes, coarse of two) of queries and a database."""
    words = [codes.pack(RNG.random((count, bits)) < 0.5) for count in (queries, items)]
    fine = [RNG.integers(0, 6, count) for count in (queries, items)]
    return *words, *(np.stack([labels, labels // 3], 1) for labels in fine)


def test_agreement_by_rank_is_the_mean_over_random_orders_of_ties():
    query, database, asked, levels = some()
    found = shpdh.agreement_by_rank(query, database, asked, levels)
    distance = codes.hamming(query, database)
    agreeing = (asked[:, None] == levels).sum(2)
    total = np.zeros_like(found)
    for _ in range(3000):
        order = np.lexsort((RNG.random(distance.shape), distance), axis=1)
        ranked = np.take_along_axis(agreeing, order, 1)
        total += np.stack([(ranked == g).mean(0) for g in range(3)], 1)
    assert np.allclose(found, total / 3000, atol=0.02) and np.allclose(found.sum(1), 1)


def test_agreement_by_rank_agrees_with_the_metrics():
    """Mean gain over the first ranks is what precision and hierarchical precision are made of."""
    query, database, asked, levels = some()
    found = shpdh.agreement_by_rank(query, database, asked, levels)
    report = metrics.evaluate(query, database, asked, levels, bits=5, relevance="levels", at=10)
    assert found[:10, 2].mean() == pytest.approx(report.precision_at[10])


def test_ranks_stacks_the_best_at_the_foot():
    share = np.stack(
        [np.linspace(0, 0.5, 50), np.full(50, 0.5), np.linspace(0.5, 0, 50)], 1
    )  # none, some, all
    figure = shpdh.ranks(
        {"a": share, "b": share[:, [2, 1, 0]]}, ["all", "some", "none"], marks=[10], top=0.9
    )
    for ax, best in zip(figure.axes, (share[:, 2], share[:, 0]), strict=True):
        foot = ax.collections[0].get_paths()[0].vertices
        assert foot[:, 1].max() == pytest.approx(best.max()) and foot[:, 1].min() == 0
        assert "some" in [text.get_text() for text in ax.texts] and len(ax.lines) == 1
    assert [(ax.get_title(), ax.get_ylim()) for ax in figure.axes] == [
        ("a", (0, 0.9)),
        ("b", (0, 0.9)),
    ]
    with pytest.raises(InputError, match="a: a share for each of all, none expected"):
        shpdh.ranks({"a": share}, ["all", "none"])


def test_class_distances_are_means_over_pairs():
    packed, labels = codes.pack(RNG.random((20, 9)) < 0.5), np.arange(20) % 3
    found, every = shpdh.class_distances(packed, labels, 9), codes.hamming(packed, packed)
    for a in range(3):
        for b in range(3):
            assert found[a, b] == pytest.approx(every[labels == a][:, labels == b].mean())


def test_distance_blocks_puts_groups_together():
    matrix, groups = RNG.random((5, 5)), [1, 0, 1, 0, 1]
    figure = shpdh.distance_blocks(
        {"one": matrix, "two": 2 * matrix}, groups, ["x", "y"], list("abcde")
    )
    ax, other, *_ = figure.axes
    assert np.array_equal(
        ax.images[0].get_array(), matrix[np.ix_([1, 3, 0, 2, 4], [1, 3, 0, 2, 4])]
    )
    assert [text.get_text() for text in ax.get_xticklabels()] == list("bdace")
    frames = [(patch.get_x(), patch.get_width()) for patch in ax.patches]
    assert frames == [(-0.5, 2), (1.5, 3)]
    assert ax.images[0].get_clim() == other.images[0].get_clim() == (0, 2 * matrix.max())


def test_tree_draws_every_class_below_its_parent():
    loaded = data.load("digit_tree")
    images = np.stack([loaded.train.images[loaded.train.labels == label][0] for label in range(10)])
    parents = [upper for _, upper in loaded.info.tree]
    ax = shpdh.tree(images, parents, loaded.info.levels[1])
    assert [text.get_text() for text in ax.texts] == list(loaded.info.levels[1]) and len(
        ax.images
    ) == 10
    place = {text.get_text(): text.get_position()[0] for text in ax.texts}
    for label, image in enumerate(ax.images):
        left, right, *_ = image.get_extent()
        nearest = min(place, key=lambda name: abs(place[name] - (left + right) / 2))
        assert nearest == loaded.info.levels[1][parents[label]]
    with pytest.raises(InputError, match="a parent among 2 for each of 10 images expected"):
        shpdh.tree(images, parents, ["a", "b"])


def test_gains_draws_every_run_its_mean_and_the_anchors():
    groups = {"flat": [0.4, 0.5, 0.45], "tree": [0.6, 0.7, 0.65]}
    ax = shpdh.gains(groups, {"random": 0.04}, "mAHP")
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    assert np.array_equal(dots, list(groups.values()))
    assert [text.get_text() for text in ax.texts] == ["0.450", "0.650", "random"]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["flat", "tree"]


def test_by_loss_draws_every_run_in_the_panel_of_its_condition():
    panels = {
        "8 bits": {"a": [(1.0, 0.5), (2.0, 0.3)], "b": [(3.0, 0.4)]},
        "16 bits": {"a": [(1.5, 0.6)], "b": [(4.0, 0.2)]},
    }
    figure = shpdh.by_loss(panels, "loss")
    for ax, (title, groups) in zip(figure.axes, panels.items(), strict=True):
        drawn = {tuple(point) for line in ax.lines for point in line.get_xydata()}
        assert ax.get_title() == title and drawn == {
            run for runs in groups.values() for run in runs
        }
        assert {text.get_text() for text in ax.texts} == {"a", "b"}


def test_the_network_has_a_loss_for_each_level_and_penalties():
    texts = {text.get_text() for text in shpdh.network().texts}
    assert sum("loss" in text for text in texts) == 2 and any("penalties" in t for t in texts)


def test_borders_pass_one_half_in_the_middle_the_steeper_the_narrower_the_clouds():
    steep, flat = (line.get_ydata() for line in shpdh.borders((4.0, 0.25)).lines)
    assert steep[20] == flat[20] == pytest.approx(0.5)
    assert (np.diff(steep) > 0).all() and steep[30] > flat[30] > 0.5
    at = np.linspace(-2, 2, 41)
    assert np.allclose(steep, 1 / (1 + np.exp(-2 * 4.0 * at)), atol=1e-6)


def test_penalties_are_those_of_one_output_with_their_weights():
    cubic, vertex = shpdh.penalties(3.0, 0.5).lines
    x = cubic.get_xdata()
    assert np.allclose(cubic.get_ydata(), 3 * np.maximum(np.abs(x) - 1.1, 0), atol=1e-5)
    assert np.allclose(vertex.get_ydata(), 0.5 * (np.where(x >= 0, 1, -1) - x) ** 2, atol=1e-5)


def test_the_first_pull_is_that_of_the_formula_and_lost_behind_a_floor():
    """kappa (expected centre - own centre), with kappa = 1."""
    centres = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    p = torch.softmax(-centres.square().sum(1) / 2, 0)
    expected = (p @ centres - centres).norm(dim=1).median().item()
    assert shpdh.first_pull(8, 0.0, classes=5) == pytest.approx(expected, rel=1e-5)
    assert shpdh.first_pull(128, 1e-8) < 1e-9 < 3 < shpdh.first_pull(128, 0.0)
