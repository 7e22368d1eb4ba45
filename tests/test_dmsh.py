"""DMSH's loss against plain loops, its fusion and its pyramid against what they stand for;
the method on digits.
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import outputs, score
from torch.nn import functional as F

from hashlab import data, methods
from hashlab.errors import InputError
from hashlab.methods import dmsh
from hashlab.methods.dmsh import DMSHLoss, Fusion, Pyramid, dmsh_loss
from hashlab.networks import backbones, features

SMALL = {"backbone": "quick", "width": 64, "fused": 64, "batch_size": 64, "shift": 1}


# ---- the loss


def by_loops(u, labels, lam):
    kinds, quantisation = {True: [], False: []}, []
    for i, j in itertools.product(range(len(u)), repeat=2):
        mine, other = labels[i], labels[j]
        same = (
            any(a and b for a, b in zip(mine, other, strict=True))
            if isinstance(mine, list)
            else mine == other
        )
        theta = sum(a * b for a, b in zip(u[i], u[j], strict=True)) / 2
        if i != j:
            kinds[same].append(math.log(1 + math.exp(theta)) - (theta if same else 0))
    for row in u:
        quantisation += [(x - (1 if x >= 0 else -1)) ** 2 for x in row]
    halves = [sum(losses) / len(losses) / 2 for losses in kinds.values() if losses]
    return sum(halves) + lam * sum(quantisation) / len(quantisation)


@pytest.mark.parametrize("lam", [0.0, 0.1, 3.0])
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 2, 1], [0, 1, 2, 3, 4], [[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0]]],
)
def test_loss_with_plain_loops(labels, lam):
    u = outputs(5, 7)
    u[0, 0] = 0.0  # the code of zero is +1
    expected = by_loops(u.tolist(), labels, lam)
    assert dmsh_loss(u, torch.tensor(labels), lam).item() == pytest.approx(expected)
    assert DMSHLoss(lam)(u, torch.tensor(labels)).item() == pytest.approx(expected)


@pytest.mark.parametrize("labels", [[0, 0, 1, 2, 1], [[1, 0], [1, 1], [0, 1], [1, 0], [0, 0]]])
def test_gradients(labels):
    u = outputs(5, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: dmsh_loss(u, torch.tensor(labels), 0.3), u)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(dtype):
    u = (outputs(16, 128) * 20).to(dtype).requires_grad_()
    loss = dmsh_loss(u, torch.arange(16) % 4)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(u.grad).all() and u.grad.abs().max() > 0


@given(st.integers(2, 12), st.integers(1, 40), st.integers(0, 1000))
def test_neither_the_order_of_images_nor_that_of_bits_matters(count, bits, seed):
    u, labels = outputs(count, bits, seed), torch.arange(count) % 3
    generator = torch.Generator().manual_seed(seed)
    rows, columns = (
        torch.randperm(count, generator=generator),
        torch.randperm(bits, generator=generator),
    )
    torch.testing.assert_close(dmsh_loss(u[rows][:, columns], labels[rows]), dmsh_loss(u, labels))


def test_the_loss_falls_where_codes_improve():
    labels, good = torch.tensor([0, 0, 1, 1]), torch.tensor([[1.0, 1], [1, 1], [-1, -1], [-1, -1]])
    assert dmsh_loss(good, labels) < dmsh_loss(good[[0, 2, 1, 3]], labels)
    assert dmsh_loss(good, labels, 5.0) < dmsh_loss(
        0.9 * good, labels, 5.0
    )  # quantisation alone tells them apart
    assert dmsh_loss(2 * good, labels, 0.0) < dmsh_loss(
        good, labels, 0.0
    )  # without it, ever larger outputs are better


# ---- fusion


def test_a_mean_may_be_taken_before_a_1x1_convolution():
    maps, reduce = torch.randn(2, 5, 4, 3), torch.nn.Conv2d(5, 8, 1)
    linear = F.linear(features.pooled([maps]), reduce.weight[:, :, 0, 0], reduce.bias)
    torch.testing.assert_close(reduce(maps).mean((2, 3)), linear)


@pytest.mark.parametrize("fused", [0, 6])
def test_fusion_by_hand(fused):
    """Three means of the first scale and four of the second."""
    head = Fusion([3, 4], width=5, fused=fused, bits=2).eval()
    head.standard.running_mean.copy_(torch.tensor([1.0] * 3 + [-2.0] * 4))
    head.standard.running_var.copy_(torch.tensor([4.0] * 3 + [9.0] * 4))
    head.standard.eps = 0.0
    x = torch.randn(6, 7)
    first = F.relu(head.reduce[0]((x[:, :3] - 1) / 2))
    second = F.relu(head.reduce[1]((x[:, 3:] + 2) / 3))
    joint = torch.cat([first, second], 1)
    joint = F.relu(head.fuse[0](joint)) if fused else joint
    torch.testing.assert_close(head(x), head.hash(joint))
    assert head(x).shape == (6, 2)


def test_fusion_without_standardisation_takes_numbers_as_they_are():
    head = Fusion([3], width=4, fused=0, bits=2, standardise=False)
    x = torch.randn(5, 3)
    torch.testing.assert_close(head(x), head.hash(F.relu(head.reduce[0](x))))


def test_the_pyramid_by_hand():
    torch.manual_seed(0)
    head, fine, coarse = (
        Pyramid([3, 5], width=4, bits=6),
        torch.randn(2, 3, 4, 4),
        torch.randn(2, 5, 2, 2),
    )
    top = head.laterals[1](coarse)
    floor = head.laterals[0](fine)
    for i, j in itertools.product(
        range(4), repeat=2
    ):  # each place of the coarse map covers 2x2 of the fine one
        floor[:, :, i, j] = floor[:, :, i, j] + top[:, :, i // 2, j // 2]
    ends = [
        F.relu(smooth(x)).mean((2, 3)) for smooth, x in zip(head.smooth, (floor, top), strict=True)
    ]
    codes = [head.heads[0](ends[0]), head.heads[1](ends[1])]
    expected = (head.fuse(torch.cat(codes, 1)), *codes)
    for output, wanted in zip(head((fine, coarse)), expected, strict=True):
        torch.testing.assert_close(output, wanted)
    assert torch.equal(head.eval()((fine, coarse)), head.train()((fine, coarse))[0])


def test_the_fine_level_of_the_pyramid_sees_the_coarse_one_and_not_the_reverse():
    head = Pyramid([3, 5], width=4, bits=6)
    fine, coarse = (
        torch.randn(1, 3, 4, 4, requires_grad=True),
        torch.randn(1, 5, 2, 2, requires_grad=True),
    )
    low, high = head.top_down((fine, coarse))
    assert low.shape == (1, 4, 4, 4) and high.shape == (1, 4, 2, 2)
    assert torch.autograd.grad(low.sum(), coarse, retain_graph=True)[0].abs().max() > 0
    assert torch.autograd.grad(high.sum(), fine, allow_unused=True)[0] is None


def test_all_codes_of_the_pyramid_are_trained():
    method, z = (
        methods.create("dmsh", 4, fusion="pyramid"),
        tuple(outputs(6, 4, seed) for seed in range(3)),
    )
    labels = torch.arange(6) % 2
    expected = sum(dmsh_loss(torch.tanh(u), labels).item() for u in z) / 3
    assert method.loss(z, labels).item() == pytest.approx(expected)
    plain = methods.create("dmsh", 4, activation="none")
    assert plain.loss(z[0], labels).item() == pytest.approx(dmsh_loss(z[0], labels).item())


def test_outputs_do_not_begin_at_zero():
    """A start as small as PyTorch's makes the likelihood's gradient,
    which grows with the outputs, nearly vanish.
    """
    torch.manual_seed(0)
    x, maps = (
        torch.randn(400, 96),
        (torch.randn(50, 32, 8, 8).relu(), torch.randn(50, 64, 4, 4).relu()),
    )
    assert 0.5 < Fusion([32, 64], 64, 64, 24)(x).std() < 4
    assert 0.1 < Pyramid([32, 64], 64, 24).eval()(maps).std() < 4


# ---- scales


@pytest.mark.parametrize(
    "backbone, shape, expected",
    [
        ("tiny", (8, 8, 1), ("conv1", "conv2")),
        ("quick", (32, 32, 3), ("conv1", "conv2", "conv3")),
        ("resnet9", (32, 32, 3), ("conv2", "conv3", "conv4")),
        ("vgg19", (64, 64, 3), ("conv3", "conv4", "conv5")),
        ("mobilenet_v2", (64, 64, 3), ("conv3", "conv4", "conv5")),
    ],
)
def test_auto_takes_the_last_three_convolutional_levels(backbone, shape, expected):
    assert dmsh.choose(backbones.levels(backbone, shape), "auto", backbone, True) == expected


def test_scales_come_in_the_backbones_order_and_are_fused_alone(digits):
    """One channel of each level by hand:
    what is fused are the means of the levels named, and of no other.
    """
    method = methods.create("dmsh", 8, scales="conv3, conv1", epochs=0, **SMALL).fit(digits.train)
    assert method.config.scales == "conv3+conv1" and method.taps == ("conv1", "conv3")
    x = method.view.plain(torch.from_numpy(digits.query.images[:5, ..., None]))
    method.network.eval()
    with torch.no_grad():
        maps = method.network.backbone.forward_levels(x, ("conv1", "conv3"))
        expected = method.network.head(torch.cat([m.mean((2, 3)) for m in maps], 1)).numpy()
    np.testing.assert_allclose(
        method.outputs(digits.query.images[:5]), expected, rtol=1e-4, atol=1e-6
    )


def test_a_vector_can_be_a_scale_too(digits):
    method = methods.create("dmsh", 8, scales="conv2+fc", epochs=1, **SMALL).fit(digits.train)
    assert method.taps == ("conv2", "fc") and method.network.head.channels == [64, 256]


def test_of_a_frozen_backbone_only_the_means_are_computed_and_once(digits, monkeypatch):
    asked, compute = [], features.compute
    monkeypatch.setattr(features, "compute", lambda *a: asked.append(a[1]) or compute(*a))
    shared, settings = (
        methods.Shared(),
        SMALL | {"scales": "conv3+conv1", "frozen": True, "epochs": 1},
    )
    for bits in (8, 12):
        methods.create("dmsh", bits, **settings).fit(digits.train, shared=shared)
    assert asked == [("conv1", "conv3")]


@pytest.mark.parametrize(
    "overrides, words",
    [
        (
            {"scales": "conv4"},
            "backbone quick has no level 'conv4'; it has conv1, conv2, conv3, fc",
        ),
        ({"scales": ""}, "backbone quick has no level ''"),
        ({"scales": "conv1,conv2,conv1"}, r"each level can be named once, got conv1\+conv2\+conv1"),
        (
            {"scales": "conv3,fc", "fusion": "pyramid"},
            "pyramid needs maps, but level fc of quick is a vector",
        ),
        ({"width": 0}, "width must be a whole number of at least 1, got 0"),
        ({"fusion": "sum"}, "fusion must be one of concat, pyramid, got 'sum'"),
        ({"backbone": "slow"}, "unknown backbone 'slow'"),
    ],
)
def test_bad_settings_are_refused_before_training(overrides, words, digits, monkeypatch):
    monkeypatch.setattr(dmsh.DMSH, "_build", lambda *a: pytest.fail("work has started"))
    with pytest.raises(InputError, match=words):
        methods.create("dmsh", 8, **(SMALL | overrides)).fit(digits.train)


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.zeros((100, 3), int), "two kinds at least"),
        (np.full((100, 3), 2), "labels must be .* of 0 and 1, .* got 2"),
        (np.arange(100) / 2, "whole numbers or text, got 0.5"),
    ],
)
def test_bad_labels(labels, words):
    train = SimpleNamespace(images=np.zeros((100, 8, 8), np.uint8), labels=labels)
    with pytest.raises(InputError, match=words):
        methods.create("dmsh", 8).fit(train)


# ---- learning


@pytest.mark.parametrize("fusion", ["concat", "pyramid"])
def test_learns_digits_and_not_without_the_loss(fusion, digits, monkeypatch):
    settings = SMALL | {"epochs": 6, "fusion": fusion}
    learned = score(methods.create("dmsh", 16, **settings).fit(digits.train), digits)
    monkeypatch.setattr("hashlab.methods.dmsh.dmsh_loss", lambda u, labels, lam: 0 * u.sum())
    nothing = score(
        methods.create("dmsh", 16, **settings | {"epochs": 2}).fit(digits.train), digits
    )
    assert learned > 0.85 > 0.5 > nothing


def test_learns_scenes_with_several_labels():
    scenes = data.load("digit_scenes")
    settings = {"backbone": "quick", "batch_size": 64, "shift": 0}
    untrained, trained = (
        score(methods.create("dmsh", 16, epochs=epochs, **settings).fit(scenes.train), scenes)
        for epochs in (0, 8)
    )
    assert trained > untrained + 0.15


@pytest.mark.parametrize("fusion", ["concat", "pyramid"])
def test_saved_and_loaded_it_gives_the_same_codes(fusion, digits, tmp_path):
    method = methods.create("dmsh", 12, scales="conv1+conv3", fusion=fusion, epochs=1, **SMALL).fit(
        digits.train
    )
    method.save(tmp_path / "model")
    loaded = methods.load(tmp_path / "model", "cpu")
    assert loaded.taps == ("conv1", "conv3")
    assert (
        loaded.encode(digits.query.images).tobytes() == method.encode(digits.query.images).tobytes()
    )


def test_the_levels_of_a_backbone_are_found_without_its_weights():
    state = torch.random.get_rng_state()
    for name, shape in (("quick", (32, 32, 3)), ("resnet50", (64, 64, 3))):
        assert backbones.levels(name, shape) == backbones.create(name, shape).levels
        torch.random.set_rng_state(state)
        backbones._levels.__wrapped__(name, shape, 0)
        assert torch.equal(state, torch.random.get_rng_state())
