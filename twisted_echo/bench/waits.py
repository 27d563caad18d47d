"""
What C{wait} has measured, as data: the longest wait of a session beside each neighbor.

Pure.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from twisted_echo.bench.turns import Pair

FORMAT = "twisted-echo wait 1"
USUAL = 50.0
TIMES = 5.0
"""
A wait is long above L{USUAL} milliseconds, and above so many times the first reactor's.
"""


@dataclass(frozen=True)
class Wait:
    """
    One session beside one neighbor on one reactor in one round.

    @ivar longest_ms: the longest wait for an echo; or, of the stop, until the process
        had ended.
    @ivar lines: how many echoes there were.
    @ivar read: how many bytes the neighbor's peer has read.
    """

    neighbor: str
    pair: str
    reactor: str
    round: int
    longest_ms: float
    lines: int
    read: int


class Longest(NamedTuple):
    """
    Of one neighbor on one reactor: milliseconds.
    """

    median: float
    worst: float


class WaitRow(NamedTuple):
    """
    One row of the result.
    """

    neighbor: str
    pair: Pair
    stock: Longest
    eager: Longest

    @property
    def allowed(self) -> float:
        """
        Milliseconds above which the eager reactor's median is long.
        """
        return max(USUAL, TIMES * self.stock.median)


@dataclass
class Waits:
    """
    The result of C{wait}.

    @ivar made: when, with what, how: facts for people.
    """

    made: dict[str, str | int | float | bool]
    pairs: Sequence[Pair]
    runs: list[Wait] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def _longest(self, neighbor: str, pair: Pair, reactor: str) -> Longest | None:
        found = [
            run.longest_ms
            for run in self.runs
            if (run.neighbor, run.pair, run.reactor) == (neighbor, str(pair), reactor)
        ]
        return Longest(statistics.median(found), max(found)) if found else None

    def rows(self, pair: Pair) -> list[WaitRow]:
        """
        All neighbors that were measured on both reactors, in order.
        """
        rows = []
        for neighbor in dict.fromkeys(run.neighbor for run in self.runs):
            stock, eager = (self._longest(neighbor, pair, each) for each in pair)
            if stock and eager:
                rows.append(WaitRow(neighbor, pair, stock, eager))
        return rows

    def to_json(self) -> str:
        rows = [
            {
                "neighbor": each.neighbor,
                "pair": str(pair),
                "stock": each.stock._asdict(),
                "eager": each.eager._asdict(),
                "allowed": each.allowed,
            }
            for pair in self.pairs
            for each in self.rows(pair)
        ]
        runs = [asdict(each) for each in self.runs]
        fields = {"made": self.made, "waits": rows, "runs": runs}
        return json.dumps(
            {"format": FORMAT, **fields, "failures": self.failures}, indent=1
        )
