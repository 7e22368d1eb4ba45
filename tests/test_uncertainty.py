"""Intervals over seeds and over queries, and verdicts: by plain loops, by SciPy's own tests, and by
how often they are right.
"""

import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from hashlab.errors import InputError
from hashlab.metrics import uncertainty
from hashlab.metrics.uncertainty import ERROR, Interval

FEW = 399  # draws where only their number matters
numbers = st.floats(-1, 1).map(lambda x: round(x, 3))


@given(st.lists(numbers, min_size=3, max_size=8))
def test_over_seeds_is_the_paired_t_test(values):
    interval = uncertainty.over_seeds(values)
    if len(set(values)) == 1:
        assert interval[:3] == pytest.approx((values[0],) * 3, abs=1e-12)
        assert values[0] != 0 or interval.p == 1
        return
    other = stats.ttest_1samp(values, 0)
    low, high = other.confidence_interval(1 - ERROR)
    assert interval == pytest.approx((np.mean(values), low, high, other.pvalue), abs=1e-9)
    assert interval.half == pytest.approx((high - low) / 2)


def test_two_standard_errors_at_three_seeds_are_not_enough():
    steps = np.array([-1.0, 0, 1])
    error = steps.std(ddof=1) / 3**0.5
    for errors, verdict in ((2.5, "open"), (4.2, "open"), (4.4, "above"), (-4.4, "below")):
        interval = uncertainty.over_seeds(steps + errors * error)
        assert uncertainty.verdicts([[interval]]) == [verdict]


def by_plain_loops(differences, draws):
    """Ends of the interval and p, by drawing one query after another."""
    generator = random.Random(1)
    means = []
    for _ in range(draws):
        drawn = [generator.choice(differences) for _ in differences]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    rank = round((draws + 1) * ERROR / 2)
    beyond = min(sum(mean <= 0 for mean in means), sum(mean >= 0 for mean in means))
    return means[rank - 1], means[-rank], min(2 * (beyond + 1) / (draws + 1), 1)


@pytest.mark.parametrize("shift", [-0.05, 0.0, 0.02, 0.2])
def test_over_queries_draws_queries_with_replacement(shift):
    values = np.random.default_rng(0).normal(shift, 0.2, 60)
    interval = uncertainty.over_queries(values)
    assert interval.mean == pytest.approx(values.mean())
    low, high, p = by_plain_loops(list(values), 3_999)
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.006)
    assert interval.p == pytest.approx(p, abs=0.06)


def test_over_queries_agrees_with_scipy():
    values = np.random.default_rng(3).exponential(1, 200) - 0.9
    theirs = stats.bootstrap([values], np.mean, method="percentile", rng=1).confidence_interval
    ours = uncertainty.over_queries(values)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_over_queries_is_the_same_again_and_other_with_another_seed():
    values = np.random.default_rng(0).normal(size=50)
    first = uncertainty.over_queries(values, draws=FEW)
    assert first == uncertainty.over_queries(values.copy(), draws=FEW)
    assert first != uncertainty.over_queries(values, draws=FEW, seed=1)


@given(st.lists(numbers, min_size=2, max_size=30), st.sampled_from([39, 79, FEW]))
def test_p_and_interval_of_queries_say_the_same(values, draws):
    low, high, p = uncertainty.over_queries(values, draws=draws)[1:]
    assert (p <= ERROR) == (low > 0 or high < 0)


@pytest.mark.parametrize("interval_of", [uncertainty.over_seeds, uncertainty.over_queries])
@pytest.mark.parametrize("size", [3, 8, 50])
def test_the_other_way_round_changes_the_sign_only(interval_of, size):
    values = np.random.default_rng(size).normal(0.1, 1, size)
    one = interval_of(values)
    other = interval_of(-values)
    mirrored = (-one.mean, -one.high, -one.low, one.p)
    assert other == pytest.approx(mirrored, abs=1e-12)


def test_queries_are_as_often_in_a_sample_as_chance_has_it():
    counts = uncertainty._counts(7, 1_999, 0)
    assert counts.shape == (1_999, 7) and (counts.sum(1) == 7).all()
    assert counts.mean(0) == pytest.approx(np.ones(7), abs=0.1)
    assert counts.var() == pytest.approx(7 * (1 / 7) * (6 / 7), abs=0.05)


@pytest.mark.parametrize(
    ("interval_of", "size"), [(uncertainty.over_seeds, 3), (uncertainty.over_queries, 500)]
)
def test_intervals_hold_the_truth_as_often_as_they_say(interval_of, size):
    rng = np.random.default_rng(0)
    truth = 0.3
    intervals = [interval_of(rng.normal(truth, 1, size)) for _ in range(400)]
    held = [interval.low <= truth <= interval.high for interval in intervals]
    assert 0.92 < np.mean(held) < 0.98


def holm_by_plain_loops(p_values, error):
    """Which comparisons are rejected: the smallest p against error / m, the next against
    error / (m - 1), … until one is not.
    """
    rejected = set()
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] > error / (len(p_values) - step):
            break
        rejected.add(place)
    return rejected


