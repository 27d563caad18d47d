"""
Many processes that serve one service: C{--workers N}.

What must hold:

  - all sockets are bound before privileges are shed, and kept: while there is a worker
    that listens, some worker accepts from each of them; if there is none, clients wait;
  - sums never decrease: what a worker has counted stays when it is gone, as far as it
    was asked last;
  - the stop fires, always: the kernel begins no more connections, the workers deal with
    what waits for them, and drain; what they leave in the backlogs is dealt with here.

Limits (C{--max-sessions}, C{--max-buffered} and so on) are of each process. Each reads
the files of C{ssl:} when it starts, so the user of C{--uid} must be able to.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from twisted_echo.admin.status_view import SessionsPage, buildInfo
from twisted_echo.command.file_access import unreadable, unusable
from twisted_echo.command.workers.aggregate_status import AggregateStatus
from twisted_echo.command.workers.binding import Bound, bind, checkShareable
from twisted_echo.command.workers.channel import Reload, StopNow, WorkerSettings
from twisted_echo.command.workers.hang_detector import HUNG_AFTER
from twisted_echo.command.workers.kill_timers import KILLED_WITHIN, STOP_NOW_WITHIN
from twisted_echo.command.workers.launch import IWorkerReactor
from twisted_echo.command.workers.partitions import assignPartitions
from twisted_echo.command.workers.start_progress import StartProgress
from twisted_echo.command.workers.unserved_backlogs import UnservedBacklogs
from twisted_echo.command.workers.worker_monitor import WorkerMonitor
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.echo import EchoConfig
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.lifecycle import State, StatefulService, Step
from twisted_echo.logs.values import Tally
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.session.limits import Limits
from twisted_echo.stop import longestStop
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.expiry import ExpiryWatch

__all__ = ["NoWorkers", "Supervisor"]

_MARGIN = 5.0
"""
Seconds that a worker has more for its end than its service may take for the stop.
"""


class NoWorkers(Exception):
    """
    No worker is able to start.
    """


def _checkAccess(files: Sequence[str]) -> None:
    """
    Check that workers can start as the present user, and read their files. (By now
    twistd has become the user of C{--uid}.)

    @raise NoWorkers: if they cannot.
    """
    for paths, use in (
        (unreadable([*files]), "read"),
        (unreadable([__file__]), "read"),
        (unusable([sys.executable], os.X_OK), "run"),
    ):
        if paths:
            raise NoWorkers(
                f"{', '.join(paths)} cannot be {use} by the user that workers run"
                f" as, number {os.geteuid()}"
            )


class Supervisor(StatefulService):
    """
    Looks like the service that its workers are.

    @ivar status: the numbers of all workers.
    @ivar stopsBy: the time, by the reactor, at which a stop that has begun will have
        ended at the latest; None before.
    """

    stopsBy: float | None = None

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
        self._bound: list[Bound] = []
        self._hasAdopted = False
        # Seconds that a worker may take for its end.
        self._killTime = longestStop(config.drain, config.abortAfter) + _MARGIN
        self._monitor = WorkerMonitor(
            reactor, self, self._killTime, self._folder, hungAfter
        )
        self.status = AggregateStatus(self._alive, reactor)
        # For all workers.
        self._expiry = ExpiryWatch(self._certificates, reactor)
        self._progress = StartProgress(workers)
        # From the beginning of a stop to its end.
        self._backlogs: UnservedBacklogs | None = None

    # What it is

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
            raise AlreadyListened("an adopted socket can be listened on once")
        self._bound = bind(
            [each.plainDescription for each in self._listening], self._workers
        )
        self._hasAdopted = not all(each.isOurs for each in self._bound)
        self._progress = StartProgress(self._workers)
        self.stopsBy = None
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
            _checkAccess([os.path.join(self._folder, each) for each in files])
        except NoWorkers:
            for each in self._bound:
                each.close()
            self._bound = []
            self._lifecycle.recordFailure(Failure())
            self._lifecycle.change(Step.FAIL)
            raise
        super().startService()
        self._monitor.start(
            [self._settings(number) for number in range(self._workers)],
            [socket for each in self._bound for socket in each.sockets],
        )
        self._expiry.start()

    def _settings(self, number: int) -> WorkerSettings:
        return WorkerSettings(
            number=number,
            config=self._config,
            proxyFrom=self._proxyFrom,
            isOurs=[each.isOurs for each in self._bound],
            sockets=[len(each.sockets) for each in self._bound],
            reactor=type(self._reactor).__module__,
        )

    # What becomes of workers

    def workerChanged(self, worker: WorkerProcess) -> None:
        if worker.state is WorkerState.LISTENING:
            self._progress.workerListens(worker.number)
        self._workersChanged()

    def workerAccepts(self) -> None:
        if self._backlogs is None:
            self._assignPartitions()
        if (
            self.state is State.STARTING
            and self._progress.haveAllTried
            and self.isAccepting
        ):
            self._lifecycle.change(Step.LISTEN)

    def workerGone(self, worker: WorkerProcess) -> None:
        self.status.settle(worker.snapshot)
        if self.state is State.STARTING and not worker.hasListened:
            self._progress.workerFailed(worker.number)
        self._workersChanged()
        if self.state is State.STARTING and self._progress.hasFailed:
            self._failStart()

    def _workersChanged(self) -> None:
        if self._backlogs is not None:
            self._backlogs.workersChanged()
            return
        # Of workers that cannot start, one may have been the last to try.
        self.workerAccepts()

    def _assignPartitions(self) -> None:
        listening = {each.number: each for each in self._listeningWorkers()}
        accepting = {number: each.accepted for number, each in listening.items()}
        for number, assigned in assignPartitions(self._workers, accepting).items():
            listening[number].acceptFrom(assigned)

    def _failStart(self) -> None:
        why = "no worker can start; the log says why"
        self._lifecycle.recordFailure(Failure(NoWorkers(why)))
        self._log.critical(
            "no worker can start, after {tries} tries each",
            event="workers-failed",
            tries=self._progress.tries,
        )
        self.stopService().addCallback(lambda _: self._onFailure(why))

    # What there is to know

    def _alive(self) -> list[WorkerProcess]:
        return self._monitor.workers

    def _listeningWorkers(self) -> list[WorkerProcess]:
        return [each for each in self._alive() if each.state is WorkerState.LISTENING]

    @property
    def isAccepting(self) -> bool:
        """
        Whether some worker accepts from every socket, while it listens.
        """
        accepted = [each.accepted for each in self._listeningWorkers()]
        return len(set().union(*accepted)) == self._workers

    def observe(self) -> "Deferred[Observation]":
        """
        Ask the workers, and sum up.
        """

        def summedUp(snapshots: dict[str, Snapshot]) -> Observation:
            return Observation(
                total=self.status.total(snapshots),
                workers=snapshots,
                restarts=dict(self._monitor.restarts),
                state=self.state.value,
                states=tuple(each.value for each in State),
                build=buildInfo(self._reactor),
            )

        return self.status.snapshots().addCallback(summedUp)

    def sessionsPage(
        self, after: str = "", limit: int = 100
    ) -> "Deferred[SessionsPage]":
        """
        List some open sessions: L{AggregateStatus.sessionsPage}.
        """
        return self.status.sessionsPage(after, limit)

    # Reload

    def _certificates(self) -> list[Certificates]:
        found = [each.certificates for each in self._listening]
        return [each for each in found if each is not None]

    @property
    def canReload(self) -> bool:
        """
        Whether there are certificates.
        """
        return bool(self._certificates())

    def reload(self) -> None:
        """
        Have keys and certificates loaded anew, for connections that are still to come.
        """
        self._sendToAll(Reload)
        for each in self._certificates():
            # This process serves what a worker that hangs leaves at a stop. How it
            # goes, the workers log.
            with suppress(Exception):
                each.reload()

    def _sendToAll(self, command: type[amp.Command]) -> None:
        for worker in self._alive():
            # One that has died meanwhile does not need it.
            worker.channel.ask(command).addErrback(lambda _: None)

    # Stop

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """
        if self.stopsBy is None:
            return self._killTime + KILLED_WITHIN
        return max(0.0, self.stopsBy - self._reactor.seconds())

    def stopService(self) -> "Deferred[None]":
        """
        Stop in order. A second call, or one before the start, is legal.

        @return: fires when every worker has ended. It is the caller's own.
        """
        super().stopService()
        if self.state is not State.DRAINING and not self._lifecycle.isStopped:
            self.stopsBy = self._reactor.seconds() + self.stopsWithin
            self._lifecycle.change(Step.DRAIN)
            Deferred.fromCoroutine(self._drain())
        return self._lifecycle.whenStopped()

    def stopNow(self) -> "Deferred[None]":
        """
        Stop, and wait for no client. A stop that has begun goes on like this.

        @return: as from L{stopService}.
        """
        stopped = self.stopService()
        if self._backlogs is not None:
            self._sendToAll(StopNow)
            self._backlogs.stopNow()
            # A worker that hangs does not hear it.
            self._monitor.stopNow()
        if self.stopsBy is not None:
            within = STOP_NOW_WITHIN + KILLED_WITHIN
            self.stopsBy = min(self.stopsBy, self._reactor.seconds() + within)
        return stopped

    async def _drain(self) -> None:
        self._expiry.stop()
        # 1. The kernel begins no more connections.
        for each in self._bound:
            each.shut()
        # 2. The workers drain, each with the backlogs that it accepts from.
        backlogs = self._backlogs = UnservedBacklogs(
            self._config, self._reactor, self._listening, self._bound, self._alive
        )
        self.status.ownSnapshot = backlogs.snapshot
        backlogs.serveWhenAnswered()
        await self._monitor.stop()
        # 3. What they have left has ended, too.
        await backlogs.serve()
        # 4. All is counted.
        self.status.settle(backlogs.snapshot())
        self.status.ownSnapshot = Snapshot
        self._backlogs = None
        self._bound = []
        with self._lifecycle.changing(Step.STOP):
            self._log.info(
                "stopped, all {workers} workers; served {served}; refused {refused}",
                event="workers-stopped",
                workers=self._workers,
                served=Tally(self.status.settled.ended),
                refused=Tally(self.status.settled.refused),
            )
