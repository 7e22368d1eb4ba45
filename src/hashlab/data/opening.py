"""Opening a data set by its name: the one place that knows embedded, prepared and cached sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashlab.data import cache, embedded, prepared, protocols
from hashlab.data.parts import Dataset, Pool
from hashlab.data.sets import SetInfo, info


def open_pool(about: SetInfo, path: str | Path | None = None) -> Pool:
    """Open and check a set; raises InputError when it is missing or not what its fingerprint says."""
    if about.by_hand:
        return prepared.open_pool(about, cache.home(about, path))
    folder = None if about.embedded else cache.home(about, path)
    arrays = embedded.ARRAYS[about.name]() if folder is None else cache.read(about, folder)
    orders = cache.check(about, arrays)
    labels = np.concatenate([arrays[split][1][order] for split, order in orders.items()]).astype(np.int64)
    return Pool(tuple(arrays[split][0] for split in orders), tuple(orders.values()), labels, about, folder)


def load(name: str, *, protocol: str | None = None, root: str | Path | None = None) -> Dataset:
    """Load a set and split it as the named protocol says.

    Args:
        name: one of `names()`.
        protocol: one of `protocols.names(name)`; the set's first one when None.
        root: the cache folder; `$HASHLAB_DATA` or `data/cache` when None. Embedded sets do not need it.

    Raises:
        InputError: unknown name or protocol; a cache that is missing, truncated or altered. Every image is checked
            against the set's published fingerprint; of sets prepared from files that were put there by hand, a
            sample is (`hashlab data check` looks at all of them).
    """
    about = info(name)
    rule = protocols.get(name, protocol)
    pool = open_pool(about, root)
    index = protocols.split(rule, pool.labels, pool.counts)
    parts = {part: pool.part(rows) for part, rows in index.items()}
    return Dataset(pool.about, rule.name, checksum=protocols.checksum(index), **parts)
