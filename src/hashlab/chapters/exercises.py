"""Exercises in code: the reader writes a function, and sees on which cases it is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hashlab.errors import InputError

UNWRITTEN = "not written yet: put your lines in place of the dots"


def check(
    answer: Callable, *cases: tuple[Sequence[Any], Any], near: float = 1e-6, required: bool = False
) -> None:
    """Try an answer on cases, and print of each whether it is right, or what was expected.

    Args:
        answer: the reader's function; one that returns None has not been written yet.
        *cases: what it is given, as a tuple of arguments, and what it shall return: numbers,
            arrays (torch's too), text, or tuples of them.
        near: how far a number may lie from the one expected, for numbers as large as 1 and less;
            larger ones may differ by this share.
        required: raise AssertionError where a case is not right; solutions are checked so.

    Raises InputError without cases.

    >>> def double(x): ...
    >>> check(double, ((2,), 4), ((0.5,), 1))
    double: not written yet: put your lines in place of the dots
    >>> check(lambda x: 2 * x, ((2,), 4), ((0.5,), 1))
    2 of 2 cases are right
    """
    if not cases:
        raise InputError("cases to try an answer on expected, got none")
    name = getattr(answer, "__name__", "answer").replace("<lambda>", "")
    lines = [_line(answer, *case, near) for case in cases]
    wrong = [line for line in lines if line]
    if lines == [UNWRITTEN] * len(lines):
        wrong = [f"{name}: {UNWRITTEN}"]
    else:
        wrong.append(f"{lines.count('')} of {len(cases)} cases are right")
    print("\n".join(wrong))
    if required and any(lines):
        raise AssertionError("\n".join(wrong))


def _line(answer: Callable, arguments: Sequence[Any], expected: Any, near: float) -> str:
    """What is wrong with the answer to a case; nothing if it is right."""
    shown = ", ".join(map(_short, arguments))
    try:
        got = answer(*arguments)
    except Exception as error:  # whatever a beginner's line raises is told, not thrown
        return f"({shown}) raised {type(error).__name__}: {error}"
    if got is None:
        return UNWRITTEN
    if _alike(got, expected, near):
        return ""
    return f"({shown}) gave {_short(got)}, expected {_short(expected)}"


def _alike(got: Any, expected: Any, near: float) -> bool:
    if isinstance(expected, tuple):
        same = isinstance(got, (tuple, list)) and len(got) == len(expected)
        return same and all(_alike(*two, near) for two in zip(got, expected, strict=True))
    if isinstance(expected, str):
        return got == expected
    try:
        got = np.asarray(_plain(got), dtype=float)
    except (TypeError, ValueError):
        return False
    expected = np.asarray(_plain(expected), dtype=float)
    if got.shape != expected.shape:
        return False
    return bool(np.allclose(got, expected, rtol=near, atol=near, equal_nan=True))


def _plain(value: Any) -> Any:
    """Tensors as arrays, on whatever device and with whatever gradient they are."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _short(value: Any) -> str:
    """A value on one line, large arrays by their shape."""
    value = _plain(value)
    if isinstance(value, np.ndarray) and value.size > 12:
        return f"array of shape {value.shape}"
    if isinstance(value, (np.ndarray, np.generic)):
        return " ".join(str(np.round(value, 6)).split())
    return repr(value)
