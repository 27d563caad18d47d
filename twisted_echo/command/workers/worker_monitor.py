"""
Worker processes that come back when they end.

What must hold: a worker that ends, or drains on its own account, is followed by
another, at once if it has listened and lived for five seconds, else after a delay that
doubles; one that hangs is ended; from the moment that a stop begins none is started; at
a stop every worker is waited for, and none for ever.
"""

import pickle
import signal
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.command.workers.channel import Settings
from twisted_echo.command.workers.launch import launch, workerEnvironment
from twisted_echo.command.workers.watch import HUNG_AFTER, Watch
from twisted_echo.command.workers.worker_process import (
    KILLED_WITHIN,
    STOP_NOW_WITHIN,
    WorkerProcess,
)
from twisted_echo.logs.values import CommaSeparated
from twisted_echo.validation.units import Seconds

__all__ = ["CAUSES", "Listener", "WorkerMonitor"]

CAUSES = ("exited", "killed", "hung", "start-failed", "drained")
"""
The causes for which a worker is replaced.
"""
FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""
Seconds before another worker is started in the place of one that has not lived for
L{LIVED}; the delay doubles each time. Another worker serves its connections meanwhile.
"""
_LATE = 1.0
"""
Seconds by which a call is late if this process was stopped or starved.
"""
LIVED = 5.0
"""
Seconds after which one that has listened has not failed to start, whatever ends it.
"""

_log = Logger()


class Listener(Protocol):
    """
    Who hears what becomes of workers.
    """

    def workerChanged(self, worker: "WorkerProcess") -> None:
        """
        Its state is another one.
        """

    def workerServes(self) -> None:
        """
        A worker accepts from where it was told to.
        """

    def workerGone(self, worker: "WorkerProcess") -> None:
        """
        It has ended, and all that it had to say has been heard.
        """


class _Place:
    """
    A worker's place: one process after the other.

    @ivar worker: the present process; None if there is none.
    @ivar began: when it was started.
    @ivar delay: seconds until it has a successor, if it does not live long enough.
    @ivar successor: the call that will start one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self.began = 0.0
        self.delay = FIRST_DELAY
        self.successor: IDelayedCall | None = None


class _Exit(dict[str, Any]):
    """
    How a process has ended, in a few words to a person: with which status, or by which
    signal; neither, if there was none.
    """

    def __init__(self, reason: Failure | None) -> None:
        value: Any = None if reason is None else reason.value
        number = getattr(value, "signal", None)
        super().__init__(
            status=getattr(value, "exitCode", None),
            signal=None if number is None else signal.Signals(number).name,
        )

    def __str__(self) -> str:
        if self["signal"] is not None:
            return f"by {self['signal']}"
        if self["status"] is None:
            return "there was no process to be had"
        return f"with status {self['status']}" if self["status"] else "by itself"