@given(st.lists(st.floats(0, 0.2), max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
@example([0.04, 0.03], 0.05)  # the second is not rejected once the first is not
def test_holm_steps_down(p_values, error):
    corrected = uncertainty.holm(p_values)
    assert all(one >= p for one, p in zip(corrected, p_values, strict=True))
    margins = [abs(one - error) for one in corrected]
    if min(margins, default=1) > 1e-9:  # rounding decides nothing
        rejected = {place for place, p in enumerate(corrected) if p <= error}
        assert rejected == holm_by_plain_loops(p_values, error)


def test_holm_keeps_false_alarms_to_one_in_twenty_among_all():
    rng = np.random.default_rng(0)
    many = rng.uniform(size=(1_000, 10))
    alarms = [min(uncertainty.holm(p)) <= ERROR for p in many]
    assert 0.03 < np.mean(alarms) < 0.07
    assert np.mean(many.min(1) <= ERROR) > 0.35  # as it would be without


UP = Interval(0.1, 0.05, 0.15, 0.01)
DOWN = Interval(-0.1, -0.15, -0.05, 0.01)
BOTH_SIGNS = Interval(0.1, -0.05, 0.25, 0.2)


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([UP, UP], "above"),
        ([DOWN, DOWN], "below"),
        ([UP], "above"),
        ([UP, BOTH_SIGNS], "open"),
        ([BOTH_SIGNS, DOWN], "open"),
        ([UP, DOWN], "open"),
    ],
)
def test_a_verdict_needs_all_intervals_on_one_side(intervals, verdict):
    assert uncertainty.verdicts([intervals]) == [verdict]


def test_a_verdict_among_many_is_stricter():
    alone, weak = UP._replace(p=0.04), BOTH_SIGNS
    assert uncertainty.verdicts([[alone]]) == ["above"]
    assert uncertainty.verdicts([[alone], [weak]]) == ["open", "open"]
    assert uncertainty.verdicts([[UP], [weak], [DOWN]]) == ["above", "open", "below"]
    assert uncertainty.verdicts([]) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: uncertainty.over_seeds([0.1, 0.2]), "at least three seeds"),
        (lambda: uncertainty.over_seeds([0.1, 0.2, float("nan")]), "at least three seeds"),
        (lambda: uncertainty.over_seeds([[0.1, 0.2, 0.3]]), "at least three seeds"),
        (lambda: uncertainty.over_queries([0.1]), "at least two queries"),
        (lambda: uncertainty.over_queries([0.1, float("inf")]), "at least two queries"),
        (lambda: uncertainty.over_queries([0.1, 0.2], draws=100), "draws must be"),
        (lambda: uncertainty.over_queries([0.1, 0.2], draws=0), "draws must be"),
        (lambda: uncertainty.holm([0.1, float("nan")]), "a p value"),
    ],
)
def test_what_cannot_be_compared_is_said(call, message):
    with pytest.raises(InputError, match=message):
        call()


# ---- ranks


def ranks_by_plain_loops(scores, draws):
    """How often each method has each rank, (M, M), by drawing one query and seed after another."""
    methods, seeds, queries = scores.shape
    generator = random.Random(1)
    counts = np.zeros((methods, methods))
    for _ in range(draws):
        asked = [generator.randrange(queries) for _ in range(queries)]
        means = []
        for of_method in scores:
            drawn = [generator.randrange(seeds) for _ in range(seeds)]
            means.append(sum(of_method[s][q] for s in drawn for q in asked))
        for method, mean in enumerate(means):
            counts[method, sum(other > mean for other in means)] += 1
    return counts / draws


def test_ranks_draw_queries_for_all_and_seeds_for_each():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, (1, 1, 40))  # queries that are hard for all do not count
    of_seeds = rng.normal(0, 0.1, (4, 3, 1))
    scores = hard + of_seeds + rng.normal([[[0.0]], [[0.05]], [[0.1]], [[0.4]]], 0.3, (4, 3, 40))
    drawn = uncertainty.ranks(scores)
    ours = [[(drawn[:, method] == rank).mean() for rank in range(1, 5)] for method in range(4)]
    assert drawn.shape == (uncertainty.RANK_DRAWS, 4)
    assert np.abs(ours - ranks_by_plain_loops(scores, 1_500)).max() < 0.06


def test_ranks_of_equals_and_of_one_far_above():
    scores = np.full((3, 3, 5), 0.5)
    scores[2] = 0.9
    assert np.unique(uncertainty.ranks(scores, draws=FEW), axis=0).tolist() == [[2, 2, 1]]


@pytest.mark.parametrize("shape, value", [((3, 3), 0.5), ((2, 3, 0), 0.5), ((2, 3, 4), np.nan)])
def test_ranks_of_what_is_no_score(shape, value):
    with pytest.raises(InputError, match="methods, seeds and queries"):
        uncertainty.ranks(np.full(shape, value))


@pytest.mark.parametrize("queries", [2, 3, 4, 5, 6, 7, 8, 9, 101])
@pytest.mark.parametrize("draws", [39, 519])  # within a block, and beyond it
def test_the_bootstrap_is_that_of_plain_loops(queries, draws):
    values = np.random.default_rng(queries).normal(size=queries)
    rng, means = np.random.default_rng(7), []
    while len(means) < draws:
        drawn = rng.integers(queries, size=(min(uncertainty.BLOCK, draws - len(means)), queries))
        means += [sum(values[i] for i in row) / queries for row in drawn]
    means.sort()
    interval = uncertainty.over_queries(values, draws=draws, seed=7)
    ends = means[(draws + 1) // 40 - 1], means[-((draws + 1) // 40)]
    np.testing.assert_allclose((interval.low, interval.high), ends, rtol=0, atol=1e-12)
