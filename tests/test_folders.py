"""Image files: reading them, the lists and trees of sets that are put there by hand,
and the cache made of them.
"""

import contextlib
import hashlib
import inspect
import io
import json
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps
from processes import python, wait_until

from hashlab import cli, data
from hashlab.data import folders, listed, opening, parts, prepared, protocols, show
from hashlab.errors import InputError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (40, 60), dtype=np.uint16)


def coded(image, kind="PNG", **settings):
    """The bytes of an image file."""
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        out, kind, **settings
    )
    return out.getvalue()


# pixels


def test_lossless_files_keep_their_pixels():
    for kind in ("PNG", "BMP", "TIFF", "PPM", "WEBP"):
        settings = {"lossless": True} if kind == "WEBP" else {}
        assert np.array_equal(folders.decode(coded(RGB, kind, **settings), (40, 60, 3)), RGB)


def test_modes():
    """Every mode becomes RGB or grey, as plain arithmetic on its pixels says."""
    grey = RGB[..., 0]
    clear = np.dstack([RGB, grey])  # its red is its opacity
    share = clear[..., 3:] / 255
    palette = Image.fromarray(RGB).quantize(16)
    holes = palette.copy()
    holes.info["transparency"] = 3
    white = np.array(palette.convert("RGB"))
    white[np.array(palette) == 3] = 255
    cases = {
        "grey": (coded(grey), grey),
        "grey and opacity": (coded(np.dstack([grey, np.full_like(grey, 255)])), grey),
        "16 bits": (coded(DEEP), (DEEP // 256).astype(np.uint8)),
        "16 bits TIFF": (coded(DEEP, "TIFF"), (DEEP // 256).astype(np.uint8)),
        "one bit": (coded(Image.fromarray(grey > 99)), np.where(grey > 99, 255, 0)),
        "opacity": (coded(clear), np.round(RGB * share + 255 * (1 - share))),
        "palette": (coded(palette), np.array(palette.convert("RGB"))),
        "palette with a hole": (coded(holes, transparency=3), white),
    }
    for name, (content, expected) in cases.items():
        found = folders.decode(content, (40, 60, 3)).astype(int)
        expected = np.repeat(expected[..., None], 3, 2) if expected.ndim == 2 else expected
        assert np.abs(found - expected).max() <= (name == "opacity"), name
    assert np.array_equal(folders.decode(coded(grey), (40, 60)), grey)
    assert (
        folders.decode(coded(Image.new("CMYK", (9, 9), (0, 255, 255, 0)), "JPEG"), (9, 9, 3))[
            4, 4, 0
        ]
        > 200
    )


@pytest.mark.parametrize("fit", folders.FITS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright(orientation, fit):
    """However the camera was held: as Pillow turns the whole image, which is then fitted."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = coded(RGB, exif=exif)
    turned = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
    assert np.array_equal(folders.decode(content, turned.shape, fit), turned)
    assert orientation != 6 or np.array_equal(turned, np.rot90(RGB, -1))
    smaller = folders.decode(content, (20, 16, 3), fit).astype(int)
    assert (
        np.abs(smaller - folders.decode(coded(turned), (20, 16, 3), fit)).max() <= 1
    )  # rows first, or columns


ODD_EXIF = {
    "no header": b"Exif\0\0",
    "half a header": b"Exif\0\0MM\0*",
    "no TIFF": b"Exif\0\0hello, world",
    "a directory beyond": b"Exif\0\0MM\0*\0\xff\xff\xff",
    "an entry too few": b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12",
    "an orientation of text": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x026\0\0\0\0\0\0\0",
    "an orientation of 99": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0c\0\0\0\0\0\0",
    "a resolution of text": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x1a\0\x02\0\0\0\x026\0\0\0\0\0\0\0",
    # what Pillow can read, but not write again
    "a fraction of text": b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\0\x01\0\0"
    b"\x82\x9a\0\x02\0\0\0\x026\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("name", ODD_EXIF)
def test_odd_metadata_are_no_reason_to_refuse_pixels(name):
    plain = coded(RGB, "JPEG")
    segment = ODD_EXIF[name]
    odd = plain[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]
    assert np.array_equal(folders.decode(odd, (40, 60, 3)), folders.decode(plain, (40, 60, 3)))


@given(
    st.lists(st.tuples(st.integers(6, 150), st.integers(0, 255)), max_size=6), st.integers(10, 200)
)
def test_whatever_stands_in_the_metadata(changes, length):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A], exif[0x829A] = 1, "Maker", 72.0, 0.5
    exif.get_ifd(0x8769)[0x9003] = "2026:01:01"
    segment = bytearray(exif.tobytes())
    for place, value in changes:
        segment[place % len(segment)] = value
    segment = bytes(segment[:6] if segment[:6] == b"Exif\0\0" else b"Exif\0\0") + bytes(
        segment[6:length]
    )
    plain = coded(RGB, "JPEG")
    odd = plain[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]
    assert sorted(folders.decode(odd, (9, 9, 3)).shape) == [3, 9, 9]


def test_large_images_become_what_small_ones_do(monkeypatch):
    """Modes are changed strip by strip; the strips are not seen."""
    clear = Image.fromarray(np.dstack([RGB, RGB[..., 0]]))
    holes = Image.fromarray(RGB).quantize(16)
    contents = [
        coded(clear),
        coded(DEEP),
        coded(RGB[..., 0]),
        coded(holes, transparency=3),
        coded(clear, "WEBP"),
    ]
    whole = [folders.decode(content, (11, 7, 3)) for content in contents]
    monkeypatch.setattr(folders, "STRIP", 7 * 60)
    for content, expected in zip(contents, whole, strict=True):
        assert np.array_equal(folders.decode(content, (11, 7, 3)), expected)


# memory


def full(*_):
    raise MemoryError


def full_in_the_decoder(*_):
    raise OSError("out of memory error when reading image file")


@pytest.mark.parametrize("how", [full, full_in_the_decoder])
def test_full_memory_is_not_the_fault_of_an_image(how, ten, monkeypatch):
    paths, _ = ten
    told = []
    monkeypatch.setattr(folders, "_plain", how)
    with pytest.raises(
        MemoryError, match=r"memory is full: an image of 8x8 pixels .* make the image smaller"
    ):
        folders.decode(paths[0].read_bytes(), (8, 8, 3))
    with pytest.raises(MemoryError, match=r"0\.png: memory is full: .* it may be sound"):
        list(folders.stream(paths, (8, 8, 3), broken=lambda path, reason: told.append(path)))
    assert told == []


@pytest.mark.parametrize("total, most", [(64, 1), (200, 3), (1, 1)])
def test_so_many_pixels_are_decoded_at_a_time(ten, monkeypatch, total, most):
    """Images of 64 pixels each, of which `most` fit;
    where not even one does, it is decoded alone.
    """
    paths, images = ten
    sound, usual, busy, highest = [paths[0]] * 40, folders._pixels, [], []

    def watched(*words):
        busy.append(1)
        highest.append(len(busy))
        time.sleep(0.001)
        try:
            return usual(*words)
        finally:
            busy.pop()

    monkeypatch.setattr(folders, "PIXELS", folders.Budget(total))
    monkeypatch.setattr(folders, "_pixels", watched)
    blocks = list(folders.stream(sound, (8, 8, 3), block=9))
    assert sum(len(block.rows) for block in blocks) == 40 and max(highest) <= most
    assert all(np.array_equal(image, images[0]) for block in blocks for image in block.images)


EIGHT_LARGE = """
import resource, sys
from pathlib import Path
from hashlab.data import folders
folders.FILES, folders.PIXELS = folders.Budget(60_000_000), folders.Budget(22_000_000)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 900_000_000,) * 2)
for block in folders.stream([Path(sys.argv[1])] * 8, (8, 8, 3)):
    print(len(block.rows), block.images.min(), block.images.max())
"""


@pytest.mark.process
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit is Linux's")
def test_eight_large_files_fit_into_the_memory_of_one(tmp_path):
    """66 MB and 22 megapixels each, a quarter of the usual budgets;
    the limit counts what threads reserve, too.
    """
    assert folders.PIXELS.total == folders.MOST_PIXELS and folders.FILES.total <= 2**28
    with (tmp_path / "large.ppm").open("wb") as out:
        out.write(b"P6 5500 4000 255\n")
        out.truncate(out.tell() + 3 * 22_000_000)  # zeros that take no room on the disk
    done = python("-c", EIGHT_LARGE, tmp_path / "large.ppm")
    assert (done.stdout, done.stderr) == ("8 0 0\n", "")


def test_crop_takes_the_centre_and_squash_takes_all():
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    assert (folders.decode(coded(wide), (10, 10, 3), "crop") == 200).all()
    squashed = folders.decode(coded(wide), (10, 10, 3), "squash")[..., 0]
    assert (
        squashed.mean() == pytest.approx(wide.mean(), abs=2)
        and squashed[5, 0] == 0
        and squashed[5, 5] == 200
    )
    assert np.array_equal(
        folders.decode(coded(wide), (30, 10, 3)), np.full((30, 10, 3), 200)
    )  # enlarged, then cut


def test_a_large_photograph_is_averaged_not_sampled():
    """A chequered board shrinks to grey,
    also through the faster decoding of a JPEG at a part of its size.
    """
    board = ((np.indices((512, 512)).sum(0) // 2 % 2) * 255).astype(np.uint8)
    for content in (coded(board), coded(board, "JPEG", quality=95)):
        assert np.abs(folders.decode(content, (16, 16)).astype(int) - 127).max() < 12


BROKEN = {
    "empty": (b"", "the file is empty"),
    "text": (b"not a picture", "not an image"),
    "truncated.jpg": (coded(RGB, "JPEG")[:-300], "damaged .*truncated"),
    "truncated.png": (coded(RGB)[:3000], "damaged"),
    "huge": (coded(Image.new("1", (10_000, 10_000))), "more than the 89,000,000 pixels"),
    "bomb": (coded(Image.new("1", (20_000, 20_000))), "more than the 89,000,000 pixels"),
    "real numbers": (coded(np.ones((4, 4), np.float32), "TIFF"), "8 or 16 bits are expected"),
    "32 bits": (coded(np.full((4, 4), 70_000, np.int32), "TIFF"), "8 or 16 bits are expected"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_say_what_is_wrong(name):
    content, reason = BROKEN[name]
    with pytest.raises(InputError, match=reason):
        folders.decode(content, (8, 8, 3))


@given(st.integers(0, len(coded(RGB)) - 1), st.integers(0, 255), st.booleans())
def test_damaged_bytes_never_surprise(place, value, cut):
    """Whatever stands in a file, the outcome is an image or an InputError."""
    content = bytearray(coded(RGB))
    content[place] = value
    with contextlib.suppress(InputError):
        assert folders.decode(bytes(content[:place] if cut else content), (8, 8, 3)).shape == (
            8,
            8,
            3,
        )


def test_files_of_a_folder(tmp_path):
    for name in (
        "b/2.JPG",
        "a.png",
        "b/1.jpeg",
        "b/readme.txt",
        ".hidden.png",
        ".cache/3.png",
        "b.gif/x.webp",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in folders.files(tmp_path)]
    assert found == ["a.png", "b.gif/x.webp", "b/1.jpeg", "b/2.JPG"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="hold no images"):
        folders.files(tmp_path / "none")
    with pytest.raises(InputError, match="is not a folder"):
        folders.files(tmp_path / "a.png")


def test_what_is_passed_over_is_counted(tmp_path):
    for name in (
        "a.png",
        "x.txt",
        "b/x.TXT",
        "b/x.mp4",
        ".git/1.png",
        ".git/2.png",
        ".a.png",
        "b/x",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    images, passed = folders.listing(tmp_path)
    assert images == [tmp_path / "a.png"]
    assert passed == {".txt": 2, ".mp4": 1, "hidden": 2, "without suffix": 1, "linked folder": 1,
                      "no file": 1}  # fmt: skip
    with pytest.raises(
        InputError, match=r"hold no images; passed over: 1 \.mp4, 1 \.txt, 1 without"
    ):
        folders.listing(tmp_path / "b")


def test_what_is_passed_over_in_words():
    assert folders.passed_over({}) == ""
    kinds = {"hidden": 2, ".mp4": 1, ".txt": 3}
    assert folders.passed_over(kinds) == "passed over: 3 .txt, 1 .mp4, 2 hidden"
    many = {f".{number}": 20 - number for number in range(10)}
    assert folders.passed_over(many).endswith("13 .7, 23 others")


WRITTEN = {  # format -> endings under which a photograph may come
    "AVIF": [".avif"], "BMP": [".bmp", ".dib"], "GIF": [".gif"], "ICO": [".ico"],
    "JPEG": [".jpg", ".jpeg", ".jpe", ".jfif"], "JPEG2000": [".jp2", ".j2k", ".jpx"],
    "PCX": [".pcx"], "PNG": [".png", ".apng"], "PPM": [".ppm", ".pgm", ".pnm"], "QOI": [".qoi"],
    "SGI": [".sgi"], "TGA": [".tga"], "TIFF": [".tif", ".tiff"], "WEBP": [".webp"],
}  # fmt: skip


@pytest.mark.parametrize("kind", WRITTEN)
def test_whatever_pillow_reads_is_read(kind, tmp_path):
    flat = Image.new("RGB", (16, 16), (200, 30, 90))
    for ending in WRITTEN[kind]:
        file = tmp_path / f"a{ending.upper()}"
        flat.save(file, format=kind)
        assert folders.files(tmp_path) == [file]
        image = folders.decode(file.read_bytes(), (8, 8, 3)).astype(int)
        assert np.abs(image - (200, 30, 90)).max() <= 6
        file.unlink()


def test_every_format_is_read_or_left_out_for_a_reason():
    """Pillow decodes what is read by itself: no program is started, no format only recognised."""
    Image.init()
    endings = Image.registered_extensions()
    assert set(folders.formats()) == set(Image.OPEN) - set(folders.NOT_READ)
    assert not {ending for ending in folders.suffixes() if endings[ending] in folders.NOT_READ}
    for name in folders.formats():
        factory = Image.OPEN[name][0]
        assert not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile)), (
            name
        )
        source = inspect.getsource(inspect.getmodule(factory))
        assert "gs_binary" not in source and "StubImageFile" not in source, name


def test_a_program_in_disguise_is_not_run():
    """PostScript under the name of a photograph: Pillow would have Ghostscript run it."""
    content = coded(RGB, "EPS")
    with pytest.raises(InputError, match="not an image, or of a kind that is not known here"):
        folders.decode(content, (8, 8, 3))


@pytest.fixture
def ten(tmp_path):
    """Ten files, of which 3 and 7 are broken, and the pixels of the others."""
    images = RNG.integers(0, 256, (10, 8, 8, 3), dtype=np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(10)]
    for i, path in enumerate(paths):
        path.write_bytes({3: b"", 7: coded(images[7])[:-30]}.get(i, coded(images[i])))
    return paths, images


@pytest.mark.parametrize("block", [1, 3, 4, 10, 99])
def test_stream_skips_and_names_the_broken(ten, block):
    paths, images = ten
    told = []
    blocks = list(
        folders.stream(paths, (8, 8, 3), block=block, broken=lambda path, reason: told.append(path))
    )
    assert told == [paths[3], paths[7]] and all(0 < len(b.rows) <= block for b in blocks)
    rows = np.concatenate([b.rows for b in blocks])
    assert rows.tolist() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert np.array_equal(np.concatenate([b.images for b in blocks]), images[rows])
    digests = [digest for b in blocks for digest in b.digests]
    assert digests == [hashlib.sha256(paths[row].read_bytes()).digest() for row in rows]


def test_stream_refuses_when_nobody_listens(ten):
    paths, _ = ten
    with pytest.raises(InputError, match=r"3\.png: the file is empty"):
        list(folders.stream(paths, (8, 8, 3)))
    with pytest.raises(InputError, match=r"gone\.png: No such file"):
        list(folders.stream([paths[0].with_name("gone.png")], (8, 8, 3)))


def test_stream_wants_a_shape():
    for shape in ((8,), (8, 8, 4), (0, 8), (8, 8.5), (-1, 8, 3)):
        with pytest.raises(InputError, match="shape of an image"):
            folders.stream([], shape)
    with pytest.raises(InputError, match="fit must be one of crop, squash, got 'stretch'"):
        folders.stream([], (8, 8), fit="stretch")
    with pytest.raises(InputError, match="a block holds 1 image or more, got 0"):
        folders.stream([], (8, 8), block=0)


# NUS-WIDE


def write_nuswide(folder, lists, concepts, images=True):
    """List files {name: [(path, labels)]}, and a small image for every path."""
    folder.mkdir(parents=True)
    for name, rows in lists.items():
        text = "".join(f"{path} {' '.join(map(str, labels))}\n" for path, labels in rows)
        (folder / f"{name}.txt").write_text(text)
    for path, _ in (row for rows in lists.values() for row in rows) if images else ():
        file = folder / path
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(
            coded(
                np.random.default_rng(len(path) + sum(path.encode())).integers(
                    0, 256, (20, 30, 3), np.uint8
                )
            )
        )


def rows(count, concepts, start=0):
    rng = np.random.default_rng(start)
    return [
        (f"images/{start + i:04d} x.png", rng.integers(0, 2, concepts).tolist())
        for i in range(count)
    ]


@pytest.fixture
def wide(tmp_path):
    """A made NUS-WIDE with 21 concepts in two lists that share images."""
    some = rows(12, 21)
    write_nuswide(tmp_path / "source" / "nuswide21", {"test": some[8:], "database": some[:9]}, 21)
    return tmp_path, some


def test_lists_are_pooled(wide):
    root, some = wide
    listing = listed.read("nuswide21", root / "source" / "nuswide21")
    assert listing.paths == {"all": sorted(path for path, _ in some)}
    assert listing.labels["all"].tolist() == [labels for _, labels in sorted(some)]
    assert listing.classes[0] == "concept 1" and len(listing.classes) == 21
    (root / "source" / "nuswide21" / "concepts.txt").write_text(
        "".join(f"name {i}\n" for i in range(21))
    )
    assert listed.read("nuswide21", root / "source" / "nuswide21").classes[20] == "name 20"


def test_lists_are_told_apart(tmp_path):
    some = rows(10, 81)
    lists = {"test": some[:2], "train": some[2:6], "database": some[4:]}
    write_nuswide(tmp_path / "n", lists, 81)
    listing = listed.read("nuswide81", tmp_path / "n")
    assert {name: len(paths) for name, paths in listing.paths.items()} == {
        "test": 2,
        "train": 2,
        "both": 2,
        "rest": 4,
    }
    index = protocols.as_listed(
        np.zeros((10, 81)), {name: len(paths) for name, paths in listing.paths.items()}
    )
    flat = [path for paths in listing.paths.values() for path in paths]
    for part, name in (("query", "test"), ("train", "train"), ("database", "database")):
        assert sorted(flat[i] for i in index[part]) == sorted(path for path, _ in lists[name])


BAD_LISTS = {
    "short row": ("images/a.png 0 1", "line 3: a path and 21 labels of 0 or 1 are expected, got 2"),
    "long row": (f"images/a.png {'0 ' * 22}", "line 3: .* got 22"),
    "no path": ("0 " * 21, "line 3: .* got 21"),
    "other values": (f"images/a.png -1 {'0 ' * 20}", "line 3: .* got 20"),
    "missing image": (
        f"images/gone.png {'0 ' * 21}",
        "1 of 3 listed images do not exist .*: images/gone.png",
    ),
    "folder": (f"images {'0 ' * 21}", "1 of 3 listed images do not exist"),
    "outside": (f"../a.png {'0 ' * 21}", r"name \.\./a.png outside of the folder"),
    "from the root": (f"/etc/a.png {'0 ' * 21}", "name /etc/a.png outside of the folder"),
    "other labels": (
        f"images/0000 x.png {'0 ' * 21}",
        "line 3: images/0000 x.png has other labels",
    ),
    "a very long name": (f"{'a' * 5000}.png {'0 ' * 21}", "1 of 3 listed images do not exist"),
}


@pytest.mark.parametrize("name", BAD_LISTS)
def test_bad_lists(tmp_path, name):
    line, reason = BAD_LISTS[name]
    write_nuswide(tmp_path / "n", {"all": rows(2, 21)}, 21)
    with (tmp_path / "n" / "all.txt").open("a") as out:
        out.write(line + "\n")
    with pytest.raises(InputError, match=reason):
        listed.read("nuswide21", tmp_path / "n")


def test_other_bad_lists(tmp_path):
    folder = tmp_path / "n"
    with pytest.raises(InputError, match="is not a folder"):
        listed.read("nuswide21", folder)
    folder.mkdir()
    with pytest.raises(InputError, match="holds no list files"):
        listed.read("nuswide21", folder)
    with pytest.raises(InputError, match=r"test\.txt is missing"):
        listed.read("nuswide81", folder)
    (folder / "a.txt").write_text("\n \n")
    with pytest.raises(InputError, match=r"a\.txt is empty"):
        listed.read("nuswide21", folder)
    (folder / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not a text file"):
        listed.read("nuswide21", folder)
    some = rows(3, 81)
    write_nuswide(folder / "m", {"test": some[:2], "train": some[2:], "database": some[1:]}, 81)
    with pytest.raises(
        InputError,
        match=r"1 images of test.txt stand in train.txt or database.txt too: images/0001",
    ):
        listed.read("nuswide81", folder / "m")
    (folder / "m" / "concepts.txt").write_text("one\ntwo\n")
    write_nuswide(folder / "k", {"a": some}, 81)
    (folder / "k" / "images" / "0001 x.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"1 of 3 listed images are empty .*: images/0001 x\.png"):
        listed.check_files(folder / "k", [path for path, _ in some])
    (folder / "m" / "database.txt").write_text((folder / "m" / "train.txt").read_text())
    with pytest.raises(
        InputError, match=r"concepts\.txt: 81 names are expected, one a line, got 2"
    ):
        listed.read("nuswide81", folder / "m")


def test_published_sizes_of_nuswide21():
    """The protocol on labels alone, as many as are published:
    2,100 queries, 10,500 to train on, the rest searched.
    """
    rng = np.random.default_rng(0)
    labels = (rng.random((195_834, 21)) < np.geomspace(0.4, 0.02, 21)).astype(np.uint8)
    index = protocols.split(protocols.get("nuswide21"), labels, {"all": len(labels)})
    assert (len(index["query"]), len(index["train"]), len(index["database"])) == (
        2_100,
        10_500,
        193_734,
    )
    assert not set(index["query"]) & set(index["database"]) and set(index["train"]) <= set(
        index["database"]
    )
    assert (labels[index["query"]].sum(0) >= 100).all() and (
        labels[index["train"]].sum(0) >= 500
    ).all()
    assert len(index["validation"]) == 1_050 and set(index["validation"]) <= set(index["train"])


# NABirds

TREE = {5: 1, 6: 1, 7: 2, 10: 5, 11: 5, 12: 6, 20: 10, 21: 10, 1: 0, 2: 0, 3: 0}


def completed(tree, levels):
    """The rule again, with plain loops: climb until the root, then repeat the leaf in front."""
    chains = {}
    for leaf in sorted(tree):
        if leaf in tree.values():
            continue
        chain, node = [], leaf
        while node != 0:
            chain.append(node)
            node = tree[node]
        while len(chain) < levels:
            chain.insert(0, leaf)
        chains[leaf] = tuple(chain)
    return chains


def test_tree_is_completed():
    found = listed.complete(TREE, 4)
    assert found == completed(TREE, 4)
    assert found[20] == (20, 10, 5, 1) and found[11] == (11, 11, 5, 1) and found[7] == (7, 7, 7, 2)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_any_tree_is_completed(draws):
    """A random tree of at most four levels:
    node i hangs below an earlier one that is not too deep.
    """
    tree, depth = {}, {0: 0}
    for node, draw in enumerate(draws, 1):
        open_ = [other for other, deep in depth.items() if deep < 4]
        tree[node] = open_[draw % len(open_)]
        depth[node] = depth[tree[node]] + 1
    found = listed.complete(tree, 4)
    assert found == completed(tree, 4) and all(len(chain) == 4 for chain in found.values())


@pytest.mark.parametrize(
    "tree, reason",
    [
        ({1: 0, 2: 3, 3: 2}, "goes round in a circle at class [23]"),
        ({1: 2, 2: 1}, "goes round in a circle at class [12]"),
        ({1: 1}, "goes round in a circle at class 1"),
        ({1: 0, 2: 9}, "has 2 roots, one is expected: 0, 9"),
        ({1: 0, 2: 1, 3: 2, 4: 3, 5: 4}, "class 5 is 5 levels deep, at most 4 fit"),
    ],
)
def test_bad_trees(tree, reason):
    with pytest.raises(InputError, match=reason):
        listed.complete(tree, 4)


def test_official_sizes_of_the_tree():
    """A made tree of the official shape: 265 leaves on the fourth level, 290 on the third;
    and one that is not.
    """
    tree = dict.fromkeys(range(1, 23), 0)
    tree |= {100 + i: 1 + i % 22 for i in range(228)}  # 228 families
    tree |= {1000 + i: 100 + i % 228 for i in range(205)}  # 205 groups that have kinds below them
    tree |= {2000 + i: 1000 + i % 205 for i in range(265)} | {
        3000 + i: 100 + i % 228 for i in range(290)
    }
    names = {node: f"bird {node}" for node in tree}
    numbers, levels, chains = listed._numbered(listed.complete(tree, 4), names)
    assert tuple(map(len, levels)) == listed.BIRD_LEVELS == (555, 495, 228, 22)
    assert len(numbers) == 555 and sorted(numbers.values()) == list(range(555))
    assert chains[numbers[3000]] == (numbers[3000], levels[1].index("bird 3000"), 0, 0)
    tree[2000] = 100
    with pytest.raises(
        InputError, match=r"not the official one: levels of \(555, 495, 228, 22\) expected"
    ):
        listed._numbered(listed.complete(tree, 4), names)
    del names[17]
    with pytest.raises(InputError, match=r"classes\.txt has no name for class 17"):
        listed._numbered(listed.complete({1: 0, 17: 1}, 4), names)


def write_birds(folder):
    """The official layout with 24 images of the six leaves of TREE; returns {file: lines}."""
    leaves = sorted(completed(TREE, 4))
    keys = [f"{i:08x}-e14d" for i in range(24)]
    lines = {
        "images": [f"{key} {leaves[i % 6]:04d}/{key}.jpg" for i, key in enumerate(keys)],
        "image_class_labels": [f"{key} {leaves[i % 6]}" for i, key in enumerate(keys)],
        "train_test_split": [f"{key} {int(i % 4 > 0)}" for i, key in enumerate(keys)],
        "classes": ["0 Birds", *(f"{node} Bird number {node} (Adult)" for node in TREE)],
        "hierarchy": [f"{child} {parent}" for child, parent in TREE.items()],
    }
    folder.mkdir(parents=True)
    for name, text in lines.items():
        (folder / f"{name}.txt").write_text("\n".join(text) + "\n")
    for i, line in enumerate(lines["images"]):
        file = folder / "images" / line.split()[1]
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_bytes(
            coded(np.random.default_rng(i).integers(0, 256, (50, 40, 3), np.uint8), "JPEG")
        )
    return lines


@pytest.fixture
def birds(tmp_path):
    return tmp_path, write_birds(tmp_path / "source" / "nabirds")


def test_birds_are_read(birds):
    root, lines = birds
    listing = listed.read("nabirds", root / "source" / "nabirds")
    assert {name: len(paths) for name, paths in listing.paths.items()} == {"train": 18, "test": 6}
    chains = completed(TREE, 4)
    for split, mark in (("train", "1"), ("test", "0")):
        mine = [i for i, line in enumerate(lines["train_test_split"]) if line.endswith(f" {mark}")]
        mine.sort(key=lambda i: lines["images"][i].split()[1])
        assert listing.paths[split] == ["images/" + lines["images"][i].split()[1] for i in mine]
        for i, row in zip(mine, listing.labels[split], strict=True):
            named = [level[number] for level, number in zip(listing.levels, row, strict=True)]
            leaf = int(lines["image_class_labels"][i].split()[1])
            assert named == [f"Bird number {node} (Adult)" for node in chains[leaf]]
    assert tuple(map(len, listing.levels)) == (6, 5, 4, 3)


BAD_BIRDS = {
    "ragged": (
        "images",
        4,
        "00000004-e14d",
        "images.txt, line 5: two columns are expected, got '00000004-e14d'",
    ),
    "twice": (
        "image_class_labels",
        5,
        "00000004-e14d 3",
        "line 6: 00000004-e14d is listed a second time",
    ),
    "other image": (
        "train_test_split",
        0,
        "ffff 1",
        "do not list the same images: 00000000-e14d, ffff",
    ),
    "split": (
        "train_test_split",
        0,
        "00000000-e14d 2",
        "0 or 1 is expected, got 2 at 00000000-e14d",
    ),
    "no leaf": (
        "image_class_labels",
        2,
        "00000002-e14d 5",
        "image 00000002-e14d has class 5, which is no leaf",
    ),
    "unknown": (
        "image_class_labels",
        2,
        "00000002-e14d 99",
        "has class 99, which is no leaf of hierarchy.txt",
    ),
    "a word": (
        "image_class_labels",
        2,
        "00000002-e14d owl",
        "a class is a whole number, got 'owl'",
    ),
    "circle": ("hierarchy", 8, "1 20", "goes round in a circle"),
    "two parents": ("hierarchy", 1, "5 2", "line 2: 5 is listed a second time"),
    "no name": ("classes", 3, "77 Bird", "classes.txt has no name for class 7"),
    "missing image": (
        "images",
        0,
        "00000000-e14d 0003/x.jpg",
        "1 of 24 listed images do not exist",
    ),
    "outside": ("images", 0, "00000000-e14d ../../x.jpg", "outside of the folder"),
}


@pytest.mark.parametrize("name", BAD_BIRDS)
def test_bad_birds(birds, name):
    root, lines = birds
    file, row, text, reason = BAD_BIRDS[name]
    changed = [text if i == row else line for i, line in enumerate(lines[file])]
    (root / "source" / "nabirds" / f"{file}.txt").write_text("\n".join(changed))
    with pytest.raises(InputError, match=reason):
        prepared.prepare(data.info("nabirds"), root)
    assert [path.name for path in root.iterdir()] == ["source"]  # nothing was begun


def test_missing_bird_files(birds):
    folder = birds[0] / "source" / "nabirds"
    (folder / "train_test_split.txt").write_text(
        (folder / "train_test_split.txt").read_text().replace(" 0\n", " 1\n")
    )
    with pytest.raises(InputError, match="has no test image"):
        listed.read("nabirds", folder)
    (folder / "hierarchy.txt").unlink()
    with pytest.raises(InputError, match=r"hierarchy\.txt is missing in "):
        listed.read("nabirds", folder)


# the cache


def test_prepared_birds_are_loaded(birds):
    root, _ = birds
    target = prepared.prepare(data.info("nabirds"), root, size=16)
    loaded = data.load("nabirds", root=root)
    assert (len(loaded.train), len(loaded.query)) == (18, 6) and np.array_equal(
        loaded.database.index, loaded.train.index
    )
    assert loaded.query.levels.shape == (6, 4) and np.array_equal(
        loaded.query.levels[:, 0], loaded.query.labels
    )
    assert (
        loaded.train.shape == (16, 16, 3)
        and loaded.info.pixels == "16px-crop"
        and len(loaded.classes) == 6
    )
    listing = listed.read("nabirds", root / "source" / "nabirds")
    for split, part in (("train", loaded.train), ("test", loaded.query)):
        files = [root / "source" / "nabirds" / path for path in listing.paths[split]]
        assert np.array_equal(
            part.images, [folders.decode(file.read_bytes(), (16, 16, 3)) for file in files]
        )
        assert np.array_equal(part.levels, listing.labels[split])
        plain = hashlib.sha256()
        for file, path, labels in zip(
            files, listing.paths[split], listing.labels[split], strict=True
        ):
            plain.update(
                path.encode() + b"\0" + b"".join(int(x).to_bytes(2, "big") for x in labels)
            )
            plain.update(hashlib.sha256(file.read_bytes()).digest())
        assert loaded.info.fingerprints[split] == plain.hexdigest()
    assert loaded.fingerprint == "+".join([*loaded.info.fingerprints.values(), "16px-crop"])
    assert sorted(path.name for path in target.iterdir()) == sorted(
        [
            "about.json",
            *(
                f"{s}_{k}"
                for s in ("train", "test")
                for k in ("images.npy", "labels.npy", "digests.npy", "paths.txt")
            ),
        ]
    )
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_prepared_scenes_are_loaded(wide, monkeypatch):
    root, some = wide
    prepared.prepare(data.info("nuswide21"), root, size=8, fit="squash")
    with pytest.raises(InputError, match="concept 1: 100 images wanted"):
        data.load("nuswide21", root=root)
    small = protocols.Protocol(
        "small", "nuswide21", "", lambda labels, counts: official_like(len(labels))
    )
    monkeypatch.setitem(protocols.PROTOCOLS, "small", small)
    loaded = data.load("nuswide21", protocol="small", root=root)
    assert loaded.relevance == "shares_label" and loaded.train.levels is None
    assert loaded.train.labels.tolist() == [labels for _, labels in sorted(some)[2:]]


def official_like(count):
    return {"query": np.arange(2), "train": np.arange(2, count), "database": np.arange(2, count)}


def test_preparing_again_changes_nothing(birds, monkeypatch):
    root, _ = birds
    target = prepared.prepare(data.info("nabirds"), root, size=16)
    written = (target / "train_images.npy").stat().st_mtime_ns
    monkeypatch.setattr(prepared, "read_images", None)  # nothing is read
    assert prepared.prepare(data.info("nabirds"), root) == target  # the size of the cache is kept
    assert (target / "train_images.npy").stat().st_mtime_ns == written
    monkeypatch.undo()
    prepared.prepare(data.info("nabirds"), root, size=12, fit="squash")
    assert data.load("nabirds", root=root).train.shape == (12, 12, 3)
    assert sorted(path.name for path in root.iterdir()) == ["nabirds", "source"]


def test_broken_images_are_named_then_replaced_or_left_out(birds):
    root, _ = birds
    folder, about = root / "source" / "nabirds", data.info("nabirds")
    listing = listed.read("nabirds", folder)
    first, last = listing.paths["train"][3], listing.paths["test"][5]
    whole = {path: (folder / path).read_bytes() for path in (first, last)}
    (folder / first).write_bytes(whole[first][:500])
    (folder / last).write_bytes(b"text")
    with pytest.raises(
        InputError,
        match=rf"2 of 24 images cannot be read: {first}: .*[Tt]runcated.*; {last}: not an image",
    ):
        prepared.prepare(about, root, size=16)
    assert not (root / "nabirds").exists()
    prepared.prepare(about, root, size=16, skip_broken=True)
    loaded = data.load("nabirds", root=root)
    assert (len(loaded.train), len(loaded.query)) == (17, 5)
    kept = [path for path in listing.paths["train"] if path != first]
    expected = [folders.decode((folder / path).read_bytes(), (16, 16, 3)) for path in kept]
    assert np.array_equal(loaded.train.images, expected)
    assert np.array_equal(loaded.train.levels, np.delete(listing.labels["train"], 3, axis=0))
    words = prepared.verify(about, root)
    assert "17 train + 5 test" in words and f"left out: {first}: the image is damaged" in words


def test_mended_images_are_read_and_the_others_not_again(birds, monkeypatch):
    root, _ = birds
    folder, about = root / "source" / "nabirds", data.info("nabirds")
    path = listed.read("nabirds", folder).paths["train"][3]
    whole = (folder / path).read_bytes()
    (folder / path).write_bytes(whole[:500])
    with pytest.raises(InputError, match="1 of 24 images cannot be read"):
        prepared.prepare(about, root, size=16)
    (folder / path).write_bytes(whole)
    seen, stream = [], folders.stream
    monkeypatch.setattr(
        folders, "stream", lambda paths, *a, **k: seen.extend(paths) or stream(paths, *a, **k)
    )
    prepared.prepare(about, root, size=16)
    assert seen == [folder / path] and len(data.load("nabirds", root=root).train) == 18


SIX_IMAGES = """
import sys, time
from hashlab import data
from hashlab.data import folders, prepared
stream = folders.stream
def six(paths, shape, **settings):
    for number, block in enumerate(stream(paths, shape, **(settings | {"block": 1}))):
        if number == 6:
            time.sleep(3600)
        yield block
folders.stream = six
prepared.prepare(data.info("nabirds"), sys.argv[1], size=16)
"""


def test_a_killed_run_goes_on_where_it_was(birds, start):
    root, _ = birds
    process = start(sys.executable, "-c", SIX_IMAGES, root)
    wait_until(lambda: done_in(root) >= 4)
    process.kill()
    process.wait()
    done = done_in(root)
    assert 4 <= done <= 6 and not (root / "nabirds").exists()
    read = []
    with pytest.MonkeyPatch.context() as patch:
        stream = folders.stream
        patch.setattr(
            folders, "stream", lambda paths, *a, **k: read.extend(paths) or stream(paths, *a, **k)
        )
        prepared.prepare(data.info("nabirds"), root, size=16)
    assert len(read) == 24 - done
    other = root / "other"
    prepared.prepare(data.info("nabirds"), other, root / "source" / "nabirds", size=16)
    for file in (other / "nabirds").iterdir():
        assert (
            file.read_bytes() == (root / "nabirds" / file.name).read_bytes()
        )  # as if it had not been killed
    assert sorted(path.name for path in root.iterdir()) == ["nabirds", "other", "source"]


def done_in(root):
    """Images that an unfinished run has written."""
    files = [root / ".nabirds.part" / f"{split}_digests.npy" for split in ("train", "test")]
    if not (root / ".nabirds.part" / "plan.json").exists():
        return 0
    return sum(int(np.load(file).any((1, 2)).sum()) for file in files)


@pytest.mark.parametrize(
    "damage", ["about", "json", "gone", "labels", "paths", "short", "file", "pixels"]
)
def test_damage_of_a_prepared_set_is_found(birds, damage):
    root, _ = birds
    folder = prepared.prepare(data.info("nabirds"), root, size=16)
    words = {
        "about": "damaged",
        "json": "damaged",
        "gone": "missing",
        "short": "do not fit together",
    }
    match damage:
        case "about":
            (folder / "about.json").write_text(json.dumps({"set": []}))
        case "json":
            (folder / "about.json").write_text("{")
        case "gone":
            (folder / "test_digests.npy").unlink()
        case "short":
            np.save(folder / "test_images.npy", np.load(folder / "test_images.npy")[:-1])
        case "paths":
            text = (folder / "train_paths.txt").read_text()
            (folder / "train_paths.txt").write_text(text.replace("e14d", "e14e", 1))
        case _:
            kind = {"labels": "labels", "file": "digests", "pixels": "images"}[damage]
            array = np.load(folder / f"train_{kind}.npy")
            array.reshape(-1)[70 if damage == "file" else 2] ^= 1
            np.save(folder / f"train_{kind}.npy", array)
    with pytest.raises(
        InputError, match=words.get(damage, "altered|are not those that were written")
    ):
        data.load("nabirds", root=root)


def test_the_check_looks_at_every_image(birds, monkeypatch):
    root, _ = birds
    monkeypatch.setattr(prepared, "SAMPLE", 1)
    folder = prepared.prepare(data.info("nabirds"), root, size=16)
    images = np.load(folder / "train_images.npy")
    images[9] ^= 1
    np.save(folder / "train_images.npy", images)
    data.load("nabirds", root=root)  # a sample of one does not see it
    path = listed.read("nabirds", root / "source" / "nabirds").paths["train"][9]
    with pytest.raises(InputError, match=f"the pixels of {path} are not those that were written"):
        prepared.verify(data.info("nabirds"), root)


def test_too_little_space_is_said_before_work_starts(birds, monkeypatch):
    import shutil
    from types import SimpleNamespace

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10_000))
    with pytest.raises(InputError, match=r"GB are needed, 0\.0 GB are free"):
        prepared.prepare(data.info("nabirds"), birds[0], size=300)
    assert [path.name for path in birds[0].iterdir()] == ["source"]


def test_equal_files_are_found_without_reading_them(birds):
    root, _ = birds
    folder = root / "source" / "nabirds"
    paths = listed.read("nabirds", folder).paths
    same_pixels = (folder / paths["train"][5]).read_bytes() + b"\0"  # in another file
    (folder / paths["test"][2]).write_bytes(same_pixels)
    prepared.prepare(data.info("nabirds"), root, size=16)
    found = data.load("nabirds", root=root).duplicates()
    assert (
        found["query", "train"] == found["query", "database"] == [(5, 20)]
        and found["train", "train"] == []
    )


# commands


def test_commands(birds, capsys, tmp_path):
    root, _ = birds
    assert cli.main(["data", "fetch", "nuswide81", "--root", str(root)]) == 2
    out = capsys.readouterr()
    assert "test.txt, train.txt, database.txt" in out.out and "81 labels" in out.out
    assert out.err.count("\n") == 1 and f"into {root / 'source' / 'nuswide81'}" in out.err
    assert cli.main(["data", "fetch", "nabirds", "--root", str(root), "--size", "16"]) == 0
    assert "18 train + 6 test images of 16px-crop" in (out := capsys.readouterr().out)
    assert (
        "while 48562 are published" in out
        and "fingerprint of the train files that were read" in out
    )
    assert cli.main(["data", "check", "nabirds", "--root", str(root)]) == 0
    assert "nabirds: query 6, train 18, database 18" in capsys.readouterr().out
    assert cli.main(["data", "list", "--root", str(root)]) == 0
    out = capsys.readouterr().out
    assert (
        f"in the cache: {root / 'nabirds'}" in out
        and "not in the cache: `hashlab data fetch nuswide21` says" in out
    )
    assert cli.main(["data", "fetch", "mnist", "--root", str(root), "--size", "16"]) == 2
    assert "for sets put there by hand, not mnist" in capsys.readouterr().err
    for word in (["--source", str(root / "none")], ["--size", "0"], ["--fit", "stretch"]):
        assert cli.main(["data", "fetch", "nabirds", "--root", str(root), *word]) == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["digits", "digit_scenes", "nabirds"])
def test_show_writes_a_picture(birds, name, capsys):
    root, _ = birds
    prepared.prepare(data.info("nabirds"), root, size=16)
    file = root / "picture.png"
    assert cli.main(["data", "show", name, "--root", str(root), "-o", str(file)]) == 0
    with Image.open(file) as picture:
        assert picture.width > 300 and len(np.unique(np.asarray(picture.convert("L")))) > 10
    for wrong in ("picture.jpg", "none/picture.png"):
        assert cli.main(["data", "show", name, "--root", str(root), "-o", str(root / wrong)]) == 2
        assert "a .png file in a folder that exists is expected" in capsys.readouterr().err


def test_samples_are_of_their_class():
    pool = opening.open_pool(data.info("digit_scenes"))
    figure = show.samples(pool, each=3)
    drawn = np.array(
        [
            [ax.images[0].get_array() for ax in figure.axes[row * 4 + 1 : row * 4 + 4]]
            for row in range(10)
        ]
    )
    for label, images in enumerate(drawn):
        expected = [i for i in range(len(pool.labels)) if pool.labels[i, label]][:3]
        assert np.array_equal(images, pool.gather(np.array(expected)))
    with pytest.raises(InputError, match="1 image or more per class are drawn, got 0"):
        show.samples(pool, each=0)


def test_many_classes_get_one_image_each():
    pool = opening.open_pool(data.info("digits"))
    labels = np.arange(len(pool.labels)) % 150
    about = pool.about.__class__(
        **(pool.about.__dict__ | {"classes": tuple(f"class_{i}" for i in range(150))})
    )
    many = parts.Pool(pool.splits, pool.orders, labels, about)
    titles = [ax.get_title() for ax in show.samples(many).axes if ax.get_title()]
    assert titles == [f"class {i}" for i in range(0, 150, 2)]
