"""Ids and numbers as they are given: read, checked, and shown again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError


def read_ids(ids: object) -> np.ndarray:
    """Ids as int64, or text as its bytes, (n,)."""
    given = ids if isinstance(ids, np.ndarray) else np.array(_list(ids))
    if given.ndim == 1 and not len(given):
        return np.empty(0, np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iuU":
        raise InputError(f"ids must be (N,) whole numbers or text, got {codes.describe(given)}")
    if given.dtype.kind == "U":
        return _as_bytes(given.tolist() if isinstance(ids, np.ndarray) else list(ids))  # type: ignore[call-overload]
    if given.dtype == np.uint64 and given.max() > np.iinfo(np.int64).max:
        raise InputError(f"ids must be whole numbers below 2^63, got {given.max()}")
    return given.astype(np.int64)


def _list(ids: object) -> list[Any]:
    """Ids that all are whole numbers or all are text, as NumPy would not insist on."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Sequence):
        raise InputError(f"ids must be (N,) whole numbers or text, got {type(ids).__name__}")
    kinds = {str if isinstance(one, str) else type(one) for one in ids}
    if len(kinds) > 1 and not all(issubclass(kind, int | np.integer) for kind in kinds):
        names = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise InputError(f"ids must be all whole numbers or all text, got {names}")
    return list(ids)


def _as_bytes(ids: list[str]) -> np.ndarray:
    """Text as UTF-8, whose bytes are in the order of its code points."""
    if any("\0" in one for one in ids):
        raise InputError("ids must be text without NUL characters, got one with")
    try:
        return np.array([one.encode("utf-8", "surrogateescape") for one in ids], "S")
    except UnicodeEncodeError:
        raise InputError("ids must be text that UTF-8 knows, got a lone surrogate") from None


def shown(ids: np.ndarray) -> np.ndarray:
    """Ids as they were given."""
    if ids.dtype.kind != "S":
        return ids
    return np.char.decode(ids, "utf-8", "surrogateescape")


def either(value: object) -> str:
    """Values of which any is asked for, in words."""
    return " or ".join(dict.fromkeys(map(str, value if isinstance(value, list) else [value])))


def nothing(count: int, where: Mapping[str, Any] | None) -> InputError:
    """The error for a search among nothing: of `count` items none has what is asked for."""
    if not count or where is None:
        return InputError("the index is empty: there is nothing to search")
    words = ", ".join(f"{name}={either(value)}" for name, value in where.items())
    return InputError(f"none of the {count} items has {words}")


def whole(name: str, number: object, least: int, most: int | None) -> int:
    whole = isinstance(number, int | np.integer) and not isinstance(number, bool)
    if not whole or number < least or (most is not None and number > most):  # type: ignore[operator]
        limits = f"of {least} or more" if most is None else f"in {least}..{most}"
        items = "" if most is None else ", the items that are searched"
        raise InputError(f"{name} must be a whole number {limits}{items}, got {number!r}")
    return int(number)  # type: ignore[call-overload]
