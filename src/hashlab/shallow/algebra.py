"""Linear algebra that several estimators use:
principal axes, ridge regression, random rotations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg

from hashlab.errors import InputError


def principal_axes(X: np.ndarray, count: int) -> np.ndarray:
    """Directions of greatest variance, strongest first, each with its largest entry positive.

    Args:
        X: centred features, (N, d).
        count: how many at most.

    Returns:
        Orthonormal columns, (d, K): K is `count`, or less where the features vary along fewer
            directions.
    """
    wide = X.shape[1] > len(X)
    gram = X @ X.T if wide else X.T @ X
    first = max(0, len(gram) - count)
    values, vectors = linalg.eigh(gram, subset_by_index=[first, len(gram) - 1])
    varying = values > max(X.shape) * np.finfo(X.dtype).eps * values[-1]
    values = values[varying][::-1]  # strongest first
    vectors = vectors[:, varying][:, ::-1]
    axes = X.T @ vectors / np.sqrt(values) if wide else vectors  # (d, K)
    row = np.abs(axes).argmax(0)
    largest = axes[row, np.arange(len(row))]  # entry of each axis, (K,)
    return axes * np.sign(largest)


def axis_per_bit(X: np.ndarray, bits: int, name: str) -> np.ndarray:
    """As many principal axes as bits, (d, K); raises InputError where there are fewer;
    `name` asks for them.
    """
    axes = principal_axes(X, bits)
    check_directions(bits, axes.shape[1], X, name)
    return axes


def check_directions(bits: int, directions: int, X: np.ndarray, name: str) -> None:
    """Raise InputError where more bits are wanted than there are directions to take them from."""
    if bits > directions:
        raise InputError(
            f"{name} takes each bit from a direction of its own, so bits must be at most "
            f"{directions} here, "
            f"got bits={bits} (n_samples={len(X)}, n_features={X.shape[1]})"
        )


def ridge(X: np.ndarray, targets: np.ndarray, weight: float) -> np.ndarray:
    """W that minimises ||targets − X W||² + weight ||W||², (d, K),
    for X (N, d) and targets (N, K).
    """
    return ridge_solver(X, weight)(targets)


def ridge_solver(X: np.ndarray, weight: float) -> Callable[[np.ndarray], np.ndarray]:
    """`ridge` of X (N, d) for targets to come:
    one factorisation, in the smaller of the two spaces.
    """
    wide = X.shape[1] > len(X)
    gram = X @ X.T if wide else X.T @ X
    factor = linalg.cho_factor(gram + weight * np.eye(len(gram)))
    if wide:
        return lambda targets: X.T @ linalg.cho_solve(factor, targets)
    return lambda targets: linalg.cho_solve(factor, X.T @ targets)


def random_rotation(size: int, rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix drawn uniformly, (size, size)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(np.diag(r))  # without the signs it would not be uniform
