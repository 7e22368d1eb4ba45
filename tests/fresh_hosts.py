"""Chapters on hosts that borrow nothing from here: new environments, filled by pip from its index.

They take gigabytes and an hour, so `make campaign` has them and `make test` has not; by hand
`python -m pytest tests/fresh_hosts.py -k oldest`.
"""

import os
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import test_hosted
import yaml
from processes import run
from test_hosted import ROOT, SOURCES, build, executed, imitate_colab

published, new_host, bare = test_hosted.published, test_hosted.new_host, test_hosted.bare

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = ["torch", "torchvision", "numpy", "matplotlib", "seaborn", "scikit-learn", "ipykernel"]
TESTED = ("pytest", "hypothesis", "torchmetrics")
LEADING_HERE = ("PYTHONPATH", "HASHLAB_WEIGHTS", *test_hosted.VARIABLES)


def oldest():
    """The packages of pyproject.toml, each as old as it may be."""
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["search"]]
    return [re.sub(r">=(.+)", r"==\1.*", line) for line in lines]


def of_binder():
    """What Binder installs, under pip's names."""
    listed = yaml.safe_load((ROOT / "binder" / "environment.yml").read_text())["dependencies"]
    names = [line.replace(" ", "").replace("pytorch", "torch") for line in listed]
    return [name for name in names if not name.startswith("python=")] + ["ipykernel"]


# Python's minor version, what is installed, and the chapters that are tried (None: all).
FEW = ("01", "03_")
HOSTS = {
    "colab": (12, SHIPPED, None),
    "oldest": (11, [*oldest(), "ipykernel", *TESTED], FEW),
    "newest": (13, [*SHIPPED, *TESTED], FEW),
    "binder": (12, of_binder(), FEW),
}


def command_of(minor):
    """Python 3.`minor`, where this machine has one that starts."""
    command = shutil.which(f"python3.{minor}")
    return command if command and run(command, "-c", "pass").returncode == 0 else None


HERE = [name for name, (minor, *_) in HOSTS.items() if command_of(minor)]


def chapters_of(host):
    return [path for path in SOURCES if not HOSTS[host][2] or path.stem.startswith(HOSTS[host][2])]


CHAPTERS = [(host, source) for host in HERE for source in chapters_of(host)]


@pytest.fixture(scope="module")
def host(request, tmp_path_factory):
    """The name of a host, and the folder of its new environment, in which hashlab is not."""
    minor, packages, _ = HOSTS[request.param]
    home = tmp_path_factory.mktemp("fresh") / "env"
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet"]
    with pytest.MonkeyPatch.context() as environment:
        for variable in LEADING_HERE:
            environment.delenv(variable, raising=False)
        environment.setenv("IMITATE_COLAB", "" if request.param == "binder" else "1")
        for command in ([command_of(minor), "-m", "venv", home], [*pip, *packages]):
            done = run(*command)
            assert done.returncode == 0, done.stderr
        imitate_colab(home)
        yield request.param, home
    shutil.rmtree(home)


def checkout(address, folder, home):
    """A clone of the book in which Binder's script was run."""
    assert run("git", "clone", "--quiet", address, folder).returncode == 0
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = run(folder / "binder" / "postBuild", cwd=folder, env={**os.environ, "PATH": path})
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    "host, source",
    CHAPTERS,
    indirect=["host"],
    ids=[f"{host}-{source.stem}" for host, source in CHAPTERS],
)
def test_a_chapter_runs(published, host, tmp_path, source):
    name, home = host
    folder = tmp_path
    if name == "binder":
        folder = checkout(published, tmp_path / "their-book", home) / "notebooks"
    done = executed(build.convert(source, published), home / "bin" / "python", folder)
    said = "".join(output.get("text", "") for output in done.cells[0].outputs)
    assert ("Not in the cache: " in said) == (name != "binder")


@pytest.mark.parametrize(
    "host", [name for name in ("oldest", "newest") if name in HERE], indirect=True
)
def test_codes_and_metrics_are_as_they_should_be(published, host, tmp_path):
    _, home = host
    folder = tmp_path / "their-book"
    assert run("git", "clone", "--quiet", published, folder).returncode == 0
    python = home / "bin" / "python"
    done = run(python, "-m", "pip", "install", "--quiet", "--no-deps", folder)
    assert done.returncode == 0, done.stderr
    files = [f"tests/test_{room}.py" for room in ("codes", "metrics", "metrics_plain")]
    done = run(python, "-m", "pytest", "-q", "-W", "default", *files, cwd=folder)
    assert done.returncode == 0, done.stdout


# ---- what tells hosts apart, for real; imitated, it is tried in test_hosted.py

PLACES = {
    "colab": {"IMITATE_COLAB": "1"},
    "kaggle": {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"},
    "asked for": {"HASHLAB_SETUP": "1"},
}


@pytest.mark.parametrize("kind", PLACES)
def test_the_set_up_works_on_every_host_any_number_of_times(
    published, new_host, tmp_path, monkeypatch, bare, kind
):
    """The cell leaves a folder with the book's name behind, and nothing else."""
    assert shutil.which("git")
    for name, value in PLACES[kind].items():
        monkeypatch.setenv(name, value)
    cell = build.setup_cell(published, "01_made").source.replace("[search]", "")
    python = new_host()
    ask = "import hashlab; from hashlab import records; print(hashlab.__file__, records.root())"
    for _ in range(2):  # a second start finds what the first has brought
        done = run(python, "-c", f"{cell}\n{cell}\n{ask}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        package, results = done.stdout.splitlines()[-1].split()
        assert Path(package).is_relative_to(python.parents[1])
        assert Path(results) == tmp_path / "their-book" / "results"
        assert [path.name for path in tmp_path.iterdir()] == ["their-book"]
