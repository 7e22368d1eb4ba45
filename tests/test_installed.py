"""What is installed: what an sdist and a wheel hold, and how a copy works that can only be read."""

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from processes import python, run

import hashlab
from hashlab.chapters import reported
from hashlab.data import cache
from hashlab.errors import InputError
from hashlab.files import _disk

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(__file__).with_name("installed.py")
BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
ADDRESS = "https://github.com/someone/their-book"
BUILD = "import sys; from setuptools import build_meta as b; b.build_{kind}(sys.argv[1])"
NOT_OURS = re.compile(r"(^|/)(tests?|results|cache|notebooks|book|\.git|__pycache__)(/|$)|\.npy$")


def clone(folder):
    """A copy of all that the package is built from, and of what must not go into it; no git."""
    leave = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("src", "data"):
        (folder / name).mkdir()
    shutil.copytree(ROOT / "src" / "hashlab", folder / "src" / "hashlab", ignore=leave)
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    for bait in ("tests/test_codes.py", "results/x.json", "data/cache/mnist/train_images.npy"):
        (folder / bait).parent.mkdir(parents=True, exist_ok=True)
        (folder / bait).write_text("")
    return folder


def build(kind, folder):
    """The sdist or wheel of a folder, as pip builds it."""
    target = folder / f"made-{kind}"
    target.mkdir()
    done = python("-c", BUILD.format(kind=kind), target, cwd=folder)
    assert done.returncode == 0, done.stderr
    return next(target.iterdir())


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    return build("sdist", clone(tmp_path_factory.mktemp("clone")))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory):
    """The wheel that is made of the sdist alone."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return build("wheel", next(folder.iterdir()))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The folder of an installed copy. A wheel without extension modules is just unpacked."""
    folder = tmp_path_factory.mktemp("site-packages")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


# ---- what is in them


def sources():
    """What the package consists of, by its path in `src`."""
    package = ROOT / "src" / "hashlab"
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".csv", ".typed")]
    return {path.relative_to(ROOT / "src").as_posix() for path in files}


