"""Networks that turn images (B, C, H, W) into features (B, d), with taps on the way, by name;
and the one for features that are given.

A backbone is a `Backbone`: `.levels` says what it gives on the way, `.features` how many numbers in
the end. Nets of our own train from scratch; torchvision's and timm's have the names of their papers,
and weights (`weights.py`); `timm/NAME` is any network of timm's, and `register` makes one of your own
known.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from hashlab.data import items
from hashlab.errors import InputError, did_you_mean
from hashlab.networks import nets, timm_models, weights
from hashlab.networks.given import GIVEN, Given
from hashlab.networks.stages import (
    Backbone,
    Level,
    Stages,
    Unknown,
    check_frozen,
    check_levels,
    named,
    spelt,
    until,
)
from hashlab.networks.whole import Whole

__all__ = [
    "BACKBONES",
    "GIVEN",
    "Backbone",
    "Given",
    "Level",
    "Stages",
    "Unknown",
    "check",
    "check_frozen",
    "check_levels",
    "check_name",
    "check_takes",
    "create",
    "default",
    "device",
    "from_library",
    "levels",
    "named",
    "names",
    "parameters",
    "register",
    "spelt",
    "until",
]


Normalisation = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of each channel


class Blueprint(NamedTuple):
    """What is known of a backbone for images of one shape, before it is made."""

    network: nn.Module  # on the device meta, as `Kind.network` gives it
    levels: Mapping[str, Level]


# ---- how one is made


def _torchvision(name: str) -> nn.Module:
    import torchvision

    return torchvision.models.get_model(name, weights=None)


def _tensorflow_form(name: str) -> nn.Module:
    """timm's form, named tf_…, of a network that TensorFlow trained: it pads as TensorFlow does."""
    return timm_models.package(name).create_model(f"tf_{name}", pretrained=False)


