"""An index in Milvus gives what the local one gives: after any operations, for any ties, beyond the
engine's limits, and after whatever was killed while it was filled.

Milvus Lite serves a file here. Where HASHLAB_MILVUS names a server, `http://HOST:19530`, all that
is not about files runs on that, too.
"""

import fcntl
import json
import os
import random
import re
import secrets
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hashlab import codes, methods, search
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.search import milvus, servers

pytestmark = pytest.mark.extra

PAGE = Path(__file__).resolve().parents[1] / "book" / "machines.md"
WRITES = ("insert", "upsert")
STEPS = 250  # operations of each kind of ids
SERVERS = ["lite", *filter(None, [os.environ.get("HASHLAB_MILVUS")])]
OPERATIONS = ["add", "add", "put", "remove", "search", "search", "within", "count", "look"]
SIGNS = ["&", "'", "&'", "'&", "(", "%", "&0", "&1", '"', "", "é", "~"]  # of ids
WORDS = ["cat", "dog", "é\"\\'{x}", 1, 1.0, True, "1", ["cat", "owl"], {"a": [1]}, None]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file that is served as long as this module's tests run."""
    path = tmp_path_factory.mktemp("milvus") / "codes.db"
    with search.open_index(f"milvus:{path}", bits=1):
        yield path


@pytest.fixture(params=SERVERS)
def address(request, file):
    """The address of a new collection, which goes with the test."""
    name = f"test_{secrets.token_hex(6)}"
    server = str(file) if request.param == "lite" else request.param
    yield f"milvus:{server}/{name}"
    opened = servers.opened(server, None, new=False)
    if opened.ask("has_collection", name):
        opened.ask("drop_collection", name)
    opened.close()


