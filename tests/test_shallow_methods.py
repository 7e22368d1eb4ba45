"""Array estimators as methods: features of images in, packed codes out."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import hashlab.shallow
from hashlab import codes, data, experiments, methods, metrics, records
from hashlab.errors import InputError
from hashlab.methods import shallow
from hashlab.networks import backbones

QUICK = {"ksh": {"anchors": 50, "steps": 20}, "sdh": {"anchors": 50, "rounds": 1}}
BITS = 12


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(backbones.create("tiny", (8, 8)).state_dict(), file)
    return str(file)


def make(name, **more):
    return methods.create(name, BITS, **QUICK.get(name, {}), **more)


def test_every_estimator_is_a_method():
    classes = [getattr(shallow, name) for name in methods.SHALLOW.values()]
    assert sorted(kind.estimator for kind in classes) == sorted(hashlab.shallow.CLASSES)


@pytest.mark.parametrize("name", methods.SHALLOW)
def test_codes_are_those_of_the_estimator_on_pixels(name, digits):
    method = make(name).fit(digits.train, seed=3)
    settings = QUICK.get(name, {})
    alone = getattr(hashlab.shallow, method.estimator)(bits=BITS, random_state=3, **settings)
    pixels = [
        np.reshape(part.images, (len(part.images), -1)) / 255
        for part in (digits.train, digits.query)
    ]
    alone.fit(pixels[0], digits.train.labels)
    assert np.array_equal(
        codes.unpack(method.encode(digits.query), bits=BITS), alone.transform(pixels[1])
    )


@pytest.mark.parametrize("name", methods.SHALLOW)
@pytest.mark.parametrize("backbone", ["pixels", "tiny"])
def test_a_saved_model_gives_the_same_codes(name, backbone, digits, weights, tmp_path):
    where = {} if backbone == "pixels" else {"backbone": backbone, "weights": weights}
    method = make(name, **where).fit(digits.train, seed=1)
    again = methods.load(method.save(tmp_path / "model"))
    assert again.encode(digits.query.images).tobytes() == method.encode(digits.query).tobytes()


def test_features_are_those_of_the_backbone(digits, weights):
    method = make("lsh", backbone="tiny", weights=weights).fit(digits.train)
    x = method.net.view.plain(torch.from_numpy(digits.query.images[..., None]))
    with torch.no_grad():
        expected = method.net.network.backbone(x).numpy()
    np.testing.assert_allclose(method._features(digits.query, None), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", methods.SHALLOW)
def test_several_labels(name):
    scenes = data.load("digit_scenes")
    method = make(name).fit(scenes.train)
    report = metrics.evaluate(
        method.encode(scenes.query), method.encode(scenes.database), scenes.query.labels, scenes.database.labels,
        bits=BITS, relevance="shares_label",
    )  # fmt: skip
    assert 0 < report.map < 1


def test_records(digits, weights, tmp_path):
    record = experiments.run(
        "itq", "digits", BITS, backbone="tiny", weights=weights, root=tmp_path, save=True
    )
    assert record.backbone == "tiny" and record.weights.startswith("tiny.safetensors sha256:")
    assert record.input["height"] == 8 and record.hardware["precision"] == "float32"
    plain = experiments.run("itq", "digits", BITS)
    assert plain.backbone == "pixels" and plain.weights == "scratch" and plain.map != record.map


@pytest.mark.parametrize(
    ("name", "bits", "settings", "words"),
    [
        ("itq", 65, {}, "ITQ"),
        ("pcah", 65, {}, "PCAH"),
        ("ksh", 8, {"anchors": 5000}, "5000 anchors"),
        ("sdh", 8, {"anchors": 0}, "anchors must be"),
        ("lsh", 8, {"backbone": "resnet1"}, "unknown backbone 'resnet1'"),
        ("lsh", 8, {"backbone": "resnet18"}, "takes images of at least 32 px"),
        ("cosdish", 8, {"dissimilar": "r"}, "dissimilar must be one of -r, \\+r"),
    ],
)
def test_bad_input(name, bits, settings, words, digits):
    with pytest.raises(InputError, match=words):
        methods.create(name, bits, **settings).fit(digits.train)


def test_other_images_and_no_fit(digits):
    with pytest.raises(InputError, match="not fitted"):
        make("lsh").encode(digits.query)
    with pytest.raises(InputError, match=r"images of \(8, 8\) expected"):
        make("lsh").fit(digits.train).encode(data.load("digit_scenes").query)
    with pytest.raises(InputError, match="device 'warp' cannot be used"):
        make("lsh").fit(digits.train, device="warp")


# ---- what the setting of the backbone was called before


def test_features_is_the_old_name_of_backbone(digits, tmp_path):
    with pytest.warns(FutureWarning, match="the setting features is called backbone now") as noted:
        old = make("itq", features="tiny")
    assert noted[0].filename == __file__  # it points at who said so
    new = make("itq", backbone="tiny", frozen=True)
    assert old.config == new.config and old.overrides == {"backbone": "tiny"}
    codes_of_both = [
        method.fit(digits.train).encode(digits.query).tobytes() for method in (old, new)
    ]
    assert codes_of_both[0] == codes_of_both[1]
    with pytest.warns(FutureWarning):
        record = experiments.run("itq", digits, BITS, features="tiny", root=tmp_path, save=True)
    again = experiments.run("itq", digits, BITS, backbone="tiny", root=tmp_path, save=True)
    assert again.path == record.path and again == record and len(records.load(tmp_path)) == 1
    with pytest.raises(
        InputError, match="features is the old name of backbone: give backbone only"
    ):
        make("itq", features="tiny", backbone="tiny")


def test_an_estimator_that_writes_into_its_features_does_not_spoil_those_of_other_runs(
    digits, monkeypatch
):
    shared, fit = methods.Shared(), hashlab.shallow.ITQ.fit
    untouched = (
        make("itq", backbone="tiny").fit(digits.train, shared=shared).encode(digits.train, shared)
    )
    with monkeypatch.context() as patch:
        patch.setattr(
            hashlab.shallow.ITQ, "fit", lambda self, X, y: [fit(self, X, y), X.fill(0)][0]
        )
        make("itq", backbone="tiny").fit(digits.train, shared=shared)
    again = (
        make("itq", backbone="tiny").fit(digits.train, shared=shared).encode(digits.train, shared)
    )
    assert again.tobytes() == untouched.tobytes()


@pytest.mark.parametrize("name", methods.SHALLOW)
def test_a_shallow_method_trains_no_backbone(name):
    with pytest.raises(InputError, match="frozen must be true"):
        make(name, frozen=False)


def test_models_say_features_as_they_always_have(digits, tmp_path):
    """So that one saved before is loaded, without a warning,
    and is the same model as one saved now.
    """
    make("itq", backbone="tiny", iterations=3, frozen=True).fit(digits.train).save(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["settings"] == {
        "features": "tiny",
        "iterations": 3,
    }
    assert methods.load(tmp_path).save(tmp_path) == tmp_path
    assert "'backbone': 'tiny'" in (tmp_path / "README.md").read_text()


def test_runs_have_the_names_of_the_records_that_were_made_before(monkeypatch):
    """All that are kept, by the settings they hold;
    a file of weights stands in them by its name and SHA-256.
    """
    kept = [
        r
        for name in methods.SHALLOW
        for r in records.load(method=name)
        if r["config"]["features"] != "pixels"
    ]
    assert len(kept) > 60 and len({r.method for r in kept}) == len(methods.SHALLOW)
    monkeypatch.setattr(experiments.weights, "describe", lambda start, _: start)
    for record in kept:
        config = record.config | {"backbone": record.config["features"]}
        settings = {key: value for key, value in config.items() if key != "features"}
        learner = methods.create(record.method, record.bits, **settings)
        data_of = SimpleNamespace(
            name=record.dataset, protocol=record.protocol, relevance=record.relevance,
            fingerprint=record["data"]["fingerprint"], checksum=record["data"]["split"],
            train=range(record.sizes["train"]),
        )  # fmt: skip
        again = experiments._settings(learner, record.method, data_of, record.seed)
        assert again["variant"] == record.variant and again["config"] == record.config
        assert records.root() / f"{records.name(again)}.json" == record.path
