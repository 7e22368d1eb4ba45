"""Pictures of any kind become codes: arrays of any size, Pillow's images, paths, lists of these."""

import threading
import time

import numpy as np
import pytest
from PIL import Image, ImageOps

from hashlab import methods
from hashlab.data import folders, pictures
from hashlab.errors import InputError
from hashlab.methods import models

RNG = np.random.default_rng(5)
RGB = RNG.integers(0, 256, (2, 30, 40, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (5, 21, 13), dtype=np.uint8)


def together(given, shape):
    return np.concatenate(list(pictures.blocks(given, shape)))


def resized(array, shape):
    """Pillow's own words for it."""
    mode = "L" if len(shape) == 2 else "RGB"
    image = Image.fromarray(array).convert(mode)
    size = (shape[1], shape[0])
    return np.asarray(ImageOps.fit(image, size, Image.Resampling.BILINEAR))


@pytest.fixture
def file(tmp_path):
    Image.fromarray(RGB[0]).save(tmp_path / "a.png")
    return tmp_path / "a.png"


# what counts as one picture, and what as several


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (12, 5), (12, 5, 3), (30, 40, 3), (21, 13)])
@pytest.mark.parametrize("given, alone", [
    (GREY[0], [GREY[0]]),
    (RGB[0], [RGB[0]]),
    (GREY, GREY),
    (GREY[:1], GREY[:1]),
    (RGB, RGB),
    ([GREY[0], RGB[1]], [GREY[0], RGB[1]]),
    ((RGB[1],), [RGB[1]]),
    (GREY[:, ::2, ::-1], GREY[:, ::2, ::-1]),
])  # fmt: skip
def test_arrays_of_any_size(given, alone, shape):
    expected = [resized(np.ascontiguousarray(one), shape) for one in alone]
    taken = together(given, shape)
    assert taken.dtype == np.uint8 and np.array_equal(taken, np.stack(expected))


@pytest.mark.parametrize("shape", [(8, 8), (30, 40, 3)])
def test_files_and_images_of_pillow(file, shape):
    expected = resized(RGB[0], shape)[None]
    with Image.open(file) as image:
        for given in (file, str(file), [file], np.array([str(file)]), image, [image]):
            assert np.array_equal(together(given, shape), expected)
        assert np.array_equal(np.asarray(image), RGB[0])  # it stays as it is, and open
        assert np.array_equal(
            together([file, RGB[1], image, GREY[0]], shape),
            [expected[0], resized(RGB[1], shape), expected[0], resized(GREY[0], shape)],
        )


def test_an_image_is_turned_and_flattened_as_its_file_is(tmp_path):
    """EXIF, transparency, sixteen bits and CMYK: the image that Pillow opens gives what the file
    gives.
    """
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB[0]).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.dstack([RGB[0], RGB[1, ..., 0]])).save(tmp_path / "clear.png")
    Image.fromarray(GREY[0].astype(np.uint16) * 200).save(tmp_path / "deep.png")
    Image.fromarray(RGB[0]).convert("CMYK").save(tmp_path / "ink.tif")
    paths = sorted(tmp_path.iterdir())
    images = [Image.open(path) for path in paths]
    assert np.array_equal(together(images, (9, 9, 3)), together(paths, (9, 9, 3)))
    assert np.array_equal(together(paths, (9, 9, 3)),
                          [folders.decode(path.read_bytes(), (9, 9, 3)) for path in paths])  # fmt: skip
    for image in images:
        image.close()


def test_an_image_that_is_given_many_times_is_loaded_by_one_thread(file):
    """Threads share it; each would else decode what another one is at."""
    busy, most = [], []
    with Image.open(file) as image:
        usual = image.load

        def watched():
            if not image.tile:  # it is loaded already
                return usual()
            busy.append(1)
            most.append(len(busy))
            time.sleep(0.005)
            busy.pop()
            return usual()

        image.load = watched
        taken = together([image] * 30, (30, 40, 3))
    assert most == [1] and (taken == RGB[0]).all() and taken.shape == (30, 30, 40, 3)


@pytest.mark.parametrize("shape, given, as_it_is", [
    ((8, 8), np.zeros((4, 8, 8), np.uint8), True),
    ((8, 8), np.zeros((3, 8, 8), np.uint8), True),  # three grey ones, as ever
    ((8, 3), np.zeros((8, 8, 3), np.uint8), True),
    ((8, 8, 3), np.zeros((8, 8, 8, 3), np.uint8), True),
    ((8, 8), np.zeros((8, 8), np.uint8), False),
    ((8, 8, 3), np.zeros((8, 8, 3), np.uint8), False),
    ((8, 8), np.zeros((4, 8, 9), np.uint8), False),
    ((8, 8), "a.png", False),
    ((8, 8), np.array(["a.png"]), False),
    ((8, 8), [np.zeros((8, 8), np.uint8)], False),
    ((64,), np.zeros((4, 64), np.float32), True),  # features are the method's own affair
    ((64,), "a.png", True),
    ((8, 8), np.zeros((4, 64), np.float32), True),
])  # fmt: skip
def test_what_goes_to_the_model_as_it_is(shape, given, as_it_is):
    assert pictures.ready(given, shape) == as_it_is


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3)])
@pytest.mark.parametrize("given, reason", [
    (np.zeros((3, 9, 9), np.uint8), r"\(3, 9, 9\) may be meant in two ways"),
    (np.zeros((9, 9, 4), np.uint8), r"\(9, 9, 4\) may be meant in two ways"),
    (np.zeros((9, 9, 1), np.uint8), r"\(9, 9, 1\) may be meant in two ways"),
    (np.zeros((2, 3, 9, 9), np.uint8), r"channels last, got \(2, 3, 9, 9\)"),
    (np.zeros((2, 9, 9, 1), np.uint8), r"channels last, got \(2, 9, 9, 1\)"),
    (np.zeros(9, np.uint8), r"images must be uint8 .* got \(9,\) uint8"),
    (np.zeros((0, 9, 9), np.uint8), "one image at least is expected, got none"),
    ([], "one image at least is expected, got none"),
    ((), "one image at least is expected, got none"),
    (np.zeros((0, 9), np.uint8), "one pixel or more is expected, got 9x0"),
    (None, "images must be uint8 .*, got NoneType"),
    (iter([]), "images must be uint8 .*, got list_iterator"),
    ([RGB[0], None], "image 1: images must be uint8 .*, got NoneType"),
    ([RGB[0], RGB], r"image 1: a single image must be uint8 .* got \(2, 30, 40, 3\)"),
    ([RGB[0], RGB[0] / 255], r"image 1: a single image must be uint8 .* float64"),
    ([RGB[0], "gone.png"], r"image 1: gone\.png: No such file"),
    ("gone.png", r"^gone\.png: No such file"),
    ("", "a path of one character or more"),
    ("a\0", "a path of one character or more"),
    (np.zeros((10_000, 10_000), np.uint8), "10000x10000, more than the 89,000,000 pixels"),
])  # fmt: skip
def test_what_is_no_picture(given, reason, shape, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=reason):
        together(given, shape)


