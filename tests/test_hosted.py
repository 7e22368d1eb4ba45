"""Notebooks on Colab, on Kaggle, and alone in a folder: their first cell brings all that they need."""

import asyncio
import copy
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from processes import run

from hashlab.chapters import around
from hashlab.data import sets

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
    monkeypatch.setattr(build, "GPU_SECONDS", tmp_path / "seconds.json")
    for seconds, kept in [(10.2, 10), (15, 10), (6, 10), (21, 21), (5, 5)]:
        build.note("01_made", seconds)
        assert build.measured() == {"01_made": kept}


@pytest.mark.parametrize("gpu", [False, True])
def test_seconds_are_renewed_without_a_change_of_the_notebook(monkeypatch, tmp_path, capsys, gpu):
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    for name in ("SECONDS", "GPU_SECONDS"):
        monkeypatch.setattr(build, name, tmp_path / f"{name}.json")
    source = tmp_path / "01_made.py"
    monkeypatch.setattr(build, "sources", lambda: [source])

    async def executed(one, address):
        assert one == source
        return None, 25.0

    monkeypatch.setattr(build, "executed", executed)
    file = tmp_path / ("GPU_SECONDS.json" if gpu else "SECONDS.json")
    file.write_text('{"01_made": 20}')  # near enough for a notebook that is executed again
    assert build.seconds(["01_made"]) == 0
    assert capsys.readouterr().out == "01_made: 25 s\n"
    where = "with a GPU" if gpu else "on two CPU cores"
    assert f"takes about 30 s {where}." in build.setup_cell(ADDRESS, "01_made").source
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert build.seconds(["02_unheard_of"]) == 2