@dataclass(frozen=True)
class Kind:
    """How a backbone is made: `stages(channels, height, width)`,
    or by cutting up the network that a library makes.
    """

    smallest: int  # side of the smallest images
    stages: Callable[[int, int, int], Stages] | None = None
    cut: Callable[[nn.Module], Stages] | None = None
    library: Callable[[str], nn.Module] = _torchvision  # makes the network that is cut, by name
    dropped: str = ""  # beginning of the names of the weights behind the last stage

    @property
    def in_colour(self) -> bool:
        """Whether it takes three channels, whatever images have."""
        return self.cut is not None

    def check_size(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise InputError where images are too small for it."""
        if min(shape[:2]) < self.smallest:
            least = f"at least {self.smallest} px"
            size = f"{shape[0]}x{shape[1]}"
            raise InputError(
                f"backbone {name} takes images of {least}, got {size} (setting size enlarges)"
            )

    def network(self, name: str, shape: tuple[int, ...]) -> nn.Module:
        """What a file of weights for the backbone is the state dict of."""
        return Backbone(self.stages(*_sides(shape))) if self.cut is None else self.library(name)

    def backbone(self, network: nn.Module, name: str, shape: tuple[int, ...]) -> Backbone:
        """A network with its levels."""
        return network if self.cut is None else Backbone(self.cut(network))

    def blueprint(self, name: str, shape: tuple[int, ...]) -> Blueprint:
        """What is known of the backbone without its weights."""
        with torch.device("meta"):
            network = self.network(name, shape)
            return Blueprint(network, self.backbone(network, name, shape).levels)

    def check_start(self, start: str, name: str, shape: tuple[int, ...]) -> None:
        """Raise InputError unless there are such weights for it."""
        weights.check(start, blueprint(self, name, shape).network, self.dropped, name)

    def started(self, start: str, name: str, shape: tuple[int, ...]) -> Backbone:
        """A backbone with the weights that it starts from."""
        network = self.network(name, shape)
        weights.load(start, network, self.dropped, name)
        return self.backbone(network, name, shape)

    def normalisation(self, name: str, start: str) -> Normalisation | None:
        """What images are normalised by; None where that is for the images to say."""
        if self.in_colour and start != weights.SCRATCH:
            return weights.normalisation(name)
        return None


@dataclass(frozen=True)
class FromTimm(Kind):
    """A network of timm, which is given its weights as timm does that."""

    smallest: int = 1

    @property
    def in_colour(self) -> bool:
        return True

    def network(self, name: str, shape: tuple[int, ...]) -> nn.Module:
        return timm_models.network(name, shape)

    def backbone(self, network: nn.Module, name: str, shape: tuple[int, ...]) -> Backbone:
        known = None if _on_meta(network) else blueprint(self, name, shape).levels
        try:
            return timm_models.TimmNet(network, shape, known)
        except InputError as error:
            raise InputError(f"backbone {name}: {error}") from None
        except Exception as error:  # of any code of timm's
            raise timm_models.size_refused(name, shape, error) from None

    def check_start(self, start: str, name: str, shape: tuple[int, ...]) -> None:
        if start not in (weights.SCRATCH, weights.TIMM):
            file = weights.file_of(start, name)
            _check_readable(name, shape, file, file.stat().st_mtime_ns)

    def started(self, start: str, name: str, shape: tuple[int, ...]) -> Backbone:
        file = None if start == weights.SCRATCH else weights.file_of(start, name)
        return self.backbone(timm_models.network(name, shape, file), name, shape)

    def normalisation(self, name: str, start: str) -> Normalisation | None:
        return None if start == weights.SCRATCH else timm_models.normalisation(name)


@cache
def _check_readable(name: str, shape: tuple[int, ...], file: Path, changed: int) -> None:
    """Raise InputError unless a network of timm takes the weights of a file, which is tried once as
    long as the file has not changed.
    """
    with torch.random.fork_rng(devices=[]):
        timm_models.network(name, shape, file)


@dataclass(frozen=True)
class Registered(Kind):
    """A network of somebody else's; see `register`."""

    smallest: int = 1
    make: Callable[[tuple[int, int, int]], nn.Module] | None = None
    normalised: Normalisation | None = None

    def network(self, name: str, shape: tuple[int, ...]) -> nn.Module:
        try:
            network = self.make((*shape, 1) if len(shape) == 2 else tuple(shape))
        except Exception as error:
            raise _refused(name, "cannot be made", shape, error) from None
        if not isinstance(network, nn.Module):
            raise InputError(
                f"backbone {name}: make must give a torch.nn.Module, got {type(network).__name__}"
            )
        return network

    def backbone(self, network: nn.Module, name: str, shape: tuple[int, ...]) -> Backbone:
        if isinstance(network, Backbone):
            return network
        try:
            return Whole(network, _places(network), (*shape, 1)[:3])
        except InputError as error:
            raise InputError(f"backbone {name}: {error}") from None
        except Exception as error:
            raise _refused(name, "fails", shape, error) from None

    def blueprint(self, name: str, shape: tuple[int, ...]) -> Blueprint:
        """Its network is made for it: not everybody's code can do without numbers."""
        with torch.random.fork_rng(devices=[]):
            network = self.network(name, shape)
            levels = self.backbone(network, name, shape).levels
        return Blueprint(network.to("meta"), levels)

    def normalisation(self, name: str, start: str) -> Normalisation | None:
        return self.normalised


def _places(network: nn.Module) -> dict[str, str]:
    """The levels that a network says it has: level -> the name of the module that gives it."""
    places = getattr(network, "levels", None)
    if not isinstance(places, Mapping):
        return {}
    modules = dict(network.named_modules())
    for level, place in places.items():
        if place not in modules:
            raise InputError(f"level {level} must be given by a module of its, got {place!r}")
    return dict(places)


def _refused(name: str, what: str, shape: tuple[int, ...], error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    size = f"images of {(*shape, 1)[:3]}"
    return InputError(f"backbone {name} {what} for {size}, height, width and channels ({reason})")


def _on_meta(network: nn.Module) -> bool:
    return any(weight.is_meta for weight in network.parameters())


def _sides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width of images (H, W) or (H, W, C)."""
    return shape[2] if len(shape) == 3 else 1, shape[0], shape[1]


# ---- by name

MOST_WEIGHTS = 1 << 29  # 2 GB; the largest of ours, VGG-19, has 144 million

OURS: dict[str, Kind] = {
    "tiny": Kind(4, nets.tiny),
    "lenet": Kind(16, nets.lenet),
    "quick": Kind(8, nets.quick),
    "resnet9": Kind(8, nets.resnet9),
    "alexnet": Kind(63, cut=nets.alexnet, dropped="classifier.6."),
    "vgg16": Kind(32, cut=nets.vgg, dropped="classifier.6."),
    "vgg19": Kind(32, cut=nets.vgg, dropped="classifier.6."),
    "resnet18": Kind(32, cut=nets.resnet, dropped="fc."),
    "resnet50": Kind(32, cut=nets.resnet, dropped="fc."),
    "mobilenet_v2": Kind(32, cut=nets.mobilenet_v2, dropped="classifier.1."),
    "efficientnet_lite0": Kind(
        32, cut=nets.efficientnet_lite0, library=_tensorflow_form, dropped="classifier."
    ),
}
BACKBONES: dict[str, Kind] = dict(OURS)  # and those that are registered
TIMM = FromTimm()

Make = TypeVar("Make", bound=Callable[[tuple[int, int, int]], nn.Module])
NAME = re.compile(r"[A-Za-z]\w*(?:[-.]\w+)*", re.ASCII)  # it stands in names of files
TAKEN = ("auto", "pixels", GIVEN)  # which mean something as a setting


def register(
    name: str,
    make: Make,
    *,
    weights_name: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Make:
    """Make a network of your own known by a name, in this process, to methods, runs and models.

    The network turns images (B, C, H, W) into one vector each, (B, d), and is trained like any other.
    What it gives on the way are its levels, if it says so: `network.levels`, a dictionary from the
    name of a level to the name of the module that gives it (as in `named_modules`), in the order in
    which they run; each gives maps (B, C, h, w) or vectors (B, C). The last level, `features`, is
    its output. A `Backbone` of named stages is taken as it is.

    Args:
        name: letters, digits, and _ - . between them.
        make: gives the network for images of (height, width, channels). With the setting weights=FILE
            it is given the state dict of a safetensors file.
        weights_name: what records call the weights that the network has when it is made, where they
            are not drawn by torch's generator.
        mean, std: of each channel, where white is 1, by which images are normalised; those of the
            training images where they are not given.

    Returns:
        `make`.

    Raises:
        InputError: a name that another one has, or that is no name; no function; mean and std that
            are no finite numbers, as many of each, with std above 0. Whether
            the network does what it should is found when it is first used.

    Example:
        >>> from torch import nn
        >>> from hashlab import networks
        >>> def perceptron(shape):
        ...     height, width, channels = shape
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(height * width * channels, 64), nn.ReLU())
        >>> _ = networks.register("perceptron", perceptron)
        >>> networks.levels("perceptron", (8, 8, 1))
        {'features': Level(channels=64, stride=None)}
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"a backbone's name is letters, digits and _ - . between, got {name!r}")
    if not callable(make) or isinstance(make, nn.Module):
        raise InputError(f"make must be a function of (H, W, C), got {type(make).__name__}")
    if name in OURS or name in TAKEN or not _is_again(name, make):
        raise InputError(f"there is another backbone called {name!r}; give yours another name")
    if (mean is None) != (std is None):
        raise InputError("mean and std belong together, got one of them")
    normalised = None if mean is None else _normalisation(mean, std)
    BACKBONES[name] = Registered(make=make, normalised=normalised)
    weights.OWN[name] = weights_name or weights.SCRATCH
    _levels.cache_clear()
    return make


