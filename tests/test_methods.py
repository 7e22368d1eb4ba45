"""What holds for every method: settings, seeds, shapes, errors, saving."""

import re
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Literal, get_args, get_type_hints

import numpy as np
import pytest
import torch

from hashlab import codes, data, experiments, methods, records
from hashlab.cli import main
from hashlab.errors import InputError
from hashlab.methods import About
from hashlab.methods.base import TYPES, setting
from hashlab.methods.deep import DeepConfig, DeepMethod
from hashlab.methods.shallow import ShallowMethod
from hashlab.shallow.base import LinearHasher
from hashlab.training import loop

QUICK = {"epochs": 1, "pretrain_epochs": 1}


PLAIN = {
    "shpdh": {"levels": 1},
    "mlsh": {"integration": "concatenate"},
}  # one level of labels, one table


def quick(name):
    """The settings of a short run of any method:
    those of `QUICK` that it has, on plain labels, to one table.
    """
    kind = methods.create(name, 12).Config
    return PLAIN.get(name, {}) | {
        key: value for key, value in QUICK.items() if key in kind.__dataclass_fields__
    }


DEEP = [name for name in methods.names() if name not in methods.SHALLOW]


@pytest.fixture(scope="module")
def few(digits):
    """400 of the digits that one trains on: some batches of each method."""
    return SimpleNamespace(images=digits.train.images[::3], labels=digits.train.labels[::3])


@pytest.mark.parametrize("name", DEEP)
def test_codes_have_the_promised_form(name, digits, few):
    method = methods.create(name, 70, **quick(name)).fit(few)
    packed = method.encode(digits.query.images[:7])
    assert (
        packed.dtype == np.uint8
        and packed.shape == (7, 16)
        and codes.unpack(packed, bits=70).shape == (7, 70)
    )
    assert method.bits == 70 and method.tables is None and methods.about(name).paper
    assert np.array_equal(
        codes.unpack(packed, bits=70), method.outputs(digits.query.images[:7]) >= 0
    )


@pytest.mark.parametrize("name", DEEP)
def test_same_seed_same_codes(name, digits, few):
    state = torch.random.get_rng_state()
    fitted = [methods.create(name, 12, **quick(name)).fit(few, seed=s) for s in (1, 1, 2)]
    runs = [method.outputs(digits.query.images) for method in fitted]
    assert np.array_equal(runs[0], runs[1]) and not np.array_equal(runs[0], runs[2])
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's generator is left alone


def test_each_epoch_may_look_but_changes_nothing(digits):
    seen = []

    def look(phase, epoch):
        seen.append((phase, epoch, method.encode(digits.query.images).tobytes()))

    method = methods.create("mu_liu", 12, epochs=2, pretrain_epochs=1)
    method.fit(digits.train, each_epoch=look)
    assert [s[:2] for s in seen] == [("pre-training", 1), ("hashing", 1), ("hashing", 2)] and seen[
        0
    ][2] != seen[2][2]
    blind = methods.create("mu_liu", 12, epochs=2, pretrain_epochs=1).fit(digits.train)
    assert blind.encode(digits.query.images).tobytes() == seen[-1][2]


