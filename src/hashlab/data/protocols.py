"""Named protocols: which images are queries, which train, which are searched.

A protocol is a list of positions in the pool (the official splits in canonical order, train then
test). Where images are drawn, they are drawn per class, in the order of
SHA-256(seed name / position): no random generator of any library is involved, so the same images
come out everywhere and for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hashlab.errors import InputError, unknown

Index = dict[str, np.ndarray]
Rule = Callable[[np.ndarray, Mapping[str, int]], Index]


@dataclass(frozen=True)
class Protocol:
    """A named rule that turns labels (N,) and split sizes into index lists,
    and the checksum they must have.
    """

    name: str
    dataset: str
    about: str
    rule: Rule
    checksum: str = (
        ""  # of the lists that `split` makes: see `checksum`; empty where nobody has seen the set
    )
    most: int = 0  # so many labels count, the most frequent of several; 0 for all


def draw(
    seed: str, labels: np.ndarray, candidates: np.ndarray, count: int | Mapping[int, int]
) -> np.ndarray:
    """`count` images of each class among the candidates, in ascending order of position.

    Args:
        seed: names the draw; other names give other images.
        labels: (N,) class of every image of the pool.
        candidates: (M,) positions to draw from.
        count: how many per class, or a mapping from class to how many.
    """
    if not len(candidates):
        raise InputError(f"images to draw {seed} from are expected, got none")
    order = np.array(_in_order_of(f"{seed}/", candidates), dtype=np.int64)
    order = order[np.argsort(labels[order], kind="stable")]  # class after class
    values, starts = np.unique(labels[order], return_index=True)
    chosen = []
    for label, members in zip(values.tolist(), np.split(order, starts[1:]), strict=True):
        want = count if isinstance(count, int) else count[label]
        if len(members) < want:
            raise InputError(f"class {label}: {want} images wanted, {len(members)} there")
        chosen.append(members[:want])
    return np.sort(np.concatenate(chosen))


def _in_order_of(seed: str, numbers: np.ndarray) -> list[int]:
    """Numbers (N,) in the order of SHA-256 of the seed with the number behind it."""
    return sorted(numbers.tolist(), key=lambda n: hashlib.sha256(f"{seed}{n}".encode()).digest())


def tenth(seed: str, labels: np.ndarray, train: np.ndarray, least: int = 0) -> np.ndarray:
    """The validation part: a tenth of each class of `train`,
    of all of it where images have several labels.

    `least` images of a class at least, as long as one is left to train on.
    """
    classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    values, sizes = np.unique(classes[train], return_counts=True)
    tenths = [max(round(size / 10), min(least, size - 1)) for size in sizes.tolist()]
    count = dict(zip(values.tolist(), tenths, strict=True))
    return draw(f"{seed}/validation", classes, train, count)


def drawn(seed: str, query: int, train: int, *, train_in_database: bool) -> Rule:
    """Pool everything; draw `query` and `train` images per class;
    search the rest, with or without the train part.
    """

    def rule(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        take = draw if labels.ndim == 1 else draw_several
        pool = np.arange(len(labels))
        queries = take(f"{seed}/query", labels, pool, query)
        rest = np.setdiff1d(pool, queries)
        trained = take(f"{seed}/train", labels, rest, train)
        database = rest if train_in_database else np.setdiff1d(rest, trained)
        return {"query": queries, "train": trained, "database": database}

    return rule


def draw_several(
    seed: str,
    labels: np.ndarray,
    candidates: np.ndarray,
    count: int,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """As `draw`, for images with several labels (N, L), which may have `names`.

    Class after class, `count` of those images that have it and were not drawn before.
    """
    left = np.zeros(len(labels), bool)
    left[candidates] = True
    chosen = []
    for label in range(labels.shape[1]):
        members = np.flatnonzero(left & (labels[:, label] == 1))
        if len(members) < count:
            wanted = f"{count} images wanted for {seed}, {len(members)} there"
            if names is not None:
                wanted = (
                    f"{count} images wanted, besides those of other labels; {len(members)} there"
                )
            concept = f"concept {label + 1}" if names is None else names[label]
            raise InputError(f"{concept}: {wanted}")
        drawn_now = draw(f"{seed}/{label}", np.full(len(labels), label), members, count)
        left[drawn_now] = False
        chosen.append(drawn_now)
    return np.sort(np.concatenate(chosen))


def official(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """The official test images query the official training images,
    which are both train part and database.
    """
    train = np.arange(counts["train"])
    return {"query": np.arange(counts["train"], len(labels)), "train": train, "database": train}


def labelled(rule: Rule) -> Rule:
    """As `rule`, less the images that have none of several labels."""

    def fewer(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        has_any = labels.any(1)
        return {name: rows[has_any[rows]] for name, rows in rule(labels, counts).items()}

    return fewer


def most_frequent(labels: np.ndarray, count: int) -> np.ndarray:
    """The columns (count,) of 0/1 labels (N, L) that most images have, in falling order.

    Of equally frequent ones the earlier column comes first. Raises InputError where there are
    fewer than `count`.
    """
    if labels.shape[1] < count:
        raise InputError(f"{count} labels or more are expected, the set has {labels.shape[1]}")
    frequency = labels.sum(0, dtype=np.int64)
    return np.argsort(-frequency, kind="stable")[:count]


def without(rule: Rule, queries: tuple[int, ...]) -> Rule:
    """As `rule`, less the queries at these positions within the test split."""

    def fewer(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        index = rule(labels, counts)
        left_out = counts["train"] + np.array(queries)
        return index | {"query": np.setdiff1d(index["query"], left_out)}

    return fewer


def scenes(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """The parts that `digit_scenes` was made in: query, validation, other train, rest;
    database = all but query.
    """
    split = positions(counts)
    train = np.concatenate([split["validation"], split["train"]])
    return {
        "query": split["query"],
        "train": train,
        "validation": split["validation"],
        "database": np.concatenate([train, split["rest"]]),
    }


def as_listed(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """What the lists test, train and database name;
    whether the database holds the train part is theirs to say.
    """
    none = np.arange(0)
    split = {"train": none, "both": none, "rest": none} | positions(counts)
    return {
        "query": split["test"],
        "train": np.concatenate([split["train"], split["both"]]),
        "database": np.concatenate([split["both"], split["rest"]]),
    }


def positions(counts: Mapping[str, int]) -> Index:
    """The pool positions of every official split."""
    ends = np.cumsum(list(counts.values())).tolist()
    return {
        name: np.arange(end - count, end)
        for (name, count), end in zip(counts.items(), ends, strict=True)
    }


def held_back(seed: str, classes: np.ndarray) -> np.ndarray:
    """A quarter of the classes, rounded up, in the order of SHA-256(seed/unseen/class)."""
    order = _in_order_of(f"{seed}/unseen/", classes)
    return np.sort(order[: -(-len(classes) // 4)])


def unseen(seed: str, rule: Rule) -> Rule:
    """As `rule`, but trained on three quarters of the classes and asked about the others.

    Queries and database are those of the held-back classes, the train part those of the rest.
    """

    def split_by_class(labels: np.ndarray, counts: Mapping[str, int]) -> Index:
        hidden = np.isin(labels, held_back(seed, np.unique(labels)))
        index = rule(labels, counts)
        wanted = {name: hidden if name != "train" else ~hidden for name in index}
        return {name: rows[wanted[name][rows]] for name, rows in index.items()}

    return split_by_class


# Test images of CIFAR-100 (positions in canonical order) whose pixels also stand in its train
# split.
CIFAR100_IN_TRAIN = (610, 1666, 2335, 2522, 2533, 3063, 3130, 5184, 5267, 8930)

DIGITS_RULE = drawn("digits", 30, 120, train_in_database=True)
TEN_CLASSES = "100 queries and 500 training images per class of the pooled"

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "digits",
            "digits",
            "30 queries and 120 training images per class; database = all but the queries (1,497)",
            DIGITS_RULE,
            "be6f72fa5ab96db7cae5fa8822fa72ca8d1f6bb19cc697927229505d0f90273c",
        ),
        Protocol(
            "digits-unseen",
            "digits",
            "digits, trained on 7 digits, asked about the other 3",
            unseen("digits", DIGITS_RULE),
            "03085434afbc0f7301b3a87e9eeb19932fbbec49c217f3b6fa31fcd2b6e4f52a",
        ),
        Protocol(
            "digit_tree",
            "digit_tree",
            "the images of the protocol digits",
            DIGITS_RULE,
            "2c7af4ba4c6e673cdbd576f58613b2c3b73a4ca65d5277e95a8442dada1fadc4",
        ),
        Protocol(
            "digit_scenes",
            "digit_scenes",
            "300 query and 1,200 training scenes; database = all but the queries (1,497)",
            scenes,
            "369a6a2daa87d200b76d2eed833c3a30b63bfd7974134a7ccf7df4e51a21791d",
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
            f"{TEN_CLASSES} 70,000; database = all but the queries (69,000)",
            drawn("mnist-1k", 100, 500, train_in_database=True),
            "4d8e9ed56b5bc245e34d56a14e51bbb5e3aafd576be4f534b10c6d0cc85d3ba5",
        ),
        Protocol(
            "mnist-unseen",
            "mnist",
            "mnist-full, trained on 7 digits, asked about the other 3",
            unseen("mnist", official),
            "fa3abd480489cc91bf67ec49bdf6724d38f93f7cfb7200ad7af8bbdfa8eadff5",
        ),
        Protocol(
            "cifar10-54k",
            "cifar10",
            f"{TEN_CLASSES} 60,000; database = all others (54,000)",
            drawn("cifar10-1k", 100, 500, train_in_database=False),
            "f4ff130aa1709bbae1b6ae7a5cdd3afc160b4ca81c234d25eb3197fce8a457ed",
        ),
        Protocol(
            "cifar10-59k",
            "cifar10",
            (
                f"{TEN_CLASSES} 60,000, the same as in cifar10-54k; database = all but the queries "
                "(59,000)"
            ),
            drawn("cifar10-1k", 100, 500, train_in_database=True),
            "87c3e1b60776d0d525454bbb0e38196f8ce31833af21dc7251c0a72d5b8af7ff",
        ),
        Protocol(
            "cifar10-full",
            "cifar10",
            "10,000 test images query the 50,000 training images",
            official,
            "cb665ae74b73913b1f627911d0d13ba5006b1d7415636e1e157cfe440072ac71",
        ),
        Protocol(
            "cifar10-unseen",
            "cifar10",
            "cifar10-full, trained on 7 classes, asked about the other 3",
            unseen("cifar10", official),
            "94991d4464002d7474f50bbe23b614eab4c22267ea9f7be6fce229fbd5d81cde",
        ),
        Protocol(
            "cifar100",
            "cifar100",
            (
                "10,000 test images query the 50,000 training images; the pixels of 10 queries "
                "stand in the database too"
            ),
            official,
            "de3fc5ce813090008b95b397855d5d68885422c39be19b687a2ae1867772a341",
        ),
        Protocol(
            "cifar100-clean",
            "cifar100",
            "cifar100 less those 10 queries",
            without(official, CIFAR100_IN_TRAIN),
            "d5f0ac55aea4513be8a34f6962e7e0ccd416437002457f6b4998dcd469cac797",
        ),
        Protocol(
            "cifar100-unseen",
            "cifar100",
            "cifar100-clean, trained on 75 classes, asked about the other 25",
            unseen("cifar100", without(official, CIFAR100_IN_TRAIN)),
            "7a5d766373afa8152a296fb490d2e4d7c40af26e334c20da45d1be62ff0f43d7",
        ),
        Protocol(
            "nuswide21",
            "nuswide21",
            (
                "100 queries and 500 training images per concept of all that are listed; database "
                "= all but the queries"
            ),
            drawn("nuswide21", 100, 500, train_in_database=True),
        ),
        Protocol(
            "nuswide81",
            "nuswide81",
            "the images of test.txt query those of database.txt; train.txt trains",
            as_listed,
        ),
        Protocol(
            "corel5k",
            "corel5k",
            "the official test images query the official training images; all words count",
            labelled(official),
            "3acce675db5e6a7b0ba3505d6f958220b6fe9d1b7c9f00bf32d674b962d2b69b",
        ),
        Protocol(
            "corel5k81",
            "corel5k",
            "the 81 most frequent words count; corel5k less the images that have none of them",
            labelled(official),
            "e9aaf5a9a389a651e8d889661f870f778bbf7c0877e1eac65e6f890c72919b39",
            most=81,
        ),
        Protocol(
            "corel5k21",
            "corel5k",
            "the 21 most frequent words count; corel5k less the images that have none of them",
            labelled(official),
            "434b1822a0f8ed1e611e7027f1f1b6cf661300e5d0f387299eefbb248d351bc7",
            most=21,
        ),
        Protocol(
            "nabirds",
            "nabirds",
            "the official test images query the official training images",
            official,
        ),
        Protocol(
            "nabirds-unseen",
            "nabirds",
            "nabirds, trained on three quarters of its classes, asked about the others",
            unseen("nabirds", official),
        ),
    )
}


def names(dataset: str | None = None) -> list[str]:
    """The protocols of one data set (its default first), or all."""
    return [p.name for p in PROTOCOLS.values() if dataset in (None, p.dataset)]


def get(dataset: str, name: str | None = None) -> Protocol:
    """The protocol `name` of `dataset`, or its default;
    raises InputError for one that the set does not have.
    """
    known = names(dataset)
    if name is not None and name not in known:
        raise unknown(f"protocol {name!r} for {dataset}", name, known)
    return PROTOCOLS[name or known[0]]


def split(protocol: Protocol, labels: np.ndarray, counts: Mapping[str, int]) -> Index:
    """The index lists of a protocol;
    the validation part is drawn from its train part unless its rule says which.
    """
    index = protocol.rule(labels, counts)
    if "validation" in index:
        return index
    return index | {"validation": tenth(protocol.name, labels, index["train"])}


def checksum(index: Index) -> str:
    """SHA-256 over the four index lists as little-endian int64,
    in alphabetical order of their names.
    """
    digest = hashlib.sha256()
    for name in sorted(index):
        digest.update(f"{name}:{len(index[name])}:".encode())
        digest.update(index[name].astype("<i8").tobytes())
    return digest.hexdigest()
