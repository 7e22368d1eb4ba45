"""The figures: what they draw is what they were given."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from hashlab import plots
from hashlab.chapters.figures import hamming
from hashlab.errors import InputError


def texts(ax):
    return [text.get_text() for text in ax.texts]


def way(bits, relevant=(True, False)):
    outputs = np.array([0.5, -2.0, 0.0])
    listed = np.zeros((2, 2, 2), np.uint8)
    return hamming.from_image_to_list(
        np.zeros((2, 2), np.uint8), outputs, listed, np.array(bits, bool), [1, 7], relevant
    )


def test_the_way_to_a_list_shows_outputs_bits_and_where_they_differ():
    ax = way([[1, 0, 1], [0, 0, 0]])
    bars = [patch for patch in ax.patches if patch.get_width() == 0.7]
    heights = np.array([-bar.get_height() for bar in bars])  # the axis grows downwards
    assert np.allclose(heights / np.abs(heights).max(), [0.25, -1, 0])
    digits = [text for text in ax.texts if text.get_text() in ("0", "1")]
    digits.sort(key=lambda text: (text.get_position()[1], text.get_position()[0]))
    assert [int(text.get_text()) for text in digits] == [1, 0, 1, 1, 0, 1, 0, 0, 0]
    frames = [patch for patch in ax.patches if np.isclose(patch.get_width(), 0.88)]
    assert sorted(int(frame.get_x()) for frame in frames) == [0, 2]
    assert {frame.get_y() + 0.44 for frame in frames} == {digits[-1].get_position()[1]}
    assert {"rank 1", "rank 7", "0 ✓", "2 ✗"} <= set(texts(ax))
    assert len(ax.images) == 3


def test_the_way_to_a_list_refuses_bits_of_another_length():
    with pytest.raises(InputError, match=r"bits \(2, 3\) expected.*\(2, 2\)"):
        way([[1, 0], [0, 0]])


@pytest.mark.parametrize("bits", [1, 3, 5])
def test_cube_has_every_code_at_its_distance_and_every_edge_once(bits):
    ax = hamming.cube(bits)
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
        hamming.cube(bits)


def test_distance_spread_is_the_distribution_of_two_random_codes():
    lengths = [3, 8, 64]
    ax = hamming.distance_spread(lengths)
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
    ax = hamming.tie_orders(relevant, np.array([0, 0, 3, 4]), [0.75, 0.5])
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
    ax = plots.against_bits(
        lengths, {"ours": curve, "limit": 0.7}, "mAP", band={"worst": low, "best": high}
    )
    ours, limit, lower, upper = ax.lines
    assert ours.get_xdata().tolist() == lengths and ours.get_ydata().tolist() == curve
    assert ours.get_linestyle() == "-" and limit.get_linestyle() == "--"
    assert limit.get_ydata().tolist() == [0.7] * 3
    assert list(lower.get_ydata()) == low and list(upper.get_ydata()) == high
    (band,) = ax.collections
    outline = {tuple(point) for point in band.get_paths()[0].vertices}
    assert outline >= {*zip(lengths, low, strict=True), *zip(lengths, high, strict=True)}
    assert sorted(texts(ax)) == ["best", "limit", "ours", "worst"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "8", "64"]
    steps = [b - a for a, b in pairwise(ax.transData.transform([(K, 0) for K in (2, 4, 8)])[:, 0])]
    assert np.isclose(*steps)  # doubling K is a step of one width
    assert ax.get_ylabel() == "mAP" and ax.get_ylim()[0] < 0


def test_against_bits_needs_no_band():
    assert len(plots.against_bits([4, 8], {"a": [0, 1]}, "y").collections) == 0


def crowded():
    """Codes of twelve bits and labels:
    ten classes on ten codes in one corner of the map, two of them on one code.
    """
    words = plots.gray(12)[:9].repeat(20, axis=0)
    labels = np.r_[np.arange(9).repeat(20), np.full(30, 9)]
    return np.concatenate([words, plots.gray(12)[[4]].repeat(30, axis=0)]), labels


def boxes(ax):
    """What the words of an axes cover, without the lines that lead to them, and by name."""
    ax.figure.canvas.draw()
    return {text.get_text(): Text.get_window_extent(text) for text in ax.texts}


def overlapping(found):
    return [
        (a, b) for (a, one), (b, other) in combinations(found.items(), 2) if one.overlaps(other)
    ]


def test_code_map_draws_a_disc_per_code_in_the_colour_of_its_commonest_class():
    bits = np.array([[0, 0, 0, 0]] * 7 + [[0, 0, 0, 1]] * 2 + [[1, 0, 1, 0]], bool)
    ax = plots.code_map(bits, np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 2]), "abc")
    (discs,) = ax.collections
    places = [tuple(place) for place in discs.get_offsets().astype(int).tolist()]
    assert sorted(places) == [(0, 0), (1, 0), (3, 3)]  # Gray order is 00 01 11 10
    look = dict(
        zip(places, zip(discs.get_sizes(), discs.get_facecolors(), strict=True), strict=True)
    )
    colours = {place: tuple(face[:3]) for place, (_, face) in look.items()}
    assert colours == {
        (0, 0): plots.palette(3)[1],
        (1, 0): plots.palette(3)[0],
        (3, 3): plots.palette(3)[2],
    }
    assert look[0, 0][0] > look[1, 0][0] > look[3, 3][0]
    assert {text.get_text(): text.xy for text in ax.texts} == {"a b": (0, 0), "c": (3, 3)}


@pytest.mark.parametrize("stacked", [False, True])
def test_no_two_names_on_a_code_map_overlap(stacked):
    bits, labels = crowded()
    maps = {"one": (bits, labels), "two\nlines": (bits[::-1], labels[::-1])}
    axes = (
        plots.code_maps(maps, "0123456789").axes
        if stacked
        else [plots.code_map(bits, labels, "0123456789")]
    )
    for ax in axes:
        found = boxes(ax)
        assert sorted("".join(found).replace(" ", "")) == list("0123456789")
        assert not overlapping(found)
        assert all(ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1 for box in found.values())
        assert all(ax.bbox.y0 <= box.y0 and box.y1 <= ax.bbox.y1 for box in found.values())


def test_a_name_on_a_code_map_stays_at_its_code_unless_another_stands_there():
    bits, labels = crowded()
    ax = plots.code_map(bits, labels, "0123456789")
    boxes(ax)
    moved = {text.get_text(): bool(np.any(text.get_position())) for text in ax.texts}
    places = {text.get_text(): text.xy for text in ax.texts}
    assert places["4 9"] == (4, 0)
    assert not moved["4 9"] and any(moved.values())  # the fullest code first
    apart = plots.code_map(np.array([[0] * 4, [1, 0, 1, 0]], bool), np.array([0, 1]), "ab")
    assert [text.get_position() for text in apart.texts] == [(0, 0), (0, 0)]


def test_names_that_find_no_room_on_a_code_map_are_left_out():
    bits = plots.gray(8)[:120]
    ax = plots.code_map(bits, np.arange(120), [f"class number {i}" for i in range(120)])
    found = boxes(ax)
    assert 5 < len(found) < 120 and not overlapping(found)


def test_code_maps_stand_one_below_the_other():
    bits, labels = crowded()
    upper, lower = plots.code_maps(
        {"before": (bits, labels), "after": (bits, labels)}, "0123456789"
    ).axes
    assert [upper.get_title(), lower.get_title()] == ["before", "after"]
    boxes(upper)
    assert lower.bbox.y1 < upper.bbox.y0 and np.isclose(lower.bbox.x0, upper.bbox.x0)
    assert upper.bbox.width > 0.9 * upper.figure.bbox.width  # as large as the column allows


def test_names_in_tsne_stand_at_the_median_of_their_island():
    rng = np.random.default_rng(0)
    labels = np.arange(3).repeat(40)
    ax = plots.tsne(rng.normal(size=(120, 4)) + 40 * np.eye(4)[labels], labels, "abc")
    found = boxes(ax)
    for name, points, colour in zip("abc", ax.collections, plots.palette(3), strict=True):
        assert to_rgb(points.get_facecolors()[0]) == colour
        drawn = ax.transData.transform(np.asarray(points.get_offsets()))
        box = found[name]
        middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        assert np.hypot(*(np.median(drawn, axis=0) - middle)) < 10  # pixels
    assert all(text.get_path_effects() for text in ax.texts)  # a light outline


def test_equal_points_are_one_disc_that_grows_with_their_number():
    rng = np.random.default_rng(0)
    different = rng.random((12, 16)) < 0.5
    labels = np.arange(12) % 2
    times = np.arange(1, 13)
    ax = plots.tsne(different.repeat(times, 0), labels.repeat(times), "ab")
    areas = [discs.get_sizes() for discs in ax.collections]
    assert [len(one) for one in areas] == [6, 6]
    steps = [np.diff(np.sort(one)) for one in areas]
    assert np.allclose(steps, steps[0][0]) and steps[0][0] > 0
    with pytest.raises(InputError, match="4 different"):
        plots.tsne(different[:4].repeat(5, 0), labels[:4].repeat(5), "ab")


def test_curves_take_colours_bands_and_a_list_of_names():
    lines = {"a": ([0, 1], [[1, 3], [2, 6]]), "b": ([0, 1], [[0, 0], [1, 1]])}
    colours = {"a": (1.0, 0, 0), "b": (0, 0, 1.0), "c": (0, 1.0, 0)}
    ax = plots.curves(lines, "x", "y", band=True, colours=colours, named_at="lower left")
    assert [line.get_color() for line in ax.lines] == [colours["a"], colours["b"]]
    edges = ax.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in edges} == {(0, 1), (0, 3), (1, 2), (1, 6)}
    listed = ax.get_legend().get_texts()
    assert [(text.get_text(), text.get_color()) for text in listed] == [
        ("a", colours["a"]),
        ("b", colours["b"]),
    ]
    assert not ax.texts and ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
    assert len(plots.curves(lines, "x", "y").lines) == 2 + 2 * 2  # a dot per run where no band is


def test_nested_curves_are_seen_where_they_coincide():
    lines = dict.fromkeys("abc", ([0, 1, 2], [3, 4, 4]))
    nested = plots.curves(lines, "x", "y", nested=True).lines
    widths, sizes = ([getattr(line, get)() for line in nested] for get in ("get_lw", "get_ms"))
    assert all(under >= over + 2 for seen in (widths, sizes) for under, over in pairwise(seen))
    plain = plots.curves(lines, "x", "y").lines
    assert {(c.get_lw(), c.get_ms()) for c in plain} == {(widths[-1], sizes[-1])}


@pytest.mark.parametrize("count", range(2, 11))
def test_palette_keeps_alike_colours_for_last(count):
    """Better told apart than in the order of seaborn, where the fourth is a second orange."""

    def least(colours):
        return min(np.abs(np.subtract(a, b)).max() for a, b in combinations(colours, 2))

    mine, usual = plots.palette(count), plots.COLOURS[:count]
    assert len(set(mine)) == count and mine[:3] == usual[: min(3, count)]
    assert least(mine) > least(usual) if 4 <= count < 8 else least(mine) == least(usual)
