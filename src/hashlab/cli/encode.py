"""`hashlab encode`: codes of images, and of folders of them, by a saved model."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hashlab.cli.common import add_command, add_device, add_import, path


def add_to(commands: Any) -> None:
    text = "Turn images, and folders of them, into packed codes, with a saved model."
    command = add_command(commands, "encode", encode, text)
    command.add_argument("model", type=path, help="a folder that `hashlab run --save-model` wrote")
    text = "image files, and folders of which all images are meant, also in subfolders"
    command.add_argument("images", type=path, nargs="+", metavar="IMAGE", help=text)
    text = "the .npz file to write: names, codes, bits"
    command.add_argument("-o", "--output", type=path, required=True, help=text)
    text = "leave images out that cannot be read, and name them"
    command.add_argument("--skip-broken", action="store_true", help=text)
    add_device(command)
    add_import(command)


def encode(parsed: argparse.Namespace) -> None:
    from hashlab import files

    files.check_file(parsed.output, ".npz")  # before the model is loaded, which takes seconds
    from hashlab import methods
    from hashlab.data import folders
    from hashlab.methods import models

    method = methods.load(parsed.model, parsed.device)
    encoded = models.encode_files(
        method, parsed.images, parsed.output, skip_broken=parsed.skip_broken
    )
    for name, reason in encoded.broken.items():
        print(f"hashlab: skipped {name}: {reason}", file=sys.stderr)
    counts = [
        f"{encoded.images} images, {encoded.bits} bits each",
        f"{len(encoded.broken)} skipped",
    ]
    counts += filter(None, [folders.passed_over(encoded.passed)])
    print(f"{parsed.output}: {'; '.join(counts)}")
