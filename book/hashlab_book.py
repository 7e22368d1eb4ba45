"""Sphinx extension: what the book needs and _config.yml cannot say.

It brings MathJax along from the environment, so that pages load nothing from other hosts, and gives
a published copy its repository links, which hang on one setting: `[tool.hashlab] repository` in
pyproject.toml.
"""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BRANCH = "main"


def repository(root: Path = ROOT) -> str | None:
    """The address the book is published at,
    or None while the placeholder owner stands in pyproject.toml.
    """
    with open(root / "pyproject.toml", "rb") as file:
        address = tomllib.load(file)["tool"]["hashlab"]["repository"].rstrip("/")
    return None if "/OWNER/" in address else address


def published(address: str | None) -> dict[str, Any]:
    """Theme options of a book published at `address`: repository, issue and Colab buttons;
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
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
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


def setup(app: Any) -> dict[str, Any]:
    app.connect("config-inited", _configure, priority=100)
    app.connect("html-page-context", _honest_roles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
