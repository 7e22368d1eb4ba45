"""Settings that follow from the training images and from each other, where they are not given.

A settings class names them in `ADAPTS`: names of settings -> rule, a function of the settings so
far and of the training part that says what these settings become. A rule counts only
where none of its settings is given; what is given stays, and is refused where it does not fit.
Rules come in an order in which none looks at a setting that a later one changes.

What they were measured on stands in `benchmarks/small_sets.py`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

SMALL = 1000  # training images; with so many or more, all of a method's numbers are its defaults
STEPS = 200  # of training at least where images are fewer: 10 epochs of 2,560 images are as many
EPOCHS = 100  # at most for that, else a network learns very few images by heart


class Training(NamedTuple):
    """What a rule knows of the training part."""

    images: int
    several: bool = False  # labels an image, rather than one class


Rule = Callable[[Any, Training], Mapping[str, Any]]
Rules = Mapping[tuple[str, ...], Rule]


class AdaptedWarning(UserWarning):
    """Defaults gave way to what suits the training images."""


def settled(config: Any, given: Set[str], training: Training) -> Any:
    """Settings as they are for such a training part.

    Args:
        config: an instance of a method's settings class.
        given: names of the settings that stay as they are.
    """
    rules: Rules = getattr(config, "ADAPTS", {})
    for names, rule in rules.items():
        if given.isdisjoint(names):
            config = dataclasses.replace(config, **rule(config, training))
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
    return {(name,): lambda config, training: {name: min(getattr(config, name), training.images)}}


def enough_steps(name: str) -> Rules:
    """The rule that a setting, a number of epochs, makes `STEPS` steps of a small set of images,
    or is `EPOCHS`.
    """

    def rule(config: Any, training: Training) -> dict[str, int]:
        epochs = getattr(config, name)
        if training.images >= SMALL or not epochs:
            return {}
        steps_of_epoch = max(training.images // config.batch_size, 1)
        return {name: max(epochs, min(-(-STEPS // steps_of_epoch), EPOCHS))}

    return {(name,): rule}


def below(limit: int, **values: Any) -> Rules:
    """The rule that settings have other defaults where there are fewer images."""
    return {tuple(values): lambda config, training: values if training.images < limit else {}}


def small_head(**values: Any) -> Rules:
    """The rule that settings have other defaults for a small set and a body that stays as it is."""

    def rule(config: Any, training: Training) -> Mapping[str, Any]:
        return values if training.images < SMALL and config.frozen is True else {}

    return {tuple(values): rule}


def head(lr: float) -> Rules:
    """The rule that AdamW, at such a rate, trains a head on a body that stays as it is.

    The head's input is as large as the body makes it, and a step that suits a network from scratch
    drives outputs away at once. A method with an optimiser of its own keeps that.
    """

    def rule(config: Any, training: Training) -> Mapping[str, Any]:
        of_others = config.frozen is not True or config.optimiser != "sgd"
        return {} if of_others else {"optimiser": "adamw", "lr": lr}

    return {("optimiser", "lr"): rule}


SIZES: Rules = {**at_most_images("batch_size"), **enough_steps("epochs")}  # of deep methods
DEEP: Rules = {**SIZES, **head(0.003)}
