"""
One connection's TLS that begins in the middle of a session.

What must hold:

  - what the protocol wrote before goes out in the clear, and what it writes afterwards
    never does, whichever transport it writes to: it waits for the end of the handshake;
  - what the client has sent in the clear before never reaches the protocol afterwards
    (L{twisted_echo.session.starttls.plain_input});
  - what a session promises over TLS from the beginning holds from here on;
  - the handshake has a deadline, and takes its turn.
"""

from enum import Enum
from functools import partial
from ssl import SSLError
from typing import TYPE_CHECKING, Any
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IHandshakeListener,
    IPullProducer,
    IPushProducer,
    ITransport,
)
from twisted.internet.protocol import BaseProtocol, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.framing.message_receiver import WORTH_COUNTING
from twisted_echo.net.receive_queue import readArrived
from twisted_echo.net.transport_queries import (
    bottomTransport,
    endOutput,
    pendingOutput,
    producerOf,
)
from twisted_echo.scheduling.fair_clock import FairCall
from twisted_echo.session.backpressure import Backpressure
from twisted_echo.session.ends.end_reason import Detail, EndReason
from twisted_echo.session.starttls.diverted_output import DivertedOutput
from twisted_echo.session.starttls.plain_input import PlainInput
from twisted_echo.tls.certificates import TLSSettings
from twisted_echo.tls.counts import TLSCounts, TLSFailure, failureOf
from twisted_echo.tls.error_text import describeError
from twisted_echo.tls.handshake import HandshakeFactory, ServerHandshake
from twisted_echo.tls.stage import Stage
from twisted_echo.validation.units import Seconds

if TYPE_CHECKING:
    from twisted_echo.session.bounds.limits import Deadlines
    from twisted_echo.session.ends.ending import ReportsEnd

    class TLSSession(ReportsEnd, HeldInput, Protocol):
        # What is asked of a session, which is made of what stands here.
        def heldMore(self) -> None: ...


__all__ = ["HandshakeState", "SessionTLS", "TLSSessionFactory"]


class _NoRecord:
    """
    The factory of a wrapper that is in no factory's record.
    """

    @staticmethod
    def unregisterProtocol(protocol: object) -> None: ...


_NO_FACTORY: Any = _NoRecord()


class TLSSessionFactory(HandshakeFactory, TypingProtocol):
    """
    What TLS in a session asks of the session's factory.
    """

    deadlines: "Deadlines"

    def plainDropped(self, session: "TLSSession") -> None: ...


class HandshakeState(Enum):
    """
    What has become of the handshake::

        RUNNING --> DONE
           `------> OVER
    """

    RUNNING = "running"
    DONE = "done"
    """OpenSSL has finished it, though it may have been refused."""
    OVER = "over"
    """It was given up, or the client has left."""


