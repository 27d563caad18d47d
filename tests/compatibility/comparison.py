"""
The differences between a run on a stock reactor and one on an eager reactor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = ["MISSING", "Difference", "Verdict", "differing", "passed_alike", "repeated"]

MISSING = "not run"


class Verdict(Enum):
    """
    What a difference between two runs is.

    @cvar REAL: it comes again.
    @cvar ONCE: it did not come again.
    @cvar UNSTEADY: the test ends in different ways on the stock reactor alone, too.
    """

    REAL = "real"
    ONCE = "seen once"
    UNSTEADY = "varies on the stock reactor, too"


@dataclass(frozen=True)
class Difference:
    """
    A test that did not end alike.

    @ivar stock: its outcomes on the stock reactor, of each run.
    @ivar eager: those on the eager reactor.
    """

    test: str
    stock: tuple[str, ...]
    eager: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """
        What it is, after its test was run again. Runs that did not have it say nothing.
        """
        pairs = [
            pair
            for pair in zip(self.stock[1:], self.eager[1:], strict=True)
            if pair != (MISSING, MISSING)
        ]
        if len({self.stock[0], *(stock for stock, _ in pairs)}) > 1:
            return Verdict.UNSTEADY
        if pairs and all(stock == eager for stock, eager in pairs):
            return Verdict.ONCE
        return Verdict.REAL


def differing(
    stock: Mapping[str, str], eager: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """
    The tests that did not end alike, with both outcomes.
    """
    pairs = {
        test: (stock.get(test, MISSING), eager.get(test, MISSING))
        for test in sorted({*stock, *eager})
    }
    return {test: pair for test, pair in pairs.items() if pair[0] != pair[1]}


def passed_alike(stock: Mapping[str, str], eager: Mapping[str, str]) -> int:
    """
    How many tests passed on both.
    """
    return sum(eager.get(test) == each == "passed" for test, each in stock.items())


def repeated(
    first: Mapping[str, tuple[str, str]],
    again: Sequence[tuple[Mapping[str, str], Mapping[str, str]]],
) -> list[Difference]:
    """
    What L{differing} found, with the outcomes of the runs after it.

    @param again: the outcomes on the stock and on the eager reactor, of each.
    """
    return [
        Difference(
            test,
            (stock, *(each.get(test, MISSING) for each, _ in again)),
            (eager, *(each.get(test, MISSING) for _, each in again)),
        )
        for test, (stock, eager) in first.items()
    ]
