"""
Runs trial on a reactor and records what becomes of each test::

    python -m in_suite.run_trial REACTOR NAME...
"""

import os
import sys
from importlib import import_module
from typing import Any

from twisted.application.reactors import installReactor
from twisted.trial.reporter import TreeReporter
from twisted.trial.runner import DestructiveTestSuite, TestLoader, TrialRunner

from .record import outcome, record, started
from .stand_ins import REACTORS


def _type_of(problem: Any) -> str:
    """
    The name of an exception's type, of a failure or of what C{sys.exc_info} returns.
    """
    kind = problem[0] if isinstance(problem, tuple) else problem.type
    return str(kind.__name__)


def _module_of(name: str) -> str:
    """
    The module of a test. (Trial wraps tests in classes of its own.)
    """
    while name and name not in sys.modules:
        name = name.rpartition(".")[0]
    return name


class RecordingReporter(TreeReporter):
    """
    Prints as trial does, and records.
    """

    def startTest(self, test: Any) -> None:
        started(test.id(), _module_of(test.id()))
        super().startTest(test)

    def addSuccess(self, test: Any) -> None:
        outcome(test.id(), "passed")
        super().addSuccess(test)

    def addSkip(self, test: Any, reason: Any) -> None:
        outcome(test.id(), "skipped", text=str(reason))
        super().addSkip(test, reason)

    def addFailure(self, test: Any, fail: Any) -> None:
        outcome(test.id(), "failed", _type_of(fail), str(fail))
        super().addFailure(test, fail)

    def addError(self, test: Any, error: Any) -> None:
        outcome(test.id(), "error", _type_of(error), str(error))
        super().addError(test, error)

    def addExpectedFailure(self, test: Any, *arguments: Any) -> None:
        outcome(test.id(), "expected failure")
        super().addExpectedFailure(test, *arguments)

    def addUnexpectedSuccess(self, test: Any, *arguments: Any) -> None:
        outcome(test.id(), "unexpected success")
        super().addUnexpectedSuccess(test, *arguments)


def main(reactor: str, *names: str) -> None:
    """
    Install the reactor as C{trial --reactor} does, and run what is named.
    """
    # First, so that what stands in for Twisted's is whole before it is used.
    for each in REACTORS.values():
        import_module(REACTORS[each.stock].module)
    installReactor(reactor)
    # (What the plugin names is no stand-in.)
    from twisted.internet import reactor as installed

    kinds = [each.__qualname__ for each in type(installed).__mro__]
    name = REACTORS[reactor].name
    record(reactor=name if name in kinds else kinds[0], process=os.getpid())

    # As the command does.
    sys.path.insert(0, os.getcwd())
    loader = TestLoader()
    loader.suiteFactory = DestructiveTestSuite
    TrialRunner(RecordingReporter).run(loader.loadByNames(list(names), recurse=True))
    record(ended=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
