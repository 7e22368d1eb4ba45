"""Diagnostics of codes, against plain definitions."""

import collections
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics.diagnostics import (
    bit_balance,
    bit_correlation,
    bucket_sizes,
    diagnose,
    entropy,
    quantisation_error,
)


@given(
    n=st.integers(1, 40),
    k=st.integers(1, 70),
    ones=st.sampled_from([0.1, 0.5]),
    seed=st.integers(0, 999),
)
def test_plain_definitions(n, k, ones, seed):
    bits = np.random.default_rng(seed).random((n, k)) < ones
    packed = codes.pack(bits)
    assert bit_balance(packed, k).tolist() == pytest.approx(
        [sum(column) / n for column in bits.T.tolist()]
    )
    counts = collections.Counter(map(tuple, bits.tolist()))
    assert bucket_sizes(packed, k).tolist() == sorted(counts.values(), reverse=True)
    found = diagnose(packed, k)
    assert found.effective_bits == pytest.approx(
        -sum(c / n * math.log2(c / n) for c in counts.values())
    )
    assert found.effective_bits <= min(k, math.log2(n)) + 1e-12
    assert (found.distinct, found.largest_bucket) == (len(counts), max(counts.values()))
    assert found.constant_bits == sum(len(set(column)) == 1 for column in bits.T.tolist())


def test_correlation_is_numpys():
    bits = np.random.default_rng(0).random((200, 9)) < 0.4
    bits[:, 3] = bits[:, 1]
    bits[:, 5] = ~bits[:, 1]
    correlation = bit_correlation(codes.pack(bits), 9)
    np.testing.assert_allclose(correlation, np.corrcoef(bits.T), atol=1e-12)
    assert correlation[1, 3] == pytest.approx(1) and correlation[1, 5] == pytest.approx(-1)
    pairs = [abs(np.corrcoef(bits[:, i], bits[:, j])[0, 1]) for i in range(9) for j in range(i)]
    assert diagnose(codes.pack(bits), 9).correlation == pytest.approx(np.mean(pairs))


def test_a_bit_that_never_changes():
    bits = np.random.default_rng(1).random((50, 4)) < 0.5
    bits[:, 2] = True
    correlation = bit_correlation(codes.pack(bits), 4)
    assert (
        np.isnan(correlation[2]).all()
        and not np.isnan(np.delete(np.delete(correlation, 2, 0), 2, 1)).any()
    )
    found = diagnose(codes.pack(bits), 4)
    assert found.constant_bits == 1 and found.balance[2] == 1 and 0 <= found.correlation < 1


def test_known_codes():
    """All 16 codes of 4 bits once: every bit balanced, none correlated, 4 effective bits.
    One code: nothing.
    """
    every = (np.arange(16)[:, None] >> np.arange(4) & 1).astype(bool)
    found = diagnose(codes.pack(every), 4)
    assert found.balance.tolist() == [0.5] * 4 and found.correlation == 0
    assert (found.distinct, found.largest_bucket, found.effective_bits) == (16, 1, 4)
    same = diagnose(codes.pack(np.repeat(every[:1], 10, 0)), 4)
    assert (same.distinct, same.largest_bucket, same.effective_bits, same.constant_bits) == (
        1,
        10,
        0,
        4,
    )
    assert (
        math.isnan(same.correlation)
        and json.loads(json.dumps(same.to_dict(), allow_nan=False))["correlation"] is None
    )
    one_hot = diagnose(codes.pack(np.repeat(np.eye(10, dtype=bool), 7, 0)), 10)
    assert one_hot.effective_bits == pytest.approx(
        math.log2(10)
    ) and one_hot.balance.tolist() == pytest.approx([0.1] * 10)


def test_entropy_in_bits():
    assert entropy(np.array([4, 4])) == 1 and entropy(np.array([2, 1, 1])) == 1.5
    assert entropy(np.array([2, 0, 2])) == 1  # nobody falls into an empty bucket


def test_quantisation_error_in_plain_loops():
    u = np.random.default_rng(2).normal(size=(6, 5))
    plain = sum((x - (1 if x >= 0 else -1)) ** 2 for row in u for x in row) / 30
    assert quantisation_error(u) == pytest.approx(plain)
    assert quantisation_error(np.sign(u)) == 0 and quantisation_error(np.zeros((3, 2))) == 1


def test_tensors():
    u = torch.randn(30, 70, generator=torch.Generator().manual_seed(0), requires_grad=True)
    packed = codes.pack(codes.binarize(u))
    array, tensor = diagnose(packed.numpy(), 70, u.detach().numpy()), diagnose(packed, 70, u)
    assert array.to_dict() == tensor.to_dict() and array.quantisation_error > 0
    assert quantisation_error(u.bfloat16()) == pytest.approx(array.quantisation_error, rel=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 8), np.uint8), 5), "at least one code"),
        ((np.zeros((2, 8), np.uint8), 65), r"\(N, 16\) uint8, got \(2, 8\)"),
        ((np.full((2, 8), 255, np.uint8), 5), "zero padding"),
        (
            (np.zeros((2, 8), np.uint8), 5, np.zeros((2, 6))),
            r"outputs must be \(2, 5\) as the codes, got \(2, 6\)",
        ),
        ((np.zeros((2, 8), np.uint8), 5, np.full((2, 5), np.nan)), "got NaN"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        diagnose(*arguments)
