"""
Two reactors in turns: which, in which order, and what is left out.
"""

import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from twisted_echo.bench.errors import BadRequest, BrokenServer, ChildFailed
from twisted_echo.bench.programs.program_reactors import REACTORS
from twisted_echo.bench.screen import Show


class MayBeMissing(Protocol):
    @property
    def obstacle(self) -> str:
        """
        Why it cannot run here, and what to do; empty, if it can.
        """


class Named(Protocol):
    @property
    def label(self) -> str:
        """
        A name for people.
        """


P = TypeVar("P", bound=MayBeMissing)
S = TypeVar("S", bound=Named)


class Pair(NamedTuple):
    """
    Two reactors to compare, by name.
    """

    stock: str
    eager: str

    def __str__(self) -> str:
        return f"{self.stock}:{self.eager}"

    @property
    def obstacle(self) -> str:
        return REACTORS[self.stock].obstacle or REACTORS[self.eager].obstacle

    def in_round(self, number: int) -> tuple[str, str]:
        """
        In which order they have their turns: each is first in every second round.
        """
        return (self.stock, self.eager) if number % 2 else (self.eager, self.stock)


def present(asked: Sequence[P] | None, usual: Sequence[P]) -> list[P]:
    """
    What was asked for; failing that, the usual, without what cannot run here.

    @raise BadRequest: if something that was asked for cannot run.
    """
    found = []
    for each in asked or usual:
        if not each.obstacle:
            found.append(each)
        elif asked:
            raise BadRequest(each.obstacle)
        else:
            print(f"left out: {each.obstacle}", file=sys.stderr)
    return found


def take_turns(
    wanted: Sequence[tuple[Pair, S]],
    rounds: int,
    measure: Callable[[Pair, S, str, int], None],
    show: Show = lambda share, words: None,
) -> list[str]:
    """
    Measure all that is wanted, round by round: the two reactors of a pair one after the
    other, the first of them in turns. What fails is not measured again.

    @param measure: measures and records one subject on one reactor, whose name it gets,
        in one round.
    @return: what has failed, and why.
    """
    failures: dict[tuple[Pair, S], str] = {}
    for number in range(1, rounds + 1):
        for index, each in enumerate(wanted):
            pair, subject = each
            for reactor in pair.in_round(number):
                if each in failures:
                    continue
                share = (number - 1 + index / len(wanted)) / rounds
                show(share, f"round {number}: {subject.label} on {reactor}")
                try:
                    measure(pair, subject, reactor, number)
                except (BrokenServer, ChildFailed) as error:
                    failures[each] = str(error)
    return list(failures.values())
