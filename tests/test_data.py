"""Data sets, their cache and their protocols."""

import functools
import itertools
import os
import sys
import threading
from subprocess import PIPE

import numpy as np
import pytest
from processes import threads, wait_until

from hashlab import data
from hashlab.data import cache, opening, parts, protocols, sets
from hashlab.errors import InputError
from hashlab.files import _disk

TINY = sets.SetInfo(
    name="mnist",
    title="a made set in the shape of a real one",
    shape=(4, 4),
    classes=("0", "1"),
    counts={"train": 30, "test": 10},
    fingerprints={},
    source="made",
    licence="none",
)


@pytest.fixture
def tiny(tmp_path):
    """A made set, its arrays in a scrambled order, and an empty cache."""
    rng = np.random.default_rng(0)
    arrays = {
        split: (
            rng.integers(0, 256, (count, 4, 4), dtype=np.uint8),
            rng.integers(0, 2, count).astype(np.uint8),
        )
        for split, count in TINY.counts.items()
    }
    prints = {split: parts.canonical(*pair)[1] for split, pair in arrays.items()}
    return sets.SetInfo(**(TINY.__dict__ | {"fingerprints": prints})), arrays, tmp_path


PARTS = ("train", "validation", "query", "database")
SIZES = {  # train, query, database: the table that the book prints
    "digits": (1200, 300, 1497),
    "digits-unseen": (840, 90, 444),
    "digit_tree": (1200, 300, 1497),
    "digit_scenes": (1200, 300, 1497),
    "mnist-full": (60_000, 10_000, 60_000),
    "mnist-1k": (5_000, 1_000, 69_000),
    "mnist-unseen": (41_975, 2_968, 18_025),
    "cifar10-54k": (5_000, 1_000, 54_000),
    "cifar10-59k": (5_000, 1_000, 59_000),
    "cifar10-full": (50_000, 10_000, 50_000),
    "cifar10-unseen": (35_000, 3_000, 15_000),
    "cifar100": (50_000, 10_000, 50_000),
    "cifar100-clean": (50_000, 9_990, 50_000),
    "cifar100-unseen": (37_500, 2_499, 12_500),
    "corel5k": (4_500, 499, 4_500),
    "corel5k81": (4_442, 490, 4_442),
    "corel5k21": (3_947, 443, 3_947),
}
EVERY = [
    pytest.param(
        protocol,
        marks=()
        if data.info(protocol.dataset).embedded
        else pytest.mark.real_data(protocol.dataset),
    )
    for protocol in protocols.PROTOCOLS.values()
    if protocol.checksum  # of the others nobody has seen the images: see test_folders.py
]


@functools.cache
def load(protocol):
    """A set under a protocol, checked once for all tests: every load hashes every image."""
    return data.load(protocols.PROTOCOLS[protocol].dataset, protocol=protocol)


@functools.cache
def digests(dataset):
    """SHA-256 of all images of a set, by pool position."""
    pool = data.load(dataset).train.pool
    return pool.digests(np.arange(len(pool.labels)))


@pytest.mark.parametrize("protocol", EVERY, ids=lambda p: p.name)
def test_every_protocol(protocol):
    """Sizes, disjointness by index, validation a tenth of train, balance,
    and the very images by checksum.
    """
    loaded = load(protocol.name)
    assert loaded.checksum == protocol.checksum
    found = {name: set(getattr(loaded, name).index.tolist()) for name in PARTS}
    assert all(len(found[name]) == len(getattr(loaded, name)) for name in PARTS)
    assert (
        tuple(len(found[name]) for name in ("train", "query", "database")) == SIZES[protocol.name]
    )
    assert not found["query"] & found["database"] and not found["query"] & found["train"]
    assert (
        found["validation"] <= found["train"]
        and abs(len(found["validation"]) - len(found["train"]) / 10) <= 5
    )
    if protocol.name not in ("cifar10-54k", "digits-unseen") and "unseen" not in protocol.name:
        assert found["train"] <= found["database"]


