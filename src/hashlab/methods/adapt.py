"""Settings that follow from the training images and from each other, where they are not given.

A settings class names them in `ADAPTS`: names of settings -> rule, a function of the settings so
far and of the number of training images that says what these settings become. A rule counts only
where none of its settings is given; what is given stays, and is refused where it does not fit.
Rules come in an order in which none looks at a setting that a later one changes.

What they were measured on stands in `benchmarks/small_sets.py`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any

SMALL = 1000  # training images; with so many or more, all of a method's numbers are its defaults
STEPS = 100  # of training at least where images are fewer: 10 epochs of 1,280 images are as many
HEAD = {"optimiser": "adamw", "lr": 0.003}  # that trains a linear layer on a body that stays

Rule = Callable[[Any, int], Mapping[str, Any]]
Rules = Mapping[tuple[str, ...], Rule]


class AdaptedWarning(UserWarning):
    """Defaults gave way to what suits the training images."""


def settled(config: Any, given: Collection[str], images: int) -> Any:
    """Settings as they are for so many training images.

    Args:
        config: an instance of a method's settings class.
        given: names of the settings that stay as they are.
    """
    rules: Rules = getattr(config, "ADAPTS", {})
    for names, rule in rules.items():
        if given.isdisjoint(names):
            config = dataclasses.replace(config, **rule(config, images))
    return config


def replaced(before: Any, after: Any) -> dict[str, Any]:
    """Name -> value before, of the settings that another instance has otherwise."""
    return {
        field.name: getattr(before, field.name)
        for field in dataclasses.fields(before)
        if getattr(before, field.name) != getattr(after, field.name)
    }


def announce(before: Any, after: Any, images: int) -> None:
    """Say in one sentence which defaults a small set has not taken, where there are any."""
    changes = [
        f"{name} {getattr(after, name)} instead of {value}"
        for name, value in replaced(before, after).items()
    ]
    if changes and images < SMALL:
        text = f"for {images} training images: {', '.join(changes)}; what is given stays"
        warnings.warn(text, AdaptedWarning, stacklevel=4)


# ---- rules


def at_most_images(name: str) -> Rules:
    """The rule that a setting is the number of training images where these are fewer."""
    return {(name,): lambda config, images: {name: min(getattr(config, name), images)}}


def enough_steps(name: str) -> Rules:
    """The rule that a setting, a number of epochs,
    makes `STEPS` steps at least of a small set of images.
    """

    def rule(config: Any, images: int) -> dict[str, int]:
        epochs = getattr(config, name)
        if images >= SMALL or not epochs:
            return {}
        steps_of_epoch = max(images // config.batch_size, 1)
        return {name: max(epochs, -(-STEPS // steps_of_epoch))}

    return {(name,): rule}


def frozen_body(config: Any, images: int) -> Mapping[str, Any]:
    """Optimiser and rate of a head on a body that stays as it is.

    Its input is as large as the body makes it, and a step that suits a network from scratch drives
    outputs away at once. A method with an optimiser of its own keeps that.
    """
    return HEAD if config.frozen is True and config.optimiser == "sgd" else {}


SIZES: Rules = {**at_most_images("batch_size"), **enough_steps("epochs")}  # of deep methods
DEEP: Rules = {**SIZES, ("optimiser", "lr"): frozen_body}
