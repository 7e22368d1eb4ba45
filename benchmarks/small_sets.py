"""What default settings are worth on small sets: each deep method on four of them,
with its defaults and with those that gave way.

    python benchmarks/small_sets.py                        mAP of every method, three seeds
    python benchmarks/small_sets.py --tuning               the same on images for choosing settings
    python benchmarks/small_sets.py --tuning --try lr=0.01 optimiser=adamw --methods dpsh dhn

| set | training images | network |
|---|---|---|
| photos3 | 61 of three classes of CIFAR-10 | EfficientNet-Lite0 with ImageNet's weights, frozen, 96 px |
| photos10 | 300 of ten classes of CIFAR-10 | the same |
| photos20 | 300 of twenty classes of CIFAR-100 | the same |
| digits | 1,200 | the small network that suits them, from scratch |

150 images ask, and 300 others are searched that were not trained on either; with `--tuning` both
are other images than without. Of digits the parts are those of its protocol. CIFAR must be in the
cache. Defaults were chosen with `--tuning`; the table that `results/speed/small-sets.txt` keeps is
that of the queries, asked once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from hashlab import data, methods, metrics
from hashlab.data.parts import Dataset
from hashlab.methods import Method, Shared

FROZEN = {
    "backbone": "efficientnet_lite0",
    "weights": "efficientnet-lite0",
    "size": 96,
    "frozen": True,
}
PHOTOS = {
    "photos3": ("cifar10", 3, 61),
    "photos10": ("cifar10", 10, 300),
    "photos20": ("cifar100", 20, 300),
}  # name -> set, classes, training images
ASKED, SEARCHED = 150, 300
BITS = {"digits": 16, "mlsh": 48}  # of MLSH's three tables together; of all others 32
NEEDED = {"shpdh": {"levels": 1}}  # labels on several levels are not to be had here
DEEP = [name for name in methods.names() if name not in methods.SHALLOW]


class Result(NamedTuple):
    """What came of one run."""

    map: float
    used: dict[str, Any]  # settings that are no defaults, and were not given
    collapse: str


def photos(name: str, tuning: bool) -> Dataset:
    """A few images of the first classes of a set, in memory; the same ones every time."""
    source, classes, trained = PHOTOS[name]
    whole = data.load(source)
    pool = dataclasses.replace(
        whole.train.pool, folder=None, about=dataclasses.replace(whole.info, levels=())
    )
    rng = np.random.default_rng(0)
    labels = whole.train.pool.labels
    pool = dataclasses.replace(pool, stored=labels)
    of_class = [rng.permutation(np.flatnonzero(labels == c))[:400] for c in range(classes)]
    order = rng.permutation(np.concatenate(of_class))
    train, tuned, final, _ = np.split(
        order, trained + np.array([0, ASKED + SEARCHED, 2 * (ASKED + SEARCHED)])
    )
    query, database = np.split(tuned if tuning else final, [ASKED])
    parts = {"train": train, "validation": query, "query": query, "database": database}
    return dataclasses.replace(
        whole,
        info=pool.about,
        protocol=f"small-{name}",
        **{part: pool.part(rows) for part, rows in parts.items()},
    )


def load(name: str, tuning: bool) -> Dataset:
    if name in PHOTOS:
        return photos(name, tuning)
    whole = data.load(name)
    return whole.tuning() if tuning else whole


def run(method: str, name: str, part: Dataset, seed: int, given: dict, shared: Shared) -> Result:
    """One training, and the mAP of images that it has not seen."""
    common = FROZEN if name in PHOTOS else {}
    bits = BITS.get(name) or BITS.get(method, 32)
    if method == "mlsh":
        bits = BITS["mlsh"]
    learner = methods.create(method, bits, **common | NEEDED.get(method, {}) | given)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        learner.fit(part.train, seed=seed, shared=shared)
    used = {key: getattr(learner.config, key) for key in learner.replaced}
    return Result(score(learner, part, shared), used, str(learner.collapse or ""))


def score(learner: Method, part: Dataset, shared: Shared) -> float:
    packed = [learner.encode(side, shared) for side in (part.query, part.database)]
    report = metrics.evaluate(
        *packed,
        part.query.targets,
        part.database.targets,
        bits=learner.bits,
        tables=learner.tables,
        combine=learner.combine,
        weights=learner.table_weights,
    )
    return report.map


def before(method: str, images: int, common: dict[str, Any]) -> dict[str, Any]:
    """What the defaults would be if none gave way, but for a batch that would not fit."""
    learner = methods.create(method, 32, **common | NEEDED.get(method, {}))
    used = learner.settings_for(images)
    gave_way = [
        field.name
        for field in dataclasses.fields(used)
        if getattr(used, field.name) != getattr(learner.config, field.name)
    ]
    return {
        key: min(128, images) if key == "batch_size" else getattr(learner.config, key)
        for key in gave_way
    }


def rows(chosen: argparse.Namespace) -> Iterator[str]:
    """Lines of the table, as they come."""
    yield "| set | method | settings | mAP | lowest | codes |"
    yield "|---|---|---|---|---|---|"
    for name in chosen.sets:
        part = load(name, chosen.tuning)
        shared = Shared()
        common = FROZEN if name in PHOTOS else {}
        for method in chosen.methods:
            old = {} if chosen.now else before(method, len(part.train), common)
            tried = [old, {}] if old else [{}]
            for given in [chosen.given] if chosen.given else tried:
                yield line(name, method, given, part, chosen.seeds, shared)


def line(
    name: str, method: str, given: dict, part: Dataset, seeds: list[int], shared: Shared
) -> str:
    """A method on a set, over all seeds."""
    try:
        runs = [run(method, name, part, seed, given, shared) for seed in seeds]
    except FloatingPointError as error:
        return f"| {name} | {method} | {words(given)} | none | | {error} |"
    maps = [result.map for result in runs]
    settings = words(given) or words(runs[0].used) or "defaults"
    mark = "" if given else "now: "
    collapsed = next((result.collapse for result in runs if result.collapse), "")
    mean, least = np.mean(maps), min(maps)
    return f"| {name} | {method} | {mark}{settings} | {mean:.2f} | {least:.2f} | {collapsed} |"


def words(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings.items())


def setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=[*PHOTOS, "digits"])
    parser.add_argument("--methods", nargs="+", default=DEEP)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--now", action="store_true", help="leave out the defaults that gave way")
    parser.add_argument("--try", dest="given", nargs="+", type=setting, default=[])
    chosen = parser.parse_args()
    chosen.given = dict(chosen.given)
    for text in rows(chosen):
        print(text, flush=True)


if __name__ == "__main__":
    main()
