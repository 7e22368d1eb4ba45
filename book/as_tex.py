"""Formulas as docstrings write them, in plain letters, as TeX.

    mean_ij [log(1 + exp theta_ij) - s_ij theta_ij] + alpha mean_ik (u_ik - sgn u_ik)^2

A letter is a variable (`l` with an index is a loss) and a name of several letters a function, a Greek letter
or a word; what follows `_` is an index and after `^` a power. A wide gap stays one, and so does the end of a
line after a comma or before `=`.
"""

from __future__ import annotations

import re

LARGE = {
    "sum": r"\sum",
    "prod": r"\prod",
    "max": r"\max",
    "min": r"\min",
    "mean": r"\operatorname*{mean}",
}
NAMED = {"log", "exp", "cosh", "sinh", "tanh", "cos"}  # that TeX knows
FUNCTIONS = {"sgn", "sign", "softmax", "relu", "tr"}
GREEK = {
    "alpha",
    "beta",
    "gamma",
    "lambda",
    "theta",
    "Theta",
    "eta",
    "mu",
    "nu",
    "pi",
    "rho",
    "sigma",
}
SIGNS = {
    "||": r"\| ",
    "∘": r"\circ ",
    "·": r"\cdot ",
    "<=": r"\le ",
    ">=": r"\ge ",
    "+-": r"\pm ",
    "...": r"\ldots ",
    "…": r"\ldots ",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
}
TOKEN = re.compile(
    r"(?P<gap> {2,})"
    r"|sqrt\((?P<under>[^()]*)\)"
    r"|(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<word>[A-Za-z]+(?:-[a-z]{2,})?'*)(?:_(?P<index>[A-Za-z0-9]+'?|\{[^}]*\}))?"
    r"|\^(?P<power>\w+|\([^)]*\))"
    r"|(?P<dot>(?<=[\w'] )\.(?= \w)|(?<=[\w'])\.(?=[A-Za-z]))"
    r"|(?P<sign>\|\||<=|>=|\+-|\.\.\.|.)"
)


def as_tex(text: str) -> str:
    """A formula of one or more lines."""
    whole = re.sub(r"(?<!,)\n(?! *=) *", " ", text.strip())
    lines = [_line(line.strip()) for line in whole.split("\n")]
    if len(lines) == 1:
        return lines[0]
    return r"\begin{array}{l} " + r" \\ ".join(lines) + r" \end{array}"


def _line(line: str) -> str:
    return re.sub(" +", " ", "".join(map(_token, TOKEN.finditer(line)))).strip()


def _token(match: re.Match[str]) -> str:
    if match["gap"]:
        return r"\quad "
    if match["under"]:
        return rf"\sqrt{{{_line(match['under'])}}}"
    if match["word"]:
        index = f"_{{{_index(match['index'])}}}" if match["index"] else ""
        return (r"\ell" if index and match["word"] == "l" else _word(match["word"])) + index + " "
    if match["power"]:
        return f"^{{{_word(match['power'])}}}"
    if match["dot"]:
        return r"\cdot "
    return match["number"] or SIGNS.get(match["sign"], match["sign"])


def _word(word: str) -> str:
    if word in LARGE:
        return LARGE[word]
    if word in NAMED | GREEK:
        return f"\\{word}"
    if word in FUNCTIONS:
        return rf"\operatorname{{{word}}}"
    of_one_letter = len(word.rstrip("'")) == 1
    return word if of_one_letter or not word[0].isalpha() else rf"\text{{ {word}}}"


def _index(index: str) -> str:
    """Letters side by side are indices; a longer index is a word, if it is no range in braces."""
    if index.startswith("{"):
        return index[1:-1].replace("..", r" \ldots ")
    return index if len(index) <= 3 else rf"\text{{{index}}}"
