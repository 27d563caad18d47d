"""
The state of a session, and what follows from it.

What must hold: this module only reads the state. L{twisted_echo.session.session}
changes it.
"""

from collections.abc import Callable
from enum import IntEnum
from ssl import SSLError
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    ISSLTransport,
)
from twisted.python.failure import Failure

from twisted_echo.net.transport_queries import bottomTransport, isGone, pendingOutput
from twisted_echo.session.backpressure import BY_TRANSPORT
from twisted_echo.session.end_reason import EndReason, SessionEnd
from twisted_echo.tls.x509 import Certificate

__all__ = [
    "ENDED",
    "FINISHED",
    "GONE",
    "NEW",
    "OPEN",
    "Life",
    "SessionState",
    "isTLS",
]


class Life(IntEnum):
    """
    How far a session has got. It never goes back.
    """

    NEW = 0
    """It is not registered yet."""
    OPEN = 1
    FINISHED = 2
    """Nothing is left to answer: its end-of-file follows what has been written."""
    GONE = 3
    """Its transport is gone, and C{connectionLost} runs."""
    ENDED = 4
    """It is removed from the factory's record."""


# (To ask an enumeration for one of its members costs more than a whole call.)
NEW, OPEN, FINISHED, GONE, ENDED = Life


def isTLS(transport: Any) -> bool:
    return bool(ISSLTransport.providedBy(transport))


def _isTLSError(error: object) -> bool:
    # By name for Twisted's own TLS, since pyOpenSSL need not be there.
    return isinstance(error, SSLError) or type(error).__module__ == "OpenSSL.SSL"


class SessionState:
    """
    What is known of a connection, from its first byte to its last.

    @ivar serial: its number among the sessions of its factory, from 1 up.
    @ivar lineCount: how many lines a receiver of this package has found; see there.
    @ivar bytesReceived: how many bytes a receiver of this package was given; a
        protocol of another kind may count here itself.
    @ivar mark: what those who watch it from outside (L{twisted_echo.session.timeouts})
        remember of it.
    @ivar end: what ended the session; None while it lasts.
    """

    bytesReceived = 0
    lineCount = 0
    serial = 0
    mark: Any = None
    paused = False
    end: SessionEnd | None = None

    _began = 0.0
    _throttled = False
    _inputStoppedBy = 0
    _answersInFlight = 0
    _inputEnded = False
    # Whether the peer was still to get something when it had sent its last byte.
    _isOwed = False
    _closing: EndReason | None = None
    # How many bytes that had arrived when the service stopped are still to be read
    # before the session can finish; None when there is nothing to read for.
    _unread: int | None = None
    _life = NEW
    # The transport that it was registered with, whatever a subclass does to
    # `transport`.
    _connection: Any = None
    # Likewise the factory.
    _keeper: Any = None
    # Why it ended, once its transport is gone.
    _reason = EndReason.ERROR
    _detail = ""
    _abortedFor: EndReason | None = None
    _deadline: IDelayedCall | None = None
    _askers: "dict[Deferred[SessionEnd], None] | None" = None
    _atEnd: tuple[Callable[[], None], ...] = ()
    # What is wrong with the order of the bases, if anything is.
    _misplaced = ""
    _holders: tuple[Callable[[], int], ...] = ()

    transport: Any

    @property
    def peer(self) -> IAddress | None:
        """
        The address at the other end.
        """
        # Made anew when asked for, as an idle session need not keep it.
        getPeer = getattr(self.transport, "getPeer", None)
        return getPeer() if getPeer is not None else None

    @property
    def peerCertificate(self) -> Certificate | None:
        """
        The certificate by which the peer says who it is, and which TLS has verified.
        None without one, and under a TLS that is not this package's.
        """
        transport = self.transport
        if not isTLS(transport):
            return None
        try:
            certificate = transport.getPeerCertificate()
        except Exception:
            # It cannot be read; or the TLS, of another kind, is gone.
            return None
        return certificate if isinstance(certificate, Certificate) else None

    @property
    def peerSubject(self) -> str | None:
        """
        Whose certificate that is: its L{subject<Certificate>}, C{CN=anna,O=Example} for
        example.
        """
        certificate = self.peerCertificate
        return None if certificate is None else certificate.subject

    @property
    def began(self) -> float:
        """
        When it began, by the factory's clock, in seconds.
        """
        return self._began

    @property
    def bytesSent(self) -> int | None:
        """
        How many bytes have been sent; under TLS, as they were before. None if the
        transport does not count them: those of the eager reactor do, and so does
        the TLS of this package.
        """
        transport = self.transport
        sent: int | None = getattr(transport, "bytesSent", None)
        if sent is None or (
            # Under Twisted's own TLS it would be of what is encrypted.
            getattr(transport, "TLS", False)
            or (not hasattr(type(transport), "bytesSent") and isTLS(transport))
        ):
            return None
        return sent

    @property
    def isGone(self) -> bool:
        """
        Whether its transport has lost the connection: nothing can be asked of it.
        """
        return self._life >= GONE or isGone(self._connection)

    @property
    def _isUnknown(self) -> bool:
        """
        Whether it is not registered yet. (It may be closed before.)
        """
        return self._connection is None and self._life < GONE

    @property
    def isPaused(self) -> bool:
        """
        Whether it is not read from, as its peer does not read.
        """
        return bool(self._inputStoppedBy & BY_TRANSPORT)

    @property
    def hasInputEnded(self) -> bool:
        """
        Whether the peer has sent its last byte.
        """
        return self._inputEnded

    @property
    def isAnswering(self) -> bool:
        """
        Whether answers are still to come, as C{answerLater} was told.
        """
        return self._answersInFlight > 0

    @property
    def isClosing(self) -> bool:
        """
        Whether C{close} was called: it will be over by its own deadline.
        """
        return self._deadline is not None

    @property
    def isFinished(self) -> bool:
        """
        Whether nothing more is answered: its end-of-file follows what has been written.
        """
        return self._life >= FINISHED

    @property
    def isAborted(self) -> bool:
        """
        Whether C{abort} was called: it will be over in a moment.
        """
        return self._abortedFor is not None

    @property
    def expectsInput(self) -> bool:
        """
        Whether more is expected from the peer: neither has it sent its last byte,
        nor is the connection being closed or cut off.
        """
        return not (
            self._inputEnded
            or self._life >= FINISHED
            or self._closing is not None
            or self._abortedFor is not None
            or self.transport.disconnecting
        )

    def _endReason(self, reason: Failure) -> EndReason:
        error = reason.value
        if self._abortedFor is not None:
            return self._abortedFor
        if isinstance(error, ConnectionAborted):
            return EndReason.ABORTED
        isDone = isinstance(error, ConnectionDone) or (
            # A UNIX socket whose peer has closed hangs up before it is closed here.
            isinstance(error, ConnectionLost)
            and self._inputEnded
            and self._life is FINISHED
            and not self._isOwed
            and isinstance(bottomTransport(self.transport).getPeer(), UNIXAddress)
            and not pendingOutput(self.transport)
        )
        if self._closing is not None and (
            isDone
            # Most TLS clients close without a farewell when they got theirs.
            or (self._life is FINISHED and isTLS(self.transport))
        ):
            return self._closing
        if isDone:
            if self._isOwed:
                return EndReason.HALF_CLOSED
            if self._inputEnded or not self.transport.disconnecting:
                return EndReason.PEER_CLOSED
            return EndReason.LOCAL_CLOSED
        if isinstance(error, ConnectionLost) or _isTLSError(error):
            return EndReason.CONNECTION_LOST
        return EndReason.ERROR
