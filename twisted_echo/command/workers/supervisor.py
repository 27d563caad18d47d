"""
Many processes that serve one service: C{--workers N}.

What must hold:

  - all sockets are bound before privileges are shed, and kept: while there is a worker
    that listens, some worker accepts from each of them; if there is none, clients wait;
  - sums never decrease: what a worker had counted when it was last asked stays when it
    is gone;
  - the L{stop<twisted_echo.command.workers.workers_stop>} ends, always.

Limits (C{--max-sessions}, C{--max-buffered} and so on) are of each process. Each reads
the files of C{ssl:} when it starts, so the user of C{--uid} must be able to.
"""

import os
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.admin.status_view import SessionsPage, buildInfo
from twisted_echo.command.certificate_reload import certificatesOf, reloadSilently
from twisted_echo.command.workers.aggregate_status import AggregateStatus
from twisted_echo.command.workers.binding import BoundEndpoint, bind, checkShareable
from twisted_echo.command.workers.channel import Reload
from twisted_echo.command.workers.hang_detector import HUNG_AFTER
from twisted_echo.command.workers.launch import IWorkerReactor
from twisted_echo.command.workers.partitions import Partitions
from twisted_echo.command.workers.worker_monitor import WorkerMonitor
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_start import (
    NoWorkers,
    StartProgress,
    checkAccess,
    workerSettings,
)
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.command.workers.workers_stop import WorkersStop, longestWorkersStop
from twisted_echo.echo import EchoConfig
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.lifecycle import State, StatefulService, Step
from twisted_echo.logs.values import Tally
from twisted_echo.metrics import Observation
from twisted_echo.session.bounds.limits import Limits
from twisted_echo.stop import longestStop
from twisted_echo.tls.expiry import ExpiryWatch

__all__ = ["Supervisor"]

_MARGIN = 5.0
"""
Seconds that a worker has more for its end than its service may take for the stop.
"""


