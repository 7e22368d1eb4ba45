"""Records: what a run did and what came of it, as one JSON object beside its packed codes.

`<root>/<protocol>/<method>-<bits>b-s<seed>-<hash>.json` and `.npz`; the hash is that of the run's
data and settings, so two different runs never share a name. Files hold arrays only (no pickle),
codes at ceil(K/8) bytes each.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import re
import reprlib
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import codes, files, metrics
from hashlab.data import own
from hashlab.errors import InputError, unknown
from hashlab.files import ARRAYS, _disk
from hashlab.metrics import plain as plain_metrics

__all__ = [
    "Record",
    "compact",
    "comparison",
    "digest",
    "files_of",
    "load",
    "name",
    "read",
    "render",
    "root",
    "table",
    "verify",
]

# What every record holds, with its type; an object holds at least what is listed here. (…, None):
# null where that is not known, or where there is no such thing.
STAGES = {"train": float, "encode": float, "evaluate": float}
FIELDS: dict[str, Any] = {
    "method": str,
    "dataset": str,
    "protocol": str,
    "bits": int,
    "seed": int,
    "tables": ([int], None),
    "relevance": str,
    "metric": str,
    "variant": str,
    "config": dict,
    "weights": str,
    "data": {"fingerprint": str, "split": str},
    "map": (float, None),
    "metrics": {"map": (float, None), "map_worst": (float, None), "map_best": (float, None)},
    "combine": (str, None),
    "table_weights": ([int], None),
    "backbone": str,
    "input": (dict, None),
    "sizes": {"train": int, "query": int, "database": int},
    "seconds": (STAGES, None),
    "cpu_seconds": (STAGES, None),
    "history": ([{"seconds": float}], None),
    "started": (str, None),
    "hardware": ({"device": str, "kind": str, "threads": int, "precision": str}, None),
    "versions": ({"python": str, "torch": str, "numpy": str, "hashlab": str}, None),
    "git": ({"commit": str, "changed": bool}, None),
    "codes": {"file": str, "sha256": str},
    "digest": str,
}
OPTIONAL: dict[str, Any] = {  # what a record holds where there is something to say
    "replaced": dict,  # defaults of settings that became others for the training images
    "collapse": {  # of the codes of the training images, see `methods.collapse`
        "images": int,
        "classes": int,
        "codes": int,
        "bits": int,
        "constant_bits": int,
    },
}
WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}
NAMED = "{method}-{bits}b-s{seed}-*.json"  # files of records, see `name`; other files are none
IDENTITY = (
    "method",
    "dataset",
    "protocol",
    "bits",
    "seed",
    "variant",
    "data",
)  # what a run's name stands for
METRIC = (
    "mAP over all ranks, expected under ties"  # what `metrics.evaluate` gives if not told other
)
DEPTH = 8  # objects and lists within each other, at most
LARGE = 1 << 63  # numbers are smaller
SAMPLE = 3  # queries of a record that `verify` asks with plain loops
SMALL = 1 << 19  # pairs of query and item up to which it counts all of them
# Results that differ in one of these are different lines of every table.
CONDITIONS = (
    "dataset",
    "protocol",
    "metric",
    "backbone",
    "weights",
    "bits",
    "method",
    "variant",
    "data",
)


class Record(dict):
    """One run as a dictionary of JSON values; keys read as attributes too (`record.map`).
    `.path` is its file.
    """

    path: Path | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the record has no {name!r}; it has: {', '.join(self)}") from None

    def codes(self) -> dict[str, np.ndarray]:
        """The stored arrays by name: `query_codes` and `database_codes`, packed as `metrics.evaluate`
        takes them, `query_labels` and `database_labels`.

        Raises InputError where they are missing or altered, or the record was not read from a file.
        """
        if self.path is None:
            raise InputError("the record was not read from a file, so its codes are not at hand")
        arrays = read_stored(self)
        if self["codes"].get("order") == "class":
            by_label = arrays["database_codes"]
            arrays["database_codes"] = np.empty_like(by_label)
            arrays["database_codes"][by_class(arrays["database_labels"])] = by_label
        return in_memory(arrays, self["bits"], self.get("tables"))


def root(path: str | Path | None = None) -> Path:
    """Where records are: `path`, else `$HASHLAB_RESULTS`, else `results` in the checkout, else, of
    an installed copy, `results` in the current folder.
    """
    return Path(path) if path is not None else _disk.folder("HASHLAB_RESULTS", "results")


def name(settings: dict[str, Any]) -> str:
    """`<protocol>/<method>-<bits>b-s<seed>-<hash>` of a run's settings.

    The hash is that of the data and of the settings that differ from the method's defaults, so that
    a package with more settings gives the same run the same name. Raises InputError where these
    cannot be a record's.
    """
    identity = {key: settings[key] for key in IDENTITY}
    _check_values(identity, "the settings of the run")
    for key, value in identity.items():
        _check_type(value, FIELDS[key], key, "the settings of the run")
    for part in (identity["method"], *identity["protocol"].split("/")):
        _check_name(part, "the settings of the run")
    text = json.dumps(identity, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    return "{protocol}/{method}-{bits}b-s{seed}-{short}".format(**identity, short=short)


def digest(record: dict[str, Any]) -> str:
    """SHA-256 of all that a record holds but its digest:
    of its JSON with sorted names and without spaces.
    """
    rest = {key: value for key, value in record.items() if key != "digest"}
    how = {"sort_keys": True, "separators": (",", ":")}
    try:
        text = json.dumps(rest, **how, allow_nan=False)
    except ValueError:  # it has not been in a file yet
        text = json.dumps(plain(rest), **how)
    return hashlib.sha256(text.encode()).hexdigest()


def write(
    record: Record, arrays: dict[str, np.ndarray], stem: str, path: str | Path | None = None
) -> Record:
    """Store a record and its codes under `stem`, codes first, each in one rename;
    returns the record as stored.

    Raises InputError where the record is not complete, or `stem` is not its `name`; nothing is
    written then.
    """
    file = root(path) / f"{stem}.json"
    complete = record | {"codes": {"file": f"{file.stem}.npz", "sha256": ""}, "digest": ""}
    _check_fields(plain(complete), file)
    if stem != name(record):
        raise InputError(f"the record of this run is called {name(record)}, got {stem}")
    data = files.npz(_in_file(arrays, record["bits"], record["tables"]))
    record["codes"] = {"file": f"{file.stem}.npz", "sha256": hashlib.sha256(data).hexdigest()}
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file.with_suffix(".npz"), data)
    record.path = file
    return _write(record)


def stored(record: Record) -> dict[str, bytes]:
    """A record's files as bytes, by their names; its own, the JSON, stands last."""
    of_codes = files_of_codes(record)
    return {file.name: files.read_bytes(file) for file in (*of_codes, record.path)}


