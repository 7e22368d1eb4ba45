"""Near-duplicates: items that lead to each other by steps of a small distance."""

from __future__ import annotations

import numpy as np

from hashlab.progress import Progress
from hashlab.search import engines, given
from hashlab.search.combining import Measure
from hashlab.search.opening import Searched

PAIRS = 1 << 24  # compared at once, all of which may be near


def duplicates(index: Searched, radius: int) -> list[np.ndarray]:
    """Groups of items that are at most `radius` apart, by one step or several.

    They are the connected components of the graph of all pairs within the radius: two items of a
    group may be farther from each other than that, if others stand between.

    Args:
        radius: bits, 0 or more; several tables count by the sum.

    Returns:
        ids of each group of two items or more, int64 or text; larger groups first, then by their
        first ids.

    Raises:
        InputError: an empty index, a radius below 0.

    Example:
        >>> import numpy as np
        >>> from hashlab import codes, search
        >>> index = search.Index(bits=4)
        >>> packed = codes.pack(np.array([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]))
        >>> index.add([10, 11, 12], packed)
        >>> [group.tolist() for group in search.duplicates(index, radius=1)]
        [[10, 11]]
    """
    if not len(index):
        raise given.nothing(0, None)
    radius = given.whole("radius", radius, 0, None)
    distinct, kind = np.unique(index.codes(), axis=0, return_inverse=True)
    group = _components(Measure(index.tables), distinct, radius)[kind.reshape(-1)]
    order = np.argsort(group, kind="stable")
    ends = np.flatnonzero(np.diff(group[order])) + 1
    groups = [rows for rows in np.split(order, ends) if len(rows) > 1]
    groups.sort(key=lambda rows: (-len(rows), rows[0]))
    ids = index.ids
    return [ids[rows] for rows in groups]


def _components(measure: Measure, codes: np.ndarray, radius: int) -> np.ndarray:
    """The component of each code, int (M,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    step = max(1, PAIRS // len(codes))
    starts = range(0, len(codes), step)
    component = np.arange(len(codes))
    for start in Progress(starts, "comparing", delay=2):
        found = engines.within(measure, codes[start : start + step], codes, radius)
        query = np.repeat(np.arange(start, start + len(found.ends) - 1), np.diff(found.ends))
        a, b = component[query], component[found.rows]
        graph = coo_array((np.ones(len(a), np.int8), (a, b)), (len(codes), len(codes)))
        component = connected_components(graph, directed=False)[1][component]
    return component
