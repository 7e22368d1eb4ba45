"""Bad input of every kind: one sentence that says what was expected and what came, exit 2,
bounded time and memory.

A row is a name, what makes the input, and what must be said. What it makes is words for `hashlab`,
or a function that must raise InputError. Every row runs under limits: a minute of the processor,
and 2 GiB beyond what the process has already.
"""

import contextlib
import hashlib
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bad_own import OWN
from PIL import Image
from processes import PATIENCE, command, run

from hashlab import (
    codes,
    data,
    experiments,
    files,
    grid,
    labels,
    methods,
    metrics,
    networks,
    records,
    search,
    shallow,
)
from hashlab.cli import main
from hashlab.data import batches, folders, prepared
from hashlab.errors import InputError
from hashlab.losses import codebooks, pairs
from hashlab.methods import models
from hashlab.training import checkpoints

SECONDS, BYTES = 60, 2 << 30
RNG = np.random.default_rng(0)
NAN = float("nan")
PACKED = np.zeros((2, 8), np.uint8)
OUTPUTS, OF_TWO = torch.ones(2, 4), torch.tensor([0, 1])  # of two images, and their classes


class TooLong(BaseException):
    """Not an Exception: nothing in between may take it for a damaged file."""


def raise_too_long(*_):
    raise TooLong(f"not done after {SECONDS} s of the processor, or {PATIENCE} s")


@contextlib.contextmanager
def limited(seconds=SECONDS, more=BYTES):
    """At most so many seconds of the processor, and bytes beyond what the process has already."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handlers = {
        number: signal.signal(number, raise_too_long) for number in (signal.SIGPROF, signal.SIGALRM)
    }
    resource.setrlimit(resource.RLIMIT_AS, (used + more, before[1]))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(PATIENCE)  # for what waits, and takes no time of the processor
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


# ---- what rows are made of


def coded(image, kind="PNG", **settings):
    """The bytes of an image file."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        out, kind, **settings
    )
    return out.getvalue()


GREY = RNG.integers(0, 256, (8, 8), np.uint8)
BITS = RNG.integers(0, 2, (6, 12)).astype(bool)
SOUND = {
    "query_codes": codes.pack(BITS[:2])[:, :2],
    "database_codes": codes.pack(BITS)[:, :2],
    "query_labels": np.array([0, 1]),
    "database_labels": np.array([0, 1, 2, 0, 1, 2]),
    "bits": np.int64(12),
}


def archive(members, method=zipfile.ZIP_STORED):
    """The bytes of a zip file with these (name, bytes), in this order."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that stands in it twice
        for name, content in members:
            target.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def npy(array):
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), allow_pickle=True)
    return out.getvalue()


def members(**changes):
    """The members of a file of codes: arrays, or bytes that are taken as they are;
    None leaves one out.
    """
    every = {name: value for name, value in (SOUND | changes).items() if value is not None}
    return [
        (f"{name}.npy", value if isinstance(value, bytes) else npy(value))
        for name, value in every.items()
    ]


def headed(shape, descr="'|u1'", order="False", content=b""):
    """An array whose header says what it likes."""
    header = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@dataclass
class Place:
    """Where a row makes its input, and the sound things that it may spoil."""

    folder: Path
    house: Path

    def file(self, name, content):
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def copy(self, name):
        return Path(shutil.copytree(self.house / name, self.folder / name, symlinks=True))

    @property
    def images(self):
        self.file("images/1.png", coded(GREY))
        return self.folder / "images"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A model of each kind, a set that was put there by hand, and its cache."""
    folder = tmp_path_factory.mktemp("house")
    digits = data.load("digits")
    methods.create("mu_liu", 12, epochs=0, pretrain_epochs=0).fit(digits.train).save(
        folder / "deep"
    )
    for name in ("itq", "ksh", "sh"):
        methods.create(name, 12).fit(digits.train).save(folder / name)
    methods.create("itq", 12, backbone="tiny").fit(digits.train).save(folder / "body")
    for name in ("deep", "itq", "ksh", "sh", "body"):  # what rows spoil is sound
        assert methods.load(folder / name).encode(digits.query.images[:2]).shape == (2, 8)
    write_wide(folder / "wide")
    prepared.prepare(data.info("nuswide21"), folder / "cache", folder / "wide", size=8)
    return folder