def keep(contents: Mapping[str, bytes], protocol: str, path: str | Path | None = None) -> Record:
    """Keep a record that was made elsewhere, and return it; one that is there already stays.

    Args:
        contents: what `stored` gave there.

    Raises InputError where these are no files of a record; nothing is written then.
    """
    *names, own = contents
    file = root(path) / protocol / own
    _check_contents(contents, file)
    file.parent.mkdir(parents=True, exist_ok=True)
    with _disk.lock(file.with_suffix("")):
        if not file.is_file():
            for name in (*names, own):
                files.write(file.with_name(name), contents[name])
    return read(file)


def _check_contents(contents: Mapping[str, bytes], file: Path) -> None:
    """Raise InputError unless these are a record, under its name, and the files that it names."""
    try:
        record = _check_fields(json.loads(contents[file.name]), file)
    except ValueError:
        raise InputError(f"{file} is not a record: JSON is expected") from None
    record.path = file
    _check_digest(record)
    sums = {entry["file"]: entry["sha256"] for entry in _entries(record)}
    given = {
        other: hashlib.sha256(content).hexdigest()
        for other, content in contents.items()
        if other != file.name
    }
    wanted = name(record).rpartition("/")[2]
    if given != sums or file.stem != wanted:
        raise InputError(f"{file} is expected to be {wanted} with the files that it names")


def _write(record: Record) -> Record:
    """Write a record's JSON, its digest last."""
    record.pop("digest", None)
    record["digest"] = digest(record)
    text = json.dumps(plain(record), indent=1, allow_nan=False)
    files.write(record.path, f"{text}\n".encode())
    return record


