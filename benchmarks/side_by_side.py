"""Every method under one protocol: the same features, splits, metric, seeds,
and the same small budget for settings.

    python benchmarks/side_by_side.py --weights mobilenet_v2-coral-dequantised.safetensors
    python benchmarks/side_by_side.py --weights FILE --methods itq dpsh --device cuda

What is tried and what is kept says `hashlab.chapters.comparison`. Records are kept as `hashlab run`
keeps them, so an interrupted comparison goes on where it was. The chapter "Side by side" is drawn
from them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import hashlab.data
from hashlab import experiments
from hashlab.chapters import comparison
from hashlab.records import Record


def compare(
    method: str, data: hashlab.data.Dataset, how: dict[str, Any], weights: str
) -> list[Record]:
    """The records of a method at its best settings,
    which are chosen on held-out training images.
    """
    common = comparison.common(method) | {"weights": weights}
    variants = [common | variant for variant in comparison.variants(method)]
    tried = tune(method, data, how, variants)
    chosen = variants[comparison.best(tried)]
    if looks := [
        *comparison.beyond(chosen),
        *(common | look for look in comparison.LOOKS.get(method, [])),
    ]:
        tune(method, data, how, looks)
    records = [
        run()
        for run in experiments.plan(
            [method], data, comparison.BITS, comparison.SEEDS, [chosen], **how
        )
    ]
    for record in records:
        seconds = ", ".join(
            f"{step} {record.cpu_seconds[step]:.1f} s" for step in ("train", "encode")
        )
        print(
            f"{method}, {record.bits} bits, seed {record.seed}: mAP {record.map:.4f}, {seconds}",
            flush=True,
        )
    return records


def tune(
    method: str, data: hashlab.data.Dataset, how: dict[str, Any], variants: list[dict[str, Any]]
) -> list[Record]:
    """The records of a method's variants on held-out training images."""
    at, seed = [comparison.TUNED_AT], [comparison.SEEDS[0]]
    tried = [
        run() for run in experiments.plan([method], data, at, seed, variants, tuning=True, **how)
    ]
    for record in tried:
        print(
            f"{method} {record.variant}: mAP {comparison.unseen(record):.4f} among held-out images",
            flush=True,
        )
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--weights",
        required=True,
        help="a safetensors file for MobileNetV2, or torchvision-imagenet",
    )
    parser.add_argument("--methods", nargs="+", default=list(comparison.GRIDS))
    parser.add_argument("--protocol", default=comparison.PROTOCOL)
    parser.add_argument("--device")
    parser.add_argument(
        "--root", type=Path, help="where records are kept (default: $HASHLAB_RESULTS or results)"
    )
    given = parser.parse_args()
    for name in given.methods:
        comparison.variants(name)  # raises before any work where it is not compared
    data = hashlab.data.load(given.protocol.split("-")[0], protocol=given.protocol)
    how = {"device": given.device, "root": given.root, "save": True}
    for name in given.methods:
        compare(name, data, how, given.weights)


if __name__ == "__main__":
    main()
