"""hashlab ships its types: a strict type checker takes what people write with it, and finds slips.

Scripts are checked, hashlab itself is not.
"""

import os
import re
from pathlib import Path

import pytest
from processes import python

import hashlab

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
SCRIPT, MISTAKES = TESTS / "user_script.py", TESTS / "user_mistakes.py"
PAGES = [ROOT / "README.md", ROOT / "book" / "machines.md"]
TEXTS = "".join(page.read_text() for page in PAGES)
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXTS, re.DOTALL)
COMPLAINT = re.compile(r"^(?:.*/)?([\w.-]+):(\d+): error: (.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """What mypy says, by file: {line: words}; it is asked once, and keeps what it has read."""
    folder = tmp_path_factory.mktemp("scripts")
    rooms = "".join(f"print(hashlab.{room}.__name__)\n" for room in hashlab.__all__)
    texts = {f"readme_{number}.py": text for number, text in enumerate(EXAMPLES)}
    for name, text in (texts | {"rooms.py": f"import hashlab\n\n{rooms}"}).items():
        (folder / name).write_text(text)
    kept = ["--config-file", TESTS / "mypy.ini", "--cache-dir", ROOT / ".mypy_cache"]
    scripts = [SCRIPT, MISTAKES, *sorted(folder.iterdir())]
    done = python("-m", "mypy", "--no-pretty", *kept, *scripts, cwd=folder, env=environment())
    assert done.returncode in (0, 1) and "checked" in done.stdout, done.stdout + done.stderr
    by_file: dict[str, dict[int, str]] = {script.name: {} for script in scripts}
    errors = COMPLAINT.findall(done.stdout)
    assert len(errors) == done.stdout.count(": error: ")
    for name, line, words in errors:
        by_file[name][int(line)] = words
    return by_file


def environment():
    return os.environ | {"MYPYPATH": str(Path(hashlab.__file__).parents[1])}


def test_what_people_write_is_taken(complaints):
    assert complaints[SCRIPT.name] == {}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_readme_are_taken(complaints, number):
    assert complaints[f"readme_{number}.py"] == {}


def test_every_room_is_seen(complaints):
    assert complaints["rooms.py"] == {}


def test_slips_are_found(complaints):
    """So nothing is of any type, which would take everything."""
    lines = enumerate(MISTAKES.read_text().splitlines(), 1)
    slips = {number for number, line in lines if line.endswith("# slip")}
    assert len(slips) > 10 and set(complaints[MISTAKES.name]) == slips
