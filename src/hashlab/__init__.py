"""Deep image hashing: five papers, one protocol, reproducible results.

`hashlab.data`, `.methods`, `.metrics`, `.codes`, `.experiments`, `.networks`, `.records`, `.search` and
`.shallow` are imported when they are first used.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "codes",
    "data",
    "experiments",
    "grid",
    "labels",
    "methods",
    "metrics",
    "networks",
    "records",
    "search",
    "shallow",
]

if TYPE_CHECKING:  # a type checker sees the rooms, and what is none
    from hashlab import (
        codes,
        data,
        experiments,
        grid,
        labels,
        methods,
        metrics,
        networks,
        records,
        search,
        shallow,
    )
else:

    def __getattr__(name: str) -> ModuleType:
        if name in __all__:
            return import_module(f"hashlab.{name}")
        raise AttributeError(f"module 'hashlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
