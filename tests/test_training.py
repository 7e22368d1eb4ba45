"""The loop against textbook updates written out; its stops, hooks, seeds and what runs share."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from hashlab import methods
from hashlab.data.batches import Batches
from hashlab.training import loop, numerics, seeds
from hashlab.training.loop import Phase, rate

CPU = torch.device("cpu")


def features(count=8, width=3, seed=0):
    x = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return Batches(x, np.arange(count) % 2, CPU, None)


def one_weight(start=1.0):
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, start)
    return weight, lambda batch: weight.weight.square().sum() / 2  # its gradient is the weight


def run(phase, batches=None, size=2, **more):
    return loop.train([phase], batches or features(2), batch_size=size, **more)


def test_rate_rises_then_falls_to_zero():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[9] == max(rates) == 1 and rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[99] < 0.001
    assert rate(55, 100) == pytest.approx(0.5)


def test_other_schedules():
    assert [rate(step, 20, "linear") for step in (0, 1, 2, 11, 20)] == pytest.approx(
        [0.5, 1, 1, 0.5, 0]
    )
    assert [rate(step, 20, "constant") for step in (0, 1, 2, 11, 19)] == [0.5, 1, 1, 1, 1]


def test_sgd_with_nesterov_momentum():
    weight, loss = one_weight()
    history = run(Phase("p", weight, loss, 4, 0.1, 0.9, 0.01))
    w, velocity = 1.0, None
    for step in range(4):
        gradient = w + 0.01 * w
        velocity = gradient if velocity is None else 0.9 * velocity + gradient
        assert (
            history[step]["loss"] == pytest.approx(w**2 / 2, rel=1e-5)
            and history[step]["epoch"] == step + 1
        )
        w -= 0.1 * rate(step, 4) * (gradient + 0.9 * velocity)
    assert weight.weight.item() == pytest.approx(w, rel=1e-5)


def test_adamw():
    weight, loss = one_weight()
    run(Phase("p", weight, loss, 5, 0.1, weight_decay=0.1, optimiser="adamw", schedule="linear"))
    w, m, v = 1.0, 0.0, 0.0
    for step in range(1, 6):
        lr, g = 0.1 * rate(step - 1, 5, "linear"), w
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w -= lr * 0.1 * w
        w -= lr * (m / (1 - 0.9**step)) / (math.sqrt(v / (1 - 0.999**step)) + 1e-8)
    assert weight.weight.item() == pytest.approx(w, rel=1e-5)


def test_rmsprop():
    weight, loss = one_weight()
    run(
        Phase(
            "p",
            weight,
            loss,
            3,
            0.01,
            momentum=0.5,
            weight_decay=0.0,
            optimiser="rmsprop",
            schedule="constant",
        )
    )
    w, v, velocity = 1.0, 0.0, 0.0
    for _ in range(3):
        v = 0.99 * v + 0.01 * w * w
        velocity = 0.5 * velocity + w / (math.sqrt(v) + 1e-8)
        w -= 0.01 * velocity
    assert weight.weight.item() == pytest.approx(w, rel=1e-5)


def test_gradients_are_clipped():
    weight, loss = one_weight(100.0)
    run(Phase("p", weight, loss, 1, 0.1, 0.0, 0.0, clip=2.0))
    assert weight.weight.item() == pytest.approx(100 - 0.1 * 2.0)


def test_a_loss_that_is_not_finite_is_named_with_its_step():
    weight, loss = one_weight()
    seen = []

    def breaks(batch):
        seen.append(1)
        return loss(batch) * (float("nan") if len(seen) == 6 else 1.0)

    with pytest.raises(
        FloatingPointError, match="hashing: the loss is nan at step 6; try a lower lr"
    ):
        run(Phase("hashing", weight, breaks, 9, 0.1), features(8))  # 4 steps per epoch
    assert len(seen) == 6


def test_a_gpu_is_not_asked_after_every_step(monkeypatch):
    """The losses are looked at every few steps and at the end of an epoch;
    the step is still the right one.
    """
    monkeypatch.setitem(loop.CHECK_EVERY, "cpu", 5)
    for broken, noticed in ((3, 5), (7, 8), (14, 16)):  # of 8 steps per epoch
        weight, loss = one_weight()
        seen = []

        def breaks(batch, seen=seen, broken=broken, loss=loss):
            seen.append(1)
            return loss(batch) * (float("inf") if len(seen) == broken else 1.0)

        with pytest.raises(FloatingPointError, match=f"the loss is inf at step {broken};"):
            run(Phase("p", weight, breaks, 9, 0.0, weight_decay=0.0), features(16))
        assert len(seen) == noticed


def test_full_memory_is_said_with_what_to_lower():
    weight, _ = one_weight()
    with pytest.raises(
        MemoryError,
        match=r"memory is full: p on batches of 2 on cpu; lower the setting batch_size, or",
    ):
        run(Phase("p", weight, lambda batch: torch.empty(2**50).sum(), 1, 0.1))

    def gpu_full(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(MemoryError, match="memory is full"):
        run(Phase("p", weight, gpu_full, 1, 0.1))


def test_hooks_see_every_epoch_before_it_begins():
    weight, loss = one_weight()
    weight.register_buffer("centre", torch.zeros(3))
    seen = []

    def centres(epoch, batches):
        weight.centre.copy_(torch.cat(list(batches.stream())).mean(0) * epoch)
        seen.append((epoch, weight.weight.item()))

    batches = features(8)
    run(Phase("p", weight, loss, 3, 0.1, before_epoch=centres), batches)
    assert [epoch for epoch, _ in seen] == [1, 2, 3] and seen[0][1] == 1.0 > seen[1][1] > seen[2][1]
    torch.testing.assert_close(weight.centre, batches.images.mean(0) * 3)


def test_balanced_batches_reach_the_loss():
    batches = Batches(torch.zeros(40, 1), np.array([0] * 37 + [1] * 3), CPU, None)
    weight, loss = one_weight()
    counts = []

    def count(batch):
        counts.append(int(batch.labels.sum()))
        return loss(batch)

    loop.train([Phase("p", weight, count, 2, 0.1, per_class=5)], batches, batch_size=10)
    assert counts == [5] * 8


def test_every_epoch_and_phase_has_its_own_order_and_noise():
    """Order, and what is drawn from torch's generator (dropout), differ between epochs,
    phases and seeds only.
    """

    def trace(seed):
        orders, noise = [], []

        def note(batch):
            orders.append(tuple(batch.rows.tolist()))
            noise.append(torch.rand(1).item())
            return loss(batch)

        weight, loss = one_weight()
        phases = [Phase(name, weight, note, 2, 0.01) for name in ("a", "b")]
        loop.train(phases, features(8), batch_size=8, seed=seed)
        return orders, noise

    assert trace(1) == trace(1)
    for kind in (0, 1):
        assert len({*trace(1)[kind], *trace(2)[kind]}) == 8


def test_derived_seeds():
    numbers = {
        seeds.derived(seed, *words)
        for seed in (0, 1, 11)
        for words in ((1,), ("1", 1), ("a",), ("a", 0))
    }
    assert len(numbers) == 12 and all(0 <= seed < 2**64 for seed in numbers)


def test_generators_and_modes_are_put_back():
    state, mode = torch.random.get_rng_state(), torch.are_deterministic_algorithms_enabled()
    with seeds.kept(CPU), numerics.deterministic(True):
        torch.rand(3)
        assert torch.are_deterministic_algorithms_enabled()
    assert (
        torch.equal(state, torch.random.get_rng_state())
        and torch.are_deterministic_algorithms_enabled() == mode
    )


def test_looking_draws_nothing():
    weight, loss = one_weight()

    def noisy(batch):
        return loss(batch) * torch.rand(1).squeeze()

    plain = run(Phase("p", weight, noisy, 3, 0.1))
    weight, loss = one_weight()
    looked = run(Phase("p", weight, noisy, 3, 0.1), each_epoch=lambda *_: torch.rand(5))
    assert [line["loss"] for line in plain] == [line["loss"] for line in looked]


# ---- precision and compilation


def test_networks_compute_in_bfloat16_and_losses_in_float32():
    net = nn.Linear(3, 2)
    kinds = []

    def loss(z, labels):
        kinds.append((z.dtype, (z @ z.T).dtype))
        return z.square().mean()

    def of_batch(batch):
        kinds.append(net(batch.images).dtype)
        return numerics.in_full(loss, net(batch.images), batch.labels)

    run(Phase("p", net, of_batch, 1, 0.1), precision="bfloat16")
    assert kinds == [torch.bfloat16, (torch.float32, torch.float32)]
    assert net.weight.dtype == torch.float32


def test_compiled_training_is_compiled_and_leaves_the_module_as_it_was(monkeypatch):
    used = []

    def backend(graph, inputs):
        used.append(graph)
        return graph.forward

    compile_ = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile_(self, backend=backend))
    results = []
    for compiler in ("none", "inductor"):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
        run(
            Phase("p", net, lambda batch, net=net: net(batch.images).square().mean(), 3, 0.1),
            compiler=compiler,
        )
        results.append([p.detach().clone() for p in net.parameters()])
        assert net._compiled_call_impl is None
    assert used and all(torch.equal(a, b) for a, b in zip(*results, strict=True))


# ---- what runs share


def fit(digits, bits, seed=0, shared=None, **overrides):
    settings = {"epochs": 1, "pretrain_epochs": 2, "batch_size": 128} | overrides
    return methods.create("mu_liu", bits, **settings).fit(digits.train, seed=seed, shared=shared)


def test_a_shared_pre_training_is_done_once_and_changes_nothing(digits, monkeypatch):
    shared, steps = methods.Shared(), []
    one_step = loop.Loop.one_step
    monkeypatch.setattr(
        loop.Loop,
        "one_step",
        lambda self, *a: (steps.append(self.phases_done), one_step(self, *a))[1],
    )
    fitted = {(bits, seed): fit(digits, bits, seed, shared) for seed in (0, 1) for bits in (8, 70)}
    per_epoch = 1200 // 128
    assert steps.count(0) == 2 * 2 * per_epoch and steps.count(1) == 4 * per_epoch
    for (bits, seed), method in fitted.items():
        alone = fit(digits, bits, seed)
        assert alone.outputs(digits.query).tobytes() == method.outputs(digits.query).tobytes()
        assert [line["loss"] for line in alone.history] == [line["loss"] for line in method.history]
    assert [line.get("shared", False) for line in fitted[70, 0].history] == [True, True, False]
    assert [key.seed for key, _ in shared._phases.values()] == [1]  # the last seed's only


def test_a_shared_phase_takes_the_place_of_one_half_done(digits, tmp_path, monkeypatch):
    """Interrupted in its pre-training, a run is taken up when another one has done that."""
    stopped = 3
    with monkeypatch.context() as patch:
        one_step = loop.Loop.one_step

        def one_step_or_stop(self, phase, batch):
            one_step(self, phase, batch)
            if self.steps_of_phase == stopped:
                raise KeyError

        patch.setattr(loop.Loop, "one_step", one_step_or_stop)
        with pytest.raises(KeyError):
            settings = {"epochs": 1, "pretrain_epochs": 2, "batch_size": 128}
            methods.create("mu_liu", 8, **settings).fit(digits.train, checkpoints=tmp_path, every=0)
    shared = methods.Shared()
    fit(digits, 16, shared=shared)
    fitted = methods.create("mu_liu", 8, **settings).fit(
        digits.train, checkpoints=tmp_path, every=0, shared=shared
    )
    assert [line.get("shared", False) for line in fitted.history] == [True, True, False]
    assert fitted.outputs(digits.query).tobytes() == fit(digits, 8).outputs(digits.query).tobytes()


def test_other_settings_share_nothing(digits):
    shared = methods.Shared()
    fit(digits, 8, shared=shared)
    for change in ({"pretrain_lr": 0.01}, {"seed": 5}):
        seed = change.pop("seed", 0)
        assert not any(
            line.get("shared") for line in fit(digits, 8, seed, shared, **change).history
        )


def test_features_of_a_frozen_body_are_computed_once_and_change_nothing(digits, monkeypatch):
    shared, passes = methods.Shared(), []
    original = Batches.map
    monkeypatch.setattr(
        Batches, "map", lambda self, f, text: (passes.append(text), original(self, f, text))[1]
    )
    fitted = [fit(digits, bits, 0, shared, frozen=True) for bits in (8, 16)]
    shared_codes = [method.encode(digits.query, shared) for method in fitted]
    assert passes.count("features") == 2  # of train and of query, once each
    for bits, one in zip((8, 16), shared_codes, strict=True):
        assert fit(digits, bits, frozen=True).encode(digits.query).tobytes() == one.tobytes()
    fit(digits, 8, 1, shared, frozen=True)  # another random body
    assert passes.count("features") == 2 + 4 + 1


class Levels(methods.create("mu_liu", 1).__class__):
    """A head that takes two levels of the backbone."""

    taps = ("conv2", "fc")

    def head(self, backbone):
        return TwoLevels(backbone, self.bits)


class TwoLevels(nn.Module):
    def __init__(self, backbone, bits):
        super().__init__()
        self.out = nn.Linear(sum(backbone.levels[name].channels for name in Levels.taps), bits)

    def forward(self, maps):
        return self.out(torch.cat([maps[0].mean((2, 3)), maps[1]], 1))


@pytest.mark.parametrize("frozen", [False, True])
def test_heads_on_several_levels(digits, frozen):
    method = Levels(12, epochs=3, pretrain_epochs=1, frozen=frozen).fit(digits.train)
    assert method.network.head.out.in_features == 132 and method.outputs(digits.query).shape == (
        300,
        12,
    )
    assert method.history[-1]["loss"] < method.history[-3]["loss"]
