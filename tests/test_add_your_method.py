"""The page Add your method, word for word: its files, commands and scripts, in an empty folder."""

import contextlib
import io
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from hashlab import methods, records
from hashlab.cli import main

PAGE = Path(__file__).resolve().parents[1] / "book" / "add_your_method.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUICK = {"epochs = 20": "epochs = 1", "[0.03, 0.1, 0.3]": "[0.1]"}  # enough to see that all runs


def blocks():
    """(name of the file or None, language, text) of each block on the page."""
    text = PAGE.read_text(encoding="utf-8")
    end = 0
    for block in BLOCK.finditer(text):
        named = re.search(r"Save this as `([\w.]+)`[^`]*\Z", text[end : block.start()])
        yield named and named[1], block[1], block[2]
        end = block.end()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder where one works, in a process to which no method of one's own is known."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    forget(monkeypatch)
    yield tmp_path
    forget(monkeypatch)


def forget(monkeypatch):
    """Nothing is known of what was imported before, as in a new process."""
    monkeypatch.setattr(methods, "REGISTERED", {})
    sys.modules.pop("mine", None)


def follow(line, folder, monkeypatch):
    """Do what a line of the shell says."""
    forget(monkeypatch)
    words = shlex.split(line.split("  #")[0])
    if words[0] == "export":
        name, _, value = words[1].partition("=")
        monkeypatch.setenv(name, value.replace("$PWD", str(folder)))
    elif words[0] == "hashlab":
        assert main(words[1:]) == 0, line
    else:
        assert words[:3] == ["python", "-m", "pytest"], line
        tests = runpy.run_path(words[3])
        for name in [name for name in tests if name.startswith("test_")]:
            tests[name]()


def test_the_page_is_done_word_for_word(folder, monkeypatch, capsys):
    printed = io.StringIO()
    for name, language, text in blocks():
        if name:
            for long, short in QUICK.items():
                text = text.replace(long, short)
            (folder / name).write_text(text)
        elif language == "sh":
            for line in text.splitlines():
                follow(line, folder, monkeypatch)
        else:
            assert language == "python"
            forget(monkeypatch)
            with contextlib.redirect_stdout(printed):
                exec(compile(text, str(PAGE), "exec"), {})
    assert sorted(path.name for path in folder.glob("*.*")) == [
        "mine.py",
        "mine.toml",
        "test_mine.py",
    ]
    assert len((folder / "mine.py").read_text().splitlines()) <= 50
    kept = records.load(protocol="digits", bits=16)
    assert {record.method for record in kept} == {"mine", "dpsh", "csq", "itq"}
    assert all(record.path.is_relative_to(folder) for record in kept)
    assert (
        max(record.map for record in kept if record.method == "mine") > 0.2
    )  # ten classes: it learns
    assert re.findall(r"^mine - (\w+): [+-]0\.\d{3}, from", printed.getvalue(), re.MULTILINE) == [
        "dpsh",
        "csq",
        "itq",
    ]
    assert "margin=2.0" in capsys.readouterr().out  # of `hashlab methods`


def test_the_file_is_imported_only_where_it_is_named(folder, capsys, monkeypatch):
    monkeypatch.setenv("HASHLAB_RESULTS", str(folder / "results"))
    (code,) = [text for name, _, text in blocks() if name == "mine.py"]
    (folder / "mine.py").write_text(code)
    words = ["run", "mine", "digits", "--bits", "12", "--set", "epochs=1", "margin=0.5"]
    assert main(words) == 2 and "unknown method 'mine'" in capsys.readouterr().err
    assert main([*words, "--save-model", "model", "--import", "mine.py"]) == 0
    (record,) = records.load()
    assert record.config["margin"] == 0.5 and record.method == "mine"
    assert methods.load("model").classes == tuple("0123456789")
