"""The whole book as one PDF: `_build/hashlab.pdf`, made of the rendered pages by Chromium.

    python book/pdf.py

The texts of all pages become one page, with the style for paper in hashlab.css, every solution open, and
links that lead from text to text. Chromium prints it twice: where the chapters begin, as the first
printing tells, stands in the contents of the second. Code that is folded away in the book is left out.

It ends with 1, and says where, if a line is wider than the paper.

Needs the extra `check`, and Chromium, as book/check.py does.
"""

from __future__ import annotations

import io
import sys
from html import escape
from typing import Any, NamedTuple

from check import PAGES, READY, browser
from hashlab_book import ROOT
from pypdf import PdfReader, PdfWriter

from hashlab.files import _disk

TARGET = ROOT / "_build" / "hashlab.pdf"
TITLE = "Deep image hashing"
SUBTITLE = "Five papers, one protocol, reproducible results"
NOTE = (
    "Solutions stand below their exercises. Code that only draws or looks things up, which the pages on a "
    "screen fold away, is not printed."
)
WIDTH = 680  # of the text on paper, in CSS pixels: A4 less the margins of hashlab.css
# The pages that the sidebar leads to: [part of the book, title, address]
LISTED = """() => {
    const listed = [];
    let part = "";
    for (const entry of document.querySelectorAll(".bd-docs-nav .caption, .bd-docs-nav li > a")) {
        if (entry.matches(".caption")) part = entry.textContent.trim();
        else listed.push([part, entry.textContent.trim(), entry.href]);
    }
    return listed;
}"""
# The text of a page for one document of many: its names get a prefix that no other page has, and addresses are whole.
TEXT = """([prefix, prefixes]) => {
    const text = document.querySelector(".bd-article");
    const fold = ".hide.above-input, .cell.tag_hide-cell, .headerlink, .copybtn, script, style, button.toggle-details";
    text.querySelectorAll(fold).forEach(box => box.remove());
    text.querySelectorAll("details").forEach(box => box.open = true);
    text.querySelectorAll(".toggle-hidden").forEach(box => box.classList.remove("toggle-hidden"));
    text.querySelectorAll("img").forEach(image => { image.src = image.src; image.loading = "eager"; });
    for (const box of text.querySelectorAll("[id]"))
        if (!box.closest("svg")) box.id = `${prefix}-${box.id}`;
    for (const link of text.querySelectorAll("a[href]")) {
        const whole = new URL(link.getAttribute("href"), document.baseURI);  // drawings have links, too
        const [page, name] = whole.href.split("#");
        if (page in prefixes) link.setAttribute("href", "#" + prefixes[page] + (name ? `-${name}` : ""));
        else if (page.startsWith("file:")) link.removeAttribute("href");  // leads nowhere on another machine
    }
    const sections = [...text.querySelectorAll("section section")]
        .filter(section => section.querySelector(":scope > h2"))
        .map(section => [section.id, section.querySelector("h2").textContent.trim()]);
    return [text.innerHTML, sections];
}"""
PUT = """html => {
    document.body.innerHTML = `<main class="bd-content book"><article class="bd-article">${html}</article></main>`;
    return Promise.all([...document.images].map(image => image.decode().catch(() => 0)));
}"""
# What sticks out of the paper: [by how many pixels, kind, first words]
CUT = """width => [...document.querySelectorAll(".bd-article :is(p, pre, table, img, div, mjx-container, span)")]
    .map(box => [box, box.getBoundingClientRect()])
    .map(([box, edges]) => [Math.round(edges.left + Math.max(edges.width, box.scrollWidth) - width), box])
    .filter(([over, box]) => over > 1 && !box.closest("svg, mjx-assistive-mml, .visually-hidden"))
    .map(([over, box]) => [over, box.tagName.toLowerCase(), box.textContent.trim().slice(0, 50)])"""
NUMBERS = """numbers => document.querySelectorAll(".contents b")
    .forEach((number, row) => number.textContent = numbers[row])"""
STYLE = """
  .book .bd-article { font-family: inherit }
  .front { page: front; break-after: page } .front h1 { margin-top: 60mm }
  .contents p { margin: 0.6mm 0; display: flex }
  .contents i { flex: 1; border-bottom: 1px dotted #999; margin: 0 2mm 1mm }
  .contents h3 { margin: 4mm 0 1mm } .contents b { font-weight: normal; min-width: 3em; text-align: right }
  .contents a { color: inherit; text-decoration: none }
"""


class Chapter(NamedTuple):
    """A page of the book: its part, title and address; its text as HTML, and [name, title] of its sections."""

    part: str
    title: str
    address: str
    name: str
    text: str = ""
    sections: tuple[tuple[str, str], ...] = ()


