"""Small sets of training images: which settings give way, and that no others do."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlab import experiments, grid, methods, records
from hashlab.errors import InputError
from hashlab.methods import adapt, dpsh
from hashlab.methods.adapt import AdaptedWarning

DEEP = [name for name in methods.names() if name not in methods.SHALLOW]
ANCHORED = ["ksh", "sdh"]
BY_SIZE = {"batch_size", "epochs", "pretrain_epochs", "anchors"}
OF_ITS_OWN = {"dpsh": {"pairs", "balance"}, "dhn": {"balance"}}  # settings that a size changes too
FOR_SMALL_HEADS = {"dcwh": {"s", "sides"}, "dsdh": {"balance", "eta"}, "mlsh": {"ridge"}}


@pytest.fixture(scope="module")
def few(digits):
    """The set with 61 training images."""
    return dataclasses.replace(digits, train=digits.train.pool.part(digits.train.index[:61]))


def some_settings(name, draw):
    """A few settings of a method, each with a value that its default is not."""
    usual = dataclasses.asdict(methods.create(name, 12).config)
    numbers = [key for key in ("batch_size", "epochs", "lr", "pretrain_epochs") if key in usual]
    chosen = draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else []
    return {key: usual[key] * 2 for key in chosen}


@given(st.data(), st.sampled_from(methods.names()), st.integers(2, 5000), st.booleans())
def test_what_is_given_stays_and_the_rest_fits(data, name, images, several):
    settings = some_settings(name, data.draw)
    method = methods.create(name, 12, **settings)
    used = dataclasses.asdict(method.settings_for(images, several))
    assert used.items() >= settings.items()
    assert method.config == methods.create(name, 12, **settings).config  # nothing is begun
    usual = dataclasses.asdict(method.config)
    changed = {key for key in usual if used[key] != usual[key]}
    own = OF_ITS_OWN.get(name, set())
    own = own - {"pairs"} if several else own
    assert changed <= BY_SIZE | own
    if images >= adapt.SMALL:
        assert changed == (own if name == "dpsh" and images < dpsh.FEW else set())
    else:
        assert own <= changed
    if name in ANCHORED:
        assert used["anchors"] == min(usual["anchors"], images)
    if name in DEEP and "batch_size" not in settings:
        assert used["batch_size"] == min(usual["batch_size"], images)
        if images < adapt.SMALL and "epochs" not in settings:
            steps = used["epochs"] * (images // used["batch_size"])
            assert steps >= adapt.STEPS or used["epochs"] == adapt.EPOCHS
            fewer = (used["epochs"] - 1) * (images // used["batch_size"])
            assert used["epochs"] == usual["epochs"] or fewer < adapt.STEPS
            assert used["epochs"] <= adapt.EPOCHS


def test_no_training_stays_none():
    assert methods.create("mu_liu", 8, epochs=0).settings_for(50).epochs == 0
    usual = methods.create("mu_liu", 8, pretrain_epochs=0).settings_for(50)
    assert usual.pretrain_epochs == 0 < usual.epochs


@pytest.mark.parametrize("name", DEEP)
def test_a_head_on_a_frozen_body_has_an_optimiser_of_its_own(name):
    usual = methods.create(name, 12).config
    own = {"dmsh": ("adamw", 0.01), "mlsh": ("sgd", 0.05)}  # the one has its own, the other none
    own |= dict.fromkeys(("dpsh", "dsdh"), ("adamw", 0.01))
    for images in (50, 5000):
        used = methods.create(name, 12, frozen=True).settings_for(images)
        assert (used.optimiser, used.lr) == own.get(name, ("adamw", 0.003))
        small = {key for key, value in vars(used).items() if value != vars(usual)[key]}
        small -= {*BY_SIZE, "frozen", "optimiser", "lr", *OF_ITS_OWN.get(name, ())}
        assert small == (FOR_SMALL_HEADS.get(name, set()) if images < adapt.SMALL else set())
        for part in (False, "conv2"):
            used = methods.create(name, 12, frozen=part).settings_for(images)
            assert (used.optimiser, used.lr) == (usual.optimiser, usual.lr)
        for settings in ({"lr": 0.5}, {"optimiser": "rmsprop"}):
            used = methods.create(name, 12, frozen=True, **settings).settings_for(images)
            kept = {"lr": usual.lr, "optimiser": usual.optimiser} | settings
            assert {"lr": used.lr, "optimiser": used.optimiser} == kept


def test_classes_on_one_level_are_wide_in_a_small_set():
    settings = {"frozen": True, "levels": 1}
    for changes, images, s in (
        ({}, 50, "0.1"),
        ({}, 5000, "auto"),
        ({"levels": 2}, 50, "auto"),
        ({"frozen": "conv2"}, 50, "auto"),
        ({"s": "2"}, 50, "2"),
    ):
        assert methods.create("shpdh", 8, **settings | changes).settings_for(images).s == s


# Records of the book, whatever $HASHLAB_RESULTS says.
KEPT = Path(__file__).resolve().parents[1] / "results"


def test_all_records_keep_their_names(monkeypatch):
    """Of the settings that they name, today's defaults make the run that was recorded."""
    monkeypatch.setattr(experiments.weights, "describe", lambda start, _: start)
    kept = [record for name in DEEP for record in records.load(KEPT, method=name)]
    assert len(kept) > 600
    for record in kept:
        usual = dataclasses.asdict(methods.create(record.method, 96).config)
        settings = {
            key: value
            for key, value in record.config.items()
            if f"{key}=" in record.variant and value != usual[key]
        }
        if (record.method, record.protocol) == ("dpsh", "digits/tuning"):
            settings["pairs"] = record.config[
                "pairs"
            ]  # experiments/explorer.toml gives the default too
        learner = methods.create(record.method, record.bits, **settings)
        data_of = SimpleNamespace(
            name=record.dataset,
            protocol=record.protocol,
            relevance=record.relevance,
            fingerprint=record["data"]["fingerprint"],
            checksum=record["data"]["split"],
            train=range(record.sizes["train"]),
        )
        again = experiments._settings(learner, record.method, data_of, record.seed)
        assert records.name(again) == f"{record.protocol}/{record.path.stem}"
        assert "replaced" not in again


