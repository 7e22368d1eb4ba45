"""An index of codes gives what counting bit by bit gives, in the order (distance, id);
with FAISS and without.
"""

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest

from hashlab import codes, search
from hashlab.errors import InputError
from hashlab.search import engines

README = Path(__file__).resolve().parents[1] / "README.md"
ENGINES = ("faiss", "numpy")
CASES = 1000  # for each engine


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Both engines in turn; FAISS is among what tests need."""
    assert engines.ordered()
    if request.param == "numpy":
        monkeypatch.setattr(engines, "ordered", lambda: False)
    return request.param


# ---- brute force, on lists of 0 and 1


def apart(a, b, tables):
    """The Hamming distance in each table."""
    differ = [int(x != y) for x, y in zip(a, b, strict=True)]
    ends = [0, *itertools.accumulate(tables)]
    return [sum(differ[s:e]) for s, e in itertools.pairwise(ends)]


def rank(a, b, tables, combine, weights):
    """What orders items: the distance first."""
    if combine == "union":
        return min(apart(a, b, tables)), sum(apart(a, b, tables))
    if combine == "weighted":
        each = weights
        if len(weights) == len(tables):
            each = [w for w, bits in zip(weights, tables, strict=True) for _ in range(bits)]
        return (sum(w * (x != y) for x, y, w in zip(a, b, each, strict=True)),)
    return (sum(apart(a, b, tables)),)


def ranked(query, items, tables, combine, weights):
    """Every (distance, id), in order."""
    keyed = sorted((rank(query, code, tables, combine, weights), id) for id, code in items.items())
    return [(key[0], id) for key, id in keyed]


def pack(rows, tables):
    """Lists of 0 and 1 as packed codes, each table padded to whole words."""
    bits = np.array(rows, bool).reshape(len(rows), sum(tables))
    parts = np.split(bits, np.cumsum(tables)[:-1], axis=1)
    return np.concatenate([codes.pack(part) for part in parts], axis=1)


class Case:
    """A random index and what is in it: few distinct codes, so that nearly all are tied."""

    def __init__(self, seed):
        draw = self.draw = random.Random(seed)
        self.tables = [draw.randint(1, 130)]
        if draw.random() < 0.4:
            self.tables = [draw.choice((1, 3, 63, 64, 65, 100)) for _ in range(draw.randint(2, 4))]
        self.bits = sum(self.tables)
        self.combine = draw.choice(["sum", None, "union", "weighted"])
        self.weights = None
        if self.combine == "weighted":
            count = draw.choice([len(self.tables), self.bits])
            self.weights = [
                draw.choice((1, 2, 3, 15)),
                *(draw.randint(0, 15) for _ in range(count - 1)),
            ]
        self.pool = [self.code() for _ in range(draw.randint(1, 6))]
        self.items, self.labels = {}, {}
        self.index = search.Index(
            self.bits, draw.choice([self.tables]) if len(self.tables) > 1 else None
        )
        self.text = draw.random() < 0.5
        for _ in range(draw.randint(1, 3)):
            self.add(draw.randint(0, 12))
        gone = [id for id in self.items if draw.random() < 0.2][: max(0, len(self.items) - 1)]
        self.index.remove(gone)
        for id in gone:
            del self.items[id], self.labels[id]
        if not self.items:
            self.add(1)

    def code(self):
        return [self.draw.randint(0, 1) for _ in range(self.bits)]

    def near(self):
        """A code of the pool with a bit or two changed."""
        code = list(self.draw.choice(self.pool))
        for _ in range(self.draw.choice((0, 0, 1, 2))):
            code[self.draw.randrange(self.bits)] ^= 1
        return code

    def id(self):
        if not self.text:
            return self.draw.randint(-(10**6), 10**6)
        return "".join(self.draw.choice("abzAZ09/._é∘😀") for _ in range(self.draw.randint(1, 6)))

    def add(self, count):
        new = {self.id(): self.near() for _ in range(count)}
        new = {id: code for id, code in new.items() if id not in self.items}
        labels = [self.draw.choice(["cat", "dog", "owl", None]) for _ in new]
        self.index.add(list(new), pack(list(new.values()), self.tables), {"label": labels})
        self.items |= new
        self.labels |= dict(zip(new, labels, strict=True))

    def where(self):
        """A filter, or none, and the items that it leaves."""
        wanted = self.draw.choice([None, "cat", ["cat", "dog"]])
        if wanted is not None:
            left = {id: c for id, c in self.items.items() if (self.labels[id] or "-") in wanted}
            if left:
                return {"label": wanted}, left
        return None, self.items


@pytest.mark.parametrize("part", range(10))
def test_equal_to_counting_bit_by_bit(engine, part):
    for seed in range(part * CASES // 10, (part + 1) * CASES // 10):
        case = Case(seed)
        queries = [case.near() for _ in range(case.draw.randint(1, 3))]
        packed = pack(queries, case.tables)
        where, items = case.where()
        how = {"where": where, "combine": case.combine, "weights": case.weights}
        wanted = [ranked(q, items, case.tables, case.combine, case.weights) for q in queries]
        k = case.draw.choice([1, len(items), case.draw.randint(1, len(items))])
        distances, ids = case.index.search(packed, k, **how)
        found = [
            list(zip(d, i, strict=True))
            for d, i in zip(distances.tolist(), ids.tolist(), strict=True)
        ]
        assert found == [each[:k] for each in wanted], seed
        radius = case.draw.choice([0, 1, 2, case.draw.randint(0, case.bits), 10**9])
        distances, ids = case.index.within(packed, radius, **how)
        found = [
            list(zip(d.tolist(), i.tolist(), strict=True))
            for d, i in zip(distances, ids, strict=True)
        ]
        assert found == [[x for x in each if x[0] <= radius] for each in wanted], seed


def test_many_queries_in_many_blocks(engine, monkeypatch):
    """More codes than one thread or one block takes, all but a few tied."""
    monkeypatch.setattr(engines, "PAIRS", 5000)
    rng = np.random.default_rng(0)
    packed = codes.pack(rng.random((3000, 6)) < 0.5)
    ids = rng.permutation(3000)
    index = search.Index(6)
    index.add(ids, packed)
    far = codes.hamming(packed[:70], packed)  # of a query to the item of each row
    for k in (1, 7, 100, 3000):
        distances, found = index.search(packed[:70], k)
        order = np.lexsort((np.broadcast_to(ids, far.shape), far))[:, :k]
        assert np.array_equal(found, ids[order])
        assert np.array_equal(distances, np.take_along_axis(far, order, 1))
        assert distances.dtype == np.int32 and found.dtype == np.int64


def test_the_order_of_adding_changes_nothing(engine):
    rng = np.random.default_rng(1)
    packed, ids = codes.pack(rng.random((40, 5)) < 0.5), [f"{n}" for n in range(40)]
    whole, parts = search.Index(5), search.Index(5)
    whole.add(ids, packed)
    for rows in np.array_split(rng.permutation(40), 7):
        parts.add([ids[row] for row in rows], packed[rows])
    for one, other in zip(whole.search(packed, 40), parts.search(packed, 40), strict=True):
        assert np.array_equal(one, other)


def test_no_queries_no_results(engine):
    index = search.Index(5)
    index.add([3], codes.pack(np.zeros((1, 5), bool)))
    none = np.empty((0, 8), np.uint8)
    distances, ids = index.search(none, 1)
    assert distances.shape == ids.shape == (0, 1) and index.within(none, 3) == ([], [])


def test_faiss_is_not_used_where_it_breaks_ties_otherwise(monkeypatch):
    ours = engines._nearest_faiss
    reverse = lambda query, database, k: [part[:, ::-1] for part in ours(query, database, k)]  # noqa: E731
    monkeypatch.setattr(engines, "_nearest_faiss", reverse)
    assert not engines.ordered.__wrapped__()
    monkeypatch.setattr(engines, "_nearest_faiss", ours)
    assert engines.ordered.__wrapped__()
    monkeypatch.setattr(engines, "faiss", lambda: None)
    assert not engines.ordered.__wrapped__()


def test_the_readme_searches(tmp_path, monkeypatch):
    """Its block runs, and finds what counting bit by bit finds."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "search.Index" in block]
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    bits = codes.unpack(names["packed"], 64)
    odd = [(int((bits[q] != bits[n]).sum()), n) for q in (0, 1) for n in range(1, 1000, 2)]
    wanted = [sorted(odd[:500])[:3], sorted(odd[500:])[:3]]
    found = zip(names["distances"].tolist(), names["ids"].tolist(), strict=True)
    assert [list(zip(*one, strict=True)) for one in found] == wanted
    assert len(search.open_index("codes.index")) == 1000


