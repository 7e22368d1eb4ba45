"""`hashlab grid`: every combination of methods, code lengths, seeds and settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import product
from typing import Any

from hashlab.cli.common import add_command
from hashlab.cli.run import add_words, carry_out, settings


def add_to(commands: Any) -> None:
    text = (
        "Run every combination of methods, code lengths, seeds and settings; what they share is "
        "done once."
    )
    command = add_command(commands, "grid", grid, text)
    command.add_argument("method", help="one method, or several with commas")
    add_words(command)
    command.epilog = "A setting takes several values with commas: --set lr=0.01,0.1 epochs=5"


def grid(parsed: argparse.Namespace) -> int:
    return carry_out(parsed, parsed.method.split(","), variants(parsed.set))


def variants(pairs: Sequence[str]) -> list[dict[str, Any]]:
    """`["c=1,2", "epochs=3"]` as [{"c": 1, "epochs": 3}, {"c": 2, "epochs": 3}]."""
    return [settings(choice) for choice in product(*map(_choices, pairs))]


def _choices(pair: str) -> list[str]:
    """`"c=1,2"` as ["c=1", "c=2"]."""
    name, equals, values = pair.partition("=")
    return [f"{name}{equals}{value}" for value in values.split(",")]
