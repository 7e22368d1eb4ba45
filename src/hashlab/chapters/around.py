"""What a notebook finds around it: what is missing is said in one sentence each, with what works all the same.

`hashlab` asks for versions when it is installed; a host may have put an older one in their place since.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from hashlab import files
from hashlab.errors import InputError

COMPARED = ("torch", "torchvision")  # what hosts bring along in versions of their own


def say() -> None:
    """Print a sentence for each thing that is missing here; nothing where nothing is."""
    for sentence in missing():
        print(sentence)


def missing() -> Iterator[str]:
    """The sentences that `say` prints. Nothing is raised: a notebook goes on as far as it can."""
    old = list(too_old())
    yield from old
    if not old:  # of a version that does not fit nothing more is asked
        yield from no_gpu()
    yield from no_data()


def too_old() -> Iterator[str]:
    """A sentence for each package that is older than hashlab needs, or missing."""
    try:
        required = metadata.requires("hashlab") or []
    except metadata.PackageNotFoundError:  # not installed, but run from its sources
        return
    for name in COMPARED:
        (least,) = (
            match[1] for line in required if (match := re.match(rf"{name}\s*>=\s*([\d.]+)", line))
        )
        present = _version(name)
        if _numbers(present) < _numbers(least):
            yield (
                f"hashlab needs {name} {least} or newer, and here is {present or 'none'}: codes, metrics and records "
                "can be read, training may fail."
            )


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """`"2.11.0+cpu"` as (2, 11, 0)."""
    return tuple(int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part)


def no_gpu() -> Iterator[str]:
    import torch

    if not torch.cuda.is_available():
        yield "There is no GPU: everything runs on the processor, which is what the chapters are made for."


def no_data() -> Iterator[str]:
    """Sentences for real data sets that are not in the cache, and for a cache that cannot be written."""
    from hashlab.data import cache, sets

    real = [about for about in map(sets.info, sets.names()) if not about.embedded]
    absent = [about.name for about in real if not cache.home(about).is_dir()]
    if absent:
        yield (
            f"Not in the cache: {', '.join(absent)}; the chapters do without, for they train on embedded digits and "
            "read the records of the other sets."
        )
    try:
        files.check_folder(cache.root(), "HASHLAB_DATA")
    except InputError as problem:
        yield f"Data sets cannot be fetched, everything else works: {problem}."
