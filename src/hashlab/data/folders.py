"""Image files of a folder: which there are, and their pixels as uint8 blocks of one size,
a few blocks at a time.

What becomes of an image, so that every one has the same shape and no pixel depends on who reads it:
- it is turned upright (EXIF), several frames count as the first, transparency is laid on white;
- 16-bit grey keeps its upper 8 bits; palette, CMYK and the like become RGB; grey becomes three
  equal channels, or one where the shape asks for it;
- `fit="crop"` shrinks (or enlarges) until the image just covers the shape, and cuts out the centre;
  `fit="squash"` keeps everything and gives up the proportions.

However many images and threads: at most `MOST_PIXELS` pixels are decoded at a time, so that memory
is bounded.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from hashlab.errors import InputError, check_word
from hashlab.files import check_name, read_bytes

if TYPE_CHECKING:
    from PIL import Image

NOT_READ = {  # formats that Pillow opens and nobody decodes here, and why
    "EPS": "a program, which Pillow has Ghostscript run",
    "WMF": "drawing commands, which Pillow has Windows carry out",
    "BUFR": "measurements: Pillow knows them by their head, and decodes none",
    "GRIB": "measurements: Pillow knows them by their head, and decodes none",
    "HDF5": "measurements: Pillow knows them by their head, and decodes none",
    "MPEG": "a film: Pillow knows it by its head, and decodes none",
    "FITS": "measurements, which older versions of Pillow unpack without a limit",
}
MOST_KINDS = 8  # of files passed over, that are named
FITS = ("crop", "squash")
MOST_PIXELS = 89_000_000  # beyond, a file of a few kilobytes may ask for gigabytes
MOST_FILE = 1 << 30  # bytes of an image file: more than as many pixels take without compression
BLOCK_BYTES = (
    1 << 26
)  # in which Pillow takes memory; the C library gives smaller ones (16 MB) not back, in each thread
STRIP = 1 << 20  # pixels that are brought into another mode at once
LARGEST_SIDE = 2048  # of what becomes of an image
UPRIGHT = {  # EXIF's orientation -> Image.Transpose
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
ON_ITS_SIDE = ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")  # until it is turned
OPENING = threading.Lock()  # the filters of `warnings` belong to the process, not to a thread
LOADING = threading.Lock()  # an image that is given twice is loaded by one thread


class Budget:
    """So much of something may be in use at a time, by all threads together.

    Who wants more than all of it waits until nothing is in use.
    """

    def __init__(self, total: int):
        self.total = total
        self.used = 0
        self.changed = threading.Condition()

    @contextmanager
    def of(self, amount: int) -> Iterator[None]:
        """Wait until there is room for the amount, and hold it."""
        with self.changed:
            self.changed.wait_for(lambda: not self.used or self.used + amount <= self.total)
            self.used += amount
        try:
            yield
        finally:
            with self.changed:
                self.used -= amount
                self.changed.notify_all()


# Taken in this order, files before pixels, so that no two threads wait for each other.
FILES = Budget(1 << 28)  # bytes of files in memory
PIXELS = Budget(MOST_PIXELS)  # being decoded


class Block(NamedTuple):
    """Some images of a list: their positions in it (B,), pixels uint8 (B, H, W[, 3]),
    SHA-256 of their files.
    """

    rows: np.ndarray
    images: np.ndarray
    digests: list[bytes]


class Listing(NamedTuple):
    """The image files below a folder, sorted by their path in it,
    and how many of which kind were passed over: by suffix, or hidden, or no files.
    """

    images: list[Path]
    passed: Counter[str]


def files(folder: str | Path) -> list[Path]:
    """All image files below a folder, sorted by their path in it; see `listing`."""
    return listing(folder).images


def listing(folder: str | Path) -> Listing:
    """All image files below a folder, and what is passed over there: files of other kinds,
    hidden files, hidden folders (each counts once, whatever it holds) and links to folders.

    Raises:
        InputError: no such folder, or no file in it with one of the `suffixes()`.
        OSError: a folder in it may not be read.
    """
    check_name(folder)
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    images: list[Path] = []
    passed: Counter[str] = Counter()
    known = suffixes()
    for path in _below(folder):
        kind = _passed_over(path, known)
        if kind is None:
            images.append(path)
        else:
            passed[kind] += 1
    if not images:
        more = f"; {passed_over(passed)}" if passed else ""
        raise InputError(f"{folder} and its subfolders hold no images{more}")
    return Listing(sorted(images, key=lambda path: path.relative_to(folder).as_posix()), passed)


def _below(folder: Path) -> Iterator[Path]:
    """Files, links and hidden folders below a folder; what is in a hidden one is not looked at."""
    for parent, subfolders, names in os.walk(folder, onerror=_refuse):
        closed = [
            name
            for name in subfolders
            if name.startswith(".") or (Path(parent) / name).is_symlink()
        ]
        subfolders[:] = [name for name in subfolders if name not in closed]
        yield from (Path(parent) / name for name in (*closed, *names))


def _refuse(error: OSError) -> None:
    raise error


def _passed_over(path: Path, known: frozenset[str]) -> str | None:
    """The kind of what is passed over; None for an image."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "linked folder"
    if not path.is_file():
        return "no file"
    return None if suffix in known else suffix or "without suffix"