# ---- the approximate search


def clustered(count, bits=64, seed=0):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).random((20, bits)) < 0.5
    return codes.pack(centres[rng.integers(0, 20, count)] ^ (rng.random((count, bits)) < 0.05))


def test_a_fast_search_finds_nearly_all_on_clustered_codes():
    packed = clustered(8000)
    index = search.Index(64)
    index.add(np.arange(8000)[::-1].copy(), packed)
    exact, fast = index.search(packed[:50], 10), index.search(packed[:50], 10, fast=True)
    assert np.mean(exact[0] == fast[0]) > 0.9
    assert (np.diff(fast[0], axis=1) >= 0).all()
    for one, other in zip(
        exact, index.search(packed[:50], 10, fast=True, nprobe=10**6), strict=True
    ):
        assert np.array_equal(one[:, 0], other[:, 0])
    index.remove([7999])  # the first one, which is nearest to itself
    assert 7999 not in index.search(packed[:1], 10, fast=True)[1]


def test_a_fast_search_gives_k_items_wherever_there_are_so_many():
    packed = clustered(500)
    index = search.Index(64)
    index.add(np.arange(500), packed)
    for one, other in zip(
        index.search(packed[:5], 500),
        index.search(packed[:5], 500, fast=True, nprobe=1),
        strict=True,
    ):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    "how, said",
    [
        ({"where": {"label": "cat"}}, "fast=True searches all items by the sum of distances only"),
        ({"combine": "union"}, "fast=True searches all items by the sum of distances only"),
        ({"nprobe": 0}, "nprobe must be a whole number of 1 or more, got 0"),
    ],
)
def test_what_a_fast_search_cannot_do(how, said):
    index = search.Index(64)
    index.add([1], clustered(1), {"label": ["cat"]})
    with pytest.raises(InputError, match=said):
        index.search(clustered(1), 1, fast=True, **how)


