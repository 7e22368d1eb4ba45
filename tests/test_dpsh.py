"""DPSH's loss against plain loops, its conventions, its gradients;
the method on digits and on scenes of digits.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import outputs, score

from hashlab import data, methods
from hashlab.errors import InputError
from hashlab.losses import pairs, quantisation
from hashlab.methods.dpsh import DPSHLoss, dpsh_loss
from hashlab.training import loop

CLASSES = torch.tensor([0, 0, 1, 1, 2])
SEVERAL = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.uint8)


def by_loops(u, others, s, alpha, balance, counted=None):
    kinds = {True: [], False: []}
    for i, j in itertools.product(range(len(u)), range(len(others))):
        if counted is None or counted[i][j]:
            theta = sum(a * b for a, b in zip(u[i], others[j], strict=True)) / 2
            p = 1 / (1 + math.exp(-theta))
            kinds[bool(s[i][j])].append(-math.log(p if s[i][j] else 1 - p))
    if balance == "halves":
        likelihood = sum(np.mean(kind) / 2 for kind in kinds.values() if kind)
    else:
        likelihood = np.mean(kinds[True] + kinds[False])
    return likelihood + alpha * np.mean(
        [(x - (1 if x >= 0 else -1)) ** 2 for row in u for x in row]
    )


@pytest.mark.parametrize("balance", ["none", "halves"])
@pytest.mark.parametrize("labels", [CLASSES, SEVERAL], ids=["classes", "several"])
@pytest.mark.parametrize("alone", [True, False])
def test_with_plain_loops(labels, balance, alone):
    u, others, s = outputs(5, 4), outputs(5, 4, seed=1), pairs.similar(labels)
    counted = pairs.off_diagonal(5, u.device) if alone else None
    expected = by_loops(u.tolist(), others.tolist(), s.tolist(), 0.3, balance, counted)
    assert float(dpsh_loss(u, others, s, 0.3, balance, counted)) == pytest.approx(
        expected, rel=1e-12
    )


def test_authors_convention():
    """Sums over all pairs and all outputs with the weight lambda:
    N^2 times ours, for alpha = lambda K / N.
    """
    u, s, strength = outputs(5, 4), pairs.similar(CLASSES), 10.0
    theta = u @ u.T / 2
    summed = (torch.log(1 + theta.exp()) - s * theta).sum() + strength * ((u - u.sign()) ** 2).sum()
    torch.testing.assert_close(25 * dpsh_loss(u, u, s, alpha=strength * 4 / 5), summed)


def test_the_memory_is_what_was_seen_last():
    loss, s = DPSHLoss(CLASSES, 4, alpha=0.2), pairs.similar(CLASSES)
    memory = torch.zeros(5, 4)
    for seed, rows in enumerate(([3, 0], [1, 4], [0, 2])):
        u, rows = outputs(2, 4, seed).float(), torch.tensor(rows)
        memory[rows] = u
        expected = by_loops(u.tolist(), memory.tolist(), s[rows].tolist(), 0.2, "none")
        assert float(loss(u, CLASSES[rows], rows)) == pytest.approx(expected, rel=1e-5)
    assert torch.equal(loss.memory, memory) and not list(loss.parameters())


def test_the_memory_passes_no_gradient_and_what_was_not_seen_moves_nothing():
    loss, rows, u = (
        DPSHLoss(CLASSES, 4, alpha=0.0),
        torch.tensor([1]),
        outputs(1, 4).requires_grad_(),
    )
    loss(u, CLASSES[rows], rows).backward()
    alone = (
        float(u.detach().square().sum()) / 2
    )  # theta of the image with itself: the only one in the memory
    expected = (
        (1 / (1 + math.exp(-alone)) - 1) * u.detach() / 2 / 5
    )  # one of five pairs, its partner held fast
    torch.testing.assert_close(u.grad, expected.float().double(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("balance", ["none", "halves"])
def test_gradients(balance):
    u, others, s = outputs(5, 4).requires_grad_(), outputs(5, 4, seed=1), pairs.similar(CLASSES)
    assert torch.autograd.gradcheck(lambda u: dpsh_loss(u, others, s, 0.1, balance), u)
    off = pairs.off_diagonal(5, u.device)
    assert torch.autograd.gradcheck(lambda u: dpsh_loss(u, u, s, 0.1, balance, off), u)


@pytest.mark.parametrize("balance", ["none", "halves"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(dtype, balance):
    u = (outputs(16, 128) * 20).to(dtype).requires_grad_()
    loss = DPSHLoss(torch.arange(16) % 4, 128, balance=balance)(
        u, torch.arange(16) % 4, torch.arange(16)
    )
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(u.grad).all() and u.grad.abs().max() > 0


@given(st.integers(0, 1000), st.integers(1, 20))
def test_what_the_loss_does_not_see(seed, bits):
    """The order of images, of bits, and the sign of a bit in all codes."""
    u, labels = outputs(6, bits, seed), torch.arange(6) % 3
    generator = torch.Generator().manual_seed(seed)
    images, order = (
        torch.randperm(6, generator=generator),
        torch.randperm(bits, generator=generator),
    )
    flips = torch.randint(0, 2, (bits,), generator=generator) * 2.0 - 1
    moved = (u * flips)[images][:, order]
    s, shuffled = pairs.similar(labels), pairs.similar(labels[images])
    torch.testing.assert_close(dpsh_loss(u, u, s), dpsh_loss(moved, moved, shuffled))


def test_balance_matters_only_where_pairs_are_uneven():
    u, s = (
        outputs(4, 3),
        pairs.similar(torch.tensor([0, 0, 1, 1])),
    )  # as many similar as dissimilar ones
    torch.testing.assert_close(dpsh_loss(u, u, s), dpsh_loss(u, u, s, balance="halves"))
    uneven = pairs.similar(torch.tensor([0, 0, 0, 1]))
    assert abs(dpsh_loss(u, u, uneven) - dpsh_loss(u, u, uneven, balance="halves")) > 0.01
    assert torch.isfinite(dpsh_loss(u, u, s & False, balance="halves"))  # no similar pair


# ---- penalties


@pytest.mark.parametrize("name", quantisation.PENALTIES)
def test_penalties_with_plain_loops(name):
    u = torch.cat([outputs(4, 5), torch.tensor([[0.0, -0.0, 1.0, -1.0, 2.0]]).double()])
    of = {
        "squared": lambda away: away**2,
        "absolute": abs,
        "log_cosh": lambda away: math.log(math.cosh(away)),
        "none": lambda away: 0.0,
    }[name]
    expected = np.mean([of(abs(x) - 1) for row in u.tolist() for x in row])
    penalty = quantisation.PENALTIES[name]
    assert float(penalty(u)) == pytest.approx(expected, abs=1e-12)
    assert float(penalty(quantisation.signs(u))) == pytest.approx(0, abs=1e-12)
    assert torch.autograd.gradcheck(penalty, u[:4].requires_grad_())
    assert torch.isfinite(penalty(u * 1e4)) and torch.isfinite(penalty((u * 100).bfloat16()))


def test_signs_are_those_of_the_codes():
    from hashlab import codes

    u = torch.tensor([[0.0, -0.0, 1e-30, -1e-30, 3.0]])
    assert np.array_equal(quantisation.signs(u).numpy() > 0, codes.binarize(u.numpy()))


# ---- the method

SMALL = {"epochs": 10, "batch_size": 64, "lr": 0.1, "shift": 1}


@pytest.mark.parametrize("form", ["memory", "batch"])
def test_learns_digits_and_not_without_the_loss(form, monkeypatch):
    loaded, settings = data.load("digits"), SMALL | {"pairs": form, "balance": "halves"}
    learned = score(methods.create("dpsh", 12, **settings).fit(loaded.train), loaded)
    monkeypatch.setattr("hashlab.methods.dpsh.dpsh_loss", lambda u, *_, **__: 0 * u.sum())
    nothing = score(methods.create("dpsh", 12, **settings).fit(loaded.train), loaded)
    assert learned > 0.7 > 0.5 > nothing


def test_learns_scenes_with_several_labels():
    loaded = data.load("digit_scenes")
    learned = score(methods.create("dpsh", 24, **SMALL).fit(loaded.train), loaded)
    start = score(methods.create("dpsh", 24, **SMALL | {"epochs": 0}).fit(loaded.train), loaded)
    assert learned > start + 0.05


def test_the_settings_reach_the_loss():
    digits = data.load("digits")
    codes = {
        str(changed): methods.create("dpsh", 12, epochs=1, **changed)
        .fit(digits.train)
        .outputs(digits.query)
        .tobytes()
        for changed in ({}, {"pairs": "batch"}, {"balance": "halves"}, {"alpha": 0.5})
    }
    assert len(set(codes.values())) == 4


def test_a_run_taken_up_again_remembers(tmp_path, monkeypatch):
    """Stopped in the second epoch, it ends with the same bits:
    the memory stands in the checkpoint.
    """
    digits, settings = data.load("digits"), {"epochs": 3, "batch_size": 300}
    whole = methods.create("dpsh", 12, **settings).fit(digits.train).outputs(digits.query)
    original, done = loop.Loop.one_step, []

    def one_step(self, phase, batch):
        original(self, phase, batch)
        done.append(1)
        if len(done) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop.Loop, "one_step", one_step)
    with pytest.raises(KeyboardInterrupt):
        methods.create("dpsh", 12, **settings).fit(digits.train, checkpoints=tmp_path, every=0.0)
    resumed = methods.create("dpsh", 12, **settings).fit(digits.train, checkpoints=tmp_path)
    assert np.array_equal(whole, resumed.outputs(digits.query)) and len(done) == 6 + 12 - 5
    folder = resumed.save(tmp_path / "model")
    assert np.array_equal(methods.load(folder).outputs(digits.query), whole)


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.array([[0, 1], [0, 2], [1, 1]]), "of 0 and 1, C at least 2, got 2"),
        (np.array([[1, 1], [1, 1], [1, 1]]), "labels of two kinds at least are expected"),
        (
            np.array([[0.5, 1], [1, 0], [1, 1]]),
            "labels must be whole numbers or text, got 0.5",
        ),
        (np.array([[0, 1], [1, 0]]), r"or \(3, L\) of 0 and 1, got \(2, 2\)"),
        (np.array([0.0, np.nan, 1.0]), r"got nan among \(3,\) float64"),
    ],
)
def test_bad_labels(labels, words):
    class Train:
        images = np.zeros((3, 8, 8), np.uint8)

    Train.labels = labels
    with pytest.raises(InputError, match=words):
        methods.create("dpsh", 8, batch_size=2, shift=0).fit(Train)


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"pairs": "all"}, "pairs must be one of memory, batch, got 'all'"),
        ({"balance": "yes"}, "balance must be one of none, halves"),
        ({"alpha": -1}, "alpha must be a finite number of at least 0"),
    ],
)
def test_bad_settings(changed, words):
    with pytest.raises(InputError, match=words):
        methods.create("dpsh", 8, **changed)
