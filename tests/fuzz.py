"""Files that are read, harmed at random:
each must be refused in one sentence, or give what the sound one gives.

    python fuzz.py FOLDER CASES SEED [FORMAT …]

Bytes are flipped, cut, swapped, repeated; fields of JSON and headers of arrays are removed or
become something else, with all check sums made right again. Where nothing can tell whether a file
is as its writer left it (anybody's codes, lists, pictures), any sound result will do. Prints as
JSON, per format, how many cases there were and which went wrong. `test_fuzz.py` starts it.
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import safetensors.torch
import scipy.io
import torch
import trials
from PIL import Image
from processes import PATIENCE

from hashlab import codes, data, files, methods, metrics, records, search
from hashlab.data import folders, listed, opening, own, prepared
from hashlab.errors import InputError
from hashlab.files import formats
from hashlab.methods import photos
from hashlab.networks import backbones, weights
from hashlab.scale import shards
from hashlab.search import store
from hashlab.training import checkpoints

torch.set_num_threads(1)
SECONDS = 10  # of the processor for one case
MEMORY = 1 << 30  # bytes that a case may ask for
DEEP = "[" * 10_000 + "]" * 10_000


# ---- harm to bytes


def harm_bytes(rng, content):
    """Some bytes flipped, cut away, added, swapped, repeated or set to 0 or 255."""
    data = bytearray(content)
    size = len(data)
    a, b = sorted(rng.randrange(size + 1) for _ in range(2))
    if rng.random() < 0.5:  # near the beginning, where headers are
        a, b = sorted(rng.randrange(min(size, 64) + 1) for _ in range(2))
    match rng.randrange(9):
        case 0 | 1 | 2:
            for _ in range(rng.choice((1, 1, 2, 8))):
                data[rng.randrange(max(1, b or size)) % size] ^= 1 << rng.randrange(8)
        case 3:
            del data[a:]
        case 4:
            del data[a:b]
        case 5:
            data[a:a] = rng.randbytes(rng.choice((1, 4, 100)))
        case 6:
            data[a:b] = bytes([rng.choice((0, 255))]) * (b - a)
        case 7:
            data[a:a] = data[a:b]
        case 8:
            data = data[a:b] + data[:a] + data[b:]
    return bytes(data)


# ---- harm to text

WORDS = (
    "",
    "0",
    "1",
    "-1",
    "99999999999999999999",
    "1e400",
    "nan",
    "x" * 300,
    "../..",
    "/etc",
    "a\0b",
    "∘",
    "\t",
)


def harm_lines(rng, content):
    """Lines removed, doubled, swapped; words of a line replaced, removed, added;
    or harm to the bytes.
    """
    lines = content.decode().split("\n")
    row, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    words = lines[row].split(" ")
    place = rng.randrange(len(words))
    match rng.randrange(10):
        case 0:
            del lines[row]
        case 1:
            lines.insert(row, lines[other])
        case 2:
            lines[row], lines[other] = lines[other], lines[row]
        case 3 | 4 | 5:
            words[place] = rng.choice(WORDS)
            lines[row] = " ".join(words)
        case 6:
            del words[place]
            lines[row] = " ".join(words)
        case 7:
            lines = [line + "\r" for line in lines]
        case 8:
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + content
        case 9:
            return harm_bytes(rng, content)
    return "\n".join(lines).encode()


VALUES = (
    None, True, False, 0, 1, -1, 7, 10**9, 10**30, -(10**30), 0.5, 1e308, -1.0, "", "x", "../x", "/", "a\0b", ".", "..",
    [], {}, [[]], [None], {"": 0}, "0" * 64, [1, 2, 3],
)  # fmt: skip


def kind(value):
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def harm_json(rng, content, alike=False):
    """A field removed, renamed, doubled, or with another value; or text that is hardly JSON.

    With `alike` no value becomes another one of its kind, which nothing could tell.
    """
    if rng.random() < 0.2:
        odd = (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"3",
            b'"x"',
            b"NaN",
            DEEP.encode(),
            b'{"a":' * 5000,
            b"1" * 5000,
            b"\xff",
        )
        return rng.choice((*odd, harm_bytes(rng, content), harm_bytes(rng, content)))
    value = json.loads(content)
    holder, key = rng.choice(list(places(value)))
    match rng.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[f"{key} "] = holder.pop(key)
        case 1 | 2 if isinstance(holder, list):
            holder.append(holder[key])
        case 3:
            deep = json.dumps(value).replace(json.dumps(holder[key]), DEEP, 1)
            return deep.encode()
        case _:
            holder[key] = rng.choice(
                [other for other in VALUES if not alike or kind(other) != kind(holder[key])]
            )
    return json.dumps(value, indent=rng.choice((None, 1))).encode()


def places(value):
    """Every (object or list, key) in a value."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


