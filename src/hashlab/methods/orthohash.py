"""Hoe, Ng, Zhang, Chan, Song and Xiang, One Loss for All:
Deep Hashing with a Single Cosine Similarity (OrthoHash).

NeurIPS 2021. A soft-max over the cosines between outputs and one fixed random code per class: what
is aligned with a code has small quantisation error too. SEEN (the authors' code,
https://github.com/kamwoh/orthohash): scale 8, margin 0.2 on the cosine (0.3 in its command for
CIFAR-10), codes of fair coins (an option seeks codes far apart; ours: as CSQ does), a linear layer
without bias and batch normalisation, labels shared out evenly among an image's classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.errors import named
from hashlab.losses import classes
from hashlab.losses.codebooks import CODEBOOKS
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.networks.backbones import Backbone
from hashlab.training import loop


def orthohash_loss(v: Tensor, y: Tensor, o: Tensor, s: float = 8.0, m: float = 0.2) -> Tensor:
    """The training loss of outputs v (B, K): a scalar.

        -mean_i sum_c y_ic / |y_i| log softmax_c [s (cos(v_i, o_c) - m y_ic)]

    Args:
        y: (B, C) of zeros and ones, the classes of every image; |y_i| is how many it has.
        o: (C, K) of -1 and +1, the code of every class.
        s: scale of the cosines.
        m: margin, by which the cosines of an image's own classes are lowered.
    """
    cosines = F.normalize(v) @ F.normalize(o).T  # (B, C)
    logs = torch.log_softmax(s * (cosines - m * y), 1)
    shares = y / y.sum(1, keepdim=True).clamp(min=1)
    return -(shares * logs).sum(1).mean()


class OrthoHashLoss(nn.Module):
    """`orthohash_loss` with its codebook, a buffer."""

    def __init__(self, count: int, bits: int, s: float = 8.0, m: float = 0.2, codes: str = "coins"):
        super().__init__()
        self.s = s
        self.m = m
        self.register_buffer("o", named("codes", codes, CODEBOOKS)(count, bits))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return orthohash_loss(z, classes.indicators(labels, len(self.o)), self.o, self.s, self.m)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of OrthoHash."""

    scale: float = setting(8.0, "of the cosines in the soft-max")
    margin: float = setting(0.2, "by which the cosine of the own class is lowered")
    codes: str = setting("coins", "of the classes: fair coins, or far apart as in CSQ")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {"codes": tuple(CODEBOOKS)}


class OrthoHash(DeepMethod):
    """One cosine loss to fixed random codes;
    the hash layer ends in batch normalisation, which balances the bits.
    """

    about: ClassVar[About] = About(
        name="orthohash",
        title=(
            "One Loss for All: Deep Hashing with a Single Cosine Similarity based Learning "
            "Objective"
        ),
        year=2021,
        kind="centre",
        labels=("same_class", "shares_label"),
        paper="Hoe, Ng, Zhang, Chan, Song and Xiang, NeurIPS 2021, arXiv 2109.14449",
        status="the loss of the authors' code; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def head(self, backbone: Backbone) -> nn.Module:
        return nn.Sequential(
            nn.Linear(backbone.features, self.bits, bias=False), nn.BatchNorm1d(self.bits)
        )

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = OrthoHashLoss(classes.count(labels), self.bits, c.scale, c.margin, c.codes)
        return [self.phase("hashing", network, loss, c.epochs, c.lr)]
