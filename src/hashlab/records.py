"""Records: what a run did and what came of it, as one JSON object beside its packed codes.

`<root>/<protocol>/<method>-<bits>b-s<seed>-<hash>.json` and `.npz`; the hash is that of the run's data and settings, so
two different runs never share a name. Files hold arrays only (no pickle), codes at ceil(K/8) bytes each.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hashlab import _disk, _paths, codes, files, metrics
from hashlab.errors import InputError
from hashlab.files import ARRAYS

REQUIRED = {  # of every record, with its type
    "method": str,
    "dataset": str,
    "protocol": str,
    "bits": int,
    "seed": int,
    "relevance": str,
    "map": float | int | None,
    "metrics": dict,
    "codes": dict,
}
METRICS = ("map", "map_worst", "map_best", "precision", "recall")  # among the metrics of every record
NAMED = "{method}-{bits}b-s{seed}-*.json"  # files of records, see `name`; other files are none
IDENTITY = ("method", "dataset", "protocol", "bits", "seed", "variant", "data")  # what a run's name stands for
# Results that differ in one of these are different lines of every table.
CONDITIONS = ("dataset", "protocol", "metric", "backbone", "weights", "bits", "method", "variant", "data")


class Record(dict):
    """One run as a dictionary of JSON values; keys read as attributes too (`record.map`). `.path` is its file."""

    path: Path | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the record has no {name!r}; it has: {', '.join(self)}") from None

    def codes(self) -> dict[str, np.ndarray]:
        """The stored arrays of `ARRAYS`, codes packed as `metrics.evaluate` takes them."""
        if self.path is None:
            raise InputError("the record was not read from a file, so its codes are not at hand")
        file = self.path.with_name(self["codes"]["file"])
        arrays = read_arrays(file, self["codes"]["sha256"])
        if "labels" in self["codes"]:  # one file for all runs of a protocol, see `compact`
            labels = self["codes"]["labels"]
            arrays |= read_arrays(file.with_name(labels["file"]), labels["sha256"])
        if self["codes"].get("order") == "class":
            arrays["database_codes"] = arrays["database_codes"][np.argsort(by_class(arrays["database_labels"]))]
        return in_memory(arrays, self["bits"], self.get("tables"))


def root(path: str | Path | None = None) -> Path:
    """Where records are: `path`, else `$HASHLAB_RESULTS`, else `results` in the checkout."""
    return Path(path) if path is not None else _paths.folder("HASHLAB_RESULTS", "results")


def name(settings: dict[str, Any]) -> str:
    """`<protocol>/<method>-<bits>b-s<seed>-<hash>` of a run's settings.

    The hash is that of the data and of the settings that differ from the method's defaults, so that a package with
    more settings gives the same run the same name.
    """
    text = json.dumps({key: settings[key] for key in IDENTITY}, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    return "{protocol}/{method}-{bits}b-s{seed}-".format(**settings) + short


def write(record: Record, arrays: dict[str, np.ndarray], stem: str, path: str | Path | None = None) -> Record:
    """Store a record and its codes under `stem`, codes first, each in one rename; returns the record as stored."""
    file = root(path) / f"{stem}.json"
    _checked(plain(record | {"codes": {"file": "", "sha256": ""}}), file)
    if not file.match(NAMED.format(method="*", bits="*", seed="*")):
        raise InputError(f"a record is called METHOD-BITSb-sSEED-HASH, got {file.stem}: `load` would not find it")
    bits, tables = record["bits"], record.get("tables")
    stored = {
        key: codes.trim(files.join_tables(a, tables), bits) if key.endswith("codes") else _small(a)
        for key, a in arrays.items()
    }
    data = files.npz(stored | {"bits": np.int64(bits)})
    record["codes"] = {"file": f"{file.stem}.npz", "sha256": hashlib.sha256(data).hexdigest()}
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file.with_suffix(".npz"), data)
    files.write(file, (json.dumps(plain(record), indent=1, allow_nan=False) + "\n").encode())
    record.path = file
    return record


def _small(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))))


def plain(value: Any) -> Any:
    """JSON has no NaN: where a metric is not defined the file says null."""
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(file: str | Path) -> Record:
    """One record; raises InputError when the file is not a record."""
    file = Path(file)
    try:
        fields = json.loads(file.read_text())
    except OSError as error:  # whose own words hold the path too
        raise InputError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{file} is not a record: {error}") from None
    record = _checked(fields, file)
    record.path = file
    return record


def _checked(fields: Any, file: Path) -> Record:
    """The fields as a record; raises InputError where something that every record has is missing, or no such thing."""
    missing = [key for key in REQUIRED if not isinstance(fields, dict) or key not in fields]
    if missing:
        raise InputError(f"{file} is not a record: {', '.join(missing)} missing")
    for key, kind in REQUIRED.items():
        if not isinstance(fields[key], kind) or isinstance(fields[key], bool):
            raise InputError(f"{file} is not a record: {key} must be {_word(kind)}, got {fields[key]!r}")
    stored = fields["codes"]
    for named in (stored, stored.get("labels", stored)):
        if not isinstance(named, dict) or not all(isinstance(named.get(key), str) for key in ("file", "sha256")):
            raise InputError(f"{file} is not a record: codes must name a file and its sha256, got {stored}")
    return Record(fields)


def _word(kind: Any) -> str:
    return {str: "text", int: "a whole number", dict: "an object"}.get(kind, "a number or null")


def read_arrays(file: Path, sha256: str) -> dict[str, np.ndarray]:
    """The arrays of a file of codes; raises InputError when it is missing or not the one the record names."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: the record's codes cannot be read ({error.strerror})") from None
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InputError(f"{file}: not the codes of its record: sha256 {sha256[:12]}… expected, got {found[:12]}…")
    return files.arrays(data, file)


