"""Many random cases of every kind: what may not matter changes nothing,
and textbook loops find the same numbers.

A case draws codes of one to four tables, labels of one of three kinds (1 to 200 columns, class ids
up to 2**63 - 1), a convention and cut-offs. There are 500, and with HASHLAB_CAMPAIGN=1 10,000.
"""

import itertools
import math
import os
from dataclasses import dataclass, field, fields, replace

import numpy as np
import plain_metrics as plain
import pytest
import torch

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import CONVENTIONS, _numba, _torch, evaluate, evaluate_distances, rankings

TIMES = 20 if os.environ.get("HASHLAB_CAMPAIGN") == "1" else 1
PER_QUERY = ("ap", "ap_worst", "ap_best")


def cases(number):
    """Run a test for so many seeds, 25 at a time."""
    seeds = [range(i, i + 25) for i in range(0, number * TIMES, 25)]
    return pytest.mark.parametrize("seeds", seeds, ids=str)


@dataclass(frozen=True)
class Case:
    """One call of `evaluate`: bits per table, (Q, K_t) and (N, K_t), labels,
    and everything else as keywords.
    """

    query: list
    database: list
    query_labels: np.ndarray
    database_labels: np.ndarray
    options: dict = field(default_factory=dict)

    def evaluate(self, engine=np.asarray):
        packed = [
            np.hstack([codes.pack(bits) for bits in side]) for side in (self.query, self.database)
        ]
        return evaluate(
            *map(engine, packed), self.query_labels, self.database_labels, **self.options
        )

    def permuted(self, queries, items):
        return replace(
            self,
            query=[bits[queries] for bits in self.query],
            database=[bits[items] for bits in self.database],
            query_labels=self.query_labels[queries],
            database_labels=self.database_labels[items],
        )

    def renamed(self, rng):
        """Every class under another name, any int64 that is not negative;
        several labels in other columns.
        """
        query, database = self.query_labels, self.database_labels
        if self.options["relevance"] == "shares_label":
            order = rng.permutation(query.shape[1])
            return replace(self, query_labels=query[:, order], database_labels=database[:, order])
        rows = np.concatenate([query, database])
        columns = [renaming(column, rng) for column in rows.reshape(len(rows), -1).T]
        rows = np.stack(columns, 1).reshape(rows.shape)
        return replace(self, query_labels=rows[: len(query)], database_labels=rows[len(query) :])

    def distances(self):
        """What each pair is ranked by, (Q, N):
        a number, or for a union the smallest distance and the sum in one.
        """
        tables = [(q[:, None] != d).sum(2) for q, d in zip(self.query, self.database, strict=True)]
        if self.options.get("combine") == "union":
            return np.min(tables, 0) * 10_000 + np.sum(tables, 0)
        differ = np.concatenate(
            [q[:, None] != d for q, d in zip(self.query, self.database, strict=True)], 2
        )
        weights = np.array(self.options.get("weights") or [1])
        widths = [q.shape[1] for q in self.query]
        return (
            differ * (np.repeat(weights, widths) if len(weights) == len(widths) else weights)
        ).sum(2)

    def radii(self):
        """The radius at which a lookup finds each pair, (Q, N)."""
        union = self.options.get("combine") == "union"
        return self.distances() // 10_000 if union else self.distances()

    def pairs(self):
        """Gain and relevance of each pair, (Q, N) integers and bools,
        from the labels as they are given.
        """
        query, database = (x.astype(np.int64) for x in (self.query_labels, self.database_labels))
        if self.options["relevance"] == "same_class":
            equal = query[:, None] == database
            return equal.astype(int), equal
        if self.options["relevance"] == "shares_label":
            shared = (query[:, None] * database).sum(2)
            return shared, shared > 0
        equal = query[:, None] == database  # (Q, N, L)
        return equal.sum(2), equal[:, :, 0]


