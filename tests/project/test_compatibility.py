"""
The parts of C{python -m tests.compatibility}, with suites of a line.
"""

import io
import json
import os
import select
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.compatibility import command, expected
from tests.compatibility.command import parse
from tests.compatibility.comparison import Difference, Verdict, differing, passed_alike
from tests.compatibility.environments import Environment
from tests.compatibility.expected import EXPECTED, Expected
from tests.compatibility.in_suite import stand_ins
from tests.compatibility.in_suite.stand_ins import REACTOR, REACTORS, RECORD
from tests.compatibility.outcomes import NOT_ENDED, Run, read_record
from tests.compatibility.pairs import PAIRS, Comparison, Pair, compare, faults
from tests.compatibility.report import as_json, as_text
from tests.compatibility.running import Runner, command_of
from tests.compatibility.suites import SUITES, Suite
from tests.support.paths import PROJECT
from tests.support.processes import DEADLINE, environment, new_folder

EPOLL = PAIRS[0]
SUITE = Suite("some", requirements=("some",), tests=("some",))


def run_of(reactor: str, **outcomes: str) -> Run:
    """
    A whole run in which nothing is wrong.
    """
    return Run(
        outcomes=outcomes,
        parts=dict.fromkeys(outcomes, "some.test_some"),
        reactors={REACTORS[reactor].name: 1},
        ended=True,
        seconds=10,
    )


class RecordTests(SynchronousTestCase):
    def read(self, *entries: dict[str, object]) -> Run:
        return read_record(json.dumps(each) + "\n" for each in entries)

    def test_outcomes(self) -> None:
        run = self.read(
            {"started": "a", "part": "m"},
            {"test": "a", "outcome": "passed", "text": ""},
            {"started": "b", "part": "n"},
            {"test": "b", "outcome": "failed: ValueError", "text": "why"},
            {"ended": True},
        )
        self.assertEqual(run.outcomes, {"a": "passed", "b": "failed: ValueError"})
        self.assertEqual(run.parts, {"a": "m", "b": "n"})
        self.assertEqual(run.texts, {"b": "why"})
        self.assertTrue(run.ended)

    def test_severalOutcomes(self) -> None:
        """
        A test whose cleanup fails, too, has two, in the same words in each run.
        """
        several = ("failed: ValueError", "error: DirtyReactor", "failed: ValueError")
        entries: list[dict[str, object]] = [
            {"test": "a", "outcome": each, "text": ""} for each in several
        ]
        run = self.read(*entries)
        self.assertEqual(run.outcomes, {"a": "error: DirtyReactor, failed: ValueError"})

    def test_killed(self) -> None:
        """
        The record of a process that was killed tells what it was at.
        """
        lines = ['{"started": "a", "part": "m"}\n', '{"test": "a", "outc']
        run = read_record(lines)
        self.assertEqual(run.outcomes, {"a": NOT_ENDED})
        self.assertFalse(run.ended)

    def test_reactors(self) -> None:
        """
        Processes are counted, not reactors.
        """
        entries: list[dict[str, object]] = [
            {"reactor": "EPollReactor", "process": each} for each in (1, 2, 2)
        ]
        run = self.read(*entries)
        self.assertEqual(run.reactors, {"EPollReactor": 2})

    def test_addressInName(self) -> None:
        """
        A name is the same in each run, whatever object it shows.
        """
        run = self.read(
            {"test": "a[<f at 0x7f1aa21d0c40>]", "outcome": "passed", "text": ""}
        )
        self.assertEqual(list(run.outcomes), ["a[<f at 0x>]"])


class VerdictTests(SynchronousTestCase):
    def verdict(self, stock: str, eager: str) -> Verdict:
        """
        @param stock: a letter for the outcome of each run, a hyphen for none.
        """
        words = {"p": "passed", "f": "failed", "-": "not run"}
        return Difference(
            "test",
            tuple(words[each] for each in stock),
            tuple(words[each] for each in eager),
        ).verdict

    def test_all(self) -> None:
        for stock, eager, verdict in (
            ("p", "f", Verdict.REAL),
            ("pppp", "ffff", Verdict.REAL),
            ("pppp", "fppf", Verdict.REAL),
            ("ffff", "pppp", Verdict.REAL),
            ("pppp", "fppp", Verdict.ONCE),
            ("ppfp", "ffff", Verdict.UNSTEADY),
            ("fppp", "pppp", Verdict.UNSTEADY),
            ("p---", "f---", Verdict.REAL),
            ("p---", "fp--", Verdict.UNSTEADY),
            ("-p", "pp", Verdict.UNSTEADY),
        ):
            self.assertIs(self.verdict(stock, eager), verdict, (stock, eager))

    def test_differing(self) -> None:
        stock = {"a": "passed", "b": "passed", "c": "skipped", "d": "failed: X"}
        eager = {"a": "passed", "b": "failed: X", "c": "skipped", "e": "passed"}
        self.assertEqual(
            differing(stock, eager),
            {
                "b": ("passed", "failed: X"),
                "d": ("failed: X", "not run"),
                "e": ("not run", "passed"),
            },
        )
        self.assertEqual(passed_alike(stock, eager), 1)


