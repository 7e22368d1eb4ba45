"""Features of a frozen backbone: computed once per image, and kept on disk beside the data set.

They lie in `<cache>/features/<set>-<hash>/<block>.npy`, float32; the hash is that of all they depend on (images,
backbone, weights, input, levels, precision, kind of device, version of torch). The folder may be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashlab import files
from hashlab.data import Part
from hashlab.data.batches import Batches, Images
from hashlab.progress import Progress

BLOCK = 4096  # images per file: what an interruption can lose


def pooled(levels: Sequence[Tensor]) -> Tensor:
    """Means over all places of the maps (B, C, H, W) of some levels, side by side; vectors (B, C) stay: (B, sum C)."""
    return torch.cat([x.mean((2, 3)) if x.ndim == 4 else x for x in levels], 1)


def compute(
    network: Callable[[Tensor], Tensor], images: Images, batches: Batches, facts: dict[str, Any] | None
) -> Tensor:
    """Features float32 (N, d) of `images`, which `batches` gives to `network` (B, C, H, W) -> (B, d).

    Args:
        facts: JSON values that say which network it is; None where the features shall not be kept. Only those of a
            set in the cache are.
    """
    if facts is None or not isinstance(images, Part) or images.pool.folder is None:
        return batches.map(network, "features")
    folder = _folder(images, batches, facts)
    needed = np.unique(images.index // BLOCK)
    missing = [block for block in needed.tolist() if not (folder / f"{block}.npy").is_file()]
    for block in Progress(missing, "features", total=len(missing), delay=2):
        _keep(folder / f"{block}.npy", network, _block(images, block), batches)
    return torch.from_numpy(_read(folder, images.index))


def _folder(images: Part, batches: Batches, facts: dict[str, Any]) -> Path:
    about, device = images.pool.about, batches.device.type
    facts = facts | {"view": dataclasses.asdict(batches.view), "device": device, "torch": torch.__version__}
    text = json.dumps(facts | {"images": [*about.fingerprints.values(), about.pixels]}, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:16]
    return images.pool.folder.parent / "features" / f"{about.name}-{short}"


def _block(images: Part, block: int) -> Part:
    last = min((block + 1) * BLOCK, len(images.pool.stored))
    return images.pool.part(np.arange(block * BLOCK, last))


def _keep(file: Path, network: Callable[[Tensor], Tensor], part: Part, like: Batches) -> None:
    found = Batches(part, None, like.device, like.view).map(network, "features").numpy()
    content = io.BytesIO()
    np.save(content, found, allow_pickle=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, content.getvalue())


def _read(folder: Path, index: np.ndarray) -> np.ndarray:
    """Rows at pool positions `index` (N,): float32 (N, d)."""
    rows: np.ndarray | None = None
    for block in np.unique(index // BLOCK).tolist():
        stored = np.load(folder / f"{block}.npy", mmap_mode="r", allow_pickle=False)
        rows = np.empty((len(index), stored.shape[1]), np.float32) if rows is None else rows
        here = index // BLOCK == block
        rows[here] = stored[index[here] % BLOCK]
    return rows
