"""`hashlab table`: records as a table."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from hashlab.cli.common import add_command, add_record_root
from hashlab.errors import InputError

FILTERS = ("method", "dataset", "protocol")


def add_to(commands: Any) -> None:
    text = "Tabulate records: mean and standard deviation over seeds."
    command = add_command(commands, "table", table, text)
    command.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    add_record_root(command)
    text = "the runs that chose settings, instead of results"
    command.add_argument("--tuning", action="store_true", help=text)
    for name in FILTERS:
        command.add_argument(f"--{name}")


def table(parsed: argparse.Namespace) -> int:
    from hashlab import records

    wanted = {name: getattr(parsed, name) for name in FILTERS if getattr(parsed, name)}
    refused: list[InputError] = []
    loaded = records.load(parsed.root, refused=refused, **wanted)
    for error in refused:
        print(f"hashlab: {error}; it is left out", file=sys.stderr)
    shown = [record for record in loaded if record.protocol.endswith("/tuning") == parsed.tuning]
    rows = records.table(shown)
    if not rows:
        raise InputError(f"no such records in {records.root(parsed.root)}")
    if parsed.format == "json":
        print(json.dumps(records.plain(rows), indent=1))
    else:
        print(records.render(rows, parsed.format))
    return 1 if refused else 0
