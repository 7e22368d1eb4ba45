"""The figures of the chapter on losses:
arrows are minus gradients, curves are those of the losses they name.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb

from hashlab import plots
from hashlab.chapters.figures import losses
from hashlab.errors import InputError
from hashlab.losses.pairs import similar
from hashlab.methods import CLASSES, csq, dch, dpsh, dsh, orthohash


def shown(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


# ---- gradients


def test_pulls_are_minus_gradients_by_differences():
    torch.manual_seed(0)
    z, centre = torch.randn(4, 3), torch.ones(4, 3).double()

    def loss(u):
        return csq.csq_loss(u, centre)

    found, step = losses.pulls(loss, z), 1e-6
    assert found.dtype == torch.float64 and not z.requires_grad
    for i in range(4):
        for k in range(3):
            moved = [z.double().clone() for _ in range(2)]
            moved[0][i, k] += step
            moved[1][i, k] -= step
            assert abs((loss(moved[0]) - loss(moved[1])) / (2 * step) + found[i, k]) < 1e-7


def test_a_loss_that_is_constant_pulls_nowhere():
    assert (losses.pulls(lambda u: torch.tensor(3.0), torch.ones(2, 2)) == 0).all()
    assert math.isnan(losses.growth(lambda u: torch.tensor(3.0), torch.ones(2, 2)))


@pytest.mark.parametrize(
    "loss, power",
    [
        (lambda u: (u @ u.T).sum(), 1),
        (lambda u: u.pow(3).sum(), 2),
        (lambda u: u.sum() + u.square().sum(), 0),
        (lambda u: u.norm(), 0),
        (lambda u: u[0] @ u[1] / (u[0].norm() * u[1].norm()), -1),
    ],
)
def test_growth_is_the_power_of_the_gradient(loss, power):
    torch.manual_seed(0)
    assert abs(losses.growth(loss, torch.randn(2, 3)) - power) < 1e-3


# ---- pairs on one axis


@given(st.floats(-0.999, 0.999), st.integers(2, 64))
def test_a_pair_agrees_as_asked_and_is_as_long_as_codes(agreement, bits):
    u, v = losses.pair(torch.tensor(agreement, dtype=torch.float64), bits)
    assert math.isclose(u @ v / bits, agreement, abs_tol=1e-9)
    assert math.isclose(u @ u, bits, rel_tol=1e-9) and math.isclose(v @ v, bits, rel_tol=1e-9)


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(
    "loss",
    [
        lambda u, y: dsh.dsh_loss(u, y, m=32, alpha=0),
        lambda u, y: dpsh.dpsh_loss(u, u, similar(y), 0.0, counted=~torch.eye(2, dtype=torch.bool)),
        lambda u, y: dch.dch_loss(u, y, weight=0),
    ],
)
def test_curves_are_the_loss_of_codes_at_every_distance(loss, same):
    distances = np.arange(1, 16)
    values, slopes = losses.pair_curve(loss, same, 16, 1 - 2 * distances / 16)
    for d, value in zip(distances, values, strict=True):
        codes = torch.ones(2, 16).double()
        codes[1, :d] = -1
        assert math.isclose(
            value, loss(codes, torch.tensor([0, 0 if same else 1])), rel_tol=1e-9, abs_tol=1e-12
        )
    fine = 1 - 2 * np.array([4.9999, 5.0001]) / 16
    beside = losses.pair_curve(loss, same, 16, fine)[0]
    assert math.isclose((beside[1] - beside[0]) / (fine[1] - fine[0]), slopes[4], rel_tol=1e-4)


def test_unit_stretches():
    assert losses.unit(np.array([3.0, 5.0, 4.0])).tolist() == [0, 1, 0.5]


def test_ridges_have_a_row_per_loss_and_two_columns():
    x = np.linspace(0.1, 0.9, 5)
    rows = {
        name: {"similar": (x, np.full(5, 2.0)), "dissimilar": (1 - x, -x)}
        for name in ("one", "another", "a third")
    }
    figure = losses.ridges(rows, x, "distance")
    axes = np.array(figure.axes).reshape(3, 2)
    assert [ax.get_ylabel() for ax in axes[:, 0]] == list(rows)
    assert [ax.get_title() for ax in axes[0]] == ["loss", "pull"]
    assert all(ax.get_xlabel() == "distance" for ax in axes[-1])
    left, right = axes[1]
    assert np.allclose(left.lines[0].get_ydata(), np.linspace(0, 1, 5))
    assert np.allclose(right.lines[0].get_ydata(), 1)
    assert np.allclose(
        [line.get_ydata() for line in right.lines if len(line.get_ydata()) == 5][1], x / 0.9
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["similar", "dissimilar"]


# ---- planes


def test_plane_draws_arrows_to_scale_and_names_codes_and_classes():
    z = torch.tensor([[0.5, 0.5], [-0.5, 0.2], [0.0, -1.0]])
    moves = torch.tensor([[0.0, 2.0], [-1.0, 0.0], [0.0, 0.0]])
    ax = losses.plane(z, torch.tensor([0, 0, 1]), moves, {"centre": (1, 1)}, longest=0.8)
    texts = shown(ax)
    assert sorted(texts) == sorted(["00", "01", "10", "11", "A", "A", "B", "centre"])
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    ends = [(np.array(text.xy) - text.xyann) for text in arrows]
    assert np.allclose(ends, [[0, 0.8], [-0.4, 0]])  # the third image is not pulled
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert np.allclose([line.get_xydata()[0] for line in points], z)
    assert [to_rgb(line.get_color()) for line in points] == [plots.palette(2)[i] for i in (0, 0, 1)]


def test_plane_corner_texts_are_the_codes_of_their_quarters():
    ax = losses.plane(torch.zeros(1, 2), torch.zeros(1).long(), torch.zeros(1, 2))
    for text in ax.texts:
        if text.get_text() in ("00", "01", "10", "11"):
            x, y = text.get_position()
            assert text.get_text() == f"{int(x > 0.5)}{int(y > 0.5)}"


@pytest.mark.parametrize("z, moves", [((3, 3), (3, 3)), ((3, 2), (2, 2)), ((6,), (6,))])
def test_plane_wants_two_bits(z, moves):
    with pytest.raises(InputError, match=r"outputs and moves must be \(B, 2\), got"):
        losses.plane(torch.zeros(z), torch.zeros(3).long(), torch.zeros(moves))


def test_planes_stand_side_by_side():
    z, y = torch.ones(2, 2), torch.tensor([0, 1])
    figure = losses.planes({"left": (z, None), "right": (-z, {"c": (0, 0)})}, z, y)
    assert [ax.get_title() for ax in figure.axes] == ["left", "right"]
    assert "c" in shown(figure.axes[1]) and "c" not in shown(figure.axes[0])


def test_the_sketch_of_kinds_has_an_image_amid_what_it_is_compared_with():
    figure = losses.kinds()
    sketches = dict(zip(losses.COMPARED, figure.axes, strict=False))
    for kind, ax in sketches.items():
        assert ax.get_title() == kind
        letters = [text for text in shown(ax) if text.strip()]
        assert letters.count("A") >= 1 and len(ax.lines) == len(losses.COMPARED[kind]) + 1
        arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
        for arrow, (point, (letter, _)) in zip(arrows, losses.COMPARED[kind].items(), strict=True):
            outwards = np.dot(np.subtract(arrow.xy, arrow.xyann), point) > 0
            assert outwards == (letter in "A "), "to what pulls, from what pushes"
    assert {"●", "◆", "■"} <= set("".join(shown(figure.axes[-1])))


# ---- the others


def test_landscape_points_downhill():
    import matplotlib.pyplot as plt

    ax = losses.landscape(lambda u: (u - 0.9).square().sum(), plt.subplots()[1], "a bowl")
    (field,) = [artist for artist in ax.collections if hasattr(artist, "U")]
    places, moves = np.stack([field.X, field.Y], 1), np.stack([field.U, field.V], 1)
    assert np.allclose(np.linalg.norm(moves, axis=1), 1)
    assert np.allclose(((0.9 - places) * moves).sum(1), np.linalg.norm(0.9 - places, axis=1))
    assert ax.get_title() == "a bowl"


def test_landscape_has_no_arrow_where_there_is_no_slope():
    import matplotlib.pyplot as plt

    ax = losses.landscape(lambda u: u.clamp(min=0).square().sum(), plt.subplots()[1], "half a bowl")
    (field,) = [artist for artist in ax.collections if hasattr(artist, "U")]
    flat = (field.X < 0) & (field.Y < 0)
    assert (
        (field.U[flat] == 0).all()
        and (field.V[flat] == 0).all()
        and np.abs(field.U[~flat]).max() == 1
    )


def test_histograms_count_what_lies_outside_at_the_edge():
    figure = losses.histograms(
        {"one": np.array([[0.0, 9.0], [-9.0, 0.0]]), "two": np.ones(5)}, "output", reach=2, bins=5
    )
    first, second = figure.axes
    heights = [patch.get_height() for patch in first.patches]
    assert np.allclose(np.array(heights) * 1.0, [0.25, 0, 0.5, 0.25])
    assert (first.get_ylabel(), second.get_ylabel()) == (
        "one",
        "two",
    ) and second.get_xlabel() == "output"


def test_dots_keep_their_order():
    ax = losses.dots({"first": (0.1, 0.2, 0.3), "second": (0.8, 0.9, 1.0)}, "mAP")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    places = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert places == [(0.2, 0), (0.9, 1)] and ax.yaxis_inverted() and ax.get_xlabel() == "mAP"


def test_angles_turn_and_do_not_stretch():
    """What the chapter's picture of OrthoHash shows, on random outputs."""
    torch.manual_seed(0)
    z, o = torch.randn(5, 8).double(), torch.ones(2, 8).double() * torch.tensor([[1.0], [-1.0]])
    y = torch.eye(2).double()[torch.tensor([0, 1, 1, 0, 1])]
    moves = losses.pulls(lambda u: orthohash.orthohash_loss(u, y, o), z)
    assert (moves * z).sum(1).abs().max() < 1e-12 < moves.abs().max()


