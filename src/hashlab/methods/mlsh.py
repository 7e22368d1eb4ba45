"""Ng, Li, Tian, Wang, Kwong and Wallace, Multi-level supervised hashing with deep features for
efficient image retrieval, Neurocomputing 399, 2020 (MLSH).

A reconstruction. SEEN (abstract): one CNN; several of its levels; a hash table trained for each by
itself; the tables are integrated at retrieval, features are not concatenated. SEEN at second hand:
the levels are convolutional blocks and the penultimate layer; the hasher is a supervised one spelt
CODISH. INFERRED: that this is COSDISH. NOT SEEN: which CNN, which levels, how many bits, whether
the CNN is trained on the data set, and the rule of integration. OURS: means over all places of a
map, equal shares of the bits, the rules "sum", "union" and "weighted".

References: the ledger in the book's chapter "Ng et al. 2020".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hashlab import codes, files, metrics
from hashlab.data.batches import Images, stored
from hashlab.data.parts import Labelled
from hashlab.data.pictures import Pictures
from hashlab.errors import InputError
from hashlab.losses import classes
from hashlab.methods import adapt
from hashlab.methods.base import About, Shared, setting
from hashlab.methods.deep import DeepConfig, DeepMethod, Network, images_of
from hashlab.networks import backbones
from hashlab.shallow import COSDISH
from hashlab.shallow.cosdish import DISSIMILAR
from hashlab.training import loop, seeds

HELD_OUT = 5  # one training image in five judges the tables, where they are weighted
MAPS = 3  # levels that `scales=auto` takes before the dense layer


class Tables(nn.Module):
    """Linear hash functions of all tables side by side:
    pooled features (B, sum of D) -> outputs z (B, K).

    z = (x - mean) W, where a table's columns of W are zero outside its own level. Filled after
    training, by `fill`; until then all outputs are zero.

    Args:
        channels: D of each level, how many maps it has.
        bits: of each table: one per level, or a single table on all levels.
    """

    def __init__(self, channels: Sequence[int], bits: Sequence[int]):
        super().__init__()
        widths = channels if len(bits) == len(channels) else [sum(channels)]
        self.inputs = _slices(widths)  # of each table, in x
        self.columns = _slices(bits)  # of each table, in z
        self.bits = tuple(bits)
        self.register_buffer("mean", torch.zeros(sum(channels)))
        self.register_buffer("W", torch.zeros(sum(channels), sum(bits)))
        self.register_buffer("weights", torch.ones(len(bits), dtype=torch.int64))  # of the tables

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return (x.float() - self.mean) @ self.W  # (B, K)

    def fill(self, table: int, hasher: COSDISH) -> None:
        """Take the linear map that a fitted COSDISH has learned as that of one table."""
        inputs = self.inputs[table]
        columns = self.columns[table]
        self.mean[inputs] = torch.as_tensor(hasher.mean_, dtype=torch.float32)
        self.W[inputs, columns] = torch.as_tensor(hasher.weights_, dtype=torch.float32)


def _slices(sizes: Sequence[int]) -> list[slice]:
    """Neighbouring slices of the given sizes."""
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def weights_of(maps: Sequence[float], chance: float) -> list[int]:
    """Whole weights 0..15 of tables, proportional to how far their mAP lies above chance;
    the best table gets 15; 1 each where none is above chance.

    Args:
        maps: mAP of each table on images that it has not been trained on.
        chance: mAP of a table that knows nothing: the share of relevant images.
    """
    gains = np.clip(np.subtract(maps, chance), 0, None)
    if not gains.any():
        return [1] * len(gains)
    return np.maximum(np.rint(15 * gains / gains.max()), 0).astype(int).tolist()


def choose(levels: Mapping[str, backbones.Level], scales: str, backbone: str) -> tuple[str, ...]:
    """The levels that a setting names, in the backbone's order: one table for each.

    Args:
        levels: all levels of the backbone.
        scales: names with + between them, or "auto": the last three maps, and the dense layer
            behind them. Where the network ends in a mean over the places of its last map, as ResNet
            and MobileNet do, that map stands for it.
        backbone: its name, for messages.

    Raises InputError for a level that the backbone does not have, or one that is named twice.
    """
    if scales != "auto":
        return backbones.named(levels, scales, backbone)
    maps = [name for name, level in levels.items() if level.stride]
    last = list(levels)[-1]
    if last == "pool" or last in maps:
        return tuple(maps[-MAPS:])
    return (*maps[-MAPS:], last)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of MLSH; COSDISH's are those of a public implementation, the rest is INFERRED."""

    epochs: int = setting(10, "of classification, before hashing, where the network is not frozen")
    scales: str = setting(
        "auto", "levels, with + or commas; auto for the last three maps and the dense layer behind"
    )
    integration: str = setting(
        "tables", "a table per level, or one table on all levels' features (concatenate)"
    )
    combine: str = setting("sum", "the rule by which the tables' distances are made one")
    dissimilar: str = setting(
        "-r", "the value of dissimilar pairs in COSDISH's S; r = similar / dissimilar pairs"
    )
    outer: int = setting(10, "times that COSDISH draws columns")
    inner: int = setting(3, "times that sampled and other rows take turns in between")
    ridge: float = setting(1.0, "weight of ||W||^2 of the regression from features to codes")

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "integration": ("tables", "concatenate"),
        "combine": ("sum", "union", "weighted"),
        "dissimilar": DISSIMILAR,
    }
    # on a frozen body no network is trained, but the regression has more features than images
    ADAPTS: ClassVar[adapt.Rules] = {**adapt.SIZES, **adapt.small_head(ridge=100.0)}

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", backbones.spelt(self.scales))

    def hasher(self, bits: int, seed: int) -> COSDISH:
        """The COSDISH of one table."""
        settings = {name: getattr(self, name) for name in ("dissimilar", "outer", "inner", "ridge")}
        return COSDISH(bits, random_state=seed, **settings)


