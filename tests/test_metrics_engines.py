"""Engines count the same: arrays or tensors, few threads or many, one block or several,
one table or several.
"""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import _numba, _torch, distance, evaluate, evaluate_distances, labels, rankings

RNG = np.random.default_rng(0)


def rows(n, tables, seed):
    """Random bits per table, (n, K_t) each, and their packed rows side by side."""
    rng = np.random.default_rng(seed)
    bits = [rng.random((n, k)) < 0.5 for k in tables]
    return bits, np.hstack([codes.pack(b) for b in bits])


def relevance(name, q, n, seed=0, width=3):
    rng = np.random.default_rng(seed)
    shape = () if name == "same_class" else (width,)
    return rng.integers(0, 2 if name == "shares_label" else 4, (q, *shape)), rng.integers(
        0, 2, (n, *shape)
    )


COMBINATIONS = [
    ((12,), None, None),
    ((1,), None, None),
    ((64, 7), "sum", None),
    ((12, 5, 70), "union", None),
    ((3, 3), "union", None),
    ((9,), "union", None),
    ((12, 5, 70), "weighted", (3, 0, 15)),
    ((4, 70), "weighted", tuple(range(15)) * 4 + (9,) * 14),
]


def plain_bins(query, database, combine, weights, measure):
    """Bin numbers, (Q, N), in plain terms:
    the rank of a pair's distance among all values it could take.
    """
    tables = [(q[:, None] != d).sum(2) for q, d in zip(query, database, strict=True)]
    if combine == "union":
        smallest, total = np.min(tables, 0), np.sum(tables, 0)
        t, ks = len(tables), [q.shape[1] for q in query]
        values = [
            (m, s) for m in range(min(ks) + 1) for s in range(t * m, m + sum(ks) - min(ks) + 1)
        ]
        number = {value: i for i, value in enumerate(values)}
        return np.vectorize(lambda m, s: number[m, s])(smallest, total)
    differ = np.concatenate([q[:, None] != d for q, d in zip(query, database, strict=True)], 2)
    return (differ * measure.weights).sum(2)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
@pytest.mark.parametrize("name", labels.RELEVANCE)
def test_counts_in_plain_loops(combination, name):
    tables, combine, weights = combination
    measure = distance.check(sum(tables), tables, combine, weights)
    (query_bits, query), (database_bits, database) = rows(5, tables, 1), rows(1500, tables, 2)
    rule = labels.check(name, *relevance(name, 5, 1500), 5, 1500)
    bins = plain_bins(query_bits, database_bits, combine, weights, measure)
    plain = np.zeros((5, rule.groups, len(measure.radius)), np.int64)
    np.add.at(plain, (np.arange(5)[:, None], rule.group(slice(0, 5)), bins), 1)
    assert np.array_equal(rankings.engine(query, database, measure, rule)(slice(0, 5)), plain)
    tensors = torch.from_numpy(query), torch.from_numpy(database)
    assert np.array_equal(rankings.engine(*tensors, measure, rule)(slice(0, 5)), plain)


@given(st.integers(1, 200), st.integers(1, 3), st.integers(1, 3), st.integers(0, 99))
def test_equal_items_are_one_kind(n, width, levels, seed):
    rng = np.random.default_rng(seed)
    words, classes = (
        rng.integers(0, 3, (n, width)).astype(np.uint64),
        rng.integers(0, 2, (levels, n)).astype(np.uint64),
    )
    first, kind = _numba.distinct(words, classes)
    rows = np.hstack([words, classes.T])
    assert len(first) == len(np.unique(rows, axis=0)) and np.array_equal(rows[first][kind], rows)
    assert np.array_equal(first, [np.flatnonzero(kind == k)[0] for k in range(len(first))])


@pytest.mark.parametrize("shift", [0, 7, 24, 48])
@pytest.mark.parametrize("column", [0, 1])
def test_kinds_find_places_of_their_own_whichever_bits_they_differ_in(shift, column):
    """Else a table of labels that only use the last columns takes minutes to fill."""
    n = 1 << 10
    words = np.zeros((n, 2), np.uint64)
    words[:, column] = np.arange(n, dtype=np.uint64) << np.uint64(shift)
    no_labels = np.empty((0, n), np.uint64)
    places = {int(_numba._place(words, no_labels, i, 11)) for i in range(n)}
    assert len(places) > n / 2


