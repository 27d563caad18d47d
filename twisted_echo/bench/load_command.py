"""
C{load}: put load on any echo server, check every byte, and report how it did.
"""

import argparse
import json
import sys
import time
from dataclasses import replace

from twisted_echo.bench import arguments
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.load import run_load
from twisted_echo.bench.load_processes import run_processes
from twisted_echo.bench.plan import DELIMITERS, Plan
from twisted_echo.bench.result import BUSY, Part, Result, Summary
from twisted_echo.bench.screen import microseconds, print_table, progress_bar

MOST_TOLD = 3
"""
Failures that standard error shows; C{--json} has all.
"""

SHORTEST = 0.1
"""
Seconds below which neither a rate nor how busy the load was says anything.
"""

EPILOG = """\
closed loop (the default): each connection sends --depth lines, waits until all of
them are back, and sends the next; the server sets the pace.
churn (--churn): a line's latency counts from when its connection began to connect.
open loop (--rate): lines are due at a fixed rate, and a line's latency counts from
when it was due, not from when it could be sent: a stall is seen in full.

exit status: 0 every line came back as it was sent; 1 a byte was wrong or a
connection broke (standard error says which and how); 2 the command is wrong.

examples:
  load 127.0.0.1:7007
  load 127.0.0.1:7007 --connections 100 --sizes 16,64,1024 --depth 64
  load tls:localhost:7007 --insecure --rate 5000 --duration 30 --json
  load tls:localhost:7007 --insecure --churn
  load unix:/run/echo.sock --count 1000000 --depth 128 --processes 2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _add_lines(parser)
    _add_times(parser)
    _add_connection(parser)
    arguments.add_trust(parser)
    parser.add_argument(
        "--json", action="store_true", help="print JSON instead of a table"
    )
    arguments.add_shared(parser)


def _add_lines(parser: argparse.ArgumentParser) -> None:
    """
    Where the lines go, and how many at once.
    """
    add = parser.add_argument
    add(
        "target",
        type=arguments.target,
        metavar="TARGET",
        help="HOST:PORT, tcp:HOST:PORT, tls:HOST:PORT or unix:PATH",
    )
    add(
        "-c",
        "--connections",
        type=arguments.connections,
        default=50,
        metavar="N",
        help="connections, all made before the first line is sent (50)",
    )
    add(
        "-s",
        "--sizes",
        type=arguments.sizes,
        default=(64,),
        metavar="BYTES,...",
        help="bytes of a line, delimiter included; the connections take turns at the"
        " sizes (64)",
    )
    add(
        "-d",
        "--depth",
        type=arguments.depth,
        metavar="N",
        help="lines in flight per connection (1; with --rate, 256 KiB of them)",
    )


def _add_times(parser: argparse.ArgumentParser) -> None:
    """
    How long the load lasts, and how fast it comes.
    """
    add = parser.add_argument
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "-t",
        "--duration",
        type=arguments.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long lines are sent (10)",
    )
    length.add_argument(
        "-n",
        "--count",
        type=arguments.number(int, 1, 10**12, " of lines"),
        metavar="LINES",
        help="send so many lines instead, all connections together",
    )
    add(
        "-r",
        "--rate",
        type=arguments.number(float, 0.1, 1e7, " of lines a second"),
        metavar="LINES",
        help="open loop: lines a second, all connections together",
    )
    add(
        "--warm-up",
        type=arguments.number(float, 0, 3600, " of seconds"),
        default=0.0,
        metavar="SECONDS",
        help="check the lines of the first SECONDS, but do not count them (0)",
    )
    add(
        "--timeout",
        type=arguments.seconds,
        default=10.0,
        metavar="SECONDS",
        help="give up when nothing comes back for so long (10)",
    )


def _add_connection(parser: argparse.ArgumentParser) -> None:
    """
    What a connection is.
    """
    add = parser.add_argument
    add(
        "--delimiter",
        choices=DELIMITERS,
        default="lf",
        help="what ends a line (lf)",
    )
    add(
        "--churn",
        action="store_true",
        help="a connection for each line: connect, one line there and back, close, as"
        " often as time allows, in each of --connections places",
    )
    add("--tls", action="store_true", help="speak TLS; the same as tls:HOST:PORT")


def plan_of(options: argparse.Namespace) -> Plan:
    target = options.target
    tls = target.tls or options.tls
    if tls and target.path:
        raise BadRequest(f"--tls: TLS goes over TCP only, got {target}")
    if not tls and (options.ca or options.insecure):
        raise BadRequest("--ca and --insecure are for TLS: add --tls")
    return Plan(
        target=replace(target, tls=tls, ca=options.ca, insecure=options.insecure),
        connections=options.connections,
        sizes=options.sizes,
        depth=options.depth,
        duration=options.duration,
        count=options.count,
        rate=options.rate,
        warm_up=options.warm_up,
        churn=options.churn,
        timeout=options.timeout,
        delimiter=options.delimiter,
    )


def describe(plan: Plan, processes: int) -> dict[str, object]:
    """
    What was done, for C{--json}.
    """
    return {
        "target": str(plan.target),
        "tls": plan.target.tls,
        "loop": "closed" if plan.rate is None else "open",
        "churn": plan.churn,
        "rate": plan.rate,
        "depth": plan.depth or (1 if plan.rate is None else None),
        "connections": plan.connections,
        "processes": processes,
    }


def print_result(plan: Plan, summary: Summary) -> None:
    is_short = summary["seconds"] < SHORTEST

    def row(name: str, part: Part) -> list[str]:
        times = [microseconds(part["latency_us"].get(each)) for each in PERCENTILES]
        rate = "-" if is_short else f"{part['lines_per_second']:,.0f}"
        return [name, f"{part['lines']:,}", rate, *times]

    sizes = summary["sizes"]
    rows = [row(f"{size} B", part) for size, part in sizes.items()]
    if len(rows) > 1:
        rows.append(row("all", summary))
    loop = "one line each" if plan.churn else f"closed loop, {plan.batch} in flight"
    if plan.rate is not None:
        loop = f"open loop, {plan.rate:,g} lines/s"
    speed = f", {summary['megabytes_per_second']:,.1f} MB/s"
    print_table(
        f"{plan.target}: {plan.connections} connections, {loop},"
        f" {summary['seconds']:.3g} s{'' if is_short else speed}",
        ["line", "lines", "lines/s", *PERCENTILES],
        rows,
    )
    if summary["unsent"]:
        print(
            f"{summary['unsent']:,} more lines were due, but not sent when time was up:"
            " latencies hold how late they were by then."
        )
    if is_short:
        print(f"Below {SHORTEST:g} s there is no rate to report.")
    else:
        print_bottleneck(plan, summary)


def print_bottleneck(plan: Plan, summary: Summary) -> None:
    """
    Say so if the load generator may have been slower than the server.
    """
    rate = summary["lines_per_second"]
    if plan.rate is not None and rate < 0.98 * plan.rate:
        print(
            f"The rate was not reached: {rate:,.0f} of {plan.rate:,g} lines/s. The"
            " server or the load generator was too slow; see --processes."
        )
    elif plan.rate is None and summary["load_busy"] > BUSY:
        print(
            "The load generator was busy all the time: the server may be faster than"
            " this shows; see --processes."
        )


def run(options: argparse.Namespace) -> int:
    need("load", ["hdrh.histogram", "rich"])
    plan = plan_of(options)
    processes = options.processes
    plan.shares(processes)
    began = time.monotonic()
    count = plan.count
    with progress_bar("load", options.progress) as show:

        def progress(lines: int) -> None:
            if count:
                show(lines / count, f"{lines:,} of {count:,} lines")
            else:
                share = (time.monotonic() - began) / plan.duration
                show(share, f"{lines:,} lines")

        result: Result
        if processes == 1:
            result = run_load(plan, progress=progress)
        else:
            result = run_processes(plan, processes, progress=progress)
    summary = result.summary()
    if options.json:
        print(json.dumps({**describe(plan, processes), **summary}, indent=2))
    elif summary["lines"] or summary["unsent"]:
        print_result(plan, summary)
    if not summary["lines"] and not result.failures:
        print(
            f"load: no line was counted: all {result.lines:,} belonged to the"
            f" {plan.warm_up:g} s of --warm-up",
            file=sys.stderr,
        )
    for failure in result.failures[:MOST_TOLD]:
        print(f"load: {failure}", file=sys.stderr)
    if len(result.failures) > MOST_TOLD:
        more = len(result.failures) - MOST_TOLD
        print(f"load: and {more} other connections failed", file=sys.stderr)
    return 1 if result.failures else 0