def _in_file(
    arrays: dict[str, np.ndarray], bits: int, tables: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """Arrays as they stand in files: codes in ceil(bits / 8) bytes, labels as small as may be."""
    stored = {}
    for key, array in arrays.items():
        if key.endswith("codes"):
            stored[key] = codes.trim(files.join_tables(array, tables), bits)
        else:
            stored[key] = _small(array)
    stored["bits"] = np.int64(bits)
    return stored


def _small(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))))


def plain(value: Any) -> Any:
    """JSON has no NaN: where a metric is not defined the file says null."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read(file: str | Path) -> Record:
    """One record; raises InputError when the file is not a record, or not as it was written."""
    file = Path(file)
    fields = files.read_json(file, "a record")
    record = _check_fields(fields, file)
    record.path = file
    _check_digest(record)
    return record


def _check_digest(record: Record) -> None:
    """Raise InputError where a record was changed since it was written."""
    if altered := _altered(record):
        raise InputError(f"{record.path}: {altered}")


def _altered(record: Record) -> str | None:
    """What the digest says, where it is not that of the record."""
    recorded = record["digest"]
    own = digest(record)
    if own == recorded:
        return None
    digests = f"digest {recorded[:12]}… recorded, {own[:12]}… recomputed"
    return f"changed since it was written: {digests}"


def _check_fields(fields: Any, file: Path) -> Record:
    """The fields as a record.

    Raises InputError where something that every record has is missing, or no such thing.
    """
    what = f"{file} is not a record"
    missing = [key for key in FIELDS if not isinstance(fields, dict) or key not in fields]
    if missing:
        raise InputError(f"{what}: {', '.join(missing)} missing")
    _check_values(fields, what)
    _check_stored(fields["codes"], what)
    for key, kind in (FIELDS | OPTIONAL).items():
        if key in fields:
            _check_type(fields[key], kind, key, what)
    return Record(fields)


def _check_stored(stored: Any, what: str) -> None:
    """Raise InputError unless this is the entry `codes` of a record: one file, or two."""
    entries = [stored]
    if isinstance(stored, dict) and "labels" in stored:
        entries.append(stored["labels"])
    for entry in entries:
        if not _is_file_entry(entry):
            got = reprlib.repr(stored)
            raise InputError(f"{what}: codes must name a file and its sha256, got {got}")
        _check_name(entry["file"], what)
    if stored.get("order", "class") != "class":
        got = reprlib.repr(stored["order"])
        raise InputError(f"{what}: codes.order must be class, got {got}")


def _is_file_entry(entry: Any) -> bool:
    """Whether this names a file and its content."""
    if not isinstance(entry, dict):
        return False
    return all(isinstance(entry.get(key), str) for key in ("file", "sha256"))


def _check_values(fields: Any, what: str) -> None:
    """Raise InputError unless these are plain values that can be shown and stored:
    no depths, infinities, escapes.
    """
    level = [fields]
    for _ in range(DEPTH):
        for holder in level:
            _check_shown(holder, what)
        level = [inner for holder in level for inner in files.holders(files.held(holder))]
    if level:
        raise InputError(f"{what}: objects within objects, more than {DEPTH} deep")


def _check_shown(holder: Any, what: str) -> None:
    """Raise InputError for names, texts and numbers in a list or an object that cannot be shown
    and stored.
    """
    values = files.held(holder)
    kinds = set(map(type, values))
    texts = [value for value in values if isinstance(value, str)] if str in kinds else []
    for text in (*(holder if isinstance(holder, dict) else ()), *texts):
        if not text.isprintable():
            got = reprlib.repr(text)
            raise InputError(f"{what}: text that can be printed is expected, got {got}")
    if not kinds & {float, int}:
        return
    numbers = values
    if kinds - {float, int}:
        numbers = [value for value in values if isinstance(value, (float, int))]
    for number in (min(numbers), max(numbers)):
        if not abs(number) < LARGE:
            got = reprlib.repr(number)
            raise InputError(f"{what}: numbers of less than 64 bits are expected, got {got}")


def _check_type(value: Any, kind: Any, key: str, what: str) -> None:
    """Raise InputError unless a value is of a kind of `FIELDS`."""
    optional = isinstance(kind, tuple)
    if optional and value is None:
        return
    if optional:
        kind = kind[0]
    type_ = type(kind) if isinstance(kind, dict | list) else kind
    if not _is_a(value, type_):
        wanted = WORDS[type_] + (" or null" if optional else "")
        raise InputError(f"{what}: {key} must be {wanted}, got {reprlib.repr(value)}")
    if isinstance(kind, dict):
        if missing := [name for name in kind if name not in value]:
            raise InputError(f"{what}: {key}: {', '.join(missing)} missing")
        for name, inner_kind in kind.items():
            _check_type(value[name], inner_kind, f"{key}.{name}", what)
    elif isinstance(kind, list):
        many = value
        if isinstance(kind[0], type):  # the first of each type stands for its likes
            many = {type(inner): inner for inner in reversed(value)}.values()
        for inner in many:
            _check_type(inner, kind[0], f"each of {key}", what)


def _is_a(value: Any, type_: type) -> bool:
    """As JSON has it: a whole number is a number, and true is none, though Python has it so."""
    if isinstance(value, bool):
        return type_ is bool
    if type_ is float:
        return isinstance(value, float | int)
    return isinstance(value, type_)


def _check_name(name: str, what: str) -> None:
    """Raise InputError unless this is a name within a folder, on any system."""
    if name in ("", ".", "..") or set(name) & set("/\\:\0"):
        raise InputError(
            f"{what}: the name of a file in its folder is expected, got {reprlib.repr(name)}"
        )


def read_arrays(file: Path, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a file of codes;
    raises InputError when it is missing or not the one the record names.
    """
    try:
        data = files.read_bytes(file)
    except InputError as error:
        raise InputError(f"the record's codes cannot be read: {error}") from None
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        digests = f"sha256 {sha256[:12]}… expected, got {actual[:12]}…"
        raise InputError(f"{file}: not the codes of its record: {digests}")
    return files.arrays(data, file)


