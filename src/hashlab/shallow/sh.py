"""SH: cosine waves along principal axes, long ones first."""

from __future__ import annotations

import numpy as np

from hashlab.shallow.algebra import principal_axes
from hashlab.shallow.base import Hasher


class SH(Hasher):
    """Spectral hashing: the smoothest eigenfunctions of a uniform distribution on a box,
    thresholded at zero.

    Along an axis of range [a, b] they are cos(pπ(x − a)/(b − a)), and the p-th has the eigenvalue
    (pπ/(b − a))² but for a monotonic function. The K smallest over all axes are taken, so a long
    axis gives several bits before a short one gives its first.

    Seen: PCA to at most K axes, a and b from the training rows, waves along one axis only
    (no products), at most ⌈(K + 1)(b − a)/max(b − a)⌉ − 1 per axis. Ours: of equal eigenvalues, the
    axis of greater variance comes first.

    Args:
        bits: K, any number.
        random_state: not used; all estimators here take one.

    Fitted: axes_ (d, P), low_ (P,), frequencies_ (P,) = π/(b − a), axis_ int (K,) and mode_ int
        (K,): the axis and p of each bit.

    Reference:
        Y. Weiss, A. Torralba and R. Fergus, Spectral Hashing, NIPS 2008, sections 2.1 and 3.
    """

    def __init__(self, bits: int = 32, *, random_state: int | None = 0):
        self.bits = bits
        self.random_state = random_state

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.axes_ = principal_axes(X - X.mean(0), self.bits)  # (d, P)
        V = X @ self.axes_  # (N, P)
        ranges = np.ptp(V, axis=0)
        self.low_ = V.min(0)
        self.frequencies_ = np.pi / ranges
        self.axis_, self.mode_ = smoothest(ranges, self.bits)

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        phase = (
            X @ self.axes_ - self.low_
        ) * self.frequencies_  # (N, P), 0 to π over the training rows
        return np.cos(phase[:, self.axis_] * self.mode_)  # (N, K)


def smoothest(ranges: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Axis and mode, (K,) each, of the waves with the smallest mode/range,
    for ranges (P,) of the axes.
    """
    waves = np.ceil((bits + 1) * ranges / ranges.max())
    most = waves.astype(int) - 1  # modes 1 .. most of each axis
    axis = np.repeat(np.arange(len(ranges)), most)
    mode = np.concatenate([np.arange(1, count + 1) for count in most])
    order = np.argsort(mode / ranges[axis], kind="stable")[:bits]
    return axis[order], mode[order]
