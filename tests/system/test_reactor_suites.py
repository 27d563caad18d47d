"""
Whole suites on the eager reactors: Twisted's own tests of reactors, which must go as
they go on Twisted's C{EPollReactor} and C{AsyncioSelectorReactor}, and this project's.

Each runs in a process of its own, whose reactor is chosen before anything else is.
"""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import PROJECT
from tests.support.processes import environment, new_folder

# Seconds: many times what a suite takes.
TIMEOUT = 600

ROOT = PROJECT

TWISTED_SUITES = r"""
import json, pkgutil, sys
from importlib import import_module

report, whose, loop = sys.argv[1:]
import twisted.internet.test as package
from twisted.internet import asyncioreactor, epollreactor
from twisted.internet.test.reactormixins import ReactorBuilder

stock, module = (
    (epollreactor.EPollReactor, epollreactor)
    if loop == "epoll"
    else (asyncioreactor.AsyncioSelectorReactor, asyncioreactor)
)
base = stock
if whose == "eager":
    import twisted_echo.asyncio_reactor
    import twisted_echo.reactor

    base = (
        twisted_echo.reactor.EagerEPollReactor
        if loop == "epoll"
        else twisted_echo.asyncio_reactor.EagerAsyncioSelectorReactor
    )

# Loops that no other test has had, as Twisted's own tests of asyncio do.
def __init__(self):
    if loop == "epoll":
        base.__init__(self)
    else:
        from importlib import import_module

        base.__init__(self, import_module(loop).new_event_loop())

# Some tests look at the name of the class, and some at its module's, too.
placed = type(stock.__name__, (base,), {"__init__": __init__})
placed.__module__ = module.__name__
setattr(module, stock.__name__, placed)
ReactorBuilder._reactors = [f"{module.__name__}.{stock.__name__}"]

# What was built, and what it read from.
reactors, transports = set(), set()
build = ReactorBuilder.buildReactor

def buildReactor(self):
    reactor = build(self)
    reactors.add(type(reactor).__mro__[1].__qualname__)
    add = reactor.addReader

    def addReader(reader):
        transports.add(f"{type(reader).__module__}.{type(reader).__qualname__}")
        return add(reader)

    reactor.addReader = addReader
    return reactor

ReactorBuilder.buildReactor = buildReactor

def builders(module):
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, ReactorBuilder):
            yield each

modules, unusable = [], {}
for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
    if not info.name.rpartition(".")[2].startswith("test_"):
        continue
    # The signal of a child's end goes to uvloop, and not to Twisted; and the other
    # tests are of loops that asyncio makes.
    if loop == "uvloop" and info.name.endswith(("_process", "_asyncioreactor")):
        continue
    try:
        module = import_module(info.name)
    except ImportError as error:
        # Those of other systems' reactors.
        unusable[info.name] = str(error)
        continue
    if any(builders(module)):
        modules.append(info.name)

from twisted.trial.reporter import TestResult
from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

outcomes = {}

class Outcomes(TestResult):
    def note(self, test, *outcome):
        outcomes.setdefault(test.id(), []).append(outcome)

    def addSuccess(self, test):
        self.note(test, "success")

    def addSkip(self, test, reason):
        self.note(test, "skip", str(reason))

    def addError(self, test, failure):
        self.note(test, "error", str(getattr(failure, "type", failure)), str(failure))

    def addFailure(self, test, failure):
        self.note(test, "failure", str(getattr(failure, "type", failure)), str(failure))

    def addExpectedFailure(self, test, failure, todo=None):
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test, todo=None):
        self.note(test, "unexpected success")

def flat(test):
    if isinstance(test, ReactorBuilder):
        yield test
    elif not isinstance(test, SynchronousTestCase):
        for each in test:
            yield from flat(each)

if loop == "uvloop":
    # Some hang there on either reactor.
    ReactorBuilder.getTimeout = lambda self: 20

result = Outcomes()
for module in modules:
    for test in flat(TestLoader().loadByName(module)):
        test.run(result)
with open(report, "w") as file:
    json.dump(
        {
            "modules": modules,
            "unusable": unusable,
            "outcomes": outcomes,
            "reactors": sorted(reactors),
            "transports": sorted(transports),
        },
        file,
    )
"""

OWN_SUITES = r"""
import sys

report = sys.argv.pop(1)
sys.argv[0] = "trial"
from twisted.scripts.trial import run

try:
    run()
finally:
    from twisted.internet import reactor

    with open(report, "w") as file:
        file.write(f"{type(reactor).__module__}.{type(reactor).__qualname__}")
"""


class Child:
    """
    A script that writes a report, in a folder and a process group of its own.
    """

    def __init__(self, test: SynchronousTestCase, script: str, *arguments: str) -> None:
        folder = new_folder(test)
        self.report = folder / "report"
        self._printed = folder / "printed"
        with self._printed.open("wb") as printed:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, str(self.report), *arguments],
                cwd=folder,
                env=environment({"PYTHONPATH": str(ROOT)}),
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                # To be able to end whatever it started, too.
                start_new_session=True,
            )
        test.addCleanup(self.end)

    def wait(self) -> str:
        """
        Wait for its end.

        @return: what it printed.
        """
        try:
            self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(
                f"ended after {TIMEOUT} s:\n{self.printed[-20000:]}"
            ) from None
        return self.printed

    @property
    def printed(self) -> str:
        return self._printed.read_text(errors="replace")

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


