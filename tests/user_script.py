"""What people write with hashlab, of which a type checker has nothing to say: see test_types.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

import hashlab
from hashlab import codes, data, experiments, methods, metrics, records, shallow
from hashlab.errors import InputError
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod


@dataclass
class Mine:
    """Labelled images of a type of one's own."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fixed:
    """… and one that does not change."""

    images: npt.NDArray[np.uint8]
    labels: list[int]


class Pair(NamedTuple):
    """… and one that is a tuple."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


class Lazy:
    """… and one whose images are read when they are asked for."""

    labels = np.arange(300) % 5

    @property
    def images(self) -> npt.NDArray[np.uint8]:
        return np.zeros((300, 8, 8), np.uint8)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of a method of one's own."""

    margin: float = setting(1.0, "how far apart")


@methods.register
class Own(DeepMethod):
    """A method of one's own."""

    about: ClassVar[About] = About(
        name="own",
        title="",
        year=2026,
        kind="pairwise",
        labels=("same_class",),
        paper="",
        status="",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        margin: float = self.config.margin
        return (z - margin).square().mean()


def blocks(part: data.Part) -> Iterator[int]:
    for block in part.blocks(100):
        yield block.nbytes


def rooms() -> list[str]:
    digits: data.Dataset = hashlab.data.load("digits")
    made: methods.Method = hashlab.methods.create("itq", bits=16)
    kept: list[records.Record] = hashlab.records.load()
    version: str = hashlab.__version__
    return [digits.protocol, made.about.name, *(record.method for record in kept), version]


def data_sets(folder: Path) -> data.Dataset:
    names: list[str] = data.names()
    about: data.SetInfo = data.info(names[0])
    digits = data.load(about.name, protocol="digits", root=folder)
    digits = data.load(about.name, protocol=None, root=str(folder))
    part: data.Part = digits.train
    first: npt.NDArray[np.uint8] = part.images[:10]
    some = part.take(np.arange(3))
    classes: tuple[str, ...] = digits.classes
    print(first.shape, some.dtype, part.labels.max(), classes, len(part), part.shape)
    print(sum(blocks(part)))
    return digits.tuning()


def trained(folder: Path) -> methods.Method:
    digits = data.load("digits")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (300, 32, 32, 3), np.uint8)
    labels = np.arange(300) % 5
    model = methods.create("dpsh", bits=16, epochs=1, lr=0.01, backbone="tiny")
    model.fit(digits.train)
    model.fit(digits.train, seed=1, device="cpu", checkpoints=folder)
    model.fit(digits.train, checkpoints=str(folder))
    model.fit(Mine(images, labels))
    model.fit(Fixed(images, labels.tolist()))
    model.fit(Lazy())
    model.fit(SimpleNamespace(images=images, labels=labels))
    model.fit(SimpleNamespace(images=images, labels=torch.arange(300) % 5))
    model.fit(Pair(images, labels))
    packed: npt.NDArray[Any] = model.encode(images)
    packed = model.encode(digits.query)
    packed = model.encode(digits.query.images)
    print(packed.shape, model.bits, model.tables, model.history[-1]["seconds"], model.about.title)
    saved: Path = model.save(folder / "model")
    model.save(str(folder / "again"), {"why": "to see"})
    return methods.load(saved, device="cpu")


def scored() -> metrics.Report:
    signs = np.where(np.random.default_rng(0).random((200, 12)) < 0.5, -1, 1)
    packed = codes.pack(signs > 0)
    labels = np.arange(200) % 10
    report = metrics.evaluate(packed[:50], packed[50:], labels[:50], labels[50:], bits=12)
    report = metrics.evaluate(packed, packed, labels.tolist(), labels.tolist(), bits=12)
    report = metrics.evaluate(
        torch.from_numpy(packed),
        torch.from_numpy(packed),
        torch.from_numpy(labels),
        labels,
        bits=12,
    )
    value: float = report.map
    print(f"{value:.3f}", str(report))
    print(report.map_worst, report.map_best)
    return report


def of_codes() -> npt.NDArray[Any]:
    outputs = np.random.default_rng(0).standard_normal((20, 12))
    bits = codes.binarize(outputs)
    packed = codes.pack(bits)
    distances = codes.hamming(packed[:1], packed)[0]
    of_tensors: torch.Tensor = codes.hamming(
        codes.pack(codes.binarize(torch.randn(4, 12))), codes.pack(torch.ones(4, 12).bool())
    )
    again = codes.pad(codes.trim(packed, bits=12), 12)
    print(of_tensors.sum(), codes.unpack(again, 12).mean())
    nearest: npt.NDArray[np.intp] = np.argsort(distances, kind="stable")
    return nearest


def estimated() -> npt.NDArray[Any]:
    X = np.random.default_rng(0).standard_normal((100, 16))
    y = np.arange(100) % 3
    unsupervised = shallow.ITQ(bits=8).fit(X)
    supervised = shallow.COSDISH(bits=8).fit(X, y)
    both: npt.NDArray[Any] = unsupervised.transform(X) & supervised.transform(X.tolist())
    print(unsupervised.decision_function(X).shape, shallow.LSH(8).fit_transform(X).shape)
    return both


def run(folder: Path) -> records.Record:
    record = experiments.run("itq", "digits", 16, seed=0)
    record = experiments.run(
        "itq", data.load("digits"), bits=16, save=True, root=folder, rotations=3
    )
    planned = experiments.plan(["itq", "lsh"], "digits", [8, 16], seeds=(0, 1), save=False)
    for one in planned:
        record = one()
    try:
        print(record.map, record.method, record["config"], record.codes()["query_codes"].shape)
    except InputError as error:
        print(error)
    kept = records.load(folder)
    kept = records.load(str(folder))
    return (kept or [record])[0]
