"""What the commands share: a parser that complains in one line,
and words that several of them take.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from hashlab.errors import InputError


class Words(argparse.ArgumentParser):
    """A parser to which wrong words are bad input like any other:
    one sentence, and where to read more.
    """

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_known_args(self, *words: Any, **more: Any) -> tuple[argparse.Namespace, list[str]]:
        """As usual, but words that are left over are an error of this command,
        not of `hashlab` as a whole.
        """
        parsed, left = super().parse_known_args(*words, **more)
        if left:
            self.error(f"not understood: {shlex.join(left)}")
        return parsed, left


def add_command(
    commands: Any, name: str, call: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    """A new command of the parser: its words are to be added, and `call` is what they are for."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(command=call)
    return command


def add_record_root(command: argparse.ArgumentParser) -> None:
    text = (
        "where records are kept (default: $HASHLAB_RESULTS, else results in the checkout, else, of "
        "an installed copy, in the current folder)"
    )
    command.add_argument("--root", type=path, help=text)


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")


def path(word: str) -> Path:
    """The name of a file or folder; nothing at all, as of a variable that is not set, is none."""
    if not word or "\0" in word:
        raise argparse.ArgumentTypeError(
            f"a path of one character or more, none of them NUL, is expected, got {word!r}"
        )
    return Path(word)
