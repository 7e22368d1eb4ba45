"""All array estimators alike: scikit-learn's own checks, codes and state, bad input,
and the order on digits.
"""

import functools
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import python
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

from hashlab import codes, shallow
from hashlab.errors import InputError
from hashlab.metrics import evaluate

NAMES = sorted(shallow.CLASSES)
SUPERVISED = [name for name in NAMES if getattr(shallow, name).supervised]
each = pytest.mark.parametrize("name", NAMES)
each_supervised = pytest.mark.parametrize("name", SUPERVISED)


ANCHORS = {"KSH": 5, "SDH": 5}  # the defaults want more rows than these tests have


def make(name, bits=6, **settings):
    few = {"anchors": ANCHORS[name]} if name in ANCHORS else {}
    return getattr(shallow, name)(bits=bits, **few | settings)


def rows(count=60, features=8, classes=4, seed=0):
    """Features in overlapping classes, and the classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % classes
    return rng.standard_normal((count, features)) + 2 * np.eye(features)[y], y


DEFAULTS = {  # beside bits=32 and random_state=0, which all have
    "CCAITQ": {"rho": 1e-4, "iterations": 50},
    "COSDISH": {"outer": 10, "inner": 3, "dissimilar": "-r", "ridge": 1.0},
    "ITQ": {"iterations": 50},
    "KSH": {"anchors": 300, "labeled": 5000, "gamma": None, "steps": 500},
    "LSH": {"center": True},
    "SDH": {
        "anchors": 1000,
        "gamma": None,
        "rounds": 5,
        "sweeps": 10,
        "lam": 1.0,
        "nu": 1e-5,
        "ridge": 0.01,
    },
    "SKLSH": {"gamma": None},
}


@each
def test_what_is_not_said_is_as_the_papers_or_their_code_have_it(name):
    usual = {"bits": 32, "random_state": 0}
    assert getattr(shallow, name)().get_params() == usual | DEFAULTS.get(name, {})


# ---- scikit-learn's checks, with as few bits as their smallest data can give

APART = {
    "check_array_api_input": (
        "needs SCIPY_ARRAY_API=1 before scipy is loaded, and so a process of its own"
    )
}
CANNOT_APPLY = {"check_transformer_preserve_dtypes": "bits come out, whatever type goes in"}


def sklearn_checks(estimator):
    return {check.func.__name__ for _, check in estimator_checks_generator(estimator)}


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=f"{name}-{check.func.__name__}")
        for name in NAMES
        for estimator, check in estimator_checks_generator(make(name, bits=2))
        if check.func.__name__ not in APART
    ],
)
def test_sklearn(estimator, check):
    check(estimator)


@pytest.mark.process
def test_sklearn_checks_that_run_apart():
    code = f"""
from sklearn.utils.estimator_checks import estimator_checks_generator
from hashlab import shallow
for name in shallow.CLASSES:
    few = {{"anchors": {ANCHORS}[name]}} if name in {ANCHORS} else {{}}
    for estimator, check in estimator_checks_generator(getattr(shallow, name)(bits=2, **few)):
        if check.func.__name__ in {list(APART)}:
            check(estimator)
            print(name, check.func.__name__)
