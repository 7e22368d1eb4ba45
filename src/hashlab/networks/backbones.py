"""Convolutional networks that turn images (B, C, H, W) into features (B, d), with taps on the way.

A backbone is a `Backbone`: a chain of named stages ending in a feature vector. `.levels` says what
each stage gives. Nets of our own train from scratch; torchvision's and timm's come with the names of
their papers, and with weights (`weights.py`).

References: LeCun et al. 1998 (LeNet); Krizhevsky et al. 2012 and 2014 (AlexNet); Simonyan and
Zisserman 2015 (VGG); He et al. 2016 (ResNet); Sandler et al. 2018 (MobileNetV2); Page, How to train
your ResNet, 2018 (resnet9); Tan and Le 2019, and Liu 2020 (EfficientNet-Lite0).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from hashlab.errors import InputError, unknown
from hashlab.networks import weights


class Level(NamedTuple):
    """What a stage gives: maps (B, channels, H / stride, W / stride);
    a vector (B, channels) where stride is None.
    """

    channels: int
    stride: int | None


Stages = list[tuple[str, nn.Module, Level]]


class Backbone(nn.Module):
    """Named stages run one after the other; the last one ends in (B, features).

    Where the first of them are frozen, what their last one gave before is taken as well as images:
    maps of so many channels.

    Args:
        stages: name, module and what it gives, in order.
    """

    frozen: bool | str = False  # all of it, or the stages up to and including a level

    def __init__(self, stages: Stages):
        super().__init__()
        self.stages = nn.ModuleDict({name: module for name, module, _ in stages})
        self.levels: Mapping[str, Level] = {name: level for name, _, level in stages}
        self.features = stages[-1][2].channels

    def freeze(self, up_to: bool | str = True) -> Self:
        """From now on weights and batch statistics stay as they are,
        of all stages or of those up to and including a level.
        """
        self.frozen = up_to
        for stage in self.frozen_stages():
            stage.requires_grad_(False)
        return self.train(self.training)

    @property
    def frozen_level(self) -> str | None:
        """The level up to which it is frozen; None where all of it is, or nothing."""
        return self.frozen if isinstance(self.frozen, str) else None

    def frozen_stages(self) -> list[nn.Module]:
        if self.frozen_level is None:
            return list(self.stages.values()) if self.frozen else []
        return [self.stages[name] for name in until(self.levels, self.frozen_level)]

    def forward(self, x: Tensor) -> Tensor:
        for stage in list(self.stages.values())[self._done(x) :]:
            x = stage(x)
        return x  # (B, features)

    def _done(self, x: Tensor) -> int:
        """How many stages were run on x before: none on images (B, C, H, W), which have 1 or 3
        channels; the frozen ones on what these gave.
        """
        if self.frozen_level is None:
            return 0
        level = self.levels[self.frozen_level]
        given = x.ndim == (2 if level.stride is None else 4) and x.shape[1] == level.channels
        return len(self.frozen_stages()) if given else 0

    def forward_levels(self, x: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """What the named stages give, in the order asked for; later stages are not run."""
        check_levels(self, names)
        done = self._done(x)
        outputs: dict[str, Tensor] = {self.frozen_level: x} if done else {}
        for name, stage in list(self.stages.items())[done:]:
            if outputs.keys() >= set(names):
                break
            x = stage(x)
            outputs[name] = x
        return tuple(outputs[name] for name in names)

    def train(self, mode: bool = True) -> Self:
        super().train(mode and self.frozen is not True)
        for stage in self.frozen_stages():
            stage.eval()
        return self


def check_levels(backbone: Backbone, names: Sequence[str]) -> None:
    """Raise InputError unless all names are levels of the backbone."""
    unknown = [name for name in names if name not in backbone.levels]
    if unknown:
        raise InputError(
            f"unknown level {unknown[0]!r}; this backbone has: {', '.join(backbone.levels)}"
        )


def until(levels: Mapping[str, Level], level: str) -> list[str]:
    """The names of the levels up to and including one of them, in order."""
    names = list(levels)
    return names[: names.index(level) + 1]


def check_frozen(
    levels: Mapping[str, Level], frozen: bool | str, taps: Sequence[str], backbone: str
) -> None:
    """Raise InputError unless a backbone can stay as it is up to a level,
    and nothing that is needed lies before.

    Args:
        taps: levels that the head takes.
        backbone: its name, for messages.
    """
    if not isinstance(frozen, str):
        return
    inner = list(levels)[:-1]
    if frozen not in inner:
        known = ", ".join(inner)
        raise InputError(
            f"frozen must be true, false or a level of {backbone} before its last ({known}), got "
            f"{frozen!r}"
        )
    early = [name for name in until(levels, frozen)[:-1] if name in taps]
    if early:
        raise InputError(
            f"frozen must be a level that does not lie behind {early[0]}, which the head takes, "
            f"got {frozen!r}"
        )


def spelt(scales: str) -> str:
    """One name for one thing: levels with + between them, where commas and blanks may stand."""
    return scales.replace(",", "+").replace(" ", "")


def named(levels: Mapping[str, Level], scales: str, backbone: str) -> tuple[str, ...]:
    """The levels that a setting names, with + between them, in the backbone's order.

    Args:
        levels: all levels of the backbone.
        backbone: its name, for messages.

    Raises InputError for a level that the backbone does not have, or one that is named twice.
    """
    names = scales.split("+")
    unknown = [name for name in names if name not in levels]
    if unknown:
        known = ", ".join(levels)
        raise InputError(f"scales: backbone {backbone} has no level {unknown[0]!r}; it has {known}")
    if len(set(names)) < len(names):
        raise InputError(f"scales: each level can be named once, got {scales}")
    return tuple(name for name in levels if name in names)


# ---- nets of our own


def _block(
    inputs: int, outputs: int, kernel: int = 3, padding: int = 1, pool: bool = True
) -> nn.Sequential:
    """Convolution, max-pooling, batch normalisation, ReLU:
    pooling first spares the other two 3/4 of their work.
    """
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU())


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    linear = nn.Linear(inputs, outputs, bias=False)
    return nn.Sequential(nn.Flatten(), linear, nn.BatchNorm1d(outputs), nn.ReLU())


def tiny(channels: int, height: int, width: int) -> Stages:
    """Two 3x3 convolutions and a dense layer, for 8x8 images (about 18,000 weights)."""
    return [
        ("conv1", _block(channels, 16), Level(16, 2)),
        ("conv2", _block(16, 32), Level(32, 4)),
        ("fc", _dense(32 * (height // 4) * (width // 4), 100), Level(100, None)),
    ]


def lenet(channels: int, height: int, width: int) -> Stages:
    """LeNet with 20 and 50 maps and 500 features, batch-normalised, for 28 or 32 px.

    The sizes are those of Caffe's MNIST example; batch normalisation is an addition.
    """

    def places(side: int) -> int:
        return ((side - 4) // 2 - 4) // 2  # two convolutions without padding, each pooled

    return [
        ("conv1", _block(channels, 20, 5, 0), Level(20, 2)),
        ("conv2", _block(20, 50, 5, 0), Level(50, 4)),
        ("fc", _dense(50 * places(height) * places(width), 500), Level(500, None)),
    ]


def quick(channels: int, height: int, width: int) -> Stages:
    """Three 3x3 convolutions with 32, 64 and 128 maps and 256 features, for 32 px on a CPU."""
    return [
        ("conv1", _block(channels, 32), Level(32, 2)),
        ("conv2", _block(32, 64), Level(64, 4)),
        ("conv3", _block(64, 128), Level(128, 8)),
        ("fc", _dense(128 * (height // 8) * (width // 8), 256), Level(256, None)),
    ]


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def resnet9(channels: int, height: int, width: int) -> Stages:
    """Page's residual net of eight convolutions for 32 px:
    94 % on CIFAR-10 within minutes of one GPU.
    """

    def twice(maps: int) -> Residual:
        return Residual(
            nn.Sequential(_block(maps, maps, pool=False), _block(maps, maps, pool=False))
        )

    return [
        ("conv1", _block(channels, 64, pool=False), Level(64, 1)),
        ("conv2", nn.Sequential(_block(64, 128), twice(128)), Level(128, 2)),
        ("conv3", _block(128, 256), Level(256, 4)),
        ("conv4", nn.Sequential(_block(256, 512), twice(512)), Level(512, 8)),
        ("pool", nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), Level(512, None)),
    ]


# ---- torchvision's nets and timm's, cut into the stages of their papers


def _alexnet(net: nn.Module) -> Stages:
    """Five convolutions, each ending with its ReLU: pooling opens the next stage."""
    levels = [Level(64, 4), Level(192, 8), Level(384, 16), Level(256, 16), Level(256, 16)]
    stages = _convolutions(net, [0, 2, 5, 8, 10, 12], levels)
    return stages + _two_dense(net, 12, 3)


def _vgg(net: nn.Module) -> Stages:
    """Five blocks of convolutions, each ending with its last ReLU: pooling opens the next stage."""
    pools = [i for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    levels = [Level(64, 1), Level(128, 2), Level(256, 4), Level(512, 8), Level(512, 16)]
    stages = _convolutions(net, [0, *pools], levels)
    return stages + _two_dense(net, pools[-1], 2)


def _convolutions(net: nn.Module, cuts: Sequence[int], levels: Sequence[Level]) -> Stages:
    """`net.features` cut at the given places, as conv1, conv2, …"""
    parts = [net.features[start:end] for start, end in pairwise(cuts)]
    return _numbered(parts, levels)


def _numbered(parts: Sequence[nn.Module], levels: Sequence[Level]) -> Stages:
    """Stages conv1, conv2, …"""
    names = [f"conv{i}" for i in range(1, len(parts) + 1)]
    return list(zip(names, parts, levels, strict=True))


def _two_dense(net: nn.Module, pool: int, first: int) -> Stages:
    """The last pooling with fc6, and fc7; `first` layers of the classifier belong to fc6."""
    fc6 = nn.Sequential(net.features[pool:], net.avgpool, nn.Flatten(), net.classifier[:first])
    fc7 = net.classifier[first : first + 3]
    return [("fc6", fc6, Level(4096, None)), ("fc7", fc7, Level(4096, None))]


def _resnet(net: nn.Module) -> Stages:
    """conv1, then the four groups of blocks that the paper calls conv2 to conv5,
    then the mean over all places.
    """
    expansion = net.layer1[0].expansion
    levels = [Level(64, 2), *(Level(64 * 2**i * expansion, 4 * 2**i) for i in range(4))]
    parts = [
        nn.Sequential(net.conv1, net.bn1, net.relu),
        nn.Sequential(net.maxpool, net.layer1),
        net.layer2,
        net.layer3,
        net.layer4,
    ]
    pool = nn.Sequential(net.avgpool, nn.Flatten())
    return [*_numbered(parts, levels), ("pool", pool, Level(levels[-1].channels, None))]


def _mobilenet_v2(net: nn.Module) -> Stages:
    """Bottlenecks grouped by stride, then the mean over all places."""
    levels = [Level(16, 2), Level(24, 4), Level(32, 8), Level(96, 16), Level(1280, 32)]
    stages = _convolutions(net, [0, 2, 4, 7, 14, 19], levels)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return [*stages, ("pool", pool, Level(1280, None))]


def _efficientnet_lite0(net: nn.Module) -> Stages:
    """Bottlenecks grouped by stride and width, then the mean over all places."""
    blocks = net.blocks
    last = nn.Sequential(blocks[5], blocks[6], net.conv_head, net.bn2)
    return [
        ("conv1", nn.Sequential(net.conv_stem, net.bn1, blocks[0]), Level(16, 2)),
        ("conv2", blocks[1], Level(24, 4)),
        ("conv3", blocks[2], Level(40, 8)),
        ("conv4a", blocks[3], Level(80, 16)),
        ("conv4", blocks[4], Level(112, 16)),
        ("conv5", last, Level(1280, 32)),
        ("pool", net.global_pool, Level(1280, None)),
    ]


# ---- by name


def _torchvision(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def _timm(name: str) -> nn.Module:
    """timm's form, named tf_…, of a network that TensorFlow trained: it pads as TensorFlow does."""
    try:
        import timm
    except ImportError:
        needed = "pip install 'hashlab[weights]'"
        raise InputError(f"backbone {name} needs the package timm: {needed}") from None
    return timm.create_model(f"tf_{name}", pretrained=False)