# ---- harm to arrays

KINDS = (
    "<f8", "<f2", "|b1", "|u1", "|i1", "<i8", ">i8", "<u8", "<c16", "|O", "<U3", "|S3", "|V4", "<M8[s]",
    "[('a', '<i4')]",
)  # fmt: skip
SHAPES = ((), (0,), (1,), (-1,), (0, 0), (10**12,), (2**31, 2**31, 4), (1,) * 40, (3, 5), ("x",))


def harm_npz(rng, content):
    """One array of an archive with another type, shape, name or content, or left out,
    or there twice.
    """
    if rng.random() < 0.3:
        return harm_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    doubled = {}
    match rng.randrange(8):
        case 0:
            del members[name]
        case 1:
            members[rng.choice((f"{name}x", "../x.npy", "/x.npy", " ", "x"))] = members.pop(name)
        case 2:
            members[name] = harm_bytes(rng, members[name])
        case 3:
            members[name] = pickle.dumps(print)
        case 4:
            doubled[name] = members[rng.choice(list(members))]
        case 5:
            members[name] = members[rng.choice(list(members))]
        case _:
            members[name] = harm_npy(rng, members[name])
    out = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(out, "w", rng.choice((0, 8, 12, 14))) as archive,
    ):
        warnings.simplefilter("ignore")
        for key, member in (*members.items(), *doubled.items()):
            archive.writestr(key, member)
    return out.getvalue()


def harm_npy(rng, content):
    """The header of an array says another type, order or shape."""
    array = np.load(io.BytesIO(content), allow_pickle=False)
    descr, shape = array.dtype.str, array.shape
    if rng.random() < 0.5:
        descr = rng.choice(KINDS)
    else:
        shape = rng.choice((*SHAPES, shape[::-1], (*shape, 1), tuple(n + 1 for n in shape)))
    quoted = descr if descr.startswith("[") else repr(descr)
    header = f"{{'descr': {quoted}, 'fortran_order': {rng.random() < 0.3}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + array.tobytes()


def harm_array(rng, content):
    """A `.npy` file with another header or content."""
    return harm_npy(rng, content) if rng.random() < 0.5 else harm_bytes(rng, content)


def harm_tensors(rng, content):
    """A safetensors file: a tensor left out, of another name, shape or type,
    or harm to the bytes.
    """
    if rng.random() < 0.5:
        return harm_bytes(rng, content)
    tensors = safetensors.torch.load(content)
    length = int.from_bytes(content[:8], "little")
    notes = json.loads(content[8 : 8 + length]).get("__metadata__")
    return safetensors.torch.save(harmed(rng, tensors), notes)


def harmed(rng, tensors):
    """Tensors with one of them left out, renamed, or of another shape or type."""
    name, tensors = rng.choice(list(tensors)), dict(tensors)
    match rng.randrange(5):
        case 0:
            del tensors[name]
        case 1:
            tensors[f"{name}x"] = tensors.pop(name)
        case 2:
            tensors[name] = tensors[name][None].contiguous()
        case 3:
            tensors[name] = tensors[name].to(
                rng.choice((torch.float64, torch.int64, torch.uint8, torch.bool))
            )
        case 4:
            tensors[name] = tensors[name].flatten()[:-1].clone()
    return tensors


def harm_packed(rng, content):
    """A checkpoint, or weights of a model,
    with parts of it gone and a digest that is right again.
    """
    if rng.random() < 0.4:
        return harm_bytes(rng, content)
    tensors, facts = checkpoints.unpack(content, "it")
    if rng.random() < 0.5 and tensors:
        return checkpoints.pack(harmed(rng, tensors), facts)
    for _ in range(20):
        try:
            changed = json.loads(harm_json(rng, json.dumps(facts).encode(), alike=True))
            return checkpoints.pack(tensors, changed)
        except (ValueError, RecursionError):
            continue
    return harm_bytes(rng, content)


