"""The book on paper, from disk and on a search: on a small book of two pages, as Sphinx writes them."""

import importlib
import io
import json
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))
finish = importlib.import_module("finish")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
browser = pytest.mark.browser

NAV = """<nav class="bd-docs-nav"><ul><li><a href="{up}first.html">1. First</a></li></ul><p class="caption">Part
"two"</p><ul><li><a href="{up}book/second.html">2. Second</a></li></ul></nav>"""
PAGE = """<!doctype html><html lang="en" data-theme="light" data-content_root="{up}"><title>{title}</title>
<link rel="stylesheet" href="{up}_static/hashlab.css">{head}<body>{nav}<main role="main">
<article class="bd-article"><section id="top"><h1>{title}<a class="headerlink" href="#top">#</a></h1>{text}
</section></article></main></body></html>"""
FIRST = """<p>See <a href="book/second.html#deep">further down</a>, <a href="https://example.org/x">elsewhere</a> and
<a href="_static/hashlab.css">a file</a>.</p><svg width="90" height="20"><a href="book/second.html#deep"><text
y="15">a map</text></a></svg><section id="deep"><h2>A quokka of the first</h2><p>The quokka sits.</p>
<div class="cell"><details class="hide above-input"><summary>Show</summary><pre>FOLDED</pre></details></div>
<details class="solution"><summary>Solution</summary><p>SOLVED</p></details>
<pre>{line}</pre><script>let wombat = 1;</script></section>"""
SECOND = """<div style="height: 2000px">far</div>
<section id="deep"><h2>Deep</h2><p>A <b>numbat</b> &lt; two.</p></section>"""
LONG_LINE = "a_very_long_line " * 30


def write_book(folder, first=None, head=""):
    first = first or FIRST.format(line=LONG_LINE)
    (folder / "_static").mkdir(parents=True)
    (folder / "book").mkdir()
    shutil.copy(ROOT / "book" / "_static" / "hashlab.css", folder / "_static")
    pages = {
        "first": ("First", first, ""),
        "book/second": ("Second", SECOND, "../"),
        "search": ("Search", "", ""),
    }
    for name, (title, text, up) in pages.items():
        page = PAGE.format(title=title, text=text, up=up, nav=NAV.format(up=up), head=head)
        (folder / f"{name}.html").write_text(page)
    return folder


@pytest.fixture
def book(tmp_path):
    return write_book(tmp_path / "html")


