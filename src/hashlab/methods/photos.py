"""A folder of photographs as an index: made by a model, brought up to date, asked for neighbours.

An item of the index is an image file. Its id is its path in the folder; `label` is the name of the
folder that it stands in, unless a table says something else, and `sha256` that of its content, by
which it is known again under another name. The index remembers the model and where the folder lies,
both relative to itself, so that the three can be moved together.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, files, methods, search
from hashlab.data import folders
from hashlab.errors import InputError
from hashlab.methods import Method, models
from hashlab.progress import Progress
from hashlab.search import Index, Searched
from hashlab.search.opening import is_remote
from hashlab.search.pages import Picture, page
from hashlab.search.shards import OF_SHARDS, described

BLOCK = 256  # images that are encoded at a time
EVERY = 60.0  # seconds between two savings while it is made
THUMBNAIL = 192  # pixels of a side
MOST_PICTURES = 2000  # on a page: about 15 MB
NOTES: dict[str, dict[str, type]] = {
    "model": {"folder": str, "method": str, "sha256": str},
    "photos": {"folder": str, "images": int},
}  # that an index of photographs has
FILE = "file"  # the column of a table that names images
BETWEEN = ";"  # labels of an image in a table


class Changes(NamedTuple):
    """What became of an index: how many images are in it, and since the last time which are new,
    renamed (from -> to) or gone, what is wrong with those that have no code, and how many files of
    which kind were passed over.
    """

    images: int
    added: list[str]
    renamed: dict[str, str]
    removed: list[str]
    broken: dict[str, str]
    passed: Counter[str]


class Neighbours(NamedTuple):
    """An image and what lies near it: ids and distances, nearest first."""

    image: Path
    code: np.ndarray  # packed, uint8 (1, bytes)
    distances: list[int]
    names: list[str]


@dataclass(frozen=True)
class Photos:
    """An index of photographs that has been opened.

    Attributes:
        index: the index.
        path: its folder, or its address in Milvus.
    """

    index: Searched
    path: str | Path

    @property
    def folder(self) -> Path | None:
        """Where the photographs are; None where they were loaded from shards."""
        note = self.index.notes.get("photos")
        return _from(Path(self.path), note["folder"]) if note else None

    @property
    def missing(self) -> int:
        """How many images have no code yet, because the making was interrupted."""
        note = self.index.notes.get("photos")
        return note["images"] - len(self.index) if note else 0

    def file(self, name: str) -> Path | str:
        """The image file of an id, which is the id itself where they were loaded from shards.

        Raises InputError for one that leads out of the folder.
        """
        if self.folder is None:
            return str(name)
        way = Path(str(name))
        if way.is_absolute() or ".." in way.parts:
            raise InputError(
                f"{self.path} is no index of photographs: {name!r} is no name in a folder"
            )
        return self.folder / way

    def model(self, folder: str | Path | None = None, device: str | None = None) -> Method:
        """The model that made the codes.

        Args:
            folder: where it is; None: where it was.

        Raises:
            InputError: another model, or none.
        """
        note = self.index.notes["model"]
        if folder is None and "folder" not in note:
            raise InputError(f"{self.path} was loaded from shards: say where its model is")
        where = Path(folder) if folder is not None else _from(Path(self.path), note["folder"])
        _check_model(models.identity(where), note, self.path, where)
        return _loaded(where, device)


def open_photos(path: str | Path) -> Photos:
    """The index that `build`, `load` or `hashlab index` made, by its folder or address.

    Raises:
        InputError: as `search.open_index`; an index of something else.
    """
    index = search.open_index(path)
    if OF_SHARDS not in index.notes:
        _check_notes(index, path)
    return Photos(index, path)


# ---- making it


def build(
    model: str | Path,
    folder: str | Path,
    path: str | Path,
    *,
    labels: str | Path | None = None,
    skip_broken: bool = False,
    device: str | None = None,
) -> Changes:
    """Make an index of all images below a folder, or bring it up to date.

    Only content that is not in it yet is encoded. It is saved every minute: what was ended half-way
    goes on where it was. Another process that works on the same index is waited for.

    Args:
        model: folder of a saved model.
        folder: images, also in subfolders.
        path: of the index, a new folder or one that an earlier call made with the same model.
        labels: a CSV file with a column `file`, of paths in the folder; other columns are metadata,
            and of `labels` several, with `;` between them, become the item's label.
        skip_broken: leave out images that cannot be read; otherwise the first one ends it.

    Raises:
        InputError: no images, a broken image, an index of another model or of something else, a
            table that names files that there are not.
    """
    identity = models.identity(model)
    paths, passed = folders.listing(folder)
    image_of = {_name(image, Path(folder)): image for image in paths}
    meta = _folders_as_labels(image_of) if labels is None else _table(Path(labels), image_of)
    with search.edit(path, identity["bits"], identity["tables"]) as index:
        if index.notes or len(index):
            _check_notes(index, Path(path))
            _check_model(identity, index.notes["model"], Path(path), Path(model))
        index.notes = {
            "model": identity | {"folder": _relative(model, path)},
            "photos": {"folder": _relative(folder, path), "images": len(image_of)},
        }
        encoder = _Encoder(model, device, skip_broken)
        return _update(index, Path(path), image_of, meta, encoder)._replace(passed=passed)


def load(model: str | Path, folder: str | Path, path: str | Path) -> int:
    """Put the codes of shards into an index, which may be new; returns how many they are.

    Args:
        model: folder of the saved model that made them.
        folder: of shards, see `search.shards`.
        path: of the index, a folder or an address of Milvus, see `search.open_index`.

    Raises:
        InputError: shards of another model; as `search.load_shards`.
    """
    identity = models.identity(model)
    shards = described(folder)
    _check_model({"sha256": identity["sha256"]}, shards.model, Path(folder), Path(model))
    where = str(Path(model).resolve()) if is_remote(path) else _relative(model, path)
    notes = {"model": identity | {"folder": where}}
    return search.load_shards(folder, path, notes=notes)


@dataclass
class _Encoder:
    """Loads the model when the first image is to be encoded."""

    model: str | Path
    device: str | None
    skip_broken: bool

    def blocks(self, image_of: Mapping[str, Path], broken: dict[str, str]) -> Iterable[Any]:
        """Names, codes and check sums of images, a block at a time."""
        if not image_of:
            return
        method = _loaded(self.model, self.device)
        names = list(image_of)
        name_of = {image: name for name, image in image_of.items()}

        def note(image: Path, reason: str) -> None:
            broken[name_of[image]] = str(reason)

        blocks = folders.stream(
            list(image_of.values()),
            method.shape,
            block=BLOCK,
            broken=note if self.skip_broken else folders.refuse,
        )
        total = -(-len(names) // BLOCK)
        for block in Progress(blocks, "encoding", total=total):
            sums = [digest.hex() for digest in block.digests]
            yield [names[row] for row in block.rows], method.encode(block.images), sums


def _update(
    index: Index,
    path: Path,
    image_of: Mapping[str, Path],
    meta: Mapping[str, dict[str, Any]],
    encoder: _Encoder,
) -> Changes:
    """Give an index the items of these images, of which it may have some."""
    before = {str(name): facts.get("sha256", "") for name, facts in index}
    same = _carried(before, image_of)
    packed = index.codes(list(same.values()))
    sums = [before[old] for old in same.values()]
    index.remove(index.ids)
    _add(index, list(same), packed, sums, meta)
    broken: dict[str, str] = {}
    saved = time.monotonic()
    fresh = {name: image for name, image in image_of.items() if name not in same}
    for names, packed, sums in encoder.blocks(fresh, broken):
        _add(index, names, packed, sums, meta)
        if time.monotonic() - saved > EVERY:
            index.save(path)
            saved = time.monotonic()
    index.notes["photos"]["images"] = len(index)
    if not len(index):
        raise InputError(f"none of the {len(image_of)} images can be read")
    gone = [name for name in before if name not in image_of]
    renamed = {old: new for new, old in same.items() if new not in before and old in gone}
    new = set(renamed.values()) | set(before)
    return Changes(
        len(index),
        [name for name in image_of if name not in new and name not in broken],
        renamed,
        [name for name in gone if name not in renamed],
        broken,
        Counter(),
    )


def _add(
    index: Index,
    names: list[str],
    packed: np.ndarray,
    sums: Sequence[str],
    meta: Mapping[str, dict[str, Any]],
) -> None:
    rows = [{**meta.get(name, {}), "sha256": sha} for name, sha in zip(names, sums, strict=True)]
    index.add(names, packed, rows)


def _carried(before: Mapping[str, str], image_of: Mapping[str, Path]) -> dict[str, str]:
    """The item that has the content of each image, where one has: new name -> old name.

    Of several items with the content it is one that has gone, so that a new name is known for one.
    """
    if not before:
        return {}
    gone_last = sorted(before, key=lambda name: name not in image_of)
    holder = {before[name]: name for name in gone_last if before[name]}
    sums = _digests(list(image_of.values()))
    return {name: holder[sha] for name, sha in zip(image_of, sums, strict=True) if sha in holder}


def _digests(paths: Sequence[Path]) -> list[str | None]:
    """SHA-256 of files; None for one that cannot be read."""
    with ThreadPoolExecutor() as pool:
        sums = pool.map(_digest, paths)
        return list(Progress(sums, "looking for changes", total=len(paths), delay=2))


def _digest(path: Path) -> str | None:
    try:
        with open(path, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None


# ---- what it says of itself


def _check_notes(index: Searched, path: str | Path) -> None:
    """Raise InputError unless an index is of photographs."""
    for kind, fields in NOTES.items():
        note = index.notes.get(kind)
        if not isinstance(note, dict) or any(
            not isinstance(note.get(name), type_) for name, type_ in fields.items()
        ):
            raise InputError(f"{path} is no index of photographs, as `hashlab index` makes it")


def _check_model(
    given: Mapping[str, Any], note: Mapping[str, Any], path: str | Path, model: Path
) -> None:
    """Raise InputError unless a model is the one that an index remembers."""
    if any(note.get(key) != value for key, value in given.items()):
        own, other = map(_named, (note, given))
        raise InputError(f"{path} is of another model ({own}) than {model} ({other})")


def _named(identity: Mapping[str, Any]) -> str:
    """A model in words."""
    words = [identity["method"]] if "method" in identity else []
    return ", ".join([*words, f"sha256 {str(identity.get('sha256'))[:12]}…"])


def _loaded(model: str | Path, device: str | None) -> Method:
    """A saved model; raises InputError where it takes something else than images."""
    method = methods.load(model, device)
    if len(method.shape) not in (2, 3):
        raise InputError(f"{model} takes features of shape {tuple(method.shape)}, not images")
    return method


def _relative(thing: str | Path, path: str | Path) -> str:
    """Where something lies, as seen from beside an index."""
    try:
        way = os.path.relpath(Path(thing).resolve(), Path(path).absolute().parent.resolve())
    except ValueError:  # on another drive
        way = str(Path(thing).resolve())
    return Path(way).as_posix()


def _from(path: Path, way: str) -> Path:
    """The inverse of `_relative`."""
    return Path(os.path.normpath(path.parent / way))


def _name(image: Path, folder: Path) -> str:
    return image.relative_to(folder).as_posix()


# ---- labels


def _folders_as_labels(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The name of the folder that an image stands in; none for those beside all folders."""
    parents = {name: PurePosixPath(name).parent.name for name in names}
    return {name: {"label": parent} for name, parent in parents.items() if parent}


