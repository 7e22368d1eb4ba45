"""Batches made on the device: uint8 images are kept there, and cropped, mirrored,
normalised and resized per batch; given features are taken as they are.

No worker processes: what PIL does image by image takes a few array operations per batch here. Where
the images do not fit, each batch is read from the (memory-mapped) array instead; the batches are
the same to the last bit.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hashlab import codes
from hashlab.data import items
from hashlab.data.folders import LARGEST_SIDE
from hashlab.data.parts import Part, check_rows
from hashlab.errors import InputError
from hashlab.progress import Progress

# Pixels that go through a network at once when nothing is trained: what keeps a GPU busy, or stays
# in a CPU's cache.
PIXELS = {"cuda": 2**25, "cpu": 2**18}
MIB = 2**20  # bytes


class Batch(NamedTuple):
    """Some training images as the network takes them, their labels,
    and their positions in the training part.
    """

    # float32 (B, C, H, W); features (B, d), given or of a frozen body; or maps that one gave
    images: Tensor
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
        mean, std: per channel of the input, in units of 0..1. Three of them for grey images give
            three equal channels.
        shift: pixels of black added on every side, from which training images are cropped at
            random.
        crop: side of the square cut out, at random in training and from the middle otherwise; 0 for
            the whole image.
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
        """The view that the JSON object of a saved model describes;
        raises InputError where it describes none.
        """
        if facts.keys() != {field.name for field in dataclasses.fields(cls)}:
            raise InputError(
                f"the model's view must have the fields of a View, got {reprlib.repr(list(facts))}"
            )
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in facts.items()
        }
        view = cls(**values)
        sides = [view.height, view.width, view.shift, view.crop, view.size]
        if not view._sides_fit(sides):
            raise InputError(
                f"the sides of the model's view must lie in 1..{LARGEST_SIDE}, got {sides}"
            )
        if view.channels not in (1, 3) or type(view.flip) is not bool or not view._scales():
            given = reprlib.repr(facts)
            raise InputError(
                f"the model's view must have a mean and a positive std per channel, got {given}"
            )
        return view

    def _sides_fit(self, sides: list[Any]) -> bool:
        """Whether all sides are whole numbers of pixels, and a crop lies within the image."""
        if not all(type(side) is int and 0 <= side <= LARGEST_SIDE for side in sides):
            return False
        shorter = min(self.height, self.width)
        return shorter >= 1 and self.crop <= shorter

    def _scales(self) -> bool:
        """Whether mean and standard deviation are numbers, one per channel, or three for grey."""
        for values in (self.mean, self.std):
            if not isinstance(values, tuple) or len(values) not in {self.channels, 3}:
                return False
            if not all(type(value) is float and math.isfinite(value) for value in values):
                return False
        return len(self.mean) == len(self.std) and min(self.std) > 0

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of a stored image, (H, W) or (H, W, 3)."""
        sides = (self.height, self.width)
        return sides if self.channels == 1 else (*sides, self.channels)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of what is cropped."""
        return (self.crop, self.crop) if self.crop else (self.height, self.width)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the network's input."""
        sides = (self.size, self.size) if self.size else self.window
        return *sides, len(self.mean)

    def zeros(self, count: int) -> Tensor:
        """The network's input of so many images, without anything on them."""
        height, width, channels = self.shape
        return torch.zeros(count, channels, height, width)

    def draw(self, count: int, generator: torch.Generator) -> Draws:
        """The random choices for `count` images;
        always the same numbers are drawn, whatever is in use.
        """
        height, width = self.window
        rows = self.height + 2 * self.shift - height + 1  # where a window may begin
        columns = self.width + 2 * self.shift - width + 1
        down = torch.randint(rows, (count,), generator=generator)
        right = torch.randint(columns, (count,), generator=generator)
        mirror = torch.rand(count, generator=generator) < 0.5
        return Draws(down, right, mirror)

    def random(self, images: Tensor, draws: Draws) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, h, w), cropped and mirrored as drawn."""
        images = crops(images, self.shift, self.window, draws.down, draws.right)
        if self.flip:
            images = torch.where(draws.mirror[:, None, None, None], images.flip(2), images)
        return self.finish(images)

    def plain(self, images: Tensor) -> Tensor:
        """uint8 (B, H, W, C) -> float32 (B, C, h, w), the middle of every image."""
        height, width = self.window
        top = (self.height - height) // 2
        left = (self.width - width) // 2
        return self.finish(images[:, top : top + height, left : left + width])

    def finish(self, images: Tensor) -> Tensor:
        """Normalise and resize: uint8 (B, H, W, C) -> float32 (B, C, h, w),
        channels last in memory.
        """
        width = images.shape[2]
        channels = len(self.mean)
        mean = _scale(self.mean, width, images.device)  # (W*C,)
        std = _scale(self.std, width, images.device)  # (W*C,)
        x = images.expand(-1, -1, -1, channels).flatten(2).float()  # (B, H, W*C)
        x = x.sub_(mean).div_(std)
        x = x.unflatten(2, (width, channels)).permute(0, 3, 1, 2)  # (B, C, H, W)
        if not self.size or x.shape[2:] == (self.size, self.size):
            return x
        shrinks = self.size < max(x.shape[2:])
        return F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=shrinks)


@cache
def _scale(values: tuple[float, ...], width: int, device: torch.device) -> Tensor:
    """Values per channel in units of 0..255, repeated for a row of pixels: (W*C,).

    Whole rows are faster than threes. Made once, because a copy to a device in every step would
    make it wait.
    """
    return (torch.tensor(values) * 255).repeat(width).to(device)


def crops(images: Tensor, pad: int, window: tuple[int, int], down: Tensor, right: Tensor) -> Tensor:
    """Windows (B, h, w, C) of images (B, H, W, C) with `pad` zeros around them.

    The window of image b begins in row down[b] and column right[b].
    """
    if images.shape[1:3] == window and not pad:
        return images
    height, width = window
    padded = F.pad(images, (0, 0, pad, pad, pad, pad))
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)  # (B, rows, columns, C, h, w), a view
    windows = windows.permute(0, 1, 2, 4, 5, 3)  # (B, rows, columns, h, w, C)
    each = torch.arange(len(images), device=images.device)
    return windows[each, down, right]


class Stored:
    """An array of images, uint8 (N, H, W) or (N, H, W, 3), or of features, floats (N, d),
    read as a `data.Part` is: by `take` and in `blocks`.
    """

    def __init__(self, images: np.ndarray):
        check_items(images)
        self._given = images
        self.shape = images.shape[1:]
        self.nbytes = images.size * items.zeros(0, self.shape).itemsize

    def __len__(self) -> int:
        return len(self._given)

    @property
    def images(self) -> np.ndarray:
        """All of them: uint8, or features as float32 (N, d)."""
        return items.ready(self._given)

    def take(self, rows: np.ndarray) -> np.ndarray:
        return items.ready(self._given[check_rows(rows, len(self))])

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        if size < 1:
            raise InputError(f"a block holds 1 image or more, got {size}")
        for start in range(0, len(self), size):
            yield items.ready(self._given[start : start + size])


# uint8 (N, H, W) or (N, H, W, 3), in memory or not; or features, floats (N, d)
Images = np.ndarray | Part


def stored(images: Images) -> Stored | Part:
    """Images, or features, with `take` and `blocks`;
    raises InputError for an array that holds neither, or for none.
    """
    if not isinstance(images, Part):
        return Stored(images)
    if not len(images):
        raise InputError("one image at least is expected, got none")
    return images


class Maps:
    """What a part of a network gave for images, float16: maps (N, H, W, C), tokens
    (N, T, C), or vectors (N, C).

    Args:
        blocks: number of the block -> its rows, in memory or not.
        size: rows of a block.
        index: the rows that are meant, in order (N,), counted over all blocks.
    """

    def __init__(self, blocks: Mapping[int, np.ndarray], size: int, index: np.ndarray):
        self._blocks = blocks
        self.size = size
        self.index = index
        self.shape = next(iter(blocks.values())).shape[1:]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def numbers(self) -> int:
        """How many stand in a row."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return 2 * len(self) * self.numbers

    @property
    def images(self) -> np.ndarray:
        """All rows."""
        return self.take(np.arange(len(self)))

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Rows (B,) in that order."""
        index = self.index[rows]
        taken = np.empty((len(index), *self.shape), np.float16)
        for block in np.unique(index // self.size).tolist():
            in_block = index // self.size == block
            taken[in_block] = self._blocks[block][index[in_block] % self.size]
        return taken

    def blocks(self, size: int) -> Iterator[np.ndarray]:
        for start in range(0, len(self), size):
            yield self.take(np.arange(start, min(start + size, len(self))))


def given(x: Tensor) -> Tensor:
    """What stands in for images, as a network takes it:
    maps float16 (B, H, W, C) as float32 (B, C, H, W), channels last in memory.
    """
    if x.dtype != torch.float16:
        return x
    return x.float().permute(0, 3, 1, 2) if x.ndim == 4 else x.float()


class Batches:
    """Images, or features, with their labels, as batches on a device.

    Args:
        images: an array or a part of a data set; or a tensor of features (N, ...), or maps, that a
            network gave.
        labels: (N, ...) or None.
        view: how images, or given features, become input; None for what a network gave, which is
            taken as it is.
        resident_mb: images of up to this many MiB are kept on the device; others are read batch by
            batch.
    """

    def __init__(
        self,
        images: Images | Tensor | Maps,
        labels: np.ndarray | None,
        device: torch.device,
        view: View | items.Vectors | None,
        resident_mb: int = 8192,
    ):
        self.device = device
        self.view = view
        self.labels = None if labels is None else torch.from_numpy(np.asarray(labels)).to(device)
        self.maps = isinstance(images, Maps)
        self.block = self._block(images)
        if isinstance(images, Tensor):
            self.images = images.to(device)
            return
        self.images = images if self.maps else stored(images)
        mapped = self.maps and device.type == "cpu"  # several processes have the same pages
        if not mapped and self.images.nbytes <= resident_mb * MIB:
            self._keep()

    def _keep(self) -> None:
        """Read all images, and keep them on the device."""
        size = f"{self.images.nbytes / MIB:.0f} MiB of images on {self.device}"
        with memory_explained(size, "resident_mb"):
            array = self.images.images
            self.images = Stored(array) if self.device.type == "cpu" else self._carry(array)

    def __len__(self) -> int:
        return len(self.images)

    def steps(self, size: int) -> int:
        """Batches per epoch."""
        return max(len(self) // size, 1)

    def epoch(
        self, size: int, generator: torch.Generator, per_class: int = 0, start: int = 0
    ) -> Iterator[Batch]:
        """Training batches in a new order, from number `start` on.

        All that is random is drawn at once, so it depends on the generator only. The last
        incomplete batch is left out if it is not the only one. With `per_class`, see `balanced`.
        """
        order = self._order(size, per_class, generator)  # (M,) on the CPU, where files are read
        draws = self._draws(len(order), generator)
        all_rows = order.to(self.device)
        for first in range(start * size, len(order), size):
            batch = slice(first, first + size)
            rows = all_rows[batch]
            images = self._rows(order[batch], rows)
            if draws is not None:
                images = self.view.random(images, Draws(*(draw[batch] for draw in draws)))
            else:
                images = given(images)
            yield Batch(images, self.labels[rows], rows)

    def _order(self, size: int, per_class: int, generator: torch.Generator) -> Tensor:
        steps = self.steps(size)
        if per_class:
            return balanced(self.labels.cpu(), size, per_class, steps, generator)
        return torch.randperm(len(self), generator=generator)[: steps * size]

    def _draws(self, count: int, generator: torch.Generator) -> Draws | None:
        """What is random about the images of an epoch, on the device; nothing of features is."""
        draws = None if self.view is None else self.view.draw(count, generator)
        return None if draws is None else Draws(*(draw.to(self.device) for draw in draws))

    def _rows(self, rows: Tensor, on_device: Tensor) -> Tensor:
        """Some images on the device; their rows are given on the CPU and on the device."""
        if isinstance(self.images, Tensor):
            return self.images[on_device]
        return self._carry(self.images.take(rows.numpy()))

    def _carry(self, block: np.ndarray) -> Tensor:
        """uint8 (B, H, W[, C]) as (B, H, W, C), or maps and features as they are, to the device,
        which goes on with its work meanwhile.
        """
        block = block if self.maps else four(block)
        copy = torch.from_numpy(np.array(block))  # memory-mapped files are read-only
        if self.device.type != "cuda":
            return copy
        return copy.pin_memory().to(self.device, non_blocking=True)

    def stream(self, size: int | None = None) -> Iterator[Tensor]:
        """All images once, in order, as the network takes them; `size` at a time."""
        for block in self._blocks(size or self.block):
            yield given(block) if self.view is None else self.view.plain(block)

    def some(self, rows: np.ndarray) -> Iterator[Tensor]:
        """The images at rows (M,), in that order, as the network takes them; a block at a time."""
        for chosen in torch.from_numpy(rows).split(self.block):
            block = self._rows(chosen, chosen.to(self.device))
            yield given(block) if self.view is None else self.view.plain(block)

    def _blocks(self, size: int) -> Iterable[Tensor]:
        if isinstance(self.images, Tensor):
            return self.images.split(size)
        return map(self._carry, self.images.blocks(size))

    def _block(self, images: Images | Tensor | Maps) -> int:
        """Images that go through a network at once when nothing is trained."""
        if isinstance(images, Tensor):
            return 2**14
        numbers = images.numbers if self.maps else math.prod(self.view.shape[:2])
        return max(PIXELS.get(self.device.type, PIXELS["cuda"]) // numbers, 1)

    @torch.inference_mode()
    def map(self, network: Callable[[Tensor], Tensor], text: str) -> Tensor:
        """`network` of all images in order: float32 (N, ...), on the CPU.

        Raises MemoryError, with what to lower, where the device's memory is full.
        """
        blocks = -(-len(self) // self.block)
        with memory_explained(f"{text} {self.block} images at once on {self.device}", "size"):
            shown = Progress(self.stream(), text, total=blocks, delay=2)
            outputs = [network(block).float().cpu() for block in shown]
        return torch.cat(outputs)


@contextmanager
def memory_explained(work: str, lower: str) -> Iterator[None]:
    """Where memory runs out inside, raise MemoryError that says at what,
    and which settings to lower.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(
            error
        ):
            raise
        raise MemoryError(f"memory is full: {work}; lower the setting {lower}") from None


