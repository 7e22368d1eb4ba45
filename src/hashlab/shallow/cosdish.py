"""COSDISH: discrete codes from sampled columns of the similarity matrix,
and a linear map to them.
"""

from __future__ import annotations

import numpy as np

from hashlab.errors import check_word
from hashlab.shallow.algebra import ridge
from hashlab.shallow.base import LinearHasher, check_positive, check_whole, signs

DISSIMILAR = ("-r", "+r")


class COSDISH(LinearHasher):
    """Codes B in {−1, +1} with B Bᵀ near K·S, a few columns of S at a time,
    no real-valued step in between.

    S is 1 where two rows have a class in common and −η elsewhere. A round draws K rows Ω
    (Γ are all others), and seeks min ||K S_Γ − B_Γ B_Ωᵀ||² + ||K S_Ω − B_Ω B_Ωᵀ||²: the bits of Ω
    one after another, each within a factor of 2 of the best in its clustering form,
    then B_Γ = sign(S_Γ B_Ω). Ridge regression on standardised features
    carries the codes to rows outside the training set.

    Seen in a public implementation: the steps, T_sto = 10, T_alt = 3, |Ω| = K, ridge weight 1,
    random start, equal votes keep the old bit. Inferred: −η, with η = similar / dissimilar pairs in
    the sampled columns, which balances S; that implementation has +η, here a switch. Ours: where
    there are fewer rows than K all are drawn, and constant features are left unscaled.

    Args:
        bits: K.
        outer: T_sto, how many times columns are drawn.
        inner: T_alt, how many times Ω and Γ take turns in between.
        dissimilar: the value of dissimilar pairs, "-r" for −η or "+r" for +η.
        ridge: weight of ||W||².
        random_state: seed of the first codes and of the draws.

    Labels:
        (N,) in any form of `hashlab.labels`, or (N, C) 0/1: rows are similar if they share at least one label.

    Fitted: mean_ (d,), weights_ (d, K), codes_ bool (N, K) = the learned codes of the training
        rows, which differ from what `transform` gives them.

    Reference: W.-C. Kang, W.-J. Li and Z.-H. Zhou, Column Sampling Based Discrete Supervised
        Hashing, AAAI 2016.
    """

    supervised = True
    several_labels = True

    def __init__(
        self,
        bits: int = 32,
        *,
        outer: int = 10,
        inner: int = 3,
        dissimilar: str = "-r",
        ridge: float = 1.0,
        random_state: int | None = 0,
    ):
        self.bits = bits
        self.outer = outer
        self.inner = inner
        self.dissimilar = dissimilar
        self.ridge = ridge
        self.random_state = random_state

    def check_settings(self) -> None:
        super().check_settings()
        check_whole("outer", self.outer)
        check_whole("inner", self.inner)
        check_positive("ridge", self.ridge)
        check_word("dissimilar", self.dissimilar, DISSIMILAR)

    def _fit(self, X: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> None:
        B = signs(rng.standard_normal((len(X), self.bits)))  # (N, K)
        for _ in range(self.outer):
            omega = rng.choice(len(X), min(self.bits, len(X)), replace=False)
            S = similarity(labels, labels[omega], self.dissimilar)  # (N, K)
            for _ in range(self.inner):
                B = improve(B, S, omega)
        self._regress(X, B)
        self.codes_ = B > 0

    def _regress(self, X: np.ndarray, B: np.ndarray) -> None:
        self.mean_ = X.mean(0)
        scale = X.std(0)
        scale[scale == 0] = 1.0
        standardised = (X - self.mean_) / scale
        self.weights_ = ridge(standardised, B, self.ridge) / scale[:, None]  # (d, K)


def similarity(rows: np.ndarray, sampled: np.ndarray, dissimilar: str) -> np.ndarray:
    """S of all rows (N, C) to the sampled ones (|Ω|, C), (N, |Ω|):
    1 where a class is shared, else −η.
    """
    similar = rows @ sampled.T > 0
    ratio = similar.sum() / max((~similar).sum(), 1)  # η
    return np.where(similar, 1.0, -ratio if dissimilar == "-r" else ratio)


def improve(B: np.ndarray, S: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """One turn: new codes of the sampled rows, bit by bit, then of all others;
    B (N, K), S (N, |Ω|), omega (|Ω|,).
    """
    gamma = np.delete(np.arange(len(B)), omega)
    B_gamma, S_gamma = B[gamma], S[gamma]
    new = np.empty_like(B)
    new[omega] = sampled_codes(B_gamma, S_gamma, S[omega])
    votes = S_gamma @ new[omega]  # (N - |Ω|, K)
    new[gamma] = np.where(np.abs(votes) < 1e-5, B_gamma, signs(votes))
    return new


def sampled_codes(B: np.ndarray, S: np.ndarray, S_omega: np.ndarray) -> np.ndarray:
    """New codes of the sampled rows, (|Ω|, K), given the old ones B (N - |Ω|, K) of all others.

    With E_Ω = K S_Ω − Σ b_j b_jᵀ over the bits j that are new so far, and E_Γ = K S_Γ − Σ B_Γj b_jᵀ,
    the next bit b minimises bᵀAb + vᵀb, A = −2E_Ω without its diagonal, v = −2 E_Γᵀ B_Γk. The last
    needs products of columns of B_Γ alone, so that the large matrices are multiplied once for all
    bits.
    """
    K = B.shape[1]
    votes = S.T @ B  # (|Ω|, K)
    products = B.T @ B  # (K, K)
    codes = np.empty((len(S_omega), K))
    E_omega = K * S_omega
    for k in range(K):
        v = -2 * (K * votes[:, k] - codes[:, :k] @ products[:k, k])
        b = two_approximation(-2 * E_omega, v)
        codes[:, k] = b
        E_omega = E_omega - np.outer(b, b)
    return codes


def two_approximation(A: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signs b (K,) for which bᵀAb + vᵀb is small; A (K, K) symmetric, its diagonal not looked at.

    With b = 2h − 1 and one more entry h_{K+1} = 1 this is hᵀÃh over K + 1 entries. Points t_i with
    products τ[i = j] − Ã_ij turn it into clustering: the h with H ones is a cluster of H points
    that holds the last, and its sum of squared distances to the mean is (H − 1)τ + hᵀÃh / H. Around
    each point the H − 1 nearest and the last point make a cluster; the cheapest of these costs at
    most twice the best. As ||t_i − t_j||² = 2τ + 2Ã_ij, the nearest points are the smallest entries
    of a column of Ã, so neither points nor τ are needed.
    """
    points = len(A) + 1
    H = (points + 1) // 2  # half of them, rounded up
    full = np.zeros((points, points))  # Ã
    full[:-1, :-1] = 4 * A
    np.fill_diagonal(full, 0)
    last = v - full[:-1, :-1].sum(0) / 2
    full[:-1, -1] = last
    full[-1, :-1] = last
    # of every point but the last to every point, up to 2τ and a factor
    distance = full[:, :-1].copy()  # (K + 1, K), a row per centre
    np.fill_diagonal(distance, -np.inf)  # a point is nearest to itself
    chosen = np.ones((points, points))
    chosen[:, :-1] = nearest(distance, H - 1)
    cost = ((chosen @ full) * chosen).sum(1)
    return 2 * chosen[cost.argmin(), :-1] - 1


def nearest(distance: np.ndarray, count: int) -> np.ndarray:
    """Which entries of each row (P, K) are its `count` smallest, the first ones of equals: bool."""
    last = np.partition(distance, count - 1, axis=1)[:, count - 1, None]
    nearer = distance < last
    equal = distance == last
    missing = count - nearer.sum(1, keepdims=True)
    return nearer | (equal & (equal.cumsum(1) <= missing))
