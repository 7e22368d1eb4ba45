"""Bad input for data sets of one's own: rows of `test_bad_input.py`."""

import io

import numpy as np
from PIL import Image

from hashlab import data

X = np.random.default_rng(0).normal(size=(12, 4))
Y = np.arange(12) % 2
PICTURE = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)


def coded(number):
    out = io.BytesIO()
    Image.fromarray(PICTURE + np.uint8(number)).save(out, "PNG")
    return out.getvalue()


def folder(at, *paths):
    for number, path in enumerate(paths):
        at.file(f"photos/{path}", coded(number))
    (at.folder / "photos").mkdir(exist_ok=True)
    return at.folder / "photos"


USUAL = tuple(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3))


def added(*words, paths=USUAL, name="mine", source=None):
    """`hashlab data add` of a folder with images at these paths, or of another source."""

    def make(at):
        taken = folder(at, *paths) if source is None else at.folder / source
        return ["data", "add", name, str(taken), "--root", str(at.folder / "c"), *words]

    return make


def listed(text, *words):
    def make(at):
        file = at.file("labels.csv", text)
        return added("--labels", str(file), *words)(at)

    return make


def stored(**arrays):
    """`hashlab data add` of a file of arrays."""

    def make(at):
        out = io.BytesIO()
        np.savez(out, **{key: array for key, array in arrays.items() if array is not None})
        at.file("x.npz", out.getvalue())
        return added(source="x.npz")(at)

    return make


def twice(*words, **more):
    """What is there already, and something else of the same name."""

    def make(at):
        from hashlab.data import own

        own.add("mine", folder(at, *USUAL), at.folder / "c", size=8)
        return added(*words, **more)(at)

    return make


def given(**arguments):
    return lambda at: lambda: data.from_arrays(**arguments)


def with_value(value):
    changed = X.copy()
    changed[3, 2] = value
    return changed


def parts(**changes):
    return given(**{"train": (X, Y), "query": (X[:4], Y[:4])} | changes)