def _entries(record: Record) -> list[dict[str, str]]:
    """What a record says of its files of arrays: one, or where labels stand apart, two."""
    stored = record["codes"]
    if "labels" in stored:  # one file for all runs of a protocol, see `compact`
        return [stored, stored["labels"]]
    return [stored]


def files_of_codes(record: Record) -> list[Path]:
    """The files in which a record's codes and labels stand."""
    return [record.path.with_name(entry["file"]) for entry in _entries(record)]


def read_stored(record: Record) -> dict[str, np.ndarray]:
    """The arrays of a record's files as they stand there; raises InputError for others than its."""
    arrays: dict[str, np.ndarray] = {}
    for entry in _entries(record):
        arrays |= read_arrays(record.path.with_name(entry["file"]), entry["sha256"])
    _check_arrays(arrays, files_of_codes(record)[0])
    return arrays


def _check_arrays(arrays: dict[str, np.ndarray], file: Path) -> None:
    """Raise InputError unless there are codes and labels, as many of one as of the other."""
    if missing := [key for key in ARRAYS if key not in arrays]:
        raise InputError(f"{file}: {', '.join(missing)} missing")
    for side in ("query", "database"):
        packed = arrays[f"{side}_codes"]
        labels = arrays[f"{side}_labels"]
        if labels.ndim not in (1, 2) or labels.dtype.kind not in "iub":
            got = codes.describe(labels)
            raise InputError(f"{file}: {side}_labels must be (N,) or (N, L) integers, got {got}")
        if packed.shape[:1] != labels.shape[:1]:
            got = f"{packed.shape} and {labels.shape}"
            raise InputError(f"{file}: as many codes as labels expected, got {got}")