# ---- the formats


@dataclass
class Format:
    """How sound files are made, what is harmed and how, and what reading them gives.

    `read` returns something to compare. `fair` says whether a result that is another one may be:
    then nothing in the file could tell.
    """

    make: object  # folder -> None
    harm: dict  # pattern of files -> function of (rng, bytes)
    read: object  # folder -> anything
    fair: object = lambda sound, found: False
    mend: object = lambda folder: (
        None
    )  # check sums made right after the harm, where an attacker could


def make_record(folder):
    trials.hashlab("run", "lsh", "digits", "--bits", 8, "--root", folder)
    (record,) = records.load(folder)
    short = {key: array[:50] for key, array in record.codes().items()}  # so that a case is quick
    report = metrics.evaluate(*(short[key] for key in records.ARRAYS), bits=8)
    sizes = record.sizes | {"query": 50, "database": 50}
    fields = dict(record) | {"map": report.map, "metrics": report.to_dict(), "sizes": sizes}
    records.write(records.Record(fields), short, f"digits/{record.path.stem}", folder)


def read_record(folder):
    (record,) = (records.read(file) for file in records.files_of(folder))
    wrong = records.verify(record)
    if wrong:
        raise InputError("; ".join(wrong))
    records.render(records.table([record]))
    return dict(record)


def make_model(folder):
    trials.save_model(folder)
    shutil.rmtree(folder / "records")


IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)


def read_model(folder):
    return methods.load(folder / "model").encode(IMAGES).tobytes()


def sign_model(folder):
    """model.json names the weights that are there, if it is still what it was."""
    with contextlib.suppress(ValueError, TypeError, RecursionError):
        file = folder / "model" / "model.json"
        fields = json.loads(file.read_text())
        fields["sha256"] = hashlib.sha256(
            (folder / "model" / "model.safetensors").read_bytes()
        ).hexdigest()
        file.write_text(json.dumps(fields))


def learner():
    return methods.create("mu_liu", 8, epochs=2, pretrain_epochs=0, batch_size=12, backbone="tiny")


TRAIN = SimpleNamespace(images=IMAGES[np.arange(24) % 5], labels=np.arange(24) % 4)


def make_checkpoints(folder):
    """Those of a run that was stopped after its third step."""
    save, left = checkpoints.Checkpoints.save, [3]

    def stop(self, *words):
        save(self, *words)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    checkpoints.Checkpoints.save = stop
    with contextlib.suppress(KeyboardInterrupt):
        learner().fit(TRAIN, checkpoints=folder / "run", every=0)
    checkpoints.Checkpoints.save = save


