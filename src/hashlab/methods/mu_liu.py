"""Mu and Liu, Deep Hashing: A Joint Approach for Image Signature Learning,
AAAI 2017 (arXiv 1608.03658).

A reconstruction. SEEN (abstract): features and hash functions are learned jointly from similar and
dissimilar pairs; an *exponentiated* hashing loss and its *bilinear smooth* approximation;
pre-training by image classification. INFERRED: the formulas below, the scale c, the balance of the
pairs, tanh, every setting.

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

from hashlab.errors import check_word
from hashlab.losses import classes, pairs
from hashlab.methods import adapt
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.networks import backbones
from hashlab.training import loop

FORMS = ("bilinear", "clipped")


def exponentiated_loss(b: Tensor, S: Tensor, c: float) -> Tensor:
    """The loss of every pair of codes b (B, K) in {-1, +1}; S (B, B) is +1 or -1.

        l_ij = exp(-c S_ij b_i.b_j / K)

    Returns (B, B).
    """
    return torch.exp(-S * c * (b @ b.T) / b.shape[1])


def bilinear_loss(u: Tensor, S: Tensor, c: float) -> Tensor:
    """The smooth form of `exponentiated_loss` for u (B, K) in [-1, 1]:
    equal to it at the corners of the cube.

        l_ij = prod_k [cosh(c/K) - S_ij u_ik u_jk sinh(c/K)]

    It is linear in u_ik and in u_jk, and the expected loss of independent random bits with means u.
    The product is taken as a sum of logarithms, so that it is stable for any K. Returns (B, B).
    """
    bits = u.shape[1]
    right = S[:, :, None] * u[:, None, :] * u[None, :, :]  # (B, B, K) in [-1, 1]
    log_factors = torch.log1p(-math.tanh(c / bits) * right)
    return torch.exp(bits * math.log(math.cosh(c / bits)) + log_factors.sum(-1))


def clipped_loss(z: Tensor, S: Tensor, c: float) -> Tensor:
    """Another reading of "smooth": the exponential itself, of bits cut to a line, u = max(-1,
    min(1, z)).

    Returns (B, B). A bit outside -1..1 has no gradient. INFERRED, as `bilinear_loss` is.
    """
    return exponentiated_loss(z.clamp(-1, 1), S, c)


def mu_liu_loss(z: Tensor, labels: Tensor, c: float = 4.0, form: str = "bilinear") -> Tensor:
    """The training loss of real outputs z (B, K) with labels (B,): a scalar.

    The bilinear form takes u = tanh(z). An image makes no pair with itself. The balance of the
    pairs is INFERRED: the paper's weights are unknown.

    Args:
        form: "bilinear" or "clipped".
    """
    check_word("form", form, FORMS)
    similar = pairs.similar(labels)  # (B, B)
    S = 2.0 * similar - 1
    losses = bilinear_loss(torch.tanh(z), S, c) if form == "bilinear" else clipped_loss(z, S, c)
    return pairs.balanced_mean(losses, similar, pairs.off_diagonal(len(z), z.device))


class MuLiuLoss(nn.Module):
    """`mu_liu_loss` as a module, for a training loop of your own."""

    def __init__(self, c: float = 4.0, form: str = "bilinear"):
        super().__init__()
        self.c = c
        self.form = form

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return mu_liu_loss(z, labels, self.c, self.form)


class Concurrent(nn.Module):
    """A network with a classifier beside its hash layer:
    images -> outputs z (B, K) and logits (B, C).
    """

    def __init__(self, network: Network, classes: int):
        super().__init__()
        self.network = network
        self.classifier = nn.Linear(network.backbone.features, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.body(x)
        return self.network.head(features), self.classifier(features)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of Mu and Liu; all INFERRED, chosen on held-out training images of MNIST."""

    epochs: int = setting(12, "of hashing: times that every training image is seen")
    lr: float = setting(0.1, "highest learning rate of hashing")
    c: float = setting(
        4.0, "scale of the exponent: how much worse one wrong pair is than another", most=500
    )
    form: str = setting(
        "bilinear", "the smooth form: of independent bits, or of bits cut to a line"
    )
    pretrain_epochs: int = setting(3, "of classification, before hashing; 0 to go without")
    pretrain_lr: float = setting(0.05, "highest learning rate of classification")
    concurrent: float = setting(
        0.0, "weight of a classification loss beside the hashing loss, as in the patent"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {"form": FORMS}
    ADAPTS: ClassVar[adapt.Rules] = {**adapt.DEEP, **adapt.enough_steps("pretrain_epochs")}


class MuLiu(DeepMethod):
    """Classification pre-training, then the exponentiated hashing loss in a smooth form.

    The authors' patent applies the two losses concurrently instead:
    `concurrent=1.0, pretrain_epochs=0`.
    """

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
        return mu_liu_loss(z, labels, self.config.c, self.config.form)

    def joint_loss(self, outputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """Hashing and classification at once, of z (B, K) and logits (B, C)."""
        z, logits = outputs
        return self.loss(z, labels) + self.config.concurrent * F.cross_entropy(logits, labels)

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        count = classes.count(labels)
        stages = []
        if backbones.parameters(network.backbone):  # else nothing that stays would learn from it
            last = nn.Linear(network.backbone.features, count)  # dropped afterwards
            classifier = nn.Sequential(network.backbone, last)
            stages.append(
                self.phase(
                    "pre-training",
                    classifier,
                    F.cross_entropy,
                    c.pretrain_epochs,
                    c.pretrain_lr,
                    shared=True,
                )
            )
        if c.concurrent:
            stages.append(
                self.phase("both", Concurrent(network, count), self.joint_loss, c.epochs, c.lr)
            )
        else:
            stages += super().phases(network, labels)
        return stages
