"""`hashlab verify`: hold records against what they rest on."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hashlab.cli.common import add_command, add_record_root, path
from hashlab.errors import InputError


def add_to(commands: Any) -> None:
    text = "Hold records against their digests, names and stored codes."
    command = add_command(commands, "verify", verify, text)
    command.add_argument("files", nargs="*", type=path, help="records (default: all)")
    add_record_root(command)


def verify(parsed: argparse.Namespace) -> int:
    from hashlab import records

    chosen = parsed.files or records.files_of(parsed.root)
    if not chosen:
        raise InputError(f"no records in {records.root(parsed.root)}")
    for file in parsed.files:
        file.stat()  # what was named must be there
    agreeing = 0
    no_record = False
    for file in chosen:
        try:
            differences = records.verify(records.read(file))
        except InputError as error:
            differences = [str(error)]
            if parsed.files:  # what was named must be a record
                print(f"hashlab: {error}", file=sys.stderr)
                no_record = True
        agreeing += not differences
        print(f"{file.name}: {'; '.join(differences) or 'every metric agrees'}")
    print(f"{agreeing} of {len(chosen)} records agree with their codes")
    if no_record:
        return 2
    return 0 if agreeing == len(chosen) else 1
