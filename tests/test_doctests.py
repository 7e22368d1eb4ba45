"""The examples in docstrings print what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

import hashlab

HOME = Path(hashlab.__file__).parent
PROMPT = re.compile(r"^\s+>>> ", re.MULTILINE)
FILES = [file for file in sorted(HOME.rglob("*.py")) if PROMPT.search(file.read_text("utf-8"))]
NAMES = [".".join(["hashlab", *file.relative_to(HOME).with_suffix("").parts]) for file in FILES]


def examples(name):
    """The docstrings of a module that have examples."""
    module = importlib.import_module(name.removesuffix(".__init__"))
    found = doctest.DocTestFinder().find(module, name)
    return [each for each in found if each.examples]


@pytest.mark.parametrize("name", NAMES)
def test_examples_print_what_they_say(name, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = sum(map(doctest.OPTIONFLAGS_BY_NAME.get, request.config.getini("doctest_optionflags")))
    assert examples(name)
    for each in examples(name):
        said = []
        result = doctest.DocTestRunner(optionflags=flags).run(each, out=said.append)
        assert result.failed == 0, "".join(said)


def test_there_are_examples():
    assert len(NAMES) >= 20
