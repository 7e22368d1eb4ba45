"""Wang, Shi and Kitani, Deep Supervised Hashing with Triplet Labels, ACCV 2016 (DTSH).

A likelihood of triplets: an image shall be closer to a similar one than to a dissimilar one, by a
margin. SEEN (the authors' code, https://github.com/Minione/DTSH): the likelihood, Theta = u.u'/2,
margin K/2, squared distance to the code, a few thousand triplets per image drawn from a memory of
all outputs. Their weight comes to about 0.004 K in our means. Ours: all triplets of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.losses import pairs, quantisation
from hashlab.methods.base import About, setting
from hashlab.methods.deep import DeepConfig, DeepMethod


def dtsh_loss(u: Tensor, labels: Tensor, alpha: float, weight: float = 0.1) -> Tensor:
    """The training loss of outputs u (B, K) with labels (B,) or 0/1 (B, C): a scalar.

        mean_qpn log(1 + exp -(Theta_qp - Theta_qn - alpha)) + weight mean_ik (u_ik - sgn u_ik)^2

    with Theta_ij = u_i.u_j / 2, over all triplets of the batch: p is similar to q and another
    image, n is not similar to q.

    Args:
        alpha: margin; the authors take K/2.
    """
    s = pairs.similar(labels)  # (B, B)
    theta = u @ u.T / 2  # (B, B)
    alike = s & pairs.off_diagonal(len(u), u.device)
    q, p = alike.nonzero(as_tuple=True)  # (P,): every similar pair
    counted = ~s[q]  # (P, B)
    losses = F.softplus(alpha + theta[q] - theta[q, p][:, None])  # (P, B)
    mean = (losses * counted).sum() / counted.sum().clamp(min=1)
    return mean + weight * quantisation.squared(u)


class DTSHLoss(nn.Module):
    """`dtsh_loss` as a module; the margin is `margin` times the code length."""

    def __init__(self, bits: int, margin: float = 0.5, weight: float = 0.1):
        super().__init__()
        self.alpha = margin * bits
        self.weight = weight

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        return dtsh_loss(z, labels, self.alpha, self.weight)


@dataclass(frozen=True, kw_only=True)
class Config(DeepConfig):
    """Settings of DTSH."""

    margin: float = setting(
        0.5, "by which a similar image shall be closer, in half inner products per bit"
    )
    weight: float = setting(0.1, "of the distance between outputs and codes, a mean over outputs")


class DTSH(DeepMethod):
    """Likelihood of triplets and quantisation; outputs are linear."""

    about: ClassVar[About] = About(
        name="dtsh",
        title="Deep Supervised Hashing with Triplet Labels",
        year=2016,
        kind="triplet",
        labels=("same_class", "shares_label"),
        paper="Wang, Shi and Kitani, ACCV 2016, arXiv 1612.03900",
        status=(
            "the loss of the authors' code, on all triplets of a batch; network and schedule are "
            "ours"
        ),
    )
    Config: ClassVar[type] = Config

    def loss(self, z: Tensor, labels: Tensor) -> Tensor:
        return dtsh_loss(z, labels, self.config.margin * self.bits, self.config.weight)
