"""A trained method as a folder: `model.safetensors`, `model.json` and a model card, `README.md`.
No pickle.

Nothing here knows the methods: `methods.load` says how one is made of its name, bits and settings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

import hashlab
from hashlab import _disk, codes, files
from hashlab.data import folders
from hashlab.errors import InputError
from hashlab.networks import backbones
from hashlab.progress import Progress
from hashlab.training import checkpoints
from hashlab.training.checkpoints import State

WEIGHTS = "model.safetensors"
CARD = "README.md"
SUMMARY = "model.json"
FIELDS = {
    "method": str,
    "bits": int,
    "settings": dict,
    "facts": dict,
    "sha256": str,
}  # in `model.json`
BLOCK = 256  # images of a folder that are encoded at a time


class Model(Protocol):
    """What is needed of a fitted method, as `hashlab.methods.Method` is one."""

    about: Any
    bits: int
    tables: tuple[int, ...] | None
    overrides: dict[str, Any]  # settings that differ from the defaults
    shape: tuple[int, ...]  # of an image

    def state(self) -> State: ...
    def set_state(
        self, tensors: dict[str, Tensor], facts: Any, device: str | None = None
    ) -> None: ...
    def encode(self, images: np.ndarray) -> np.ndarray: ...


AnyModel = TypeVar("AnyModel", bound=Model)


def row_bytes(method: Model) -> int:
    """Bytes of a packed code of all tables."""
    return sum(codes.row_bytes(bits) for bits in method.tables or (method.bits,))


# ---- writing


def save(
    method: Model,
    settings: Mapping[str, Any],
    folder: str | Path,
    facts: Mapping[str, Any] | None = None,
) -> Path:
    """Write a fitted method as a folder, which appears whole.

    Args:
        settings: those that differ from the defaults, by their names in records.
        facts: about data and results, for the card.

    Returns:
        The folder.

    Raises:
        InputError: a method that is not fitted; a folder that holds something else or another
            model.
    """
    summary: dict[str, Any] = {
        "method": method.about.name,
        "bits": method.bits,
        "tables": method.tables,
        "settings": settings,
        "facts": facts or {},
        "hashlab": hashlab.__version__,
    }
    run = _run(summary)
    folder = check_target(folder, run)
    weights = checkpoints.pack(*method.state())
    summary["sha256"] = hashlib.sha256(weights).hexdigest()
    contents = {
        WEIGHTS: weights,
        CARD: card(method, summary).encode(),
        SUMMARY: (json.dumps(summary, indent=1) + "\n").encode(),
    }
    with _disk.lock(folder), _disk.aside(folder) as beside:
        check_target(folder, run)  # another process may have been faster
        for name, content in contents.items():
            _disk.write(beside / name, content)
        _disk.swap(beside, folder)
    return folder


def check_target(target: str | Path, run: Any) -> Path:
    """Raise InputError unless a model may be written into a folder, and return that.

    It may be a new folder, an empty one, or one that holds the same model. The same are models of
    one run, which is the name of its record; a model that was saved without any has its method,
    bits and settings instead.
    """
    folder = Path(target)
    if Path.cwd().is_relative_to(folder.absolute()) or folder.is_mount() or folder.is_symlink():
        raise InputError(
            f"a folder that can be replaced as a whole is expected, got {target}; give one inside "
            "it"
        )
    _disk.restored(folder)
    files.check_folder(folder.parent)
    files.check_folder(folder)
    ours = (WEIGHTS, CARD, SUMMARY)
    others = (
        [path.name for path in folder.iterdir() if path.name not in ours] if folder.is_dir() else []
    )
    if others:
        raise InputError(
            f"{folder} holds other things than a model ({others[0]}, …); give a new folder"
        )
    if (folder / SUMMARY).is_file():
        other_run = _run(_described(folder))
        if other_run != run:
            raise InputError(
                f"{folder} holds another model, {other_run}, not {run}; give a new folder"
            )
    return folder


def _run(summary: Mapping[str, Any]) -> Any:
    """What a model is known by."""
    return summary["facts"].get("run") or {
        key: summary[key] for key in ("method", "bits", "settings")
    }


def card(method: Model, summary: Mapping[str, Any]) -> str:
    """What the model is, in Markdown."""
    about = method.about
    facts = {"bits": method.bits, **summary["facts"], "settings": method.overrides or "defaults"}
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    return f"""# {about.name}, {method.bits} bits

{about.title} ({about.paper}): {about.status}.
It turns images into codes of {method.bits} bits, for search by Hamming distance.

{chr(10).join(lines)}

Encode a folder of images with `hashlab encode MODEL FOLDER -o codes.npz`, where MODEL is this folder, or in Python:

```python
import hashlab.methods

model = hashlab.methods.load("MODEL")
codes = model.encode(images)  # uint8 (N, H, W[, C]) -> packed uint8 (N, {row_bytes(method)})
```

