"""Data sets of one's own: labelled folders of images, and arrays of images or features.

`from_folder` and `from_arrays` give a `Dataset` at once; `add` keeps one in the cache under a name,
in `<root>/own/<name>/`, where `data.load(name)` and every command find it. All of them make the
same of the same images, with the same fingerprint: a record does not tell how a set was brought
here. Its form in the cache is that of `prepared`.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, files
from hashlab.data import cache, choices, folders, labelled, parts, prepared, protocols, sets
from hashlab.data.choices import GIVEN, Choice
from hashlab.data.labelled import Collection
from hashlab.data.listed import Listing
from hashlab.data.prepared import Split
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.labels import has_one_class, ranked, several, texts
from hashlab.progress import Progress

SIZE = 224  # side of the images that are kept, where nothing else is said
LONGEST = 150  # bytes of a name
ROWS = 4096  # of an array, that are looked at or written at a time
ARRAYS = ("images", "features", "labels", "names", "split")  # in a file
Pair = tuple[Any, Any]  # images or features, and labels


# ---- names


def names(path: str | Path | None = None) -> list[str]:
    """The sets of one's own in the cache; `path` is the cache folder, here and below."""
    folder = cache.root(path) / cache.OWN
    if not folder.is_dir():
        return []
    return sorted(one.name for one in folder.iterdir() if one.is_dir() and one.name[:1] != ".")


def check_name(name: Any) -> None:
    """Raise InputError unless a set of one's own may be called so."""
    is_text = isinstance(name, str) and name.isprintable() and name == name.strip(" .")
    is_name = is_text and name and not set(name) & set('/\\:*?"<>|')
    if not is_name or len(name.encode()) > LONGEST:
        raise InputError(
            f"the name of a set is text of 1 to {LONGEST} bytes, that no file system minds: no"
            f" slash, colon or the like, no blank or dot at either end; got {str(name)[:80]!r}"
        )
    if name in sets.SETS or name in protocols.PROTOCOLS:
        raise InputError(f"{name} is the name of another set or protocol; choose another name")


def _bare(name: str, of: str = "files") -> SetInfo:
    """A set of which no more is known than what it is made of."""
    return SetInfo(
        name=name,
        title="",
        shape=(),
        classes=(),
        counts={},
        fingerprints={},
        source="your own files" if of == "files" else "your own arrays",
        licence="yours",
        own=of,
    )


# ---- in the cache


class Own(NamedTuple):
    """A set of one's own, and the protocol it is split by."""

    about: SetInfo
    protocol: protocols.Protocol


def read(name: str, path: str | Path | None = None) -> Own:
    """What the cache says of a set; raises InputError where it is not there, or damaged."""
    return _own(name, cache.home(_bare(name), path))[0]


def _own(name: str, folder: Path) -> tuple[Own, dict[str, Any]]:
    """A set in its folder, and all that about.json says of it."""
    bare = _bare(name)
    note = prepared.noted(bare, folder)
    known = prepared.as_known(_bare(name, note["own"]["of"]), note["set"])
    about = _titled(known, note["own"]["relevance"])
    try:
        _check_noted(about)
        rule = choices.protocol(about, Choice.read(note["own"]))
    except InputError as error:
        raise InputError(prepared.damage(bare, folder, str(error))) from None
    return Own(about, dataclasses.replace(rule, checksum=note["own"]["checksum"])), note


def _titled(about: SetInfo, relevance: str) -> SetInfo:
    """A set with its kind of labels, and in words what it holds."""
    kind = f"features of {about.shape[0]} numbers" if len(about.shape) == 1 else "images"
    words = {"shares_label": "labels", "levels": "classes in a tree"}.get(relevance, "classes")
    title = f"Your own {kind}, {len(about.classes)} {words}"
    return dataclasses.replace(about, relevance=relevance, title=title)


