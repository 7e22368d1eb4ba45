"""A folder of photographs: indexed, brought up to date, searched, shown; by commands and in Python."""

import errno
import hashlib
import html
import json
import os
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hashlab import codes, methods, search
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.methods import photos

README = Path(__file__).resolve().parents[1] / "README.md"
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
NAMES = [f"{('cat', 'dog', 'cat/old')[n % 3]}/{n:02d}.png" for n in range(24)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of 16 bits, and one of 20."""
    folder = tmp_path_factory.mktemp("models")
    for name, bits, seed in (("model", 16, 0), ("other", 16, 1), ("longer", 20, 0)):
        train = SimpleNamespace(images=PIXELS ^ seed * 255, labels=np.arange(24) % 3)
        methods.create("itq", bits).fit(train).save(folder / name)
    return folder


@pytest.fixture
def here(models, tmp_path, monkeypatch):
    """A folder with `model`, `other`, `longer` and 24 photographs, which is the current one."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        save(tmp_path / "photos" / name, pixels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def indexed(here, capsys):
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    assert (
        capsys.readouterr().out == "an.index: 24 images; 24 new, 0 renamed, 0 removed, 0 skipped\n"
    )
    return here


def save(file, pixels):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def bits_of(images):
    """Codes as the model gives them, as lists of 0 and 1."""
    return codes.unpack(methods.load("model").encode(images), 16).astype(int)


def ranking(query, images=PIXELS, names=NAMES):
    """Every (distance, name) in order, counted bit by bit."""
    own, others = bits_of(query[None])[0], bits_of(images)
    return sorted(
        (int((own != code).sum()), name) for name, code in zip(names, others, strict=True)
    )


# ---- making it


def test_an_index_has_every_image_with_its_label(indexed):
    index = search.open_index("an.index")
    assert index.ids.tolist() == sorted(NAMES) and index.bits == 16
    assert np.array_equal(index.codes(NAMES), methods.load("model").encode(PIXELS))
    for name, facts in index:
        label = "old" if "/old/" in name else name.split("/")[0]
        sha256 = hashlib.sha256((indexed / "photos" / name).read_bytes()).hexdigest()
        assert facts == {"label": label, "sha256": sha256}


def test_only_what_is_new_is_encoded(indexed, capsys, monkeypatch):
    """New, renamed, copied, changed and vanished files, with the content of others or their own."""
    folder = indexed / "photos"
    os.rename(folder / NAMES[0], folder / "renamed.png")
    shutil.copy(folder / NAMES[1], folder / "copy.png")
    (folder / NAMES[2]).unlink()
    a, b = folder / NAMES[3], folder / NAMES[4]
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())  # the two change places
    b.write_bytes(content)
    save(folder / NAMES[5], 255 - PIXELS[5])
    save(folder / "new" / "one.png", 255 - PIXELS[6])
    encoded = []
    stream = photos.folders.stream
    monkeypatch.setattr(
        photos.folders,
        "stream",
        lambda paths, *a, **k: encoded.extend(paths) or stream(paths, *a, **k),
    )
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    out = capsys.readouterr().out
    assert sorted(path.name for path in encoded) == ["05.png", "one.png"]
    assert (
        out
        == f"renamed {NAMES[0]} -> renamed.png\nan.index: 25 images; 2 new, 1 renamed, 1 removed, 0 skipped\n"
    )
    updated = contents(indexed / "an.index")
    shutil.rmtree("an.index")
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    assert contents(indexed / "an.index") == updated  # as if made at once
    monkeypatch.setattr(methods, "load", None)
    assert (
        main(["index", "model", "photos", "-o", "an.index"]) == 0
    )  # nothing new: no model is loaded
    assert "0 new, 0 renamed, 0 removed, 0 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("copy", ["a.png", "z.png"])
