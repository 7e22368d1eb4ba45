"""What the papers report: one CSV per paper in `data/reported`, every figure with its source.

A figure that nobody here has seen stands nowhere. A reader who owns a paper fills a gap by adding a
row.
"""

from __future__ import annotations

import csv
from pathlib import Path

from hashlab import _disk
from hashlab.errors import InputError

COLUMNS = ("paper", "method", "dataset", "bits", "metric", "value", "status", "source")
STATUSES = ("SEEN", "SEEN-2nd")  # read in the source itself, or in somebody else's summary of it


def load(paper: str, root: str | Path | None = None) -> list[dict]:
    """The reported figures of one paper; `bits` is an int or None, `value` a float.

    Raises InputError for a paper without a file and for a row that is not complete.
    """
    if root is None:
        root = (_disk.checkout() or Path.cwd()) / "data" / "reported"
    folder = Path(root)
    file = folder / f"{paper}.csv"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in folder.glob("*.csv"))) or "none"
        raise InputError(f"no reported figures for {paper!r} in {folder}; there: {known}")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = enumerate(csv.DictReader(lines), 2)  # line 1 is the head
        return [_row(row, f"{file.name}, line {number}") for number, row in rows]


def _row(row: dict, where: str) -> dict:
    """The row of a file as numbers;
    raises InputError, which begins with `where`, for one that is not complete.
    """
    if tuple(row) != COLUMNS or None in row.values():
        got = ", ".join(map(str, row))
        raise InputError(f"{where}: the columns {', '.join(COLUMNS)} expected, got {got}")
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
