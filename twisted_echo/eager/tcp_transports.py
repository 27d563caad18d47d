"""
The TCP transports of the eager reactors, and their ports and connectors.
"""

import sys
from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IProtocol, IReactorFDSet

from twisted_echo.eager.accepting import AcceptingMixin
from twisted_echo.eager.connection_end import EndingMixin
from twisted_echo.eager.optional_interfaces import IWantsSocketOptions, SocketOptions
from twisted_echo.eager.sending import Sending
from twisted_echo.eager.served import ServedMixin
from twisted_echo.eager.slots import Slots

__all__ = [
    "NO_DELAY",
    "EagerClient",
    "EagerConnector",
    "EagerPort",
    "EagerServer",
    "EagerTCPMixin",
]

NO_DELAY = (IPPROTO_TCP, TCP_NODELAY, 1)
"""
The arguments of C{setsockopt} that turn C{TCP_NODELAY} on.
"""

IS_INHERITED = sys.platform == "linux"
"""
Whether an accepted socket inherits the options of TCP from its listening socket. (Other
platforms do so for some of them.)
"""


class EagerTCPMixin(EndingMixin):
    """
    The sending half for TCP.
    """

    # Whether the program has turned C{TCP_NODELAY} on.
    _isNoDelayWanted = False
    handedDown: SocketOptions = ()
    """
    The options that are known to be inherited from the listening socket, in the order
    in which they were set there. They need not be set again.
    """

    def _beginSending(self) -> None:
        super()._beginSending()
        self._setNoDelay()

    def _setNoDelay(self) -> None:
        """
        Turn C{TCP_NODELAY} on. What a later turn writes would else be held back
        by the kernel until the peer has acknowledged what is on its way: for 40 ms.
        """
        # An error means that the peer is gone, of which the next read tells.
        with suppress(OSError):
            self.socket.setsockopt(*NO_DELAY)

    def endGathering(self) -> None:
        """
        Do what C{_dataReceived} does when the protocol returns. (The compiled part does
        it itself, unless that has changed something unusual.)
        """
        if self._sending is Sending.GATHERING:
            self._sending = Sending.QUEUED
            if self._tempDataBuffer:
                self.sendNow()

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._isNoDelayWanted = bool(enabled)
        super().setTcpNoDelay(enabled)

    def getTcpNoDelay(self) -> bool:
        """
        Whether the program has turned it on, as with Twisted's transports. (It is on
        until the program turns it off.)
        """
        return super().getTcpNoDelay() and self._isNoDelayWanted


class EagerServer(Slots, ServedMixin, EagerTCPMixin, tcp.Server):
    """
    An accepted or adopted TCP connection.
    """

    def __init__(
        self,
        sock: socket,
        protocol: IProtocol,
        client: tuple[object, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        self._fillSlots(Sending.QUEUED, tcp.Server)
        self._begin(sock, protocol, client, server, sessionno, reactor)
        if isinstance(server, EagerPort):
            self.handedDown = server.handedDown
        if NO_DELAY not in self.handedDown:
            self._setNoDelay()

    # (The program may have set some: by this transport, or on its socket.)
    def getHandle(self) -> socket:
        self.handedDown = ()
        handle: socket = super().getHandle()
        return handle

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.handedDown = ()
        super().setTcpNoDelay(enabled)

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.handedDown = ()
        super().setTcpKeepAlive(enabled)


class EagerClient(Slots, EagerTCPMixin, tcp.Client):
    """
    An outgoing TCP connection.
    """

    def __init__(self, *args: Any) -> None:
        self._fillSlots(Sending.INHERITED, tcp.Client)
        super().__init__(*args)

    def _connectDone(self) -> None:
        self._beginSending()
        super()._connectDone()


class EagerPort(AcceptingMixin, tcp.Port):
    """
    A TCP port that sets the options of its connections before it listens.

    @ivar handedDown: the options with which every accepted socket begins, unless the
        program changes them on this port's C{socket}. Then it has what it asked for:
        the options are not read back, which would be a system call for each connection.
    """

    transport = EagerServer
    handedDown: SocketOptions = ()

    def createInternetSocket(self) -> socket:
        """
        Make the socket. (Nothing has connected to it yet. A socket that is adopted may
        have a backlog, whose connections inherit nothing that is set now.)
        """
        listening: socket = super().createInternetSocket()
        if IS_INHERITED:
            wanted = IWantsSocketOptions(self.factory, None)
            options = (NO_DELAY,) if wanted is None else wanted.socketOptions
            with suppress(OSError):
                for each in options:
                    listening.setsockopt(*each)
                self.handedDown = options
        return listening


class EagerConnector(tcp.Connector):
    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)