def write_wide(folder):
    """NUS-WIDE with a picture for each of 21 concepts."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for i in range(21):
        (folder / "images" / f"{i}.png").write_bytes(coded(np.full((8, 8, 3), i, np.uint8)))
        lines.append(f"images/{i}.png {' '.join('1' if i == j else '0' for j in range(21))}\n")
    (folder / "all.txt").write_text("".join(lines))


# ---- files of codes


def evaluating(content, *words):
    return lambda at: ["evaluate", str(at.file("codes.npz", content)), *words]


def changed(*words, **changes):
    return evaluating(archive(members(**changes)), *words)


def deep_header():
    return headed("(" * 90 + "3," + ")" * 90)


STRUCTURED = np.zeros((2, 2), [("a", "u1"), ("b", "<f4")])
WITH_SUBARRAY = np.zeros(2, [("a", "u1", (2,))])
EVALUATE = {
    "no archive": (
        evaluating(b"no archive"),
        "codes.npz cannot be read as .npz: it is no archive of arrays",
    ),
    "an empty file": (evaluating(b""), "it is no archive of arrays"),
    "an archive of nothing": (
        evaluating(archive([])),
        "query_codes, .* bits missing; it holds: nothing",
    ),
    "one array, no archive": (evaluating(npy(BITS)), "it is no archive of arrays"),
    "half an archive": (evaluating(archive(members())[:-40]), "cannot be read as .npz"),
    "other bytes inside": (
        evaluating(archive(members()).replace(b"NUMPY", b"numpy")),
        "cannot be read as .npz",
    ),
    "text codes": (
        changed(query_codes=np.array([["a"] * 12] * 2)),
        "query_codes must be numbers, got <U1",
    ),
    "bytes codes": (
        changed(database_codes=np.array([[b"a"] * 12] * 6)),
        "database_codes must be numbers, got .S1",
    ),
    "text labels": (
        changed(query_labels=np.array(["cat", "dog"])),
        "query and database labels must be of one kind, got text for queries",
    ),
    "text bits": (changed(bits=np.array("12")), "bits must be one integer, got <U2"),
    "structured codes": (
        changed(query_codes=STRUCTURED),
        "query_codes.* plain numbers or text are expected, got",
    ),
    "structured labels": (
        changed(query_labels=STRUCTURED[0]),
        "query_labels.* plain numbers or text are expected",
    ),
    "structured bits": (
        changed(bits=STRUCTURED[0, :1]),
        "bits.* plain numbers or text are expected",
    ),
    "structured format": (
        changed(format=STRUCTURED[0, :1]),
        "format.* plain numbers or text are expected",
    ),
    "arrays inside of entries": (
        changed(query_codes=WITH_SUBARRAY),
        "plain numbers or text are expected",
    ),
    "objects": (
        changed(query_labels=np.array([None, 1], object)),
        "holds pickled objects, not plain arrays",
    ),
    "dates": (
        changed(query_labels=np.zeros(2, "M8[s]")),
        "query_labels.* plain numbers or text are expected",
    ),
    "spans of time": (
        changed(query_labels=np.zeros(2, "m8[s]")),
        "query_labels.* plain numbers or text are expected",
    ),
    "complex codes": (
        changed(query_codes=np.ones((2, 12), complex)),
        "plain numbers or text are expected, got compl",
    ),
    "void": (changed(query_codes=np.zeros((2, 2), "V3")), "plain numbers or text are expected"),
    "a name twice": (
        evaluating(archive([*members(), members()[0]])),
        "query_codes stands in it twice",
    ),
    "a name with and without its ending": (
        evaluating(archive([*members(), ("query_codes", members()[0][1])])),
        "query_codes is no array",
    ),
    "something else inside": (
        evaluating(archive([*members(), ("README", b"hello")])),
        "README is no array",
    ),
    "a folder inside": (evaluating(archive([*members(), ("more/", b"")])), "more/ is no array"),
    "more announced than is there": (
        changed(query_codes=headed("(2, 2)", content=b"123")),
        r"query_codes.* \(2, 2\) uint8 takes 4 bytes, its file has 3",
    ),
    "less announced than is there": (
        changed(query_codes=headed("(2, 2)", content=b"12345")),
        r"query_codes.* \(2, 2\) uint8 takes 4 bytes, its file has 5",
    ),
    "petabytes announced": (
        changed(query_codes=headed("(1000000000000, 1000)")),
        "query_codes: a shape of at most 8 whole numbers is expected, got .1000000000000, 1000",
    ),
    "beyond 64 bits": (
        changed(query_codes=headed("(99999999999999999999, 2)")),
        "query_codes: a shape of at most 8 whole numbers",
    ),
    "nothing of much": (changed(query_codes=headed(f"(0, {10**30})")), "query_codes"),
    "a negative shape": (changed(query_codes=headed("(-1, 2)")), "query_codes"),
    "a shape of truth": (
        changed(query_codes=headed("(True, 2)", content=b"12")),
        "query_codes|must be as many as",
    ),
    "a shape of halves": (changed(query_codes=headed("(1.5, 2)")), "query_codes"),
    "a shape without end": (
        changed(query_codes=headed("(" + "1, " * 100 + ")", content=b"1")),
        "query_codes",
    ),
    "a deep header": (changed(query_codes=deep_header()), "query_codes"),
    "a header of code": (changed(query_codes=headed("__import__('os').getpid()")), "query_codes"),
    "a header of no type": (
        changed(query_codes=headed("(2, 2)", "'x9'", content=b"1234")),
        "query_codes",
    ),
    "half a header": (changed(query_codes=b"\x93NUMPY\x01\x00\xff\xff{"), "query_codes"),
    "a version to come": (changed(query_codes=b"\x93NUMPY\x09\x00" + npy(BITS)[8:]), "query_codes"),
    "an encrypted member": (
        evaluating(
            archive(members()).replace(
                b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
            )
        ),
        "cannot be read as .npz",
    ),
    "another checksum": (
        evaluating(
            archive(members(), zipfile.ZIP_STORED).replace(
                SOUND["query_codes"].tobytes(), b"\x01\x02\x03\x04"
            )
        ),
        "Bad CRC|bits beyond",
    ),
    "damaged compression": (
        evaluating(
            archive(
                members(query_codes=np.zeros((2, 999), np.uint8)), zipfile.ZIP_DEFLATED
            ).replace(b"\xed\xc0", b"\xff\xff", 1)
        ),
        "cannot be read as .npz|query_codes",
    ),
    "a bomb": (
        lambda at: ["evaluate", str(at.file("codes.npz", bomb()))],
        "takes 5.* bytes unpacked, at most 4.* are read",
    ),
    "no labels": (changed(query_labels=None), "query_labels missing; it holds: "),
    "a billion bits": (
        changed(bits=np.int64(10**9)),
        "bits must be a whole number of at most 65536, got 1000000000",
    ),
    "bits beyond 63": (
        changed(bits=np.uint64(2**63)),
        "bits must be a whole number of at most 65536, got 9223",
    ),
    "no bits": (
        changed(bits=np.int64(0)),
        "bits must be 1 or more|bits must be a whole number of at least 1, got 0",
    ),
    "bits below 0": (changed(bits=np.int64(-3)), "bits must be .*1.*, got -3"),
    "half bits": (changed(bits=np.float64(12.5)), "bits must be one integer, got float64"),
    "two bits": (changed(bits=np.array([12, 12])), r"bits must be one integer, got int64 \(2,\)"),
    "true bits": (changed(bits=np.array(True)), "bits must be one integer, got bool"),
    "no bits at all": (
        changed(bits=np.zeros(0, int)),
        r"bits must be one integer, got int64 \(0,\)",
    ),
    "codes of no image": (
        changed(query_codes=np.zeros((0, 2), np.uint8)),
        "query_codes empty: one image",
    ),
    "codes of no width": (
        changed(query_codes=np.zeros((2, 0), np.uint8)),
        "query_codes empty: one image",
    ),
    "a single code": (
        changed(query_codes=np.zeros(2, np.uint8)),
        r"query_codes must have two axes .* got shape \(2,\)",
    ),
    "cubes of codes": (
        changed(query_codes=np.zeros((2, 2, 2), np.uint8)),
        "query_codes must have two axes",
    ),
    "codes of no axis": (
        changed(query_codes=np.uint8(1)),
        r"query_codes must have two axes .* got shape \(\)",
    ),
    "codes too wide": (
        changed(query_codes=np.zeros((2, 5), np.uint8)),
        "12-bit codes expected.* got uint8 of width 5",
    ),
    "codes of NaN": (
        changed(query_codes=np.full((2, 12), np.nan)),
        "12-bit codes expected.* got float64 of width 12",
    ),
    "codes of threes": (
        changed(query_codes=np.full((2, 12), 3)),
        "12-bit codes expected.* got int64 .* values 3..3",
    ),
    "set bits beyond": (
        changed(query_codes=np.full((2, 2), 255, np.uint8)),
        "bits beyond 12 are set",
    ),
    "a format of no kind": (
        changed(format=np.array("best")),
        "format must be one of packed, bits, signs, hex, integers, got 'best'",
    ),
    "a number for a format": (
        changed(format=np.array(3)),
        "format must be one of packed, bits, signs, hex, integers, got '3'",
    ),
    "an order of no kind": (
        changed(bitorder=np.array("odd")),
        "bitorder must be little or big, got 'odd'",
    ),
    "labels too few": (
        changed(query_labels=np.array([0])),
        "query labels must be as many as query codes, got 1 and 2",
    ),
    "labels below 0": (
        changed(query_labels=np.array([0, -1])),
        "query labels must not be negative, got -1",
    ),
    "half labels": (
        changed(query_labels=np.array([0.5, 1])),
        "query labels must be .* got .* float64",
    ),
    "a table of labels": (changed(query_labels=np.ones((2, 2), int)), "query labels must be"),
    "labels without columns": (
        changed("--relevance", "levels", query_labels=np.zeros((2, 0), int)),
        "query_labels empty: one image",
    ),
    "labels beyond 1": (
        changed(
            "--relevance",
            "shares_label",
            query_labels=np.full((2, 3), 2),
            database_labels=np.ones((6, 3), int),
        ),
        "query labels must be .* of 0 and 1.*, got 2",
    ),
    "no such relevance": (
        changed("--relevance", "taste"),
        "relevance must be one of .*, got 'taste'",
    ),
    "no such convention": (
        changed("--convention", "mine"),
        "convention must be one of .*, got 'mine'",
    ),
    "a cut at none": (changed("--at", "0"), "at must be a whole number in 1..6, .*, got 0"),
    "a cut below none": (changed("--at", "-1"), "at must be a whole number in 1..6, .*, got -1"),
    "a cut beyond": (
        changed("--at", str(10**30)),
        f"at must be a whole number in 1..6, .*, got {10**30}",
    ),
    "a cut in words": (
        changed("--at", "ten"),
        "argument --at: whole numbers .* are expected, got 'ten'; see hashlab evaluate --help",
    ),
    "tables that do not add up": (changed("--tables", "5", "5"), "tables must .*12|add up"),
    "a table of none": (
        changed("--tables", "0", "12"),
        "bits must be a whole number of at least 1, got 0",
    ),
    "a table below none": (
        changed("--tables", "-4", "16"),
        "bits must be a whole number of at least 1, got -4",
    ),
    "a table of billions": (
        changed("--tables", str(10**12)),
        "bits must be a whole number of at most 65536, got 1000000000000",
    ),
    "combined by chance": (
        changed("--tables", "6", "6", "--combine", "luck"),
        "combine must be one of .*, got 'luck'",
    ),
    "weights for nothing": (
        changed("--weights", "1"),
        "weights are given if and only if combine='weighted'",
    ),
    "weights beyond 15": (
        changed("--combine", "weighted", "--weights", "16"),
        "weights must lie in 0..15",
    ),
    "weights beyond 64 bits": (
        changed("--combine", "weighted", "--weights", str(10**30)),
        "weights must be",
    ),
    "weights below 0": (
        changed("--combine", "weighted", "--weights", "-1"),
        "weights must lie in 0..15",
    ),
    "a curve in words": (
        changed("--pr", "curve.txt"),
        "a file name that ends in .png or .* is expected, got curve.txt",
    ),
    "a curve nowhere": (changed("--pr", "nowhere/curve.png"), "nowhere is not a folder"),
}


def bomb():
    """An archive whose members are to be of one GiB each."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, content in members():
            target.writestr(name, content)
        for member in target.infolist():
            member.file_size = 1 << 30  # what the directory says, which is written at the end
    return out.getvalue()


# ---- files that are none: each kind for each reader


def absent(file):
    """Nothing is there."""


def pipe(file):
    os.mkfifo(file)


def endless(file):
    file.symlink_to("/dev/zero")


def folder(file):
    file.mkdir()


def circle(file):
    file.symlink_to(file.name)


def enormous(file):
    with file.open("wb") as out:
        out.truncate(1 << 42)  # a hole of 4 TiB; takes no room


KINDS = {
    absent: "No such file|missing|does not exist|do not exist|not a model|no list files",
    pipe: ".",
    endless: ".",
    folder: ".",
}
KINDS |= {circle: ".", enormous: "."}


def put(kind, file):
    """Put something of a kind where a file is expected."""
    file.unlink(missing_ok=True)
    kind(file)
    return file


def wide_words(at, *words):
    return [
        "data",
        "fetch",
        "nuswide21",
        "--root",
        str(at.folder / "c"),
        "--source",
        str(at.folder / "wide"),
        *words,
    ]


def encode_words(at, model="deep"):
    return ["encode", str(at.folder / model), str(at.images), "-o", str(at.folder / "out.npz")]


def read_codes(at, kind):
    return ["evaluate", str(put(kind, at.folder / "codes.npz"))]


def read_tree(at, kind):
    return run_words("shpdh", tree=put(kind, at.folder / "tree.txt"))(at)


def read_list(at, kind):
    put(kind, at.copy("wide") / "all.txt")
    return wide_words(at)


def read_concepts(at, kind):
    put(kind, at.copy("wide") / "concepts.txt")
    return wide_words(at)


def read_listed_image(at, kind):
    put(kind, at.copy("wide") / "images" / "3.png")
    return wide_words(at)


def read_about(at, kind):
    put(kind, at.copy("cache") / "nuswide21" / "about.json")
    return ["data", "check", "nuswide21", "--root", str(at.folder / "cache")]


def read_cached_images(at, kind):
    put(kind, at.copy("cache") / "nuswide21" / "all_images.npy")
    return ["data", "check", "nuswide21", "--root", str(at.folder / "cache")]


def read_cached_paths(at, kind):
    put(kind, at.copy("cache") / "nuswide21" / "all_paths.txt")
    return ["data", "check", "nuswide21", "--root", str(at.folder / "cache")]


def read_model_note(at, kind):
    put(kind, at.copy("deep") / "model.json")
    return encode_words(at)


def read_model_weights(at, kind):
    put(kind, at.copy("deep") / "model.safetensors")
    return encode_words(at)


def read_image(at, kind):
    paths = [put(kind, at.folder / "x.png")]
    return lambda: list(folders.stream(paths, (8, 8)))


READERS = (
    read_codes,
    read_tree,
    read_list,
    read_concepts,
    read_listed_image,
    read_about,
    read_cached_images,
    read_cached_paths,
    read_model_note,
    read_model_weights,
    read_image,
)
NOT_BAD = {(read_concepts, absent)}  # there need not be any
NO_FILES = {
    f"{reader.__name__}: {kind.__name__}": (lambda at, r=reader, k=kind: r(at, k), said)
    for (reader, (kind, said)) in itertools.product(READERS, KINDS.items())
    if (reader, kind) not in NOT_BAD
}


