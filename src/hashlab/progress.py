"""Progress that suits where it is shown: one live line on a terminal, plain lines in a pipe, silence on request.

`HASHLAB_PROGRESS`: `0` silent; `lines` a plain line per step where there is no terminal (the commands set it);
otherwise a live line on a terminal or in a notebook, and nothing in a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any


def _notebook() -> bool:
    return (
        type(sys.modules["IPython"].get_ipython()).__name__ == "ZMQInteractiveShell"
        if "IPython" in sys.modules
        else False
    )


def mode() -> str:
    """`silent`, `live` or `lines`."""
    wish = os.environ.get("HASHLAB_PROGRESS", "")
    if wish == "0":
        return "silent"
    if sys.stderr.isatty() or _notebook():
        return "live"
    return "lines" if wish == "lines" else "silent"


class Progress:
    """Wraps an iterable; `note(loss=…)` says how things stand.

    Args:
        items: what is gone through; number `start` + 1 to number `total` of the whole.
        delay: seconds after which the live line appears. Where there is no terminal, such a passing wait is silent;
            without a delay there is one line per item.
    """

    def __init__(self, items: Iterable[Any], text: str, total: int | None = None, delay: float = 0.0, start: int = 0):
        self.items, self.text, self.mode, self.said, self.start = items, text, mode(), "", start
        self.mode = "silent" if delay and self.mode == "lines" else self.mode
        self.total = total if total is not None else len(items)  # type: ignore[arg-type]
        self.bar = _bar(desc=text, total=self.total, initial=start, delay=delay) if self.mode == "live" else None

    def note(self, **facts: float | str) -> None:
        self.said = " ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
        if self.bar is not None:
            self.bar.set_postfix_str(self.said, refresh=False)

    def __iter__(self) -> Iterator[Any]:
        try:
            for done, item in enumerate(self.items, self.start + 1):
                yield item
                if self.bar is not None:
                    self.bar.update()
                elif self.mode == "lines":
                    print(f"{self.text} {done}/{self.total} {self.said}".rstrip(), file=sys.stderr, flush=True)
        finally:
            if self.bar is not None:
                self.bar.close()


def _bar(**words: Any) -> Any:
    """tqdm's, which starts a thread and takes a lock between processes: made only where it is seen."""
    from tqdm import tqdm

    return tqdm(**words)
