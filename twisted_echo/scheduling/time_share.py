"""
A limit on how much of each turn of the reactor one kind of work may take.

What must hold: work is done in the order in which it came; however much there is, the
rest of the reactor never waits for more than one share of it.
"""

from collections import deque
from collections.abc import Callable
from time import perf_counter

from twisted.internet.interfaces import IReactorTime

__all__ = ["SHARE", "TimeShare"]

SHARE = 0.002
"""
Seconds that the work may take of one turn. (A piece that has begun is finished.)
"""
_TURN = 0.01
"""
Seconds after which a new turn is assumed to have begun, if no work waits. (To know it
exactly would cost a timed call in each turn.)
"""


class TimeShare:
    """
    Limits how much of each turn of the reactor one kind of work takes.
    """

    def __init__(self, seconds: Callable[[], float] = perf_counter) -> None:
        """
        @param seconds: the clock that measures the work.
        """
        self._seconds = seconds
        self._waiting: deque[Callable[[], object]] = deque()
        self._began = self._spent = 0.0
        self._isScheduled = False

    def now(self, work: Callable[[], object]) -> bool:
        """
        Do a piece of work now, unless the share of this turn is used up.

        @return: whether it was done.
        """
        if self._waiting:
            return False
        began = self._seconds()
        if began - self._began >= _TURN:
            self._began, self._spent = began, 0.0
        elif self._spent >= SHARE:
            return False
        try:
            work()
        finally:
            self._spent += self._seconds() - began
        return True

    def later(self, reactor: IReactorTime, work: Callable[[], object]) -> None:
        """
        Do a piece of work in a later turn, in the order of the calls.

        @param reactor: the reactor whose turns are shared.
        """
        self._waiting.append(work)
        self._schedule(reactor)

    def _schedule(self, reactor: IReactorTime) -> None:
        # (Work that calls the reactor's `iterate` may have scheduled it.)
        if self._waiting and not self._isScheduled:
            self._isScheduled = True
            reactor.callLater(0, self._turn, reactor)

    def _turn(self, reactor: IReactorTime) -> None:
        self._isScheduled = False
        ends = self._seconds() + SHARE
        try:
            self._waiting.popleft()()
            while self._waiting and self._seconds() < ends:
                self._waiting.popleft()()
        finally:
            self._schedule(reactor)
