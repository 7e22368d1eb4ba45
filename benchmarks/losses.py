"""What does a loss cost? Forward and backward of every loss of the package,
beside a step of MobileNetV2 at 128 px.

    python benchmarks/losses.py                                         on a CPU, in about a minute
    python benchmarks/losses.py --device cuda                           on a GPU
    python benchmarks/losses.py --device cuda --batch 128 512 --bits 64

A loss is given random outputs z (B, K) of ten classes; those with a memory of all training images
remember 5,000. A time is the best of a few, after one to warm up, because what else the machine
does can only add to it. The step of the network is forward, backward and one SGD step on random
images, in the precision that training would use (bfloat16 on GPUs that have it; losses are float32
always). The last lines say whether pairwise losses stay below a tenth of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hashlab.losses.clouds import Centres
from hashlab.methods import (
    adsh,
    classifier_onehot,
    classifier_sign,
    cnnh,
    csdh,
    csq,
    dch,
    dcwh,
    dhn,
    dpn,
    dpsh,
    dsdh,
    dsh,
    dtsh,
    greedyhash,
    hashnet,
    mu_liu,
    orthohash,
    shpdh,
)
from hashlab.networks import backbones
from hashlab.training import numerics

CLASSES = 10
MEMORY = 5000  # images that a loss with a memory remembers
SIDE = 128  # pixels
ROUNDS = 5
LIMIT = 0.1  # of a step of the network

# Losses that compare every two images of a batch.
PAIRWISE = {"mu_liu", "csdh", "dsh", "dhn", "hashnet", "dch", "dsdh", "adsh"}
PAIRWISE |= {"dpsh, batch", "dpsh, memory"}


class DPSHInBatch(nn.Module):
    """DPSH's loss within the batch, as its method computes it."""

    def __init__(self, bits: int):
        super().__init__()
        self.method = dpsh.DPSH(bits, pairs="batch")

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.method.loss(z, labels)


class OneHot(nn.Module):
    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return classifier_onehot.classifier_onehot_loss(z, labels)


class OnOneLevel(nn.Module):
    """SHPDH's loss takes classes (B, L) on several levels; here on one."""

    def __init__(self, bits: int):
        super().__init__()
        self.loss = shpdh.SHPDHLoss(Centres([], [CLASSES], bits), (1.0,))

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return self.loss(z, labels[:, None])


def modules(bits: int) -> dict[str, tuple[nn.Module, bool]]:
    """Every loss, with its default settings:
    name -> (module, whether it takes the images' rows).
    """
    labels = torch.arange(MEMORY) % CLASSES
    plain = {
        "mu_liu": mu_liu.MuLiuLoss(),
        "csdh": csdh.CSDHLoss(),
        "dsh": dsh.DSHLoss(bits),
        "dhn": dhn.DHNLoss(),
        "dpsh, batch": DPSHInBatch(bits),
        "hashnet": hashnet.HashNetLoss(bits),
        "dch": dch.DCHLoss(),
        "dtsh": dtsh.DTSHLoss(bits),
        "greedyhash": greedyhash.GreedyHashLoss(CLASSES, bits),
        "dcwh": dcwh.DCWHLoss(Centres([], [CLASSES], bits)),
        "shpdh": OnOneLevel(bits),
        "classifier_onehot": OneHot(),
        "classifier_sign": classifier_sign.ClassifierSignLoss(CLASSES, bits),
        "csq": csq.CSQLoss(CLASSES, bits),
        "dpn": dpn.DPNLoss(CLASSES, bits),
        "orthohash": orthohash.OrthoHashLoss(CLASSES, bits),
    }
    remembering = {
        "dpsh, memory": dpsh.DPSHLoss(labels, bits),
        "dsdh": dsdh.DSDHLoss(labels, CLASSES, bits),
        "adsh": adsh.ADSHLoss(labels, bits),
        "cnnh": cnnh.CNNHLoss(labels, bits),
    }
    losses = {name: (loss, False) for name, loss in plain.items()}
    losses |= {name: (loss, True) for name, loss in remembering.items()}
    return losses


