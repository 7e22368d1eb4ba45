"""Trees of classes: which class stands above which, from labels on several levels or from a file.

A file has a line `child,parent` per class, by name; `#` begins a comment. The classes of the data
set are the leaves:

    # two levels above the classes
    cat,mammal
    dog,mammal
    mammal,animal
    frog,animal
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hashlab import labels
from hashlab.codes import as_numpy, describe
from hashlab.errors import InputError
from hashlab.files import read_text

# Trees by name. CIFAR-10 has none of its own: this one is ours.
NAMED = {
    "cifar10-animals": """
        airplane,vehicle
        automobile,vehicle
        ship,vehicle
        truck,vehicle
        bird,animal
        cat,animal
        deer,animal
        dog,animal
        frog,animal
        horse,animal
    """,
}


def check_levels(given: np.ndarray, count: int) -> np.ndarray:
    """Labels on levels as ranks, int64 (N, L), fine first, of classes in any form (`hashlab.labels`);
    raises InputError for other shapes, types, or no tree.

    They are a tree where each class has one class above it.
    """
    given = as_numpy(given, "labels")
    if given.ndim != 2 or len(given) != count or not given.shape[1]:
        raise InputError(f"labels must be ({count}, levels) classes, got {describe(given)}")
    ranks = np.stack([labels.ranked(column)[1] for column in given.T], 1)
    if ranks[:, 0].max() == 0:
        raise InputError("labels must be of two classes at least, got one for every image")
    parents(ranks)
    return ranks


def parents(levels: np.ndarray) -> list[np.ndarray]:
    """The class above each class, per level but the last:
    of int (N, L), fine first, L - 1 arrays (M_l,).

    Entry i is for the i-th of the classes that occur on the level, in ascending order, and is a
    class number.

    Raises InputError where a class stands under two others.
    """
    above = []
    for level in range(levels.shape[1] - 1):
        pairs = np.unique(levels[:, level : level + 2], axis=0)  # (M_l, 2) in a tree
        children = pairs[:, 0]
        twice = np.flatnonzero(children[1:] == children[:-1])
        if len(twice):
            (child, one), (_, other) = pairs[twice[0] : twice[0] + 2].tolist()
            raise InputError(
                f"labels must form a tree, but class {child} of level {level + 1}"
                f" stands under {one} and under {other}"
            )
        above.append(pairs[:, 1])
    return above


def numbered(levels: np.ndarray) -> np.ndarray:
    """Classes of every level numbered 0, 1, … without gaps, in their order:
    int64 (N, L) -> (N, L).
    """
    return np.stack([_ranks(level) for level in levels.T], 1)


def _ranks(classes: np.ndarray | Sequence[str]) -> np.ndarray:
    """The number of each class (N,) among those that occur, in their order: int64 (N,)."""
    return np.unique(classes, return_inverse=True)[1].reshape(-1)


def read(file: str | Path, classes: Sequence[str]) -> np.ndarray:
    """The classes of a set on every level of a tree, int64 (C, L), fine first.

    Where a class is fewer steps away from the top than others, it stands for itself on the levels
    that it lacks, as in NABirds. A class above all others is no level: it would tell nobody apart.

    Args:
        file: lines `child,parent`; or one of `NAMED`.
        classes: C names; all must be leaves of the tree, and all leaves must be among them.

    Raises:
        InputError: no such file, a line that is not `child,parent`, a class with two parents, a
            circle, a class of the set that is missing or stands above others, a leaf that is no
            class of the set.
    """
    above = _lines(Path(file))
    chain_of = {
        name: _chain(name, above, file) for name in above
    }  # of all, to see that none is a circle
    _check_classes(file, above, classes)
    chains = [chain_of[name] for name in classes]
    tops = {chain[-1] for chain in chains}
    if len(tops) == 1:
        chains = [chain[:-1] for chain in chains]
    depth = max(map(len, chains))
    chains = [chain[:1] * (depth - len(chain)) + chain for chain in chains]
    coarser = [_ranks(level) for level in list(zip(*chains, strict=True))[1:]]
    return np.stack([np.arange(len(chains)), *coarser], 1)


def _lines(file: Path) -> dict[str, str]:
    """{child: parent} of a file."""
    try:
        text = NAMED.get(str(file)) or read_text(file)
    except InputError as error:
        reason = str(error).removeprefix(f"{file}: ").removeprefix(f"{file} is ")
        raise InputError(f"the tree {file} cannot be read: {reason}") from None
    above: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        child, _, parent = map(str.strip, line.partition(","))
        if not child or not parent or "," in parent:
            raise InputError(f"{file}, line {number}: `child,parent` expected, got {line!r}")
        if above.setdefault(child, parent) != parent:
            raise InputError(f"{file}, line {number}: {child} has a parent already, {above[child]}")
    if not above:
        raise InputError(f"{file}: lines `child,parent` expected, got none")
    return above


def _chain(name: str, above: Mapping[str, str], file: str | Path) -> tuple[str, ...]:
    """The class and all that stand above it, up to the top."""
    chain = [name]
    while chain[-1] in above:
        chain.append(above[chain[-1]])
        if chain[-1] in chain[:-1]:
            raise InputError(f"{file} goes round in a circle at {chain[-1]}")
    return tuple(chain)


def _check_classes(file: str | Path, above: Mapping[str, str], classes: Sequence[str]) -> None:
    """Raise InputError unless the leaves of a tree are the classes of the set."""
    inner = set(above.values())
    missing = [name for name in classes if name not in above]
    high = [name for name in classes if name in inner]
    unknown = sorted(above.keys() - inner - set(classes))
    if missing:
        each = f"each of the {len(classes)} classes"
        raise InputError(f"{file}: a parent expected for {each}, {missing[0]} has none")
    if high:
        raise InputError(
            f"{file}: {high[0]} is a class of the set and must be a leaf, but stands above others"
        )
    if unknown:
        raise InputError(f"{file}: {unknown[0]} is no class of the set and has none below it")
