"""What several runs in one pass have in common, and do once:
features of frozen backbones, and phases of training.

A key says all that a thing depends on, and holds the images themselves: as long as the thing is
kept, so are they.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Itself:
    """A thing in a key that equals nothing but itself, such as an array,
    whose numbers may change.
    """

    thing: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.thing is other.thing

    def __hash__(self) -> int:
        return object.__hash__(self.thing)


@dataclass(frozen=True)
class PhaseKey:
    """What the outcome of a phase depends on; runs whose keys are equal have the same phase."""

    name: str
    settings: Hashable  # of the method, but for its code length
    seed: int
    device: str
    train: Hashable  # the training part


class Outcome(NamedTuple):
    """What a phase has left behind: weights and buffers by name, and its lines of the history."""

    tensors: dict[str, Tensor]
    history: list[dict]


class Shared:
    """What the runs that are given it have made so far.
    All features are kept, and of each phase the newest.
    """

    def __init__(self) -> None:
        self._features: dict[Hashable, Any] = {}
        self._phases: dict[str, tuple[PhaseKey, Outcome]] = {}

    def features(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The features (N, d), or maps, that `make` gave when the key came for the first time."""
        if key not in self._features:
            self._features[key] = make()
        return self._features[key]

    def phase(self, key: PhaseKey, make: Callable[[], Outcome]) -> Outcome:
        """The outcome of a phase;
        one that is made takes the place of any other of the same name.
        """
        if key.name in self._phases:
            newest_key, outcome = self._phases[key.name]
            if newest_key == key:
                return outcome
        outcome = make()
        self._phases[key.name] = key, outcome
        return outcome
