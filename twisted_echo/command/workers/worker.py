"""
One of many processes that serve the same sockets; C{python -m} this module is started
by the L{Supervisor} and by nobody else.

What must hold: it ends in order, with status 0, when it is told to by SIGTERM, or by
its parent, and when its parent is gone; no other signal that a terminal or an operator
sends to all processes of the service harms it; its last numbers and all that it has
logged have reached its parent before it ends.
"""

import pickle
import signal
import socket
import sys
from collections.abc import Container, Sequence
from importlib import import_module
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger, globalLogBeginner

from twisted_echo.command.local_service import LocalService
from twisted_echo.command.signals import OnSignal
from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.channel import (
    CHANNEL,
    HELD_SIGNALS,
    Channel,
    Drain,
    Finish,
    GetSessions,
    GetSnapshot,
    Log,
    Ping,
    Reload,
    Serve,
    SetState,
    Settings,
    StopNow,
)
from twisted_echo.command.workers.relay import LogSender
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.metrics import Snapshot
from twisted_echo.session.statistics import sessionRows

__all__ = ["Worker", "main"]

_PATIENCE = 5.0
"""
Seconds that a worker which has ended waits for its parent to hear its last words.
"""

_log = Logger()


class WorkerService(LocalService):
    """
    Has the sockets of all workers. It accepts from those that it is told to, and from
    those that all workers share.
    """

    # Its parent does.
    warnsOfExpiry = False

    def __init__(
        self, settings: Settings, reactor: Any, sockets: Sequence[socket.socket]
    ) -> None:
        """
        @param sockets: of the endpoints, in their order.
        """
        # For each socket, the share that it is; None for one that all accept from.
        self._shares: list[int | None] = []
        self._adopted: list[tuple[AdoptedEndpoint, bool]] = []
        listening, endpoints = [], []
        left = iter(sockets)
        config = settings.config
        for description, count, isOurs in zip(
            config.listen, settings.sockets, settings.isOurs, strict=True
        ):
            adopted = [AdoptedEndpoint(reactor, next(left)) for _ in range(count)]
            first = parseEndpoint(reactor, description, settings.proxyFrom, adopted[0])
            listening.append(first)
            endpoints += [first.endpoint, *map(first.withPlainEndpoint, adopted[1:])]
            self._adopted += [(each, isOurs) for each in adopted]
            self._shares += range(count) if count > 1 else [None]
        super().__init__(config, reactor, listening, endpoints)
        self.serve(())

    def serve(self, shares: Container[int]) -> None:
        """
        Accept from the sockets of these workers.
        """
        self._places = {
            place
            for place, share in enumerate(self._shares)
            if share is None or share in shares
        }
        self._listeners.acceptOnly(self._places)

    def ownBacklogs(self) -> None:
        """
        Own the backlogs of the sockets that this process accepts from.
        """
        for place in self._places:
            adopted, isOurs = self._adopted[place]
            # Connections on systemd's sockets are left to the next process.
            if isOurs:
                adopted.own()