def renaming(column, rng):
    """The same classes called otherwise: moved up, spread out, or anything at all."""
    old, ranks = np.unique(column, return_inverse=True)
    largest = 2**63 - 1
    choices = (
        lambda: np.arange(len(old)) + int(rng.choice([0, 255, 65_535, 70_000, 2**32, 2**53])),
        lambda: largest - np.arange(len(old)) * int(10 ** rng.uniform(0, 12)),
        lambda: rng.permutation(np.unique(rng.integers(0, largest, 4 * len(old) + 10)))[: len(old)],
        lambda: np.arange(len(old)) << 16,
    )
    return rng.permutation(choices[rng.integers(len(choices))]())[ranks]


def draw(seed, small=False):
    """A case; a small one has few enough orders of ties to try them all."""
    rng = np.random.default_rng(seed)
    queries = 2 if small else int(rng.integers(1, 12))
    items = int(rng.integers(1, 5 if small else int(rng.choice([8, 70, 400]))))
    options = tables(rng, 3 if small else int(rng.choice([4, 20, 70, 130])))
    widths = options.get("tables", (options["bits"],))
    repeated = rng.integers(
        0, max(1, items // int(rng.choice([1, 8]))), items
    )  # codes of trained networks repeat
    query, database = ([rng.random((n, k)) < 0.5 for k in widths] for n in (queries, items))
    database = [bits[repeated] for bits in database]
    options["relevance"], *labels = labels_of(rng, queries, items)
    names = [n for n, c in CONVENTIONS.items() if n != "asymmetric"]
    options["convention"] = [None, *names][rng.integers(len(names) + 1)]
    if CONVENTIONS[options["convention"] or "min_k_r"].cut and rng.random() < 0.6:
        options["at"] = int(rng.integers(1, items + 1))
    return Case(query, database, *labels, options)


def tables(rng, longest):
    """Bits, and for several tables how they are combined."""
    widths = tuple(int(k) for k in rng.integers(1, longest + 1, rng.choice([1, 1, 2, 3, 4])))
    if len(widths) == 1 and rng.random() < 0.8:
        return {"bits": widths[0]}
    options = {
        "bits": sum(widths),
        "tables": widths,
        "combine": str(rng.choice(["sum", "union", "weighted"])),
    }
    if options["combine"] == "weighted":
        weights = rng.integers(0, 16, len(widths) if rng.random() < 0.5 else sum(widths))
        weights[rng.integers(len(weights))] = 15
        options["weights"] = weights.tolist()
    return options


def labels_of(rng, queries, items):
    """A rule of relevance, and labels of both sides."""
    kind = ("same_class", "shares_label", "levels")[rng.integers(3)]
    columns = int(rng.choice([1, 2, 3, 16, 17, 21, 65, 81, 200]))
    if kind == "shares_label":
        columns = max(columns, 2)  # a single one is a class
        share = min(0.6, float(rng.choice([0.5, 1, 3])) / columns)
        return kind, *((rng.random((n, columns)) < share).astype(int) for n in (queries, items))
    classes = int(10 ** rng.uniform(0, 6))
    pool = rng.integers(
        0, classes, int(rng.choice([1, 2, 5, 100]))
    )  # those that occur, so that some agree
    shape = () if kind == "same_class" else (min(columns, 4),)
    return kind, *(pool[rng.integers(0, len(pool), (n, *shape))] for n in (queries, items))


def same(one, other, seed, queries=slice(None)):
    """Equal AP of every query, to the last bit;
    everything else equal but for the order of adding.
    """
    for name in PER_QUERY:
        assert np.array_equal(getattr(one, name)[queries], getattr(other, name), equal_nan=True), (
            seed,
            name,
        )
    plainly = [{k: v for k, v in r.to_dict().items() if k != "map_per_class"} for r in (one, other)]
    assert plainly[0].keys() == plainly[1].keys(), seed
    for name, value in plainly[0].items():
        close(value, plainly[1][name], (seed, name))


def close(a, b, what):
    if isinstance(a, dict):
        assert a.keys() == b.keys(), what
        a, b = list(a.values()), list(b.values())
    if isinstance(a, list):
        arrays = [np.array([math.nan if x is None else x for x in v], float) for v in (a, b)]
        np.testing.assert_allclose(*arrays, rtol=1e-12, atol=1e-12, err_msg=str(what))
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-12, abs=1e-12), what
    else:
        assert a == b, what


