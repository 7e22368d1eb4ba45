"""What every page of the book keeps to: its length, what is folded, captions, exercises, letters."""

import importlib.util
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "notebooks").glob("*.py"))
CHAPTERS = [path for path in PAGES if re.match(r"\d\d[a-z]?_", path.name)]
OF_RECORDS = re.compile(r"(_on_real_images|_one_table)$")  # pages that draw what was run elsewhere
MOST_WORDS = 3_500
MOST_OPEN_LINES = 350
SPEC = importlib.util.spec_from_file_location("course", ROOT / "book" / "hashlab_course.py")
course = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(course)
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}


def name(path):
    return path.stem


def cells(path, kind):
    return [cell for cell in jupytext.read(path, fmt="py:percent").cells if cell.cell_type == kind]


def texts(path):
    """The Markdown of a page, its folded solutions left out."""
    text = "\n\n".join(cell.source for cell in cells(path, "markdown"))
    return re.sub(r"<details class=\"solution\">.*?</details>", "", text, flags=re.DOTALL)


def is_folded(cell):
    return bool(FOLDED & set(cell.metadata.get("tags", [])))


def about(cell, kind):
    """The caption and name that the metadata of a cell give its figure or table."""
    return cell.metadata.get("mystnb", {}).get(kind, {})


def is_picture(data):
    return any(kind.startswith("image/") for kind in data)


@pytest.mark.parametrize(
    "text, count",
    [
        ("two words", 2),
        ("a $x + y$ b $$\nx\n$$ c", 5),
        ("| a | b |\n|---|---|\n| 1 | two three |", 5),
    ],
)
def test_words_are_counted_as_a_reader_meets_them(text, count):
    assert course.words(text) == count


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_a_page_can_be_finished(path):
    assert course.words(texts(path)) <= MOST_WORDS
    is_open = [cell for cell in cells(path, "code") if not is_folded(cell)]
    lines = [line for cell in is_open for line in cell.source.splitlines() if line.strip()]
    assert len(lines) <= MOST_OPEN_LINES, "open code is what teaches; the rest is folded"


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_assertions_are_folded(path):
    closing = [cell for cell in cells(path, "code") if cell.source.count("\nassert ") >= 2]
    assert closing and all(map(is_folded, closing))


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_figures_and_tables_have_captions(path):
    """And so numbers; names are unique and say what they are of."""
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    names = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        made = [output.get("data", {}) for output in cell.outputs]
        for kind, start, has in (
            ("figure", "fig:", any(map(is_picture, made))),
            ("table", "tbl:", any("\n|--" in data.get("text/markdown", "") for data in made)),
        ):
            if has:
                shown = about(cell, kind)
                assert shown.get("caption", "").endswith("."), f"no {kind} caption: {cell.source}"
                assert shown.get("name", "").startswith(start), f"no {kind} name: {cell.source}"
                names.append(shown["name"])
            else:
                assert not about(cell, kind), f"a caption and no {kind}: {cell.source}"
    assert len(names) == len(set(names))
    for below in re.findall(r"(?:^\|.*\n)+(.*(?:\n.*)?)", texts(path) + "\n\n", flags=re.MULTILINE):
        assert below.strip().startswith("Table: "), f"no caption below a table: {below!r}"


@pytest.mark.parametrize(
    "path", [path for path in CHAPTERS if not OF_RECORDS.search(path.stem)], ids=name
)
def test_two_exercises_are_to_be_written_in_code(path):
    code = [cell.source for cell in cells(path, "code")]
    tried = [text for text in code if "exercises.check(" in text]
    solved = [text for text in tried if "required=True" in text]
    assert len(solved) >= 2 and len(tried) - len(solved) >= 2
    assert all("..." in text for text in tried if "required=True" not in text)


@pytest.mark.parametrize("path", CHAPTERS, ids=name)
def test_letters_are_those_of_the_notation(path):
    """What a chapter's table of symbols explains stands on the page of notation, with its meaning."""
    known = (ROOT / "book" / "notation.md").read_text()
    table = re.search(r"\| symbol \| meaning \|\n\|.*\n((?:\|.*\n)+)", texts(path) + "\n")
    for row in table.group(1).splitlines() if table else []:
        for symbol in re.findall(r"\$([^$]+)\$", row.split(" | ")[0]):
            letter = re.match(r"\\?\w+(?:\{\w\})?", symbol).group()
            first = rf"(?m)^\|[^|]*\$[^|]*{re.escape(letter)}"
            assert re.search(first, known), f"{symbol} is not on the page of notation"


# ---- what the pages for courses say of the chapters


def test_every_chapter_is_on_the_reading_map():
    described = {chapter["file"]: chapter for chapter in course.chapters()}
    expected = {path.stem for path in CHAPTERS if not OF_RECORDS.search(path.stem)}
    assert set(described) == expected
    places = [tuple(chapter["at"]) for chapter in described.values()]
    assert len(set(places)) == len(places)
    for chapter in described.values():
        for need in chapter["needs"]:
            assert described[need]["at"][0] < chapter["at"][0], "arrows lead to the right"
    picture = course.drawing(list(described.values()), "../")
    for name, chapter in described.items():
        assert f'href="../notebooks/{name}.html"' in picture
        assert f"<title>{chapter['title']}</title>" in picture
    assert picture.count('class="way"') == sum(len(c["needs"]) for c in described.values())


def test_minutes_grow_with_words_and_exercises():
    cell = nbformat.v4.new_markdown_cell
    text = cell("word " * 1_500 + "\n## Exercise 1\n<details>" + "word " * 900 + "</details>")
    assert course.minutes(nbformat.v4.new_notebook(cells=[text])) == (10, 10)


def plain(term):
    return term.lower().replace("-", "")


def test_words_of_the_glossary_stand_in_order():
    lines = (ROOT / "book" / "glossary.md").read_text().split("```{glossary}\n")[1].split("\n\n")
    terms = [entry.strip().splitlines()[0] for entry in lines if entry.strip() != "```"]
    assert len(terms) > 30 and terms == sorted(terms, key=plain)
