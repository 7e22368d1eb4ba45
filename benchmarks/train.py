"""How fast is the training engine? Beside a bare loop on ready tensors,
and beside the usual pipeline, in one run.

    python benchmarks/train.py                   ratios on a CPU, in about two minutes
    python benchmarks/train.py --device cuda     the same on a GPU, then what a large one should do
                                                 (needs `hashlab data fetch cifar10`)
    python benchmarks/train.py --device cuda --weights mobilenet_v2.safetensors

Images are random: speed does not depend on what they show. Rivals take turns, and each time is the
best of a few, because what else the machine does can only add to it; ratios compare times of this
run only. The usual pipeline is torchvision's: a PIL image per picture, resized, cropped and
mirrored by transforms, batched by a DataLoader.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab import data, methods
from hashlab.data.batches import Batches, View, statistics
from hashlab.networks import backbones
from hashlab.training import loop, numerics

BATCH = 128
ROUNDS = 5


def random_images(count: int, side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (count, side, side) if channels == 1 else (count, side, side, channels)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 10, count)


def classifier(
    name: str, shape: tuple[int, ...], device: torch.device, weights: str = "scratch"
) -> nn.Module:
    backbone = backbones.create(name, shape, weights)
    network = nn.Sequential(backbone, nn.Linear(backbone.features, 10))
    return network.to(device, memory_format=torch.channels_last)


def best(contestants: dict[str, Callable[[], object]], device: torch.device) -> dict[str, float]:
    """Seconds of each, the best of a few rounds in which they take turns;
    the first round warms up.
    """
    seconds = {name: [] for name in contestants}
    for _ in range(ROUNDS + 1):
        for name, work in contestants.items():
            start = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return {name: min(times[1:]) for name, times in seconds.items()}


# ---- the contestants: one epoch of training, or one pass of encoding


def engine(network: nn.Module, batches: Batches, precision: str) -> None:
    def loss(batch: object) -> Tensor:
        return numerics.in_full(F.cross_entropy, network(batch.images), batch.labels)

    phase = loop.Phase("epoch", network, loss, 1, 0.01)
    loop.train([phase], batches, batch_size=BATCH, precision=precision)


def bare(network: nn.Module, images: Tensor, labels: Tensor, precision: str) -> None:
    """The same steps on float tensors that are normalised and on the device already,
    in their order.
    """
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    network.train()
    for at in range(0, len(images) - BATCH + 1, BATCH):
        with numerics.autocast(images.device, precision):
            z = network(images[at : at + BATCH])
        loss = F.cross_entropy(z.float(), labels[at : at + BATCH])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def usual_loader(
    images: np.ndarray, labels: np.ndarray, size: int, train: bool, workers: int
) -> object:
    from PIL import Image
    from torchvision import transforms as T

    steps = [T.Resize(size)]
    if train:
        steps = [T.Resize(size * 8 // 7), T.RandomCrop(size), T.RandomHorizontalFlip()]
    chain = T.Compose([*steps, T.ToTensor(), T.Normalize((0.5,), (0.25,))])

    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            return chain(Image.fromarray(images[i])), int(labels[i])

    how = {"shuffle": train, "drop_last": train, "num_workers": workers}
    return torch.utils.data.DataLoader(Pictures(), BATCH, **how)


def usual(network: nn.Module, loader: object, device: torch.device, precision: str) -> None:
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    network.train()
    for images, labels in loader:
        with numerics.autocast(device, precision):
            z = network(images.to(device).contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(z.float(), labels.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


@torch.inference_mode()
def encode(network: nn.Module, blocks: object, device: torch.device, precision: str) -> None:
    network.eval()
    for block in blocks:
        images = block[0] if isinstance(block, list) else block
        with numerics.autocast(device, precision):
            network(images.to(device).contiguous(memory_format=torch.channels_last)).cpu()


# ---- comparisons


def beside_a_bare_loop(
    name: str, side: int, channels: int, count: int, device: torch.device
) -> None:
    precision = "bfloat16" if device.type == "cuda" else "float32"
    images, labels = random_images(count, side, channels)
    view = View(side, side, channels, *statistics(images), shift=2, flip=channels == 3)
    batches = Batches(images, labels, device, view)
    ready = torch.cat(list(batches.stream()))
    targets = torch.from_numpy(labels).to(device)
    network = classifier(name, images.shape[1:], device)
    train = best(
        {
            "engine": lambda: engine(network, batches, precision),
            "bare": lambda: bare(network, ready, targets, precision),
        },
        device,
    )
    network.eval()
    codes = best(
        {
            "engine": lambda: batches.map(network, "encoding"),
            "bare": lambda: encode(network, ready.split(batches.block), device, "float32"),
        },
        device,
    )
    for what, seconds in (("training", train), ("encoding", codes)):
        ratio = seconds["bare"] / seconds["engine"]
        text = f"{what}, {name} at {side} px"
        report(text, "a bare loop's speed", ratio, 0.9, count, seconds)


def beside_the_usual_pipeline(
    name: str | None, side: int, channels: int, count: int, device: torch.device, workers: int
) -> None:
    """With a network, or for None with none at all: then batches are only made."""
    precision = "bfloat16" if device.type == "cuda" else "float32"
    images, labels = random_images(count, side, channels)
    view = View(side, side, channels, *statistics(images), shift=side // 7, flip=True)
    batches = Batches(images, labels, device, view)
    network = classifier(name, images.shape[1:], device) if name else Nothing().to(device)
    loaders = [usual_loader(images, labels, side, train, workers) for train in (True, False)]
    train = best(
        {
            "engine": lambda: engine(network, batches, precision),
            "usual": lambda: usual(network, loaders[0], device, precision),
        },
        device,
    )
    codes = best(
        {
            "engine": lambda: batches.map(network.eval(), "encoding"),
            "usual": lambda: encode(network, loaders[1], device, "float32"),
        },
        device,
    )
    for what, seconds in (("training", train), ("encoding", codes)):
        ratio = seconds["usual"] / seconds["engine"]
        text = f"{what}, {name or 'no network'} at {side} px"
        report(text, "times the usual pipeline's speed", ratio, 5.0, count, seconds)


class Nothing(nn.Module):
    """Ten outputs that cost next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(10))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :1] * self.weight


