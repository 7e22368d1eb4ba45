"""How far two packed codes are apart: one integer per pair, for one hash table or several."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError


@dataclass(frozen=True)
class Distance:
    """The distance by which a database is ranked. Bins are its values in order, nearest first.

    "sum": Hamming distances added over the tables, which is the distance of the concatenated codes.
    "weighted": every differing bit counts its weight. "union": an item is as near as in the table
    where it is nearest (what a lookup in all tables' balls returns), ties broken by the sum; a bin
    is a pair (smallest, sum), and its radius the smallest.

    Attributes:
        tables: bits of each table; each fills whole 64-bit words of a packed row.
        combine: "sum", "union" or "weighted".
        weights: int64 (K,), of each bit; all ones unless weighted.
    """

    tables: tuple[int, ...]
    combine: str
    weights: np.ndarray

    @property
    def bins(self) -> int:
        """B, how many values there are."""
        if self.combine == "union":
            return int(self._sums.sum())
        return int(self.weights.sum()) + 1

    @cached_property
    def radius(self) -> np.ndarray:
        """The radius at which a lookup reaches each bin, int64 (B,), ascending."""
        if self.combine == "union":
            return np.repeat(np.arange(len(self._sums)), self._sums)
        return np.arange(self.bins)

    @cached_property
    def base(self) -> np.ndarray:
        """Of a union, base[smallest] + sum is the bin, int64 (min(K_t) + 1,)."""
        smallest = np.arange(len(self._sums))
        return np.cumsum(self._sums) - self._sums - len(self.tables) * smallest

    @property
    def _sums(self) -> np.ndarray:
        """How many values the sum of T distances can have if the smallest is m: (min(K_t) + 1,)."""
        shortest = min(self.tables)
        smallest = np.arange(shortest + 1)
        least = len(self.tables) * smallest
        most = smallest + sum(self.tables) - shortest  # all bits of the other tables differ
        return most - least + 1

    @property
    def spans(self) -> np.ndarray:
        """First word of each separately measured table, and the end, int64 (T + 1,)."""
        ends = np.cumsum([codes.row_bytes(bits) // 8 for bits in self.tables])
        if self.combine == "union":
            return np.array([0, *ends])
        return np.array([0, ends[-1]])

    def words(self, packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Packed codes as words that weigh powers of two:
        uint64 (N, W) and the powers, uint64 (W,).

        A weight of up to 15 has four binary digits; each digit takes the bits that have it into
        words of their own.
        """
        words = codes.words(packed)  # (N, W)
        if self.combine != "weighted":
            return words, np.zeros(words.shape[1], np.uint64)
        tables = self.split(self.weights)
        padded = np.concatenate([np.pad(table, (0, -len(table) % 64)) for table in tables])
        digits = padded >> np.arange(4)[:, None] & 1  # (4, 64 W)
        masks = codes.words(codes.pack(digits > 0))  # (4, W)
        power, column = np.nonzero(masks)
        return words[:, column] & masks[power, column], power.astype(np.uint64)

    def split(self, row: np.ndarray) -> list[np.ndarray]:
        """Cut the last axis, one entry per bit, into tables."""
        return np.split(row, np.cumsum(self.tables)[:-1], axis=-1)


def check(bits: int, tables: Any, combine: str | None, weights: Any) -> Distance:
    """Check how codes are to be compared;
    without tables, combine and weights it is plain Hamming distance.

    Raises:
        InputError: tables that do not add up to `bits`, an unknown combination, or weights that are
            missing, not whole numbers 0..15, or not one per table or bit.
    """
    tables = codes.check_tables(bits, tables)
    combine = codes.check_combine(combine, weights)
    of_bits = np.ones(bits, np.int64)
    if weights is not None:
        of_bits = codes.weights_of_bits(weights, tables)
    return Distance(tables, combine, of_bits)


def bits_of(query: codes.Array, database: codes.Array) -> int:
    """K of codes that are not packed, which their columns say;
    raises InputError for codes that may be packed, and do not say it.
    """
    for array in (database, query):
        if codes.is_array(array, 2, *codes.REAL) and not _may_be_packed(array):
            return int(array.shape[1])
    raise InputError(
        "bits must be given: packed codes (uint8) do not say how many of their bits are used"
    )


def _may_be_packed(array: codes.Array) -> bool:
    of_bytes = codes.is_array(array, 2, "uint8")
    return of_bytes and (array.shape[1] % 8 == 0 or not codes.of_two_values(array))


def packed(sides: list[codes.Array], distance: Distance) -> list[codes.Array]:
    """Codes of both sides as packed ones, those of bits (0/1, -1/+1 or bool) packed.

    An array of bytes that can be packed codes is taken for such, unless the other side has bits.
    What is neither is left for `check_codes` to refuse.
    """
    of_bits = [_has_bits(side, distance) for side in sides]
    certain = [
        bits and not _is_packed(side, distance) for bits, side in zip(of_bits, sides, strict=True)
    ]
    if not any(certain):
        return sides
    pairs = zip(sides, of_bits, strict=True)
    return [_pack_tables(side, distance) if bits else side for side, bits in pairs]


def _has_bits(array: codes.Array, distance: Distance) -> bool:
    wide = codes.is_array(array, 2, *codes.REAL) and array.shape[1] == sum(distance.tables)
    return wide and codes.of_two_values(array)


def _is_packed(array: codes.Array, distance: Distance) -> bool:
    try:
        check_codes(array, distance, "codes")
    except InputError:
        return False
    return True


def _pack_tables(array: codes.Array, distance: Distance) -> codes.Array:
    """Bits (N, K) as packed codes, each table padded to whole words."""
    if len(distance.tables) == 1:
        return codes.pack(array)
    ends = np.cumsum(distance.tables).tolist()
    starts = [0, *ends[:-1]]
    parts = [codes.pack(array[:, i:j]) for i, j in zip(starts, ends, strict=True)]
    if isinstance(array, np.ndarray):
        return np.concatenate(parts, axis=1)
    import torch

    return torch.cat(parts, dim=1)


def check_codes(packed: Any, distance: Distance, name: str) -> None:
    """Raise InputError unless `packed` holds codes of the distance's tables,
    each padded to whole words.
    """
    if len(distance.tables) == 1:
        codes.check_packed(packed, *distance.tables, name)
    else:
        _check_parts(packed, distance.tables, name)
    if len(packed) == 0:
        raise InputError(f"{name} must not be empty, got none")


def _check_parts(packed: Any, tables: tuple[int, ...], name: str) -> None:
    width = sum(codes.row_bytes(bits) for bits in tables)
    shape = " + ".join(map(str, tables))
    if not codes.is_array(packed, 2, "uint8") or packed.shape[1] != width:
        raise InputError(
            f"{name} of {shape} bits must be (N, {width}) uint8, got {codes.describe(packed)}"
        )
    start = 0
    for bits in tables:
        end = start + codes.row_bytes(bits)
        codes.check_packed(packed[:, start:end], bits, name)
        start = end
