"""Labels in every usual form, and what their owner means by them: the one place that decides it.

One class an item: whole numbers of any type (floats and truth values too) with or without gaps, or
text, as (N,) or as a single column (N, 1); or one-hot, 0/1 (N, C) of any type with exactly one 1 in
each row. Such labels become ranks 0..C-1 in the order of their names, so that nothing depends on
what classes are called.

Several labels an item: 0/1 (N, C) of any type, with two columns at least. A single column is never
that: it is one class an item, whatever is in it.

A one-hot matrix is thus both. Who asks for one class reads ranks in it, and who asks for labels
that are shared reads 0/1: two items share a label exactly where they are of one class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError

WANTED = "whole numbers or text"


def ranked(
    labels: Any, name: str = "labels", *, negative: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The classes that occur, in their order, and which of them each item has.

    Args:
        labels: one class an item, in any form (see above): array, list or tensor.
        name: what they are called in messages.
        negative: whether a class may be called -1, as in scikit-learn; elsewhere that often says
            that an item has no class, and is refused.

    Returns:
        Names, int64 or text (C,), ascending; ranks, int64 (N,) in 0..C-1.

    Raises:
        InputError: several labels an item, fractions, NaN, negative numbers, empty or no text.

    Example:
        >>> from hashlab import labels
        >>> names, ranks = labels.ranked([90000, 3, 90000])
        >>> names.tolist(), ranks.tolist()
        ([3, 90000], [1, 0, 1])
    """
    names, ranks = np.unique(one_class(labels, name, negative), return_inverse=True)
    return names, ranks.reshape(-1).astype(np.int64)


def ranked_together(
    query: np.ndarray, database: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The classes of both sides, and the ranks of either; sides as `one_class` gives them.

    Raises InputError where one side has numbers and the other text.
    """
    if query.dtype.kind != database.dtype.kind:
        kinds = ["text" if side.dtype.kind == "U" else "numbers" for side in (query, database)]
        raise InputError(
            "query and database labels must be of one kind, "
            f"got {kinds[0]} for queries and {kinds[1]} for the database"
        )
    names, ranks = ranked(np.concatenate([query, database]))
    return names, ranks[: len(query)], ranks[len(query) :]


def one_class(labels: Any, name: str = "labels", negative: bool = False) -> np.ndarray:
    """The class of each item, int64 or text (N,), of labels in any form;
    that of a one-hot row is its column. Raises InputError as `ranked`.
    """
    values = _values(labels, name, negative)
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if is_one_hot(values):
        return values.argmax(1)
    if values.ndim != 1:
        raise InputError(f"{name} must be one class a row, {WANTED}, got {codes.describe(values)}")
    return values


def several(labels: Any, name: str = "labels") -> np.ndarray:
    """Which labels each item has, bool (N, C), of 0 and 1 in any type.

    Raises:
        InputError: other values, or other than two columns or more.

    Example:
        >>> from hashlab import labels
        >>> labels.several([[0, 1, 1], [1, 0, 0]]).tolist()
        [[False, True, True], [True, False, False]]
    """
    values = _values(labels, name)
    form = f"{name} must be (N, C) of 0 and 1, C at least 2"
    if values.ndim != 2 or values.shape[1] < 2 or values.dtype.kind == "U":
        raise InputError(f"{form}, got {codes.describe(values)}")
    if not _of_zeros_and_ones(values):
        raise InputError(f"{form}, got {values.max()}")
    return values.astype(bool)


def levels(labels: Any, name: str = "labels") -> list[np.ndarray]:
    """The class of each item on each level, L arrays of int64 or text (N,), of (N, L) in any type.

    Raises InputError where it is no table, and as `ranked`.
    """
    labels = codes.as_numpy(labels, name)
    if labels.ndim != 2 or labels.shape[1] == 0:
        raise InputError(f"{name} must be (N, L) {WANTED}, got {codes.describe(labels)}")
    return [_values(column, name) for column in labels.T]


def has_one_class(labels: Any, name: str = "labels") -> bool:
    """Whether labels say one class an item: an axis, a single column, or one-hot."""
    labels = _plain(codes.as_numpy(labels, name))
    return labels.ndim != 2 or labels.shape[1] == 1 or is_one_hot(labels)


def is_one_hot(labels: np.ndarray) -> bool:
    """Whether labels are numbers 0/1 (N, C), two columns at least, with one 1 in every row."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return False
    return _of_zeros_and_ones(labels) and bool((np.count_nonzero(labels, axis=1) == 1).all())


def texts(names: np.ndarray) -> tuple[str, ...]:
    """Names of classes as text: numbers as they are written."""
    return tuple(str(name) for name in names.tolist())


def _of_zeros_and_ones(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _values(labels: Any, name: str, negative: bool = False) -> np.ndarray:
    """Labels as int64 or text, of the shape they have; raises InputError for what is neither."""
    labels = _plain(codes.as_numpy(labels, name))
    if labels.dtype.kind in "SU":
        return _text(labels, name)
    if labels.dtype.kind not in "biuf":
        raise InputError(f"{name} must be {WANTED}, got {codes.describe(labels)}")
    whole = _whole(labels, name)
    if not negative and whole.size and whole.min() < 0:
        raise InputError(f"{name} must not be negative, got {whole.min()}")
    return whole


def _plain(labels: np.ndarray) -> np.ndarray:
    """An array of objects as one of numbers or text, where they are all of that kind."""
    if labels.dtype.kind not in "OT":
        return labels
    kinds = {type(value) for value in labels.ravel().tolist()}
    if not kinds or not all(
        issubclass(kind, (str, bytes, int, float, np.number)) for kind in kinds
    ):
        return labels
    in_text = {issubclass(kind, (str, bytes)) for kind in kinds}
    return labels if len(in_text) > 1 else np.array(labels.tolist())


def _text(labels: np.ndarray, name: str) -> np.ndarray:
    """Text of one character at least; bytes are UTF-8."""
    if labels.dtype.kind == "S":
        try:
            labels = np.char.decode(labels, "utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{name} must be text in UTF-8, got other bytes") from None
    if (labels == "").any():
        raise InputError(f"{name} must be text of one character or more, got an empty one")
    return labels


def _whole(labels: np.ndarray, name: str) -> np.ndarray:
    """Whole numbers that fit, as int64."""
    if not labels.size:
        return labels.astype(np.int64)
    if labels.dtype.kind == "f":
        fractions = labels[~(np.trunc(labels) == labels)]  # NaN is unequal to itself
        if len(fractions):
            raise InputError(
                f"{name} must be {WANTED}, got {fractions[0]} among {codes.describe(labels)}"
            )
    for value in (labels.min(), labels.max()):
        if not -(2**63) <= value.item() < 2**63:
            raise InputError(f"{name} must lie within 2**63 of 0, got {value}")
    return labels.astype(np.int64)