"""
    environment = os.environ | {"SCIPY_ARRAY_API": "1"}
    done = python("-c", code, env=environment)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(
        f"{name} {check}" for name in NAMES for check in APART
    )


def test_sklearn_checks_that_cannot_apply():
    """Tags leave out these and no others, which is all that the classes say of themselves."""

    class Plain(shallow.LSH):
        def __sklearn_tags__(self):
            tags = super().__sklearn_tags__()
            tags.transformer_tags.preserves_dtype = ["float64"]  # scikit-learn's own default
            return tags

    for name in NAMES:
        missing = sklearn_checks(Plain(bits=2)) - sklearn_checks(make(name, bits=2))
        assert missing == CANNOT_APPLY.keys()


@pytest.mark.process
def test_import_is_light():
    """Neither `hashlab` nor `hashlab.shallow` imports scikit-learn; naming a class does."""
    code = (
        "import sys, hashlab, hashlab.shallow as s; assert 'sklearn' not in sys.modules, 'early';"
        "s.LSH; assert 'sklearn' in sys.modules"
    )
    assert python("-c", code).returncode == 0


def test_names():
    assert set(dir(shallow)) == set(NAMES) == set(shallow.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = shallow.Nothing


# ---- codes and state


@each
def test_codes_are_bool_and_where_outputs_are_not_negative(name):
    X, y = rows()
    model = make(name).fit(X, y)
    bits = model.transform(X)
    assert bits.shape == (60, 6) and bits.dtype == bool
    outputs = model.decision_function(X)
    assert outputs.dtype == np.float64 and (bits == (outputs >= 0)).all()
    assert model.get_feature_names_out().tolist() == [f"{name.lower()}{i}" for i in range(6)]


@each
def test_state_travels_as_arrays(name, tmp_path):
    """What `fitted_arrays` gives survives a file and makes a new estimator the same."""
    X, y = rows()
    model = make(name).fit(X, y)
    np.savez(tmp_path / "state.npz", **model.fitted_arrays())
    with np.load(tmp_path / "state.npz", allow_pickle=False) as state:
        other = make(name).set_fitted(dict(state))
    new = rows(seed=1)[0]
    assert (other.decision_function(new) == model.decision_function(new)).all()
    assert other.fitted_arrays().keys() == model.fitted_arrays().keys()
    with pytest.raises(InputError, match="fitted arrays must be those of fitted_arrays"):
        make(name).set_fitted({"weights": X})


@each
@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_same_seed_same_codes(name, seed):
    X, y = rows(count=30)
    first, second = (make(name, bits=3, random_state=seed).fit(X, y).transform(X) for _ in range(2))
    assert (first == second).all()


@each
def test_blocks_do_not_show(name, monkeypatch):
    X, y = rows()
    model = make(name).fit(X, y)
    whole = model.decision_function(X)
    monkeypatch.setattr("hashlab.shallow.base.BLOCK", 7)
    assert np.allclose(model.decision_function(X), whole, atol=1e-10)


@each
def test_float32_and_integers_are_taken(name):
    X, y = rows()
    X = np.round(10 * X)
    expected = make(name).fit(X, y).transform(X)
    for kind in (np.float32, np.int64):
        assert (make(name).fit(X.astype(kind), y).transform(X.astype(kind)) == expected).all()


@each
def test_input_is_left_alone(name):
    X, y = rows()
    X.flags.writeable = y.flags.writeable = False
    make(name).fit(X, y).transform(X)


@each_supervised
def test_names_of_classes_do_not_matter(name):
    X, y = rows()
    assert (make(name).fit(X, y).transform(X) == make(name).fit(X, 7 * y - 3).transform(X)).all()


# ---- bad input


@each
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: np.where(np.arange(8) == 3, np.nan, X), "features must be finite, got NaN"),
        (lambda X: np.where(np.arange(8) == 3, np.inf, X), "features must be finite, got inf"),
        (lambda X: np.ones_like(X), "training features must vary, got 60 equal rows"),
        (lambda X: X[:1], "1 sample"),
        (lambda X: X[0], "features must be \\(N, d\\), got a single axis"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: X + 1j, "Complex data not supported"),
    ],
)
def test_bad_features(name, change, message):
    X, y = rows()
    bad = change(X)
    with pytest.raises(InputError, match=message) as error:
        make(name).fit(bad, y[: len(bad)])
    assert "\n" not in str(error.value)


@each
def test_bad_features_of_transform(name):
    X, y = rows()
    model = make(name).fit(X, y)
    with pytest.raises(InputError, match="8 features"):
        model.transform(X[:, :5])
    with pytest.raises(InputError, match="got NaN"):
        model.transform(np.full((2, 8), np.nan))


@each
@pytest.mark.parametrize("bits", [0, -3, 2.5, True, "8"])
def test_bad_bits(name, bits):
    with pytest.raises(InputError, match="bits must be a whole number of at least 1"):
        make(name, bits=bits).fit(*rows())


@each_supervised
@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "requires y to be passed"),
        (np.zeros(60, int), "two classes at least, got one class"),
        (np.arange(59), "labels must be \\(60,\\) classes"),
        (np.linspace(0, 1, 60), "labels must be whole numbers.*float64"),
        (np.full(60, np.nan), "labels must be whole numbers.*float64"),
        (np.zeros((60, 2, 2), int), "labels must be \\(60,\\) classes"),
    ],
)
def test_bad_labels(name, y, message):
    with pytest.raises(InputError, match=message):
        make(name).fit(rows()[0], y)


@each_supervised
@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.float32, object])
def test_classes_of_any_type_are_whole_numbers(name, kind):
    X, y = rows()
    assert (
        make(name).fit(X, y.astype(kind)).transform(X) == make(name).fit(X, y).transform(X)
    ).all()


@each_supervised
def test_several_labels_are_taken_or_refused_in_words(name):
    X, y = rows()
    several = np.eye(4, dtype=int)[y]
    if not getattr(shallow, name).several_labels:
        two = np.maximum(several, several[::-1])
        with pytest.raises(InputError, match=f"{name} takes one class per row, \\(60,\\) classes"):
            make(name).fit(X, two)
        return
    make(name).fit(X, several)
    for bad, message in (
        (several - 1, "must not be negative, got -1"),
        (several * 0, "tell rows apart"),
    ):
        with pytest.raises(InputError, match=message):
            make(name).fit(X, bad)
    several[:, 1] = 1
    with pytest.raises(InputError, match="tell rows apart"):
        make(name).fit(X, several)


@pytest.mark.parametrize("name", ["ITQ", "PCAH", "PCARotation"])
@pytest.mark.parametrize(("rows_", "features", "most"), [(60, 4, 4), (5, 8, 4)])
def test_more_bits_than_directions(name, rows_, features, most):
    X = np.random.default_rng(0).standard_normal((rows_, features))
    assert make(name, bits=most).fit(X).transform(X).shape == (rows_, most)
    sentence = (
        f"{name} takes each bit .* at most {most} here, got bits=6 \\(n_samples={rows_}, "
        f"n_features={features}\\)"
    )
    with pytest.raises(InputError, match=sentence):
        make(name).fit(X)


@pytest.mark.parametrize("name", ["ITQ", "PCAH", "PCARotation"])
def test_constant_features_are_no_directions(name):
    X, _ = rows()
    X[:, 5:] = 3.7
    assert make(name, bits=5).fit(X).transform(X).shape == (60, 5)
    with pytest.raises(InputError, match="at most 5 here"):
        make(name).fit(X)


def test_cca_itq_takes_at_most_as_many_bits_as_features():
    X, y = rows(features=5)
    with pytest.raises(InputError, match=r"CCAITQ takes each bit .* at most 5 here, got bits=6"):
        make("CCAITQ").fit(X, y)


@pytest.mark.parametrize("name", ["LSH", "SKLSH", "SH", "KSH", "SDH", "COSDISH", "RandomCodes"])
def test_others_take_more_bits_than_features(name):
    X, y = rows(features=5)
    assert make(name, bits=20).fit(X, y).transform(X).shape == (60, 20)


@pytest.mark.parametrize("name", ["KSH", "SDH"])
def test_anchors(name):
    X, y = rows()
    assert make(name, anchors=60).fit(X, y).anchors_.shape == (60, 8)
    with pytest.raises(
        InputError, match=f"{name} draws 61 anchors among the training rows, got n_samples=60"
    ):
        make(name, anchors=61).fit(X, y)
    for anchors in (0, 2.5):
        with pytest.raises(InputError, match="anchors must be a whole number of at least 1"):
            make(name, anchors=anchors).fit(X, y)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ITQ", {"iterations": 0}, "iterations must be a whole number of at least 1, got 0"),
        ("CCAITQ", {"iterations": True}, "iterations must be a whole number"),
        ("CCAITQ", {"rho": 0}, "rho must be a finite number above 0, got 0"),
        ("SKLSH", {"gamma": -1}, "gamma must be a finite number above 0"),
        ("KSH", {"gamma": np.inf}, "gamma must be a finite number above 0"),
        ("KSH", {"steps": -1}, "steps must be a whole number of at least 0"),
        ("KSH", {"labeled": 1}, "labeled must be a whole number of at least 2"),
        ("SDH", {"rounds": 0}, "rounds must be a whole number of at least 1"),
        ("SDH", {"sweeps": 0}, "sweeps must be a whole number of at least 1"),
        ("SDH", {"lam": 0}, "lam must be a finite number above 0"),
        ("SDH", {"nu": np.nan}, "nu must be a finite number above 0"),
        ("SDH", {"ridge": "1"}, "ridge must be a finite number above 0, got '1'"),
    ],
)
def test_bad_settings(name, settings, message):
    with pytest.raises(InputError, match=message):
        make(name, **settings).fit(*rows())


# ---- order on digits


@functools.cache
def digits_map(name, bits=32):
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    query, train = order[:300], order[300:]
    few = {"steps": 50} if name == "KSH" else {}  # it has learned by then
    model = getattr(shallow, name)(bits=bits, **few).fit(X[train], y[train])
    query_codes, train_codes = (codes.pack(model.transform(X[part])) for part in (query, train))
    return evaluate(query_codes, train_codes, y[query], y[train], bits=bits).map


@each_supervised
def test_labels_help(name):
    assert digits_map(name) > digits_map("LSH") + 0.2
    assert digits_map(name) > digits_map("ITQ")


def test_order_without_labels():
    """As in published tables: rotations beat bare components, learned ones beat random ones,
    coins beat nothing.
    """
    assert digits_map("ITQ") > digits_map("PCARotation") + 0.05
    assert digits_map("PCARotation") > digits_map("PCAH") + 0.1
    assert digits_map("ITQ") > digits_map("LSH") + 0.1
    assert digits_map("SH") > digits_map("PCAH")
    assert (
        min(digits_map(name) for name in ("LSH", "SKLSH", "PCAH", "SH"))
        > digits_map("RandomCodes") + 0.1
    )


def test_random_codes_are_worth_the_share_of_relevant_items():
    assert digits_map("RandomCodes") == pytest.approx(0.1, abs=0.01)


def test_clone_keeps_settings():
    model = make("ITQ", bits=5, iterations=7)
    assert clone(model).get_params() == {"bits": 5, "iterations": 7, "random_state": 0}
