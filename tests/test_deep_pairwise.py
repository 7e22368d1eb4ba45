"""The pairwise and triplet baselines against plain loops over their formulas, their gradients,
what they do not see.
"""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import dot, outputs, sign

from hashlab.losses import classes, learned_codes, pairs, quantisation
from hashlab.methods import adsh, cnnh, dch, dhn, dsdh, dsh, dtsh, hashnet

CLASSES = torch.tensor([0, 0, 1, 1, 2, 0])
SEVERAL = torch.tensor(
    [[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 0]], dtype=torch.uint8
)
LABELS = pytest.mark.parametrize("labels", [CLASSES, SEVERAL], ids=["classes", "several"])
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def alike(a, b):
    """Whether two images are similar: of one class, or with a label in common."""
    return a == b if isinstance(a, int) else any(x and y for x, y in zip(a, b, strict=True))


def likelihood(theta, s):
    p = 1 / (1 + math.exp(-theta))
    return -math.log(p if s else 1 - p)


def ordered_pairs(labels):
    """Positions of two different images, and whether these are similar."""
    y = labels.tolist()
    return [(i, j, alike(y[i], y[j])) for i, j in itertools.permutations(range(len(y)), 2)]


# ---- the formulas


def mean_of(by_kind, balance):
    """Of losses of similar and of dissimilar pairs:
    of all, or half of the one mean and half of the other.
    """
    if balance == "halves":
        return (np.mean(by_kind[True]) + np.mean(by_kind[False])) / 2
    return np.mean(by_kind[True] + by_kind[False])


def dsh_by_loops(b, labels, m=6.0, alpha=0.3, balance="none"):
    by_kind, pulls = {True: [], False: []}, []
    for i, j, s in ordered_pairs(labels):
        d = sum((x - y) ** 2 for x, y in zip(b[i], b[j], strict=True))
        by_kind[s].append((d if s else max(m - d, 0)) / 2)
        pulls.append(sum(abs(abs(x) - 1) for x in b[i]) + sum(abs(abs(x) - 1) for x in b[j]))
    return mean_of(by_kind, balance) + alpha * np.mean(pulls)


def dhn_by_loops(z, labels, weight=0.3, scale=0.7, balance="none"):
    by_kind = {True: [], False: []}
    for i, j, s in ordered_pairs(labels):
        by_kind[s].append(likelihood(scale * dot(z[i], z[j]), s))
    pulls = [math.log(math.cosh(abs(x) - 1)) for row in z for x in row]
    return mean_of(by_kind, balance) + weight * np.mean(pulls)


def hashnet_by_loops(h, labels, alpha=0.7):
    pairs_of = ordered_pairs(labels)
    ones = sum(s for *_, s in pairs_of)
    total = 0.0
    for i, j, s in pairs_of:
        c, (a, b) = 1.0, (labels[i].tolist(), labels[j].tolist())
        if s and labels.ndim == 2:
            c = sum(x and y for x, y in zip(a, b, strict=True)) / sum(
                x or y for x, y in zip(a, b, strict=True)
            )
        w = len(pairs_of) / ones if s else len(pairs_of) / (len(pairs_of) - ones)
        total += c * w * likelihood(alpha * dot(h[i], h[j]), s)
    return total / len(pairs_of)


def cauchy_distance(a, b):
    return len(a) / 2 * (1 - dot(a, b) / math.sqrt(dot(a, a) * dot(b, b)))


def dch_by_loops(h, labels, gamma=3.0, weight=0.3):
    pairs_of = ordered_pairs(labels)
    ones = sum(s for *_, s in pairs_of)
    total = 0.0
    for i, j, s in pairs_of:
        d = cauchy_distance(h[i], h[j])
        w = len(pairs_of) / ones if s else len(pairs_of) / (len(pairs_of) - ones)
        total += w * (s * math.log(d / gamma) + math.log(1 + gamma / d))
    pulls = [
        math.log(1 + cauchy_distance([abs(x) for x in row], [1.0] * len(row)) / gamma) for row in h
    ]
    return total / len(pairs_of) + weight * np.mean(pulls)


