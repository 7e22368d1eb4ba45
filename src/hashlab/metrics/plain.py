"""One query at a time, by the book: distances, a sort, and a loop over the ties.

Nothing here is shared with the engines or with the closed forms of `formulas`, so that whoever
doubts those has a second answer to hold against them; `records.verify` does, for a few queries of
every record.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def distances(
    query: np.ndarray,
    database: np.ndarray,
    tables: Sequence[int],
    combine: str | None = None,
    weights: Sequence[int] | None = None,
) -> np.ndarray:
    """Whole numbers that rank a database as its distances to one query do, int64 (N,).

    Args:
        query, database: packed codes, uint8 (8 W,) and (N, 8 W), each table padded to whole 64-bit
            words.
        tables: bits of each table.
        combine: "union" ranks by the smallest table distance, ties by their sum; else by the sum.
        weights: of each table or of each bit, where combine is "weighted".
    """
    differ = _words(query) ^ _words(database)  # (N, W)
    ends = np.cumsum([-(-bits // 64) for bits in tables])  # of each table, in words
    parts = np.split(differ, ends[:-1], axis=1)  # per table (N, W_t)
    far = [np.bitwise_count(part).sum(1, dtype=np.int64) for part in parts]  # per table (N,)
    if combine == "union":
        return np.min(far, 0) * (sum(tables) + 1) + sum(far)
    if combine != "weighted":
        return sum(far)
    if len(weights) == len(tables):
        return sum(weight * part for weight, part in zip(weights, far, strict=True))
    bits = [_bits(part, count) for part, count in zip(parts, tables, strict=True)]
    return np.concatenate(bits, axis=1) @ np.asarray(weights)


def _words(packed: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(packed).view(np.uint64)


def _bits(words: np.ndarray, count: int) -> np.ndarray:
    """The first bits of rows of words, int64 (N, count)."""
    rows = np.ascontiguousarray(words).view(np.uint8)
    return np.unpackbits(rows, axis=1, count=count, bitorder="little").astype(np.int64)


def radius(distance: np.ndarray, tables: Sequence[int], combine: str | None = None) -> np.ndarray:
    """The radius within which a lookup finds items at these `distances`, int64 (N,)."""
    return distance // (sum(tables) + 1) if combine == "union" else distance


def relevant(relevance: str, query: np.ndarray, database: np.ndarray) -> np.ndarray:
    """Which items are relevant to a query, bool (N,).

    Args:
        query, database: labels () and (N,) of "same_class"; 0 or 1 (C,) and (N, C) of
            "shares_label"; (L,) and (N, L) of "levels", fine ones first.
    """
    if relevance == "shares_label":
        return (database[:, query == 1] == 1).any(1)
    return database[:, 0] == query[0] if relevance == "levels" else database == query


def average_precision(distance: np.ndarray, good: np.ndarray, at: int | None = None) -> float:
    """AP over min(at, R) of a ranking by distance (N,), expected under a random order of ties;
    0 if nothing is `good`.

    A group of n tied items with r good ones, in front of which stand N items with R good ones, has
    a good item at its position i (from 0) with probability r / n, and then R + i (r - 1) / (n - 1)
    good ones in front of it on average.
    """
    order = np.argsort(distance)  # any order of ties will do
    distance = distance[order]
    good = good[order]
    at = len(good) if at is None else at
    ends = [*np.flatnonzero(np.diff(distance)) + 1, len(good)]  # of the groups of ties
    total = 0.0
    start = 0  # items in front of the group
    before = 0  # good ones among them
    for end in ends:
        n = end - start
        r = int(good[start:end].sum())
        i = np.arange(min(end, at) - start)  # none behind rank `at`
        hits = before + i * (r - 1) / max(n - 1, 1) + 1  # where a good item stands, itself included
        precision = hits / (start + i + 1)
        total += r / n * float(np.sum(precision))
        start = end
        before += r
    return total / max(1, min(at, before))


def at_radius(far: np.ndarray, good: np.ndarray, radii: int) -> np.ndarray:
    """How many items, and how many good ones, lie at each of the radii 0 to radii - 1,
    int64 (2, radii).
    """
    every = np.bincount(far, minlength=radii)
    good_ones = np.bincount(far[good], minlength=radii)
    return np.array([every, good_ones])