@implementer(IHalfCloseableProtocol)
class SessionTLS(ServerHandshake):
    """
    The TLS between a session and the transport that it had before.
    """

    wrappedProtocol: "TLSSession"
    _handshake = HandshakeState.RUNNING
    # What the session has wanted meanwhile: no input, which the handshake does not wait
    # for; an end of its output.
    _isPaused = _isFinishing = False
    _deadline: FairCall | None = None
    # How many bytes were written during the handshake and are not yet reported.
    _unreported = 0

    def __init__(
        self,
        session: "TLSSession",
        transport: ITransport,
        factory: TLSSessionFactory,
        settings: TLSSettings,
        counts: TLSCounts,
    ) -> None:
        """
        @param transport: the one that the session had before.
        @param factory: the session's.
        @param counts: count the handshake.
        """
        super().__init__(_NO_FACTORY, session)
        self._sessionFactory = factory
        # First: a hook of the protocol's may raise.
        self.plainInput = PlainInput(
            session, partial(self.sessionFactory.plainDropped, session)
        )
        self.counts = counts
        sent = session.bytesSent
        self._sentPlain = None if sent is None else sent + pendingOutput(transport)
        self._provideFor(transport)
        BaseProtocol.makeConnection(self, transport)
        # A producer, or another object that has kept the transport, must not write in
        # the clear.
        self._below = DivertedOutput(
            transport,
            lambda data: self.write(data),
            self.writeSequence,
            self._unregisterFromBefore,
        )
        self._startWith(settings, self._below)
        # The class's own method reports what waits.
        del self.write

    @property
    def _isHandshaking(self) -> bool:
        return self._handshake is HandshakeState.RUNNING

    @property
    def sessionFactory(self) -> TLSSessionFactory:
        return self._sessionFactory

    def begin(self) -> None:
        """
        Begin the handshake, if the client's hello may still come.
        """
        session, transport = self.wrappedProtocol, self.transport
        if (
            session.hasInputEnded
            or session.isFinished
            or session.isAborted
            or transport.disconnecting
        ):
            self._endHandshake(Stage.OVER)
            return
        bottom = bottomTransport(transport)
        producer = producerOf(transport)
        if producer is not None and not isinstance(producer, Backpressure):
            streaming = bottom.streamingProducer
            bottom.unregisterProducer()
            self.registerProducer(producer, streaming)
        self.began = self.sessionFactory.fairClock.seconds()
        self._startDeadline(self.sessionFactory.deadlines.handshake)
        if session.paused:
            self._isPaused = True
            transport.resumeProducing()

    # The end of the handshake

    def _startDeadline(self, allowed: float) -> None:
        if allowed:
            clock = self.sessionFactory.fairClock
            self._deadline = clock.callLater(allowed, self._expire, allowed)

    def _endHandshake(self, stage: Stage) -> None:
        isDone = stage is Stage.OPEN
        self._handshake = HandshakeState.DONE if isDone else HandshakeState.OVER
        self._records.enter(stage)
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def _beginProtocol(self) -> None:
        refusal = self._refusalReason()
        if refusal is not None:
            session = self._records.protocol = self.wrappedProtocol
            self._records.dropWaiting()
            session.discardInput()
            self._fail(*refusal)
        else:
            super()._beginProtocol()

    def _handshakeDone(self) -> None:
        session = self.wrappedProtocol
        self._endHandshake(Stage.OPEN)
        self.plainInput.end()
        vars(self)["write"] = self._records.write
        self._countSuccess()
        if self._isPaused:
            self.pauseProducing()
        if self._isFinishing:
            self.loseWriteConnection()
        if IHandshakeListener.providedBy(session):
            session.handshakeCompleted()

    def _handshakeFailed(self, error: SSLError) -> None:
        if self._isHandshaking:
            self._fail(failureOf(error), describeError(error), Stage.OVER)
            self.transport.loseConnection()

    def _fail(self, why: TLSFailure, detail: str, stage: Stage = Stage.OPEN) -> None:
        self._endHandshake(stage)
        self.counts.failed(why)
        self.wrappedProtocol.close(EndReason.HANDSHAKE_FAILED, detail)

    def _clientLeft(self) -> None:
        self._endHandshake(Stage.OVER)
        if not (self.wrappedProtocol.isClosing or self.disconnecting):
            # Else the service ends it.
            self.counts.failed(TLSFailure.CLIENT_LEFT)

    def _expire(self, allowed: float) -> None:
        # What was waited for may have arrived.
        readArrived(self.transport)
        if self._awaitsTurn:
            # It is not the client that lets itself be waited for.
            self._startDeadline(allowed)
        elif self._isHandshaking:
            self._endHandshake(Stage.OVER)
            self.counts.failed(TLSFailure.TIMEOUT)
            why = Detail("over {allowed}", allowed=Seconds(allowed))
            self.wrappedProtocol.abort(EndReason.HANDSHAKE_TIMEOUT, why)

    # Input

    def pauseProducing(self) -> None:
        if self._isHandshaking:
            self._isPaused = True
        else:
            super().pauseProducing()

    def resumeProducing(self) -> None:
        self._isPaused = False
        self.transport.resumeProducing()

    def readConnectionLost(self) -> None:
        # What came before it counts first.
        self._takeTurn()
        if self._isHandshaking:
            self._inputEnded = True
            self._clientLeft()
            self.wrappedProtocol.close(EndReason.HANDSHAKE_FAILED, "the client left")
            self.transport.loseConnection()
        elif self._records.stage is not Stage.OVER:
            super().readConnectionLost()
        elif self.disconnecting:
            self.transport.loseConnection()
        else:
            # It was being closed before.
            self.wrappedProtocol.readConnectionLost()

    # Output

    @property
    def bytesSent(self) -> int | None:
        """
        How many bytes were sent in the clear, and have been encrypted since; None if
        the transport does not count them.
        """
        sent = self._sentPlain
        return None if sent is None else sent + self._records.bytesSent

    def write(self, data: bytes) -> None:
        """
        Hold what is written until the handshake is done.
        """
        self._records.write(data)
        self._unreported += len(data)
        if self._isHandshaking and self._unreported >= WORTH_COUNTING:
            self._unreported = 0
            self.wrappedProtocol.heldMore()

    def registerProducer(
        self, producer: IPushProducer | IPullProducer, streaming: bool
    ) -> None:
        # Now, and not when the handshake is done.
        other = producerOf(self.transport)
        if self._heldProducer is not None:
            other, _ = self._heldProducer
        if other is not None:
            raise RuntimeError(
                f"cannot register {producer!r}: {other!r} was never unregistered"
            )
        super().registerProducer(producer, streaming)

    def _unregisterFromBefore(self) -> None:
        if self._hasProducer:
            self.unregisterProducer()
        else:
            self._below.unregisterProducer()

    # The end

    def loseConnection(self) -> None:
        """
        Close, as soon as the handshake is done if the client has begun it or something
        waits to be sent; in the clear, if not.
        """
        if not self._isHandshaking:
            super().loseConnection()
            return
        self.disconnecting = True
        hasOutput = self._records.hasWaiting or self._hasProducer
        if self._records.stage is not Stage.HELLO or hasOutput:
            return
        self._endHandshake(Stage.OVER)
        # If bytes of the client's were left unread, the kernel would send a reset.
        # (They may have been waiting for a turn.)
        endOutput(self.transport)
        self.transport.resumeProducing()

    def loseWriteConnection(self) -> None:
        if self._isHandshaking:
            self._isFinishing = True
        else:
            super().loseWriteConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._isHandshaking:
            self._clientLeft()
        self.plainInput.restore()
        self._below.restore()
        super().connectionLost(reason)
