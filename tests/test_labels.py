"""Labels in every usual form mean what their owner means: for measures, and for what is trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlab import codes, data, labels, methods, metrics
from hashlab.errors import InputError
from hashlab.shallow import KSH

CLASSES = 4
GAPS = np.array([3, 90_000, 70, 2**62])
WORDS = np.array(["cat", "Ärger", "a dog", "10"])


def one_hot(ranks, kind):
    return np.eye(CLASSES, dtype=kind)[ranks]


FORMS = {  # ranks 0..3 -> the same classes, as somebody may have them
    "permuted": lambda ranks: np.array([2, 0, 3, 1])[ranks],
    "gaps": lambda ranks: GAPS[ranks],
    "small type": lambda ranks: ranks.astype(np.uint8),
    "large type": lambda ranks: ranks.astype(np.uint64),
    "floats": lambda ranks: ranks * 7.0,
    "half floats": lambda ranks: ranks.astype(np.float16),
    "objects": lambda ranks: ranks.astype(object),
    "a list": lambda ranks: GAPS[ranks].tolist(),
    "a column": lambda ranks: ranks[:, None],
    "a column of text": lambda ranks: WORDS[ranks][:, None],
    "text": lambda ranks: WORDS[ranks],
    "text objects": lambda ranks: WORDS[ranks].astype(object),
    "a list of text": lambda ranks: WORDS[ranks].tolist(),
    "bytes": lambda ranks: np.char.encode(WORDS[ranks], "utf-8"),
    "a tensor": lambda ranks: torch.from_numpy(ranks),
    "a column of a tensor": lambda ranks: torch.from_numpy(ranks)[:, None].bfloat16(),
    "one-hot": lambda ranks: one_hot(ranks, np.int64),
    "one-hot bool": lambda ranks: one_hot(ranks, bool),
    "one-hot floats": lambda ranks: one_hot(ranks, np.float32),
    "one-hot objects": lambda ranks: one_hot(ranks, int).astype(object),
    "one-hot tensor": lambda ranks: torch.from_numpy(one_hot(ranks, np.float64)),
    "one-hot list": lambda ranks: one_hot(ranks, int).tolist(),
}
COLUMNS = [  # forms that can stand in a table of levels
    name for name in FORMS if "one-hot" not in name and "column" not in name
]


def same_items(one, other):
    """Whether two lists of ranks put the same items together."""
    return np.array_equal(one[:, None] == one, other[:, None] == other)


@pytest.mark.parametrize("form", FORMS)
def test_ranks_are_the_same_classes(form):
    ranks = np.array([1, 3, 0, 0, 2, 1])
    names, found = labels.ranked(FORMS[form](ranks))
    assert found.dtype == np.int64 and sorted(set(found.tolist())) == [0, 1, 2, 3]
    assert same_items(found, ranks)
    assert names.tolist() == sorted(names.tolist()) and len(names) == CLASSES


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_ranks_are_those_of_sorted_names(values):
    for given_labels in (values, [WORDS[value] for value in values], [GAPS[v] for v in values]):
        names, ranks = labels.ranked(given_labels)
        assert names.tolist() == sorted(set(given_labels))
        assert [names[rank] for rank in ranks] == given_labels


def test_ranks_from_0_stay_as_they_are():
    ranks = np.array([2, 0, 1, 1])
    names, found = labels.ranked(ranks)
    assert np.array_equal(found, ranks) and labels.texts(names) == ("0", "1", "2")
    assert labels.texts(labels.ranked([3.0, 90000.0])[0]) == ("3", "90000")


BAD = {
    "NaN": ([0.0, np.nan], "whole numbers or text, got nan"),
    "infinite": ([0.0, np.inf], "within 2..63 of 0, got inf"),
    "a fraction": ([0.5, 1.0], "whole numbers or text, got 0.5 among"),
    "negative": ([-1, 1], "not be negative, got -1"),
    "negative floats": ([-1.0, 1.0], "not be negative, got -1"),
    "too large": (np.array([1, 2**63], np.uint64), "within 2..63 of 0"),
    "empty text": (["cat", ""], "one character or more, got an empty one"),
    "nothing": ([None, 1], "whole numbers or text, got"),
    "text and numbers": (np.array(["a", 1], object), "whole numbers or text, got"),
    "dates": (np.zeros(2, "M8[s]"), "whole numbers or text, got"),
    "complex": (np.zeros(2, complex), "whole numbers or text, got"),
    "bytes in no encoding": ([b"\xff", b"a"], "UTF-8"),
    "several": ([[0, 1, 1], [1, 0, 0]], "one class a row"),
    "no column": (np.zeros((2, 0), int), "one class a row"),
    "three axes": (np.zeros((2, 2, 2), int), "one class a row"),
    "a number": (3, "one class a row"),
    "ragged": ([[0], [0, 1]], "one length"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_in_no_form(name):
    given_labels, message = BAD[name]
    with pytest.raises(InputError, match=message):
        labels.ranked(given_labels)


@pytest.mark.parametrize("kind", [bool, np.int8, np.float32, object])
def test_several_labels_of_any_type(kind):
    table = np.array([[1, 1, 0], [0, 0, 0]])
    assert np.array_equal(labels.several(table.astype(kind)), table == 1)
    for wrong in (table[:, :1], table[0], table * 2, table - 1, table / 2, table.astype(str)):
        with pytest.raises(InputError):
            labels.several(wrong.astype(kind) if kind is object else wrong)


# ---- measures


def scores(report):
    """All that a report says of rankings; names of classes and rules aside."""
    shown = report.to_dict()
    per_class = sorted(shown.pop("map_per_class").values())
    for name in ("relevance", "acg_at", "weighted_map", "hp_at", "mahp_at"):
        shown.pop(name, None)
    return shown, per_class, report.ap.tolist()


def random_case(seed):
    rng = np.random.default_rng(seed)
    bits = [codes.pack(rng.random((count, 6)) < 0.5) for count in (5, 30)]
    classes = [np.append(np.arange(4), rng.integers(0, 4, count - 4)) for count in (5, 30)]
    return bits, classes


@settings(max_examples=40)
@given(form=st.sampled_from(sorted(FORMS)), seed=st.integers(0, 10**6))
def test_names_decide_nothing_of_classes(form, seed):
    bits, classes = random_case(seed)
    plain = metrics.evaluate(*bits, *classes, bits=6)
    renamed = metrics.evaluate(*bits, *map(FORMS[form], classes), bits=6)
    assert scores(renamed) == scores(plain)


@settings(max_examples=20)
@given(
    kind=st.sampled_from([bool, np.uint8, np.int64, np.float16, np.float64, object, torch.tensor]),
    seed=st.integers(0, 10**6),
)
def test_types_decide_nothing_of_several_labels(kind, seed):
    bits, _ = random_case(seed)
    rng = np.random.default_rng(seed)
    tables = [rng.integers(0, 2, (count, 3)) for count in (5, 30)]
    order = rng.permutation(3)
    how = {"bits": 6, "relevance": "shares_label"}
    cast = kind if kind is torch.tensor else lambda table: table.astype(kind)
    plain = metrics.evaluate(*bits, *tables, **how)
    renamed = metrics.evaluate(*bits, *(cast(table[:, order]) for table in tables), **how)
    assert scores(renamed) == scores(plain)


@settings(max_examples=20)
@given(form=st.sampled_from(COLUMNS), seed=st.integers(0, 10**6))
def test_names_decide_nothing_of_levels(form, seed):
    bits, classes = random_case(seed)
    how = {"bits": 6, "relevance": "levels"}
    plain = metrics.evaluate(*bits, *(np.stack([x, x // 2], 1) for x in classes), **how)
    tables = [
        np.stack([np.asarray(FORMS[form](x)), np.asarray(FORMS[form](x // 2))], 1) for x in classes
    ]
    assert scores(metrics.evaluate(*bits, *tables, **how)) == scores(plain)


def test_each_side_may_have_its_own_form():
    bits, (query, database) = random_case(0)
    plain = scores(metrics.evaluate(*bits, query, database, bits=6))
    for one in ("one-hot floats", "a column", "a tensor", "a list"):
        side = FORMS[one](query) if one != "a list" else query.tolist()
        assert scores(metrics.evaluate(*bits, side, database, bits=6)) == plain
    with pytest.raises(InputError, match="one kind, got text for queries and numbers"):
        metrics.evaluate(*bits, WORDS[query], database, bits=6)


def test_one_column_is_one_class_and_no_label():
    """Of two classes called 0 and 1, class 0 is not to be taken for having no label."""
    bits, classes = random_case(1)
    two = [x % 2 for x in classes]
    plain = scores(metrics.evaluate(*bits, *two, bits=6))
    for rule in ("same_class", "shares_label", "levels"):
        columns = [x[:, None] for x in two]
        assert scores(metrics.evaluate(*bits, *columns, bits=6, relevance=rule)) == plain
        hot = [np.eye(2)[x] for x in two]
    assert scores(metrics.evaluate(*bits, *hot, bits=6)) == plain
    shared = scores(metrics.evaluate(*bits, *hot, bits=6, relevance="shares_label"))
    assert shared == plain


def test_classes_are_reported_by_their_names():
    bits, classes = random_case(2)
    report = metrics.evaluate(*bits, *(WORDS[x] for x in classes), bits=6)
    assert sorted(report.per_class()) == sorted(WORDS)
    numbered = metrics.evaluate(*bits, *(GAPS[x] for x in classes), bits=6)
    assert sorted(numbered.per_class()) == sorted(GAPS.tolist())


# ---- training

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
RANKS = np.arange(24) % CLASSES
QUICK = {"backbone": "tiny", "epochs": 1, "batch_size": 12}


def trained(name, given_labels, **more):
    quick = {} if name in methods.SHALLOW else QUICK
    method = methods.create(name, 8, **quick, **more)
    method.fit(SimpleNamespace(images=IMAGES, labels=given_labels), device="cpu")
    return method, method.encode(IMAGES)


IN_ORDER = {  # forms in which the classes are in the order of their ranks
    "gaps": lambda ranks: np.sort(GAPS)[ranks],
    "text": lambda ranks: np.sort(WORDS)[ranks],
} | {
    name: form
    for name, form in FORMS.items()
    if name not in ("permuted", "gaps", "a list") and "text" not in name and name != "bytes"
}


@pytest.mark.parametrize("name", ["csq", "dpsh", "shpdh", "ksh"])
def test_names_decide_nothing_of_training(name):
    more = {"shpdh": {"levels": 1}, "ksh": {"anchors": 6, "labeled": 8}}.get(name, {})
    _, plain = trained(name, RANKS, **more)
    for form in ("gaps", "text", "floats", "a column", "one-hot bool", "one-hot tensor"):
        assert np.array_equal(trained(name, IN_ORDER[form](RANKS), **more)[1], plain), form


def test_csq_asks_for_as_many_centres_as_there_are_classes():
    method, _ = trained("csq", np.array([3, 90_000])[RANKS % 2])
    assert method.classes == ("3", "90000")


@pytest.mark.parametrize("form", FORMS)
def test_estimators_take_every_form(form):
    X = IMAGES.reshape(24, -1) / 255
    plain = KSH(bits=4, labeled=8, anchors=6).fit(X, RANKS).transform(X)
    order = labels.ranked(FORMS[form](RANKS))[1]
    same = KSH(bits=4, labeled=8, anchors=6).fit(X, order).transform(X)
    assert np.array_equal(
        KSH(bits=4, labeled=8, anchors=6).fit(X, FORMS[form](RANKS)).transform(X), same
    )
    assert (
        form in ("permuted", "gaps")
        or "text" in form
        or not np.array_equal(order, RANKS)
        or (np.array_equal(same, plain))
    )


@pytest.mark.parametrize("name", ["csq", "itq"])
def test_models_remember_the_names_of_their_classes(name, tmp_path):
    method, _ = trained(name, np.sort(WORDS)[RANKS])
    assert method.classes == tuple(np.sort(WORDS).tolist())
    assert methods.create(name, 8).classes is None
    method.save(tmp_path / "model")
    assert methods.load(tmp_path / "model").classes == method.classes


def test_classes_of_a_set_are_those_that_it_names():
    digits = data.load("digits")
    assert methods.create("itq", 8).fit(digits.train).classes == digits.classes
    scenes = data.load("digit_scenes")
    assert methods.create("itq", 8).fit(scenes.train).classes == scenes.classes


def test_several_labels_without_names_have_no_classes():
    table = np.stack([RANKS % 2, RANKS // 2, RANKS % 3 == 0], 1)
    assert trained("dpsh", table.astype(float))[0].classes is None


def test_the_least_whole_number_is_one():
    names, ranks = labels.ranked(np.array([-(2.0**63), 3.0]), negative=True)
    assert names.tolist() == [-(2**63), 3] and ranks.tolist() == [0, 1]
    with pytest.raises(InputError):
        labels.ranked(np.array([-(2.0**64), 3.0]), negative=True)


def test_a_column_of_ones_is_not_one_hot():
    assert not labels.is_one_hot(np.ones((3, 1), int))
    assert not labels.is_one_hot(np.array([["1", "0"], ["0", "1"]]))
    assert labels.is_one_hot(np.eye(3))
