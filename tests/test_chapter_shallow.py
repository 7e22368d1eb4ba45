"""What the chapter on hashing before deep learning shows its methods on, and asks of them."""

import itertools

import numpy as np
import pytest

from hashlab import shallow
from hashlab.chapters import shallow as chapter


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2, np.pi])
@pytest.mark.parametrize("size", [2, 64])
def test_a_pair_has_its_angle(angle, size):
    first, second = chapter.pair_at(angle, np.random.default_rng(1), size)
    assert np.allclose([first @ first, second @ second, first @ second], [1, 1, np.cos(angle)])


def test_turning_keeps_lengths_and_turns_to_the_left():
    assert np.allclose(chapter.turned(np.array([[2.0, 0.0]]), 90), [[0.0, 2.0]])


def test_opposite_clumps_share_a_class_and_neighbours_do_not():
    X, y = chapter.on_circle(4000, np.random.default_rng(1))
    sector = (np.arctan2(X[:, 1], X[:, 0]) // (np.pi / 4)).astype(int) % 8
    assert (sector % 4 == y).mean() > 0.98 and np.unique(sector).size == 8
    assert np.abs(np.hypot(*X.T) - 2).mean() < 0.3


def test_rows_in_the_plane_are_as_their_names_say():
    plane = chapter.plane(np.random.default_rng(0))
    axes = np.linalg.eigvalsh(np.cov(plane.ellipse.T))
    assert 6 < axes[1] / axes[0] < 12  # deviations 3 and 1
    clumps = plane.diamond.reshape(4, 60, 2)
    assert (clumps.std(1) < 0.2).all()
    assert np.bincount(plane.layer).tolist() == [150, 150]
    short = chapter.turned(plane.layers, -30)[:, 1]  # turned back: a layer lies above the other
    assert ((short > 0) == plane.layer).mean() > 0.98


class Known:
    """A model that knows the first feature's sign, and that learned other codes."""

    def __init__(self, codes=None):
        if codes is not None:
            self.codes_ = codes

    def decision_function(self, X):
        return np.repeat(X[:, :1], 8, axis=1)


X = np.array([[-1.0, 0.0], [-2.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
Y = np.array([0, 0, 1, 1])


def test_carried_counts_what_the_function_gets_wrong():
    learned = np.repeat(X[:, :1] >= 0, 8, axis=1)
    learned[0] = ~learned[0]  # one row in four has no bit right
    one = chapter.carried(Known(learned), (X, Y), (X[1:], Y[1:]))
    assert one.wrong == 0.25 and one.new == 1.0 and one.learned < 1.0


def test_without_learned_codes_nothing_is_carried():
    one = chapter.carried(Known(), (X, Y), (X, 1 - Y))
    assert one.wrong is None and one.learned is None and one.new == pytest.approx(5 / 12)


def test_kernels_make_cosdish_bend():
    rows, y = chapter.on_circle(200, np.random.default_rng(2))
    models = chapter.with_labels(rows, y, bits=8, anchors=40)
    assert list(models) == ["KSH", "SDH", "COSDISH", "COSDISH on kernels"]
    new = chapter.on_circle(200, np.random.default_rng(3))
    scores = {name: chapter.carried(model, (rows, y), new).new for name, model in models.items()}
    assert scores["COSDISH on kernels"] > 0.7 > 0.5 > scores["COSDISH"]
    bent = models["COSDISH on kernels"]
    assert bent.kernels(rows).shape == (200, 40) and bent.codes_.shape == (200, 8)


@pytest.fixture(scope="module")
def turns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    return chapter.Turns(rng.standard_normal((60, 5)) + 2 * np.eye(3, 5)[y], y, bits=3, anchors=12)


@pytest.fixture(scope="module")
def start():
    return np.where(np.random.default_rng(1).random((60, 3)) < 0.5, -1.0, 1.0)


def test_the_objective_of_turns_is_that_of_the_equation(turns, start):
    W, P = turns.fitted(start)
    parts = (turns.Y - start @ W, W, start - turns.phi @ P)
    wanted = sum(w * (m**2).sum() for w, m in zip((1, 1, 1e-5), parts, strict=True))
    assert turns.objective(start, W, P) == pytest.approx(wanted)


def test_all_codes_tried_are_the_best(turns, start):
    W, P = turns.fitted(start)
    best = chapter.all_tried(start, W, turns.linear(W, P))
    low = turns.objective(best, W, P)
    for row, code in itertools.product((0, 7), itertools.product((-1.0, 1.0), repeat=3)):
        other = best.copy()
        other[row] = code
        assert turns.objective(other, W, P) >= low - 1e-12


def test_relaxed_codes_are_signs_of_the_best_real_ones(turns, start):
    """Where the gradient of the objective by B is zero."""
    W, P = turns.fitted(start)
    real = np.linalg.solve(W @ W.T + 1e-5 * np.eye(3), turns.linear(W, P).T).T
    gradient = (real @ W - turns.Y) @ W.T + 1e-5 * (real - turns.phi @ P)
    assert np.abs(gradient).max() < 1e-9
    assert (chapter.relaxed(start, W, turns.linear(W, P)) == np.where(real >= 0, 1, -1)).all()


def test_a_step_is_measured_between_the_start_and_the_best(turns, start):
    ways = chapter.WAYS | {"nothing done": lambda B, W, Q: B}
    gained = turns.one_step(start, ways)
    assert gained["all codes tried"] == (1.0, 1.0) and gained["nothing done"][0] == 0.0
    assert 0 < gained["bit by bit"][0] <= 1


def test_rounds_fit_what_follows_to_the_codes(turns, start):
    same, count = turns.after(4, start, lambda B, W, Q: B)
    assert same == turns.objective(start, *turns.fitted(start))
    assert count == len(np.unique(start, axis=0))
    assert turns.after(3, start, chapter.bit_by_bit)[0] < same


def test_new_ways_are_those_of_sdh(turns):
    """A round of the estimator and of the chapter make the same codes."""
    rng = np.random.default_rng(5)
    rows, y = rng.standard_normal((60, 5)), np.arange(60) % 3
    model = shallow.SDH(bits=3, anchors=12, rounds=2).fit(rows, y)
    ours = chapter.Turns(rows, y, bits=3, anchors=12)
    B = np.where(model.codes_, 1.0, -1.0)
    W, P = ours.fitted(B)
    wanted = ours.objective(B, W, P) + 1e-5 * 1e-2 * (P**2).sum()
    assert model.loss_[-1] == pytest.approx(wanted)
