"""The losses of the package as one family: what the two chapters on losses ask of all of them alike.

Every loss is the package's own function; here it gets its labels and settings, never its formula.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

import numpy as np
import torch
from torch import Tensor

from hashlab import metrics, records
from hashlab.chapters.figures.losses import Loss, pair_curve, pulls, unit
from hashlab.data.parts import Dataset
from hashlab.losses import classes, clouds, codebooks, pairs
from hashlab.methods import (
    adsh,
    classifier_sign,
    cnnh,
    csdh,
    csq,
    dch,
    dhn,
    dpn,
    dpsh,
    dsh,
    dtsh,
    greedyhash,
    hashnet,
    mu_liu,
    orthohash,
)
from hashlab.methods.base import Method

SCALE = 4.0  # c of Mu and Liu, where their chapter uses it
GAMMA = dch.Config().gamma
KINDS = {"similar": True, "dissimilar": False}
MARKS = ("SEEN", "SEEN at second hand", "RECALLED", "INFERRED")
PairLoss = Callable[[Tensor, Tensor], Tensor]


# ---- pairs


def in_batch(u: Tensor, y: Tensor, weight: float = 0.0, balance: str = "none") -> Tensor:
    """DPSH's loss of outputs u (B, K) with classes y (B,), each image paired with all others: a scalar.

    Args:
        weight: of the penalty.
        balance: of similar and dissimilar pairs, as in `dpsh.dpsh_loss`.
    """
    others = pairs.off_diagonal(len(u), u.device)
    return dpsh.dpsh_loss(u, u, pairs.similar(y), weight, balance, counted=others)


def exponentiated(u: Tensor, y: Tensor) -> Tensor:
    """Mu and Liu's loss of one pair, outputs u (2, K) with classes y (2,): a scalar."""
    sign = 1.0 if y[0] == y[1] else -1.0
    return mu_liu.exponentiated_loss(u, torch.full((2, 2), sign).to(u), SCALE)[0, 1]


PAIR_LOSSES: dict[str, PairLoss] = {  # of outputs (2, K) and classes (2,), without penalties
    "Mu and Liu": exponentiated,
    "DSH": lambda u, y: dsh.dsh_loss(u, y, m=2 * u.shape[1], alpha=0),
    "DPSH, DHN": in_batch,  # they differ in a tanh and a penalty
    "HashNet": lambda u, y: hashnet.hashnet_loss(u, y, alpha=10 / u.shape[1]),
    "DCH": lambda u, y: dch.dch_loss(u, y, GAMMA, weight=0),
    "CSDH": csdh.CSDHLoss(activation="none", alpha=0.0, balance="none", unlike="half"),
}


def pair_curves(bits: int, shares: np.ndarray) -> dict[str, dict[str, tuple]]:
    """Loss of a pair and its derivative by agreement at these distances, given as shares of K bits.

    loss -> kind of pair -> two arrays (N,).
    """
    agreements = 1 - 2 * shares
    return {
        name: {kind: pair_curve(loss, same, bits, agreements) for kind, same in KINDS.items()}
        for name, loss in PAIR_LOSSES.items()
    }


def content(name: str, kind: str, bits: int) -> int:
    """The Hamming distance at which a loss of pairs has less than a hundredth left of what there is
    to lose: the largest one of a similar pair, the smallest one of a dissimilar pair.
    """
    distances = np.arange(bits + 1)
    agreements = np.clip(1 - 2 * distances / bits, -1 + 1e-9, 1 - 1e-9)
    values, _ = pair_curve(PAIR_LOSSES[name], KINDS[kind], bits, agreements)
    at_ease = distances[unit(values) < 0.01]
    return int(at_ease.max() if kind == "similar" else at_ease.min())


# ---- room for codes


