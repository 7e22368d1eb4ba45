"""Every method under one protocol: the same features, split, metric, seeds,
and the same small budget for settings.

For each method, at most four settings are tried on the validation part (24 bits, seed 0); the best
one is run at two lengths with three seeds, and the queries are asked once. Best is what finds
held-out images among each other, see `unseen`: nine in ten images of the database were not trained
on, and what serves training images only shall not win. Deep methods train a hash layer on the
features of a network that stays as it is; shallow ones take the same features. Two looks at the
validation part choose nothing: would learning rates beyond the grid have been better (`BEYOND`),
and what does one setting do to the methods that end low (`LOOKS`)?
`benchmarks/side_by_side.py` makes the records, the chapter "Side by side" reads them with `found`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from hashlab import methods
from hashlab.errors import InputError
from hashlab.grid import agrees, configuration, unseen
from hashlab.records import Record

PROTOCOL = "cifar10-59k"
BITS = (12, 24)
SEEDS = (0, 1, 2)
TUNED_AT = 24  # bits
BACKBONE = "mobilenet_v2"
SIDE = 128  # pixels

RATES = {"lr": (0.001, 0.003)}
BEYOND = (0.0003, 0.01)  # tried once with what was chosen
# What is tried: every combination, four at most. Deep methods: two learning rates, and two values
# of one setting.
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "random": {},
    "pca_rotation": {},
    "lsh": {},
    "sklsh": {},
    "pcah": {},
    "sh": {},
    "itq": {},
    "cca_itq": {"rho": (1e-4, 1e-2, 1.0, 100.0)},
    "ksh": {"anchors": (300, 1000)},
    "sdh": {"anchors": (300, 1000), "ridge": (0.01, 1.0)},
    "cosdish": {"ridge": (1.0, 100.0), "outer": (10, 20)},
    "cnnh": RATES | {"sweeps": (5, 20)},
    "dsh": RATES | {"margin": (1.0, 2.0)},
    "dhn": RATES | {"balance": ("none", "halves")},
    "dpsh": RATES | {"balance": ("none", "halves")},
    "dtsh": RATES | {"weight": (0.1, 0.5)},
    "hashnet": RATES | {"last_beta": (3.0, 7.0)},
    "dsdh": RATES | {"balance": ("none", "halves")},
    "dch": RATES | {"gamma": (5.0, 20.0)},
    "dcwh": RATES | {"sides": ("equal",), "s": (0.25,), "vertex": (0.01, 1.28)},
    "greedyhash": RATES | {"alpha": (0.1, 1.0)},
    "csq": RATES | {"weight": (1e-4, 0.05)},
    "dpn": RATES | {"m": (1.0, 2.0)},
    "orthohash": RATES | {"scale": (4.0, 8.0)},
    "adsh": RATES | {"gamma": (20.0, 200.0)},
    "classifier_onehot": RATES,
    "classifier_sign": RATES,
    "mu_liu": RATES | {"c": (4.0, 8.0)},
    "csdh": RATES | {"unlike": ("half",), "balance": ("none",), "quantise": ("squared", "none")},
    "dmsh": RATES | {"width": (128, 256)},
    "mlsh": {"ridge": (1.0, 100.0), "combine": ("sum", "union")},
}
LOOKS: dict[str, list[dict[str, Any]]] = {
    "dsh": [{"lr": 0.001, "margin": m} for m in (0.5, 1.0, 2.0, 4.0)],
    "orthohash": [{"lr": 0.001, "scale": s} for s in (2.0, 4.0, 8.0, 16.0)]
    + [{"lr": 0.001, "scale": 4.0, "codes": "apart"}],
    "dpn": [{"lr": 0.001, "codes": "apart"}],
    "dcwh": [{"lr": 0.001, "sides": "equal", "s": s} for s in (0.0625, 0.25, 1.0, 4.0)],
}


class Compared(NamedTuple):
    """What a comparison has of one method."""

    tried: list[Record]  # on the validation part, one per variant
    best: dict[str, Any]  # the variant that finds held-out images best
    records: dict[int, list[Record]]  # code length -> a record per seed
    beyond: list[Record]  # on the validation part, with learning rates beyond the grid


def variants(method: str) -> list[dict[str, Any]]:
    """The settings that are tried for a method; raises InputError for one that is not compared."""
    if method not in GRIDS:
        raise InputError(f"{method!r} is not compared; expected one of: {', '.join(GRIDS)}")
    grid = GRIDS[method]
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def common(method: str) -> dict[str, Any]:
    """The settings that do not vary:
    where features come from, and how long a hash layer is trained.
    """
    if method in methods.SHALLOW:
        return {"backbone": BACKBONE, "size": SIDE}
    training = {"frozen": True, "optimiser": "adamw", "epochs": 30}
    return {"backbone": BACKBONE, "size": SIDE, **training}


def best(tried: Sequence[Record]) -> int:
    """The index of the record with the highest `unseen`, the first one of equals."""
    return int(np.argmax([unseen(record) for record in tried]))


def beyond(chosen: dict[str, Any]) -> list[dict[str, Any]]:
    """The chosen settings with learning rates beyond the grid;
    none for a method that is given no rate.
    """
    return [chosen | {"lr": lr} for lr in BEYOND] if "lr" in chosen else []


def found(kept: Sequence[Record], method: str) -> Compared:
    """The records of a comparison among those that are kept.

    Raises InputError where one is missing, or where two would do.
    """
    variants_of = variants(method)
    kept = [record for record in kept if record["method"] == method]  # looked through many times
    tried = [tuned(kept, method, variant) for variant in variants_of]
    chosen = variants_of[best(tried)]
    final = {bits: [_one(kept, method, bits, seed, chosen) for seed in SEEDS] for bits in BITS}
    further = [tuned(kept, method, variant) for variant in beyond(chosen)]
    return Compared(tried, chosen, final, further)


def whole(kept: Sequence[Record]) -> dict[str, list[Record]]:
    """Runs in which the network was trained along with the code, at `TUNED_AT` bits:
    method -> a record per seed.

    Methods without a run for each seed are left out. Raises InputError where a seed has two.
    """
    groups: dict[str, dict[int, Record]] = {}
    for record in filter(_trained_as_a_whole, kept):
        group = groups.setdefault(record.method, {})
        if group.setdefault(record.seed, record) is not record:
            raise InputError(
                f"one run of {record.method} with seed {record.seed} expected, found two"
            )
    complete = {name: group for name, group in groups.items() if group.keys() == set(SEEDS)}
    return {name: [group[seed] for seed in SEEDS] for name, group in complete.items()}


def _trained_as_a_whole(record: Record) -> bool:
    """Whether a record is one of this protocol and length whose network was trained along with
    the code.
    """
    if (record.protocol, record.bits) != (PROTOCOL, TUNED_AT):
        return False
    config = record["config"]
    return config.get("backbone") == BACKBONE and not config.get("frozen", True)


def tuned(kept: Sequence[Record], method: str, variant: dict[str, Any]) -> Record:
    """The record of a variant on the validation part; raises InputError where there is not one."""
    return _one(kept, method, TUNED_AT, SEEDS[0], variant, "/tuning")


def _one(
    kept: Sequence[Record],
    method: str,
    bits: int,
    seed: int,
    variant: dict[str, Any],
    part: str = "",
) -> Record:
    """The record of one run, see `grid.agrees`; with whatever weights it started from."""
    wanted, usual = configuration(method, bits, common(method) | variant)
    wanted = {key: value for key, value in wanted.items() if key != "weights"}
    run = {"method": method, "protocol": PROTOCOL + part, "bits": bits, "seed": seed}
    of_run = (record for record in kept if all(record[key] == run[key] for key in run))
    same = [record for record in of_run if agrees(record, wanted, usual)]
    if len(same) != 1:
        raise InputError(
            f"one record of {run} with {variant or 'defaults'} expected, found {len(same)}"
        )
    return same[0]
