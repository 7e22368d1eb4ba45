"""What the package says of itself and pyproject.toml cannot: the address of its repository, where
one is set there.
"""

import tomllib
from pathlib import Path

from setuptools import setup

project = tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text(encoding="utf-8"))
address = project["tool"]["hashlab"]["repository"]
setup(project_urls={} if "/OWNER/" in address else {"Repository": address})
