"""Codes of many images as a folder of Parquet files, each of which is made by itself.

`shards.json` says of which model and images they are, and how many stand in a file;
`shard-00012.parquet` has the columns::

    path    name of the image
    code    ceil(K / 8) bytes, as hashlab encode writes them into an .npz; null for a broken image
    label   text or a whole number; null where none is known
    error   why an image is broken; null for one that has a code

A file that is there is never made again, and one that is made again has the same bytes. So whatever
ends the work, the same command goes on with what is missing.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, files, methods
from hashlab.data import folders, items
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.methods import models
from hashlab.progress import Progress
from hashlab.scale import pools, sources
from hashlab.search.shards import SUMMARY, arrow, contents, described, summary

SIZE = 4096  # images of a shard
FILES = (models.WEIGHTS, models.SUMMARY)  # of a model
TYPES = {str: "string", int: "int64"}  # of labels


class Shard(NamedTuple):
    """The images of a shard."""

    number: int
    names: list[str]
    addresses: list[str]
    labels: list[Any]


class Summary(NamedTuple):
    """What a folder of shards holds, and what was passed over in folders of images.

    Args:
        images: how many have codes.
        bits: K.
        broken: the others, name -> reason.
        passed: how many files of which kind are no images.
    """

    images: int
    bits: int
    broken: dict[str, str]
    passed: Any


class Codes(NamedTuple):
    """Images of a shard that have codes: names, uint8 (N, ceil(K/8)), and labels or None."""

    names: list[str]
    codes: np.ndarray
    labels: list[Any]


OpenPool = Callable[[Callable[[], Any]], pools.Pool]


def encode(
    model: str | Path,
    given: Sequence[str | Path],
    folder: str | Path,
    *,
    size: int = SIZE,
    device: str | None = None,
    open_pool: OpenPool = pools.Here,
) -> Summary:
    """Write the codes of images as shards into a folder, as far as they are missing there.

    Their codes are those that `hashlab encode` gives on as many threads. Another process that works
    on the same folder is waited for.

    Args:
        model: folder of a saved model; processes and machines get it from here.
        given: images and folders of them, lists of paths (`.txt`), Parquet files with a column `path`,
            or addresses of stores, `s3://bucket/photos`.
        folder: new, empty, or one that an earlier call began with the same model and images.
        size: images of a shard, a multiple of those that are encoded at once; another is refused.
        open_pool: gives the pool that does it, for example
            `functools.partial(hashlab.scale.open_pool, "ray")`; this process when not given.

    Returns:
        A `Summary`.

    Raises:
        InputError: a model of features, no images, a folder of another model or of other images;
            before any work. A machine that does not see a folder of images.
    """
    arrow("scale")
    if size < 1 or size % models.BLOCK:
        raise InputError(f"a shard holds a multiple of {models.BLOCK} images, got {size}")
    folder = Path(folder)
    files.check_folder(folder)
    bits = _check_model(model)
    images = sources.images(given)
    about = _about(model, images, size, bits)
    _check_place(folder, about)
    encoder = partial(Encoder, _contents(model), device, images.seen, about["labels"])
    with open_pool(encoder) as pool:
        pool.check()
        with _disk.lock(folder / "shards"):
            _check_place(folder, about)  # another process may have been faster
            _begin(folder, about)
            _fill(folder, _cut(images, size), pool)
    broken = dict(errors(folder))
    return Summary(len(images.names) - len(broken), bits, broken, images.passed)


def _check_model(model: str | Path) -> int:
    """The bits of a saved model of images, which is loaded once to see that it can be."""
    method = methods.load(model, "cpu")
    if items.are_features(method.shape):
        raise InputError(
            f"a model of images is expected, got one of {items.described(method.shape)}"
        )
    return method.bits


def _contents(model: str | Path) -> dict[str, bytes]:
    return {name: files.read_bytes(Path(model) / name) for name in FILES}


def _about(model: str | Path, images: sources.Images, size: int, bits: int) -> dict[str, Any]:
    known = next((label for label in images.labels if label is not None), "")
    return {
        "model": models.identity(model),
        "bits": bits,
        "images": len(images.names),
        "source": images.digest(),
        "size": size,
        "labels": TYPES[type(known)],
    }


def about(folder: str | Path) -> dict[str, Any]:
    """What `shards.json` says; raises InputError for a folder that holds none of ours."""
    facts = summary(folder)
    if not isinstance(facts.get("source"), str) or facts.get("labels") not in TYPES.values():
        raise InputError(f"{Path(folder) / SUMMARY} does not describe shards of images")
    return facts


def _check_place(folder: Path, wanted: dict[str, Any]) -> None:
    """Raise InputError where a folder holds anything but a part of these shards."""
    if not folder.is_dir():
        return
    if not (folder / SUMMARY).is_file():
        others = [path.name for path in folder.iterdir() if not _disk.OURS.fullmatch(path.name)]
        if others:
            raise InputError(f"{folder} holds other things than shards ({others[0]}, …)")
        return
    facts = about(folder)
    if facts["model"] != wanted["model"]:
        own, other = (str(one["model"].get("sha256"))[:12] for one in (facts, wanted))
        raise InputError(
            f"{folder} holds shards of another model (sha256 {own}…) than this one ({other}…)"
        )
    if facts["source"] != wanted["source"]:
        before, now = facts["images"], wanted["images"]
        raise InputError(
            f"{folder} holds shards of other images ({before}) than these ({now}), or of other "
            "labels; give a new folder"
        )
    if facts["size"] != wanted["size"]:
        raise InputError(f"{folder} holds shards of {facts['size']} images, not {wanted['size']}")


def _begin(folder: Path, facts: dict[str, Any]) -> None:
    if not (folder / SUMMARY).is_file():
        files.write(folder / SUMMARY, (json.dumps(facts, indent=1) + "\n").encode())


def _cut(images: sources.Images, size: int) -> list[Shard]:
    every = zip(images.names, images.addresses, images.labels, strict=True)
    parts = iter(lambda: list(islice(every, size)), [])
    return [Shard(number, *map(list, zip(*part, strict=True))) for number, part in enumerate(parts)]


def shard_file(folder: str | Path, number: int) -> Path:
    return Path(folder) / f"shard-{number:05d}.parquet"


def _fill(folder: Path, shards: Sequence[Shard], pool: pools.Pool) -> None:
    """Make the shards that are missing, and write each as it comes."""
    missing = [shard for shard in shards if not shard_file(folder, shard.number).is_file()]
    made = pools.results(pool, missing)
    begun = len(shards) - len(missing)
    for shard, content in Progress(made, "encoding", total=len(shards), start=begun):
        files.write(shard_file(folder, shard.number), content)


class Encoder:
    """Makes shards in one process.

    Args:
        model: the files of a saved model, by their names.
        device: see `methods.load`.
        seen: folders that the images are in.
        labels: the type of labels.

    Raises:
        InputError: this machine does not see such a folder, or has no such device.
    """

    def __init__(self, model: dict[str, bytes], device: str | None, seen: list[str], labels: str):
        for folder in seen:
            if not Path(folder).is_dir():
                raise InputError(f"{folder} is not seen from here, but images are to be read there")
        self.labels = labels
        with tempfile.TemporaryDirectory(prefix="hashlab-") as copy:
            for name, content in model.items():
                files.write(Path(copy) / name, content)
            self.method = methods.load(copy, device)

    def __call__(self, shard: Shard) -> bytes:
        """The content of a shard's file."""
        broken: dict[int, str] = {}
        packed: dict[int, bytes] = {}

        def task(row: int) -> folders.Result:
            return sources.attempt(shard.addresses[row], self.method.shape)

        rows = range(len(shard.names))
        for block in folders.stream_of(rows, task, models.BLOCK, broken.__setitem__):
            coded = self.method.encode(block.images)
            stored = codes.trim(files.join_tables(coded, self.method.tables), self.method.bits)
            packed |= zip(block.rows.tolist(), map(bytes, stored), strict=True)
        return self._parquet(
            shard, [packed.get(row) for row in rows], [broken.get(r) for r in rows]
        )

    def _parquet(self, shard: Shard, stored: list[Any], reasons: list[Any]) -> bytes:
        pa, pq = arrow("scale")
        columns = [shard.names, stored, shard.labels, reasons]
        table = pa.table(columns, schema=schema(self.method.bits, self.labels))
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd", write_page_checksum=True)
        return out.getvalue()


def schema(bits: int, labels: str) -> Any:
    """The columns of a shard, as Arrow says them."""
    pa, _ = arrow("scale")
    fields = {
        "path": pa.string(),
        "code": pa.binary(-(-bits // 8)),
        "label": getattr(pa, labels)(),
        "error": pa.string(),
    }
    return pa.schema(list(fields.items()))


# ---- reading them


def errors(folder: str | Path) -> Iterator[tuple[str, str]]:
    """Broken images: name and reason; raises InputError as `read`."""
    for part in contents(described(folder)):
        yield from part.broken


def read(folder: str | Path) -> Iterator[Codes]:
    """The images of shard after shard that have codes.

    Raises InputError for a folder without shards, one of which some are missing, or a shard that is
    damaged.
    """
    for part in contents(described(folder)):
        yield Codes(part.names, part.codes, part.labels)
