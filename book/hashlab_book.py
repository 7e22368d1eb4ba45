"""Sphinx extension: what the book needs and _config.yml cannot say.

It brings MathJax along from the environment, so that pages load nothing from other hosts, and gives
a published copy its repository links, which hang on one setting: `[tool.hashlab] repository` in
pyproject.toml.
"""

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.domains.std import StandardDomain
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"
TABLE = "Table: "  # how the caption below a table starts


def repository(root: Path = ROOT) -> str | None:
    """The address the book is published at,
    or None while the placeholder owner stands in pyproject.toml.
    """
    with open(root / "pyproject.toml", "rb") as file:
        address = tomllib.load(file)["tool"]["hashlab"]["repository"].rstrip("/")
    return None if "/OWNER/" in address else address


def published(address: str | None) -> dict[str, Any]:
    """Theme options of a book published at `address`: repository, issue, Colab and Binder buttons;
    none without one.
    """
    if address is None:
        return {}
    return {
        "repository_url": address,
        "repository_branch": BRANCH,
        "path_to_docs": "",
        "use_repository_button": True,
        "use_issues_button": True,
        "use_edit_page_button": True,
        "launch_buttons": {
            "colab_url": "https://colab.research.google.com",
            "binderhub_url": "https://mybinder.org",
        },
    }


def _configure(app: Any, config: Any) -> None:
    config.html_theme_options |= published(repository(Path(app.srcdir)))
    # SVG output is one file and needs no fonts, so mathematics also shows when a page is opened
    # from disk.
    mathjax = files("sphinx-mathjax-offline") / "static" / "mathjax" / "tex-svg-full.js"
    config.html_static_path = [*config.html_static_path, str(mathjax)]


def _honest_roles(app: Any, name: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """A list of references is no list to a screen reader: its entries have a role of their own."""
    body = context.get("body", "")
    context["body"] = body.replace(
        '<div role="list" class="citation-list">', '<div class="citation-list">'
    )


def how_to_run(name: str, address: str | None) -> str:
    """What a reader who downloads the notebook `name` has to know, as HTML."""
    if address is None:
        how = (
            "It runs where the package <code>hashlab</code> is installed from a copy of this book; alone in a folder "
            "it finds neither the package nor the records."
        )
    else:
        how = (
            "Its first cell fetches the book and installs the package, on Colab and Kaggle by itself and anywhere "
            "else if <code>HASHLAB_SETUP=1</code> is set before Jupyter starts; without that it needs an environment "
            f'in which <a href="{address}">the book\'s package</a> is installed.'
        )
    return (
        f'<div class="how-to-run"><p>This page is the notebook <code>{name}</code>, to be had from the button '
        f"<em>Download this page</em>, without its outputs. {how}</p></div>"
    )


def _about_running(app: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Say below a chapter how its notebook runs, and load the texts where they are searched."""
    source = Path(app.env.doc2path(page, base=False)) if page in app.env.all_docs else Path()
    if source.suffix == ".ipynb":
        context["body"] += how_to_run(source.name, repository(Path(app.srcdir)))
    if page == "search":
        app.add_js_file("search-texts.js")
        app.add_js_file("search-offline.js")


class TableCaptions(SphinxTransform):
    """Tables get captions, and so numbers, without a word that a notebook would not show well.

    A table of a text is followed by a paragraph that starts with "Table: ", and `(tbl:name)=` before
    it names it. A table that a cell displays has both in the cell's metadata, as figures have:
    `mystnb={"table": {"caption": "…", "name": "tbl:…"}}`.
    """

    default_priority = 200  # before targets are handed on to what follows them

    def apply(self, **_: Any) -> None:
        for table in list(self.document.findall(nodes.table)):
            self._of_a_text(table)
        for cell in list(self.document.findall(nodes.container)):
            if cell.get("nb_element") == "cell_code":
                self._of_a_cell(cell)

    def _of_a_text(self, table: nodes.table) -> None:
        below = table.next_node(descend=False, siblings=True)
        if not isinstance(below, nodes.paragraph) or not below.astext().startswith(TABLE):
            return
        words = below.next_node(nodes.Text)
        words.parent.replace(words, nodes.Text(words.astext().removeprefix(TABLE)))
        below.parent.remove(below)
        table.insert(0, nodes.title("", "", *below.children))

    def _of_a_cell(self, cell: nodes.container) -> None:
        wanted = cell.get("cell_metadata", {}).get("mystnb", {}).get("table")
        table = next(cell.findall(nodes.table), None)
        if not wanted or table is None:
            return
        table.insert(0, nodes.title("", wanted["caption"]))
        if "name" in wanted:
            table["names"].append(nodes.fully_normalize_name(wanted["name"]))
            self.document.note_explicit_target(table)


class ReadOnce:
    """An environment of Sphinx whose pages are read from disk once each, to be looked at only."""

    def __init__(self, env: Any):
        self._env = env
        self.get_doctree = cache(env.get_doctree)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)


read_once = cache(ReadOnce)


class References(StandardDomain):
    """Sphinx's own, which for every reference by number reads the whole page it leads to."""

    def _resolve_numref_xref(self, env: Any, *more: Any) -> Any:
        return super()._resolve_numref_xref(read_once(env), *more)


def setup(app: Any) -> dict[str, Any]:
    app.add_domain(References, override=True)
    app.connect("config-inited", _configure, priority=100)
    app.add_transform(TableCaptions)
    app.connect("html-page-context", _honest_roles)
    app.connect("html-page-context", _about_running)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
