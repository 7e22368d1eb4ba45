"""Compiled loops. The CPU engine: for each query, how many database items lie at each distance,
in one pass; the metrics that look at every rank; and sums over draws of queries.

The engine releases the interpreter lock, so threads share the queries; every count is an integer of
its own query, and no result depends on how many threads there are. Loops run over short blocks of
the database that stay in the nearest cache while a tile of queries is compared with them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numba.extending import intrinsic

BLOCK = 1024  # database items per block: 8 KB of keys
TILE = (
    16  # queries compared with a block while it is near, so that a large database is fetched seldom
)
RUN = 256  # runs of equal labels that are this long on average become blocks of their own


def compiled(function: Callable) -> Callable:
    """Compile for this machine, once for all runs where there is a place to keep the result."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return njit(nogil=True)(function)


def runs(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An order of the database, int64 (N,), where its blocks start and end,
    and which have one label throughout.

    Items of the same labels are put together where they are many; a block of one label compares it
    once for all its items. Labels are uint64 (L, N), classes or masks.

    Returns: order, int64 (N,); starts, int64 (B + 1,); uniform, bool (B,).
    """
    no_labels = np.empty((0, labels.shape[1]), np.uint64)
    kind = distinct(np.ascontiguousarray(labels.T), no_labels)[1]
    order = np.arange(len(kind))
    starts = np.append(np.arange(0, len(kind), BLOCK), len(kind))
    kinds = int(kind.max()) + 1
    if kinds * RUN < len(kind):
        order = _by_kind(kind)
        ends_of_runs = np.flatnonzero(np.diff(kind[order]))
        starts = np.union1d(starts, 1 + ends_of_runs)
    changes = np.cumsum(np.diff(kind[order]) != 0)
    changes = np.append(0, changes)  # before each item, (N,)
    uniform = changes[starts[:-1]] == changes[starts[1:] - 1]
    return order, starts, uniform


def _by_kind(kind: np.ndarray) -> np.ndarray:
    """The order (N,) that puts equal numbers together: up to 16 bits sort in linear time."""
    small = kind.astype(np.uint16) if kind.max() < 1 << 16 else kind
    return np.argsort(small, kind="stable")


@compiled
def distinct(words, labels):
    """Equal rows of words (N, W) with labels (L, N), both uint64:
    where each kind stands first (M,), and kinds (N,).

    A table with open addressing, at most half full: no sort, one pass.
    """
    bits = 1
    while 1 << bits < 2 * len(words):
        bits += 1
    size = 1 << bits
    table = np.full(size, -1, np.int64)
    first = np.empty(len(words), np.int64)
    kind = np.empty(len(words), np.int64)
    kinds = 0  # so far
    for i in range(len(words)):
        at = _place(words, labels, i, bits)
        while table[at] >= 0 and not _equal(words, labels, first[table[at]], i):
            at = (at + np.uint64(1)) & np.uint64(size - 1)
        if table[at] < 0:
            table[at] = kinds
            first[kinds] = i
            kinds += 1
        kind[i] = table[at]
    return first[:kinds], kind


@compiled
def _place(words, labels, i, bits):
    """Where row i belongs in a table of 2**bits: the highest bits of a hash,
    for a product carries every bit of a word upwards.
    """
    mixed = np.uint64(0)
    for word in words[i]:
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    for w in range(len(labels)):
        mixed = (mixed ^ labels[w, i]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed >> np.uint64(64 - bits)


@compiled
def _equal(words, labels, i, j):
    for w in range(words.shape[1]):
        if words[i, w] != words[j, w]:
            return False
    for w in range(len(labels)):  # noqa: SIM110 (no generators in compiled code)
        if labels[w, i] != labels[w, j]:
            return False
    return True


@intrinsic
def popcount(
    typing_context, word
):  # numba has no np.bitwise_count; the machine has the instruction
    """Count the set bits of one machine word."""
    return word(word), lambda context, builder, signature, args: builder.ctpop(args[0])


@compiled
def count(
    query,
    query_labels,
    database,
    labels,
    times,
    starts,
    uniform,
    shift,
    spans,
    base,
    several,
    counts,
):
    """Fill counts (Q, G, B): items of gain group g in bin b for each query.

    query (Q, W) and database (W, N) are uint64 words, word w of them weighing 2**shift[w]. With one
    span the bin is the weighted distance; with T spans of words it is base[smallest distance of a
    span] + sum of all. Labels are uint64, (Q, L) and (L, N): masks when `several`
    (group = bits in common), else classes (group = levels in common, plus L - 1 where the first
    is). Item i counts times[i], uint32; with no `times`, once. Blocks lie between `starts`; those
    that are `uniform` have one label throughout.
    """
    groups, bins = counts.shape[1:]
    width = 0  # bits that a bin takes: a key is group << width | bin
    while 1 << width < bins:
        width += 1
    scratch = np.empty((3, BLOCK), np.uint64)
    tally = np.empty((TILE, 4, groups << width), np.uint32)
    for first in range(0, len(query), TILE):
        last = min(first + TILE, len(query))
        tally[:] = 0
        for block in range(len(starts) - 1):
            start = starts[block]
            size = starts[block + 1] - starts[block]
            key = scratch[0, :size]
            for i in range(first, last):
                if len(spans) == 2:
                    _distance(key, query[i], database, shift, 0, len(shift), start)
                else:
                    _union(
                        key,
                        scratch[1, :size],
                        scratch[2, :size],
                        query[i],
                        database,
                        shift,
                        spans,
                        base,
                        start,
                    )
                group = np.uint64(0)
                if uniform[block]:
                    group = _group(query_labels[i], labels, several, start)
                else:
                    _add_group(key, query_labels[i], labels, several, np.uint64(width), start)
                bins_of_group = tally[i - first, :, group << np.uint64(width) :]
                if len(times):
                    _tally_times(key, bins_of_group, times[start : start + size])
                else:
                    _tally(key, bins_of_group)
        for i in range(first, last):
            _collect(tally[i - first], width, counts[i])


@compiled
def _distance(key, query, database, shift, first, end, start):
    column = database[first, start : start + len(key)]
    word = query[first]
    by = shift[first]
    for j in range(len(key)):
        key[j] = popcount(column[j] ^ word) << by
    for w in range(first + 1, end):
        column = database[w, start : start + len(key)]
        word = query[w]
        by = shift[w]
        for j in range(len(key)):
            key[j] += popcount(column[j] ^ word) << by


@compiled
def _union(key, part, smallest, query, database, shift, spans, base, start):
    key[:] = 0
    smallest[:] = len(base) - 1
    for t in range(len(spans) - 1):
        _distance(part, query, database, shift, spans[t], spans[t + 1], start)
        for j in range(len(key)):
            key[j] += part[j]
            smallest[j] = min(smallest[j], part[j])
    for j in range(len(key)):
        key[j] += base[smallest[j]]


@compiled
def _group(query, labels, several, item):
    group = np.uint64(0)
    for w in range(len(query)):
        if several:
            group += popcount(labels[w, item] & query[w])
        elif labels[w, item] == query[w]:
            group += np.uint64(len(query) if w == 0 else 1)
    return group


@compiled
def _add_group(key, query, labels, several, width, start):
    for w in range(len(query)):
        column = labels[w, start : start + len(key)]
        word = query[w]
        if several:
            for j in range(len(key)):
                key[j] += popcount(column[j] & word) << width
        else:
            step = np.uint64(len(query) if w == 0 else 1) << width
            for j in range(len(key)):
                key[j] += step * np.uint64(column[j] == word)


@compiled
def _tally(key, tally):
    # neighbours often fall into the same bin: four tables let their increments overlap in time
    a = tally[0]
    b = tally[1]
    c = tally[2]
    d = tally[3]
    fours = len(key) // 4 * 4
    for j in range(0, fours, 4):
        a[key[j]] += np.uint32(1)
        b[key[j + 1]] += np.uint32(1)
        c[key[j + 2]] += np.uint32(1)
        d[key[j + 3]] += np.uint32(1)
    for j in range(fours, len(key)):
        a[key[j]] += np.uint32(1)


@compiled
def _tally_times(key, tally, times):
    a = tally[0]
    b = tally[1]
    c = tally[2]
    d = tally[3]
    fours = len(key) // 4 * 4
    for j in range(0, fours, 4):
        a[key[j]] += times[j]
        b[key[j + 1]] += times[j + 1]
        c[key[j + 2]] += times[j + 2]
        d[key[j + 3]] += times[j + 3]
    for j in range(fours, len(key)):
        a[key[j]] += times[j]


@compiled
def _collect(tally, width, counts):
    counts[:] = 0
    for part in tally:
        for g in range(counts.shape[0]):
            for b in range(counts.shape[1]):
                counts[g, b] += part[(g << width) + b]


@compiled
def within(items, values, cutoffs, table, sums):
    """Fill sums (Q, C): expected discounted values within the first k ranks, for each of the
    ascending cutoffs k.

    Items and sums of values per group are int64 (Q, B); the table has the sums of the discounts of
    the first 0..N ranks.
    """
    for q in range(len(items)):
        column = 0
        to = 0  # the last rank of the groups so far
        total = 0.0  # of them
        for group in range(items.shape[1]):
            count = items[q, group]
            to += count
            mean = values[q, group] / max(count, 1)
            total += mean * (table[to] - table[to - count])
            while column < len(cutoffs) and cutoffs[column] <= to:  # rank k lies in this group
                beyond = mean * (table[to] - table[cutoffs[column]])
                sums[q, column] = total - beyond
                column += 1
            if column == len(cutoffs):
                break


@compiled
def mean_ratios(items, gains, best_items, best_gains, cutoffs, discount, means):
    """Fill means (Q, C): over the first k ranks, the mean of the discounted gain so far over that
    of the best ranking, for each of the ascending cutoffs k.

    Both rankings are items and sums of gains per group, (Q, B) and (Q, G); an item of a group has
    the mean of its gains.
    """
    for q in range(len(items)):
        group = -1
        best = -1
        left = best_left = 0  # items of the two groups that are still to come
        gain = best_gain = 0.0  # of each of them
        gained = most = ratios = 0.0  # so far
        column = 0
        for rank in range(cutoffs[-1]):
            while left == 0:
                group += 1
                left = items[q, group]
                gain = gains[q, group] / max(left, 1)
            while best_left == 0:
                best += 1
                best_left = best_items[q, best]
                best_gain = best_gains[q, best] / max(best_left, 1)
            left -= 1
            best_left -= 1
            gained += gain * discount[rank]
            most += best_gain * discount[rank]
            ratios += gained / most if most > 0 else gained
            if rank + 1 == cutoffs[column]:
                means[q, column] = ratios / (rank + 1)
                column += 1


@compiled
def tally_draws(drawn, counts):
    """Add to counts (D, Q) how often each of Q items is among those drawn, (D, N)."""
    for d in range(len(drawn)):
        for item in drawn[d]:
            counts[d, item] += 1


@compiled
def mean_draws(counts, values, means):
    """Fill means (D,): of values (Q,), each as often as counts (D, Q) says, of Q in all."""
    fours = len(values) // 4 * 4
    for d in range(len(counts)):
        a = b = c = e = 0.0  # four sums overlap in time
        for q in range(0, fours, 4):
            a += counts[d, q] * values[q]
            b += counts[d, q + 1] * values[q + 1]
            c += counts[d, q + 2] * values[q + 2]
            e += counts[d, q + 3] * values[q + 3]
        for q in range(fours, len(values)):
            a += counts[d, q] * values[q]
        means[d] = (a + b + c + e) / len(values)
