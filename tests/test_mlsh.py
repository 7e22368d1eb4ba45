"""MLSH: tables against a COSDISH made by hand, integration against plain loops over distances;
the method on digits.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning import score

from hashlab import codes, experiments, methods, metrics, records
from hashlab.errors import InputError
from hashlab.methods import mlsh
from hashlab.networks import backbones, features
from hashlab.shallow import COSDISH
from hashlab.training import loop, seeds

SMALL = {"batch_size": 64, "shift": 1, "lr": 0.1}
UNTRAINED = {"epochs": 0}
LEVELS = ("conv1", "conv2", "fc")  # of the backbone tiny


@pytest.fixture(scope="module")
def fitted(digits):
    return methods.create("mlsh", 24, epochs=3, **SMALL).fit(digits.train, seed=5)


def level(method, images, name):
    """Means over the places of one level's maps, straight from the network: (N, C)."""
    x = method.view.plain(torch.from_numpy(images[..., None]))
    with torch.no_grad():
        (maps,) = method.network.backbone.eval().forward_levels(x, (name,))
    return (maps.mean((2, 3)) if maps.ndim == 4 else maps).numpy()


def split(method, packed):
    """Bits of each table, bool (N, K_t), of packed codes."""
    width = packed.shape[1] // len(method.tables)
    return [
        codes.unpack(packed[:, t * width : (t + 1) * width], bits=k)
        for t, k in enumerate(method.tables)
    ]


# ---- levels


@pytest.mark.parametrize(
    "backbone, shape, expected",
    [
        ("tiny", (8, 8, 1), ("conv1", "conv2", "fc")),
        ("lenet", (28, 28, 1), ("conv1", "conv2", "fc")),
        ("quick", (32, 32, 3), ("conv1", "conv2", "conv3", "fc")),
        ("vgg19", (64, 64, 3), ("conv3", "conv4", "conv5", "fc7")),
        ("alexnet", (64, 64, 3), ("conv3", "conv4", "conv5", "fc7")),
        ("resnet50", (64, 64, 3), ("conv3", "conv4", "conv5")),
        ("mobilenet_v2", (64, 64, 3), ("conv3", "conv4", "conv5")),
    ],
)
def test_auto_takes_the_last_three_maps_and_the_dense_layer_behind(backbone, shape, expected):
    assert mlsh.choose(backbones.levels(backbone, shape), "auto", backbone) == expected


def test_levels_come_in_the_backbones_order_whatever_joins_them(digits):
    method = methods.create("mlsh", 8, scales="fc, conv1", **UNTRAINED).fit(digits.train)
    assert method.config.scales == "fc+conv1" and method.taps == ("conv1", "fc")


def test_the_mean_that_a_network_ends_in_is_the_level_before_it():
    """Why `auto` leaves `pool` out: its table would be a second one on the same numbers."""
    net = backbones.create("mobilenet_v2", (64, 64, 3)).eval()
    with torch.no_grad():
        last, pool = net.forward_levels(torch.randn(2, 3, 64, 64), ("conv5", "pool"))
    torch.testing.assert_close(features.pooled([last]), pool)


# ---- tables


def test_every_table_is_a_cosdish_on_its_own_level(fitted, digits):
    packed = fitted.encode(digits.query.images)
    for table, (name, bits) in enumerate(zip(LEVELS, split(fitted, packed), strict=True)):
        alone = COSDISH(8, random_state=seeds.derived(5, "table", table))
        alone.fit(level(fitted, digits.train.images, name), digits.train.labels)
        z = alone.decision_function(level(fitted, digits.query.images, name))
        clear = np.abs(z) > 1e-4  # nearer to 0, single precision decides
        assert clear.mean() > 0.99 and (bits == (z >= 0))[clear].all()


