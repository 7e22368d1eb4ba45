"""Codes of -1 and +1 for classes, fixed before training: fair coins, or far from each other."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from hashlab.errors import InputError
from hashlab.losses import classes


def hadamard(bits: int) -> Tensor:
    """Sylvester's matrix (K, K) of -1 and +1 for K a power of two;
    two of its rows differ in K/2 places. Raises InputError for another K.

    Example:
        >>> from hashlab.losses import codebooks
        >>> codebooks.hadamard(4).int().tolist()
        [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    """
    if not power_of_two(bits):
        raise InputError(f"bits must be a power of two, got {bits!r}")
    h = torch.ones(1, 1)
    while len(h) < bits:
        upper = torch.cat([h, h], 1)
        lower = torch.cat([h, -h], 1)
        h = torch.cat([upper, lower])
    return h


def balanced(bits: int, wanted: int) -> Tensor:
    """Codes of -1 and +1 with bits // 2 of +1:
    all there are where these are few, else so many drawn ones.
    """
    half = bits // 2
    if math.comb(bits, half) > wanted:
        rank = torch.rand(wanted, bits).argsort(1).argsort(1)  # a random order of a code's bits
        return 2.0 * (rank < half) - 1
    ones = torch.tensor(list(combinations(range(bits), half)), dtype=torch.long)
    codes = torch.full((len(ones), bits), -1.0).scatter_(1, ones, 1.0)
    return codes[torch.randperm(len(codes))]


def capacity(bits: int) -> int:
    """The most classes that can have different `centres`."""
    return max(math.comb(bits, bits // 2), 2 * bits if power_of_two(bits) else 0)


def power_of_two(bits: int) -> bool:
    """Whether `hadamard` has a matrix of that size."""
    return bits > 0 and bits & (bits - 1) == 0


def centres(count: int, bits: int) -> Tensor:
    """Codes (C, K) of -1 and +1, one per class:
    rows of +-Hadamard where possible, else balanced ones far apart.

    Raises InputError where there are more classes than `capacity`.
    """
    if count > capacity(bits):
        raise InputError(
            f"a centre per class is needed: {bits} bits are too few for {count} classes"
        )
    if power_of_two(bits) and count <= 2 * bits:
        return torch.cat([hadamard(bits), -hadamard(bits)])[:count]
    codes = balanced(bits, max(1000, 20 * count))
    chosen = [0]
    nearest = codes @ codes[0]  # inner product with the nearest of those that are chosen
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, codes @ codes[chosen[-1]])
    return codes[chosen]


CODEBOOKS: dict[str, Callable[[int, int], Tensor]] = {
    "coins": classes.random_signs,
    "apart": centres,
}