def test_a_fast_search_without_faiss(monkeypatch):
    monkeypatch.setattr(engines, "faiss", lambda: None)
    index = search.Index(64)
    index.add([1], clustered(1))
    with pytest.raises(InputError, match=r"fast=True needs FAISS: pip install 'hashlab\[search\]'"):
        index.search(clustered(1), 1, fast=True)


# ---- what is in an index


def three():
    index = search.Index(4)
    meta = [{"label": "cat", "size": 3}, {}, {"label": ["dog", "cat"], "size": 3.0, "good": True}]
    index.add(["b", "a", "ä"], pack([[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]], [4]), meta)
    return index


def test_what_an_index_shows_does_not_change_it():
    index = search.Index(64)
    index.add([1, 2], np.eye(2, 8, dtype=np.uint8), {"tags": [["a"], ["a"]]})
    for shown in (index.codes(), index.ids):
        with pytest.raises(ValueError, match="read-only"):
            shown[:] = 0
    index.meta([1])[0]["tags"].append("b")
    assert index.meta() == [{"tags": ["a"]}, {"tags": ["a"]}]


def test_items_and_their_metadata():
    index = three()
    last = {"label": ["dog", "cat"], "size": 3.0, "good": True}
    assert len(index) == 3 and "a" in index and "c" not in index and 3 not in index
    assert list(index) == [("a", {}), ("b", {"label": "cat", "size": 3}), ("ä", last)]
    assert index.ids.tolist() == ["a", "b", "ä"] and index.meta(["ä", "a"]) == [last, {}]
    assert codes.unpack(index.codes(["ä", "b"]), 4).tolist() == [[True] * 4, [False] * 4]
    index.remove(["b"])
    assert list(index) == [("a", {}), ("ä", last)]
    index.add(["b"], index.codes(["a"]), {"label": ["owl"]})
    assert index.meta(["b"]) == [{"label": "owl"}]


