"""What the chapters on losses ask of all losses alike."""

import itertools
import math

import numpy as np
import pytest
import torch

from hashlab import data, methods
from hashlab.chapters import family
from hashlab.losses import codebooks, quantisation
from hashlab.methods import dch, dpsh

Y = torch.tensor([0, 0, 1, 1, 2])


def outputs(count=5, bits=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, generator=generator).double()


# ---- pairs


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_batch_of_dpsh_pairs_no_image_with_itself(weight):
    u = outputs()
    wanted = [
        math.log1p(math.exp(theta)) - theta * bool(Y[i] == Y[j])
        for i, j in itertools.permutations(range(5), 2)
        for theta in [(u[i] @ u[j] / 2).item()]
    ]
    penalty = (u.abs() - 1).square().mean().item()
    assert math.isclose(family.in_batch(u, Y, weight), np.mean(wanted) + weight * penalty)


def test_halves_weigh_both_kinds_alike():
    u = torch.zeros(5, 6).double()  # every pair costs log 2
    u[0] = u[1] = 1.0  # but this similar one
    one = math.log1p(math.exp(-3))
    halves = (one + math.log(2)) / 4 + math.log(2) / 2
    assert math.isclose(family.in_batch(u, Y, balance="halves"), halves)


@pytest.mark.parametrize("name", family.PAIR_LOSSES)
def test_losses_of_pairs_fall_as_a_pair_gets_what_it_is_asked_for(name):
    shares = np.array([0.1, 0.3, 0.5])
    curves = family.pair_curves(16, shares)[name]
    assert np.diff(curves["similar"][0]).min() > 0 > np.diff(curves["dissimilar"][0]).max()


def test_the_distance_at_which_a_pair_is_content():
    assert family.content("DSH", "dissimilar", 12) == 6  # the margin is half of the bits
    assert family.content("DSH", "similar", 12) == 0
    assert family.content("DPSH, DHN", "similar", 48) > family.content("DPSH, DHN", "similar", 12)


# ---- room for codes


@pytest.mark.parametrize("count, bits", [(2, 3), (3, 3), (4, 3)])
def test_room_is_what_the_best_codes_reach(count, bits):
    codes = list(itertools.product((-1, 1), repeat=bits))

    def mean_distance(chosen):
        pairs = itertools.combinations(chosen, 2)
        return np.mean([np.not_equal(a, b).sum() for a, b in pairs])

    best = max(map(mean_distance, itertools.combinations(codes, count)))
    assert math.isclose(best, bits * family.room(count))


