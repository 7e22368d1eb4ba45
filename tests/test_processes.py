"""What tests start ends with them, however they end; and nothing is started past that."""

import os
import re
import select
import signal
import sys
from pathlib import Path
from subprocess import PIPE

import forked
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


@pytest.mark.process
@pytest.mark.parametrize("words", [["--version"], ["methods", "--import", "mine.py", "none"]])
def test_a_fork_does_what_a_new_process_does(words, tmp_path, monkeypatch):
    """Its folder, its variables, its words, what it prints, and how it ends."""
    (tmp_path / "mine.py").write_text("import os, sys; print(os.environ['HERE'], *sys.argv[1:])")
    settings = {"cwd": tmp_path, "env": os.environ | {"HERE": "here"}}
    outcomes = []
    for long in ("0", "1"):
        monkeypatch.setenv("HASHLAB_CAMPAIGN", long)
        assert forked.can_be(processes.command(*words), settings) == (long == "0")
        done = processes.run(*processes.command(*words), **settings)
        outcomes.append((done.returncode, done.stdout, done.stderr))
    assert outcomes[0] == outcomes[1] and outcomes[0][1]
    assert words == ["--version"] or (outcomes[0][0] == 2 and "here methods" in outcomes[0][1])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_fork_dies_of_signals(number, monkeypatch):
    monkeypatch.setattr(forked, "can_be", lambda *_: True)
    waits = "import time; print('begun', flush=True); time.sleep(3600)"
    with processes.started([sys.executable, "-m", "timeit", waits], stdout=PIPE) as process:
        assert process.stdout.readline() == "begun\n"
        assert process.poll() is None and os.getpgid(process.pid) == process.pid
        process.send_signal(number)
        assert process.wait() == -number


def test_what_only_a_new_process_does_is_no_fork():
    words = processes.command("--version")
    assert not forked.can_be(words, {"env": os.environ | {"PYTHONPATH": "elsewhere"}})
    assert not forked.can_be(words, {"preexec_fn": print})
    assert not forked.can_be([sys.executable, "-c", "import hashlab.cli"], {})
    assert not any("hashlab" in name for name in forked.HEAVY)


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
