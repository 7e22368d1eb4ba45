"""An index of codes: add, remove, search, keep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.search import columns, combining, engines, given, store
from hashlab.search.columns import Columns
from hashlab.search.combining import Measure
from hashlab.search.store import Content

PROBES = 8  # cells that a fast search looks into


class Index:
    """Codes with ids and metadata, searched exactly.

    Results are in the order (distance, id): of items equally far, the smaller id comes first, text by
    its code points. So they depend neither on the order of adding, nor on the engine: FAISS
    where it is installed (`pip install 'hashlab[search]'`), else NumPy.

    An index is not to be used by several threads at once while it changes.

    Args:
        bits: K, of a code.
        tables: bits of each hash table, where a packed row holds several, each padded to whole
            64-bit words; see `metrics.evaluate`.
        shards: parts that are scanned at once, a thread each, by FAISS: for few queries among very
            many codes. Results are the same.

    Attributes:
        notes: facts about the whole, JSON values by name, which are saved with it.

    Raises:
        InputError: tables that do not add up to `bits`; shards without FAISS.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes, search
        >>> packed = codes.pack(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 1, 1]]) > 0)
        >>> index = search.Index(bits=4)
        >>> index.add(["c", "b", "a"], packed, [{"label": "cat"}, {"label": "dog"}, {}])
        >>> distances, ids = index.search(packed[:1], k=3)
        >>> distances.tolist(), ids.tolist()
        ([[0, 1, 3]], [['c', 'b', 'a']])
        >>> index.search(packed[:1], k=1, where={"label": "dog"})[1].tolist()
        [['b']]
    """

    def __init__(
        self, bits: int, tables: Sequence[int] | None = None, *, shards: int | None = None
    ):
        self.bits = int(bits) if isinstance(bits, np.integer) else bits
        self.tables = codes.check_tables(self.bits, tables)
        self.notes: dict[str, Any] = {}
        width = sum(codes.row_bytes(table) for table in self.tables)
        self._ids = np.empty(0, np.int64)  # ascending; text as its bytes in UTF-8, kind S
        self._codes = np.empty((0, width), np.uint8)
        self._columns = Columns(0)
        self._laid_out: dict[Measure, np.ndarray] = {}  # the last of a weighted distance
        self._cells: engines.Cells | None = None  # of fast searches
        self._sharded: dict[Measure, engines.Shards] = {}  # of the last measure
        self.shards = shards
        self._saved: tuple[Path, str] | None = None  # folder and digest that it was read from
        self._held: Path | None = None  # the folder whose lock `edit` has

    @property
    def shards(self) -> int | None:
        """Parts that are scanned at once; None: the whole is scanned."""
        return self._shards

    @shards.setter
    def shards(self, count: int | None) -> None:
        if count is not None:
            count = given.whole("shards", count, 1, None)
            engines.check_shards()
        self._shards = count
        self._sharded = {}

    # ---- what is in it

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, item: object) -> bool:
        try:
            return self._rows_of([item])[0] >= 0
        except InputError:
            return False

    def __iter__(self) -> Iterator[tuple[int | str, dict[str, Any]]]:
        """Every id with its metadata, in the order of ids."""
        return iter(zip(self.ids.tolist(), self._columns.of(range(len(self))), strict=True))

    @property
    def ids(self) -> np.ndarray:
        """All ids in ascending order, int64 or text (N,), to be read only."""
        return _to_read(given.shown(self._ids))

    def codes(self, ids: Sequence[Any] | np.ndarray | None = None) -> np.ndarray:
        """Packed codes of some items, or of all in the order of ids, uint8 (n, bytes): those of all
        are to be read only.

        Raises InputError for an id that is not in the index.
        """
        return _to_read(self._codes) if ids is None else self._codes[self._known(ids)]

    def meta(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[dict[str, Any]]:
        """Metadata of some items, or of all in the order of ids, a dict each.

        Raises InputError for an id that is not in the index.
        """
        return self._columns.of(range(len(self)) if ids is None else self._known(ids))

    # ---- changing it

    def add(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Add items, all or none.

        Args:
            ids: whole numbers (int64) or text, one kind in an index, each new.
            packed: uint8 (n, bytes), see `codes.pack`, or what a method's `encode` gives.
            meta: a dict for each item, or a dict of lists; JSON values.

        Raises:
            InputError: ids that are there already or twice, or of another kind; codes of another
                width; metadata that JSON does not know, or of another length.
        """
        ids = given.read_ids(ids)
        packed = combining.check_codes(packed, self.tables, "codes")
        if len(ids) != len(packed):
            raise InputError(f"ids and codes must be as many, got {len(ids)} and {len(packed)}")
        more = columns.read(meta, len(ids))
        self._check_kind(ids)
        every = np.concatenate([self._ids, ids]) if len(self) else ids
        order = np.argsort(every, kind="stable")
        every = every[order]
        twice = np.flatnonzero(every[1:] == every[:-1])
        if len(twice):
            raise InputError(
                f"ids must be new and differ, got {given.shown(every[twice[:1]]).tolist()[0]!r} twice"
            )
        self._ids = every
        self._codes = np.concatenate([self._codes, packed])[order]
        self._columns = columns.joined(self._columns, more).take(order)
        self._forget()

    def put(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Add items, in the place of those that have their ids; else as `add`."""
        more = Index(self.bits, self.tables)
        more.add(ids, packed, meta)
        self._check_kind(more._ids)
        if len(self):
            self.remove(given.shown(more._ids[np.isin(more._ids, self._ids)]))
        self.add(ids, packed, meta)

    def remove(self, ids: Sequence[Any] | np.ndarray) -> None:
        """Remove items, all or none; raises InputError for an id that is not in the index."""
        keep = np.ones(len(self), bool)
        keep[self._known(ids)] = False
        rows = np.flatnonzero(keep)
        self._ids = self._ids[rows]
        self._codes = self._codes[rows]
        self._columns = self._columns.take(rows)
        self._forget()

    # ---- searching

    def search(
        self,
        packed: np.ndarray,
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
        fast: bool = False,
        nprobe: int = PROBES,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items of each query, in the order (distance, id).

        Args:
            packed: codes of queries, uint8 (Q, bytes).
            k: how many, at most as many as there are.
            where: only among items with these values, as `{"label": "cat"}`; of a list any. Numbers
                of two types are two values: 2020 is not 2020.0.
            combine: "sum" of the tables' distances (default); "union": that of the nearest table,
                ties broken by the sum before the id; "weighted": the sum of `weights`.
            weights: whole numbers 0..15, one per table or bit, for "weighted".
            fast: look only into the `nprobe` nearest of about sqrt(N) cells: approximate. Needs
                FAISS, and a first search that takes seconds to make the cells; over all items and by
                the sum only.
            nprobe: cells that are looked into.

        Returns:
            distances, int32 (Q, k), and ids, int64 or text (Q, k).

        Raises:
            InputError: an empty index, nothing that `where` asks for, k out of 1..N, codes of
                another width, a combination that cannot be.
        """
        measure = combining.check(self.tables, combine, weights)
        query = combining.check_codes(packed, self.tables, "query codes")
        rows = self._among(where)
        k = given.whole("k", k, 1, len(self) if rows is None else len(rows))
        if fast:
            if rows is not None or measure.combine != "sum":
                raise InputError("fast=True searches all items by the sum of distances only")
            distances, at = self._fast(query, k, nprobe)
            return distances, given.shown(self._ids[at])
        if rows is None and (parts := self._parts(measure)):
            distances, at = parts.nearest(measure.laid_out(query), k)
            return distances, given.shown(self._ids[at])
        database = self._database(measure, rows)
        distances, at = engines.nearest(measure, measure.laid_out(query), database, k)
        return distances, given.shown(self._ids[at if rows is None else rows[at]])

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """How many items a search is among; raises InputError as `search`."""
        rows = self._among(where)
        return len(self) if rows is None else len(rows)

    def within(
        self,
        packed: np.ndarray,
        radius: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """All items at most `radius` away from each query, in the order (distance, id).

        Args:
            radius: 0 or more; of a union of tables that of the nearest.
            packed, where, combine, weights: as in `search`.

        Returns:
            distances, int32, and ids, int64 or text, a list of Q arrays each.

        Raises:
            InputError: as `search`.
        """
        measure = combining.check(self.tables, combine, weights)
        query = combining.check_codes(packed, self.tables, "query codes")
        rows = self._among(where)
        radius = given.whole("radius", radius, 0, None)
        if rows is None and (parts := self._parts(measure)):
            found = parts.within(measure.laid_out(query), radius)
        else:
            database = self._database(measure, rows)
            found = engines.within(measure, measure.laid_out(query), database, radius)
        ids = given.shown(self._ids[found.rows if rows is None else rows[found.rows]])
        cuts = found.ends[1:-1]
        if not len(query):
            return [], []
        return np.split(found.distances, cuts), np.split(ids, cuts)

    # ---- keeping it

    def save(self, path: str | Path) -> Path:
        """Write the index as a folder, which appears whole, and return that.

        It may take the place of the index that this one was opened from, or saved to before.

        Raises:
            InputError: a folder that holds something else, or an index that is not the one that
                this one was opened from, or has changed since: see `edit`.
            OSError: there is no room; what was there is as it was.
        """
        folder = store.check_target(path)
        name = folder.absolute()
        parts = store.packed(
            Content(self.tables, self._ids, self._codes, self._columns, self.notes)
        )
        digest = _digest_of(parts)
        with nullcontext() if self._held == name else _disk.lock(folder):
            there = store.described(store.check_target(folder))["digest"] if _is(folder) else None
            if there != digest:
                self._check_unchanged(name, there)
                store.write(parts, folder)
        self._saved = (name, digest)
        return folder

    def _check_unchanged(self, folder: Path, there: str | None) -> None:
        """Raise InputError where a folder has another index than this one came from."""
        mine = self._saved[1] if self._saved and self._saved[0] == folder else None
        if there is None or there == mine:
            return
        if mine is None:
            raise InputError(f"{folder} holds another index; open that, or give a new folder")
        raise InputError(f"{folder} has changed since it was opened; change it in search.edit(…)")

    # ---- inside

    def _forget(self) -> None:
        self._laid_out = {}
        self._cells = None
        self._sharded = {}

    def _check_kind(self, ids: np.ndarray) -> None:
        if len(self) and len(ids) and self._ids.dtype.kind != ids.dtype.kind:
            kinds = {"i": "whole numbers", "S": "text"}
            here, come = kinds[self._ids.dtype.kind], kinds[ids.dtype.kind]
            raise InputError(f"the ids of this index are {here}, got {come}")

    def _rows_of(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        """The row of each id, int64 (n,), -1 where there is none."""
        ids = given.read_ids(ids)
        self._check_kind(ids)
        rows = np.searchsorted(self._ids, ids)
        inside = rows < len(self)
        inside[inside] = self._ids[rows[inside]] == ids[inside]
        return np.where(inside, rows, -1)

    def _known(self, ids: Sequence[Any] | np.ndarray) -> np.ndarray:
        rows = self._rows_of(ids)
        if (rows < 0).any():
            missing = list(ids)[int(np.argmin(rows))]
            raise InputError(f"{missing!r} is not in the index")
        return rows

    def _among(self, where: Mapping[str, Any] | None) -> np.ndarray | None:
        """The rows that are searched; None for all."""
        if not len(self):
            raise given.nothing(0, where)
        if where is None:
            return None
        rows = np.flatnonzero(self._columns.matching(where))
        if not len(rows):
            raise given.nothing(len(self), where)
        return rows

    def _database(self, measure: Measure, rows: np.ndarray | None) -> np.ndarray:
        """The codes that are searched, laid out for a measure."""
        if measure.combine != "weighted":
            return self._codes if rows is None else self._codes[rows]
        if measure not in self._laid_out:
            self._laid_out = {measure: measure.laid_out(self._codes)}
        database = self._laid_out[measure]
        return database if rows is None else database[rows]

    def _parts(self, measure: Measure) -> engines.Shards | None:
        """All codes in parts, where that is asked for, and FAISS can search them so."""
        if self._shards is None or measure.combine == "union" or not engines.shards_ordered():
            return None
        if measure not in self._sharded:
            database = self._database(measure, None)
            self._sharded = {measure: engines.Shards(database, self._shards)}
        return self._sharded[measure]

    def _fast(self, query: np.ndarray, k: int, nprobe: int) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rows by cells; a query whose cells hold fewer than k is answered exactly."""
        probes = given.whole("nprobe", nprobe, 1, None)
        if self._cells is None:
            self._cells = engines.Cells(self._codes)
        distances, rows = self._cells.nearest(query, k, probes)
        short = (rows < 0).any(axis=1)
        plain = Measure(self.tables)
        distances[short], rows[short] = engines.nearest(plain, query[short], self._codes, k)
        return distances, rows


# ---- on disk


def open_local(path: str | Path) -> Index:
    """The index that `Index.save` or `hashlab index` wrote, its arrays mapped into memory.

    What others write there later does not change it.

    Raises:
        InputError: no index, or a file of it that is missing, truncated or altered.
    """
    folder = Path(path)
    while True:
        before = _stamp(folder)
        try:
            content, digest = store.read(folder)
            break
        except InputError:
            if _stamp(folder) == before:  # else another process has just replaced it
                raise
    index = Index(sum(content.tables), content.tables)
    index.notes = content.notes
    index._ids = content.ids
    index._codes = content.codes
    index._columns = content.columns
    index._saved = (folder.absolute(), digest)
    return index


@contextmanager
def edit(
    path: str | Path, bits: int | None = None, tables: Sequence[int] | None = None
) -> Iterator[Index]:
    """An index on disk to change, while other processes that want to wait; it is saved at the end.

    Where there is none yet, one of `bits` and `tables` is made. An exception leaves it as it was
    when it was last saved.

    Raises:
        InputError: an index of other bits or tables, or none and no `bits`; as `open_index`.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from hashlab import search
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with search.edit(f"{folder}/codes.index", bits=64) as index:
        ...         index.add([7], np.zeros((1, 8), np.uint8))
        ...     print(len(search.open_index(f"{folder}/codes.index")))
        1
    """
    folder = store.check_target(path)
    with _disk.lock(folder):
        if _is(folder):
            index = open_local(folder)
            _check_same(index, folder, bits, tables)
        elif bits is None:
            raise InputError(f"{folder} is not an index; give the bits of a new one")
        else:
            index = Index(bits, tables)
        index._held = folder.absolute()
        try:
            yield index
            index.save(folder)
        finally:
            index._held = None


def _to_read(array: np.ndarray) -> np.ndarray:
    """The same array, which can be changed by nobody who is given this view."""
    view = array.view()
    view.flags.writeable = False
    return view


def _check_same(index: Index, folder: Path, bits: int | None, tables: Sequence[int] | None) -> None:
    if bits is None and tables is None:
        return
    wanted = codes.check_tables(sum(tables) if bits is None else bits, tables)
    if wanted != index.tables:
        own, other = (" + ".join(map(str, one)) for one in (index.tables, wanted))
        raise InputError(f"{folder} holds codes of {own} bits, not {other}")


def _is(folder: Path) -> bool:
    return (folder / store.SUMMARY).is_file()


def _stamp(folder: Path) -> bytes | None:
    """What tells one state of an index from the next; None where there is none."""
    summary = _disk.restored(folder) / store.SUMMARY
    try:
        return summary.read_bytes() if summary.is_file() else None
    except OSError:
        return None


def _digest_of(parts: Mapping[str, bytes]) -> str:
    return json.loads(parts[store.SUMMARY])["digest"]
