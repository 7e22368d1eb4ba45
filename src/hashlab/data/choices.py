"""How a set of one's own is split: so many queries and training images of each class, and a seed.

A number is a count of images, a fraction a share of each class. A share never takes the last image
of a class: a class of one image trains, and is never asked for. What is drawn follows from the seed
and the position in the pool alone, as in `protocols`; the name of the set plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashlab import codes
from hashlab.data import protocols
from hashlab.data.protocols import Index, Protocol
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError

Amount = int | float | None  # a count, a share, or what is usual
QUERIES = 0.1  # of each class, where nothing else is said
GIVEN = ("query", "train", "database")  # names of splits that are parts already
MOST = 10**9  # of a count, and of a seed
LONGEST = 30  # characters of a number


@dataclass(frozen=True)
class Choice:
    """Queries and training images of each class, and the seed that says which.

    None: a tenth of each class for queries; everything else for training. Of images with several
    labels, a count is of each label, a share of all images.
    """

    query: Amount = None
    train: Amount = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_amount(self.query, "query")
        check_amount(self.train, "train")
        if type(self.seed) is not int or not 0 <= self.seed <= MOST:
            raise InputError(f"seed must be a whole number in 0..{MOST}, got {self.seed!r}")
        shares = [one for one in (self.query, self.train) if isinstance(one, float)]
        if sum(shares) > 1:
            raise InputError(
                "query and train are shares of the same images and at most 1 together, got"
                f" {self.query} and {self.train}"
            )

    @classmethod
    def read(cls, words: Mapping[str, Any]) -> Choice:
        """The choice that `words` says."""
        return cls(amount(words["query"]), amount(words["train"]), words["seed"])

    @property
    def words(self) -> dict[str, Any]:
        """The choice as JSON has it."""
        return {"query": _word(self.query), "train": _word(self.train), "seed": self.seed}

    def __str__(self) -> str:
        queries = _of_each(QUERIES if self.query is None else self.query)
        train = "the others" if self.train is None else _of_each(self.train)
        return f"queries: {queries}; training images: {train}; seed {self.seed}"

    def of(self, size: int) -> tuple[int, int]:
        """How many queries and training images a class of `size` images gives;
        more than it has where counts ask for them.
        """
        query = _part(QUERIES if self.query is None else self.query, size, size - 1)
        rest = max(size - query, 0)
        train = rest if self.train is None else _part(self.train, size, rest)
        return query, max(train, 1)


def of(query: Any, train: Any, seed: Any) -> Choice:
    """A choice; numbers may be NumPy's."""
    plain = [one.item() if isinstance(one, np.generic) else one for one in (query, train, seed)]
    return Choice(*plain)


def _part(wanted: int | float, size: int, most: int) -> int:
    """A count as it is; of a share, 1 at least and `most` at most."""
    if isinstance(wanted, int):
        return wanted
    return min(max(round(size * wanted), 1), most)


def _word(wanted: Amount) -> str:
    return "" if wanted is None else repr(wanted)


def _of_each(wanted: int | float) -> str:
    share = isinstance(wanted, float)
    return f"{wanted:.4g} of each class" if share else f"{wanted} of each class"


def amount(word: str | None, name: str = "the number") -> Amount:
    """The number that a word says, whole or between 0 and 1; None for no word.

    Raises InputError where it says none.
    """
    if not word:
        return None
    try:
        if len(word) > LONGEST or not word.isascii():
            raise ValueError
        value = int(word) if word.isdecimal() else float(word)
    except ValueError:
        raise InputError(_expected(name, word)) from None
    check_amount(value, name)
    return value


def check_amount(value: Any, name: str) -> None:
    """Raise InputError unless this is a count, a share, or nothing."""
    counts = type(value) is int and 1 <= value <= MOST
    shares = type(value) is float and 0 < value < 1
    if value is not None and not counts and not shares:
        given = codes.describe(value) if isinstance(value, np.ndarray) else value
        raise InputError(_expected(name, given))


def _expected(name: str, value: Any) -> str:
    return (
        f"{name} must be a whole number of images of each class, 1 or more, or a share between 0"
        f" and 1, got {str(value)[:40]!r}"
    )


