"""CCA-ITQ: ITQ on the directions that go with the labels."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from hashlab.shallow.algebra import check_directions, random_rotation
from hashlab.shallow.base import LinearHasher, check_positive, check_whole
from hashlab.shallow.itq import rotate


class CCAITQ(LinearHasher):
    """Canonical correlation analysis of features and 0/1 labels, then ITQ's rotation.

    Directions w solve C_xy C_yy⁻¹ C_yx w = λ² C_xx w, where C_xx and C_yy are covariances plus ρI;
    each is scaled by its correlation λ.

    Seen: the equation, ρ = 0.0001, the scaling, K ≤ d directions. There are no more correlated
    directions than labels: the others are scaled by λ = 0, so with more bits than labels the
    rotation spreads what there is over all bits. Ours: solved as a singular value decomposition of
    L_x⁻¹ C_xy L_y⁻ᵀ (L Lᵀ = C), which is the same and keeps the zeros exact.

    Args:
        bits: K, at most the number of features.
        rho: what is added to the variances, in the squared units of the features.
        iterations: rounds of ITQ.
        random_state: seed of the first rotation.

    Labels:
        (N,) in any form of `hashlab.labels`, or (N, C) 0/1, which stand in the formula as they are.

    Fitted: mean_ (d,), weights_ (d, K), correlations_ (min(K, C),), rotation_ (K, K), loss_
        (iterations,) as in ITQ.

    Reference: Y. Gong and S. Lazebnik, Iterative Quantization: A Procrustean Approach to Learning
        Binary Codes, CVPR 2011, section 4.
    """

    supervised = True
    several_labels = True

    def __init__(
        self,
        bits: int = 32,
        *,
        rho: float = 1e-4,
        iterations: int = 50,
        random_state: int | None = 0,
    ):
        self.bits = bits
        self.rho = rho
        self.iterations = iterations
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        check_positive("rho", self.rho)
        check_whole("iterations", self.iterations)

    def _fit(self, X: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
        check_directions(self.bits, X.shape[1], X, "CCAITQ")
        self.mean_ = X.mean(0)
        X = X - self.mean_
        directions, correlations = cca(X, labels - labels.mean(0), self.rho)
        self.correlations_ = correlations[: self.bits]
        correlated = directions[:, : self.bits] * self.correlations_
        scaled = np.zeros((X.shape[1], self.bits))  # (d, K)
        scaled[:, : correlated.shape[1]] = correlated
        start = random_rotation(self.bits, rng)
        self.rotation_, self.loss_ = rotate(X @ scaled, start, self.iterations)
        self.weights_ = scaled @ self.rotation_


def cca(X: np.ndarray, Y: np.ndarray, rho: float) -> tuple[np.ndarray, np.ndarray]:
    """Canonical directions of X (N, d) with Y (N, C), both centred:
    (d, M) and correlations (M,), M = min(d, C).
    """
    Lx = covariance_root(X, rho)
    Ly = covariance_root(Y, rho)
    cross = X.T @ Y / (len(X) - 1)  # (d, C)
    cross = linalg.solve_triangular(Lx, cross, lower=True)
    cross = linalg.solve_triangular(Ly, cross.T, lower=True).T
    left, correlations, _ = linalg.svd(cross, full_matrices=False)
    return linalg.solve_triangular(Lx, left, lower=True, trans="T"), correlations


def covariance_root(V: np.ndarray, rho: float) -> np.ndarray:
    """Lower triangular L with L Lᵀ = the covariance of centred V (N, d) plus ρI: (d, d)."""
    covariance = V.T @ V / (len(V) - 1)
    return linalg.cholesky(covariance + rho * np.eye(V.shape[1]), lower=True)
