"""
TLS as a layer under sessions, for servers. Needs pyOpenSSL (extra C{tls}).

Used by: L{twisted_echo.listen}, and embedders who put it under a factory.

What must hold:

  - a peer that has sent its close_notify still gets every answer: end of input and
    end of output are told apart, as they are over TCP;
  - what the protocol writes is encrypted at once, not in a later turn;
  - certificates can be replaced while connections are open, and are not replaced by
    files that are broken.

Stands on C{twisted.protocols.tls.TLSMemoryBIOProtocol}, of which it overrides how
input and the end are dealt with, by C{_checkHandshakeStatus}, C{_flushReceiveBIO}
and C{_shutdownTLS}, and counts output, by C{_write} and C{_bufferedWrite}.
"""

# mypy: disable-error-code="no-untyped-call"
# (These parts of Twisted are not annotated.)

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.endings import EndReason
from twisted_echo.layers import Layer, LayerFactory

__all__ = ["Certificates", "TLSFactory"]

_READ_SIZE = 65536
_RECORD = 16384
"""
The most that one record of TLS carries, in bytes.
"""
_LAST_FLIGHT = 1.0
"""
Seconds that a client has, at a stop, for the rest of a handshake that was answered. It
needs a round trip.
"""


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    The key and certificates of a server, which can be loaded anew.
    """

    def __init__(self, load: Callable[[], Any]) -> None:
        """
        @param load: reads the files and makes a context factory of them, such as
            a C{CertificateOptions} of C{twisted.internet.ssl}.
        @raise Exception: what C{load} raises.
        """
        self._load = load
        self.reload()

    def reload(self) -> None:
        """
        Load them anew, for connections that are still to come.

        @raise Exception: what C{load} raises; those that were loaded before stay.
        """
        self._context = self._load().getContext()

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._context, None)


class _TLSLayer(Layer, TLSMemoryBIOProtocol):
    factory: Any
    transport: Any
    failureReason = EndReason.HANDSHAKE_FAILED
    # The peer has sent its last byte: by close_notify, or by an end-of-file.
    _inputEnded = False
    _isCutOff = False
    bytesSent = 0
    """
    How many bytes OpenSSL has been given to encrypt.
    """

    def __init__(self, factory: "TLSFactory", wrappedProtocol: Any) -> None:
        TLSMemoryBIOProtocol.__init__(self, factory, wrappedProtocol, False)

    def makeConnection(self, transport: Any) -> None:
        # Before it is connected, so that a handshake which ends it is recorded.
        self.transport = transport
        self._begin(transport)
        TLSMemoryBIOProtocol.makeConnection(self, transport)

    def _begin(self, transport: Any) -> None:
        super()._begin(transport)
        if self.factory.keeper.isStopping:
            # It will not be answered, so OpenSSL need not look at its hello.
            self._failure = EndReason.STOPPED, ""

    def _checkHandshakeStatus(self) -> None:
        super()._checkHandshakeStatus()
        if self._handshakeDone and not self._isReady:
            self.becomeReady(self.countsFor())
            if IHandshakeListener.providedBy(self.wrappedProtocol):
                self.wrappedProtocol.handshakeCompleted()

    @property
    def _isAnswered(self) -> bool:
        """
        Whether the client has been sent the service's half of the handshake.
        """
        state: bytes = self._tlsConnection.get_state_string()
        return not state.startswith(b"before")

    def _readArrived(self) -> None:
        # Else it cannot be finished by what has arrived.
        if self._isAnswered:
            super()._readArrived()

    def _timeToFinish(self) -> float:
        # A client that has been answered believes that it is connected, and has its own
        # half of the handshake on the way.
        half: float = self.factory.keeper.abortAfter / 2
        return min(_LAST_FLIGHT, half) if self._isAnswered else 0

    def _flushSendBIO(self) -> None:
        # At a stop only a handshake that is finished by what has arrived is answered:
        # with the service's half of one a client might believe that it is connected,
        # and take the end that follows for a truncation.
        if self._isReady or not self.factory.keeper.isStopping:
            super()._flushSendBIO()

    def dataReceived(self, data: bytes) -> None:
        # OpenSSL's buffer grows by what it is given at once, and never shrinks. After a
        # close_notify, or an error, nothing would be read from it.
        for start in range(0, len(data), _RECORD):
            if self._inputEnded or self._lostTLSConnection or self._failure is not None:
                break
            super().dataReceived(data[start : start + _RECORD])

    def ownBytes(self) -> int:
        return sum(map(len, self._appSendBuffer))

    def _flushReceiveBIO(self) -> None:
        connection: Any = self._tlsConnection
        while not self._lostTLSConnection and not self._inputEnded:
            try:
                data = connection.recv(_READ_SIZE)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._endInput()
            except SSL.Error:
                # In no variable: a failure that its own traceback leads to would
                # keep this layer until the garbage collector comes.
                self._tlsShutdownFinished(Failure())
            else:
                # As over TCP, a protocol that has closed is told nothing more.
                if not (self._aborted or self.disconnecting):
                    self.wrappedProtocol.dataReceived(data)
        if self._tlsConnection is not None:
            self._flushSendBIO()

    def _write(self, bytes: bytes) -> None:
        if not self._lostTLSConnection:
            self.bytesSent += len(bytes)
        super()._write(bytes)

    def _bufferedWrite(self, octets: bytes) -> None:
        # They come to `_write` once more.
        self.bytesSent -= len(octets)
        super()._bufferedWrite(octets)

    def _endInput(self) -> None:
        """
        The peer has said that it will send nothing more.
        """
        self._inputEnded = True
        half = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if self.disconnecting or half is None:
            self._shutdownTLS()
            self._tlsShutdownFinished(None)
        else:
            half.readConnectionLost()

    def readConnectionLost(self) -> None:
        """
        The connection's own end-of-file. Without a close_notify before it somebody
        may have cut off what followed; what came is genuine, and is answered.
        """
        self._isCutOff = True
        if self._isReady and not self.disconnecting:
            if not self._inputEnded:
                self._endInput()
        elif self._isReady:
            # The farewell that is waited for will not come.
            self.transport.loseConnection()
        else:
            super().readConnectionLost()

    def _shutdownTLS(self) -> None:
        super()._shutdownTLS()
        if self._isCutOff:
            self.transport.loseConnection()

    def _told(self, reason: Failure) -> str:
        if isinstance(reason.value, SSL.Error):
            errors = reason.value.args[0] if reason.value.args else ()
            # OpenSSL's own words.
            return ", ".join(str(each[-1]) for each in errors) or "TLS error"
        return super()._told(reason)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # All that came has been delivered, unless the protocol raised an exception:
        # then it gets no more, and that exception is the reason.
        self._lostTLSConnection = True
        if self._isReady:
            TLSMemoryBIOProtocol.connectionLost(self, reason)
            return
        # What OpenSSL found wrong says more than how the connection ended.
        super().connectionLost(self._reason or reason)


class TLSFactory(LayerFactory, TLSMemoryBIOFactory):
    """
    Puts TLS under the sessions of a L{SessionFactory}.
    """

    protocol = _TLSLayer

    def __init__(
        self, wrappedFactory: IProtocolFactory, certificates: Certificates
    ) -> None:
        LayerFactory.__init__(self, wrappedFactory)
        TLSMemoryBIOFactory.__init__(
            self, certificates, False, wrappedFactory, self.keeper.clock
        )
