"""LSH: the sign of random projections."""

from __future__ import annotations

import numpy as np

from hashlab.shallow.base import LinearHasher


class LSH(LinearHasher):
    """Random hyperplanes: two vectors at angle α agree in a bit with probability 1 − α/π.

    Seen: normals drawn from the standard normal distribution, bit = sign of the scalar product.
    Ours: the training mean is subtracted first, for features that are never negative all lie on one
    side of many a hyperplane.

    Args:
        bits: K, any number.
        center: whether the training mean is subtracted.
        random_state: seed of the hyperplanes.

    Reference: M. Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002,
        section 3.

    Example:
        >>> import numpy as np
        >>> from hashlab.shallow import LSH
        >>> x = np.random.default_rng(0).normal(size=(100, 16))
        >>> LSH(bits=8).fit(x).transform(x).shape
        (100, 8)
    """

    def __init__(self, bits: int = 32, *, center: bool = True, random_state: int | None = 0):
        self.bits = bits
        self.center = center
        self.random_state = random_state

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.mean_ = X.mean(0) if self.center else np.zeros(X.shape[1])
        self.weights_ = rng.standard_normal((X.shape[1], self.bits))  # (d, K)
