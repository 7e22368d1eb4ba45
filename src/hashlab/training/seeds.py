"""Where randomness comes from: one seed per run, and from it one per purpose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hashlab.errors import InputError

__all__ = ["derived"]


def derived(seed: int, *words: str | int) -> int:
    """A seed for one purpose: SHA-256 of the seed and some words,
    so that no two purposes share their numbers.

    Example:
        >>> from hashlab.training import seeds
        >>> seeds.derived(0, "shift", 1) == seeds.derived(0, "shift", 1)
        True
        >>> seeds.derived(0, "shift", 1) == seeds.derived(0, "shift", 2)
        False
    """
    text = "/".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def check_seed(seed: int) -> None:
    """Raise InputError unless seed is an integer in 0..2**32-1."""
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise InputError(f"seed must be an integer in 0..2**32-1, got {seed}")


@contextmanager
def kept(device: torch.device) -> Iterator[None]:
    """Whatever is drawn from torch's generators inside, outside they are as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
