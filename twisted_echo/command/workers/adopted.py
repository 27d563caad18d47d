"""
ParsedEndpoint on a socket that another process has bound.

What must hold: a socket that is adopted stays as it was found, for other processes have
it too: it is never shut down, the file of a UNIX socket stays, and the connections in
its backlog are left to others unless this process L{owns<AdoptedEndpoint.own>} them.
"""

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

from twisted_echo.net.listening import AdoptedPort
from twisted_echo.twisted_internals import require

__all__ = ["AdoptedEndpoint"]

require(__name__)


class _Adopted(AdoptedPort):
    """
    A port of Twisted's on a socket that listens already.

    Twisted's own log that they start and stop, which says nothing of the service; and
    those of UNIX sockets change the mode of the file and the backlog, and remove the
    file at the end.
    """

    # What `tcp.Port` has, without its hints.
    factory: Any
    socket: Any
    fileno: Any
    startReading: Any
    _preexistingSocket: Any
    _shouldShutdown = False

    def startListening(self) -> None:
        tcp._reservedFD.reserve()
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno
        self.numberAccepts = 100
        self.startReading()

    def _logConnectionLostMsg(self) -> None:
        pass

    def connectionLost(self: Any, reason: Any) -> None:
        # For UNIX ports, too, which would remove the file.
        tcp.Port.connectionLost(self, reason)


class _TCPPort(_Adopted, tcp.Port):  # type: ignore[misc]
    pass


class _UNIXPort(_Adopted, unix.Port):  # type: ignore[misc]
    pass


def _adopt(reactor: Any, listening: socket.socket, factory: IProtocolFactory) -> Any:
    """
    Listen on a duplicate of a socket.
    """
    descriptor, family = listening.fileno(), listening.family
    port: Any
    if family == socket.AF_UNIX:
        port = _UNIXPort._fromListeningDescriptor(reactor, descriptor, factory)
    else:
        port = _TCPPort._fromListeningDescriptor(reactor, descriptor, family, factory)
    try:
        from twisted_echo.eager.reactor import EagerEPollReactor
        from twisted_echo.eager.tcp_transports import EagerServer
        from twisted_echo.eager.unix_transports import EagerUNIXServer
    except ImportError:
        # Without epoll there is no eager reactor.
        pass
    else:
        if isinstance(reactor, EagerEPollReactor):
            port.transport = (
                EagerUNIXServer if family == socket.AF_UNIX else EagerServer
            )
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
        Accept what waits in the backlog when the port is closed: no other process is
        going to.
        """
        self._isOwned = True
        if self._port is not None:
            self._port.ownsBacklog = True

    def listen(self, protocolFactory: IProtocolFactory) -> "Deferred[IListeningPort]":
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> Any:
        listening = self._socket
        if listening.fileno() < 0:
            raise AlreadyListened()
        listening.setblocking(False)
        with listening:
            self._port = _adopt(self._reactor, listening, factory)
        if self._isOwned:
            self.own()
        return self._port
