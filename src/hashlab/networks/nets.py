"""The stages that backbones are made of: nets of our own, and the networks of libraries cut where
their papers do.

References: LeCun et al. 1998 (LeNet); Krizhevsky et al. 2012 and 2014 (AlexNet); Simonyan and
Zisserman 2015 (VGG); He et al. 2016 (ResNet); Sandler et al. 2018 (MobileNetV2); Page, How to train
your ResNet, 2018 (resnet9); Tan and Le 2019, and Liu 2020 (EfficientNet-Lite0).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from hashlab.networks.stages import Level, Stages

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


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """A dense layer, batch normalisation, ReLU."""
    linear = nn.Linear(inputs, outputs, bias=False)
    return nn.Sequential(nn.Flatten(), linear, nn.BatchNorm1d(outputs), nn.ReLU())


def tiny(channels: int, height: int, width: int) -> Stages:
    """Two 3x3 convolutions and a dense layer, for 8x8 images (about 18,000 weights)."""
    return [
        ("conv1", _block(channels, 16), Level(16, 2)),
        ("conv2", _block(16, 32), Level(32, 4)),
        ("fc", dense(32 * (height // 4) * (width // 4), 100), Level(100, None)),
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
        ("fc", dense(50 * places(height) * places(width), 500), Level(500, None)),
    ]


def quick(channels: int, height: int, width: int) -> Stages:
    """Three 3x3 convolutions with 32, 64 and 128 maps and 256 features, for 32 px on a CPU."""
    return [
        ("conv1", _block(channels, 32), Level(32, 2)),
        ("conv2", _block(32, 64), Level(64, 4)),
        ("conv3", _block(64, 128), Level(128, 8)),
        ("fc", dense(128 * (height // 8) * (width // 8), 256), Level(256, None)),
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


def alexnet(net: nn.Module) -> Stages:
    """Five convolutions, each ending with its ReLU: pooling opens the next stage."""
    levels = [Level(64, 4), Level(192, 8), Level(384, 16), Level(256, 16), Level(256, 16)]
    stages = _convolutions(net, [0, 2, 5, 8, 10, 12], levels)
    return stages + _twodense(net, 12, 3)


def vgg(net: nn.Module) -> Stages:
    """Five blocks of convolutions, each ending with its last ReLU: pooling opens the next stage."""
    pools = [i for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
    levels = [Level(64, 1), Level(128, 2), Level(256, 4), Level(512, 8), Level(512, 16)]
    stages = _convolutions(net, [0, *pools], levels)
    return stages + _twodense(net, pools[-1], 2)


def _convolutions(net: nn.Module, cuts: Sequence[int], levels: Sequence[Level]) -> Stages:
    """`net.features` cut at the given places, as conv1, conv2, …"""
    parts = [net.features[start:end] for start, end in pairwise(cuts)]
    return _numbered(parts, levels)


def _numbered(parts: Sequence[nn.Module], levels: Sequence[Level]) -> Stages:
    """Stages conv1, conv2, …"""
    names = [f"conv{i}" for i in range(1, len(parts) + 1)]
    return list(zip(names, parts, levels, strict=True))


def _twodense(net: nn.Module, pool: int, first: int) -> Stages:
    """The last pooling with fc6, and fc7; `first` layers of the classifier belong to fc6."""
    fc6 = nn.Sequential(net.features[pool:], net.avgpool, nn.Flatten(), net.classifier[:first])
    fc7 = net.classifier[first : first + 3]
    return [("fc6", fc6, Level(4096, None)), ("fc7", fc7, Level(4096, None))]


def resnet(net: nn.Module) -> Stages:
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


def mobilenet_v2(net: nn.Module) -> Stages:
    """Bottlenecks grouped by stride, then the mean over all places."""
    levels = [Level(16, 2), Level(24, 4), Level(32, 8), Level(96, 16), Level(1280, 32)]
    stages = _convolutions(net, [0, 2, 4, 7, 14, 19], levels)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return [*stages, ("pool", pool, Level(1280, None))]


def efficientnet_lite0(net: nn.Module) -> Stages:
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
