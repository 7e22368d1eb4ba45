"""`verify` proves what it says: no record passes that claims something else than was run and
stored.
"""

import json
import os
import shutil

import numpy as np
import pytest

from hashlab import experiments, metrics, records
from hashlab.cli import main
from hashlab.errors import InputError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the record of a run that is trained, and one of several tables."""
    folder = tmp_path_factory.mktemp("results")
    quick = {"epochs": 1, "pretrain_epochs": 0, "backbone": "tiny"}
    experiments.run("mu_liu", "digits", 12, root=folder, save=True, **quick)
    experiments.run("mlsh", "digits", 12, root=folder, save=True, combine="union")
    return folder


@pytest.fixture
def folder(made, tmp_path):
    """A copy of that folder, to do harm in."""
    return shutil.copytree(made, tmp_path / "results")


@pytest.fixture
def record(folder):
    return records.load(folder, method="mu_liu")[0]


def leaves(value, path=()):
    """The paths of all values in a record that are no objects or lists, and of empty ones."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [leaf for key, part in inner for leaf in leaves(part, (*path, key))]
    return found or [path]


def changed(value):
    """Something else of the same type."""
    if isinstance(value, bool):
        return not value
    return {str: lambda: f"{value}x", int: lambda: value + 1, float: lambda: value + 1e-6}.get(
        type(value), lambda: 3
    )()


def altered(record, path, value=None, gone=False):
    """The record with one value changed or gone, as plain JSON."""
    copy = json.loads(json.dumps(record))
    *outer, last = path
    inner = copy
    for key in outer:
        inner = inner[key]
    if gone:
        del inner[last]
    else:
        inner[last] = value
    return copy


def put(record, fields, renewed=True):
    """Write other fields into the file of a record, and a digest that fits them."""
    if renewed:
        fields = fields | {"digest": records.digest(fields)}
    record.path.write_text(json.dumps(fields))
    return record.path


def complaints(file):
    """What is said of a record, by whoever says it first."""
    try:
        return records.verify(records.read(file))
    except InputError as error:
        assert "\n" not in str(error)
        return [str(error)]


def test_a_record_that_was_written_agrees(folder):
    for one in records.load(folder):
        assert (
            records.verify(one) == []
            and list(one)[-1] == "digest"
            and one["digest"] == records.digest(one)
        )


def test_no_value_of_a_record_can_be_changed(record):
    paths = [path for path in leaves(dict(record)) if path[0] != "digest"]
    assert len(paths) > 100 and {path[0] for path in paths} >= {
        "config",
        "seconds",
        "history",
        "hardware",
        "git",
    }
    for path in paths:
        for fields in (
            altered(record, path, changed(eval_path(record, path))),
            altered(record, path, gone=True),
            altered(record, path, None)
            if eval_path(record, path) is not None
            else altered(record, path, 0),
        ):
            (said,) = complaints(put(record, fields, renewed=False))
            assert "digest" in said or "missing" in said or "must" in said, path
    put(record, dict(record) | {"note": "more"}, renewed=False)
    assert "changed since it was written: digest" in complaints(record.path)[0]
    with pytest.raises(InputError, match=rf"{record.path}: changed since it was written"):
        records.load(record.path.parent)


def eval_path(record, path):
    for key in path:
        record = record[key]
    return record


@pytest.mark.parametrize("key", records.FIELDS)
def test_no_field_may_be_missing_even_with_a_digest_that_fits(record, key):
    fields = altered(record, (key,), gone=True)
    put(record, fields, renewed=key != "digest")
    assert complaints(record.path) == [f"{record.path} is not a record: {key} missing"]
    with pytest.raises(InputError, match=f"{key} missing"):
        records.load(record.path.parent)
    del record[key]
    with pytest.raises(InputError, match=f"{key} missing"):
        records.verify(record)


CLAIMS = {  # what a record says, changed and with a digest that fits -> what `verify` answers
    ("method",): "the file of what it says was run is called mu_liux-12b-s0-",
    ("dataset",): "the file of what it says was run is called",
    ("protocol",): "the file of what it says was run is called",
    ("bits",): "the file of what it says was run is called mu_liu-13b-s0-",
    ("seed",): "the file of what it says was run is called mu_liu-12b-s1-",
    ("variant",): "the file of what it says was run is called",
    ("data", "fingerprint"): "the file of what it says was run is called",
    ("data", "split"): "the file of what it says was run is called",
    ("weights",): "weights: scratchx recorded at the top, scratch among the settings",
    ("config", "weights"): "weights: scratch recorded at the top, scratchx among the settings",
    (
        "config",
        "epochs",
    ): "variant: epochs=1 pretrain_epochs=0 recorded, the settings say otherwise",
    (
        "config",
        "pretrain_epochs",
    ): "variant: pretrain_epochs=0 recorded, the settings say otherwise",
    ("metric",): "tiesx recorded at the top, {'at': None, 'convention': None} among the metrics",
    ("backbone",): "backbone: tinyx recorded at the top, tiny among the settings",
    ("config", "backbone"): "backbone: tiny recorded at the top, tinyx among the settings",
    ("map",): "recorded at the top",
    ("metrics", "map"): "recorded at the top",
    ("sizes", "query"): "sizes: 301 recorded for query, 300 stored",
    ("sizes", "database"): "sizes: 1498 recorded for database, 1497 stored",
    ("relevance",): "relevance must be one of",
    ("codes", "sha256"): "not the codes of its record",
    ("codes", "file"): "the record's codes cannot be read",
}