Written by hashlab {summary["hashlab"]}. `model.json` names the SHA-256 of `model.safetensors`.
"""


# ---- reading


def load(
    folder: str | Path,
    create: Callable[[str, int, dict[str, Any]], AnyModel],
    device: str | None = None,
) -> AnyModel:
    """The method that `save` wrote, ready to encode.

    Args:
        create: makes a method of its name, bits and settings.
        device: cpu, cuda, …; None: CUDA where there is one.

    Raises:
        InputError: a file that is missing, altered or no model; a device that cannot be used.
    """
    files.check_name(folder)
    folder = _disk.restored(Path(folder))
    device = str(backbones.device(device))
    missing = [name for name in (WEIGHTS, SUMMARY) if not os.path.lexists(folder / name)]
    if missing:
        raise InputError(f"{folder} is not a model: {' and '.join(missing)} missing")
    summary = _described(folder)
    method = create(summary["method"], summary["bits"], summary["settings"])
    file = folder / WEIGHTS
    weights = files.read_bytes(file)
    if hashlib.sha256(weights).hexdigest() != summary["sha256"]:
        raise InputError(f"{file} is damaged, or of another model than model.json says")
    tensors, facts = checkpoints.unpack(weights, str(file))
    try:
        _give(method, tensors, facts, device)
    except backbones.Unknown as error:
        raise InputError(f"{folder} cannot be loaded here: {error}") from None
    except InputError as error:
        name = f"{summary['method']} of {method.bits} bits"
        raise InputError(f"{file} is no {name}: {error}") from None
    return method


def _described(folder: Path) -> dict[str, Any]:
    """What `model.json` says; raises InputError where it does not describe a model."""
    file = folder / SUMMARY
    try:
        summary = files.read_json(file)
        fits = all(isinstance(summary[key], kind) for key, kind in FIELDS.items())
    except InputError as error:
        raise InputError(f"{file} does not describe a model ({error})") from None
    except (KeyError, TypeError):  # a field is missing, or it is no object
        fits = False
    if not fits:
        raise InputError(f"{file} does not describe a model")
    return summary


def _give(method: Model, tensors: dict[str, Tensor], facts: Any, device: str) -> None:
    """Give a method its state; raises InputError where it then does not turn an image into a
    code.
    """
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"finite numbers are expected, got others in {name}")
    try:
        method.set_state(tensors, facts, device)
        packed = method.encode(np.zeros((1, *method.shape), np.uint8))
    except InputError:
        raise
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        # the parts are sound, each by itself, but do not go together
        raise InputError(f"it cannot encode an image ({' '.join(str(error).split())})") from None
    width = row_bytes(method)
    if packed.shape != (1, width):
        raise InputError(f"a code of {width} bytes is expected, got {packed.shape[1]}")


# ---- folders of images


class Encoded(NamedTuple):
    """What became of a folder: how many images have codes, of how many bits,
    and what is wrong with the others.
    """

    images: int
    bits: int
    broken: dict[str, str]  # name -> reason


def encode_folder(
    method: Model, folder: str | Path, output: str | Path, *, skip_broken: bool = False
) -> Encoded:
    """Write the codes of all images below a folder to one `.npz` file,
    a few blocks of images in memory at a time.

    The file holds `names` (N,), paths relative to the folder; `codes` uint8 (N, ceil(K/8)); `bits`;
    and `tables` where there are several.

    Args:
        method: a fitted one, for example from `methods.load`.
        skip_broken: leave out images that cannot be read; otherwise the first one ends it all.

    Raises:
        InputError: no images, a broken image, an output that cannot be; nothing is written then.
    """
    folder = Path(folder)
    output = Path(output)
    files.check_file(output, ".npz")
    paths = folders.files(folder)
    names = [path.relative_to(folder).as_posix() for path in paths]
    broken: dict[str, str] = {}

    def note(path: Path, reason: str) -> None:
        broken[path.relative_to(folder).as_posix()] = str(reason)

    blocks = folders.stream(paths, method.shape, block=BLOCK, broken=note if skip_broken else None)
    rows: list[int] = []
    packed: list[np.ndarray] = []
    for block in Progress(blocks, "encoding", total=-(-len(paths) // BLOCK), delay=2):
        rows += block.rows.tolist()
        packed.append(method.encode(block.images))
    if not rows:
        raise InputError(f"none of the {len(paths)} images in {folder} can be read")
    arrays = _arrays(method, [names[row] for row in rows], np.concatenate(packed))
    files.write(output, files.npz(arrays))
    return Encoded(len(rows), method.bits, broken)


def _arrays(method: Model, names: list[str], packed: np.ndarray) -> dict[str, np.ndarray]:
    """What the file of a folder's codes holds."""
    arrays = {
        "names": np.array(names),
        "codes": codes.trim(files.join_tables(packed, method.tables), method.bits),
        "bits": np.int64(method.bits),
    }
    if method.tables is not None:
        arrays["tables"] = np.array(method.tables)
    return arrays
