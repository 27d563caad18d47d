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
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.protocols import amp

from twisted_echo.admin.status_view import SessionsPage, buildInfo
from twisted_echo.command.file_access import unreadable, unusable
from twisted_echo.command.workers.backlog_drain import Rest
from twisted_echo.command.workers.binding import Bound, bind, checkShareable
from twisted_echo.command.workers.channel import Reload, Settings, StopNow
from twisted_echo.command.workers.inquiry import Inquiry
from twisted_echo.command.workers.shares import divide
from twisted_echo.command.workers.watch import HUNG_AFTER
from twisted_echo.command.workers.worker_monitor import WorkerMonitor
from twisted_echo.command.workers.worker_process import (
    KILLED_WITHIN,
    STOP_NOW_WITHIN,
    WorkerProcess,
)
from twisted_echo.echo import EchoConfig
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.lifecycle import IllegalTransition, State, Step
from twisted_echo.logs.values import Tally
from twisted_echo.metrics import Observation, Snapshot
from twisted_echo.session.limits import Limits
from twisted_echo.stop import longestStop
from twisted_echo.tls.expiry import ExpiryWatch

__all__ = ["NoWorkers", "Supervisor"]

_TRIES = 3
"""
How often each worker may fail to start, before it is said that none does.
"""
_MARGIN = 5.0
"""
Seconds that a worker has more for its end than its service may take for the stop.
"""


class NoWorkers(Exception):
    """
    No worker is able to start.
    """


