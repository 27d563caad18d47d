"""
The patches that C{docs/for-twisted.md} offers: they apply, and their own tests pass.
"""

import re
import runpy
import shutil
import subprocess
import sys

import twisted
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.support.marks import slow
from tests.support.paths import DOCS
from tests.support.processes import new_folder

FOLDER = DOCS / "for-twisted"
# Seconds: many times what the tests take.
TIMEOUT = 300

RUN_TESTS = """
import subprocess, sys
sys.path.insert(0, sys.argv[1])
from copies import VARIANTS, copy_of_twisted

with copy_of_twisted(VARIANTS[sys.argv[2]]) as environment:
    code = '''
import os, sys, twisted
assert twisted.__file__.startswith(os.environ["PYTHONPATH"]), twisted.__file__
from twisted.scripts.trial import run
sys.argv[0] = "trial"
run()
'''
    command = [sys.executable, "-c", code, "--reporter=text", *sys.argv[3:]]
    sys.exit(subprocess.run(command, env=environment).returncode)
"""
TESTS = {
    "one send": (["twisted.internet.test.test_writequeue"], 60),
    "log context": (["twisted.test.test_log"], 50),
    "both": (["twisted.internet.test.test_writequeue", "twisted.test.test_log"], 110),
}


class SizeTests(SynchronousTestCase):
    """
    What the page says of the size of the patches.
    """

    def added(self, patch: str) -> tuple[int, int]:
        """
        The lines that a patch adds, without tests and news; and its tests.
        """
        lines, tests = 0, 0
        for part in (FOLDER / patch).read_text().split("\n+++ ")[1:]:
            name, _, changes = part.partition("\n")
            if "/test" in name:
                tests += len(re.findall(r"^\+ +def test_", changes, re.M))
            elif "/newsfragments/" not in name:
                lines += len(re.findall(r"^\+", changes, re.M))
        return lines, tests

    def test_sizes(self) -> None:
        page = (DOCS / "for-twisted.md").read_text()
        for patch, tests in (
            ("5303-one-send-a-turn.patch", 18),
            ("2534-log-context-on-demand.patch", 8),
        ):
            lines, found = self.added(patch)
            self.assertRegex(page, rf"{patch}>` \| \[.*\) \| {lines} \|")
            self.assertEqual(found, tests)
        self.assertIn(
            "`twisted.internet.test.test_writequeue`, 17 tests for each", page
        )
        self.assertIn("and one for reactors without a queue", page)
        self.assertIn("`twisted.test.test_log`, eight tests", page)


class PatchesTests(SynchronousTestCase):
    """
    The patches, on copies of the installed Twisted.
    """

    def check(self, variant: str) -> None:
        made_for = runpy.run_path(str(FOLDER / "copies.py"))["MADE_FOR"]
        if twisted.__version__ != made_for:
            raise SkipTest(
                f"the patches are for Twisted {made_for}, not {twisted.__version__}"
            )
        if shutil.which("patch") is None:
            raise SkipTest("patch is not installed")
        names, least = TESTS[variant]
        done = subprocess.run(
            [sys.executable, "-c", RUN_TESTS, str(FOLDER), variant, *names],
            cwd=new_folder(self),
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        output = done.stdout + done.stderr
        self.assertEqual(done.returncode, 0, output)
        passed = re.search(r"^PASSED \(.*successes=(\d+)\)$", output, re.MULTILINE)
        assert passed is not None, output
        self.assertGreaterEqual(int(passed[1]), least)

    @slow
    def test_oneSend(self) -> None:
        self.check("one send")

    @slow
    def test_logContext(self) -> None:
        self.check("log context")

    @slow
    def test_both(self) -> None:
        self.check("both")
