"""An experiment: a method, a data set under a protocol, a code length and a seed give a record."""

from __future__ import annotations

import copy
import dataclasses
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

import hashlab
from hashlab import files, methods, metrics, records
from hashlab.data.opening import load as load_data
from hashlab.data.parts import Dataset
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.methods import adapt, models
from hashlab.methods.base import Shared, recorded
from hashlab.networks import backbones, weights
from hashlab.records import Record
from hashlab.training import loop, numerics
from hashlab.training.seeds import check_seed

__all__ = ["Run", "plan", "prepare", "run"]

CHECKPOINTS = ".checkpoints"  # under the root of the records
STAGES = tuple(records.STAGES)


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
        data: a data set, or the name of one, which is split as `protocol` says.
        bits: code length K.
        seed: of everything that is random in the run.
        tuning: train on nine tenths of the train part and retrieve its validation part among them.
            Queries are not touched: this is how settings and epochs are chosen.
        device: "cpu" or "cuda"; CUDA where there is one when None.
        root: where records are kept (`records.root()` when None).
        save: keep record and codes under `root`. A run with the same settings that is kept there
            already is returned as it is, not repeated. While it trains, checkpoints are kept there
            too.
        resume: go on from the checkpoints of the same run where there are any, rather than anew.
        save_model: a folder for the trained model. A run that is kept already is trained again for
            it.
        shared: the same `methods.Shared()` for several runs on one data set lets them share what
            they can; see `plan`.
        overrides: settings of the method that differ from its defaults.

    Raises:
        InputError: unknown names or settings, data that do not suit the method; before any work
            starts.
        FloatingPointError, MemoryError, checkpoints.Interrupted: see `DeepMethod.fit`.

    Example:
        >>> from hashlab import experiments
        >>> record = experiments.run("itq", "digits", 16, seed=0)
        >>> record.method, record.bits, record.sizes
        ('itq', 16, {'train': 1200, 'query': 300, 'database': 1497})
        >>> round(record.map, 1)  # chance gives 0.1, for there are ten classes
        0.6
    """
    one = prepare(
        method,
        data,
        bits,
        seed,
        overrides,
        protocol=protocol,
        tuning=tuning,
        device=device,
        root=root,
        save=save,
        resume=resume,
        save_model=save_model,
    )
    return one.do(shared)


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
) -> list[Run]:
    """Runs of every method, variant, seed and code length on one data set; `do` does one.

    They share what they have in common: the features of a frozen backbone, and training that does
    not depend on the code length. Their results equal those of separate runs. What is asked for
    twice is run once.

    Args:
        names: of methods.
        variants: settings that differ from the defaults.
        save_model: a folder; each run's model goes into a folder of its own in it where there are
            several.
        how: device, root, save and resume of `run`.

    Raises InputError, before any work starts, where one of the runs is not possible as far as
    settings, labels, shapes and places can tell; what only the features themselves show is raised
    by its run.

    Example:
        >>> from hashlab import experiments
        >>> planned = experiments.plan(["lsh", "itq"], "digits", bits=[8, 16], seeds=[0, 1])
        >>> len(planned), planned[0].do().method
        (8, 'lsh')
    """
    for what, several in (("names", names), ("bits", bits), ("seeds", seeds)):
        if isinstance(several, str) or not isinstance(several, Iterable):
            raise InputError(f"{what} must be several, as [{several!r}], got {several!r}")
    backbones.device(how.get("device"))  # before data are read
    dataset = _dataset(data, protocol)
    shared = Shared()
    runs: dict[str, Run] = {}
    for name, variant, seed, length in product(names, variants, seeds, bits):
        one = prepare(name, dataset, length, seed, variant, tuning=tuning, **how)
        runs[one.name] = dataclasses.replace(one, shared=shared)
    planned = list(runs.values())
    if save_model is not None:
        planned = _with_models(planned, save_model)
    for one in planned:
        one.check()
    return planned


def _with_models(runs: list[Run], folder: str | Path) -> list[Run]:
    """Runs whose models are saved: into the folder where there is one, else each into its own."""
    if len(runs) == 1:
        return [dataclasses.replace(runs[0], save_model=folder)]
    return [dataclasses.replace(one, save_model=Path(folder) / one.stem.name) for one in runs]


def prepare(
    method: str,
    data: str | Dataset,
    bits: int,
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
    *,
    protocol: str | None = None,
    tuning: bool = False,
    **how: Any,
) -> Run:
    """A run, ready to be done; arguments are those of `run`.

    Raises InputError where method, settings and data do not go together.
    """
    learner = methods.create(method, bits, **(overrides or {}))
    check_seed(seed)
    dataset = _dataset(data, protocol)
    if tuning:
        dataset = dataset.tuning()
    check_labels_suit(learner, dataset)
    settings = _settings(learner, method, dataset, seed)
    return Run(method, dataset, learner.bits, seed, settings, learner, **how)


def _dataset(data: str | Dataset, protocol: str | None) -> Dataset:
    """A data set, by its name or itself; raises InputError for anything else."""
    if isinstance(data, Dataset):
        if protocol not in (None, data.protocol):
            raise InputError(
                f"a protocol is for a set that is named, and this one is split already as"
                f" {data.protocol}; got {protocol!r}"
            )
        return data
    if isinstance(data, str):
        return load_data(data, protocol=protocol)
    raise InputError(
        f"the name of a data set, or one, is expected, got {type(data).__name__}: data.from_arrays"
        "(train=(images, labels), query=(images, labels)) makes one of your own arrays"
    )


@dataclass(frozen=True, eq=False)
class Run:
    """A method, data, a code length, a seed and settings, from which one record comes.

    Args:
        settings: what makes this run this run, as its record says it.
        learner: the method, which stays unfitted: a run may be done again.
        device, root, save, resume, save_model: see `run`.
        shared: by the runs of a plan.

    Made by `prepare`.
    """

    method: str
    data: Dataset
    bits: int
    seed: int
    settings: dict[str, Any] = field(repr=False)
    learner: methods.Method = field(repr=False)
    device: str | None = None
    root: str | Path | None = None
    save: bool = False
    resume: bool = True
    save_model: str | Path | None = None
    shared: Shared | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Under the root of the records, that of this run's record; see `records.name`."""
        return records.name(self.settings)

    @property
    def stem(self) -> Path:
        """The record's file without its ending; the lock of the run is called so too."""
        return records.root(self.root) / self.name

    @property
    def checkpoints(self) -> Path | None:
        """The folder where the run's checkpoints are kept, if they are."""
        if not self.save:
            return None
        return records.root(self.root) / CHECKPOINTS / self.name.replace("/", "-")

    def check(self) -> None:
        """Raise InputError where the run is not possible.

        As far as settings, labels, shapes and places can tell; nothing is begun.
        """
        backbones.device(self.device)
        self.learner.check(self.data.train)
        self.kept()

    def kept(self) -> Record | None:
        """The record that is kept of this run, if there is one.

        Raises InputError where that was made with other defaults, and where something is still to
        be written that cannot be.
        """
        file = records.root(self.root) / f"{self.name}.json"
        record = _read_kept(file, self.settings) if self.save and file.is_file() else None
        if self.save_model is not None:
            models.check_target(self.save_model, self.name)
        if self.save and (record is None or self.save_model is not None):
            usual = "HASHLAB_RESULTS" if self.root is None else ""
            files.check_folder(records.root(self.root), usual)  # where checkpoints are kept
            files.check_folder(file.parent)
        return record

    def do(self, shared: Shared | None = None) -> Record:
        """Train, encode, evaluate, unless that is kept already; returns the record.

        Args:
            shared: with which runs; with those of its plan when None.
        """
        device = backbones.device(self.device)
        kept = self.kept()
        if kept is not None and self.save_model is None:
            self._tidy()
            return kept
        with _disk.lock(self.stem) if self.save else nullcontext():
            kept = self.kept()  # another process may have been faster
            if kept is not None and self.save_model is None:
                return kept
            return self._do(device, shared or self.shared or Shared(), kept)

    __call__ = do

    def _do(self, device: torch.device, shared: Shared, kept: Record | None) -> Record:
        """Train, encode, evaluate, and keep what is to be kept; a record that is kept stays."""
        if self.checkpoints is not None and not self.resume:
            _disk.discard(self.checkpoints)
        learner = copy.deepcopy(self.learner)
        results, arrays = _measure(learner, self.data, self.seed, device, self.checkpoints, shared)
        record = Record(copy.deepcopy(self.settings) | results)  # who changes it changes no run
        if self.save_model is not None:
            learner.save(self.save_model, self._facts(record))
        if not self.save:
            return record
        if kept is None:
            kept = records.write(record, arrays, self.name, self.root)
        _remove(self.checkpoints)
        return kept

    def _facts(self, record: Record) -> dict[str, Any]:
        """What a model's card says of the run that it comes from."""
        keys = ("dataset", "protocol", "seed", "weights", "map")
        return {"run": self.name} | {key: record[key] for key in keys}

    def _tidy(self) -> None:
        """Remove what a run that is kept has left: one was ended as it did that.

        Its checkpoints stay where it is being trained again.
        """
        _disk.sweep(self.stem.parent)
        if self.checkpoints.parent.is_dir():
            with suppress(OSError), _disk.lock(self.stem, wait=False):
                _remove(self.checkpoints)


