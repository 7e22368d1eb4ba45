"""Features of a frozen backbone, kept on disk beside their data set."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hashlab import data
from hashlab.data import cache, opening, parts, sets
from hashlab.methods.mu_liu import MuLiu
from hashlab.networks import backbones, features

COUNT = 60


class Pooled(MuLiu):
    """A method whose head takes two levels, averaged over all places."""

    levels, pooled = ("conv1", "conv2"), True

    def head(self, backbone):
        return torch.nn.Linear(sum(backbone.levels[name].channels for name in self.levels), self.bits)


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Images of a made set that lies in a cache folder, in blocks of 16."""
    monkeypatch.setattr(features, "BLOCK", 16)
    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (COUNT, 8, 8), dtype=np.uint8), np.arange(COUNT) % 2
    about = sets.SetInfo(
        name="made", title="", shape=(8, 8), classes=("0", "1"), counts={"all": COUNT}, source="", licence="",
        fingerprints={"all": parts.canonical(images, labels.astype(np.uint8))[1]},
    )  # fmt: skip
    cache.write(about, {"all": (images, labels.astype(np.uint8))}, tmp_path)
    return opening.open_pool(about, tmp_path).part(np.random.default_rng(1).permutation(COUNT)[:40])


@pytest.fixture
def weights(tmp_path):
    net = backbones.create("tiny", (8, 8))
    save_file(net.state_dict(), tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.mark.parametrize("kind", [MuLiu, Pooled])
def test_kept_features_are_those_of_the_network(kind, part, weights):
    method = kind(8, frozen=True, weights=weights, epochs=1, batch_size=8).fit(part)
    x = method.view.plain(torch.from_numpy(part.images[..., None]))
    with torch.no_grad():
        expected = method.network.head(method.network.body(x)).numpy()
    np.testing.assert_allclose(method.outputs(part), expected, rtol=1e-4, atol=1e-5)


def test_they_are_computed_once_and_found_again(part, weights, monkeypatch, tmp_path):
    settings = {"frozen": True, "weights": weights, "epochs": 1, "batch_size": 8}
    first = MuLiu(8, **settings).fit(part)
    kept = {f"{block}-{level}.npy" for block in range(4) for level in ("conv1", "conv2", "fc")}
    assert {file.name for file in (tmp_path / "features").rglob("*.npy")} == kept
    monkeypatch.setattr(features, "_keep", lambda *a: pytest.fail("computed again"))
    again = MuLiu(8, **settings).fit(part)
    assert again.outputs(part).tobytes() == first.outputs(part).tobytes()
    Pooled(8, **settings).fit(part)  # other levels, which the same pass has given
    with pytest.raises(pytest.fail.Exception, match="computed again"):
        MuLiu(8, **settings, size=8).fit(part)


def test_an_interrupted_computation_goes_on_where_it_was(part, weights, monkeypatch, tmp_path):
    keep, done = features._keep, []

    def stops(folder, block, *rest):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(block)
        keep(folder, block, *rest)

    method = MuLiu(8, frozen=True, weights=weights, epochs=1, batch_size=8)
    monkeypatch.setattr(features, "_keep", stops)
    with pytest.raises(KeyboardInterrupt):
        method.fit(part)
    done.clear()
    method.fit(part)
    assert done == [2, 3]


def test_features_of_random_weights_and_of_arrays_are_not_kept(part, tmp_path):
    MuLiu(8, frozen=True, epochs=1, batch_size=8).fit(part)
    MuLiu(8, frozen=True, epochs=1).fit(data.load("digits").train)
    assert not (tmp_path / "features").exists()