@dataclass(frozen=True)
class FakeRunner(Runner):
    """
    Has the runs already, and notes what it is asked for.
    """

    runs: list[Run] = field(default_factory=list)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    def run(self, reactor: str, limit: float, parts: object = ()) -> Run:
        assert isinstance(parts, list | tuple)
        self.asked.append((reactor, tuple(parts)))
        return self.runs.pop(0)


class CompareTests(SynchronousTestCase):
    def compare(self, *runs: Run, again: int = 1) -> tuple[Comparison, FakeRunner]:
        runner = FakeRunner(SUITE, Environment(SUITE, Path("unused")), list(runs))
        return compare(runner, EPOLL, limit=60, again=again), runner

    def test_alike(self) -> None:
        """
        What went alike is not run again.
        """
        comparison, runner = self.compare(
            run_of("epoll", a="passed", b="skipped"),
            run_of("eager", a="passed", b="skipped"),
        )
        self.assertEqual(runner.asked, [("epoll", ()), ("eager", ())])
        self.assertEqual((comparison.tests, comparison.passed), (2, 1))
        self.assertTrue(comparison.is_good)

    def test_different(self) -> None:
        """
        The part that went differently is run again on both.
        """
        comparison, runner = self.compare(
            run_of("epoll", a="passed", b="passed"),
            run_of("eager", a="passed", b="failed: X"),
            run_of("epoll", b="passed"),
            run_of("eager", b="failed: X"),
        )
        again = [("epoll", ("some.test_some",)), ("eager", ("some.test_some",))]
        self.assertEqual(runner.asked[2:], again)
        self.assertEqual([each.test for each in comparison.unexpected], ["b"])
        self.assertFalse(comparison.is_good)

    def test_expected(self) -> None:
        row = Expected("some", "eager", "b*", "it has to")
        self.patch(expected, "EXPECTED", (row,))
        comparison, _ = self.compare(
            run_of("epoll", a="passed", bee="passed"),
            run_of("eager", a="passed", bee="failed: X"),
            again=0,
        )
        self.assertTrue(comparison.is_good)
        self.assertIn("because it has to", as_text(comparison))
        self.assertEqual(comparison.expected_in_vain, [])

    def test_expectedInVain(self) -> None:
        self.patch(expected, "EXPECTED", (Expected("some", "eager", "b", "it has to"),))
        comparison, _ = self.compare(
            run_of("epoll", b="passed"), run_of("eager", b="passed")
        )
        self.assertIn("went alike", as_text(comparison))

    def test_hang(self) -> None:
        """
        What a suite did not come to is not different; that it did not end is.
        """
        hung = run_of("eager", a="passed", b=NOT_ENDED)
        hung.ended, hung.seconds = False, 60
        comparison, _ = self.compare(
            run_of("epoll", a="passed", b="passed", c="passed"), hung, again=0
        )
        self.assertEqual([each.test for each in comparison.differences], ["b"])
        self.assertEqual(
            comparison.problems, ["on eager it was ended after 60 s, in b"]
        )
        self.assertFalse(comparison.is_good)

    def test_faults(self) -> None:
        """
        A run counts if it ended, passed something, and was on its reactor alone.
        """
        good = run_of("eager", a="passed")
        self.assertEqual(list(faults("eager", good, 60)), [])
        crashed = run_of("eager", a="passed", b=NOT_ENDED)
        crashed.ended, crashed.status = False, -11
        for run, fault in (
            (crashed, "on eager it ended by itself with status -11, in b"),
            (run_of("eager", a="skipped"), "on eager no test passed"),
            (
                run_of("epoll", a="passed"),
                "on eager its processes made other reactors: EPollReactor",
            ),
        ):
            self.assertEqual(list(faults("eager", run, 60)), [fault])

    def test_report(self) -> None:
        """
        Both forms tell every difference, with what it is.
        """
        comparison, _ = self.compare(
            run_of("epoll", a="passed", b="passed", c="passed"),
            run_of("eager", a="failed: X", b="failed: X", c="failed: X"),
            run_of("epoll", a="passed", b="passed", c="failed: X"),
            run_of("eager", a="failed: X", b="passed", c="failed: X"),
        )
        text = as_text(comparison)
        for word in (
            "epoll:eager: 3 tests, 0 passed on both, 1 different, 1 of them unexpected",
            "DIFFERENT: a\n    epoll: passed; eager: failed: X",
            "seen once: b\n    epoll: passed; eager: failed: X / passed",
            "varies on the stock reactor, too: c\n    epoll: passed / failed: X",
        ):
            self.assertIn(word, text)
        verdicts = {
            each["test"]: each["verdict"] for each in as_json(comparison)["differences"]
        }
        self.assertEqual(
            verdicts,
            {
                "a": "real",
                "b": "seen once",
                "c": "varies on the stock reactor, too",
            },
        )
        self.assertTrue(json.dumps(as_json(comparison)))


