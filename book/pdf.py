"""The whole book as one PDF: `_build/hashlab.pdf`, made of the rendered pages by Chromium.

    python book/pdf.py

Every page of the book is printed by itself, with the style for paper in hashlab.css and all solutions
open. Then they become one file: a title, contents with page numbers, bookmarks, a number on every
sheet, and links from page to page that stay inside the file.

Needs the extra `check`, and Chromium, as book/check.py does.
"""

from __future__ import annotations

import io
import sys
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlparse

import yaml
from check import PAGES, READY, browser
from hashlab_book import ROOT
from pypdf import PdfReader, PdfWriter
from pypdf.annotations import Link
from pypdf.generic import ArrayObject, Fit, NameObject

from hashlab.files import _disk

TARGET = ROOT / "_build" / "hashlab.pdf"
SHEET = {"format": "A4", "print_background": True}
OPEN = """() => {
    document.querySelectorAll("details, .tag_hide-input, .toggle").forEach(box => box.open = true);
    document.querySelectorAll(".toggle-hidden").forEach(box => box.classList.remove("toggle-hidden"));
}"""
STYLE = """<style>
  body { font: 11pt/1.5 Georgia, serif; margin: 0 }
  h1 { font-size: 26pt; margin: 60mm 0 4mm } h2 { font-size: 12pt; margin: 6mm 0 1mm }
  p { margin: 0; display: flex } p span { flex: 1; border-bottom: 1px dotted #999; margin: 0 2mm 1.2mm }
  .title { break-after: page } .number { height: 297mm; position: relative; break-after: page }
  .number b { position: absolute; bottom: 8mm; width: 100%; text-align: center; font: 9pt Georgia }
</style>"""


class Chapter(NamedTuple):
    """A page of the book: the part it belongs to, where it is rendered, and its title."""

    part: str
    path: Path
    title: str


def chapters(program: Any) -> list[Chapter]:
    """The pages in the order of the book's contents."""
    contents = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    files = [("", contents["root"])]
    for part in contents["parts"]:
        files += [(part["caption"], chapter["file"]) for chapter in part["chapters"]]
    page = program.new_page()
    found = []
    for part, file in files:
        path = PAGES / f"{file}.html"
        if not path.is_file():
            sys.exit(f"{path} is missing: run `make book` first")
        page.goto(path.as_uri())
        title = page.inner_text(".bd-article h1").removesuffix("#").strip()
        found.append(Chapter(part, path, title))
    return found


def printed(program: Any, chapter: Chapter) -> PdfReader:
    """One page of the book on sheets of paper, light and with everything open."""
    page = program.new_context(color_scheme="light").new_page()
    page.goto(chapter.path.as_uri())
    page.wait_for_function(READY)
    page.evaluate(OPEN)
    return PdfReader(io.BytesIO(page.pdf(**SHEET)))


def typeset(program: Any, html: str, margin: str = "25mm") -> PdfReader:
    """A piece of HTML on sheets of paper."""
    page = program.new_page()
    page.set_content(STYLE + html)
    around = dict.fromkeys(("top", "right", "bottom", "left"), margin)
    return PdfReader(io.BytesIO(page.pdf(**SHEET, margin=around)))


def contents(listed: list[Chapter], starts: list[int]) -> str:
    """Title and table of contents, as HTML."""
    lines = [
        "<div class=title><h1>Deep image hashing</h1>five papers, one protocol, reproducible results</div>"
    ]
    part = ""
    for chapter, start in zip(listed, starts, strict=True):
        if chapter.part != part:
            part = chapter.part
            lines.append(f"<h2>{escape(part)}</h2>")
        lines.append(f"<p>{escape(chapter.title)}<span></span>{start + 1}</p>")
    return "\n".join(lines)


def with_numbers(program: Any, writer: PdfWriter, first: int) -> None:
    """Put its number on every sheet from `first` on."""
    sheets = writer.pages[first:]
    html = "".join(
        f"<div class=number><b>{first + row + 1}</b></div>" for row in range(len(sheets))
    )
    for sheet, number in zip(sheets, typeset(program, html, margin="0").pages, strict=False):
        sheet.merge_page(number)


def with_links(writer: PdfWriter, starts: dict[Path, int]) -> None:
    """Lead links to other pages of the book to the sheets where these begin."""
    for row, sheet in enumerate(list(writer.pages)):
        kept, inner = [], []
        for reference in sheet.get("/Annots") or []:
            note = reference.get_object()
            address = str(note.get("/A", {}).get("/URI", ""))
            target = (
                starts.get(Path(unquote(urlparse(address).path)))
                if address.startswith("file:")
                else None
            )
            if target is not None:
                inner.append(
                    Link(rect=tuple(note["/Rect"]), target_page_index=target, fit=Fit.fit())
                )
            elif not address.startswith("file:"):  # a file of this machine leads nowhere on another
                kept.append(reference)
        sheet[NameObject("/Annots")] = ArrayObject(kept)
        for link in inner:
            writer.add_annotation(row, link)


def bound(program: Any) -> PdfWriter:
    """The whole book."""
    listed = chapters(program)
    parts = [printed(program, chapter) for chapter in listed]
    lengths = [len(part.pages) for part in parts]
    front = 0
    while True:  # the contents move the chapters, and so the numbers in the contents
        starts = [front + sum(lengths[:row]) for row in range(len(lengths))]
        opening = typeset(program, contents(listed, starts))
        if len(opening.pages) == front:
            break
        front = len(opening.pages)
    writer = PdfWriter()
    writer.append(opening, import_outline=False)
    for chapter, part in zip(listed, parts, strict=True):
        writer.append(part, outline_item=chapter.title, import_outline=False)
    with_links(writer, dict(zip((chapter.path for chapter in listed), starts, strict=True)))
    with_numbers(program, writer, front)
    writer.add_metadata({"/Title": "Deep image hashing", "/Author": "hashlab authors"})
    writer.compress_identical_objects()
    return writer


def main() -> int:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        writer = bound(engine.chromium.launch(executable_path=browser(), args=options))
    content = io.BytesIO()
    writer.write(content)
    _disk.write(TARGET, content.getvalue())
    print(f"{TARGET}: {len(writer.pages)} sheets, {len(content.getvalue()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
