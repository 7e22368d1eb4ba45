"""Retrieval metrics under ties: against every tie order in plain loops and other libraries,
and their properties.
"""

import json
import math
import re
from pathlib import Path

import numpy as np
import plain_metrics as plain
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from hashlab import codes
from hashlab.metrics import Report, evaluate, evaluate_distances, formulas


def case(q, n, k, classes, seed):
    """Random codes and classes: query bits, database bits, query labels, database labels."""
    rng = np.random.default_rng(seed)
    return (
        rng.random((q, k)) < 0.5,
        rng.random((n, k)) < 0.5,
        rng.integers(0, classes, q),
        rng.integers(0, classes, n),
    )


def score(query, database, query_labels, database_labels, **options):
    options = {"bits": query.shape[1]} | options
    return evaluate(
        codes.pack(query), codes.pack(database), query_labels, database_labels, **options
    )


def parts(query, database, query_labels, database_labels):
    """Distances and gains as the plain loops take them, one list per query."""
    distances = (query[:, None] != database).sum(2)
    gains = (query_labels[:, None] == database_labels).astype(int)
    return distances.tolist(), gains.tolist()


small = {
    "k": st.integers(1, 4),
    "n": st.integers(1, 6),
    "classes": st.integers(1, 3),
    "seed": st.integers(0, 10**6),
}


@given(**small, data=st.data())
def test_every_order_of_ties(k, n, classes, seed, data):
    inputs = case(2, n, k, classes, seed)
    at = data.draw(st.none() | st.integers(1, n))
    report = score(*inputs, at=at, cutoffs=range(1, n + 1))
    assert report.queries_without_relevant == sum(label not in inputs[3] for label in inputs[2])
    for i, (distances, gains) in enumerate(zip(*parts(*inputs), strict=True)):
        aps = [plain.ap(r, at or n) for r in plain.rankings(distances, gains)]
        assert report.ap[i] == pytest.approx(np.mean(aps), abs=1e-12)
        assert report.ap_worst[i] == pytest.approx(min(aps), abs=1e-12)
        assert report.ap_best[i] == pytest.approx(max(aps), abs=1e-12)


@given(**small)
def test_cut_offs_under_every_order_of_ties(k, n, classes, seed):
    inputs = case(2, n, k, classes, seed)
    report = score(*inputs, cutoffs=range(1, n + 1))
    many = [plain.rankings(d, g) for d, g in zip(*parts(*inputs), strict=True)]
    for cut in range(1, n + 1):
        for name in ("precision_at", "recall_at", "ndcg"):
            mean = np.mean(
                [np.mean([getattr(plain, name)(r, cut) for r in rankings]) for rankings in many]
            )
            assert getattr(report, name.removesuffix("_at") + "_at")[cut] == pytest.approx(
                mean, abs=1e-12
            )


@given(**small)
def test_radius_in_plain_loops(k, n, classes, seed):
    inputs = case(3, n, k, classes, seed)
    report = score(*inputs)
    distances, gains = parts(*inputs)
    pairs = [
        (d, g) for ds, gs in zip(distances, gains, strict=True) for d, g in zip(ds, gs, strict=True)
    ]
    relevant = sum(g for _, g in pairs)
    for r in range(k + 1):
        inside = [g for d, g in pairs if d <= r]
        assert report.precision[r] == pytest.approx(
            sum(inside) / len(inside) if inside else np.nan, nan_ok=True
        )
        assert report.recall[r] == pytest.approx(sum(inside) / relevant if relevant else 0)
        balls = [
            [g for d, g in zip(ds, gs, strict=True) if d <= r]
            for ds, gs in zip(distances, gains, strict=True)
        ]
        assert report.lookup_success[r] == pytest.approx(np.mean([len(b) > 0 for b in balls]))
        assert report.lookup_hit[r] == pytest.approx(np.mean([sum(b) > 0 for b in balls]))
        if r == min(2, k):
            assert report.precision_radius2 == pytest.approx(
                np.mean([np.mean(b) if b else 0 for b in balls])
            )
    assert len(report.precision) == len(report.recall) == k + 1


def test_random_orders_have_the_expected_mean():
    """On a ranking far too long for every order:
    the mean of 4,000 random ones lies within 4 standard errors.
    """
    inputs = case(1, 400, 8, 3, 5)
    distances, gains = (np.array(x[0]) for x in parts(*inputs))
    rng = np.random.default_rng(0)
    for at in (None, 50):
        aps = []
        for _ in range(4000):
            order = np.lexsort((rng.random(400), distances))
            relevant = gains[order][:at]
            sums = (relevant * relevant.cumsum() / np.arange(1, len(relevant) + 1)).sum()
            aps.append(sums / min(len(relevant), gains.sum()))
        report = score(*inputs, at=at)
        assert abs(report.map - np.mean(aps)) < 4 * np.std(aps) / len(aps) ** 0.5
        assert report.map_worst < min(aps) and max(aps) < report.map_best


