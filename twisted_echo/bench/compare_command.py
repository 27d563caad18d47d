"""
C{compare}: this service beside others, each started here, in turn, in one run.
"""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from twisted_echo.bench import arguments
from twisted_echo.bench.compare import (
    OVERHEAD,
    Settings,
    compare,
    facts,
    prepare,
)
from twisted_echo.bench.comparison import Case, Comparison, Run, cases, ratio, spread
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.machine import check, split_processors
from twisted_echo.bench.metering import STOLEN
from twisted_echo.bench.result import BUSY
from twisted_echo.bench.screen import microseconds, print_table, progress_bar
from twisted_echo.bench.servers import LONGEST, OURS, PER_LINE, SERVERS, Server
from twisted_echo.testing.self_signed import MissingExtra, make_certificate


class Preset(TypedDict):
    """
    What is measured where the options do not say.
    """

    sizes: tuple[int, ...]
    depths: tuple[int, ...]
    connections: tuple[int, ...]
    rounds: int
    seconds: float


COMPLETE: Preset = {
    "sizes": (16, 64, 1024, 8192, 65536),
    "depths": (1, 64),
    "connections": (50, 1000),
    "rounds": 5,
    "seconds": 1.5,
}
QUICK: Preset = {
    "sizes": (64,),
    "depths": (1, 64),
    "connections": (50,),
    "rounds": 3,
    "seconds": 0.5,
}

