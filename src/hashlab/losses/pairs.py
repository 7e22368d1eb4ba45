"""Pairs of images: which are similar,
and means over their losses in which the few similar ones count.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hashlab.errors import check_word

BALANCES = ("none", "halves")


def similar(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Which pairs are similar: bool (B, N) of labels (B,) and (N,) classes,
    or 0/1 (B, C) and (N, C) of several.

    Images with several labels are similar when they share one.

    Example:
        >>> import torch
        >>> from hashlab.losses import pairs
        >>> pairs.similar(torch.tensor([3, 5, 3])).int().tolist()
        [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    """
    others = labels if others is None else others
    if labels.ndim == 1:
        return labels[:, None] == others[None, :]
    return labels.float() @ others.float().T > 0


def off_diagonal(count: int, device: torch.device) -> Tensor:
    """The pairs of a batch with itself, without those of an image with itself: bool (B, B)."""
    return ~torch.eye(count, dtype=torch.bool, device=device)


def squared_distances(u: Tensor) -> Tensor:
    """How far apart the outputs u (B, K) of all pairs are.

        ||u_i - u_j||^2

    (B, B), never below 0.
    """
    lengths = u.square().sum(1)  # (B,)
    return (lengths[:, None] + lengths[None, :] - 2 * u @ u.T).clamp(min=0)


def weights(s: Tensor, counted: Tensor | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """One over the number of pairs of a pair's kind, similar or dissimilar,
    and 0 for pairs that do not count: (B, N).

    Args:
        s: bool (B, N), the similar ones.
        counted: bool (B, N), the pairs that count; all when None.
    """
    counted = torch.ones_like(s) if counted is None else counted
    alike = counted & s
    apart = counted & ~s
    return alike / alike.sum(dtype=dtype).clamp(min=1) + apart / apart.sum(dtype=dtype).clamp(min=1)


def balanced_mean(losses: Tensor, s: Tensor, counted: Tensor | None = None) -> Tensor:
    """Half the mean over similar pairs plus half the mean over dissimilar pairs: (B, N) -> scalar.

    Only a tenth of random pairs of ten classes is similar; here both kinds have the same weight. A
    kind with no pair adds nothing.

    Args:
        losses: (B, N), one per pair.
        s: bool (B, N), the similar ones.
        counted: bool (B, N), the pairs that count; all when None.
    """
    return (losses * weights(s, counted, losses.dtype)).sum() / 2


def mean(losses: Tensor, s: Tensor, counted: Tensor | None = None, balance: str = "none") -> Tensor:
    """The mean over pairs that count, or `balanced_mean` where `balance` is "halves":
    (B, N) -> scalar.
    """
    check_word("balance", balance, BALANCES)
    if balance == "halves":
        return balanced_mean(losses, s, counted)
    counted = torch.ones_like(s) if counted is None else counted
    return (losses * counted).sum() / counted.sum().clamp(min=1)


def likelihood_loss(theta: Tensor, s: Tensor) -> Tensor:
    """How unlikely a pair's kind s is, where it is similar with chance sigmoid(theta); per pair.

        -log p(s | Theta) = log(1 + exp Theta) - s Theta

    Stable for any Theta.

    Reference: Zhang, Zhang, Li and Guo, Supervised hashing with latent factor models, SIGIR 2014;
    used by DPSH, DHN, HashNet and many more.
    """
    return F.softplus(theta) - s * theta
