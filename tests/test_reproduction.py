"""The figures and tables of a paper on real images, on small grids of digits."""

import shutil

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hashlab import codes, experiments, grid, records
from hashlab.chapters import reproduction
from hashlab.chapters.differences import difference
from hashlab.chapters.figures import reproduction as figures
from hashlab.chapters.reproduction import Results
from hashlab.errors import InputError
from hashlab.records import Record

GRID = """
title = "Small"
dataset = "digits"
bits = [8, 12]
seeds = [0, 1, 2]

[search]
bits = 8

[[rows]]
name = "plain"
method = "lsh"

[[rows]]
name = "learned"
method = "mu_liu"
settings = { pretrain_epochs = 1, epochs = 2 }

[[rows]]
name = "not run"
method = "itq"

[[rows]]
name = "not chosen"
method = "dpsh"
settings = { epochs = 1 }
search = [{ lr = [0.01, 0.1] }]
"""
RUN = ["plain", "learned"]
MISSING = ("learned", 12, 2)  # a row with one seed missing at one length


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Experiments and results: two rows are run but for one cell, one at a single length."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.toml").write_text(GRID)
    for bits in (8, 12):
        for seed in (0, 1, 2):
            keep = {"save": True, "root": folder / "results"}
            experiments.run("lsh", "digits", bits, seed, **keep)
            if ("learned", bits, seed) != MISSING:
                few = {"pretrain_epochs": 1, "epochs": 2}
                experiments.run("mu_liu", "digits", bits, seed, **few, **keep)
    return folder


@pytest.fixture
def results(folder, monkeypatch):
    monkeypatch.setenv("HASHLAB_EXPERIMENTS", str(folder))
    return Results("small", root=folder / "results")


