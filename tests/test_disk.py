"""What is written is there whole or not at all:
killed at any file operation, by several at once, on a full disk.
"""

import errno
import os
import re
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from processes import PATIENCE, python, threads

from hashlab import data, experiments, methods, records
from hashlab.data import prepared
from hashlab.errors import InputError
from hashlab.files import _disk

LEFT = ".NAME.0123abcd.hashlab-part"  # as a process that was killed leaves it


# ---- files


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_are_those_of_any_new_file(mask, mode, tmp_path):
    before = os.umask(mask)
    try:
        _disk.write(tmp_path / "file", b"")
        with _disk.lock(tmp_path / "folder"), _disk.aside(tmp_path / "folder") as beside:
            _disk.swap(beside, tmp_path / "folder")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == mode | (mode & 0o444) >> 2


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_afterwards(
    tmp_path, monkeypatch
):
    order = []
    sync, replace = os.fsync, os.replace
    kind = {True: "folder", False: "file"}

    def fsync(handle):
        order.append(kind[stat.S_ISDIR(os.fstat(handle).st_mode)])
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", lambda *names: order.append("rename") or replace(*names))
    _disk.write(tmp_path / "file", b"x")
    assert order == ["file", "rename", "folder"]


def test_a_swapped_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    synced = []
    sync, rename = _disk._sync, os.rename
    monkeypatch.setattr(_disk, "_sync", lambda path: synced.append(path.name) or sync(path))
    monkeypatch.setattr(os, "rename", lambda *names: synced.append("rename") or rename(*names))
    with _disk.lock(tmp_path / "folder"), _disk.aside(tmp_path / "folder") as beside:
        (beside / "in").mkdir()
        (beside / "in" / "file").touch()
        _disk.swap(beside, tmp_path / "folder")
    assert synced == ["file", "in", beside.name, "rename", tmp_path.name]


