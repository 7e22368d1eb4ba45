"""The pages of the package: every public name stands there, and leads to the chapter that explains it."""

import dataclasses
import importlib
import inspect
import re
import sys
from pathlib import Path

import pytest
import yaml
from sphinx.ext.napoleon import GoogleDocstring

import hashlab

ROOT = Path(__file__).resolve().parents[1]
BESIDE = [
    "errors",
    "losses",
    "plots",
    "scale",
    "training",
]  # rooms that are not attributes of the package
SHARED = ["base", "deep", "shallow", "models", "tested", "adapt", "collapse", "graphs", "photos"]


@pytest.fixture(scope="module")
def api():
    sys.path.insert(0, str(ROOT / "book"))
    yield importlib.import_module("hashlab_api")
    sys.path.remove(str(ROOT / "book"))


def public(api):
    """The names of all rooms; of losses, those in its modules, and of methods also those of each of them."""
    rooms = [f"hashlab.{name}" for name in (*hashlab.__all__, *BESIDE)]
    for room in ("losses", "methods"):
        files = (ROOT / "src" / "hashlab" / room).glob("[a-z]*.py")
        rooms += [f"hashlab.{room}.{file.stem}" for file in files if file.stem not in SHARED]
    for room in rooms:
        module = importlib.import_module(room)
        for name in ["InputError"] if room == "hashlab.errors" else api.members(module):
            if name != "Config":  # settings stand in book/methods.md
                yield f"{room}.{name}"


def test_every_public_name_stands_on_a_page(api):
    names = list(public(api))
    assert {"hashlab.metrics.evaluate", "hashlab.shallow.ITQ", "hashlab.codes.pack"} < set(names)
    assert set(names) <= set(api.documented())