class WorkerMonitor:
    """
    Keeps a number of workers running.

    @ivar restarts: how often there was a successor to start, by L{CAUSES}.
    """

    def __init__(
        self,
        reactor: Any,
        listener: Listener,
        killTime: float,
        folder: str | None = None,
        hungAfter: float = HUNG_AFTER,
    ) -> None:
        """
        @param killTime: seconds that a worker may take for its end.
        @param folder: where relative paths begin; this process's, if None.
        @param hungAfter: seconds without an answer after which a worker hangs.
        """
        self.clock = reactor
        self.restarts = Counter(dict.fromkeys(CAUSES, 0))
        self._reactor = reactor
        self._listener = listener
        self._killTime = killTime
        self._folder = folder
        self._isRunning = False
        self._settings: list[bytes] = []
        self._sockets: list[socket.socket] = []
        self._environment: dict[str, str] = {}
        self._places: list[_Place] = []
        # Those that were told to end, each with the call that will kill it.
        self._kills: dict[WorkerProcess, IDelayedCall] = {}
        self._watch = Watch(reactor, lambda: self.workers, hungAfter)
        self._stopped: Deferred[None] | None = None
        self._givesUp: IDelayedCall | None = None

    def start(
        self, settings: Sequence[Settings], sockets: Sequence[socket.socket]
    ) -> None:
        """
        Start the workers.

        @param settings: of each of them.
        @param sockets: that all of them listen on.
        """
        self._settings = [pickle.dumps(each) for each in settings]
        self._sockets = list(sockets)
        self._environment = workerEnvironment()
        self._places = [_Place(each.number) for each in settings]
        self._isRunning = True
        self._watch.start()
        for place in self._places:
            self._start(place)

    def settingsOf(self, number: int) -> bytes:
        """
        What a worker is to be told first.
        """
        return self._settings[number]

    @property
    def workers(self) -> list[WorkerProcess]:
        """
        All that are alive: first those that drain while their successors serve.
        """
        present = [each.worker for each in self._places if each.worker is not None]
        return [*(each for each in self._kills if each not in present), *present]

    def _start(self, place: _Place) -> None:
        place.successor = None
        worker = place.worker = WorkerProcess(self, place.number)
        place.began = self.clock.seconds()
        try:
            ours, theirs = socket.socketpair()
            with theirs, ours:
                launch(
                    self._reactor,
                    worker,
                    [theirs, *self._sockets],
                    self._environment,
                    self._folder,
                )
                worker.open(self._reactor, ours)
        except OSError:
            # Such as: no process or descriptor is to be had.
            _log.failure(
                "cannot start worker {worker}",
                event="worker-spawn-failed",
                worker=worker.number,
            )
            self._ended(place, worker, None)

    def processChanged(self, worker: WorkerProcess) -> None:
        """
        A worker's state is another one.
        """
        place = self._places[worker.number]
        if (
            worker.state == "draining"
            and worker.wasReady
            and self._isRunning
            and place.worker is worker
        ):
            # It got a SIGTERM of its own. Its successor serves while it finishes. (Not
            # at once: a stop of the whole service may send SIGTERM to all processes.)
            place.worker = None
            self._killLater(worker)
            place.successor = self.clock.callLater(FIRST_DELAY, self._replace, place)
        self._listener.workerChanged(worker)

    def _replace(self, place: _Place) -> None:
        self.restarts["drained"] += 1
        _log.info(
            "worker {worker} drains, another one takes its place",
            event="worker-replaced",
            worker=place.number,
        )
        self._start(place)

    def processServes(self) -> None:
        """
        A worker accepts from where it was told to.
        """
        self._listener.workerServes()

    def processGone(self, worker: WorkerProcess, reason: Failure) -> None:
        """
        A worker has ended.
        """
        call = self._kills.pop(worker, None)
        if call is not None and call.active():
            call.cancel()
        self._ended(self._places[worker.number], worker, reason)

    def _ended(
        self, place: _Place, worker: WorkerProcess, reason: Failure | None
    ) -> None:
        ended = _Exit(reason)
        isToBeFollowed = place.worker is worker and self._isRunning
        if place.worker is worker:
            place.worker = None
        if isToBeFollowed:
            self._follow(place, worker, ended)
        elif reason is None or not reason.check(ProcessDone):
            _log.warn(
                "worker {worker} has not ended in order: {exit}",
                event="worker-failed",
                worker=worker.number,
                exit=ended,
            )
        self._listener.workerGone(worker)
        self._perhapsStopped()

    def _follow(self, place: _Place, worker: WorkerProcess, ended: _Exit) -> None:
        """
        Start a process in the place of one that has ended, after its delay.
        """
        if worker.wasReady and self.clock.seconds() - place.began >= LIVED:
            delay, place.delay = 0.0, FIRST_DELAY
        else:
            delay, place.delay = place.delay, min(2 * place.delay, LONGEST_DELAY)
        self.restarts[worker.cause] += 1
        _log.warn(
            "worker {worker} "
            + ("has ended" if worker.wasReady else "could not start")
            + ": {exit}; another one starts "
            + ("in {delay}" if delay else "at once"),
            event="worker-ended",
            worker=worker.number,
            hasListened=worker.wasReady,
            exit=ended,
            cause=worker.cause,
            delay=Seconds(delay),
        )
        place.successor = self.clock.callLater(delay, self._start, place)

    def stop(self) -> "Deferred[None]":
        """
        Have all workers drain, and wait for them; for each not longer than
        C{killTime}, after which it is killed.
        """
        self._isRunning = False
        self._watch.stop()
        for place in self._places:
            if place.successor is not None:
                place.successor.cancel()
                place.successor = None
            if place.worker is not None:
                place.worker.drain()
                self._killLater(place.worker)
        if not self.workers:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._givesUp = self.clock.callLater(
            self._killTime + KILLED_WITHIN, self._giveUp
        )
        return stopped

    def _killLater(self, worker: WorkerProcess) -> None:
        due = self.clock.seconds() + self._killTime
        self._kills[worker] = self.clock.callLater(
            self._killTime, self._kill, worker, due
        )

    def _kill(self, worker: WorkerProcess, due: float) -> None:
        """
        End a worker that should have ended, but not if this process comes late itself:
        perhaps the worker had no time either.
        """
        if self.clock.seconds() - due <= _LATE:
            worker.signal("KILL")
            return
        self._kills[worker] = self.clock.callLater(
            STOP_NOW_WITHIN, worker.signal, "KILL"
        )
        if self._givesUp is not None:
            self._givesUp.reset(STOP_NOW_WITHIN + KILLED_WITHIN)

    def stopNow(self) -> None:
        """
        Wait no longer than L{STOP_NOW_WITHIN} for workers that were told to end.
        """
        within = dict.fromkeys(self._kills.values(), STOP_NOW_WITHIN)
        if self._givesUp is not None:
            within[self._givesUp] = STOP_NOW_WITHIN + KILLED_WITHIN
        now = self.clock.seconds()
        for call, seconds in within.items():
            if call.active() and call.getTime() > now + seconds:
                call.reset(seconds)

    def _perhapsStopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not self.workers:
            self._stopped = None
            givesUp, self._givesUp = self._givesUp, None
            if givesUp is not None:
                givesUp.cancel()
            stopped.callback(None)

    def _giveUp(self) -> None:
        stopped, self._stopped = self._stopped, None
        self._givesUp = None
        _log.error(
            "worker {workers} does not end, not even killed",
            event="worker-forgotten",
            workers=CommaSeparated(each.number for each in self.workers),
        )
        if stopped is not None:
            stopped.callback(None)
