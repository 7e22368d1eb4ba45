"""Redaoui, Belloulata and Belalia, Deep Multi-Scale Hashing (DMSH), ICAITA 2022, CCIS 1769.

A reconstruction. SEEN (abstract): features of several convolutional layers are fused into one more
robust representation, which is hashed; CIFAR-10 and NUS-WIDE. SEEN (DFPH, by the same authors,
Information 14(1), 2023): a pyramid with a top-down pathway on VGG-19, codes learned at several
scales and then fused; without the top-down pathway single scales do worse. INFERRED: which levels,
the reduction by 1x1 convolutions, the mean over all places, the fully connected fusion, the loss,
how the pyramid's codes are fused, every setting.

A 1x1 convolution is one linear map for all places, so the mean over places may come first: what is
reduced here are the means. Only a nonlinearity between the two would make a difference; ours stands
after both (INFERRED).

Reference: the ledger in the book's chapter "Redaoui et al. 2022".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab import codes
from hashlab.data.batches import stored
from hashlab.data.parts import Labelled
from hashlab.errors import InputError
from hashlab.losses import pairs, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, images_of
from hashlab.networks import backbones

MOST = 3  # levels that `scales=auto` fuses


def dmsh_loss(u: Tensor, labels: Tensor, lam: float = 0.1) -> Tensor:
    """The training loss of outputs u (B, K) with labels (B,), or 0/1 (B, C) of several: a scalar.

        mean_ij [log(1 + exp Theta_ij) - s_ij Theta_ij] + lambda mean_ik (b_ik - u_ik)^2

    with Theta_ij = u_i.u_j / 2 and b = sgn u. The mean over pairs gives half the weight to the
    similar ones, and no image makes a pair with itself. INFERRED (the loss of DPSH); whether DMSH
    has it was not seen.
    """
    s = pairs.similar(labels)  # (B, B)
    losses = pairs.likelihood_loss(u @ u.T / 2, s)  # (B, B)
    likelihood = pairs.balanced_mean(losses, s, pairs.off_diagonal(len(u), u.device))
    return likelihood + lam * quantisation.squared(u)


class DMSHLoss(nn.Module):
    """`dmsh_loss` as a module, for a training loop of your own."""

    def __init__(self, lam: float = 0.1):
        super().__init__()
        self.lam = lam

    def forward(self, u: Tensor, labels: Tensor) -> Tensor:
        return dmsh_loss(u, labels, self.lam)


def he(module: nn.Module) -> None:
    """Draw weights so that a layer's outputs vary as its inputs do (He et al. 2015),
    whatever the number of inputs.

    PyTorch's own start makes outputs smaller from layer to layer; those of the hash layer would
    begin so close to 0 that the likelihood, whose gradient grows with them, takes many epochs to
    wake up.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)


class Fusion(nn.Module):
    """Means of several levels, side by side (B, sum C) -> z (B, K):
    each reduced, then all fused, then hashed.

    Args:
        channels: how many means each scale has.
        width: numbers that a scale is reduced to.
        fused: numbers that the fully connected layer makes of all scales; 0 to do without that
            layer.
        standardise: whether each number is brought to mean 0 and variance 1 before the reduction.
    """

    def __init__(
        self, channels: Sequence[int], width: int, fused: int, bits: int, standardise: bool = True
    ):
        super().__init__()
        self.channels = list(channels)
        self.standard = (
            nn.BatchNorm1d(sum(channels), affine=False) if standardise else nn.Identity()
        )
        self.reduce = nn.ModuleList(nn.Linear(c, width) for c in channels)
        joint = width * len(channels)
        self.fuse = nn.Sequential(nn.Linear(joint, fused), nn.ReLU()) if fused else nn.Identity()
        self.hash = nn.Linear(fused or joint, bits)
        he(self)

    def forward(self, means: Tensor) -> Tensor:
        scales = self.standard(means).split(self.channels, 1)  # (B, C) each
        reduced = [F.relu(reduce(x)) for reduce, x in zip(self.reduce, scales, strict=True)]
        joint = torch.cat(reduced, 1)  # (B, width times scales)
        return self.hash(self.fuse(joint))  # (B, K)


