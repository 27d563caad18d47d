"""
The commands that measure what a line, a connection and a scrape cost: they run, and
print the rows that the pages have.
"""

import io
import re
import shutil
from contextlib import redirect_stdout
from unittest import SkipTest, skipIf

from twisted.trial.unittest import SynchronousTestCase

from tests.support import connection_memory, line_cost, sizing
from tests.support.balancer import HAPROXY
from tests.support.compiled import need_compiled
from tests.support.marks import slow
from tests.support.pages import PAGES


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


@slow
class SizingTests(SynchronousTestCase):
    def printed(self, *arguments: str) -> str:
        output = io.StringIO()
        with redirect_stdout(output):
            sizing.main(arguments)
        return output.getvalue()

    @skipIf(HAPROXY is None, "haproxy is missing")
    def test_tables(self) -> None:
        """
        Each row that it prints is one of the page's, with as many columns.
        """
        printed = self.printed(
            *("--rounds", "1", "--seconds", "0.1", "--idle", "20", "lines", "idle")
        )
        rows = re.findall(r"^\| ([^|]+) \|(?=.*\d)(.*)\|$", printed, re.M)
        self.assertEqual(len(rows), 7, printed)
        for name, cells in rows:
            row = rf"^\| {re.escape(name)} \|(.*)\|$"
            (of_page,) = re.findall(row, PAGES["docs/sizing.md"], re.M)
            self.assertEqual(of_page.count("|"), cells.count("|"), name)

    def test_storm(self) -> None:
        """
        A storm beside an open session over TLS has the rows of C{storm}.
        """
        printed = self.printed("--storm", "2", "storm")
        for row in ("none", "all at once", "one after the other"):
            self.assertRegex(printed, rf"\n {row} .*\d (?:µs|ms|s)\n")

    def test_scrapes(self) -> None:
        """
        What C{--admin} costs is a ratio, and what a scrape costs is a time.
        """
        printed = self.printed("--pairs", "1", "--scrapes", "1", "admin", "scrape")
        self.assertRegex(
            printed,
            r"\A--admin, scraped once a second: \d\.\d+ of .*, 1 pairs\n"
            r"a scrape: \d+\.\d\d ms, and -?\d+\.\d\d µs for each session\n\Z",
        )
