"""The cache of a set that was put there by hand:
its files read once, checked, and kept as uint8 arrays of one size.

`<root>/<name>/` then holds, for every split: `<split>_images.npy` uint8 (N, S, S, 3),
`<split>_labels.npy`, `<split>_digests.npy` uint8 (N, 2, 32), the SHA-256 of each image's file and
of its pixels, and `<split>_paths.txt`. `about.json` says the size and fit of the pixels, the
classes and the fingerprint.

Sets of one's own (`own`) are kept in the same form. Where they were made of arrays, images may also
be grey, (N, H, W), or features, float32 (N, d); both digests are then those of the row.

Nobody has published fingerprints of these sets. Ours is of what was read: per split, the SHA-256
over every image's path, labels and file digest, in the order of the paths. Two people with the same
fingerprint have the same files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import files
from hashlab.data import cache, folders, listed, parts
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.progress import Progress

PLAN = "plan.json"  # in an unfinished cache: what it is to become
BLOCK = 64  # images that are read and written at a time
SAMPLE = 64  # images per split whose pixels every load compares with their digests


def source(about: SetInfo, path: str | Path | None = None) -> Path:
    """Where the files of a set are looked for when nothing else is said: `<root>/source/<name>`."""
    return cache.root(path) / "source" / about.name


def prepare(
    about: SetInfo,
    path: str | Path | None = None,
    folder: str | Path | None = None,
    *,
    size: int | None = None,
    fit: str | None = None,
    skip_broken: bool = False,
) -> Path:
    """Read the files of a set that was put there by hand, and fill the cache with them.

    A run that was ended early goes on where it was. The cache appears, or is replaced, once
    everything is there. Returns its folder.

    Args:
        about: the set.
        path: the cache folder, `cache.root()` when None.
        folder: where the files are, `source(about, path)` when None.
        size: side of the square images in pixels; when None, that of the cache if there is one,
            else the set's own.
        fit: "crop" or "squash", see `folders`; when None, that of the cache if there is one, else
            "crop".
        skip_broken: leave images out that cannot be read, and note their names, rather than refuse
            the set.

    Raises:
        InputError: lists that are ragged or contradict each other, missing images, too little
            space: before any image is read. Broken images, all by name, after the others were read.
    """
    folder = Path(folder or source(about, path))
    target = cache.home(about, path)
    shape, fit = _form(about, target, size, fit)
    folders.check_shape(shape, fit)
    listing = listed.read(about.name, folder)
    plan = {"shape": list(shape), "fit": fit, "listing": digest_of(listing)}
    if _done(about, target, plan):
        _disk.sweep(target.parent)
        return target
    files.check_folder(target, "HASHLAB_DATA" if path is None else "")
    with _disk.lock(target):
        if not _done(about, target, plan):  # no other process was faster
            fill(about, target, folder, listing, plan, skip_broken)
    return target


Facts = Callable[[SetInfo, Mapping[str, "Split"]], dict[str, Any]]


def fill(
    about: SetInfo,
    target: Path,
    folder: Path,
    listing: listed.Listing,
    plan: dict[str, Any],
    skip_broken: bool,
    facts: Facts | None = None,
) -> None:
    """Read the listed files into the cache, under the lock of `target`; see `prepare`.

    Args:
        plan: shape, fit, and digest of the listing: an unfinished cache of the same plan is gone on
            with.
        facts: gives what else is noted of the set, once its files were read.
    """
    aside = unfinished(target)  # stays when the work is ended early
    _begin(aside, plan, listing)
    broken = []
    for split, paths in listing.paths.items():
        images = np.load(aside / f"{split}_images.npy", mmap_mode="r+")
        digests = np.load(aside / f"{split}_digests.npy", mmap_mode="r+")
        broken += read_images(images, digests, folder, paths, plan["fit"])
    refuse_broken(broken, listing, skip_broken)
    finish(aside, about, listing, plan, broken, facts)
    _disk.swap(aside, target)


def unfinished(target: Path) -> Path:
    """Where a cache stands until it is whole."""
    return target.with_name(f".{target.name}.part")


def _form(
    about: SetInfo, target: Path, size: int | None, fit: str | None
) -> tuple[tuple[int, ...], str]:
    """Shape and fit of the images:
    what is asked for, else what the cache has, else the set's own.
    """
    shape = about.shape
    usual_fit = "crop"
    with suppress(InputError):  # there is no cache yet
        plan = noted(about, target)["plan"]
        shape = tuple(plan["shape"])
        usual_fit = plan["fit"]
    if size is not None:
        shape = (size, size, 3)
    return shape, usual_fit if fit is None else fit


def _done(about: SetInfo, target: Path, plan: dict[str, Any]) -> bool:
    """Whether the cache holds just this already."""
    try:
        splits(about, target)
        return noted(about, target)["plan"] == plan
    except InputError:
        return False


def digest_of(listing: listed.Listing) -> str:
    """SHA-256 over the paths, labels and classes of a listing."""
    digest = hashlib.sha256(
        json.dumps([dict(listing.paths), listing.classes, listing.tree]).encode()
    )
    for labels in listing.labels.values():
        digest.update(labels.tobytes())
    return digest.hexdigest()


def _begin(aside: Path, plan: dict[str, Any], listing: listed.Listing) -> None:
    """Arrays of the right size, all zeros,
    unless an earlier run with the same plan left its own.
    """
    if _begun(aside, plan):
        return
    _disk.discard(aside)
    images = sum(map(len, listing.paths.values()))
    image_bytes = math.prod(plan["shape"]) + 64  # its pixels and two digests
    _disk.check_space(aside.parent, images * image_bytes)
    aside.mkdir()
    try:
        _allocate(aside, listing, plan["shape"])
    except OSError:
        _disk.discard(aside)  # what there was of room is given back
        raise
    _disk.write(aside / PLAN, json.dumps(plan).encode())


def _begun(aside: Path, plan: dict[str, Any]) -> bool:
    """Whether there is an unfinished cache of the same plan,
    or one that has only its last step before it.
    """
    if (aside / PLAN).is_file():
        return (aside / PLAN).read_text() == json.dumps(plan)
    note = aside / "about.json"
    return note.is_file() and json.loads(note.read_text())["plan"] == plan


def _allocate(aside: Path, listing: listed.Listing, shape: Sequence[int]) -> None:
    for split, paths in listing.paths.items():
        labels = listing.labels[split]
        lines = "".join(f"{path}\n" for path in paths)
        _disk.new_array(aside / f"{split}_images.npy", np.uint8, (len(paths), *shape))
        _disk.new_array(aside / f"{split}_digests.npy", np.uint8, (len(paths), 2, 32))
        _disk.new_array(aside / f"{split}_labels.npy", labels.dtype, labels.shape)[:] = labels
        _disk.write(aside / f"{split}_paths.txt", lines.encode())


def read_images(
    images: np.ndarray, digests: np.ndarray, folder: Path, paths: list[str], fit: str
) -> list[str]:
    """Read the images whose digests are still zero.

    Digests are written after their pixels: an image that has one is whole. Returns the paths that
    cannot be read, with the reason.

    Args:
        images: (N, S, S, 3), to be filled; may be a memory-mapped file, as `digests` (N, 2, 32).
    """
    unread = np.flatnonzero(~digests.any((1, 2)))
    broken: list[str] = []

    def note(path: Path, reason: str) -> None:
        broken.append(f"{path.relative_to(folder).as_posix()}: {reason}")

    steps = min(50, -(-len(unread) // BLOCK)) or 1
    text = f"reading {folder.name}"
    for rows in Progress(np.array_split(unread, steps), text, delay=1.0):
        files = [folder / paths[row] for row in rows]
        shape = images.shape[1:]
        for block in folders.stream(files, shape, fit=fit, block=BLOCK, broken=note):
            images[rows[block.rows]] = block.images
            _flush(images)
            digests[rows[block.rows]] = _both_digests(block)
            _flush(digests)
    return broken


def _flush(array: np.ndarray) -> None:
    if isinstance(array, np.memmap):
        array.flush()


def _both_digests(block: folders.Block) -> np.ndarray:
    """SHA-256 of the file and of the pixels of each image: uint8 (B, 2, 32)."""
    pairs = zip(block.digests, parts.digests(block.images), strict=True)
    joined = b"".join(file + pixels for file, pixels in pairs)
    return np.frombuffer(joined, np.uint8).reshape(-1, 2, 32)


def refuse_broken(broken: list[str], listing: listed.Listing, skip: bool) -> None:
    """Raise InputError where images are broken and not to be skipped."""
    if skip or not broken:
        return
    count = sum(map(len, listing.paths.values()))
    more = f"; and {len(broken) - 20} more" if len(broken) > 20 else ""
    raise InputError(
        f"{len(broken)} of {count} images cannot be read: {'; '.join(broken[:20])}{more}."
        " Replace them and run this again (the others are not read twice), or leave them out with"
        " --skip-broken, in Python with skip_broken=True"
    )


def finish(
    aside: Path,
    about: SetInfo,
    listing: listed.Listing,
    plan: dict[str, Any],
    broken: list[str],
    facts: Facts | None = None,
) -> None:
    """Write about.json: what is known of the set now that its files were read."""
    splits = {split: Split.read(aside, about, split) for split in listing.paths}
    known = described(about, listing, splits, plan)
    note = {"set": known, "skipped": broken, "plan": plan}
    if facts is not None:
        note["own"] = facts(as_known(about, known), splits)
    _disk.write(aside / "about.json", json.dumps(note, indent=1).encode())
    (aside / PLAN).unlink(missing_ok=True)


def described(
    about: SetInfo,
    listing: listed.Listing,
    splits: Mapping[str, Split],
    plan: dict[str, Any],
) -> dict[str, Any]:
    """What a set turned out to be, as `set` in about.json says it."""
    empty = [name for name, split in splits.items() if not len(split.order)]
    if empty:
        raise InputError(f"{about.name}: no image of {' and '.join(empty)} can be read")
    shape = plan["shape"]
    of_files = f"{shape[0]}px-{plan['fit']}"
    of_arrays = "x".join(map(str, shape)) + (" features" if len(shape) == 1 else "")
    return {
        "shape": shape,
        "classes": listing.classes,
        "levels": listing.levels,
        "tree": listing.tree,
        "counts": {name: len(split.order) for name, split in splits.items()},
        "fingerprints": {name: split.fingerprint() for name, split in splits.items()},
        "pixels": of_arrays if about.own == "arrays" else of_files,
    }


def as_known(about: SetInfo, known: dict[str, Any]) -> SetInfo:
    """A set, with what it turned out to be."""
    return dataclasses.replace(about, **{key: _tuples(value) for key, value in known.items()})


@dataclass(frozen=True, eq=False)
class Split:
    """The files of one split: arrays as stored, and the rows (M,) that could be read,
    in the order of the paths.
    """

    images: np.ndarray
    labels: np.ndarray
    digests: np.ndarray
    paths: list[str]
    order: np.ndarray

    @classmethod
    def read(cls, folder: Path, about: SetInfo, split: str) -> Split:
        """Memory-map the arrays; raises InputError where one is missing, unreadable,
        or of another length.
        """
        images = cache.read_array(folder / f"{split}_images.npy", about)
        labels = cache.read_array(folder / f"{split}_labels.npy", about)
        digests = cache.read_array(folder / f"{split}_digests.npy", about)
        paths = cache.read_text(folder / f"{split}_paths.txt", about).split("\n")[:-1]
        count = len(paths)
        axes = (2, 3, 4) if about.own == "arrays" else (4,)
        axes_fit = images.ndim in axes and labels.ndim in (1, 2)
        shapes = (images.shape[:1], labels.shape[:1], digests.shape)
        shapes_fit = axes_fit and shapes == ((count,), (count,), (count, 2, 32))
        numbers = np.float32 if images.ndim == 2 else np.uint8
        types_fit = images.dtype == numbers and digests.dtype == np.uint8
        types_fit = types_fit and labels.dtype.kind in "iu"
        if not shapes_fit or not types_fit:
            arrays = (images, labels, digests)
            sizes = ", ".join(f"{array.shape} {array.dtype}" for array in arrays)
            raise InputError(
                f"{about.name} {split}: images, labels, digests and paths do not fit together:"
                f" {sizes}, {count} paths"
            )
        return cls.of(images, labels, digests, paths, about, split)

    @classmethod
    def of(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        digests: np.ndarray,
        paths: list[str],
        about: SetInfo,
        split: str,
    ) -> Split:
        """A split in its order: that of the paths; of an array that is to be split, that of rows
        and labels, so that what is drawn from it does not depend on how the array was sorted.
        """
        order = np.flatnonzero(digests.any((1, 2)))
        if about.own == "arrays" and split == "all":
            rows = [digest.tobytes() for digest in digests[:, 1]]
            keys = [row + end for row, end in zip(rows, parts.label_bytes(labels), strict=True)]
            order = np.array(sorted(order.tolist(), key=keys.__getitem__), np.int64)
        return cls(images, labels, digests, paths, order)

    def fingerprint(self) -> str:
        """SHA-256 over path, labels and file digest of every image."""
        digest = hashlib.sha256()
        labels = parts.label_bytes(self.labels)
        for row in self.order:
            digest.update(
                self.paths[row].encode() + b"\0" + labels[row] + self.digests[row, 0].tobytes()
            )
        return digest.hexdigest()

    def altered(self, rows: np.ndarray) -> list[str]:
        """The paths among `rows` whose pixels are not those that were written."""
        written = self.digests[rows, 1]
        now = parts.digests(self.images[rows])
        return [
            self.paths[row]
            for row, before, after in zip(rows, written, now, strict=True)
            if before.tobytes() != after
        ]


def noted(about: SetInfo, folder: Path) -> dict[str, Any]:
    """What `about.json` says; raises InputError when the set is not in the cache."""
    if not folder.is_dir():
        raise InputError(f"{about.name} is not in the cache: see `hashlab data fetch {about.name}`")
    form = NOTE | {"own": OWN} if about.own else NOTE
    try:
        note = files.read_json(folder / "about.json")
        wrong = _unlike(note, form, "about.json") or _unlike_splits(note["set"])
    except InputError as error:
        wrong = str(error)
    if wrong:
        raise InputError(damage(about, folder, wrong))
    return note


def damage(about: SetInfo, folder: Path, wrong: str) -> str:
    """What is to be said where about.json is not as it was written."""
    return f"{folder / 'about.json'} is damaged ({wrong}); {about.again}"


# What about.json holds: an object of just these fields; a list, or an object by names, of one kind
# of values.
NOTE = {
    "set": {
        "shape": [int],
        "classes": [str],
        "levels": [[str]],
        "tree": [[int]],
        "counts": {str: int},
        "fingerprints": {str: str},
        "pixels": str,
    },
    "skipped": [str],
    "plan": {"shape": [int], "fit": str, "listing": str},
}
# … and of a set of one's own: what it was made of, how it is split, and what came of that.
OWN = {"of": str, "relevance": str, "query": str, "train": str, "seed": int, "checksum": str}


def _unlike(value: Any, form: Any, name: str) -> str:
    """What is wrong with a JSON value that should be of a form like `NOTE`, in words.

    Nothing where it is of that form.
    """
    kind = form if isinstance(form, type) else type(form)
    if not isinstance(value, kind) or isinstance(value, bool):
        return f"{name} must be {TYPES[kind]}, got {reprlib.repr(value)}"
    if isinstance(form, list):
        faults = [_unlike(part, form[0], f"each of {name}") for part in value]
    elif isinstance(form, dict) and str in form:
        faults = [_unlike(part, form[str], f"each of {name}") for part in value.values()]
    elif isinstance(form, dict):
        if value.keys() != form.keys():
            return f"{name} must have the fields {', '.join(form)}, got {reprlib.repr(list(value))}"
        faults = [_unlike(value[key], form[key], key) for key in form]
    else:
        return ""
    return next(filter(None, faults), "")


TYPES = {int: "a whole number", str: "text", list: "a list", dict: "an object"}


def _unlike_splits(known: dict[str, Any]) -> str:
    """What is wrong with the sizes and marks of splits, in words:
    names of splits are names of files.
    """
    counts = known["counts"]
    same = counts.keys() == known["fingerprints"].keys()
    words = all(map(str.isalpha, counts))
    if counts and same and words and min(counts.values()) >= 1:
        return ""
    given = reprlib.repr(counts)
    return f"counts and fingerprints must be of the same splits, of 1 image or more, got {given}"


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def splits(about: SetInfo, folder: Path) -> tuple[SetInfo, dict[str, Split]]:
    """What the set turned out to be, and its files.

    Raises InputError where they are not as they were written.
    """
    known = as_known(about, noted(about, folder)["set"])
    read = {name: Split.read(folder, about, name) for name in known.counts}
    for name, split in read.items():
        if not _is_as_noted(split, known, name):
            raise InputError(f"{about.name} {name}: its cache is altered; {about.again}")
    return known, read


def _is_as_noted(split: Split, known: SetInfo, name: str) -> bool:
    return (
        len(split.order) == known.counts[name]
        and split.images.shape[1:] == known.shape
        and split.fingerprint() == known.fingerprints[name]
    )


def open_pool(about: SetInfo, folder: Path) -> parts.Pool:
    """Open a prepared set, and check it.

    Paths, labels and file digests are checked by their fingerprint, the pixels of a sample by
    digest.
    """
    known, read = splits(about, folder)
    for name, split in read.items():
        step = -(-len(split.order) // SAMPLE)
        _refuse_altered(about, name, split.altered(split.order[::step]))
    return pool_of(known, read, folder)


def pool_of(known: SetInfo, read: Mapping[str, Split], folder: Path | None = None) -> parts.Pool:
    """The pool of some splits, one after the other."""
    labels = [split.labels[split.order] for split in read.values()]
    names = [split.paths[row] for split in read.values() for row in split.order]
    pixel_digests = [split.digests[split.order, 1] for split in read.values()]
    return parts.Pool(
        splits=tuple(split.images for split in read.values()),
        orders=tuple(split.order for split in read.values()),
        stored=np.concatenate(labels).astype(np.int64),
        about=known,
        folder=folder,
        known=np.concatenate(pixel_digests),
        names=tuple(names) if all(names) else None,
    )


def verify(about: SetInfo, path: str | Path | None = None) -> str:
    """Compare the pixels of every image with the digest that was written with it.

    Returns what the set holds, in words. Raises InputError where the set is not in the cache, or an
    image of it is altered, with its name.
    """
    folder = cache.home(about, path)
    known, read = splits(about, folder)
    for name, split in read.items():
        blocks = np.array_split(split.order, min(50, len(split.order)))
        for rows in Progress(blocks, f"checking {name} of {about.name}", delay=1.0):
            _refuse_altered(about, name, split.altered(rows))
    return _words(about, known, noted(about, folder)["skipped"])


def _words(about: SetInfo, known: SetInfo, skipped: list[str]) -> str:
    words = {name: "" if name == "all" else f" {name}" for name in known.counts}
    counts = " + ".join(f"{count}{words[name]}" for name, count in known.counts.items())
    kind = "rows" if len(known.shape) == 1 else "images"
    lines = [f"{counts} {kind} of {known.pixels}, every one as it was written"]
    if not about.own:
        published = sum(about.counts.values())
        kept = sum(known.counts.values())
        compared = "as published" if kept == published else f"while {published} are published"
        lines.append(f"    {kept} images, {compared}")
    lines += [f"    left out: {text}" for text in skipped]
    for name, mark in known.fingerprints.items():
        kind = "arrays" if about.own == "arrays" else "files"
        lines.append(f"    fingerprint of the{words[name]} {kind} that were read: {mark}")
    return "\n".join(lines)


def _refuse_altered(about: SetInfo, split: str, altered: list[str]) -> None:
    if altered:
        raise InputError(
            f"{about.name} {split}: the pixels of {altered[0]} are not those that were written;"
            f" {about.again}"
        )