def dtsh_by_loops(u, labels, alpha=2.0, weight=0.3):
    y, losses = labels.tolist(), []
    for q, p, n in itertools.product(range(len(y)), repeat=3):
        if p != q and alike(y[q], y[p]) and not alike(y[q], y[n]):
            losses.append(likelihood(dot(u[q], u[p]) / 2 - dot(u[q], u[n]) / 2 - alpha, True))
    return np.mean(losses) + weight * np.mean([(x - sign(x)) ** 2 for row in u for x in row])


BY_LOOPS = {
    "dsh": (lambda u, y: dsh.dsh_loss(u, y, 6.0, 0.3), dsh_by_loops),
    "dsh, balanced": (
        lambda u, y: dsh.dsh_loss(u, y, 6.0, 0.3, "halves"),
        lambda u, y: dsh_by_loops(u, y, balance="halves"),
    ),
    "dhn": (lambda u, y: dhn.dhn_loss(u, y, 0.3, 0.7), dhn_by_loops),
    "dhn, balanced": (
        lambda u, y: dhn.dhn_loss(u, y, 0.3, 0.7, "halves"),
        lambda u, y: dhn_by_loops(u, y, balance="halves"),
    ),
    "hashnet": (lambda u, y: hashnet.hashnet_loss(u, y, 0.7), hashnet_by_loops),
    "dch": (lambda u, y: dch.dch_loss(u, y, 3.0, 0.3), dch_by_loops),
    "dtsh": (lambda u, y: dtsh.dtsh_loss(u, y, 2.0, 0.3), dtsh_by_loops),
}
NAMES = pytest.mark.parametrize("name", BY_LOOPS)
DEFAULTS = {
    "dsh": dsh.DSHLoss(128),
    "dsh, balanced": dsh.DSHLoss(128, balance="halves"),
    "dhn": dhn.DHNLoss(),
    "dhn, balanced": dhn.DHNLoss(balance="halves"),
    "hashnet": hashnet.HashNetLoss(128),
    "dch": dch.DCHLoss(),
    "dtsh": dtsh.DTSHLoss(128),
}


@NAMES
@LABELS
@SEEDS
def test_with_plain_loops(name, labels, seed):
    ours, by_loops = BY_LOOPS[name]
    u = outputs(6, 5, seed)
    assert float(ours(u, labels)) == pytest.approx(by_loops(u.tolist(), labels), rel=1e-10)


@NAMES
@LABELS
def test_gradients(name, labels):
    ours, _ = BY_LOOPS[name]
    assert torch.autograd.gradcheck(
        lambda u: ours(u, labels), outputs(6, 5, seed=3).requires_grad_()
    )


@NAMES
@given(st.integers(0, 1000), st.integers(2, 20))
def test_what_the_loss_does_not_see(name, seed, bits):
    """The order of images, of bits, and the sign of a bit in all codes."""
    ours, _ = BY_LOOPS[name]
    u, labels, generator = (
        outputs(7, bits, seed),
        torch.arange(7) % 3,
        torch.Generator().manual_seed(seed),
    )
    images, order = (
        torch.randperm(7, generator=generator),
        torch.randperm(bits, generator=generator),
    )
    flips = torch.randint(0, 2, (bits,), generator=generator) * 2.0 - 1
    moved = (u * flips)[images][:, order]
    torch.testing.assert_close(ours(u, labels), ours(moved, labels[images]))


@NAMES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 50.0])
def test_long_codes_stay_finite(name, dtype, spread):
    u = outputs(16, 128, spread=spread).to(dtype)
    u[1] = u[0]  # equal outputs of two images that are not similar
    u.requires_grad_()
    loss = DEFAULTS[name](u, torch.arange(16) % 4)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(u.grad).all()


