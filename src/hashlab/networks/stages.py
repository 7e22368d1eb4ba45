"""A backbone as a chain of stages, and what its levels are: the names that heads tap, and up to which
one can be frozen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from torch import Tensor, nn

from hashlab.errors import InputError


class Level(NamedTuple):
    """What a stage gives: maps (B, channels, about H / stride, about W / stride), a little smaller
    where convolutions have no padding; a vector (B, channels) where stride is None.
    """

    channels: int
    stride: int | None


class Unknown(InputError):
    """Nobody here can make a backbone of that name."""


Stages = list[tuple[str, nn.Module, Level]]


class Backbone(nn.Module):
    """Named stages run one after the other; the last one ends in (B, features).

    Where the first of them are frozen, what their last one gave before is taken as well as images:
    maps of so many channels.

    Args:
        stages: name, module and what it gives, in order.
    """

    frozen: bool | str = False  # all of it, or the stages up to and including a level

    def __init__(self, stages: Stages):
        super().__init__()
        self.stages = nn.ModuleDict({name: module for name, module, _ in stages})
        self.levels: Mapping[str, Level] = {name: level for name, _, level in stages}
        self.features = stages[-1][2].channels

    def freeze(self, up_to: bool | str = True) -> Self:
        """From now on weights and batch statistics stay as they are,
        of all stages or of those up to and including a level.
        """
        self.frozen = up_to
        for stage in self.frozen_stages():
            stage.requires_grad_(False)
        return self.train(self.training)

    @property
    def frozen_level(self) -> str | None:
        """The level up to which it is frozen; None where all of it is, or nothing."""
        return self.frozen if isinstance(self.frozen, str) else None

    def frozen_stages(self) -> list[nn.Module]:
        if self.frozen_level is None:
            return list(self.stages.values()) if self.frozen else []
        return [self.stages[name] for name in until(self.levels, self.frozen_level)]

    def forward(self, x: Tensor) -> Tensor:
        for stage in list(self.stages.values())[self._done(x) :]:
            x = stage(x)
        return x  # (B, features)

    def computed(self, x: Tensor) -> bool:
        """Whether x is what the last stage gave before, features (B, d)."""
        return x.ndim == 2 and self.frozen_level is None

    def _done(self, x: Tensor) -> int:
        """How many stages were run on x before: none on images (B, C, H, W), which have 1 or 3
        channels; the frozen ones on what these gave.
        """
        if self.frozen_level is None:
            return 0
        level = self.levels[self.frozen_level]
        given = x.ndim == (2 if level.stride is None else 4) and x.shape[1] == level.channels
        return len(self.frozen_stages()) if given else 0

    def forward_levels(self, x: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """What the named stages give, in the order asked for; later stages are not run."""
        check_levels(self, names)
        done = self._done(x)
        outputs: dict[str, Tensor] = {self.frozen_level: x} if done else {}
        for name, stage in list(self.stages.items())[done:]:
            if outputs.keys() >= set(names):
                break
            x = stage(x)
            outputs[name] = x
        return tuple(outputs[name] for name in names)

    def kept(self, x: Tensor) -> Tensor:
        """What is kept of images where it is frozen up to a level:
        all that `forward` and `forward_levels` need instead of them.
        """
        return self.forward_levels(x, (self.frozen_level,))[0]

    def train(self, mode: bool = True) -> Self:
        super().train(mode and self.frozen is not True)
        for stage in self.frozen_stages():
            stage.eval()
        return self


def check_levels(backbone: Backbone, names: Sequence[str]) -> None:
    """Raise InputError unless all names are levels of the backbone."""
    unknown = [name for name in names if name not in backbone.levels]
    if unknown:
        raise InputError(
            f"unknown level {unknown[0]!r}; this backbone has: {', '.join(backbone.levels)}"
        )


def until(levels: Mapping[str, Level], level: str) -> list[str]:
    """The names of the levels up to and including one of them, in order."""
    names = list(levels)
    return names[: names.index(level) + 1]


def check_frozen(
    levels: Mapping[str, Level], frozen: bool | str, taps: Sequence[str], backbone: str
) -> None:
    """Raise InputError unless a backbone can stay as it is up to a level,
    and nothing that is needed lies before.

    Args:
        taps: levels that the head takes.
        backbone: its name, for messages.
    """
    if not isinstance(frozen, str):
        return
    inner = list(levels)[:-1]
    if frozen not in inner:
        known = ", ".join(inner)
        raise InputError(
            f"frozen must be true, false or a level of {backbone} before its last ({known}), got "
            f"{frozen!r}"
        )
    early = [name for name in until(levels, frozen)[:-1] if name in taps]
    if early:
        raise InputError(
            f"frozen must be a level that does not lie behind {early[0]}, which the head takes, "
            f"got {frozen!r}"
        )


def spelt(scales: str) -> str:
    """One name for one thing: levels with + between them, where commas and blanks may stand."""
    return scales.replace(",", "+").replace(" ", "")


def named(levels: Mapping[str, Level], scales: str, backbone: str) -> tuple[str, ...]:
    """The levels that a setting names, with + between them, in the backbone's order.

    Args:
        levels: all levels of the backbone.
        backbone: its name, for messages.

    Raises InputError for a level that the backbone does not have, or one that is named twice.
    """
    names = scales.split("+")
    unknown = [name for name in names if name not in levels]
    if unknown:
        known = ", ".join(levels)
        raise InputError(f"scales: backbone {backbone} has no level {unknown[0]!r}; it has {known}")
    if len(set(names)) < len(names):
        raise InputError(f"scales: each level can be named once, got {scales}")
    return tuple(name for name in levels if name in names)
