"""Pictures of any kind as what a model takes: uint8 images of its shape, a block at a time.

What counts as one picture, and what as several:

| given | is |
|---|---|
| uint8 (H, W), (H, W, 3); an image of Pillow's; a path | one picture |
| uint8 (N, H, W), (N, H, W, 3); a list or tuple of single pictures; an array of paths | N pictures |

An array (N, H, W[, 3]) of the model's own shape is taken as it stands. Others are brought into it as
image files are (`folders`): turned upright where EXIF says so, RGB or grey as the model wants it,
shrunk or enlarged until the shape is just covered, and cut to its centre. An array of another size
is resized from all of its pixels; a JPEG file several times larger than the model's shape is decoded
at a half, a quarter or an eighth of its size first, which may change a value by a little.

An array with three axes of which the last has 3 places is one RGB image, unless the model's shape is
(H, 3). One whose *first* has 3 may be an RGB image with channels first, or three grey ones: it is
refused unless it has the model's own shape; so are arrays with a last axis of 1, 2 or 4 places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union

import numpy as np

from hashlab import codes
from hashlab.data import folders
from hashlab.data.parts import Part
from hashlab.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

Picture = Union[np.ndarray, "Image.Image", str, Path]
Pictures = Part | Picture | Sequence[Picture]
MOST = 256  # pictures of a block
BLOCK_BYTES = 1 << 26  # of the images of a block
KINDS = "uint8 arrays (H, W[, 3]) or (N, H, W[, 3]), images of Pillow's, paths, or a list of these"


def ready(pictures: Any, shape: Sequence[int]) -> bool:
    """Whether pictures go to a model of `shape` as they are: a part of a data set, arrays of its
    shape, and numbers that are no pixels, which the model judges itself.
    """
    if isinstance(pictures, Part) or len(shape) == 1:  # (d,): the model takes features
        return True
    if not isinstance(pictures, np.ndarray) or pictures.dtype.kind in "US":
        return False
    return pictures.dtype != np.uint8 or pictures.shape[1:] == tuple(shape)


def blocks(pictures: Pictures, shape: Sequence[int]) -> Iterator[np.ndarray]:
    """Pictures of any kind as blocks uint8 (B, *shape), in order; see the head of this file.

    However many paths there are, two blocks of them are in memory.

    Args:
        pictures: those that are not `ready`.
        shape: (H, W) for grey or (H, W, 3) for RGB.

    Raises:
        InputError: what is no picture, or may be meant in two ways; a file that cannot be read. Of
            several pictures it names the one.
        MemoryError: memory is full; no file is called broken for it.
    """
    folders.check_shape(shape, "crop")
    items = singles(pictures)
    several = len(items) > 1 or isinstance(pictures, list | tuple)

    def task(row: int) -> folders.Result:
        return _attempt(items[row], tuple(shape))

    def refuse(row: int, reason: str) -> NoReturn:
        number = f"image {row}" if several else ""
        raise InputError(": ".join(filter(None, [number, _name(items[row]), reason])))

    block = max(min(MOST, BLOCK_BYTES // prod(shape)), 1)
    for part in folders.stream_of(range(len(items)), task, block, refuse):
        yield part.images


def singles(pictures: Any) -> Sequence[Any]:
    """Each picture by itself, as it came: all of a list or an array, or the single one.

    Raises InputError where it holds none, or is no picture.
    """
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind == "U" and pictures.ndim == 1:
        pictures = pictures.tolist()
    if isinstance(pictures, np.ndarray):
        pictures = _apart(pictures)
    elif not isinstance(pictures, list | tuple):
        pictures = [pictures]
    if not len(pictures):
        raise InputError("one image at least is expected, got none")
    return pictures


def _apart(array: np.ndarray) -> Sequence[np.ndarray]:
    """The images of an array; raises InputError where they cannot be told apart."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3, 4):
        raise InputError(f"images must be {KINDS}, got {codes.describe(array)}")
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3):
        return array[None]
    if array.ndim == 3 and (array.shape[0] == 3 or array.shape[2] in (1, 2, 4)):
        raise InputError(
            f"images {array.shape} may be meant in two ways: an RGB one is (H, W, 3), grey ones are "
            "(N, H, W), and of other channels an image of Pillow's is expected"
        )
    if array.ndim == 4 and array.shape[3] != 3:
        raise InputError(
            f"images must be uint8 (N, H, W) or (N, H, W, 3), channels last, got {array.shape}"
        )
    return array


def _name(picture: Any) -> str:
    """What a message calls a picture by: its path, where it has one."""
    return str(picture) if isinstance(picture, str | os.PathLike) else ""


def _attempt(picture: Any, shape: tuple[int, ...]) -> folders.Result:
    """A picture in the model's shape, or why there is none."""
    if isinstance(picture, str | os.PathLike):
        return _of_file(picture, shape)
    try:
        return folders.Whole(_converted(picture, shape), b"")
    except InputError as error:
        return folders.Broken(str(error))


def _of_file(path: str | os.PathLike[str], shape: tuple[int, ...]) -> folders.Result:
    if not str(path) or "\0" in str(path):
        return folders.Broken("a path of one character or more, none of them NUL, is expected")
    if os.path.isdir(path):
        return folders.Broken(
            "an image file is expected, got a folder; data.folders.files lists what is in it"
        )
    return folders.attempt(Path(path), shape, "crop")


def _converted(picture: Any, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    if isinstance(picture, Image.Image):
        return folders.convert(picture, shape)
    if not isinstance(picture, np.ndarray):
        raise InputError(f"images must be {KINDS}, got {codes.describe(picture)}")
    grey_or_rgb = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if picture.dtype != np.uint8 or not grey_or_rgb:
        raise InputError(
            f"a single image must be uint8 (H, W) or (H, W, 3), got {codes.describe(picture)}"
        )
    height, width = picture.shape[:2]
    folders.check_pixels((width, height))
    if picture.shape == shape:
        return picture
    return folders.convert(Image.fromarray(np.ascontiguousarray(picture)), shape)
