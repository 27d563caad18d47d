"""
C{docs/eager-reactor.md}: the ways out of its traps.
"""

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import DOCS
from tests.support.processes import environment, finished, new_folder, script
from tests.support.python_process import PYTEST, need_pytest_twisted, run_to_end

CONFTEST = """
import twisted_echo.MODULE
twisted_echo.MODULE.install()
"""

TWISTED_TEST = """
import pytest_twisted
from twisted.internet.task import deferLater

@pytest_twisted.ensureDeferred
async def test_reactor():
    from twisted.internet import reactor
    await deferLater(reactor, 0)
    print("reactor:", type(reactor).__name__)
"""

TRIAL_TEST = """
from twisted.trial.unittest import TestCase

class SomeTests(TestCase):
    def test_reactor(self):
        from twisted.internet import reactor
        print("reactor:", type(reactor).__name__)
"""

# What Scrapy does with its settings, as far as it concerns the reactor.
AS_SCRAPY = """
import asyncio
from importlib import import_module

module = import_module("its_name")
module.install()
from twisted.internet import reactor
loop = asyncio.get_event_loop()
print(type(reactor) is module.EagerAsyncioSelectorReactor, type(loop))
print(loop is reactor._asyncioEventloop)
"""


class ScrapyTests(SynchronousTestCase):
    """
    Scrapy's setting C{ASYNCIO_EVENT_LOOP}.
    """

    def test_uvloop(self) -> None:
        """
        The module of the page installs the reactor on uvloop's loop, which is the
        current one then.
        """
        if find_spec("uvloop") is None:
            raise SkipTest("uvloop is missing")
        (block,) = re.findall(
            r"^  ```python\n(.*?)^  ```$",
            (DOCS / "eager-reactor.md").read_text(),
            re.M | re.S,
        )
        folder = new_folder(self)
        (folder / "its_name.py").write_text(dedent(block))
        command = finished(self, [sys.executable, "-c", AS_SCRAPY], folder=folder)
        self.assertEqual(
            command.stdout,
            "True <class 'uvloop.Loop'>\nTrue\n",
            command.report("ended"),
        )


class PytestTwistedTests(SynchronousTestCase):
    """
    pytest-twisted on an eager reactor that C{conftest.py} has installed.
    """

    def printed(self, module: str, *options: str) -> str:
        need_pytest_twisted()
        folder = new_folder(self)
        (folder / "conftest.py").write_text(CONFTEST.replace("MODULE", module))
        (folder / "test_some.py").write_text(TWISTED_TEST)
        done = run_to_end([*PYTEST, "-s", *options], folder, environment())
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_epoll(self) -> None:
        self.assertIn("reactor: EagerEPollReactor\n", self.printed("reactor"))

    def test_asyncio(self) -> None:
        self.assertIn(
            "reactor: EagerAsyncioSelectorReactor\n",
            self.printed("asyncio_reactor", "--reactor=asyncio"),
        )


@slow
class PluginCacheTests(SynchronousTestCase):
    """
    C{trial} where another package's plugin imports the reactor, and C{dropin.cache}
    is missing.
    """

    def setUp(self) -> None:
        self.folder: Path = new_folder(self)
        plugins = self.folder / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "imports_reactor.py").write_text(
            "from twisted.internet import reactor\n"
        )
        (self.folder / "test_some.py").write_text(TRIAL_TEST)

    def run_script(self, name: str, *arguments: str) -> tuple[int, str]:
        command = finished(
            self,
            [script(name), *arguments],
            folder=self.folder,
            env={"PYTHONPATH": str(self.folder)},
        )
        return command.process.returncode, command.stdout + command.stderr

    def test_listedBefore(self) -> None:
        """
        When C{twistd --help} has written the list of plugins, C{trial} runs.
        """
        self.assertEqual(self.run_script("twistd", "--help")[0], 0)
        code, printed = self.run_script("trial", "--reactor=eager", "test_some")
        self.assertIn("reactor: EagerEPollReactor\n", printed)
        self.assertEqual(code, 0)

    def test_trap(self) -> None:
        """
        Else it does not, unless Twisted has changed: then the page has a trap too many.
        """
        code, printed = self.run_script("trial", "--reactor=eager", "test_some")
        self.assertEqual(code, 1)
        self.assertIn("reactor already installed", printed)
