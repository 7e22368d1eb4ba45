"""Which database items are relevant to a query, and how much:
labels, checked and put into gain groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hashlab import codes, labels
from hashlab.errors import InputError, check_word

RELEVANCE = {
    "same_class": "one class a row",
    "shares_label": "(N, C) of 0 and 1",
    "levels": "(N, L) classes",
}


@dataclass(frozen=True)
class Relevance:
    """Labels of queries and database under one rule of relevance.

    Pairs fall into G groups. One class or L levels: group = levels in common, plus L - 1 where the
    fine one (level 0) is, so that the group tells gain and relevance alike. Several labels: group =
    gain = labels in common.

    What classes are called decides nothing: on each level they are numbered 0..C-1, in the order of
    their names.

    Attributes:
        name: "same_class", "shares_label" or "levels".
        query, database: (Q, L) and (N, L): int64 ranks 0..C-1 of the classes per level, or bool per
            label.
        classes: of each level, the class that a rank stands for, int64 or text (C,) ascending; none
            for several labels.
    """

    name: str
    query: np.ndarray
    database: np.ndarray
    classes: tuple[np.ndarray, ...] = ()

    @property
    def several(self) -> bool:
        """Whether items have any number of labels, rather than one class on each level."""
        return self.name == "shares_label"

    @cached_property
    def groups(self) -> int:
        """G, the number of gain groups."""
        if not self.several:
            return 2 * self.query.shape[1]
        query, database = self.words
        most_of_query = np.bitwise_count(query).sum(1).max()  # labels of one image
        most_of_database = np.bitwise_count(database.T).sum(1).max()
        return 1 + int(min(most_of_query, most_of_database))

    @property
    def gain(self) -> np.ndarray:
        """Labels or levels in common, per group, int64 (G,)."""
        group = np.arange(self.groups)
        if self.several:
            return group
        levels = self.query.shape[1]
        return np.where(self.relevant, group - levels + 1, group)

    @property
    def relevant(self) -> np.ndarray:
        """Whether the items of a group are relevant, bool (G,)."""
        first = 1 if self.several else self.query.shape[1]
        return np.arange(self.groups) >= first

    @property
    def query_labels(self) -> np.ndarray:
        """The labels of the queries as they were given, int64 or text (Q, L)."""
        if self.several:
            return self.query.astype(np.int64)
        levels = zip(self.classes, self.query.T, strict=True)
        return np.stack([names[ranks] for names, ranks in levels], 1)

    @cached_property
    def words(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels as the compiled engine compares them:
        uint64 (Q, L) and (L, N), or label masks (Q, W) and (W, N).
        """
        as_words = _masks if self.several else _classes
        database = as_words(self.database).T
        return as_words(self.query), np.ascontiguousarray(database)

    def group(self, rows: slice) -> np.ndarray:
        """Gain groups of some queries with every database item, int64 (rows, N)."""
        query = self.query[rows]
        if self.several:
            in_common = query.astype(np.float32) @ self.database.T.astype(np.float32)
            return in_common.astype(np.int64)
        group = np.zeros((len(query), len(self.database)), np.int64)
        for level, names in enumerate(self.database.T):
            weight = query.shape[1] if level == 0 else 1
            group += weight * (query[:, level, None] == names)
        return group


def check(
    relevance: str,
    query_labels: Any,
    database_labels: Any,
    queries: int,
    items: int,
    sides: tuple[str, str] = ("query codes", "database codes"),
) -> Relevance:
    """Check labels in any form (see `hashlab.labels`) and bring them into (rows, L) form;
    `sides` says what there are so many of, for messages.

    Labels of a single column are classes, and share a label where they are the same one.

    Raises:
        InputError: unknown rule, wrong shape, type or number of labels, negative classes.
    """
    check_word("relevance", relevance, RELEVANCE)
    query = _table("query labels", query_labels, relevance)
    database = _table("database labels", database_labels, relevance)
    columns = query.shape[1:], database.shape[1:]
    if relevance == "shares_label" and columns == ((1,), (1,)):
        relevance = "same_class"
    rows = _columns(relevance, "query labels", query, queries, sides[0])
    others = _columns(relevance, "database labels", database, items, sides[1])
    if len(rows) != len(others):
        raise InputError(
            f"query and database labels must have equally many columns, got {len(rows)} and "
            f"{len(others)}"
        )
    if relevance == "shares_label":
        return Relevance(relevance, np.stack(rows, 1), np.stack(others, 1))
    together = [labels.ranked_together(*level) for level in zip(rows, others, strict=True)]
    classes, ranks, other_ranks = zip(*together, strict=True)
    return Relevance(relevance, np.stack(ranks, 1), np.stack(other_ranks, 1), classes)


_OTHERS = {  # number of axes -> the rules that take such labels, for messages
    1: "; (N,) labels go with same_class",
    2: "; (N, L) labels go with shares_label or levels",
}


def _table(name: str, given: Any, relevance: str) -> np.ndarray:
    """Labels as an array that has as many axes as the rule allows."""
    given = codes.as_numpy(given, name)
    axes = (1, 2) if relevance == "same_class" else (2,)
    if given.ndim not in axes or 0 in given.shape[1:]:
        hint = "" if given.ndim in axes else _OTHERS.get(given.ndim, "")
        raise InputError(
            f"{name} must be {RELEVANCE[relevance]} for {relevance}, got {codes.describe(given)}"
            f"{hint}"
        )
    return given


def _columns(
    relevance: str, name: str, given: np.ndarray, count: int, side: str
) -> list[np.ndarray]:
    """What an item has on each level, or of each label: L arrays (N,)."""
    if len(given) != count:
        raise InputError(f"{name} must be as many as {side}, got {len(given)} and {count}")
    if relevance == "shares_label":
        return list(labels.several(given, name).T)
    if relevance == "levels":
        return labels.levels(given, name)
    if not labels.has_one_class(given):
        raise InputError(
            f"{name} must be one class a row for same_class, got {codes.describe(given)}{_OTHERS[2]}"
        )
    return [labels.one_class(given, name)]


def _masks(labels: np.ndarray) -> np.ndarray:
    return codes.words(codes.pack(labels))  # (N, ceil(L / 64))


def _classes(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.uint64)  # (N, L)
