"""What the chapters of the book share:
tables, source code beside its formula, and records side by side.
"""

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
    lines.insert(1, "|---" * len(head) + "|")
    text = "\n".join(lines)
    return Markdown(text.replace(" ± ", "\u202f±\u202f"))  # a value and its spread stay on one line


def source(*objects: Callable) -> Markdown:
    """The source of functions and classes as the package runs them, not a copy of it."""
    from IPython.display import Markdown

    texts = [dedent(inspect.getsource(one)) for one in objects]
    return Markdown("\n".join(f"```python\n{text}```" for text in texts))


def recorded(
    seeds: Iterable[int], settings: dict[str, Any] | None = None, **conditions: Any
) -> list[Record]:
    """One record per seed, in their order,
    of the runs that meet `conditions` and have these settings.

    Args:
        settings: of the method, by name; settings that are not named may have any value.
        conditions: of `records.load` (`method="dpsh", protocol="cifar10-59k", bits=24`).

    Raises InputError where there is not exactly one for each seed.
    """
    seeds = list(seeds)
    alike = [
        record
        for record in records.load(**conditions)
        if record.seed in seeds and (settings or {}).items() <= record["config"].items()
    ]
    alike.sort(key=lambda record: record.seed)
    if [record.seed for record in alike] != seeds:
        wanted = (
            f"one record of {conditions} with {settings or 'any settings'} for each seed of {seeds}"
        )
        raise InputError(f"{wanted} expected in {records.root()}, found {len(alike)}")
    return alike


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean ± standard deviation (n - 1) over seeds; the value alone where there is one."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def command(group: Sequence[Record]) -> str:
    """The command that makes records which differ in their seed only."""
    first = group[0]
    protocol = first.protocol.removesuffix("/tuning")
    words = ["hashlab", "run", first.method, first.dataset, "--protocol", protocol]
    words += ["--bits", str(first.bits), "--seeds", *(str(record.seed) for record in group)]
    if first.variant != "defaults":
        settings = [word for word in first.variant.split() if not word.startswith("sha256:")]
        words += ["--set", *settings]
    if first.protocol != protocol:
        words.append("--tuning")
    return " ".join(words)
