"""
C{wait}: how long a busy connection makes another client wait.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twisted_echo.bench import arguments
from twisted_echo.bench.compare import Settings, facts
from twisted_echo.bench.errors import BadRequest, need
from twisted_echo.bench.machine import check, split_processors
from twisted_echo.bench.neighbors.neighbor import NEIGHBORS
from twisted_echo.bench.screen import print_markdown, print_table, progress_bar
from twisted_echo.bench.turns import present
from twisted_echo.bench.wait_runs import WaitEffort, compare_waits
from twisted_echo.bench.waits import TIMES, USUAL, Longest, WaitRow, Waits
from twisted_echo.testing.self_signed import make_certificate
from twisted_echo.validation.extras import MissingPackage

PAIRS = "epoll:eager,asyncio:eager-asyncio"
ROUNDS = 5
SECONDS = 2.0
MEGABYTES = 8000

EPILOG = f"""\
neighbors: {", ".join(NEIGHBORS)}

A session sends a line a millisecond after the one before is back, while the neighbor,
another connection to the same reactor, is as busy as its peer lets it. The table has
the longest wait of each run for a line: the median of the rounds, and the worst.

A star is for a median above {USUAL:g} ms and above {TIMES:g} times the first reactor's.

examples:
  wait --only producer,web --rounds 1
  wait --reactors uvloop:eager-uvloop --json waits.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--only",
        type=arguments.choices(NEIGHBORS),
        metavar="NAME,...",
        help="measure beside these neighbors (all)",
    )
    add(
        "--reactors",
        type=arguments.pairs,
        metavar="FIRST:SECOND,...",
        help=f"compare these reactors ({PAIRS})",
    )
    add(
        "--rounds",
        type=arguments.number(int, 1, 1000),
        default=ROUNDS,
        metavar="N",
        help=f"how often all is measured ({ROUNDS})",
    )
    add(
        "--seconds",
        type=arguments.number(float, 0.05, 600, " of seconds"),
        default=SECONDS,
        metavar="SECONDS",
        help=f"how long a neighbor is busy ({SECONDS:g})",
    )
    add(
        "--megabytes",
        type=arguments.number(int, 1, MEGABYTES, " of megabytes"),
        default=MEGABYTES,
        metavar="N",
        help=f"what its peer reads, at most ({MEGABYTES})",
    )
    add("--no-pin", action="store_true", help="pin nothing to a processor")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--json", metavar="FILE", help="write all runs to FILE")
    arguments.add_progress(parser)


def cells(row: WaitRow) -> list[str]:
    def shown(longest: Longest) -> str:
        return f"{longest.median:.3g} ({longest.worst:.3g})"

    long = "*" if row.eager.median > row.allowed else ""
    label = NEIGHBORS[row.neighbor].label
    return [label, shown(row.stock), shown(row.eager) + long]


def print_waits(waits: Waits, *, markdown: bool) -> None:
    show = print_markdown if markdown else print_table
    for pair in waits.pairs:
        if rows := waits.rows(pair):
            columns: Sequence[str] = ["beside", *pair]
            title = f"longest wait in ms, {pair.stock} and {pair.eager}: median (worst)"
            show(title, columns, [*map(cells, rows)])


def run(options: argparse.Namespace) -> int:
    need("wait", ["hdrh.histogram", "rich"])
    check("wait")
    settings = Settings(
        rounds=options.rounds,
        seconds=options.seconds,
        processors=((), ()) if options.no_pin else split_processors(),
    )
    wanted = present(options.only, list(NEIGHBORS.values()))
    pairs = present(options.reactors, arguments.pairs(PAIRS))
    arguments.prepare_output(options.json)
    waits = Waits(facts(settings), pairs)
    with tempfile.TemporaryDirectory() as folder:
        if any(each.transport == "tls" for each in wanted):
            try:
                make_certificate(Path(folder))
            except MissingPackage as error:
                raise BadRequest(f"tls: {error}") from None
        effort = WaitEffort(
            settings.seconds, options.megabytes * 10**6, settings.processors, folder
        )
        try:
            with progress_bar("wait", options.progress) as show:
                compare_waits(waits, wanted, settings.rounds, effort, show)
        finally:
            # Also of a comparison that Ctrl-C has ended.
            if options.json and (waits.runs or waits.failures):
                Path(options.json).write_text(waits.to_json())
            print_waits(waits, markdown=options.markdown)
            for failure in waits.failures:
                print(f"wait: {failure}", file=sys.stderr)
    return 1 if waits.failures else 0
