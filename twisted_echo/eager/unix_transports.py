"""
The UNIX transports of the eager reactors, and their ports and connectors.
"""

import os
from socket import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol, IReactorFDSet
from twisted.python import log
from twisted.python.failure import Failure

from twisted_echo.eager.accepting import AcceptingMixin
from twisted_echo.eager.connection_end import EndingMixin
from twisted_echo.eager.sending import Sending, WritingMixin
from twisted_echo.eager.served import ServedMixin
from twisted_echo.eager.slots import Slots

__all__ = ["EagerUNIXClient", "EagerUNIXConnector", "EagerUNIXPort", "EagerUNIXServer"]


class EagerUNIXMixin(EndingMixin):
    """
    The sending half for UNIX sockets, which pass descriptors too.
    """

    _sendmsgQueue: list[int]

    def sendFileDescriptor(self, descriptor: int) -> None:
        """
        Send a descriptor along with a byte. From then on everything that is written
        goes out at the end of the turn.
        """
        self._writeAsInherited()
        super().sendFileDescriptor(descriptor)  # type: ignore[misc]

    def writeSomeData(self, data: bytes) -> int | ConnectionLost:
        """
        Send for C{doWrite}: by Twisted's method, if there are descriptors to send.
        """
        if not self._sendmsgQueue:
            return super().writeSomeData(data)
        sent = super(WritingMixin, self).writeSomeData(data)
        # Else it is an error.
        if isinstance(sent, int):
            self.bytesSent += sent
        return sent


class EagerUNIXServer(Slots, ServedMixin, EagerUNIXMixin, unix.Server):
    """
    An accepted or adopted UNIX connection.
    """

    def __init__(
        self,
        sock: socket,
        protocol: IProtocol,
        client: str,
        server: unix.Port,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        self._fillSlots(Sending.QUEUED, unix.Server)
        self._sendmsgQueue = []
        self._begin(sock, protocol, (client, None), server, sessionno, reactor)


class EagerUNIXClient(Slots, EagerUNIXMixin, unix.Client):
    """
    An outgoing UNIX connection.
    """

    def __init__(self, *args: Any) -> None:
        self._fillSlots(Sending.INHERITED, unix.Client)
        super().__init__(*args)

    def _connectDone(self) -> None:
        self._beginSending()
        super()._connectDone()


class EagerUNIXPort(AcceptingMixin, unix.Port):
    """
    A UNIX port that leaves an adopted socket to its owner. Twisted's own does so
    for TCP alone: a UNIX socket it would shut down for everybody, and change or
    remove its file, which may be another user's.
    """

    transport = EagerUNIXServer

    def startListening(self) -> None:
        adopted: socket | None = self._preexistingSocket
        if adopted is None:
            super().startListening()
            return
        self._preexistingSocket = None
        self._shouldShutdown = False
        tcp._reservedFD.reserve()
        path = os.fsdecode(adopted.getsockname())
        log.msg(f"{self._getLogPrefix(self.factory)} starting on {path!r}")
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = adopted
        self.fileno = adopted.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        if self._shouldShutdown:
            super().connectionLost(reason)
        else:
            tcp.Port.connectionLost(self, reason)


class EagerUNIXConnector(unix.Connector):
    # (Twisted's hints say that all clients are of TCP.)
    def _makeTransport(self) -> EagerUNIXClient:  # type: ignore[override]
        return EagerUNIXClient(self.address, self, self.reactor, self.checkPID)
