"""`hashlab data`: list the data sets, fetch one into the cache, check it, draw samples of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, path
from hashlab.errors import InputError

if TYPE_CHECKING:
    from hashlab.data import Dataset


def add_to(commands: Any) -> None:
    text = "List the data sets, fetch one into the cache, check it, or draw samples of it."
    command = add_command(commands, "data", data, text)
    command.add_argument("action", choices=("list", "fetch", "check", "show"))
    command.add_argument("name", nargs="?", help="a data set (fetch, check, show)")
    command.add_argument(
        "--protocol", help="check: how to split (default: each protocol of the set)"
    )
    command.add_argument(
        "--root",
        type=path,
        help="cache folder (default: $HASHLAB_DATA, else data/cache in the checkout, else, of an "
        "installed copy, the user's cache folder)",
    )
    text = "show: the picture to write (default: NAME.png)"
    command.add_argument("-o", "--output", type=path, help=text)
    by_hand = command.add_argument_group("fetch, for the sets that you put there by hand")
    text = "where their files are (default: source/NAME in the cache folder)"
    by_hand.add_argument("--source", type=path, help=text)
    text = "side of the square images that are kept, in pixels (default: 224, of corel5k 128)"
    by_hand.add_argument("--size", type=side, help=text)
    by_hand.add_argument("--fit", help="crop to the centre (default), or squash to the square")
    text = "leave images out that cannot be read"
    by_hand.add_argument("--skip-broken", action="store_true", help=text)


def side(word: str) -> int:
    """The side of an image: a whole number of pixels, 1 or more;
    what is too many is for the reader to say.
    """
    if not word.isdecimal() or len(word) > 9 or int(word) == 0:
        raise argparse.ArgumentTypeError(
            f"a whole number of pixels, 1 or more, is expected, got {word[:40]!r}"
        )
    return int(word)


def data(parsed: argparse.Namespace) -> None:
    from hashlab.data import names

    if parsed.action == "list":
        list_sets(parsed.root)
        return
    if parsed.name is None:
        sets = ", ".join(names())
        raise InputError(f"a data set is expected after `data {parsed.action}`; one of: {sets}")
    actions = {"fetch": fetch, "check": check_set, "show": show}
    actions[parsed.action](parsed)


def list_sets(root: Path | None) -> None:
    """Every set with its size, protocols, source and licence, and whether it is in the cache."""
    from hashlab.data import info, names, opening, protocols

    for name in names():
        about = info(name)
        images = sum(about.counts.values())
        print(f"{name}: {about.title}; {images:,} images; {', '.join(protocols.names(name))}")
        print(f"    source: {about.source}; licence: {about.licence}")
        print(f"    {opening.where(about, root)}")


def fetch(parsed: argparse.Namespace) -> None:
    from hashlab.data import info, opening

    about = info(parsed.name)
    if parsed.source is None and opening.is_missing(about, parsed.root):
        print(about.by_hand.strip())
    folder = opening.fetch(
        about,
        parsed.root,
        source=parsed.source,
        size=parsed.size,
        fit=parsed.fit,
        skip_broken=parsed.skip_broken,
    )
    if folder is not None:
        print(f"{about.name}: {folder}")
    print(f"{about.name}: {opening.verify(about, parsed.root)}")


def check_set(parsed: argparse.Namespace) -> None:
    """Check every image of a set, and say what its protocols make of it."""
    from hashlab.data import info, load, opening, protocols

    about = info(parsed.name)
    chosen = [parsed.protocol] if parsed.protocol else protocols.names(parsed.name)
    for name in chosen:
        protocols.get(parsed.name, name)
    print(f"{about.name}: {opening.verify(about, parsed.root)}")
    for name in chosen:
        print(describe_dataset(load(parsed.name, protocol=name, root=parsed.root)))


def describe_dataset(dataset: Dataset) -> str:
    """A protocol's sizes, and the images that stand in two of its parts or twice in one."""
    parts = ("query", "train", "database")
    sizes = ", ".join(f"{part} {len(getattr(dataset, part))}" for part in parts)
    head = f"{dataset.protocol}: {sizes}; validation {len(dataset.validation)} of train"
    lines = []
    for (first, second), pairs in dataset.duplicates().items():
        if pairs:
            where = f"within {first}" if first == second else f"between {first} and {second}"
            equal = " ".join(f"{a}={b}" for a, b in pairs)
            lines.append(f"    {len(pairs)} exact duplicates {where}: {equal}")
    return "\n".join([head, *(lines or ["    no exact duplicates"])])


def show(parsed: argparse.Namespace) -> None:
    from hashlab.data import show

    file = parsed.output or Path(f"{parsed.name}.png")
    show.save(parsed.name, file, parsed.root)
    print(f"{parsed.name}: {file}")
