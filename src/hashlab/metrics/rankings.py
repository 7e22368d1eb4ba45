"""From codes and labels, or from any distances, to histograms, one block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from hashlab import codes, progress
from hashlab.metrics.distance import Distance
from hashlab.metrics.histogram import Histogram
from hashlab.metrics.labels import Relevance

CELLS = 1 << 21  # counts that a block of queries may take: 16 MB
QUERIES = 512  # queries of a block at most
REPEATED = 0.75  # where distinct items are fewer than this part of all, each is compared once
FIXED_POINT = (
    1 << 40
)  # real weights of bits become whole numbers: equal sums tie, whatever the order of adding

Counts = Callable[[slice], np.ndarray]


@dataclass(frozen=True)
class Rankings:
    """The rankings of all queries, made block by block when asked for.

    Attributes:
        blocks: slices of queries.
        histogram: the rankings of a block.
    """

    blocks: list[slice]
    histogram: Callable[[slice], Histogram]

    def __iter__(self) -> Iterator[Histogram]:
        """The rankings of block after block;
        the next ones are made while the last are looked at.
        """
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.histogram, self.blocks[0])
            for rows in self._shown(self.blocks[1:]):
                ranking = coming.result()
                coming = pool.submit(self.histogram, rows)  # while the caller looks at `ranking`
                yield ranking
            yield coming.result()

    def _shown(self, blocks: list[slice]) -> Iterable[slice]:
        """The same blocks, with a bar past two seconds where somebody looks."""
        if progress.mode() != "live":
            return blocks
        return progress.Progress(blocks, "evaluate", delay=2.0)


def from_codes(
    query: codes.Array, database: codes.Array, distance: Distance, relevance: Relevance
) -> Rankings:
    """Rank packed codes (N, 8 W) by their distance to each of (Q, 8 W),
    with the engine of their kind.
    """
    count = engine(query, database, distance, relevance)

    def histogram(rows: slice) -> Histogram:
        counts = count(rows)
        filled = counts.any((0, 1))  # most distances never occur between long codes
        counts = counts.compress(filled, 2)
        return Histogram(counts, relevance.gain, relevance.relevant, distance.radius[filled])

    return Rankings(_blocks(len(query), relevance.groups * distance.bins), histogram)


def from_distances(distances: Callable[[slice], np.ndarray], relevance: Relevance) -> Rankings:
    """Rank by any distances, given as a function of a slice of queries to (rows, N):
    one sort per query.
    """
    blocks = _blocks(len(relevance.query), relevance.groups * len(relevance.database))
    return Rankings(
        blocks, lambda rows: tie_groups(distances(rows), relevance.group(rows), relevance)
    )


def tie_groups(distance: np.ndarray, group: np.ndarray, relevance: Relevance) -> Histogram:
    """Rank items by distance, (Q, N) real, and count those of each gain group, (Q, N) int,
    that tie.
    """
    order = np.argsort(distance, axis=1)  # any order of ties will do
    ranked = np.take_along_axis(distance, order, 1)
    group = np.take_along_axis(group, order, 1)
    tie = np.cumsum(ranked[:, 1:] != ranked[:, :-1], axis=1)
    tie = np.pad(tie, ((0, 0), (1, 0)))  # (Q, N): the number of the tie group at each rank
    shape = (len(distance), relevance.groups, int(tie.max()) + 1)
    query = np.arange(len(distance))[:, None]
    cell = np.ravel_multi_index((query, group, tie), shape)  # (Q, N)
    counts = np.bincount(cell.ravel(), minlength=np.prod(shape))
    return Histogram(counts.reshape(shape), relevance.gain, relevance.relevant)


def asymmetric(query: np.ndarray, database: np.ndarray) -> Callable[[slice], np.ndarray]:
    """L1 distances of sigmoid(query outputs (Q, K)) to packed bits (N, 8 W),
    up to a constant per query.

    |p - b| summed over bits is sum p + sum_b (1 - 2 p): bytes of bits are looked up in tables of
    such sums.
    """
    weight = -np.tanh(query.astype(np.float64) / 2)  # 1 - 2 sigmoid(u)
    weight = np.rint(weight * FIXED_POINT).astype(np.int64)
    byte = np.arange(256, dtype=np.uint8)[:, None]
    byte = np.unpackbits(byte, axis=1, bitorder="little").astype(np.int64)  # (256, 8)
    columns = np.ascontiguousarray(database.T)  # (8 W, N)

    def distances(rows: slice) -> np.ndarray:
        missing = -weight.shape[1] % 8  # to whole bytes
        bits = np.pad(weight[rows], ((0, 0), (0, missing)))
        tables = bits.reshape(len(bits), -1, 8) @ byte.T  # (rows, ceil(K / 8), 256)
        return sum(tables[:, i][:, columns[i]] for i in range(tables.shape[1]))

    return distances


def engine(
    query: codes.Array, database: codes.Array, distance: Distance, relevance: Relevance
) -> Counts:
    """The counts of a slice of queries, int64 (rows, G, B), as a function:
    compiled for arrays, torch for tensors.
    """
    if isinstance(query, torch.Tensor):
        from hashlab.metrics._torch import Counter

        return Counter(query, database, distance, relevance).count
    return _compiled(query, database, distance, relevance)


def _compiled(
    query: np.ndarray, database: np.ndarray, distance: Distance, relevance: Relevance
) -> Counts:
    from hashlab.metrics import _numba

    query, shift = distance.words(query)  # (Q, W), (W,)
    query_labels, labels = relevance.words  # (Q, L), (L, N)
    items = arranged(distance.words(database)[0], labels)
    base = distance.base.astype(np.uint64)

    def count(rows: slice) -> np.ndarray:
        block = query[rows]
        block_labels = query_labels[rows]
        first, kind = _numba.distinct(block, np.ascontiguousarray(block_labels.T))
        asked = block[first]  # equal queries are asked once
        asked_labels = block_labels[first]
        counts = np.empty((len(first), relevance.groups, distance.bins), np.int64)

        def part(start: int, stop: int) -> None:
            some = slice(start, stop)
            how = (shift, distance.spans, base, relevance.several)
            _numba.count(asked[some], asked_labels[some], *items, *how, counts[some])

        threads = torch.get_num_threads()
        ends = np.linspace(0, len(counts), threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, ends[:-1], ends[1:]))
        return counts if len(first) == len(kind) else counts[kind]

    return count


def arranged(database: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The database (N, W) with labels (L, N), both uint64, as the compiled engine wants it.

    Codes of trained networks repeat: where many do, each kind of item is compared once and counted
    as often as it stands there.

    Returns: words (W, M) and labels (L, M) in an order that suits the engine; how often each
    counts, uint32 (M,), none where each counts once; where blocks start and end, int64 (B + 1,);
    which have one label throughout, bool (B,).
    """
    from hashlab.metrics import _numba

    first, kind = _numba.distinct(database, labels)
    repeated = len(first) < REPEATED * len(kind)
    if repeated:
        database = database[first]
        labels = labels[:, first]
    order, starts, uniform = _numba.runs(labels)
    words = np.ascontiguousarray(database[order].T)
    labels = np.ascontiguousarray(labels[:, order])
    times = np.bincount(kind)[order] if repeated else np.zeros(0)
    return words, labels, times.astype(np.uint32), starts, uniform


def _blocks(queries: int, cells: int) -> list[slice]:
    """Slices of queries, each query taking so many cells."""
    step = max(1, min(QUERIES, CELLS // cells))
    return [slice(start, min(start + step, queries)) for start in range(0, queries, step)]