@pytest.mark.parametrize("name", labels.RELEVANCE)
@pytest.mark.parametrize("bits", [3, 8, 70])
def test_repeated_codes_are_counted_as_often_as_they_stand_there(name, bits, monkeypatch):
    """A few codes, given to many items:
    compared once per kind, or every time, the counts are the same.
    """
    measure = distance.check(bits, None, None, None)
    pick = np.random.default_rng(3).integers(0, 30, 4000)
    (_, few), (_, query) = rows(30, [bits], 4), rows(20, [bits], 5)
    query, database = query[np.arange(50) % 20], few[pick]
    rule = labels.check(name, *relevance(name, 50, 4000, width=2), 50, 4000)
    counts = rankings.engine(query, database, measure, rule)(slice(0, 50))
    assert len(rankings.arranged(measure.words(database)[0], rule.words[1])[2]) > 0
    monkeypatch.setattr(rankings, "REPEATED", 0)
    assert len(rankings.arranged(measure.words(database)[0], rule.words[1])[2]) == 0
    assert np.array_equal(rankings.engine(query, database, measure, rule)(slice(0, 50)), counts)
    assert counts.sum() == 50 * 4000


@pytest.mark.parametrize("name", labels.RELEVANCE)
def test_long_runs_of_equal_labels(name):
    """Where many items have the same labels,
    the compiled engine compares them once for a whole block.
    """
    measure = distance.check(9, None, None, None)
    (_, query), (_, database) = rows(40, [9], 19), rows(3000, [9], 20)
    rule = labels.check(name, *relevance(name, 40, 3000, width=2), 40, 3000)
    starts = _numba.runs(rule.words[1])[1]
    assert len(starts) > 4 and (np.diff(starts) > 0).all() and np.diff(starts).max() <= _numba.BLOCK
    plain = np.zeros((40, rule.groups, 10), np.int64)
    bins = codes.hamming(query, database)
    np.add.at(plain, (np.arange(40)[:, None], rule.group(slice(0, 40)), bins), 1)
    assert np.array_equal(rankings.engine(query, database, measure, rule)(slice(0, 40)), plain)


@pytest.mark.parametrize("k", [1, 12, 48, 64, 100, 1024])
def test_tensors_and_arrays_give_equal_reports(k):
    (_, query), (_, database) = rows(20, [k], 3), rows(700, [k], 4)
    given = relevance("same_class", 20, 700)
    one = evaluate(query, database, *given, bits=k, at=100)
    other = evaluate(*map(torch.from_numpy, (query, database, *given)), bits=k, at=100)
    assert one.to_dict() == other.to_dict() and np.array_equal(one.ap, other.ap)


def test_threads_change_nothing():
    (_, query), (_, database) = rows(130, [48], 5), rows(3000, [48], 6)
    given = relevance("levels", 130, 3000)
    reports, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            reports.append(evaluate(query, database, *given, bits=48, relevance="levels"))
    finally:
        torch.set_num_threads(before)
    assert all(
        np.array_equal(r.ap, reports[0].ap) and r.to_dict() == reports[0].to_dict() for r in reports
    )


@pytest.mark.parametrize("name", labels.RELEVANCE)
def test_blocks_change_nothing(name, monkeypatch):
    (_, query), (_, database) = rows(50, [20, 20], 7), rows(900, [20, 20], 8)
    given = relevance(name, 50, 900)
    options = {"bits": 40, "tables": (20, 20), "combine": "union", "relevance": name}
    whole = evaluate(query, database, *given, **options)
    far = codes.hamming(query, database)
    sorted_whole = evaluate_distances(far, *given, relevance=name)
    monkeypatch.setattr(rankings, "QUERIES", 7)
    split = evaluate(query, database, *given, **options)
    np.testing.assert_allclose(split.ap, whole.ap, rtol=1e-14)
    assert np.array_equal(split.recall, whole.recall) and np.array_equal(
        split.lookup_hit, whole.lookup_hit
    )
    assert split.queries_without_relevant == whole.queries_without_relevant
    np.testing.assert_allclose(
        evaluate_distances(far, *given, relevance=name).ap, sorted_whole.ap, rtol=1e-14
    )


