"""The one exception that means: the caller's input is at fault, not hashlab; and what may be meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class InputError(ValueError):
    """Input that cannot be worked with; the message says what was expected and what came."""


def unknown(what: str, name: object, known: Iterable[str]) -> InputError:
    """The error for a name that is none of those that are known: which are, and which is near."""
    known = list(known)
    return InputError(
        f"unknown {what}; expected one of: {', '.join(known)}{did_you_mean(name, known)}"
    )


def check_word(name: str, value: object, known: Iterable[str]) -> None:
    """Raise InputError unless a value is one of the words that are known."""
    known = list(known)
    if value not in known:
        wanted = f"{name} must be one of {', '.join(known)}"
        raise InputError(f"{wanted}, got {value!r}{did_you_mean(value, known)}")


def named(what: str, name: str, known: Mapping[str, Value]) -> Value:
    """What a word stands for; raises InputError for a word that stands for nothing."""
    check_word(what, name, known)
    return known[name]


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`; did you mean dpsh?` where a known name is nearly this one; else nothing."""
    plain = {word.lower(): word for word in known}
    nearest = difflib.get_close_matches(str(name).lower()[:80], plain, n=1)
    return f"; did you mean {plain[nearest[0]]}?" if nearest else ""