@NAMES
@pytest.mark.parametrize(
    "labels", [torch.zeros(4, dtype=torch.long), torch.arange(4)], ids=["one class", "all alone"]
)
def test_batches_with_one_kind_of_pair(name, labels):
    u = outputs(4, 6).float().requires_grad_()
    loss = BY_LOOPS[name][0](u, labels)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(u.grad).all()


# ---- what is special to one of them


def test_dsh_margin_and_weight_are_the_authors():
    """At codes the loss knows Hamming distances: 4 r for r bits;
    their margin of 2 K ends at half of the bits.
    """
    b = torch.ones(2, 12)
    b[1, :5] = -1
    apart = torch.tensor([0, 1])
    assert float(dsh.DSHLoss(12)(b, apart)) == pytest.approx((24 - 20) / 2)
    b[1, :6] = -1
    assert float(dsh.DSHLoss(12)(b, apart)) == 0
    assert float(dsh.DSHLoss(12)(b, torch.tensor([0, 0]))) == pytest.approx(24 / 2)
    assert float(dsh.DSHLoss(12)(2 * torch.ones(2, 12), torch.tensor([0, 0]))) == pytest.approx(
        2 * 0.01 * 12
    )


def test_hashnet_becomes_steeper_in_stages():
    loss, betas = hashnet.HashNetLoss(8, last_beta=7.0, stages=10), []
    for epoch in range(1, 31):
        loss.step(epoch, 30)
        betas.append(float(loss.beta))
    assert (
        betas[0] == 1
        and betas[-1] == pytest.approx(7)
        and betas == sorted(betas)
        and len(set(betas)) == 10
    )
    assert [betas.count(b) for b in sorted(set(betas))] == [3] * 10
    steps = np.diff(np.square(sorted(set(betas))))
    np.testing.assert_allclose(
        steps, 48 / 9, rtol=1e-5
    )  # the square of beta grows evenly, as in the authors' code
    few = hashnet.HashNetLoss(8)
    few.step(1, 1)  # one epoch: there is nowhere to go
    assert float(few.beta) == 1


def test_hashnet_the_steepness_reaches_the_outputs():
    z, labels, loss = outputs(6, 4), CLASSES, hashnet.HashNetLoss(4)
    loss.beta.fill_(3.0)
    torch.testing.assert_close(
        loss(z, labels), hashnet.hashnet_loss(torch.tanh(3 * z), labels, 2.5)
    )


def test_dch_draws_similar_images_into_a_small_ball():
    """The gradient of a similar pair is largest where codes are equal,
    and falls with the distance.
    """
    d = torch.linspace(0.0, 24.0, 7, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.log1p(d / 2).sum(), d)
    assert (slope.diff() < 0).all()
    angles = torch.linspace(0.1, 1.5, 6, dtype=torch.float64)
    losses = [
        dch.dch_loss(
            torch.tensor([[1.0, 0.0], [math.cos(a), math.sin(a)]]), torch.tensor([0, 0]), 2.0, 0.0
        )
        for a in angles.tolist()
    ]
    for a, value in zip(angles.tolist(), losses, strict=True):
        assert float(value) == pytest.approx(math.log(1 + (1 - math.cos(a)) / 2), rel=1e-5)


def test_dtsh_without_a_triplet_is_the_penalty_alone():
    u = outputs(4, 5)
    torch.testing.assert_close(
        dtsh.dtsh_loss(u, torch.arange(4), 2.0, 0.3), 0.3 * quantisation.squared(u)
    )


# ---- CNNH: the factorisation, then the bits


def similarity(labels):
    y = labels.tolist()
    return np.array([[1.0 if alike(a, b) else -1.0 for b in y] for a in y])


def cnnh_objective(h, labels):
    h = np.asarray(h, np.float64)
    return ((h.shape[1] * similarity(labels) - h @ h.T) ** 2).sum()


def factorise_by_loops(h, labels, sweeps):
    """Equations 6 to 8, entry by entry in the order of ours: an image, then its bits."""
    h, s = h.numpy().copy(), similarity(labels)
    n, q = h.shape
    for _ in range(sweeps):
        for i, j in itertools.product(range(n), range(q)):
            residual = h @ h.T - q * s
            first = 4 * residual[i] @ h[:, j]
            second = 4 * (h[:, j] @ h[:, j] + h[i, j] ** 2 + residual[i, i])
            h[i, j] = np.clip(h[i, j] - first / max(second, 4e-6), -1, 1)
    return h


