"""What an item of a data set is, told by its shape: an image, uint8 (H, W) or (H, W, 3),
or features that its owner already has, float32 (d,).
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from hashlab import codes
from hashlab.data import folders
from hashlab.errors import InputError

WIDEST = 2**20  # features of an item
BLOCK = 2**22  # numbers that statistics read at once
FLOATS = ("float16", "float32", "float64")


def are_features(shape: tuple[int, ...]) -> bool:
    """Whether items of `shape` are features rather than images."""
    return len(shape) == 1


def described(shape: tuple[int, ...]) -> str:
    """Items of `shape` in words, for messages."""
    return f"features of width {shape[0]}" if are_features(shape) else f"images of {shape}"


def layout(shape: tuple[int, ...]) -> str:
    """Type and axes of an array of items of `shape`."""
    return f"floats (N, {shape[0]})" if are_features(shape) else "uint8 (N, H, W[, C])"


def check_shape(shape: tuple[int, ...]) -> None:
    """Raise InputError unless `shape` is that of an image or of features."""
    if not are_features(shape):
        folders.check_shape(shape, "crop")
    elif type(shape[0]) is not int or not 1 <= shape[0] <= WIDEST:
        raise InputError(f"the width of features must lie in 1..{WIDEST}, got {shape[0]!r}")


def zeros(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """So many items of `shape` without anything on them."""
    return np.zeros((count, *shape), np.float32 if are_features(shape) else np.uint8)


def hold_features(array: Any) -> bool:
    """Whether an array is one of features rather than of images: floats (N, d)."""
    return isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind == "f"


def check_features(array: np.ndarray) -> None:
    """Raise InputError unless floats (N, d) are features of one item at least;
    `ready` looks at the numbers.
    """
    if array.dtype.name not in FLOATS:
        raise InputError(f"features must be {', '.join(FLOATS)}, got {codes.describe(array)}")
    if not len(array):
        raise InputError("features of one item at least are expected, got none")
    check_shape(array.shape[1:])


def ready(block: np.ndarray) -> np.ndarray:
    """Items as they are worked on: images as they are, features (B, d) as float32 in C order.

    Raises InputError for features that are not finite, or beyond single precision.
    """
    if block.dtype.kind != "f":
        return block
    with np.errstate(over="ignore"):  # what is too large is infinite then
        rows = np.ascontiguousarray(block, np.float32)
    finite = np.isfinite(rows)
    if not finite.all():
        wrong = block[~finite].flat[0]
        raise InputError(f"features must be finite numbers that float32 holds, got {wrong}")
    return rows


def flat(block: np.ndarray) -> np.ndarray:
    """Items as vectors (B, d): pixels in units of 0..1, features as they are."""
    return ready(block) if block.dtype.kind == "f" else np.reshape(block, (len(block), -1)) / 255


class Source(Protocol):
    """Items that can be read again and again, as those of `data.Part` and `batches.Stored`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def blocks(self, size: int) -> Iterator[np.ndarray]: ...


def moments(source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, float32 (d,) each; read in blocks, twice.

    A feature that is the same everywhere, as far as float32 can tell, has 1 for its deviation.
    """
    size = max(BLOCK // source.shape[0], 1)
    count = 0
    total = np.zeros(source.shape)  # (d,)
    for block in map(ready, source.blocks(size)):
        count += len(block)
        total += block.sum(0, dtype=np.float64)
    mean = total / count
    squares = np.zeros(source.shape)
    for block in source.blocks(size):
        squares += np.square(block - mean).sum(0)
    single = np.finfo(np.float32)
    std = np.sqrt(squares / max(count - 1, 1)).clip(max=single.max).astype(np.float32)
    constant = std <= single.eps * np.abs(mean)
    return mean.astype(np.float32), np.where(constant, np.float32(1), std)


@dataclass(frozen=True)
class Vectors:
    """How given features become a network's input: as they are. What `View` is for images.

    Args:
        width: features d of an item.
    """

    width: int

    @classmethod
    def read(cls, facts: dict[str, Any]) -> Self:
        """What the JSON object of a saved model describes; raises InputError where it is none."""
        if facts.keys() != {"width"}:
            raise InputError(f"the model's view must have a width, got {reprlib.repr(list(facts))}")
        view = cls(**facts)
        check_shape(view.stored)
        return view

    @property
    def stored(self) -> tuple[int]:
        """Shape of a stored item."""
        return (self.width,)

    @property
    def shape(self) -> tuple[int]:
        """Shape of the network's input."""
        return (self.width,)

    def zeros(self, count: int) -> Tensor:
        """Input of so many items, without anything on them: float32 (count, d)."""
        return torch.zeros(count, self.width)

    def draw(self, count: int, generator: torch.Generator) -> None:
        """Nothing about features is random."""

    def plain(self, block: Tensor) -> Tensor:
        """Float32 (B, d), as it is."""
        return block
