"""COSDISH: discrete codes from sampled columns of the similarity matrix,
and a linear map to them.
"""

from __future__ import annotations

import numpy as np

from hashlab.errors import InputError
from hashlab.shallow.algebra import ridge
from hashlab.shallow.base import LinearHasher, check_positive, check_whole, signs

DISSIMILAR = ("-r", "+r")


class COSDISH(LinearHasher):
    """Codes B in {−1, +1} with B Bᵀ near K·S, a few columns of S at a time,
    no real-valued step in between.

    S is 1 where two rows have a class in common and s0 elsewhere. A round draws K rows Ω
    (Γ are all others), and seeks min ||K S_Γ − B_Γ B_Ωᵀ||² + ||K S_Ω − B_Ω B_Ωᵀ||²: the bits of Ω
    one after another, each within a factor of 2 of the best in its clustering form
    (`two_approximation`), then B_Γ = sign(S_Γ B_Ω). Ridge regression on standardised features
    carries the codes to rows outside the training set.

    Seen in a public implementation: the steps, T_sto = 10, T_alt = 3, |Ω| = K, ridge weight 1,
    random start, equal votes keep the old bit. Inferred: s0 = −r with r = similar / dissimilar
    pairs in the sampled columns, which balances S; that implementation has +r, here a switch. Ours:
    where there are fewer rows than K all are drawn, and constant features are left unscaled. See
    `two_approximation` for why no Cholesky factor is needed.

    Args:
        bits: K.
        outer: T_sto, how many times columns are drawn.
        inner: T_alt, how many times Ω and Γ take turns in between.
        dissimilar: the value s0 of dissimilar pairs, "-r" or "+r".
        ridge: weight of ||W||².
        random_state: seed of the first codes and of the draws.

    Labels:
        (N,) integers, or (N, L) 0/1: rows are similar if they share at least one label.

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
        if self.dissimilar not in DISSIMILAR:
            raise InputError(
                f"dissimilar must be one of {', '.join(DISSIMILAR)}, got {self.dissimilar!r}"
            )

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
    """S of all rows (N, C) to the sampled ones (K, C), (N, K):
    1 where a class is shared, else s0.
    """
    similar = rows @ sampled.T > 0
    r = similar.sum() / max((~similar).sum(), 1)
    return np.where(similar, 1.0, -r if dissimilar == "-r" else r)


def improve(B: np.ndarray, S: np.ndarray, omega: np.ndarray) -> np.ndarray:
    """One turn: new codes of the sampled rows, bit by bit, then of all others;
    B (N, K), S (N, M), omega (M,).
    """
    gamma = np.ones(len(B), bool)
    gamma[omega] = False
    new = B.copy()
    new[omega] = sampled_codes(B[gamma], S[gamma], S[omega])
    votes = S[gamma] @ new[omega]  # (N - M, K)
    new[gamma] = np.where(np.abs(votes) < 1e-5, B[gamma], signs(votes))
    return new


def sampled_codes(B: np.ndarray, S: np.ndarray, S_omega: np.ndarray) -> np.ndarray:
    """New codes of the M sampled rows, (M, K), given the old ones B (N - M, K) of all others.

    With R = K S_Ω − Σ b_m b_mᵀ over the bits found so far, and L = K S_Γ − Σ B_Γm b_mᵀ, the next
    bit b minimises bᵀQb + pᵀb, Q = −2R without its diagonal, p = −2 LᵀB_Γk. Lᵀ B_Γk needs products
    of columns of B_Γ alone, so that the large matrices are multiplied once for all bits.
    """
    q = B.shape[1]
    votes = S.T @ B  # (M, K)
    products = B.T @ B  # (K, K)
    codes = np.empty((len(S_omega), q))
    R = q * S_omega
    for k in range(q):
        p = -2 * (q * votes[:, k] - codes[:, :k] @ products[:k, k])
        b = two_approximation(-2 * R, p)
        codes[:, k] = b
        R = R - np.outer(b, b)
    return codes


def two_approximation(Q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Signs b (q,) for which bᵀQb + pᵀb is small; Q (q, q) symmetric, its diagonal not looked at.

    With b = 2x − 1 and one more entry x_{q+1} = 1 this is xᵀQ'x over M = q + 1 entries. Points P
    with PᵀP = λI − Q' turn it into clustering: the x with H ones is a cluster of H points that
    holds the last, and its sum of squared distances to the mean is (H − 1)λ + xᵀQ'x / H. Around
    each point the H − 1 nearest and the last point make a cluster; the cheapest of these M costs at
    most twice the best. As ||P_i − P_j||² = 2λ + 2Q'_ij, the nearest points are the smallest
    entries of a column of Q', so neither P nor λ is needed.
    """
    M = len(Q) + 1
    H = (len(Q) + 2) // 2  # M/2, a half rounded up
    full = np.zeros((M, M))  # Q'
    full[:-1, :-1] = 4 * Q
    np.fill_diagonal(full, 0)
    last = p - full[:-1, :-1].sum(0) / 2
    full[:-1, -1] = last
    full[-1, :-1] = last
    distance = full[
        :-1
    ].copy()  # (q, M): of every point but the last to every point, up to 2λ and a factor
    np.fill_diagonal(distance, -np.inf)  # a point is nearest to itself
    nearest = distance.argsort(axis=0, kind="stable")[: H - 1]  # (H - 1, M)
    chosen = np.zeros((M, M))  # a row per centre
    chosen[np.arange(M), nearest] = 1
    chosen[:, -1] = 1
    cost = ((chosen @ full) * chosen).sum(1)
    return 2 * chosen[cost.argmin(), :-1] - 1
