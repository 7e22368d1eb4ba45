"""Features of a frozen backbone, kept on disk beside their data set."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hashlab import data
from hashlab.data import cache, opening, parts, sets
from hashlab.errors import InputError
from hashlab.methods.mu_liu import MuLiu
from hashlab.networks import backbones, features
from hashlab.training.sharing import Shared

COUNT, CPU = 60, torch.device("cpu")


class Pooled(MuLiu):
    """A method whose head takes two levels, averaged over all places."""

    taps, pooled = ("conv1", "conv2"), True

    def head(self, backbone):
        return torch.nn.Linear(sum(backbone.levels[name].channels for name in self.taps), self.bits)


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Images of a made set that lies in a cache folder, in blocks of 16."""
    monkeypatch.setattr(features, "BLOCK", 16)
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (COUNT, 8, 8), dtype=np.uint8), np.arange(COUNT) % 2
    about = sets.SetInfo(
        name="made", title="", shape=(8, 8), classes=("0", "1"), counts={"all": COUNT}, source="", licence="",
        fingerprints={"all": parts.canonical(images, labels.astype(np.uint8))[1]},
    )  # fmt: skip
    cache.write(about, {"all": (images, labels.astype(np.uint8))}, tmp_path)
    return opening.open_pool(about, tmp_path).part(np.random.default_rng(1).permutation(COUNT)[:40])


