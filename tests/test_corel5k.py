"""Corel5k: its classic files, its protocols, and the real set where it is."""

import numpy as np
import pytest
from PIL import Image

from hashlab import cli, data
from hashlab.data import listed, prepared, protocols
from hashlab.errors import InputError

WORDS = [f"word{number:02d}" for number in range(1, 86)]
TRAIN = {1000 + i: {1 + i % 9, 20 + i % 11} for i in range(23)} | {2000: {85}, 30_001: {84, 83}}
TEST = {1090: {1, 2}, 1091: {31}, 2007: {20}, 10_000: {83, 82, 81, 80, 79}}
FILES = {"words": WORDS, "training_label": TRAIN, "test_label": TEST}


def lines(rows):
    """Rows as the classic files have them: each number is followed by a blank."""
    return [f"{image} {''.join(f'{word} ' for word in sorted(words))}" for image, words in rows]


def path_of(image):
    return f"images/{str(image)[:-3]}000/{image}.jpeg"


def write_corel5k(folder):
    """The classic layout, with smooth photographs that lie or stand in turn."""
    folder.mkdir(parents=True)
    (folder / "words").write_text("\n".join(WORDS) + "\n")
    for name, rows in (("training_label", TRAIN), ("test_label", TEST)):
        (folder / name).write_text("\n".join(lines(rows.items())) + "\n")
    for image in [*TRAIN, *TEST]:
        file = folder / path_of(image)
        file.parent.mkdir(parents=True, exist_ok=True)
        ramp = np.linspace(0, 200, 192)[None, :, None] + np.linspace(0, 50, 128)[:, None, None]
        pixels = np.roll(np.repeat(ramp, 3, 2), image, axis=1).astype(np.uint8)
        photograph = Image.fromarray(pixels if image % 2 else pixels.transpose(1, 0, 2).copy())
        photograph.save(file, "JPEG")


@pytest.fixture
def made(tmp_path):
    """A cache folder with a made set in it, which is not read yet."""
    write_corel5k(tmp_path / "source" / "corel5k")
    return tmp_path


def rewrite(root, name, change):
    """Change the lines of one of the files."""
    file = root / "source" / "corel5k" / name
    file.write_text("\n".join(change(file.read_text().split("\n"))))


def words_of(listing, split):
    """{path: numbers of its words} of a listing."""
    rows = zip(listing.paths[split], listing.labels[split], strict=True)
    return {path: set((np.flatnonzero(row) + 1).tolist()) for path, row in rows}


def test_the_classic_files_are_read(made):
    listing = listed.read("corel5k", made / "source" / "corel5k")
    assert listing.classes == tuple(WORDS)
    for split, rows in (("train", TRAIN), ("test", TEST)):
        assert words_of(listing, split) == {path_of(image): rows[image] for image in rows}
        assert listing.paths[split] == sorted(map(path_of, rows))
        assert listing.labels[split].dtype == np.uint8


@pytest.mark.parametrize("count", [85, 86, 374])
def test_any_number_of_words(made, count):
    extra = [f"more{number}" for number in range(86, count + 1)]
    rewrite(made, "words", lambda words: [*words[:85], *extra])
    listing = listed.read("corel5k", made / "source" / "corel5k")
    assert len(listing.classes) == listing.labels["test"].shape[1] == count


ODD = {
    "no words": ("training_label", ["121060 "]),
    "no words, listed twice": ("test_label", ["121060", "121060"]),
    "the same row twice": ("test_label", ["10000 79 80 81 82 83"]),
    "the same words in another order": ("test_label", ["10000 83 79 81 80 82 "]),
    "a word repeated": ("training_label", ["30001 84 83 83 "]),
    "blank lines": ("training_label", ["", "  ", ""]),
    "tabs": ("test_label", ["1090\t1\t2"]),
}


@pytest.mark.parametrize("name", ODD)
def test_oddities_of_the_originals_change_nothing(made, name):
    file, rows = ODD[name]
    sound = listed.read("corel5k", made / "source" / "corel5k")
    rewrite(made, file, lambda before: [*before[:-1], *rows])
    odd = listed.read("corel5k", made / "source" / "corel5k")
    assert odd.paths == sound.paths and odd.classes == sound.classes
    for split in ("train", "test"):
        assert np.array_equal(odd.labels[split], sound.labels[split])


def added(file, row):
    return lambda root: rewrite(root, file, lambda rows: [*rows[:-1], row])


def written(file, text):
    return lambda root: (root / "source" / "corel5k" / file).write_text(text)


