"""Codes and labels in anybody's files, as one set of arrays: `.npz`, `.npy`, `.mat`, `.pt`, `.csv`.

A file holds one array, or several by name. The names are those of `files`: `query_codes,
database_codes, query_labels, database_labels`, and `bits, format, bitorder`. A file of one array
has the name that it is asked for, or its own: `query_codes.npy`.

- `.npz`, `.npy`: plain numbers or text, nothing pickled.
- `.mat`: of MATLAB up to version 7.2; sparse matrices, rows for columns and cells of text too.
- `.pt`: tensors, or lists of text, nothing else (torch reads them with `weights_only`).
- `.csv`: a row an item, with commas, semicolons or tabs; a line of names above is not needed. With
  columns `side, code, label`, a row an item of either side (query or database).
"""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import codes, files
from hashlab.errors import InputError

Arrays = dict[str, np.ndarray]
SIDES = ("query", "database")
TABLE = {"side", "code", "label"}  # the columns of a table of both sides
HEADS = {"code", "codes", "hash", "label", "labels", "class", *files.ARRAYS}  # above a column


def read(
    whole: Sequence[Path],
    single: Mapping[str, str | Path] | None = None,
    form: str | None = None,
) -> Arrays:
    """All arrays of some files by name.

    Args:
        whole: files that hold arrays by name; of one array, the name of the file is its name.
        single: name -> file with that array; FILE:NAME where the file has several.
        form: of the codes, one of `files.FORMATS` and `files.HASHES`, where they do not say it.

    Raises:
        InputError: no file, none of these formats, an array that is there twice, digits that may be
            hexadecimal or not.
    """
    stored: Arrays = {}
    parts = [(str(file), _named(file, read_file(file))) for file in whole]
    parts += [(str(word), {name: _one(word)}) for name, word in (single or {}).items()]
    for file, arrays in parts:
        twice = sorted(stored.keys() & arrays.keys())
        if twice:
            raise InputError(f"{file}: {twice[0]} is in another file too")
        stored |= {name: _meant(name, array, form, file) for name, array in arrays.items()}
    return _upright(stored)


class Cells(np.ndarray):
    """A column of cells of a `.csv`: whether they are text or numbers depends on what it is for."""


def _meant(name: str, array: np.ndarray, form: str | None, file: str) -> np.ndarray:
    """An array as numbers or text; cells of hexadecimal codes stay text."""
    if not isinstance(array, Cells):
        return array
    cells = np.asarray(array)
    if name not in files.CODES or form not in (None, "hex"):
        return _typed(cells)
    if form == "hex":
        return cells
    lengths = {len(cell) for cell in cells.ravel().tolist()}
    digits = all(cell.isdecimal() for cell in cells.ravel().tolist())
    if digits and len(lengths) == 1 and lengths != {1}:
        raise InputError(
            f"{file}: {name} may be hexadecimal or whole numbers: give the format, hex or integers"
        )
    typed = _typed(cells)
    return typed if typed.dtype.kind in "iu" else cells


def read_file(file: Path) -> Arrays:
    """The arrays of one file by name; the name is "" where there is one that has none.

    Raises InputError where it is in none of the formats, or damaged.
    """
    if file.suffix.lower() not in READERS:
        raise InputError(f"{file}: one of {', '.join(READERS)} is expected")
    return READERS[file.suffix.lower()](files.read_bytes(file), file)


def _named(file: Path, arrays: Arrays) -> Arrays:
    return {name or file.stem: array for name, array in arrays.items()}


def _one(word: str | Path) -> np.ndarray:
    """The array that FILE or FILE:NAME has."""
    file, colon, name = str(word).rpartition(":")
    if not colon or Path(word).is_file():
        file, name = str(word), ""
    arrays = read_file(Path(file))
    if name and name not in arrays:
        raise InputError(f"{file}: {name} missing; it holds: {', '.join(arrays)}")
    if not name and len(arrays) != 1:
        holds = ", ".join(arrays) or "nothing"
        raise InputError(f"{file}: one array is expected, or FILE:NAME; it holds: {holds}")
    return arrays[name] if name else next(iter(arrays.values()))


def _upright(stored: Arrays) -> Arrays:
    """Hashes and labels that lie in one row, as MATLAB has them, stand in one column."""
    for side in SIDES:
        labels, items = stored.get(f"{side}_labels"), stored.get(f"{side}_codes")
        if labels is None or items is None or items.ndim == 0:
            continue
        if items.ndim == 2 and len(items) == 1 and files.may_be_hashes(items[0]):
            stored[f"{side}_codes"] = items = items[0]
        if labels.ndim == 2 and labels.shape == (1, len(items)) and len(items) > 1:
            stored[f"{side}_labels"] = labels[0]
    return stored


# ---- a reader per format


def _npz(data: bytes, file: Path) -> Arrays:
    return files.arrays(data, file)


def _npy(data: bytes, file: Path) -> Arrays:
    try:
        return {"": files.npy_array(io.BytesIO(data), len(data), "it")}
    except InputError as error:
        raise InputError(f"{file} cannot be read as .npy: {error}") from None


