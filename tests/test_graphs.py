"""A trained method as an ONNX graph gives the codes that the method gives."""

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from hashlab import codes, methods
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.methods import graphs, models

pytestmark = pytest.mark.extra

PAGE = Path(__file__).resolve().parents[1] / "book" / "elsewhere.md"
RNG = np.random.default_rng(3)


def images(count, *shape):
    return RNG.integers(0, 256, (count, *shape), dtype=np.uint8)


def fit(name, bits, shape, **settings):
    """A method fitted on noise: deep ones for one epoch, so that batch statistics are some."""
    labels = np.arange(24) % 3
    train = SimpleNamespace(images=images(24, *shape), labels=labels)
    usual = {} if name in methods.SHALLOW else {"epochs": 1, "batch_size": 8}
    return methods.create(name, bits, **usual | settings).fit(train, device="cpu")


MODELS = {
    "deep": lambda: fit("csq", 72, (23, 20, 3), backbone="quick", crop=19, size=12, flip="no"),
    "tables": lambda: fit("mlsh", 12, (8, 8), scales="conv1+fc", inner=1, outer=1),
    "pixels": lambda: fit("itq", 7, (8, 8)),
    "a body's features": lambda: fit("lsh", 5, (8, 8, 3), backbone="tiny"),
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """name -> model, file, what was said of it."""
    folder = tmp_path_factory.mktemp("graphs")
    found = {}
    for number, (name, make) in enumerate(MODELS.items()):
        model, file = make(), folder / f"{number}.onnx"
        found[name] = model, file, graphs.export(model, file)
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 9])
def test_codes_and_outputs_are_those_of_the_model(name, count, exported):
    model, file, _ = exported[name]
    session = onnxruntime.InferenceSession(file.read_bytes())
    asked = images(count, *model.shape)
    packed, z = session.run(["codes", "outputs"], {"images": asked})
    assert packed.dtype == np.uint8 and np.array_equal(packed, model.encode(asked))
    if hasattr(model, "outputs"):
        assert np.allclose(z, model.outputs(asked), atol=1e-4)
    else:
        wanted = model.hasher.decision_function(model._features(asked, None))
        assert np.allclose(z, wanted, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_graph_says_what_it_takes(name, exported):
    model, file, done = exported[name]
    graph = onnx.load(file)
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert facts["opset"] == str(done.opset) == str(graph.opset_import[0].version) == "18"
    assert facts["bits"] == str(model.bits) and facts["method"] == model.about.name
    assert facts["input"] == done.inputs and str(model.shape[0]) in done.inputs
    assert ("RGB" in done.inputs) == (len(model.shape) == 3)
    assert f"(N, {models.row_bytes(model)}), outputs (N, {model.bits})" in facts["output"]
    assert done.images == 34 and done.bits == 34 * model.bits and done.differ == 0
    content = file.read_bytes()
    assert b"site-packages" not in content and str(PAGE.parents[1]).encode() not in content


@pytest.mark.parametrize("backbone, shape, settings", [
    ("tiny", (9, 8), {"crop": 7}),
    ("lenet", (20, 17), {"size": 28}),
    ("lenet", (40, 44), {"size": 28, "crop": 39}),
    ("resnet9", (8, 8, 3), {}),
    ("resnet18", (33, 40), {"size": 32}),
    ("mobilenet_v2", (20, 20, 3), {"size": 32}),
    ("efficientnet_lite0", (32, 32), {}),
])  # fmt: skip
def test_every_body_sees_what_the_model_sees(backbone, shape, settings):
    """Cropped, resized, normalised, three channels of one: the module that becomes the graph."""
    model = fit("csq", 12, shape, backbone=backbone, epochs=0, **settings)
    asked = np.concatenate([graphs.trials(shape)[-6:], images(3, *shape)])
    with torch.inference_mode():
        packed, z = graphs.of_method(model)(torch.from_numpy(asked))
    wanted = model.outputs(asked)
    assert np.allclose(z.numpy(), wanted, atol=2e-5 * np.abs(wanted).max())
    assert np.array_equal(packed.numpy(), codes.pack(z.numpy() >= 0))


def test_images_to_compare_on():
    for shape in ((5, 4), (5, 4, 3), (1, 1)):
        drawn = graphs.trials(shape)
        assert drawn.shape == (34, *shape) and drawn.dtype == np.uint8
    grey, colour = graphs.trials((5, 4)), graphs.trials((5, 4, 3))
    assert np.array_equal(colour[24:], np.repeat(grey[24:, ..., None], 3, axis=3))
    assert {0, 255} <= set(grey[30].ravel().tolist()) and len(np.unique(grey[24:], axis=0)) == 10


@pytest.mark.parametrize("name, settings", [
    ("ksh", {"anchors": 5}), ("sdh", {"anchors": 5}), ("sh", {}), ("sklsh", {}), ("random", {}),
])  # fmt: skip
def test_what_is_no_network_and_not_linear_is_refused(name, settings, tmp_path):
    model = fit(name, 4, (8, 8), **settings)
    with pytest.raises(
        InputError, match=f"linear functions of features, are expected .* got {name}"
    ):
        graphs.export(model, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["csq", "itq"])
def test_before_fit(name, tmp_path):
    with pytest.raises(InputError, match="not fitted yet"):
        graphs.export(methods.create(name, 4), tmp_path / "x.onnx")


def test_a_model_of_features(tmp_path):
    model = fit("itq", 4, (8, 8))
    model.shape = (64,)
    with pytest.raises(InputError, match=r"a model of images is expected .* one of 64 features"):
        graphs.export(model, tmp_path / "x.onnx")


class Session:
    """A runtime that turns outputs over where they are `least` or more from zero."""

    def __init__(self, encoder, least):
        self.encoder, self.least = encoder, least

    def run(self, _, given):
        z = self.encoder.outputs(torch.from_numpy(given["images"]))
        z = torch.where(z.abs() >= self.least, z, -z - 1e-30)
        packed = (z >= 0).float() @ self.encoder.places
        return packed.to(torch.uint8).numpy(), z.numpy()


def test_a_graph_with_other_codes_is_refused(exported, monkeypatch, tmp_path):
    """Except for bits of outputs that are near zero, which are counted."""
    model, file, _ = exported["pixels"]
    monkeypatch.setattr(graphs, "_graph", lambda *_: onnx.load(file))
    encoder = graphs.of_method(model)
    z = encoder.outputs(torch.from_numpy(graphs.trials(model.shape))).abs()
    monkeypatch.setattr(graphs, "_session", lambda content: session)
    output = tmp_path / "x.onnx"
    output.write_bytes(b"what was there")
    session = Session(encoder, 1.1 * z.min().item())
    with pytest.raises(InputError, match=r"differ from the model's in [1-9]\d* of 238 bits"):
        graphs.export(model, output)
    assert output.read_bytes() == b"what was there"
    monkeypatch.setattr(graphs, "NEAR", 2 * (z.min() / z.mean()).item())
    assert graphs.export(model, output).differ >= 1


def test_an_operator_that_is_not_known(exported, monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise RuntimeError("no\nsuch operator")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(InputError, match="cannot be an ONNX graph: no such operator"):
        graphs.export(exported["pixels"][0], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


# the command


def test_the_command(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, file, _ = exported["pixels"]
    model.save("model")
    assert main(["export", "model", "encoder.onnx"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(
        "encoder.onnx: opset 18; in: images uint8 (N, 8, 8), grey; "
        "out: codes uint8 (N, 8), outputs (N, 7)\n"
        "compared with the model on 34 images: 0 of 238 bits differ, outputs by "
    )
    assert Path("encoder.onnx").read_bytes() == file.read_bytes()  # one model is one file


@pytest.mark.parametrize("words, reason", [
    (["nowhere", "x.onnx"], "nowhere is not a model"),
    (["model", "x.txt"], r"a file name that ends in \.onnx is expected, got x\.txt"),
    (["model", "nowhere/x.onnx"], "nowhere is not a folder"),
    (["model"], "the following arguments are required: output"),
])  # fmt: skip
def test_bad_words(words, reason, exported, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exported["pixels"][0].save("model")
    assert main(["export", *words]) == 2
    said = capsys.readouterr().err
    assert re.search(reason, said) and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("package", graphs.NEEDED)
def test_a_package_is_missing(package, exported, tmp_path, capsys, monkeypatch):
    exported["pixels"][0].save(tmp_path / "model")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else object()
    )
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "x.onnx")]) == 2
    said = capsys.readouterr().err
    assert f"needs the package {package}: pip install 'hashlab[onnx]'" in said


# the page


def test_the_page_runs(exported, tmp_path, monkeypatch):
    """`book/elsewhere.md` from top to bottom; all its ways find the same neighbours."""
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("faiss")
    model, file, _ = exported["deep"]
    (tmp_path / "photos").mkdir()
    for number in range(40):
        Image.fromarray(images(1, 30, 30, 3)[0]).save(f"photos/{number:02d}.jpg", quality=95)
    Image.open("photos/00.jpg").save("photo.jpg", quality="keep")
    models.encode_folder(model, "photos", "codes.npz")
    (tmp_path / "encoder.onnx").write_bytes(file.read_bytes())
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    names["database"].close()
    every = model.encode(sorted((tmp_path / "photos").iterdir()))
    distances = codes.hamming(every[:1], every)[0]
    order = sorted(range(40), key=lambda row: (distances[row], row))[:5]
    assert names["nearest"].tolist() == order
    assert np.array_equal(names["distances"], distances)
    assert np.array_equal(names["words"], every)
    assert (
        np.array_equal(names["code"], model.encode("photo.jpg")) and names["about"]["bits"] == "72"
    )
    assert sorted(names["found"][0].tolist()) == distances[order].tolist()
    assert names["nearest_names"] == [(f"{row:02d}.jpg",) for row in order]
    assert names["as_text"][3] == "".join(str(int(b)) for b in codes.unpack(every, bits=72)[3])
    assert len(re.search(r"B'([01]+)'", PAGE.read_text().split("```sql")[1])[1]) == 48
