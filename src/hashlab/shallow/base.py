"""What all array estimators share:
checks of what is given, bits from real outputs, fitted state as arrays.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from hashlab import labels
from hashlab.codes import as_numpy, binarize, check_bits
from hashlab.errors import InputError

REAL = ("mean_", "weights_", "offset_", "anchors_", "gamma_", "axes_", "low_", "frequencies_", "directions_", "phases_",
        "thresholds_")  # fitted arrays by which features become outputs: float64  # fmt: skip
# Rows that are encoded at once: what is held in between stays small however many rows come.
BLOCK = 4096


class Hasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Features to bits. Subclasses say `_fit` and `_outputs`;
    one that learns from labels sets `supervised`.
    """

    supervised: ClassVar[bool] = False
    several_labels: ClassVar[bool] = False  # whether labels may be (N, C) 0/1

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the hash functions.

        Args:
            X: features, (N, d).
            y: labels of a supervised method: a class each in any form of `hashlab.labels`, (N,), or
                0/1 (N, C) where it takes several; else not looked at.

        Returns:
            The estimator itself.

        Raises:
            InputError: features or labels that it cannot learn from; the message says what was
                expected.
        """
        self.check_settings()
        X = self._features(X, reset=True)
        check_varying(X)
        members = self.check_labels(y, len(X)) if self.supervised else None
        self._fit(X, members, np.random.default_rng(self.random_state))
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Real outputs, float64 (N, K), of features (N, d);
        raises InputError for features unlike those of `fit`.
        """
        check_is_fitted(self)
        X = self._features(X, reset=False)
        blocks = (X[start : start + BLOCK] for start in range(0, len(X), BLOCK))
        return np.concatenate([self._outputs(block) for block in blocks])

    def transform(self, X: Any) -> np.ndarray:
        """Codes, bool (N, K), of features (N, d): a bit is 1 where its real output is >= 0."""
        return binarize(self.decision_function(X))

    def fitted_arrays(self) -> dict[str, np.ndarray]:
        """All that `fit` learned, as arrays by name; `set_fitted` takes it back."""
        check_is_fitted(self)
        arrays = {}
        for name, value in vars(self).items():
            value = np.asarray(value)
            if name.endswith("_") and value.dtype.kind in "biuf":
                arrays[name] = value
        return arrays

    def set_fitted(self, arrays: dict[str, np.ndarray]) -> Self:
        """Take what `fitted_arrays` of an estimator with the same settings gave;
        raises InputError where it is not.
        """
        named = all(name.endswith("_") and not name.startswith("_") for name in arrays)
        if not named or "n_features_in_" not in arrays or np.ndim(arrays["n_features_in_"]):
            raise InputError(
                f"fitted arrays must be those of fitted_arrays(), got {', '.join(arrays) or 'none'}"
            )
        for name, value in arrays.items():
            if name in REAL and value.dtype != np.float64:
                raise InputError(f"fitted array {name} must be float64, got {value.dtype}")
            setattr(self, name, np.array(value) if np.ndim(value) else np.asarray(value).item())
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.supervised
        tags.target_tags.two_d_labels = self.several_labels
        tags.transformer_tags.preserves_dtype = []  # bits come out, whatever goes in
        return tags

    @property
    def _n_features_out(self) -> int:
        return self.bits

    def _fit(self, X: np.ndarray, labels: np.ndarray | None, rng: np.random.Generator) -> None:
        raise NotImplementedError

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def check_settings(self) -> None:
        """Raise InputError where a setting is out of its range; nothing else is looked at."""
        check_bits(self.bits)

    def _features(self, X: Any, reset: bool) -> np.ndarray:
        """Features as float64 (N, d)."""
        least = 2 if reset else 1
        X = as_numpy(X, "features") if isinstance(X, Tensor) else X
        try:
            X = validate_data(
                self,
                X,
                reset=reset,
                dtype=np.float64,
                ensure_all_finite=False,
                ensure_min_samples=least,
            )
        except ValueError as error:
            raise InputError(in_one_sentence(error)) from None
        if not np.isfinite(X).all():
            raise InputError(
                f"features must be finite, got {'NaN' if np.isnan(X).any() else 'inf'} among them"
            )
        return X

    def check_labels(self, y: Any, count: int) -> np.ndarray:
        """Labels as 0/1 membership, float64 (N, C); raises InputError for those that do not fit."""
        name = type(self).__name__
        if y is None:
            raise InputError(f"{name} requires y to be passed, but the target y is None")
        return membership(y, count, self.several_labels, name)


class LinearHasher(Hasher):
    """Bits of linear functions: `_fit` sets `mean_` (d,) and `weights_` (d, K),
    which is all that encoding needs.
    """

    def _outputs(self, X: np.ndarray) -> np.ndarray:
        return (X - self.mean_) @ self.weights_  # (N, K)


def in_one_sentence(error: ValueError) -> str:
    """What scikit-learn says of features,
    without line breaks and without the features themselves.
    """
    sentence = " ".join(str(error).split())
    if "Reshape your data" in sentence:
        return (
            "features must be (N, d), got a single axis. Reshape your data: (1, -1) makes it one "
            "row"
        )
    return sentence


def membership(y: Any, count: int, several: bool, name: str) -> np.ndarray:
    """Labels of one class a row, or (N, C) 0/1, as 0/1 membership, float64 (N, C);
    raises InputError where they do not fit. See `hashlab.labels` for their forms.
    """
    y = as_numpy(y, "labels")
    wanted = f"({count},) classes" + (f" or ({count}, L) 0/1" if several else "")
    if y.ndim not in (1, 2) or len(y) != count:
        raise InputError(f"labels must be {wanted}, got {y.shape} {y.dtype}")
    if labels.has_one_class(y):
        return _one(y)
    if not several:
        raise InputError(f"{name} takes one class per row, {wanted}, got {y.shape} {y.dtype}")
    return _several(labels.several(y))


def _one(y: np.ndarray) -> np.ndarray:
    classes, index = labels.ranked(y, negative=True)
    if len(classes) < 2:
        raise InputError(
            f"labels must be of two classes at least, got one class: {classes.tolist()}"
        )
    return np.eye(len(classes))[index]  # (N, C)


def _several(y: np.ndarray) -> np.ndarray:
    if not y.any() or y.all(axis=0).any():
        raise InputError(
            "labels (N, L) must tell rows apart, got no label at all or one that every row has"
        )
    return y.astype(np.float64)


def check_varying(X: np.ndarray) -> None:
    """Raise InputError where all rows are equal: nothing can be learned from them."""
    if not np.ptp(X, axis=0).any():
        raise InputError(
            f"training features must vary, got {len(X)} equal rows (n_samples={len(X)})"
        )


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raise InputError unless a setting is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_positive(name: str, value: Any) -> None:
    """Raise InputError unless a setting is a finite number above 0."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float | np.number)
        or not 0 < value < np.inf
    ):
        raise InputError(f"{name} must be a finite number above 0, got {value!r}")


def signs(u: np.ndarray) -> np.ndarray:
    """+1.0 where u >= 0, else -1.0: a bit and its sign agree about zero."""
    return np.where(u >= 0, 1.0, -1.0)
