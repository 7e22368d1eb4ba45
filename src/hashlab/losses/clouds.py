"""Classes as clouds round their centres, on one level of labels or on several:
what SHPDH and DCWH are made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hashlab.data.batches import Batches
from hashlab.losses import quantisation
from hashlab.training import numerics, seeds

EDGE = 1.1  # outputs beyond -EDGE..EDGE have left the cube
PASSES = ("plain", "train")


def squared_distances(u: Tensor, centres: Tensor) -> Tensor:
    """How far outputs u (B, K) are from centres (C, K).

        ||u_i - mu_m||^2

    (B, C), in single precision at least.
    """
    u = _single_at_least(u)  # it is a difference of large squares
    centres = _single_at_least(centres)
    return u.square().sum(1, keepdim=True) - 2 * u @ centres.T + centres.square().sum(1)


def _single_at_least(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def class_wise_loss(u: Tensor, y: Tensor, centres: Tensor, s: float, floor: float = 0.0) -> Tensor:
    """Mean of -log p(y_i | u_i), for classes that are Gaussian clouds of variance 1/s round their
    centres mu_m.

        p(m | u) = exp(-s/2 ||u - mu_m||^2) / sum_m' exp(-s/2 ||u - mu_m'||^2)

    Args:
        u: outputs (B, K).
        y: classes (B,) in 0..C-1.
        centres: (C, K).
        floor: added to the denominator and to p, as the authors' code does; it flattens the loss
            above -log(floor), and the gradient with it. With 0 the loss is a cross-entropy, stable
            at any distance.
    """
    logits = -s / 2 * squared_distances(u, centres)  # (B, C)
    if not floor:
        return F.cross_entropy(logits, y)
    e = logits.exp()
    p = e.gather(1, y[:, None]).squeeze(1) / (e.sum(1) + floor)  # (B,)
    return -(p + floor).log().mean()


def beyond_edge(u: Tensor) -> tuple[Tensor, Tensor]:
    """How far outputs u (B, K) lie below and above the cube, summed over the bits:
    (B,) and (B,).
    """
    below = F.relu(-EDGE - u).sum(1)
    above = F.relu(u - EDGE).sum(1)
    return below, above


def cubic_loss(u: Tensor) -> Tensor:
    """Keeps outputs u (B, K) in the cube, or just outside it.

        J_cubic = mean_i sum_k relu(|u_ik| - 1.1)

    A scalar, a mean over images.
    """
    below, above = beyond_edge(u)
    return (below + above).mean()


def vertex_loss(u: Tensor) -> Tensor:
    """Draws outputs u (B, K) to the corners of the cube.

        J_vertex = mean_i ||u_i - sgn u_i||^2

    A scalar, a mean over images.
    """
    return (u - quantisation.signs(u)).square().sum(1).mean()


class Centres(nn.Module):
    """The centres of all classes on every level, fine first:
    buffers, which are moved and not trained.

    Iterating gives a tensor (C_l, K) per level. At first they are standard normal.

    Args:
        parents: per level but the last, the class above each of its classes, int64 (C_l,).
        classes: C_l, the number of classes per level.
        bits: K.
    """

    def __init__(self, parents: Sequence[Tensor], classes: Sequence[int], bits: int):
        super().__init__()
        for level, above in enumerate(parents):
            self.register_buffer(f"parents{level}", above)
        for level, count in enumerate(classes):
            self.register_buffer(f"level{level}", torch.randn(count, bits))
        self.depth = len(classes)

    def __len__(self) -> int:
        return self.depth

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, f"level{level}") for level in range(self.depth))

    @torch.no_grad()
    def move(self, u: Tensor, y: Tensor) -> None:
        """Fine centres to the mean outputs of their classes,
        others to the mean of the centres below them.

        The mean over the centres below is not weighted by how many images they have. A class
        without images stays.

        Args:
            u: outputs (N, K) of the training images.
            y: their classes (N,) on the fine level.
        """
        fine = self.level0
        fine.copy_(means(u.to(fine), y.to(fine.device), fine))
        for level in range(self.depth - 1):
            below = getattr(self, f"level{level}")
            above = getattr(self, f"level{level + 1}")
            parents = getattr(self, f"parents{level}")
            above.copy_(means(below, parents, above))


def means(x: Tensor, y: Tensor, otherwise: Tensor) -> Tensor:
    """Means (C, K) of the rows of x (N, K) by their class y (N,);
    a row of `otherwise` (C, K) where there are none.
    """
    # (N, C); a product adds in one order, on a GPU too
    members = F.one_hot(y, len(otherwise)).to(x)
    counts = members.sum(0)[:, None]  # (C, 1)
    return torch.where(counts > 0, members.T @ x / counts.clamp(min=1), otherwise)


class Recentre:
    """`Phase.before_epoch`: after every `every`-th epoch,
    move the centres to where the training images are by then.

    It costs a pass of these images through the network, without gradients.

    Args:
        network: images (B, C, H, W) or features (B, d) -> outputs (B, K).
        how: "plain": the network as it encodes, images as they are. "train": as in SHPDH's code,
            the network as it trains (its batch statistics move on) and images shifted at random;
            those that fill no batch are left out.
        size: images per batch in the second case.
        seed: of the shifts.
        precision: of the network.
    """

    def __init__(
        self,
        centres: Centres,
        network: nn.Module,
        every: int,
        how: str,
        size: int,
        seed: int,
        precision: str,
    ):
        self.centres = centres
        self.network = network
        self.every = every
        self.how = how
        self.size = size
        self.seed = seed
        self.precision = precision

    def __call__(self, epoch: int, batches: Batches) -> None:
        if epoch == 1 or (epoch - 1) % self.every:
            return
        self.network.train(self.how == "train")
        with numerics.autocast(batches.device, self.precision):
            if self.how == "plain":
                u, labels = self.as_encoded(batches)
            else:
                u, labels = self.as_trained(batches, epoch)
        fine = labels.reshape(len(labels), -1)[:, 0]
        self.centres.move(u, fine)

    def as_encoded(self, batches: Batches) -> tuple[Tensor, Tensor]:
        return batches.map(self.network, "class centres"), batches.labels

    @torch.no_grad()
    def as_trained(self, batches: Batches, epoch: int) -> tuple[Tensor, Tensor]:
        seed = seeds.derived(self.seed, "centres", epoch)
        generator = torch.Generator().manual_seed(seed)
        u = []
        labels = []
        for batch in batches.epoch(self.size, generator):
            u.append(self.network(batch.images).float())
            labels.append(batch.labels)
        return torch.cat(u), torch.cat(labels)