@cases(250)
def test_what_may_not_matter_changes_nothing(seeds, monkeypatch):
    """Names of classes, order of database and queries, blocks, threads, engine."""
    before = torch.get_num_threads()
    for seed in seeds:
        case, rng = draw(seed), np.random.default_rng(seed)
        queries, items = (rng.permutation(len(side[0])) for side in (case.query, case.database))
        usual = case.evaluate()
        with monkeypatch.context() as patch:
            other_blocks(patch, rng)
            torch.set_num_threads(int(rng.integers(1, 4)))
            engine = (np.asarray, torch.from_numpy)[rng.integers(2)]
            same(usual, case.renamed(rng).permuted(queries, items).evaluate(engine), seed, queries)
            torch.set_num_threads(before)


def other_blocks(patch, rng):
    """Blocks of queries and of the database,
    and how equal items and equal labels are put together.
    """
    patch.setattr(rankings, "QUERIES", int(rng.integers(1, 9)))
    patch.setattr(rankings, "REPEATED", float(rng.choice([0, 0.75, 2])))
    patch.setattr(_numba, "BLOCK", int(rng.choice([1, 7, 64, 1024])))
    patch.setattr(_numba, "RUN", int(rng.choice([0, 1, 8, 256])))
    patch.setitem(_torch.PAIRS, "cpu", int(rng.choice([30, 1000, 1 << 20])))
    patch.setitem(_torch.LANES, "cpu", int(rng.choice([1, 32])))