@pytest.mark.parametrize("protocol", EVERY, ids=lambda p: p.name)
def test_no_image_is_both_asked_and_searched(protocol):
    """Disjoint by content too: CIFAR-100's official split is the one exception,
    with ten known images.
    """
    loaded, known = load(protocol.name), digests(protocol.dataset)
    content = {
        name: {known[place]: i for i, place in enumerate(getattr(loaded, name).index)}
        for name in PARTS
    }
    both = content["query"].keys() & content["database"].keys()
    if protocol.name != "cifar100":
        assert not both and not content["query"].keys() & content["train"].keys()
    else:
        assert sorted(content["query"][digest] for digest in both) == list(
            protocols.CIFAR100_IN_TRAIN
        )


@pytest.mark.parametrize(
    "protocol", [p for p in EVERY if p.values[0].name.endswith("-unseen")], ids=lambda p: p.name
)
def test_unseen_classes_are_not_trained_on(protocol):
    loaded = load(protocol.name)
    train, asked, searched = (
        set(np.unique(getattr(loaded, n).labels)) for n in ("train", "query", "database")
    )
    assert (
        not train & asked and asked == searched and train | asked == set(range(len(loaded.classes)))
    )
    assert len(asked) == -(-len(loaded.classes) // 4)


@pytest.mark.parametrize("name, protocol", [("digits", "digits"), ("digit_tree", "digit_tree")])
def test_classes_are_balanced(name, protocol):
    loaded = data.load(name, protocol=protocol)
    assert set(np.bincount(loaded.query.labels)) == {30} and set(
        np.bincount(loaded.train.labels)
    ) == {120}


@pytest.mark.real_data("mnist", "cifar10")
@pytest.mark.parametrize("protocol", ["mnist-1k", "cifar10-54k", "cifar10-59k"])
def test_real_classes_are_balanced(protocol):
    loaded = load(protocol)
    assert set(np.bincount(loaded.query.labels)) == {100} and set(
        np.bincount(loaded.train.labels)
    ) == {500}
    assert set(np.bincount(loaded.validation.labels)) == {50}


@pytest.mark.real_data("cifar10")
def test_both_cifar10_protocols_share_their_training():
    a, b = (load(f"cifar10-{size}") for size in ("54k", "59k"))
    assert np.array_equal(a.query.index, b.query.index) and np.array_equal(
        a.train.index, b.train.index
    )
    assert set(b.database.index) - set(a.database.index) == set(a.train.index)


@pytest.mark.real_data("cifar100")
def test_cifar100_has_two_levels_and_known_duplicates():
    loaded = load("cifar100")
    assert loaded.relevance == "levels" and np.array_equal(
        loaded.query.levels[:, 0], loaded.query.labels
    )
    assert len({tuple(row) for row in loaded.query.levels}) == 100 and set(
        np.bincount(loaded.query.levels[:, 1])
    ) == {500}
    found = loaded.duplicates()
    assert sorted(b - 50_000 for _, b in found["query", "database"]) == list(
        protocols.CIFAR100_IN_TRAIN
    )
    assert len(found["train", "train"]) == 14 and len(found["query", "query"]) == 2


def test_duplicates_with_plain_loops(tiny):
    about, arrays, folder = tiny
    images, _ = arrays["train"]
    images[3], images[7], arrays["test"][0][2] = images[1], images[1], images[0]
    prints = {split: parts.canonical(*pair)[1] for split, pair in arrays.items()}
    about = sets.SetInfo(**(about.__dict__ | {"fingerprints": prints}))
    cache.write(about, arrays, folder)
    pool = opening.open_pool(about, folder)
    train, query = pool.part(np.arange(30)), pool.part(np.arange(30, 40))
    loaded = data.Dataset(about, "made", train, train, query, train, "")

    def plain(a, b):
        same = [
            (i, j)
            for i in a.index
            for j in b.index
            if i != j and np.array_equal(*pool.gather(np.array([i, j])))
        ]
        return sorted({(min(pair), max(pair)) for pair in same})

    found = loaded.duplicates()
    assert found["train", "train"] == plain(train, train) and len(found["train", "train"]) == 3
    assert found["query", "train"] == plain(query, train) and len(found["query", "train"]) == 1
    assert found["query", "query"] == []


def test_scenes_are_made_of_digits_that_no_other_part_has():
    loaded = data.load("digit_scenes")
    cells = {}
    for name in ("query", "train", "database", "validation"):
        split = (
            getattr(loaded, name)
            .images.reshape(-1, 2, 8, 2, 8)
            .transpose(0, 1, 3, 2, 4)
            .reshape(-1, 8, 8)
        )
        cells[name] = {cell.tobytes() for cell in split if cell.any()}
    real = {image.tobytes() for image in data.load("digits").train.pool.gather(np.arange(1797))}
    assert all(found <= real for found in cells.values()) and not cells["query"] & cells["database"]
    others = np.setdiff1d(loaded.train.index, loaded.validation.index)
    other = (
        loaded.train.pool.gather(others)
        .reshape(-1, 2, 8, 2, 8)
        .transpose(0, 1, 3, 2, 4)
        .reshape(-1, 8, 8)
    )
    assert not cells["validation"] & {cell.tobytes() for cell in other if cell.any()}


def test_scenes_hold_what_their_labels_say():
    query = data.load("digit_scenes").query
    filled = query.images.reshape(-1, 2, 8, 2, 8).any((2, 4)).sum((1, 2))
    assert query.labels.shape == (300, 10) and np.array_equal(filled, query.labels.sum(1))
    assert set(filled) == {1, 2, 3}
    shared = ((query.labels @ query.labels.T) > 0)[~np.eye(300, dtype=bool)].mean()
    assert 0.28 < shared < 0.42  # about a third of the pairs share a digit


def test_tree_follows_the_digits():
    tree, plain = data.load("digit_tree"), data.load("digits")
    assert np.array_equal(tree.query.images, plain.query.images) and np.array_equal(
        tree.query.labels, plain.query.labels
    )
    assert np.array_equal(
        tree.query.levels, np.array(tree.info.tree)[plain.query.labels]
    ) and tree.query.targets.shape == (300, 2)
    assert plain.query.levels is None and plain.query.targets is plain.query.labels


def test_draw_several_takes_from_what_is_left():
    labels = (np.random.default_rng(0).random((300, 5)) < 0.4).astype(int)
    chosen = protocols.draw_several("a", labels, np.arange(300), 10)
    assert len(set(chosen)) == 50 and (labels[chosen].sum(0) >= 10).all()
    with pytest.raises(InputError, match="images wanted"):
        protocols.draw_several("a", labels[:30], np.arange(30), 10)


def test_coarse_labels_are_checked_against_the_tree(tiny):
    about, arrays, _ = tiny
    tree = ((0, 0), (1, 0))
    levels = sets.SetInfo(
        **(
            about.__dict__
            | {"relevance": "levels", "levels": (("a", "b"), ("c", "d")), "tree": tree}
        )
    )
    split = {
        name: (images, np.array(tree, np.uint8)[labels])
        for name, (images, labels) in arrays.items()
    }
    cache.check_arrays(levels, split)
    split["train"][1][4, 1] = 1
    with pytest.raises(InputError, match="altered"):
        cache.check_arrays(levels, split)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    loaded, original = data.load("digits"), load_digits()
    rounded = {
        np.round(image * 255 / 16).astype(np.uint8).tobytes(): t
        for image, t in zip(original.images, original.target, strict=True)
    }
    for image, label in zip(loaded.query.images, loaded.query.labels, strict=True):
        assert rounded[image.tobytes()] == label


def test_tuning_leaves_the_queries_alone():
    loaded = data.load("digits")
    tuning = loaded.tuning()
    assert tuning.protocol == "digits/tuning" and tuning.checksum != loaded.checksum
    assert np.array_equal(tuning.query.index, loaded.validation.index)
    assert np.array_equal(tuning.database.index, tuning.train.index)
    assert sorted([*tuning.train.index, *tuning.query.index]) == loaded.train.index.tolist()
    assert not set(tuning.train.index) & set(loaded.query.index)


def test_draw_depends_on_names_only():
    labels = np.arange(100) % 5
    pool = np.arange(100)
    first = protocols.draw("a", labels, pool, 3)
    assert np.array_equal(first, protocols.draw("a", labels, pool[::-1].copy(), 3))
    assert np.array_equal(np.bincount(labels[first]), [3] * 5)
    assert not np.array_equal(first, protocols.draw("b", labels, pool, 3))
    with pytest.raises(InputError, match="class 0: 21 images wanted, 20 there"):
        protocols.draw("a", labels, pool, 21)


def test_canonical_order_by_plain_sorting(tiny):
    import hashlib

    _, arrays, _ = tiny
    images, labels = arrays["train"]
    pairs = sorted(
        (hashlib.sha256(i.tobytes()).digest(), int(y)) for i, y in zip(images, labels, strict=True)
    )
    order, fingerprint = parts.canonical(images, labels)
    assert [(hashlib.sha256(images[o].tobytes()).digest(), int(labels[o])) for o in order] == pairs
    assert (
        fingerprint
        == hashlib.sha256(b"".join(d + y.to_bytes(2, "big") for d, y in pairs)).hexdigest()
    )


def test_any_source_order_gives_the_same_images(tiny):
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    everything = np.arange(40)
    pool = opening.open_pool(about, folder)
    expected, labels_expected = pool.gather(everything).copy(), pool.labels
    for split, (
        images,
        labels,
    ) in arrays.items():  # the same files, written by somebody else in another order
        order = np.random.default_rng(1).permutation(len(images))
        np.save(folder / "mnist" / f"{split}_images.npy", images[order])
        np.save(folder / "mnist" / f"{split}_labels.npy", labels[order])
    found = opening.open_pool(about, folder)
    assert np.array_equal(found.gather(everything), expected) and np.array_equal(
        found.labels, labels_expected
    )
    assert np.array_equal(found.gather(everything[30:]), expected[30:])


def test_whole_splits_stay_memory_mapped(tiny):
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    pool = opening.open_pool(about, folder)
    assert isinstance(pool.gather(np.arange(30)), np.memmap) and not isinstance(
        pool.gather(np.arange(29)), np.memmap
    )


@pytest.mark.parametrize(
    "split, which", list(itertools.product(("train", "test"), ("images", "labels")))
)
@pytest.mark.parametrize("damage", ["gone", "truncated", "altered", "short", "pickled"])
def test_damage_is_found(tiny, split, which, damage):
    about, arrays, folder = tiny
    file = cache.write(about, arrays, folder) / f"{split}_{which}.npy"
    array = np.load(file)
    match damage:
        case "gone":
            file.unlink()
        case "truncated":
            file.write_bytes(file.read_bytes()[:-3])
        case "altered":
            array.reshape(-1)[5] ^= 1
            np.save(file, array)
        case "short":
            np.save(file, array[:-1])
        case "pickled":
            np.save(file, np.array([None, {}], dtype=object), allow_pickle=True)
    words = {
        "gone": "missing",
        "truncated": "cannot be read",
        "altered": "altered",
        "short": "expected",
        "pickled": "cannot be read",
    }
    with pytest.raises(InputError, match=words[damage]):
        opening.open_pool(about, folder)


def test_fetch_writes_once_and_mends_damage(tiny):
    about, arrays, folder = tiny
    calls = []
    download = lambda about, aside: calls.append(aside) or arrays  # noqa: E731
    target = cache.fetch(about, folder, download)
    assert target == folder / "mnist" and len(calls) == 1 and not calls[0].exists()
    cache.fetch(about, folder, download)
    assert len(calls) == 1  # whole already
    (target / "test_labels.npy").write_bytes(b"broken")
    cache.fetch(about, folder, download)
    assert len(calls) == 2 and opening.open_pool(about, folder).labels.shape == (40,)
    assert [f.name for f in folder.iterdir()] == ["mnist"]  # nothing left over


def test_fetch_keeps_nothing_of_a_wrong_download(tiny):
    about, arrays, folder = tiny
    wrong = {split: (images ^ 1, labels) for split, (images, labels) in arrays.items()}
    with pytest.raises(InputError, match="altered"):
        cache.fetch(about, folder, lambda about, aside: wrong)
    assert list(folder.iterdir()) == []


def test_fetch_without_network_says_so(monkeypatch, tmp_path):
    import torchvision

    def refuse(*args, **kwargs):
        raise RuntimeError(
            "Error downloading train-images-idx3-ubyte.gz:\nTried https://there, got:\n<no such host>\n"
        )

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    words = r"could not be downloaded \(Error .*: Tried https://there, got: <no such host>\); is there a network"
    with pytest.raises(InputError, match=words):
        cache.fetch(data.info("mnist"), tmp_path / "new" / "cache")
    assert list(tmp_path.iterdir()) == []  # folders that were made for nothing are gone


def test_a_folder_that_was_there_stays(tiny, tmp_path):
    about, arrays, _ = tiny
    (tmp_path / "here").mkdir()
    with pytest.raises(KeyError):
        cache.fetch(about, tmp_path / "here" / "cache", lambda about, aside: {}["nothing"])
    assert list((tmp_path / "here").iterdir()) == []
    assert cache.fetch(about, tmp_path / "here" / "cache", lambda about, aside: arrays).is_dir()


def test_a_folder_taken_away_by_another_is_made_again(tmp_path, monkeypatch):
    """A process that failed takes its folder away just when this one wants its lock file there."""
    usual, taken = _disk._make, []

    def make(folder, made):
        usual(folder, made)
        if len(taken) < 3:
            taken.append(folder.rmdir())

    monkeypatch.setattr(_disk, "_make", make)
    with _disk.lock(tmp_path / "new" / "made"):
        assert len(taken) == 3 and (tmp_path / "new" / ".made.hashlab-lock").is_file()
    assert list(tmp_path.iterdir()) == []


def test_fetch_through_torchvision(monkeypatch, tiny):
    """torchvision hands over tensors and lists; the cache holds uint8 arrays in canonical order."""
    import torch
    import torchvision

    about, arrays, folder = tiny

    class Fake:
        def __init__(self, root, train, download):
            images, labels = arrays["train" if train else "test"]
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels).long()

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    target = cache.fetch(about, folder)
    images = np.load(target / "train_images.npy")
    assert images.dtype == np.uint8 and np.array_equal(
        parts.canonical(images, np.load(target / "train_labels.npy"))[0], np.arange(30)
    )