@pytest.mark.parametrize("path", CLAIMS, ids=".".join)
def test_claims_that_a_new_digest_does_not_make_true(record, path):
    put(record, altered(record, path, changed(eval_path(record, path))))
    assert CLAIMS[path] in complaints(record.path)[0]


def test_every_metric_is_recomputed_and_none_is_missing(record):
    for path in leaves(record["metrics"], ("metrics",)):
        if path != ("metrics", "map"):
            said = complaints(put(record, altered(record, path, changed(eval_path(record, path)))))
            assert path[1] in said[0] or (said and path[1] == "at"), (path, said)
    for name in record["metrics"]:
        (said,) = complaints(put(record, altered(record, ("metrics", name), gone=True)))
        assert f"{name} missing" in said or name in ("convention", "precision_at"), said
        for other in ([record["metrics"][name]], {"a": 1}, "text"):
            (said,) = complaints(put(record, altered(record, ("metrics", name), other)))
            assert name in said, (name, other, said)
    put(record, altered(record, ("metrics", "speed"), 1.0))
    assert complaints(record.path) == ["metrics: speed recorded, a run like this has none"]
    put(record, altered(record, ("metrics", "precision_at"), {"0x1": 1.0}))
    assert "precision_at must be given by rank" in complaints(record.path)[0]


def test_both_changed_is_still_not_what_the_codes_give(record):
    fields = altered(record, ("map",), 0.999)
    fields["metrics"]["map"] = 0.999
    put(record, fields)
    assert complaints(record.path) == [f"map: 0.999 recorded, {record.map} recomputed"]


def test_what_is_changed_in_memory_is_seen_too(record):
    record["seconds"]["train"] = 0.001
    assert records.verify(record)[0].startswith("changed since it was written: digest ")
    loose = records.Record(record)
    with pytest.raises(InputError, match="was not read from a file"):
        records.verify(loose)


def test_a_fault_of_the_engines_is_not_confirmed_by_them(folder, monkeypatch):
    """The same wrong engine makes the record and verifies it: the plain loops disagree."""
    right = metrics.evaluate

    def wrong(query, database, asked, labels, **how):
        return right(query, database, asked, np.roll(labels, 1), **how)

    monkeypatch.setattr(metrics, "evaluate", wrong)
    for seed, (name, how) in enumerate(
        {"mu_liu": {"pretrain_epochs": 0, "epochs": 1}, "mlsh": {"combine": "sum"}}.items(), 1
    ):
        record = experiments.run(name, "digits", 12, seed, root=folder, save=True, **how)
        said = records.verify(record)
        assert len(said) == records.SAMPLE + 2 and all("plain loops" in one for one in said)
        assert said == records.verify(
            records.read(record.path)
        )  # it asks the same queries each time
        monkeypatch.setattr(records, "SMALL", 0)
        assert len(records.verify(record)) == records.SAMPLE  # AP alone tells
        monkeypatch.setattr(records, "SMALL", 1 << 19)


# ---- records that mean harm

DEEP = '{"a": ' * 10_000 + "1" + "}" * 10_000
HOSTILE = {
    "..": (("codes", "file"), "..", "the name of a file in its folder"),
    "NUL": (("codes", "file"), "a\0.npz", "text that can be printed is expected"),
    "slash": (("codes", "file"), "../other.npz", "the name of a file in its folder"),
    "absolute": (("codes", "file"), "/etc/passwd", "the name of a file in its folder"),
    "backslash": (("codes", "file"), "..\\other.npz", "the name of a file in its folder"),
    "empty": (("codes", "file"), "", "the name of a file in its folder"),
    "labels": (
        ("codes", "labels"),
        {"file": "../x", "sha256": ""},
        "the name of a file in its folder",
    ),
    "folder": (("codes", "file"), "digits", "codes cannot be read"),
    "order": (("codes", "order"), "other", "codes.order must be class"),
    "text": (
        ("metrics", "map_worst"),
        "0.5",
        "metrics.map_worst must be a number or null, got '0.5'",
    ),
    "list": (("metrics", "map_best"), [1], "metrics.map_best must be a number or null"),
    "metrics": (("metrics",), [1, 2], "metrics must be an object"),
    "curve": (("metrics", "precision"), "high", "precision: high recorded"),
    "cut": (("metrics", "at"), [7], "{'at': [7], 'convention': None} among the metrics"),
    "convention": (
        ("metrics", "convention"),
        {"a": 1},
        "'convention': {'a': 1}} among the metrics",
    ),
    "hardware": (("hardware",), ["one", "two"], "hardware must be an object or null"),
    "device": (("hardware", "device"), ["one"], "hardware.device must be text"),
    "seconds": (("seconds", "train"), {}, "seconds.train must be a number"),
    "method": (("method",), "../../mu_liu", "the name of a file in its folder"),
    "protocol": (("protocol",), "digits/../..", "the name of a file in its folder"),
    "escape": (("backbone",), "\x1b[2J", "text that can be printed is expected"),
    "surrogate": (("backbone",), "\ud800", "text that can be printed is expected"),
    "huge": (("seed",), 10**400, "numbers of less than 64 bits are expected"),
    "tables": (("tables",), [5, 5], "tables must add up to 12 bits"),
    "weights": (("table_weights",), [3], "weights are given if and only if"),
    "deep": (
        ("config",),
        {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {}}}}}}}}},
        "more than 8 deep",
    ),
}
FILES = {
    "nested": (DEEP, "JSON of at most 32 levels"),
    "lists": ("[" * 10_000, "is not a record"),
    "nothing": ("", "is not a record"),
    "NaN": ('{"map": NaN}', "NaN is no number"),
    "digits": ('{"map": ' + "1" * 5000 + "}", "is not a record"),
    "null": ("null", "missing"),
    "a name twice": ('{"map": 0.5, "a": {"b": 1, "b": 2}}', "'b' stands in it twice"),
    "bytes": (b"\xff\xfe\x00", "is not a record"),
}


