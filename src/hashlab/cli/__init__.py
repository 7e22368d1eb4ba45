"""The command `hashlab`: data | run | grid | evaluate | convert | verify | table | methods | encode |
index | search | duplicates | export.

Whatever is wrong with the input ends in one line on standard error and exit code 2. Each command
has a file, which adds its words to the parser and says what it does; what it needs is imported when
it is done.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import hashlab
from hashlab.cli import (
    convert,
    data,
    encode,
    evaluate,
    export,
    grid,
    index,
    methods,
    run,
    search,
    table,
    verify,
)
from hashlab.cli.common import Words, import_files
from hashlab.cli.methods import aligned, describe_method
from hashlab.cli.run import settings, variants
from hashlab.errors import InputError

__all__ = ["aligned", "describe_method", "main", "parser", "settings", "variants"]

COMMANDS = (
    data, run, grid, evaluate, convert, verify, table, methods, encode, index, search, export
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    That is 0 where it was done, 1 where something differs or it was interrupted, 2 for bad input.
    """
    os.environ.setdefault("HASHLAB_PROGRESS", "lines")
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if not arguments:
            parser().print_help()
            return 0
        parsed = parser().parse_args(arguments)
        with plain_warnings():
            import_files(getattr(parsed, "imports", ()))
            code = parsed.command(parsed) or 0
            sys.stdout.flush()
            return code
    except BrokenPipeError:  # whoever reads has seen enough, as `head` does
        _stop_printing()
        return 1
    except (InputError, FloatingPointError, MemoryError) as error:
        print(f"hashlab: {error or 'memory is full'}", file=sys.stderr)
    except OSError as error:  # no permission, no space: the system's own words and the file
        print(f"hashlab: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt as error:
        print(f"hashlab: {interrupted(error, arguments)}", file=sys.stderr)
        return 1
    return 2


def parser() -> argparse.ArgumentParser:
    """The words that `hashlab` takes; what it parses has the command to call as `.command`."""
    top = Words(prog="hashlab", description=hashlab.__doc__)
    top.add_argument("--version", action="version", version=f"hashlab {hashlab.__version__}")
    top.epilog = (
        "Runs are kept in $HASHLAB_RESULTS and data sets in $HASHLAB_DATA; `hashlab run --help` and "
        "`hashlab data --help` say where else."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return top


def interrupted(error: KeyboardInterrupt, arguments: Sequence[str]) -> str:
    """What Ctrl-C left behind, and how to go on."""
    if not str(error):
        return "interrupted; nothing half-done was kept"
    words = [word for word in arguments if word not in ("--resume", "--no-resume")]
    return f"{error}; go on with: {shlex.join(['hashlab', *words, '--resume'])}"


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings of hashlab as one line, without the source around it."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"hashlab: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _stop_printing() -> None:
    """Let what is still to be printed go nowhere: at its end Python would complain once more."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