def removed(file):
    return lambda root: (root / "source" / "corel5k" / file).unlink()


BAD = {
    "no words file": (removed("words"), "words is missing in"),
    "no test list": (removed("test_label"), "test_label is missing in"),
    "empty words": (written("words", ""), "words, line 1: a word is expected, got an empty line"),
    "blank words": (written("words", " \n\n"), "words, line 1: a word is expected"),
    "a blank word": (
        lambda root: rewrite(root, "words", lambda words: [*words[:3], "", *words[3:]]),
        "words, line 4: a word is expected, got an empty line",
    ),
    "a word twice": (added("words", "word07"), "words, line 86: word07 is listed a second time"),
    "words of bytes": (
        lambda root: (root / "source" / "corel5k" / "words").write_bytes(b"\xff\xfe"),
        "words is not a text file",
    ),
    "an empty list": (written("training_label", "\n"), "training_label has no image with a word"),
    "no row with words": (written("test_label", "1090\n"), "test_label has no image with a word"),
    "word 0": (added("training_label", "2001 1 0"), r"line 26: words are numbered 1\.\.85, got 0"),
    "word 86": (added("test_label", "2001 86 2"), r"line 5: words are numbered 1\.\.85, got 86"),
    "a negative word": (added("test_label", "2001 -1"), "number of a word is a whole number"),
    "a word by name": (added("test_label", "2001 word01"), "whole number, got 'word01'"),
    "a huge word": (added("test_label", f"2001 {'9' * 5000}"), "number of a word is a whole"),
    "an id by name": (added("test_label", "a.jpeg 1"), "line 5: an id is a whole number, got 'a"),
    "an odd figure": (added("test_label", "² 1"), "an id is a whole number, got '²'"),
    "twice with other words": (
        added("test_label", "1090 1 3"),
        "line 5: 1090 has other words than where it is listed before",
    ),
    "twice with fewer words": (added("training_label", "1000 1"), "1000 has other words"),
    "twice, once without words": (added("training_label", "1000"), "1000 has other words"),
    "train and test": (
        added("test_label", "1000 1 20"),
        "1 ids of test_label stand in training_label: 1000",
    ),
    "no image": (
        added("training_label", "7000 1"),
        r"1 of 30 listed images do not exist in .*: images/7000/7000\.jpeg",
    ),
    "an image gone": (removed(path_of(1003)), "1 of 29 listed images do not exist .*/1003"),
    "an empty image": (written(path_of(1003), ""), "1 of 29 listed images are empty .*/1003"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence_before_any_work(made, capsys, name):
    spoil, reason = BAD[name]
    spoil(made)
    with pytest.raises(InputError, match=reason):
        listed.read("corel5k", made / "source" / "corel5k")
    assert cli.main(["data", "fetch", "corel5k", "--root", str(made)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in made.iterdir()] == ["source"]  # nothing was begun


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder"):
        prepared.prepare(data.info("corel5k"), tmp_path, tmp_path / "none")


def test_a_photograph_keeps_its_centre_and_every_pixel_of_it(made):
    prepared.prepare(data.info("corel5k"), made)
    loaded = data.load("corel5k", root=made)
    assert loaded.query.shape == (128, 128, 3) and loaded.info.pixels == "128px-crop"
    for part, rows in ((loaded.query, TEST), (loaded.train, TRAIN)):
        for image, kept in zip(sorted(rows, key=path_of), part.images, strict=True):
            with Image.open(made / "source" / "corel5k" / path_of(image)) as photograph:
                whole = np.asarray(photograph.convert("RGB"))
            centre = whole[:, 32:160] if image % 2 else whole[32:160]
            assert np.array_equal(kept, centre)


def most_frequent(count):
    """The rule again, with plain loops: how many images have a word, then its number."""
    rows = [*TRAIN.values(), *TEST.values()]
    frequency = {number: sum(number in words for words in rows) for number in range(1, 86)}
    return sorted(frequency, key=lambda number: (-frequency[number], number))[:count]


@pytest.mark.parametrize("protocol, count", [("corel5k", 85), ("corel5k81", 81), ("corel5k21", 21)])
def test_protocols_keep_the_most_frequent_words(made, protocol, count):
    prepared.prepare(data.info("corel5k"), made, size=8)
    loaded = data.load("corel5k", protocol=protocol, root=made)
    kept = most_frequent(count) if count < 85 else list(range(1, 86))
    assert loaded.classes == tuple(WORDS[number - 1] for number in kept)
    assert loaded.relevance == "shares_label" and loaded.protocol == protocol
    for part, rows in ((loaded.query, TEST), (loaded.train, TRAIN), (loaded.database, TRAIN)):
        images = [image for image in sorted(rows, key=path_of) if rows[image] & set(kept)]
        expected = [[int(number in rows[image]) for number in kept] for image in images]
        assert part.labels.tolist() == expected
    assert set(loaded.validation.index) <= set(loaded.train.index)
    assert len(loaded.validation) == round(len(loaded.train) / 10)
    rare = count == 21  # then one image of each split, with word 85 or 31, has none that count
    assert (len(loaded.train), len(loaded.query)) == (len(TRAIN) - rare, len(TEST) - rare)


def test_equally_frequent_labels_come_in_the_order_of_their_columns():
    labels = np.array([[0, 1, 1, 0, 1], [0, 1, 1, 1, 1], [0, 0, 1, 0, 0]], np.uint8)
    assert protocols.most_frequent(labels, 4).tolist() == [2, 1, 4, 3]
    with pytest.raises(InputError, match="6 labels or more are expected, the set has 5"):
        protocols.most_frequent(labels, 6)


def test_too_few_words_for_a_protocol(made):
    for name in ("training_label", "test_label"):
        rewrite(
            made,
            name,
            lambda rows: [f"{row.split()[0]} {1 + i % 3}" for i, row in enumerate(rows[:-1])],
        )
    rewrite(made, "words", lambda words: words[:30])
    prepared.prepare(data.info("corel5k"), made, size=8)
    assert len(data.load("corel5k", protocol="corel5k21", root=made).classes) == 21
    with pytest.raises(InputError, match="81 labels or more are expected, the set has 30"):
        data.load("corel5k", protocol="corel5k81", root=made)


def test_commands_say_how_to_get_the_files(tmp_path, capsys):
    root = str(tmp_path / "cache")
    assert cli.main(["data", "fetch", "corel5k", "--root", root]) == 2
    out = capsys.readouterr()
    assert "training_label" in out.out and "publish none of them" in out.out
    assert out.err.count("\n") == 1 and "source/corel5k" in out.err
    assert cli.main(["data", "list", "--root", root]) == 0
    out = capsys.readouterr().out
    assert "corel5k: Photographs" in out and "corel5k, corel5k81, corel5k21" in out
    assert "`hashlab data fetch corel5k` says where to get it" in out
    assert cli.main(["data", "show", "corel5k", "--root", root]) == 2
    assert "see `hashlab data fetch corel5k`" in capsys.readouterr().err


def test_fetch_reads_a_folder_once(made, capsys):
    words = ["data", "fetch", "corel5k", "--root", str(made), "--size", "16"]
    assert cli.main(words) == 0
    assert "25 train + 4 test images of 16px-crop" in capsys.readouterr().out
    before = (made / "corel5k" / "about.json").stat().st_mtime_ns
    assert cli.main(words) == 0
    assert (made / "corel5k" / "about.json").stat().st_mtime_ns == before


FINGERPRINT = (
    "66e48887849e1bdb1035234c7f8c7879fcd41c529a0359e87fbc413360b76373+"
    "fa9e40635f53ca83d61acee2a01901ed061057fc7264136ab5dbc67b76754577+128px-crop"
)
FIRST = ("water", "sky", "tree", "people", "grass", "buildings", "mountain")


@pytest.mark.real_data("corel5k")
@pytest.mark.parametrize(
    "protocol, images, a_image, sharing, last",
    [
        ("corel5k81", 4_932, 2.77, 0.198, ("river", "road", "deer")),
        ("corel5k21", 4_390, 1.89, 0.236, ("beach", "boats", "jet")),
    ],
)
def test_the_real_set(protocol, images, a_image, sharing, last):
    """Sizes of the subsets, words an image, and the share of all N x N pairs that have one in
    common: as those who made the copy counted them.

    The index lists are checked with those of the other sets, in test_data.py.
    """
    loaded = data.load("corel5k", protocol=protocol)
    labels = np.concatenate([loaded.query.labels, loaded.database.labels]).astype(np.float32)
    assert loaded.fingerprint == FINGERPRINT and len(labels) == images
    assert round(labels.sum() / images, 2) == a_image
    assert round(float((labels @ labels.T > 0).mean()), 3) == sharing
    assert loaded.classes[:7] == FIRST and loaded.classes[-3:] == last