def test_an_image_has_one_code_whatever_its_company(digits):
    method = methods.create("mu_liu", 12, **QUICK).fit(digits.train)
    together = method.outputs(digits.query.images)
    alone = np.concatenate([method.outputs(digits.query.images[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, together[:5], rtol=1e-4, atol=1e-5)


@dataclass(frozen=True, kw_only=True)
class OwnConfig(DeepConfig):
    pull: float = setting(1, "written as a whole number")


class Own(DeepMethod):
    about = About("own", "", 2026, "pairwise", ("same_class",), "", "for tests")
    Config = OwnConfig

    def loss(self, z, labels):
        return self.config.pull * (z.sum(1) - labels).square().mean()


class Narrow(Own):
    def head(self, backbone):
        return torch.nn.Linear(backbone.features, 7)


class Sides(LinearHasher):
    """The signs of the first pixels that are not all alike."""

    def __init__(self, bits=12, random_state=0):
        self.bits, self.random_state = bits, random_state

    def _fit(self, X, labels, rng):
        self.mean_ = X.mean(0)
        self.weights_ = np.eye(X.shape[1])[:, X.std(0) > 0][:, : self.bits]


class OwnShallow(ShallowMethod):
    about = About("own_shallow", "", 2026, "shallow", ("same_class",), "", "for tests")
    estimator = Sides


def test_a_method_from_elsewhere_is_known_by_its_name(digits, tmp_path, monkeypatch):
    monkeypatch.setattr(methods, "REGISTERED", {})
    for kind in (Own, OwnShallow):
        assert methods.register(kind) is methods.register(kind) is kind
    assert methods.names()[-2:] == ["own", "own_shallow"] and methods.about("own") is Own.about
    for name, settings in (("own", {"epochs": 1, "pull": 0.5, "lr": 0.001}), ("own_shallow", {})):
        how = {"root": tmp_path / "r", "save": True, "save_model": tmp_path / name}
        record = experiments.run(name, "digits", 12, **how, **settings)
        assert records.verify(record) == []
        packed = methods.load(tmp_path / name).encode(digits.query.images)
        assert np.array_equal(packed, record.codes()["query_codes"])
    with pytest.raises(InputError, match="another method called 'own'"):
        methods.register(Narrow)
    monkeypatch.setattr(
        Narrow, "about", About("dpsh", "", 2026, "pairwise", ("same_class",), "", "")
    )
    with pytest.raises(InputError, match="another method called 'dpsh'"):
        methods.register(Narrow)
    for wrong in (int, Own(12)):
        with pytest.raises(InputError, match=r"a Method class with `about`, .* expected, got "):
            methods.register(wrong)
    other = type("Own", (Own,), {"__module__": "elsewhere"})
    with pytest.raises(InputError, match="another method called 'own'"):
        methods.register(other)


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "a Python file .* is expected after --import"),
        ("def", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError: division by zero"),
        ("from hashlab import codes\ncodes.pack(3)", "mine.py: bits must be"),
    ],
)
def test_files_that_cannot_be_imported(content, words, tmp_path, capsys):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    assert main(["methods", "--import", str(file)]) == 2
    assert re.search(words, capsys.readouterr().err)


def test_an_image_must_get_as_many_outputs_as_bits(digits, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *a, **k: pytest.fail("work was begun"))
    with pytest.raises(
        InputError, match=r"gives \(2, 12\) outputs for 2 images expected, got \(2, 7\)"
    ):
        Narrow(12, epochs=1).fit(digits.train)


def test_a_setting_has_the_type_that_is_written_there():
    assert Own(12, pull=0.5).config.pull == 0.5 and type(Own(12, pull=2).config.pull) is float
    config = Own(12, pull=np.float32(0.5), epochs=np.int64(3)).config
    assert (config.pull, config.epochs) == (0.5, 3) and type(config.epochs) is int
    with pytest.raises(InputError, match="setting frozen must be true, false or text, got 1"):
        Own(12, frozen=1)
    with pytest.raises(InputError, match="setting deterministic must be true or false, got 1"):
        Own(12, deterministic=1)


def test_settings_of_ones_own_may_have_other_types():
    Number = float

    @dataclass(frozen=True, kw_only=True)
    class Odd(DeepConfig):
        kind: Literal["a", "b"] = setting("a", "")
        some: float | None = setting(0.5, "")
        local: "Number" = setting(0.5, "")  # noqa: RUF009

    kind = type("Odd", (Own,), {"Config": Odd})
    config = kind(12, kind="b", some=1, local=2).config
    assert (config.kind, config.some, config.local) == ("b", 1.0, 2.0)
    with pytest.raises(InputError, match="setting some must be a number, got 'x'"):
        kind(12, some="x")


def test_numpy_settings_are_saved(digits, tmp_path):
    method = methods.create(
        "mu_liu", 12, epochs=np.int64(0), pretrain_epochs=0, lr=np.float32(0.5)
    ).fit(digits.train)
    assert method.overrides == {"epochs": 0, "pretrain_epochs": 0, "lr": 0.5}
    assert methods.load(method.save(tmp_path / "m")).config == method.config


@pytest.mark.parametrize("name", methods.names())
def test_settings_are_of_four_types_and_one_of_two(name):
    kind = methods.create(name, 64).Config
    types = get_type_hints(kind)
    for field in fields(kind):
        assert types[field.name] in TYPES, field.name
        one_of = get_args(types[field.name]) or (types[field.name],)
        assert type(field.default) in one_of, field.name


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"epoch": 3}, "unknown setting 'epoch' of mu_liu; expected one of: backbone"),
        ({"epochs": 1.5}, "epochs must be a whole number, got 1.5"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"lr": -1}, "lr must be a finite number of at least 0, got -1"),
        ({"optimiser": "adam"}, "optimiser must be one of sgd, adamw, rmsprop, got 'adam'"),
        ({"flip": "maybe"}, "flip must be one of auto, yes, no"),
        ({"precision": "half"}, "precision must be one of auto, float32, bfloat16"),
    ],
)
def test_bad_settings(overrides, words):
    with pytest.raises(InputError, match=words):
        methods.create("mu_liu", 12, **overrides)


@pytest.mark.parametrize("bits", [0, -3, 1.5, True, "12", None])
def test_bad_bits(bits):
    with pytest.raises(InputError, match="bits must be a whole number of at least 1, got"):
        methods.create("mu_liu", bits)


