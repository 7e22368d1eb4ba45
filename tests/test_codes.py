"""Bits, packing and Hamming distance, for arrays and tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes
from hashlab.errors import InputError

LENGTHS = (1, 7, 8, 12, 48, 63, 64, 65, 128, 1024)
KINDS = (np.asarray, torch.from_numpy)


def random_bits(n, k, seed=0):
    return np.random.default_rng(seed).random((n, k)) < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_zero_is_a_one(kind):
    u = kind(np.array([[-1.0, -0.0, 0.0, 1e-30, -1e-30, np.inf, -np.inf]]))
    assert codes.binarize(u).tolist() == [[False, True, True, True, False, True, False]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32])
def test_binarize_takes_any_real_type(dtype):
    assert codes.binarize(torch.tensor([[-2, 0, 3]], dtype=dtype)).tolist() == [[False, True, True]]


@pytest.mark.parametrize("k", LENGTHS)
def test_packed_bytes_are_little_endian_and_padded_to_words(k):
    bits = random_bits(5, k)
    packed = codes.pack(bits)
    assert packed.shape == (5, 8 * -(-k // 64)) and packed.dtype == np.uint8
    for i in range(5):
        for j in range(packed.shape[1] * 8):
            assert packed[i, j // 8] >> (j % 8) & 1 == (bits[i, j] if j < k else 0)


@pytest.mark.parametrize("k", LENGTHS)
def test_tensors_pack_to_the_same_bytes(k):
    bits = random_bits(5, k)
    packed = codes.pack(torch.from_numpy(bits))
    assert isinstance(packed, torch.Tensor) and np.array_equal(packed.numpy(), codes.pack(bits))


@given(k=st.integers(1, 200), n=st.integers(0, 5), seed=st.integers(0, 99), tensor=st.booleans())
def test_unpack_undoes_pack_and_pad_undoes_trim(k, n, seed, tensor):
    bits = random_bits(n, k, seed)
    bits = torch.from_numpy(bits) if tensor else bits
    packed = codes.pack(bits)
    assert (codes.unpack(packed, bits=k) == bits).all() and codes.unpack(packed, k).shape == (n, k)
    stored = codes.trim(packed, k)
    assert stored.shape == (n, -(-k // 8))
    assert (codes.pad(stored, k) == packed).all()


@pytest.mark.parametrize("k", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_hamming_counts_differing_bits(k, kind):
    a, b = random_bits(6, k, 1), random_bits(9, k, 2)
    plain = [[sum(x != y for x, y in zip(p, q, strict=True)) for q in b] for p in a]
    distance = codes.hamming(codes.pack(kind(a)), codes.pack(kind(b)))
    assert distance.tolist() == plain
    assert str(distance.dtype).endswith("int32")


def test_hamming_in_blocks_is_hamming(monkeypatch):
    a, b = codes.pack(random_bits(50, 70, 1)), codes.pack(random_bits(33, 70, 2))
    whole = codes.hamming(a, b)
    monkeypatch.setattr(codes, "_BLOCK", 100)  # three rows at a time
    assert np.array_equal(codes.hamming(a, b), whole)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_hamming_is_exact_where_products_are_to_be_quick(dtype):
    packed = codes.pack(np.random.default_rng(0).random((9, 5000)) < 0.9)
    with torch.autocast("cpu", dtype):
        distance = codes.hamming(*[torch.from_numpy(packed)] * 2)
    assert np.array_equal(distance, codes.hamming(packed, packed))


def test_hamming_of_nothing():
    none = np.zeros((0, 8), np.uint8)
    assert codes.hamming(none, codes.pack(random_bits(3, 5))).shape == (0, 3)
    assert codes.hamming(codes.pack(random_bits(3, 5)), none).shape == (3, 0)


@given(st.integers(1, 130), st.integers(0, 99))
def test_hamming_is_a_metric(k, seed):
    d = codes.hamming(*[codes.pack(random_bits(8, k, seed))] * 2)
    assert (d.diagonal() == 0).all() and (d == d.T).all()
    assert (d[:, None, :] <= d[:, :, None] + d[None, :, :]).all() and d.max() <= k


BAD = {
    "flat": (lambda: codes.binarize(np.zeros(3)), r"\(N, K\) real numbers, got \(3,\) float64"),
    "bools": (lambda: codes.binarize(np.zeros((2, 3), bool)), "real numbers, got .* bool"),
    "complex": (lambda: codes.binarize(np.zeros((2, 3), complex)), "real numbers, got .* complex"),
    "list": (lambda: codes.binarize([[1.0]]), "real numbers, got list"),
    "nan": (lambda: codes.binarize(np.array([[np.nan, 1]])), "got NaN"),
    "nan tensor": (lambda: codes.binarize(torch.tensor([[1.0, float("nan")]])), "got NaN"),
    "bits with zeros": (
        lambda: codes.pack(np.array([[-1, 0, 1]])),
        r"0/1, -1/\+1 or bool, got .*codes.binarize\(x\)\) makes .* 1 where u >= 0",
    ),
    "real outputs": (lambda: codes.pack(torch.full((2, 3), 0.5)), "1 where u >= 0"),
    "complex bits": (lambda: codes.pack(np.ones((2, 3), complex)), "got .* complex"),
    "no bits": (lambda: codes.pack(np.zeros((2, 0), bool)), "K >= 1"),
    "wrong width": (
        lambda: codes.unpack(np.zeros((2, 8), np.uint8), 65),
        r"\(N, 16\) uint8, got \(2, 8\)",
    ),
    "wrong type": (lambda: codes.unpack(np.zeros((2, 8), np.int64), 3), "uint8, got .* int64"),
    "padding": (
        lambda: codes.unpack(np.full((1, 8), 255, np.uint8), 63),
        "zero padding after bit 63",
    ),
    "padding byte": (
        lambda: codes.unpack(np.eye(8, dtype=np.uint8)[-1:], 8),
        "zero padding after bit 8",
    ),
    "padding tensor": (
        lambda: codes.unpack(torch.full((1, 8), 8, dtype=torch.uint8), 3),
        "zero padding after bit 3",
    ),
    "zero bits": (lambda: codes.unpack(np.zeros((2, 8), np.uint8), 0), "at least 1, got 0"),
    "half a bit": (
        lambda: codes.trim(np.zeros((2, 8), np.uint8), 2.5),
        "whole number of at least 1, got 2.5",
    ),
    "stored width": (
        lambda: codes.pad(np.zeros((2, 8), np.uint8), 12),
        r"\(N, 2\) uint8, got \(2, 8\)",
    ),
    "stored padding": (lambda: codes.pad(np.full((2, 2), 255, np.uint8), 12), "zero padding"),
    "not words": (
        lambda: codes.hamming(np.zeros((2, 7), np.uint8), np.zeros((2, 7), np.uint8)),
        r"\(N, 8 W\) uint8",
    ),
    "two widths": (
        lambda: codes.hamming(np.zeros((2, 8), np.uint8), np.zeros((2, 16), np.uint8)),
        "one kind and width",
    ),
    "two kinds": (
        lambda: codes.hamming(np.zeros((2, 8), np.uint8), torch.zeros(2, 8, dtype=torch.uint8)),
        "one kind and width",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named(case):
    call, message = BAD[case]
    with pytest.raises(InputError, match=message):
        call()


TABLES = {
    "no bits": ((8, 0), "at least 1, got 0"),
    "a truth": ((7, True), "at least 1, got True"),
    "a fraction": ((4.0, 4), "at least 1, got 4.0"),
    "too few": ((4, 3), r"must add up to 8 bits, got \(4, 3\)"),
    "a number": (8, "must be the bits of each hash table, got 8"),
}


@pytest.mark.parametrize("case", TABLES)
def test_bad_tables_are_named(case):
    tables, message = TABLES[case]
    with pytest.raises(InputError, match=message):
        codes.check_tables(8, tables)


def test_tables_are_numbers_that_add_up():
    assert codes.check_tables(8, [3, 5]) == (3, 5) and codes.check_tables(8, None) == (8,)


HINTS = {
    "bools": (np.eye(6, dtype=bool), r"codes.pack\(x\)"),
    "zeros and ones": (np.eye(6, dtype=np.uint8), r"codes.pack\(x\)"),
    "signs": (2.0 * np.eye(6) - 1, r"codes.pack\(x\)"),
    "outputs": (np.eye(6) / 2, r"codes.pack\(codes.binarize\(x\)\)"),
    "trimmed": (np.arange(6, dtype=np.uint8)[:, None], r"codes.pad\(x, bits=6\)"),
    "trimmed, of another type": (np.arange(6)[:, None], r"got \(6, 1\) int64$"),
    "bytes": (np.arange(36, dtype=np.uint8).reshape(6, 6), r"got \(6, 6\) uint8$"),
    "three axes": (np.zeros((6, 6, 1)), r"got \(6, 6, 1\) float64$"),
    "nothing like it": (np.zeros((6, 3)), r"got \(6, 3\) float64$"),
    "text": ("codes", "got str$"),
}


@pytest.mark.parametrize("case", HINTS)
def test_what_is_not_packed_says_how_to_pack_it(case):
    x, message = HINTS[case]
    with pytest.raises(InputError, match=message):
        codes.check_packed(x, 6)


@pytest.mark.parametrize("bits", [1, 8, 9, 48, 65, 128])
def test_rows_of_a_file_are_known_by_their_width(bits):
    width = -(-bits // 8)
    for columns in range(1, 2 * width):
        trimmed = np.full((2, columns), 2, np.uint8)
        if columns == codes.row_bytes(bits):
            continue
        with pytest.raises(InputError, match=rf"\(2, {columns}\) uint8") as refused:
            codes.check_packed(trimmed, bits)
        assert ("codes.pad" in str(refused.value)) == (columns == width)


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 63, 64, 65])
def test_every_padding_bit_counts(bits):
    for position in range(bits, 8 * codes.row_bytes(bits)):
        packed = codes.pack(np.arange(8 * codes.row_bytes(bits))[None] == position)
        with pytest.raises(InputError, match=f"zero padding after bit {bits}"):
            codes.check_packed(packed, bits)
    for position in range(bits):
        codes.check_packed(codes.pack(np.arange(8 * codes.row_bytes(bits))[None] == position), bits)


def test_lists_become_arrays_and_ragged_ones_do_not():
    assert codes.as_numpy([[1, 2], [3, 4]]).shape == (2, 2)
    assert codes.as_numpy(torch.ones(2, requires_grad=True)).dtype == np.float64
    assert codes.as_numpy(torch.ones(2, dtype=torch.int32)).dtype == np.int32
    with pytest.raises(InputError, match="labels must have rows of one length, got ragged rows"):
        codes.as_numpy([[1, 2], [3]], "labels")