def passed_over(kinds: Mapping[str, int]) -> str:
    """What was passed over, in words, the most frequent first:
    "passed over: 3 .txt, 1 .mp4, 2 hidden"; nothing where nothing was.
    """
    ordered = sorted(
        kinds.items(), key=lambda item: (not item[0].startswith("."), -item[1], item[0])
    )
    words = [f"{count} {kind}" for kind, count in ordered[:MOST_KINDS]]
    others = sum(count for _, count in ordered[MOST_KINDS:])
    words += [f"{others} others"] if others else []
    return f"passed over: {', '.join(words)}" if words else ""


def suffixes() -> frozenset[str]:
    """How names of image files end, in small letters: `.jpg`, `.avif`, …: those of all formats that
    Pillow, with its plugins, opens, but for `NOT_READ`.
    """
    from PIL import Image

    known = set(formats())
    endings = Image.registered_extensions().items()
    return frozenset(suffix.lower() for suffix, name in endings if name in known)


def formats() -> list[str]:
    """The formats, by Pillow's names, that are read whatever a file is called."""
    from PIL import Image

    Image.init()
    return [name for name in Image.ID if name in Image.OPEN and name not in NOT_READ]


def check_shape(shape: Sequence[int], fit: str) -> None:
    """Raise InputError unless `shape` is (H, W) for grey or (H, W, 3) for RGB,
    and `fit` one of `FITS`.
    """
    sides = tuple(shape) if isinstance(shape, Sequence) else ()
    whole = all(isinstance(side, int | np.integer) and 1 <= side <= LARGEST_SIDE for side in sides)
    if not whole or len(sides) not in (2, 3) or sides[2:] not in ((), (3,)):
        raise InputError(
            f"the shape of an image must be (H, W) or (H, W, 3), sides in 1..{LARGEST_SIDE}, got "
            f"{sides or shape!r}"
        )
    check_word("fit", fit, FITS)


def decode(content: bytes, shape: Sequence[int], fit: str = "crop") -> np.ndarray:
    """The bytes of an image file as uint8 of `shape`, (H, W) or (H, W, 3).

    Raises:
        InputError: what is wrong with the file, without its name; a shape or fit that cannot be.
        MemoryError: memory is full, which says nothing about the file.
    """
    check_shape(shape, fit)
    if not content:
        raise InputError("the file is empty")
    with _faults():
        image = _open(content, (2 * shape[1], 2 * shape[0]))
    room = PIXELS.of(image.width * image.height)
    with _faults(image.size), room, closing(image):  # gone when others come
        image.load()
        return _pixels(image, shape, fit)