def test_outputs_with_plain_loops():
    head = mlsh.Tables([2, 3], [2, 1])
    rng = np.random.default_rng(0)
    means, weights = (
        [rng.standard_normal(c) for c in (2, 3)],
        [rng.standard_normal(s) for s in ((2, 2), (3, 1))],
    )
    for table in (0, 1):
        head.fill(table, SimpleNamespace(mean_=means[table], weights_=weights[table]))
    x = rng.standard_normal((4, 5))
    z = head(torch.from_numpy(x)).numpy()
    for i in range(4):
        for k, (table, column, start) in enumerate([(0, 0, 0), (0, 1, 0), (1, 0, 2)]):
            width = len(means[table])
            terms = [
                (x[i, start + c] - means[table][c]) * weights[table][c, column]
                for c in range(width)
            ]
            assert z[i, k] == pytest.approx(sum(terms), abs=1e-5)


def test_a_table_sees_no_other_level(fitted):
    x = torch.rand(6, sum(c for c in (16, 32, 100)))
    other = x.clone()
    other[:, :16] += 1  # conv1
    before, after = fitted.network.head(x), fitted.network.head(other)
    assert (before[:, :8] != after[:, :8]).all() and torch.equal(before[:, 8:], after[:, 8:])


def test_a_single_table_sees_all_levels(digits):
    method = methods.create("mlsh", 8, integration="concatenate", **UNTRAINED).fit(digits.train)
    assert method.tables is None and method.combine is None
    x = [
        np.concatenate([level(method, part.images, n) for n in LEVELS], 1)
        for part in (digits.train, digits.query)
    ]
    alone = COSDISH(8, random_state=seeds.derived(0, "table", 0)).fit(x[0], digits.train.labels)
    np.testing.assert_allclose(
        method.outputs(digits.query.images), alone.decision_function(x[1]), rtol=0, atol=1e-3
    )


def test_bits_are_those_of_all_tables(fitted, digits):
    assert fitted.bits == 24 and fitted.tables == (8, 8, 8) and fitted.combine == "sum"
    packed = fitted.encode(digits.query.images[:5])
    assert packed.shape == (5, 3 * 8)  # each table in a word of its own
    z = fitted.outputs(digits.query.images[:5])
    assert np.array_equal(np.concatenate(split(fitted, packed), 1), z >= 0)


def test_learned_codes_are_not_the_projected_ones(fitted, digits):
    """What COSDISH gave the training images stands beside, and no image is encoded by it."""
    assert fitted.learned.shape == (1200, 24)
    learned, projected = (
        split(fitted, c) for c in (fitted.learned, fitted.encode(digits.train.images))
    )
    for table, name in enumerate(LEVELS):
        alone = COSDISH(8, random_state=seeds.derived(5, "table", table))
        alone.fit(level(fitted, digits.train.images, name), digits.train.labels)
        assert (learned[table] == alone.codes_).mean() > 0.98
        assert 0.002 < (learned[table] != projected[table]).mean() < 0.4


def test_settings_of_cosdish_reach_it(digits, monkeypatch):
    made = []
    monkeypatch.setattr(
        mlsh, "COSDISH", lambda bits, **how: made.append((bits, how)) or COSDISH(bits, **how)
    )
    settings = {"ridge": 30.0, "outer": 2, "inner": 1, "dissimilar": "+r"}
    methods.create("mlsh", 12, **UNTRAINED, **settings).fit(digits.train)
    assert [bits for bits, _ in made[-3:]] == [4, 4, 4]
    assert all({k: how[k] for k in settings} == settings for _, how in made)
    assert len({how["random_state"] for _, how in made[-3:]}) == 3  # tables draw independently


# ---- integration


def tables_of_codes(seed, count, sizes):
    rng = np.random.default_rng(seed)
    parts = [rng.random((count, k)) < 0.5 for k in sizes]
    return parts, np.concatenate([codes.pack(part) for part in parts], 1)


def by_loops(query, database, rule, weights):
    """Distances (Q, N) that rank as the rule says, from bits of each table,
    pair by pair and bit by bit.
    """
    far = np.zeros((len(query[0]), len(database[0])))
    for i, j in np.ndindex(far.shape):
        d = [
            sum(a != b for a, b in zip(q[i], x[j], strict=True))
            for q, x in zip(query, database, strict=True)
        ]
        if rule == "sum":
            far[i, j] = sum(d)
        elif rule == "weighted":
            far[i, j] = sum(w * each for w, each in zip(weights, d, strict=True))
        else:
            far[i, j] = min(d) + sum(d) / 1000  # the nearest table, ties by the sum
    return far


