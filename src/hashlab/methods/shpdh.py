"""Zhang, Zhe, Ou-Yang, Chen and Yan, Semantic Hierarchy Preserving Deep Hashing,
arXiv 1901.11259 (SHPDH, or HPDH).

SEEN (the authors' code, https://github.com/mzhang367/hpdh): the loss with all its weights, s_l for
CIFAR-100 and NABirds, the centres and when they move. The text of the paper beyond its abstract was
not seen. INFERRED: the stable form of the loss, s_l for other numbers of levels, centres from
images as they are encoded.

References: the ledger in the book's chapter "Zhang et al. 2019".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.data import trees
from hashlab.data.parts import Labelled, Part
from hashlab.errors import InputError
from hashlab.losses import clouds
from hashlab.losses.clouds import Centres, Recentre, class_wise_loss, cubic_loss, vertex_loss
from hashlab.methods import adapt
from hashlab.methods.base import About, check_labels, classes_and_labels, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network
from hashlab.training import loop

SEEN = {
    1: (1.0,),
    2: (1.0, 0.5),
    4: (1.0, 0.67, 0.5, 0.25),
}  # s_l of DCWH, of CIFAR-100 and of NABirds
FLOOR = 1e-8  # of the authors' form


def shpdh_loss(
    u: Tensor,
    y: Tensor,
    centres: Centres | list[Tensor],
    s: tuple[float, ...],
    cubic: float = 10.0,
    vertex: float = 0.1,
    floor: float = 0.0,
) -> Tensor:
    """The training loss of outputs u (B, K) with classes y (B, L), fine first: a scalar.

        sum_l L_l + (10 L_cubic + 0.1 L_vertex) / K

    Args:
        centres: (C_l, K) of each level.
        s: 1 / variance of the classes on each level.
        cubic, vertex: weights.
        floor: see `class_wise_loss`.
    """
    levels = zip(y.T, centres, s, strict=True)
    class_wise = sum(class_wise_loss(u, y_l, mu_l, s_l, floor) for y_l, mu_l, s_l in levels)
    return class_wise + (cubic * cubic_loss(u) + vertex * vertex_loss(u)) / u.shape[1]


class SHPDHLoss(nn.Module):
    """`shpdh_loss` with its centres,
    which stand in buffers and are moved by `hashlab.losses.clouds.Recentre`.
    """

    def __init__(
        self,
        c: Centres,
        s: tuple[float, ...],
        cubic: float = 10.0,
        vertex: float = 0.1,
        floor: float = 0.0,
    ):
        super().__init__()
        self.c = c
        self.s = s
        self.weights = (cubic, vertex, floor)

    def forward(self, u: Tensor, y: Tensor) -> Tensor:
        return shpdh_loss(u, y, self.c, self.s, *self.weights)


def usual_s(levels: int) -> tuple[float, ...]:
    """s_l = 1 / variance for so many levels:
    the authors' where they were seen, else 1/l (INFERRED).
    """
    return SEEN.get(levels, tuple(round(1 / level, 2) for level in range(1, levels + 1)))


def read_s(text: str) -> tuple[float, ...]:
    """`"1:0.5"` or `"1,0.5"` as (1.0, 0.5);
    raises InputError where these are no positive numbers.
    """
    try:
        s = tuple(float(word) for word in text.replace(",", ":").split(":"))
    except ValueError:
        s = ()
    if not s or not all(math.isfinite(x) and x > 0 for x in s):
        raise InputError(
            f"setting s must be auto, or a positive number per level such as 1:0.5, got {text!r}"
        )
    return s


def wide_classes(config: Config, training: adapt.Training) -> Mapping[str, str]:
    """The rule that classes of a small set, on one level and on a frozen body, are wide:
    s = 1 leaves the centres too near to each other for the few steps that there are.
    """
    small = training.images < adapt.SMALL and config.frozen is True and config.levels == 1
    return {"s": "0.1"} if small else {}


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of SHPDH."""

    epochs: int = setting(15, "times that every training image is seen")
    lr: float = setting(
        0.02, "highest learning rate; centres follow the outputs, and a large one drives both away"
    )
    levels: int = setting(
        0, "of labels, from the fine one up; 1 for none but the fine one, 0 for all there are"
    )
    tree: str = setting(
        "",
        "a file with a line child,parent per class, or cifar10-animals, in place of the set's levels",
    )
    s: str = setting(
        "auto", "1/variance of the classes on each level, such as 1:0.5; auto for the authors'"
    )
    cubic: float = setting(10.0, "weight of outputs beyond -1.1 and 1.1")
    vertex: float = setting(0.1, "weight of the distance between outputs and codes")
    form: str = setting(
        "stable", "of the class-wise loss: a cross-entropy, or the authors' with 1e-8 added"
    )
    every: int = setting(1, "epochs from one move of the centres to the next", least=1)
    centre_pass: str = setting(
        "plain", "centres of images as they are encoded, or as the authors' code trains them"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "form": ("stable", "clamped"),
        "centre_pass": clouds.PASSES,
    }
    ADAPTS: ClassVar[adapt.Rules] = {**adapt.DEEP, ("s",): wide_classes}


