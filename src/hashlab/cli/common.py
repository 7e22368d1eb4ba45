"""What the commands share: a parser that complains in one line,
and words that several of them take.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from hashlab.errors import InputError, did_you_mean


class Words(argparse.ArgumentParser):
    """A parser to which wrong words are bad input like any other:
    one sentence, and where to read more.
    """

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As usual, with the nearest of the choices, where one is near."""
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += did_you_mean(value, action.choices or ())
            raise

    def parse_known_args(self, *words: Any, **more: Any) -> tuple[argparse.Namespace, list[str]]:
        """As usual, but words that are left over are an error of this command,
        not of `hashlab` as a whole.
        """
        parsed, left = super().parse_known_args(*words, **more)
        if left:
            near = did_you_mean(left[0].split("=")[0], self._option_string_actions)
            self.error(f"not understood: {shlex.join(left)}{near}")
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


def add_place(command: argparse.ArgumentParser, default: str | None = "local") -> None:
    """Where work is to be done: see `hashlab.scale`."""
    text = (
        "local: this machine; ray: the Ray cluster that it belongs to, or that $RAY_ADDRESS names; "
        "ray://HOST:PORT: one that is reached from outside"
    )
    text += f" (default: {default})" if default else ""
    command.add_argument("--on", default=default, metavar="PLACE", help=text)
    text = "of this machine that work side by side (default: 1)"
    command.add_argument("--processes", type=int, metavar="N", help=text)
    text = "that one piece of work takes of a cluster, with as many threads (default: 1)"
    command.add_argument("--cpus", type=int, metavar="N", help=text)
    text = "that it takes where --device is cuda; 0.5: two share one (default: 1)"
    command.add_argument("--gpus", type=float, metavar="X", help=text)


def check_place(parsed: argparse.Namespace) -> None:
    """Raise InputError where the words of `add_place` do not go together."""
    from hashlab import scale

    on_gpu = (parsed.device or "").startswith("cuda")
    scale.check(parsed.on, parsed.processes, parsed.cpus, parsed.gpus, on_gpu)


def open_pool(parsed: argparse.Namespace, make: Callable[[], Any]) -> Any:
    """The pool that these words ask for."""
    from hashlab import scale

    on_gpu = (parsed.device or "").startswith("cuda")
    first = Sources({file.name: file.read_bytes() for file in parsed.imports})
    return scale.open_pool(
        parsed.on,
        make,
        processes=parsed.processes,
        cpus=parsed.cpus,
        gpus=parsed.gpus,
        on_gpu=on_gpu,
        first=first,
    )


@dataclass(frozen=True)
class Sources:
    """Python files as they are here; called in another process, it runs them there."""

    contents: dict[str, bytes]

    def __call__(self) -> None:
        from hashlab.files import write

        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in self.contents]
            for file in files:
                write(file, self.contents[file.name])
            import_files(files)


def add_import(command: argparse.ArgumentParser) -> None:
    text = "Python files to run first, which make methods of your own known (methods.register)"
    command.add_argument(
        "--import",
        dest="imports",
        default=[],
        type=path,
        metavar="FILE.py",
        action="append",
        help=text,
    )


def import_files(paths: Sequence[Path]) -> None:
    """Run Python files; raises InputError where there is no such file, or it does not run."""
    for file in paths:
        if file.suffix != ".py" or not file.is_file():
            raise InputError(f"{file}: a Python file (.py) is expected after --import")
        name = f"imported_{file.stem}"
        spec = importlib.util.spec_from_file_location(name, file)
        sys.modules[name] = importlib.util.module_from_spec(
            spec
        )  # where classes look for themselves
        try:
            spec.loader.exec_module(sys.modules[name])
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        except Exception as error:  # whatever the file does
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"{file} cannot be imported: {reason[:300]}") from None


def path(word: str) -> Path:
    """The name of a file or folder; nothing at all, as of a variable that is not set, is none."""
    if not word or "\0" in word:
        raise argparse.ArgumentTypeError(
            f"a path of one character or more, none of them NUL, is expected, got {word!r}"
        )
    return Path(word)


def address(word: str) -> Path | str:
    """An index: its folder, or its address in Milvus, which is no path."""
    return word if word.startswith("milvus:") else path(word)