def report(
    what: str, unit: str, ratio: float, target: float, count: int, seconds: dict[str, float]
) -> None:
    speeds = ", ".join(f"{name} {count / taken:,.0f}" for name, taken in seconds.items())
    verdict = "reached" if ratio >= target else "MISSED"
    goal = f"(target {target:g}: {verdict})"
    print(f"{what:44} {ratio:5.2f} {unit} {goal}; images/s: {speeds}", flush=True)


def importing() -> None:
    """Seconds that `import hashlab`, and all that a run imports, add to `import torch`."""
    times = []
    for what in ("hashlab", "hashlab.experiments, hashlab.methods.deep"):
        clock = "time.perf_counter()"
        code = f"import time, torch; t = {clock}; import {what}; print({clock} - t)"
        command = [sys.executable, "-c", code]
        runs = [subprocess.run(command, capture_output=True, text=True) for _ in range(3)]
        times.append(min(float(run.stdout) for run in runs))
    alone, whole = times
    verdict = "reached" if alone < 0.3 else "MISSED"
    print(f"import hashlab: {alone:.3f} s after torch (target 0.3: {verdict})")
    print(f"all that a run needs: {whole:.3f} s")


# ---- what a large GPU should do


def mobilenet(device: torch.device, weights: str, compiler: str) -> None:
    """5,000 images x 50 epochs at 128 px, then codes of 60,000:
    everything counts, warm-up and compilation included.
    """
    images, labels = random_images(60_000, 32, 3)
    settings = {"epochs": 50, "pretrain_epochs": 0, "compiler": compiler}
    network = {"backbone": "mobilenet_v2", "size": 128, "weights": weights}
    method = methods.create("mu_liu", 48, **network, **settings)
    start = time.perf_counter()
    train = SimpleNamespace(images=images[:5000], labels=labels[:5000])
    method.fit(train, device=str(device))
    trained = time.perf_counter()
    method.encode(images)
    encoded = time.perf_counter()
    seconds = encoded - start
    verdict = "reached" if seconds < 30 else "MISSED"
    parts = f"training {trained - start:.1f} s, encoding {encoded - trained:.1f} s"
    what = "MobileNetV2, 128 px, 5,000 x 50 + 60,000"
    total = f"{seconds:.1f} s (target 30: {verdict})"
    print(f"{what}: {total}; {parts}, compiler {compiler}", flush=True)


