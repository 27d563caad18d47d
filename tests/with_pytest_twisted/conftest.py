"""
The tests of this folder run under pytest-twisted, in a process of their own.

pytest-twisted keeps one reactor running from the first test to the last. Trial's test
cases, which most other tests are, start the reactor and stop it themselves, so the two
cannot share a process. Hence pytest-twisted is off in C{pyproject.toml}; here each
module of tests is one test per reactor, which starts a second pytest with the plugin.

To run some of them alone, or to see them one by one, name the plugin::

    python -m pytest -p twisted -v tests/with_pytest_twisted -k suspend
"""

# (Older releases of pytest that the project allows lack names of these.)
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REACTORS = ("default", "asyncio")
DEADLINE = 300
"""
Seconds for a module whose tests take two.
"""
_SECTION = "under pytest-twisted"


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    plugins = parent.config.pluginmanager
    if plugins.hasplugin("twisted") or plugins.hasplugin("pytest_twisted"):
        return None
    return ModuleUnderPytestTwisted.from_parent(parent, path=module_path)


class ModuleUnderPytestTwisted(pytest.File):
    """
    A module of tests that this process does not import.
    """

    def collect(self) -> Iterator[pytest.Item]:
        for reactor in REACTORS:
            yield RunUnderPytestTwisted.from_parent(self, name=reactor)


class RunUnderPytestTwisted(pytest.Item):
    """
    All tests of a module, under one reactor.
    """

    def runtest(self) -> None:
        pytest.importorskip("pytest_twisted", reason="pytest-twisted is missing")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "twisted"),
                *("--reactor", self.name, "-p", "no:cacheprovider", str(self.path)),
            ],
            cwd=self.config.rootpath,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        self.add_report_section("call", _SECTION, done.stdout)
        if done.returncode != 0:
            raise pytest.fail.Exception(
                f"pytest ended with {done.returncode}; what it printed is below",
                pytrace=False,
            )

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"under pytest-twisted, reactor {self.name}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Say how many tests each of them was.
    """
    for report in terminalreporter.getreports("passed"):
        for title, text in report.sections:
            if _SECTION in title:
                count = text.splitlines()[-1].strip("= ")
                terminalreporter.write_line(f"{report.nodeid}, {_SECTION}: {count}")
