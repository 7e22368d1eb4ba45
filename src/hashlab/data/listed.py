"""Readers of sets that are put there by hand: NUS-WIDE's list files, Corel5k's classic files and
NABirds' official ones.

A reader turns a folder into a `Listing`, checked as far as it can be without opening an image.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from hashlab.errors import InputError
from hashlab.files import read_text

LONGEST_NUMBER = 9  # digits of a class, an id, a word's number
LONGEST_NAME = 200  # letters of a path in a message
BIRD_LEVELS = (
    555,
    495,
    228,
    22,
)  # species and plumages, then groups: what completing the official tree gives


@dataclass(frozen=True, eq=False)
class Listing:
    """What a folder holds: per split the paths in it, sorted, and labels (N,),
    (N, C) 0/1 or (N, levels).
    """

    paths: Mapping[str, list[str]]
    labels: Mapping[str, np.ndarray]
    classes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...] = ()
    tree: tuple[tuple[int, ...], ...] = ()


def read(name: str, folder: Path) -> Listing:
    """The listing of the set `name` in `folder`;
    raises InputError for what is missing, ragged or contradictory.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    listing = READERS[name](folder)
    check_files(folder, [path for paths in listing.paths.values() for path in paths])
    return listing


def check_files(folder: Path, paths: Sequence[str], may_be_empty: bool = False) -> None:
    """Raise InputError when a path leads out of the folder, or its file is missing or empty."""
    out = [
        path
        for path in paths
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    ]
    if out:
        raise InputError(f"the lists in {folder} name {some(out)} outside of the folder")
    sizes = {path: _size(folder / path) for path in paths}
    missing = [path for path, size in sizes.items() if size is None]
    empty = [path for path, size in sizes.items() if size == 0]
    if may_be_empty:
        empty = []
    for what, wrong in (("do not exist", missing), ("are empty", empty)):
        if wrong:
            count = f"{len(wrong)} of {len(paths)} listed images"
            raise InputError(f"{count} {what} in {folder}: {some(wrong)}")


