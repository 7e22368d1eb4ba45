"""A control: codes that know nothing."""

from __future__ import annotations

import hashlib

import numpy as np

from hashlab.shallow.base import Hasher


class RandomCodes(Hasher):
    """Bits of SHAKE-256 of a row's numbers:
    equal rows share a code, all others are as good as tossed coins.

    Whatever mAP it reaches is the share of relevant items and the luck of the draw. Ours
    throughout: a hash of the content rather than a stream of random numbers, so that a row has one
    code whenever it is encoded. Rows count as equal when their float64 values are.

    Args:
        bits: K, any number.
        random_state: seed of the key.

    Fitted:
        key_ uint8 (32,).
    """

    def __init__(self, bits: int = 32, *, random_state: int | None = 0):
        self.bits = bits
        self.random_state = random_state

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        self.key_ = rng.integers(0, 256, 32, np.uint8)

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        key = self.key_.tobytes()
        size = -(-self.bits // 8)
        rows = np.ascontiguousarray(X + 0.0, "<f8")  # adding zero makes −0 and 0 the same bytes
        hashed = b"".join(hashlib.shake_256(key + row.tobytes()).digest(size) for row in rows)
        packed = np.frombuffer(hashed, np.uint8).reshape(len(X), size)
        bits = np.unpackbits(packed, axis=1, count=self.bits)
        return np.where(bits, 1.0, -1.0)  # (N, K)