class TwistedReactorSuitesTests(SynchronousTestCase):
    """
    All of C{twisted.internet.test} that is built on C{ReactorBuilder}.
    """

    def start(self, whose: str, loop: str) -> Child:
        return Child(self, TWISTED_SUITES, whose, loop)

    def finish(self, child: Child) -> dict[str, Any]:
        printed = child.wait()
        if not child.report.exists():
            self.fail(f"ended with {child.process.returncode}:\n{printed[-20000:]}")
        report: dict[str, Any] = json.loads(child.report.read_text())
        return report

    @slow
    def test_sameAsEPoll(self) -> None:
        """
        They pass, fail and are skipped on the eager reactor as they do on
        Twisted's.
        """
        self.same("epoll", "EagerEPollReactor")

    @slow
    def test_sameAsAsyncio(self) -> None:
        """
        They do so on asyncio's own loop.
        """
        self.same("asyncio", "EagerAsyncioSelectorReactor")

    @slow
    def test_sameOnUvloop(self) -> None:
        """
        They do so on uvloop's, but for those that need a child's end.
        """
        self.same("uvloop", "EagerAsyncioSelectorReactor")

    def same(self, loop: str, reactor: str) -> None:
        eager, stock = self.start("eager", loop), self.start("stock", loop)
        ours, theirs = self.finish(eager), self.finish(stock)

        self.assertEqual(ours["reactors"], [reactor])
        self.assertNotIn(reactor, theirs["reactors"])
        for name in (
            *("tcp_transports.EagerServer", "tcp_transports.EagerClient"),
            *("unix_transports.EagerUNIXServer", "unix_transports.EagerUNIXClient"),
        ):
            self.assertIn(f"twisted_echo.eager.{name}", ours["transports"])
        self.assertEqual(
            [each for each in theirs["transports"] if "twisted_echo" in each], []
        )

        self.assertEqual(ours["modules"], theirs["modules"])
        self.assertEqual(ours["unusable"], theirs["unusable"])
        self.assertEqual(sorted(ours["outcomes"]), sorted(theirs["outcomes"]))
        different = {
            name: (theirs["outcomes"][name], outcome)
            for name, outcome in ours["outcomes"].items()
            # What an error says has addresses in it.
            if [each[:2] for each in outcome]
            != [each[:2] for each in theirs["outcomes"][name]]
        }
        self.assertEqual(different, {})
        self.assert_whole(ours, with_processes=loop != "uvloop")

    def assert_whole(self, report: dict[str, Any], with_processes: bool) -> None:
        """
        The suites that matter were found and ran, with TLS installed.
        """
        ran = Counter(
            name.split(".")[3]
            for name, outcome in report["outcomes"].items()
            if outcome[0][0] != "skip"
        )
        for module, least in {
            "test_core": 12,
            "test_fdset": 8,
            "test_newtls": 4,
            **({"test_process": 25} if with_processes else {}),
            "test_socket": 6,
            "test_tcp": 90,
            "test_threads": 8,
            "test_tls": 20,
            "test_udp": 20,
            "test_unix": 30,
        }.items():
            self.assertGreaterEqual(ran[module], least, module)
        self.assertGreater(sum(ran.values()), 250 if with_processes else 220)
        skipped = {
            name: outcome[0][1]
            for name, outcome in report["outcomes"].items()
            if outcome[0][0] == "skip" and "tls" in name.split(".")[3]
        }
        self.assertEqual(skipped, {}, "is TLS installed?")


class OwnSuitesTests(SynchronousTestCase):
    """
    This project's suites.
    """

    @slow
    def test_eager(self) -> None:
        """
        They pass on the eager reactor.
        """
        self.passes("eager", "epoll_reactor.EagerEPollReactor", "tests.unit.eager")

    @slow
    def test_eagerAsyncio(self) -> None:
        """
        They pass on the one on asyncio's loop.
        """
        self.passes("eager-asyncio", "asyncio_reactor.EagerAsyncioSelectorReactor")

    def passes(self, name: str, reactor: str, *more: str) -> None:
        child = Child(
            self,
            OWN_SUITES,
            f"--reactor={name}",
            "--reporter=text",
            "--temp-directory=trial",
            *("tests.unit.test_echo", "tests.unit.test_service"),
            *(
                f"tests.unit.session.test_{each}"
                for each in (*("factory", "session", "input_pause", "awaited_answers"),)
            ),
            *(
                "tests.unit.session.ends",
                "tests.unit.endpoints",
                "tests.unit.net.test_sockets",
            ),
            "tests.unit.testing.test_leaks",
            *more,
        )
        printed = child.wait()
        self.assertEqual(child.process.returncode, 0, printed)
        self.assertRegex(printed, r"(?m)^PASSED")
        self.assertEqual(
            child.report.read_text(),
            f"twisted_echo.eager.{reactor}",
            printed,
        )
