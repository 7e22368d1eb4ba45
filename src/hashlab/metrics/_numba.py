"""The CPU engine: for each query, how many database items lie at each distance, in one compiled pass.

Kernels release the interpreter lock, so threads share the queries; every count is an integer of its own query, and no
result depends on how many threads there are. Loops run over short blocks that stay in the nearest cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import intrinsic

BLOCK = 1024  # database items per block: 8 KB of keys


@intrinsic
def popcount(typing_context, word):  # numba has no np.bitwise_count; LLVM has the instruction
    """Count the set bits of one machine word."""
    return word(word), lambda context, builder, signature, args: builder.ctpop(args[0])


@njit(nogil=True, cache=True)
def count(query, database, shift, query_labels, database_labels, shared, counts):
    """Fill counts (Q, G, B): items of gain group g at distance b from each query.

    query (Q, W) and database (W, N) are uint64 words, word w of them weighing 2**shift[w]. Labels are uint64, (Q, L)
    and (L, N): label masks when `shared` (group = labels in common), else class numbers per level (group = levels in
    common, plus L - 1 where the first one is: so that groups tell relevant from irrelevant).
    """
    queries, groups, bins = counts.shape
    keys = np.empty(BLOCK, np.uint64)
    tally = np.zeros((4, groups * bins), np.uint32)
    for i in range(queries):
        for start in range(0, database.shape[1], BLOCK):
            key = keys[: min(BLOCK, database.shape[1] - start)]
            _distance(key, query[i], database, shift, start)
            _add_group(key, query_labels[i], database_labels, shared, np.uint64(bins), start)
            _tally(key, tally)
        _collect(tally, counts[i])


@njit(nogil=True, cache=True)
def _distance(key, query, database, shift, start):
    key[:] = 0
    for w in range(len(query)):
        column, word, by = database[w, start : start + len(key)], query[w], shift[w]
        for j in range(len(key)):
            key[j] += popcount(column[j] ^ word) << by


@njit(nogil=True, cache=True)
def _add_group(key, query, labels, shared, bins, start):
    for w in range(len(query)):
        column, word = labels[w, start : start + len(key)], query[w]
        if shared:
            for j in range(len(key)):
                key[j] += popcount(column[j] & word) * bins
        else:
            step = bins * np.uint64(len(query) if w == 0 else 1)
            for j in range(len(key)):
                key[j] += step if column[j] == word else np.uint64(0)


@njit(nogil=True, cache=True)
def _tally(key, tally):
    # neighbours often fall into the same bin: four tables let their increments overlap in time
    a, b, c, d = tally[0], tally[1], tally[2], tally[3]
    fours = len(key) // 4 * 4
    for j in range(0, fours, 4):
        a[key[j]] += np.uint32(1)
        b[key[j + 1]] += np.uint32(1)
        c[key[j + 2]] += np.uint32(1)
        d[key[j + 3]] += np.uint32(1)
    for j in range(fours, len(key)):
        a[key[j]] += np.uint32(1)


@njit(nogil=True, cache=True)
def _collect(tally, counts):
    counts[:] = 0
    for part in tally:
        for g in range(counts.shape[0]):
            for b in range(counts.shape[1]):
                counts[g, b] += part[g * counts.shape[1] + b]
    tally[:] = 0
