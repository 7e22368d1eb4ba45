"""What every method is tested with:
the trials that `tests/test_tested.py` goes through, one by one.

They follow from what a method says of itself: each kind of labels that it takes, on the set in the
package that has such labels, and more than one kind of features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hashlab.methods.base import About

SETS = {
    "same_class": "digits",
    "shares_label": "digit_scenes",
    "levels": "digit_tree",
}  # by kind of labels


@dataclass(frozen=True)
class Trial:
    """A data set that a method is fitted on, and the features it is fitted with."""

    dataset: str
    features: str  # a backbone, or pixels
    settings: dict[str, Any]


def trials(about: About, config: type) -> list[Trial]:
    """Every kind of labels with the first of the features, and the first kind with the second."""
    shallow = getattr(config(), "backbone", None) == "pixels"
    first = "pixels" if shallow else "tiny"
    second = "tiny" if shallow else "lenet"
    each = [_trial(about, kind, first) for kind in about.labels]
    return [*each, _trial(about, about.labels[0], second)]


def _trial(about: About, kind: str, backbone: str) -> Trial:
    settings: dict[str, Any] = {"backbone": backbone}
    if backbone == "lenet":
        settings["size"] = 20  # it takes images of 16 pixels and more
    if kind != "levels" and "levels" in about.labels:
        settings["levels"] = 1  # a method of several levels is told where there is one
    return Trial(SETS[kind], backbone, settings)


def tested_with(about: About, config: type) -> str:
    """The sets and the features of a method's trials: `digits, digit_scenes; tiny, lenet`."""
    every = trials(about, config)
    sets = dict.fromkeys(trial.dataset for trial in every)  # each once, in order
    features = dict.fromkeys(trial.features for trial in every)
    return f"{', '.join(sets)}; {', '.join(features)}"