def _check_noted(about: SetInfo) -> None:
    """Raise InputError where what is noted of a set does not fit together."""
    if about.own not in ("files", "arrays"):
        raise InputError(f"it must be made of files or arrays, got {about.own[:40]!r}")
    if about.relevance not in ("same_class", "shares_label", "levels"):
        raise InputError(f"an unknown kind of labels, {about.relevance[:40]!r}")
    if not about.shape or len(about.shape) > 3 or min(about.shape) < 1:
        raise InputError(f"an image must have 1 to 3 sides of 1 or more, got {about.shape}")
    if tuple(about.counts) not in (("all",), GIVEN[:2], GIVEN):
        raise InputError(f"splits called {', '.join(about.counts)}")
    if len(about.classes) < 2 or bool(about.levels) != (about.relevance == "levels"):
        raise InputError("two classes or more are expected, and levels where there is a tree")
    sizes = tuple(map(len, about.levels))
    rows = [row for row in about.tree if len(row) == len(sizes)]
    fits = all(0 <= one < size for row in rows for one, size in zip(row, sizes, strict=True))
    if not fits or len(rows) != len(about.tree) or len(rows) != (sizes[0] if sizes else 0):
        raise InputError("the tree does not fit the levels")
    if about.levels and about.levels[0] != about.classes:
        raise InputError("the classes are not those of the finest level")


def load(own: Own, path: str | Path | None = None) -> parts.Dataset:
    """A set in the cache as a data set; raises InputError where it is not as it was written."""
    dataset = parts.Dataset.split(open_pool(own.about, path), own.protocol)
    if dataset.checksum != own.protocol.checksum:
        folder = cache.home(own.about, path)
        wrong = "its protocol gives other images than when it was added"
        raise InputError(prepared.damage(own.about, folder, wrong))
    return dataset


def open_pool(about: SetInfo, path: str | Path | None = None) -> parts.Pool:
    """Open and check a set in the cache."""
    folder = cache.home(about, path)
    pool = prepared.open_pool(about, folder)
    least = int(pool.stored.min())
    beyond = pool.stored.max(0) >= _ends(about)
    if pool.stored.shape[1:] != about.label_shape or least < 0 or np.any(beyond):
        raise InputError(prepared.damage(about, folder, "labels of other classes are stored"))
    return pool


def _ends(about: SetInfo) -> Any:
    """Above every label: one number, or one for each column."""
    if about.levels:
        return np.array([len(level) for level in about.levels])
    return 2 if about.relevance == "shares_label" else len(about.classes)


class Added(NamedTuple):
    """What came of `add`: the set, whether it was there already, and what was passed over."""

    folder: Path
    new: bool
    notes: tuple[str, ...]


def add(
    name: str,
    source: str | Path,
    path: str | Path | None = None,
    *,
    labels: str | Path | None = None,
    levels: bool = False,
    query: choices.Amount = None,
    train: choices.Amount = None,
    seed: int | None = None,
    size: int | None = None,
    fit: str | None = None,
    skip_broken: bool = False,
) -> Added:
    """Keep labelled images, or an `.npz` file of arrays, as a data set of this name.

    A run that was ended early goes on where it was. The set appears once everything is there. What
    is there already, of the same files, is left alone.

    Args:
        name: what `data.load` and all commands will know it by.
        source: a folder, see `labelled.read`; or a file with the arrays `features` (N, d) or
            `images` uint8 (N, H, W[, 3]), `labels` (N,) of any kind or (N, L), and perhaps `names`
            (N,) and `split` (N,), of query, train and database.
        labels, levels: see `labelled.read`.
        query, train: how many of each class, or which share of it, see `choices`.
        seed: which images those are.
        size: side of the square images that are kept, in pixels; `SIZE` when None.
        fit: "crop" (when None) or "squash", see `folders`.
        skip_broken: leave images out that cannot be read, and note their names.

    Raises:
        InputError: a name that is taken, or of other files; all that `labelled.read` and
            `from_arrays` refuse; more queries and training images than a class has; too little
            space: before any image is read. Broken images, all by name, after the others were read.
    """
    check_name(name)
    files.check_name(source)
    choice = choices.of(query, train, 0 if seed is None else seed)
    target = cache.home(_bare(name), path)
    given = {"query": choice.query, "train": choice.train, "seed": seed}
    form = {"size": size, "fit": fit}
    source = Path(source)
    if source.is_file():
        wrong = [key for key, value in (form | {"labels": labels}).items() if value is not None]
        if wrong or levels:
            raise InputError(f"{(wrong or ['levels'])[0]} is for folders of images, not for arrays")
        work = _array_work(name, source)
    else:
        work = _folder_work(name, source, labelled.read(source, labels, levels), form, target)
    return _added(work, target, given, skip_broken)


