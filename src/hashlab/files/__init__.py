"""Codes in files: their form, and reading of anybody's `.npz` and JSON without guessing,
within bounds.

A file holds `query_codes, database_codes, query_labels, database_labels,
bits` and, where the codes alone do not say it, `format` (packed | bits | signs) and `bitorder`
(little | big).
"""

from __future__ import annotations

import io
import json
import lzma
import math
import os
import reprlib
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from hashlab import codes
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.files._disk import write as write

CODES = ("query_codes", "database_codes")
LABELS = ("query_labels", "database_labels")
ARRAYS = (*CODES, *LABELS)
FORMATS = ("packed", "bits", "signs")  # of rows of numbers
HASHES = ("hex", "integers")  # of one text, or one whole number of 64 bits, an item
MOST_BYTES = (
    4 << 30
)  # of a file, and of what an archive unpacks to: a few kilobytes may ask for as many terabytes
MOST_TEXT = 256 << 20  # of a text file: NUS-WIDE's longest list has 45 MB
SINGLE = {str, int, float, bool, type(None)}  # what holds nothing else in JSON
MOST_DEPTH = 32  # lists and objects within each other in JSON; ours have six
MOST_AXES = 8  # of an array
PLAIN = "biufUS"  # types of arrays that are read: whole and real numbers, truth, text


def check_name(path: str | Path) -> None:
    """Raise InputError for a path that no file can have: with a NUL character in it."""
    if "\0" in str(path):
        raise InputError(f"a path without NUL characters is expected, got {str(path)!r}")