def test_the_database_in_parts_on_tensors(monkeypatch):
    (_, query), (_, database) = rows(9, [33], 9), rows(500, [33], 10)
    given = relevance("shares_label", 9, 500)
    tensors = [torch.from_numpy(x) for x in (query, database)]
    whole = evaluate(*tensors, *given, bits=33, relevance="shares_label")
    monkeypatch.setitem(_torch.LANES, "cpu", 32)  # as on a GPU
    for pairs in (100, 8):  # 8: not even one item with each of the nine queries
        monkeypatch.setitem(_torch.PAIRS, "cpu", pairs)
        parts = evaluate(*tensors, *given, bits=33, relevance="shares_label")
        assert parts.to_dict() == whole.to_dict()


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_bins_of_a_union_are_all_pairs_in_order(tables):
    measure = distance.check(sum(tables), tables, "union", None)
    pairs = [
        (m, s)
        for m in range(min(tables) + 1)
        for s in range(len(tables) * m, m + sum(tables) - min(tables) + 1)
    ]
    assert [measure.base[m] + s for m, s in pairs] == list(range(len(measure.radius)))
    assert measure.radius.tolist() == [m for m, _ in pairs] and measure.base.min() >= 0
    assert measure.bins == len(pairs)


def test_sum_of_tables_is_the_distance_of_joined_codes():
    (query_bits, query), (database_bits, database) = rows(8, [12, 70], 11), rows(300, [12, 70], 12)
    given = relevance("same_class", 8, 300)
    joined = [codes.pack(np.hstack(x)) for x in (query_bits, database_bits)]
    one = evaluate(*joined, *given, bits=82)
    two = evaluate(query, database, *given, bits=82, tables=(12, 70))
    assert np.array_equal(one.ap, two.ap) and np.array_equal(
        one.precision, two.precision, equal_nan=True
    )
    assert (two.tables, two.combine, one.tables, one.combine) == ((12, 70), "sum", None, None)
    ones = evaluate(
        query, database, *given, bits=82, tables=(12, 70), combine="weighted", weights=(1, 1)
    )
    assert np.array_equal(ones.ap, two.ap)
    twice = evaluate(
        query, database, *given, bits=82, tables=(12, 70), combine="weighted", weights=(2, 2)
    )
    assert np.array_equal(twice.ap, two.ap) and len(twice.precision) == 165


def test_union_retrieves_what_any_table_retrieves():
    (query_bits, query), (database_bits, database) = rows(8, [6, 9], 13), rows(300, [6, 9], 14)
    given = relevance("same_class", 8, 300)
    report = evaluate(query, database, *given, bits=15, tables=(6, 9), combine="union")
    tables = [(q[:, None] != d).sum(2) for q, d in zip(query_bits, database_bits, strict=True)]
    relevant = given[0][:, None] == given[1]
    assert len(report.precision) == 7
    for r in range(7):
        ball = (tables[0] <= r) | (tables[1] <= r)
        assert report.precision[r] == pytest.approx(relevant[ball].mean())
        assert report.recall[r] == pytest.approx(relevant[ball].sum() / relevant.sum())
    ranked = evaluate_distances(np.min(tables, 0) * 100 + np.sum(tables, 0), *given)
    np.testing.assert_allclose(report.ap, ranked.ap, rtol=1e-13)
    assert report.map != pytest.approx(evaluate_distances(np.min(tables, 0), *given).map, abs=1e-4)


def test_progress_changes_nothing(monkeypatch):
    from hashlab import progress

    (_, query), (_, database) = rows(1200, [9], 21), rows(100, [9], 22)
    given = relevance("same_class", 1200, 100)
    silent = evaluate(query, database, *given, bits=9)
    monkeypatch.setattr(progress, "mode", lambda: "live")
    assert np.array_equal(evaluate(query, database, *given, bits=9).ap, silent.ap)