@pytest.mark.parametrize("known", [{}, {"01_made": 100}, {"01_made": 4, "02_other": 3}])
def test_a_published_notebook_says_the_seconds_that_its_execution_took(
    monkeypatch, tmp_path, known
):
    """A notebook executed just now is in step with its source, though what it says of seconds is new."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(build, "SECONDS", tmp_path / "seconds.json")
    build.SECONDS.write_text(json.dumps(known))
    source = tmp_path / "01_made.py"
    source.write_text("# %%\n1 + 1\n")

    async def executed(one, address):
        notebook = build.convert(one, address)
        for cell in notebook.cells:
            cell.execution_count = 1
        return notebook, 25.0

    monkeypatch.setattr(build, "executed", executed)
    asyncio.run(build.execute(source, ADDRESS))
    assert build.measured() == known | {"01_made": 25}
    assert build.out_of_step(source, ADDRESS) == []
    assert "about 30 s on" in nbformat.read(tmp_path / "01_made.ipynb", 4).cells[0].source
    asyncio.run(build.execute(source, None))
    assert build.out_of_step(source) == []


def run_cell(monkeypatch, tmp_path, times=1, installed=False, data="as it was"):
    """The commands that the cell calls; `git clone` makes its folder, pip the package."""
    commands = []

    def called(command, check):
        assert check
        commands.append(command)
        if command[0] == "git":
            os.makedirs(command[-1])

    def spec(name):
        return SimpleNamespace(origin="hashlab/__init__.py") if installed else None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setattr("importlib.util.find_spec", spec)
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "as it was")
    monkeypatch.setenv("HASHLAB_DATA", data)
    if not data:
        monkeypatch.delenv("HASHLAB_DATA")
    for _ in range(times):
        exec(compile(build.setup_cell(ADDRESS, "01_made").source, "cell", "exec"), {})
    return commands


def test_setup_cell_does_nothing_in_a_checkout(monkeypatch, tmp_path, capsys):
    assert run_cell(monkeypatch, tmp_path, installed=True) == []
    assert {os.environ[variable] for variable in VARIABLES} == {"as it was"}
    assert capsys.readouterr() == ("", "")


def test_setup_cell_says_that_the_package_is_missing(monkeypatch, tmp_path):
    with pytest.raises(RuntimeError, match=r"^The package hashlab is not .*HASHLAB_SETUP=1.*\.$"):
        run_cell(monkeypatch, tmp_path)


def test_setup_cell_leaves_data_sets_where_their_owner_has_them(monkeypatch, tmp_path):
    monkeypatch.setenv("HASHLAB_SETUP", "1")
    run_cell(monkeypatch, tmp_path, data=str(tmp_path / "mine"))
    assert os.environ["HASHLAB_DATA"] == str(tmp_path / "mine")


@pytest.mark.parametrize("host", ["colab", "kaggle", "asked for"])
def test_setup_cell_fetches_and_installs_the_book_once(monkeypatch, tmp_path, host, capsys):
    if host == "colab":
        monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    else:
        name = {"kaggle": "KAGGLE_KERNEL_RUN_TYPE", "asked for": "HASHLAB_SETUP"}[host]
        monkeypatch.setenv(name, "1")
    half = tmp_path / "their-book.part" / "half-done"  # of a fetch that was cut off
    half.mkdir(parents=True)
    clone, *installs = run_cell(monkeypatch, tmp_path, times=3, data="")
    assert clone[:2] == ["git", "clone"] and "--depth" in clone and ADDRESS in clone
    assert not half.exists()
    book = tmp_path / "their-book"
    assert {tuple(install[-2:]) for install in installs} == {("--quiet", f"{book}[search]")}
    assert os.environ["HASHLAB_RESULTS"] == str(book / "results")
    assert os.environ["HASHLAB_DATA"] == str(book / "data" / "cache")
    assert "Not in the cache: " in capsys.readouterr().out


# ---- what is missing


@pytest.mark.parametrize(
    "broken", ["no git", "no network", "no network for pip", "a folder that cannot be written"]
)
def test_setup_cell_says_in_a_sentence_why_nothing_came(monkeypatch, tmp_path, broken):
    monkeypatch.setenv("HASHLAB_SETUP", "1")
    cell = build.setup_cell(ADDRESS, "01_made").source

    def called(command, check):
        if broken == "no git":
            raise FileNotFoundError("git")
        if broken == "no network" or command[0] != "git":
            raise subprocess.CalledProcessError(1, command)
        os.makedirs(command[-1])

    def sealed(*paths):
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", called)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    if broken == "a folder that cannot be written":
        monkeypatch.setattr(os, "rename", sealed)
    with pytest.raises(
        RuntimeError, match=r"^The book and its package could not [^.]*\.$"
    ) as error:
        exec(compile(cell, "cell", "exec"), {})
    assert {"git", "a network", "can be written", "can be read"} <= set(
        re.findall("git|a network|can be written|can be read", str(error.value))
    )


@pytest.fixture
def complete(monkeypatch, tmp_path):
    """Everything is there: a GPU, all data sets, a folder that can be written."""
    for name in sets.names():
        (tmp_path / "cache" / name).mkdir(parents=True)
    monkeypatch.setenv("HASHLAB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    return tmp_path


def test_nothing_is_said_where_nothing_is_missing(complete, capsys):
    around.say()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "version, old",
    [("1.13.1", True), ("2.9.1+cu126", True), ("2.11", False), ("10.0a1", False), (None, True)],
)
def test_an_old_torch_is_told(complete, monkeypatch, version, old):
    real = metadata.version

    def versions(name):
        if name == "torch" and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2.11", "torchvision>=0.1"])
    monkeypatch.setattr(metadata, "version", versions)
    monkeypatch.setattr("torch.cuda.is_available", lambda: 1 / 0 if old else True)  # is not asked
    sentences = list(around.missing())
    assert [("torch 2.11" in line, "can be read" in line) for line in sentences] == [
        (True, True)
    ] * old


def test_what_this_project_asks_of_torch_is_known_to_the_sentence(monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    monkeypatch.setattr(metadata, "requires", lambda name: project["dependencies"])
    monkeypatch.setattr(metadata, "version", lambda name: "0.0.1")
    assert [line.split()[2] for line in around.too_old()] == list(around.COMPARED)


def test_no_gpu_is_told(complete, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (sentence,) = around.missing()
    assert "no GPU" in sentence and "processor" in sentence


def test_data_sets_that_are_missing_are_named(complete):
    (complete / "cache" / "mnist").rmdir()
    (sentence,) = around.missing()
    assert "Not in the cache: mnist;" in sentence and "embedded digits" in sentence


def test_a_cache_that_cannot_be_written_is_told(complete, monkeypatch):
    def sealed(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("hashlab.files.tempfile.TemporaryFile", sealed)
    (sentence,) = around.missing()
    assert "Permission denied" in sentence and "everything else works" in sentence


def test_sources_that_are_not_installed_are_no_old_version(monkeypatch):
    def unknown(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)
    assert list(around.too_old()) == []


# ---- Binder


def test_binder_names_the_versions_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["search"]]
    wanted = {re.sub(r"^torch>", "pytorch>", line).replace(">=", " >=") for line in wanted}
    listed = set(yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"])
    (python,) = (line for line in listed if line.startswith("python "))
    assert listed - wanted == {python, "pip", "setuptools >=77"} and wanted <= listed
    # repo2docker looks for one version, written with an equals sign
    minor = int(re.fullmatch(r"python =3\.(\d+)", python)[1])
    least, beyond = map(
        int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    )
    assert least <= minor < beyond


@pytest.mark.process
def test_what_binder_runs_installs_the_package_and_asks_nobody(tmp_path):
    script = ROOT / "binder" / "postBuild"
    assert os.access(script, os.X_OK) and script.read_text().startswith("#!")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "src" / "hashlab").mkdir(parents=True)
    (tmp_path / "src" / "hashlab" / "__init__.py").touch()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PIP_DRY_RUN": "1", "PIP_NO_INDEX": "1"}
    done = run(script, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


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
    quick = ["config", "core.compression", "0"]
    for words in (
        ["init", "-q"],
        quick,
        ["add", "-A", "-f"],
        [*who, "commit", "-q", "-m", "the book"],
    ):
        assert run("git", *words, cwd=home).returncode == 0
    return f"file://{home}"


CAMPAIGN = os.environ.get("HASHLAB_CAMPAIGN") == "1"
ALONE = {"PIP_NO_BUILD_ISOLATION": "1", "PIP_NO_DEPS": "1"}  # nothing of other hosts is fetched


def imitate_colab(home):
    """Have an environment import `google.colab` where IMITATE_COLAB is set; returns its packages."""
    (site,) = home.glob("lib/*/site-packages")
    colab = site / "google" / "colab"
    colab.mkdir(parents=True)
    (colab / "__init__.py").write_text("")
    imitated = "import os; os.environ.get('IMITATE_COLAB') and __import__('google.colab')"
    (site / "imitated.pth").write_text(f"{imitated}\n")
    return site


@pytest.fixture(scope="module")
def new_host(tmp_path_factory):
    """`new_host()`: the Python of a new environment with what Colab ships, without hashlab.
    What it ships is borrowed from this environment; `fresh_hosts.py` borrows nothing.
    """

    def made():
        home = tmp_path_factory.mktemp("host") / "env"
        venv.create(home, with_pip=False, symlinks=True)
        (here,) = (path for path in sys.path if path.endswith("site-packages"))
        (imitate_colab(home) / "shipped.pth").write_text(f"{here}\n")
        return home / "bin" / "python"

    return made


@pytest.fixture(scope="module")
def host(new_host):
    return new_host()


@pytest.fixture
def bare(monkeypatch):
    """An environment in which nothing leads to this checkout."""
    for variable in (*VARIABLES, "PYTHONPATH"):
        monkeypatch.delenv(variable, raising=False)
    for name, value in ALONE.items():
        monkeypatch.setenv(name, value)


# All chapters in the long form; else one that reads records and reported figures.
ALONE_TRIED = SOURCES if CAMPAIGN else [path for path in SOURCES if path.stem.startswith("10b")]


@pytest.mark.process
@pytest.mark.parametrize("source", ALONE_TRIED, ids=lambda path: path.stem)
def test_a_notebook_runs_alone_in_an_empty_folder_twice(
    published, host, tmp_path, count, monkeypatch, bare, source
):
    monkeypatch.setenv("IMITATE_COLAB", "1")
    notebook = build.convert(source, published)
    again = nbformat.v4.new_code_cell(notebook.cells[0].source)
    notebook.cells.insert(1, again)  # the first cell, run twice
    ask = "import hashlab; from hashlab import records; print(hashlab.__file__, records.root())"
    notebook.cells.append(nbformat.v4.new_code_cell(ask))
    for _ in range(2):
        done = executed(notebook, host, tmp_path)
        package, results = done.cells[-1].outputs[0].text.split()
        assert Path(package).is_relative_to(host.parents[1])  # not this checkout's
        assert Path(results) == tmp_path / "their-book" / "results"
        assert [path.name for path in tmp_path.iterdir()] == ["their-book"]
        if not CAMPAIGN:  # the second start finds what the first has brought
            notebook.cells = [*notebook.cells[:2], notebook.cells[-1]]
    count(f"{source.stem} alone", 2, 2)


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


def test_elsewhere_the_set_up_fetches_nothing(published, new_host, tmp_path, bare):
    cell = build.setup_cell(published, "01_made").source
    done = run(new_host(), "-c", cell, cwd=tmp_path)
    assert done.returncode == 1 and "The package hashlab is not installed here" in done.stderr
    assert list(tmp_path.iterdir()) == []
