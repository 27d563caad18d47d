"""
Serve, at a stop, the backlogs that no worker serves.

What must hold: a client in such a backlog is served, and its session ended, by the same
rules as in a worker; no client waits for workers that hang.
"""

from collections.abc import Callable, Container, Iterable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger
from zope.interface import provider

from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.binding import BoundEndpoint
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.metrics import Snapshot
from twisted_echo.stop import ListenerStop

__all__ = ["UnservedBacklogs"]

_ANSWERED_WITHIN = 1.0
"""
Seconds that the workers have to say which backlogs they serve.
"""

_log = Logger()


@provider(ILogObserver)
def _ignore(event: LogEvent) -> None:
    pass


class _Service(EchoService):
    """
    The echo service itself, in the parent, which stops as soon as it has started.
    """

    # That it listens and stops for a moment would only confuse.
    _log = Logger(observer=_ignore)
    warnsOfExpiry = False


class UnservedBacklogs:
    """
    Serves what the workers leave, once.
    """

    def __init__(
        self,
        config: EchoConfig,
        reactor: IReactorTime,
        listening: Sequence[ParsedEndpoint],
        bound: Sequence[BoundEndpoint],
        workers: Callable[[], Iterable[WorkerProcess]],
    ) -> None:
        """
        @param listening: the endpoints, for what is above their sockets.
        @param bound: the sockets.
        @param workers: gives the live workers.
        """
        self._config = config
        self._reactor = reactor
        self._listening = listening
        self._bound = bound
        self._workers = workers
        self._service: _Service | None = None
        self._timer: IDelayedCall | None = None

    def serveWhenAnswered(self) -> None:
        """
        Serve when all workers have said which backlogs they serve, or should have.
        """
        if self._service is None:
            self._timer = self._reactor.callLater(_ANSWERED_WITHIN, self.serve)

    def workersChanged(self) -> None:
        """
        Serve if all workers have said so.
        """
        if all(each.state is WorkerState.DRAINING for each in self._workers()):
            self.serve()

    def serve(self) -> "Deferred[list[ListenerStop]]":
        """
        Accept what waits, end it as a service that stops, and give the sockets up,
        unless that has begun already.

        @return: fires when all of it has ended.
        """
        return self._begun().stopService()

    def stopNow(self) -> None:
        """
        Serve, and wait for no client.
        """
        self._begun().stopNow()

    def snapshot(self) -> Snapshot:
        """
        Its numbers.
        """
        return Snapshot() if self._service is None else self._service.snapshot()

    def _begun(self) -> _Service:
        if self._service is not None:
            return self._service
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        owned = [each.owned for each in self._workers() if each.owned is not None]
        service = self._service = self._make(set().union(*owned) if owned else None)
        try:
            service.startService()
        except Exception:
            _log.failure(
                "cannot serve the connections that are left in the backlogs",
                event="backlogs-failed",
            )
        service.stopService()
        # Connections on systemd's sockets are left to the next process.
        for each in self._bound:
            each.close()
        return service

    def _make(self, owned: Container[int] | None) -> _Service:
        """
        Make a service for the backlogs that no worker serves.

        @param owned: the partitions whose backlogs workers serve; None if no worker
            serves any, nor the backlogs that all workers share.
        """
        endpoints = [
            each.withPlainEndpoint(AdoptedEndpoint(self._reactor, socket, isOwned=True))
            for each, own in zip(self._listening, self._bound, strict=True)
            if own.isOurs
            for partition, socket in enumerate(own.sockets)
            if owned is None or (len(own.sockets) > 1 and partition not in owned)
        ]
        return _Service(self._config, reactor=self._reactor, endpoints=endpoints)
