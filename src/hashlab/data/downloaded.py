"""Files of a set that torchvision has downloaded already, in the folder that it was given as `root`:

- MNIST: `MNIST/raw/train-images-idx3-ubyte` and its three fellows, or those with `.gz`;
- CIFAR: `cifar-10-batches-py/` or `cifar-10-python.tar.gz`, and likewise of CIFAR-100.

The innermost folder, or the archive itself, will do too. Nothing is unpickled but arrays, and what
comes is compared with the set's fingerprints by `cache.write`.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path

import numpy as np

from hashlab import files
from hashlab.data import cifar
from hashlab.data.parts import Arrays
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError

CIFAR = {  # archive, folder within it, and the files of either split
    "cifar10": (
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    ),
    "cifar100": (
        "cifar-100-python.tar.gz",
        "cifar-100-python",
        {"train": ["train"], "test": ["test"]},
    ),
}
MNIST = {"train": "train", "test": "t10k"}  # how the names of files begin
IMAGES = 0x0803  # what an IDX file of bytes on three axes begins with
LABELS = 0x0801
MOST = 64 << 20  # bytes of a file that is unpacked: MNIST's largest has 47 MB


def arrays(about: SetInfo, source: Path) -> Arrays:
    """Images and labels of both official splits, uint8, from torchvision's files.

    Raises:
        InputError: no such files, or damaged ones.
    """
    files.check_name(source)
    if not source.exists():
        raise InputError(f"{source}: a folder that torchvision has filled is expected, got nothing")
    read = _mnist if about.name == "mnist" else _cifar
    pairs = read(about.name, source)
    if not about.levels:
        return pairs
    tree = np.array(about.tree, np.uint8)
    return {
        split: (images, _above(tree, labels, source)) for split, (images, labels) in pairs.items()
    }


def _above(tree: np.ndarray, labels: np.ndarray, source: Path) -> np.ndarray:
    if labels.max(initial=0) >= len(tree):
        raise InputError(f"{source}: classes below {len(tree)} are expected, got {labels.max()}")
    return tree[labels]


def _cifar(name: str, source: Path) -> Arrays:
    archive, folder, splits = CIFAR[name]
    packed = source if source.is_file() else source / archive
    unpacked = source if source.name == folder else source / folder
    if unpacked.is_dir():
        return {split: cifar.read_folder(unpacked, names) for split, names in splits.items()}
    if packed.is_file():
        inside = {split: [f"{folder}/{name}" for name in names] for split, names in splits.items()}
        return {split: cifar.read(packed, names) for split, names in inside.items()}
    raise InputError(f"{source}: {folder} or {archive} of torchvision is expected in it")


def _mnist(name: str, source: Path) -> Arrays:
    raw = next(
        (path for path in (source / "MNIST" / "raw", source / "raw") if path.is_dir()), source
    )
    return {
        split: (
            _idx(raw, f"{begin}-images-idx3-ubyte", IMAGES),
            _idx(raw, f"{begin}-labels-idx1-ubyte", LABELS),
        )
        for split, begin in MNIST.items()
    }


def _idx(folder: Path, name: str, magic: int) -> np.ndarray:
    """The bytes in a file of MNIST's format, or of the same one compressed, as an array."""
    file = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if file is None:
        raise InputError(f"{folder}: {name} or {name}.gz of torchvision is expected in it")
    content = files.read_bytes(file)
    content = _unpacked(content, file) if file.suffix == ".gz" else content
    axes = magic % 256
    if len(content) < 4 + 4 * axes or struct.unpack(">I", content[:4])[0] != magic:
        raise InputError(f"{file}: {'images' if axes == 3 else 'labels'} of MNIST are expected")
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if len(values) != int(np.prod(shape, dtype=object)):
        raise InputError(f"{file}: {shape} bytes are expected, got {len(values)}")
    return values.reshape(shape)


def _unpacked(content: bytes, file: Path) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as packed:
            unpacked = packed.read(MOST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file} cannot be read: {error}") from None
    if len(unpacked) > MOST:
        raise InputError(f"{file}: at most {MOST} bytes are expected in it")
    return unpacked
