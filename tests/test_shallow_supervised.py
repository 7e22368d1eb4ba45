"""Estimators that learn from labels, COSDISH apart:
objectives and steps again, with loops or independent libraries.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg
from scipy.optimize import check_grad
from sklearn.cross_decomposition import CCA

from hashlab.shallow import CCAITQ, KSH, SDH
from hashlab.shallow.anchors import mean_squared_distance
from hashlab.shallow.cca_itq import cca
from hashlab.shallow.ksh import climb, descend, greedy, residual, similar_times, smooth, whitening
from hashlab.shallow.sdh import cyclic_descent


def rows(count=80, features=6, classes=3, seed=0):
    """Features in overlapping classes, and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(count) % classes)
    return rng.standard_normal((count, features)) + 1.5 * np.eye(features)[y], y


def gaussian(X, Z, gamma):
    return np.array([[math.exp(-gamma * math.dist(x, z) ** 2) for z in Z] for x in X])


# ---- CCA-ITQ


def centred(count=80, labels=3):
    X, y = rows(count, classes=labels)
    Y = np.eye(labels)[y]
    return X - X.mean(0), Y - Y.mean(0)


def test_cca_solves_its_generalised_eigenproblem():
    X, Y = centred()
    rho = 0.05
    n = len(X) - 1
    Cxx, Cyy, Cxy = X.T @ X / n + rho * np.eye(6), Y.T @ Y / n + rho * np.eye(3), X.T @ Y / n
    directions, correlations = cca(X, Y, rho)
    values = linalg.eigh(Cxy @ np.linalg.inv(Cyy) @ Cxy.T, Cxx, eigvals_only=True)[::-1]
    assert np.allclose(correlations**2, values[:3])
    for w, r in zip(directions.T, correlations, strict=True):
        assert np.allclose(Cxy @ np.linalg.inv(Cyy) @ Cxy.T @ w, r**2 * Cxx @ w)
        assert w @ Cxx @ w == pytest.approx(1)


def test_cca_finds_what_sklearn_finds():
    """Without regularisation to speak of;
    one of three class columns is the others' complement, and is left out.
    """
    X, Y = centred()
    directions, correlations = cca(X, Y[:, :2], 1e-12)
    theirs = CCA(2, scale=False, max_iter=5000, tol=1e-12).fit(X, Y[:, :2])
    scores = theirs.transform(X)
    for k in range(2):
        assert abs(np.corrcoef(scores[:, k], X @ directions[:, k])[0, 1]) > 1 - 1e-6
        assert correlations[k] == pytest.approx(
            np.corrcoef(*(s[:, k] for s in theirs.transform(X, Y[:, :2])))[0, 1]
        )


@pytest.mark.parametrize("bits", [2, 5])
def test_cca_itq_rotates_scaled_directions(bits):
    X, y = rows()
    model = CCAITQ(bits=bits).fit(X, y)
    Y = np.eye(3)[y]
    directions, correlations = cca(X - X.mean(0), Y - Y.mean(0), 1e-4)
    scaled = np.hstack([directions * correlations, np.zeros((6, 3))])[:, :bits]
    assert np.allclose(model.weights_, scaled @ model.rotation_)
    assert np.allclose(model.rotation_ @ model.rotation_.T, np.eye(bits))
    assert (np.diff(model.loss_) <= 1e-9 * model.loss_[0]).all()
    assert np.allclose(model.correlations_, correlations[:bits])


def test_cca_itq_does_not_see_invertible_maps_of_features():
    """Correlations stay when features are mixed;
    so do codes, for the start is drawn from the seed alone.
    """
    X, y = rows()
    mixed = X @ np.random.default_rng(1).standard_normal((6, 6)) + 3
    first, second = (CCAITQ(bits=2, rho=1e-13).fit(F, y) for F in (X, mixed))
    assert np.allclose(first.correlations_, second.correlations_)
    a, b = first.decision_function(X), second.decision_function(mixed)
    assert np.allclose(a @ a.T, b @ b.T, atol=1e-6)


# ---- kernels


def test_mean_squared_distance():
    X, Z = rows()[0] + 1e4, rows(9, seed=1)[0] + 1e4
    assert mean_squared_distance(X, Z) == pytest.approx(
        np.mean([[math.dist(x, z) ** 2 for z in Z] for x in X])
    )


