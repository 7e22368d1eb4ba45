"""CSDH's candidate losses against plain loops, what they agree in at codes, their gradients;
the method on digits.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import outputs, score

from hashlab import codes, data, methods
from hashlab.errors import InputError
from hashlab.losses import quantisation
from hashlab.methods.csdh import (
    ACTIVATIONS,
    FORMS,
    LOWEST,
    CSDHLoss,
    contrastive,
    hamming_embedding,
    label_similarity,
    likelihood,
    regression,
)

CLASSES = torch.tensor([0, 0, 1, 1, 2])
SEVERAL = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0]], dtype=torch.uint8)


def cosine(a, b):
    """Of two 0/1 vectors; of nothing with anything it is 0."""
    lengths = math.sqrt(sum(a) * sum(b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


# ---- similarities


@given(st.integers(1, 8), st.integers(1, 5), st.integers(0, 1000))
def test_label_similarity_with_plain_loops(count, several, seed):
    labels = torch.randint(
        0, 2, (count, several), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8
    )
    similarity = {kind: label_similarity(labels, kind) for kind in ("shares", "cosine")}
    for i, j in itertools.product(range(count), range(count)):
        expected = cosine(labels[i].tolist(), labels[j].tolist())
        assert similarity["cosine"][i, j].item() == pytest.approx(expected, abs=1e-6)
        assert similarity["shares"][i, j].item() == (expected > 0)
    assert similarity["cosine"].max() <= 1


def test_of_one_class_both_similarities_are_the_same():
    assert torch.equal(label_similarity(CLASSES, "cosine"), label_similarity(CLASSES, "shares"))
    one_hot = torch.nn.functional.one_hot(CLASSES)
    torch.testing.assert_close(label_similarity(one_hot, "cosine"), label_similarity(CLASSES))


@given(st.integers(1, 64), st.integers(0, 1000))
def test_the_embedding_is_the_hamming_distance_at_codes(bits, seed):
    b = quantisation.signs(outputs(5, bits, seed))
    packed = codes.pack(b.numpy() > 0)
    assert np.array_equal(hamming_embedding(b).numpy(), codes.hamming(packed, packed))


# ---- losses


def pair_loss(form, u, v, s, low):
    bits, product = len(u), sum(a * b for a, b in zip(u, v, strict=True))
    if form == "regression":
        return (product / bits - (low + (1 - low) * s)) ** 2
    if form == "contrastive":
        d = sum((a - b) ** 2 for a, b in zip(u, v, strict=True))
        return (s * d + (1 - s) * max(2 * bits - d, 0)) / (2 * bits)
    p = 1 / (1 + math.exp(-product / 2))
    return -s * math.log(p) - (1 - s) * math.log(1 - p)


def of_loops(z, labels, form, activation, quantise, alpha, similarity, unlike, balance):
    act = {
        "tanh": math.tanh,
        "sigmoid": lambda x: math.tanh(x / 2),
        "clip": lambda x: max(-1, min(1, x)),
        "none": lambda x: x,
    }[activation]
    away = {
        "squared": lambda x: (abs(x) - 1) ** 2,
        "absolute": lambda x: abs(abs(x) - 1),
        "log_cosh": lambda x: math.log(math.cosh(abs(x) - 1)),
        "none": lambda x: 0,
    }[quantise]
    u, kinds = [[act(x) for x in row] for row in z.tolist()], {True: [], False: []}
    rows = labels.tolist() if labels.ndim == 2 else torch.nn.functional.one_hot(labels).tolist()
    low = {"opposite": -1, "half": 0}[unlike]
    for i, j in itertools.permutations(range(len(u)), 2):
        s = cosine(rows[i], rows[j])
        s = float(s > 0) if similarity == "shares" else s
        kinds[s > 0].append(pair_loss(form, u[i], u[j], s, low))
    mean = (
        sum(np.mean(k) / 2 for k in kinds.values() if k)
        if balance == "halves"
        else np.mean(kinds[True] + kinds[False])
    )
    return mean + alpha * np.mean([away(x) for row in u for x in row])


@pytest.mark.parametrize("labels", [CLASSES, SEVERAL], ids=["classes", "several"])
@pytest.mark.parametrize("similarity", ["shares", "cosine"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "activation, quantise", list(zip(ACTIVATIONS, quantisation.PENALTIES, strict=True))
)
def test_with_plain_loops(labels, similarity, form, activation, quantise):
    for unlike, balance in itertools.product(LOWEST, ("halves", "none")):
        settings = (form, activation, quantise, 0.3, similarity, unlike, balance)
        expected = of_loops(outputs(5, 4), labels, *settings)
        loss = float(CSDHLoss(*settings)(outputs(5, 4), labels))
        assert loss == pytest.approx(expected, rel=1e-6), settings  # similarities are float32


@given(st.integers(1, 64), st.integers(0, 1000))
def test_at_codes_every_form_is_a_function_of_the_hamming_distance(bits, seed):
    b, s = (
        quantisation.signs(outputs(6, bits, seed)),
        label_similarity(torch.arange(6) % 3).double(),
    )
    d = hamming_embedding(b)
    torch.testing.assert_close(regression(b, s), (1 - 2 * d / bits - (2 * s - 1)) ** 2)
    torch.testing.assert_close(
        contrastive(b, s), (s * d + (1 - s) * (bits / 2 - d).clamp(min=0)) * 2 / bits
    )
    theta = bits / 2 - d
    torch.testing.assert_close(likelihood(b, s), torch.log1p(theta.exp()) - s * theta)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "none"])
def test_gradients(form, activation):
    z = outputs(5, 4).requires_grad_()
    for similarity, labels in (("shares", CLASSES), ("cosine", SEVERAL)):
        loss = CSDHLoss(form, activation, similarity=similarity)
        assert torch.autograd.gradcheck(lambda z, loss=loss, labels=labels: loss(z, labels), z)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(form, activation, dtype):
    z = (outputs(16, 128) * 10).to(dtype).requires_grad_()
    loss = CSDHLoss(form, activation)(z, torch.arange(16) % 4)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(z.grad).all()


def test_the_right_codes_cost_least():
    """Of all codes of two bits for two images of each of two classes:
    opposite codes for the classes.
    """
    labels = torch.tensor([0, 0, 1, 1])
    every = [torch.tensor(c).view(4, 2) for c in itertools.product((-1.0, 1.0), repeat=8)]
    for form in FORMS:
        loss = CSDHLoss(form, "none")
        values = torch.stack([loss(b, labels) for b in every])
        best = every[int(values.argmin())]
        assert torch.equal(best[0], best[1]) and torch.equal(best[2], best[3])
        assert (best[0] * best[2]).sum() < (2 if form == "contrastive" else -1)


def test_what_several_labels_ask_for():
    """Under the cosine, a pair that shares one label of two is to agree in half of what
    separates like from unlike.
    """
    u = torch.tensor([[1.0, 1, 1, 1], [1, 1, -1, -1]])  # agreement 0
    s = label_similarity(torch.tensor([[1, 1, 0], [0, 1, 1]]), "cosine")
    assert s[0, 1].item() == pytest.approx(0.5)
    values = [regression(u, s), regression(u, s, low=0.0), regression(u, torch.ones(2, 2))]
    assert [pair[0, 1].item() for pair in values] == pytest.approx([0, 0.25, 1], abs=1e-6)


# ---- the method

SMALL = {
    "epochs": 10,
    "batch_size": 64,
    "shift": 1,
    "optimiser": "adamw",
    "lr": 0.01,
    "alpha": 0.01,
}


@pytest.mark.parametrize("form", FORMS)
def test_learns_digits(form):
    loaded = data.load("digits")
    settings = (
        SMALL
        | {"form": form, "balance": "none"}
        | ({"activation": "none"} if form == "contrastive" else {})
    )
    learned = score(methods.create("csdh", 12, **settings).fit(loaded.train), loaded)
    assert learned > 0.8


def test_not_without_the_loss(monkeypatch):
    loaded = data.load("digits")
    monkeypatch.setattr("hashlab.methods.csdh.CSDHLoss", lambda **_: lambda z, labels: 0 * z.sum())
    assert score(methods.create("csdh", 12, **SMALL).fit(loaded.train), loaded) < 0.5


@pytest.mark.parametrize("similarity", ["shares", "cosine"])
def test_learns_scenes_with_several_labels(similarity):
    loaded, settings = (
        data.load("digit_scenes"),
        SMALL | {"similarity": similarity, "balance": "none"},
    )
    learned = score(methods.create("csdh", 24, **settings).fit(loaded.train), loaded)
    start = score(methods.create("csdh", 24, **settings | {"epochs": 0}).fit(loaded.train), loaded)
    assert learned > start + 0.03


def test_every_setting_reaches_the_loss():
    scenes = data.load("digit_scenes")
    changes = [
        {},
        {"form": "contrastive"},
        {"form": "likelihood"},
        {"quantise": "none"},
        {"alpha": 0.5},
    ]
    changes += [{"activation": name} for name in ("sigmoid", "clip", "none")]
    changes += [{"similarity": "cosine"}, {"unlike": "half"}, {"balance": "none"}]
    fitted = [
        methods.create("csdh", 12, epochs=1, **changed).fit(scenes.train) for changed in changes
    ]
    assert len({method.outputs(scenes.query).tobytes() for method in fitted}) == len(changes)


@pytest.mark.parametrize(
    "changed, words",
    [
        (
            {"form": "triplet"},
            "form must be one of regression, contrastive, likelihood, got 'triplet'",
        ),
        ({"activation": "relu"}, "activation must be one of tanh, sigmoid, clip, none"),
        ({"quantise": "l2"}, "quantise must be one of squared, absolute, log_cosh, none"),
        ({"similarity": "jaccard"}, "similarity must be one of shares, cosine"),
        ({"unlike": "far"}, "unlike must be one of opposite, half"),
        ({"balance": True}, "balance must be text, got True"),
    ],
)
def test_bad_settings(changed, words):
    with pytest.raises(InputError, match=words):
        methods.create("csdh", 8, **changed)


def test_labels_that_are_neither():
    class Train:
        images, labels = np.zeros((3, 8, 8), np.uint8), np.array([[0, 2], [1, 0], [1, 1]])

    with pytest.raises(InputError, match="of 0 and 1, C at least 2, got 2"):
        methods.create("csdh", 8, batch_size=2, shift=0).fit(Train)


def test_a_distance_that_rounds_below_zero_costs_nothing():
    u = torch.randn(64, 48, generator=torch.Generator().manual_seed(0)) * 1000
    assert (contrastive(u, torch.ones(64, 64)) >= 0).all()
