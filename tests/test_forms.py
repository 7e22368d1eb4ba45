"""The evaluator's door: codes in every usual form are the same codes, as arrays and in files."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlab import codes, metrics

CODES = {  # bool (N, K) -> the same bits, as somebody may have them
    "bool": lambda bits: bits,
    "0/1 bytes": lambda bits: bits.astype(np.uint8),
    "0/1": lambda bits: bits.astype(np.int64),
    "0/1 floats": lambda bits: bits.astype(np.float32),
    "signs": lambda bits: np.where(bits, 1, -1).astype(np.int8),
    "sign floats": lambda bits: np.where(bits, 1.0, -1.0),
    "half signs": lambda bits: np.where(bits, 1.0, -1.0).astype(np.float16),
    "by columns": lambda bits: np.asfortranarray(np.where(bits, 1.0, -1.0)),
    "bool tensor": torch.from_numpy,
    "0/1 tensor": lambda bits: torch.from_numpy(bits).byte(),
    "sign tensor": lambda bits: torch.from_numpy(bits) * 2.0 - 1,
    "bfloat signs": lambda bits: (torch.from_numpy(bits) * 2.0 - 1).bfloat16(),
}


def random_case(bits, seed=0):
    rng = np.random.default_rng(seed)
    sides = [rng.random((count, bits)) < 0.5 for count in (4, 20)]
    labels = [np.append([0, 1, 2], rng.integers(0, 3, count - 3)) for count in (4, 20)]
    return sides, labels


def as_numpy(x):
    return x.numpy() if isinstance(x, torch.Tensor) else x


@pytest.mark.parametrize("form", CODES)
@pytest.mark.parametrize("bits", [1, 7, 8, 16, 65])
def test_bits_of_any_type_are_packed_alike(form, bits):
    sides, _ = random_case(bits)
    for side in (*sides, np.ones((2, bits), bool), np.zeros((2, bits), bool)):
        packed = codes.pack(CODES[form](side))
        assert isinstance(packed, torch.Tensor) == ("tensor" in form or "bfloat" in form)
        assert np.array_equal(as_numpy(packed), codes.pack(side))


@settings(max_examples=40)
@given(
    form=st.sampled_from(sorted(CODES)),
    bits=st.sampled_from([1, 8, 9, 12, 64, 70]),
    given_bits=st.sampled_from([None, int, float, np.float64]),
    seed=st.integers(0, 99),
)
def test_measures_do_not_depend_on_the_form_of_codes(form, bits, given_bits, seed):
    sides, labels = random_case(bits, seed)
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=bits)
    how = {} if given_bits is None else {"bits": given_bits(bits)}
    if not how and form in ("0/1 bytes", "0/1 tensor") and bits % 8 == 0:
        return  # bytes that may be packed codes, see below
    report = metrics.evaluate(*map(CODES[form], sides), *labels, **how)
    assert report.to_dict() == plain.to_dict() and type(report.bits) is int


def test_tables_of_bits_are_packed_each():
    (query, database), labels = random_case(12)
    packed = [
        np.concatenate([codes.pack(side[:, :5]), codes.pack(side[:, 5:])], 1)
        for side in (query, database)
    ]
    how = {"tables": (5, 7), "combine": "union"}
    plain = metrics.evaluate(*packed, *labels, bits=12, **how).to_dict()
    for form in ("bool", "signs", "sign tensor"):
        sides = [CODES[form](side) for side in (query, database)]
        assert metrics.evaluate(*sides, *labels, **how).to_dict() == plain


def test_bytes_that_may_be_packed_are_not_guessed():
    """Of 8 bits, packed codes and bits have one width; the padding tells them apart."""
    (query, database), labels = random_case(8)
    packed = [codes.pack(side) for side in (query, database)]
    for sides in ((query, database), (query[:1], database)):
        of_bytes = [side.astype(np.uint8) for side in sides]
        given_labels = [labels[0][: len(sides[0])], labels[1]]
        with pytest.raises(ValueError, match="bits must be given"):
            metrics.evaluate(*of_bytes, *given_labels)
        plain = metrics.evaluate(packed[0][: len(sides[0])], packed[1], *given_labels, bits=8)
        report = metrics.evaluate(*of_bytes, *given_labels, bits=8)
        assert report.to_dict() == plain.to_dict()
    first = np.zeros((4, 8), bool)
    first[:2, 0] = True  # as bytes it could be packed; the database says that it is not
    plain = metrics.evaluate(codes.pack(first), packed[1], *labels, bits=8)
    report = metrics.evaluate(first.astype(np.uint8), database.astype(np.uint8), *labels, bits=8)
    assert report.to_dict() == plain.to_dict()


def test_real_queries_go_with_bits_of_a_database():
    (query, database), labels = random_case(12)
    outputs = np.where(query, 0.7, -0.2)
    how = {"bits": 12, "convention": "asymmetric"}
    plain = metrics.evaluate(outputs, codes.pack(database), *labels, **how)
    signs = CODES["sign floats"](database)
    report = metrics.evaluate(outputs, signs, *labels, convention="asymmetric")
    assert report.to_dict() == plain.to_dict()
