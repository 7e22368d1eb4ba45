"""Codes that say little: whether those of the training images have collapsed.

A method may be trained without an error and yet give all images one code. That is told from a
sample of the training images, right after `fit`.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

SAMPLE = 1000  # training images that are looked at, at most
FEW = 8  # bits, below which constant ones are no sign
USUAL = 0.25  # of the bits may be constant beyond those that few classes leave so


class CollapseWarning(UserWarning):
    """The codes of the training images say less than their labels do."""


@dataclass(frozen=True)
class Collapse:
    """What the codes of some training images are like, where that is bad.

    Attributes:
        images: that were looked at.
        classes: that they have, or labels.
        codes: different ones.
        bits: that may differ from image to image.
        constant_bits: how many of these do not.
    """

    images: int
    classes: int
    codes: int
    bits: int
    constant_bits: int

    def __str__(self) -> str:
        codes = f"{self.codes} code" + "s" * (self.codes > 1)
        return (
            f"{self.images} images of {self.classes} classes share {codes}; "
            f"{self.constant_bits} of {self.bits} bits are constant"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def sample(images: int) -> np.ndarray:
    """Positions (M,) of the images to look at, evenly spread: all, or `SAMPLE` of them."""
    return np.linspace(0, images - 1, min(images, SAMPLE)).astype(np.int64)


def look(bits: np.ndarray, labels: np.ndarray, in_use: int | None = None) -> Collapse | None:
    """What is wrong with the codes of some images; None where nothing is.

    One code for all is a collapse, and so are fewer codes than classes, where there are bits
    enough: twice as many as would number the classes. So are too many constant bits: classes C
    whose bits are fair coins leave a share of 2^(1 - C) constant, and a quarter more is `USUAL`.

    Args:
        bits: bool (N, K).
        labels: (N,) classes, or 0/1 (N, C).
        in_use: how many of the bits may differ; all K when None.
    """
    classes = count_classes(labels)
    distinct = len(np.unique(np.packbits(bits, axis=1), axis=0))
    never_used = 0 if in_use is None else bits.shape[1] - in_use
    used = bits.shape[1] - never_used
    constant = int((bits == bits[0]).all(0).sum()) - never_used
    too_few = distinct < classes and used >= 2 * np.log2(classes)
    idle = used >= FEW and constant > used * (USUAL + 2.0 ** (1 - classes))
    if classes > 1 and (distinct == 1 or too_few or idle):
        return Collapse(len(bits), classes, distinct, used, constant)
    return None


def count_classes(labels: np.ndarray) -> int:
    """Classes that occur among labels (N,), or labels that tell images apart among 0/1 (N, C)."""
    labels = np.asarray(labels)
    if labels.ndim == 1:
        return len(np.unique(labels))
    return max(int((labels != labels[0]).any(0).sum()), int((labels != labels[0]).any()) + 1)


def warn(collapse: Collapse | None, advice: str) -> None:
    """Warn of a collapse, and say what may help."""
    if collapse is not None:
        warnings.warn(f"{collapse}; {advice}", CollapseWarning, stacklevel=4)