def chapters(page: Any) -> list[Chapter]:
    """The pages in the order of the book's contents, with their texts."""
    start = PAGES / "search.html"
    if not start.is_file():
        sys.exit(f"{start} is missing: run `make book` first")
    page.goto(start.as_uri())
    listed = [
        Chapter(part, title, address, f"page{number}")
        for number, (part, title, address) in enumerate(page.evaluate(LISTED))
    ]
    prefixes = {chapter.address: chapter.name for chapter in listed}
    return [with_text(page, chapter, prefixes) for chapter in listed]


def with_text(page: Any, chapter: Chapter, prefixes: dict[str, str]) -> Chapter:
    """The chapter as its page shows it, mathematics included."""
    page.goto(chapter.address)
    page.wait_for_function(READY)
    text, sections = page.evaluate(TEXT, [chapter.name, prefixes])
    return chapter._replace(text=text, sections=tuple(map(tuple, sections)))


def contents(listed: list[Chapter]) -> str:
    """Title and table of contents, as HTML; the numbers are still to come."""
    lines = [f"<div class=front><h1>{TITLE}</h1><p>{SUBTITLE}</p><p>{NOTE}</p></div>"]
    lines.append('<div class="front contents">')
    part = ""
    for chapter in listed:
        if chapter.part != part:
            part = chapter.part
            lines.append(f"<h3>{escape(part)}</h3>")
        link = f'<a href="#{chapter.name}">{escape(chapter.title)}</a>'
        lines.append(f"<p>{link}<i></i><b>000</b></p>")
    # Chromium notes the sheet of a name only where a link leads to it; bookmarks need those of all sections.
    names = [name for chapter in listed for name, _ in chapter.sections]
    links = "".join(f'<a href="#{name}"></a>' for name in names)
    return "\n".join([*lines, "</div>", f"<div hidden>{links}</div>"])


def heads(listed: list[Chapter]) -> str:
    """The style of each chapter's sheets: its title above, the number of the sheet below."""
    number = "@bottom-center { content: counter(page); font: 8pt sans-serif }"
    rules = [STYLE, "@page front { @bottom-center { content: none } }"]
    for chapter in listed:
        title = chapter.title.replace("\\", "\\\\").replace('"', '\\"')
        head = f'@top-right {{ content: "{title}"; font: 8pt sans-serif; color: #555 }}'
        rules.append(f"@page {chapter.name} {{ {head} {number} }}")
    return "\n".join(rules)


def assembled(page: Any, listed: list[Chapter]) -> None:
    """Make `page` one page that holds the whole book."""
    texts = [
        f'<div id="{chapter.name}" style="page: {chapter.name}">{chapter.text}</div>'
        for chapter in listed
    ]
    page.goto(listed[0].address)  # for its styles
    page.wait_for_function(READY)
    page.evaluate(PUT, "\n".join([contents(listed), *texts]))
    page.add_style_tag(content=heads(listed))


def cut_lines(page: Any) -> list[str]:
    """What is wider than the paper."""
    page.emulate_media(media="print", color_scheme="light")
    page.set_viewport_size({"width": WIDTH, "height": 900})
    return [
        f"{kind} is cut by {over} px: {words!r}" for over, kind, words in page.evaluate(CUT, WIDTH)
    ]


def printed(page: Any) -> PdfReader:
    return PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True, print_background=True)))


def starts(sheets: PdfReader) -> dict[str, int]:
    """The sheet, counted from 0, on which each name of the document stands."""
    names = sheets.named_destinations
    return {
        name.lstrip("/"): sheets.get_destination_page_number(spot) for name, spot in names.items()
    }


def bound(page: Any, listed: list[Chapter]) -> PdfWriter:
    """The book with its contents filled in, and with bookmarks."""
    first = starts(printed(page))
    page.evaluate(NUMBERS, [first[chapter.name] + 1 for chapter in listed])
    sheets = printed(page)
    writer = PdfWriter(clone_from=sheets)
    sheet_of = starts(sheets)
    for chapter in listed:
        mark = writer.add_outline_item(title=chapter.title, page_number=sheet_of[chapter.name])
        for name, title in chapter.sections:
            if name in sheet_of:
                writer.add_outline_item(title=title, page_number=sheet_of[name], parent=mark)
    writer.add_metadata({"/Title": TITLE, "/Author": "hashlab authors"})
    return writer


def main() -> int:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        program = engine.chromium.launch(executable_path=browser(), args=options)
        page = program.new_context(color_scheme="light").new_page()
        page.set_default_timeout(300_000)
        listed = chapters(page)
        assembled(page, listed)
        problems = cut_lines(page)
        writer = bound(page, listed)
    content = io.BytesIO()
    writer.write(content)
    _disk.write(TARGET, content.getvalue())
    print(
        "\n".join(
            [*problems, f"{TARGET}: {len(writer.pages)} sheets, {content.tell() / 1e6:.1f} MB"]
        )
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
