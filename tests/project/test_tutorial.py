"""
C{docs/tutorial.md}: a reader who does all that it says, in its order, sees what it
shows.

Every fenced block is a file that is saved, or a terminal. The reader of the quick test
has the environment of the tests, instead of what C{venv} and C{pip} would install; that
of the slow test installs it. The ports are of the kernel's choice. C{/opt} and C{/etc}
are folders of the test's own. There is no systemd: its C{systemd-analyze} checks the
unit, whose command is run as it stands.
"""

import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.balancer import held_port
from tests.support.console import INTERRUPT, Typed, has_printed, typed
from tests.support.marks import slow
from tests.support.pages import PAGES, Block, blocks_of
from tests.support.paths import PROJECT
from tests.support.processes import Command, environment, finished, new_folder
from tests.support.python_process import run_to_end
from twisted_echo.session.factory import DEFAULT_ABORT_AFTER
from twisted_echo.stop import longestStop

PAGE = "docs/tutorial.md"
PROGRAMS = ("nc", "openssl", "curl", "systemd-analyze")
VENV = re.compile(r"python3 -m venv (\S+)")
PIP = re.compile(r"\S+/bin/pip install -q '\.\./twisted-echo\[metrics\]'( pytest)?")


class Unit:
    """
    What a unit file of one service says.
    """

    def __init__(self, path: Path) -> None:
        self._lines = re.findall(r"^(\w+)=(.*)$", path.read_text(), re.M)

    def all_of(self, name: str) -> list[str]:
        return [value for each, value in self._lines if each == name]


