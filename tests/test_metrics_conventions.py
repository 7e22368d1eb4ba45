"""Published conventions: each against its definition in plain loops,
averaged over every tie order of all queries.
"""

import itertools
import math

import numpy as np
import plain_metrics as plain
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from test_metrics import case, parts, score

from hashlab import codes
from hashlab.metrics import CONVENTIONS, conventions, evaluate, evaluate_distances, published

# 24 orders per query at most, 13,824 together
small = {
    "k": st.integers(1, 3),
    "n": st.integers(1, 4),
    "classes": st.integers(1, 3),
    "seed": st.integers(0, 10**6),
}


def every_outcome(inputs):
    """The rankings of all queries, for every combination of tie orders."""
    return itertools.product(*(plain.rankings(d, g) for d, g in zip(*parts(*inputs), strict=True)))


@pytest.mark.parametrize("name", plain.BY_RANK)
@given(**small)
def test_definitions_by_rank(name, k, n, classes, seed):
    inputs = case(2, n, k, classes, seed)
    for at in (None, *range(1, n + 1)) if CONVENTIONS[name].cut else (None,):
        report = score(*inputs, at=at, convention=name)
        outcomes = [plain.BY_RANK[name](many, at or n) for many in every_outcome(inputs)]
        assert report.map == pytest.approx(np.mean(outcomes), abs=1e-12, nan_ok=True)
        assert report.map_worst == pytest.approx(min(outcomes), abs=1e-12, nan_ok=True)
        assert report.map_best == pytest.approx(max(outcomes), abs=1e-12, nan_ok=True)


def test_dropped_queries_of_three():
    """Three queries, each with a tie across the cut-off: how many are dropped is random."""
    database = np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 1]], bool)
    inputs = np.zeros((3, 3), bool), database, np.array([0, 1, 2]), np.array([0, 1, 1, 2])
    outcomes = [plain.map_hits_in_topk_drop(many, 2) for many in every_outcome(inputs)]
    report = score(*inputs, at=2, convention="hits_in_topk_drop")
    assert (report.map, report.map_worst, report.map_best) == pytest.approx(
        (np.mean(outcomes), min(outcomes), max(outcomes))
    )
    assert (
        len(set(outcomes)) > 2
        and math.isnan(report.ap[2])
        and report.per_class()[2] != report.per_class()[2]
    )


@pytest.mark.parametrize("n, r, k", [(500, 309, 50), (1000, 692, 50), (500, 198, 200)])
def test_a_query_that_cannot_miss_is_not_lost(n, r, k):
    """The probability of a hit is a sum of many rounded terms,
    and must not come out above 1 and count for nothing.
    """
    database = np.zeros((n, 1), bool)
    inputs = database[:1], database, np.array([0]), (np.arange(n) >= r).astype(int)
    kept, dropped = (score(*inputs, at=k, convention=f"hits_in_topk{end}") for end in ("", "_drop"))
    assert dropped.map == pytest.approx(kept.map, rel=1e-9) and kept.map > 0.3


@given(**small)
def test_definitions_by_distance(k, n, classes, seed):
    inputs = case(3, n, k, classes, seed)
    distances, gains = parts(*inputs)
    for name, value in (
        (
            "step_integral",
            np.mean([plain.step_integral(d, g) for d, g in zip(distances, gains, strict=True)]),
        ),
        ("trapezoid_radius", plain.trapezoid(distances, gains)),
    ):
        report = score(*inputs, convention=name)
        assert report.map == report.map_worst == report.map_best == pytest.approx(value, abs=1e-12)


def test_step_integral_is_scikit_learn():
    inputs = case(20, 300, 6, 3, 0)
    report = score(*inputs, convention="step_integral")
    for i, (distances, gains) in enumerate(zip(*parts(*inputs), strict=True)):
        assert report.ap[i] == pytest.approx(
            average_precision_score(gains, -np.array(distances)), abs=1e-12
        )


@given(**small)
def test_hpdh_ndcg(k, n, classes, seed):
    rng = np.random.default_rng(seed)
    inputs = (
        *case(2, n, k, classes, seed)[:2],
        rng.integers(0, 2, (2, 2)),
        rng.integers(0, 2, (n, 2)),
    )
    report = evaluate(
        *map(codes.pack, inputs[:2]),
        *inputs[2:],
        bits=k,
        relevance="levels",
        convention="hpdh",
        cutoffs=range(1, n + 1),
    )
    distances = (inputs[0][:, None] != inputs[1]).sum(2).tolist()
    gains = [[int((a == b).sum()) for b in inputs[3]] for a in inputs[2]]
    many = [plain.rankings(d, g) for d, g in zip(distances, gains, strict=True)]
    for cut in range(1, n + 1):
        mean = np.mean([np.mean([plain.hpdh_ndcg(r, cut) for r in rankings]) for rankings in many])
        assert report.ndcg_at[cut] == pytest.approx(mean)