@pytest.mark.parametrize("bits", [3, 4, 5])
def test_the_most_codes_by_trying_keep_to_plotkins_bound(bits):
    assert family.most(bits, 1) == 2**bits
    assert family.most(bits, 2) == 2 ** (bits - 1)  # those of even weight
    for distance in range(bits // 2 + 1, bits + 1):
        assert family.most(bits, distance) <= family.plotkin(bits, distance)
    assert family.plotkin(bits, bits) == family.most(bits, bits) == 2
    assert family.plotkin(8, 5) == 4  # rounded down before it is doubled


def test_the_closest_two_codes():
    assert family.closest(codebooks.hadamard(8)) == 4
    codes = torch.ones(3, 5)
    codes[1] = -1
    codes[2, :2] = -1
    assert family.closest(codes) == 2


# ---- near zero


def test_every_loss_alone_is_a_number_and_drawn_alike_each_time():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    losses = family.without_penalties(Y, bits=6, count=3)
    assert torch.equal(torch.random.get_rng_state(), before)  # no one else's numbers are drawn
    again = family.without_penalties(Y, bits=6, count=3)
    for name, (_, loss) in losses.items():
        value = loss(outputs())
        assert value.ndim == 0 and value.isfinite() and value == again[name][1](outputs()), name


def test_losses_alone_have_no_penalty():
    u = torch.ones(5, 6).double()
    for name in ("DPSH", "DSH", "DTSH"):
        loss = family.without_penalties(Y, bits=6, count=3)[name][1]
        turned = 6**0.5 * torch.eye(6).double()[:1].repeat(5, 1)  # as long, and all alike
        assert math.isclose(loss(u), loss(turned)), name  # yet far from any code


def test_contrasts_add_up_to_zero_and_size_is_typical():
    u = outputs(6)
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    found = family.contrasts(u, y, 3)
    assert torch.allclose(found.sum(0), torch.zeros(6).double(), atol=1e-12)
    assert torch.allclose(found[1], (u[1] + u[4]) / 2 - u.mean(0))
    assert math.isclose(family.size(torch.tensor([[3.0, -4.0]])), math.sqrt(12.5))


# ---- penalties


def test_penalties_of_losses_are_their_formulas():
    u = outputs()
    away = (u.abs() - 1).abs()
    assert torch.isclose(family.cubic(u), away.pow(3).mean())
    cosine = u.abs().sum(1) / (u.norm(dim=1) * 6**0.5)
    distance = 6 * (1 - cosine) / 2
    wanted = torch.log1p(distance / dch.Config().gamma).mean() / 6
    assert torch.isclose(family.cauchy(u), wanted)


def test_a_penalty_along_one_output():
    ticks = np.array([-1.5, -0.5, 0.5, 2.0])
    values, slopes = family.along(quantisation.squared, ticks, bits=5)
    assert np.allclose(values, (np.abs(ticks) - 1) ** 2)
    assert np.allclose(slopes, 2 * (ticks - np.sign(ticks)))


def test_near_codes_and_lopsided():
    u = np.array([[1.4, 0.1], [-0.6, 0.2], [0.4, -3.0], [1.0, 0.9]])
    assert family.near_codes(u) == 4 / 8
    assert family.lopsided(u) == (3 / 4 + 3 / 4) / 2
    assert family.lopsided(np.ones((3, 2))) == 1


def test_a_report_is_of_the_queries():
    digits = data.load("digits")
    method = methods.create("lsh", 8).fit(digits.train)
    report = family.report(method, digits)
    assert 0 < report.map < 1 and report.bits == 8


# ---- cost


def test_contestants_all_have_gradients_and_seconds_are_positive():
    z = torch.randn(6, 12, requires_grad=True)
    for loss in family.contestants(torch.arange(6) % 3, 12, memory=20).values():
        assert family.seconds(loss, z, repeats=1) > 0


def test_shares_of_a_step_are_read_from_what_the_benchmark_printed(tmp_path, monkeypatch):
    (tmp_path / "speed").mkdir()
    lines = ["command", "commit", "GPU", "", "batches of 4; a step of the network: 20 ms"]
    lines += [
        "loss                   12 bits              48 bits",
        "dpsh, batch  1 ms  4.29%  2 ms  5%",
    ]
    lines += ["dch          2 ms  12.87%  3 ms  9.29%", "batches of 4: the dearest takes 12.87%"]
    (tmp_path / "speed" / "losses-h100.txt").write_text("\n".join(lines))
    monkeypatch.setenv("HASHLAB_RESULTS", str(tmp_path))
    head, shares = family.shares_of_step()
    assert head == ["command", "commit", "GPU"]
    assert shares == {
        ("dpsh, batch", 4, 12): 4.29,
        ("dpsh, batch", 4, 48): 5.0,
        ("dch", 4, 12): 12.87,
        ("dch", 4, 48): 9.29,
    }


# ---- the ledger


def test_sources_tell_what_was_seen_from_what_was_seen_at_second_hand(monkeypatch):
    def said(text):
        monkeypatch.setattr(dpsh, "__doc__", text)
        return family.sources("dpsh")

    assert said("SEEN (https://github.com/one/code): all.")[0] == "seen"
    assert said("SEEN at second\nhand: all.")[0] == "seen at second hand"
    assert said("INFERRED: x. SEEN: y. SEEN at second hand: z.")[0] == (
        "seen, seen at second hand, inferred"
    )
    twice = "SEEN (https://github.com/one/code). SEEN (https://github.com/one/code)."
    assert said(twice)[1] == "[one](https://github.com/one/code)"
    assert said(None) == ("", "")
