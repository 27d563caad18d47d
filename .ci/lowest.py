"""
Print, as constraints of pip's, the lowest version of each requirement that
C{pyproject.toml} allows.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(
    (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
extras = project["optional-dependencies"].values()
for requirement in sorted({*project["dependencies"], *(r for e in extras for r in e)}):
    name, bracket, rest = re.match(r"([\w-]+)(\[[^]]*\])?(.*)", requirement).groups()
    version = rest.partition(";")[0].strip()
    if version:
        lowest = re.fullmatch(r">=([\d.]+)", version)
        if lowest is None:
            raise SystemExit(f"{requirement!r} does not name its lowest version alone")
        print(f"{name}=={lowest[1]}")
    elif not bracket:
        raise SystemExit(f"{requirement!r} does not name its lowest version")
