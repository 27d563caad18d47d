"""
Find workers that hang.

What must hold: a stall of the parent is not taken for one of a worker. Time is counted
in ticks of this process. A tick in which the process was stopped or starved counts like
any other, and after it every worker has its whole time again.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.scheduling.fair_clock import MOST_FORGIVEN

__all__ = ["HUNG_AFTER", "STARTS_WITHIN", "HangDetector", "Pinged"]

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
_UNRESPONSIVE_TICKS = 3
"""
After how many of them without an answer another worker accepts in its place. If it was
only busy, it goes on where it was.
"""
STARTS_WITHIN = 60.0
"""
Seconds that a worker may take from its start until it listens: on a machine that is
very busy, the imports alone have been seen to take ten.
"""


class Pinged(Protocol):
    """
    A worker, for the detector.
    """

    @property
    def state(self) -> WorkerState: ...

    def ping(self) -> bool:
        """
        Ask the worker for a sign of life, unless an answer is still to come.

        @return: whether it has answered the question before.
        """

    def markUnresponsive(self) -> None:
        """
        Let other processes accept in its place.
        """

    def killHung(self, seconds: float) -> None:
        """
        Kill it.

        @param seconds: how long it has not answered, or has been starting.
        """


class HangDetector:
    """
    Pings all workers regularly, and kills a worker that hangs.
    """

    def __init__(
        self,
        clock: IReactorTime,
        workers: Callable[[], Iterable[Pinged]],
        hungAfter: float = HUNG_AFTER,
    ) -> None:
        """
        @param workers: gives the live workers.
        @param hungAfter: seconds without an answer after which one hangs.
        """
        self._clock = clock
        self._workers = workers
        self._tickEvery = hungAfter / _TICKS
        self._next: IDelayedCall | None = None
        self._due = 0.0
        # The seconds for which an answer of each worker, or its start, is waited for.
        self._waits: dict[Pinged, float] = {}

    def start(self) -> None:
        """
        Ping them from now on.
        """
        self._due = self._clock.seconds() + self._tickEvery
        self._next = self._clock.callLater(self._tickEvery, self._tick)

    def stop(self) -> None:
        """
        Stop pinging.
        """
        call, self._next = self._next, None
        if call is not None and call.active():
            call.cancel()

    def _tick(self) -> None:
        isLate = self._clock.seconds() - self._due > self._tickEvery
        self.start()
        before = {} if isLate else self._waits
        self._waits = {
            worker: self._waitOf(worker, before.get(worker, 0.0))
            for worker in list(self._workers())
        }

    def _waitOf(self, worker: Pinged, before: float) -> float:
        """
        Ping a worker, and do what its wait asks for.

        @param before: the seconds of its wait until the tick before this.
        @return: those until now.
        """
        wait = before + self._tickEvery
        if worker.state is WorkerState.STARTING:
            if wait >= STARTS_WITHIN:
                worker.killHung(wait)
        elif worker.state in (WorkerState.LISTENING, WorkerState.UNRESPONSIVE):
            if worker.ping():
                return 0.0
            ticks = round(wait / self._tickEvery)
            if ticks >= _TICKS:
                worker.killHung(wait)
            elif ticks >= _UNRESPONSIVE_TICKS and worker.state is WorkerState.LISTENING:
                worker.markUnresponsive()
        return wait
