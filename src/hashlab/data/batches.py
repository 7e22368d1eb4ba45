"""Batches made on the device: uint8 images are kept there, and cropped, mirrored, normalised and resized per batch.

No worker processes: what PIL does image by image takes a few array operations per batch here. Where the images do not
fit, each batch is read from the (memory-mapped) array instead; the batches are the same to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hashlab import codes
from hashlab.data.folders import LARGEST_SIDE
from hashlab.data.parts import Part, check_rows
from hashlab.errors import InputError
from hashlab.progress import Progress

# Pixels that go through a network at once when nothing is trained: what keeps a GPU busy, or stays in a CPU's cache.
PIXELS = {"cuda": 2**25, "cpu": 2**18}


class Batch(NamedTuple):
    """Some training images as the network takes them, their labels, and their positions in the training part."""

    images: Tensor  # float32 (B, C, H, W), or features (B, d) of a frozen body
    labels: Tensor  # (B, ...)
    rows: Tensor  # (B,) int64


class Draws(NamedTuple):
    """What is random about some images: where each is cropped, and whether it is mirrored."""

    down: Tensor  # (N,) int64
    right: Tensor  # (N,) int64
    mirror: Tensor  # (N,) bool


@dataclass(frozen=True)
class View:
    """How stored images become the network's input.

    Args:
        height, width, channels: of the stored images.
        mean, std: per channel of the input, in units of 0..1. Three of them for grey images give three equal channels.
        shift: pixels of black added on every side, from which training images are cropped at random.
        crop: side of the square cut out, at random in training and from the middle otherwise; 0 for the whole image.
        flip: whether training images are mirrored, left to right, half of the time.
        size: side of the square that the result is resized to; 0 to leave it.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shift: int = 0
    crop: int = 0
    flip: bool = False
    size: int = 0

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Self:
        """The view that the JSON object of a saved model describes; raises InputError where it describes none."""
        if facts.keys() != {field.name for field in dataclasses.fields(cls)}:
            raise InputError(f"the model's view must have the fields of a View, got {reprlib.repr(list(facts))}")
        view = cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()})
        sides = [view.height, view.width, view.shift, view.crop, view.size]
        whole = all(type(side) is int and 0 <= side <= LARGEST_SIDE for side in sides)
        if not whole or not view.height >= 1 or not view.width >= 1 or view.crop > min(view.height, view.width):
            raise InputError(f"the sides of the model's view must lie in 1..{LARGEST_SIDE}, got {sides}")
        if view.channels not in (1, 3) or type(view.flip) is not bool or not view._scales():
            given = reprlib.repr(facts)
            raise InputError(f"the model's view must have a mean and a positive std per channel, got {given}")
        return view

    def _scales(self) -> bool:
        """Whether mean and standard deviation are numbers, one per channel, or three for grey."""
        both = self.mean, self.std
        if not all(isinstance(values, tuple) and len(values) in {self.channels, 3} for values in both):
            return False
        numbers = all(type(value) is float and math.isfinite(value) for values in both for value in values)
        return numbers and len(self.mean) == len(self.std) and min(self.std) > 0

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of a stored image, (H, W) or (H, W, 3)."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of what is cropped."""
        return (self.crop, self.crop) if self.crop else (self.height, self.width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the network's input."""
        height, width = (self.size, self.size) if self.size else self.window
        return height, width, len(self.mean)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """The random choices for `count` images; always the same numbers are drawn, whatever is in use."""
        height, width = self.window
        down = torch.randint(self.height + 2 * self.shift - height + 1, (count,), generator=generator)
        right = torch.randint(self.width + 2 * self.shift - width + 1, (count,), generator=generator)
        return Draws(down, right, torch.rand(count, generator=generator) < 0.5)

    def random(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, h, w), cropped and mirrored as drawn."""
        images = crops(images, self.shift, self.window, draws.down, draws.right)
        if self.flip:
            images = torch.where(draws.mirror[:, None, None, None], images.flip(2), images)
        return self.finish(images)

    def plain(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, h, w), the middle of every image."""
        height, width = self.window
        top, left = (self.height - height) // 2, (self.width - width) // 2
        return self.finish(images[:, top : top + height, left : left + width])

    def finish(self, images: Tensor) -> Tensor:
        """Normalise and resize: uint8 (B, H, W, C) -> float32 (B, C, h, w), channels last in memory."""
        width, channels = images.shape[2], len(self.mean)
        mean, std = (_scale(values, width, images.device) for values in (self.mean, self.std))
        x = images.expand(-1, -1, -1, channels).flatten(2).float().sub_(mean).div_(std)  # (B, H, W*C)
        x = x.unflatten(2, (width, channels)).permute(0, 3, 1, 2)  # (B, C, H, W)
        if not self.size or x.shape[2:] == (self.size, self.size):
            return x
        shrinks = self.size < max(x.shape[2:])
        return F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=shrinks)


