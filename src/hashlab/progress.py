"""Progress that suits where it is shown:
one live line on a terminal, plain lines in a pipe, silence on request.

`HASHLAB_PROGRESS`: `0` silent; `lines` a plain line per step where there is no terminal
(the commands set it); otherwise a live line on a terminal or in a notebook, and nothing in a pipe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any


def _notebook() -> bool:
    """Whether it runs in a notebook, which only IPython can say."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


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
        delay: seconds after which the live line appears. Where there is no terminal, such a passing
            wait is silent; without a delay there is one line per item.
    """

    def __init__(
        self,
        items: Iterable[Any],
        text: str,
        total: int | None = None,
        delay: float = 0.0,
        start: int = 0,
    ):
        self.items = items
        self.text = text
        self.start = start
        self.total = total if total is not None else len(items)  # type: ignore[arg-type]
        self.mode = mode()
        if delay and self.mode == "lines":
            self.mode = "silent"
        self.state = ""  # how things stand
        self.bar = None
        if self.mode == "live":
            self.bar = _bar(desc=text, total=self.total, initial=start, delay=delay)

    def note(self, **facts: float | str) -> None:
        """Show how things stand, `name value` for each fact;
        with four decimals where it is real.
        """
        self.state = " ".join(f"{name} {_short(value)}" for name, value in facts.items())
        if self.bar is not None:
            self.bar.set_postfix_str(self.state, refresh=False)

    def __iter__(self) -> Iterator[Any]:
        try:
            for done, item in enumerate(self.items, self.start + 1):
                yield item
                if self.bar is not None:
                    self.bar.update()
                elif self.mode == "lines":
                    line = f"{self.text} {done}/{self.total} {self.state}".rstrip()
                    print(line, file=sys.stderr, flush=True)
        finally:
            if self.bar is not None:
                self.bar.close()


def _short(value: float | str) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _bar(**words: Any) -> Any:
    """tqdm's, which starts a thread and takes a lock between processes:
    made only where it is seen.
    """
    from tqdm import tqdm

    return tqdm(**words)
