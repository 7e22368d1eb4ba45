"""Estimators without labels: the formulas of their papers again, with plain loops,
brute force or probability.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from hashlab.shallow import ITQ, LSH, PCAH, SH, SKLSH, PCARotation, RandomCodes
from hashlab.shallow.algebra import principal_axes, random_rotation, ridge
from hashlab.shallow.itq import rotate
from hashlab.shallow.sh import smoothest
from hashlab.shallow.sklsh import neighbour_distance


def cloud(count=200, features=7, seed=0):
    """Correlated features of unlike variances, far from zero."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, features)) @ rng.standard_normal((features, features)) + 5


# ---- algebra


@pytest.mark.parametrize("shape", [(50, 7), (7, 20)])
def test_principal_axes_are_those_of_sklearn(shape):
    X = cloud(*shape)
    axes = principal_axes(X - X.mean(0), 4)
    expected = PCA(4, svd_solver="full").fit(X).components_.T
    assert np.allclose(axes, expected * np.sign((axes * expected).sum(0)))
    for axis in axes.T:
        assert axis[np.abs(axis).argmax()] > 0


@pytest.mark.parametrize("shape", [(50, 7), (7, 20)])
def test_principal_axes_are_no_more_than_there_are(shape):
    X = cloud(*shape)
    X[:, 1:] = X[:, :1] * np.arange(1, shape[1])  # a line
    assert principal_axes(X - X.mean(0), 5).shape == (shape[1], 1)


@pytest.mark.parametrize("shape", [(50, 7), (7, 20)])
def test_ridge_solves_the_normal_equations(shape):
    X, B = cloud(*shape), cloud(shape[0], 3, seed=1)
    W = ridge(X, B, 0.7)
    assert np.allclose(X.T @ (B - X @ W), 0.7 * W)


def test_random_rotation_is_orthogonal_and_uniform():
    rng = np.random.default_rng(0)
    draws = np.array([random_rotation(3, rng) for _ in range(4000)])
    assert np.allclose(draws @ draws.transpose(0, 2, 1), np.eye(3))
    assert (
        np.abs(draws.mean(0)).max() < 0.04
    )  # a QR factor whose signs are left alone leans to one side
    assert np.abs((draws**2).mean(0) - 1 / 3).max() < 0.03


# ---- LSH


@pytest.mark.parametrize("angle", [0.2, 1.0, math.pi / 2, 2.5])
def test_lsh_collides_by_angle(angle):
    bits = 40_000
    X = np.array([[2.0, 0, 0], [0.5 * math.cos(angle), 0.5 * math.sin(angle), 0]])
    codes = LSH(bits=bits, center=False).fit(X).transform(X)
    expected = 1 - angle / math.pi
    spread = math.sqrt(expected * (1 - expected) / bits)
    assert abs((codes[0] == codes[1]).mean() - expected) < 4 * spread


def test_lsh_angles_are_seen_from_the_mean():
    X = cloud()
    assert (LSH().fit(X).transform(X) == LSH().fit(X + 100).transform(X + 100)).all()
    assert (
        LSH(center=False).fit(X).transform(X) != LSH(center=False).fit(X + 100).transform(X + 100)
    ).any()


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_lsh_does_not_see_scale(scale, seed):
    X = cloud(30, seed=seed)
    outputs = LSH(bits=8).fit(X).decision_function(X)
    clear = np.abs(outputs) > 1e-9
    assert (LSH(bits=8).fit(X * scale).transform(X * scale) == (outputs >= 0))[clear].all()


# ---- PCAH and the random rotation


def test_pcah_is_the_sign_of_components():
    X, new = cloud(), cloud(seed=1)
    pca = PCA(4, svd_solver="full").fit(X)
    outputs = PCAH(bits=4).fit(X).decision_function(new)
    for k, component in enumerate(pca.components_):
        expected = [sum((row - pca.mean_) * component) for row in new]
        sign = np.sign(outputs[0, k] * expected[0])
        assert np.allclose(outputs[:, k], sign * np.array(expected))


def test_pca_rotation_turns_components():
    X, new = cloud(), cloud(seed=1)
    plain, turned = (kind(bits=4).fit(X).decision_function(new) for kind in (PCAH, PCARotation))
    rotation = np.linalg.lstsq(plain, turned, rcond=None)[0]
    assert np.allclose(plain @ rotation, turned) and np.allclose(rotation @ rotation.T, np.eye(4))
    assert np.abs(rotation).max() < 0.99