def _remove(folder: Path) -> None:
    """Remove the checkpoints of a run that is done.

    With the folder of all checkpoints, if those were the last ones.
    """
    with suppress(OSError):
        _disk.discard(folder)
        _disk.sweep(folder.parent)
        folder.parent.rmdir()


def _read_kept(file: Path, settings: dict[str, Any]) -> Record:
    """The record of a run; raises InputError where defaults have changed since it was made."""
    record = records.read(file)
    for stored in records.files_of_codes(record):
        if not stored.is_file():
            raise InputError(
                f"{file} is there, but not its {stored.name}; move it away, and it is run again"
            )
    before = record.get("config", {})
    now = settings["config"]
    for key in before.keys() & now.keys():
        if before[key] != now[key]:
            raise InputError(
                f"{file} was made when {key} was {before[key]} by default, now it is {now[key]}; "
                "move it away, or keep records elsewhere (root)"
            )
    return record


def check_labels_suit(learner: methods.Method, dataset: Dataset) -> None:
    """Raise InputError unless the method takes the set's labels.

    One that takes classes takes the fine level where there are levels.
    """
    kinds = {dataset.relevance}
    if dataset.relevance == "levels":
        kinds.add("same_class")
    if kinds.isdisjoint(learner.about.labels):
        takes = " or ".join(learner.about.labels)
        raise InputError(
            f"{learner.about.name} takes {takes} labels, {dataset.name} has {dataset.relevance}"
        )