FETCH = """
import sys, time
import numpy as np
from pathlib import Path
from hashlab.data import cache, opening, parts, sets
root, until = Path(sys.argv[1]), Path(sys.argv[2])
arrays = {"all": (np.arange(320, dtype=np.uint8).reshape(20, 4, 4), np.zeros(20, np.uint8))}
about = sets.SetInfo(name="made", title="", shape=(4, 4), classes=("0",), counts={"all": 20}, source="", licence="",
                     fingerprints={"all": parts.canonical(*arrays["all"])[1]})
def download(about, aside):
    with open(root / "calls", "a") as out:
        out.write("called ")
    while not until.exists():
        time.sleep(0.01)
    return arrays
print(cache.fetch(about, root / "cache", download), opening.open_pool(about, root / "cache").labels.shape)
"""


@pytest.fixture
def start_fetch(start, tmp_path):
    """`start_fetch(file)`: a process that fetches a set;
    its download ends once the file is there.
    """

    def started(until=tmp_path):
        environment = os.environ | {"HASHLAB_PROGRESS": "lines"}
        return start(
            sys.executable, "-c", FETCH, tmp_path, until, stdout=PIPE, stderr=PIPE, env=environment
        )

    return started


def test_processes_that_want_the_same_set_fetch_it_once(start_fetch, tmp_path):
    first = start_fetch(tmp_path / "go")
    wait_until((tmp_path / "calls").exists)
    others = [start_fetch() for _ in range(4)]
    said = [process.stderr.readline() for process in others]
    assert said == ["another process is at work on made: waiting for it\n"] * 4
    (tmp_path / "go").touch()
    outs = [process.communicate() for process in (first, *others)]
    assert [out.split()[-1] for out, _ in outs] == ["(20,)"] * 5
    assert (tmp_path / "calls").read_text() == "called "
    assert [err for _, err in outs] == [""] * 5  # however often one of them waits, it says so once
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["made"]