def _is_again(name: str, make: Callable) -> bool:
    """Whether nobody else's network has the name: a cell may be run again."""
    before = getattr(BACKBONES.get(name), "make", make)
    return _origin(before) == _origin(make)


def _origin(make: Callable) -> Any:
    return getattr(make, "__module__", None), getattr(make, "__qualname__", make)


def _normalisation(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel; raises InputError for what cannot be that."""
    try:
        both = tuple(map(float, mean)), tuple(map(float, std))
    except (TypeError, ValueError):
        both = (), ()
    fit = len(both[0]) == len(both[1]) > 0 and all(map(math.isfinite, both[0] + both[1]))
    if not fit or min(both[1]) <= 0:
        expected = "mean and std must be as many finite numbers, a channel each, std above 0"
        raise InputError(f"{expected}; got {mean!r} and {std!r}")
    return both


def names() -> list[str]:
    """The names of backbones for images, besides timm's networks; `features` is that for features."""
    return list(BACKBONES)


def check_name(name: str) -> None:
    """Raise `Unknown`, an InputError, unless `name` is one of `names()`, timm/NAME, or `GIVEN`."""
    if timm_models.is_name(name):
        timm_models.check_name(name)
    elif name not in (*BACKBONES, GIVEN):
        expected = f"{', '.join(BACKBONES)}, timm/NAME"
        raise Unknown(
            f"unknown backbone {name!r}; expected one of: {expected}, or one of your own that "
            f"networks.register(name, make) has made known{did_you_mean(name, BACKBONES)}"
        )


def check_takes(name: str, shape: tuple[int, ...]) -> None:
    """Raise InputError unless a backbone takes items of `shape`: `GIVEN` features, all others
    images.
    """
    check_name(name)
    if (name == GIVEN) != items.are_features(shape):
        takes = "given features" if name == GIVEN else "images"
        raise InputError(f"backbone {name} takes {takes}, got {items.described(shape)}")


def kind_of(name: str) -> Kind:
    """How a backbone for images is made; raises InputError for an unknown name."""
    check_name(name)
    return TIMM if timm_models.is_name(name) else BACKBONES[name]


def from_library(name: str) -> bool:
    """Whether the backbone is one of torchvision's or timm's:
    they take three channels, and weights are published for them.
    """
    return kind_of(name).in_colour


def is_registered(name: str) -> bool:
    """Whether the backbone is somebody's own; what makes it may change from day to day."""
    return isinstance(BACKBONES.get(name), Registered)


def normalisation(name: str, start: str) -> Normalisation | None:
    """Mean and deviation of each channel by which images are normalised for a backbone that starts
    from some weights; None for those of the images themselves.
    """
    return kind_of(name).normalisation(name, start)


def versions(name: str) -> dict[str, str]:
    """Versions of the libraries, besides torch's, that a backbone is made by."""
    if timm_models.is_name(name) or getattr(BACKBONES.get(name), "library", 0) is _tensorflow_form:
        return {"timm": timm_models.version(name)}
    return {}


def identity(name: str) -> str:
    """The name of a backbone, with the version of the library whose code it is.

    What is kept between runs belongs to that: checkpoints, and features of a frozen one.
    """
    return f"{name} of timm {timm_models.version(name)}" if timm_models.is_name(name) else name


@cache
def blueprint(kind: Kind, name: str, shape: tuple[int, ...]) -> Blueprint:
    """See `Kind.blueprint`; it is drawn once for each shape."""
    return kind.blueprint(name, shape)


def check(name: str, shape: tuple[int, ...], start: str = weights.SCRATCH) -> None:
    """Raise InputError unless a backbone takes images (H, W) or (H, W, C), or features (d,), and
    has weights `start`.

    Nothing is downloaded for it.
    """
    check_takes(name, shape)
    if name == GIVEN:
        if start != weights.SCRATCH:
            raise InputError(f"given features have no weights: leave them out, got {start!r}")
        return
    kind = kind_of(name)
    kind.check_size(name, shape)
    count = parameters(blueprint(kind, name, shape).network)
    if count > MOST_WEIGHTS:
        size = f"{shape[0]}x{shape[1]}"
        raise InputError(
            f"backbone {name} has {count} weights for images of {size}, at most {MOST_WEIGHTS} fit"
        )
    kind.check_start(start, name, shape)


def create(
    name: str,
    shape: tuple[int, ...],
    start: str = weights.SCRATCH,
    frozen: bool | str = False,
    hidden: int = 0,
) -> Backbone:
    """A backbone for images of `shape` (H, W) or (H, W, C), or for features (d,);
    what is not loaded is drawn from torch's generator.

    Args:
        start: `scratch`, `torchvision-imagenet` or `efficientnet-lite0` (fetched when first used, and
            never read where the SHA-256 is another than the one that the package knows), `timm` for
            what timm publishes for one of its networks, or a path to a safetensors file with the
            state dict of the library's network, or of our own.
        frozen: whether it stays as it is, batch statistics included; or the level up to which it
            does.
        hidden: width of a dense layer on given features; 0 to do without it.

    Raises:
        InputError: unknown name, images that are too small, weights that are altered or of another
            architecture, a package that is missing.
    """
    check(name, shape, start)
    if name == GIVEN:
        return Given(shape[0], hidden)
    backbone = kind_of(name).started(start, name, shape)
    check_frozen(backbone.levels, frozen, (), name)
    return backbone.freeze(frozen) if frozen else backbone


def levels(name: str, shape: Sequence[int], hidden: int = 0) -> Mapping[str, Level]:
    """What a backbone gives on the way, by name and in order; its weights are not made for it.

    Raises InputError as `create` does.

    Example:
        >>> from hashlab import networks
        >>> levels = networks.levels("resnet18", (224, 224, 3))
        >>> list(levels)[-1], levels["pool"].channels
        ('pool', 512)
    """
    return dict(_levels(name, tuple(shape), hidden))


@cache
def _levels(name: str, shape: tuple[int, ...], hidden: int) -> Mapping[str, Level]:
    check(name, shape)
    if name == GIVEN:
        with torch.device("meta"):
            return Given(shape[0], hidden).levels
    return blueprint(kind_of(name), name, shape).levels


def default(shape: tuple[int, ...]) -> str:
    """The backbone that suits items of `shape`: `GIVEN` for features; for images
    `tiny` below 16 px, else `lenet` for grey and `quick` for colour.
    """
    if items.are_features(shape):
        return GIVEN
    if min(shape[:2]) < BACKBONES["lenet"].smallest:
        return "tiny"
    return "quick" if len(shape) == 3 and shape[2] == 3 else "lenet"


def parameters(module: nn.Module) -> int:
    """The number of trained numbers in a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`, or CUDA where there is one, else the CPU;
    raises InputError if it is not there.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of devices that torch gives up
            usual = "cuda" if torch.cuda.is_available() else "cpu"
            chosen = torch.device(usual if name is None else name)
        torch.zeros(1, device=chosen).item()  # some can be named but hold nothing
    except (RuntimeError, AssertionError, TypeError) as error:
        raise InputError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    return chosen
