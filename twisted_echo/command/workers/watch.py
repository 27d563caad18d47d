"""
Find workers that hang.

What must hold: a stall of the parent is not taken for one of a worker. Time is counted
in ticks of this process. A tick in which the process was stopped or starved counts like
any other, and after it every worker has its whole time again.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_echo.scheduling.fair_clock import MOST_FORGIVEN

__all__ = ["HUNG_AFTER", "STARTS_WITHIN", "Watch", "Watched"]

HUNG_AFTER = MOST_FORGIVEN + 5.0
"""
Seconds without an answer after which a worker counts as hung and is killed: longer than
the longest stall that a service forgives itself.
"""
_TICKS = 15
"""
How often a worker is asked in that time: once a second is nothing beside what its
reactor measures of itself.
"""
_SILENT_TICKS = 3
"""
After how many of them without an answer another worker accepts in its place. If it was
only busy, it goes on where it was.
"""
STARTS_WITHIN = 60.0
"""
Seconds that a worker may take from its start until it listens: on a machine that is
very busy, the imports alone have been seen to take ten.
"""


class Watched(Protocol):
    """
    A worker that is watched.

    @ivar state: what it does: see L{WorkerProcess}.
    @ivar waited: the seconds for which it has been waited for.
    """

    state: str
    waited: float

    def ping(self) -> bool:
        """
        Ask the worker for a sign of life, unless an answer is still to come.

        @return: whether it has answered the question before.
        """

    def fallSilent(self) -> None:
        """
        It does not answer.
        """

    def killHung(self, seconds: float) -> None:
        """
        It hangs, since so many seconds.
        """


class Watch:
    """
    Looks after all workers.
    """

    def __init__(
        self,
        clock: IReactorTime,
        workers: Callable[[], Iterable[Watched]],
        hungAfter: float = HUNG_AFTER,
    ) -> None:
        """
        @param workers: gives those that are alive.
        @param hungAfter: seconds without an answer after which one hangs.
        """
        self._clock = clock
        self._workers = workers
        self._tickEvery = hungAfter / _TICKS
        self._next: IDelayedCall | None = None
        self._due = 0.0

    def start(self) -> None:
        """
        Look after them from now on.
        """
        self._due = self._clock.seconds() + self._tickEvery
        self._next = self._clock.callLater(self._tickEvery, self._tick)

    def stop(self) -> None:
        """
        Look no more.
        """
        call, self._next = self._next, None
        if call is not None and call.active():
            call.cancel()

    def _tick(self) -> None:
        isLate = self._clock.seconds() - self._due > self._tickEvery
        self.start()
        for worker in list(self._workers()):
            if isLate:
                worker.waited = 0.0
            self._look(worker)

    def _look(self, worker: Watched) -> None:
        if worker.state == "starting":
            worker.waited += self._tickEvery
            if worker.waited >= STARTS_WITHIN:
                worker.killHung(worker.waited)
        elif worker.state in ("listening", "silent"):
            if worker.ping():
                worker.waited = 0.0
                return
            worker.waited += self._tickEvery
            ticks = round(worker.waited / self._tickEvery)
            if ticks >= _TICKS:
                worker.killHung(worker.waited)
            elif ticks >= _SILENT_TICKS and worker.state == "listening":
                worker.fallSilent()
