"""When codes are said to have collapsed, and that it is said."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hashlab import codes, experiments, files, methods, records
from hashlab.errors import InputError
from hashlab.methods import collapse
from hashlab.methods.collapse import CollapseWarning


@st.composite
def codes_of_classes(draw):
    """Codes bool (N, K) and labels (N,), or 0/1 (N, C), of few images."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    images, bits, classes = (
        draw(st.integers(2, 40)),
        draw(st.integers(1, 24)),
        draw(st.integers(2, 6)),
    )
    centres = rng.random((draw(st.integers(1, 8)), bits)) < draw(st.floats(0, 1))
    rows = centres[rng.integers(0, len(centres), images)]
    rows ^= rng.random(rows.shape) < draw(st.sampled_from([0, 0, 0.05]))
    labels = rng.integers(0, classes, images)
    if draw(st.booleans()):
        labels = rng.integers(0, 2, (images, classes)).astype(np.uint8)
    return rows, labels


@given(codes_of_classes())
def test_by_plain_loops(example):
    given_codes, labels = example
    assume(not all(np.array_equal(label, labels[0]) for label in labels))
    rows = [tuple(row) for row in given_codes.tolist()]
    bits = len(rows[0])
    constant = sum(all(row[k] == rows[0][k] for row in rows) for k in range(bits))
    if labels.ndim == 1:
        classes = len(set(labels.tolist()))
    else:
        varying = sum(len(set(column)) > 1 for column in labels.T.tolist())
        classes = max(varying, 2)
    one = len(set(rows)) == 1
    too_few = len(set(rows)) < classes and 2**bits >= classes**2
    idle = bits >= 8 and constant / bits > 1 / 4 + 2 / 2**classes
    bad = collapse.look(given_codes, labels)
    assert (bad is not None) == (one or too_few or idle)
    if bad is not None:
        assert (bad.images, bad.codes) == (len(rows), len(set(rows)))
        assert (bad.classes, bad.bits, bad.constant_bits) == (classes, bits, constant)


@given(codes_of_classes(), st.integers(0, 2**32), st.integers(0, 12))
def test_neither_order_nor_names_nor_idle_bits_matter(example, seed, idle):
    bits, labels = example
    usual = collapse.look(bits, labels)
    order = np.random.default_rng(seed).permutation(len(bits))
    assert collapse.look(bits[order], labels[order]) == usual
    assert collapse.look(~bits[:, ::-1], labels) == usual
    if labels.ndim == 1:
        assert collapse.look(bits, 7 * labels + 3) == usual
    padded = np.concatenate([bits, np.zeros((len(bits), idle), bool)], axis=1)
    assert collapse.look(padded, labels, bits.shape[1]) == usual


@given(st.integers(2, 8), st.integers(8, 64), st.integers(0, 2**32))
def test_a_code_per_class_is_none(classes, bits, seed):
    """Codes that tell all classes apart, with fair bits, are what a method may well give."""
    labels = np.repeat(np.arange(classes), 3)
    centres = np.array([[(c >> (k % 3)) & 1 for k in range(bits)] for c in range(classes)], bool)
    assert collapse.look(centres[labels], labels) is None


def test_the_sentence_names_numbers():
    bits = np.zeros((61, 32), bool)
    bad = collapse.look(bits, np.arange(61) % 3)
    assert str(bad) == "61 images of 3 classes share 1 code; 32 of 32 bits are constant"
    bits[0, :18] = True
    bad = collapse.look(bits, np.arange(61) % 3)
    assert str(bad) == "61 images of 3 classes share 2 codes; 14 of 32 bits are constant"


@given(st.integers(1, 10**7))
def test_a_sample_is_spread_over_all(images):
    rows = collapse.sample(images)
    assert len(np.unique(rows)) == len(rows) == min(images, collapse.SAMPLE)
    assert rows[0] == 0 and rows[-1] == images - 1
    steps = np.diff(rows)
    assert images == 1 or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("frozen", [False, True, "conv1"])
