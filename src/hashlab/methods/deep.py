"""Deep methods: a network, its training, and its codes. A subclass states a loss, and a head where it differs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from hashlab import codes
from hashlab.data.batches import Batch, Batches, Images, View, memory_explained, statistics, stored
from hashlab.data.folders import LARGEST_SIDE
from hashlab.data.parts import Part
from hashlab.errors import InputError
from hashlab.methods.base import Method, Shared, check_labels, check_pair_labels, check_part, fact, setting
from hashlab.networks import backbones, features, weights
from hashlab.training import loop, numerics, seeds
from hashlab.training.checkpoints import Checkpoints, State
from hashlab.training.sharing import Itself, PhaseKey


def auto_precision(device: torch.device) -> str:
    """bfloat16 where the GPU has arithmetic for it (Ampere and newer: capability 8), else float32."""
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if fast else "float32"


@dataclass(frozen=True, kw_only=True)
class DeepConfig:
    """Settings of every deep method."""

    backbone: str = setting("auto", f"one of {', '.join(backbones.names())}; auto for what suits the images")
    weights: str = setting("scratch", "the start: scratch, torchvision-imagenet, or a safetensors file")
    frozen: bool = setting(False, "the backbone stays as it is, and sees each image once, not shifted, not mirrored")
    epochs: int = setting(10, "times that every training image is seen")
    batch_size: int = setting(128, "images per step; pairs are made within them")
    optimiser: str = setting("sgd", "what turns gradients into steps")
    schedule: str = setting("cosine", "of the learning rate, after a warm-up")
    lr: float = setting(0.05, "highest learning rate")
    momentum: float = setting(0.9, "of sgd and rmsprop", most=1)
    weight_decay: float = setting(5e-4, "pull of every weight towards zero")
    clip: float = setting(0.0, "largest norm of the gradient; 0 for any")
    shift: int = setting(2, "training images are moved by up to this many pixels", most=LARGEST_SIDE)
    crop: int = setting(
        0, "side of the square cut out of the images, at random in training; 0 for the whole", most=LARGEST_SIDE
    )
    flip: str = setting("auto", "training images are mirrored half of the time; auto for where there is colour")
    size: int = setting(
        0, "side of the square that images are resized to before the backbone; 0 to leave them", most=LARGEST_SIDE
    )
    precision: str = setting("auto", "of the network; auto for bfloat16 on GPUs that have it, else float32")
    compiler: str = setting("none", "inductor (torch.compile) or graphs (CUDA graphs): a slow start, then faster")
    deterministic: bool = setting(False, "on CUDA: the same bits every time, at some cost")
    resident_mb: int = setting(8192, "images of up to this many MiB stay on the device, others are read batch by batch")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "optimiser": tuple(loop.OPTIMISERS),
        "schedule": tuple(loop.SCHEDULES),
        "flip": ("auto", "yes", "no"),
        "precision": ("auto", *numerics.PRECISIONS),
        "compiler": numerics.COMPILERS,
    }


class Network(nn.Module):
    """A backbone and a head on its features, or on what some of its levels give: images -> outputs.

    Features (B, d) that were computed before are taken as well as images (B, C, H, W).
    """

    def __init__(
        self, backbone: backbones.Backbone, head: nn.Module, levels: tuple[str, ...] = (), pooled: bool = False
    ):
        super().__init__()
        self.backbone, self.head, self.levels, self.pooled = backbone, head, levels, pooled

    def body(self, images: Tensor) -> Any:
        """What the head takes: features (B, d), or a tuple with the maps of each level, or their means (B, sum C)."""
        if not self.levels:
            return self.backbone(images)
        maps = self.backbone.forward_levels(images, self.levels)
        return features.pooled(maps) if self.pooled else maps

    def forward(self, x: Tensor) -> Any:
        return self.head(x if x.ndim == 2 else self.body(x))


class DeepMethod(Method):
    """A method that trains a network: a backbone, a head (a linear layer), and the loss of the subclass.

    After `fit`: `.network` maps normalised images to real outputs z (B, K); `.history` holds a line per epoch;
    `.backbone`, `.view`, `.device` and `.precision` say what the settings came to.
    """

    Config: ClassVar[type] = DeepConfig
    levels: tuple[str, ...] = ()  # of the backbone, which the head takes; its features where there are none
    pooled: bool = False  # the head takes the means of the levels' maps, side by side, rather than a tuple of maps
    network: Network | None = None

    # ---- what subclasses say

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """The training loss of outputs z (B, K) and labels (B,): a scalar."""
        raise NotImplementedError

    def head(self, backbone: backbones.Backbone) -> nn.Module:
        """What maps features (B, d) to outputs (B, K)."""
        return nn.Linear(backbone.features, self.bits)

    def targets(self, train: Part) -> np.ndarray:
        """The labels that the loss takes; raises InputError where there are none such."""
        check = check_pair_labels if "shares_label" in self.about.labels else check_labels
        return check(train.labels, len(train.labels if isinstance(train, Part) else train.images))

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        """The stages of training; one stage on the method's loss unless a subclass says otherwise."""
        return [self.phase("hashing", network, self.loss, self.config.epochs, self.config.lr)]

    # ---- what they share

    def phase(
        self,
        name: str,
        network: nn.Module,
        loss: Callable[..., Tensor],
        epochs: int,
        lr: float,
        shared: bool = False,
        rows: bool = False,
        **more: Any,
    ) -> loop.Phase:
        """A stage that minimises `loss(network(images), labels)`, in full precision whatever the network's.

        Args:
            loss: a function, or a module, whose weights are then trained too and whose buffers stand in checkpoints.
            shared: whether it is the same for all code lengths; then runs in one pass do it once.
            rows: whether the loss also takes the images' positions in the training part: `loss(z, labels, rows)`.
            more: of `loop.Phase`.
        """
        names = ("momentum", "weight_decay", "optimiser", "schedule", "clip")
        settings = {name: getattr(self.config, name) for name in names} | more

        def of(batch: Batch) -> Tensor:
            return numerics.in_full(loss, network(batch.images), batch.labels, *([batch.rows] if rows else []))

        return loop.Phase(
            name,
            nn.ModuleList([network, loss]) if isinstance(loss, nn.Module) else network,
            of,
            epochs,
            lr,
            network=network,
            share_key=PhaseKey(name, *self._same) if shared else None,
            **settings,
        )

    def check(self, train: Part) -> None:
        """Raise InputError where settings and training data do not suit each other; nothing is begun."""
        c, images = self.config, stored(images_of(train))
        self.targets(train)
        if not 2 <= c.batch_size <= len(images):
            raise InputError(f"batch_size must lie in 2..{len(images)} (the training images), got {c.batch_size}")
        if max(c.crop, c.shift) > min(images.shape[:2]):
            raise InputError(f"crop and shift must fit into images of {images.shape[:2]}, got {c.crop} and {c.shift}")
        name = self._backbone(images.shape)
        backbones.check_name(name)
        unknown = (0.0,) * (images.shape[2] if len(images.shape) == 3 else 1)
        backbones.check(name, self._view(images.shape, unknown, unknown).shape, c.weights)

    def _backbone(self, shape: tuple[int, ...]) -> str:
        c = self.config
        return backbones.default(shape) if c.backbone == "auto" else c.backbone

    def _view(self, shape: tuple[int, ...], mean: tuple[float, ...], std: tuple[float, ...]) -> View:
        """How images of `shape` (H, W[, C]) become input: normalised by statistics of the training images.

        A network with torchvision's architecture takes three channels, and with weights the statistics of ImageNet.
        """
        c, name = self.config, self._backbone(shape)
        channels = shape[2] if len(shape) == 3 else 1
        flip = c.flip == "yes" or (c.flip == "auto" and channels == 3)
        if backbones.from_torchvision(name):
            mean, std = (3 * mean, 3 * std) if len(mean) == 1 else (mean, std)
            if c.weights != weights.SCRATCH:
                mean, std = weights.IMAGENET_MEAN, weights.IMAGENET_STD
        size, shift = shape[:2], 0 if c.frozen else c.shift
        return View(*size, channels, mean, std, shift, c.crop, flip and not c.frozen, c.size)

    def fit(
        self,
        train: Part,
        *,
        seed: int = 0,
        device: str | None = None,
        each_epoch: loop.EachEpoch | None = None,
        checkpoints: str | Path | None = None,
        every: float = 60.0,
        shared: Shared | None = None,
    ) -> Self:
        """Train on `train.images` uint8 (N, H, W[, C]) and `train.labels` int (N,).

        Args:
            seed: of initialisation, order and shifts; the same seed gives the same codes on the same device.
            device: "cpu", "cuda", …; CUDA where there is one when None.
            each_epoch: called with phase name and epoch number after every epoch; it may encode, not train.
            checkpoints: a folder where the state is kept, and taken up from when it is there already.
            every: seconds between two checkpoints.
            shared: the same one for several runs lets them share what they have in common: the features of a frozen
                backbone, and stages that do not depend on the code length.

        Raises:
            InputError: images, labels, settings or device that do not fit, before training starts.
            FloatingPointError: a loss that is not finite, with its phase and step.
            MemoryError: the device's memory is full; says which setting to lower.
            KeyboardInterrupt: Ctrl-C; `checkpoints.Interrupted` where the state was saved.
        """
        self.check(train)
        seeds.check(seed)
        self._place(device)
        c, labels, images = self.config, self.targets(train), images_of(train)
        self.shape = tuple(stored(images).shape)
        self.backbone, self.view = self._backbone(self.shape), self._view(self.shape, *statistics(images))
        shared = Shared() if shared is None else shared
        self._same = (self.about.name, c), seed, str(self.device), train if isinstance(train, Part) else Itself(train)
        with seeds.kept(self.device), numerics.deterministic(c.deterministic):
            with memory_explained(f"the network for images of {self.view.shape}", "size, or the bits"):
                self.network = self._build(seed)
                self._check_width()
            batches = self._batches(images, labels, shared)
            torch.manual_seed(seeds.derived(seed, "phases"))
            with memory_explained(f"what training on {len(labels)} images keeps", "bits"):
                stages = self.phases(self.network, labels)
            for stage in stages:
                stage.module.to(self.device, memory_format=torch.channels_last)
            self.history = loop.train(
                stages,
                batches,
                batch_size=c.batch_size,
                seed=seed,
                precision=self.precision,
                compiler=c.compiler,
                each_epoch=each_epoch,
                checkpoints=checkpoints and Checkpoints(checkpoints, self._identity(seed, labels), every),
                shared=shared,
            )
        return self

    def _place(self, device: str | None) -> None:
        self.device, wish = backbones.device(device), self.config.precision
        self.precision = auto_precision(self.device) if wish == "auto" else wish

    def _build(self, seed: int, pretrained: bool = True) -> Network:
        """The network at the start; the backbone's weights are the same for all code lengths."""
        c = self.config
        torch.manual_seed(seeds.derived(seed, "backbone"))
        start = c.weights if pretrained else weights.SCRATCH
        backbone = backbones.create(self.backbone, self.view.shape, start, c.frozen)
        torch.manual_seed(seeds.derived(seed, "head"))
        self._body = self.backbone, weights.describe(start, self.backbone), seed if start == weights.SCRATCH else None
        network = Network(backbone, self.head(backbone), self.levels, self.pooled)
        return network.to(self.device, memory_format=torch.channels_last)

    def _check_width(self) -> None:
        """Raise InputError unless the network gives an output per bit."""
        height, width, channels = self.view.shape
        with torch.no_grad():
            z = self.network.eval()(torch.zeros(2, channels, height, width, device=self.device))
        if (found := tuple(getattr(z, "shape", ()))) != (2, self.bits):
            what = found or type(z).__name__
            raise InputError(f"a head that gives (2, {self.bits}) outputs for 2 images expected, got {what}")

    def _identity(self, seed: int, labels: np.ndarray) -> dict[str, Any]:
        """What a checkpoint must agree in to be one of this run."""
        named = weights.describe(self.config.weights, self.backbone)
        config = dataclasses.asdict(self.config) | {"weights": named}
        digest = hashlib.sha256(np.ascontiguousarray(labels)).hexdigest()
        identity = {"method": self.about.name, "bits": self.bits, "seed": seed, "backbone": self.backbone}
        return identity | {"settings": config, "labels": digest}

    @property
    def _caches(self) -> bool:
        """Whether the backbone's features are computed once: it is frozen, and the head takes nothing else of it."""
        return self.config.frozen and (self.pooled or not self.levels)

    def _batches(self, images: Images, labels: np.ndarray | None, shared: Shared) -> Batches:
        """Batches of images, or of their features under a frozen backbone."""
        batches = Batches(images, labels, self.device, self.view, self.config.resident_mb)
        if not self._caches:
            return batches
        self.network.eval()
        backbone = self.network.backbone
        names = self.levels or tuple(backbone.levels)[-1:]
        which = images if isinstance(images, Part) else Itself(images)
        key = which, self._body, names, self.view, self.precision, str(self.device)
        found = shared.features(
            key, lambda: features.compute(backbone, names, images, batches, self._kept, self._in_precision)
        )
        return Batches(found, labels, self.device, None)

    @property
    def _kept(self) -> dict[str, Any] | None:
        """Which features these are, to find them again; None for those of random weights, which nobody asks twice."""
        backbone, name, seed = self._body if isinstance(self._body, tuple) else (None, None, 0)
        facts = {"backbone": backbone, "weights": name, "precision": self.precision}
        return None if seed is not None else facts

    def _in_precision(self, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def apply(x: Tensor) -> Any:
            with numerics.autocast(self.device, self.precision):
                return function(x)

        return apply

    def outputs(self, images: Images, shared: Shared | None = None) -> np.ndarray:
        """Real outputs z float32 (N, K) of images uint8 (N, H, W[, C]); a bit is 1 where z >= 0.

        Images are an array or a part of a data set; with `shared`, see `fit`.
        """
        self._fitted()
        if (found := tuple(stored(images).shape)) != self.shape:
            raise InputError(f"images of {self.shape} expected, as in training, got {found}")
        self.network.eval()
        with numerics.deterministic(self.config.deterministic):
            batches = self._batches(images, None, Shared() if shared is None else shared)
            return batches.map(self._in_precision(self.network), "encoding").numpy()

    def encode(self, images: Images, shared: Shared | None = None) -> np.ndarray:
        """Packed codes uint8 (N, 8*ceil(K/64)) of images uint8 (N, H, W[, C]); see `outputs`."""
        return codes.pack(codes.binarize(self.outputs(images, shared)))

    def state(self) -> State:
        self._fitted()
        return self._tensors(), {"backbone": self.backbone, "shape": self.shape, "view": self.input()}

    def input(self) -> dict[str, Any]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self.view).items()}

    def set_state(self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None) -> None:
        self._place(device)
        self.backbone, self.view = fact(facts, "backbone", str), View.read(fact(facts, "view", dict))
        self.shape = tuple(fact(facts, "shape", list))
        if self.shape != self.view.stored:
            raise InputError(f"the model's shape must be that of its view, {self.view.stored}, got {self.shape}")
        with seeds.kept(self.device):
            self.network = self._build(0, pretrained=False)
        self._body = object()  # equal to no other body
        loop.fill(self._tensors(), tensors, "the model's safetensors file")

    def _tensors(self) -> dict[str, Tensor]:
        return dict(self.network.named_parameters()) | dict(self.network.named_buffers())

    def _fitted(self) -> None:
        if self.network is None:
            raise InputError("the method is not fitted yet: call fit(train) first")


def images_of(train: Part) -> Images:
    """The part itself where its images can be read bit by bit, else the array it holds."""
    check_part(train)
    return train if isinstance(train, Part) else train.images