def test_worked_example():
    """Distances 0, 1, 1, 2 with relevance +, -, +, -: the tie gives (1 + 2/2)/2 or (1 + 2/3)/2."""
    database = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], bool)
    report = score(np.zeros((1, 2), bool), database, np.array([7]), np.array([7, 3, 7, 3]))
    assert report.map_worst == pytest.approx(5 / 6)
    assert report.map_best == 1
    assert report.map == pytest.approx((1 + 5 / 6) / 2)
    assert report.precision.tolist() == pytest.approx([1, 2 / 3, 1 / 2])
    assert report.recall.tolist() == [0.5, 1, 1]


def test_scikit_learn_and_torchmetrics_agree_without_ties():
    rng = np.random.default_rng(1)
    distances = rng.permuted(np.tile(np.arange(300), (20, 1)), axis=1)  # every distance differs
    query_labels, database_labels = rng.integers(0, 4, 20), rng.integers(0, 4, 300)
    report = evaluate_distances(distances, query_labels, database_labels)
    for i in range(20):
        relevant = database_labels == query_labels[i]
        assert report.ap[i] == pytest.approx(
            average_precision_score(relevant, -distances[i]), abs=1e-12
        )
        theirs = retrieval_average_precision(
            torch.tensor(300.0 - distances[i]), torch.from_numpy(relevant)
        )
        assert report.ap[i] == pytest.approx(float(theirs), abs=1e-6)  # float32 there
    np.testing.assert_allclose(report.ap_worst, report.ap, rtol=1e-13)
    np.testing.assert_allclose(report.ap_best, report.ap, rtol=1e-13)


def test_integer_distances_sorted_or_counted_are_the_same():
    inputs = case(30, 500, 12, 4, 3)
    distances, _ = parts(*inputs)
    for at in (None, 7, 200):
        counted = score(*inputs, at=at)
        ranked = evaluate_distances(np.array(distances), *inputs[2:], at=at)
        assert ranked.precision is None and ranked.precision_radius2 is None and ranked.bits is None
        for name in ("ap", "ap_worst", "ap_best"):
            np.testing.assert_allclose(getattr(ranked, name), getattr(counted, name), rtol=1e-13)
        for name in ("precision_at", "recall_at", "ndcg_at"):
            assert getattr(ranked, name) == pytest.approx(getattr(counted, name), rel=1e-13)


def test_real_distances_tie_when_equal():
    distances = np.array([[0.25, 0.5, 0.5, 0.75]], np.float32)
    report = evaluate_distances(torch.from_numpy(distances), np.array([0]), np.array([0, 1, 0, 1]))
    assert (report.map_worst, report.map_best) == pytest.approx((5 / 6, 1))


@given(**small, shuffle=st.randoms())
def test_order_of_storage_means_nothing(k, n, classes, seed, shuffle):
    inputs = case(3, n, k, classes, seed)
    items, queries = list(range(n)), [0, 1, 2]
    shuffle.shuffle(items)
    shuffle.shuffle(queries)
    moved = inputs[0][queries], inputs[1][items], inputs[2][queries], inputs[3][items]
    before, after = score(*inputs), score(*moved)
    assert np.array_equal(before.ap[queries], after.ap) and after.map == pytest.approx(
        before.map, rel=1e-15
    )
    assert np.array_equal(before.precision, after.precision, equal_nan=True)


@given(
    k=st.integers(1, 30),
    n=st.integers(1, 80),
    classes=st.integers(1, 5),
    seed=st.integers(0, 999),
    data=st.data(),
)
def test_bounds(k, n, classes, seed, data):
    inputs = case(4, n, k, classes, seed)
    at = data.draw(st.none() | st.integers(1, n))
    report = score(*inputs, at=at)
    ordered = np.stack([np.zeros(4), report.ap_worst, report.ap, report.ap_best, np.ones(4)])
    assert (np.diff(ordered, axis=0) >= -1e-12).all()
    assert (np.diff(report.recall) >= 0).all()
    assert all(
        0 <= v <= 1 + 1e-12
        for name in ("precision_at", "recall_at", "ndcg_at")
        for v in getattr(report, name).values()
    )


def test_complements_and_copies_of_bits_change_nothing():
    query, database, *labels = case(5, 60, 11, 3, 8)
    one = score(query, database, *labels)
    flipped = np.random.default_rng(0).random(11) < 0.5
    assert np.array_equal(score(query ^ flipped, database ^ flipped, *labels).ap, one.ap)
    doubled = score(np.hstack([query, query]), np.hstack([database, database]), *labels)
    assert np.array_equal(doubled.ap, one.ap) and np.array_equal(doubled.recall[::2], one.recall)