@given(st.integers(0, 10_000), st.sampled_from(["sum", "union", "weighted"]))
def test_rules_with_plain_loops(seed, rule):
    sizes, weights = [(5, 5), (3, 3, 3)][seed % 2], [(15, 4), (15, 0, 7)][seed % 2]
    (query, q), (database, x) = (
        tables_of_codes(seed, 6, sizes),
        tables_of_codes(seed + 1, 25, sizes),
    )
    labels = np.arange(6) % 3, np.arange(25) % 3
    how = {"tables": sizes, "combine": rule, "weights": weights if rule == "weighted" else None}
    report = metrics.evaluate(q, x, *labels, bits=sum(sizes), **how)
    expected = metrics.evaluate_distances(by_loops(query, database, rule, weights), *labels)
    np.testing.assert_allclose(report.ap, expected.ap)
    np.testing.assert_allclose(report.ap_worst, expected.ap_worst)


@given(st.integers(0, 10_000))
def test_a_union_of_balls_returns_what_any_table_returns(seed):
    """Recall by radius: of a union it is at least that of every table,
    and at most that of all together.
    """
    sizes = (6, 6, 6)
    (query, q), (database, x) = (
        tables_of_codes(seed, 5, sizes),
        tables_of_codes(seed + 1, 30, sizes),
    )
    labels = np.arange(5) % 3, np.arange(30) % 3
    union = metrics.evaluate(q, x, *labels, bits=18, tables=sizes, combine="union")
    single = [
        metrics.evaluate(codes.pack(a), codes.pack(b), *labels, bits=6)
        for a, b in zip(query, database, strict=True)
    ]
    d = np.array(
        [(a[:, None] != b[None]).sum(2) for a, b in zip(query, database, strict=True)]
    )  # (T, Q, N)
    relevant = labels[0][:, None] == labels[1]
    for r in range(7):
        returned = (d <= r).any(0)
        assert union.recall[r] == pytest.approx(returned[relevant].sum() / relevant.sum())
        assert (
            max(s.recall[r] for s in single)
            <= union.recall[r]
            <= sum(s.recall[r] for s in single) + 1e-12
        )


@pytest.mark.parametrize("rule", ["sum", "union", "weighted"])
def test_a_run_is_judged_by_its_rule(rule, digits, tmp_path):
    settings = {"combine": rule, "scales": "conv2+fc", **UNTRAINED}
    record = experiments.run("mlsh", digits, 16, seed=1, root=tmp_path, save=True, **settings)
    assert record.tables == (8, 8) and record.combine == rule
    assert (record.table_weights is None) == (rule != "weighted")
    method = methods.create("mlsh", 16, **settings).fit(digits.train, seed=1)
    query, database = (
        split(method, method.encode(part.images)) for part in (digits.query, digits.database)
    )
    far = by_loops([bits[:10] for bits in query], database, rule, method.table_weights)
    expected = metrics.evaluate_distances(far, digits.query.labels[:10], digits.database.labels)
    stored = records.load(tmp_path)[0]
    part = stored.codes() | {"query_labels": digits.query.labels[:10]}
    part["query_codes"] = part["query_codes"][:10]
    assert metrics.evaluate(**part, bits=16, **records.comparison(stored)).map == pytest.approx(
        expected.map
    )
    assert records.verify(stored) == []


# ---- weights


@pytest.mark.parametrize(
    "maps, chance, expected",
    [
        ([0.4, 0.7, 0.9], 0.1, [6, 11, 15]),
        ([0.9, 0.9], 0.1, [15, 15]),
        ([0.05, 0.5], 0.1, [0, 15]),  # a table that is worse than chance has no say
        ([0.1, 0.1], 0.1, [1, 1]),  # where none knows anything, all have the same
        ([0.11, 0.9], 0.1, [0, 15]),
    ],
)
def test_weights_by_hand(maps, chance, expected):
    assert mlsh.weights_of(maps, chance) == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 0.5))
