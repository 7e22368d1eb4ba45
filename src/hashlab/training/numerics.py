"""How a device computes: precision, deterministic algorithms, compilation.
What is computed stays the same.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PRECISIONS = ("float32", "bfloat16")
COMPILERS = ("none", "inductor", "graphs")


def processor() -> str:
    """The CPU in words: another one may add in another order, and so differ in the last bits."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def auto_precision(device: torch.device) -> str:
    """bfloat16 where the GPU has arithmetic for it (Ampere and newer:
    capability 8), else float32.
    """
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    return "bfloat16" if fast else "float32"


@contextmanager
def deterministic(active: bool) -> Iterator[None]:
    """Only algorithms that give the same bits every time, where `active`.

    cuDNN tries none out either way: with that the first run of each process took two to three times
    as long as the others, and most runs are short.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        with _only_deterministic() if active else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def _only_deterministic() -> Iterator[None]:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """Networks inside compute in `precision`, one of `PRECISIONS`."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False
    )


def in_full(loss: Callable[..., Any], z: Any, *targets: Tensor) -> Tensor:
    """`loss(z, *targets)` in float32, whatever the precision of the network that gave z,
    one tensor or several.
    """
    with torch.autocast(targets[0].device.type, enabled=False):
        full = z.float() if isinstance(z, Tensor) else tuple(part.float() for part in z)
        return loss(full, *targets)


def prepare(
    module: nn.Module, compiler: str, example: Callable[[], Tensor], precision: str
) -> None:
    """Make a module's training faster, as one of `COMPILERS` does; its weights stay as they are."""
    if compiler == "inductor":
        module.compile()
    elif compiler == "graphs" and (images := example()).is_cuda:
        _graph(module, images, precision)


def _graph(module: nn.Module, images: Tensor, precision: str) -> None:
    """Record forward and backward pass as CUDA graphs: one launch each instead of hundreds."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    module.train()
    with autocast(images.device, precision):
        # a head on earlier levels leaves the weights behind them unused
        torch.cuda.make_graphed_callables(module, (images,), allow_unused_input=True)
    for name, buffer in module.named_buffers():  # the passes that warm up move the batch statistics
        buffer.copy_(before[name])


def release(module: nn.Module) -> None:
    """Undo `prepare`, so that the module can be saved, copied and used with other shapes."""
    module._compiled_call_impl = None
    module.__dict__.pop("forward", None)