def in_memory(
    arrays: dict[str, np.ndarray], bits: int, tables: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """Arrays as they stand in files, codes padded as `metrics.evaluate` takes them."""
    padded = {key: arrays[key] for key in ARRAYS}
    for key in ("query_codes", "database_codes"):
        padded[key] = files.split_tables(codes.pad(arrays[key], bits), bits, tables)
    return padded


def compact(record: Record) -> Record:
    """Rewrite a record's files to take less room.

    Labels go into one file for all runs that have the same, and codes of the database stand class
    by class, for those of a class resemble each other.

    New files are written under new names, then the record that names them, and only then the old
    file goes. `verify` finds what it found before; `hashlab evaluate` cannot read such a file, for
    it holds no labels.
    """
    if "order" in record["codes"] and not _outdated(record):
        _disk.sweep(record.path.parent)
        return record
    _check_digest(record)  # a change would be hidden by a new digest
    with _disk.lock(record.path.with_suffix("")):
        record |= read(record.path)  # another process may have been faster
        if "order" not in record["codes"]:
            _compact(record)
        for file in _outdated(record):
            file.unlink()
    return record


def _outdated(record: Record) -> list[Path]:
    """Files of a record's codes that it does not name:
    `compact` was ended before it could remove them.
    """
    own = re.compile(re.escape(record.path.stem) + r"(\.[0-9a-f]{8}|\.codes)?\.npz")
    siblings = [file for file in record.path.parent.glob("*.npz") if own.fullmatch(file.name)]
    return [file for file in siblings if file.name != record["codes"]["file"]]


def _compact(record: Record) -> None:
    """Write a record's codes and labels into two files, then the record that names them."""
    arrays = read_stored(record)
    in_memory(arrays, record["bits"], record.get("tables"))  # raises where these are no such codes
    labels = {key: arrays.pop(key) for key in list(arrays) if key.endswith("labels")}
    order = by_class(labels["database_labels"])
    arrays["database_codes"] = arrays["database_codes"][order]
    of_labels = _write_compact(record, "labels-{}.npz", files.npz(labels, zipfile.ZIP_BZIP2))
    # another name than the old file has, whatever that is
    own_name = record.path.stem + ".{}.npz"
    of_codes = _write_compact(record, own_name, files.npz(arrays, zipfile.ZIP_LZMA))
    record["codes"] = of_codes | {"order": "class", "labels": of_labels}
    _write(record)


def _write_compact(record: Record, form: str, data: bytes) -> dict[str, str]:
    """Write a file beside a record, named by its content, unless it is there; returns its entry."""
    sha256 = hashlib.sha256(data).hexdigest()
    file = record.path.with_name(form.format(sha256[:8]))
    if not file.is_file() or file.read_bytes() != data:
        files.write(file, data)
    return {"file": file.name, "sha256": sha256}


def by_class(labels: np.ndarray) -> np.ndarray:
    """Positions (N,) of images in the order of their labels (N,) or (N, L); stable.

    By the first column first.
    """
    columns = labels.reshape(len(labels), -1).T
    return np.lexsort(columns[::-1])  # which sorts by its last row first


def load(
    path: str | Path | None = None,
    *,
    refused: list[InputError] | None = None,
    **conditions: Any,
) -> list[Record]:
    """All records under the root that meet the conditions (`method="mu_liu", bits=12`).

    Sorted by file. A record's file says its protocol, method, bits and seed (see
    `name`), so with these conditions only files that may do are opened; without them, all are.

    Raises InputError for a condition on what no record has; and, naming the file, for one that is
    called as a record and cannot be read: results of which one is missing are no results. With a
    list `refused` the error joins it instead, and the others are read.
    """
    for key in conditions:
        if key not in FIELDS | OPTIONAL:
            raise unknown("condition", key, FIELDS | OPTIONAL)
    kept = []
    for file in files_of(path, **conditions):
        try:
            kept.append(read(file))
        except InputError as error:
            if refused is None:
                raise
            refused.append(error)
    return [record for record in kept if _meets(record, conditions)]


def _meets(record: Record, conditions: dict[str, Any]) -> bool:
    return all(record.get(key) == value for key, value in conditions.items())


def files_of(path: str | Path | None = None, **conditions: Any) -> list[Path]:
    """Files under the root that are called as records are, sorted; see `name`.

    Only those that may meet the conditions of `load`.
    """
    protocol = Path(conditions.get("protocol", ""))
    if protocol.is_absolute() or ".." in protocol.parts:  # no record lies outside the root
        return []
    parts = dict.fromkeys(("method", "bits", "seed"), "*")
    for key in parts.keys() & conditions.keys():
        parts[key] = glob.escape(str(conditions[key]))
    return sorted((root(path) / protocol).rglob(NAMED.format(**parts)))


def comparison(record: dict[str, Any]) -> dict[str, Any]:
    """How a run's codes are compared, as `metrics.evaluate` takes it:
    tables, combine and weights.
    """
    return {
        "tables": record.get("tables"),
        "combine": record.get("combine"),
        "weights": record.get("table_weights"),
    }


def verify(record: Record, tolerance: float = 1e-9) -> list[str]:
    """Hold a record against its digest, its name and its stored codes.

    Returns what differs, one sentence each. An empty list means: nothing was changed since it was
    written; the name of its file is that of the run it tells of; it has all metrics that such a run
    has, and each comes out again; and so does the AP of a few queries, drawn by the record's name,
    with the plain loops of `metrics.plain`, which share nothing with the engines (where there are
    few images, also precision and recall within each radius). What a run took, and what on, only
    the digest vouches for.

    Raises InputError when a field is missing or no such thing, and when the codes are missing or
    altered.
    """
    if record.path is None:
        raise InputError(
            "the record was not read from a file, so its name and codes cannot be compared"
        )
    _check_fields(plain(record), record.path)
    if altered := _altered(record):
        return [altered]
    own_name = Path(name(record)).name
    if own_name != record.path.stem:
        return [f"the file of what it says was run is called {own_name}"]
    if contradictions := list(_contradictions(record)):
        return contradictions
    if another := _another_set(record):
        return [another]
    stored = record.codes()
    if other_sizes := list(_other_sizes(record, stored)):
        return other_sizes
    report = _evaluated(record, stored, record["metrics"].get("convention"))
    if differences := _differences(record["metrics"], plain(report.to_dict()), tolerance):
        return differences
    if report.convention is not None:  # plain loops know ours only
        report = _evaluated(record, stored, None)
    in_ap = _doubts_in_ap(record, stored, report, tolerance)
    within_radii = _doubts_within_radii(record, stored, report, tolerance)
    return [*in_ap, *within_radii]


def _another_set(record: Record) -> str | None:
    """What is to be said where a set of one's own of this name is in the cache, and another one."""
    name = record["dataset"]
    if name not in own.names():
        return None
    recorded = record["data"]["fingerprint"]
    try:
        fingerprint = own.read(name).about.fingerprint
    except InputError as error:
        return f"data: {error}"
    if recorded == fingerprint:
        return None
    return (
        f"data: {name} in the cache is another set, of fingerprint {fingerprint[:12]}…, not"
        f" {recorded[:12]}…"
    )


def _contradictions(record: Record) -> Iterator[str]:
    """What a record says in two places, and not the same."""
    at_the_top = record["map"]
    inside = record["metrics"]["map"]
    if at_the_top != inside:
        yield f"map: {at_the_top} recorded at the top, {inside} among the metrics"
    at_the_top = record["weights"]
    inside = record["config"].get("weights", "none")
    if at_the_top != inside:
        yield f"weights: {at_the_top} recorded at the top, {inside} among the settings"
    at_the_top = record["backbone"]
    inside = record["config"].get("backbone", record["config"].get("features", "auto"))
    of_features = at_the_top == "features" and "width" in (record.get("input") or {})
    usual = ("auto", "pixels") if of_features else ("auto",)  # they say nothing of given features
    if inside not in (at_the_top, *usual):
        yield f"backbone: {at_the_top} recorded at the top, {inside} among the settings"
    inside = {key: record["metrics"].get(key) for key in ("at", "convention")}
    is_usual = list(inside.values()) == [None, None]
    if is_usual != (record["metric"] == METRIC):
        at_the_top = record["metric"]
        yield f"metric: {at_the_top} recorded at the top, {reprlib.repr(inside)} among the metrics"
    unknown = record["variant"]  # what of it the settings do not say
    for key, value in sorted(record["config"].items()):
        as_set = tuple(value) if isinstance(value, list) else value  # JSON knows no tuples
        setting = f"{key}={as_set}"
        if unknown.startswith(setting):
            unknown = unknown.removeprefix(setting).lstrip()
    if unknown not in ("", "defaults"):
        yield f"variant: {unknown} recorded, the settings say otherwise"


def _other_sizes(record: Record, stored: dict[str, np.ndarray]) -> Iterator[str]:
    """Where as many codes are not stored as the record says."""
    for side in ("query", "database"):
        recorded = record["sizes"][side]
        count = len(stored[f"{side}_codes"])
        if recorded != count:
            yield f"sizes: {recorded} recorded for {side}, {count} stored"


def _evaluated(
    record: Record, stored: dict[str, np.ndarray], convention: str | None
) -> metrics.Report:
    """The metrics of the codes that are stored."""
    recorded = record["metrics"]
    cutoffs = recorded.get("precision_at")
    if not isinstance(cutoffs, dict) or not all(map(_is_rank, cutoffs)):
        raise InputError(f"precision_at must be given by rank, got {reprlib.repr(cutoffs)}")
    return metrics.evaluate(
        *(stored[key] for key in ARRAYS),
        bits=record["bits"],
        relevance=record["relevance"],
        convention=convention,
        at=recorded.get("at"),
        cutoffs=[int(rank) for rank in cutoffs],
        **comparison(record),
    )


def _is_rank(word: str) -> bool:
    return re.fullmatch(r"[1-9]\d{0,8}", word, re.ASCII) is not None


def _differences(recorded: dict[str, Any], fresh: dict[str, Any], tolerance: float) -> list[str]:
    if missing := [key for key in fresh if key not in recorded]:
        return [f"metrics: {', '.join(missing)} missing"]
    if unknown := [key for key in recorded if key not in fresh]:
        return [f"metrics: {', '.join(unknown)} recorded, a run like this has none"]
    differing = [key for key in fresh if not _same(recorded[key], fresh[key], tolerance)]
    return [f"{key}: {recorded[key]} recorded, {fresh[key]} recomputed" for key in differing]


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if {type(a), type(b)} <= {int, float}:
        return abs(a - b) <= tolerance
    return type(a) is type(b) and a == b


# Plain loops share nothing with the engines. Where they give something else, one of both is wrong.


def _doubts_in_ap(
    record: Record, stored: dict[str, np.ndarray], report: metrics.Report, tolerance: float
) -> Iterator[str]:
    """Queries, of a few, whose AP is another by plain loops."""
    count = len(stored["query_codes"])
    by_name = hashlib.sha256(record.path.stem.encode()).digest()
    rng = np.random.default_rng(list(by_name))
    for q in rng.choice(count, min(SAMPLE, count), replace=False).tolist():
        far, relevant = _ranking(record, stored, q)
        ap = plain_metrics.average_precision(far, relevant, report.at)
        if not abs(ap - report.ap[q]) <= tolerance:  # so said, NaN is a doubt
            yield f"query {q}: AP {report.ap[q]} by the engine, {ap} by plain loops"


def _doubts_within_radii(
    record: Record, stored: dict[str, np.ndarray], report: metrics.Report, tolerance: float
) -> Iterator[str]:
    """Whether precision and recall within radii are others by plain loops, where images are few."""
    queries = len(stored["query_codes"])
    if queries * len(stored["database_codes"]) > SMALL:
        return
    counts = np.zeros((2, len(report.recall)), np.int64)  # items, and relevant ones, at each radius
    for q in range(queries):
        far, relevant = _ranking(record, stored, q)
        radii = plain_metrics.radius(far, _tables(record), record["combine"])
        counts += plain_metrics.at_radius(radii, relevant, counts.shape[1])
    items, hits = counts.cumsum(1).tolist()
    precision = [hit / item if item else None for item, hit in zip(items, hits, strict=True)]
    recall = [hit / max(hits[-1], 1) for hit in hits]
    for key, values in (("precision", precision), ("recall", recall)):
        if not _same(plain(getattr(report, key).tolist()), values, tolerance):
            yield f"{key} within a radius: not the same by the engine and by plain loops"


def _ranking(
    record: Record, stored: dict[str, np.ndarray], q: int
) -> tuple[np.ndarray, np.ndarray]:
    """Distances (N,) of the database from query q, and which of it are relevant (N,)."""
    far = plain_metrics.distances(
        stored["query_codes"][q],
        stored["database_codes"],
        _tables(record),
        record["combine"],
        record["table_weights"],
    )
    relevant = plain_metrics.relevant(
        record["relevance"], stored["query_labels"][q], stored["database_labels"]
    )
    return far, relevant


def _tables(record: Record) -> list[int]:
    """The bits of each table, also where there is one."""
    return record["tables"] or [record["bits"]]


def table(runs: Iterable[Record]) -> list[dict[str, Any]]:
    """One line per set of conditions: seeds, mean and standard deviation of mAP, seconds.

    The standard deviation is that of a sample (n - 1), None for a single seed. A run that is given
    twice counts once.

    Example:
        >>> from hashlab import experiments, records
        >>> runs = [experiments.run("lsh", "digits", 16, seed) for seed in (0, 1, 2)]
        >>> (row,) = records.table(runs)
        >>> row["method"], row["bits"], row["seeds"]
        ('lsh', 16, 3)
    """
    groups: dict[tuple, list[Record]] = {}
    for record in {digest(record): record for record in runs}.values():
        groups.setdefault(_conditions(record), []).append(record)
    rows = []
    for conditions, group in sorted(groups.items()):
        named = zip(CONDITIONS, conditions, strict=False)  # all but the last one
        rows.append(dict(named) | _spread(group))
    return rows


def _conditions(record: Record) -> tuple:
    """What two records must have in common to stand in one line."""
    named = [record.bits if key == "bits" else str(record.get(key)) for key in CONDITIONS]
    # All settings too, not only those that were named: "defaults" of two versions need not be
    # equal.
    return (*named, json.dumps(record.get("config"), sort_keys=True))


def _spread(group: list[Record]) -> dict[str, Any]:
    """Means over the records of one line, and how far their mAP varies."""
    maps = np.array([record.map for record in group], float)
    worst = [record["metrics"]["map_worst"] for record in group]
    best = [record["metrics"]["map_best"] for record in group]
    seconds = [(record.get("seconds") or {}).get("train") for record in group]
    devices = {(record.get("hardware") or {}).get("device", "unknown") for record in group}
    return {
        "seeds": len({record.seed for record in group}),
        "map": _mean(maps),
        "map_std": float(np.std(maps, ddof=1)) if len(maps) > 1 else None,
        "map_worst": _mean(worst),
        "map_best": _mean(best),
        "train_seconds": _mean(seconds),
        "hardware": ", ".join(sorted(devices)),
    }


def _mean(values: Sequence[float | None]) -> float:
    """NaN where one of them is not known."""
    return float(np.mean(np.array(values, float)))


COLUMNS = {
    "protocol": "protocol",
    "method": "method",
    "variant": "settings",
    "backbone": "backbone",
    "weights": "weights",
    "bits": "bits",
    "seeds": "seeds",
    "map": "mAP",
    "band": "worst to best order of ties",
    "train_seconds": "training, s",
    "hardware": "hardware",
}


def render(rows: list[dict[str, Any]], form: str = "text") -> str:
    """The lines of `table` as text or markdown, mAP as mean ± standard deviation over seeds."""
    columns = COLUMNS
    protocols = {(row["dataset"], row["protocol"]) for row in rows}
    splits = {(row["dataset"], row["protocol"], row["data"]) for row in rows}
    if len(splits) > len(protocols):  # one protocol stands for several sets of images
        columns = COLUMNS | {"data": "data"}
    cells = [list(columns.values())]
    cells += [[_cell(row, key) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    dashes = ["-" * width for width in widths]
    lines = [_line(words, widths, form) for words in (cells[0], dashes, *cells[1:])]
    return "\n".join(line.rstrip() for line in lines)


def _line(words: list[str], widths: list[int], form: str) -> str:
    """Words below each other, in columns of these widths."""
    padded = [word.ljust(width) for word, width in zip(words, widths, strict=True)]
    if form == "markdown":
        return f"| {' | '.join(padded)} |"
    return "  ".join(padded)


def _cell(row: dict[str, Any], key: str) -> str:
    if key == "map":
        if row["map_std"] is None:
            return f"{row['map']:.4f}"
        return f"{row['map']:.4f} ± {row['map_std']:.4f}"
    if key == "band":
        return f"{row['map_worst']:.4f} to {row['map_best']:.4f}"
    if key == "variant":  # the column beside it says which weights
        return re.sub(r"weights=\S+( sha256:\w+)?", "", row[key]).strip() or "defaults"
    if key == "data":
        return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{8,}", r"\1…", row[key])
    if key == "weights":
        return re.sub(r"(sha256:\w{8})\w+", r"\1…", row[key])
    if key == "train_seconds":
        return f"{row[key]:.0f}"
    return str(row[key])
