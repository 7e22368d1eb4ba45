"""The one training loop: batches that live on the device, phases, seeds, progress.

A method describes its training as a list of `Phase`s; `train` runs them and returns what it saw.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.errors import InputError
from hashlab.progress import Progress


@dataclass(frozen=True)
class Phase:
    """One stage of training: `loss(images, labels)` is minimised over `module`'s weights for some epochs.

    The learning rate rises linearly over the first tenth of the steps to `lr`, then falls along a cosine to 0.
    """

    name: str
    module: nn.Module
    loss: Callable[[Tensor, Tensor], Tensor]
    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4


class Batches:
    """Images kept on the device as uint8, normalised (and shifted) there batch by batch.

    Args:
        images: uint8 (N, H, W) or (N, H, W, C).
        labels: int (N,) or None.
        mean, std: per channel, in units of 0..1.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None, device: torch.device, mean: Tensor, std: Tensor):
        self.images = as_nchw(images).to(device)  # uint8 (N, C, H, W)
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels)).to(device)
        self.mean, self.std = mean.to(device), std.to(device)

    def __len__(self) -> int:
        return len(self.images)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 with the given mean and standard deviation taken out."""
        return (images.float() / 255 - self.mean.view(1, -1, 1, 1)) / self.std.view(1, -1, 1, 1)

    def epoch(self, size: int, shift: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Shuffled training batches (images, labels); the last incomplete one is left out if it is not the only one."""
        order = torch.randperm(len(self), generator=generator)
        whole = max(len(self) // size, 1) * size
        for rows in order[:whole].split(size):
            rows = rows.to(self.images.device)
            yield self.normalise(shifted(self.images[rows], shift, generator)), self.labels[rows]

    def stream(self, size: int = 1000) -> Iterator[Tensor]:
        """All images once, in order, without shifts."""
        for images in self.images.split(size):
            yield self.normalise(images)


def check_images(images: np.ndarray) -> None:
    """Raise InputError unless images are uint8 (N, H, W) or (N, H, W, C)."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.ndim not in (3, 4):
        found = f"{getattr(images, 'shape', type(images).__name__)} {getattr(images, 'dtype', '')}".strip()
        raise InputError(f"images must be uint8 (N, H, W) or (N, H, W, C), got {found}")


def as_nchw(images: np.ndarray) -> Tensor:
    """uint8 (N, H, W) or (N, H, W, C) -> (N, C, H, W) tensor; raises InputError for other shapes or types."""
    check_images(images)
    tensor = torch.from_numpy(np.array(images))  # a copy: memory-mapped files are read-only
    return tensor[:, None] if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def statistics(images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel, in units of 0..1, both (C,); taken from the training images only."""
    pixels = as_nchw(images).double() / 255
    return pixels.mean((0, 2, 3)).float(), pixels.std((0, 2, 3)).clamp_min(1e-6).float()


def shifted(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Each image (B, C, H, W) moved by up to `most` pixels in both directions, zeros moving in."""
    if most == 0:
        return images
    batch, _, height, width = images.shape
    down, right = torch.randint(0, 2 * most + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = down + torch.arange(height, device=images.device)  # (B, H)
    columns = right + torch.arange(width, device=images.device)  # (B, W)
    padded = F.pad(images, (most,) * 4)
    which = torch.arange(batch, device=images.device)[:, None, None]
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # (B, H, W, C) -> (B, C, H, W)


@contextmanager
def seeded(seed: int) -> Iterator[torch.Generator]:
    """Run with torch's generators seeded, then put them back; yields a generator of its own for the batches."""
    if not 0 <= seed < 2**32:
        raise InputError(f"seed must lie in 0..2**32-1, got {seed}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield torch.Generator().manual_seed(seed)


def rate(step: int, steps: int) -> float:
    """The factor on the learning rate at a step: linear warm-up over a tenth of the steps, then a cosine to 0."""
    warm = max(steps // 10, 1)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1)))


EachEpoch = Callable[[str, int], None]  # called with the phase's name and the epoch's number, when it is done


def train(
    phases: list[Phase],
    batches: Batches,
    *,
    batch_size: int,
    shift: int,
    generator: torch.Generator,
    each_epoch: EachEpoch | None = None,
) -> list[dict]:
    """Run the phases one after the other; returns a line per epoch: phase, epoch, mean loss, seconds.

    Raises FloatingPointError, naming phase and step, as soon as a loss is not finite.
    """
    history = []
    for phase in phases:
        if phase.epochs > 0:
            history += _run(phase, batches, batch_size, shift, generator, each_epoch)
    return history


def _run(
    phase: Phase, batches: Batches, size: int, shift: int, generator: torch.Generator, each_epoch: EachEpoch | None
) -> list[dict]:
    weights = [p for p in phase.module.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(
        weights,
        phase.lr,
        momentum=phase.momentum,
        weight_decay=phase.weight_decay,
        nesterov=phase.momentum > 0,
    )
    steps = phase.epochs * max(len(batches) // size, 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
    history, progress = [], Progress(range(1, phase.epochs + 1), phase.name)
    for epoch in progress:
        phase.module.train()
        start, losses = time.perf_counter(), []
        for images, labels in batches.epoch(size, shift, generator):
            loss = phase.loss(images, labels)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
            if not torch.isfinite(losses[-1]):
                step = (epoch - 1) * max(len(batches) // size, 1) + len(losses)
                raise FloatingPointError(
                    f"{phase.name}: the loss is {losses[-1].item()} at step {step}; try a lower lr"
                )
        mean = torch.stack(losses).mean().item()
        progress.note(loss=mean)
        line = {
            "phase": phase.name,
            "epoch": epoch,
            "loss": mean,
            "seconds": round(time.perf_counter() - start, 3),
        }
        history.append(line)
        if each_epoch is not None:
            each_epoch(phase.name, epoch)
    return history
