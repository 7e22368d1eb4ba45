"""Which codes are nearest, exactly: FAISS's scan where FAISS is installed, else NumPy's.

Both give the same: rows of the database in the order (distance, row). FAISS promises no order among
equal distances, nor which of them it leaves out at the k-th place; its scan is of that order all the
same, and is asked for a proof before it is used (`ordered`). Its radius is strict and its ranges
have real distances: both stay in here.

Approximate is only `Cells`, FAISS's IndexBinaryIVF. Two others are left out, for on clustered codes
they find less and take longer: a graph (IndexBinaryHNSW), and lookups in several tables
(IndexBinaryMultiHash), whose buckets are crowded there; `benchmarks/search.py --others` shows it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from hashlab.errors import InputError
from hashlab.search.combining import Measure

PAIRS = 1 << 22  # compared at once by NumPy
POINTS = 39  # codes that a cell has on average, at least: fewer make poor centres


class Ranges(NamedTuple):
    """All that lies within a radius: of query q what stands in `ends[q] : ends[q + 1]`.

    ends int64 (Q + 1,), distances int32 (M,), rows int64 (M,).
    """

    ends: np.ndarray
    distances: np.ndarray
    rows: np.ndarray


def nearest(
    measure: Measure, query: np.ndarray, database: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of each query, in the order (distance, row), of a union
    (smallest distance, sum, row).

    Args:
        query, database: codes that are laid out, uint8 (Q, bytes) and (N, bytes).
        k: 1..N.

    Returns:
        distances, int32 (Q, k), and rows, int64 (Q, k).
    """
    if measure.combine == "union" or not ordered():
        return _nearest_numpy(measure, query, database, k)
    return _nearest_faiss(query, database, k)


def within(measure: Measure, query: np.ndarray, database: np.ndarray, radius: int) -> Ranges:
    """All rows at most `radius` away, in the same order; arguments as in `nearest`."""
    if measure.combine == "union" or not ordered():
        return _within_numpy(measure, query, database, radius)
    return _within_faiss(query, database, radius)


# ---- FAISS


@cache
def faiss() -> ModuleType | None:
    """The library, where it is installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


@cache
def ordered() -> bool:
    """Whether FAISS is there, and its scan breaks ties by rows, tried where nearly all are tied."""
    if faiss() is None:
        return False
    drawn = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8) & 0x11
    query = drawn[:64]
    ours = _nearest_numpy(Measure((64,)), query, drawn, 50)
    theirs = _nearest_faiss(query, drawn, 50)
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def _nearest_faiss(
    query: np.ndarray, database: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The scan of an IndexBinaryFlat, on codes where they lie: nothing is copied."""
    if not len(query):
        return np.empty((0, k), np.int32), np.empty((0, k), np.int64)
    return faiss().knn_hamming(np.ascontiguousarray(query), np.ascontiguousarray(database), k)


def _within_faiss(query: np.ndarray, database: np.ndarray, radius: int) -> Ranges:
    library = faiss()
    query, database = np.ascontiguousarray(query), np.ascontiguousarray(database)
    result = library.RangeSearchResult(len(query))
    radius = min(radius, 8 * query.shape[1])  # of more, the number may not fit its type
    library.hamming_range_search(
        library.swig_ptr(query),
        library.swig_ptr(database),
        len(query),
        len(database),
        radius + 1,  # theirs is the first that is too far
        query.shape[1],
        result,
    )
    ends = library.rev_swig_ptr(result.lims, len(query) + 1).astype(np.int64)
    if not ends[-1]:
        return Ranges(ends, np.empty(0, np.int32), np.empty(0, np.int64))
    distances = library.rev_swig_ptr(result.distances, int(ends[-1])).astype(np.int32)
    rows = library.rev_swig_ptr(result.labels, int(ends[-1])).astype(np.int64)
    return _sorted(ends, distances, rows)


def _sorted(ends: np.ndarray, distances: np.ndarray, rows: np.ndarray) -> Ranges:
    """Each query's part in the order (distance, row)."""
    query = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    order = np.lexsort((rows, distances, query))
    return Ranges(ends, distances[order], rows[order])


