"""Li, Wang and Kang, Feature Learning Based Deep Supervised Hashing with Pairwise Labels,
IJCAI 2016 (DPSH).

The pairwise reference of this book: a likelihood of similar and dissimilar pairs, and a penalty
that keeps outputs near -1 and +1. SEEN (the authors' code,
https://github.com/jiangqy/DPSH-pytorch): the loss, pairs of a batch with a memory of the outputs of
all training images, an image's pair with itself among them, labels shared or not, SGD with rate
0.05 and batches of 128. SEEN (https://github.com/swuxyj/DeepHash-pytorch): the same with other
weights. INFERRED: pairs within the batch, balanced pairs, every setting not named here. On sets of
fewer than 2,000 images pairs are balanced unless told otherwise, and where images have one class
within the batch: there an epoch is a handful of steps, each of which moves the network far from
what the memory holds, and codes come out worse (benchmarks/small_sets.py). With several labels
those of the memory are better.

The weight of the penalty. Over all N training images the authors' loss is a sum,

    J = sum_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + lambda sum_i ||u_i - sgn u_i||^2,

with N^2 pairs and N K outputs. Here both parts are means, so alpha = lambda K / N: the authors'
lambda = 10 for 5,000 images is alpha = 0.024 at 12 bits and 0.096 at 48. The second source has
alpha = 0.1 at all lengths, and so have we.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.losses import pairs, quantisation
from hashlab.methods import adapt
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop

FEW = 2000  # training images, below which an epoch is too few steps for a memory


def dpsh_loss(
    u: Tensor,
    others: Tensor,
    s: Tensor,
    alpha: float = 0.1,
    balance: str = "none",
    counted: Tensor | None = None,
) -> Tensor:
    """The training loss of outputs u (B, K) against those of other images (N, K): a scalar.

        mean_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + alpha mean_ik (u_ik - sgn u_ik)^2,  Theta_ij = u_i.u_j / 2

    Args:
        s: bool (B, N), the similar pairs.
        balance: "none" for the mean over pairs, "halves" for half of similar and half of dissimilar
            ones.
        counted: bool (B, N), the pairs that count; all when None.
    """
    losses = pairs.likelihood_loss(u @ others.T / 2, s)  # (B, N)
    return pairs.mean(losses, s, counted, balance) + alpha * quantisation.squared(u)


class DPSHLoss(nn.Module):
    """`dpsh_loss` of a batch against a memory of all training outputs, which it keeps.

    An image's place in the memory is zero until it was seen; such a pair has Theta = 0 and moves
    nothing.

    Args:
        labels: (N,) classes or 0/1 (N, C) of all training images, in the order that `rows` refers
            to.
        bits: code length K.
    """

    def __init__(self, labels: Tensor, bits: int, alpha: float = 0.1, balance: str = "none"):
        super().__init__()
        self.alpha = alpha
        self.balance = balance
        self.register_buffer("labels", labels)
        self.register_buffer("memory", torch.zeros(len(labels), bits))

    def forward(self, u: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        """Loss of outputs u (B, K) of the images at positions `rows` (B,) of the training part."""
        self.memory[rows] = u.detach().to(self.memory.dtype)
        s = pairs.similar(labels, self.labels)  # (B, N)
        return dpsh_loss(u, self.memory.to(u.dtype), s, self.alpha, self.balance)


def usual_pairs(config: Config, training: adapt.Training) -> Mapping[str, str]:
    """The rule for pairs of few images: balanced,
    and within the batch where an image has one class.
    """
    if training.images >= FEW:
        return {}
    balanced = {"balance": "halves"}
    return balanced if training.several else balanced | {"pairs": "batch"}


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DPSH."""

    epochs: int = setting(15, "times that every training image is seen")
    alpha: float = setting(
        0.1, "weight of the distance between outputs and codes, a mean over outputs"
    )
    pairs: str = setting(
        "memory",
        f"with the last outputs of all training images, or within the batch; of fewer than {FEW:,} "
        "images of one class each within the batch",
    )
    balance: str = setting(
        "none",
        "of similar and dissimilar pairs: as many as there are, or half the weight each; "
        f"half each of fewer than {FEW:,} images",
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "pairs": ("memory", "batch"),
        "balance": ("none", "halves"),
    }
    ADAPTS: ClassVar[adapt.Rules] = {
        **adapt.DEEP,
        **adapt.head(0.01),
        ("pairs", "balance"): usual_pairs,
    }


class DPSH(DeepMethod):
    """Likelihood of pairs and quantisation;
    u is the output of a linear hash layer, without an activation.
    """

    about: ClassVar[About] = About(
        name="dpsh",
        title="Feature Learning Based Deep Supervised Hashing with Pairwise Labels",
        year=2016,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Li, Wang and Kang, IJCAI 2016",
        status="the loss of the authors' code; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """The loss within a batch; no image makes a pair with itself."""
        c = self.config
        s = pairs.similar(labels)
        counted = pairs.off_diagonal(len(z), z.device)
        return dpsh_loss(z, z, s, c.alpha, c.balance, counted)

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        if c.pairs == "batch":
            return super().phases(network, labels)
        loss = DPSHLoss(torch.from_numpy(labels), self.bits, c.alpha, c.balance)
        return [self.phase("hashing", network, loss, c.epochs, c.lr, rows=True)]
