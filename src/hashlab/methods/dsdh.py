"""Li, Sun, He and Tan, Deep Supervised Discrete Hashing, NeurIPS 2017 (DSDH).

DPSH's likelihood of pairs, and codes B that a linear classifier W can read, found without relaxing
them: bit by bit, by discrete cyclic coordinate descent. With outputs u of all N training images the
objective is

    J = sum_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + mu ||Y - B W||^2 + nu ||W||^2 + eta ||B -
    U||^2,

Theta_ij = u_i.u_j / 2. SEEN (the authors' code, https://github.com/liqi-casia/DSDH-HashingCode):
all three steps, 10 cycles, nu/mu = 0.1, pairs with a memory of all outputs. There B and W are those
of the batch; here, as in the paper, of all training images, and they are renewed before every
epoch. eta = 55, mu = 1: SEEN at second hand (https://github.com/swuxyj/DeepHash-pytorch). Ours:
`balance`, as in DPSH.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hashlab.losses import classes, learned_codes, pairs
from hashlab.methods import adapt
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


def dsdh_loss(
    u: Tensor, memory: Tensor, s: Tensor, b: Tensor, weight: float, balance: str = "none"
) -> Tensor:
    """The network's part of J for outputs u (B, K): a scalar.

        mean_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + weight mean_ik (u_ik - b_ik)^2,  Theta_ij = u_i.u_j / 2

    Args:
        memory: (N, K), the outputs u_j of all training images, held fast.
        s: bool (B, N), the similar pairs.
        b: (B, K), the codes.
        weight: eta K / (2N) makes the gradient that of J, over 2N: there each pair has two ends
            that move.
        balance: "none" for the mean over pairs, "halves" for half of similar and half of dissimilar
            ones.
    """
    losses = pairs.likelihood_loss(u @ memory.T / 2, s)  # (B, N)
    return pairs.mean(losses, s, balance=balance) + weight * (u - b).square().mean()


def classifier(b: Tensor, y: Tensor, ridge: float) -> Tensor:
    """W (K, C) that minimises ||Y - B W||^2 + ridge ||W||^2 for codes b (N, K) and classes y
    (N, C).
    """
    try:
        gram = b.T @ b + ridge * torch.eye(b.shape[1], device=b.device)
        return torch.linalg.solve(gram, b.T @ y)
    except torch.linalg.LinAlgError:
        raise FloatingPointError(
            f"codes do not decide the classifier at nu/mu = {ridge:g}; try a higher nu"
        ) from None


def discrete_step(
    b: Tensor, w: Tensor, y: Tensor, u: Tensor, eta: float, cycles: int = 10
) -> Tensor:
    """Better codes than b (N, K), of outputs U and classes Y.

        min_B ||Y - B W||^2 + eta ||B - U||^2

    Each bit in turn is the best one, all others held.
    """
    return learned_codes.descend(b, y @ w.T + eta * u, w @ w.T, cycles)


class DSDHLoss(learned_codes.LearnedCodes):
    """`dsdh_loss` with the memory of outputs and the codes of all training images."""

    def __init__(
        self,
        labels: Tensor,
        count: int,
        bits: int,
        mu: float = 1.0,
        nu: float = 0.1,
        eta: float = 55.0,
        balance: str = "none",
    ):
        super().__init__(labels, bits)
        self.count = count
        self.ridge = nu / mu
        self.eta = eta / mu
        self.balance = balance
        self.weight = eta * bits / (2 * len(labels))

    @torch.no_grad()
    def renew(self) -> None:
        """W, then B, for the outputs in the memory."""
        y = classes.indicators(self.labels, self.count)
        w = classifier(self.b, y, self.ridge)
        self.b.copy_(discrete_step(self.b, w, y, self.memory, self.eta))

    def forward(self, z: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        self.remember(z, rows)
        memory = self.memory.to(z.dtype)
        s = pairs.similar(labels, self.labels)
        return dsdh_loss(z, memory, s, self.b[rows], self.weight, self.balance)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DSDH."""

    mu: float = setting(1.0, "weight of the classifier that reads the codes", least=1e-6)
    nu: float = setting(0.1, "weight of the size of its weights")
    eta: float = setting(55.0, "weight of the distance between outputs and codes")
    balance: str = setting(
        "none", "of similar and dissimilar pairs: as many as there are, or half the weight each"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "balance": ("none", "halves")
    }
    ADAPTS: ClassVar[adapt.Rules] = {
        **adapt.DEEP,
        **adapt.head(0.01),
        **adapt.small_head(balance="halves", eta=1.0),
    }


class DSDH(DeepMethod):
    """Likelihood of pairs, and outputs near codes that are discrete and linearly classified;
    outputs are linear.
    """

    about: ClassVar[About] = About(
        name="dsdh",
        title="Deep Supervised Discrete Hashing",
        year=2017,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Li, Sun, He and Tan, NeurIPS 2017, arXiv 1705.10999",
        status="the paper's steps, the discrete ones once per epoch; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        y = torch.from_numpy(labels)
        count = classes.count(labels)
        loss = DSDHLoss(y, count, self.bits, c.mu, c.nu, c.eta, c.balance)
        renew = learned_codes.Renew(loss, network)
        return [self.phase("hashing", network, loss, c.epochs, c.lr, rows=True, before_epoch=renew)]
