"""
The deadlines for workers that were asked to end.

What must hold: a worker that does not end is killed. If it does not end even then, the
wait for it ends. A stall of this process does not count against a worker.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_echo.command.workers.worker_process import WorkerProcess

__all__ = ["KILLED_WITHIN", "STOP_NOW_WITHIN", "KillTimers"]

STOP_NOW_WITHIN = 5.0
"""
Seconds that a worker has for its end when its sessions are no longer waited for.
"""
KILLED_WITHIN = 5.0
"""
Seconds between the kill of a process and the end of the wait for it.
"""
_LATE = 1.0
"""
Seconds by which a call is late if this process was stopped or starved.
"""


class KillTimers:
    """
    Kills workers that do not end in time.

    @ivar killTime: seconds that a worker may take for its end.
    """

    def __init__(self, clock: IReactorTime, killTime: float) -> None:
        self.killTime = killTime
        self._clock = clock
        self._kills: dict[WorkerProcess, IDelayedCall] = {}
        self._givesUp: IDelayedCall | None = None

    @property
    def workers(self) -> list[WorkerProcess]:
        """
        The workers that were asked to end and have not.
        """
        return list(self._kills)

    def add(self, worker: WorkerProcess) -> None:
        """
        Kill a worker unless it ends in time.
        """
        due = self._clock.seconds() + self.killTime
        self._kills[worker] = self._clock.callLater(
            self.killTime, self._kill, worker, due
        )

    def remove(self, worker: WorkerProcess) -> None:
        """
        Forget a worker that has ended.
        """
        call = self._kills.pop(worker, None)
        if call is not None and call.active():
            call.cancel()

    def giveUpLater(self, giveUp: Callable[[], object]) -> None:
        """
        Call a function when even killed workers should have ended.
        """
        self._givesUp = self._clock.callLater(self.killTime + KILLED_WITHIN, giveUp)

    def allEnded(self) -> None:
        """
        Give nothing up any more.
        """
        call, self._givesUp = self._givesUp, None
        if call is not None and call.active():
            call.cancel()

    def stopNow(self) -> None:
        """
        Wait no longer than L{STOP_NOW_WITHIN} for workers that were asked to end.
        """
        within = dict.fromkeys(self._kills.values(), STOP_NOW_WITHIN)
        if self._givesUp is not None:
            within[self._givesUp] = STOP_NOW_WITHIN + KILLED_WITHIN
        now = self._clock.seconds()
        for call, seconds in within.items():
            if call.active() and call.getTime() > now + seconds:
                call.reset(seconds)

    def _kill(self, worker: WorkerProcess, due: float) -> None:
        """
        Kill a worker, but not if this process comes late itself: perhaps the worker had
        no time either.
        """
        if self._clock.seconds() - due <= _LATE:
            worker.signal("KILL")
            return
        self._kills[worker] = self._clock.callLater(
            STOP_NOW_WITHIN, worker.signal, "KILL"
        )
        if self._givesUp is not None:
            self._givesUp.reset(STOP_NOW_WITHIN + KILLED_WITHIN)
