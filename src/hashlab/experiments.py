"""An experiment: a method, a data set under a protocol, a code length and a seed give a record."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hashlab
from hashlab import _paths, backbones, methods, metrics, records
from hashlab.data import Dataset
from hashlab.data import load as load_data
from hashlab.errors import InputError
from hashlab.records import Record


def run(
    method: str,
    data: str | Dataset,
    bits: int,
    seed: int = 0,
    *,
    protocol: str | None = None,
    tuning: bool = False,
    device: str | None = None,
    root: str | Path | None = None,
    save: bool = False,
    **overrides: Any,
) -> Record:
    """Train, encode, evaluate; returns the record.

    Args:
        method: one of `methods.names()`.
        data: a data set, or the name of one, split as `protocol` says.
        bits: code length K.
        seed: of everything that is random in the run.
        tuning: train on nine tenths of the train part and retrieve its validation part among them. Queries are
            not touched: this is how settings and epochs are chosen.
        device: "cpu" or "cuda"; CUDA where there is one when None.
        root: where records are kept (`records.root()` when None).
        save: keep record and codes under `root`. A run with the same settings that is kept there already is
            returned as it is, not repeated.
        overrides: settings of the method that differ from its defaults.

    Raises:
        InputError: unknown names or settings, data that do not suit the method; before any work starts.
    """
    learner = methods.create(method, bits, **overrides)
    dataset = data if isinstance(data, Dataset) else load_data(data, protocol=protocol)
    dataset = dataset.tuning() if tuning else dataset
    check_labels_suit(learner, dataset)
    settings = _settings(learner, method, dataset, seed)
    stem = records.name(settings)
    kept = records.root(root) / f"{stem}.json"
    if save and kept.is_file():
        return records.read(kept)
    record, arrays = _measure(learner, dataset, seed, device)
    record = Record(settings | record)
    return records.write(record, arrays, stem, root) if save else record


def check_labels_suit(learner: methods.Method, dataset: Dataset) -> None:
    """Raise InputError unless the method takes the set's labels; one that takes classes takes the fine level."""
    kinds = {dataset.relevance} | ({"same_class"} if dataset.relevance == "levels" else set())
    if not kinds & set(learner.about.labels):
        takes = " or ".join(learner.about.labels)
        raise InputError(f"{learner.about.name} takes {takes} labels, {dataset.name} has {dataset.relevance}")


def _settings(learner: methods.Method, method: str, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What makes this run this run: equal settings on equal software and hardware give equal codes."""
    config = dataclasses.asdict(learner.config)
    return {
        "method": method,
        "dataset": dataset.name,
        "protocol": dataset.protocol,
        "bits": learner.bits,
        "seed": seed,
        "tables": learner.tables,
        "relevance": dataset.relevance,
        "metric": "mAP over all ranks, expected under ties",
        "variant": " ".join(f"{key}={value}" for key, value in sorted(learner.overrides.items())) or "defaults",
        "config": config,
        "weights": config.get("weights", "none"),
        "data": {"fingerprint": dataset.fingerprint, "split": dataset.checksum},
    }


def _measure(
    learner: methods.Method, dataset: Dataset, seed: int, device: str | None
) -> tuple[dict, dict[str, np.ndarray]]:
    place = backbones.device(device)
    begun, clock = datetime.now(UTC), [time.perf_counter()]
    learner.fit(dataset.train, seed=seed, device=str(place))
    clock.append(time.perf_counter())
    arrays = {
        "query_codes": learner.encode(dataset.query.images),
        "database_codes": learner.encode(dataset.database.images),
    }
    arrays |= {"query_labels": dataset.query.targets, "database_labels": dataset.database.targets}
    clock.append(time.perf_counter())
    report = metrics.evaluate(
        *(arrays[key] for key in records.ARRAYS),
        bits=learner.bits,
        relevance=dataset.relevance,
        tables=learner.tables,
    )
    clock.append(time.perf_counter())
    seconds = dict(zip(("train", "encode", "evaluate"), np.diff(clock).round(3).tolist(), strict=True))
    return {
        "map": report.map,
        "metrics": report.to_dict(),
        "backbone": getattr(learner, "backbone", "none"),
        "sizes": {part: len(getattr(dataset, part)) for part in ("train", "query", "database")},
        "seconds": seconds,
        "history": getattr(learner, "history", []),
        "started": begun.isoformat(timespec="seconds"),
        "hardware": hardware(place),
        "versions": versions(),
        "git": git(),
    }, arrays


def hardware(device: torch.device) -> dict[str, Any]:
    """What the run ran on: the device in words, cores, threads, and the number type of the arithmetic."""
    words = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{_cpu()} ({os.cpu_count()} cores)"
    return {"device": words, "kind": device.type, "threads": torch.get_num_threads(), "precision": "float32"}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return found | {"hashlab": hashlab.__version__}


def git() -> dict[str, Any] | None:
    """The commit of the checkout and whether anything in its source was changed since; None outside a checkout."""
    folder = _paths.checkout()
    if folder is None:
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {
            "commit": commit,
            "changed": bool(_git(folder, "status", "--porcelain", "--", "src", "pyproject.toml")),
        }
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()
