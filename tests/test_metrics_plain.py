"""The plain evaluation that `verify` asks:
by the definitions, in every order of ties, and against the engines.
"""

import numpy as np
import plain_metrics
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes, metrics
from hashlab.metrics import plain


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7), st.integers(1, 9)
)
def test_average_precision_is_the_mean_over_every_order_of_ties(items, at):
    distance, good = np.array([d for d, _ in items]), np.array([g for _, g in items])
    for k in (min(at, len(items)), None):
        every = [
            plain_metrics.ap(r, k or len(items))
            for r in plain_metrics.rankings(distance, good.astype(int))
        ]
        assert plain.average_precision(distance, good, k) == pytest.approx(
            np.mean(every), abs=1e-12
        )


def packed(bits, tables):
    return np.concatenate(
        [codes.pack(part) for part in np.split(bits, np.cumsum(tables)[:-1], axis=1)], axis=1
    )


WAYS = [
    ((12,), None, None),
    ((5, 70), "sum", None),
    ((5, 70, 9), "union", None),
    ((5, 7), "weighted", (3, 15)),
    ((5, 7), "weighted", tuple(range(4, 16))),
]


@pytest.mark.parametrize("tables, combine, weights", WAYS)
def test_distances_rank_as_counted_bit_by_bit(tables, combine, weights):
    rng = np.random.default_rng(0)
    query, database = rng.random((1, sum(tables))) < 0.5, rng.random((40, sum(tables))) < 0.5
    far = plain.distances(
        packed(query, tables)[0], packed(database, tables), tables, combine, weights
    )
    table_of = np.repeat(np.arange(len(tables)), tables)
    wanted = []
    for row in database:
        differing = [j for j in range(sum(tables)) if row[j] != query[0, j]]
        counts = [sum(table_of[j] == t for j in differing) for t in range(len(tables))]
        if combine == "union":
            wanted.append((min(counts), sum(counts)))
        elif combine == "weighted":
            each = weights if len(weights) == sum(tables) else [weights[t] for t in table_of]
            wanted.append((sum(each[j] for j in differing),) * 2)
        else:
            wanted.append((sum(counts),) * 2)
    order = np.argsort(far, kind="stable")
    assert order.tolist() == sorted(range(40), key=lambda i: wanted[i][0] * 1000 + wanted[i][1])
    assert [far[i] == far[j] for i in range(40) for j in range(40)] == [
        a == b for a in wanted for b in wanted
    ]
    assert plain.radius(far, tables, combine).tolist() == [first for first, _ in wanted]


@pytest.mark.parametrize("relevance", ["same_class", "shares_label", "levels"])
@pytest.mark.parametrize("tables, combine, weights", WAYS)
def test_the_engines_say_the_same(relevance, tables, combine, weights):
    rng = np.random.default_rng(1)
    bits = rng.random((20, sum(tables))) < 0.5, rng.random((90, sum(tables))) < 0.5
    query, database = (packed(part, tables) for part in bits)
    shape = {"same_class": (), "shares_label": (3,), "levels": (2,)}[relevance]
    high = 2 if relevance == "shares_label" else 4
    asked, labels = (rng.integers(0, high, (count, *shape)) for count in (20, 90))
    how = {"tables": tables, "combine": combine, "weights": weights} if combine else {}
    for at in (None, 7):
        report = metrics.evaluate(
            query, database, asked, labels, bits=sum(tables), relevance=relevance, at=at, **how
        )
        counts = np.zeros((2, len(report.recall)), np.int64)
        for q in range(20):
            far = plain.distances(query[q], database, tables, combine, weights)
            good = plain.relevant(relevance, asked[q], labels)
            assert plain.average_precision(far, good, at) == pytest.approx(report.ap[q], abs=1e-12)
            counts += plain.at_radius(plain.radius(far, tables, combine), good, counts.shape[1])
        items, hits = counts.cumsum(1)
        np.testing.assert_array_equal(report.recall, hits / hits[-1])
        np.testing.assert_array_equal(
            report.precision[items > 0], (hits / np.maximum(items, 1))[items > 0]
        )


@pytest.mark.parametrize("tables, radius", [((3,), 3), ((3, 5), 3), ((64, 1), 1)])
def test_the_farthest_item_of_a_union_lies_at_the_length_of_its_shortest_table(tables, radius):
    query, item = (
        np.hstack([codes.pack(np.full((1, k), bit)) for k in tables]) for bit in (False, True)
    )
    far = plain.distances(query[0], item, tables, "union")
    assert plain.radius(far, tables, "union").tolist() == [radius]
