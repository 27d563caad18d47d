"""
Runs of a suite, each in a process that is ended with all that it started.
"""

import contextlib
import functools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.compatibility.environments import Environment
from tests.compatibility.in_suite.stand_ins import REACTOR, REACTORS, RECORD
from tests.compatibility.outcomes import Run, read_record
from tests.compatibility.suites import Suite

__all__ = ["Runner", "can_isolate", "command_of"]

# In a network of its own, which has loopback alone, and as its own tree of processes.
# (The shell stays as the first of that tree, which adopts and reaps others.)
_ISOLATED = (
    *("unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"),
    *("sh", "-c", 'ip link set lo up && "$@"; exit $?', "sh"),
)


@functools.cache
def can_isolate() -> bool:
    """
    Whether this user may keep a suite off the network.
    """
    try:
        tried = subprocess.run(
            [*_ISOLATED, "true"], capture_output=True, timeout=30, check=False
        )
    except OSError:
        return False
    return tried.returncode == 0


def command_of(suite: Suite, reactor: str, parts: Sequence[str]) -> list[str]:
    """
    What follows the Python of the suite's environment.

    @param parts: the modules or files to run, or none for the whole suite.
    """
    if suite.by_pytest is None:
        return ["-m", "in_suite.run_trial", reactor, *(parts or suite.tests)]
    # (pytest names the files of an installed package by paths that it does not take.)
    named = suite.tests if "--pyargs" in suite.tests else parts or suite.tests
    return [
        *("-m", "pytest", "-q", "-p", "in_suite.pytest_recorder"),
        # The project's own plugin is none of the suite's.
        *("-p", "no:twisted_echo", "-p", "no:cacheprovider", "--rootdir=."),
        *suite.by_pytest[REACTORS[reactor].stock],
        *named,
    ]


@dataclass(frozen=True)
class Runner:
    """
    Runs one suite.
    """

    suite: Suite
    environment: Environment

    def run(self, reactor: str, limit: float, parts: Sequence[str] = ()) -> Run:
        """
        Run it on a reactor, and end it when it has taken C{limit} seconds.
        """
        folder = f"{reactor}-again" if parts else reactor
        work = self.environment.new_work_folder(folder)
        record = work / "record.jsonl"
        record.touch()
        command = command_of(self.suite, reactor, parts)
        begun = time.monotonic()
        with (work / "output.txt").open("wb") as output:
            process = subprocess.Popen(
                [
                    *(_ISOLATED if can_isolate() else ()),
                    *(str(self.environment.python), *command),
                ],
                cwd=work,
                env={
                    **self.environment.variables(),
                    **self.suite.environment,
                    REACTOR: reactor,
                    RECORD: str(record),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(limit)
            finally:
                # What it left behind, too.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        with record.open(errors="replace") as lines:
            run = read_record(lines)
        run.seconds = time.monotonic() - begun
        run.status = process.returncode
        return run
