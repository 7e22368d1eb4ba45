"""The papers' figures: complete, with a source, none invented."""

from pathlib import Path

import pytest

from hashlab.chapters import reported
from hashlab.errors import InputError

FOLDER = Path(__file__).parents[1] / "data" / "reported"


@pytest.mark.parametrize("paper", sorted(file.stem for file in FOLDER.glob("*.csv")))
def test_every_figure_has_a_source(paper):
    rows = reported.load(paper)
    assert rows and all(
        row["paper"] == paper and row["source"] and 0 <= row["value"] <= 1 for row in rows
    )
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
    ],
)
def test_a_row_that_is_not_complete(line, words, tmp_path):
    (tmp_path / "p.csv").write_text(",".join(reported.COLUMNS) + "\n" + line + "\n")
    with pytest.raises(InputError, match=words):
        reported.load("p", tmp_path)


def test_unknown_paper():
    with pytest.raises(InputError, match="no reported figures for 'nobody'"):
        reported.load("nobody")
