"""
The commands that count what a line and a connection cost run, and tell one from the
other.
"""

import io
import shutil
from contextlib import redirect_stdout
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support import connection_memory, line_cost
from tests.support.compiled import need_compiled
from tests.support.marks import slow


@slow
class LineCostTests(SynchronousTestCase):
    def test_compiled(self) -> None:
        """
        The same server takes fewer instructions with the compiled part.
        """
        need_compiled()
        if shutil.which("valgrind") is None:
            raise SkipTest("valgrind is not installed")
        output = io.StringIO()
        with redirect_stdout(output):
            line_cost.main(["--connections", "20"])
        _, compiled, pure = output.getvalue().splitlines()
        self.assertEqual(compiled.split()[:2], ["20", "yes"])
        self.assertEqual(pure.split()[:2], ["20", "no"])
        instructions = [
            int(each.split()[2].replace(",", "")) for each in (compiled, pure)
        ]
        self.assertLess(instructions[0], instructions[1] * 0.7)
        self.assertLess(instructions[1], 30_000)


class ConnectionMemoryTests(SynchronousTestCase):
    def test_unfinishedLine(self) -> None:
        """
        What the server counts of an unfinished line is what was sent, and its process
        grows by more.
        """
        (kind,) = (
            each
            for each in connection_memory.KINDS
            if each.name == "an unfinished line of 60 KB"
        )
        cost = connection_memory.measure(kind, 30, 0.01)
        self.assertEqual(cost.counted, 60_000 / 1024)
        self.assertGreater(cost.memory, 30)
        self.assertLess(cost.memory, 120)
