"""The explorer: its data are the records', and what a browser shows of them is what `metrics.evaluate` counts."""

import importlib
import json
import re
import shutil
import sys
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest

from hashlab import codes, data, metrics, records

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "book" / "_static"
FILES = ("explorer.js", "explorer.css", "explorer-data.js")
# A page around the explorer's frame, with those colours of the theme that it takes.
PAGE = """<!doctype html><html lang="en" data-theme="{theme}"><title>An explorer</title><meta name="viewport"
content="width=device-width"><link rel="stylesheet" href="../_static/explorer.css"><style>
html {{ --pst-color-text-base: #222832; --pst-color-text-muted: #48566b; --pst-color-background: #fff;
  --pst-color-surface: #f3f4f5; --pst-color-border: #d1d5da; --pst-color-primary: #1f6f93;
  --pst-color-secondary: #b33f1c; }}
html[data-theme="dark"] {{ --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;
  --pst-color-background: #14181e; --pst-color-surface: #222832; --pst-color-border: #48566b;
  --pst-color-primary: #6fc3e8; --pst-color-secondary: #ff9a7a; }}
body {{ color: var(--pst-color-text-base); background: var(--pst-color-background); }}
* {{ box-sizing: border-box }}</style><main><h1>An explorer</h1><h2>Codes</h2>{frame}</main></html>"""


# ---- the data


@pytest.fixture(scope="module")
def explorer():
    sys.path.insert(0, str(ROOT / "book"))
    yield importlib.import_module("explorer")
    sys.path.remove(str(ROOT / "book"))


@pytest.fixture(scope="module")
def shown():
    text = (STATIC / "explorer-data.js").read_text()
    return json.loads(text.removeprefix("window.explorerData = ").removesuffix(";\n"))


@pytest.fixture(scope="module")
def stored(shown):
    """(method, bits) -> the arrays of the record that the page names."""

    def arrays(method, bits):
        (one,) = [one for one in shown["methods"] if one["name"] == method]
        file = records.root() / f"{one['codes'][str(bits)]['record']}.json"
        return records.read(file).codes()

    return arrays


def test_the_data_are_in_step_with_the_records(explorer, shown, monkeypatch):
    monkeypatch.setattr(explorer, "places", lambda bits: np.zeros((len(bits), 2), np.uint8))
    expected = explorer.everything()
    for wanted, one in zip(expected["methods"], shown["methods"], strict=True):
        for bits, entry in one["codes"].items():
            size = len(b64decode(wanted["codes"][bits].pop("map")))
            assert len(b64decode(entry["map"])) == size  # where t-SNE puts it hangs on the machine
        assert wanted["codes"] == {
            bits: {key: value for key, value in entry.items() if key != "map"}
            for bits, entry in one["codes"].items()
        }
    rest = ("source", "licence", "queries", "labels", "images")
    assert [expected[key] for key in rest] == [shown[key] for key in rest]
    assert [one["about"] for one in expected["methods"]] == [
        one["about"] for one in shown["methods"]
    ]


def test_pixels_are_the_images(shown):
    digits = data.load("digits")
    images = np.concatenate([digits.query.images, digits.database.images])
    letters = np.frombuffer(shown["images"].encode(), np.uint8).reshape(images.shape)
    levels = letters.astype(float) - ord("a")
    assert np.abs(levels * 255 / 16 - images).max() <= 1  # 17 levels, scaled to 0..255


def test_it_is_small():
    assert sum((STATIC / name).stat().st_size for name in FILES) < 500_000


@pytest.mark.parametrize(("method", "bits"), [("LSH", 12), ("CSQ", 24), ("Mu and Liu", 48)])
def test_neighbours_on_the_map_are_neighbours(explorer, shown, stored, method, bits):
    from sklearn.manifold import trustworthiness

    arrays = stored(method, bits)
    packed = np.concatenate([arrays["query_codes"], arrays["database_codes"]])
    different = codes.unpack(explorer.distinct(packed), bits=bits).astype(float)
    (one,) = [one for one in shown["methods"] if one["name"] == method]
    flat = np.frombuffer(b64decode(one["codes"][str(bits)]["map"]), np.uint8).reshape(-1, 2)
    assert trustworthiness(different, flat.astype(float), n_neighbors=5) > 0.9


