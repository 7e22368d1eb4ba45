"""What a data set is made of: a pool of images, parts of it, and four parts under a protocol."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, product
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hashlab import codes
from hashlab.data import protocols
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError

Arrays = dict[
    str, tuple[np.ndarray, np.ndarray]
]  # split -> images (N, H, W[, C]), labels (N,) or (N, L), uint8


class Labelled(Protocol):
    """What methods are fitted to: a `Part`, or anything else that has images, uint8 (N, H, W) or
    (N, H, W, 3), and their labels, (N,) or (N, C).
    """

    @property
    def images(self) -> Any: ...

    @property
    def labels(self) -> Any: ...


def digests(images: np.ndarray) -> list[bytes]:
    """Per image, or row of features: SHA-256 of its raw bytes."""
    return [hashlib.sha256(image).digest() for image in np.ascontiguousarray(images)]


def label_bytes(labels: np.ndarray) -> list[bytes]:
    """Per image: its label as 2 big-endian bytes, several labels: each of them.

    4 bytes each where one reaches 65,536.
    """
    kind = ">u2" if labels.max(initial=0) < 1 << 16 else ">u4"
    ends = labels.astype(kind).reshape(len(labels), -1)
    return [end.tobytes() for end in ends]


def sort_keys(images: np.ndarray, labels: np.ndarray) -> list[bytes]:
    """Per image: its digest, then its `label_bytes`."""
    ends = label_bytes(labels)
    return [digest + end for digest, end in zip(digests(images), ends, strict=True)]


def canonical(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, str]:
    """The order (N,) that sorts a split by its keys, and the fingerprint of the sorted keys."""
    keys = sort_keys(images, labels)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return np.array(order, dtype=np.int64), hashlib.sha256(
        b"".join(keys[i] for i in order)
    ).hexdigest()


@dataclass(frozen=True, eq=False)
class Pool:
    """All images of a set, official splits one after the other, each in canonical order."""

    splits: tuple[np.ndarray, ...]  # images as stored, per split
    orders: tuple[np.ndarray, ...]  # canonical position -> stored position, per split
    stored: np.ndarray  # (N,) or (N, L) int64 labels as stored, canonical order
    about: SetInfo
    folder: Path | None = None  # in the cache; None where the set is embedded
    known: np.ndarray | None = (
        None  # (N, 32) SHA-256 of the images, canonical order, where they are stored
    )
    names: tuple[str, ...] | None = None  # N paths or names, canonical order, where there are any

    @property
    def counts(self) -> Mapping[str, int]:
        return self.about.counts

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 classes, the fine ones where there are levels;
        (N, C) 0/1 where images have several labels.
        """
        return self.stored[:, 0] if self.about.levels else self.stored

    @property
    def levels(self) -> np.ndarray | None:
        """(N, L) int64 classes per level, fine first; None where there are no levels."""
        return self.stored if self.about.levels else None

    def with_labels(self, columns: np.ndarray) -> Pool:
        """The same images with only these of their several labels, columns (M,), in that order."""
        classes = tuple(self.about.classes[column] for column in columns)
        about = dataclasses.replace(self.about, classes=classes)
        return dataclasses.replace(self, stored=self.stored[:, columns], about=about)

    def gather(self, index: np.ndarray) -> np.ndarray:
        """Images at pool positions `index` (M,): uint8 (M, H, W[, 3]); features: float32 (M, d)."""
        index = check_rows(index, len(self.stored))
        ends = np.cumsum([len(order) for order in self.orders])
        gathered = np.empty((len(index), *self.splits[0].shape[1:]), self.splits[0].dtype)
        for images, order, end in zip(self.splits, self.orders, ends, strict=True):
            start = end - len(order)
            if _is_whole(images, order) and _counts_up(index, start, end):
                return images  # as they are stored, without a copy
            inside = (index >= start) & (index < end)
            gathered[inside] = images[order[index[inside] - start]]
        return gathered

    def digests(self, index: np.ndarray) -> list[bytes]:
        """Per pool position: SHA-256 of the image's raw bytes,
        read in blocks where it is not known already.
        """
        if self.known is not None:
            return [digest.tobytes() for digest in self.known[index]]
        blocks = np.array_split(index, len(index) // 4096 + 1)
        return [digest for rows in blocks for digest in digests(self.gather(rows))]

    def part(self, index: np.ndarray) -> Part:
        """The part that stands at pool positions `index` (M,)."""
        index = check_rows(index, len(self.stored))
        levels = None if self.levels is None else self.levels[index]
        return Part(index, self.labels[index], levels, self)


def check_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """Rows (B,) of `count` images as int64;
    raises InputError for what is no whole number, or none of theirs.
    """
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise InputError(f"rows must be (B,) integers, got {codes.describe(rows)}")
    wrong = rows[(rows < 0) | (rows >= count)]
    if len(wrong):
        raise InputError(
            f"rows must lie in 0..{count - 1}, for there are {count} images, got {wrong[0]}"
        )
    return rows.astype(np.int64, copy=False)


def _is_whole(images: np.ndarray, order: np.ndarray) -> bool:
    """Whether a split has all stored images, in the order in which they are stored."""
    return len(images) == len(order) and _counts_up(order, 0, len(order))


def _counts_up(numbers: np.ndarray, start: int, end: int) -> bool:
    return len(numbers) == end - start and np.array_equal(numbers, np.arange(start, end))


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Some images of a set; equal to another part that has the same images and labels of the same
    pool.

    `.index` (N,) int64 into the pool; `.labels` int64 (N,), or 0/1 (N, C) where an image has
    several; `.levels` (N, L), fine first, or None; `.images` uint8 (N, H, W[, C]), or float32
    (N, d) where the set is of features.
    """

    index: np.ndarray
    labels: np.ndarray
    levels: np.ndarray | None
    pool: Pool = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Part) or self.pool is not other.pool:
            return False
        pairs = [
            (self.index, other.index),
            (self.labels, other.labels),
            (self.targets, other.targets),
        ]
        return all(np.array_equal(mine, theirs) for mine, theirs in pairs)

    def __hash__(self) -> int:
        return hash((self.pool, len(self), *self.index[:3].tolist()))

    def __repr__(self) -> str:
        kind = "features" if len(self.shape) == 1 else "images"
        return f"<Part: {len(self)} {kind} of {self.shape}>"

    @property
    def targets(self) -> np.ndarray:
        """What relevance is judged by: the levels where there are, else the labels."""
        return self.labels if self.levels is None else self.levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W) or (H, W, C), known without reading any;
        (d,) where the set is of features.
        """
        return self.pool.about.shape

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes, or the columns of several labels, are called."""
        return self.pool.about.classes

    @property
    def names(self) -> list[str] | None:
        """The N paths or names of the images; None where they have none."""
        if self.pool.names is None:
            return None
        return [self.pool.names[row] for row in self.index.tolist()]

    @property
    def rows(self) -> np.ndarray:
        """Where each image stands in the array that it comes from, one array a split: int64 (N,)."""
        return np.concatenate(self.pool.orders)[self.index]

    @property
    def nbytes(self) -> int:
        """Bytes that all images of the part take in memory."""
        return len(self) * prod(self.shape) * self.pool.splits[0].itemsize

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 (N, H, W) or (N, H, W, C); float32 (N, d) where the set is of features.

        A view of the memory-mapped file where the part is a whole split.
        """
        return self.pool.gather(self.index)

    @property
    def features(self) -> np.ndarray:
        """float32 (N, d), the same array as `.images`;
        raises InputError where the set is of images.
        """
        if len(self.shape) != 1:
            raise InputError(f"a set of features is expected, got images of {self.shape}")
        return self.images

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Images at positions `rows` (B,) of the part, in that order:
        uint8 (B, H, W[, C]) or float32 (B, d), read from the cache.
        """
        return self.pool.gather(self.index[check_rows(rows, len(self))])

    def blocks(self, size: int = 1000) -> Iterator[np.ndarray]:
        """All images in order, `size` at a time: for parts that do not fit into memory."""
        if size < 1:
            raise InputError(f"a block holds 1 image or more, got {size}")
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A set under a protocol: four parts, and what is needed to say which images they were.

    `validation` is a tenth of `train`; see `tuning`. `checksum` is the SHA-256 of the index lists,
    `fingerprint` that of the images themselves.
    """

    info: SetInfo
    protocol: str
    train: Part
    validation: Part
    query: Part
    database: Part
    checksum: str

    @classmethod
    def split(cls, pool: Pool, rule: protocols.Protocol) -> Dataset:
        """A pool under a protocol; raises InputError where its rule asks for what is not there."""
        if rule.most:
            pool = pool.with_labels(protocols.most_frequent(pool.labels, rule.most))
        index = protocols.split(rule, pool.labels, pool.counts)
        parts = {part: pool.part(rows) for part, rows in index.items()}
        return cls(pool.about, rule.name, checksum=protocols.checksum(index), **parts)

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{part} {len(getattr(self, part))}" for part in ("train", "query", "database")
        )
        return f"<Dataset {self.protocol}: {sizes}>"

    @property
    def name(self) -> str:
        """What the set is called."""
        return self.info.name

    @property
    def relevance(self) -> str:
        """What `metrics.evaluate` takes as `relevance`, with the `targets` of two parts."""
        return self.info.relevance

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes, or the columns of several labels, are called."""
        return self.info.classes

    @property
    def fingerprint(self) -> str:
        """Of the official splits;
        of a set that was prepared from files also the size and fit of its pixels.
        """
        return self.info.fingerprint

    def tuning(self) -> Dataset:
        """The data for choosing settings:
        train on nine tenths of `train`, retrieve the other tenth among them.

        Made once, so that runs on it can share what they make of its images. Raises InputError
        where `validation` is empty, for no class has two training images.
        """
        if not len(self.validation):
            raise InputError(
                f"{self.protocol}: no class has 2 training images, so that none can be held out"
                " for choosing settings"
            )
        return self._tuning

    @cached_property
    def _tuning(self) -> Dataset:
        rest = np.setdiff1d(self.train.index, self.validation.index)
        part = self.train.pool.part(rest)
        parts = {
            "train": part,
            "validation": self.validation,
            "query": self.validation,
            "database": part,
        }
        checksum = protocols.checksum({name: part.index for name, part in parts.items()})
        return dataclasses.replace(
            self, protocol=f"{self.protocol}/tuning", checksum=checksum, **parts
        )

    def duplicates(self) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """Images that are equal to the last pixel but stand in two parts, or twice in one.

        Returns for each pair of query, train and database the pairs of pool positions with equal
        pixels, whatever their labels, the smaller position first, whichever part it is in; an image
        is no duplicate of itself, even where train is a part of the database.
        """
        rows = {
            "query": _rows_of_digests(self.query),
            "train": _rows_of_digests(self.train),
            "database": _rows_of_digests(self.database),
        }
        return {
            (one, other): _equal(rows[one], rows[other])
            for one, other in combinations_with_replacement(rows, 2)
        }


def _rows_of_digests(part: Part) -> dict[bytes, list[int]]:
    """The pool positions of the images that have a digest."""
    rows: dict[bytes, list[int]] = {}
    for row, digest in zip(part.index.tolist(), part.pool.digests(part.index), strict=True):
        rows.setdefault(digest, []).append(row)
    return rows


def _equal(first: dict[bytes, list[int]], second: dict[bytes, list[int]]) -> list[tuple[int, int]]:
    """Pairs of pool positions, one in each part, with equal digests; each unordered pair once."""
    pairs = set()
    for digest in first.keys() & second.keys():
        for a, b in product(first[digest], second[digest]):
            if a != b:
                pairs.add((min(a, b), max(a, b)))
    return sorted(pairs)