def test_memory_stays_far_below_the_matrix_of_distances():
    (_, query), (_, database) = rows(1000, [64] * 4, 15), rows(20000, [64] * 4, 16)
    given = relevance("same_class", 1000, 20000)
    options = {"bits": 256, "tables": (64,) * 4, "combine": "union"}
    tracemalloc.start()
    evaluate(query, database, *given, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        peak < 120e6
    )  # bytes; the matrix of distances would take 160 MB, counts of all queries at once 100 MB


def test_read_only_and_strided_inputs():
    (_, query), (_, database) = rows(8, [40], 17), rows(60, [40], 18)
    given = relevance("same_class", 8, 60)
    wide = np.zeros((60, 16), np.uint8)
    wide[:, 1:9] = database
    assert np.array_equal(
        evaluate(query[::2], wide[:, 1:9], given[0][::2], given[1], bits=40).ap,
        evaluate(query, database, *given, bits=40).ap[::2],
    )


GOOD = {
    "query_codes": codes.pack(RNG.random((4, 12)) < 0.5),
    "database_codes": codes.pack(RNG.random((9, 12)) < 0.5),
    "query_labels": RNG.integers(0, 3, 4),
    "database_labels": RNG.integers(0, 3, 9),
    "bits": 12,
}
TWO = {
    "query_codes": np.hstack([GOOD["query_codes"]] * 2),
    "database_codes": np.hstack([GOOD["database_codes"]] * 2),
    "bits": 24,
    "tables": (12, 12),
}
DIRTY = GOOD["query_codes"].copy()
DIRTY[2, 1] |= 16  # bit 12, counted from 0
BAD = {
    "widths differ": (
        {"query_codes": np.zeros((4, 16), np.uint8)},
        r"query codes of 12 bits must be \(N, 8\) uint8",
    ),
    "too narrow": (
        {"bits": 65},
        r"database codes of 65 bits must be \(N, 16\) uint8, got \(9, 8\) uint8",
    ),
    "bits in the padding": ({"bits": 5}, "zero padding after bit 5"),
    "dirty padding": ({"query_codes": DIRTY}, "query codes must have zero padding after bit 12"),
    "no bits": ({"bits": 0}, "bits must be a whole number of at least 1, got 0"),
    "zeros among signs": (
        {"database_codes": np.eye(9, 12) - np.eye(9, 12, 1)},
        r"of 12 bits .* float64: codes.pack\(codes.binarize\(x\)\) .*, 1 where u >= 0",
    ),
    "real outputs": (
        {"query_codes": torch.full((4, 12), 0.5), "database_codes": torch.ones(9, 12)},
        r"query codes of 12 bits .* float32: codes.pack\(codes.binarize\(x\)\)",
    ),
    "bits of another width": (
        {"database_codes": np.ones((9, 11))},
        r"database codes of 12 bits must be \(N, 8\) uint8, got \(9, 11\) float64",
    ),
    "half a bit": ({"bits": 12.5}, "bits must be a whole number of at least 1, got 12.5"),
    "packed of unknown width": ({"bits": None}, "bits must be given: packed codes"),
    "not padded": (
        {"query_codes": np.ones((4, 2), np.uint8)},
        r"\(4, 2\) uint8: codes.pad\(x, bits=12\) widens",
    ),
    "a list": ({"query_codes": [[1]]}, "NumPy array or a tensor, got list"),
    "kinds differ": (
        {"query_codes": torch.from_numpy(GOOD["query_codes"])},
        "of one kind, got cpu and numpy",
    ),
    "empty database": (
        {"database_codes": np.zeros((0, 8), np.uint8), "database_labels": np.zeros(0, int)},
        "not be empty",
    ),
    "no queries": (
        {"query_codes": np.zeros((0, 8), np.uint8), "query_labels": np.zeros(0, int)},
        "not be empty",
    ),
    "fewer labels": (
        {"query_labels": np.zeros(3, int)},
        "query labels must be as many as query codes, got 3 and 4",
    ),
    "more labels": (
        {"database_labels": np.zeros(10, int)},
        "database labels must be as many as database codes, got 10 and 9",
    ),
    "negative": (
        {"database_labels": np.arange(9) - 1},
        "database labels must not be negative, got -1",
    ),
    "float labels": (
        {"query_labels": np.arange(4) / 2},
        r"query labels must be whole numbers or text, got 0.5 among \(4,\) float64",
    ),
    "ragged labels": (
        {"query_labels": [[1], [1, 2], [], []]},
        "query labels must have rows .* got ragged rows",
    ),
    "complex labels": ({"query_labels": np.zeros(4, complex)}, "or text, got .* complex"),
    "several labels": (
        {"query_labels": np.tri(4, dtype=int)},
        r"same_class, got \(4, 4\) int64; \(N, L\) labels go with shares_label or levels",
    ),
    "flat labels": (
        {"relevance": "shares_label"},
        r"for shares_label, got \(4,\) int64; \(N,\) labels go with same_class",
    ),
    "counts as labels": (
        {
            "relevance": "shares_label",
            "query_labels": np.full((4, 2), 2),
            "database_labels": np.ones((9, 2), int),
        },
        "of 0 and 1, C at least 2, got 2",
    ),
    "no columns": (
        {
            "relevance": "levels",
            "query_labels": np.zeros((4, 0), int),
            "database_labels": np.zeros((9, 0), int),
        },
        r"\(N, L\) classes for levels, got \(4, 0\) int64$",
    ),
    "levels differ": (
        {
            "relevance": "levels",
            "query_labels": np.zeros((4, 2), int),
            "database_labels": np.zeros((9, 3), int),
        },
        "equally many columns, got 2 and 3",
    ),
    "unknown relevance": (
        {"relevance": "same"},
        "relevance must be one of same_class, shares_label, levels, got 'same'",
    ),
    "k too large": (
        {"at": 10},
        r"at must be a whole number in 1..9, the size of the database, got 10",
    ),
    "k zero": ({"at": 0}, r"at must be a whole number in 1..9"),
    "k not whole": ({"at": 2.0}, r"at must be a whole number in 1..9, .* got 2.0"),
    "cut-off too large": (
        {"cutoffs": (1, 10)},
        r"each of cutoffs must be a whole number in 1..9, .* got 10",
    ),
    "one cut-off": ({"cutoffs": 5}, "cutoffs must be a sequence of ranks, got 5"),
    "no cut-offs": ({"cutoffs": ()}, r"cutoffs must be a sequence of ranks, got \(\)"),
    "labels with gaps": (
        {"database_labels": np.ma.masked_equal(np.arange(9), 3)},
        r"database labels must have a value for every entry, got \(9,\) int64 with masked entries",
    ),
    "codes with gaps": (
        {"query_codes": np.ma.masked_equal(np.zeros((4, 8), np.uint8), 0)},
        r"query codes of 12 bits must be \(N, 8\) uint8, got \(4, 8\) uint8 with masked entries",
    ),
    "unknown convention": (
        {"convention": "best"},
        "convention must be one of min_k_r, .* got 'best'",
    ),
    "many conventions": (
        {"convention": ["best"]},
        r"convention must be one of min_k_r, .* got \['best'\]",
    ),
    "no cut-off": (
        {"convention": "trapezoid_radius", "at": 5},
        "'trapezoid_radius' has no cut-off, got at=5",
    ),
    "tables do not add up": ({"tables": (6, 7)}, r"tables must add up to 12 bits, got \(6, 7\)"),
    "tables as a number": ({"tables": 12}, "tables must be the bits of each hash table, got 12"),
    "table of nothing": ({"tables": (12, 0)}, "at least 1, got 0"),
    "tables in one word": (
        {"tables": (6, 6)},
        r"codes of 6 \+ 6 bits must be \(N, 16\) uint8, got \(9, 8\)",
    ),
    "unknown combination": (
        TWO | {"combine": "max"},
        "combine must be one of sum, union, weighted, got 'max'",
    ),
    "no combination at all": (
        {"combine": ""},
        "combine must be one of sum, union, weighted, got ''",
    ),
    "no convention at all": ({"convention": ""}, "convention must be one of min_k_r, .* got ''"),
    "weights forgotten": (TWO | {"combine": "weighted"}, "if and only if combine='weighted'"),
    "weights unasked": (TWO | {"weights": (1, 2)}, "if and only if combine='weighted'"),
    "weights of three": (
        TWO | {"combine": "weighted", "weights": (1, 2, 3)},
        r"2 \(one per table\) or 24 \(one per bit\)",
    ),
    "ragged weights": (
        TWO | {"combine": "weighted", "weights": [[1], [1, 2]]},
        "weights must have rows .* got ragged rows",
    ),
    "real weights": (
        TWO | {"combine": "weighted", "weights": (0.5, 0.5)},
        "whole numbers, got .* float64",
    ),
    "weight 16": (
        TWO | {"combine": "weighted", "weights": (1, 16)},
        "lie in 0..15, not all 0, got 1 to 16",
    ),
    "weights of nothing": (TWO | {"combine": "weighted", "weights": (0, 0)}, "not all 0"),
    "real queries": (
        {"query_codes": np.full((4, 12), 0.5)},
        "query codes of 12 bits must be .* got .* float64",
    ),
    "outputs too narrow": (
        {"query_codes": np.zeros((4, 11)), "convention": "asymmetric"},
        r"\(Q, 12\) real .* got \(4, 11\)",
    ),
    "codes for outputs": (
        {"convention": "asymmetric"},
        r"query outputs must be \(Q, 12\) real .* got \(4, 8\) uint8; .*'hits_in_topk'",
    ),
    "outputs NaN": (
        {"query_codes": np.full((4, 12), np.nan), "convention": "asymmetric"},
        "got NaN",
    ),
    "outputs for tables": (
        TWO | {"query_codes": np.zeros((4, 24)), "convention": "asymmetric"},
        "in one table",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_before_any_work(case, monkeypatch):
    changed, message = BAD[case]
    monkeypatch.setattr(rankings, "_blocks", lambda *a: pytest.fail("work began"))
    with pytest.raises(InputError, match=message) as error:
        evaluate(**(GOOD | changed))
    assert "\n" not in str(error.value)


BAD_DISTANCES = {
    "flat": (np.zeros(9), {}, r"\(Q, N\) real numbers, Q and N at least 1, got \(9,\)"),
    "empty": (np.zeros((4, 0)), {}, r"at least 1, got \(4, 0\)"),
    "bool": (np.zeros((4, 9), bool), {}, "numbers, .* bool"),
    "ragged": ([[1.0], [1.0, 2.0]], {}, "distances must have rows of one length, got ragged rows"),
    "nan": (np.full((4, 9), np.nan), {}, "got NaN"),
    "labels": (
        np.zeros((4, 8)),
        {},
        "database labels must be as many as columns of distances, got 9 and 8",
    ),
    "turned": (
        np.zeros((9, 4)),
        {},
        "query labels must be as many as rows of distances, got 4 and 9",
    ),
    "asymmetric": (
        np.zeros((4, 9)),
        {"convention": "asymmetric"},
        "by real query outputs, got .* 'hits_in_topk'",
    ),
    "radius": (
        np.zeros((4, 9)),
        {"convention": "trapezoid_radius"},
        "measures by radius and needs codes",
    ),
}


@pytest.mark.parametrize("case", BAD_DISTANCES)
def test_bad_distances_are_named(case):
    given, options, message = BAD_DISTANCES[case]
    with pytest.raises(InputError, match=message):
        evaluate_distances(given, GOOD["query_labels"], GOOD["database_labels"], **options)


def test_a_curve_needs_radii():
    report = evaluate_distances(np.zeros((4, 9)), GOOD["query_labels"], GOOD["database_labels"])
    with pytest.raises(InputError, match="needs integer distances"):
        report.pr_curve()


@pytest.mark.parametrize("level", [0, 1, 2, -0.5, float("nan")])
def test_an_interval_needs_a_level(level):
    with pytest.raises(InputError, match=f"level must lie between 0 and 1, got {level}"):
        evaluate(**GOOD).interval(level)
