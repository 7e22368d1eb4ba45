"""What all methods share: what they are, settings that are checked, and labels that are."""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

import numpy as np
from torch import Tensor

from hashlab import codes, labels
from hashlab.data import pictures
from hashlab.data.parts import Labelled, Part
from hashlab.data.pictures import Pictures
from hashlab.errors import InputError, did_you_mean, unknown
from hashlab.methods import adapt, models
from hashlab.methods.collapse import Collapse
from hashlab.training.checkpoints import State
from hashlab.training.sharing import Shared

MOST_BITS = (
    4096  # that a method learns: rotations and codebooks have as many entries squared, 16 million
)
KINDS = {
    "control": "know nothing of similarity between codes, and show what a number is worth",
    "shallow": "are estimators on features that stay as they are: pixels, or those of a backbone, which MLSH may train",
    "pairwise": "train on pairs of images, similar or not",
    "triplet": "train on an image, a similar one and one that is not",
    "class-wise": "train on each image and its class, with what is learned of the classes",
    "centre": "train on each image and the fixed code of its class",
}  # of methods, and what those of a kind do


@dataclass(frozen=True)
class About:
    """What a method is, for lists and for the book.

    Args:
        name: by which `create` and the commands know it.
        title: of the paper, or what it is where there is none.
        year: of the paper.
        kind: "pairwise", "triplet", "class-wise", "centre", "shallow" or "control".
        labels: the kinds of labels that its training images may have, by the names that
            `metrics.evaluate` takes as `relevance`: "same_class", "shares_label", "levels".
        paper: authors, venue and year.
        status: how near to the source it is: "the paper's formulas", "reconstruction from …".
    """

    name: str
    title: str
    year: int
    kind: str
    labels: tuple[str, ...]
    paper: str
    status: str


MOST = {
    int: 1_000_000,
    float: 1e20,
}  # of a setting that says no other limit: beyond, a number is a slip


