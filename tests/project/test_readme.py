"""
The README is a promise: what it prints works as it is printed.
"""

import re
import shutil
import socket
import sys
from importlib.util import find_spec
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import DOCS, PROJECT
from tests.support.processes import Server, finished, new_folder, script

README = (PROJECT / "README.md").read_text()
QUICK_START = (DOCS / "quick-start.md").read_text()


def programs() -> tuple[str, str, str]:
    """
    What the README prints: a server, its test by pytest, and its test by trial.
    """
    (server,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    by_pytest, by_trial = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    return server, by_pytest, by_trial


class ExampleTests(SynchronousTestCase):
    """
    The server and its two tests, each saved in a clean folder as the README says.
    """

    def setUp(self) -> None:
        self.server, self.by_pytest, self.by_trial = programs()
        self.folder = new_folder(self)
        self.save("upper.py", self.server)

    def save(self, name: str, source: str) -> None:
        (self.folder / name).write_text(source)

    def run_python(self, *arguments: str) -> str:
        command = [sys.executable, *arguments]
        return finished(self, command, folder=self.folder).stdout

    def test_server(self) -> None:
        """
        It greets, and answers in capitals.
        """
        source = self.server.replace("tcp:7008:", "tcp:0:")
        self.assertNotEqual(source, self.server)
        self.save("upper.py", source)
        server = Server(
            self,
            [script("twistd"), "--pidfile=", "-ny", "upper.py"],
            folder=self.folder,
        )
        server.wait_for(r"listening on .*, by .*\n")
        with socket.create_connection(server.address, 30) as client:
            client.sendall(b"hello\nthere\n")
            client.shutdown(socket.SHUT_WR)
            reply = b"".join(iter(lambda: client.recv(100), b""))
        self.assertEqual(reply, b"ready\nHELLO\nTHERE\n")

    def test_length(self) -> None:
        """
        It is short enough to be read at once.
        """
        lines = [line for line in self.server.splitlines() if line]
        self.assertLessEqual(len(lines), 12)

    def test_pytest(self) -> None:
        self.save("test_upper.py", self.by_pytest)
        printed = self.run_python("-m", "pytest", "-p", "no:twisted")
        self.assertIn("1 passed", printed)

    def test_trial(self) -> None:
        self.save("test_upper.py", self.by_trial)
        printed = self.run_python("-m", "twisted.trial", "test_upper")
        self.assertIn("PASSED (successes=1)", printed)

    @slow
    def test_types(self) -> None:
        """
        All three satisfy C{mypy --strict}.
        """
        if find_spec("mypy") is None:
            raise SkipTest("the extra 'lint' is not installed: mypy")
        self.save("test_upper.py", self.by_pytest)
        self.save("test_upper_by_trial.py", self.by_trial)
        names = sorted(path.name for path in self.folder.glob("*.py"))
        printed = self.run_python("-m", "mypy", "--strict", *names)
        self.assertIn("no issues found in 3 source files", printed)


class QuickStartTests(SynchronousTestCase):
    """
    The five lines of C{docs/quick-start.md}. (CI's step C{wheel} installs as they do.)
    """

    def setUp(self) -> None:
        self.lines = re.findall(r"^    (\S.*)$", QUICK_START, re.MULTILINE)[:5]

    def test_install(self) -> None:
        """
        They install as the README does.
        """
        for line in self.lines[:2]:
            self.assertIn(line, README)

    def test_run(self) -> None:
        """
        The server starts, and answers the line that is sent to it.
        """
        if shutil.which("nc") is None:
            raise SkipTest("nc is missing")
        name, *options = self.lines[2].removeprefix(".venv/bin/").split()
        listen = "--listen", "tcp:0:interface=127.0.0.1"
        command = [script(name), "--pidfile=", *options, *listen]
        server = Server(self, command, folder=new_folder(self))
        server.wait_for(r"listening on .*, by .*\n")
        _, port = server.address
        client = self.lines[3].replace("127.0.0.1 7007", f"127.0.0.1 {port}")
        self.assertNotEqual(client, self.lines[3])
        sent = finished(self, ["/bin/sh", "-c", client])
        self.assertEqual((sent.stdout, sent.stderr), ("hello\n", ""))

    def test_help(self) -> None:
        name, *options = self.lines[4].removeprefix(".venv/bin/").split()
        printed = finished(self, [script(name), *options]).stdout
        self.assertIn("--listen=", printed)


class PageTests(SynchronousTestCase):
    def test_firstScreen(self) -> None:
        """
        The two commands stand on the first screen, and the server begins there.
        """
        screen = "\n".join(README.splitlines()[:50])
        for command in (
            ".venv/bin/pip install . && .venv/bin/twistd -n echo",
            ".venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest",
        ):
            self.assertIn(f"\n    python3 -m venv .venv && {command}\n", screen)
        self.assertIn("```python\n", screen)

    def test_programs(self) -> None:
        """
        It names the programs without which a test is skipped. (C{gcc} will do for
        C{cc}.)
        """
        sources = [path.read_text() for path in (PROJECT / "tests").rglob("*.py")]
        needed = {
            name
            for source in sources
            for name in re.findall(r'\bwhich\("([\w-]+)"', source)
        }
        self.assertGreater(len(needed), 8)
        (list_,) = re.findall(r"A test is skipped if .*? names(.*?)\[", README, re.S)
        named = re.findall(r"`([\w-]+)`", list_)
        self.assertEqual(needed - {"gcc"} - set(named), set())
