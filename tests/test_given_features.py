"""Every method on features that are given: floats (N, d) in place of images."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab import codes, data, experiments, methods, records
from hashlab.data import items
from hashlab.data.batches import Batches
from hashlab.data.parts import Dataset, Pool
from hashlab.data.sets import SetInfo
from hashlab.errors import InputError
from hashlab.methods import Shared, models
from hashlab.methods.deep import DeepMethod
from hashlab.networks import backbones, features
from hashlab.networks.features import FeatureNet
from hashlab.networks.given import LENGTH
from hashlab.training import numerics

CLASSES = np.arange(60) % 3
KINDS = {
    "same_class": CLASSES,
    "shares_label": np.eye(3, dtype=np.int64)[CLASSES] | np.eye(3, dtype=np.int64)[CLASSES // 2],
    "levels": np.stack([CLASSES, CLASSES // 2], axis=1),
}
SHORT = {
    "epochs": 2,
    "pretrain_epochs": 1,
    "batch_size": 20,
    "anchors": 20,
    "labeled": 60,
    "steps": 10,
}
CPU = {"device": "cpu"}
DEEP = [name for name in methods.names() if name not in methods.SHALLOW]


def separable(d=16, count=60, seed=0):
    """Features float32 (N, d) of three classes far apart, away from zero, on other scales."""
    rng = np.random.default_rng(seed)
    centres = 4 * rng.normal(size=(3, d))
    x = centres[np.arange(count) % 3] + rng.normal(size=(count, d))
    return (x * np.geomspace(0.01, 100, d) + 7).astype(np.float32)


def short(name, bits=8, **more):
    """A method whose training is short."""
    known = methods.create(name, bits).Config.__dataclass_fields__
    usual = {key: value for key, value in SHORT.items() if key in known}
    return methods.create(name, bits, **usual | more)


def part_of(x, labels=CLASSES, relevance="same_class"):
    """Features as a part of a data set."""
    levels = tuple(tuple("abc"[: column.max() + 1]) for column in labels.T)
    about = SetInfo(
        name="embeddings",
        title="Embeddings",
        shape=x.shape[1:],
        classes=("a", "b", "c"),
        counts={"all": len(x)},
        fingerprints={"all": "0" * 64},
        source="",
        licence="",
        relevance=relevance,
        levels=levels if relevance == "levels" else (),
    )
    order = np.arange(len(x))
    return Pool((x,), (order,), labels.astype(np.int64), about).part(order)


def dataset_of(x):
    part = part_of(x)
    rows = np.arange(len(x))
    parts = {
        "train": part.pool.part(rows[15:]),
        "validation": part.pool.part(rows[15:25]),
        "query": part.pool.part(rows[:15]),
        "database": part.pool.part(rows[15:]),
    }
    return Dataset(part.pool.about, "embeddings-15", checksum="0" * 64, **parts)


def plain(name):
    return {"levels": 1} if name == "shpdh" else {}


@pytest.mark.parametrize("name", methods.names())
def test_every_method_takes_features_and_is_the_same_when_loaded(name, tmp_path):
    x = separable()
    method = short(name, **plain(name)).fit(part_of(x), **CPU)
    packed = method.encode(x)
    assert packed.shape == (60, 8) and packed.dtype == np.uint8
    assert method.backbone == "features" and method.shape == (16,)
    assert method.input() == {"width": 16} and method.precision == "float32"
    distances = codes.hamming(packed, packed)
    same = CLASSES[:, None] == CLASSES
    if methods.about(name).kind != "control" and name != "pcah":  # whose last bits are noise
        assert distances[same].mean() < distances[~same].mean()

    card = (method.save(tmp_path / "model") / "README.md").read_text()
    assert "It turns features into codes" in card and "floats (N, 16)" in card
    loaded = methods.load(tmp_path / "model", device="cpu")
    assert np.array_equal(loaded.encode(x), packed) and loaded.shape == (16,)
    assert np.array_equal(loaded.encode(part_of(x)), packed) and loaded.input() == {"width": 16}
    if isinstance(method, DeepMethod):
        assert np.array_equal(loaded.outputs(x), method.outputs(x))


@pytest.mark.parametrize(
    "name, kind",
    [
        (name, kind)
        for name in methods.names()
        for kind in methods.about(name).labels
        if kind != "same_class"
    ],
)
def test_labels_of_every_kind_that_a_method_takes(name, kind):
    part = part_of(separable(), KINDS[kind], kind)
    method = short(name).fit(part, **CPU)
    assert method.encode(part).shape == (60, 8)


@pytest.mark.parametrize("name", DEEP)
def test_a_second_layer_is_trained_and_kept(name, tmp_path):
    x = separable()
    method = short(name, hidden=12, frozen=True, **plain(name)).fit(part_of(x), **CPU)
    body = method.network.backbone
    assert list(body.levels) == ["features", "hidden"] and body.features == 12
    weight = body.stages["hidden"][1].weight
    torch.manual_seed(0)
    untrained = short(name, hidden=12, **plain(name), epochs=0)
    if "pretrain_epochs" in type(untrained.config).__dataclass_fields__:
        untrained = short(name, hidden=12, **plain(name), epochs=0, pretrain_epochs=0)
    start = untrained.fit(part_of(x), **CPU).network.backbone.stages["hidden"][1].weight
    assert weight.shape == start.shape == (12, 16) and not torch.equal(weight, start)
    loaded = methods.load(method.save(tmp_path / "model"), device="cpu")
    assert np.array_equal(loaded.outputs(x), method.outputs(x))


# ---- the same, however features come


@st.composite
def forms(draw):
    """Features, and the same ones in another form."""
    d = draw(st.integers(1, 40))
    dtype = draw(st.sampled_from(["float16", "float32", "float64", ">f4", ">f8"]))
    x = separable(d, 30, draw(st.integers(0, 5))).astype("float16")  # what all of these hold
    other = x.astype(dtype, order=draw(st.sampled_from("CF")))
    if draw(st.booleans()):
        wide = np.zeros((60, 2 * d), dtype)
        wide[::2, 1::2] = other
        other = wide[::2, 1::2]  # neither rows nor columns stand side by side
    is_part = draw(st.booleans())
    train = part_of if is_part else lambda x, labels: SimpleNamespace(images=x, labels=labels)
    as_stored = other.astype(np.float32) if is_part else other
    return x.astype(np.float32), as_stored, train


@given(
    forms(),
    st.sampled_from(["csq", "dmsh", "mlsh", "lsh", "ksh"]),
    st.sampled_from([{}, {"hidden": 5}, {"frozen": True}]),
    st.booleans(),
)
def test_no_form_of_the_same_features_matters(pair, name, more, resident):
    x, other, train = pair
    settings = {} if name in methods.SHALLOW else {"batch_size": 10, "epochs": 1} | more
    elsewhere = settings if name in methods.SHALLOW or resident else settings | {"resident_mb": 0}
    labels = CLASSES[:30]
    first = short(name, **settings).fit(SimpleNamespace(images=x, labels=labels), **CPU)
    second = short(name, **elsewhere).fit(train(other, labels), **CPU)
    assert np.array_equal(first.encode(x), second.encode(train(other, labels).images))
    if isinstance(first, DeepMethod):
        assert np.array_equal(first.outputs(x), second.outputs(other))


def test_streamed_batches_equal_resident_ones(tmp_path):
    x = separable()
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    sources = [(x, 8192), (mapped, 0), (part_of(x), 0), (part_of(x), 8192), (x.astype(float), 0)]
    view = items.Vectors(16)
    several = [Batches(one, CLASSES, torch.device("cpu"), view, mb) for one, mb in sources]
    assert {one.images.nbytes for one in several} == {60 * 16 * 4}
    for one in several:
        seen = list(one.epoch(25, torch.Generator().manual_seed(0)))
        assert [batch.images.shape for batch in seen] == [(25, 16)] * 2
        for images, labels, rows in seen:
            assert torch.equal(images, torch.from_numpy(x[rows])) and torch.equal(labels, rows % 3)
        assert torch.equal(torch.cat(list(one.stream(7))), torch.from_numpy(x))


# ---- standardisation


@pytest.mark.parametrize("block", [1, 40, 2**22])
def test_moments_are_those_of_numpy(block, monkeypatch):
    monkeypatch.setattr(items, "BLOCK", block)  # 1 and 10 rows at a time, and all of them
    x = separable(4)
    x[:, 1] = 0.1  # constant
    x[:, 2] = 0
    mean, std = items.moments(part_of(x))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, x.mean(0, dtype=float), rtol=1e-6)
    expected = x.std(0, dtype=float, ddof=1)
    np.testing.assert_allclose(std[[0, 3]], expected[[0, 3]], rtol=1e-6)
    assert std[1] == std[2] == 1


@pytest.mark.parametrize("d", [3, 400])
def test_features_are_standardised_by_those_of_training(d):
    x = separable(d)
    method = short("csq").fit(part_of(x), **CPU)
    with torch.no_grad():
        standard = method.network.backbone(torch.from_numpy(x))
    scale = min(1, (LENGTH / d) ** 0.5)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(0), scale, rtol=1e-3)
    single = method.outputs(x[:1])  # whatever else is encoded with it
    np.testing.assert_allclose(single, method.outputs(x)[:1], rtol=1e-4, atol=1e-4)


def test_what_lies_far_outside_has_a_code():
    x = separable()
    method = short("dpsh").fit(part_of(x), **CPU)
    extreme = np.full((2, 16), np.finfo(np.float32).max, np.float32)
    extreme[1] *= -1
    assert np.isfinite(method.outputs(extreme)).all()
    tiny = np.full((4, 3), 1e-45, np.float32)
    tiny[0] = 0
    huge = extreme[:, :3]
    for train in (tiny, huge):
        part = SimpleNamespace(images=train, labels=np.arange(len(train)) % 2)
        method = short("dpsh", batch_size=2).fit(part, **CPU)
        assert np.isfinite(method.outputs(train)).all()


def test_half_precision_begins_after_standardisation():
    """A mean that is large against the deviation would leave nothing of it in bfloat16."""
    x = separable() / np.geomspace(0.01, 100, 16).astype(np.float32) + 1000
    full = short("csq").fit(part_of(x), **CPU)
    half = short("csq", precision="bfloat16").fit(part_of(x), **CPU)
    assert (full.precision, half.precision) == ("float32", "bfloat16")
    np.testing.assert_allclose(half.outputs(x), full.outputs(x), atol=0.05)


def test_the_usual_precision_of_features_is_full(monkeypatch):
    monkeypatch.setattr(numerics, "auto_precision", lambda device: "bfloat16")
    assert short("csq").fit(part_of(separable()), **CPU).precision == "float32"
    digits = data.load("digits")
    assert short("csq", epochs=0).fit(digits.train, **CPU).precision == "bfloat16"


# ---- runs


@pytest.mark.parametrize("name", ["csq", "mlsh", "itq"])
def test_a_run_on_features_has_a_record_and_a_model(name, tmp_path):
    dataset = dataset_of(separable())
    settings = {} if name == "itq" else {"batch_size": 15, "epochs": 4}
    how = {"device": "cpu", "root": tmp_path, "save": True, "save_model": tmp_path / "model"}
    run = experiments.prepare(name, dataset, 8, 0, settings, **how)
    run.check()
    record = run.do()
    assert record["backbone"] == "features" and record["input"] == {"width": 16}
    assert records.verify(record) == [] and record.map > 0.5
    loaded = methods.load(tmp_path / "model", device="cpu")
    assert np.array_equal(loaded.encode(dataset.query), record.codes()["query_codes"])


@pytest.mark.parametrize("more", [{}, {"frozen": True}, {"hidden": 6}])
def test_runs_share_nothing_of_features_and_are_the_same(more):
    part = part_of(separable())
    shared = Shared()
    for name in ("mu_liu", "mlsh", "dpsh"):
        together = short(name, **more).fit(part, shared=shared, **CPU)
        alone = short(name, **more).fit(part, **CPU)
        assert np.array_equal(together.encode(part, shared), alone.encode(part))
    assert shared._features == {}  # they are there already


def test_nothing_is_pre_trained_that_nobody_keeps():
    part = part_of(separable())
    phases = [[line["phase"] for line in fitted.history] for fitted in pre_trained(part)]
    assert phases == [["hashing"] * 2, ["pre-training", "hashing", "hashing"], [], ["classification"] * 2]  # fmt: skip


def pre_trained(part):
    for name in ("mu_liu", "mlsh"):
        for hidden in (0, 6):
            yield short(name, hidden=hidden).fit(part, **CPU)


def test_a_training_that_was_ended_goes_on(tmp_path):
    x = separable()
    whole = short("csq", hidden=4).fit(part_of(x), **CPU)

    def end(phase, epoch):
        raise KeyboardInterrupt

    how = CPU | {"checkpoints": tmp_path, "every": 0}
    with pytest.raises(KeyboardInterrupt):
        short("csq", hidden=4).fit(part_of(x), each_epoch=end, **how)
    resumed = short("csq", hidden=4).fit(part_of(x), **how)
    assert np.array_equal(resumed.outputs(x), whole.outputs(x))


def test_levels_of_features():
    """Methods that tap several levels take the one there is."""
    x = separable()
    assert short("dmsh").fit(part_of(x), **CPU).taps == ("features",)
    mlsh = short("mlsh").fit(part_of(x), **CPU)
    assert mlsh.taps == ("features",) and mlsh.tables is None
    both = short("mlsh", hidden=6, scales="features+hidden").fit(part_of(x), **CPU)
    assert both.taps == ("features", "hidden") and both.tables == (4, 4)
    assert list(backbones.levels("features", (16,), 6)) == ["features", "hidden"]


# ---- what is refused

X = separable()
IMAGES = np.zeros((60, 8, 8), np.uint8)


def spoilt(value, dtype=np.float32):
    x = X.astype(dtype)
    x[31, 2] = value
    return x


WRONG = {
    "nan": (spoilt(np.nan), "features must be finite numbers that float32 holds, got nan"),
    "inf": (spoilt(-np.inf, np.float16), "finite numbers that float32 holds, got -inf"),
    "beyond float32": (spoilt(1e300, np.float64), "that float32 holds, got 1e.300"),
    "whole numbers": (
        X.astype(np.int64),
        r"got \(60, 16\) int64; features must be floats \(N, d\)",
    ),
    "bytes": (X.astype(np.uint8), r"got \(60, 16\) uint8"),
    "complex": (X.astype(complex), r"got \(60, 16\) complex128"),
    "long": (
        X.astype(np.longdouble),
        r"features must be float16, float32, float64, got \(60, 16\) (longdouble|float128)",
    ),
    "one row": (X[0], r"got \(16,\) float32"),
    "float images": (np.zeros((60, 8, 8)), r"got \(60, 8, 8\) float64"),
    "no features": (X[:, :0], r"width of features must lie in 1..1048576, got 0"),
    "too wide": (
        np.lib.stride_tricks.as_strided(X, (60, 2**20 + 1), (0, 0)),
        "in 1..1048576, got 1048577",
    ),
    "list": (X.tolist(), "got list"),
}


@pytest.mark.parametrize("name", ["csq", "mlsh", "itq"])
@pytest.mark.parametrize("case", WRONG)
def test_what_are_no_features(name, case):
    x, words = WRONG[case]
    method = short(name)
    with pytest.raises(InputError, match=words):
        method.fit(SimpleNamespace(images=x, labels=CLASSES), **CPU)
    assert getattr(method, "_net", None) is getattr(method, "hasher", None) is None
    fitted = short(name).fit(part_of(X), **CPU)
    with pytest.raises(InputError, match=words):
        fitted.encode(x)


@pytest.mark.parametrize("name", ["csq", "mlsh", "itq"])
def test_a_model_takes_what_it_was_trained_on(name):
    digits = data.load("digits")
    of_features = short(name).fit(part_of(X), **CPU)
    of_images = short(name, **{"integration": "concatenate"} if name == "mlsh" else {}).fit(
        digits.train, **CPU
    )
    for model, wrong, words in (
        (of_features, X[:3, :5], r"features of width 16 expected, got \(3, 5\)"),
        (of_features, part_of(X[:, :5]), r"features of width 16 expected, got \(60, 5\)"),
        (of_features, IMAGES, r"features of width 16 expected, .*, got images of \(8, 8\)"),
        (of_features, digits.query, r"features of width 16 expected, .* images of \(8, 8\)"),
        (of_features, X[:0], "features of one item at least are expected, got none"),
        (of_images, X, r"images of \(8, 8\) expected, .*, got features of width 16"),
        (of_images, part_of(X), r"images of \(8, 8\) expected, .*, got features of width 16"),
    ):
        with pytest.raises(InputError, match=words):
            model.encode(wrong)


@pytest.mark.parametrize(
    "name, settings, words",
    [
        *[
            (
                name,
                {key: value},
                f"{key} is for images, not for features: leave it out, got {value}",
            )
            for name, choices in (
                ("csq", {"shift": 2, "crop": 4, "flip": "yes", "size": 8}),
                ("itq", {"crop": 4, "size": 8}),
            )
            for key, value in choices.items()
        ],
        ("csq", {"weights": "efficientnet-lite0"}, "given features have no weights"),
        ("itq", {"weights": "efficientnet-lite0"}, "given features have no weights"),
        ("csq", {"backbone": "tiny"}, "backbone tiny takes images, got features of width 16"),
        ("itq", {"backbone": "resnet18"}, "backbone resnet18 takes images, got features of"),
        ("csq", {"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ("csq", {"frozen": "features"}, "frozen must be true or false for features"),
        ("dmsh", {"fusion": "pyramid"}, "fusion=pyramid needs maps, but level features of"),
        ("dmsh", {"scales": "conv4"}, "has no level 'conv4'; it has features"),
        ("mlsh", {"scales": "features+hidden"}, "has no level 'hidden'; it has features"),
        ("mlsh", {"hidden": 4, "scales": "features+hidden", "bits": 9}, "multiple of 2"),
    ],
)
def test_settings_that_do_not_suit_features(name, settings, words):
    method = short(name, **settings)
    with pytest.raises(InputError, match=words):
        method.fit(part_of(X), **CPU)


@pytest.mark.parametrize("name", ["csq", "itq"])
def test_settings_that_say_nothing_else_are_taken(name):
    said = {"backbone": "features", "weights": "scratch", "crop": 0, "size": 0}
    deep = {"shift": 0, "flip": "no", "frozen": False} if name == "csq" else {}
    plainly = short(name).fit(part_of(X), **CPU)
    with_words = short(name, **said, **deep).fit(part_of(X), **CPU)
    assert np.array_equal(with_words.encode(X), plainly.encode(X))


def test_settings_of_features_that_do_not_suit_images():
    digits = data.load("digits")
    for name, settings, words in (
        ("csq", {"hidden": 8}, "hidden is for given features, not for images, got 8"),
        ("csq", {"backbone": "features"}, r"takes given features, got images of \(8, 8\)"),
        ("itq", {"backbone": "features"}, r"takes given features, got images of \(8, 8\)"),
    ):
        with pytest.raises(InputError, match=words):
            short(name, **settings).fit(digits.train, **CPU)


def test_a_folder_of_images_is_not_for_a_model_of_features(tmp_path):
    fitted = short("itq").fit(part_of(X), **CPU)
    with pytest.raises(InputError, match="a model of images is expected, got one of features of"):
        models.encode_folder(fitted, tmp_path, tmp_path / "codes.npz")


VIEW = dataclasses.asdict(items.Vectors(16))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"shape": [15]}, r"shape must be that of its view, \(16,\), got \(15,\)"),
        ({"view": {"width": 0}, "shape": [0]}, "must lie in 1..1048576, got 0"),
        ({"view": {"width": "16"}}, "must lie in 1..1048576, got '16'"),
        ({"view": {"width": True}, "shape": [True]}, "must lie in 1..1048576, got True"),
        ({"view": {}}, "view must have a width"),
        ({"view": VIEW | {"mean": 1}}, "view must have a width"),
        ({"backbone": "tiny"}, "the model's view must have the fields of a View"),
    ],
)
def test_a_saved_model_that_is_damaged(change, words):
    facts = {"backbone": "features", "shape": [16], "view": VIEW} | change
    with pytest.raises(InputError, match=words):
        features.from_facts(json.loads(json.dumps(facts)))
    if "shape" in change and change["shape"][0] not in (15, 16):
        fitted = short("itq").fit(part_of(X), **CPU)
        tensors, own = fitted.state()
        with pytest.raises(InputError, match=words):
            short("itq").set_state(tensors, own | {"shape": change["shape"]})


def test_a_network_for_features_is_named():
    assert backbones.default((16,)) == "features"
    network = features.Network(backbones.create("features", (16,)), torch.nn.Identity())
    net = FeatureNet(network, "features", (16,), items.Vectors(16), torch.device("cpu"))
    assert net.state()[1] == {"backbone": "features", "shape": [16], "view": VIEW}
