"""
Run Twisted's own tests on the installed Twisted and on a patched copy of it, and print
each test that ends otherwise::

    python docs/for-twisted/compare_suites.py twisted.internet.test twisted.test

Names of modules and packages select the tests. C{REACTOR=asyncio} in the environment
runs them on another reactor than epoll. (Tests of reactors build all of them anyhow.)
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from copies import VARIANTS, copy_of_twisted

# Seconds, for all tests of one variant.
TIMEOUT = 3600

RUN = """
import json, os, sys
from importlib import import_module

report, *names = sys.argv[1:]
name = os.environ.get("REACTOR", "epoll")
import_module(f"twisted.internet.{name}reactor").install()

from twisted.trial import reporter, runner

outcomes = {}

class Outcomes(reporter.Reporter):
    def note(self, test, outcome):
        outcomes.setdefault(test.id(), []).append(outcome)

    def addSuccess(self, test):
        self.note(test, "success")

    def addSkip(self, test, reason):
        self.note(test, "skip")

    def addError(self, test, failure):
        self.note(test, "error")

    def addFailure(self, test, failure):
        self.note(test, "failure")

    def addExpectedFailure(self, test, failure, todo=None):
        self.note(test, "expected failure")

    def addUnexpectedSuccess(self, test, todo=None):
        self.note(test, "unexpected success")

suite = runner.TestLoader().loadByNames(names, recurse=True)
runner.TrialRunner(Outcomes, workingDirectory="trial").run(suite)
with open(report, "w") as file:
    json.dump(outcomes, file)
"""


def run_tests(variant: str, names: list[str]) -> dict[str, list[str]]:
    """
    Run the tests.

    @return: the outcomes of each.
    """
    with (
        copy_of_twisted(VARIANTS[variant]) as environment,
        tempfile.TemporaryDirectory() as folder,
    ):
        report = Path(folder, "report")
        subprocess.run(
            [sys.executable, "-c", RUN, str(report), *names],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
        )
        if not report.exists():
            raise SystemExit(f"the tests of {variant!r} did not come to their end")
        outcomes: dict[str, list[str]] = json.loads(report.read_text())
    return outcomes


def main(names: list[str]) -> None:
    if not names:
        raise SystemExit("name the tests, such as twisted.internet.test")
    stock = run_tests("stock", names)
    for variant in [each for each in VARIANTS if each != "stock"]:
        patched = run_tests(variant, names)
        print(f"{variant}: {len(patched)} tests, stock: {len(stock)}")
        # The patches' own tests are new, and are to succeed where they are not skipped.
        new = {each: ["new"] for each in patched if each not in stock}
        fine = (["success"], ["skip"])
        for test, was in sorted({**stock, **new}.items()):
            is_now = patched.get(test, ["missing"])
            if was != is_now and not (test in new and is_now in fine):
                print(f"  {test}: {', '.join(was)} -> {', '.join(is_now)}")


if __name__ == "__main__":
    main(sys.argv[1:])
