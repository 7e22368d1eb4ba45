"""The backbone of features that are given: it standardises them, and may put a dense layer on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashlab.networks.nets import dense
from hashlab.networks.stages import Backbone, Level

GIVEN = "features"  # the name of their backbone, and of its level
FARTHEST = 1e4  # standard deviations from the mean: what lies beyond is moved to there
# What a learning rate is worth grows with the squared length of what a layer takes. So wide features
# are made as long as those of `quick`, for which learning rates were chosen: 256 of them after a
# ReLU, whose mean square is 1/2.
LENGTH = 128.0


class Standard(nn.Module):
    """Features (B, d) -> mean 0 and variance 1, by statistics that `learn` takes; where they are
    many, all are made smaller until the mean squared length is `LENGTH`.
    """

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))
        self.scale = min(1.0, (LENGTH / width) ** 0.5)

    def learn(self, mean: Tensor, std: Tensor) -> None:
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).clamp(-FARTHEST, FARTHEST) * self.scale


class Given(Backbone):
    """Features (B, d) that are given, standardised, and a dense layer on them where that is wanted.

    They stay as they are, frozen or not; the dense layer is always trained.

    Args:
        width: d.
        hidden: numbers that the dense layer makes of them; 0 to do without it.
    """

    def __init__(self, width: int, hidden: int = 0):
        stages = [(GIVEN, Standard(width), Level(width, None))]
        if hidden:
            stages.append(("hidden", dense(width, hidden), Level(hidden, None)))
        super().__init__(stages)

    def computed(self, x: Tensor) -> bool:
        return False  # features are what comes in
