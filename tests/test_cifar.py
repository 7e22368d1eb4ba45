"""CIFAR's archives: read as they are, and never run."""

import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest
import torchvision

from hashlab import data
from hashlab.data import cache, cifar
from hashlab.errors import InputError


class Python2(pickle._Pickler):
    """Pickles as Python 2 did, which made CIFAR's files: texts and bytes are one."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_text(self, text):
        content = text if isinstance(text, bytes) else text.encode("latin1")
        self.write(pickle.BINSTRING + struct.pack("<i", len(content)) + content)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def pickled(batch):
    out = io.BytesIO()
    Python2(out, 2).dump(batch)
    return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def archive(file, **contents):
    with tarfile.open(file, "w:gz") as tar:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"batches/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def batch(count, seed, labels="labels"):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 3072), np.uint8)
    return {
        "data": images,
        labels: rng.integers(0, 10, count).tolist(),
        "filenames": ["a.png"] * count,
    }


class Planted:
    """Whoever unpickles it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("labels", ["labels", "fine_labels"])
def test_an_archive_gives_what_was_put_in(tmp_path, labels):
    parts = [batch(3, 0, labels), batch(2, 1, labels)]
    parts[0]["labels" if labels == "fine_labels" else "coarse_labels"] = [
        7,
        7,
        7,
    ]  # coarse ones are not asked for
    if labels == "labels":
        del parts[0]["coarse_labels"]
    file = archive(tmp_path / "x.tar.gz", one=pickled(parts[0]), two=pickled(parts[1]))
    images, found = cifar.read(file, ["batches/one", "batches/two"])
    assert images.dtype == found.dtype == np.uint8 and images.shape == (5, 32, 32, 3)
    assert found.tolist() == parts[0][labels] + parts[1][labels]
    for image, row in zip(images, np.concatenate([part["data"] for part in parts]), strict=True):
        assert all(
            image[y, x, c] == row[1024 * c + 32 * y + x]
            for y, x, c in ((0, 0, 0), (31, 2, 1), (5, 31, 2))
        )


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "wrap", [lambda x: x, lambda x: {"labels": [1], "data": x}, lambda x: [{"a": x}]]
)
def test_a_planted_pickle_does_not_run(tmp_path, protocol, wrap):
    trap = tmp_path / "trap"
    content = pickle.dumps(wrap(Planted(trap)), protocol)
    pickle.loads(content)  # it would
    trap.rmdir()
    with pytest.raises(
        InputError,
        match=rf"cannot be read: it names {os.mkdir.__module__}\.mkdir, which is no array",
    ):
        cifar.read(archive(tmp_path / "x.tar.gz", one=content), ["batches/one"])
    assert not trap.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": "text", "labels": [1]}),
        pickle.dumps({"labels": [1]}),
        pickled(batch(2, 0) | {"labels": [1]}),
        pickled(batch(2, 0) | {"labels": [1, 256]}),
        pickled(batch(2, 0) | {"labels": [[1], [2, 3]]}),
        pickled(batch(2, 0) | {"data": np.zeros((2, 3072))}),
        pickled(batch(2, 0) | {"data": np.zeros((2, 100), np.uint8)}),
        pickled(batch(2, 0))[:-200],
    ],
)
def test_archives_that_hold_something_else(tmp_path, content):
    with pytest.raises(
        InputError, match=r"x\.tar\.gz (cannot be read|does not hold CIFAR's files)"
    ):
        cifar.read(archive(tmp_path / "x.tar.gz", one=content), ["batches/one"])
    with pytest.raises(InputError, match=r"x\.tar\.gz does not hold CIFAR's files"):
        cifar.read(tmp_path / "x.tar.gz", ["batches/two"])
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.tar\.gz cannot be read"):
        cifar.read(tmp_path / "x.tar.gz", ["batches/one"])


@pytest.mark.parametrize(
    "name, folder", [("cifar10", "cifar-10-batches-py"), ("cifar100", "cifar-100-python")]
)
def test_planted_files_where_torchvision_looks_are_not_read(name, folder, tmp_path, monkeypatch):
    """Its folder, its archive: neither is taken for the set,
    and torchvision's own reader is not asked.
    """
    trap = tmp_path / "trap"
    kind = getattr(torchvision.datasets, name.upper())
    monkeypatch.setattr(kind, "__init__", lambda *a, **k: pytest.fail("torchvision unpickles"))
    monkeypatch.setattr(
        "torchvision.datasets.utils._urlretrieve", lambda *a, **k: None
    )  # brings nothing
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, **_: url)
    (tmp_path / folder).mkdir()
    planted = pickle.dumps(Planted(trap), 2)
    for file, _ in kind.train_list + kind.test_list:
        (tmp_path / folder / file).write_bytes(planted)
    archive(tmp_path / kind.filename, data_batch_1=planted)
    with pytest.raises(
        InputError, match=f"{name} could not be downloaded .File not found or corrupted"
    ):
        cache.torchvision_arrays(data.info(name), tmp_path)
    assert not trap.exists()


def test_both_splits_are_read_from_the_archive(tmp_path, monkeypatch):
    kind = torchvision.datasets.CIFAR100
    parts = {name: batch(4, seed, "fine_labels") for seed, name in enumerate(("train", "test"))}
    with tarfile.open(tmp_path / kind.filename, "w:gz") as tar:
        for name, part in parts.items():
            content = pickled(part)
            member = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(
        "torchvision.datasets.utils.check_integrity", lambda *a: True
    )  # it has another MD5
    about = data.info("cifar100")
    arrays = cache.torchvision_arrays(about, tmp_path)
    for name, part in parts.items():
        images, labels = arrays[name]
        assert images.shape == (4, 32, 32, 3) and labels.shape == (4, 2)  # fine and coarse
        assert labels[:, 0].tolist() == part["fine_labels"]
        assert np.array_equal(labels, np.array(about.tree)[part["fine_labels"]])
