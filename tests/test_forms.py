"""The evaluator's door: codes in every usual form are the same codes, as arrays and in files."""

import csv
import json
import re

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlab import codes, files, metrics
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.files import formats

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


# ---- files


def ints(bits):
    """Codes of at most 64 bits as whole numbers, the first bit the lowest."""
    return (bits.astype(np.uint64) << np.arange(bits.shape[1], dtype=np.uint64)).sum(1)


def hexadecimal(bits):
    """As text, the last bit first, as a number is written."""
    return np.array([f"{int(number):0{bits.shape[1] // 4}x}" for number in ints(bits)])


def save_npy(folder, arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return [folder / f"{name}.npy" for name in arrays]


def save_csv(folder, arrays):
    for name, array in arrays.items():
        rows = np.atleast_2d(array.T).T
        lines = [",".join(str(cell) for cell in row) for row in rows.tolist()]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return [folder / f"{name}.csv" for name in arrays]


def save_npz(folder, arrays):
    np.savez(folder / "all.npz", **arrays)
    return [folder / "all.npz"]


def save_mat(folder, arrays):
    scipy.io.savemat(folder / "all.mat", arrays)  # a vector becomes one row
    return [folder / "all.mat"]


def save_pt(folder, arrays):
    tensors = {
        name: array.tolist() if array.dtype.kind == "U" else torch.from_numpy(array)
        for name, array in arrays.items()
    }
    torch.save(tensors, folder / "all.pt")
    return [folder / "all.pt"]


SAVERS = {"npz": save_npz, "npy": save_npy, "csv": save_csv, "mat": save_mat, "pt": save_pt}
IN_FILES = {  # forms of 16-bit codes in files
    "bits": lambda bits: bits.astype(np.int64),
    "signs": lambda bits: np.where(bits, 1.0, -1.0),
    "integers": lambda bits: ints(bits).astype(np.int64),
    "hex": hexadecimal,
}


def scored(capsys, words):
    assert main(["evaluate", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("names", ["numbers", "text"])
@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize("form", IN_FILES)
def test_every_kind_of_file_gives_the_same_score(form, kind, names, tmp_path, capsys):
    sides, labels = random_case(16)
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=16).map
    if names == "text":
        labels = [np.array(["cat", "dog", "fish"])[side] for side in labels]
    stored = [IN_FILES[form](side) for side in sides]
    saved = SAVERS[kind](tmp_path, dict(zip(files.ARRAYS, [*stored, *labels], strict=True)))
    length = ["--bits", 16, "--format", form] if form == "integers" else []
    report = scored(capsys, [*saved, *length])
    assert report["map"] == pytest.approx(plain) and report["bits"] == 16
    output = tmp_path / "out.npz"
    assert main(["convert", *map(str, [*saved, *length, "-o", output])]) == 0
    assert "4 query codes and 20 database codes of 16 bits" in capsys.readouterr().out
    assert scored(capsys, [output]) == report


def test_four_files_may_have_any_names(tmp_path, capsys):
    sides, labels = random_case(16)
    arrays = dict(zip("abcd", [*sides, *labels], strict=True))
    paths = save_npy(tmp_path, arrays)
    options = ["--query-codes", "--database-codes", "--query-labels", "--database-labels"]
    words = [word for pair in zip(options, paths, strict=True) for word in pair]
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=16)
    assert scored(capsys, words)["map"] == plain.map
    (whole,) = save_mat(tmp_path, {name: array.astype(float) for name, array in arrays.items()})
    words = [
        word
        for option, name in zip(options, "abcd", strict=True)
        for word in (option, f"{whole}:{name}")
    ]
    assert scored(capsys, words)["map"] == plain.map


def test_a_table_of_both_sides(tmp_path, capsys):
    sides, labels = random_case(16)
    lines = ["side;label;code"]
    for side, bits, classes in zip(("query", "Database"), sides, labels, strict=True):
        rows = zip(classes, hexadecimal(bits), strict=True)
        lines += [f"{side};{label};0x{text.upper()}" for label, text in rows]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(lines))
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=16)
    assert scored(capsys, [file])["map"] == plain.map