def protocol(about: SetInfo, choice: Choice) -> Protocol:
    """The protocol of a set of one's own; its name is that of the set.

    Splits that are called query, train and database are taken as they are; without a database, the
    training images are searched.
    """
    if tuple(about.counts) in (GIVEN, GIVEN[:2]):
        return Protocol(about.name, about.name, "its parts are given", _given(choice.seed))
    text = f"{choice}; database = all but the queries"
    return Protocol(about.name, about.name, text, _drawn(choice, about))


def _given(seed: int) -> protocols.Rule:
    def rule(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        positions = protocols.positions(counts)
        train = positions["train"]
        held_out = protocols.tenth(f"own/{seed}", labels, train, least=1)
        return {"database": train} | positions | {"validation": held_out}

    return rule


def _drawn(choice: Choice, about: SetInfo) -> protocols.Rule:
    seed = f"own/{choice.seed}"

    def rule(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        draw = _draw_classes if labels.ndim == 1 else _draw_labels
        queries, train = draw(choice, labels, about)
        return {
            "query": queries,
            "train": train,
            "database": np.setdiff1d(np.arange(len(labels)), queries),
            "validation": protocols.tenth(seed, labels, train, least=1),
        }

    return rule


def _draw_classes(
    choice: Choice, labels: np.ndarray, about: SetInfo
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of queries and of training images, drawn class by class."""
    seed = f"own/{choice.seed}"
    values, sizes = np.unique(labels, return_counts=True)
    wanted = {int(value): choice.of(size) for value, size in _pairs(values, sizes)}
    short = [
        (about.classes[value], size)
        for value, size in _pairs(values, sizes)
        if sum(wanted[value]) > size
    ]
    if short:
        _refuse(choice, short, about)
    pool = np.arange(len(labels))
    queries = protocols.draw(f"{seed}/query", labels, pool, _column(wanted, 0))
    if not len(queries):
        raise InputError(f"{about.name}: no class has 2 images, one to ask and one to be searched")
    rest = np.setdiff1d(pool, queries)
    return queries, protocols.draw(f"{seed}/train", labels, rest, _column(wanted, 1))


def _pairs(values: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
    return list(zip(values.tolist(), sizes.tolist(), strict=True))


def _column(wanted: Mapping[int, tuple[int, int]], place: int) -> dict[int, int]:
    return {value: numbers[place] for value, numbers in wanted.items()}


def _refuse(choice: Choice, short: Sequence[tuple[str, int]], about: SetInfo) -> None:
    name, size = min(short, key=lambda one: one[1])
    query, train = choice.of(size)
    more = f" (and {len(short) - 1} other classes have too few)" if len(short) > 1 else ""
    images = "1 image" if size == 1 else f"{size} images"
    raise InputError(
        f"{about.name}: {name} has {images}, fewer than {query} to ask with and {train} to train"
        f" on{more}; ask for fewer with query and train, or for a share such as 0.1"
    )


def _draw_labels(
    choice: Choice, labels: np.ndarray, about: SetInfo
) -> tuple[np.ndarray, np.ndarray]:
    """As `_draw_classes`, of images with several labels: a count is of each label,
    a share of all images.
    """
    pool = np.arange(len(labels))
    query, train = choice.of(len(labels))
    whole = isinstance(choice.query, int)
    queries = _several(choice, "query", labels, pool, query, whole, about)
    rest = np.setdiff1d(pool, queries)
    if not len(rest):
        raise InputError(f"{about.name}: {len(pool)} images are all queries; ask for fewer")
    if choice.train is None:
        return queries, rest
    whole = isinstance(choice.train, int)
    return queries, _several(choice, "train", labels, rest, train, whole, about)


def _several(
    choice: Choice,
    name: str,
    labels: np.ndarray,
    candidates: np.ndarray,
    count: int,
    of_each: bool,
    about: SetInfo,
) -> np.ndarray:
    seed = f"own/{choice.seed}/{name}"
    if of_each:
        return protocols.draw_several(seed, labels, candidates, count, about.classes)
    together = np.zeros(len(labels), np.int64)
    return protocols.draw(seed, together, candidates, min(count, len(candidates)))
