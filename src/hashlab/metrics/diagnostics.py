"""What a set of binary codes is like, whatever it retrieves:
are bits balanced, independent, all used?

A good K-bit code has bits that are one half the time, do not repeat one another, and spread images
over many buckets; these numbers say which of that holds. They need no labels. Codes may be arrays
or tensors; results are NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError

BLOCK = 65536  # codes counted at once in single precision, where counts below 2^24 are exact


@dataclass(frozen=True)
class Diagnosis:
    """All diagnostics of one set of N codes.

    Attributes:
        bits, items: K and N.
        balance: share of ones per bit, float64 (K,).
        constant_bits: how many bits never change.
        correlation: mean absolute correlation between two different bits that change; NaN where
            there are no two.
        distinct: how many different codes occur.
        largest_bucket: the most items that share one code.
        effective_bits: entropy of the codes, at most min(K, log2 N).
        quantisation_error: mean squared distance of outputs from their signs; None without outputs.
    """

    bits: int
    items: int
    balance: np.ndarray
    constant_bits: int
    correlation: float
    distinct: int
    largest_bucket: int
    effective_bits: float
    quantisation_error: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists; NaN becomes None."""
        shown = vars(self) | {"balance": self.balance.tolist()}
        # NaN alone differs from itself
        return {name: None if x != x else x for name, x in shown.items()}


def diagnose(packed: codes.Array, bits: int, outputs: codes.Array | None = None) -> Diagnosis:
    """Measure a set of codes.

    Args:
        packed: packed codes, uint8 (N, 8 * ceil(bits / 64)), see `codes.pack`; N at least 1.
        bits: K.
        outputs: the real numbers (N, K) that were binarized, if at hand.

    Returns:
        A `Diagnosis`.

    Raises:
        InputError: codes or outputs of another shape or type, or none at all.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes
        >>> from hashlab.metrics import diagnostics
        >>> bits = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> diagnosis = diagnostics.diagnose(codes.pack(bits), bits=3)
        >>> diagnosis.constant_bits, diagnosis.distinct, diagnosis.effective_bits
        (1, 4, 2.0)
    """
    balance = bit_balance(packed, bits)
    correlation = bit_correlation(packed, bits)
    buckets = bucket_sizes(packed, bits)
    constant = (balance == 0) | (balance == 1)
    if outputs is not None and tuple(outputs.shape) != (len(packed), bits):
        raise InputError(
            f"outputs must be ({len(packed)}, {bits}) as the codes, got {codes.describe(outputs)}"
        )
    pairs = np.abs(correlation[np.triu_indices(bits, 1)])
    pairs = pairs[~np.isnan(pairs)]
    return Diagnosis(
        bits=bits,
        items=len(packed),
        balance=balance,
        constant_bits=int(constant.sum()),
        correlation=float(pairs.mean()) if len(pairs) else float("nan"),
        distinct=len(buckets),
        largest_bucket=int(buckets[0]),
        effective_bits=entropy(buckets),
        quantisation_error=None if outputs is None else quantisation_error(outputs),
    )


def bit_balance(packed: codes.Array, bits: int) -> np.ndarray:
    """Share of codes in which each bit is one, float64 (K,); one half is balanced."""
    return _bits(packed, bits).mean(0)


def bit_correlation(packed: codes.Array, bits: int) -> np.ndarray:
    """Pearson correlation of every two bits over the codes, float64 (K, K);
    NaN for a bit that never changes.
    """
    x = _bits(packed, bits)  # (N, K)
    counts = np.zeros((bits, bits))  # how many codes have ones at both bits
    for start in range(0, len(x), BLOCK):
        block = x[start : start + BLOCK].astype(np.float32)
        counts += block.T @ block
    both = counts / len(x)
    mean = both.diagonal()
    covariance = both - np.outer(mean, mean)
    spread = np.sqrt(mean * (1 - mean))
    spread[spread == 0] = np.nan
    return covariance / np.outer(spread, spread)


def bucket_sizes(packed: codes.Array, bits: int) -> np.ndarray:
    """How many items share each code that occurs, largest first, int64 (distinct codes,)."""
    codes.check_packed(packed, bits)
    packed = np.ascontiguousarray(codes.as_numpy(packed))
    rows = packed.view(f"V{packed.shape[1]}")[:, 0]  # a code as one value
    sizes = np.unique(rows, return_counts=True)[1]
    return np.sort(sizes)[::-1]


def entropy(sizes: np.ndarray) -> float:
    """Entropy in bits of falling into buckets of such sizes: as many fair bits tell as much.

        H = -sum_c p_c log_2 p_c

    It is the entropy of the codes at hand: N codes cannot show more than log2 N bits.
    """
    p = sizes[sizes > 0] / sizes.sum()
    bits = -(p * np.log2(p)).sum()
    return float(bits) + 0.0  # no -0.0 for a single bucket


def quantisation_error(outputs: codes.Array) -> float:
    """How far outputs are from their codes b, 1 where u >= 0 and -1 elsewhere.

        mean_ik (u_ik - b_ik)^2

    Args:
        outputs: real numbers (N, K), on the scale on which they should be -1 and 1.
    """
    codes.binarize(outputs)  # the same demands on outputs
    u = codes.as_numpy(outputs).astype(np.float64)  # (N, K)
    away = np.abs(u) - 1
    return float((away**2).mean())


def _bits(packed: codes.Array, bits: int) -> np.ndarray:
    unpacked = codes.as_numpy(codes.unpack(packed, bits))
    if len(unpacked) == 0:
        raise InputError("diagnostics need at least one code, got none")
    return unpacked
