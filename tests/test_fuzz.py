"""Whatever becomes of a file: it is refused in one sentence, or gives what the sound one gives;
in bounded time.
"""

import json
import os
from pathlib import Path

import pytest
from processes import python

pytestmark = pytest.mark.process

SCRIPT = Path(__file__).with_name("fuzz.py")
FORMATS = (
    "record",
    "model",
    "model, signed",
    "checkpoint",
    "codes",
    "codes of others",
    "lists",
    "bird lists",
    "word lists",
    "cache by hand",
    "cache",
    "own set",
    "own list",
    "own arrays",
    "pictures",
    "shards",
    "weights",
    "index",
    "shards to load",
    "index, signed",
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory, campaign):
    """What came of 15 cases of each format, or of 2,000 in the long form."""
    folder = tmp_path_factory.mktemp("fuzz")
    cases = str(len(FORMATS) * (2000 if campaign else 15))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HASHLAB_PROGRESS": "0"}
    done = python(SCRIPT, folder, cases, "0", env=environment)
    last = sorted(folder.glob("*/current"), key=lambda file: file.stat().st_mtime)[-1:]
    assert done.returncode == 0, [done.stderr[-2000:], *(file.read_text() for file in last)]
    return json.loads(done.stdout)


@pytest.mark.parametrize("form", FORMATS)
def test_harmed_files_are_refused_or_read_as_if_sound(form, cases, count):
    found = cases[form]
    count(f"harmed files, {form}", found["tried"], found["tried"] - len(found["failed"]))
    assert found["failed"] == [] and found["tried"] >= 15


def test_every_format_is_harmed(cases):
    assert set(cases) == set(FORMATS)
