"""Named protocols: which images are queries, which train, which are searched.

A protocol is a list of positions in the pool (the official splits in canonical order, train then test). Where
images are drawn, they are drawn per class, in the order of SHA-256(seed name / position): no random generator of
any library is involved, so the same images come out everywhere and for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from hashlab.errors import InputError

Index = dict[str, np.ndarray]


@dataclass(frozen=True)
class Protocol:
    """A named rule that turns labels (N,) and split sizes into index lists, and the checksum they must have."""

    name: str
    dataset: str
    about: str
    rule: Callable[[np.ndarray, Mapping[str, int]], Index]
    checksum: str  # of the lists that `split` makes: see `checksum`


def draw(seed: str, labels: np.ndarray, candidates: np.ndarray, count: int | Mapping[int, int]) -> np.ndarray:
    """`count` images of each class among the candidates, in ascending order of position.

    Args:
        seed: names the draw; other names give other images.
        labels: (N,) class of every image of the pool.
        candidates: (M,) positions to draw from.
        count: how many per class, or a mapping from class to how many.
    """
    order = sorted(candidates.tolist(), key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).digest())
    order = np.array(order, dtype=np.int64)
    chosen = []
    for label in np.unique(labels[candidates]):
        want = count if isinstance(count, int) else count[int(label)]
        members = order[labels[order] == label]
        if len(members) < want:
            raise InputError(f"class {label}: {want} images wanted, {len(members)} there")
        chosen.append(members[:want])
    return np.sort(np.concatenate(chosen))


def tenth(seed: str, labels: np.ndarray, train: np.ndarray) -> np.ndarray:
    """The validation part: a tenth of each class of `train`, rounded to whole images."""
    sizes = {
        int(label): round(int(n) / 10) for label, n in zip(*np.unique(labels[train], return_counts=True), strict=True)
    }
    return draw(f"{seed}/validation", labels, train, sizes)


def drawn(seed: str, query: int, train: int, *, train_in_database: bool) -> Callable[..., Index]:
    """Pool everything; draw `query` and `train` images per class; search the rest, with or without the train part."""

    def rule(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        pool = np.arange(len(labels))
        queries = draw(f"{seed}/query", labels, pool, query)
        rest = np.setdiff1d(pool, queries)
        trained = draw(f"{seed}/train", labels, rest, train)
        database = rest if train_in_database else np.setdiff1d(rest, trained)
        return {"query": queries, "train": trained, "database": database}

    return rule


def official(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """The official test images query the official training images, which are both train part and database."""
    train = np.arange(counts["train"])
    return {"query": np.arange(counts["train"], len(labels)), "train": train, "database": train}


PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "digits",
            "digits",
            "30 queries and 120 training images per class; database = all but the queries (1,497)",
            drawn("digits", 30, 120, train_in_database=True),
            "be6f72fa5ab96db7cae5fa8822fa72ca8d1f6bb19cc697927229505d0f90273c",
        ),
        Protocol(
            "mnist-full",
            "mnist",
            "10,000 test images query the 60,000 training images",
            official,
            "3abda52112c60faeb5598ba0d4a6f8dbc5c10a3e308a06cbd270b28b02675eb4",
        ),
        Protocol(
            "mnist-1k",
            "mnist",
            "100 queries and 500 training images per class of the pooled 70,000; database = all but the queries",
            drawn("mnist-1k", 100, 500, train_in_database=True),
            "4d8e9ed56b5bc245e34d56a14e51bbb5e3aafd576be4f534b10c6d0cc85d3ba5",
        ),
    )
}


def names(dataset: str | None = None) -> list[str]:
    """The protocols of one data set (its default first), or all."""
    return [p.name for p in PROTOCOLS.values() if dataset in (None, p.dataset)]


def get(dataset: str, name: str | None = None) -> Protocol:
    """The protocol `name` of `dataset`, or its default; raises InputError for one that the set does not have."""
    known = names(dataset)
    if name is not None and name not in known:
        raise InputError(f"unknown protocol {name!r} for {dataset}; expected one of: {', '.join(known)}")
    return PROTOCOLS[name or known[0]]


def split(protocol: Protocol, labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """The index lists of a protocol, with the validation part drawn from its train part."""
    index = protocol.rule(labels, counts)
    return index | {"validation": tenth(protocol.name, labels, index["train"])}


def checksum(index: Index) -> str:
    """SHA-256 over the four index lists as little-endian int64, in alphabetical order of their names."""
    digest = hashlib.sha256()
    for name in sorted(index):
        digest.update(f"{name}:{len(index[name])}:".encode() + index[name].astype("<i8").tobytes())
    return digest.hexdigest()
