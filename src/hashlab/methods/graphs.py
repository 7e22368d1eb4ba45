"""A trained method as an ONNX graph: images in, packed codes out, nothing of hashlab or torch needed.

The graph takes `images`, uint8 (N, H, W) or (N, H, W, 3) of the model's shape, for any N, because
that is what every decoder gives and what nobody can normalise wrongly. It crops, normalises and
resizes as the model does, and gives `codes`, uint8 as `encode` does (bit k is bit k % 8 of byte
k // 8, zero-padded to words of 64 bits, table after table), and `outputs`, the real outputs (N, K).
To bring a photograph into the model's shape is the caller's part, as it is with arrays in training.

The network of a deep method computes in float32, estimators on features in float64, as in hashlab. A graph is
compared with the model on random and extreme images before it is written.

Not exported: methods whose bits are no linear functions of features (KSH, SDH, SH and SKLSH), and
random codes, which follow from no formula.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import hashlab
from hashlab import codes, files
from hashlab.data.batches import View
from hashlab.errors import InputError
from hashlab.methods.base import Method
from hashlab.methods.deep import DeepMethod
from hashlab.methods.shallow import ShallowMethod
from hashlab.networks.features import FeatureNet
from hashlab.shallow.base import LinearHasher

OPSET = 18
NEAR = 1e-4  # of zero, in units of the mean size of outputs: there a bit may differ
RANDOM = 24  # images of random pixels that a graph is tried on
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class Exported(NamedTuple):
    """What was written, and how it was compared with the model."""

    inputs: str  # in words
    outputs: str
    opset: int
    images: int  # that were compared
    bits: int
    differ: int  # bits, all of them of outputs near zero
    largest: float  # difference of two outputs


def export(method: Method, output: str | Path) -> Exported:
    """Write a fitted method as an ONNX graph, which was compared with it; see the head of this file.

    Args:
        method: a fitted one, for example from `methods.load`.
        output: the `.onnx` file, one file with all weights.

    Raises:
        InputError: packages that are missing, a method that is not fitted or cannot be a graph, an
            output that cannot be, a graph that gives other codes; nothing is written then.
    """
    output = Path(output)
    files.check_file(output, ".onnx")
    check_installed()
    encoder = of_method(method)
    shape = tuple(method.shape)
    content, facts = _described(_graph(encoder, shape), method)
    checked = _compared(content, encoder, method, shape)
    files.write(output, content)
    return Exported(facts["input"], facts["output"], int(facts["opset"]), *checked)


def check_installed() -> None:
    """Raise InputError unless all packages of the extra are there."""
    from importlib.util import find_spec

    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(
            f"an ONNX graph needs the package {missing[0]}: pip install 'hashlab[onnx]'"
        )


# ---- the model as one module


class Encoder(nn.Module):
    """Images uint8 (N, H, W[, 3]) -> packed codes and real outputs (N, K)."""

    def __init__(self, outputs: nn.Module, bits: int, tables: tuple[int, ...] | None):
        super().__init__()
        self.outputs = outputs
        unit = codes.pack(np.eye(bits, dtype=bool))  # (K, bytes): the code of each bit alone
        places = files.split_tables(unit, bits, tables)
        self.register_buffer("places", torch.from_numpy(places).float())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        z = self.outputs(images)  # (N, K)
        bits = (z >= 0).float()
        return (bits @ self.places).to(torch.uint8), z  # whole numbers up to 255 are exact


class Deep(nn.Module):
    """The outputs of a network for stored images: as `View.plain`, and then the network."""

    def __init__(self, net: FeatureNet):
        super().__init__()
        self.view: View = net.view
        self.network = copy.deepcopy(net.network).cpu().float().eval()
        mean, std = (255 * torch.tensor(values) for values in (net.view.mean, net.view.std))
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        height, width = net.view.window
        self.register_buffer("rows", _resizing(height, width, height, net.view.size))
        self.register_buffer("columns", _resizing(height, width, width, net.view.size))

    def forward(self, images: Tensor) -> Tensor:
        view = self.view
        height, width = view.window
        top = (view.height - height) // 2
        left = (view.width - width) // 2
        x = images if images.ndim == 4 else images[..., None]
        x = x[:, top : top + height, left : left + width].float()  # (N, h, w, C)
        x = ((x - self.mean) / self.std).permute(0, 3, 1, 2)  # (N, C, h, w)
        if self.rows is not None:
            x = self.rows @ x @ self.columns.T  # (N, C, size, size)
        return self.network(x)


def _resizing(height: int, width: int, side: int, size: int) -> Tensor | None:
    """The matrix (size, side) by which `View.finish` resizes an axis: torch's own, of unit vectors.

    So no operator's ideas of corners and anti-aliasing matter. None where nothing is resized.
    """
    if not size or (height, width) == (size, size):
        return None
    unit = torch.eye(side)[None, None]  # (1, 1, side, side)
    shrinks = size < max(height, width)
    resized = F.interpolate(unit, size=(size, side), mode="bilinear", antialias=shrinks)
    return resized[0, 0]


class Pixels(nn.Module):
    """Images in units of 0..1, in a row."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).double() / 255


class Linear(nn.Module):
    """Outputs of a `LinearHasher` on features, in float64."""

    def __init__(self, features: nn.Module, hasher: LinearHasher):
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.from_numpy(np.array(hasher.mean_, np.float64)))
        self.register_buffer("weights", torch.from_numpy(np.array(hasher.weights_, np.float64)))

    def forward(self, images: Tensor) -> Tensor:
        return (self.features(images).double() - self.mean) @ self.weights  # (N, K)