class TablesTests(SynchronousTestCase):
    def test_suites(self) -> None:
        """
        Each suite has a way to run on each stock reactor that it names.
        """
        for suite in SUITES:
            if suite.by_pytest is not None:
                self.assertEqual(set(suite.by_pytest), set(suite.stock))
            self.assertTrue(suite.stock <= {pair.stock for pair in PAIRS})

    def test_expected(self) -> None:
        packages = {suite.package for suite in SUITES}
        for row in EXPECTED:
            self.assertIn(row.package, packages)
            self.assertIn(row.reactor, {pair.eager for pair in PAIRS})
            self.assertTrue(row.reason)


class ArgumentsTests(SynchronousTestCase):
    def test_usual(self) -> None:
        options = parse([])
        self.assertEqual(options.packages, list(SUITES))
        self.assertEqual(options.reactors, list(PAIRS))

    def test_some(self) -> None:
        options = parse(
            ["scrapy", "treq", "--reactors", "epoll:eager", "--reactors", "epoll:epoll"]
        )
        names = [suite.package for suite in options.packages]
        self.assertEqual(names, ["Scrapy", "treq"])
        self.assertEqual(options.reactors, [EPOLL, Pair("epoll", "epoll")])

    def test_bad(self) -> None:
        """
        What is wrong gets an error that says what was given and what is allowed.
        """
        for arguments, *told in (
            (["nix"], "'nix' is none of the packages: treq, klein, "),
            (["--reactors", "poll:eager"], "'poll:eager' is none", "epoll:eager,"),
            (["--reactors", "epoll:eager-asyncio"], "'epoll:eager-asyncio' is none"),
            (["--reactors", "eager"], "'eager' is none of the pairs"),
            (["--limit", "0"], "'0' is no whole number of at least 1"),
            (["--again", "-1"], "'-1' is no whole number of at least 0"),
        ):
            printed = io.StringIO()
            with redirect_stderr(printed):
                ended = self.assertRaises(SystemExit, parse, arguments)
            self.assertEqual(ended.code, 2)
            for each in told:
                self.assertIn(each, printed.getvalue())

    def test_commands(self) -> None:
        """
        A whole suite is run by its tests' names, and parts of it by theirs.
        """
        trial = command_of(SUITE, "eager", ())
        self.assertEqual(trial, ["-m", "in_suite.run_trial", "eager", "some"])
        self.assertEqual(
            command_of(SUITE, "eager", ["some.test_a"])[3:], ["some.test_a"]
        )
        by_pytest = Suite(
            "some",
            requirements=("some",),
            tests=("tests",),
            by_pytest={"epoll": ("--reactor=default",)},
        )
        whole = command_of(by_pytest, "eager", ())
        self.assertEqual(whole[-2:], ["--reactor=default", "tests"])
        part = command_of(by_pytest, "eager", ["tests/test_a.py"])
        self.assertEqual(part[-2:], ["--reactor=default", "tests/test_a.py"])
        installed = replace(by_pytest, tests=("--pyargs", "some"))
        part = command_of(installed, "eager", ["test_a.py"])
        self.assertEqual(part[-2:], ["--pyargs", "some"])


HANGING = """\
#!/bin/sh
exec 3>"$HELD"
echo '{"started": "some.test", "part": "some"}' >>"$COMPATIBILITY_RECORD"
sleep 1000 &
sleep 1000
"""


class ProcessTests(SynchronousTestCase):
    """
    What is run in a suite's environment, whose Python is a shell script here.
    """

    def environment(self, python: str) -> Environment:
        self.folder = new_folder(self)
        programs = self.folder / SUITE.package / "venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").write_text(python)
        (programs / "python").chmod(0o755)
        installed = self.folder / SUITE.package / "installed.json"
        installed.write_text(json.dumps(SUITE.requirements))
        return Environment(SUITE, self.folder)

    def test_cannotInstall(self) -> None:
        """
        A package that pip cannot install is told with what pip says, and fails the
        command.
        """
        self.environment("#!/bin/sh\necho 'no such package' >&2\nexit 3\n")
        self.patch(command, "SUITES", (SUITE,))
        printed = io.StringIO()
        with redirect_stdout(printed):
            status = command.main(["some", "--folder", str(self.folder)])
        self.assertEqual(status, 1)
        self.assertRegex(
            printed.getvalue(),
            r"(?s)some: PROBLEM: .*pip .*ended with 3:\nno such package",
        )

    def test_limit(self) -> None:
        """
        A suite that hangs is ended with all that it started, and its record read.
        """
        runner = Runner(SUITE, self.environment(HANGING))
        held = self.folder / "held"
        os.mkfifo(held)
        self.patch(os, "environ", {**os.environ, "HELD": str(held)})
        reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        for limit in (1, 4, 16, 64):
            run = runner.run("eager", limit)
            if run.outcomes:
                break
        self.assertEqual(run.outcomes, {"some.test": NOT_ENDED})
        self.assertFalse(run.ended)
        self.assertGreaterEqual(run.seconds, limit)
        # It ends when nobody holds its other end any more.
        select.select([reader], [], [], DEADLINE)
        self.assertEqual(os.read(reader, 1), b"")


