"""The two entrances: `evaluate` for codes,
`evaluate_distances` for anything else that ranks a database.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike

from hashlab import codes
from hashlab.errors import InputError, check_word
from hashlab.metrics import distance, labels, rankings, report
from hashlab.metrics.distance import Distance
from hashlab.metrics.published import CONVENTIONS, Convention
from hashlab.metrics.report import Report

CUTOFFS = (1, 10, 100, 1000)
MOST_CELLS = (
    1 << 22
)  # a union of long tables has billions of distances; so many counts take 1 GB in the engine
Array = np.ndarray | torch.Tensor


def evaluate(
    query_codes: Array,
    database_codes: Array,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    bits: int | None = None,
    relevance: str = "same_class",
    at: int | None = None,
    convention: str | None = None,
    tables: Sequence[int] | None = None,
    combine: str | None = None,
    weights: Sequence[int] | None = None,
    cutoffs: Sequence[int] | None = None,
) -> Report:
    """Rank a database by the distance of its codes to each query's, and measure the rankings.

    Where rel_i is 1 for a relevant item at rank i and 0 for another, R items are relevant, and k ranks
    count (`at`), the average precision of a query is

        AP = (1 / min(k, R)) sum_{i=1..k} rel_i (rel_1 + ... + rel_i) / i

    as expected under a random order of ties; mAP is its mean over queries. `formulas` has the closed form.

    NumPy codes are compared on all cores that torch is set to use, tensors on their device; the
    counts are the same.

    Args:
        query_codes, database_codes: packed, uint8 (Q, 8 W) and (N, 8 W), see `codes.pack`; or their
            bits, (Q, K) and (N, K) of bool, 0/1 or -1/+1 in any real type; of queries for
            convention="asymmetric" the real outputs, (Q, K), instead.
        query_labels, database_labels: what `relevance` needs, one row per code, in any usual form:
            see `hashlab.labels`.
        bits: K, the number of bits stored, of all tables together; None where codes are not packed,
            which then say it.
        relevance: "same_class": (N,) classes, relevant if equal. "shares_label": (N, C) of 0 and 1,
            relevant with a label in common, gain = how many; a row without labels has nothing in
            common with any other. "levels": (N, L) classes per level, fine first, relevant if the
            fine ones agree, gain = levels that agree.
        at: cut-off of AP, 1..N; None ranks the whole database.
        convention: a published definition of mAP by name (see `conventions`); None: AP at k over
            min(k, R).
        tables: bits of each hash table, where a packed row holds several, each padded to whole
            64-bit words.
        combine: "sum" of the tables' distances (default), "union": the smallest, ties broken by the
            sum, or "weighted": the sum of `weights`, whole numbers 0..15 per table or per bit, over
            the bits that differ.
        cutoffs: ranks at which precision, recall, nDCG, … are given; None: 1, 10, 100 and
            1000, where possible. `at` is always among them.

    Returns:
        A `Report`.

    Raises:
        InputError: before any work, with one sentence on what was expected and what came.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes, metrics
        >>> query = codes.pack(np.array([[0, 0, 0, 0]]) > 0)
        >>> database = codes.pack(np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]) > 0)
        >>> report = metrics.evaluate(query, database, np.array([0]), np.array([0, 1, 0]), bits=4)
        >>> print(f"{report.map:.4f}")  # relevant items at ranks 1 and 3: (1/1 + 2/3) / 2
        0.8333
    """
    rule = _convention(convention, at)
    _check_one_kind(query_codes, database_codes)
    bits = distance.bits_of(query_codes, database_codes) if bits is None else codes.whole(bits)
    measure = distance.check(bits, tables, combine, weights)
    real = rule.name == "asymmetric"
    if real:
        (database_codes,) = distance.packed([database_codes], measure)
    else:
        query_codes, database_codes = distance.packed([query_codes, database_codes], measure)
    distance.check_codes(database_codes, measure, "database codes")
    if real:
        _check_outputs(query_codes, measure)
    else:
        distance.check_codes(query_codes, measure, "query codes")
    relevant = labels.check(
        relevance, query_labels, database_labels, len(query_codes), len(database_codes)
    )
    cutoffs = _check_cutoffs(at, cutoffs, len(database_codes))
    if (cells := relevant.groups * measure.bins) > MOST_CELLS:
        raise InputError(
            f"at most {MOST_CELLS} counts a query (gains times distances) fit, got {cells}"
        )
    if real:
        far = rankings.asymmetric(codes.as_numpy(query_codes), codes.as_numpy(database_codes))
        ranked = rankings.from_distances(far, relevant)
    else:
        ranked = rankings.from_codes(query_codes, database_codes, measure, relevant)
    return report.build(
        ranked,
        relevant,
        rule,
        _whole(at),
        cutoffs,
        None if real else int(measure.radius[-1]) + 1,
        bits=bits,
        convention=convention,
        tables=None if tables is None else measure.tables,
        combine=None if tables is None and combine is None else measure.combine,
    )


def evaluate_distances(
    distances: Array,
    query_labels: ArrayLike,
    database_labels: ArrayLike,
    *,
    relevance: str = "same_class",
    at: int | None = None,
    convention: str | None = None,
    cutoffs: Sequence[int] | None = None,
) -> Report:
    """Measure the rankings that real distances give, by sorting them;
    equal distances are ties, as in `evaluate`.

    Args:
        distances: real numbers, (Q, N), smaller is nearer.
        query_labels, database_labels, relevance, at, convention, cutoffs: as in `evaluate`.

    Returns:
        A `Report` without what is measured by radius.

    Raises:
        InputError: as `evaluate`; also distances that are not (Q, N) numbers, or NaN.

    Example:
        >>> import numpy as np
        >>> from hashlab import metrics
        >>> metrics.evaluate_distances(np.array([[0.1, 0.3, 0.2]]), [7], [7, 7, 8]).map
        0.8333333333333333
    """
    rule = _convention(convention, at)
    if rule.name == "asymmetric":
        raise InputError(
            "convention 'asymmetric' ranks by real query outputs, got distances; 'hits_in_topk' "
            "scores those"
        )
    if rule.pooled is not None:
        raise InputError(
            f"convention {rule.name!r} measures by radius and needs codes, got distances"
        )
    distances = codes.as_numpy(distances, "distances")
    if distances.ndim != 2 or distances.dtype.kind not in "iuf" or 0 in distances.shape:
        raise InputError(
            "distances must be (Q, N) real numbers, Q and N at least 1, got "
            f"{codes.describe(distances)}"
        )
    if np.isnan(distances).any():
        raise InputError("distances must be numbers, got NaN: an item cannot be ranked")
    sides = "rows of distances", "columns of distances"
    relevant = labels.check(relevance, query_labels, database_labels, *distances.shape, sides)
    cutoffs = _check_cutoffs(at, cutoffs, distances.shape[1])
    ranked = rankings.from_distances(lambda rows: distances[rows], relevant)
    settings = {"bits": None, "convention": convention, "tables": None, "combine": None}
    return report.build(ranked, relevant, rule, _whole(at), cutoffs, None, **settings)


def _convention(name: str | None, at: int | None) -> Convention:
    if name is not None:
        check_word("convention", name, CONVENTIONS)
    rule = CONVENTIONS["min_k_r" if name is None else name]
    if at is not None and not rule.cut:
        raise InputError(f"convention {name!r} has no cut-off, got at={at}")
    return rule


def _whole(at: int | None) -> int | None:
    return None if at is None else int(at)


def _check_cutoffs(at: int | None, cutoffs: Sequence[int] | None, items: int) -> list[int]:
    """All cut-offs in order, that of AP among them;
    raises InputError for one beyond the database.
    """
    if cutoffs is None:
        cutoffs = [k for k in CUTOFFS if k <= items]
    chosen = list(cutoffs) if np.iterable(cutoffs) else []
    if not chosen:
        raise InputError(f"cutoffs must be a sequence of ranks, got {cutoffs!r}")
    if at is not None:
        _check_rank("at", at, items)
    for k in chosen:
        _check_rank("each of cutoffs", k, items)
    every = chosen if at is None else [*chosen, at]
    return sorted({int(k) for k in every})


def _check_rank(name: str, k: int, items: int) -> None:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= items:
        raise InputError(
            f"{name} must be a whole number in 1..{items}, the size of the database, got {k!r}"
        )


def _check_one_kind(query: Array, database: Array) -> None:
    """Raise InputError unless both are arrays, or tensors on one device."""
    for name, array in (("query", query), ("database", database)):
        if not isinstance(array, (np.ndarray, torch.Tensor)):
            raise InputError(
                f"{name} codes must be a NumPy array or a tensor, got {type(array).__name__}"
            )
    devices = [x.device if isinstance(x, torch.Tensor) else "numpy" for x in (query, database)]
    if devices[0] != devices[1]:
        raise InputError(
            f"query and database codes must be of one kind, got {devices[0]} and {devices[1]}"
        )


def _check_outputs(outputs: Array, measure: Distance) -> None:
    bits = len(measure.weights)
    if (
        not codes.is_array(outputs, 2, "float", "bfloat")
        or outputs.shape[1] != bits
        or len(outputs) == 0
    ):
        raise InputError(
            f"query outputs must be (Q, {bits}) real numbers for convention 'asymmetric', "
            f"got {codes.describe(outputs)}; 'hits_in_topk' scores packed codes"
        )
    if (outputs != outputs).any():
        raise InputError("query outputs must be numbers, got NaN")
    if len(measure.tables) > 1 or measure.combine != "sum":
        raise InputError("real query outputs are ranked in one table, got several or a combination")