class Supervisor(Service):
    """
    Looks like the service that its workers are.

    @ivar state: the present L{State}.
    @ivar inquiry: asks the workers.
    @ivar stopsBy: the time, by the reactor, at which a stop that has begun will have
        ended at the latest; None before.
    """

    stopsBy: float | None = None

    _log = Logger()

    def __init__(
        self,
        config: EchoConfig,
        reactor: Any,
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
        for each in listening:
            checkShareable(each.plainDescription)
        self.state = State.IDLE
        self._config = config
        self._reactor = reactor
        self._listening = list(listening)
        self._workers = workers
        self._proxyFrom = tuple(proxyFrom)
        self._onFailure = onFailure
        # Where relative paths were meant to begin; a daemon may go elsewhere.
        self._folder = os.getcwd()
        self._bound: list[Bound] = []
        # Seconds that a worker may take for its end.
        self._patience = longestStop(config.drain, config.abortAfter) + _MARGIN
        self._monitor = WorkerMonitor(
            reactor, self, self._patience, self._folder, hungAfter
        )
        self.inquiry = Inquiry(self._alive, reactor)
        # For all workers.
        self._expiry = ExpiryWatch(
            lambda: [
                each.certificates
                for each in self._listening
                if each.certificates is not None
            ],
            reactor,
        )
        self._hasAdopted = False
        # Which workers have ever listened, and how often each could not start.
        self._ready: set[int] = set()
        self._failures = [0] * workers
        self._failure: Exception | None = None
        # From the beginning of a stop to its end.
        self._rest: Rest | None = None
        self._askers: list[Deferred[None]] = []
        self._stopAskers: list[Deferred[None]] = []

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

    @property
    def canReload(self) -> bool:
        """
        Whether there are certificates.
        """
        return any(each.certificates is not None for each in self._listening)

    @property
    def stopsWithin(self) -> float:
        """
        Seconds that a stop takes at the most; what is left of them, once it has begun.
        """
        if self.stopsBy is None:
            return self._patience + KILLED_WITHIN
        return max(0.0, self.stopsBy - float(self._reactor.seconds()))

    # Start

    def privilegedStartService(self) -> None:
        """
        Bind all sockets.

        @raise Exception: what the first endpoint that cannot listen fails with.
        """
        if self.state not in (State.IDLE, State.STOPPED):
            raise IllegalTransition(Step.START, self.state)
        if self._hasAdopted:
            raise AlreadyListened("an adopted socket can be listened on once")
        self._bound = bind(
            [each.plainDescription for each in self._listening], self._workers
        )
        self._hasAdopted = not all(each.isOurs for each in self._bound)
        self.state = State.STARTING
        self.stopsBy = None
        self._failure = None
        self._failures = [0] * self._workers
        self._ready = set()

    def startService(self) -> None:
        """
        Start the workers.

        @raise NoWorkers: if this user cannot read the keys and certificates, or not run
            this program. Then the service has stopped.
        """
        if self.state in (State.IDLE, State.STOPPED):
            self.privilegedStartService()
        try:
            self._checkFiles()
        except NoWorkers:
            for each in self._bound:
                each.close()
            self._bound = []
            self.state = State.STOPPED
            raise
        super().startService()
        self._monitor.start(
            [
                Settings(
                    number=number,
                    config=self._config,
                    proxyFrom=self._proxyFrom,
                    isOurs=[each.isOurs for each in self._bound],
                    sockets=[len(each.sockets) for each in self._bound],
                    reactor=type(self._reactor).__module__,
                )
                for number in range(self._workers)
            ],
            [socket for each in self._bound for socket in each.sockets],
        )
        self._expiry.start()

    def _checkFiles(self) -> None:
        files = [file for each in self._listening for file in each.files]
        # By now twistd has become the user of --uid.
        for paths, done in (
            (unreadable([os.path.join(self._folder, each) for each in files]), "read"),
            (unreadable([__file__]), "read"),
            (unusable([sys.executable], os.X_OK), "run"),
        ):
            if paths:
                raise NoWorkers(
                    f"{', '.join(paths)} cannot be {done} by the user that workers run"
                    f" as, number {os.geteuid()}"
                )

    def whenListening(self) -> "Deferred[None]":
        """
        Wait for every worker to have listened once, or to have failed to, while another
        one serves in its place.

        @return: fires when they have, or fails: with L{NoWorkers} if none is able to.
        """
        asker: Deferred[None] = Deferred()

        def tell(_: None) -> "Deferred[None]":
            if self.state is State.LISTENING:
                return succeed(None)
            return fail(self._failure or IllegalTransition(Step.LISTEN, self.state))

        asker.addCallback(tell)
        if self.state is State.STARTING:
            self._askers.append(asker)
        else:
            asker.callback(None)
        return asker

    def _tellAskers(self) -> None:
        askers, self._askers = self._askers, []
        for asker in askers:
            asker.callback(None)

    # What becomes of workers

    def workerChanged(self, worker: WorkerProcess) -> None:
        if worker.state == "listening" and worker.number not in self._ready:
            self._ready.add(worker.number)
        self._workersChanged()

    def workerServes(self) -> None:
        if self._rest is None:
            self._divide()
        hasTried = all(
            self._failures[number] or number in self._ready
            for number in range(self._workers)
        )
        if self.state is State.STARTING and hasTried and self.isAccepting:
            self.state = State.LISTENING
            self._tellAskers()

    def workerGone(self, worker: WorkerProcess) -> None:
        self.inquiry.settle(worker.snapshot)
        if self.state is State.STARTING and not worker.wasReady:
            self._failures[worker.number] += 1
        self._workersChanged()
        if (
            self.state is State.STARTING
            and not self._ready
            and min(self._failures) >= _TRIES
        ):
            self._failure = NoWorkers("no worker can start; the log says why")
            self._log.critical(
                "no worker can start, after {tries} tries each",
                event="workers-failed",
                tries=_TRIES,
            )
            stopped = self.stopService()
            stopped.addCallback(lambda _: self._onFailure(str(self._failure)))

    def _workersChanged(self) -> None:
        if self._rest is not None:
            self._rest.workersChanged()
            return
        # Of workers that cannot start, one may have been the last to try.
        self.workerServes()

    def _divide(self) -> None:
        serving = {each.number: each for each in self._listeningWorkers()}
        served = {number: each.serves for number, each in serving.items()}
        for number, shares in divide(self._workers, served).items():
            serving[number].serve(shares)

    # What there is to know

    def _alive(self) -> list[WorkerProcess]:
        return self._monitor.workers

    def _listeningWorkers(self) -> list[WorkerProcess]:
        return [each for each in self._alive() if each.state == "listening"]

    def observe(self) -> "Deferred[Observation]":
        """
        Ask the workers, and sum up.
        """

        def told(snapshots: dict[str, Snapshot]) -> Observation:
            return Observation(
                total=self.inquiry.total(snapshots),
                workers=snapshots,
                restarts=dict(self._monitor.restarts),
                state=self.state.value,
                states=tuple(each.value for each in State),
                build=buildInfo(self._reactor),
            )

        return self.inquiry.snapshots().addCallback(told)

    def sessionsPage(
        self, after: str = "", limit: int = 100
    ) -> "Deferred[SessionsPage]":
        """
        Tell of some open sessions: see L{askSessions}.
        """
        return self.inquiry.sessionsPage(after, limit)

    # What it is told

    @property
    def isAccepting(self) -> bool:
        """
        Whether some worker accepts from every socket, while it listens.
        """
        served = [each.serves for each in self._listeningWorkers()]
        return len(set().union(*served)) == self._workers

    def reload(self) -> None:
        """
        Have keys and certificates loaded anew, for connections that are still to come.
        """
        self._sendToAll(Reload)
        for each in self._listening:
            if each.certificates is not None:
                # This process serves what a worker that hangs leaves at a stop. How it
                # goes, the workers log.
                with suppress(Exception):
                    each.certificates.reload()

    def _sendToAll(self, command: type[amp.Command]) -> None:
        for worker in self._alive():
            # One that has died meanwhile does not need it.
            worker.channel.ask(command).addErrback(lambda _: None)

    # Stop

    def stopService(self) -> "Deferred[None]":
        """
        Stop in order. A second call, or one before the start, is legal.

        @return: fires when every worker has ended.
        """
        super().stopService()
        if self.state in (State.IDLE, State.STOPPED):
            return succeed(None)
        asker: Deferred[None] = Deferred()
        self._stopAskers.append(asker)
        if self.state is not State.DRAINING:
            self._drain()
        return asker

    def stopNow(self) -> "Deferred[None]":
        """
        Stop, and wait for no client. A stop that has begun goes on like this.

        @return: as from L{stopService}.
        """
        stopped = self.stopService()
        if self._rest is not None:
            self._rest.stopNow()
        self._sendToAll(StopNow)
        # One that hangs does not hear it.
        self._monitor.stopNow()
        if self.stopsBy is not None:
            within = STOP_NOW_WITHIN + KILLED_WITHIN
            self.stopsBy = min(self.stopsBy, self._reactor.seconds() + within)
        return stopped

    def _drain(self) -> None:
        self.state = State.DRAINING
        self.stopsBy = self._reactor.seconds() + self._patience + KILLED_WITHIN
        self._tellAskers()
        self._expiry.stop()
        for each in self._bound:
            each.shut()
        rest = self._rest = Rest(
            self._config, self._reactor, self._listening, self._bound, self._alive
        )
        self.inquiry.here = rest.snapshot
        rest.begin()
        stopped = self._monitor.stop()
        stopped.addCallback(lambda _: rest.serve())
        stopped.addCallback(self._stopped)

    def _stopped(self, _: Any) -> None:
        self.state = State.STOPPED
        if self._rest is not None:
            self.inquiry.settle(self._rest.snapshot())
            self.inquiry.here = Snapshot
            self._rest = None
        self._bound = []
        self._log.info(
            "stopped, all {workers} workers; served {served}; refused {refused}",
            event="workers-stopped",
            workers=self._workers,
            served=Tally(self.inquiry.settled.ended),
            refused=Tally(self.inquiry.settled.refused),
        )
        askers, self._stopAskers = self._stopAskers, []
        for asker in askers:
            asker.callback(None)