def test_what_cannot_be_read_is_named(file, tmp_path):
    broken = tmp_path / "b.png"
    broken.write_bytes(file.read_bytes()[:-30])
    for given, reason in (
        (broken, rf"^{broken}: the image is damaged"),
        ([file, str(broken)], rf"^image 1: {broken}: the image is damaged"),
        (tmp_path, f"^{tmp_path}: an image file is expected, got a folder"),
    ):
        with pytest.raises(InputError, match=reason):
            together(given, (8, 8, 3))
    with Image.open(broken) as image, pytest.raises(InputError, match=r"image 1: .* damaged"):
        together([file, image], (8, 8, 3))
    closed = Image.open(file)
    closed.close()
    with pytest.raises(InputError, match="damaged"):
        together(closed, (8, 8, 3))


def test_so_many_are_in_memory(file, monkeypatch):
    """Of a list, a block and the one after it; the larger the images, the fewer."""
    monkeypatch.setattr(pictures, "MOST", 7)
    read, usual = [], folders.attempt
    monkeypatch.setattr(folders, "attempt", lambda *words: read.append(1) or usual(*words))
    seen = 0
    for block in pictures.blocks([file] * 100, (8, 8, 3)):
        seen += len(block)
        assert len(block) <= 7 and len(read) <= seen + 14
    assert seen == len(read) == 100
    monkeypatch.setattr(pictures, "BLOCK_BYTES", 2 * 8 * 8 * 3)
    assert [len(block) for block in pictures.blocks([file] * 5, (8, 8, 3))] == [2, 2, 1]
    assert [len(block) for block in pictures.blocks([file] * 2, (80, 80, 3))] == [1, 1]


def test_a_single_picture_starts_no_thread(file, monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", None)
    assert together(file, (8, 8)).shape == (1, 8, 8)


# codes


MODELS = {
    "deep": lambda: methods.create("csq", 8, epochs=0),
    "frozen": lambda: methods.create("csq", 8, epochs=0, frozen=True),
    "several tables": lambda: methods.create("mlsh", 16, epochs=0, scales="conv1+fc"),
    "pixels": lambda: methods.create("itq", 8),
    "a body's features": lambda: methods.create("lsh", 8, backbone="tiny"),
}


@pytest.fixture(scope="module")
def fitted(digits):
    return {name: make().fit(digits.train) for name, make in MODELS.items()}


@pytest.mark.parametrize("name", MODELS)
def test_codes_are_those_of_the_arrays(name, fitted, digits, tmp_path, monkeypatch):
    """By whichever door an image of the model's shape comes in, its code is the same; in blocks."""
    model, images = fitted[name], digits.query.images[:20]
    expected = model.encode(images)
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{number:02d}.png")
    paths = sorted(tmp_path.iterdir())
    colour = np.repeat(images[..., None], 3, axis=3)
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    monkeypatch.setattr(pictures, "MOST", 6)
    for given in (list(images), paths, [str(path) for path in paths],
                  [Image.fromarray(image) for image in images], colour):  # fmt: skip
        assert np.array_equal(model.encode(given), expected)
    for given in (images[3], paths[3], colour[3], Image.fromarray(images[3])):
        assert np.array_equal(model.encode(given), expected[3:4])
    shrunk = np.stack([resized(image, (8, 8)) for image in large])
    assert np.array_equal(model.encode(large), model.encode(shrunk))
    if hasattr(model, "outputs"):
        assert np.allclose(model.outputs(paths), model.outputs(images), atol=1e-5)


def test_codes_of_a_folder_are_those_of_its_paths(fitted, tmp_path):
    for number, image in enumerate([RGB[0], GREY[0], RGB[1]]):
        Image.fromarray(image).save(tmp_path / f"{number}.jpg")
    model = fitted["deep"]
    models.encode_folder(model, tmp_path, tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as stored:
        assert np.array_equal(model.encode(folders.files(tmp_path))[:, :1], stored["codes"])


def test_parts_are_given_to_the_model_as_they_are(fitted, digits, monkeypatch):
    """So features that were computed before are found again."""
    model, seen = fitted["deep"], []
    monkeypatch.setattr(model.net, "outputs", lambda *words: seen.append(words) or np.ones((1, 8)))
    shared = methods.Shared()
    model.encode(digits.query, shared)
    assert seen == [(digits.query, shared)]