class Reader:
    """
    Does what the page says.

    @ivar installs: whether C{venv} and C{pip} are run.
    """

    def __init__(self, test: SynchronousTestCase, *, installs: bool) -> None:
        self.test = test
        self.installs = installs
        self.root = new_folder(test)
        self.folder = self.root
        # Of the terminal that runs the server.
        self.server: Command | None = None
        self.service: Command | None = None
        self.ran: list[str] = []
        self._seen = 0
        self._replaced = {
            "7008": str(held_port(test)),
            "9100": str(held_port(test)),
            "/opt/": f"{self.root}/opt/",
            "/etc/systemd/system/": f"{self.root}/etc/systemd/system/",
        }
        for name in ("/opt/", "/etc/systemd/system/"):
            Path(self._replaced[name]).mkdir(parents=True)
        if installs:
            unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "*.so")
            shutil.copytree(PROJECT, self.root / "twisted-echo", ignore=unwanted)

    def here(self, text: str) -> str:
        """
        A text of the page with this test's ports and folders.
        """
        # At once: what was put in may contain what is replaced.
        replaced = "|".join(map(re.escape, self._replaced))
        return re.sub(replaced, lambda found: self._replaced[found[0]], text)

    def follow(self, block: Block) -> None:
        """
        Do what one block says.
        """
        if block.language == "console":
            for each in typed(self.here(block.source)):
                self.type(each, block.place)
        else:
            assert block.name, f"{block.place}: it has no name, and is no terminal"
            (self.folder / block.name).write_text(self.here(block.source))

    def type(self, each: Typed, place: str) -> None:
        command = each.text.removeprefix("sudo ")
        self.ran.append(command.replace(str(self.root), ""))
        if each.text == INTERRUPT:
            self.interrupt(each.shown, place)
        elif command.startswith("cd "):
            self.folder = self.folder / command[3:]
        elif "twistd -n" in command:
            assert self.server is None, f"{place}: the terminal is taken"
            self._seen = 0
            self.server = self.start(command, self.folder, {})
            self.wait_for(each.shown)
        elif not (self.install(command) or self.systemctl(command, each.shown)):
            self.run(command, each.shown, place)

    def start(self, command: str, folder: Path, given: dict[str, str]) -> Command:
        """
        Start what goes on until it is stopped.
        """
        words = shlex.split(command)
        while "=" in words[0]:
            name, _, given[name] = words.pop(0).partition("=")
        return Command(self.test, words, folder=folder, env=given)

    # In a terminal

    def run(self, command: str, shown: str, place: str) -> None:
        """
        Run a command to its end, in a shell.
        """
        shell = ["bash", "-e", "-o", "pipefail", "-c", command]
        done = run_to_end(shell, self.folder, environment())
        told = f"{place}: {command}: {done.stdout}"
        self.test.assertEqual(done.returncode, 0, told)
        if not re.fullmatch(has_printed(shown), done.stdout):
            self.test.assertEqual(done.stdout, shown, told)

    def wait_for(self, shown: str) -> None:
        """
        Wait until the server has printed what the page shows.
        """
        assert self.server is not None
        pattern = rf"\A(?s:.{{{self._seen}}}){has_printed(shown)}"
        self._seen = self.server.wait_for(pattern).end()

    def interrupt(self, shown: str, place: str) -> None:
        assert self.server is not None, f"{place}: no server runs"
        self.server.process.send_signal(signal.SIGINT)
        self.wait_for(shown)
        self.server.wait()
        self.test.assertEqual(self.server.stderr, "", place)
        self.server = None

    # Of the machine

    def install(self, command: str) -> bool:
        """
        Install what a command of C{venv} or C{pip} says, if it is one.
        """
        found = VENV.fullmatch(command)
        if found and not self.installs:
            made = self.folder / found[1]
            made.mkdir()
            for name in ("bin", "lib", "pyvenv.cfg"):
                if os.path.exists(f"{sys.prefix}/{name}"):
                    (made / name).symlink_to(f"{sys.prefix}/{name}")
            return True
        if "pip install" in command:
            self.test.assertRegex(command, PIP)
            if not self.installs:
                return True
            done = finished(self.test, shlex.split(command), folder=self.folder)
            if "No matching distribution" in done.stderr:
                raise SkipTest(f"pip cannot install here: {done.stderr}")
            self.test.assertEqual(done.process.returncode, 0, done.stderr)
            return True
        return False

    def systemctl(self, command: str, shown: str) -> bool:
        """
        Do what systemd would, if a command asks for it.
        """
        path = Path(self._replaced["/etc/systemd/system/"], "upper.service")
        actions: dict[str, Callable[[], object]] = {
            "systemctl daemon-reload": lambda: self.verify(path),
            "systemctl enable --now upper": lambda: self.enable(Unit(path)),
            "systemctl is-active upper": lambda: self.test.assertEqual(
                shown, "active\n" if self.is_active else "inactive\n"
            ),
            "systemctl disable --now upper": self.disable,
        }
        if command not in actions:
            assert "systemctl" not in command, command
            return False
        actions[command]()
        return True

    @property
    def is_active(self) -> bool:
        return self.service is not None and self.service.process.poll() is None

    def verify(self, path: Path) -> None:
        check = ["systemd-analyze", "verify", "--man=no", str(path)]
        done = run_to_end(check, self.root, environment())
        # Units of the machine may have problems, too.
        told = [line for line in done.stdout.splitlines() if path.name in line]
        self.test.assertEqual(told, [])

    def enable(self, unit: Unit) -> None:
        """
        Start the command of a unit, with the files and variables that it asks for.
        """
        credentials = new_folder(self.test)
        for each in unit.all_of("LoadCredential"):
            name, _, source = each.partition(":")
            shutil.copy(source, credentials / name)
        given = dict(
            each.replace("%d", str(credentials)).split("=", 1)
            for each in unit.all_of("Environment")
        )
        (command,) = unit.all_of("ExecStart")
        self.service = self.start(command, new_folder(self.test), given)
        self.service.wait_for("listening on .*\n(?:.*\n)*.*admin pages on ")

    def disable(self) -> None:
        """
        Stop the service. (C{twistd} ends by the signal.)
        """
        assert self.service is not None
        self.test.assertEqual(self.service.signal(signal.SIGTERM), -signal.SIGTERM)
        self.test.assertEqual(self.service.stderr, "")


