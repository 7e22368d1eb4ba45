"""Tensors and JSON in one safetensors file that is written whole and checked when read; no pickle.

A checkpoint is one such file per moment of a run; the newest two are kept, so that a damaged one has a sound one
before it. `training.train` says what is in them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from hashlab import files, numerics
from hashlab.errors import InputError

State = tuple[dict[str, Tensor], dict[str, Any]]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run whose state has been saved; the message says where."""


def pack(tensors: dict[str, Tensor], facts: dict[str, Any]) -> bytes:
    """Tensors and JSON facts as the bytes of a safetensors file with a digest of both; equal ones give equal bytes."""
    text = json.dumps(facts)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return safetensors.torch.save(
        plain, {"hashlab": json.dumps([_digest(plain, text), text])}
    )  # one: its order is fixed


def unpack(data: bytes, what: str) -> State:
    """The tensors and facts of `pack`; raises InputError when a byte of them is missing or altered."""
    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        digest, text = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["hashlab"])
        if digest == _digest(tensors, text):
            return tensors, json.loads(text)
    except (SafetensorError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{what} is damaged: it is not what was written")


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
        self.folder, self.identity, self.every = Path(folder), json.loads(json.dumps(identity)), every
        self.written = time.monotonic()

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return time.monotonic() - self.written >= self.every

    def files(self) -> list[Path]:
        """What is there, oldest first."""
        return sorted(self.folder.glob("[0-9]*.safetensors"))

    def save(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> Path:
        """Write the next checkpoint, then remove all but the newest two; returns its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self.files()
        number = int(before[-1].stem) + 1 if before else 0
        file = self.folder / f"{number:09d}.safetensors"
        files.write(file, pack(tensors, {"identity": self.identity, "environment": environment()} | facts))
        for old in before[:-1]:
            old.unlink(missing_ok=True)
        self.written = time.monotonic()
        return file

    def load(self) -> State | None:
        """The newest sound checkpoint, or None; warns about damaged ones and about another environment.

        What a killed process left half-written is removed. Raises InputError for a checkpoint of another run.
        """
        for half in self.folder.glob(".*.safetensors-*"):
            half.unlink(missing_ok=True)
        for file in reversed(self.files()):
            try:
                tensors, facts = unpack(file.read_bytes(), f"checkpoint {file}")
            except InputError as error:
                warnings.warn(f"{error}; the one before it is used", stacklevel=2)
                file.unlink()
                continue
            self._check(file, facts)
            return tensors, facts
        return None

    def _check(self, file: Path, facts: dict[str, Any]) -> None:
        for key, value in self.identity.items():
            if facts["identity"].get(key) != value:
                found = facts["identity"].get(key)
                raise InputError(f"checkpoint {file} is of another run: its {key} is {found}, this run's is {value}")
        for key, value in environment().items():
            found = facts["environment"].get(key, value)  # an older version said less
            if found != value:
                text = f"resumed with {key} {value}, begun with {found}: results may differ in their last bits"
                warnings.warn(text, stacklevel=3)

    def remove(self) -> None:
        """Remove all of them: the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def environment() -> dict[str, Any]:
    """What bit-identical continuation depends on besides the settings."""
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    cpu = {"processor": numerics.processor(), "threads": torch.get_num_threads()}
    return {"torch": torch.__version__, **cpu, "CUDA device": cuda}


@contextmanager
def interruptible(active: bool = True) -> Iterator[Callable[[], bool]]:
    """While it lasts, Ctrl-C is noted (the yielded function says so) rather than raised; a second one is raised."""
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
