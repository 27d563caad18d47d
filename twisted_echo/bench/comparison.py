"""
What C{compare} has measured, as data: cases, runs, and the ratios between them.

Pure. A ratio is taken round by round, ours over theirs, so that what slows the
whole machine for a while slows both sides of it; then come the median of the
rounds, and the least and the most.
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.plan import IN_FLIGHT

FORMAT = "twisted-echo compare 1"
USUAL_SIZE = 64


class Case(NamedTuple):
    """
    @ivar churn: whether each line has a connection of its own.
    """

    connections: int
    size: int
    depth: int
    tls: bool = False
    churn: bool = False

    def __str__(self) -> str:
        return (
            f"{self.connections:,} connections{' over TLS' * self.tls},"
            f" {self.size:,} B a line,"
            f" {'one line each' if self.churn else f'{self.depth} in flight'}"
        )


def cases(
    sizes: Sequence[int],
    depths: Sequence[int],
    connections: Sequence[int],
    *,
    tls: bool = False,
    churn: bool = False,
) -> list[Case]:
    """
    Every size with every depth on the first number of connections, and lines of
    about 64 bytes on the other numbers. Long lines are fewer in flight.
    """
    first, *others = connections
    wanted = [(first, size, depth) for size in sizes for depth in depths]
    usual = min(sizes, key=lambda size: abs(size - USUAL_SIZE))
    wanted += [(many, usual, depth) for many in others for depth in depths]
    return list(
        dict.fromkeys(
            Case(many, size, max(1, min(depth, IN_FLIGHT // size)), tls, churn)
            for many, size, depth in wanted
        )
    )


@dataclass(frozen=True)
class Run:
    """
    One server under one case in one round.

    @ivar cpu_us: the server's processor time per line, in microseconds.
    @ivar latency_us: percentiles, by name.
    @ivar load_busy: the share of a processor that the busiest load process took.
    @ivar stolen: the share of a processor that the hypervisor took meanwhile.
    @ivar tries: how often it was measured, this being the least disturbed time.
    """

    server: str
    case: Case
    round: int
    lines_per_second: float
    cpu_us: float
    latency_us: dict[str, float]
    load_busy: float
    stolen: float
    tries: int


@dataclass
class Comparison:
    """
    @ivar made: when, with what, how: facts for people.
    @ivar labels: the servers' names for people, by name, in order.
    """

    made: dict[str, str | int | float | bool]
    labels: dict[str, str]
    runs: list[Run] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def cases(self) -> list[Case]:
        return list(dict.fromkeys(run.case for run in self.runs))

    def of(self, server: str, case: Case) -> list[Run]:
        return [run for run in self.runs if (run.server, run.case) == (server, case)]

    def to_json(self) -> str:
        runs = [asdict(run) | run.case._asdict() for run in self.runs]
        for run in runs:
            del run["case"]
        return json.dumps({"format": FORMAT, **vars(self), "runs": runs}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """
        @raise BadRequest: if C{compare} did not write this.
        """
        wrong = "is not what compare --json writes"
        try:
            fields = json.loads(text)
            if fields.pop("format") != FORMAT:
                raise BadRequest(f"{wrong}: its format must be {FORMAT!r}")
            fields["runs"] = [Run(case=_case(run), **run) for run in fields["runs"]]
            comparison = cls(**fields)
            comparison._check()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadRequest(f"{wrong}: {error!r}") from None
        return comparison

    def _check(self) -> None:
        """
        @raise ValueError: naming what is not of its kind.
        """
        labels = self.labels
        _require("made", isinstance(self.made, dict))
        _require("labels", isinstance(labels, dict))
        _require("labels", all(isinstance(each, str) for each in labels.values()))
        for run in self.runs:
            _require("server", run.server in labels)
            _require("latency_us", run.latency_us.keys() == PERCENTILES.keys())
            numbers = {**run.case._asdict(), **vars(run), **run.latency_us}
            for name in numbers.keys() - {"case", "server", "latency_us"}:
                value = numbers[name]
                _require(name, isinstance(value, (int, float)) and value < _TOO_LARGE)
                _require(name, value > 0 or (value == 0 and name in _MAY_BE_ZERO))


def _case(run: dict[str, Any]) -> Case:
    """
    Take a run's case out of its fields. TLS and churn came later than the format.
    """
    return Case(**{each: run.pop(each) for each in Case._fields if each in run})


_MAY_BE_ZERO = ("load_busy", "stolen", "tls", "churn")
_TOO_LARGE = 1e15


def _require(name: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} is wrong or missing")


class Spread(NamedTuple):
    """
    The median of some rounds, the least and the most.
    """

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.median:.3g}"
        return f"{self.median:.3g} ({self.least:.3g}-{self.most:.3g})"


def spread(values: Iterable[float]) -> Spread | None:
    found = sorted(values)
    if not found:
        return None
    return Spread(statistics.median(found), found[0], found[-1])


def ratio(
    ours: Sequence[Run], theirs: Sequence[Run], value: Callable[[Run], float]
) -> Spread | None:
    """
    Ours over theirs, of the rounds that both have.
    """
    other = {run.round: value(run) for run in theirs}
    return spread(
        value(run) / other[run.round] for run in ours if other.get(run.round, 0) > 0
    )