def test_one_bit_and_all_ties():
    one = score(
        np.ones((1, 1), bool), np.ones((7, 1), bool), np.array([1]), np.array([1, 0, 0, 1, 0, 0, 0])
    )
    relevant = [[1, 0, 0, 1, 0, 0, 0]]
    aps = [plain.ap(r, 7) for r in plain.rankings([0] * 7, relevant[0])]
    assert (
        one.map == pytest.approx(np.mean(aps))
        and one.map_worst == pytest.approx(min(aps))
        and one.map_best == 1
    )
    assert one.precision.tolist() == [2 / 7, 2 / 7] and one.recall.tolist() == [1, 1]


def test_nothing_relevant():
    inputs = case(4, 9, 6, 2, 0)
    report = score(inputs[0], inputs[1], np.array([0, 1, 5, 9]), inputs[3])
    assert report.queries_without_relevant == 2
    assert report.ap[2] == report.ap[3] == report.ap_best[2] == 0 and report.ap[:2].min() > 0
    assert report.map == pytest.approx(report.ap[:2].sum() / 4)
    nobody = score(inputs[0], inputs[1], np.full(4, 9), inputs[3])
    assert nobody.map == nobody.map_best == 0 and nobody.queries_without_relevant == 4
    assert (nobody.recall == 0).all() and nobody.recall_at[1] == 0 and nobody.ndcg_at[1] == 0


def test_random_codes_score_the_class_prior():
    inputs = case(200, 2000, 64, 10, 4)
    assert score(*inputs).map == pytest.approx(0.1, abs=0.01)


def test_cut_offs_given():
    inputs = case(3, 150, 8, 3, 2)
    assert list(score(*inputs).precision_at) == [1, 10, 100]
    assert list(score(*inputs, at=42).ndcg_at) == [1, 10, 42, 100]
    assert list(score(*inputs, at=42, cutoffs=(7, 3, 7)).recall_at) == [3, 7, 42]
    assert score(*inputs, at=150).map == score(*inputs).map