def balanced(
    labels: Tensor, size: int, per_class: int, steps: int, generator: torch.Generator
) -> Tensor:
    """Positions (steps * size,) of batches that hold `per_class` images of each of some classes.

    A class gives its images in a random order and starts anew when they are used up. The
    size / per_class classes are drawn without replacement within a batch, with one where there are
    too few.
    """
    check_balanced(labels, size, per_class)
    members = [torch.nonzero(labels == c)[:, 0] for c in labels.unique()]
    queues = [_endless(rows, generator) for rows in members]
    drawn = size // per_class  # classes of a batch
    rounds = -(-drawn // len(queues))
    order: list[Tensor] = []
    for _ in range(steps):
        shuffles = [torch.randperm(len(queues), generator=generator) for _ in range(rounds)]
        for c in torch.cat(shuffles)[:drawn].tolist():
            order += [next(queues[c]) for _ in range(per_class)]
    return torch.stack(order)


def _endless(rows: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator)]


def check_balanced(labels: Tensor, size: int, per_class: int) -> None:
    """Raise InputError unless batches of `size` can hold `per_class` images of every class that
    stands in them.
    """
    if labels.ndim != 1:
        raise InputError(
            f"balanced batches need one class per image, got labels {tuple(labels.shape)}"
        )
    if size % per_class:
        raise InputError(
            f"batch_size must be a multiple of the {per_class} images per class, got {size}"
        )


