"""Readers of sets that are put there by hand: NUS-WIDE's list files and NABirds' official files.

A reader turns a folder into a `Listing`, checked as far as it can be without opening an image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from hashlab.errors import InputError
from hashlab.files import read_text

LONGEST_NUMBER = 9  # digits of a class
LONGEST_NAME = 200  # letters of a path in a message
BIRD_LEVELS = (555, 495, 228, 22)  # species and plumages, then groups: what completing the official tree gives


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder holds: per split the paths in it, sorted, and labels (N,), (N, L) 0/1 or (N, levels)."""

    paths: Mapping[str, list[str]]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...] = ()
    tree: tuple[tuple[int, ...], ...] = ()


def read(name: str, folder: Path) -> Listing:
    """The listing of the set `name` in `folder`; raises InputError for what is missing, ragged or contradictory."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    listing = READERS[name](folder)
    _check_files(folder, [path for paths in listing.paths.values() for path in paths])
    return listing


def _check_files(folder: Path, paths: Sequence[str]) -> None:
    """Raise InputError when a path leads out of the folder, or its file is missing or empty."""
    out = [path for path in paths if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    if out:
        raise InputError(f"the lists in {folder} name {_some(out)} outside of the folder")
    sizes = {path: _size(folder / path) for path in paths}
    for what, wrong in (("do not exist", -1), ("are empty", 0)):
        found = [path for path, size in sizes.items() if size == wrong]
        if found:
            raise InputError(f"{len(found)} of {len(paths)} listed images {what} in {folder}: {_some(found)}")


def _size(file: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return file.stat().st_size if file.is_file() else -1
    except OSError:  # a name that is too long, a folder that may not be read
        return -1


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")


def _lines(file: Path) -> list[tuple[str, str]]:
    """The lines of a text file that are not blank, each with where it stands."""
    if not os.path.lexists(file):
        raise InputError(f"{file.name} is missing in {file.parent}")
    text = read_text(file, "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [(f"{file}, line {i}", line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]


# NUS-WIDE: lists of "path 0 1 0 …"


def nuswide(folder: Path, concepts: int, lists: Sequence[str] = ()) -> Listing:
    """Images with `concepts` columns of 0 and 1.

    Without `lists`, all `*.txt` files but `concepts.txt` are pooled as one split. With ("test", "train", "database"),
    those three are read, and their images are told apart as `test`, `train` (not in the database), `both` and `rest`
    (in the database only). An image may stand in several lists, with the same labels.
    """
    files = [folder / f"{name}.txt" for name in lists] or _list_files(folder)
    rows: dict[str, str] = {}
    members = [_read_list(file, concepts, rows) for file in files]
    splits = _told_apart(*members) if lists else {"all": set().union(*members)}
    paths = {split: sorted(found) for split, found in splits.items()}
    labels = {split: _zeros_and_ones([rows[path] for path in found], concepts) for split, found in paths.items()}
    return Listing(paths, labels, _concepts(folder / "concepts.txt", concepts))


def _list_files(folder: Path) -> list[Path]:
    found = sorted(file for file in folder.glob("*.txt") if file.name != "concepts.txt")
    if not found:
        raise InputError(f"{folder} holds no list files (*.txt with lines `path 0 1 0 …`)")
    return found


def _read_list(file: Path, concepts: int, rows: dict[str, str]) -> set[str]:
    """The paths of one list; their labels, as a text of 0 and 1, go into `rows`."""
    found = set()
    for where, line in _lines(file):
        words = line.split()
        count = next((i for i, word in enumerate(reversed(words)) if word not in ("0", "1")), len(words))
        if count != concepts or len(words) == count:
            raise InputError(f"{where}: a path and {concepts} labels of 0 or 1 are expected, got {count} such labels")
        path, labels = line.rsplit(maxsplit=concepts)[0].strip(), "".join(words[-concepts:])
        if rows.setdefault(path, labels) != labels:
            raise InputError(f"{where}: {path} has other labels than where it is listed before")
        found.add(path)
    if not found:
        raise InputError(f"{file} is empty")
    return found


def _told_apart(test: set[str], train: set[str], database: set[str]) -> dict[str, set[str]]:
    both = sorted(test & (train | database))
    if both:
        raise InputError(f"{len(both)} images of test.txt stand in train.txt or database.txt too: {_some(both)}")
    told = {"test": test, "train": train - database, "both": train & database, "rest": database - train}
    return {name: found for name, found in told.items() if found}


def _zeros_and_ones(texts: Sequence[str], concepts: int) -> np.ndarray:
    return (np.frombuffer("".join(texts).encode(), np.uint8) - ord("0")).reshape(-1, concepts)  # (N, L)


def _concepts(file: Path, count: int) -> tuple[str, ...]:
    """The names in `concepts.txt`, one a line, in the order of the columns; numbers where there is no such file."""
    if not os.path.lexists(file):
        return tuple(f"concept {i}" for i in range(1, count + 1))
    names = tuple(line.strip() for _, line in _lines(file))
    if len(names) != count:
        raise InputError(f"{file}: {count} names are expected, one a line, got {len(names)}")
    return names


# NABirds: images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, hierarchy.txt


def nabirds(folder: Path) -> Listing:
    """Images of birds with their leaf of the tree, completed to four levels; the official split."""
    image, label, split = (
        _columns(folder / f"{name}.txt") for name in ("images", "image_class_labels", "train_test_split")
    )
    for name, found in (("image_class_labels", label), ("train_test_split", split)):
        if found.keys() != image.keys():
            odd = sorted(found.keys() ^ image.keys())
            raise InputError(f"{folder}: images.txt and {name}.txt do not list the same images: {_some(odd)}")
    wrong = sorted(key for key, value in split.items() if value not in ("0", "1"))
    if wrong:
        raise InputError(f"{folder / 'train_test_split.txt'}: 0 or 1 is expected, got {split[wrong[0]]} at {wrong[0]}")
    chains = complete(_tree(folder / "hierarchy.txt"), len(BIRD_LEVELS))
    numbers, levels, tree = _numbered(chains, _names(folder / "classes.txt"))
    for name, mark in (("train", "1"), ("test", "0")):
        if mark not in split.values():
            raise InputError(f"{folder / 'train_test_split.txt'} has no {name} image")
    paths, labels = {}, {}
    for name, mark in (("train", "1"), ("test", "0")):
        keys = sorted((key for key in image if split[key] == mark), key=lambda key: image[key])
        paths[name] = [f"images/{image[key]}" for key in keys]
        fine = [_known(numbers, label[key], f"{folder / 'image_class_labels.txt'}: image {key}") for key in keys]
        labels[name] = np.array(tree, np.uint16)[fine]  # (N, 4)
    return Listing(paths, labels, levels[0], levels, tree)


def _columns(file: Path) -> dict[str, str]:
    """A file of two columns as first -> rest of the line; raises InputError for a ragged row or a repeated first."""
    found: dict[str, str] = {}
    for where, line in _lines(file):
        words = line.split(maxsplit=1)
        if len(words) != 2:
            raise InputError(f"{where}: two columns are expected, got {line.strip()!r}")
        if words[0] in found:
            raise InputError(f"{where}: {words[0]} is listed a second time")
        found[words[0]] = words[1].strip()
    if not found:
        raise InputError(f"{file} is empty")
    return found


def _number(text: str, where: Path | str) -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise InputError(f"{where}: a class is a whole number, got {text[:40]!r}")
    return int(text)


def _tree(file: Path) -> dict[int, int]:
    """Child -> parent."""
    return {_number(child, file): _number(parent, file) for child, parent in _columns(file).items()}


def _names(file: Path) -> dict[int, str]:
    return {_number(key, file): name for key, name in _columns(file).items()}


def _known(numbers: Mapping[int, int], text: str, where: str) -> int:
    number = _number(text, where)
    if number not in numbers:
        raise InputError(f"{where} has class {number}, which is no leaf of hierarchy.txt")
    return numbers[number]


def complete(parents: Mapping[int, int], levels: int) -> dict[int, tuple[int, ...]]:
    """For every leaf of a tree its chain of classes, leaf first and without the root, `levels` long.

    A chain that is shorter repeats the leaf: (leaf, parent, grandparent) becomes (leaf, leaf, parent, grandparent).

    Raises:
        InputError: a circle, several roots, a chain that is too long.
    """
    chains = {child: _chain(child, parents) for child in sorted(parents)}
    roots = sorted(set(parents.values()) - parents.keys())
    if len(roots) != 1:
        raise InputError(f"hierarchy.txt has {len(roots)} roots, one is expected: {_some(list(map(str, roots)))}")
    long = [child for child, chain in chains.items() if len(chain) > levels]
    if long:
        raise InputError(f"hierarchy.txt: class {long[0]} is {len(chains[long[0]])} levels deep, at most {levels} fit")
    leaves = sorted(parents.keys() - set(parents.values()))
    return {leaf: (leaf,) * (levels - len(chains[leaf])) + chains[leaf] for leaf in leaves}


def _chain(leaf: int, parents: Mapping[int, int]) -> tuple[int, ...]:
    chain = [leaf]
    while chain[-1] in parents:
        chain.append(parents[chain[-1]])
        if chain[-1] in chain[:-1]:
            raise InputError(f"hierarchy.txt goes round in a circle at class {chain[-1]}")
    return tuple(chain[:-1])


Numbered = tuple[dict[int, int], tuple[tuple[str, ...], ...], tuple[tuple[int, ...], ...]]


def _numbered(chains: Mapping[int, tuple[int, ...]], names: Mapping[int, str]) -> Numbered:
    """Leaf -> its number; class names per level; per leaf its number on every level. Numbers follow the class ids."""
    unknown = sorted({number for chain in chains.values() for number in chain} - names.keys())
    if unknown:
        raise InputError(f"classes.txt has no name for class {_some(list(map(str, unknown)))}")
    levels = [sorted(set(level)) for level in zip(*chains.values(), strict=True)]
    sizes = tuple(map(len, levels))
    if sizes[0] == BIRD_LEVELS[0] and sizes != BIRD_LEVELS:
        raise InputError(f"hierarchy.txt is not the official one: levels of {BIRD_LEVELS} expected, got {sizes}")
    place = [{number: i for i, number in enumerate(level)} for level in levels]
    tree = tuple(tuple(place[depth][number] for depth, number in enumerate(chains[leaf])) for leaf in levels[0])
    return place[0], tuple(tuple(names[number] for number in level) for level in levels), tree


READERS = {
    "nuswide21": partial(nuswide, concepts=21),
    "nuswide81": partial(nuswide, concepts=81, lists=("test", "train", "database")),
    "nabirds": nabirds,
}
