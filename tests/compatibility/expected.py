"""
The differences that are known, each with its reason. C{docs/eager-reactor.md} tells
them to those who decide whether to use the reactor.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

__all__ = ["EXPECTED", "Expected", "reason_of", "unmatched"]


@dataclass(frozen=True)
class Expected:
    """
    Tests that end differently.

    @ivar reactor: the eager reactor.
    @ivar test: the name of a test, where C{*} stands for anything.
    """

    package: str
    reactor: str
    test: str
    reason: str

    def covers(self, package: str, reactor: str, test: str) -> bool:
        return (self.package, self.reactor) == (package, reactor) and fnmatchcase(
            test, self.test
        )


EXPECTED: tuple[Expected, ...] = ()


def reason_of(package: str, reactor: str, test: str) -> str | None:
    """
    Why this test is known to end differently, or C{None}.
    """
    for each in EXPECTED:
        if each.covers(package, reactor, test):
            return each.reason
    return None


def unmatched(package: str, reactor: str, tests: Iterable[str]) -> list[Expected]:
    """
    What is expected of this suite, and has not come.
    """
    names = list(tests)
    return [
        each
        for each in EXPECTED
        if (each.package, each.reactor) == (package, reactor)
        and not any(each.covers(package, reactor, name) for name in names)
    ]