def _mat(data: bytes, file: Path) -> Arrays:
    from scipy.io import loadmat

    try:
        with warnings.catch_warnings(action="ignore"):  # of what it can live with
            stored = loadmat(io.BytesIO(data), mat_dtype=True, chars_as_strings=True)
        named = {name: _cells(value) for name, value in stored.items() if name[:2] != "__"}
    except NotImplementedError:
        raise InputError(
            f"{file} is of MATLAB 7.3; save it with -v7 instead, or convert it to .csv"
        ) from None
    except Exception as error:  # whatever the bytes lead SciPy's reader to
        raise InputError(f"{file} cannot be read as .mat: {_brief(error)}") from None
    return {name: _plain(value, f"{file}: {name}") for name, value in named.items()}


def _cells(value: Any) -> Any:
    """A sparse matrix as a dense one, and a column of cells of text as text."""
    if hasattr(value, "toarray"):
        if value.shape[0] * value.shape[1] > files.MOST_BYTES:
            raise InputError(f"a sparse matrix of {value.shape} is too large")
        return value.toarray()
    if getattr(value, "dtype", np.dtype(int)).hasobject:
        cells = [np.asarray(cell) for cell in value.ravel()]
        if all(cell.dtype.kind == "U" and cell.size == 1 for cell in cells):
            return np.array([cell.item() for cell in cells])
    return value


def _pt(data: bytes, file: Path) -> Arrays:
    import torch

    try:
        stored = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes lead torch's reader to
        raise InputError(
            f"{file} cannot be read as .pt of tensors alone: {_brief(error)}"
        ) from None
    named = stored if isinstance(stored, dict) else {"": stored}
    return {str(name): _plain(value, f"{file}: {name}") for name, value in named.items()}


def _csv(data: bytes, file: Path) -> Arrays:
    rows = _rows(data, file)
    head = [cell.lower() for cell in rows[0]]
    if set(head) == TABLE and len(head) == len(TABLE):
        return _of_both_sides(rows[1:], head, file)
    if _is_head(rows):
        rows = rows[1:]
    if not rows:
        raise InputError(f"{file}: rows are expected below its names, got none")
    cells = np.array(rows)
    return {"": cells.view(Cells) if cells.shape[1] == 1 else _typed(cells)}


def _rows(data: bytes, file: Path) -> list[list[str]]:
    """The cells of every line that is not empty; raises InputError for lines of several widths."""
    try:
        text = data.decode("utf-8-sig")
        first = text.split("\n", 1)[0]
        between = next((sign for sign in ",;\t" if sign in first), ",")
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=between, strict=True)
        rows = [[cell.strip() for cell in row] for row in lines if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file} cannot be read as .csv: {_brief(error)}") from None
    if not rows:
        raise InputError(f"{file}: rows are expected, it is empty")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise InputError(
                f"{file}: row {number} has {len(row)} cells, {len(rows[0])} are expected as above"
            )
    return rows


def _is_head(rows: list[list[str]]) -> bool:
    """Whether the first row has names above columns: words above numbers, or names that we know."""
    first = rows[0]
    if any(cell.lower() in HEADS for cell in first):
        return True
    words = all(cell and not set(cell.lower()) <= files.HEX for cell in first)
    below = np.array(rows[1:])
    return words and _kind(first) == "U" and len(below) > 0 and _kind(below) != "U"


def _kind(cells: Any) -> str:
    return _typed(np.array(cells)).dtype.kind


def _typed(cells: np.ndarray) -> np.ndarray:
    """Cells as whole numbers, else as real ones, where all of them are; else as text.

    Numbers with zeros in front are text: of a hexadecimal hash they are digits.
    """
    if _leads_with_zero(cells):
        return cells
    for kind in (np.int64, np.uint64, np.float64):
        try:
            return cells.astype(kind)
        except (ValueError, OverflowError):
            continue
    return cells


def _leads_with_zero(cells: np.ndarray) -> bool:
    return any(
        len(cell) > 1 and cell[0] == "0" and cell.isalnum() for cell in cells.ravel().tolist()
    )


def _of_both_sides(rows: list[list[str]], head: list[str], file: Path) -> Arrays:
    """The four arrays of a table with a row an item."""
    if not rows:
        raise InputError(f"{file}: rows are expected below its names, got none")
    columns = dict(zip(head, np.array(rows).reshape(-1, 3).T, strict=True))
    sides = np.char.lower(columns["side"])
    unknown = np.setdiff1d(sides, SIDES)
    if len(unknown):
        raise InputError(f"{file}: side must be query or database, got {str(unknown[0])!r}")
    cells = {"codes": columns["code"].view(Cells), "labels": _typed(columns["label"])}
    return {
        f"{side}_{name}": column[sides == side] for side in SIDES for name, column in cells.items()
    }


def _plain(value: Any, what: str) -> np.ndarray:
    """A tensor, array or list as an array of plain numbers or text."""
    array = codes.as_numpy(value, what)
    if array.dtype.kind not in files.PLAIN:
        raise InputError(f"{what}: plain numbers or text are expected, got {array.dtype}")
    return array


def _brief(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


READERS: dict[str, Callable[[bytes, Path], Arrays]] = {
    ".npz": _npz,
    ".npy": _npy,
    ".mat": _mat,
    ".pt": _pt,
    ".csv": _csv,
}
