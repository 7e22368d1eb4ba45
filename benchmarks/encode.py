"""How long does a code take? A single image by a model in memory, and a folder of photographs.

    python benchmarks/encode.py                  MobileNetV2 at 128 px, 48 bits; a minute or two
    python benchmarks/encode.py --images 200     a smaller folder

Target, on two cores: a single image, from a JPEG file too, in 30 ms. A time is the best of many
runs, because what else the machine does can only add to it; the CPU's stands beside the clock's, and
the network alone above, so that the rest is what hashlab itself takes. Weights do not matter for
that, and are random.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from hashlab import methods
from hashlab.data import folders
from hashlab.methods.deep import DeepMethod

TARGET = 30.0  # ms of a single image
SIDE = 128
PHOTO = (640, 480)  # pixels of the photographs


def model() -> DeepMethod:
    """CSQ on a MobileNetV2, not trained."""
    images = np.random.default_rng(0).integers(0, 256, (8, SIDE, SIDE, 3), dtype=np.uint8)
    train = SimpleNamespace(images=images, labels=np.arange(8) % 2)
    settings = {"backbone": "mobilenet_v2", "epochs": 0, "batch_size": 4}
    return methods.create("csq", 48, **settings).fit(train, device="cpu")


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of smooth noise, of about the bytes that photographs of the size have."""
    rng = np.random.default_rng(1)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
        coarse.resize(PHOTO, Image.Resampling.BICUBIC).save(folder / f"{number:05d}.jpg")
    return folders.files(folder)


def best(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Milliseconds of the quickest run by the clock, and of the one with the least work of the CPU."""
    function()  # what is loaded at first use is loaded now
    times = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        function()
        times.append((time.perf_counter() - clock, time.process_time() - cpu))
    clocks, cpus = zip(*times, strict=True)
    return 1000 * min(clocks), 1000 * min(cpus)


def single(method: DeepMethod, file: Path, repeats: int) -> dict[str, tuple[float, float]]:
    """What one image takes, in ms by the clock and of the CPU, by the door that it comes in."""
    array = folders.decode(file.read_bytes(), method.shape).copy()
    ready = method.view.plain(torch.from_numpy(array[None]))
    with Image.open(file) as image:
        photo = np.asarray(image)
    with torch.inference_mode():
        network = best(lambda: method.network(ready), repeats)
    return {
        "the network alone": network,
        f"an array of {SIDE} px": best(lambda: method.encode(array[None]), repeats),
        f"an array of {PHOTO[0]}x{PHOTO[1]}": best(lambda: method.encode(photo), repeats),
        f"a JPEG file of {PHOTO[0]}x{PHOTO[1]}": best(lambda: method.encode(file), repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="of the folder")
    parser.add_argument("--repeats", type=int, default=50, help="of a single image")
    parsed = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    method = model()
    with tempfile.TemporaryDirectory() as folder:
        files = photographs(Path(folder), parsed.images)
        for threads in sorted({1, cores}):
            torch.set_num_threads(threads)
            print(f"threads of the network: {threads} of {cores} cores")
            for door, (clock, cpu) in single(method, files[0], parsed.repeats).items():
                share = f"{clock / TARGET:.2f} of the target"
                print(f"  {door:28}{clock:8.1f} ms   {share}   CPU {cpu:.1f} ms")
            start = time.perf_counter()
            method.encode(files)
            rate = len(files) / (time.perf_counter() - start)
            print(f"  {f'{len(files):,} JPEG files':28}{rate:8.1f} a second")


if __name__ == "__main__":
    main()