def value(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_what_stands_on_a_page_is_there_and_says_what_it_is(api):
    for name in api.documented():
        thing = value(name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert inspect.getdoc(thing), name


def test_every_name_leads_to_a_page_of_the_book(api):
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    pages = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    for name in api.documented():
        chapters = api.explained(name)
        assert chapters is not None, f"{name}: book/explained.toml says nothing of it"
        assert set(chapters) <= pages, name


def test_what_is_said_to_be_explained_is_public(api):
    documented = set(api.documented())
    modules = {name.rpartition(".")[0] for name in documented}
    assert set(api.chapters_of()) <= documented | modules


def test_a_name_is_preferred_to_its_module(api, monkeypatch):
    said = {"hashlab.a": ["x"], "hashlab.a.f": ["y", "z"], "hashlab.a.g": []}
    monkeypatch.setattr(api, "chapters_of", lambda: said)
    found = [api.explained(f"hashlab.{name}") for name in ("a.f", "a.g", "a.h", "b.f")]
    assert found == [["y", "z"], [], ["x"], None]


def test_every_page_is_in_the_contents(api):
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    listed = {chapter["file"] for part in contents["parts"] for chapter in part["chapters"]}
    assert {f"book/api/{page.stem}" for page in api.PAGES.glob("*.md")} <= listed


DOCSTRING = """\
Signs |a| and *b* and last_ stay; `code_` too.

    mean_ik (u_ik - sgn u_ik)^2

As in `rate`::

    a * b

    c * d

Args:
    x: (B,), *all*.

Reference: somebody,
    somewhere.

Example:
    >>> 2 * 3
    6
"""


def test_a_docstring_as_it_is_meant(api):
    assert api.as_rst(DOCSTRING).split("\n\n") == [
        r"Signs \|a\| and \*b\* and last\_ stay; `code_` too.",
        r".. math:: \operatorname*{mean}_{ik} (u_{ik} - \operatorname{sgn} u_{ik} )^{2}",
        "As in `rate`::",
        "    a * b",
        "    c * d",
        "Args:\n    x: (B,), \\*all\\*.",
        "Reference: somebody,\nsomewhere.",
        "Example:\n    >>> 2 * 3\n    6\n",
    ]


@pytest.mark.parametrize(
    "plain, escaped",
    [
        ("F. Shen and others", r"F\. Shen and others"),
        ("of\n    iv. four", "of\n    iv\\. four"),
        ("bits: K.", r"bits: K\."),
        ("a mean.  F, a sum.", "a mean.  F, a sum."),
    ],
)
def test_an_initial_begins_no_list(api, plain, escaped):
    assert api.as_rst(plain) == escaped


def test_a_colon_in_the_text_of_a_property_ends_no_type(api):
    """As napoleon leaves it, which reads a first line `type: text` where a property is described."""
    lines = ["Parts, None: the whole.", "", "More."]
    api._write_as_rst(None, "property", "Index.shards", None, None, lines)
    parsed = str(GoogleDocstring("\n".join(lines), what="property", name="Index.shards"))
    assert "Parts, None: the whole.\n\nMore." in parsed and ":type:" not in parsed


def test_settings_are_listed_with_their_meanings(api):
    config = value("hashlab.methods.deep.DeepConfig")
    lines = [config.__doc__]
    api._write_as_rst(None, "class", "DeepConfig", config, None, lines)
    listed = "\n".join(lines).partition("Args:")[2]
    for field in dataclasses.fields(config):
        assert f"    {field.name}: " in listed.replace("\\", ""), field.name
    assert "(sgd, adamw, rmsprop)." in listed


def test_fields_of_a_named_tuple_are_no_entries_of_their_own(api):
    interval = value("hashlab.metrics.uncertainty.Interval")
    assert api._without_fields(None, "attribute", "low", interval.low, False, None)
    assert api._without_fields(None, "property", "half", interval.half, False, None) is None


def test_a_class_says_once_where_it_is_explained(api):
    of_class, of_member = [], []
    api._lead_on(None, "class", "hashlab.metrics.Report", None, None, of_class)
    api._lead_on(None, "method", "hashlab.metrics.Report.summary", None, None, of_member)
    assert any("Explained in" in line for line in of_class) and not of_member


def test_what_nobody_makes_has_no_signature(api):
    for name in ("hashlab.data.Labelled", "hashlab.search.Searched", "hashlab.metrics.Report"):
        assert api._without_twice(None, "class", name, value(name)) == ("", None), name
    assert api._without_twice(None, "class", "", value("hashlab.search.Index")) is None


def texts(api):
    """The docstrings on the pages: name, text; also those of modules, and of members of classes."""
    for name in {name.rpartition(".")[0] for name in api.documented()}:
        yield name, importlib.import_module(name).__doc__
    for name in api.documented():
        thing = value(name)
        if not (inspect.isclass(thing) or inspect.isroutine(thing)):
            continue
        yield name, inspect.getdoc(thing)
        members = vars(thing) if inspect.isclass(thing) else {}
        for member in (member for member in members if not member.startswith("_")):
            if text := inspect.getdoc(getattr(thing, member)):
                yield f"{name}.{member}", text


def test_docstrings_name_no_constant_that_has_no_entry(api):
    """Whoever reads a page can look up what it names."""
    known = {name.rpartition(".")[2] for name in api.documented()}
    for name, text in texts(api):
        constants = set(re.findall(r"`(?:\w+\.)*([A-Z][A-Z_]+)`", text))
        assert constants <= known, name


@pytest.mark.parametrize(
    "plain, tex",
    [
        ("||u_i - c||^2", r"\| u_{i} - c\|^{2}"),
        ("sum_{i=1..m} r_i / 0.5", r"\sum_{i=1 \ldots m} r_{i} / 0.5"),
        ("u_i.u_j . v", r"u_{i}\cdot u_{j} \cdot v"),
        ("J_cubic + weight x", r"J_{\text{cubic}} + \text{ weight} x"),
        ("1,\n2", r"\begin{array}{l} 1, \\ 2 \end{array}"),
        ("1\n = 2", r"\begin{array}{l} 1 \\ = 2 \end{array}"),
        ("log\ncosh x", r"\log \cosh x"),
        ("d / 2   if not", r"d / 2\quad \text{ if} \text{ not}"),
        ("z s / sqrt(2 K_i)", r"z s / \sqrt{2 K_{i}}"),
        ("l_ij = sum_l c_l", r"\ell_{ij} = \sum_{l} c_{l}"),
    ],
)
def test_plain_formulas_as_tex(api, plain, tex):
    def squeezed(text):
        return text.replace(" ", "")

    assert squeezed(importlib.import_module("as_tex").as_tex(plain)) == squeezed(tex)


NAMES = ["hashlab.metrics.evaluate", "hashlab.metrics.Report", "hashlab.metrics.Report.summary"]


@pytest.mark.parametrize(
    "code, inside, name",
    [
        ("evaluate", {"py:module": "hashlab.metrics"}, "hashlab.metrics.evaluate"),
        ("metrics.evaluate(a, b)", {}, "hashlab.metrics.evaluate"),
        ("hashlab.metrics.Report", {"py:module": "hashlab.codes"}, "hashlab.metrics.Report"),
        (
            "summary",
            {"py:module": "hashlab.metrics", "py:class": "Report"},
            "hashlab.metrics.Report.summary",
        ),
        ("Report", {"py:module": "hashlab.metrics.formulas"}, "hashlab.metrics.Report"),
        ("Report.summary", {"py:module": "hashlab.data"}, "hashlab.metrics.Report.summary"),
        ("Report", {"py:module": "hashlab.data"}, "hashlab.metrics.Report"),
        ("summary", {"py:module": "hashlab.metrics"}, None),
        ("at=k", {"py:module": "hashlab.metrics"}, None),
    ],
)
def test_what_code_in_a_text_names(api, code, inside, name):
    assert api._full_name({"reftarget": code} | inside, NAMES) == name
