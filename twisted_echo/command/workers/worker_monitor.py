"""
Start worker processes, and replace them when they end.

What must hold: a worker that ends, or drains on its own account, is followed by
another, at once if it has listened and lived for five seconds, else after a delay that
doubles; one that hangs is ended; from the moment that a stop begins none is started; at
a stop every worker is waited for, and none for ever.
"""

import pickle
import socket
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.protocols import amp

from twisted_echo.command.workers.channel import WorkerSettings
from twisted_echo.command.workers.hang_detector import HUNG_AFTER, HangDetector
from twisted_echo.command.workers.kill_timers import KillTimers
from twisted_echo.command.workers.launch import (
    IWorkerReactor,
    launch,
    workerEnvironment,
)
from twisted_echo.command.workers.worker_exit import WorkerExit
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.logs.values import CommaSeparated
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.validation.units import Seconds

__all__ = ["CAUSES", "WorkerMonitor", "WorkerObserver"]

CAUSES = ("exited", "killed", "hung", "start-failed", "drained")
"""
The causes for which a worker is replaced.
"""
FIRST_DELAY, LONGEST_DELAY = 0.1, 30.0
"""
Seconds before another worker is started in the place of one that has not lived for
L{LIVED}; the delay doubles each time. Another worker serves its connections meanwhile.
"""
LIVED = 5.0
"""
Seconds after which one that has listened has not failed to start, whatever ends it.
"""

_log = Logger()


class WorkerObserver(Protocol):
    """
    What is notified of the changes of workers.
    """

    def workerChanged(self, worker: WorkerProcess) -> None:
        """
        Report that a worker has another state.
        """

    def workerAccepts(self) -> None:
        """
        Report that a worker accepts from its partitions.
        """

    def workerGone(self, worker: WorkerProcess) -> None:
        """
        Report that a worker has ended, and that all that it sent was received.
        """


