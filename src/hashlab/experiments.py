"""An experiment: a method, a data set under a protocol, a code length and a seed give a record."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hashlab
from hashlab import _disk, files, methods, metrics, records
from hashlab.data.opening import load as load_data
from hashlab.data.parts import Dataset
from hashlab.errors import InputError
from hashlab.methods import models
from hashlab.methods.base import Shared, recorded
from hashlab.networks import backbones, weights
from hashlab.records import Record
from hashlab.training import loop, numerics, seeds

CHECKPOINTS = ".checkpoints"  # under the root of the records
STAGES = ("train", "encode", "evaluate")


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
    resume: bool = True,
    save_model: str | Path | None = None,
    shared: Shared | None = None,
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
            returned as it is, not repeated. While it trains, checkpoints are kept there too.
        resume: go on from the checkpoints of the same run where there are any, rather than anew.
        save_model: a folder for the trained model. A run that is kept already is trained again for it.
        shared: the same `methods.Shared()` for several runs on one data set lets them share what they can; see `plan`.
        overrides: settings of the method that differ from its defaults.

    Raises:
        InputError: unknown names or settings, data that do not suit the method; before any work starts.
        FloatingPointError, MemoryError, checkpoints.Interrupted: see `DeepMethod.fit`.
    """
    learner, dataset, settings = _prepare(method, data, bits, seed, protocol, tuning, overrides)
    stem, place = records.name(settings), backbones.device(device)
    thing = records.root(root) / stem  # as records and checkpoints are called, and the lock of the run
    folder = records.root(root) / CHECKPOINTS / stem.replace("/", "-") if save else None
    done = _check_places(settings, save, root, save_model)
    if done is not None and save_model is None:
        _tidy(thing, folder)
        return done
    with _disk.lock(thing) if save else nullcontext():
        done = _check_places(settings, save, root, save_model)  # another process may have been faster
        if done is not None and save_model is None:
            return done
        if folder is not None and not resume:
            _disk.discard(folder)
        record, arrays = _measure(learner, dataset, seed, place, folder, shared)
        record = Record(settings | record)
        if save_model is not None:
            facts = {key: record[key] for key in ("dataset", "protocol", "seed", "weights", "map")}
            learner.save(save_model, {"run": stem} | facts)
        if save:
            record = records.write(record, arrays, stem, root) if done is None else done
            _remove(folder)
        return record


def _check_places(
    settings: dict[str, Any], save: bool, root: str | Path | None, save_model: str | Path | None
) -> Record | None:
    """The record that is kept of a run, if any; raises InputError where what comes of the run cannot be written."""
    kept = records.root(root) / f"{records.name(settings)}.json"
    done = _kept(kept, settings) if save and kept.is_file() else None
    if save_model is not None:
        models.check_target(save_model, records.name(settings))
    if save and (done is None or save_model is not None):
        files.check_folder(records.root(root))  # checkpoints
        files.check_folder(kept.parent)
    return done


def _kept(file: Path, settings: dict[str, Any]) -> Record:
    """The record that is kept of a run; raises InputError where defaults have changed since it was made."""
    record = records.read(file)
    for stored in (record["codes"], record["codes"].get("labels", record["codes"])):
        if not file.with_name(stored["file"]).is_file():
            raise InputError(f"{file} is there, but not its {stored['file']}; move it away, and it is run again")
    before, now = record.get("config", {}), settings["config"]
    for key in before.keys() & now.keys():
        if before[key] != now[key]:
            raise InputError(
                f"{file} was made when {key} was {before[key]} by default, now it is {now[key]}; "
                "move it away, or keep records elsewhere (root)"
            )
    return record


def plan(
    names: Sequence[str],
    data: str | Dataset,
    bits: Sequence[int],
    seeds: Sequence[int] = (0,),
    variants: Sequence[dict[str, Any]] = ({},),
    *,
    protocol: str | None = None,
    tuning: bool = False,
    save_model: str | Path | None = None,
    **how: Any,
) -> list[Callable[[], Record]]:
    """Runs of every method, variant, seed and code length on one data set, each a function that gives its record.

    They run one after the other and share what they have in common: the features of a frozen backbone, and training
    that does not depend on the code length. Their results equal those of separate runs. What is asked for twice is
    run once.

    Args:
        names: of methods.
        variants: settings that differ from the defaults.
        save_model: a folder; each run's model goes into a folder of its own in it where there are several.
        how: of `run`.

    Raises InputError, before any work starts, where one of the runs is not possible as far as settings, labels, shapes
    and places can tell; what only the features themselves show is raised by its run.
    """
    backbones.device(how.get("device"))
    dataset = data if isinstance(data, Dataset) else load_data(data, protocol=protocol)
    shared = Shared()
    runs: dict[str, Callable[..., Record]] = {}
    settings: dict[str, dict[str, Any]] = {}
    for name, variant, seed, length in product(names, variants, seeds, bits):
        learner, tuned, found = _prepare(name, dataset, length, seed, None, tuning, variant)
        learner.check(tuned.train)
        words, stem = how | variant | {"tuning": tuning, "shared": shared}, records.name(found)
        runs[stem], settings[stem] = partial(run, name, dataset, length, seed, **words), found
    several = save_model is not None and len(runs) > 1
    places = {stem: Path(save_model) / Path(stem).name if several else save_model for stem in runs}
    for stem, place in places.items():
        _check_places(settings[stem], how.get("save", False), how.get("root"), place)
    return [partial(one, save_model=places[stem]) for stem, one in runs.items()]


