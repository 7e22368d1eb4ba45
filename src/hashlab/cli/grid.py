"""`hashlab grid`: the runs that a file describes, as far as they are missing."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from functools import partial
from typing import Any, Self

from hashlab.cli.common import (
    add_command,
    add_device,
    add_import,
    add_place,
    add_record_root,
    check_place,
    open_pool,
    path,
)
from hashlab.errors import InputError


def add_to(commands: Any) -> None:
    text = (
        "Do the runs that a TOML file describes and that are not kept yet, in its order. Several "
        "processes may work on one file and root: none does what another does. What was begun is "
        "taken up."
    )
    command = add_command(commands, "grid", grid, text)
    text = "what stands in it: see `hashlab.grid`; of several, one after the other"
    command.add_argument("files", type=path, nargs="+", metavar="FILE", help=text)
    text = "end after so many minutes; a run that is under way is saved, and taken up the next time"
    command.add_argument("--budget", type=float, metavar="MINUTES", help=text)
    text = "say how many runs are missing and how long they will take, and do none"
    command.add_argument("--estimate", action="store_true", help=text)
    add_place(command)
    text = (
        "a folder that all machines of a cluster see, where runs keep checkpoints (default: where "
        "records are kept); none: runs that are cut short begin anew"
    )
    command.add_argument("--shared", type=path, metavar="FOLDER", help=text)
    add_device(command)
    add_record_root(command)
    add_import(command)


def grid(parsed: argparse.Namespace) -> int:
    from hashlab import grid as grids

    if parsed.budget is not None and not parsed.budget > 0:
        raise InputError(f"--budget must be more than 0 minutes, got {parsed.budget}")
    check_place(parsed)
    if parsed.shared is not None and parsed.on == "local":
        raise InputError("--shared is a folder that machines share: it goes with --on ray")
    rows = grids.joined([grids.read(file) for file in parsed.files])
    budget = float("inf") if parsed.budget is None else 60 * parsed.budget
    # a driver needs no GPU of its own
    device = parsed.device if parsed.on == "local" else None
    worker = grids.Worker(rows, parsed.root, device, time.monotonic() + budget)
    worker.check()
    if parsed.estimate:
        return estimate(worker)
    if parsed.on == "local" and parsed.processes in (None, 1):
        return work(worker, budget)
    with grids.shared(worker.root, parsed.shared) as where:
        doer = partial(grids.Doer, where.folder, parsed.device, where.mark)
        with open_pool(parsed, doer) as worker.pool:
            worker.pool.check()
            return work(worker, budget)


def work(worker: Any, budget: float) -> int:
    """Do what is missing; a line for each run."""
    failed = 0
    clock = Budget(budget)
    begun = time.monotonic()
    first_left = None
    try:
        with clock:
            for done in worker.work():
                if first_left is None:
                    first_left = done.left + 1
                pace = (time.monotonic() - begun) / max(first_left - done.left, 1)
                stream = sys.stderr if done.error else sys.stdout
                print(line(done, pace * done.left), flush=True, file=stream)
                failed += done.error is not None
    except KeyboardInterrupt:
        if not clock.spent:
            raise
    return 2 if failed else 0


def line(done: Any, seconds_left: float) -> str:
    """What came of a run. Time left counts what other processes do at the same pace."""
    if done.error is not None:
        kind = "" if isinstance(done.error, InputError) else f"{type(done.error).__name__}: "
        return f"hashlab: {done.job}: {kind}{done.error}"
    seconds = sum((done.record["seconds"] or {}).values())
    left = f"{done.left} left, about {seconds_left / 60:.0f} min" if done.left else "none left"
    return f"{done.job}: mAP {done.record.map:.4f}, {seconds:.0f} s; {left}"


class Budget:
    """Seconds, after which what is inside is interrupted as by Ctrl-C; `spent` says that it was."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.spent = False

    def __enter__(self) -> Self:
        if self.seconds < float("inf"):
            self.before = signal.signal(signal.SIGALRM, self._end)
            signal.setitimer(signal.ITIMER_REAL, self.seconds)
        return self

    def _end(self, *_: object) -> None:
        self.spent = True
        os.kill(os.getpid(), signal.SIGINT)

    def __exit__(self, *_: object) -> None:
        if self.seconds < float("inf"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self.before)


def estimate(worker: Any) -> int:
    """Say what the missing runs will cost, a line for each row; no run is done."""
    total = 0.0
    unknown = 0
    for row in worker.grid.rows:
        missing, seconds = worker.cost(row)
        if seconds is None:
            unknown += missing
        total += missing * (seconds or 0)
        each = "no run yet to go by" if seconds is None else f"about {seconds:.0f} s each"
        print(f"{row.name}: {missing} runs missing, {each}")
    more = f", and {unknown} runs of which nothing is known yet" if unknown else ""
    print(f"about {total / 60:.0f} minutes of one process{more}; a search may ask for more values")
    return 0
