"""Experiments, their records, codes in files, and the command line on top."""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from hashlab import codes, data, experiments, files, methods, metrics, records
from hashlab.cli import main, settings
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.methods.base import from_recorded, recorded

QUICK = {"epochs": 1, "pretrain_epochs": 1}
MINE = dict.fromkeys(records.FIELDS)  # a record from elsewhere, which knows little
del MINE["codes"], MINE["digest"]
MINE |= {
    "method": "m",
    "dataset": "d",
    "protocol": "p",
    "bits": 12,
    "seed": 0,
    "variant": "defaults",
    "config": {},
}
MINE |= {
    "data": {"fingerprint": "f", "split": "s"},
    "weights": "none",
    "backbone": "none",
    "metric": "mAP",
}
MINE |= {
    "relevance": "same_class",
    "map": 0.5,
    "metrics": {"map": 0.5, "map_worst": 0.4, "map_best": 0.6},
}
MINE |= {"sizes": {"train": 0, "query": 9, "database": 50}}


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with the records of two seeds."""
    folder = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        experiments.run("mu_liu", "digits", 12, seed, root=folder, save=True, **QUICK)
    return folder


def test_record_says_what_was_run(kept):
    record = records.load(kept, seed=0)[0]
    assert {key: record[key] for key in ("method", "dataset", "protocol", "bits", "seed")} == {
        "method": "mu_liu",
        "dataset": "digits",
        "protocol": "digits",
        "bits": 12,
        "seed": 0,
    }
    assert (
        record.config["epochs"] == 1
        and record.variant == "epochs=1 pretrain_epochs=1"
        and record.backbone == "tiny"
    )
    assert record.data == {
        "fingerprint": data.load("digits").fingerprint,
        "split": data.load("digits").checksum,
    }
    assert [line["phase"] for line in record.history] == ["pre-training", "hashing"]
    assert (
        set(record.versions) >= {"python", "torch", "numpy", "hashlab"}
        and record.hardware["device"]
    )
    assert all(value >= 0 for value in record.seconds.values())


def test_record_holds_the_codes_it_was_scored_by(kept):
    record = records.load(kept, seed=1)[0]
    stored = record.codes()
    assert stored["query_codes"].shape == (300, 8) and stored["database_codes"].shape == (1497, 8)
    assert metrics.evaluate(*(stored[name] for name in files.ARRAYS), bits=12).map == record.map
    assert records.verify(record) == []
    with np.load(record.path.with_suffix(".npz")) as archive:
        assert archive["query_codes"].shape == (300, 2)  # ceil(12 / 8) bytes in the file


def test_what_is_at_its_default_is_no_part_of_a_name(kept, monkeypatch):
    monkeypatch.setattr(experiments, "_measure", lambda *a: pytest.fail("ran again"))
    spelt = QUICK | {"c": 4, "lr": 0.1, "momentum": 0.9}  # 4 is 4.0
    assert (
        experiments.run("mu_liu", "digits", 12, 0, root=kept, save=True, **spelt)
        == records.load(kept, seed=0)[0]
    )


def test_a_record_of_other_defaults_is_not_taken_for_this_run(kept, monkeypatch):
    from hashlab.methods import mu_liu

    other = dataclasses.make_dataclass(
        "Other", [("c", float, 5.0)], bases=(mu_liu.Config,), frozen=True, kw_only=True
    )
    monkeypatch.setattr(mu_liu.MuLiu, "Config", other)
    with pytest.raises(InputError, match=r"c was 4\.0 by default, now it is 5\.0"):
        experiments.run("mu_liu", "digits", 12, 0, root=kept, save=True, **QUICK)


RESULTS = Path(__file__).parents[1] / "results"
FOLDERS = sorted({file.parent for file in records.files_of(RESULTS)})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.relative_to(RESULTS).as_posix())
def test_committed_records_have_the_names_that_their_runs_give_today(folder):
    for file in sorted(folder.glob("*.json")):
        record = records.read(file)
        kind = methods.create(record.method, record.bits).Config
        usual = recorded(kind, dataclasses.asdict(kind()))
        changed = {key: value for key, value in record["config"].items() if value != usual[key]}
        config = methods.create(record.method, record.bits, **from_recorded(kind, changed)).config
        again = recorded(kind, dataclasses.asdict(config))
        assert {key: again[key] for key in record["config"]} == record["config"], file
        assert record.variant == (
            " ".join(f"{k}={v}" for k, v in sorted(changed.items())) or "defaults"
        ), file
        assert file.with_suffix("").as_posix().endswith(f"results/{records.name(record)}")


def test_a_run_that_is_kept_is_not_repeated(kept, monkeypatch):
    before = {file: file.stat().st_mtime_ns for file in kept.rglob("*.*")}
    monkeypatch.setattr(experiments, "_measure", lambda *a: pytest.fail("ran again"))
    again = experiments.run("mu_liu", "digits", 12, 0, root=kept, save=True, **QUICK)
    assert again == records.load(kept, seed=0)[0]
    assert before == {file: file.stat().st_mtime_ns for file in kept.rglob("*.*")}


def test_other_settings_get_another_file(kept, tmp_path):
    a = experiments.run("mu_liu", "digits", 12, 0, root=tmp_path, save=True, **QUICK)
    b = experiments.run("mu_liu", "digits", 12, 0, root=tmp_path, save=True, **QUICK, tuning=True)
    assert (
        a.path.parent.name == "digits"
        and b.path.parent.name == "tuning"
        and b.sizes["query"] == 120
    )
    assert (
        a.path.name == records.load(kept, seed=0)[0].path.name and len(records.load(tmp_path)) == 2
    )
    assert records.load(tmp_path, protocol="digits/tuning") == [b]


def test_verify_asks_for_the_convention_of_the_record(tmp_path):
    """A record from elsewhere, with its own definition of mAP and a cut."""
    rng = np.random.default_rng(0)
    packed = [codes.pack(rng.random((count, 12)) < 0.5) for count in (9, 50)]
    labels = [rng.integers(0, 3, count) for count in (9, 50)]
    report = metrics.evaluate(
        *packed, *labels, bits=12, convention="hits_in_topk", at=7, cutoffs=(3, 5)
    )
    arrays = dict(zip(files.ARRAYS, (*packed, *labels), strict=True))
    settings = {"a": 0, "k": 1.0, "sizes": (1, 2), "z": None}
    own = {"config": settings, "variant": "k=1.0 sizes=(1, 2) z=None"}
    mine = records.Record(MINE | own | {"map": report.map, "metrics": report.to_dict()})
    record = records.write(mine, arrays, records.name(mine), tmp_path)
    assert records.verify(record) == records.verify(records.read(record.path)) == []
    assert report.map != metrics.evaluate(*packed, *labels, bits=12).map
    (row,) = records.table(records.load(tmp_path))
    assert (row["map"], row["hardware"]) == (report.map, "unknown") and "unknown" in records.render(
        [row]
    )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"metrics": None}, "metrics must be an object, got None"),
        ({"hardware": ["a"]}, r"hardware must be an object or null, got \['a'\]"),
        ({"config": []}, r"config must be an object, got \[\]"),
        ({"tables": 12}, "tables must be a list or null, got 12"),
        ({"tables": [True]}, "each of tables must be a whole number, got True"),
        (
            {"seconds": {"train": "1", "encode": 1, "evaluate": 1}},
            "seconds.train must be a number, got '1'",
        ),
        ({"seconds": {"train": 1}}, "seconds: encode, evaluate missing"),
        ({"git": {"commit": "c", "changed": 0}}, "git.changed must be true or false, got 0"),
        ({"history": [3]}, "each of history must be an object, got 3"),
        ({"bits": "12"}, "bits must be a whole number, got '12'"),
        ({"bits": True}, "bits must be a whole number, got True"),
        ({"map": "0.5"}, "map must be a number or null, got '0.5'"),
        ({"protocol": 3}, "protocol must be text, got 3"),
        ({"codes": {"file": "x.npz"}}, "codes must name a file and its sha256"),
        (
            {"codes": {"file": "x.npz", "sha256": "", "labels": {}}},
            "codes must name a file and its sha256",
        ),
        (
            {"codes": {"file": "x.npz", "sha256": "", "labels": "x"}},
            "codes must name a file and its sha256",
        ),
        ({"codes": {"file": "x.npz", "sha256": 3}}, "codes must name a file and its sha256"),
    ],
)
def test_a_record_has_what_tables_need(change, words, tmp_path):
    empty = {
        name: np.zeros((1, 8) if name.endswith("codes") else 1, np.uint8) for name in files.ARRAYS
    }
    if "codes" not in change:  # which `write` says itself
        with pytest.raises(InputError, match=words):
            records.write(records.Record(MINE | change), empty, "m-12b-s0-x", tmp_path)
    with pytest.raises(
        InputError, match=f"the record of this run is called {records.name(MINE)}, got best"
    ):
        records.write(records.Record(MINE), empty, "best", tmp_path)
    assert list(tmp_path.rglob("*.*")) == []
    rest = {"codes": {"file": "x", "sha256": ""}, "digest": ""}
    (tmp_path / "m-12b-s0-x.json").write_text(json.dumps(MINE | rest | change))
    with pytest.raises(InputError, match=words):
        records.load(tmp_path)


def test_other_files_below_the_root_are_no_records(tmp_path, capsys, short):
    assert main(short("run", tmp_path, "--save-model", str(tmp_path / "model"))) == 0
    (tmp_path / "notes.json").write_text("{}")
    assert len(records.load(tmp_path)) == 1 and main(["table", "--root", str(tmp_path)]) == 0


def test_verify_goes_on_after_a_record_that_cannot_be_read(tmp_path, capsys, short):
    assert main(short("run", tmp_path, "--seeds", "0", "1", "2")) == 0
    first, second, _ = records.load(tmp_path)
    first.path.write_text("{")
    second.path.with_suffix(".npz").unlink()
    assert main(["verify", "--root", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()[-4:]
    assert (
        "is not a record" in lines[0]
        and "codes cannot be read" in lines[1]
        and "every metric agrees" in lines[2]
    )
    assert lines[3] == "1 of 3 records agree with their codes"


def test_table_gives_mean_and_spread(kept):
    maps = [record.map for record in records.load(kept)]
    (row,) = records.table(records.load(kept))
    assert row["seeds"] == 2 and row["map"] == pytest.approx(sum(maps) / 2)
    assert row["map_std"] == pytest.approx(abs(maps[0] - maps[1]) / 2**0.5)
    text = records.render([row], "markdown").splitlines()
    assert (
        len(text) == 3
        and f"{row['map']:.4f} ± {row['map_std']:.4f}" in text[2]
        and len(set(map(len, text))) == 1
    )
    assert records.table([records.load(kept)[0]])[0]["map_std"] is None


def test_table_keeps_other_settings_apart(kept):
    one, other = records.load(kept)
    other = records.Record(other | {"config": other.config | {"lr": 9.0}})
    assert len(records.table([one, other])) == 2 and records.table([one])[0]["bits"] == 12


def test_a_run_that_is_given_twice_counts_once(kept):
    one, other = records.load(kept)
    (row,) = records.table([one, one, records.read(one.path)])
    assert row["seeds"] == 1 and row["map_std"] is None
    assert records.table([one, other, one]) == records.table([one, other])


def test_a_condition_on_what_no_record_has_is_refused(kept):
    with pytest.raises(InputError, match=r"unknown condition; .*; did you mean method\?"):
        records.load(kept, metod="mu_liu")


def test_table_keeps_other_data_apart_and_says_which(kept):
    one, _ = records.load(kept)
    other = records.Record(one | {"data": {"fingerprint": "f" * 64, "split": "e" * 64}})
    rows = records.table([one, other])
    text = records.render(rows)
    assert (
        len(rows) == 2
        and "ffffffff…" in text
        and "data" in text
        and "ffffffff…" not in records.render(rows[:1])
    )
    assert len(set(text.splitlines())) == 4
    elsewhere = [records.Record(one | {"protocol": name, "data": None}) for name in ("b", "c")]
    assert "ffffffff…" in records.render(records.table([one, other, *elsewhere]))


def test_not_a_record(tmp_path):
    file = tmp_path / "x.json"
    for content, words in (
        ("{", "not a record"),
        ("[]", "missing"),
        ('{"map": 1}', "method, dataset"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=words):
            records.read(file)


def test_labels_that_do_not_suit_the_method():
    with pytest.raises(
        InputError, match="mu_liu takes same_class labels, digit_scenes has shares_label"
    ):
        experiments.run("mu_liu", "digit_scenes", 12)


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    target = tmp_path / "x.json"
    files.write(target, b"old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        files.write(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


# ---- anybody's codes


@pytest.fixture
def some():
    rng = np.random.default_rng(0)
    bits = {"query_codes": rng.random((4, 12)) < 0.5, "database_codes": rng.random((9, 12)) < 0.5}
    return bits, {"query_labels": np.arange(4) % 2, "database_labels": np.arange(9) % 2, "bits": 12}


def save(tmp_path, **arrays):
    file = tmp_path / "codes.npz"
    np.savez(file, **arrays)
    return file


FORMS = {
    "bool": lambda b: b,
    "0/1": lambda b: b.astype(np.int64),
    "signs": lambda b: np.where(b, 1.0, -1.0),
    "packed": lambda b: np.packbits(b, axis=1, bitorder="little"),
    "padded": codes.pack,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_format_gives_the_same_codes(form, some, tmp_path):
    bits, rest = some
    read = files.read_codes(
        save(tmp_path, **{name: FORMS[form](b) for name, b in bits.items()}, **rest)
    )
    for name, b in bits.items():
        assert np.array_equal(read[name], codes.pack(b))
    assert read["bits"] == 12


def test_big_bit_order(some, tmp_path):
    bits, rest = some
    packed = {name: np.packbits(b, axis=1, bitorder="big") for name, b in bits.items()}
    read = files.read_codes(save(tmp_path, **packed, **rest, bitorder="big"))
    assert np.array_equal(read["query_codes"], codes.pack(bits["query_codes"]))
    with pytest.raises(InputError, match="bits beyond 12 are set in little bit order"):
        files.read_codes(save(tmp_path, **packed, **rest))


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {
                "bits": 8,
                "query_codes": np.ones((4, 8), np.uint8),
                "database_codes": np.ones((9, 8), np.uint8),
            },
            "its codes fit packed and bits and signs: add an array `format`",
        ),
        (
            {
                "bits": 8,
                "query_codes": np.ones((4, 8), np.uint8),
                "database_codes": np.ones((9, 8), np.int64),
            },
            "its codes fit bits and signs: add an array `format`",
        ),
        (
            {
                "query_codes": np.zeros((4, 12), np.int64),
                "database_codes": -np.ones((9, 12), np.int64),
            },
            "query_codes and database_codes must be of one format, got bits and signs",
        ),
        (
            {"database_codes": np.ones((9, 2), np.uint8)},
            "must be of one format, got bits and packed",
        ),
        (
            {"database_labels": np.arange(8)},
            r"npz: database labels must be as many as database codes, got 8 and 9",
        ),
        (
            {"query_labels": np.arange(4) / 2},
            r"npz: query labels must be .*, got 0.5 among \(4,\) float64",
        ),
        (
            {"query_labels": np.zeros((4, 2, 2), int)},
            r"npz: query labels must be .* got \(4, 2, 2\) int64",
        ),
        (
            {"query_labels": np.array([0, 1, 2, -1])},
            "npz: query labels must not be negative, got -1",
        ),
        (
            {"query_codes": np.zeros((0, 2), np.uint8)},
            "query_codes empty: one image at least is expected",
        ),
        (
            {"query_codes": np.zeros((0, 12)), "query_labels": np.zeros(0)},
            "query_codes and query_labels empty: one",
        ),
        (
            {"database_codes": np.zeros((0, 12), bool)},
            "database_codes empty: one image at least is expected",
        ),
        ({"bits": 20}, "query_codes: 20-bit codes expected"),
        ({"bits": 1.5}, "bits must be one integer"),
        ({"bits": 0}, "bits must be a whole number of at least 1, got"),
        ({"query_codes": np.full((4, 12), 0.5)}, "12-bit codes expected"),
        ({"query_codes": np.zeros(4, np.uint8)}, "two axes"),
        ({"format": "octal"}, "format must be one of"),
        ({"format": "hex"}, "hex is one text an item"),
        ({"format": "signs"}, "signs must be"),
        ({"format": "packed"}, "packed 12-bit codes must be uint8 of width 2"),
        ({"bitorder": "middle"}, "bitorder must be little or big"),
        ({"query_labels": None}, "query_labels missing; it holds"),
        ({"query_labels": np.array([None, "a", {}, 2], dtype=object)}, "pickled objects"),
    ],
)
def test_bad_code_files(change, words, some, tmp_path, capsys):
    bits, rest = some
    arrays = {k: v for k, v in (bits | rest | change).items() if v is not None}
    file = save(tmp_path, **arrays)
    assert main(["evaluate", str(file)]) == 2
    message = capsys.readouterr().err
    assert (
        message.startswith(f"hashlab: {file}")
        and re.search(words, message)
        and message.count("\n") == 1
    )


def test_one_side_may_fit_two_formats(tmp_path, some):
    """All ones may be bits or signs: what the other side is decides."""
    bits, rest = some
    for form, low in (("bits", 0), ("signs", -1)):
        bits["query_codes"] = np.where(bits["database_codes"][:4], 1, low)
        file = save(
            tmp_path, **rest, query_codes=bits["query_codes"], database_codes=np.ones((9, 12))
        )
        read = files.read_codes(file)
        assert np.array_equal(read["query_codes"], codes.pack(bits["query_codes"] == 1)), form
        assert np.array_equal(read["database_codes"], codes.pack(np.ones((9, 12), bool)))


def test_tables_are_joined_in_files_and_parted_again(tmp_path):
    bits = np.random.default_rng(0).random((5, 100)) < 0.5
    packed = np.concatenate(
        [codes.pack(bits[:, :30]), codes.pack(bits[:, 30:])], axis=1
    )  # 8 + 16 bytes
    joined = files.join_tables(packed, (30, 70))
    assert np.array_equal(joined, codes.pack(bits)) and np.array_equal(
        files.split_tables(joined, 100, (30, 70)), packed
    )
    assert (
        files.join_tables(packed, None) is packed
        and files.split_tables(packed, 100, (100,)) is packed
    )
    with pytest.raises(InputError, match=r"tables must add up to 100 bits, got \(30, 60\)"):
        files.split_tables(joined, 100, (30, 60))
    with pytest.raises(InputError, match="tables must be the bits of each hash table, got 30"):
        files.split_tables(joined, 100, 30)
    record = records.Record(
        MINE | {"bits": 100, "tables": [30, 70], "sizes": {"train": 0, "query": 5, "database": 5}}
    )
    labels = np.arange(5)
    arrays = dict(zip(files.ARRAYS, (packed, packed, labels, labels), strict=True))
    stored = records.write(record, arrays, records.name(record), tmp_path).codes()
    assert all(np.array_equal(stored[name], arrays[name]) for name in files.ARRAYS)


# ---- the command line


def test_evaluate_says_the_same_as_the_library(some, tmp_path, capsys):
    bits, rest = some
    file = save(tmp_path, **bits, **rest)
    packed = [codes.pack(bits[name]) for name in ("query_codes", "database_codes")]
    for words, options in (
        ([], {}),
        (["--at", "3"], {"at": 3}),
        (["--convention", "hits_in_topk", "--at", "2"], {"convention": "hits_in_topk", "at": 2}),
    ):
        assert main(["evaluate", str(file), "--json", *words]) == 0
        expected = metrics.evaluate(
            *packed, rest["query_labels"], rest["database_labels"], bits=12, **options
        )
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected.to_dict()))
    two = [
        np.concatenate([codes.pack(bits[n][:, :5]), codes.pack(bits[n][:, 5:])], axis=1)
        for n in files.ARRAYS[:2]
    ]
    assert main(["evaluate", str(file), "--json", "--tables", "5", "7", "--combine", "union"]) == 0
    options = {"bits": 12, "tables": (5, 7), "combine": "union"}
    expected = metrics.evaluate(*two, rest["query_labels"], rest["database_labels"], **options)
    assert json.loads(capsys.readouterr().out)["map"] == expected.map


def test_evaluate_shows_every_convention_and_draws(some, tmp_path, capsys):
    bits, rest = some
    file = save(tmp_path, **bits, **rest)
    assert (
        main(["evaluate", str(file), "--convention", "all", "--pr", str(tmp_path / "curve.png")])
        == 0
    )
    out = capsys.readouterr().out
    assert all((f"  {name}: " in out) == (name != "asymmetric") for name in metrics.conventions())
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert main(["evaluate", str(file), "--convention", "all", "--at", "3"]) == 0
    assert "trapezoid" not in capsys.readouterr().out
    assert main(["evaluate", str(file), "--convention", "mine"]) == 2
    assert "convention must be one of" in capsys.readouterr().err
    assert main(["evaluate", str(file), "--at", "10"]) == 2
    assert "at must be a whole number in 1..9" in capsys.readouterr().err


def test_run_table_verify(tmp_path, capsys, short):
    assert main(short("run", tmp_path, "--seeds", "0", "1", bits=(12,), epochs=1)) == 0
    assert main(["table", "--root", str(tmp_path), "--format", "markdown"]) == 0
    assert "epochs=1 pretrain_epochs=0" in capsys.readouterr().out
    assert main(["verify", "--root", str(tmp_path)]) == 0
    assert "2 of 2 records agree" in capsys.readouterr().out
    file = next(tmp_path.rglob("*.json"))
    file.write_text(file.read_text().replace('"map": 0.', '"map": 1.', 1))
    assert main(["verify", "--root", str(tmp_path)]) == 1
    assert main(["evaluate", str(file.with_suffix(".npz")), "--json"]) == 0


def test_lists(capsys):
    assert (
        main(["methods"]) == 0 and main(["methods", "mu_liu"]) == 0 and main(["data", "list"]) == 0
    )
    out = capsys.readouterr().out
    assert "Mu and Liu" in out and "    c=" in out and "mnist-full" in out
    assert main(["data", "check", "digits"]) == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["run", "mu_liu", "digits", "--bits", "0"],
            "bits must be a whole number of at least 1, got 0",
        ),
        (["run", "nobody", "digits", "--bits", "8"], "unknown method 'nobody'"),
        (["run", "mu_liu", "nothing", "--bits", "8"], "unknown data set 'nothing'"),
        (["run", "mu_liu", "digits", "--bits", "8", "--set", "speed=3"], "unknown setting 'speed'"),
        (
            ["run", "mu_liu", "digits", "--bits", "8", "--set", "speed"],
            "a setting is written NAME=VALUE, got 'speed'",
        ),
        (
            ["run", "mu_liu", "digits", "--bits", "8", "--protocol", "x"],
            "unknown protocol 'x' for digits",
        ),
        (["data", "fetch"], "a data set is expected after `data fetch`"),
        (["data", "check", "nothing"], "unknown data set"),
        (["methods", "nobody"], "unknown method"),
        (["evaluate", "nowhere.npz"], "nowhere.npz: No such file or directory"),
        (["verify", "nowhere.json"], "hashlab: nowhere.json: No such file or directory\n"),
    ],
)
def test_bad_words_are_one_line_and_exit_code_2(words, message, capsys, tmp_path):
    words = [*words, "--root", str(tmp_path)] if words[0] == "run" else words
    assert main(words) == 2
    captured = capsys.readouterr()
    assert (
        captured.err.startswith("hashlab: ")
        and message in captured.err
        and captured.err.count("\n") == 1
    )
    assert list(tmp_path.iterdir()) == []


def test_empty_folder_and_missing_cache(capsys, tmp_path):
    for words in (["verify", "--root"], ["table", "--root"], ["data", "check", "mnist", "--root"]):
        assert main([*words, str(tmp_path)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_no_permission_is_one_line(capsys, tmp_path, monkeypatch, short):
    """It names the file that was to be written, not the one beside it that is renamed."""

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / ".aside.hashlab-part"))

    monkeypatch.setattr(_disk, "_write", refuse)
    assert main(short("run", tmp_path)) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"hashlab: {tmp_path}/[^ ]+/000000000.safetensors: Permission denied", message
    )


def test_files_and_words_that_evaluate_refuses(some, tmp_path, capsys):
    bits, rest = some
    file = str(save(tmp_path, **bits, **rest))
    np.save(tmp_path / "one.npy", np.zeros(3))
    for words, message in (
        ([str(tmp_path / "one.npy")], "bits missing; it holds: one"),
        (
            [file, "--pr", str(tmp_path / "x.foo")],
            "a file name that ends in .png or .pdf or .svg is expected",
        ),
        (
            [file, "--pr", f"{tmp_path}/none/x.png"],
            f"{tmp_path}/none is not a folder: {tmp_path}/none/x.png cannot",
        ),
        ([file, "--pr", f"{file}/x.png"], f"{file} is not a folder"),
        ([file, "--convention", "asymmetric"], "ranks by real outputs"),
    ):
        assert main(["evaluate", *words]) == 2
        captured = capsys.readouterr().err
        assert message in captured and captured.count("\n") == 1


def test_settings_from_words():
    assert settings(["c=4", "lr=1e-3", "backbone=lenet", "x=True"]) == {
        "c": 4,
        "lr": 1e-3,
        "backbone": "lenet",
        "x": True,
    }


def test_compact_records_share_their_labels_and_say_the_same(tmp_path, short):
    assert main(short("run", tmp_path, "--seeds", "0", "1")) == 0
    before = records.load(tmp_path)
    arrays = [record.codes() for record in before]
    for record in before:
        records.compact(record)
        records.compact(record)  # nothing is left to do
    assert (
        len(list(tmp_path.rglob("labels-*.npz"))) == 1 and len(list(tmp_path.rglob("*.npz"))) == 3
    )
    for record, was in zip(records.load(tmp_path), arrays, strict=True):
        assert records.verify(record) == []
        with pytest.raises(
            InputError, match=re.escape(f"hashlab.records.read('{record.path}').codes()")
        ):
            files.read_codes(record.path.with_name(record["codes"]["file"]))
        assert all(np.array_equal(record.codes()[key], was[key]) for key in records.ARRAYS)
    next(tmp_path.rglob("labels-*.npz")).write_bytes(b"other labels")
    with pytest.raises(InputError, match="not the codes of its record"):
        records.load(tmp_path)[0].codes()


@pytest.mark.parametrize("name", ["labels-*.npz", "*.????????.npz"])
def test_compact_does_not_rely_on_a_file_that_only_has_the_right_name(name, tmp_path, short):
    """Left by another run, and damaged since: it is written again before the old file goes."""
    assert main(short("run", tmp_path, "--seeds", "0")) == 0
    (record,) = records.load(tmp_path)
    copy = record.path.read_bytes(), record.path.with_suffix(".npz").read_bytes()
    before = records.compact(record).codes()
    damaged = next(record.path.parent.glob(name))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    record.path.write_bytes(copy[0])
    record.path.with_suffix(".npz").write_bytes(copy[1])
    again = records.compact(records.read(record.path))
    assert all(np.array_equal(again.codes()[key], before[key]) for key in records.ARRAYS)
    assert not record.path.with_suffix(".npz").exists()


def test_tables_name_weights_once_and_briefly(tmp_path, short):
    assert main(short("run", tmp_path, "--seeds", "0")) == 0
    (record,) = records.load(tmp_path)
    named = f"net.safetensors sha256:{'0123456789abcdef' * 4}"
    record |= {"weights": named, "variant": f"lr=0.01 weights={named}"}
    text = records.render(records.table([record]))
    assert text.count("net.safetensors") == 1 and "sha256:01234567…" in text and "lr=0.01" in text


def test_records_compacted_before_codes_were_sorted_are_taken_up(tmp_path, short):
    assert main(short("run", tmp_path, "--seeds", "0")) == 0
    record = records.compact(records.load(tmp_path)[0])
    was, kept = record.codes(), record.path.with_name(record["codes"]["file"])
    stored = files.arrays(kept.read_bytes(), kept)
    positions = np.argsort(records.by_class(was["database_labels"]))
    content = files.npz(stored | {"database_codes": stored["database_codes"][positions]})
    old = record.path.with_suffix(".codes.npz")
    old.write_bytes(content)
    kept.unlink()
    labels = record["codes"]["labels"]
    record["codes"] = {
        "file": old.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "labels": labels,
    }
    record["digest"] = records.digest(record)
    record.path.write_text(json.dumps(record))
    assert np.array_equal(
        records.read(record.path).codes()["database_codes"], was["database_codes"]
    )
    records.compact(records.read(record.path))
    again = records.read(record.path)
    assert all(np.array_equal(again.codes()[key], was[key]) for key in records.ARRAYS)
    assert not old.exists() and again["codes"]["order"] == "class" and records.verify(again) == []


def test_a_record_names_the_level_up_to_which_a_backbone_is_frozen(tmp_path, capsys):
    words = ["--bits", "8", "--root", str(tmp_path), "--set", "frozen=conv1", "epochs=1"]
    assert main(["run", "csq", "digits", *words]) == 0
    record = records.load(tmp_path)[0]
    assert record["config"]["frozen"] == "conv1" and "frozen=conv1" in record["variant"]
    assert records.verify(record) == []