def test_fit_warns_and_trains_as_ever(frozen, digits, monkeypatch):
    """Whether it is looked or not, the weights are the same to the last bit."""
    settings = {"epochs": 1, "frozen": frozen, "lr": 0.05, "pairs": "memory"}
    monkeypatch.setattr(collapse, "look", lambda bits, *_: seen.append(bits))
    seen = []
    method = methods.create("dpsh", 12, **settings).fit(digits.train)
    assert method.collapse is None
    (bits,) = seen
    rows = collapse.sample(len(digits.train))
    assert np.array_equal(bits, method.outputs(digits.train)[rows] >= 0)
    monkeypatch.undo()
    monkeypatch.setattr(
        collapse, "look", lambda bits, labels, in_use: collapse.Collapse(len(bits), 10, 1, 12, 12)
    )
    words = "1000 images of 10 classes share 1 code; 12 of 12 bits are constant; try a lower lr"
    with pytest.warns(CollapseWarning, match=words) as caught:
        again = methods.create("dpsh", 12, **settings).fit(digits.train)
    assert caught[0].filename == __file__
    assert again.outputs(digits.query).tobytes() == method.outputs(digits.query).tobytes()
    assert again.collapse.codes == 1


def test_an_untrained_network_is_not_judged(digits, monkeypatch):
    monkeypatch.setattr(collapse, "look", lambda *_: pytest.fail("nothing was trained"))
    methods.create("dpsh", 12, epochs=0).fit(digits.train)


@pytest.mark.parametrize("name", ["lsh", "ksh", "mlsh"])
def test_shallow_methods_are_looked_at_too(name, digits, monkeypatch):
    seen = []
    monkeypatch.setattr(collapse, "look", lambda bits, *_: seen.append(bits))
    settings = {"epochs": 0} if name == "mlsh" else {}
    method = methods.create(name, 12, **settings).fit(digits.train)
    (bits,) = seen
    packed = method.encode(digits.train.images[collapse.sample(1200)])
    assert bits.shape == (1000, 12) and np.array_equal(
        codes.unpack(files.join_tables(packed, method.tables), bits=12), bits
    )


def test_a_one_hot_code_has_bits_that_nothing_sets(digits, monkeypatch):
    seen = []
    monkeypatch.setattr(collapse, "look", lambda bits, labels, in_use: seen.append(in_use))
    methods.create("classifier_onehot", 32, epochs=1).fit(digits.train)
    assert seen == [10]


def test_the_record_has_it(digits, monkeypatch, tmp_path):
    bad = collapse.Collapse(1000, 10, 3, 12, 7)
    monkeypatch.setattr(collapse, "look", lambda *_: bad)
    with pytest.warns(CollapseWarning, match="1000 images of 10 classes share 3 codes"):
        record = experiments.run("lsh", digits, 12, root=tmp_path, save=True)
    assert record["collapse"] == bad.to_dict() == records.read(record.path)["collapse"]
    assert records.verify(record) == []
    for wrong in ("much", {"images": 61}, bad.to_dict() | {"codes": "few"}):
        broken = records.Record(record | {"collapse": wrong})
        broken.path = record.path
        with pytest.raises(InputError, match="collapse"):
            records.verify(broken)
    monkeypatch.undo()
    assert "collapse" not in experiments.run("lsh", digits, 12)


def test_idle_bits_count_from_eight_on():
    """Of fewer bits many may be constant by chance, and one class may have one code."""
    rows = np.zeros((6, 8), bool)
    rows[:, 0], rows[::2, 1] = [0, 0, 0, 1, 1, 1], True
    classes = np.array([0, 0, 0, 1, 1, 1])
    assert collapse.look(rows, classes) is None  # 6 of 8 constant, as two classes leave them
    wide = np.array([0, 1, 2, 3, 4, 5])
    assert collapse.look(np.c_[rows[:, :2], rows[:, :2], rows[:, 2:6]], wide).constant_bits == 4
    assert collapse.look(np.c_[rows[:, :2], rows[:, :2], rows[:, 2:5]], wide % 2) is None
    assert collapse.look(np.zeros((6, 8), bool), np.zeros(6, int)) is None
