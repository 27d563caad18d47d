"""
The first commands that a reader types: those of README.md, C{docs/index.md} and
C{docs/quick-start.md}.
"""

import re
import shutil
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.pages import PAGES
from tests.support.processes import Server, finished, script

FIRST = ("README.md", "docs/index.md", "docs/quick-start.md")
COMMAND = re.compile(r"^    (?:.*/bin/)?(twistd .*?)(?: +#.*)?$", re.M)


class QuickStartTests(SynchronousTestCase):
    def test_same(self) -> None:
        """
        Each page begins with the same command, which needs no options.
        """
        for page in FIRST:
            first, *_ = COMMAND.findall(PAGES[page])
            self.assertEqual(first, "twistd -n echo", page)

    def test_line(self) -> None:
        """
        The line that is sent to the default port comes back.
        """
        if shutil.which("nc") is None:
            raise SkipTest("nc is not installed")
        server = Server.start(self)
        for page in ("README.md", "docs/quick-start.md"):
            (line,) = re.findall(r"^    (printf .* \| nc .* 7007)\b", PAGES[page], re.M)
            asked = line.replace("7007", str(server.ports[0]))
            self.assertEqual(
                finished(self, ["/bin/sh", "-c", asked]).stdout, "hello\n", page
            )

    def test_help(self) -> None:
        """
        The last command lists the options.
        """
        (command,) = re.findall(
            r"/bin/(twistd echo --help)", PAGES["docs/quick-start.md"]
        )
        program, *arguments = command.split()
        printed = finished(self, [script(program), *arguments]).stdout
        self.assertIn("--max-sessions", printed)
