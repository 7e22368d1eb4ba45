"""Image files become a file of codes, by a model that a run has saved."""

import re

import numpy as np
import pytest
from PIL import Image

from hashlab import codes, methods
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.methods import models


@pytest.fixture(scope="module")
def model(tmp_path_factory, short):
    """A model that the command has saved."""
    folder = tmp_path_factory.mktemp("models") / "model"
    assert (
        main(
            short(
                "run", folder.parent / "results", "--save-model", str(folder), bits=(12,), epochs=1
            )
        )
        == 0
    )
    return folder


@pytest.fixture
def folder(tmp_path, digits):
    """30 digits as PNG files, a few of them in a subfolder."""
    for number, image in enumerate(digits.query.images[:30]):
        name = f"sub/{number:02d}.png" if number % 7 == 0 else f"{number:02d}.png"
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "images" / name)
    return tmp_path / "images"


def read(file):
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_codes_of_a_folder_are_those_of_its_images(
    model, folder, digits, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(models, "BLOCK", 7)
    assert main(["encode", str(model), str(folder), "-o", str(tmp_path / "codes.npz")]) == 0
    assert "30 images, 12 bits each; 0 skipped" in capsys.readouterr().out
    found = read(tmp_path / "codes.npz")
    assert (
        set(found) == {"names", "codes", "bits"}
        and found["bits"] == 12
        and found["codes"].shape == (30, 2)
    )
    assert (
        found["names"].tolist() == sorted(found["names"].tolist())
        and "sub/28.png" in found["names"]
    )
    expected = methods.load(model).encode(digits.query.images[:30])
    for name, code in zip(found["names"], found["codes"], strict=True):
        assert np.array_equal(codes.pad(code[None], 12)[0], expected[int(name[-6:-4])])


def test_codes_of_several_tables_stand_side_by_side(folder, digits, tmp_path):
    method = methods.create("mlsh", 24, epochs=1).fit(digits.train)
    card = (method.save(tmp_path / "model") / "README.md").read_text()
    done = models.encode_folder(methods.load(tmp_path / "model"), folder, tmp_path / "codes.npz")
    found = read(tmp_path / "codes.npz")
    assert done.bits == found["bits"] == 24 == found["tables"].sum() and found["codes"].shape == (
        30,
        3,
    )
    packed = method.encode(digits.query.images[:30])
    assert f"packed uint8 (N, {packed.shape[1]})" in card
    order = [int(name[-6:-4]) for name in found["names"]]
    bits = codes.unpack(codes.pad(found["codes"], 24), bits=24)
    for table, end in enumerate(np.cumsum(found["tables"])):
        start = end - found["tables"][table]
        width = packed.shape[1] // len(found["tables"])
        own = packed[order][:, table * width : (table + 1) * width]
        assert np.array_equal(bits[:, start:end], codes.unpack(own, bits=int(end - start)))


def test_broken_images_are_refused_by_name_or_skipped(model, folder, tmp_path, capsys):
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:60])
    (folder / "zero.jpg").write_bytes(b"")
    output = tmp_path / "codes.npz"
    assert main(["encode", str(model), str(folder), "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert (
        f"hashlab: {folder / '05.png'}: " in said and said.count("\n") == 1 and not output.exists()
    )
    assert "--skip-broken" in said and "skip_broken=True" in said
    assert main(["encode", str(model), str(folder), "-o", str(output), "--skip-broken"]) == 0
    captured = capsys.readouterr()
    assert (
        "skipped 05.png: " in captured.err and "skipped zero.jpg: the file is empty" in captured.err
    )
    assert "29 images, 12 bits each; 2 skipped" in captured.out
    names = read(output)["names"].tolist()
    assert len(names) == 29 and "05.png" not in names and "zero.jpg" not in names


def test_files_and_several_folders(model, folder, digits, tmp_path, capsys, monkeypatch):
    """Files go by the names that they are given by, images of a folder by their path in it;
    what is passed over there is counted.
    """
    other = tmp_path / "other"
    (other / ".thumbnails").mkdir(parents=True)
    for name in ("notes.txt", "more.TXT", "film.mp4", ".thumbnails/a.png", ".hidden.png", "bare"):
        (other / name).write_bytes(b"")
    Image.fromarray(digits.query.images[40]).save(other / "forty.jp2", irreversible=False)
    (folder / "05.png").rename(tmp_path / "odd.name")
    monkeypatch.chdir(tmp_path)
    words = ["encode", str(model), "odd.name", "other", str(folder), "-o", "codes.npz"]
    assert main(words) == 0
    assert capsys.readouterr().out == (
        "codes.npz: 31 images, 12 bits each; 0 skipped; "
        "passed over: 2 .txt, 1 .mp4, 2 hidden, 1 without suffix\n"
    )
    written = read("codes.npz")
    assert written["names"][:3].tolist() == ["odd.name", "forty.jp2", "01.png"]
    order = [5, 40, *(int(name[-6:-4]) for name in written["names"][2:])]
    expected = methods.load(model).encode(digits.query.images[order])
    assert np.array_equal(codes.pad(written["codes"], 12), expected)


def test_images_of_one_name_are_refused(model, folder, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "05.png").write_bytes((folder / "05.png").read_bytes())
    for sources in ([folder, copy], [folder / "05.png"] * 2):
        words = ["encode", str(model), *map(str, sources), "-o", str(tmp_path / "codes.npz")]
        assert main(words) == 2
        assert re.search(
            r"different names are expected, got .*05\.png twice", capsys.readouterr().err
        )
    assert not (tmp_path / "codes.npz").exists()


def test_grey_and_colour_meet_what_the_model_takes(model, folder, tmp_path, digits):
    """A photograph of another size and mode is brought into the model's form,
    by the reader of folders.
    """
    big = Image.fromarray(digits.query.images[3]).resize((64, 48)).convert("RGBA")
    big.save(folder / "00a.png")
    assert models.encode_folder(methods.load(model), folder, tmp_path / "c.npz").images == 31


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["nowhere", "IMAGES", "-o", "c.npz"],
            "nowhere is not a model: model.safetensors and model.json missing",
        ),
        (["MODEL", "nowhere", "-o", "c.npz"], "nowhere is not a folder"),
        (["MODEL", "EMPTY", "-o", "c.npz"], "hold no images"),
        (
            ["MODEL", "IMAGES", "-o", "nowhere/c.npz"],
            "nowhere is not a folder: nowhere/c.npz cannot be written",
        ),
        (
            ["MODEL", "IMAGES", "-o", "c.txt"],
            "a file name that ends in .npz is expected, got c.txt",
        ),
        (["MODEL", "IMAGES", "-o", "c.npz", "--device", "warp"], "device 'warp' cannot be used"),
    ],
)
def test_bad_words(words, said, model, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    places = {"MODEL": str(model), "IMAGES": str(folder)}
    assert main(["encode", *(places.get(word, word) for word in words)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err and captured.err.count("\n") == 1 and not list(tmp_path.glob("c.*"))


def test_nothing_but_broken_images(model, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"none of the 1 images in .* can be read"):
        models.encode_folder(methods.load(model), tmp_path, tmp_path / "c.npz", skip_broken=True)
