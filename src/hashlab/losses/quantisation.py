"""How far real outputs are from codes: penalties that are least where every output is -1 or +1.

Each takes outputs u (B, K) and gives the mean over images and bits: a scalar that does not grow
with batch or length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def signs(u: Tensor) -> Tensor:
    """The code of outputs u as -1 and +1, with +1 at zero as in `codes.binarize`;
    it passes no gradient.
    """
    return torch.where(u.detach() >= 0, 1.0, -1.0).to(u.dtype)


def squared(u: Tensor) -> Tensor:
    """(u - sgn u)^2, which is (|u| - 1)^2:
    the pull grows with the distance from the code (DPSH).
    """
    return (u - signs(u)).square().mean()


def absolute(u: Tensor) -> Tensor:
    """| |u| - 1 |: the same pull everywhere (DSH)."""
    return (u - signs(u)).abs().mean()


def log_cosh(u: Tensor) -> Tensor:
    """log cosh(|u| - 1): squared near the code and absolute far from it (DHN), stable for any u."""
    away = (u - signs(u)).abs()
    return (away + F.softplus(-2 * away) - math.log(2)).mean()


def none(u: Tensor) -> Tensor:
    """Nothing: zero, with a gradient of zero."""
    return 0.0 * u.sum()


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "squared": squared,
    "absolute": absolute,
    "log_cosh": log_cosh,
    "none": none,
}