def best(work: Callable[[], object], device: torch.device, rounds: int = ROUNDS) -> float:
    """Seconds of `work`, the best of a few rounds after one that warms up."""
    seconds = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def of_losses(batch: int, bits: int, device: torch.device) -> dict[str, float]:
    """Seconds of forward and backward of every loss."""
    torch.manual_seed(0)
    z = torch.randn(batch, bits, device=device, requires_grad=True)
    rows = torch.randperm(MEMORY)[:batch].to(device)
    labels = rows % CLASSES
    seconds = {}
    for name, (loss, remembers) in modules(bits).items():
        loss = loss.to(device)
        targets = (labels, rows) if remembers else (labels,)

        def step(loss: nn.Module = loss, targets: tuple[Tensor, ...] = targets) -> None:
            z.grad = None
            loss(z, *targets).backward()

        seconds[name] = best(step, device)
    return seconds


def of_network(batch: int, bits: int, device: torch.device) -> float:
    """Seconds of one training step of MobileNetV2 whose loss costs nothing worth mentioning."""
    backbone = backbones.create("mobilenet_v2", (SIDE, SIDE, 3))
    network = nn.Sequential(backbone, nn.Linear(backbone.features, bits))
    network = network.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=5e-4, nesterov=True)
    images = torch.randn(batch, 3, SIDE, SIDE, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    precision = numerics.auto_precision(device)

    def step() -> None:
        with numerics.autocast(device, precision):
            z = network(images)
        optimiser.zero_grad(set_to_none=True)
        z.float().sum().backward()
        optimiser.step()

    return best(step, device, rounds=ROUNDS if device.type == "cuda" else 2)


def report(batch: int, seconds: dict[int, dict[str, float]], network: float | None) -> float:
    """Print a line per loss; returns the largest share of a pairwise loss in the network's step,
    NaN without one.

    Args:
        seconds: code length -> loss -> of forward and backward.
        network: seconds of a step of the network.
    """
    step = f"; a step of the network: {1e3 * network:.2f} ms" if network else ""
    print(f"\nbatches of {batch}{step}")
    gap = 9 * " " if network else ""
    print(f"{'loss':18}" + "".join(f"{f'{bits} bits':>12}{gap}" for bits in seconds))
    for name in next(iter(seconds.values())):
        times = [of_losses[name] for of_losses in seconds.values()]
        print(f"{name:18}" + "".join(cell(time, network) for time in times), flush=True)
    if not network:
        return float("nan")
    return max(of_losses[name] for of_losses in seconds.values() for name in PAIRWISE) / network


def cell(seconds: float, network: float | None) -> str:
    """Milliseconds, and their share in a step of the network where that was timed."""
    share = f" {seconds / network:7.2%} " if network else ""
    return f"{1e3 * seconds:9.3f} ms{share}"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--batch", type=int, nargs="+", help="images per step; 32 and 128, on a GPU 512 as well"
    )
    parser.add_argument("--bits", type=int, nargs="+", default=[12, 48])
    parser.add_argument("--no-network", action="store_true", help="the losses alone")
    chosen = parser.parse_args(words)
    if min(chosen.bits) < CLASSES:
        expected = f"{CLASSES} or more, for one-hot codes of {CLASSES} classes"
        parser.error(f"--bits must be {expected}, got {min(chosen.bits)}")
    device = backbones.device(chosen.device)
    what = f"CPU, {torch.get_num_threads()} threads"
    if device.type == "cuda":
        what = torch.cuda.get_device_name()
    precision = numerics.auto_precision(device)
    print(f"{what}, torch {torch.__version__}, network in {precision}", flush=True)
    shares = {}
    for batch in chosen.batch or ([32, 128, 512] if device.type == "cuda" else [32, 128]):
        network = None if chosen.no_network else of_network(batch, max(chosen.bits), device)
        seconds = {bits: of_losses(batch, bits, device) for bits in chosen.bits}
        shares[batch] = report(batch, seconds, network)
    for batch, share in shares.items():
        if not math.isnan(share):
            verdict = "reached" if share < LIMIT else "MISSED"
            dearest = f"the dearest pairwise loss takes {share:.2%} of a step"
            print(f"batches of {batch}: {dearest} (target 10 %: {verdict})")


if __name__ == "__main__":
    main()