def test_one_of_two_copies_is_renamed(copy, indexed, capsys):
    folder = indexed / "photos"
    shutil.copy(folder / NAMES[0], folder / copy)
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    os.rename(folder / copy, folder / "renamed.png")
    capsys.readouterr()
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    out = capsys.readouterr().out
    assert (
        out.startswith(f"renamed {copy} -> renamed.png\n") and "0 new, 1 renamed, 0 removed" in out
    )


def test_one_that_was_interrupted_goes_on(here, capsys, monkeypatch):
    monkeypatch.setattr(photos, "BLOCK", 5)
    monkeypatch.setattr(photos, "EVERY", 0)
    kind, left = type(methods.load("model")), [3]
    encode = kind.encode

    def interrupted(self, images, *more):
        left[0] -= len(images) == 5
        if left[0] < 0:
            raise KeyboardInterrupt
        return encode(self, images, *more)

    monkeypatch.setattr(kind, "encode", interrupted)
    assert main(["index", "model", "photos", "-o", "an.index"]) == 1
    left[0] = 1000
    capsys.readouterr()
    assert len(search.open_index("an.index")) == 15
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "1"]) == 0
    assert (
        "an.index lacks 9 images: `hashlab index` was interrupted; run it again"
        in capsys.readouterr().err
    )
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    assert "an.index: 24 images; 9 new, 0 renamed" in capsys.readouterr().out and left == [999]
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "1"]) == 0
    assert capsys.readouterr().err == ""
    went_on = contents(here / "an.index")
    assert main(["index", "model", "photos", "-o", "another.index"]) == 0
    assert contents(here / "another.index") == went_on


