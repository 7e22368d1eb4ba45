"""Jiang and Li, Asymmetric Deep Supervised Hashing, AAAI 2018 (ADSH).

The network is for queries only; the codes V of database images are learned directly, against the
network's outputs:

    J = sum_ij (u_i.v_j - K S_ij)^2 + gamma sum_i ||v_i - u_i||^2,  u_i = tanh z_i,  V in {-1, +1}^(N x K).

SEEN (the authors' code, https://github.com/jiangqy/ADSH-AAAI2018): both steps, gamma = 200, SGD
with rate 0.001. There, in every round, 2,000 images of the database stand for queries and are seen
three times; S is +1 for similar images and, "softly", -r for others, r being the ratio of similar
to dissimilar pairs, so that both kinds weigh the same: our default. RECALLED from the paper: -1 for
others, which with ten classes asks for what no codes can give.

Two departures. Here the database that is learned is the training part, all of which stands for
queries in every epoch. And `encode` gives the network's codes for every image, training images too:
an engine that stores learned codes for some images and projected ones for others could not be
compared with the rest. So figures of the paper, which rank learned codes of the whole database by
its labels, are out of reach; the buffer `b` of `ADSHLoss` holds those of the training images while it
trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hashlab.errors import check_word
from hashlab.losses import classes, learned_codes, pairs
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop

DISSIMILAR = ("one", "ratio")


def adsh_loss(u: Tensor, v: Tensor, s: Tensor, own: Tensor, gamma: float = 200.0) -> Tensor:
    """The network's part of J for outputs u (B, K) in [-1, 1], over B N K^2: a scalar.

    Args:
        v: (N, K) of -1 and +1, the codes of all training images.
        s: (B, N), S: +1 for similar images, negative for others.
        own: (B, K), the codes of these images.
    """
    bits = u.shape[1]
    similarities = (u @ v.T / bits - s).square().mean()
    away = gamma / len(v) * (own - u).square().sum(1).mean() / bits**2
    return similarities + away


def discrete_step(v: Tensor, u: Tensor, su: Tensor, gamma: float) -> Tensor:
    """Codes (N, K) that lessen J for fixed outputs u (N, K), from the codes v:
    each bit in turn is the best one.

    Args:
        su: S^T U (N, K).
    """
    return learned_codes.descend(v, v.shape[1] * su + gamma * u, u.T @ u)


class ADSHLoss(learned_codes.LearnedCodes):
    """`adsh_loss` of tanh(z) with V, the codes `b` of all training images,
    and a memory of their outputs.
    """

    def __init__(self, labels: Tensor, bits: int, gamma: float = 200.0, dissimilar: str = "ratio"):
        check_word("dissimilar", dissimilar, DISSIMILAR)
        super().__init__(labels, bits)
        self.gamma = gamma
        similar = classes.similar_sums(
            labels, labels, torch.ones(len(labels), 1)
        ).sum()  # of all pairs
        others = float(len(labels)) ** 2 - similar
        r = similar / others.clamp(min=1) if dissimilar == "ratio" else torch.ones(())
        self.register_buffer("r", r)

    def begin(self, z: Tensor) -> None:
        """Fill the memory with the first outputs, from z (N, K); the codes begin as their signs."""
        super().begin(torch.tanh(z))

    @torch.no_grad()
    def renew(self) -> None:
        """V for the outputs in the memory;
        S U = (1 + r) (sums over similar images) - r (sums over all).
        """
        u = self.memory
        su = (1 + self.r) * classes.similar_sums(self.labels, self.labels, u) - self.r * u.sum(0)
        self.b.copy_(discrete_step(self.b, u, su, self.gamma))

    def forward(self, z: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        u = torch.tanh(z)
        self.remember(u, rows)
        s = pairs.similar(labels, self.labels) * (1 + self.r) - self.r
        return adsh_loss(u, self.b.to(u.dtype), s.to(u.dtype), self.b[rows].to(u.dtype), self.gamma)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of ADSH."""

    gamma: float = setting(200.0, "weight of the distance between outputs and learned codes")
    dissimilar: str = setting(
        "ratio", "S of dissimilar images: minus one, or minus the ratio of the two kinds"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {"dissimilar": DISSIMILAR}


class ADSH(DeepMethod):
    """Outputs against learned codes of all training images;
    what is stored are the network's codes.
    """

    about: ClassVar[About] = About(
        name="adsh",
        title="Asymmetric Deep Supervised Hashing",
        year=2018,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Jiang and Li, AAAI 2018, arXiv 1707.08325",
        status=(
            "the paper's steps on the training images; the network's codes for all images, not "
            "learned ones"
        ),
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = ADSHLoss(torch.from_numpy(labels), self.bits, c.gamma, c.dissimilar)
        renew = learned_codes.Renew(loss, network)
        return [self.phase("hashing", network, loss, c.epochs, c.lr, rows=True, before_epoch=renew)]
