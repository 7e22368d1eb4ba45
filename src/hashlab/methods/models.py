"""A trained method as a folder: `model.safetensors`, `model.json` and a model card, `README.md`.
No pickle.

Nothing here knows the methods: `methods.load` says how one is made of its name, bits and settings.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from torch import Tensor

import hashlab
from hashlab import codes, files
from hashlab.data import folders, items
from hashlab.errors import InputError
from hashlab.files import _disk
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
BLOCK = 256  # image files that are encoded at a time
HOW_TO_ENCODE = {
    "images": (
        "Encode images with `hashlab encode MODEL IMAGES -o codes.npz`, where MODEL is "
        "this folder, or in Python:"
    ),
    "features": "Encode in Python, where MODEL is this folder:",
}  # for the card


class Model(Protocol):
    """What is needed of a fitted method, as `hashlab.methods.Method` is one."""

    about: Any
    bits: int
    tables: tuple[int, ...] | None
    overrides: dict[str, Any]  # settings that differ from the defaults
    shape: tuple[int, ...]  # of an image, or of features
    classes: tuple[str, ...] | None  # names of what it was fitted to, where they are known

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
        "classes": method.classes,
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
    folder = files.check_replaceable(target)
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
    of_features = items.are_features(method.shape)
    kind = "features" if of_features else "images"
    taken = items.layout(method.shape) if of_features else "arrays, paths, images of Pillow's"
    return f"""# {about.name}, {method.bits} bits

{about.title} ({about.paper}): {about.status}.
It turns {kind} into codes of {method.bits} bits, for search by Hamming distance.

{chr(10).join(lines)}

{HOW_TO_ENCODE[kind]}

```python
import hashlab.methods

model = hashlab.methods.load("MODEL")
codes = model.encode({kind})  # {taken} -> packed uint8 (N, {row_bytes(method)})
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
    classes = summary.get("classes")  # models of older versions have none
    method.classes = None if classes is None else tuple(classes)
    return method


def identity(folder: str | Path) -> dict[str, Any]:
    """What tells a saved model from others: method, bits, tables, settings and the SHA-256 of its
    weights, JSON values by name; raises InputError where there is none.
    """
    files.check_name(folder)
    folder = _disk.restored(Path(folder))
    if not os.path.lexists(folder / SUMMARY):
        raise InputError(f"{folder} is not a model: {SUMMARY} missing")
    summary = _described(folder)
    names = ("method", "bits", "tables", "settings", "sha256")
    return {name: summary.get(name) for name in names}


def _described(folder: Path) -> dict[str, Any]:
    """What `model.json` says; raises InputError where it does not describe a model."""
    file = folder / SUMMARY
    try:
        summary = files.read_json(file)
        fits = all(isinstance(summary[key], kind) for key, kind in FIELDS.items())
        fits = fits and _are_names(summary.get("classes"))
    except InputError as error:
        raise InputError(f"{file} does not describe a model ({error})") from None
    except (KeyError, TypeError):  # a field is missing, or it is no object
        fits = False
    if not fits:
        raise InputError(f"{file} does not describe a model")
    return summary


def _are_names(classes: Any) -> bool:
    """Whether that is what `model.json` says of classes: a list of text, or nothing."""
    return classes is None or (
        isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    )


def _give(method: Model, tensors: dict[str, Tensor], facts: Any, device: str) -> None:
    """Give a method its state; raises InputError where it then does not turn an item into a
    code.
    """
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise InputError(f"finite numbers are expected, got others in {name}")
    try:
        method.set_state(tensors, facts, device)
        packed = method.encode(items.zeros(1, method.shape))
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


# ---- files of images


class Encoded(NamedTuple):
    """What became of image files: how many have codes, of how many bits, what is wrong with the
    others, and how many of which kind were passed over in folders.
    """

    images: int
    bits: int
    broken: dict[str, str]  # name -> reason
    passed: Counter[str]  # kind -> how many, see `folders.listing`


def encode_folder(
    method: Model, folder: str | Path, output: str | Path, *, skip_broken: bool = False
) -> Encoded:
    """Write the codes of all images below a folder to one `.npz` file; see `encode_files`."""
    return encode_files(method, [folder], output, skip_broken=skip_broken)


def encode_files(
    method: Model,
    sources: Sequence[str | Path],
    output: str | Path,
    *,
    skip_broken: bool = False,
) -> Encoded:
    """Write the codes of image files to one `.npz` file, a few blocks of images in memory at a time.

    The file holds `names` (N,), those of files as they are given, those of images in a folder
    relative to it; `codes` uint8 (N, ceil(K/8)); `bits`; and `tables` where there are several.

    Args:
        method: a fitted one, for example from `methods.load`.
        sources: image files, and folders, of which all images are meant, also in subfolders.
        skip_broken: leave out images that cannot be read; otherwise the first one ends it all.

    Raises:
        InputError: a model of features, no images, two of one name, a broken image, an output that
            cannot be; nothing is written then.
    """
    if items.are_features(method.shape):
        raise InputError(
            f"a model of images is expected, got one of {items.described(method.shape)}; features"
            " are encoded in Python: hashlab.methods.load(MODEL).encode(features)"
        )
    output = Path(output)
    files.check_file(output, ".npz")
    named, passed = _named(sources)
    names = list(named)
    paths = list(named.values())
    name_of = dict(zip(paths, names, strict=True))
    broken: dict[str, str] = {}

    def note(path: Path, reason: str) -> None:
        broken[name_of[path]] = str(reason)

    refuse = note if skip_broken else folders.refuse
    blocks = folders.stream(paths, method.shape, block=BLOCK, broken=refuse)
    rows: list[int] = []
    packed: list[np.ndarray] = []
    for block in Progress(blocks, "encoding", total=-(-len(paths) // BLOCK), delay=2):
        rows += block.rows.tolist()
        packed.append(method.encode(block.images))
    if not rows:
        where = ", ".join(map(str, sources[:3]))
        raise InputError(f"none of the {len(paths)} images in {where} can be read")
    arrays = _arrays(method, [names[row] for row in rows], np.concatenate(packed))
    files.write(output, files.npz(arrays))
    return Encoded(len(rows), method.bits, broken, passed)


def _named(sources: Sequence[str | Path]) -> tuple[dict[str, Path], Counter[str]]:
    """Image files by the names that they go by, in the order of the sources,
    and what was passed over in folders.

    Raises InputError where two go by one name, or there are none.
    """
    named: dict[str, Path] = {}
    passed: Counter[str] = Counter()
    for source in map(Path, sources):
        images = [source]
        if not source.is_file():
            images, kinds = folders.listing(source)
            passed += kinds
        for image in images:
            name = image.relative_to(source).as_posix() if image != source else image.as_posix()
            if name in named:
                raise InputError(
                    f"images of different names are expected, got {name} twice: {named[name]} and "
                    f"{image}; give a folder that holds both"
                )
            named[name] = image
    if not named:
        raise InputError("one image or folder at least is expected, got none")
    return named, passed


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
