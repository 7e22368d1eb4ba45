"""Which database items are relevant to a query, and how much: labels, checked and put into gain groups."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError

RELEVANCE = {"same_class": "(N,) integers", "shares_label": "(N, L) of 0 and 1", "levels": "(N, L) integers"}


@dataclass(frozen=True)
class Relevance:
    """Labels of queries and database under one rule of relevance.

    Pairs fall into G groups. One class or L levels: group = levels in common, plus L - 1 where the fine one (level 0)
    is, so that the group tells gain and relevance alike. Several labels: group = gain = labels in common.

    What classes are called decides nothing: on each level they are numbered 0..C-1, in the order of their names.

    Attributes:
        name: "same_class", "shares_label" or "levels".
        query, database: (Q, L) and (N, L): int64 ranks 0..C-1 of the classes per level, or bool per label.
        classes: of each level, the class that a rank stands for, int64 (C,) ascending; none for several labels.
    """

    name: str
    query: np.ndarray
    database: np.ndarray
    classes: tuple[np.ndarray, ...] = ()

    @property
    def shared(self) -> bool:
        """Whether items have any number of labels, rather than one class on each level."""
        return self.name == "shares_label"

    @cached_property
    def groups(self) -> int:
        """G, the number of gain groups."""
        if self.shared:
            return 1 + int(min(np.bitwise_count(masks).sum(1).max() for masks in (self.words[0], self.words[1].T)))
        return 2 * self.query.shape[1]

    @property
    def gain(self) -> np.ndarray:
        """Labels or levels in common, per group, int64 (G,)."""
        group = np.arange(self.groups)
        return group if self.shared else np.where(self.relevant, group - self.query.shape[1] + 1, group)

    @property
    def relevant(self) -> np.ndarray:
        """Whether the items of a group are relevant, bool (G,)."""
        return np.arange(self.groups) >= (1 if self.shared else self.query.shape[1])

    @property
    def query_labels(self) -> np.ndarray:
        """The labels of the queries as they were given, int64 (Q, L)."""
        if self.shared:
            return self.query.astype(np.int64)
        return np.stack([names[ranks] for names, ranks in zip(self.classes, self.query.T, strict=True)], 1)

    @cached_property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels as the compiled engine compares them: uint64 (Q, L) and (L, N), or label masks (Q, W) and (W, N)."""
        query, database = (_masks(x) if self.shared else x.astype(np.uint64) for x in (self.query, self.database))
        return query, np.ascontiguousarray(database.T)

    def group(self, rows: slice) -> np.ndarray:
        """Gain groups of some queries with every database item, int64 (rows, N)."""
        query = self.query[rows]
        if self.shared:
            return (query.astype(np.float32) @ self.database.T.astype(np.float32)).astype(np.int64)
        levels = np.arange(query.shape[1])
        weight = np.where(levels == 0, len(levels), 1)
        return sum(weight[i] * (query[:, i, None] == self.database[:, i]) for i in levels)


def check(
    relevance: str,
    query_labels: Any,
    database_labels: Any,
    queries: int,
    items: int,
    sides: tuple[str, str] = ("query codes", "database codes"),
) -> Relevance:
    """Check labels and bring them into (rows, L) form; `sides` says what there are so many of, for messages.

    Raises:
        InputError: unknown rule, wrong shape, type or number of labels, negative classes.
    """
    if relevance not in tuple(RELEVANCE):
        raise InputError(f"relevance must be one of {', '.join(RELEVANCE)}, got {relevance!r}")
    query = _labels(relevance, "query labels", query_labels, queries, sides[0])
    database = _labels(relevance, "database labels", database_labels, items, sides[1])
    if query.shape[1] != database.shape[1]:
        raise InputError(
            f"query and database labels must have equally many columns, got {query.shape[1]} and {database.shape[1]}"
        )
    if relevance == "shares_label":
        return Relevance(relevance, query.astype(bool), database.astype(bool))
    return _ranked(relevance, query, database)


def _ranked(name: str, query: np.ndarray, database: np.ndarray) -> Relevance:
    """Classes of any size, int64 (Q, L) and (N, L), as ranks 0..C-1 among those that occur on a level."""
    ranks, classes = np.empty((len(query) + len(database), query.shape[1]), np.int64), []
    for level, column in enumerate(np.concatenate([query, database]).T):
        names, ranks[:, level] = np.unique(column, return_inverse=True)
        classes.append(names)
    return Relevance(name, ranks[: len(query)], ranks[len(query) :], tuple(classes))


def _labels(relevance: str, name: str, labels: Any, count: int, side: str) -> np.ndarray:
    labels = codes.as_numpy(labels, name)
    form = f"{name} must be {RELEVANCE[relevance]} for {relevance}"
    kinds = "iub" if relevance == "shares_label" else "iu"
    dimensions = 1 if relevance == "same_class" else 2
    if labels.ndim != dimensions or labels.dtype.kind not in kinds or 0 in labels.shape[1:]:
        other = "(N, L) labels go with shares_label or levels" if dimensions == 1 else "(N,) labels go with same_class"
        hint = f"; {other}" if labels.ndim == 3 - dimensions else ""
        raise InputError(f"{form}, got {labels.shape} {labels.dtype}{hint}")
    if len(labels) != count:
        raise InputError(f"{name} must be as many as {side}, got {len(labels)} and {count}")
    if labels.min() < 0:
        raise InputError(f"{name} must not be negative, got {labels.min()}")
    if relevance == "shares_label" and labels.max() > 1:
        raise InputError(f"{form}, got {labels.max()}")
    if labels.max() > np.iinfo(np.int64).max:
        raise InputError(f"{name} must be below 2**63, got {labels.max()}")
    return labels.reshape(count, -1).astype(np.int64)


def _masks(labels: np.ndarray) -> np.ndarray:
    return codes.words(codes.pack(labels))  # (N, ceil(L / 64))