class Pyramid(nn.Module):
    """The top-down pathway of DFPH: maps (B, C, H, W) of several levels, fine first -> z (B, K).

    Each level is brought to `width` maps by a 1x1 convolution; from the coarsest down, what stands
    above is enlarged and added, and a 3x3 convolution follows. Every level has a hash layer; a
    linear layer fuses their outputs. In training, all outputs are returned: the fused one, then
    those of the levels.
    """

    def __init__(self, channels: Sequence[int], width: int, bits: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.heads = nn.ModuleList(nn.Linear(width, bits) for _ in channels)
        self.fuse = nn.Linear(bits * len(channels), bits)
        he(self)

    def top_down(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The pyramid's maps (B, width, H, W), one for each level, fine first."""
        floors = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in range(len(floors) - 2, -1, -1):
            floors[i] = floors[i] + F.interpolate(floors[i + 1], size=floors[i].shape[2:])
        return [F.relu(smooth(x)) for smooth, x in zip(self.smooth, floors, strict=True)]

    def forward(self, maps: Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
        floors = self.top_down(maps)
        levels = []  # (B, K) each
        for head, floor in zip(self.heads, floors, strict=True):
            levels.append(head(floor.mean((2, 3))))
        z = self.fuse(torch.cat(levels, 1))
        return (z, *levels) if self.training else z


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DMSH; all INFERRED, chosen on held-out training images."""

    epochs: int = setting(20, "times that every training image is seen")
    optimiser: str = setting("adamw", "what turns gradients into steps")
    lr: float = setting(0.01, "highest learning rate")
    scales: str = setting(
        "auto",
        "levels that are fused, with + or commas; auto for the last three convolutional ones",
    )
    fusion: str = setting(
        "concat", "side by side as in DMSH, or the top-down pyramid of its follow-up DFPH"
    )
    width: int = setting(
        256, "numbers that each scale is reduced to", least=1, most=codes.MOST_BITS
    )
    fused: int = setting(
        256,
        "numbers after the fusion layer of concat; 0 to do without that layer",
        most=codes.MOST_BITS,
    )
    standardise: bool = setting(True, "concat: means of maps are brought to mean 0 and variance 1")
    activation: str = setting(
        "tanh", "of the hash layer in training; the signs, and so the codes, are the same"
    )
    lam: float = setting(0.1, "weight of the distance between outputs and codes")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "fusion": ("concat", "pyramid"),
        "activation": ("none", "tanh"),
    }

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", backbones.spelt(self.scales))


class DMSH(DeepMethod):
    """Features of several convolutional levels fused into one code;
    a single level as an ablation: `scales=conv4`.
    """

    about: ClassVar[About] = About(
        name="dmsh",
        title="Deep Multi-Scale Hashing",
        year=2022,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Redaoui, Belloulata and Belalia, ICAITA 2022",
        status="reconstruction from the abstract and the authors' later papers",
    )
    Config: ClassVar[type] = Config

    def check(self, train: Labelled) -> None:
        super().check(train)
        self._taps(stored(images_of(train)).shape)

    @property
    def taps(self) -> tuple[str, ...]:
        """The scales that are fused, fine first; known when the method was fitted."""
        return self.net.network.taps

    def choose_taps(self, levels: Mapping[str, backbones.Level], backbone: str) -> tuple[str, ...]:
        return choose(levels, self.config.scales, backbone, not self.pooled)

    @property
    def pooled(self) -> bool:
        return self.config.fusion == "concat"

    def head(self, backbone: backbones.Backbone) -> nn.Module:
        c = self.config
        taps = self.choose_taps(backbone.levels, c.backbone)
        channels = [backbone.levels[name].channels for name in taps]
        if self.pooled:
            return Fusion(channels, c.width, c.fused, self.bits, c.standardise)
        return Pyramid(channels, c.width, self.bits)

    def loss(self, z: Tensor | tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Of outputs z (B, K); the mean over the fused output and those of the levels where a
        pyramid gives both.
        """
        outputs = z if isinstance(z, tuple) else (z,)
        if self.config.activation == "tanh":
            outputs = tuple(map(torch.tanh, outputs))
        return torch.stack([dmsh_loss(u, labels, self.config.lam) for u in outputs]).mean()


def choose(
    levels: Mapping[str, backbones.Level], scales: str, backbone: str, maps: bool
) -> tuple[str, ...]:
    """The levels that a setting names, fine first.

    Args:
        levels: all levels of the backbone.
        scales: names with + between them, or "auto": the last three levels that are maps; where
            there are none, as with given features, the last level.
        backbone: its name, for messages.
        maps: whether only maps will do.

    Raises InputError for a level that is not there, that is named twice, or that is a vector where
    maps are needed.
    """
    if scales == "auto":
        names = tuple(name for name, level in levels.items() if level.stride)[-MOST:]
        names = names or tuple(levels)[-1:]
    else:
        names = backbones.named(levels, scales, backbone)
    vectors = [name for name in names if maps and not levels[name].stride]
    if vectors:
        raise InputError(
            f"scales: fusion=pyramid needs maps, but level {vectors[0]} of {backbone} is a vector"
        )
    return names
