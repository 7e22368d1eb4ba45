"""Zhe, Chen and Yan, Deep Class-wise Hashing, 2018, as in its code:
the single level from which SHPDH sets out.

SEEN (https://github.com/mzhang367/dcwh, file dcwh.py): one level with s = 1 (its option for another
s, 0.5 by default, reaches nothing; ours does), both penalties divided by the batch size once more
than a mean would, the vertex weight 0.01, centres moved every two epochs with the network as it
encodes, 1e-6 added to the denominator and to the probability.
SEEN too, and probably a slip: what lies *below* the cube is divided by the batch size once, what
lies above it twice. INFERRED: the stable form of the class-wise loss. The text of the paper was not
seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from hashlab.errors import check_word
from hashlab.losses import classes
from hashlab.losses.clouds import (
    Centres,
    Recentre,
    beyond_edge,
    class_wise_loss,
    cubic_loss,
    vertex_loss,
)
from hashlab.methods import adapt
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop

SIDES = ("code", "equal")
FLOOR = 1e-6  # of the authors' form


def dcwh_loss(
    u: Tensor,
    y: Tensor,
    c: Tensor,
    cubic: float = 10.0,
    vertex: float = 0.01,
    sides: str = "code",
    floor: float = 0.0,
    s: float = 1.0,
) -> Tensor:
    """The training loss of outputs u (B, K) with classes y (B,) and centres c (M, K): a scalar.

        J_1 + (10 J_cubic + 0.01 J_vertex) / B

    Args:
        sides: of the cube: "code" multiplies what lies below it by B, as the code does; "equal"
            does not.
        floor, s: see `class_wise_loss`.
    """
    check_word("sides", sides, SIDES)
    outside = cubic_loss(u)
    if sides == "code":
        below, above = beyond_edge(u)
        outside = below.sum() + above.mean()
    class_wise = class_wise_loss(u, y, c, s, floor)
    cube = cubic * outside + vertex * vertex_loss(u)
    return class_wise + cube / len(u)


class DCWHLoss(nn.Module):
    """`dcwh_loss` with its centres,
    which stand in buffers and are moved by `hashlab.losses.clouds.Recentre`.
    """

    def __init__(
        self,
        c: Centres,
        cubic: float = 10.0,
        vertex: float = 0.01,
        sides: str = "code",
        floor: float = 0.0,
        s: float = 1.0,
    ):
        super().__init__()
        self.c = c
        self.weights = (cubic, vertex)
        self.sides = sides
        self.floor = floor
        self.s = s

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        return dcwh_loss(u, y, self.c.level0, *self.weights, self.sides, self.floor, self.s)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DCWH."""

    epochs: int = setting(15, "times that every training image is seen")
    lr: float = setting(
        0.02, "highest learning rate; centres follow the outputs, and a large one drives both away"
    )
    cubic: float = setting(10.0, "weight of outputs beyond -1.1 and 1.1")
    vertex: float = setting(0.01, "weight of the distance between outputs and codes")
    sides: str = setting(
        "code",
        "what lies below the cube counts batch_size times as much, as in the code, or equally",
    )
    form: str = setting(
        "stable", "of the class-wise loss: a cross-entropy, or the authors' with 1e-6 added"
    )
    s: float = setting(
        1.0,
        "one over the variance of a class; the smaller it is, the farther apart centres are driven",
    )
    every: int = setting(2, "epochs from one move of the centres to the next", least=1)

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "sides": SIDES,
        "form": ("stable", "clamped"),
    }
    ADAPTS: ClassVar[adapt.Rules] = {**adapt.DEEP, **adapt.small_head(s=0.1, sides="equal")}


class DCWH(DeepMethod):
    """Gaussian classes on one level; u is the output of a linear hash layer, without an activation.

    After `fit`, `.centres` holds the centres.
    """

    about: ClassVar[About] = About(
        name="dcwh",
        title="Deep Class-wise Hashing: Semantics-preserving Hashing via Class-wise Loss",
        year=2018,
        kind="class-wise",
        labels=("same_class",),
        paper="Zhe, Chen and Yan, arXiv 2018; the code of mzhang367/dcwh",
        status="the loss and the centres of the code; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def __init__(self, bits: int, **overrides: Any):
        super().__init__(bits, **overrides)
        self.centres: Centres | None = None  # of the training part, once fitted

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        floor = FLOOR if c.form == "clamped" else 0.0
        self.centres = Centres([], [classes.count(labels)], self.bits)
        loss = DCWHLoss(self.centres, c.cubic, c.vertex, c.sides, floor, c.s)
        move = Recentre(self.centres, network, c.every, "plain", c.batch_size, 0, self.precision)
        return [self.phase("hashing", network, loss, c.epochs, c.lr, before_epoch=move)]
