"""
Tests for C{python -m twisted_echo.bench tables}: figures for documents.
"""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import bench
from tests.support.comparisons import a_comparison
from tests.support.processes import new_folder
from twisted_echo.bench.cases import CASES
from twisted_echo.bench.comparison import Comparison, Failed
from twisted_echo.bench.spreads import Spread
from twisted_echo.bench.tables import (
    PARTS,
    case_table,
    figure,
    ratio_figure,
    summary_table,
    with_interval,
)

TIMES = {"echo": 8.0, "line-receiver": 32.0, "uvloop-raw": 7.5, "fast-lines": 1.0}


def measured() -> Comparison:
    names = ("ping-pong", "by-line", "steady")
    comparison = a_comparison([CASES[name] for name in names], TIMES)
    kept = {*TIMES, "rloop-raw", "aiofastnet-raw"}
    comparison.labels = {k: v for k, v in comparison.labels.items() if k in kept}
    comparison.labels["echo"] = "ours"
    comparison.failures.append(Failed("rloop-raw", "ping-pong", "no luck"))
    comparison.missing["aiofastnet-raw"] = "it needs something"
    return comparison


class TableTests(SynchronousTestCase):
    def test_figures(self) -> None:
        for value, text in (
            (0.1234, "0.123"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (1234.4, "1,234"),
        ):
            self.assertEqual(figure(value), text)
        self.assertEqual([ratio_figure(0.25), ratio_figure(0.0251)], ["0.25", "0.025"])
        spread = Spread(0.5, 0.4, 0.6)
        self.assertEqual(with_interval(spread, ratio_figure), "0.50 (0.40-0.60)")
        self.assertEqual(with_interval(Spread(0.5, 0.501, 0.5), ratio_figure), "0.50")
        self.assertEqual(with_interval(None, ratio_figure), "")

    def test_case(self) -> None:
        """
        The fastest server is the first; what has no figure is named all the same.
        """
        comparison = measured()
        found = case_table(comparison, CASES["ping-pong"])
        self.assertEqual(
            str(found).splitlines(),
            [
                "| server | µs/line | ours/this |",
                "| --- | --: | --: |",
                "| uvloop, raw | 7.88 | 1.07 |",
                "| ours | 8.40 |  |",
                "| Twisted LineReceiver | 33.6 | 0.25 |",
                "| rloop, raw | fails |  |",
                "| aiofastnet on uvloop, raw | not measured |  |",
            ],
        )
        steady = case_table(comparison, CASES["steady"])
        self.assertEqual(steady.columns[3:], ["p50, µs", "p99, µs", "p99.9, µs"])
        self.assertEqual(steady.rows[1], ["ours", "8.40", "", "84.0", "84.0", "84.0"])
        self.assertEqual(len(steady.rows[-1]), 6)

    def test_summary(self) -> None:
        found = summary_table(measured())
        self.assertEqual(found.columns, ["server", "ping-pong", "steady"])
        self.assertEqual(
            found.rows,
            [
                ["ours", "8.40 µs", "8.40 µs"],
                ["Twisted LineReceiver", "0.25", "0.25"],
                ["uvloop, raw", "1.07", "1.07"],
                ["rloop, raw", "fails", "not measured"],
                ["aiofastnet on uvloop, raw", "not measured", "not measured"],
            ],
        )

    def test_headline(self) -> None:
        """
        It has both figures, or is empty where one was not measured.
        """
        self.assertEqual(
            PARTS["headline"](measured()),
            "With `FastLineReceiver` and the eager reactor, a line takes **1.05 µs** of"
            " processor time. With Twisted's `LineReceiver` and reactor, it takes 33.6"
            " µs.",
        )
        other = a_comparison([CASES["ping-pong"]], TIMES)
        self.assertEqual(PARTS["headline"](other), "")


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = new_folder(self)
        self.result = self.folder / "result.json"
        self.result.write_text(measured().to_json())

    def document(self, name: str, *parts: str) -> Path:
        path = self.folder / name
        marks = "and\n".join(
            f"<!-- compare: {each} begins -->\nold\n<!-- compare: {each} ends -->\n"
            for each in parts
        )
        path.write_text(f"before\n{marks}after\n")
        return path

    def test_written(self) -> None:
        """
        Each part is written between its marks, in all documents, and nothing else is.
        """
        one = self.document("one.md", "facts", "summary")
        two = self.document("two.md", "by-line", "cases")
        command = ("tables", str(self.result), str(one), str(two))
        self.assertEqual(bench(*command), (0, "", ""))
        text = one.read_text()
        self.assertRegex(
            text,
            r"^before\n<!-- compare: facts begins -->\n\n1999-12-31: CPython 3.99, "
            r"Twisted 99.1, uvloop 9.9; 2 rounds of 0.5 s; `twistd echo` is compiled"
            r"\.\n\n<!-- compare: facts ends -->\nand\n",
        )
        self.assertTrue(text.endswith("\n\n<!-- compare: summary ends -->\nafter\n"))
        self.assertIn("\n| ours | 8.40 µs | 8.40 µs |\n", text)
        self.assertNotIn("old", text + two.read_text())
        self.assertIn("**by-line: 50 connections, ", two.read_text())
        self.assertEqual(
            two.read_text().count("| FastLineReceiver (eager) | 1.05 |"), 2
        )
        # Once more changes nothing.
        before = one.read_text(), two.read_text()
        bench(*command)
        self.assertEqual((one.read_text(), two.read_text()), before)

    def test_printed(self) -> None:
        status, output, problems = bench("tables", str(self.result))
        self.assertEqual((status, problems), (0, ""))
        for part in PARTS.values():
            self.assertIn(part(measured()), output)

    def test_refused(self) -> None:
        """
        What cannot be written is told, and then nothing is.
        """
        good = self.document("good.md", "facts")
        empty = self.folder / "empty.json"
        empty.write_text(a_comparison([CASES["many"]], {}).to_json())
        for file, document, says in (
            (self.result, self.document("no.md"), "no.md has no marks such as <!-- "),
            (
                self.result,
                self.document("odd.md", "nothing"),
                "odd.md has a mark for 'nothing'; the parts are facts, headline, ",
            ),
            (self.result, self.folder / "absent.md", "absent.md: .*No such file"),
            (self.folder / "absent.json", good, "absent.json: .*No such file"),
            (empty, good, "empty.json holds no runs"),
            (good, good, "good.md is not what compare --json writes"),
        ):
            status, _, problems = bench("tables", str(file), str(good), str(document))
            self.assertEqual(status, 2, problems)
            self.assertRegex(problems, says)
            self.assertIn("old", good.read_text())
