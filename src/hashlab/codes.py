"""Binary codes: from real outputs to bits, from bits to packed bytes,
and the Hamming distance between them.

A packed code is a row of bytes, the first bit in the lowest place of the first byte
(``np.packbits`` with ``bitorder="little"``), padded with zero bits to whole 64-bit words: one XOR
and one popcount then compare 64 bits, and zero padding never adds to a distance. Every function
takes NumPy arrays or torch tensors and answers in kind, on the same device.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from hashlab.errors import InputError, check_word

if TYPE_CHECKING:
    import torch

__all__ = ["binarize", "hamming", "pack", "pad", "row_bytes", "trim", "unpack", "words"]

Array = TypeVar("Array", np.ndarray, "torch.Tensor")

REAL = ("bool", "int", "uint", "float", "bfloat")  # types of real numbers, by their beginning
TO_BINARIZE = ": codes.pack(codes.binarize(x)) makes codes of real outputs, 1 where u >= 0"
WORD = 64  # bits per machine word: packed rows are whole words
# Of a code: twice the longest that are published; a number beyond is a slip, or a trap for memory.
MOST_BITS = 65_536
COMBINE = ("sum", "union", "weighted")  # what is done with the distances of several tables
MOST_WEIGHT = 15
_BLOCK = 1 << 21  # pairs handled at once by `hamming` (16 MB of XORed words)


def binarize(u: Array) -> Array:
    """Turn real-valued outputs into bits: a bit is 1 where u >= 0, so zero has one meaning.

    Args:
        u: real numbers, (N, K).

    Returns:
        bool, (N, K).

    Raises:
        InputError: u is not 2-D, not of numbers, or holds NaN.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes
        >>> codes.binarize(np.array([[0.5, -1.0, 0.0]])).tolist()
        [[True, False, True]]
    """
    if not is_array(u, 2, "int", "uint", "float", "bfloat"):
        raise InputError(f"outputs must be (N, K) real numbers, got {describe(u)}")
    if (u != u).any():  # only NaN differs from itself
        raise InputError("outputs must be numbers, got NaN: a bit cannot be decided")
    return u >= 0


def pack(bits: Array) -> Array:
    """Pack bits into bytes, eight to a byte, rows padded with zeros to whole 64-bit words.

    Args:
        bits: bool, or 0/1 or -1/+1 of any real type, (N, K).

    Returns:
        uint8, (N, 8 * ceil(K / 64)).

    Raises:
        InputError: bits is not such an array of two axes with at least one column. Codes with zeros
            among -1 and +1, and real outputs, are for `binarize` to decide.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes
        >>> u = np.array([[0.5, -1.0, 2.0], [-0.1, 0.0, -3.0]])  # outputs of two images
        >>> packed = codes.pack(codes.binarize(u))
        >>> packed[:, 0].tolist()  # 1 + 4, and 2, for a zero counts as a one
        [5, 2]
        >>> codes.hamming(packed, packed).tolist()
        [[0, 3], [3, 0]]
    """
    if not is_array(bits, 2, *REAL) or bits.shape[1] == 0:
        wanted = "(N, K) 0/1, -1/+1 or bool with K >= 1"
        raise InputError(f"bits must be {wanted}, got {describe(bits)}")
    if not of_two_values(bits):
        raise InputError(f"bits must be 0/1, -1/+1 or bool, got {describe(bits)}{TO_BINARIZE}")
    return _pad_right(_packbits(bits == 1), row_bytes(bits.shape[1]))


def of_two_values(x: Array) -> bool:
    """Whether an array of real numbers has bits in it: bool, or nothing but 0/1, or but -1/+1."""
    if _type(x).startswith("bool"):
        return True
    return bool(((x == 0) | (x == 1)).all() or ((x == -1) | (x == 1)).all())


def unpack(packed: Array, bits: int) -> Array:
    """Undo `pack`.

    Args:
        packed: uint8, (N, 8 * ceil(bits / 64)).
        bits: K, the number of bits in a code.

    Returns:
        bool, (N, K).

    Raises:
        InputError: the rows are not as wide as `bits` needs, or a padding bit is set.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes
        >>> packed = codes.pack(np.array([[1, 0, 1]]))
        >>> packed.shape, codes.unpack(packed, bits=3).tolist()
        ((1, 8), [[True, False, True]])
    """
    check_packed(packed, bits)
    return unpackbits(packed)[:, :bits]


def trim(packed: Array, bits: int) -> Array:
    """Drop the padding bytes of packed codes, as they are stored in files.

    Args:
        packed: uint8, (N, 8 * ceil(bits / 64)).
        bits: K, the number of bits in a code.

    Returns:
        uint8, (N, ceil(K / 8)).

    Raises:
        InputError: as `unpack`.
    """
    check_packed(packed, bits)
    return packed[:, : -(-bits // 8)]


def pad(trimmed: Array, bits: int) -> Array:
    """Undo `trim`: widen stored codes to whole 64-bit words.

    Args:
        trimmed: uint8, (N, ceil(bits / 8)).
        bits: K, the number of bits in a code.

    Returns:
        uint8, (N, 8 * ceil(K / 64)).

    Raises:
        InputError: the rows are not as wide as `bits` needs, or a padding bit is set.
    """
    check_bits(bits)
    if not is_array(trimmed, 2, "uint8") or trimmed.shape[1] != -(-bits // 8):
        raise InputError(
            f"stored {bits}-bit codes must be (N, {-(-bits // 8)}) uint8, got {describe(trimmed)}"
        )
    packed = _pad_right(trimmed, row_bytes(bits))
    check_packed(packed, bits)
    return packed


def hamming(a: Array, b: Array) -> Array:
    """Count the bits in which packed codes differ, for every pair.

    Args:
        a: packed codes, uint8 (Na, 8 W).
        b: packed codes, uint8 (Nb, 8 W).

    Returns:
        int32, (Na, Nb).

    Raises:
        InputError: a or b is not packed, or they differ in width or kind.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes
        >>> a = codes.pack(np.array([[1, 1, 1, 1], [0, 0, 0, 0]]))
        >>> codes.hamming(a, codes.pack(np.array([[0, 1, 1, 1]]))).tolist()
        [[1], [3]]
    """
    for codes in (a, b):
        if not is_array(codes, 2, "uint8") or codes.shape[1] % 8 or codes.shape[1] == 0:
            raise InputError(f"packed codes must be (N, 8 W) uint8, got {describe(codes)}")
    if a.shape[1] != b.shape[1] or isinstance(a, np.ndarray) != isinstance(b, np.ndarray):
        raise InputError(
            f"codes must be of one kind and width, got {describe(a)} and {describe(b)}"
        )
    return _hamming_numpy(a, b) if isinstance(a, np.ndarray) else _hamming_torch(a, b)


def row_bytes(bits: int) -> int:
    """Bytes of one packed row of `bits` bits: 8 * ceil(bits / 64)."""
    return WORD // 8 * -(-bits // WORD)


def words(packed: np.ndarray) -> np.ndarray:
    """View packed codes, uint8 (N, 8 W), as 64-bit words, uint64 (N, W)."""
    return np.ascontiguousarray(packed).view(np.uint64)


def whole(bits: object) -> object:
    """A number of bits as it is meant: 16.0, as other programs write it, is 16."""
    of_reals = isinstance(bits, float | np.floating) and float(bits).is_integer()
    return int(bits) if of_reals else bits


def check_bits(bits: int, most: int = MOST_BITS) -> None:
    """Raise InputError unless `bits` is a whole number in 1..most."""
    whole = isinstance(bits, (int, np.integer)) and not isinstance(bits, bool)
    if not whole or not 1 <= bits <= most:
        limit = f"at most {most}" if whole and bits > most else "at least 1"
        raise InputError(f"bits must be a whole number of {limit}, got {bits!r}")


def check_tables(bits: int, tables: Sequence[int] | None) -> tuple[int, ...]:
    """The bits of each hash table, one of all bits for None;
    raises InputError where they do not add up to `bits`.
    """
    check_bits(bits)
    if tables is not None and (isinstance(tables, str) or not np.iterable(tables)):
        raise InputError(f"tables must be the bits of each hash table, got {tables!r}")
    tables = (bits,) if tables is None else tuple(tables)
    for table in tables:
        check_bits(table)
    if sum(tables) != bits:
        raise InputError(f"tables must add up to {bits} bits, got {tables}")
    return tables


def check_combine(combine: str | None, weights: Any) -> str:
    """How several tables are combined: one of `COMBINE`, "sum" where None is asked for.

    Raises InputError for another word, or weights that are not given if and only if they are asked for.
    """
    combine = "sum" if combine is None else combine
    check_word("combine", combine, COMBINE)
    if (weights is not None) != (combine == "weighted"):
        raise InputError("weights are given if and only if combine='weighted'")
    return combine


def weights_of_bits(weights: Any, tables: Sequence[int]) -> np.ndarray:
    """A weight for each bit, int64 (K,), of whole numbers 0..15, one per table or one per bit.

    Raises InputError for others, or none but 0.
    """
    given = as_numpy(weights, "weights")
    bits = sum(tables)
    if given.dtype.kind not in "iu" or given.shape not in ((len(tables),), (bits,)):
        raise InputError(
            f"weights must be {len(tables)} (one per table) or {bits} (one per bit) whole numbers, "
            f"got {given.shape} {given.dtype}"
        )
    if given.min() < 0 or given.max() > MOST_WEIGHT or given.max() == 0:
        raise InputError(
            f"weights must lie in 0..{MOST_WEIGHT}, not all 0, got {given.min()} to {given.max()}"
        )
    return np.repeat(given, tables if len(given) == len(tables) else 1).astype(np.int64)


def check_packed(packed: Array, bits: int, name: str = "packed codes") -> None:
    """Raise InputError unless `packed` holds `bits`-bit codes in whole words with zero padding."""
    check_bits(bits)
    width = row_bytes(bits)
    if not is_array(packed, 2, "uint8") or packed.shape[1] != width:
        raise InputError(
            f"{name} of {bits} bits must be (N, {width}) uint8, got "
            f"{describe(packed)}{_hint(packed, bits)}"
        )
    tail = packed[:, bits // 8 :]  # the byte in which the code ends, and all after it
    if tail.shape[1] and ((tail[:, 0] >> bits % 8).any() or tail[:, 1:].any()):
        raise InputError(
            f"{name} must have zero padding after bit {bits}, got set bits "
            f"there{_hint(packed, bits)}"
        )


def _hint(x: object, bits: int) -> str:
    """How codes that look unpacked, or not padded, become packed ones."""
    columns = tuple(x.shape)[1:] if has_values(x) else ()
    if columns == (bits,) and is_array(x, 2, *REAL) and of_two_values(x):
        return ": codes.pack(x) packs 0/1, -1/+1 or bool codes"
    if columns == (bits,) and not is_array(x, 2, "uint8"):
        return TO_BINARIZE
    if columns == (-(-bits // 8),) and is_array(x, 2, "uint8"):
        return f": codes.pad(x, bits={bits}) widens rows of that many bytes"
    return ""


def _hamming_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = words(a), words(b)  # (Na, W), (Nb, W)
    distance = np.zeros((len(a), len(b)), np.int32)
    step = max(1, _BLOCK // max(1, len(b)))
    for start in range(0, len(a), step):
        rows = slice(start, start + step)
        for w in range(a.shape[1]):
            distance[rows] += np.bitwise_count(a[rows, w, None] ^ b[None, :, w])
    return distance


def _hamming_torch(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    # |a xor b| = |a| + |b| - 2 a.b; products of 0s and 1s summed in float32 are exact below 2^24
    # bits
    import torch

    with torch.autocast(a.device.type, enabled=False):  # which would round the product
        x, y = unpackbits(a).float(), unpackbits(b).float()  # (Na, 64 W), (Nb, 64 W)
        return (x.sum(1)[:, None] + y.sum(1) - 2 * (x @ y.T)).int()


def _packbits(bits: Array) -> Array:
    if isinstance(bits, np.ndarray):
        return np.packbits(bits, axis=1, bitorder="little")
    groups = _pad_right(bits, -(-bits.shape[1] // 8) * 8).unflatten(1, (-1, 8))
    return (groups * _places(bits)).sum(-1).byte()


def unpackbits(packed: Array) -> Array:
    """All bits of packed rows, the padding included, bool (N, 8 * bytes);
    `unpack` checks and drops the padding.
    """
    if isinstance(packed, np.ndarray):
        return np.unpackbits(packed, axis=1, bitorder="little").view(bool)
    return ((packed[:, :, None] & _places(packed)) != 0).flatten(1)


def _places(like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.tensor([1, 2, 4, 8, 16, 32, 64, 128], dtype=torch.uint8, device=like.device)


def _pad_right(rows: Array, width: int) -> Array:
    if isinstance(rows, np.ndarray):
        return np.pad(rows, ((0, 0), (0, width - rows.shape[1])))
    import torch

    return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))


def is_array(x: object, dimensions: int, *types: str) -> bool:
    """Whether x is an array or tensor of values with so many axes,
    whose type begins with one of `types`.
    """
    return has_values(x) and x.ndim == dimensions and _type(x).startswith(types)


def is_tensor(x: object) -> bool:
    """Whether x is a tensor; where torch has not been imported, nothing is one."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def has_values(x: object) -> bool:
    """Whether x is an array or a tensor that holds a value per entry:
    no masked array with gaps, no meta tensor and no sparse one.
    """
    if not is_tensor(x):
        return isinstance(x, np.ndarray) and not np.ma.is_masked(x)
    return _plain(x.layout) == "strided" and x.device.type != "meta"