def read_bytes(file: str | Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        InputError: no such file, a folder, a pipe or device (which may have no end, or nobody at
            the other one), a file that is larger or may not be read.
    """
    check_name(file)
    try:
        with open(file, "rb", opener=_without_waiting) as content:
            facts = os.fstat(content.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise InputError(f"{file}: a file is expected, got {_kind(facts.st_mode)}")
            if facts.st_size > most:
                raise InputError(f"{file}: at most {most} bytes are read, it has {facts.st_size}")
            return content.read(facts.st_size)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None


def _without_waiting(file: str, flags: int) -> int:
    """Open a pipe without waiting for whoever writes into it:
    what is looked at is then what is read.
    """
    return os.open(file, flags | getattr(os, "O_NONBLOCK", 0))


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_text(file: str | Path, encoding: str = "utf-8") -> str:
    """The text of a regular file of bounded size;
    raises InputError as `read_bytes`, and where it is not text.
    """
    try:
        return read_bytes(file, MOST_TEXT).decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{file} is not a text file: {error.reason} at byte {error.start}"
        ) from None


def read_json(file: str | Path, what: str = "JSON") -> Any:
    """The value in a JSON file of bounded size and depth;
    raises InputError where it is none, and so not `what`.
    """
    try:
        text = read_text(file)
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_object)
        if _deeper(value, MOST_DEPTH):
            raise RecursionError
        return value
    except RecursionError:
        raise InputError(
            f"{file} is not {what}: JSON of at most {MOST_DEPTH} levels is expected, got more"
        ) from None
    except ValueError as error:
        raise InputError(f"{file} is not {what}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON in which every name stands once: of two, readers see different ones."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen = [name for name, _ in pairs]
        twice = next(name for name in fields if seen.count(name) > 1)
        raise ValueError(f"{reprlib.repr(twice)} stands in it twice")
    return fields


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def holders(values: Collection[Any]) -> list[Any]:
    """Those of the values of JSON that hold others: lists and objects, but empty ones."""
    if SINGLE.issuperset(map(type, values)):
        return []
    return [value for value in values if isinstance(value, (dict, list)) and value]


def held(holder: Any) -> Collection[Any]:
    """What stands in a list or an object."""
    return holder.values() if isinstance(holder, dict) else holder


def _deeper(value: Any, depth: int) -> bool:
    """Whether a JSON value has lists and objects within each other, more than `depth` of them."""
    level = holders([value])
    for _ in range(depth):
        level = [inner for holder in level for inner in holders(held(holder))]
    return bool(level)


def check_folder(folder: str | Path, variable: str = "") -> None:
    """Raise InputError unless files can be written into a folder,
    or into a new one of that name; none is made.

    The error names the environment `variable` that leads to another folder, if there is one.
    """
    check_name(folder)
    above = (Path(folder), *Path(folder).parents)
    nearest = next((path for path in above if path.exists()), Path())
    if not nearest.is_dir():
        raise InputError(f"{nearest} is a file; a folder is expected")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        instead = f"; set {variable} to a folder of yours" if variable else ""
        raise InputError(
            f"nothing can be written into {nearest}: {error.strerror}{instead}"
        ) from None


def check_replaceable(target: str | Path) -> Path:
    """Raise InputError unless a folder can be replaced as a whole, and return it;
    half of an earlier replacement is brought to its end.
    """
    folder = Path(target)
    if Path.cwd().is_relative_to(folder.absolute()) or folder.is_mount() or folder.is_symlink():
        raise InputError(
            f"a folder that can be replaced as a whole is expected, got {target}; give one inside "
            "it"
        )
    _disk.restored(folder)
    check_folder(folder.parent)
    check_folder(folder)
    return folder


def check_file(file: Path, *suffixes: str) -> None:
    """Raise InputError unless a file of that name can be written into a folder that exists.

    The name is to end in one of `suffixes`.
    """
    check_name(file)
    if file.suffix.lower() not in suffixes:
        wanted = " or ".join(suffixes)
        raise InputError(f"a file name that ends in {wanted} is expected, got {file}")
    if not file.parent.is_dir():
        raise InputError(f"{file.parent} is not a folder: {file} cannot be written")
    check_folder(file.parent)


def npz(arrays: dict[str, np.ndarray], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Arrays as the bytes of a compressed `.npz` file; equal arrays give equal bytes.

    `np.load` reads any `method` of zipfile; ZIP_BZIP2 and ZIP_LZMA make codes smaller.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method, compresslevel=9) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), method)
    return out.getvalue()


def arrays(data: bytes, file: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` file.

    What their headers announce is compared with the archive before room is taken.

    Raises InputError where it is no archive of arrays, or one of them stands in it twice, is none
    of plain numbers or text (but pickled objects, say), or has another size than its header
    announces.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _unpacked(archive)
    except InputError as error:
        raise InputError(f"{file} cannot be read as .npz: {error}") from None
    except zipfile.BadZipFile as error:
        reason = "it is no archive of arrays" if "not a zip file" in str(error) else _brief(error)
        raise InputError(f"{file} cannot be read as .npz: {reason}") from None
    except (
        ValueError,
        TypeError,
        EOFError,
        OSError,
        RuntimeError,
        zlib.error,
        lzma.LZMAError,
    ) as error:
        raise InputError(f"{file} cannot be read as .npz: {_brief(error)}") from None


def _brief(error: Exception) -> str:
    """What another library says, on one line; it may hold all that it has read."""
    return " ".join(str(error).split())[:200]


def _unpacked(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    members = archive.infolist()
    total = sum(member.file_size for member in members)
    if total > MOST_BYTES:
        raise InputError(f"it takes {total} bytes unpacked, at most {MOST_BYTES} are read")
    unpacked: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name == member.filename:
            raise InputError(f"{name} is no array")
        if name in unpacked:
            raise InputError(f"{name} stands in it twice")
        with archive.open(member) as content:
            unpacked[name] = npy_array(content, member.file_size, name)
    return unpacked


def npy_array(content: IO[bytes], size: int, name: str) -> np.ndarray:
    """The array in a `.npy` file of `size` bytes; raises InputError as `npy_header`."""
    shape, by_column, dtype = npy_header(content, size, name)
    data = bytearray(content.read(size))
    return np.ndarray(shape, dtype, data, order="F" if by_column else "C")


def npy_header(content: IO[bytes], size: int, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it stands by columns, and type of the array in a `.npy` file of `size` bytes.

    Raises InputError where it is no array of plain numbers or text, or announces another size than
    the file has.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        version = np.lib.format.read_magic(content)
        shape, by_column, dtype = readers[version](content)
    except Exception as error:  # whatever the bytes lead NumPy's reader to
        raise InputError(f"{name} has no header of an array ({_brief(error)})") from None
    if dtype.hasobject:
        raise InputError("it holds pickled objects, not plain arrays")
    if dtype.kind not in PLAIN:
        raise InputError(f"{name}: plain numbers or text are expected, got {dtype}")
    whole = all(type(side) is int and 0 <= side <= MOST_BYTES for side in shape)
    if len(shape) > MOST_AXES or not whole:
        given = reprlib.repr(shape)
        raise InputError(
            f"{name}: a shape of at most {MOST_AXES} whole numbers is expected, got {given}"
        )
    need = math.prod(shape) * dtype.itemsize
    rest = size - content.tell()
    if need != rest:
        raise InputError(f"{name}: {shape} {dtype} takes {need} bytes, its file has {rest}")
    return shape, by_column, dtype


def join_tables(packed: np.ndarray, tables: Sequence[int] | None) -> np.ndarray:
    """Codes of several tables as one code with its padding at the end, as it is in files.

    They come with each table padded to whole words.
    """
    if tables is None or len(tables) == 1:
        return packed
    ends = np.cumsum([codes.row_bytes(bits) for bits in tables])[:-1]
    parts = zip(np.split(packed, ends, axis=1), tables, strict=True)
    bits = [codes.unpack(part, bits=width) for part, width in parts]
    return codes.pack(np.concatenate(bits, axis=1))


def split_tables(packed: np.ndarray, bits: int, tables: Sequence[int] | None) -> np.ndarray:
    """The inverse of `join_tables`; raises InputError where the tables do not add up to `bits`."""
    tables = codes.check_tables(bits, tables)
    if len(tables) == 1:
        return packed
    parts = np.split(codes.unpack(packed, bits=bits), np.cumsum(tables)[:-1], axis=1)
    return np.concatenate([codes.pack(part) for part in parts], axis=1)


def read_codes(file: str | Path, tables: Sequence[int] | None = None) -> dict[str, Any]:
    """The arguments of `metrics.evaluate` from anybody's file, see `arguments`."""
    file = Path(file)
    return arguments(arrays(read_bytes(file), file), file, tables)


def arguments(
    stored: Mapping[str, np.ndarray], file: Path, tables: Sequence[int] | None = None
) -> dict[str, Any]:
    """The arguments of `metrics.evaluate` from arrays: packed codes, labels, bits.

    `bits` may be missing where codes say it themselves: where they are not packed. `tables` says how
    many of the bits belong to each hash table, in the order of the columns; `file` is where the
    arrays come from, for messages.

    Raises InputError when an array is missing, of another width than `bits` says, or can be read in
    two ways. Labels are for `metrics.evaluate` to check.
    """
    _check_names(stored, file)
    _check_sizes(stored, file)
    form = _word(stored, "format")
    stored = dict(stored) | _from_hashes(stored, form, file)
    bits = _bits(stored["bits"], file) if "bits" in stored else _own_bits(stored, form, file)
    _check_codes(stored, file)
    order = _word(stored, "bitorder")
    form = _word(stored, "format") or _guess(stored, bits, file)
    arguments: dict[str, Any] = {name: stored[name] for name in LABELS} | {"bits": bits}
    for name in CODES:
        packed = as_packed(stored[name], bits, form, order, f"{file}: {name}")
        arguments[name] = split_tables(packed, bits, tables)
    return arguments


def _own_bits(stored: Mapping[str, np.ndarray], form: str | None, file: Path) -> int:
    """K of codes that are not packed; raises InputError for those that are, or may be."""
    sides = [stored[name] for name in CODES]
    for side in sides:
        of_numbers = side.ndim == 2 and side.dtype.kind in "biuf" and side.shape[1] > 0
        certain = side.dtype != np.uint8 or form in ("bits", "signs")
        if of_numbers and form != "packed" and certain:
            return _bits(np.array(side.shape[1]), file)
    raise InputError(f"{file}: bits missing; packed codes do not say how many they have")


def _from_hashes(
    stored: Mapping[str, np.ndarray], form: str | None, file: Path
) -> dict[str, np.ndarray]:
    """Packed codes of hashes, one text or whole number an item, with bits and format;
    nothing where there are no hashes.
    """
    sides = {name: _one_each(stored[name]) for name in CODES}
    if form not in (None, *HASHES) or not all(may_be_hashes(x, form) for x in sides.values()):
        return {}
    form = form or _form_of_hashes(list(sides.values()), file)
    words = {name: _as_words(side, form, f"{file}: {name}") for name, side in sides.items()}
    most = {name: 8 * row.shape[1] for name, row in words.items()}
    bits = _bits(stored["bits"], file) if "bits" in stored else max(most.values())
    if form == "hex" and len(set(most.values())) > 1:
        digits = " and ".join(str(width // 4) for width in most.values())
        raise InputError(f"{file}: hashes of one length are expected, got {digits} digits")
    packed = {name: _low_bits(row, bits, f"{file}: {name}") for name, row in words.items()}
    return packed | {"bits": np.array(bits), "format": np.array("packed")}


def _one_each(array: np.ndarray) -> np.ndarray:
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def may_be_hashes(array: np.ndarray, form: str | None = None) -> bool:
    """Whether there is one text an item, or one whole number that is more than a bit;
    several numbers only where that is said.
    """
    if array.ndim not in (1, 2 if form == "integers" else 1) or not array.size:
        return False
    return array.dtype.kind in "US" or (
        array.dtype.kind in "iu" and array.dtype.itemsize == 8 and not _are_bits(array)
    )


def _are_bits(array: np.ndarray) -> bool:
    return bool(((array >= -1) & (array <= 1)).all())


def _form_of_hashes(sides: list[np.ndarray], file: Path) -> str:
    """Text is hexadecimal, numbers are numbers; digits that may be either are an error."""
    kinds = {"hex" if side.dtype.kind in "US" else "integers" for side in sides}
    if len(kinds) > 1:
        raise InputError(
            f"{file}: hexadecimal hashes or whole numbers are expected, got one side of each"
        )
    return kinds.pop()


def _as_words(hashes: np.ndarray, form: str, what: str) -> np.ndarray:
    """Hashes as bytes, the lowest first: uint8 (N, bytes)."""
    if form == "integers":
        if hashes.dtype.kind not in "iu":
            raise InputError(f"{what}: hashes must be whole numbers, got {hashes.dtype}")
        words = hashes.astype(np.int64) if hashes.dtype.kind == "i" else hashes.astype(np.uint64)
        return (
            np.ascontiguousarray(words, words.dtype.newbyteorder("<"))
            .view(np.uint8)
            .reshape(len(words), -1)
        )
    texts = [str(text).lower().removeprefix("0x") for text in _decoded(hashes, what).tolist()]
    digits = len(texts[0])
    wrong = [text for text in texts if len(text) != digits or not set(text) <= HEX]
    if wrong or not digits:
        got = reprlib.repr(wrong[0] if wrong else "")
        raise InputError(f"{what}: hexadecimal hashes of {digits} digits are expected, got {got}")
    even = digits + digits % 2
    rows = [bytes.fromhex(text.rjust(even, "0"))[::-1] for text in texts]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1)


HEX = frozenset("0123456789abcdef")


def _decoded(hashes: np.ndarray, what: str) -> np.ndarray:
    if hashes.dtype.kind in "iu":
        raise InputError(f"{what}: hexadecimal hashes must be text, got {hashes.dtype}")
    try:
        return np.char.decode(hashes, "ascii") if hashes.dtype.kind == "S" else hashes
    except UnicodeDecodeError:
        raise InputError(f"{what}: hexadecimal hashes are expected, got other bytes") from None


def _low_bits(rows: np.ndarray, bits: int, what: str) -> np.ndarray:
    """The lowest bits of rows of bytes as packed codes; raises InputError where others are set."""
    unpacked = np.unpackbits(rows, axis=1, bitorder="little")
    if bits > unpacked.shape[1] or unpacked[:, bits:].any():
        raise InputError(
            f"{what}: hashes of {bits} bits are expected, got {unpacked.shape[1]} bits"
            + ("" if bits > unpacked.shape[1] else f" with some beyond {bits} set")
        )
    return codes.pack(unpacked[:, :bits].astype(bool))


def _check_names(stored: Mapping[str, np.ndarray], file: Path) -> None:
    """Raise InputError where an array is missing, and say where its like may be."""
    missing = [name for name in ARRAYS if name not in stored]
    if not missing:
        return
    missing += [] if "bits" in stored else ["bits"]
    holds = ", ".join(stored) or "nothing"
    record = file.with_suffix("").with_suffix(".json")
    hint = ""
    if missing == list(LABELS) and record.is_file():  # see `records.compact`
        read = f"hashlab.records.read('{record}').codes()"
        hint = f"; its labels lie in another file: {read} gives all"
    raise InputError(f"{file}: {', '.join(missing)} missing; it holds: {holds}{hint}")


def _bits(array: np.ndarray, file: Path) -> int:
    bits = codes.whole(array.reshape(-1)[0]) if array.size == 1 else None
    if not isinstance(bits, int | np.integer) or isinstance(bits, bool | np.bool_):
        raise InputError(f"{file}: bits must be one integer, got {array.dtype} {array.shape}")
    bits = int(bits)
    try:
        codes.check_bits(bits)
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    return bits


def _check_sizes(stored: Mapping[str, np.ndarray], file: Path) -> None:
    """Raise InputError unless there are images on either side, and as many labels."""
    empty = [name for name in ARRAYS if stored[name].size == 0]
    if empty:
        raise InputError(
            f"{file}: {' and '.join(empty)} empty: one image at least is expected on either side"
        )
    for name, labels in zip(CODES, LABELS, strict=True):
        counts = [stored[key].shape[:1] for key in (labels, name)]  # () of a single value
        if all(counts) and counts[0] != counts[1]:
            raise InputError(
                f"{file}: {labels.replace('_', ' ')} must be as many as {name.replace('_', ' ')}, "
                f"got {counts[0][0]} and {counts[1][0]}"
            )


def _check_codes(stored: Mapping[str, np.ndarray], file: Path) -> None:
    """Raise InputError unless codes are rows of numbers."""
    for name in CODES:
        array = stored[name]
        if array.dtype.kind in "US":
            raise InputError(f"{file}: {name} must be numbers, got {array.dtype}")
        if array.ndim != 2:
            raise InputError(
                f"{file}: {name} must have two axes (images, code), got shape {array.shape}"
            )


def _word(stored: Mapping[str, np.ndarray], name: str) -> str | None:
    """The text that an array holds, where there is one."""
    if name not in stored or not stored[name].size:
        return None
    return str(stored[name].reshape(-1)[0])


def as_packed(array: np.ndarray, bits: int, form: str, order: str | None, what: str) -> np.ndarray:
    """Codes in one of `FORMATS` as packed uint8 (N, 8*ceil(bits/64)).

    Raises InputError where they are not in it.
    """
    if order not in (None, "little", "big"):
        raise InputError(f"{what}: bitorder must be little or big, got {order!r}")
    if form == "packed":
        return _repack(array, bits, order, what)
    if form in HASHES:
        raise InputError(
            f"{what}: {form} is one {'text' if form == 'hex' else 'whole number of 64 bits'} an "
            f"item, got {codes.describe(array)}"
        )
    if form not in FORMATS:
        known = ", ".join((*FORMATS, *HASHES))
        raise InputError(f"{what}: format must be one of {known}, got {form!r}")
    low = 0 if form == "bits" else -1
    if array.shape[1] != bits or not _holds_only(array, low, 1):
        given = _described(array)
        raise InputError(f"{what}: {form} must be ({low} or 1) of width {bits}, got {given}")
    return codes.pack(array == 1)


def _holds_only(array: np.ndarray, low: int, high: int) -> bool:
    return bool(((array == low) | (array == high)).all())


def _packed_widths(bits: int) -> tuple[int, int]:
    """Bytes of a packed code: whole bytes, or whole words."""
    return -(-bits // 8), codes.row_bytes(bits)


def _described(array: np.ndarray) -> str:
    values = f", values {array.min()}..{array.max()}" if array.size else ""
    return f"{array.dtype} of width {array.shape[1]}{values}"


def _guess(stored: Mapping[str, np.ndarray], bits: int, file: Path) -> str:
    """The only format that fits both codes; two that fit and differ are an error."""
    fits = [_fits(stored[name], bits, f"{file}: {name}") for name in CODES]
    both = [form for form in FORMATS if all(form in forms for forms in fits)]
    if not both:
        formats = " and ".join(" or ".join(forms) for forms in fits)
        raise InputError(f"{file}: {' and '.join(CODES)} must be of one format, got {formats}")
    if bits > 1 and len(both) > 1:
        raise InputError(
            f"{file}: its codes fit {' and '.join(both)}: add an array `format` that says which"
        )
    return both[0]


def _fits(array: np.ndarray, bits: int, what: str) -> list[str]:
    """The formats that codes may be in."""
    width = array.shape[1]
    in_bytes, in_words = _packed_widths(bits)
    fits = {
        "packed": array.dtype == np.uint8 and width in (in_bytes, in_words),
        "bits": width == bits and _holds_only(array, 0, 1),
        "signs": width == bits and _holds_only(array, -1, 1),
    }
    if array.dtype == np.bool_ and fits["bits"]:
        return ["bits"]
    if not any(fits.values()):
        raise InputError(
            f"{what}: {bits}-bit codes expected, as packed uint8 of width {in_bytes} or {in_words},"
            f" or as 0/1 or -1/+1 of width {bits}; got {_described(array)}"
        )
    return [form for form in FORMATS if fits[form]]


def _repack(array: np.ndarray, bits: int, order: str | None, what: str) -> np.ndarray:
    widths = _packed_widths(bits)
    if array.dtype != np.uint8 or array.shape[1] not in widths:
        raise InputError(
            f"{what}: packed {bits}-bit codes must be uint8 of width {widths[0]},"
            f" got {_described(array)}"
        )
    order = order or "little"
    flat = np.unpackbits(array, axis=1, bitorder=order)
    if flat[:, bits:].any():
        raise InputError(
            f"{what}: bits beyond {bits} are set in {order} bit order; give bits or bitorder right"
        )
    return codes.pack(flat[:, :bits].astype(bool))
