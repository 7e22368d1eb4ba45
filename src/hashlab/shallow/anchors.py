"""Rows described by their likeness to a few training rows, for estimators that learn on kernels."""

from __future__ import annotations

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

from hashlab.errors import InputError
from hashlab.shallow.base import Hasher, check_positive, check_whole


class AnchorHasher(Hasher):
    """Bits of linear functions of a Gaussian kernel to `anchors` training rows.

    `_fit` calls `_draw`, which sets `anchors_` (A, d) and `gamma_`, and itself sets `weights_`
    (A, K) and `offset_` (K,).
    """

    def check_settings(self) -> None:
        super().check_settings()
        check_whole("anchors", self.anchors)
        if self.gamma is not None:
            check_positive("gamma", self.gamma)

    def _draw(self, X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw anchors from X (N, d) and return its kernel to them, (N, A)."""
        name = type(self).__name__
        if len(X) < self.anchors:
            raise InputError(
                f"{name} draws {self.anchors} anchors among the training rows, got "
                f"n_samples={len(X)}"
            )
        rows = rng.choice(len(X), self.anchors, replace=False)
        self.anchors_ = X[rows]
        self.gamma_ = self.gamma or 1 / (2 * mean_squared_distance(X, self.anchors_))
        return rbf_kernel(X, self.anchors_, self.gamma_)

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        kernel = rbf_kernel(X, self.anchors_, self.gamma_)  # (N, A)
        return kernel @ self.weights_ + self.offset_  # (N, K)


def mean_squared_distance(X: np.ndarray, Z: np.ndarray) -> float:
    """Mean of ||x − z||² over all pairs of rows of X (N, d) and Z (M, d)."""
    mean = X.mean(0)  # taken off first: means far from zero would cost digits
    X = X - mean
    Z = Z - mean
    of_x = (X**2).sum(1).mean()
    of_z = (Z**2).sum(1).mean()
    return float(of_x + of_z)  # −2 x̄·z̄ is gone, as x̄ = 0
