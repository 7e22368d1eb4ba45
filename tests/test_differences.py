"""Differences between groups of runs: over seeds, over queries, among many."""

import numpy as np
import pytest

from hashlab import codes, experiments, metrics, records
from hashlab.chapters import differences
from hashlab.errors import InputError
from hashlab.metrics import uncertainty

SEEDS = range(3)
QUICK = {"epochs": 1, "pretrain_epochs": 0}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Records of two methods, as read from files."""
    root = tmp_path_factory.mktemp("results")
    for seed in SEEDS:
        experiments.run("mu_liu", "digits", 8, seed, save=True, root=root, **QUICK)
        experiments.run("lsh", "digits", 8, seed, save=True, root=root)
    return {name: records.load(root, method=name) for name in ("mu_liu", "lsh")}


def reports(noise, queries=60, seed=0):
    """Three reports of codes that are the class's with some bits turned."""
    rng = np.random.default_rng(seed)
    labels = np.arange(queries) % 4
    words = np.eye(4, 16).astype(bool)
    found = []
    for _ in SEEDS:
        turned = codes.pack(words[labels] ^ (rng.random((queries, 16)) < noise))
        found.append(metrics.evaluate(turned, turned, labels, labels, bits=16))
    return found


def test_ap_of_a_record_is_that_of_its_codes(kept):
    for record in (*kept["mu_liu"], *kept["lsh"]):
        ap = differences.average_precisions(record)
        assert ap.shape == (record.sizes["query"],)
        assert ap.mean() == pytest.approx(record.map, abs=1e-12)
        assert differences.average_precisions(record) is ap  # not computed again


def test_a_difference_of_records_is_over_seeds_and_over_queries(kept):
    one = differences.difference(kept["mu_liu"], kept["lsh"])
    steps = [a.map - b.map for a, b in zip(kept["mu_liu"], kept["lsh"], strict=True)]
    assert one.seeds == uncertainty.over_seeds(steps)
    of_query = np.zeros(kept["lsh"][0].sizes["query"])
    for a, b in zip(kept["mu_liu"], kept["lsh"], strict=True):
        of_query += differences.average_precisions(a) - differences.average_precisions(b)
    of_query /= 3
    assert one.queries == pytest.approx(uncertainty.over_queries(of_query))
    assert one.mean == pytest.approx(one.queries.mean)


def test_reports_and_numbers():
    good, bad = reports(0.05), reports(0.3)
    by_report = differences.difference(good, bad)
    by_number = differences.difference([r.map for r in good], [r.map for r in bad])
    assert by_report.seeds == by_number.seeds and by_number.queries is None
    assert by_report.verdict == by_number.verdict == "above"
    assert differences.difference(bad, good).verdict == "below"
    assert differences.difference(good, reports(0.05, seed=1)).verdict == "open"
    mean, seeds, queries = str(by_report).split(" ± ")
    assert mean == f"{by_report.mean:+.3f}"
    assert (seeds, queries) == (f"{by_report.seeds.half:.3f}", f"{by_report.queries.half:.3f}")
    assert by_number.shown(1).count("±") == 1


def test_queries_can_leave_open_what_seeds_would_decide():
    """Three equal seeds, and an AP that is a little better for one query of ten."""
    labels = np.arange(10)
    words = codes.pack(np.eye(10, 16).astype(bool))
    perfect = metrics.evaluate(words, words, labels, labels, bits=16)
    shifted = words.copy()
    shifted[0] = words[1]
    worse = metrics.evaluate(shifted, words, labels, labels, bits=16)
    one = differences.difference([perfect] * 3, [worse] * 3)
    assert one.seeds.low > 0 and one.queries.low == 0 and one.verdict == "open"


def test_cells_correct_for_many_and_say_what_they_rest_on():
    good, bad = reports(0.05), reports(0.3)
    clear = differences.difference(good, bad)
    weak = differences.difference([0.1, 0.2, 0.15], [0.05, 0.1, 0.12])
    assert weak.seeds.p > 0.01 and weak.verdict == "open"
    close = differences.difference([0.1, 0.2, 0.16], [0.05, 0.14, 0.12])
    assert 0.005 < close.seeds.p < 0.05 and close.verdict == "above"
    together = {"clear": clear, "close": close} | dict.fromkeys("abcdef", weak)
    assert differences.verdicts(together)["close"] == "open"
    assert differences.with_verdicts(together)["close"].endswith(", above (seeds only)")
    cells = differences.with_verdicts(together, many=True)
    assert cells["clear"] == f"{clear}, {differences.verdicts(together)['clear']}"
    assert cells["close"].endswith(", open (seeds only)")
    assert differences.with_verdicts({}) == {}


def test_what_cannot_be_compared_is_said(kept):
    one, other = kept["mu_liu"], kept["lsh"]
    with pytest.raises(InputError, match="the same seeds"):
        differences.difference(one, other[::-1])
    with pytest.raises(InputError, match="the same seeds"):
        differences.difference(one, other[:2])
    with pytest.raises(InputError, match="three seeds"):
        differences.difference(one[:2], other[:2])
    with pytest.raises(InputError, match="the same queries"):
        differences.difference(reports(0.1), reports(0.1, queries=40))
    elsewhere = [records.Record(r | {"data": r["data"] | {"split": "another"}}) for r in other]
    with pytest.raises(InputError, match="the same queries"):
        differences.difference(one, elsewhere)
