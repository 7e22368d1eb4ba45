"""Distances of several tables in plain loops:
weights of bits as words, bins of a union, and what is refused.
"""

import itertools

import numpy as np
import pytest

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import distance

TABLES = [(1,), (64,), (65,), (64, 64), (1, 63), (7, 64, 65), (128, 12)]


def packed(bits, tables):
    parts = np.split(bits, np.cumsum(tables)[:-1], axis=1)
    return np.concatenate([codes.pack(part) for part in parts], axis=1)


@pytest.mark.parametrize("tables", TABLES)
@pytest.mark.parametrize("per", ["table", "bit"])
def test_weights_are_words_of_powers(tables, per):
    """Differing bits of a word, times two to its power, added up,
    are the weights of the bits that differ.
    """
    rng, total = np.random.default_rng(len(tables)), sum(tables)
    weights = rng.integers(0, 16, len(tables) if per == "table" else total)
    weights[0] = 15
    a, b = rng.random((2, 5, total)) < 0.5
    measure = distance.check(total, tables, "weighted", weights)
    each = weights if len(weights) == total else np.repeat(weights, tables)
    (x, power), (y, _) = measure.words(packed(a, tables)), measure.words(packed(b, tables))
    weighted = (np.bitwise_count(x ^ y).astype(int) << power.astype(int)).sum(1)
    assert weighted.tolist() == [
        sum(w for w, differs in zip(each, row, strict=True) if differs) for row in a != b
    ]
    assert measure.radius.tolist() == list(range(each.sum() + 1))


@pytest.mark.parametrize("tables", [(1, 1), (3, 2), (2, 4, 3), (5,)])
def test_bins_of_a_union_are_pairs_of_smallest_and_sum_in_order(tables):
    measure = distance.check(sum(tables), tables, "union", None)
    pairs = {(min(d), sum(d)) for d in itertools.product(*(range(bits + 1) for bits in tables))}
    bins = [int(measure.base[smallest]) + total for smallest, total in sorted(pairs)]
    assert bins == sorted(set(bins)) and bins[0] == 0 and bins[-1] < len(measure.radius)
    assert [measure.radius[number] for number in bins] == [
        smallest for smallest, _ in sorted(pairs)
    ]
    assert len(measure.base) == min(tables) + 1 and measure.radius.tolist() == sorted(
        measure.radius
    )


def test_tables_are_measured_apart_in_a_union_only():
    assert distance.check(72, (64, 8), "union", None).spans.tolist() == [0, 1, 2]
    assert distance.check(137, (65, 72), "union", None).spans.tolist() == [0, 2, 4]
    assert distance.check(72, (64, 8), None, None).spans.tolist() == [0, 2]


BAD = {
    "word": (("product", None), "combine must be one of sum, union, weighted, got 'product'"),
    "no weights": (("weighted", None), "if and only if"),
    "needless weights": (("sum", [1, 1]), "if and only if"),
    "three": (
        ("weighted", [1, 1, 1]),
        r"must be 2 \(one per table\) or 8 \(one per bit\) whole numbers, got \(3,\)",
    ),
    "fractions": (("weighted", [1.0, 2.0]), "float64"),
    "below": (("weighted", [-1, 2]), "0..15, not all 0, got -1 to 2"),
    "above": (("weighted", [1, 16]), "0..15, not all 0, got 1 to 16"),
    "nothing": (("weighted", [0, 0]), "0..15, not all 0, got 0 to 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_distances_are_named(case):
    words, message = BAD[case]
    with pytest.raises(InputError, match=message):
        distance.check(8, (3, 5), *words)


def test_weights_may_lie_anywhere_from_0_to_15():
    assert distance.check(8, (3, 5), "weighted", [0, 15]).weights.tolist() == [0] * 3 + [15] * 5
    assert distance.check(8, (3, 5), "weighted", np.uint8([1, 0])).weights.dtype == np.int64


def test_codes_of_tables_are_checked_table_by_table():
    measure = distance.check(72, (64, 8), None, None)
    sound = packed(np.ones((2, 72), bool), (64, 8))
    distance.check_codes(sound, measure, "codes")
    for wrong, message in (
        (sound[:, :8], r"codes of 64 \+ 8 bits must be \(N, 16\) uint8, got \(2, 8\)"),
        (sound[:0], "codes must not be empty"),
        (sound.astype(int), "int64"),
        (sound | np.repeat(np.uint8([0, 255]), 8), "zero padding after bit 8"),
    ):
        with pytest.raises(InputError, match=message):
            distance.check_codes(wrong, measure, "codes")
