"""Data sets, their cache and their protocols."""

import itertools

import numpy as np
import pytest

from hashlab import data
from hashlab.data import cache, protocols, sets
from hashlab.errors import InputError

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
    prints = {split: cache.canonical(*pair)[1] for split, pair in arrays.items()}
    return sets.SetInfo(**(TINY.__dict__ | {"fingerprints": prints})), arrays, tmp_path


def parts(loaded):
    return {name: getattr(loaded, name) for name in ("train", "validation", "query", "database")}


def check_protocol(loaded):
    """What holds for every protocol: disjoint by index and content, validation a tenth of train, checksum."""
    found = parts(loaded)
    query, database = set(found["query"].index.tolist()), set(found["database"].index.tolist())
    train, validation = set(found["train"].index.tolist()), set(found["validation"].index.tolist())
    assert not query & database and not query & train
    assert validation <= train and abs(len(validation) - len(train) / 10) <= 5
    for one in found.values():
        assert len(one) == len(one.labels) == len(one.images) == len(set(one.index.tolist()))
    content = {name: {image.tobytes() for image in one.images} for name, one in found.items()}
    assert not content["query"] & content["database"] and not content["query"] & content["train"]
    assert loaded.checksum == protocols.PROTOCOLS[loaded.protocol].checksum


def sizes(loaded):
    return {name: len(one) for name, one in parts(loaded).items()}


def test_digits_protocol():
    loaded = data.load("digits")
    check_protocol(loaded)
    assert sizes(loaded) == {"train": 1200, "validation": 120, "query": 300, "database": 1497}
    assert set(np.bincount(loaded.query.labels)) == {30} and set(np.bincount(loaded.train.labels)) == {120}
    assert set(loaded.train.index) <= set(loaded.database.index)


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    loaded, original = data.load("digits"), load_digits()
    rounded = {
        np.round(image * 255 / 16).astype(np.uint8).tobytes(): t
        for image, t in zip(original.images, original.target, strict=True)
    }
    for image, label in zip(loaded.query.images, loaded.query.labels, strict=True):
        assert rounded[image.tobytes()] == label


@pytest.mark.real_data("mnist")
@pytest.mark.parametrize("protocol", protocols.names("mnist"))
def test_mnist_protocols(protocol):
    loaded = data.load("mnist", protocol=protocol)
    check_protocol(loaded)
    expected = {"mnist-full": (60_000, 10_000, 60_000), "mnist-1k": (5_000, 1_000, 69_000)}[protocol]
    assert (len(loaded.train), len(loaded.query), len(loaded.database)) == expected
    if protocol == "mnist-1k":
        assert set(np.bincount(loaded.query.labels)) == {100} and set(np.bincount(loaded.train.labels)) == {500}


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
    pairs = sorted((hashlib.sha256(i.tobytes()).digest(), int(y)) for i, y in zip(images, labels, strict=True))
    order, fingerprint = cache.canonical(images, labels)
    assert [(hashlib.sha256(images[o].tobytes()).digest(), int(labels[o])) for o in order] == pairs
    assert fingerprint == hashlib.sha256(b"".join(d + y.to_bytes(2, "big") for d, y in pairs)).hexdigest()


def test_any_source_order_gives_the_same_images(tiny):
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    everything = np.arange(40)
    pool = cache.open_pool(about, folder)
    expected, labels_expected = pool.gather(everything).copy(), pool.labels
    for split, (
        images,
        labels,
    ) in arrays.items():  # the same files, written by somebody else in another order
        order = np.random.default_rng(1).permutation(len(images))
        np.save(folder / "mnist" / f"{split}_images.npy", images[order])
        np.save(folder / "mnist" / f"{split}_labels.npy", labels[order])
    found = cache.open_pool(about, folder)
    assert np.array_equal(found.gather(everything), expected) and np.array_equal(found.labels, labels_expected)
    assert np.array_equal(found.gather(everything[30:]), expected[30:])


def test_whole_splits_stay_memory_mapped(tiny):
    about, arrays, folder = tiny
    cache.write(about, arrays, folder)
    pool = cache.open_pool(about, folder)
    assert isinstance(pool.gather(np.arange(30)), np.memmap) and not isinstance(pool.gather(np.arange(29)), np.memmap)


@pytest.mark.parametrize("split, which", list(itertools.product(("train", "test"), ("images", "labels"))))
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
        cache.open_pool(about, folder)


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
    assert len(calls) == 2 and cache.open_pool(about, folder).labels.shape == (40,)
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
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz\nmore")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded .*is there a network"):
        cache.fetch(data.info("mnist"), tmp_path)
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
        cache.canonical(images, np.load(target / "train_labels.npy"))[0], np.arange(30)
    )


def test_unknown_names():
    with pytest.raises(InputError, match="unknown data set 'mnst'; expected one of: digits, mnist"):
        data.load("mnst")
    with pytest.raises(InputError, match="unknown protocol 'digits' for mnist; expected one of: mnist-full, mnist-1k"):
        data.load("mnist", protocol="digits")


def test_missing_cache_names_the_command(tmp_path):
    with pytest.raises(InputError, match="hashlab data fetch mnist"):
        data.load("mnist", root=tmp_path)


def test_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HASHLAB_DATA", str(tmp_path))
    assert cache.root() == tmp_path and cache.root(tmp_path / "x") == tmp_path / "x"
    monkeypatch.delenv("HASHLAB_DATA")
    assert cache.root().parts[-2:] == ("data", "cache")