def test_weights_are_what_the_metric_takes(maps, chance):
    weights = mlsh.weights_of(maps, chance)
    assert all(isinstance(w, int) and 0 <= w <= 15 for w in weights) and max(weights) in (1, 15)
    for (a, wa), (b, wb) in itertools.product(zip(maps, weights, strict=True), repeat=2):
        assert wa >= wb or a < b


def test_weights_are_measured_on_images_that_the_tables_have_not_seen(digits, monkeypatch):
    """Again by hand: four fifths train, the other fifth asks, against the four fifths."""
    sizes, fit = [], COSDISH.fit
    monkeypatch.setattr(COSDISH, "fit", lambda self, X, y: sizes.append(len(X)) or fit(self, X, y))
    method = methods.create("mlsh", 24, combine="weighted", **UNTRAINED).fit(digits.train, seed=2)
    assert sizes == [1200] * 3 + [960] * 3
    order = np.random.default_rng(seeds.derived(2, "held out")).permutation(1200)
    held, rest = order[:240], order[240:]
    labels, maps = digits.train.labels, []
    for table, name in enumerate(LEVELS):
        x = level(method, digits.train.images, name)
        alone = COSDISH(8, random_state=seeds.derived(2, "table", table)).fit(x[rest], labels[rest])
        d = (alone.transform(x[held])[:, None] != alone.transform(x[rest])[None]).sum(2)
        maps.append(metrics.evaluate_distances(d, labels[held], labels[rest]).map)
    chance = (labels[held][:, None] == labels[rest]).mean()
    expected = [round(15 * (m - chance) / (max(maps) - chance)) for m in maps]
    assert np.abs(np.subtract(method.table_weights, expected)).max() <= 1  # single precision
    assert max(method.table_weights) == 15


@pytest.mark.parametrize(
    "tables, how",
    [(1, {"integration": "concatenate"}), (1, {"scales": "fc"}), (2, {"scales": "conv1+fc"})],
)
def test_there_is_nothing_to_weigh_in_a_single_table(tables, how, digits, monkeypatch):
    asked = []
    monkeypatch.setattr(mlsh.MLSH, "_weigh", lambda *a: asked.append(a) or [3] * tables)
    method = methods.create("mlsh", 8, combine="weighted", **how, **UNTRAINED).fit(digits.train)
    assert len(asked) == (tables > 1)
    assert method.network.head.weights.tolist() == ([3] * tables if asked else [1])


def test_as_many_bits_as_images_that_are_left_to_train_a_table(digits):
    assert methods.create("mlsh", 2880).check(digits.train) is None  # 960 a table, of 1200


# ---- the network


def test_the_network_is_trained_once_for_all_tables_and_rules(digits, monkeypatch):
    trained, train = [], loop.train
    monkeypatch.setattr(
        loop,
        "train",
        lambda stages, *a, **k: trained.append(stages[0].share_key) or train(stages, *a, **k),
    )
    shared = methods.Shared()
    variants = [
        {},
        {"scales": "fc"},
        {"integration": "concatenate", "ridge": 9.0},
        {"combine": "union"},
    ]
    together = [
        methods.create("mlsh", 12, epochs=1, **SMALL, **v).fit(digits.train, shared=shared)
        for v in variants
    ]
    assert len(set(map(str, trained))) == 1
    first = together[0].network.backbone.state_dict()
    for method, variant in zip(together, variants, strict=True):
        assert all(
            torch.equal(first[key], value)
            for key, value in method.network.backbone.state_dict().items()
        )
        alone = methods.create("mlsh", 12, epochs=1, **SMALL, **variant).fit(digits.train)
        assert (
            alone.encode(digits.query.images).tobytes()
            == method.encode(digits.query.images).tobytes()
        )


