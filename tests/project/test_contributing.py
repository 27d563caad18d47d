"""
C{docs/contributing.md}: the map is that of the source.
"""

import re
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import twisted_echo
from tests.support.paths import DOCS, PROJECT

PAGE = (DOCS / "contributing.md").read_text()


class MapTests(SynchronousTestCase):
    def test_map(self) -> None:
        """
        The map shows every package and module, in an order in which each imports only
        what stands earlier: that of the contract that CI checks.
        """
        told = re.findall(r"^\| \W*`([a-z0-9_]+)(?:\.py|/)`\W* \|", PAGE, re.M)
        folder = Path(twisted_echo.__file__).parent
        there = {
            each.stem
            for each in folder.iterdir()
            if each.suffix == ".py" or (each / "__init__.py").exists()
        }
        self.assertEqual(sorted(told), sorted(there - {"__init__"}))
        settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
        (contract,) = settings["tool"]["importlinter"]["contracts"]
        layers = [
            name.strip()
            for layer in reversed(contract["layers"])
            for name in layer.split("|")
        ]
        self.assertEqual(told, layers)
