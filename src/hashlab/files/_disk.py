"""Where things are on disk, and how they are written:
whole or not at all, and nothing half-done stays.

What is on its way stands beside the thing NAME that it is for:

    .NAME.<8 hex digits>.hashlab-part    a file or folder that is being written, or removed
    .NAME.hashlab-old                    the folder that was there, while a new one takes its place; always whole
    .NAME.hashlab-lock                   held by the process that works on NAME

The system drops a lock when its process ends, however it ends. So who has the lock of NAME knows
that whatever else stands there for NAME is nobody's, and clears it away; and who writes into a
folder does so for all that was left in it. No process has to be told from another for that, on
whatever machine or in whatever container it may be.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from hashlab import progress
from hashlab.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

OURS = re.compile(r"\.(.+)\.(?:[0-9a-f]{8}\.hashlab-part|hashlab-old|hashlab-lock)", re.DOTALL)
HELD = (errno.EACCES, errno.EAGAIN)  # what a system says of a lock that another process has
NO_LOCKS = (
    errno.ENOLCK,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)  # … and of a place where there are none, some network disks
NO_ALLOCATION = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
LOOK_AGAIN = 0.02  # seconds between two looks at a lock that another process has
PATIENCE = 0.5  # seconds until it is said that one is waited for
TRIES = 10  # to make a folder that other processes take away
ZEROS = 1 << 20  # bytes written at a time


# ---- where things are


def checkout() -> Path | None:
    """The source checkout this package runs from, or None when it is an installed copy.

    A copy may lie in the folder of somebody's project, beside a `pyproject.toml` that is theirs.
    """
    package = Path(__file__).resolve().parents[1]
    folder = package.parents[1]
    try:
        text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    ours = package == folder / "src" / "hashlab" and '\nname = "hashlab"\n' in text
    return folder if ours else None


def folder(variable: str, default: str) -> Path:
    """`$variable` if set, else `default` under the checkout or the current folder."""
    return _named(variable) or (checkout() or Path.cwd()) / default


def cache() -> Path:
    """`$HASHLAB_DATA` if set, else `data/cache` in the checkout, else the user's cache folder.

    Raises InputError where the user has none.
    """
    if os.environ.get("HASHLAB_DATA") or checkout():
        return folder("HASHLAB_DATA", "data/cache")
    from platformdirs import user_cache_path

    with suppress(RuntimeError):  # platformdirs knows no home; older ones give a relative path
        caches = user_cache_path("hashlab", appauthor=False)
        if caches.is_absolute():
            return caches
    raise InputError("this user has no home folder: set HASHLAB_DATA to a folder for data sets")


def _named(variable: str) -> Path | None:
    """The folder that an environment variable names, if it is set."""
    name = os.environ.get(variable)
    if not name:
        return None
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise InputError(f"{variable} is {name!r}, but there is no such home folder") from None


# ---- files


def write(file: Path, data: bytes) -> None:
    """Write a file under another name, then rename it:
    it is there whole or not at all, after a power cut too.

    Its permissions are those of any new file, as the umask says. Raises OSError with the file's own
    name.
    """
    with _about(file):
        held = _take(file)
        try:
            _write(file, data)
        finally:
            _release(file, held)
        sweep(file.parent)


def _write(file: Path, data: bytes) -> None:
    aside = _part(file)
    try:
        with open(aside, "xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    _sync(file.parent)


def new_array(file: Path, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A new `.npy` file of zeros, mapped into memory, with all its room on disk.

    Raises OSError where there is none. Without that the file has holes, and the first write into
    one on a full disk ends the process by SIGBUS.
    """
    with _about(file):
        array = np.lib.format.open_memmap(file, "w+", dtype, shape)
        with open(file, "r+b") as content:
            _allocate(content, array.offset, array.nbytes)
    return array


def _allocate(content: IO[bytes], start: int, size: int) -> None:
    """Take the room for a range of zeros: at once where the system can, else by writing them."""
    try:
        os.posix_fallocate(content.fileno(), start, size)
    except (AttributeError, OSError) as error:  # no such function on macOS and Windows
        if getattr(error, "errno", errno.ENOSYS) not in NO_ALLOCATION:
            raise
        content.seek(start)
        for done in range(0, size, ZEROS):
            content.write(bytes(min(ZEROS, size - done)))


def check_space(folder: Path, need: int) -> None:
    """Raise InputError unless `need` bytes are free where a folder is, or is to be."""
    above = (folder, *folder.absolute().parents)
    nearest = next(path for path in above if path.exists())
    free = shutil.disk_usage(nearest).free
    if free < need:
        raise InputError(f"{folder}: {need / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")


