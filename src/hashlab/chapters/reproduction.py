"""One set of figures for every paper, drawn from the records that a grid file names.

A page opens a grid with `Results("five-papers-tail")` and names its rows. A cell that was not run is
empty: in a table it shows as a dash, and a figure leaves it out. The figures are in
`hashlab.chapters.figures.reproduction`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from functools import cached_property, lru_cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlab import codes, grid, records
from hashlab.chapters import differences, tables
from hashlab.chapters.differences import Difference, Key
from hashlab.errors import InputError
from hashlab.files import _disk
from hashlab.grid import Kept
from hashlab.metrics import diagnostics, uncertainty
from hashlab.metrics.diagnostics import Diagnosis
from hashlab.plots import palette
from hashlab.records import Record

if TYPE_CHECKING:
    from IPython.display import Markdown

EMPTY = "–"  # a cell that was not run
MARK = -0.01  # "competitive": not below by more
OF_MARK = {"above": "holds", "below": "does not hold", "open": "open"}


class Results:
    """What grid files describe, and what there is of it.

    Args:
        *names: of files in the folder of experiments, without `.toml`, or paths; the rows of
            several files stand one after the other.
        root: of the records, see `records.root`.

    Experiments are in `$HASHLAB_EXPERIMENTS`, else in the checkout.
    """

    def __init__(self, *names: str | Path, root: str | Path | None = None):
        self.grid = grid.joined([grid.read(file_of(name)) for name in names])
        self.kept = _kept(records.root(root), tuple(sorted(set(self.grid.protocols))))
        self._cells: dict[str, dict[tuple[int, int], Record | None]] = {}

    @property
    def names(self) -> list[str]:
        """Of the rows, in the order of the files."""
        return [row.name for row in self.grid.rows]

    @cached_property
    def colours(self) -> dict[str, tuple]:
        """The colour of each row, the same in all figures; from the eleventh row on they repeat."""
        ten = palette(10)
        return {name: ten[place % 10] for place, name in enumerate(self.names)}

    def bits(self, name: str) -> tuple[int, ...]:
        """The code lengths that a row has runs of, all its seeds there."""
        return tuple(bits for bits in self.grid.row(name).bits if self.group(name, bits))

    def cells(self, name: str) -> dict[tuple[int, int], Record | None]:
        """(code length, seed) -> the record; None for what was not run."""
        if name not in self._cells:
            self._cells[name] = self.grid.cells(self.grid.row(name), self.kept)
        return self._cells[name]

    def group(self, name: str, bits: int) -> list[Record]:
        """The records of a cell in the order of seeds; none unless all its seeds were run."""
        cells = self.cells(name)
        group = [cells.get((bits, seed)) for seed in self.grid.row(name).seeds]
        return [] if None in group else group

    def there(self, names: Sequence[str], bits: int) -> dict[str, list[Record]]:
        """The groups of those rows that were run at a length."""
        groups = {name: self.group(name, bits) for name in names}
        return {name: group for name, group in groups.items() if group}

    def differences(self, name: str, other: str) -> dict[int, Difference]:
        """Code length -> by how much a row is above another, where both were run."""
        lengths = [bits for bits in self.bits(name) if bits in self.bits(other)]
        return {
            bits: differences.difference(self.group(name, bits), self.group(other, bits))
            for bits in lengths
        }


def _kept(root: Path, protocols: tuple[str, ...]) -> Kept:
    """The records of these protocols: those that were read before, where no file has changed."""
    folders = [root / name for name in protocols]
    files = [file for kind in ("*.json", "*.failed") for one in folders for file in one.glob(kind)]
    states = [(file, file.stat()) for file in sorted(files)]
    stamp = tuple((file, state.st_mtime_ns, state.st_size) for file, state in states)
    return _read(root, protocols, stamp)


@lru_cache(maxsize=2)
def _read(root: Path, protocols: tuple[str, ...], stamp: Hashable) -> Kept:
    return Kept(root, protocols)


def file_of(name: str | Path) -> Path:
    """The grid file of that name; raises InputError where there is none."""
    file = Path(name)
    if file.suffix != ".toml":
        file = _disk.folder("HASHLAB_EXPERIMENTS", "experiments") / f"{name}.toml"
    if not file.is_file():
        known = ", ".join(sorted(other.stem for other in file.parent.glob("*.toml"))) or "none"
        raise InputError(f"no grid {file.stem!r} in {file.parent}; there: {known}")
    return file


# ---- tables


def cell(values: Sequence[float]) -> str:
    """Mean ± standard deviation over seeds, and half of Student's 95 % interval of the mean."""
    if len(values) < uncertainty.LEAST:
        return tables.spread(values) if len(values) else EMPTY
    return f"{tables.spread(values)} (± {uncertainty.over_seeds(values).half:.3f})"