def check_items(array: np.ndarray) -> None:
    """Raise InputError unless an array holds images or features, one at least."""
    if items.hold_features(array):
        items.check_features(array)
    else:
        check_images(array)


def check_images(images: np.ndarray) -> None:
    """Raise InputError unless images are uint8, grey (N, H, W) or RGB (N, H, W, 3),
    of one pixel at least each.
    """
    grey_or_rgb = isinstance(images, np.ndarray) and (images.ndim == 3 or images.shape[3:] == (3,))
    hint = "; features must be floats (N, d)" if getattr(images, "ndim", 3) < 3 else ""
    if not grey_or_rgb or images.dtype != np.uint8 or 0 in images.shape[1:]:
        raise InputError(
            f"images must be uint8 (N, H, W) or (N, H, W, 3), got {codes.describe(images)}{hint}"
        )
    if not len(images):
        raise InputError("one image at least is expected, got none")
    if max(images.shape[1:3]) > LARGEST_SIDE:
        raise InputError(
            f"images of at most {LARGEST_SIDE} px are expected, got "
            f"{images.shape[1]}x{images.shape[2]}"
        )


def four(images: np.ndarray) -> np.ndarray:
    """uint8 (N, H, W[, C]) -> (N, H, W, C), a view; features (N, d) stay."""
    return images[..., None] if images.ndim == 3 else images


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, in units of 0..1; exact, and read in blocks.

    Taken from the training images only.
    """
    counts = sum(_value_counts(block) for block in stored(images).blocks(256))  # (C, 256)
    values = np.arange(256) / 255
    pixels = counts[0].sum()
    mean = counts @ values / pixels  # (C,)
    squares = (counts * (values - mean[:, None]) ** 2).sum(1)
    std = np.sqrt(squares / max(pixels - 1, 1))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1e-6).tolist())


def _value_counts(block: np.ndarray) -> np.ndarray:
    """How often each value 0..255 occurs in a channel: int64 (C, 256)."""
    channels = torch.from_numpy(np.array(four(block))).unbind(-1)
    return np.stack([torch.bincount(c.flatten(), minlength=256).numpy() for c in channels])
