"""Mu and Liu's loss against plain loops, its identities, its gradients; the method on digits."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlab import data, methods, metrics
from hashlab.methods.mu_liu import bilinear_loss, exponentiated_loss, mu_liu_loss, pair_mean

SCALES = [0.5, 1.0, 4.0, 9.0]


def random_codes(bits, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    t = torch.rand(count, bits, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(0, 3, (count,), generator=generator)
    return t, labels, 2.0 * (labels[:, None] == labels[None, :]).double() - 1


@pytest.mark.parametrize("c", SCALES)
@pytest.mark.parametrize("bits", [1, 3, 12, 128])
def test_bilinear_loss_with_plain_loops(bits, c):
    t, _, y = random_codes(bits)
    found = bilinear_loss(t, y, c)
    for i, j in itertools.product(range(6), range(6)):
        expected = 1.0
        for k in range(bits):
            expected *= math.cosh(c / bits) - y[i, j] * t[i, k] * t[j, k] * math.sinh(c / bits)
        assert found[i, j].item() == pytest.approx(float(expected), rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 64), st.sampled_from(SCALES), st.integers(0, 1000))
def test_equal_to_the_exponential_at_the_corners(bits, c, seed):
    t, _, y = random_codes(bits, seed=seed)
    b = torch.where(t >= 0, 1.0, -1.0)
    torch.testing.assert_close(bilinear_loss(b, y, c), exponentiated_loss(b, y, c))


@pytest.mark.parametrize("c", SCALES)
def test_is_the_expected_loss_of_random_bits(c):
    """Over all 2^(2K) pairs of codes, each bit +1 with probability (1 + t) / 2, independently."""
    bits = 3
    t, _, y = random_codes(bits, count=2, seed=3)
    expected = 0.0
    for corner in itertools.product((-1.0, 1.0), repeat=2 * bits):
        b = torch.tensor(corner, dtype=torch.float64).view(2, bits)
        expected += ((1 + b * t) / 2).prod() * exponentiated_loss(b, y, c)[0, 1]
    assert bilinear_loss(t, y, c)[0, 1].item() == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("c", SCALES)
def test_gradients(c):
    t, labels, y = random_codes(5)
    t.requires_grad_()
    assert torch.autograd.gradcheck(lambda t: bilinear_loss(t, y, c), t)
    assert torch.autograd.gradcheck(lambda z: mu_liu_loss(z, labels, c), t)


def test_gradient_of_one_bit_is_weighted_by_the_others():
    """d l / d t_ik = -y sinh(c/K) t_jk * product over the other bits."""
    t, _, y = random_codes(4, count=2)
    c, bits = 2.0, 4
    t.requires_grad_()
    gradient = torch.autograd.grad(bilinear_loss(t, y, c)[0, 1], t)[0]
    t = t.detach()
    agreement = [float(y[0, 1] * t[0, m] * t[1, m]) for m in range(bits)]
    for k in range(bits):
        others = math.prod(math.cosh(c / bits) - agreement[m] * math.sinh(c / bits) for m in range(bits) if m != k)
        expected = -float(y[0, 1] * t[1, k]) * math.sinh(c / bits) * others
        assert gradient[0, k].item() == pytest.approx(expected, rel=1e-9)


def test_pairs_are_balanced_and_no_image_pairs_with_itself():
    labels = torch.tensor([0, 0, 1, 2])
    y = 2.0 * (labels[:, None] == labels[None, :]) - 1
    losses = torch.arange(16.0).view(4, 4)
    similar = [losses[i, j].item() for i in range(4) for j in range(4) if i != j and labels[i] == labels[j]]
    other = [losses[i, j].item() for i in range(4) for j in range(4) if labels[i] != labels[j]]
    assert pair_mean(losses, y).item() == pytest.approx((np.mean(similar) + np.mean(other)) / 2)
    assert torch.isfinite(pair_mean(losses[2:, 2:], y[2:, 2:]))  # no similar pair in the batch


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(dtype):
    z = (torch.randn(16, 128, generator=torch.Generator().manual_seed(0)) * 5).to(dtype).requires_grad_()
    loss = mu_liu_loss(z, torch.arange(16) % 4, c=9.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def score(method, loaded):
    return metrics.evaluate(
        method.encode(loaded.query.images),
        method.encode(loaded.database.images),
        loaded.query.labels,
        loaded.database.labels,
        bits=method.bits,
    ).map


def test_learns_digits_and_not_without_the_loss(monkeypatch):
    loaded = data.load("digits")
    small = {"epochs": 10, "pretrain_epochs": 0, "batch_size": 64, "lr": 0.1}
    learned = score(methods.create("mu_liu", 12, **small).fit(loaded.train), loaded)
    monkeypatch.setattr("hashlab.methods.mu_liu.mu_liu_loss", lambda z, labels, c: 0 * z.sum())
    nothing = score(methods.create("mu_liu", 12, **small).fit(loaded.train), loaded)
    assert learned > 0.85 > 0.5 > nothing