class Supervisor(StatefulService):
    """
    Looks like the service that its workers are.

    @ivar status: the numbers of all workers.
    """

    _log = Logger()

    def __init__(
        self,
        config: EchoConfig,
        reactor: IWorkerReactor,
        listening: Sequence[ParsedEndpoint],
        workers: int,
        proxyFrom: Sequence[IPv4Network | IPv6Network] = (),
        onFailure: Callable[[str], object] = lambda why: None,
        hungAfter: float = HUNG_AFTER,
    ) -> None:
        """
        @param config: of each worker, with its limits.
        @param listening: what became of C{config.listen}.
        @param workers: how many.
        @param onFailure: called with a line for the user when no worker was able to
            start, after which the service has stopped.
        @param hungAfter: seconds without an answer after which a worker is replaced.
        @raise ValueError: if many processes cannot listen on one of the endpoints.
        """
        super().__init__()
        for each in listening:
            checkShareable(each.plainDescription)
        self._config = config
        self._reactor = reactor
        self._listening = list(listening)
        self._workers = workers
        self._proxyFrom = tuple(proxyFrom)
        self._onFailure = onFailure
        # Where relative paths were meant to begin; a daemon may go elsewhere.
        self._folder = os.getcwd()
        self._bound: list[BoundEndpoint] = []
        self._hasAdopted = False
        killTime = longestStop(config.drain, config.abortAfter) + _MARGIN
        self._monitor = WorkerMonitor(reactor, self, killTime, self._folder, hungAfter)
        self._partitions = Partitions(workers, lambda: self._monitor.listeningWorkers)
        self.status = AggregateStatus(lambda: self._monitor.workers, reactor)
        self._expiry = ExpiryWatch(lambda: certificatesOf(listening), reactor)
        self._progress = StartProgress(workers)
        self._stop: WorkersStop | None = None

    @property
    def addresses(self) -> list[IAddress]:
        """
        Where it listens now, in the order of the endpoints.
        """
        return [each.address for each in self._bound]

    @property
    def workerCount(self) -> int:
        """
        How many processes serve.
        """
        return self._workers

    @property
    def limits(self) -> Limits:
        """
        How much there may be at once, in each worker.
        """
        return self._config.limits

    # Start

    def privilegedStartService(self) -> None:
        """
        Bind all sockets.

        @raise Exception: what the first endpoint that cannot listen fails with.
        """
        self._lifecycle.require(Step.START)
        if self._hasAdopted:
            raise AlreadyListened("an adopted socket can be used only once")
        self._bound = bind(
            [each.plainDescription for each in self._listening], self._workers
        )
        self._hasAdopted = not all(each.isOurs for each in self._bound)
        self._progress = StartProgress(self._workers)
        self._stop = None
        self._lifecycle.change(Step.START)

    def startService(self) -> None:
        """
        Start the workers.

        @raise NoWorkers: if this user cannot read the keys and certificates, or not run
            this program. Then the service has stopped.
        """
        if self._lifecycle.isStopped:
            self.privilegedStartService()
        files = [file for each in self._listening for file in each.files]
        try:
            checkAccess([os.path.join(self._folder, each) for each in files])
        except NoWorkers:
            for each in self._bound:
                each.close()
            self._bound = []
            self._lifecycle.recordFailure(Failure())
            self._lifecycle.change(Step.FAIL)
            raise
        super().startService()
        self._monitor.start(
            workerSettings(
                self._workers, self._config, self._proxyFrom, self._bound, self._reactor
            ),
            [socket for each in self._bound for socket in each.sockets],
        )
        self._expiry.start()

    # What becomes of workers

    def workerChanged(self, worker: WorkerProcess) -> None:
        if worker.state is WorkerState.LISTENING:
            self._progress.workerListens(worker.number)
        self._workersChanged()

    def workerAccepts(self) -> None:
        if self._stop is None:
            self._partitions.assign()
        isServing = self._progress.haveAllTried and self.isAccepting
        if self.state is State.STARTING and isServing:
            self._lifecycle.change(Step.LISTEN)

    def workerGone(self, worker: WorkerProcess) -> None:
        self.status.settle(worker.snapshot)
        if self.state is State.STARTING and not worker.hasListened:
            self._progress.workerFailed(worker.number)
        self._workersChanged()
        if self.state is State.STARTING and self._progress.hasFailed:
            self._failStart()

    def _workersChanged(self) -> None:
        if self._stop is not None:
            self._stop.workersChanged()
            return
        # Of workers that cannot start, one may have been the last to try.
        self.workerAccepts()

    def _failStart(self) -> None:
        why = "no worker can start; the log says why"
        self._lifecycle.recordFailure(Failure(NoWorkers(why)))
        self._log.critical(
            "no worker can start: each has failed {tries} times",
            event="workers-failed",
            tries=self._progress.tries,
        )
        self.stopService().addCallback(lambda _: self._onFailure(why))

    @property
    def isAccepting(self) -> bool:
        """
        Whether some worker accepts from every socket, while it listens.
        """
        return self._partitions.areAllAccepted

    def observe(self) -> "Deferred[Observation]":
        """
        Ask the workers, and sum up.
        """
        build = buildInfo(self._reactor)
        return self.status.observe(self.state, self._monitor.restarts, build)

    def sessionsPage(self, after: str, limit: int) -> "Deferred[SessionsPage]":
        """
        List some open sessions: L{AggregateStatus.sessionsPage}.
        """
        return self.status.sessionsPage(after, limit)

    def waitingSessions(self, limit: int) -> "Deferred[list[dict[str, Any]]]":
        """
        List the sessions that wait: L{AggregateStatus.waitingSessions}.
        """
        return self.status.waitingSessions(limit)

    @property
    def canReload(self) -> bool:
        """
        Whether there are certificates.
        """
        return bool(certificatesOf(self._listening))

    def reload(self) -> None:
        """
        Reload keys and certificates in every worker, for new connections.
        """
        self._monitor.sendToAll(Reload)
        # This process serves what a worker that hangs leaves at a stop.
        reloadSilently(self._listening)

    # Stop

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """
        if self._stop is None:
            return longestWorkersStop(self._monitor.killTime)
        return max(0.0, self._stop.endsBy - self._reactor.seconds())

    def stopService(self) -> "Deferred[None]":
        """
        Stop in order. A second call, or one before the start, is legal.

        @return: fires when every worker has ended. It is the caller's own.
        """
        super().stopService()
        if self.state is not State.DRAINING and not self._lifecycle.isStopped:
            stop = self._stop = WorkersStop(
                self._config,
                self._reactor,
                self._listening,
                self._bound,
                self._monitor,
                self.status,
            )
            with self._lifecycle.changing(Step.DRAIN):
                Deferred.fromCoroutine(self._drain(stop))
        return self._lifecycle.whenStopped()

    def stopNow(self) -> "Deferred[None]":
        """
        Stop, and wait for no client: as L{SessionService.stopNow
        <twisted_echo.service.SessionService.stopNow>}.
        """
        stopped = self.stopService()
        if self.state is State.DRAINING and self._stop is not None:
            self._stop.now()
        return stopped

    async def _drain(self, stop: WorkersStop) -> None:
        self._expiry.stop()
        await stop.run()
        self._bound = []
        with self._lifecycle.changing(Step.STOP):
            self._log.info(
                "stopped all {workers} workers: served {served}, refused {refused}",
                event="workers-stopped",
                workers=self._workers,
                served=Tally(self.status.settled.ended),
                refused=Tally(self.status.settled.refused),
            )