# ---- words


def words(*argv):
    return lambda at: list(argv)


def run_words(method="mu_liu", dataset="digits", command="run", bits="8", more=(), **settings):
    """The words of a run that must not begin."""
    pairs = [f"{name}={value}" for name, value in settings.items()]
    chosen = ["--set", *pairs] if pairs else []
    return lambda at: [
        command,
        method,
        dataset,
        "--bits",
        bits,
        "--root",
        str(at.folder / "r"),
        *chosen,
        *more,
    ]


HUGE = str(10**23)
NUL = "a\0b"
WORDS = {
    "no such command": (words("fly"), "invalid choice: 'fly'"),
    "no such method": (run_words("magic"), "unknown method 'magic'; expected one of"),
    "a method with NUL": (run_words(NUL), "unknown method"),
    "no method": (run_words(""), "unknown method ''"),
    "no such set": (run_words(dataset="world"), "unknown data set 'world'"),
    "no such protocol": (
        run_words(more=("--protocol", "mine")),
        "unknown protocol 'mine' for digits",
    ),
    "a billion bits": (
        run_words(bits=str(10**9)),
        "bits must be a whole number of at most 4096, got 1000000000",
    ),
    "a billion bits of csq": (
        run_words("csq", bits=str(10**9)),
        "bits must be a whole number of at most 4096",
    ),
    "a billion bits of dpsh": (
        run_words("dpsh", bits=str(10**9)),
        "bits must be a whole number of at most 4096",
    ),
    "a billion bits of lsh": (
        run_words("lsh", bits=str(10**9)),
        "bits must be a whole number of at most 4096",
    ),
    "no bits": (run_words(bits="0"), "bits must be a whole number of at least 1, got 0"),
    "bits below 0": (run_words(bits="-8"), "bits must be a whole number of at least 1, got -8"),
    "bits beyond 64 bits": (
        run_words(bits=HUGE),
        f"bits must be a whole number of at most 4096, got {HUGE}",
    ),
    "bits in words": (run_words(bits="many"), "argument --bits: invalid int value: 'many'"),
    "half bits": (run_words(bits="8.5"), "argument --bits: invalid int value"),
    "bits of a grid": (
        run_words(bits=str(10**9)),
        "bits must be a whole number of at most 4096",
    ),
    "a seed below 0": (
        run_words(more=("--seeds", "-1")),
        r"seed must be an integer in 0\.\.2\*\*32-1, got -1",
    ),
    "a seed too large": (
        run_words(more=("--seeds", HUGE)),
        r"seed must be an integer in 0\.\.2\*\*32-1",
    ),
    "no such device": (run_words(more=("--device", "warp")), "device 'warp' cannot be used"),
    "a device without values": (
        run_words(more=("--device", "meta")),
        "device 'meta' cannot be used",
    ),
    "a device of another kind": (
        run_words(more=("--device", "mkldnn")),
        "device 'mkldnn' cannot be used",
    ),
    "a GPU too many": (run_words(more=("--device", "cuda:99")), "device 'cuda:99' cannot be used"),
    "a device of a grid": (
        run_words(more=("--device", "meta")),
        "device 'meta' cannot be used",
    ),
    "a device with NUL": (run_words(more=("--device", NUL)), "device .* cannot be used"),
    "a setting without value": (
        run_words(more=("--set", "lr")),
        "a setting is written NAME=VALUE, got 'lr'",
    ),
    "a setting without name": (
        run_words(more=("--set", "=3")),
        "a setting is written NAME=VALUE, got '=3'",
    ),
    "a setting twice": (run_words(more=("--set", "lr=1", "lr=2")), "setting lr is given twice"),
    "no such setting": (run_words(speed=3), "unknown setting 'speed' of mu_liu"),
    "a deep setting": (run_words(lr="[" * 9999), "setting lr must be a number"),
    "no device at all": (run_words(more=("--device", "")), "device '' cannot be used"),
    "no file at all": (words("evaluate", ""), "a path of .* is expected, got ''"),
    "no folder of records at all": (words("verify", "--root", ""), "a path of .* is expected"),
    "no folder of a run at all": (run_words(more=("--root", "")), "a path of .* is expected"),
    "no model at all": (run_words(more=("--save-model", "")), "a path of .* is expected"),
    "a file with NUL": (words("evaluate", NUL), "NUL|null"),
    "a record with NUL": (words("verify", "--root", NUL), "NUL|null"),
    "a table with NUL": (words("table", "--root", NUL), "NUL|null"),
    "records with NUL": (lambda at: [*run_words()(at), "--root", NUL], "NUL|null"),
    "a model with NUL": (lambda at: ["encode", NUL, str(at.images), "-o", "c.npz"], "NUL|null"),
    "a folder with NUL": (
        lambda at: ["encode", str(at.copy("deep")), NUL, "-o", "c.npz"],
        "NUL|null",
    ),
    "codes with NUL": (
        lambda at: ["encode", str(at.copy("deep")), str(at.images), "-o", NUL + ".npz"],
        "NUL|null",
    ),
    "a place for a model with NUL": (run_words(more=("--save-model", NUL)), "NUL|null"),
    "a cache with NUL": (words("data", "check", "mnist", "--root", NUL), "NUL|null"),
    "a source with NUL": (words("data", "fetch", "nabirds", "--source", NUL), "NUL|null"),
    "a picture with NUL": (words("data", "show", "digits", "-o", NUL + ".png"), "NUL|null"),
    "weights with NUL": (run_words(weights=NUL), "NUL|null|no such file"),
    "a tree with NUL": (run_words("shpdh", tree=NUL), "NUL|null"),
    "a name too long": (words("evaluate", "a" * 5000 + ".npz"), "name too long"),
    "a folder for a file": (lambda at: ["evaluate", str(at.folder)], "folder|directory"),
    "no such set to fetch": (words("data", "fetch", "world"), "unknown data set 'world'"),
    "no set to fetch": (words("data", "fetch"), "a data set is expected after `data fetch`"),
    "no set to show": (words("data", "show", "world"), "unknown data set 'world'"),
    "a picture of no kind": (
        words("data", "show", "digits", "-o", "x.doc"),
        "a .png file .* is expected, got x.doc",
    ),
    "no such protocol to check": (
        words("data", "check", "digits", "--protocol", "x"),
        "unknown protocol 'x'",
    ),
    "a side of no pixel": (
        words("data", "fetch", "nabirds", "--size", "0"),
        "pixels, 1 or more, is expected, got '0'",
    ),
    "a side of billions": (
        words("data", "fetch", "nabirds", "--size", str(10**9)),
        "pixels.* got '1000000000'",
    ),
    "a side without end": (words("data", "fetch", "nabirds", "--size", "9" * 5000), "pixels"),
    "a side in other figures": (
        words("data", "fetch", "nabirds", "--size", "²"),
        "pixels.* got '²'",
    ),
    "no such fit": (
        lambda at: [*wide_words(at), "--fit", "stretch"] if at.copy("wide") else None,
        "fit must be one of",
    ),
    "a method to explain": (words("methods", "magic"), "unknown method 'magic'"),
    "no records to verify": (lambda at: ["verify", "--root", str(at.folder)], "no records in"),
    "no such record": (lambda at: ["verify", str(at.folder / "x.json")], "x.json: No such file"),
    "a record of text": (
        lambda at: ["verify", str(at.file("x.json", "{"))],
        "x.json is not a record",
    ),
    "a record of a list": (
        lambda at: ["verify", str(at.file("x.json", "[]"))],
        "x.json is not a record",
    ),
    "a record of nothing": (
        lambda at: ["verify", str(at.file("x.json", "{}"))],
        "x.json is not a record: method",
    ),
    "no records to table": (lambda at: ["table", "--root", str(at.folder)], "no such records in"),
    "no such model": (
        lambda at: ["encode", str(at.folder), str(at.images), "-o", "c.npz"],
        "is not a model",
    ),
    "a model on no device": (
        lambda at: [*encode_words(at), "--device", "meta"] if at.copy("deep") else None,
        "device 'meta' cannot be used",
    ),
    "codes nowhere": (
        lambda at: [
            "encode",
            str(at.copy("deep")),
            str(at.images),
            "-o",
            str(at.folder / "x" / "c.npz"),
        ],
        "x is not a folder",
    ),
}


# ---- settings


SETTINGS = {
    f"{method} {name}={value[:12]}": (
        run_words(method, **{name: value}),
        rf"setting {name} must|{name}|unknown backbone",
    )
    for method, name, values in [
        (
            "mu_liu",
            "lr",
            [
                "1e300",
                "-1",
                "NaN",
                "Infinity",
                "1" + "0" * 400,
                "fast",
                "[]",
                "null",
                "true",
                '"1"',
            ],
        ),
        ("mu_liu", "epochs", [HUGE, "-1", "1.5", "1e9", "{}"]),
        ("mu_liu", "pretrain_epochs", [HUGE, "-2"]),
        ("mu_liu", "pretrain_lr", ["1e300"]),
        ("mu_liu", "c", ["1e300", "NaN"]),
        ("mu_liu", "size", ["100000", HUGE, "-8"]),
        ("mu_liu", "crop", ["100000", HUGE]),
        ("mu_liu", "shift", ["100000", HUGE]),
        ("mu_liu", "batch_size", ["0", "1", HUGE, "100000"]),
        ("mu_liu", "momentum", ["2", "1e300"]),
        ("mu_liu", "weight_decay", ["1e300"]),
        ("mu_liu", "clip", ["1e300"]),
        ("mu_liu", "resident_mb", [HUGE]),
        ("mu_liu", "optimiser", ["magic", "3"]),
        ("mu_liu", "precision", ["float8"]),
        ("mu_liu", "backbone", ["magic", "3", NUL]),
        ("mu_liu", "frozen", ["1", "0.5", "yes", "fc", NUL]),
        ("dmsh", "width", ["0", HUGE, str(10**9)]),
        ("dmsh", "fused", [HUGE, str(10**9)]),
        ("hashnet", "stages", ["0", HUGE]),
        ("cnnh", "sweeps", [HUGE]),
        ("dcwh", "every", ["0", HUGE]),
        ("greedyhash", "p", ["1e300"]),
        ("mu_liu", "c", ["1e20"]),
        ("dch", "gamma", ["0", "1e300"]),
        ("dsdh", "mu", ["0"]),
        ("itq", "size", ["100000"]),
        ("itq", "iterations", ["0", HUGE]),
        ("itq", "backbone", ["magic"]),
        ("ksh", "anchors", ["0", HUGE]),
        ("ksh", "gamma", ["1e300", "-1"]),
        ("ksh", "steps", [HUGE]),
        ("sdh", "rounds", ["0", HUGE]),
        ("cosdish", "outer", ["0", HUGE]),
        ("mlsh", "outer", [HUGE]),
    ]
    for value in values
}


