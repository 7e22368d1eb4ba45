"""Several labels and levels: graded gains, against every tie order in plain loops."""

import numpy as np
import plain_metrics as plain
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes
from hashlab.metrics import evaluate, labels

small = {
    "k": st.integers(1, 3),
    "n": st.integers(1, 5),
    "width": st.integers(1, 3),
    "seed": st.integers(0, 10**6),
}


def case(q, n, k, width, values, seed):
    rng = np.random.default_rng(seed)
    return (
        rng.random((q, k)) < 0.5,
        rng.random((n, k)) < 0.5,
        rng.integers(0, values, (q, width)),
        rng.integers(0, values, (n, width)),
    )


def score(query, database, *given, **options):
    return evaluate(codes.pack(query), codes.pack(database), *given, bits=query.shape[1], **options)


def expected(name, many, k):
    """Mean over queries of the mean over tie orders."""
    return pytest.approx(
        np.mean([np.mean([getattr(plain, name)(r, k) for r in rankings]) for rankings in many])
    )


def shared_labels(a, b):
    return sum(x == 1 and y == 1 for x, y in zip(a, b, strict=True))


def levels_in_common(a, b):
    return sum(x == y for x, y in zip(a, b, strict=True))


def every_ranking(inputs, gain):
    query, database, query_labels, database_labels = inputs
    distances = (query[:, None] != database).sum(2).tolist()
    gains = [[gain(a, b) for b in database_labels] for a in query_labels]
    return [plain.rankings(d, g) for d, g in zip(distances, gains, strict=True)]


@given(**small | {"width": st.integers(2, 3)})  # one column is one class, see test_labels
def test_several_labels(k, n, width, seed):
    inputs = case(2, n, k, width, 2, seed)
    many = every_ranking(inputs, shared_labels)
    for at in (None, *range(1, n + 1)):
        report = score(*inputs, relevance="shares_label", at=at, cutoffs=range(1, n + 1))
        assert report.map == expected("ap", many, at or n)
        assert report.weighted_map == expected("weighted_ap", many, at or n)
    for cut in range(1, n + 1):
        for name in ("precision_at", "ndcg", "acg"):
            assert getattr(report, name.removesuffix("_at") + "_at")[cut] == expected(
                name, many, cut
            )
    assert report.hp_at is None and report.mahp_at is None
    assert f"weighted_map  {report.weighted_map:.4f}" in report.summary()


@given(**small)
def test_levels(k, n, width, seed):
    """Gains count agreeing levels, whether or not they form a tree; AP asks for the fine one."""
    inputs = case(2, n, k, width, 2, seed)
    many = every_ranking(inputs, levels_in_common)
    fine = every_ranking(inputs, lambda a, b: int(a[0] == b[0]))
    for at in (None, *range(1, n + 1)):
        report = score(*inputs, relevance="levels", at=at, cutoffs=range(1, n + 1))
        assert report.map == expected("ap", fine, at or n)
        for order, choose in (("worst", min), ("best", max)):
            aps = [choose(plain.ap(r, at or n) for r in rankings) for rankings in fine]
            assert getattr(report, f"map_{order}") == pytest.approx(np.mean(aps))
    for cut in range(1, n + 1):
        assert report.ndcg_at[cut] == expected("ndcg", many, cut)
        assert report.hp_at[cut] == expected("hierarchical_precision", many, cut)
        assert report.mahp_at[cut] == expected("mahp", many, cut)
        assert report.precision_at[cut] == expected("precision_at", fine, cut)
    assert report.acg_at is None and report.weighted_map is None


def test_one_level_and_one_hot_labels_are_one_class():
    inputs = case(10, 200, 8, 1, 4, 0)
    one = score(inputs[0], inputs[1], inputs[2][:, 0], inputs[3][:, 0], at=50)
    level = score(*inputs, relevance="levels", at=50)
    hot = [np.eye(4, dtype=int)[x[:, 0]] for x in inputs[2:]]
    label = score(inputs[0], inputs[1], *hot, relevance="shares_label", at=50)
    for other in (level, label):
        assert np.array_equal(one.ap, other.ap) and np.array_equal(one.recall, other.recall)
        assert one.ndcg_at == other.ndcg_at and one.precision_at == other.precision_at
    assert label.weighted_map == pytest.approx(label.map)
    assert label.acg_at == pytest.approx(label.precision_at)
    assert label.per_class() == one.per_class() == level.per_class()


