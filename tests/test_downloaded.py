"""Files that torchvision has downloaded already, in any of the forms that it leaves behind."""

import dataclasses
import gzip
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
from test_cifar import batch, pickled

from hashlab import data
from hashlab.cli import main
from hashlab.data import cache, downloaded, opening, parts, sets
from hashlab.errors import InputError

RNG = np.random.default_rng(0)
DIGITS = {
    split: (RNG.integers(0, 256, (count, 28, 28), np.uint8), RNG.integers(0, 10, count, np.uint8))
    for split, count in (("train", 7), ("test", 3))
}


def idx(array):
    """The bytes of an array in MNIST's format."""
    magic = 0x0800 + array.ndim
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_mnist(folder, packed=False):
    folder.mkdir(parents=True)
    for split, (images, labels) in DIGITS.items():
        begin = downloaded.MNIST[split]
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            content = gzip.compress(idx(array)) if packed else idx(array)
            suffix = ".gz" if packed else ""
            (folder / f"{begin}-{name}-ubyte{suffix}").write_bytes(content)


def same(found, wanted):
    return all(
        np.array_equal(mine, theirs)
        for split in wanted
        for mine, theirs in zip(found[split], wanted[split], strict=True)
    )


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("inner", ["MNIST/raw", "raw", "."])
def test_mnist(inner, packed, tmp_path):
    root = tmp_path / "root"
    write_mnist(root / inner, packed)
    assert same(downloaded.arrays(data.info("mnist"), root), DIGITS)


@pytest.mark.parametrize("name", downloaded.CIFAR)
@pytest.mark.parametrize("form", ["folder", "inner", "archive", "file"])
def test_cifar(name, form, tmp_path):
    archive, folder, splits = downloaded.CIFAR[name]
    key = "labels" if name == "cifar10" else "fine_labels"
    every = [file for names in splits.values() for file in names]
    batches = {file: batch(4, seed, key) for seed, file in enumerate(every)}
    if form in ("folder", "inner"):
        (tmp_path / folder).mkdir()
        for file, content in batches.items():
            (tmp_path / folder / file).write_bytes(pickled(content))
    else:
        with tarfile.open(tmp_path / archive, "w:gz") as tar:
            for file, content in batches.items():
                member = tarfile.TarInfo(f"{folder}/{file}")
                member.size = len(pickled(content))
                tar.addfile(member, io.BytesIO(pickled(content)))
    source = {"inner": tmp_path / folder, "file": tmp_path / archive}.get(form, tmp_path)
    about = data.info(name)
    found = downloaded.arrays(about, source)
    for split, names in splits.items():
        images, labels = found[split]
        fine = labels if name == "cifar10" else labels[:, 0]
        assert images.shape == (4 * len(names), 32, 32, 3)
        assert fine.tolist() == [label for file in names for label in batches[file][key]]
        first = np.asarray(batches[names[0]]["data"][0]).reshape(3, 32, 32).transpose(1, 2, 0)
        assert np.array_equal(images[0], first)
        if name == "cifar100":
            assert np.array_equal(labels, np.array(about.tree)[fine])


def test_what_is_taken_has_the_fingerprint_of_the_set(tmp_path, monkeypatch):
    marks = {split: parts.canonical(*arrays)[1] for split, arrays in DIGITS.items()}
    counts = {split: len(labels) for split, (_, labels) in DIGITS.items()}
    small = dataclasses.replace(data.info("mnist"), counts=counts, fingerprints=marks)
    write_mnist(tmp_path / "source" / "MNIST" / "raw")
    monkeypatch.setattr(cache, "torchvision_arrays", lambda *_: pytest.fail("it is downloaded"))
    root = tmp_path / "cache"
    assert opening.fetch(small, root, source=tmp_path / "source") == root / "mnist"
    pool = opening.open_pool(small, root)
    assert len(pool.labels) == 10
    altered = dataclasses.replace(small, fingerprints=marks | {"test": "0" * 64})
    with pytest.raises(InputError, match="mnist test: the images or labels are altered"):
        opening.fetch(altered, tmp_path / "other", source=tmp_path / "source")
    assert not (tmp_path / "other" / "mnist").exists()


class Spy:
    def __reduce__(self):
        return (open, ("spied", "w"))


def cut(content):
    return content[:-5]


@pytest.mark.parametrize(
    "name, files, words",
    [
        ("mnist", {}, "train-images-idx3-ubyte or train-images-idx3-ubyte.gz of torchvision is"),
        ("mnist", {"train-images-idx3-ubyte": b"x"}, "images of MNIST are expected"),
        ("mnist", {"train-images-idx3-ubyte.gz": b"x"}, "cannot be read: Not a gzipped file"),
        (
            "mnist",
            {"train-images-idx3-ubyte.gz": cut(gzip.compress(idx(DIGITS["test"][0])))},
            "cannot be read: ",
        ),
        (
            "mnist",
            {"train-images-idx3-ubyte": cut(idx(DIGITS["test"][0]))},
            r"\(3, 28, 28\) bytes are expected, got 2347",
        ),
        (
            "mnist",
            {"train-images-idx3-ubyte": struct.pack(">4I", 0x803, *[2**32 - 1] * 3)},
            "bytes are expected, got 0",
        ),
        ("mnist", {"train-images-idx3-ubyte.gz": gzip.compress(bytes(80 << 20))}, "at most"),
        ("cifar10", {}, "cifar-10-batches-py or cifar-10-python.tar.gz of torchvision is expected"),
        ("cifar10", {"cifar-10-python.tar.gz": b"x"}, "cannot be read"),
        ("cifar10", {"cifar-10-batches-py/data_batch_1": b"x"}, "cannot be read|does not hold"),
        (
            "cifar10",
            {"cifar-10-batches-py/data_batch_1": pickle.dumps(Spy(), 2)},
            "cannot be read: it names .*open, which is no array",
        ),
    ],
)
def test_files_that_are_none(name, files, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    with pytest.raises(InputError, match=words):
        downloaded.arrays(data.info(name), tmp_path)
    fetch = ["data", "fetch", name, "--root", str(tmp_path / "root"), "--source", str(tmp_path)]
    assert main(fetch) == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "spied").exists() and not (tmp_path / "root" / name).exists()


def test_a_source_that_cannot_be(tmp_path, capsys):
    words = ["data", "fetch", "mnist", "--root", str(tmp_path / "root"), "--source"]
    assert main([*words, str(tmp_path / "nowhere")]) == 2
    assert "nowhere: a folder that torchvision has filled is expected" in capsys.readouterr().err
    assert main([*words, str(tmp_path), "--size", "8"]) == 2
    assert "for sets put there by hand, not mnist" in capsys.readouterr().err
    assert main(["data", "fetch", "digits", "--source", str(tmp_path)]) == 2
    assert sets.info("digits").embedded and "not digits" in capsys.readouterr().err
