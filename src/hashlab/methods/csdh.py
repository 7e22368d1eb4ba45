"""Liu, Wu, Yin, Yu, Zhu and Lou, An improved deep hashing model for image retrieval with binary
code similarities, Journal of Big Data 11:54, 2024 (CSDH).

A reconstruction. SEEN (abstract): a pre-trained deep network; a hidden fully connected layer at its
end, whose *activation function* gives the bits; a loss of *label similarities* and *Hamming
embedding distances*, so that codes keep the meaning of images and similar images are a small
Hamming distance apart. INFERRED: which activation, every formula below, the penalty on outputs away
from codes, the balance of pairs, every setting.

Three losses fit those words, and all are here: `regression` (our reading, the default), in which
the similarity of two codes is to equal that of their labels; `contrastive`, the loss of DSH;
`likelihood`, the loss of DPSH and DHN.

References: the ledger in the book's chapter "Liu et al. 2024".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.errors import check_word, named
from hashlab.losses import pairs, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": lambda z: (
        2 * torch.sigmoid(z) - 1
    ),  # a sigmoid brought to -1..1, which is tanh(z / 2)
    "clip": lambda z: z.clamp(-1, 1),
    "none": lambda z: z,
}


SIMILARITIES = ("shares", "cosine")


def label_similarity(labels: Tensor, kind: str = "shares") -> Tensor:
    """Similarity s (B, B) in 0..1 of labels (B,), or 0/1 (B, C) of several: what codes are to show.

    Args:
        kind: "shares" for 1 where two images share a label and 0 elsewhere, "cosine" for the cosine
            of their vectors of labels. Of one class per image both are the same.
    """
    check_word("kind", kind, SIMILARITIES)
    if kind == "shares" or labels.ndim == 1:
        return pairs.similar(labels).float()
    y = F.normalize(labels.float(), dim=1)  # (B, C)
    return (y @ y.T).clamp(max=1)


def hamming_embedding(u: Tensor) -> Tensor:
    """The Hamming distance of codes, and smooth between them.

        d_ij = (K - u_i.u_j) / 2

    Of u (B, K), (B, B).
    """
    return (u.shape[1] - u @ u.T) / 2


def regression(u: Tensor, s: Tensor, low: float = -1.0) -> Tensor:
    """Code similarity is to be label similarity, with d of `hamming_embedding`.

        (1 - 2 d_ij / K - target)^2

    The target is 1 at s = 1, falls in a line, and is `low` at s = 0: -1 for opposite codes, 0 for
    half of the bits.
    """
    similarity = 1 - 2 * hamming_embedding(u) / u.shape[1]
    target = low + (1 - low) * s
    return (similarity - target).square()


def contrastive(u: Tensor, s: Tensor, low: float = -1.0) -> Tensor:
    """The pairs' loss of DSH, with a distance that is 4 times Hamming's at codes.

        [s d + (1 - s) max(2 K - d, 0)] / (2 K),  d = ||u_i - u_j||^2

    A dissimilar pair is left in peace when half of the bits differ. DSH does not divide by K; here
    it makes one learning rate do for all lengths. `low` is not used.
    """
    bits = u.shape[1]
    d = pairs.squared_distances(u)  # (B, B)
    return (s * d + (1 - s) * (2 * bits - d).clamp(min=0)) / (2 * bits)


def likelihood(u: Tensor, s: Tensor, low: float = -1.0) -> Tensor:
    """How unlikely the similarities are, as in DPSH.

        log(1 + exp Theta) - s Theta,  Theta = u_i.u_j / 2

    `low` is not used.
    """
    return pairs.likelihood_loss(u @ u.T / 2, s)


FORMS = {"regression": regression, "contrastive": contrastive, "likelihood": likelihood}
LOWEST = {"opposite": -1.0, "half": 0.0}  # similarity that codes of unlike images are to have


class CSDHLoss(nn.Module):
    """The training loss of outputs z (B, K) with labels (B,), or 0/1 (B, C) of several: a scalar.

        mean_ij form(u_i, u_j, s_ij) + alpha mean_ik penalty(u_ik),  u = activation(z)

    No image makes a pair with itself. Pairs with s > 0 are the similar ones. The arguments are
    settings of the method, which `hashlab methods csdh` explains.
    """

    def __init__(
        self,
        form: str = "regression",
        activation: str = "tanh",
        quantise: str = "squared",
        alpha: float = 0.1,
        similarity: str = "shares",
        unlike: str = "opposite",
        balance: str = "halves",
    ):
        super().__init__()
        self.form = named("form", form, FORMS)
        self.activation = named("activation", activation, ACTIVATIONS)
        self.penalty = named("quantise", quantise, quantisation.PENALTIES)
        self.alpha = alpha
        self.similarity = similarity
        self.low = named("unlike", unlike, LOWEST)
        self.balance = balance

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        u = self.activation(z)
        s = label_similarity(labels, self.similarity).to(z.dtype)
        losses = self.form(u, s, self.low)  # (B, B)
        counted = pairs.off_diagonal(len(u), u.device)
        mean = pairs.mean(losses, s > 0, counted, self.balance)
        return mean + self.alpha * self.penalty(u)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of CSDH; all INFERRED."""

    epochs: int = setting(15, "times that every training image is seen")
    form: str = setting("regression", "the loss of a pair; the others are those of DSH and of DPSH")
    activation: str = setting("tanh", "makes outputs u of the hash layer's z")
    quantise: str = setting("squared", "distance between outputs and codes")
    alpha: float = setting(0.1, "weight of that distance, a mean over outputs")
    similarity: str = setting(
        "shares", "of several labels: 1 where one is shared, or the cosine of label vectors"
    )
    unlike: str = setting(
        "opposite", "regression: codes of unlike images differ in all bits, or in half of them"
    )
    balance: str = setting(
        "halves", "of similar and dissimilar pairs: half the weight each, or as many as there are"
    )

    CHOICES: ClassVar[dict[str, tuple[str, ...]]] = DeepConfig.CHOICES | {
        "form": tuple(FORMS),
        "activation": tuple(ACTIVATIONS),
        "quantise": tuple(quantisation.PENALTIES),
        "similarity": SIMILARITIES,
        "unlike": tuple(LOWEST),
        "balance": ("halves", "none"),
    }


class CSDH(DeepMethod):
    """Codes as similar as their labels:
    a hash layer with an activation, trained on pairs within a batch.
    """

    about: ClassVar[About] = About(
        name="csdh",
        title="An improved deep hashing model for image retrieval with binary code similarities",
        year=2024,
        kind="pairwise",
        labels=("same_class", "shares_label"),
        paper="Liu, Wu, Yin, Yu, Zhu and Lou, Journal of Big Data 11:54, 2024",
        status="reconstruction from the abstract",
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        names = ("form", "activation", "quantise", "alpha", "similarity", "unlike", "balance")
        loss = CSDHLoss(**{name: getattr(self.config, name) for name in names})
        return loss(z, labels)