class _Slot:
    """
    The place of one worker, with one process after the other.

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

    def cancelSuccessor(self) -> None:
        call, self.successor = self.successor, None
        if call is not None:
            call.cancel()

    def nextDelay(self, now: float) -> float:
        """
        Seconds until the successor of the process that has just ended starts.
        """
        worker = self.worker
        if worker is not None and worker.hasListened and now - self.began >= LIVED:
            self.delay = FIRST_DELAY
            return 0.0
        delay, self.delay = self.delay, min(2 * self.delay, LONGEST_DELAY)
        return delay


class _MonitorState(Enum):
    """
    The state of the monitor::

        STOPPED ---> RUNNING ---> STOPPING ---> STOPPED
    """

    STOPPED = "stopped"
    RUNNING = "running"
    STOPPING = "stopping"


class WorkerMonitor:
    """
    Keeps a number of workers running.

    @ivar clock: the source of the time.
    @ivar killTime: seconds that a worker may take for its end.
    @ivar restarts: how often there was a successor to start, by L{CAUSES}, for each
        worker by its number.
    """

    def __init__(
        self,
        reactor: IWorkerReactor,
        observer: WorkerObserver,
        killTime: float,
        folder: str | None = None,
        hungAfter: float = HUNG_AFTER,
    ) -> None:
        """
        @param folder: where relative paths begin; this process's, if None.
        @param hungAfter: seconds without an answer after which a worker hangs.
        """
        self.clock = reactor
        self.restarts: dict[int, Counter[str]] = {}
        self._reactor = reactor
        self._observer = observer
        self._folder = folder
        self._state = _MonitorState.STOPPED
        self._settings: list[bytes] = []
        self._sockets: list[socket.socket] = []
        self._environment: dict[str, str] = {}
        self._slots: list[_Slot] = []
        self.killTime = killTime
        self._kills = KillTimers(reactor, killTime)
        self._detector = HangDetector(reactor, lambda: self.workers, hungAfter)
        self._untilStopped: Waiters[None] = Waiters()

    @property
    def workers(self) -> list[WorkerProcess]:
        """
        All live workers; first the draining ones whose successors serve.
        """
        present = [each.worker for each in self._slots if each.worker is not None]
        leaving = [each for each in self._kills.workers if each not in present]
        return [*leaving, *present]

    @property
    def listeningWorkers(self) -> list[WorkerProcess]:
        """
        The workers that listen.
        """
        return [each for each in self.workers if each.state is WorkerState.LISTENING]

    def sendToAll(self, command: type[amp.Command]) -> None:
        """
        Send a command to all workers, without an answer.
        """
        for worker in self.workers:
            # One that has died meanwhile does not need it.
            worker.channel.ask(command).addErrback(lambda _: None)

    # Start

    def start(
        self, settings: Sequence[WorkerSettings], sockets: Sequence[socket.socket]
    ) -> None:
        """
        Start the workers.

        @param settings: of each of them.
        @param sockets: that all of them listen on.
        """
        self._settings = [pickle.dumps(each) for each in settings]
        self._sockets = list(sockets)
        self._environment = workerEnvironment()
        self._slots = [_Slot(each.number) for each in settings]
        for slot in self._slots:
            self.restarts.setdefault(slot.number, Counter(dict.fromkeys(CAUSES, 0)))
        self._state = _MonitorState.RUNNING
        self._detector.start()
        for slot in self._slots:
            self._start(slot)

    def _start(self, slot: _Slot) -> None:
        slot.successor = None
        worker = slot.worker = WorkerProcess(self, slot.number)
        slot.began = self.clock.seconds()
        try:
            ours, theirs = socket.socketpair()
            with theirs, ours:
                launch(
                    self._reactor,
                    worker,
                    worker.number,
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
            self.processGone(worker)

    # What worker processes notify their owner of

    def settingsOf(self, number: int) -> bytes:
        return self._settings[number]

    def processChanged(self, worker: WorkerProcess) -> None:
        slot = self._slots[worker.number]
        if (
            worker.state is WorkerState.DRAINING
            and worker.hasListened
            and self._state is _MonitorState.RUNNING
            and slot.worker is worker
        ):
            # It got a SIGTERM of its own. Its successor serves while it finishes. (Not
            # at once: a stop of the whole service may send SIGTERM to all processes.)
            slot.worker = None
            self._kills.add(worker)
            slot.successor = self.clock.callLater(FIRST_DELAY, self._replace, slot)
        self._observer.workerChanged(worker)

    def processAccepts(self) -> None:
        self._observer.workerAccepts()

    def processGone(self, worker: WorkerProcess) -> None:
        self._kills.remove(worker)
        slot, exit = self._slots[worker.number], worker.exit or WorkerExit(None)
        if slot.worker is worker and self._state is _MonitorState.RUNNING:
            self._follow(slot, worker, exit)
        elif not exit.isOrderly:
            _log.warn(
                "worker {worker} has not ended in order ({exit})",
                event="worker-failed",
                worker=worker.number,
                exit=exit,
            )
        if slot.worker is worker:
            slot.worker = None
        self._observer.workerGone(worker)
        if self._state is _MonitorState.STOPPING and not self.workers:
            self._stopped()

    # Successors

    def _replace(self, slot: _Slot) -> None:
        self.restarts[slot.number]["drained"] += 1
        _log.info(
            "worker {worker} drains; its successor starts",
            event="worker-replaced",
            worker=slot.number,
        )
        self._start(slot)

    def _follow(self, slot: _Slot, worker: WorkerProcess, exit: WorkerExit) -> None:
        """
        Start a process in the place of one that has ended, after its delay.
        """
        delay = slot.nextDelay(self.clock.seconds())
        self.restarts[slot.number][worker.exitCause] += 1
        _log.warn(
            "worker {worker} "
            + ("has ended" if worker.hasListened else "could not start")
            + " ({cause}, {exit}); its successor starts "
            + ("in {delay}" if delay else "at once"),
            event="worker-ended",
            worker=worker.number,
            hasListened=worker.hasListened,
            exit=exit,
            cause=worker.exitCause,
            delay=Seconds(delay),
        )
        slot.successor = self.clock.callLater(delay, self._start, slot)

    # Stop

    def stop(self) -> "Deferred[None]":
        """
        Drain all workers, and wait for them; for each not longer than
        C{killTime}, after which it is killed.
        """
        self._detector.stop()
        for slot in self._slots:
            slot.cancelSuccessor()
            if slot.worker is not None:
                slot.worker.drain()
                self._kills.add(slot.worker)
        if not self.workers:
            self._state = _MonitorState.STOPPED
            return succeed(None)
        self._state = _MonitorState.STOPPING
        self._kills.giveUpLater(self._giveUp)
        return self._untilStopped.wait()

    def stopNow(self) -> None:
        """
        Wait no longer than a few seconds for workers that were asked to end.
        """
        self._kills.stopNow()

    def _stopped(self) -> None:
        self._state = _MonitorState.STOPPED
        self._kills.allEnded()
        self._untilStopped.notify(None)

    def _giveUp(self) -> None:
        _log.error(
            "not even SIGKILL has ended these workers, and the stop does not wait for"
            " them: {workers}",
            event="worker-forgotten",
            workers=CommaSeparated(each.number for each in self.workers),
        )
        self._stopped()
