"""Retrieval metrics of binary codes, exact under ties."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from hashlab import codes
from hashlab.errors import InputError
from hashlab.metrics import formulas
from hashlab.metrics.histogram import Histogram
from hashlab.metrics.report import Report

__all__ = ["Report", "evaluate"]
CUTOFFS = (1, 10, 100, 1000)


def evaluate(
    query_codes,
    database_codes,
    query_labels,
    database_labels,
    *,
    bits: int,
    relevance: str = "same_class",
    at: int | None = None,
    convention: str | None = None,
    tables=None,
    combine=None,
    weights=None,
) -> Report:
    """Score a ranking of the database by Hamming distance for every query.

    Args:
        query_codes, database_codes: packed codes, uint8 (Q, 8 W) and (N, 8 W).
        query_labels, database_labels: class numbers, (Q,) and (N,).
        bits: K.
        at: cut-off of AP; None ranks the whole database.

    Returns:
        A `Report`.

    Raises:
        InputError: with one sentence on what was expected and what came.
    """
    query_codes, database_codes, query_labels, database_labels = (
        x.cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)
        for x in (query_codes, database_codes, query_labels, database_labels)
    )
    codes.check_packed(query_codes, bits, "query codes")
    codes.check_packed(database_codes, bits, "database codes")
    for name, rows, labels in (
        ("query", query_codes, query_labels),
        ("database", database_codes, database_labels),
    ):
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(f"{name} labels must be (N,) integers, got {labels.shape} {labels.dtype}")
        if len(labels) != len(rows) or not len(rows):
            raise InputError(
                f"{name} codes and labels must be equally many and not none, got {len(rows)} and {len(labels)}"
            )
        if labels.min() < 0:
            raise InputError(f"{name} labels must not be negative, got {labels.min()}")
    if at is not None and not 1 <= at <= len(database_codes):
        raise InputError(f"at must be 1 to {len(database_codes)} (the database), got {at}")
    if relevance != "same_class" or convention or tables or combine or weights is not None:
        raise InputError("only relevance='same_class' is here yet")
    ranking = _histogram(query_codes, database_codes, query_labels, database_labels, bits)
    return _report(ranking, bits, at)


def _histogram(query_codes, database_codes, query_labels, database_labels, bits) -> Histogram:
    from hashlab.metrics import _numba

    query, database = codes.words(query_codes), np.ascontiguousarray(codes.words(database_codes).T)
    ql, dl = query_labels.astype(np.uint64)[:, None], database_labels.astype(np.uint64)[None]
    counts = np.empty((len(query), 2, bits + 1), np.int64)
    shift = np.zeros(query.shape[1], np.uint64)

    def task(start: int) -> None:
        rows = slice(start, start + 16)
        _numba.count(query[rows], database, shift, ql[rows], dl, False, counts[rows])

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(task, range(0, len(query), 16)))
    return Histogram(counts, np.array([0, 1]), np.array([False, True]))


def _report(ranking: Histogram, bits: int, at: int | None) -> Report:
    ap, worst, best = (
        formulas.average_precision(ranking, at, order) for order in ("expected", "worst", "best")
    )
    retrieved, found = ranking.items_to.sum(0), ranking.hits_to.sum(0)  # (K + 1,)
    with np.errstate(invalid="ignore"):
        precision, recall = found / retrieved, found / found[-1]
    ball, good = ranking.items_to[:, min(2, bits)], ranking.hits_to[:, min(2, bits)]
    cutoffs = sorted({k for k in CUTOFFS if k <= ranking.size} | ({at} if at else set()))
    return Report(
        bits=bits,
        at=at,
        ap=ap,
        ap_worst=worst,
        ap_best=best,
        precision=precision,
        recall=recall,
        precision_radius2=float((good / np.maximum(ball, 1)).mean()),
        precision_at={k: float((formulas.hits_at(ranking, k) / k).mean()) for k in cutoffs},
        queries_without_relevant=int((ranking.total_hits == 0).sum()),
    )
