"""Where data and results live: an environment variable, else the checkout, else the current folder."""

import os
from pathlib import Path


def checkout() -> Path | None:
    """The source checkout this package runs from, or None when it is an installed copy."""
    folder = Path(__file__).resolve().parents[2]
    return folder if (folder / "pyproject.toml").is_file() else None


def folder(variable: str, default: str) -> Path:
    """`$variable` if set, else `default` under the checkout or the current folder."""
    return Path(os.environ.get(variable) or (checkout() or Path.cwd()) / default).expanduser()
