"""
An HTTP server with connection and time limits, for pages that are seldom asked for.

It is Twisted's, with what that lacks. C{LimitTotalConnectionsFactory} turns away the
newest connection, so silent clients could keep everybody out. The time-out of C{Site}
begins again with every line, and does not end a client that reads slowly.

What must hold:

  - the number of connections is bounded, and each gets one answer, even if its client
    sends many requests at once;
  - a connection ends by a deadline, whatever its client does: it does not send its
    request, sends it slowly, or does not read the answer;
  - a new connection is served even when all places are taken: it takes the place of
    the oldest, so slow clients cannot block the site. A request that has arrived by
    then is answered before;
  - when the site is closed, answers that have begun are finished.
"""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from twisted_echo.net.listening import HoldableSocket, deepenBacklog
from twisted_echo.net.receive_queue import isReadable, readArrived
from twisted_echo.net.transport_queries import abort
from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.scheduling.waiters import Waiters

try:
    from resource import RLIMIT_NOFILE, getrlimit
except ImportError:
    getrlimit = None  # type: ignore[assignment]

__all__ = ["BoundedSite"]

_MAX_CONNECTIONS = 64
"""
More than any monitoring needs, and far fewer than the descriptors that are kept for
everything but sessions.
"""
_MAKE_ROOM = 4
"""
The part of the connections that ends at once when there are too many. If a thousand
connections come in a burst, the last is served after about sixty turns of the reactor.
"""
_SHARE_OF_FILES = 8
"""
If the limit of open files is low, the site has one connection for so many files.
"""
_TIMEOUT = 20.0
"""
Seconds from the first moment of a connection to its end: ten for the request, and as
many for the answer.
"""
_CLOSE_TIMEOUT = 1.0
"""
Seconds that a stop waits for the answers that have begun.
"""


class _Channel(HTTPChannel):
    def checkPersistence(self, request: HTTPRequest, version: bytes) -> bool:
        """
        Give one answer on each connection, so that it may have one deadline.
        """
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False


class _Connection(ProtocolWrapper):
    """
    One connection.

    @ivar hadTurn: whether it had a turn of the reactor to send its answer.
    """

    factory: "BoundedSite"
    wrappedProtocol: _Channel
    hadTurn = False
    _deadline: FairCall

    def makeConnection(self, transport: ITransport) -> None:
        self._deadline = self.factory.clock.callLater(_TIMEOUT, abort, transport)
        super().makeConnection(transport)

    @property
    def isAsked(self) -> bool:
        """
        Whether a request has come.
        """
        channel: _Channel | None = self.wrappedProtocol
        if channel is None:
            # The connection is lost. (Reading what has arrived may have shown that.)
            return False
        return bool(channel.requests or self.disconnecting)

    def finish(self) -> None:
        """
        End in order: at once, or after the answer.
        """
        if self._deadline.active():
            self._deadline.reset(_CLOSE_TIMEOUT)
        if not self.wrappedProtocol.requests:
            # (Not this connection's: it would wait for the channel, its producer.)
            self.wrappedProtocol.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        super().connectionLost(reason)


class BoundedSite(WrappingFactory[Any]):
    """
    A factory of connections to a web site.

    @ivar clock: that of the deadlines; it stands still while the process stalls.
    """

    noisy = False
    protocol = _Connection

    def __init__(self, root: Resource, clock: IReactorTime) -> None:
        self.clock = FairClock(clock)
        self._closed: Waiters[None] = Waiters()
        super().__init__(
            _Site(root, requestFactory=_Request, timeout=None, reactor=clock)
        )

    def logPrefix(self) -> str:
        """
        Name it, where Twisted logs that a port opens.
        """
        return "admin port"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """
        Make a connection. If there are too many, others end for it, which takes until
        the next turn of the reactor.
        """
        if self._isFull() and not self._makeRoom():
            return None
        return super().buildProtocol(addr)

    def guard(self, port: IListeningPort) -> None:
        """
        Make a port leave new connections in its backlog while there are too many, for
        the turn that it takes until there is room.
        """
        deepenBacklog(port)
        if isinstance(port, Port):
            port.socket = HoldableSocket(port.socket, lambda: self._mustWait(port))

    def _isFull(self) -> bool:
        return len(self.protocols) >= _maxConnections()

    def _mustWait(self, port: Port) -> bool:
        if not self._isFull():
            return False
        if isReadable(port):
            self._makeRoom()
        return True

    def _makeRoom(self) -> bool:
        """
        End some connections: first the oldest whose request has not come. One whose
        request arrives only now is given one turn of the reactor for its answer.

        @return: whether there is room, or will be in the next turn.
        """
        left = atOnce = -(-_maxConnections() // _MAKE_ROOM)
        for connection in sorted(self.protocols, key=lambda each: each.isAsked):
            if left and not connection.hadTurn:
                connection.hadTurn = True
                # It may have waited for nobody but this process.
                if readArrived(connection.transport) or connection.isAsked:
                    continue
            if left:
                abort(connection.transport)
                left -= 1
        return left < atOnce or not self._isFull()

    def unregisterProtocol(self, p: ProtocolWrapper) -> None:
        super().unregisterProtocol(p)
        if not self.protocols:
            self._closed.notify(None)

    def close(self) -> "Deferred[None]":
        """
        End the connections: at once, or after their answer, or in a second.

        @return: fires when all of them have ended.
        """
        if not self.protocols:
            return succeed(None)
        closed = self._closed.wait()
        for connection in list(self.protocols):
            connection.finish()
        return closed


def _maxConnections() -> int:
    if getrlimit is None:
        return _MAX_CONNECTIONS
    # (No limit is a negative number in Python.)
    files = getrlimit(RLIMIT_NOFILE)[0]
    allowed = files // _SHARE_OF_FILES if files >= 0 else _MAX_CONNECTIONS
    return max(1, min(_MAX_CONNECTIONS, allowed))


class _Site(Site):
    noisy = False
    protocol = _Channel  # type: ignore[assignment]

    def log(self, request: HTTPRequest) -> None:
        """
        Log nothing: it is the same every few seconds.
        """


class _Request(Request):
    def handleContentChunk(self, data: bytes) -> None:
        """
        Forget a body, which Twisted would keep, however long it is.
        """