def _size(file: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    try:
        return file.stat().st_size if file.is_file() else None
    except OSError:  # a name that is too long, a folder that may not be read
        return None


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of some names, and how many more there are."""
    shown = ", ".join(_short(name) for name in names[:most])
    more = len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"


def _lines(file: Path) -> list[tuple[str, str]]:
    """The lines of a text file that are not blank, each with where it stands."""
    return [(where, line) for where, line in _all_lines(file) if line.strip()]


def _all_lines(file: Path) -> list[tuple[str, str]]:
    """The lines of a text file up to its last that is not blank, each with where it stands."""
    if not os.path.lexists(file):
        raise InputError(f"{file.name} is missing in {file.parent}")
    text = read_text(file, "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return [(f"{file}, line {i}", line) for i, line in enumerate(text.rstrip().split("\n"), 1)]


# NUS-WIDE: lists of "path 0 1 0 …"


def nuswide(folder: Path, concepts: int, lists: Sequence[str] = ()) -> Listing:
    """Images with `concepts` columns of 0 and 1.

    Without `lists`, all `*.txt` files but `concepts.txt` are pooled as one split. With ("test",
    "train", "database"), those three are read, and their images are told apart as `test`, `train`
    (not in the database), `both` and `rest` (in the database only). An image may stand in several
    lists, with the same labels.
    """
    files = [folder / f"{name}.txt" for name in lists] or _list_files(folder)
    labels_of: dict[str, str] = {}
    members = [_read_list(file, concepts, labels_of) for file in files]
    splits = _told_apart(*members) if lists else {"all": set().union(*members)}
    paths = {split: sorted(images) for split, images in splits.items()}
    labels = {
        split: _zeros_and_ones([labels_of[path] for path in images], concepts)
        for split, images in paths.items()
    }
    return Listing(paths, labels, _concepts(folder / "concepts.txt", concepts))


def _list_files(folder: Path) -> list[Path]:
    lists = sorted(file for file in folder.glob("*.txt") if file.name != "concepts.txt")
    if not lists:
        raise InputError(f"{folder} holds no list files (*.txt with lines `path 0 1 0 …`)")
    return lists


def _read_list(file: Path, concepts: int, labels_of: dict[str, str]) -> set[str]:
    """The paths of one list; their labels, as a text of 0 and 1, go into `labels_of`."""
    paths = set()
    for where, line in _lines(file):
        words = line.split()
        count = len(list(takewhile(_is_label, reversed(words))))
        if count != concepts or len(words) == count:
            raise InputError(
                f"{where}: a path and {concepts} labels of 0 or 1 are expected,"
                f" got {count} such labels"
            )
        path = line.rsplit(maxsplit=concepts)[0].strip()
        labels = "".join(words[-concepts:])
        if labels_of.setdefault(path, labels) != labels:
            raise InputError(f"{where}: {path} has other labels than where it is listed before")
        paths.add(path)
    if not paths:
        raise InputError(f"{file} is empty")
    return paths


def _is_label(word: str) -> bool:
    return word in ("0", "1")


def _told_apart(test: set[str], train: set[str], database: set[str]) -> dict[str, set[str]]:
    both = sorted(test & (train | database))
    if both:
        count = f"{len(both)} images of test.txt"
        raise InputError(f"{count} stand in train.txt or database.txt too: {some(both)}")
    splits = {
        "test": test,
        "train": train - database,
        "both": train & database,
        "rest": database - train,
    }
    return {name: paths for name, paths in splits.items() if paths}


def _zeros_and_ones(texts: Sequence[str], concepts: int) -> np.ndarray:
    """Texts of 0 and 1 as uint8 (N, L)."""
    digits = np.frombuffer("".join(texts).encode(), np.uint8)
    return (digits - ord("0")).reshape(-1, concepts)


def _concepts(file: Path, count: int) -> tuple[str, ...]:
    """The names in `concepts.txt`, one a line, in the order of the columns;
    numbers where there is no such file.
    """
    if not os.path.lexists(file):
        return tuple(f"concept {i}" for i in range(1, count + 1))
    names = tuple(line.strip() for _, line in _lines(file))
    if len(names) != count:
        raise InputError(f"{file}: {count} names are expected, one a line, got {len(names)}")
    return names


# Corel5k: words, training_label, test_label, images/

Words = dict[int, frozenset[int]]  # id of an image -> numbers of its words, from 1


def corel5k(folder: Path) -> Listing:
    """Photographs with any of the words of a list, one column a word; the official split.

    A row is an id and the numbers of its words. Oddities of the originals are dealt with so: a row
    without words is passed over (its image can be relevant to nothing), a word that a row repeats
    counts once, and so does a row that its list repeats with the same words.
    """
    words = _vocabulary(folder / "words")
    words_of = {
        "train": _read_ids(folder / "training_label", len(words)),
        "test": _read_ids(folder / "test_label", len(words)),
    }
    both = sorted(words_of["train"].keys() & words_of["test"].keys())
    if both:
        ids = some(list(map(str, both)))
        raise InputError(f"{folder}: {len(both)} ids of test_label stand in training_label: {ids}")
    ids_of = {split: sorted(rows, key=_photograph) for split, rows in words_of.items()}
    paths = {split: list(map(_photograph, ids)) for split, ids in ids_of.items()}
    labels = {
        split: _marked([words_of[split][image] for image in ids], len(words))
        for split, ids in ids_of.items()
    }
    return Listing(paths, labels, words)


def _photograph(image: int) -> str:
    """The path of an image: folders hold the ids of a thousand."""
    return f"images/{image // 1000 * 1000}/{image}.jpeg"


def _vocabulary(file: Path) -> tuple[str, ...]:
    """The words, one a line; a line that is empty would shift the numbers of those below it."""
    words: dict[str, None] = {}
    for where, line in _all_lines(file):
        word = line.strip()
        if not word:
            raise InputError(f"{where}: a word is expected, got an empty line")
        if word in words:
            raise InputError(f"{where}: {_short(word)} is listed a second time")
        words[word] = None
    return tuple(words)


def _read_ids(file: Path, count: int) -> Words:
    """The images of one list that have any of `count` words."""
    words_of: Words = {}
    for where, line in _lines(file):
        first, *rest = line.split()
        image = _number(first, where, "an id")
        numbers = frozenset(_number(text, where, "the number of a word") for text in rest)
        wrong = sorted(number for number in numbers if not 1 <= number <= count)
        if wrong:
            raise InputError(f"{where}: words are numbered 1..{count}, got {wrong[0]}")
        if words_of.setdefault(image, numbers) != numbers:
            raise InputError(f"{where}: {image} has other words than where it is listed before")
    labelled = {image: numbers for image, numbers in words_of.items() if numbers}
    if not labelled:
        raise InputError(f"{file} has no image with a word")
    return labelled


def _marked(rows: Sequence[frozenset[int]], count: int) -> np.ndarray:
    """Numbers from 1 as uint8 (N, count) of 0 and 1."""
    labels = np.zeros((len(rows), count), np.uint8)
    for label, numbers in zip(labels, rows, strict=True):
        label[[number - 1 for number in numbers]] = 1
    return labels


# NABirds: images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, hierarchy.txt


def nabirds(folder: Path) -> Listing:
    """Images of birds with their leaf of the tree, completed to four levels; the official split."""
    path_of = _columns(folder / "images.txt")  # by the number of the image, as the others are
    class_of = _of_images(folder / "image_class_labels.txt", path_of)
    chains = complete(_tree(folder / "hierarchy.txt"), len(BIRD_LEVELS))
    classes = _numbered(chains, _names(folder / "classes.txt"))
    splits = _bird_splits(folder / "train_test_split.txt", path_of)
    tree = np.array(classes.tree, np.uint16)
    labels = {}
    for name, images in splits.items():
        where = f"{folder / 'image_class_labels.txt'}: image"
        leaves = [_known(classes.leaves, class_of[image], f"{where} {image}") for image in images]
        labels[name] = tree[leaves]  # (N, 4)
    paths = {
        name: [f"images/{path_of[image]}" for image in images] for name, images in splits.items()
    }
    return Listing(paths, labels, classes.levels[0], classes.levels, classes.tree)


def _of_images(file: Path, path_of: Mapping[str, str]) -> dict[str, str]:
    """What a file says of each image;
    raises InputError unless it is of the images of images.txt.
    """
    values = _columns(file)
    odd = sorted(values.keys() ^ path_of.keys())
    if odd:
        files = f"images.txt and {file.name}"
        raise InputError(f"{file.parent}: {files} do not list the same images: {some(odd)}")
    return values


def _bird_splits(file: Path, path_of: Mapping[str, str]) -> dict[str, list[str]]:
    """The images of the train and the test split, in the order of their paths."""
    marks = _of_images(file, path_of)
    wrong = sorted(image for image, mark in marks.items() if mark not in ("0", "1"))
    if wrong:
        raise InputError(f"{file}: 0 or 1 is expected, got {marks[wrong[0]]} at {wrong[0]}")
    in_order = sorted(path_of, key=lambda image: path_of[image])
    splits = {
        "train": [image for image in in_order if marks[image] == "1"],
        "test": [image for image in in_order if marks[image] == "0"],
    }
    for name, images in splits.items():
        if not images:
            raise InputError(f"{file} has no {name} image")
    return splits


def _columns(file: Path) -> dict[str, str]:
    """A file of two columns as first -> rest of the line.

    Raises InputError for a ragged row or a repeated first.
    """
    rest: dict[str, str] = {}
    for where, line in _lines(file):
        words = line.split(maxsplit=1)
        if len(words) != 2:
            raise InputError(f"{where}: two columns are expected, got {line.strip()!r}")
        if words[0] in rest:
            raise InputError(f"{where}: {words[0]} is listed a second time")
        rest[words[0]] = words[1].strip()
    if not rest:
        raise InputError(f"{file} is empty")
    return rest


def _number(text: str, where: Path | str, what: str = "a class") -> int:
    if not text.isdecimal() or len(text) > LONGEST_NUMBER:
        raise InputError(f"{where}: {what} is a whole number, got {text[:40]!r}")
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
    """For every leaf of a tree its chain of classes, leaf first and without the root,
    `levels` long.

    A chain that is shorter repeats the leaf: (leaf, parent, grandparent) becomes
    (leaf, leaf, parent, grandparent).

    Raises:
        InputError: a circle, several roots, a chain that is too long.
    """
    chains = {child: _chain(child, parents) for child in sorted(parents)}
    roots = sorted(set(parents.values()) - parents.keys())
    if len(roots) != 1:
        names = some(list(map(str, roots)))
        raise InputError(f"hierarchy.txt has {len(roots)} roots, one is expected: {names}")
    for child, chain in chains.items():
        if len(chain) > levels:
            depth = f"{len(chain)} levels deep"
            raise InputError(f"hierarchy.txt: class {child} is {depth}, at most {levels} fit")
    leaves = sorted(parents.keys() - set(parents.values()))
    return {leaf: _lengthened(chains[leaf], levels) for leaf in leaves}


def _lengthened(chain: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The chain with its leaf repeated."""
    missing = length - len(chain)
    return chain[:1] * missing + chain


def _chain(leaf: int, parents: Mapping[int, int]) -> tuple[int, ...]:
    chain = [leaf]
    while chain[-1] in parents:
        chain.append(parents[chain[-1]])
        if chain[-1] in chain[:-1]:
            raise InputError(f"hierarchy.txt goes round in a circle at class {chain[-1]}")
    return tuple(chain[:-1])


class Classes(NamedTuple):
    """The classes of a tree, numbered 0, 1, … on every level in the order of their ids."""

    leaves: dict[int, int]  # id of a leaf -> its number
    levels: tuple[tuple[str, ...], ...]  # names per level, fine first
    tree: tuple[tuple[int, ...], ...]  # per leaf: its class on every level


def _numbered(chains: Mapping[int, tuple[int, ...]], names: Mapping[int, str]) -> Classes:
    unknown = sorted({number for chain in chains.values() for number in chain} - names.keys())
    if unknown:
        raise InputError(f"classes.txt has no name for class {some(list(map(str, unknown)))}")
    levels = [sorted(set(level)) for level in zip(*chains.values(), strict=True)]
    sizes = tuple(map(len, levels))
    if sizes[0] == BIRD_LEVELS[0] and sizes != BIRD_LEVELS:
        raise InputError(
            f"hierarchy.txt is not the official one: levels of {BIRD_LEVELS} expected, got {sizes}"
        )
    numbers = [{id_: number for number, id_ in enumerate(level)} for level in levels]
    tree = [
        tuple(of_level[id_] for of_level, id_ in zip(numbers, chains[leaf], strict=True))
        for leaf in levels[0]
    ]
    level_names = [tuple(names[id_] for id_ in level) for level in levels]
    return Classes(numbers[0], tuple(level_names), tuple(tree))


READERS = {
    "nuswide21": partial(nuswide, concepts=21),
    "nuswide81": partial(nuswide, concepts=81, lists=("test", "train", "database")),
    "corel5k": corel5k,
    "nabirds": nabirds,
}