SUITE_OF_TRIAL = """
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

class SomeTests(SynchronousTestCase):
    def test_good(self):
        pass
    def test_bad(self):
        raise ValueError("bad")
    def test_skipped(self):
        pass
    test_skipped.skip = "no"
"""

SUITE_OF_PYTEST = """
import pytest
from twisted.internet import reactor

def test_good():
    pass
def test_bad():
    raise ValueError("bad")
@pytest.mark.skip
def test_skipped():
    pass
@pytest.fixture
def broken():
    raise KeyError("broken")
def test_broken(broken):
    pass
"""

WHICH = """
import in_suite.stand_ins, sys
from twisted.internet import reactor
print(type(reactor).__module__, type(reactor).__qualname__)
print(*(each.__qualname__ for each in type(reactor).__mro__))
"""


class InSuiteTests(SynchronousTestCase):
    """
    What runs in a suite's processes, with this environment's packages.
    """

    def setUp(self) -> None:
        self.folder = new_folder(self)
        shutil.copytree(
            Path(stand_ins.__file__).parent,
            self.folder / "in_suite",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        self.record = self.folder / "record"
        self.record.touch()

    def python(self, reactor: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(
                {
                    "PYTHONPATH": os.pathsep.join((str(self.folder), str(PROJECT))),
                    REACTOR: reactor,
                    RECORD: str(self.record),
                }
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return done.stdout

    def read(self) -> Run:
        with self.record.open() as lines:
            return read_record(lines)

    def test_standIns(self) -> None:
        """
        Whatever is compared comes under the stock reactor's name, and is recorded.
        """
        for reactor in ("epoll", "eager", "asyncio"):
            stock = REACTORS[REACTORS[reactor].stock]
            self.record.write_text("")
            named, kinds = self.python(reactor, "-c", WHICH).splitlines()
            self.assertEqual(named, f"{stock.module} {stock.name}")
            self.assertEqual(kinds.split()[:2], [stock.name, REACTORS[reactor].name])
            self.assertEqual(self.read().reactors, {REACTORS[reactor].name: 1})

    def test_trial(self) -> None:
        (self.folder / "test_some.py").write_text(SUITE_OF_TRIAL)
        printed = self.python("eager", "-m", "in_suite.run_trial", "eager", "test_some")
        run = self.read()
        self.assertEqual(
            run.outcomes,
            {
                "test_some.SomeTests.test_good": "passed",
                "test_some.SomeTests.test_bad": "error: ValueError",
                "test_some.SomeTests.test_skipped": "skipped",
            },
            printed,
        )
        self.assertEqual(set(run.parts.values()), {"test_some"})
        self.assertEqual(list(faults("eager", run, 1)), [])

    def test_pytest(self) -> None:
        (self.folder / "test_some.py").write_text(SUITE_OF_PYTEST)
        printed = self.python(
            "eager",
            *("-c", "import in_suite.stand_ins, sys, pytest; sys.exit(pytest.main())"),
            *("-p", "in_suite.pytest_recorder", "-p", "no:twisted", "test_some.py"),
        )
        run = self.read()
        self.assertEqual(
            run.outcomes,
            {
                "test_some.py::test_good": "passed",
                "test_some.py::test_bad": "failed: ValueError",
                "test_some.py::test_skipped": "skipped",
                "test_some.py::test_broken": "error: KeyError",
            },
            printed,
        )
        self.assertEqual(set(run.parts.values()), {"test_some.py"})
        self.assertEqual(list(faults("eager", run, 1)), [])

    def test_pytestInterrupted(self) -> None:
        """
        A module that cannot be imported keeps pytest from running any, which is no
        whole run.
        """
        (self.folder / "test_some.py").write_text("import nothing_of_this_name")
        self.python(
            "eager",
            *("-m", "pytest", "-p", "in_suite.pytest_recorder", "-p", "no:twisted"),
            "test_some.py",
        )
        run = self.read()
        self.assertEqual(run.outcomes, {"test_some.py": "error: collection"})
        self.assertFalse(run.ended)