COLUMNS = "the columns file,label or file,labels or file,level1,level2,… and perhaps split"
NAME = "the name of a set is text of 1 to 150 bytes"
COUNT = "must be a whole number of images of each class, 1 or more, or a share between 0 and 1"
OWN = {
    "no folder": (added(source="none"), "none is not a folder of images"),
    "a folder of nothing": (added(paths=()), "and its subfolders hold no images"),
    "a folder of text": (
        added(source="text"),
        "text is not a folder of images",
    ),
    "one class": (
        added(paths=USUAL[:3]),
        "images of two classes or more are expected, got one: cat",
    ),
    "images without a class": (
        added(paths=(*USUAL, "a.png")),
        r"1 of 7 images lie beside the folders \(a.png\)",
    ),
    "folders that are parts": (
        added(paths=("train/cat/1.png", "test/dog/1.png")),
        "one folder a class is expected in .*, got test, train: parts of a set",
    ),
    "levels of one": (added("--levels"), "folders within folders, of the same depth everywhere"),
    "levels of two depths": (
        added("--levels", paths=("a/b/1.png", "a/c/d/1.png")),
        "got a/b/1.png in 2 and others in 3",
    ),
    "a name of nothing": (added(name=""), NAME),
    "a name with slashes": (added(name="a/b"), NAME),
    "a name that leads out": (added(name=".."), NAME),
    "a name of lines": (added(name="a\nb"), NAME),
    "a name without end": (added(name="x" * 10_000), NAME),
    "a known name": (added(name="mnist"), "mnist is the name of another set or protocol"),
    "a known protocol": (added(name="mnist-1k"), "mnist-1k is the name of another set or protocol"),
    "no name": (lambda at: ["data", "add"], "a name is expected after `data add`"),
    "no source": (
        lambda at: ["data", "add", "x"],
        "a folder of images, or an .npz file, is expected",
    ),
    "removing nothing": (
        lambda at: ["data", "remove", "x", "--root", str(at.folder)],
        "there is no set of your own called x; there are: none",
    ),
    "removing a known set": (lambda at: ["data", "remove", "mnist"], "mnist is no set of your own"),
    "fetching one's own": (
        lambda at: ["data", "fetch", *twice()(at)[2:3], "--root", str(at.folder / "c")],
        "mine is your own set, and is not fetched",
    ),
    "no number": (added("--query", "many"), f"--query {COUNT}, got 'many'"),
    "a number below 0": (added("--query", "-1"), "argument --query|--query must be"),
    "no images": (added("--train", "0"), f"--train {COUNT}, got '0'"),
    "a share of all": (added("--query", "1.0"), f"--query {COUNT}"),
    "a share of nan": (added("--query", "nan"), f"--query {COUNT}"),
    "a number without end": (added("--query", "9" * 5000), f"--query {COUNT}"),
    "shares of more than all": (added("--query", "0.6", "--train", "0.6"), "at most 1 together"),
    "a seed below 0": (added("--seed=-1"), "seed must be a whole number in 0..1000000000, got -1"),
    "more than a class has": (
        added("--query", "2", "--train", "2"),
        r"cat has 3 images, fewer than 2 to ask with and 2 to train on \(and 1 other classes",
    ),
    "classes of one image": (
        added(paths=("a/1.png", "b/1.png")),
        "no class has 2 images, one to ask and one to be searched",
    ),
    "a size of 0": (added("--size", "0"), "a whole number of pixels, 1 or more"),
    "a size beyond": (added("--size", "99999"), r"sides in 1\.\.2048"),
    "another fit": (added("--fit", "stretch"), "fit must be one of crop, squash"),
    "no list": (added("--labels", "none.csv"), "none.csv: No such file"),
    "a list of levels": (listed("file,label\n", "--levels"), "levels is for folders alone"),
    "a list of nothing": (listed(""), "labels.csv is empty; a header is expected"),
    "a list of a header": (listed("file,label\n"), "labels.csv names no image"),
    "a list of bytes": (listed(b"\xff\xfe\x00"), "is not a text file"),
    "a list of one line": (listed("a" * 10**6), "line 1: field larger than field limit"),
    "a field without end": (listed('file,label\ncat/0.png,"' + "a" * 10**6), "line 2|larger than"),
    "a list without header": (listed("cat/0.png,cat\n"), COLUMNS),
    "unknown columns": (
        listed("file,label,colour\ncat/0.png,cat,red\n"),
        f"{COLUMNS}.* got file, label, colour",
    ),
    "columns twice": (listed("file,label,label\n"), COLUMNS),
    "semicolons": (listed("file;label\ncat/0.png;cat\n"), COLUMNS),
    "a short line": (listed("file,label\ncat/0.png\n"), "line 2: 2 columns are expected, got 1"),
    "a label of nothing": (
        listed("file,label\ncat/0.png, \n"),
        "line 2: a label is expected, got none",
    ),
    "a file of nothing": (listed("file,label\n,cat\n"), "line 2: the name of a file is expected"),
    "a file twice": (
        listed("file,label\ncat/0.png,cat\n./cat/0.png,dog\n"),
        "line 3: cat/0.png is named a second time",
    ),
    "files that are missing": (
        listed("file,label\ncat/0.png,cat\ngone.png,dog\n"),
        "1 of 2 listed images do not exist in .*: gone.png",
    ),
    "files outside": (listed("file,label\n../x.png,cat\n/etc/x,dog\n"), "outside of the folder"),
    "a file of NUL": (listed("file,label\na\0.png,cat\ncat/0.png,dog\n"), "line|NUL"),
    "a list of one class": (
        listed("file,label\ncat/0.png,cat\ndog/0.png,cat\n"),
        "images of two classes or more are expected, got one: cat",
    ),
    "several labels of nothing": (
        listed("file,labels\ncat/0.png,a;\n"),
        "line 2: a label is expected, got none",
    ),
    "levels that are no tree": (
        listed("file,level1,level2\ncat/0.png,a,b\ncat/1.png,a,c\ndog/0.png,d,c\n"),
        "a stands under b and under c; levels must form a tree",
    ),
    "an unknown part": (
        listed("file,label,split\ncat/0.png,cat,test\n"),
        "line 2: a split is one of query, train, database, got 'test'",
    ),
    "no queries": (
        listed("file,label,split\ncat/0.png,cat,train\ndog/0.png,dog,train\n"),
        "the splits query and train are expected, got no query",
    ),
    "another set of that name": (
        twice(paths=(*USUAL, "owl/0.png")),
        "mine is there already, with other files, labels or arrays; choose another name",
    ),
    "another size of that name": (twice("--size", "9"), "mine is there already, with images of 8"),
    "no archive": (
        lambda at: [at.file("x.npz", "text"), added(source="x.npz")(at)][1],
        "no archive of arrays",
    ),
    "another file": (
        lambda at: [at.file("x.zip", "text"), added(source="x.zip")(at)][1],
        "a folder of images or an .npz file of arrays is expected",
    ),
    "arrays with a size": (
        lambda at: [*stored(features=X, labels=Y)(at), "--size", "8"],
        "size is for folders of images, not for arrays",
    ),
    "arrays with levels": (
        lambda at: [*stored(features=X, labels=Y)(at), "--levels"],
        "levels is for folders of images, not for arrays",
    ),
    "no features": (stored(labels=Y), "the arrays labels and either features or images"),
    "no labels": (stored(features=X), "the arrays labels and either features or images"),
    "both": (stored(features=X, images=X, labels=Y), "the arrays labels and either features or"),
    "unknown arrays": (stored(features=X, labels=Y, words=Y), "got 'features', 'labels', 'words'"),
    "pickled labels": (stored(features=X, labels=np.array([None] * 12)), "pickled objects"),
    "names too few": (
        stored(features=X, labels=Y, names=np.array(["a"])),
        r"names must be text \(12,\)",
    ),
    "names of lines": (
        stored(features=X, labels=Y, names=np.array(["a\nb"] * 12)),
        "names of one line of text",
    ),
    "names of numbers": (stored(features=X, labels=Y, names=Y), "names must be text"),
    "parts of numbers": (stored(features=X, labels=Y, split=Y), "split must be text"),
    "other parts": (
        stored(features=X, labels=Y, split=np.array(["test"] * 12)),
        "a split is one of",
    ),
    "one part": (stored(features=X, labels=Y, split=np.array(["train"] * 12)), "got no query"),
    "features of NaN": (
        stored(features=with_value(np.nan), labels=Y),
        "features: finite numbers are expected, got nan in row 3, column 2",
    ),
    "features of inf": (
        given(features=with_value(-np.inf), labels=Y),
        "got -inf in row 3, column 2",
    ),
    "features beyond float32": (
        given(features=with_value(1e300), labels=Y),
        "got 1e\\+300 in row 3",
    ),
    "features of text": (
        given(features=X.astype(str), labels=Y),
        r"real numbers \(N, d\) expected",
    ),
    "features of one axis": (given(features=X[:, 0], labels=Y), r"real numbers \(N, d\) expected"),
    "features of no rows": (given(features=X[:0], labels=Y), "1 row or more is expected"),
    "features of no width": (given(features=X[:, :0], labels=Y), "1 row or more is expected"),
    "features of complex numbers": (given(features=X + 1j, labels=Y), "real numbers"),
    "images of floats": (given(images=X.reshape(12, 2, 2), labels=Y), r"uint8 \(N, H, W\) or"),
    "images of four channels": (
        given(images=np.zeros((12, 4, 4, 4), np.uint8), labels=Y),
        r"the shape of an image must be",
    ),
    "both at once": (given(features=X, images=X, labels=Y), "got both"),
    "parts and an array": (given(features=X, labels=Y, database=(X, Y)), "got both"),
    "an array without labels": (given(features=X), "labels are expected, got none"),
    "nothing": (given(), r"train=\(x, y\), query=\(x, y\) and perhaps database=\(x, y\)"),
    "no pair": (parts(query=3), "query is no pair of arrays"),
    "a pair of three": (parts(query=(X, Y, Y)), r"train=\(x, y\), query=\(x, y\)"),
    "labels too few": (parts(query=(X, Y[:3])), "query: as many labels as images .*, got 3 for 12"),
    "labels too many": (given(features=X[:5], labels=Y), "got 12 for 5"),
    "labels of other kinds": (
        parts(query=(X, Y.astype(str))),
        "labels of one kind are expected in",
    ),
    "labels of other widths": (
        parts(query=(X, np.eye(2)[Y])),
        "labels of one kind are expected in",
    ),
    "labels of fractions": (given(features=X, labels=Y + 0.5), "labels must be whole numbers"),
    "labels of NaN": (
        given(features=X, labels=np.full(12, np.nan)),
        "labels must be whole numbers",
    ),
    "labels of one class": (given(features=X, labels=np.zeros(12, int)), "two classes or more"),
    "labels of 0, 1 and 2": (
        given(features=X, labels=np.tile([0, 1, 2], (12, 1))),
        "of 0 and 1",
    ),
    "labels of three axes": (
        given(features=X, labels=np.zeros((12, 2, 2))),
        r"labels must be \(N,\)",
    ),
    "levels of one column": (
        given(features=X, labels=Y, levels=True),
        r"on levels must be \(N, L\)",
    ),
    "another width": (
        parts(query=(X[:, :3], Y)),
        r"one shape are expected, got query \(3,\), train \(4,\)",
    ),
    "images and features": (
        parts(query=(np.zeros((12, 4, 4), np.uint8), Y)),
        "images or features of one shape are expected",
    ),
    "a count of a float": (given(features=X, labels=Y, query=2.5), f"query {COUNT}"),
    "a count of text": (given(features=X, labels=Y, query="2"), f"query {COUNT}"),
    "a seed of text": (given(features=X, labels=Y, seed="a"), "seed must be a whole number"),
}