def as_numpy(x: object, name: str = "values") -> np.ndarray:
    """The values of an array, tensor or list as a NumPy array;
    tensors of real numbers become float64.

    Raises:
        InputError: a list whose rows differ in length, or in which text stands beside anything else;
            a masked array with gaps; a tensor without values of its own, or a sparse one.
    """
    if is_tensor(x):
        if not has_values(x):
            raise InputError(f"{name} must be a tensor with values, got {describe(x)}")
        return (x.detach().double() if x.is_floating_point() else x).cpu().numpy()
    if np.ma.is_masked(x):
        raise InputError(f"{name} must have a value for every entry, got {describe(x)}")
    try:
        array = np.asarray(x)
    except ValueError:
        raise InputError(f"{name} must have rows of one length, got ragged rows") from None
    if isinstance(x, list | tuple) and array.dtype.kind in "SU":  # NumPy writes out what is no text
        others = [one for one in np.array(x, object).flat if not isinstance(one, str | bytes)]
        if others:
            raise InputError(
                f"{name} must be all text or none of it, got {others[0]!r} beside text"
            )
    return array


def describe(x: object) -> str:
    """Shape and type of an array, or just the type of anything else, for messages."""
    if not isinstance(x, np.ndarray) and not is_tensor(x):
        return type(x).__name__
    missing = "" if has_values(x) else f" {_valueless(x)}"
    return f"{tuple(x.shape)} {_type(x)}{missing}"


def _valueless(x: Array) -> str:
    """Why an array or tensor does not hold a value per entry."""
    if not is_tensor(x):
        return "with masked entries"
    return "on meta" if x.device.type == "meta" else _plain(x.layout)


def _type(x: Array) -> str:
    return _plain(x.dtype)


@cache  # to write a type out takes as long as to search a thousand codes
def _plain(word: object) -> str:
    return str(word).removeprefix("torch.")
