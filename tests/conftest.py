"""
Under CI, a test that is skipped is a test that is missing.

On a user's machine a test may be skipped for want of a program such as C{socat}.
CI installs everything, so there (where the environment has C{CI=true}) any skip but
those of L{ALLOWED_SKIPS} fails the run.
"""

# (Older releases of pytest that the project allows lack names of these.)
from __future__ import annotations

import compileall
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.python.failure import Failure

import twisted_echo

ALLOWED_SKIPS = (
    # What a script that runs as any user in any container cannot give itself.
    "this machine has no IPv6 loopback address",
    "any user may listen on low ports here",
    "only root can become another user",
    "another user cannot run this Python",
    # Only in the step of CI that tests the package without it.
    "this needs the compiled part: pure Python: TWISTED_ECHO_COMPILED=no",
    # Its plugin for Twisted imports the reactor, which breaks the first use of
    # `--reactor` in an environment.
    "websocket needs autobahn: .* -m pip install autobahn",
)
"""
Regular expressions of the whole reason.
"""

_UNDER_CI = os.environ.get("CI", "").lower() in ("1", "true")

_unexpected = pytest.StashKey[list[tuple[str, str]]]()


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """
    Why it was skipped, without the place.
    """
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


class _SkipPolicy:
    def __init__(self, config: pytest.Config) -> None:
        self.unexpected = config.stash.setdefault(_unexpected, [])

    def _look(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = _reason(report)
            if not any(re.fullmatch(allowed, reason) for allowed in ALLOWED_SKIPS):
                self.unexpected.append((report.nodeid, reason))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._look(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._look(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        if self.unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)


_failure_init = Failure.__init__


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Iterator[None]:
    """
    Have Twisted's failures as they are. Older releases of pytest let each keep its
    traceback, and with it what tests of leaks expect to be freed.
    """
    patched, Failure.__init__ = Failure.__init__, _failure_init
    try:
        return (yield)
    finally:
        Failure.__init__ = patched


def pytest_sessionstart() -> None:
    # Or else each of the hundreds of processes that tests start would do so, which is a
    # third of what its start costs.
    if sys.dont_write_bytecode:
        compileall.compile_dir(Path(twisted_echo.__file__).parent, quiet=1)


def pytest_configure(config: pytest.Config) -> None:
    if _UNDER_CI:
        config.pluginmanager.register(_SkipPolicy(config), "skip-policy")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    unexpected = config.stash.get(_unexpected, [])
    if unexpected:
        terminalreporter.section("skipped, which CI does not allow", red=True)
        for place, reason in unexpected:
            terminalreporter.line(f"{place}: {reason}", red=True)
        terminalreporter.line(
            "CI must install what these need, or tests/conftest.py must allow it.",
            red=True,
        )
