"""Mu and Liu's loss against plain loops, its identities, its gradients; the method on digits."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning import score

from hashlab import data, methods
from hashlab.methods.mu_liu import MuLiuLoss, bilinear_loss, exponentiated_loss, mu_liu_loss

SCALES = [0.5, 1.0, 4.0, 9.0]


def random_codes(bits, count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(count, bits, generator=generator, dtype=torch.float64) * 2 - 1
    labels = torch.randint(0, 3, (count,), generator=generator)
    return u, labels, 2.0 * (labels[:, None] == labels[None, :]).double() - 1


@pytest.mark.parametrize("c", SCALES)
@pytest.mark.parametrize("bits", [1, 3, 12, 128])
def test_bilinear_loss_with_plain_loops(bits, c):
    u, _, S = random_codes(bits)
    losses = bilinear_loss(u, S, c)
    for i, j in itertools.product(range(6), range(6)):
        expected = 1.0
        for k in range(bits):
            expected *= math.cosh(c / bits) - S[i, j] * u[i, k] * u[j, k] * math.sinh(c / bits)
        assert losses[i, j].item() == pytest.approx(float(expected), rel=1e-9)


@settings(deadline=None)
@given(st.integers(1, 64), st.sampled_from(SCALES), st.integers(0, 1000))
def test_equal_to_the_exponential_at_the_corners(bits, c, seed):
    u, _, S = random_codes(bits, seed=seed)
    b = torch.where(u >= 0, 1.0, -1.0)
    torch.testing.assert_close(bilinear_loss(b, S, c), exponentiated_loss(b, S, c))


@pytest.mark.parametrize("c", SCALES)
def test_is_the_expected_loss_of_random_bits(c):
    """Over all 2^(2K) pairs of codes, each bit +1 with probability (1 + u) / 2, independently."""
    bits = 3
    u, _, S = random_codes(bits, count=2, seed=3)
    expected = 0.0
    for corner in itertools.product((-1.0, 1.0), repeat=2 * bits):
        b = torch.tensor(corner, dtype=torch.float64).view(2, bits)
        expected += ((1 + b * u) / 2).prod() * exponentiated_loss(b, S, c)[0, 1]
    assert bilinear_loss(u, S, c)[0, 1].item() == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("c", SCALES)
def test_gradients(c):
    u, labels, S = random_codes(5)
    u.requires_grad_()
    assert torch.autograd.gradcheck(lambda u: bilinear_loss(u, S, c), u)
    assert torch.autograd.gradcheck(lambda z: mu_liu_loss(z, labels, c), u)


def test_gradient_of_one_bit_is_weighted_by_the_others():
    """d l / d u_ik = -S sinh(c/K) u_jk * product over the other bits."""
    u, _, S = random_codes(4, count=2)
    c, bits = 2.0, 4
    u.requires_grad_()
    gradient = torch.autograd.grad(bilinear_loss(u, S, c)[0, 1], u)[0]
    u = u.detach()
    agreement = [float(S[0, 1] * u[0, m] * u[1, m]) for m in range(bits)]
    for k in range(bits):
        others = math.prod(
            math.cosh(c / bits) - agreement[m] * math.sinh(c / bits) for m in range(bits) if m != k
        )
        expected = -float(S[0, 1] * u[1, k]) * math.sinh(c / bits) * others
        assert gradient[0, k].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("form", ["bilinear", "clipped"])
def test_pairs_are_balanced_and_no_image_pairs_with_itself(form):
    z, labels, c = torch.randn(4, 3, dtype=torch.float64) * 2, torch.tensor([0, 0, 1, 2]), 2.0
    kinds = {True: [], False: []}
    for i in range(4):
        for j in range(4):
            same = bool(labels[i] == labels[j])
            S, value = 1 if same else -1, 1.0
            for a, b in zip(z[i].tolist(), z[j].tolist(), strict=True):
                if form == "bilinear":
                    value *= math.cosh(c / 3) - S * math.tanh(a) * math.tanh(b) * math.sinh(c / 3)
                else:
                    value *= math.exp(-S * c / 3 * max(-1, min(1, a)) * max(-1, min(1, b)))
            if i != j:
                kinds[same].append(value)
    expected = (np.mean(kinds[True]) + np.mean(kinds[False])) / 2
    assert mu_liu_loss(z, labels, c, form).item() == pytest.approx(expected)
    assert MuLiuLoss(c, form)(z, labels).item() == pytest.approx(expected)
    assert torch.isfinite(mu_liu_loss(z[2:], labels[2:], c, form))  # no similar pair in the batch


@pytest.mark.parametrize("form", ["bilinear", "clipped"])
def test_the_whole_loss_has_the_gradient_of_its_values(form):
    z = torch.randn(5, 4, dtype=torch.float64).mul(0.9).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda z: mu_liu_loss(z, torch.tensor([0, 0, 1, 1, 2]), 3.0, form), z
    )


def test_both_losses_at_once():
    """The concurrent form trains a classifier too, which is no part of what is kept."""
    digits = data.load("digits")
    method = methods.create("mu_liu", 12, epochs=3, pretrain_epochs=0, concurrent=1.0).fit(
        digits.train
    )
    plain = methods.create("mu_liu", 12, epochs=3, pretrain_epochs=0).fit(digits.train)
    assert [line["phase"] for line in method.history] == ["both"] * 3
    assert method.network.state_dict().keys() == plain.network.state_dict().keys()
    assert method.encode(digits.query).tobytes() != plain.encode(digits.query).tobytes()


def test_the_classification_loss_reaches_the_backbone():
    """With a huge weight on it, the backbone learns classes:
    a linear classifier on its features beats the start's.
    """
    from sklearn.linear_model import LogisticRegression

    digits, scores = data.load("digits"), []
    for weight in (0.0, 100.0):
        method = methods.create(
            "mu_liu", 2, epochs=2, lr=0.001, pretrain_epochs=0, concurrent=weight
        )
        body, view = method.fit(digits.train).network.eval().body, method.view
        with torch.no_grad():
            parts = [
                torch.from_numpy(part.images[..., None]) for part in (digits.train, digits.query)
            ]
            train, query = (body(view.plain(images)).numpy() for images in parts)
        model = LogisticRegression(max_iter=300, C=0.01).fit(train, digits.train.labels)
        scores.append(model.score(query, digits.query.labels))
    assert scores[1] > scores[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(dtype):
    z = (
        (torch.randn(16, 128, generator=torch.Generator().manual_seed(0)) * 5)
        .to(dtype)
        .requires_grad_()
    )
    loss = mu_liu_loss(z, torch.arange(16) % 4, c=9.0)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_learns_digits_and_not_without_the_loss(monkeypatch):
    loaded = data.load("digits")
    small = {"epochs": 10, "pretrain_epochs": 0, "batch_size": 64, "lr": 0.1}
    learned = score(methods.create("mu_liu", 12, **small).fit(loaded.train), loaded)
    monkeypatch.setattr("hashlab.methods.mu_liu.mu_liu_loss", lambda z, labels, *_: 0 * z.sum())
    nothing = score(methods.create("mu_liu", 12, **small).fit(loaded.train), loaded)
    assert learned > 0.85 > 0.5 > nothing


@pytest.mark.parametrize("weight", [0.25, 1.0, 3.0])
def test_both_losses_at_once_are_added_with_their_weight(weight):
    z, labels, _ = random_codes(5)
    logits = torch.arange(18, dtype=torch.float64).reshape(6, 3).sin()
    method = methods.create("mu_liu", 5, concurrent=weight, c=2.0)
    crossed = [
        math.log(sum(math.exp(x) for x in row)) - row[y]
        for row, y in zip(logits, labels, strict=True)
    ]
    expected = mu_liu_loss(z, labels, 2.0) + weight * sum(crossed) / 6
    assert float(method.joint_loss((z, logits), labels)) == pytest.approx(
        float(expected), rel=1e-12
    )


def test_the_classifier_is_trained_before_or_beside_and_not_where_nothing_would_learn():
    def names(**settings):
        method = methods.create("mu_liu", 8, **settings)
        method.fit(data.load("digits").train, seed=0)
        return [line["phase"] for line in method.history]

    quick = {"epochs": 1, "pretrain_epochs": 1}
    assert names(**quick) == ["pre-training", "hashing"]
    assert names(**quick, concurrent=1.0) == ["pre-training", "both"]
    assert names(**quick, frozen=True) == ["hashing"]
