"""Looks at the rendered book as readers do: every page in a browser, wide and narrow, light and dark.

    python book/check.py [PAGE …]      # a page is a name such as 01_hamming_space; all where none is given

It says, and ends with 1, where
- something is wider than the screen, or is cut where it cannot be scrolled;
- anything has to be scrolled sideways at the width of a desk;
- a page asks another host for anything, or a script fails;
- axe-core finds a serious barrier: an image without a description, colours too close, …;
- headings skip a level;
- a text has a word that codespell knows to be misspelt.

A page that was found good is not looked at again until it, what it loads, or this file changes;
_build/checked.json keeps which ones these are. A page that is named is looked at in any case.

Needs the extra `check`, and Chromium: in $CHROMIUM, or under its usual names.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from finish import TEXTS as SEARCHED
from hashlab_book import ROOT

from hashlab.files import _disk

PAGES = ROOT / "_build" / "html"
# Beside the pages: {page: digest of all that it is made of}; none for what is faulty.
CHECKED = "checked.json"
AT_A_TIME = min(os.cpu_count() or 1, 8)  # browsers
PATIENCE = 300_000  # milliseconds for a page to be there, on a busy machine
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "book",
    "notebooks",
    "src",
    "data/README.md",
)
NAMES = ("chromium", "chromium-browser", "google-chrome")  # of the browser
PHONE, TABLET, DESK = 360, 768, 1280  # widths in pixels
WIDTHS, SCHEMES = (PHONE, TABLET, DESK), ("light", "dark")
SERIOUS = ("serious", "critical")
READY = "() => !window.MathJax?.startup || MathJax.startup.promise.then(() => true)"
# Boxes whose content is wider than they are: [how far, whether it can be scrolled, kind, first words]
OVERFLOW = """() => {
    const wide = [];
    for (const box of document.querySelectorAll(".bd-article *")) {
        const over = box.scrollWidth - box.clientWidth;
        const inline = getComputedStyle(box).display === "inline";
        if (over <= 1 || !box.clientWidth || inline || box.closest("svg, mjx-assistive-mml, .math:not(div)")) continue;
        const flow = getComputedStyle(box).overflowX;
        if (flow === "visible") continue;
        wide.push([over, flow !== "hidden", box.tagName.toLowerCase(), box.innerText.trim().slice(0, 50)]);
    }
    return {page: document.documentElement.scrollWidth - document.documentElement.clientWidth, wide};
}"""
HEADINGS = """() => [...document.querySelectorAll(".bd-article :is(h1, h2, h3, h4, h5, h6)")]
    .map(heading => [Number(heading.tagName[1]), heading.innerText])"""
# Once the page has taken its new width or colours.
SETTLED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# Code has thousands of words in a dozen colours, and axe-core takes its time for each. What looks as
# words before it do, on the same ground, is taken out before colours are compared, from the fourth on.
TAKE_TWINS = """() => {
    const grounds = new Map([[null, ""]]);
    const ground = box => {
        if (!grounds.has(box)) {
            const {backgroundColor, backgroundImage, opacity, position} = getComputedStyle(box);
            grounds.set(box, `${ground(box.parentElement)}/${[backgroundColor, backgroundImage, opacity, position]}`);
        }
        return grounds.get(box);
    };
    const times = new Map();
    const twins = [];
    for (const box of document.querySelectorAll("body *")) {
        if (box.childElementCount || !box.checkVisibility()) continue;
        const {color, fill, fontSize, fontWeight, textShadow, visibility} = getComputedStyle(box);
        const look = [ground(box), color, fill, fontSize, fontWeight, textShadow, visibility].join();
        times.set(look, (times.get(look) ?? 0) + 1);
        if (times.get(look) > 3) twins.push(box);
    }
    for (const twin of twins) twin.remove();
}"""
# What axe-core runs.
ALL_BUT_COLOURS = {"rules": {"color-contrast": {"enabled": False}}, "resultTypes": ["violations"]}
COLOURS = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}


class Look(NamedTuple):
    """How a page is looked at: width in pixels, and the reader's colours."""

    width: int
    scheme: str

    def __str__(self) -> str:
        return f"{self.width} px, {self.scheme}"


