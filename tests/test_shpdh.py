"""SHPDH and DCWH: their losses against plain loops, their settings and labels,
the method on digits under a tree.
"""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hashlab import data, experiments, methods, metrics
from hashlab.errors import InputError
from hashlab.losses.clouds import Centres
from hashlab.methods import dcwh, shpdh
from hashlab.methods.dcwh import DCWHLoss, dcwh_loss
from hashlab.methods.shpdh import SHPDHLoss, read_s, shpdh_loss, usual_s

SMALL = {"batch_size": 64, "shift": 1}
LEVELS = torch.tensor([[0, 0], [1, 0], [2, 1], [3, 1], [1, 0]])


@pytest.fixture(scope="module")
def tree():
    return data.load("digit_tree")


def normal(rows, columns, seed=0, scale=1.2):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def centres(bits=6):
    return [normal(4, bits, 1), normal(2, bits, 2)]


# ---- the losses


def class_wise(u, y, c, s, floor):
    total = 0.0
    for row, label in zip(u, y, strict=True):
        e = [
            math.exp(-s / 2 * sum((a - b) ** 2 for a, b in zip(row, centre, strict=True)))
            for centre in c
        ]
        total -= math.log(e[label] / (sum(e) + floor) + floor)
    return total / len(u)


def penalties(u):
    """Sums over images and bits: below the cube, above it, squared distance from the code."""
    below = above = away = 0.0
    for x in (x for row in u for x in row):
        below, above, away = (
            below + max(-1.1 - x, 0),
            above + max(x - 1.1, 0),
            away + ((1 if x >= 0 else -1) - x) ** 2,
        )
    return below, above, away


@pytest.mark.parametrize("floor", [0.0, 1e-8])
def test_shpdh_loss_with_plain_loops(floor):
    u, c, s = normal(5, 6), centres(), (1.0, 0.5)
    below, above, away = penalties(u.tolist())
    levels = sum(
        class_wise(u.tolist(), y.tolist(), m.tolist(), t, floor)
        for y, m, t in zip(LEVELS.T, c, s, strict=True)
    )
    expected = levels + (10 * (below + above) / 5 + 0.1 * away / 5) / 6
    assert shpdh_loss(u, LEVELS, c, s, floor=floor).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("floor", [0.0, 1e-6])
@pytest.mark.parametrize("sides", ["code", "equal"])
def test_dcwh_loss_with_plain_loops(sides, floor):
    u, c, y = normal(5, 6), centres()[0], LEVELS[:, 0]
    below, above, away = penalties(u.tolist())
    outside = below + above / 5 if sides == "code" else (below + above) / 5
    expected = (
        class_wise(u.tolist(), y.tolist(), c.tolist(), 1.0, floor)
        + (10 * outside + 0.01 * away / 5) / 5
    )
    assert dcwh_loss(u, y, c, sides=sides, floor=floor).item() == pytest.approx(expected, rel=1e-6)


def test_the_weights_weigh():
    u, c = normal(5, 6), centres()
    below, above, away = penalties(u.tolist())
    bare = shpdh_loss(u, LEVELS, c, (1.0, 0.5), 0.0, 0.0).item()
    assert shpdh_loss(u, LEVELS, c, (1.0, 0.5), 2.0, 0.0).item() == pytest.approx(
        bare + 2 * (below + above) / 30
    )
    assert shpdh_loss(u, LEVELS, c, (1.0, 0.5), 0.0, 3.0).item() == pytest.approx(
        bare + 3 * away / 30
    )


def test_modules_are_their_functions():
    torch.manual_seed(0)
    c, u = Centres([torch.tensor([0, 0, 1, 1])], [4, 2], 6), normal(5, 6).float()
    expected = shpdh_loss(u, LEVELS, c, (1.0, 0.5), 3.0, 0.2, 1e-8)
    assert torch.equal(SHPDHLoss(c, (1.0, 0.5), 3.0, 0.2, 1e-8)(u, LEVELS), expected)
    one, y = Centres([], [4], 6), LEVELS[:, 0]
    assert torch.equal(
        DCWHLoss(one, 3.0, 0.2, "equal", 1e-6)(u, y),
        dcwh_loss(u, y, one.level0, 3.0, 0.2, "equal", 1e-6),
    )


@pytest.mark.parametrize("floor", [0.0, 1e-8])
def test_gradients(floor):
    u, c = normal(5, 6), centres()
    u = torch.where(
        (u.abs() - 1.1).abs() < 0.05, u * 1.2, u
    ).requires_grad_()  # off the kinks at the edge
    assert u.abs().min() > 0.01
    assert torch.autograd.gradcheck(lambda u: shpdh_loss(u, LEVELS, c, (1.0, 0.5), floor=floor), u)
    assert torch.autograd.gradcheck(lambda u: dcwh_loss(u, LEVELS[:, 0], c[0], floor=floor), u)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_codes_stay_finite(dtype):
    u, c = normal(5, 128, scale=2.0).to(dtype).requires_grad_(), [x.to(dtype) for x in centres(128)]
    loss = shpdh_loss(u, LEVELS, c, (1.0, 0.5)) + dcwh_loss(u, LEVELS[:, 0], c[0])
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(u.grad).all() and u.grad.abs().max() > 0