@pytest.mark.parametrize("name", ["dpsh", "mu_liu", *ANCHORED])
def test_a_small_set_is_learned_from_and_said_so(name, few, tmp_path):
    settings = {} if name in ANCHORED else {"epochs": 1, "shift": 0}
    method = methods.create(name, 8, **settings)
    words = "for 61 training images: " + (
        "anchors 61 instead of" if name in ANCHORED else "batch_size 61 instead of 128"
    )
    with pytest.warns(AdaptedWarning, match=words) as caught:
        method.fit(few.train)
    assert caught[0].filename == __file__  # whoever called is pointed at
    assert method.overrides == settings and method.replaced
    model = json.loads((method.save(tmp_path / "model") / "model.json").read_text())
    used = {key: getattr(method.config, key) for key in method.replaced}
    assert model["settings"] == settings | used
    again = methods.load(tmp_path / "model")
    assert again.config == method.config
    assert np.array_equal(again.encode(few.query), method.encode(few.query))


def test_a_second_fit_begins_anew(few, digits):
    method = methods.create("csq", 8, epochs=1)
    with pytest.warns(AdaptedWarning):
        method.fit(few.train)
    assert method.config.batch_size == 61
    assert method.fit(digits.train).config.batch_size == 128 and not method.replaced


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("dpsh", {"batch_size": 128}, r"batch_size must lie in 2..61 .*, got 128"),
        ("dpsh", {"batch_size": 62}, r"batch_size must lie in 2..61 .*, got 62"),
        ("ksh", {"anchors": 300}, "draws 300 anchors among the training rows, got n_samples=61"),
        ("sdh", {"anchors": 62}, "draws 62 anchors among the training rows, got n_samples=61"),
    ],
)
def test_what_is_given_and_does_not_fit_is_refused(name, settings, words, few):
    with pytest.raises(InputError, match=words):
        methods.create(name, 8, **settings).fit(few.train)


def test_names_and_records_say_what_was_used(few, tmp_path):
    def prepared(**settings):
        return experiments.prepare("csq", few, 8, 0, settings, root=tmp_path, save=True)

    usual = prepared()
    config = usual.settings["config"]
    assert config["batch_size"] == 61 and config["epochs"] == 100
    assert usual.settings["replaced"] == {"batch_size": 128, "epochs": 10}
    assert "batch_size=61" in usual.settings["variant"]
    assert prepared(batch_size=61, epochs=config["epochs"]).name == usual.name
    assert prepared(epochs=10).name != usual.name
    with pytest.warns(AdaptedWarning, match="batch_size 61"):
        record = prepared(epochs=1).do()
    assert record["replaced"] == {"batch_size": 128} and records.verify(record) == []
    assert prepared(epochs=1).do().path == record.path


def test_a_grid_knows_a_run_whose_defaults_gave_way(few):
    row = SimpleNamespace(method="dpsh")

    def is_of(settings, **more):
        made = experiments.prepare("dpsh", few, 8, 0, settings).settings | more
        return lambda wanted: grid.is_of(
            records.Record(made), SimpleNamespace(row=row, bits=8, settings=wanted)
        )

    usual = is_of({}, sizes={"train": 61})
    assert usual({}) and usual({"epochs": 100}) and usual({"pairs": "batch", "balance": "halves"})
    others = ({"epochs": 15}, {"batch_size": 128}, {"pairs": "memory"}, {"pairs": "batch"})
    assert not any(map(usual, others))
    for settings in others:  # whatever the default has become, what is given is another run
        made = is_of(settings, sizes={"train": 61})
        assert made(settings) and not made({})
    failed = is_of({})  # does not say how many images it had
    assert failed({}) and not failed({"epochs": 15})


def test_where_small_ends_and_how_many_steps_it_gets():
    """Five steps an epoch want 40 epochs for 200 steps; from 1,000 images on nothing is adapted."""
    method = methods.create("csq", 8)
    assert method.settings_for(640).epochs == 40
    assert method.settings_for(999).epochs == 29
    assert (
        method.settings_for(1000).epochs
        == adapt.settled(method.config, set(), adapt.Training(5000)).epochs
        == 10
    )
