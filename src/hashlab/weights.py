"""What a network starts from: `scratch`, `torchvision-imagenet`, or a safetensors file, named by its SHA-256.

Each of them is a condition of its own: results from different weights never stand in one column.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from hashlab.errors import InputError

SCRATCH, IMAGENET = "scratch", "torchvision-imagenet"
# What torchvision's ImageNet weights were trained with, and a file for one of its networks is taken to be.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def describe(weights: str) -> str:
    """The name that a record gives to weights: a file's own name and SHA-256, wherever it lies."""
    if weights in (SCRATCH, IMAGENET):
        return weights
    file = _file(weights)
    with file.open("rb") as content:
        return f"{file.name} sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _file(weights: str) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise InputError(f"weights must be {SCRATCH}, {IMAGENET} or a safetensors file, got {weights!r}: no such file")
    return file


def check(weights: str, network: nn.Module, dropped: str, name: str) -> None:
    """Raise InputError unless a file of weights holds those of `network`; nothing is loaded.

    Args:
        dropped: beginning of the names of weights that may be missing, because they are not used.
        name: of the architecture, for the message.
    """
    if weights in (SCRATCH, IMAGENET):
        return
    try:
        with safe_open(_file(weights), "pt") as content:
            found = {key: tuple(content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{weights} cannot be read as safetensors: {error}") from None
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key in sorted(wanted.keys() | found.keys()):
        optional = bool(dropped) and key.startswith(dropped)
        if wanted.get(key) != found.get(key) and not (optional and key in wanted):
            here, there = wanted.get(key, "nothing"), found.get(key, "nothing")
            raise InputError(f"{weights} holds other weights than those of {name}: {key} is {there}, {here} expected")


def load(weights: str, network: nn.Module, dropped: str, name: str) -> None:
    """Put weights into a freshly made network; raises InputError where they are not of this architecture."""
    if weights == SCRATCH:
        return
    if weights == IMAGENET:
        values = _download(name)
    else:
        check(weights, network, dropped, name)
        values = safetensors.torch.load_file(_file(weights))
    kept = {key: value for key, value in values.items() if not (dropped and key.startswith(dropped))}
    network.load_state_dict(kept, strict=False)


def _download(name: str) -> dict[str, torch.Tensor]:
    import torchvision

    try:
        return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].get_state_dict(progress=False)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"torchvision's weights of {name} could not be downloaded ({reason}); is there a network?"
        ) from None
