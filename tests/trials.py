"""Commands in hard circumstances: killed at every change of a file,
or started several times at once.

    python trials.py FOLDER KILLS TRIALS PROCESSES [COMMAND …]

Each command is killed at KILLS moments, drawn (0: at every one), and started by PROCESSES at once
in TRIALS trials. Each life is a process forked from this one, which has loaded everything. Prints
as JSON, for each command, how many trials there were and what went wrong in which. `test_trials.py`
starts it.
"""

import contextlib
import json
import os
import random
import shutil
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import onnx
import torch
from killing import Moments, snapshot, watch
from PIL import Image
from processes import PATIENCE

from hashlab import cli, methods, records
from hashlab.data import cache, opening, own, parts, sets
from hashlab.errors import InputError
from hashlab.methods import graphs, models, photos
from hashlab.training import checkpoints

torch.set_num_threads(1)


@dataclass
class Command:
    """What is to be done in a folder, from which start,
    and what must hold of the folder at any moment.
    """

    act: object
    prepare: object = lambda folder: None
    sound: object = lambda folder: None


# ---- the commands


def hashlab(*words):
    return cli.main([str(word) for word in words])


NO_TRAINING = ("--set", "epochs=0", "pretrain_epochs=0", "backbone=tiny")


def run(folder, *more):
    return hashlab(
        "run", "mu_liu", "digits", "--bits", 8, "--root", folder / "records", *(more or NO_TRAINING)
    )


def train(folder):
    """A run with a checkpoint after every step, see `main`."""
    return run(folder, "--set", "epochs=1", "pretrain_epochs=0", "backbone=tiny", "batch_size=600")


GRID = """
title = "Two methods"
dataset = "digits"
bits = [8, 12]
rows = [{ method = "itq", search = [{ iterations = [2, 5, 10] }] }, { method = "lsh" }]
search = { bits = 8 }
"""


def grid(folder):
    file = folder / "grid.toml"
    file.write_text(GRID)
    return hashlab("grid", file, "--root", folder / "records")


def save_model(folder):
    return run(folder, *NO_TRAINING, "--save-model", folder / "model")


def draw(folder):
    (folder / "images").mkdir()
    for number, image in enumerate(
        np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)
    ):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")


def model_and_images(folder):
    draw(folder)
    save_model(folder)


def encode(folder):
    return hashlab("encode", folder / "model", folder / "images", "-o", folder / "codes.npz")


def encode_shards(folder):
    """Two shards, in this process."""
    with mock.patch.object(models, "BLOCK", 2):
        return hashlab("encode", folder / "model", folder / "images", "--on", "local",
                       "--shard", 2, "-o", folder / "shards")  # fmt: skip


def index(folder):
    return hashlab("index", folder / "model", folder / "images", "-o", folder / "an.index")


def changed_images(folder):
    """An index, and after it one image more, one less, one with another name."""
    model_and_images(folder)
    index(folder)
    images = folder / "images"
    Image.fromarray(np.full((9, 9, 3), 7, np.uint8)).save(images / "new.png")
    (images / "0.png").unlink()
    (images / "1.png").rename(images / "renamed.png")


def opens(folder):
    """An index is there whole or not at all, and of codes as the model gives them."""
    if (folder / "an.index").exists():
        photos.open_photos(folder / "an.index")


def model_and_shards(folder):
    """A model, and two shards of its codes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    model_and_images(folder)
    sha256 = json.loads((folder / "model" / "model.json").read_text())["sha256"]
    about = {"hashlab.bits": "8", "hashlab.model": sha256}
    (folder / "shards").mkdir()
    for number in range(2):
        columns = {"path": [f"{number}.png"], "code": pa.array([b"a"], pa.binary(1))}
        table = pa.table(columns).replace_schema_metadata(about)
        pq.write_table(table, folder / "shards" / f"{number}.parquet")


def index_of_shards(folder):
    words = ("--shards", "-o", folder / "an.index")
    return hashlab("index", folder / "model", folder / "shards", *words)


def model_to_export(folder):
    hashlab("run", "lsh", "digits", "--bits", 8, "--root", folder / "records",
            "--save-model", folder / "model")  # fmt: skip


def stand_in(*_):
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


def export(folder):
    """What is tried is the writing, not torch's way to a graph, which takes seconds."""
    with (
        mock.patch.object(graphs, "_graph", stand_in),
        mock.patch.object(graphs, "_compared", lambda *_: (0, 0, 0, 0.0)),
    ):
        return hashlab("export", folder / "model", folder / "encoder.onnx")


