"""A pool on a Ray cluster. This is the only file that imports Ray.

A task is one of Ray's with its share of CPUs and GPUs, and without its retries: who gives the tasks
sees to that, as for processes. `make` lies in the object store, from which each node takes it once;
each process of a node makes of it what does its tasks, and keeps that.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hashlab
from hashlab.errors import InputError
from hashlab.scale.pools import PAUSE, Call, Lost, Make, Outcome, Pool, Ticket, made, outcome_of

PATIENCE = 10.0  # seconds in which an address has to answer
SAVING = 60.0  # seconds that interrupted tasks have to save what they did
GONE = "has gone; what is done is kept: start it again, and give this command once more"
NOT_BEGUN = "Initialization failure from server"  # what Ray says of a session, before why
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}


# ---- reaching it


def connect(address: str) -> Any:
    """The package `ray`, connected.

    Args:
        address: `://HOST:PORT` of a cluster that is reached from outside; nothing for the one that
            this machine belongs to, or that $RAY_ADDRESS names.

    Raises:
        InputError: no Ray here; nobody answers within `PATIENCE` seconds, or somebody else does.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError("--on ray needs Ray: pip install 'hashlab[scale]'") from None
    where = f"ray{address}" if address else os.environ.get("RAY_ADDRESS") or _own_cluster()
    if where != "auto":
        check_answers(where)
    try:
        ray.init(where, log_to_driver=False, logging_level="ERROR", namespace="hashlab")
    except Exception as error:  # of many kinds, some of them with pages of advice
        raise InputError(_no_cluster(where, error)) from None
    return ray


def _own_cluster() -> str:
    """The address of the cluster that this machine belongs to, or that has gone: Ray would try for
    minutes to reach that. `auto` where Ray knows of none, or no longer says it in this way.
    """
    with suppress(Exception):
        from ray._private.services import canonicalize_bootstrap_address

        return canonicalize_bootstrap_address("auto") or "auto"
    return "auto"


def _no_cluster(where: str, error: Exception) -> str:
    if where == "auto":
        return (
            "this machine belongs to no Ray cluster: start one with `ray start --head`, or name one "
            "with --on ray://HOST:PORT"
        )
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0]
    if reason.startswith(NOT_BEGUN):
        return f"{where}: the cluster began nothing for this process ({lines[-1].strip()[:200]})"
    return f"{where}: no Ray cluster of the versions of Ray and Python here ({reason[:200]})"


def check_answers(where: str) -> None:
    """Raise InputError unless somebody at ray://HOST:PORT, or HOST:PORT, answers a greeting."""
    try:
        with call(where) as line:
            line.settimeout(PATIENCE)
            line.sendall(GREETING)
            answered = bool(line.recv(1))
    except OSError as error:
        reason = error.strerror or f"no answer within {PATIENCE:.0f} s"
        raise InputError(f"{where} does not answer: {reason}") from None
    if not answered:
        raise InputError(f"{where} is no Ray cluster: it ends the call")


def call(where: str) -> socket.socket:
    """A connection to ray://HOST:PORT, or HOST:PORT.

    Raises OSError where nobody takes it within `PATIENCE` seconds, InputError for no such address.
    """
    host, _, port = where.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"ray://HOST:PORT is expected, got {where}")
    return socket.create_connection((host.strip("[]"), int(port)), PATIENCE)


def is_reached(where: str) -> bool:
    """Whether somebody takes a connection to HOST:PORT, however busy."""
    try:
        call(where).close()
    except OSError:
        return False
    return True


# ---- the pool


