"""Labelled images of one's own: what a folder, or a folder and a CSV file, says of them.

A folder holds one folder a class, and images in it at any depth. With `levels` the folders are a
tree, `animals/cat/1.jpg`: each image is of the class `animals/cat` and, above it, `animals`. A CSV
file has a header and a line for each image; its columns are

    file, label              one class
    file, labels             several, with `;` between them
    file, level1, level2, …  a class on every level of a tree, the finest first

and may be joined by `split`: query, train or database. Nothing is decoded here.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from hashlab.data import folders, listed, trees
from hashlab.data.choices import GIVEN
from hashlab.data.listed import Listing, some
from hashlab.errors import InputError
from hashlab.files import check_name, read_text

PARTS = {"train", "test", "val", "valid", "validation", "query", "database", "gallery"}
BETWEEN = ";"  # several labels of an image
LABELS = ("label", "labels")
SPLIT = "split"


@dataclass(frozen=True, eq=False)
class Collection:
    """Images of one's own and their labels, and what was passed over, in sentences."""

    listing: Listing
    passed_over: tuple[str, ...] = ()

    @property
    def relevance(self) -> str:
        return relevance(self.listing)


def relevance(listing: Listing) -> str:
    """What the labels of a listing are compared by."""
    if listing.levels:
        return "levels"
    several = next(iter(listing.labels.values())).ndim == 2
    return "shares_label" if several else "same_class"