@cache
def _scale(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """Values per channel in units of 0..255, repeated for a row of pixels (W*C,): whole rows are faster than threes.

    Made once, because a copy to a device in every step would make it wait.
    """
    return (torch.tensor(values) * 255).repeat(width).to(device)


def crops(images: Tensor, pad: int, window: tuple[int, int], down: Tensor, right: Tensor) -> Tensor:
    """Windows (B, h, w, C) of images (B, H, W, C) with `pad` zeros around: of b from row down[b], column right[b]."""
    if images.shape[1:3] == window and not pad:
        return images
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    windows = padded.unfold(1, window[0], 1).unfold(2, window[1], 1)  # (B, rows, columns, C, h, w), a view
    return windows.permute(0, 1, 2, 4, 5, 3)[torch.arange(len(images), device=images.device), down, right]


class Stored:
    """An array of images, uint8 (N, H, W) or (N, H, W, 3), read as a `data.Part` is: by `take` and in `blocks`."""

    def __init__(self, images: np.ndarray):
        check_images(images)
        self.images, self.shape, self.nbytes = images, images.shape[1:], images.nbytes

    def __len__(self) -> int:
        return len(self.images)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self.images[check_rows(rows, len(self))]

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        if size < 1:
            raise InputError(f"a block holds 1 image or more, got {size}")
        for at in range(0, len(self), size):
            yield self.images[at : at + size]


Images = np.ndarray | Part  # uint8 (N, H, W) or (N, H, W, 3), in memory or not


def stored(images: Images) -> Stored | Part:
    """Images with `take` and `blocks`; raises InputError for an array that does not hold images, or for none."""
    if not isinstance(images, Part):
        return Stored(images)
    if not len(images):
        raise InputError("one image at least is expected, got none")
    return images


class Batches:
    """Images, or features, with their labels, as batches on a device.

    Args:
        images: an array or a part of a data set; or a tensor of features (N, ...).
        labels: (N, ...) or None.
        view: how images become input; None for features, which are taken as they are.
        resident_mb: images of up to this many MiB are kept on the device; others are read batch by batch.
    """

    def __init__(
        self,
        images: Images | Tensor,
        labels: np.ndarray | None,
        device: torch.device,
        view: View | None,
        resident_mb: int = 8192,
    ):
        self.device, self.view = device, view
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels)).to(device)
        self.images = images.to(device) if isinstance(images, Tensor) else stored(images)
        if not isinstance(images, Tensor) and self.images.nbytes <= resident_mb * 2**20:
            with memory_explained(f"{self.images.nbytes / 2**20:.0f} MiB of images on {device}", "resident_mb"):
                array = self.images.images
                self.images = Stored(array) if device.type == "cpu" else self._carry(array)

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, size: int) -> int:
        """Batches per epoch."""
        return max(len(self) // size, 1)

    def epoch(self, size: int, generator: torch.Generator, per_class: int = 0, start: int = 0) -> Iterator[Batch]:
        """Training batches in a new order, from number `start` on.

        All that is random is drawn at once, so it depends on the generator only. The last incomplete batch is left
        out if it is not the only one. With `per_class`, see `balanced`.
        """
        order = self._order(size, per_class, generator)
        draws = self.view and Draws(*(d.to(self.device) for d in self.view.draw(len(order), generator)))
        places = order.to(self.device)
        for at in range(start * size, len(order), size):
            now = slice(at, at + size)
            images = (
                self.images[places[now]]
                if isinstance(self.images, Tensor)
                else self._carry(self.images.take(order[now].numpy()))
            )
            if draws:
                images = self.view.random(images, Draws(*(d[now] for d in draws)))
            yield Batch(images, self.labels[places[now]], places[now])

    def _order(self, size: int, per_class: int, generator: torch.Generator) -> Tensor:
        if per_class:
            return balanced(self.labels.cpu(), size, per_class, self.steps(size), generator)
        return torch.randperm(len(self), generator=generator)[: self.steps(size) * size]

    def _carry(self, block: np.ndarray) -> Tensor:
        """uint8 (B, H, W[, C]) as (B, H, W, C) to the device, which goes on with its work meanwhile."""
        block = torch.from_numpy(np.array(four(block)))  # a copy: memory-mapped files are read-only
        return block.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else block

    def stream(self, size: int | None = None) -> Iterator[Tensor]:
        """All images once, in order, as the network takes them; `size` at a time."""
        size, resident = size or self.block, isinstance(self.images, Tensor)
        for block in self.images.split(size) if resident else self.images.blocks(size):
            block = block if resident else self._carry(block)
            yield block if self.view is None else self.view.plain(block)

    @property
    def block(self) -> int:
        """Images that go through a network at once when nothing is trained."""
        if self.view is None:
            return 2**14
        height, width, _ = self.view.shape
        return max(PIXELS.get(self.device.type, PIXELS["cuda"]) // (height * width), 1)

    @torch.inference_mode()
    def map(self, network: Callable[[Tensor], Tensor], text: str) -> Tensor:
        """`network` of all images in order: float32 (N, ...), on the CPU.

        Raises MemoryError, with what to lower, where the device's memory is full.
        """
        blocks = -(-len(self) // self.block)
        with memory_explained(f"{text} {self.block} images at once on {self.device}", "size"):
            found = [network(x).float().cpu() for x in Progress(self.stream(), text, total=blocks, delay=2)]
        return torch.cat(found)


@contextmanager
def memory_explained(work: str, lower: str) -> Iterator[None]:
    """Where memory runs out inside, raise MemoryError that says at what, and which settings to lower."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        raise MemoryError(f"memory is full: {work}; lower the setting {lower}") from None


def balanced(labels: Tensor, size: int, per_class: int, steps: int, generator: torch.Generator) -> Tensor:
    """Positions (steps * size,) such that every batch holds `per_class` images of each of size / per_class classes.

    A class gives its images in a random order and starts anew when they are used up. Classes are drawn without
    replacement within a batch, with one where there are too few.
    """
    check_balanced(labels, size, per_class)
    members = [torch.nonzero(labels == c)[:, 0] for c in labels.unique()]
    queues = [_endless(rows, generator) for rows in members]
    order = []
    for _ in range(steps):
        rounds = -(-(size // per_class) // len(queues))
        classes = torch.cat([torch.randperm(len(queues), generator=generator) for _ in range(rounds)])
        order += [next(queues[c]) for c in classes[: size // per_class].tolist() for _ in range(per_class)]
    return torch.stack(order)


def _endless(rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator)]


def check_balanced(labels: Tensor, size: int, per_class: int) -> None:
    """Raise InputError unless batches of `size` can hold `per_class` images of every class that stands in them."""
    if labels.ndim != 1:
        raise InputError(f"balanced batches need one class per image, got labels {tuple(labels.shape)}")
    if size % per_class:
        raise InputError(f"batch_size must be a multiple of the {per_class} images per class, got {size}")


def check_images(images: np.ndarray) -> None:
    """Raise InputError unless images are uint8, grey (N, H, W) or RGB (N, H, W, 3), of one pixel at least each."""
    grey_or_rgb = isinstance(images, np.ndarray) and (images.ndim == 3 or images.shape[3:] == (3,))
    if not grey_or_rgb or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise InputError(f"images must be uint8 (N, H, W) or (N, H, W, 3), got {codes.describe(images)}")
    if not len(images):
        raise InputError("one image at least is expected, got none")
    if max(images.shape[1:3]) > LARGEST_SIDE:
        raise InputError(f"images of at most {LARGEST_SIDE} px are expected, got {images.shape[1]}x{images.shape[2]}")


def four(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W[, C]) -> (N, H, W, C), a view."""
    return images[..., None] if images.ndim == 3 else images


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in units of 0..1; exact, and read in blocks.

    Taken from the training images only.
    """
    counts = 0
    for block in stored(images).blocks(256):
        channels = torch.from_numpy(np.array(four(block))).unbind(-1)
        counts += np.stack([torch.bincount(c.flatten(), minlength=256).numpy() for c in channels])  # (C, 256)
    values, total = np.arange(256) / 255, counts[0].sum()
    mean = counts @ values / total  # (C,)
    spread = (counts * (values - mean[:, None]) ** 2).sum(1) / max(total - 1, 1)
    return tuple(mean.tolist()), tuple(np.maximum(np.sqrt(spread), 1e-6).tolist())