def _settings(learner: methods.Method, method: str, dataset: Dataset, seed: int) -> dict[str, Any]:
    """What makes this run this run: on equal software and hardware, equal ones give equal codes.

    `replaced` holds the defaults of settings that became others for these images, if any did.
    """
    several = dataset.relevance == "shares_label"
    used = learner.settings_for(len(dataset.train), several)
    replaced = recorded(learner.Config, adapt.replaced(learner.config, used))
    config = _recorded(used)
    usual = _recorded(learner.Config())
    changed = [f"{key}={config[key]}" for key in sorted(config) if config[key] != usual[key]]
    return {
        "method": method,
        "dataset": dataset.name,
        "protocol": dataset.protocol,
        "bits": learner.bits,
        "seed": seed,
        "tables": learner.tables,
        "relevance": dataset.relevance,
        "metric": records.METRIC,
        "variant": " ".join(changed) or "defaults",
        "config": config,
        "weights": config.get("weights", "none"),
        "data": {"fingerprint": dataset.fingerprint, "split": dataset.checksum},
    } | ({"replaced": replaced} if replaced else {})


def _recorded(config: Any) -> dict[str, Any]:
    """A method's settings as records have them.

    Weights stand there by name and SHA-256: where a file lies on this machine is no part of a
    result.
    """
    settings = recorded(type(config), dataclasses.asdict(config))
    if "weights" in settings:
        # of a deep method, or of a shallow one
        backbone = settings.get("backbone", settings.get("features"))
        settings["weights"] = weights.describe(settings["weights"], backbone)
    return settings


