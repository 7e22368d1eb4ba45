"""Runs that are killed again and again, each in a process forked from this one;
`test_checkpoints.py` starts it.

    python killed_runs.py FOLDER KILLS OPTIMISER …

A run passes many moments (a step, and see `killing`). Each life of the run is ended by SIGKILL, at
a random moment or after a random time; then comes the next, until KILLS have died, and a last one
that lives. Prints for each optimiser the moments of death, and the digests of the weights of that
run and of one never killed.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from killing import Moments, watch
from torch import nn

from hashlab.methods.base import About
from hashlab.methods.deep import DeepMethod
from hashlab.training import checkpoints, loop

torch.set_num_threads(1)


class Head(nn.Module):
    """With dropout, so that generators matter, and a centre that is moved before every epoch."""

    def __init__(self, features, bits):
        super().__init__()
        self.layers = nn.Sequential(nn.Dropout(0.3), nn.Linear(features, bits))
        self.register_buffer("centre", torch.zeros(bits))

    def forward(self, x):
        return self.layers(x) - self.centre


class Noisy(DeepMethod):
    about = About("noisy", "", 2000, "centre", ("same_class",), "", "for tests")

    def head(self, backbone):
        return Head(backbone.features, self.bits)

    def phases(self, network, labels):
        def move(epoch, batches):
            network.eval()
            with torch.no_grad():
                network.head.centre.add_(
                    torch.cat([network(x) for x in batches.stream()]).mean(0) / epoch
                )

        last = nn.Linear(network.backbone.features, 10)
        first = nn.Sequential(network.backbone, nn.Dropout(0.2), last)
        return [
            self.phase("pre-training", first, nn.functional.cross_entropy, 2, 0.01),
            self.phase(
                "hashing",
                network,
                lambda z, y: (z - y[:, None]).square().mean(),
                3,
                0.01,
                before_epoch=move,
            ),
        ]


def watch_steps(moments):
    """Moments around every step, besides those of files."""
    step = loop.Loop.one_step

    def one_step(self, phase, batch):
        moments.pass_by(f"before a step of {phase.name}")
        step(self, phase, batch)
        moments.pass_by(f"after a step of {phase.name}")

    loop.Loop.one_step = one_step


def live(folder, optimiser, fatal, log, kind=""):
    """One life: train with a checkpoint after each step; returns the digest of the weights."""
    rng = np.random.default_rng(0)
    train = SimpleNamespace(
        images=rng.integers(0, 256, (36, 8, 8), dtype=np.uint8), labels=np.arange(36) % 10
    )
    moments = Moments(fatal, log, kind)
    watch(moments, folder)
    watch_steps(moments)
    method = Noisy(6, optimiser=optimiser, batch_size=12)
    method.fit(train, seed=7, checkpoints=folder, every=0.0)
    weights = checkpoints.pack(
        method.net.tensors(), {"loss": [line["loss"] for line in method.history]}
    )
    return hashlib.sha256(weights).hexdigest()


def in_child(folder, optimiser, fatal=0, patience=None, kind=""):
    """The digest from one life in a forked process, or how it died."""
    log, result = folder.with_suffix(".log"), folder.with_suffix(".result")
    log.write_text("after some time")
    child = os.fork()
    if child == 0:
        try:
            result.write_text(live(folder, optimiser, fatal, log, kind))
        finally:
            os._exit(0)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {"died": log.read_text()} if os.WIFSIGNALED(status) else {"digest": result.read_text()}


def killed(folder, optimiser, kills):
    chance, deaths = random.Random(optimiser), []
    whole = in_child(folder / "whole", optimiser)
    while len(deaths) < kills:
        how = (
            {"fatal": chance.randint(1, 60)},  # at any moment
            {"fatal": chance.randint(1, 6), "kind": "step of"},
            {"fatal": chance.randint(1, 60)},
            {"patience": chance.uniform(0.01, 0.2)},
        )[len(deaths) % 4]
        outcome = in_child(folder / "killed", optimiser, **how)
        if (
            "digest" in outcome
        ):  # it had come to its end before it could be killed: another one, from the start
            assert outcome == whole, (outcome, whole)
            for file in (folder / "killed").iterdir():
                file.unlink()
        else:
            deaths.append(outcome["died"])
    return {"deaths": deaths, "whole": whole, "killed": in_child(folder / "killed", optimiser)}


def main(folder, kills, optimisers):
    for name in optimisers:  # what torch imports when first used, the children then have
        live(folder / name / "warm", name, 0, folder)
    print(json.dumps({name: killed(folder / name, name, kills) for name in optimisers}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
