"""`hashlab search` and `hashlab duplicates`: what lies near an image, or near each other."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, add_device, add_import, address, path
from hashlab.errors import InputError

if TYPE_CHECKING:
    from hashlab.methods.photos import Neighbours, Photos

NEIGHBOURS = 20  # that are shown where nothing is said
SIDE = 24  # columns of a picture on a terminal


def add_to(commands: Any) -> None:
    text = "Find the images of an index that lie nearest to an image."
    command = add_command(commands, "search", search, text)
    text = "what `hashlab index` made: a folder, or milvus:http://HOST:19530/COLLECTION"
    command.add_argument("index", type=address, help=text)
    command.add_argument("images", type=path, nargs="+", metavar="IMAGE", help="what to look for")
    reach = command.add_mutually_exclusive_group()
    text = f"how many neighbours (default: {NEIGHBOURS}, or all where there are fewer)"
    reach.add_argument("-k", type=int, help=text)
    text = "instead all in whose codes at most so many bits differ"
    reach.add_argument("--radius", type=int, help=text)
    text = "only images with such a label, or another column of the index"
    command.add_argument("--where", action="append", default=[], metavar="LABEL=CAT", help=text)
    text = "where the model is now, if not where it was"
    command.add_argument("--model", type=path, help=text)
    text = "show small pictures on a terminal with 24-bit colour"
    command.add_argument("--show", action="store_true", help=text)
    _add_outputs(command)
    add_device(command)
    add_import(command)
    text = "Find groups of images of an index that are nearly the same."
    command = add_command(commands, "duplicates", duplicates, text)
    text = "what `hashlab index` made: a folder, or milvus:http://HOST:19530/COLLECTION"
    command.add_argument("index", type=address, help=text)
    text = "bits that may differ from one image to the next of a group (default: 2)"
    command.add_argument("--radius", type=int, default=2, help=text)
    _add_outputs(command)


def _add_outputs(command: argparse.ArgumentParser) -> None:
    text = "draw it into this page, which has all pictures in it"
    command.add_argument("--html", type=path, metavar="HTML", help=text)
    command.add_argument("--json", action="store_true", help="print it as JSON")


def search(parsed: argparse.Namespace) -> None:
    if parsed.html:
        from hashlab import files

        files.check_file(parsed.html, ".html")
    where = conditions(parsed.where)
    from hashlab.methods import photos

    opened = _opened(parsed.index)
    k = parsed.k
    if k is None and parsed.radius is None:
        k = min(NEIGHBOURS, opened.index.count(where))
    found = photos.neighbours(
        opened,
        parsed.images,
        k=k,
        radius=parsed.radius,
        where=where,
        model=parsed.model,
        device=parsed.device,
    )
    if parsed.html:
        _write(parsed.html, photos.neighbours_page(opened, found))
    print(_as_json(opened, found) if parsed.json else _as_text(opened, found, parsed.show))


def duplicates(parsed: argparse.Namespace) -> None:
    if parsed.html:
        from hashlab import files

        files.check_file(parsed.html, ".html")
    from hashlab import search as searching
    from hashlab.methods import photos

    opened = _opened(parsed.index)
    groups = [group.tolist() for group in searching.duplicates(opened.index, parsed.radius)]
    if parsed.html:
        _write(parsed.html, photos.groups_page(opened, groups, parsed.radius))
    if parsed.json:
        print(
            json.dumps({"radius": parsed.radius, "groups": [_members(opened, g) for g in groups]})
        )
    else:
        print(_groups_as_text(opened, groups, parsed.radius))


def _opened(path: Path | str) -> Photos:
    from hashlab.methods import photos

    opened = photos.open_photos(path)
    if opened.missing > 0:
        text = (
            f"{path} lacks {opened.missing} images: `hashlab index` was interrupted; run it again"
        )
        print(f"hashlab: {text}", file=sys.stderr)
    return opened


def conditions(words: Sequence[str]) -> dict[str, Any] | None:
    """`label=cat` as what `Index.search` takes; of several for one name any will do.

    A number stands for itself and for text.
    """
    where: dict[str, list[Any]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise InputError(f"--where takes a condition like label=cat, got {word!r}")
        where.setdefault(name, []).append(value)
        try:
            number = json.loads(value)
        except ValueError:
            continue
        if isinstance(number, int | float):
            where[name].append(number)
    return where or None


def _write(file: Path, text: str) -> None:
    from hashlab import files

    files.write(file, text.encode("utf-8", "replace"))
    print(f"hashlab: open {file} in a browser", file=sys.stderr)


# ---- as text and as JSON


def _as_text(opened: Photos, found: Sequence[Neighbours], show: bool) -> str:
    blocks = []
    for one in found:
        lines = [f"{one.image}: {len(one.names)} neighbours"]
        lines += _shown(opened, one) if show else []
        for distance, name in zip(one.distances, one.names, strict=True):
            lines.append(f"{distance:5d}  {opened.file(name)}")
        blocks.append("\n".join(lines))
    return _printable("\n\n".join(blocks))


def _groups_as_text(opened: Photos, groups: Sequence[list[str]], radius: int) -> str:
    images = sum(map(len, groups))
    head = f"{len(groups)} groups of {images} images, joined by steps of at most {radius} bits"
    blocks = ["\n".join(str(opened.file(name)) for name in names) for names in groups]
    return _printable("\n\n".join([head, *blocks]))


def _as_json(opened: Photos, found: Sequence[Neighbours]) -> str:
    results = []
    for one in found:
        facts = _members(opened, one.names)
        neighbours = [
            {"distance": distance} | fact
            for distance, fact in zip(one.distances, facts, strict=True)
        ]
        results.append({"image": str(one.image), "neighbours": neighbours})
    return json.dumps(results)


def _members(opened: Photos, names: Sequence[str]) -> list[dict[str, Any]]:
    metas = opened.index.meta(list(names))
    return [
        {"path": str(opened.file(name))} | meta for name, meta in zip(names, metas, strict=True)
    ]


def _printable(text: str) -> str:
    """Names that are no text, with signs in their place."""
    return text.encode("utf-8", "replace").decode()


def _shown(opened: Photos, one: Neighbours) -> list[str]:
    """What was asked for and the nearest, side by side, as many as the terminal is wide."""
    import numpy as np

    from hashlab.methods import photos

    columns = shutil.get_terminal_size().columns
    names = one.names[: max(0, columns // (SIDE + 1) - 1)]
    pictures = [photos.small(file, SIDE) for file in (one.image, *map(opened.file, names))]
    blank = np.full((SIDE, SIDE, 3), 128, np.uint8)
    gap = np.zeros((SIDE, 1, 3), np.uint8)
    row = [part for picture in pictures for part in (blank if picture is None else picture, gap)]
    below = ["asked for", *(f"distance {distance}" for distance in one.distances[: len(names)])]
    words = "".join(word.ljust(SIDE + 1) for word in below)
    return [photos.for_terminal(np.concatenate(row, axis=1)), words]
