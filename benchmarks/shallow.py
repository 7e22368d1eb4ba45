"""How long do the array estimators learn? Every one on 5,000 x 1,280 features at 48 bits,
in one run.

    python benchmarks/shallow.py                 synthetic classes, a minute or two
    python benchmarks/shallow.py --weights FILE  also real features, of 5,000 images of CIFAR-10

Targets, on two cores: ITQ in 5 s; KSH, SDH and COSDISH in 60 s each. A time is the best of a few
runs, because what else the machine does can only add to it. The seconds of the CPU stand beside it:
where the clock's are more than those, the machine was busy with something else.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from hashlab import data, methods, shallow

TARGETS = {"ITQ": 5.0, "KSH": 60.0, "SDH": 60.0, "COSDISH": 60.0}  # seconds


def make(rows: int, features: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Features (N, d) in overlapping classes whose variances fall from axis to axis,
    and the classes (N,).
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, rows)
    scale = 1 / np.sqrt(np.arange(1, features + 1))
    centres = rng.standard_normal((classes, features)) * scale
    return centres[labels] + rng.standard_normal((rows, features)) * scale, labels


def real(weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Features (5000, 1280) of `cifar10-59k`'s training images by a MobileNetV2 that stays as it
    is, and labels.
    """
    train = data.load("cifar10", protocol="cifar10-59k").train
    method = methods.create("lsh", 1, backbone="mobilenet_v2", weights=weights, size=128).fit(train)
    return method.net.features(train).numpy(), train.labels


def fitting(
    name: str, X: np.ndarray, y: np.ndarray, bits: int, repeats: int
) -> tuple[float, float]:
    """Seconds of the quickest fit, by the clock and of the CPU."""
    times = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        getattr(shallow, name)(bits=bits).fit(X, y)
        times.append((time.perf_counter() - clock, time.process_time() - cpu))
    return min(times)


def compare(X: np.ndarray, y: np.ndarray, bits: int, repeats: int) -> None:
    """A line per estimator: seconds to learn, and their ratio to the target where there is one."""
    shallow.ITQ(bits=1).fit(X[:99])  # what is loaded at first use is loaded now
    for name in shallow.CLASSES:
        seconds, cpu = fitting(name, X, y, bits, repeats)
        target = TARGETS.get(name)
        note = f"{seconds / target:5.2f} times the target of {target:.0f} s" if target else ""
        print(f"{name:<12} {seconds:8.3f} s   CPU {cpu:8.3f} s   {note}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--bits", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument(
        "--weights", help="a safetensors file for MobileNetV2, or torchvision-imagenet"
    )
    given = parser.parse_args()
    os.environ.setdefault("HASHLAB_PROGRESS", "0")
    with threadpool_limits(given.threads):
        threads = {pool["num_threads"] for pool in threadpool_info()}
        print(f"{max(threads)} threads, {given.bits} bits, NumPy {np.__version__}")
        print(f"\nsynthetic classes, {given.rows:,} x {given.features:,}")
        compare(*make(given.rows, given.features), given.bits, given.repeats)
        if given.weights:
            X, y = real(given.weights)
            print(f"\nfrozen features of CIFAR-10, {X.shape[0]:,} x {X.shape[1]:,}")
            compare(X, y, given.bits, given.repeats)


if __name__ == "__main__":
    main()
