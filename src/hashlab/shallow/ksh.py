"""KSH: kernel hash functions, one after another,
each fitted to what the ones before left of the similarities.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import linalg

from hashlab.shallow.anchors import AnchorHasher
from hashlab.shallow.base import check_whole, signs

Product = Callable[[np.ndarray], np.ndarray]


class KSH(AnchorHasher):
    """Supervised hashing with kernels:
    B Bᵀ near K·S in the least-squares sense, S = ±1, one column of B at a time.

    With k̄, a row of Φ̄, the centred Gaussian kernel to A anchors, bit k is sign(k̄·w_k), and w_k
    maximises bᵀ E b, b = sign(Φ̄ w) and E = K·S − Σ_{j<k} b_j b_jᵀ. It starts at the leading
    solution of Φ̄ᵀ E Φ̄ w = λ Φ̄ᵀ Φ̄ w, scaled to wᵀΦ̄ᵀΦ̄w = N, and climbs on the smooth φ(Φ̄ w)ᵀ E
    φ(Φ̄ w), φ(x) = 2/(1 + e⁻ˣ) − 1, by accelerated gradient steps; of the two the one with the
    larger bᵀ E b stays.

    Seen in the authors' code: all of this, 300 anchors, kernel exp(−||x − z||²/2σ) with σ the mean
    squared distance of rows to anchors, at most 500 steps, stop once the gain is 0.01 N. Ours: S is
    never written down (rows with equal labels have equal rows of S, so products with it need one
    number per distinct label set), which is why 5,000 rows' labels are used where the authors draw
    2,000; kernel directions without variance are left out of the start.

    Args:
        bits: K, any number.
        anchors: A, at most the number of training rows.
        labeled: how many rows' labels are used at most, drawn at random.
        gamma: the kernel is exp(−gamma ||x − z||²); None for 1/(2σ).
        steps: gradient steps at most, per bit; 0 leaves the start.
        random_state: seed of the anchors and of the rows drawn.

    Labels:
        (N,) in any form of `hashlab.labels`, or (N, C) 0/1: rows are similar if they share at least one label.

    Fitted:
        anchors_ (A, d), gamma_ (a number), weights_ (A, K), offset_ (K,) = −mean kernel @ weights_,
        climbed_ bool (K,): whether the gradient steps beat the start.

    Reference: W. Liu, J. Wang, R. Ji, Y.-G. Jiang and S.-F. Chang, Supervised Hashing with Kernels,
        CVPR 2012.
    """

    supervised = True
    several_labels = True

    def __init__(
        self,
        bits: int = 32,
        *,
        anchors: int = 300,
        labeled: int = 5000,
        gamma: float | None = None,
        steps: int = 500,
        random_state: int | None = 0,
    ):
        self.bits = bits
        self.anchors = anchors
        self.labeled = labeled
        self.gamma = gamma
        self.steps = steps
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        check_whole("steps", self.steps, 0)
        check_whole("labeled", self.labeled, 2)

    def _fit(self, X: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
        kernel = self._draw(X, rng)
        mean = kernel.mean(0)
        kernel -= mean
        if self.labeled < len(X):
            rows = rng.choice(len(X), self.labeled, replace=False)
            kernel = kernel[rows]
            labels = labels[rows]
        self.weights_, self.climbed_ = greedy(kernel, similar_times(labels), self.bits, self.steps)
        self.offset_ = -mean @ self.weights_


def similar_times(labels: np.ndarray) -> Product:
    """The product v -> S v, (N,) to (N,), with S = 1 where rows of labels (N, C) share one,
    else −1.
    """
    sets, index = np.unique(labels, axis=0, return_inverse=True)  # (G, L), (N,)
    S = np.where(sets @ sets.T > 0, 1.0, -1.0)  # (G, G)
    return lambda v: (S @ np.bincount(index, v, len(sets)))[index]


def greedy(kernel: np.ndarray, S: Product, bits: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (A, K), bit after bit, for a centred kernel (N, A);
    and which bits the gradient steps improved.
    """
    white = whitening(kernel)  # (A, P)
    Z = kernel @ white  # (N, P), orthonormal columns
    EZ = np.column_stack([bits * S(z) for z in Z.T])
    left = Z.T @ EZ  # (P, P)
    weights = np.zeros((kernel.shape[1], bits))
    climbed = np.zeros(bits, bool)
    codes = np.zeros((bits, len(kernel)))  # a row per bit
    for k in range(bits):
        E = residual(S, codes[:k], bits)
        start = white @ leading(left) * np.sqrt(len(kernel))  # wᵀΦ̄ᵀΦ̄w = N
        end = climb(kernel, E, start, steps)
        climbed[k] = gain(kernel, E, end) > gain(kernel, E, start)
        weights[:, k] = end if climbed[k] else start
        codes[k] = signs(kernel @ weights[:, k])
        explained = Z.T @ codes[k]
        left -= np.outer(explained, explained)
    return weights, climbed


