"""The array estimators of `hashlab.shallow` as methods: images -> features -> codes.

Features are pixels, or those of a backbone that stays as it is; or they are given, and taken as they
are. What each estimator does stands in
its own docstring.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

import hashlab.shallow
from hashlab import codes
from hashlab.data import items
from hashlab.data.batches import Images, View, stored
from hashlab.data.folders import LARGEST_SIDE
from hashlab.data.parts import Labelled
from hashlab.data.pictures import Pictures
from hashlab.errors import InputError
from hashlab.methods import adapt, collapse
from hashlab.methods.base import (
    About,
    Method,
    Shared,
    class_names,
    classes_and_labels,
    setting,
    usable_labels,
)
from hashlab.methods.deep import DeepConfig, images_of
from hashlab.networks import backbones, features, weights
from hashlab.networks.features import FeatureNet, Network
from hashlab.training import seeds, snapshots
from hashlab.training.checkpoints import State, fact

ANY = ("same_class", "shares_label")
PIXELS = "pixels"
ADVICE = "try fewer bits, or features of a backbone"  # where codes collapse


@dataclass(frozen=True, kw_only=True)
class ShallowConfig:
    """Settings of every shallow method: where its features come from."""

    backbone: str = setting(
        PIXELS,
        "pixels in units of 0..1, or the name of a backbone, whose features are taken; "
        "given features are taken as they are",
    )
    frozen: bool = setting(True, "the backbone stays as it is, which it always does here")
    weights: str = setting(
        "scratch",
        f"of the backbone: {', '.join(weights.SOURCES)}, timm for one of its own, or a safetensors "
        "file",
    )
    size: int = setting(
        0,
        "side of the square that images are resized to before the backbone; 0 to leave them",
        most=LARGEST_SIDE,
    )
    crop: int = setting(
        0,
        "side of the square cut out of the middle of the images; 0 for the whole",
        most=LARGEST_SIDE,
    )
    precision: str = setting(
        "auto", "of the backbone; auto for bfloat16 on GPUs that have it, else float32"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = {"precision": DeepConfig.CHOICES["precision"]}
    RECORDED: ClassVar[dict[str, str | None]] = {
        "backbone": "features",
        "frozen": None,
    }  # see `recorded`

    def __post_init__(self) -> None:
        if not self.frozen:
            raise InputError("frozen must be true: a shallow method trains no backbone, got false")


class ShallowMethod(Method):
    """An array estimator on features of images. A subclass names the estimator and its settings."""

    Config: ClassVar[type] = ShallowConfig
    estimator: ClassVar[str | type]  # a class, by its name where it is one of hashlab.shallow

    def __init__(self, bits: int, **overrides: Any):
        super().__init__(bits, **_renamed(overrides))
        self.hasher: Any = None  # the fitted estimator
        self.net: FeatureNet | None = None  # what gives the features; None for pixels
        self.shape: tuple[int, ...] | None = None  # of the images that were trained on

    @property
    def backbone(self) -> str:
        return self._backbone(self.shape)

    def _backbone(self, shape: tuple[int, ...] | None) -> str:
        """What makes features of items of `shape`; where features are given, nothing has to."""
        if shape is not None and items.are_features(shape) and self.config.backbone == PIXELS:
            return backbones.GIVEN
        return self.config.backbone

    @property
    def precision(self) -> str:
        return "float32" if self.net is None else self.net.precision

    def check(self, train: Labelled) -> None:
        estimator = self._estimator(0)
        images = stored(images_of(train))
        estimator.check_settings()
        if estimator.supervised:
            estimator.check_labels(self._targets(train), len(images))
        if items.are_features(images.shape):
            features.check_given(self.overrides)
        backbone = self._backbone(tuple(images.shape))
        if backbone != PIXELS:
            self._check_backbone(backbone, images.shape)

    def _check_backbone(self, backbone: str, shape: tuple[int, ...]) -> None:
        c = self.config
        backbones.check_takes(backbone, shape)
        if c.crop > min(shape[:2]):
            raise InputError(f"crop must fit into images of {shape[:2]}, got {c.crop}")
        backbones.check(backbone, features.input_shape(backbone, shape, c.crop, c.size), c.weights)

    def fit(
        self,
        train: Labelled,
        *,
        seed: int = 0,
        device: str | None = None,
        checkpoints: str | Path | None = None,
        shared: Shared | None = None,
    ) -> Self:
        """Fit the estimator on features of `train.images`, or on these where they are features;
        see `DeepMethod.fit`.

        Args:
            seed: `random_state` of the estimator, and of a backbone without weights.
            device: of the backbone.
            checkpoints: not used, for an estimator is fitted in seconds.

        Raises InputError where images, labels or settings do not fit.
        """
        self.check(train)
        seeds.check_seed(seed)
        images = images_of(train)
        self._settle(train)
        c = self.config
        chosen = backbones.device(device)
        self.shape = tuple(stored(images).shape)
        if self._has_network:
            view = features.view_of(self.backbone, c.weights, images, crop=c.crop, size=c.size)
            self.net = self._build(self.backbone, self.shape, view, chosen, c.weights, seed)
        x = self._features(images, shared)
        rows = collapse.sample(len(x))
        some = x[rows]  # a copy: an estimator may write into what it is given
        estimator = self._estimator(seed)
        self.hasher = estimator.fit(x, self._targets(train) if estimator.supervised else None)
        self.classes = class_names(train)
        labels = usable_labels(train)
        if labels is not None:
            self.collapse = collapse.look(self.hasher.transform(some), labels[rows])
            collapse.warn(self.collapse, ADVICE)
        return self

    @property
    def _has_network(self) -> bool:
        """Whether features come out of a network; known when the method was fitted."""
        return self.backbone not in (PIXELS, backbones.GIVEN)

    def _targets(self, train: Labelled) -> np.ndarray | None:
        """Labels in the form that estimators take."""
        return None if train.labels is None else classes_and_labels(train)[1]

    def _estimator(self, seed: int) -> Any:
        of_all = {field.name for field in dataclasses.fields(ShallowConfig)}
        settings = dataclasses.asdict(self.config)
        own = {name: value for name, value in settings.items() if name not in of_all}
        if own.get("gamma") == 0:
            own["gamma"] = None
        kind = (
            getattr(hashlab.shallow, self.estimator)
            if isinstance(self.estimator, str)
            else self.estimator
        )
        return kind(bits=self.bits, random_state=seed, **own)

    def _build(
        self,
        backbone: str,
        shape: tuple[int, ...],
        view: View,
        device: torch.device,
        start: str | None = None,
        seed: int = 0,
    ) -> FeatureNet:
        """The network that gives features;
        where `start` is None, one whose weights are put in afterwards.
        """
        with seeds.kept(device):
            body = features.at_start(backbone, view, start or weights.SCRATCH, seed, frozen=True)
        origin = None if start is None else features.Origin.of(backbone, start, seed)
        return FeatureNet(
            Network(body, nn.Identity()),
            backbone,
            shape,
            view,
            device,
            self.config.precision,
            origin,
        )

    def _features(self, images: Images, shared: Shared | None) -> np.ndarray:
        """Features (N, d) of images uint8 (N, H, W[, C]), or of features that are given."""
        if self.net is not None:
            return (
                self.net.features(images, shared).numpy().copy()
            )  # an estimator may write into what it is given
        features.check_shape(images, self.shape)
        return np.concatenate([items.flat(block) for block in stored(images).blocks(4096)])

    def encode(self, images: Pictures, shared: Shared | None = None) -> np.ndarray:
        if self.hasher is None:
            raise InputError("the method is not fitted yet: call fit(train) first")
        bits = self.in_blocks(self._bits, images, shared)
        if bits.shape[1] != self.bits:
            raise InputError(
                f"a hasher of {self.bits} bits is expected, got one of {bits.shape[1]}"
            )
        return codes.pack(bits)

    def _bits(self, images: Images, shared: Shared | None) -> np.ndarray:
        """Bits, bool (N, K)."""
        return self.hasher.transform(self._features(images, shared))

    def input(self) -> dict[str, Any]:
        if self.backbone == backbones.GIVEN:
            return dataclasses.asdict(items.Vectors(*self.shape))
        return {} if self.net is None else self.net.input()

    def state(self) -> State:
        if self.hasher is None:
            raise InputError("the method is not fitted yet: call fit(train) first")
        arrays = self.hasher.fitted_arrays()
        tensors = {
            f"hasher/{name}": torch.from_numpy(np.array(value)) for name, value in arrays.items()
        }
        facts: dict[str, Any] = {"shape": list(self.shape), "backbone": self.backbone}
        if self.net is not None:
            own, facts["body"] = self.net.state()
            tensors |= {f"body/{key}": tensor for key, tensor in own.items()}
        return tensors, facts

    def set_state(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None
    ) -> None:
        self.shape = tuple(fact(facts, "shape", list))
        backbone = fact(facts, "backbone", str)
        items.check_shape(self.shape)
        if backbone != self.backbone:
            raise InputError(f"the model's backbone must be {self.backbone}, got {backbone}")
        if extra := [name for name in tensors if not name.startswith(("hasher/", "body/"))]:
            raise InputError(f"tensors of the hasher and the body are expected, got {extra[0]}")
        arrays = {
            key: tensor.numpy() for key, tensor in snapshots.with_prefix(tensors, "hasher/").items()
        }
        self.hasher = self._estimator(0).set_fitted(arrays)
        if self._has_network:
            body = features.from_facts(fact(facts, "body", dict))
            net = self._build(*body, backbones.device(device))
            weights_of_body = snapshots.with_prefix(tensors, "body/")
            snapshots.copy_into(net.tensors(), weights_of_body, "the model's safetensors file")
            self.net = net
        width = math.prod(self.shape) if self.net is None else self.net.network.backbone.features
        if self.hasher.n_features_in_ != width:
            raise InputError(
                f"the model's hasher must take {width} features, got {self.hasher.n_features_in_}"
            )


def _renamed(overrides: dict[str, Any]) -> dict[str, Any]:
    """Settings in which `features`, as it was called once, is `backbone`."""
    if "features" not in overrides:
        return overrides
    if "backbone" in overrides:
        raise InputError("features is the old name of backbone: give backbone only, got both")
    warnings.warn(
        "the setting features is called backbone now, as in deep methods",
        FutureWarning,
        stacklevel=4,
    )
    return {"backbone" if name == "features" else name: value for name, value in overrides.items()}


def _about(
    name: str, title: str, year: int, paper: str, labels: tuple[str, ...] = ANY, **more: str
) -> About:
    return About(
        name, title, year, more.get("kind", "shallow"), labels, paper, more.get("status", FORMULAS)
    )


FORMULAS = "formulas as public code gives them"


class Random(ShallowMethod):
    """Codes that know nothing: what chance gives."""

    about = _about(
        "random", "Random codes", 0, "a control of this book", kind="control", status="a control"
    )
    estimator = "RandomCodes"


class PCARotation(ShallowMethod):
    """Principal components, turned at random: what the features alone give."""

    about = _about("pca_rotation", "Signs of principal components after a random rotation", 2011,
                   "Gong and Lazebnik, CVPR 2011 (PCA-RR)", kind="control", status="a control")  # fmt: skip
    estimator = "PCARotation"


@dataclass(frozen=True, kw_only=True)
class LSHConfig(ShallowConfig):
    """Settings of LSH."""

    center: bool = setting(True, "the training mean is subtracted")


class LSH(ShallowMethod):
    """Random hyperplanes."""

    about = _about(
        "lsh",
        "Similarity estimation techniques from rounding algorithms",
        2002,
        "Charikar, STOC 2002",
    )
    Config = LSHConfig
    estimator = "LSH"


@dataclass(frozen=True, kw_only=True)
class SKLSHConfig(ShallowConfig):
    """Settings of SKLSH."""

    gamma: float = setting(0.0, "inverse squared width of the kernel; 0 to take it from the data")


class SKLSH(ShallowMethod):
    """Random Fourier features, cut at random heights."""

    about = _about("sklsh", "Locality-Sensitive Binary Codes from Shift-Invariant Kernels", 2009,
                   "Raginsky and Lazebnik, NIPS 2009")  # fmt: skip
    Config = SKLSHConfig
    estimator = "SKLSH"


class PCAH(ShallowMethod):
    """Signs of principal components."""

    about = _about("pcah", "Semi-Supervised Hashing for Scalable Image Retrieval", 2010,
                   "Wang, Kumar and Chang, CVPR 2010, without its labelled term")  # fmt: skip
    estimator = "PCAH"


class SH(ShallowMethod):
    """Spectral hashing."""

    about = _about("sh", "Spectral Hashing", 2008, "Weiss, Torralba and Fergus, NIPS 2008")
    estimator = "SH"


@dataclass(frozen=True, kw_only=True)
class ITQConfig(ShallowConfig):
    """Settings of ITQ."""

    iterations: int = setting(50, "rounds of signs and rotation")


class ITQ(ShallowMethod):
    """Principal components, turned towards the corners of the cube."""

    about = _about("itq", "Iterative Quantization", 2011, "Gong and Lazebnik, CVPR 2011")
    Config = ITQConfig
    estimator = "ITQ"


@dataclass(frozen=True, kw_only=True)
class CCAITQConfig(ITQConfig):
    """Settings of CCA-ITQ."""

    rho: float = setting(1e-4, "what is added to the variances, in squared units of the features")


class CCAITQ(ShallowMethod):
    """Directions that agree with the labels, turned towards the corners of the cube."""

    about = _about("cca_itq", "Iterative Quantization, with canonical correlation analysis", 2011,
                   "Gong and Lazebnik, CVPR 2011, section 4")  # fmt: skip
    Config = CCAITQConfig
    estimator = "CCAITQ"


@dataclass(frozen=True, kw_only=True)
class KSHConfig(ShallowConfig):
    """Settings of KSH."""

    anchors: int = setting(300, "training images to which kernels are taken")
    labeled: int = setting(5000, "training images whose labels are used at most")
    gamma: float = setting(
        0.0, "the kernel is exp(-gamma ||x - z||^2); 0 to take gamma from the data"
    )
    steps: int = setting(500, "gradient steps per bit at most")

    ADAPTS: ClassVar[adapt.Rules] = adapt.at_most_images("anchors")


class KSH(ShallowMethod):
    """Kernels to anchors; one bit after the other takes what is left of the similarity matrix."""

    about = _about(
        "ksh", "Supervised Hashing with Kernels", 2012, "Liu, Wang, Ji, Jiang and Chang, CVPR 2012"
    )
    Config = KSHConfig
    estimator = "KSH"


@dataclass(frozen=True, kw_only=True)
class SDHConfig(ShallowConfig):
    """Settings of SDH."""

    anchors: int = setting(1000, "training images to which kernels are taken")
    gamma: float = setting(
        0.0, "the kernel is exp(-gamma ||x - z||^2); 0 to take gamma from the data"
    )
    rounds: int = setting(5, "how often the three steps are taken")
    sweeps: int = setting(10, "how often all bits are gone through in a round, at most")
    lam: float = setting(1.0, "weight of ||W||^2 of the classifier on codes")
    nu: float = setting(1e-5, "weight of the distance between codes and what the kernels give")
    ridge: float = setting(1e-2, "weight of ||P||^2 of the regression on kernels")

    ADAPTS: ClassVar[adapt.Rules] = adapt.at_most_images("anchors")


class SDH(ShallowMethod):
    """Codes from which a linear classifier finds the labels, bit by bit."""

    about = _about(
        "sdh", "Supervised Discrete Hashing", 2015, "Shen, Shen, Liu and Shen, CVPR 2015"
    )
    Config = SDHConfig
    estimator = "SDH"


@dataclass(frozen=True, kw_only=True)
class COSDISHConfig(ShallowConfig):
    """Settings of COSDISH."""

    outer: int = setting(10, "how many times columns are drawn")
    inner: int = setting(3, "how many times sampled and other codes take turns in between")
    dissimilar: str = setting(
        "-r", "the value of dissimilar pairs; r balances similar and dissimilar ones"
    )
    ridge: float = setting(1.0, "weight of ||W||^2 of the regression on features")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = ShallowConfig.CHOICES | {
        "dissimilar": ("-r", "+r")
    }


class COSDISH(ShallowMethod):
    """Discrete codes from sampled columns of the similarity matrix."""

    about = _about(
        "cosdish",
        "Column Sampling Based Discrete Supervised Hashing",
        2016,
        "Kang, Li and Zhou, AAAI 2016",
    )
    Config = COSDISHConfig
    estimator = "COSDISH"
