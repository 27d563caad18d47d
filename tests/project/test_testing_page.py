"""
C{docs/testing.md} and the examples of tests: all of them run.
"""

import os
import re
import sys

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import DOCS, EXAMPLES
from tests.support.processes import environment, new_folder
from tests.support.python_process import PYTEST, TRIAL, need_pytest_twisted, run_to_end

PRELUDE = """
import subprocess
import pytest
from twisted.internet.defer import inlineCallbacks
from twisted.trial.unittest import TestCase
from twisted_echo import Limits, SessionFactory, SessionService
from twisted_echo.testing import running, startForTest
import test_with_pytest
from test_with_trial import connect, upper
Upper = test_with_pytest.Upper
"""

MY_CLIENT = f"""#!{sys.executable}
import socket, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as plain:
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as client:
        client.sendall(b"hello\\n")
        assert client.recv(100) == b"hello\\n"
        client.unwrap()
"""


class PageTests(SynchronousTestCase):
    """
    C{docs/testing.md}: those of its blocks which are no programs by themselves.
    """

    def run_blocks(self, *options: str, twisted: bool) -> str:
        """
        Run the blocks that use pytest-twisted, or the others.
        """
        blocks = re.findall(
            r"^```py\n(.*?)^```$", (DOCS / "testing.md").read_text(), re.M | re.S
        )
        source = [each for each in blocks if ("pytest_twisted" in each) is twisted]
        folder = new_folder(self)
        (folder / "test_page.py").write_text(PRELUDE + "\n".join(source))
        client = folder / "my-client"
        client.write_text(MY_CLIENT)
        client.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        done = run_to_end(
            [*PYTEST, *options, "test_page.py"],
            folder,
            environment({"PYTHONPATH": str(EXAMPLES), "PATH": path}),
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_blocks(self) -> None:
        self.assertIn("6 passed", self.run_blocks("-p", "no:twisted", twisted=False))

    def test_pytestTwisted(self) -> None:
        """
        Where pytest-twisted is installed, its blocks need no option.
        """
        need_pytest_twisted()
        self.assertIn("1 passed", self.run_blocks(twisted=True))


class ExampleTests(SynchronousTestCase):
    """
    The examples of tests pass, with warnings as errors; that by trial under several
    reactors.
    """

    @slow
    def test_reactors(self) -> None:
        examples = EXAMPLES
        for name in ("eager", "eager-asyncio", "epoll", "asyncio", "select"):
            done = run_to_end(
                [*TRIAL, f"--reactor={name}", "test_with_trial"],
                new_folder(self),
                environment({"PYTHONPATH": str(examples)}),
            )
            self.assertEqual(done.returncode, 0, (name, done.stdout))
            self.assertIn("PASSED (successes=2)", done.stdout)
            self.assertNotIn("Warning", done.stdout)

    def by_pytest(self, name: str, *options: str) -> str:
        # A configuration of its own, or pytest would take this project's: its file
        # is the nearest above the example.
        folder = new_folder(self)
        (folder / "pytest.ini").write_text("[pytest]\n")
        root = ["--rootdir", str(folder), "-c", str(folder / "pytest.ini")]
        done = run_to_end(
            [*PYTEST, *options, "-p", "no:cacheprovider", *root, str(EXAMPLES / name)],
            new_folder(self),
            environment(),
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_byPytest(self) -> None:
        told = self.by_pytest("test_with_pytest.py", "-p", "no:twisted")
        self.assertIn("5 passed", told)

    def test_byPytestTwisted(self) -> None:
        """
        With the default reactor, and with asyncio's.
        """
        need_pytest_twisted()
        for name in ("default", "asyncio"):
            told = self.by_pytest("test_with_pytest_twisted.py", "--reactor", name)
            self.assertIn("2 passed", told)
