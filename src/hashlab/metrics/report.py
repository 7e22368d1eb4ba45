"""`Report`: every metric of one evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Report:
    """Retrieval metrics of one set of codes.

    Attributes:
        bits: K, bits per code.
        at: the cut-off of AP, or None for the whole ranking.
        ap, ap_worst, ap_best: average precision per query, float64 (Q,): expected under a random order of ties, and
            its extremes.
        precision, recall: by Hamming radius r = 0..K, pooled over queries, float64 (K + 1,); precision is NaN where
            nothing is retrieved.
        precision_radius2: precision within radius 2, mean over queries, an empty ball counting 0.
        precision_at: {k: precision within the first k ranks}, mean over queries, expected under ties.
        queries_without_relevant: queries whose class is not in the database; their AP is 0.
    """

    bits: int
    at: int | None
    ap: np.ndarray
    ap_worst: np.ndarray
    ap_best: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    precision_radius2: float
    precision_at: dict[int, float]
    queries_without_relevant: int

    @property
    def map(self) -> float:
        """Mean AP over queries, expected under a random order of ties."""
        return float(self.ap.mean())

    @property
    def map_worst(self) -> float:
        """Mean AP with the relevant items last in every tie."""
        return float(self.ap_worst.mean())

    @property
    def map_best(self) -> float:
        """Mean AP with the relevant items first in every tie."""
        return float(self.ap_best.mean())

    def to_dict(self) -> dict:
        """The report as plain Python numbers, lists and strings; NaN becomes None."""
        curve = {
            name: [None if np.isnan(x) else float(x) for x in getattr(self, name)]
            for name in ("precision", "recall")
        }
        return {
            "bits": self.bits,
            "at": self.at,
            "map": self.map,
            "map_worst": self.map_worst,
            "map_best": self.map_best,
            **curve,
            "precision_radius2": self.precision_radius2,
            "precision_at": {str(k): v for k, v in self.precision_at.items()},
            "queries_without_relevant": self.queries_without_relevant,
        }