def map_table(
    bodies: Mapping[str, Results], names: Sequence[str], reported: Sequence[Mapping] = ()
) -> Markdown:
    """mAP by code length: a line per body and row, then what was reported elsewhere.

    Args:
        bodies: how networks were trained -> what was run so; never mixed in a line.
        names: of rows; a body that lacks one shows it empty.
        reported: rows of `reported.load`; one that names no length has a column of its own.
    """
    first = next(iter(bodies.values()))
    lengths = first.grid.row(names[0]).bits
    lines = [
        [name, body, *(cell(_maps(results, name, bits)) for bits in lengths), ""]
        for body, results in bodies.items()
        for name in names
    ]
    protocol = first.grid.row(names[0]).protocol
    head = [
        f"mAP, {protocol}",
        "network",
        *(f"{bits} bits" for bits in lengths),
        "length not named",
    ]
    if not reported:
        return tables.table(head[:-1], *[line[:-1] for line in lines])
    return tables.table(head, *lines, *[_reported(row, lengths) for row in reported])


def _maps(results: Results, name: str, bits: int) -> list[float]:
    if name not in results.names:
        return []
    return [record.map for record in results.group(name, bits)]


def _reported(row: Mapping, lengths: Sequence[int]) -> list[str]:
    """The line of a reported figure: what it is, in the column of its length."""
    what = f"*{row['method']}*: {row['metric']}, as reported ({row['status']}: {row['source']})"
    columns = [*lengths, None]
    values = [f"*{row['value']}*" if bits == row["bits"] else "" for bits in columns]
    return [what, "*its own*", *values]


def difference_table(results: Results, name: str, others: Sequence[str]) -> Markdown:
    """A row minus others, by code length: each with its intervals and its verdict, with Holm's
    correction among the lengths of a line, as in `verdict`.
    """
    lengths = results.grid.row(name).bits
    lines = []
    for other in others:
        shown = differences.with_verdicts(results.differences(name, other), many=True)
        lines.append([other, *(shown.get(bits, EMPTY) for bits in lengths)])
    return tables.table([f"{name} minus", *(f"{bits} bits" for bits in lengths)], *lines)


def terms(results: Results, name: str) -> Markdown:
    """Under which terms the rows of the same body as a row were run, which of them depart from
    what most have, and how to make them again.
    """
    body = _body(results.grid.row(name))
    rows = [row.name for row in results.grid.rows if _body(row) == body]
    of_rows = {row: facts for row in rows if (facts := _terms(results, row))}
    lines = [
        [what, _with_departures({row: facts.get(what, EMPTY) for row, facts in of_rows.items()})]
        for what in of_rows[name]
    ]
    file = results.grid.file.name
    again = ["to run again", f"`hashlab grid experiments/{file}`"]
    return tables.table(["", f"in all rows of `{file}`"], *lines, again)


def _body(row: grid.Row) -> dict[str, Any]:
    return {key: row.settings.get(key) for key in grid.BODY}


def _with_departures(of_rows: Mapping[str, str]) -> str:
    """What most rows have, then those that have something else."""
    usual = Counter(of_rows.values()).most_common(1)[0][0]
    others = [f"**{row}: {value}**" for row, value in of_rows.items() if value != usual]
    return "; ".join([usual, *others])


def _terms(results: Results, name: str) -> dict[str, str]:
    """What the runs of a row say of their terms; nothing where none was made."""
    group = [run for bits in results.bits(name) for run in results.group(name, bits)]
    of_runs = [_terms_of(run) for run in group]
    terms = {
        what: "; ".join(sorted({facts[what] for facts in of_runs}))
        for what in (of_runs[0] if of_runs else {})
    }
    seeds = ", ".join(map(str, results.grid.row(name).seeds))
    return terms and terms | {"seeds": seeds}


def _terms_of(run: Record) -> dict[str, str]:
    sizes = [f"{run.sizes[part]:,}" for part in ("query", "train", "database")]
    config = run["config"]
    weights = run.weights.split(" sha256:")[0]
    frozen = f", frozen up to {config['frozen']}" if config.get("frozen") else ""
    phases = Counter(line["phase"] for line in run.history)
    epochs = " + ".join(f"{count} ({phase})" for phase, count in phases.items())
    if len(phases) == 1:
        epochs = str(len(run.history))
    return {
        "queries, trained on, searched": ", ".join(sizes),
        "metric": run.metric,
        "network": f"{run.backbone}, weights {weights}{frozen}",
        "images": f"{config['size']} pixels" if config.get("size") else "as they are",
        **({"epochs": epochs} if phases else {}),
        "run on": "{device}, {precision}".format(**run.hardware),
    }


