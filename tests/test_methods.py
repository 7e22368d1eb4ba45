"""What holds for every method: settings, seeds, shapes, errors; and the training engine below."""

import numpy as np
import pytest
import torch

from hashlab import backbones, codes, data, methods, training
from hashlab.errors import InputError

QUICK = {"epochs": 1, "pretrain_epochs": 1}


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.mark.parametrize("name", methods.names())
def test_codes_have_the_promised_form(name, digits):
    method = methods.create(name, 70, **QUICK).fit(digits.train)
    packed = method.encode(digits.query.images[:7])
    assert packed.dtype == np.uint8 and packed.shape == (7, 16) and codes.unpack(packed, bits=70).shape == (7, 70)
    assert method.bits == 70 and method.tables is None and methods.about(name).paper
    assert np.array_equal(codes.unpack(packed, bits=70), method.outputs(digits.query.images[:7]) >= 0)


@pytest.mark.parametrize("name", methods.names())
def test_same_seed_same_codes(name, digits):
    state = torch.random.get_rng_state()
    runs = [methods.create(name, 12, **QUICK).fit(digits.train, seed=s).outputs(digits.query.images) for s in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's generator is left alone


def test_each_epoch_may_look_but_changes_nothing(digits):
    seen = []

    def look(phase, epoch):
        seen.append((phase, epoch, method.encode(digits.query.images).tobytes()))

    method = methods.create("mu_liu", 12, epochs=2, pretrain_epochs=1)
    method.fit(digits.train, each_epoch=look)
    assert [s[:2] for s in seen] == [("pre-training", 1), ("hashing", 1), ("hashing", 2)] and seen[0][2] != seen[2][2]
    blind = methods.create("mu_liu", 12, epochs=2, pretrain_epochs=1).fit(digits.train)
    assert blind.encode(digits.query.images).tobytes() == seen[-1][2]


def test_an_image_has_one_code_whatever_its_company(digits):
    method = methods.create("mu_liu", 12, **QUICK).fit(digits.train)
    together = method.outputs(digits.query.images)
    alone = np.concatenate([method.outputs(digits.query.images[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, together[:5], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"epoch": 3}, "unknown setting 'epoch'; expected one of: backbone"),
        ({"epochs": 1.5}, "epochs must be int, got 1.5"),
        ({"epochs": True}, "epochs must be int, got True"),
        ({"lr": "fast"}, "lr must be float, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"lr": -1}, "lr must be a finite number of at least 0, got -1"),
    ],
)
def test_bad_settings(overrides, words):
    with pytest.raises(InputError, match=words):
        methods.create("mu_liu", 12, **overrides)


@pytest.mark.parametrize("bits", [0, -3, 1.5, True, "12", None])
def test_bad_bits(bits):
    with pytest.raises(InputError, match="bits must be an integer of at least 1, got"):
        methods.create("mu_liu", bits)


def test_unknown_method():
    with pytest.raises(InputError, match="unknown method 'muliu'; expected one of: mu_liu"):
        methods.create("muliu", 12)
    with pytest.raises(InputError, match="unknown method"):
        methods.about("muliu")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"labels": np.zeros((10, 3), int)}, r"labels must be \(10,\) integers, got \(10, 3\)"),
        ({"labels": np.zeros(10)}, r"labels must be \(10,\) integers, got \(10,\) float64"),
        ({"labels": np.zeros(10, int)}, "two classes at least"),
        ({"labels": np.arange(10) - 5}, "0 or more"),
        ({"labels": np.arange(9)}, r"\(10,\) integers, got \(9,\)"),
        ({"images": np.zeros((10, 8, 8))}, r"images must be uint8 .*, got \(10, 8, 8\) float64"),
        ({"images": np.zeros((10, 64), np.uint8)}, r"images must be uint8 .*, got \(10, 64\) uint8"),
        ({"images": np.zeros((10, 3, 3), np.uint8)}, "backbone tiny takes images of at least 4 px, got 3x3"),
    ],
)
def test_bad_training_data(change, words):
    part = {"images": np.zeros((10, 8, 8), np.uint8), "labels": np.arange(10)} | change
    method = methods.create("mu_liu", 12, batch_size=4)
    with pytest.raises(InputError, match=words):
        method.fit(type("Part", (), part))
    assert method.network is None  # nothing was begun


