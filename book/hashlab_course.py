"""Sphinx extension: what the pages for courses say of the book itself, computed when it is built.

`{reading-map}` draws which chapter needs which, `{chapter-times}` lists how long each takes,
`{status}` what this copy was built with, `{cite-this-book}` how to cite it.
"""

import json
import re
import sys
import tomllib
from html import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jupytext
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

ROOT = Path(__file__).resolve().parents[1]
READING = 150  # words a minute, with a pencil
EXERCISE = 10  # minutes
BOX = (132, 50)  # pixels of the reading map
STEP = (178, 74)
EDGE = 8
PACKAGES = "torch torchvision numpy matplotlib scikit-learn scipy numba faiss-cpu timm jupyter-book"


def chapters() -> list[dict[str, Any]]:
    """The chapters in the order of their files, as course.toml describes them, with their titles."""
    described = tomllib.loads((ROOT / "book" / "course.toml").read_text())["chapters"]
    for chapter in described:
        chapter["notebook"] = jupytext.read(
            ROOT / "notebooks" / f"{chapter['file']}.py", fmt="py:percent"
        )
        first = chapter["notebook"].cells[0].source
        chapter["title"] = re.search(r"^# (.+)$", first, re.MULTILINE).group(1)
    return sorted(described, key=lambda chapter: chapter["file"])


def words(text: str) -> int:
    """What a reader meets: a formula is one word, the frames of tables are none."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$]+\$", " formula ", text, flags=re.DOTALL)
    text = re.sub(r"^\|?[-| :]+\|?$|\|", " ", text, flags=re.MULTILINE)
    return len(text.split())


def minutes(notebook: Any) -> tuple[int, int]:
    """For reading a chapter, and for its exercises."""
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    exercises = len(re.findall(r"^#+ Exercise", text, re.MULTILINE))
    is_open = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    return 5 * round(words(is_open) / READING / 5), EXERCISE * exercises


def seconds() -> dict[str, int]:
    return json.loads((ROOT / "book" / "seconds.json").read_text())


class Markdown(Directive):
    """A directive that writes a piece of the page."""

    def markdown(self) -> str:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        node = nodes.container()
        self.state.nested_parse(StringList(self.markdown().splitlines()), 0, node)
        return node.children


class ChapterTimes(Markdown):
    """How long each chapter takes, and what it needs."""

    def markdown(self) -> str:
        lines = ["| chapter | needs | reading | exercises | runs in |", "|---|---|---|---|---|"]
        measured, total = seconds(), 0
        for chapter in chapters():
            reading, exercises = minutes(chapter["notebook"])
            total += reading + exercises
            needs = ", ".join(map(number, chapter["needs"])) or "–"
            runs = f"{measured[chapter['file']]} s" if chapter["file"] in measured else "–"
            link = f"{number(chapter['file'])} · {{doc}}`../notebooks/{chapter['file']}`"
            lines.append(f"| {link} | {needs} | {reading} min | {exercises} min | {runs} |")
        caption = (
            f"Reading at {READING} words a minute and ten minutes an exercise, in all {total / 60:.0f} hours; "
            f"the seconds of the notebook on two cores, – where they were not measured"
        )
        return "\n".join([*lines, "", f"Table: {caption}."])


def number(chapter: str) -> str:
    """A chapter's number, as 9b of 09b_honest_bits."""
    return chapter.split("_")[0].lstrip("0")


class Status(Markdown):
    """What this copy was built with, and how long each notebook runs."""

    def markdown(self) -> str:
        lines = ["| package | version |", "|---|---|", f"| Python | {sys.version.split()[0]} |"]
        lines += [f"| {name} | {found} |" for name in PACKAGES.split() if (found := _version(name))]
        lines += ["", "Table: What this copy of the book was built with.", ""]
        lines += ["| notebook | seconds |", "|---|---|"]
        measured = seconds()
        for source in sorted((ROOT / "notebooks").glob("[0-9]*.py")):
            took = measured.get(source.stem, "–")
            lines.append(f"| {{doc}}`../notebooks/{source.stem}` | {took} |")
        return "\n".join(
            [
                *lines,
                "",
                "Table: How long each notebook took, on two cores; – where that was not measured.",
            ]
        )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


class CiteThisBook(Markdown):
    """A BibTeX entry of CITATION.cff's facts."""

    def markdown(self) -> str:
        text = (ROOT / "CITATION.cff").read_text()
        facts = dict(re.findall(r'^(\w[\w-]*): "?(.*?)"?$', text, re.MULTILINE))
        authors = " and ".join(re.findall(r"- name: (.+)", text))
        lines = [
            "```bibtex",
            "@software{hashlab,",
            f"  title   = {{{facts['title']}}},",
            f"  author  = {{{{{authors}}}}},",
            f"  version = {{{facts['version']}}},",
        ]
        if "repository-code" in facts:
            lines.append(f"  url     = {{{facts['repository-code']}}},")
        return "\n".join([*lines, "}", "```"])


class ReadingMap(Directive):
    """Which chapter needs which, as a picture whose boxes are links."""

    def run(self) -> list[nodes.Node]:
        here = self.state.document.settings.env.docname
        up = "../" * here.count("/")
        return [nodes.raw("", drawing(chapters(), up), format="html")]


def drawing(described: list[dict[str, Any]], up: str = "") -> str:
    """The reading map as SVG; colours are those of the page, by classes of hashlab.css."""
    corner = {
        c["file"]: tuple(EDGE + n * s for n, s in zip(c["at"], STEP, strict=True))
        for c in described
    }
    width = max(x for x, _ in corner.values()) + BOX[0] + EDGE
    height = max(y for _, y in corner.values()) + BOX[1] + EDGE
    parts = [_arrow(corner[need], corner[c["file"]]) for c in described for need in c["needs"]]
    parts += [_box(c, corner[c["file"]], up) for c in described]
    head = '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    head += '<path d="M0 0 8 4 0 8z"/></marker>'
    label = "Reading map: an arrow leads from a chapter to one that builds on it. The table below says the same."
    return (
        f'<div class="reading-map"><svg viewBox="0 0 {width} {height}" role="group" aria-label="{label}">'
        f"<defs>{head}</defs>{''.join(parts)}</svg></div>"
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + BOX[0], start[1] + BOX[1] / 2
    to_x, to_y = end[0] - 3, end[1] + BOX[1] / 2
    bend = (to_x - x) / 2
    curve = f"M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"
    return f'<path class="way" d="{curve}" marker-end="url(#tip)"/>'


def _box(chapter: dict[str, Any], corner: tuple[int, int], up: str) -> str:
    x, y = corner
    first, *rest = chapter["label"].split("\n")
    lines = [f"{number(chapter['file'])} · {first}", *rest]
    top = y + BOX[1] / 2 + 5 - 9 * (len(lines) - 1)
    text = "".join(
        f'<text x="{x + BOX[0] / 2}" y="{top + 18 * i}">{escape(line)}</text>'
        for i, line in enumerate(lines)
    )
    return (
        f'<a href="{up}notebooks/{chapter["file"]}.html"><title>{escape(chapter["title"])}</title>'
        f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="7"/>{text}</a>'
    )


def setup(app: Any) -> dict[str, Any]:
    app.add_directive("chapter-times", ChapterTimes)
    app.add_directive("status", Status)
    app.add_directive("cite-this-book", CiteThisBook)
    app.add_directive("reading-map", ReadingMap)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
