"""Hashing methods by name: `create("mu_liu", bits=12).fit(train).encode(images)` gives packed
codes.

Every method has `.fit(train, seed=0, device=None)`, `.encode(images) -> packed codes`,
`.save(folder)`, `.bits`, `.tables` (None for one table), `.config` (its settings) and `.about`
(what it is). One file per method.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from hashlab.errors import InputError, unknown
from hashlab.methods import models
from hashlab.methods.base import About, Method, Shared, from_recorded, setting

__all__ = [
    "About",
    "Method",
    "Shared",
    "about",
    "create",
    "kind_of",
    "load",
    "names",
    "register",
    "setting",
]

CLASSES = {  # module -> class; a module is imported when its method is used
    "mu_liu": "MuLiu",
    "shpdh": "SHPDH",
    "mlsh": "MLSH",
    "dmsh": "DMSH",
    "csdh": "CSDH",
    "cnnh": "CNNH",
    "dsh": "DSH",
    "dhn": "DHN",
    "dpsh": "DPSH",
    "dtsh": "DTSH",
    "hashnet": "HashNet",
    "dsdh": "DSDH",
    "dch": "DCH",
    "dcwh": "DCWH",
    "greedyhash": "GreedyHash",
    "adsh": "ADSH",
    "csq": "CSQ",
    "dpn": "DPN",
    "orthohash": "OrthoHash",
    "classifier_onehot": "ClassifierOneHot",
    "classifier_sign": "ClassifierSign",
}

SHALLOW = {  # classes in methods/shallow.py, one for each estimator of hashlab.shallow
    "random": "Random",
    "pca_rotation": "PCARotation",
    "lsh": "LSH",
    "sklsh": "SKLSH",
    "pcah": "PCAH",
    "sh": "SH",
    "itq": "ITQ",
    "cca_itq": "CCAITQ",
    "ksh": "KSH",
    "sdh": "SDH",
    "cosdish": "COSDISH",
}


REGISTERED: dict[str, type[Method]] = {}  # name -> class, of methods from elsewhere


def register(kind: type[Method]) -> type[Method]:
    """Make a method of your own known by its `about.name`, in this process, to `create`,
    `load` and runs; a decorator.

    Raises InputError where the class does not say what it is, or another one has the name.
    """
    about = getattr(kind, "about", None)
    if not (isinstance(kind, type) and issubclass(kind, Method) and isinstance(about, About)):
        raise InputError(
            f"a Method class with `about`, an hashlab.methods.About, expected, got {kind!r}"
        )
    other = REGISTERED.get(about.name, kind)
    again = (other.__module__, other.__qualname__) == (
        kind.__module__,
        kind.__qualname__,
    )  # a cell that is run again
    if about.name in CLASSES | SHALLOW or not again:
        raise InputError(f"there is another method called {about.name!r}; give yours another name")
    REGISTERED[about.name] = kind
    return kind


def names() -> list[str]:
    """The names that `create` takes.

    Example:
        >>> from hashlab import methods
        >>> methods.names()[:5]
        ['mu_liu', 'shpdh', 'mlsh', 'dmsh', 'csdh']
    """
    return [*CLASSES, *SHALLOW, *REGISTERED]


def kind_of(name: str) -> type[Method]:
    """The class of the method called `name`; raises InputError for an unknown name."""
    if name not in names():
        raise unknown(f"method {name!r}", name, names())
    if name in REGISTERED:
        return REGISTERED[name]
    module = "shallow" if name in SHALLOW else name
    return getattr(import_module(f"hashlab.methods.{module}"), (CLASSES | SHALLOW)[name])


def about(name: str) -> About:
    """What the method called `name` is; raises InputError for an unknown name."""
    return kind_of(name).about


def create(name: str, bits: int, **overrides: Any) -> Method:
    """A method ready to be fitted.

    Args:
        name: one of `names()`.
        bits: code length K, 1 to 4096.
        overrides: settings that differ from the method's defaults (`hashlab methods NAME` lists
            them).

    Raises:
        InputError: unknown name or setting, a setting of the wrong type, other bits.

    Example:
        >>> import hashlab
        >>> digits = hashlab.data.load("digits")
        >>> method = hashlab.methods.create("itq", bits=12).fit(digits.train)
        >>> method.encode(digits.query.images).shape  # packed: 12 bits in a word of 64
        (300, 8)
    """
    return kind_of(name)(bits, **overrides)


def load(folder: str | Path, device: str | None = None) -> Method:
    """A fitted method from the folder that its `save` wrote, on a device.

    Raises InputError where the folder is not that of a model, or damaged.
    """
    return models.load(folder, _as_recorded, device)


def _as_recorded(name: str, bits: int, settings: dict[str, Any]) -> Method:
    """A method ready to be fitted, of settings by the names that models have for them."""
    kind = kind_of(name)
    return kind(bits, **from_recorded(kind.Config, settings))
