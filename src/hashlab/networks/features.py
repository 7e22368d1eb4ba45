"""Features of a frozen backbone: computed once per image, and kept on disk beside the data set.

One pass gives the features of every level, whichever is asked for. They lie in
`<cache>/features/<set>-<hash>/<block>-<level>.npy`, float32; the hash is that of all they depend on (images, backbone,
weights, input, precision, kind of device, version of torch). The folder may be deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hashlab import files
from hashlab.data.batches import Batches, Images
from hashlab.data.parts import Part
from hashlab.networks.backbones import Backbone, Level
from hashlab.progress import Progress

Function = Callable[[Tensor], Tensor]
BLOCK = 4096  # images per file: what an interruption can lose


def pooled(levels: Sequence[Tensor]) -> Tensor:
    """Means over all places of the maps (B, C, H, W) of some levels, side by side; vectors (B, C) stay: (B, sum C)."""
    return torch.cat([x.mean((2, 3)) if x.ndim == 4 else x for x in levels], 1)


def compute(
    backbone: Backbone,
    names: Sequence[str],
    images: Images,
    batches: Batches,
    facts: dict[str, Any] | None,
    wrap: Callable[[Function], Function] = lambda function: function,
) -> Tensor:
    """Features float32 (N, sum C) of `images`, as `batches` gives them: the named levels' means, side by side.

    Args:
        facts: JSON values that say which network it is; None where the features shall not be kept. Only those of a
            set in the cache are.
        wrap: what gives the function that is applied to each block its precision.
    """
    if facts is None or not isinstance(images, Part) or images.pool.folder is None:
        return batches.map(wrap(lambda x: pooled(backbone.forward_levels(x, names))), "features")
    folder = _folder(images, batches, facts)
    needed = np.unique(images.index // BLOCK).tolist()
    missing = [block for block in needed if not all(_file(folder, block, name).is_file() for name in names)]
    every = wrap(lambda x: pooled(backbone.forward_levels(x, list(backbone.levels))))
    for block in Progress(missing, "features", total=len(missing), delay=2):
        _keep(folder, block, every, images, batches, backbone.levels)
    return torch.cat([torch.from_numpy(_read(folder, name, images.index)) for name in names], 1)


def _folder(images: Part, batches: Batches, facts: dict[str, Any]) -> Path:
    about, device = images.pool.about, batches.device.type
    facts = facts | {"view": dataclasses.asdict(batches.view), "device": device, "torch": torch.__version__}
    text = json.dumps(facts | {"images": [*about.fingerprints.values(), about.pixels]}, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:16]
    return images.pool.folder.parent / "features" / f"{about.name}-{short}"


def _file(folder: Path, block: int, name: str) -> Path:
    return folder / f"{block}-{name}.npy"


def _keep(
    folder: Path, block: int, network: Function, images: Part, like: Batches, levels: Mapping[str, Level]
) -> None:
    """Compute a block of the pool for all levels, and write each into a file of its own."""
    last = min((block + 1) * BLOCK, len(images.pool.stored))
    part = images.pool.part(np.arange(block * BLOCK, last))
    found = Batches(part, None, like.device, like.view).map(network, "features").numpy()  # (B, sum C)
    folder.mkdir(parents=True, exist_ok=True)
    ends = np.cumsum([level.channels for level in levels.values()])[:-1]
    for name, columns in zip(levels, np.split(found, ends, axis=1), strict=True):
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(columns), allow_pickle=False)
        files.write(_file(folder, block, name), content.getvalue())


def _read(folder: Path, name: str, index: np.ndarray) -> np.ndarray:
    """A level's rows at pool positions `index` (N,): float32 (N, C)."""
    rows: np.ndarray | None = None
    for block in np.unique(index // BLOCK).tolist():
        stored = np.load(_file(folder, block, name), mmap_mode="r", allow_pickle=False)
        rows = np.empty((len(index), stored.shape[1]), np.float32) if rows is None else rows
        here = index // BLOCK == block
        rows[here] = stored[index[here] % BLOCK]
    return rows
