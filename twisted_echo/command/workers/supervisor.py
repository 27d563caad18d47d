"""
Many processes that serve one service: C{--workers N}.

Used by: L{twisted_echo.tap} alone.

What must hold:

  - all sockets are bound before privileges are shed, and kept: what is connected while
    a worker is dead waits for its successor;
  - sums never decrease: what a worker has counted stays when it is gone, as far as it
    was asked last;
  - the stop fires, always: the kernel begins no more connections, the workers drain,
    and what is left in the back-logs gets its end-of-file here.

Limits (C{--max-sessions}, C{--max-buffered} and so on) are of each process. Each reads
the files of C{ssl:} when it starts, so the user of C{--uid} must be able to.
"""

import os
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.logger import Logger

from twisted_echo.command.local import hurry
from twisted_echo.command.workers.binding import Bound, bind, checkShareable
from twisted_echo.command.workers.channel import Hurry, Reload, Settings
from twisted_echo.command.workers.inquiry import askSessions, askSnapshots
from twisted_echo.command.workers.process import (
    HURRIED_WITHIN,
    KILLED_WITHIN,
    WorkerProcess,
)
from twisted_echo.command.workers.rest import Rest
from twisted_echo.echo import EchoConfig
from twisted_echo.limits import Limits
from twisted_echo.listen import Listening
from twisted_echo.metrics import Observation, Snapshot, tally
from twisted_echo.service import IllegalTransition, State
from twisted_echo.view import build

if TYPE_CHECKING:
    from twisted_echo.command.workers.monitor import WorkerMonitor

__all__ = ["NoWorkers", "Supervisor"]

_TRIES = 3
"""
How often each worker may fail to start, before it is said that none does.
"""
_MARGIN = 5.0
"""
Seconds that a worker has more for its end than the end of its sessions takes.
"""
_PATIENCE = 2.0
"""
Seconds that a worker has to say how many sessions it cuts off.
"""
_PORTS_CLOSE_WITHIN = 1.0
"""
Seconds in which a worker that is told to drain has closed its ports.
"""


class NoWorkers(Exception):
    """
    No worker has ever been able to start; the log says why.
    """