def test_a_killed_fetch_blocks_nobody_and_leaves_nothing(start_fetch, tmp_path):
    killed = start_fetch(tmp_path / "never")
    wait_until((tmp_path / "calls").exists)
    killed.kill()
    killed.communicate()
    assert (
        tmp_path / "cache" / ".made.hashlab-lock"
    ).exists()  # its lock file is still there, and a folder of its own
    assert len(list((tmp_path / "cache").glob(".made.*.hashlab-part"))) == 1
    out, err = start_fetch().communicate()
    assert out.split()[-1] == "(20,)" and "waiting" not in err
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["made"]


def test_a_lock_on_a_file_that_is_gone_is_no_lock(tmp_path, monkeypatch, capsys):
    """Who has waited for a process that removes its lock file must queue again,
    behind whoever made a new one.

    It says once that it waits.
    """
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setenv("HASHLAB_PROGRESS", "lines")
    monkeypatch.setattr(_disk, "PATIENCE", 0)

    def locked():
        handle = open(tmp_path / ".made.hashlab-lock", "a")  # noqa: SIM115
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle

    def enter():
        with _disk.lock(tmp_path / "made"):
            entered.set()

    def look(*_):
        looks.append(1)
        return opened(*_)

    first, entered, looks, opened = locked(), threading.Event(), [], _disk._opened
    monkeypatch.setattr(_disk, "_opened", look)
    with threads(enter):
        wait_until(lambda: len(looks) > 2)
        (tmp_path / ".made.hashlab-lock").unlink()
        second = locked()
        first.close()
        seen = len(looks)
        wait_until(lambda: len(looks) > seen + 2)
        assert not entered.is_set()
        second.close()
    assert entered.is_set() and list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == "another process is at work on made: waiting for it\n"


