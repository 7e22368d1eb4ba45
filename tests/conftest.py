"""What tests share: a marker for real data, how hypothesis searches, figures that close,
the words of a short run.

`make campaign` sets HASHLAB_CAMPAIGN=1: then the tests that attack the package are long, and say
how much they tried.
"""

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path

import forked
import hypothesis
import matplotlib
import pytest
from processes import started

ROOT = Path(__file__).resolve().parents[1]

# The same examples in every run: a failure that is seen once is seen again.
# HYPOTHESIS_EXAMPLES=1000 looks harder.
examples = int(os.environ.get("HYPOTHESIS_EXAMPLES", "50"))
hypothesis.settings.register_profile(
    "hashlab", deadline=None, derandomize=True, max_examples=examples
)
hypothesis.settings.load_profile("hashlab")

matplotlib.use("agg")  # no screen is needed

CAMPAIGN = os.environ.get("HASHLAB_CAMPAIGN") == "1"
FIGURES = []
# Files that take longest, in the order in which they are begun; the first waits much, while the
# other worker computes.
LONG = (
    "test_cluster",
    "test_house",
    "test_tested",
    "test_hosted",
    "test_grids",
    "test_trials",
    "test_methods",
    "test_types",
    "test_check_book",
    "test_installed",
    "test_scale",
    "test_checkpoints",
    "test_fuzz",
    "test_graphs",
    "test_timm_models",
    "test_metrics_differential",
)


@pytest.fixture(scope="session")
def campaign():
    """Whether this is the long form, `make campaign`."""
    return CAMPAIGN


def pytest_collection_finish():
    """What is collected stays until the end: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_sessionstart(session):
    if getattr(session.config.option, "nbval", False):
        forked.kernels()


def pytest_collection_modifyitems(items):
    """What takes long is begun first, so that no core is idle in the end: files of the largest
    tests, then chapters, by what they took when they were executed last; then by the number of
    tests.
    """
    tests = Counter(item.path for item in items)
    measured = ROOT / "book" / "seconds.json"
    seconds = json.loads(measured.read_text()) if measured.is_file() else {}
    items.sort(
        key=lambda item: -_cost(item.path, tests[item.path], seconds)
    )  # keeps files together


def _cost(path: Path, tests: int, seconds: dict[str, int]) -> float:
    if path.suffix == ".ipynb":
        return 1000 + seconds.get(path.stem, 10)
    if path.stem in LONG:
        return 3000 - LONG.index(path.stem)
    return tests / 1000


@pytest.fixture(scope="session")
def count():
    """`count("killed runs", 40, 40)`: how many were tried, and how many held;
    the long form prints it at its end.
    """
    return lambda *figures: FIGURES.append(figures)


def pytest_terminal_summary(terminalreporter):
    for name, tried, held in FIGURES if CAMPAIGN else ():
        terminalreporter.write_line(f"{name}: tried {tried}, held {held}")


@pytest.fixture(scope="session")
def short():
    """`short("run", folder, bits=(8, 16), c=2)`:
    the words of a run, or a grid, that keeps its records in the folder.

    It does not train unless `epochs` or `pretrain_epochs` say so.
    """

    def words(command, root, *more, bits=(8,), **changes):
        settings = [
            f"{name}={value}"
            for name, value in ({"epochs": 0, "pretrain_epochs": 0} | changes).items()
        ]
        run = [
            command,
            "mu_liu",
            "digits",
            "--bits",
            *map(str, bits),
            "--root",
            str(root),
            "--set",
            *settings,
        ]
        return [*run, *more]

    return words


@pytest.fixture(scope="session")
def digits():
    """The 1,797 small digits, split."""
    from hashlab import data

    return data.load("digits")


@pytest.fixture
def start():
    """`start("ls", "-l", stdout=PIPE)`: a process that ends with the test, see `processes`."""
    with contextlib.ExitStack() as stack:
        yield lambda *words, **settings: stack.enter_context(started(words, **settings))


@pytest.fixture
def ctrl_c():
    """SIGINT interrupts, also where it is ignored from the start, as under `nohup make test &`."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def missing_data(name: str) -> str | None:
    """Why the real data set `name` cannot be used, or None when its cache is there."""
    folder = Path(os.environ.get("HASHLAB_DATA") or ROOT / "data" / "cache") / name
    parts = [f"{split}_{kind}.npy" for split in ("train", "test") for kind in ("images", "labels")]
    gone = [part for part in parts if not (folder / part).is_file()]
    return (
        f"no {', '.join(gone)} in {folder}: fetch it with `hashlab data fetch {name}`"
        if gone
        else None
    )


def found_browser() -> str | None:
    """The path of Chromium, as book/check.py looks for it."""
    names = (os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((path for name in names if name and (path := shutil.which(name))), None)


def missing_browser() -> str | None:
    """Why no page can be opened, or None when it can."""
    packages = ("playwright", "axe_playwright_python")
    gone = [name for name in packages if importlib.util.find_spec(name) is None]
    gone += [] if found_browser() else ["Chromium"]
    return f"no {', '.join(gone)}: see `make check-book`" if gone else None


@pytest.fixture(scope="session")
def browser_path():
    return found_browser()


def pytest_runtest_setup(item):
    """`@pytest.mark.real_data("mnist")` skips where the set is not cached, `@pytest.mark.browser`
    where there is no browser; they fail under HASHLAB_REQUIRE_DATA=1 and HASHLAB_REQUIRE_BROWSER=1.
    """
    for marker in item.iter_markers("real_data"):
        for name in marker.args:
            _ask_for("real data", "HASHLAB_REQUIRE_DATA", missing_data(name))
    if item.get_closest_marker("browser"):
        _ask_for("a browser", "HASHLAB_REQUIRE_BROWSER", missing_browser())


def _ask_for(what: str, variable: str, reason: str | None) -> None:
    verb = "are" if what == "real data" else "is"
    if reason and os.environ.get(variable) == "1":
        pytest.fail(f"{what} {verb} required here, but there is {reason}", pytrace=False)
    if reason:
        pytest.skip(f"there is {reason}")


@pytest.fixture(autouse=True)
def closed_figures():
    """Figures are closed when the test is over, whatever drew them."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")
