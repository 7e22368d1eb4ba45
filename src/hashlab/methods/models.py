"""A trained method as a folder: `model.safetensors`, `model.json` and a model card, `README.md`. No pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import hashlab
from hashlab import _disk, checkpoints, codes, files, methods
from hashlab.errors import InputError
from hashlab.methods.base import Method

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
        "settings": method.overrides,
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
        summary = json.loads((folder / FILES[2]).read_text())
        kinds = {"method": str, "bits": int, "settings": dict, "facts": dict, "sha256": str}
        if not all(isinstance(summary[key], kind) for key, kind in kinds.items()):
            raise TypeError
        return summary
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder / FILES[2]} does not describe a model") from None


def load(folder: str | Path, device: str | None = None) -> Method:
    """The method that `save` wrote, ready to encode; raises InputError where a file is missing, altered or no model."""
    folder = _disk.restored(Path(folder).absolute())
    missing = [name for name in (FILES[0], FILES[2]) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{folder} is not a model: {' and '.join(missing)} missing")
    data = (folder / FILES[0]).read_bytes()
    there = _described(folder)
    if hashlib.sha256(data).hexdigest() != there["sha256"]:
        raise InputError(f"{folder / FILES[0]} is damaged, or of another model than model.json says")
    method = methods.create(there["method"], there["bits"], **there["settings"])
    method.set_state(*checkpoints.unpack(data, str(folder / FILES[0])), device)
    return method


def card(method: Method, summary: dict[str, Any]) -> str:
    """What the model is, in Markdown."""
    about = method.about
    facts = {"bits": method.bits, **summary["facts"], "settings": summary["settings"] or "defaults"}
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