# ---- models


def spoiled(model="deep", note=None, tensors=None, facts=None):
    """A model whose note, tensors or facts went through a function;
    the digests fit what is there.
    """

    def make(at):
        target = at.copy(model)
        old, state = checkpoints.unpack((target / "model.safetensors").read_bytes(), "")
        new, said = (
            change(value) if change else value for change, value in ((tensors, old), (facts, state))
        )
        content = checkpoints.pack(new, said)
        (target / "model.safetensors").write_bytes(content)
        summary = json.loads((target / "model.json").read_text())
        summary["sha256"] = hashlib.sha256(content).hexdigest()
        changed = note(summary) if note else summary
        (target / "model.json").write_text(
            changed if isinstance(changed, str) else json.dumps(changed)
        )
        return encode_words(at, model)

    return make


def each(function):
    return lambda tensors: {name: function(tensor) for name, tensor in tensors.items()}


def one(ending, function):
    """Change the tensors whose names end so."""
    return lambda tensors: {
        name: function(t) if name.endswith(ending) else t for name, t in tensors.items()
    }


def nan(tensor):
    return torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else tensor


def with_view(**changes):
    return lambda facts: facts | {"view": facts["view"] | changes}


def with_body(**changes):
    return lambda facts: facts | {"body": facts["body"] | changes}


def but(key):
    return lambda mapping: {name: value for name, value in mapping.items() if name != key}


NESTED = "[" * 100_000 + "]" * 100_000
NOTE = "model.json does not describe a model"
STATE = "model.safetensors"
MODELS = {
    "an empty note": (spoiled(note=lambda s: ""), NOTE),
    "a note of text": (spoiled(note=lambda s: "hello"), NOTE),
    "a note of a list": (spoiled(note=lambda s: []), NOTE),
    "a note of null": (spoiled(note=lambda s: None), NOTE),
    "a deep note": (spoiled(note=lambda s: NESTED), NOTE),
    "deep settings": (spoiled(note=lambda s: json.dumps(s)[:-1] + f', "more": {NESTED}}}'), NOTE),
    "a billion bits": (
        spoiled(note=lambda s: s | {"bits": 10**9}),
        "bits must be a whole number of at most 4096",
    ),
    "no bits": (
        spoiled(note=lambda s: s | {"bits": 0}),
        "bits must be a whole number of at least 1, got 0",
    ),
    "true bits": (spoiled(note=lambda s: s | {"bits": True}), "bits must be|" + NOTE),
    "other bits": (spoiled(note=lambda s: s | {"bits": 16}), STATE),
    "other bits of itq": (spoiled("itq", note=lambda s: s | {"bits": 16}), STATE),
    "no method": (spoiled(note=lambda s: but("method")(s)), NOTE),
    "no such method": (spoiled(note=lambda s: s | {"method": "magic"}), "unknown method 'magic'"),
    "another method": (spoiled(note=lambda s: s | {"method": "itq", "settings": {}}), STATE),
    "another shallow method": (spoiled("itq", note=lambda s: s | {"method": "sh"}), STATE),
    "a deep for a shallow one": (spoiled("itq", note=lambda s: s | {"method": "dsh"}), STATE),
    "no such setting": (
        spoiled(note=lambda s: s | {"settings": {"speed": 3}}),
        "unknown setting 'speed'",
    ),
    "a setting too high": (
        spoiled(note=lambda s: s | {"settings": {"lr": 1e300}}),
        "setting lr must be",
    ),
    "settings of a list": (spoiled(note=lambda s: s | {"settings": []}), NOTE),
    "another digest": (
        spoiled(note=lambda s: s | {"sha256": "0" * 64}),
        "damaged, or of another model",
    ),
    "facts of nothing": (spoiled(facts=lambda f: {}), STATE),
    "facts of a list": (spoiled(facts=lambda f: []), STATE),
    "facts of null": (spoiled(facts=lambda f: None), STATE),
    "facts of text": (spoiled(facts=lambda f: "x"), STATE),
    "facts of nothing for itq": (spoiled("itq", facts=lambda f: {}), STATE),
    "facts of null for itq": (spoiled("itq", facts=lambda f: None), STATE),
    "no backbone": (spoiled(facts=but("backbone")), STATE),
    "no such backbone": (
        spoiled(facts=lambda f: f | {"backbone": "magic"}),
        "unknown backbone 'magic'|" + STATE,
    ),
    "a backbone of null": (spoiled(facts=lambda f: f | {"backbone": None}), STATE),
    "a backbone of a list": (spoiled(facts=lambda f: f | {"backbone": []}), STATE),
    "another backbone": (spoiled(facts=lambda f: f | {"backbone": "lenet"}), "lenet|" + STATE),
    "no view": (spoiled(facts=but("view")), STATE),
    "a view of null": (spoiled(facts=lambda f: f | {"view": None}), STATE),
    "a view of more": (spoiled(facts=with_view(speed=3)), STATE),
    "a view of less": (spoiled(facts=lambda f: f | {"view": but("mean")(f["view"])}), STATE),
    "a view of text": (spoiled(facts=with_view(mean="x")), STATE),
    "a view without mean": (spoiled(facts=with_view(mean=[], std=[])), STATE),
    "a view of texts": (spoiled(facts=with_view(mean=["x"])), STATE),
    "a view of NaN": (spoiled(facts=with_view(mean=[float("nan")])), STATE),
    "a view over 0": (spoiled(facts=with_view(std=[0.0])), STATE),
    "a view of three": (spoiled(facts=with_view(mean=[0.1] * 3, std=[0.1] * 3)), STATE),
    "a view of a thousand": (spoiled(facts=with_view(mean=[0.1] * 1000, std=[0.1] * 1000)), STATE),
    "a view of halves": (spoiled(facts=with_view(height=8.5)), STATE),
    "a view without height": (spoiled(facts=with_view(height=0)), STATE),
    "a huge view": (spoiled(facts=with_view(height=10**9, width=10**9)), STATE),
    "a view that is enlarged": (spoiled(facts=with_view(size=10**6)), STATE),
    "a view that is cut": (spoiled(facts=with_view(crop=10**6)), STATE),
    "no shape": (spoiled(facts=but("shape")), STATE),
    "a shape of null": (spoiled(facts=lambda f: f | {"shape": None}), STATE),
    "a shape of text": (spoiled(facts=lambda f: f | {"shape": "8x8"}), STATE),
    "a shape of nothing": (spoiled(facts=lambda f: f | {"shape": []}), STATE),
    "a huge shape": (spoiled(facts=lambda f: f | {"shape": [10**9, 10**9]}), STATE),
    "another shape": (spoiled(facts=lambda f: f | {"shape": [9, 8]}), STATE),
    "a shape of four channels": (spoiled(facts=lambda f: f | {"shape": [8, 8, 4]}), STATE),
    "a shape below 0": (spoiled(facts=lambda f: f | {"shape": [-8, -8]}), STATE),
    "a huge shape for itq": (spoiled("itq", facts=lambda f: f | {"shape": [10**9, 10**9]}), STATE),
    "another shape for itq": (spoiled("itq", facts=lambda f: f | {"shape": [9, 8]}), STATE),
    "a shape of null for itq": (spoiled("itq", facts=lambda f: f | {"shape": None}), STATE),
    "pixels for a backbone": (spoiled("body", facts=but("body")), STATE),
    "a body of null": (spoiled("body", facts=lambda f: f | {"body": None}), STATE),
    "a body of less": (spoiled("body", facts=with_body(view=None)), STATE),
    "a body without a setting": (spoiled("body", note=lambda s: s | {"settings": {}}), STATE),
    "no tensors": (spoiled(tensors=lambda t: {}), STATE),
    "a tensor less": (spoiled(tensors=lambda t: dict(list(t.items())[1:])), STATE),
    "a tensor more": (spoiled(tensors=lambda t: t | {"more": torch.zeros(1)}), STATE),
    "tensors of another shape": (spoiled(tensors=each(lambda t: t[None])), STATE),
    "whole weights": (spoiled(tensors=each(lambda t: t.long())), STATE),
    "double weights": (
        spoiled(tensors=each(lambda t: t.double() if t.is_floating_point() else t)),
        STATE,
    ),
    "half weights": (
        spoiled(tensors=each(lambda t: t.half() if t.is_floating_point() else t)),
        STATE,
    ),
    "one double weight": (spoiled(tensors=one("head.weight", lambda t: t.double())), STATE),
    "weights of NaN": (spoiled(tensors=each(nan)), STATE),
    "an infinite weight": (spoiled(tensors=one("head.bias", lambda t: t / 0)), STATE),
    "no tensors for itq": (spoiled("itq", tensors=lambda t: {}), STATE),
    "a tensor less for itq": (spoiled("itq", tensors=but("hasher/weights_")), STATE),
    "a tensor more for itq": (
        spoiled("itq", tensors=lambda t: t | {"hasher/fit": torch.zeros(1)}),
        STATE,
    ),
    "a private tensor for itq": (
        spoiled("itq", tensors=lambda t: t | {"hasher/__class_": torch.zeros(1)}),
        STATE,
    ),
    "whole weights for itq": (spoiled("itq", tensors=one("weights_", lambda t: t.long())), STATE),
    "single weights for itq": (spoiled("itq", tensors=one("weights_", lambda t: t.float())), STATE),
    "fewer weights for itq": (
        spoiled("itq", tensors=one("weights_", lambda t: t[:, :3].contiguous())),
        STATE,
    ),
    "flat weights for itq": (spoiled("itq", tensors=one("weights_", lambda t: t.flatten())), STATE),
    "weights of NaN for itq": (spoiled("itq", tensors=one("weights_", nan)), STATE),
    "huge features for itq": (
        spoiled("itq", tensors=one("n_features_in_", lambda t: t * 10**15)),
        STATE,
    ),
    "no features for itq": (spoiled("itq", tensors=one("n_features_in_", lambda t: t * 0)), STATE),
    "a list of features for itq": (
        spoiled("itq", tensors=one("n_features_in_", lambda t: t[None])),
        STATE,
    ),
    "text of a kernel": (spoiled("ksh", tensors=one("gamma_", lambda t: t.long())), STATE),
    "axes that are not there": (spoiled("sh", tensors=one("axis_", lambda t: t + 10**9)), STATE),
    "whole weights of a body": (
        spoiled("body", tensors=one("conv1.0.weight", lambda t: t.long())),
        STATE,
    ),
}