def in_memory(arrays: dict[str, np.ndarray], bits: int, tables: Sequence[int] | None) -> dict[str, np.ndarray]:
    """Arrays as they stand in files, codes padded as `metrics.evaluate` takes them."""
    return {
        key: files.split_tables(codes.pad(arrays[key], bits), bits, tables) if key.endswith("codes") else arrays[key]
        for key in ARRAYS
    }


def compact(record: Record) -> Record:
    """Rewrite a record's files to take less room: labels go into one file for all runs that have the same, and codes
    of the database stand class by class, for those of a class resemble each other.

    New files are written under new names, then the record that names them, and only then the old file goes. `verify`
    finds what it found before; `hashlab evaluate` cannot read such a file, for it holds no labels.
    """
    if "order" in record["codes"] and not _outdated(record):
        return record
    with _disk.lock(record.path.with_suffix("")):
        record |= read(record.path)  # another process may have been faster
        if "order" not in record["codes"]:
            _compact(record)
        for file in _outdated(record):
            file.unlink()
    return record


def _outdated(record: Record) -> list[Path]:
    """Files of a record's codes that it does not name: `compact` was ended before it could remove them."""
    ours = re.compile(re.escape(record.path.stem) + r"(\.[0-9a-f]{8}|\.codes)?\.npz")
    siblings = record.path.parent.glob("*.npz")
    return [file for file in siblings if ours.fullmatch(file.name) and file.name != record["codes"]["file"]]


def _compact(record: Record) -> None:
    record.codes()  # raises where the files are not the record's
    stored = files.arrays(record.path.with_name(record["codes"]["file"]).read_bytes(), record.path)
    if "labels" in record["codes"]:
        stored |= files.arrays(record.path.with_name(record["codes"]["labels"]["file"]).read_bytes(), record.path)
    labels = {key: stored.pop(key) for key in list(stored) if key.endswith("labels")}
    stored["database_codes"] = stored["database_codes"][by_class(labels["database_labels"])]
    shared, own = files.npz(labels, zipfile.ZIP_BZIP2), files.npz(stored, zipfile.ZIP_LZMA)
    digest = hashlib.sha256(shared).hexdigest()
    place = record.path.with_name(f"labels-{digest[:8]}.npz")
    if not place.is_file():
        files.write(place, shared)
    content = hashlib.sha256(own).hexdigest()
    file = record.path.with_suffix(f".{content[:8]}.npz")  # another name than the old one, whatever that was
    record["codes"] = {"file": file.name, "sha256": content, "order": "class"}
    record["codes"]["labels"] = {"file": place.name, "sha256": digest}
    files.write(file, own)
    files.write(record.path, (json.dumps(plain(record), indent=1, allow_nan=False) + "\n").encode())


def by_class(labels: np.ndarray) -> np.ndarray:
    """Positions (N,) of images in the order of their labels (N,) or (N, L), by the first column first; stable."""
    return np.lexsort(labels.reshape(len(labels), -1).T[::-1])


def load(path: str | Path | None = None, **conditions: Any) -> list[Record]:
    """All records under the root that meet the conditions (`method="mu_liu", bits=12`), sorted by file; see `NAMED`.

    A record's place says its protocol, method, bits and seed (see `name`), so with these conditions only files that
    may do are opened; without them, all are.
    """
    found = map(read, files_of(path, **conditions))
    return [record for record in found if all(record.get(key) == value for key, value in conditions.items())]


def files_of(path: str | Path | None = None, **conditions: Any) -> list[Path]:
    """Files under the root that are called as records are and may meet the conditions of `load`, sorted; see `name`."""
    part = {key: conditions.get(key, "*") for key in ("method", "bits", "seed")}
    return sorted((root(path) / conditions.get("protocol", "")).rglob(NAMED.format(**part)))


