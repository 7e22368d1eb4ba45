"""Works on disk that are killed at every file operation, or done by several processes at once.

    python killed_works.py every FOLDER STEP WORK …       # each work, killed before every STEPth of its file operations
    python killed_works.py at-once FOLDER TRIALS WORK …   # each work, TRIALS times by four processes at once

Prints a JSON object: for each work `{"tried": …, "failed": [what went wrong, …]}`. `WORKS` has them all. One is

    before(folder)   what there is before it is done
    do(folder)       the work
    check(folder)    raises unless a reader finds, at any moment, what was there before or what is there afterwards
    after(folder)    raises unless the work is done

`every(name, folder, step)` and `at_once(name, folder, trials)` do one work and return that object, so that a longer
campaign can be built on them. A file operation is what the interpreter tells its audit hooks of: opening a file for
writing, renaming, removing, making a folder, …, of anything below the folder. Each death happens twice: with the files
as they are, and with the one that was last opened cut to half of what had been written into it.
"""

import json
import os
import shutil
import signal
import sys
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from hashlab import _disk, data, experiments, methods, records
from hashlab.data import cache, prepared, sets
from hashlab.errors import InputError

torch.set_num_threads(1)
os.fsync = lambda handle: None  # who is killed loses nothing of what was written; only a power cut does that
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link")
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
RUN = {"method": "mu_liu", "data": "digits", "bits": 8, "epochs": 1, "pretrain_epochs": 0, "batch_size": 400}


# ---- works


class WriteFile:
    """A file takes the place of another."""

    def before(self, folder):
        (folder / "file.txt").write_bytes(b"old" * 50)

    def do(self, folder):
        _disk.write(folder / "file.txt", b"new" * 100)

    def check(self, folder):
        assert (folder / "file.txt").read_bytes() in (b"old" * 50, b"new" * 100)

    def after(self, folder):
        assert (folder / "file.txt").read_bytes() == b"new" * 100


class SaveModel:
    """A model, in a new folder."""

    def __init__(self):
        train = type("Part", (), {"images": np.zeros((20, 8, 8), np.uint8), "labels": np.arange(20) % 10})
        self.images, self.method = train.images, methods.create("mu_liu", 8, epochs=0, batch_size=10).fit(train)

    def before(self, folder):
        pass

    def do(self, folder):
        self.method.save(folder / "new" / "model", {"run": "this"})

    def check(self, folder):
        if (folder / "new" / "model").exists():
            self.after(folder)

    def after(self, folder):
        found = methods.load(folder / "new" / "model")
        assert found.encode(self.images).tobytes() == self.method.encode(self.images).tobytes()
        assert len(list((folder / "new" / "model").iterdir())) == 3


class ReplaceModel(SaveModel):
    """A model takes the place of the same one."""

    before = SaveModel.do
    check = SaveModel.after


class Compact:
    """A record, made compact."""

    def __init__(self):
        self.codes: Any = None

    def before(self, folder):
        experiments.run(**RUN | {"epochs": 0}, root=folder, save=True)
        self.codes = records.load(folder)[0].codes()

    def do(self, folder):
        records.compact(records.load(folder)[0])

    def check(self, folder):
        (record,) = records.load(folder)
        assert records.verify(record) == []
        assert all(np.array_equal(array, self.codes[key]) for key, array in record.codes().items())

    def after(self, folder):
        self.check(folder)
        assert len(list(folder.rglob("*.npz"))) == 2 and len(list(folder.rglob("*.json"))) == 1


class Run:
    """A run that keeps its record, its model, and, as it goes, its checkpoints."""

    model = True

    def before(self, folder):
        pass

    def do(self, folder):
        model = folder / "model" if self.model else None
        experiments.run(**RUN, root=folder / "r", save=True, save_model=model)

    def check(self, folder):
        assert all(records.verify(record) == [] for record in records.load(folder / "r"))
        if (folder / "model").exists():
            methods.load(folder / "model")

    def after(self, folder):
        self.check(folder)
        assert len(records.load(folder / "r")) == 1 and [path.name for path in (folder / "r").iterdir()] == ["digits"]
        assert len(list((folder / "r" / "digits").iterdir())) == 2
        assert (folder / "model").exists() == self.model


