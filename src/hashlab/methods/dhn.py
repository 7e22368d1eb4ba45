"""Zhu, Long, Wang and Cao, Deep Hashing Network for Efficient Similarity Retrieval,
AAAI 2016 (DHN).

A likelihood of pairs, and a smooth log cosh pull of outputs towards -1 and +1. SEEN at second hand
(https://github.com/swuxyj/DeepHash-pytorch): both parts, the scale 1/2 of the inner product, the
weight 0.1. SEEN: the authors' later code (https://github.com/thulab/DeepHash), which has the scale
1/2 too, counts similar pairs as much as all (`balance="halves"` comes near it), and squares the
distance to the code. RECALLED from the paper: the scale 1. INFERRED: tanh at the end of the hash
layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from hashlab.losses import pairs, quantisation
from hashlab.methods import adapt
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod


def dhn_loss(
    z: Tensor, labels: Tensor, weight: float = 0.1, scale: float = 0.5, balance: str = "none"
) -> Tensor:
    """The training loss of outputs z (B, K) in [-1, 1] with labels (B,) or 0/1 (B, C): a scalar.

        mean_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + weight mean_ik log cosh(|z_ik| - 1),  Theta_ij = scale z_i.z_j

    over pairs of two different images; the second mean is over images and bits.

    Args:
        balance: "none" for the mean over pairs, "halves" for half of similar and half of dissimilar
            ones.
    """
    s = pairs.similar(labels)
    counted = pairs.off_diagonal(len(z), z.device)
    losses = pairs.likelihood_loss(scale * z @ z.T, s)  # (B, B)
    return pairs.mean(losses, s, counted, balance) + weight * quantisation.log_cosh(z)


class DHNLoss(nn.Module):
    """`dhn_loss` of tanh(z), for real outputs z."""

    def __init__(self, weight: float = 0.1, scale: float = 0.5, balance: str = "none"):
        super().__init__()
        self.weight = weight
        self.scale = scale
        self.balance = balance

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return dhn_loss(torch.tanh(z), labels, self.weight, self.scale, self.balance)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DHN."""

    weight: float = setting(0.1, "of the distance between outputs and codes, a mean over outputs")
    scale: float = setting(0.5, "of the inner product in the likelihood")
    balance: str = setting(
        "none", "of similar and dissimilar pairs: as many as there are, or half the weight each"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "balance": ("none", "halves")
    }
    ADAPTS: ClassVar[adapt.Rules] = {**adapt.DEEP, **adapt.below(adapt.SMALL, balance="halves")}


class DHN(DeepMethod):
    """Likelihood of pairs and log cosh; the hash layer ends in tanh."""

    about: ClassVar[About] = About(
        name="dhn",
        title="Deep Hashing Network for Efficient Similarity Retrieval",
        year=2016,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Zhu, Long, Wang and Cao, AAAI 2016",
        status="the paper's formula as others give it; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        c = self.config
        return dhn_loss(torch.tanh(z), labels, c.weight, c.scale, c.balance)