def test_the_wheel_holds_the_package_and_what_it_reads(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == sources()
    assert {"hashlab/py.typed", "hashlab/chapters/papers/context.csv"} < names
    assert any(name.endswith("licenses/LICENSE") for name in about)
    assert wheel.stat().st_size < 1 << 20


def test_the_sdist_holds_what_the_wheel_is_made_of_and_nothing_else(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {*BUILT_FROM, *(f"src/{name}" for name in sources())} <= names
    assert not [name for name in names if NOT_OURS.search(name.removeprefix("src/hashlab/"))]
    assert sdist.stat().st_size < 1 << 20


def metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(archive.read(name))


def test_the_metadata_say_what_it_is(wheel):
    about = metadata(wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert about["Name"] == "hashlab" and about["Version"] == hashlab.__version__
    assert about["Summary"] == project["description"]
    assert about["License-Expression"] == "MIT" and about["License-File"] == "LICENSE"
    assert about["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in about.get_all("Classifier")
    needed = [line for line in about.get_all("Requires-Dist") if "extra ==" not in line]
    assert sorted(needed) == sorted(project["dependencies"])
    assert set(about.get_all("Provides-Extra")) == set(project["optional-dependencies"])


@pytest.mark.parametrize(
    "address, urls", [("https://github.com/OWNER/x", None), (ADDRESS, [f"Repository, {ADDRESS}"])]
)
def test_the_metadata_name_an_address_where_one_is_set(address, urls, tmp_path):
    folder = clone(tmp_path)
    text = (folder / "pyproject.toml").read_text()
    text = re.sub(r"(?m)^repository = .*", f'repository = "{address}"', text)
    (folder / "pyproject.toml").write_text(text)
    assert metadata(build("wheel", folder)).get_all("Project-URL") == urls


# ---- a copy that can only be read


def commands(installed, *words, home, cwd, only_read=(), **variables):
    """What the commands of an installed copy print, by command; no terminal, no variables."""
    places = ":".join(map(str, (installed, *only_read)))
    env = {"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"} | variables
    settings = {"cwd": cwd, "env": env, "stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
    done = run(sys.executable, "-I", SCRIPT, places, *words, **settings)
    assert done.returncode == 0, done.stdout
    head, *blocks = re.split(r"(?m)^\$ ", done.stdout)
    assert head == f"hashlab of {installed / 'hashlab'}\n"
    return {command: next(b for b in blocks if b.startswith(f"{command}\n")) for command in words}


def codes_of(file):
    """A file for `hashlab evaluate`: 20 images of two kinds, whose codes are their kinds'."""
    labels = np.arange(20) % 2
    arrays = {f"{side}_labels": labels for side in ("query", "database")}
    arrays |= {f"{side}_codes": labels[:, None].repeat(8, 1) for side in ("query", "database")}
    np.savez(file, bits=8, **arrays)


def test_a_copy_that_can_only_be_read_works(installed, tmp_path):
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    codes_of(cwd / "mine.npz")
    run_itq = "run itq digits --bits 16"
    words = "--version", "methods", "data list", run_itq, "verify", "evaluate mine.npz"
    before = sorted(path for path in installed.rglob("*"))
    printed = commands(installed, *words, home=home, cwd=cwd)
    assert all("exit 0\n" in block for block in printed.values()), printed
    assert f"hashlab {hashlab.__version__}\n" in printed["--version"]
    assert "itq" in printed["methods"]
    assert "1 of 1 records agree" in printed["verify"]
    assert re.search(r"mAP +1\.0", printed["evaluate mine.npz"])
    figures = len(reported.load("dmsh")), len(reported.context())
    assert "{} figures of DMSH, {} of others\n".format(*figures) in printed[words[-1]]
    assert sorted(path for path in installed.rglob("*")) == before
    assert [path.name for path in (cwd / "results" / "digits").glob("*.json")]
    assert (home / ".cache" / "numba").is_dir()  # compiled once for all runs


def test_where_nothing_can_be_written_a_sentence_says_so(installed, tmp_path):
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    home.mkdir()
    cwd.mkdir()
    codes_of(cwd / "mine.npz")
    run_itq, fetch = "run itq digits --bits 16", "data fetch mnist"
    words = fetch, run_itq, "data check digits", "evaluate mine.npz"
    printed = commands(installed, *words, home=home, cwd=cwd, only_read=[home, cwd])
    refused = "hashlab: nothing can be written into {}: Permission denied; set {} to a folder of"
    assert refused.format(home, "HASHLAB_DATA") in printed[fetch]
    assert refused.format(cwd, "HASHLAB_RESULTS") in printed[run_itq]
    for command in (fetch, run_itq):
        assert "\nexit 2\n" in printed[command] and len(printed[command].splitlines()) == 3
    for command in words[2:]:
        assert "exit 0\n" in printed[command], printed
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.npz"]


# ---- where things are


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """This package as a copy in somebody's project."""
    monkeypatch.delenv("HASHLAB_DATA", raising=False)
    monkeypatch.delenv("HASHLAB_RESULTS", raising=False)

    def place(*parts, project=None):
        file = tmp_path.joinpath(*parts, "hashlab", "files", "_disk.py")
        monkeypatch.setattr(_disk, "__file__", str(file))
        if project is not None:
            (tmp_path / "pyproject.toml").write_text(f'[project]\nname = "{project}"\n')
        return tmp_path

    return place


def test_a_checkout_is_told_from_a_copy_in_another_project(copy):
    assert _disk.checkout() == ROOT  # as the tests run
    assert copy("src", project="hashlab") == _disk.checkout()
    for parts, project in {("src",): "other", ("vendor",): "hashlab", ("lib", "x"): "x"}.items():
        copy(*parts, project=project)
        assert _disk.checkout() is None


def test_a_copy_has_its_cache_with_the_user_and_its_records_where_one_works(copy, monkeypatch):
    folder = copy("site-packages")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "caches"))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    assert cache.root().name == "hashlab" and cache.root().is_relative_to(folder)
    assert hashlab.records.root() == folder / "results"
    monkeypatch.setenv("HASHLAB_DATA", "~/mine")
    monkeypatch.setenv("HASHLAB_RESULTS", "~/kept")
    assert cache.root() == folder / "mine" and hashlab.records.root() == folder / "kept"


def test_a_user_without_a_home_is_told_what_to_set(copy, monkeypatch):
    copy("site-packages")
    for variable in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as of a user nobody knows
    with pytest.raises(InputError, match="no home folder: set HASHLAB_DATA"):
        cache.root()
    monkeypatch.setenv("HASHLAB_DATA", "~nobody/x")
    with pytest.raises(InputError, match="HASHLAB_DATA is '~nobody/x'"):
        cache.root()


def test_platformdirs_is_asked_by_copies_without_a_setting_only(copy, monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)  # importing it fails
    assert cache.root() == ROOT / "data" / "cache"
    copy("site-packages")
    with pytest.raises(ImportError):
        cache.root()
    monkeypatch.setenv("HASHLAB_DATA", "here")
    assert cache.root() == Path("here")