@pytest.mark.parametrize("kind", [KSH, SDH])
@pytest.mark.parametrize("gamma", [None, 0.3])
def test_outputs_are_linear_in_the_kernel(kind, gamma):
    X, y = rows()
    model = kind(bits=4, anchors=7, gamma=gamma).fit(X, y)
    width = gamma or 1 / (2 * np.mean([[math.dist(x, z) ** 2 for z in model.anchors_] for x in X]))
    assert model.gamma_ == pytest.approx(width)
    assert all(any((anchor == x).all() for x in X) for anchor in model.anchors_)
    assert len(np.unique(model.anchors_, axis=0)) == 7
    new = rows(5, seed=1)[0]
    assert np.allclose(
        model.decision_function(new),
        gaussian(new, model.anchors_, width) @ model.weights_ + model.offset_,
    )


# ---- KSH


def similarities(labels):
    shares = [[any(a and b for a, b in zip(u, v, strict=True)) for v in labels] for u in labels]
    return np.where(shares, 1.0, -1.0)


@given(seed=st.integers(0, 1000), classes=st.integers(2, 6), several=st.booleans())
def test_similarity_is_multiplied_without_being_written_down(seed, classes, several):
    rng = np.random.default_rng(seed)
    one = np.eye(classes)[rng.integers(0, classes, 25)]
    labels = (rng.random((25, classes)) < 0.3).astype(float) if several else one
    v = rng.standard_normal(25)
    assert np.allclose(similar_times(labels)(v), similarities(labels) @ v)


def centred_kernel(count=60, anchors=8, seed=0):
    X, y = rows(count, seed=seed)
    kernel = gaussian(X, X[:anchors], 0.2)
    return kernel - kernel.mean(0), np.eye(3)[y]


def test_ksh_start_is_the_leading_generalised_eigenvector():
    kernel, labels = centred_kernel()
    K, N = 4, len(kernel)
    weights, climbed = greedy(kernel, similar_times(labels), K, steps=0)
    R = K * similarities(labels)
    for k in range(K):
        values, vectors = linalg.eigh(kernel.T @ R @ kernel, kernel.T @ kernel)
        a = weights[:, k]
        assert a @ kernel.T @ R @ kernel @ a == pytest.approx(values[-1] * N)
        assert a @ kernel.T @ kernel @ a == pytest.approx(N)
        assert abs(vectors[:, -1] @ kernel.T @ kernel @ a) == pytest.approx(math.sqrt(N))
        y = np.where(kernel @ a >= 0, 1.0, -1.0)
        R = R - np.outer(y, y)
    assert not climbed.any()


def test_ksh_whitening_leaves_out_what_does_not_vary():
    kernel, _ = centred_kernel()
    doubled = np.hstack([kernel, kernel[:, :3], np.zeros((60, 1))])
    W = whitening(doubled)
    assert W.shape == (12, 8)
    assert np.allclose(W.T @ doubled.T @ doubled @ W, np.eye(8), atol=1e-6)


def test_ksh_residual():
    _, labels = centred_kernel()
    codes = np.random.default_rng(0).choice([-1.0, 1.0], (3, 60))
    R = 5 * similarities(labels) - sum(np.outer(y, y) for y in codes)
    v = np.random.default_rng(1).standard_normal(60)
    assert np.allclose(residual(similar_times(labels), codes, 5)(v), R @ v)


def test_ksh_gradient():
    kernel, labels = centred_kernel()
    S = similarities(labels)

    def cost(a):
        phi = [2 / (1 + math.exp(-u)) - 1 for u in kernel @ a]
        return -sum(phi[i] * S[i, j] * phi[j] for i, j in itertools.product(range(60), repeat=2))

    R = similar_times(labels)
    a = np.random.default_rng(0).standard_normal(8)
    assert smooth(kernel @ a, R)[0] == pytest.approx(cost(a))
    assert check_grad(
        cost, lambda a: kernel.T @ smooth(kernel @ a, R)[1], a
    ) < 1e-3 * np.linalg.norm(smooth(kernel @ a, R)[1])


def test_ksh_step_is_bounded_by_its_parabola():
    kernel, labels = centred_kernel()
    R = residual(similar_times(labels), np.zeros((0, 60)), 30)
    a = np.random.default_rng(0).standard_normal(8)
    cost, slope = smooth(kernel @ a, R)
    gradient = kernel.T @ slope
    end, value, bound = descend(R, kernel @ a, kernel @ gradient, cost, gradient @ gradient, 1.0)
    for tried in 2.0 ** np.arange(51):
        reached = smooth(kernel @ (a - gradient / tried), R)[0]
        if reached <= cost - gradient @ gradient / (2 * tried):
            break
    assert bound == tried > 1 and value == pytest.approx(reached)
    assert np.allclose(end, kernel @ (a - gradient / bound))