class RunAlone(Run):
    """A run that keeps its record."""

    model = False


class WriteCache:
    """A set in the cache takes the place of the same one."""

    arrays: ClassVar = {"all": (np.arange(320, dtype=np.uint8).reshape(20, 4, 4), np.zeros(20, np.uint8))}
    about = sets.SetInfo(
        name="made",
        title="",
        shape=(4, 4),
        classes=("0",),
        counts={"all": 20},
        source="",
        licence="",
        fingerprints={"all": cache.canonical(*arrays["all"])[1]},
    )

    def before(self, folder):
        self.do(folder)

    def do(self, folder):
        cache.write(self.about, self.arrays, folder / "cache")

    def check(self, folder):
        assert cache.open_pool(self.about, folder / "cache").labels.shape == (20,)

    def after(self, folder):
        self.check(folder)
        assert [path.name for path in (folder / "cache").iterdir()] == ["made"]


class Fetch(WriteCache):
    """A set is fetched into a cache that is not there yet."""

    def before(self, folder):
        pass

    def do(self, folder):
        cache.fetch(self.about, folder / "cache", lambda about, aside: self.arrays)

    def check(self, folder):
        if cache.home(self.about, folder / "cache").exists():
            super().check(folder)


class Prepare:
    """A set that was put there by hand is read anew, at another size."""

    def before(self, folder):
        from test_folders import write_birds

        write_birds(folder / "source" / "nabirds")
        prepared.prepare(data.info("nabirds"), folder, size=16)

    def do(self, folder):
        prepared.prepare(data.info("nabirds"), folder, size=12)

    def check(self, folder):
        assert data.load("nabirds", root=folder).train.images.shape[1] in (12, 16)

    def after(self, folder):
        assert data.load("nabirds", root=folder).train.images.shape[1] == 12
        assert sorted(path.name for path in folder.iterdir()) == ["nabirds", "source"]
        assert not (folder / "nabirds" / prepared.PLAN).exists()


WORKS = {
    "write": WriteFile,
    "model": SaveModel,
    "model again": ReplaceModel,
    "compact": Compact,
    "run": RunAlone,
    "run with model": Run,
    "cache": WriteCache,
    "fetch": Fetch,
    "prepare": Prepare,
}


# ---- deaths


