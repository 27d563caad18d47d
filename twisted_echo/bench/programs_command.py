"""
C{programs}: what kinds of Twisted programs gain on the eager reactor.
"""

import argparse
import sys
from pathlib import Path

from twisted_echo.bench import arguments
from twisted_echo.bench.compare import Settings, facts
from twisted_echo.bench.errors import need
from twisted_echo.bench.gains import Gain, Gains
from twisted_echo.bench.machine import check, split_processors
from twisted_echo.bench.metering import warn_if_disturbed
from twisted_echo.bench.program_runs import Effort, compare_programs
from twisted_echo.bench.programs.kinds import KINDS
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.screen import print_markdown, print_table, progress_bar
from twisted_echo.bench.turns import present
from twisted_echo.bench.wire import allow_files

PAIRS = "epoll:eager,asyncio:eager-asyncio,uvloop:eager-uvloop,bare-uvloop:eager-uvloop"
OVERHEAD = 1.3
"""
About the seconds that a run takes beside its time under load.
"""

COMPLETE = (10, 1.0)
QUICK = (3, 0.3)
"""
Rounds, and seconds of a run.
"""

_KINDS = "\n".join(f"  {each.name:13} {each.operation}" for each in KINDS.values())
EPILOG = f"""\
kinds, and what an operation is:
{_KINDS}
reactors: {", ".join(REACTORS)}
(bare ones are not reactors: a protocol of the loop's own that echoes chunks, beside
the kinds that echo lines)

Ratios are the second reactor's processor time over the first one's, round by round:
the median, and the interval that holds the true median with 95 %.

examples:
  programs --quick
  programs --only amp,web-writes --reactors epoll:eager --rounds 20
  programs --json gains.json --markdown > gains.md
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--quick", action="store_true", help="few rounds, short ones: some minutes")
    add(
        "--only",
        type=arguments.choices(KINDS),
        metavar="KIND,...",
        help="measure these kinds (all)",
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
        metavar="N",
        help=f"how often all is measured ({COMPLETE[0]})",
    )
    add(
        "--seconds",
        type=arguments.number(float, 0.05, 3600, " of seconds"),
        metavar="SECONDS",
        help=f"how long each run lasts ({COMPLETE[1]:g})",
    )
    add(
        "-c",
        "--connections",
        type=arguments.number(int, 1, 1000),
        default=50,
        metavar="N",
        help="connections, each with one operation at a time (50)",
    )
    add("--no-pin", action="store_true", help="pin nothing to a processor")
    add("--markdown", action="store_true", help="print the tables as Markdown")
    add("--json", metavar="FILE", help="write all runs to FILE")
    arguments.add_progress(parser)


def print_gains(gains: Gains, *, markdown: bool) -> None:
    for pair in gains.pairs:
        if rows := gains.rows(pair):
            title = f"{pair.eager} over {pair.stock}, µs of processor time an operation"
            columns = ["kind", pair.stock, pair.eager, "ratio"]
            table = [*map(cells, rows)]
            if not markdown:
                print_table(title, columns, table)
                continue
            columns[0] = "kind: an operation"
            for row, gain in zip(table, rows, strict=True):
                row[0] = f"{row[0]}: {KINDS[gain.kind].operation}"
            print_markdown(title, columns, table)
    warn_if_disturbed(gains.runs)


def cells(gain: Gain) -> list[str]:
    ratio = gain.ratio
    return [
        KINDS[gain.kind].label,
        f"{gain.stock:.1f}",
        f"{gain.eager:.1f}",
        f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})",
    ]


def run(options: argparse.Namespace) -> int:
    need("programs", ["rich"])
    check("programs")
    rounds, seconds = QUICK if options.quick else COMPLETE
    settings = Settings(
        rounds=options.rounds or rounds,
        seconds=options.seconds or seconds,
        processors=((), ()) if options.no_pin else split_processors(),
    )
    wanted = present(options.only, list(KINDS.values()))
    compared = present(options.reactors, arguments.pairs(PAIRS))
    effort = Effort(settings.seconds, options.connections, settings.processors)
    allow_files(options.connections)
    arguments.prepare_output(options.json)
    gains = Gains(facts(settings), compared)
    try:
        with progress_bar("programs", options.progress) as show:
            compare_programs(gains, wanted, settings.rounds, effort, show)
    finally:
        # Also of a comparison that Ctrl-C has ended.
        if options.json and (gains.runs or gains.failures):
            Path(options.json).write_text(gains.to_json())
        print_gains(gains, markdown=options.markdown)
        for failure in gains.failures:
            print(f"programs: {failure}", file=sys.stderr)
    return 1 if gains.failures else 0