@LABELS
@SEEDS
def test_cnnh_factorisation_with_plain_loops(labels, seed):
    start = outputs(6, 4, seed).tanh()
    h = cnnh.factorise(start, labels, sweeps=2, groups=6)
    np.testing.assert_allclose(h.numpy(), factorise_by_loops(start, labels, 2), atol=1e-9)


@pytest.mark.parametrize("groups", [1, 20, 200])
def test_cnnh_first_stage_lessens_its_objective(groups):
    labels = torch.arange(200) % 10
    h = torch.rand(200, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    values = [cnnh_objective(h, labels)]
    for _ in range(4):
        h = cnnh.factorise(h, labels, sweeps=1, groups=groups)
        values.append(cnnh_objective(h, labels))
    assert h.abs().max() <= 1
    if groups > 1:
        assert values[1] < 0.85 * values[0] and values[-1] < values[1]


def test_cnnh_first_stage_tells_classes_apart():
    labels = torch.arange(60) % 3
    loss = cnnh.CNNHLoss(labels, 12)
    loss.first_stage(5)
    assert set(loss.codes.unique().tolist()) == {-1.0, 1.0}
    d = (12 - loss.codes @ loss.codes.T) / 2
    s = pairs.similar(labels)
    assert d[s].mean() < 1 and d[~s].mean() > 5


def test_cnnh_second_stage_with_plain_loops():
    z, codes = outputs(6, 4), quantisation.signs(outputs(6, 4, 1))
    expected = np.mean(
        [math.log(1 + math.exp(-a * b)) for a, b in zip(z.flatten(), codes.flatten(), strict=True)]
    )
    assert float(cnnh.cnnh_loss(z, codes)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda z: cnnh.cnnh_loss(z, codes), z.requires_grad_())
    loss = cnnh.CNNHLoss(CLASSES, 4)
    loss.codes.copy_(codes)
    rows = torch.tensor([4, 1])
    torch.testing.assert_close(
        loss(z[:2], CLASSES[rows], rows), cnnh.cnnh_loss(z[:2], codes[rows].float())
    )
    extreme = torch.tensor([[300.0, -300.0]], requires_grad=True)
    cnnh.cnnh_loss(extreme, torch.tensor([[-1.0, 1.0]])).backward()
    assert torch.isfinite(extreme.grad).all()


# ---- DSDH: likelihood of pairs, and codes found bit by bit


@LABELS
@SEEDS
@pytest.mark.parametrize("balance", ["none", "halves"])
def test_dsdh_network_step_with_plain_loops(labels, seed, balance):
    u, memory, b = (
        outputs(3, 4, seed),
        outputs(6, 4, seed + 10),
        quantisation.signs(outputs(3, 4, seed + 20)),
    )
    s = pairs.similar(labels[:3], labels)
    by_kind = {True: [], False: []}
    for i, j in itertools.product(range(3), range(6)):
        by_kind[bool(s[i, j])].append(likelihood(float(dot(u[i], memory[j])) / 2, s[i, j]))
    expected = mean_of(by_kind, balance) + 0.3 * float(((u - b) ** 2).mean())
    assert float(dsdh.dsdh_loss(u, memory, s, b, 0.3, balance)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(
        lambda u: dsdh.dsdh_loss(u, memory, s, b, 0.3, balance), u.requires_grad_()
    )


def test_dsdh_gradient_is_that_of_the_whole_objective():
    """With all images in the batch: J over 2 N^2, in which each pair has two ends that move."""
    u, b, eta = outputs(6, 4).requires_grad_(), quantisation.signs(outputs(6, 4, 1)), 5.0
    s = pairs.similar(CLASSES)
    j = pairs.likelihood_loss(u @ u.T / 2, s).sum() + eta * (b - u).square().sum()
    (whole,) = torch.autograd.grad(j, u)
    loss = dsdh.DSDHLoss(CLASSES, 3, 4, eta=eta)
    (ours,) = torch.autograd.grad(dsdh.dsdh_loss(u, u.detach(), s, b, loss.weight), u)
    torch.testing.assert_close(ours, whole / (2 * 36))


@given(st.integers(0, 200), st.floats(0.01, 60.0))
def test_dsdh_discrete_step_is_the_best_for_every_bit(seed, eta):
    """Coordinate descent never raises the objective, and ends where no single bit can lower it."""
    u, y = outputs(8, 5, seed), classes.indicators(torch.arange(8) % 3, 3).double()
    b = quantisation.signs(u)

    def objective(b, w):
        return (y - b @ w).square().sum().item() + eta * (b - u).square().sum().item()

    w = dsdh.classifier(b, y, 0.1)
    values = [objective(b, w)]
    for _ in range(4):
        b = dsdh.discrete_step(b, w, y, u, eta, cycles=1)
        values.append(objective(b, w))
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(values))
    best = dsdh.discrete_step(b, w, y, u, eta, cycles=20)
    for i, k in itertools.product(range(8), range(5)):
        other = best.clone()
        other[i, k] *= -1
        assert objective(other, w) >= objective(best, w) - 1e-9


def test_dsdh_classifier_is_the_ridge_regression():
    b, y = quantisation.signs(outputs(30, 5)), classes.indicators(torch.arange(30) % 3, 3).double()
    w = dsdh.classifier(b, y, 0.1).requires_grad_()
    ((y - b @ w).square().sum() + 0.1 * w.square().sum()).backward()
    torch.testing.assert_close(w.grad, torch.zeros_like(w), atol=1e-9, rtol=0)


# ---- ADSH: outputs against codes


def adsh_objective(u, v, s, gamma):
    """J over all pairs, by loops."""
    bits, total = len(u[0]), 0.0
    for i, j in itertools.product(range(len(u)), range(len(v))):
        total += (dot(u[i], v[j]) - bits * s[i][j]) ** 2
    return total + gamma * sum(
        (a - b) ** 2 for x, z in zip(u, v, strict=True) for a, b in zip(x, z, strict=True)
    )


@LABELS
@SEEDS
def test_adsh_network_step_with_plain_loops(labels, seed):
    u, v = outputs(6, 4, seed).tanh(), quantisation.signs(outputs(6, 4, seed + 10))
    s = pairs.similar(labels) * 2.0 - 1
    expected = adsh_objective(u.tolist(), v.tolist(), s.tolist(), 7.0) / (6 * 6 * 4**2)
    assert float(adsh.adsh_loss(u, v, s, v, 7.0)) == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda u: adsh.adsh_loss(u, v, s, v, 7.0), u.requires_grad_())