def read_checkpoints(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = learner().fit(TRAIN, checkpoints=folder / "run")
    return checkpoints.pack(fitted.state()[0], {})


def read_codes(folder):
    report = metrics.evaluate(**files.read_codes(folder / "codes.npz"))
    return json.dumps(records.plain(report.to_dict()))


def make_others(folder):
    """The same codes in each of the other kinds of files; hashes as text and as numbers."""
    trials.codes_file(folder)
    with np.load(folder / "codes.npz") as archive:
        arrays = {name: archive[name] for name in files.ARRAYS}
    sides = [arrays[name] for name in files.CODES]
    scipy.io.savemat(folder / "codes.mat", {**arrays, "bits": 8.0}, do_compression=True)
    torch.save(
        {name: torch.from_numpy(array) for name, array in arrays.items()}, folder / "codes.pt"
    )
    np.save(folder / "query_codes.npy", sides[0] * 2.0 - 1)
    np.savetxt(folder / "database_codes.csv", sides[1] * 2 - 1, "%d", ",")
    np.save(folder / "query_labels.npy", arrays["query_labels"])
    names = np.array(["0", "1", "2"])[arrays["database_labels"]]
    (folder / "database_labels.csv").write_text("\n".join(["label", *names]))
    rows = [
        f"{side[:-6]},{label},{int(number):02x}"
        for side, name in zip(files.CODES, files.LABELS, strict=True)
        for label, number in zip(arrays[name], np.packbits(arrays[side], axis=1)[:, 0], strict=True)
    ]
    (folder / "table.csv").write_text("\n".join(["side,label,code", *rows]))


def read_others(folder):
    """What each kind of file gives; those that must be refused leave the last word to the others."""
    reports = []
    single = [folder / "query_codes.npy", folder / "database_codes.csv", folder / "query_labels.npy",
              folder / "database_labels.csv"]  # fmt: skip
    for paths in ([folder / "codes.mat"], [folder / "codes.pt"], single, [folder / "table.csv"]):
        arguments = files.arguments(formats.read(paths), folder)
        reports.append(records.plain(metrics.evaluate(**arguments).to_dict()))
    return json.dumps({"map": max(report["map"] for report in reports)})


def is_report(sound, found):
    return (
        json.loads(found).keys() == json.loads(sound).keys() and 0 <= json.loads(found)["map"] <= 1
    )


BIRDS = {
    "images": "a 1/a.png\nb 2/b.png\nc 3/c.png\nd 3/d.png\n",
    "image_class_labels": "a 3\nb 4\nc 5\nd 3\n",
    "train_test_split": "a 1\nb 0\nc 1\nd 1\n",
    "classes": "0 Birds\n1 Ducks\n2 Owls\n3 Teal\n4 Barn\n5 Snowy\n",
    "hierarchy": "1 0\n2 0\n3 1\n4 2\n5 2\n",
}


def make_birds(folder):
    for name in ("1/a.png", "2/b.png", "3/c.png", "3/d.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.resize(IMAGES, (9, 9, 3)) ^ ord(name[2])).save(folder / "images" / name)
    for name, text in BIRDS.items():
        (folder / f"{name}.txt").write_text(text)


COREL5K = {
    "words": "sky\nsea\nsand\n",
    "training_label": "1000 1 2 \n1001 3 \n",
    "test_label": "1002 2 \n2000 1 3 \n",
}


def make_corel5k(folder):
    for name in ("1000/1000", "1000/1001", "1000/1002", "2000/2000"):
        file = folder / "images" / f"{name}.jpeg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"never opened")
    for name, text in COREL5K.items():
        (folder / name).write_text(text)


def read_listing(name, folder):
    found = listed.read(name, folder)
    return (
        found.paths,
        {split: labels.tolist() for split, labels in found.labels.items()},
        found.classes,
    )


def make_cache(folder):
    trials.listed_images(folder)
    trials.prepare(folder)
    shutil.rmtree(folder / "images")


def read_cache(folder):
    about = data.info("nuswide21")
    prepared.verify(about, folder / "cache")
    pool = prepared.open_pool(about, folder / "cache" / "nuswide21")
    return pool.labels.tolist(), pool.gather(np.arange(len(pool.labels))).tolist()


def read_own(folder):
    root = folder / "cache"
    opening.verify(opening.info("mine", root), root)
    mine = data.load("mine", root=root)
    parts = (mine.query, mine.train, mine.database)
    return [(part.labels.tolist(), part.images.tolist()) for part in parts]


def make_own_list(folder):
    trials.own_images(folder)
    lines = ["file,label", "cat/0.png,cat", "cat/1.png,cat", "dog/0.png,dog", '"dog/1.png",dog']
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")


def read_own_list(folder):
    mine = data.from_folder(folder / "photos", labels=folder / "labels.csv", size=8)
    return len(mine.query) + len(mine.train)


def read_own_arrays(folder):
    own.add("mine", folder / "x.npz", folder / "cache")
    return len(data.load("mine", root=folder / "cache").database)


def make_fetched(folder):
    (folder / "cache").mkdir()
    trials.fetch(folder)


def read_fetched(folder):
    pool = opening.open_pool(trials.made(), folder / "cache")
    return pool.labels.tolist(), pool.gather(np.arange(20)).tolist()


def make_pictures(folder):
    smooth = np.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(np.stack([smooth, smooth.T.reshape(40, 60), 255 - smooth], -1))
    for name in ("a.png", "b.jpg", "c.gif", "d.webp", "e.tif", "f.bmp"):
        image.save(folder / name, exif=exif)


def read_pictures(folder):
    decoded = [folders.decode(file.read_bytes(), (8, 8, 3)) for file in sorted(folder.iterdir())]
    return [(image.shape, image.dtype, image.tobytes()) for image in decoded]


def read_shards(folder):
    parts = [
        (part.names, part.codes.tolist(), part.labels) for part in shards.read(folder / "shards")
    ]
    return parts, list(shards.errors(folder / "shards"))


def make_shards(folder):
    trials.model_and_images(folder)
    trials.encode_shards(folder)


def make_weights(folder):
    network = backbones.create("tiny", (8, 8))
    (folder / "start.safetensors").write_bytes(safetensors.torch.save(network.state_dict()))


def read_weights(folder):
    file, network = str(folder / "start.safetensors"), backbones.create("tiny", (8, 8))
    weights.describe(file, "tiny")
    weights.load(file, network, "", "tiny")
    return [(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()]


def make_index(folder):
    rng = np.random.default_rng(0)
    for ids in ([f"{number}.jpg" for number in range(9)], list(range(9))):
        index = search.Index(12)
        meta = [{"label": "cat", "n": number} if number % 2 else {} for number in range(9)]
        index.add(ids, codes.pack(rng.random((9, 12)) < 0.5), meta)
        index.notes = {
            "model": {"folder": "model", "method": "itq", "sha256": "0" * 64},
            "photos": {"folder": "images", "images": 9},
        }
        index.save(folder / f"{index.ids.dtype.kind}.index")


def read_index(folder):
    parts = []
    for name in ("U.index", "i.index"):
        index = search.open_index(folder / name)
        results = index.search(np.zeros((1, 8), np.uint8), 9)
        opened = photos.open_photos(folder / name)
        files_of = [str(opened.file(id)) for id in index.ids.tolist()]
        json.dumps([opened.missing, len(files_of), photos.shown_label(dict(index.meta()[0]))])
        parts.append((list(index), *(part.tolist() for part in results)))
    return parts


def make_told_shards(folder):
    """Shards, and what the Parquet file itself says of them: two ways."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"hashlab.bits": "12", "hashlab.model": "0" * 64}
    stored = pa.array([bytes(2), bytes(2)], pa.binary(2))
    columns = {"path": ["a.jpg", "b.jpg"], "code": stored, "label": ["cat", "dog"]}
    table = pa.table(columns).replace_schema_metadata(about)
    facts = {"model": {"sha256": "0" * 64, "tables": None}, "bits": 12, "images": 2, "size": 2}
    for name in ("alone", "told"):
        (folder / name).mkdir()
        pq.write_table(table, folder / name / "0.parquet", write_page_checksum=True)
    (folder / "told" / "shards.json").write_text(json.dumps(facts))


def load_shards(folder):
    for name in ("alone", "told"):
        with tempfile.TemporaryDirectory() as out:
            search.load_shards(folder / name, Path(out) / "an.index")
            index = search.open_index(Path(out) / "an.index")
            json.dumps([list(index), index.codes().tolist(), index.notes])
    return []


def sign_index(folder):
    """`index.json` names the arrays that are there, and itself, if it is still what it was."""
    for file in folder.glob("*/index.json"):
        with contextlib.suppress(
            ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError
        ):
            summary = json.loads(file.read_text())
            for name in summary["sha256"]:
                content = (file.parent / name).read_bytes()
                summary["sha256"][name] = hashlib.sha256(content).hexdigest()
            file.write_text(json.dumps(summary | {"digest": store.digest(summary)}))


def same_shape(sound, found):
    return [image[:2] for image in sound] == [image[:2] for image in found]


FORMATS = {
    "record": Format(make_record, {"*/*.json": harm_json, "*/*.npz": harm_npz}, read_record),
    "model": Format(make_model, {"*/model.json": harm_json, "*/*.safetensors": harm_packed}, read_model),
    "model, signed": Format(
        make_model, {"*/model.json": harm_json, "*/*.safetensors": harm_packed}, read_model,
        lambda sound, found: len(sound) == len(found), sign_model,
    ),
    "checkpoint": Format(make_checkpoints, {"run/*": harm_packed}, read_checkpoints),
    "codes": Format(trials.codes_file, {"codes.npz": harm_npz}, read_codes, is_report),
    "codes of others": Format(
        make_others, {"*.mat": harm_bytes, "*.pt": harm_bytes, "*.npy": harm_bytes, "*.csv": harm_lines}, read_others,
        is_report,
    ),
    "lists": Format(
        trials.listed_images, {"images/all.txt": harm_lines},
        lambda folder: read_listing("nuswide21", folder / "images"), lambda sound, found: True,
    ),
    "bird lists": Format(
        make_birds, {"*.txt": harm_lines}, lambda folder: read_listing("nabirds", folder), lambda sound, found: True
    ),
    "word lists": Format(
        make_corel5k, {"words": harm_lines, "*_label": harm_lines}, lambda folder: read_listing("corel5k", folder),
        lambda sound, found: True,
    ),
    "cache by hand": Format(
        make_cache, {"cache/*/*.json": harm_json, "cache/*/*.npy": harm_bytes, "cache/*/*.txt": harm_lines}, read_cache
    ),
    "cache": Format(make_fetched, {"cache/*/*.npy": harm_bytes}, read_fetched),
    "own set": Format(
        trials.images_and_set,
        {"cache/*/*/*.json": harm_json, "cache/*/*/*.npy": harm_bytes, "cache/*/*/*.txt": harm_lines}, read_own,
    ),
    "own list": Format(make_own_list, {"labels.csv": harm_lines}, read_own_list, lambda sound, found: True),
    "own arrays": Format(trials.own_arrays, {"x.npz": harm_npz}, read_own_arrays, lambda sound, found: True),
    "pictures": Format(make_pictures, {"*": harm_bytes}, read_pictures, same_shape),
    "shards": Format(
        make_shards, {"shards/*.json": harm_json, "shards/*.parquet": harm_bytes}, read_shards,
        lambda sound, found: True,
    ),
    "weights": Format(make_weights, {"*": harm_tensors}, read_weights),
    "index": Format(make_index, {"*/*.json": harm_json, "*/*.npy": harm_bytes}, read_index),
    "shards to load": Format(
        make_told_shards, {"*/*.json": harm_json, "*/*.parquet": harm_bytes}, load_shards
    ),
    "index, signed": Format(
        make_index, {"*/*.json": harm_json, "*/*.npy": harm_array}, read_index,
        lambda sound, found: [len(part) for part in sound] == [len(part) for part in found], sign_index,
    ),
}  # fmt: skip


# ---- cases


class TooLong(BaseException):
    """A case that takes too long."""


def too_long(*_):
    raise TooLong


def limited():
    """Limit what this process may take from now on;
    a case that takes too long is ended by an exception.
    """
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    signal.signal(signal.SIGPROF, too_long)
    signal.signal(signal.SIGALRM, too_long)


def case(form, start, folder, seed, sound):
    """What is wrong with the outcome of one case, in words; None where nothing is."""
    rng = random.Random(seed)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(start, folder)
    pattern = rng.choice(list(form.harm))
    file = rng.choice(sorted(path for path in folder.glob(pattern) if path.is_file()))
    content = file.read_bytes()
    changed = form.harm[pattern](rng, content)
    file.write_bytes(changed)
    form.mend(folder)
    where = f"case {seed}, {file.relative_to(folder)}"
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        found = form.read(folder)
    except InputError as error:
        words = str(error)
        return (
            None
            if words.strip() and "\n" not in words and len(words) < 2000
            else f"{where}: {words[:300]!r}"
        )
    except MemoryError as error:  # of a picture that is large, and sound as far as anybody can tell
        return (
            None if str(error).startswith("memory is full: an image of") else f"{where}: {error!r}"
        )
    except TooLong:
        return f"{where}: no end after {SECONDS} s"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (
            f"{where}: {type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}, "
            f"line {last.lineno})"
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    if found != sound and not form.fair(sound, found):
        return f"{where}: another result, without a word"
    return None


def fuzz(name, folder, cases, seed):
    form, start = FORMATS[name], folder / "start"
    start.mkdir(parents=True)
    form.make(start)
    shutil.copytree(start, folder / "sound")
    sound = form.read(folder / "sound")
    failed = []
    for number in range(cases):
        (folder / "current").write_text(
            f"{name}, case {seed + number}"
        )  # should the whole process end
        failed.append(case(form, start, folder / "case", seed + number, sound))
    return {"tried": cases, "failed": [text for text in failed if text]}


def main(folder, cases, seed, *names):
    sys.stdout, out = sys.stderr, sys.stdout
    names, done = names or list(FORMATS), {}
    warnings.simplefilter("ignore")
    for name in names:
        limited()  # anew: what the formats before have left in memory is not this one's
        begun = time.monotonic()
        done[name] = fuzz(name, Path(folder) / name, -(-int(cases) // len(names)), int(seed))
        print(f"{name}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    print(json.dumps(done), file=out)


if __name__ == "__main__":
    main(*sys.argv[1:])