class Scaled(nn.Module):
    """An eighth of a linear layer's outputs:
    with a high learning rate the soft-max must not saturate early.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) / 8


def resnet9(device: torch.device, compiler: str, epochs: int = 24) -> None:
    """CIFAR-10 from scratch, accuracy on its test split; Page's settings, with smoothed labels."""
    loaded = data.load("cifar10", protocol="cifar10-full")
    start = time.perf_counter()
    torch.manual_seed(0)
    view = View(32, 32, 3, *statistics(loaded.train), shift=4, flip=True)
    backbone = backbones.create("resnet9", (32, 32, 3))
    network = nn.Sequential(backbone, Scaled(backbone.features, 10)).to(
        device, memory_format=torch.channels_last
    )

    def loss(batch: object) -> Tensor:
        z = network(batch.images)
        return numerics.in_full(
            lambda z, y: F.cross_entropy(z, y, label_smoothing=0.2), z, batch.labels
        )

    phase = loop.Phase("classes", network, loss, epochs, 0.4, weight_decay=5e-4, schedule="linear")
    batches = Batches(loaded.train, loaded.train.labels, device, view)
    with numerics.deterministic(False):
        loop.train([phase], batches, batch_size=512, precision="bfloat16", compiler=compiler)
    seconds = time.perf_counter() - start
    network.eval()
    with numerics.autocast(device, "bfloat16"):
        z = Batches(loaded.query, None, device, view).map(network, "test")
    right = (z.argmax(1).numpy() == loaded.query.labels).mean()
    verdict = "reached" if right >= 0.94 and seconds < 60 else "MISSED"
    goal = f"(target 94 % in 60 s: {verdict})"
    print(f"resnet9, CIFAR-10: {right:.2%} in {seconds:.1f} s {goal}; compiler {compiler}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--weights", default="scratch", help="of MobileNetV2; speed does not depend on them"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes of the usual pipeline")
    words = parser.parse_args()
    os.environ["HASHLAB_PROGRESS"] = "0"
    device = backbones.device(words.device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    importing()
    scale = 8 if device.type == "cuda" else 1
    beside_a_bare_loop("lenet", 28, 1, 2560 * scale, device)
    beside_a_bare_loop("quick", 32, 3, 1280 * scale, device)
    beside_the_usual_pipeline(None, 32, 3, 1280 * scale, device, words.workers)
    beside_the_usual_pipeline(None, 28, 1, 1280 * scale, device, words.workers)
    beside_the_usual_pipeline("tiny", 8, 1, 2560 * scale, device, words.workers)
    if device.type == "cuda":
        beside_the_usual_pipeline("quick", 32, 3, 2560 * scale, device, words.workers)
        beside_a_bare_loop("resnet9", 32, 3, 2560 * scale, device)
        for compiler in numerics.COMPILERS:
            mobilenet(device, words.weights, compiler)
            resnet9(device, compiler)


if __name__ == "__main__":
    main()
