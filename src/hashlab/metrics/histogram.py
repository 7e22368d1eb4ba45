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
        gain: int64 (G,): what an item of group g is worth (labels or levels in common; 0 or 1 for one class).
        relevant: bool (G,): whether an item of group g counts as relevant.
    """

    counts: np.ndarray
    gain: np.ndarray
    relevant: np.ndarray

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
        return np.einsum("qgb,g->qb", self.counts, self.gain)

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