OWN = (
    "scales",
    "integration",
    "combine",
    "dissimilar",
    "outer",
    "inner",
    "ridge",
)  # the network does not see these


class MLSH(DeepMethod):
    """A COSDISH table for each of several levels of one CNN, integrated when a query comes.

    `bits` are those of all tables together, in equal shares. After `fit`: `.tables`, `.combine`,
    `.table_weights`, and `.learned`, the codes that COSDISH gave the training images, packed as
    `encode` packs them. `encode` itself gives every image its projected code, training images too.
    """

    about: ClassVar[About] = About(
        name="mlsh",
        title="Multi-level supervised hashing with deep features for efficient image retrieval",
        year=2020,
        kind="shallow",
        labels=("same_class", "shares_label"),
        paper="Ng, Li, Tian, Wang, Kwong and Wallace, Neurocomputing 399, 2020",
        status=(
            "reconstruction from the abstract and summaries; COSDISH as in a public implementation"
        ),
    )
    Config: ClassVar[type] = Config
    pooled = True

    def __init__(self, bits: int, **overrides: Any):
        super().__init__(bits, **overrides)
        self.learned: np.ndarray | None = None  # codes of the training part, once fitted

    @property
    def taps(self) -> tuple[str, ...]:
        """The levels that have a table, in the backbone's order;
        known when the method was fitted.
        """
        return self.net.network.taps

    def choose_taps(self, levels: Mapping[str, backbones.Level], backbone: str) -> tuple[str, ...]:
        return choose(levels, self.config.scales, backbone)

    # ---- what is checked before anything is begun

    def check(self, train: Labelled) -> None:
        super().check(train)
        taps = self._taps(stored(images_of(train)).shape)
        self.config.hasher(max(self._shares(taps)), 0).check_settings()

    def _shares(self, names: Sequence[str]) -> tuple[int, ...]:
        """Bits of each table; raises InputError where they cannot be divided."""
        if self.config.integration == "concatenate":
            return (self.bits,)
        if self.bits % len(names):
            tables = f"{len(names)} tables ({', '.join(names)})"
            raise InputError(
                f"bits must be a multiple of {len(names)}, for {tables} of equal size, got "
                f"{self.bits}"
            )
        return (self.bits // len(names),) * len(names)

    # ---- the network and its training

    def head(self, backbone: backbones.Backbone) -> Tables:
        taps = self.choose_taps(backbone.levels, self.config.backbone)
        channels = [backbone.levels[name].channels for name in taps]
        return Tables(channels, self._shares(taps))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Classification of logits (B, C) with classes (B,), or with several labels 0/1 (B, C)."""
        return classes.classification_loss(logits, labels)

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        if not c.epochs or not backbones.parameters(network.backbone):
            return []
        last = nn.Linear(network.backbone.features, classes.count(labels))  # dropped afterwards
        classifier = nn.Sequential(network.backbone, last)
        return [self.phase("classification", classifier, self.loss, c.epochs, c.lr, shared=True)]

    def shared_settings(self) -> Hashable:
        usual = {name: getattr(Config(), name) for name in OWN}
        return self.about.name, dataclasses.replace(self.config, **usual)

    def _finish(self, images: Images, labels: np.ndarray, seed: int, shared: Shared) -> None:
        """A COSDISH for each table, on the features of all training images."""
        x = self.net.features(images, shared)  # (N, sum of D)
        self._hash(x.numpy(), labels, seed)

    @property
    def trained(self) -> bool:
        """Always: COSDISH is, whether or not the network was."""
        return True

    def _hash(self, x: np.ndarray, labels: np.ndarray, seed: int) -> None:
        """Train the tables on features x (N, sum of D), and weigh them where that is asked for."""
        head: Tables = self.network.head
        hashers = self._hashers(x, labels, seed)
        for table, hasher in enumerate(hashers):
            head.fill(table, hasher)
        self.learned = np.concatenate([codes.pack(hasher.codes_) for hasher in hashers], axis=1)
        if self.config.combine == "weighted" and len(hashers) > 1:
            head.weights.copy_(torch.tensor(self._weigh(x, labels, seed)))
        self._announce()

    def _hashers(self, x: np.ndarray, labels: np.ndarray, seed: int) -> list[COSDISH]:
        """A fitted COSDISH for each table."""
        head: Tables = self.network.head
        hashers = []
        for table, (inputs, bits) in enumerate(zip(head.inputs, head.bits, strict=True)):
            hasher = self.config.hasher(bits, seeds.derived(seed, "table", table))
            hashers.append(hasher.fit(x[:, inputs], labels))
        return hashers

    def _weigh(self, x: np.ndarray, labels: np.ndarray, seed: int) -> list[int]:
        """Weights of the tables: each is trained on four fifths of the images,
        and judged by the last fifth.

        The network has seen that fifth too, where it was trained; the tables have not.
        """
        order = np.random.default_rng(seeds.derived(seed, "held out")).permutation(len(x))
        last = len(x) // HELD_OUT
        held = order[:last]
        rest = order[last:]
        relevance = "shares_label" if labels.ndim == 2 else "same_class"
        hashers = self._hashers(x[rest], labels[rest], seed)
        maps = []
        for inputs, hasher in zip(self.network.head.inputs, hashers, strict=True):
            query = codes.pack(hasher.transform(x[held][:, inputs]))
            database = codes.pack(hasher.transform(x[rest][:, inputs]))
            report = metrics.evaluate(
                query,
                database,
                labels[held],
                labels[rest],
                bits=hasher.bits,
                relevance=relevance,
                cutoffs=[1],
            )
            maps.append(report.map)
        return weights_of(maps, chance=report.precision[-1])

    # ---- codes

    def encode(self, images: Pictures, shared: Shared | None = None) -> np.ndarray:
        """Packed codes of images, each table padded to whole words:
        uint8 (N, sum of 8*ceil(K_t/64)).
        """
        return files.split_tables(super().encode(images, shared), self.bits, self.tables)

    def set_state(
        self, tensors: dict[str, Tensor], facts: dict[str, Any], device: str | None = None
    ) -> None:
        super().set_state(tensors, facts, device)
        self._announce()

    def _announce(self) -> None:
        """Say how the stored bits are to be compared."""
        head: Tables = self.network.head
        if len(head.bits) == 1:
            self.tables = None
            self.combine = None
            self.table_weights = None
            return
        self.tables = head.bits
        self.combine = self.config.combine
        self.table_weights = tuple(head.weights.tolist()) if self.combine == "weighted" else None
