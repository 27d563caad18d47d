"""
What C{programs} has measured, as data: runs, and the gain of each kind of program on
one reactor over another.

Pure. A ratio is taken round by round, the second reactor's time over the first one's;
then come their median and its interval.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from twisted_echo.bench.spreads import Spread, median_interval, paired_ratios
from twisted_echo.bench.turns import Pair

FORMAT = "twisted-echo programs 1"


@dataclass(frozen=True)
class ProgramRun:
    """
    One kind of program on one reactor in one round.

    @ivar pair: the comparison that it is part of.
    @ivar cpu_us: the server's processor time per operation, in microseconds.
    @ivar stolen: the share of a processor that the hypervisor took meanwhile.
    @ivar tries: how often it was measured, this being the least disturbed time.
    """

    kind: str
    pair: str
    reactor: str
    round: int
    cpu_us: float
    operations: int
    stolen: float
    tries: int = 1


class Gain(NamedTuple):
    """
    One row of the result.

    @ivar stock: microseconds per operation, the median; so is C{eager}.
    @ivar ratio: eager over stock: the median of the rounds, and its interval.
    """

    kind: str
    pair: Pair
    stock: float
    eager: float
    ratio: Spread


@dataclass
class Gains:
    """
    The result of C{programs}.

    @ivar made: when, with what, how: facts for people.
    @ivar pairs: the reactors that are compared.
    """

    made: dict[str, str | int | float | bool]
    pairs: Sequence[Pair]
    runs: list[ProgramRun] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def of(self, kind: str, pair: Pair) -> Gain | None:
        """
        What one kind gains, of the rounds that both reactors have.
        """
        times: list[dict[int, float]] = [
            {
                run.round: run.cpu_us
                for run in self.runs
                if (run.kind, run.pair, run.reactor) == (kind, str(pair), reactor)
            }
            for reactor in pair
        ]
        stock, eager = times
        ratios = paired_ratios(eager, stock)
        if not ratios:
            return None
        return Gain(
            kind,
            pair,
            statistics.median(stock.values()),
            statistics.median(eager.values()),
            median_interval(ratios),
        )

    def rows(self, pair: Pair) -> list[Gain]:
        """
        All kinds that were measured on a pair of reactors, in order.
        """
        kinds = dict.fromkeys(run.kind for run in self.runs)
        return [gain for kind in kinds if (gain := self.of(kind, pair))]

    def to_json(self) -> str:
        gains = [
            each._asdict() | {"pair": str(pair), "ratio": each.ratio._asdict()}
            for pair in self.pairs
            for each in self.rows(pair)
        ]
        return json.dumps(
            {
                "format": FORMAT,
                "made": self.made,
                "gains": gains,
                "runs": [asdict(each) for each in self.runs],
                "failures": self.failures,
            },
            indent=1,
        )
