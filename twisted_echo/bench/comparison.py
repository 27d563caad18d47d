"""
What C{compare} has measured, as data: cases, runs, what failed, and the ratios.

Pure. A ratio is taken round by round, ours over theirs; then come the median of the
rounds and its interval.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from twisted_echo.bench.cases import Case, servers_of
from twisted_echo.bench.errors import BadRequest
from twisted_echo.bench.latency import PERCENTILES
from twisted_echo.bench.spreads import Spread, median_interval, paired_ratios

FORMAT = "twisted-echo compare 2"

Facts = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Run:
    """
    One server under one case in one round.

    @ivar case: its name.
    @ivar lines: how many came back.
    @ivar cpu_us: the server's processor time per line, in microseconds; per connection,
        of a churn.
    @ivar latency_us: percentiles, by name, if lines were due at a rate; else empty.
    @ivar stolen: the share of a processor that the hypervisor took meanwhile.
    @ivar tries: how often it was measured, this being the least disturbed time.
    """

    server: str
    case: str
    round: int
    lines: int
    cpu_us: float
    latency_us: dict[str, float]
    stolen: float
    tries: int = 1


class Failed(NamedTuple):
    """
    A server that was not measured under a case, or not in all rounds.
    """

    server: str
    case: str
    why: str


@dataclass
class Comparison:
    """
    The result of C{compare}.

    @ivar made: when, with what, how: facts for people.
    @ivar labels: the servers' names for people, by name, in order.
    @ivar missing: why a server could not be measured at all, by name.
    """

    made: Facts
    labels: dict[str, str]
    cases: list[Case]
    missing: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    failures: list[Failed] = field(default_factory=list)

    def of(self, server: str, case: Case) -> list[Run]:
        return [
            each
            for each in self.runs
            if (each.server, each.case) == (server, case.name)
        ]

    def has_failed(self, server: str, case: Case) -> bool:
        return any(each[:2] == (server, case.name) for each in self.failures)

    def servers(self, case: Case) -> list[str]:
        """
        The servers that a case is for, missing ones included, ours first.
        """
        return [each for each in servers_of(case) if each in self.labels]

    def cpu(self, server: str, case: Case) -> Spread | None:
        """
        Processor time per line, over the rounds; None, if there is none.
        """
        found = [each.cpu_us for each in self.of(server, case)]
        return median_interval(found) if found else None

    def latency(self, server: str, case: Case, name: str) -> Spread | None:
        """
        One of the percentiles, over the rounds; None, if there is none.
        """
        found = [
            each.latency_us[name] for each in self.of(server, case) if each.latency_us
        ]
        return median_interval(found) if found else None

    def ratio(self, server: str, case: Case) -> Spread | None:
        """
        Our processor time over a server's, of the rounds that both have; None, if
        there are none.
        """

        def by_round(name: str) -> dict[int, float]:
            return {each.round: each.cpu_us for each in self.of(name, case)}

        found = paired_ratios(by_round(servers_of(case)[0]), by_round(server))
        return median_interval(found) if found else None

    def to_json(self) -> str:
        """
        One line for each run, so that a program can read it, and a person too.
        """
        fields: dict[str, Any] = {"format": FORMAT, **vars(self)}
        fields["cases"] = [each._asdict() for each in self.cases]
        fields["failures"] = [each._asdict() for each in self.failures]
        runs = ",\n  ".join(json.dumps(asdict(each)) for each in fields.pop("runs"))
        head = json.dumps(fields, indent=1).removesuffix("\n}")
        return f'{head},\n "runs": [\n  {runs}\n ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """
        Read what L{to_json} has written.

        @raise BadRequest: if C{compare} did not write this.
        """
        wrong = "is not what compare --json writes"
        try:
            fields = json.loads(text)
            if fields.pop("format") != FORMAT:
                raise BadRequest(f"{wrong}: its format must be {FORMAT!r}")
            for name, kind in (("cases", Case), ("runs", Run), ("failures", Failed)):
                fields[name] = [kind(**each) for each in fields[name]]
            comparison = cls(**fields)
            comparison._check()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BadRequest(f"{wrong}: {error!r}") from None
        return comparison

    def _check(self) -> None:
        """
        Check a result that was read from a file.

        @raise ValueError: naming what is not of its kind.
        """
        for name in ("made", "labels", "missing"):
            _require(name, isinstance(vars(self)[name], dict))
        _require("made", self.made.keys() >= _FACTS)
        for name in ("labels", "missing"):
            words = vars(self)[name].values()
            _require(name, all(isinstance(each, str) for each in words))
        for case in self.cases:
            _require("name", isinstance(case.name, str))
            _check_numbers(case._asdict(), "connections", "size", "depth")
            _check_numbers(case._asdict(), "rate", "churn", "tls", may_be_zero=True)
        names = {case.name for case in self.cases}
        for run in self.runs:
            _require("server", run.server in self.labels)
            _require("case", run.case in names)
            _check_numbers(vars(run), "round", "lines", "cpu_us", "tries")
            _check_numbers(vars(run), "stolen", may_be_zero=True)
            if run.latency_us != {}:
                _check_numbers(run.latency_us, *PERCENTILES)


_TOO_LARGE = 1e15
_FACTS = {"date", "python", "twisted", "rounds", "seconds", "implementation"}


def _require(name: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} is wrong or missing")


def _check_numbers(
    fields: dict[str, Any], *names: str, may_be_zero: bool = False
) -> None:
    for name in names:
        value = fields.get(name)
        if not isinstance(value, int | float):
            raise ValueError(f"{name} is not a number")
        _require(name, (0 < value < _TOO_LARGE) or (may_be_zero and value == 0))
