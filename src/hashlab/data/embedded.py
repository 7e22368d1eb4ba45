"""Sets that are always there, made of scikit-learn's 1,797 real handwritten digits.

Nothing here draws from a random generator: choices follow SHA-256 of names, as in `protocols`.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from hashlab.data import protocols
from hashlab.data.parts import Arrays, canonical
from hashlab.data.sets import SHAPE_OF_DIGIT


@cache
def digits() -> Arrays:
    """uint8 (1797, 8, 8) with the 17 grey levels spread over 0..255, and their classes."""
    pixels, target = _scikit_learns()
    images = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return {"all": (images, target.astype(np.uint8))}


def _scikit_learns() -> tuple[np.ndarray, np.ndarray]:
    """Its digits (1797, 64) and their classes, from its file: to import it takes seconds."""
    spec = find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder, "datasets", "data", "digits.csv.gz")
        if file.is_file():
            table = np.loadtxt(file, delimiter=",")  # (1797, 65)
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def digit_tree() -> Arrays:
    """The digits with two levels of labels: digit and shape."""
    images, labels = digits()["all"]
    shapes = np.array(SHAPE_OF_DIGIT, np.uint8)[labels]
    return {"all": (images, np.stack([labels, shapes], 1))}


@cache
def digit_scenes() -> Arrays:
    """Scenes (N, 16, 16) of 2x2 cells with one to three different digits, labels 0/1 (N, 10).

    The digits are shared out among the parts first, as the protocol `digits` does: query,
    validation, the other nine tenths of train, and the rest. Every part makes as many scenes as it
    has digits.
    """
    images, labels = digits()["all"]
    order, _ = canonical(images, labels)
    labels = labels[order]
    index = protocols.split(protocols.PROTOCOLS["digits"], labels, {"all": len(labels)})
    members = {
        "query": index["query"],
        "validation": index["validation"],
        "train": np.setdiff1d(index["train"], index["validation"]),
        "rest": np.setdiff1d(index["database"], index["train"]),
    }
    return {
        part: _scenes(part, images[order[rows]], labels[rows]) for part, rows in members.items()
    }


def _scenes(part: str, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many scenes as digits (N, 8, 8) with labels (N,), and what is in each, 0/1 (N, 10)."""
    scenes = np.zeros((len(images), 16, 16), np.uint8)
    present = np.zeros((len(images), 10), np.uint8)
    for i, scene in enumerate(scenes):
        name = f"digit_scenes/{part}/{i}"
        count = 1 + _number(f"{name}/count") % 3
        classes = _shuffled(f"{name}/class", 10)[:count]
        cells = _shuffled(f"{name}/cell", 4)[:count]
        for label, cell in zip(classes, cells, strict=True):
            members = np.flatnonzero(labels == label)
            chosen = members[_number(f"{name}/{label}") % len(members)]
            top = cell // 2 * 8
            left = cell % 2 * 8
            scene[top : top + 8, left : left + 8] = images[chosen]
            present[i, label] = 1
    return scenes, present


def _number(name: str) -> int:
    return int.from_bytes(_digest(name)[:8], "big")


def _shuffled(name: str, count: int) -> list[int]:
    return sorted(range(count), key=lambda i: _digest(f"{name}/{i}"))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


ARRAYS = {"digits": digits, "digit_tree": digit_tree, "digit_scenes": digit_scenes}
