"""From codes and labels, or from any distances, to histograms, one block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from hashlab import codes, progress
from hashlab.metrics.distance import Distance
from hashlab.metrics.histogram import Histogram
from hashlab.metrics.labels import Relevance

CELLS = 1 << 21  # counts that a block of queries may take, 16 MB; what is derived from them takes some ten times that
MEMORY = 1 << 23  # counts in all blocks that are worked on at once
QUERIES = {"cpu": 128, "cuda": 512}  # queries of a block at most
FIXED_POINT = 1 << 40  # real weights of bits become whole numbers: equal sums tie, whatever the order of adding

Counts = Callable[[slice], np.ndarray]
Found = TypeVar("Found")


@dataclass(frozen=True)
class Rankings:
    """The rankings of all queries, made block by block when asked for.

    Attributes:
        blocks: slices of queries.
        histogram: the rankings of a block.
        threads: how many blocks may be worked on at once.
    """

    blocks: list[slice]
    histogram: Callable[[slice], Histogram]
    threads: int = 1

    def each(self, measure: Callable[[Histogram], Found]) -> Iterator[Found]:
        """What `measure` finds in each block, in order; progress is shown past two seconds."""
        with ThreadPoolExecutor(self.threads) as pool:
            found = pool.map(lambda rows: measure(self.histogram(rows)), self.blocks)
            if progress.mode() == "live":
                found = progress.Progress(found, "evaluate", total=len(self.blocks), delay=2.0)
            yield from found


def from_codes(query: codes.Array, database: codes.Array, distance: Distance, relevance: Relevance) -> Rankings:
    """Rank packed codes (N, 8 W) by their distance to each of (Q, 8 W), with the engine of their kind."""
    count = engine(query, database, distance, relevance)

    def histogram(rows: slice) -> Histogram:
        counts = count(rows)
        filled = counts.any((0, 1))  # most distances never occur between long codes
        return Histogram(counts[:, :, filled], relevance.gain, relevance.relevant, distance.radius[filled])

    device = "cpu" if isinstance(query, np.ndarray) else query.device.type
    blocks = _blocks(len(query), relevance.groups * len(distance.radius), QUERIES.get(device, QUERIES["cuda"]))
    return Rankings(blocks, histogram, _threads(query, relevance.groups * len(distance.radius)))


def from_distances(distances: Callable[[slice], np.ndarray], relevance: Relevance) -> Rankings:
    """Rank by any distances, given as a function of a slice of queries to (rows, N): one sort per query."""
    queries, items = len(relevance.query), len(relevance.database)
    blocks = _blocks(queries, relevance.groups * items, QUERIES["cpu"])
    threads = min(torch.get_num_threads(), MEMORY // CELLS)
    return Rankings(blocks, lambda rows: tie_groups(distances(rows), relevance.group(rows), relevance), threads)


def tie_groups(distance: np.ndarray, group: np.ndarray, relevance: Relevance) -> Histogram:
    """Rank items by distance, (Q, N) real, and count those of each gain group, (Q, N) int, that tie."""
    order = np.argsort(distance, axis=1)  # any order of ties will do
    ranked, group = np.take_along_axis(distance, order, 1), np.take_along_axis(group, order, 1)
    tie = np.cumsum(ranked[:, 1:] != ranked[:, :-1], axis=1)
    tie = np.pad(tie, ((0, 0), (1, 0)))  # (Q, N): the number of the tie group at each rank
    shape = len(distance), relevance.groups, int(tie.max()) + 1
    query = np.arange(len(distance))[:, None]
    counts = np.bincount(np.ravel_multi_index((query, group, tie), shape).ravel(), minlength=np.prod(shape))
    return Histogram(counts.reshape(shape), relevance.gain, relevance.relevant)


def asymmetric(query: np.ndarray, database: np.ndarray) -> Callable[[slice], np.ndarray]:
    """L1 distances of sigmoid(query outputs (Q, K)) to packed bits (N, 8 W), up to a constant per query.

    |p - b| summed over bits is sum p + sum_b (1 - 2 p): bytes of bits are looked up in tables of such sums.
    """
    weight = np.rint(-np.tanh(query.astype(np.float64) / 2) * FIXED_POINT).astype(np.int64)  # 1 - 2 sigmoid(u)
    byte = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").astype(np.int64)
    columns = np.ascontiguousarray(database.T)  # (8 W, N)

    def distances(rows: slice) -> np.ndarray:
        bits = np.pad(weight[rows], ((0, 0), (0, -weight.shape[1] % 8)))
        tables = bits.reshape(len(bits), -1, 8) @ byte.T  # (rows, ceil(K / 8), 256)
        return sum(tables[:, i][:, columns[i]] for i in range(tables.shape[1]))

    return distances


def engine(query: codes.Array, database: codes.Array, distance: Distance, relevance: Relevance) -> Counts:
    """The counts of a slice of queries, int64 (rows, G, B), as a function: compiled for arrays, torch for tensors."""
    if isinstance(query, torch.Tensor):
        from hashlab.metrics._torch import Counter

        return Counter(query, database, distance, relevance).count
    return _compiled(query, database, distance, relevance)


def _compiled(query: np.ndarray, database: np.ndarray, distance: Distance, relevance: Relevance) -> Counts:
    from hashlab.metrics import _numba  # half a second, so only when used

    query, shift = distance.words(query)  # (Q, W), (W,)
    database = distance.words(database)[0]  # (N, W)
    query_labels, database_labels = relevance.words
    order, starts = _numba.runs(database_labels)
    database, database_labels = np.ascontiguousarray(database[order].T), np.ascontiguousarray(database_labels[:, order])
    base = distance.base.astype(np.uint64)

    def count(rows: slice) -> np.ndarray:
        counts = np.empty((rows.stop - rows.start, relevance.groups, len(distance.radius)), np.int64)
        of_query, of_database = (query[rows], query_labels[rows]), (database, database_labels, starts)
        _numba.count(*of_query, *of_database, shift, distance.spans, base, relevance.shared, counts)
        return counts

    return count


def _threads(query: codes.Array, cells: int) -> int:
    """How many blocks are worked on at once; results are the same with any number."""
    most = torch.get_num_threads()
    if isinstance(query, torch.Tensor):  # its operations have threads of their own; a GPU counts while we measure
        most = 1 if query.device.type == "cpu" else min(4, most)
    return max(1, min(most, MEMORY // (cells * min(len(query), QUERIES["cpu"]))))


def _blocks(queries: int, cells: int, most: int) -> list[slice]:
    """Slices of queries, each query taking so many cells."""
    step = max(1, min(most, CELLS // cells))
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]
