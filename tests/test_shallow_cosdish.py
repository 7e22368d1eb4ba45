"""COSDISH: every step again with plain loops, or against all possibilities."""

import itertools

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from hashlab.errors import InputError
from hashlab.shallow import COSDISH
from hashlab.shallow.cosdish import (
    improve,
    nearest,
    sampled_codes,
    similarity,
    two_approximation,
)


def problem(q, seed):
    """A quadratic form like those that occur: symmetric, zero diagonal, and a linear part."""
    rng = np.random.default_rng(seed)
    Q = rng.standard_normal((q, q))
    Q = Q + Q.T
    np.fill_diagonal(Q, 0)
    return Q, 3 * rng.standard_normal(q)


def points(Q, p, least=True):
    """Columns whose Gram matrix is λI − Q', Q' built entry by entry;
    λ as small as can be, or huge.
    """
    q = len(Q)
    full = np.zeros((q + 1, q + 1))
    for i, j in itertools.product(range(q), repeat=2):
        full[i, j] = 4 * Q[i, j]
    for i in range(q):
        full[i, q] = full[q, i] = (2 * p[i] - 2 * sum(Q[i, j] + Q[j, i] for j in range(q))) / 2
    full /= np.abs(full).max()
    weight = np.linalg.eigvalsh(full).max() + 1e-6 if least else 1e4
    return np.linalg.cholesky(weight * np.eye(q + 1) - full).T


def spread(P, cluster):
    mean = sum(P[:, i] for i in cluster) / len(cluster)
    return sum(((P[:, i] - mean) ** 2).sum() for i in cluster)


def chosen(b):
    """The cluster that signs stand for: the points with +1, and the last."""
    return [i for i, sign in enumerate(b) if sign > 0] + [len(b)]