# ---- the benchmark


@pytest.fixture(scope="module")
def benchmark_of_losses():
    path = Path(__file__).parents[1] / "benchmarks" / "losses.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_losses", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_times_every_loss_there_is(benchmark_of_losses):
    timed = {name.split(",")[0] for name in benchmark_of_losses.modules(8)}
    assert timed == set(CLASSES) - {
        "mlsh",
        "dmsh",
    }  # whose networks are trained with losses of others
    assert set(benchmark_of_losses.PAIRWISE) <= set(benchmark_of_losses.modules(8))


def test_the_benchmark_prints_a_line_per_loss(benchmark_of_losses, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_of_losses, "ROUNDS", 1)
    benchmark_of_losses.main(["--batch", "6", "--bits", "12", "--no-network"])
    said = capsys.readouterr().out
    assert said.startswith("CPU") and "batches of 6" in said and "target" not in said
    with pytest.raises(SystemExit):
        benchmark_of_losses.main(["--bits", "8"])
    assert "--bits must be 10 or more" in capsys.readouterr().err
    assert all(f"\n{name} " in said for name in benchmark_of_losses.modules(8))


def test_the_benchmark_judges_the_dearest_pairwise_loss(benchmark_of_losses, capsys):
    times = dict.fromkeys(benchmark_of_losses.modules(8), 0.001) | {"dch": 0.005, "dtsh": 0.5}
    assert benchmark_of_losses.report(
        4, {8: times, 16: dict(times, dsh=0.007)}, network=0.1
    ) == pytest.approx(0.07)
    assert "5.00%" in capsys.readouterr().out
