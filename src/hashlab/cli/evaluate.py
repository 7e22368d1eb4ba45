"""`hashlab evaluate`: score anybody's codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, path
from hashlab.cli.convert import add_input, read_input
from hashlab.errors import InputError

if TYPE_CHECKING:
    from hashlab.metrics import Report

ARGUMENTS = (
    "relevance",
    "tables",
    "combine",
    "weights",
)  # of `metrics.evaluate`, as they are given
FIGURES = (".png", ".pdf", ".svg")
POINTS = 40  # of a curve over the images retrieved, from 1 to all of them


def add_to(commands: Any) -> None:
    text = (
        "Score anybody's codes: query_codes, database_codes, query_labels, database_labels and bits "
        "in .npz, .npy, .mat, .pt or .csv files."
    )
    command = add_command(commands, "evaluate", evaluate, text)
    command.epilog = (
        "Codes may be packed, 0/1, -1/+1, hexadecimal or 64-bit whole numbers, alike on both sides; "
        "a file may say which in `format`, and the order of packed bits in `bitorder`."
    )
    add_input(command)
    text = "cut the ranking after so many images; several (--at 10,100) give a report each"
    command.add_argument("--at", type=ranks, action="extend", metavar="K", help=text)
    text = (
        "same_class (default): one class an image, or one-hot; shares_label: (N, C) of 0 and 1; "
        "levels: (N, L), fine first"
    )
    command.add_argument("--relevance", default="same_class", help=text)
    text = "a published definition of mAP, or `all` of them side by side"
    command.add_argument("--convention", help=text)
    text = "bits of each hash table in a code"
    command.add_argument("--tables", type=int, nargs="+", metavar="BITS", help=text)
    command.add_argument("--combine", help="how tables are combined: sum, union or weighted")
    command.add_argument("--weights", type=int, nargs="+", help="whole numbers 0..15, for weighted")
    command.add_argument("--json", action="store_true", help="everything, as JSON")
    text = "draw precision against recall into this file (.png, .pdf or .svg)"
    command.add_argument("--pr", type=path, metavar="FILE", help=text)
    text = "draw precision against the number of images retrieved, likewise"
    command.add_argument("--pn", type=path, metavar="FILE", help=text)
    text = "write every number into this .csv file, a row each"
    command.add_argument("--csv", type=path, metavar="FILE", help=text)


def ranks(word: str) -> list[int]:
    """`"10,100"` as [10, 100]; which of them a database has is for `metrics.evaluate` to say."""
    try:
        return [int(rank) for rank in word.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"whole numbers with commas between are expected, got {word[:40]!r}"
        ) from None


def evaluate(parsed: argparse.Namespace) -> None:
    from hashlab import files

    if parsed.convention == "asymmetric":
        raise InputError(
            "convention asymmetric ranks by real outputs of the queries, and a file holds their "
            "bits"
        )
    for figure in filter(None, (parsed.pr, parsed.pn)):
        files.check_file(figure, *FIGURES)
    if parsed.csv:
        files.check_file(parsed.csv, ".csv")
    # before metrics are imported, which takes seconds
    parsed.file, stored = read_input(parsed, parsed.tables)
    reports = score(stored, parsed)
    first = next(iter(reports.values()))
    if parsed.pr:
        draw_curve(first, parsed.file.stem, parsed.pr)
    if parsed.pn:
        draw_ranks(stored, parsed)
    if parsed.csv:
        files.write(parsed.csv, as_csv(reports).encode())
    print(as_json(reports) if parsed.json else as_text(reports))


def score(stored: dict[str, Any], parsed: argparse.Namespace) -> dict[str | None, Report]:
    """A report for each convention and cut-off that is asked for, by name;
    None stands for none in particular.
    """
    from hashlab import metrics

    cuts = parsed.at or [None]
    arguments = {name: getattr(parsed, name) for name in ARGUMENTS}
    try:
        return {
            _named(name, at, len(cuts) > 1): metrics.evaluate(
                **stored, **arguments, at=at, convention=name
            )
            for at in cuts
            for name in conventions(parsed.convention, at)
        }
    except InputError as error:
        raise InputError(f"{parsed.file}: {error}") from None


def _named(convention: str | None, at: int | None, several: bool) -> str | None:
    """What a report is called among those of several cut-offs."""
    return " ".join(filter(None, (convention, f"at {at}"))) if several else convention


def conventions(name: str | None, at: int | None) -> list[str | None]:
    """The names that a word stands for:
    `all` are those that score bits, cut off where `at` says so.
    """
    from hashlab.metrics import CONVENTIONS

    if name != "all":
        return [name]
    of_bits = [name for name in CONVENTIONS if name != "asymmetric"]
    return of_bits if at is None else [name for name in of_bits if CONVENTIONS[name].cut]


def as_json(reports: dict[str | None, Report]) -> str:
    """One report as an object; several as an object of them, by name."""
    objects = {name: report.to_dict() for name, report in reports.items()}
    one_alone = len(objects) == 1
    return json.dumps(next(iter(objects.values())) if one_alone else objects)


def as_text(reports: dict[str | None, Report]) -> str:
    """One report in full; of several the mAP, and what it means."""
    if len(reports) == 1:
        return str(next(iter(reports.values())))
    return "\n".join(
        f"{report.map:.4f}  {name}{_definition(report)}" for name, report in reports.items()
    )


def _definition(report: Report) -> str:
    from hashlab.metrics import CONVENTIONS

    return f": {CONVENTIONS[report.convention].definition}" if report.convention else ""


def as_csv(reports: dict[str | None, Report]) -> str:
    """Every number of the reports, a row each: `report, measure, at, value`.

    `at` is a rank for what is measured at ranks, a radius for what is measured by radius, the name
    of a class, or nothing.
    """
    import csv
    import io

    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("report", "measure", "at", "value"))
    for name, report in reports.items():
        for measure, value in report.to_dict().items():
            rows.writerows((name, measure, at, number) for at, number in _numbers(value))
    return out.getvalue()


def _numbers(value: Any) -> list[tuple[Any, Any]]:
    """A value of a report with where it is measured: of a list by its places, from 0."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list):
        return list(enumerate(value))
    return [("", value)]


def draw_curve(report: Report, name: str, file: Path) -> None:
    """Draw precision against recall by Hamming radius into `file`."""
    _drawing()
    from hashlab import plots

    _save(plots.precision_recall({name: report}), file)


def draw_ranks(stored: dict[str, Any], parsed: argparse.Namespace) -> None:
    """Draw precision within the first n images, for n up to all of them, into a file."""
    import numpy as np

    from hashlab import metrics

    _drawing()
    from hashlab import plots

    ranks = np.unique(np.geomspace(1, len(stored["database_codes"]), POINTS).round().astype(int))
    arguments = {name: getattr(parsed, name) for name in ARGUMENTS}
    precision = metrics.evaluate(**stored, **arguments, cutoffs=ranks.tolist()).precision_at
    line = {parsed.file.stem: (list(precision), list(precision.values()))}
    ax = plots.curves(line, "images retrieved", "precision", named_at=0.5)
    ax.set(xscale="log", ylim=(0, 1.04))
    _save(ax, parsed.pn)


def _drawing() -> None:
    import matplotlib

    matplotlib.use("agg")


def _save(ax: Any, file: Path) -> None:
    """Write a figure in the format of its file's name; equal figures give equal bytes."""
    import io

    import matplotlib

    from hashlab import files

    form = file.suffix.lower().removeprefix(".")
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(form)
    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "hashlab"}):
        ax.figure.savefig(drawing, dpi=150, format=form, metadata=metadata)
    files.write(file, drawing.getvalue())
