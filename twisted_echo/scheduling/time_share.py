"""
Work that may take only a part of each turn of the reactor.

What must hold: work is done in the order in which it came; whatever there is of it,
what else the reactor does waits for one share of it at a time.
"""

from collections import deque
from collections.abc import Callable
from time import perf_counter

from twisted.internet.interfaces import IReactorTime

__all__ = ["SHARE", "TimeShare"]

SHARE = 0.002
"""
Seconds that the work may take of one turn. (What has begun by then is finished.)
"""
_TURN = 0.01
"""
Seconds after which another turn is taken to have begun, if no work waits. (To be told
of each turn would cost each a timed call.)
"""


class TimeShare:
    """
    The work of one kind.
    """

    def __init__(self, seconds: Callable[[], float] = perf_counter) -> None:
        """
        @param seconds: the clock by which the work is measured.
        """
        self._seconds = seconds
        self._waiting: deque[Callable[[], object]] = deque()
        self._began = self._spent = 0.0
        self._isScheduled = False

    def now(self, work: Callable[[], object]) -> bool:
        """
        Do a piece of work, unless it has to wait for its turn.

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
        Do a piece of work when its turn has come.

        @param reactor: the one whose turns they are.
        """
        self._waiting.append(work)
        self._schedule(reactor)

    def _schedule(self, reactor: IReactorTime) -> None:
        # (Work that turns the reactor itself may have scheduled it.)
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