def read(folder: str | Path, labels: str | Path | None = None, levels: bool = False) -> Collection:
    """The images of a folder with their labels.

    Args:
        folder: one folder a class, or any folder where `labels` names the images in it.
        labels: a CSV file, see the head of this file.
        levels: whether folders within folders are levels of classes.

    Raises:
        InputError: no images, or of one class; a CSV file with other columns, with a file that is
            missing or stands in it twice, or without a label; folders that are no tree; names that
            are no text.
    """
    check_name(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of images")
    if labels is None:
        held = _of_folders(folder, levels)
    elif levels:
        raise InputError(
            "the columns level1, level2, … of a CSV file say the levels; levels is for folders alone"
        )
    else:
        held = _of_csv(folder, Path(labels))
    listed.check_files(folder, _all_paths(held.listing), may_be_empty=True)  # that is broken
    return held


def _all_paths(listing: Listing) -> list[str]:
    return [path for paths in listing.paths.values() for path in paths]


# ---- folders


def _of_folders(folder: Path, levels: bool) -> Collection:
    images, passed = folders.listing(folder)
    paths = _relative(images, folder)
    check_names(paths)
    ways = [PurePosixPath(path).parts[:-1] for path in paths]
    loose = [path for path, way in zip(paths, ways, strict=True) if not way]
    if loose:
        raise InputError(
            f"one folder a class is expected in {folder}, but {len(loose)} of {len(paths)} images"
            f" lie beside the folders ({some(loose)}); a CSV file may say the labels instead"
        )
    tops = {way[0] for way in ways}
    if tops <= PARTS:
        raise InputError(
            f"one folder a class is expected in {folder}, got {some(sorted(tops))}: parts of a"
            " set, not classes; name one of them, or say the labels and the split in a CSV file"
        )
    if levels:
        listing = _tree_of_folders(folder, paths, ways)
    else:
        listing = listing_of({"all": paths}, [[way[0]] for way in ways], str(folder))
    return Collection(listing, (folders.passed_over(passed),) if passed else ())


def _relative(images: Sequence[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in images]


def _tree_of_folders(folder: Path, paths: list[str], ways: Sequence[tuple[str, ...]]) -> Listing:
    depths = Counter(map(len, ways))
    depth = max(depths)
    if depth < 2 or len(depths) > 1:
        odd = next(path for path, way in zip(paths, ways, strict=True) if len(way) == min(depths))
        raise InputError(
            f"folders within folders, of the same depth everywhere, are expected in {folder} for"
            f" levels, got {odd} in {min(depths)}"
            + (f" and others in {depth}" if depth > 1 else "")
        )
    rows = [["/".join(way[:end]) for end in range(depth, 0, -1)] for way in ways]
    return listing_of({"all": paths}, rows, str(folder))


def check_names(names: Iterable[str]) -> None:
    """Raise InputError for a name that is no text, or of several lines."""
    for name in names:
        with suppress(UnicodeEncodeError):
            name.encode()
            if not re.search(r"[\n\r\0]", name):
                continue
        raise InputError(f"names of one line of text are expected, got {name[:200]!a}")


# ---- a CSV file


def _of_csv(folder: Path, file: Path) -> Collection:
    rows = _rows(file)
    columns = _columns(file, rows[0][1])
    lines = {}
    for number, row in rows[1:]:
        if len(row) != len(columns):
            raise InputError(
                f"{file}, line {number}: {len(columns)} columns are expected, got {len(row)}"
            )
        line = dict(zip(columns, (word.strip() for word in row), strict=True))
        path = PurePosixPath(line["file"]).as_posix()
        if not line["file"]:
            raise InputError(f"{file}, line {number}: the name of a file is expected, got none")
        if path in lines:
            raise InputError(f"{file}, line {number}: {path} is named a second time")
        lines[path] = (f"{file}, line {number}", line)
    if not lines:
        raise InputError(f"{file} names no image")
    check_names(lines)
    paths = _by_split(lines)
    ordered = [lines[path] for split in paths.values() for path in split]
    listing = _labelled(paths, ordered, columns, file)
    return Collection(listing, _not_named(folder, file, lines))


def _rows(file: Path) -> list[tuple[int, list[str]]]:
    """The lines of a CSV file that are not blank, with their numbers."""
    text = read_text(file, "utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(word.strip() for word in row)]
    except csv.Error as error:
        raise InputError(f"{file}, line {reader.line_num}: {error}") from None
    if not rows:
        raise InputError(f"{file} is empty; a header is expected: file,label")
    return rows


def _columns(file: Path, header: Sequence[str]) -> list[str]:
    """The columns of a CSV file; raises InputError for others than are expected."""
    columns = [word.strip().lower() for word in header]
    rest = [column for column in columns if column not in ("file", SPLIT)]
    of_levels = [f"level{number}" for number in range(1, len(rest) + 1)]
    labelled = rest in (["label"], ["labels"]) or (len(rest) > 1 and rest == of_levels)
    if not labelled or columns.count("file") != 1 or columns.count(SPLIT) > 1:
        raise InputError(
            f"{file}: the columns file,label or file,labels or file,level1,level2,… and perhaps"
            f" split are expected, got {some(columns, 8) or 'none'}"
        )
    return columns


def _by_split(lines: Mapping[str, tuple[str, dict[str, str]]]) -> dict[str, list[str]]:
    """The paths of every split, sorted; one split, `all`, where none is said."""
    paths: dict[str, list[str]] = {}
    for path, (where, line) in sorted(lines.items()):
        split = line.get(SPLIT, "all")
        if SPLIT in line and split not in GIVEN:
            raise InputError(f"{where}: a split is one of {', '.join(GIVEN)}, got {split[:40]!r}")
        paths.setdefault(split, []).append(path)
    return check_splits(paths)


def check_splits(splits: Mapping[str, list]) -> dict[str, list]:
    """Splits in the order query, train, database; raises InputError where one of the former is
    missing.
    """
    if tuple(splits) == ("all",):
        return dict(splits)
    missing = [name for name in GIVEN[:2] if name not in splits]
    if missing:
        raise InputError(f"the splits query and train are expected, got no {missing[0]}")
    return {name: splits[name] for name in GIVEN if name in splits}


def _labelled(
    paths: dict[str, list[str]],
    lines: Sequence[tuple[str, dict[str, str]]],
    columns: Sequence[str],
    file: Path,
) -> Listing:
    names = [column for column in columns if column not in ("file", SPLIT)]
    rows = [[line[name] for name in names] for _, line in lines]
    if names == ["labels"]:
        rows = [[word.strip() for word in row[0].split(BETWEEN)] for row in rows]
    for (where, _), row in zip(lines, rows, strict=True):
        if "" in row:
            raise InputError(f"{where}: a label is expected, got none")
    if names == ["labels"]:
        return _several(paths, rows, str(file))
    return listing_of(paths, rows, str(file))


def _not_named(folder: Path, file: Path, lines: Mapping[str, object]) -> tuple[str, ...]:
    """Which images of the folder the CSV file does not name."""
    images: list[str] = []
    with suppress(InputError):  # none that is known by its ending
        images = _relative(folders.files(folder), folder)
    left = [path for path in images if path not in lines]
    if not left:
        return ()
    verb = "is" if len(left) == 1 else "are"
    count = "1 image" if len(left) == 1 else f"{len(left)} images"
    return (f"{count} that {file.name} does not name {verb} left out: {some(left)}",)


# ---- names of classes to numbers


def listing_of(
    paths: Mapping[str, list[str]], rows: Sequence[Sequence[str]], where: str
) -> Listing:
    """Images with one class each, or one on every level, fine first: `rows` (N,) of them by name,
    in the order of the splits.

    Classes are numbered in the sorted order of their names.
    """
    columns = [sorted(set(column)) for column in zip(*rows, strict=True)]
    check_classes(columns[0], where)
    numbers = [{name: number for number, name in enumerate(names)} for names in columns]
    labels = np.array(
        [[number[name] for number, name in zip(numbers, row, strict=True)] for row in rows],
        np.int64,
    )  # (N, levels)
    levels = tuple(map(tuple, columns))
    if len(levels) == 1:
        return Listing(paths, _per_split(paths, labels[:, 0]), levels[0])
    tree = tree_of(labels, levels, where)
    return Listing(paths, _per_split(paths, labels), levels[0], levels, tree)


def tree_of(
    labels: np.ndarray, levels: Sequence[Sequence[str]], where: str
) -> tuple[tuple[int, ...], ...]:
    """Per fine class its class on every level, of labels (N, levels), each numbered from 0 without
    gaps; raises InputError where a class stands under two others.
    """
    for level in range(len(levels) - 1):
        pairs = np.unique(labels[:, level : level + 2], axis=0)
        twice = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
        if len(twice):
            (child, one), (_, other) = pairs[twice[0] : twice[0] + 2].tolist()
            above = levels[level + 1]
            raise InputError(
                f"{where}: {levels[level][child]} stands under {above[one]} and under"
                f" {above[other]}; levels must form a tree"
            )
    trees.check_levels(labels, len(labels))
    _, first = np.unique(labels[:, 0], return_index=True)
    return tuple(map(tuple, labels[first].tolist()))


def _several(paths: Mapping[str, list[str]], rows: Sequence[Sequence[str]], where: str) -> Listing:
    names = sorted({name for row in rows for name in row})
    check_classes(names, where)
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.zeros((len(rows), len(names)), np.uint8)
    for image, row in enumerate(rows):
        labels[image, [numbers[name] for name in row]] = 1
    return Listing(paths, _per_split(paths, labels), tuple(names))


def _per_split(paths: Mapping[str, Sequence], labels: np.ndarray) -> dict[str, np.ndarray]:
    ends = np.cumsum([len(split) for split in paths.values()])[:-1]
    return dict(zip(paths, np.split(labels, ends), strict=True))


def check_classes(names: Sequence[str], where: str) -> None:
    """Raise InputError for fewer than two classes."""
    check_names(names)
    if len(names) < 2:
        raise InputError(
            f"{where}: images of two classes or more are expected, got one: {some(names)}"
        )
