"""
Tests for L{twisted_echo.bench}. What is measured is not judged here.
"""

import re
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.bench import cli

ROW = re.compile(
    r"^  (?P<name>\S.*?) +\d+\.\d (?:ns a line|ns a frame|ms) +\d+\.\d\d x"
    r"  \(\d+\.\d\d to \d+\.\d\d\)$",
    re.MULTILINE,
)

RECEIVERS = [
    "LineReceiver",
    "LineOnlyReceiver",
    "FastLineReceiver.lineReceived",
    "FastLineOnlyReceiver.lineReceived",
    "FastLineReceiver.blockReceived",
]
LONG_LINES = ["LineReceiver", "FastLineReceiver", "FastLineReceiver, 4 MiB"]

FRAMES = [
    row
    for bits in (8, 16, 32)
    for row in 2
    * [
        f"Int{bits}StringReceiver",
        f"FastInt{bits}StringReceiver.stringReceived",
        f"FastInt{bits}StringReceiver.blockReceived",
    ]
]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """
    Run C{python -m twisted_echo.bench} to its end.
    """
    return subprocess.run(
        [sys.executable, "-m", "twisted_echo.bench", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class BenchTests(SynchronousTestCase):
    def test_split(self) -> None:
        """
        All cases run, and each has its row.
        """
        done = bench("split", "--rounds", "1")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(ROW.findall(done.stdout), RECEIVERS * 3 + LONG_LINES + FRAMES)
        for size in (16, 64, 512):
            self.assertIn(f"lines of {size} bytes in chunks of 64 KiB\n", done.stdout)
        self.assertIn("a line of 1 MiB in pieces of 512 bytes\n", done.stdout)

    def test_roundsMustBeANumber(self) -> None:
        done = bench("split", "--rounds", "many")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("--rounds", done.stderr)

    def test_unknownCommand(self) -> None:
        """
        It is refused, and those that are known are listed.
        """
        done = bench("nonsense")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("unknown command: nonsense", done.stderr)
        self.assertRegex(done.stderr, r"one of: [^.]*\bsplit\b")

    def test_help(self) -> None:
        done = bench("--help")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"one of: [^.]*\bsplit\b")
        with redirect_stdout(StringIO()) as told:
            self.assertEqual(cli.main([]), 0)
        self.assertRegex(told.getvalue(), r"one of: [^.]*\bsplit\b")
