"""
Tests of L{twisted_echo.command.daemon_report}, by processes that fork as C{twistd}
does.
"""

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE

FORKS = """\
import os, sys
from twisted_echo.command.daemon_report import DaemonReport
report = DaemonReport()
before = len(os.listdir("/proc/self/fd"))
if os.fork():
    os.write(1, b"launcher goes on\\n")
    os._exit(7)
if os.fork():
    os._exit(0)
BODY
os._exit(0)
"""


class DaemonReportTests(SynchronousTestCase):
    def run_with(self, body: str) -> tuple[int, str, str]:
        """
        Run a daemon that does something.

        @return: the status of its launcher, and what was printed.
        """
        run = subprocess.run(
            [sys.executable, "-c", FORKS.replace("BODY", body)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        return run.returncode, run.stdout, run.stderr

    def test_listens(self) -> None:
        """
        The launcher goes on as C{twistd} has it, and nothing stays open.
        """
        body = (
            "report(None); after = len(os.listdir('/proc/self/fd'))\n"
            "os.write(1, b'%d closed\\n' % (before - after))\n"
            "if not os.fork(): os._exit(0)"
        )
        status, out, err = self.run_with(body)
        self.assertEqual((status, err), (7, ""))
        self.assertEqual(
            sorted(out.splitlines()), ["2 closed", "launcher goes on"], out
        )

    def test_fails(self) -> None:
        """
        The launcher says the whole line, at the end of the daemon, and has failed.
        """
        body = "report('why ' + 'x' * 5000); os.write(1, b'tidied up\\n')"
        status, out, err = self.run_with(body)
        self.assertEqual((status, out), (1, "tidied up\n"))
        self.assertEqual(err, "echo: why " + "x" * 5000 + "\n")

    def test_dies(self) -> None:
        """
        Nobody waits for a daemon that is gone before it said anything.
        """
        status, out, err = self.run_with("os.kill(os.getpid(), 9)")
        self.assertEqual((status, out, err), (7, "launcher goes on\n", ""))

    def test_noFork(self) -> None:
        """
        Whoever forks for another reason afterwards is not held up.
        """
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                "import os\n"
                "from twisted_echo.command.daemon_report import DaemonReport\n"
                "DaemonReport()(None)\n"
                "if os.fork(): os.wait()\n"
                "else: os._exit(0)",
            ],
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual((run.returncode, run.stderr), (0, b""))
