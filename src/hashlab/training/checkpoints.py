"""Tensors and JSON in one safetensors file that is written whole and checked when read; no pickle.

A checkpoint is one such file per moment of a run; the newest two are kept, so that a damaged one
has a sound one before it.
"""

from __future__ import annotations

import hashlib
import json
import reprlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.training import numerics

__all__ = ["Checkpoints", "Interrupted"]

State = tuple[dict[str, Tensor], dict[str, Any]]
Check = Callable[[dict[str, Tensor], dict[str, Any]], None]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run whose state has been saved; the message says where."""


def pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Tensors and JSON facts as the bytes of a safetensors file with a digest of both;
    equal ones give equal bytes.
    """
    text = json.dumps(facts)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.dumps(
        [_digest(plain, text), text]
    )  # one entry, for the order of several is not fixed
    return safetensors.torch.save(plain, {"hashlab": header})


def unpack(data: bytes, what: str) -> State:
    """The tensors and facts of `pack`;
    raises InputError when a byte of them is missing or altered.
    """
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])["__metadata__"]["hashlab"]
        digest, text = json.loads(header)
        facts = json.loads(text)
        if digest == _digest(tensors, text) and isinstance(facts, dict):
            return tensors, facts
    except (SafetensorError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{what} is damaged: it is not what was written")


def fact(facts: Any, name: str, kind: type) -> Any:
    """One of the JSON values that a saved method consists of;
    raises InputError where it is not there, or no such.
    """
    words = {str: "text", list: "a list", dict: "an object"}
    value = facts.get(name) if isinstance(facts, dict) else None
    if not isinstance(value, kind):
        raise InputError(f"the model's {name} must be {words[kind]}, got {reprlib.repr(value)}")
    return value


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.flatten().view(torch.uint8).numpy())
    return sha.hexdigest()


class Checkpoints:
    """The checkpoints of one run, in a folder of their own.

    Args:
        folder: made when the first one is written.
        identity: what makes this run this run; a checkpoint of another run is refused.
        every: seconds between two checkpoints; 0 for one after each step.
    """

    def __init__(self, folder: str | Path, identity: dict[str, Any], every: float = 60.0):
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))  # as it reads in a file: lists for tuples
        self.every = every
        self.written = time.monotonic()

    def alone(self) -> AbstractContextManager[None]:
        """While it lasts, no other process trains from these; who comes second waits."""
        return _disk.lock(self.folder.absolute())

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self.written >= self.every

    def files(self) -> list[Path]:
        """Those that are kept, oldest first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"))

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Path:
        """Write the next checkpoint, then remove all but the newest two; returns its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self.files()
        number = int(before[-1].stem) + 1 if before else 0
        file = self.folder / f"{number:09d}.safetensors"
        run = {"identity": self.identity, "environment": environment()}
        _disk.write(file, pack(tensors, run | facts))
        for old in before[:-1]:
            old.unlink(missing_ok=True)
        self.written = time.monotonic()
        return file

    def load(self, check: Check | None = None) -> State | None:
        """The newest sound checkpoint, or None;
        warns about unsound ones and about another environment.

        Args:
            check: of tensors and facts; raises InputError unless they are all that is saved at that
                point of a run.

        What a killed process left half-written is removed. Raises InputError for a checkpoint of
        another run.
        """
        if self.folder.is_dir():
            _disk.sweep(self.folder)
        for file in reversed(self.files()):
            try:
                tensors, facts = unpack(file.read_bytes(), f"checkpoint {file}")
                difference = self._difference(facts)
                if difference is None and check is not None:
                    check(tensors, facts)
            except InputError as error:
                text = str(error)
                if str(file) not in text:
                    text = f"checkpoint {file} is not complete: {text}"
                warnings.warn(f"{text}; the one before it is used", stacklevel=2)
                file.unlink()
                continue
            if difference is not None:
                raise InputError(f"checkpoint {file} is of another run: {difference}")
            self._warn_of_environment(facts)
            return tensors, facts
        return None

    def _difference(self, facts: dict[str, Any]) -> str | None:
        """In what a checkpoint differs from this run, or None;
        raises InputError where it does not say.
        """
        if not all(isinstance(facts.get(key), dict) for key in ("identity", "environment")):
            raise InputError("it does not say of which run it is")
        for key, value in self.identity.items():
            stored = facts["identity"].get(key)
            if stored != value:
                return f"its {key} is {stored}, this run's is {value}"
        return None

    def _warn_of_environment(self, facts: dict[str, Any]) -> None:
        for key, value in environment().items():
            begun = facts["environment"].get(key, value)  # an older version said less
            if begun != value:
                text = (
                    f"resumed with {key} {value}, begun with {begun}: results may differ in their "
                    "last bits"
                )
                warnings.warn(text, stacklevel=3)

    def remove(self) -> None:
        """Remove all of them: the run is done."""
        _disk.discard(self.folder.absolute())


def environment() -> dict[str, Any]:
    """What bit-identical continuation depends on besides the settings."""
    return {
        "torch": torch.__version__,
        "processor": numerics.processor(),
        "threads": torch.get_num_threads(),
        "CUDA device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


@contextmanager
def interruptible(active: bool = True) -> Iterator[Callable[[], bool]]:
    """While it lasts, Ctrl-C is noted (the yielded function says so) rather than raised;
    a second one is raised.
    """
    if not active or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = threading.Event()

    def note(*_: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