def browser() -> str:
    """The path of Chromium; ends the program where there is none."""
    names = [os.environ.get("CHROMIUM", ""), *NAMES]
    for name in names:
        if name and (path := shutil.which(name)):
            return path
    sys.exit(
        f"check-book needs Chromium: install it, or name it in $CHROMIUM (looked for {', '.join(NAMES)})"
    )


def pages(folder: Path, names: list[str]) -> list[Path]:
    """The rendered pages with these names, or all; ends the program where one is missing."""
    found = sorted(page for page in folder.rglob("*.html") if "_static" not in page.parts)
    if not found:
        sys.exit(f"no pages in {folder}: run `make book` first")
    unknown = sorted(set(names) - {page.stem for page in found})
    if unknown:
        sys.exit(f"no such page: {', '.join(unknown)}")
    return [page for page in found if not names or page.stem in names]


def too_wide(page: Any, width: int) -> Iterator[str]:
    """What is wider than its box; at the width of a desk nothing may be, even if it can be scrolled."""
    found = page.evaluate(OVERFLOW)
    if found["page"] > 0:
        yield f"the page is {found['page']} px wider than the screen"
    for over, scrolls, kind, words in found["wide"]:
        if width >= DESK or not scrolls:
            yield f"{kind} is cut by {over} px: {words!r}"


def skipped_headings(page: Any) -> Iterator[str]:
    last = 0
    for level, words in page.evaluate(HEADINGS):
        if level > last + 1:
            yield f"heading {words!r} of level {level} follows one of level {last}"
        last = level


def barriers(page: Any) -> Iterator[str]:
    """What axe-core finds that keeps some readers out, but for colours."""
    yield from violations(page, ALL_BUT_COLOURS)


def pale_words(page: Any) -> Iterator[str]:
    """What axe-core finds of colours that are too close; the page has lost most of its words then."""
    page.evaluate(TAKE_TWINS)
    yield from violations(page, COLOURS)


def violations(page: Any, options: dict[str, Any]) -> Iterator[str]:
    from axe_playwright_python.sync_playwright import Axe

    for violation in Axe().run(page, options=options).response["violations"]:
        if violation["impact"] in SERIOUS:
            first = violation["nodes"][0]["html"][:80]
            yield f"{violation['id']}: {violation['help']} ({len(violation['nodes'])} times, first {first})"


def problems(page: Any, look: Look) -> Iterator[str]:
    """What hangs on the width, and in the last look of a scheme what hangs on the colours or on neither."""
    yield from too_wide(page, look.width)
    if look.width == DESK and look.scheme == SCHEMES[0]:
        yield from skipped_headings(page)
        yield from barriers(page)
    if look.width == DESK:
        yield from pale_words(page)


def seen(page: Any, address: str) -> Iterator[str]:
    """What is wrong with a page: it is opened in each scheme, and then changes its width."""
    events: list[str] = []
    page.on("request", lambda request: events.extend(_foreign(request.url)))
    page.on("pageerror", lambda error: events.append(f"a script fails: {error}"))
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.goto(address)
        page.wait_for_function(READY)
        for look in (Look(width, scheme) for width in WIDTHS):
            page.set_viewport_size({"width": look.width, "height": 900})
            page.evaluate(SETTLED)
            yield from (f"({look}): {problem}" for problem in problems(page, look))
    yield from dict.fromkeys(events)


@contextmanager
def opened() -> Iterator[Any]:
    """Chromium."""
    from playwright.sync_api import sync_playwright

    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as engine:
        program = engine.chromium.launch(executable_path=browser(), args=options)
        yield program
        program.close()


