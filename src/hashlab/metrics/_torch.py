"""The engine for tensors on any device: distances by a matrix product of signs, counts by scattered additions.

With signs s, the weighted distance of two codes is (sum w - sum w s s') / 2. Products and sums here are halves of small
whole numbers, exact in floating point however the device rounds: these counts equal the compiled engine's to the last.
"""

from __future__ import annotations

import numpy as np
import torch

from hashlab import codes
from hashlab.metrics.distance import Distance
from hashlab.metrics.labels import Relevance

PAIRS = {"cpu": 1 << 20, "cuda": 1 << 25}  # pairs compared at once: few stay in cache, many fill a GPU
LANES = {"cpu": 1, "cuda": 32}  # neighbouring threads of a GPU count into tables of their own, so that none waits


class Counter:
    """Counts for blocks of queries over one database, packed codes (Q, 8 W) and (N, 8 W) on one device."""

    def __init__(self, query: torch.Tensor, database: torch.Tensor, distance: Distance, relevance: Relevance):
        self.query, self.database, self.distance, self.relevance = query, database, distance, relevance
        self.device = database.device
        self.query_labels, self.database_labels, self.base, self.weights = (
            torch.from_numpy(x).to(self.device)
            for x in (relevance.query, relevance.database, distance.base, distance.weights.astype(np.float32))
        )
        self.bins = distance.bins
        self.lanes = LANES.get(self.device.type, 1)

    def count(self, rows: slice) -> np.ndarray:
        """Counts of a block of queries, int64 (rows, G, B)."""
        signs, labels = self._signs(self.query[rows]), self.query_labels[rows]
        halves = [-w / 2 * s for w, s in zip(self._split(self.weights), signs, strict=True)]
        shape = len(labels), self.lanes, self.relevance.groups, self.bins
        tally = torch.zeros(shape, dtype=torch.int32, device=self.device).flatten(1)
        one = torch.ones((), dtype=torch.int32, device=self.device)
        step = max(1, PAIRS.get(self.device.type, PAIRS["cpu"]) // len(labels))
        lane = torch.arange(step, device=self.device) % self.lanes * (self.relevance.groups * self.bins)
        for start in range(0, len(self.database), step):
            part = slice(start, start + step)
            key = self._bin(halves, self._signs(self.database[part]))  # (rows, items)
            self._add_group(key, labels, self.database_labels[part])
            key += lane[: key.shape[1]]
            tally.scatter_add_(1, key, one.expand_as(key))
        return tally.view(shape).sum(1).cpu().numpy()

    def _bin(self, query: list[torch.Tensor], database: list[torch.Tensor]) -> torch.Tensor:
        tables = [
            torch.addmm(w.sum() / 2, q, d.T).long()  # (rows, items)
            for q, d, w in zip(query, database, self._split(self.weights), strict=True)
        ]
        if len(tables) == 1:
            return tables[0]
        total = torch.stack(tables).sum(0)
        return total if self.distance.combine != "union" else total + self.base[torch.stack(tables).amin(0)]

    def _add_group(self, key: torch.Tensor, query: torch.Tensor, database: torch.Tensor) -> None:
        if self.relevance.shared:
            key.add_((query.float() @ database.float().T).long(), alpha=self.bins)
            return
        for level in range(query.shape[1]):
            step = query.shape[1] if level == 0 else 1
            key.add_(query[:, level, None] == database[:, level], alpha=self.bins * step)

    def _signs(self, packed: torch.Tensor) -> list[torch.Tensor]:
        spans = packed.split([codes.row_bytes(bits) for bits in self.distance.tables], 1)
        return [codes.unpackbits(s)[:, :k].float() * 2 - 1 for s, k in zip(spans, self.distance.tables, strict=True)]

    def _split(self, row: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return row.split(self.distance.tables)
