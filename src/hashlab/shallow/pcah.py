"""PCAH: the signs of the principal components."""

from __future__ import annotations

import numpy as np

from hashlab.shallow.algebra import axis_per_bit
from hashlab.shallow.base import LinearHasher


class PCAH(LinearHasher):
    """PCA hashing: bit k says on which side of the mean a row lies along the k-th principal axis.

    Seen: centred data, leading eigenvectors of the covariance, threshold at zero. The components'
    variances differ widely while every bit counts the same: what `ITQ` and `PCARotation` mend.
    Ours: each axis points where its largest entry is positive, for an eigenvector has no sign of
    its own.

    Args:
        bits: K, at most the number of directions in which the training features vary.
        random_state: not used; all estimators here take one.

    Fitted:
        mean_ (d,), weights_ (d, K).

    Reference: J. Wang, S. Kumar and S.-F. Chang, Semi-Supervised Hashing for Scalable Image
        Retrieval, CVPR 2010, without its labelled term.
    """

    def __init__(self, bits: int = 32, *, random_state: int | None = 0):
        self.bits = bits
        self.random_state = random_state

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.mean_ = X.mean(0)
        self.weights_ = axis_per_bit(X - self.mean_, self.bits, "PCAH")  # (d, K)