# ---- ITQ


@given(seed=st.integers(0, 10_000))
def test_itq_loss_never_rises_and_the_rotation_stays_one(seed):
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((40, 5)) * rng.uniform(0.1, 5, 5)
    R, losses = rotate(V, random_rotation(5, rng), 20)
    assert np.allclose(R.T @ R, np.eye(5))
    assert (np.diff(losses) <= 1e-9 * losses[0]).all()


def test_itq_step_is_the_best_rotation():
    """In the plane, where all orthogonal matrices can be tried."""
    rng = np.random.default_rng(0)
    V, start = rng.standard_normal((30, 2)) * [3, 1], random_rotation(2, rng)
    R, losses = rotate(V, start, 1)
    B = np.where(V @ start >= 0, 1, -1)
    assert losses[0] == pytest.approx(((B - V @ start) ** 2).sum())
    reached = ((B - V @ R) ** 2).sum()
    for angle, mirror in itertools.product(np.linspace(0, 2 * math.pi, 720), (1, -1)):
        c, s = math.cos(angle), math.sin(angle)
        assert (
            reached <= ((B - V @ np.array([[c, -s * mirror], [s, c * mirror]])) ** 2).sum() + 1e-9
        )


def test_itq_finds_the_corners_that_are_there():
    """Clusters at the corners of a turned cube get the corners' codes."""
    rng = np.random.default_rng(3)
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    index = rng.permutation(np.repeat(np.arange(8), 50))
    X = (corners[index] + 0.1 * rng.standard_normal((400, 3))) * [1.0, 1.1, 1.2] @ random_rotation(
        3, rng
    ) + 7
    model = ITQ(bits=3, iterations=200).fit(X)
    codes = model.transform(X)
    assert (
        len(np.unique(np.column_stack([index, codes]), axis=0))
        == len(np.unique(codes, axis=0))
        == 8
    )
    assert model.loss_[-1] < 0.5 * model.loss_[0]


def test_itq_outputs_are_rotated_components():
    X, new = cloud(), cloud(seed=1)
    model = ITQ(bits=4).fit(X)
    components = PCAH(bits=4).fit(X).decision_function(new)
    assert np.allclose(model.decision_function(new), components @ model.rotation_)
    assert len(model.loss_) == 50
    assert np.linalg.norm(ITQ(bits=4, random_state=1).fit(X).rotation_ - model.rotation_) > 0.1


@given(shift=st.floats(-50, 50), seed=st.integers(0, 100))
def test_itq_does_not_see_shifts(shift, seed):
    X = cloud(40, seed=seed)
    outputs = ITQ(bits=3).fit(X).decision_function(X)
    moved = ITQ(bits=3).fit(X + shift).decision_function(X + shift)
    assert np.allclose(outputs, moved, atol=1e-6) or np.abs(outputs).min() < 1e-6


# ---- SH


def modes_by_loops(ranges, bits):
    """All waves along single axes, sorted by their eigenvalue (mπ/range)²."""
    waves = []
    for i, length in enumerate(ranges):
        for m in range(1, math.ceil((bits + 1) * length / max(ranges))):
            waves.append(((m * math.pi / length) ** 2, i, m))
    waves.sort()
    return [i for _, i, _ in waves[:bits]], [m for _, _, m in waves[:bits]]


@given(seed=st.integers(0, 10_000), axes=st.integers(1, 6), bits=st.integers(1, 40))
def test_sh_takes_the_smoothest_waves(seed, axes, bits):
    ranges = np.sort(np.random.default_rng(seed).uniform(0.1, 10, axes))[::-1]
    axis, mode = smoothest(ranges, bits)
    assert (axis.tolist(), mode.tolist()) == modes_by_loops(ranges, bits)
    assert len(axis) == bits


def test_sh_outputs_are_cosines_along_axes():
    X, new = cloud(), cloud(seed=1)
    bits = 12
    model = SH(bits=bits).fit(X)
    axes = PCAH(bits=7).fit(X).weights_
    V, V_new = X @ axes, new @ axes
    low, ranges = V.min(0), V.max(0) - V.min(0)
    axis, mode = modes_by_loops(ranges, bits)
    outputs = model.decision_function(new)
    for n, k in itertools.product(range(5), range(bits)):
        i, m = axis[k], mode[k]
        expected = math.sin(math.pi / 2 + m * math.pi / ranges[i] * (V_new[n, i] - low[i]))
        assert outputs[n, k] == pytest.approx(expected, abs=1e-9)


