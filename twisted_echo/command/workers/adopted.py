"""
Listening on a socket that another process has bound.

Used by: workers, and L{twisted_echo.command.workers.rest}.

What must hold: whoever stops listening on it leaves it as he found it, for others go on
with it: it is not shut down, the file of a UNIX socket stays, and what waits in the
back-log is left to them.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from zope.interface import implementer

__all__ = ["AdoptedEndpoint"]


class _UNIXPort(unix.Port):
    """
    Twisted's own would give the file another mode, have fewer wait in the back-log,
    and remove the file at the end.
    """

    # What `tcp.Port` has, without its hints.
    factory: Any
    _preexistingSocket: Any
    fileno: Any
    _shouldShutdown = False

    def startListening(self) -> None:
        tcp._reservedFD.reserve()
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Any) -> None:
        tcp.Port.connectionLost(self, reason)


def _adoptUNIX(reactor: Any, descriptor: int, factory: IProtocolFactory) -> Any:
    port = _UNIXPort._fromListeningDescriptor(reactor, descriptor, factory)
    try:
        from twisted_echo.reactor import EagerEPollReactor
        from twisted_echo.transport import EagerUNIXServer
    except ImportError:
        # Without epoll there is no eager reactor.
        pass
    else:
        if isinstance(reactor, EagerEPollReactor):
            port.transport = EagerUNIXServer
    port.startListening()
    return port


@implementer(IStreamServerEndpoint)
class AdoptedEndpoint:
    """
    An endpoint whose socket listens already.
    """

    def __init__(
        self, reactor: Any, listening: socket.socket, *, isOwned: bool = False
    ) -> None:
        """
        @param listening: the socket; it is closed when a port has taken its place.
        @param isOwned: see L{own}.
        """
        self._reactor = reactor
        self._socket = listening
        self._isOwned = isOwned
        self._port: Any = None

    def own(self) -> None:
        """
        Nobody else has the socket, so whoever stops listening on it ends it, and deals
        with what waits in the back-log.
        """
        self._isOwned = True
        if self._port is not None:
            self._port._shouldShutdown = True

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> Any:
        listening = self._socket
        if listening.fileno() < 0:
            raise AlreadyListened()
        listening.setblocking(False)
        with listening:
            descriptor, family = listening.fileno(), listening.family
            if family == socket.AF_UNIX:
                self._port = _adoptUNIX(self._reactor, descriptor, factory)
            else:
                self._port = self._reactor.adoptStreamPort(descriptor, family, factory)
        if self._isOwned:
            self.own()
        return self._port
