"""Every method under one protocol: the same features, splits, metric, seeds, and the same small budget for settings.

    python benchmarks/side_by_side.py --weights mobilenet_v2-coral-dequantised.safetensors
    python benchmarks/side_by_side.py --weights FILE --methods itq dpsh --device cuda

For each method, at most four settings are tried on the validation part (24 bits, seed 0); the best one is then run at
two lengths with three seeds, and the queries are asked once. Deep methods train a hash layer on features that stay as
they are; shallow ones take the same features. Records are kept as `hashlab run` keeps them, so an interrupted
comparison goes on where it was. The chapter "Side by side" is drawn from them.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path
from typing import Any

import hashlab.data
from hashlab import experiments, methods
from hashlab.errors import InputError
from hashlab.records import Record

BITS, SEEDS, TUNED_AT = (12, 24), (0, 1, 2), 24
RATES = {"lr": (0.001, 0.003)}
# What is tried: every combination, four at most. Deep methods: two learning rates, and two values of one setting.
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
    "dsh": RATES | {"balance": ("none", "halves")},
    "dhn": RATES | {"balance": ("none", "halves")},
    "dpsh": RATES | {"balance": ("none", "halves")},
    "dtsh": RATES | {"weight": (0.1, 0.5)},
    "hashnet": RATES | {"last_beta": (3.0, 7.0)},
    "dsdh": RATES | {"balance": ("none", "halves")},
    "dch": RATES | {"gamma": (5.0, 20.0)},
    "dcwh": RATES | {"sides": ("code", "equal")},
    "greedyhash": RATES | {"alpha": (0.1, 1.0)},
    "csq": RATES | {"weight": (1e-4, 0.05)},
    "dpn": RATES | {"m": (1.0, 2.0)},
    "orthohash": RATES | {"scale": (4.0, 8.0)},
    "adsh": RATES | {"gamma": (20.0, 200.0)},
    "classifier_onehot": RATES,
    "classifier_sign": RATES,
    "mu_liu": RATES | {"c": (4.0, 8.0)},
    "csdh": RATES | {"form": ("regression", "likelihood")},
    "dmsh": RATES | {"width": (128, 256)},
    "mlsh": {"ridge": (1.0, 100.0), "combine": ("sum", "union")},
}


def variants(method: str) -> list[dict[str, Any]]:
    """The settings that are tried for a method."""
    grid = GRIDS[method]
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def features(method: str, weights: str) -> dict[str, Any]:
    """Where a method's features come from: the same network for all."""
    if method in methods.SHALLOW:
        return {"features": "mobilenet_v2", "weights": weights, "size": 128}
    body = {"backbone": "mobilenet_v2", "weights": weights, "size": 128, "frozen": True}
    return body | {"optimiser": "adamw", "epochs": 30}


def compare(method: str, data: hashlab.data.Dataset, how: dict[str, Any], weights: str) -> list[Record]:
    """The records of a method at its best settings, which are chosen on held-out training images."""
    common = features(method, weights)
    tried = [(variant, common | variant) for variant in variants(method)]
    runs = experiments.plan([method], data, [TUNED_AT], [SEEDS[0]], [all_ for _, all_ in tried], tuning=True, **how)
    scores = [run().map for run in runs]
    best = max(range(len(tried)), key=scores.__getitem__)
    for (variant, _), score in zip(tried, scores, strict=True):
        print(f"{method} {variant or 'defaults'}: validation mAP {score:.4f}", flush=True)
    records = [run() for run in experiments.plan([method], data, BITS, SEEDS, [tried[best][1]], **how)]
    for record in records:
        seconds = record.seconds
        print(
            f"{method}, {record.bits} bits, seed {record.seed}: mAP {record.map:.4f}, "
            f"training {seconds['train']:.1f} s, encoding {seconds['encode']:.1f} s",
            flush=True,
        )
    return records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a safetensors file for MobileNetV2, or torchvision-imagenet")
    parser.add_argument("--methods", nargs="+", default=list(GRIDS))
    parser.add_argument("--protocol", default="cifar10-59k")
    parser.add_argument("--device")
    parser.add_argument("--root", type=Path, help="where records are kept (default: $HASHLAB_RESULTS or results)")
    given = parser.parse_args()
    unknown = [name for name in given.methods if name not in GRIDS]
    if unknown:
        raise InputError(f"unknown method {unknown[0]!r}; expected some of: {', '.join(GRIDS)}")
    data = hashlab.data.load(given.protocol.split("-")[0], protocol=given.protocol)
    how = {"device": given.device, "root": given.root, "save": True}
    for method in given.methods:
        compare(method, data, how, given.weights)


if __name__ == "__main__":
    main()