def test_unknown_method():
    with pytest.raises(InputError, match="unknown method 'muliu'; expected one of: mu_liu"):
        methods.create("muliu", 12)
    with pytest.raises(InputError, match="unknown method"):
        methods.about("muliu")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"labels": np.zeros((10, 3), int)}, r"labels must be \(10,\) classes, .* got \(10, 3\)"),
        ({"labels": np.arange(10) / 3}, r"got 0.3\d+ among \(10,\) float64"),
        ({"labels": np.zeros(10, int)}, "two classes at least"),
        ({"labels": np.arange(10) - 5}, "must not be negative, got -5"),
        ({"labels": np.arange(9)}, r"\(10,\) classes or .*, got \(9,\)"),
        ({"images": np.zeros((10, 8, 8))}, r"images must be uint8 .*, got \(10, 8, 8\) float64"),
        (
            {"images": np.zeros((10, 64), np.uint8)},
            r"images must be uint8 .*, got \(10, 64\) uint8",
        ),
        (
            {"images": np.zeros((10, 3, 3), np.uint8)},
            "backbone tiny takes images of at least 4 px, got 3x3",
        ),
    ],
)
def test_bad_training_data(change, words):
    part = {"images": np.zeros((10, 8, 8), np.uint8), "labels": np.arange(10)} | change
    method = methods.create("mu_liu", 12, batch_size=4)
    with pytest.raises(InputError, match=words):
        method.fit(type("Part", (), part))
    assert method.network is None  # nothing was begun


def test_settings_that_do_not_suit_the_data(digits):
    for overrides, words in (
        ({"batch_size": 5000}, r"batch_size must lie in 2..1200"),
        ({"batch_size": 0}, "batch_size must lie in"),
        ({"backbone": "lenet"}, "lenet takes images of at least 16 px, got 8x8"),
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        (
            {"weights": "imagenet"},
            "weights must be scratch, torchvision-imagenet, efficientnet-lite0 or a safetensors file, "
            "got 'imagenet'",
        ),
        ({"weights": "torchvision-imagenet"}, "backbone tiny has no weights torchvision-imagenet"),
        (
            {"frozen": "fc"},
            r"frozen must be true, false or a level of tiny before its last \(conv1, conv2\), got 'fc'",
        ),
        ({"crop": 9}, r"crop and shift must fit into images of \(8, 8\), got 9 and 2"),
        ({"backbone": "alexnet", "size": 62}, "alexnet takes images of at least 63 px, got 62x62"),
    ):
        with pytest.raises(InputError, match=words):
            methods.create("mu_liu", 12, **overrides).fit(digits.train)
    with pytest.raises(InputError, match="device 'warp' cannot be used"):
        methods.create("mu_liu", 12).fit(digits.train, device="warp")
    with pytest.raises(InputError, match=r"seed must be an integer in 0..2\*\*32-1, got -1"):
        methods.create("mu_liu", 12).fit(digits.train, seed=-1)


@pytest.mark.parametrize("name", DEEP)
@pytest.mark.parametrize("frozen", [False, True, "conv1"])
def test_a_saved_model_gives_the_same_codes(name, frozen, digits, few, tmp_path):
    method = methods.create(name, 12, frozen=frozen, **quick(name)).fit(few, seed=3)
    assert method.save(tmp_path / "model", {"dataset": "digits"}) == tmp_path / "model"
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "README.md",
        "model.json",
        "model.safetensors",
    ]
    assert "dataset: digits" in (tmp_path / "model" / "README.md").read_text()
    state = torch.random.get_rng_state()
    again = methods.load(tmp_path / "model")
    assert torch.equal(state, torch.random.get_rng_state())
    assert again.encode(digits.query).tobytes() == method.encode(digits.query.images).tobytes()
    assert (
        again.save(tmp_path / "model") and methods.load(tmp_path / "model").bits == 12
    )  # a model may be written over


def test_what_is_not_a_model(digits, tmp_path):
    with pytest.raises(InputError, match="not fitted"):
        methods.create("mu_liu", 12).save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
    with pytest.raises(
        InputError, match=r"is not a model: model.safetensors and model.json missing"
    ):
        methods.load(tmp_path)
    folder = methods.create("mu_liu", 12, **QUICK).fit(digits.train).save(tmp_path / "model")
    (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other things than a model"):
        methods.create("mu_liu", 12, **QUICK).fit(digits.train).save(folder)
    (tmp_path / "model" / "notes.txt").unlink()
    summary = (folder / "model.json").read_text()
    (folder / "model.json").write_text(summary.replace('"bits": 12', '"bits": 13'))
    with pytest.raises(InputError, match=r"does not fit the network: head.bias differs"):
        methods.load(folder)
    (folder / "model.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe a model"):
        methods.load(folder)
    (folder / "model.json").write_text(summary)
    other = methods.create("mu_liu", 12, **QUICK).fit(digits.train, seed=1).save(tmp_path / "other")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"is damaged, or of another model than model.json says"):
        methods.load(folder)
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(InputError, match="is damaged"):
        methods.load(folder)


