"""
A plugin of pytest that records what becomes of each test::

    python -m pytest -p in_suite.pytest_recorder
"""

from collections.abc import Iterator
from typing import Any

import pytest

from .record import outcome, record, started

_EXPECTED = {"skipped": "expected failure", "passed": "unexpected success"}


def pytest_runtest_logstart(nodeid: str) -> None:
    started(nodeid, nodeid.partition("::")[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: "pytest.CallInfo[Any]",
) -> Iterator[Any]:
    report = yield
    if report.when != "call" and report.passed:
        return report
    kind = report.outcome
    if hasattr(report, "wasxfail"):
        kind = _EXPECTED[kind]
    elif report.failed and report.when != "call":
        kind = "error"
    why = call.excinfo.typename if report.failed and call.excinfo else ""
    outcome(report.nodeid, kind, why, report.longreprtext)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        outcome(report.nodeid, "error", "collection", report.longreprtext)


def pytest_sessionfinish(exitstatus: int) -> None:
    # Not if pytest was interrupted, by an error in a module or in itself.
    if exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        record(ended=True)
