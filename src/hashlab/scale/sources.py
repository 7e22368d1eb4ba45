"""Images by their addresses: in folders, in lists and in Parquet files, on disks and in stores.

| given | is |
|---|---|
| a folder | all images in it, also in subfolders, by their paths in it |
| `LIST.txt` | a path or an address on each line, which is the image's name |
| `LIST.parquet` | the same in a column `path`, and labels, if any, in a column `label` |
| any other file | one image |

An image of a folder has the name of the folder that it stands in as its label, if there is one.
Each may be a path or an address of fsspec's, `s3://bucket/photos` or `memory://photos`. Paths in a
list start from the folder that the list is in. Addresses may need a package more, which is named.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hashlab import files
from hashlab.data import folders
from hashlab.errors import InputError
from hashlab.search.shards import arrow

HERE = "file://"  # what stands before paths where addresses are expected
LISTS = (".txt", ".parquet")
WORDS = "text or whole numbers"  # what labels may be


class Images(NamedTuple):
    """Images that are to be encoded.

    Attributes:
        names: what they are called, each once.
        addresses: where they are: paths from the root, or addresses.
        labels: text or numbers; None where none is known.
        passed: how many files of which kind were passed over in folders.
        seen: paths that whoever reads the images must see.
    """

    names: list[str]
    addresses: list[str]
    labels: list[str | int | None]
    passed: Counter[str]
    seen: list[str]

    def digest(self) -> str:
        """SHA-256 of names and labels in their order."""
        sum_ = hashlib.sha256()
        for name, label in zip(self.names, self.labels, strict=True):
            sum_.update(f"{name!r} {label!r}\n".encode())
        return sum_.hexdigest()


def images(sources: Sequence[str | Path]) -> Images:
    """All images that several sources name, in their order.

    Raises InputError where there are none, or two of one name; for a store that does not answer.
    """
    every = Images([], [], [], Counter(), [])
    for source in map(str, sources):
        some = _of(source)
        for mine, more in zip(every[:3], some[:3], strict=True):
            mine.extend(more)
        every.passed.update(some.passed)
        every.seen.extend(some.seen)
    if not every.names:
        raise InputError("one image at least is expected, got none")
    if len(set(every.names)) < len(every.names):
        twice = Counter(every.names).most_common(1)[0][0]
        raise InputError(f"images of different names are expected, got {twice} twice")
    kinds = {type(label) for label in every.labels if label is not None}
    if len(kinds) > 1:
        raise InputError("labels must be text in all sources, or whole numbers in all")
    return every


def _of(source: str) -> Images:
    source = source.removeprefix(HERE)
    ending = PurePosixPath(source).suffix.lower()
    if ending in LISTS and not os.path.isdir(source):
        names, labels = _listed(source) if ending == ".txt" else _columns(source)
        addresses = [_from(source, name) for name in names]
        return Images(names, addresses, labels, Counter(), _folder_of(addresses))
    if "://" in source:
        return _in_store(source)
    if os.path.isfile(source):
        addresses = [os.path.abspath(source)]
        return Images([source], addresses, [None], Counter(), _folder_of(addresses))
    found, passed = folders.listing(source)
    names = [path.relative_to(source).as_posix() for path in found]
    root = os.path.abspath(source)
    addresses = [os.path.join(root, name) for name in names]
    return Images(names, addresses, _labels(names), passed, [root])


def _folder_of(addresses: Iterable[str]) -> list[str]:
    """The folder of the first image that is on a disk, as the driver sees it."""
    first = next((one for one in addresses if "://" not in one and os.path.isfile(one)), None)
    return [] if first is None else [os.path.dirname(first)]


def _labels(names: Iterable[str]) -> list[str | int | None]:
    """The names of the folders that images stand in; None for those beside all folders."""
    return [PurePosixPath(name).parent.name or None for name in names]


def _listed(source: str) -> tuple[list[str], list[Any]]:
    try:
        lines = content(source).decode().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{source} is not a text file ({error.reason})") from None
    names = [line.strip() for line in lines if line.strip()]
    return names, [None] * len(names)


def _columns(source: str) -> tuple[list[str], list[Any]]:
    """The columns `path` and `label` of a Parquet file."""
    pa, pq = arrow("scale")
    try:
        stored = pq.ParquetFile(pa.BufferReader(content(source)), pre_buffer=False)
        wanted = [name for name in ("path", "label") if name in stored.schema_arrow.names]
        table = stored.read(columns=wanted, use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{source} is no Parquet file ({str(error)[:100]})") from None
    names = table["path"].to_pylist() if "path" in wanted else [None]
    if not all(isinstance(name, str) and name for name in names):
        raise InputError(f"{source}: a column `path` of text is expected")
    labels = table["label"].to_pylist() if "label" in wanted else [None] * len(names)
    if not all(label is None or type(label) in (str, int) for label in labels):
        raise InputError(
            f"{source}: labels must be {WORDS}, got {stored.schema_arrow.field('label').type}"
        )
    return names, labels


def _from(source: str, name: str) -> str:
    """The address of an image in a list."""
    name = name.removeprefix(HERE)
    if "://" in name:
        return name
    if "://" in source:
        return name if name.startswith("/") else f"{source.rpartition('/')[0]}/{name}"
    return os.path.join(os.path.dirname(os.path.abspath(source)), name)


# ---- stores


def _in_store(source: str) -> Images:
    """One image of a store, or all below a folder of it."""
    system, root = store(source)
    try:
        if system.isfile(root):
            return Images([source], [source], [None], Counter(), [])
        paths = system.find(root)
    except Exception as error:  # whatever a store says
        raise InputError(f"{source} cannot be read ({_brief(error)})") from None
    start = root.rstrip("/") + "/"
    passed: Counter[str] = Counter()
    names = []
    known = folders.suffixes()
    for name in sorted(path.removeprefix(start) for path in paths):
        kind = _passed_over(name, known)
        passed[kind] += kind != ""
        names += [name] if kind == "" else []
    if not names:
        raise InputError(f"{source} holds no images; {folders.passed_over(+passed)}".rstrip("; "))
    addresses = [f"{source.rstrip('/')}/{name}" for name in names]
    return Images(names, addresses, _labels(names), +passed, [])


def _passed_over(name: str, known: frozenset[str]) -> str:
    """The kind of what is no image; nothing for one."""
    suffix = PurePosixPath(name).suffix.lower()
    if any(part.startswith(".") for part in PurePosixPath(name).parts):
        return "hidden"
    return "" if suffix in known else suffix or "without suffix"


def store(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except Exception as error:  # no such scheme, a package that is missing, no such host
        raise InputError(f"{address} cannot be opened here ({_brief(error)})") from None


def content(address: str, most: int = files.MOST_BYTES) -> bytes:
    """The bytes at a path or an address; raises InputError where there are none, or too many."""
    if "://" not in address:
        return files.read_bytes(address, most)
    system, path = store(address)
    try:
        with system.open(path, "rb") as opened:
            data = opened.read(most + 1)
    except Exception as error:  # whatever a store says
        raise InputError(f"{address}: {_brief(error)}") from None
    if len(data) > most:
        raise InputError(f"{address}: at most {most} bytes are read")
    return data


def _brief(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]


def attempt(address: str, shape: Sequence[int]) -> folders.Result:
    """An image in a model's shape, or why there is none; as `folders.attempt`."""
    if "://" not in address:
        return folders.attempt(Path(address), shape, "crop")
    try:
        data = content(address, folders.MOST_FILE)
        return folders.Whole(folders.decode(data, shape), hashlib.sha256(data).digest())
    except InputError as error:
        return folders.Broken(str(error).removeprefix(f"{address}: "))
