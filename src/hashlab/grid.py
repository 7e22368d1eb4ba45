"""Grids as data: a TOML file describes the runs behind a table, a `Worker` does those that are missing::

    title = "Two methods on digits"
    dataset = "digits"
    bits = [12, 24]
    seeds = [0, 1, 2]

    [settings]               # of every row
    epochs = 5

    [search]                 # where settings are chosen: among held-out images of the train part
    bits = 24
    seed = 0

    [[rows]]
    method = "itq"
    settings = { epochs = "" }   # takes back a setting that this method does not have

    [[rows]]
    method = "dpsh"
    search = [{ lr = [0.003, 0.01, 0.03] }, { alpha = [0.01, 0.1] }]

A row is a method under its settings, with a cell for each length and seed. What stands on top
(`dataset`, `protocol`, `bits`, `seeds`) holds for the rows that do not say otherwise. A search has
stages: each tries every combination of its values, with what the stages before it have chosen, and
keeps the one that finds held-out images best (see `unseen`). Where the best of a list of three or
more rising numbers above 0 stands at its end, the list is widened beyond it, by the ratio of the two
numbers at its other end, three times at most.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import secrets
import statistics
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hashlab import codes, experiments, files, methods, metrics, records
from hashlab.data import opening
from hashlab.data.opening import load as load_data
from hashlab.data.parts import Dataset
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.methods import adapt
from hashlab.methods.base import MOST_BITS, Shared, recorded
from hashlab.networks import backbones
from hashlab.records import Record
from hashlab.scale import pools
from hashlab.training.seeds import check_seed

__all__ = ["Choice", "Done", "Grid", "Job", "Kept", "Row", "Worker", "joined", "read", "unseen"]

WIDEN = 3  # times that a list of numbers is made longer, at most
WAIT = 0.2  # seconds until a process looks again at what the others have done
BODY = ("backbone", "weights", "size", "frozen", "epochs")  # what a run's seconds depend on most
CLAIMS = ".grid"  # under the root of the records: which run is whose

INHERITED = ("dataset", "protocol", "bits", "seeds")  # what rows take from the top of a file
TOP = {*INHERITED, "title", "settings", "search", "rows"}
OF_ROW = {*INHERITED, "name", "method", "settings", "search"}
OF_SEARCH = {"bits", "seed"}

Stage = dict[str, list[Any]]  # a setting -> the values that are tried
Settings = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A method under its settings: a line of a table, with a cell for each length and seed.

    Args:
        name: of the line; the method's where the file gives none.
        search: stages; none where nothing is chosen.
        search_bits, search_seed: of the runs that choose.
    """

    name: str
    method: str
    dataset: str
    protocol: str
    bits: tuple[int, ...]
    seeds: tuple[int, ...]
    settings: Settings
    search: tuple[Stage, ...] = ()
    search_bits: int = 24
    search_seed: int = 0

    def final(self, settings: Settings) -> list[Job]:
        """The runs of all cells: seed by seed, for lengths may share training."""
        pairs = product(self.seeds, self.bits)
        return [Job(self, bits, seed, settings) for seed, bits in pairs]

    def trial(self, settings: Settings) -> Job:
        return Job(self, self.search_bits, self.search_seed, settings, tuning=True)


class Job(NamedTuple):
    """One run of a grid.

    Args:
        row: whose cell, or whose search, it is for.
        bits: K.
        seed: of everything that is random in it.
        settings: that differ from the method's defaults.
        tuning: whether it is one that chooses settings, on held-out images.
    """

    row: Row
    bits: int
    seed: int
    settings: Settings
    tuning: bool = False

    @property
    def protocol(self) -> str:
        return f"{self.row.protocol}/tuning" if self.tuning else self.row.protocol

    @property
    def identity(self) -> tuple:
        return self.row.method, self.protocol, self.bits, self.seed

    @property
    def name(self) -> str:
        """One for each run, however its settings are written; a file may be called so."""
        wanted, _ = configuration(self.row.method, self.bits, self.settings)
        short = _short(json.dumps(wanted, sort_keys=True))
        return "-".join(map(str, self.identity)).replace("/", "-") + f"-{short}"

    @property
    def group(self) -> str:
        """That of the runs which may share training with this one."""
        if self.tuning:
            return self.name
        return f"{self.protocol}-{self.row.method}-{self.seed}-{_short(self.row.name)}"

    def __str__(self) -> str:
        part = "search" if self.tuning else f"seed {self.seed}"
        return f"{self.row.name}, {self.bits} bits, {part}"