class Cells:
    """Codes in cells around centres, of which only the nearest few are searched: approximate.

    Raises InputError where FAISS is not installed.
    """

    def __init__(self, database: np.ndarray):
        library = faiss()
        if library is None:
            raise InputError("fast=True needs FAISS: pip install 'hashlab[search]'")
        count = int(max(1, min(np.sqrt(len(database)), len(database) // POINTS)))
        bits = 8 * database.shape[1]
        self.centres = library.IndexBinaryFlat(bits)
        self.index = library.IndexBinaryIVF(self.centres, bits, count)
        database = np.ascontiguousarray(database)
        self.index.train(database)
        self.index.add(database)

    def nearest(self, query: np.ndarray, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`, of the items in the `probes` nearest cells; a row is -1 where they hold
        fewer than k.
        """
        self.index.nprobe = probes
        distances, rows = self.index.search(np.ascontiguousarray(query), k)
        order = np.lexsort((rows, distances))
        return np.take_along_axis(distances, order, 1), np.take_along_axis(rows, order, 1)


class Shards:
    """Codes in several parts, which are scanned at once, a thread each: FAISS's IndexBinaryShards.

    It is for few queries at a time: many are shared out among threads anyway. FAISS has a copy of
    the codes; where they are mapped from a file, only that copy stays in memory.

    Raises InputError where FAISS is not installed.
    """

    def __init__(self, database: np.ndarray, count: int):
        library = check_shards()
        bits = 8 * database.shape[1]
        self.parts = np.array_split(database, max(1, min(count, len(database))))
        self.index = library.IndexBinaryShards(bits, True, True)  # with threads; rows go on
        for part in self.parts:
            flat = library.IndexBinaryFlat(bits)
            flat.add(np.ascontiguousarray(part))
            self.index.add_shard(flat)

    def nearest(self, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `nearest`."""
        if not len(query):
            return np.empty((0, k), np.int32), np.empty((0, k), np.int64)
        return self.index.search(np.ascontiguousarray(query), k)

    def within(self, query: np.ndarray, radius: int) -> Ranges:
        """As `within`; FAISS has it for each part only."""
        with ThreadPoolExecutor(len(self.parts)) as pool:
            found = list(pool.map(lambda part: _within_faiss(query, part, radius), self.parts))
        starts = np.cumsum([0, *(len(part) for part in self.parts[:-1])])
        rows = [one.rows + start for one, start in zip(found, starts, strict=True)]
        numbers = [np.repeat(np.arange(len(query)), np.diff(one.ends)) for one in found]
        order = np.argsort(np.concatenate(numbers), kind="stable")
        ends = np.sum([one.ends for one in found], axis=0)
        distances = np.concatenate([one.distances for one in found])[order]
        return _sorted(ends, distances, np.concatenate(rows)[order])


def check_shards() -> ModuleType:
    """FAISS; raises InputError where it is not installed."""
    library = faiss()
    if library is None:
        raise InputError("shards need FAISS: pip install 'hashlab[search]'")
    return library


@cache
def shards_ordered() -> bool:
    """Whether FAISS breaks ties by rows across shards, tried where nearly all are tied."""
    drawn = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8) & 0x11
    query = drawn[:64]
    ours = _nearest_numpy(Measure((64,)), query, drawn, 50)
    theirs = Shards(drawn, 7).nearest(query, 50)
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


# ---- NumPy


def _nearest_numpy(
    measure: Measure, query: np.ndarray, database: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    distances = np.empty((len(query), k), np.int32)
    rows = np.empty((len(query), k), np.int64)
    for start, keys in _blocks(measure, query, database):
        for row, of_query in enumerate(keys, start):
            rows[row] = _first(of_query, k)
            distances[row] = of_query[rows[row]] // measure.scale
    return distances, rows


def _first(keys: np.ndarray, k: int) -> np.ndarray:
    """The rows of the k smallest keys, int64 (k,), in the order (key, row)."""
    last = np.partition(keys, k - 1)[k - 1]
    rows = np.flatnonzero(keys <= last)
    return rows[np.argsort(keys[rows], kind="stable")[:k]]


def _within_numpy(measure: Measure, query: np.ndarray, database: np.ndarray, radius: int) -> Ranges:
    counts, distances, rows = [], [], []
    for _, keys in _blocks(measure, query, database):
        for of_query in keys:
            near = np.flatnonzero(of_query // measure.scale <= radius)
            near = near[np.argsort(of_query[near], kind="stable")]
            counts.append(len(near))
            distances.append((of_query[near] // measure.scale).astype(np.int32))
            rows.append(near)
    ends = np.append(0, np.cumsum(counts, dtype=np.int64))
    none = np.empty(0, np.int32), np.empty(0, np.int64)
    return Ranges(ends, np.concatenate([none[0], *distances]), np.concatenate([none[1], *rows]))


def _blocks(measure: Measure, query: np.ndarray, database: np.ndarray) -> Any:
    """The keys of a few queries at a time, (B, N), and the first of these queries."""
    step = max(1, PAIRS // max(1, len(database)))
    for start in range(0, len(query), step):
        yield start, measure.keys(query[start : start + step], database)
