"""The cache of a set that was put there by hand: its files read once, checked, and kept as uint8 arrays of one size.

`<root>/<name>/` then holds, for every split: `<split>_images.npy` uint8 (N, S, S, 3), `<split>_labels.npy`,
`<split>_digests.npy` uint8 (N, 2, 32), the SHA-256 of each image's file and of its pixels, and `<split>_paths.txt`.
`about.json` says the size and fit of the pixels, the classes and the fingerprint.

Nobody has published fingerprints of these sets. Ours is of what was read: per split, the SHA-256 over every image's
path, labels and file digest, in the order of the paths. Two people with the same fingerprint have the same files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import reprlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import _disk, files
from hashlab.data import cache, folders, listed, parts
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError
from hashlab.progress import Progress

PLAN = "plan.json"  # in an unfinished cache: what it is to become
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
    """Read the files of a set that was put there by hand, and fill the cache with them; returns its cache folder.

    A run that was ended early goes on where it was. The cache appears, or is replaced, once everything is there.

    Args:
        about: the set.
        path: the cache folder, `cache.root()` when None.
        folder: where the files are, `source(about, path)` when None.
        size: side of the square images in pixels; when None, that of the cache if there is one, else the set's own.
        fit: "crop" or "squash", see `folders`; when None, that of the cache if there is one, else "crop".
        skip_broken: leave images out that cannot be read, and note their names, rather than refuse the set.

    Raises:
        InputError: lists that are ragged or contradict each other, missing images, too little space: before any
            image is read. Broken images, all by name, after the others were read.
    """
    folder, target = Path(folder or source(about, path)), cache.home(about, path)
    shape, fit = _wanted(about, target, size, fit)
    folders.check_shape(shape, fit)
    listing = listed.read(about.name, folder)
    plan = {"shape": list(shape), "fit": fit, "listing": _digest_of(listing)}
    if _done(about, target, plan):
        _disk.sweep(target.parent)
        return target
    with _disk.lock(target):
        if _done(about, target, plan):  # another process was faster
            return target
        aside = target.with_name(f".{about.name}.part")  # stays when the work is ended early: to go on from it
        _begin(aside, plan, listing, shape)
        broken = {split: _fill(aside, split, folder, paths, shape, fit) for split, paths in listing.paths.items()}
        broken = [text for texts in broken.values() for text in texts]
        _judge(broken, sum(map(len, listing.paths.values())), skip_broken)
        _finish(aside, about, listing, plan, broken)
        _disk.swap(aside, target)
    return target


def _wanted(about: SetInfo, target: Path, size: int | None, fit: str | None) -> tuple[tuple[int, ...], str]:
    """Shape and fit of the images: what is asked for, else what the cache has, else the set's own."""
    try:
        had = noted(about, target)["plan"]
    except InputError:
        had = {"shape": about.shape, "fit": "crop"}
    return tuple(had["shape"]) if size is None else (size, size, 3), had["fit"] if fit is None else fit


def _done(about: SetInfo, target: Path, plan: dict[str, Any]) -> bool:
    """Whether the cache holds just this already."""
    try:
        splits(about, target)
        return noted(about, target)["plan"] == plan
    except InputError:
        return False


def _digest_of(listing: listed.Listing) -> str:
    digest = hashlib.sha256(json.dumps([dict(listing.paths), listing.classes, listing.tree]).encode())
    for labels in listing.labels.values():
        digest.update(labels.tobytes())
    return digest.hexdigest()


def _begin(aside: Path, plan: dict[str, Any], listing: listed.Listing, shape: tuple[int, ...]) -> None:
    """Arrays of the right size, all zeros, unless an earlier run with the same plan left its own."""
    if _begun(aside, plan):
        return
    _disk.discard(aside)
    _disk.check_space(aside.parent, sum(map(len, listing.paths.values())) * (int(np.prod(shape)) + 64))
    aside.mkdir()
    try:
        _allocate(aside, listing, shape)
    except OSError:
        _disk.discard(aside)  # what there was of room is given back
        raise
    _disk.write(aside / PLAN, json.dumps(plan).encode())


def _begun(aside: Path, plan: dict[str, Any]) -> bool:
    """Whether there is an unfinished cache of the same plan, or one that has only its last step before it."""
    if (aside / PLAN).is_file():
        return (aside / PLAN).read_text() == json.dumps(plan)
    note = aside / "about.json"
    return note.is_file() and json.loads(note.read_text())["plan"] == plan


def _allocate(aside: Path, listing: listed.Listing, shape: tuple[int, ...]) -> None:
    for split, paths in listing.paths.items():
        _disk.new_array(aside / f"{split}_images.npy", np.uint8, (len(paths), *shape))
        _disk.new_array(aside / f"{split}_digests.npy", np.uint8, (len(paths), 2, 32))
        labels = listing.labels[split]
        _disk.new_array(aside / f"{split}_labels.npy", labels.dtype, labels.shape)[:] = labels
        _disk.write(aside / f"{split}_paths.txt", "".join(f"{path}\n" for path in paths).encode())


