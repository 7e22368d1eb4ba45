"""What all methods share: what they are, settings that are checked, and labels that are."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np
from torch import Tensor

from hashlab import codes
from hashlab.data.batches import Images
from hashlab.data.parts import Labelled
from hashlab.errors import InputError
from hashlab.methods import adapt, models
from hashlab.methods.collapse import Collapse
from hashlab.training.checkpoints import State
from hashlab.training.sharing import Shared

MOST_BITS = (
    4096  # that a method learns: rotations and codebooks have as many entries squared, 16 million
)
KINDS = {
    "control": "know nothing of similarity between codes, and show what a number is worth",
    "shallow": "are estimators on features that stay as they are: pixels, or those of a backbone",
    "pairwise": "train on pairs of images, similar or not",
    "triplet": "train on an image, a similar one and one that is not",
    "class-wise": "train on each image and its class, with what is learned of the classes",
    "centre": "train on each image and the fixed code of its class",
}  # of methods, and what those of a kind do


@dataclass(frozen=True)
class About:
    """What a method is, for lists and for the book."""

    name: str
    title: str
    year: int
    kind: str  # one of KINDS
    labels: tuple[str, ...]  # relevance kinds it takes
    paper: str
    status: str  # "the paper's formulas", "reconstruction", …


MOST = {
    int: 1_000_000,
    float: 1e20,
}  # of a setting that says no other limit: beyond, a number is a slip


def setting(default: Any, meaning: str, least: float = 0, most: float | None = None) -> Any:
    """A field of a settings class: its default,
    and what it means in a few words for `hashlab methods NAME`.

    A number must lie in least..most; without `most`, see `MOST`.
    """
    return dataclasses.field(
        default=default, metadata={"meaning": meaning, "limits": (least, most)}
    )


TYPES = {  # of settings, and how they are called
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    bool | str: "true, false or text",
}


def configure(kind: type, overrides: dict[str, Any], method: str) -> Any:
    """An instance of a method's settings class;
    raises InputError for an unknown setting or one of the wrong type.
    """
    expected = _types(kind)
    unknown = [name for name in overrides if name not in expected]
    if unknown:
        raise InputError(
            f"unknown setting {unknown[0]!r} of {method}; expected one of: {', '.join(expected)}"
        )
    choices = getattr(kind, "CHOICES", {})
    limits = {
        field.name: field.metadata.get("limits", (0, None)) for field in dataclasses.fields(kind)
    }
    fitting = {
        name: _fitting(name, value, expected[name], limits[name], choices.get(name))
        for name, value in overrides.items()
    }
    return kind(**fitting)


def recorded(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by the names that records and models have for them,
    of which the names of records are made.

    These stay when a setting is renamed, so that what was made before is found again: a settings
    class says `RECORDED`, name -> name in records; None for one that has a single value, and is
    left out.
    """
    names = {name: name for name in settings} | getattr(kind, "RECORDED", {})
    return {names[name]: value for name, value in settings.items() if names[name] is not None}


