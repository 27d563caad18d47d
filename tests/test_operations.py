"""
docs/operations.md names what there is, and nothing else.
"""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.tap import Options

OPERATIONS = (Path(__file__).parent.parent / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    """
    What is below a heading, up to the next one of its kind.
    """
    (text,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", OPERATIONS, re.M | re.S)
    return str(text)


class OptionsTests(SynchronousTestCase):
    def test_all(self) -> None:
        """
        The table names every option, with its default, and a reason.
        """
        options = Options()
        rows = re.findall(
            r"^\| `--([a-z-]+)` \| `([^`|]+)` \| (.{20,}) \|$", section("Options"), re.M
        )
        told = {name: default for name, default, _ in rows}
        self.assertEqual(told.pop("listen"), "tcp:7007:interface=127.0.0.1")
        self.assertEqual(
            told, {name: str(options[name]) for name in options if name != "listen"}
        )
