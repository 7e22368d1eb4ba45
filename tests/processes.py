"""Processes and threads that tests start:
they have minutes, as the machine may be busy, and end with the test.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import forked

PATIENCE = 600  # seconds for what takes one or two on an idle machine


def wait_until(holds, what="it"):
    """What `holds()` gives, once that is true: asked again, it may be no longer."""
    end = time.monotonic() + PATIENCE
    while not (held := holds()):
        assert time.monotonic() < end, f"{what} did not come about in {PATIENCE} s"
        time.sleep(0.01)
    return held


def kill(process):
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def started(words, patience=None, **settings):
    """As `subprocess.Popen`; when it is left nothing that it started lives.

    After so many seconds (PATIENCE, unless given) it is killed, so that nobody reads from it for
    ever; TimeoutError says so.
    """
    words, late = [str(word) for word in words], threading.Event()
    patience = PATIENCE if patience is None else patience

    def give_up():
        late.set()
        kill(process)

    if forked.can_be(words, settings):
        process = forked.Forked(words, **settings)
    else:
        process = subprocess.Popen(words, text=True, start_new_session=True, **settings)
    with process:
        watch = threading.Timer(patience, give_up)
        watch.start()
        try:
            yield process
        finally:
            watch.cancel()
            kill(process)
            if late.is_set():
                raise TimeoutError(f"no end after {patience} s: {' '.join(words)}")


def run(*words, **settings):
    """What became of a command: `.returncode`, `.stdout` and `.stderr`."""
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    with started(words, **settings) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def python(*words, **settings):
    """`run` of this Python: `python("-c", code)`, `python("-m", "hashlab.cli", "data", "list")`."""
    return run(sys.executable, *words, **settings)


def command(*words):
    """The words that start `hashlab …`."""
    return [sys.executable, "-m", "hashlab.cli", *words]


@contextlib.contextmanager
def threads(*calls):
    """Threads that do these calls; when it is left they are done."""
    workers = [threading.Thread(target=call, daemon=True) for call in calls]
    for worker in workers:
        worker.start()
    yield
    for worker in workers:
        worker.join(PATIENCE)
    assert not any(worker.is_alive() for worker in workers), f"a thread is not done in {PATIENCE} s"
