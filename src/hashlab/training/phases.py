"""The stages of a training, and what they choose from:
optimisers, and schedules of the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hashlab.data.batches import Batch, Batches
from hashlab.training.sharing import PhaseKey


@dataclass(frozen=True)
class Phase:
    """One stage of training: `loss(batch)` is minimised over `module`'s weights for some epochs.

    Args:
        name: unique among the phases of a run.
        module: what is trained, `network` and what the loss has of its own. What else changes with
            training (centres, memory banks) stands in its buffers, for that is what a checkpoint
            holds.
        loss: of a `Batch`; a scalar.
        lr: the highest learning rate, reached after a tenth of the steps; then it falls as
            `schedule` says.
        clip: largest norm of the gradient, 0 for any.
        per_class: images of one class that stand together in a batch (see `batches.balanced`);
            0 for plain shuffling.
        before_epoch: called with the epoch's number and the batches before each epoch.
        network: the part of `module` that maps images to outputs, which a compiler makes faster;
            all of it when None.
        share_key: all that its outcome depends on, such as a `PhaseKey`; runs whose keys are equal
            do it once.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Tensor]
    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimiser: str = "sgd"
    schedule: str = "cosine"
    clip: float = 0.0
    per_class: int = 0
    before_epoch: Callable[[int, Batches], None] | None = None
    network: nn.Module | None = None
    share_key: PhaseKey | None = None

    def trained(self) -> list[nn.Parameter]:
        """The weights that the phase trains."""
        return [weight for weight in self.module.parameters() if weight.requires_grad]

    def new_optimiser(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser that the phase names, for these weights, as it is before the first step."""
        return OPTIMISERS[self.optimiser](weights, self)


def _sgd(weights: list[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        weights,
        phase.lr,
        phase.momentum,
        weight_decay=phase.weight_decay,
        nesterov=phase.momentum > 0,
    )


def _adamw(weights: list[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    return torch.optim.AdamW(weights, phase.lr, weight_decay=phase.weight_decay)


def _rmsprop(weights: list[nn.Parameter], phase: Phase) -> torch.optim.Optimizer:
    return torch.optim.RMSprop(
        weights,
        phase.lr,
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
    )


OPTIMISERS: dict[str, Callable[[list[nn.Parameter], Phase], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "rmsprop": _rmsprop,
}
# The factor on the learning rate, given the part 0..1 of the steps after the warm-up that is done.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


def rate(step: int, steps: int, schedule: str = "cosine") -> float:
    """The factor on the learning rate at a step: linear warm-up over a tenth, then the schedule.

    Example:
        >>> from hashlab.training import phases
        >>> [round(phases.rate(step, 20), 2) for step in (0, 1, 2, 11, 20)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm_up = max(steps // 10, 1)
    if step < warm_up:
        return (step + 1) / warm_up
    return SCHEDULES[schedule]((step - warm_up) / max(steps - warm_up, 1))
