"""
C{compare}: this service beside others, each started here, in turn, in one run.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from twisted_echo.bench import arguments
from twisted_echo.bench.cases import CASES, QUICK, Case, servers_of
from twisted_echo.bench.compare import Comparer, Settings, expected_seconds, facts
from twisted_echo.bench.comparison import Comparison
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.machine import check, split_processors
from twisted_echo.bench.metering import warn_if_disturbed
from twisted_echo.bench.screen import print_markdown, print_table, progress_bar
from twisted_echo.bench.servers import OURS, PER_LINE, PURE, SERVERS, Server
from twisted_echo.bench.tables import case_tables
from twisted_echo.testing.self_signed import make_certificate
from twisted_echo.validation.extras import MissingPackage

ROUNDS, SECONDS = 12, 0.5
QUICK_ROUNDS, QUICK_SECONDS = 3, 0.25
OUR_NAMES = {OURS, PURE, PER_LINE, "fast-line-lists", "answering-lines"}
"""
The servers whose failure is one of the command's.
"""

_CASES = "\n".join(f"  {each}" for each in CASES.values())
EPILOG = f"""\
cases:
{_CASES}
or one of your own, CONNECTIONSxBYTESxDEPTH: 1000x64x1 is for 1,000 connections, lines
of 64 bytes, and one line in flight.

servers: {", ".join(SERVERS)}
(echo is twistd echo with its defaults; raw servers know nothing of lines)

The table of a case has the server's processor time per line, and ours over theirs: the
median of the rounds, and the interval that holds the true median with 95 %. Below 1,
ours took less. In by-line, ours is the FastLineReceiver with lineReceived and sendLine.

examples:
  compare --quick
  compare --cases ping-pong,churn --only line-receiver,uvloop-raw
  compare --tls --cases ping-pong,churn
  compare --json result.json && plot result.json -o result.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--quick",
        action="store_true",
        help=f"{', '.join(QUICK)}; few rounds, short ones: a minute or two",
    )
    add(
        "--cases",
        type=arguments.cases,
        metavar="NAME,...",
        help="measure these cases; the names are below (all)",
    )
    add(
        "--only",
        type=arguments.choices(SERVERS),
        metavar="NAME,...",
        help="measure these servers, and ours; the names are below (all)",
    )
    add(
        "--rounds",
        type=arguments.number(int, 1, 1000),
        metavar="N",
        help=f"how often all is measured ({ROUNDS})",
    )
    add(
        "--seconds",
        type=arguments.seconds,
        metavar="SECONDS",
        help=f"how long each burst of lines lasts ({SECONDS:g})",
    )
    add("--tls", action="store_true", help="measure over TLS")
    add("--no-pin", action="store_true", help="pin nothing to a processor")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--json", metavar="FILE", help="write all runs to FILE, for plot and tables")
    arguments.add_progress(parser)


def what_to_measure(
    cases: Sequence[Case], asked: Sequence[Server] | None, *, tls: bool
) -> tuple[list[tuple[Case, Server]], dict[str, str]]:
    """
    Choose the servers that can be measured.

    @return: each server under each case, and why some are left out, if nothing else
        was asked for.
    @raise BadRequest: if one that was asked for cannot run, or none can.
    """
    missing = {
        each.name: why for each in SERVERS.values() if (why := each.obstacle(tls))
    }
    plan, unmeasurable = [], []
    for case in cases:
        ours, *others = servers_of(case)
        if ours in missing:
            unmeasurable.append(f"{case.name}: {missing[ours]}")
            continue
        names = [ours, *(each for each in others if each in SERVERS)]
        wanted = names if asked is None else [ours, *(each.name for each in asked)]
        plan += [
            (case, SERVERS[name])
            for name in names
            if name in wanted and name not in missing
        ]
    measured = {server.name for _, server in plan}
    for each in asked or ():
        if each.name not in measured:
            why = missing.get(each.name, f"{each.name} is for none of these cases")
            raise BadRequest(f"--only: {why}")
    if not plan:
        raise BadRequest("; ".join(unmeasurable))
    return plan, {} if asked else missing


def new_comparison(
    plan: Sequence[tuple[Case, Server]], missing: dict[str, str], settings: Settings
) -> Comparison:
    cases = list(dict.fromkeys(case for case, _ in plan))
    wanted = {server.name for _, server in plan}
    absent = {
        name: why
        for name, why in missing.items()
        if name != PURE and any(name in servers_of(case) for case in cases)
    }
    labels = {
        each.name: each.label
        for each in SERVERS.values()
        if each.name in wanted or each.name in absent
    }
    return Comparison(facts(settings), labels, cases, absent)


@contextlib.contextmanager
def throw_away_certificate(wanted: bool) -> Iterator[str]:
    """
    Make a certificate for the time of the comparison, if one is needed.

    @return: the folder that it is in; empty, if none is wanted.
    """
    if not wanted:
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_certificate(Path(folder))
        except MissingPackage as error:
            raise BadRequest(f"--tls: {error}") from None
        yield folder


def report(comparison: Comparison, *, markdown: bool) -> None:
    show = print_markdown if markdown else print_table
    for table in case_tables(comparison):
        show(*table)
    for name, why in comparison.missing.items():
        print(
            f"compare: not measured: {comparison.labels[name]}: {why}", file=sys.stderr
        )
    for each in comparison.failures:
        label = comparison.labels[each.server]
        print(f"compare: {each.case}: {label}: {each.why}", file=sys.stderr)
    warn_if_disturbed(comparison.runs)


def run(options: argparse.Namespace) -> int:
    need("compare", ["hdrh.histogram", "rich"])
    check("compare")
    usual = [CASES[name] for name in QUICK] if options.quick else [*CASES.values()]
    cases = [each._replace(tls=options.tls) for each in options.cases or usual]
    settings = Settings(
        rounds=options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
        seconds=options.seconds or (QUICK_SECONDS if options.quick else SECONDS),
        processors=((), ()) if options.no_pin else split_processors(),
    )
    plan, missing = what_to_measure(cases, options.only, tls=options.tls)
    comparison = new_comparison(plan, missing, settings)
    arguments.prepare_output(options.json)
    print(
        f"{len(plan) * settings.rounds} runs, about"
        f" {expected_seconds(plan, settings) / 60:.1f} min; {len(comparison.cases)}"
        f" cases, {settings.rounds} rounds of {settings.seconds:g} s,"
        f" {'pinned' if settings.processors[0] else 'not pinned'}",
        file=sys.stderr,
    )
    try:
        with (
            progress_bar("compare", options.progress) as show,
            throw_away_certificate(options.tls) as folder,
        ):
            settings = replace(settings, certificate=folder)
            Comparer(plan, comparison, settings, show).run()
    finally:
        # Also of a comparison that Ctrl-C has ended; but what an older one has left
        # is worth more than nothing.
        if options.json and (comparison.runs or comparison.failures):
            Path(options.json).write_text(comparison.to_json())
        report(comparison, markdown=options.markdown)
    # That a rival breaks a line is a result.
    return int(any(each.server in OUR_NAMES for each in comparison.failures))