@given(st.integers(1, 40), st.integers(0, 1000))
def test_levels_add_up_and_a_level_of_one_class_adds_nothing(bits, seed):
    u, c = normal(5, bits, seed), [normal(4, bits, seed + 1), normal(2, bits, seed + 2)]
    both = shpdh_loss(u, LEVELS, c, (1.0, 0.5), 0.0, 0.0)
    each = [
        shpdh_loss(u, LEVELS[:, [level]], [c[level]], (s,), 0.0, 0.0)
        for level, s in ((0, 1.0), (1, 0.5))
    ]
    torch.testing.assert_close(both, sum(each))
    top = torch.cat([LEVELS, torch.zeros(5, 1, dtype=torch.long)], 1)
    torch.testing.assert_close(
        shpdh_loss(u, top, [*c, normal(1, bits)], (1.0, 0.5, 0.25), 0.0, 0.0), both
    )


def test_the_tree_tells_mistakes_apart():
    """Near the centre of a sibling the coarse level is content;
    near that of a stranger it is not.
    """
    c = [torch.tensor([[1.0, 1, 1], [1, 1, -1], [-1, -1, 1], [-1, -1, -1]])]
    c.append(torch.stack([c[0][:2].mean(0), c[0][2:].mean(0)]))
    y = torch.tensor([[0, 0]])
    own, sibling, stranger = (
        shpdh_loss(c[0][[m]], y, c, (1.0, 0.5), 0.0, 0.0).item() for m in (0, 1, 2)
    )
    flat = [shpdh_loss(c[0][[m]], y[:, :1], c[:1], (1.0,), 0.0, 0.0).item() for m in (0, 1, 2)]
    assert own < sibling < stranger and stranger - sibling > flat[2] - flat[1] + 1


# ---- settings


def test_s_as_seen_and_as_chosen():
    assert (
        usual_s(1) == (1.0,) and usual_s(2) == (1.0, 0.5) and usual_s(4) == (1.0, 0.67, 0.5, 0.25)
    )
    assert usual_s(3) == (1.0, 0.5, 0.33)
    assert read_s("1:0.5") == read_s("1,0.5") == (1.0, 0.5) and read_s("2") == (2.0,)
    assert methods.create("shpdh", 8, s=2).config.s == "2"  # as the command line reads s=2


@pytest.mark.parametrize("s", ["", "one", "1:", "1:-1", "0", "1:nan", "inf"])
def test_bad_s(s):
    with pytest.raises(
        InputError,
        match=r"setting s must be auto, or a positive number per level such as 1:0.5, got",
    ):
        methods.create("shpdh", 8, s=s)


@pytest.mark.parametrize(
    "overrides, words",
    [
        ({"levels": 3}, "levels=3 asks for more levels than the labels have, 2"),
        (
            {"s": "1:0.5:0.2"},
            r"setting s must have a number per level, 2, got 3: \(1.0, 0.5, 0.2\)",
        ),
        ({"s": "1:0.5", "levels": 1}, "setting s must have a number per level, 1, got 2"),
        ({"tree": "none.csv"}, "the tree none.csv cannot be read"),
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"form": "exact"}, "form must be one of stable, clamped, got 'exact'"),
        ({"centre_pass": "fast"}, "centre_pass must be one of plain, train, got 'fast'"),
    ],
)
def test_bad_settings_are_refused_before_training(overrides, words, tree, monkeypatch):
    monkeypatch.setattr(shpdh.SHPDH, "_build", lambda *a: pytest.fail("work has started"))
    with pytest.raises(InputError, match=words):
        methods.create("shpdh", 8, **overrides).fit(tree.train)


SEVERAL = np.tri(3, dtype=np.uint8).repeat(4, 0)


@pytest.mark.parametrize(
    "labels, levels, settings, words",
    [
        (
            np.arange(12) % 3,
            None,
            {},
            "needs labels on several levels, but these have one: name a tree",
        ),
        (SEVERAL, None, {}, r"labels must be \(12,\) classes, .* got \(12, 3\) uint8"),
        (SEVERAL, None, {"levels": 1}, r"labels must be \(12,\) classes, .* got \(12, 3\) uint8"),
        (np.arange(11), None, {"levels": 1}, r"labels must be \(12,\) classes or .*, got \(11,\)"),
        (
            np.arange(12),
            np.c_[np.arange(12) % 5, np.arange(12) % 2],
            {},
            "labels must form a tree, but class 0 of",
        ),
    ],
)
def test_bad_labels(labels, levels, settings, words):
    train = SimpleNamespace(images=np.zeros((12, 8, 8), np.uint8), labels=labels, levels=levels)
    with pytest.raises(InputError, match=words):
        methods.create("shpdh", 8, batch_size=4, **settings).fit(train)