@LABELS
@pytest.mark.parametrize("gamma", [0.5, 200.0])
def test_adsh_discrete_step_is_the_best_for_every_bit(labels, gamma):
    u, v = outputs(6, 4).tanh(), quantisation.signs(outputs(6, 4, 1))
    s = pairs.similar(labels) * 2.0 - 1
    values = [adsh_objective(u.tolist(), v.tolist(), s.tolist(), gamma)]
    for _ in range(8):
        v = adsh.discrete_step(v, u, s.T.double() @ u, gamma)
        values.append(adsh_objective(u.tolist(), v.tolist(), s.tolist(), gamma))
    assert values[1] < values[0] and all(b <= a + 1e-9 for a, b in itertools.pairwise(values))
    for i, k in itertools.product(range(6), range(4)):
        other = v.clone()
        other[i, k] *= -1
        assert adsh_objective(u.tolist(), other.tolist(), s.tolist(), gamma) >= values[-1] - 1e-9


@LABELS
@pytest.mark.parametrize("dissimilar", ["one", "ratio"])
def test_adsh_codes_are_those_of_the_step(labels, dissimilar):
    """What the module does for all images at once, from sums over classes,
    is the step with the matrix S.
    """
    loss, z = adsh.ADSHLoss(labels, 4, 7.0, dissimilar), outputs(6, 4).float()
    loss.begin(z)
    u, similar = torch.tanh(z), pairs.similar(labels).float()
    r = 1.0 if dissimilar == "one" else float(similar.sum() / (1 - similar).sum())
    s = similar * (1 + r) - r
    assert torch.equal(loss.b, quantisation.signs(u)) and float(loss.r) == pytest.approx(r)
    expected = adsh.discrete_step(loss.b, u, s.T @ u, 7.0)
    loss.renew()
    assert torch.equal(loss.b, expected)
    rows = torch.tensor([4, 1])
    value = loss(outputs(2, 4, 5).float(), labels[rows], rows)
    new = torch.tanh(outputs(2, 4, 5).float())
    torch.testing.assert_close(value, adsh.adsh_loss(new, expected, s[rows], expected[rows], 7.0))
    assert torch.equal(loss.memory[rows], new) and torch.equal(loss.memory[0], u[0])


