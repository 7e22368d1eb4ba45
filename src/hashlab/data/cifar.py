"""CIFAR's archives as torchvision downloads them, read without running what they hold.

Their files are pickles, and a pickle may call any function it names. Here it may name the three
that make an array.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from hashlab import files
from hashlab.errors import InputError

ARRAYS = {  # what Python 2 wrote for an array, and what makes it today
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class Reader(pickle.Unpickler):
    """Reads arrays, dictionaries, lists, texts and numbers;
    raises UnpicklingError for anything else.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return ARRAYS[module, name]


def download(kind: Any, folder: Path) -> Path:
    """The archive of torchvision's class of a set,
    downloaded into `folder` and compared with its MD5.
    """
    from torchvision.datasets.utils import download_url

    download_url(kind.url, folder, kind.filename, kind.tgz_md5)
    return folder / kind.filename


def read(archive: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels uint8 (N,), the fine ones,
    of some files of an archive.

    Raises InputError where a file is missing, holds something else, or names anything but arrays.
    """
    with _readable(archive), tarfile.open(archive) as tar:
        return _joined([_batch(tar.extractfile(name), name) for name in names])


def read_folder(folder: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """As `read`, of the files that were unpacked into a folder."""
    with _readable(folder):
        return _joined(
            [_batch(io.BytesIO(files.read_bytes(folder / name)), name) for name in names]
        )


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Whatever is wrong with an archive or folder in one sentence."""
    try:
        yield
    except InputError:
        raise
    except (OSError, EOFError, tarfile.TarError, pickle.UnpicklingError) as error:
        raise InputError(f"{source} cannot be read: {' '.join(str(error).split())}") from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        # of pickles that are no batch
        raise InputError(f"{source} does not hold CIFAR's files: {error!r}") from None


def _joined(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    images = np.concatenate([images for images, _ in batches])  # (N, 3072), channel after channel
    labels = np.concatenate([labels for _, labels in batches])
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels


def _batch(content: IO[bytes] | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    batch = Reader(content, encoding="latin1").load()
    images = batch["data"]
    labels = np.array(batch["fine_labels" if "fine_labels" in batch else "labels"], np.uint8)
    is_bytes = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not is_bytes or images.shape != (*labels.shape, 3 * 32 * 32):
        raise ValueError(f"{name} must hold uint8 images (N, 3072) and as many labels")
    return images, labels