# ---- sets that are put there by hand


def listed_as(text, name="all.txt", *, dataset="nuswide21"):
    def make(at):
        at.copy("wide")
        at.file(f"wide/{name}", text)
        return [word.replace("nuswide21", dataset) for word in wide_words(at)]

    return make


def concept_missing(at):
    """The last concept has no image: the first 20 still stand in the lists."""
    lines = (at.copy("wide") / "all.txt").read_text().splitlines()
    (at.folder / "wide" / "all.txt").write_text("\n".join(lines[:-1]))
    prepared.prepare(data.info("nuswide21"), at.folder / "c", at.folder / "wide", size=8)
    return ["data", "check", "nuswide21", "--root", str(at.folder / "c")]


def noted(change):
    """The prepared cache, its about.json changed by a function; or loaded as text."""

    def make(at):
        file = at.copy("cache") / "nuswide21" / "about.json"
        new = change(json.loads(file.read_text()))
        file.write_text(new if isinstance(new, str) else json.dumps(new))
        return ["data", "check", "nuswide21", "--root", str(at.folder / "cache")]

    return make


def in_set(**changes):
    return noted(lambda note: note | {"set": note["set"] | changes})


def cached(name, content):
    def make(at):
        at.copy("cache")
        at.file(f"cache/nuswide21/{name}", content)
        return ["data", "check", "nuswide21", "--root", str(at.folder / "cache")]

    return make


def birds(**changes):
    """A made NABirds with one file changed."""
    texts = {
        "images": "a a.png\nb b.png\n",
        "image_class_labels": "a 3\nb 4\n",
        "train_test_split": "a 1\nb 0\n",
        "classes": "0 all\n1 one\n2 two\n3 three\n4 four\n",
        "hierarchy": "3 1\n4 2\n1 0\n2 0\n",
    } | changes

    def make(at):
        for name, text in texts.items():
            if text is not None:
                at.file(f"birds/{name}.txt", text)
        for name in "ab":
            at.file(f"birds/images/{name}.png", coded(GREY))
        return [
            "data",
            "fetch",
            "nabirds",
            "--root",
            str(at.folder / "c"),
            "--source",
            str(at.folder / "birds"),
        ]

    return make


ROW = "images/1.png " + "0 " * 21 + "\n"
DAMAGED = r"about\.json is damaged"
SETS = {
    "a concept without an image": (
        concept_missing,
        "class 20: 100 images wanted, 0 there|concept|class 0: 100 images",
    ),
    "an empty list": (listed_as(""), "all.txt is empty"),
    "a list of bytes": (listed_as(b"\xff\xfe"), "is not a text file"),
    "a list of NUL": (listed_as(ROW.replace("1.png", "\0.png")), "NUL|do not exist|null"),
    "a short row": (
        listed_as("images/1.png 0 1\n"),
        "line 1: a path and 21 labels of 0 or 1 are expected, got 2",
    ),
    "a long row": (listed_as(ROW.replace("0 ", "0 0 ")), "line 1: .* got 42"),
    "other values": (listed_as(ROW.replace("0 ", "2 ")), "line 1: .* got 0"),
    "an image outside": (listed_as(ROW.replace("images/", "../")), "outside of the folder"),
    "an image from the root": (listed_as(ROW.replace("images/", "/etc/")), "outside of the folder"),
    "images missing": (
        listed_as(ROW.replace("1.png", "gone.png")),
        "1 of 1 listed images do not exist",
    ),
    "a line without end": (listed_as("a" * 10**6 + " " + "0 " * 21), "do not exist"),
    "concepts too few": (
        listed_as("a\nb\n", "concepts.txt"),
        "21 names are expected, one a line, got 2",
    ),
    "lists missing": (listed_as("", dataset="nuswide81"), "test.txt is missing"),
    "about.json of nothing": (noted(lambda n: ""), DAMAGED),
    "about.json of a list": (noted(lambda n: []), DAMAGED),
    "about.json of null": (noted(lambda n: None), DAMAGED),
    "a deep about.json": (noted(lambda n: NESTED), DAMAGED),
    "deep classes": (in_set(classes=json.loads("[" * 500 + "]" * 500)), DAMAGED),
    "unknown fields": (in_set(speed=3), DAMAGED),
    "a field of ours": (in_set(by_hand="", embedded=True), DAMAGED),
    "no set": (noted(but("set")), DAMAGED),
    "no plan": (noted(but("plan")), DAMAGED),
    "a set of a list": (noted(lambda n: n | {"set": []}), DAMAGED),
    "no counts": (noted(lambda n: n | {"set": but("counts")(n["set"])}), DAMAGED),
    "no skipped": (noted(but("skipped")), DAMAGED),
    "skipped of null": (noted(lambda n: n | {"skipped": None}), DAMAGED),
    "counts of a list": (in_set(counts=[]), DAMAGED),
    "counts of text": (in_set(counts={"all": "21"}), DAMAGED),
    "counts of nothing": (in_set(counts={}), DAMAGED),
    "counts below 0": (in_set(counts={"all": -1}), DAMAGED),
    "other counts": (in_set(counts={"all": 20}), "about.json|altered|damaged"),
    "another split": (in_set(counts={"../all": 21}), "about.json|altered|damaged|missing"),
    "a shape of null": (in_set(shape=None), DAMAGED),
    "a shape of text": (in_set(shape="8"), DAMAGED),
    "a huge shape": (in_set(shape=[10**9, 10**9, 3]), "altered|damaged"),
    "fingerprints of null": (in_set(fingerprints=None), DAMAGED),
    "fingerprints of nothing": (in_set(fingerprints={}), DAMAGED),
    "classes of numbers": (in_set(classes=3), DAMAGED),
    "pixels of null": (in_set(pixels=None), DAMAGED),
    "a tree of text": (in_set(tree="x"), DAMAGED),
    "images of text": (cached("all_images.npy", b"hello"), "all_images.npy cannot be read"),
    "images of floats": (
        cached("all_images.npy", npy(np.zeros((21, 8, 8, 3)))),
        "do not fit together|uint8",
    ),
    "images too few": (
        cached("all_images.npy", npy(np.zeros((2, 8, 8, 3), np.uint8))),
        "do not fit together",
    ),
    "images of no axis": (cached("all_images.npy", npy(np.uint8(3))), "do not fit together|axes"),
    "images of objects": (cached("all_images.npy", npy(np.array([None] * 21))), "cannot be read"),
    "images announced": (
        cached("all_images.npy", headed(f"({10**12}, 8, 8, 3)")),
        "cannot be read",
    ),
    "images beyond": (cached("all_images.npy", headed(f"({10**30}, 8, 8, 3)")), "cannot be read"),
    "labels of text": (
        cached("all_labels.npy", npy(np.array(["a"] * 21))),
        "do not fit together|labels",
    ),
    "labels of floats": (
        cached("all_labels.npy", npy(np.full((21, 21), 0.5))),
        "do not fit together|altered|labels",
    ),
    "labels of no axis": (cached("all_labels.npy", npy(3)), "do not fit together|labels"),
    "digests of no axis": (cached("all_digests.npy", npy(np.uint8(3))), "do not fit together"),
    "digests of floats": (
        cached("all_digests.npy", npy(np.ones((21, 2, 32)))),
        "do not fit together|altered",
    ),
    "paths of bytes": (cached("all_paths.txt", b"\xff\xfe"), "all_paths.txt cannot be read"),
    "birds without images": (birds(images=None), "images.txt is missing"),
    "a ragged row of birds": (birds(images="a\n"), "line 1: two columns are expected, got 'a'"),
    "birds in a circle": (birds(hierarchy="3 1\n1 3\n4 2\n2 0\n"), "circle"),
    "birds of two roots": (birds(hierarchy="3 1\n4 2\n"), "2 roots"),
    "birds of no class": (birds(image_class_labels="a 3\nb 9\n"), "class 9, which is no leaf"),
    "birds of half a class": (
        birds(image_class_labels="a 3\nb x\n"),
        "a class is a whole number, got 'x'",
    ),
    "birds of a long class": (
        birds(hierarchy="3 1\n" + "9" * 5000 + " 2\n1 0\n2 0\n"),
        "whole number",
    ),
    "birds of odd figures": (birds(hierarchy="3 1\n² 2\n1 0\n2 0\n"), "whole number, got '²'"),
    "birds without a name": (birds(classes="0 all\n"), "no name for class"),
    "birds of another split": (birds(train_test_split="a 1\nb 2\n"), "0 or 1 is expected, got 2"),
    "birds all trained": (birds(train_test_split="a 1\nb 1\n"), "no test image"),
    "birds listed twice": (birds(images="a a.png\na b.png\n"), "a is listed a second time"),
}


