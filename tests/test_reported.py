"""The papers' figures: complete, with a source, none invented."""

from pathlib import Path

import pytest

from hashlab import experiments, methods
from hashlab.chapters import reported
from hashlab.errors import InputError

FOLDER = Path(reported.__file__).with_name("papers")
PAPERS = sorted(file.stem for file in FOLDER.glob("*.csv") if file.stem != "context")
UNSEEN = {"csdh", "mlsh", "shpdh"}  # papers of whose figures none was seen


@pytest.mark.parametrize("paper", PAPERS)
def test_every_figure_has_a_source(paper):
    rows = reported.load(paper)
    assert bool(rows) == (paper not in UNSEEN)
    assert all(row["paper"] == paper and row["source"] and 0 <= row["value"] <= 1 for row in rows)
    assert len(
        {(row["method"], row["dataset"], row["bits"], row["metric"]) for row in rows}
    ) == len(rows)


@pytest.mark.parametrize(
    "line, words",
    [
        ("p,m,d,12,x,0.5,RECALLED,memory", "line 2: a status"),
        ("p,m,d,12,x,0.5,SEEN,", "a source expected"),
        ("p,m,d,12,x,high,SEEN,abstract", "got '12' and 'high'"),
        ("p,m,d,12,x", "columns"),
        ("p,m,d,12,x,0.5,SEEN,abstract,more", "columns"),
    ],
)
def test_a_row_that_is_not_complete(line, words, tmp_path):
    (tmp_path / "p.csv").write_text(",".join(reported.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=words):
        reported.load("p", tmp_path)


@pytest.mark.parametrize("name", ["nobody", "context"])
def test_unknown_paper(name):
    with pytest.raises(InputError, match=f"no reported figures for '{name}'.*csdh, ddsh, dmsh"):
        reported.load(name)


@pytest.mark.parametrize("head", ["", "paper,method", ",".join((*reported.COLUMNS, "note"))])
def test_a_file_without_a_row_has_its_head(head, tmp_path):
    (tmp_path / "p.csv").write_text(head + "\n")
    with pytest.raises(InputError, match="line 1: the columns paper, method"):
        reported.load("p", tmp_path)


# ---- what others report


def test_context_is_of_methods_of_this_book():
    rows = reported.context()
    assert {row["method"] for row in rows} < set(methods.names())
    cells = {(row["table"], row["method"], row["bits"]) for row in rows}
    assert len(cells) == len(rows)
    assert all(row["protocol"] and row["metric"] and 0 < row["value"] < 1 for row in rows)


def test_each_table_of_the_context_names_one_source_for_a_method():
    rows = reported.context()
    sources = {(row["table"], row["method"], row["source"], row["status"]) for row in rows}
    assert len(sources) == len({(row["table"], row["method"]) for row in rows})


def test_context_repeats_the_table_that_a_chapter_reads():
    """What stands in both files is the same."""
    in_context = {
        (row["method"], row["bits"]): row["value"]
        for row in reported.context()
        if row["table"] == "T3"
    }
    for row in reported.load("ddsh"):
        assert in_context[row["method"], row["bits"]] == row["value"]


def test_context_that_is_not_complete(tmp_path):
    with pytest.raises(InputError, match="which is missing"):
        reported.context(tmp_path)
    file = tmp_path / "context.csv"
    file.write_text(",".join(reported.COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"context.csv, line 1: the columns table, .*protocol"):
        reported.context(tmp_path)
    file.write_text(",".join(reported.OF_CONTEXT) + "\nt,m,d,12,x,0.5,p,RECALLED,memory\n")
    with pytest.raises(InputError, match="line 2: a status"):
        reported.context(tmp_path)


def test_a_reported_figure_beside_our_own(tmp_path, monkeypatch):
    """First five keys, then the rest: together all that is known, each in one of the two."""
    monkeypatch.setenv("HASHLAB_RESULTS", str(tmp_path))
    quick = {"epochs": 1, "pretrain_epochs": 0}
    runs = [experiments.run("mu_liu", "digits", 8, seed, save=True, **quick) for seed in (0, 1)]
    claim = reported.load("mu_liu")[0]
    call = ("DIGITS", claim, {"both": runs, "one": runs[:1]})
    first, rest = (
        [
            [cell.strip() for cell in line.split("|")[1:-1]]
            for line in reported.beside(*call, rest=rest).data.splitlines()
        ]
        for rest in (False, True)
    )
    assert first[0] == rest[0] == ["DIGITS", "as reported", "both", "one"]
    keys = [row[0] for row in first[2:]]
    assert keys == list(reported.FIRST) and not set(keys) & {row[0] for row in rest}
    (value, *_), known = first[2:], {row[0]: row[1:] for row in first[2:] + rest[2:]}
    mean = (runs[0].map + runs[1].map) / 2
    assert value[1] == f"**{claim['value']}**" and value[2].startswith(f"**{mean:.4f}")
    assert value[3] == f"**{runs[0].map:.4f}**"
    assert known["seeds"] == ["not seen", "0, 1", "0"]
    assert "epochs 1, " in known["settings"][1] and "backbone" not in known["settings"][1]
    assert known["source"][0] == claim["source"] and known["trained on"][1] == "1,200 images"
