"""`book/check.py`: each fault of a page is said, at its width and in its colours; a good page is not
looked at again until something changes.
"""

import contextlib
import importlib
import io
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
check = importlib.import_module("check")

PAGE = """<!doctype html><html lang="en"><head><title>{name}</title><meta name="viewport"
content="width=device-width"><style>body {{ background: #fff; color: #000 }} @media
(prefers-color-scheme: dark) {{ body {{ background: #000; color: #fff }} .dark {{ color: #222 }} }}
</style></head><body><main class="bd-article"><h1>{name}</h1>{content}</main></body></html>"""
WORDS = "<span>word</span>" * 9
LONG = "long" * 500
# name -> (what the page has, what is said of it, how often it is looked at so that it is seen)
FAULTS = {
    "wide": ('<div style="width: 2000px">x</div>', "px wider than the screen", 6),
    "wide for a phone": ('<div style="width: 600px">x</div>', "(360 px, light): the page is", 1),
    "cut": (f'<div style="overflow: hidden">{LONG}</div>', "div is cut by", 6),
    "scrolls": (f'<pre tabindex="0" style="overflow: auto">{LONG}</pre>', "pre is cut by", 2),
    "headings": ("<h3>deep</h3>", "heading 'deep' of level 3 follows one of level 1", 1),
    "a picture": ('<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">', "image-alt", 1),
    "pale": ('<p style="color: #888">pale</p>', "(1280 px, light): color-contrast", 1),
    "pale in the dark": ('<p class="dark">pale</p>', "(1280 px, dark): color-contrast", 1),
    "one of many": (
        f'{WORDS}<span style="color: #888">pale</span>',
        "(1280 px, light): color-contrast",
        1,
    ),
    "on another ground": (
        f'{WORDS}<p style="background: #888">{WORDS}</p><p style="color: #000">x</p>',
        "(1280 px, dark): color-contrast",
        1,
    ),
    "hidden before": (
        f'<div hidden style="color: #888">{WORDS}</div><div style="color: #888">{WORDS}</div>',
        "(1280 px, light): color-contrast",
        1,
    ),
    "another host": ('<img alt="" src="http://127.0.0.1:9/x.png">', "asks another host: http:", 1),
    "a script": ("<script>throw Error('not today')</script>", "a script fails: not today", 1),
}
GOOD = f'{WORDS}<div hidden style="color: #888">x</div><pre style="overflow: auto">code</pre>'


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.html"
    file.write_text(PAGE.format(name=name, content=content))
    return file


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What was said of all pages, and how much of each: ([line, …], {name: number})."""
    folder = tmp_path_factory.mktemp("pages")
    pages = [write(folder, name, content) for name, (content, *_) in FAULTS.items()]
    pages.append(write(folder, "good", GOOD))
    with contextlib.redirect_stdout(io.StringIO()) as out:
        count = check.look_at_all(folder, pages)
    return out.getvalue().splitlines(), {path.stem: number for path, number in count.items()}


@pytest.mark.browser
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_said(name, looked):
    lines, count = looked
    _, words, times = FAULTS[name]
    about = [line for line in lines if line.startswith(f"{name}.html ")]
    assert len([line for line in about if words in line]) == times, about
    assert count[name] == len(about)


@pytest.mark.browser
def test_nothing_is_said_of_a_good_page(looked):
    lines, count = looked
    assert count["good"] == 0 and not any(line.startswith("good") for line in lines)


def test_a_good_page_is_looked_at_again_when_something_changed(tmp_path):
    folder = tmp_path / "html"
    style = folder / "_static" / "style.css"
    style.parent.mkdir(parents=True)
    style.write_text("p { color: red }")
    (folder / "picture.svg").write_text("<svg/>")
    good, other, faulty = (
        write(folder, name, '<img alt="" src="picture.svg?v=1">' if name == "good" else "")
        for name in ("good", "other", "faulty")
    )
    assert check.changed(folder, [good, other, faulty]) == [good, other, faulty]
    check.keep(folder, {good: 0, faulty: 2})
    check.keep(folder, {other: 0})
    assert check.changed(folder, [good, other, faulty]) == [faulty]
    (folder / "picture.svg").write_text("<svg></svg>")
    assert check.changed(folder, [good, other]) == [good]
    write(folder, "other", "news")
    assert check.changed(folder, [good, other]) == [good, other]
    check.keep(folder, {good: 0, other: 0})
    style.write_text("p { color: pink }")
    check._common.cache_clear()
    assert check.changed(folder, [good, other]) == [good, other]
    check.keep(folder, {good: 1})
    assert check.changed(folder, [good]) == [good]


def test_new_texts_concern_only_the_page_that_searches_them(tmp_path):
    folder = tmp_path / "html"
    texts = folder / "_static" / "search-texts.js"
    texts.parent.mkdir(parents=True)
    texts.write_text("before")
    script = '<script src="_static/search-texts.js?v=1"></script>'
    both = [write(folder, name, script * (name == "search")) for name in ("search", "other")]
    check.keep(folder, dict.fromkeys(both, 0))
    texts.write_text("after")
    check._common.cache_clear()
    assert check.changed(folder, both) == both[:1]