def searched(results: Results, names: Sequence[str]) -> Markdown:
    """What was tried for each row on held-out images, and what was chosen; of a number, whether it
    stands at an end of those that were tried, so that a better one may lie beyond.
    """
    return tables.table(
        ["", "tried", "chosen", "mAP of held-out images: least, chosen"],
        *[_searched(results, name) for name in names],
    )


def _searched(results: Results, name: str) -> list[str]:
    row = results.grid.row(name)
    choice = grid.choice(row, results.kept)
    if choice.missing:
        return [name, *[EMPTY] * 3]
    searched_for = list(dict.fromkeys(key for stage in row.search for key in stage))
    tried = {
        key: dict.fromkeys(str(settings[key]) for settings, _ in choice.tried if key in settings)
        for key in searched_for
    }
    lists = "; ".join(f"{key} {', '.join(values)}" for key, values in tried.items())
    ends = at_an_end(choice)
    chosen = ", ".join(
        f"{key} {choice.settings[key]}" + (" (an end)" if key in ends else "")
        for key in searched_for
    )
    scores = [grid.unseen(record) for _, record in choice.tried]
    least_and_best = f"{min(scores):.3f}, {max(scores):.3f}" if scores else EMPTY
    return [name, lists, chosen, least_and_best]


def at_an_end(choice: grid.Choice) -> list[str]:
    """The settings of which the chosen number is the least or the largest that was tried."""
    tried: dict[str, set[float]] = {}
    for settings, _ in choice.tried:
        for key, value in settings.items():
            if isinstance(value, Real) and not isinstance(value, bool):
                tried.setdefault(key, set()).add(value)
    return [
        key
        for key, values in tried.items()
        if len(values) > 1 and choice.settings[key] in (min(values), max(values))
    ]


# ---- verdicts


def verdict(between: Mapping[int, Difference], better: str = "above") -> str:
    """Whether a claim that one row is better than another holds at all lengths: "holds", "does not
    hold" (the other one is better at some length) or "open"; with Holm's correction among lengths.

    Args:
        better: "above" or "below", the side that the claim names.
    """
    words = set(differences.verdicts(between).values())
    if not words:
        return "open"  # not run
    if words == {better}:
        return "holds"
    return "does not hold" if words - {better, "open"} else "open"


def competitive(between: Mapping[Key, Difference], mark: float = MARK) -> dict[Key, str]:
    """By code length, or what else is compared: "holds" where both intervals lie above `mark`,
    "does not hold" where both lie below it, else "open"; with Holm's correction among them.
    """
    words = differences.verdicts({key: one.beyond(mark) for key, one in between.items()})
    return {key: OF_MARK[word] for key, word in words.items()}


def against_figure(results: Results, name: str, figure: float) -> dict[int, str]:
    """By code length: whether the mean mAP of a row lies above a reported figure, below it, or
    whether that is open, by Student's interval over seeds; with Holm's correction among lengths.
    """
    steps = {
        bits: [run.map - figure for run in results.group(name, bits)] for bits in results.bits(name)
    }
    words = uncertainty.verdicts([[uncertainty.over_seeds(step)] for step in steps.values()])
    return dict(zip(steps, words, strict=True))


def within_radius(results: Results, name: str, bits: int, radius: int = 2) -> list[float]:
    """Which share of all like images each seed finds within a Hamming radius, (S,)."""
    return [run.metrics["recall"][radius] for run in results.group(name, bits)]


# ---- codes


def query_bits(record: Record) -> tuple[np.ndarray, np.ndarray]:
    """The codes of a record's queries, bool (Q, K), and their labels."""
    stored = record.codes()
    return _bits(stored["query_codes"], record), stored["query_labels"]


def _bits(packed: np.ndarray, record: Record) -> np.ndarray:
    """All bits of codes, of one table after the other, bool (N, K)."""
    lengths = record.get("tables") or [record.bits]
    ends = np.cumsum([codes.row_bytes(bits) for bits in lengths])[:-1]
    parts = np.split(packed, ends, axis=1)
    unpacked = [codes.unpack(p, bits) for p, bits in zip(parts, lengths, strict=True)]
    return np.concatenate(unpacked, axis=1)


def diagnosed(record: Record) -> tuple[Diagnosis, np.ndarray]:
    """Of a record's database: its diagnosis, and how much every two bits are correlated, (P,)."""
    packed = codes.pack(_bits(record.codes()["database_codes"], record))
    correlation = diagnostics.bit_correlation(packed, record.bits)
    pairs = np.abs(correlation[np.triu_indices(record.bits, 1)])
    return diagnostics.diagnose(packed, record.bits), pairs