def test_a_set_that_is_there_needs_no_lock(tiny, monkeypatch):
    """A cache that cannot be written to, on a read-only disk, can be asked for too."""
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    monkeypatch.setattr(_disk, "lock", None)
    assert cache.fetch(about, folder) == folder / "mnist"


def test_parts_are_read_in_blocks(tiny):
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    pool = opening.open_pool(about, folder)
    index = np.array([35, 3, 4, 31, 3, 12, 0])
    for part in (pool.part(index), pool.part(np.arange(30)), pool.part(np.arange(0))):
        whole = part.images
        assert part.shape == (4, 4) and part.nbytes == whole.nbytes == 16 * len(part)
        for size in (1, 3, 100):
            blocks = list(part.blocks(size))
            assert all(0 < len(block) <= size for block in blocks)
            assert np.array_equal(np.concatenate([whole[:0], *blocks]), whole)
    rows = np.array([5, 0, 0, 2])
    assert np.array_equal(pool.part(index).take(rows), pool.gather(index)[rows])
    with pytest.raises(InputError, match="a block holds 1 image or more, got 0"):
        list(pool.part(index).blocks(0))


def test_silence_is_kept_while_downloading(monkeypatch, tiny, capsys):
    import torch
    import torchvision

    about, arrays, folder = tiny

    class Fake:
        def __init__(self, root, train, download):
            print("45%", file=sys.stderr)
            images, labels = arrays["train" if train else "test"]
            self.data, self.targets = torch.from_numpy(images), torch.from_numpy(labels).long()

    monkeypatch.setattr(torchvision.datasets, "MNIST", Fake)
    for mode, expected in (("0", ""), ("lines", "45%\n45%\n")):
        monkeypatch.setenv("HASHLAB_PROGRESS", mode)
        cache.fetch(about, folder / mode)
        assert capsys.readouterr().err == expected


def test_unknown_names():
    with pytest.raises(
        InputError,
        match=(
            "unknown data set 'mnst'; expected one of: digits, digit_tree, digit_scenes, mnist, "
            "cifar10, cifar100, n"
        ),
    ):
        data.load("mnst")
    with pytest.raises(
        InputError,
        match=(
            "unknown protocol 'digits' for mnist; expected one of: mnist-full, mnist-1k, "
            "mnist-unseen"
        ),
    ):
        data.load("mnist", protocol="digits")


def test_missing_cache_names_the_command(tmp_path):
    with pytest.raises(InputError, match="hashlab data fetch mnist"):
        data.load("mnist", root=tmp_path)


def test_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HASHLAB_DATA", str(tmp_path))
    assert cache.root() == tmp_path and cache.root(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("HASHLAB_DATA")
    assert cache.root().parts[-2:] == ("data", "cache")
