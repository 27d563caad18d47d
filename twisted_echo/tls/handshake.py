"""
A server's TLS handshake, which shares the process with others.

What must hold: handshakes take their turns (L{twisted_echo.scheduling.time_share}), so
that they do not hold up open sessions; each is counted once, as finished or as failed.
"""

from ssl import SSLObject
from time import time
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import ITLSTransport, ITransport
from zope.interface import implementer

from twisted_echo.eager.optional_interfaces import IProtocolWithTLS
from twisted_echo.net.receive_queue import asReactor
from twisted_echo.net.transport_queries import bottomTransport, provideAs
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.scheduling.time_share import TimeShare
from twisted_echo.tls.certificates import TLSSettings
from twisted_echo.tls.connection import TLSConnection
from twisted_echo.tls.counts import TLSCounts, TLSFailure
from twisted_echo.tls.records import Output
from twisted_echo.tls.stage import Stage
from twisted_echo.tls.x509 import BadCertificate, Certificate

__all__ = ["HandshakeFactory", "ServerHandshake", "refusalOf"]


class HandshakeFactory(TypingProtocol):
    """
    The methods of the sessions' factory that a handshake uses.

    @ivar handshakeTurns: how handshakes share the time with the sessions.
    """

    handshakeTurns: TimeShare

    @property
    def fairClock(self) -> FairClock: ...


@implementer(IProtocolWithTLS)
class ServerHandshake(TLSConnection):
    """
    A connection with TLS whose handshake is counted and takes its turn.

    @ivar began: when it began, by the factory's C{fairClock}.
    @ivar counts: what it is counted by.
    """

    began = 0.0
    counts: TLSCounts
    _requiresProtocol = False
    # Whether its handshake is to go on when its turn has come, by what has come then.
    _awaitsTurn = False

    @property
    def sessionFactory(self) -> HandshakeFactory:
        """
        The factory of the sessions.
        """
        raise NotImplementedError

    @property
    def _isAbandoned(self) -> bool:
        """
        Whether the handshake will not be finished.
        """
        return self._records.stage is Stage.OVER

    def _provideFor(self, transport: ITransport) -> None:
        """
        Provide the transport's interfaces, but not that of beginning TLS.
        """
        provideAs(self, transport, without=ITLSTransport)

    def startTLS(self, *args: object) -> None:
        """
        Refuse, before the transport below is asked.

        @raise RuntimeError: always.
        """
        raise RuntimeError("TLS has begun already")

    startTLSByTransport = startTLS

    def _startWith(self, settings: TLSSettings, below: Output | None = None) -> None:
        self._requiresProtocol = settings.requiresProtocol
        self._startTLS(settings.context, below)

    def writeConnectionLost(self) -> None:
        """
        Do nothing: the protocol's own end-of-file is close_notify.
        """

    def _continueHandshake(self) -> None:
        turns = self.sessionFactory.handshakeTurns
        if self._awaitsTurn:
            # More than the one flight that it can have sent: that is not to pile up.
            bottomTransport(self.transport).pauseProducing()
        elif not turns.now(self._stepHandshake):
            self._awaitsTurn = True
            reactor = bottomTransport(self.transport).reactor
            turns.later(reactor, self._takeTurn)

    def _takeTurn(self) -> None:
        if self._isAbandoned or not self._awaitsTurn:
            return
        self._awaitsTurn = False
        bottom = bottomTransport(self.transport)
        bottom.resumeProducing()
        asReactor(bottom, self._stepHandshake)

    def _refusalReason(self) -> tuple[TLSFailure, str] | None:
        return refusalOf(self._records.tls, self._requiresProtocol)

    def _countSuccess(self) -> None:
        tls = self._records.tls
        seconds = self.sessionFactory.fairClock.seconds() - self.began
        self.counts.succeeded(seconds, tls.version(), tls.session_reused)


def refusalOf(tls: SSLObject, requiresProtocol: bool) -> tuple[TLSFailure, str] | None:
    """
    Return why a handshake must be refused although OpenSSL has finished it.

    @return: what it is counted as, and a text for the log; None if nothing is wrong.
    """
    if requiresProtocol and tls.selected_alpn_protocol() is None:
        # OpenSSL's own refusal cannot be had from the `ssl` module.
        return TLSFailure.NO_PROTOCOL, "no application protocol in common"
    if tls.session_reused and _hasExpired(tls.getpeercert(binary_form=True)):
        # OpenSSL verified it when the session began, and does not so again.
        return TLSFailure.BAD_CERTIFICATE, "certificate has expired"
    return None


def _hasExpired(der: bytes | None) -> bool:
    """
    Whether a certificate has expired or cannot be read.
    """
    if der is None:
        return False
    try:
        return Certificate(der).notAfter < time()
    except BadCertificate:
        return True
