"""`hashlab evaluate`: score anybody's codes."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, path
from hashlab.errors import InputError

if TYPE_CHECKING:
    from hashlab.metrics import Report

ARGUMENTS = (
    "at",
    "relevance",
    "tables",
    "combine",
    "weights",
)  # of `metrics.evaluate`, as they are given


def add_to(commands: Any) -> None:
    text = (
        "Score codes in a .npz file: query_codes, database_codes, query_labels, database_labels, "
        "bits."
    )
    command = add_command(commands, "evaluate", evaluate, text)
    command.epilog = (
        "The file may also say format (packed, bits or signs; alike for both sides) and bitorder "
        "(little, the default, or big, as np.packbits writes)."
    )
    command.add_argument("file", type=path)
    command.add_argument("--at", type=int, help="cut the ranking after this many images")
    text = (
        "same_class (default): (N,) classes; shares_label: (N, L) of 0 and 1; levels: (N, L), fine "
        "first"
    )
    command.add_argument("--relevance", default="same_class", help=text)
    text = "a published definition of mAP, or `all` of them side by side"
    command.add_argument("--convention", help=text)
    text = "bits of each hash table in a code"
    command.add_argument("--tables", type=int, nargs="+", metavar="BITS", help=text)
    command.add_argument("--combine", help="how tables are combined: sum, union or weighted")
    command.add_argument("--weights", type=int, nargs="+", help="whole numbers 0..15, for weighted")
    command.add_argument("--json", action="store_true", help="everything, as JSON")
    text = "draw precision against recall into this file"
    command.add_argument("--pr", type=path, metavar="PNG", help=text)


def evaluate(parsed: argparse.Namespace) -> None:
    from hashlab import files

    if parsed.convention == "asymmetric":
        raise InputError(
            "convention asymmetric ranks by real outputs of the queries, and a file holds their "
            "bits"
        )
    if parsed.pr:
        files.check_file(parsed.pr, ".png")
    stored = files.read_codes(
        parsed.file, parsed.tables
    )  # before metrics are imported, which takes seconds
    reports = score(stored, parsed)
    if parsed.pr:
        first = next(iter(reports.values()))
        draw_curve(first, parsed.file.stem, parsed.pr)
    print(as_json(reports) if parsed.json else as_text(reports))


def score(stored: dict[str, Any], parsed: argparse.Namespace) -> dict[str | None, Report]:
    """A report for each convention that is asked for; None stands for none in particular."""
    from hashlab import metrics

    arguments = {name: getattr(parsed, name) for name in ARGUMENTS}
    try:
        return {
            name: metrics.evaluate(**stored, **arguments, convention=name)
            for name in conventions(parsed.convention, parsed.at)
        }
    except InputError as error:
        raise InputError(f"{parsed.file}: {error}") from None


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
    from hashlab.metrics import CONVENTIONS

    if len(reports) == 1:
        return str(next(iter(reports.values())))
    return "\n".join(
        f"{report.map:.4f}  {name}: {CONVENTIONS[name].definition}"
        for name, report in reports.items()
    )


def draw_curve(report: Report, name: str, file: Path) -> None:
    """Draw precision against recall by Hamming radius into `file`."""
    import io

    import matplotlib

    matplotlib.use("agg")
    from hashlab import files, plots

    drawing = io.BytesIO()
    figure = plots.precision_recall({name: report}).figure
    figure.savefig(drawing, dpi=150, format="png")
    files.write(file, drawing.getvalue())