def of_method(method: Method) -> Encoder:
    """A fitted method as a module on the CPU.

    Raises InputError where it is not fitted, takes no images, or is of a kind that is not exported.
    """
    if isinstance(method, DeepMethod):
        _check_images(method.shape)
        outputs: nn.Module = Deep(method.net)
    else:
        outputs = _shallow(method)
    return Encoder(outputs, method.bits, method.tables).eval()


def _shallow(method: Method) -> Linear:
    hasher = getattr(method, "hasher", None)
    if isinstance(method, ShallowMethod) and hasher is None:
        raise InputError("the method is not fitted yet: call fit(train) first")
    if not isinstance(method, ShallowMethod) or not isinstance(hasher, LinearHasher):
        raise InputError(
            "a network, or linear functions of features, are expected for an ONNX graph, got "
            f"{method.about.name}"
        )
    _check_images(method.shape)
    return Linear(Pixels() if method.net is None else Deep(method.net), hasher)


def _check_images(shape: tuple[int, ...]) -> None:
    if len(shape) == 1:
        raise InputError(
            f"a model of images is expected for an ONNX graph, got one of {shape[0]} features"
        )


# ---- the graph


def _graph(encoder: Encoder, shape: tuple[int, ...]) -> Any:
    """The module as an onnx.ModelProto with a free number of images."""
    example = torch.zeros((2, *shape), dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                encoder,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["codes", "outputs"],
                dynamic_shapes={"images": {0: torch.export.Dim("N")}},
                verbose=False,
            )
    except Exception as error:  # whatever an operator of somebody's network does not have
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"the network cannot be an ONNX graph: {reason}") from None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """torch and onnxscript tell of their own affairs in several ways."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _described(model: Any, method: Method) -> tuple[bytes, dict[str, str]]:
    """The graph as bytes, checked, with what a user must know among its metadata."""
    import onnx

    facts = _facts(method, model)
    onnx.helper.set_model_props(model, facts)
    _anonymous(model)
    model.producer_name = "hashlab"
    model.producer_version = hashlab.__version__
    model.doc_string = f"{method.about.title} ({method.about.paper}), {method.bits} bits"
    content = model.SerializeToString()
    onnx.checker.check_model(content)
    return content, facts


def _anonymous(model: Any) -> None:
    """Take out where in whose files each operator was written: one model, one file."""
    graphs = [model.graph, *model.functions]
    parts = [part for graph in graphs for part in (*graph.node, *graph.value_info)]
    tensors = [*model.graph.initializer, *model.graph.input, *model.graph.output]
    for part in (*graphs, *parts, *tensors):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _facts(method: Method, model: Any) -> dict[str, str]:
    axes = ", ".join(["N", *map(str, method.shape)])
    kind = "RGB, channels last" if len(method.shape) == 3 else "grey"
    width = sum(codes.row_bytes(bits) for bits in method.tables or (method.bits,))
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    return {
        "method": method.about.name,
        "bits": str(method.bits),
        "tables": json.dumps(method.tables),
        "input": f"images uint8 ({axes}), {kind}",
        "output": f"codes uint8 (N, {width}), outputs (N, {method.bits})",
        "bit order": "bit k is bit k % 8 of byte k // 8 of its table, padded with zeros to 64 bits",
        "opset": str(opset),
        "hashlab": hashlab.__version__,
    }


# ---- the comparison


def trials(shape: tuple[int, ...]) -> np.ndarray:
    """Images uint8 (N, *shape) to compare on: random ones, one-coloured ones, a slope, a grid,
    single bright and dark pixels.
    """
    rng = np.random.default_rng(0)
    random = rng.integers(0, 256, (RANDOM, *shape), dtype=np.uint8)
    flat = [np.full(shape, value, np.uint8) for value in (0, 1, 127, 128, 254, 255)]
    down, right = np.indices(shape[:2])
    slope = (255 * right // max(shape[1] - 1, 1)).astype(np.uint8)
    grid = (255 * ((down + right) % 2)).astype(np.uint8)
    drawn = [
        np.broadcast_to(x.reshape(*shape[:2], *[1] * (len(shape) - 2)), shape)
        for x in (slope, grid)
    ]
    bright = flat[0].copy()
    bright[shape[0] // 2, shape[1] // 2] = 255
    return np.stack([*random, *flat, *drawn, bright, 255 - bright])


def _compared(
    content: bytes, encoder: Encoder, method: Method, shape: tuple[int, ...]
) -> tuple[int, int, int, float]:
    """How many images and bits were compared, how many bits differ,
    and the largest difference of outputs.

    Raises InputError where a bit differs though its output is not near zero.
    """
    images = trials(shape)
    session = _session(content)
    runs = [session.run(None, {"images": block}) for block in (images[:1], images[1:])]
    packed, z = (np.concatenate(parts) for parts in zip(*runs, strict=True))
    with torch.inference_mode():
        expected, wanted = (x.numpy() for x in encoder(torch.from_numpy(images)))
    if str(getattr(method, "device", "cpu")) == "cpu" and method.precision == "float32":
        expected = method.encode(images)
    apart = codes.unpackbits(packed ^ expected)
    near = np.abs(wanted) <= NEAR * np.abs(wanted).mean()
    excused = codes.unpackbits(_packed(near, method))
    differ = int(apart.sum())
    if (apart & ~excused).any():
        raise InputError(
            f"the graph's codes differ from the model's in {differ} of {wanted.size} bits, some of "
            "which are of outputs that are not near zero; nothing was written"
        )
    return len(images), wanted.size, differ, float(np.abs(z - wanted).max())


def _packed(bits: np.ndarray, method: Method) -> np.ndarray:
    return files.split_tables(codes.pack(bits), method.bits, method.tables)


def _session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
