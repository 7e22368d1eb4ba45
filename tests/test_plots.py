"""The figures: what they draw is what they were given."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest

from hashlab import plots
from hashlab.errors import InputError


@pytest.fixture(autouse=True)
def close_figures():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_cube_has_every_code_at_its_distance_and_every_edge_once(bits):
    ax = plots.cube(bits)
    corners = {text.get_text(): text.get_position() for text in ax.texts}
    assert sorted(corners) == [f"{number:0{bits}b}" for number in range(2**bits)]
    assert all(place[0] == code.count("1") for code, place in corners.items())
    assert len(set(corners.values())) == 2**bits
    code_at = {place: code for code, place in corners.items()}
    edges = [tuple(code_at[tuple(point)] for point in line.get_xydata()) for line in ax.lines]
    assert len({frozenset(edge) for edge in edges}) == len(edges) == bits * 2 ** (bits - 1)
    assert all(sum(p != q for p, q in zip(*edge, strict=True)) == 1 for edge in edges)


@pytest.mark.parametrize("bits", [0, 6])
def test_cube_refuses_what_cannot_be_drawn(bits):
    with pytest.raises(InputError, match=f"1..5.*got {bits}"):
        plots.cube(bits)


def test_distance_spread_is_the_distribution_of_two_random_codes():
    lengths = [3, 8, 64]
    ax = plots.distance_spread(lengths)
    for bits, line in zip(lengths, ax.lines, strict=True):
        share, density = line.get_data()
        probability = density / bits
        assert np.isclose(probability.sum(), 1) and np.isclose(probability @ share, 1 / 2)
        assert np.isclose(probability @ (share - 1 / 2) ** 2, 1 / (4 * bits))
    three = np.array([bin(a ^ b).count("1") for a in range(8) for b in range(8)])
    assert np.allclose(ax.lines[0].get_ydata() / 3, np.bincount(three) / 64)
    assert texts(ax) == ["3 bits", "8 bits", "64 bits"]


def test_tie_orders_fills_the_relevant_and_sets_groups_apart():
    relevant = np.array([[1, 0, 1, 0], [0, 1, 1, 0]], bool)
    ax = plots.tie_orders(relevant, np.array([0, 0, 3, 4]), [0.75, 0.5])
    for row, hits, squares in zip((0, 1), relevant, ax.collections, strict=True):
        x, y = squares.get_offsets().T
        assert (y == row).all()
        filled = (squares.get_facecolors()[:, :3] < 1).any(1)
        assert filled.tolist() == hits.tolist()
        inside, *between = np.diff(x)
        assert inside > 0 and all(gap > inside for gap in between)
    assert [t for t in texts(ax) if "." in t] == ["0.7500", "0.5000"]
    assert [t for t in texts(ax) if t.isdigit()] == ["0", "3", "4"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4"]


def test_against_bits_draws_curves_levels_and_the_band():
    lengths, curve = [2, 8, 64], [0.1, 0.4, 0.6]
    low, high = [0.05, 0.3, 0.55], [0.5, 0.45, 0.65]
    ax = plots.against_bits(lengths, {"ours": curve, "limit": 0.7}, "mAP", band={"worst": low, "best": high})
    ours, limit, lower, upper = ax.lines
    assert ours.get_xdata().tolist() == lengths and ours.get_ydata().tolist() == curve
    assert ours.get_linestyle() == "-" and limit.get_linestyle() == "--"
    assert limit.get_ydata().tolist() == [0.7] * 3
    assert list(lower.get_ydata()) == low and list(upper.get_ydata()) == high
    (band,) = ax.collections
    outline = {tuple(point) for point in band.get_paths()[0].vertices}
    assert outline >= {*zip(lengths, low, strict=True), *zip(lengths, high, strict=True)}
    assert texts(ax) == ["ours", "limit", "worst", "best"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "8", "64"]
    steps = [b - a for a, b in pairwise(ax.transData.transform([(K, 0) for K in (2, 4, 8)])[:, 0])]
    assert np.isclose(*steps)  # doubling K is a step of one width
    assert ax.get_ylabel() == "mAP" and ax.get_ylim()[0] < 0


def test_against_bits_needs_no_band():
    assert len(plots.against_bits([4, 8], {"a": [0, 1]}, "y").collections) == 0
