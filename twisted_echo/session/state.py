"""
The state of a session: what it is at a moment, and what is known of its connection.

L{SessionState} names what a session is. L{StatefulSession} has the one method that
changes it, and properties that only read.
"""

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IAddress, ISSLTransport

from twisted_echo.net.transport_queries import isGone, peerOf, sentBytes
from twisted_echo.session.backpressure import BY_TRANSPORT
from twisted_echo.session.bounds.last_seen import LastSeen
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.tls.x509 import Certificate

if TYPE_CHECKING:
    from twisted_echo.session.factory_interface import FactoryInterface

__all__ = [
    "ABORTED",
    "DRAINING",
    "ENDED",
    "FINISHED",
    "LOST",
    "NEW",
    "NEXT",
    "OPEN",
    "READING",
    "SessionState",
    "StatefulSession",
    "isTLS",
]


class SessionState(IntEnum):
    """
    What a session is. It never goes back::

        NEW -----> OPEN ------> READING ------> DRAINING -----> FINISHED
         |          |  (stop)      |  (all read)   |  (answered)   |
         |          +--------------+---(close,-----+               |
         |          |               end-of-file)   |               |
         +----------+-------+------+---------------+---------------+
                            |
                            |  (abort)
                            +---------> ABORTED --+
                            |                     |
                            +---------------------+---> LOST ---> ENDED

    (A hook may close a session before it is C{OPEN}; then it goes on from C{NEW}.)
    """

    NEW = 0
    """C{connectionMade} has not run."""
    OPEN = 1
    """It takes input, and answers."""
    READING = 2
    """The service stops. What had arrived by then is still read."""
    DRAINING = 3
    """It takes no more input. It waits for the answers to what it was given."""
    FINISHED = 4
    """Nothing is left to answer: its end-of-file follows what has been written, and it
    waits for the peer's."""
    ABORTED = 5
    """The connection was reset. The transport reports its end in the next turn."""
    LOST = 6
    """Its transport is gone, and C{connectionLost} runs."""
    ENDED = 7
    """It is removed from the factory's record."""


# What a session keeps is the plain number. The interpreter does not specialize loads of
# an attribute whose default in the class is of a class made in Python, as members are.
NEW, OPEN, READING, DRAINING, FINISHED, ABORTED, LOST, ENDED = map(int, SessionState)

_BEFORE_THE_END = frozenset((ABORTED, LOST))
NEXT = (
    _BEFORE_THE_END | {OPEN, READING, DRAINING},
    _BEFORE_THE_END | {READING, DRAINING},
    _BEFORE_THE_END | {DRAINING},
    _BEFORE_THE_END | {FINISHED},
    _BEFORE_THE_END,
    frozenset((LOST,)),
    frozenset((ENDED,)),
    frozenset[int](),
)
"""
The states that may follow each L{SessionState}, in their order.
"""


def isTLS(transport: object) -> bool:
    return bool(ISSLTransport.providedBy(transport))


class StatefulSession:
    """
    What is known of a connection, from its first byte to its last.

    @ivar serial: its number among the sessions of its factory, from 1 up.
    @ivar lineCount: how many lines a receiver of this package has found; see there.
    @ivar bytesReceived: how many bytes a receiver of this package was given; a
        protocol of another kind may count here itself.
    @ivar lastSeen: what the sweep of the timeouts has seen of it
        (L{twisted_echo.session.bounds.timeouts}); None before the first one.
    @ivar end: what ended the session; None while it lasts.
    """

    bytesReceived = 0
    lineCount = 0
    serial = 0
    lastSeen: LastSeen | None = None
    paused = False
    end: SessionEnd | None = None

    # What it is. (Netstring receivers of Twisted's have a `_state`.)
    _sessionState = NEW
    # The transport that it was registered with, whatever a subclass does to
    # `transport`; None before, and at the end.
    _connection: Any = None
    # Likewise the factory.
    _record: "FactoryInterface[Any] | None" = None
    _began = 0.0
    # The reasons for which the input is paused, and how many answers are to come.
    _pausedFor = 0
    _answersInFlight = 0
    # Whether the peer has sent its last byte, and whether it was still to get something
    # by then.
    _inputEnded = False
    _isOwed = False
    # What it was closed for, and aborted for.
    _closeReason: EndReason | None = None
    _abortReason: EndReason | None = None
    _detail = ""
    # Whether `close` was called, and so a deadline set. (If the protocol has closed it
    # by its transport before, `close` only sets the deadline.)
    _isClosing = False

    transport: Any
    if TYPE_CHECKING:
        factory: FactoryInterface[Any] | None

    def _enter(self, state: int) -> None:
        """
        Go on to another state.

        @raise AssertionError: if it is none of L{NEXT}.
        """
        if state not in NEXT[self._sessionState]:
            before = SessionState(self._sessionState)
            raise AssertionError(f"{SessionState(state)!r} cannot follow {before!r}")
        self._sessionState = state

    def reportFailure(self, what: str) -> None:
        """
        Log the exception of a hook, which is being handled.

        @param what: what the session could not do.
        """
        raise NotImplementedError

    def hookFailed(self, what: str) -> None:
        """
        Handle the exception of a hook, which is being handled: C{Session} logs it, and
        aborts the connection.

        @param what: what the session could not do.
        """
        raise NotImplementedError

    @property
    def peer(self) -> IAddress | None:
        """
        The address at the other end.
        """
        # Made again when asked for, as an idle session need not keep it.
        return peerOf(self.transport)

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
        When the session began, in seconds by the factory's clock.
        """
        return self._began

    @property
    def bytesSent(self) -> int | None:
        """
        How many bytes have been sent; under TLS, before encryption. None if the
        transport does not count them: those of the eager reactors do, and so does
        the TLS of this package.
        """
        return sentBytes(self.transport)

    @property
    def isGone(self) -> bool:
        """
        Whether the transport has lost the connection.
        """
        return self._sessionState >= LOST or isGone(self._connection)

    @property
    def isRegistered(self) -> bool:
        """
        Whether it has been registered with its factory. (One without a factory: whether
        C{connectionMade} has run.)
        """
        return self._connection is not None or self._sessionState >= LOST

    @property
    def hasLeft(self) -> bool:
        """
        Whether it has left its factory.
        """
        return self._sessionState is ENDED

    @property
    def isPaused(self) -> bool:
        """
        Whether the session is not read from, because its peer does not read.
        """
        return bool(self._pausedFor & BY_TRANSPORT)

    @property
    def hasInputEnded(self) -> bool:
        """
        Whether the peer has sent its last byte.
        """
        return self._inputEnded

    @property
    def isAnswering(self) -> bool:
        """
        Whether answers that C{answerLater} announced are still to come.
        """
        return self._answersInFlight > 0

    @property
    def isClosing(self) -> bool:
        """
        Whether C{close} was called: the session ends at its deadline at the latest.
        """
        return self._isClosing

    @property
    def isFinished(self) -> bool:
        """
        Whether nothing more is answered: its end-of-file follows what has been written,
        or it was aborted, or is over.
        """
        return self._sessionState >= FINISHED

    @property
    def isAborted(self) -> bool:
        """
        Whether C{abort} was called: the session ends in a moment.
        """
        return self._abortReason is not None

    @property
    def expectsInput(self) -> bool:
        """
        Whether more is expected from the peer: neither has it sent its last byte,
        nor is the connection being closed or cut off.
        """
        return self._sessionState <= OPEN and not self.transport.disconnecting
