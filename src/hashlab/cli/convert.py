"""`hashlab convert`: anybody's files of codes and labels as one `.npz`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hashlab.cli.common import add_command, path
from hashlab.errors import InputError

WHOLE = (
    "files with arrays by name (.npz, .mat, .pt, a .csv with the columns side, code and label), or "
    "of one array that is named as the file: query_codes.npy"
)
OPTIONS = ("--query-codes", "--database-codes", "--query-labels", "--database-labels")
FORMATS = ("packed", "bits", "signs", "hex", "integers")  # as in `files`, which takes longer
SINGLE = "a file with that array (.npy, .csv, …), or FILE:NAME where it has several"


def add_to(commands: Any) -> None:
    text = "Turn codes and labels in .npz, .npy, .mat, .pt or .csv files into one .npz file."
    command = add_command(commands, "convert", convert, text)
    add_input(command)
    text = "the .npz file to write: packed codes, labels, bits"
    command.add_argument("-o", "--output", type=path, required=True, help=text)


def add_input(command: argparse.ArgumentParser) -> None:
    """The words that say where codes and labels are."""
    command.add_argument("files", nargs="*", type=path, metavar="FILE", help=WHOLE)
    for option in OPTIONS:
        command.add_argument(option, type=path, metavar="FILE", help=SINGLE)
    text = "of a code; needed where codes are packed and no file says it"
    command.add_argument("--bits", type=int, help=text)
    text = "of the codes, where they may be read in two ways"
    command.add_argument("--format", choices=FORMATS, help=text)
    text = "of packed codes: little (default), or big, as np.packbits writes"
    command.add_argument("--bitorder", choices=("little", "big"), help=text)


def read_input(
    parsed: argparse.Namespace, tables: list[int] | None = None
) -> tuple[Path, dict[str, Any]]:
    """What the input is called, and the arguments of `metrics.evaluate` that it holds.

    Raises InputError where something is missing or is none of the formats; torch is not loaded,
    except for `.pt`.
    """
    import numpy as np

    from hashlab import files
    from hashlab.files import formats

    single = {name: getattr(parsed, name) for name in files.ARRAYS if getattr(parsed, name)}
    if not parsed.files and not single:
        raise InputError(f"a file is expected, or {', '.join(OPTIONS)}; got none")
    stored = formats.read(parsed.files, single, parsed.format)
    for name in ("bits", "format", "bitorder"):
        if getattr(parsed, name) is not None:
            stored[name] = np.array(getattr(parsed, name))
    first = Path(next(iter([*parsed.files, *single.values()])))
    return first, files.arguments(stored, first, tables)


def convert(parsed: argparse.Namespace) -> None:
    from hashlab import codes, files

    files.check_file(parsed.output, ".npz")
    _, arguments = read_input(parsed)
    bits = arguments["bits"]
    arrays = {name: codes.trim(arguments[name], bits) for name in files.CODES}
    arrays |= {name: arguments[name] for name in files.LABELS}
    files.write(parsed.output, files.npz(arrays | {"bits": bits, "format": "packed"}))
    counts = " and ".join(f"{len(arrays[name])} {name.replace('_', ' ')}" for name in files.CODES)
    print(f"{parsed.output}: {counts} of {bits} bits")
