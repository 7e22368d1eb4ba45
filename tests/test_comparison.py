"""The comparison of all methods: the same budget for each, and exactly the records it made."""

import numpy as np
import pytest

from hashlab import experiments, methods, metrics, records
from hashlab.chapters import comparison
from hashlab.errors import InputError


def test_every_method_has_its_row_and_at_most_four_settings():
    assert set(methods.names()) - set(comparison.GRIDS) == {
        "shpdh"
    }  # which needs levels, and CIFAR-10 has one
    for name in comparison.GRIDS:
        variants = comparison.variants(name)
        assert 1 <= len(variants) <= 4 and len({str(v) for v in variants}) == len(variants)
        for variant in variants:
            methods.create(
                name, 24, **comparison.common(name), **variant
            )  # settings that there are


def test_unknown_method():
    with pytest.raises(InputError, match="'nobody' is not compared; expected one of: random"):
        comparison.variants("nobody")


@pytest.fixture
def small(monkeypatch):
    """A comparison on digits of two settings, at one length with two seeds."""
    for name, value in {"PROTOCOL": "digits", "BITS": (8,), "SEEDS": (0, 1), "TUNED_AT": 8}.items():
        monkeypatch.setattr(comparison, name, value)
    monkeypatch.setattr(comparison, "GRIDS", {"itq": {"iterations": (1, 5)}})
    monkeypatch.setattr(comparison, "common", lambda method: {})


def test_found_gives_the_best_setting_and_its_runs(small, tmp_path):
    how = {"save": True, "root": tmp_path}
    settings = [{"iterations": n} for n in (1, 5)]
    tried = [
        run() for run in experiments.plan(["itq"], "digits", [8], [0], settings, tuning=True, **how)
    ]
    best = settings[comparison.best(tried)]
    for variant in (best, {"iterations": 9}):  # one of them is none of the comparison's
        for run in experiments.plan(["itq"], "digits", [8], [0, 1], [variant], **how):
            run()
    one = comparison.found(records.load(tmp_path), "itq")
    assert (
        one.best == best
        and [r.map for r in one.tried] == [r.map for r in tried]
        and one.beyond == []
    )
    assert [(r.seed, r.config["iterations"]) for r in one.records[8]] == [
        (s, best["iterations"]) for s in (0, 1)
    ]
    one.records[8][0].path.unlink()
    with pytest.raises(InputError, match=r"one record of .*'seed': 0.* expected, found 0"):
        comparison.found(records.load(tmp_path), "itq")


def test_of_equals_the_first_is_best(monkeypatch):
    monkeypatch.setattr(comparison, "unseen", lambda record: record.map)
    assert (
        comparison.best([records.Record(map=0.5), records.Record(map=0.7), records.Record(map=0.7)])
        == 1
    )


@pytest.mark.parametrize("method", ["itq", "mlsh"])
def test_unseen_asks_the_queries_only(method, tmp_path):
    """Each half of the query images is searched with the other;
    what the database holds makes no difference.
    """
    settings = {} if method == "itq" else {"epochs": 1, "combine": "union"}
    record = experiments.run(
        method, "digits", 12, tuning=True, root=tmp_path, save=True, **settings
    )
    stored = record.codes()
    codes, labels = stored["query_codes"], stored["query_labels"]
    how = {"bits": 12, "relevance": "same_class"} | records.comparison(record)
    expected = [
        metrics.evaluate(
            codes[i::2], codes[1 - i :: 2], labels[i::2], labels[1 - i :: 2], **how
        ).map
        for i in (0, 1)
    ]
    assert (
        comparison.unseen(record)
        == pytest.approx(np.mean(expected))
        != pytest.approx(record.map, abs=1e-6)
    )


def test_rates_beyond_the_grid_and_looks_are_settings():
    chosen = comparison.variants("dsh")[0]
    assert comparison.beyond(chosen) == [chosen | {"lr": lr} for lr in comparison.BEYOND]
    assert comparison.beyond({"rho": 1.0}) == [] and not set(comparison.BEYOND) & set(
        comparison.RATES["lr"]
    )
    for name, looks in comparison.LOOKS.items():
        for look in looks:
            methods.create(name, 24, **comparison.common(name), **look)


def test_a_setting_that_a_record_does_not_know_has_its_default(small, tmp_path):
    record = experiments.run(
        "itq", "digits", 8, 0, root=tmp_path, save=True, tuning=True, iterations=5
    )
    del record["config"]["iterations"]
    assert (
        comparison.tuned(
            [record], "itq", {"iterations": methods.create("itq", 8).config.iterations}
        )
        is record
    )
    with pytest.raises(InputError, match="expected, found 0"):
        comparison.tuned([record], "itq", {"iterations": 5})


def test_whole_takes_complete_groups_of_trained_networks_only():
    def record(
        method="dsh", seed=0, bits=comparison.TUNED_AT, protocol=comparison.PROTOCOL, **config
    ):
        config = {"backbone": comparison.BACKBONE, "frozen": False} | config
        return records.Record(method=method, seed=seed, bits=bits, protocol=protocol, config=config)

    wanted = [record(seed=seed) for seed in comparison.SEEDS]
    others = [
        record(seed=0, frozen=True),
        record(seed=1, bits=12),
        record(seed=2, backbone="quick"),
    ]
    others += [record(seed=0, protocol=comparison.PROTOCOL + "/tuning"), record("csq", seed=0)]
    others += [
        records.Record(method="itq", seed=0, bits=24, protocol=comparison.PROTOCOL, config={})
    ]
    assert comparison.whole([*others, *reversed(wanted)]) == {"dsh": wanted}
    with pytest.raises(InputError, match="one run of dsh with seed 1 expected, found two"):
        comparison.whole([*wanted, record(seed=1, size=64)])
