"""SDH: codes from which the labels can be read off linearly."""

from __future__ import annotations

import numpy as np

from hashlab.shallow.algebra import ridge, ridge_solver
from hashlab.shallow.anchors import AnchorHasher
from hashlab.shallow.base import check_positive, check_whole, signs


class SDH(AnchorHasher):
    """Supervised discrete hashing: min ||Y − B W||² + λ||W||² + ν||B − F(X)||² over B in {−1, +1},
    W and F.

    F(x) = φ(x) P is linear in a Gaussian kernel φ to A anchors and a constant. Three steps in turn:
    B bit by bit (discrete cyclic coordinate descent), W by ridge regression of Y on B, P by ridge
    regression of B on φ. Encoding is the sign of F.

    Seen in a public implementation: the steps, 5 rounds, at most 10 sweeps over the bits, λ = 1, ν
    = 1e-5, weight of P in its regression 1e-2, random start of B, 1,000 anchors, the squared loss.
    Ours: the kernel's width by KSH's rule (that implementation has a constant for features of unit
    length).

    Args:
        bits: K, any number.
        anchors: A, at most the number of training rows.
        gamma: the kernel is exp(−gamma ||x − z||²); None for 1/(2 × mean squared distance of rows
            to anchors).
        rounds: how often the three steps are taken.
        sweeps: how often at most all bits are gone through in a round; it ends earlier when no bit
            changes.
        lam: λ.
        nu: ν.
        ridge: weight of ||P||² in the regression of B on φ.
        random_state: seed of the anchors and of the first codes.

    Labels:
        (N,) in any form of `hashlab.labels`, or (N, C) 0/1, which stand in the formula as they are.

    Fitted: anchors_ (A, d), gamma_ (a number), weights_ (A, K) and offset_ (K,) = P; codes_ bool
        (N, K) = the learned B, which differs from what `transform` gives; loss_ (rounds,) = the
        objective, with ν · ridge · ||P||² as the regression has it, after each round.

    Reference:
        F. Shen, C. Shen, W. Liu and H. T. Shen, Supervised Discrete Hashing, CVPR 2015.
    """

    supervised = True
    several_labels = True

    def __init__(
        self,
        bits: int = 32,
        *,
        anchors: int = 1000,
        gamma: float | None = None,
        rounds: int = 5,
        sweeps: int = 10,
        lam: float = 1.0,
        nu: float = 1e-5,
        ridge: float = 1e-2,
        random_state: int | None = 0,
    ):
        self.bits = bits
        self.anchors = anchors
        self.gamma = gamma
        self.rounds = rounds
        self.sweeps = sweeps
        self.lam = lam
        self.nu = nu
        self.ridge = ridge
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        for name in ("rounds", "sweeps"):
            check_whole(name, getattr(self, name))
        for name in ("lam", "nu", "ridge"):
            check_positive(name, getattr(self, name))

    def _fit(self, X: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
        kernel = self._draw(X, rng)
        phi = np.column_stack([kernel, np.ones(len(X))])  # (N, A + 1)
        regress = ridge_solver(phi, self.ridge)
        B = signs(rng.standard_normal((len(X), self.bits)))  # (N, K)
        W = ridge(B, labels, self.lam)  # (K, C)
        P = regress(B)  # (A + 1, K)
        losses = []
        for _ in range(self.rounds):
            Q = labels @ W.T + self.nu * phi @ P  # (N, K)
            B = cyclic_descent(B, W, Q, self.sweeps)
            W = ridge(B, labels, self.lam)
            P = regress(B)
            losses.append(self._loss(labels, phi, B, W, P))
        self.weights_ = P[:-1]
        self.offset_ = P[-1]
        self.codes_ = B > 0
        self.loss_ = np.array(losses)

    def _loss(
        self, Y: np.ndarray, phi: np.ndarray, B: np.ndarray, W: np.ndarray, P: np.ndarray
    ) -> float:
        labels = squared(Y - B @ W) + self.lam * squared(W)
        codes = squared(B - phi @ P) + self.ridge * squared(P)
        return labels + self.nu * codes


def squared(matrix: np.ndarray) -> float:
    """||matrix||²."""
    return (matrix**2).sum()


def cyclic_descent(B: np.ndarray, W: np.ndarray, Q: np.ndarray, sweeps: int) -> np.ndarray:
    """Signs B (N, K) that lower ||B W||² − 2 tr(Bᵀ Q), column after column,
    for W (K, C) and Q (N, K).

    With all columns but the k-th fixed, b_k = sign(q_k − Σ_{j≠k} b_j w_j·w_k) is the best there is.
    """
    B = B.copy()
    gram = W @ W.T  # (K, K)
    np.fill_diagonal(gram, 0)
    for _ in range(sweeps):
        before = B.copy()
        for k in range(B.shape[1]):
            B[:, k] = signs(Q[:, k] - B @ gram[:, k])
        if (before == B).all():
            break
    return B