def from_recorded(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by their own names, of settings as `recorded` gives them."""
    names = {old: name for name, old in getattr(kind, "RECORDED", {}).items()}
    return {names.get(name, name): value for name, value in settings.items()}


def _types(kind: type) -> dict[str, type]:
    """The type that is written at each setting, where it is one of `TYPES`;
    else that of its default.
    """
    try:
        written = get_type_hints(kind)
    except (NameError, TypeError):  # a name that is known only where the class was written
        written = {}
    of_default = {field.name: type(field.default) for field in dataclasses.fields(kind)}
    return {
        name: written[name] if written.get(name) in TYPES else usual
        for name, usual in of_default.items()
    }


def _fitting(
    name: str,
    value: Any,
    expected: type,
    limits: tuple[float, float | None],
    choices: Sequence[str] | None,
) -> Any:
    """The value as one of the expected type; raises InputError where it is none."""
    value = value.item() if isinstance(value, np.generic) else value
    fits = isinstance(value, expected) or (expected is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and expected not in (bool, bool | str)):
        word = TYPES.get(expected) or expected.__name__
        raise InputError(f"setting {name} must be {word}, got {reprlib.repr(value)}")
    least, most = limits[0], MOST.get(expected) if limits[1] is None else limits[1]
    if expected in MOST and not least <= value <= most:  # NaN is in no range
        number = "a whole number" if expected is int else "a finite number"
        limit = f"at most {most}" if value > most else f"at least {least}"
        raise InputError(f"setting {name} must be {number} of {limit}, got {value}")
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"setting {name} must be text without NUL characters, got {value!r}")
    if choices is not None and value not in choices:
        raise InputError(f"setting {name} must be one of {', '.join(choices)}, got {value!r}")
    return float(value) if expected is float else value


class Method:
    """A way to learn codes of `bits` bits. Subclasses say `about`, `Config`, `fit` and `encode`.

    One with several hash tables sets `tables`, the bits of each, and where it is not the sum of
    their distances that ranks, `combine` and `table_weights`: what `metrics.evaluate` takes as
    `tables`, `combine` and `weights`.
    """

    about: ClassVar[About]
    Config: ClassVar[type]
    backbone: str = "none"  # the network that features come from, for the record
    precision: str = "float32"  # of the network

    def __init__(self, bits: int, **overrides: Any):
        codes.check_bits(bits, MOST_BITS)
        self.bits = int(bits)
        self.tables: tuple[int, ...] | None = None
        self.combine: str | None = None
        self.table_weights: tuple[int, ...] | None = None
        self.history: list[dict] = []  # a line per epoch of training
        self.collapse: Collapse | None = None  # of the training images' codes, where they have
        self.config = configure(self.Config, overrides, self.about.name)
        self.overrides = {name: getattr(self.config, name) for name in overrides}

    def settings_for(self, images: int, several: bool = False) -> Any:
        """The settings with which `fit` learns from so many training images:
        given ones, defaults, and what takes their place, see `adapt`.

        Args:
            several: whether an image has several labels.
        """
        given = self.Config(**self.overrides)
        return adapt.settled(given, self.overrides.keys(), adapt.Training(images, several))

    def _settle(self, images: int, several: bool) -> None:
        """Take the settings for a training part, and say which are no defaults."""
        self.config = self.settings_for(images, several)
        adapt.announce(self.Config(**self.overrides), self.config, images)

    @property
    def replaced(self) -> dict[str, Any]:
        """Name -> default, of the settings that became others for the images of `fit`."""
        return adapt.replaced(self.Config(**self.overrides), self.config)

    def bits_in_use(self, classes: int) -> int:
        """How many of the bits may differ from image to image, for so many classes."""
        return self.bits

    def check(self, train: Labelled) -> None:
        """Raise InputError where settings and training data do not suit each other;
        nothing is begun.
        """
        raise NotImplementedError

    def fit(
        self,
        train: Labelled,
        *,
        seed: int = 0,
        device: str | None = None,
        checkpoints: str | Path | None = None,
        shared: Shared | None = None,
    ) -> Self:
        raise NotImplementedError

    def encode(self, images: Images, shared: Shared | None = None) -> np.ndarray:
        raise NotImplementedError

    def state(self) -> State:
        """All that a fitted method needs to encode, as tensors and JSON values;
        `set_state` takes it back.
        """
        raise NotImplementedError

    def set_state(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None
    ) -> None:
        raise NotImplementedError

    def input(self) -> dict[str, Any]:
        """How images become the network's input, for the record;
        nothing where there is no network.
        """
        return {}

    def save(self, folder: str | Path, facts: dict[str, Any] | None = None) -> Path:
        """Write the fitted method into a folder; `methods.load(folder)` gives it back.
        See `models.save`.
        """
        used = {name: getattr(self.config, name) for name in (*self.overrides, *self.replaced)}
        return models.save(self, recorded(self.Config, used), folder, facts)


def check_part(train: Any) -> None:
    """Raise InputError unless `train` has images and labels, as a `data.Part` has."""
    if not all(hasattr(train, name) for name in ("images", "labels")):
        raise InputError(
            f"a part of a data set, with images and labels, is expected, got {type(train).__name__}"
        )


def check_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as int64 (N,); raises InputError for other shapes, types,
    or fewer than two classes.
    """
    labels = codes.as_numpy(labels, "labels")
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(f"labels must be ({count},) integers, got {labels.shape} {labels.dtype}")
    if labels.min() < 0 or labels.min() == labels.max():
        raise InputError(
            "labels must be 0 or more and of two classes at least, got "
            f"{np.unique(labels)[:5].tolist()}"
        )
    return labels.astype(np.int64)


def check_pair_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels that say which pairs are similar:
    int64 (N,) classes, or 0/1 uint8 (N, L) where an image has several.

    Raises InputError for other shapes, types or values, or where no two images differ.
    """
    labels = codes.as_numpy(labels, "labels")
    if labels.ndim != 2:
        return check_labels(labels, count)
    if len(labels) != count or labels.dtype.kind not in "iub":
        raise InputError(
            f"labels must be ({count}, L) of 0 and 1, got {labels.shape} {labels.dtype}"
        )
    if not np.isin(labels, (0, 1)).all():
        raise InputError(f"labels must be 0 or 1, got {np.setdiff1d(labels, (0, 1))[:5].tolist()}")
    if (labels == labels[0]).all():
        raise InputError(
            "labels of two kinds at least are expected, got the same ones for every image"
        )
    return labels.astype(np.uint8)