@pytest.mark.parametrize(
    "where, ids",
    [
        ({"label": "cat"}, ["b", "ä"]),
        ({"label": "dog"}, ["ä"]),
        ({"label": ["dog", "owl"]}, ["ä"]),
        ({"label": "cat", "size": 3}, ["b"]),
        ({"size": 3.0}, ["ä"]),
        ({"good": True}, ["ä"]),
        ({}, ["a", "b", "ä"]),
    ],
)
def test_filters(where, ids):
    found = three().within(pack([[0, 0, 0, 0]], [4]), 4, where=where)[1][0]
    assert sorted(found.tolist()) == ids


CODE = pack([[0, 0, 0, 0]], [4])
TWO = np.repeat(CODE, 2, axis=0)
BAD = {
    "no bits": (lambda i: search.Index(0), "bits must be a whole number of at least 1, got 0"),
    "tables": (lambda i: search.Index(8, [4, 5]), r"tables must add up to 8 bits, got \(4, 5\)"),
    "an id there": (lambda i: i.add(["b"], CODE), "ids must be new and differ, got 'b' twice"),
    "an id twice": (lambda i: i.add(["x", "x"], TWO), "ids must be new and differ, got 'x' twice"),
    "another kind": (lambda i: i.add([1], CODE), "the ids of this index are text, got whole numbers"),
    "two kinds": (lambda i: i.add([1, "x"], TWO), "all whole numbers or all text, got int and str"),
    "a real id": (lambda i: i.add([1.5], CODE), r"ids must be \(N,\) whole numbers or text, got \(1,\) float64"),
    "a truth": (lambda i: i.add([True], CODE), r"ids must be .*, got \(1,\) bool"),
    "one text": (lambda i: i.add("x", CODE), r"ids must be .*, got str"),
    "a large id": (lambda i: i.add(np.array([2**63], np.uint64), CODE), r"below 2\^63, got 9223372036854775808"),
    "NUL": (lambda i: i.add(["x\0"], CODE), "ids must be text without NUL characters"),
    "a surrogate": (lambda i: i.add(["\ud800"], CODE), "text that UTF-8 knows"),
    "more ids": (lambda i: i.add(["x", "y"], CODE), "ids and codes must be as many, got 2 and 1"),
    "width": (lambda i: i.add(["x"], np.zeros((1, 16), np.uint8)), r"codes of 4 bits must be \(N, 8\) uint8"),
    "padding": (lambda i: i.add(["x"], np.full((1, 8), 255, np.uint8)), "codes must have zero padding after bit 4"),
    "not packed": (lambda i: i.add(["x"], np.zeros((1, 4))), "codes of 4 bits must be .*: codes.pack"),
    "meta": (lambda i: i.add(["x"], CODE, [{}, {}]), "meta must have a value for each of 1 items, got 2"),
    "meta of text": (lambda i: i.add(["x"], CODE, ["cat"]), "meta must be a list of dicts, or a dict of lists"),
    "meta NaN": (lambda i: i.add(["x"], CODE, {"a": [float("nan")]}), "a must be a value that JSON knows, got nan"),
    "meta object": (lambda i: i.add(["x"], CODE, {"a": [print]}), "a must be a value that JSON knows, got builtin"),
    "meta name": (lambda i: i.add(["x"], CODE, {1: ["x"]}), "names of metadata must be text, got 1"),
    "a word as meta": (lambda i: i.add(["x"], CODE, {"label": "x"}), "label must have a value for each of 1 items"),
    "unknown id": (lambda i: i.remove(["b", "q"]), "'q' is not in the index"),
    "unknown meta": (lambda i: i.meta(["q"]), "'q' is not in the index"),
    "k = 0": (lambda i: i.search(CODE, 0), r"k must be a whole number in 1..3, the items that are searched, got 0"),
    "k too large": (lambda i: i.search(CODE, 4), r"k must be a whole number in 1..3, .* got 4"),
    "k real": (lambda i: i.search(CODE, 1.0), r"k must be a whole number in 1..3, .* got 1.0"),
    "k true": (lambda i: i.search(CODE, True), r"k must be a whole number in 1..3, .* got True"),
    "k of a label": (lambda i: i.search(CODE, 2, where={"label": "dog"}), r"k must be a whole number in 1..1"),
    "radius": (lambda i: i.within(CODE, -1), "radius must be a whole number of 0 or more, got -1"),
    "no such label": (lambda i: i.search(CODE, 1, where={"label": "ox"}), "none of the 3 items has label=ox"),
    "no such name": (lambda i: i.search(CODE, 1, where={"hue": "x"}), "the items have: good, label, size"),
    "where": (lambda i: i.search(CODE, 1, where="label"), r"where must be a dict as \{'label': 'cat'\}, got 'label'"),
    "other bits": (lambda i: i.search(np.zeros((1, 16), np.uint8), 1), "query codes of 4 bits must be"),
    "combine": (lambda i: i.search(CODE, 1, combine="mean"), "combine must be one of sum, union, weighted, got 'mean'"),
    "weights": (lambda i: i.search(CODE, 1, weights=[1]), "weights are given if and only if combine='weighted'"),
    "no weights": (lambda i: i.search(CODE, 1, combine="weighted"), "weights are given if and only if"),
    "heavy": (lambda i: i.search(CODE, 1, combine="weighted", weights=[16]), "must lie in 0..15, not all 0, got 16"),
    "weightless": (lambda i: i.search(CODE, 1, combine="weighted", weights=[0]), "must lie in 0..15, not all 0"),
    "three weights": (lambda i: i.search(CODE, 1, combine="weighted", weights=[1] * 3), r"1 \(one per table\) or 4"),
    "empty": (lambda i: search.Index(4).search(CODE, 1), "the index is empty: there is nothing to search"),
    "empty within": (lambda i: search.Index(4).within(CODE, 1), "the index is empty"),
    "empty duplicates": (lambda i: search.duplicates(search.Index(4), 1), "the index is empty"),
    "duplicates": (lambda i: search.duplicates(i, -1), "radius must be a whole number of 0 or more, got -1"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_changes_nothing(name):
    index, act = three(), BAD[name]
    before = list(index), index.codes().copy()
    with pytest.raises(InputError, match=act[1]) as said:
        act[0](index)
    assert "\n" not in str(said.value)
    assert list(index) == before[0] and np.array_equal(index.codes(), before[1])


# ---- near-duplicates


def test_groups_are_what_steps_of_a_small_distance_join(engine, monkeypatch):
    monkeypatch.setattr("hashlab.search.groups.PAIRS", 100)
    for seed in range(60):
        draw = random.Random(seed)
        bits, radius = draw.randint(1, 12), draw.randint(0, 3)
        items = {
            draw.randrange(1000): [draw.randint(0, 1) for _ in range(bits)]
            for _ in range(draw.randint(1, 40))
        }
        index = search.Index(bits)
        index.add(list(items), pack(list(items.values()), [bits]))
        groups = []  # joined one by one
        for id, code in items.items():
            near = [g for g in groups if any(apart(code, items[o], [bits])[0] <= radius for o in g)]
            groups = [g for g in groups if g not in near] + [sorted([id, *itertools.chain(*near)])]
        wanted = sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))
        assert [g.tolist() for g in search.duplicates(index, radius)] == wanted
