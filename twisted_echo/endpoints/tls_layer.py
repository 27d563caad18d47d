"""
TLS as a layer between a connection and its session, for servers.

What must hold: beside what L{twisted_echo.tls.connection} promises, certificates can be
replaced while connections are open; a session begins when the handshake is done.
"""

from ssl import SSLContext, SSLError

from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    ITransport,
)
from twisted.internet.protocol import connectionDone
from twisted.python import log
from twisted.python.failure import Failure

from twisted_echo.endpoints.layer_factory import LayerFactory
from twisted_echo.endpoints.layers import Layer
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.factory import SessionFactory
from twisted_echo.session.session import Session
from twisted_echo.tls.certificates import Certificates, TLSSettings, certificatesOf
from twisted_echo.tls.connection import TLSConnection
from twisted_echo.tls.counts import TLSFailure, failureOf
from twisted_echo.tls.error_text import describeError
from twisted_echo.tls.handshake import ServerHandshake
from twisted_echo.tls.stage import Stage

__all__ = ["TLSFactory"]

_LAST_FLIGHT = 1.0
"""
Seconds that a client has, at a stop, for the rest of a handshake that was answered. It
needs a round trip.
"""
# What a client's own end of a handshake is counted as. (It is no failure if the service
# ends it.)
_FAILURES = {
    EndReason.HANDSHAKE_FAILED: TLSFailure.CLIENT_LEFT,
    EndReason.HANDSHAKE_TIMEOUT: TLSFailure.TIMEOUT,
}


class _TLSLayer(Layer, ServerHandshake):
    factory: "TLSFactory"
    failureReason = EndReason.HANDSHAKE_FAILED
    # What is wrong with the handshake.
    _refusal: TLSFailure | None = None

    def _provideFor(self, transport: ITransport) -> None:
        ServerHandshake._provideFor(self, transport)

    def _begin(self, transport: ITransport) -> None:
        self.counts = self.factory.counts
        self._startWith(self.factory.settings)
        super()._begin(transport)
        if self.sessionFactory.isStopping:
            # It will not be answered, so OpenSSL need not look at its hello.
            self._failure = EndReason.STOPPED, ""

    @property
    def sessionFactory(self) -> SessionFactory[Session]:
        return self.factory.sessionFactory

    @property
    def _isAbandoned(self) -> bool:
        return self._failure is not None or super()._isAbandoned

    def _handshakeDone(self) -> None:
        refusal = self._refusalReason()
        if refusal is not None:
            self._refusal, detail = refusal
            self._failure = self.failureReason, detail
            self.loseConnection()
            self._endInOrder()
            return
        self._countSuccess()
        self.becomeReady()
        protocol = self.wrappedProtocol
        if IHandshakeListener.providedBy(protocol):
            protocol.handshakeCompleted()

    def _handshakeFailed(self, error: SSLError) -> None:
        if self._failure is None:
            self._failure = self.failureReason, describeError(error)
            self._refusal = failureOf(error)
        self.transport.loseConnection()

    def receive(self, data: bytes) -> None:
        if self._failure is None:
            super().receive(data)

    def _sendHandshake(self) -> None:
        # At a stop only a handshake that is finished by what has arrived is answered:
        # with the service's half of one a client might believe that it is connected,
        # and take the end that follows for a truncation.
        if not self.sessionFactory.isStopping:
            super()._sendHandshake()

    @property
    def _isAnswered(self) -> bool:
        """
        Whether the client has been sent the service's half of the handshake.
        """
        return self._records.stage is not Stage.HELLO

    def _readArrived(self) -> None:
        # Else it cannot be finished by what has arrived.
        if self._isAnswered:
            super()._readArrived()

    def _timeToFinish(self) -> float:
        # A client that has been answered believes that it is connected, and has its own
        # half of the handshake on the way.
        half: float = self.sessionFactory.abortAfter / 2
        return min(_LAST_FLIGHT, half) if self._isAnswered else 0

    def fail(self, reason: EndReason, detail: str = "") -> None:
        if self._awaitsTurn and reason is EndReason.HANDSHAKE_TIMEOUT:
            # It is not the client that lets itself be waited for.
            return
        super().fail(reason, detail)

    def readConnectionLost(self) -> None:
        # What came before it counts first.
        self._takeTurn()
        if not self._isNegotiating:
            TLSConnection.readConnectionLost(self)
        else:
            super().readConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._isNegotiating:
            why, _ = self._failure or (self.failureReason, "")
            failure = self._refusal or _FAILURES.get(why)
            if failure is not None:
                self.factory.counts.failed(failure)
        super().connectionLost(reason)

    def writeConnectionLost(self) -> None:
        # The protocol's own end-of-file is close_notify.
        pass


class TLSFactory(LayerFactory):
    """
    Puts TLS between connections and the sessions of a L{SessionFactory}.

    @ivar counts: those of the L{SessionFactory}.
    """

    protocol = _TLSLayer

    def __init__(
        self,
        wrappedFactory: IProtocolFactory,
        certificates: Certificates | TLSSettings | SSLContext,
    ) -> None:
        """
        @param certificates: L{Certificates}, which can be loaded again, or
            L{TLSSettings} or an C{ssl.SSLContext}.
        @raise TypeError: if one is of another kind.
        """
        super().__init__(wrappedFactory)
        self._certificates = certificatesOf(certificates)
        self.counts = self.sessionFactory.useTLS(self._certificates)
        self._negotiating: TLSSettings | None = None

    def buildProtocol(self, addr: IAddress | None) -> Layer | None:
        try:
            _ = self.settings
        except Exception:
            # The reactor would leave the connection open, with nobody to watch it.
            log.err()
            self.sessionFactory.countRefused(addr, EndReason.ERROR)
            return None
        return super().buildProtocol(addr)

    @property
    def settings(self) -> TLSSettings:
        """
        The settings of the next connection.
        """
        settings = self._certificates.settings
        if settings is not self._negotiating:
            factory = IProtocolNegotiationFactory(self.wrappedFactory, None)
            if factory is not None:
                names = [each.decode() for each in factory.acceptableProtocols()]
                for each in (settings.context, *settings.named):
                    each.set_alpn_protocols(names)
            self._negotiating = settings
        return settings
