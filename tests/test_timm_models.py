"""Networks of timm as backbones: their levels are what their modules give, frozen ones go on from what
was kept, weights come from the hub or a file, and a model needs neither to be loaded.
"""

import builtins
import hashlib
import os
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from processes import python

from hashlab import data, experiments, methods
from hashlab.errors import InputError
from hashlab.networks import backbones, features, timm_models, weights

pytestmark = pytest.mark.extra

VIT, CONVNEXT = "timm/vit_tiny_patch16_224", "timm/convnext_atto"
FAMILIES = {  # network -> side of its images, levels, one of them, its channels and its stride
    "resnet18": (32, 6, "layer2", 128, 8),
    "convnext_atto": (32, 5, "stages.1", 80, 8),
    "vit_tiny_patch16_224": (32, 13, "blocks.4", 192, 16),
    "swin_tiny_patch4_window7_224": (64, 5, "layers.2", 384, 16),
    "mobilenetv3_small_050": (64, 6, "blocks.1", 16, 8),
    "densenet121": (64, 6, "features.denseblock2", 512, 8),
    "eva02_tiny_patch14_224": (28, 13, "blocks.7", 192, 14),
    "mixer_s32_224": (64, 9, "blocks.3", 512, 32),
    "pvt_v2_b0": (64, 5, "stages.1", 64, 8),
    "regnety_002": (64, 6, "s2", 56, 8),
}
COMMON = ("convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
LONG = os.environ.get("HASHLAB_CAMPAIGN") == "1"  # all of them
PLACES = pytest.mark.parametrize("name", FAMILIES if LONG else COMMON)


def images(side=32, count=48, channels=3):
    numbers = np.random.default_rng(0)
    shape = (count, side, side, channels) if channels > 1 else (count, side, side)
    return numbers.integers(0, 256, shape, dtype=np.uint8)


def part(**how):
    return SimpleNamespace(images=images(**how), labels=np.arange(48) % 4)


@pytest.fixture
def no_hub(monkeypatch):
    """Nobody may be asked for weights."""

    def refuse(*a, **k):
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    monkeypatch.setattr("torch.hub.load_state_dict_from_url", refuse)


# ---- levels


@PLACES
def test_levels_are_what_the_modules_give(name):
    """Nothing is computed for it."""
    side, count, level, channels, stride = FAMILIES[name]
    levels = backbones.levels(f"timm/{name}", (side, side, 3))
    assert len(levels) == count and list(levels)[-1] == "pool"
    assert levels[level] == (channels, stride) and levels["pool"].stride is None
    with torch.device("meta"):
        net = backbones.TIMM.backbone(timm.create_model(name, num_classes=0, **sized(name, side)),
                                      f"timm/{name}", (side, side, 3)).eval()  # fmt: skip
        outputs = net.forward_levels(torch.zeros(2, 3, side, side), list(levels))
    for (tap, (width, step)), x in zip(levels.items(), outputs, strict=True):
        places = () if step is None else (side // step, side // step)
        assert x.shape == (2, width, *places), tap


def sized(name, side):
    fixed = timm.get_pretrained_cfg(name).fixed_input_size
    return {"img_size": (side, side)} if fixed else {}


@PLACES
def test_a_network_that_is_frozen_up_to_a_level_goes_on_from_it(name):
    """It computes what it computes of images, and trains what lies behind the level, no less."""
    side, _, level, _, _ = FAMILIES[name]
    torch.manual_seed(0)
    net = backbones.create(f"timm/{name}", (side, side, 3), frozen=level)
    x = torch.randn(3, 3, side, side)
    later = list(net.levels)[list(net.levels).index(level) :]
    with torch.no_grad():
        net.eval()
        kept = net.kept(x)
        torch.testing.assert_close(net(kept), net(x))
        for a, b in zip(net.forward_levels(kept, later), net.forward_levels(x, later), strict=True):
            torch.testing.assert_close(a, b)
    net.train()
    still = {n: weight.clone() for n, weight in net.state_dict().items()}
    for images in (x, kept):
        net.zero_grad()
        net(images).square().sum().backward()
        moved = {n for n, weight in net.named_parameters() if weight.grad is not None}
        assert moved == {n for n, weight in net.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        net.train()(x)
    changed = {n for n, weight in net.state_dict().items() if not torch.equal(weight, still[n])}
    frozen = {n for n, w in net.named_parameters() if not w.requires_grad}
    assert frozen and not changed & frozen
    torch.testing.assert_close(net.kept(x), kept)  # its batch statistics stand still


def test_images_that_are_asked_for_early_levels_go_no_further():
    net = backbones.create(VIT, (32, 32, 3))
    net.network.blocks[2].forward = None  # would fail
    assert net.forward_levels(torch.zeros(2, 3, 32, 32), ["blocks.1"])[0].shape == (2, 192, 2, 2)


def test_a_level_that_later_ones_look_behind_is_refused():
    with pytest.raises(InputError, match="frozen: level stage2 must give a tensor, got list"):
        backbones.create("timm/hrnet_w18_small", (64, 64, 3), frozen="stage2")


# ---- methods


@pytest.mark.parametrize("name", [VIT, CONVNEXT])
@pytest.mark.parametrize("method", ["csq", "dmsh"])
def test_methods_train_them(name, method, tmp_path, no_hub):
    settings = {"epochs": 1, "batch_size": 16, "backbone": name}
    model = methods.create(method, 12, **settings).fit(part(), device="cpu")
    codes = model.encode(images())
    assert model.backbone == name and np.ptp(model.net.outputs(images()), axis=0).all()
    if method != "csq":
        maps = [level for level, tap in model.network.backbone.levels.items() if tap.stride]
        assert list(model.taps) == maps[-3:]
    model.save(tmp_path / "model")
    again = methods.load(tmp_path / "model", "cpu")
    np.testing.assert_array_equal(again.encode(images()), codes)


@pytest.mark.parametrize("name, level", [(VIT, "blocks.9"), (CONVNEXT, "stages.2")])
@pytest.mark.parametrize("method", ["csq", "dmsh"])
def test_methods_train_the_rest_of_them(name, level, method):
    """What was kept, in half precision, gives nearly the outputs that images give."""
    settings = {"epochs": 1, "batch_size": 16, "backbone": name, "frozen": level}
    if method == "dmsh":
        settings["scales"] = f"{level}+{list(backbones.levels(name, (32, 32, 3)))[-2]}"
    model = methods.create(method, 12, **settings).fit(part(), device="cpu")
    maps = model.net.maps(images())
    z = model.net.batches(images()).map(model.network.eval(), "outputs")
    assert maps.images.dtype == np.float16 and len(maps.shape) == {VIT: 2, CONVNEXT: 3}[name]
    np.testing.assert_allclose(z.numpy(), model.outputs(images()), atol=0.02)


def test_features_of_a_frozen_one_serve_shallow_and_deep_methods(tmp_path):
    grey = part(side=8, channels=1)
    for method in ("itq", "csq"):
        settings = {"epochs": 1, "batch_size": 16, "frozen": True} if method == "csq" else {}
        model = methods.create(method, 8, backbone=VIT, size=32, **settings)
        model.fit(grey, device="cpu").save(tmp_path / method)
        again = methods.load(tmp_path / method, "cpu")
        np.testing.assert_array_equal(again.encode(grey.images), model.encode(grey.images))


def test_a_record_names_the_version_of_timm(digits):
    settings = {"backbone": CONVNEXT, "size": 32}
    few = {name: getattr(digits, name) for name in ("train", "query", "database")}
    small = {name: part.pool.part(part.index[:20]) for name, part in few.items()}
    record = experiments.run("itq", replace(digits, **small), 8, **settings)
    assert record.backbone == CONVNEXT and record.versions["timm"] == timm.__version__
    assert record.weights == "scratch" and f"features={CONVNEXT}" in record.variant
    pixels = experiments.run("itq", replace(digits, **small), 8)
    assert "timm" not in pixels.versions


def test_what_is_kept_belongs_to_a_version_of_timm(monkeypatch):
    """Checkpoints, and features on disk."""
    model = methods.create("csq", 8, backbone=CONVNEXT, epochs=1, batch_size=16)
    model.fit(part(), device="cpu")
    before = model._identity(0, np.arange(4)), features.Origin.of(CONVNEXT, "scratch", 0)
    monkeypatch.setattr(timm, "__version__", "9.9")
    after = model._identity(0, np.arange(4)), features.Origin.of(CONVNEXT, "scratch", 0)
    assert before[0] != after[0] and before[1] != after[1]
    assert features.Origin.of("quick", "scratch", 0).backbone == "quick"


# ---- weights


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What timm might publish for its ViT: trained on 224 px, with a classifier."""
    torch.manual_seed(5)
    net = timm.create_model(VIT.removeprefix("timm/"))
    torch.nn.init.normal_(net.pos_embed)
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    safetensors.torch.save_file(net.state_dict(), file)
    return file


def test_weights_come_from_the_hub(published, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.hf_hub_download", lambda *a, **k: asked.append(a) or str(published)
    )
    sha = hashlib.sha256(published.read_bytes()).hexdigest()
    assert weights.describe("timm", VIT) == f"timm sha256:{sha}"
    repository = "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert asked == [(repository, "model.safetensors")]
    net = backbones.create(VIT, (224, 224, 3), "timm").network.eval()
    values = safetensors.torch.load_file(published)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, values[name]), name
    assert set(values) - set(net.state_dict()) == {"head.weight", "head.bias"}


def test_weights_are_brought_to_the_size_of_the_images(published):
    net = backbones.create(VIT, (32, 48, 3), str(published)).network
    values = safetensors.torch.load_file(published)
    assert net.pos_embed.shape == (1, 1 + 2 * 3, 192)
    assert torch.equal(net.pos_embed[:, :1], values["pos_embed"][:, :1])  # of the class token
    assert torch.equal(net.blocks[3].attn.qkv.weight, values["blocks.3.attn.qkv.weight"])


def test_images_are_normalised_as_the_weights_want(published):
    grey = images(side=32, channels=1)
    view = features.view_of(VIT, str(published), grey)
    assert (view.mean, view.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)) and view.channels == 1
    drawn = features.view_of(VIT, "scratch", grey)
    assert drawn.mean == pytest.approx(3 * [grey.mean() / 255])
    assert features.view_of(CONVNEXT, "timm", grey).mean == (0.485, 0.456, 0.406)


def test_weights_without_a_classifier_do(published, tmp_path):
    values = safetensors.torch.load_file(published)
    bare = {name: tensor for name, tensor in values.items() if not name.startswith("head.")}
    safetensors.torch.save_file(bare, tmp_path / "bare.safetensors")
    net = backbones.create(VIT, (224, 224, 3), str(tmp_path / "bare.safetensors")).network
    assert torch.equal(net.pos_embed, values["pos_embed"])


def test_other_weights_are_refused(published, tmp_path, no_hub):
    values = safetensors.torch.load_file(published)
    cases = {
        "fewer": {name: tensor for name, tensor in values.items() if "blocks.7" not in name},
        "more": values | {"else": torch.zeros(2)},
        "wider": values | {"norm.weight": torch.zeros(7)},
        "others": {"weight": torch.zeros(3)},
        "none": {},
    }
    for case, tensors in cases.items():
        file = tmp_path / f"{case}.safetensors"
        safetensors.torch.save_file(tensors, file)
        refused = "holds (other weights than those of timm/vit|no weights)"
        with pytest.raises(InputError, match=refused):
            backbones.check(VIT, (32, 32, 3), str(file))
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        backbones.check(VIT, (32, 32, 3), str(file))
    with pytest.raises(InputError, match="'nowhere': no such file"):
        backbones.check(VIT, (32, 32, 3), "nowhere")


def test_without_the_hub_there_are_no_weights(no_hub):
    refused = r"^timm's weights of timm/vit_tiny_patch16_224 could not be downloaded \(no route\); "
    for attempt in (
        lambda: backbones.create(VIT, (32, 32, 3), "timm"),
        lambda: weights.describe("timm", VIT),
        lambda: experiments.run("itq", "digits", 8, backbone=VIT, weights="timm", size=32),
    ):
        with pytest.raises(InputError, match=refused):
            attempt()


@pytest.mark.parametrize("name", ["quick", "resnet18", "efficientnet_lite0"])
def test_weights_of_timm_are_for_its_own_names(name):
    with pytest.raises(InputError, match=f"backbone {name} has no weights timm; expected: scratch"):
        backbones.create(name, (32, 32, 3), "timm")
    with pytest.raises(
        InputError, match="has no weights torchvision-imagenet; expected: scratch, timm"
    ):
        backbones.create(CONVNEXT, (32, 32, 3), "torchvision-imagenet")


def test_a_network_whose_weights_nobody_publishes(no_hub):
    every = timm.list_models()
    name = next(name for name in every if not timm.get_pretrained_cfg(name).hf_hub_id)
    with pytest.raises(InputError, match=f"^timm publishes no weights of {name}: scratch or a "):
        timm_models.published(f"timm/{name}")


def test_readme_trains_on_a_pretrained_body(digits, monkeypatch):
    """The README's example, on fewer images."""
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (example,) = (code for code in examples if "efficientnet_lite0" in code)
    few = {name: getattr(digits, name) for name in ("train", "query")}
    small = {name: part.pool.part(part.index[:128]) for name, part in few.items()}
    monkeypatch.setattr(data, "load", lambda name: replace(digits, **small))
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["packed"].shape == (128, 8) and "the extra `weights`" in text
    assert names["method"].net.origin.weights.startswith("efficientnet-lite0 sha256:")


# ---- names, sizes, and timm itself


@pytest.mark.parametrize(
    "name, hint",
    [
        ("convnext_ato", "did you mean timm/convnext_atto or "),
        ("resnet18.a1_in1", "did you mean timm/resnet18.a1_in1k or "),
        ("hf-hub:timm/resnet18", ""),
        ("zzzzzzzz", "'zzzzzzzz'$"),
        ("", "''$"),
    ],
)
def test_unknown_names(name, hint):
    for attempt in (
        lambda: methods.create("csq", 8, backbone=f"timm/{name}", batch_size=8).check(part()),
        lambda: methods.create("itq", 8, backbone=f"timm/{name}").check(part()),
        lambda: backbones.levels(f"timm/{name}", (32, 32, 3)),
        lambda: weights.describe("timm", f"timm/{name}"),
    ):
        with pytest.raises(InputError, match=f"^timm [0-9.]+ has no network .*{hint}"):
            attempt()


def test_a_name_may_say_which_weights():
    assert len(backbones.levels("timm/resnet18.a1_in1k", (32, 32, 3))) == 6


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_images_that_are_too_small(name):
    with pytest.raises(
        InputError,
        match=rf"timm/{name} does not take images of 3x3 \(.+\); its own are 224 px: size=224",
    ):
        backbones.check(f"timm/{name}", (3, 3, 3))


@pytest.mark.parametrize("name, extra", [(CONVNEXT, "timm"), ("efficientnet_lite0", "weights")])
def test_without_timm_the_extra_is_named(name, extra, monkeypatch):
    real = builtins.__import__

    def missing(module, *a, **k):
        if module.partition(".")[0] == "timm":
            raise ImportError(module)
        return real(module, *a, **k)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(
        InputError, match=rf"needs the package timm: pip install 'hashlab\[{extra}\]'"
    ):
        methods.create("itq", 8, backbone=name).check(part())
        backbones.blueprint.__wrapped__(backbones.kind_of(name), name, (32, 32, 3))


def test_timm_is_imported_when_it_is_used():
    code = (
        "import sys, hashlab; hashlab.networks.levels('quick', (32, 32, 3)); "
        "print('timm' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert python("-c", code).stdout.split() == ["False", "False"]
    assert "timm" in sys.modules
