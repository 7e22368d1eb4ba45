"""Convolutional networks that turn images (B, C, H, W) into features (B, d).

A backbone is a `Backbone`: a chain of named stages (`.levels`) ending in a feature vector of `.features` numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hashlab.errors import InputError


class Backbone(nn.Module):
    """Named stages run one after the other; the last one ends in (B, features)."""

    def __init__(self, stages: OrderedDict[str, nn.Module], features: int):
        super().__init__()
        self.stages = nn.ModuleDict(stages)
        self.features = features

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the stages, in order."""
        return tuple(self.stages)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages.values():
            x = stage(x)
        return x  # (B, features)


def _block(inputs: int, outputs: int, kernel: int, padding: int = 0) -> nn.Sequential:
    """Convolution, max-pooling, batch normalisation, ReLU: pooling first spares the other two 3/4 of their work."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU())


def tiny(channels: int, size: int) -> Backbone:
    """Two 3x3 convolutions and a dense layer, for 8x8 images (about 18,000 weights)."""
    side = size // 2 // 2
    stages = [
        ("conv1", _block(channels, 16, 3, 1)),
        ("conv2", _block(16, 32, 3, 1)),
        ("fc", _dense(32 * side**2, 100)),
    ]
    return Backbone(OrderedDict(stages), 100)


def lenet(channels: int, size: int) -> Backbone:
    """LeNet with 20 and 50 maps and 500 features, batch-normalised, for 28 or 32 px.

    The sizes are those of Caffe's MNIST example; batch normalisation is an addition.
    """
    side = ((size - 4) // 2 - 4) // 2
    stages = [
        ("conv1", _block(channels, 20, 5)),
        ("conv2", _block(20, 50, 5)),
        ("fc", _dense(50 * side**2, 500)),
    ]
    return Backbone(OrderedDict(stages), 500)


BACKBONES: dict[str, tuple[Callable[[int, int], Backbone], int]] = {"tiny": (tiny, 4), "lenet": (lenet, 16)}


def names() -> list[str]:
    """The names that `create` takes."""
    return list(BACKBONES)


def check(name: str, shape: tuple[int, ...]) -> None:
    """Raise InputError unless `name` is a backbone that takes images of `shape` (H, W) or (H, W, C)."""
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}; expected one of: {', '.join(BACKBONES)}")
    smallest = BACKBONES[name][1]
    if min(shape[:2]) < smallest:
        raise InputError(f"backbone {name} takes images of at least {smallest} px, got {shape[0]}x{shape[1]}")


def create(name: str, shape: tuple[int, ...]) -> Backbone:
    """A freshly initialised backbone for images of `shape` (H, W) or (H, W, C); draws from torch's generator.

    Raises InputError for an unknown name and for images that are too small.
    """
    check(name, shape)
    return BACKBONES[name][0](shape[2] if len(shape) == 3 else 1, min(shape[:2]))


def default(shape: tuple[int, ...]) -> str:
    """The backbone that suits images of `shape`: `tiny` below 16 px, else `lenet`."""
    return "tiny" if min(shape[:2]) < BACKBONES["lenet"][1] else "lenet"


def parameters(module: nn.Module) -> int:
    """The number of trained numbers in a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`, or CUDA where there is one, else the CPU; raises InputError if it is not there."""
    try:
        chosen = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen
