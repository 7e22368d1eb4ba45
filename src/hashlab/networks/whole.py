"""A backbone that is one network, not a chain of stages: its levels are what some of its modules
give on the way.

Frozen up to a level, it goes on from what that module gave, though only its own code knows how:
that code runs as ever, but the modules that it calls first give zeros of their usual shapes at no
cost, and the level's own gives what is known. Where a network looks back behind the level this
would be another network; so it is compared with itself when it is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from hashlab.errors import InputError
from hashlab.networks.stages import Backbone, Level, check_levels


class Call(NamedTuple):
    """A module that was run, and what it gave, without its numbers."""

    module: nn.Module
    gave: Any


class Whole(Backbone):
    """A network that turns images (B, C, H, W) into vectors (B, d), with levels at its modules.

    Args:
        network: what is run.
        places: level -> the name of the module that gives it, in the order in which they run.
        shape: (H, W, C) of the images.
        levels: what the levels give; found out by running the network where that is None.
    """

    last = "features"  # the level of the vectors

    def __init__(
        self,
        network: nn.Module,
        places: Mapping[str, str],
        shape: tuple[int, ...],
        levels: Mapping[str, Level] | None = None,
    ):
        nn.Module.__init__(self)
        if self.last in places:
            raise InputError(f"{self.last} is its output; give the level another name")
        self.network = network
        self.places = dict(places)
        self.shape = shape
        self.levels = self._measured() if levels is None else levels
        self.features = self.levels[self.last].channels
        self._calls: list[Call] = []  # what is over when the frozen level is reached

    # ---- what it gives

    def outputs(self, x: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """What the named levels give for images."""
        kept: dict[str, Any] = {}

        def keep(name: str, module: nn.Module, arguments: Any, output: Any) -> None:
            kept[name] = output

        handles = [
            self.network.get_submodule(place).register_forward_hook(partial(keep, name))
            for name, place in self.places.items()
            if name in names
        ]
        try:
            kept[self.last] = self.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return kept

    def forward(self, x: Tensor) -> Tensor:
        if self._done(x):
            return self._resumed(x, (self.last,))[self.last]
        return self.network(x)  # (B, features)

    def forward_levels(self, x: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        check_levels(self, names)
        outputs = self._resumed(x, names) if self._done(x) else self.outputs(x, names)
        return tuple(outputs[name] for name in names)

    def _measured(self) -> dict[str, Level]:
        """What the levels give for images of the shape; raises InputError for what is no level."""
        x = torch.zeros(2, self.shape[2], *self.shape[:2])
        names = (*self.places, self.last)
        with _evaluated(self.network), torch.no_grad():
            outputs = self.outputs(x, names)
        vector = outputs[self.last]
        if not (isinstance(vector, Tensor) and vector.ndim == 2 and len(vector) == len(x)):
            raise InputError(f"a vector per image, (2, d), is expected, got {_words(vector)}")
        return {name: self._level(name, outputs.get(name)) for name in names}

    def _level(self, name: str, output: Any) -> Level:
        if output is None:
            raise InputError(f"level {name} must be given by a module that is run")
        if not (isinstance(output, Tensor) and output.ndim in (2, 4)):
            raise InputError(
                f"level {name} must give maps (B, C, H, W) or vectors (B, C), got {_words(output)}"
            )
        return Level(output.shape[1], self._stride(name, output))

    def _stride(self, name: str, output: Tensor) -> int | None:
        return None if output.ndim == 2 else round(self.shape[0] / output.shape[2])

    # ---- frozen up to a level

    def freeze(self, up_to: bool | str = True) -> Self:
        if isinstance(up_to, str):
            self._freeze_until(up_to)
        super().freeze(up_to)
        if isinstance(up_to, str):
            self._check_resumable(up_to)
        return self

    def frozen_stages(self) -> list[nn.Module]:
        if self.frozen_level is None:
            return [self.network] if self.frozen else []
        return [call.module for call in self._calls]

    def kept(self, x: Tensor) -> Tensor:
        return self._until(self.frozen_level, x)[-1].gave

    def _freeze_until(self, level: str) -> None:
        """Freeze the weights that a level follows from, those that belong to no module of their
        own among them, and note what is run for it.
        """
        x = torch.zeros(1, self.shape[2], *self.shape[:2])
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        with _evaluated(self.network), torch.enable_grad():
            calls = self._until(level, x)
        output = calls[-1].gave
        if not isinstance(output, Tensor):
            raise InputError(f"frozen: level {level} must give a tensor, got {_words(output)}")
        if output.requires_grad:
            gradients = torch.autograd.grad(output.sum(), weights, allow_unused=True)
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.requires_grad_(gradient is None)
        self._calls = [Call(module, _without_numbers(gave)) for module, gave in calls]

    @torch.no_grad()
    def _check_resumable(self, level: str) -> None:
        """Raise InputError unless all that comes after a level follows from it alone."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, self.shape[2], *self.shape[:2], generator=generator)
        later = list(self.levels)[list(self.levels).index(level) :]
        with _evaluated(self):
            whole = self.forward_levels(x, later)
            try:
                resumed = self.forward_levels(self.kept(x), later)
                same = all(map(_close, whole, resumed))
            except (RuntimeError, TypeError, ValueError):  # zeros did not do
                same = False
        if not same:
            raise InputError(
                "frozen must be a level that all later ones follow from alone, which is not so "
                f"of {level!r}; freeze all of this backbone, or another level"
            )

    def _done(self, x: Tensor) -> int:
        """Whether x is what the frozen level gave, rather than images."""
        if self.frozen_level is None:
            return 0
        return int(x.shape[1:] == self._calls[-1].gave.shape[1:])

    def _until(self, level: str, x: Tensor) -> list[Call]:
        """The largest modules that are done when a level is, its own last."""
        return run_until(self.network, self.network.get_submodule(self.places[level]), x)

    @torch._disable_dynamo  # torch.compiler.disable, but imports the compiler, seconds, only when called
    def _resumed(self, x: Tensor, names: Sequence[str]) -> dict[str, Any]:
        """What the named levels give where the frozen one gave x."""
        images = x.new_zeros(len(x), self.shape[2], *self.shape[:2])
        with _answered(self._calls, x):
            return self.outputs(images, names)


class _Reached(Exception):
    """The network has come as far as it should."""


def run_until(network: nn.Module, module: nn.Module, x: Tensor) -> list[Call]:
    """Run a network on x until a module of it is done.

    Returns:
        The calls that were over by then and that were made by none of the others, in order.

    Raises InputError where the network does without that module.
    """
    over: list[Call] = []
    starts: list[int] = []

    def enter(entered: nn.Module, arguments: Any) -> None:
        starts.append(len(over))

    def leave(left: nn.Module, arguments: Any, output: Any) -> None:
        del over[starts.pop() :]  # what it called
        over.append(Call(left, output))
        if left is module:
            raise _Reached

    handles = [each.register_forward_pre_hook(enter) for each in network.modules()]
    handles += [each.register_forward_hook(leave) for each in network.modules()]
    try:
        network(x)
    except _Reached:
        return over
    finally:
        for handle in handles:
            handle.remove()
    raise InputError(f"frozen: the network runs without its {type(module).__name__} of that level")


@contextmanager
def _answered(calls: Sequence[Call], known: Tensor) -> Iterator[None]:
    """Meanwhile modules give zeros as often as they were called, and the last of them what is
    known; from then on they do what they always do.
    """
    zeros = _Zeros(known)
    answers: dict[nn.Module, list[Callable[[], Any]]] = {}
    for module, gave in calls[:-1]:
        answers.setdefault(module, []).append(partial(zeros.like, gave))
    answers.setdefault(calls[-1].module, []).append(lambda: known)
    before = {module: module.__dict__.get("forward") for module in answers}
    for module, queue in answers.items():
        module.forward = partial(_answer, queue, module.forward)
    try:
        yield
    finally:
        for module, own in before.items():
            del module.forward
            if own is not None:
                module.forward = own


def _answer(queue: list, usual: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return queue.pop(0)() if queue else usual(*arguments, **named)


class _Zeros:
    """Zeros for the batch of a tensor, of each shape only once."""

    def __init__(self, batch: Tensor):
        self._batch = batch
        self._made: dict[Any, Tensor] = {}

    def like(self, gave: Any) -> Any:
        """Zeros as a module gave them for one image."""
        if isinstance(gave, tuple | list):
            return type(gave)(self.like(part) for part in gave)
        if not isinstance(gave, Tensor):
            return gave
        rows = len(self._batch) if gave.ndim and len(gave) == 1 else 0
        shape = (rows, *gave.shape[1:]) if rows else gave.shape
        key = shape, gave.dtype
        if key not in self._made:
            self._made[key] = self._batch.new_zeros(shape, dtype=gave.dtype)
        return self._made[key]


def _without_numbers(gave: Any) -> Any:
    if isinstance(gave, tuple | list):
        return type(gave)(map(_without_numbers, gave))
    return gave.detach().to("meta") if isinstance(gave, Tensor) else gave


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Meanwhile a module does not train; afterwards each of its parts does what it did."""
    modes = {each: each.training for each in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for each, mode in modes.items():
            each.training = mode


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-3, atol=1e-4 * float(a.abs().max()))


def _words(output: Any) -> str:
    return str(tuple(output.shape)) if isinstance(output, Tensor) else type(output).__name__
