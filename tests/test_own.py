"""Data sets of one's own: what folders, lists and arrays become, whatever they are called,
and that they are the same by every way in.
"""

import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hashlab import data, experiments, methods, records
from hashlab.cli import main
from hashlab.data import cache, folders, opening, own, prepared, protocols
from hashlab.data.choices import Choice
from hashlab.errors import InputError

PARTS = ("query", "train", "database")
RNG = np.random.default_rng(0)


def noise(seed, shape=(5, 6, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def draw(folder, paths):
    """An image of its own, made of its path, for each of the paths."""
    for path in paths:
        file = Path(folder, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(list(path.encode()))).save(file, format="png")


def images_of(sizes):
    return [f"{name}/{number}.png" for name, size in sizes.items() for number in range(size)]


def photos(folder, **sizes):
    draw(folder, images_of(sizes or {"cat": 12, "dog": 11, "owl": 3}))
    return folder


def same(one, other):
    """Whether two data sets are the same to the last bit."""
    assert one.fingerprint == other.fingerprint and one.checksum == other.checksum
    assert one.info == other.info and one.protocol == other.protocol
    for name in (*PARTS, "validation"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert np.array_equal(mine.images, theirs.images) and mine.names == theirs.names
        assert np.array_equal(mine.targets, theirs.targets)
    return True


# ---- folders

letters = st.characters(codec="utf-8", exclude_characters="/\0\n\r.", exclude_categories=["C"])
class_names = st.text(letters, min_size=1, max_size=8).filter(lambda name: name.strip() == name)
kinds = st.dictionaries(class_names, st.integers(1, 12), min_size=2, max_size=4)


@settings(max_examples=20)
@given(kinds, st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_folder_becomes_the_same_set_whatever_it_was_written_like(
    tmp_path_factory, sizes, rng, seed
):
    if (
        len({name.casefold() for name in sizes} & {"train", "test", "val"})
        or max(sizes.values()) < 2
    ):
        return
    paths = images_of(sizes)
    sets = []
    for _ in range(2):
        rng.shuffle(paths)
        folder = tmp_path_factory.mktemp("made")
        draw(folder, paths)
        sets.append(data.from_folder(folder, size=4, seed=seed, name="mine"))
    assert same(*sets)
    mine = sets[0]
    assert mine.classes == tuple(sorted(sizes)) and mine.info.relevance == "same_class"
    for part in (mine.train, mine.query, mine.database, mine.validation):
        assert [mine.classes[label] for label in part.labels] == [
            name.split("/")[0] for name in part.names
        ]
    held = {name: set(getattr(mine, name).names) for name in (*PARTS, "validation")}
    assert held["train"] == held["database"] and held["train"] | held["query"] == set(paths)
    assert not held["train"] & held["query"] and held["validation"] < held["train"]
    for label, name in enumerate(mine.classes):
        size = sizes[name]
        queries = 0 if size == 1 else max(1, round(size / 10))
        trained = size - queries
        assert (mine.query.labels == label).sum() == queries
        assert (mine.train.labels == label).sum() == trained
        held_out = max(round(trained / 10), 1) if trained > 1 else 0
        assert (mine.validation.labels == label).sum() == held_out


def test_pixels_are_those_that_encode_sees(tmp_path):
    """Turned, in CMYK, of 16 bits, with a palette, animated: as `folders` reads them."""
    grey = Image.fromarray(noise(1, (9, 7)))
    exif = Image.Exif()
    exif[0x0112] = 6
    draw(tmp_path, ["a/0.png", "b/0.png"])
    Image.fromarray(noise(2, (9, 7, 3))).save(tmp_path / "a/turned.jpg", exif=exif)
    Image.fromarray(noise(3, (9, 7, 4)), "CMYK").save(tmp_path / "a/cmyk.jpg")
    Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7) * 1000).save(tmp_path / "b/16.png")
    grey.convert("P").save(tmp_path / "b/palette.png")
    grey.save(tmp_path / "b/moving.gif", save_all=True, append_images=[grey.rotate(90)])
    mine = data.from_folder(tmp_path, size=8, name="mine")
    for part in (mine.query, mine.train):
        for name, image in zip(part.names, part.images, strict=True):
            content = (tmp_path / name).read_bytes()
            assert np.array_equal(image, folders.decode(content, (8, 8, 3)))


def test_a_set_that_is_kept_is_the_one_that_is_read_at_once(tmp_path):
    folder = photos(tmp_path / "photos")
    how = {"size": 8, "fit": "squash", "query": 2, "train": 0.5, "seed": 3}
    with pytest.raises(InputError, match=r"owl has 3 images, fewer than 10 to ask with and 1 to"):
        own.add("kept", folder, tmp_path / "c", query=10)
    how["query"] = 1
    own.add("kept", folder, tmp_path / "c", **how)
    kept = data.load("kept", root=tmp_path / "c")
    assert same(kept, data.from_folder(folder, name="kept", **how))
    assert [len(getattr(kept, part)) for part in PARTS] == [3, 14, 23]
    assert kept.query.shape == (8, 8, 3) and kept.info == data.info("kept", tmp_path / "c")
    assert data.names(tmp_path / "c")[-1] == "kept"
    other = data.from_folder(folder, name="other", **how | {"seed": 4})
    assert other.checksum != kept.checksum and other.fingerprint == kept.fingerprint


def test_adding_again(tmp_path, capsys):
    folder, root = photos(tmp_path / "photos"), tmp_path / "c"
    words = ["data", "add", "kept", str(folder), "--root", str(root)]
    assert main([*words, "--size", "8", "--query", "1"]) == 0
    assert "query 3, train 23, database 23; validation 3 of train" in capsys.readouterr().out
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert main(words) == 0
    assert "kept is there already, of the same files" in capsys.readouterr().out
    for more, said in (
        (["--query", "0.1"], "with queries: 1 of each class"),
        (["--seed", "1"], "with queries: 1 of each class"),
        (["--size", "9"], r"with images of 8 pixels (crop)"),
        (["--fit", "squash"], r"with images of 8 pixels (crop)"),
    ):
        assert main([*words, *more]) == 2
        assert f"kept is there already, {said}" in capsys.readouterr().err
    (folder / "cat" / "0.png").write_bytes((folder / "dog" / "0.png").read_bytes())
    assert main(words) == 2
    assert "with another cat/0.png; choose another name, or remove it" in capsys.readouterr().err
    (folder / "cat" / "0.png").unlink()
    assert main(words) == 2
    assert "with other files, labels or arrays" in capsys.readouterr().err
    assert before == {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert main(["data", "remove", "kept", "--root", str(root)]) == 0
    assert main(words) == 0 and len(data.load("kept", root=root).train) == 22


def test_broken_images_are_named_or_left_out(tmp_path, capsys):
    folder, root = photos(tmp_path / "photos"), tmp_path / "c"
    (folder / "cat" / "3.png").write_bytes(b"no image")
    (folder / "dog" / "3.png").write_bytes(b"")
    words = ["data", "add", "kept", str(folder), "--root", str(root), "--size", "8"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "2 of 26 images cannot be read" in error and "--skip-broken" in error
    assert "cat/3.png: not an image" in error and "dog/3.png: the file is empty" in error
    assert own.names(root) == []
    with pytest.raises(InputError, match="2 of 26 images cannot be read"):
        data.from_folder(folder, size=8)
    assert main([*words, "--skip-broken"]) == 0
    assert "left out: cat/3.png: not an image" in capsys.readouterr().out
    kept = data.load("kept", root=root)
    assert len(kept.query) + len(kept.train) == 24
    assert same(kept, data.from_folder(folder, size=8, skip_broken=True, name="kept"))
    assert main(["data", "remove", "kept", "--root", str(root)]) == 0
    assert list((root / "own").iterdir()) == []


def test_files_that_are_passed_over_are_counted(tmp_path, capsys):
    folder = photos(tmp_path / "photos")
    (folder / "notes.txt").write_text("mine")
    (folder / "cat" / "README").write_text("mine")
    (folder / ".hidden.txt").write_text("mine")
    assert main(["data", "add", "kept", str(folder), "--root", str(tmp_path / "c")]) == 0
    assert "passed over: 1 .txt, 1 hidden, 1 without suffix\n" in capsys.readouterr().out


@pytest.mark.parametrize("reverse", [False, True])
def test_levels_of_folders(tmp_path, reverse):
    paths = [
        f"{group}/{kind}/{number}.png"
        for group, kind in (("pets", "cat"), ("pets", "dog"), ("wild", "cat"))
        for number in range(4)
    ]
    draw(tmp_path, paths[::-1] if reverse else paths)
    mine = data.from_folder(tmp_path, levels=True, size=4, name="mine")
    assert mine.info.levels == (("pets/cat", "pets/dog", "wild/cat"), ("pets", "wild"))
    assert mine.info.tree == ((0, 0), (1, 0), (2, 1)) and mine.relevance == "levels"
    for part in (mine.query, mine.train):
        ways = [name.rsplit("/", 1)[0] for name in part.names]
        groups = [way.split("/")[0] for way in ways]
        assert [mine.classes[fine] for fine in part.labels] == ways
        assert [mine.info.levels[1][coarse] for coarse in part.levels[:, 1]] == groups
    own.add("tree", tmp_path, tmp_path / "c", levels=True, size=4)
    assert same(
        data.load("tree", root=tmp_path / "c"),
        data.from_folder(tmp_path, levels=True, size=4, name="tree"),
    )


# ---- a CSV file


def written(folder, text, paths=("a.png", "b b.png", "c.png", "d.png", "é.png", "f.png")):
    draw(folder, paths)
    file = folder / "labels.csv"
    file.write_text(text, encoding="utf-8-sig")
    return file


def test_a_csv_file_of_classes(tmp_path):
    file = written(
        tmp_path, 'File, Label\nc.png,two\na.png,one\n"b b.png","one"\n\nd.png, two\n./é.png,two\n'
    )
    mine = data.from_folder(tmp_path, labels=file, size=4, name="mine", query=1)
    both = {**label_of(mine.query), **label_of(mine.train)}
    assert both == {
        "a.png": "one",
        "b b.png": "one",
        "c.png": "two",
        "d.png": "two",
        "é.png": "two",
    }
    added = own.add("listed", tmp_path, tmp_path / "c", labels=file, size=4, query=1)
    assert added.notes == ("1 image that labels.csv does not name is left out: f.png",)
    loaded = data.load("listed", root=tmp_path / "c")
    assert same(loaded, data.from_folder(tmp_path, labels=file, size=4, name="listed", query=1))


def label_of(part):
    return {name: part.classes[label] for name, label in zip(part.names, part.labels, strict=True)}


def test_a_csv_file_of_several_labels(tmp_path):
    file = written(
        tmp_path, "labels,file\nsea;sky,a.png\nsky,b b.png\nsea; sand ;sea,c.png\nsky,d.png\n"
    )
    mine = data.from_folder(tmp_path, labels=file, size=4, name="mine", query=0.3, train=0.4)
    assert mine.classes == ("sand", "sea", "sky") and mine.relevance == "shares_label"
    assert [len(getattr(mine, part)) for part in PARTS] == [1, 2, 3]
    rows = {
        name: row
        for part in (mine.query, mine.database)
        for name, row in zip(part.names, part.labels.tolist(), strict=True)
    }
    assert rows == {
        "a.png": [0, 1, 1],
        "b b.png": [0, 0, 1],
        "c.png": [1, 1, 0],
        "d.png": [0, 0, 1],
    }
    each = data.from_folder(tmp_path, labels=file, size=4, name="mine", query=1)
    assert len(each.query) == 3 and each.query.labels.any(0).all()
    with pytest.raises(
        InputError, match="sand: 2 images wanted, besides those of other labels; 1 there"
    ):
        data.from_folder(tmp_path, labels=file, size=4, name="mine", query=2)


def test_a_csv_file_of_levels_and_parts(tmp_path):
    file = written(
        tmp_path,
        "file,level1,level2,split\na.png,cat,pet,train\nb b.png,cat,pet,query\nc.png,crow,wild,train"
        "\nd.png,crow,wild,database\né.png,dog,pet,train\n",
    )
    mine = data.from_folder(tmp_path, labels=file, size=4, name="mine")
    assert mine.info.levels == (("cat", "crow", "dog"), ("pet", "wild"))
    assert [getattr(mine, part).names for part in PARTS] == [
        ["b b.png"], ["a.png", "c.png", "é.png"], ["d.png"]
    ]  # fmt: skip
    assert mine.database.levels.tolist() == [[1, 1]]
    with pytest.raises(InputError, match="no class has 2 training images"):
        mine.tuning()
    own.add("parts", tmp_path, tmp_path / "c", labels=file, size=4)
    assert same(
        data.load("parts", root=tmp_path / "c"),
        data.from_folder(tmp_path, labels=file, size=4, name="parts"),
    )


# ---- arrays


def features(count=60, width=7):
    return RNG.normal(size=(count, width)).astype(np.float32), np.arange(count) % 3


forms = st.sampled_from(["features", "images", "grey"])
shuffles = st.permutations(range(31))


@settings(max_examples=25)
@given(forms, shuffles, st.integers(0, 5), st.sampled_from([None, np.int64(2), 0.25]))
def test_an_array_is_split_by_what_is_in_it(form, order, seed, query):
    """Not by how it is sorted; and `rows` leads back to where it came from."""
    shape = {"features": (31, 4), "images": (31, 4, 5, 3), "grey": (31, 4, 5)}[form]
    x = noise(7, shape)
    key = "images"
    if form == "features":
        x, key = x.astype(np.float32) / 255, "features"
    y = np.array(["b", "ab", "ä"])[np.arange(31) % 3]
    how = {"seed": seed, "query": query}
    straight = data.from_arrays(**{key: x}, labels=y, **how)
    shuffled = data.from_arrays(**{key: x[order]}, labels=y[order], **how)
    assert same(straight, shuffled)
    for part in (shuffled.query, shuffled.train, shuffled.validation):
        assert part.images.dtype == x.dtype and part.shape == x.shape[1:]
        assert np.array_equal(x[order][part.rows], part.images)
        assert [shuffled.classes[label] for label in part.labels] == y[order][part.rows].tolist()
        assert np.array_equal(part.take(np.arange(len(part))[::-1]), part.images[::-1])
        assert np.array_equal(np.concatenate([*part.blocks(2)]), part.images)
        assert part.nbytes == part.images.nbytes


def test_own_parts_stay_as_they_are():
    x, y = features()
    parts = {"train": (x[:30], y[:30]), "query": (x[30:40], y[30:40]), "database": (x[40:], y[40:])}
    mine = data.from_arrays(**parts)
    for name, (values, labels) in parts.items():
        part = getattr(mine, name)
        assert np.array_equal(part.images, values) and np.array_equal(part.labels, labels)
        assert np.shares_memory(part.images, x) and part.features is part.images
        assert part.rows.tolist() == list(range(len(values)))
    assert len(mine.validation) == 3 and len(mine.tuning().train) == 27
    alone = data.from_arrays(train=parts["train"], query=parts["query"])
    assert np.array_equal(alone.database.images, x[:30]) and alone.database == alone.train
    assert alone.fingerprint != mine.fingerprint
    turned = data.from_arrays(train=parts["train"], query=(x[30:40][::-1], y[30:40][::-1]))
    assert turned.fingerprint != alone.fingerprint  # who trains in another order gets other codes


@pytest.mark.parametrize(
    "labels, classes",
    [
        (np.arange(60) % 3, ("0", "1", "2")),
        (np.arange(60) % 3 * 45_000 + 3, ("3", "45003", "90003")),
        ((np.arange(60) % 3).astype(float), ("0", "1", "2")),
        ((np.arange(60) % 3)[:, None].astype(np.uint8), ("0", "1", "2")),
        (np.eye(3)[np.arange(60) % 3], ("0", "1", "2")),
        (np.eye(3, dtype=bool)[np.arange(60) % 3], ("0", "1", "2")),
        (np.array(["a", "ä", "あ"])[np.arange(60) % 3], ("a", "ä", "あ")),
        (np.array(["a", "b", "c"], object)[np.arange(60) % 3], ("a", "b", "c")),
        (["x", "y", "z"] * 20, ("x", "y", "z")),
        (torch.arange(60) % 3, ("0", "1", "2")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_labels_in_every_form(labels, classes):
    x, y = features()
    mine = data.from_arrays(features=torch.from_numpy(x), labels=labels)
    plain = data.from_arrays(features=x, labels=y)
    assert mine.classes == mine.train.classes == classes
    assert mine.checksum == plain.checksum and mine.fingerprint == plain.fingerprint
    assert np.array_equal(mine.train.labels, plain.train.labels)


def test_features_of_own_images_lie_beside_own_sets_and_go_with_theirs(tmp_path):
    root = tmp_path / "c"
    own.add("kept", photos(tmp_path / "kept"), root, size=8)
    pool = data.load("kept", root=root).train.pool
    beside = cache.features_beside(pool.about, pool.folder)
    assert beside == root / "features"
    for name in ("kept", "kept-too"):
        (beside / f"{name}-{'0a' * 8}").mkdir(parents=True)
    own.remove("kept", root)
    assert [one.name[:-17] for one in beside.iterdir()] == ["kept-too"]


@pytest.mark.parametrize(
    "form", [np.array, lambda y: np.array(y, object), lambda y: np.array(y)[:, None], list]
)
def test_labels_of_parts_may_differ_in_form(form):
    x = np.arange(24.0).reshape(12, 2)
    y = ["b", "a", "c"] * 4
    mine = data.from_arrays(train=(x, y), query=(x, form(y)))
    assert mine.classes == ("a", "b", "c")
    assert mine.query.labels.tolist() == [1, 0, 2] * 4


def test_several_labels_and_levels_in_arrays():
    x, y = features()
    several = np.stack([y == 0, y < 2, y > 0], 1)
    mine = data.from_arrays(features=x, labels=several)
    assert mine.relevance == "shares_label" and mine.train.labels.shape == (54, 3)
    assert np.array_equal(mine.query.labels, several[mine.query.rows])
    words = np.stack([np.array(["cat", "dog", "crow"])[y], np.array(["pet", "pet", "wild"])[y]], 1)
    mine = data.from_arrays(features=x, labels=words, levels=True)
    assert mine.info.levels == (("cat", "crow", "dog"), ("pet", "wild"))
    assert mine.info.tree == ((0, 0), (1, 1), (2, 0)) and mine.train.levels.shape == (54, 2)
    with pytest.raises(InputError, match="cat stands under pet and under wild"):
        words[0, 1] = "wild"
        data.from_arrays(features=x, labels=words, levels=True)


def test_features_are_no_images():
    x, y = features()
    whole = (100 * x).round().astype(np.int64)
    halves = {"train": (whole[::2], y[::2]), "query": (whole[1::2], y[1::2])}
    assert same(
        data.from_arrays(**halves),
        data.from_arrays(
            **{key: (values.astype(float), of) for key, (values, of) in halves.items()}
        ),
    )
    mine = data.from_arrays(features=x.astype(np.float64), labels=y)
    assert (
        mine.train.features.dtype == np.float32
        and repr(mine.train) == "<Part: 54 features of (7,)>"
    )
    with pytest.raises(InputError, match=r"a set of features is expected, got images of \(8, 8\)"):
        _ = data.load("digits").train.features


def test_equal_rows_are_duplicates_whatever_their_labels():
    x, y = features()
    x[5], x[6] = x[50], np.negative(x[50])
    mine = data.from_arrays(train=(x[:40], y[:40]), query=(x[40:], y[40:]))
    assert mine.duplicates()["query", "train"] == [(10, 25)]  # query comes first in the pool


def test_many_classes_have_numbers_of_their_own():
    """Two bytes a label are not enough: class 65,536 is not class 0."""
    x = np.zeros((70_000, 1), np.float32)
    y = np.arange(70_000)
    one = data.from_arrays(train=(x, y), query=(x[:1], y[:1]))
    other = data.from_arrays(train=(x, y), query=(x[:1], y[65_536:65_537]))
    assert one.fingerprint != other.fingerprint and len(one.classes) == 70_000


def test_arrays_in_a_file(tmp_path):
    x, y = features()
    words = np.array([f"picture {number}.jpg" for number in range(60)])
    np.savez(tmp_path / "x.npz", features=x, labels=y)
    np.savez(tmp_path / "named.npz", features=x, labels=np.array(["a", "b", "c"])[y], names=words)
    split = np.array(["query", "train", "train", "database"])[np.arange(60) % 4]
    np.savez(tmp_path / "split.npz", images=noise(1, (60, 4, 4)), labels=y, split=split)
    root = tmp_path / "c"
    for name in ("x", "named", "split"):
        assert own.add(name, tmp_path / f"{name}.npz", root).new
        assert not own.add(name, tmp_path / f"{name}.npz", root).new
    kept = data.load("x", root=root)
    assert same(kept, data.from_arrays(features=x, labels=y, name="x"))
    named = data.load("named", root=root)
    assert named.checksum == kept.checksum and named.classes == ("a", "b", "c")
    assert named.query.names == words[named.query.rows].tolist() and kept.query.names is None
    parts = {name: np.flatnonzero(split == name) for name in PARTS}
    images = noise(1, (60, 4, 4))
    given = {name: (images[rows], y[rows]) for name, rows in parts.items()}
    assert same(data.load("split", root=root), data.from_arrays(**given, name="split"))
    np.savez(tmp_path / "x.npz", features=x + 1, labels=y)
    with pytest.raises(InputError, match="x is there already, with other files, labels or arrays"):
        own.add("x", tmp_path / "x.npz", root)
    assert main(["data", "check", "x", "--root", str(root)]) == 0


# ---- what holds of any set


def test_commands_take_it_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HASHLAB_DATA", str(tmp_path / "c"))
    monkeypatch.setenv("HASHLAB_RESULTS", str(tmp_path / "r"))
    folder = photos(tmp_path / "photos")
    assert main(["data", "add", "my photos", str(folder), "--size", "8"]) == 0
    assert "emu" not in capsys.readouterr().out
    for words in (
        ["data"],
        ["data", "check", "my photos"],
        ["run", "itq", "my photos", "--bits", "4"],
    ):
        assert main(words) == 0
    assert "my photos: Your own images, 3 classes; 26 images" in capsys.readouterr().out
    assert main(["data", "show", "my photos", "-o", str(tmp_path / "p.png")]) == 0
    assert main(["verify"]) == 0
    (record,) = records.load()
    mine = data.from_folder(folder, size=8, name="my photos")
    assert record.data == {"fingerprint": mine.fingerprint, "split": mine.checksum}
    again = experiments.run("itq", mine, 4, save=True)
    assert again.path == record.path and again.started == record.started

    shutil.rmtree(folder / "owl")
    assert main(["data", "remove", "my photos"]) == 0 and main(["verify"]) == 0
    assert main(["data", "add", "my photos", str(folder), "--size", "8"]) == 0
    capsys.readouterr()
    assert main(["verify"]) == 1
    assert "data: my photos in the cache is another set, of fingerprint" in capsys.readouterr().out


def test_a_grid_takes_it_by_name(tmp_path, monkeypatch):
    from hashlab import grid

    monkeypatch.setenv("HASHLAB_DATA", str(tmp_path / "c"))
    own.add("mine", photos(tmp_path / "photos"), size=8)
    file = tmp_path / "g.toml"
    file.write_text('title = "t"\ndataset = "mine"\nbits = [8]\nrows = [{ method = "lsh" }]\n')
    assert grid.read(file).rows[0].protocol == "mine"


def test_a_namespace_of_parts_is_told_what_to_do():
    x, y = features()
    part = SimpleNamespace(images=x, labels=y)
    mine = SimpleNamespace(train=part, query=part, database=part)
    for wrong in (mine, [part], None, 3):
        with pytest.raises(InputError, match=r"got \w+: data\.from_arrays\(train="):
            experiments.run("itq", wrong, 4)


def test_a_method_trains_on_its_part(tmp_path):
    mine = data.from_folder(photos(tmp_path / "photos"), size=8)
    fitted = methods.create("lsh", 8).fit(mine.train)
    assert fitted.encode(mine.query).shape == (3, 8)


def test_a_seed_says_which_images(tmp_path):
    x, y = features()
    drawn = {seed: data.from_arrays(features=x, labels=y, seed=seed) for seed in range(4)}
    assert len({mine.checksum for mine in drawn.values()}) == 4
    assert len({mine.fingerprint for mine in drawn.values()}) == 1
    other = data.from_arrays(features=x, labels=y, name="another name")
    assert other.checksum == drawn[0].checksum


@pytest.mark.parametrize("size", range(1, 30))
@pytest.mark.parametrize("choice", [Choice(), Choice(0.5, 0.5), Choice(0.9), Choice(0.01, 0.01)])
def test_a_share_leaves_something_to_train_on(choice, size):
    query, train = choice.of(size)
    assert 0 <= query < size and train >= 1 and query + train <= size
    assert query >= 1 or size == 1


def test_the_tenth_of_known_sets_is_what_it_was():
    labels = np.repeat(np.arange(3), (3, 14, 25))
    train = np.arange(len(labels))
    for least, held_out in ((0, [0, 1, 2]), (1, [1, 1, 2])):
        chosen = protocols.tenth("s", labels, train, least)
        assert np.bincount(labels[chosen], None, 3).tolist() == held_out


# ---- what is damaged


def damaged(root, change):
    file = root / "own" / "kept" / "about.json"
    note = json.loads(file.read_text())
    change(note)
    file.write_text(json.dumps(note))


CHANGES = {
    "made of nothing": lambda note: note["own"].update(of="air"),
    "no labels known": lambda note: note["own"].update(relevance="taste"),
    "other labels": lambda note: note["own"].update(relevance="shares_label"),
    "levels without levels": lambda note: note["own"].update(relevance="levels"),
    "another seed": lambda note: note["own"].update(seed=1),
    "a seed below 0": lambda note: note["own"].update(seed=-1),
    "a share of text": lambda note: note["own"].update(query="many"),
    "no own": lambda note: note.pop("own"),
    "fewer classes": lambda note: note["set"]["classes"].pop(),
    "one class": lambda note: note["set"].update(classes=["cat"]),
    "a tree": lambda note: note["set"].update(tree=[[0]]),
    "levels": lambda note: note["set"].update(levels=[["a"], ["b"]]),
    "no side": lambda note: note["set"].update(shape=[]),
    "a side of 0": lambda note: note["set"].update(shape=[0, 8, 3]),
    "other splits": lambda note: note["set"].update(
        counts={"some": 26}, fingerprints={"some": "0" * 64}
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_damaged_set_is_refused_and_can_be_removed(tmp_path, name, capsys):
    root = tmp_path / "c"
    own.add("kept", photos(tmp_path / "photos"), root, size=8)
    damaged(root, CHANGES[name])
    for words in (["check", "kept"], ["add", "kept", str(tmp_path / "photos")]):
        code = main(["data", *words, "--root", str(root)])
        error = capsys.readouterr().err
        if code == 0 and words[0] == "add":  # what is damaged is not what `add` looks at
            continue
        assert code == 2 and error.count("\n") == 1
        assert re.search("about.json is damaged|altered|already|missing", error)
    assert main(["data", "list", "--root", str(root)]) == 0
    assert "kept: " in capsys.readouterr().out
    assert main(["data", "remove", "kept", "--root", str(root)]) == 0
    assert own.names(root) == [] and not list((root / "own").iterdir())


def test_pixels_that_were_altered_are_seen(tmp_path, capsys):
    root = tmp_path / "c"
    x, y = features()
    np.savez(tmp_path / "x.npz", features=x, labels=y)
    own.add("kept", tmp_path / "x.npz", root)
    stored = np.load(root / "own" / "kept" / "all_images.npy", mmap_mode="r+")
    stored[7, 3] += 1
    stored.flush()
    assert main(["data", "check", "kept", "--root", str(root)]) == 2
    assert "hashlab data remove kept" in capsys.readouterr().err
    for wrong in (x[:, :5], x.astype(np.float64), x[:50], noise(1, (60, 4, 4))):
        np.save(root / "own" / "kept" / "all_images.npy", wrong)
        with pytest.raises(InputError, match=r"fit together|altered"):
            data.load("kept", root=root)


def test_names_that_are_taken_or_none(tmp_path):
    x, y = features()
    for name in (
        "digits",
        "mnist-full",
        "",
        "a/b",
        "..",
        "a\\b",
        " a",
        "a\nb",
        "x" * 200,
        "a:b",
        None,
        3,
    ):
        with pytest.raises(InputError, match=r"the name of a|is the name of another"):
            data.from_arrays(features=x, labels=y, name=name)
    for name in ("digits", "kept"):
        with pytest.raises(InputError, match="no set of your own"):
            own.remove(name, tmp_path)


def test_a_set_lost_half_way_is_gone_on_with(tmp_path, monkeypatch):
    """What was read before the end is not read again."""
    folder = photos(tmp_path / "photos")
    read = []
    stream = folders.stream

    def one_block(paths, *words, **how):
        read.append(len(paths))
        blocks = stream(paths[:20], *words, **how)
        yield next(blocks)
        if read == [26]:
            raise KeyboardInterrupt

    monkeypatch.setattr(prepared.folders, "stream", one_block)
    with pytest.raises(KeyboardInterrupt):
        own.add("kept", folder, tmp_path / "c", size=8)
    assert own.names(tmp_path / "c") == []
    own.add("kept", folder, tmp_path / "c", size=8)
    assert read == [26, 6]
    monkeypatch.undo()
    assert same(
        data.load("kept", root=tmp_path / "c"), data.from_folder(folder, size=8, name="kept")
    )


def test_opening_does_not_stumble_over_what_is_no_name():
    for name in ([], 3, None, "none"):
        with pytest.raises(InputError, match="unknown data set"):
            opening.info(name)


def test_other_words_are_for_other_actions(capsys):
    for words in (
        ["fetch", "mnist", "--query", "3"],
        ["check", "digits", "folder"],
        ["list", "x", "y"],
    ):
        assert main(["data", *words]) == 2
        assert "is for `data add`" in capsys.readouterr().err


def test_what_is_written_is_bounded(tmp_path):
    """A file of arrays that announces more than it has is refused before room is taken."""
    content = io.BytesIO()
    np.savez(content, features=np.zeros((2, 2)), labels=np.arange(2), more=np.zeros(2))
    (tmp_path / "x.npz").write_bytes(content.getvalue())
    with pytest.raises(InputError, match="the arrays labels and either features or images"):
        own.add("x", tmp_path / "x.npz", tmp_path / "c")