def test_signed_numbers_are_their_64_bits(tmp_path, capsys):
    """As a database keeps them that has no unsigned ones."""
    sides, labels = random_case(64, 3)
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=64)
    for kind in (np.int64, np.uint64):
        arrays = [ints(side).astype(kind) for side in sides]
        saved = save_npy(tmp_path, dict(zip(files.ARRAYS, [*arrays, *labels], strict=True)))
        assert scored(capsys, saved)["map"] == plain.map
    words = [ints(side).reshape(-1, 1).repeat(2, 1) for side in sides]  # 128 bits, each twice
    saved = save_npy(tmp_path, dict(zip(files.ARRAYS, [*words, *labels], strict=True)))
    assert scored(capsys, [*saved, "--format", "integers"])["map"] == plain.map


def test_zeros_in_front_of_a_hash_are_no_bits(tmp_path, capsys):
    """12 bits written as 4 digits: their lowest bits stand last, and these are the codes."""
    sides, labels = random_case(12)
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=12)
    texts = [np.array([f"{int(number):04x}" for number in ints(side)]) for side in sides]
    saved = save_npz(tmp_path, dict(zip(files.ARRAYS, [*texts, *labels], strict=True)))
    assert scored(capsys, [*saved, "--bits", 12])["map"] == plain.map


def test_names_above_columns_are_no_rows(tmp_path):
    for text in ("label\ncat\ndog\n", "bit 1,bit 2\n0,1\n1,0\n", "\ufeffcodes\nff\n0a\n"):
        file = tmp_path / "a.csv"
        file.write_text(text)
        (array,) = formats.read_file(file).values()
        assert len(array) == 2


def test_sparse_and_upright_matrices_of_matlab(tmp_path, capsys):
    sides, labels = random_case(16)
    hot = [scipy.sparse.csc_matrix(np.eye(3)[side]) for side in labels]
    plain = metrics.evaluate(*map(codes.pack, sides), *labels, bits=16).map
    arrays = dict(zip(files.ARRAYS, [*(side * 2.0 - 1 for side in sides), *hot], strict=True))
    saved = save_mat(tmp_path, arrays | {"bits": 16.0})
    assert scored(capsys, saved)["map"] == plain
    cells = [np.array(["cat", "dog", "fish"], object)[side][:, None] for side in labels]
    saved = save_mat(tmp_path, dict(zip(files.ARRAYS, [*arrays.values()][:2] + cells, strict=True)))
    assert scored(capsys, saved)["map"] == plain


class Spy:
    """An object that leaves a trace when it is unpickled."""

    def __reduce__(self):
        return (open, ("spied", "w"))


def test_nothing_is_unpickled(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"query_codes": Spy()}, "a.pt")
    np.save("a.npy", np.array([Spy()], object))
    for name in ("a.pt", "a.npy"):
        assert main(["evaluate", name]) == 2
        assert re.match(rf"hashlab: {name} cannot be read as .{name[2:]}", capsys.readouterr().err)
    assert not (tmp_path / "spied").exists()


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_figures_are_of_the_kind_that_their_name_says(suffix, tmp_path):
    sides, labels = random_case(16)
    saved = save_npz(tmp_path, dict(zip(files.ARRAYS, [*sides, *labels], strict=True)))
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    figures = [tmp_path / f"{name}.{suffix}" for name in ("pr", "pn")]
    words = ["evaluate", *saved, "--pr", figures[0], "--pn", figures[1]]
    assert main(list(map(str, words))) == 0
    drawn = [figure.read_bytes() for figure in figures]
    assert all(figure.startswith(begins) for figure in drawn) and drawn[0] != drawn[1]
    assert main(list(map(str, words))) == 0
    assert [figure.read_bytes() for figure in figures] == drawn


