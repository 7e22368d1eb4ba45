"""The class-wise and centre baselines against plain loops over their formulas, their gradients,
their targets.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import dot, outputs, sign
from torch import nn

from hashlab import data, methods
from hashlab.errors import InputError
from hashlab.losses import classes, clouds, codebooks, pairs
from hashlab.methods import (
    classifier_onehot,
    classifier_sign,
    csq,
    dcwh,
    dpn,
    greedyhash,
    orthohash,
)

CLASSES = torch.tensor([0, 0, 1, 3, 2, 0])
SEVERAL = torch.tensor(
    [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]],
    dtype=torch.uint8,
)
LABELS = pytest.mark.parametrize("labels", [CLASSES, SEVERAL], ids=["classes", "several"])
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def coins(count, bits, seed=0):
    return torch.where(outputs(count, bits, seed + 100) >= 0, 1.0, -1.0).double()


def members(labels):
    """The classes of every image."""
    return [
        [y] if isinstance(y, int) else [c for c, has_it in enumerate(y) if has_it]
        for y in labels.tolist()
    ]


def cross_entropy(logits, labels):
    """Of a soft-max for one class, of a sigmoid for each class for several;
    a mean over images (and classes).
    """
    if labels.ndim == 1:
        return np.mean(
            [
                math.log(sum(map(math.exp, row))) - row[y]
                for row, y in zip(logits, labels.tolist(), strict=True)
            ]
        )
    ps = [[1 / (1 + math.exp(-x)) for x in row] for row in logits]
    pairs_of = [zip(row, ys, strict=True) for row, ys in zip(ps, labels.tolist(), strict=True)]
    return np.mean([-math.log(p if y else 1 - p) for pair in pairs_of for p, y in pair])


# ---- the formulas


W, BIAS, CODES, T = outputs(4, 5, 50), outputs(1, 4, 51)[0], coins(4, 5, 52), coins(4, 5, 53)


def greedyhash_by_loops(z, labels):
    logits = [[dot([sign(x) for x in row], w) for w in W.tolist()] for row in z]
    return cross_entropy(logits, labels) + 0.3 * np.mean(
        [abs(x - sign(x)) ** 3 for row in z for x in row]
    )


def classifier_sign_by_loops(z, labels):
    h = [[math.tanh(x) for x in row] for row in z]
    return cross_entropy(
        [[dot(row, w) + b for w, b in zip(W.tolist(), BIAS.tolist(), strict=True)] for row in h],
        labels,
    )


def orthohash_by_loops(z, labels, s=8.0, m=0.2):
    total = 0.0
    for row, own in zip(z, members(labels), strict=True):
        cosines = [dot(row, o) / math.sqrt(dot(row, row) * dot(o, o)) for o in CODES.tolist()]
        logits = [s * (c - m * (k in own)) for k, c in enumerate(cosines)]
        normaliser = math.log(sum(map(math.exp, logits)))
        total += sum((normaliser - logits[k]) / len(own) for k in own)
    return total / len(z)


def dpn_by_loops(z, labels, m=1.5):
    losses = [
        sum(
            np.mean([max(m - v * t, 0) for v, t in zip(row, T[k].tolist(), strict=True)])
            for k in own
        )
        for row, own in zip(z, members(labels), strict=True)
    ]
    return np.mean(losses)


def indicators(labels):
    return classes.indicators(labels, 4).double()


BY_LOOPS = {
    "greedyhash": (lambda z, y: greedyhash.greedyhash_loss(z, y, W, 0.3), greedyhash_by_loops),
    "classifier_sign": (
        lambda z, y: classifier_sign.classifier_sign_loss(z, y, W, BIAS),
        classifier_sign_by_loops,
    ),
    "orthohash": (
        lambda z, y: orthohash.orthohash_loss(z, indicators(y), CODES),
        orthohash_by_loops,
    ),
    "dpn": (lambda z, y: dpn.dpn_loss(z, indicators(y), T, 1.5), dpn_by_loops),
}


@pytest.mark.parametrize("name", BY_LOOPS)
@LABELS
@SEEDS
def test_with_plain_loops(name, labels, seed):
    ours, by_loops = BY_LOOPS[name]
    z = outputs(6, 5, seed)
    assert float(ours(z, labels)) == pytest.approx(by_loops(z.tolist(), labels), rel=1e-6)


@pytest.mark.parametrize(
    "name", ["classifier_sign", "orthohash", "dpn"]
)  # GreedyHash's gradient is not its loss's
@LABELS
def test_gradients(name, labels):
    ours, _ = BY_LOOPS[name]
    assert torch.autograd.gradcheck(lambda z: ours(z, labels), outputs(6, 5, 3).requires_grad_())


@pytest.mark.parametrize("name", BY_LOOPS)
@LABELS
def test_the_order_of_images_does_not_matter(name, labels):
    ours, _ = BY_LOOPS[name]
    z, order = outputs(6, 5), torch.randperm(6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(z, labels), ours(z[order], labels[order]))


LONG = {
    "greedyhash": lambda: greedyhash.GreedyHashLoss(4, 128),
    "classifier_sign": lambda: classifier_sign.ClassifierSignLoss(4, 128),
    "orthohash": lambda: orthohash.OrthoHashLoss(4, 128),
    "dpn": lambda: dpn.DPNLoss(4, 128),
    "csq": lambda: csq.CSQLoss(4, 128),
}


@pytest.mark.parametrize("name", LONG)
@LABELS
@pytest.mark.parametrize("spread", [0.0, 1e-3, 50.0])
def test_long_codes_stay_finite(name, labels, spread):
    """At 128 bits, for the coarse and extreme values that bfloat16 may give (losses are computed
    in float32).
    """
    z = (outputs(6, 128) * spread).bfloat16().float().requires_grad_()
    loss = LONG[name]()(z, labels)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


# ---- GreedyHash: the gradient passes the sign


def test_greedy_sign_passes_gradients_unchanged():
    z, upstream = outputs(3, 4).requires_grad_(), outputs(3, 4, 1)
    code = greedyhash.greedy_sign(z)
    code.backward(upstream)
    assert code.tolist() == [[sign(x) for x in row] for row in z.tolist()]
    assert torch.equal(z.grad, upstream)


@LABELS
def test_greedyhash_gradient_is_that_of_the_classifier_at_the_code(labels):
    """Of the cross-entropy at sgn z as if the code were free, plus that of the penalty."""
    z = outputs(6, 5).requires_grad_()
    greedyhash.greedyhash_loss(z, labels, W, 0.3).backward()
    b = z.detach().sign().requires_grad_()
    classes.classification_loss(b @ W.T, labels).backward()
    away = z.detach() - b.detach()
    torch.testing.assert_close(z.grad, b.grad + 0.3 * 3 * away.sign() * away.square() / z.numel())


# ---- centres


@pytest.mark.parametrize("bits", [2, 4, 16, 64])
def test_hadamard_rows_differ_in_half_of_the_bits(bits):
    h = codebooks.hadamard(bits)
    assert torch.equal(h @ h.T, bits * torch.eye(bits))
    scipy = pytest.importorskip("scipy.linalg")
    assert np.array_equal(h.numpy(), scipy.hadamard(bits))


@pytest.mark.parametrize("count, bits", [(10, 16), (16, 16), (10, 64), (21, 32)])
def test_centres_from_hadamard(count, bits):
    c = codebooks.centres(count, bits)
    d = (bits - c @ c.T) / 2
    assert c.shape == (count, bits) and (d[pairs.off_diagonal(count, c.device)] == bits / 2).all()


def test_centres_of_twice_as_many_classes_are_at_least_half_apart():
    c = codebooks.centres(32, 16)
    d = ((16 - c @ c.T) / 2)[pairs.off_diagonal(32, c.device)]
    assert set(d.unique().tolist()) == {8.0, 16.0}


@pytest.mark.parametrize(
    "count, bits", [(10, 12), (10, 24), (10, 48), (100, 24), (21, 12), (10, 5), (20, 6), (40, 16)]
)
def test_other_centres_are_balanced_and_far_apart(count, bits):
    torch.manual_seed(0)
    c = codebooks.centres(count, bits)
    assert set(c.unique().tolist()) == {-1.0, 1.0} and ((c > 0).sum(1) == bits // 2).all()
    closest = ((bits - c @ c.T) / 2)[pairs.off_diagonal(count, c.device)].min()
    random = torch.stack([closest_of_random(count, bits, seed) for seed in range(20)])
    assert closest >= max(2, random.float().mean())


def closest_of_random(count, bits, seed):
    drawn = (
        torch.rand(count, bits, generator=torch.Generator().manual_seed(seed)).argsort(1).argsort(1)
        < bits // 2
    )
    c = 2.0 * drawn - 1
    return ((bits - c @ c.T) / 2)[pairs.off_diagonal(count, c.device)].min()


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 9])
def test_all_balanced_codes_are_there_where_so_many_are_wanted(bits):
    most = math.comb(bits, bits // 2)
    for wanted in (most, most + 1):
        codes = codebooks.balanced(bits, wanted)
        assert len(codes) == len(codes.unique(dim=0)) == most
    assert len(codebooks.balanced(bits, most - 1)) == most - 1


@pytest.mark.parametrize("count, candidates", [(3, 1000), (50, 1000), (51, 1020), (100, 2000)])
def test_centres_are_chosen_among_twenty_times_as_many(count, candidates, monkeypatch):
    balanced, wanted = codebooks.balanced, []
    monkeypatch.setattr(
        codebooks, "balanced", lambda bits, n: wanted.append(n) or balanced(bits, n)
    )
    assert len(codebooks.centres(count, 24)) == count and wanted == [candidates]


def test_no_more_centres_than_there_are():
    assert [codebooks.capacity(bits) for bits in (2, 3, 4, 5, 6)] == [4, 3, 8, 10, 20]
    for bits in (2, 3, 4, 5, 6):
        most = codebooks.capacity(bits)
        assert len(codebooks.centres(most, bits).unique(dim=0)) == most
        with pytest.raises(InputError, match=f"{bits} bits are too few for {most + 1} classes"):
            codebooks.centres(most + 1, bits)


@pytest.mark.parametrize("loss, buffer", [(dpn.DPNLoss, "t"), (orthohash.OrthoHashLoss, "o")])
def test_codes_of_coins_or_far_apart(loss, buffer):
    for how, make in (("coins", classes.random_signs), ("apart", codebooks.centres)):
        torch.manual_seed(1)
        codebook = getattr(loss(4, 24, codes=how), buffer)
        torch.manual_seed(1)
        assert torch.equal(codebook, make(4, 24))


def csq_by_loops(z, centre, weight=0.3):
    central, pull = [], []
    for x, c in zip(z.flatten().tolist(), centre.flatten().tolist(), strict=True):
        h = (math.tanh(x) + 1) / 2
        central.append(-math.log(h) if c > 0 else -math.log(1 - h))
        pull.append(math.log(math.cosh(abs(2 * h - 1) - 1)))
    return np.mean(central) + weight * np.mean(pull)


@SEEDS
def test_csq_with_plain_loops(seed):
    z, centre = outputs(6, 5, seed), coins(6, 5, seed)
    assert float(csq.csq_loss(z, centre, 0.3)) == pytest.approx(csq_by_loops(z, centre))
    assert torch.autograd.gradcheck(lambda z: csq.csq_loss(z, centre, 0.3), z.requires_grad_())


def test_csq_several_classes_have_the_vote_of_their_centres():
    loss = csq.CSQLoss(4, 8)
    for labels in (CLASSES, SEVERAL):
        for own, centre in zip(members(labels), loss.of(labels).tolist(), strict=True):
            for k, bit in enumerate(centre):
                votes = sum(loss.centres[c, k].item() for c in own)
                assert bit == (sign(votes) if votes else loss.ties[0, k].item())
    z = outputs(6, 8).float()
    torch.testing.assert_close(loss(z, SEVERAL), csq.csq_loss(z, loss.of(SEVERAL)))


@pytest.mark.parametrize(
    "count, bits, possible",
    [(10, 4, False), (8, 4, True), (10, 5, True), (11, 5, False), (3, 1, False)],
)
def test_csq_needs_a_centre_per_class(count, bits, possible):
    class Train:
        images, labels = np.zeros((2 * count, 8, 8), np.uint8), np.arange(2 * count) % count

    method = methods.create("csq", bits, batch_size=2)
    if possible:
        method.check(Train)
    else:
        with pytest.raises(
            InputError, match=f"csq needs a centre per class: {bits} bits are too few for {count}"
        ):
            method.check(Train)


@given(st.integers(2, 40), st.integers(0, 100))
def test_targets_of_orthohash_and_dpn_are_fair_coins(bits, seed):
    torch.manual_seed(seed)
    o = orthohash.OrthoHashLoss(10, bits).o
    assert o.shape == (10, bits) and set(o.unique().tolist()) <= {-1.0, 1.0}
    assert abs(classes.random_signs(200, 64).mean()) < 0.05


def test_dpn_is_zero_past_the_margin_only():
    y = torch.eye(4)
    t = coins(4, 6).float()
    assert float(dpn.dpn_loss(1.01 * t, y, t)) == 0
    assert float(dpn.dpn_loss(0.5 * t, y, t)) == pytest.approx(0.5)
    assert float(dpn.dpn_loss(-t, y, t)) == pytest.approx(2)


def test_orthohash_is_least_along_the_own_code():
    """The direction alone counts;
    at the code, the margin is the only difference to a soft-max without one.
    """
    o, y = codebooks.hadamard(8), torch.eye(8)
    z = o + 0.3 * outputs(8, 8).float()
    torch.testing.assert_close(
        orthohash.orthohash_loss(z, y, o), orthohash.orthohash_loss(7 * z, y, o)
    )
    assert orthohash.orthohash_loss(o, y, o) < orthohash.orthohash_loss(z, y, o)
    expected = math.log(1 + 7 * math.exp(-8 * (1 - 0.2)))
    assert float(orthohash.orthohash_loss(o, y, o)) == pytest.approx(expected, rel=1e-5)


def test_orthohash_head_balances_the_bits():
    head = methods.create("orthohash", 12).head(type("Backbone", (), {"features": 30}))
    z = head.train()(5 + torch.randn(400, 30))
    torch.testing.assert_close(z.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    assert head[0].bias is None


# ---- shared helpers


@given(st.integers(2, 8), st.integers(0, 50))
def test_sums_over_similar_images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels, x = torch.randint(0, 3, (count,), generator=generator), outputs(count, 4, seed)
    several = torch.randint(0, 2, (count, 3), generator=generator)
    for y in (labels, several):
        rows = y[: count // 2 + 1]
        sums = classes.similar_sums(rows, y, x)
        torch.testing.assert_close(sums, pairs.similar(rows, y).double() @ x)


@LABELS
def test_indicators_and_count(labels):
    assert classes.count(np.zeros((2, 3), int)) == 3 and classes.count(np.array([0, 6])) == 7
    y = classes.indicators(labels, classes.count(labels.numpy()))
    assert y.shape == (6, 4) and [[c for c in range(4) if row[c]] for row in y.tolist()] == members(
        labels
    )


# ---- controls


def test_onehot_is_a_classifier_whose_answer_is_the_code():
    head = classifier_onehot.OneHot(6, 5)
    x = outputs(8, 6).float()
    z = head.train()(x).detach()
    labels = torch.arange(8) % 5
    expected = np.mean(
        [
            math.log(sum(map(math.exp, row))) - row[y]
            for row, y in zip(z.tolist(), labels.tolist(), strict=True)
        ]
    )
    assert float(classifier_onehot.classifier_onehot_loss(z, labels)) == pytest.approx(
        expected, rel=1e-5
    )
    assert torch.autograd.gradcheck(
        lambda z: classifier_onehot.classifier_onehot_loss(z, labels), z.double().requires_grad_()
    )
    code = head.eval()(x)
    assert torch.equal(code.argmax(1), z.argmax(1)) and (code > 0).sum(1).tolist() == [1] * 8
    assert set(code.unique().tolist()) == {-1.0, 1.0}


def test_onehot_distances_are_zero_or_two():
    digits = data.load("digits")
    method = methods.create("classifier_onehot", 12, epochs=3).fit(digits.train)
    z = method.outputs(digits.query)
    assert set(((12 - z @ z.T) / 2).flatten().tolist()) == {0.0, 2.0}
    with pytest.raises(
        InputError, match="classifier_onehot needs a bit per class: 10 at least, got 9"
    ):
        methods.create("classifier_onehot", 9).fit(digits.train)


def test_what_is_trained_along_stands_in_the_module():
    for make in (LONG["greedyhash"], LONG["classifier_sign"]):
        assert any(isinstance(m, nn.Linear) for m in make().modules())
    for make in (LONG["orthohash"], LONG["dpn"], LONG["csq"]):
        assert not list(make().parameters()) and list(make().buffers())


def test_pairs_of_names_and_losses():
    """Every loss is given as a function of tensors and as a module."""
    for name, module in itertools.product(
        ["greedyhash", "orthohash", "dpn", "csq", "classifier_sign"], ["Loss"]
    ):
        kind = methods.kind_of(name)
        names = vars(__import__(f"hashlab.methods.{name}", fromlist=["x"]))
        assert f"{name}_loss" in names and any(key.endswith(module) for key in names), kind


# ---- DCWH: how far apart classes are driven


@pytest.mark.parametrize("s", [0.25, 4.0])
def test_dcwh_with_another_variance_is_itself_on_another_scale(s):
    """Without its penalties the loss depends on sqrt(s) u and sqrt(s) c only."""
    u, c = outputs(6, 5), outputs(4, 5, 1)
    loss_of_u = dcwh.dcwh_loss(u, CLASSES, c, 0.0, 0.0, s=s)
    torch.testing.assert_close(loss_of_u, dcwh.dcwh_loss(u * s**0.5, CLASSES, c * s**0.5, 0.0, 0.0))
    probability = torch.softmax(-s / 2 * torch.cdist(u, c).square(), 1)[torch.arange(6), CLASSES]
    torch.testing.assert_close(loss_of_u, -probability.log().mean())
    module = dcwh.DCWHLoss(clouds.Centres([], [4], 5), s=s)
    assert torch.equal(
        module(u.float(), CLASSES), dcwh.dcwh_loss(u.float(), CLASSES, module.c.level0, s=s)
    )
