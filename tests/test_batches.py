"""Batches against plain loops: order, crops, mirroring, normalisation, resizing;
streamed as resident.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from hashlab import data
from hashlab.data import batches
from hashlab.data.batches import Batches, View
from hashlab.errors import InputError

CPU = torch.device("cpu")


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_statistics():
    images = random_images(300, 6, 5, 3)  # more than one block
    mean, std = batches.statistics(images)
    np.testing.assert_allclose(mean, (images / 255).reshape(-1, 3).mean(0), rtol=1e-12)
    np.testing.assert_allclose(std, (images / 255).reshape(-1, 3).std(0, ddof=1), rtol=1e-12)
    grey = batches.statistics(images[..., 0])
    assert grey == ((mean[0],), (std[0],))
    assert batches.statistics(np.zeros((2, 4, 4), np.uint8))[1] == (1e-6,)  # never divided by zero


def test_an_epoch_covers_everything_once_and_normalises():
    images, labels = random_images(53, 6, 5, 3), np.arange(53)
    mean, std = batches.statistics(images)
    found = Batches(images, labels, CPU, View(6, 5, 3, mean, std))
    seen = list(found.epoch(10, generator()))
    assert len(seen) == found.steps(10) == 5  # the last three images are left out
    order = torch.cat([batch.labels for batch in seen]).tolist()
    assert len(set(order)) == 50 and order != sorted(order)
    assert order != torch.cat([batch.labels for batch in found.epoch(10, generator(1))]).tolist()
    for x, y, rows in seen:
        assert torch.equal(rows, y)
        expected = (images[y.numpy()] / 255 - mean) / std
        np.testing.assert_allclose(x, expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


def test_an_epoch_can_be_taken_up_in_its_middle():
    found = Batches(
        random_images(40, 8, 8, 3),
        np.arange(40),
        CPU,
        View(8, 8, 3, (0.5,) * 3, (0.2,) * 3, 2, flip=True),
    )
    whole = list(found.epoch(8, generator()))
    rest = list(found.epoch(8, generator(), start=3))
    assert len(rest) == 2
    assert all(
        torch.equal(a, b)
        for one, other in zip(whole[3:], rest, strict=True)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("window", [(5, 4), (3, 3)])
def test_crops_with_plain_loops(window):
    images, pad = torch.from_numpy(random_images(6, 5, 4, 2)), 2
    down = torch.randint(5 + 2 * pad - window[0] + 1, (6,), generator=generator())
    right = torch.randint(4 + 2 * pad - window[1] + 1, (6,), generator=generator(1))
    found = batches.crops(images, pad, window, down, right)
    assert found.shape == (6, *window, 2)
    for b in range(6):
        for y in range(window[0]):
            for x in range(window[1]):
                row, column = y + int(down[b]) - pad, x + int(right[b]) - pad
                inside = 0 <= row < 5 and 0 <= column < 4
                expected = images[b, row, column] if inside else torch.zeros(2, dtype=torch.uint8)
                assert torch.equal(found[b, y, x], expected)


def test_a_view_draws_every_place_and_both_sides():
    view = View(4, 4, 1, (0.0,), (1.0,), shift=1, crop=3, flip=True)
    down, right, mirror = view.draw(2000, generator())
    assert set(down.tolist()) == set(right.tolist()) == {0, 1, 2, 3} and 900 < mirror.sum() < 1100
    image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1)
    at = torch.tensor([1]), torch.tensor([2])  # row 1 - 1, column 2 - 1
    straight = view.random(image, batches.Draws(*at, torch.tensor([False])))[0, 0] * 255
    assert straight.round().tolist() == [[1, 2, 3], [5, 6, 7], [9, 10, 11]]
    mirrored = view.random(image, batches.Draws(*at, torch.tensor([True])))[0, 0] * 255
    assert mirrored.round().tolist() == [[3, 2, 1], [7, 6, 5], [11, 10, 9]]
    assert (view.plain(image)[0, 0] * 255).round().tolist() == [[0, 1, 2], [4, 5, 6], [8, 9, 10]]


@pytest.mark.parametrize("size", [16, 40, 97])
def test_resizing_is_that_of_pillow(size):
    """Bilinear; smoothed where it shrinks, as Pillow does (which rounds to whole grey levels)."""
    images = random_images(3, 32, 32, 3)
    found = View(32, 32, 3, (0.0,) * 3, (1 / 255,) * 3, size=size).plain(torch.from_numpy(images))
    for image, one in zip(images, found, strict=True):
        expected = np.asarray(
            Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
        )
        assert np.abs(one.permute(1, 2, 0).numpy() - expected).max() < 1.01
    assert View(32, 30, 3, (0.0,) * 3, (1.0,) * 3, crop=28, size=size).shape == (size, size, 3)


def test_grey_becomes_three_channels_where_three_means_are_given():
    images = torch.from_numpy(random_images(2, 5, 5, 1))
    found = View(5, 5, 1, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).plain(images)
    for channel, (mean, std) in enumerate([(0.1, 0.4), (0.2, 0.5), (0.3, 0.6)]):
        np.testing.assert_allclose(
            found[:, channel], (images[..., 0] / 255 - mean) / std, rtol=1e-5, atol=1e-6
        )


def test_streamed_batches_equal_resident_ones(tmp_path):
    """The same from an array, from a memory map that is read batch by batch,
    and from a part of a data set.
    """
    part = data.load("digits").train
    np.save(tmp_path / "images.npy", part.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    view = View(8, 8, 1, *batches.statistics(part.images), shift=1, flip=True)
    assert view.mean == batches.statistics(mapped)[0] == batches.statistics(part)[0]
    sources = [(part.images, 8192), (mapped, 0), (part, 0), (part, 8192)]
    found = [Batches(source, part.labels, CPU, view, limit) for source, limit in sources]
    assert found[2].images is part and isinstance(found[3].images, batches.Stored)
    first = list(found[0].epoch(100, generator()))
    for other in found[1:]:
        for a, b in zip(first, other.epoch(100, generator()), strict=True):
            assert all(map(torch.equal, a, b))
        assert torch.equal(torch.cat(list(found[0].stream(7))), torch.cat(list(other.stream(500))))


def test_features_are_taken_as_they_are():
    features = torch.randn(20, 4, generator=generator())
    found = Batches(features, np.arange(20), CPU, None)
    for x, y, _ in found.epoch(5, generator()):
        assert torch.equal(x, features[y])
    assert torch.equal(found.map(lambda x: 2 * x, "features"), 2 * features)


@pytest.mark.parametrize("size, per_class", [(12, 3), (12, 1), (12, 6), (20, 2)])
def test_balanced_batches(size, per_class):
    """The plain count per batch; more places than classes take a class twice;
    rare classes start anew.
    """
    labels = torch.tensor([0] * 50 + [1] * 4 + [5] * 30 + [7] * 1 + [9] * 15)
    order = batches.balanced(labels, size, per_class, 8, generator())
    assert order.shape == (8 * size,)
    for rows in order.split(size):
        counts = torch.bincount(labels[rows], minlength=10)
        assert sum(counts) == size and all(count % per_class == 0 for count in counts)
        if size // per_class <= 5:
            assert counts.max() == per_class
    of_zero = [int(row) for row in order if labels[row] == 0][:50]
    assert len(set(of_zero)) == len(of_zero)  # none comes again before all have come


def test_balanced_batches_that_cannot_be():
    with pytest.raises(
        InputError, match="batch_size must be a multiple of the 3 images per class, got 10"
    ):
        batches.check_balanced(torch.zeros(10), 10, 3)
    with pytest.raises(InputError, match=r"one class per image, got labels \(4, 3\)"):
        batches.check_balanced(torch.zeros(4, 3), 4, 2)


@pytest.mark.parametrize(
    "images, words",
    [
        (np.zeros((2, 4, 4)), r"uint8 \(N, H, W\) or \(N, H, W, 3\), got \(2, 4, 4\) float64"),
        (np.zeros((2, 16), np.uint8), r"got \(2, 16\) uint8"),
        ([[1]], "got list"),
        (np.zeros((0, 4, 4), np.uint8), "one image at least is expected, got none"),
    ],
)
def test_what_is_no_images(images, words):
    with pytest.raises(InputError, match=words):
        batches.stored(images)


def test_full_memory_is_said_with_what_to_lower():
    found = Batches(torch.zeros(3, 2), None, CPU, None)
    with pytest.raises(
        MemoryError,
        match=r"memory is full: encoding .* images at once on cpu; lower the setting size",
    ):
        found.map(lambda x: torch.empty(2**50), "encoding")
    with pytest.raises(RuntimeError, match="other"):  # not every error is one of memory
        found.map(lambda x: (_ for _ in ()).throw(RuntimeError("other")), "encoding")
