"""`hashlab run`: train a method, encode, evaluate; or several, in every combination."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

from hashlab.cli.common import add_command, add_device, add_import, add_record_root, path
from hashlab.errors import InputError


def add_to(commands: Any) -> None:
    text = (
        "Train a method, encode, evaluate; keep the record and the codes. Of several methods, code "
        "lengths, seeds and settings every combination is run; what they share is done once."
    )
    command = add_command(commands, "run", run, text)
    command.epilog = "A setting takes several values with commas: --set lr=0.01,0.1 epochs=5"
    command.add_argument("method", help="one of `hashlab methods`, or several with commas")
    command.add_argument("dataset", help="see `hashlab data list`")
    several = {"nargs": "+", "action": "extend"}
    command.add_argument("--bits", type=int, required=True, help="code lengths", **several)
    command.add_argument("--seeds", type=int, metavar="SEED", help="default: 0", **several)
    command.add_argument("--protocol", help="default: the data set's first")
    text = "train on nine tenths of the train part, retrieve the other tenth"
    command.add_argument("--tuning", action="store_true", help=text)
    add_device(command)
    text = "settings of the method"
    command.add_argument("--set", default=[], metavar="NAME=VALUE", help=text, **several)
    add_record_root(command)
    add_import(command)
    text = "go on with a run that was interrupted, from its last checkpoint (this is the default)"
    command.add_argument("--resume", action=argparse.BooleanOptionalAction, default=True, help=text)
    text = "keep the trained model, for `hashlab encode`"
    command.add_argument("--save-model", type=path, metavar="FOLDER", help=text)


def run(parsed: argparse.Namespace) -> int:
    """Do the runs one after the other, a line for each; one that fails does not stop the others."""
    from hashlab import experiments

    runs = experiments.plan(
        parsed.method.split(","),
        parsed.dataset,
        parsed.bits,
        parsed.seeds or [0],
        variants(parsed.set),
        protocol=parsed.protocol,
        tuning=parsed.tuning,
        save_model=parsed.save_model,
        device=parsed.device,
        root=parsed.root,
        resume=parsed.resume,
        save=True,
    )
    failed = []
    for one in runs:
        try:
            record = one()
            seconds = record.seconds["train"]
            print(f"{record.path}: mAP {record.map:.4f}, training {seconds:.0f} s", flush=True)
        except (InputError, FloatingPointError, MemoryError) as error:
            failed.append(error)
            print(f"hashlab: {error}", file=sys.stderr)
    return 2 if failed else 0


def variants(pairs: Sequence[str]) -> list[dict[str, Any]]:
    """`["c=1,2", "epochs=3"]` as [{"c": 1, "epochs": 3}, {"c": 2, "epochs": 3}]."""
    return [settings(choice) for choice in product(*map(_choices, pairs))]


def _choices(pair: str) -> list[str]:
    """`"c=1,2"` as ["c=1", "c=2"]."""
    name, equals, values = pair.partition("=")
    return [f"{name}{equals}{value}" for value in values.split(",")]


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["c=4", "epochs=3"]` as {"c": 4, "epochs": 3}; raises InputError for a pair without `=`."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, word = pair.partition("=")
        if not equals or not name:
            raise InputError(f"a setting is written NAME=VALUE, got {pair!r}")
        if name in values:
            raise InputError(f"setting {name} is given twice")
        values[name] = _value(word)
    return values


def _value(word: str) -> Any:
    """A word as JSON, where it is some: a number, true or false; else the word itself."""
    try:
        return json.loads(word.lower() if word in ("True", "False") else word)
    except (ValueError, RecursionError):
        return word