def _table(file: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """What a CSV file says of images: name -> column -> text."""
    known = set(names)
    text = files.read_text(file, "utf-8-sig")
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        lines = [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}") from None
    columns = reader.fieldnames or []
    if FILE not in columns or len(set(columns)) < len(columns) or "sha256" in columns:
        given = ",".join(columns)[:200] or "none"
        raise InputError(f"{file}: a header with a column `{FILE}` is expected, got {given}")
    meta: dict[str, dict[str, Any]] = {}
    for number, line in lines:
        where = f"{file}, line {number}"
        if None in line or None in line.values():
            raise InputError(f"{where}: {len(columns)} columns are expected")
        name = PurePosixPath(line.pop(FILE)).as_posix()
        if name not in known:
            raise InputError(f"{where}: there is no image {name} in the folder")
        if name in meta:
            raise InputError(f"{where}: {name} is named a second time")
        meta[name] = _facts(line)
    return meta


def _facts(line: Mapping[str, str]) -> dict[str, Any]:
    facts: dict[str, Any] = {name: value.strip() for name, value in line.items() if value.strip()}
    if "labels" in facts:
        facts["label"] = [word.strip() for word in facts.pop("labels").split(BETWEEN)]
    return facts


# ---- asking it


def neighbours(
    photos: Photos,
    images: Sequence[Path],
    *,
    k: int | None = None,
    radius: int | None = None,
    where: Mapping[str, Any] | None = None,
    model: str | Path | None = None,
    device: str | None = None,
) -> list[Neighbours]:
    """What lies near each of some image files.

    Args:
        k: how many; None: all within `radius`.
        where: only among items with these values, see `Index.search`.
        model, device: see `Photos.model`.

    Raises:
        InputError: an image that cannot be read; as `Index.search` and `Photos.model`.
    """

    def asked(packed: np.ndarray) -> Any:
        if k is not None:
            return photos.index.search(packed, k, where=where)
        return photos.index.within(packed, 0 if radius is None else radius, where=where)

    width = sum(map(codes.row_bytes, photos.index.tables))
    asked(np.empty((0, width), np.uint8))  # what cannot be asked is said before the model is loaded
    method = photos.model(model, device)
    blocks = folders.stream(images, method.shape, block=BLOCK)
    packed = np.concatenate([method.encode(block.images) for block in blocks])
    rows = zip(images, packed[:, None], *asked(packed), strict=True)
    return [Neighbours(image, code, d.tolist(), n.tolist()) for image, code, d, n in rows]


def differing(index: Searched, code: np.ndarray, names: Sequence[str]) -> list[list[int]]:
    """The bits in which each item differs from a code."""
    if not names:
        return []
    apart = files.join_tables(code ^ index.codes(names), index.tables)
    return [np.flatnonzero(row).tolist() for row in codes.unpack(apart, index.bits)]


# ---- showing it


def neighbours_page(photos: Photos, found: Sequence[Neighbours]) -> str:
    """A page of neighbours: what was asked for first, then the nearest."""
    index = photos.index
    _check_few(sum(len(one.names) + 1 for one in found))
    sections = []
    for one in Progress(found, "pictures", delay=2):
        pictures = [Picture(str(one.image), thumbnail(one.image), "asked for", asked=True)]
        pictures += _pictures(photos, one.code, one.names)
        sections.append((f"{one.image}: {len(one.names)} neighbours", pictures))
    about = f"{len(index)} images, codes of {index.bits} bits; marks are bits that differ"
    return page("Neighbours", about, sections)


def groups_page(photos: Photos, groups: Sequence[Sequence[str]], radius: int) -> str:
    """A page of groups of near-duplicates; as many as one page holds."""
    index = photos.index
    sections = []
    left = MOST_PICTURES
    for number, names in enumerate(Progress(groups, "pictures", delay=2), 1):
        shown = list(names)[:left]
        if not shown:
            break
        left -= len(shown)
        pictures = _pictures(photos, index.codes(shown[:1]), shown)
        more = "" if len(shown) == len(names) else f", of which {len(shown)} are shown"
        sections.append((f"Group {number}: {len(names)} images{more}", pictures))
    about = (
        f"{len(groups)} groups among {len(index)} images: steps of at most {radius} of {index.bits} "
        "bits lead from each to the others of its group; marks are bits that differ from its first"
    )
    if len(sections) < len(groups):
        about += f"; the first {len(sections)} are shown"
    return page("Near-duplicates", about, sections)


def _check_few(pictures: int) -> None:
    if pictures > MOST_PICTURES:
        raise InputError(
            f"a page holds at most {MOST_PICTURES} pictures, got {pictures}; ask for fewer"
        )


def _pictures(photos: Photos, code: np.ndarray, names: Sequence[str]) -> list[Picture]:
    """Images with how far they are from a code."""
    index = photos.index
    bits = differing(index, code, names)
    return [
        Picture(
            name,
            thumbnail(photos.file(name)),
            f"distance {len(apart)}",
            shown_label(facts),
            apart,
            index.bits,
        )
        for name, apart, facts in zip(names, bits, index.meta(names), strict=True)
    ]


def shown_label(facts: Mapping[str, Any]) -> str:
    """An item's label as text."""
    label = facts.get("label", "")
    return ", ".join(map(str, label)) if isinstance(label, list) else str(label)


def thumbnail(file: Path) -> str | None:
    """An image file as a small picture in an address; None where it cannot be read any more."""
    from PIL import Image

    pixels = small(file, THUMBNAIL)
    if pixels is None:
        return None
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def small(file: Path, side: int) -> np.ndarray | None:
    """The middle of an image file, uint8 (side, side, 3); None where it cannot be read."""
    try:
        return folders.decode(files.read_bytes(file), (side, side, 3))
    except InputError:
        return None


def for_terminal(pixels: np.ndarray) -> str:
    """Pixels uint8 (2 H, W, 3) as H lines of half blocks in 24-bit colour."""
    lines = []
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        cells = [
            f"\x1b[38;2;{a};{b};{c};48;2;{d};{e};{f}m▀"
            for (a, b, c), (d, e, f) in zip(upper, lower, strict=True)
        ]
        lines.append("".join(cells) + "\x1b[0m")
    return "\n".join(lines)
