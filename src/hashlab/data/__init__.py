"""Data sets, their cache on disk, and the named protocols that split them.

data = hashlab.data.load("mnist", protocol="mnist-full")
data.train.images     # uint8 (60000, 28, 28)
data.query.labels     # int64 (10000,)
data.tuning()         # the same shape of object, for choosing settings: queries choose nothing
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement
from math import prod
from pathlib import Path

import numpy as np

from hashlab.data import cache, protocols
from hashlab.data.sets import SETS, SetInfo, info, names
from hashlab.errors import InputError

__all__ = ["SETS", "Dataset", "Part", "SetInfo", "info", "load", "names"]


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """Some images of a set.

    `.index` (N,) int64 into the pool; `.labels` int64 (N,), or 0/1 (N, L) where an image has several; `.levels` (N, L),
    fine first, or None; `.images` uint8 (N, H, W[, C]).
    """

    index: np.ndarray
    labels: np.ndarray
    levels: np.ndarray | None
    pool: cache.Pool = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"<Part: {len(self)} images of {self.shape}>"

    @property
    def targets(self) -> np.ndarray:
        """What relevance is judged by: the levels where there are, else the labels."""
        return self.labels if self.levels is None else self.levels

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W) or (H, W, C), known without reading any."""
        return self.pool.about.shape

    @property
    def nbytes(self) -> int:
        """Bytes that all images of the part take in memory."""
        return len(self) * prod(self.shape)

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 (N, H, W) or (N, H, W, C); a view of the memory-mapped file where the part is a whole split."""
        return self.pool.gather(self.index)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Images at positions `rows` (B,) of the part, in that order: uint8 (B, H, W[, C]), read from the cache."""
        return self.pool.gather(self.index[cache.check_rows(rows, len(self))])

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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{part} {len(getattr(self, part))}" for part in ("train", "query", "database"))
        return f"<Dataset {self.protocol}: {sizes}>"

    @property
    def name(self) -> str:
        return self.info.name

    @property
    def relevance(self) -> str:
        return self.info.relevance

    @property
    def classes(self) -> tuple[str, ...]:
        return self.info.classes

    @property
    def fingerprint(self) -> str:
        """Of the official splits; of a set that was prepared from files also the size and fit of its pixels."""
        return "+".join([*self.info.fingerprints.values(), *filter(None, [self.info.pixels])])

    def tuning(self) -> Dataset:
        """The data for choosing settings: train on nine tenths of `train`, retrieve the other tenth among them."""
        rest = np.setdiff1d(self.train.index, self.validation.index)
        part = self.train.pool.part(rest)
        parts = {"train": part, "validation": self.validation, "query": self.validation, "database": part}
        checksum = protocols.checksum({name: part.index for name, part in parts.items()})
        return dataclasses.replace(self, protocol=f"{self.protocol}/tuning", checksum=checksum, **parts)

    def duplicates(self) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """Images that are equal to the last pixel but stand in two parts, or twice in one.

        Returns for each pair of query, train and database the pairs of pool positions with equal pixels, whatever
        their labels; an image is no duplicate of itself, even where train is a part of the database.
        """
        parts = {name: getattr(self, name) for name in ("query", "train", "database")}
        content = {name: dict(zip(p.index.tolist(), p.pool.digests(p.index), strict=True)) for name, p in parts.items()}
        return {(a, b): _equal(content[a], content[b]) for a, b in combinations_with_replacement(parts, 2)}


def _equal(first: dict[int, bytes], second: dict[int, bytes]) -> list[tuple[int, int]]:
    """Pairs of pool positions, one in each part, with equal digests; each unordered pair once."""
    places: dict[bytes, list[int]] = {}
    for place, digest in first.items():
        places.setdefault(digest, []).append(place)
    found = set()
    for place, digest in second.items():
        found |= {(min(place, other), max(place, other)) for other in places.get(digest, []) if other != place}
    return sorted(found)


def load(name: str, *, protocol: str | None = None, root: str | Path | None = None) -> Dataset:
    """Load a set and split it as the named protocol says.

    Args:
        name: one of `names()`.
        protocol: one of `protocols.names(name)`; the set's first one when None.
        root: the cache folder; `$HASHLAB_DATA` or `data/cache` when None. Embedded sets do not need it.

    Raises:
        InputError: unknown name or protocol; a cache that is missing, truncated or altered. Every image is checked
            against the set's published fingerprint; of sets prepared from files that were put there by hand, a
            sample is (`hashlab data check` looks at all of them).
    """
    about = info(name)
    rule = protocols.get(name, protocol)
    pool = cache.open_pool(about, root)
    index = protocols.split(rule, pool.labels, pool.counts)
    parts = {part: pool.part(rows) for part, rows in index.items()}
    return Dataset(pool.about, rule.name, checksum=protocols.checksum(index), **parts)
