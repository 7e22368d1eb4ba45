"""Gaussian classes against plain loops and torch.distributions, penalties,
centres that move with the network.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab.data.batches import Batches
from hashlab.losses import clouds
from hashlab.losses.clouds import Centres, Recentre, class_wise_loss, cubic_loss, vertex_loss


def normal(rows, columns, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


# ---- the class-wise loss


def by_loops(u, y, c, s, floor):
    total = 0.0
    for row, label in zip(u, y, strict=True):
        e = [
            math.exp(-s / 2 * sum((a - b) ** 2 for a, b in zip(row, centre, strict=True)))
            for centre in c
        ]
        total -= math.log(e[label] / (sum(e) + floor) + floor)
    return total / len(u)


@pytest.mark.parametrize("s", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("floor", [0.0, 1e-8, 1e-6])
def test_class_wise_loss_with_plain_loops(s, floor):
    u, c, y = normal(6, 5), normal(4, 5, 1), torch.tensor([0, 3, 2, 2, 1, 0])
    loss = class_wise_loss(u.float() if floor else u, y, c.float() if floor else c, s, floor).item()
    assert loss == pytest.approx(by_loops(u.tolist(), y.tolist(), c.tolist(), s, floor), rel=1e-5)


def test_it_is_the_posterior_of_equally_likely_gaussian_classes():
    """torch.distributions computes the same:
    densities of variance 1/s, Bayes' rule with equal priors.
    """
    u, c, y, s = normal(6, 5), normal(4, 5, 1), torch.tensor([0, 3, 2, 2, 1, 0]), 0.67
    density = torch.distributions.Normal(c, s**-0.5).log_prob(u[:, None]).sum(-1)  # (B, M)
    expected = -torch.distributions.Categorical(logits=density).log_prob(y).mean()
    torch.testing.assert_close(class_wise_loss(u, y, c, s), expected)


@pytest.mark.parametrize("floor", [0.0, 1e-8])
def test_gradients(floor):
    u, c, y = normal(5, 4).requires_grad_(), normal(3, 4, 1), torch.tensor([0, 2, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda u: class_wise_loss(u, y, c, 0.5, floor), u)


def test_the_gradient_is_the_expected_centre_less_the_own_one():
    u, c, y, s = normal(5, 4).requires_grad_(), normal(3, 4, 1), torch.tensor([0, 2, 1, 1, 0]), 0.5
    gradient = torch.autograd.grad(class_wise_loss(u, y, c, s), u)[0]
    p = torch.softmax(-s / 2 * (u[:, None] - c).square().sum(-1), 1)
    torch.testing.assert_close(gradient, s * (p @ c - c[y]).detach() / len(u))


@given(st.integers(1, 6), st.integers(1, 40), st.integers(0, 1000))
def test_neither_the_order_of_bits_nor_a_common_shift_matters(classes, bits, seed):
    u, c = normal(7, bits, seed), normal(classes, bits, seed + 1)
    y = torch.arange(7) % classes
    order, shift = (
        torch.randperm(bits, generator=torch.Generator().manual_seed(seed)),
        normal(1, bits, seed + 2),
    )
    loss = class_wise_loss(u, y, c, 0.5)
    torch.testing.assert_close(
        class_wise_loss(u[:, order] + shift, y, c[:, order] + shift, 0.5), loss
    )
    assert loss >= 0


def test_long_codes_far_from_their_centres():
    """At 128 bits the authors' form is flat: every exponential is 0.
    The stable one has the loss and its slope.
    """
    u, c, y = normal(8, 128, 0, 1.5).float(), normal(10, 128, 1).float(), torch.arange(8)
    u.requires_grad_()
    stable, clamped = (class_wise_loss(u, y, c, 1.0, floor) for floor in (0.0, 1e-8))
    assert stable.item() == pytest.approx(exact(u, y, c), rel=1e-5)
    assert clamped.item() == pytest.approx(-math.log(1e-8), abs=1e-3)
    assert torch.autograd.grad(stable, u)[0].abs().max() > 0.01
    assert torch.autograd.grad(clamped, u)[0].abs().max() == 0


def exact(u, y, c):
    """By log-sum-exp in plain Python, on numbers as they are."""
    total = 0.0
    for row, label in zip(u.tolist(), y.tolist(), strict=True):
        logits = [
            -sum((a - b) ** 2 for a, b in zip(row, centre, strict=True)) / 2
            for centre in c.tolist()
        ]
        top = max(logits)
        total -= logits[label] - top - math.log(sum(math.exp(x - top) for x in logits))
    return total / len(u)


def test_half_precision_outputs_lose_nothing_more():
    u, c, y = (
        normal(8, 128).bfloat16().requires_grad_(),
        normal(10, 128, 1).bfloat16(),
        torch.arange(8),
    )
    loss = class_wise_loss(u, y, c, 1.0)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact(u, y, c), rel=1e-5)
    loss.backward()
    assert torch.isfinite(u.grad).all() and u.grad.abs().max() > 0


# ---- the penalties


def test_penalties_with_plain_loops():
    u = normal(6, 5, scale=1.5)
    u[0, 0], u[1, 0], u[2, 0] = 0.0, 1.1, -1.1  # the sign of 0 is +1; the edge is inside
    outside = sum(max(-1.1 - x, 0) + max(x - 1.1, 0) for row in u.tolist() for x in row) / len(u)
    away = sum(((1 if x >= 0 else -1) - x) ** 2 for row in u.tolist() for x in row) / len(u)
    assert cubic_loss(u).item() == pytest.approx(outside) and vertex_loss(
        u
    ).item() == pytest.approx(away)
    below, above = clouds.beyond_edge(u)
    assert (below.mean() + above.mean()).item() == pytest.approx(outside) and min(
        below.max(), above.max()
    ) > 0


def test_gradients_of_the_penalties():
    u = normal(4, 6, scale=1.5)
    u = (
        u[(u.abs() > 0.05) & ((u.abs() - 1.1).abs() > 0.05)].view(1, -1).requires_grad_()
    )  # off the kinks
    assert torch.autograd.gradcheck(cubic_loss, u) and torch.autograd.gradcheck(vertex_loss, u)


@given(st.integers(1, 8), st.integers(1, 70), st.integers(0, 1000))
def test_codes_pay_nothing(count, bits, seed):
    b = torch.where(normal(count, bits, seed) > 0, 1.0, -1.0)
    assert cubic_loss(b) == vertex_loss(b) == 0 < vertex_loss(0.9 * b)


# ---- centres


PARENTS = [torch.tensor([0, 0, 1, 1, 1])]  # five classes under two


def test_centres_move_to_plain_means():
    c, u, y = (
        Centres(PARENTS, [5, 2], 3),
        normal(12, 3).float(),
        torch.tensor([0, 0, 0, 0, 1, 1, 2, 2, 2, 4, 4, 0]),
    )
    start = [level.clone() for level in c]
    c.move(u, y)
    fine, coarse = c
    for label in (0, 1, 2, 4):
        torch.testing.assert_close(
            fine[label], torch.stack([u[i] for i in range(12) if y[i] == label]).mean(0)
        )
    assert torch.equal(fine[3], start[0][3])  # no image of it: it stays
    torch.testing.assert_close(
        coarse[0], (fine[0] + fine[1]) / 2
    )  # whether 5 or 2 images: not weighted
    torch.testing.assert_close(coarse[1], (fine[2] + fine[3] + fine[4]) / 3)
    assert len(c) == 2 and not list(c.parameters())


def test_four_levels_follow_one_another():
    above = [torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1]), torch.tensor([0, 0])]
    c, u = Centres(above, [4, 3, 2, 1], 2), normal(4, 2).float()
    c.move(u, torch.arange(4))
    a, b, d, e = u
    expected = [u, torch.stack([(a + b) / 2, d, e]), torch.stack([(a + b) / 2, (d + e) / 2])]
    for level, wanted in zip(c, [*expected, expected[2].mean(0)[None]], strict=True):
        torch.testing.assert_close(level, wanted)


def test_the_start_is_standard_normal_and_follows_the_generator():
    torch.manual_seed(3)
    first = torch.cat(list(Centres([torch.arange(50).repeat(2)], [100, 50], 64)))
    assert abs(first.mean()) < 0.05 and abs(first.std() - 1) < 0.05
    torch.manual_seed(3)
    assert torch.equal(torch.cat(list(Centres([torch.arange(50).repeat(2)], [100, 50], 64))), first)


def moving(every=1, how="plain", network=None):
    """Centres of two classes and two bits, what moves them,
    and eight features with their labels.
    """
    network = network or torch.nn.BatchNorm1d(2, momentum=1.0)
    features, labels = normal(8, 2, scale=3.0).float() + 5, np.array([0, 1] * 4)
    batches = Batches(features, labels[:, None], torch.device("cpu"), None)
    c = Centres([], [2], 2)
    return c, Recentre(c, network, every, how, 4, 0, "float32"), batches, features, network


@pytest.mark.parametrize("every, expected", [(1, [2, 3, 4, 5, 6]), (2, [3, 5]), (4, [5])])
def test_they_move_after_every_so_many_epochs(every, expected):
    c, move, batches, *_ = moving(every)
    moved = []
    for epoch in range(1, 7):
        c.level0.fill_(99.0)
        move(epoch, batches)
        moved += [epoch] if (c.level0 < 99).all() else []
    assert moved == expected


def test_plain_centres_are_those_of_the_network_as_it_encodes():
    c, move, batches, features, network = moving()
    move(2, batches)
    torch.testing.assert_close(
        c.level0, torch.stack([features[::2].mean(0), features[1::2].mean(0)]), rtol=1e-4, atol=0
    )
    assert torch.equal(network.running_mean, torch.zeros(2))  # it was asked, not trained


def test_centres_as_the_authors_take_them_use_batch_statistics_and_move_them():
    c, move, batches, _, network = moving(how="train")
    move(2, batches)
    assert (
        c.level0.abs().max() < 2 and network.running_mean.abs().min() > 1
    )  # standardised by each batch