def convert(image: Image.Image, shape: Sequence[int], fit: str = "crop") -> np.ndarray:
    """An image of Pillow's as uint8 of `shape`, (H, W) or (H, W, 3): what a file of it would be.

    It is loaded where it was not yet, and otherwise stays as it is. Raises as `decode` does.
    """
    check_shape(shape, fit)
    check_pixels(image.size)
    with _faults(image.size), PIXELS.of(image.width * image.height):
        with LOADING:
            image.load()
        return _pixels(image, shape, fit)


def check_pixels(size: tuple[int, int]) -> None:
    """Raise InputError where an image of (width, height) has none, or more than are read."""
    if 0 in size:
        raise InputError(f"an image of one pixel or more is expected, got {size[0]}x{size[1]}")
    if size[0] * size[1] > MOST_PIXELS:
        raise InputError(
            f"the image has {size[0]}x{size[1]}, more than the {MOST_PIXELS:,} pixels that are read"
        )


@contextmanager
def _faults(size: tuple[int, int] | None = None) -> Iterator[None]:
    """Whatever a decoder trips over is the file's fault, unless memory is full."""
    from PIL import Image

    try:
        yield
    except InputError:
        raise
    except Image.UnidentifiedImageError:
        raise InputError("not an image, or of a kind that is not known here") from None
    except Exception as error:
        if isinstance(error, MemoryError) or "out of memory" in str(error):
            raise MemoryError(_advice(size)) from None
        raise InputError(f"the image is damaged ({' '.join(str(error).split())})") from None


def _advice(size: tuple[int, int] | None) -> str:
    if size is None:
        return "memory is full: leave more free"
    what = (
        f"memory is full: an image of {size[0]}x{size[1]} pixels could not be decoded, though it "
        "may be sound"
    )
    return f"{what}; leave more memory free, or make the image smaller"


def _open(content: bytes, least: tuple[int, int]) -> Image.Image:
    """The image, its size checked before any pixel is decoded.

    A JPEG is decoded at half, … of its scale while that is above `least`.
    """
    from PIL import Image

    with OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are judged below, odd metadata do no harm
        Image.core.set_block_size(BLOCK_BYTES)
        try:
            image = Image.open(io.BytesIO(content), formats=formats())
        except Image.DecompressionBombError:
            raise InputError(
                f"the image has more than the {MOST_PIXELS:,} pixels that are read"
            ) from None
    check_pixels(image.size)
    if image.format == "JPEG":
        image.draft(None, least)
    return image


def _pixels(image: Image.Image, shape: Sequence[int], fit: str) -> np.ndarray:
    """Resize what is decoded, then turn it upright: what is turned is small by then."""
    from PIL import Image

    turn = UPRIGHT.get(_orientation(image))
    height, width = shape[:2]
    size = (height, width) if turn in ON_ITS_SIDE else (width, height)
    mode = "L" if len(shape) == 2 else "RGB"
    image = _fitted(_plain(image, mode), size, fit)
    if turn is not None:
        image = image.transpose(Image.Transpose[turn])
    return np.asarray(image)


