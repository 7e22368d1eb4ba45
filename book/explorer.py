"""The data of the page "An explorer", from the records of experiments/explorer.toml:
`python book/build.py explorer` writes book/_static/explorer-data.js.

The file is a script and not JSON, for a page that was opened from disk may not fetch anything. It
holds images, labels and codes; whatever the page says of them it counts itself.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
from hashlab_book import ROOT
from methods_page import what

from hashlab import codes, data, grid, methods, plots
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.records import Record

GRID = ROOT / "experiments" / "explorer.toml"
TARGET = ROOT / "book" / "_static" / "explorer-data.js"
DARKEST = 16  # of the pixels of digits, 0..16
SIDE = 255  # of the map: a byte for each coordinate


def script(root: Path | None = None) -> str:
    """The whole file: `window.explorerData = {…}`, a line per key."""
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in everything(root).items()]
    return "window.explorerData = {\n" + ",\n".join(lines) + "\n};\n"


def everything(root: Path | None = None) -> dict[str, Any]:
    """What the page needs; `root` is where records are. Queries come first, then the database."""
    digits = data.load("digits")
    about = data.info("digits")
    images = np.concatenate([digits.query.images, digits.database.images])  # (N, 8, 8)
    labels = np.concatenate([digits.query.labels, digits.database.labels])  # (N,)
    return {
        "source": about.source,
        "licence": about.licence,
        "queries": len(digits.query.labels),
        "labels": "".join(map(str, labels)),
        "images": pixels(images),
        "methods": [described(row, found) for row, found in kept(root)],
    }


def pixels(images: np.ndarray) -> str:
    """Images (N, 8, 8), a letter per pixel: `a` is white, `q` is ink."""
    levels = np.rint(images / 255 * DARKEST).astype(np.uint8)
    return (levels + ord("a")).tobytes().decode("ascii")


def kept(root: Path | None = None) -> list[tuple[grid.Row, list[Record]]]:
    """Each row of the grid with its records, short codes first.

    Raises InputError where one is missing.
    """
    wanted = grid.read(GRID)
    there = wanted.kept(root)
    rows = [(row, list(wanted.cells(row, there).values())) for row in wanted.rows]
    for row, found in rows:
        if None in found:
            raise InputError(f"{row.name} has no record for each length: `hashlab grid {GRID}`")
    return rows


def described(row: grid.Row, found: list[Record]) -> dict[str, Any]:
    """One method of the menu with its codes of every length."""
    which = methods.kind_of(row.method)
    return {
        "name": row.name,
        "about": what(which),
        "codes": {str(record.bits): with_map(record) for record in found},
    }


def with_map(record: Record) -> dict[str, str]:
    """A record's codes, ceil(K / 8) bytes per image, and where each different code lies on the map,
    2 bytes per code in the order in which they first come.
    """
    stored = record.codes()
    packed = np.concatenate([stored["query_codes"], stored["database_codes"]])  # (N, 8 * words)
    return {
        "record": f"{record.protocol}/{record.path.stem}",
        "variant": record.variant,
        "packed": text(codes.trim(packed, record.bits)),
        "map": text(places(codes.unpack(distinct(packed), record.bits))),
    }


def distinct(packed: np.ndarray) -> np.ndarray:
    """The different codes among packed ones (N, B), in the order in which they first come."""
    _, first = np.unique(packed, axis=0, return_index=True)
    return packed[np.sort(first)]


def places(bits: np.ndarray) -> np.ndarray:
    """Where different codes, bool (M, K), lie on the map: uint8 (M, 2), by t-SNE."""
    flat = plots.flattened(bits)
    low, high = flat.min(0), flat.max(0)
    return np.rint((flat - low) / (high - low) * SIDE).astype(np.uint8)


def text(array: np.ndarray) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def write() -> None:
    """Write the data of the page."""
    _disk.write(TARGET, script().encode())