class Choice(NamedTuple):
    """What the search of a row has come to so far.

    Args:
        settings: that are chosen, as far as it has come.
        tried: settings, and the record of their run.
        missing: runs that have to be done before it can go on.
    """

    settings: Settings
    tried: list[tuple[Settings, Record]]
    missing: list[Job]


class Kept:
    """Records under a root, read once each, by what they are of.

    Args:
        root: see `records.root`.
        protocols: names; those with `/tuning` count as others.
    """

    def __init__(self, root: Path, protocols: Sequence[str]):
        self.root = root
        self.protocols = sorted(set(protocols))
        self._by_identity: dict[tuple, list[Record]] = {}
        self._read: set[Path] = set()
        self.look()

    def look(self) -> None:
        """Read what has come since."""
        for protocol in self.protocols:
            folder = self.root / protocol
            for file in sorted([*folder.glob("*.json"), *folder.glob("*.failed")]):
                if file not in self._read:
                    self._add(file)

    def _add(self, file: Path) -> None:
        self._read.add(file)
        record = _read_failed(file) if file.suffix == ".failed" else records.read(file)
        identity = (record["method"], record["protocol"], record["bits"], record["seed"])
        self._by_identity.setdefault(identity, []).append(record)

    def find(self, job: Job) -> Record | None:
        """The record of a job, if there is one; raises InputError where two would do.

        It is one that was made with all settings of the job; of those that it does not name, with
        their defaults.
        """
        of_run = self._by_identity.get(job.identity, ())
        same = [record for record in of_run if is_of(record, job)]
        if len(same) > 1:
            raise InputError(f"one record of {job} expected, got {len(same)} with equal settings")
        return same[0] if same else None

    def of(self, row: Row) -> list[Record]:
        """All records of a row's method and protocol with its body, whatever was chosen."""
        wanted, usual = configuration(row.method, row.search_bits, row.settings)
        body = {key: wanted[key] for key in BODY if key in wanted}
        return [
            record
            for (method, protocol, *_), of_run in self._by_identity.items()
            if (method, protocol) == (row.method, row.protocol)
            for record in of_run
            if agrees(record, body, usual)
        ]


def _read_failed(file: Path) -> Record:
    """What is kept of a trial that failed; raises InputError where it is not that."""
    facts = files.read_json(file, "a trial that failed")
    needed = {"method", "protocol", "bits", "seed", "config"}
    if not isinstance(facts, dict) or not needed <= facts.keys():
        raise InputError(
            f"{file} is no trial that failed: it must hold {', '.join(sorted(needed))}"
        )
    return Record(facts)


def configuration(method: str, bits: int, settings: Settings) -> tuple[Settings, Settings]:
    """All settings of a method, as `agrees` compares them with a record's, and its defaults."""
    return _configuration(method, bits, json.dumps(settings, sort_keys=True))


@cache
def _configuration(method: str, bits: int, settings: str) -> tuple[Settings, Settings]:
    config = methods.create(method, bits, **json.loads(settings)).config
    wanted = recorded(type(config), dataclasses.asdict(config))
    usual = recorded(type(config), dataclasses.asdict(type(config)()))
    return comparable(wanted), usual


def is_of(record: Record, job: Job) -> bool:
    """Whether a record is that of a job, with what the training part made of its settings.

    A trial that failed does not say how many images it had, but which defaults gave way.
    """
    method = job.row.method
    wanted, usual = configuration(method, job.bits, job.settings)
    if "sizes" in record:
        learner = methods.create(method, job.bits, **job.settings)
        several = record["relevance"] == "shares_label"
        used = learner.settings_for(record["sizes"]["train"], several)
        gave_way = adapt.replaced(learner.config, used)
        wanted = wanted | {key: getattr(used, key) for key in gave_way}
        return agrees(record, wanted, usual)
    gave_way = {
        key: value for key, value in record.get("replaced", {}).items() if key not in job.settings
    }
    return agrees(Record(record | {"config": record["config"] | gave_way}), wanted, usual)