def setting(default: Any, meaning: str, least: float = 0, most: float | None = None) -> Any:
    """A field of a settings class: its default,
    and what it means in a few words for `hashlab methods NAME`.

    A number must lie in least..most; without `most`, in what no setting goes beyond: a million of whole
    numbers, 1e20 of others.
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
    for name in overrides:
        if name not in expected:
            raise unknown(f"setting {name!r} of {method}", name, expected)
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


@cache  # of annotations it asks a compiler
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
        raise InputError(
            f"setting {name} must be one of {', '.join(choices)}, got {value!r}"
            f"{did_you_mean(value, choices)}"
        )
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
        # Of classes (or labels) that it was fitted to; None before `fit`, or where none are known
        self.classes: tuple[str, ...] | None = None
        self.collapse: Collapse | None = None  # of the training images' codes, where they have
        self.config = configure(self.Config, overrides, self.about.name)
        self.overrides = {name: getattr(self.config, name) for name in overrides}

    def settings_for(self, images: int, several: bool = False) -> Any:
        """The settings with which `fit` learns from so many training images:
        given ones, defaults, and what takes the place of defaults where images are few, or a backbone
        is frozen.

        Args:
            several: whether an image has several labels.
        """
        given = self.Config(**self.overrides)
        return adapt.settled(given, self.overrides.keys(), adapt.Training(images, several))

    def _settle(self, train: Labelled) -> None:
        """Take the settings for a training part, and say which are no defaults."""
        images = len(train if isinstance(train, Part) else train.images)
        self.config = self.settings_for(images, has_several(train))
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
        """Learn from training images and their labels; see `DeepMethod.fit`, `ShallowMethod.fit`."""
        raise NotImplementedError

    def encode(self, images: Pictures, shared: Shared | None = None) -> np.ndarray:
        """Packed codes uint8 (N, 8*ceil(K/64)), each table padded to whole words where there are
        several; of a single picture (1, …).

        Args:
            images: a part of a data set, or pictures of any kind and size: see `data.pictures`.
            shared: of several runs, see `fit`.

        Raises InputError for what is no picture, with its number or path.
        """
        raise NotImplementedError

    def in_blocks(
        self,
        function: Callable[[Any, Shared | None], np.ndarray],
        images: Pictures,
        shared: Shared | None,
    ) -> np.ndarray:
        """Rows (N, …) that `function(images, shared)` gives for pictures of any kind: those that
        the model takes as they are at once, others in blocks, brought into its shape.
        """
        if pictures.ready(images, self.shape):
            return function(images, shared)
        blocks = pictures.blocks(images, self.shape)
        return np.concatenate([function(block, None) for block in blocks])

    def state(self) -> State:
        """All that a fitted method needs to encode, as tensors and JSON values;
        `set_state` takes it back.
        """
        raise NotImplementedError

    def set_state(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None
    ) -> None:
        """Take what `state` of a method with the same settings gave; raises InputError for others."""
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


def classes_and_labels(train: Labelled) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """The classes that training images have, by name, and their labels in the form that losses take.

    Labels in any form, see `hashlab.labels`; where a set's own rule of relevance is that of shared
    labels, one-hot rows are labels too. Classes of a set that names them are numbered as in the set.

    Returns:
        Names of classes or labels, None where several labels have none; int64 (N,) ranks 0..C-1, or
        0/1 uint8 (N, C) where an image has several labels.

    Raises:
        InputError: labels in no such form, or of another number than the images.
    """
    about = train.pool.about if isinstance(train, Part) else None
    count = len(train) if isinstance(train, Part) else len(train.images)
    given = codes.as_numpy(train.labels, "labels")
    if given.ndim == 0 or len(given) != count:
        raise InputError(
            f"labels must be ({count},) classes or ({count}, L) of 0 and 1, "
            f"got {codes.describe(given)}"
        )
    named = about.classes if about is not None else ()
    shared = about is not None and about.relevance == "shares_label"
    if given.ndim == 2 and (shared or not labels.has_one_class(given)):
        several = labels.several(given).astype(np.uint8)
        return (tuple(named) if len(named) == several.shape[1] else None), several
    if len(named) > 0 and given.dtype.kind in "iu" and given.ndim == 1 and given.max() < len(named):
        return tuple(named), given.astype(np.int64)
    names, ranks = labels.ranked(given)
    return labels.texts(names), ranks


def usable_labels(train: Labelled) -> np.ndarray | None:
    """The labels of `classes_and_labels`; None also where a method can do without such labels."""
    try:
        return classes_and_labels(train)[1]
    except InputError:
        return None


def has_several(train: Labelled) -> bool:
    """Whether an image has several labels, rather than one class."""
    labels = usable_labels(train)
    return labels is not None and labels.ndim == 2


def class_names(train: Labelled) -> tuple[str, ...] | None:
    """The names of `classes_and_labels`; None also where a method can do without such labels."""
    try:
        return classes_and_labels(train)[0]
    except InputError:
        return None


def check_labels(train: Labelled) -> np.ndarray:
    """The class of each training image, int64 (N,) ranks;
    raises InputError for several labels an image, or fewer than two classes.
    """
    ranks = classes_and_labels(train)[1]
    if ranks.ndim != 1:
        raise InputError(
            f"labels must be ({len(ranks)},) classes, one an image, got {codes.describe(ranks)}"
        )
    if ranks.min() == ranks.max():
        raise InputError("labels must be of two classes at least, got one for every image")
    return ranks


def check_pair_labels(train: Labelled) -> np.ndarray:
    """Labels that say which pairs of training images are similar:
    int64 (N,) ranks, or 0/1 uint8 (N, C) where an image has several.

    Raises InputError for labels in no usual form, or where no two images differ.
    """
    given = classes_and_labels(train)[1]
    if given.ndim == 1:
        return check_labels(train)
    if (given == given[0]).all():
        raise InputError(
            "labels of two kinds at least are expected, got the same ones for every image"
        )
    return given
