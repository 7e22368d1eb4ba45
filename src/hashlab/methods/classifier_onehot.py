"""A control: the classifier's answer as a code, one bit for each class, of which one is set.

Sablayrolles, Douze, Usunier and Jegou (How should we evaluate supervised hashing?, ICASSP 2017,
arXiv 1609.06753) show that such codes beat published hashing methods where the classes of queries
are those of training: two images have distance 0 where the classifier gives both the same class,
and 2 otherwise.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.data.parts import Labelled
from hashlab.errors import InputError
from hashlab.losses import classes
from hashlab.methods.base import About
from hashlab.methods.deep import DeepMethod
from hashlab.networks.backbones import Backbone


def classifier_onehot_loss(z: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits z (B, K), K of at least the number of classes, with labels (B,):
    a scalar.
    """
    return F.cross_entropy(z, labels)


class OneHot(nn.Module):
    """A linear layer whose logits (B, K) become, after training,
    +1 for the largest and -1 for the others.
    """

    def __init__(self, features: int, bits: int):
        super().__init__()
        self.linear = nn.Linear(features, bits)

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        if self.training:
            return z
        largest = F.one_hot(z.argmax(1), z.shape[1]).to(z.dtype)
        return 2.0 * largest - 1


class ClassifierOneHot(DeepMethod):
    """One-hot codes of the predicted class; bits beyond the number of classes are always 0."""

    about: ClassVar[About] = About(
        name="classifier_onehot",
        title="Control: the predicted class as a one-hot code",
        year=2017,
        kind="control",
        labels=("same_class",),
        paper="Sablayrolles, Douze, Usunier and Jegou, ICASSP 2017, arXiv 1609.06753",
        status="a control",
    )

    def check(self, train: Labelled) -> None:
        super().check(train)
        count = classes.count(self.targets(train))
        if self.bits < count:
            raise InputError(
                f"classifier_onehot needs a bit per class: {count} at least, got {self.bits}"
            )

    def bits_in_use(self, classes: int) -> int:
        return classes

    def head(self, backbone: Backbone) -> nn.Module:
        return OneHot(backbone.features, self.bits)

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        return classifier_onehot_loss(z, labels)
