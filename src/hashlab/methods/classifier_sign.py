"""A control: the signs of a classifier's last hidden layer,
which has K units and knows nothing of codes.

The layer is tanh(z), and its code sgn z; training is cross-entropy alone. With a sigmoid in place
of tanh this is the network of Lin, Yang, Hsiao and Chen (Deep Learning of Binary Hash Codes for
Fast Image Retrieval, CVPR Workshops 2015).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hashlab.losses import classes
from hashlab.methods.base import About
from hashlab.methods.deep import DeepMethod, Network
from hashlab.training import loop


def classifier_sign_loss(z: Tensor, labels: Tensor, w: Tensor, bias: Tensor) -> Tensor:
    """Cross-entropy of w tanh(z) + bias for outputs z (B, K), with labels (B,) or 0/1 (B, C):
    a scalar.

    Args:
        w, bias: the classifier's weights (C, K) and (C,).
    """
    return classes.classification_loss(torch.tanh(z) @ w.T + bias, labels)


class ClassifierSignLoss(nn.Module):
    """`classifier_sign_loss` with a classifier of its own, which is trained along."""

    def __init__(self, count: int, bits: int):
        super().__init__()
        self.classifier = nn.Linear(bits, count)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return classifier_sign_loss(z, labels, self.classifier.weight, self.classifier.bias)


class ClassifierSign(DeepMethod):
    """Signs of a hidden layer that was trained to classify."""

    about: ClassVar[About] = About(
        name="classifier_sign",
        title="Control: the signs of a classifier's last hidden layer",
        year=2015,
        kind="control",
        labels=("same_class", "shares_label"),
        paper="after Lin, Yang, Hsiao and Chen, CVPR Workshops 2015",
        status="a control",
    )

    def phases(self, network: Network, labels: np.ndarray) -> list[loop.Phase]:
        c = self.config
        loss = ClassifierSignLoss(classes.count(labels), self.bits)
        return [self.phase("hashing", network, loss, c.epochs, c.lr)]
