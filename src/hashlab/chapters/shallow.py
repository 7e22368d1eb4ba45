"""What the chapter on hashing before deep learning shows its methods on, and what it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

from hashlab import codes, metrics, shallow
from hashlab.shallow import sdh
from hashlab.shallow.algebra import ridge, ridge_solver
from hashlab.shallow.base import signs

Step = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


# ---- rows in the plane


class Plane(NamedTuple):
    """Small data sets of two features."""

    ellipse: np.ndarray  # one long cloud, (300, 2)
    diamond: (
        np.ndarray
    )  # four clumps at the corners of a tilted diamond, one after another, (240, 2)
    layers: np.ndarray  # two long thin clouds, (300, 2)
    layer: np.ndarray  # which of the two, (300,)
    circle: np.ndarray  # eight clumps on a circle, (400, 2)
    place: np.ndarray  # their classes, (400,): opposite clumps share one


def plane(rng: np.random.Generator) -> Plane:
    """Draw the data sets of the chapter."""
    ellipse = turned(rng.standard_normal((300, 2)) * [3, 1], 30) + np.array([4, 2])
    corners = np.repeat([(1.2, 0), (0, 0.9), (-1.2, 0), (0, -0.9)], 60, axis=0)
    diamond = turned(corners + 0.15 * rng.standard_normal((240, 2)), 20)
    layer = np.repeat([0, 1], 150)
    height = 1.6 * (layer - 0.5) + 0.3 * rng.standard_normal(300)
    layers = turned(np.stack([2.5 * rng.standard_normal(300), height], 1), 30)
    return Plane(ellipse, diamond, layers, layer, *on_circle(400, rng))


def turned(X: np.ndarray, degrees: float) -> np.ndarray:
    """Rows (N, 2), turned about the origin."""
    angle = np.deg2rad(degrees)
    return X @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def on_circle(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of eight clumps in four classes, (N, 2) and (N,); clumps opposite to each other share one."""
    clump = rng.integers(0, 8, count)
    angle = np.pi * (clump / 4 + 1 / 8)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], 1)
    return centres + 0.25 * rng.standard_normal((count, 2)), clump % 4


