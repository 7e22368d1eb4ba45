"""Classes as training targets: their number, indicators, a classification loss,
and codes assigned to them.

Labels are (B,) classes, or 0/1 (B, C) where an image has several, as everywhere in this package.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def count(labels: np.ndarray) -> int:
    """The number of classes C of (N,) classes 0..C-1, or of 0/1 (N, C)."""
    if labels.ndim == 2:
        return labels.shape[1]
    return int(labels.max()) + 1


def indicators(labels: Tensor, classes: int) -> Tensor:
    """Which classes each image has: float (B, C) of zeros and ones."""
    if labels.ndim == 2:
        return labels.float()
    return F.one_hot(labels, classes).float()


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, C):
    of a soft-max for one class, of a sigmoid per class for several. A scalar.
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def random_signs(count: int, bits: int) -> Tensor:
    """Codes (count, K) of -1 and +1, every bit drawn from the fair coin of torch's generator."""
    return torch.randint(0, 2, (count, bits)) * 2.0 - 1


def similar_sums(labels: Tensor, others: Tensor, x: Tensor) -> Tensor:
    """For each image the sum of x over the others it is similar to:
    labels (B,), (N,), x (N, K) -> (B, K).

    The same as `pairs.similar(labels, others) @ x`, without the matrix where an image has one
    class.
    """
    if labels.ndim == 1:
        classes = int(torch.maximum(labels.max(), others.max())) + 1
        of_class = x.new_zeros(classes, x.shape[1]).index_add_(0, others, x)  # (C, K)
        return of_class[labels]
    others = others.float()
    sums = []
    for block in labels.split(1024):  # (1024, N) at once
        similar = block.float() @ others.T > 0
        sums.append(similar.to(x.dtype) @ x)
    return torch.cat(sums)
