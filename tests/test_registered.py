"""A network of one's own as a backbone: known by its name to methods, runs and models; what it does not
do is said in a sentence.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from hashlab import experiments, methods, networks
from hashlab.data.batches import stored
from hashlab.errors import InputError
from hashlab.networks import backbones, features, weights
from hashlab.networks.stages import Backbone, Level

BITS = 8


class Own(nn.Module):
    """Two convolutions, a shared activation, a position of its own, and a vector."""

    levels = {"early": "first", "late": "second"}  # noqa: RUF012

    def __init__(self, shape=(8, 8, 1), outputs=12):
        super().__init__()
        self.first = nn.Conv2d(shape[2], 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.start = nn.Parameter(torch.randn(6, 1, 1))
        self.second = nn.Sequential(nn.BatchNorm2d(6), nn.Conv2d(6, 9, 3, padding=1))
        self.end = nn.Parameter(torch.randn(9))
        self.dense = nn.Linear(9, outputs)

    def forward(self, x):
        x = self.relu(self.first(x) + 0)
        x = self.relu(self.second(x + self.start))
        return self.dense(self.relu(x.mean((2, 3)) + self.end))


class Shortcut(Own):
    """What comes behind a level needs more than the level."""

    def forward(self, x):
        early = self.first(x)
        return self.dense(self.second(self.relu(early)).mean((2, 3)) + early.mean())


def part(side=8, count=48):
    numbers = np.random.default_rng(0)
    pixels = numbers.integers(0, 256, (count, side, side), dtype=np.uint8)
    return SimpleNamespace(images=pixels, labels=np.arange(count) % 4)


@pytest.fixture
def known(monkeypatch):
    """Names that are forgotten after the test."""
    monkeypatch.setattr(backbones, "BACKBONES", dict(backbones.BACKBONES))
    monkeypatch.setattr(weights, "OWN", dict(weights.OWN))
    backbones._levels.cache_clear()
    yield networks
    backbones._levels.cache_clear()


def test_methods_train_it(known, tmp_path):
    assert known.register("own", Own) is Own and "own" in networks.names()
    for method in ("csq", "dpsh", "itq", "dmsh"):
        settings = {} if method == "itq" else {"epochs": 1, "batch_size": 16}
        model = methods.create(method, BITS, backbone="own", **settings)
        model.fit(part(), device="cpu").save(tmp_path / method)
        codes = model.encode(part().images)
        assert model.backbone == "own" and codes.shape == (48, 8)
        again = methods.load(tmp_path / method, "cpu")
        np.testing.assert_array_equal(again.encode(part().images), codes)
    assert model.taps == ("early", "late")


def test_a_model_whose_backbone_is_not_registered(known, tmp_path):
    known.register("own", Own)
    for method in ("csq", "itq"):
        settings = {"epochs": 1, "batch_size": 16} if method == "csq" else {}
        model = methods.create(method, BITS, backbone="own", **settings).fit(part(), device="cpu")
        model.save(tmp_path / method)
    del backbones.BACKBONES["own"]
    for method in ("csq", "itq"):
        text = f"^{tmp_path / method} cannot be loaded here: unknown backbone 'own'; .* register"
        with pytest.raises(InputError, match=text.replace(" register", r" networks\.register")):
            methods.load(tmp_path / method, "cpu")


def test_levels_and_channels_are_measured(known):
    known.register("own", Own)
    expected = {"early": Level(6, 2), "late": Level(9, 2), "features": Level(12, None)}
    assert networks.levels("own", (8, 8, 3)) == expected
    net = backbones.create("own", (8, 8, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    late, early = net.forward_levels(x, ["late", "early"])
    torch.testing.assert_close(early, net.network.first(x))
    torch.testing.assert_close(
        late, net.network.second(net.network.relu(early) + net.network.start)
    )
    assert net(x).shape == (2, net.features)


@pytest.mark.parametrize(
    "level, trained",
    [
        (
            "early",
            {"start", "second.0.weight", "second.0.bias", "second.1.weight", "second.1.bias"},
        ),
        ("late", set()),
    ],
)
def test_frozen_up_to_a_level(level, trained, known):
    """Parameters that belong to no module of their own are on the side where they are used, and so
    is a module that is used on both.
    """
    known.register("own", Own)
    net = backbones.create("own", (8, 8, 1), frozen=level)
    names = {name for name, weight in net.network.named_parameters() if weight.requires_grad}
    assert names == trained | {"end", "dense.weight", "dense.bias"}
    x = torch.randn(3, 1, 8, 8)
    net.train()
    means = net.network.second[0].running_mean.clone()
    z = net(net.kept(x))
    z.sum().backward()
    assert torch.equal(net.network.second[0].running_mean, means) == (level == "late")
    torch.testing.assert_close(net.eval()(net.kept(x)), net(x))
    net.network.first.forward = None  # what lies before is not run for what is kept
    net(torch.randn(3, *{"early": (6, 4, 4), "late": (9, 4, 4)}[level]))


def test_what_is_kept_is_taken_up_outside_of_compiled_code(known):
    """The compiler would keep the outputs that stand in for what is over; all else it may have."""
    known.register("own", Own)
    net, graphs = backbones.create("own", (8, 8, 1), frozen="early").eval(), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    x = torch.randn(3, 6, 4, 4)
    compiled = torch.compile(lambda x: 2 * net(x), backend=backend)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), 2 * net(x))
    operations = {node.op + str(node.target) for graph in graphs for node in graph.graph.nodes}
    assert any("mul" in name for name in operations)
    assert not any("conv" in name or "linear" in name for name in operations)


def test_a_level_that_does_not_suffice(known):
    known.register("shortcut", Shortcut)
    with pytest.raises(InputError, match="follow from alone, which is not so of 'late'"):
        backbones.create("shortcut", (8, 8, 1), frozen="late")
    backbones.create("shortcut", (8, 8, 1), frozen="early")


def test_methods_train_the_rest_of_it(known):
    known.register("own", Own)
    settings = {"epochs": 1, "batch_size": 16, "backbone": "own", "frozen": "early"}
    model = methods.create("csq", BITS, **settings).fit(part(), device="cpu")
    z = model.net.batches(part().images).map(model.network.eval(), "outputs").numpy()
    np.testing.assert_allclose(z, model.outputs(part().images), atol=0.02)


def test_stages_are_taken_as_they_are(known):
    def make(shape):
        return Backbone(
            [
                ("conv", nn.Conv2d(shape[2], 5, 3, stride=2, padding=1), Level(5, 2)),
                ("pool", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Level(5, None)),
            ]
        )

    known.register("stages", make)
    net = backbones.create("stages", (8, 8, 1), frozen="conv")
    assert isinstance(net, Backbone) and list(net.levels) == ["conv", "pool"]
    assert not net.stages["conv"].weight.requires_grad


def test_its_start_follows_from_the_seed_alone(known):
    """However often it was made before to see what it gives."""
    known.register("own", Own)
    view = features.view_of("own", "scratch", part().images)
    first = features.at_start("own", view, "scratch", 3, False).state_dict()
    backbones._levels.cache_clear()
    backbones.blueprint.cache_clear()
    torch.rand(7)
    second = features.at_start("own", view, "scratch", 3, False).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    state = torch.random.get_rng_state()
    backbones.blueprint.cache_clear()
    backbones.check("own", (8, 8, 1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_weights_of_a_file_and_what_records_say(known, tmp_path, digits):
    known.register("own", Own)
    file = tmp_path / "own.safetensors"
    safetensors.torch.save_file(Own().state_dict(), file)
    net = backbones.create("own", (8, 8, 1), str(file))
    for name, tensor in safetensors.torch.load_file(file).items():
        assert torch.equal(tensor, net.network.state_dict()[name])
    with pytest.raises(InputError, match=r"other weights than those of own: first\.weight is"):
        backbones.check("own", (8, 8, 3), str(file))
    assert weights.describe("scratch", "own") == "scratch"
    known.register("own", Own, weights_name="mine of May")
    record = experiments.run("itq", digits, BITS, backbone="own")
    assert (record.backbone, record.weights) == ("own", "mine of May")
    assert features.Origin.of("own", str(file), 5).seed == 5  # nothing is kept on disk by its name


def test_images_are_normalised_as_it_was_registered(known):
    known.register("own", Own, mean=[0.25], std=[2])
    view = features.view_of("own", "scratch", part().images)
    assert (view.mean, view.std, view.shape) == ((0.25,), (2.0,), (8, 8, 1))
    known.register("own", Own)
    view = features.view_of("own", "scratch", part().images)
    assert view.mean == pytest.approx([stored(part().images).images.mean() / 255])
    known.register("own", Own, mean=[0, 0, 0], std=[1, 1, 1])
    with pytest.raises(InputError, match="backbone own normalises 3 channels, the images have 1"):
        features.view_of("own", "scratch", part().images)


# ---- what is no backbone


@pytest.mark.parametrize("name", ["quick", "resnet18", "auto", "pixels", "own"])
def test_names_that_are_taken(name, known):
    known.register("own", Own)
    with pytest.raises(InputError, match=f"there is another backbone called '{name}'; give yours"):
        known.register(name, Shortcut)


def test_a_cell_may_be_run_again(known):
    for outputs in (3, 5):

        def make(shape, outputs=outputs):
            return Own(shape, outputs)

        known.register("own", make)
        assert networks.levels("own", (8, 8, 1))["features"].channels == outputs


@pytest.mark.parametrize(
    "name", ["timm/own", "", "a b", "../own", "own+", "-x", "x.", 3, None, "é"]
)
def test_names_that_are_none(name, known):
    with pytest.raises(
        InputError, match=r"a backbone's name is letters, digits and _ - \. between"
    ):
        known.register(name, Own)


def fails(shape):
    raise ZeroDivisionError("by mistake")


class Returns(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def with_levels(**levels):
    net = Own()
    net.levels = levels
    return net


WRONG = {
    "cannot be made for images of .8, 8, 1.*ZeroDivisionError: by mistake": fails,
    "make must give a torch.nn.Module, got int": lambda shape: 3,
    "a vector per image, .2, d., is expected, got .2, 1, 8, 8": lambda shape: nn.Identity(),
    "a vector per image, .2, d., is expected, got tuple": lambda shape: Returns(lambda x: (x, x)),
    "a vector per image, .2, d., is expected, got .1, 128": lambda shape: (
        nn.Flatten(0, -1) and Returns(lambda x: x.reshape(1, -1))
    ),
    "fails for images of .8, 8, 1., height, width and channels .RuntimeError": lambda shape: (
        nn.Linear(99, 2)
    ),
    "level x must be given by a module of its, got 'nowhere'": lambda shape: with_levels(
        x="nowhere"
    ),
    "level x must give maps .* or vectors .B, C., got .2, 9, 16.": lambda shape: tokens(),
    "features is its output; give the level another name": lambda shape: with_levels(
        features="first"
    ),
    "level x must be given by a module that is run": lambda shape: unused(),
}


def tokens():
    net = nn.Sequential(nn.Conv2d(1, 9, 3, 2, 1), nn.Flatten(2), nn.Flatten())
    net.levels = {"x": "1"}
    return net


def unused():
    net = with_levels(x="more")
    net.more = nn.ReLU()
    return net


@pytest.mark.parametrize("text", WRONG)
def test_networks_that_are_no_backbones(text, known):
    known.register("wrong", WRONG[text])
    for attempt in (
        lambda: methods.create("csq", BITS, backbone="wrong", batch_size=8).check(part()),
        lambda: methods.create("itq", BITS, backbone="wrong").fit(part(), device="cpu"),
        lambda: networks.create("wrong", (8, 8, 1)),
    ):
        with pytest.raises(InputError, match=f"^backbone wrong:? {text}"):
            attempt()


def test_what_register_refuses(known):
    with pytest.raises(InputError, match=r"make must be a function of \(H, W, C\), got Sequential"):
        known.register("own", nn.Sequential())
    with pytest.raises(InputError, match="mean and std belong together"):
        known.register("own", Own, mean=[0.5])