def test_ksh_climbs():
    kernel, labels = centred_kernel()
    R = similar_times(labels)
    start = np.random.default_rng(0).standard_normal(8)
    costs = [smooth(kernel @ climb(kernel, R, start, steps), R)[0] for steps in (0, 1, 5, 50)]
    assert costs == sorted(costs, reverse=True) and costs[-1] < 1.5 * costs[0] < 0
    assert (climb(kernel, R, start, 0) == start).all()


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_ksh_climbs_as_nesterov_does(steps):
    """Again from the weights alone, every product made anew."""
    kernel, labels = centred_kernel()
    R = similar_times(labels)

    def cost(a):
        return smooth(kernel @ a, R)[0]

    start = np.random.default_rng(0).standard_normal(8)
    points = [start, start]
    t = [0.0, 1.0]
    curvature = 1.0
    for _ in range(steps):
        probe = points[-1] + (t[-2] - 1) / t[-1] * (points[-1] - points[-2])
        gradient = kernel.T @ smooth(kernel @ probe, R)[1]
        decrease = gradient @ gradient / 2
        while cost(probe - gradient / curvature) > cost(probe) - decrease / curvature:
            curvature *= 2
        points.append(probe - gradient / curvature)
        t.append((1 + math.sqrt(1 + 4 * t[-1] ** 2)) / 2)
        if abs(cost(points[-1]) - cost(points[-2])) <= 0.01 * len(kernel):
            break
    assert len(points) == steps + 2 or steps > 5
    np.testing.assert_allclose(climb(kernel, R, start, steps), points[-1], rtol=1e-9)


def test_ksh_keeps_the_better_of_start_and_climb():
    kernel, labels = centred_kernel()
    S = similar_times(labels)
    weights, climbed = greedy(kernel, S, 6, 500)
    codes = np.zeros((0, 60))
    for k in range(6):
        R = residual(S, codes, 6)
        start = greedy_start(kernel, similarities(labels), codes, 6)
        ends = start, climb(kernel, R, start, 500)
        gains = [y @ R(y) for y in (np.where(kernel @ a >= 0, 1.0, -1.0) for a in ends)]
        assert climbed[k] == (gains[1] > gains[0])
        y = np.where(kernel @ weights[:, k] >= 0, 1.0, -1.0)
        assert y @ R(y) == pytest.approx(max(gains))
        codes = np.vstack([codes, y])
    assert climbed.any()


def greedy_start(kernel, S, codes, bits):
    R = bits * S - codes.T @ codes
    a = linalg.eigh(kernel.T @ R @ kernel, kernel.T @ kernel)[1][:, -1]
    return a * math.sqrt(len(kernel) / (a @ kernel.T @ kernel @ a))


def test_ksh_objective_falls_with_every_bit_s_gradient_steps():
    X, y = rows(120, seed=2)
    S = similarities(np.eye(3)[y])

    def objective(model):
        B = np.where(model.transform(X), 1.0, -1.0)
        return ((8 * S - B @ B.T) ** 2).sum()

    models = [KSH(bits=8, anchors=20, steps=steps).fit(X, y) for steps in (0, 500)]
    assert objective(models[1]) < objective(models[0])


def test_ksh_uses_the_labels_it_draws_and_no_others():
    X, y = rows(200, seed=3)
    model = KSH(bits=4, anchors=10, labeled=50)
    rng = np.random.default_rng(0)
    rng.choice(200, 10, replace=False)  # the anchors
    drawn = rng.choice(200, 50, replace=False)
    other = np.where(np.isin(np.arange(200), drawn), y, 2 - y)
    assert (model.fit(X, y).weights_ == model.fit(X, other).weights_).all()
    other[drawn] = (y[drawn] + (np.arange(50) < 25)) % 3
    assert (model.fit(X, y).weights_ != model.fit(X, other).weights_).any()


@pytest.mark.parametrize("kind", [KSH, SDH, CCAITQ])
def test_several_labels_that_are_one_give_the_same(kind):
    X, y = rows()
    anchors = {} if kind is CCAITQ else {"anchors": 8}
    one, several = (kind(bits=4, **anchors).fit(X, t) for t in (y, np.eye(3, dtype=int)[y]))
    assert np.allclose(one.decision_function(X), several.decision_function(X))


# ---- SDH


