"""`hashlab encode`: codes of images, and of folders of them, by a saved model."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from hashlab.cli.common import (
    add_command,
    add_device,
    add_import,
    add_place,
    check_place,
    open_pool,
    path,
)
from hashlab.errors import InputError

SHOWN = 10  # broken images that are named where there may be millions


def add_to(commands: Any) -> None:
    text = "Turn images, and folders of them, into packed codes, with a saved model."
    command = add_command(commands, "encode", encode, text)
    command.add_argument("model", type=path, help="a folder that `hashlab run --save-model` wrote")
    text = (
        "image files, and folders of which all images are meant, also in subfolders; with --on also "
        "lists (.txt, .parquet with a column `path`) and addresses such as s3://bucket/photos"
    )
    command.add_argument("images", type=address, nargs="+", metavar="IMAGE", help=text)
    text = (
        "the .npz file to write: names, codes, bits; with --on a folder for shards in Parquet, "
        "which is gone on with where it is there"
    )
    command.add_argument("-o", "--output", type=path, required=True, help=text)
    text = "leave images out that cannot be read, and name them (with --on: always)"
    command.add_argument("--skip-broken", action="store_true", help=text)
    add_place(command, default=None)
    text = "images of a shard, a multiple of 256 (default: 4096)"
    command.add_argument("--shard", type=int, metavar="N", help=text)
    add_device(command)
    add_import(command)


def address(word: str) -> Path | str:
    """A path, or an address, which is no path."""
    return word if "://" in word else path(word)


def encode(parsed: argparse.Namespace) -> None:
    if parsed.on is not None:
        to_shards(parsed)
        return
    words = ("processes", "cpus", "gpus", "shard")
    if given := [word for word in words if getattr(parsed, word) is not None]:
        raise InputError(f"--{given[0]} goes with --on")
    from hashlab import files

    files.check_file(parsed.output, ".npz")  # before the model is loaded, which takes seconds
    from hashlab import methods
    from hashlab.methods import models

    method = methods.load(parsed.model, parsed.device)
    encoded = models.encode_files(
        method, parsed.images, parsed.output, skip_broken=parsed.skip_broken
    )
    report(encoded, parsed.output, len(encoded.broken))


def to_shards(parsed: argparse.Namespace) -> None:
    """Encode in several processes, or on several machines."""
    check_place(parsed)
    from hashlab.scale import shards

    encoded = shards.encode(
        parsed.model,
        parsed.images,
        parsed.output,
        size=shards.SIZE if parsed.shard is None else parsed.shard,
        device=parsed.device,
        open_pool=partial(open_pool, parsed),
    )
    report(encoded, parsed.output, SHOWN)


def report(encoded: Any, output: Path, shown: int) -> None:
    """Say what became of the images; of those that are broken, some are named."""
    from hashlab.data import folders

    broken = list(encoded.broken.items())
    for name, reason in broken[:shown]:
        print(f"hashlab: skipped {name}: {reason}", file=sys.stderr)
    if len(broken) > shown:
        print(f"hashlab: skipped {len(broken) - shown} more", file=sys.stderr)
    counts = [f"{encoded.images} images, {encoded.bits} bits each", f"{len(broken)} skipped"]
    counts += filter(None, [folders.passed_over(encoded.passed)])
    print(f"{output}: {'; '.join(counts)}")
