"""A process that dies at a chosen moment: before, within or after anything that it does to a file.

`watch(moments, folder)` sees to it, for all of Python at once, that `moments.pass_by(what)` is
called around every opening of a file for writing, every write (also when half of it is done),
fsync, renaming, removal and new folder.
"""

import builtins
import io
import os
import signal
import sys
from pathlib import Path

AUDITED = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.link",
    "os.symlink",
    "os.truncate",
)
SYSTEM_CALLS = (
    "fsync",
    "fdatasync",
    "write",
    "posix_fallocate",
    "ftruncate",
    "replace",
    "rename",
    "unlink",
    "rmdir",
)


class Moments:
    """Counts the moments of a life; the one with the fatal number is its last.
    Numbers begin with 1; 0 kills nobody.

    Only moments whose names hold `kind` count.
    """

    def __init__(self, fatal, log=None, kind=""):
        self.passed, self.fatal, self.log, self.kind = 0, fatal, log, kind

    def pass_by(self, what):
        self.passed += self.kind in what
        if self.passed == self.fatal and self.kind in what:
            if self.log:
                with LOW["open"](self.log, "w") as out:
                    out.write(what)
            os.kill(os.getpid(), signal.SIGKILL)


LOW = {"open": io.open}  # as it was before anything was watched


def path_of(target):
    """The path that a name or the number of an open file stands for."""
    if not isinstance(target, int):
        return os.fsdecode(target)
    try:
        return os.readlink(f"/proc/self/fd/{target}")
    except OSError:
        return f"file {target}"


class Halves:
    """A file whose writes are done in two halves; all else is the file's."""

    def __init__(self, file, moments):
        self._file, self._moments = file, moments

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        self._file.__enter__()
        return self

    def __exit__(self, *how):
        return self._file.__exit__(*how)

    def __iter__(self):
        return iter(self._file)

    def write(self, data):
        middle = len(data) // 2
        self._file.write(data[:middle])
        self._file.flush()
        self._moments.pass_by(f"half written: {path_of(self._file.name)}")
        self._file.write(data[middle:])
        self._file.flush()
        self._moments.pass_by(f"written: {path_of(self._file.name)}")
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)


def watch(moments, folder):
    """From now on moments are passed wherever this process changes something below the folder.
    There is no way back.
    """
    folder = os.path.abspath(folder)

    def inside(target):
        path = path_of(target)
        # relative names go with a handle of the folder they are in, as `shutil.rmtree` has them
        return not os.path.isabs(path) or os.path.abspath(path).startswith(folder)

    def audit(event, arguments):
        if event in AUDITED and inside(arguments[0]):
            moments.pass_by(f"before {event} of {arguments[0]}")

    def opened(file, mode="r", *more, **settings):
        writes = (
            set(mode) & set("wax+")
            and isinstance(file, str | bytes | os.PathLike | int)
            and inside(file)
        )
        if writes:
            moments.pass_by(f"before the opening of {path_of(file)}")
        handle = LOW["open"](file, mode, *more, **settings)
        return Halves(handle, moments) if writes else handle

    def after(name, call):
        def called(target, *more, **settings):
            result = call(target, *more, **settings)
            if inside(target):
                moments.pass_by(f"after {name} of {path_of(target)}")
            return result

        return called

    sys.addaudithook(audit)
    builtins.open = io.open = opened
    # who is killed loses nothing that was written: to wait for the disk would change nothing
    os.fsync = os.fdatasync = lambda _: None
    for name in SYSTEM_CALLS:
        if hasattr(os, name):
            setattr(os, name, after(name, getattr(os, name)))


def snapshot(folder):
    """Every file and empty folder below a folder: path in it -> bytes, None for folders."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.is_file() or not any(path.iterdir())
    }
