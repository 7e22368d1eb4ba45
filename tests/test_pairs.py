"""Pairs, against plain loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hashlab.losses import pairs


@given(arrays.arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 3)))
def test_similar_by_class(labels):
    similar = pairs.similar(torch.from_numpy(labels))
    assert similar.tolist() == [[bool(a == b) for b in labels] for a in labels]


@given(
    arrays.arrays(
        np.int64, st.tuples(st.integers(1, 8), st.integers(1, 4)), elements=st.integers(0, 1)
    )
)
def test_similar_by_shared_label(labels):
    similar = pairs.similar(torch.from_numpy(labels), torch.from_numpy(labels[:3]))
    assert similar.tolist() == [
        [any(x and y for x, y in zip(a, b, strict=True)) for b in labels[:3]] for a in labels
    ]


@given(st.integers(1, 9), st.integers(0, 2**31))
def test_balanced_mean(count, seed):
    generator = torch.Generator().manual_seed(seed)
    losses = torch.rand(count, count, generator=generator, dtype=torch.float64)
    s = torch.rand(count, count, generator=generator) < 0.3
    expected = 0.0
    for kind in (True, False):
        of_kind = [
            losses[i, j].item()
            for i in range(count)
            for j in range(count)
            if i != j and s[i, j] == kind
        ]
        expected += sum(of_kind) / len(of_kind) / 2 if of_kind else 0
    counted = pairs.off_diagonal(count, losses.device)
    assert float(pairs.balanced_mean(losses, s, counted)) == pytest.approx(expected)
    assert float(pairs.mean(losses, s, counted, "halves")) == pytest.approx(expected)
    plain = [losses[i, j].item() for i in range(count) for j in range(count) if i != j]
    assert float(pairs.mean(losses, s, counted)) == pytest.approx(sum(plain) / max(len(plain), 1))
    assert float(pairs.mean(losses, s)) == pytest.approx(float(losses.mean()))


def test_likelihood():
    theta = torch.tensor([-700.0, -2.0, 0.0, 3.0, 700.0], dtype=torch.float64)
    for s in (0, 1):
        expected = [
            -math.log(1 / (1 + math.exp(-t))) if s else -math.log(1 / (1 + math.exp(t)))
            for t in (-2, 0, 3)
        ]
        losses = pairs.likelihood_loss(theta, torch.tensor(bool(s)))
        torch.testing.assert_close(losses[1:4], torch.tensor(expected, dtype=torch.float64))
        assert losses[0].item() == pytest.approx(700 * s) and losses[4].item() == pytest.approx(
            700 * (1 - s)
        )


def test_weights_of_a_kind_sum_to_one_and_skip_what_does_not_count():
    labels = torch.tensor([0, 0, 1, 1, 1])
    s, counted = pairs.similar(labels), pairs.off_diagonal(5, labels.device)
    w = pairs.weights(s, counted, torch.float64)
    assert w.dtype == torch.float64 and not w.diagonal().any()
    assert abs(w[s].sum() - 1) < 1e-12 and abs(w[~s].sum() - 1) < 1e-12
    assert pairs.weights(torch.ones(2, 2, dtype=torch.bool)).tolist() == [
        [0.25, 0.25],
        [0.25, 0.25],
    ]  # one kind only