def test_a_missing_record_is_named(explorer, tmp_path):
    with pytest.raises(Exception, match="LSH has no record for each length: `hashlab grid"):
        explorer.everything(tmp_path)


# ---- in a browser


@pytest.fixture(scope="module")
def frame():
    text = (ROOT / "book" / "explorer.md").read_text()
    return re.search(r"```\{raw\} html\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture(scope="module")
def chromium(browser_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as engine:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        program = engine.chromium.launch(executable_path=browser_path, args=options)
        yield program
        program.close()


@pytest.fixture
def opened(chromium, frame, tmp_path):
    """`opened(theme="dark", width=390)`: the page, opened from disk; a failing script, or a request
    to another host, fails the test.
    """
    (tmp_path / "book").mkdir()
    (tmp_path / "_static").mkdir()
    for name in FILES:
        shutil.copy(STATIC / name, tmp_path / "_static")
    contexts, events = [], []

    def open_page(theme="light", width=1280, scripts=True):
        file = tmp_path / "book" / "explorer.html"
        file.write_text(PAGE.format(theme=theme, frame=frame))
        size = {"width": width, "height": 900}
        contexts.append(chromium.new_context(viewport=size, java_script_enabled=scripts))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)  # on a busy machine
        page.on("pageerror", lambda error: events.append(str(error)))
        page.on("console", lambda said: events.append(said.text) if said.type == "error" else None)
        page.on("request", lambda request: requests.append(request.url))
        page.goto(file.as_uri())
        return page

    requests = []
    yield open_page
    for context in contexts:
        context.close()
    assert events == []
    assert all(address.startswith("file:") for address in requests)


def choose(page, method, bits, query=1, radius=2):
    page.select_option("#explorer-method", label=method)
    page.select_option("#explorer-bits", str(bits))
    page.fill("#explorer-query", str(query))
    page.press("#explorer-query", "Enter")
    page.fill("#explorer-radius", str(radius))


def numbers(page):
    """The table, float (radii, 7): radius, images, right, precision, recall, and the last two for all."""
    rows = page.evaluate(
        "() => [...document.querySelectorAll('#explorer-numbers tr')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return np.array([[np.nan if cell == "–" else float(cell) for cell in row] for row in rows])


def scored(arrays, bits, query):
    """Report of one query (counted from 1), and of all."""
    one = slice(query - 1, query)
    sides = arrays["query_codes"], arrays["database_codes"]
    labels = arrays["query_labels"], arrays["database_labels"]
    return (
        metrics.evaluate(sides[0][one], sides[1], labels[0][one], labels[1], bits=bits),
        metrics.evaluate(*sides, *labels, bits=bits),
    )


browser = pytest.mark.browser
CHOICES = [("LSH", 12, 1), ("ITQ", 24, 300), ("DPSH", 48, 17), ("CSQ", 12, 120), ("CSDH", 24, 8)]


@browser
def test_numbers_are_those_of_evaluate(opened, stored):
    page = opened()
    for method, bits, query in CHOICES:
        choose(page, method, bits, query)
        arrays = stored(method, bits)
        table = numbers(page)
        reports = scored(arrays, bits, query)
        expected = [curve for report in reports for curve in (report.precision, report.recall)]
        assert table[:, 0].tolist() == list(range(bits + 1))
        np.testing.assert_allclose(table[:, 3:], np.transpose(expected), rtol=0, atol=0.000501)
        far = codes.hamming(arrays["query_codes"][query - 1 : query], arrays["database_codes"])[0]
        right = arrays["database_labels"] == arrays["query_labels"][query - 1]
        counts = [[(far <= r).sum(), (right & (far <= r)).sum()] for r in range(bits + 1)]
        assert table[:, 1:3].tolist() == counts


@browser
def test_the_list_is_the_ranking_with_ties_as_they_come(opened, stored):
    page = opened()
    choose(page, "ITQ", 24, 5, radius=3)
    arrays = stored("ITQ", 24)
    far = codes.hamming(arrays["query_codes"][4:5], arrays["database_codes"])[0]
    expected = []
    for rank, image in enumerate(np.argsort(far, kind="stable")[:24], 1):
        label = arrays["database_labels"][image]
        word = "right" if label == arrays["query_labels"][4] else "wrong"
        side = "within" if far[image] <= 3 else "beyond"
        a = "an" if label == 8 else "a"
        expected.append(f"{rank}: {a} {label}, {word}, distance {far[image]}, {side} the radius")
    options = page.locator("#explorer-nearest [role=option]")
    assert [option.get_attribute("aria-label") for option in options.all()] == expected
    choose(page, "CSQ", 12, 5)  # where many images share a code
    arrays = stored("CSQ", 12)
    far = codes.hamming(arrays["query_codes"][4:5], arrays["database_codes"])[0]
    images = []
    for option in options.all():
        option.click()
        images.append(
            int(re.search(r"image (\d+)", page.inner_text("#explorer-comparison"))[1]) - 1
        )
    assert images == np.argsort(far, kind="stable")[:24].tolist()


@browser
def test_the_bits_that_differ(opened, stored):
    page = opened()
    choose(page, "LSH", 48, 9)
    page.locator("#explorer-nearest [role=option]").nth(20).click()
    arrays = stored("LSH", 48)
    nearest = np.argsort(
        codes.hamming(arrays["query_codes"][8:9], arrays["database_codes"])[0], kind="stable"
    )
    query = codes.unpack(arrays["query_codes"][8:9], bits=48)[0]
    image = codes.unpack(arrays["database_codes"][nearest[20:21]], bits=48)[0]
    differing = (np.flatnonzero(query != image) + 1).tolist()
    words = page.inner_text("#explorer-comparison")
    assert f"image {nearest[20] + 1}," in words
    assert f"differ in {len(differing)} bits: {', '.join(map(str, differing))}." in words
    cells = page.locator("#explorer-code .byte span:not(.tick)").all_inner_texts()
    drawn = np.array([cell for cell in cells if cell], dtype=int).reshape(48, 2)
    assert np.array_equal(drawn, np.stack([query, image], 1))
    assert page.locator("#explorer-code .differs").count() == 2 * len(differing)


@browser
def test_the_radius_moves_by_keys_and_says_so(opened, stored):
    page = opened()
    choose(page, "DPSH", 12, 40, radius=0)
    table = numbers(page)
    page.focus("#explorer-radius")
    for radius in range(1, 13):
        dots = page.locator("#explorer-curves circle").first.get_attribute("cx")
        page.keyboard.press("ArrowRight")
        assert page.locator("#explorer-curves circle").first.get_attribute("cx") != dots
        _, items, right, precision, recall, *_ = table[radius]
        words = page.inner_text("#explorer-summary")
        images = "1 image" if items == 1 else f"{items:.0f} images"
        assert f"{images} of 1497 within radius {radius}, {right:.0f} of them right" in words
        if items:
            assert f"precision {precision:.3f}, recall {recall:.3f}" in words
        current = page.locator("#explorer-numbers tr[aria-current] th")
        assert current.all_text_contents() == [str(radius)]
    page.keyboard.press("ArrowRight")
    assert page.input_value("#explorer-radius") == "12"
    page.select_option("#explorer-bits", "24")
    page.fill("#explorer-radius", "24")
    page.select_option("#explorer-bits", "12")  # a radius beyond the code is none
    assert page.input_value("#explorer-radius") == "12"


def active(page):
    return page.evaluate("() => document.activeElement.id || document.activeElement.tagName")


@browser
def test_everything_is_done_by_keys(opened):
    page = opened()
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(active(page).removeprefix("explorer-"))
    order = ["method", "bits", "query", "next", "radius", "nearest", "map", "ask", "SUMMARY"]
    assert [name for name in reached if name in order] == order
    page.focus("#explorer-nearest")
    page.keyboard.press("End")
    assert page.get_attribute("#explorer-nearest", "aria-activedescendant") == "explorer-rank-23"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    selected = page.locator("#explorer-nearest [aria-selected=true]")
    assert [one.get_attribute("id") for one in selected.all()] == ["explorer-rank-22"]
    assert active(page) == "explorer-nearest"
    page.focus("#explorer-map")
    heard = set()
    for key in ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"] * 3:
        page.keyboard.press(key)
        heard.add(page.inner_text("#explorer-comparison"))
    assert len(heard) > 2 and active(page) == "explorer-map"


@browser
def test_page_down_goes_through_every_code(opened, stored):
    page = opened()
    choose(page, "CSQ", 12)
    arrays = stored("CSQ", 12)
    everything = np.concatenate([arrays["query_codes"], arrays["database_codes"]])
    page.focus("#explorer-map")
    page.keyboard.press("Home")
    pictures = set()
    for _ in range(len(np.unique(everything, axis=0))):
        rows = page.locator("#explorer-code .byte").all_inner_texts()
        pictures.add("|".join(rows))
        page.keyboard.press("PageDown")
    assert len(pictures) == len(np.unique(everything, axis=0))
    assert f"{len(pictures)} different codes for 1797 images" in page.inner_text("#explorer-about")


@browser
def test_a_click_on_the_map_chooses_a_code_and_a_query_of_it(opened):
    page = opened()
    choose(page, "Mu and Liu", 12)
    box = page.locator("#explorer-map").bounding_box()
    for x, y in [(0.1, 0.5), (0.5, 0.1), (0.9, 0.5), (0.5, 0.9)]:
        page.locator("#explorer-map").click(
            position={"x": x * box["width"], "y": y * box["height"]}
        )
        if page.locator("#explorer-ask").is_enabled():
            break
    wanted = re.search(r"query (\d+)", page.inner_text("#explorer-ask"))[1]
    page.click("#explorer-ask")
    assert page.input_value("#explorer-query") == wanted
    assert page.inner_text("#explorer-summary").startswith(f"Query {wanted}, ")


@browser
@pytest.mark.parametrize(("typed", "taken"), [("0", "1"), ("999", "300"), ("", "1"), ("2.6", "3")])
def test_a_query_that_there_is_not_becomes_the_next_one(opened, typed, taken):
    page = opened()
    page.fill("#explorer-query", "7")
    page.fill("#explorer-query", typed)
    page.press("#explorer-query", "Enter")
    assert page.input_value("#explorer-query") == taken


@browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_barriers(opened, theme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(theme)
    page.locator("summary").click()
    # Without `preload` it asks for no style sheet, which a page from disk may not.
    found = Axe().run(page, options={"preload": False}).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


@browser
@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen_and_targets_are_large(opened, width):
    page = opened(width=width)
    choose(page, "ITQ", 48, 300)
    wide = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) <= 0
    targets = ".explorer :is(select, button, input, [role=option])"
    boxes = [target.bounding_box() for target in page.locator(targets).all()]
    assert min(min(box["width"], box["height"]) for box in boxes) >= 44


@browser
def test_without_scripts_and_on_paper_a_sentence_takes_its_place(opened):
    page = opened(scripts=False)
    assert page.locator(".explorer-off").is_visible() and page.locator("#explorer").is_hidden()
    page = opened()
    assert page.locator(".explorer-off").is_hidden() and page.locator("#explorer").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".explorer-off").is_visible() and page.locator("#explorer").is_hidden()
