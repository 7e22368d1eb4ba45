"""Image files of a folder: which there are, and their pixels as uint8 blocks of one size, a few blocks at a time.

What becomes of an image, so that every one has the same shape and no pixel depends on who reads it:
- it is turned upright (EXIF), several frames count as the first, transparency is laid on white;
- 16-bit grey keeps its upper 8 bits; palette, CMYK and the like become RGB; grey becomes three equal channels, or one
  where the shape asks for it;
- `fit="crop"` shrinks (or enlarges) until the image just covers the shape, and cuts out the centre; `fit="squash"`
  keeps everything and gives up the proportions.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hashlab.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
FITS = ("crop", "squash")
MOST_PIXELS = 89_000_000  # beyond, a file of a few kilobytes may ask for gigabytes
OPENING = threading.Lock()  # the filters of `warnings` belong to the process, not to a thread


class Block(NamedTuple):
    """Some images of a list: their positions in it (B,), pixels uint8 (B, H, W[, 3]), SHA-256 of their files."""

    rows: np.ndarray
    images: np.ndarray
    digests: list[bytes]


def files(folder: str | Path) -> list[Path]:
    """All image files below a folder, sorted by their path in it; hidden files and folders are passed over.

    Raises:
        InputError: no such folder, or no file in it with one of the `SUFFIXES`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not found:
        raise InputError(f"{folder} and its subfolders hold no images ({' '.join(SUFFIXES)})")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def check_shape(shape: Sequence[int], fit: str) -> None:
    """Raise InputError unless `shape` is (H, W) for grey or (H, W, 3) for RGB, and `fit` one of `FITS`."""
    sides = all(isinstance(side, int | np.integer) and side >= 1 for side in shape)
    if not sides or len(shape) not in (2, 3) or tuple(shape[2:]) not in ((), (3,)):
        raise InputError(f"the shape of an image must be (H, W) or (H, W, 3), got {tuple(shape)}")
    if fit not in FITS:
        raise InputError(f"fit must be one of {', '.join(FITS)}, got {fit!r}")


def decode(content: bytes, shape: Sequence[int], fit: str = "crop") -> np.ndarray:
    """The bytes of an image file as uint8 of `shape`, (H, W) or (H, W, 3).

    Raises:
        InputError: what is wrong with the file, without its name.
    """
    from PIL import Image, ImageOps

    if not content:
        raise InputError("the file is empty")
    try:
        image = _open(content, (2 * shape[1], 2 * shape[0]))
        image = ImageOps.exif_transpose(_plain(image, "L" if len(shape) == 2 else "RGB"))
        return np.asarray(_fitted(image, (shape[1], shape[0]), fit))
    except InputError:
        raise
    except Image.UnidentifiedImageError:
        raise InputError("not an image, or of a kind that is not known here") from None
    except Exception as error:  # whatever a decoder trips over is the file's fault
        raise InputError(f"the image is damaged ({error})") from None


def _open(content: bytes, least: tuple[int, int]) -> Image.Image:
    """The image, its size checked before any pixel is decoded; a JPEG decoded at half, … scale while above `least`."""
    from PIL import Image

    with OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are judged below; odd metadata is no reason to refuse pixels
        try:
            image = Image.open(io.BytesIO(content))
        except Image.DecompressionBombError:
            raise InputError(f"the image has more than the {MOST_PIXELS:,} pixels that are read") from None
    if image.width * image.height > MOST_PIXELS:
        raise InputError(f"the image has more than the {MOST_PIXELS:,} pixels that are read")
    if image.format == "JPEG":
        image.draft(None, least)
    return image


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode`, L or RGB: 16 bits cut to 8, transparency laid on white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if image.mode == "F" or values.min() < 0 or values.max() > 65_535:
            raise InputError(f"its pixels are {values.min():g}..{values.max():g}, 8 or 16 bits are expected")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        image.info = {}
    return image.convert(mode)


def _fitted(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    from PIL import Image, ImageOps

    if fit == "crop":
        return ImageOps.fit(image, size, Image.Resampling.BILINEAR)
    return image.resize(size, Image.Resampling.BILINEAR)


def stream(
    paths: Sequence[Path],
    shape: Sequence[int],
    *,
    fit: str = "crop",
    block: int = 256,
    broken: Callable[[Path, str], None] | None = None,
) -> Iterator[Block]:
    """Read image files in order, in blocks; files are decoded in threads, one block ahead of the one in use.

    Args:
        paths: the files.
        shape: (H, W) for grey or (H, W, 3) for RGB.
        fit: "crop" or "squash", see the head of this file.
        block: images per block; a block with broken files is shorter, one with nothing else is left out.
        broken: called with the path and the reason for every file that cannot be read, which is then skipped. When
            None, the first such file ends the reading.

    Raises:
        InputError: a shape or fit that cannot be; a broken file, by name, where `broken` is None.
    """
    check_shape(shape, fit)
    if block < 1:
        raise InputError(f"a block holds 1 image or more, got {block}")
    return _stream(paths, partial(_attempt, shape=shape, fit=fit), block, broken)


def _stream(paths: Sequence[Path], task: Callable, block: int, broken: Callable | None) -> Iterator[Block]:
    pool = ThreadPoolExecutor()
    try:
        for start, results in _ahead(pool, task, paths, block):
            good = []
            for row, (image, told) in enumerate(results, start):
                if image is not None:
                    good.append((row, image, told))
                elif broken is None:
                    raise InputError(f"{paths[row]}: {told}")
                else:
                    broken(paths[row], told)
            if good:
                rows, images, digests = zip(*good, strict=True)
                yield Block(np.array(rows), np.stack(images), list(digests))
    finally:
        pool.shutdown(cancel_futures=True)


def _ahead(pool: ThreadPoolExecutor, task: Callable, paths: Sequence[Path], block: int) -> Iterator[tuple[int, list]]:
    """The start of each block and its results, with the next block already at work."""
    waiting: deque = deque()
    for start in range(0, len(paths), block):
        waiting.append((start, [pool.submit(task, path) for path in paths[start : start + block]]))
        if len(waiting) == 2:
            start, futures = waiting.popleft()
            yield start, [future.result() for future in futures]
    for start, futures in waiting:
        yield start, [future.result() for future in futures]


def _attempt(path: Path, shape: Sequence[int], fit: str) -> tuple[np.ndarray, bytes] | tuple[None, str]:
    """The image and the digest of its file, or None and what is wrong."""
    try:
        content = path.read_bytes()
        return decode(content, shape, fit), hashlib.sha256(content).digest()
    except InputError as error:
        return None, str(error)
    except OSError as error:
        return None, error.strerror or str(error)
