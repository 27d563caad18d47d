"""
The comparison of one suite on a stock and on an eager reactor.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.compatibility.comparison import (
    Difference,
    Verdict,
    differing,
    passed_alike,
    repeated,
)
from tests.compatibility.expected import Expected, reason_of, unmatched
from tests.compatibility.in_suite.stand_ins import REACTORS
from tests.compatibility.outcomes import NOT_ENDED, Run
from tests.compatibility.running import Runner

__all__ = ["PAIRS", "Comparison", "Pair", "compare", "faults", "read_pair"]


class Pair(NamedTuple):
    """
    Two reactors, by their names for C{--reactor}.
    """

    stock: str
    eager: str

    def __str__(self) -> str:
        return ":".join(self)


PAIRS = (Pair("epoll", "eager"), Pair("asyncio", "eager-asyncio"))


def read_pair(text: str) -> Pair:
    """
    Read such as C{"epoll:eager"}. A stock reactor against itself shows what varies.

    @raise ValueError: if it is no pair of reactors of one family.
    """
    stock, _, eager = text.partition(":")
    families = {name: each.stock for name, each in REACTORS.items()}
    if stock not in families.values() or families.get(eager) != stock:
        allowed = ", ".join(f"{family}:{name}" for name, family in families.items())
        raise ValueError(f"{text!r} is none of the pairs of reactors: {allowed}")
    return Pair(stock, eager)


@dataclass
class Comparison:
    """
    What came of one suite on one pair of reactors.

    @ivar problems: why the runs do not say what they should.
    """

    package: str
    version: str
    twisted: str
    pair: Pair
    stock: Run
    eager: Run
    differences: list[Difference] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def reason(self, difference: Difference) -> str | None:
        """
        Why it is known to be different, or C{None}.
        """
        return reason_of(self.package, self.pair.eager, difference.test)

    @property
    def passed(self) -> int:
        return passed_alike(self.stock.outcomes, self.eager.outcomes)

    @property
    def tests(self) -> int:
        return len({*self.stock.outcomes, *self.eager.outcomes})

    def of(self, verdict: Verdict) -> list[Difference]:
        return [each for each in self.differences if each.verdict is verdict]

    @property
    def unexpected(self) -> list[Difference]:
        return [each for each in self.of(Verdict.REAL) if self.reason(each) is None]

    @property
    def expected_in_vain(self) -> list[Expected]:
        """
        What is listed as different and went alike.
        """
        return unmatched(
            self.package, self.pair.eager, (each.test for each in self.differences)
        )

    @property
    def is_good(self) -> bool:
        """
        Whether nothing differs but what is expected to.
        """
        return not self.problems and not self.unexpected


def faults(reactor: str, run: Run, limit: float) -> Iterable[str]:
    """
    Why a run of a whole suite proves less than it should.
    """
    if not run.ended:
        during = [test for test, each in run.outcomes.items() if each == NOT_ENDED]
        end = f"ended by itself with status {run.status}"
        if run.seconds >= limit:
            end = f"was ended after {limit:.0f} s"
        yield f"on {reactor} it {end}, in {', '.join(during) or 'no test'}"
    if "passed" not in run.outcomes.values():
        yield f"on {reactor} no test passed"
    if set(run.reactors) != {REACTORS[reactor].name}:
        made = ", ".join(sorted(run.reactors)) or "none"
        yield f"on {reactor} its processes made other reactors: {made}"


def compare(runner: Runner, pair: Pair, limit: float, again: int) -> Comparison:
    """
    Run a suite on both reactors, and what went differently C{again} times more.

    @param limit: in seconds, for each run.
    """
    environment = runner.environment
    comparison = Comparison(
        package=runner.suite.package,
        version=environment.package_version,
        twisted=environment.twisted_version,
        pair=pair,
        stock=runner.run(pair.stock, limit),
        eager=runner.run(pair.eager, limit),
    )
    stock, eager = comparison.stock, comparison.eager
    comparison.problems += [
        *faults(pair.stock, stock, limit),
        *faults(pair.eager, eager, limit),
    ]
    first = differing(stock.outcomes, eager.outcomes)
    if not (stock.ended and eager.ended):
        # What one of them did not come to is no difference of its own.
        first = {
            test: each
            for test, each in first.items()
            if test in stock.outcomes and test in eager.outcomes
        }
    parts = sorted(
        {(stock.parts | eager.parts)[test] for test in first}
        if all(test in stock.parts | eager.parts for test in first)
        else ()
    )
    rounds = []
    for _ in range(again if first else 0):
        # Twice what the whole suite took, as less is run.
        enough = min(limit, 60 + 2 * max(stock.seconds, eager.seconds))
        runs = (runner.run(each, enough, parts).outcomes for each in pair)
        rounds.append((next(runs), next(runs)))
    comparison.differences = repeated(first, rounds)
    return comparison
