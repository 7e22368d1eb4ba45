"""Work that one process is not enough for: many tasks, done here, in several processes of this
machine, or on a Ray cluster, by the same code.

A `grid.Worker` gives a pool runs, `shards.encode` blocks of images to encode. What comes back is written
by the process that gave the tasks, and by no other. On the command line this is `--on`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hashlab.errors import InputError
from hashlab.scale.pools import Here, Pool, Processes

LOCAL = "local"
RAY = "ray"


def check(
    on: str,
    processes: int | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    on_gpu: bool = False,
) -> None:
    """Raise InputError unless that says where work is to be done; see `open_pool`."""
    if on not in (LOCAL, RAY) and not on.startswith(f"{RAY}://"):
        raise InputError(f"--on must be local, ray or ray://HOST:PORT, got {on!r}")
    if processes is not None and processes < 1:
        raise InputError(f"--processes must be 1 or more, got {processes}")
    if cpus is not None and cpus < 1:
        raise InputError(f"--cpus must be 1 or more, got {cpus}")
    if gpus is not None and not 0 < gpus < float("inf"):
        raise InputError(f"--gpus must be more than 0, got {gpus}")
    if on == LOCAL and (cpus is not None or gpus is not None):
        raise InputError("--cpus and --gpus are shares of a cluster: they go with --on ray")
    if gpus is not None and not on_gpu:
        raise InputError("--gpus is a share of GPUs: it goes with --device cuda")
    if on != LOCAL and processes is not None:
        raise InputError("--processes are those of this machine: they go with --on local")


def open_pool(
    on: str,
    make: Callable[[], Callable[[Any], Any]],
    *,
    processes: int | None = None,
    cpus: int | None = None,
    gpus: float | None = None,
    on_gpu: bool = False,
    first: Callable[[], None] | None = None,
) -> Pool:
    """The pool that does tasks at a place.

    Args:
        on: `local`; `ray`, the cluster that this machine belongs to or that $RAY_ADDRESS names; or
            `ray://HOST:PORT`, one that is reached from outside.
        make: gives, in each process that works, what turns a task into its result.
        processes: of this machine that work side by side (1).
        cpus, gpus: what a task takes of a cluster (1 and, where the device is CUDA's, 1).
        on_gpu: whether tasks compute on GPUs.
        first: is called in other processes before `make`.

    Raises:
        InputError: words that do not go together; no Ray, no answer, no such share in the cluster.
    """
    check(on, processes, cpus, gpus, on_gpu)
    if on == LOCAL and (processes or 1) == 1:
        return Here(make)
    if on == LOCAL:
        return Processes(make, processes or 1, first)
    from hashlab.scale.rays import Cluster

    share = (gpus or 1.0) if on_gpu else 0.0
    return Cluster(on.removeprefix(RAY), make, cpus or 1, share, first)
