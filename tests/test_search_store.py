"""An index on disk: whole or not at all, refused where it is damaged,
never half of one and half of another.
"""

import errno
import json
import mmap
import shutil
import sys

import numpy as np
import pytest
from processes import PATIENCE, started

from hashlab import codes, search
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.search import store


def made(seed=0, tables=None):
    rng = np.random.default_rng(seed)
    index = search.Index(128 if tables else 12, tables)
    packed = (
        rng.integers(0, 256, (20, 16), np.uint8)
        if tables
        else codes.pack(rng.random((20, 12)) < 0.5)
    )
    meta = [{"label": "cat" if n % 2 else "dog", "n": n} if n % 3 else {} for n in range(20)]
    index.add([f"{n}.jpg" for n in range(20)], packed, meta)
    index.notes = {"made": [1, {"of": "numbers"}]}
    return index


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def same(one, other):
    """Whether two indexes have the same items."""
    return (
        (one.bits, one.tables, one.notes) == (other.bits, other.tables, other.notes)
        and list(one) == list(other)
        and np.array_equal(one.codes(), other.codes())
    )


@pytest.mark.parametrize("tables", [None, (64, 64)])
def test_what_is_saved_is_read(tables, tmp_path):
    index = made(tables=tables)
    assert index.save(tmp_path / "an.index") == tmp_path / "an.index"
    read = search.open_index(tmp_path / "an.index")
    assert same(read, index) and read.tables == index.tables
    for one, other in zip(
        index.search(index.codes(), 7), read.search(index.codes(), 7), strict=True
    ):
        assert np.array_equal(one, other) and one.dtype.kind == other.dtype.kind
    where = {"label": "cat"}
    assert (
        read.search(index.codes(), 3, where=where)[1].tolist()
        == index.search(index.codes(), 3, where=where)[1].tolist()
    )
    read.add(["new"], index.codes(["3.jpg"]))
    read.remove(["0.jpg"])
    read.save(tmp_path / "an.index")
    assert len(search.open_index(str(tmp_path / "an.index"))) == 20


def test_numbers_as_ids_and_nothing_at_all(tmp_path):
    numbers = search.Index(3)
    numbers.save(tmp_path / "empty")
    assert same(search.open_index(tmp_path / "empty"), numbers)
    numbers.add([5, -(2**62)], np.zeros((2, 8), np.uint8))
    numbers.save(tmp_path / "numbers")
    assert search.open_index(tmp_path / "numbers").ids.tolist() == [-(2**62), 5]


def test_arrays_are_mapped_into_memory(tmp_path):
    made().save(tmp_path / "an.index")
    held = search.open_index(tmp_path / "an.index").codes()
    while isinstance(held, np.ndarray):
        assert not held.flags.writeable
        held = held.base
    assert isinstance(held.obj if isinstance(held, memoryview) else held, mmap.mmap)


def test_an_opened_index_does_not_change_under_its_reader(tmp_path):
    made().save(tmp_path / "an.index")
    read, other = (search.open_index(tmp_path / "an.index") for _ in range(2))
    other.remove(other.ids[:15].tolist())
    other.save(tmp_path / "an.index")
    assert same(read, made()) and len(search.open_index(tmp_path / "an.index")) == 5


def test_equal_indexes_have_equal_bytes(tmp_path):
    index, parts = made(), search.Index(12)
    parts.add(["x"], index.codes(["1.jpg"]), {"label": ["eel"], "gone": [3]})
    for ids in np.array_split(np.random.default_rng(1).permutation(index.ids), 4):
        parts.add(ids, index.codes(ids), index.meta(ids))
    parts.remove(["x"])
    parts.notes = index.notes
    assert contents(index.save(tmp_path / "a")) == contents(parts.save(tmp_path / "b"))


def test_every_change_of_every_file_is_noticed(tmp_path):
    good = contents(made().save(tmp_path / "good"))
    assert len(good) == 7
    for name, content in good.items():
        for harmed in (b"", content[:-1], content[: len(content) // 2], content + b"\0", None,
                       content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]):  # fmt: skip
            if name == "index.json" and harmed == content[:-1]:
                continue  # the end of its last line says nothing
            shutil.copytree(tmp_path / "good", tmp_path / "bad")
            (tmp_path / "bad" / name).unlink()
            if harmed is not None:
                (tmp_path / "bad" / name).write_bytes(harmed)
            with pytest.raises(InputError) as said:
                search.open_index(tmp_path / "bad")
            assert str(tmp_path / "bad") in str(said.value) and "\n" not in str(said.value)
            shutil.rmtree(tmp_path / "bad")
    assert same(search.open_index(tmp_path / "good"), made())


def test_an_older_or_newer_format_is_refused(tmp_path):
    file = made().save(tmp_path / "an.index") / "index.json"
    summary = json.loads(file.read_text()) | {"format": "hashlab index 2"}
    file.write_text(json.dumps(summary | {"digest": store.digest(summary)}))
    with pytest.raises(InputError, match="does not describe an index as this version writes it"):
        search.open_index(tmp_path / "an.index")


