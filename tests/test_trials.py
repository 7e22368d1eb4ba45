"""Commands that write: killed at any change of a file, or started several times at once,
they end as if alone.
"""

import json
import os
from pathlib import Path

import pytest
from processes import python

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).with_name("trials.py")
COMMANDS = (
    "run",
    "run with checkpoints",
    "run --save-model",
    "run --save-model again",
    "grid",
    "compact",
    "encode",
    "encode --on",
    "index",
    "index again",
    "index --shards",
    "export",
    "data fetch, by hand",
    "data fetch",
    "data add",
    "data add, of arrays",
    "data remove",
    "cache.write",
    "evaluate --pr",
    "evaluate --pn --csv",
    "convert",
    "build.py results",
    "build.py explorer",
)


@pytest.fixture(scope="module")
def trials(tmp_path_factory, campaign):
    """What came of each command: two moments and one trial,
    every moment and fifty trials in the long form.
    """
    much = ("0", "50", "4") if campaign else ("2", "1", "2")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HASHLAB_PROGRESS": "0"}
    done = python(SCRIPT, tmp_path_factory.mktemp("trials"), *much, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["killed", "at once"])
def test_it_ends_as_if_nothing_had_happened(kind, command, trials, count):
    """After another run all files have the bytes they would have had, none is left over,
    none was ever half written.
    """
    found = trials[command][kind]
    count(f"{command}, {kind}", found["tried"], found["tried"] - len(found["failed"]))
    assert found["failed"] == [] and found["tried"] >= (2 if kind == "killed" else 1)


def test_every_command_is_tried(trials):
    assert set(trials) == set(COMMANDS)