EPILOG = f"""\
servers: {", ".join(SERVERS)}
(echo is twistd echo with its defaults; fast-lines is a FastLineReceiver that
answers line by line on the eager reactor; raw servers know nothing of lines)

Every size is measured with every depth on the first number of connections; lines
of about 64 bytes on the others. Ratios are ours over theirs, round by round: the
median, and the least and the most in brackets. Below 1, ours took less.

With --churn, 20 places have one connection after the other, with a line of 64 bytes,
and the figures of lines are those of connections.

examples:
  compare --quick
  compare --quick --tls --churn
  compare --only line-receiver,uvloop-raw --sizes 64 --depths 1 --rounds 7
  compare --json result.json && plot result.json -o result.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--quick", action="store_true", help="a few cases, short: a minute or two")
    add(
        "--only",
        metavar="NAME,...",
        help=f"measure these servers, and {OURS}; the names are below (all)",
    )
    _add_cases(parser)
    add("--no-pin", action="store_true", help="let all run on any processor")
    add("--json", metavar="FILE", help="write all runs to FILE, for plot")
    arguments.add_shared(parser)


def _add_cases(parser: argparse.ArgumentParser) -> None:
    """
    What each server is measured with.
    """
    add = parser.add_argument
    add(
        "--sizes",
        type=arguments.sizes,
        metavar="BYTES,...",
        help="bytes of a line, delimiter included (16,64,1024,8192,65536)",
    )
    add(
        "--depths",
        type=arguments.numbers(1, 100_000, " of lines", "1,64"),
        metavar="N,...",
        help="lines in flight per connection, at most 256 KiB of them (1,64)",
    )
    add(
        "--connections",
        type=arguments.numbers(1, 60_000, "", "50,1000"),
        metavar="N,...",
        help="numbers of connections (50,1000)",
    )
    add(
        "--rounds",
        type=arguments.number(int, 1, 1000),
        metavar="N",
        help="how often all is measured (5)",
    )
    add(
        "--seconds",
        type=arguments.seconds,
        metavar="SECONDS",
        help="how long each run lasts (1.5)",
    )
    add("--tls", action="store_true", help="measure over TLS")
    add(
        "--churn",
        action="store_true",
        help="measure connections that come and go: connect, one line there and back,"
        " close; a line is a connection then, and --depths does not go with it",
    )


def chosen(only: str | None, *, tls: bool = False) -> list[Server]:
    """
    @raise BadRequest: if one is unknown, or not installed but asked for.
    """
    names = list(SERVERS) if only is None else [OURS, *only.split(",")]
    for name in names:
        if name not in SERVERS:
            raise BadRequest(
                f"--only: {name!r} is no server; it must be of {', '.join(SERVERS)}"
            )
    servers = [server for server in SERVERS.values() if server.name in names]
    for server in list(servers):
        if obstacle := server.obstacle(tls):
            if only is not None:
                raise BadRequest(f"--only: {obstacle}")
            print(f"left out: {obstacle}", file=sys.stderr)
            servers.remove(server)
    return servers


def row(comparison: Comparison, case: Case, server: str) -> list[str]:
    runs = comparison.of(server, case)
    if not runs:
        return [comparison.labels[server], "not measured"]

    def cpu(run: Run) -> float:
        return run.cpu_us

    def rate(run: Run) -> float:
        return run.lines_per_second

    def against(ours: str, value: Callable[[Run], float]) -> str:
        if server == ours or ours not in comparison.labels:
            return ""
        found = ratio(comparison.of(ours, case), runs, value)
        return "" if found is None else str(found)

    def median(values: list[float]) -> float:
        found = spread(values)
        return found.median if found else 0.0

    busy = "*" if median([run.load_busy for run in runs]) > BUSY else " "
    return [
        comparison.labels[server],
        f"{median([cpu(run) for run in runs]):.3f}",
        against(OURS, cpu),
        against(PER_LINE, cpu),
        f"{median([rate(run) for run in runs]):,.0f}{busy}",
        against(OURS, rate),
        microseconds(median([run.latency_us["p50"] for run in runs])),
        microseconds(median([run.latency_us["p99"] for run in runs])),
        against(OURS, lambda run: run.latency_us["p99"]),
    ]


def print_comparison(comparison: Comparison) -> None:
    columns = [
        "server",
        "cpu µs/line",
        "cpu echo/this",
        "cpu FastLineR./this",
        "lines/s",
        "lines/s echo/this",
        "p50",
        "p99",
        "p99 echo/this",
    ]
    for case in comparison.cases:
        table = [columns]
        table += [row(comparison, case, server) for server in comparison.labels]
        if PER_LINE not in comparison.labels:
            table = [[*each[:3], *each[4:]] for each in table]
        print_table(str(case), table[0], table[1:])
    if any(case.size > LONGEST for case in comparison.cases):
        print(f"{OURS} has a larger --max-length for lines above {LONGEST:,} B")
    if any(run.load_busy > BUSY for run in comparison.runs):
        print("* the load generator was the limit: the server can do more")
    disturbed = sum(run.stolen > STOLEN for run in comparison.runs)
    if disturbed:
        print(
            f"{disturbed} of {len(comparison.runs)} runs were disturbed by the"
            " hypervisor, each time that they were tried: look at the spread"
        )


def what_to_measure(
    options: argparse.Namespace,
) -> tuple[list[Server], list[Case], Settings]:
    """
    @raise BadRequest: if it cannot be measured, or not here.
    """
    preset = QUICK if options.quick else COMPLETE
    if options.churn:
        if options.depths:
            raise BadRequest(
                "--churn: a connection has one line, so --depths does not go with it"
            )
        preset = {**preset, "sizes": (64,), "depths": (1,), "connections": (20,)}
    wanted = cases(
        options.sizes or preset["sizes"],
        options.depths or preset["depths"],
        options.connections or preset["connections"],
        tls=options.tls,
        churn=options.churn,
    )
    settings = Settings(
        rounds=options.rounds or preset["rounds"],
        seconds=options.seconds or preset["seconds"],
        processes=options.processes,
        processors=((), ()) if options.no_pin else split_processors(),
    )
    prepare(wanted, settings)
    return chosen(options.only, tls=options.tls), wanted, settings


@contextlib.contextmanager
def throw_away_certificate(wanted: bool) -> Iterator[str]:
    """
    @return: the folder that it is in; empty, if none is wanted.
    """
    if not wanted:
        yield ""
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            make_certificate(Path(folder))
        except MissingExtra as error:
            raise BadRequest(f"--tls: {error}") from None
        yield folder


def run(options: argparse.Namespace) -> int:
    need("compare", ["hdrh.histogram", "rich"])
    check("compare")
    servers, wanted, settings = what_to_measure(options)
    arguments.prepare_output(options.json)
    total = settings.rounds * len(wanted) * len(servers)
    print(
        f"{total} runs, about {total * (settings.seconds + OVERHEAD) / 60:.1f} min;"
        f" {len(servers)} servers, {len(wanted)} cases, {settings.rounds} rounds,"
        f" {'pinned' if settings.processors[0] else 'not pinned'}",
        file=sys.stderr,
    )
    labels = {server.name: server.label for server in servers}
    comparison = Comparison(facts(settings), labels)
    try:
        with (
            progress_bar("compare", options.progress) as show,
            throw_away_certificate(options.tls) as folder,
        ):
            settings = replace(settings, certificate=folder)
            compare(comparison, servers, wanted, settings, show)
    finally:
        # Also of a comparison that Ctrl-C has ended; but what an older one has left
        # is worth more than nothing.
        if options.json and (comparison.runs or comparison.failures):
            Path(options.json).write_text(comparison.to_json())
        print_comparison(comparison)
        for failure in comparison.failures:
            print(f"compare: {failure}", file=sys.stderr)
    return 1 if comparison.failures else 0