@cases(100)
def test_loops_over_ranks_find_the_same(seeds):
    """Long rankings, position by position: AP, precision, recall and gains;
    and everything that a radius holds.
    """
    for seed in seeds:
        case = draw(seed)
        report = replace(case, options=case.options | {"convention": None}).evaluate()
        distances, (gains, relevant) = case.distances().tolist(), case.pairs()
        items = relevant.shape[1]
        at = report.at or items
        pairs = list(zip(distances, relevant.tolist(), strict=True))
        np.testing.assert_allclose(
            report.ap, [plain.expected_ap(d, r, at) for d, r in pairs], rtol=1e-11, atol=1e-13
        )
        hits = np.array([plain.expected_gains(d, r) for d, r in pairs]).cumsum(1)  # (Q, N)
        means = np.array(
            [plain.expected_gains(d, g) for d, g in zip(distances, gains.tolist(), strict=True)]
        )
        for k in report.precision_at:
            assert report.precision_at[k] == pytest.approx(hits[:, k - 1].mean() / k), seed
            recalls = hits[:, k - 1] / np.maximum(relevant.sum(1), 1)
            assert report.recall_at[k] == pytest.approx(recalls.mean()), seed
            best = dcg(-np.sort(-gains, axis=1), k)
            ndcg = np.divide(dcg(means, k), best, out=np.zeros(len(means)), where=best > 0)
            assert report.ndcg_at[k] == pytest.approx(ndcg.mean()), seed
        radii = case.radii()
        for r in range(0, len(report.precision), max(1, len(report.precision) // 7)):
            inside, good = radii <= r, relevant & (radii <= r)
            precision = good.sum() / inside.sum() if inside.any() else math.nan
            assert report.precision[r] == pytest.approx(precision, nan_ok=True), seed
            assert report.recall[r] == pytest.approx(good.sum() / max(1, relevant.sum())), seed
            assert report.lookup_success[r] == pytest.approx(inside.any(1).mean()), seed
            assert report.lookup_hit[r] == pytest.approx(good.any(1).mean()), seed


def dcg(gains, k):
    """Discounted gain within the first k ranks, (Q,)."""
    return (gains[:, :k] / np.log2(np.arange(2, min(k, gains.shape[1]) + 2))).sum(1)


@cases(100)
def test_every_order_of_ties_in_small_cases(seeds):
    """All orders of all queries at once:
    mAP of every convention, its extremes, and each metric's mean.
    """
    for seed in seeds:
        case = draw(seed, small=True)
        report = case.evaluate()
        distances, (gains, relevant) = case.distances().tolist(), case.pairs()
        items = relevant.shape[1]
        orders = [list(plain.orders(d)) for d in distances]
        ranked = [
            [relevant[q, o].astype(int).tolist() for o in many] for q, many in enumerate(orders)
        ]
        graded = [[gains[q, o].tolist() for o in many] for q, many in enumerate(orders)]
        check_map(case, report, ranked, items, seed)
        for name, function, source in METRICS:
            values = getattr(report, name)
            for k in values or ():
                if name == "ndcg_at" and case.options["convention"] == "hpdh":
                    function = plain.hpdh_ndcg
                mean = np.mean(
                    [np.mean([function(r, k) for r in many]) for many in (ranked, graded)[source]]
                )
                assert values[k] == pytest.approx(mean, abs=1e-12), (seed, name, k)
        if report.weighted_map is not None:
            k = report.at or items
            means = [np.mean([plain.weighted_ap(r, k) for r in many]) for many in graded]
            assert report.weighted_map == pytest.approx(np.mean(means), abs=1e-12), seed
        for optional, kind in (("mahp_at", "levels"), ("acg_at", "shares_label")):
            assert (getattr(report, optional) is not None) == (case.options["relevance"] == kind), (
                seed
            )


METRICS = (
    ("precision_at", plain.precision_at, 0),
    ("recall_at", plain.recall_at, 0),
    ("ndcg_at", plain.ndcg, 1),
    ("acg_at", plain.acg, 1),
    ("hp_at", plain.hierarchical_precision, 1),
    ("mahp_at", plain.mahp, 1),
)


def check_map(case, report, ranked, items, seed):
    name = case.options["convention"] or "min_k_r"
    if name == "step_integral":
        pairs = zip(case.distances().tolist(), case.pairs()[1].astype(int).tolist(), strict=True)
        outcomes = [np.mean([plain.step_integral(d, g) for d, g in pairs])]
    elif name == "trapezoid_radius":
        outcomes = [plain.trapezoid(case.radii().tolist(), case.pairs()[1].astype(int).tolist())]
    else:
        at = case.options.get("at") or items
        outcomes = [plain.BY_RANK[name](many, at) for many in itertools.product(*ranked)]
    expected = np.mean(outcomes), min(outcomes), max(outcomes)
    assert (report.map, report.map_worst, report.map_best) == pytest.approx(
        expected, abs=1e-12, nan_ok=True
    ), seed


@cases(25)
def test_real_outputs_of_queries(seeds, monkeypatch):
    """The convention that ranks by them:
    names, orders and blocks change nothing, and loops find the same distances.
    """
    for seed in seeds:
        case, rng = draw(seed), np.random.default_rng(seed)
        bits = np.hstack(case.database)
        outputs = rng.choice([-2.0, -0.5, 0.0, 0.5, 2.0], (len(case.query_labels), bits.shape[1]))
        options = {
            "relevance": case.options["relevance"],
            "convention": "asymmetric",
            "bits": bits.shape[1],
        }
        options |= {"at": case.options.get("at"), "cutoffs": [1]}
        usual = evaluate(
            outputs, codes.pack(bits), case.query_labels, case.database_labels, **options
        )
        queries, items = rng.permutation(len(outputs)), rng.permutation(len(bits))
        other = case.renamed(rng).permuted(queries, items)
        with monkeypatch.context() as patch:
            other_blocks(patch, rng)
            moved = codes.pack(bits[items])
            report = evaluate(
                outputs[queries], moved, other.query_labels, other.database_labels, **options
            )
        same(usual, report, seed, queries)
        far = np.abs(1 / (1 + np.exp(-outputs))[:, None] - bits).sum(2).round(9)
        ranked = evaluate_distances(
            far,
            case.query_labels,
            case.database_labels,
            relevance=options["relevance"],
            convention="hits_in_topk",
            at=options["at"],
        )
        np.testing.assert_allclose(usual.ap, ranked.ap, rtol=1e-12)


@cases(25)
def test_the_sorted_path_counts_the_same(seeds):
    for seed in seeds:
        case = draw(seed)
        if CONVENTIONS[case.options["convention"] or "min_k_r"].pooled:
            continue
        options = {
            k: case.options[k] for k in ("relevance", "convention", "at") if k in case.options
        }
        ranked = evaluate_distances(
            case.distances(), case.query_labels, case.database_labels, **options
        )
        counted = case.evaluate()
        for name in PER_QUERY:
            assert np.array_equal(getattr(ranked, name), getattr(counted, name), equal_nan=True), (
                seed
            )


def test_a_million_classes():
    """Each item of its own class, but for two of one:
    the engines and the sort of their labels at full size.
    """
    n = 1_000_001
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.append(np.arange(n - 1), 7)) + 2**40
    bits = (np.arange(n)[:, None] >> np.arange(8) & 1).astype(bool)
    query = np.flatnonzero(labels == 7 + 2**40)
    for engine in (np.asarray, torch.from_numpy):
        packed = engine(codes.pack(bits))
        report = evaluate(packed[query], packed, labels[query], labels, bits=8)
        distances = (bits[query][:, None] != bits[query]).sum(2)
        assert report.queries_without_relevant == 0 and list(report.per_class()) == [7 + 2**40]
        for r in range(9):
            assert report.recall[r] == pytest.approx((distances <= r).mean())


def test_labels_keep_their_names():
    """Classes are numbered inside, and called what they are called in the report."""
    names = np.array([2**62, 5, 70_000])
    packed = codes.pack(np.random.default_rng(0).random((30, 8)) < 0.5)
    report = evaluate(packed[:6], packed, names[np.arange(6) % 3], names[np.arange(30) % 3], bits=8)
    assert sorted(report.per_class()) == sorted(names.tolist())
    assert report.query_labels[:, 0].tolist() == names[np.arange(6) % 3].tolist()


@pytest.mark.parametrize(
    "wrong", [np.array([-1, 3]), np.array([-(2**62), 0]), np.array([2**63, 1], np.uint64)]
)
def test_classes_that_no_rank_can_have(wrong):
    packed = codes.pack(np.zeros((2, 8), bool))
    with pytest.raises(InputError, match=r"negative|2\*\*63"):
        evaluate(packed, packed, wrong, np.array([0, 1]), bits=8)


@pytest.mark.parametrize("n, r, k", [(200, 100, 100), (4000, 2000, 2000), (150, 75, 75)])
def test_a_miss_that_is_possible_is_in_the_worst_order(n, r, k):
    """Its probability, 1e-60 and less, rounds away beside 1;
    whether it can happen is a question of integers.
    """
    packed, labels = codes.pack(np.zeros((n, 4), bool)), (np.arange(n) < r).astype(int)
    for name in ("hits_in_topk", "hits_in_topk_drop"):
        with np.errstate(all="raise"):  # as somebody may have set it
            report = evaluate(packed[:1], packed, [1], labels, bits=4, at=k, convention=name)
        assert report.map_worst == 0 and 0.4 < report.map < 0.6
    outputs = np.zeros((1, 4))
    report = evaluate(outputs, packed, [1], labels, bits=4, at=k, convention="asymmetric")
    assert report.map_worst == 0
    certain = evaluate(
        packed[:1], packed, [1], labels, bits=4, at=n - r + 1, convention="hits_in_topk"
    )
    assert certain.map_worst > 0


def test_every_field_of_a_report_is_compared():
    """`same` looks at all that `to_dict` gives,
    and that is every field but the arrays per query.
    """
    report = draw(3).evaluate()
    shown = {f.name for f in fields(report)} - {*PER_QUERY, "query_labels"}
    assert {n for n in shown if getattr(report, n) is not None} <= report.to_dict().keys()
