"""Codes of the training images that are learned as codes, between epochs and bit by bit:
ADSH and DSDH.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hashlab.data.batches import Batches
from hashlab.losses import quantisation


class LearnedCodes(nn.Module):
    """A loss with the labels, the last outputs and the learned codes of all training images,
    in buffers.

    A subclass says in `renew` how codes follow from the outputs in the memory.

    Args:
        labels: (N,) classes, or 0/1 (N, C).
        bits: K.
    """

    def __init__(self, labels: Tensor, bits: int):
        super().__init__()
        self.register_buffer("labels", labels)
        self.register_buffer("memory", torch.zeros(len(labels), bits))
        self.register_buffer("b", torch.zeros(len(labels), bits))

    @torch.no_grad()
    def begin(self, u: Tensor) -> None:
        """Fill the memory with the first outputs (N, K); the codes begin as their signs."""
        self.memory.copy_(u)
        self.b.copy_(quantisation.signs(u))

    def remember(self, u: Tensor, rows: Tensor) -> None:
        """The new outputs (B, K) of the images at positions `rows` (B,)."""
        self.memory[rows] = u.detach().to(self.memory.dtype)

    def renew(self) -> None:
        """Better codes for the outputs in the memory."""
        raise NotImplementedError


class Renew:
    """`Phase.before_epoch`: renew the codes;
    before the first epoch they begin from the network's outputs.

    Args:
        loss: what has the codes.
        network: images (B, C, H, W) or features (B, d) -> outputs (B, K).
    """

    def __init__(self, loss: LearnedCodes, network: nn.Module):
        self.loss = loss
        self.network = network

    @torch.no_grad()
    def __call__(self, epoch: int, batches: Batches) -> None:
        if epoch == 1:
            self.network.eval()
            u = torch.cat([self.network(x) for x in batches.stream()])
            self.loss.begin(u)
        self.loss.renew()


def descend(b: Tensor, q: Tensor, gram: Tensor, cycles: int = 1) -> Tensor:
    """Better codes (N, K) than the codes b (N, K): each bit in turn is the best one.

        min_B tr(B G B^T) - 2 tr(B Q^T)

    Args:
        q: Q (N, K).
        gram: G (K, K), symmetric; its diagonal counts nothing, as b_k^2 = 1.
        cycles: how often all bits have their turn.
    """
    b = b.clone()
    for k in list(range(b.shape[1])) * cycles:
        pull = q[:, k] - b @ gram[:, k] + b[:, k] * gram[k, k]  # of all but the bit itself
        b[:, k] = quantisation.signs(pull)
    return b
