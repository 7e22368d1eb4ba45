"""An index that is a collection of Milvus: on one machine, on a cluster, or in a file (Milvus Lite).

It takes and gives what `Index` does, ties included. Milvus orders what it finds by distance only, and
leaves out any of those that are equally far at the k-th place. So it is asked for one item more
than is wanted; where that is as far as the one before, it is asked once more, for those at exactly
that distance, of which the smallest ids are taken.

A collection has the fields

    id      int64, or text (VARCHAR): the primary key; `&` stands there as `&0`, and `'` as `&1`
    code    the K bits, padded to whole bytes; HAMMING, BIN_FLAT: every code is compared
    meta    JSON: `facts`, what is known of the item, as text; `has`, what `where` looks for

and its description says of how many bits and tables its codes are, and what `notes` there are.

Seen on Milvus Lite, and on a full server on one machine (Milvus 2.3.5, standalone): all of this, ties
and kills included. Inferred, for it answers the same client: the same on a cluster of Milvus.

Milvus Lite cannot delete an id with a `'`, which ends the text in its SQL; so none is there. Ids
have the same order in either form, for of each sign the form begins like no other sign's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from hashlab import codes, files
from hashlab.errors import InputError
from hashlab.search import columns, combining, given, servers
from hashlab.search.servers import Server

MOST = 16_384  # results that Milvus gives for one question
AT_LEAST = 1024  # of those at one distance are asked for: fewer questions where many are tied
RESULTS = 1 << 18  # of several queries, asked for at once
PAGE = 4096  # rows that are read at once
ROWS = 5000  # that are written at once
BYTES = 16 << 20  # that are sent at once
MOST_TEXT = 65_535  # bytes of an id, and of what is known of an item
FORMAT = "hashlab codes 1"
FIELDS = {"format": str, "bits": int, "tables": list, "notes": dict}  # of a description
KINDS = {"INT64": "whole numbers", "VARCHAR": "text"}

Hits = tuple[np.ndarray, np.ndarray]  # of a query: ids, int64 or text (n,), and distances, int32


def open_collection(
    address: str,
    *,
    bits: int | None = None,
    tables: Sequence[int] | None = None,
    token: str | None = None,
) -> Collection:
    """The index at `milvus:http://HOST:19530/COLLECTION` or `milvus:FILE.db/COLLECTION`.

    Args:
        bits, tables: of a collection that may be new; it is made when something is added.
        token: of a server that asks for one, `USER:PASSWORD` or a key; else $HASHLAB_MILVUS_TOKEN.

    Raises:
        InputError: no pymilvus, no such address, no answer, no collection and no `bits`, or one of
            other bits or of something else.
    """
    wanted = None
    if bits is not None or tables is not None:
        wanted = codes.check_tables(sum(tables) if bits is None else bits, tables)
    where = servers.read_address(address)
    server = servers.opened(where.server, token, new=wanted is not None)
    try:
        collection = _collection(server, where.collection, wanted)
    except BaseException:
        server.close()
        raise
    return collection


def _collection(server: Server, name: str, wanted: tuple[int, ...] | None) -> Collection:
    if not server.ask("has_collection", name):
        if wanted is None:
            raise InputError(f"{server.name} has no collection {name}; give the bits of a new one")
        return Collection(server, name, wanted, {}, None)
    facts = server.ask("describe_collection", name)
    about = _about(facts, f"{server.name}/{name}")
    tables = codes.check_tables(about["bits"], about["tables"])
    if wanted is not None and wanted != tables:
        own, other = (" + ".join(map(str, one)) for one in (tables, wanted))
        raise InputError(f"{server.name}/{name} holds codes of {own} bits, not {other}")
    (kind,) = (field["type"].name for field in facts["fields"] if field.get("is_primary"))
    server.ask("load_collection", name)
    return Collection(server, name, tables, about["notes"], kind)


def _about(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What the description of a collection says; raises InputError for one that is not ours."""
    try:
        about = json.loads(facts["description"])
        fits = all(isinstance(about[key], kind) for key, kind in FIELDS.items())
    except (KeyError, TypeError, ValueError):
        fits = False
    fields = {field["name"] for field in facts["fields"]}
    if not fits or about["format"] != FORMAT or fields != {"id", "code", "meta"}:
        raise InputError(f"{name} is a collection of something else than this version writes")
    return about