def same_results(one, other):
    """Whether two results, arrays or lists of them, are equal, types included."""
    return all(
        len(a) == len(b)
        and all(np.array_equal(x, y) and x.dtype.kind == y.dtype.kind for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )  # fmt: skip


def same_items(one, other):
    return (
        (one.bits, one.tables, len(one)) == (other.bits, other.tables, len(other))
        and one.ids.tolist() == other.ids.tolist()
        and np.array_equal(one.codes(), other.codes())
        and list(one) == list(other)
    )


def outcome(call):
    """What a call gives, or that it refuses."""
    try:
        return call()
    except InputError:
        return InputError


class Life:
    """Random operations on two indexes at once, whose few distinct codes are nearly all tied."""

    def __init__(self, seed, text, tables, mine, theirs):
        self.draw, self.text, self.tables = random.Random(seed), text, tables
        self.both = (mine, theirs)
        bits = np.random.default_rng(seed).random((6, sum(tables))) < 0.5
        parts = np.split(bits, np.cumsum(tables)[:-1], axis=1)
        self.pool = np.concatenate([codes.pack(part) for part in parts], axis=1)
        self.known = {}

    def id(self):
        number = self.draw.randint(-60, 60)
        return f"{number % 7}{SIGNS[number % len(SIGNS)]}{number}é/\\" if self.text else number

    def packed(self, count):
        rows = self.pool[[self.draw.randrange(6) for _ in range(count)]].copy()
        rows[:, 0] ^= np.array([self.draw.choice((0, 0, 1)) for _ in range(count)], np.uint8)
        return rows

    def step(self):
        name = self.draw.choice(OPERATIONS)
        call = getattr(self, name)()
        results = [outcome(lambda index=index: call(index)) for index in self.both]
        assert self.agree(*results), (name, results)

    def agree(self, mine, theirs):
        if mine is InputError or theirs is InputError or not isinstance(mine, tuple):
            return mine is theirs or mine == theirs
        return same_results(mine, theirs)

    def items(self):
        ids = [self.id() for _ in range(self.draw.randint(0, 8))]
        if self.draw.random() < 0.9:
            ids = list(dict.fromkeys(ids))
        packed = self.packed(len(ids))
        return (
            ids,
            packed,
            [{"label": self.draw.choice(WORDS), "n": i % 2} for i in range(len(ids))],
        )

    def add(self):
        ids, packed, meta = self.items()
        if self.draw.random() < 0.7:
            ids = [one for one in ids if one not in self.both[0]]
        packed, meta = packed[: len(ids)], meta[: len(ids)]
        return lambda index: index.add(ids, packed, meta)

    def put(self):
        items = self.items()
        return lambda index: index.put(*items)

    def remove(self):
        held = self.both[0].ids.tolist()
        ids = self.draw.sample(held, min(len(held), self.draw.randint(0, 4)))
        ids += [self.id()] if self.draw.random() < 0.2 or not held else []
        return lambda index: index.remove(ids)

    def where(self):
        if self.draw.random() < 0.5:
            return None
        wanted = {"label": self.draw.choice(WORDS[:-2]), "n": self.draw.choice((0, 1))}
        return {
            name: wanted[name] for name in self.draw.sample(["label", "n"], self.draw.randint(0, 2))
        }

    def search(self):
        query, k, where = (
            self.packed(self.draw.randint(0, 3)),
            self.draw.randint(1, 12),
            self.where(),
        )
        return lambda index: index.search(query, k, where=where)

    def within(self):
        query, where = self.packed(self.draw.randint(0, 3)), self.where()
        radius = self.draw.choice((0, 1, 3, sum(self.tables)))
        return lambda index: index.within(query, radius, where=where)

    def count(self):
        where = self.where()
        return lambda index: index.count(where)

    def look(self):
        ids = [self.id() for _ in range(2)]
        return lambda index: [ids[0] in index, index.meta(ids), index.codes(ids).tolist()]


@pytest.fixture
def narrow(monkeypatch):
    """Milvus as if it gave few results, and took few rows at once."""
    for name, value in {"MOST": 13, "AT_LEAST": 2, "RESULTS": 20, "PAGE": 5, "ROWS": 3}.items():
        monkeypatch.setattr(milvus, name, value)


@pytest.mark.parametrize("text, tables", [(False, (12,)), (True, (3, 70))])
def test_random_operations_come_to_the_same(text, tables, address, narrow, campaign, count):
    """Many of them meet the limits of an engine that gives twelve results."""
    steps = STEPS * (20 if campaign else 1)
    bits = sum(tables)
    with search.open_index(address, bits=bits, tables=tables) as theirs:
        life = Life(7, text, tables, search.Index(bits, tables), theirs)
        for _ in range(steps):
            life.step()
        assert same_items(*life.both) and len(theirs) > 20
        with search.open_index(address, bits=bits, tables=tables) as again:
            assert same_items(again, theirs)
    count("operations in Milvus", steps, steps)


def filled(address, items=3000, bits=16):
    """A local index and one in Milvus of the same items."""
    rng = np.random.default_rng(1)
    packed = codes.pack(rng.random((items, bits)) < 0.5)
    ids = rng.permutation(items) - 50
    meta = {"label": [("cat", "dog", ["owl", "cat"])[i % 3] for i in range(items)]}
    mine, theirs = search.Index(bits), search.open_index(address, bits=bits)
    for index in (mine, theirs):
        index.add(ids, packed, meta)
    return mine, theirs


def test_a_thousand_queries_are_answered_as_by_the_local_index(address):
    mine, theirs = filled(address)
    with theirs:
        query = codes.pack(np.random.default_rng(2).random((1000, 16)) < 0.5)
        for k in (1, 10):
            assert same_results(theirs.search(query, k), mine.search(query, k))
        few = query[:20]
        where = {"label": ["dog", "owl"]}
        assert same_results(theirs.search(few, 50, where=where), mine.search(few, 50, where=where))
        assert same_results(theirs.search(few, 2999), mine.search(few, 2999))
        assert same_results(theirs.within(few, 4), mine.within(few, 4))
        groups = [
            [group.tolist() for group in search.duplicates(index, 0)] for index in (mine, theirs)
        ]
        assert groups[0] == groups[1]


def test_ties_beyond_what_the_engine_gives_are_settled_by_ids(address, narrow):
    """All codes are one code: whatever twelve Milvus gives, the smallest ids are asked for."""
    mine, theirs = search.Index(8), search.open_index(address, bits=8)
    ids = np.random.default_rng(0).permutation(200)
    with theirs:
        for index in (mine, theirs):
            index.add(ids, np.zeros((200, 8), np.uint8))
        query = codes.pack(np.array([[0] * 8, [1] * 8], bool))
        for k in (1, 5, 12):
            assert same_results(theirs.search(query, k), mine.search(query, k))
        assert same_results(theirs.within(query, 8), mine.within(query, 8))


def test_limits_are_said_before_anything_is_asked(address, monkeypatch):
    mine, theirs = filled(address, 20)
    with theirs:
        with monkeypatch.context() as patch:
            patch.setattr(servers.Server, "ask", None)
            for call, words in (
                (lambda: theirs.search(mine.codes()[:1], 16_384), "k must be below 16384"),
                (lambda: theirs.search(mine.codes()[:1], 0), "k must be a whole number"),
                (lambda: theirs.search(mine.codes()[:1], 1, combine="union"), "by the sum only"),
                (lambda: theirs.search(np.zeros((1, 3), np.uint8), 1), r"query codes of 16 bits"),
                (lambda: theirs.within(mine.codes()[:1], -1), "radius must be a whole number"),
                (lambda: theirs.search(mine.codes()[:1], 1, where=3), "where must be a dict"),
                (lambda: theirs.add(["a"], mine.codes()[:1]), "are whole numbers, got text"),
                (lambda: theirs.add([-(2**63)], mine.codes()[:1]), r"above -2\^63"),
                (lambda: theirs.add([99], mine.codes()[:1], [{"a": "x" * 70_000}]), "65535 bytes"),
            ):
                with pytest.raises(InputError, match=words) as error:
                    call()
                assert "\n" not in str(error.value)
        with pytest.raises(InputError, match=r"k must be a whole number in 1\.\.20, the items"):
            theirs.search(mine.codes()[:1], 21)
        with pytest.raises(InputError, match="none of the 20 items has label=eel"):
            theirs.search(mine.codes()[:1], 1, where={"label": "eel"})
        with pytest.raises(InputError, match=r"ids must be new and differ, got -40 twice"):
            theirs.add([99, -40], mine.codes()[:2])
        with pytest.raises(InputError, match="99 is not in the index"):
            theirs.remove([-40, 99])
        assert same_items(mine, theirs)


@pytest.mark.parametrize("one", ["a\nb", "\x01", "x" * 70_000])
def test_text_that_milvus_does_not_keep_is_no_id(one, address):
    with (
        search.open_index(address, bits=8) as index,
        pytest.raises(InputError, match="ids in Milvus"),
    ):
        index.add([one], np.zeros((1, 8), np.uint8))


def test_what_fails_half_way_leaves_nothing(address, narrow, monkeypatch):
    """`add` is all or nothing as long as the server answers at all."""
    mine, theirs = filled(address, 10)
    ask, writes = servers.Server.ask, []

    def failing(self, what, *words, **more):
        writes.append(what in WRITES)
        if what in WRITES and sum(writes) == 3:
            raise InputError("no room")
        return ask(self, what, *words, **more)

    with theirs:
        with monkeypatch.context() as patch, pytest.raises(InputError, match="no room"):
            patch.setattr(servers.Server, "ask", failing)
            theirs.add(range(100, 120), np.zeros((20, 8), np.uint8))
        assert same_items(mine, theirs)


def test_tables_alone_are_compared_too(tmp_path):
    address = f"milvus:{tmp_path / 'a.db'}"
    with search.open_index(address, tables=(4, 4)) as index:
        index.put([1], np.zeros((1, 16), np.uint8))
    with search.open_index(address, tables=[4, 4]) as index:
        assert index.tables == (4, 4)
    with pytest.raises(InputError, match=r"holds codes of 4 \+ 4 bits, not 8"):
        search.open_index(address, tables=[8])


@pytest.mark.parametrize("old", [0, 4, 10])
def test_in_a_file_only_rows_that_are_there_are_replaced(old, tmp_path, monkeypatch):
    """Milvus Lite looks for the place of each row that is replaced among all rows."""
    ask, written = servers.Server.ask, {"insert": [], "upsert": []}

    def counting(self, what, *words, **more):
        if what in written:
            written[what] += [row["id"] for row in more["data"]]
        return ask(self, what, *words, **more)

    with search.open_index(f"milvus:{tmp_path / 'a.db'}", bits=8) as index:
        index.put(range(old), np.zeros((old, 8), np.uint8))
        with monkeypatch.context() as patch:
            patch.setattr(servers.Server, "ask", counting)
            index.put(range(10), np.eye(1, 8, dtype=np.uint8).repeat(10, 0))
        assert written == {"insert": list(range(old, 10)), "upsert": list(range(old))}
        assert len(index) == 10 and (index.codes()[:, 0] == 1).all()


def test_the_page_searches_in_a_file(tmp_path, monkeypatch):
    """Its block runs, again too, and finds what a local index finds."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "milvus:" in block]
    monkeypatch.chdir(tmp_path)
    names = {}
    for _ in range(2):
        exec(compile(block, PAGE.name, "exec"), names)
    index = search.Index(64)
    index.add(np.arange(1000), names["packed"], {"label": ["even", "odd"] * 500})
    wanted = index.search(names["packed"][:2], k=3, where={"label": "odd"})
    assert same_results((names["distances"], names["ids"]), wanted)


# ---- shards


def parquet(file, names, packed, labels=None, bits=16, model="m" * 64, metadata=True):
    """A shard as others write it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "path": pa.array(names, pa.string()),
        "code": pa.array(packed, pa.binary(-(-bits // 8))),
    }
    if labels:
        columns["label"] = pa.array(labels)
    about = {"hashlab.bits": str(bits), "hashlab.model": model} if metadata else None
    table = pa.table(columns).replace_schema_metadata(about)
    pq.write_table(table, file, write_page_checksum=True)


def shards(folder, count=4, rows=30, **more):
    """A folder of shards, and the local index of what is in them."""
    folder.mkdir()
    packed = codes.pack(np.random.default_rng(3).random((count * rows, 16)) < 0.5)
    names = [f"{i % 3}/{i:03}.jpg" for i in range(count * rows)]
    labels = [("cat", "dog", None)[i % 3] for i in range(count * rows)]
    for number in range(count):
        part = slice(number * rows, (number + 1) * rows)
        stored = [row.tobytes() for row in codes.trim(packed[part], 16)]
        parquet(folder / f"shard-{number:05}.parquet", names[part], stored, labels[part], **more)
    index = search.Index(16)
    index.add(names, packed, {"label": labels})
    return index


def test_shards_fill_either_index_and_loading_again_changes_nothing(address, tmp_path):
    whole = shards(tmp_path / "shards")
    assert search.load_shards(tmp_path / "shards", tmp_path / "an.index") == 120
    mine = search.open_index(tmp_path / "an.index")
    assert same_items(mine, whole) and mine.notes == {"model": {"sha256": "m" * 64}, "shards": True}
    before = (tmp_path / "an.index" / "index.json").read_bytes()
    search.load_shards(tmp_path / "shards", tmp_path / "an.index")
    assert (tmp_path / "an.index" / "index.json").read_bytes() == before
    for _ in range(2):
        assert search.load_shards(tmp_path / "shards", address) == 120
        with search.open_index(address) as theirs:
            assert same_items(theirs, whole) and theirs.notes == mine.notes


def test_shards_of_the_command_and_images_without_codes(tmp_path):
    """`shards.json` says what they are of, and how many have to be there."""
    folder = tmp_path / "shards"
    shards(folder, count=2, metadata=False)
    parquet(
        folder / "shard-00002.parquet", ["good", "bad"], [b"ab", None], ["x", "y"], metadata=False
    )
    model = {"sha256": "m" * 64, "bits": 16, "tables": None, "method": "itq"}
    facts = {"model": model, "bits": 16, "images": 62, "size": 30}
    (folder / "shards.json").write_text(json.dumps(facts))
    assert search.load_shards(folder, tmp_path / "an.index") == 61
    index = search.open_index(tmp_path / "an.index")
    assert "bad" not in index and index.codes(["good"])[0].tobytes() == b"ab" + bytes(6)
    (folder / "shard-00001.parquet").unlink()
    with pytest.raises(InputError, match="has 2 of 3 shards"):
        search.load_shards(folder, tmp_path / "other.index")
    assert not (tmp_path / "other.index").exists()


HARM = {
    "another model": lambda f: parquet(f, ["x"], [b"ab"], model="n" * 64),
    "other bits": lambda f: parquet(f, ["x"], [b"a"], bits=8),
    "no metadata": lambda f: parquet(f, ["x"], [b"ab"], metadata=False),
    "a path again": lambda f: parquet(f, ["0/000.jpg"], [b"ab"]),
    "cut": lambda f: f.write_bytes(f.read_bytes()[:-20]),
    "a byte": lambda f: f.write_bytes(
        bytes(b ^ (40 < i < 44) for i, b in enumerate(f.read_bytes()))
    ),
    "empty": lambda f: f.write_bytes(b""),
    "text": lambda f: f.write_text("path,code,label\n"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_shard_that_is_wrong_is_said_before_anything_is_loaded(harm, address, tmp_path):
    shards(tmp_path / "shards")
    harm(tmp_path / "shards" / "shard-00003.parquet")
    for place in (tmp_path / "an.index", address):
        with pytest.raises(InputError, match="shard") as error:
            search.load_shards(tmp_path / "shards", place)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "an.index").exists()
    with search.open_index(address, bits=16) as index:
        assert len(index) == 0 and not index.notes


def test_an_index_of_another_model_is_left_as_it_is(address, tmp_path):
    whole = shards(tmp_path / "shards")
    shards(tmp_path / "others", count=1, rows=2, model="n" * 64)
    shards(tmp_path / "short", count=1, rows=2)
    parquet(tmp_path / "short" / "shard-00000.parquet", ["x"], [b"a"], bits=8)
    for place in (tmp_path / "an.index", address):
        search.load_shards(tmp_path / "shards", place)
        with pytest.raises(InputError, match=r"is of another model \(sha256 mmmmmmmmmmmm…\)"):
            search.load_shards(tmp_path / "others", place)
        with pytest.raises(InputError, match="holds codes of 16 bits, not 8"):
            search.load_shards(tmp_path / "short", place)
        index = search.open_index(place)
        assert same_items(index, whole)
    index.close()


# ---- killed


def lite_process(file):
    return servers._lite()._servers[str(file)]._p


@pytest.mark.parametrize("fatal", [1, 3])
def test_a_server_that_is_killed_while_it_is_filled(fatal, tmp_path, monkeypatch):
    """It is named; loading again gives what a loading at once gives."""
    whole = shards(tmp_path / "shards")
    file = tmp_path / "killed.db"
    ask, writes = servers.Server.ask, []

    def killing(self, what, *words, **more):
        writes.append(what in WRITES)
        if what in WRITES and sum(writes) == fatal:
            lite_process(file).kill()
            lite_process(file).wait()
        return ask(self, what, *words, **more)

    with (
        monkeypatch.context() as patch,
        pytest.raises(InputError, match=r"killed\.db cannot do it"),
    ):
        patch.setattr(servers.Server, "ask", killing)
        search.load_shards(tmp_path / "shards", f"milvus:{file}")
    search.load_shards(tmp_path / "shards", f"milvus:{file}")
    with search.open_index(f"milvus:{file}") as index:
        assert same_items(index, whole)


DIES = """
import os, signal, sys
from hashlab import search
from hashlab.search import servers
folder, address, moment = sys.argv[1:]
ask, writes = servers.Server.ask, []
def dying(self, what, *words, **more):
    writing = what in ("insert", "upsert")
    writes.append(writing)
    if moment == f"before {sum(writes)}" and writing:
        os.kill(os.getpid(), signal.SIGKILL)
    result = ask(self, what, *words, **more)
    if moment == f"after {what}" or moment == f"after {sum(writes)}":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
servers.Server.ask = dying
search.load_shards(folder, address)
"""


@pytest.mark.cluster
@pytest.mark.parametrize("moment", ["after create_collection", "before 1", "after 2", "before 4"])
def test_a_loading_that_is_killed_is_done_again(moment, tmp_path, start):
    whole = shards(tmp_path / "shards")
    address = f"milvus:{tmp_path / 'killed.db'}"
    process = start(sys.executable, "-c", DIES, tmp_path / "shards", address, moment)
    assert process.wait(120) == -signal.SIGKILL
    search.load_shards(tmp_path / "shards", address)
    with search.open_index(address) as index:
        assert same_items(index, whole)


# ---- bad input


def test_addresses():
    for words, parts in {
        "milvus:http://host:19530/photos": ("http://host:19530", "photos"),
        "milvus:https://host/a_1": ("https://host", "a_1"),
        "milvus:a.db": ("a.db", "hashlab"),
        "milvus:/data/x y/a.db/b": ("/data/x y/a.db", "b"),
    }.items():
        assert servers.read_address(words) == parts
    for words in ("milvus:", "milvus:http://host:19530", "milvus:http:///a", "milvus:a.db/", "milvus:a.db/1",
                  "milvus:a.txt", "milvus:http://h:x/a", "milvus:ftp://h/a", "milvus:a.db/b/c"):  # fmt: skip
        with pytest.raises(InputError, match="is expected, got 'milvus:"):
            search.open_index(words)


def without(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)


def test_what_is_not_installed_is_named_with_its_extra(file, tmp_path, monkeypatch):
    shards(tmp_path / "shards")
    for name, call, words in (
        ("pymilvus", lambda: search.open_index("milvus:http://h:1/a"), "needs pymilvus"),
        ("milvus_lite", lambda: search.open_index(f"milvus:{file}"), "needs Milvus Lite"),
        ("pyarrow", lambda: search.load_shards(tmp_path / "shards", "an.index"), "need pyarrow"),
    ):
        with monkeypatch.context() as patch:
            for module in [key for key in sys.modules if key.split(".")[0] == name]:
                patch.delitem(sys.modules, module)
            without(patch, name)
            with pytest.raises(InputError, match=rf"{words}: pip install 'hashlab\[milvus\]'"):
                call()
    with monkeypatch.context() as patch:
        patch.setattr(servers.importlib.metadata, "version", lambda _: "3.1")
        with pytest.raises(InputError, match=r"Milvus Lite 3.1 has no binary codes"):
            search.open_index(f"milvus:{file}")


def test_a_server_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(servers, "ANSWER", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(
            InputError, match=f"{host} does not answer as Milvus within 1 s, or refuses"
        ):
            search.open_index(f"milvus:{host}/a")
    with pytest.raises(
        InputError, match=f"{host} does not answer as Milvus"
    ):  # now nobody is there
        search.open_index(f"milvus:{host}/a")


def test_an_index_that_was_closed(address):
    with search.open_index(address, bits=8) as index:
        index.add([1], np.zeros((1, 8), np.uint8))
    index.close()
    with pytest.raises(InputError, match="has been closed; open it again"):
        len(index)


def test_the_wait_for_an_answer_is_ten_seconds():
    assert servers.ANSWER == 10


def test_files_that_cannot_be(tmp_path):
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "text.db").write_text("no database\n" * 500)
    for name, words in {
        "none.db": "there is no file",
        "folder.db": "is a folder",
        "text.db": "it is damaged",
        f"{'x' * 40}.db": "a file name of at most 36 letters",
        "no such/a.db": "there is no file",
    }.items():
        with pytest.raises(InputError, match=words):
            search.open_index(f"milvus:{tmp_path / name}")
    with pytest.raises(InputError, match="is not a folder"):
        search.open_index(f"milvus:{tmp_path}/no such/a.db", bits=4)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] != ".") == [
        "folder.db",
        "text.db",
    ]


def test_a_file_that_another_process_uses(tmp_path):
    with open(tmp_path / ".used.db.lock", "a") as lock:
        pid = os.fork()  # a lock of this process would not keep itself out
        if pid == 0:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            signal.pause()
        try:
            while _free(tmp_path / ".used.db.lock"):
                pass
            with pytest.raises(InputError, match=r"used\.db cannot be opened: another process"):
                search.open_index(f"milvus:{tmp_path}/used.db", bits=4)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _free(file):
    with open(file, "a") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def test_collections_of_other_things_are_refused(address):
    with pytest.raises(InputError, match=r"has no collection test_\w+; give the bits"):
        search.open_index(address)
    with search.open_index(address, bits=16) as index:
        index.add([1], np.zeros((1, 8), np.uint8))
        with pytest.raises(InputError, match="holds codes of 16 bits, not 8 \\+ 8"):
            search.open_index(address, bits=16, tables=(8, 8))
        index._server.ask("drop_collection", index._name)
        index._server.make(index._name, "INT64", 16, "theirs")
        with pytest.raises(InputError, match="is a collection of something else"):
            search.open_index(address)
    for words in ({"bits": 3}, {"tables": [3]}, {"token": "x"}):
        with pytest.raises(InputError, match="are for an address milvus:…"):
            search.open_index("an.index", **words)
    with pytest.raises(InputError, match="shards are those of a folder"):
        search.open_index(address, shards=2)


def test_a_token_is_of_the_environment_where_none_is_given(monkeypatch):
    given = []
    monkeypatch.setattr(servers, "Server", lambda *words: given.append(words[3]))
    monkeypatch.setenv("HASHLAB_MILVUS_TOKEN", "root:secret")
    servers.opened("http://h:1", None, new=False)
    servers.opened("http://h:1", "mine", new=False)
    assert given == ["root:secret", "mine"]


# ---- commands


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with `model`, `other`, twelve photographs, and `shards` of their codes."""
    folder = tmp_path_factory.mktemp("work")
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
    for name, seed in (("model", 0), ("other", 255)):
        train = SimpleNamespace(images=pixels ^ seed, labels=np.arange(12) % 3)
        methods.create("lsh", 16).fit(train).save(folder / name)
    method = methods.load(folder / "model")
    sha256 = json.loads((folder / "model" / "model.json").read_text())["sha256"]
    names = [f"{('cat', 'dog')[n % 2]}/{n % 11:02}{'b' * (n == 11)}.png" for n in range(12)]
    pixels[11] = pixels[0]
    for name, image in zip(names, pixels, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / name)
    stored = [row.tobytes() for row in codes.trim(method.encode(pixels), 16)]
    labels = [name.split("/")[0] for name in names]
    (folder / "shards").mkdir()
    for part in (slice(0, 7), slice(7, 12)):
        file = folder / "shards" / f"{part.start}.parquet"
        parquet(file, names[part], stored[part], labels[part], model=sha256)
    return folder


def test_commands_take_an_address(work, address, monkeypatch, capsys):
    """What they print is the same wherever the index is."""
    monkeypatch.chdir(work)
    printed = []
    for place in ("an.index", address):
        for _ in range(2):
            assert main(["index", "model", "shards", "--shards", "-o", place]) == 0
            assert capsys.readouterr().out == f"{place}: 12 images of shards are in it\n"
        assert main(["search", place, "cat/00.png", "-k", "5", "--json"]) == 0
        assert main(["search", place, "cat/00.png", "--radius", "9", "--where", "label=dog"]) == 0
        assert main(["search", place, "cat/00.png", "--html", "near.html", "--model", "model"]) == 0
        assert main(["duplicates", place, "--radius", "0", "--json"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    nearest = json.loads(printed[1].splitlines()[0])[0]["neighbours"]
    assert [one["path"] for one in nearest[:2]] == ["cat/00.png", "dog/00b.png"]
    assert nearest[1] == {"distance": 0, "path": "dog/00b.png", "label": "dog"}


def test_commands_refuse_in_one_sentence(work, address, monkeypatch, capsys):
    monkeypatch.chdir(work)
    monkeypatch.setattr(servers, "ANSWER", 1.0)
    for words, said in (
        (["index", "other", "shards", "--shards", "-o", address], "shards is of another model"),
        (["index", "model", "cat", "--shards", "-o", address], "cat holds no shards"),
        (["index", "model", "cat", "-o", address], "is filled with codes"),
        (
            ["index", "model", "shards", "--shards", "--skip-broken", "-o", address],
            "are for images",
        ),
        (["search", address, "cat/00.png"], "has no collection"),
        (["search", "milvus:none.db", "cat/00.png"], "there is no file"),
        (
            ["duplicates", "milvus:http://127.0.0.1:1/a"],
            "127.0.0.1:1 does not answer as Milvus within 1 s",
        ),
    ):
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == "" and said in err and err.count("\n") == 1 and "Traceback" not in err
