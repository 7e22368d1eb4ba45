"""Looks at the rendered book as readers do: every page in a browser, wide and narrow, light and dark.

    python book/check.py [PAGE …]      # a page is a name such as 01_hamming_space; all where none is given

It says, and ends with 1, where
- something is wider than the screen, or is cut where it cannot be scrolled;
- anything has to be scrolled sideways at the width of a desk;
- a page asks another host for anything, or a script fails;
- axe-core finds a serious barrier: an image without a description, colours too close, …;
- headings skip a level;
- a text has a word that codespell knows to be misspelt.

Needs the extra `check`, and Chromium: in $CHROMIUM, or under its usual names.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hashlab_book import ROOT

PAGES = ROOT / "_build" / "html"
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
LOOKS = [(width, scheme) for scheme in ("light", "dark") for width in (PHONE, TABLET, DESK)]
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


def barriers(page: Any, axe: Any) -> Iterator[str]:
    """What axe-core finds that keeps some readers out."""
    for violation in axe.run(page).response["violations"]:
        if violation["impact"] in SERIOUS:
            first = violation["nodes"][0]["html"][:80]
            yield f"{violation['id']}: {violation['help']} ({len(violation['nodes'])} times, first {first})"


def problems(page: Any, look: Look, axe: Any) -> Iterator[str]:
    yield from too_wide(page, look.width)
    if look.width == DESK:  # what does not hang on the width is looked at once for each scheme
        yield from skipped_headings(page)
        yield from barriers(page, axe)


def look_at(chosen: list[Path], folder: Path) -> int:
    """Print what is wrong with the pages; returns how much it was."""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    count = 0
    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        program = engine.chromium.launch(executable_path=browser(), args=options)
        for look in (Look(*look) for look in LOOKS):
            size = {"width": look.width, "height": 900}
            page = program.new_context(viewport=size, color_scheme=look.scheme).new_page()
            events: list[str] = []
            page.on("request", lambda request, events=events: events.extend(_foreign(request.url)))
            page.on(
                "pageerror", lambda error, events=events: events.append(f"a script fails: {error}")
            )
            for path in chosen:
                events.clear()
                page.goto(path.as_uri())
                page.wait_for_function(READY)
                for problem in [*problems(page, look, Axe()), *events]:
                    count += 1
                    print(f"{path.relative_to(folder)} ({look}): {problem}", flush=True)
        program.close()
    return count


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
    count = look_at(pages(folder, chosen.names), folder) + misspelt()
    print(f"{count} problems" if count else "Every page can be read.")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
