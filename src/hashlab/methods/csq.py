"""Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, Central Similarity Quantization, CVPR 2020 (CSQ).

Every class has a fixed code, its hash centre, from which the other centres are K/2 bits away;
outputs learn the bits of their centre. RECALLED: rows of a Hadamard matrix for up to K classes, of
it and its negative for up to 2K; else (K no power of two, or more classes) random codes with half
of the bits set; and log cosh of the distance to the code. SEEN (the authors' code,
https://github.com/yuanli2333/Hadamard-Matrix-for-hashing): binary cross-entropy of (tanh z + 1)/2,
the vote of an image's centres with one random code for ties, a squared distance to the code with
weights from 1e-4 to 0.05, and a pairwise loss that its own commands switch off. SEEN at second hand
(https://github.com/swuxyj/DeepHash-pytorch): the rows of a Hadamard matrix and its negative, the
weight 1e-4. Ours: random codes are taken one after the other, each as far as possible from those
before it; no two classes share one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.data.parts import Labelled
from hashlab.errors import InputError
from hashlab.losses import classes, quantisation
from hashlab.losses.codebooks import capacity, centres
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


def csq_loss(z: Tensor, centre: Tensor, weight: float = 1e-4) -> Tensor:
    """The training loss of real outputs z (B, K) whose images have the centres (B, K) of -1 and +1:
    a scalar.

    With h = (tanh z + 1)/2 and c = (centre + 1)/2,

        mean_ik [-c_ik log h_ik - (1 - c_ik) log(1 - h_ik)] + weight mean_ik log
        cosh(|2 h_ik - 1| - 1)
    """
    central = F.softplus(-2 * z * centre).mean()  # h = sigmoid(2 z)
    return central + weight * quantisation.log_cosh(torch.tanh(z))


class CSQLoss(nn.Module):
    """`csq_loss` with its centres; an image of several classes has the vote of their centres."""

    def __init__(self, count: int, bits: int, weight: float = 1e-4):
        super().__init__()
        self.weight = weight
        self.register_buffer("centres", centres(count, bits))
        self.register_buffer("ties", classes.random_signs(1, bits))

    def of(self, labels: Tensor) -> Tensor:
        """The centre of every image: (B, K)."""
        if labels.ndim == 1:
            return self.centres[labels]
        votes = labels.float() @ self.centres
        return torch.where(votes == 0, self.ties, votes.sign())

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return csq_loss(z, self.of(labels), self.weight)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of CSQ."""

    weight: float = setting(1e-4, "of the distance between outputs and codes")


class CSQ(DeepMethod):
    """Outputs learn the bits of their class's fixed centre."""

    about: ClassVar[About] = About(
        name="csq",
        title="Central Similarity Quantization for Efficient Image and Video Retrieval",
        year=2020,
        kind="centre",
        labels=("same_class", "shares_label"),
        paper="Yuan, Wang, Zhang, Tay, Jie, Liu and Feng, CVPR 2020, arXiv 1908.00347",
        status=(
            "the loss of the authors' code with the paper's log cosh; network and schedule are ours"
        ),
    )
    Config: ClassVar[type] = Config

    def check(self, train: Labelled) -> None:
        super().check(train)
        count = classes.count(self.targets(train))
        if count > capacity(self.bits):
            raise InputError(
                f"csq needs a centre per class: {self.bits} bits are too few for {count} classes"
            )

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = CSQLoss(classes.count(labels), self.bits, c.weight)
        return [self.phase("hashing", network, loss, c.epochs, c.lr)]
