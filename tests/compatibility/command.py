"""
The command line of C{python -m tests.compatibility}.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.compatibility.environments import CannotInstall, Environment
from tests.compatibility.pairs import PAIRS, Comparison, Pair, compare, read_pair
from tests.compatibility.report import as_json, as_text
from tests.compatibility.running import Runner, can_isolate
from tests.compatibility.suites import SUITES, Suite
from tests.support.paths import PROJECT

__all__ = ["main", "parse"]

DESCRIPTION = """\
Run the test suites of other packages on a stock reactor of Twisted's and on an eager
one, in the same environment, and print which tests end differently. The exit status is
0 if nothing differs but what is expected, 1 if something does or a suite could not be
run, and 2 for bad arguments. Needs pip's index; takes up to an hour.
"""


def _pair(text: str) -> Pair:
    try:
        return read_pair(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _package(text: str) -> Suite:
    for suite in SUITES:
        if suite.package.lower() == text.lower():
            return suite
    names = ", ".join(suite.package for suite in SUITES)
    raise argparse.ArgumentTypeError(f"{text!r} is none of the packages: {names}")


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number of at least {least}"
            )
        return int(text)

    return number


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the arguments, or end the process with a message.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.compatibility", description=DESCRIPTION
    )
    parser.add_argument(
        "packages",
        metavar="PACKAGE",
        nargs="*",
        type=_package,
        default=list(SUITES),
        help=f"which packages' suites (all: {', '.join(s.package for s in SUITES)})",
    )
    parser.add_argument(
        "--reactors",
        metavar="STOCK:EAGER",
        action="append",
        type=_pair,
        help="which reactors, may be given several times "
        f"({' and '.join(map(str, PAIRS))}); a stock one twice shows what varies",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=PROJECT / "build" / "compatibility",
        help="where to keep the environments, and what the suites print (%(default)s); "
        "delete it for newer versions of the packages",
    )
    parser.add_argument(
        "--limit",
        metavar="SECONDS",
        type=_at_least(1),
        default=1800,
        help="end a run of a suite that takes longer (%(default)s)",
    )
    parser.add_argument(
        "--again",
        metavar="TIMES",
        type=_at_least(0),
        default=3,
        help="how often to run again what went differently (%(default)s)",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write everything there, as JSON"
    )
    options = parser.parse_args(arguments)
    options.reactors = options.reactors or list(PAIRS)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Compare, print, and give the exit status.
    """
    options = parse(arguments)
    if not can_isolate():
        print("The suites can reach the network: only root can keep them off it.")
    found: list[Comparison] = []
    good = True
    for suite in options.packages:
        environment = Environment(suite, options.folder.absolute())
        try:
            environment.prepare()
        except CannotInstall as problem:
            print(f"{suite.package}: PROBLEM: {problem}", flush=True)
            good = False
            continue
        for pair in options.reactors:
            if pair.stock not in suite.stock:
                print(f"{suite.package} does not run on {pair.stock}", flush=True)
                continue
            comparison = compare(
                Runner(suite, environment), pair, options.limit, options.again
            )
            found.append(comparison)
            good = good and comparison.is_good
            print(as_text(comparison), flush=True)
            if options.json:
                options.json.write_text(json.dumps([as_json(each) for each in found]))
    return 0 if good and found else 1
