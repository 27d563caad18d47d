"""
One of many processes that serve the same sockets. Only the L{Supervisor} starts it, by
C{python -m}.

What must hold:

  - it ends in order, with status 0, on SIGTERM, when its parent asks for it, and when
    its parent is gone;
  - it ignores every other signal that a terminal or an operator sends to all processes
    of the service;
  - its last numbers and all that it has logged have reached its parent before it ends.
"""

import pickle
import signal
import socket
import sys
from collections.abc import Callable, Container, Sequence
from enum import Enum
from importlib import import_module
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IReactorCore,
    IReactorSocket,
    IReactorTime,
)
from twisted.logger import Logger, globalLogBeginner

from twisted_echo.command.local_service import LocalService
from twisted_echo.command.signal_handlers import OnSignal
from twisted_echo.command.workers.adopted import AdoptedEndpoint
from twisted_echo.command.workers.channel import (
    CHANNEL,
    HELD_SIGNALS,
    Accept,
    Answer,
    Channel,
    Drain,
    Finish,
    GetSessions,
    GetSnapshot,
    GetWaiting,
    Log,
    Ping,
    Reload,
    SetState,
    StopNow,
    WorkerSettings,
)
from twisted_echo.command.workers.log_relay import LogSender
from twisted_echo.command.workers.worker_state import WorkerState
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.metrics import Snapshot
from twisted_echo.session.statistics import sessionRows, waitingRows

__all__ = ["Worker", "main"]

_RECEIVED_WITHIN = 5.0
"""
Seconds that a worker which has ended waits until its parent has received the rest of
its log and its last numbers.
"""

_log = Logger()


class IServingReactor(IReactorCore, IReactorSocket, IReactorTime):
    """
    What a worker needs of its reactor. No reactor declares it by this name.
    """


class WorkerService(LocalService):
    """
    An echo service with the sockets of all workers. It accepts from the partitions that
    it was assigned, and from what all workers share.
    """

    # Its parent does.
    warnsOfExpiry = False

    def __init__(
        self,
        settings: WorkerSettings,
        reactor: IServingReactor,
        sockets: Sequence[socket.socket],
    ) -> None:
        """
        @param sockets: of the endpoints, in their order.
        """
        # For each socket, its partition; None for one that all workers share.
        self._partitions: list[int | None] = []
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
            self._partitions += range(count) if count > 1 else [None]
        super().__init__(config, reactor, listening, endpoints)
        self.acceptFrom(())

    def acceptFrom(self, partitions: Container[int]) -> None:
        """
        Accept from these partitions, and from what all workers share.
        """
        self._places = {
            place
            for place, partition in enumerate(self._partitions)
            if partition is None or partition in partitions
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


class _State(Enum):
    """
    The state of the worker::

        STARTING ---> SERVING ---> DRAINING ---> FINISHING ---> STOPPED
           |                                         ^
           +-----------------------------------------+
    """

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    FINISHING = "finishing"
    STOPPED = "stopped"


class Worker(Channel):
    """
    This process, as its parent sees it.

    @ivar status: what it is to end with.
    """

    def __init__(
        self, reactor: IServingReactor, settings: WorkerSettings, sender: LogSender
    ) -> None:
        super().__init__()
        self.status = 0
        self._reactor = reactor
        self._settings = settings
        self._sender = sender
        self._state = _State.STARTING
        self._service: WorkerService | None = None
        self._calls: list[IDelayedCall] = []

    def start(self, channel: socket.socket, sockets: Sequence[socket.socket]) -> None:
        """
        Prepare to serve the connections of some sockets.
        """
        self.open(self._reactor, channel)
        try:
            service = WorkerService(self._settings, self._reactor, sockets)
            service.startService()
        except Exception as error:
            # Every kind of endpoint has errors of its own.
            _log.critical(
                "cannot start: {reason}",
                event="worker-start-failed",
                reason=f"{type(error).__name__}: {error}",
            )
            self.status = 1
            self._finish()
        else:
            self._service = service
            self._state = _State.SERVING
            self._report(WorkerState.LISTENING)

    def _report(self, state: WorkerState) -> None:
        self.ask(SetState, state=state.value)

    # The channel

    def opened(self) -> None:
        IConsumer(self.transport).registerProducer(self._sender, True)
        self._sender.begin(lambda text: self.ask(Log, event=text))

    def lost(self) -> None:
        """
        Drain: the parent has died, and serves no backlog any more.
        """
        self._sender.stopProducing()
        self._drainAll()

    @Ping.responder
    def _ping(self) -> Answer:
        return {}

    @Accept.responder
    def _accept(self, partitions: list[int]) -> Answer:
        if self._service is not None:
            self._service.acceptFrom(partitions)
        return {}

    @Drain.responder
    def _drainAll(self) -> Answer:
        owns = self._state is _State.SERVING
        if owns and self._service is not None:
            self._service.ownBacklogs()
        self.drain()
        return {"owns": owns}

    @GetSnapshot.responder
    def _getSnapshot(self) -> Answer:
        return {"snapshot": self._snapshot()}

    def _snapshot(self) -> Answer:
        service = self._service
        return (Snapshot() if service is None else service.snapshot()).toJSON()

    @GetSessions.responder
    def _getSessions(self, after: int, limit: int) -> Answer:
        service = self._service
        if service is None:
            return {"rows": []}
        return {"rows": sessionRows(service.factory, after, limit)}

    @GetWaiting.responder
    def _getWaiting(self, limit: int) -> Answer:
        service = self._service
        return {"rows": [] if service is None else waitingRows(service.factory, limit)}

    @Reload.responder
    def _reload(self) -> Answer:
        if self._service is not None:
            self._service.reload()
        return {}

    @StopNow.responder
    def _stopNow(self) -> Answer:
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
        if self._state is _State.STARTING:
            self._finish()
        elif self._state is _State.SERVING and self._service is not None:
            self._state = _State.DRAINING
            self._service.stopService().addBoth(lambda _: self._finish())
            # By then its ports are closed, which takes a turn.
            self._callLater(0.01, self._report, WorkerState.DRAINING)

    def _callLater(
        self, seconds: float, function: Callable[..., object], *arguments: object
    ) -> None:
        self._calls.append(self._reactor.callLater(seconds, function, *arguments))

    def _finish(self) -> None:
        self._state = _State.FINISHING
        self._report(WorkerState.DRAINING)
        self._callLater(_RECEIVED_WITHIN, self._stop)
        sent = succeed(None) if self.transport is None else self._sender.whenSent()
        # What is logged from here on is lost.
        sent.addCallback(lambda _: self.ask(Finish, snapshot=self._snapshot()))
        sent.addBoth(lambda _: self._stop())

    def _stop(self) -> None:
        if self._state is _State.STOPPED:
            return
        self._state = _State.STOPPED
        for call in self._calls:
            if call.active():
                call.cancel()
        self._sender.stopProducing()
        self.close()
        self._reactor.stop()


def main() -> None:
    """
    Run the worker that standard input and the inherited descriptors describe.
    """
    settings: WorkerSettings = pickle.load(sys.stdin.buffer)
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