def room(count: int) -> float:
    """The largest mean distance between the codes of `count` classes, as a share of the bits."""
    return (count // 2) * (count - count // 2) / math.comb(count, 2)


def plotkin(bits: int, distance: int) -> int:
    """Plotkin's bound on the number of codes of which any two differ in `distance` bits or more;
    it holds where that is more than half of them.
    """
    return 2 * (distance // (2 * distance - bits))


def most(bits: int, distance: int) -> int:
    """The most codes of which any two differ in `distance` bits or more, by trying; one of them is 0."""
    numbers = range(2**bits)
    far = {x: {y for y in numbers if (x ^ y).bit_count() >= distance} for x in numbers}

    def grow(size: int, left: set[int]) -> int:
        best = size
        while left and size + len(left) > best:
            x = min(left)
            best = max(best, grow(size + 1, left & far[x]))
            left = left - {x}
        return best

    return grow(1, far[0])


def closest(codes: Tensor) -> int:
    """The smallest Hamming distance between two of the codes (C, K) of -1 and +1."""
    count, bits = codes.shape
    itself = 2 * bits * torch.eye(count)
    inner = codes @ codes.T - itself
    return int((bits - inner.max().item()) / 2)


# ---- near zero


def without_penalties(y: Tensor, bits: int, count: int) -> dict[str, tuple[str, Loss]]:
    """Losses of outputs z (B, K) alone, for classes y (B,) out of `count`: name -> (kind, loss).

    Whatever penalty on |z| a method has is left out. What is random in them is drawn from seed 0.
    """
    rows = torch.arange(len(y))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        modules = {
            "ADSH": adsh.ADSHLoss(y, bits, dissimilar="ratio"),
            "CNNH": cnnh.CNNHLoss(y, bits),
            "GreedyHash": greedyhash.GreedyHashLoss(count, bits, alpha=0),
            "classifier": classifier_sign.ClassifierSignLoss(count, bits),
            "CSQ": csq.CSQLoss(count, bits, weight=0),
            "DPN": dpn.DPNLoss(count, bits),
            "OrthoHash": orthohash.OrthoHashLoss(count, bits),
        }
        modules = {name: loss.double() for name, loss in modules.items()}
        modules["ADSH"].begin(torch.randn(len(y), bits).double())
        modules["CNNH"].first_stage(sweeps=2)
        centres = torch.randn(count, bits).double()  # as SHPDH's and DCWH's begin

    def alone(name: str) -> Loss:
        return lambda z: modules[name](z, y)

    return {
        "Mu and Liu": ("pairs", lambda z: mu_liu.mu_liu_loss(z, y, SCALE)),
        "DSH": ("pairs", lambda z: dsh.dsh_loss(z, y, m=2 * bits, alpha=0)),
        "DHN": ("pairs", lambda z: dhn.DHNLoss(weight=0)(z, y)),
        "DPSH": ("pairs", lambda z: in_batch(z, y)),
        "HashNet": ("pairs", lambda z: hashnet.HashNetLoss(bits).double()(z, y)),
        "DCH": ("pairs", lambda z: dch.DCHLoss(weight=0)(z, y)),
        "CSDH": ("pairs", lambda z: csdh.CSDHLoss(alpha=0, unlike="half")(z, y)),
        "DTSH": ("triplets", lambda z: dtsh.DTSHLoss(bits, weight=0)(z, y)),
        "GreedyHash": ("classes", alone("GreedyHash")),
        "DCWH": ("classes", lambda z: clouds.class_wise_loss(z, y, centres, s=1.0)),
        "classifier": ("classes", alone("classifier")),
        "CSQ": ("centres", alone("CSQ")),
        "DPN": ("centres", alone("DPN")),
        "OrthoHash": ("centres", alone("OrthoHash")),
        "ADSH": ("codes first", lambda z: modules["ADSH"](z, y, rows)),
        "CNNH": ("codes first", lambda z: modules["CNNH"](z, y, rows)),
    }


def size(u: Tensor) -> float:
    """The typical size of outputs: the root of their mean square."""
    return u.square().mean().sqrt().item()


def contrasts(u: Tensor, y: Tensor, count: int) -> Tensor:
    """Mean output of each class minus the mean of all, u (N, K) with classes y (N,): (C, K)."""
    empty = torch.zeros(count, u.shape[1]).to(u)
    return clouds.means(u, y, empty) - u.mean(0)


# ---- penalties


def cauchy(u: Tensor) -> Tensor:
    """DCH's penalty of outputs u (B, K), as what its weight adds to the loss, over K."""
    alike = torch.zeros(len(u))
    with_it, without = (dch.dch_loss(u, alike, GAMMA, weight=weight) for weight in (1, 0))
    return (with_it - without) / u.shape[1]


def cubic(u: Tensor) -> Tensor:
    """GreedyHash's penalty of outputs u (B, K), as what its weight adds to the loss."""
    w = torch.zeros(2, u.shape[1]).to(u)
    y = torch.zeros(len(u)).long()
    with_it, without = (greedyhash.greedyhash_loss(u, y, w, alpha=alpha) for alpha in (1, 0))
    return with_it - without


def along(penalty: Loss, outputs: Sequence[float], bits: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """K times a penalty, and its slope, as one output of an image moves and the others are 1."""
    values = []
    slopes = []
    for output in outputs:
        u = torch.ones(2, bits).double()  # twice the same image, for losses of pairs
        u[:, 0] = output
        values.append(bits * penalty(u).item())
        slopes.append(-bits * pulls(penalty, u)[:, 0].sum().item())
    return np.array(values), np.array(slopes)


# ---- trained methods


def report(method: Method, dataset: Dataset) -> metrics.Report:
    """How a fitted method retrieves the database of a data set for its queries."""
    query, database = dataset.query, dataset.database
    packed = method.encode(query.images), method.encode(database.images)
    return metrics.evaluate(*packed, query.labels, database.labels, bits=method.bits)


def near_codes(u: np.ndarray) -> float:
    """The share of outputs u (N, K) that lie within 1/2 of -1 or +1."""
    return float(np.mean(np.abs(np.abs(u) - 1) < 0.5))


def lopsided(u: np.ndarray) -> float:
    """The share of images on the commoner side of a bit, a mean over bits of u (N, K): 1/2 to 1."""
    ones = (u >= 0).mean(0)
    return float(np.maximum(ones, 1 - ones).mean())


# ---- cost


def contestants(y: Tensor, bits: int, memory: int) -> Mapping[str, Loss]:
    """Losses of outputs (B, K) of ten classes y (B,), one for each way in which cost grows."""
    remembered = torch.randn(memory, bits)
    similar = pairs.similar(y, torch.arange(memory) % 10)
    codes = codebooks.centres(10, bits)
    indicators = classes.indicators(y, 10)
    return {
        "triplets (DTSH)": lambda z: dtsh.dtsh_loss(z, y, bits / 2),
        "product (Mu and Liu)": lambda z: mu_liu.mu_liu_loss(z, y, SCALE),
        f"memory of {memory:,} (DPSH)": lambda z: dpsh.dpsh_loss(z, remembered, similar),
        "pairs (DPSH)": lambda z: in_batch(z, y, 0.1),
        "centres (OrthoHash)": lambda z: orthohash.orthohash_loss(z, indicators, codes),
    }


def seconds(loss: Loss, z: Tensor, repeats: int = 7) -> float:
    """The best time of a forward and backward pass through a loss."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.autograd.grad(loss(z), z)
        times.append(time.perf_counter() - start)
    return min(times)


def shares_of_step() -> tuple[list[str], dict[tuple[str, int, int], float]]:
    """What `benchmarks/losses.py` printed on a large GPU: its first lines, and the per cent of a
    training step that a loss takes, by loss, batch and bits.
    """
    lines = (records.root() / "speed" / "losses-h100.txt").read_text().splitlines()
    shares = {}
    batch = 0
    lengths: list[int] = []
    for line in lines:
        if start := re.match(r"batches of (\d+); a step", line):
            batch = int(start[1])
        elif line.startswith("loss "):
            lengths = [int(bits) for bits in re.findall(r"(\d+) bits", line)]
        elif "ms" in line and (found := re.findall(r"([\d.]+)%", line)):
            name = re.split(r"\s{2,}", line)[0]
            shares |= {
                (name, batch, bits): float(share)
                for bits, share in zip(lengths, found, strict=True)
            }
    return lines[:3], shares


# ---- the ledger


def sources(method: str) -> tuple[str, str]:
    """What a method's file says of where its formulas come from: its marks, and links to code."""
    text = " ".join((import_module(f"hashlab.methods.{method}").__doc__ or "").split())
    links = dict.fromkeys(re.findall(r"https://github\.com/[\w./-]*\w", text))
    found = set(re.findall("|".join(sorted(MARKS, reverse=True)), text))  # the longer one first
    marks = [mark for mark in MARKS if mark in found]
    named = (f"[{link.split('/')[3]}]({link})" for link in links)
    return ", ".join(mark.lower() for mark in marks), " ".join(named)
