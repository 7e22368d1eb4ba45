"""Su, Zhang, Han and Tian, Greedy Hash:
Towards Fast Optimization for Accurate Hash Coding in CNN, NeurIPS 2018.

The classifier sees the code itself, sgn z; on the way back the gradient passes the sign as if it
were not there. SEEN (the authors' code, https://github.com/ssppp/GreedyHash, for CIFAR-10): the
straight-through sign, a linear classifier without bias, the penalty mean | |z| - 1 |^3 with weight
0.1. Ours: a classifier of a sigmoid per class where an image has several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from hashlab.losses import classes, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


def greedy_sign(z: Tensor) -> Tensor:
    """The code of outputs z as -1 and +1, through which gradients pass unchanged."""
    return quantisation.signs(z) + (z - z.detach())


def greedyhash_loss(
    z: Tensor, labels: Tensor, w: Tensor, alpha: float = 0.1, p: float = 3.0
) -> Tensor:
    """The training loss of outputs z (B, K) with labels (B,) or 0/1 (B, C): a scalar.

        cross-entropy(w sgn z_i, y_i) + alpha mean_ik |z_ik - sgn z_ik|^p

    Args:
        w: the classifier's weights (C, K).
    """
    penalty = (z - quantisation.signs(z)).abs().pow(p).mean()
    return classes.classification_loss(greedy_sign(z) @ w.T, labels) + alpha * penalty


class GreedyHashLoss(nn.Module):
    """`greedyhash_loss` with a classifier of its own, which is trained along."""

    def __init__(self, count: int, bits: int, alpha: float = 0.1, p: float = 3.0):
        super().__init__()
        self.classifier = nn.Linear(bits, count, bias=False)
        self.alpha = alpha
        self.p = p

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return greedyhash_loss(z, labels, self.classifier.weight, self.alpha, self.p)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of GreedyHash."""

    alpha: float = setting(0.1, "weight of the distance between outputs and codes")
    p: float = setting(3.0, "power of that distance")


class GreedyHash(DeepMethod):
    """A classifier on the signs, with a straight-through gradient; outputs are linear."""

    about: ClassVar[About] = About(
        name="greedyhash",
        title="Greedy Hash: Towards Fast Optimization for Accurate Hash Coding in CNN",
        year=2018,
        kind="class-wise",
        labels=("same_class", "shares_label"),
        paper="Su, Zhang, Han and Tian, NeurIPS 2018",
        status="the loss of the authors' code; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = GreedyHashLoss(classes.count(labels), self.bits, c.alpha, c.p)
        return [self.phase("hashing", network, loss, c.epochs, c.lr)]