class Collection:
    """Codes with ids and metadata in a collection of Milvus, searched exactly; see `Index`.

    `open_index` makes one; at the end of a `with` block it lets go of the server.

    What changes is there for others at once: there is nothing to save. Metadata of an item have at
    most 64 KiB. Several tables count by the sum.

    Args:
        server: that has it.
        name: of the collection.
        tables: bits of each hash table.
        notes: facts about the whole, JSON values by name; kept from the first `add` on.
        kind: of ids; None: nothing has been added yet, and there is no collection.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        tables: tuple[int, ...],
        notes: dict[str, Any],
        kind: str | None,
    ):
        self.bits = sum(tables)
        self.tables = tables
        self.notes = notes
        self._server = server
        self._name = name
        self._kind = kind

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the server; that of a file ends with the last who uses it."""
        self._server.close()

    # ---- what is in it

    def __len__(self) -> int:
        return self._count("")

    def __contains__(self, item: object) -> bool:
        try:
            ids = self._read_ids([item])
        except InputError:
            return False
        return len(self._present(ids)) == 1

    def __iter__(self) -> Iterator[tuple[int | str, dict[str, Any]]]:
        """Every id with its metadata, in the order of ids."""
        for row in self._all("meta"):
            yield _outside(row["id"]), _facts(row)

    @property
    def ids(self) -> np.ndarray:
        """All ids in ascending order, int64 or text (N,)."""
        return self._array([_outside(row["id"]) for row in self._all()])

    def codes(self, ids: Sequence[Any] | np.ndarray | None = None) -> np.ndarray:
        """Packed codes of some items, or of all in the order of ids, uint8 (n, bytes).

        Raises InputError for an id that is not in the index.
        """
        rows = self._all("code") if ids is None else self._known(ids, "code")
        return self._packed(b"".join(row["code"][0] for row in rows))

    def meta(self, ids: Sequence[Any] | np.ndarray | None = None) -> list[dict[str, Any]]:
        """Metadata of some items, or of all in the order of ids, a dict each.

        Raises InputError for an id that is not in the index.
        """
        rows = self._all("meta") if ids is None else self._known(ids, "meta")
        return [_facts(row) for row in rows]

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """How many items a search is among; raises InputError as `search`."""
        return self._some(_condition(where), where)

    # ---- changing it

    def add(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Add items, all or none; see `Index.add`.

        Where the server fails half-way what came of them is taken out again; where that or this
        process is killed then, a part may stay.
        """
        ids, rows = self._rows(ids, packed, meta)
        present = self._present(ids)
        if present:
            raise InputError(f"ids must be new and differ, got {_outside(present[0])!r} twice")
        try:
            self._write(rows)
        except BaseException:
            with suppress(InputError):
                self._delete(ids)
            raise

    def put(
        self,
        ids: Sequence[Any] | np.ndarray,
        packed: np.ndarray,
        meta: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """Add items, in the place of those that have their ids; to be repeated where it fails."""
        self._write(self._rows(ids, packed, meta)[1])

    def remove(self, ids: Sequence[Any] | np.ndarray) -> None:
        """Remove items; raises InputError, and removes none, for an id that is not in the index."""
        self._known(ids)
        self._delete(self._read_ids(ids))

    # ---- searching

    def search(
        self,
        packed: np.ndarray,
        k: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items of each query, in the order (distance, id); see `Index.search`.

        Raises:
            InputError: as `Index.search`; k of 16,384 or more, which is what Milvus gives at most,
                one of them to see whether others are tied; a combination other than the sum.
        """
        query = self._queries(packed, combine, weights)
        condition = _condition(where)
        k = given.whole("k", k, 1, None)
        if k >= MOST:
            raise InputError(f"k must be below {MOST}, the most that Milvus gives, got {k}")
        nearest = self._nearest(query, k, condition) if self._kind else []
        if not nearest or len(nearest[0][0]) < k:  # or nothing, or less than k
            given.whole("k", k, 1, self._some(condition, where))
        distances = np.array([far for _, far in nearest], np.int32).reshape(len(query), k)
        ids = [_outside(one) for names, _ in nearest for one in names.tolist()]
        return distances, self._array(ids).reshape(len(query), k)

    def within(
        self,
        packed: np.ndarray,
        radius: int,
        *,
        where: Mapping[str, Any] | None = None,
        combine: str | None = None,
        weights: Sequence[int] | None = None,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """All items at most `radius` away, in the order (distance, id), however many; see
        `Index.within`.
        """
        query = self._queries(packed, combine, weights)
        condition = _condition(where)
        radius = min(given.whole("radius", radius, 0, None), self.bits)
        if not self._kind:
            self._some(condition, where)
        hits = [self._around(one, radius, condition) for one in query]
        if not any(len(ids) for ids, _ in hits):
            self._some(condition, where)
        ids = [self._array([_outside(one) for one in ids.tolist()]) for ids, _ in hits]
        return [far for _, far in hits], ids

    # ---- inside: asking

    def _queries(
        self, packed: np.ndarray, combine: str | None, weights: Sequence[int] | None
    ) -> list[bytes]:
        measure = combining.check(self.tables, combine, weights)
        if measure.combine != "sum":
            raise InputError(f"Milvus compares codes by the sum only, got {measure.combine!r}")
        return self._stored(combining.check_codes(packed, self.tables, "query codes"))

    def _nearest(self, query: list[bytes], k: int, condition: str) -> list[Hits]:
        """The k nearest of each query, fewer where there are; ties are settled by ids."""
        nearest = []
        tied: dict[int, list[int]] = {}
        for number, (ids, far) in enumerate(self._found(query, k + 1, condition)):
            if len(ids) > k and far[k] == far[k - 1]:
                tied.setdefault(int(far[k]), []).append(number)
                ids, far = ids[far < far[k]], far[far < far[k]]
            nearest.append((ids[:k], far[:k]))
        for distance, numbers in tied.items():
            open_places = [k - len(nearest[number][0]) for number in numbers]
            first = self._first([query[n] for n in numbers], distance, open_places, condition)
            for number, more in zip(numbers, first, strict=True):
                ids, far = nearest[number]
                every = np.full(len(more), distance, np.int32)
                nearest[number] = np.concatenate([ids, more]), np.concatenate([far, every])
        return nearest

    def _first(
        self, query: list[bytes], distance: int, counts: list[int], condition: str
    ) -> list[np.ndarray]:
        """The smallest ids at exactly a distance of each query, as many as are wanted of each.

        Of `most` ids that come the wanted ones are no larger than the last that is wanted of these:
        so it is asked again for no larger ones, until fewer come.
        """
        most = min(MOST, max(AT_LEAST, 4 * max(counts)))
        span = {"radius": distance + 1, "range_filter": distance}
        first = []
        for number, (ids, _) in enumerate(self._found(query, most, condition, span)):
            while len(ids) == most:
                limit = _both(condition, f"id <= {_literal(ids[counts[number] - 1])}")
                ((ids, _),) = self._found([query[number]], most, limit, span)
            first.append(ids[: counts[number]])
        return first

    def _around(self, query: bytes, radius: int, condition: str) -> Hits:
        """All within a radius of a query."""

        def ask(limits: str) -> list[tuple[Any, Any]]:
            span = {"radius": radius + 1, "range_filter": 0}
            ((ids, far),) = self._found([query], MOST, _both(condition, limits), span)
            return list(zip(ids.tolist(), far.tolist(), strict=True))

        hits = [hit for part in _all_of(ask, MOST, lambda hit: hit[0]) for hit in part]
        hits.sort(key=lambda hit: (hit[1], hit[0]))
        return self._array([i for i, _ in hits]), np.array([far for _, far in hits], np.int32)

    def _found(
        self, query: list[bytes], most: int, condition: str, span: Mapping[str, int] | None = None
    ) -> Iterator[Hits]:
        """What Milvus finds for each query, `most` at most, in the order (distance, id)."""
        step = max(1, RESULTS // most)
        for start in range(0, len(query), step):
            for hits in self._server.ask(
                "search",
                self._name,
                data=query[start : start + step],
                anns_field="code",
                limit=most,
                filter=condition,
                search_params={"metric_type": "HAMMING", "params": dict(span or {})},
            ):
                ids = self._array(list(hits.ids))
                far = np.array(list(hits.distances)).astype(np.int32)
                order = np.lexsort((ids, far))
                yield ids[order], far[order]

    def _count(self, condition: str) -> int:
        if not self._kind:
            return 0
        (row,) = self._query(condition, "count(*)")
        return int(row["count(*)"])

    def _some(self, condition: str, where: Mapping[str, Any] | None) -> int:
        """How many items a condition holds for; raises InputError where none does."""
        count = self._count(condition)
        if not count:
            raise given.nothing(self._count(""), where)
        return count

    # ---- inside: rows

    def _query(self, condition: str, *fields: str, **more: Any) -> list[Any]:
        words = {"filter": condition, "output_fields": list(fields), **more}
        return list(self._server.ask("query", self._name, **words))

    def _all(self, *fields: str) -> Iterator[Any]:
        """Every row, in the order of ids."""
        if not self._kind:
            return

        def ask(limits: str) -> list[Any]:
            return self._query(limits, "id", *fields, limit=PAGE)

        for rows in _all_of(ask, PAGE, lambda row: row["id"]):
            yield from rows

    def _present(self, ids: np.ndarray) -> list[Any]:
        """Those of the ids that are in the collection, in their order."""
        rows = self._of(ids)
        return [one for one in ids.tolist() if one in rows]

    def _known(self, ids: Sequence[Any] | np.ndarray, *fields: str) -> list[Any]:
        """The rows of some items, in their order; raises InputError where one is missing."""
        read = self._read_ids(ids)
        rows = self._of(read, *fields)
        missing = [one for one in read.tolist() if one not in rows]
        if missing:
            raise InputError(f"{_outside(missing[0])!r} is not in the index")
        return [rows[one] for one in read.tolist()]

    def _of(self, ids: np.ndarray, *fields: str) -> dict[Any, Any]:
        """The rows that there are of some ids."""
        rows = {}
        for one_of in self._among(ids) if self._kind else ():
            for row in self._query(one_of, "id", *fields):
                rows[row["id"]] = row
        return rows

    def _among(self, ids: np.ndarray) -> Iterator[str]:
        """Conditions that hold for some ids, of a few each."""
        words = [_literal(one) for one in np.unique(ids)]
        for part in _parts([len(word) for word in words]):
            yield f"id in [{', '.join(words[part])}]"

    def _delete(self, ids: np.ndarray) -> None:
        for one_of in self._among(ids) if self._kind else ():
            self._server.ask("delete", self._name, filter=one_of)

    def _rows(
        self, ids: Any, packed: np.ndarray, meta: Any
    ) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Items as they are written; raises InputError for what cannot be."""
        ids = self._read_ids(ids)
        packed = combining.check_codes(packed, self.tables, "codes")
        if len(ids) != len(packed):
            raise InputError(f"ids and codes must be as many, got {len(ids)} and {len(packed)}")
        facts = columns.read(meta, len(ids)).of(range(len(ids)))
        unique, counts = np.unique(ids, return_counts=True)
        if len(unique) < len(ids):
            twice = _outside(unique[counts > 1].tolist()[0])
            raise InputError(f"ids must be new and differ, got {twice!r} twice")
        stored = [_meta(_outside(one), fact) for one, fact in zip(ids.tolist(), facts, strict=True)]
        parts = zip(ids.tolist(), self._stored(packed), stored, strict=True)
        return ids, [{"id": one, "code": code, "meta": known} for one, code, known in parts]

    def _write(self, rows: list[dict[str, Any]]) -> None:
        """Put rows in the place of those that have their ids: an id never stands there twice."""
        if not rows:
            return
        if not self._kind:
            self._make("INT64" if isinstance(rows[0]["id"], int) else "VARCHAR")
        for part in _parts([len(row["code"]) + _size(row["meta"]) for row in rows]):
            self._put(rows[part])

    def _put(self, rows: list[dict[str, Any]]) -> None:
        """Rows as they may be sent at once. In a file, where nobody else writes, new ones need not
        take a place: Milvus Lite looks for that among all rows, which takes longer the more there are.
        """
        new = []
        if self._server.in_file:
            present = set(self._present(self._array([row["id"] for row in rows])))
            new = [row for row in rows if row["id"] not in present]
            rows = [row for row in rows if row["id"] in present]
        for what, some in (("insert", new), ("upsert", rows)):
            if some:
                self._server.ask(what, self._name, data=some)

    def _make(self, kind: str) -> None:
        about = {
            "format": FORMAT,
            "bits": self.bits,
            "tables": list(self.tables),
            "notes": self.notes,
        }
        self._server.make(self._name, kind, 8 * -(-self.bits // 8), json.dumps(about))
        self._kind = kind

    # ---- inside: ids and codes

    @property
    def _dtype(self) -> type:
        return str if self._kind == "VARCHAR" else np.int64

    def _array(self, ids: list[Any]) -> np.ndarray:
        return np.array(ids, self._dtype)

    def _read_ids(self, ids: object) -> np.ndarray:
        """Ids as Milvus has them, int64 or text (n,); raises InputError for what it does not keep."""
        read = given.read_ids(ids)
        kind = "INT64" if read.dtype.kind == "i" else "VARCHAR"
        if self._kind and len(read) and kind != self._kind:
            raise InputError(f"the ids of this index are {KINDS[self._kind]}, got {KINDS[kind]}")
        shown = given.shown(read)
        for one in shown.tolist():
            _check_id(one)
        return shown if kind == "INT64" else np.array([_inside(one) for one in shown], str)

    def _stored(self, packed: np.ndarray) -> list[bytes]:
        """Codes as Milvus has them: whole bytes, and no padding between tables."""
        joined = codes.trim(files.join_tables(packed, self.tables), self.bits)
        return [row.tobytes() for row in joined]

    def _packed(self, stored: bytes) -> np.ndarray:
        """The inverse of `_stored`."""
        rows = np.frombuffer(stored, np.uint8).reshape(-1, -(-self.bits // 8))
        return files.split_tables(codes.pad(rows, self.bits), self.bits, self.tables)


def _all_of(
    ask: Callable[[str], list[Any]], most: int, key: Callable[[Any], Any]
) -> Iterator[list[Any]]:
    """All that can be asked for, in the order of ids, although an answer has `most` parts at most.

    Where it has so many there may be more: both sides of the middle one are asked for alone.
    """
    spans: list[tuple[Any, Any]] = [(None, None)]
    while spans:
        low, high = spans.pop()
        above = "" if low is None else f"id > {_literal(low)}"
        up_to = "" if high is None else f"id <= {_literal(high)}"
        parts = sorted(ask(_both(above, up_to)), key=key)
        if len(parts) < most:
            yield parts
        else:
            middle = key(parts[len(parts) // 2])
            spans += [(middle, high), (low, middle)]


def _parts(sizes: list[int]) -> Iterator[slice]:
    """Rows of some sizes, in bytes, as many at once as may be sent."""
    start = total = 0
    for row, size in enumerate(sizes):
        if row > start and (row - start == ROWS or total + size > BYTES):
            yield slice(start, row)
            start, total = row, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))


# ---- metadata, and conditions in Milvus's language


def _meta(name: object, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an item as it is stored; raises InputError where it is too much."""
    stored = {"facts": json.dumps(facts, sort_keys=True), "has": columns.texts(facts)}
    if _size(stored) > MOST_TEXT:
        raise InputError(f"metadata of an item may have {MOST_TEXT} bytes, those of {name!r} more")
    return stored


def _size(stored: Mapping[str, Any]) -> int:
    return len(json.dumps(stored))


def _facts(row: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(row["meta"]["facts"])


def _condition(where: Mapping[str, Any] | None) -> str:
    """The items that have all the values asked for; raises InputError as `Index.search`."""
    if where is None:
        return ""
    conditions = []
    for texts in columns.wanted(where):
        any_of = ", ".join(map(_literal, texts)) or '""'
        conditions.append(f'json_contains_any(meta["has"], [{any_of}])')
    return " and ".join(conditions)


def _both(one: str, other: str) -> str:
    return f"{one} and {other}" if one and other else one or other


def _literal(value: Any) -> str:
    """A value in a condition: backslashes and quotes are marked, all else stands for itself."""
    if not isinstance(value, str):
        return str(int(value))
    marked = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{marked}"'


def _inside(one: str) -> str:
    """Text as it is in Milvus."""
    return one.replace("&", "&0").replace("'", "&1")


def _outside(one: int | str) -> int | str:
    """The inverse of `_inside`."""
    return one if isinstance(one, int) else one.replace("&1", "'").replace("&0", "&")


def _check_id(one: int | str) -> None:
    """Raise InputError for an id that Milvus cannot keep, or be asked for."""
    if isinstance(one, int):
        if one == np.iinfo(np.int64).min:
            raise InputError(f"ids in Milvus must be above -2^63, got {one}")
        return
    if any(ord(sign) < 32 or "\ud800" <= sign <= "\udfff" for sign in one):
        raise InputError(f"ids in Milvus must be text without control characters, got {one!r}")
    if len(one.encode()) > MOST_TEXT:
        raise InputError(
            f"ids in Milvus may have {MOST_TEXT} bytes, got one of {len(one.encode())}"
        )
