"""Processes that begin where importing ends.

To import torch and the like takes seconds, in each of the processes that tests start. One process
imports them (HEAVY), and each `Forked` is a fork of that one; the package itself is imported anew.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
HEAVY = ["torch.utils.data", "torchvision", "sklearn.utils.validation", "numba.np.ufunc"]
NOT_THEIRS = {str(Path(__file__).parent), str(Path(__file__).parents[1] / "book")}
SETTINGS = {"stdout", "stderr", "env", "cwd"}


def can_be(words, settings):
    """Whether `Forked` does what `subprocess.Popen` would do: start the command `hashlab`, with
    settings that are known here and the paths of this process. The long form starts it as users do.
    """
    env = settings.get("env") or os.environ
    return (
        sys.platform == "linux"
        and os.environ.get("HASHLAB_CAMPAIGN") != "1"
        and words[:3] == [sys.executable, "-m", "hashlab.cli"]
        and settings.keys() <= SETTINGS
        and env.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
    )


class Forked:
    """As a `subprocess.Popen` with texts and a session of its own, for words that `can_be`."""

    stdin = None

    def __init__(self, words, stdout=None, stderr=None, env=None, cwd=None):
        self.args = words
        self.stdout, out = _ends(stdout, 1)
        self.stderr, err = (None, out) if stderr == subprocess.STDOUT else _ends(stderr, 2)
        begun, begins = SERVER.Pipe(duplex=False)
        where = os.getcwd() if cwd is None else os.fspath(cwd)
        module = words[words.index("-m") + 1 :]
        how = (module, dict(os.environ if env is None else env), where, out, err, begins)
        SERVER.set_forkserver_preload(HEAVY)
        self._process = SERVER.Process(target=_become, args=how)
        self._process.start()
        for end in (out, err, begins):
            end.close()
        begun.poll(None)  # it has a session of its own, or has ended
        begun.close()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def communicate(self):
        with ThreadPoolExecutor(2) as readers:
            streams = (self.stdout, self.stderr)
            said = [readers.submit(stream.read) if stream else None for stream in streams]
        self.wait()
        return tuple(one and one.result() for one in said)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for stream in filter(None, (self.stdout, self.stderr)):
            stream.close()
        self.wait()


def kernels():
    """Have Jupyter fork kernels of this Python too, from now on; not in the long form."""
    from jupyter_client.provisioning import local_provisioner

    launch = local_provisioner.launch_kernel

    def forked(words, independent=False, **settings):
        if words[0] != sys.executable:  # of another environment
            return launch(words, independent=independent, **settings)
        return Forked(words, **settings)

    if sys.platform == "linux" and os.environ.get("HASHLAB_CAMPAIGN") != "1":
        local_provisioner.launch_kernel = forked


def _ends(wanted, number):
    """Of a stream: this end of it, a file or None, and the one that the process gets."""
    if wanted == subprocess.PIPE:
        reads, writes = os.pipe()
        return open(reads), Connection(writes, readable=False)
    if wanted == subprocess.DEVNULL:
        return None, Connection(os.open(os.devnull, os.O_WRONLY), readable=False)
    if wanted is not None:
        number = wanted if isinstance(wanted, int) else wanted.fileno()
    return None, Connection(os.dup(number), readable=False)


def _become(words, env, where, out, err, begins):
    """Do in this process, just forked, what a new Python would do with `-m` and these words."""
    os.setsid()
    begins.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.path[:] = [path for path in sys.path if path not in NOT_THEIRS]
    os.chdir(where)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()
