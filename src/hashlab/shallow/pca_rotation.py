"""A control: principal components, turned at random."""

from __future__ import annotations

import numpy as np

from hashlab.shallow.algebra import axis_per_bit, random_rotation
from hashlab.shallow.base import LinearHasher


class PCARotation(LinearHasher):
    """Signs of the K principal components after a random rotation, which evens out their variances.

    ITQ before its first round, and so the measure of what ITQ's rounds are worth; a deep method
    that does not beat it on its own features has learned no codes. Seen: PCA-RR of the ITQ paper.
    Ours: the rotation is drawn uniformly.

    Args:
        bits: K, at most the number of directions in which the training features vary.
        random_state: seed of the rotation.

    Fitted:
        mean_ (d,), weights_ (d, K).

    Reference: Y. Gong and S. Lazebnik, Iterative Quantization: A Procrustean Approach to Learning
        Binary Codes, CVPR 2011; H. Jégou, M. Douze, C. Schmid and P. Pérez, Aggregating local
        descriptors into a compact image representation, CVPR 2010.
    """

    def __init__(self, bits: int = 32, *, random_state: int | None = 0):
        self.bits = bits
        self.random_state = random_state

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.mean_ = X.mean(0)
        axes = axis_per_bit(X - self.mean_, self.bits, "PCARotation")
        self.weights_ = axes @ random_rotation(self.bits, rng)  # (d, K)
