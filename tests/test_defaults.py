"""What holds of every method: numbers of a paper stand in one place, settings are fixed,
labels belong to images.
"""

import dataclasses
import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from hashlab import methods
from hashlab.errors import InputError
from hashlab.losses.clouds import Centres
from hashlab.methods.deep import DeepMethod

# Where a loss by itself has another default, or one that is no setting: by method and parameter.
OF_THEIR_OWN = {
    ("shpdh", "floor"): 0.0,
    ("dcwh", "floor"): 0.0,
    ("csdh", "low"): -1.0,
    ("csdh", "kind"): "shares",
    ("cnnh", "groups"): 20,
    ("dsdh", "cycles"): 10,
    ("dpsh", "counted"): None,
    ("orthohash", "s"): 8.0,
    ("orthohash", "m"): 0.2,
}
DEEP = [name for name in methods.names() if issubclass(type(methods.create(name, 8)), DeepMethod)]
EVERYWHERE = {"seed": 0, "shared": None, "device": None}  # of the functions that every method has


def defaults(module):
    """(name, default) of every parameter of the functions of a module, and of its classes."""
    own = [
        value
        for value in vars(module).values()
        if getattr(value, "__module__", None) == module.__name__
    ]
    kinds = [
        kind
        for kind in own
        if inspect.isclass(kind) and kind is not getattr(module, "Config", None)
    ]
    inner = [function for kind in kinds for function in vars(kind).values()]
    for function in filter(inspect.isfunction, own + inner):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default is not parameter.empty:
                yield parameter.name, parameter.default


@pytest.mark.parametrize("name", DEEP)
def test_a_loss_takes_what_the_settings_say(name):
    method = methods.create(name, 8)
    settings = {field.name: field.default for field in dataclasses.fields(method.Config)}
    for parameter, default in defaults(inspect.getmodule(type(method))):
        wanted = OF_THEIR_OWN.get(
            (name, parameter), (settings | EVERYWHERE).get(parameter, "a number of the paper")
        )
        assert default == wanted, parameter


OUTPUTS, CLASSES = torch.ones(2, 4), torch.tensor([0, 1])  # of two images
GIVEN = dict.fromkeys(("z", "u", "b", "others", "memory", "c"), OUTPUTS)
GIVEN |= {"labels": CLASSES, "y": CLASSES, "s": torch.eye(2) > 0, "count": 2, "bits": 4}
GIVEN |= {"m": 1.0, "weight": 0.1, "rows": CLASSES, "Centres": Centres([], [2], 4)}


def required(function):
    """Arguments for those parameters of a function that have no default."""
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: GIVEN[p.annotation if p.annotation in GIVEN else p.name]
        for p in parameters
        if p.default is p.empty
    }


def words():
    """Every loss, function or module, with a parameter that is a word, and that parameter."""
    for name in DEEP:
        kind = type(methods.create(name, 8))
        module = inspect.getmodule(kind)
        for loss in vars(module).values():
            is_own = getattr(loss, "__module__", None) == module.__name__
            is_loss = inspect.isfunction(loss) or (
                inspect.isclass(loss) and issubclass(loss, nn.Module)
            )
            if is_own and is_loss:
                for parameter in inspect.signature(loss).parameters:
                    if parameter in kind.Config.CHOICES | {"kind": ()}:
                        yield loss, parameter


WORDS = list(words())


@pytest.mark.parametrize(("loss", "parameter"), WORDS, ids=[f"{a.__name__}-{b}" for a, b in WORDS])
def test_a_loss_refuses_a_word_that_it_does_not_know(loss, parameter):
    with pytest.raises(InputError, match=r"must be one of .*, got 'nonsense'"):
        made = loss(**required(loss) | {parameter: "nonsense"})
        made(**required(made.forward))


LIMITS = {  # of settings that are not just 0 or more, by method where others have one of that name
    "momentum": (0, 1),
    "hidden": (0, 65_536),
    "shift": (0, 2048),
    "crop": (0, 2048),
    "size": (0, 2048),
    "mu_liu c": (0, 500),
    "shpdh every": (1, None),
    "dcwh every": (1, None),
    "dmsh width": (1, 65_536),
    "dmsh fused": (0, 65_536),
    "hashnet stages": (1, None),
    "dsdh mu": (1e-6, None),
    "dch gamma": (1e-6, None),
}


@pytest.mark.parametrize("name", methods.names())
def test_settings_have_the_limits_that_their_formulas_need(name):
    for field in dataclasses.fields(methods.create(name, 8).Config):
        of_all = LIMITS.get(field.name, (0, None))
        assert field.metadata["limits"] == LIMITS.get(f"{name} {field.name}", of_all), field.name


@pytest.mark.parametrize("name", methods.names())
def test_settings_cannot_be_changed_nor_mixed_up(name):
    settings = methods.create(name, 8).config
    field = dataclasses.fields(settings)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(settings, field, None)
    with pytest.raises(TypeError, match="positional"):
        type(settings)(1)


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("count", [5, 7])
def test_as_many_labels_as_images(name, count):
    train = SimpleNamespace(images=np.zeros((6, 8, 8), np.uint8), labels=np.arange(count) % 2)
    with pytest.raises(InputError, match=r"labels must be \(6,\) classes or .*, got"):
        methods.create(name, 8).fit(train)