def _prepare(
    method: str,
    data: str | Dataset,
    bits: int,
    seed: int,
    protocol: str | None,
    tuning: bool,
    overrides: dict[str, Any],
) -> tuple[methods.Method, Dataset, dict[str, Any]]:
    """The method, the data, and what makes this run this run; raises InputError where they do not go together."""
    learner = methods.create(method, bits, **overrides)
    seeds.check(seed)
    dataset = data if isinstance(data, Dataset) else load_data(data, protocol=protocol)
    dataset = dataset.tuning() if tuning else dataset
    check_labels_suit(learner, dataset)
    return learner, dataset, _settings(learner, method, dataset, seed)


def check_labels_suit(learner: methods.Method, dataset: Dataset) -> None:
    """Raise InputError unless the method takes the set's labels; one that takes classes takes the fine level."""
    kinds = {dataset.relevance} | ({"same_class"} if dataset.relevance == "levels" else set())
    if not kinds & set(learner.about.labels):
        takes = " or ".join(learner.about.labels)
        raise InputError(f"{learner.about.name} takes {takes} labels, {dataset.name} has {dataset.relevance}")


def _settings(learner: methods.Method, method: str, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What makes this run this run: equal settings on equal software and hardware give equal codes."""
    config, usual = (
        _named(recorded(learner.Config, dataclasses.asdict(one))) for one in (learner.config, learner.Config())
    )
    changed = {key: value for key, value in config.items() if value != usual[key]}
    return {
        "method": method,
        "dataset": dataset.name,
        "protocol": dataset.protocol,
        "bits": learner.bits,
        "seed": seed,
        "tables": learner.tables,
        "relevance": dataset.relevance,
        "metric": "mAP over all ranks, expected under ties",
        "variant": " ".join(f"{key}={value}" for key, value in sorted(changed.items())) or "defaults",
        "config": config,
        "weights": config.get("weights", "none"),
        "data": {"fingerprint": dataset.fingerprint, "split": dataset.checksum},
    }


def _named(config: dict[str, Any]) -> dict[str, Any]:
    """Settings with weights by name and SHA-256: where a file lies on this machine is not part of a result."""
    backbone = config.get("backbone", config.get("features"))  # of a deep method, of a shallow one
    return config | ({"weights": weights.describe(config["weights"], backbone)} if "weights" in config else {})


def _measure(
    learner: methods.Method,
    dataset: Dataset,
    seed: int,
    place: torch.device,
    folder: Path | None,
    shared: Shared | None,
) -> tuple[dict, dict[str, np.ndarray]]:
    begun, clock = datetime.now(UTC), [loop.now()]
    shared = Shared() if shared is None else shared
    learner.fit(dataset.train, seed=seed, device=str(place), checkpoints=folder, shared=shared)
    clock.append(loop.now())
    arrays = {
        "query_codes": learner.encode(dataset.query, shared),
        "database_codes": learner.encode(dataset.database, shared),
    }
    arrays |= {"query_labels": dataset.query.targets, "database_labels": dataset.database.targets}
    clock.append(loop.now())
    tables = {key: getattr(learner, key) for key in ("tables", "combine", "table_weights")}
    report = metrics.evaluate(
        *(arrays[key] for key in records.ARRAYS),
        bits=learner.bits,
        relevance=dataset.relevance,
        **records.comparison(tables),
    )
    clock.append(loop.now())
    history = getattr(learner, "history", [])
    return {
        "map": report.map,
        "metrics": report.to_dict(),
        **tables,
        "backbone": getattr(learner, "backbone", "none"),
        "input": learner.input(),
        "sizes": {part: len(getattr(dataset, part)) for part in ("train", "query", "database")},
        "seconds": _seconds([wall for wall, _ in clock], history, "seconds"),
        "cpu_seconds": _seconds([cpu for _, cpu in clock], history, "cpu_seconds"),
        "history": history,
        "started": begun.isoformat(timespec="seconds"),
        "hardware": hardware(place, getattr(learner, "precision", "float32")),
        "versions": versions(),
        "git": git(),
    }, arrays


def _seconds(clock: list[float], history: list[dict], key: str) -> dict[str, float]:
    """Seconds per stage. Epochs that another run, or this one before it was interrupted, has done count as training."""
    seconds = dict(zip(STAGES, np.diff(clock).round(3).tolist(), strict=True))
    epochs = round(sum(line.get(key, line["seconds"]) for line in history), 3)
    return seconds | {"train": max(seconds["train"], epochs)}


def _tidy(thing: Path, folder: Path) -> None:
    """Remove the checkpoints of a run that is kept, unless it is being trained again: one was ended as it did that."""
    if folder.parent.is_dir():
        with suppress(OSError), _disk.lock(thing, wait=False):
            _remove(folder)


def _remove(folder: Path) -> None:
    """Remove the checkpoints of a run that is done, and the folder of all checkpoints if that was the last one."""
    with suppress(OSError):
        _disk.discard(folder)
        _disk.sweep(folder.parent)
        folder.parent.rmdir()


def hardware(device: torch.device, precision: str) -> dict[str, Any]:
    """What the run ran on: the device in words, cores, threads, and the number type of the arithmetic."""
    cuda = device.type == "cuda"
    words = torch.cuda.get_device_name(device) if cuda else f"{numerics.processor()} ({os.cpu_count()} cores)"
    return {"device": words, "kind": device.type, "threads": torch.get_num_threads(), "precision": precision}


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return found | {"hashlab": hashlab.__version__}


def git() -> dict[str, Any] | None:
    """The commit of the checkout and whether anything in its source was changed since; None outside a checkout."""
    folder = _disk.checkout()
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
