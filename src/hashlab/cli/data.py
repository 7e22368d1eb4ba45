"""`hashlab data`: list the data sets, fetch one into the cache, check it, draw samples of it;
keep your own images or features as one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, path
from hashlab.errors import InputError

if TYPE_CHECKING:
    from hashlab.data import Dataset


def add_to(commands: Any) -> None:
    text = (
        "List the data sets, fetch one into the cache, check it, or draw samples of it; add your"
        " own images or features under a name of your own, or remove them."
    )
    command = add_command(commands, "data", data, text)
    command.add_argument("action", choices=ACTIONS, nargs="?", default="list")
    command.add_argument("name", nargs="?", help="a data set (all but list)")
    text = "add: one folder of images a class; or an .npz file of features and labels"
    command.add_argument("folder", nargs="?", type=path, help=text)
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
    own = command.add_argument_group("add")
    text = "a CSV file: file,label or file,labels (with ;) or file,level1,level2,… for each image"
    own.add_argument("--labels", type=path, metavar="FILE.csv", help=text)
    text = "folders within folders are levels of classes"
    own.add_argument("--levels", action="store_true", help=text)
    text = "queries of each class: how many, or which share of it (default: 0.1)"
    own.add_argument("--query", metavar="N", help=text)
    text = "training images of each class, likewise (default: all but the queries)"
    own.add_argument("--train", metavar="N", help=text)
    own.add_argument("--seed", type=int, help="which images those are (default: 0)")
    text = (
        "fetch: where its files are; of mnist and the cifars those that torchvision has downloaded "
        "(default: they are downloaded), of sets that you put there by hand source/NAME in the "
        "cache folder"
    )
    command.add_argument("--source", type=path, metavar="FOLDER", help=text)
    by_hand = command.add_argument_group("add, and fetch for the sets that you put there by hand")
    text = "side of the square images that are kept, in pixels (default: 224, of corel5k 128)"
    by_hand.add_argument("--size", type=side, help=text)
    by_hand.add_argument("--fit", help="crop to the centre (default), or squash to the square")
    text = "leave images out that cannot be read"
    by_hand.add_argument("--skip-broken", action="store_true", help=text)


ACTIONS = ("list", "fetch", "check", "show", "add", "remove")
OF_ADD = ("folder", "labels", "levels", "query", "train", "seed")
MOST_LINES = 8  # of classes, and of images that were left out


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

    _check_words(parsed)
    if parsed.action == "list":
        list_sets(parsed.root)
        return
    if parsed.name is None and parsed.action in ("add", "remove"):
        raise InputError(f"a name is expected after `data {parsed.action}`")
    if parsed.name is None:
        sets = ", ".join(names(parsed.root))
        raise InputError(f"a data set is expected after `data {parsed.action}`; one of: {sets}")
    actions = {"fetch": fetch, "check": check_set, "show": show, "add": add, "remove": remove}
    actions[parsed.action](parsed)


def _check_words(parsed: argparse.Namespace) -> None:
    """Raise InputError for words that are for another action."""
    for word in OF_ADD:
        if parsed.action != "add" and getattr(parsed, word) not in (None, False):
            name = "a folder" if word == "folder" else f"--{word}"
            raise InputError(f"{name} is for `data add`, not for `data {parsed.action}`")


def list_sets(root: Path | None) -> None:
    """Every set with its size, protocols, source and licence, and whether it is in the cache."""
    from hashlab.data import info, names, opening

    for name in names(root):
        try:
            about = info(name, root)
        except InputError as error:  # a set of one's own
            print(f"{name}: {error}")
            continue
        images = sum(about.counts.values())
        protocols = ", ".join(opening.protocol_names(about))
        print(f"{name}: {about.title}; {images:,} images; {protocols}")
        print(f"    source: {about.source}; licence: {about.licence}")
        print(f"    {opening.where(about, root)}")


def fetch(parsed: argparse.Namespace) -> None:
    from hashlab.data import info, opening

    about = info(parsed.name, parsed.root)
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
    from hashlab.data import info, load, opening

    about = info(parsed.name, parsed.root)
    chosen = [parsed.protocol] if parsed.protocol else opening.protocol_names(about)
    for name in chosen:
        opening.protocol_of(about, name, parsed.root)
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


def add(parsed: argparse.Namespace) -> None:
    """Keep your own images or features under a name, and say what became of them."""
    from hashlab.data import choices, load, own

    if parsed.folder is None:
        raise InputError(
            "a folder of images, or an .npz file, is expected after `data add NAME`, got none"
        )
    added = own.add(
        parsed.name,
        parsed.folder,
        parsed.root,
        labels=parsed.labels,
        levels=parsed.levels,
        query=choices.amount(parsed.query, "--query"),
        train=choices.amount(parsed.train, "--train"),
        seed=parsed.seed,
        size=parsed.size,
        fit=parsed.fit,
        skip_broken=parsed.skip_broken,
    )
    dataset = load(parsed.name, root=parsed.root)
    state = "" if added.new else " is there already, of the same files"
    print(f"{parsed.name}{state}: {added.folder}")
    for line in [*describe_classes(dataset), *_first(added.notes)]:
        print(f"    {line}")
    print(describe_dataset(dataset))


def describe_classes(dataset: Dataset) -> list[str]:
    """What a set holds, and which of its classes are small."""
    import numpy as np

    pool = dataset.train.pool
    several = pool.labels.ndim == 2
    sizes = (
        pool.labels.sum(0) if several else np.bincount(pool.labels, None, len(pool.about.classes))
    )
    each = [f"{name} {size}" for name, size in zip(pool.about.classes, sizes.tolist(), strict=True)]
    shown = ", ".join(each[:MOST_LINES]) + (", …" if len(each) > MOST_LINES else "")
    lines = [f"{pool.about.title}: {shown}"]
    alone = [name for name, size in zip(dataset.classes, sizes.tolist(), strict=True) if size == 1]
    if alone and not several:
        some = ", ".join(alone[:MOST_LINES])
        lines.append(f"of one image only, which trains and is never asked for: {some}")
    return lines


def _first(notes: Sequence[str]) -> list[str]:
    """The first of some lines, and how many more there are."""
    more = len(notes) - MOST_LINES
    return [*notes[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]


def remove(parsed: argparse.Namespace) -> None:
    from hashlab.data import own

    print(f"{parsed.name} is removed: {own.remove(parsed.name, parsed.root)}")


def show(parsed: argparse.Namespace) -> None:
    from hashlab.data import show

    file = parsed.output or Path(f"{parsed.name}.png")
    show.save(parsed.name, file, parsed.root)
    print(f"{parsed.name}: {file}")
