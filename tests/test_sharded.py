"""An index in shards, by FAISS's IndexBinaryShards, gives what one piece gives, ties included."""

import numpy as np
import pytest

from hashlab import codes, search
from hashlab.errors import InputError
from hashlab.search import engines


def filled(shards, items=200, tables=(70, 3)):
    """Few distinct codes, so that nearly all are tied."""
    rng = np.random.default_rng(0)
    pool = [codes.pack(rng.random((5, bits)) < 0.5) for bits in tables]
    packed = np.concatenate([part[rng.integers(0, 5, items)] for part in pool], axis=1)
    index = search.Index(sum(tables), tables, shards=shards)
    index.add(rng.permutation(items), packed, {"label": list(np.arange(items) % 3)})
    return index


def same(one, other):
    return all(
        len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("shards", [1, 2, 7, 500])
@pytest.mark.parametrize(
    "words",
    [
        {},
        {"combine": "union"},
        {"combine": "weighted", "weights": [2, 5]},
        {"where": {"label": 1}},
    ],
    ids=str,
)
def test_shards_change_nothing(shards, words):
    whole, parts = filled(None), filled(shards)
    query = whole.codes()[:9]
    for k in (1, 40, 60):
        assert same(whole.search(query, k, **words), parts.search(query, k, **words))
    for radius in (0, 20, 73):
        assert same(whole.within(query, radius, **words), parts.within(query, radius, **words))
    assert parts.search(query[:0], 3)[1].shape == (0, 3) and parts.within(query[:0], 1) == ([], [])


def test_faiss_has_the_shards():
    """One for each part, and no scan of the whole beside them."""
    index = filled(4)
    index.search(index.codes()[:1], 3)
    (parts,) = index._sharded.values()
    assert parts.index.count() == 4 and parts.index.ntotal == 200


def test_an_index_that_changes_is_searched_as_it_is(tmp_path):
    whole, parts = filled(None), filled(3)
    for index in (whole, parts):
        index.search(index.codes()[:2], 5)
        index.remove(range(50))
        index.put([60, 900], index.codes()[:2] ^ np.eye(1, index.codes().shape[1], dtype=np.uint8))
    query = whole.codes()[:5]
    assert len(parts) == 151 and same(whole.search(query, 151), parts.search(query, 151))
    whole.save(tmp_path / "an.index")
    opened = search.open_index(tmp_path / "an.index", shards=2)
    assert opened.shards == 2 and same(whole.search(query, 20), opened.search(query, 20))
    opened.shards = None
    assert same(whole.search(query, 20), opened.search(query, 20)) and not opened._sharded


def test_put_takes_the_place_of_what_is_there():
    index = filled(None)
    index.put([5, 1000], index.codes([6, 6]), [{"label": "new"}, {}])
    assert len(index) == 201 and index.meta([5, 1000]) == [{"label": "new"}, {}]
    assert np.array_equal(index.codes([5]), index.codes([6]))
    for ids, words in (([1, 1], "1 twice"), (["a"], "are whole numbers"), ([1], "as many")):
        with pytest.raises(InputError, match=words):
            index.put(ids, index.codes([5, 6][: max(1, len(ids))] + [7] * (words == "as many")))
    assert len(index) == 201


def test_shards_that_cannot_be(monkeypatch):
    for count in (0, -1, True, 2.0, "2"):
        with pytest.raises(InputError, match="shards must be a whole number of 1 or more, got"):
            search.Index(8, shards=count)
    monkeypatch.setattr(engines, "faiss", lambda: None)
    with pytest.raises(InputError, match=r"shards need FAISS: pip install 'hashlab\[search\]'"):
        search.Index(8, shards=2)


def test_shards_of_another_order_are_not_used(monkeypatch):
    """Should FAISS order ties in another way one day, the whole is scanned."""
    index = filled(2)
    monkeypatch.setattr(engines, "shards_ordered", lambda: False)
    assert same(index.search(index.codes()[:3], 9), filled(None).search(index.codes()[:3], 9))
    assert not index._sharded
