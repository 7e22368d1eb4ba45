"""`hashlab index`: a folder of images as an index, made or brought up to date; or shards of codes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hashlab.cli.common import add_command, add_device, add_import, address, path
from hashlab.errors import InputError


def add_to(commands: Any) -> None:
    text = "Make an index of a folder of images, or bring it up to date."
    command = add_command(commands, "index", index, text)
    command.add_argument("model", type=path, help="a folder that `hashlab run --save-model` wrote")
    text = "images, also in subfolders; with --shards their codes"
    command.add_argument("folder", type=path, help=text)
    text = (
        "the index: a new folder, or one to bring up to date; with --shards also "
        "milvus:http://HOST:19530/COLLECTION, or milvus:FILE.db"
    )
    command.add_argument("-o", "--output", type=address, required=True, metavar="INDEX", help=text)
    text = "load the codes that `hashlab encode --on …` wrote; again: what has changed"
    command.add_argument("--shards", action="store_true", help=text)
    text = (
        "a CSV file with a column `file` and others, such as `label` (default: names of subfolders)"
    )
    command.add_argument("--labels", type=path, metavar="CSV", help=text)
    text = "leave images out that cannot be read, and name them"
    command.add_argument("--skip-broken", action="store_true", help=text)
    add_device(command)
    add_import(command)


def index(parsed: argparse.Namespace) -> None:
    if parsed.shards:
        load(parsed)
        return
    from hashlab.search import opening, store

    if opening.is_remote(parsed.output):
        raise InputError(f"{parsed.output} is filled with codes: `hashlab encode --on …`, --shards")
    store.check_target(parsed.output)  # before what takes seconds to import
    from hashlab.data import folders
    from hashlab.methods import photos

    changes = photos.build(
        parsed.model,
        parsed.folder,
        parsed.output,
        labels=parsed.labels,
        skip_broken=parsed.skip_broken,
        device=parsed.device,
    )
    for name, reason in changes.broken.items():
        print(f"hashlab: skipped {name}: {reason}", file=sys.stderr)
    for old, new in changes.renamed.items():
        print(f"renamed {old} -> {new}")
    counts = {
        "new": changes.added,
        "renamed": changes.renamed,
        "removed": changes.removed,
        "skipped": changes.broken,
    }
    words = [", ".join(f"{len(names)} {what}" for what, names in counts.items())]
    words += filter(None, [folders.passed_over(changes.passed)])
    print(f"{parsed.output}: {changes.images} images; {'; '.join(words)}")


def load(parsed: argparse.Namespace) -> None:
    """Fill an index with codes that are there."""
    if parsed.labels or parsed.skip_broken:
        raise InputError("--labels and --skip-broken are for images, not for --shards")
    from hashlab.methods import photos

    images = photos.load(parsed.model, parsed.folder, parsed.output)
    print(f"{parsed.output}: {images} images of {parsed.folder} are in it")