def comparison(record: dict[str, Any]) -> dict[str, Any]:
    """How a run's codes are compared, as `metrics.evaluate` takes it: tables, combine and weights."""
    said = {"tables": "tables", "combine": "combine", "weights": "table_weights"}
    return {word: record.get(key) for word, key in said.items()}


def verify(record: Record, tolerance: float = 1e-9) -> list[str]:
    """Recompute every metric of a record from its stored codes; returns what differs, one sentence each.

    An empty list means that all agree, and that what the record says was run belongs to the name of its file. Raises
    InputError when the codes are missing or altered.
    """
    said = record["metrics"]
    if missing := [key for key in METRICS if key not in said]:
        return [f"metrics: {', '.join(missing)} missing"]
    if record.map != said["map"]:
        return [f"map: {record.map} recorded at the top, {said['map']} among the metrics"]
    if set(IDENTITY) <= record.keys() and (own := Path(name(record)).name) != record.path.stem:
        return [f"the file of what it says was run is called {own}"]
    stored = record.codes()
    cutoffs = {"cutoffs": [int(k) for k in said["precision_at"]]} if "precision_at" in said else {}
    report = metrics.evaluate(
        *(stored[key] for key in ARRAYS),
        bits=record.bits,
        relevance=record.relevance,
        convention=said.get("convention"),
        at=said.get("at"),
        **cutoffs,
        **comparison(record),
    )
    fresh = plain(report.to_dict())
    differing = [key for key in said if not _same(said[key], fresh.get(key), tolerance)]
    return [f"{key}: {said[key]} recorded, {fresh.get(key)} recomputed" for key in differing]


def _same(a: Any, b: Any, tolerance: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key], tolerance) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) or isinstance(b, float):
        return a is not None and b is not None and abs(a - b) <= tolerance
    return a == b


def table(found: Iterable[Record]) -> list[dict[str, Any]]:
    """One line per set of conditions: how many seeds, mean and standard deviation of mAP over them, seconds.

    The standard deviation is that of a sample (n - 1), None for a single seed.
    """
    groups: dict[tuple, list[Record]] = {}
    for record in found:
        said = tuple(record.bits if key == "bits" else str(record.get(key)) for key in CONDITIONS)
        # all settings, not only those that were named: "defaults" of two versions need not be the same
        groups.setdefault((*said, json.dumps(record.get("config"), sort_keys=True)), []).append(record)
    return [dict(zip(CONDITIONS, key[:-1], strict=True)) | _spread(group) for key, group in sorted(groups.items())]


def _spread(group: list[Record]) -> dict[str, Any]:
    def mean(values: Iterable[float | None]) -> float:
        return float(np.mean(np.array(list(values), float)))  # NaN where one is not known

    maps = np.array([record.map for record in group], float)
    return {
        "seeds": len({record.seed for record in group}),
        "map": mean(maps),
        "map_std": float(np.std(maps, ddof=1)) if len(maps) > 1 else None,
        "map_worst": mean(record["metrics"].get("map_worst") for record in group),
        "map_best": mean(record["metrics"].get("map_best") for record in group),
        "train_seconds": mean((record.get("seconds") or {}).get("train") for record in group),
        "hardware": ", ".join(sorted({(record.get("hardware") or {}).get("device", "unknown") for record in group})),
    }


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
    shown = COLUMNS
    places = [(row["dataset"], row["protocol"], row["data"]) for row in rows]
    if len(set(places)) > len({place[:2] for place in places}):
        shown = COLUMNS | {"data": "data"}  # one name and protocol stand for several sets of images
    cells = [list(shown.values())] + [[_cell(row, key) for key in shown] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    edge, gap = ("| ", " | ") if form == "markdown" else ("", "  ")
    lines = [edge + gap.join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + edge[::-1] for line in cells]
    rule = edge + gap.join("-" * width for width in widths) + edge[::-1]
    return "\n".join(line.rstrip() for line in [lines[0], rule, *lines[1:]])


def _cell(row: dict[str, Any], key: str) -> str:
    if key == "map":
        return f"{row['map']:.4f}" + (f" ± {row['map_std']:.4f}" if row["map_std"] is not None else "")
    if key == "band":
        return f"{row['map_worst']:.4f} to {row['map_best']:.4f}"
    if key == "variant":  # the column beside it says which weights
        return re.sub(r"weights=\S+( sha256:\w+)?", "", row[key]).strip() or "defaults"
    if key == "data":
        return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{8,}", r"\1…", row[key])
    if key == "weights":
        return re.sub(r"(sha256:\w{8})\w+", r"\1…", row[key])
    return f"{row[key]:.0f}" if key == "train_seconds" else str(row[key])
