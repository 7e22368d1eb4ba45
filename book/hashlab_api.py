"""Sphinx extension: the pages in book/api, made of the package's docstrings.

Docstrings are plain text, in which few things have a meaning: `code` in single backticks, which becomes a
link where it is a name of these pages; an indented line, which is a formula; and what is indented after
`::`, which is code. Every name leads on to
the chapters that explain it, by book/explained.toml, and names in the text of a chapter lead back.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

from as_tex import as_tex
from docutils import nodes
from hashlab_book import ROOT
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

PAGES = ROOT / "book" / "api"
EXPLAINED = ROOT / "book" / "explained.toml"
DOCUMENTED = re.compile(
    r"^\.\. (?:auto|py:)(?P<kind>\w+):: (?P<name>[\w.]+)\n(?P<options>(?: +:.*\n)*)", re.MULTILINE
)
CODE = re.compile(r"(:[\w:]+:`[^`]*`|``.+?``|`[^`]*`)", re.DOTALL)
EXAMPLE = r"^ *>>>.*?(?:\n\s*\n|\Z)"
INDENTED = r"::\n\n(?: +[^\n]*(?:\n|\Z)|\n)+"
BLOCK = re.compile(f"({EXAMPLE}|{INDENTED})", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^ *(?:Args|Attributes|Returns|Raises|Example|Labels):$", re.MULTILINE)
HANGING = re.compile(
    r"^(\w+: \S.*)\n((?: {4}.*(?:\n|\Z))+)", re.MULTILINE
)  # Reference: … on several lines
FORMULA = re.compile(r"\n\n((?: {4}\S.*(?:\n|\Z))+)")
SIGNS = re.compile(r"([|*\\]|(?<=\w)_(?!\w))")  # what reStructuredText would take for its own
ENUMERATED = re.compile(
    r"((?:^ *|: )(?:[A-Za-z]|\d+|[ivxlcdm]+))\.(?= |$)", re.MULTILINE
)  # "F. Shen" at the start of a line, and "bits: K." begin no list
EMPTY = ["..", ""]  # a comment of which nothing is seen
FIELD = "Alias for field number"  # what Python says of each field of a named tuple
SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)
LINK = "hashlab"  # kind of reference: to a name, if it is one


# ---- what is public


def members(module: ModuleType) -> list[str]:
    """The public names of a module: those in its `__all__`, else the functions and classes that it defines."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not inspect.ismodule(getattr(module, name))]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or inspect.isclass(value))
        and getattr(value, "__module__", None) == module.__name__
    ]


def documented(pages: Path = PAGES) -> Iterator[str]:
    """The names that the pages ask for, such as hashlab.codes.pack."""
    for page in sorted(pages.glob("*.md")):
        for match in DOCUMENTED.finditer(page.read_text(encoding="utf-8")):
            if match["kind"] != "module":
                module = re.search(r":module: (\S+)", match["options"])
                yield f"{module[1]}.{match['name']}" if module else match["name"]
                continue
            if chosen := re.search(r":members:(.*)", match["options"]):
                module = importlib.import_module(match["name"])
                names = chosen[1].replace(",", " ").split() or members(module)
                left_out = "Config" if ":exclude-members: Config" in match["options"] else None
                yield from (f"{match['name']}.{name}" for name in names if name != left_out)


@cache
def chapters_of(file: Path = EXPLAINED) -> dict[str, list[str]]:
    """For each name, or module for all its names, the pages that explain it; none where none has to."""
    pages: dict[str, list[str]] = {}
    for page, names in tomllib.loads(file.read_text(encoding="utf-8")).items():
        for name in names:
            pages.setdefault(f"hashlab.{name}", [])
            if page != "nowhere":
                pages[f"hashlab.{name}"].append(page)
    return pages


def explained(name: str) -> list[str] | None:
    """The pages that explain a name, or its module; None where nothing is said of either."""
    pages = chapters_of()
    return pages.get(name, pages.get(name.rpartition(".")[0]))


# ---- docstrings


def as_rst(text: str) -> str:
    """Plain text as reStructuredText: signs stand for themselves, except in code, formulas and examples."""
    text = HANGING.sub(lambda match: f"{match[1]}\n{dedent(match[2])}", text)
    section = SECTION.search(text)
    end = section.start() if section else len(text)
    return _outside(BLOCK, text[:end], _with_formulas) + _outside(BLOCK, text[end:], _escaped)


def _outside(pattern: re.Pattern[str], text: str, change: Callable[[str], str]) -> str:
    """Text that is changed where the pattern, one group, does not match."""
    parts = pattern.split(text)
    parts[::2] = map(change, parts[::2])
    return "".join(parts)


def _escaped(text: str) -> str:
    return _outside(CODE, text, lambda part: ENUMERATED.sub(r"\1\\.", SIGNS.sub(r"\\\1", part)))


def _with_formulas(text: str) -> str:
    parts = FORMULA.split(text)
    parts[::2] = map(_escaped, parts[::2])
    parts[1::2] = [f"\n\n.. math:: {as_tex(formula)}\n" for formula in parts[1::2]]
    return "".join(parts)


