"""Cao, Long, Wang and Yu, HashNet: Deep Learning to Hash by Continuation, ICCV 2017.

A weighted likelihood of pairs on tanh(beta z), where beta grows in stages, so that tanh becomes the
sign. SEEN (the authors' code, https://github.com/thuml/HashNet): beta = (1 + 0.005 t)^0.5 in steps
of 200 iterations t, which is 7 at t = 10,000; similar pairs weigh more, by a number that the user
gives. There alpha stands in the exponential only, so that s_ij Theta_ij is 1/alpha times too large.
SEEN at second hand (https://github.com/swuxyj/DeepHash-pytorch): alpha in both places, alpha
= 10/K, the weights |S|/|S_1| and |S|/|S_0|. RECALLED from the paper: c_ij, and ten stages. Ours:
the weights are those of the batch, and beta reaches `last_beta` whatever the number of epochs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.losses import pairs
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


def hashnet_loss(h: Tensor, labels: Tensor, alpha: float) -> Tensor:
    """The training loss of outputs h (B, K) in [-1, 1] with labels (B,) or 0/1 (B, C): a scalar.

        mean_ij w_ij [log(1 + exp Theta_ij) - s_ij Theta_ij],  Theta_ij = alpha h_i.h_j,
        w_ij = c_ij |S|/|S_1| if similar, |S|/|S_0| if not,

    over pairs of two different images, of which |S_1| are similar and |S_0| are not. c_ij is the
    number of labels that a similar pair shares, of those that one of the two has; 1 for classes.
    """
    s = pairs.similar(labels)
    counted = pairs.off_diagonal(len(h), h.device)
    losses = pairs.likelihood_loss(alpha * h @ h.T, s)  # (B, B)
    if labels.ndim == 2:
        y = labels.to(h.dtype)
        shared = y @ y.T
        sizes = y.sum(1)
        either = sizes[:, None] + sizes - shared  # labels that one of the two has
        c = torch.where(s, shared / either.clamp(min=1), 1.0)
        losses = losses * c
    return 2 * pairs.balanced_mean(losses, s, counted)  # halves of a weight |S|/|S_1| and |S|/|S_0|


class HashNetLoss(nn.Module):
    """`hashnet_loss` of tanh(beta z) for real outputs z; `beta` is a buffer, moved by `step`."""

    def __init__(self, bits: int, alpha: float = 10.0, last_beta: float = 7.0, stages: int = 10):
        super().__init__()
        self.alpha = alpha / bits
        self.last_beta = last_beta
        self.stages = stages
        self.register_buffer("beta", torch.ones(()))

    def step(self, epoch: int, epochs: int) -> None:
        """Set beta for an epoch in 1..epochs: its square grows evenly from stage to stage."""
        stage = (epoch - 1) * self.stages // epochs
        self.beta.fill_(math.sqrt(1 + (self.last_beta**2 - 1) * stage / max(self.stages - 1, 1)))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return hashnet_loss(torch.tanh(self.beta * z), labels, self.alpha)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of HashNet."""

    alpha: float = setting(
        10.0, "scale of the inner product in the likelihood, divided by the code length"
    )
    last_beta: float = setting(7.0, "steepness of tanh in the last stage; it begins at 1")
    stages: int = setting(10, "in which the steepness grows", least=1)


class HashNet(DeepMethod):
    """Weighted likelihood of pairs; the hash layer's tanh becomes steeper as training goes on."""

    about: ClassVar[About] = About(
        name="hashnet",
        title="HashNet: Deep Learning to Hash by Continuation",
        year=2017,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Cao, Long, Wang and Yu, ICCV 2017, arXiv 1702.00758",
        status=(
            "the paper's formula as others give it, steepness after the authors' code; network and "
            "schedule ours"
        ),
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = HashNetLoss(self.bits, c.alpha, c.last_beta, c.stages)

        def steepen(epoch: int, batches: object) -> None:
            loss.step(epoch, c.epochs)

        return [self.phase("hashing", network, loss, c.epochs, c.lr, before_epoch=steepen)]
