"""Fan, Ng, Ju, Zhang and Chan, Deep Polarized Network for Supervised Learning of Accurate Binary
Hashing Codes (DPN).

IJCAI 2020. A hinge per bit pushes every output past a margin, on the side that its class's random
code says. SEEN (the authors' code, https://github.com/kamwoh/DPN): the hinge, margin 1, codes of
fair coins, for several classes the sum of their hinges, no other loss beside it by default, options
to choose codes far apart (ours: as CSQ does) and to move them as training goes on (left out). Ours:
a mean over bits, not a sum.

Why DPN and not DFH: its one loss stands between CSQ's logarithm and OrthoHash's cosine on the same
kind of targets; and its authors' code can be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from hashlab.errors import named
from hashlab.losses import classes
from hashlab.losses.codebooks import CODEBOOKS
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop


def dpn_loss(v: Tensor, y: Tensor, t: Tensor, m: float = 1.0) -> Tensor:
    """The polarization loss of outputs v (B, K): a scalar.

        mean_i sum_c y_ic mean_k max(m - v_ik t_ck, 0)

    Args:
        y: (B, C) of zeros and ones, the classes of every image.
        t: (C, K) of -1 and +1, the code of every class.
        m: margin.
    """
    positive = (m - v).clamp(min=0)  # hinges where t is +1
    negative = (m + v).clamp(min=0)  # hinges where t is -1
    bits = v.shape[1]
    hinges = (positive @ (1 + t).T + negative @ (1 - t).T) / (2 * bits)  # (B, C)
    return (y * hinges).sum(1).mean()


class DPNLoss(nn.Module):
    """`dpn_loss` with a fixed code for each class, a buffer."""

    def __init__(self, count: int, bits: int, m: float = 1.0, codes: str = "coins"):
        super().__init__()
        self.m = m
        self.register_buffer("t", named("codes", codes, CODEBOOKS)(count, bits))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return dpn_loss(z, classes.indicators(labels, len(self.t)), self.t, self.m)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DPN."""

    m: float = setting(1.0, "margin that every output shall pass")
    codes: str = setting("coins", "of the classes: fair coins, or far apart as in CSQ")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {"codes": tuple(CODEBOOKS)}


class DPN(DeepMethod):
    """A hinge per bit towards the random code of the class; outputs are linear."""

    about: ClassVar[About] = About(
        name="dpn",
        title="Deep Polarized Network for Supervised Learning of Accurate Binary Hashing Codes",
        year=2020,
        kind="centre",
        labels=("same_class", "shares_label"),
        paper="Fan, Ng, Ju, Zhang and Chan, IJCAI 2020",
        status=(
            "the loss of the authors' code, with fixed random codes; network and schedule are ours"
        ),
    )
    Config: ClassVar[type] = Config

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = DPNLoss(classes.count(labels), self.bits, c.m, c.codes)
        return [self.phase("hashing", network, loss, c.epochs, c.lr)]
