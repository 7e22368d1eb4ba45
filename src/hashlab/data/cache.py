"""The cache of data sets on disk: `<root>/<name>/{train,test}_{images,labels}.npy`, uint8,
memory-mapped.

Every load checks every image against the set's fingerprint, so a truncated, altered or mislabelled
file is found before any work starts. The check reads the files once (about 0.2 s for MNIST on one
core).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from pathlib import Path

import numpy as np

from hashlab import files, progress
from hashlab.data import cifar
from hashlab.data.parts import Arrays, canonical
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError
from hashlab.files import _disk

OWN = "own"  # in the cache folder: where sets of one's own are


def root(path: str | Path | None = None) -> Path:
    """The cache folder: `path`, else `$HASHLAB_DATA`, else `data/cache` in the checkout, else, of
    an installed copy, the user's cache folder.
    """
    files.check_name(path or "")
    return Path(path) if path is not None else _disk.cache()


def home(about: SetInfo, path: str | Path | None = None) -> Path:
    """The folder of a set in the cache; whether it is there or not, it is never half of one."""
    above = root(path) / OWN if about.own else root(path)
    return _disk.restored(above / about.name)


def features_beside(about: SetInfo, folder: Path) -> Path:
    """Where features of a set that lies in `folder` are kept: never among sets of one's own."""
    return (folder.parent.parent if about.own else folder.parent) / "features"


def where(about: SetInfo, path: str | Path | None = None) -> str:
    """Where the cache has a set that is not embedded, or how to get it, in words;
    its files are not looked at.
    """
    folder = home(about, path)
    if folder.is_dir():
        return f"in the cache: {folder}"
    hand = " says where to get it and where to put it" if about.by_hand else ""
    return f"not in the cache: `hashlab data fetch {about.name}`{hand}"


def check_arrays(about: SetInfo, arrays: Arrays) -> dict[str, np.ndarray]:
    """The canonical order of every split.

    Raises InputError where size, type or content differ from the set's.
    """
    return {split: _check_split(about, split, *arrays[split]) for split in about.counts}


def _check_split(about: SetInfo, split: str, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    count = about.counts[split]
    shape = (count, *about.shape)
    label_shape = (count, *about.label_shape)
    shapes_fit = images.shape == shape and labels.shape == label_shape
    types_fit = images.dtype == np.uint8 and labels.dtype.kind in "iu"
    if not shapes_fit or not types_fit:
        raise InputError(
            f"{about.name} {split}: images {shape} uint8 and labels {label_shape} expected,"
            f" got {images.shape} {images.dtype} and {labels.shape} {labels.dtype}"
        )
    order, fingerprint = canonical(images, labels[:, 0] if about.levels else labels)
    if fingerprint != about.fingerprints[split] or not _tree_holds(about, labels):
        raise InputError(
            f"{about.name} {split}: the images or labels are altered: fingerprint"
            f" {about.fingerprints[split][:12]}… expected, got {fingerprint[:12]}…"
        )
    return order


def _tree_holds(about: SetInfo, labels: np.ndarray) -> bool:
    """Whether every coarser label is the one that the set's tree gives to the fine one.

    The fingerprint is of the fine ones alone.
    """
    return not about.levels or np.array_equal(labels, np.array(about.tree)[labels[:, 0]])


def read(about: SetInfo, folder: Path) -> Arrays:
    """Memory-map a set's files; raises InputError for a missing or unreadable one."""
    return {
        split: (
            read_array(folder / f"{split}_images.npy", about),
            read_array(folder / f"{split}_labels.npy", about),
        )
        for split in about.counts
    }


def read_array(file: Path, about: SetInfo) -> np.ndarray:
    """Memory-map one array of a set;
    raises InputError where it is missing or unreadable.
    """
    with _readable(file, about), file.open("rb") as content:
        files.npy_header(content, file.stat().st_size, file.name)
        return np.load(file, mmap_mode="r", allow_pickle=False)


def read_text(file: Path, about: SetInfo) -> str:
    """The text of one file of a set;
    raises InputError where it is missing or unreadable.
    """
    with _readable(file, about):
        return files.read_text(file)


@contextmanager
def _readable(file: Path, about: SetInfo) -> Iterator[None]:
    if not file.is_file():
        raise InputError(f"{about.name} is not in the cache: {file} is missing; {about.again}")
    try:
        yield
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{file} cannot be read ({error}); {about.again}") from None


def write(about: SetInfo, arrays: Arrays, path: str | Path | None = None) -> Path:
    """Check a set, put it into canonical order, and write its cache folder, which appears whole.

    Returns the folder.
    """
    folder = root(path) / about.name
    with _disk.lock(folder):
        return _write(about, arrays, folder)


def _write(about: SetInfo, arrays: Arrays, folder: Path) -> Path:
    orders = check_arrays(about, arrays)
    with _disk.aside(folder) as beside:
        for split, (images, labels) in arrays.items():
            _write_array(beside / f"{split}_images.npy", images, orders[split])
            _write_array(beside / f"{split}_labels.npy", labels, orders[split])
        _disk.swap(beside, folder)
    return folder


def _write_array(file: Path, array: np.ndarray, order: np.ndarray) -> None:
    stored = _disk.new_array(file, array.dtype, array.shape)
    stored[:] = array[order]


Download = Callable[[SetInfo, Path], Arrays]  # a set, and a folder for what is downloaded


def fetch(about: SetInfo, path: str | Path | None = None, download: Download | None = None) -> Path:
    """Fill the cache with a set through torchvision, checked and written at once;
    returns its folder.

    A set that is already there and whole is left alone. Of several processes that ask for the same
    set, one fetches it and the others wait. Raises InputError when the download fails or brings
    something else; the cache is then as it was.
    """
    folder = home(about, path)
    if _whole(about, folder):
        _disk.sweep(folder.parent)
        return folder
    files.check_folder(folder, "HASHLAB_DATA" if path is None else "")
    with _disk.lock(folder):
        if _whole(about, folder):  # another process was faster
            return folder
        with _disk.aside(folder) as downloads:
            arrays = (download or torchvision_arrays)(about, downloads)
            return _write(about, arrays, folder)


def _whole(about: SetInfo, folder: Path) -> bool:
    try:
        check_arrays(about, read(about, folder))
    except InputError:
        return False
    return True


def torchvision_arrays(about: SetInfo, folder: Path) -> Arrays:
    """Download both official splits of a set into `folder` with torchvision,
    which shows how far it is.
    """
    arrays = {}
    for split in about.counts:
        images, labels = _downloaded(about.name, folder, split == "train")
        if about.levels:
            labels = np.array(about.tree, np.uint8)[labels]
        arrays[split] = (images, labels)
    return arrays


def _downloaded(name: str, folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one official split, uint8; raises InputError where they do not come."""
    silent = progress.mode() == "silent"
    try:
        with redirect_stderr(io.StringIO()) if silent else nullcontext():
            return _split(name, folder, train)
    except InputError:
        raise
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())  # torchvision's first line alone ends in a colon
        raise InputError(
            f"{name} could not be downloaded ({reason}); is there a network?"
        ) from None


def _split(name: str, folder: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one official split, uint8.
    torchvision's own reader would unpickle CIFAR's files.
    """
    from torchvision import datasets

    if name == "mnist":
        part = datasets.MNIST(folder, train=train, download=True)
        return np.asarray(part.data, np.uint8), np.asarray(part.targets, np.uint8)
    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    listed = kind.train_list if train else kind.test_list
    names = [f"{kind.base_folder}/{file}" for file, _ in listed]
    return cifar.read(cifar.download(kind, folder), names)