def gain(kernel: np.ndarray, E: Product, weights: np.ndarray) -> float:
    """bᵀ E b of the bits b = sign(Φ̄ w) that weights w (A,) give."""
    b = signs(kernel @ weights)
    return b @ E(b)


def residual(S: Product, codes: np.ndarray, bits: int) -> Product:
    """The product v -> E v with E = K S − Σ b bᵀ over the codes (k, N) found so far."""
    return lambda v: bits * S(v) - codes.T @ (codes @ v)


def whitening(kernel: np.ndarray) -> np.ndarray:
    """W (A, P) with Wᵀ Φ̄ᵀ Φ̄ W = I, over the P directions in which the kernel (N, A) varies."""
    values, vectors = linalg.eigh(kernel.T @ kernel)
    varying = values > len(values) * 1e-12 * values[-1]
    return vectors[:, varying] / np.sqrt(values[varying])


def leading(matrix: np.ndarray) -> np.ndarray:
    """Eigenvector (P,) of the largest eigenvalue of a symmetric matrix,
    its largest entry positive.
    """
    last = len(matrix) - 1
    vector = linalg.eigh(matrix, subset_by_index=[last, last])[1][:, 0]
    largest = vector[np.abs(vector).argmax()]
    return vector * np.sign(largest)


def climb(kernel: np.ndarray, E: Product, start: np.ndarray, steps: int) -> np.ndarray:
    """Weights (A,) that raise φ(Φ̄ w)ᵀ E φ(Φ̄ w) from `start` on:
    Nesterov's method with a growing curvature bound.

    Outputs u = Φ̄ w (N,) travel with the weights, so that a step takes two products with the
    kernel, however often its length is halved.
    """
    w = start
    u = kernel @ start
    last_w = w
    last_u = u
    last_t = 0.0
    t = 1.0  # of Nesterov's sequence
    cost = smooth(u, E)[0]
    curvature = 1.0
    for _ in range(steps):
        alpha = (last_t - 1) / t
        probe = w + alpha * (w - last_w)
        at_probe = u + alpha * (u - last_u)
        probe_cost, slope = smooth(at_probe, E)
        gradient = kernel.T @ slope  # (A,)
        along = kernel @ gradient  # (N,): how outputs change against a step
        last_w = w
        last_u = u
        last_cost = cost
        u, cost, curvature = descend(E, at_probe, along, probe_cost, gradient @ gradient, curvature)
        w = probe - gradient / curvature
        last_t = t
        t = (1 + np.sqrt(1 + 4 * t**2)) / 2
        if abs(cost - last_cost) <= 1e-2 * len(kernel):
            break
    return w


def descend(
    E: Product, u: np.ndarray, along: np.ndarray, cost: float, square: float, curvature: float
) -> tuple[np.ndarray, float, float]:
    """Outputs and cost after a gradient step from outputs u (N,), and its curvature.

    The curvature is doubled until a parabola bounds the cost. `square` is the squared length of the
    gradient.
    """
    for doublings in range(51):
        bound = curvature * 2**doublings
        end = u - along / bound
        end_cost = smooth(end, E)[0]
        if end_cost <= cost - square / (2 * bound):
            break
    return end, end_cost, bound


def smooth(u: np.ndarray, E: Product) -> tuple[float, np.ndarray]:
    """The cost −φᵀ E φ of outputs u (N,), and its gradient (N,) with respect to them."""
    phi = np.tanh(u / 2)  # 2 / (1 + e⁻ᵘ) − 1
    E_phi = E(phi)
    return -(phi @ E_phi), -E_phi * (1 - phi**2)