def test_records_are_read_again_where_a_file_has_changed(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HASHLAB_EXPERIMENTS", str(folder))
    root = shutil.copytree(folder / "results", tmp_path / "results")
    first = Results("small", root=root)
    assert Results("small", root=root).kept is first.kept
    other = Results("small", root=folder / "results")
    assert other.kept is not first.kept
    gone = first.group("plain", 8)[0].path
    text = gone.read_text()
    gone.unlink()
    assert Results("small", root=root).group("plain", 8) == []
    gone.write_text(text.replace("}", " }", 1))
    assert len(Results("small", root=root).group("plain", 8)) == 3
    gone.write_text(text.replace('"bits": 8', '"bits": 9'))  # of the same size
    with pytest.raises(InputError, match="changed since"):
        Results("small", root=root)


def lines_of(markdown):
    rows = markdown.data.replace("\u202f", " ").splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def maps(folder, method, bits):
    found = records.load(folder / "results", method=method, bits=bits)
    return [record.map for record in sorted(found, key=lambda record: record.seed)]


def test_a_table_has_mean_deviation_and_interval_and_empty_cells(results, folder):
    reported = [
        {"method": "theirs", "metric": "mAP", "bits": 12, "value": 0.5},
        {"method": "best", "metric": "accuracy", "bits": None, "value": 0.25},
        {"method": "other", "metric": "mAP", "bits": 99, "value": 0.75},  # a length not run here
    ]
    reported = [row | {"status": "SEEN", "source": "a page"} for row in reported]
    names = ["plain", "learned", "not run"]
    head, _, *rows = lines_of(reproduction.map_table({"tail": results}, names, reported))
    assert head == ["mAP, digits", "network", "8 bits", "12 bits", "length not named"]
    a, b, c = maps(folder, "lsh", 8)
    mean = (a + b + c) / 3
    deviation = (((a - mean) ** 2 + (b - mean) ** 2 + (c - mean) ** 2) / 2) ** 0.5
    half = 4.302653 * deviation / 3**0.5  # Student's t of 2 degrees of freedom
    assert rows[0][:3] == ["plain", "tail", f"{mean:.3f} ± {deviation:.3f} (± {half:.3f})"]
    assert rows[1][2] != "–" == rows[1][3]  # a cell without all its seeds is empty
    assert rows[2] == ["not run", "tail", "–", "–", ""]
    assert [row[2:] for row in rows[3:]] == [["", "*0.5*", ""], ["", "", "*0.25*"], [""] * 3]
    assert all("as reported" in row[0] and "SEEN: a page" in row[0] for row in rows[3:])
    plain = lines_of(reproduction.map_table({"tail": results}, names))
    assert plain[0] == head[:-1] and plain[2] == rows[0][:-1]


def test_bodies_never_share_a_line_and_one_that_lacks_a_row_shows_it_empty(results, folder):
    other = folder / "other.toml"
    other.write_text(GRID.split("[[rows]]")[0] + '[[rows]]\nname = "plain"\nmethod = "itq"\n')
    bodies = {"tail": results, "full": Results(other, root=folder / "results")}
    rows = lines_of(reproduction.map_table(bodies, RUN))[2:]
    assert [row[:2] for row in rows] == [[n, b] for b in ("tail", "full") for n in RUN]
    assert all(row[2:] == ["–", "–"] for row in rows[2:])


def test_groups_hold_all_seeds_or_none(results):
    assert [run.seed for run in results.group("learned", 8)] == [0, 1, 2]
    assert results.group("learned", 12) == [] == results.group("plain", 16)
    assert results.bits("learned") == (8,) and results.bits("plain") == (8, 12)
    assert results.bits("not run") == results.bits("not chosen") == ()
    assert list(results.there([*RUN, "not run"], 12)) == ["plain"]


def test_differences_stand_where_both_rows_were_run(results):
    between = results.differences("learned", "plain")
    expected = difference(results.group("learned", 8), results.group("plain", 8))
    assert between == {8: expected}
    _, _, *rows = lines_of(reproduction.difference_table(results, "learned", ["plain", "not run"]))
    assert rows == [["plain", f"{expected}, {expected.verdict}", "–"], ["not run", "–", "–"]]


@pytest.mark.parametrize(
    ("steps", "better", "verdict"),
    [
        ({8: 0.1, 12: 0.1}, "above", "holds"),
        ({8: 0.1, 12: 0.1}, "below", "does not hold"),
        ({8: -0.1, 12: -0.1}, "below", "holds"),
        ({8: 0.1, 12: 0.0}, "above", "open"),
        ({8: 0.1, 12: -0.1}, "above", "does not hold"),
        ({8: 0.0, 12: -0.1}, "above", "does not hold"),
        ({}, "above", "open"),
    ],
)
def test_a_claim_holds_where_it_is_established_at_all_lengths(steps, better, verdict):
    noise = np.array([-0.001, 0, 0.001])
    between = {bits: difference(noise + step, [0.0] * 3) for bits, step in steps.items()}
    assert reproduction.verdict(between, better) == verdict


def test_lengths_of_a_claim_are_corrected_for():
    alone = difference([0.1, 0.11, 0.16], [0.0] * 3)  # p between 0.0125 and 0.05
    assert reproduction.verdict({8: alone}) == "holds"
    assert reproduction.verdict(dict.fromkeys(range(4), alone)) == "open"


@pytest.mark.parametrize(
    ("step", "word"), [(0.0, "holds"), (-0.008, "open"), (-0.012, "open"), (-0.03, "does not hold")]
)
def test_competitive_is_not_below_by_more_than_the_mark(step, word):
    noise = np.array([-0.002, 0, 0.002])  # half an interval: 0.005
    assert reproduction.competitive({8: difference(noise + step, [0.0] * 3)}) == {8: word}


def test_what_is_competitive_is_corrected_for():
    above, below = (
        difference([step, step + 0.01, step + 0.02], [0.0] * 3) for step in (0.01, -0.06)
    )
    for one, word in ((above, "holds"), (below, "does not hold")):
        assert reproduction.competitive({8: one}) == {8: word}
        assert set(reproduction.competitive(dict.fromkeys(range(4), one)).values()) == {"open"}


def test_a_reported_figure_is_corrected_for_lengths(results, monkeypatch):
    runs = [Record(map=value) for value in (0.51, 0.52, 0.53)]
    monkeypatch.setattr(results, "group", lambda name, bits: runs)
    for lengths, word in (((8,), "above"), ((8, 12, 24, 48), "open")):
        monkeypatch.setattr(results, "bits", lambda name, lengths=lengths: lengths)
        assert reproduction.against_figure(results, "plain", 0.49) == dict.fromkeys(lengths, word)


def test_a_reported_figure_is_compared_with_the_mean(results, folder):
    mean = np.mean(maps(folder, "lsh", 8))
    half = float(reproduction.cell(maps(folder, "lsh", 8)).split("(± ")[1][:-1])
    for figure, word in (
        (mean, "open"),
        (mean - 10 * half, "above"),
        (mean + 10 * half, "below"),
    ):
        assert reproduction.against_figure(results, "plain", figure)[8] == word
    assert reproduction.against_figure(results, "not run", 0.5) == {}


def test_what_was_tried_is_shown_once_all_of_it_is_there(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("HASHLAB_EXPERIMENTS", str(folder))
    for lr in (0.01, 0.1):
        assert lines_of(reproduction.searched(Results("small", root=tmp_path), ["not chosen"]))[
            2
        ] == ["not chosen", "–", "–", "–"]
        experiments.run(
            "dpsh", "digits", 8, 0, tuning=True, save=True, root=tmp_path, lr=lr, epochs=1
        )
    found = Results("small", root=tmp_path)
    name, tried, chosen, _ = lines_of(reproduction.searched(found, ["not chosen"]))[2]
    assert (name, tried) == ("not chosen", "lr 0.01, 0.1")
    assert chosen in ("lr 0.01 (an end)", "lr 0.1 (an end)")


@pytest.mark.parametrize(
    ("tried", "chosen", "ends"),
    [
        ([0.1, 1.0, 10.0], 1.0, []),
        ([0.1, 1.0, 10.0], 10.0, ["x"]),
        ([0.1, 1.0], 0.1, ["x"]),
        ([1.0], 1.0, []),  # nothing was searched for
        (["sum", "union"], "sum", []),
        ([True, False], True, []),
    ],
)
def test_a_number_at_an_end_of_those_tried_is_found(tried, chosen, ends):
    choice = grid.Choice({"x": chosen, "y": 2}, [({"x": x, "y": 2}, None) for x in tried], [])
    assert reproduction.at_an_end(choice) == ends


def test_terms_say_what_was_run(results):
    shown = dict(lines_of(reproduction.terms(results, "plain"))[2:])
    assert shown["queries, trained on, searched"] == "300, 1,200, 1,497"
    assert shown["to run again"] == "`hashlab grid experiments/small.toml`"
    assert "epochs" not in shown  # what is not trained has none


@pytest.fixture
def alike(tmp_path, monkeypatch):
    """A grid of three rows of one body, in which settings of a row may be others."""

    def make(**others):
        rows = {"first": "dpsh", "second": "csdh", "third": "mu_liu"}
        common = {"backbone": "quick", "epochs": 2}
        settings = {"third": {"pretrain_epochs": 0} | others}
        text = 'title = "Alike"\ndataset = "digits"\nbits = [8]\nseeds = [0]\n'
        text += '[settings]\nbackbone = "quick"\nepochs = 2\n'
        for name, method in rows.items():
            own = ", ".join(f"{key} = {value}" for key, value in settings.get(name, {}).items())
            text += f'[[rows]]\nname = "{name}"\nmethod = "{method}"\nsettings = {{ {own} }}\n'
            how = {"save": True, "root": tmp_path} | common | settings.get(name, {})
            experiments.run(method, "digits", 8, 0, **how)
        (tmp_path / "alike.toml").write_text(text)
        monkeypatch.setenv("HASHLAB_EXPERIMENTS", str(tmp_path))
        return Results("alike", root=tmp_path)

    return make


def test_terms_name_a_row_that_departs_from_them(alike):
    shown = dict(lines_of(reproduction.terms(alike(), "first"))[2:])
    assert shown["epochs"] == "2"
    shown = dict(lines_of(reproduction.terms(alike(pretrain_epochs=1), "third"))[2:])
    assert shown["epochs"] == "2; **third: 1 (pre-training) + 2 (hashing)**"
    assert shown["seeds"] == "0"


def test_an_unknown_grid_says_which_are_known(results, folder):
    with pytest.raises(InputError, match=r"no grid 'large' in .*; there: .*small"):
        Results("large")


def names_in(ax):
    listed = ax.get_legend().get_texts() if ax.get_legend() else []
    return {text.get_text(): to_rgb(text.get_color()) for text in [*ax.texts, *listed]}


def test_figures_by_bits_have_a_named_line_for_each_row_that_was_run(results):
    names = [*RUN, "not run"]
    for figure, value in (
        (figures.map_by_bits, lambda run: run.map),
        (figures.radius2_by_bits, lambda run: run.metrics["precision_radius2"]),
    ):
        ax = figure(results, names)
        assert names_in(ax) == {name: to_rgb(results.colours[name]) for name in RUN}
        lines = {line.get_label(): line for line in ax.lines if line.get_label() in names}
        assert lines.keys() == set(RUN)
        for name, line in lines.items():
            lengths = list(results.bits(name))
            means = [np.mean([value(r) for r in results.group(name, b)]) for b in lengths]
            assert list(line.get_xdata()) == lengths and np.allclose(line.get_ydata(), means)
            assert to_rgb(line.get_color()) == to_rgb(results.colours[name])
        dots = [line for line in ax.lines if line.get_label() not in names]
        assert len(dots) == 2 * 3  # a dot per seed


def test_colours_are_those_of_rows_whatever_is_drawn(results):
    alone = figures.map_by_bits(results, ["learned"])
    both = figures.map_by_bits(results, RUN)
    assert names_in(alone)["learned"] == names_in(both)["learned"] != names_in(both)["plain"]


def band(ax, place):
    """The lower and upper edge of a band by x."""
    vertices = ax.collections[place].get_paths()[0].vertices
    return {
        x: (min(y), max(y))
        for x in set(vertices[:, 0])
        if (y := vertices[vertices[:, 0] == x, 1]).size
    }


def test_precision_recall_begins_at_radius_0_and_its_band_holds_all_seeds(results):
    ax = figures.precision_recall(results, [*RUN, "not run"], 8)
    assert set(names_in(ax)) == set(RUN)
    for place, name in enumerate(RUN):
        group = results.group(name, 8)
        recalls = [run.metrics["recall"] for run in group]
        x, y = ax.lines[place].get_data()
        assert x[0] == max(recall[0] for recall in recalls) and x[-1] == 1
        at = x[len(x) // 2]
        seeds = [
            np.interp(at, recall, run.metrics["precision"])
            for recall, run in zip(recalls, group, strict=True)
        ]
        assert np.isclose(y[len(x) // 2], np.mean(seeds))
        assert np.allclose(band(ax, place)[at], (min(seeds), max(seeds)))


def test_precision_among_the_first(results):
    ax = figures.precision_at(results, RUN, 8)
    for place, name in enumerate(RUN):
        group = results.group(name, 8)
        x, y = ax.lines[place].get_data()
        assert x[-1] == 1000 and set(x) >= {1, 10, 100, 1000}
        for rank in (1, 100, 1000):
            kept = [run.metrics["precision_at"][str(rank)] for run in group]
            assert np.isclose(y[list(x).index(rank)], np.mean(kept))
            assert np.allclose(band(ax, place)[rank], (min(kept), max(kept)))


def test_losses_follow_each_other_by_phase(results):
    ax = figures.losses(results, "learned", 8)
    first, second = ax.lines
    assert list(first.get_xdata()) == [1] and list(second.get_xdata()) == [2, 3]
    group = results.group("learned", 8)
    last = [run.history[-1]["loss"] for run in group]
    assert np.isclose(second.get_ydata()[-1], np.mean(last))
    assert set(names_in(ax)) == {line["phase"] for line in group[0].history}


def test_bits_used_are_those_of_the_database(results):
    upper, lower = figures.bits_used(results, ["plain", "not run"], 8).axes
    balances = []
    correlations = []
    for run in results.group("plain", 8):
        bits = codes.unpack(run.codes()["database_codes"], 8)
        balances.append(np.sort(bits.mean(0)))
        correlations.append(np.abs(np.corrcoef(bits.T)[np.triu_indices(8, 1)]).max())
    assert np.allclose(upper.lines[0].get_ydata(), np.mean(balances, 0))
    assert np.isclose(lower.lines[0].get_ydata()[-1], np.mean(correlations))
    assert set(names_in(lower)) == {"plain"}


def test_tsne_draws_rows_under_their_names_and_classes_at_their_islands(results):
    figure = figures.tsne(results, [*RUN, "not run"], "0123456789", 8, queries=200)
    assert [ax.get_title() for ax in figure.axes] == RUN
    for ax in figure.axes:
        assert set(names_in(ax)) <= set("0123456789") and len(ax.collections) == 10


def test_codes_of_several_tables_are_put_side_by_side(tmp_path):
    experiments.run("mlsh", "digits", 12, 0, save=True, root=tmp_path, epochs=1)
    (record,) = records.load(tmp_path)
    bits, labels = reproduction.query_bits(record)
    assert len(record.tables) > 1 and bits.shape == (300, sum(record.tables))
    packed = record.codes()["query_codes"]
    first = codes.unpack(packed[:, : codes.row_bytes(record.tables[0])], record.tables[0])
    assert (bits[:, : record.tables[0]] == first).all() and len(labels) == 300
    diagnosis, pairs = reproduction.diagnosed(record)
    assert (diagnosis.bits, diagnosis.items, len(pairs)) == (12, 1497, 66)
