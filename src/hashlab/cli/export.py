"""`hashlab export`: a saved model as an ONNX graph."""

from __future__ import annotations

import argparse
from typing import Any

from hashlab.cli.common import add_command, path


def add_to(commands: Any) -> None:
    text = "Write a saved model as an ONNX graph: uint8 images to packed codes."
    command = add_command(commands, "export", export, text)
    command.add_argument("model", type=path, help="a folder that `hashlab run --save-model` wrote")
    command.add_argument("output", type=path, help="the .onnx file to write")


def export(parsed: argparse.Namespace) -> None:
    from hashlab import files

    files.check_file(parsed.output, ".onnx")  # before the model is loaded, which takes seconds
    from hashlab import methods
    from hashlab.methods import graphs

    graphs.check_installed()
    done = graphs.export(methods.load(parsed.model, "cpu"), parsed.output)
    print(f"{parsed.output}: opset {done.opset}; in: {done.inputs}; out: {done.outputs}")
    print(
        f"compared with the model on {done.images} images: {done.differ} of {done.bits} bits differ,"
        f" outputs by {done.largest:.1e} at most"
    )