@dataclass(frozen=True)
class Kind:
    """How a backbone is made: `stages(channels, height, width)`,
    or by cutting up the network that a library makes.
    """

    smallest: int  # side of the smallest images
    stages: Callable[[int, int, int], Stages] | None = None
    cut: Callable[[nn.Module], Stages] | None = None
    library: Callable[[str], nn.Module] = _torchvision  # makes the network that is cut, by name
    dropped: str = ""  # beginning of the names of the weights behind the last stage


MOST_WEIGHTS = 1 << 29  # 2 GB; the largest of ours, VGG-19, has 144 million

BACKBONES: dict[str, Kind] = {
    "tiny": Kind(4, tiny),
    "lenet": Kind(16, lenet),
    "quick": Kind(8, quick),
    "resnet9": Kind(8, resnet9),
    "alexnet": Kind(63, cut=_alexnet, dropped="classifier.6."),
    "vgg16": Kind(32, cut=_vgg, dropped="classifier.6."),
    "vgg19": Kind(32, cut=_vgg, dropped="classifier.6."),
    "resnet18": Kind(32, cut=_resnet, dropped="fc."),
    "resnet50": Kind(32, cut=_resnet, dropped="fc."),
    "mobilenet_v2": Kind(32, cut=_mobilenet_v2, dropped="classifier.1."),
    "efficientnet_lite0": Kind(32, cut=_efficientnet_lite0, library=_timm, dropped="classifier."),
}


