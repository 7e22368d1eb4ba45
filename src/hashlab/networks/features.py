"""Networks and the features of their backbones;
those of a frozen one are computed once per image, and kept on disk.

They lie beside the data set. One pass gives the features of every level, whichever is asked for, in
`<cache>/features/<set>-<hash>/<block>-<level>.npy`, float32. Of a backbone that is frozen up to a
level the maps of this level are kept, in `<block>-<level>-maps.npy`, float16 with channels last,
and the rest of the network is trained on them. The hash is that of all they depend on
(images, backbone, weights, input, precision, kind of device, version of torch). The folder may be
deleted at any time.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from hashlab import files
from hashlab.data import cache, items
from hashlab.data.batches import Batches, Images, Maps, View, statistics, stored
from hashlab.data.parts import Part
from hashlab.errors import InputError
from hashlab.networks import backbones, weights
from hashlab.networks.backbones import Backbone, Level
from hashlab.progress import Progress
from hashlab.training import numerics, seeds
from hashlab.training.checkpoints import fact
from hashlab.training.sharing import Itself, Shared

Function = Callable[[Tensor], Tensor]
BLOCK = 4096  # images per file: what an interruption can lose


class Network(nn.Module):
    """A backbone and a head on its features, or on what it gives at some taps: images, or features
    that are given, -> outputs.

    What was computed before is taken as well as images (B, C, H, W): features (B, d), or what a
    backbone gives at the level up to which it is frozen.

    Args:
        taps: levels of the backbone, which the head takes; its features where there are none.
        pooled: whether the head takes the means of the taps' maps, side by side, rather than a
            tuple of maps.
    """

    def __init__(
        self, backbone: Backbone, head: nn.Module, taps: tuple[str, ...] = (), pooled: bool = False
    ):
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.taps = taps
        self.pooled = pooled

    def body(self, x: Tensor) -> Any:
        """What the head takes: features (B, d), or a tuple with the maps of each tap,
        or their means (B, sum C).
        """
        if self.backbone.computed(x):
            return x
        if not self.taps:
            return self.backbone(x)
        maps = self.backbone.forward_levels(x, self.taps)
        return pooled(maps) if self.pooled else maps

    def forward(self, x: Tensor) -> Any:
        return self.head(self.body(x))


def input_shape(
    backbone: str, shape: tuple[int, ...], crop: int = 0, size: int = 0
) -> tuple[int, ...]:
    """(H, W, C) of what a backbone takes where images are (H, W[, C]);
    those of libraries make three channels of one. Features (d,) stay.
    """
    if items.are_features(shape):
        return shape
    channels = shape[2] if len(shape) == 3 else 1
    if channels == 1 and backbones.from_library(backbone):
        channels = 3
    side = size or crop
    if side:
        return side, side, channels
    return shape[0], shape[1], channels


def check_given(settings: Mapping[str, Any]) -> None:
    """Raise InputError where settings that somebody chose ask of features what only images have."""
    for name in ("shift", "crop", "flip", "size"):
        value = settings.get(name)
        if value not in (None, 0, "auto", "no"):
            raise InputError(f"{name} is for images, not for features: leave it out, got {value}")


def view_of(backbone: str, start: str, images: Images, **how: Any) -> View | items.Vectors:
    """How images become the input of a backbone:
    normalised by their own statistics, as those for training are. Given features stay as they are.

    A library's network takes three channels, and with weights the statistics that these were trained
    with; one of somebody's own those that it was registered with.

    Args:
        start: what the backbone starts from, see `weights`.
        how: of `View`.
    """
    shape = stored(images).shape
    if items.are_features(shape):
        return items.Vectors(*shape)
    mean, std = statistics(images)
    channels = shape[2] if len(shape) == 3 else 1
    if backbones.from_library(backbone) and len(mean) == 1:
        mean = 3 * mean  # a tuple, three times the same
        std = 3 * std
    given = backbones.normalisation(backbone, start)
    if given is not None:
        _check_channels(backbone, given[0], mean)
        mean, std = given
    return View(shape[0], shape[1], channels, mean, std, **how)


def _check_channels(backbone: str, given: Sequence[float], own: Sequence[float]) -> None:
    """Raise InputError unless a backbone's normalisation is for images of as many channels."""
    if len(given) != len(own):
        raise InputError(
            f"backbone {backbone} normalises {len(given)} channels, the images have {len(own)}"
        )