# ---- folders


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, to be filled and swapped with it; it goes when the block ends.

    Under the lock of `folder`, which keeps it from being cleared away.
    """
    beside = _part(folder)
    beside.mkdir()
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def swap(beside: Path, folder: Path) -> None:
    """Put a folder that is whole in the place of another, which goes once the new one stands.

    Under the lock of the latter. Ended at any moment, it leaves the old one or the new one: at
    once, or as soon as the lock is taken again.
    """
    _sync_all(beside)
    old = _beside(folder, "hashlab-old")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(beside, folder)
    finally:
        _settle(folder)
    _sync(folder.parent)


def restored(folder: Path) -> Path:
    """The folder itself, put back where a swap of it was ended half-way; for who only reads it."""
    if not folder.exists() and _beside(folder, "hashlab-old").exists():
        with suppress(OSError), lock(folder):
            pass
    return folder


def discard(folder: Path) -> None:
    """Remove a folder, if there is one: first its name, then what it holds."""
    beside = _part(folder)
    with suppress(FileNotFoundError):
        os.rename(folder, beside)
        shutil.rmtree(beside, ignore_errors=True)


# ---- locks


@contextmanager
def lock(thing: Path, wait: bool = True) -> Iterator[None]:
    """Only one process at a time gets past this for the same file or folder;
    the others wait, and say so.

    What killed processes left beside it is cleared away. Folders that had to be made go again if
    they stay empty. Raises BlockingIOError where another process has it and `wait` is False.
    """
    made: list[Path] = []
    try:
        with _about(thing):
            held = _take(thing, wait, made)
        try:
            sweep(thing.parent)
            yield
        finally:
            _release(thing, held)
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def sweep(folder: Path) -> None:
    """Clear away what is left in a folder of the work of processes that are no more."""
    ours = filter(None, map(OURS.fullmatch, os.listdir(folder)))
    for thing in {folder / match[1] for match in ours}:
        with suppress(OSError):  # one that is at work, or another user's
            _release(thing, _take(thing, wait=False))


def _take(thing: Path, wait: bool = True, made: list[Path] | None = None) -> int:
    """The open lock file of a thing, once no other process has it.

    Nothing half-done is left beside the thing then. Where `made` is given, the folder is made if
    need be, and what was made joins `made`.
    """
    begun = time.monotonic()
    quiet = made is None or progress.mode() == "silent"
    while (held := _opened(thing, made)) is None:
        if not wait:
            raise BlockingIOError(errno.EAGAIN, "another process is at work on it", str(thing))
        if not quiet and time.monotonic() - begun > PATIENCE:
            text = f"another process is at work on {thing.name}: waiting for it"
            print(text, file=sys.stderr, flush=True)
            quiet = True  # once is enough
        time.sleep(LOOK_AGAIN)
    return held


def _opened(thing: Path, made: list[Path] | None) -> int | None:
    """The lock file, open and locked;
    None where another process has it, or has just taken it away.
    """
    file = lock_file(thing)
    handle = _handle(file, made)
    try:
        locked = _locked(handle)
        if not os.path.samestat(file.stat(), os.fstat(handle)):
            raise FileNotFoundError  # it keeps nobody out any more: there is another one by now
    except BaseException as error:
        os.close(handle)
        if isinstance(error, FileNotFoundError) or (
            isinstance(error, OSError) and error.errno in HELD
        ):
            return None
        raise
    if locked:
        _settle_or_release(thing, handle)
    return handle


def _settle_or_release(thing: Path, held: int) -> None:
    """Settle a thing under its lock, which is given up where that fails."""
    try:
        _settle(thing)
    except BaseException:
        _release(thing, held)
        raise


def _handle(file: Path, made: list[Path] | None) -> int:
    """A lock file, opened; its folder is made again where a process that failed takes it away
    just now.
    """
    for tries_left in reversed(range(TRIES if made is not None else 1)):
        try:
            if made is not None:
                _make(file.parent, made)
            return _open(file)
        except (FileNotFoundError, FileExistsError):
            if not tries_left:
                raise
    raise AssertionError("there is one try at least")


def lock_file(thing: Path) -> Path:
    """The file that is there as long as somebody has the lock of a thing."""
    return _beside(thing, "hashlab-lock")


def _open(file: Path) -> int:
    flags = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(file, flags | os.O_RDWR | os.O_CREAT, 0o666)
    except (
        PermissionError
    ):  # in a shared folder it may be another user's, who was killed or is at work
        if not file.exists():
            raise
        return os.open(file, flags | os.O_RDONLY)


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder; those of it and its parents that were not there join `made`,
    the innermost first.
    """
    made += [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)


def _locked(handle: int) -> bool:
    """Lock an open file; False where the file system has no locks,
    so that nobody can wait for anybody.

    Raises OSError, one of `HELD`, where another process has it.
    """
    try:
        if fcntl:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        return True
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise


def _release(thing: Path, held: int) -> None:
    """Take the lock file away while it is locked.

    Who waits for it sees that it is gone, and makes a new one.
    """
    file = lock_file(thing)
    with suppress(OSError):  # Windows takes no open file away
        file.unlink()
    os.close(held)
    if not fcntl:
        with suppress(OSError):
            file.unlink()


# ---- what stands beside a thing


def _part(thing: Path) -> Path:
    return _beside(thing, f"{secrets.token_hex(4)}.hashlab-part")


def _beside(thing: Path, ending: str) -> Path:
    return thing.with_name(f".{thing.name}.{ending}")


def _settle(thing: Path) -> None:
    """End what was begun with a thing:
    put the old folder back where no new one came, and remove the rest.
    """
    old = _beside(thing, "hashlab-old")
    if old.exists():
        os.rename(old, _part(thing) if thing.exists() else thing)
    for left in thing.parent.iterdir():
        whose = OURS.fullmatch(left.name)
        if whose and whose[1] == thing.name and left.suffix == ".hashlab-part":
            _remove(left)


def _remove(left: Path) -> None:
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        with suppress(OSError):  # another user's, in a folder that is everybody's
            left.unlink()


@contextmanager
def _about(thing: Path) -> Iterator[None]:
    """Errors of the system name the thing:
    the names of what stands beside it mean nothing to anybody.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(thing)) from None


def _sync_all(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    """Have the system put a file, or the names in a folder, on the disk itself."""
    if fcntl is None:  # Windows has no such thing for what is open to be read
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
