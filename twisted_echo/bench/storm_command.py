"""
C{storm}: how long the lines of an open session take while others come and go.
"""

import argparse
import json
from dataclasses import asdict, replace

from twisted_echo.bench import arguments
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.screen import microseconds, print_table, progress_bar
from twisted_echo.bench.storm import Phase, run_storm, storm_plan

SHOWN = ("p50", "p99", "max")

EPILOG = """\
One session sends a line of 64 bytes a millisecond after the one before is back: first
alone; then while all connections are made at once, each with its handshake (over TLS),
a line and its end; then while each of them is followed by the next, for --duration.

A server of two ports shows a session in the clear beside a storm of handshakes, too:

  storm 127.0.0.1:7007
  storm tls:127.0.0.1:7008 --insecure
  storm tls:127.0.0.1:7008 --insecure --beside 127.0.0.1:7007

Pin the server to a processor and this to another, and give the port a backlog of as
many connections (backlog=500); else the kernel is what is measured.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "target",
        type=arguments.target,
        metavar="TARGET",
        help="where the connections go: HOST:PORT, tcp:HOST:PORT, tls:HOST:PORT or"
        " unix:PATH",
    )
    add(
        "--beside",
        type=arguments.target,
        metavar="TARGET",
        help="where the open session is: HOST:PORT, tcp:HOST:PORT, tls:HOST:PORT or"
        " unix:PATH (where the connections go)",
    )
    add(
        "-c",
        "--connections",
        type=arguments.connections,
        default=500,
        metavar="N",
        help="connections at the same time (500)",
    )
    add(
        "-t",
        "--duration",
        type=arguments.seconds,
        default=2.0,
        metavar="SECONDS",
        help="how long the session is alone, and how long the storm lasts (2)",
    )
    arguments.add_trust(parser)
    add("--json", action="store_true", help="print JSON instead of a table")
    arguments.add_shared(parser)


def print_phases(title: str, phases: list[Phase]) -> None:
    rows = [
        [
            each.name,
            f"{each.seconds:.3g}",
            f"{each.connections:,}",
            f"{each.connections / each.seconds:,.0f}",
            f"{each.lines:,}",
            *(microseconds(each.latency_us.get(name)) for name in SHOWN),
        ]
        for each in phases
    ]
    columns = ["connections", "seconds", "made", "made/s", "lines", *SHOWN]
    print_table(title, columns, rows)


def run(options: argparse.Namespace) -> int:
    need("storm", ["hdrh.histogram", "rich"])
    ends = (options.target, options.beside or options.target)
    if not any(each.tls for each in ends) and (options.ca or options.insecure):
        raise BadRequest(
            "--ca and --insecure are for TLS: a target must be tls:HOST:PORT"
        )
    target, beside = (
        replace(each, ca=options.ca, insecure=options.insecure) for each in ends
    )
    plan = storm_plan(target, options.connections, options.duration)
    plan.shares(options.processes)
    phases: list[Phase] = []
    with progress_bar("storm", options.progress) as show:

        def tell(phase: Phase) -> None:
            phases.append(phase)
            show(len(phases) / 3, phase.name)

        run_storm(plan, beside, options.processes, tell)
    if options.json:
        print(json.dumps([asdict(each) for each in phases], indent=2))
    else:
        kind = " over TLS" if beside.tls else ""
        print_phases(
            f"a session{kind} with {beside} beside {options.connections:,} connections"
            f" to {target}",
            phases,
        )
    return 0
