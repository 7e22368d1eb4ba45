"""Liu, Wang, Shan and Chen, Deep Supervised Hashing for Fast Image Retrieval, CVPR 2016 (DSH).

A contrastive loss on squared distances with a pull of every output towards -1 and +1. SEEN (the
authors' code, https://github.com/lhmRyan/deep-supervised-hashing-DSH): both parts, linear outputs,
the margin 24 for 12 bits, the weight 0.01, pairs within a batch, images with several labels. The
loss that it prints counts the pull once per image; the gradient that it computes counts it twice as
much, as does a loss of pairs in which both images are pulled (SEEN at second hand,
https://github.com/weixu000/DSH-pytorch). We take that form. Another re-implementation
(https://github.com/swuxyj/DeepHash-pytorch) pulls by |1 - sgn u|, which has no gradient. Ours:
`balance`; the authors name a layer that draws pairs where dissimilar ones outnumber the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from hashlab.losses import pairs, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod


def dsh_loss(
    b: Tensor, labels: Tensor, m: float, alpha: float = 0.01, balance: str = "none"
) -> Tensor:
    """The training loss of outputs b (B, K) with labels (B,) or 0/1 (B, C): a scalar.

    For a pair with squared distance d_ij the loss is the mean over pairs of two different images of

        d_ij / 2                  if similar,
        max(m - d_ij, 0) / 2      if not,
        alpha ( || |b_i| - 1 ||_1 + || |b_j| - 1 ||_1 )  in both cases.

    Args:
        m: margin, a squared distance; outputs of -1 and +1 that differ in r bits have 4 r.
        balance: "none" for the mean over pairs, "halves" for half of similar and half of dissimilar
            ones.
    """
    s = pairs.similar(labels)
    counted = pairs.off_diagonal(len(b), b.device)
    d = pairs.squared_distances(b)  # (B, B)
    losses = (d * s + (m - d).clamp(min=0) * ~s) / 2
    mean = pairs.mean(losses, s, counted, balance)
    return mean + 2 * alpha * b.shape[1] * quantisation.absolute(b)


class DSHLoss(nn.Module):
    """`dsh_loss` as a module; the margin is `margin` times the code length."""

    def __init__(self, bits: int, margin: float = 2.0, alpha: float = 0.01, balance: str = "none"):
        super().__init__()
        self.m = margin * bits
        self.alpha = alpha
        self.balance = balance

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return dsh_loss(z, labels, self.m, self.alpha, self.balance)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DSH."""

    lr: float = setting(0.01, "highest learning rate; the loss grows with the code length")
    margin: float = setting(
        2.0, "squared distance, divided by K, beyond which dissimilar images are left alone"
    )
    alpha: float = setting(0.01, "weight of the distance between outputs and codes")
    balance: str = setting(
        "none", "of similar and dissimilar pairs: as many as there are, or half the weight each"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "balance": ("none", "halves")
    }


class DSH(DeepMethod):
    """Similar images close, dissimilar ones at least a margin apart; outputs are linear."""

    about: ClassVar[About] = About(
        name="dsh",
        title="Deep Supervised Hashing for Fast Image Retrieval",
        year=2016,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Liu, Wang, Shan and Chen, CVPR 2016",
        status="the loss of the authors' code, as one of pairs; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        c = self.config
        return dsh_loss(z, labels, c.margin * self.bits, c.alpha, c.balance)
