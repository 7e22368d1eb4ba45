"""Retrieval metrics of binary codes, exact under ties and comparable between papers.

The distance between K-bit codes is a whole number, so a query's ranking is at most K + 1 groups of
ties. From two counts per group, all items and relevant ones, every metric follows in closed form:
nothing is sorted, and no result depends on the order in which a database happens to be stored.

`evaluate` is the way in, and gives a `Report`.
"""

# The way of a call: `labels` and `distance` check what is given, `rankings` counts (`_numba` for
# arrays, `_torch` for tensors), `formulas` and `published` turn counts into metrics, `report` adds
# them up.

from hashlab.metrics.evaluation import evaluate, evaluate_distances
from hashlab.metrics.published import CONVENTIONS, Convention, conventions
from hashlab.metrics.report import Report

__all__ = ["CONVENTIONS", "Convention", "Report", "conventions", "evaluate", "evaluate_distances"]
