"""
The figures of the pages are those of one comparison, C{docs/benchmark.json}.
"""

from twisted.trial.unittest import SynchronousTestCase

from tests.support.paths import PROJECT
from twisted_echo.bench.cases import CASES
from twisted_echo.bench.plot import source_of
from twisted_echo.bench.tables_command import fill, read_comparison

RESULT = PROJECT / "docs" / "benchmark.json"
PAGES = ("README.md", "docs/benchmarks.md", "docs/comparison.md")


class BenchmarkTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """
        C{tables} would write what is there.
        """
        comparison = read_comparison(str(RESULT))
        for page in PAGES:
            text = (PROJECT / page).read_text()
            self.assertEqual(fill(text, comparison), text, page)

    def test_pictures(self) -> None:
        """
        They were made from the same file.
        """
        for name in ("benchmark.png", "benchmark-dark.png"):
            picture = (PROJECT / "docs" / name).read_bytes()
            self.assertIn(source_of(str(RESULT)).encode(), picture, name)

    def test_complete(self) -> None:
        """
        All cases were measured, with the compiled part and without.
        """
        comparison = read_comparison(str(RESULT))
        self.assertEqual(comparison.cases, [*CASES.values()])
        self.assertEqual(comparison.made["implementation"], "compiled")
        for case in comparison.cases:
            for server in comparison.servers(case):
                if not comparison.has_failed(server, case):
                    self.assertTrue(comparison.of(server, case), (server, case.name))