def test_several_cuts_are_reports_each(tmp_path, capsys):
    sides, labels = random_case(16)
    saved = save_npz(tmp_path, dict(zip(files.ARRAYS, [*sides, *labels], strict=True)))
    reports = scored(capsys, [*saved, "--at", "3,5", "--at", 10, "--csv", tmp_path / "all.csv"])
    rows = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    for at in (3, 5, 10):
        assert reports[f"at {at}"] == scored(capsys, [*saved, "--at", at])
        (value,) = [
            row["value"] for row in rows if row["report"] == f"at {at}" and row["measure"] == "map"
        ]
        assert float(value) == reports[f"at {at}"]["map"]
    assert {row["at"] for row in rows if row["measure"] == "precision"} == set(map(str, range(17)))


def converted(tmp_path, **words):
    """What `hashlab convert` makes of four files; or its exit code, where it makes nothing."""
    options = [
        part for name, file in words.items() for part in (f"--{name.replace('_', '-')}", str(file))
    ]
    code = main(["convert", *options, "-o", str(tmp_path / "out.npz")])
    return dict(np.load(tmp_path / "out.npz")) if code == 0 else code


def columns_of(tmp_path, codes_column, labels_column=("0", "1")):
    """Four one-column files with these codes and labels on both sides."""
    files_of = {}
    for side in ("query", "database"):
        for kind, cells in (("codes", codes_column), ("labels", labels_column)):
            file = tmp_path / f"{side}_{kind}.csv"
            file.write_text("".join(f"{cell}\n" for cell in cells))
            files_of[f"{side}_{kind}"] = file
    return files_of


def test_a_column_of_digits_is_asked_about(tmp_path, capsys):
    """Digits of one length may be hexadecimal; those of several lengths, and single ones, are numbers."""
    assert converted(tmp_path, **columns_of(tmp_path, ("10", "11"))) == 2
    assert "may be hexadecimal or whole numbers" in capsys.readouterr().err
    for cells in (("9", "10"), ("3", "5")):
        out = converted(tmp_path, **columns_of(tmp_path, cells), bits=4)
        stored = np.unpackbits(out["query_codes"], axis=1, bitorder="little")[:, :4]
        assert stored.tolist() == [[int(cell) >> bit & 1 for bit in range(4)] for cell in cells]
        assert out["query_labels"].ravel().tolist() == [0, 1]
    for cells in (("0a", "ff"), ("ab", "cd")):
        out = converted(tmp_path, **columns_of(tmp_path, cells))
        assert out["query_codes"].shape == (2, 1) and int(out["bits"]) == 8


def test_rows_of_other_widths_are_named(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("1,0\n0,1\n1\n")
    with pytest.raises(InputError, match="row 3 has 1 cells, 2 are expected"):
        formats.read_file(file)


def test_one_line_says_what_stands_between_its_cells(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("1;0;1\n")
    assert formats.read_file(file)[""].tolist() == [[1, 0, 1]]


def test_one_array_of_a_matlab_file_needs_no_name(tmp_path):
    file = tmp_path / "x.mat"
    scipy.io.savemat(file, {"mine": np.eye(2)})
    assert list(formats.read_file(file)) == ["mine"]


def test_a_sparse_matrix_is_measured_before_it_is_filled(tmp_path, monkeypatch):
    file = tmp_path / "x.mat"
    scipy.io.savemat(file, {"mine": scipy.sparse.csc_array(np.eye(2, 8))})
    assert formats.read_file(file)["mine"].shape == (2, 8)
    monkeypatch.setattr(files, "MOST_BYTES", 15)
    with pytest.raises(InputError, match="too large"):
        formats.read_file(file)


def test_labels_without_codes_are_asked_for(tmp_path, capsys):
    file = tmp_path / "x.mat"
    scipy.io.savemat(file, {"query_labels": [[0, 1]], "database_labels": [[0, 1]]})
    assert main(["convert", str(file), "-o", str(tmp_path / "out.npz")]) == 2
    assert "query_codes" in capsys.readouterr().err
