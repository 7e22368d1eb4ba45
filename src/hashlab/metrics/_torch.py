"""The engine for tensors on any device:
distances by a matrix product of signs, counts by scattered additions.

With signs s, the weighted distance of two codes is (sum w - sum w s s') / 2. Products and sums here
are halves of small whole numbers, exact in floating point however the device rounds: these counts
equal the compiled engine's to the last.
"""

from __future__ import annotations

import numpy as np
import torch

from hashlab import codes
from hashlab.metrics.distance import Distance
from hashlab.metrics.labels import Relevance

PAIRS = {
    "cpu": 1 << 20,
    "cuda": 1 << 25,
}  # pairs compared at once: few stay in cache, many fill a GPU
LANES = {
    "cpu": 1,
    "cuda": 32,
}  # neighbouring threads of a GPU count into tables of their own, so that none waits


class Counter:
    """Counts for blocks of queries over one database,
    packed codes (Q, 8 W) and (N, 8 W) on one device.
    """

    def __init__(
        self, query: torch.Tensor, database: torch.Tensor, distance: Distance, relevance: Relevance
    ):
        self.query = query
        self.database = database
        self.distance = distance
        self.relevance = relevance
        self.device = database.device
        self.query_labels = self._on_device(relevance.query)
        self.database_labels = self._on_device(relevance.database)
        self.base = self._on_device(distance.base)
        self.weights = self._on_device(distance.weights.astype(np.float32))
        self.bins = distance.bins
        self.lanes = LANES.get(self.device.type, 1)

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device)

    def count(self, rows: slice) -> np.ndarray:
        """Counts of a block of queries, int64 (rows, G, B)."""
        labels = self.query_labels[rows]
        tables = zip(self._split(self.weights), self._signs(self.query[rows]), strict=True)
        halves = [-w / 2 * s for w, s in tables]
        shape = (len(labels), self.lanes, self.relevance.groups, self.bins)
        tally = torch.zeros(shape, dtype=torch.int32, device=self.device).flatten(1)
        one = torch.ones((), dtype=torch.int32, device=self.device)
        pairs = PAIRS.get(self.device.type, PAIRS["cpu"])
        step = max(1, pairs // len(labels))
        lane = torch.arange(step, device=self.device) % self.lanes
        offset = lane * (self.relevance.groups * self.bins)  # where a lane's table begins
        for start in range(0, len(self.database), step):
            part = slice(start, start + step)
            key = self._bin(halves, self._signs(self.database[part]))  # (rows, items)
            self._add_group(key, labels, self.database_labels[part])
            key += offset[: key.shape[1]]
            tally.scatter_add_(1, key, one.expand_as(key))
        return tally.view(shape).sum(1).cpu().numpy()

    def _bin(self, query: list[torch.Tensor], database: list[torch.Tensor]) -> torch.Tensor:
        tables = [
            torch.addmm(w.sum() / 2, q, d.T).long()  # (rows, items)
            for q, d, w in zip(query, database, self._split(self.weights), strict=True)
        ]
        if len(tables) == 1:
            return tables[0]
        distances = torch.stack(tables)  # (T, rows, items)
        total = distances.sum(0)
        if self.distance.combine == "union":
            total += self.base[distances.amin(0)]
        return total

    def _add_group(self, key: torch.Tensor, query: torch.Tensor, database: torch.Tensor) -> None:
        if self.relevance.several:
            in_common = query.float() @ database.float().T
            key.add_(in_common.long(), alpha=self.bins)
            return
        for level in range(query.shape[1]):
            step = query.shape[1] if level == 0 else 1
            equal = query[:, level, None] == database[:, level]  # (rows, items)
            key.add_(equal, alpha=self.bins * step)

    def _signs(self, packed: torch.Tensor) -> list[torch.Tensor]:
        tables = self.distance.tables
        spans = packed.split([codes.row_bytes(bits) for bits in tables], 1)
        ones = [codes.unpackbits(span)[:, :bits] for span, bits in zip(spans, tables, strict=True)]
        return [table.float() * 2 - 1 for table in ones]

    def _split(self, row: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return row.split(self.distance.tables)
