"""What is done to the pages when Sphinx has written them: they get lighter, and can be searched from disk.

`lighten` takes away what no page asks for. `keep_texts` writes the words of all pages into one script, because a page
that is opened from disk may load a script but may not fetch another page. `name_toggles` names what has no words.
"""

from __future__ import annotations

import json
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import nbformat

from hashlab.files import _disk

# Maps are for those who write a theme; every browser of today takes the .woff2 beside a .ttf; locales are compiled in;
# no page leads to the list of sources.
NEVER_ASKED = (
    "_static/**/*.map",
    "_static/**/*.ttf",
    "_static/locales/**/*",
    "_modules/index.html",
)
TOGGLE = '<span class="toctree-toggle"'
TEXTS = "search-texts.js"  # below _static; read by search-offline.js
UNREAD = {"script", "style", "svg", "mjx-container"}  # elements without words of their own
ALONE = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


def finish(folder: Path) -> None:
    """Do everything to the pages below `folder`."""
    lighten(folder)
    keep_texts(folder)
    name_toggles(folder)


def name_toggles(folder: Path) -> None:
    """Give the arrows of the sidebar, which the theme leaves without a word, a name for a screen reader."""
    for path in folder.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        named = page.replace(f"<summary>{TOGGLE}", f'<summary aria-label="pages below">{TOGGLE}')
        if named != page:
            _disk.write(path, named.encode())


def lighten(folder: Path) -> None:
    """Take away what no page asks for, and the outputs of the notebooks that are there to be downloaded and run."""
    for pattern in NEVER_ASKED:
        for path in folder.glob(pattern):
            if path.is_file():
                path.unlink()
    for path in folder.glob("_sources/**/*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        _disk.write(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())


def keep_texts(folder: Path) -> None:
    """Write the words of all pages, in their sections, where a search finds them."""
    texts = {}
    for path in sorted(folder.rglob("*.html")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        text = words(path.read_text(encoding="utf-8"))
        if text and not name.startswith("_static/"):
            texts[name] = text
    content = f"const PAGE_TEXTS = {json.dumps(texts, ensure_ascii=False)};\n"
    _disk.write(folder / "_static" / TEXTS, content.encode())


def words(page: str) -> str:
    """The sections of a page's article with their words, as HTML that Sphinx's search reads; empty without any."""
    reader = _Words()
    reader.feed(page)
    text = " ".join("".join(reader.pieces).split())
    return f'<div role="main">{text}</div>' if text else ""


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self.open: list[
            tuple[str, bool]
        ] = []  # elements of the article, and whether each is left out

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = dict(attributes)
        article = tag == "article" and "bd-article" in (about.get("class") or "")
        if tag in ALONE or not (self.open or article):
            return
        left_out = tag in UNREAD or "headerlink" in (about.get("class") or "")
        self.open.append((tag, left_out or (bool(self.open) and self.open[-1][1])))
        if tag == "section" and about.get("id"):
            self.pieces.append(f'<section id="{escape(about["id"] or "")}">')
        elif tag == "section":
            self.pieces.append("<section>")

    def handle_endtag(self, tag: str) -> None:
        if not any(tag == name for name, _ in self.open):
            return
        while self.open:
            name, _ = self.open.pop()
            if name == "section":
                self.pieces.append("</section>")
            if name == tag:
                return

    def handle_data(self, data: str) -> None:
        if self.open and not self.open[-1][1]:
            self.pieces.append(escape(data, quote=False))
