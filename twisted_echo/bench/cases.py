"""
What C{compare} measures: cases, by name, and which servers each is for.

Pure.
"""

import re
from typing import NamedTuple

from twisted_echo.bench.load_lines import SHORTEST

__all__ = ["BY_LINE", "CASES", "QUICK", "Case", "parse_case", "servers_of"]

BY_LINE = "by-line"
STEADY = "steady"

LONGEST = 65_536
"""
The most bytes of a line, and the most that a connection has in flight: what is above
measures the socket buffers.
"""

MOST_CONNECTIONS = 20_000


class Case(NamedTuple):
    """
    One kind of load that C{compare} puts on servers.

    @ivar size: bytes of a line, delimiter included.
    @ivar depth: lines in flight per connection.
    @ivar rate: lines a second of all connections together, due whatever the server
        does; 0 for volleys, as fast as it can.
    @ivar churn: whether each line has a connection of its own.
    """

    name: str
    connections: int
    size: int
    depth: int = 1
    rate: int = 0
    churn: bool = False
    tls: bool = False

    @property
    def unit(self) -> str:
        """
        What the processor time is divided by: a line or a connection.
        """
        return "connection" if self.churn else "line"

    def __str__(self) -> str:
        load = f"{self.depth} in flight"
        if self.churn:
            load = "one line each"
        elif self.rate:
            load = f"{self.rate:,} lines a second"
        return (
            f"{self.name}: {self.connections:,} connections{' over TLS' * self.tls},"
            f" {self.size:,} B a line, {load}"
        )


CASES = {
    case.name: case
    for case in (
        Case("ping-pong", 50, 64),
        Case("pipelined", 50, 64, 64),
        Case(BY_LINE, 50, 64, 64),
        Case("many", 2000, 64),
        Case("large", 10, 8192, 8),
        Case("churn", 20, 64, churn=True),
        Case(STEADY, 50, 64, rate=5000),
    )
}
QUICK = ("ping-pong", "pipelined", BY_LINE)

_WIDE = (
    "echo",
    "echo-pure",
    "line-receiver",
    "line-only-receiver",
    "asyncio-raw",
    "uvloop-raw",
    "uvloop-lines",
    "rloop-raw",
    "aiofastnet-raw",
)
_LINE_BY_LINE = (
    "fast-lines",
    "fast-line-lists",
    "answering-lines",
    "line-receiver",
    "line-only-receiver",
    "asyncio-lines",
    "asyncio-streams",
    "uvloop-lines",
    "uvloop-streams",
    "rloop-lines",
)


def servers_of(case: Case) -> tuple[str, ...]:
    """
    The names of the servers that a case is for. Ours is the first, and ratios are those
    of its figures.
    """
    return _LINE_BY_LINE if case.name == BY_LINE else _WIDE


def parse_case(text: str) -> Case:
    """
    Read the name of a case, or one of the user's own: C{1000x64x1} is for 1,000
    connections, lines of 64 bytes, and one in flight.

    @raise ValueError: saying what was given and what is allowed.
    """
    if text in CASES:
        return CASES[text]
    numbers = re.fullmatch(r"(\d{1,9})x(\d{1,9})x(\d{1,9})", text, re.ASCII)
    if numbers is None:
        raise ValueError(
            f"each must be of {', '.join(CASES)}, or CONNECTIONSxBYTESxDEPTH such as"
            f" 1000x64x1; got {text!r}"
        )
    connections, size, depth = map(int, numbers.groups())
    shortest = SHORTEST + 1
    if not 1 <= connections <= MOST_CONNECTIONS:
        raise ValueError(
            f"connections must be from 1 to {MOST_CONNECTIONS:,}, got {text!r}"
        )
    if not shortest <= size <= LONGEST:
        raise ValueError(
            f"bytes of a line must be from {shortest} to {LONGEST:,}, got {text!r}"
        )
    if not 1 <= depth <= LONGEST // size:
        raise ValueError(
            f"lines in flight must be from 1 to {LONGEST // size:,}, which are"
            f" {LONGEST:,} bytes; got {text!r}"
        )
    return Case(text, connections, size, depth)
