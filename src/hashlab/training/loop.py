"""The one training loop.

A method describes its training as a list of phases (`Phase`); `train` runs them and returns what it saw.
Whatever is random in an epoch follows from the seed, the phase's name and the epoch's number, so a
run can be taken up at any step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.data.batches import Batch, Batches, memory_explained
from hashlab.progress import Progress
from hashlab.training import numerics, seeds, snapshots
from hashlab.training.checkpoints import Checkpoints, Interrupted, interruptible
from hashlab.training.phases import Phase, rate
from hashlab.training.sharing import Outcome, Shared

__all__ = ["Loop", "train"]

EachEpoch = Callable[[str, int], None]  # called with a phase's name and the number of epochs done

CHECK_EVERY = {"cpu": 1, "cuda": 50}  # steps: whether losses are finite, a GPU is made to wait for


def now() -> np.ndarray:
    """Seconds on the clock, and seconds that this process has computed, all threads together: (2,).

    On a machine that is shared only the second can be compared.
    """
    return np.array([time.perf_counter(), time.process_time()])


def train(
    phases: list[Phase],
    batches: Batches,
    *,
    batch_size: int,
    seed: int = 0,
    precision: str = "float32",
    compiler: str = "none",
    each_epoch: EachEpoch | None = None,
    checkpoints: Checkpoints | None = None,
    shared: Shared | None = None,
) -> list[dict]:
    """Run the phases one after the other.

    Returns a line per epoch: phase, epoch, mean loss, seconds on the clock and of computing.

    Args:
        precision: of the networks: float32, or bfloat16 (weights and losses stay float32).
        compiler: "inductor" (torch.compile), "graphs" (CUDA graphs), "none".
        each_epoch: may look at the networks, not train them.
        checkpoints: where the run is saved as it goes, and taken up if it was begun before.
        shared: phases that other runs have already done; those of this run that have a `share_key`
            are added.

    Raises:
        FloatingPointError: a loss that is not finite, with its phase and step.
        MemoryError: the device's memory is full; the message says which setting to lower.
        checkpoints.Interrupted: Ctrl-C, after the state was saved.
    """
    alone = nullcontext() if checkpoints is None else checkpoints.alone()
    with alone, interruptible(checkpoints is not None) as stop:
        loop = Loop(
            phases=phases,
            batches=batches,
            batch_size=batch_size,
            seed=seed,
            precision=precision,
            compiler=compiler,
            each_epoch=each_epoch,
            checkpoints=checkpoints,
            shared=Shared() if shared is None else shared,
            stop=stop,
        )
        return loop.run()


@dataclass(kw_only=True, eq=False)
class Loop:
    """A training under way: `run` is the training, and what follows it, its parts.

    Its position, weights, optimiser and generators are what a checkpoint holds; see `snapshots`.
    """

    phases: list[Phase]
    batches: Batches
    batch_size: int
    seed: int
    precision: str
    compiler: str
    each_epoch: EachEpoch | None
    checkpoints: Checkpoints | None
    shared: Shared
    stop: Callable[[], bool]  # whether Ctrl-C was pressed

    # the position: what is done of the run, of the open phase, and of its open epoch
    phases_done: int = field(default=0, init=False)
    epochs_done: int = field(default=0, init=False)
    steps_done: int = field(default=0, init=False)

    history: list[dict] = field(default_factory=list, init=False)  # a line per epoch
    optimiser: torch.optim.Optimizer | None = field(default=None, init=False)  # of the open phase

    # of the open epoch
    losses: list[Tensor] = field(default_factory=list, init=False)
    finite: int = field(default=0, init=False)  # how many of the losses are known to be finite
    spent: np.ndarray = field(default_factory=lambda: np.zeros(2), init=False)  # seconds, see `now`

    @property
    def device(self) -> torch.device:
        return self.batches.device

    @property
    def steps_per_epoch(self) -> int:
        return self.batches.steps(self.batch_size)

    @property
    def steps_of_phase(self) -> int:
        """Steps that are done of the open phase."""
        return self.epochs_done * self.steps_per_epoch + self.steps_done

    # ---- the training

    def run(self) -> list[dict]:
        self.resume()
        for phase in self.phases[self.phases_done :]:
            if phase.epochs and phase.share_key is None:
                self.run_phase(phase)
            elif phase.epochs:
                self.run_or_take_over(phase)
            self.phases_done += 1
            self.epochs_done = 0
            self.optimiser = None
        self.save()
        return self.history

    def run_phase(self, phase: Phase) -> None:
        if self.optimiser is None:
            self.begin_phase(phase)
        epochs = range(self.epochs_done, phase.epochs)
        progress = Progress(epochs, phase.name, total=phase.epochs, start=self.epochs_done)
        for _ in progress:
            self.run_epoch(phase)
            progress.note(loss=self.history[-1]["loss"])
            self.call_back(phase)
        numerics.release(phase.network or phase.module)

    def begin_phase(self, phase: Phase) -> None:
        self.optimiser = phase.new_optimiser(phase.trained())
        network = phase.network or phase.module
        numerics.prepare(network, self.compiler, self.example, self.precision)
        # dropout then draws the same numbers, whatever was drawn before
        torch.manual_seed(seeds.derived(self.seed, phase.name))

    def example(self) -> Tensor:
        """Input of the shape that all batches have."""
        batches = self.batches.epoch(self.batch_size, torch.Generator().manual_seed(0))
        return next(batches).images

    def run_epoch(self, phase: Phase) -> None:
        if self.steps_done == 0 and phase.before_epoch is not None:
            phase.before_epoch(self.epochs_done + 1, self.batches)
        phase.module.train()
        begun = now() - self.spent  # of an epoch that was interrupted, and is taken up
        with memory_explained(
            f"{phase.name} on batches of {self.batch_size} on {self.device}",
            "batch_size, or the side of the images (size, crop)",
        ):
            for batch in self.batches_of_epoch(phase):
                self.one_step(phase, batch)
                self.spent = now() - begun
                self.save_or_stop(phase)
        self.check_finite(phase)
        self.end_epoch(phase, now() - begun)

    def batches_of_epoch(self, phase: Phase) -> Any:
        """The batches of the open epoch that are still to come."""
        order = torch.Generator().manual_seed(
            seeds.derived(self.seed, phase.name, self.epochs_done)
        )
        return self.batches.epoch(self.batch_size, order, phase.per_class, self.steps_done)

    def one_step(self, phase: Phase, batch: Batch) -> None:
        with numerics.autocast(self.device, self.precision):
            loss = phase.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        steps = phase.epochs * self.steps_per_epoch
        lr = phase.lr * rate(self.steps_of_phase, steps, phase.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
            if phase.clip:
                nn.utils.clip_grad_norm_(group["params"], phase.clip)
        self.optimiser.step()
        self.losses.append(loss.detach())
        self.steps_done += 1
        if len(self.losses) - self.finite >= CHECK_EVERY.get(self.device.type, 50):
            self.check_finite(phase)

    def end_epoch(self, phase: Phase, seconds: np.ndarray) -> None:
        """Write the epoch's line, and open the next one."""
        clock, computing = seconds.round(3).tolist()
        self.epochs_done += 1
        self.history.append(
            {
                "phase": phase.name,
                "epoch": self.epochs_done,
                "loss": torch.stack(self.losses).mean().item(),
                "seconds": clock,
                "cpu_seconds": computing,
            }
        )
        self.open_epoch()

    def open_epoch(self) -> None:
        self.steps_done = 0
        self.losses = []
        self.finite = 0
        self.spent = np.zeros(2)

    def check_finite(self, phase: Phase) -> None:
        """Raise FloatingPointError where one of the losses is not finite."""
        if self.finite == len(self.losses):
            return
        losses = torch.stack(self.losses[self.finite :])
        finite = torch.isfinite(losses)
        if not finite.all():
            first = int((~finite).nonzero()[0])
            step = self.epochs_done * self.steps_per_epoch + self.finite + first + 1
            loss = losses[first].item()
            raise FloatingPointError(
                f"{phase.name}: the loss is {loss} at step {step}; try a lower lr"
            )
        self.finite = len(self.losses)

    def call_back(self, phase: Phase) -> None:
        """Let the caller look at the networks; what that draws is not missing afterwards."""
        if self.each_epoch is not None:
            with seeds.kept(self.device):
                self.each_epoch(phase.name, self.epochs_done)

    # ---- phases that runs share

    def run_or_take_over(self, phase: Phase) -> None:
        """Run a phase for other runs too, unless one of them has done it already."""
        own: list[Outcome] = []

        def make() -> Outcome:
            self.run_phase(phase)
            own.append(self.outcome(phase))
            return own[0]

        outcome = self.shared.phase(phase.share_key, make)
        if not own:
            self.take_over(phase, outcome)

    def outcome(self, phase: Phase) -> Outcome:
        tensors = snapshots.tensors_of([phase])
        copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
        return Outcome(copies, [line for line in self.history if line["phase"] == phase.name])

    def take_over(self, phase: Phase, outcome: Outcome) -> None:
        """The phase as another run has done it, even where a part of it was done in this one."""
        snapshots.copy_into(snapshots.tensors_of([phase]), outcome.tensors, f"phase {phase.name}")
        self.history = [line for line in self.history if line["phase"] != phase.name]
        self.history += [line | {"shared": True} for line in outcome.history]
        self.open_epoch()

    # ---- checkpoints

    def save_or_stop(self, phase: Phase) -> None:
        """After each step: save where it is time, and stop where Ctrl-C was pressed."""
        if self.stop():
            file = self.save()
            step = self.steps_of_phase
            raise Interrupted(f"{phase.name} stopped after step {step}, saved in {file}")
        if self.checkpoints is not None and self.checkpoints.due():
            self.save()

    def save(self) -> Path | None:
        """Write a checkpoint, where there are to be any; returns its file."""
        if self.checkpoints is None:
            return None
        if self.losses:
            self.check_finite(self.phases[self.phases_done])  # never save what is lost
        tensors = self.tensors()
        facts = {
            "position": [self.phases_done, self.epochs_done, self.steps_done],
            "history": self.history,
            "spent": self.spent.tolist(),
            "unmoved": [],
        }
        if self.steps_done:
            facts["unmoved"] = snapshots.unmoved(self.phases[self.phases_done], tensors)
        return self.checkpoints.save(tensors, facts)

    def tensors(self) -> dict[str, Tensor]:
        tensors = snapshots.weights(self.phases) | snapshots.generators(self.device)
        if self.optimiser is not None:
            tensors |= snapshots.optimiser_state(self.optimiser)
        if self.losses:
            tensors["losses"] = torch.stack(self.losses)
        return tensors

    def resume(self) -> None:
        """Take up the run where its newest checkpoint left it, if there is one."""
        state = None if self.checkpoints is None else self.checkpoints.load(self.check_snapshot)
        if state is None:
            return
        tensors, facts = state
        self.phases_done, self.epochs_done, self.steps_done = facts["position"]
        self.history = facts["history"]
        self.spent = np.ones(2) * facts["spent"]  # an older version has one number for both
        snapshots.copy_into(
            snapshots.tensors_of(self.phases),
            snapshots.with_prefix(tensors, "weights/"),
            f"checkpoint in {self.checkpoints.folder}",
        )
        if self.steps_done:
            self.losses = list(tensors["losses"].to(self.device).unbind())
            self.finite = len(self.losses)  # else they would not have been saved
            self.begin_phase(self.phases[self.phases_done])
            snapshots.set_optimiser_state(self.optimiser, tensors)
            snapshots.set_generators(tensors, self.device)

    def check_snapshot(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Raise InputError unless this is all that `save` writes at the position that is named."""
        snapshots.check_snapshot(tensors, facts, self.phases, self.steps_per_epoch, self.device)
