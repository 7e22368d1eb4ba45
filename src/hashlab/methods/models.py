"""A trained method as a folder: `model.safetensors`, `model.json` and a model card, `README.md`. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

import hashlab
from hashlab import _disk, codes, files, methods
from hashlab.errors import InputError
from hashlab.methods.base import Method, from_recorded, recorded
from hashlab.networks import backbones
from hashlab.training import checkpoints

FILES = ("model.safetensors", "README.md", "model.json")


def save(method: Method, folder: str | Path, facts: dict[str, Any] | None = None) -> Path:
    """Write a fitted method as a folder, which appears whole; `facts` about data and results go into its card.

    Returns the folder. Raises InputError for a method that is not fitted, and for a folder that holds something else or
    another model.
    """
    summary = {
        "method": method.about.name,
        "bits": method.bits,
        "tables": method.tables,
        "settings": recorded(method.Config, method.overrides),
        "facts": facts or {},
        "hashlab": hashlab.__version__,
    }
    folder = check(folder, _run(summary))
    tensors, state = method.state()
    data = checkpoints.pack(tensors, state)
    summary["sha256"] = hashlib.sha256(data).hexdigest()
    contents = (data, card(method, summary).encode(), (json.dumps(summary, indent=1) + "\n").encode())
    with _disk.lock(folder), _disk.aside(folder) as beside:
        check(folder, _run(summary))  # another process may have been faster
        for name, content in zip(FILES, contents, strict=True):
            _disk.write(beside / name, content)
        _disk.swap(beside, folder)
    return folder


def check(folder: str | Path, run: Any) -> Path:
    """Raise InputError unless a model may be written there: as a new folder, in place of an empty one or of the same.

    The same are models of one run, which is the name of its record; a model that was saved without any has its method,
    bits and settings instead. Returns the folder.
    """
    given, folder = folder, _disk.restored(Path(folder).absolute())
    files.check_folder(folder.parent)
    files.check_folder(folder)
    if Path.cwd().is_relative_to(folder) or folder.is_mount() or folder.is_symlink():
        raise InputError(f"a folder that can be replaced as a whole is expected, got {given}; give one inside it")
    others = [path.name for path in folder.iterdir() if path.name not in FILES] if folder.is_dir() else []
    if others:
        raise InputError(f"{folder} holds other things than a model ({others[0]}, …); give a new folder")
    if (folder / FILES[2]).is_file() and (there := _run(_described(folder))) != run:
        raise InputError(f"{folder} holds another model, {there}, not {run}; give a new folder")
    return folder


def _run(summary: dict[str, Any]) -> Any:
    """What a model is known by."""
    return summary["facts"].get("run") or {key: summary[key] for key in ("method", "bits", "settings")}


def _described(folder: Path) -> dict[str, Any]:
    """What `model.json` says; raises InputError where it does not describe a model."""
    try:
        summary = files.read_json(folder / FILES[2])
        kinds = {"method": str, "bits": int, "settings": dict, "facts": dict, "sha256": str}
        if not all(isinstance(summary[key], kind) for key, kind in kinds.items()):
            raise TypeError
        return summary
    except InputError as error:
        raise InputError(f"{folder / FILES[2]} does not describe a model ({error})") from None
    except (KeyError, TypeError):
        raise InputError(f"{folder / FILES[2]} does not describe a model") from None


def load(folder: str | Path, device: str | None = None) -> Method:
    """The method that `save` wrote, ready to encode; raises InputError where a file is missing, altered or no model."""
    files.check_name(folder)
    folder, device = _disk.restored(Path(folder).absolute()), str(backbones.device(device))
    missing = [name for name in (FILES[0], FILES[2]) if not os.path.lexists(folder / name)]
    if missing:
        raise InputError(f"{folder} is not a model: {' and '.join(missing)} missing")
    summary, file = _described(folder), folder / FILES[0]
    settings = from_recorded(methods._class(summary["method"]).Config, summary["settings"])
    method = methods.create(summary["method"], summary["bits"], **settings)
    data = files.read_bytes(file)
    if hashlib.sha256(data).hexdigest() != summary["sha256"]:
        raise InputError(f"{file} is damaged, or of another model than model.json says")
    tensors, facts = checkpoints.unpack(data, str(file))
    try:
        _give(method, tensors, facts, device)
    except InputError as error:
        raise InputError(f"{file} is no {summary['method']} of {method.bits} bits: {error}") from None
    return method


def _give(method: Method, tensors: dict[str, Tensor], facts: Any, device: str) -> None:
    """Give a method its state, and see whether it turns an image into a code; raises InputError where it does not."""
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"finite numbers are expected, got others in {name}")
    try:
        method.set_state(tensors, facts, device)
        packed = method.encode(np.zeros((1, *method.shape), np.uint8))
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # the parts are sound, each by itself, but do not go together
        raise InputError(f"it cannot encode an image ({' '.join(str(error).split())})") from None
    width = sum(codes.row_bytes(bits) for bits in method.tables or (method.bits,))
    if packed.shape != (1, width):
        raise InputError(f"a code of {width} bytes is expected, got {packed.shape[1]}")


def card(method: Method, summary: dict[str, Any]) -> str:
    """What the model is, in Markdown."""
    about = method.about
    facts = {"bits": method.bits, **summary["facts"], "settings": method.overrides or "defaults"}
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    width = sum(codes.row_bytes(bits) for bits in method.tables or (method.bits,))
    return f"""# {about.name}, {method.bits} bits

{about.title} ({about.paper}): {about.status}.
It turns images into codes of {method.bits} bits, for search by Hamming distance.

{chr(10).join(lines)}

Encode a folder of images with `hashlab encode MODEL FOLDER -o codes.npz`, where MODEL is this folder, or in Python:

```python
import hashlab.methods

model = hashlab.methods.load("MODEL")
codes = model.encode(images)  # uint8 (N, H, W[, C]) -> packed uint8 (N, {width})
```

Written by hashlab {summary["hashlab"]}. `model.json` names the SHA-256 of `model.safetensors`.
"""
