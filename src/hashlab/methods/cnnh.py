"""Xia, Pan, Lai, Liu and Yan, Supervised Hashing for Image Retrieval via Image Representation
Learning (CNNH).

AAAI 2014, the first deep hashing method. Two stages, SEEN in its abstract: codes of the training
images by factorising their similarities, S ~ H H^T / q, by coordinate descent; then a network that
learns these codes. SEEN at second hand (https://github.com/swuxyj/DeepHash-pytorch, which cites the
paper's equations 6 to 8): a Newton step per entry, kept inside [-1, 1], entries in random order.
There S has zeros for dissimilar images, and results near chance; S of -1 and +1 is RECALLED from
the paper. INFERRED: a logistic loss per bit in the second stage (there it is |z - h|). Ours:
entries of a column that stand in the same twentieth of the rows move at once, which hardly
interact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.losses import classes, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


@torch.no_grad()
def factorise(h: Tensor, labels: Tensor, sweeps: int = 5, groups: int = 20) -> Tensor:
    """Approximate codes H (n, q) in [-1, 1], from the start `h` (n, q).

        min_H ||q S - H H^T||^2

    S (n, n) is +1 for similar images, -1 for others. Every entry in turn takes the step d = -g'/g''
    of Newton, cut so that it stays in [-1, 1], where with L = H H^T - q S

        g' = 4 L_i . H_j,   g'' = 4 (H_j . H_j + H_ij^2 + L_ii).

    Args:
        groups: parts of the rows, whose entries move at once; n for one entry at a time.
    """
    h = h.clone()
    q = h.shape[1]
    itself = torch.ones_like(h[:, :1])  # S_ii: (n, 1)
    if labels.ndim == 2:
        itself = 2.0 * labels.any(1, keepdim=True) - 1  # an image without labels is unlike itself
    parts = [torch.arange(g, len(h), groups, device=h.device) for g in range(min(groups, len(h)))]
    for rows in parts * sweeps:
        for j in range(q):
            column = h[:, j : j + 1].clone()  # (n, 1)
            own = h[rows]  # (r, q)
            s = (
                2 * classes.similar_sums(labels[rows], labels, column) - column.sum()
            )  # S_i . H_j: (r, 1)
            first = own @ (h.T @ column) - q * s
            corner = own.square().sum(1, keepdim=True) - q * itself[rows]  # L_ii: (r, 1)
            second = column.square().sum() + own[:, j : j + 1].square() + corner
            moved = column[rows] - first / second.clamp(min=1e-6)
            h[rows, j] = moved.clamp(-1, 1)[:, 0]
    return h


def cnnh_loss(z: Tensor, codes: Tensor) -> Tensor:
    """The loss of the second stage, of outputs z (B, K) that shall have the signs of codes (B, K):
    a scalar.

        mean_ik log(1 + exp -z_ik b_ik)

    That is the cross-entropy of every bit.
    """
    return F.softplus(-z * codes).mean()


class CNNHLoss(nn.Module):
    """`cnnh_loss` with the codes of all training images, which `first_stage` finds;
    until then they are its start.
    """

    def __init__(self, labels: Tensor, bits: int):
        super().__init__()
        self.register_buffer("labels", labels)
        self.register_buffer("codes", torch.rand(len(labels), bits) * 2 - 1)

    def first_stage(self, sweeps: int) -> None:
        h = factorise(self.codes, self.labels, sweeps)
        self.codes.copy_(quantisation.signs(h))

    def forward(self, z: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        return cnnh_loss(z, self.codes[rows])


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of CNNH."""

    sweeps: int = setting(5, "of the first stage through all entries of the codes")


class CNNH(DeepMethod):
    """Codes by coordinate descent, then a network that fits them."""

    about: ClassVar[About] = About(
        name="cnnh",
        title="Supervised Hashing for Image Retrieval via Image Representation Learning",
        year=2014,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Xia, Pan, Lai, Liu and Yan, AAAI 2014",
        status=(
            "the paper's first stage; the loss of the second is inferred; network and schedule are "
            "ours"
        ),
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = CNNHLoss(torch.from_numpy(labels), self.bits)

        def find_codes(epoch: int, batches: object) -> None:
            if epoch == 1:
                loss.first_stage(c.sweeps)

        return [
            self.phase("hashing", network, loss, c.epochs, c.lr, rows=True, before_epoch=find_codes)
        ]