@dataclass
class Watch:
    """Counts the file operations below a folder; before the fatal one, the process dies."""

    folder: str
    fatal: int
    log: int
    count: int = 0

    def __call__(self, event, arguments):
        if event not in EVENTS or (event == "open" and not (arguments[2] or 0) & CHANGES):
            return
        paths = [os.fspath(one) for one in arguments if isinstance(one, str | os.PathLike)]
        within_a_folder = event != "open" and not any(map(os.path.isabs, paths))  # as shutil.rmtree does it
        if not within_a_folder and not any(path.startswith(self.folder) for path in paths):
            return
        self.count += 1
        if self.count == self.fatal:
            os.write(self.log, f"before {event} {' '.join(paths)}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self.log, f"{event} {' '.join(paths)}\n".encode())


def in_child(do, folder, fatal=0):
    """Do a work in a forked process that dies before its file operation number `fatal`; returns its log, line by line.

    The last line begins with `before` where it died, with `failed` where it raised; else it is `done`.
    """
    log = folder.with_suffix(".log")
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    child = os.fork()
    if child == 0:
        try:
            sys.addaudithook(Watch(str(folder), fatal, handle))
            do(folder)
            os.write(handle, b"done\n")
        except BaseException:
            os.write(handle, f"failed {' | '.join(traceback.format_exc().splitlines()[-3:])}\n".encode())
        finally:
            os._exit(0)
    os.close(handle)
    os.waitpid(child, 0)
    return log.read_text().splitlines()


def cut(lines):
    """Cut the file that was open at the moment of death to half of what is in it, if there was one."""
    if len(lines) > 1 and lines[-2].startswith("open "):
        file = Path(lines[-2].removeprefix("open "))
        if file.is_file():
            os.truncate(file, file.stat().st_size // 2)


def left(folder):
    """What is beside things, hidden, and should have gone."""
    return [str(path.relative_to(folder)) for path in folder.rglob(".*")]


def every(name, folder, step=1):
    """Kill a work before every so manieth file operation, twice; then read what is there, and do the work again."""
    work, failed, tried, fatal = WORKS[name](), [], 0, 1
    start, here = folder / "start", folder / "here"
    start.mkdir(parents=True)
    work.before(start)
    while True:
        for torn in (False, True):
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(start, here)
            lines = in_child(work.do, here, fatal)
            if not lines[-1].startswith("before"):
                failed += [] if lines[-1] == "done" else [lines[-1]]
                return {"tried": tried, "failed": failed}
            if torn:
                cut(lines)
            failed += [f"{problem}, after {lines[-1]}, torn: {torn}" for problem in aftermath(work, here)]
            tried += 1
        fatal += step


def aftermath(work, folder):
    """What is wrong after a death: for a reader, for who does the work again, and in what is left then."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a torn checkpoint
            work.check(folder)
            work.do(folder)
        for parent in {path.parent for path in folder.rglob(".*")}:  # of a work that was done but for its lock
            _disk.write(parent / "next.txt", b"what is written to a place cleans it")
            (parent / "next.txt").unlink()
        work.after(folder)
        return [f"{path} is left" for path in left(folder)]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


def at_once(name, folder, trials, processes=4):
    """Start several processes at once that do the same work, again and again."""
    work, failed = WORKS[name](), []
    start = folder / "start"
    start.mkdir(parents=True)
    work.before(start)
    shutil.copytree(start, folder / "warm")
    work.do(folder / "warm")  # what is compiled or imported when first used, the children then have
    work.check(folder / "warm")
    for trial in range(trials):
        here = folder / str(trial)
        shutil.copytree(start, here)
        failed += [f"trial {trial}: {problem}" for problem in together(work, here, processes)]
        try:
            work.after(here)
            failed += [f"trial {trial}: {path} is left" for path in left(here)]
        except Exception as error:
            failed.append(f"trial {trial}: {type(error).__name__}: {error}")
        shutil.rmtree(here)
    return {"tried": trials, "failed": failed}


def together(work, folder, processes):
    """What went wrong in any of several processes that do a work, all from the moment at which the last is ready."""
    reading, writing = os.pipe()
    said = [folder.with_suffix(f".{number}") for number in range(processes)]
    children = []
    for file in said:
        children.append(os.fork())
        if children[-1] == 0:
            try:
                os.close(writing)
                os.read(reading, 1)  # until the parent closes its end
                work.do(folder)
                work.check(folder)
                file.write_text("")
            except BaseException:
                file.write_text(" | ".join(traceback.format_exc().splitlines()[-3:]))
            finally:
                os._exit(0)
    os.close(writing)
    for child in children:
        os.waitpid(child, 0)
    os.close(reading)
    return [text for text in (file.read_text() for file in said) if text]


def main(command, folder, *words):
    if command == "every":
        print(json.dumps({name: every(name, folder / name, int(words[0])) for name in words[1:]}))
    elif command == "at-once":
        print(json.dumps({name: at_once(name, folder / name, int(words[0])) for name in words[1:]}))
    else:
        raise InputError(f"every or at-once expected, got {command}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]).resolve(), *sys.argv[3:])
