"""The one training loop: phases, optimisers, schedules, seeds, checkpoints.

A method describes its training as a list of `Phase`s; `train` runs them and returns what it saw. Whatever is random
in an epoch follows from the seed, the phase's name and the epoch's number, so a run can be taken up at any step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.data.batches import Batch, Batches, memory_explained
from hashlab.errors import InputError
from hashlab.progress import Progress
from hashlab.training import numerics, seeds
from hashlab.training.checkpoints import Checkpoints, Interrupted, interruptible
from hashlab.training.sharing import Outcome, PhaseKey, Shared

EachEpoch = Callable[[str, int], None]  # called with the phase's name and the epoch's number, when it is done

OPTIMISERS: dict[str, Callable[[list[nn.Parameter], Phase], torch.optim.Optimizer]] = {
    "sgd": lambda weights, p: torch.optim.SGD(
        weights, p.lr, p.momentum, weight_decay=p.weight_decay, nesterov=p.momentum > 0
    ),
    "adamw": lambda weights, p: torch.optim.AdamW(weights, p.lr, weight_decay=p.weight_decay),
    "rmsprop": lambda weights, p: torch.optim.RMSprop(weights, p.lr, momentum=p.momentum, weight_decay=p.weight_decay),
}
SCHEDULES: dict[str, Callable[[float], float]] = {  # factor on the rate, of the part 0..1 done since the warm-up
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}
LOOK_EVERY = {"cpu": 1, "cuda": 50}  # steps between two looks at the losses: a look makes a GPU wait


def now() -> np.ndarray:
    """Seconds on the clock, and seconds that this process has computed, all threads together: (2,).

    On a machine that is shared only the second can be compared.
    """
    return np.array([time.perf_counter(), time.process_time()])


@dataclass(frozen=True)
class Phase:
    """One stage of training: `loss(batch)` is minimised over `module`'s weights for some epochs.

    Args:
        name: unique among the phases of a run.
        module: what is trained, `network` and what the loss has of its own. What else changes with training (centres,
            memory banks) stands in its buffers, for that is what a checkpoint holds.
        loss: of a `Batch`; a scalar.
        lr: the highest learning rate, reached after a tenth of the steps; then it falls as `schedule` says.
        clip: largest norm of the gradient, 0 for any.
        per_class: images of one class that stand together in a batch (see `batches.balanced`); 0 for plain shuffling.
        before_epoch: called with the epoch's number and the batches before each epoch.
        network: the part of `module` that maps images to outputs, which a compiler makes faster; all of it when None.
        share_key: all that its outcome depends on, such as a `PhaseKey`; runs whose keys are equal do it once.
    """

    name: str
    module: nn.Module
    loss: Callable[[Batch], Tensor]
    epochs: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimiser: str = "sgd"
    schedule: str = "cosine"
    clip: float = 0.0
    per_class: int = 0
    before_epoch: Callable[[int, Batches], None] | None = None
    network: nn.Module | None = None
    share_key: PhaseKey | None = None


def rate(step: int, steps: int, schedule: str = "cosine") -> float:
    """The factor on the learning rate at a step: linear warm-up over a tenth of the steps, then the schedule."""
    warm = max(steps // 10, 1)
    if step < warm:
        return (step + 1) / warm
    return SCHEDULES[schedule]((step - warm) / max(steps - warm, 1))


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
    """Run the phases one after the other; returns a line per epoch: phase, epoch, mean loss, both kinds of seconds.

    Args:
        precision: of the networks: float32, or bfloat16 (weights and losses stay float32).
        compiler: "inductor" (torch.compile), "graphs" (CUDA graphs), "none".
        each_epoch: may look at the networks, not train them.
        checkpoints: where the run is saved as it goes, and taken up if it was begun before.
        shared: phases that other runs have already done; those of this run that have a `share_key` are added.

    Raises:
        FloatingPointError: a loss that is not finite, with its phase and step.
        MemoryError: the device's memory is full; the message says which setting to lower.
        checkpoints.Interrupted: Ctrl-C, after the state was saved.
    """
    loop = Loop(phases, batches, batch_size, seed, precision, compiler)
    loop.each_epoch, loop.checkpoints, loop.shared = each_epoch, checkpoints, Shared() if shared is None else shared
    with checkpoints.alone() if checkpoints else nullcontext(), interruptible(checkpoints is not None) as loop.stop:
        return loop.run()


class Loop:
    """A training under way. Its position, weights, optimiser and generators are what a checkpoint holds."""

    each_epoch: EachEpoch | None
    checkpoints: Checkpoints | None
    shared: Shared
    stop: Callable[[], bool]

    def __init__(self, phases: list[Phase], batches: Batches, size: int, seed: int, precision: str, compiler: str):
        self.phases, self.batches, self.size, self.seed = phases, batches, size, seed
        self.precision, self.compiler, self.device = precision, compiler, batches.device
        self.steps = batches.steps(size)  # per epoch
        self.phase = self.epoch = 0  # how many are done
        self.history: list[dict] = []
        self.optimiser: torch.optim.Optimizer | None = None
        self.open_epoch()

    def run(self) -> list[dict]:
        self.resume()
        for phase in self.phases[self.phase :]:
            if phase.epochs and phase.share_key is not None:
                self.run_or_take_over(phase)
            elif phase.epochs:
                self.run_phase(phase)
            self.phase, self.epoch, self.optimiser = self.phase + 1, 0, None
        self.save()
        return self.history

    def run_phase(self, phase: Phase) -> None:
        if self.optimiser is None:
            self.begin(phase)
        progress = Progress(range(self.epoch, phase.epochs), phase.name, total=phase.epochs, start=self.epoch)
        for _ in progress:
            self.run_epoch(phase)
            progress.note(loss=self.history[-1]["loss"])
            self.look_in(phase)
        numerics.release(phase.network or phase.module)

    def run_or_take_over(self, phase: Phase) -> None:
        """Run a phase for other runs too, unless one of them has done it already."""
        made_here: list[Outcome] = []

        def make() -> Outcome:
            self.run_phase(phase)
            made_here.append(self.outcome(phase))
            return made_here[0]

        outcome = self.shared.phase(phase.share_key, make)
        if not made_here:
            self.take_over(phase, outcome)

    def outcome(self, phase: Phase) -> Outcome:
        tensors = {name: tensor.detach().clone() for name, tensor in tensors_of([phase]).items()}
        return Outcome(tensors, [line for line in self.history if line["phase"] == phase.name])

    def take_over(self, phase: Phase, outcome: Outcome) -> None:
        """The phase as another run has done it, even where a part of it was done here before."""
        fill(tensors_of([phase]), outcome.tensors, f"phase {phase.name}")
        before = [line for line in self.history if line["phase"] != phase.name]
        self.history = before + [line | {"shared": True} for line in outcome.history]
        self.open_epoch()

    def begin(self, phase: Phase) -> None:
        self.optimiser = OPTIMISERS[phase.optimiser](trained(phase), phase)
        numerics.prepare(phase.network or phase.module, self.compiler, self.example, self.precision)
        torch.manual_seed(seeds.derived(self.seed, phase.name))  # dropout, whatever was drawn before

    def example(self) -> Tensor:
        """Input of the shape that all batches have."""
        return next(self.batches.epoch(self.size, torch.Generator().manual_seed(0))).images

    def run_epoch(self, phase: Phase) -> None:
        if self.step == 0 and phase.before_epoch is not None:
            phase.before_epoch(self.epoch + 1, self.batches)
        phase.module.train()
        begun = now() - self.spent
        generator = torch.Generator().manual_seed(seeds.derived(self.seed, phase.name, self.epoch))
        work = f"{phase.name} on batches of {self.size} on {self.device}"
        with memory_explained(work, "batch_size, or the side of the images (size, crop)"):
            for batch in self.batches.epoch(self.size, generator, phase.per_class, self.step):
                self.one_step(phase, batch)
                self.spent = now() - begun
                self.pause()
        self.look(phase)
        line = {"phase": phase.name, "epoch": self.epoch + 1, "loss": torch.stack(self.losses).mean().item()}
        took = zip(("seconds", "cpu_seconds"), (now() - begun).round(3).tolist(), strict=True)
        self.history.append(line | dict(took))
        self.epoch += 1
        self.open_epoch()

    def open_epoch(self) -> None:
        self.step, self.spent = 0, np.zeros(2)  # steps done; seconds, see `now`
        self.losses: list[Tensor] = []
        self.looked = 0  # losses known to be finite

    def one_step(self, phase: Phase, batch: Batch) -> None:
        with numerics.autocast(self.device, self.precision):
            loss = phase.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimiser.param_groups:
            group["lr"] = phase.lr * rate(self.at, phase.epochs * self.steps, phase.schedule)
            if phase.clip:
                nn.utils.clip_grad_norm_(group["params"], phase.clip)
        self.optimiser.step()
        self.losses.append(loss.detach())
        self.step += 1
        if len(self.losses) - self.looked >= LOOK_EVERY.get(self.device.type, 50):
            self.look(phase)

    @property
    def at(self) -> int:
        """Steps of this phase that are done."""
        return self.epoch * self.steps + self.step

    def look(self, phase: Phase) -> None:
        """Raise FloatingPointError where one of the losses since the last look is not finite."""
        if self.looked == len(self.losses):
            return
        values = torch.stack(self.losses[self.looked :])
        if not torch.isfinite(values).all():
            first = int((~torch.isfinite(values)).nonzero()[0])
            step = self.epoch * self.steps + self.looked + first + 1
            raise FloatingPointError(f"{phase.name}: the loss is {values[first].item()} at step {step}; try a lower lr")
        self.looked = len(self.losses)

    def look_in(self, phase: Phase) -> None:
        if self.each_epoch is not None:
            with seeds.kept(self.device):
                self.each_epoch(phase.name, self.epoch)

    # ---- checkpoints

    def pause(self) -> None:
        """After each step: save where it is time, and stop where Ctrl-C was pressed."""
        if self.stop():
            file = self.save()
            raise Interrupted(f"{self.phases[self.phase].name} stopped after step {self.at}, saved in {file}")
        if self.checkpoints is not None and self.checkpoints.due():
            self.save()

    def save(self) -> Any:
        if self.checkpoints is None:
            return None
        if self.losses:
            self.look(self.phases[self.phase])  # never save what is lost
        tensors = self.tensors()
        facts = {"position": [self.phase, self.epoch, self.step], "history": self.history, "spent": self.spent.tolist()}
        return self.checkpoints.save(tensors, facts | {"unmoved": self.unmoved(tensors)})

    def unmoved(self, tensors: dict[str, Tensor]) -> list[int]:
        """Numbers of the open phase's weights of which the optimiser keeps nothing: the loss has not used them."""
        moved = {name.split("/")[0] for name in under(tensors, "optimiser/")}
        weights = trained(self.phases[self.phase]) if self.step else []
        return [i for i in range(len(weights)) if str(i) not in moved]

    def tensors(self) -> dict[str, Tensor]:
        found = {f"weights/{name}": tensor for name, tensor in tensors_of(self.phases).items()}
        for i, state in (self.optimiser.state_dict()["state"] if self.optimiser else {}).items():
            found |= {f"optimiser/{i}/{key}": value for key, value in state.items() if isinstance(value, Tensor)}
        found |= {"generator/cpu": torch.random.get_rng_state()}
        if self.device.type == "cuda":
            found |= {"generator/cuda": torch.cuda.get_rng_state(self.device)}
        return found | ({"losses": torch.stack(self.losses)} if self.losses else {})

    def resume(self) -> None:
        """Take up the run where its newest checkpoint left it, if there is one."""
        found = self.checkpoints.load(self.check) if self.checkpoints is not None else None
        if found is None:
            return
        tensors, facts = found
        self.phase, self.epoch, self.step = facts["position"]
        self.history, self.spent = facts["history"], facts["spent"] * np.ones(2)  # an older version has one number
        fill(tensors_of(self.phases), under(tensors, "weights/"), f"checkpoint in {self.checkpoints.folder}")
        self.losses = list(tensors["losses"].to(self.device).unbind()) if "losses" in tensors else []
        self.looked = len(self.losses)
        if self.step:
            self.begin(self.phases[self.phase])
            restore(self.optimiser, under(tensors, "optimiser/"))
            torch.random.set_rng_state(tensors["generator/cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(tensors["generator/cuda"], self.device)

    def check(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Raise InputError unless this is all that `save` writes at the position that is named."""
        check_facts(facts, self.phases, self.steps)
        phase, _, step = facts["position"]
        expected = {f"weights/{name}": tensor for name, tensor in tensors_of(self.phases).items()}
        expected |= {"generator/cpu": torch.random.get_rng_state()}
        if self.device.type == "cuda":
            expected |= {"generator/cuda": torch.cuda.get_rng_state(self.device)}
        if step:
            losses = tensors.get("losses", torch.empty(0))
            real = losses.dtype if losses.is_floating_point() else torch.float32  # it is for the loss to choose
            expected |= {"losses": torch.empty(step, dtype=real)}
            expected |= kept_of(self.phases[phase], facts.get("unmoved", []))  # an older version did not say it
        for name in sorted(expected.keys() | tensors.keys()):
            wanted, got = words(expected.get(name)), words(tensors.get(name))
            if wanted != got:
                raise InputError(f"{name}: {wanted} expected, got {got}")


def trained(phase: Phase) -> list[nn.Parameter]:
    """The weights that a phase trains."""
    return [weight for weight in phase.module.parameters() if weight.requires_grad]


def words(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.")


def check_facts(facts: dict[str, Any], phases: list[Phase], steps: int) -> None:
    """Raise InputError unless a checkpoint names a position at which one is written, and has a line per epoch done."""
    if not is_position(facts.get("position"), phases, steps):
        raise InputError(f"a position [phase, epoch, step] of this run expected, got {facts.get('position')}")
    last, epoch, _ = facts["position"]
    counts = [phase.epochs for phase in phases[:last]] + [epoch]
    names = [phase.name for phase in phases[: last + 1]]
    done = [(name, e + 1) for name, count in zip(names, counts, strict=False) for e in range(count)]
    try:
        got = [(line["phase"], line["epoch"]) for line in facts["history"]]
        numbers = [line[key] for line in facts["history"] for key in ("loss", "seconds")]
        whole = bool(np.isfinite([*numbers, *np.ravel(facts["spent"])]).all()) and np.size(facts["spent"]) in (1, 2)
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole or got != done:
        raise InputError(f"a line of history for each of the {len(done)} epochs done, and the seconds spent, expected")


def is_position(position: Any, phases: list[Phase], steps: int) -> bool:
    """Whether a checkpoint is written there: after any step, and at the end of the run."""
    if not isinstance(position, list) or [type(number) for number in position] != [int, int, int]:
        return False
    phase, epoch, step = position
    if phase == len(phases):
        return epoch == step == 0
    return 0 <= phase < len(phases) and 0 <= epoch < phases[phase].epochs and 1 <= step <= steps


def kept_of(phase: Phase, unmoved: Any) -> dict[str, Tensor]:
    """What a phase's optimiser keeps after a step, without its values, by the names that it has in a checkpoint.

    Raises InputError unless `unmoved` are numbers of weights, and not of all.
    """
    weights = [nn.Parameter(torch.empty_like(weight, device="meta")) for weight in trained(phase)]
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    optimiser = OPTIMISERS[phase.optimiser](weights, phase)
    optimiser.step()
    kept = {
        (i, key): value
        for i, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }
    if not isinstance(unmoved, list) or (kept and not {i for i, _ in kept} - set(unmoved)):
        raise InputError(f"unmoved: numbers of some of the {len(weights)} weights expected, got {unmoved}")
    return {f"optimiser/{i}/{key}": value for (i, key), value in kept.items() if i not in unmoved}


def tensors_of(phases: list[Phase]) -> dict[str, Tensor]:
    """Weights and buffers of the phases' modules by name, each tensor once."""
    modules = nn.ModuleList([phase.module for phase in phases])
    return dict(modules.named_parameters()) | dict(modules.named_buffers())


def under(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    """Those whose name begins with `start`, by the rest of their name."""
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


@torch.no_grad()
def fill(into: dict[str, Tensor], values: dict[str, Tensor], what: str) -> None:
    """Copy values by name; raises InputError where names, shapes or types differ."""
    wrong = {n for n in into.keys() | values.keys() if n not in into or n not in values}
    both = into.keys() & values.keys()
    wrong |= {n for n in both if (into[n].shape, into[n].dtype) != (values[n].shape, values[n].dtype)}
    if wrong:
        raise InputError(f"{what} does not fit the network: {sorted(wrong)[0]} differs")
    for name, tensor in into.items():
        tensor.copy_(values[name])


def restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser the state tensors `<number of the weight>/<key>`, laid out in memory as its weights are."""
    weights = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split("/")
        like = weights[int(number)]
        tensor = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        state.setdefault(int(number), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
