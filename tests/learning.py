"""What the tests of several methods do alike:
outputs of a network, plain loops, and the mAP of what was learned.
"""

import torch

from hashlab import metrics


def outputs(count, bits, seed=0, spread=1.3):
    """Made outputs of a network, (count, bits), float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator) * spread


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def sign(x):
    return 1.0 if x >= 0 else -1.0


def score(method, loaded):
    """The mAP of a fitted method on the set that it learned from."""
    sides = loaded.query, loaded.database
    codes, labels = [method.encode(side) for side in sides], [side.targets for side in sides]
    tables = {"tables": method.tables, "combine": method.combine, "weights": method.table_weights}
    report = metrics.evaluate(
        *codes, *labels, bits=method.bits, relevance=loaded.relevance, **tables
    )
    return report.map
