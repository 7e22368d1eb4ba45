"""What the papers report: one CSV per paper in the folder `papers` beside this file, every figure
with its source.

A figure that nobody here has seen stands nowhere: the file of a paper of which no figure was seen
has its head only. A reader who owns a paper fills a gap by adding a row. `context.csv` holds what
others report of methods of this book, under other protocols: context, never beside our figures.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlab.chapters import tables
from hashlab.errors import InputError
from hashlab.records import Record

if TYPE_CHECKING:
    from IPython.display import Markdown

COLUMNS = ("paper", "method", "dataset", "bits", "metric", "value", "status", "source")
OF_CONTEXT = ("table", *COLUMNS[1:6], "protocol", *COLUMNS[6:])
CONTEXT = "context"
STATUSES = ("SEEN", "SEEN-2nd")  # read in the source itself, or in somebody else's summary of it
UNSEEN = "not seen"
FIRST = ("value", "metric", "protocol", "network", "seeds")  # of what is known of a figure


def load(paper: str, root: str | Path | None = None) -> list[dict]:
    """The reported figures of one paper; `bits` is an int or None, `value` a float.

    None at all where no figure of the paper was seen. Raises InputError for a paper without a file
    and for a row that is not complete.
    """
    folder = _folder(root)
    papers = sorted({Path(file.name).stem for file in folder.iterdir()} - {CONTEXT})
    if paper not in papers:
        known = ", ".join(papers) or "none"
        raise InputError(f"no reported figures for {paper!r} in {folder}; there: {known}")
    return _rows(folder / f"{paper}.csv", COLUMNS)


def context(root: str | Path | None = None) -> list[dict]:
    """What others report of methods of this book; as `load`, and with the `protocol` of each.

    Raises InputError where the file is missing and for a row that is not complete.
    """
    file = _folder(root) / f"{CONTEXT}.csv"
    if not file.is_file():
        raise InputError(f"figures of others expected in {file}, which is missing")
    return _rows(file, OF_CONTEXT)


def beside(
    title: str, claim: dict, ours: Mapping[str, Sequence[Record]], *, rest: bool = False
) -> Markdown:
    """A reported figure beside runs of this book, a row for each thing that is known of them.

    Args:
        title: what all of them are of, such as "MNIST, 12 bits".
        claim: a row of `load`.
        ours: the head of a column -> records that differ in their seed only.
        rest: what does not stand in the first five rows, instead of these.
    """
    columns = [_facts(group) for group in ours.values()]
    theirs = dict.fromkeys(columns[0], UNSEEN)
    theirs |= {"value": f"**{claim['value']}**", "source": claim["source"]}
    theirs |= {"metric": f"{claim['metric']}; definition {UNSEEN}"}
    keys = [key for key in theirs if (key in FIRST) != rest]
    lines = [[key, theirs[key], *(column[key] for column in columns)] for key in keys]
    return tables.table([title, "as reported", *ours], *lines)


def _facts(group: Sequence[Record]) -> dict[str, str]:
    """What there is to say of runs that differ only in their seed."""
    first = group[0]
    sizes = first.sizes
    ends = {
        name: np.mean([run.metrics[f"map_{name}"] for run in group]) for name in ("worst", "best")
    }
    settings = {k: v for k, v in first.config.items() if k not in ("backbone", "weights")}
    seconds = np.mean([run.seconds["train"] for run in group])
    return {
        "value": f"**{tables.spread([run.map for run in group], 4)}**",
        "metric": first.metric,
        "protocol": f"{first.protocol}: {sizes['query']:,} queries, {sizes['database']:,} searched",
        "network": f"{first.backbone}, weights {first.weights}",
        "seeds": ", ".join(str(run.seed) for run in group),
        "order of ties": "random; " + ", ".join(f"{name} {x:.4f}" for name, x in ends.items()),
        "trained on": f"{sizes['train']:,} images",
        "settings": ", ".join(f"{name} {value}" for name, value in settings.items()),
        "hardware": ", ".join(sorted({run.hardware["device"] for run in group})),
        "time to train": f"{seconds:.0f} s",
        "source": "recorded runs",
    }


def _folder(root: str | Path | None) -> Traversable:
    """Where the files are: `root`, else within the package, from wherever that is imported."""
    return resources.files("hashlab.chapters") / "papers" if root is None else Path(root)


def _rows(file: Traversable, columns: Sequence[str]) -> list[dict]:
    """The rows of a file; raises InputError for other columns, even where there is no row."""
    with file.open("r", newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        _check_columns(reader.fieldnames or (), columns, f"{file.name}, line 1")
        rows = enumerate(reader, 2)  # line 1 is the head
        return [_row(row, columns, f"{file.name}, line {number}") for number, row in rows]


def _check_columns(got: Sequence[str | None], columns: Sequence[str], where: str) -> None:
    if tuple(got) != tuple(columns):
        names = ", ".join(map(str, got))
        raise InputError(f"{where}: the columns {', '.join(columns)} expected, got {names}")


def _row(row: dict, columns: Sequence[str], where: str) -> dict:
    """The row of a file as numbers;
    raises InputError, which begins with `where`, for one that is not complete.
    """
    _check_columns([name for name, value in row.items() if value is not None], columns, where)
    if row["status"] not in STATUSES or not row["source"]:
        expected = f"a status ({' or '.join(STATUSES)}) and a source"
        raise InputError(f"{where}: {expected} expected, got {row['status']!r}")
    try:
        bits = int(row["bits"]) if row["bits"] else None
        return row | {"bits": bits, "value": float(row["value"])}
    except ValueError:
        got = f"{row['bits']!r} and {row['value']!r}"
        raise InputError(
            f"{where}: bits must be a whole number and value a number, got {got}"
        ) from None