def _orientation(image: Image.Image) -> Any:
    """EXIF's word for how the camera was held; None where there is none, or nobody can read it."""
    try:
        with OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = image.getexif().get(0x0112)
            return value if isinstance(value, int) else None
    except MemoryError:
        raise
    except Exception:  # odd metadata are no reason to refuse pixels
        return None


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """The image in `mode`, L or RGB.

    It is brought into it strip by strip, so that only two copies of it are in memory.
    """
    from PIL import Image

    if image.mode == mode and not image.has_transparency_data:
        return image
    plain = Image.new(mode, image.size)
    rows = max(STRIP // image.width, 1)
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        strip = image.crop((0, top, image.width, bottom))
        plain.paste(_converted(strip, mode), (0, top))
    return plain


def _converted(image: Image.Image, mode: str) -> Image.Image:
    """A strip in `mode`: 16 bits cut to 8, transparency laid on white."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        least = values.min()
        most = values.max()
        if image.mode == "F" or least < 0 or most > 65_535:
            raise InputError(f"its pixels are {least:g}..{most:g}, 8 or 16 bits are expected")
        image = Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        image = Image.alpha_composite(white, clear)
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
    """Read image files in order, in blocks;
    files are decoded in threads, one block ahead of the one in use.

    Args:
        paths: the files.
        shape: (H, W) for grey or (H, W, 3) for RGB.
        fit: "crop" or "squash", see the head of this file.
        block: images per block; a block with broken files is shorter, one with nothing else is left
            out.
        broken: called with the path and the reason for every file that cannot be read, which is
            then skipped. When None, the first such file ends the reading.

    Raises:
        InputError: a shape or fit that cannot be; a broken file, by name, where `broken` is None.
        MemoryError: memory is full; no file is called broken for it.
    """
    check_shape(shape, fit)
    if block < 1:
        raise InputError(f"a block holds 1 image or more, got {block}")
    return stream_of(paths, partial(attempt, shape=shape, fit=fit), block, broken)


def refuse(path: Path, reason: str) -> NoReturn:
    """What `stream` may be given as `broken` where there is a way to go on without an image."""
    raise InputError(
        f"{path}: {reason}; leave out what cannot be read with --skip-broken, in Python with "
        "skip_broken=True"
    )


class Whole(NamedTuple):
    """An image that was read, and the SHA-256 of its file."""

    image: np.ndarray
    digest: bytes


class Broken(NamedTuple):
    """Why a file cannot be read."""

    reason: str


Result = Whole | Broken
Task = Callable[[Any], Result]


def stream_of(
    paths: Sequence[Any], task: Task, block: int, broken: Callable[[Any, str], None] | None
) -> Iterator[Block]:
    """As `stream`, of anything that a task makes an image of."""
    with closing(_ahead(task, paths, block)) as blocks:
        for start, results in zip(range(0, len(paths), block), blocks, strict=True):
            whole: dict[int, Whole] = {}
            for row, result in enumerate(results, start):
                if isinstance(result, Whole):
                    whole[row] = result
                elif broken is None:
                    raise InputError(f"{paths[row]}: {result.reason}")
                else:
                    broken(paths[row], result.reason)
            if whole:
                rows = np.array(list(whole))
                images = np.stack([one.image for one in whole.values()])
                yield Block(rows, images, [one.digest for one in whole.values()])


def _ahead(task: Task, paths: Sequence[Any], block: int) -> Iterator[list[Result]]:
    """The results of block after block, with the next one already at work."""
    if len(paths) == 1:  # threads would take longer to start than many an image to decode
        yield [task(paths[0])]
        return
    pool = ThreadPoolExecutor()
    waiting: deque[list[Future]] = deque()
    try:
        for start in range(0, len(paths), block):
            waiting.append([pool.submit(task, path) for path in paths[start : start + block]])
            if len(waiting) == 2:
                yield [future.result() for future in waiting.popleft()]
        if waiting:
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def attempt(path: Path, shape: Sequence[int], fit: str) -> Result:
    """Read an image; memory that is full is no fault of the file, and is raised."""
    try:
        with FILES.of(min(path.stat().st_size, MOST_FILE)):
            content = read_bytes(path, MOST_FILE)
            image = decode(content, shape, fit)
            return Whole(image, hashlib.sha256(content).digest())
    except InputError as error:
        return Broken(str(error).removeprefix(f"{path}: "))
    except MemoryError as error:
        raise MemoryError(f"{path}: {error or 'memory is full'}") from None
    except (OSError, ValueError) as error:
        return Broken(getattr(error, "strerror", None) or str(error))