def big(n, relevant, inside):
    """A histogram of two tie groups:
    n items of which `relevant` are relevant, `inside` of them in the first half.
    """
    from hashlab.metrics.histogram import Histogram

    counts = np.array(
        [[[n // 2 - inside, n - n // 2 - relevant + inside], [inside, relevant - inside]]]
    )
    return Histogram(counts, np.array([0, 1]), np.array([False, True]))


@pytest.mark.parametrize("n", [2**16 + 3, 2**21 + 1])
def test_large_numbers_do_not_overflow(n):
    """Products of counts pass 2**31 (and 2**42); expectations equal sums over single ranks."""
    ranking = big(n, n // 3, n // 4)
    expected, hits, before = 0.0, 0, 0
    for size, r in zip(ranking.items[0].tolist(), ranking.hits[0].tolist(), strict=True):
        i = np.arange(1, size + 1, dtype=np.float64)
        expected += math.fsum(r / size * (hits + 1 + (i - 1) * (r - 1) / (size - 1)) / (before + i))
        hits, before = hits + r, before + size
    assert formulas.precision_sums(ranking)[0] == pytest.approx(expected, rel=1e-11)
    for order, sign in (("worst", -1), ("best", 1)):
        total, hits, before = 0.0, 0, 0
        for size, r in zip(ranking.items[0].tolist(), ranking.hits[0].tolist(), strict=True):
            j = np.arange(1, r + 1, dtype=np.float64)
            total += math.fsum((hits + j) / (before + (size - r if sign < 0 else 0) + j))
            hits, before = hits + r, before + size
        assert formulas.precision_sums(ranking, None, order)[0] == pytest.approx(total, rel=1e-11)


def test_two_to_the_seventeen_items():
    """More items than 16 bits count, in one tie, through the whole way of a call."""
    n = 2**17
    labels = np.arange(n) % 2
    report = score(np.zeros((2, 3), bool), np.zeros((n, 3), bool), np.array([0, 1]), labels)
    assert report.precision.tolist() == [0.5] * 4 and report.map_best == 1
    assert report.map == pytest.approx(0.5, abs=1e-4)


def test_interpolated_curve_is_the_upper_hull():
    report = score(*case(5, 300, 16, 3, 6))
    recall, precision = report.pr_curve()
    _, upper = report.pr_curve(interpolated=True)
    assert not np.isnan(precision).any() and (np.diff(upper) <= 0).all()
    assert all(upper[i] == max(precision[i:]) for i in range(len(recall)))


def test_per_class():
    inputs = case(40, 200, 10, 4, 7)
    report = score(*inputs)
    classes = report.per_class()
    assert list(classes) == [0, 1, 2, 3]
    for c, value in classes.items():
        assert value == pytest.approx(
            np.mean([a for a, label in zip(report.ap, inputs[2], strict=True) if label == c])
        )


def test_there_is_no_interval_where_map_is_no_plain_mean():
    """This convention keeps some queries in some orders of ties only."""
    rng = np.random.default_rng(0)
    packed = codes.pack(rng.random((1060, 8)) < 0.5)
    labels = rng.integers(10, size=1060)
    parts = packed[:60], packed[60:], labels[:60], labels[60:]
    report = evaluate(*parts, bits=8, at=5, convention="hits_in_topk_drop")
    assert abs(np.nanmean(report.ap) - report.map) > 0.01
    assert np.isnan(report.interval()).all() and report.to_dict()["interval95"] == [None, None]


def test_interval_covers_as_often_as_it_says():
    """Of 400 samples of queries, the 90 % interval holds the mean over all queries in about 360."""
    inputs = case(3000, 100, 6, 5, 9)
    report = score(*inputs)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        rows = rng.choice(3000, 150)
        ap = report.ap[rows]
        low, high = Report.interval(_with(report, ap=ap, map=ap.mean()), 0.9)
        covered += low <= report.map <= high
    assert 340 <= covered <= 380
    low, high = report.interval()
    assert low < report.map < high
    assert all(math.isnan(x) for x in Report.interval(_with(report, ap=report.ap[:1])))
    a, b = np.array([0.2, 0.5])
    low, high = Report.interval(_with(report, ap=np.array([a, b]), map=(a + b) / 2))
    half = 1.959964 * (b - a) / 2  # s = (b - a) / sqrt(2)
    assert (low, high) == pytest.approx(((a + b) / 2 - half, (a + b) / 2 + half))


def _with(report, **changes):
    from dataclasses import replace

    return replace(report, **changes)


def test_report_speaks_json_and_words():
    report = score(*case(5, 150, 12, 3, 1), at=20)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert (
        values["map"] == report.map
        and values["at"] == 20
        and values["convention"] is None
        and "mahp_at" not in values
    )
    assert (
        len(values["precision"]) == 13 and values["precision_at"]["10"] == report.precision_at[10]
    )
    assert [p is None for p in values["precision"]] == np.isnan(report.precision).tolist()
    assert values["interval95"] == list(report.interval()) and values["map_per_class"] == {
        str(c): value for c, value in report.per_class().items()
    }
    assert not {"ap", "ap_worst", "ap_best", "query_labels"} & set(values)
    assert f"mAP@20 {report.map:.4f}" in repr(report) and "5 queries x 150 items" in repr(report)
    assert repr(report).startswith("<Report: mAP@20 ") and len(repr(report)) < 200


@pytest.mark.parametrize("of_levels", [False, True])
@pytest.mark.parametrize("queries", [1, 5])
def test_a_summary_line_by_line(queries, of_levels):
    """Each line holds what the report has, and what it has not makes no line."""
    query, database, *labels = case(queries, 30, 12, 3, 1)
    if of_levels:
        labels = [np.stack([x, x // 2], 1) for x in labels]
    labels[0][0] = 9  # of no item
    how = {"relevance": "levels" if of_levels else "same_class", "at": 7, "cutoffs": [3]}
    report = score(query, database, *labels, **how)
    first, *others = report.summary().splitlines()
    assert repr(report) == f"<Report: {first}>"
    low, high = report.interval()
    values = ["precision_at", "recall_at", "ndcg_at"] + ["hp_at", "mahp_at"] * of_levels
    assert others == [
        *([f"95 % interval over queries  {low:.4f} to {high:.4f}"] if queries > 1 else []),
        f"precision within radius 2  {report.precision_radius2:.4f}",
        *(
            f"{name:12}  " + "  ".join(f"{k}: {getattr(report, name)[k]:.4f}" for k in (3, 7))
            for name in values
        ),
        "1 queries have no relevant item",
    ]


def test_readme_scores_codes_of_ones_own(capsys):
    """The README's example prints what the same codes give as bits."""
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    (example,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "signs = " in block
    ]
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    bits, labels = names["signs"] == 1, names["labels"]
    report = score(bits[:50], bits[50:], labels[:50], labels[50:])
    assert capsys.readouterr().out == f"{report}\n"


def test_nothing_given_is_changed():
    inputs = [codes.pack(x) if x.ndim == 2 else x for x in case(3, 20, 9, 2, 0)]
    kept = [x.copy() for x in inputs]
    for x in inputs:
        x.setflags(write=False)
    evaluate(*inputs, bits=9)
    assert all(np.array_equal(a, b) for a, b in zip(inputs, kept, strict=True))