class Cluster(Pool):
    """A Ray cluster.

    Args:
        address: see `connect`.
        make, first: see `open_pool`.
        cpus: of a task; so many threads compute it.
        gpus: of a task, 0.5 for two on each.

    Raises:
        InputError: as `connect`; no machine has what a task takes.
    """

    def __init__(
        self,
        address: str,
        make: Make,
        cpus: int = 1,
        gpus: float = 0.0,
        first: Callable[[], None] | None = None,
    ):
        self._ray = connect(address)
        self._head = f"ray{address}" if address else self._ray.get_runtime_context().gcs_address
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        self._busy: dict[Any, Ticket] = {}
        self._cpus = cpus
        self._gpus = gpus
        try:
            self._check_shares()
            self._made_of = [self._ray.put((make, first, cpus))]  # in a list it is sent by name
        except BaseException:
            self.close()
            raise
        share: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus}
        # no retries of Ray's own; a process is kept for other tasks, also one with a GPU
        self._remote = self._ray.remote(max_retries=0, max_calls=0, **share)(serve)

    def _watch(self) -> None:
        """End this process, with a sentence, when the head has gone: Ray does it a minute later with
        none, and its calls do not come back until then.
        """
        last = time.monotonic()
        while not self._closed.wait(PAUSE):
            now = time.monotonic()
            if is_reached(self._head):
                last = now
            elif now - last >= PATIENCE:
                print(f"hashlab: {self._head}, the head of the cluster, {GONE}", file=sys.stderr)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(2)  # whatever else is half-done is as after a kill, which is seen to

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _at_once(self, node: dict[str, Any]) -> int:
        """How many tasks a machine has room for, where it does nothing else."""
        has = node["Resources"]
        rooms = [has.get("CPU", 0) / self._cpus]
        if self._gpus:
            rooms.append(has.get("GPU", 0) / self._gpus)
        return int(min(rooms) + 1e-9)

    def _check_shares(self) -> None:
        nodes = self._nodes()
        if any(self._at_once(node) for node in nodes):
            return
        most = max((node["Resources"].get("CPU", 0) for node in nodes), default=0)
        if self._gpus and not any(node["Resources"].get("GPU", 0) for node in nodes):
            raise InputError(f"--device cuda needs GPUs: none of the {len(nodes)} machines has one")
        share = f"{self._cpus} CPUs" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
        raise InputError(
            f"a task takes {share}: no machine of the cluster has them, {most:g} CPUs at most"
        )

    def check(self) -> None:
        """Raise InputError where a machine has another hashlab, or cannot do these tasks."""
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ready = self._ray.remote(max_retries=1, max_calls=0, num_cpus=0, num_gpus=self._gpus)(greet)
        asked = {}
        for node in filter(self._at_once, self._nodes()):
            there = ready.options(scheduling_strategy=strategy(node["NodeID"], soft=False))
            asked[there.remote(self._made_of)] = node["NodeManagerAddress"]
        for reference, name in asked.items():
            self._check_reply(reference, name)

    def _check_reply(self, reference: Any, name: str) -> None:
        errors = self._ray.exceptions
        try:
            version, error = self._ray.get(reference)
        except errors.RayTaskError:
            version, error = "none", None
        except errors.RayError:  # it has just gone; others do the work
            return
        if version != hashlab.__version__:
            here = hashlab.__version__
            raise InputError(f"{name} has hashlab {version}, here it is {here}: install that there")
        if isinstance(error, InputError):
            raise InputError(f"{name}: {error}")
        if error is not None:
            raise error

    def room(self) -> int:
        """So many more that each machine does what it can; always one, which a machine that joins
        finds waiting.
        """
        return max(sum(map(self._at_once, self._nodes())), 1) - len(self._busy)

    def _start(self, ticket: Ticket) -> None:
        self._busy[self._remote.remote(self._made_of, ticket.task)] = ticket

    def _finished(self, seconds: float | None) -> list[tuple[Ticket, Outcome]]:
        if not self._busy:
            return []
        ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=seconds)
        return [(self._busy.pop(reference), self._outcome(reference)) for reference in ready]

    def _outcome(self, reference: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:  # not ours, which come back as outcomes
            words = str(error.cause or error).strip().splitlines()
            return Outcome(error=InputError(f"a machine cannot do it: {words[-1][:200]}"))
        except errors.RayError as error:  # its process, its machine, or what came of it is gone
            return Outcome(error=Lost(type(error).__name__))

    def close(self) -> None:
        self._closed.set()
        if not self._ray.is_initialized():
            return
        try:
            for reference in self._busy:
                self._ray.cancel(reference)
            if self._busy:
                count = len(self._busy)
                self._ray.wait(list(self._busy), num_returns=count, timeout=SAVING)
        finally:
            self._busy.clear()
            with suppress(Exception):
                self._ray.shutdown()


# ---- what a worker of the cluster does

_CALLS: dict[str, Call] = {}  # of this process: what does the tasks of which driver


def serve(made_of: list[Any], task: Any) -> Outcome:
    """What comes of a task."""
    return outcome_of(_call(made_of), task)


def greet(made_of: list[Any]) -> tuple[str, Exception | None]:
    """The version of hashlab here, and why tasks cannot be done, if they cannot."""
    return hashlab.__version__, getattr(_call(made_of), "error", None)


def _call(made_of: list[Any]) -> Call:
    import ray

    (reference,) = made_of
    name = reference.hex()
    if name not in _CALLS:
        import torch

        os.environ["HASHLAB_PROGRESS"] = "0"
        make, first, cpus = ray.get(reference)
        torch.set_num_threads(cpus)
        _CALLS.clear()
        _CALLS[name] = made(make, first)
    return _CALLS[name]
