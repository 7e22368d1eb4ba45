"""What the chapters share."""

import numpy as np
import pytest

from hashlab import experiments
from hashlab.chapters import tables
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.losses import pairs

QUICK = {"epochs": 1, "pretrain_epochs": 0}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HASHLAB_RESULTS", str(tmp_path))
    for seed in (1, 0):
        experiments.run("mu_liu", "digits", 8, seed, save=True, **QUICK)
    return tmp_path


def test_records_by_seed_and_settings(kept):
    found = tables.recorded((0, 1), {"epochs": 1}, method="mu_liu", bits=8)
    assert [record.seed for record in found] == [0, 1]
    with pytest.raises(InputError, match="found 0"):
        tables.recorded((0, 1), {"epochs": 2}, method="mu_liu")
    with pytest.raises(InputError, match="found 2"):
        tables.recorded((0, 1, 2), method="mu_liu")


def test_the_command_of_records_finds_them(kept, monkeypatch):
    monkeypatch.setattr(experiments, "_measure", lambda *a: pytest.fail("ran again"))
    words = tables.command(tables.recorded((0, 1), method="mu_liu")).split()
    assert words[0] == "hashlab" and main(words[1:]) == 0


def test_spread():
    a = [0.5, 0.7, 0.9]
    assert (
        tables.spread(a) == f"{np.mean(a):.3f} ± {np.std(a, ddof=1):.3f}"
        and tables.spread([0.5], 2) == "0.50"
    )


def test_tables_and_sources():
    assert tables.table(["a", "b"], [1, "x"]).data == "| a | b |\n|---|---|\n| 1 | x |"
    assert tables.table(["a"], ["1 ± 2"]).data.endswith(
        "| 1\u202f±\u202f2 |"
    )  # never broken between the two
    shown = tables.source(pairs.off_diagonal, pairs.likelihood_loss).data
    assert shown.count("```python") == 2 and "def off_diagonal" in shown and "softplus" in shown
