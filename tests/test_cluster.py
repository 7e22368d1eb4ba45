"""Grids and encoding on a real Ray cluster: a head and two nodes, all on this machine.

Workers, a node and drivers are killed; afterwards there are the same bytes as from one process. Leave
these tests out with `-m "not cluster"`: starting the cluster takes half a minute.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from killing import snapshot
from processes import PATIENCE, kill, run, started, wait_until
from test_scale import draw, many, state

from hashlab import grid, methods, records
from hashlab.scale import shards

pytestmark = pytest.mark.cluster

NODE = ["--num-cpus=1", "--object-store-memory=80000000", "--disable-usage-stats", "--block"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Cluster:
    """Nodes of one CPU each, as process groups."""

    def __init__(self, stack, folder):
        self.stack = stack
        self.folder = folder
        self.port, self.client_port = free_port(), free_port()
        self.nodes = []
        head = ["--head", f"--port={self.port}", f"--ray-client-server-port={self.client_port}"]
        self.begin(*head, "--include-dashboard=false", f"--temp-dir={folder}")
        self.renew()
        self.renew()

    @property
    def environment(self):
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "HASHLAB_PROGRESS": "0"}
        patient = {  # this machine may be busy
            "RAY_raylet_start_wait_time_s": str(PATIENCE),
            "RAY_agent_register_timeout_ms": str(1000 * PATIENCE),
            "RAY_worker_register_timeout_seconds": str(PATIENCE),
            "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(PATIENCE),
        }
        return os.environ | quiet | patient | {"RAY_ADDRESS": f"127.0.0.1:{self.port}"}

    def begin(self, *words):
        """Start a node, and wait until it has joined."""
        file = Path(self.folder, f"{len(self.nodes)}.out")
        said = self.stack.enter_context(file.open("w"))
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", *words, *NODE]
        alone = {key: value for key, value in self.environment.items() if key != "RAY_ADDRESS"}
        words = {"stdout": said, "stderr": said, "env": alone}
        node = self.stack.enter_context(started(start, patience=6 * PATIENCE, **words))
        self.nodes.append(node)
        wait_until(
            lambda: "runtime started" in file.read_text() or node.poll() is not None, "a node"
        )
        assert node.poll() is None, file.read_text()

    def lose_a_node(self):
        kill(self.nodes[-1])
        self.nodes[-1].wait()

    def renew(self):
        """One node more."""
        self.begin(f"--address=127.0.0.1:{self.port}")

    def workers(self):
        """Processes of this cluster that are at a task, but for those of the last node."""
        groups = {node.pid for node in self.nodes[:-1]}
        return [
            pid for pid, title, group in processes() if title == "ray::serve" and group in groups
        ]

    def kill_a_worker(self):
        worker, *_ = wait_until(self.workers, "a task")
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


def processes():
    """(process, its title, the process group of its parent) of all that there are."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            title = path.joinpath("cmdline").read_text().split("\0")[0].split("(")[0].strip()
            parent = path.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            yield int(path.name), title, os.getpgid(int(parent))


@pytest.fixture(scope="module")
def cluster():
    folder = tempfile.mkdtemp(prefix="ray")  # names of sockets must be short
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Cluster(stack, folder)


def hashlab(*words):
    return [sys.executable, "-m", "hashlab.cli", *map(str, words)]


GRID = """
title = "Some runs"
dataset = "digits"
bits = [8, 12, 16]
seeds = [0, 1]

[[rows]]
method = "dpsh"
settings = { epochs = 2 }

[[rows]]
method = "lsh"
"""


@pytest.fixture
def written(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return tmp_path / "grid.toml"


def wait_for_a_run(driver):
    """Read what it says of one; before that Ray may say there that a machine has gone."""
    assert any(": mAP" in line for line in driver.stdout)


def codes_of(root):
    return {
        record.path.name: record.path.with_suffix(".npz").read_bytes()
        for record in records.load(root)
    }


def test_a_grid_loses_workers_a_node_and_its_driver_and_nothing_else(cluster, written, tmp_path):
    words = hashlab("grid", written, "--root", tmp_path / "r", "--on", "ray")
    how = {"env": cluster.environment}
    with started(words, stdout=subprocess.PIPE, **how) as driver:
        for harm in (cluster.kill_a_worker, cluster.kill_a_worker, cluster.lose_a_node):
            wait_for_a_run(driver)
            harm()
        wait_for_a_run(driver)
        assert driver.poll() is None
        driver.kill()
    done = run(*words, **how)
    assert (done.returncode, done.stderr) == (0, "")
    local = tmp_path / "local"
    list(grid.Worker(grid.read(written), local, "cpu").work())
    assert codes_of(tmp_path / "r") == codes_of(local) and len(codes_of(local)) == 12
    assert all(records.verify(record) == [] for record in records.load(tmp_path / "r"))
    assert snapshot(tmp_path / "r").keys() == snapshot(local).keys()  # nothing is left over


@pytest.fixture(scope="module")
def model(tmp_path_factory, digits):
    method = methods.create("itq", 12).fit(digits.train)
    return method.save(tmp_path_factory.mktemp("models") / "model")


def test_an_encoding_loses_workers_a_node_and_its_driver_and_nothing_else(
    cluster, model, digits, tmp_path
):
    if cluster.nodes[-1].poll() is not None:
        cluster.renew()
    images = many(draw(tmp_path / "images", digits), 80)
    words = hashlab("encode", model, images, "--shard", 256, "-o", tmp_path / "s", "--on", "ray")
    how = {"env": cluster.environment}

    def done(count):
        return lambda: len(list((tmp_path / "s").glob("shard-*"))) >= count

    with started(words, **how) as driver:
        for number, harm in enumerate((cluster.kill_a_worker, cluster.lose_a_node, driver.kill)):
            wait_until(done(1 + number), "a shard")
            harm()
    again = run(*words, **how)
    assert again.returncode == 0 and "3120 images, 12 bits each; 80 skipped" in again.stdout
    shards.encode(model, [images], tmp_path / "whole", size=256, device="cpu")
    assert state(tmp_path / "s") == state(tmp_path / "whole")
    assert len(state(tmp_path / "s")) == 14


LONG = """
title = "A long run"
dataset = "digits"
bits = [8]
rows = [{ method = "csq", settings = { epochs = 100000 } }]
"""


OFTEN = """
import time

from hashlab.training.checkpoints import Checkpoints

# every minute takes too long here
Checkpoints.due = lambda self: time.monotonic() - self.written >= 0.1
"""


def test_a_run_goes_on_from_its_checkpoint_and_is_saved_when_it_is_interrupted(cluster, tmp_path):
    (tmp_path / "grid.toml").write_text(LONG)
    (tmp_path / "often.py").write_text(OFTEN)
    words = hashlab("grid", tmp_path / "grid.toml", "--root", tmp_path / "r", "--on", "ray")
    words += ["--import", tmp_path / "often.py"]

    def steps():
        folder = tmp_path / "r" / ".checkpoints"
        return sorted(path.name for path in folder.rglob("*.safetensors"))

    with started(words, env=cluster.environment, stderr=subprocess.PIPE) as driver:
        before = wait_until(steps, "a checkpoint")
        cluster.kill_a_worker()
        later = wait_until(lambda: [step for step in steps() if step > before[-1]], "a later one")
        assert not any(step < before[0] for step in steps())  # none of a run that began anew
        driver.send_signal(signal.SIGINT)
        said = driver.communicate()[1]
    assert (driver.returncode, said) == (1, "hashlab: interrupted; nothing half-done was kept\n")
    assert steps()[-1] >= later[-1] and records.load(tmp_path / "r") == []


def test_records_come_back_through_an_address_from_a_folder_that_is_not_shared(cluster, tmp_path):
    (tmp_path / "grid.toml").write_text(LONG.replace("100000", "0").replace("csq", "dpsh"))
    address = f"ray://127.0.0.1:{cluster.client_port}"
    words = ["--root", tmp_path / "r", "--on", address, "--shared", "none"]
    done = run(*hashlab("grid", tmp_path / "grid.toml", *words), env=cluster.environment)
    assert (done.returncode, done.stderr) == (0, "")
    (record,) = records.load(tmp_path / "r")
    assert records.verify(record) == []
    local = grid.Worker(grid.read(tmp_path / "grid.toml"), tmp_path / "local", "cpu")
    list(local.work())
    assert codes_of(tmp_path / "r") == codes_of(tmp_path / "local")


def test_a_share_that_no_machine_has_is_named_before_any_work(cluster, written, tmp_path):
    for words, message in (
        (["--device", "cuda"], "--device cuda needs GPUs: none of the"),
        (["--cpus", "64"], "a task takes 64 CPUs: no machine of the cluster has them, 1 CPUs at"),
    ):
        place = ["--root", tmp_path / "r", "--on", "ray", *words]
        done = run(*hashlab("grid", written, *place), env=cluster.environment)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    assert not list((tmp_path / "r").rglob("*.json"))
