"""
The help of the command line: the options in groups, with examples.
"""

import shutil
import textwrap
from collections.abc import Callable

from twisted.python.usage import Options

from twisted_echo.command.options.environment import variableOf
from twisted_echo.command.options.option import Option
from twisted_echo.command.options.option_parsers import (
    delimiter,
    endpoint,
    keepAlive,
    network,
    number,
    sessions,
    wholeNumber,
    workers,
)
from twisted_echo.command.options.option_table import OPTIONS
from twisted_echo.validation.units import parse_duration, parse_size

__all__ = ["GROUPS", "PURPOSE", "UNITS", "groupedUsage", "placeholder"]

PURPOSE = (
    "Sends every line, or frame, back to the client that it came from. SIGTERM and"
    " SIGINT stop it in order: no new connections, an answer to every line that was"
    " received, end-of-file for every client."
)

GROUPS = (
    (
        "Where to listen",
        ("listen", "proxy-from"),
        "--listen tcp:7007 --listen unix:/run/echo.sock",
    ),
    (
        "What is sent back",
        ("framing", "delimiter", "max-length"),
        "--framing int16 --max-length 1K",
    ),
    (
        "Limits",
        ("max-sessions", "max-sessions-per-peer", "when-full", "max-buffered"),
        "--max-sessions 1000 --when-full refuse --max-buffered 64M",
    ),
    (
        "Timeouts",
        (
            *("idle-timeout", "line-timeout", "write-timeout"),
            *("handshake-timeout", "keepalive"),
        ),
        "--idle-timeout 1h --line-timeout 1m30s",
    ),
    (
        "Stop",
        ("notice", "drain", "abort-after"),
        "--admin 9100 --notice 5s --drain 1m",
    ),
    (
        "Watching",
        ("admin", "log-sessions", "log-sample"),
        "--admin 9100 --log-sessions all --log-sample 0.01",
    ),
    ("Processes", ("workers",), "--workers 4"),
    ("Help", ("version", "help"), "--version"),
)
"""
A title, the options, and an example, of each group.
"""

UNITS = (
    "Durations take units: 500ms, 1.5s, 5m, 1h30m, 2d; a plain number is seconds."
    " Sizes do, too: 64K, 256M, 1G, powers of 1024; a plain number is bytes."
)
_ENVIRONMENT = (
    f"An environment variable gives an option, too: {variableOf('max-sessions')}=1000."
    " Several values have spaces between them. An option on the command line replaces"
    " the variable's whole value."
)
_DEFAULTS = {each.name: each.default for each in OPTIONS}
_WIDEST = 100
_PLACEHOLDERS: dict[Callable[[str], object], str] = {
    endpoint: "ENDPOINT",
    network: "NETWORK",
    delimiter: "BYTES",
    parse_size: "SIZE",
    parse_duration: "DURATION",
    keepAlive: "IDLE[,INTERVAL[,COUNT]]",
    sessions: "NUMBER",
    wholeNumber: "NUMBER",
    workers: "NUMBER",
    number: "NUMBER",
}


def groupedUsage(options: Options, purpose: str, width: int | None = None) -> str:
    """
    Write the help for some C{usage.Options}.

    @param purpose: what the command does.
    @param width: in columns; as wide as the terminal, if None.
    """
    width = min(width or shutil.get_terminal_size().columns or 80, _WIDEST)
    shorts = {
        long: short for short, long in options.synonyms.items() if len(short) == 1
    }
    # With an equals sign where they take a value.
    names = {each.rstrip("="): each for each in options.longOpt}
    column = max(map(len, names.values())) + len("  -s, --  ")
    parts = ["\n".join(textwrap.wrap(purpose, width))]
    for title, group, example in GROUPS:
        lines = [f"{title}:"]
        for name in group:
            short = f"-{shorts[name]}, " if name in shorts else " " * 4
            first = f"  {short}--{names[name]}".ljust(column)
            lines += textwrap.wrap(
                _textOf(options, name),
                width,
                initial_indent=first,
                subsequent_indent=" " * column,
                break_on_hyphens=False,
            )
        lines.append(f"  Example: echo {example}")
        parts.append("\n".join(lines))
    parts += ["\n".join(textwrap.wrap(each, width)) for each in (UNITS, _ENVIRONMENT)]
    return "\n" + "\n\n".join(parts) + "\n"


def _textOf(options: Options, name: str) -> str:
    text = " ".join(options.docs[name].split())
    default = _DEFAULTS.get(name)
    return f"{text} [default: {default}]" if default else text


def placeholder(option: Option) -> str:
    """
    Say what stands for the value of an option, such as C{DURATION} or C{wait|refuse}.
    """
    if option.choices is not None:
        return "|".join(each.value for each in option.choices)
    return _PLACEHOLDERS[option.parse]