@pytest.mark.parametrize(
    "make", [lambda y: dsdh.DSDHLoss(y, 4, 128), lambda y: adsh.ADSHLoss(y, 128)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memories_stay_finite_with_long_codes(make, dtype):
    labels, z = torch.arange(16) % 4, (outputs(16, 128) * 50).to(dtype).requires_grad_()
    loss = make(labels)
    loss.begin(z.detach())
    loss.renew()
    value = loss(z, labels, torch.arange(16))
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(z.grad).all() and not list(loss.parameters())


def test_dissimilar_images_of_one_code_cost_what_the_floor_says():
    """DCH: d is kept above 1e-3, so a pair of unlike images with equal codes costs
    log(1 + gamma / 1e-3).
    """
    for gamma in (0.5, 3.0, 20.0):
        h, y = torch.ones(2, 8, dtype=torch.float64), torch.tensor([0, 1])
        assert float(dch.dch_loss(h, y, gamma, 0.0)) == pytest.approx(math.log(1 + gamma / 1e-3))


def test_learned_codes_begin_once_and_are_renewed_before_every_epoch():
    """They begin from the outputs of the network as it is used, not as it is trained."""
    network, told = torch.nn.Dropout(0.5), []

    class Codes(learned_codes.LearnedCodes):
        def renew(self):
            told.append(self.b.clone())

    images = torch.tensor([[1.0, -2.0], [-3.0, 0.0]])
    batches = SimpleNamespace(stream=lambda: iter(images.split(1)))
    loss = Codes(torch.tensor([0, 1]), 2)
    renew = learned_codes.Renew(loss, network)
    renew(1, batches)
    assert loss.memory.tolist() == images.tolist() and told[-1].tolist() == [[1, -1], [-1, 1]]
    loss.remember(-images[:1], torch.tensor([0]))
    renew(2, batches)
    assert len(told) == 2 and loss.memory.tolist() == [[-1, 2], [-3, 0]]


def test_cnnh_finds_its_codes_once_before_the_first_epoch(monkeypatch):
    swept = []
    monkeypatch.setattr(cnnh.CNNHLoss, "first_stage", lambda self, sweeps: swept.append(sweeps))
    monkeypatch.setattr(cnnh.CNNH, "phase", lambda *given, before_epoch, **how: before_epoch)
    (before_epoch,) = cnnh.CNNH(8, sweeps=7).phases(None, np.arange(9) % 3)
    for epoch in (1, 2, 3):
        before_epoch(epoch, None)
        assert swept == [7]


def test_cnnh_starts_between_the_codes():
    """Before the first stage its codes are drawn evenly from -1..1."""
    torch.manual_seed(0)
    codes = cnnh.CNNHLoss(torch.arange(1000) % 3, 8).codes
    assert (
        codes.abs().max() <= 1
        and abs(codes.mean()) < 0.05
        and codes.min() < -0.99
        and codes.max() > 0.99
    )