def test_sh_gives_a_long_axis_several_bits_first():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(300, 2)) * [10, 3]
    model = SH(bits=4).fit(X)
    assert model.axis_.tolist() == [0, 0, 0, 1] and model.mode_.tolist() == [1, 2, 3, 1]


# ---- SKLSH


@pytest.mark.parametrize("distance", [0.1, 0.5, 1.0, 3.0])
def test_sklsh_differs_as_the_kernel_says(distance):
    bits, gamma = 40_000, 1.3
    X = np.array([[1.0, 2, 3], [1.0, 2 + distance * 0.6, 3 - distance * 0.8]])
    codes = SKLSH(bits=bits, gamma=gamma).fit(X).transform(X)
    series = [
        (1 - math.exp(-gamma * (m * distance) ** 2 / 2)) / (4 * m * m - 1) for m in range(1, 2000)
    ]
    expected = 8 / math.pi**2 * sum(series)
    spread = math.sqrt(expected * (1 - expected) / bits)
    assert abs((codes[0] != codes[1]).mean() - expected) < 4 * spread


def test_sklsh_thresholds_are_random():
    """Without them, t = 0, nearer rows would differ less than the kernel says;
    their range is [−1, 1].
    """
    model = SKLSH(bits=5000).fit(cloud())
    assert -1 <= model.thresholds_.min() < -0.99 and 0.99 < model.thresholds_.max() <= 1
    assert 0 <= model.phases_.min() < 0.01 and 6.27 < model.phases_.max() <= 2 * math.pi


@given(shift=st.floats(-10, 10))
def test_sklsh_distances_do_not_see_shifts(shift):
    """Of rows moved together, codes change; in expectation their distances do not."""
    X = cloud(2)
    codes_of_pair, codes_of_shifted = (SKLSH(bits=4000).fit(X).transform(X + s) for s in (0, shift))
    assert (codes_of_pair[0] != codes_of_pair[1]).mean() == pytest.approx(
        (codes_of_shifted[0] != codes_of_shifted[1]).mean(), abs=0.05
    )


def test_sklsh_width_is_the_distance_to_the_50th_neighbour():
    X = cloud()
    distances = np.array([[math.dist(a, b) for b in X] for a in X])
    expected = np.sort(distances, axis=1)[:, 50].mean()
    assert neighbour_distance(X, np.random.default_rng(0)) == pytest.approx(expected)
    assert SKLSH().fit(X).gamma_ == pytest.approx(1 / expected**2)


def test_sklsh_takes_many_equal_rows():
    X = np.repeat([[0.0, 1.0], [2.0, 0.0]], 100, axis=0)
    assert SKLSH().fit(X).gamma_ == pytest.approx(
        1 / np.mean([[math.dist(a, b) ** 2 for b in X] for a in X])
    )


# ---- random codes


def test_random_codes_are_functions_of_content():
    X = cloud()
    model = RandomCodes(bits=100).fit(X)
    codes = model.transform(X)
    assert (model.transform(X[::-1]) == codes[::-1]).all()
    assert (RandomCodes(bits=100).fit(X[:9]).transform(X) == codes).all()  # nothing else is learned
    assert (RandomCodes(bits=100, random_state=1).fit(X).transform(X) != codes).mean() > 0.4
    zeros = np.zeros((1, 7))
    assert (model.transform(zeros) == model.transform(-zeros)).all()


@given(row=st.integers(0, 199), column=st.integers(0, 6))
def test_random_codes_change_by_half_with_any_number(row, column):
    X = cloud()
    model = RandomCodes(bits=2000).fit(X)
    changed = X[row : row + 1].copy()
    changed[0, column] = np.nextafter(changed[0, column], np.inf)
    assert (model.transform(changed) != model.transform(X[row : row + 1])).mean() == pytest.approx(
        0.5, abs=0.06
    )


def test_random_codes_are_fair_coins():
    codes = RandomCodes(bits=64).fit(cloud()).transform(cloud(3000))
    assert np.abs(codes.mean(0) - 0.5).max() < 0.05
    assert np.abs(np.corrcoef(codes.T) - np.eye(64)).max() < 0.1


def test_random_codes_are_signs():
    X = np.random.default_rng(0).standard_normal((30, 4))
    outputs = RandomCodes(bits=9).fit(X).decision_function(X)
    assert set(outputs.ravel().tolist()) == {-1.0, 1.0}
