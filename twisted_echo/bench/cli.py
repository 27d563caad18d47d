"""
The command line of C{python -m twisted_echo.bench}: one tree of commands.

Exit status: 0 done; 1 a server broke a line or a connection; 2 the command cannot
be carried out as it was given; 128 and more: a signal ended it.
"""

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from twisted_echo.bench import (
    compare_command,
    load_command,
    plot,
    programs_command,
    split,
    storm_command,
    tables_command,
    wait_command,
)
from twisted_echo.bench.errors import BenchError
from twisted_echo.validation.extras import install_extra

PROGRAM = "python -m twisted_echo.bench"
COMMANDS: dict[str, tuple[ModuleType, str]] = {
    "load": (load_command, "put load on any echo server, checking every byte"),
    "compare": (compare_command, "measure this service beside others, in one run"),
    "storm": (storm_command, "measure an open session beside a storm of connections"),
    "programs": (programs_command, "measure kinds of Twisted programs on two reactors"),
    "wait": (wait_command, "measure how long a busy connection makes others wait"),
    "plot": (plot, "draw what compare has measured"),
    "tables": (tables_command, "write the tables of what compare has measured"),
    "split": (split, "measure what splitting lines costs, without I/O"),
}


def build_parser() -> argparse.ArgumentParser:
    names = ", ".join(COMMANDS)
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Benchmarks of servers. COMMAND is one of: {names}.",
        epilog="COMMAND --help tells more. All but split and tables need the extra"
        f" 'bench': {install_extra('bench')}",
    )
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=getattr(module, "EPILOG", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run, name=name)
    return parser


def main(arguments: Sequence[str]) -> int:
    """
    Run a command.

    @return: the exit status.
    """
    parser = build_parser()
    if not arguments:
        parser.print_help()
        return 0
    if not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        names = ", ".join(COMMANDS)
        parser.error(f"unknown command: {arguments[0]}; it must be one of: {names}")
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except BenchError as error:
        print(f"{PROGRAM} {options.name}: {error}", file=sys.stderr)
        return error.status
    return status
