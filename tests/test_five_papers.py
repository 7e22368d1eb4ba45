"""The five papers in one table, on small grids of digits."""

import numpy as np
import pytest

from hashlab import experiments, plots
from hashlab.chapters import five_papers, reported
from hashlab.chapters.figures import five_papers as figures
from hashlab.chapters.reproduction import Results
from hashlab.errors import InputError

TOP = 'title = "Small"\ndataset = "digits"\nbits = [8, 12]\nseeds = [0, 1, 2]\n'
ROW = '\n[[rows]]\nname = "{name}"\nmethod = "{method}"\n'
ROWS = {"low": "random", "high": "itq", "other": "pcah"}  # pcah is run at 8 bits only
MADE = [("random", 8), ("random", 12), ("itq", 8), ("itq", 12), ("pcah", 8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    text = TOP + "".join(ROW.format(name=name, method=method) for name, method in ROWS.items())
    (folder / "small.toml").write_text(text)
    (folder / "empty.toml").write_text(text.replace('"digits"', '"mnist"'))
    for method, bits in MADE:
        for seed in (0, 1, 2):
            experiments.run(method, "digits", bits, seed, save=True, root=folder / "results")
    return folder


@pytest.fixture
def results(folder, monkeypatch):
    monkeypatch.setenv("HASHLAB_EXPERIMENTS", str(folder))
    return Results("small", root=folder / "results")


def test_ranks_are_by_mean_map_among_what_was_run(results):
    eight, twelve = (five_papers.ranks(results, list(ROWS), bits) for bits in (8, 12))
    maps = {name: np.mean([r.map for r in results.group(name, 8)]) for name in ROWS}
    order = sorted(maps, key=lambda name: -maps[name])
    assert {name: one.rank for name, one in eight.items()} == {
        name: place for place, name in enumerate(order, 1)
    }
    assert twelve == {"low": (2, 2, 2, 0.0), "high": (1, 1, 1, 1.0)}
    for one in eight.values():
        assert one.low <= one.rank <= one.high


def test_ranks_on_other_queries(results, monkeypatch):
    data = {"fingerprint": "f", "split": "another"}
    monkeypatch.setitem(results.group("high", 8)[0], "data", data)  # all results share the record
    with pytest.raises(InputError, match="the same queries in all groups expected"):
        five_papers.ranks(results, list(ROWS), 8)


def test_seconds_of_training_are_of_runs_that_took_nothing_over(results, monkeypatch):
    first, second, third = results.group("high", 8)
    epoch = {"phase": "pretrain", "epoch": 1, "loss": 1.0}
    monkeypatch.setitem(first, "history", [epoch])
    monkeypatch.setitem(second, "history", [epoch | {"shared": True}])
    whole = [first, third]
    assert five_papers.whole_runs(results, "high", 8) == whole
    assert five_papers.training_seconds(results, "high", 8) == [r.seconds["train"] for r in whole]
    points = [line.get_xydata() for line in figures.cost(results, ["high"], 8).lines]
    assert any(
        np.allclose(one, [(r.seconds["train"], r.map) for r in whole])
        for one in points
        if len(one) == 2
    )


def test_rank_table_shows_what_was_not_run_empty(results):
    *_, low, high, other = five_papers.rank_table(results, list(ROWS)).data.splitlines()
    assert low.endswith("| 2 (2 to 2) |") and high.endswith("| 1 (1 to 1) |")
    assert other.startswith("| other |") and other.endswith("| – |")


def test_pairs_hold_every_two_once(results):
    between = five_papers.pairs(results, list(ROWS), (8, 12))
    of_eight = [(8, "low", "high"), (8, "low", "other"), (8, "high", "other")]
    assert list(between) == [*of_eight, (12, "low", "high")]
    assert between[12, "low", "high"].verdict == "below"


def test_cost_draws_seconds_and_map(results):
    ax = figures.cost(results, list(ROWS), 12)
    seeds, mean = ax.lines[2:4]  # of the second row
    group = results.group("high", 12)
    assert seeds.get_xydata().tolist() == [[run.seconds["train"], run.map] for run in group]
    assert mean.get_xydata() == pytest.approx(seeds.get_xydata().mean(0, keepdims=True))
    assert sorted(text.get_text() for text in ax.texts) == ["high", "low"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("mAP at 12 bits", "training (s on the clock)")


def test_readme_shows_only_bodies_that_were_run(folder, results, monkeypatch):
    monkeypatch.setattr(five_papers, "NAMES", list(ROWS))
    monkeypatch.setattr(five_papers, "BODIES", {"tail": "small", "whole": "empty"})
    lines = five_papers.readme(folder / "results").splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [[f"| {name}", "tail"] for name in ROWS]
    assert five_papers.readme(folder / "nothing") == "No run is there yet."


def test_every_paper_has_its_file_of_figures():
    assert all(isinstance(reported.load(paper), list) for paper in five_papers.PAPERS.values())


# ---- named points


def test_names_of_neighbours_stand_on_either_side():
    groups = {"left": ([1.0], [0.5]), "right": ([1.05], [0.5]), "far": ([2.0], [0.9])}
    ax = plots.points(groups, "x", "y")
    sides = {text.get_text(): text.get_ha() for text in ax.texts}
    assert sides == {"left": "right", "right": "left", "far": "left"}


def test_points_of_other_lengths():
    with pytest.raises(InputError, match="a: as many y as x expected, got 1 and 2"):
        plots.points({"a": ([1, 2], [1])}, "x", "y")