def test_settings_that_do_not_suit_the_data(digits):
    for overrides, words in (
        ({"batch_size": 5000}, r"batch_size must lie in 2..1200"),
        ({"batch_size": 0}, "batch_size must lie in"),
        ({"backbone": "lenet"}, "lenet takes images of at least 16 px, got 8x8"),
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"weights": "imagenet"}, "unknown weights 'imagenet'"),
    ):
        with pytest.raises(InputError, match=words):
            methods.create("mu_liu", 12, **overrides).fit(digits.train)
    with pytest.raises(InputError, match="device 'warp' cannot be used"):
        methods.create("mu_liu", 12).fit(digits.train, device="warp")
    with pytest.raises(InputError, match="seed must lie in"):
        methods.create("mu_liu", 12).fit(digits.train, seed=-1)


def test_encode_before_fit_and_of_another_size(digits):
    method = methods.create("mu_liu", 12, **QUICK)
    with pytest.raises(InputError, match="not fitted"):
        method.encode(digits.query.images)
    method.fit(digits.train)
    with pytest.raises(InputError, match=r"images of \(8, 8\) expected"):
        method.encode(np.zeros((2, 28, 28), np.uint8))


def test_a_loss_that_explodes_is_named(digits):
    with pytest.raises(FloatingPointError, match=r"pre-training: the loss is nan at step [0-9]+; try a lower lr"):
        methods.create("mu_liu", 12, pretrain_lr=1e30, epochs=1).fit(digits.train)


@pytest.mark.parametrize("name, size", [("tiny", 8), ("tiny", 5), ("lenet", 28), ("lenet", 32), ("lenet", 16)])
@pytest.mark.parametrize("channels", [1, 3])
def test_backbones_give_what_they_say(name, size, channels):
    shape = (size, size) if channels == 1 else (size, size, channels)
    net = backbones.create(name, shape)
    assert net(torch.zeros(2, channels, size, size)).shape == (2, net.features)


def test_batches_normalise_and_cover_everything():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (50, 6, 5, 3), dtype=np.uint8), np.arange(50)
    mean, std = training.statistics(images)
    np.testing.assert_allclose(mean, (images / 255).reshape(-1, 3).mean(0), rtol=1e-5)
    np.testing.assert_allclose(std, (images / 255).reshape(-1, 3).std(0, ddof=1), rtol=1e-5)
    batches = training.Batches(images, labels, torch.device("cpu"), mean, std)
    seen = torch.cat([y for _, y in batches.epoch(10, 0, torch.Generator().manual_seed(0))])
    assert sorted(seen.tolist()) == list(range(50)) and seen.tolist() != list(range(50))
    x, y = next(batches.epoch(10, 0, torch.Generator().manual_seed(0)))
    expected = (images[y.numpy()].transpose(0, 3, 1, 2) / 255 - mean.numpy()[:, None, None]) / std.numpy()[
        :, None, None
    ]
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)


def test_shifted_with_plain_loops():
    images = torch.arange(3 * 2 * 5 * 4, dtype=torch.uint8).view(3, 2, 5, 4)
    found = training.shifted(images, 2, torch.Generator().manual_seed(0))
    down, right = torch.randint(0, 5, (2, 3, 1), generator=torch.Generator().manual_seed(0))
    for b in range(3):
        for y in range(5):
            for x in range(4):
                row, column = y + int(down[b]) - 2, x + int(right[b]) - 2
                inside = 0 <= row < 5 and 0 <= column < 4
                expected = images[b, :, row, column] if inside else torch.zeros(2, dtype=torch.uint8)
                assert torch.equal(found[b, :, y, x], expected)
    assert torch.equal(training.shifted(images, 0, torch.Generator()), images)


def test_rate_rises_then_falls_to_zero():
    rates = [training.rate(step, 100) for step in range(100)]
    assert (
        rates[9] == max(rates) == 1
        and rates[:10] == sorted(rates[:10])
        and rates[10:] == sorted(rates[10:], reverse=True)
    )
    assert rates[99] < 0.001


def test_train_is_sgd_with_nesterov_momentum():
    """One weight, loss w^2 / 2: the updates of the textbook."""
    weight = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(weight.weight)
    phase = training.Phase("p", weight, lambda x, y: weight.weight.square().sum() / 2, 4, 0.1, 0.9, 0.01)
    zeros = np.zeros((2, 1, 1), np.uint8)
    batches = training.Batches(zeros, np.zeros(2, int), torch.device("cpu"), torch.zeros(1), torch.ones(1))
    history = training.train([phase], batches, batch_size=2, shift=0, generator=torch.Generator())
    w, velocity = 1.0, None
    for step in range(4):
        gradient = w + 0.01 * w
        velocity = gradient if velocity is None else 0.9 * velocity + gradient
        assert history[step]["loss"] == pytest.approx(w**2 / 2, rel=1e-5) and history[step]["epoch"] == step + 1
        w -= 0.1 * training.rate(step, 4) * (gradient + 0.9 * velocity)
    assert weight.weight.item() == pytest.approx(w, rel=1e-5)