def test_a_frozen_network_is_not_trained_and_its_features_are_computed_once(digits, monkeypatch):
    asked, compute = [], features.compute
    monkeypatch.setattr(features, "compute", lambda *a: asked.append(a[1]) or compute(*a))
    shared = methods.Shared()
    for bits in (12, 24):
        method = methods.create("mlsh", bits, frozen=True, **SMALL).fit(digits.train, shared=shared)
        assert method.history == [] and not method.network.backbone.training
    assert asked == [LEVELS]


# ---- learning


def test_learns_digits_and_not_without_cosdish(digits, monkeypatch):
    """The same network, where the codes that the projection learns are drawn by lot."""
    learned = score(methods.create("mlsh", 24, epochs=5, **SMALL).fit(digits.train), digits)

    def by_lot(B, S, omega):
        return B

    monkeypatch.setattr("hashlab.shallow.cosdish.improve", by_lot)
    nothing = score(methods.create("mlsh", 24, epochs=5, **SMALL).fit(digits.train), digits)
    assert learned > 0.85 > 0.5 > nothing


@pytest.mark.parametrize("rule", ["sum", "union", "weighted"])
def test_saved_and_loaded_it_gives_the_same_codes_and_says_the_same_of_them(rule, digits, tmp_path):
    method = methods.create("mlsh", 12, combine=rule, scales="conv1+fc", **UNTRAINED).fit(
        digits.train
    )
    method.save(tmp_path / "model")
    loaded = methods.load(tmp_path / "model", "cpu")
    assert (
        loaded.encode(digits.query.images).tobytes() == method.encode(digits.query.images).tobytes()
    )
    for attribute in ("taps", "tables", "combine", "table_weights"):
        assert getattr(loaded, attribute) == getattr(method, attribute)


# ---- bad input


@pytest.mark.parametrize(
    "bits, overrides, words",
    [
        (
            12,
            {"scales": "conv3"},
            "scales: backbone tiny has no level 'conv3'; it has conv1, conv2, fc",
        ),
        (12, {"scales": ""}, "scales: backbone tiny has no level ''"),
        (
            12,
            {"scales": "conv1,fc,conv1"},
            r"scales: each level can be named once, got conv1\+fc\+conv1",
        ),
        (
            16,
            {},
            r"bits must be a multiple of 3, for 3 tables \(conv1, conv2, fc\) of equal size, got 16",
        ),
        (2, {"scales": "conv1+conv2+fc"}, "bits must be a multiple of 3, .* got 2"),
        (12, {"combine": "product"}, "combine must be one of sum, union, weighted, got 'product'"),
        (12, {"integration": "none"}, "integration must be one of tables, concatenate, got 'none'"),
        (12, {"dissimilar": "r"}, r"dissimilar must be one of -r, \+r, got 'r'"),
        (12, {"outer": 0}, "outer must be a whole number of at least 1, got 0"),
        (12, {"inner": 0}, "inner must be a whole number of at least 1, got 0"),
        (12, {"ridge": 0.0}, "ridge must be a finite number above 0, got 0.0"),
        (12, {"backbone": "deep"}, "unknown backbone 'deep'"),
    ],
)
def test_bad_settings_are_refused_before_any_work(bits, overrides, words, digits, monkeypatch):
    monkeypatch.setattr(mlsh.MLSH, "_build", lambda *a: pytest.fail("work has started"))
    with pytest.raises(InputError, match=words) as error:
        methods.create("mlsh", bits, **overrides).fit(digits.train)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "labels, words",
    [
        (np.zeros((100, 3), int), "two kinds at least"),
        (np.full((100, 3), 2), "labels must be .* of 0 and 1, .* got 2"),
        (np.arange(100) / 2, "whole numbers or text, got 0.5"),
    ],
)
def test_bad_labels(labels, words):
    train = SimpleNamespace(images=np.zeros((100, 8, 8), np.uint8), labels=labels)
    with pytest.raises(InputError, match=words):
        methods.create("mlsh", 12, batch_size=50).fit(train)
