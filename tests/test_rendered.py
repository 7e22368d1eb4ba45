"""The pages as `make book` renders them, and those of a copy that has an address.

`make check-book` renders the book and runs these.
"""

import html.parser
import importlib
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from processes import python

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = "https://github.com/someone/their-book"
sys.path.insert(0, str(ROOT / "book"))
build, api = map(importlib.import_module, ("build", "hashlab_api"))
pytestmark = pytest.mark.rendered


class Page(html.parser.HTMLParser):
    """A page: its text, what it loads by itself, where its links lead,
    and where they may lead to.
    """

    def __init__(self, text):
        super().__init__()
        self.text, self.loads, self.leads, self.ids = text, [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes.get("id")}
        loaded = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        self.loads += [loaded] if loaded else []
        self.leads += [attributes["href"]] if tag == "a" and attributes.get("href") else []


def read(folder):
    """The pages below a folder: {name: page}."""
    found = [path for path in folder.rglob("*.html") if "_static" not in path.parts]
    return {str(path.relative_to(folder)): Page(path.read_text()) for path in found}


@pytest.fixture(scope="module")
def pages():
    """Those that are there: {name: page}, and their folder."""
    folder = ROOT / "_build" / "html"
    assert (folder / "index.html").is_file(), "no pages yet: run `make book`"
    return read(folder), folder


def test_pages_load_nothing_from_other_hosts(pages):
    found, folder = pages
    assert len(found) >= 5
    for name, page in found.items():
        for loaded in page.loads:
            assert not re.match(r"(?i)(https?:)?//", loaded), f"{name} loads {loaded}"
            if not loaded.startswith("data:"):
                there = (folder / name).parent / loaded.split("?")[0].split("#")[0]
                assert there.resolve().exists(), f"{name} loads {loaded}, which is not there"
    for style in folder.rglob("*.css"):
        assert not re.search(r"(?i)(@import|url\()\s*['\"]?(https?:)?//", style.read_text()), style


def test_mathematics_comes_along(pages):
    found, folder = pages
    with_mathematics = [page.text for page in found.values() if 'class="math' in page.text]
    assert with_mathematics and all("tex-svg-full.js" in text for text in with_mathematics)
    assert (folder / "_static" / "tex-svg-full.js").stat().st_size > 1_000_000


def test_links_inside_the_book_lead_somewhere(pages):
    found, folder = pages
    for name, page in found.items():
        for link in page.leads:
            target, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", target) or not (target or anchor):
                continue
            there = ((folder / name).parent / target).resolve() if target else folder / name
            assert there.exists(), f"{name} links to {link}"
            if anchor and there.suffix == ".html":
                assert anchor in found[str(there.relative_to(folder))].ids, (
                    f"{name} links to {link}"
                )


def test_every_public_name_is_rendered_and_linked(pages):
    """Names of the package stand on its pages and in the index; chapters lead to them and they lead back."""
    found, _ = pages
    ids = {name for page, of in found.items() if page.startswith("book/api/") for name in of.ids}
    assert set(api.documented()) <= ids
    index = {link.partition("#")[2] for link in found["genindex.html"].leads}
    assert set(api.documented()) <= index
    metrics = found["book/api/metrics.html"].leads
    assert "codes.html#hashlab.codes.pack" in metrics  # of the docstring of evaluate
    for chapter in api.explained("hashlab.metrics.evaluate"):
        assert f"../../{chapter}.html" in metrics
    assert "../../_modules/hashlab/metrics/evaluation.html#evaluate" in metrics
    back = "../book/api/metrics.html#hashlab.metrics.evaluate"
    assert any(back in page.leads for name, page in found.items() if name.startswith("notebooks/"))


def test_what_is_cited_is_in_the_bibliography(pages):
    keys = set(
        re.findall(r"^@\w+\{([^,]+),", (ROOT / "book" / "references.bib").read_text(), re.MULTILINE)
    )
    texts = [path.read_text() for path in [*build.sources(), *(ROOT / "book").glob("*.md")]]
    cited = {
        key.strip()
        for text in texts
        for group in re.findall(r"\{cite:?\w*\}`([^`]+)`", text)
        for key in group.split(",")
    }
    assert cited <= keys
    references = pages[0]["book/references.html"].text
    assert references.count('class="citation"') == len(keys)


# ---- of a published book

CHAPTER = "01_hamming_space"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The cover and a chapter from a copy whose address is set: {name: page}."""
    copy = tmp_path_factory.mktemp("published")
    for part in ("book", "notebooks"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, copy)
    text = (ROOT / "pyproject.toml").read_text()
    (copy / "pyproject.toml").write_text(
        re.sub(r"(?m)^repository = .*", f'repository = "{ADDRESS}"', text)
    )
    few = {
        "format": "jb-book",
        "root": "book/index",
        "chapters": [{"file": f"notebooks/{CHAPTER}"}],
    }
    (copy / "book" / "_toc.yml").write_text(yaml.safe_dump(few))
    rendering = "import sys; sys.path.insert(0, 'book'); import build; build.STRICT = []; "
    done = python("-c", f"{rendering}sys.exit(build.html(build.ROOT))", cwd=copy)
    assert done.returncode == 0, done.stderr
    folder = copy / "_build" / "html"
    assert str(folder / "index.html") in done.stdout
    return read(folder)


def test_links_of_a_published_book(published):
    leads = published[f"notebooks/{CHAPTER}.html"].leads
    notebooks = "github/someone/their-book/blob/main/notebooks"
    colab = f"https://colab.research.google.com/{notebooks}/{CHAPTER}.ipynb"
    assert [link for link in leads if "colab" in link] == [colab]
    assert ADDRESS in leads
    assert any(link.startswith(f"{ADDRESS}/issues/new") for link in leads)
    assert not any("OWNER" in link for page in published.values() for link in page.leads)
    assert not any("colab" in link for link in published["book/index.html"].leads)


def test_every_chapter_can_be_downloaded(pages):
    for source in build.sources():
        leads = pages[0][f"notebooks/{source.stem}.html"].leads
        assert f"../_sources/notebooks/{source.stem}.ipynb" in leads