def test_several_labels_are_refused_by_experiments():
    for method, takes in (("shpdh", "levels or same_class"), ("dcwh", "same_class")):
        with pytest.raises(
            InputError, match=f"{method} takes {takes} labels, digit_scenes has shares_label"
        ):
            experiments.run(method, "digit_scenes", 8)


# ---- levels and trees


def fitted(train, bits=8, **settings):
    return methods.create("shpdh", bits, epochs=1, **SMALL | settings).fit(train)


def test_levels_of_the_set_or_fewer(tree):
    both, fine = fitted(tree.train), fitted(tree.train, levels=1)
    assert [tuple(c.shape) for c in both.centres] == [(10, 8), (3, 8)] and [
        len(c) for c in fine.centres
    ] == [10]


def test_a_tree_from_a_file_is_the_tree_of_the_labels(tree, tmp_path):
    """The digits alone, under the file of their tree,
    train to the same codes as the digits with labels on levels.
    """
    lines = [f"{digit},{tree.info.levels[1][shape]}" for digit, shape in tree.info.tree]
    names = sorted({line.split(",")[1] for line in lines})
    (tmp_path / "tree.csv").write_text("\n".join([*lines, *(f"{name},all" for name in names)]))
    plain = fitted(data.load("digits").train, tree=str(tmp_path / "tree.csv"))
    assert [len(c) for c in plain.centres] == [10, 3]
    order = [
        names.index(name) for name in tree.info.levels[1]
    ]  # the file's shapes come in the order of their names
    with torch.no_grad():
        torch.testing.assert_close(
            plain.centres.parents0[:, None] == torch.tensor(order), shapes(tree)
        )


def shapes(tree):
    return torch.tensor([shape for _, shape in tree.info.tree])[:, None] == torch.arange(3)


def test_birds_have_four_levels_with_the_authors_variances():
    """Six leaves under a tree of four levels, completed as NABirds is:
    a leaf that stands higher is repeated.
    """
    leaf = np.arange(24) % 6
    above = np.array(
        [[0, 0, 0, 0], [1, 0, 0, 0], [2, 1, 0, 0], [3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 2, 1]]
    )
    images = np.random.default_rng(0).integers(0, 256, (24, 8, 8), np.uint8)
    train = SimpleNamespace(images=images, labels=leaf, levels=above[leaf])
    method = fitted(train, batch_size=8)
    assert [len(c) for c in method.centres] == [6, 5, 3, 2] and method.s_of(4) == (
        1.0,
        0.67,
        0.5,
        0.25,
    )
    with torch.no_grad():
        fine, second, *_ = method.centres
        assert fine.shape == (6, 8) and second.shape == (5, 8)


# ---- learning


def score(method, loaded):
    packed = method.encode(loaded.query.images), method.encode(loaded.database.images)
    labels = loaded.query.levels, loaded.database.levels
    return metrics.evaluate(*packed, *labels, bits=method.bits, relevance="levels", at=500)


def test_learns_the_digits_and_not_without_the_loss(tree, monkeypatch):
    settings = SMALL | {"epochs": 8}
    learned = score(methods.create("shpdh", 16, **settings).fit(tree.train), tree)
    monkeypatch.setattr("hashlab.methods.shpdh.shpdh_loss", lambda u, *a: 0 * u.sum())
    nothing = score(methods.create("shpdh", 16, **settings).fit(tree.train), tree)
    assert (
        learned.map > 0.85 > 0.5 > nothing.map and learned.mahp_at[500] > nothing.mahp_at[500] + 0.2
    )


def test_the_tree_brings_siblings_closer(tree):
    """The same start, the same images, the same rate: only the tree differs."""
    flat, deep = (
        score(methods.create("shpdh", 16, epochs=8, levels=levels, **SMALL).fit(tree.train), tree)
        for levels in (1, 2)
    )
    assert deep.mahp_at[500] > flat.mahp_at[500] + 0.03 and deep.map > flat.map - 0.05


def test_both_arms_of_the_comparison_begin_alike(tree):
    flat, deep = (
        methods.create("shpdh", 8, epochs=0, levels=levels).fit(tree.train) for levels in (1, 2)
    )
    assert torch.equal(flat.centres.level0, deep.centres.level0)
    assert flat.encode(tree.query.images).tobytes() == deep.encode(tree.query.images).tobytes()