@pytest.fixture
def weights(tmp_path):
    net = backbones.create("tiny", (8, 8))
    save_file(net.state_dict(), tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.mark.parametrize("kind", [MuLiu, Pooled])
def test_kept_features_are_those_of_the_network(kind, part, weights):
    method = kind(8, frozen=True, weights=weights, epochs=1, batch_size=8).fit(part)
    x = method.view.plain(torch.from_numpy(part.images[..., None]))
    with torch.no_grad():
        expected = method.network.head(method.network.body(x)).numpy()
    np.testing.assert_allclose(method.outputs(part), expected, rtol=1e-4, atol=1e-5)


def test_they_are_computed_once_and_found_again(part, weights, monkeypatch, tmp_path):
    settings = {"frozen": True, "weights": weights, "epochs": 1, "batch_size": 8}
    first = MuLiu(8, **settings).fit(part)
    kept = {f"{block}-{level}.npy" for block in range(4) for level in ("conv1", "conv2", "fc")}
    assert {file.name for file in (tmp_path / "features").rglob("*.npy")} == kept
    monkeypatch.setattr(features, "keep", lambda *a: pytest.fail("computed again"))
    again = MuLiu(8, **settings).fit(part)
    assert again.outputs(part).tobytes() == first.outputs(part).tobytes()
    Pooled(8, **settings).fit(part)  # other levels, which the same pass has given
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        MuLiu(8, **settings, size=8).fit(part)


def test_an_interrupted_computation_goes_on_where_it_was(part, weights, monkeypatch, tmp_path):
    keep, done = features.keep, []

    def stops(folder, block, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(block)
        keep(folder, block, *rest)

    method = MuLiu(8, frozen=True, weights=weights, epochs=1, batch_size=8)
    monkeypatch.setattr(features, "keep", stops)
    with pytest.raises(KeyboardInterrupt):
        method.fit(part)
    done.clear()
    method.fit(part)
    assert done == [2, 3]


@pytest.mark.parametrize(
    "taps, pooled", [((), False), (("conv1", "conv2"), True), (("conv1", "conv2"), False)]
)
@pytest.mark.parametrize("frozen", [True, False])
def test_what_a_network_makes_of_images(taps, pooled, frozen, part):
    """Features with plain calls of the backbone; outputs, the head's;
    batches of features only where they stay.
    """
    body = backbones.create("tiny", (8, 8), frozen=frozen)
    net = features.Network(body, Sums(), taps, pooled)
    view = features.view_of("tiny", "scratch", part)
    one = features.FeatureNet(net, "tiny", (8, 8), view, torch.device("cpu"))
    x = view.plain(torch.from_numpy(part.images[..., None]))
    with torch.no_grad():
        levels = body.eval().forward_levels(x, taps or ("fc",))
    means = torch.cat(
        [level.flatten(2).mean(2) if level.ndim == 4 else level for level in levels], 1
    )
    torch.testing.assert_close(one.features(part), means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.features(part.images), means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.outputs(part)[:, 0], means.sum(1), rtol=1e-4, atol=1e-4)
    stay = frozen and (pooled or not taps)
    assert (one.batches(part).view is None) == one.features_stay == stay
    for call in (one.features, one.outputs, one.batches):
        with pytest.raises(
            InputError, match=r"images of \(8, 8\) expected, as in training, got \(9, 8\)"
        ):
            call(np.zeros((2, 9, 8), np.uint8))
    tensors, facts = one.state()
    assert features.from_facts(json.loads(json.dumps(facts))) == ("tiny", (8, 8), view)
    assert tensors.keys() == net.state_dict().keys()


class Sums(torch.nn.Module):
    """The sum over everything that a head can be given, maps as the means over their places."""

    def forward(self, x):
        parts = x if isinstance(x, tuple) else (x,)
        return sum(
            part.flatten(2).mean(2).sum(1) if part.ndim == 4 else part.sum(1) for part in parts
        )[:, None]


NORMALISED = {  # as the weights of each were trained
    "resnet18": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "efficientnet_lite0": ((127 / 255,) * 3, (128 / 255,) * 3),
}


@pytest.mark.parametrize("backbone", ["tiny", *NORMALISED])
@pytest.mark.parametrize("shape", [(40, 36), (40, 36, 3)])
@pytest.mark.parametrize("how", [{}, {"crop": 33}, {"size": 34}, {"crop": 33, "size": 35}])
@pytest.mark.parametrize("start", ["scratch", "file"])  # published ones are as those of a file
def test_the_shape_of_the_input_is_known_without_the_images(backbone, shape, how, start):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    view = features.view_of(backbone, start, images, **how)
    assert features.input_shape(backbone, shape, **how) == view.shape
    assert view.plain(torch.from_numpy(images.reshape(2, 40, 36, -1))).shape[1:] == (
        view.shape[2],
        *view.shape[:2],
    )
    known = start == "file" and backbone in NORMALISED
    assert ((view.mean, view.std) == NORMALISED.get(backbone)) == known


def test_networks_of_one_origin_share_features_and_others_do_not(part, monkeypatch):
    made, compute = [], features.compute
    monkeypatch.setattr(features, "compute", lambda *a: made.append(a[1]) or compute(*a))
    shared, view = Shared(), features.view_of("tiny", "scratch", part)

    def net(origin, taps=(), **how):
        body = backbones.create("tiny", (8, 8), frozen=True)
        network = features.Network(body, Sums(), taps, True)
        return features.FeatureNet(network, "tiny", (8, 8), view, CPU, origin=origin, **how)

    first = features.Origin.of("tiny", "scratch", 0)
    for origin, how in (
        (first, {}),
        (features.Origin.of("tiny", "scratch", 0), {}),  # the same
        (features.Origin.of("tiny", "scratch", 1), {}),
        (first, {"taps": ("conv1",)}),
        (first, {"precision": "bfloat16"}),
        (None, {}),
        (None, {}),
    ):
        net(origin, **how).features(part, shared)
    assert made == [("fc",), ("fc",), ("conv1",), ("fc",), ("fc",), ("fc",)]


def test_features_of_random_weights_and_of_arrays_are_not_kept(part, tmp_path):
    MuLiu(8, frozen=True, epochs=1, batch_size=8).fit(part)
    MuLiu(8, frozen=True, epochs=1).fit(data.load("digits").train)
    assert not (tmp_path / "features").exists()