def test_reading_batch_by_batch_changes_nothing(digits):
    """From a part of a data set, from its array, and without keeping any images on the device."""
    array = type("Part", (), {"images": digits.train.images, "labels": digits.train.labels})
    found = [
        methods.create("mu_liu", 12, **QUICK, **settings).fit(train).encode(digits.query).tobytes()
        for train, settings in ((digits.train, {}), (array, {}), (digits.train, {"resident_mb": 0}))
    ]
    assert found[0] == found[1] == found[2]


def test_small_images_are_enlarged_for_a_large_backbone(digits):
    method = methods.create(
        "mu_liu", 12, backbone="lenet", crop=7, size=20, flip="yes", **QUICK
    ).fit(digits.train)
    assert (
        method.view.shape == (20, 20, 1)
        and method.view.flip
        and method.encode(digits.query).shape == (300, 8)
    )


def test_frozen_body_stays_and_the_head_learns(digits):
    method = methods.create("mu_liu", 12, frozen=True, epochs=5).fit(digits.train, seed=1)
    begun = methods.create("mu_liu", 12, frozen=True, epochs=0).fit(digits.train, seed=1)
    for (name, a), (_, b) in zip(
        method.net.tensors().items(), begun.net.tensors().items(), strict=True
    ):
        assert torch.equal(a, b) == name.startswith("backbone."), name
    assert [line["phase"] for line in method.history] == ["hashing"] * 5
    assert method.history[-1]["loss"] < method.history[0]["loss"]


def test_encode_before_fit_and_a_part_of_another_size(digits):
    method = methods.create("mu_liu", 12, **QUICK)
    with pytest.raises(InputError, match="not fitted"):
        method.encode(digits.query.images)
    method.fit(digits.train)
    with pytest.raises(InputError, match=r"images of \(8, 8\) expected"):
        method.encode(data.load("digit_scenes").query)


@pytest.mark.parametrize("name", methods.CLASSES)
def test_phases_before_fit_are_refused(name, digits):
    fitted = methods.create("mu_liu", 12, epochs=0, pretrain_epochs=0).fit(digits.train)
    labels = digits.train.labels
    labels = np.stack([labels, labels // 5], 1) if name == "shpdh" else labels
    with pytest.raises(InputError, match=r"the method is not fitted yet.* fit\(train\)"):
        methods.create(name, 12).phases(fitted.network, labels)


def test_what_is_known_after_fit_only(digits):
    method = methods.create("mu_liu", 12, **QUICK)
    assert method.network is None and method.history == []
    for word in ("net", "backbone", "shape", "view", "device", "precision"):
        with pytest.raises(InputError, match="not fitted yet"):
            getattr(method, word)
    method.fit(digits.train, device="cpu")
    assert method.network is method.net.network and method.view is method.net.view
    assert (method.backbone, method.shape, method.device.type, method.precision) == (
        "tiny",
        (8, 8),
        "cpu",
        "float32",
    )


@pytest.mark.parametrize(
    "name, settings", [("mu_liu", QUICK), ("dmsh", {"epochs": 0}), ("itq", {"backbone": "tiny"})]
)
def test_nothing_is_born_outside_init(name, settings, digits):
    """Every attribute is there from the beginning, before and after `fit`;
    those of one loaded are the same.
    """
    method, again = methods.create(name, 12, **settings), methods.create(name, 12, **settings)
    before = set(vars(method))
    tensors, facts = method.fit(digits.train).state()
    again.set_state(tensors, facts)
    assert set(vars(method)) == set(vars(again)) == before
    assert set(vars(method.net)) == set(vars(again.net))


def test_a_loss_that_explodes_is_named(digits):
    with pytest.raises(
        FloatingPointError, match=r"pre-training: the loss is nan at step [0-9]+; try a lower lr"
    ):
        methods.create("mu_liu", 12, pretrain_lr=1e6, epochs=1).fit(digits.train)


@pytest.mark.parametrize(
    "capability, expected", [((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_precision_follows_the_gpu(capability, expected, monkeypatch):
    from hashlab.training.numerics import auto_precision

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert (
        auto_precision(torch.device("cuda")) == expected
        and auto_precision(torch.device("cpu")) == "float32"
    )


def test_readme_trains_on_images_of_ones_own():
    text = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    (example,) = (
        code
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        if "from_arrays" in code
    )
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["mine"].classes == ("cat", "dog", "owl") and len(names["mine"].query) == 30
    assert abs(names["record"].map - 0.33) < 0.1
