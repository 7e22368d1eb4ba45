"""The papers' figures: complete, with a source, none invented."""

from pathlib import Path

import pytest

from hashlab import methods
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
