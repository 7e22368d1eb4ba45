"""Codes in Parquet files, for an index anywhere: what `hashlab encode --on …` writes, and others may.

A folder of shards has files `*.parquet` with the columns

    path     text, the id; each stands once in all shards
    code     ceil(K / 8) bytes, as in files of codes; null for an image without a code
    label    text, numbers or lists of them; may be null or missing
    error    text: why an image has no code; may be null or missing

and says of which model they are: in a file `shards.json`, or in the metadata of every Parquet file,
where `hashlab.bits` is K and `hashlab.model` the SHA-256 of the model's weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, files
from hashlab.errors import InputError
from hashlab.progress import Progress
from hashlab.search.index import edit
from hashlab.search.opening import Searched, is_remote, open_index

SUMMARY = "shards.json"
COUNTS = ("bits", "images", "size")  # in it: of a code, of all shards, of a shard
COLUMNS = ("path", "code", "label", "error")
OF_SHARDS = "shards"  # a note of an index that was made of shards
BITS, MODEL = b"hashlab.bits", b"hashlab.model"  # in the metadata of a file


class Shards(NamedTuple):
    """A folder of shards: what it says of itself, and its files in order.

    `model` is what tells the model from others, with its `sha256`; `rows` is how many images each
    file has to hold, None where that is not said.
    """

    folder: Path
    bits: int
    tables: tuple[int, ...]
    model: dict[str, Any]
    files: list[Path]
    rows: list[int] | list[None]


class Part(NamedTuple):
    """What a shard holds: N paths, codes uint8 (N, ceil(K / 8)), and labels, None for none; and why
    others have no code.
    """

    names: list[str]
    codes: np.ndarray
    labels: list[Any]
    broken: list[tuple[str, str]]


class Block(NamedTuple):
    """What of a shard has a code: N paths, packed codes uint8 (N, bytes), and labels."""

    names: list[str]
    codes: np.ndarray
    labels: list[Any]


def load_shards(
    folder: str | Path,
    address: str | Path,
    *,
    notes: Mapping[str, Any] | None = None,
    token: str | None = None,
) -> int:
    """Put the codes of all shards into an index, which may be new; returns how many they are.

    An item that is there already is replaced, so loading again gives the same, also after a loading
    that was killed. An index on disk changes as a whole; one in Milvus shard by shard.

    Args:
        address: see `open_index`.
        notes: of a new index; those on `model` are about the model of the shards.
        token: see `open_index`.

    Raises:
        InputError: no shards, some missing, damaged or of several models, a path that stands in
            them twice; an index of other bits or another model. Nothing has been loaded then.
    """
    shards = described(folder)
    total = _check(shards)
    notes = {"model": shards.model, OF_SHARDS: True, **(notes or {})}
    if is_remote(address):
        index = open_index(address, bits=shards.bits, tables=shards.tables, token=token)
        with index:
            _prepare(index, notes, shards, address)
            for block in Progress(blocks(shards), "loading", total=len(shards.files)):
                index.put(block.names, block.codes, {"label": block.labels})
    else:
        with edit(address, shards.bits, shards.tables) as index:
            _prepare(index, notes, shards, address)
            block = _joined(list(blocks(shards)))
            index.put(block.names, block.codes, {"label": block.labels})
    return total


def described(folder: str | Path) -> Shards:
    """The shards in a folder.

    Raises InputError where there are none, or some are missing.
    """
    files.check_name(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; one of shards is expected")
    parts = sorted(folder.glob("*.parquet"), key=lambda file: (len(file.name), file.name))
    if (folder / SUMMARY).exists():
        return _summarised(folder, parts)
    if not parts:
        raise InputError(f"{folder} holds no shards: no {SUMMARY}, no *.parquet")
    bits, model = _own(parts[0])
    return Shards(folder, bits, (bits,), {"sha256": model}, parts, [None] * len(parts))


def _summarised(folder: Path, parts: list[Path]) -> Shards:
    """What `shards.json` says; a part that is missing is an error."""
    facts = summary(folder)
    model, bits, size = (facts[name] for name in ("model", "bits", "size"))
    tables = codes.check_tables(bits, model.get("tables"))
    expected = -(-facts["images"] // size)
    if len(parts) != expected:
        raise InputError(
            f"{folder} has {len(parts)} of {expected} shards: run `hashlab encode` again"
        )
    rows = [size] * (expected - 1) + [facts["images"] - size * (expected - 1)]
    return Shards(folder, bits, tables, model, parts, rows)


def summary(folder: str | Path) -> dict[str, Any]:
    """What `shards.json` says; raises InputError for a folder without it, or of something else."""
    file = Path(folder) / SUMMARY
    facts = files.read_json(file, "about shards")
    fits = isinstance(facts, dict) and isinstance(facts.get("model"), dict)
    fits = fits and isinstance(facts["model"].get("sha256"), str)
    if not fits or any(type(facts.get(name)) is not int or facts[name] < 1 for name in COUNTS):
        raise InputError(f"{file} does not describe shards")
    return facts


def blocks(shards: Shards) -> Iterator[Block]:
    """What an index takes of shard after shard; raises InputError as `contents`."""
    for part in contents(shards):
        packed = codes.pad(part.codes, shards.bits)
        yield Block(part.names, files.split_tables(packed, shards.bits, shards.tables), part.labels)


def contents(shards: Shards) -> Iterator[Part]:
    """What is in shard after shard; raises InputError for one that is damaged, or of other codes."""
    for file, rows in zip(shards.files, shards.rows, strict=True):
        part = _part(file, shards.bits)
        count = len(part.names) + len(part.broken)
        if rows not in (None, count):
            raise InputError(f"{file} has {count} images, but {rows} by {SUMMARY}")
        yield part


def _part(file: Path, bits: int) -> Part:
    library, parquet = arrow()
    try:
        content = library.BufferReader(files.read_bytes(file))
        stored = parquet.ParquetFile(content, page_checksum_verification=True, pre_buffer=False)
        names = [name for name in COLUMNS if name in stored.schema_arrow.names]
        if names[:2] != ["path", "code"] or not _fits(stored.schema_arrow, bits, library.types):
            raise ValueError(f"columns path (text) and code ({-(-bits // 8)} bytes) are expected")
        table = stored.read(columns=names, use_threads=False)
        if table["path"].null_count:
            raise ValueError("an image without a path")
        return _divided(table, bits)
    except (library.ArrowException, LookupError, OSError, OverflowError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{file} is no shard, or is damaged: {reason}") from None


def _divided(table: Any, bits: int) -> Part:
    """The rows of a table that have a code, and those that have none."""
    coded = table["code"].is_valid()
    good, bad = (_lists(table.filter(rows)) for rows in (coded, table["code"].is_null()))
    width = -(-bits // 8)
    packed = np.frombuffer(b"".join(good["code"]), np.uint8).reshape(-1, width)
    reasons = [reason or "" for reason in bad["error"]]
    broken = list(zip(bad["path"], reasons, strict=True))
    return Part(good["path"], packed, good["label"], broken)


def _lists(table: Any) -> dict[str, list[Any]]:
    """The columns of a table; None for all of one that is missing."""
    missing = dict.fromkeys(COLUMNS, [None] * len(table))
    return missing | table.to_pydict()


def _fits(schema: Any, bits: int, types: Any) -> bool:
    path, code = (schema.field(name).type for name in ("path", "code"))
    text = types.is_string(path) or types.is_large_string(path)
    return text and types.is_fixed_size_binary(code) and code.byte_width == -(-bits // 8)


def _own(file: Path) -> tuple[int, str]:
    """The bits and the model that a Parquet file says its codes are of."""
    library, parquet = arrow()
    try:
        metadata = parquet.read_schema(library.BufferReader(files.read_bytes(file))).metadata or {}
        return int(metadata[BITS]), metadata[MODEL].decode()
    except (library.ArrowException, KeyError, OSError, ValueError):
        names = " and ".join(name.decode() for name in (BITS, MODEL))
        raise InputError(f"{file} is no shard: a Parquet file with {names} is expected") from None


def _check(shards: Shards) -> int:
    """Read every shard once, and count its codes.

    Raises InputError as `blocks`, for shards of another model, and a path that stands in two.
    """
    alone = not (shards.folder / SUMMARY).exists()
    sums = [np.empty(0, np.int64)]
    for file, block in zip(shards.files, blocks(shards), strict=True):
        if alone and _own(file) != (shards.bits, shards.model["sha256"]):
            raise InputError(f"{file} is of another model or bits than {shards.files[0].name}")
        sums.append(np.fromiter(map(hash, block.names), np.int64, len(block.names)))
    sums_, counts = np.unique(np.concatenate(sums), return_counts=True)
    if len(sums_) < counts.sum():
        _check_once(shards, set(sums_[counts > 1].tolist()))
    if not len(sums_):
        raise InputError(f"{shards.folder}: none of the images has a code")
    return int(counts.sum())


def _check_once(shards: Shards, sums: set[int]) -> None:
    """Raise InputError where a path of one of these check sums stands in the shards twice."""
    seen = set()
    for block in blocks(shards):
        for name in block.names:
            if hash(name) in sums and name in seen:
                raise InputError(f"{shards.folder}: {name} stands in the shards twice")
            if hash(name) in sums:
                seen.add(name)


def _prepare(index: Searched, notes: dict[str, Any], shards: Shards, address: str | Path) -> None:
    """Give a new index its notes; raise InputError for one of another model."""
    if not index.notes and not len(index):
        index.notes = notes
    own = index.notes.get("model")
    sha256 = own.get("sha256") if isinstance(own, dict) else None
    if sha256 != shards.model["sha256"]:
        raise InputError(
            f"{address} is of another model (sha256 {str(sha256)[:12]}…) than {shards.folder} "
            f"(sha256 {shards.model['sha256'][:12]}…)"
        )


def _joined(parts: list[Block]) -> Block:
    names = [name for part in parts for name in part.names]
    labels = [label for part in parts for label in part.labels]
    return Block(names, np.concatenate([part.codes for part in parts]), labels)


def arrow(extra: str = "milvus") -> tuple[Any, Any]:
    """pyarrow and its reader of Parquet; raises InputError, with the extra that has them, where they
    are not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"shards need pyarrow: pip install 'hashlab[{extra}]'") from None
    return pyarrow, pyarrow.parquet
