"""`hashlab methods`: which methods there are, and what can be set about one."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hashlab.cli.common import add_command, add_import

if TYPE_CHECKING:
    from hashlab.methods import About


def add_to(commands: Any) -> None:
    text = "List the methods, or say what one is and which settings it has."
    command = add_command(commands, "methods", methods, text)
    command.add_argument("name", nargs="?", help="a method")
    add_import(command)


def methods(parsed: argparse.Namespace) -> None:
    from hashlab.methods import kind_of, names

    if parsed.name is not None:
        kind = kind_of(parsed.name)
        print(describe_method(kind.about, kind.Config))
        return
    head = ("name", "year", "kind", "labels", "tested with", "paper")
    kinds = [kind_of(name) for name in names()]
    rows = [_row(kind.about, kind.Config) for kind in kinds]
    print("\n".join(aligned([head, *rows])))


def _row(about: About, config: type) -> tuple[str, ...]:
    from hashlab.methods.tested import tested_with

    labels = ", ".join(about.labels)
    tested = tested_with(about, config)
    return (about.name, str(about.year or ""), about.kind, labels, tested, about.paper)


def describe_method(about: About, config: type) -> str:
    """What a method is, and a line for each of its settings:
    default, meaning, and the values it may have.
    """
    settings = aligned([_setting(config, field) for field in dataclasses.fields(config)])
    return "\n".join(
        [
            f"{about.name}: {about.title}",
            *aligned(_facts(about, config)),
            "settings:",
            *(f"    {line}" for line in settings),
        ]
    )


def _facts(about: About, config: type) -> list[tuple[str, str]]:
    """What is known of a method, by name; what is not is left out."""
    from hashlab.methods.tested import tested_with

    facts = {
        "paper": about.paper,
        "year": str(about.year or ""),
        "kind": about.kind,
        "labels": ", ".join(about.labels),
        "status": about.status,
        "tested with": tested_with(about, config),
    }
    return [(name, text) for name, text in facts.items() if text]


def _setting(config: type, field: dataclasses.Field) -> tuple[str, str]:
    """A setting with its default, and its meaning."""
    values = getattr(config, "CHOICES", {}).get(field.name)
    choices = f"({', '.join(values)})" if values else ""
    meaning = field.metadata.get("meaning", "")
    return f"{field.name}={field.default}", f"{meaning} {choices}".strip()


def aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A line per row, its cells two blanks apart and below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