@pytest.mark.parametrize("q", [1, 2, 3, 6, 7, 8])
def test_two_approximation_is_within_twice_the_best_cluster(q):
    sizes = set()
    for seed in range(30):
        Q, p = problem(q, seed)
        P = points(Q, p)  # the smallest λ makes the factor strictest
        cluster = chosen(two_approximation(Q, p))
        sizes.add(len(cluster))
        best = min(spread(P, (*c, q)) for c in itertools.combinations(range(q), len(cluster) - 1))
        assert spread(P, cluster) <= 2 * best + 1e-9
    assert sizes == {(q + 2) // 2}


@pytest.mark.parametrize("q", [5, 8, 16])
def test_two_approximation_is_the_search_among_points(q):
    """The same choice as with a Cholesky factor,
    distances between its columns and clusters around each of them.
    """
    for seed in range(20):
        Q, p = problem(q, seed)
        P = points(Q, p, least=False)
        H = int((q + 1) / 2 + 0.5)
        clusters = []
        for centre in range(q + 1):
            near = sorted(range(q), key=lambda i, c=centre: ((P[:, i] - P[:, c]) ** 2).sum())
            clusters.append([*sorted(near[: H - 1]), q])
        cheapest = min(clusters, key=lambda cluster: spread(P, cluster))
        assert chosen(two_approximation(Q, p)) == cheapest


def objective(S, B, q):
    return ((q * S - B) ** 2).sum()


def test_quadratic_form_is_the_objective():
    """bᵀQb + pᵀb and the two squared norms differ by a constant."""
    rng = np.random.default_rng(0)
    q, n, k = 4, 9, 2
    S_gamma, S_omega = rng.standard_normal((n, q)), rng.standard_normal((q, q))
    S_omega = S_omega + S_omega.T
    B, new = rng.choice([-1.0, 1.0], (n, q)), rng.choice([-1.0, 1.0], (q, q))
    R = q * S_omega - sum(np.outer(new[:, m], new[:, m]) for m in range(k))
    L = q * S_gamma - sum(np.outer(B[:, m], new[:, m]) for m in range(k))
    Q = -2 * R
    np.fill_diagonal(Q, 0)
    p = -2 * L.T @ B[:, k]
    gaps = []
    for b in itertools.product([-1.0, 1.0], repeat=q):
        b = np.array(b)
        codes = np.column_stack([new[:, :k], b])
        squares = ((q * S_gamma - B[:, : k + 1] @ codes.T) ** 2).sum() + (
            (q * S_omega - codes @ codes.T) ** 2
        ).sum()
        gaps.append(squares - (b @ Q @ b + p @ b))
    assert np.ptp(gaps) < 1e-9


def test_sampled_codes_bit_by_bit():
    rng = np.random.default_rng(1)
    q, n = 6, 40
    labels = np.eye(3)[rng.integers(0, 3, n + q)]
    S = similarity(labels, labels[:q], "-r")
    B = rng.choice([-1.0, 1.0], (n, q))
    expected = np.zeros((q, q))
    for k in range(q):
        R, L = q * S[:q].copy(), q * S[q:].copy()
        for m in range(k):
            R -= np.outer(expected[:, m], expected[:, m])
            L -= np.outer(B[:, m], expected[:, m])
        expected[:, k] = two_approximation(-2 * R, -2 * L.T @ B[:, k])
    assert (sampled_codes(B, S[q:], S[:q]) == expected).all()


def test_improve_votes_and_keeps_bits_of_equal_votes():
    rng = np.random.default_rng(2)
    q, n = 4, 30
    omega = np.array([3, 11, 17, 28])
    labels = np.eye(2)[rng.integers(0, 2, n)]
    S = similarity(labels, labels[omega], "-r")
    S[5] = 0  # this row's votes are all zero
    B = rng.choice([-1.0, 1.0], (n, q))
    new = improve(B, S, omega)
    assert (new[5] == B[5]).all()
    for i in set(range(n)) - {5, *omega}:
        for k in range(q):
            vote = sum(S[i, j] * new[omega[j], k] for j in range(q))
            assert new[i, k] == (B[i, k] if abs(vote) < 1e-5 else np.sign(vote))


@pytest.mark.parametrize(("dissimilar", "sign"), [("-r", -1), ("+r", 1)])
def test_similarity(dissimilar, sign):
    rng = np.random.default_rng(3)
    labels = (rng.random((30, 4)) < 0.3).astype(float)
    S = similarity(labels, labels[:7], dissimilar)
    similar = np.array([[bool(np.any((a > 0) & (b > 0))) for b in labels[:7]] for a in labels])
    r = similar.sum() / (~similar).sum()
    assert np.allclose(S, np.where(similar, 1, sign * r))
    assert abs(S.sum()) < 1e-9 or sign > 0  # −r balances the block


def test_codes_approach_the_similarity():
    """Fitted codes are far nearer to K·S than the random ones they start from."""
    rng = np.random.default_rng(4)
    y = rng.integers(0, 4, 120)
    X = rng.standard_normal((120, 6)) + 2 * np.eye(6)[y]
    S = similarity(np.eye(4)[y], np.eye(4)[y], "-r")
    fitted = np.where(COSDISH(bits=16).fit(X, y).codes_, 1.0, -1.0)
    random = rng.choice([-1.0, 1.0], fitted.shape)
    assert objective(S, fitted @ fitted.T, 16) < 0.7 * objective(S, random @ random.T, 16)


def test_projection_is_ridge_regression_on_standardised_features():
    rng = np.random.default_rng(5)
    X, y = rng.standard_normal((60, 5)) * [1, 10, 0.1, 3, 0] + 4, rng.integers(0, 3, 60)
    new = rng.standard_normal((9, 5)) + 4
    model = COSDISH(bits=8).fit(X, y)
    scaler = StandardScaler().fit(X)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(
        scaler.transform(X), np.where(model.codes_, 1.0, -1.0)
    )
    assert np.allclose(model.decision_function(new), ridge.predict(scaler.transform(new)))


def test_several_labels_that_are_one_give_the_same():
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    one, several = COSDISH(bits=8).fit(X, y), COSDISH(bits=8).fit(X, np.eye(3, dtype=int)[y])
    assert (one.codes_ == several.codes_).all()


def test_both_signs_of_the_dissimilar_weight_differ():
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((50, 5)), rng.integers(0, 3, 50)
    assert (
        COSDISH(bits=8).fit(X, y).codes_ != COSDISH(bits=8, dissimilar="+r").fit(X, y).codes_
    ).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dissimilar": "r"}, "dissimilar must be one of -r, \\+r"),
        ({"outer": 0}, "outer must be a whole number"),
        ({"inner": 1.5}, "inner must be a whole number"),
        ({"ridge": 0}, "ridge must be a finite number above 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        COSDISH(**{"bits": 4} | settings).fit(
            np.random.default_rng(0).random((20, 3)), np.arange(20) % 2
        )


@pytest.mark.parametrize("kind", ["many equal", "none equal"])
def test_the_nearest_are_the_first_of_a_stable_order(kind):
    rng = np.random.default_rng(0)
    for points in (1, 2, 9, 40):
        shape = (points + 1, points)
        many = kind == "many equal"
        distance = rng.integers(3, size=shape).astype(float) if many else rng.normal(size=shape)
        count = points // 2
        first = distance.argsort(axis=1, kind="stable")[:, :count]
        expected = np.zeros(shape, bool)
        np.put_along_axis(expected, first, True, axis=1)
        assert np.array_equal(nearest(distance, count), expected)