@dataclasses.dataclass(frozen=True, eq=False)
class Work:
    """What is to be made of a source: the set as far as it is known, its listing and plan,
    and for arrays the splits themselves.
    """

    about: SetInfo
    source: Path
    held: Collection
    plan: dict[str, Any]
    splits: Mapping[str, Split] | None = None


def _folder_work(
    name: str, source: Path, held: Collection, form: Mapping[str, Any], target: Path
) -> Work:
    usual = _noted_plan(name, target)
    size = form["size"] or (usual["shape"][0] if usual else SIZE)
    fit = form["fit"] or (usual["fit"] if usual else "crop")
    return _planned(name, source, held, size, fit)


def _planned(name: str, source: Path, held: Collection, size: int, fit: str) -> Work:
    shape = (size, size, 3)
    folders.check_shape(shape, fit)
    plan = {"shape": list(shape), "fit": fit, "listing": prepared.digest_of(held.listing)}
    return Work(_bare(name), source, held, plan)


def _noted_plan(name: str, target: Path) -> dict[str, Any] | None:
    """How the images of a set in the cache were read; None for no set, and for a set of arrays."""
    if not target.is_dir():
        return None
    own, note = _own(name, target)
    return note["plan"] if own.about.own == "files" and note["plan"]["shape"] else None


def _array_work(name: str, file: Path) -> Work:
    if file.suffix.lower() != ".npz":
        raise InputError(f"a folder of images or an .npz file of arrays is expected, got {file}")
    stored = files.arrays(files.read_bytes(file), file)
    unknown = [key for key in stored if key not in ARRAYS]
    kinds = [key for key in ("images", "features") if key in stored]
    if unknown or len(kinds) != 1 or "labels" not in stored:
        raise InputError(
            f"{file}: the arrays labels and either features or images, and perhaps names and split,"
            f" are expected, got {', '.join(map(repr, stored)) or 'none'}"
        )
    values = _checked(stored[kinds[0]], kinds[0])
    split = stored.get("split")
    order = _rows_by_split(split, len(values))
    words = stored.get("names")
    if words is not None:
        words = _words(words, len(values), "names")
    listed = _listing(order, values, stored["labels"], words, str(file), False)
    return _work_of_arrays(name, file, listed, values, order)


def _added(work: Work, target: Path, given: Mapping[str, Any], skip_broken: bool) -> Added:
    name = work.about.name
    if target.is_dir():
        return _there(work, target, given)
    choice = Choice(given["query"], given["train"], given["seed"] or 0)
    _check_choice(work, choice)
    with _disk.lock(target):
        if target.is_dir():  # another process was faster
            return _there(work, target, given)
        facts = _facts(choice)
        if work.splits is None:
            listing = work.held.listing
            prepared.fill(work.about, target, work.source, listing, work.plan, skip_broken, facts)
        else:
            _disk.discard(prepared.unfinished(target))
            _store(work, target, facts)
    skipped = prepared.noted(_bare(name), target)["skipped"]
    return Added(target, True, (*work.held.passed_over, *_left_out(skipped)))


def _left_out(skipped: Sequence[str]) -> list[str]:
    return [f"left out: {text}" for text in skipped]


def _check_choice(work: Work, choice: Choice) -> None:
    """Raise InputError where a class has too few images for the protocol."""
    listing = work.held.listing
    counts = {split: len(labels) for split, labels in listing.labels.items()}
    fields = {"shape": [1], "classes": listing.classes, "levels": listing.levels, "counts": counts}
    about = _titled(prepared.as_known(work.about, fields), work.held.relevance)
    labels = np.concatenate([*listing.labels.values()]).astype(np.int64)
    if about.levels:
        labels = labels[:, 0]
    protocols.split(choices.protocol(about, choice), labels, counts)


def _facts(choice: Choice) -> prepared.Facts:
    """What about.json says of a set of one's own, once its images are known."""

    def facts(known: SetInfo, splits: Mapping[str, Split]) -> dict[str, Any]:
        some = next(iter(splits.values())).labels
        of_several = "levels" if known.levels else "shares_label"
        about = _titled(known, "same_class" if some.ndim == 1 else of_several)
        pool = prepared.pool_of(about, splits)
        dataset = parts.Dataset.split(pool, choices.protocol(about, choice))
        noted = {"of": about.own, "relevance": about.relevance, "checksum": dataset.checksum}
        return noted | choice.words

    return facts