def agrees(record: Record, wanted: Settings, usual: Settings) -> bool:
    """Whether a record was made with all settings that are wanted, whatever file weights are in.

    In a record that was made before a setting existed, that setting has its default.
    """
    return wanted.items() <= comparable(usual | record["config"]).items()


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Settings in which weights are called as their file is, without folder and SHA-256."""
    if "weights" not in config:
        return config
    return config | {"weights": Path(config["weights"].split(" sha256:")[0]).name}


# ---- which settings are best


def unseen(record: Record) -> float:
    """mAP of a record's query images among each other:
    one half is searched for the other, and the other way round.

    In a record of the validation part none of them has been trained on, unlike the images of its
    database. -1 for a trial that failed.

    Raises InputError for a record that was not read from a file, where its codes are.
    """
    if "error" in record and "metrics" not in record:
        return -1.0
    if record.path is None:
        raise InputError("the record was not read from a file, so its codes are not at hand")
    return _unseen(record.path)


@cache
def _unseen(path: Path) -> float:
    record = records.read(path)
    stored = record.codes()
    query_codes = stored["query_codes"]
    labels = stored["query_labels"]
    even = np.arange(record.sizes["query"]) % 2 == 0
    how = {"bits": record.bits, "relevance": record.relevance} | records.comparison(record)
    maps = []
    for queries in (even, ~even):
        halves = (query_codes[queries], query_codes[~queries], labels[queries], labels[~queries])
        maps.append(metrics.evaluate(*halves, **how).map)
    return float(np.mean(maps))


def widened(stage: Stage, best: Settings) -> Stage | None:
    """The stage with further numbers where the best one stands at an end of its list;
    None where nothing is to be added.
    """
    longer = {name: _widened(values, best[name]) for name, values in stage.items()}
    return longer if longer != stage else None


def _widened(values: list[Any], best: Any) -> list[Any]:
    if len(values) < 3 or not all(_positive(value) for value in values) or values != sorted(values):
        return values
    if best == values[-1]:
        further = _rounded(values[-1] * values[1] / values[0], values)
        return values if further in values else [*values, further]
    if best == values[0]:
        further = _rounded(values[0] * values[-2] / values[-1], values)
        return values if further in values else [further, *values]
    return values


def _positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _rounded(value: float, like: list[Any]) -> float | int:
    if all(isinstance(other, int) for other in like):
        return max(round(value), 1)
    return float(f"{value:.3g}")


def combinations(stage: Stage, chosen: Settings) -> list[Settings]:
    return [chosen | dict(zip(stage, v, strict=True)) for v in product(*stage.values())]


def choice(row: Row, kept: Kept) -> Choice:
    """How far the search of a row is, going by the records that are kept."""
    chosen = dict(row.settings)
    tried: list[tuple[Settings, Record]] = []
    for stage in row.search:
        for may_widen in range(WIDEN, -1, -1):
            outcomes = [(s, kept.find(row.trial(s))) for s in combinations(stage, chosen)]
            missing = [row.trial(settings) for settings, record in outcomes if record is None]
            if missing:
                return Choice(chosen, tried + [o for o in outcomes if o[1] is not None], missing)
            best = max(outcomes, key=lambda outcome: unseen(outcome[1]))[0]
            longer = widened(stage, best) if may_widen else None
            if longer is None or not _possible(row, combinations(longer, chosen)):
                break
            stage = longer
        tried += outcomes
        chosen = best
    return Choice(chosen, tried, [])


def _possible(row: Row, variants: Sequence[Settings]) -> bool:
    """Whether the method takes these settings: widening may go beyond what one can be."""
    try:
        for settings in variants:
            methods.create(row.method, row.search_bits, **settings)
    except InputError:
        return False
    return True


# ---- the file


@dataclass(frozen=True)
class Grid:
    """The rows of a file, in its order."""

    title: str
    rows: tuple[Row, ...]
    file: Path

    def kept(self, root: str | Path | None = None) -> Kept:
        """The records of this grid that are there."""
        return Kept(records.root(root), self.protocols)

    @property
    def protocols(self) -> list[str]:
        """Under which its records stand, those on the validation part after the others."""
        protocols = [row.protocol for row in self.rows]
        return protocols + [f"{name}/tuning" for name in protocols]

    def row(self, name: str) -> Row:
        """The row of that name; raises InputError where there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(f"{self.file} has no row {name!r}; it has {self._names()}")

    def _names(self) -> str:
        return ", ".join(row.name for row in self.rows)

    def cells(self, row: Row, kept: Kept) -> dict[tuple[int, int], Record | None]:
        """(code length, seed) -> the record; None for what was not run."""
        cells = dict.fromkeys(product(row.bits, row.seeds))
        found = choice(row, kept)
        if not found.missing:
            for job in row.final(found.settings):
                cells[job.bits, job.seed] = kept.find(job)
        return cells

    def todo(self, kept: Kept) -> tuple[list[Job], int]:
        """The runs that can be done now, in the file's order,
        and how many others wait for a search.
        """
        ready: list[Job] = []
        waiting = 0
        for row in self.rows:
            found = choice(row, kept)
            ready += found.missing
            if found.missing:
                waiting += len(row.bits) * len(row.seeds)
            else:
                ready += [job for job in row.final(found.settings) if kept.find(job) is None]
        distinct = dict(zip([job.name for job in ready], ready, strict=True))  # rows share runs
        return list(distinct.values()), waiting

    def missing(self, row: Row, kept: Kept) -> int:
        """How many runs of a row are missing, as far as its search tells by now."""
        found = choice(row, kept)
        if found.missing:
            return len(found.missing) + len(row.bits) * len(row.seeds)
        return sum(record is None for record in self.cells(row, kept).values())


