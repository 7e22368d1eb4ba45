"""What tests start ends with them, however they end; and nothing is started past that."""

import os
import re
import select
import signal
import sys
from pathlib import Path
from subprocess import PIPE

import processes
import pytest

# a process, and one that it starts, which hold a pipe open for as long as they live
TWO = r"""
import os, time
os.write(1, b"parent\n" if os.fork() else b"child\n")
time.sleep(3600)
"""


def test_what_was_started_ends_with_its_children():
    with (
        pytest.raises(KeyError),
        processes.started([sys.executable, "-c", TWO], stdout=PIPE) as process,
    ):
        assert {process.stdout.readline() for _ in range(2)} == {"parent\n", "child\n"}
        output = os.dup(process.stdout.fileno())
        raise KeyError
    ready, *_ = select.select([output], [], [], processes.PATIENCE)
    assert ready and os.read(output, 1) == b""  # nobody is left who could write
    os.close(output)
    assert process.returncode == -signal.SIGKILL


def test_what_does_not_end_has_an_end(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    with pytest.raises(AssertionError, match="a file did not come about in"):
        processes.wait_until(lambda: False, "a file")
    with pytest.raises(TimeoutError, match=r"no end after 0.1 s: .*python.* -c import"):
        processes.python("-c", "import time; time.sleep(30)")


def test_ctrl_c_is_heard_where_it_was_ignored(request):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    signal.raise_signal(signal.SIGINT)
    request.getfixturevalue("ctrl_c")
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_processes_are_started_in_one_place():
    folder = Path(__file__).parent
    starts = re.compile(r"subprocess\.(run|Popen|call|check_\w+)\(")
    assert {file.name for file in folder.glob("*.py") if starts.search(file.read_text())} == {
        "processes.py"
    }
