"""What the chapter on runs shows of mistakes, records and costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlab.chapters.tables import table
from hashlab.errors import InputError
from hashlab.records import Record

if TYPE_CHECKING:
    from IPython.display import Markdown

FIELDS = {
    "method": "which method",
    "dataset": "which images",
    "protocol": "how they were divided",
    "bits": "length of a code",
    "seed": "of everything that was random",
    "tables": "bits of each hash table, where there are several",
    "combine": "the rule that makes one distance of those of several tables",
    "table_weights": "how much each table counts in it, where they differ",
    "relevance": "when two images count as alike",
    "metric": "what `map` means",
    "variant": "settings that were given by hand",
    "config": "every setting, defaults included",
    "weights": "what the network started from",
    "data": "SHA-256 of the images, and of the lists of the protocol",
    "map": "mean average precision",
    "metrics": "mAP, precision, recall, … as the first chapters explain them",
    "backbone": "the network, where `config` says `auto`",
    "input": "how images were turned into the network's input",
    "sizes": "images in each part",
    "seconds": "time that each step took",
    "cpu_seconds": "time that processor cores worked for it, which others at work on the machine do not lengthen",
    "history": "mean loss and seconds of every epoch",
    "started": "when",
    "hardware": "device, threads, and the number type of the arithmetic",
    "versions": "of what the result depends on",
    "git": "commit of the package, and whether its source had been changed",
    "codes": "the file with the codes, and its SHA-256",
    "digest": "SHA-256 of all the above, written last",
}
HEAD = ["protocol, network", "trained: images × epochs", "training, s", "encoded: images"]
HEAD += ["encoding, s", "evaluation, s", "runs"]
SHARED_SINCE = "2026-11-25"  # later runs shared their machine


def message(attempt: Callable[[], Any]) -> str:
    """What an attempt says when it fails, as it must."""
    try:
        attempt()
    except (InputError, FloatingPointError) as error:
        return f"{error}"
    raise AssertionError("it did not fail")


# ---- a record, field by field


def fields(record: Mapping[str, Any], names: Sequence[str] | None = None) -> Markdown:
    """A table of a record's fields, or of those that are named: its values cut to one line, and their meaning."""
    rows = [[f"`{name}`", short(record[name]), FIELDS[name]] for name in names or record]
    return table(["field", "value", "what it says"], *rows)


def short(value: Any, most: int = 60) -> str:
    """A JSON value on one line of a table."""
    if isinstance(value, dict):
        value = ", ".join(f"{key} {short(part, 14)}" for key, part in value.items())
    elif isinstance(value, list):
        value = f"{len(value)} entries"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else text[: most - 1].rstrip(" ,") + "…"


# ---- what runs cost


def machines(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Machine -> the runs that trained on it, alone and whole."""
    found: dict[str, list[Record]] = {}
    for record in records:
        shared = any(line.get("shared") for line in record.history)
        if record.history and not shared and record.started < SHARED_SINCE:
            name = "{device}, threads: {threads}, {precision}".format(**record.hardware)
            found.setdefault(name, []).append(record)
    return dict(sorted(found.items()))


def costs(records: Iterable[Record]) -> Markdown:
    """A table of runs on one machine: a row for each amount of work."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(work(record), []).append(record)
    rows = []
    for (what, trained, encoded), group in sorted(groups.items()):
        steps = ("train", "encode", "evaluate")
        train, encode, evaluate = ([one.seconds[step] for one in group] for step in steps)
        row = [what, trained, middle(train), encoded, middle(encode), middle(evaluate)]
        rows.append([*row, len(group)])
    return table(HEAD, *rows)


def work(record: Record) -> tuple[str, str, str]:
    """What has to agree for two runs to be the same amount of work."""
    sizes = record.sizes
    trained = f"{sizes['train']:,} × {len(record.history)}"
    encoded = f"{sizes['query'] + sizes['database']:,}"
    return f"{record.protocol}, {record.backbone}", trained, encoded


def middle(values: Sequence[float]) -> str:
    """Median, and where there are several values their range."""
    digits = 0 if max(values) >= 10 else 2
    three = (min(values), np.median(values), max(values))
    low, median, high = (f"{value:.{digits}f}" for value in three)
    return median if low == high else f"{median} ({low}–{high})"