def look_at(folder: Path, chosen: list[Path]) -> dict[Path, int]:
    """Print what is wrong with the pages, seen in one browser; returns how much it was of each."""
    count = {}
    with opened() as program:
        for path in chosen:
            page = program.new_page(viewport={"width": PHONE, "height": 900})
            page.set_default_timeout(PATIENCE)
            wrong = list(seen(page, path.as_uri()))
            page.close()
            for problem in wrong:
                print(f"{path.relative_to(folder)} {problem}", flush=True)
            count[path] = len(wrong)
    return count


def look_at_all(folder: Path, chosen: list[Path]) -> dict[Path, int]:
    """As `look_at`, in several browsers at a time; the largest pages are first."""
    ordered = sorted(chosen, key=lambda path: -path.stat().st_size)
    shares = [share for k in range(AT_A_TIME) if (share := ordered[k::AT_A_TIME])]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        counts = pool.map(partial(look_at, folder), shares)
        return {path: number for count in counts for path, number in count.items()}


# ---- what was found good before


@cache
def _common(folder: Path) -> bytes:
    """Digest of what every page hangs on: this file, scripts and styles, but for what the search reads."""
    files = sorted(path for path in (folder / "_static").rglob("*") if path.is_file())
    static = [path for path in files if path.name != SEARCHED]
    return _digest([Path(__file__), *static])


def _digest(files: list[Path], start: bytes = b"") -> bytes:
    total = hashlib.sha256(start)
    for file in files:
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.digest()


def made_of(folder: Path, page: Path) -> str:
    """Digest of a page and of all that it shows."""
    names = re.findall(r'\b(?:src|data)="([^":]+)"', page.read_text(encoding="utf-8"))
    shown = [page.parent / name.split("?")[0] for name in names]
    return _digest([page, *filter(Path.is_file, shown)], _common(folder)).hex()


def good_ones(folder: Path) -> dict[str, str]:
    file = folder.parent / CHECKED
    return json.loads(file.read_text()) if file.is_file() else {}


def changed(folder: Path, chosen: list[Path]) -> list[Path]:
    """Those of the pages that were not found good as they are."""
    good = good_ones(folder)
    return [path for path in chosen if good.get(_name(folder, path)) != made_of(folder, path)]


def keep(folder: Path, count: dict[Path, int]) -> None:
    """Note which of the pages have nothing wrong."""
    news = {
        _name(folder, path): "" if number else made_of(folder, path)
        for path, number in count.items()
    }
    text = json.dumps(good_ones(folder) | news, indent=1) + "\n"
    _disk.write(folder.parent / CHECKED, text.encode())


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


# ---- what needs no browser


def _foreign(address: str) -> list[str]:
    """What to say of a request that leaves the book."""
    inside = address.startswith(("file:", "data:", "blob:", "about:"))
    return [] if inside else [f"asks another host: {address}"]


def misspelt() -> int:
    """Print words that codespell knows to be wrong; returns how many lines it says."""
    command = [
        sys.executable,
        "-m",
        "codespell_lib",
        "--skip",
        "*.ipynb,*.bib,*.css,*.js,*.svg,*.png",
    ]
    done = subprocess.run([*command, *TEXTS], cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, end="")
    return len(done.stdout.splitlines())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="PAGE")
    parser.add_argument("--folder", type=Path, default=PAGES, help="of the rendered pages")
    chosen = parser.parse_args()
    folder = chosen.folder.resolve()
    wanted = pages(folder, chosen.names)
    again = wanted if chosen.names else changed(folder, wanted)
    count = look_at_all(folder, again)
    keep(folder, count)
    if len(again) < len(wanted):
        print(
            f"{len(wanted) - len(again)} pages are as they were when nothing was wrong with them."
        )
    total = sum(count.values()) + misspelt()
    print(f"{total} problems" if total else "Every page can be read.")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
