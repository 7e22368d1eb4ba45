"""Rankings as histograms: per query, how many items of each gain stand in each group of ties."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Histogram:
    """The rankings of Q queries over one database of N items, as counts of ties.

    Attributes:
        counts: int64 (Q, G, B): items of gain group g in tie group b; ties share b, nearest first.
        gain: int64 (G,): what an item of group g is worth (labels or levels in common; 0 or 1 for
            one class).
        relevant: bool (G,): whether an item of group g counts as relevant.
        radius: int64 (B,): the radius within which tie group b lies; None where distances are real
            numbers.
    """

    counts: np.ndarray
    gain: np.ndarray
    relevant: np.ndarray
    radius: np.ndarray | None = None

    @cached_property
    def items(self) -> np.ndarray:
        """All items per tie group, int64 (Q, B)."""
        return self.counts.sum(1)

    @cached_property
    def hits(self) -> np.ndarray:
        """Relevant items per tie group, int64 (Q, B)."""
        return self.counts[:, self.relevant].sum(1)

    @cached_property
    def gains(self) -> np.ndarray:
        """Sum of gains per tie group, int64 (Q, B)."""
        return sum(gain * self.counts[:, g] for g, gain in enumerate(self.gain))

    @cached_property
    def items_to(self) -> np.ndarray:
        """Items up to and with each tie group, int64 (Q, B)."""
        return self.items.cumsum(1)

    @cached_property
    def hits_to(self) -> np.ndarray:
        """Relevant items up to and with each tie group, int64 (Q, B)."""
        return self.hits.cumsum(1)

    @property
    def size(self) -> int:
        """N, the number of database items."""
        return int(self.items_to[0, -1])

    @property
    def total_hits(self) -> np.ndarray:
        """R, the relevant items of the whole database, int64 (Q,)."""
        return self.hits_to[:, -1]

    @cached_property
    def ideal(self) -> tuple[np.ndarray, np.ndarray]:
        """The best possible ranking, largest gain first:
        items (Q, G) and sums of gains (Q, G) per gain.
        """
        best = np.argsort(-self.gain, kind="stable")
        items = self.counts.sum(2)[:, best]
        return items, items * self.gain[best]

    def seen(self, k: int | np.ndarray | None) -> np.ndarray:
        """How many positions of each tie group lie within the first k ranks (all if None),
        int64 (Q, B).
        """
        return self.items if k is None else seen(self.items, k)


def seen(items: np.ndarray, k: int | np.ndarray) -> np.ndarray:
    """How many of each group's items, (Q, B), lie within the first k ranks;
    k is one number or (Q,).
    """
    before = items.cumsum(1) - items
    return np.clip(np.reshape(k, (-1, 1)) - before, 0, items)