def check_shape(images: Images, expected: tuple[int, ...]) -> None:
    """Raise InputError unless images are of the shape (H, W[, C]), or features of the width (d,),
    that was trained on.
    """
    shape = tuple(stored(images).shape)
    if shape == expected:
        return
    wanted = items.described(expected)
    if items.are_features(expected) and items.are_features(shape):
        raise InputError(f"{wanted} expected, got {(len(images), *shape)}")
    same_kind = items.are_features(expected) == items.are_features(shape)
    got = shape if same_kind else items.described(shape)
    raise InputError(f"{wanted} expected, as in training, got {got}")


@dataclass(frozen=True)
class Origin:
    """What the weights of a backbone at its start follow from."""

    backbone: str
    weights: str  # as records name them
    seed: int | None  # that they were drawn with; None where they follow from the weights alone

    @classmethod
    def of(cls, backbone: str, start: str, seed: int) -> Self:
        of_seed = start == weights.SCRATCH or backbones.is_registered(backbone)
        drawn_with = seed if of_seed else None
        name = backbones.identity(backbone)
        return cls(name, weights.describe(start, backbone), drawn_with)


@dataclass(frozen=True)
class FeatureKey:
    """What features depend on."""

    images: Hashable
    origin: Hashable
    taps: tuple[str, ...]
    view: View | items.Vectors
    precision: str
    device: str
    maps: bool = False  # rather than their means


