"""Servers of Milvus: where one is, and what is asked of it.

A file is served by Milvus Lite, a process of its own that ends with the last one here who uses the
file.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hashlab.errors import InputError

PREFIX = "milvus:"
COLLECTION = "hashlab"  # in a file, where no other is named
TOKEN = "HASHLAB_MILVUS_TOKEN"
EXTRA = "pip install 'hashlab[milvus]'"
ANSWER = 10.0  # seconds within which a server has to answer for the first time
PATIENCE = 120.0  # seconds that an answer may take
MOST_FILE_NAME = 36  # characters that Milvus Lite allows

_users: Counter[str] = Counter()  # of each file that is served


class Address(NamedTuple):
    """Where a collection is: a server's `http://HOST:PORT` or a file, and its name there."""

    server: str
    collection: str


def read_address(address: str) -> Address:
    """The parts of an address.

    Raises InputError unless it is `milvus:http://HOST:19530/COLLECTION` or `milvus:FILE.db`, where
    `/COLLECTION` may follow.
    """
    rest = address.removeprefix(PREFIX)
    server, _, collection = rest.rpartition("/")
    if "://" not in rest and rest.endswith(".db"):
        server, collection = rest, COLLECTION
    is_web = "://" in rest and _is_web(server)
    is_file = "://" not in rest and server.endswith(".db")
    named = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,254}", collection)
    if not address.startswith(PREFIX) or not named or not (is_web or is_file) or "\0" in address:
        forms = f"{PREFIX}http://HOST:19530/COLLECTION or {PREFIX}FILE.db/COLLECTION"
        raise InputError(f"{forms} is expected, got {address!r}")
    return Address(server, collection)


def _is_web(server: str) -> bool:
    try:
        parts = urlsplit(server)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        return False


def opened(name: str, token: str | None, new: bool) -> Server:
    """A server that answers.

    Args:
        name: its address or file.
        token: that it may ask for; else $HASHLAB_MILVUS_TOKEN.
        new: whether a file may be made.

    Raises InputError where there is none.
    """
    library = _library()
    if "://" in name:
        return Server(library, name, name, token or os.environ.get(TOKEN), {})
    file = Path(name).absolute()
    _check_file(file, new)
    uri = _serve(file)
    try:
        # the process is ours: it is not to be asked whether it is still there
        return Server(library, name, uri, None, {"grpc.keepalive_time_ms": 2**31 - 1}, file)
    except BaseException:
        _leave(file)
        raise


class Server:
    """A connection to Milvus, whose errors are InputErrors that name it.

    Raises InputError where it does not answer.
    """

    def __init__(
        self,
        library: ModuleType,
        name: str,
        uri: str,
        token: str | None,
        options: dict[str, int],
        file: Path | None = None,
    ):
        self.name = name
        self._library = library
        self._file = file
        with self._errors(f"does not answer as Milvus within {ANSWER:.0f} s, or refuses the token"):
            self._client = library.MilvusClient(
                uri, token=token or "", timeout=ANSWER, grpc_options=options
            )

    def ask(self, what: str, *words: Any, **more: Any) -> Any:
        """What a method of `pymilvus.MilvusClient` gives."""
        if self._client is None:
            raise InputError(f"{self.name}: this index has been closed; open it again")
        with self._errors():
            return getattr(self._client, what)(*words, timeout=PATIENCE, **more)

    def make(self, name: str, kind: str, bits: int, description: str) -> None:
        """A new collection for codes; see `milvus`."""
        types = self._library.DataType
        with self._errors():
            schema = self._client.create_schema(
                auto_id=False, enable_dynamic_field=False, description=description
            )
            length = {"max_length": 65_535} if kind == "VARCHAR" else {}
            schema.add_field("id", types[kind], is_primary=True, **length)
            schema.add_field("code", types.BINARY_VECTOR, dim=bits)
            schema.add_field("meta", types.JSON)
            index = self._client.prepare_index_params()
            index.add_index("code", index_type="BIN_FLAT", metric_type="HAMMING", params={})
        words = {"schema": schema, "index_params": index, "consistency_level": "Strong"}
        self.ask("create_collection", name, **words)

    @property
    def in_file(self) -> bool:
        """Whether this is Milvus Lite, which one process has for itself."""
        return self._file is not None

    def close(self) -> None:
        """End the connection; a second time does nothing."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):  # a server that has gone is left, too
            client.close()
        if self._file is not None:
            _leave(self._file)

    @contextmanager
    def _errors(self, what: str = "cannot do it") -> Iterator[None]:
        errors = self._library.MilvusException
        try:
            yield
        except errors as error:
            reason = " ".join(str(getattr(error, "message", "") or error).split())[:300]
            raise InputError(f"{self.name} {what}: {reason}") from None


def _library() -> ModuleType:
    """pymilvus, which logs nothing: errors are said by who asked."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import pymilvus
    except ImportError:
        raise InputError(f"{PREFIX}… needs pymilvus: {EXTRA}") from None
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL + 1)
    return pymilvus


# ---- files


def _check_file(file: Path, new: bool) -> None:
    """Raise InputError unless a file can be a database of Milvus Lite."""
    if not re.fullmatch(rf"[A-Za-z0-9._-]{{1,{MOST_FILE_NAME}}}", file.name):
        limit = f"{MOST_FILE_NAME} letters, digits and ._-"
        raise InputError(f"a file name of at most {limit} is expected, got {file.name}")
    if file.exists() and not file.is_file():
        raise InputError(f"{file} is a folder; a file of Milvus Lite is expected")
    if not file.exists() and not new:
        raise InputError(f"there is no file {file}; give the bits of a new collection")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is not a folder: {file} cannot be written")


def _serve(file: Path) -> str:
    """The address of the process that serves a file, which is started where there is none."""
    lite = _lite()
    with _silent():
        uri = lite.start_and_get_uri(str(file))
    if uri is None:
        raise InputError(f"{file} cannot be opened: another process uses it, or it is damaged")
    _users[str(file)] += 1
    return uri


def _leave(file: Path) -> None:
    _users[str(file)] -= 1
    if not _users[str(file)]:
        with suppress(Exception):  # it has been killed
            _lite().release_server(str(file))


def _lite() -> Any:
    """What starts Milvus Lite."""
    try:
        version = importlib.metadata.version("milvus-lite")
        if int(version.split(".")[0]) > 2:
            raise InputError(
                f"Milvus Lite {version} has no binary codes; {EXTRA} takes one that has"
            )
        with _package_resources():
            from milvus_lite.server_manager import server_manager_instance
    except ImportError:
        raise InputError(f"{PREFIX}FILE.db needs Milvus Lite: {EXTRA}") from None
    return server_manager_instance


@contextmanager
def _package_resources() -> Iterator[None]:
    """Milvus Lite asks `pkg_resources` for its own version; setuptools has that no more."""
    name = "pkg_resources"
    if name in sys.modules or importlib.util.find_spec(name):
        yield
        return
    module: Any = ModuleType(name)
    module.get_distribution = importlib.metadata.distribution
    module.DistributionNotFound = importlib.metadata.PackageNotFoundError
    sys.modules[name] = module
    try:
        yield
    finally:
        del sys.modules[name]


@contextmanager
def _silent() -> Iterator[None]:
    """What is started here logs nothing."""
    before = os.environ.get("LOG_LEVEL")
    os.environ["LOG_LEVEL"] = "FATAL"
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        if before is None:
            del os.environ["LOG_LEVEL"]
        else:
            os.environ["LOG_LEVEL"] = before
