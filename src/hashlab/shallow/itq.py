"""ITQ: principal axes, turned so that the signs lose as little as possible."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from hashlab.shallow.algebra import axis_per_bit, random_rotation
from hashlab.shallow.base import LinearHasher, check_whole, signs

# Many small products in a row: threads gain nothing, and wait for one another where others use the
# processor, too.
one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


class ITQ(LinearHasher):
    """Iterative quantisation: a rotation O of the K principal components V that lowers ||B − V
    O||², B = sign(V O).

    Seen: data centred; V from PCA to K dimensions; O starts at a random rotation; 50 rounds of B =
    sign(V O), then O from the singular vectors of BᵀV (orthogonal Procrustes). Ours: zero counts as
    +1, as in all codes here.

    Args:
        bits: K, at most the number of directions in which the training features vary.
        iterations: rounds of signs and rotation.
        random_state: seed of the first rotation.

    Fitted: mean_ (d,), weights_ (d, K) = axes times O, rotation_ (K, K), loss_ (iterations,) = ||B
        − V O||² after each choice of B.

    Reference: Y. Gong and S. Lazebnik, Iterative Quantization: A Procrustean Approach to Learning
        Binary Codes, CVPR 2011, section 2.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes, shallow
        >>> X = np.random.default_rng(0).standard_normal((100, 16))
        >>> bits = shallow.ITQ(bits=12).fit(X).transform(X)
        >>> bits.shape, bits.dtype
        ((100, 12), dtype('bool'))
        >>> codes.pack(bits).shape
        (100, 8)
    """

    def __init__(self, bits: int = 32, *, iterations: int = 50, random_state: int | None = 0):
        self.bits = bits
        self.iterations = iterations
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        check_whole("iterations", self.iterations)

    @one_thread
    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.mean_ = X.mean(0)
        X = X - self.mean_
        axes = axis_per_bit(X, self.bits, "ITQ")  # (d, K)
        start = random_rotation(self.bits, rng)
        self.rotation_, self.loss_ = rotate(X @ axes, start, self.iterations)
        self.weights_ = axes @ self.rotation_


@one_thread
def rotate(V: np.ndarray, rotation: np.ndarray, iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotate V (N, K) towards the corners of the cube, from `rotation` (K, K) on:
    the last one, and the loss of each round.
    """
    losses = []
    for _ in range(iterations):
        outputs = V @ rotation  # (N, K)
        B = signs(outputs)
        losses.append(((B - outputs) ** 2).sum())
        left, _, right = np.linalg.svd(B.T @ V)  # BᵀV = left · diag · right
        rotation = right.T @ left.T
    return rotation, np.array(losses)