@given(**small, at=st.none() | st.just(1))
def test_asymmetric_distance(k, n, classes, seed, at):
    """Ranked by the L1 distance of sigmoid(u) to the bits, summed in plain loops;
    equal codes tie.
    """
    _, database, query_labels, database_labels = case(2, n, k, classes, seed)
    outputs = np.random.default_rng(seed).normal(size=(2, k))
    outcomes = []
    for u, label in zip(outputs, query_labels, strict=True):
        p = [1 / (1 + math.exp(-x)) for x in u]
        distances = [
            round(sum(abs(a - b) for a, b in zip(p, bits, strict=True)), 12)
            for bits in database.astype(int)
        ]
        outcomes.append(plain.rankings(distances, (database_labels == label).astype(int).tolist()))
    report = evaluate(
        outputs,
        codes.pack(database),
        query_labels,
        database_labels,
        bits=k,
        at=at,
        convention="asymmetric",
    )
    means = [plain.map_hits_in_topk(many, at or n) for many in itertools.product(*outcomes)]
    assert (report.map, report.map_worst, report.map_best) == pytest.approx(
        (np.mean(means), min(means), max(means)), abs=1e-12
    )
    assert report.precision is None


def test_asymmetric_distance_of_long_codes():
    """Against the L1 distances themselves,
    with outputs so large that a linear score would rank otherwise.
    """
    _, database, *labels = case(9, 200, 21, 3, 4)
    outputs = np.random.default_rng(4).normal(size=(9, 21)) * 3
    report = evaluate(outputs, codes.pack(database), *labels, bits=21, convention="asymmetric")
    far = np.abs(1 / (1 + np.exp(-outputs))[:, None] - database).sum(2)
    np.testing.assert_allclose(report.ap, evaluate_distances(far, *labels).ap, rtol=1e-12)
    linear = evaluate_distances(-outputs @ (2.0 * database - 1).T, *labels)
    assert np.abs(report.ap - linear.ap).max() > 0.01


def test_asymmetric_distance_of_signs_is_hamming_distance():
    """All bits equally sure: sums of equal weights must tie exactly,
    whatever the order of adding.
    """
    query, database, *labels = case(20, 400, 70, 4, 1)
    outputs = np.where(query, 0.7, -0.7)
    sure = evaluate(outputs, codes.pack(database), *labels, bits=70, at=60, convention="asymmetric")
    plainly = score(query, database, *labels, at=60, convention="hits_in_topk")
    np.testing.assert_allclose(sure.ap, plainly.ap, rtol=1e-12)
    np.testing.assert_allclose(sure.ap_worst, plainly.ap_worst, rtol=1e-12)


def test_the_same_ranking_scores_otherwise():
    """A tenth is relevant and half of the first 20 are: three denominators, three numbers."""
    rng = np.random.default_rng(0)
    distances = np.arange(1000)[None]
    labels = (rng.random(1000) < 0.1).astype(int)
    labels[:20:2], labels[1:20:2] = 1, 0
    scores = {
        name: evaluate_distances(distances, np.array([1]), labels, at=20, convention=name).map
        for name in conventions()[:5:2]
    }
    hits, best, relevant = 10, 20, labels.sum()
    sums = scores["hits_in_topk"] * hits
    assert scores == pytest.approx(
        {"min_k_r": sums / best, "all_relevant_drop": sums / relevant, "hits_in_topk": sums / hits}
    )


def test_whole_rankings_agree_under_every_denominator():
    inputs = case(10, 200, 16, 3, 2)
    ours = score(*inputs)
    for name in (
        "min_k_r",
        "all_relevant",
        "all_relevant_drop",
        "hits_in_topk",
        "hits_in_topk_drop",
        "hpdh",
    ):
        report = score(*inputs, convention=name)
        np.testing.assert_allclose(report.ap, ours.ap, rtol=1e-13)
        assert report.convention == name and name in report.summary()


def test_hits_are_hypergeometric():
    for n, r, m in ((5, 2, 3), (7, 7, 3), (7, 0, 3), (60, 25, 31)):
        x, p = published.hypergeometric(n, r, m)
        exact = [math.comb(r, i) * math.comb(n - r, m - i) / math.comb(n, m) for i in x]
        assert x.tolist() == [i for i in range(m + 1) if i <= r and m - i <= n - r]
        np.testing.assert_allclose(p, exact, rtol=1e-12)
    x, p = published.hypergeometric(10**6, 10**5, 10**4)
    assert p.sum() == pytest.approx(1) and p @ x == pytest.approx(1000, rel=1e-9)


def test_every_convention_says_what_it_is():
    assert conventions() == tuple(CONVENTIONS) and len(conventions()) == 10
    for name, convention in CONVENTIONS.items():
        assert convention.name == name and len(convention.definition) > 20 and convention.users
    inputs = case(5, 40, 8, 3, 3)
    assert all(
        0 < score(*inputs, convention=name).map < 1
        for name in conventions()
        if name != "asymmetric"
    )
