"""What every method is tested with: the trials that `tests/test_tested.py` goes through, one by one.

They follow from what a method says of itself: each kind of labels that it takes, on the set in the package that has
such labels, and more than one kind of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hashlab.methods.base import About

SETS = {"same_class": "digits", "shares_label": "digit_scenes", "levels": "digit_tree"}  # by kind of labels


@dataclass(frozen=True)
class Trial:
    """A data set that a method is fitted on, and the features it is fitted with."""

    dataset: str
    features: str  # a backbone, or pixels
    settings: dict[str, Any]


def trials(about: About, config: type) -> list[Trial]:
    """Every kind of labels with the first of the features, and the first kind with the second."""
    first, second = ("pixels", "tiny") if getattr(config(), "backbone", None) == "pixels" else ("tiny", "lenet")
    more = {"size": 20} if second == "lenet" else {}  # it takes images of 16 pixels and more
    found = [Trial(SETS[kind], first, {"backbone": first} | _one_level(about, kind)) for kind in about.labels]
    kind = about.labels[0]
    return [*found, Trial(SETS[kind], second, {"backbone": second} | more | _one_level(about, kind))]


def _one_level(about: About, kind: str) -> dict[str, Any]:
    """A method of several levels is told where there is one."""
    return {"levels": 1} if kind != "levels" and "levels" in about.labels else {}


def tested_with(about: About, config: type) -> str:
    """The sets and the features of a method's trials: `digits, digit_scenes; tiny, lenet`."""
    found = trials(about, config)
    parts = ([trial.dataset for trial in found], [trial.features for trial in found])
    return "; ".join(", ".join(dict.fromkeys(part)) for part in parts)