@pytest.fixture(scope="module")
def chromium(browser_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        program = engine.chromium.launch(executable_path=browser_path, args=options)
        yield program
        program.close()


# ---- paper


def printed(chromium, folder, monkeypatch):
    """The small book as a PDF, and what is wider than the paper."""
    from pypdf import PdfReader

    pdf = importlib.import_module("pdf")
    monkeypatch.setattr(pdf, "PAGES", folder)
    page = chromium.new_page()
    listed = pdf.chapters(page)
    pdf.assembled(page, listed)
    cut = pdf.cut_lines(page)
    content = io.BytesIO()
    pdf.bound(page, listed).write(content)
    page.close()
    return PdfReader(content), cut


@browser
def test_the_book_on_paper(chromium, book, monkeypatch):
    sheets, cut = printed(chromium, book, monkeypatch)
    assert cut == []
    texts = [sheet.extract_text() for sheet in sheets.pages]
    whole = "\n".join(texts)
    assert "SOLVED" in whole and "FOLDED" not in whole
    assert whole.count("a_very_long_line") == 30  # wrapped, not cut

    # What the contents say is where the chapters are, and what stands below their sheets.
    begin = {
        title: next(i for i, text in enumerate(texts) if i > 1 and title in text)
        for title in ("First", "Second")
    }
    for title, sheet in begin.items():
        said = re.search(rf"\d\. {title}\s*(\d+)", texts[1])[1]
        assert int(said) == sheet + 1
        assert re.search(rf"(?m)^{sheet + 1}$", texts[sheet])
    assert 'Part "two"' in " ".join(texts[1].split())

    marks = sheets.outline
    assert [marks[0].title, marks[1][0].title] == ["1. First", "A quokka of the first"]
    pages_of = {
        mark.title: sheets.get_destination_page_number(mark)
        for mark in (marks[0], marks[2], marks[3][0])
    }
    assert pages_of["2. Second"] == begin["Second"] < pages_of["Deep"]

    notes = [note.get_object() for note in sheets.pages[begin["First"]].get("/Annots", [])]
    outside = [str(note["/A"]["/URI"]) for note in notes if "/URI" in note.get("/A", {})]
    assert outside == ["https://example.org/x"]  # the file of this machine leads nowhere
    inner = [
        str(note.get("/Dest") or note["/A"]["/D"]).lstrip("/")
        for note in notes
        if note.get("/A", {}).get("/S") != "/URI"
    ]
    names = {
        name.lstrip("/"): sheets.get_destination_page_number(spot)
        for name, spot in sheets.named_destinations.items()
    }
    # From the text and from the drawing; not to the first page's section of that name.
    assert [names[name] for name in inner] == 2 * [pages_of["Deep"]]


@browser
@pytest.mark.parametrize(
    "wide",
    [
        '<div style="width: 900px">W</div>',
        '<p style="white-space: nowrap">' + "word " * 90 + "</p>",
    ],
)
def test_what_is_wider_than_paper_is_told(chromium, tmp_path, monkeypatch, wide):
    _, cut = printed(
        chromium, write_book(tmp_path / "html", first=f"<h2>x</h2>{wide}"), monkeypatch
    )
    assert cut and all("is cut by" in line for line in cut)


# ---- nobody else is asked


@browser
def test_a_book_that_keeps_to_itself(chromium, book):
    offline = importlib.import_module("offline")
    assert list(offline.problems(chromium, book, sorted(book.rglob("*.html")))) == []


@browser
@pytest.mark.parametrize(
    "head, said",
    [
        (
            '<link rel="stylesheet" href="http://127.0.0.1:9/x.css">',
            "asks for http://127.0.0.1:9/x.css",
        ),
        ('<script src="{up}missing.js"></script>', "missing.js"),
        (
            "<script>fetch('http://127.0.0.1:9/data').catch(() => 0)</script>",
            "asks for http://127.0.0.1:9/data",
        ),
        (
            '<link rel="stylesheet" href="/_static/hashlab.css">',
            "_static/hashlab.css",
        ),  # from disk only
    ],
)
def test_what_a_page_asks_for_in_vain_is_told(chromium, tmp_path, head, said):
    offline = importlib.import_module("offline")
    folder = write_book(tmp_path / "html", head=head.format(up="") if "{up}" in head else head)
    lines = list(offline.problems(chromium, folder, [folder / "first.html"]))
    assert any(line.startswith("file, first.html: ") and said in line for line in lines)
    served = any(line.startswith("http, first.html: ") and said in line for line in lines)
    assert served == (not head.endswith('"/_static/hashlab.css">'))


@browser
def test_what_a_server_does_not_have_is_told(chromium, tmp_path):
    offline = importlib.import_module("offline")
    head = "<script>fetch('gone.json').catch(() => 0)</script>"
    folder = write_book(tmp_path / "html", head=head)
    lines = list(offline.problems(chromium, folder, [folder / "first.html"]))
    assert any(line.startswith("http, ") and "gone.json answers 404" in line for line in lines)


def test_a_heavy_book_is_told(book, monkeypatch):
    offline = importlib.import_module("offline")
    assert list(offline.too_large(book)) == []
    monkeypatch.setattr(offline, "LARGEST", 1000)
    assert len(list(offline.too_large(book))) == 1


# ---- what is done to the pages


def test_what_nobody_asks_for_goes_and_the_rest_stays(book):
    theirs = ("styles/theme.css.map", "vendor/icons/a.ttf", "locales/de/LC_MESSAGES/book.mo")
    kept = ("styles/theme.css", "vendor/icons/a.woff2", "locales.js")
    for name in (*theirs, *kept):
        (book / "_static" / name).parent.mkdir(parents=True, exist_ok=True)
        (book / "_static" / name).write_text("x")
    finish.lighten(book)
    assert not any((book / "_static" / name).exists() for name in theirs)
    assert all((book / "_static" / name).exists() for name in kept)


def test_a_notebook_that_is_downloaded_has_no_outputs_and_all_its_cells(book):
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=3, metadata={"tags": ["hide-input"]})
    cell.outputs = [nbformat.v4.new_output("stream", text="2")]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), cell])
    path = book / "_sources" / "notebooks" / "01_made.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    finish.lighten(book)
    lighter = nbformat.read(path, as_version=4)
    nbformat.validate(lighter)
    assert [(c.cell_type, c.source, c.id, c.metadata) for c in lighter.cells] == [
        (c.cell_type, c.source, c.id, c.metadata) for c in notebook.cells
    ]
    assert lighter.cells[1].outputs == [] and lighter.cells[1].execution_count is None


def test_the_words_of_pages_keep_their_sections(book):
    finish.keep_texts(book)
    content = (book / "_static" / finish.TEXTS).read_text()
    texts = json.loads(content.removeprefix("const PAGE_TEXTS = ").removesuffix(";\n"))
    assert set(texts) == {"first", "book/second", "search"}
    assert (
        '<section id="deep">Deep' in texts["book/second"]
        and "A numbat &lt; two." in texts["book/second"]
    )
    assert "wombat" not in texts["first"] and "#" not in texts["first"]
    assert texts["first"].count("<section") == texts["first"].count("</section>") == 2


SEARCH = """<script src="{up}_static/search-texts.js"></script><script src="{up}_static/search-offline.js"></script>"""


@browser
def test_a_search_from_disk_reads_the_words_of_other_pages(chromium, tmp_path):
    folder = write_book(tmp_path / "a book, from disk", head=SEARCH.format(up=""))
    shutil.copy(ROOT / "book" / "_static" / "search-offline.js", folder / "_static")
    finish.keep_texts(folder)
    page = chromium.new_page()
    page.goto((folder / "search.html").as_uri())
    read = "name => fetch(name).then(answer => answer.text()).catch(() => 'forbidden')"
    assert "numbat" in page.evaluate(read, "book/second.html")
    assert page.evaluate(read, "_static/hashlab.css") == "forbidden"
    page.close()
