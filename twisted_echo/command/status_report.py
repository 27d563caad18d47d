"""
Reports of the status of the service: to the log when an operator asks and during a
stop, and to the service manager all the time.
"""

from collections import Counter
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.command.interfaces import Manager
from twisted_echo.logs.values import Counted, Tally
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.validation.units import Seconds

__all__ = ["ReportedService", "StatusReports", "logCannotReport", "logStatus"]

_log = Logger()

_REPORT_EVERY = 5.0
"""
Seconds between two reports, to the log and to the service manager.
"""


class ReportedService(Protocol):
    """
    The service whose status is reported.
    """

    def observe(self) -> "Deferred[Observation]":
        """
        Observe the numbers of the service.
        """

    @property
    def drainsWithin(self) -> float | None:
        """
        Seconds that its sessions have at most to end; None while it does not drain.
        """


class StatusReports:
    """
    Reports the status of a service.
    """

    def __init__(
        self, source: ReportedService, clock: IReactorTime, manager: Manager | None
    ) -> None:
        self._source = source
        self._manager = manager
        self._loop = LoopingCall(self._report)
        self._loop.clock = clock

    def start(self) -> None:
        """
        Report every few seconds from now on.
        """
        if not self._loop.running:
            self._loop.start(_REPORT_EVERY, now=False)

    def stop(self) -> None:
        """
        Stop reporting.
        """
        self._loop.stop()

    def drainBegins(self) -> "Deferred[None]":
        """
        Log what the stop waits for, if it waits for any client.
        """
        return self._source.observe().addCallbacks(self._logWaiting, logCannotReport)

    def logNow(self) -> "Deferred[None]":
        """
        Write the whole status to the log.
        """
        return self._source.observe().addCallbacks(logStatus, logCannotReport)

    def _report(self) -> "Deferred[None]":
        return self._source.observe().addCallbacks(self._reported, logCannotReport)

    def _reported(self, observation: Observation) -> None:
        if self._manager is not None:
            sessions = Counted(observation.total.sessions, "session")
            self._manager.status(f"{observation.state}, {sessions}")
        self._logDraining(observation.total)

    def _logWaiting(self, observation: Observation) -> None:
        total = observation.total
        if total.sessions or total.handshakes:
            self._logDraining(total)

    def _logDraining(self, total: Snapshot) -> None:
        within = self._source.drainsWithin
        if within is None:
            return
        left = ["{sessions}"] * (total.sessions > 0)
        left += ["{handshakes}"] * (total.handshakes > 0)
        _log.info(
            "draining: "
            + (
                f"waiting for {' and '.join(left)}, cut off"
                if left
                else "{sessions} is left, and the stop ends"
            )
            + " in {seconds} at the latest",
            event="draining",
            sessions=Counted(total.sessions, "session"),
            handshakes=Counted(total.handshakes, "handshake"),
            seconds=Seconds(round(within, 1)),
        )


def logCannotReport(failure: Failure) -> None:
    """
    Log that the status is not available.
    """
    _log.failure("cannot get the status of the service", failure, event="status-failed")


def logStatus(observation: Observation) -> None:
    """
    Write all numbers to the log: a line for the whole; with workers, one for each, and
    one for how often they were restarted.
    """
    _logSnapshot(observation.total, state=observation.state)
    if observation.workers:
        restarts: Counter[str] = Counter()
        for worker in observation.workers.values():
            restarts.update(worker.restarts)
        _log.info(
            "status of workers: restarts {restarts}",
            event="status-workers",
            restarts=Tally(restarts),
        )
    for name, worker in observation.workers.items():
        if worker.snapshot is not None:
            _logSnapshot(worker.snapshot, state=observation.state, worker=int(name))


def _logSnapshot(snapshot: Snapshot, state: str, worker: int | None = None) -> None:
    _log.info(
        f"status{'' if worker is None else ' of worker {worker}'}"
        ": {state}; sessions {sessions}, paused {paused}, handshakes {handshakes},"
        " pending bytes {pending}; since the start: opened {opened}, ended {ended},"
        " refused {refused}, accept errors {acceptErrors}, bytes received {received}"
        + ("" if snapshot.bytesSent is None else ", sent {sent}"),
        event="status",
        state=state,
        worker=worker,
        sessions=snapshot.sessions,
        paused=snapshot.paused,
        handshakes=snapshot.handshakes,
        pending=snapshot.pendingBytes,
        opened=snapshot.opened,
        ended=Tally(snapshot.ended),
        refused=Tally(snapshot.refused),
        acceptErrors=snapshot.acceptErrors,
        received=snapshot.bytesReceived,
        sent=snapshot.bytesSent,
    )
