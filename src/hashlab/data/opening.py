"""Opening a data set by its name: the one place that knows embedded, prepared and cached sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashlab.data import cache, downloaded, embedded, own, prepared, protocols, sets
from hashlab.data.parts import Dataset, Pool
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError


def names(path: str | Path | None = None) -> list[str]:
    """The names that `load` takes, those of your own sets last; `path` is the cache folder."""
    return [*sets.names(), *own.names(path)]


def info(name: str, path: str | Path | None = None) -> SetInfo:
    """What is known of the set called `name`, one of `names()`;
    raises InputError for another name, and where your own set is damaged.

    Example:
        >>> from hashlab import data
        >>> data.info("digits").classes
        ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9')
    """
    if name in sets.names() or name not in own.names(path):
        return sets.info(name, names(path))
    return own.read(name, path).about


def protocol_of(
    about: SetInfo, name: str | None = None, path: str | Path | None = None
) -> protocols.Protocol:
    """The protocol `name` of a set, or its default;
    raises InputError for one that the set does not have.
    """
    if not about.own:
        return protocols.get(about.name, name)
    rule = own.read(about.name, path).protocol
    if name not in (None, rule.name):
        raise InputError(f"unknown protocol {name!r} for {about.name}; expected: {rule.name}")
    return rule


def protocol_names(about: SetInfo) -> list[str]:
    """The protocols of a set, its default first."""
    return [about.name] if about.own else protocols.names(about.name)


def load(name: str, *, protocol: str | None = None, root: str | Path | None = None) -> Dataset:
    """Load a set and split it as the named protocol says.

    Args:
        name: one of `names()`.
        protocol: one of those that `hashlab data list` names; the set's first one when None.
        root: the cache folder; when None, $HASHLAB_DATA, else the usual one. Sets that come with
            the package do not need it.

    Raises:
        InputError: unknown name or protocol; a cache that is missing, truncated or altered. Every
            image is checked against the set's published fingerprint; of sets prepared from files
            that were put there by hand, a sample is (`hashlab data check` looks at all of them).

    Example:
        >>> import hashlab
        >>> digits = hashlab.data.load("digits")
        >>> digits
        <Dataset digits: train 1200, query 300, database 1497>
        >>> digits.query.images.shape, digits.query.labels.shape, digits.relevance
        ((300, 8, 8), (300,), 'same_class')
    """
    about = info(name, root)
    if about.own:
        rule = protocol_of(about, protocol, root)
        return own.load(own.Own(about, rule), root)
    rule = protocols.get(name, protocol)
    return Dataset.split(open_pool(about, root), rule)


def open_pool(about: SetInfo, path: str | Path | None = None) -> Pool:
    """Open and check a set; raises InputError when it is missing or not what its fingerprint says.

    `path` is the cache folder, here and below.
    """
    if about.own:
        return own.open_pool(about, path)
    if about.by_hand:
        return prepared.open_pool(about, cache.home(about, path))
    folder = None if about.embedded else cache.home(about, path)
    arrays = embedded.ARRAYS[about.name]() if folder is None else cache.read(about, folder)
    orders = cache.check_arrays(about, arrays)
    images = tuple(arrays[split][0] for split in orders)
    labels = [arrays[split][1][order] for split, order in orders.items()]
    return Pool(
        images, tuple(orders.values()), np.concatenate(labels).astype(np.int64), about, folder
    )


def fetch(
    about: SetInfo,
    path: str | Path | None = None,
    *,
    source: str | Path | None = None,
    size: int | None = None,
    fit: str | None = None,
    skip_broken: bool = False,
) -> Path | None:
    """Fill the cache with a set, by download or from files that were put there by hand.

    Args:
        about: the set.
        source: where its files are: those put there by hand (None: in `source/NAME` of the cache
            folder), or those that torchvision has downloaded already (None: it downloads them).
        size, fit, skip_broken: what becomes of those files, see `prepared.prepare`.

    Returns:
        Its folder in the cache; None for an embedded set, which needs none.

    Raises:
        InputError: a download that fails, files that are missing or wrong, or choices about the
            files of a set that is not put there by hand.
    """
    if about.own:
        raise InputError(f"{about.name} is your own set, and is not fetched: it is there")
    if about.by_hand:
        if source is None and is_missing(about, path):
            folder = prepared.source(about, path)
            raise InputError(
                f"{about.name} cannot be fetched: put its files, as described, into {folder}"
            )
        if source is None and not prepared.source(about, path).is_dir():
            return cache.home(about, path)
        return prepared.prepare(about, path, source, size=size, fit=fit, skip_broken=skip_broken)
    if size or fit or skip_broken or (source and about.embedded):
        raise InputError(
            "--source, --size, --fit and --skip-broken are for sets put there by hand,"
            f" not {about.name}"
        )
    if about.embedded:
        return None
    if source is None:
        return cache.fetch(about, path)
    return cache.fetch(about, path, lambda about, _: downloaded.arrays(about, Path(source)))


def is_missing(about: SetInfo, path: str | Path | None = None) -> bool:
    """Whether neither the files of a set that is put there by hand are there, nor its cache."""
    folders = (prepared.source(about, path), cache.home(about, path))
    return bool(about.by_hand) and not any(folder.is_dir() for folder in folders)


def verify(about: SetInfo, path: str | Path | None = None) -> str:
    """Check every image of a set; returns what it holds, in words.

    Raises InputError where it is not in the cache, or an image is not as it should be.
    """
    if about.by_hand or about.own:
        return prepared.verify(about, path)
    open_pool(about, path)
    counts = " + ".join(map(str, about.counts.values()))
    return f"{counts} images, every one as its fingerprint says"


def where(about: SetInfo, path: str | Path | None = None) -> str:
    """Where a set is, or how to get it, in words; its files are not looked at."""
    return "always there" if about.embedded else cache.where(about, path)