# ---- images


def picture(name, content):
    return lambda at: (at.copy("deep"), at.file(f"images/{name}", content), encode_words(at))[2]


def chunk(kind, content):
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def announced(width, height):
    """A PNG that says how large it is, and holds next to nothing."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", b"x\x9c\x03\x00\x00\x00\x00\x01")
        + chunk(b"IEND", b"")
    )


IMAGES = {
    "an empty picture": (picture("2.png", b""), "2.png: the file is empty"),
    "a picture of text": (picture("2.png", "hello"), "2.png: not an image"),
    "half a picture": (picture("2.png", coded(GREY)[:60]), "2.png: the image is damaged"),
    "half a photograph": (picture("2.jpg", coded(GREY, "JPEG")[:300]), "2.jpg: "),
    "too many pixels": (
        picture("2.png", announced(10_000, 10_000)),
        "2.png: .* more than the 89,000,000 pixels",
    ),
    "pixels beyond Pillow's limit": (
        picture("2.png", announced(60_000, 60_000)),
        "2.png: .* more than the 89,000,000",
    ),
    "pixels without end": (
        picture("2.png", announced(2**31 - 1, 2**31 - 1)),
        "2.png: .* more than the 89,000,000",
    ),
    "pixels that never come": (
        picture("2.png", announced(9_000, 9_000)),
        "2.png: the image is damaged",
    ),
    "no pixels": (picture("2.png", announced(0, 8)), "2.png: "),
    "real numbers": (
        picture("2.tif", coded(np.ones((4, 4), np.float32), "TIFF")),
        "2.tif: .* 8 or 16 bits",
    ),
    "a folder without images": (
        lambda at: ["encode", str(at.copy("deep")), str(at.copy("wide") / "none"), "-o", "c.npz"],
        "none is not a folder",
    ),
}


# ---- functions


def python(function):
    """A row whose function needs no file."""
    return lambda at: function


def on_digits(function):
    return lambda at: lambda: function(data.load("digits"))


def train_on(images, labels, name="dpsh", **settings):
    def make(at):
        method = methods.create(
            name,
            8,
            **({} if name in methods.SHALLOW else {"epochs": 1, "batch_size": 4}),
            **settings,
        )
        return lambda: method.fit(SimpleNamespace(images=images, labels=labels))

    return make


def model_encodes(images, name="deep"):
    return lambda at: lambda: methods.load(at.house / name).encode(images)


def evaluated(**changes):
    packed = {"query_codes": codes.pack(BITS[:2]), "database_codes": codes.pack(BITS), "bits": 12}
    call = {key: SOUND[key] for key in files.ARRAYS[2:]} | packed | changes
    return python(lambda: metrics.evaluate(**call))


META = {"device": "meta", "dtype": torch.uint8}
SPARSE = torch.eye(8, dtype=torch.uint8).to_sparse()
COLOUR = RNG.integers(0, 256, (12, 8, 8, 3), np.uint8)
CLASSES = np.arange(12) % 3
PYTHON = {
    "pack meta": (
        python(lambda: codes.pack(torch.empty(2, 8, device="meta", dtype=torch.bool))),
        r"bool with K >= 1, got .* on meta",
    ),
    "pack sparse": (python(lambda: codes.pack(SPARSE.bool())), "bool with K >= 1, got"),
    "pack numbers": (
        python(lambda: codes.pack(np.full((2, 8), 2.0))),
        r"0/1, -1/\+1 or bool, got \(2, 8\) float64",
    ),
    "pack a list": (python(lambda: codes.pack([[True]])), "bool with K >= 1, got list"),
    "pack nothing": (python(lambda: codes.pack(None)), "bool with K >= 1, got NoneType"),
    "pack no column": (python(lambda: codes.pack(np.zeros((2, 0), bool))), "bool with K >= 1"),
    "binarize meta": (
        python(lambda: codes.binarize(torch.empty(2, 8, device="meta"))),
        "real numbers, got .* on meta",
    ),
    "binarize sparse": (python(lambda: codes.binarize(SPARSE.float())), "real numbers, got"),
    "binarize NaN": (python(lambda: codes.binarize(np.full((2, 2), np.nan))), "got NaN"),
    "binarize text": (python(lambda: codes.binarize(np.array([["a"]]))), "real numbers, got"),
    "binarize complex": (
        python(lambda: codes.binarize(np.ones((2, 2), complex))),
        "real numbers, got",
    ),
    "unpack meta": (
        python(lambda: codes.unpack(torch.empty(2, 8, **META), bits=8)),
        "uint8, got .* on meta",
    ),
    "unpack a billion": (
        python(lambda: codes.unpack(codes.pack(BITS), bits=10**9)),
        "at most 65536, got 1000000000",
    ),
    "unpack half": (
        python(lambda: codes.unpack(codes.pack(BITS), bits=2.5)),
        "whole number of at least 1, got 2.5",
    ),
    "unpack other bits": (python(lambda: codes.unpack(codes.pack(BITS), bits=99)), "uint8, got"),
    "trim meta": (
        python(lambda: codes.trim(torch.empty(2, 8, **META), bits=8)),
        "uint8, got .* on meta",
    ),
    "pad meta": (
        python(lambda: codes.pad(torch.empty(2, 1, **META), bits=8)),
        "uint8, got .* on meta",
    ),
    "pad a billion": (
        python(lambda: codes.pad(np.zeros((2, 1), np.uint8), bits=10**9)),
        "at most 65536",
    ),
    "hamming meta": (
        python(lambda: codes.hamming(torch.empty(2, 8, **META), torch.empty(2, 8, **META))),
        "uint8, got .* on meta",
    ),
    "hamming of two kinds": (
        python(lambda: codes.hamming(codes.pack(BITS), torch.zeros(2, 8, dtype=torch.uint8))),
        "one kind and width",
    ),
    "hamming of two widths": (
        python(lambda: codes.hamming(np.zeros((1, 8), np.uint8), np.zeros((1, 16), np.uint8))),
        "one kind and width",
    ),
    "hamming of none": (python(lambda: codes.hamming(None, None)), "uint8, got NoneType"),
    "tables of a billion": (python(lambda: codes.check_tables(10**9, [10**9])), "at most 65536"),
    "tables of text": (python(lambda: codes.check_tables(12, "66")), "tables"),
    "tables of a number": (python(lambda: codes.check_tables(12, 12)), "tables"),
    "evaluate meta": (
        evaluated(query_codes=torch.empty(2, 8, **META), database_codes=torch.empty(6, 8, **META)),
        "on meta",
    ),
    "evaluate sparse": (evaluated(query_codes=SPARSE, database_codes=SPARSE), "uint8, got"),
    "evaluate meta labels": (
        evaluated(query_labels=torch.empty(2, device="meta", dtype=torch.int64)),
        "meta",
    ),
    "evaluate sparse labels": (
        evaluated(query_labels=torch.ones(2, dtype=torch.int64).to_sparse()),
        "sparse",
    ),
    "evaluate a union of billions": (
        evaluated(
            query_codes=np.zeros((2, 8192), np.uint8),
            database_codes=np.zeros((6, 8192), np.uint8),
            bits=65_536,
            tables=(32_768, 32_768),
            combine="union",
        ),
        "at most 4194304 counts a query",
    ),
    "evaluate a billion bits": (
        evaluated(bits=10**9),
        "bits must be a whole number of at most 65536",
    ),
    "evaluate no bits": (
        evaluated(bits=None),
        "bits must be given: packed codes",
    ),
    "evaluate lists": (
        evaluated(query_codes=[[1]]),
        "query codes must be a NumPy array or a tensor, got list",
    ),
    "evaluate no codes": (
        evaluated(query_codes=np.zeros((0, 8), np.uint8), query_labels=np.zeros(0, int)),
        "query codes must not be empty",
    ),
    "evaluate labels of null": (evaluated(query_labels=None), "query labels must be"),
    "evaluate ragged labels": (
        evaluated(query_labels=[[0], [0, 1]], relevance="levels"),
        "rows of one length",
    ),
    "evaluate a cut of halves": (evaluated(at=1.5), "at must be a whole number in 1..6"),
    "evaluate cuts of none": (evaluated(cutoffs=[]), "cutoffs must be a sequence of ranks"),
    "distances of NaN": (
        python(lambda: metrics.evaluate_distances(np.full((2, 6), np.nan), [0, 1], [0] * 6)),
        "got NaN",
    ),
    "distances of meta": (
        python(
            lambda: metrics.evaluate_distances(torch.empty(2, 6, device="meta"), [0, 1], [0] * 6)
        ),
        "meta",
    ),
    "distances of text": (
        python(lambda: metrics.evaluate_distances("near", [0, 1], [0] * 6)),
        "distances must be",
    ),
    "load no set": (python(lambda: data.load("world")), "unknown data set 'world'"),
    "load None": (
        python(lambda: data.load(None)),
        "unknown data set None",
    ),
    "load a list": (python(lambda: data.load(["digits"])), "unknown data set"),
    "load a protocol of a list": (
        python(lambda: data.load("digits", protocol=["digits"])),
        "unknown protocol",
    ),
    "load with NUL": (python(lambda: data.load("mnist", root=NUL)), "not in the cache|NUL|null"),
    "take beyond": (
        on_digits(lambda d: d.query.take(np.array([10**6]))),
        r"in 0\.\.299.* got 1000000",
    ),
    "take below": (on_digits(lambda d: d.query.take(np.array([-1]))), r"in 0\.\.299.* got -1"),
    "take halves": (
        on_digits(lambda d: d.query.take(np.array([0.5]))),
        "rows must be .* integers.* got",
    ),
    "take a table": (
        on_digits(lambda d: d.query.take(np.zeros((2, 2), int))),
        "rows must be .* integers.* got",
    ),
    "take text": (on_digits(lambda d: d.query.take("all")), "rows must be .* integers.* got"),
    "take none": (on_digits(lambda d: d.query.take(None)), "rows must be .* integers.* got"),
    "part beyond": (
        on_digits(lambda d: d.query.pool.part(np.array([10**6]))),
        r"in 0\.\.1796.* got 1000000",
    ),
    "gather beyond": (
        on_digits(lambda d: d.query.pool.gather(np.array([1797]))),
        r"in 0\.\.1796.* got 1797",
    ),
    "gather below": (
        on_digits(lambda d: d.query.pool.gather(np.array([-1]))),
        r"in 0\.\.1796.* got -1",
    ),
    "stored beyond": (
        python(lambda: batches.stored(COLOUR).take(np.array([12]))),
        r"in 0\.\.11.* got 12",
    ),
    "blocks of none": (
        on_digits(lambda d: list(d.query.blocks(0))),
        "a block holds 1 image or more, got 0",
    ),
    "stored blocks of none": (
        python(lambda: list(batches.stored(COLOUR).blocks(0))),
        "a block holds 1 image or more, got 0",
    ),
    "create nothing": (python(lambda: methods.create(None, 8)), "unknown method None"),
    "create a list": (python(lambda: methods.create(["itq"], 8)), "unknown method"),
    "create a billion": (
        python(lambda: methods.create("itq", 10**9)),
        "bits must be a whole number of at most 4096",
    ),
    "create half": (
        python(lambda: methods.create("itq", 8.5)),
        "bits must be a whole number of at least 1, got 8.5",
    ),
    "create true": (
        python(lambda: methods.create("itq", True)),
        "bits must be a whole number of at least 1, got True",
    ),
    "create text": (
        python(lambda: methods.create("itq", "8")),
        "bits must be a whole number of at least 1, got '8'",
    ),
    "create a setting of 1e300": (
        python(lambda: methods.create("dch", 8, gamma=1e300)),
        "setting gamma must be",
    ),
    "create an array setting": (
        python(lambda: methods.create("dch", 8, gamma=np.ones(2))),
        "setting gamma must be",
    ),
    "fit nothing": (
        python(lambda: methods.create("dpsh", 8).fit(None)),
        "images and labels|NoneType",
    ),
    "fit nothing with itq": (
        python(lambda: methods.create("itq", 8).fit(None)),
        "images and labels|NoneType",
    ),
    "fit no image": (train_on(COLOUR[:0], CLASSES[:0]), "one image at least is expected, got none"),
    "fit no image with itq": (
        train_on(COLOUR[:0], CLASSES[:0], "itq"),
        "one image at least is expected, got none",
    ),
    "fit an empty part": (
        on_digits(lambda d: methods.create("dpsh", 8).fit(d.train.pool.part(np.arange(0)))),
        "one image at least is expected",
    ),
    "fit an empty part with itq": (
        on_digits(lambda d: methods.create("itq", 8).fit(d.train.pool.part(np.arange(0)))),
        "one image at least is expected",
    ),
    "fit four channels": (
        train_on(COLOUR[..., [0, 1, 2, 0]], CLASSES),
        r"\(N, H, W\) or \(N, H, W, 3\), got \(12, 8, 8, 4\) uint8",
    ),
    "fit four channels with itq": (
        train_on(COLOUR[..., [0, 1, 2, 0]], CLASSES, "itq"),
        r"got \(12, 8, 8, 4\) uint8",
    ),
    "fit one channel apart": (train_on(COLOUR[..., :1], CLASSES), r"got \(12, 8, 8, 1\) uint8"),
    "fit two channels": (train_on(COLOUR[..., :2], CLASSES), r"got \(12, 8, 8, 2\) uint8"),
    "fit no channel": (train_on(COLOUR[..., :0], CLASSES), r"got \(12, 8, 8, 0\) uint8"),
    "fit no pixel": (train_on(COLOUR[:, :0], CLASSES), r"got \(12, 0, 8, 3\) uint8"),
    "fit no pixel with itq": (
        train_on(COLOUR[:, :0], CLASSES, "itq"),
        r"got \(12, 0, 8, 3\) uint8",
    ),
    "fit floats": (
        train_on(COLOUR / 255, CLASSES),
        r"images must be uint8 .*, got \(12, 8, 8, 3\) float64",
    ),
    "fit tensors": (
        train_on(torch.zeros(12, 8, 8, dtype=torch.uint8), CLASSES),
        "images must be uint8 .*, got",
    ),
    "fit meta": (train_on(torch.empty(12, 8, 8, **META), CLASSES), "images must be uint8 .*, got"),
    "fit meta labels": (
        train_on(COLOUR, torch.empty(12, device="meta", dtype=torch.int64)),
        "meta",
    ),
    "fit sparse labels": (
        train_on(COLOUR, torch.ones(12, dtype=torch.int64).to_sparse()),
        "sparse",
    ),
    "fit ragged labels": (train_on(COLOUR, [[0]] * 11 + [[0, 1]]), "one length"),
    "fit labels of null": (train_on(COLOUR, None), "labels must be"),
    "fit labels of null with ksh": (train_on(COLOUR, None, "ksh"), "requires y|labels must be"),
    "fit labels too few": (
        train_on(COLOUR, CLASSES[:5]),
        r"labels must be \(12,\) classes or .*, got \(5,\) int64",
    ),
    "fit one class": (
        train_on(COLOUR, CLASSES * 0),
        "labels must be of two classes at least",
    ),
    "fit one class of text": (train_on(COLOUR, np.array(["a"] * 12)), "of two classes at least"),
    "fit on no device": (
        on_digits(lambda d: methods.create("itq", 8).fit(d.train, device="meta")),
        "device 'meta' cannot be used",
    ),
    "fit on a number": (
        on_digits(lambda d: methods.create("itq", 8).fit(d.train, device=3.5)),
        "device 3.5 cannot be used",
    ),
    "fit a seed of text": (
        on_digits(lambda d: methods.create("dpsh", 8).fit(d.train, seed="1")),
        "seed must be an integer",
    ),
    "fit a seed of text with itq": (
        on_digits(lambda d: methods.create("itq", 8).fit(d.train, seed="1")),
        "seed must be an integer",
    ),
    "fit what cannot be solved for": (
        train_on(COLOUR, CLASSES, "dsdh", nu=0.0),
        "codes do not decide the classifier at nu/mu = 0; try a higher nu",
    ),
    "encode before fit": (
        python(lambda: methods.create("itq", 8).encode(COLOUR)),
        "not fitted yet",
    ),
    "encode no image": (model_encodes(GREY[None][:0]), "one image at least is expected, got none"),
    "encode no image with itq": (
        model_encodes(GREY[None][:0], "itq"),
        "one image at least is expected, got none",
    ),
    "encode another shape": (
        lambda at: lambda: methods.load(at.house / "deep").encode(data.load("digit_scenes").query),
        r"images of \(8, 8\) expected, as in training, got \(16, 16\)",
    ),
    "encode meta": (model_encodes(torch.empty(2, 8, 8, **META)), "images must be uint8"),
    "encode nothing": (model_encodes(None), "images must be uint8 .*, got NoneType"),
    "encode an empty part": (
        lambda at: (
            lambda: methods.load(at.house / "deep").encode(
                data.load("digits").query.pool.part(np.arange(0))
            )
        ),
        "one image at least",
    ),
    "load a model of nothing": (lambda at: lambda: methods.load(at.folder / "x"), "is not a model"),
    "load a model with NUL": (python(lambda: methods.load(NUL)), "NUL|null"),
    "run nothing": (python(lambda: experiments.run(None, "digits", 8)), "unknown method None"),
    "run on nothing": (
        python(lambda: experiments.run("itq", None, 8)),
        "the name of a data set, or one, is expected, got NoneType",
    ),
    "run text bits": (
        python(lambda: experiments.run("itq", "digits", "8")),
        "bits must be a whole number",
    ),
    "run a seed of text": (
        python(lambda: experiments.run("itq", "digits", 8, seed="0")),
        "seed must be an integer",
    ),
    "run with NUL": (
        python(lambda: experiments.run("itq", "digits", 8, root=NUL, save=True)),
        "NUL|null",
    ),
    "save with NUL": (
        python(lambda: experiments.run("itq", "digits", 8, save_model=NUL)),
        "NUL|null",
    ),
    "run in a file": (
        lambda at: lambda: experiments.run("itq", "digits", 8, root=at.file("r", b""), save=True),
        "is a file; a folder is expected",
    ),
    "run a set under another protocol": (
        python(lambda: experiments.run("lsh", data.load("digits"), 8, protocol="digits-unseen")),
        "this one is split already as digits; got 'digits-unseen'",
    ),
    "plan one length": (
        python(lambda: experiments.plan(["lsh"], "digits", 16)),
        r"bits must be several, as \[16\], got 16",
    ),
    "plan one name": (
        python(lambda: experiments.plan("lsh", "digits", [16])),
        "names must be several, as",
    ),
    "the best of a run that is not kept": (
        python(lambda: grid.unseen(experiments.run("lsh", "digits", 8, tuning=True))),
        "was not read from a file",
    ),
    "classes of text and gaps": (
        python(lambda: labels.ranked(["cat", float("nan"), "dog"])),
        "labels must be all text or none of it, got nan beside text",
    ),
    "classes of text and numbers": (
        python(lambda: labels.ranked(["cat", 1])),
        "must be all text or none of it, got 1 beside text",
    ),
    "a set of text and gaps": (
        python(lambda: data.from_arrays(features=RNG.random((6, 3)), labels=["a", "b", None] * 2)),
        "whole numbers or text|all text or none of it",
    ),
    "scores of text and True": (
        python(lambda: metrics.evaluate(PACKED, PACKED, ["x", True], ["x", "y"], bits=8)),
        "must be all text or none of it, got True beside text",
    ),
    "save to an address": (
        python(lambda: search.Index(8).save("milvus:codes.db")),
        "milvus:codes.db is an address: open_index opens it",
    ),
    "edit an address": (
        python(lambda: search.edit("milvus:http://localhost:19530/x", bits=8).__enter__()),
        "is an address: open_index opens it",
    ),
    "a matrix of six": (
        python(lambda: codebooks.hadamard(6)),
        "bits must be a power of two, got 6",
    ),
    "a matrix of nothing": (
        python(lambda: codebooks.hadamard(0)),
        "bits must be a power of two, got 0",
    ),
    "another mean over pairs": (
        python(lambda: pairs.mean(OUTPUTS, OUTPUTS > 0, balance="half")),
        "balance must be one of none, halves, got 'half'",
    ),
    **{
        f"a network with mean {mean} and std {std}": (
            python(lambda mean=mean, std=std: networks.register("x", len, mean=mean, std=std)),
            "mean and std must be as many finite numbers, a channel each, std above 0; got",
        )
        for mean, std in [([0.5], [0.5, 0.5]), ([0.5], [0]), ([NAN], [1]), ([], []), (0.5, 0.5)]
    },
    "read codes with NUL": (python(lambda: files.read_codes(NUL)), "NUL|null"),
    "read no codes": (lambda at: lambda: files.read_codes(at.folder / "x.npz"), "No such file"),
    "arrays of nothing": (python(lambda: files.arrays(b"", Path("x"))), "x cannot be read as .npz"),
    "tables of another sum": (
        python(lambda: files.split_tables(codes.pack(BITS), 12, (5, 5))),
        "tables",
    ),
    "records of nothing": (lambda at: lambda: records.read(at.folder / "x.json"), "No such file"),
    "a record of text": (
        lambda at: lambda: records.read(at.file("x.json", "{")),
        "is not a record",
    ),
    "encode a folder with NUL": (
        lambda at: (
            lambda: models.encode_folder(methods.load(at.house / "deep"), NUL, at.folder / "c.npz")
        ),
        "NUL|null",
    ),
    "files with NUL": (python(lambda: folders.files(NUL)), "NUL|null"),
    "decode nothing": (python(lambda: folders.decode(b"", (8, 8))), "the file is empty"),
    "decode to no shape": (
        python(lambda: folders.decode(coded(GREY), (0, 8))),
        "shape of an image",
    ),
    "decode to a huge shape": (
        python(lambda: folders.decode(coded(GREY), (10**6, 10**6))),
        "shape of an image",
    ),
    "decode to four channels": (
        python(lambda: folders.decode(coded(GREY), (8, 8, 4))),
        "shape of an image",
    ),
    "stream to text": (python(lambda: folders.stream([], "8x8")), "shape of an image"),
    "stream to nothing": (python(lambda: folders.stream([], None)), "shape of an image"),
    "itq of text": (
        python(lambda: shallow.ITQ(bits=8).fit(np.array([["a"] * 9] * 12))),
        "features|could not convert",
    ),
    "itq of NaN": (
        python(lambda: shallow.ITQ(bits=8).fit(np.full((12, 9), np.nan))),
        "features must be finite",
    ),
    "itq of a billion": (
        python(lambda: shallow.ITQ(bits=10**9).fit(RNG.random((12, 9)))),
        "at most 65536",
    ),
    "itq of meta": (
        python(lambda: shallow.ITQ(bits=2).fit(torch.empty(12, 9, device="meta"))),
        "meta",
    ),
}


def csv_of(text, *words, name="table.csv"):
    return lambda at: ["evaluate", str(at.file(name, text)), *words]


FORMS = {
    "no file": (words("evaluate"), "a file is expected, or --query-codes, .*; got none"),
    "a text": (csv_of("codes", name="codes.txt"), "one of .npz, .npy, .mat, .pt, .csv is expected"),
    "no suffix": (csv_of("codes", name="codes"), "one of .npz, .npy, .mat, .pt, .csv is expected"),
    "an empty table": (csv_of(""), "rows are expected, it is empty"),
    "a table of names": (csv_of("side,code,label\n"), "rows are expected below its names"),
    "a ragged table": (csv_of("1,0\n1\n"), "row 2 has 1 cells, 2 are expected"),
    "a table of bytes": (csv_of(b"\xff\xfe\x00"), "cannot be read as .csv"),
    "an open quotation": (csv_of('"1,0\n'), "cannot be read as .csv"),
    "another side": (csv_of("side,code,label\nleft,ff,1\n"), "side must be query or database"),
    "one side": (csv_of("side,code,label\nquery,ff,1\n"), "database_codes.* empty"),
    "hashes of two lengths": (
        csv_of("side,code,label\nquery,ff,1\ndatabase,fff,1\n"),
        "hashes of one length are expected",
    ),
    "no hexadecimal": (
        csv_of("side,code,label\nquery,fg,1\ndatabase,ff,1\n"),
        "hexadecimal hashes of 2 digits are expected, got 'fg'",
    ),
    "digits of either kind": (
        csv_of("side,code,label\nquery,12,1\ndatabase,34,1\n"),
        "may be hexadecimal or whole numbers: give the format",
    ),
    "numbers of more bits": (
        csv_of(
            "side,code,label\nquery,12,1\ndatabase,300,1\n", "--bits", "8", "--format", "integers"
        ),
        "hashes of 8 bits are expected, got 64 bits with some beyond 8 set",
    ),
    "more bits than hashes have": (
        csv_of("side,code,label\nquery,ff,1\ndatabase,0a,1\n", "--bits", "99"),
        "hashes of 99 bits are expected, got 8 bits",
    ),
    "one text, one number": (
        changed(query_codes=np.array(["ff", "0a"]), database_codes=np.arange(6) + 9),
        "one side of each",
    ),
    "no matlab": (csv_of("codes", name="a.mat"), "a.mat cannot be read as .mat"),
    "new matlab": (
        csv_of(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512), name="a.mat"),
        "a.mat is of MATLAB 7.3",
    ),
    "no tensors": (csv_of("codes", name="a.pt"), "a.pt cannot be read as .pt of tensors alone"),
    "half an array": (csv_of(npy(BITS)[:-3], name="a.npy"), "a.npy cannot be read as .npy"),
    "one array of four": (csv_of(npy(BITS), name="query_codes.npy"), "database_codes, .* missing"),
    "twice the same": (
        lambda at: [
            "evaluate",
            *[str(at.file(f"{name}/query_codes.npy", npy(BITS))) for name in "ab"],
        ],
        "query_codes is in another file too",
    ),
    "no such array": (
        lambda at: ["evaluate", "--query-codes", f"{at.file('a.npz', archive(members()))}:codes"],
        "a.npz: codes missing; it holds: query_codes",
    ),
    "which of them": (
        lambda at: ["evaluate", "--query-codes", str(at.file("a.npz", archive(members())))],
        "one array is expected, or FILE:NAME; it holds: query_codes",
    ),
    "cuts of text": (changed("--at", "3,many"), "whole numbers with commas between are expected"),
    "a figure of no kind": (changed("--pn", "a.txt"), "ends in .png or .pdf or .svg is expected"),
    "numbers of no kind": (changed("--csv", "a.txt"), "ends in .csv is expected"),
    "an output of no kind": (
        lambda at: ["convert", str(at.file("a.npz", archive(members()))), "-o", "a.csv"],
        "ends in .npz is expected",
    ),
    "no file to import": (words("methods", "--import", "mine.py"), "a Python file .* is expected"),
}
ROWS = {
    f"{group}: {name}": row
    for group, rows in {
        "evaluate": EVALUATE,
        "files": NO_FILES,
        "words": WORDS,
        "settings": SETTINGS,
        "models": MODELS,
        "sets": SETS,
        "own": OWN,
        "images": IMAGES,
        "python": PYTHON,
        "forms": FORMS,
    }.items()
    for name, row in rows.items()
}


@pytest.mark.parametrize("name", ROWS)
def test_bad_input(name, house, tmp_path, capsys, monkeypatch):
    make, said = ROWS[name]
    monkeypatch.chdir(tmp_path)
    made = make(Place(tmp_path, house))
    capsys.readouterr()
    with limited():
        if callable(made):
            with pytest.raises((InputError, FloatingPointError), match=said) as raised:
                made()
            assert "\n" not in str(raised.value)
            return
        code = main(made)
    captured = capsys.readouterr()
    assert code == 2, f"exit {code}: {captured.out}{captured.err}"
    assert captured.err.startswith("hashlab: ") and captured.err.count("\n") == 1, captured.err
    assert re.search(said, captured.err), captured.err
    assert len(captured.err) < 12_000 and "memory is full" not in captured.err


# What would end the process, or never end: commands of their own, under limits that no handler can
# lift.
HARD = {
    "a pipe": (lambda at: read_codes(at, pipe), "a file is expected, got a pipe"),
    "no end": (lambda at: read_codes(at, endless), "a file is expected, got a device"),
    "a billion bits": (changed(bits=np.int64(10**9)), "at most 65536"),
    "a billion bits of csq": (run_words("csq", bits=str(10**9)), "at most 4096"),
}


def under_limits():
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (8 * BYTES, 8 * BYTES))  # torch alone reserves some


@pytest.mark.process
@pytest.mark.parametrize("name", HARD)
def test_bad_input_of_a_process(name, house, tmp_path):
    make, said = HARD[name]
    done = run(*command(*make(Place(tmp_path, house))), preexec_fn=under_limits)
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert re.fullmatch(rf"hashlab: .*{said}.*\n", done.stderr)


def test_there_are_as_many_rows_as_are_promised():
    assert len(ROWS) >= 200 and {name.split(":")[0] for name in ROWS} >= {
        "evaluate",
        "words",
        "models",
        "sets",
    }
