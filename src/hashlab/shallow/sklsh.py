"""SKLSH: bits whose expected distance follows a Gaussian kernel."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

from hashlab.shallow.base import Hasher, check_positive

SAMPLE = 1000  # rows whose neighbours set the kernel's width


class SKLSH(Hasher):
    """Random Fourier features cut at random heights: bit = sign(cos(w·x + b) + t).

    With w ~ N(0, γI), b ~ U[0, 2π] and t ~ U[−1, 1], two rows differ in a bit with probability
    (8/π²) Σ_{m ≥ 1} (1 − κ(m(x − y))) / (4m² − 1), where κ(v) = exp(−γ||v||²/2): the distance of
    codes grows with that of rows, then levels off where the kernel has vanished, beyond which all
    rows are equally far.

    Seen: these three draws. Ours: γ = 1/D² by default, D being the mean distance from a row to its
    50th neighbour in the training set (over 1,000 rows at most), or where that is zero the root of
    the mean squared distance of two rows.

    Args:
        bits: K, any number.
        gamma: inverse squared width of the kernel, in the units of the features; None for the
            default above.
        random_state: seed of all draws.

    Fitted:
        directions_ (d, K), phases_ (K,), thresholds_ (K,), gamma_ (a number).

    Reference: M. Raginsky and S. Lazebnik, Locality-Sensitive Binary Codes from Shift-Invariant
        Kernels, NIPS 2009.
    """

    def __init__(self, bits: int = 32, *, gamma: float | None = None, random_state: int | None = 0):
        self.bits = bits
        self.gamma = gamma
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        if self.gamma is not None:
            check_positive("gamma", self.gamma)

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.gamma_ = self.gamma or 1 / neighbour_distance(X, rng) ** 2
        normal = rng.standard_normal((X.shape[1], self.bits))
        self.directions_ = normal * np.sqrt(self.gamma_)  # (d, K)
        self.phases_ = rng.uniform(0, 2 * np.pi, self.bits)
        self.thresholds_ = rng.uniform(-1, 1, self.bits)

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        return np.cos(X @ self.directions_ + self.phases_) + self.thresholds_  # (N, K)


def neighbour_distance(X: np.ndarray, rng: np.random.Generator, neighbour: int = 50) -> float:
    """Mean distance of rows of X (N, d) to their 50th neighbour,
    or their last where there are fewer.
    """
    sample = X
    if len(X) > SAMPLE:
        sample = X[rng.choice(len(X), SAMPLE, replace=False)]
    count = min(neighbour + 1, len(X))  # + 1: itself
    nearest = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(X)
    distances, _ = nearest.kneighbors(sample)  # (rows, count)
    mean = float(distances[:, -1].mean())
    return mean or float(
        np.sqrt(2 * X.var(0).sum())
    )  # the root of the mean squared distance of two rows
