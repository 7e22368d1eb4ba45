"""The definitions of the metrics as plain loops over ranks, and every order that ties allow:
slow, and easy to check.

A ranking is a list of gains in rank order (0 = irrelevant), unless a function says otherwise.
"""

import itertools
import math

import numpy as np


def orders(distances):
    """Every order of items in which distances ascend, as lists of item numbers."""
    values = sorted(set(distances))
    groups = [[i for i, d in enumerate(distances) if d == v] for v in values]
    for parts in itertools.product(*(itertools.permutations(g) for g in groups)):
        yield [i for part in parts for i in part]


def rankings(distances, gains):
    """The gains in rank order, for every order that ties allow."""
    return [[gains[i] for i in order] for order in orders(list(distances))]


def precision_sum(ranking, k):
    """Sum of the precisions at the relevant ones of the first k ranks."""
    total, hits = 0.0, 0
    for rank, gain in enumerate(ranking[:k], 1):
        if gain > 0:
            hits += 1
            total += hits / rank
    return total


def hits(ranking, k=None):
    return sum(gain > 0 for gain in ranking[:k])


def ap(ranking, k):
    """AP at k over min(k, R)."""
    return precision_sum(ranking, k) / max(1, min(k, hits(ranking)))


def weighted_ap(ranking, k):
    """AP with the average gain of the first ranks in place of precision."""
    total = 0.0
    for rank, gain in enumerate(ranking[:k], 1):
        if gain > 0:
            total += sum(ranking[:rank]) / rank
    return total / max(1, min(k, hits(ranking)))


def precision_at(ranking, k):
    return hits(ranking, k) / k


def recall_at(ranking, k):
    return hits(ranking, k) / max(1, hits(ranking))


def acg(ranking, k):
    return sum(ranking[:k]) / k


def ndcg(ranking, k):
    def dcg(gains):
        return sum(gain / math.log2(1 + rank) for rank, gain in enumerate(gains[:k], 1))

    best = dcg(sorted(ranking, reverse=True))
    return dcg(ranking) / best if best else 0.0


def hierarchical_precision(ranking, k):
    best = sum(sorted(ranking, reverse=True)[:k])
    return sum(ranking[:k]) / best if best else 0.0


def mahp(ranking, k):
    return sum(hierarchical_precision(ranking, i) for i in range(1, k + 1)) / k


def hpdh_ndcg(ranking, k):
    """As hpdh's get_map.py: ranks from 0, the first two undiscounted, then 1 / log2(rank);
    mean over cut-offs.
    """

    def dcgs(gains):
        sums = []
        for j, gain in enumerate(gains[:k]):
            sums.append((sums[-1] if sums else 0.0) + (gain if j < 2 else gain / math.log2(j)))
        return sums

    best = dcgs(sorted(ranking, reverse=True))
    return sum(a / b if b else 0.0 for a, b in zip(dcgs(ranking), best, strict=True)) / k


# mAP of several rankings under published conventions


def mean(values):
    return sum(values) / len(values) if values else 0.0


def map_min_k_r(many, k):
    return mean([ap(r, k) for r in many])


def map_all_relevant(many, k):
    return mean([precision_sum(r, k) / max(1, hits(r)) for r in many])


def map_all_relevant_drop(many, k):
    return mean([precision_sum(r, k) / hits(r) for r in many if hits(r)])


def map_at_r(many, k):
    return mean([precision_sum(r, hits(r)) / hits(r) for r in many if hits(r)])


def map_hits_in_topk(many, k):
    return mean([precision_sum(r, k) / hits(r, k) if hits(r, k) else 0.0 for r in many])


def map_hits_in_topk_drop(many, k):
    return mean([precision_sum(r, k) / hits(r, k) for r in many if hits(r, k)])


def map_hpdh(many, k):
    return mean([precision_sum(r, len(r)) / hits(r) if hits(r) else float("nan") for r in many])


BY_RANK = {
    "min_k_r": map_min_k_r,
    "all_relevant": map_all_relevant,
    "all_relevant_drop": map_all_relevant_drop,
    "map_at_r": map_at_r,
    "hits_in_topk": map_hits_in_topk,
    "hits_in_topk_drop": map_hits_in_topk_drop,
    "hpdh": map_hpdh,
}


def step_integral(distances, gains):
    """scikit-learn's AP: over thresholds, recall gained times precision."""
    total, before = 0.0, 0.0
    relevant = hits(gains)
    for threshold in sorted(set(distances)):
        inside = [g for d, g in zip(distances, gains, strict=True) if d <= threshold]
        recall = hits(inside) / max(1, relevant)
        total += (recall - before) * hits(inside) / len(inside)
        before = recall
    return total


def trapezoid(distances, gains):
    """HABIR's recall_precision.m (default radii) and area_RP.m;
    distances and gains are (Q, N) nested lists.
    """
    pairs = [
        (d, g) for ds, gs in zip(distances, gains, strict=True) for d, g in zip(ds, gs, strict=True)
    ]
    relevant = sum(g > 0 for _, g in pairs)
    xs, ys = [], []
    for radius in range(max(d for d, _ in pairs)):
        inside = [g for d, g in pairs if d <= radius]
        xs.append(hits(inside) / max(1, relevant))
        ys.append(hits(inside) / (len(inside) + np.finfo(float).eps))
    if xs and xs[0] != 0:
        xs, ys = [0.0, *xs], [ys[0], *ys]
    first = [i for i, x in enumerate(xs) if x not in xs[:i]]  # MATLAB's unique keeps the first
    xs, ys = [xs[i] for i in first], [ys[i] for i in first]
    return sum((xs[i + 1] - xs[i]) * (ys[i + 1] + ys[i]) / 2 for i in range(len(xs) - 1))


# expectations under a random order of ties, position by position: for rankings too long for every
# order


def groups(distances, gains):
    """The gains of each tie group, nearest first."""
    return [
        [g for d, g in zip(distances, gains, strict=True) if d == value]
        for value in sorted(set(distances))
    ]


def expected_ap(distances, relevant, k):
    """He et al., CVPR 2018: the i-th place of a group of n holds one of its r relevant items
    with probability r / n.
    """
    total, before, hits_before = 0.0, 0, 0
    for group in groups(distances, relevant):
        n, r = len(group), sum(group)
        for i in range(1, min(n, k - before) + 1):
            others = (i - 1) * (r - 1) / (n - 1) if n > 1 else 0.0
            total += r / n * (hits_before + 1 + others) / (before + i)
        before, hits_before = before + n, hits_before + r
    return total / max(1, min(k, hits_before))


def expected_gains(distances, gains):
    """The mean gain at each rank."""
    return [sum(group) / len(group) for group in groups(distances, gains) for _ in group]
