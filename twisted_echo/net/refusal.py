"""
An orderly end for connections that are refused when they are accepted.

If a factory makes no protocol, Twisted's ports just close the socket. If the client has
sent something by then, the kernel sends it a reset, although its connection was
established.

What must hold: a refused client sees an end-of-file; nothing of the connection is left
when the call returns, so that refusing many connections takes no descriptors.
"""

import socket
from contextlib import suppress

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IProtocol,
    IProtocolFactory,
    IReadDescriptor,
    ITransport,
)
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.eager.accepting import AcceptingMixin
from twisted_echo.net.transport_queries import socketOf

__all__ = ["RefusesInOrder", "readAway", "refuseInOrder"]

_CHUNK = 65536
_MOST_READS = 64
"""
How many chunks of 64 KiB are read from a refused connection: as much as a kernel
receives for it by default. The bound is for clients that go on sending.
"""


def readAway(transport: ITransport | None) -> None:
    """
    Read and forget what has arrived for a connection, so that its socket can be closed
    without a reset. Does nothing if it has no socket.
    """
    handle = socketOf(transport)
    if handle is not None:
        _readAway(handle)


def _readAway(handle: socket.socket) -> None:
    # The socket does not block: this ends when nothing is left, or it is broken.
    with suppress(OSError):
        for _ in range(_MOST_READS):
            if not handle.recv(_CHUNK):
                break


def _endInOrder(handle: socket.socket) -> None:
    """
    Send an end-of-file, and read and forget what has arrived.
    """
    with suppress(OSError):
        handle.shutdown(socket.SHUT_WR)
    _readAway(handle)


def _refuse(accepted: socket.socket) -> None:
    """
    End a connection that has no transport in order.
    """
    accepted.setblocking(False)
    _endInOrder(accepted)
    accepted.close()


class _Refused(Protocol):
    """
    The protocol of a refused connection.
    """

    def makeConnection(self, transport: ITransport) -> None:
        handle = socketOf(transport)
        if handle is not None:
            _endInOrder(handle)
        if IReadDescriptor.providedBy(transport):
            transport.connectionLost(Failure(ConnectionDone()))
        else:
            transport.loseConnection()


@implementer(IProtocolFactory)
class RefusesInOrder:
    """
    The factory of a port, which makes a L{_Refused} where the factory behind it makes
    no protocol.
    """

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def buildProtocol(self, addr: IAddress) -> IProtocol:
        protocol = self._factory.buildProtocol(addr)
        return _Refused() if protocol is None else protocol

    def doStart(self) -> None:
        self._factory.doStart()

    def doStop(self) -> None:
        self._factory.doStop()


def refuseInOrder(port: tcp.Port) -> None:
    """
    Give the connections that a port's factory refuses an orderly end.
    """
    if isinstance(port, AcceptingMixin):
        port.refuse = _refuse
    else:
        port.factory = RefusesInOrder(port.factory)  # type: ignore
