"""What is imported, and when: nothing before it is needed."""

import numpy as np
import processes
import pytest

import hashlab

pytestmark = pytest.mark.process


def python(program):
    done = processes.python("-c", program)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("room", hashlab.__all__)
def test_rooms_are_there_as_attributes(room):
    assert getattr(hashlab, room).__name__ == f"hashlab.{room}" and room in dir(hashlab)


def test_an_unknown_room_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'kitchen'"):
        _ = hashlab.kitchen


def test_import_loads_nothing_heavy():
    heavy = "torch", "torchvision", "sklearn", "matplotlib", "numba", "faiss"
    program = (
        f"import sys, hashlab, hashlab.codes, hashlab.files; print(*[m for m in {heavy} if m in "
        "sys.modules])"
    )
    assert python(program) == []


def test_rooms_load_what_they_use_and_no_more():
    """Neither libraries that few calls need nor torch's compiler, which takes seconds."""
    heavy = "torchvision", "torch._dynamo", "sklearn", "scipy", "matplotlib", "numba", "faiss"
    program = (
        "import sys, hashlab, hashlab.cli; hashlab.metrics, hashlab.data, hashlab.methods;"
        "hashlab.records, hashlab.experiments;"
        f"print(*[m for m in {heavy} if m in sys.modules])"
    )
    assert python(program) == []


# ---- the command

EVALUATE = "import sys; from hashlab.cli import main; print(main({words}), 'torch' in sys.modules)"
WHOLE = {
    "query_codes": np.eye(4, 12, dtype=np.uint8),
    "database_codes": np.eye(6, 12, dtype=np.uint8),
    "query_labels": np.arange(4),
    "database_labels": np.arange(6),
    "bits": np.int64(12),
}


def write(file, **changed):
    """A file of codes with some arrays changed, or left out where they are None."""
    arrays = {name: array for name, array in (WHOLE | changed).items() if array is not None}
    np.savez(file, **arrays)
    return file


BROKEN = {
    "no file": lambda file: file,
    "a text": lambda file: file.write_text("codes") and file,
    "no labels": lambda file: write(file, query_labels=None),
    "no bits": lambda file: write(file, bits=np.int64(0)),
    "another width": lambda file: write(file, bits=np.int64(13)),
    "an unknown format": lambda file: write(file, format=np.array("octal")),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_of_codes_is_refused_without_torch(name, tmp_path):
    file = BROKEN[name](tmp_path / "codes.npz")
    assert python(EVALUATE.format(words=["evaluate", str(file)])) == ["2", "False"]


def test_words_of_evaluate_that_cannot_be_are_refused_without_torch(tmp_path):
    file = str(write(tmp_path / "codes.npz"))
    for words in (["--pr", "curve.txt"], ["--convention", "asymmetric"], ["--tables", "5", "6"]):
        assert python(EVALUATE.format(words=["evaluate", file, *words])) == ["2", "False"]


def test_a_whole_file_of_codes_is_scored(tmp_path):
    """What the others are broken forms of."""
    file = write(tmp_path / "codes.npz")
    assert python(EVALUATE.format(words=["evaluate", str(file)]))[-2:] == ["0", "True"]


def test_lists_and_wrong_words_need_no_torch():
    for words in (
        ["data", "list"],
        ["data", "fetch", "world"],
        ["run"],
        ["encode", "m", "f", "-o", "c.txt"],
        ["index", "m", "f", "-o", "."],
        ["search", "i", "x.jpg", "--html", "x.txt"],
        ["duplicates", "i", "--html", "x.txt"],
    ):
        assert python(EVALUATE.format(words=words))[-1] == "False"


@pytest.mark.parametrize("room", ["codes", "files", "data", "search", "cli"])
def test_rooms_that_need_no_torch_load_none(room):
    program = f"import sys, hashlab.{room}; print('torch' in sys.modules)"
    assert python(program) == ["False"]
