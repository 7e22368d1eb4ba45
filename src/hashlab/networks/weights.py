"""What a network starts from: `scratch`, `torchvision-imagenet`, or a safetensors file,
named by its SHA-256.

Each of them is a condition of its own: results from different weights never stand in one column.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from hashlab.errors import InputError

SCRATCH = "scratch"
IMAGENET = "torchvision-imagenet"
# What torchvision's ImageNet weights were trained with, and a file for one of its networks is taken
# to be.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# SHA-256 of torchvision's file `IMAGENET1K_V1` of each network. torchvision itself publishes the
# first eight digits, in the name of the file; the others were taken, on 28 November 2026, from
# public repositories that pin the same files (at least three that agree for each). A file with
# another digest is refused, so a wrong digit here could only keep the right file out.
PINNED = {
    "alexnet": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "vgg16": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "vgg19": "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    "resnet18": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    "resnet50": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
    "mobilenet_v2": "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
}

Shapes = Mapping[str, tuple[int, ...]]


def describe(weights: str, name: str) -> str:
    """The name that a record gives to the weights of the architecture `name`:
    with the SHA-256 of their file.
    """
    if weights == SCRATCH:
        return weights
    if weights == IMAGENET:  # `load` takes no other file
        return f"{weights} sha256:{_pin(name)}"
    file = _file(weights)
    with file.open("rb") as content:
        return f"{file.name} sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"


def _pin(name: str) -> str:
    if name not in PINNED:
        raise InputError(
            f"backbone {name} has no weights {IMAGENET}; expected: {SCRATCH} or a safetensors file"
        )
    return PINNED[name]


def _file(weights: str) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        raise InputError(
            f"weights must be {SCRATCH}, {IMAGENET} or a safetensors file, got {weights!r}: no "
            "such file"
        )
    return file


def check(weights: str, network: nn.Module, dropped: str, name: str) -> None:
    """Raise InputError unless a file of weights holds those of `network`;
    nothing is loaded or downloaded.

    Args:
        dropped: beginning of the names of weights that may be missing, because they are not used.
        name: of the architecture.
    """
    if weights == IMAGENET:
        if _pin(name) and (file := _cached(name)).is_file():
            with file.open("rb") as content:
                _check_digest(file, hashlib.file_digest(content, "sha256").hexdigest(), name)
    elif weights != SCRATCH:
        try:
            with safe_open(_file(weights), "pt") as content:
                shapes = {key: tuple(content.get_slice(key).get_shape()) for key in content.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{weights} cannot be read as safetensors: {error}") from None
        _check_shapes(weights, shapes, network, dropped, name)


def _check_shapes(
    weights: str, shapes: Shapes, network: nn.Module, dropped: str, name: str
) -> None:
    """Raise InputError unless these are the weights of `network`,
    whose counts of batches nothing here uses.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    for key in sorted(wanted.keys() | shapes.keys()):
        optional = key.endswith("num_batches_tracked") or _is_dropped(key, dropped)
        if wanted.get(key) != shapes.get(key) and not (optional and key in wanted):
            ours = wanted.get(key, "nothing")
            theirs = shapes.get(key, "nothing")
            others = f"{weights} holds other weights than those of {name}"
            raise InputError(f"{others}: {key} is {theirs}, {ours} expected")


def _is_dropped(key: str, dropped: str) -> bool:
    return bool(dropped) and key.startswith(dropped)


def load(weights: str, network: nn.Module, dropped: str, name: str) -> None:
    """Put weights into a freshly made network;
    raises InputError where they are not of this architecture.
    """
    if weights == SCRATCH:
        return
    if weights == IMAGENET:
        values = _imagenet(name)
        shapes = {key: tuple(tensor.shape) for key, tensor in values.items()}
        _check_shapes(weights, shapes, network, dropped, name)
    else:
        check(weights, network, dropped, name)
        values = safetensors.torch.load_file(_file(weights))
    own = network.state_dict()
    kept = {
        key: value
        for key, value in values.items()
        if not _is_dropped(key, dropped) and value.shape == own[key].shape  # counts may be of any
    }
    network.load_state_dict(kept, strict=False)


def _imagenet(name: str) -> dict[str, torch.Tensor]:
    """torchvision's weights of a network, downloaded when first used.
    What is unpickled is what was hashed.
    """
    file = _cached(name)
    if not file.is_file():
        _download(file, name)
    content = file.read_bytes()
    _check_digest(file, hashlib.sha256(content).hexdigest(), name)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _cached(name: str) -> Path:
    """Where torchvision keeps its weights of a network."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_url(name)).name


def _url(name: str) -> str:
    import torchvision

    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url


def _check_digest(file: Path, digest: str, name: str) -> None:
    if digest != PINNED[name]:
        raise InputError(
            f"{file} is not torchvision's file of weights of {name}: sha256 {PINNED[name][:12]}… "
            "expected,"
            f" got {digest[:12]}…; remove it, and it is downloaded anew"
        )


def _download(file: Path, name: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(
            _url(name), str(file), hash_prefix=PINNED[name], progress=False
        )
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"torchvision's weights of {name} could not be downloaded ({reason}); is there a "
            "network?"
        ) from None
