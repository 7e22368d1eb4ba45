"""Codes of a folder of image files, by a saved model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from hashlab import codes, files, methods
from hashlab.data import folders
from hashlab.errors import InputError
from hashlab.progress import Progress


class Encoded(NamedTuple):
    """What became of a folder: how many images have codes, of how many bits, and what was wrong with the others."""

    images: int
    bits: int
    broken: dict[str, str]


def encode_folder(
    model: str | Path, folder: str | Path, output: str | Path, skip_broken: bool = False, device: str | None = None
) -> Encoded:
    """Write the codes of all images below a folder to one `.npz` file; a few blocks of images are in memory at a time.

    The file holds `names` (N,), paths relative to the folder; `codes` uint8 (N, ceil(K/8)); `bits`; and `tables`
    where there are several.

    Args:
        skip_broken: leave out images that cannot be read; otherwise the first one ends it all.

    Raises:
        InputError: no model, no images, a broken image, an output that cannot be; nothing is written then.
    """
    folder, output = Path(folder), Path(output)
    files.check_file(output, ".npz")
    method, paths = methods.load(model, device), folders.files(folder)
    broken: dict[str, str] = {}
    note = (lambda path, reason: broken.update({_name(path, folder): str(reason)})) if skip_broken else None
    rows, packed = [], []
    blocks = folders.stream(paths, method.shape, block=BLOCK, broken=note)
    for block in Progress(blocks, "encoding", total=-(-len(paths) // BLOCK), delay=2):
        rows += list(block.rows)
        packed.append(method.encode(block.images))
    if not rows:
        raise InputError(f"none of the {len(paths)} images in {folder} can be read")
    files.write(output, files.npz(_arrays(method, [_name(paths[row], folder) for row in rows], np.concatenate(packed))))
    return Encoded(len(rows), method.bits, broken)


BLOCK = 256


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _arrays(method: methods.Method, names: list[str], packed: np.ndarray) -> dict[str, np.ndarray]:
    tables = {} if method.tables is None else {"tables": np.array(method.tables)}
    stored = codes.trim(files.join_tables(packed, method.tables), method.bits)
    return {"names": np.array(names), "codes": stored, "bits": np.int64(method.bits)} | tables
