"""
Worker processes that come back when they die: Twisted's C{ProcessMonitor}, which hands
down descriptors, talks to its processes, and waits for them when it stops.

Used by: L{twisted_echo.command.workers.supervisor} alone.

Importing this installs a reactor, as C{twisted.runner.procmon} does: to be imported
when the reactor has been chosen.

What must hold: a worker that ends is followed by another, at once if it has lived for
L{WorkerMonitor.threshold} seconds or drains on its own account, else after a delay that
doubles; at a stop every worker is waited for, and none for ever.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.runner.procmon import ProcessMonitor

from twisted_echo.command.workers.channel import CHANNEL, HELD_SIGNALS, Settings
from twisted_echo.command.workers.process import (
    HURRIED_WITHIN,
    KILLED_WITHIN,
    WorkerProcess,
)

__all__ = ["Listener", "WorkerMonitor"]

# What is meant for this process alone: sockets and notices of systemd.
_NOT_HANDED_ON = ("LISTEN_", "NOTIFY_SOCKET", "WATCHDOG_")

_log = Logger()


class Listener(Protocol):
    """
    Who hears what becomes of workers.
    """

    def workerChanged(self, worker: "WorkerProcess") -> None:
        """
        It listens now, or it drains.
        """

    def workerGone(self, worker: "WorkerProcess") -> None:
        """
        It has ended, and all that it had to say has been heard.
        """


class WorkerMonitor(ProcessMonitor):
    """
    Keeps a number of workers running.

    @ivar killTime: seconds that a worker may take for its end.
    @ivar leaving: workers that drain while their successors are running, each with the
        call that will kill it.
    """

    threshold = 5  # A worker that has lived so many seconds did not fail to start.
    minRestartDelay = 0.1  # type: ignore[assignment]
    maxRestartDelay = 30  # As long as its part of the connections may wait.

    def __init__(
        self,
        reactor: Any,
        listener: Listener,
        settings: Sequence[Settings],
        socketsOf: Callable[[int], Iterable[socket.socket]],
        killTime: float,
        folder: str | None = None,
    ) -> None:
        """
        @param settings: of each worker.
        @param socketsOf: gives the listening sockets of one.
        @param folder: where relative paths begin; this process's, if None.
        """
        super().__init__(reactor)
        self.clock = self._clock
        self.killTime = killTime  # type: ignore[assignment]
        self.leaving: dict[WorkerProcess, IDelayedCall] = {}
        self._listener = listener
        self._settings = [pickle.dumps(each) for each in settings]
        self._socketsOf = socketsOf
        self._stopped: Deferred[None] | None = None
        self._givesUp: IDelayedCall | None = None
        for each in settings:
            name = str(each.number)
            module = "twisted_echo.command.workers.worker"
            self.addProcess(
                name,
                [sys.executable, "-P", "-m", module, name],
                env=_environment(),
                cwd=folder,
            )

    def settingsOf(self, number: int) -> bytes:
        """
        What a worker is to be told first.
        """
        return self._settings[number]

    @property
    def workers(self) -> list[WorkerProcess]:
        """
        All that are alive.
        """
        return [*self.leaving, *self._current.values()]

    @property
    def _current(self) -> dict[str, WorkerProcess]:
        # All that a monitor asks of its protocols is their transports.
        protocols: Any = self.protocols
        return protocols  # type: ignore[no-any-return]

    def startProcess(self, name: str) -> None:
        if name in self.protocols:
            return
        plan = self._processes[name]
        worker = WorkerProcess(self, int(name))
        self._current[name] = worker
        self.timeStarted[name] = self._clock.seconds()
        try:
            ours, theirs = socket.socketpair()
            with theirs, ours:
                self._spawn(worker, plan, theirs)
                worker.open(self._reactor, ours)
        except OSError:
            # Such as: no process or descriptor is to be had.
            _log.failure(
                "cannot start worker {worker}",
                event="worker-spawn-failed",
                worker=worker.number,
            )
            self._gone(worker, None)

    def _spawn(self, worker: WorkerProcess, plan: Any, channel: socket.socket) -> None:
        handed = [channel, *self._socketsOf(worker.number)]
        descriptors: dict[int, Any] = {0: "w", 1: "r", 2: "r"}
        descriptors |= {CHANNEL + n: each.fileno() for n, each in enumerate(handed)}
        with _held(HELD_SIGNALS):
            self._reactor.spawnProcess(
                worker,
                plan.args[0],
                plan.args,
                env=plan.env,
                path=plan.cwd,
                childFDs=descriptors,
            )

    def processChanged(self, worker: WorkerProcess) -> None:
        """
        A worker listens now, or drains.
        """
        name = worker.name
        if (
            worker.state == "draining"
            and self.running
            and self._current.get(name) is worker
        ):
            # Somebody told it to. Its successor serves while it finishes.
            del self.protocols[name]
            self.leaving[worker] = self._clock.callLater(
                self.killTime, worker.signal, "KILL"
            )
            _log.info(
                "worker {worker} drains, another one takes its place",
                event="worker-replaced",
                worker=worker.number,
            )
            self.restart[name] = self._clock.callLater(0, self.startProcess, name)
        self._listener.workerChanged(worker)

    def processGone(self, worker: WorkerProcess, reason: Failure) -> None:
        """
        A worker has ended.
        """
        if worker in self.leaving:
            call = self.leaving.pop(worker)
            if call.active():
                call.cancel()
            self._listener.workerGone(worker)
            self._perhapsStopped()
        else:
            self._gone(worker, reason)

    def _gone(self, worker: WorkerProcess, reason: Failure | None) -> None:
        name = worker.name
        # With a reason it would be logged by a name that nobody knows.
        self._monitoredProcessExited(name)
        if self.running:
            delay = self.restart[name].getTime() - self._clock.seconds()
            _log.warn(
                "worker {worker} {what}: {how}; another one starts in {delay:.1f} s",
                event="worker-ended",
                worker=worker.number,
                what="has ended" if worker.wasReady else "could not start",
                how=_told(reason),
                delay=delay,
            )
        self._listener.workerGone(worker)
        self._perhapsStopped()

    def _perhapsStopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not self.workers:
            self._stopped = None
            if self._givesUp is not None:
                self._givesUp.cancel()
            stopped.callback(None)

    def stopService(self) -> "Deferred[None]":  # type: ignore[override]
        """
        Have all workers drain, and wait for them; for each not longer than
        C{killTime}, after which it is killed.
        """
        super().stopService()
        if not self.workers:
            return succeed(None)
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._givesUp = self._clock.callLater(
            self.killTime + KILLED_WITHIN, self._giveUp
        )
        return stopped

    def hurry(self) -> None:
        """
        Wait no longer than L{HURRIED_WITHIN} for workers that were told to end.
        """
        within = dict.fromkeys(
            (*self.leaving.values(), *self.murder.values()), HURRIED_WITHIN
        )
        if self._givesUp is not None:
            within[self._givesUp] = HURRIED_WITHIN + KILLED_WITHIN
        now = self._clock.seconds()
        for call, seconds in within.items():
            if call.active() and call.getTime() > now + seconds:
                call.reset(seconds)

    def _giveUp(self) -> None:
        stopped, self._stopped = self._stopped, None
        _log.error(
            "worker {workers} does not end, not even killed",
            event="worker-forgotten",
            workers=", ".join(each.name for each in self.workers),
        )
        if stopped is not None:
            stopped.callback(None)


def _told(reason: Failure | None) -> str:
    """
    How a process has ended, in a few words.
    """
    if reason is None:
        return "there was no process to be had"
    if reason.check(ProcessDone):
        return "by itself"
    value: Any = reason.value
    number = getattr(value, "signal", None)
    if number is not None:
        return f"by {signal.Signals(number).name}"
    return f"with status {getattr(value, 'exitCode', None)}"


def _environment() -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_HANDED_ON)
    }
    # What this process finds, its workers find.
    path = os.pathsep.join(os.path.abspath(each) for each in sys.path)
    return {**kept, "PYTHONPATH": path}


@contextmanager
def _held(signals: Iterable[int]) -> Iterator[None]:
    """
    Hold signals back, which a process that is started meanwhile goes on doing.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