def test_dcwh_learns(tree, monkeypatch):
    settings = SMALL | {"epochs": 8, "sides": "equal"}
    learned = score(methods.create("dcwh", 16, **settings).fit(tree.train), tree)
    monkeypatch.setattr("hashlab.methods.dcwh.dcwh_loss", lambda u, *a: 0 * u.sum())
    nothing = score(methods.create("dcwh", 16, **settings).fit(tree.train), tree)
    assert learned.map > 0.75 > 0.5 > nothing.map


def test_the_sides_of_dcwhs_code_push_outputs_up(tree):
    """What lies below the cube costs B times as much as what lies above it,
    and so outputs leave it upwards.
    """
    code, equal = (
        methods.create("dcwh", 16, epochs=3, sides=sides, **SMALL)
        .fit(tree.train)
        .outputs(tree.train.images)
        for sides in ("code", "equal")
    )
    assert code.mean() > 0.1 > abs(equal.mean()) and (code > 1.1).mean() > 3 * (code < -1.1).mean()


@pytest.mark.parametrize("name", ["shpdh", "dcwh"])
def test_centres_stand_where_the_training_images_are(name, tree):
    """They are moved before each epoch but the first,
    so after two epochs they are where images were after one.
    """
    settings = SMALL | {"epochs": 2} | ({"every": 1} if name == "dcwh" else {})
    seen = {}
    method = methods.create(name, 8, **settings)
    method.fit(
        tree.train,
        each_epoch=lambda phase, epoch: seen.update({epoch: method.outputs(tree.train.images)}),
    )
    for label in range(10):
        mean = seen[1][tree.train.labels == label].mean(0)
        np.testing.assert_allclose(method.centres.level0[label].numpy(), mean, rtol=1e-4, atol=1e-4)
    if name == "shpdh":
        loops = method.centres.level0[[0, 6, 8, 9]].mean(0)
        torch.testing.assert_close(method.centres.level1[0], loops)


@pytest.mark.parametrize(
    "settings", [{"form": "clamped"}, {"centre_pass": "train"}, {"every": 2}, {"s": "1:1"}]
)
def test_every_setting_changes_the_codes(settings, tree):
    plain, other = (
        methods.create("shpdh", 8, epochs=3, **SMALL | more).fit(tree.train)
        for more in ({}, settings)
    )
    assert not np.array_equal(plain.outputs(tree.query.images), other.outputs(tree.query.images))


def test_labels_of_one_level_are_enough_where_one_is_asked_for():
    train = SimpleNamespace(images=np.zeros((12, 8, 8), np.uint8), labels=np.arange(12) % 3)
    methods.create("shpdh", 8, levels=1, batch_size=4).check(train)
    for levels in (0, 2):
        with pytest.raises(InputError, match="shpdh needs labels on several levels"):
            methods.create("shpdh", 8, levels=levels, batch_size=4).check(train)


@pytest.mark.parametrize("module, floor", [(shpdh, 1e-8), (dcwh, 1e-6)])
def test_the_authors_form_adds_what_their_code_adds(module, floor, tree, monkeypatch):
    loss, added = module.class_wise_loss, set()
    monkeypatch.setattr(
        module, "class_wise_loss", lambda *given: added.add(given[4]) or loss(*given)
    )
    name = module.__name__.rsplit(".", 1)[-1]
    for form, floors in (("stable", {0.0}), ("clamped", {floor})):
        added.clear()
        methods.create(name, 8, form=form, **SMALL | {"epochs": 1}).fit(tree.train)
        assert added == floors


@pytest.mark.parametrize("name", ["shpdh", "dcwh"])
def test_an_interrupted_run_ends_with_the_same_centres(name, tree, tmp_path):
    settings = SMALL | {"epochs": 3, "every": 1}
    whole = methods.create(name, 8, **settings).fit(tree.train)

    def stop(phase, epoch):
        if epoch == 2:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        methods.create(name, 8, **settings).fit(
            tree.train, each_epoch=stop, checkpoints=tmp_path, every=0.0
        )
    again = methods.create(name, 8, **settings).fit(tree.train, checkpoints=tmp_path)
    assert torch.equal(again.centres.level0, whole.centres.level0)
    assert again.encode(tree.query.images).tobytes() == whole.encode(tree.query.images).tobytes()


def test_saved_and_loaded_it_gives_the_same_codes(tree, tmp_path):
    method = fitted(tree.train, 12)
    loaded = methods.load(method.save(tmp_path / "model"))
    assert loaded.encode(tree.query.images).tobytes() == method.encode(tree.query.images).tobytes()


def test_what_they_say_of_themselves():
    assert dcwh.DCWH.about.labels == ("same_class",) and "code" in shpdh.SHPDH.about.status
