"""What a checkpoint of a training holds, by name, and whether one holds just that.

Tensors:
    weights/NAME: weights and buffers of all phases.
    generator/cpu, generator/cuda: the state of torch's generators.
    losses: (S,), of the steps that are done in the open epoch.
    optimiser/I/KEY: what the optimiser keeps of the weight number I of the open phase.

Facts:
    position: [phases done, epochs done in the next one, steps done in its next epoch].
    history: a line for each epoch that is done.
    spent: seconds that the open epoch has taken, see `loop.now`.
    unmoved: numbers of the weights of which the optimiser keeps nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.errors import InputError
from hashlab.training.phases import Phase

# ---- tensors by name


def with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, by the rest of their name."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


@torch.no_grad()
def copy_into(own: dict[str, Tensor], values: dict[str, Tensor], what: str) -> None:
    """Copy values into one's own tensors of the same names.

    Raises InputError where names, shapes or types differ; nothing is copied then.
    """
    for name in sorted(own.keys() | values.keys()):
        if words(own.get(name)) != words(values.get(name)):
            raise InputError(f"{what} does not fit the network: {name} differs")
    for name, tensor in own.items():
        tensor.copy_(values[name])


def words(tensor: Tensor | None) -> str:
    """Type and shape of a tensor in words."""
    if tensor is None:
        return "nothing"
    return f"{tensor.dtype} {tuple(tensor.shape)}".removeprefix("torch.")


# ---- what is saved


def tensors_of(phases: list[Phase]) -> dict[str, Tensor]:
    """Weights and buffers of the phases' modules by name, each tensor once."""
    modules = nn.ModuleList([phase.module for phase in phases])
    return dict(modules.named_parameters()) | dict(modules.named_buffers())


def weights(phases: list[Phase]) -> dict[str, Tensor]:
    return {f"weights/{name}": tensor for name, tensor in tensors_of(phases).items()}


def generators(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's generators, of the CPU and of the device."""
    states = {"generator/cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        states["generator/cuda"] = torch.cuda.get_rng_state(device)
    return states


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimiser keeps of each weight."""
    return {
        f"optimiser/{number}/{key}": value
        for number, state in optimiser.state_dict()["state"].items()
        for key, value in state.items()
        if isinstance(value, Tensor)
    }


def unmoved(phase: Phase, tensors: dict[str, Tensor]) -> list[int]:
    """Numbers of the weights of which the optimiser keeps nothing: the loss has not used them."""
    moved = {name.split("/")[0] for name in with_prefix(tensors, "optimiser/")}
    return [number for number in range(len(phase.trained())) if str(number) not in moved]


# ---- what is taken up


def set_generators(tensors: dict[str, Tensor], device: torch.device) -> None:
    torch.random.set_rng_state(tensors["generator/cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors["generator/cuda"], device)


def set_optimiser_state(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser what it kept, laid out in memory as its weights are."""
    parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in with_prefix(tensors, "optimiser/").items():
        number, key = name.split("/")
        weight = parameters[int(number)]
        if tensor.shape == weight.shape:  # sums run in the order of memory: so do their last bits
            tensor = torch.empty_like(weight).copy_(tensor)
        state.setdefault(int(number), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})


# ---- whether it is all there


def check_snapshot(
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    phases: list[Phase],
    steps: int,
    device: torch.device,
) -> None:
    """Raise InputError unless this is all that is saved at the position that is named.

    Args:
        steps: of an epoch.
    """
    check_position(facts.get("position"), phases, steps)
    check_history(facts, phases)
    expected = expected_tensors(tensors, facts, phases, device)
    for name in sorted(expected.keys() | tensors.keys()):
        wanted = words(expected.get(name))
        got = words(tensors.get(name))
        if wanted != got:
            raise InputError(f"{name}: {wanted} expected, got {got}")


def check_position(position: Any, phases: list[Phase], steps: int) -> None:
    """Raise InputError unless a checkpoint is written there."""
    if not is_position(position, phases, steps):
        text = f"a position [phase, epoch, step] of this run expected, got {position}"
        raise InputError(text)


def is_position(position: Any, phases: list[Phase], steps: int) -> bool:
    """Whether a checkpoint is written there: after any step, and at the end of the run."""
    if not isinstance(position, list) or [type(number) for number in position] != [int, int, int]:
        return False
    phases_done, epochs_done, steps_done = position
    if phases_done == len(phases):
        return epochs_done == steps_done == 0
    if not 0 <= phases_done < len(phases):
        return False
    return 0 <= epochs_done < phases[phases_done].epochs and 1 <= steps_done <= steps


def check_history(facts: dict[str, Any], phases: list[Phase]) -> None:
    """Raise InputError unless there is a line per epoch done, and the seconds of the open one."""
    phases_done, epochs_done, _ = facts["position"]
    epochs = [(phase.name, e + 1) for phase in phases[:phases_done] for e in range(phase.epochs)]
    epochs += [(phases[phases_done].name, e + 1) for e in range(epochs_done)]
    try:
        lines = [(line["phase"], line["epoch"]) for line in facts["history"]]
        numbers = [line[key] for line in facts["history"] for key in ("loss", "seconds")]
        spent = np.ravel(facts["spent"])
        finite = np.isfinite([*numbers, *spent]).all()
        sound = lines == epochs and finite and len(spent) in (1, 2)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        lines_expected = f"a line of history for each of the {len(epochs)} epochs done"
        raise InputError(f"{lines_expected}, and the seconds spent, expected")


def expected_tensors(
    tensors: dict[str, Tensor],
    facts: dict[str, Any],
    phases: list[Phase],
    device: torch.device,
) -> dict[str, Tensor]:
    """What is saved at the position that the facts name; only shapes and types are meant."""
    phases_done, _, steps_done = facts["position"]
    expected = weights(phases) | generators(device)
    if steps_done:
        losses = tensors.get("losses", torch.empty(0))
        real = losses.dtype if losses.is_floating_point() else torch.float32  # as the loss chose
        expected["losses"] = torch.empty(steps_done, dtype=real)
        skipped = facts.get("unmoved", [])  # an older version did not say it
        expected |= state_after_a_step(phases[phases_done], skipped)
    return expected


def state_after_a_step(phase: Phase, skipped: Any) -> dict[str, Tensor]:
    """What a phase's optimiser keeps of all weights but those with the numbers `skipped`.

    Raises InputError unless these are numbers of weights, and not of all.
    """
    weights = [nn.Parameter(torch.empty_like(old, device="meta")) for old in phase.trained()]
    for weight in weights:
        weight.grad = torch.empty_like(weight)
    optimiser = phase.new_optimiser(weights)
    optimiser.step()  # on tensors without numbers: only their shapes are asked for
    kept = optimiser_state(optimiser)
    if not isinstance(skipped, list):
        raise unmoved_expected(len(weights), skipped)
    left = {name: value for name, value in kept.items() if int(name.split("/")[1]) not in skipped}
    if kept and not left:
        raise unmoved_expected(len(weights), skipped)
    return left


def unmoved_expected(count: int, got: Any) -> InputError:
    return InputError(f"unmoved: numbers of some of the {count} weights expected, got {got}")