def two_records(folder):
    hashlab("run", "lsh", "digits", "--bits", 8, "--seeds", 0, 1, "--root", folder / "records")


def compact(folder):
    for record in records.load(folder / "records"):
        records.compact(record)


def listed_images(folder):
    draw(folder)
    rows = [
        f"{number}.png {' '.join(str((number + concept) % 2) for concept in range(21))}\n"
        for number in range(4)
    ]
    (folder / "images" / "all.txt").write_text("".join(rows))


def prepare(folder):
    root, source = folder / "cache", folder / "images"
    return hashlab("data", "fetch", "nuswide21", "--root", root, "--source", source, "--size", 8)


def own_images(folder):
    for name in ("cat/0", "cat/1", "dog/0", "dog/1", "dog/2"):
        file = folder / "photos" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.frombuffer(name.encode() * 15, np.uint8).reshape(5, 5, 3)).save(file)


def add(folder):
    root = folder / "cache"
    return hashlab("data", "add", "mine", folder / "photos", "--root", root, "--size", 8)


def own_arrays(folder):
    rng = np.random.default_rng(0)
    np.savez(folder / "x.npz", features=rng.normal(size=(20, 4)), labels=np.arange(20) % 2)


def add_arrays(folder):
    return hashlab("data", "add", "mine", folder / "x.npz", "--root", folder / "cache")


def images_and_set(folder):
    own_images(folder)
    add(folder)


def remove(folder):
    with contextlib.suppress(InputError):  # another process was faster
        own.remove("mine", folder / "cache")


def own_is_whole(folder):
    for name in own.names(folder / "cache"):
        assert opening.load(name, root=folder / "cache").train.images.size


MADE = {"all": (np.arange(320, dtype=np.uint8).reshape(20, 4, 4), np.zeros(20, np.uint8))}


def made():
    """What there is to know of a set that is made up."""
    mark = {"all": parts.canonical(*MADE["all"])[1]}
    return sets.SetInfo(name="made", title="", shape=(4, 4), classes=("0",), counts={"all": 20}, source="", licence="",
                        fingerprints=mark)  # fmt: skip


def fetch(folder):
    """As from torchvision."""
    cache.fetch(made(), folder / "cache", lambda *_: MADE)
    opening.open_pool(made(), folder / "cache")


def rewrite(folder):
    """A set takes the place of the same one."""
    cache.write(made(), MADE, folder / "cache")


def cache_is_whole(folder):
    opening.open_pool(made(), folder / "cache")


def codes_file(folder):
    rng = np.random.default_rng(0)
    codes = {
        f"{side}_codes": rng.integers(0, 2, (20, 8)).astype(bool) for side in ("query", "database")
    }
    labels = {f"{side}_labels": rng.integers(0, 3, 20) for side in ("query", "database")}
    np.savez(folder / "codes.npz", **codes, **labels, bits=8)


def curve(folder):
    return hashlab("evaluate", folder / "codes.npz", "--pr", folder / "curve.png")


def ranks_and_numbers(folder):
    return hashlab(
        "evaluate", folder / "codes.npz", "--pn", folder / "ranks.svg", "--csv", folder / "all.csv"
    )


def convert(folder):
    return hashlab("convert", folder / "codes.npz", "-o", folder / "converted.npz")


def checkout(folder):
    (folder / "book" / "_static").mkdir(parents=True)
    (folder / "README.md").write_text("before\n<!-- results -->old<!-- /results -->\nafter\n" * 50)


