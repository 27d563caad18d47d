"""
Listen on a socket that another process has bound.

What must hold: a socket that is adopted stays as it was found, for other processes have
it too: it is never shut down, the file of a UNIX socket stays, and the connections in
its backlog are left to others unless this process L{owns<AdoptedEndpoint.own>} them.
"""

import socket
from typing import TypeAlias

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.eager.accepting import AcceptingMixin
from twisted_echo.net.listening import AdoptedPort
from twisted_echo.twisted_internals.check import require

__all__ = ["AdoptedEndpoint"]

require(__name__)


class _TCPPort(AdoptedPort, AcceptingMixin, tcp.Port):
    """
    A TCP port of Twisted's on a socket that listens already.
    """

    _shouldShutdown = False

    def startListening(self) -> None:
        _startListening(self)

    def _logConnectionLostMsg(self) -> None:
        # It says nothing of the service.
        pass


class _UNIXPort(AdoptedPort, AcceptingMixin, unix.Port):
    """
    A UNIX port of Twisted's on a socket that listens already. Twisted's own changes the
    mode of the file and the backlog, and removes the file at the end.
    """

    _shouldShutdown = False

    def startListening(self) -> None:
        _startListening(self)

    def _logConnectionLostMsg(self) -> None:
        pass

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


_Port: TypeAlias = _TCPPort | _UNIXPort


def _startListening(port: _Port) -> None:
    """
    Do what C{startListening} does for a socket that is there, and log nothing.
    """
    tcp._reservedFD.reserve()
    listening, factory = port._preexistingSocket, port.factory
    assert listening is not None and factory is not None
    port.socket, port._preexistingSocket = listening, None
    factory.doStart()
    port.connected = True
    # As Twisted's ports do it, which remove it when they close.
    port.fileno = listening.fileno  # type: ignore[method-assign]
    port.numberAccepts = 100
    port.startReading()


def _adopt(
    reactor: IReactorTime, listening: socket.socket, factory: IProtocolFactory
) -> _Port:
    """
    Listen on a duplicate of a socket.
    """
    descriptor, family = listening.fileno(), listening.family
    port: _Port
    if family == socket.AF_UNIX:
        port = _UNIXPort._fromListeningDescriptor(reactor, descriptor, factory)
    else:
        port = _TCPPort._fromListeningDescriptor(reactor, descriptor, family, factory)
    try:
        from twisted_echo.eager.reactor_mixin import EagerReactorMixin
        from twisted_echo.eager.tcp_transports import EagerServer
        from twisted_echo.eager.unix_transports import EagerUNIXServer
    except ImportError:
        # This Twisted does not suit the eager reactors.
        pass
    else:
        if isinstance(reactor, EagerReactorMixin):
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
        self, reactor: IReactorTime, listening: socket.socket, *, isOwned: bool = False
    ) -> None:
        """
        @param listening: the socket; it is closed when a port has taken its place.
        @param isOwned: see L{own}.
        """
        self._reactor = reactor
        self._socket = listening
        self._isOwned = isOwned
        self._port: _Port | None = None

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

    def _listen(self, factory: IProtocolFactory) -> _Port:
        listening = self._socket
        if listening.fileno() < 0:
            raise AlreadyListened()
        listening.setblocking(False)
        with listening:
            self._port = _adopt(self._reactor, listening, factory)
        if self._isOwned:
            self.own()
        return self._port
