"""Deep methods: a network, its training, and its codes.
A subclass states a loss, and a head where it differs.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from hashlab import codes
from hashlab.data import items
from hashlab.data.batches import Batch, Batches, Images, View, memory_explained, stored
from hashlab.data.folders import LARGEST_SIDE
from hashlab.data.parts import Labelled, Part
from hashlab.data.pictures import Pictures
from hashlab.errors import InputError
from hashlab.losses import classes
from hashlab.methods import adapt, collapse
from hashlab.methods.base import (
    Method,
    Shared,
    check_labels,
    check_pair_labels,
    check_part,
    class_names,
    has_several,
    setting,
    usable_labels,
)
from hashlab.networks import backbones, features, weights
from hashlab.networks.features import FeatureNet, Network
from hashlab.training import loop, numerics, seeds, snapshots
from hashlab.training.checkpoints import Checkpoints, State
from hashlab.training.phases import OPTIMISERS, SCHEDULES
from hashlab.training.sharing import Itself, PhaseKey

ADVICE = "try a lower lr, more epochs, or another optimiser"  # where codes collapse


@dataclass(frozen=True, kw_only=True)
class DeepConfig:
    """Settings of every deep method."""

    backbone: str = setting(
        "auto",
        f"one of {', '.join(backbones.OURS)}; timm/NAME, or one that is registered; "
        f"{backbones.GIVEN} for given features; auto for what suits the images",
    )
    hidden: int = setting(
        0,
        "width of a dense layer between given features and the hash layer; 0 to do without it",
        most=codes.MOST_BITS,
    )
    weights: str = setting(
        "scratch",
        f"the start: {', '.join([weights.SCRATCH, *weights.SOURCES])}, timm for one of its own, or "
        "a safetensors file",
    )
    frozen: bool | str = setting(
        False,
        "the backbone stays as it is, or up to a level that is named, and sees each image once, "
        "not shifted, not mirrored",
    )
    epochs: int = setting(10, "times that every training image is seen")
    batch_size: int = setting(128, "images per step; pairs are made within them")
    optimiser: str = setting(
        "sgd",
        "what turns gradients into steps; adamw, at a lr of its own, for a head on a frozen backbone",
    )
    schedule: str = setting("cosine", "of the learning rate, after a warm-up")
    lr: float = setting(0.05, "highest learning rate")
    momentum: float = setting(0.9, "of sgd and rmsprop", most=1)
    weight_decay: float = setting(5e-4, "pull of every weight towards zero")
    clip: float = setting(0.0, "largest norm of the gradient; 0 for any")
    shift: int = setting(
        2, "training images are moved by up to this many pixels", most=LARGEST_SIDE
    )
    crop: int = setting(
        0,
        "side of the square cut out of the images, at random in training; 0 for the whole",
        most=LARGEST_SIDE,
    )
    flip: str = setting(
        "auto", "training images are mirrored half of the time; auto for where there is colour"
    )
    size: int = setting(
        0,
        "side of the square that images are resized to before the backbone; 0 to leave them",
        most=LARGEST_SIDE,
    )
    precision: str = setting(
        "auto", "of the network; auto for bfloat16 on GPUs that have it, else float32"
    )
    compiler: str = setting(
        "none", "inductor (torch.compile) or graphs (CUDA graphs): a slow start, then faster"
    )
    deterministic: bool = setting(False, "on CUDA: the same bits every time, at some cost")
    resident_mb: int = setting(
        8192, "images of up to this many MiB stay on the device, others are read batch by batch"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {
        "optimiser": tuple(OPTIMISERS),
        "schedule": tuple(SCHEDULES),
        "flip": ("auto", "yes", "no"),
        "precision": ("auto", *numerics.PRECISIONS),
        "compiler": numerics.COMPILERS,
    }
    ADAPTS: ClassVar[adapt.Rules] = adapt.DEEP


class DeepMethod(Method):
    """A method that trains a network:
    a backbone, a head (a linear layer), and the loss of the subclass.

    After `fit`: `.network` maps normalised images to real outputs z (B, K); `.history` holds a line
    per epoch (see `loop.train`); `.net` is the `FeatureNet` behind `.backbone`, `.view`, `.device` and
    `.precision`.
    """

    Config: ClassVar[type] = DeepConfig
    taps: tuple[
        str, ...
    ] = ()  # levels of the backbone, which the head takes; its features where there are none
    # The head takes the means of the taps' maps, side by side, rather than a tuple of maps.
    pooled: bool = False

    def __init__(self, bits: int, **overrides: Any):
        super().__init__(bits, **overrides)
        self._net: FeatureNet | None = None

    # ---- what is known when it was fitted

    @property
    def net(self) -> FeatureNet:
        """The network with its features; raises InputError before `fit`."""
        if self._net is None:
            raise InputError("the method is not fitted yet: call fit(train) first")
        return self._net

    @property
    def network(self) -> Network | None:
        """Maps normalised images (B, C, H, W), or features (B, d), to outputs; None before `fit`."""
        return None if self._net is None else self._net.network

    @property
    def backbone(self) -> str:
        """The backbone's name, where the setting says auto the one that it came to."""
        return self.net.backbone

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the images that it was fitted to, (H, W) or (H, W, C); (d,) of features."""
        return self.net.shape

    @property
    def view(self) -> View | items.Vectors:
        """How images become the network's input."""
        return self.net.view

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.net.device

    @property
    def precision(self) -> str:
        """Of the network, float32 or bfloat16."""
        return self.net.precision

    # ---- what subclasses say

    def choose_taps(self, levels: Mapping[str, backbones.Level], backbone: str) -> tuple[str, ...]:
        """Those of a backbone's levels that the head takes:
        `taps`, unless a subclass chooses by its settings.

        Args:
            backbone: its name, for messages.
        """
        return self.taps

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        """The training loss of outputs z (B, K) and labels (B,): a scalar."""
        raise NotImplementedError

    def head(self, backbone: backbones.Backbone) -> nn.Module:
        """What maps features (B, d) to outputs (B, K)."""
        return nn.Linear(backbone.features, self.bits)

    def targets(self, train: Labelled) -> np.ndarray:
        """The labels that the loss takes; raises InputError where there are none such."""
        check = check_pair_labels if "shares_label" in self.about.labels else check_labels
        return check(train)

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        """The stages of training;
        one stage on the method's loss unless a subclass says otherwise.
        """
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
        """A stage that minimises `loss(network(images), labels)`,
        in full precision whatever the network's.

        Args:
            loss: a function, or a module, whose weights are then trained too and whose buffers
                stand in checkpoints.
            shared: whether it is the same for all code lengths; then runs in one pass do it once.
            rows: whether the loss also takes the images' positions in the training part:
                `loss(z, labels, rows)`.
            more: of `loop.Phase`.

        Raises InputError before `fit`, which builds the network.
        """
        if self._net is None:
            raise InputError(
                f"the method is not fitted yet: phase {name} trains the network that fit(train) "
                "builds"
            )

        def loss_of(batch: Batch) -> Tensor:
            z = network(batch.images)
            if rows:
                return numerics.in_full(loss, z, batch.labels, batch.rows)
            return numerics.in_full(loss, z, batch.labels)

        module = nn.ModuleList([network, loss]) if isinstance(loss, nn.Module) else network
        names = ("momentum", "weight_decay", "optimiser", "schedule", "clip")
        settings = {name: getattr(self.config, name) for name in names}
        settings["network"] = network
        settings["share_key"] = self.shared_settings() if shared else None
        return loop.Phase(name, module, loss_of, epochs, lr, **settings | more)

    def shared_settings(self) -> Hashable:
        """What a stage that is the same for all code lengths depends on, besides seed,
        device and training part.
        """
        return self.about.name, self.config

    def check(self, train: Labelled) -> None:
        """Raise InputError where settings and training data do not suit each other;
        nothing is begun.
        """
        images = stored(images_of(train))
        c = self.settings_for(len(images), has_several(train))
        self.targets(train)
        if not 2 <= c.batch_size <= len(images):
            limits = f"2..{len(images)} (the training images)"
            raise InputError(f"batch_size must lie in {limits}, got {c.batch_size}")
        self._check_input(images.shape)
        backbone = self._backbone(images.shape)
        backbones.check_takes(backbone, images.shape)
        input_shape = features.input_shape(backbone, images.shape, c.crop, c.size)
        backbones.check(backbone, input_shape, c.weights)
        if isinstance(c.frozen, str):
            levels = self._stages_for(images.shape)
            taps = self.choose_taps(levels, backbone)
            backbones.check_frozen(levels, c.frozen, taps, backbone)

    def _check_input(self, shape: tuple[int, ...]) -> None:
        """Raise InputError where settings of the input do not suit items of `shape`."""
        c = self.config
        if items.are_features(shape):
            features.check_given(self.overrides)
            if isinstance(c.frozen, str):
                raise InputError(f"frozen must be true or false for features, got {c.frozen!r}")
            return
        if c.hidden:
            raise InputError(f"hidden is for given features, not for images, got {c.hidden}")
        if max(c.crop, c.shift) > min(shape[:2]):
            raise InputError(
                f"crop and shift must fit into images of {shape[:2]}, got {c.crop} and {c.shift}"
            )

    def _backbone(self, shape: tuple[int, ...]) -> str:
        if self.config.backbone == "auto":
            return backbones.default(shape)
        return self.config.backbone

    def _taps(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """What the head will take where items are of `shape`;
        raises InputError where settings do not allow it.
        """
        return self.choose_taps(self._stages_for(shape), self._backbone(shape))

    def _stages_for(self, shape: tuple[int, ...]) -> Mapping[str, backbones.Level]:
        """All levels of the backbone where items are of `shape`."""
        c = self.config
        backbone = self._backbone(shape)
        input_shape = features.input_shape(backbone, shape, c.crop, c.size)
        return backbones.levels(backbone, input_shape, c.hidden)

    def _view(self, images: Images) -> View | items.Vectors:
        """How images become input:
        normalised by statistics of the training images, and unmoved if frozen.
        """
        c = self.config
        shape = stored(images).shape
        in_colour = len(shape) == 3 and shape[2] == 3
        mirrored = c.flip == "yes" or (c.flip == "auto" and in_colour)
        return features.view_of(
            self._backbone(shape),
            c.weights,
            images,
            shift=0 if c.frozen else c.shift,
            crop=c.crop,
            flip=mirrored and not c.frozen,
            size=c.size,
        )

    def fit(
        self,
        train: Labelled,
        *,
        seed: int = 0,
        device: str | None = None,
        each_epoch: loop.EachEpoch | None = None,
        checkpoints: str | Path | None = None,
        every: float = 60.0,
        shared: Shared | None = None,
    ) -> Self:
        """Train on `train.images` uint8 (N, H, W[, C]), or features, floats (N, d), and
        `train.labels`, in any form of `hashlab.labels`, of a kind that `about.labels` names.

        Args:
            seed: of initialisation, order and shifts; the same seed gives the same codes on the
                same device.
            device: "cpu", "cuda", …; CUDA where there is one when None.
            each_epoch: called with phase name and epoch number after every epoch; it may encode,
                not train.
            checkpoints: a folder where the state is kept, and taken up from when it is there
                already.
            every: seconds between two checkpoints.
            shared: the same one for several runs lets them share what they have in common: the
                features of a frozen backbone, and stages that do not depend on the code length.

        Raises:
            InputError: images, labels, settings or device that do not fit, before training starts.
            FloatingPointError: a loss that is not finite, with its phase and step.
            MemoryError: the device's memory is full; says which setting to lower.
            KeyboardInterrupt: Ctrl-C; `checkpoints.Interrupted` where the state was saved.
        """
        self.check(train)
        seeds.check_seed(seed)
        labels = self.targets(train)
        self.classes = class_names(train)
        images = images_of(train)
        self._settle(train)
        c = self.config
        shared = Shared() if shared is None else shared
        chosen = backbones.device(device)
        with seeds.kept(chosen), numerics.deterministic(c.deterministic):
            self._start(images, chosen, seed)
            batches = self.net.batches(images, labels, shared)
            stages = self._stages(train, labels, seed)
            self.history = loop.train(
                stages,
                batches,
                batch_size=c.batch_size,
                seed=seed,
                precision=self.precision,
                compiler=c.compiler,
                each_epoch=each_epoch,
                checkpoints=self._checkpoints(checkpoints, every, seed, labels),
                shared=shared,
            )
            self._finish(images, labels, seed, shared)
            self._look(batches, usable_labels(train))
        return self

    def _finish(self, images: Images, labels: np.ndarray, seed: int, shared: Shared) -> None:
        """What is left to be done when the network is trained; nothing, unless a subclass says."""

    def _look(self, batches: Batches, labels: np.ndarray | None) -> None:
        """See whether the codes of the training images have collapsed, and warn of it.

        A network that nothing has trained owes nobody a code.
        """
        self.collapse = None
        if not self.trained or labels is None:
            return
        rows = collapse.sample(len(labels))
        bits = codes.binarize(self.net.outputs_of(batches, rows).numpy())
        self.collapse = collapse.look(bits, labels[rows], self.bits_in_use(classes.count(labels)))
        collapse.warn(self.collapse, ADVICE)

    @property
    def trained(self) -> bool:
        """Whether `fit` has changed the codes that the network begins with."""
        return bool(self.history)

    def _start(self, images: Images, device: torch.device, seed: int) -> None:
        """Build the network for these images, with the weights that training starts from."""
        shape = tuple(stored(images).shape)
        view = self._view(images)
        with memory_explained(
            f"the network for {items.described(view.shape)}", "size, or the bits"
        ):
            start = self.config.weights
            net = self._build(self._backbone(shape), shape, view, device, start, seed)
            net.learn(images)
            self._net = net
            self._check_width()

    def _stages(self, train: Labelled, labels: np.ndarray, seed: int) -> list[loop.Phase]:
        """The phases, on the device, each of those that runs share with its whole key."""
        torch.manual_seed(seeds.derived(seed, "phases"))
        with memory_explained(f"what training on {len(labels)} images keeps", "bits"):
            phases = self.phases(self.network, labels)
            stages = [self._keyed(phase, seed, train) for phase in phases]
        for stage in stages:
            stage.module.to(self.device, memory_format=torch.channels_last)
        return stages

    def _build(
        self,
        backbone: str,
        shape: tuple[int, ...],
        view: View | items.Vectors,
        device: torch.device,
        start: str | None = None,
        seed: int = 0,
    ) -> FeatureNet:
        """The network at its start, or where that is None,
        one whose weights are put in afterwards.
        """
        c = self.config
        body = features.at_start(backbone, view, start or weights.SCRATCH, seed, c.frozen, c.hidden)
        torch.manual_seed(seeds.derived(seed, "head"))
        head = self.head(body)
        network = Network(body, head, self.choose_taps(body.levels, backbone), self.pooled)
        return FeatureNet(
            network,
            backbone,
            shape,
            view,
            device,
            c.precision,
            None if start is None else features.Origin.of(backbone, start, seed),
            deterministic=c.deterministic,
            resident_mb=c.resident_mb,
        )

    def _keyed(self, stage: loop.Phase, seed: int, train: Labelled) -> loop.Phase:
        """A stage whose key, where it has one, says all that its outcome depends on."""
        if stage.share_key is None:
            return stage
        part = train if isinstance(train, Part) else Itself(train)
        key = PhaseKey(stage.name, stage.share_key, seed, str(self.device), part)
        return dataclasses.replace(stage, share_key=key)

    def _check_width(self) -> None:
        """Raise InputError unless the network gives an output per bit."""
        with torch.no_grad():
            z = self.network.eval()(self.view.zeros(2).to(self.device))
        shape = tuple(getattr(z, "shape", ()))
        if shape != (2, self.bits):
            raise InputError(
                f"a head that gives (2, {self.bits}) outputs for 2 images expected, "
                f"got {shape or type(z).__name__}"
            )

    def _checkpoints(
        self, folder: str | Path | None, every: float, seed: int, labels: np.ndarray
    ) -> Checkpoints | None:
        """Those of this run, in a folder, where one is given."""
        if not folder:
            return None
        return Checkpoints(folder, self._identity(seed, labels), every)

    def _identity(self, seed: int, labels: np.ndarray) -> dict[str, Any]:
        """What a checkpoint must agree in to be one of this run."""
        settings = dataclasses.asdict(self.config)
        settings["weights"] = weights.describe(self.config.weights, self.backbone)
        return {
            "method": self.about.name,
            "bits": self.bits,
            "seed": seed,
            "backbone": backbones.identity(self.backbone),
            "settings": settings,
            "labels": hashlib.sha256(np.ascontiguousarray(labels)).hexdigest(),
        }

    def outputs(self, images: Pictures, shared: Shared | None = None) -> np.ndarray:
        """Real outputs z float32 (N, K) of images, or of features, floats (N, d); a bit is 1 where z >= 0.

        See `encode`.
        """
        return self.in_blocks(self.net.outputs, images, shared)

    def encode(self, images: Pictures, shared: Shared | None = None) -> np.ndarray:
        return codes.pack(codes.binarize(self.outputs(images, shared)))

    def state(self) -> State:
        return self.net.state()

    def input(self) -> dict[str, Any]:
        return self.net.input()

    def set_state(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None
    ) -> None:
        chosen = backbones.device(device)
        with seeds.kept(chosen):
            net = self._build(*features.from_facts(facts), chosen)
        snapshots.copy_into(net.tensors(), tensors, "the model's safetensors file")
        self._net = net


def images_of(train: Labelled) -> Images:
    """The part itself where its images, or features, can be read bit by bit, else the array it holds."""
    check_part(train)
    return train if isinstance(train, Part) else train.images