def test_broken_images_are_named(here, capsys):
    (here / "photos" / "torn.png").write_bytes((here / "photos" / NAMES[0]).read_bytes()[:60])
    assert main(["index", "model", "photos", "-o", "an.index"]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch("hashlab: photos/torn.png: .*; leave out .* --skip-broken, .*\n", said)
    assert not (here / "an.index").exists()
    for words in (
        "24 new, 0 renamed, 0 removed, 1 skipped",
        "0 new, 0 renamed, 0 removed, 1 skipped",
    ):
        assert main(["index", "model", "photos", "-o", "an.index", "--skip-broken"]) == 0
        captured = capsys.readouterr()
        assert captured.err.startswith("hashlab: skipped torn.png: ") and words in captured.out
        assert photos.open_photos("an.index").missing == 0
    (here / "photos" / NAMES[1]).write_bytes(b"no image any more")
    assert main(["index", "model", "photos", "-o", "an.index", "--skip-broken"]) == 0
    assert "an.index: 23 images; 0 new, 0 renamed, 0 removed, 2 skipped" in capsys.readouterr().out
    shutil.copytree(
        here / "photos",
        here / "bad",
        ignore=lambda at, names: [n for n in names if n.endswith(".png") and n != "torn.png"],
    )
    assert main(["index", "model", "bad", "-o", "bad.index", "--skip-broken"]) == 2
    assert (
        "none of the 1 images can be read" in capsys.readouterr().err
        and not (here / "bad.index").exists()
    )


def test_what_is_passed_over_is_counted(indexed, capsys):
    (indexed / "photos" / "notes.txt").write_text("x")
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    assert capsys.readouterr().out.endswith(", 0 skipped; passed over: 1 .txt\n")


def test_a_full_disk_leaves_what_was_there(indexed, capsys, monkeypatch):
    before = contents(indexed / "an.index")
    save(indexed / "photos" / "new.png", 255 - PIXELS[0])

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(_disk, "write", full)
    assert main(["index", "model", "photos", "-o", "an.index"]) == 2
    assert capsys.readouterr().err.endswith("No space left on device\n")
    assert contents(indexed / "an.index") == before
    assert main(["search", "an.index", f"photos/{NAMES[0]}"]) == 0


def test_a_table_says_more_than_folders(here, capsys):
    lines = [
        "file,labels,year",
        f"{NAMES[0]}, pet ; cat,2001",
        f"{NAMES[1]},dog,",
        f"./{NAMES[2]},,2003",
        "",
    ]
    (here / "table.csv").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert main(["index", "model", "photos", "-o", "an.index", "--labels", "table.csv"]) == 0
    index = search.open_index("an.index")
    facts = [{k: v for k, v in meta.items() if k != "sha256"} for meta in index.meta(NAMES[:4])]
    assert facts == [
        {"label": ["pet", "cat"], "year": "2001"},
        {"label": ["dog"]},
        {"year": "2003"},
        {},
    ]
    capsys.readouterr()
    words = ["search", "an.index", f"photos/{NAMES[5]}", "--json", "--where"]
    for where, names in ({"label=cat": [0], "year=2003": [2], "label=dog": [1]}).items():
        assert main([*words, where]) == 0
        found = json.loads(capsys.readouterr().out)[0]["neighbours"]
        assert [each["path"] for each in found] == [f"photos/{NAMES[n]}" for n in names]
    assert main([*words, "label=cat", "--where", "label=dog", "-k", "2"]) == 0
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0  # labels alone have changed
    assert search.open_index("an.index").meta(NAMES[:1])[0]["label"] == "cat"


TABLES = {
    "name,label\nx,y\n": "a header with a column `file` is expected, got name,label",
    "": "a header with a column `file` is expected, got none",
    "file,label,label\n": "a header with a column `file` is expected, got file,label,label",
    "file,label\nnowhere.png,x\n": "line 2: there is no image nowhere.png in the folder",
    f"file,label\n{NAMES[0]},x\n{NAMES[0]},y\n": f"line 3: {NAMES[0]} is named a second time",
    f"file,label\n{NAMES[0]}\n": "line 2: 2 columns are expected",
    f"file,label\n{NAMES[0]},x,y\n": "line 2: 2 columns are expected",
    'file,label\n"x\n': ": unexpected end of data",
}


@pytest.mark.parametrize("text", TABLES)
def test_bad_tables(text, here, capsys):
    (here / "table.csv").write_text(text)
    assert main(["index", "model", "photos", "-o", "an.index", "--labels", "table.csv"]) == 2
    said = capsys.readouterr().err
    assert "table.csv" in said and TABLES[text] in said and said.count("\n") == 1
    assert not (here / "an.index").exists()


# ---- asking it


def test_neighbours_are_those_that_counting_finds(indexed, capsys):
    save(indexed / "asked.png", 255 - PIXELS[3])
    wanted = ranking(255 - PIXELS[3])
    for words, kept in (
        ([], wanted[:20]),
        (["-k", "3"], wanted[:3]),
        (["-k", "24"], wanted),
        (["--radius", "6"], [each for each in wanted if each[0] <= 6]),
        (["--radius", "99"], wanted),
        (["--where", "label=dog"], [each for each in wanted if each[1].startswith("dog/")]),
    ):
        assert main(["search", "an.index", "asked.png", *words]) == 0
        head, *lines = capsys.readouterr().out.splitlines()
        assert head == f"asked.png: {len(kept)} neighbours"
        assert lines == [f"{distance:5d}  photos/{name}" for distance, name in kept]
        assert (
            main(["search", "an.index", "asked.png", f"photos/{NAMES[7]}", "--json", *words]) == 0
        )
        first, second = json.loads(capsys.readouterr().out)
        assert first["image"] == "asked.png" and second["image"] == f"photos/{NAMES[7]}"
        found = [(each["distance"], each["path"], each["label"]) for each in first["neighbours"]]
        assert found == [(d, f"photos/{name}", name.split("/")[-2]) for d, name in kept]


def test_it_can_be_moved_with_its_photographs_and_model(indexed, capsys, monkeypatch):
    new = indexed / "elsewhere"
    new.mkdir()
    for name in ("photos", "model", "an.index"):
        os.rename(indexed / name, new / name)
    assert main(["search", "elsewhere/an.index", f"elsewhere/photos/{NAMES[2]}", "-k", "1"]) == 0
    assert capsys.readouterr().out.endswith(f"    0  elsewhere/photos/{NAMES[2]}\n")
    os.rename(new / "model", indexed / "gone")
    words = ["search", "elsewhere/an.index", f"elsewhere/photos/{NAMES[2]}", "-k", "1"]
    assert main(words) == 2
    assert (
        capsys.readouterr().err == "hashlab: elsewhere/model is not a model: model.json missing\n"
    )
    assert main([*words, "--model", "gone"]) == 0


def test_pictures_on_a_terminal(indexed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    save(indexed / "asked.png", np.full((9, 9, 3), (1, 2, 3), np.uint8))
    os.remove(indexed / "photos" / ranking(np.full((8, 8, 3), (1, 2, 3), np.uint8))[0][1])
    assert main(["search", "an.index", "asked.png", "--show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    half = "\x1b[38;2;1;2;3;48;2;1;2;3m▀"
    assert all(
        line.startswith(half * 24 + "\x1b") and line.count("▀") == 75 for line in lines[1:13]
    )
    assert (
        lines[1].count("\x1b[38;2;128;128;128;48;2;128;128;128m▀") >= 24
    )  # of the one that has gone
    assert re.fullmatch(r"asked for {16}distance \d+ +distance \d+ +", lines[13])


def test_the_page_needs_nothing_else_and_escapes_names(here, capsys):
    odd = 'a <b> & "c".png'
    save(here / "photos" / odd, PIXELS[0])
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    (here / "photos" / NAMES[1]).unlink()
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "25", "--html", "out.html"]) == 0
    page = (here / "out.html").read_text()
    assert not re.search(r"https?://|<script|@import|url\(", page)
    sources = re.findall(r'<img src="([^"]*)"', page)
    assert len(sources) == 25 and all(
        source.startswith("data:image/jpeg;base64,") for source in sources
    )
    assert page.count("no picture</div>") == 1  # of the one that has gone
    assert odd not in page and html.escape(odd) in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page
    own, every = bits_of(PIXELS[:1])[0], dict(zip(NAMES, bits_of(PIXELS), strict=True))
    for marks, note, name in re.findall(
        r'<path d="([^"]*)"/>.*?<b>distance (\d+)</b>.*?<span>([^<]*)</span></figcaption>', page
    ):
        if html.unescape(name) != odd:
            differ = np.flatnonzero(own != every[name]).tolist()
            assert [int(x) for x in re.findall(r"M(\d+) ", marks)] == differ and int(note) == len(
                differ
            )


def test_more_pictures_than_a_page_holds(indexed, capsys, monkeypatch):
    monkeypatch.setattr(photos, "MOST_PICTURES", 5)
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "5", "--html", "out.html"]) == 2
    assert "a page holds at most 5 pictures, got 6; ask for fewer" in capsys.readouterr().err
    assert main(["duplicates", "an.index", "--radius", "16", "--html", "out.html"]) == 0
    page = (indexed / "out.html").read_text()
    assert page.count("<img") == 5 and "Group 1: 24 images, of which 5 are shown" in page


def test_duplicates_are_groups_as_text_json_and_a_page(indexed, capsys):
    for n in (2, 2, 7):
        shutil.copy(
            indexed / "photos" / NAMES[n],
            indexed / "photos" / f"copy {n} {len(list((indexed / 'photos').iterdir()))}.png",
        )
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    capsys.readouterr()
    assert main(["duplicates", "an.index", "--radius", "0", "--html", "out.html"]) == 0
    head, first, second = capsys.readouterr().out.split("\n\n")
    assert head == "2 groups of 5 images, joined by steps of at most 0 bits"
    assert (
        len(first.splitlines()) == 3
        and f"photos/{NAMES[2]}" in first
        and f"photos/{NAMES[7]}" in second
    )
    assert (indexed / "out.html").read_text().count("<section>") == 2
    assert main(["duplicates", "an.index", "--radius", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [[each["path"] for each in group] for group in found["groups"]] == [
        first.splitlines(),
        second.splitlines(),
    ]
    assert found["radius"] == 0 and len({each["sha256"] for each in found["groups"][0]}) == 1


def test_names_that_are_no_text(here, capsys):
    save(here / "x.png", PIXELS[0])
    try:
        os.rename("x.png", os.path.join(b"photos", b"\xff.png"))
    except OSError:
        pytest.skip("this file system takes only text as names")
    assert main(["index", "model", "photos", "-o", "an.index"]) == 0
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "2", "--html", "out.html"]) == 0
    assert "    0  photos/?.png\n" in capsys.readouterr().out
    assert main(["search", "an.index", f"photos/{NAMES[0]}", "-k", "2", "--json"]) == 0
    assert main(["duplicates", "an.index"]) == 0


def test_bits_of_several_tables():
    index = search.Index(68, (64, 4))
    packed = np.zeros((2, 16), np.uint8)
    packed[1, 0], packed[1, 8] = 0b101, 0b1000
    index.add(["a", "b"], packed)
    assert photos.differing(index, packed[:1], ["a", "b"]) == [[], [0, 2, 67]]


def test_the_readme_goes_from_a_folder_to_neighbours(here, capsys, monkeypatch):
    """Its commands, word for word, in a folder where `model` and `pictures` are."""
    os.rename("photos", "pictures")
    shutil.copy(here / "pictures" / NAMES[0], "cat.jpg")
    commands = r"^hashlab (?:index|search|duplicates) .*pictures.*"
    lines = re.findall(commands, README.read_text(), re.MULTILINE)
    assert len(lines) == 3
    for line in lines:
        assert main(shlex.split(line, comments=True)[1:]) == 0
    assert f"    0  pictures/{NAMES[0]}\n" in capsys.readouterr().out
    assert (here / "near.html").read_text().count("<img") == 21


# ---- bad input

IMAGE = f"photos/{NAMES[0]}"
BAD = {
    "no model": (["index", "nowhere", "photos", "-o", "x"], "nowhere is not a model: model.json missing"),
    "no folder": (["index", "model", "nowhere", "-o", "x"], "nowhere is not a folder"),
    "no images": (["index", "model", "model", "-o", "x"], "hold no images"),
    "another folder": (["index", "model", "photos", "-o", "other"], "other holds other things than an index"),
    "another model": (["index", "other", "photos", "-o", "an.index"], r"of another model \(itq, sha256 \w+…\)"),
    "other bits": (["index", "longer", "photos", "-o", "an.index"], "an.index holds codes of 16 bits, not 20"),
    "codes": (["index", "model", "photos", "-o", "codes.index"], "codes.index is no index of photographs"),
    "no index": (["search", "nowhere", IMAGE], "nowhere is not an index: index.json missing"),
    "search codes": (["search", "codes.index", IMAGE], "codes.index is no index of photographs"),
    "duplicates of codes": (["duplicates", "codes.index"], "codes.index is no index of photographs"),
    "k = 0": (["search", "an.index", IMAGE, "-k", "0"], r"k must be a whole number in 1..24, .* got 0"),
    "k too large": (["search", "an.index", IMAGE, "-k", "25"], r"k must be a whole number in 1..24, .* got 25"),
    "k too large for a label": (["search", "an.index", IMAGE, "-k", "9", "--where", "label=dog"], r"in 1..8, .* got 9"),
    "k and radius": (["search", "an.index", IMAGE, "-k", "1", "--radius", "1"], "not allowed with argument"),
    "radius": (["search", "an.index", IMAGE, "--radius", "-1"], "must be a whole number of 0 or more"),
    "no such label": (["search", "an.index", IMAGE, "--where", "label=ox"], "none of the 24 items has label=ox"),
    "no such column": (["search", "an.index", IMAGE, "--where", "hue=red"], "for 'hue'; the items have: label, sha256"),
    "where": (["search", "an.index", IMAGE, "--where", "label"], "takes a condition like label=cat, got 'label'"),
    "no such image": (["search", "an.index", "nowhere.jpg"], "nowhere.jpg: No such file or directory"),
    "no image": (["search", "an.index", "model/model.json"], "model/model.json: not an image"),
    "a folder as image": (["search", "an.index", "photos"], "photos: (Is a directory|a file is expected)"),
    "another model in search": (["search", "an.index", IMAGE, "--model", "other"], "an.index is of another model"),
    "no page": (["search", "an.index", IMAGE, "--html", "x.txt"], "name that ends in .html is expected, got x.txt"),
    "no page of duplicates": (["duplicates", "an.index", "--html", "x/y.html"], "x is not a folder: x/y.html cannot"),
    "radius of duplicates": (["duplicates", "an.index", "--radius", "-1"], "must be a whole number of 0 or more"),
    "damaged": (["search", "damaged.index", IMAGE], "damaged.index/codes.npy is damaged"),
    "damaged, to be updated": (["index", "model", "photos", "-o", "damaged.index"], "codes.npy is damaged"),
    "truncated": (["duplicates", "short.index"], "short.index/ids.npy is damaged"),
}  # fmt: skip


@pytest.fixture(scope="module")
def bad(models, tmp_path_factory):
    """As `indexed`, with indexes beside it of codes alone, a damaged and a truncated one."""
    folder = tmp_path_factory.mktemp("bad")
    shutil.copytree(models, folder, dirs_exist_ok=True)
    for name, pixels in zip(NAMES, PIXELS, strict=True):
        save(folder / "photos" / name, pixels)
    photos.build(folder / "model", folder / "photos", folder / "an.index")
    index = search.Index(16)
    index.add(["x"], np.zeros((1, 8), np.uint8))
    index.save(folder / "codes.index")
    for name, file in (("damaged.index", "codes.npy"), ("short.index", "ids.npy")):
        shutil.copytree(folder / "an.index", folder / name)
        content = bytearray((folder / name / file).read_bytes())
        content[-1] ^= 1
        (folder / name / file).write_bytes(content[:-9] if name == "short.index" else content)
    return folder


@pytest.mark.parametrize("name", BAD)
def test_bad_words_are_one_sentence_and_change_nothing(name, bad, capsys, monkeypatch):
    monkeypatch.chdir(bad)
    words, said = BAD[name]
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    assert main(words) == 2
    captured = capsys.readouterr()
    assert re.search(said, captured.err) and captured.err.count("\n") == 1 and captured.out == ""
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../secret.png", "/secret.png", "a/../../secret.png"])
def test_no_name_leads_out_of_the_folder(name, indexed, capsys):
    """An index may come from a stranger."""
    save(indexed / "secret.png", PIXELS[0])
    with search.edit("an.index") as index:
        index.add([name], index.codes(NAMES[:1]), [{"sha256": "0" * 64}])
    for words in (["search", "an.index", IMAGE], ["duplicates", "an.index"]):
        assert main([*words, "--html", "out.html"]) == 2
        said = capsys.readouterr().err
        assert (
            said
            == f"hashlab: an.index is no index of photographs: {name!r} is no name in a folder\n"
        )
    assert not (indexed / "out.html").exists()


@pytest.mark.parametrize(
    "notes",
    [{}, {"photos": 3}, {"photos": {"folder": "photos"}}, {"photos": {"folder": 1, "images": 2}}],
)
def test_an_index_of_something_else_is_refused(notes, indexed):
    with search.edit("an.index") as index:
        index.notes = {"model": index.notes["model"]} | notes
    with pytest.raises(
        InputError, match=r"an.index is no index of photographs, as `hashlab index`"
    ):
        photos.open_photos("an.index")


def test_a_model_of_features_takes_no_images(here, monkeypatch):
    monkeypatch.setattr(methods, "load", lambda *_: SimpleNamespace(shape=(512,)))
    with pytest.raises(InputError, match=r"model takes features of shape \(512,\), not images"):
        photos.build("model", "photos", "an.index")
    assert not (here / "an.index").exists()