def test_perfect_order_scores_one():
    """Fine matches first, then coarse ones: every ideal is met. Reversed, none is."""
    levels = np.array([[0, 0]] * 3 + [[1, 0]] * 4 + [[2, 1]] * 5)
    distance = np.repeat([0, 1, 2], [3, 4, 5])
    database = np.arange(2) < distance[:, None]
    query = np.zeros((1, 2), bool)
    report = score(query, database, levels[:1], levels, relevance="levels", cutoffs=(1, 5, 12))
    assert report.map == pytest.approx(1)
    for name in ("ndcg_at", "hp_at", "mahp_at"):
        assert getattr(report, name) == pytest.approx({1: 1, 5: 1, 12: 1})
    report = score(~query, database, levels[:1], levels, relevance="levels", cutoffs=(1, 12))
    assert report.hp_at == pytest.approx({1: 0, 12: 1}) and report.mahp_at[12] < 0.6


def test_rows_without_a_label():
    """A query without labels has nothing relevant;
    a database item without labels is relevant to none.
    """
    inputs = list(case(3, 30, 6, 4, 2, 1))
    inputs[2][0] = 0
    whole = score(*inputs, relevance="shares_label")
    assert whole.queries_without_relevant == 1 and whole.ap[0] == 0 and whole.ap[1:].min() > 0
    inputs[3][:] = 0
    assert score(*inputs, relevance="shares_label").queries_without_relevant == 3


def test_more_labels_than_a_word_holds():
    inputs = case(4, 50, 6, 130, 2, 2)
    report = score(*inputs, relevance="shares_label", cutoffs=(50,))
    gains = inputs[2] @ inputs[3].T
    assert report.acg_at[50] == pytest.approx(gains.mean()) and gains.max() > 30


def test_labels_of_any_integer_type_and_as_tensors():
    import torch

    inputs = case(3, 40, 6, 2, 3, 3)
    report = score(*inputs, relevance="levels")
    for kind in (np.uint8, np.int16, np.uint64):
        other = score(*inputs[:2], *(x.astype(kind) for x in inputs[2:]), relevance="levels")
        assert np.array_equal(other.ap, report.ap)
    assert np.array_equal(
        score(*inputs[:2], *map(torch.from_numpy, inputs[2:]), relevance="levels").ap, report.ap
    )
    huge = [x + 2**40 for x in inputs[2:]]  # class numbers are names, not sizes
    assert np.array_equal(score(*inputs[:2], *huge, relevance="levels").ap, report.ap)


def test_groups_tell_gain_and_relevance():
    tree = labels.check(
        "levels", np.array([[1, 1]]), np.array([[1, 1], [0, 1], [0, 0], [1, 0]]), 1, 4
    )
    group = tree.group(slice(0, 1))[0]
    assert tree.gain[group].tolist() == [2, 1, 0, 1] and tree.relevant[group].tolist() == [
        True,
        False,
        False,
        True,
    ]
    several = labels.check(
        "shares_label", np.array([[1, 1, 0]]), np.array([[1, 1, 1], [0, 0, 1], [0, 1, 1]]), 1, 3
    )
    group = several.group(slice(0, 1))[0]
    assert several.gain[group].tolist() == [2, 0, 1] and several.relevant[group].tolist() == [
        True,
        False,
        True,
    ]
    assert several.groups == 3


@given(st.integers(2, 200), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_there_are_as_many_gains_as_two_images_can_have_labels_in_common(
    width, queries, items, seed
):
    rng = np.random.default_rng(seed)
    query, database = (rng.random((n, width)) < rng.random() for n in (queries, items))
    rule = labels.check("shares_label", query, database, queries, items)
    assert rule.groups == 1 + min(query.sum(1).max(), database.sum(1).max())