def save_figure(file, **_):
    with contextlib.nullcontext(file) if hasattr(file, "write") else open(file, "wb") as out:
        out.write(b"a picture" * 100)


def book(folder):
    """`book/build.py results` in a copy of the checkout;
    of records and figures there is only what it asks for.
    """
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
    import build

    from hashlab import plots

    few = {
        key: np.zeros((2, 8), np.uint8) if key.endswith("codes") else np.arange(2)
        for key in records.ARRAYS
    }
    record, figure = SimpleNamespace(codes=lambda: few), SimpleNamespace(savefig=save_figure)
    with (
        mock.patch.multiple(build, ROOT=folder, five_papers=lambda: ""),
        mock.patch.object(records, "load", lambda **_: [record]),
        mock.patch.object(plots, "code_maps", lambda *_: figure),
    ):
        return build.results()


def explorer_data(folder):
    """`book/build.py explorer`, of records that are not there."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
    import explorer

    with mock.patch.multiple(explorer, script=lambda: "data" * 999, TARGET=folder / "data.js"):
        explorer.write()


def verified(folder):
    """No record may be there that does not agree with its codes."""
    for record in records.load(folder / "records"):
        assert records.verify(record) == [], record.path


def model_loads(folder):
    verified(folder)
    if (folder / "model" / "model.json").exists():
        methods.load(folder / "model")


COMMANDS = {
    "run": Command(run, sound=verified),
    "run with checkpoints": Command(train, sound=verified),
    "run --save-model": Command(save_model, sound=model_loads),
    "run --save-model again": Command(save_model, save_model, model_loads),
    "grid": Command(grid, sound=verified),
    "compact": Command(compact, two_records, verified),
    "encode": Command(encode, model_and_images),
    "encode --on": Command(encode_shards, model_and_images),
    "index": Command(index, model_and_images, opens),
    "index again": Command(index, changed_images, opens),
    "index --shards": Command(index_of_shards, model_and_shards, opens),
    "export": Command(export, model_to_export),
    "data fetch, by hand": Command(prepare, listed_images),
    "data fetch": Command(fetch),
    "data add": Command(add, own_images, own_is_whole),
    "data add, of arrays": Command(add_arrays, own_arrays, own_is_whole),
    "data remove": Command(remove, images_and_set, own_is_whole),
    "cache.write": Command(rewrite, fetch, cache_is_whole),
    "evaluate --pr": Command(curve, codes_file),
    "evaluate --pn --csv": Command(ranks_and_numbers, codes_file),
    "convert": Command(convert, codes_file),
    "build.py results": Command(book, checkout),
    "build.py explorer": Command(explorer_data),
}


# ---- lives

VOLATILE = ("started", "seconds", "cpu_seconds", "digest", "git")  # differ from run to run


def masked(name, content):
    """The bytes of a file, of a record without what differs from run to run."""

    def without(value):
        if isinstance(value, dict):
            return {key: without(part) for key, part in value.items() if key not in VOLATILE}
        return [without(part) for part in value] if isinstance(value, list) else value

    if content is None or not name.endswith(".json") or name.startswith("model/"):
        return content
    with contextlib.suppress(ValueError):
        return json.dumps(without(json.loads(content))).encode()
    return content


def state(folder):
    return {name: masked(name, content) for name, content in snapshot(folder).items()}


def begin(command, folder, name, fatal=0, go=None):
    """The process of one life of a command in a folder;
    its words go into NAME.out, its death into NAME.log.
    """
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        out = os.open(f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if go is not None:
            os.close(go[1])
            os.read(go[0], 1)  # until all the others are there too
        moments = Moments(fatal, f"{name}.log")
        watch(moments, folder)
        code = command.act(folder) or 0
        Path(f"{name}.moments").write_text(str(moments.passed))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def end(child):
    """The exit status of a life; one that hangs is ended."""
    alarm = threading.Timer(PATIENCE, lambda: os.kill(child, 9))
    alarm.start()
    try:
        return os.waitpid(child, 0)[1]
    finally:
        alarm.cancel()


def live(command, folder, fatal=0):
    return end(begin(command, folder, folder, fatal))


def fresh(start, folder):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder, symlinks=True)
    return folder


def starts(command, folder):
    """The folder before a command and after an undisturbed one, and the moments of that."""
    start, whole = folder / "start", folder / "whole"
    start.mkdir(parents=True)
    with contextlib.redirect_stdout(sys.stderr):
        command.prepare(start)
        command.act(
            fresh(start, whole)
        )  # what is imported and compiled when first used, all lives then have
    status = live(command, fresh(start, whole))
    assert status == 0, Path(f"{whole}.out").read_text()
    return start, state(whole), int(Path(f"{whole}.moments").read_text())


def differences(found, wanted):
    """What is wrong with a folder, in words."""
    names = sorted(found.keys() | wanted.keys())
    words = {name: "is left over" if name not in wanted else "is missing" if name not in found else "has other bytes"
             for name in names if name not in wanted or name not in found or found[name] != wanted[name]}  # fmt: skip
    return [f"{name} {what}" for name, what in words.items()]


def torn(folder, start, whole):
    """Files under their final names that are neither what they were nor what they are to be."""
    hidden = lambda name: any(part.startswith(".") for part in Path(name).parts)  # noqa: E731
    return [
        f"{name} is half written"
        for name, content in state(folder).items()
        if content is not None
        and not hidden(name)
        and content not in (start.get(name), whole.get(name))
    ]


def killed_at(command, folder, number, start, whole):
    """What went wrong when a command was killed at one moment, and then run again;
    None where nothing did.
    """
    log = Path(f"{folder}.log")
    log.unlink(missing_ok=True)
    status = live(command, fresh(start, folder), fatal=number)
    if not os.WIFSIGNALED(status):
        return None  # this life had fewer moments
    moment, wrong = log.read_text().replace(str(folder), ""), torn(folder, state(start), whole)
    try:
        command.sound(folder)
    except Exception as error:
        wrong.append(f"unsound: {error}")
    status = live(command, folder)
    if status != 0:
        wrong.append(f"run again: {Path(f'{folder}.out').read_text().strip()[-300:]}")
    wrong += differences(state(folder), whole)
    return f"killed {moment}: {'; '.join(wrong[:4])}" if wrong else None


def kill(command, folder, most, start, whole, count):
    numbers = range(1, count + 1)
    if most:
        numbers = sorted(random.Random(0).sample(numbers, min(most, count)))
    failed = [killed_at(command, folder, number, start, whole) for number in numbers]
    return {"tried": len(numbers), "failed": [text for text in failed if text]}


def together(command, folder, processes, start, whole):
    """What went wrong when several processes did the same in one folder; None where nothing did."""
    fresh(start, folder)
    go = os.pipe()
    names = [f"{folder}-{number}" for number in range(processes)]
    children = [begin(command, folder, name, go=go) for name in names]
    os.close(go[0])
    os.close(go[1])
    failed = [name for name, child in zip(names, children, strict=True) if end(child) != 0]
    wrong = [Path(f"{name}.out").read_text().strip()[-300:] for name in failed]
    wrong += differences(state(folder), whole)
    return "; ".join(wrong[:4]) or None


def crowd(command, folder, trials, processes, start, whole):
    failed = [together(command, folder, processes, start, whole) for _ in range(trials)]
    return {"tried": trials, "failed": [text for text in failed if text]}


def main(folder, kills, trials, processes, *names):
    checkpoints.Checkpoints.due = lambda self: True
    done = {}
    for name in names or COMMANDS:
        begun, command = time.monotonic(), COMMANDS[name]
        start, whole, count = starts(command, Path(folder) / name)
        done[name] = {
            "killed": kill(command, Path(folder) / name / "life", int(kills), start, whole, count),
            "at once": crowd(
                command, Path(folder) / name / "crowd", int(trials), int(processes), start, whole
            ),
        }
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    print(json.dumps(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
