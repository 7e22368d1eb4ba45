"""Every method goes through the trials that the registry names, learns in them,
and turns away other labels.
"""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import pytest

from hashlab import codes, data, experiments, methods, metrics
from hashlab.errors import InputError
from hashlab.methods.base import KINDS
from hashlab.methods.tested import SETS, tested_with, trials

BITS = 16
SHORT = {
    "epochs": 6,
    "pretrain_epochs": 2,
    "batch_size": 64,
    "optimiser": "adamw",
    "lr": 0.005,
    "shift": 1,
}
SHORT |= {"steps": 50}  # of ksh, which has learned by then
ONE_TABLE = {"mlsh": {"integration": "concatenate"}}  # as the others have
ENLARGED = {"epochs": 3, "pretrain_epochs": 1}  # a larger network, which needs fewer
SLOWER = {name: {"epochs": 20} for name in ("csdh", "dpsh", "dsh")}  # on scenes
TWICE = ("classifier_sign", "dsdh", "dtsh", "greedyhash", "orthohash")
SLOWER |= {name: {"epochs": 12} for name in TWICE}
SLOWER["dtsh"] |= {"lr": 0.001}  # a higher rate draws all images to one code
MARGINS = {("mlsh", "digit_scenes"): 0.05}
WHOLE = {("dsdh", "digit_scenes"), ("dtsh", "digit_scenes")}  # half of the images are too few


def config(name):
    return methods.create(name, BITS).Config


def made(name, trial, **changes):
    """The method with a trial's settings and those of a short training that it has."""
    fields = config(name).__dataclass_fields__
    changes = SLOWER.get(name, {}) | changes if trial.dataset == "digit_scenes" else changes
    changes = ENLARGED | changes if trial.features == "lenet" else changes
    short = {key: value for key, value in (SHORT | changes).items() if key in fields}
    return methods.create(name, BITS, **ONE_TABLE.get(name, {}), **short, **trial.settings)


def score(method, loaded):
    found = [method.encode(part) for part in (loaded.query, loaded.database)]
    assert (
        found[0].shape == (len(loaded.query), 8)
        and codes.unpack(found[1], bits=BITS).shape[1] == BITS
    )
    labels = [
        part.labels if loaded.relevance == "levels" else part.targets
        for part in (loaded.query, loaded.database)
    ]
    relevance = "same_class" if loaded.relevance == "levels" else loaded.relevance
    return metrics.evaluate(*found, *labels, bits=BITS, relevance=relevance).map


def half(train):
    """Every other image is enough to learn from, and to see it."""
    levels = None if train.levels is None else train.levels[::2]
    return dataclasses.replace(
        train, index=train.index[::2], labels=train.labels[::2], levels=levels
    )


@functools.cache
def chance(dataset):
    """The mAP of random codes."""
    loaded = data.load(dataset)
    return score(methods.create("random", BITS).fit(loaded.train), loaded)


@functools.cache
def untrained(dataset):
    """The mAP of a network that has not been trained."""
    loaded = data.load(dataset)
    return score(methods.create("dsh", BITS, epochs=0).fit(loaded.train), loaded)


ALL = [
    (name, trial) for name in methods.names() for trial in trials(methods.about(name), config(name))
]


@pytest.mark.parametrize(
    "name, trial", ALL, ids=[f"{name}-{trial.dataset}-{trial.features}" for name, trial in ALL]
)
def test_a_method_learns_in_its_trials(name, trial):
    loaded, deep = data.load(trial.dataset), name not in methods.SHALLOW
    train = loaded.train if (name, trial.dataset) in WHOLE else half(loaded.train)
    found = score(made(name, trial).fit(train), loaded)
    if name == "random":
        assert found == pytest.approx(chance(trial.dataset), abs=0.01)
    elif deep:  # clearly above a network that has not been trained
        margin = 0.02 if trial.dataset == "digit_scenes" else 0.1
        assert found > untrained(trial.dataset) + MARGINS.get((name, trial.dataset), margin)
    elif trial.dataset != "digit_scenes" or methods.create(name, BITS)._estimator(0).supervised:
        assert found > chance(trial.dataset)
    else:  # how near pixels are says little of which digits two scenes share
        assert found > 0.9 * chance(trial.dataset)


@pytest.mark.parametrize("name", methods.names())
def test_labels_that_a_method_does_not_take(name):
    """One sentence, before anything is begun:
    other kinds of labels, and, where labels matter, a single class.
    """
    takes = methods.about(name).labels
    assert set(takes) <= set(SETS) and methods.about(name).kind in KINDS
    scenes = data.load(SETS["shares_label"])
    if "shares_label" not in takes:
        with pytest.raises(
            InputError,
            match=rf"labels must be \({len(scenes.train)},\) classes, .* got \(\d+, 10\)",
        ):
            methods.create(name, BITS, **({"levels": 1} if "levels" in takes else {})).fit(
                scenes.train
            )
        expected = f"{name} takes {' or '.join(takes)} labels, digit_scenes has shares_label"
        with pytest.raises(InputError, match=f"^{expected}$"):
            experiments.run(name, "digit_scenes", BITS, 0)

    class OneClass:
        images, labels = np.zeros((200, 8, 8), np.uint8), np.zeros(200, np.int64)

    if name in methods.SHALLOW and not methods.create(name, BITS)._estimator(0).supervised:
        return
    with pytest.raises(InputError, match="class") as caught:
        methods.create(name, BITS, **({"levels": 1} if "levels" in takes else {})).fit(OneClass)
    assert "\n" not in str(caught.value)


def test_what_is_said_is_what_is_tried():
    for name in methods.names():
        about = methods.about(name)
        found, said = trials(about, config(name)), tested_with(about, config(name))
        assert {SETS[kind] for kind in about.labels} == {trial.dataset for trial in found}
        assert set(re.split("[,;] ", said)) == {
            x for trial in found for x in (trial.dataset, trial.features)
        }


# ---- the page


@pytest.fixture
def page(monkeypatch):
    book = Path(__file__).resolve().parents[1] / "book"
    monkeypatch.syspath_prepend(str(book))
    return __import__("methods_page"), book


def test_the_page_is_what_the_registry_gives(page):
    module, book = page
    text = (book / "methods.md").read_text(encoding="utf-8")
    assert module.page((book / "references.bib").read_text(encoding="utf-8")) == text, (
        "python book/build.py methods"
    )
    for name in methods.names():
        assert (
            text.count(f"\n| `{name}` | ") >= 1
            and text.count(f"{{dropdown}} `{name}`: settings\n") == 1
        )
    assert set(module.ORDER) == set(KINDS)


def test_every_method_but_chance_is_cited(page):
    module, book = page
    bibliography = (book / "references.bib").read_text(encoding="utf-8")
    cited = {name: module.citation(methods.about(name), bibliography) for name in methods.names()}
    assert [name for name, key in cited.items() if key is None] == ["random"]
    for name, key in cited.items():
        year = re.search(rf"\{{{key},.*?year\s*=\s*\{{(\d+)\}}", bibliography, re.DOTALL)
        assert name == "random" or int(year[1]) == methods.about(name).year, name


def test_text_is_left_as_it_is(page):
    module, _ = page
    assert module.plain("||W||^2 of a_b, `scales=x_y`") == r"\|\|W\|\|^2 of a\_b, `scales=x_y`"
