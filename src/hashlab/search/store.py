"""An index as a folder: arrays that are mapped into memory, and `index.json`, which has the SHA-256
of each.

    index.json        bits, tables, how many items, names of columns, notes, check sums
    codes.npy         uint8 (N, 8 W): padded to whole words, so that they are searched where they lie
    ids.npy           int64 (N,), or the bytes of text in UTF-8; ascending
    ranks_I.npy       int32 (N,): which value of column I an item has, -1 for none
    values_I.json     the distinct values of column I

The folder is replaced as a whole, so that who reads has the old index or the new one. Equal indexes
have equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, files
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.search import combining
from hashlab.search.columns import NOTHING, Columns
from hashlab.search.servers import PREFIX

SUMMARY = "index.json"
CODES = "codes.npy"
IDS = "ids.npy"
FORMAT = "hashlab index 1"
FIELDS = {
    "format": str,
    "bits": int,
    "tables": list,
    "items": int,
    "columns": list,
    "notes": dict,
    "sha256": dict,
    "digest": str,
}


class Content(NamedTuple):
    """What is in an index: of N items ids in ascending order, their codes and metadata.

    `notes` are facts about the whole, JSON values by name.
    """

    tables: tuple[int, ...]
    ids: np.ndarray
    codes: np.ndarray
    columns: Columns
    notes: dict[str, Any]


# ---- writing


def packed(content: Content) -> dict[str, bytes]:
    """The files of an index, the summary last."""
    columns = content.columns.canonical()
    parts = {CODES: _npy(content.codes), IDS: _npy(content.ids)}
    for number, name in enumerate(columns.values):
        parts[f"ranks_{number}.npy"] = _npy(columns.ranks[name])
        parts[f"values_{number}.json"] = _json(columns.values[name])
    summary = {
        "format": FORMAT,
        "bits": sum(content.tables),
        "tables": list(content.tables),
        "items": len(content.ids),
        "columns": list(columns.values),
        "notes": content.notes,
        "sha256": {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
    }
    summary["digest"] = digest(summary)
    return parts | {SUMMARY: _json(summary)}


def write(parts: Mapping[str, bytes], folder: Path) -> None:
    """Put an index in the place of what is in a folder; under the lock of that.

    Raises OSError where there is no room; the folder is as it was then.
    """
    with _disk.aside(folder) as beside:
        for name, part in parts.items():
            _disk.write(beside / name, part)
        _disk.swap(beside, folder)


def check_target(target: str | Path) -> Path:
    """Raise InputError unless an index may be written into a folder, and return that.

    It may be a new folder, an empty one, or one that holds an index.
    """
    files.check_name(target)
    if str(target).startswith(PREFIX):
        raise InputError(
            f"{target} is an address: open_index opens it, and what is put there is kept"
        )
    folder = files.check_replaceable(target)
    held = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if held and SUMMARY not in held:
        raise InputError(f"{folder} holds other things than an index ({held[0]}, …)")
    return folder


def digest(summary: Mapping[str, Any]) -> str:
    """SHA-256 of all that a summary holds but its digest."""
    rest = {key: value for key, value in summary.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()


# ---- reading


def described(folder: Path) -> dict[str, Any]:
    """What `index.json` says; raises InputError where it does not describe an index."""
    file = folder / SUMMARY
    if not folder.is_dir() or not file.exists():
        raise InputError(f"{folder} is not an index: {SUMMARY} missing")
    try:
        summary = files.read_json(file)
        fits = all(isinstance(summary[key], kind) for key, kind in FIELDS.items())
        whole = fits and summary["digest"] == digest(summary)
    except InputError as error:
        raise InputError(f"{file} does not describe an index ({error})") from None
    except (KeyError, TypeError, ValueError):  # a field is missing, or it is no object
        fits = whole = False
    if not fits or summary["format"] != FORMAT:
        raise InputError(f"{file} does not describe an index as this version writes it")
    if not whole:
        raise InputError(f"{file} is damaged: it has changed since it was written")
    return summary


def read(folder: Path) -> tuple[Content, str]:
    """What is in an index, mapped into memory, and its digest.

    Raises:
        InputError: a file that is missing or damaged, or does not go with the others.
    """
    summary = described(folder)
    try:
        content = _content(folder, summary)
    except InputError:
        raise
    except (LookupError, OSError, OverflowError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
        raise InputError(f"{folder} is damaged: {reason}") from None
    return content, summary["digest"]


def _content(folder: Path, summary: dict[str, Any]) -> Content:
    tables = codes.check_tables(summary["bits"], summary["tables"])
    size = summary["items"]
    sums = summary["sha256"]
    ids = _array(folder, IDS, sums)
    held = _array(folder, CODES, sums)
    columns = _columns(folder, summary["columns"], size, sums)
    if ids.shape != (size,) or ids.dtype.kind not in "iS" or not (ids[1:] > ids[:-1]).all():
        raise InputError(f"{folder / IDS} is damaged: {size} ascending ids are expected")
    if len(held) != size:
        raise InputError(f"{folder / CODES} is damaged: {size} codes are expected, got {len(held)}")
    combining.check_codes(held, tables, f"{folder / CODES}: codes")
    return Content(tables, ids, held, columns, summary["notes"])


def _columns(folder: Path, names: Sequence[Any], size: int, sums: Mapping[str, Any]) -> Columns:
    columns = Columns(size)
    for number, name in enumerate(names):
        ranks = _array(folder, f"ranks_{number}.npy", sums)
        values = _values(folder, f"values_{number}.json", sums)
        low = ranks.min(initial=NOTHING) if ranks.dtype == np.int32 else NOTHING - 1
        fits = isinstance(name, str) and name not in columns.values and ranks.shape == (size,)
        if not fits or low < NOTHING or ranks.max(initial=NOTHING) >= len(values):
            raise InputError(f"{folder} is damaged: column {number} does not go with its items")
        columns.ranks[name] = ranks
        columns.values[name] = values
    return columns


def _values(folder: Path, name: str, sums: Mapping[str, Any]) -> list[Any]:
    file = folder / name
    _check_sum(file, files.read_bytes(file), sums)
    values = files.read_json(file)
    if not isinstance(values, list):
        raise InputError(f"{file} is damaged: a list is expected")
    return values


def _array(folder: Path, name: str, sums: Mapping[str, Any]) -> np.ndarray:
    """An array where it lies in its file, read-only."""
    file = folder / name
    if not file.is_file():
        raise InputError(f"{folder} is damaged: {name} missing")
    with open(file, "rb") as content:
        mapped = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ)
    _check_sum(file, mapped, sums)
    shape, by_column, dtype = files.npy_header(mapped, len(mapped), str(file))
    if by_column and len(shape) > 1:
        raise InputError(f"{file} is damaged: an array by rows is expected")
    if not math.prod(shape):
        return np.empty(shape, dtype)
    return np.frombuffer(mapped, dtype, offset=mapped.tell()).reshape(shape)


def _check_sum(file: Path, content: bytes | mmap.mmap, sums: Mapping[str, Any]) -> None:
    if hashlib.sha256(content).hexdigest() != sums.get(file.name):
        raise InputError(f"{file} is damaged: its SHA-256 is not that in {SUMMARY}")