class SHPDH(DeepMethod):
    """Gaussian classes on every level of a tree;
    u is the output of a linear hash layer, without an activation.

    With `levels=1` it is the same method without the tree, for comparison. After `fit`, `.centres`
    holds the centres.
    """

    about: ClassVar[About] = About(
        name="shpdh",
        title="Semantic Hierarchy Preserving Deep Hashing for Large-scale Image Retrieval",
        year=2019,
        kind="class-wise",
        labels=("levels", "same_class"),
        paper="Zhang, Zhe, Ou-Yang, Chen and Yan, arXiv 1901.11259",
        status="the loss and the centres of the authors' code; network and schedule are ours",
    )
    Config: ClassVar[type] = Config

    def __init__(self, bits: int, **overrides: Any):
        s = overrides.get("s")
        if isinstance(s, int | float) and not isinstance(
            s, bool
        ):  # what the command line makes of s=1
            overrides["s"] = str(s)
        super().__init__(bits, **overrides)
        self.centres: Centres | None = None  # of the training part, once fitted
        if self.config.s != "auto":
            read_s(self.config.s)

    def targets(self, train: Labelled) -> np.ndarray:
        """Classes (N, L) on every level that is used, numbered without gaps."""
        levels = self._levels(train)
        wanted = self.config.levels
        if wanted > levels.shape[1]:
            most = levels.shape[1]
            raise InputError(f"levels={wanted} asks for more levels than the labels have, {most}")
        used = trees.numbered(levels[:, : wanted or None])
        count = used.shape[1]
        given = self.s_of(count)
        if len(given) != count:
            got = f"{len(given)}: {given}"
            raise InputError(f"setting s must have a number per level, {count}, got {got}")
        return used

    def _levels(self, train: Labelled) -> np.ndarray:
        """All levels that there are: of the tree, else of the labels."""
        count = len(train if isinstance(train, Part) else train.images)
        levels = getattr(train, "levels", None)
        if levels is not None and not self.config.tree:
            return trees.check_levels(levels, count)
        fine = check_labels(train)
        if self.config.tree:
            return trees.read(self.config.tree, classes_and_labels(train)[0])[fine]
        if self.config.levels != 1:
            raise InputError(
                "shpdh needs labels on several levels, but these have one: name a tree "
                "(tree=FILE), or set levels=1"
            )
        return fine[:, None]

    def s_of(self, levels: int) -> tuple[float, ...]:
        """s_l for so many levels, by the setting."""
        return usual_s(levels) if self.config.s == "auto" else read_s(self.config.s)

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        levels = labels.shape[1]
        above = [torch.from_numpy(parents) for parents in trees.parents(labels)]
        counts = [int(level.max()) + 1 for level in labels.T]
        floor = FLOOR if c.form == "clamped" else 0.0
        self.centres = Centres(above, counts, self.bits)
        loss = SHPDHLoss(self.centres, self.s_of(levels), c.cubic, c.vertex, floor)
        seed = int(torch.randint(2**31, ()))
        move = Recentre(
            self.centres, network, c.every, c.centre_pass, c.batch_size, seed, self.precision
        )
        return [self.phase("hashing", network, loss, c.epochs, c.lr, before_epoch=move)]