class Supervisor(Service):
    """
    Looks like the service that its workers are.

    @ivar state: the present L{State}.
    @ivar stopsBy: the time, by the reactor, at which a stop that has begun will have
        ended at the latest; None before.
    """

    stopsBy: float | None = None

    _log = Logger()

    def __init__(
        self,
        config: EchoConfig,
        reactor: Any,
        listening: Sequence[Listening],
        workers: int,
        proxyFrom: Sequence[IPv4Network | IPv6Network] = (),
        onFailure: Callable[[str], object] = lambda why: None,
    ) -> None:
        """
        @param config: of each worker, with its limits.
        @param listening: what became of C{config.listen}.
        @param workers: how many.
        @param onFailure: called with a line for the user when no worker was able to
            start, after which the service has stopped.
        @raise ValueError: if many processes cannot listen on one of the endpoints.
        """
        for each in listening:
            checkShareable(each.bottom)
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
        self._monitor: WorkerMonitor | None = None
        self._hasAdopted = False
        # Which workers have ever listened, and how often each could not start.
        self._ready: set[int] = set()
        self._isHurried = False
        self._failures = [0] * workers
        self._failure: Exception | None = None
        self._gone = Snapshot()
        self._rest: Rest | None = None
        self._restStopped: Deferred[Any] | None = None
        self._portsClose: IDelayedCall | None = None
        self._askers: list[Deferred[None]] = []
        self._stopAskers: list[Deferred[None]] = []

    @property
    def addresses(self) -> list[IAddress]:
        """
        Where it listens now, in the order of the endpoints.
        """
        return [each.address for each in self._bound]

    @property
    def by(self) -> str:
        """
        What serves it.
        """
        return f"{self._workers} workers with {type(self._reactor).__name__}"

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

    @property
    def _patience(self) -> float:
        """
        Seconds that a worker may take for its end.
        """
        return self._config.drain + self._config.abortAfter + _MARGIN

    # Start

    def privilegedStartService(self) -> None:
        """
        Bind all sockets.

        @raise Exception: what the first endpoint that cannot listen fails with.
        """
        if self.state not in (State.IDLE, State.STOPPED):
            raise IllegalTransition("start", self.state, State.IDLE, State.STOPPED)
        if self._hasAdopted:
            raise AlreadyListened("an adopted socket can be listened on once")
        self._bound = bind([each.bottom for each in self._listening], self._workers)
        self._hasAdopted = not all(each.isOurs for each in self._bound)
        self.state = State.STARTING
        self.stopsBy = None
        self._failure = self._rest = self._restStopped = None
        self._failures = [0] * self._workers
        self._ready = set()
        self._isHurried = False

    def startService(self) -> None:
        """
        Start the workers.
        """
        if self.state in (State.IDLE, State.STOPPED):
            self.privilegedStartService()
        super().startService()  # type: ignore[no-untyped-call]
        # This imports a reactor, so not before one was chosen.
        from twisted_echo.command.workers.monitor import WorkerMonitor

        config = self._config
        self._monitor = WorkerMonitor(
            self._reactor,
            self,
            [
                Settings(
                    number=number,
                    config=config,
                    proxyFrom=self._proxyFrom,
                    isOurs=[each.isOurs for each in self._bound],
                    reactor=type(self._reactor).__module__,
                )
                for number in range(self._workers)
            ],
            lambda number: [each.of(number) for each in self._bound],
            self._patience,
            self._folder,
        )
        self._monitor.startService()

    def whenListening(self) -> "Deferred[None]":
        """
        Wait for every worker to have listened once.

        @return: fires when they have, or fails: with L{NoWorkers} if none is able to.
        """
        asker: Deferred[None] = Deferred()

        def tell(_: None) -> "Deferred[None]":
            if self.state is State.LISTENING:
                return succeed(None)
            return fail(
                self._failure
                or IllegalTransition("listen", self.state, State.LISTENING)
            )

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
        if worker.state == "listening":
            self._ready.add(worker.number)
            self._log.info(
                "worker {worker} listens, as process {process}",
                event="worker-listening",
                worker=worker.number,
                process=worker.pid,
            )
            if self.state is State.STARTING and len(self._ready) == self._workers:
                self.state = State.LISTENING
                self._tellAskers()
        elif self.state is State.DRAINING:
            self._perhapsServeRest()

    def workerGone(self, worker: WorkerProcess) -> None:
        self._gone += worker.snapshot.settled()
        if self.state is State.DRAINING:
            self._perhapsServeRest()
        elif self.state is State.STARTING and not self._ready:
            self._failures[worker.number] += 1
            if min(self._failures) >= _TRIES:
                self._failure = NoWorkers("no worker can start; the log says why")
                self._log.critical(
                    "no worker can start, after {tries} tries each",
                    event="workers-failed",
                    tries=_TRIES,
                )
                stopped = self.stopService()
                stopped.addCallback(lambda _: self._onFailure(str(self._failure)))

    # What there is to know

    def _alive(self) -> list[WorkerProcess]:
        return [] if self._monitor is None else self._monitor.workers

    def snapshots(self) -> "Deferred[dict[str, Snapshot]]":
        """
        Ask the workers for their numbers.

        @return: those of each that is alive, by its number. Of one that does not answer
            in time, the last that are known.
        """
        return askSnapshots(self._alive)

    def total(self, snapshots: dict[str, Snapshot]) -> Snapshot:
        """
        Sum up, with what workers have counted that are gone.

        @param snapshots: what L{snapshots} has just fired with.
        """
        rest = Snapshot() if self._rest is None else self._rest.snapshot()
        return sum(snapshots.values(), self._gone + rest)

    def observe(self) -> "Deferred[Observation]":
        """
        Ask the workers, and sum up.
        """

        def told(snapshots: dict[str, Snapshot]) -> Observation:
            return Observation(
                total=self.total(snapshots),
                workers=snapshots,
                state=self.state.value,
                states=tuple(each.value for each in State),
                build=build(self._reactor),
            )

        return self.snapshots().addCallback(told)

    def sessionsPage(
        self, after: str = "", limit: int = 100
    ) -> "Deferred[dict[str, Any]]":
        """
        Tell of some open sessions, worker by worker: see L{askSessions}.
        """
        page = askSessions(self._alive(), self._reactor, after, limit)

        def counted(found: dict[str, Any]) -> "Deferred[dict[str, Any]]":
            def told(snapshots: dict[str, Snapshot]) -> dict[str, Any]:
                return {**found, "total": self.total(snapshots).sessions}

            return self.snapshots().addCallback(told)

        return page.addCallback(counted)

    # What it is told

    @property
    def isAccepting(self) -> bool:
        """
        Whether there is a worker that accepts, while it listens.
        """
        return any(each.state == "listening" for each in self._alive())

    def hurry(self) -> "Deferred[int]":
        """
        Wait no longer for the sessions that are left.

        @return: how many those were, as far as workers say so in time.
        """
        self._isHurried = True
        left = 0 if self._rest is None else len(self._rest.factory.sessions)
        asked = [
            each.addTimeout(_PATIENCE, self._reactor) for each in self._tellAll(Hurry)
        ]
        if self._monitor is not None:
            # One that hangs does not hear it.
            self._monitor.hurry()
        if self.stopsBy is not None:
            within = HURRIED_WITHIN + KILLED_WITHIN
            self.stopsBy = min(self.stopsBy, self._reactor.seconds() + within)
        if self._rest is not None:
            hurry(self._rest)

        def counted(answers: list[tuple[bool, Any]]) -> int:
            return left + sum(
                int(answer["sessions"]) for isAnswered, answer in answers if isAnswered
            )

        return DeferredList(asked, consumeErrors=True).addCallback(counted)

    def reload(self) -> None:
        """
        Have keys and certificates loaded anew, for connections that are still to come.
        """
        for told in self._tellAll(Reload):
            # It has died; its successor will not need it.
            told.addErrback(lambda _: None)

    def _tellAll(self, command: Any) -> "list[Deferred[Any]]":
        return [worker.channel.ask(command) for worker in self._alive()]

    # Stop

    def stopService(self) -> "Deferred[None]":
        """
        Stop in order. A second call, or one before the start, is legal.

        @return: fires when every worker has ended.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        if self.state in (State.IDLE, State.STOPPED):
            return succeed(None)
        asker: Deferred[None] = Deferred()
        self._stopAskers.append(asker)
        if self.state is not State.DRAINING:
            self._drain()
        return asker

    def _drain(self) -> None:
        self.state = State.DRAINING
        self.stopsBy = self._reactor.seconds() + self._patience + KILLED_WITHIN
        self._tellAskers()
        for each in self._bound:
            each.shut()
        self._portsClose = self._reactor.callLater(_PORTS_CLOSE_WITHIN, self._serveRest)
        stopped = (
            succeed(None) if self._monitor is None else self._monitor.stopService()
        )
        stopped.addCallback(lambda _: self._serveRest())
        stopped.addCallback(self._stopped)

    def _perhapsServeRest(self) -> None:
        if all(each.state == "draining" for each in self._alive()):
            self._serveRest()

    def _serveRest(self) -> "Deferred[Any]":
        """
        Deal with what waits in the back-logs as a service does at its stop, and give
        the sockets up; once.

        Before the workers have closed their ports they may accept it as well.
        """
        if self._restStopped is not None:
            return self._restStopped
        if self._portsClose is not None and self._portsClose.active():
            self._portsClose.cancel()
        self._rest = Rest(self._config, self._reactor, self._listening, self._bound)
        self._restStopped = self._rest.serve()
        if self._isHurried:
            hurry(self._rest)
        return self._restStopped

    def _stopped(self, _: Any) -> None:
        self.state = State.STOPPED
        if self._rest is not None:
            self._gone += self._rest.snapshot().settled()
            self._rest = None
        self._bound = []
        self._log.info(
            "stopped, all {workers} workers; served {served}; refused {refused}",
            event="workers-stopped",
            workers=self._workers,
            served=tally(self._gone.ended),
            refused=tally(self._gone.refused),
        )
        askers, self._stopAskers = self._stopAskers, []
        for asker in askers:
            asker.callback(None)
