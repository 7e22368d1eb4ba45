"""The page of the methods, from what they say of themselves:
`python book/build.py methods` writes book/methods.md.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from hashlab import methods
from hashlab.files import _disk
from hashlab.methods.base import KINDS, About
from hashlab.methods.deep import DeepConfig
from hashlab.methods.shallow import ShallowConfig
from hashlab.methods.tested import tested_with

ORDER = ("pairwise", "triplet", "class-wise", "centre", "shallow", "control")
WORDS = {
    "same_class": "classes",
    "shares_label": "several labels",
    "levels": "levels",
}  # kinds of labels
CITED = {  # methods that are a part of a paper, or after one of another title
    "pca_rotation": "gong2011itq",
    "cca_itq": "gong2011itq",
    "classifier_onehot": "sablayrolles2017evaluate",
    "classifier_sign": "lin2015binary",
    "pcah": "wang2010ssh",
}
HEAD = """\
# All methods

This page is written by `python book/build.py methods` from what the methods say of themselves;
`hashlab methods` prints the same facts. *Labels* are those that a method can learn from: classes
(which commands and messages call `same_class`), several labels per image (`shares_label`: similar
is what shares one), or levels of a tree (`levels`). *Tested with* names the data sets and
features, all within the package, on which the tests fit, encode and evaluate it. What a method
was run on beyond that stands in its records and chapters.
"""
COMMON = "It also has the settings that all {} methods have, see [below](#sec:{}-settings)."


def page(bibliography: str) -> str:
    """The page's text; `bibliography` is that of references.bib."""
    described = [(methods.about(name), methods.kind_of(name)) for name in methods.names()]
    parts = [HEAD]
    for kind in ORDER:
        of_kind = [(about, which) for about, which in described if about.kind == kind]
        parts += [f"## {kind.capitalize()}\n\nThey {KINDS[kind]}.\n", table(of_kind, bibliography)]
        parts += [details(about, which) for about, which in of_kind]
    for word, config in (("deep", DeepConfig), ("shallow", ShallowConfig)):
        title = f"(sec:{word}-settings)=\n## Settings of every {word} method\n"
        parts += [title, settings(config, dataclasses.fields(config))]
    return "\n".join(parts)


def table(described: list[tuple[About, type]], bibliography: str) -> str:
    """A row per method: its name, what it is, the paper, labels, what it was tested with."""
    rows = ["| method | what it is | paper | labels | tested with |", "|---|---|---|---|---|"]
    for about, which in described:
        labels = ", ".join(WORDS[kind] for kind in about.labels)
        tests = tested_with(about, which.Config)
        cells = (f"`{about.name}`", what(which), paper(about, bibliography), labels, tests)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def paper(about: About, bibliography: str) -> str:
    """A citation where the bibliography has the paper, else its authors and place."""
    key = citation(about, bibliography)
    return f"{{cite:t}}`{key}`" if key else plain(about.paper)


def citation(about: About, bibliography: str) -> str | None:
    """The key of the paper: the entry whose title begins as the method's does."""
    entries = re.findall(
        r"^@\w+\{([^,]+),.*?^\s*title\s*=\s*\{(.+?)\},$", bibliography, re.MULTILINE | re.DOTALL
    )
    mine = letters(about.title)
    keys = []
    for key, title in entries:
        theirs = letters(title)
        if theirs.startswith(mine) or mine.startswith(theirs):
            keys.append(key)
    return CITED.get(about.name, keys[0] if keys else None)


def letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def what(which: type) -> str:
    """The first sentence of a method's docstring."""
    return plain((which.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "))


def details(about: About, which: type) -> str:
    """What is folded away: the title, how near to the source it is, and its own settings."""
    base = ShallowConfig if issubclass(which.Config, ShallowConfig) else DeepConfig
    usual = {field.name: field.default for field in dataclasses.fields(base)}
    own = [
        field
        for field in dataclasses.fields(which.Config)
        if usual.get(field.name, ...) != field.default
    ]
    word = "shallow" if base is ShallowConfig else "deep"
    listed = settings(which.Config, own) if own else ""
    described = f"{plain(about.title)}. *Status:* {plain(about.status)}."
    text = f"{described}\n\n{listed}\n{COMMON.format(word, word)}"
    return f":::{{dropdown}} `{about.name}`: settings\n{text}\n:::\n"


def settings(config: type, fields: Any) -> str:
    """A row per setting: its default, what it means, and the values it may have."""
    choices = getattr(config, "CHOICES", {})
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in fields:
        meaning = plain(field.metadata["meaning"])
        if field.name in choices:
            values = ", ".join(f"`{value}`" for value in choices[field.name])
            meaning += f" ({values})"
        default = f"`{field.default}`" if str(field.default) else "nothing"
        rows.append(f"| `{field.name}` | {default} | {meaning} |")
    return "\n".join(rows) + "\n"


def plain(text: str) -> str:
    """Text that Markdown leaves as it is, in a table too; `code` stays code."""
    parts = re.split(r"(`[^`|]*`)", text)
    return "".join(
        part if i % 2 else re.sub(r"([\\|*_$<>\[\]`])", r"\\\1", part)
        for i, part in enumerate(parts)
    )


def write(folder: Path) -> None:
    """Write methods.md into the book's folder."""
    bibliography = (folder / "references.bib").read_text(encoding="utf-8")
    _disk.write(folder / "methods.md", page(bibliography).encode())