def _write_as_rst(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]):
    lines[:] = as_rst("\n".join(lines) + _settings(thing)).split("\n")
    if what == "property":
        lines[:0] = EMPTY  # napoleon takes what stands before a colon in a first line for a type


def _settings(thing: Any) -> str:
    """What the settings of a settings class mean, as a docstring would say it."""
    fields = dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ()
    choices = {name: f" ({', '.join(few)})" for name, few in getattr(thing, "CHOICES", {}).items()}
    listed = [
        f"    {field.name}: {field.metadata['meaning']}{choices.get(field.name, '')}."
        for field in fields
        if "meaning" in field.metadata
    ]
    return "\n".join(["", "", "Args:", *listed]) if listed else ""


def _without_fields(app: Any, what: str, name: str, thing: Any, *rest: Any) -> bool | None:
    """No entry for a field of a named tuple: the tuple's own text says what it is."""
    return True if str(getattr(thing, "__doc__", "")).startswith(FIELD) else None


def _without_twice(
    app: Any, what: str, name: str, thing: Any, *rest: Any
) -> tuple[str, None] | None:
    """No signature for a class that nobody makes: its attributes are listed, or it is a protocol."""
    sections = [section.strip() for section in SECTION.findall(thing.__doc__ or "")]
    listed = what == "class" and "Attributes:" in sections and "Args:" not in sections
    return ("", None) if listed or getattr(thing, "_is_protocol", False) else None


def _lead_on(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Add where a name is explained; of what a class has, only where that is said of it."""
    of_class = what in ("method", "property", "attribute")
    chapters = chapters_of().get(name) if of_class else explained(name)
    if chapters:
        links = ", ".join(f":doc:`/{chapter}`" for chapter in chapters)
        lines += ["", ".. container:: explained", "", f"   Explained in {links}.", ""]


# ---- links


def name_role(role: str, raw: str, text: str, line: int, inliner: Any, options=None, content=None):
    """Code in a docstring, and a link where it is a name."""
    env = inliner.document.settings.env
    context = {key: env.ref_context.get(key) for key in ("py:module", "py:class")}
    return [_reference(text, env.docname, context)], []


def _reference(text: str, page: str, context: dict[str, Any]) -> pending_xref:
    code = nodes.literal(text, text)
    more = {"refdoc": page, "reftype": LINK, "refdomain": "", "reftarget": text, "refwarn": False}
    return pending_xref(text, code, **more, **context)


def _resolve(app: Any, env: Any, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """A link to a name of the package; names that these pages do not have stay code."""
    if node["reftype"] == LINK:
        name = _full_name(node, env.domains["py"].objects)
        if name is None:
            return content
        entry = env.domains["py"].objects[name]
        return make_refnode(
            app.builder, node["refdoc"], entry.docname, entry.node_id, content, name
        )
    of_types = node.get("refdomain") == "py" and node["reftype"] in ("class", "exc", "obj")
    return content if of_types and node["refdoc"].startswith("book/api/") else None


def _full_name(node: pending_xref, known: Any) -> str | None:
    """What a piece of code names: in its class, its module, or its room."""
    target = re.sub(r"\(.*\)$", "", node["reftarget"], flags=re.DOTALL).removeprefix(".")
    module = node.get("py:module") or ""
    own = [f"{module}.{node.get('py:class')}", module] if module else []
    room = [".".join(module.split(".")[:2])] if module else []
    for inside in [*own, *room, "hashlab"]:
        if f"{inside}.{target}" in known:
            return f"{inside}.{target}"
    return target if target in known else _only_one(target, known)


def _only_one(target: str, known: Any) -> str | None:
    """The one name that ends so, of a target that is no common word."""
    ends = [name for name in known if name.endswith(f".{target}")]
    is_a_name = target[:1].isupper() or "." in target or "_" in target
    return ends[0] if is_a_name and len(ends) == 1 else None


class LinkNames(SphinxPostTransform):
    """Names in the text of chapters and pages become links."""

    default_priority = 5  # before references are resolved

    def run(self, **options: Any) -> None:
        names = self.env.domains["py"].objects
        for code in list(self.document.findall(nodes.literal)):
            text = code.astext()
            inside = isinstance(code.parent, pending_xref | nodes.reference)
            linked = "." in text and _full_name({"reftarget": text}, names)
            if linked and not inside and not _within_heading(code):
                code.replace_self(_reference(text, self.env.docname, {}))


def _within_heading(node: nodes.Node) -> bool:
    return isinstance(node.parent, nodes.title)


def _honest_lists(app: Any, name: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """The parameters of a signature are no list of definitions to a screen reader."""

    def plain(match: re.Match[str]) -> str:
        return re.sub(r"<(/?)d[ld]>", r"<\1div>", match[0])

    context["body"] = SIGNATURE.sub(plain, context.get("body", ""))


def setup(app: Any) -> dict[str, Any]:
    for name in ("autodoc", "napoleon", "viewcode"):
        app.setup_extension(f"sphinx.ext.{name}")
    app.add_role("name", name_role)
    app.add_post_transform(LinkNames)
    app.connect("autodoc-process-docstring", _write_as_rst, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _lead_on, priority=700)
    app.connect("autodoc-process-signature", _without_twice)
    app.connect("autodoc-skip-member", _without_fields)
    app.connect("html-page-context", _honest_lists)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
