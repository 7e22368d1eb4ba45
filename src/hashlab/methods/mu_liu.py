"""Mu and Liu, Deep Hashing: A Joint Approach for Image Signature Learning, AAAI 2017 (arXiv 1608.03658).

A reconstruction. SEEN (abstract): features and hash functions are learned jointly from similar and dissimilar
pairs; an *exponentiated* hashing loss and its *bilinear smooth* approximation; pre-training by image
classification. INFERRED: the formulas below, the scale c, the balance of the pairs, tanh, every setting.

References: the ledger in the book's chapter "Mu and Liu 2017".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab import training
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network


def exponentiated_loss(b: Tensor, y: Tensor, c: float) -> Tensor:
    """exp(-y c b∘b'/K) for every pair of codes b (B, K) in {-1, +1}; y (B, B) is +1 or -1. Returns (B, B)."""
    return torch.exp(-y * c * (b @ b.T) / b.shape[1])


def bilinear_loss(t: Tensor, y: Tensor, c: float) -> Tensor:
    """The smooth form of `exponentiated_loss` for t (B, K) in [-1, 1]: equal to it at the corners of the cube.

        l_ij = prod_k [cosh(c/K) - y_ij t_ik t_jk sinh(c/K)]

    It is linear in t_ik and in t_jk, and the expected loss of independent random bits with means t. The product is
    taken as a sum of logarithms, so that it is stable for any K. Returns (B, B).
    """
    bits = t.shape[1]
    agreement = y[:, :, None] * t[:, None, :] * t[None, :, :]  # (B, B, K) in [-1, 1]
    log_factors = torch.log1p(-math.tanh(c / bits) * agreement)
    return torch.exp(bits * math.log(math.cosh(c / bits)) + log_factors.sum(-1))


def pair_mean(losses: Tensor, y: Tensor) -> Tensor:
    """Mean over similar pairs plus mean over dissimilar pairs, halved: (B, B) -> scalar.

    An image makes no pair with itself. Balanced because only a tenth of random pairs of ten classes is similar.
    INFERRED: the paper's weights are unknown.
    """
    others = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    means = [losses[others & (y == sign)] for sign in (1, -1)]
    return sum(m.mean() for m in means if m.numel()) / 2


def mu_liu_loss(z: Tensor, labels: Tensor, c: float = 1.0) -> Tensor:
    """The training loss of real outputs z (B, K) with labels (B,): t = tanh(z), then the balanced bilinear loss."""
    y = 2.0 * (labels[:, None] == labels[None, :]) - 1  # (B, B) in {-1, +1}
    return pair_mean(bilinear_loss(torch.tanh(z), y, c), y)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of Mu and Liu; all INFERRED, chosen on held-out training images of MNIST."""

    epochs: int = setting(12, "of hashing: times that every training image is seen")
    lr: float = setting(0.1, "highest learning rate of hashing")
    c: float = setting(4.0, "scale of the exponent: how much worse one wrong pair is than another")
    pretrain_epochs: int = setting(3, "of classification, before hashing; 0 to go without")
    pretrain_lr: float = setting(0.05, "highest learning rate of classification")


class MuLiu(DeepMethod):
    """Classification pre-training, then the exponentiated hashing loss in its bilinear smooth form."""

    about: ClassVar[About] = About(
        name="mu_liu",
        title="Deep Hashing: A Joint Approach for Image Signature Learning",
        year=2017,
        kind="pairwise",
        labels=("same_class",),
        paper="Mu and Liu, AAAI 2017, arXiv 1608.03658",
        status="reconstruction from the abstract and the authors' patents",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        return mu_liu_loss(z, labels, self.config.c)

    def phases(self, network: Network, labels: np.ndarray) -> list[training.Phase]:
        hashing = super().phases(network, labels)
        if self.config.frozen:  # nothing that stays would learn from it
            return hashing
        last = nn.Linear(network.backbone.features, int(labels.max()) + 1)  # dropped afterwards
        classifier, c = nn.Sequential(network.backbone, last), self.config
        first = self.phase("pre-training", classifier, F.cross_entropy, c.pretrain_epochs, c.pretrain_lr, shared=True)
        return [first, *hashing]
