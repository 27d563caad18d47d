"""
One endpoint, and its port while it listens.

What must hold: a port that no caller waits for any more is closed; the backlog of a
port that closes is empty, or is left to another process.
"""

from enum import Enum

from twisted.internet import tcp
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IDelayedCall,
    IListeningPort,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.net.backlog import BacklogDrain
from twisted_echo.net.listening import (
    HoldableSocket,
    closePort,
    deepenBacklog,
    ownsBacklog,
    watchAcceptErrors,
)
from twisted_echo.net.refusal import refuseInOrder

__all__ = ["Hold", "Listener"]

_log = Logger()

_PAUSE = 1.0
"""
Seconds for which a port pauses that could not accept a connection. Without a pause it
would try the same connection again and again.
"""
_LOGS_EVERY = 60.0
"""
Seconds between two events in the log about connections that cannot be accepted.
"""


class Hold(Enum):
    """
    Why a port does not accept, though it listens.
    """

    SUSPENDED = "suspended"
    """The service is suspended."""
    FULL = "full"
    """There are as many connections as are allowed."""
    FAILED = "failed"
    """It could not accept the last connection."""
    ELSEWHERE = "elsewhere"
    """Another process accepts."""


class Listener:
    """
    One endpoint, and its port while it listens.
    """

    def __init__(
        self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory
    ) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self.port: IListeningPort | None = None
        self._holds: set[Hold] = set()
        # How many connections could not be accepted.
        self.acceptErrors = 0
        self._pause: IDelayedCall | None = None
        self._logged: float | None = None
        # Fires for the caller of `open`, when it listens or is closed.
        self._opening: Deferred[None] | None = None
        self._closing: Deferred[None] = succeed(None)
        # What empties the backlog before the port closes.
        self._drain: BacklogDrain | None = None

    def open(self) -> "Deferred[None]":
        """
        Listen, as soon as what L{close} began is done.

        @return: fires when it listens, or fails: with a C{CancelledError} if it
            is closed before.
        """
        opening: Deferred[None] = Deferred()
        self._opening = opening

        def settle(result: IListeningPort | Failure) -> None:
            if self._opening is opening:
                self._opening = None
                if isinstance(result, Failure):
                    opening.errback(_explained(result))
                else:
                    self._listens(result)
                    opening.callback(None)
            elif not isinstance(result, Failure):
                # Too late. A port that nobody waits for any more must not stay.
                closePort(result)

        def listen(closed: object) -> object:
            if self._opening is opening:
                maybeDeferred(self._endpoint.listen, self._factory).addBoth(settle)
            return closed

        if self._closing.called:
            listen(None)
        else:
            self._closing.addBoth(listen)
        return opening

    @property
    def hasFailed(self) -> bool:
        """
        Whether the endpoint neither listens nor tries to.
        """
        return self.port is None and self._opening is None

    def _listens(self, port: IListeningPort) -> None:
        self.port = port
        deepenBacklog(port)
        if isinstance(port, tcp.Port):
            # It accepts in its doRead, as Twisted's own ports do.
            clock = IReactorTime(port.reactor)
            watchAcceptErrors(port, lambda *error: self._cannotAccept(clock, *error))
            refuseInOrder(port)
            port.socket = HoldableSocket(port.socket, self._holds.__len__)
        if self._holds:
            self._pauseOrResume()

    def close(self) -> "Deferred[None]":
        """
        Stop listening, or trying to.

        What is in the port's backlog is accepted first, as soon as there is room: its
        client is connected already, and must see the end of a session and not a reset.
        But what is in the backlog of an adopted socket stays there: another process
        (systemd, a parent process) keeps that socket open, and the next process that
        listens on it serves them.

        @return: fires when the port is closed. Cancelling it gives up the connections
            that still wait.
        """
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.errback(CancelledError())
        if self._pause is not None:
            self._pause.cancel()
            self._pauseEnds()
        port, self.port = self.port, None
        # At the limit, connections in the backlog wait.
        self._holds.difference_update((Hold.SUSPENDED, Hold.FAILED))
        if port is None:
            if self._drain is None:
                self._holds.discard(Hold.FULL)
            return self._closing
        if isinstance(port, tcp.Port) and port.connected and ownsBacklog(port):
            self._drain = BacklogDrain(port, lambda: Hold.FULL not in self._holds)
            self._closing = self._drain.closed
        else:
            self._closing = closePort(port)
        self._closing.addBoth(self._closed)
        return self._closing

    def closeNow(self) -> None:
        """
        Wait for no room any more in a L{close} that has begun: refuse the connections
        that are left in the backlog.
        """
        if self._drain is not None:
            self._drain.finish()

    def _closed(self, result: Failure | None) -> Failure | None:
        self._drain = None
        self._holds.discard(Hold.FULL)
        return result

    @property
    def canWait(self) -> bool:
        """
        Whether connections can be left in the port's backlog.
        """
        return bool(IPushProducer.providedBy(self.port))

    def hold(self, why: Hold) -> None:
        """
        Leave connections in the port's backlog, if it can be paused, until every reason
        for that is L{released<release>}.
        """
        self._holds.add(why)
        self._pauseOrResume()

    def release(self, why: Hold) -> None:
        """
        Remove a reason to L{hold} connections.
        """
        self._holds.discard(why)
        self._pauseOrResume()

    def _pauseOrResume(self) -> None:
        if self._drain is not None and Hold.FULL not in self._holds:
            self._drain.proceed()
        port = self.port
        if port is None or not IPushProducer.providedBy(port):
            return
        if self._holds:
            port.pauseProducing()
        else:
            port.resumeProducing()

    def _cannotAccept(self, clock: IReactorTime, count: int, reason: str) -> None:
        """
        Pause the port for a while, and log it once a minute.
        """
        self.acceptErrors += count
        if self.port is None:
            # It is being closed, and accepts for the last time.
            return
        now = clock.seconds()
        if self._logged is None or now - self._logged >= _LOGS_EVERY:
            self._logged = now
            _log.warn(
                "cannot accept connections: {reason}; open sessions go on",
                event="accept-failed",
                reason=reason,
            )
        if self._pause is None:
            self._pause = clock.callLater(_PAUSE, self._pauseEnds)
            self.hold(Hold.FAILED)

    def _pauseEnds(self) -> None:
        self._pause = None
        self.release(Hold.FAILED)


def _explained(failure: Failure) -> Failure:
    """
    Twisted's error for a second listening on an adopted socket, with a text.
    """
    if isinstance(failure.value, AlreadyListened):
        return Failure(AlreadyListened("an adopted socket can be used only once"))
    return failure