# ---- what may be replaced


def test_what_is_no_index_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"holds other things than an index \(a.jpg, …\)"):
        made().save(tmp_path / "photos")
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(InputError, match="is a file; a folder is expected"):
        made().save(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="a folder that can be replaced as a whole is expected"):
        made().save(".")
    with pytest.raises(InputError, match=r"is not an index: index.json missing"):
        search.open_index(tmp_path / "photos")
    assert contents(tmp_path / "photos") == {"a.jpg": b"mine"}


def test_no_index_takes_the_place_of_another(tmp_path):
    made().save(tmp_path / "an.index")
    made().save(tmp_path / "an.index")  # the same one
    with pytest.raises(InputError, match="holds another index; open that, or give a new folder"):
        made(1).save(tmp_path / "an.index")
    late = search.open_index(tmp_path / "an.index")
    with search.edit(tmp_path / "an.index") as index:
        index.add(["new"], index.codes(["1.jpg"]))
    late.remove(["1.jpg"])
    with pytest.raises(
        InputError, match=r"has changed since it was opened; change it in search.edit\(…\)"
    ):
        late.save(tmp_path / "an.index")
    assert len(search.open_index(tmp_path / "an.index")) == 21


def test_edit_makes_an_index_or_refuses_another(tmp_path):
    with (
        pytest.raises(InputError, match="is not an index; give the bits of a new one"),
        search.edit(tmp_path / "a"),
    ):
        pass
    with search.edit(tmp_path / "a", bits=12) as index:
        index.add([1], np.zeros((1, 8), np.uint8))
        index.save(tmp_path / "a")  # as often as one likes
    with (
        pytest.raises(InputError, match="holds codes of 12 bits, not 16"),
        search.edit(tmp_path / "a", 16),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"holds codes of 12 bits, not 6 \+ 6"),
        search.edit(tmp_path / "a", 12, (6, 6)),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"holds codes of 12 bits, not 6 \+ 7"),
        search.edit(tmp_path / "a", tables=(6, 7)),
    ):
        pass
    with search.edit(tmp_path / "a", tables=(12,)) as index:
        assert index.tables == (12,)
    before = contents(tmp_path / "a")
    with pytest.raises(RuntimeError), search.edit(tmp_path / "a") as index:
        index.remove([1])
        raise RuntimeError
    assert contents(tmp_path / "a") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


@pytest.mark.parametrize("full", range(7))
def test_a_full_disk_leaves_what_was_there(full, tmp_path, monkeypatch):
    made().save(tmp_path / "an.index")
    index = search.open_index(tmp_path / "an.index")
    index.remove(["1.jpg"])
    write, left = _disk.write, [full]

    def on_a_full_disk(file, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        write(file, data)

    monkeypatch.setattr(_disk, "write", on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        index.save(tmp_path / "an.index")
    assert same(search.open_index(tmp_path / "an.index"), made())
    assert [path.name for path in tmp_path.iterdir()] == ["an.index"]
    monkeypatch.undo()
    index.save(tmp_path / "an.index")
    assert len(search.open_index(tmp_path / "an.index")) == 19


# ---- several processes


def test_who_reads_while_it_is_replaced_has_one_or_the_other(tmp_path, monkeypatch):
    """The first look at it finds the summary of one index, and arrays of the next."""
    made().save(tmp_path / "an.index")
    described = store.described

    def and_then_replaced(folder):
        summary = described(folder)
        monkeypatch.setattr(store, "described", described)
        with search.edit(folder) as index:
            index.remove(["1.jpg"])
        return summary

    monkeypatch.setattr(store, "described", and_then_replaced)
    assert len(search.open_index(tmp_path / "an.index")) == 19


ADD = """
import sys, numpy as np
from hashlab import search
for n in range(10):
    with search.edit(sys.argv[1], bits=8) as index:
        index.add([int(sys.argv[2]) * 100 + n], np.zeros((1, 8), np.uint8), [{"by": sys.argv[2]}])
"""
READ = """
import sys
from pathlib import Path
from hashlab import search
size = 0
while size < 20:
    if Path(sys.argv[1]).exists() or size:
        last, size = size, len(search.open_index(sys.argv[1]))
        assert size >= last, (last, size)
"""


@pytest.mark.process
def test_processes_that_add_at_once_lose_nothing(tmp_path):
    words = [tmp_path / "an.index"]
    run = lambda code, *more: started([sys.executable, "-c", code, *words, *more])  # noqa: E731
    with run(READ) as reader, run(ADD, 1) as one, run(ADD, 2) as two:
        assert [p.wait(PATIENCE) for p in (one, two, reader)] == [0, 0, 0]
    index = search.open_index(tmp_path / "an.index")
    assert index.ids.tolist() == [*range(100, 110), *range(200, 210)]
    assert [meta["by"] for meta in index.meta()] == ["1"] * 10 + ["2"] * 10
    assert [path.name for path in tmp_path.iterdir()] == ["an.index"]
