"""Hashing methods by name: `create("mu_liu", bits=12).fit(train).encode(images)` gives packed codes.

Every method has `.fit(train, seed=0, device=None)`, `.encode(images) -> packed codes`, `.save(folder)`, `.bits`,
`.tables` (None for one table), `.config` (its settings) and `.about` (what it is). One file per method.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from hashlab.errors import InputError
from hashlab.methods.base import About, Method, Shared

__all__ = ["About", "Method", "Shared", "about", "create", "load", "names", "register"]

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
    """Make a method of your own known by its `about.name`, in this process, to `create`, `load` and runs; a decorator.

    Raises InputError where the class does not say what it is, or another one has the name.
    """
    about = getattr(kind, "about", None)
    if not (isinstance(kind, type) and issubclass(kind, Method) and isinstance(about, About)):
        raise InputError(f"a Method class with `about`, an hashlab.methods.About, expected, got {kind!r}")
    other = REGISTERED.get(about.name, kind)
    again = (other.__module__, other.__qualname__) == (kind.__module__, kind.__qualname__)  # a cell that is run again
    if about.name in CLASSES | SHALLOW or not again:
        raise InputError(f"there is another method called {about.name!r}; give yours another name")
    REGISTERED[about.name] = kind
    return kind


def names() -> list[str]:
    """The names that `create` takes."""
    return [*CLASSES, *SHALLOW, *REGISTERED]


def _class(name: str) -> type[Method]:
    if name not in names():
        raise InputError(f"unknown method {name!r}; expected one of: {', '.join(names())}")
    if name in REGISTERED:
        return REGISTERED[name]
    module = "shallow" if name in SHALLOW else name
    return getattr(import_module(f"hashlab.methods.{module}"), (CLASSES | SHALLOW)[name])


def about(name: str) -> About:
    """What the method called `name` is; raises InputError for an unknown name."""
    return _class(name).about


def create(name: str, bits: int, **overrides: Any) -> Method:
    """A method ready to be fitted.

    Args:
        name: one of `names()`.
        bits: code length K, 1 or more.
        overrides: settings that differ from the method's defaults (`hashlab methods NAME` lists them).

    Raises:
        InputError: unknown name or setting, a setting of the wrong type, bits < 1.
    """
    return _class(name)(bits, **overrides)


def load(folder: str | Path, device: str | None = None) -> Method:
    """A fitted method from the folder that its `save` wrote; raises InputError where that is not one, or damaged."""
    from hashlab.methods import models

    return models.load(folder, device)