def harmed(folder, name):
    """A record of the folder that means harm, and what is expected to be said of it."""
    record = records.load(folder, method="mu_liu")[0]
    if name in FILES:
        content, words = FILES[name]
        record.path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return record, words
    path, value, words = HOSTILE[name]
    fields = altered(record, path, value)
    record.path.write_text(json.dumps(fields | {"digest": records.digest(fields)}))
    return record, words


@pytest.mark.parametrize("name", [*HOSTILE, *FILES])
def test_one_record_that_means_harm_is_named_and_the_others_go_on(folder, name, capsys):
    record, words = harmed(folder, name)
    assert main(["verify", "--root", str(folder)]) == 1
    (bad,) = [
        line for line in capsys.readouterr().out.splitlines() if line.startswith(record.path.name)
    ]
    assert words in bad and bad.isprintable() and len(bad) < 1000
    code = main(["table", "--root", str(folder)])
    out, err = capsys.readouterr()
    assert "mlsh" in out and out.replace("\n", "").isprintable()
    if code:
        assert (
            code == 1
            and "mu_liu" not in out
            and err.count("\n") == 1
            and str(record.path) in err
            and words in err
        )
        with pytest.raises(InputError, match="not a record"):
            records.load(folder)
    else:  # all that a table needs is there
        assert "mu_liu" in out and err == ""


def test_what_is_no_file_is_not_waited_for(folder, capsys):
    record = records.load(folder, method="mu_liu")[0]
    codes = record.path.with_name(record["codes"]["file"])
    codes.unlink()
    os.mkfifo(codes)
    assert "a file is expected, got a pipe" in complaints(record.path)[0]
    record.path.unlink()
    os.mkfifo(record.path)
    assert (
        main(["verify", "--root", str(folder)]) == 1 and main(["table", "--root", str(folder)]) == 1
    )
    assert capsys.readouterr().out.count("a file is expected, got a pipe") == 1


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"query_labels": None}, "query_labels missing"),
        ({"query_labels": np.zeros(7, np.int64)}, "as many codes as labels expected, got"),
        ({"database_labels": np.array(3)}, "database_labels must be .N,. or .N, L. integers, got"),
        (
            {"database_labels": np.zeros(1497)},
            "database_labels must be .N,. or .N, L. integers, got",
        ),
        ({"query_codes": np.zeros((300, 3), np.uint8)}, "stored 12-bit codes must be"),
        ({"query_codes": np.array(3)}, "as many codes as labels expected"),
    ],
)
def test_codes_that_are_none(record, arrays, words):
    """Their SHA-256 is the one that the record names: only what they hold is wrong."""
    import hashlib

    from hashlab import files

    file = record.path.with_name(record["codes"]["file"])
    held = files.arrays(file.read_bytes(), file) | arrays
    content = files.npz({key: value for key, value in held.items() if value is not None})
    file.write_bytes(content)
    put(record, altered(record, ("codes", "sha256"), hashlib.sha256(content).hexdigest()))
    with pytest.raises(InputError, match=words):
        records.verify(records.read(record.path))


def test_compact_gives_a_new_digest_but_not_to_what_was_altered(record):
    records.compact(record)
    again = records.read(record.path)
    assert again["codes"]["order"] == "class" and records.verify(again) == []
    del again["codes"]["order"]
    again["seconds"]["train"] = 0.001
    before = record.path.read_bytes()
    with pytest.raises(InputError, match="changed since it was written"):
        records.compact(again)
    assert record.path.read_bytes() == before


@pytest.mark.parametrize("protocol", ["/", "..", "digits/../.."])
def test_no_protocol_leads_out_of_the_root(folder, protocol):
    assert records.load(folder / "digits", protocol=protocol) == []
    assert records.load(folder, method="*") == []