def pair_at(angle: float, rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """Two random directions with this angle (radians) between them, (2, size)."""
    first, across = np.linalg.qr(rng.standard_normal((size, 2)))[0].T
    return np.stack([first, np.cos(angle) * first + np.sin(angle) * across])


# ---- from training rows to all others


class OnKernels:
    """COSDISH on kernels to the anchors of an estimator, not on features."""

    def __init__(self, like: Any, X: np.ndarray, y: np.ndarray, bits: int):
        self.like = like
        self.hasher = shallow.COSDISH(bits=bits).fit(self.kernels(X), y)
        self.codes_ = self.hasher.codes_

    def kernels(self, X: np.ndarray) -> np.ndarray:
        return rbf_kernel(X, self.like.anchors_, self.like.gamma_)

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        return self.hasher.decision_function(self.kernels(X))


def with_labels(X: np.ndarray, y: np.ndarray, bits: int, anchors: int = 60) -> dict[str, Any]:
    """KSH, SDH, and COSDISH without and with kernels, fitted."""
    ksh = shallow.KSH(bits=bits, anchors=anchors).fit(X, y)
    return {
        "KSH": ksh,
        "SDH": shallow.SDH(bits=bits, anchors=anchors).fit(X, y),
        "COSDISH": shallow.COSDISH(bits=bits).fit(X, y),
        "COSDISH on kernels": OnKernels(ksh, X, y, bits),
    }


class Carried(NamedTuple):
    """What is left of learned codes when a function makes them anew."""

    wrong: float | None  # share of bits of training rows in which codes and function differ
    learned: float | None  # mAP of the learned codes, each asked against all
    new: float  # mAP of new rows as queries, training rows as database; all codes from the function


def carried(model: Any, train: tuple, new: tuple) -> Carried:
    """How well a fitted model carries its codes from its training rows to new rows.

    Args:
        model: with `decision_function`, and with `codes_` if it learns codes first.
        train, new: features (N, d) and classes (N,).
    """
    (X, y), (query, truth) = train, new
    ours, theirs = (model.decision_function(rows) >= 0 for rows in (X, query))
    found = _map(theirs, ours, truth, y)
    if not hasattr(model, "codes_"):
        return Carried(None, None, found)
    learned = model.codes_
    return Carried((learned != ours).mean(), _map(learned, learned, y, y), found)


def _map(query: np.ndarray, database: np.ndarray, truth: np.ndarray, y: np.ndarray) -> float:
    packed = codes.pack(query), codes.pack(database)
    return metrics.evaluate(*packed, truth, y, bits=query.shape[1]).map


# ---- three ways to take the discrete step of SDH


class Turns:
    """The objective of SDH on given rows, with λ = 1, and its turns.

    Args:
        X: features, (N, d).
        y: classes, (N,), from 0 on.
        bits: K.
    """

    NU = 1e-5

    def __init__(self, X: np.ndarray, y: np.ndarray, bits: int, anchors: int = 100):
        drawn = shallow.SDH(bits=bits, anchors=anchors).fit(X, y)
        kernel = rbf_kernel(X, drawn.anchors_, drawn.gamma_)
        self.phi = np.column_stack([kernel, np.ones(len(X))])  # (N, A + 1)
        self.Y = np.eye(y.max() + 1)[y]  # (N, C)
        self.regress = ridge_solver(self.phi, 1e-2)

    def fitted(self, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W (K, C) and P (A + 1, K) of codes B (N, K)."""
        return ridge(B, self.Y, 1.0), self.regress(B)

    def objective(self, B: np.ndarray, W: np.ndarray, P: np.ndarray) -> float:
        of_labels = sdh.squared(self.Y - B @ W) + sdh.squared(W)
        return of_labels + self.NU * sdh.squared(B - self.phi @ P)

    def linear(self, W: np.ndarray, P: np.ndarray) -> np.ndarray:
        """Q (N, K): codes appear in the objective as ||B W||² − 2 tr(Bᵀ Q)."""
        return self.Y @ W.T + self.NU * self.phi @ P

    def one_step(self, start: np.ndarray, ways: Mapping[str, Step]) -> dict[str, tuple]:
        """Of each way: the share of what there is to gain, and of rows with their best code."""
        W, P = self.fitted(start)
        Q = self.linear(W, P)
        best = all_tried(start, W, Q)
        low = self.objective(best, W, P)
        high = self.objective(start, W, P)
        found = {name: way(start, W, Q) for name, way in ways.items()}
        return {
            name: ((high - self.objective(B, W, P)) / (high - low), (best == B).all(1).mean())
            for name, B in found.items()
        }

    def after(self, rounds: int, start: np.ndarray, way: Step) -> tuple[float, int]:
        """The objective after some rounds, and the number of different codes."""
        B = start
        for _ in range(rounds):
            W, P = self.fitted(B)
            B = way(B, W, self.linear(W, P))
        return self.objective(B, *self.fitted(B)), len(np.unique(B, axis=0))


def relaxed(B: np.ndarray, W: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """The best real numbers in place of the bits of B, and their signs, (N, K)."""
    return signs(Q @ np.linalg.inv(W @ W.T + Turns.NU * np.eye(len(W))))


def bit_by_bit(B: np.ndarray, W: np.ndarray, Q: np.ndarray) -> np.ndarray:
    return sdh.cyclic_descent(B, W, Q, sweeps=10)


def all_tried(B: np.ndarray, W: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """The best of all codes for each row, (N, K): there are 2 to the power of K."""
    every = np.array(list(product([-1.0, 1.0], repeat=len(W))))
    costs = ((every @ W) ** 2).sum(1) - 2 * Q @ every.T  # (N, 2^K)
    return every[costs.argmin(1)]


WAYS: dict[str, Step] = {
    "relaxed": relaxed,
    "bit by bit": bit_by_bit,
    "all codes tried": all_tried,
}


def reach(values: Sequence[float], form: str) -> str:
    """The smallest and the largest of some values, in words; one of them where both look the same.

    >>> reach([0.5, 0.25, 0.75], ".0%"), reach([0.25, 0.251], ".0%")
    ('25% to 75%', '25%')
    """
    ends = f"{min(values):{form}}", f"{max(values):{form}}"
    return " to ".join(dict.fromkeys(ends))
