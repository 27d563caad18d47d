"""
TLS between connections and a web site, or any other factory that makes no sessions.

What must hold: a connection whose handshake is not finished cannot stay, nor keep
others from theirs. What comes after the handshake is for the factory to bound.
"""

from ssl import SSLError

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
    ITransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure

from twisted_echo.net.transport_queries import provideAs
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.connection import TLSConnection
from twisted_echo.tls.handshake import refusalOf

__all__ = ["TLSSite"]

_HANDSHAKE_TIMEOUT = 10.0
"""
Seconds for a handshake: a few round trips, one of them lost.
"""
_MAX_HANDSHAKES = 64
"""
As many as an admin port has connections. One more takes the place of the oldest.
"""


class _Connection(TLSConnection):
    """
    One connection. Its wrapped protocol is a stand-in until the handshake is finished.
    """

    factory: "TLSSite"
    _requiresProtocol = False

    def makeConnection(self, transport: ITransport) -> None:
        provideAs(self, transport)
        Protocol.makeConnection(self, transport)
        self.factory.registerProtocol(self)
        settings = self.factory.certificates.settings
        self._requiresProtocol = settings.requiresProtocol
        self._startTLS(settings.context)
        self.factory.handshakeStarted(self)

    def _handshakeDone(self) -> None:
        if refusalOf(self._records.tls, self._requiresProtocol) is not None:
            # (The deadline of the handshake stays.)
            self.loseConnection()
            return
        self.factory.handshakeEnded(self)
        protocol = self.factory.wrappedFactory.buildProtocol(self.getPeer())
        if protocol is None:
            self.abortConnection()
            return
        self.wrappedProtocol = protocol
        protocol.makeConnection(self)

    def _handshakeFailed(self, error: SSLError) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.handshakeEnded(self)
        super().connectionLost(reason)


class TLSSite(WrappingFactory[_Connection]):
    """
    Puts TLS between connections and the protocols of a factory.

    @ivar certificates: the certificates that new connections get.
    """

    noisy = False
    protocol = _Connection

    def __init__(
        self,
        wrappedFactory: IProtocolFactory,
        certificates: Certificates,
        clock: IReactorTime,
    ) -> None:
        super().__init__(wrappedFactory)
        self.certificates = certificates
        self._clock = clock
        # The deadline of each handshake, the oldest first.
        self._deadlines: dict[_Connection, IDelayedCall] = {}

    def buildProtocol(self, addr: IAddress | None) -> _Connection:
        return self.protocol(self, Protocol())

    def handshakeStarted(self, connection: _Connection) -> None:
        """
        Start the deadline of a handshake, and abort the oldest if there are too many.
        """
        if len(self._deadlines) >= _MAX_HANDSHAKES:
            next(iter(self._deadlines)).abortConnection()
        self._deadlines[connection] = self._clock.callLater(
            _HANDSHAKE_TIMEOUT, connection.abortConnection
        )

    def handshakeEnded(self, connection: _Connection) -> None:
        """
        Cancel the deadline of a handshake. A second call is legal.
        """
        deadline = self._deadlines.pop(connection, None)
        if deadline is not None and deadline.active():
            deadline.cancel()

    def stopFactory(self) -> None:
        """
        Abort all handshakes, which no stop waits for.
        """
        for connection in list(self._deadlines):
            connection.abortConnection()
            self.handshakeEnded(connection)
        super().stopFactory()
