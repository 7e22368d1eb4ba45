"""How codes of several hash tables are compared, as `metrics.evaluate` defines it:
"sum", "union" or "weighted".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from hashlab import codes
from hashlab.errors import InputError

ROWS = 1 << 14  # codes whose bits are repeated at once


@dataclass(frozen=True)
class Measure:
    """What makes two codes near.

    A key orders the items of a query; it is the distance itself, or for a union of tables
    `smallest * scale + sum`, so that ties of the smallest are broken by the sum.

    Attributes:
        tables: bits of each table, which fills whole 64-bit words of a packed row.
        combine: "sum": Hamming distances added over the tables. "union": that of the table where an
            item is nearest, ties broken by the sum. "weighted": every differing bit counts its
            weight.
        weights: of each bit; empty unless weighted.
    """

    tables: tuple[int, ...]
    combine: str = "sum"
    weights: tuple[int, ...] = ()

    @property
    def scale(self) -> int:
        """By how much keys grow where distances grow by one."""
        return sum(self.tables) + 1 if self.combine == "union" else 1

    def laid_out(self, packed: np.ndarray) -> np.ndarray:
        """Codes whose plain Hamming distance is this one: a bit of weight w stands there w times.

        (N, bytes) -> (N, bytes), the same ones unless weighted.
        """
        if self.combine != "weighted":
            return packed
        rows = codes.row_bytes(sum(self.weights))
        blocks = [np.empty((0, rows), np.uint8)]
        for start in range(0, len(packed), ROWS):
            bits = self._bits(packed[start : start + ROWS])
            blocks.append(codes.pack(np.repeat(bits, self.weights, axis=1)))
        return np.concatenate(blocks)

    def keys(self, query: np.ndarray, database: np.ndarray) -> np.ndarray:
        """The key of every pair, int (Q, N), of codes that are laid out."""
        if self.combine != "union":
            return codes.hamming(query, database)
        apart = [
            codes.hamming(query[:, span], database[:, span]).astype(np.int64)
            for span in spans(self.tables)
        ]
        return np.minimum.reduce(apart) * self.scale + np.add.reduce(apart)

    def _bits(self, packed: np.ndarray) -> np.ndarray:
        """The bits of codes without padding, bool (N, K)."""
        parts = zip(spans(self.tables), self.tables, strict=True)
        return np.concatenate([codes.unpack(packed[:, span], bits) for span, bits in parts], axis=1)


def spans(tables: Sequence[int]) -> list[slice]:
    """Where each table stands in a packed row."""
    ends = np.cumsum([codes.row_bytes(bits) for bits in tables]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def check(tables: tuple[int, ...], combine: str | None, weights: Sequence[int] | None) -> Measure:
    """How tables are to be compared.

    Raises:
        InputError: an unknown combination, or weights that are missing, not whole numbers 0..15, or
            not one per table or bit.
    """
    combine = codes.check_combine(combine, weights)
    if weights is None:
        return _unweighted(tables, combine)
    return Measure(tables, combine, tuple(codes.weights_of_bits(weights, tables).tolist()))


_unweighted = cache(Measure)  # a search of one query takes less than making one


def check_codes(packed: object, tables: tuple[int, ...], name: str) -> np.ndarray:
    """Packed codes of the tables, each padded to whole words, as an array.

    Raises:
        InputError: of another shape, or with padding bits set.
    """
    given = codes.as_numpy(packed, name)
    if len(tables) == 1:
        codes.check_packed(given, tables[0], name)
        return given
    where = spans(tables)
    width = where[-1].stop
    if not codes.is_array(given, 2, "uint8") or given.shape[1] != width:
        shape = " + ".join(map(str, tables))
        raise InputError(
            f"{name} of {shape} bits must be (N, {width}) uint8, got {codes.describe(given)}"
        )
    for span, bits in zip(where, tables, strict=True):
        codes.check_packed(given[:, span], bits, name)
    return given
