"""What is known of items beside their codes: for each name a column of JSON values.

A column holds its distinct values once, and for every item which of them it has.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hashlab.errors import InputError

NOTHING = -1  # the rank of an item without a value


@dataclass(frozen=True)
class Columns:
    """Metadata of N items.

    Attributes:
        size: N.
        values: name -> the distinct values.
        ranks: name -> of each item the place of its value, int32 (N,), or `NOTHING`.
    """

    size: int
    values: dict[str, list[Any]] = field(default_factory=dict)
    ranks: dict[str, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Columns:
        """Those of some items, in another order."""
        ranks = {name: ranks[rows] for name, ranks in self.ranks.items()}
        return Columns(len(rows), self.values, ranks)

    def of(self, rows: Iterable[int]) -> list[dict[str, Any]]:
        """A dict per item, of the names that have a value; lists and dicts are copies."""
        return [
            {
                name: copy.deepcopy(self.values[name][ranks[row]])
                for name, ranks in self.ranks.items()
                if ranks[row] != NOTHING
            }
            for row in rows
        ]

    def matching(self, where: Mapping[str, Any]) -> np.ndarray:
        """Which items have all the values asked for, bool (N,).

        A list asks for any of its values; an item whose value is a list has each of them.

        Raises:
            InputError: `where` is no mapping, or names a column that there is not.
        """
        _check_where(where)
        unknown = [name for name in where if name not in self.values]
        if unknown:
            names = ", ".join(sorted(self.values)) or "nothing"
            raise InputError(f"where asks for {unknown[0]!r}; the items have: {names}")
        fits = np.ones(self.size, bool)
        for name, wanted in where.items():
            fits &= self._having(name, wanted)
        return fits

    def _having(self, name: str, wanted: Any) -> np.ndarray:
        texts = _texts(_plain(name, wanted))
        good = [bool(texts & _texts(value)) for value in self.values[name]]
        return np.array([*good, False])[self.ranks[name]]  # `NOTHING` is the last one

    def canonical(self) -> Columns:
        """The same metadata in the one form that does not depend on how they came to be."""
        values: dict[str, list[Any]] = {}
        ranks: dict[str, np.ndarray] = {}
        for name in sorted(self.values):
            used = np.unique(self.ranks[name])
            used = used[used != NOTHING].tolist()
            if not used:
                continue
            used.sort(key=lambda rank, own=self.values[name]: _text(own[rank]))
            values[name] = [self.values[name][rank] for rank in used]
            places = np.full(len(self.values[name]) + 1, NOTHING, np.int32)
            places[used] = np.arange(len(used))
            ranks[name] = places[self.ranks[name]]
        return Columns(self.size, values, ranks)


def joined(first: Columns, second: Columns) -> Columns:
    """The metadata of some items and of others behind them."""
    values: dict[str, list[Any]] = {}
    ranks: dict[str, np.ndarray] = {}
    for name in {**first.values, **second.values}:
        values[name] = list(first.values.get(name, ()))
        place = {_text(value): rank for rank, value in enumerate(values[name])}
        moved = [_ranked(value, values[name], place) for value in second.values.get(name, ())]
        later = np.array([*moved, NOTHING], np.int32)[_ranks(second, name)]
        ranks[name] = np.concatenate([_ranks(first, name), later])
    return Columns(first.size + second.size, values, ranks)


def _ranks(columns: Columns, name: str) -> np.ndarray:
    """Those of a column; `NOTHING` throughout where there is none of that name."""
    if name in columns.ranks:
        return columns.ranks[name]
    return np.full(columns.size, NOTHING, np.int32)


def read(meta: object, size: int) -> Columns:
    """Metadata as they are given.

    Args:
        meta: a dict for each item, or a dict of as many values for each name; None: there are none.
            None among the values stands for none, too.
        size: how many items there are.

    Raises:
        InputError: of another form or length, or with values that JSON does not know.
    """
    if meta is None:
        return Columns(size)
    if isinstance(meta, Mapping):
        given = {name: _listed(name, values, size) for name, values in meta.items()}
    else:
        rows = _listed("meta", meta, size)
        if not all(isinstance(row, Mapping) for row in rows):
            raise InputError("meta must be a list of dicts, or a dict of lists")
        names = dict.fromkeys(name for row in rows for name in row)
        given = {name: [row.get(name) for row in rows] for name in names}
    columns = Columns(size)
    for name, values in given.items():
        _add(columns, name, values)
    return columns


def texts(facts: Mapping[str, Any]) -> list[str]:
    """What tells of an item whether it has a value, for each of its values a text."""
    return sorted(
        {f"{_text(name)}:{one}" for name, value in facts.items() for one in _texts(value)}
    )


def wanted(where: Mapping[str, Any]) -> list[list[str]]:
    """For each name that is asked for the texts of which an item has one; see `texts`.

    Raises InputError where that is no mapping, or asks for what JSON does not know.
    """
    _check_where(where)
    return [
        sorted(f"{_text(name)}:{one}" for one in _texts(_plain(name, value)))
        for name, value in where.items()
    ]


def _check_where(where: object) -> None:
    if not isinstance(where, Mapping):
        raise InputError(f"where must be a dict as {{'label': 'cat'}}, got {where!r}")


def _listed(name: object, values: object, size: int) -> list[Any]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != size:
        length = f"{len(values)}" if isinstance(values, Sequence) else type(values).__name__
        raise InputError(f"{name} must have a value for each of {size} items, got {length}")
    return list(values)


def _add(columns: Columns, name: object, given: list[Any]) -> None:
    if not isinstance(name, str):
        raise InputError(f"names of metadata must be text, got {name!r}")
    values: list[Any] = []
    place: dict[str, int] = {}
    ranks = [
        NOTHING if value is None else _ranked(_plain(name, value), values, place) for value in given
    ]
    columns.values[name] = values
    columns.ranks[name] = np.array(ranks, np.int32)


def _ranked(value: Any, values: list[Any], place: dict[str, int]) -> int:
    """The place of a value among the distinct ones, which it joins where it is new."""
    text = _text(value)
    if text not in place:
        place[text] = len(values)
        values.append(value)
    return place[text]


def _plain(name: str, value: Any) -> Any:
    """A value as JSON gives it back."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{name} must be a value that JSON knows, got {value!r}")
    try:
        return json.loads(_text(value))
    except (TypeError, ValueError, RecursionError):
        raise InputError(
            f"{name} must be a value that JSON knows, got {type(value).__name__}"
        ) from None


def _texts(value: Any) -> set[str]:
    """Those of a value, or of each in a list."""
    return {_text(one) for one in (value if isinstance(value, list) else [value])}


def _text(value: Any) -> str:
    """What tells values apart: 1, 1.0, true and "1" are four."""
    return json.dumps(value, sort_keys=True, allow_nan=False)