def test_a_failed_write_leaves_what_was_there_and_names_the_file(tmp_path, monkeypatch):
    _disk.write(tmp_path / "file", b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        _disk.write(tmp_path / "file", b"new")
    assert caught.value.filename == str(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (
        tmp_path / "file"
    ).read_bytes() == b"old"


def test_a_link_that_was_planted_is_not_written_through(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setattr(_disk, "_part", lambda thing: tmp_path / ".aside")
    (tmp_path / ".aside").symlink_to(tmp_path / "mine")
    with pytest.raises(FileExistsError):
        _disk.write(tmp_path / "file", b"other")
    assert (tmp_path / "mine").read_text() == "mine"


# ---- what was left


@pytest.mark.parametrize("how", ["write", "lock", "sweep"])
def test_who_writes_to_a_place_cleans_it(how, tmp_path):
    """Files, folders and locks that nobody holds go;
    what has another name, or is being worked on, stays.
    """
    names = (".d.part", ".e.json-x1y2", "f.0123abcd.hashlab-part", ".g.012.hashlab-part")
    with _disk.lock(tmp_path / "alive"), _disk.aside(tmp_path / "alive") as beside:
        (tmp_path / LEFT.replace("NAME", "a.json")).touch()
        (tmp_path / LEFT.replace("NAME", "b") / "in").mkdir(parents=True)
        (tmp_path / LEFT.replace("NAME", "two\nlines.png")).touch()
        (tmp_path / ".c.hashlab-lock").touch()
        for name in names:
            (tmp_path / name).touch()
        if how == "write":
            _disk.write(tmp_path / "file", b"")
        elif how == "sweep":
            _disk.sweep(tmp_path)
        else:
            with _disk.lock(tmp_path / "thing"):
                pass
        here = {path.name for path in tmp_path.iterdir()}
        assert here - {"file"} == {*names, beside.name, ".alive.hashlab-lock"}
    assert {path.name for path in tmp_path.iterdir()} - {"file"} == set(names)


@pytest.mark.parametrize("new", [False, True])
def test_a_swap_that_was_ended_half_way_is_ended_by_the_next(new, tmp_path):
    """The old folder comes back where no new one came, and goes where there is one."""
    (tmp_path / ".thing.hashlab-old").mkdir()
    (tmp_path / ".thing.hashlab-old" / "old").touch()
    if new:
        (tmp_path / "thing").mkdir()
        (tmp_path / "thing" / "new").touch()
    assert _disk.restored(tmp_path / "thing").is_dir()
    _disk.write(tmp_path / "file", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "thing"]
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["new" if new else "old"]


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "thing").mkdir()
    rename = os.rename

    def refuse(a, b):
        if b == tmp_path / "thing" and "part" in str(a):
            raise OSError(errno.EBUSY, "busy")
        rename(a, b)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="busy"), _disk.lock(tmp_path / "thing"):
        (tmp_path / "next").mkdir()
        with _disk.aside(tmp_path / "thing") as beside:
            _disk.swap(beside, tmp_path / "thing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["next", "thing"]


def test_where_there_are_no_locks_nothing_waits_and_nothing_of_others_goes(tmp_path, monkeypatch):
    """As on some network disks."""

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_disk.fcntl, "flock", none)
    (tmp_path / LEFT).touch()
    _disk.write(tmp_path / "file", b"x")
    with _disk.lock(tmp_path / "NAME"), _disk.lock(tmp_path / "NAME"):
        assert (tmp_path / LEFT).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [LEFT, "file"]


def test_a_lock_is_for_one_at_a_time(tmp_path):
    inside, most = [], []

    def enter():
        for _ in range(20):
            with _disk.lock(tmp_path / "thing"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    with threads(*[enter] * 4):
        pass
    assert len(most) == 80 and set(most) == {1} and list(tmp_path.iterdir()) == []
    with (
        _disk.lock(tmp_path / "thing"),
        pytest.raises(BlockingIOError),
        _disk.lock(tmp_path / "thing", wait=False),
    ):
        pass


def test_a_lock_file_that_was_taken_away_keeps_nobody_out(tmp_path, monkeypatch):
    """Who had it removes it just between our opening and our locking of it:
    another one is needed.
    """
    file, usual, calls = tmp_path / ".thing.hashlab-lock", _disk._locked, []

    def locked(handle):
        calls.append(handle)
        if len(calls) == 1:
            file.unlink()
        return usual(handle)

    monkeypatch.setattr(_disk, "_locked", locked)
    with _disk.lock(tmp_path / "thing"):
        assert (
            file.exists() and len(calls) == 2 + 1
        )  # and once in the cleaning, which sees that it is held


# ---- room


@pytest.mark.parametrize("system", ["usual", "without", "unable"])
def test_an_array_has_all_its_room_before_it_is_used(system, tmp_path, monkeypatch):
    """Not holes, in which a write on a full disk ends the process by SIGBUS."""
    if system == "without":
        monkeypatch.delattr(os, "posix_fallocate")
    if system == "unable":
        monkeypatch.setattr(
            os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(errno.EOPNOTSUPP, "no"))
        )
    array = _disk.new_array(tmp_path / "a.npy", np.uint8, (3, 1 << 20))
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= array.nbytes
    array[1] = 7
    array.flush()
    assert (
        np.array_equal(np.load(tmp_path / "a.npy"), array) and array[0].sum() == array[2].sum() == 0
    )


LIMITED = """
import resource, signal, sys
from hashlab import cli
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
sys.exit(cli.main(["data", "fetch", "nabirds", "--root", sys.argv[1], "--size", "64"]))
"""


def test_a_fetch_without_room_is_a_sentence_and_leaves_nothing(tmp_path):
    from test_folders import write_birds

    write_birds(tmp_path / "source" / "nabirds")
    done = python("-c", LIMITED, tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "_images.npy: File too large" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_is_a_sentence_and_what_was_taken_is_given_back(tmp_path, monkeypatch):
    from test_folders import write_birds

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_birds(tmp_path / "source" / "nabirds")
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*_images\.npy"):
        prepared.prepare(data.info("nabirds"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


# ---- who uses it

WRITERS = re.compile(
    r"\.(write_text|write_bytes|savefig|tofile|touch|rename|symlink_to)\(|\b(rmtree|mkdtemp|mkstemp|copytree|copyfile)\("
    r"|np\.savez?\w*\(|os\.(rename|replace|remove|unlink|truncate)\(|open_memmap\(|\bopen\([^)]*[\"'][rwax]?[wax+]b?[\"']"
)
IN_MEMORY = re.compile(r"(savefig|np\.save)\((picture|drawing|out|content)\b")


def test_nothing_is_written_past_the_one_module():
    """In the package, the book and the benchmarks; into memory anything may be."""
    root = Path(__file__).resolve().parents[1]
    found = {}
    for folder in ("src", "book", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            for line in path.read_text().splitlines() if path.name != "_disk.py" else ():
                if WRITERS.search(line) and not IN_MEMORY.search(line):
                    found[str(path.relative_to(root))] = line.strip()
    assert found == {}


def test_the_last_good_book_stays_until_the_next_is_there(tmp_path, monkeypatch):
    """A book that cannot be rendered leaves it;
    one that can takes its place, and no page outlives its source.
    """
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "book")
    import build

    def render(output):
        (output / "_build" / "html" / "_static").mkdir(parents=True)
        (output / "_build" / "html" / f"{now[0]}.html").touch()
        return now[1]

    monkeypatch.setattr(build, "render", render)
    for *now, pages in (("one", 0, ["one"]), ("two", 1, ["one"]), ("three", 0, ["three"])):
        assert build.html(tmp_path) == now[1]
        assert [path.stem for path in (tmp_path / "_build" / "html").glob("*.html")] == pages
        assert [path.name for path in (tmp_path / "_build").iterdir()] == ["html"]


QUICK = {"epochs": 0, "pretrain_epochs": 0}


def test_the_second_of_two_identical_runs_waits_and_finds_the_record(tmp_path, monkeypatch):
    """While one trains, the other begins; only one trains."""
    begun, go, trained, found = threading.Event(), threading.Event(), [], []
    usual = experiments._measure

    def slowly(*words):
        trained.append(1)
        begun.set()
        assert go.wait(PATIENCE)
        return usual(*words)

    def run():
        found.append(experiments.run("mu_liu", "digits", 8, root=tmp_path, save=True, **QUICK))

    monkeypatch.setattr(experiments, "_measure", slowly)
    with threads(run):
        assert begun.wait(PATIENCE)
        with threads(run, run):
            go.set()
    assert (
        trained == [1]
        and len(found) == 3
        and found[0] == found[1] == found[2] == records.load(tmp_path)[0]
    )


def test_checkpoints_of_a_run_that_is_kept_go(tmp_path):
    """It was ended after its record, before they were removed, or while they were."""
    record = experiments.run("mu_liu", "digits", 8, root=tmp_path, save=True, **QUICK)
    folder = tmp_path / ".checkpoints" / f"digits-{record.path.stem}"
    for left in (folder, folder.with_name(LEFT)):
        left.mkdir(parents=True)
        (left / "000000001.safetensors").touch()
        assert experiments.run("mu_liu", "digits", 8, root=tmp_path, save=True, **QUICK) == record
        assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_model_goes_where_a_folder_can_be_replaced(tmp_path, monkeypatch):
    train = type(
        "Part", (), {"images": np.zeros((20, 8, 8), np.uint8), "labels": np.arange(20) % 10}
    )
    model = methods.create("mu_liu", 8, epochs=0, batch_size=10).fit(train)
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    said = "a folder that can be replaced as a whole is expected, got "
    for given in (".", "", tmp_path / "here", tmp_path / "link", "/"):
        with pytest.raises(InputError, match=f"{said}{given}; give one inside it"):
            model.save(given)
    assert list((tmp_path / "here").iterdir()) == []
    model.save("m")
    assert methods.load("m").bits == 8 and [
        path.name for path in (tmp_path / "here").iterdir()
    ] == ["m"]
