"""What the chapters of the book share: tables, source code beside its formula, and records side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlab import records
from hashlab.errors import InputError
from hashlab.records import Record

if TYPE_CHECKING:
    from IPython.display import Markdown


def table(head: Sequence[Any], *rows: Sequence[Any]) -> Markdown:
    """Rows of cells as a table under their head."""
    from IPython.display import Markdown

    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (head, *rows)]
    lines = [line.replace(" ± ", "\u202f±\u202f") for line in lines]  # a value and its spread stay on one line
    return Markdown("\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]]))


def source(*objects: Callable) -> Markdown:
    """The source of functions and classes as the package runs them, not a copy of it."""
    from IPython.display import Markdown

    texts = [dedent(inspect.getsource(one)) for one in objects]
    return Markdown("\n".join(f"```python\n{text}```" for text in texts))


def recorded(seeds: Iterable[int], settings: dict[str, Any] | None = None, **conditions: Any) -> list[Record]:
    """One record per seed, in their order, of the runs that meet `conditions` and have these settings.

    Args:
        settings: of the method, by name; settings that are not named may have any value.
        conditions: of `records.load` (`method="dpsh", protocol="cifar10-59k", bits=24`).

    Raises InputError where there is not exactly one for each seed.
    """
    kept = [r for r in records.load(**conditions) if (settings or {}).items() <= r["config"].items()]
    found = sorted((r for r in kept if r.seed in tuple(seeds)), key=lambda record: record.seed)
    if [record.seed for record in found] != list(seeds):
        wanted = f"one record of {conditions} with {settings or 'any settings'} for each seed of {list(seeds)}"
        raise InputError(f"{wanted} expected in {records.root()}, found {len(found)}")
    return found


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation (n - 1) over seeds; the value alone where there is one."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def difference(group: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Mean of the paired differences over seeds, and two standard errors of it: "above" is a mean that exceeds them."""
    paired = np.subtract(group, other)
    return float(paired.mean()), float(2 * paired.std(ddof=1) / np.sqrt(len(paired)))


def command(group: Sequence[Record]) -> str:
    """The command that makes records which differ in their seed only."""
    first, seeds = group[0], " ".join(str(record.seed) for record in group)
    tuning = " --tuning" if first.protocol.endswith("/tuning") else ""
    words = [word for word in first.variant.split() if not word.startswith("sha256:")]
    settings = "" if first.variant == "defaults" else f" --set {' '.join(words)}"
    where = f"{first.dataset} --protocol {first.protocol.removesuffix('/tuning')}"
    return f"hashlab run {first.method} {where} --bits {first.bits} --seeds {seeds}{settings}{tuning}"