def _measure(
    learner: methods.Method,
    dataset: Dataset,
    seed: int,
    device: torch.device,
    checkpoints: Path | None,
    shared: Shared,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What comes of a run: the rest of its record, and the arrays of `records.ARRAYS`."""
    started = datetime.now(UTC)
    clock = [loop.now()]
    learner.fit(
        dataset.train, seed=seed, device=str(device), checkpoints=checkpoints, shared=shared
    )
    clock.append(loop.now())
    arrays = {
        "query_codes": learner.encode(dataset.query, shared),
        "database_codes": learner.encode(dataset.database, shared),
        "query_labels": dataset.query.targets,
        "database_labels": dataset.database.targets,
    }
    clock.append(loop.now())
    tables = {
        "tables": learner.tables,
        "combine": learner.combine,
        "table_weights": learner.table_weights,
    }
    report = metrics.evaluate(
        *(arrays[key] for key in records.ARRAYS),
        bits=learner.bits,
        relevance=dataset.relevance,
        **records.comparison(tables),
    )
    clock.append(loop.now())
    results = {
        "map": report.map,
        "metrics": report.to_dict(),
        **tables,
        "backbone": learner.backbone,
        "input": learner.input(),
        "sizes": {part: len(getattr(dataset, part)) for part in ("train", "query", "database")},
        "seconds": _seconds([wall for wall, _ in clock], learner.history, "seconds"),
        "cpu_seconds": _seconds([cpu for _, cpu in clock], learner.history, "cpu_seconds"),
        "history": learner.history,
        "started": started.isoformat(timespec="seconds"),
        "hardware": hardware(device, learner.precision),
        "versions": versions() | backbones.versions(learner.backbone),
        "git": git(),
    }
    if learner.collapse is not None:
        results["collapse"] = learner.collapse.to_dict()
    return results, arrays


def _seconds(clock: list[float], history: list[dict], key: str) -> dict[str, float]:
    """Seconds per stage.

    Epochs that another run, or this one before it was interrupted, has done count as training.
    """
    seconds = dict(zip(STAGES, np.diff(clock).round(3).tolist(), strict=True))
    epochs = round(sum(line.get(key, line["seconds"]) for line in history), 3)
    seconds["train"] = max(seconds["train"], epochs)
    return seconds


def hardware(device: torch.device, precision: str) -> dict[str, Any]:
    """What the run ran on: the device in words, cores, threads,
    and the number type of the arithmetic.
    """
    if device.type == "cuda":
        words = torch.cuda.get_device_name(device)
    else:
        words = f"{numerics.processor()} ({os.cpu_count()} cores)"
    return {
        "device": words,
        "kind": device.type,
        "threads": torch.get_num_threads(),
        "precision": precision,
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "hashlab": hashlab.__version__,
    }


def git() -> dict[str, Any] | None:
    """The commit of the checkout and whether anything in its source was changed since;
    None outside a checkout.
    """
    folder = _disk.checkout()
    if folder is None:
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changes = _git(folder, "status", "--porcelain", "--", "src", "pyproject.toml")
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()