class Worker(Channel):
    """
    This process, as its parent sees it.

    @ivar status: what it is to end with.
    """

    def __init__(self, reactor: Any, settings: Settings, sender: LogSender) -> None:
        super().__init__()
        self.status = 0
        self._reactor = reactor
        self._settings = settings
        self._sender = sender
        self._service: WorkerService | None = None
        self._calls: list[IDelayedCall] = []
        self._isDraining = self._isFinishing = self._hasStopped = False

    def start(self, channel: socket.socket, sockets: Sequence[socket.socket]) -> None:
        """
        Be ready to serve what comes in by some sockets.
        """
        self.open(self._reactor, channel)
        try:
            service = WorkerService(self._settings, self._reactor, sockets)
            service.startService()
            self._service = service
        except Exception as error:
            # Every kind of endpoint has errors of its own.
            _log.critical(
                "cannot start: {reason}",
                event="worker-start-failed",
                reason=f"{type(error).__name__}: {error}",
            )
            self.status = 1
            self._isDraining = True
            self._finish()
        else:
            self._say("listening")

    def _say(self, state: str) -> None:
        self.ask(SetState, state=state)

    # The channel

    def opened(self) -> None:
        self.transport.registerProducer(self._sender, True)
        self._sender.begin(lambda text: self.ask(Log, event=text))

    def lost(self) -> None:
        """
        The parent has died, and deals with no backlog any more.
        """
        self._sender.stopProducing()
        self._drainAll()

    @Ping.responder
    def _ping(self) -> dict[str, Any]:
        return {}

    @Serve.responder
    def _serve(self, shares: list[int]) -> dict[str, Any]:
        if self._service is not None:
            self._service.serve(shares)
        return {}

    @Drain.responder
    def _drainAll(self) -> dict[str, Any]:
        owns = self._service is not None and not self._isDraining
        if self._service is not None and owns:
            self._service.ownBacklogs()
        self.drain()
        return {"owns": owns}

    @GetSnapshot.responder
    def _getSnapshot(self) -> dict[str, Any]:
        return {"snapshot": self._snapshot()}

    def _snapshot(self) -> dict[str, Any]:
        service = self._service
        return (Snapshot() if service is None else service.snapshot()).toJSON()

    @GetSessions.responder
    def _getSessions(self, after: int, limit: int) -> dict[str, Any]:
        service = self._service
        if service is None:
            return {"rows": []}
        return {"rows": sessionRows(service.factory, after, limit)}

    @Reload.responder
    def _reload(self) -> dict[str, Any]:
        if self._service is not None:
            self._service.reload()
        return {}

    @StopNow.responder
    def _stopNow(self) -> dict[str, Any]:
        self.drain()
        if self._service is not None:
            self._service.stopNow()
        return {}

    # The end

    def drain(self) -> None:
        """
        End in order. What waits in the backlogs is left to other workers. A second
        call changes nothing.
        """
        if self._isDraining:
            return
        self._isDraining = True
        if self._service is None:
            self._finish()
            return
        self._service.stopService().addBoth(lambda _: self._finish())
        # By then its ports are closed, which takes a turn.
        self._calls.append(self._reactor.callLater(0.01, self._say, "draining"))

    def _finish(self) -> None:
        self._isFinishing = True
        self._say("draining")
        self._calls.append(self._reactor.callLater(_PATIENCE, self._stop))
        self._finishWhenTold()

    def _finishWhenTold(self) -> None:
        if self.transport is not None and not self._sender.isEmpty:
            again = self._reactor.callLater(0.05, self._finishWhenTold)
            self._calls.append(again)
            return
        # What is logged from here on, nobody hears.
        self.ask(Finish, snapshot=self._snapshot()).addBoth(lambda _: self._stop())

    def _stop(self) -> None:
        if not self._hasStopped:
            self._hasStopped = True
            for call in self._calls:
                if call.active():
                    call.cancel()
            self._sender.stopProducing()
            self.close()
            self._reactor.stop()


def main() -> None:
    """
    Be the worker that standard input and the inherited descriptors say.
    """
    settings: Settings = pickle.load(sys.stdin.buffer)
    import_module(settings.reactor).install()
    from twisted.internet import reactor

    running: Any = reactor
    sender = LogSender(running.callFromThread)
    globalLogBeginner.beginLoggingTo([sender], redirectStandardIO=False)
    worker = Worker(running, settings, sender)
    descriptors = range(CHANNEL, CHANNEL + 1 + sum(settings.sockets))
    channel, *sockets = [socket.socket(fileno=each) for each in descriptors]
    # The one that is for this process alone; what concerns the service as a whole, the
    # parent hears too, and says by the channel.
    OnSignal(signal.SIGTERM, running, worker.drain)
    for number in HELD_SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    running.callWhenRunning(worker.start, channel, sockets)
    running.run(installSignalHandlers=False)
    sys.exit(worker.status)


if __name__ == "__main__":
    main()
