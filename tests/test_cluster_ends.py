"""The head of a Ray cluster dies in the middle of a grid: a sentence says so, what is done is kept,
and a second start goes on.

In the long form (HASHLAB_CAMPAIGN=1) workers, a node, the driver and the head are killed at ten
random moments of a grid, and at ten of an encoding. Afterwards there are the bytes that one process
makes. Leave these tests out with `-m "not cluster"`.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from functools import partial

import pytest
from processes import kill, run, started, wait_until
from test_cluster import GRID, Cluster, codes_of, hashlab
from test_scale import draw, many, state

from hashlab import grid, methods, records
from hashlab.scale import shards

pytestmark = pytest.mark.cluster

KILLS = 10
LONGEST = 12  # seconds between two of them
CAMPAIGN = os.environ.get("HASHLAB_CAMPAIGN") == "1"


class Head(Cluster):
    """One that is alone."""

    def renew(self):
        pass


@pytest.fixture
def begin():
    """Starts a cluster, which ends with the test."""
    with contextlib.ExitStack() as stack:

        def new(kind):
            folder = tempfile.mkdtemp(prefix="ray")  # names of sockets must be short
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            return kind(stack, folder)

        yield new


class Grid:
    """Runs, and what one process makes of them."""

    def __init__(self, folder, digits):
        (folder / "grid.toml").write_text(
            GRID if not CAMPAIGN else GRID.replace("1]", "1, 2, 3, 4]")
        )
        self.folder = folder
        self.words = hashlab("grid", folder / "grid.toml", "--root", folder / "r", "--on", "ray")

    def begun(self):
        return list(self.folder.rglob("r/digits/*.json"))

    def check(self):
        rows = grid.read(self.folder / "grid.toml")
        list(grid.Worker(rows, self.folder / "local", "cpu").work())
        assert codes_of(self.folder / "r") == codes_of(self.folder / "local")
        assert all(records.verify(record) == [] for record in records.load(self.folder / "r"))


class Encoding:
    """Images, and the shards that one process makes of them."""

    def __init__(self, folder, digits):
        self.folder = folder
        self.model = methods.create("itq", 12).fit(digits.train).save(folder / "model")
        self.images = many(draw(folder / "images", digits), 400)
        words = ["encode", self.model, self.images, "--shard", 256, "-o", folder / "s"]
        self.words = hashlab(*words, "--on", "ray")

    def begun(self):
        return list(self.folder.rglob("s/shard-*"))

    def check(self):
        whole = self.folder / "whole"
        shards.encode(self.model, [self.images], whole, size=256, device="cpu")
        assert state(self.folder / "s") == state(whole)


def harm(kind, cluster, driver):
    """Kill one of a kind, as it is now."""
    if kind == "worker":
        for pid in cluster.workers()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    elif kind == "node":
        cluster.lose_a_node()
        cluster.renew()
    else:
        victim = {"driver": driver, "head": cluster.nodes[0]}[kind]
        kill(victim)
        if kind == "driver":
            victim.communicate()  # the head, killed next, is none of its business


def check_sentence(driver):
    """One that says what has gone, or is not there; nothing else of ours.

    At a random moment Ray may be about to connect: then it ends the process itself, with 1.
    """
    said = [line for line in driver.communicate()[1].splitlines() if line.startswith("hashlab: ")]
    if CAMPAIGN and driver.returncode == 1 and not said:
        return
    assert driver.returncode == 2 and len(said) == 1, said
    known = (", has gone; ", "does not answer", "no Ray cluster", "the cluster began nothing")
    assert any(words in said[0] for words in known)


def moments(job):
    """Kinds of kills, and what is waited for before each of them."""
    if not CAMPAIGN:
        yield "head", lambda: wait_until(job.begun, "a result")
        return
    chance = random.Random(type(job).__name__)
    for number in range(KILLS):
        kind = ("head", "worker", "node", "driver")[
            number % 4 if number < 4 else chance.randrange(4)
        ]
        seconds = LONGEST * chance.random()
        yield kind, partial(time.sleep, seconds)


@pytest.mark.parametrize("kind", [Grid, Encoding] if CAMPAIGN else [Grid])
def test_whatever_is_killed_and_whenever_nothing_is_lost(kind, begin, digits, tmp_path, count):
    job, size = kind(tmp_path, digits), Cluster if CAMPAIGN else Head
    cluster, driver, tried = begin(size), None, 0
    with contextlib.ExitStack() as stack:
        for victim, wait in moments(job):
            if driver is None or driver.poll() is not None:
                how = {"env": cluster.environment, "stderr": subprocess.PIPE}
                driver = stack.enter_context(started(job.words, **how))
            wait()
            tried += driver.poll() is None  # or everything is done
            harm(victim, cluster, driver)
            if victim == "head":
                check_sentence(driver)
                cluster = begin(size) if CAMPAIGN else None
        if driver.poll() is None:
            driver.communicate()
    # one machine goes on with what a cluster has left, and that costs no second cluster
    again = (job.words, cluster.environment) if cluster else ([*job.words[:-1], "local"], None)
    done = run(*again[0], env=again[1])
    assert done.returncode == 0, done.stderr
    job.check()
    count(f"kills of a cluster during {kind.__name__.lower()}", tried, tried)