def _there(work: Work, target: Path, given: Mapping[str, Any]) -> Added:
    """What is there already of this name; raises InputError where it is another set."""
    name = work.about.name
    _, note = _own(name, target)
    other = _difference(work, target, note, given)
    if other:
        raise InputError(
            f"{name} is there already, {other}; choose another name, or"
            f" {work.about.again.replace(', and add it again', ' first')}"
        )
    _disk.sweep(target.parent)
    return Added(target, False, (*work.held.passed_over, *_left_out(note["skipped"])))


def _difference(work: Work, target: Path, note: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """How a set in the cache differs from what is to be added, in words; nothing where it does
    not.
    """
    plan = note["plan"]
    if plan["listing"] != work.plan["listing"]:
        return "with other files, labels or arrays"
    if plan != work.plan:
        return f"with images of {plan['shape'][0]} pixels ({plan['fit']})"
    was = Choice.read(note["own"])
    changed = [key for key, value in given.items() if value not in (None, getattr(was, key))]
    if changed:
        return f"with {was}"
    if work.splits is None and (path := _changed_file(work, target, note)):
        return f"with another {path}"
    return ""


def _changed_file(work: Work, target: Path, note: Mapping[str, Any]) -> str:
    """The path of an image whose file is not the one that was read; nothing where there is none."""
    _, splits = prepared.splits(work.about, target)
    for split in splits.values():
        text = f"comparing {work.source.name}"
        for rows in Progress(
            np.array_split(split.order, min(50, len(split.order))), text, delay=1.0
        ):
            for row in rows:
                content = files.read_bytes(work.source / split.paths[row], folders.MOST_FILE)
                if hashlib.sha256(content).digest() != split.digests[row, 0].tobytes():
                    return split.paths[row]
    return ""


def _store(work: Work, target: Path, facts: prepared.Facts) -> None:
    """Write a set of arrays, under the lock of `target`."""
    splits = work.splits
    need = sum(split.images.nbytes + split.digests.nbytes for split in splits.values())
    _disk.check_space(target.parent, need)
    with _disk.aside(target) as beside:
        for name, split in splits.items():
            for kind in ("images", "digests", "labels"):
                _write_rows(beside / f"{name}_{kind}.npy", getattr(split, kind))
            lines = "".join(f"{path}\n" for path in split.paths)
            _disk.write(beside / f"{name}_paths.txt", lines.encode())
        prepared.finish(beside, work.about, work.held.listing, work.plan, [], facts)
        _disk.swap(beside, target)


def _write_rows(file: Path, array: np.ndarray) -> None:
    stored = _disk.new_array(file, array.dtype, array.shape)
    starts = range(0, len(array), ROWS)
    for start in Progress(starts, f"writing {file.name}", delay=1.0):
        stored[start : start + ROWS] = array[start : start + ROWS]


def remove(name: str, path: str | Path | None = None) -> Path:
    """Remove a set of one's own from the cache, damaged or not, and its features; records stay.

    Returns the folder that is no more. Raises InputError where there is no such set.
    """
    if name in sets.SETS:
        raise InputError(f"{name} is no set of your own, and is not removed")
    check_name(name)
    target = cache.home(_bare(name), path)
    aside = prepared.unfinished(target)
    with _disk.lock(target):
        if not target.is_dir() and not aside.is_dir():
            known = ", ".join(names(path)) or "none"
            raise InputError(f"there is no set of your own called {name}; there are: {known}")
        _disk.discard(target)
        _disk.discard(aside)
        _discard_features(name, target)
    return target


def _discard_features(name: str, target: Path) -> None:
    """Remove what networks have made of a set: folders `NAME-` and sixteen digits."""
    folder = cache.features_beside(_bare(name), target)
    for beside in folder.glob(f"{glob.escape(name)}-{'[0-9a-f]' * 16}"):
        _disk.discard(beside)


# ---- at once, without the cache


def from_folder(
    folder: str | Path,
    *,
    labels: str | Path | None = None,
    levels: bool = False,
    query: choices.Amount = None,
    train: choices.Amount = None,
    seed: int = 0,
    size: int = SIZE,
    fit: str = "crop",
    skip_broken: bool = False,
    name: str | None = None,
) -> parts.Dataset:
    """Labelled images of a folder as a data set, read into memory; `hashlab data add` keeps it.

    Args:
        folder, labels, levels: one folder a class, a CSV file, or folders as levels, as
            `hashlab data add` takes them.
        query, train: how many queries and training images of each class (10), or which share of it
            (0.1). When None, a tenth of each class for queries, and all others for training.
        seed: which images those are.
        size, fit: side of the square images in pixels, and how others become square: "crop" cuts
            the middle out, "squash" changes the shape of what is seen.
        skip_broken: leave images out that cannot be read.
        name: what the set is called in records; that of the folder when None.

    Returns:
        A `Dataset`, its images uint8 (N, size, size, 3).

    Raises:
        InputError: no such folder, labels that do not fit it, broken images (all by name), more
            queries and training images than a class has.
    """
    files.check_name(folder)
    source = Path(folder)
    name = source.resolve().name if name is None else name
    check_name(name)
    choice = choices.of(query, train, seed)
    work = _planned(name, source, labelled.read(source, labels, levels), size, fit)
    _check_choice(work, choice)
    splits = _read_splits(work, skip_broken)
    return _dataset(work, splits, choice)


def _read_splits(work: Work, skip_broken: bool) -> dict[str, Split]:
    listing = work.held.listing
    broken = []
    splits = {}
    for name, paths in listing.paths.items():
        images = np.zeros((len(paths), *work.plan["shape"]), np.uint8)
        digests = np.zeros((len(paths), 2, 32), np.uint8)
        broken += prepared.read_images(images, digests, work.source, paths, work.plan["fit"])
        labels = listing.labels[name]
        splits[name] = Split.of(images, labels, digests, paths, work.about, name)
    prepared.refuse_broken(broken, listing, skip_broken)
    return splits


def _dataset(work: Work, splits: Mapping[str, Split], choice: Choice) -> parts.Dataset:
    fields = prepared.described(work.about, work.held.listing, splits, work.plan)
    about = _titled(prepared.as_known(work.about, fields), work.held.relevance)
    pool = prepared.pool_of(about, splits)
    return parts.Dataset.split(pool, choices.protocol(about, choice))


def from_arrays(
    *,
    images: Any = None,
    features: Any = None,
    labels: Any = None,
    train: Pair | choices.Amount = None,
    query: Pair | choices.Amount = None,
    database: Pair | None = None,
    levels: bool = False,
    seed: int = 0,
    name: str = "mine",
) -> parts.Dataset:
    """Arrays as a data set: three parts of your own, or one array that is split.

    Images are uint8 (N, H, W) or (N, H, W, 3); features are real numbers (N, d), finite, and become
    float32.
    Labels are (N,) of any kind, numbers or text; (N, C) of 0 and 1 where an image has several; or,
    with `levels`, (N, L) on the levels of a tree, the finest first. NumPy's or torch's. Arrays are
    not copied where they need not be: do not change them afterwards.

    Args:
        train, query, database: pairs (images or features, labels), in your order; without a
            database, the training images are searched.
        images, features, labels: one array and its labels instead. Then `query` and `train` say how
            many of each class (10), or which share of it (0.1); when None, a tenth and all others.
            The database is all but the queries, training images among them. Which ones they are
            follows from `seed` and content alone: `dataset.query.rows` says where they stand in
            your array.
        name: what the set is called in records.

    Raises:
        InputError: arrays of other shapes or types, features that are not finite or of other width
            between parts, labels of another length, fewer than two classes, more queries and
            training images than a class has.

    Example:
        >>> import numpy as np
        >>> from hashlab import data
        >>> x = np.random.default_rng(0).normal(size=(60, 16))
        >>> mine = data.from_arrays(features=x, labels=["cat", "dog", "owl"] * 20, query=5)
        >>> mine, mine.classes
        (<Dataset mine: train 45, query 15, database 45>, ('cat', 'dog', 'owl'))
    """
    check_name(name)
    if images is None and features is None:
        given = {"query": query, "train": train, "database": database}
        return _of_parts(name, given, labels, levels, seed)
    if database is not None or (images is not None and features is not None):
        raise InputError(
            "parts of your own (train, query, database) or one array that is split (images or"
            " features, with labels) is expected, got both"
        )
    kind = "features" if images is None else "images"
    values = _checked(features if images is None else images, kind)
    choice = choices.of(query, train, seed)
    order = {"all": np.arange(len(values))}
    listing = _listing(order, values, labels, None, "labels", levels)
    work = _work_of_arrays(name, Path(), listing, values, order)
    return _dataset(work, work.splits, choice)


def _of_parts(
    name: str, given: Mapping[str, Any], labels: Any, levels: bool, seed: int
) -> parts.Dataset:
    pairs = {key: pair for key, pair in given.items() if pair is not None}
    wrong = [key for key, pair in pairs.items() if not isinstance(pair, tuple | list)]
    wrong += [key for key in GIVEN[:2] if key not in pairs]
    if wrong or labels is not None or any(len(pair) != 2 for pair in pairs.values()):
        raise InputError(
            "train=(x, y), query=(x, y) and perhaps database=(x, y) are expected, or images=x or"
            " features=x with labels=y" + (f"; {wrong[0]} is no pair of arrays" if wrong else "")
        )
    values = {key: _checked(pair[0], key) for key, pair in pairs.items()}
    shapes = {array.shape[1:] for array in values.values()}
    if len(shapes) > 1:
        sizes = ", ".join(f"{key} {array.shape[1:]}" for key, array in values.items())
        raise InputError(f"images or features of one shape are expected, got {sizes}")
    targets = _joined({key: _as_labels(pair[1], key) for key, pair in pairs.items()}, values)
    ends = np.cumsum([len(array) for array in values.values()])[:-1]
    order = dict(zip(values, np.split(np.arange(len(targets)), ends), strict=True))
    listing = _listing(order, targets, targets, None, "labels", levels)
    work = _work_of_arrays(name, Path(), listing, values, None)
    return _dataset(work, work.splits, choices.of(None, None, seed))


def _joined(labels: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The labels of all parts, one after the other."""
    for key, array in labels.items():
        if len(array) != len(values[key]):
            raise InputError(
                f"{key}: as many labels as images are expected, got {len(array)} for"
                f" {len(values[key])}"
            )
    kinds = {(array.ndim, array.shape[1:], array.dtype.kind in "USOT") for array in labels.values()}
    if len(kinds) > 1:
        got = ", ".join(f"{key} {codes.describe(array)}" for key, array in labels.items())
        raise InputError(f"labels of one kind are expected in all parts, got {got}")
    return np.concatenate([*labels.values()])


def _checked(values: Any, name: str) -> np.ndarray:
    """uint8 images (N, H, W[, 3]), or features as float32 (N, d); raises InputError for others."""
    array = codes.as_numpy(values, name)
    of_images = array.dtype == np.uint8 and array.ndim in (3, 4) and name != "features"
    of_features = array.dtype.kind in "fiu" and array.ndim == 2 and name != "images"
    if not of_images and not of_features:
        kinds = {
            "images": "uint8 (N, H, W) or (N, H, W, 3)",
            "features": "real numbers (N, d)",
        }
        wanted = kinds.get(name, f"images {kinds['images']} or features, real numbers (N, d),")
        raise InputError(f"{name}: {wanted} expected, got {codes.describe(array)}")
    if not array.size:
        raise InputError(f"{name}: 1 row or more is expected, got {codes.describe(array)}")
    if of_images:
        folders.check_shape(array.shape[1:], "crop")
        return array
    return _finite(array, name)


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    """Features as float32; raises InputError where one is not a finite number."""
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32, copy=False)
    for start in range(0, len(numbers), ROWS):
        wrong = np.argwhere(~np.isfinite(numbers[start : start + ROWS]))
        if len(wrong):
            row, column = (wrong[0] + (start, 0)).tolist()
            raise InputError(
                f"{name}: finite numbers are expected, got {array[row, column]} in row {row},"
                f" column {column}"
            )
    return numbers


def _as_labels(given: Any, name: str) -> np.ndarray:
    """Labels (N,) or (N, L) as an array; raises InputError where there are none."""
    if given is None:
        raise InputError(f"{name}: labels are expected, got none")
    array = codes.as_numpy(given, f"labels of {name}")
    if array.ndim not in (1, 2) or not array.size:
        raise InputError(
            f"labels must be (N,) numbers or text, or (N, L), got {codes.describe(array)}"
        )
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _listing(
    order: Mapping[str, np.ndarray],
    values: np.ndarray,
    labels: Any,
    words: list[str] | None,
    where: str,
    levels: bool,
) -> Listing:
    """Labels (N,) or (N, L) of any kind as a listing of the splits, whose rows `order` gives."""
    array = _as_labels(labels, "the array")
    if len(array) != len(values):
        raise InputError(
            f"{where}: as many labels as images are expected, got {len(array)} for {len(values)}"
        )
    numbers, names_of_levels = _numbers(array, levels)
    labelled.check_classes(names_of_levels[0], where)
    tree: tuple[tuple[int, ...], ...] = ()
    if levels:
        tree = labelled.tree_of(numbers, names_of_levels, where)
    words = [""] * len(array) if words is None else words
    return Listing(
        {split: [words[row] for row in rows.tolist()] for split, rows in order.items()},
        {split: numbers[rows] for split, rows in order.items()},
        names_of_levels[0],
        names_of_levels if levels else (),
        tree,
    )


def _numbers(array: np.ndarray, levels: bool) -> tuple[np.ndarray, tuple[tuple[str, ...], ...]]:
    """Labels by number, int64 (N,), (N, L) or 0/1 uint8 (N, C), and the names of all classes."""
    if levels:
        if array.ndim != 2 or array.shape[1] < 2:
            raise InputError(f"labels on levels must be (N, L), got {codes.describe(array)}")
        columns = [ranked(column, negative=True) for column in array.T]
        numbers = np.stack([ranks for _, ranks in columns], 1)
        return numbers, tuple(texts(names) for names, _ in columns)
    if has_one_class(array):
        names, ranks = ranked(array, negative=True)
        return ranks, (texts(names),)
    classes = tuple(map(str, range(array.shape[1])))
    return several(array).astype(np.uint8), (classes,)


def _words(words: np.ndarray, count: int, name: str) -> list[str]:
    """Text (N,), a line each."""
    if words.shape != (count,) or words.dtype.kind != "U":
        raise InputError(f"{name} must be text ({count},), got {codes.describe(words)}")
    texts = words.tolist()
    labelled.check_names(texts)
    return texts


def _rows_by_split(split: np.ndarray | None, count: int) -> dict[str, np.ndarray]:
    """The rows of an array that belong to each split."""
    if split is None:
        return {"all": np.arange(count)}
    texts = np.array(_words(split, count, "split"))
    unknown = np.setdiff1d(texts, GIVEN)
    if len(unknown):
        raise InputError(f"a split is one of {', '.join(GIVEN)}, got {str(unknown[0])[:40]!r}")
    rows = {str(one): np.flatnonzero(texts == one) for one in np.unique(texts)}
    return labelled.check_splits(rows)


def _work_of_arrays(
    name: str,
    source: Path,
    listing: Listing,
    values: np.ndarray | Mapping[str, np.ndarray],
    order: Mapping[str, np.ndarray] | None,
) -> Work:
    """Arrays with a listing: those of every split, or one array of which `order` gives the rows."""
    about = _bare(name, "arrays")
    splits = {}
    digest = hashlib.sha256(prepared.digest_of(listing).encode())
    for split, labels in listing.labels.items():
        array = values[split] if order is None else _taken(values, order[split])
        digests = _digests(array)
        digest.update(digests.tobytes())
        splits[split] = Split.of(array, labels, digests, listing.paths[split], about, split)
    shape = next(iter(splits.values())).images.shape[1:]
    plan = {"shape": list(shape), "fit": "", "listing": digest.hexdigest()}
    return Work(about, source, Collection(listing), plan, splits)


def _taken(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return values if len(rows) == len(values) else values[rows]


def _digests(array: np.ndarray) -> np.ndarray:
    """SHA-256 of every row, where a set of files has that of the file and of its pixels:
    uint8 (N, 2, 32).
    """
    little = array.dtype.newbyteorder("<")
    taken = np.zeros((len(array), 2, 32), np.uint8)
    for start in Progress(range(0, len(array), ROWS), "reading arrays", delay=1.0):
        rows = array[start : start + ROWS].astype(little, copy=False)
        joined = b"".join(parts.digests(rows))
        taken[start : start + len(rows)] = np.frombuffer(joined, np.uint8).reshape(-1, 1, 32)
    return taken
