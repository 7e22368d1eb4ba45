"""Notebooks on Colab, on Kaggle, and alone in a folder: their first cell brings all that they need."""

import asyncio
import copy
import importlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient
from processes import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
build = importlib.import_module("build")

ADDRESS = "https://github.com/someone/their-book"
VARIABLES = ("HASHLAB_RESULTS", "HASHLAB_DATA", "HASHLAB_EXPERIMENTS")
SOURCES = build.sources()
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)


@each_source
def test_setup_cell_comes_first_and_only_with_an_address(source):
    plain, published = build.convert(source), build.convert(source, ADDRESS)
    assert "google.colab" not in "".join(cell.source for cell in plain.cells)
    assert [cell.source for cell in published.cells[1:]] == [cell.source for cell in plain.cells]
    assert published.cells[0].source == build.setup_cell(ADDRESS, source.stem).source
    nbformat.validate(published)


def test_setup_cell_says_how_long_a_chapter_takes():
    chapter = next(iter(build.measured()))
    assert " s on two CPU cores" in build.setup_cell(ADDRESS, chapter).source
    assert "CPU" not in build.setup_cell(ADDRESS, "99_unheard_of").source


def test_seconds_change_only_when_a_chapter_does(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "SECONDS", tmp_path / "seconds.json")
    for seconds, kept in [(10.2, 10), (15, 10), (6, 10), (21, 21), (5, 5)]:
        build.note("01_made", seconds)
        assert build.measured() == {"01_made": kept}


def run_cell(monkeypatch, tmp_path, times=1):
    """The commands that the cell calls; `git clone` makes its folder."""
    commands = []

    def called(command, check):
        assert check
        commands.append(command)
        if command[0] == "git":
            os.makedirs(command[-1])

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "as it was")
    for _ in range(times):
        exec(compile(build.setup_cell(ADDRESS, "01_made").source, "cell", "exec"), {})
    return commands


def test_setup_cell_does_nothing_in_a_checkout(monkeypatch, tmp_path):
    assert run_cell(monkeypatch, tmp_path) == []
    assert {os.environ[variable] for variable in VARIABLES} == {"as it was"}


@pytest.mark.parametrize("host", ["colab", "kaggle", "asked for"])
def test_setup_cell_fetches_and_installs_the_book_once(monkeypatch, tmp_path, host):
    if host == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    else:
        name = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "asked for": "HASHLAB_SETUP"}[host]
        monkeypatch.setenv(name, "1")
    half = tmp_path / "their-book.part" / "half-done"  # of a fetch that was cut off
    half.mkdir(parents=True)
    clone, *installs = run_cell(monkeypatch, tmp_path, times=3)
    assert clone[:2] == ["git", "clone"] and "--depth" in clone and ADDRESS in clone
    assert not half.exists()
    book = tmp_path / "their-book"
    assert {tuple(install[-2:]) for install in installs} == {("--quiet", f"{book}[search]")}
    assert os.environ["HASHLAB_RESULTS"] == str(book / "results")
    assert os.environ["HASHLAB_DATA"] == str(book / "data" / "cache")


# ---- for real: from a clone of this checkout, in an environment that does not have the package


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A git repository of what stands here, as a reader would find it at its address."""
    home = tmp_path_factory.mktemp("published") / "their-book"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = run(*listed, cwd=ROOT).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(ROOT / name, home / name)
    who = ["-c", "user.name=reader", "-c", "user.email=reader@example.org"]
    for words in (["init", "-q"], ["add", "-A", "-f"], [*who, "commit", "-q", "-m", "the book"]):
        assert run("git", *words, cwd=home).returncode == 0
    return f"file://{home}"


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """The Python of an environment with what Colab ships, `google.colab` among it, without hashlab."""
    home = tmp_path_factory.mktemp("host") / "env"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/*/site-packages")
    (here,) = (path for path in sys.path if path.endswith("site-packages"))
    (site / "shipped.pth").write_text(f"{here}\nimport google.colab\n")
    colab = site / "google" / "colab"
    colab.mkdir(parents=True)
    (colab / "__init__.py").write_text("")
    return home / "bin" / "python"


def notebooks(campaign):
    """All chapters in the long form; else those that read records and reported figures."""
    return SOURCES if campaign else [source for source in SOURCES if source.stem.startswith("06b")]


def test_notebooks_run_alone_in_an_empty_folder_twice(
    published, host, tmp_path, campaign, count, monkeypatch
):
    for variable in (*VARIABLES, "PYTHONPATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "1")
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    chosen = notebooks(campaign)
    for source in chosen:
        notebook = build.convert(source, published)
        again = nbformat.v4.new_code_cell(notebook.cells[0].source)
        notebook.cells.insert(1, again)  # the first cell, run twice
        notebook.cells.append(nbformat.v4.new_code_cell("import hashlab\nprint(hashlab.__file__)"))
        for _ in range(2):
            done = executed(notebook, host, tmp_path)
            where = done.cells[-1].outputs[0].text.strip()
            assert Path(where).is_relative_to(host.parents[1])  # not this checkout's
    count("notebooks alone", len(chosen), len(chosen))


def executed(notebook, python, folder):
    """The notebook as run by this Python in a folder; raises where a cell fails."""
    manager = build.this_kernel()
    manager._kernel_spec.argv[0] = str(python)
    client = NotebookClient(
        copy.deepcopy(notebook),
        km=manager,
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
    )
    return asyncio.run(client.async_execute(cleanup_kc=True, stderr=subprocess.DEVNULL))


def test_the_clone_is_all_that_is_left_behind(published, host, tmp_path):
    """What the cell leaves in the reader's folder has the book's name."""
    assert shutil.which("git")
    cell = build.setup_cell(published, "01_made").source.replace("[search]", "")
    environment = {**os.environ, "PIP_NO_BUILD_ISOLATION": "1", "PIP_NO_DEPS": "1"}
    done = run(host, "-c", cell, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["their-book"]
