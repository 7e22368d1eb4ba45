"""The comparison of all methods: the same budget for each, and exactly the records it made."""

import pytest

from hashlab import comparison, experiments, methods, records
from hashlab.errors import InputError


def test_every_method_has_its_row_and_at_most_four_settings():
    assert set(methods.names()) - set(comparison.GRIDS) == {"shpdh"}  # which needs levels, and CIFAR-10 has one
    for name in comparison.GRIDS:
        variants = comparison.variants(name)
        assert 1 <= len(variants) <= 4 and len({str(v) for v in variants}) == len(variants)
        for variant in variants:
            methods.create(name, 24, **comparison.common(name), **variant)  # settings that there are


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
    tried = [run() for run in experiments.plan(["itq"], "digits", [8], [0], settings, tuning=True, **how)]
    best = settings[comparison.best(tried)]
    for variant in (best, {"iterations": 9}):  # one of them is none of the comparison's
        for run in experiments.plan(["itq"], "digits", [8], [0, 1], [variant], **how):
            run()
    one = comparison.found(records.load(tmp_path), "itq")
    assert one.best == best and [r.map for r in one.tried] == [r.map for r in tried]
    assert [(r.seed, r.config["iterations"]) for r in one.records[8]] == [(s, best["iterations"]) for s in (0, 1)]
    one.records[8][0].path.unlink()
    with pytest.raises(InputError, match=r"one record of .*'seed': 0.* expected, found 0"):
        comparison.found(records.load(tmp_path), "itq")


def test_of_equals_the_first_is_best():
    assert comparison.best([records.Record(map=0.5), records.Record(map=0.7), records.Record(map=0.7)]) == 1