def names() -> list[str]:
    """The names that `create` takes."""
    return list(BACKBONES)


def check_name(name: str) -> None:
    """Raise InputError unless `name` is one of `names()`."""
    if name not in names():
        raise unknown(f"backbone {name!r}", name, BACKBONES)


def from_library(name: str) -> bool:
    """Whether the backbone is one of torchvision's or timm's:
    they take three channels, and weights are published for them.
    """
    return BACKBONES[name].cut is not None


def check(name: str, shape: tuple[int, ...], start: str = weights.SCRATCH) -> None:
    """Raise InputError unless a backbone takes images (H, W) or (H, W, C) and has weights `start`.

    Nothing is downloaded or loaded for it.
    """
    check_name(name)
    kind = BACKBONES[name]
    size = f"{shape[0]}x{shape[1]}"
    if min(shape[:2]) < kind.smallest:
        least = f"at least {kind.smallest} px"
        raise InputError(
            f"backbone {name} takes images of {least}, got {size} (setting size enlarges)"
        )
    with torch.device("meta"):
        network = _network(name, shape)
    count = parameters(network)
    if count > MOST_WEIGHTS:
        raise InputError(
            f"backbone {name} has {count} weights for images of {size}, at most {MOST_WEIGHTS} fit"
        )
    weights.check(start, network, kind.dropped, name)


