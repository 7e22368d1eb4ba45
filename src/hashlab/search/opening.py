"""An index by its address: a folder, or a collection of Milvus, which take and give the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from hashlab.errors import InputError
from hashlab.search.index import open_local
from hashlab.search.servers import PREFIX


class Searched(Protocol):
    """What every index takes and gives, wherever it is; `Index` says what it means."""

    bits: int
    tables: tuple[int, ...]
    notes: dict[str, Any]

    def __len__(self) -> int: ...

    def __contains__(self, item: object) -> bool: ...

    def __iter__(self) -> Iterator[tuple[int | str, dict[str, Any]]]: ...

    @property
    def ids(self) -> np.ndarray: ...

    def codes(self, ids: Sequence[Any] | np.ndarray | None = None) -> np.ndarray: ...

    def meta(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[dict[str, Any]]: ...

    def add(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None: ...

    def put(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None: ...

    def remove(self, ids: Sequence[Any] | np.ndarray) -> None: ...

    def count(self, where: Mapping[str, Any] | None = None) -> int: ...

    def search(
        self,
        packed: np.ndarray,
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]: ...

    def within(
        self,
        packed: np.ndarray,
        radius: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]: ...


def is_remote(address: object) -> bool:
    """Whether an address is one of Milvus, not a folder."""
    return isinstance(address, str) and address.startswith(PREFIX)


def open_index(
    address: str | Path,
    *,
    bits: int | None = None,
    tables: Sequence[int] | None = None,
    token: str | None = None,
    shards: int | None = None,
) -> Any:
    """The index at an address.

    Args:
        address: a folder that `Index.save` or `hashlab index` wrote, whose arrays are mapped into
            memory; `milvus:http://HOST:19530/COLLECTION`, or `milvus:FILE.db`, where
            `/COLLECTION` may follow (`pip install 'hashlab[milvus]'`).
        bits, tables: of a collection of Milvus that may be new; it is made when something is added.
        token: of a server of Milvus that asks for one; else $HASHLAB_MILVUS_TOKEN.
        shards: of a folder, see `Index`.

    Returns:
        an `Index`, or a `milvus.Collection`, which takes and gives the same (`Searched`).

    Raises:
        InputError: no index, or a file of it that is missing, truncated or altered; see also
            `milvus.open_collection`.
    """
    if isinstance(address, str) and is_remote(address):
        if shards is not None:
            raise InputError("shards are those of a folder; Milvus has its own")
        from hashlab.search import milvus

        return milvus.open_collection(address, bits=bits, tables=tables, token=token)
    if bits is not None or tables is not None or token is not None:
        raise InputError(f"bits, tables and token are for an address {PREFIX}…, got {address}")
    index = open_local(address)
    index.shards = shards
    return index
