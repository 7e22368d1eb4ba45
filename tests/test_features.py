"""Features of a frozen backbone, kept on disk beside their data set."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hashlab import data, files, methods
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


# ---- bodies that are frozen up to a level

LEVELS = {
    "dmsh": {"scales": "conv1+conv2"},
    "mlsh": {"scales": "conv1+conv2"},
    "shpdh": {"levels": 1, "centre_pass": "train"},
}
METHODS = ["csq", "dpsh", "dmsh", "dcwh", "shpdh", "mlsh", "mu_liu"]


def up_to_conv1(name, weights, **more):
    usual = {"epochs": 3, "batch_size": 8, "lr": 0.01, "weights": weights, "frozen": "conv1"}
    return methods.create(name, 8, **usual | LEVELS.get(name, {}) | more)


def run_whole(monkeypatch):
    """From now on the frozen stages run every time, and what they give is rounded as maps are."""
    freeze = backbones.Backbone.freeze

    def rounding(backbone, *up_to):
        last = freeze(backbone, *up_to).frozen_stages()[-1]
        last.register_forward_hook(lambda stage, x, maps: maps.half().float())
        return backbone

    monkeypatch.setattr(backbones.Backbone, "freeze", rounding)
    on_images = lambda net, images, labels=None, shared=None: net._batches(images, labels)  # noqa: E731
    monkeypatch.setattr(features.FeatureNet, "batches", on_images)
    monkeypatch.setattr(features, "compute_maps", lambda *a: pytest.fail("maps are computed"))


@pytest.mark.parametrize(
    "name, more",
    [
        *((name, {}) for name in METHODS),
        ("mu_liu", {"concurrent": 1.0}),
        ("dmsh", {"fusion": "pyramid"}),
    ],
)
def test_training_on_maps_is_training_on_images(name, more, part, weights, monkeypatch):
    """And what is frozen stays as it is, the rest does not."""
    on_maps = up_to_conv1(name, weights, **more).fit(part, seed=2)
    assert on_maps.net.batches(part).view is None
    z = on_maps.outputs(part)
    np.testing.assert_allclose(on_maps.outputs(part.images), z, rtol=0.02, atol=0.02)
    run_whole(monkeypatch)
    on_images = up_to_conv1(name, weights, **more).fit(part, seed=2)
    np.testing.assert_allclose(z, on_images.outputs(part), rtol=1e-3, atol=1e-3)
    start = backbones.create("tiny", (8, 8), weights).state_dict()
    kept = on_maps.network.backbone.state_dict()
    same = {key.split(".")[1] for key in start if torch.equal(start[key], kept[key])}
    changed = {key.split(".")[1] for key in start if not torch.equal(start[key], kept[key])}
    assert "conv1" in same - changed and "conv2" in changed


def test_maps_are_computed_once_and_found_again(part, weights, monkeypatch, tmp_path):
    first = up_to_conv1("csq", weights).fit(part)
    assert not (tmp_path / "made" / "features").exists()
    kept = {f"{block}-conv1-maps.npy" for block in range(4)}
    assert {file.name for file in (tmp_path / "features").rglob("*.npy")} == kept
    rows = np.load(next((tmp_path / "features").rglob("1-conv1-maps.npy")))
    assert rows.dtype == np.float16 and rows.shape == (16, 4, 4, 16)
    x = first.view.plain(torch.from_numpy(part.pool.part(np.arange(16, 32)).images[..., None]))
    with torch.no_grad():
        maps = first.network.backbone.forward_levels(x, ["conv1"])[0]
    np.testing.assert_allclose(rows.transpose(0, 3, 1, 2), maps, rtol=1e-3, atol=1e-3)
    monkeypatch.setattr(features, "keep_maps", lambda *a: pytest.fail("computed again"))
    again = up_to_conv1("csq", weights).fit(part)
    assert again.outputs(part).tobytes() == first.outputs(part).tobytes()
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        up_to_conv1("csq", weights, frozen="conv2").fit(part)


def test_an_interrupted_computation_of_maps_goes_on(part, weights, monkeypatch):
    keep, done = features.keep_maps, []

    def stops(folder, block, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(block)
        keep(folder, block, *rest)

    method = up_to_conv1("csq", weights)
    monkeypatch.setattr(features, "keep_maps", stops)
    with pytest.raises(KeyboardInterrupt):
        method.fit(part)
    done.clear()
    method.fit(part)
    assert done == [2, 3]


@pytest.mark.parametrize("start", ["scratch", "file"])
def test_maps_of_random_weights_and_of_arrays_are_not_kept(start, part, weights, tmp_path):
    start = weights if start == "file" else start
    digits = data.load("digits").train
    few = type("Few", (), {"images": digits.images[:60], "labels": digits.labels[:60]})
    for train in [few] if start == weights else [few, part, digits.pool.part(digits.index[:60])]:
        method = up_to_conv1("csq", start).fit(train)
        images = train.images
        one_by_one = np.concatenate([method.encode(images[i : i + 7]) for i in range(0, 40, 7)])
        assert np.array_equal(one_by_one, method.encode(images[:42]))
    assert not (tmp_path / "features").exists()


def test_runs_share_maps(monkeypatch):
    made, compute = [], features.compute_maps
    monkeypatch.setattr(features, "compute_maps", lambda *a: made.append(a[1]) or compute(*a))
    train, shared = data.load("digits").train, Shared()
    for name in ("csq", "dpsh"):
        method = methods.create(name, 8, frozen="conv1", epochs=1).fit(train, shared=shared)
        method.encode(train, shared)
    assert made == ["conv1"]
    body = backbones.create("tiny", (8, 8), frozen=True)
    origin = features.Origin.of("tiny", "scratch", 0)
    network = features.Network(body, Sums(), ("conv1",), True)
    means = features.FeatureNet(network, "tiny", (8, 8), method.view, CPU, origin=origin)
    assert means.features(train, shared).shape == (len(train), 16)  # and no maps, though kept too


def test_new_images_go_through_the_whole_network(part, weights, monkeypatch, tmp_path):
    """Arrays, and a part where nobody would find its maps again."""
    method = up_to_conv1("csq", weights).fit(part)
    method.save(tmp_path / "model")
    monkeypatch.setattr(features, "compute_maps", lambda *a: pytest.fail("maps are computed"))
    packed = method.encode(part.images)
    assert np.array_equal(methods.load(tmp_path / "model").encode(part), packed)


@pytest.mark.parametrize(
    "name, phase", [("mu_liu", "pre-training"), ("mlsh", "classification"), ("csq", "hashing")]
)
def test_what_is_not_frozen_is_trained_in_every_phase(name, phase, part, weights):
    phases = {
        frozen: [
            line["phase"] for line in up_to_conv1(name, weights, frozen=frozen).fit(part).history
        ]
        for frozen in (False, "conv1")
    }
    assert phases["conv1"] == phases[False] and phase in phases[False]


def test_a_level_behind_a_tap_is_refused(part, weights):
    behind = (
        "frozen must be a level that does not lie behind conv1, which the head takes, got 'conv2'"
    )
    for name in ("dmsh", "mlsh"):
        method = up_to_conv1(name, weights, frozen="conv2", scales="conv1+fc")
        with pytest.raises(InputError, match=behind):
            method.fit(part)


def test_numbers_beyond_half_precision_are_refused(part, tmp_path):
    values = backbones.create("tiny", (8, 8)).state_dict()
    values["stages.conv1.2.weight"] = torch.full_like(values["stages.conv1.2.weight"], 1e6)
    save_file(values, tmp_path / "large.safetensors")
    with pytest.raises(InputError, match="half precision holds, up to 65504, got 'conv1'"):
        up_to_conv1("csq", str(tmp_path / "large.safetensors")).fit(part)


@torch.no_grad()
def test_a_body_goes_on_from_what_its_frozen_stages_gave():
    """From maps and from vectors, to the end and to levels."""
    torch.manual_seed(0)
    net = backbones.create("alexnet", (63, 63, 3)).eval()
    x = torch.randn(2, 3, 63, 63)
    for level in ("conv1", "conv5", "fc6"):
        net.freeze(level)
        given, conv, last = net.forward_levels(x, [level, level, "fc7"])
        torch.testing.assert_close(net(given), last)
        torch.testing.assert_close(net.forward_levels(given, ["fc7", level])[1], conv)
        assert torch.equal(net(x), last)


def test_maps_that_several_compute_at_once_are_the_same(part, weights, tmp_path):
    nets = [up_to_conv1("csq", weights, epochs=0).fit(part).net for _ in range(2)]
    shutil.rmtree(tmp_path / "features")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda net: net.maps(part).images, nets)
    assert np.array_equal(one, other)
    assert len([file for file in (tmp_path / "features").rglob("*") if file.is_file()]) == 4


@pytest.mark.parametrize("frozen", [True, "conv2"])
def test_a_cache_that_is_only_to_be_read_is_left_alone(part, weights, monkeypatch, frozen):
    def outputs():
        method = MuLiu(8, frozen=frozen, weights=weights, epochs=1, batch_size=8)
        return method.fit(part, device="cpu").outputs(part)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as readable:
        readable.setattr(files.tempfile, "TemporaryFile", refuse)
        readable.setattr(files, "write", refuse)
        in_memory = outputs()
    folder = part.pool.folder.parent / "features"
    assert not folder.exists()
    np.testing.assert_allclose(outputs(), in_memory, rtol=1e-4, atol=1e-5)
    assert folder.is_dir()