def joined(grids: Sequence[Grid]) -> Grid:
    """The rows of several grids, one after the other."""
    rows = tuple(row for grid in grids for row in grid.rows)
    return Grid(", ".join(grid.title for grid in grids), rows, grids[0].file)


def read(file: str | Path) -> Grid:
    """The grid that a TOML file describes.

    Raises InputError for a file that cannot be read, a key, method, setting or protocol that is not
    known, values of another type, or two rows of one name.
    """
    file = Path(file)
    try:
        content = tomllib.loads(files.read_text(file))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is not TOML: {error}") from None
    search = _table(content, "search", f"{file}")
    _check_keys(search, OF_SEARCH, set(), f"{file}, [search]")
    _check_keys(content, TOP, {"title", "rows"}, f"{file}")
    rows = content["rows"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
        raise InputError(f"{file}: rows must be tables [[rows]], one at least")
    top = {key: content[key] for key in INHERITED if key in content}
    common = _table(content, "settings", f"{file}")
    read_rows = [
        _row(top | row, common, search, f"{file}, row {i}") for i, row in enumerate(rows, 1)
    ]
    names = [row.name for row in read_rows]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{file}: each row has a name of its own, but two are called {twice!r}")
    return Grid(str(content["title"]), tuple(read_rows), file)


def _check_keys(content: dict[str, Any], known: set[str], needed: set[str], where: str) -> None:
    if unknown := sorted(content.keys() - known):
        raise InputError(
            f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}"
        )
    if missing := sorted(needed - content.keys()):
        raise InputError(f"{where}: {missing[0]} is missing")


