"""
Begin and end an accepted connection in few calls.

Twisted's transports begin and end by chains of calls, one for each base class, and make
strings that are hardly ever read. Here each chain is one method.

What must hold:

  - attributes, and calls of the protocol, of its producer and of the system, are those
    of C{tcp.Server}, in the same order;
  - what a subclass may override is called: C{startReading}, C{stopReading} and
    C{stopWriting};
  - whatever is out of the ordinary is left to the inherited method.
"""

from functools import cached_property
from socket import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IReactorFDSet,
)
from twisted.internet.protocol import Protocol
from twisted.python import log
from twisted.python.failure import Failure

from twisted_echo.eager.connection_end import EndingMixin
from twisted_echo.eager.sending import Sending

__all__ = ["ServedMixin"]

# (A program may replace them.)
_LOG_PREFIX, _GET_LOG_PREFIX = Protocol.logPrefix, tcp.Server._getLogPrefix
_QUEUED = Sending.QUEUED


if TYPE_CHECKING:

    class _Base(EndingMixin, tcp.Server): ...

else:
    _Base = EndingMixin


class ServedMixin(_Base):
    """
    The beginning and the end of an accepted connection. Put it before a subclass of
    C{tcp.Server}.

    @ivar _kind: the class of the protocol that the connection began with.
    @ivar _portNumber: the port's number then.
    """

    _kind: type
    _portNumber: object = None

    def _begin(
        self,
        sock: socket,
        protocol: IProtocol,
        client: tuple[Any, ...],
        server: tcp.Port,
        sessionno: int,
        reactor: IReactorFDSet,
    ) -> None:
        """
        Do what C{tcp.Server.__init__} does.
        """
        if not reactor:
            from twisted.internet import reactor
        self.reactor = reactor
        self._tempDataBuffer, self._tempDataLen = [], 0
        self.socket = sock
        sock.setblocking(False)
        self.fileno = sock.fileno
        self.protocol = protocol
        if len(client) != 2:
            self._addressType = IPv6Address
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self._kind = protocol.__class__
        if server is not None:
            self._portNumber = server._realPortNumber
        if not self._hasPlainPrefix(protocol):
            self.logstr = f"{self._getLogPrefix(protocol)},{sessionno},{client[0]}"
        self.startReading()
        self.connected = 1

    def _hasPlainPrefix(self, protocol: IProtocol) -> bool:
        """
        Whether the log names a protocol after its class.
        """
        return (
            isinstance(protocol, Protocol)
            and getattr(protocol.logPrefix, "__func__", None) is _LOG_PREFIX
            and getattr(self._getLogPrefix, "__func__", None) is _GET_LOG_PREFIX
        )

    # (What is set hides these two. A program may have put another hostname.)
    @cached_property
    def logstr(self) -> str:  # type: ignore[override]
        return f"{self._kind.__name__},{self.sessionno},{self.client[0]}"

    @cached_property
    def repstr(self) -> str:  # type: ignore[override]
        return f"<{self._kind.__name__} #{self.sessionno} on {self._portNumber}>"

    def unregisterProducer(self) -> None:
        if self._sending is _QUEUED and not self.disconnecting:
            self.producer = None
        else:
            super().unregisterProducer()

    def readConnectionLost(self, reason: Failure) -> None:
        protocol: Any = self.protocol
        if (
            not IHalfCloseableProtocol.providedBy(protocol)
            or not protocol
            or hasattr(protocol, "__conform__")
        ):
            # (It may be adapted.)
            super().readConnectionLost(reason)
            return
        try:
            protocol.readConnectionLost()
        except BaseException:
            log.err()
            self.connectionLost(Failure())

    def connectionLost(self, reason: Failure) -> None:
        if not hasattr(self, "socket"):
            # It is lost already: the program has aborted it, and then raised, say.
            return
        self._writeAsInherited()
        self.disconnected, self.connected = 1, 0
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        self.stopReading()
        self.stopWriting()
        self._closeSocket(not isinstance(reason.value, ConnectionAborted))
        # (Only now: a producer that stops may have put in another.)
        protocol = self.protocol
        del self.protocol, self.socket, self.fileno
        protocol.connectionLost(reason)