class FeatureNet:
    """A network on its device, and what it makes of images as they are stored.

    Args:
        network: a backbone and a head.
        backbone: the backbone's name.
        shape: of the images, (H, W) or (H, W, C); or of given features, (d,).
        view: how images become the network's input.
        precision: of the network; auto for what suits the device, and for given features float32:
            a layer or two gain nothing from less.
        origin: where the backbone's weights came from; None where that is not known.
        deterministic, resident_mb: as in `DeepConfig`.
    """

    def __init__(
        self,
        network: Network,
        backbone: str,
        shape: tuple[int, ...],
        view: View | items.Vectors,
        device: torch.device,
        precision: str = "auto",
        origin: Origin | None = None,
        deterministic: bool = False,
        resident_mb: int = 8192,
    ):
        self.network = network.to(device, memory_format=torch.channels_last)
        self.backbone = backbone
        self.shape = shape
        self.view = view
        self.device = device
        usual = "float32" if items.are_features(shape) else numerics.auto_precision(device)
        self.precision = usual if precision == "auto" else precision
        self.origin = origin
        self.deterministic = deterministic
        self.resident_mb = resident_mb

    @property
    def features_stay(self) -> bool:
        """Whether an image's features are the same in every epoch,
        and all that the head takes of it.
        """
        all_frozen = self.network.backbone.frozen is True
        return all_frozen and (self.network.pooled or not self.network.taps)

    def learn(self, images: Images) -> None:
        """Take the statistics that given features are standardised by; of images, `view` has them."""
        backbone = self.network.backbone
        if isinstance(backbone, backbones.Given):
            mean, std = items.moments(stored(images))
            backbone.stages[backbones.GIVEN].learn(torch.from_numpy(mean), torch.from_numpy(std))

    def batches(
        self, images: Images, labels: np.ndarray | None = None, shared: Shared | None = None
    ) -> Batches:
        """Batches of images uint8 (N, H, W[, C]), or of their features where these stay as they are,
        or of the maps of the level up to which the backbone does; or of given features (N, d).

        Raises InputError for images of another shape, or features of another width.
        """
        if self.features_stay:
            return Batches(self.features(images, shared), labels, self.device, None)
        if self.network.backbone.frozen_level is not None:
            maps = self.maps(images, shared)
            return Batches(maps, labels, self.device, None, self.resident_mb)
        return self._batches(images, labels)

    def _batches(self, images: Images, labels: np.ndarray | None = None) -> Batches:
        check_shape(images, self.shape)
        return Batches(images, labels, self.device, self.view, self.resident_mb)

    def features(self, images: Images, shared: Shared | None = None) -> Tensor:
        """What the taps, or the last level, give for images: means over all places, side by side;
        float32 (N, sum C).

        Those of a frozen backbone are computed once where runs share them, and kept on disk where
        the set is. Raises InputError for images of another shape.
        """
        if self.network.backbone.frozen is not True:
            return self._compute(images, None, shared)
        shared = Shared() if shared is None else shared
        key = self._key(images, self._taps)
        return shared.features(key, lambda: self._compute(images, self._facts, shared))

    def maps(self, images: Images, shared: Shared | None = None) -> Maps:
        """What the level up to which the backbone is frozen gives for images; kept as `features`
        are.

        Raises InputError for images of another shape, or numbers beyond half precision.
        """
        level = self.network.backbone.frozen_level
        shared = Shared() if shared is None else shared
        key = self._key(images, (level,), maps=True)
        return shared.features(key, lambda: self._compute_maps(images, level))

    def _compute_maps(self, images: Images, level: str) -> Maps:
        self.network.eval()
        backbone = self.network.backbone
        function = self._in_precision(backbone.kept)
        with numerics.deterministic(self.deterministic):
            return compute_maps(function, level, images, self._batches(images), self._facts)

    def _key(self, images: Images, taps: tuple[str, ...], maps: bool = False) -> FeatureKey:
        return FeatureKey(
            images=images if isinstance(images, Part) else Itself(images),
            origin=self.origin or Itself(self),
            taps=taps,
            view=self.view,
            precision=self.precision,
            device=str(self.device),
            maps=maps,
        )

    @property
    def _taps(self) -> tuple[str, ...]:
        return self.network.taps or tuple(self.network.backbone.levels)[-1:]

    @property
    def _facts(self) -> dict[str, Any] | None:
        """Which features these are, to find them again;
        None for those of random weights, which nobody asks twice.
        """
        if self.origin is None or self.origin.seed is not None:
            return None
        return {
            "backbone": self.origin.backbone,
            "weights": self.origin.weights,
            "precision": self.precision,
        }

    def _compute(
        self, images: Images, facts: dict[str, Any] | None, shared: Shared | None
    ) -> Tensor:
        self.network.eval()
        with numerics.deterministic(self.deterministic):
            backbone = self.network.backbone
            in_part = backbone.frozen_level is not None
            batches = self._to_encode(images, shared) if in_part else self._batches(images)
            return compute(backbone, self._taps, images, batches, facts, self._in_precision)

    def outputs(self, images: Images, shared: Shared | None = None) -> np.ndarray:
        """The head's outputs for images uint8 (N, H, W[, C]): float32 (N, K); see `batches`."""
        self.network.eval()
        with numerics.deterministic(self.deterministic):
            batches = self._to_encode(images, shared)
            return batches.map(self._in_precision(self.network), "encoding").numpy()

    @torch.inference_mode()
    def outputs_of(self, batches: Batches, rows: np.ndarray) -> Tensor:
        """The head's outputs for rows (M,) of what is trained on: float32 (M, K), on the CPU."""
        self.network.eval()
        apply = self._in_precision(self.network)
        return torch.cat([apply(block).float().cpu() for block in batches.some(rows)])

    def _to_encode(self, images: Images, shared: Shared | None) -> Batches:
        """Batches of what was computed before where it was, or will be found again."""
        known = isinstance(images, Part) and self.origin is not None
        if self.network.backbone.frozen_level is not None and not known:
            return self._batches(images)
        return self.batches(images, None, shared)

    def _in_precision(self, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        def apply(x: Tensor) -> Any:
            with numerics.autocast(self.device, self.precision):
                return function(x)

        return apply

    # ---- what is kept of it

    def tensors(self) -> dict[str, Tensor]:
        """Weights and buffers by name."""
        return dict(self.network.named_parameters()) | dict(self.network.named_buffers())

    def input(self) -> dict[str, Any]:
        """How images become the network's input, as JSON values."""
        values = dataclasses.asdict(self.view)
        return {name: list(x) if isinstance(x, tuple) else x for name, x in values.items()}

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Weights and buffers by name, and as JSON values the backbone, shape and view of the images."""
        return self.tensors(), {
            "backbone": self.backbone,
            "shape": list(self.shape),
            "view": self.input(),
        }


def from_facts(facts: dict[str, Any]) -> tuple[str, tuple[int, ...], View | items.Vectors]:
    """Backbone, shape of the images and view, as `FeatureNet.state` writes them;
    raises InputError for others.
    """
    backbone = fact(facts, "backbone", str)
    of_view = fact(facts, "view", dict)
    shape = tuple(fact(facts, "shape", list))
    kind = items.Vectors if backbone == backbones.GIVEN else View
    view = kind.read(of_view)
    if shape != view.stored:
        raise InputError(f"the model's shape must be that of its view, {view.stored}, got {shape}")
    return backbone, shape, view


def at_start(
    backbone: str,
    view: View | items.Vectors,
    start: str,
    seed: int,
    frozen: bool | str,
    hidden: int = 0,
) -> Backbone:
    """A backbone for a view, with its first weights;
    where they are drawn, they follow from the seed alone.
    """
    torch.manual_seed(seeds.derived(seed, "backbone"))
    return backbones.create(backbone, view.shape, start, frozen, hidden)


def pooled(levels: Sequence[Tensor]) -> Tensor:
    """Means over all places of the maps (B, C, H, W) of some levels, side by side;
    vectors (B, C) stay: (B, sum C).
    """
    means = [x.mean((2, 3)) if x.ndim == 4 else x for x in levels]
    return torch.cat(means, 1)


def compute(
    backbone: Backbone,
    names: Sequence[str],
    images: Images,
    batches: Batches,
    facts: dict[str, Any] | None,
    wrap: Callable[[Function], Function] = lambda function: function,
) -> Tensor:
    """Features float32 (N, sum C) of `images`, as `batches` gives them:
    the named levels' means, side by side.

    Args:
        facts: JSON values that say which network it is; None where the features shall not be kept.
            Only those of a set in the cache are.
        wrap: what gives the function that is applied to each block its precision.
    """

    def means_of(levels: Sequence[str]) -> Function:
        return wrap(lambda x: pooled(backbone.forward_levels(x, levels)))

    if facts is None or not _has_cache(images):
        return batches.map(means_of(names), "features")
    folder = _folder(images, batches, facts)
    missing = _missing(folder, images.index, names)
    if missing and not _keeps(folder):
        return batches.map(means_of(names), "features")
    every = means_of(list(backbone.levels))
    for block in Progress(missing, "features", total=len(missing), delay=2):
        keep(folder, block, every, images, batches, backbone.levels)
    columns = [_read(folder, name, images.index) for name in names]
    return torch.cat([torch.from_numpy(column) for column in columns], 1)


def _has_cache(images: Images) -> bool:
    return isinstance(images, Part) and images.pool.folder is not None


def _keeps(folder: Path) -> bool:
    """Whether features can be kept in a folder: not where a cache of data is only to be read."""
    try:
        files.check_folder(folder)
    except InputError:
        return False
    return True


def compute_maps(
    network: Function, level: str, images: Images, batches: Batches, facts: dict[str, Any] | None
) -> Maps:
    """What `network` gives for images, as `batches` has them: maps of a level; see `compute`."""

    def in_memory() -> Maps:
        rows = _halves(batches.map(network, "maps"), level)
        return Maps({0: rows}, len(rows), np.arange(len(rows)))

    if facts is None or not _has_cache(images):
        return in_memory()
    folder = _folder(images, batches, facts)
    name = f"{level}-maps"
    missing = _missing(folder, images.index, [name])
    if missing and not _keeps(folder):
        return in_memory()
    for block in Progress(missing, "maps", total=len(missing), delay=2):
        keep_maps(folder, block, network, images, batches, level)
    blocks = {block: _open(folder, block, name) for block in _needed(images.index)}
    return Maps(blocks, BLOCK, images.index)


def _halves(x: Tensor, level: str) -> np.ndarray:
    """Maps (N, C, H, W) as float16 (N, H, W, C); vectors (N, C) and tokens (N, T, C) stay.

    Raises InputError where they are beyond half precision.
    """
    rows = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    largest = torch.finfo(torch.float16).max
    if not (rows.abs() <= largest).all():
        raise InputError(
            f"frozen must be a level whose numbers half precision holds, up to {largest:.0f}, got "
            f"{level!r}"
        )
    return np.ascontiguousarray(rows.half().numpy())


def _needed(index: np.ndarray) -> list[int]:
    """Blocks of the pool in which positions `index` (N,) lie."""
    return np.unique(index // BLOCK).tolist()


def _missing(folder: Path, index: np.ndarray, names: Sequence[str]) -> list[int]:
    """Blocks of the pool positions `index` (N,) that lack the file of one of the levels."""
    return [
        block
        for block in _needed(index)
        if not all(_file(folder, block, name).is_file() for name in names)
    ]


def _folder(images: Part, batches: Batches, facts: dict[str, Any]) -> Path:
    about = images.pool.about
    facts = facts | {
        "view": dataclasses.asdict(batches.view),
        "device": batches.device.type,
        "torch": torch.__version__,
        "images": [*about.fingerprints.values(), about.pixels],
    }
    text = json.dumps(facts, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:16]
    return cache.features_beside(about, images.pool.folder) / f"{about.name}-{short}"


def _file(folder: Path, block: int, name: str) -> Path:
    return folder / f"{block}-{name}.npy"


def keep(
    folder: Path,
    block: int,
    network: Function,
    images: Part,
    like: Batches,
    levels: Mapping[str, Level],
) -> None:
    """Compute a block of the pool for all levels, and write each into a file of its own."""
    means = _batches_of(block, images, like).map(network, "features").numpy()  # (B, sum C)
    ends = np.cumsum([level.channels for level in levels.values()])
    for name, columns in zip(levels, np.split(means, ends[:-1], axis=1), strict=True):
        _write(_file(folder, block, name), np.ascontiguousarray(columns))


def keep_maps(
    folder: Path, block: int, network: Function, images: Part, like: Batches, level: str
) -> None:
    """Compute the maps of a block of the pool, and write them into a file."""
    rows = _batches_of(block, images, like).map(network, "maps")
    _write(_file(folder, block, f"{level}-maps"), _halves(rows, level))


def _batches_of(block: int, images: Part, like: Batches) -> Batches:
    last = min((block + 1) * BLOCK, len(images.pool.stored))
    part = images.pool.part(np.arange(block * BLOCK, last))
    return Batches(part, None, like.device, like.view)


def _write(file: Path, rows: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.save(content, rows, allow_pickle=False)
    files.write(file, content.getvalue())


def _open(folder: Path, block: int, name: str) -> np.ndarray:
    return np.load(_file(folder, block, name), mmap_mode="r", allow_pickle=False)


def _read(folder: Path, name: str, index: np.ndarray) -> np.ndarray:
    """A level's rows at pool positions `index` (N,): float32 (N, C)."""
    rows: np.ndarray | None = None
    for block in _needed(index):
        stored = _open(folder, block, name)
        if rows is None:
            rows = np.empty((len(index), stored.shape[1]), np.float32)
        in_block = index // BLOCK == block
        rows[in_block] = stored[index[in_block] % BLOCK]
    return rows
