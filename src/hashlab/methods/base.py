"""What all methods share: settings that are checked, and for deep ones the network, its training and its codes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from hashlab import backbones, codes, training
from hashlab.data import Part
from hashlab.errors import InputError


@dataclass(frozen=True)
class About:
    """What a method is, for lists and for the book."""

    name: str
    title: str
    year: int
    kind: str  # shallow, pairwise, triplet, class-wise, centre
    labels: tuple[str, ...]  # relevance kinds it takes
    paper: str
    status: str  # "the paper's formulas", "reconstruction", …


@dataclass(frozen=True, kw_only=True)
class DeepConfig:
    """Settings of every deep method."""

    backbone: str = "auto"  # one of backbones.names(), or what suits the images
    weights: str = "scratch"
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: int = 2  # training images are moved by up to this many pixels


def configure(kind: type, overrides: dict[str, Any]) -> Any:
    """An instance of the settings class `kind`; raises InputError for an unknown setting or one of the wrong type."""
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for name, value in overrides.items():
        if name not in defaults:
            raise InputError(f"unknown setting {name!r}; expected one of: {', '.join(defaults)}")
        expected = type(defaults[name])
        fits = isinstance(value, expected) or (expected is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and expected is not bool):
            raise InputError(f"setting {name} must be {expected.__name__}, got {value!r}")
        if isinstance(value, int | float) and (value < 0 or not np.isfinite(value)):
            raise InputError(f"setting {name} must be a finite number of at least 0, got {value}")
    return kind(**overrides)


class Method:
    """A way to learn codes of `bits` bits. Subclasses say `about`, `Config`, `fit` and `encode`."""

    about: ClassVar[About]
    Config: ClassVar[type]

    def __init__(self, bits: int, **overrides: Any):
        if not isinstance(bits, int | np.integer) or isinstance(bits, bool) or bits < 1:
            raise InputError(f"bits must be an integer of at least 1, got {bits!r}")
        self.bits, self.tables, self.overrides = int(bits), None, dict(overrides)
        self.config = configure(self.Config, overrides)

    def fit(self, train: Part, *, seed: int = 0, device: str | None = None) -> Self:
        raise NotImplementedError

    def encode(self, images: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class DeepMethod(Method):
    """A method that trains a network: a backbone, a linear hash layer, and the loss of the subclass.

    After `fit`: `.network` maps normalised images to real outputs z (B, K); `.history` holds a line per epoch.
    """

    Config: ClassVar[type] = DeepConfig
    network: nn.Module | None = None

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """The training loss of outputs z (B, K) and labels (B,): a scalar."""
        raise NotImplementedError

    def phases(self, backbone: backbones.Backbone, hash_layer: nn.Linear, classes: int) -> list[training.Phase]:
        """The stages of training; one stage on the method's loss unless a subclass says otherwise."""
        network = nn.Sequential(backbone, hash_layer)
        return [self.phase("hashing", network, self.loss, self.config.epochs, self.config.lr)]

    def phase(self, name: str, network: nn.Module, loss: Any, epochs: int, lr: float) -> training.Phase:
        """A stage that minimises `loss(network(images), labels)`."""
        c = self.config
        return training.Phase(name, network, lambda x, y: loss(network(x), y), epochs, lr, c.momentum, c.weight_decay)

    def fit(
        self,
        train: Part,
        *,
        seed: int = 0,
        device: str | None = None,
        each_epoch: training.EachEpoch | None = None,
    ) -> Self:
        """Train on `train.images` uint8 (N, H, W[, C]) and `train.labels` int (N,).

        Args:
            seed: of initialisation, order and shifts; the same seed gives the same codes on the same device.
            device: "cpu", "cuda", …; CUDA where there is one when None.
            each_epoch: called with phase name and epoch number after every epoch; it may encode, not train.

        Raises:
            InputError: images, labels, settings or device that do not fit, before training starts.
            FloatingPointError: a loss that is not finite, with its phase and step.
        """
        labels = check_labels(train.labels, len(train.images))
        name, place = self.check(train.images), backbones.device(device)
        self.backbone, self.device, self._shape = name, place, train.images.shape[1:]
        self._statistics = training.statistics(train.images)
        with training.seeded(seed) as generator:
            backbone = backbones.create(name, train.images.shape[1:])
            hash_layer = nn.Linear(backbone.features, self.bits)
            self.network = nn.Sequential(backbone, hash_layer).to(place)
            stages = self.phases(backbone, hash_layer, int(labels.max()) + 1)
            for stage in stages:
                stage.module.to(place)
            batches = training.Batches(train.images, labels, place, *self._statistics)
            c = self.config
            self.history = training.train(
                stages,
                batches,
                batch_size=c.batch_size,
                shift=c.shift,
                generator=generator,
                each_epoch=each_epoch,
            )
        return self

    def check(self, images: np.ndarray) -> str:
        """Raise InputError unless the settings suit the images; returns the name of the backbone."""
        training.check_images(images)
        c = self.config
        if c.weights != "scratch":
            raise InputError(f"unknown weights {c.weights!r}; expected: scratch")
        if not 2 <= c.batch_size <= len(images):
            raise InputError(f"batch_size must lie in 2..{len(images)} (the training images), got {c.batch_size}")
        name = backbones.default(images.shape[1:]) if c.backbone == "auto" else c.backbone
        backbones.check(name, images.shape[1:])
        return name

    @torch.inference_mode()
    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Real outputs z float32 (N, K) of images uint8 (N, H, W[, C]); a bit is 1 where z >= 0."""
        if self.network is None:
            raise InputError("the method is not fitted yet: call fit(train) first")
        if images.shape[1:] != self._shape:
            raise InputError(f"images of {self._shape} expected, as in training, got {images.shape[1:]}")
        self.network.eval()
        batches = training.Batches(images, None, self.device, *self._statistics)
        return torch.cat([self.network(batch).float().cpu() for batch in batches.stream()]).numpy()

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Packed codes uint8 (N, 8*ceil(K/64)) of images uint8 (N, H, W[, C]); see `outputs`."""
        return codes.pack(codes.binarize(self.outputs(images)))


def check_labels(labels: np.ndarray, count: int) -> np.ndarray:
    """Labels as int64 (N,); raises InputError for other shapes, types, or fewer than two classes."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise InputError(f"labels must be ({count},) integers, got {labels.shape} {labels.dtype}")
    if labels.min() < 0 or labels.min() == labels.max():
        raise InputError(f"labels must be 0 or more and of two classes at least, got {np.unique(labels)[:5].tolist()}")
    return labels.astype(np.int64)
