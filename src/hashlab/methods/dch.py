"""Cao, Long, Liu and Wang, Deep Cauchy Hashing for Hamming Space Retrieval, CVPR 2018 (DCH).

Probabilities of similarity that fall like a Cauchy distribution, gamma / (gamma + d), so that
similar images are drawn into a small Hamming ball. SEEN at second hand
(https://github.com/swuxyj/DeepHash-pytorch): both parts, gamma = 20 and the weight 0.1, with the
numbers of the paper's equations. SEEN (the authors' code, https://github.com/thulab/DeepHash): the
distance K (1 - cos)/2 and the weight of similar pairs, but a logistic likelihood of gamma /
(gamma^2 + d), and the squared distance to the code; tanh before the loss is an option there. We
take the formula of the paper, and tanh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.losses import pairs
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod


def dch_loss(h: Tensor, labels: Tensor, gamma: float = 20.0, weight: float = 0.1) -> Tensor:
    """The training loss of outputs h (B, K) with labels (B,) or 0/1 (B, C): a scalar.

        mean_ij w_ij [s_ij log(d_ij / gamma) + log(1 + gamma / d_ij)] + weight mean_i log(1 +
        d(|h_i|, 1) / gamma)

    over pairs of two different images, with d(x, y) = K (1 - cos(x, y)) / 2, the Hamming distance
    of codes, and weights w_ij = |S|/|S_1| for similar pairs, |S|/|S_0| for others. The first part
    is log(1 + d/gamma) for similar pairs, which is finite for equal codes; for others d is kept
    above 1e-3.

    Args:
        gamma: distance at which similar and dissimilar are equally likely.
    """
    bits = h.shape[1]
    s = pairs.similar(labels)
    u = F.rms_norm(
        h, (bits,), eps=1e-24
    )  # as long as a code, sqrt(K), so that d(x, y) = (K - x^T y) / 2
    r = F.relu(bits - u @ u.T) / (2 * gamma)  # d / gamma: (B, B)
    losses = torch.log1p(torch.where(s, r, 1 / r.clamp(min=1e-3 / gamma)))
    away = F.relu(bits - u.abs().sum(1)) / (2 * gamma)  # d / gamma: (B,)
    likelihood = (losses * pairs.weights(s, pairs.off_diagonal(len(h), h.device), h.dtype)).sum()
    return likelihood + weight * torch.log1p(away).mean()


class DCHLoss(nn.Module):
    """`dch_loss` of tanh(z), for real outputs z."""

    def __init__(self, gamma: float = 20.0, weight: float = 0.1):
        super().__init__()
        self.gamma = gamma
        self.weight = weight

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return dch_loss(torch.tanh(z), labels, self.gamma, self.weight)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DCH."""

    gamma: float = setting(
        20.0, "Hamming distance at which similar and dissimilar are equally likely", least=1e-6
    )
    weight: float = setting(0.1, "of the distance between outputs and codes")


class DCH(DeepMethod):
    """Cauchy likelihood of pairs and a Cauchy pull towards codes; the hash layer ends in tanh."""

    about: ClassVar[About] = About(
        name="dch",
        title="Deep Cauchy Hashing for Hamming Space Retrieval",
        year=2018,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Cao, Long, Liu and Wang, CVPR 2018",
        status=(
            "the paper's formula as another implementation gives it; network and schedule are ours"
        ),
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        return dch_loss(torch.tanh(z), labels, self.config.gamma, self.config.weight)
