"""
An HTTP server with connection and time limits, for pages that are seldom asked for.

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

# mypy: disable-error-code="misc"
# (Twisted's web server is not annotated.)

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from twisted_echo.net.listening import HoldableSocket, deepenBacklog
from twisted_echo.net.receive_queue import isReadable, readArrived
from twisted_echo.scheduling.fair_clock import FairClock

try:
    from resource import RLIMIT_NOFILE, getrlimit
except ImportError:
    getrlimit = None  # type: ignore[assignment]

from twisted_echo.twisted_internals import require

__all__ = ["BoundedSite"]

require(__name__)

_MOST_CONNECTIONS = 64
"""
More than any monitoring needs, and far fewer than the descriptors that are kept for
what is no session.
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
_REQUEST_WITHIN = 10.0
"""
Seconds for a request, from the connection's first moment to the request's last byte.
"""
_READ_WITHIN = 10
"""
Seconds that a client may take to read its answer.
"""
_CLOSES_WITHIN = 1.0
"""
Seconds that a stop waits for the answers that have begun.
"""


class _Connection(ProtocolWrapper):
    """
    One connection.

    @ivar hadTime: whether it had a turn of the reactor for its answer.
    """

    hadTime = False

    @property
    def isAsked(self) -> bool:
        """
        Whether a whole request has come.
        """
        channel: Any = self.wrappedProtocol
        return bool(channel.requests or self.disconnecting)


class BoundedSite(WrappingFactory[Any]):
    """
    A factory of connections to a web site.
    """

    noisy = False
    protocol = _Connection
    _whenEmpty: "Deferred[None] | None" = None

    def __init__(self, root: Resource, clock: Any) -> None:
        self._clock = FairClock(clock)
        super().__init__(
            _Site(root, requestFactory=_Request, timeout=_REQUEST_WITHIN, reactor=clock)
        )

    def buildProtocol(self, addr: Any) -> Any:
        """
        Make a connection. If there are too many, others end for it, which takes until
        the next turn of the reactor.
        """
        if len(self.protocols) >= _mostConnections() and not self._makeRoom():
            return None
        connection: Any = super().buildProtocol(addr)
        connection.wrappedProtocol.callLater = self._clock.callLater
        return connection

    def guard(self, port: Any) -> None:
        """
        Make a port leave new connections in its backlog while there are too many, for
        the turn that it takes until there is room.
        """
        deepenBacklog(port)
        if hasattr(port, "numberAccepts"):
            port.socket = HoldableSocket(port.socket, lambda: self._mustWait(port))

    def _mustWait(self, port: Any) -> bool:
        if len(self.protocols) < _mostConnections():
            return False
        if isReadable(port):
            self._makeRoom()
        return True

    def _makeRoom(self) -> bool:
        """
        End the oldest connections whose request has not come; if there are none, the
        oldest of those that were being answered the last time, too.

        @return: whether one ends, or has ended.
        """
        atOnce = -(-_mostConnections() // _MAKE_ROOM)
        unasked: list[_Connection] = []
        answered: list[_Connection] = []
        for connection in list(self.protocols):
            if not connection.isAsked:
                # It may have waited for nobody but this process.
                readArrived(connection.transport)
                if connection not in self.protocols:
                    # What had arrived was its end.
                    continue
            (answered if connection.isAsked else unasked).append(connection)
        ending = unasked or [each for each in answered if each.hadTime]
        for connection in ending[:atOnce]:
            connection.abortConnection()
        for connection in answered:
            connection.hadTime = True
        return bool(ending) or len(self.protocols) < _mostConnections()

    def unregisterProtocol(self, p: Any) -> None:
        super().unregisterProtocol(p)
        if self._whenEmpty is not None and not self.protocols:
            whenEmpty, self._whenEmpty = self._whenEmpty, None
            whenEmpty.callback(None)

    def close(self) -> "Deferred[None]":
        """
        End the connections: at once, or after their answer, or in a second. A second
        call is legal.

        @return: fires when all of them have ended.
        """
        if not self.protocols:
            return succeed(None)
        if self._whenEmpty is not None:
            again: Deferred[None] = Deferred()
            self._whenEmpty.chainDeferred(again)
            return again

        def abort() -> None:
            for connection in list(self.protocols):
                connection.abortConnection()

        def ended(result: None) -> None:
            if late.active():
                late.cancel()

        late = self._clock.callLater(_CLOSES_WITHIN, abort)
        self._whenEmpty = closed = Deferred[None]().addCallback(ended)
        for connection in list(self.protocols):
            channel = connection.wrappedProtocol
            if not channel.requests:
                # (Not the connection, which would wait for the channel: it is its
                # producer.)
                channel.loseConnection()
        return closed


def _mostConnections() -> int:
    if getrlimit is None:
        return _MOST_CONNECTIONS
    # (No limit is a negative number in Python.)
    files = getrlimit(RLIMIT_NOFILE)[0]
    allowed = files // _SHARE_OF_FILES if files >= 0 else _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, allowed))


class _Channel(HTTPChannel):
    # Else it tells the log of each client that is silent.
    _log = Logger(observer=lambda event: None)  # type: ignore[arg-type]
    abortTimeout = _READ_WITHIN

    def resetTimeout(self) -> None:
        """
        Nothing: a line of a request gives no more time for the rest of it.
        """

    def timeoutConnection(self) -> None:
        """
        Read what has arrived first: the rest of the request may be among it.
        """
        readArrived(self.transport)
        # Whole requests, and connections that are lost, have no time-out.
        if self.timeOut is not None:
            super().timeoutConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """
        There is one answer for each connection.
        """
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def loseConnection(self) -> Any:
        """
        Wait no longer than allowed for the client to take its answer.
        """
        if self._abortingCall is None:
            self._abortingCall = self.callLater(
                self.abortTimeout, self.forceAbortClient
            )
        return super().loseConnection()


class _Site(Site):
    noisy = False
    protocol = _Channel  # type: ignore[assignment]

    def log(self, request: Any) -> None:
        """
        Nothing: it is the same every few seconds.
        """


class _Request(Request):
    """
    Has no use for a body, however long it is.
    """

    def handleContentChunk(self, data: bytes) -> None:
        """
        Forget it.
        """