class TutorialTests(SynchronousTestCase):
    def follow(self, *, installs: bool) -> None:
        for name in PROGRAMS:
            if shutil.which(name) is None:
                raise SkipTest(f"{name} is missing")
        reader = Reader(self, installs=installs)
        for block in blocks_of(PAGE):
            reader.follow(block)
        self.assertIsNone(reader.server, "a server is still running")
        self.assertFalse(reader.is_active, "the service is still running")
        self.assertGreater(len(reader.ran), 20)

    def test_follow(self) -> None:
        """
        All that the page says can be done, and shows what it says.
        """
        self.follow(installs=False)

    @slow
    def test_install(self) -> None:
        """
        Likewise where nothing is installed yet.
        """
        self.follow(installs=True)

    def test_programs(self) -> None:
        """
        No program of the page is left out: but for what Debian installs, each stands in
        a fenced block.
        """
        text = re.sub(r"^```.*?^```$", "", PAGES[PAGE], flags=re.M | re.S)
        (indented,) = re.findall(r"(?<=\n\n)(?:    .*\n)+", text)
        self.assertEqual(indented.split()[:3], ["sudo", "apt-get", "install"])

    def test_stop(self) -> None:
        """
        The unit says how long a stop takes, and systemd waits longer.
        """
        (unit,) = [each for each in blocks_of(PAGE) if each.language == "ini"]
        (said,) = re.findall(r"takes (\d+) seconds at most", unit.source)
        (waits,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit.source, re.M)
        self.assertEqual(float(said), longestStop(0, DEFAULT_ABORT_AFTER))
        self.assertLess(int(said), int(waits))

    @slow
    def test_types(self) -> None:
        """
        Every state of its programs passes C{mypy --strict}.
        """
        if find_spec("mypy") is None:
            raise SkipTest("mypy is missing")
        folder = new_folder(self)
        checked = 0
        for block in blocks_of(PAGE):
            if block.name.endswith(".py"):
                (folder / block.name).write_text(block.source)
                done = run_to_end(
                    [sys.executable, "-m", "mypy", "--strict", block.name],
                    folder,
                    environment(),
                )
                self.assertEqual(done.returncode, 0, f"{block.place}: {done.stdout}")
                checked += 1
        self.assertEqual(checked, 5)


class ConsoleTests(SynchronousTestCase):
    """
    What is not as the page shows it is found.
    """

    def test_typed(self) -> None:
        source = "$ one \\\n    two\nsaid\n$ three\n^C\n...\nend\n"
        self.assertEqual(
            typed(source),
            [
                Typed("one two", "said\n"),
                Typed("three", ""),
                Typed("^C", "...\nend\n"),
            ],
        )
        self.assertRaisesRegex(ValueError, "before anything", typed, "said\n$ one\n")

    def test_hasPrinted(self) -> None:
        shown = "...\n... on 7008, by ...\nend\n"
        for printed in ("x on 7008, by y\nend\n", "a\nb\nx on 7008, by \nend\n"):
            self.assertRegex(printed, rf"\A{has_printed(shown)}\Z")
        for printed in ("x on 7008, by y\n", "on 7008, by\nend\n", "\nend\n"):
            self.assertNotRegex(printed, rf"\A{has_printed(shown)}\Z")
        self.assertNotRegex("a.c\n", has_printed("abc\n"))

    def test_output(self) -> None:
        """
        A command that fails, or prints something else, fails the test.
        """
        reader = Reader(self, installs=False)
        reader.run("echo one", "one\n", PAGE)
        for command, shown in (("echo one", ""), ("echo one", "on\n"), ("false", "")):
            with self.assertRaises(self.failureException):
                reader.run(command, shown, PAGE)
