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

    Example:
        >>> import torch
        >>> from hashlab.losses import quantisation
        >>> quantisation.signs(torch.tensor([-0.3, 0.0, 2.0])).tolist()
        [-1.0, 1.0, 1.0]
    """
    return torch.where(u.detach() >= 0, 1.0, -1.0).to(u.dtype)


def squared(u: Tensor) -> Tensor:
    """The pull grows with the distance from the code.

        mean_ik (u_ik - sgn u_ik)^2 = mean_ik (|u_ik| - 1)^2

    As in DPSH.
    """
    return (u - signs(u)).square().mean()


def absolute(u: Tensor) -> Tensor:
    """The same pull everywhere.

        mean_ik | |u_ik| - 1 |

    As in DSH.
    """
    return (u - signs(u)).abs().mean()


def log_cosh(u: Tensor) -> Tensor:
    """Squared near the code and absolute far from it.

        mean_ik log cosh(|u_ik| - 1)

    As in DHN; stable for any u.
    """
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
