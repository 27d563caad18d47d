"""
Serve, at a stop, the backlogs that no worker serves.

What must hold: a client in such a backlog is served, and its session ended, by the same
rules as in a worker; no client waits for workers that hang.
"""

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.binding import Bound
from twisted_echo.command.workers.worker_process import WorkerProcess
from twisted_echo.echo import EchoConfig, EchoService
from twisted_echo.endpoints.strings import ParsedEndpoint
from twisted_echo.metrics import Snapshot

__all__ = ["Rest"]

_TOLD_WITHIN = 1.0
"""
Seconds that a worker has to say which backlogs it serves.
"""

_log = Logger()


class _Service(EchoService):
    """
    The service itself, in the parent, which stops as soon as it has started.
    """

    # That it listens and stops for a moment would only confuse.
    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]
    warnsOfExpiry = False


class Rest:
    """
    Deals with what workers leave.
    """

    def __init__(
        self,
        config: EchoConfig,
        reactor: Any,
        listening: Sequence[ParsedEndpoint],
        bound: Sequence[Bound],
        workers: Callable[[], Iterable[WorkerProcess]],
    ) -> None:
        """
        @param listening: the endpoints, for what is above their sockets.
        @param bound: the sockets.
        @param workers: gives those that are alive.
        """
        self._config = config
        self._reactor = reactor
        self._listening = listening
        self._bound = bound
        self._workers = workers
        self._service: _Service | None = None
        self._stopped: Deferred[Any] | None = None
        self._isToStopNow = False
        self._waits: IDelayedCall | None = None

    def begin(self) -> None:
        """
        Begin when all workers have said what they deal with, or should have.
        """
        self._waits = self._reactor.callLater(_TOLD_WITHIN, self.serve)

    def workersChanged(self) -> None:
        """
        Look whether that is so.
        """
        if all(each.state == "draining" for each in self._workers()):
            self.serve()

    def serve(self) -> "Deferred[Any]":
        """
        Accept what waits, end it as a service that stops, give the sockets up; once.

        @return: fires when all of it has ended.
        """
        if self._stopped is None:
            if self._waits is not None and self._waits.active():
                self._waits.cancel()
            owned = [each.owned for each in self._workers() if each.owned is not None]
            self._service = self._serviceOf(set().union(*owned) if owned else None)
            try:
                self._service.startService()
            except Exception:
                _log.failure(
                    "cannot serve what is left in the backlogs", event="rest-failed"
                )
            self._stopped = self._service.stopService()
            # Connections on systemd's sockets are left to the next process.
            for each in self._bound:
                each.close()
            if self._isToStopNow:
                self._service.stopNow()
        return self._stopped

    def _serviceOf(self, owned: Container[int] | None) -> _Service:
        """
        @param owned: the shares that workers deal with; None if no worker deals with
            any, nor with what all of them accept from.
        """
        endpoints = [
            each.withPlainEndpoint(AdoptedEndpoint(self._reactor, socket, isOwned=True))
            for each, own in zip(self._listening, self._bound, strict=True)
            if own.isOurs
            for share, socket in enumerate(own.sockets)
            if owned is None or (len(own.sockets) > 1 and share not in owned)
        ]
        return _Service(self._config, reactor=self._reactor, endpoints=endpoints)

    def stopNow(self) -> None:
        """
        Cut off the sessions that are left, and those that are still to come.
        """
        self._isToStopNow = True
        if self._service is not None:
            self._service.stopNow()

    def snapshot(self) -> Snapshot:
        """
        Its numbers.
        """
        return Snapshot() if self._service is None else self._service.snapshot()
