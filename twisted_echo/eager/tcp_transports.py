"""
The TCP transports of the eager reactors, and what makes them.
"""

from contextlib import suppress
from socket import IPPROTO_TCP, TCP_NODELAY, socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IProtocol, IReactorFDSet

from twisted_echo.eager.sending import EagerMixin, Sending

__all__ = ["EagerClient", "EagerConnector", "EagerPort", "EagerServer"]


class EagerTCPMixin(EagerMixin):
    """
    The sending half for TCP.
    """

    # Whether the program has turned C{TCP_NODELAY} on.
    _isNoDelayWanted = False

    def _beginSending(self) -> None:
        """
        Turn C{TCP_NODELAY} on, too. What a later turn writes would else be held back
        by the kernel until the peer has acknowledged what is on its way: for 40 ms.
        """
        super()._beginSending()
        # An error means that the peer is gone, of which the next read tells.
        with suppress(OSError):
            self.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, True)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self._isNoDelayWanted = bool(enabled)
        super().setTcpNoDelay(enabled)

    def getTcpNoDelay(self) -> bool:
        """
        Whether the program has turned it on, as with Twisted's transports. (It is on
        until the program turns it off.)
        """
        return super().getTcpNoDelay() and self._isNoDelayWanted


class EagerServer(EagerTCPMixin, tcp.Server):
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
        self._sending = Sending.INHERITED
        super().__init__(sock, protocol, client, server, sessionno, reactor)
        self._beginSending()


class EagerClient(EagerTCPMixin, tcp.Client):
    """
    A TCP connection that was made from here.
    """

    def __init__(self, *args: Any) -> None:
        self._sending = Sending.INHERITED
        super().__init__(*args)

    def _connectDone(self) -> None:
        self._beginSending()
        super()._connectDone()


class EagerPort(tcp.Port):
    transport = EagerServer


class EagerConnector(tcp.Connector):
    def _makeTransport(self) -> EagerClient:
        return EagerClient(self.host, self.port, self.bindAddress, self, self.reactor)