def sdh_objective(Y, B, W, F, lam, nu):
    fit = sum(
        (Y[n, c] - sum(B[n, k] * W[k, c] for k in range(B.shape[1]))) ** 2
        for n, c in np.ndindex(Y.shape)
    )
    return fit + lam * (W**2).sum() + nu * ((B - F) ** 2).sum()


@given(seed=st.integers(0, 1000))
def test_sdh_bits_never_raise_the_objective(seed):
    """Column after column, as the sweep goes; and a sweep is the loop of the paper's equation."""
    rng = np.random.default_rng(seed)
    Y, W, F = (
        np.eye(3)[rng.integers(0, 3, 12)],
        rng.standard_normal((5, 3)),
        rng.standard_normal((12, 5)),
    )
    B, nu = rng.choice([-1.0, 1.0], (12, 5)), 0.3
    Q = Y @ W.T + nu * F
    swept = cyclic_descent(B, W, Q, 1)
    current, value = B.copy(), sdh_objective(Y, B, W, F, 1, nu)
    for k in range(5):
        rest = [j for j in range(5) if j != k]
        current[:, k] = np.where(Q[:, k] - current[:, rest] @ W[rest] @ W[k] >= 0, 1, -1)
        lower = sdh_objective(Y, current, W, F, 1, nu)
        assert lower <= value + 1e-9
        value = lower
    assert (swept == current).all()


def test_sdh_bit_is_the_best_for_its_column():
    rng = np.random.default_rng(0)
    Y, W, F = (
        np.eye(3)[rng.integers(0, 3, 6)],
        rng.standard_normal((1, 3)),
        rng.standard_normal((6, 1)),
    )
    B = cyclic_descent(np.ones((6, 1)), W, Y @ W.T + 0.3 * F, 1)
    best = min(
        sdh_objective(Y, np.array(b)[:, None], W, F, 1, 0.3)
        for b in itertools.product([-1.0, 1.0], repeat=6)
    )
    assert sdh_objective(Y, B, W, F, 1, 0.3) == pytest.approx(best)


def test_sdh_sweeps_until_nothing_changes():
    rng = np.random.default_rng(1)
    B, W, Q = (
        rng.choice([-1.0, 1.0], (50, 8)),
        rng.standard_normal((8, 3)),
        rng.standard_normal((50, 8)),
    )
    once, often = cyclic_descent(B, W, Q, 1), cyclic_descent(B, W, Q, 100)
    assert (once != often).any()
    assert (cyclic_descent(often, W, Q, 1) == often).all()


def test_sdh_rounds_by_hand():
    """Two rounds with explicit inverses, from the same random start."""
    X, y = rows()
    model = SDH(bits=4, anchors=9, rounds=2, nu=0.1).fit(X, y)
    rng = np.random.default_rng(0)
    anchors = X[rng.choice(80, 9, replace=False)]
    B = np.where(rng.standard_normal((80, 4)) >= 0, 1.0, -1.0)
    phi = np.hstack([gaussian(X, anchors, model.gamma_), np.ones((80, 1))])
    Y = np.eye(3)[y]

    def regress(B):
        return np.linalg.inv(B.T @ B + np.eye(4)) @ B.T @ Y, np.linalg.inv(
            phi.T @ phi + 0.01 * np.eye(10)
        ) @ phi.T @ B

    W, P = regress(B)
    losses = []
    for _ in range(2):
        B = cyclic_descent(B, W, Y @ W.T + 0.1 * phi @ P, 10)
        W, P = regress(B)
        losses.append(sdh_objective(Y, B, W, phi @ P, 1, 0.1) + 0.1 * 0.01 * (P**2).sum())
    assert (model.codes_ == (B > 0)).all()
    assert np.allclose(np.vstack([model.weights_, model.offset_]), P)
    assert np.allclose(model.loss_, losses)


@given(seed=st.integers(0, 50))
def test_sdh_objective_never_rises(seed):
    X, y = rows(60, seed=seed)
    losses = SDH(bits=6, anchors=10, rounds=8, nu=0.05, random_state=seed).fit(X, y).loss_
    assert (np.diff(losses) <= 1e-9 * losses[0]).all()


def test_sdh_codes_tell_the_classes():
    X, y = rows(150, seed=4)
    model = SDH(bits=12, anchors=40).fit(X, y)
    assert (
        len(np.unique(model.codes_[y == 0], axis=0))
        < 5
        < len(np.unique(model.transform(X[y == 0]), axis=0))
    )