def _fill(aside: Path, split: str, folder: Path, paths: list[str], shape: tuple[int, ...], fit: str) -> list[str]:
    """Read the images whose digests are still zero; returns the paths that cannot be read, with the reason.

    Digests are written after their pixels: an image that has one is whole.
    """
    images = np.load(aside / f"{split}_images.npy", mmap_mode="r+")
    digests = np.load(aside / f"{split}_digests.npy", mmap_mode="r+")
    todo, broken = np.flatnonzero(~digests.any((1, 2))), []
    steps = np.array_split(todo, min(50, -(-len(todo) // 64)) or 1)
    for rows in Progress(steps, f"reading {split} of {folder.name}", delay=1.0):
        tell = lambda path, reason: broken.append(f"{path.relative_to(folder).as_posix()}: {reason}")  # noqa: E731
        for block in folders.stream([folder / paths[row] for row in rows], shape, fit=fit, block=64, broken=tell):
            images[rows[block.rows]] = block.images
            images.flush()
            pixels = parts.digests(block.images)
            both = b"".join(file + pixel for file, pixel in zip(block.digests, pixels, strict=True))
            digests[rows[block.rows]] = np.frombuffer(both, np.uint8).reshape(-1, 2, 32)
            digests.flush()
    return broken


def _judge(broken: list[str], count: int, skip: bool) -> None:
    if broken and not skip:
        more = f"; and {len(broken) - 20} more" if len(broken) > 20 else ""
        raise InputError(
            f"{len(broken)} of {count} images cannot be read: {'; '.join(broken[:20])}{more}. Replace them and run this"
            " again (the others are not read twice), or leave them out with --skip-broken"
        )


def _finish(aside: Path, about: SetInfo, listing: listed.Listing, plan: dict[str, Any], broken: list[str]) -> None:
    """Write about.json: what is known of the set now that its files were read."""
    splits = {split: Split.read(aside, about.name, split) for split in listing.paths}
    empty = [name for name, split in splits.items() if not len(split.order)]
    if empty:
        raise InputError(f"{about.name}: no image of {' and '.join(empty)} can be read")
    known = {
        "shape": plan["shape"],
        "classes": listing.classes,
        "levels": listing.levels,
        "tree": listing.tree,
        "counts": {name: len(split.order) for name, split in splits.items()},
        "fingerprints": {name: split.fingerprint() for name, split in splits.items()},
        "pixels": f"{plan['shape'][0]}px-{plan['fit']}",
    }
    note = {"set": known, "skipped": broken, "plan": plan}
    _disk.write(aside / "about.json", json.dumps(note, indent=1).encode())
    (aside / PLAN).unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Split:
    """The files of one split: arrays as stored, and the rows (M,) that could be read, in the order of the paths."""

    images: np.ndarray
    labels: np.ndarray
    digests: np.ndarray
    paths: list[str]
    order: np.ndarray

    @classmethod
    def read(cls, folder: Path, name: str, split: str) -> Split:
        """Memory-map the arrays; raises InputError where one is missing, unreadable, or of another length."""
        kinds = ("images", "labels", "digests")
        images, labels, digests = (cache.read_array(folder / f"{split}_{kind}.npy", name) for kind in kinds)
        paths = cache.read_text(folder / f"{split}_paths.txt", name).splitlines()
        arrays, count = (images, labels, digests), len(paths)
        shapes = images.ndim == 4 and labels.ndim in (1, 2) and digests.shape == (count, 2, 32)
        types = images.dtype == digests.dtype == np.uint8 and labels.dtype.kind in "iu"
        if not shapes or not types or not len(images) == len(labels) == count:
            sizes = ", ".join(f"{array.shape} {array.dtype}" for array in arrays)
            raise InputError(
                f"{name} {split}: images, labels, digests and paths do not fit together: {sizes}, {count} paths"
            )
        return cls(images, labels, digests, paths, np.flatnonzero(digests.any((1, 2))))

    def fingerprint(self) -> str:
        """SHA-256 over path, labels and file digest of every image."""
        digest = hashlib.sha256()
        for row in self.order:
            labels = self.labels[row].astype(">u2").tobytes()
            digest.update(self.paths[row].encode() + b"\0" + labels + self.digests[row, 0].tobytes())
        return digest.hexdigest()

    def altered(self, rows: np.ndarray) -> list[str]:
        """The paths among `rows` whose pixels are not those that were written."""
        found = parts.digests(self.images[rows])
        same = [self.digests[row, 1].tobytes() == digest for row, digest in zip(rows, found, strict=True)]
        return [self.paths[row] for row, holds in zip(rows, same, strict=True) if not holds]


def noted(about: SetInfo, folder: Path) -> dict[str, Any]:
    """What `about.json` says; raises InputError when the set is not in the cache."""
    if not folder.is_dir():
        raise InputError(f"{about.name} is not in the cache: see `hashlab data fetch {about.name}`")
    try:
        note = files.read_json(folder / "about.json")
        wrong = _unlike(note, NOTE, "about.json") or _unlike_splits(note["set"])
    except InputError as error:
        wrong = str(error)
    if wrong:
        raise InputError(f"{folder / 'about.json'} is damaged ({wrong}); run `hashlab data fetch {about.name}` again")
    return note


# What about.json holds: an object of just these fields; a list, or an object by names, of one kind of values.
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


def _unlike(value: Any, form: Any, name: str) -> str:
    """What is wrong with a JSON value that should be of a form like `NOTE`, in words; nothing where it is."""
    if isinstance(form, type):
        fits = isinstance(value, form) and not isinstance(value, bool)
        return "" if fits else f"{name} must be {TYPES[form]}, got {reprlib.repr(value)}"
    if not isinstance(value, type(form)):
        return f"{name} must be {TYPES[type(form)]}, got {reprlib.repr(value)}"
    if isinstance(form, list):
        parts = [(form[0], part) for part in value]
    elif str in form:
        parts = [(form[str], part) for part in value.values()]
    elif value.keys() != form.keys():
        return f"{name} must have the fields {', '.join(form)}, got {reprlib.repr(list(value))}"
    else:
        return next(filter(None, (_unlike(value[key], form[key], key) for key in form)), "")
    return next(filter(None, (_unlike(part, kind, f"each of {name}") for kind, part in parts)), "")


TYPES = {int: "a whole number", str: "text", list: "a list", dict: "an object"}


def _unlike_splits(known: dict[str, Any]) -> str:
    """What is wrong with the sizes and marks of splits, in words: names of splits are names of files."""
    counts, marks = known["counts"], known["fingerprints"]
    if not counts or counts.keys() != marks.keys() or not all(map(str.isalpha, counts)) or min(counts.values()) < 1:
        return f"counts and fingerprints must be of the same splits, of 1 image or more, got {reprlib.repr(counts)}"
    return ""


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def splits(about: SetInfo, folder: Path) -> tuple[SetInfo, dict[str, Split]]:
    """What the set turned out to be, and its files; raises InputError where they are not as they were written."""
    known = dataclasses.replace(about, **{key: _tuples(value) for key, value in noted(about, folder)["set"].items()})
    found = {name: Split.read(folder, about.name, name) for name in known.counts}
    for name, split in found.items():
        counted = len(split.order) == known.counts[name]
        if not counted or split.images.shape[1:] != known.shape or split.fingerprint() != known.fingerprints[name]:
            raise InputError(f"{about.name} {name}: its cache is altered; run `hashlab data fetch {about.name}` again")
    return known, found


def open_pool(about: SetInfo, folder: Path) -> parts.Pool:
    """Open a prepared set: paths, labels and file digests by their fingerprint, the pixels of a sample by digest."""
    known, found = splits(about, folder)
    for name, split in found.items():
        step = -(-len(split.order) // SAMPLE)
        _refuse(about, name, split.altered(split.order[::step]))
    labels = np.concatenate([split.labels[split.order] for split in found.values()]).astype(np.int64)
    pixels = np.concatenate([split.digests[split.order, 1] for split in found.values()])
    images, orders = (tuple(getattr(split, key) for split in found.values()) for key in ("images", "order"))
    return parts.Pool(images, orders, labels, known, folder, pixels)


def verify(about: SetInfo, path: str | Path | None = None) -> str:
    """Compare the pixels of every image with the digest that was written with it; returns what the set holds, in words.

    Raises:
        InputError: the set is not in the cache, or an image of it is altered, with its name.
    """
    folder = cache.home(about, path)
    known, found = splits(about, folder)
    for name, split in found.items():
        blocks = np.array_split(split.order, min(50, len(split.order)))
        for rows in Progress(blocks, f"checking {name} of {about.name}", delay=1.0):
            _refuse(about, name, split.altered(rows))
    return _words(about, known, noted(about, folder)["skipped"])


def _words(about: SetInfo, known: SetInfo, skipped: list[str]) -> str:
    counts = " + ".join(f"{count} {name}" for name, count in known.counts.items())
    published, here = sum(about.counts.values()), sum(known.counts.values())
    lines = [f"{counts} images of {known.pixels}, every one as it was written"]
    lines += [f"    {here} images, {'as' if here == published else f'while {published} are'} published"]
    lines += [f"    left out: {text}" for text in skipped]
    lines += [
        f"    fingerprint of the {name} files that were read: {mark}" for name, mark in known.fingerprints.items()
    ]
    return "\n".join(lines)


def _refuse(about: SetInfo, split: str, altered: list[str]) -> None:
    if altered:
        raise InputError(
            f"{about.name} {split}: the pixels of {altered[0]} are not those that were written;"
            f" run `hashlab data fetch {about.name}` again"
        )