def _table(content: dict[str, Any], key: str, where: str) -> dict[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be a table, got {value!r}")
    return value


def _row(values: dict[str, Any], common: Settings, search: dict[str, Any], where: str) -> Row:
    _check_keys(values, OF_ROW, {"method", "dataset", "bits"}, where)
    method = values["method"]
    if method not in methods.names():
        raise InputError(f"{where}: unknown method {method!r}; see `hashlab methods`")
    dataset = values["dataset"]
    settings = common | _table(values, "settings", where)
    row = Row(
        name=str(values.get("name", method)),
        method=method,
        dataset=dataset,
        protocol=_protocol(dataset, values.get("protocol"), where),
        bits=_whole_numbers(values["bits"], "bits", where),
        seeds=_whole_numbers(values.get("seeds", [0]), "seeds", where),
        settings={key: value for key, value in settings.items() if value != ""},
        search=_stages(values.get("search", []), where),
        search_bits=search.get("bits", 24),
        search_seed=search.get("seed", 0),
    )
    _check_settings(row, where)
    return row


def _protocol(dataset: Any, name: Any, where: str) -> str:
    if dataset not in opening.names():
        raise InputError(f"{where}: unknown data set {dataset!r}; see `hashlab data list`")
    try:
        return opening.protocol_of(opening.info(dataset), name).name
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _whole_numbers(values: Any, key: str, where: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not values or not all(type(v) is int for v in values):
        raise InputError(f"{where}: {key} must be a list of whole numbers, got {values!r}")
    return tuple(values)


def _stages(stages: Any, where: str) -> tuple[Stage, ...]:
    lists = isinstance(stages, list) and all(
        isinstance(stage, dict) and all(isinstance(v, list) and v for v in stage.values())
        for stage in stages
    )
    if not lists:
        raise InputError(f"{where}: search must be a list of stages {{ setting = [values] }}")
    return tuple(stages)


def _check_settings(row: Row, where: str) -> None:
    """Raise InputError where a length, a seed, a setting or a value that is tried cannot be."""
    try:
        for bits in (*row.bits, row.search_bits):
            codes.check_bits(bits, MOST_BITS)
        for seed in (*row.seeds, row.search_seed):
            check_seed(seed)
        for stage in row.search or ({},):
            for settings in combinations(stage, row.settings):
                methods.create(row.method, row.bits[0], **settings)
    except InputError as error:
        raise InputError(f"{where} ({row.name}): {error}") from None


# ---- doing it


class Returned(NamedTuple):
    """What comes back of a job: the files of its record, see `records.stored`, or what was raised."""

    files: dict[str, bytes] | None = None
    error: Exception | None = None


class Doer:
    """Does jobs in one process; what they share it makes once.

    Args:
        root: where records and checkpoints are kept; None: in a folder that goes with each job.
        device: see `experiments.run`.
        seen: a file that is there where `root` is the driver's folder.

    Raises:
        InputError: this machine does not see that folder, or may not write there.
    """

    def __init__(
        self, root: str | Path | None, device: str | None = None, seen: Path | None = None
    ):
        if seen is not None and not (seen.exists() and os.access(root, os.W_OK)):
            raise InputError(
                f"{root} is not seen from here, or may not be written: give a folder that every "
                "machine sees as --shared FOLDER, or --shared none, and runs that are cut short "
                "begin anew"
            )
        self.root = root
        self.device = device
        self._shared = Shared()
        self._data: dict[tuple[str, str], Dataset] = {}

    def __call__(self, job: Job) -> Returned:
        if self.root is not None:
            return self._do(job, self.root)
        with tempfile.TemporaryDirectory(prefix="hashlab-") as folder:
            return self._do(job, folder)

    def _do(self, job: Job, root: str | Path) -> Returned:
        try:
            record = self.prepare(job, root).do(self._shared)
            return Returned(records.stored(record))
        except Exception as error:  # whatever it is, the other runs go on
            return Returned(error=pools.portable(error))

    def prepare(self, job: Job, root: str | Path | None = None) -> experiments.Run:
        """The run of a job; raises InputError where method, settings and data do not suit."""
        row = job.row
        key = (row.dataset, row.protocol)
        if key not in self._data:
            self._data[key] = load_data(row.dataset, protocol=row.protocol)
        return experiments.prepare(
            row.method,
            self._data[key],
            job.bits,
            job.seed,
            job.settings,
            tuning=job.tuning,
            device=self.device,
            root=self.root if root is None else root,
            save=True,
        )


class Place(NamedTuple):
    """Where runs are done: a folder, and a file by which a machine knows that it sees the same."""

    folder: Path | None
    mark: Path | None


@contextmanager
def shared(root: Path, folder: Path | None = None) -> Iterator[Place]:
    """A folder that several processes or machines work in, while the block lasts.

    Args:
        root: where records are kept, which is the folder unless another is given.
        folder: another one, which must be there; one called `none` stands for none.

    Raises InputError for a folder that is not there, or cannot be written.
    """
    if folder == Path("none"):
        yield Place(None, None)
        return
    if folder and not folder.is_dir():
        raise InputError(f"there is no folder {folder}: one that all machines see is expected")
    place = (folder or root).absolute()
    files.check_folder(place)
    mark = place / CLAIMS / f"seen-{secrets.token_hex(4)}"
    try:
        with _disk.lock(mark):
            yield Place(place, _disk.lock_file(mark))
    finally:
        _remove_claims(place)


def _remove_claims(root: Path) -> None:
    """Remove the folder of the claims, unless another process has some."""
    with suppress(OSError):
        _disk.sweep(root / CLAIMS)
        (root / CLAIMS).rmdir()


class Done(NamedTuple):
    """What came of a job, and what is left.

    Args:
        job: the run that was done.
        record: what it gave; None where it failed.
        error: why it failed.
        left: how many runs, of those that are known to be missing, are left.
    """

    job: Job
    record: Record | None
    error: Exception | None
    left: int


class Worker:
    """Sees to it that what is missing of a grid is done; several on one root never do a run twice.

    A pool does the jobs. Records come back from it and are written here, each once: its name says
    which run it is of.

    Args:
        device: see `experiments.run`.
        until: on `time.monotonic()`; no run is begun after it.
        pool: None: this process, one run after the other.
    """

    def __init__(
        self,
        grid: Grid,
        root: str | Path | None = None,
        device: str | None = None,
        until: float = float("inf"),
        pool: pools.Pool | None = None,
    ):
        self.grid = grid
        self.root = records.root(root)
        self.device = device
        self.until = until
        self.kept = grid.kept(root)
        self.failed: set[str] = set()  # names of jobs
        self._doer = Doer(self.root, device)
        self.pool = pools.Here(lambda: self._doer) if pool is None else pool
        self._claims: dict[str, ExitStack] = {}  # name of a job that is being done -> its locks
        self._left = 0

    def work(self) -> Iterator[Done]:
        """Do what is missing, as far as others leave any; the pool is closed at the end.

        A run that fails does not stop the others.
        """
        try:
            while self._begin() or self._claims:
                for job, outcome in self.pool.ended():
                    yield self._settle(job, outcome)
        finally:
            self.pool.close()
            for locks in self._claims.values():
                locks.close()
            _remove_claims(self.root)

    def _begin(self) -> bool:
        """Begin as many jobs as there is room for; whether there may be more to begin later."""
        while time.monotonic() < self.until and self.pool.room() > 0:
            self.kept.look()
            todo, waiting = self.grid.todo(self.kept)
            todo = [job for job in todo if job.name not in self.failed]
            self._left = len(todo) + waiting
            free = [job for job in todo if job.name not in self._claims]
            if not todo or (not free and self._claims):
                return bool(todo)
            job = self._claim(free)
            if job is None and not self._claims and not waiting:
                return False  # others are at the last ones
            if job is None:
                if not self._claims:
                    time.sleep(WAIT)
                return True
            self._send(job)
        return False

    def _send(self, job: Job) -> None:
        """Have a job done, unless another process was faster."""
        self.kept.look()
        if self.kept.find(job) is None:
            self.pool.begin(job)
        else:
            self._claims.pop(job.name).close()

    def _claim(self, jobs: Sequence[Job]) -> Job | None:
        """A job that nobody has, locked: the first one of a row and seed that nobody is at,
        for its lengths may share training; else the first one.
        """
        alone = [(job, {job.name, job.group}) for job in jobs]
        beside = [(job, {job.name}) for job in jobs]
        for job, names in alone + beside:
            locks = ExitStack()
            if self._take(names, locks):
                self._claims[job.name] = locks
                return job
        return None

    def _take(self, names: set[str], locks: ExitStack) -> bool:
        """Lock all of the names, or none."""
        with ExitStack() as taken:
            try:
                for name in names:
                    taken.enter_context(_disk.lock(self.root / CLAIMS / name, wait=False))
            except BlockingIOError:
                return False
            locks.push(taken.pop_all())
            return True

    def _settle(self, job: Job, outcome: pools.Outcome) -> Done:
        """Keep what came of a job, and let others have it."""
        returned = outcome.value
        if isinstance(outcome.error, pools.Lost):
            returned = Returned(error=outcome.error)
        elif outcome.error is not None:
            raise outcome.error
        record = None
        with self._claims.pop(job.name):
            if returned.error is None:
                record = records.keep(returned.files, job.protocol, self.root)
            else:
                self._note(job, returned.error)
        self._left -= 1
        return Done(job, record, returned.error, self._left)

    def _note(self, job: Job, error: Exception) -> None:
        """Remember what failed.

        A trial that diverged, or cannot be (more anchors than images, say), is a result, which
        others shall see.
        """
        self.failed.add(job.name)
        if job.tuning and isinstance(error, FloatingPointError | InputError):
            one = self.prepare(job)
            told = (*records.IDENTITY, "config", "replaced")
            facts = {key: one.settings[key] for key in told if key in one.settings}
            content = json.dumps(facts | {"error": str(error)}, indent=1) + "\n"
            one.stem.parent.mkdir(parents=True, exist_ok=True)
            files.write(one.stem.with_name(one.stem.name + ".failed"), content.encode())

    def prepare(self, job: Job) -> experiments.Run:
        """The run of a job; raises InputError where method, settings and data do not suit."""
        return self._doer.prepare(job)

    def cost(self, row: Row) -> tuple[int, float | None]:
        """Runs of a row that are missing, and the seconds of one: the median of those that are kept
        of its method, protocol and body on a device of this kind; None where there is none.
        """
        missing = self.grid.missing(row, self.kept)
        kind = backbones.device(self.device).type
        seconds = [
            sum(record["seconds"].values())
            for record in self.kept.of(row)
            if record["hardware"] and record["seconds"] and record["hardware"]["kind"] == kind
        ]
        return missing, statistics.median(seconds) if seconds else None

    def check(self) -> None:
        """Raise InputError where a run that is missing is not possible, before any work."""
        for job in self.grid.todo(self.kept)[0]:
            self.prepare(job).check()


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