def create(
    name: str, shape: tuple[int, ...], start: str = weights.SCRATCH, frozen: bool | str = False
) -> Backbone:
    """A backbone for images of `shape` (H, W) or (H, W, C);
    what is not loaded is drawn from torch's generator.

    Args:
        start: `scratch`, a name of `weights.SOURCES` (fetched when first used, and never read where
            the SHA-256 is another than the one that stands there), or a path to a safetensors file
            with the state dict of the library's network, or of our own.
        frozen: whether it stays as it is, batch statistics included; or the level up to which it
            does.

    Raises:
        InputError: unknown name, images that are too small, weights that are altered or of another
            architecture, a package that is missing.
    """
    check(name, shape, start)
    kind = BACKBONES[name]
    network = _network(name, shape)
    weights.load(start, network, kind.dropped, name)
    backbone = Backbone(kind.cut(network)) if kind.cut else network
    check_frozen(backbone.levels, frozen, (), name)
    return backbone.freeze(frozen) if frozen else backbone


@cache
def levels(name: str, shape: tuple[int, ...]) -> Mapping[str, Level]:
    """What the stages of a backbone give, by name and in order; its weights are not made for it.

    Raises InputError as `create` does.
    """
    with torch.device("meta"):
        return create(name, shape).levels


def _network(name: str, shape: tuple[int, ...]) -> nn.Module:
    """What a file of weights for the backbone is the state dict of."""
    kind = BACKBONES[name]
    if kind.cut is None:
        channels = shape[2] if len(shape) == 3 else 1
        return Backbone(kind.stages(channels, *shape[:2]))
    return kind.library(name)


def default(shape: tuple[int, ...]) -> str:
    """The backbone that suits images of `shape`:
    `tiny` below 16 px, else `lenet` for grey and `quick` for colour.
    """
    if min(shape[:2]) < BACKBONES["lenet"].smallest:
        return "tiny"
    return "quick" if len(shape) == 3 and shape[2] == 3 else "lenet"


def parameters(module: nn.Module) -> int:
    """The number of trained numbers in a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`, or CUDA where there is one, else the CPU;
    raises InputError if it is not there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of devices that torch gives up
            usual = "cuda" if torch.cuda.is_available() else "cpu"
            chosen = torch.device(usual if name is None else name)
        torch.zeros(1, device=chosen).item()  # some can be named but hold nothing
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen
