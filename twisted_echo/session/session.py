"""
One connection's life: registered, throttled, closed in order, told of.

L{Session} is a base or a mix-in for any Twisted protocol::

    class Upper(Session, FastLineReceiver):
        def lineReceived(self, line):
            self.sendLine(line.upper())

    factory = SessionFactory.forProtocol(Upper)

What must hold:

  - a session is registered with its factory in C{connectionMade}, and leaves it in
    C{connectionLost} and nowhere else; whatever a subclass does or raises in a hook,
    however often, it gets to both;
  - when the transport is gone nothing is asked of it any more, so nothing raises;
  - a peer that does not read is not read from;
  - after L{Session.close} the peer gets the answers to all that was read from it,
    whole, and then end-of-file;
  - nothing that is kept points back at a session that has ended.
"""

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar
from typing import Protocol as TypingProtocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    IReadDescriptor,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_echo.framing.held_input import HeldInput
from twisted_echo.net.receive_queue import readArrived, unreadBytes
from twisted_echo.net.sockets import KeepAlive, tuneSocket
from twisted_echo.net.transport_queries import bottomTransport, pendingOutput
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.session.backpressure import BY_PROTOCOL, BY_TRANSPORT, Backpressure
from twisted_echo.session.end_reason import EndReason, SessionEnd
from twisted_echo.session.hook_checks import AROUND
from twisted_echo.session.hooks import complaint, isWatched, misplaced, watch
from twisted_echo.session.start_tls import StartsTLS, divertStartTLS, restoreStartTLS
from twisted_echo.session.state import (
    ENDED,
    FINISHED,
    GONE,
    NEW,
    OPEN,
    SessionState,
    isTLS,
)
from twisted_echo.validation.checks import callback, instance
from twisted_echo.validation.plain_hooks import PlainHooks

__all__ = ["Session", "SessionKeeper"]

_T = TypeVar("_T")


_OFFENCES = (
    EndReason.LINE_TOO_LONG,
    EndReason.FRAME_TOO_LONG,
    EndReason.IDLE,
    EndReason.LINE_TIMEOUT,
    EndReason.HANDSHAKE_FAILED,
)
# What a session that was closed for a reason has ended by if it is cut off then; else
# it is just aborted.
_CUT_OFF = {
    **{reason: reason for reason in _OFFENCES},
    EndReason.STOPPED: EndReason.ABORTED_IN_DRAIN,
}


_LEAVES_WITHIN = 0.5
"""
Seconds for the reactor to end a connection of which nothing is waited for any more.
"""


def _isDescriptor(transport: Any) -> bool:
    return bool(IReadDescriptor.providedBy(bottomTransport(transport)))


def _discard(data: bytes) -> None:
    """
    Read and forget. A function of no session, so that a session which has it for
    its C{dataReceived} does not refer to itself.
    """


class SessionKeeper(TypingProtocol):
    """
    What a session asks of its factory.
    """

    abortAfter: float
    closing: EndReason | None
    keepAlive: KeepAlive | None
    sessions: "dict[Session, Deferred[SessionEnd]]"

    @property
    def clock(self) -> IReactorTime: ...

    @property
    def fairClock(self) -> FairClock: ...

    def sessionStarted(self, session: "Session") -> None: ...

    def endSent(self, session: "Session") -> None: ...

    def sessionEnded(self, session: "Session", end: SessionEnd) -> None: ...

    def inputStopped(self, session: "Session") -> None: ...

    def inputStarted(self, session: "Session") -> None: ...

    def sessionFailed(self, session: "Session", what: str) -> None: ...

    def recordFault(self, fault: str) -> None: ...

    def logFailure(
        self, text: str, *, event: str, failure: Failure | None = None
    ) -> None: ...

    def heldMore(self, session: "Session") -> None: ...


@implementer(IHalfCloseableProtocol, IPushProducer)
class Session(PlainHooks, StartsTLS, SessionState, HeldInput, Protocol):
    """
    A protocol whose connection is tracked from its first byte to its last.

    Put it before the other bases. A subclass that overrides C{connectionMade},
    C{connectionLost} or C{readConnectionLost} calls the inherited method. If one does
    not, that is done for it, and is a fault of the factory's record
    (L{SessionFactory.faults<twisted_echo.session.factory.SessionFactory>}).

    An exception that a hook raises is logged, and cuts the connection off.

    @cvar backpressure: whether to stop reading from a peer that does not read:
        while the transport holds more than its C{bufferSize} (64 KiB), nothing
        more is read. False for a protocol that registers a producer of its own.
    """

    backpressure = True

    if TYPE_CHECKING:
        factory: SessionKeeper | None

    # The beginning

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, around in AROUND.items():
            watch(cls, Session, name, around)
        if vars(cls).get("__hash__") is None:
            # Sessions are told apart, whatever makes two of them equal: a dataclass
            # keeps this.
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]
        cls._misplaced = misplaced(cls, Session, "pauseProducing")

    def makeConnection(self, transport: Any) -> None:
        """
        Begin, whatever C{connectionMade} does.

        @raise TypeError: if the factory cannot keep sessions.
        """
        factory = self.factory
        if factory is not None and not hasattr(factory, "sessionStarted"):
            getattr(transport, "abortConnection", transport.loseConnection)()
            raise TypeError(
                f"{type(self).__name__} is a Session, so its factory must be"
                f" a SessionFactory, got {factory!r}"
            )
        try:
            super().makeConnection(transport)
        except BaseException:
            # (Of whatever kind: Twisted's ports log it, and leave the connection open.)
            self._cannotBegin(transport)
        if self._isUnknown:
            # It was replaced when its class had been made.
            self._skipped(complaint(type(self), Session, "connectionMade"))
            Session.connectionMade(self)

    def _cannotBegin(self, transport: Any) -> None:
        self.transport = transport
        self._failed("begin")
        if self._isUnknown:
            # It was never registered.
            Session.forget(self)

    def connectionMade(self) -> None:
        """
        Register, set the socket's options, and register as the transport's producer,
        which it pauses when its buffer is full.
        """
        if not self._isUnknown:
            return
        if self._life is NEW:
            self._life = OPEN
        factory = self._keeper = self.factory
        transport = self._connection = self.transport
        if factory is not None:
            self._began = factory.clock.seconds()
            factory.sessionStarted(self)
            tuneSocket(transport, factory.keepAlive)
        divertStartTLS(self, transport)
        if self._misplaced:
            self._skipped(self._misplaced)
        if self.backpressure and self._life is OPEN:
            # Under TLS the bottom transport it is: TLS itself would not close
            # while a producer is registered with it.
            bottom = bottomTransport(transport)
            if hasattr(bottom, "registerProducer"):
                self._throttled = True
                bottom.registerProducer(Backpressure(self, bottom), True)
        super().connectionMade()
        if factory is not None and factory.closing is not None:
            self.close(factory.closing)

    # What subclasses do wrong

    def _skipped(self, fault: str) -> None:
        """
        A hook has not called the inherited one.
        """
        if self.factory is not None:
            self.factory.recordFault(fault)
        else:
            warnings.warn(fault, RuntimeWarning, stacklevel=3)

    def _failed(self, what: str) -> None:
        """
        What a subclass overrides has raised the exception that is being handled: log
        it, and cut the connection off. (Without a factory it goes on to the caller.)

        @param what: what it could not do.
        """
        if self.factory is None:
            raise
        self.factory.sessionFailed(self, what)
        if not self.isGone:
            Session.discardInput(self)
            with suppress(Exception):
                Session.abort(self, EndReason.ERROR)

    # Input: stopped while the protocol or the transport wants no more

    def pauseProducing(self) -> None:
        """
        Take no more input, as the protocol wishes.
        """
        self.stopInput(BY_PROTOCOL)

    def resumeProducing(self) -> None:
        """
        Take input again, unless the transport is full.
        """
        self.startInput(BY_PROTOCOL)

    def stopProducing(self) -> None:
        """
        Take no more input, and close.
        """
        if self.isGone:
            return
        self.paused = True
        getattr(super(), "stopProducing", self.transport.loseConnection)()

    def stopInput(self, who: int) -> None:
        """
        Stop reading, for one of the reasons that may stop it.
        """
        if self.isGone:
            return
        self._inputStoppedBy |= who
        if who == BY_TRANSPORT and self.factory is not None:
            self.factory.inputStopped(self)
        if not self.paused:
            self.paused = True
            pause = getattr(super(), "pauseProducing", self.transport.pauseProducing)
            pause()

    def startInput(self, who: int) -> None:
        """
        Give up a reason; the last one that goes starts the input.
        """
        if self.isGone:
            return
        self._inputStoppedBy &= ~who
        if who == BY_TRANSPORT and self.factory is not None:
            self.factory.inputStarted(self)
        if self._inputStoppedBy or self._life >= FINISHED:
            return
        self.paused = False
        resume = getattr(super(), "resumeProducing", self.transport.resumeProducing)
        try:
            resume()
        except BaseException:
            # The caller may be a timer or an answer, which would not end the session.
            self._failed("take input again")
            return
        if self._closing is not None and self._life < FINISHED:
            self.transport.pauseProducing()
        if self._unread is not None:
            self._readOnLater()
        self._finishWhenAnswered()

    # The end

    def answerLater(self, answer: "Deferred[_T]") -> "Deferred[_T]":
        """
        Say that the answer to something that was received is still to come: the
        session is not closed before it, neither by the peer's end-of-file nor
        by L{close}.

        @param answer: fires, with a result or a failure, when the answer has
            been written. (C{Deferred.fromCoroutine} makes one of a coroutine.)
        @return: C{answer}.
        @raise TypeError: if it is no Deferred.
        """
        instance("answer", answer, Deferred)
        self.answersBegin()

        def answered(result: _T) -> _T:
            self.answersDone()
            return result

        return answer.addBoth(answered)

    def answersBegin(self) -> None:
        """
        The same without a Deferred: the session is not closed before as many
        calls of L{answersDone}.
        """
        self._answersInFlight += 1

    def answersDone(self) -> None:
        """
        What one L{answersBegin} announced has been written.
        """
        if self._answersInFlight:
            self._answersInFlight -= 1
            self._finishWhenAnswered()

    def callAtEnd(self, function: Callable[[], None]) -> None:
        """
        Register a function to call once when the connection is lost, before the
        Deferreds of L{whenEnded} fire. It is called at once if the connection is lost
        already.
        """
        self._atEnd += (callback("what is called", function),)
        if self._life is ENDED:
            self._callAtEnd()

    def countHeld(self, ownBytes: Callable[[], int]) -> None:
        """
        Count what another object holds for this session as the session's.

        @param ownBytes: returns how many bytes the object holds.
        """
        self._holders += (ownBytes,)

    def ownBytes(self) -> int:
        """
        How many bytes of input and of answers are held for the session, its transport
        not counted. A protocol that holds something which neither C{heldInput} nor
        L{countHeld} tells of adds that.
        """
        heldInput = self.heldInput()
        held = 0 if heldInput is None else heldInput[0]
        for ownBytes in self._holders:
            held += ownBytes()
        return held

    def heldMore(self) -> None:
        """
        Say that more is held for the session than C{WORTH_COUNTING} bytes, and more
        than the last time. If too much is held for all sessions of its factory, this
        may end some of them, this one among them.
        """
        if self.factory is not None:
            self.factory.heldMore(self)

    def endOfInput(self) -> None:
        """
        Override this to answer what is left when the peer has sent its last
        byte.
        """

    def readConnectionLost(self) -> None:
        """
        The peer will send nothing more: answer what is left, then close.
        """
        if self._inputEnded or self.isGone:
            return
        self._inputEnded = True
        if self._life >= FINISHED:
            # The peer's answer to the end-of-file that it was sent.
            self.transport.loseConnection()
            return
        if self._closing is None or self._unread is not None:
            # (If it came before the stop, it is as if there was none.)
            self._unread = None
            sent = self.bytesSent
            self.endOfInput()
            self._isOwed = bool(
                self._answersInFlight
                or self._inputStoppedBy
                or self.bytesSent != sent
                or pendingOutput(self.transport)
            )
        self._finishWhenAnswered()

    def writeConnectionLost(self) -> None:
        """
        The peer has been sent its end-of-file; its own is waited for.
        """

    @property
    def linesDelivered(self) -> int:
        """
        How many lines the protocol was given. Unlike C{lineCount} this never goes
        back: lines that wait may turn out to be none, when the mode is switched.
        """
        try:
            return max(0, self.lineCount - self.undeliveredLines())
        except Exception:
            self._failed("tell what it has delivered")
            return self.lineCount

    def close(
        self, reason: EndReason = EndReason.LOCAL_CLOSED, detail: str = ""
    ) -> None:
        """
        Close in order: take nothing more from the peer, let the answers to what
        was read go out, send end-of-file, wait for the peer's, and close. What
        the peer still sends meanwhile is read and discarded: unread bytes would
        make the kernel send a reset, which can destroy the answers on their way.

        A peer that has not finished after the factory's C{abortAfter} seconds is
        aborted. A second call does nothing.

        If the service has L{EndReason.STOPPED}, what had arrived by then is read
        before, in the next turns, as far as the protocol and the peer take it, unless
        the protocol closes the session meanwhile.

        @param reason: the reason that L{end} and L{whenEnded} give.
        @param detail: what else to say of it in the log.
        @raise TypeError: if C{reason} is no L{EndReason}, or C{detail} no C{str}.
        """
        if self.isGone:
            return
        instance("reason", reason, EndReason)
        instance("detail", detail, str)
        isStopping, self._unread = self._unread is not None, None
        if self._deadline is not None and not isStopping:
            return
        self._detail = detail
        clock = None if self.factory is None else self.factory.clock
        if self._deadline is None and clock is not None and self.factory is not None:
            # If it is closing already, it is this deadline that has to tell.
            cause = _CUT_OFF.get(reason, EndReason.ABORTED)
            self._deadline = self.factory.fairClock.callLater(
                self.factory.abortAfter, self._expireAtDeadline, cause
            )
        if self._life >= FINISHED or self.transport.disconnecting:
            # It is closing already, and has a deadline now.
            return
        self._closing = reason
        if not self._inputEnded:
            self.transport.pauseProducing()
            if reason is EndReason.STOPPED and _isDescriptor(self.transport):
                self._unread = unreadBytes(self.transport)
                self._readOnLater()
                return
        if clock is not None and (self.isReceiving or isTLS(self.transport)):
            # Perhaps called by the answer to one of several lines: the others
            # first. (The end of a TCP session leaves time for them anyway.)
            clock.callLater(0, self._finishWhenAnswered)
        else:
            self._finishWhenAnswered()

    def _readOnLater(self) -> None:
        # Not now, when the protocol perhaps is being given something.
        bottomTransport(self.transport).reactor.callLater(0, self._readOn)

    def _readOn(self) -> None:
        factory = self.factory
        if self._unread and factory is not None and factory.fairClock.isLate:
            # What others were given took its time.
            self._readOnLater()
            return
        try:
            self._readUnread()
        except Exception:
            self._failed("read what had arrived")

    def _readUnread(self) -> None:
        """
        Read one chunk of what had arrived when the service stopped, and an end-of-file
        behind the last one.
        """
        left, transport = self._unread, self.transport
        if left is None or self.paused or self.isGone:
            return
        count = readArrived(
            transport,
            lambda: self._unread is not None and not self.paused,
            atMost=min(left, bottomTransport(transport).bufferSize),
        )
        if self._unread is None:
            # It has been closed meanwhile, by either side.
            return
        self._unread = max(0, left - count) if count else 0
        if self.paused:
            return
        if self._unread:
            self._readOnLater()
            return
        self._unread = None
        if not transport.disconnecting:
            self._finishWhenAnswered()

    def abort(self, reason: EndReason = EndReason.ABORTED, detail: str = "") -> None:
        """
        Cut the connection off, with a reset; what was not sent is lost.

        @param reason: the reason that L{end} and L{whenEnded} give, unless the session
            was closed for an offence of the peer before, which says more.
        @param detail: what else to say of it in the log.
        @raise TypeError: if one is of another kind.
        """
        if self.isGone:
            return
        instance("reason", reason, EndReason)
        instance("detail", detail, str)
        if self._abortedFor is None:
            closing = self._closing
            self._abortedFor = closing if closing in _OFFENCES else reason
            self._detail = self._detail or detail
        transport = self.transport if self._connection is None else self._connection
        getattr(transport, "abortConnection", transport.loseConnection)()

    def _expireAtDeadline(self, cause: EndReason) -> None:
        try:
            self.expire(cause)
        except Exception:
            self._failed("be aborted")

    def expire(self, reason: EndReason = EndReason.ABORTED) -> None:
        """
        Its time to end is over: cut it off, unless the peer has already done its part.
        What of that the kernel still holds is read first.

        @param reason: as with L{abort}.
        """
        wasLeaving = self._isLeaving()
        self.readArrived()
        if self.isGone:
            return
        if not self._isLeaving() or wasLeaving or self.factory is None:
            self.abort(reason)
            return
        # The reactor ends it in a moment, without the peer.
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = self.factory.fairClock.callLater(
            _LEAVES_WITHIN, self._expireAtDeadline, reason
        )

    def _isLeaving(self) -> bool:
        """
        Whether nothing more is waited for from the peer.
        """
        bottom = bottomTransport(self._connection)
        return bool(
            getattr(bottom, "disconnecting", False)
            or (self._life >= FINISHED and self._inputEnded)
        ) and not pendingOutput(bottom)

    def readArrived(self) -> None:
        """
        Read what has arrived for it by now, unless it takes no input at the moment.
        """
        readArrived(self._connection, self._takesInput)

    def _takesInput(self) -> bool:
        return not (
            self.paused
            or self._abortedFor is not None
            or (self._closing is not None and self._life < FINISHED)
        )

    def discardInput(self) -> None:
        """
        Read and forget whatever the peer still sends.
        """
        self.dataReceived = _discard  # type: ignore[method-assign]

    def _finishWhenAnswered(self) -> None:
        """
        Once there is nothing to wait for: close after what has been written.
        """
        try:
            self._finish()
        except Exception:
            self._failed("be closed")

    def _finish(self) -> None:
        if (
            self._life >= FINISHED
            or self.isGone
            or self._unread is not None
            or not (self._inputEnded or self._closing is not None)
            or self._answersInFlight
            or self._inputStoppedBy & BY_PROTOCOL
            or (self._inputStoppedBy and self.hasUndeliveredLines())
        ):
            return
        self._life = FINISHED
        if self.factory is not None:
            self.factory.endSent(self)
        transport: Any = self.transport
        if self._throttled:
            self._throttled = False
            bottomTransport(transport).unregisterProducer()
        if self._inputEnded:
            transport.loseConnection()
            return
        self.discardInput()
        if isTLS(transport):
            # TLS ends both directions at once, and then waits for the peer.
            transport.loseConnection()
            transport.resumeProducing()
        elif hasattr(transport, "loseWriteConnection"):
            transport.loseWriteConnection()
            transport.resumeProducing()
        else:
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Leave the factory, and fire the Deferreds of L{whenEnded}.
        """
        self._lose(reason)
        try:
            super().connectionLost(reason)
        except Exception:
            self._failed("end")
        finally:
            Session.forget(self, reason)

    def forget(self, reason: Failure = connectionDone) -> None:
        """
        The second half of C{connectionLost}, for a factory whose session does
        not get there. A second call does nothing.
        """
        self._lose(reason)
        if self._life is ENDED:
            return
        self._life = ENDED
        connection, self._connection = self._connection or self.transport, None
        if connection is not None:
            # Some protocols of Twisted's forget it, as FTP does; what is to be counted
            # still needs it.
            self.transport = connection
            restoreStartTLS(self, connection)
            if not getattr(connection, "disconnected", True) and hasattr(
                bottomTransport(connection), "fileno"
            ):
                # A caller says that it is lost. It must not go on untracked.
                with suppress(Exception):
                    getattr(connection, "abortConnection", connection.loseConnection)()
        factory = self.factory = self._keeper or self.factory
        self._callAtEnd()
        if factory is not None:
            self.end = SessionEnd(
                self._reason,
                self.bytesReceived,
                factory.clock.seconds() - self._began,
                self._detail,
                self.bytesSent,
                self.linesDelivered,
            )
            try:
                factory.sessionEnded(self, self.end)
            except Exception:
                self._failed("be struck off")
            self._tellAskers(self.end)

    def endIfGone(self) -> None:
        """
        End it if its transport is gone, and it was not told. Called by the guard.
        """
        if self._life >= GONE or not self.isGone:
            return
        lost = Failure(ConnectionLost())
        # Perhaps a producer's exception has kept the transport from telling it.
        bottom = bottomTransport(self._connection)
        with suppress(Exception):
            bottom.unregisterProducer()
            bottom.connectionLost(lost)
        if self._life < ENDED:
            if not isWatched(self.connectionLost):
                # It was replaced when its class had been made.
                self._skipped(complaint(type(self), Session, "connectionLost"))
            Session.connectionLost(self, lost)

    def _lose(self, reason: Failure) -> None:
        """
        The transport is gone, or does not tell: ask nothing of it any more.
        """
        if self._life >= GONE:
            return
        if self._connection is not None:
            self.transport = self._connection
        self._unread = None
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()
        if self._life is not NEW and self.factory is not None:
            try:
                self._reason = self._endReason(reason)
            except Exception:
                self.factory.sessionFailed(self, "tell why it ended")
        self._life = GONE

    def _callAtEnd(self) -> None:
        functions, self._atEnd = self._atEnd, ()
        for function in functions:
            try:
                function()
            except Exception:
                self._failed("call what was to be called at its end")

    def whenEnded(self) -> "Deferred[SessionEnd]":
        """
        Wait for the end of this session.

        @return: a Deferred of the caller's own, which fires with what ended the
            session, never with a failure. Its callbacks, and cancelling it, do not
            affect other callers.
        """
        if self.end is not None:
            return succeed(self.end)
        keeper = self._keeper or self.factory
        assert keeper is not None, "a session without a factory is not kept"
        if self._askers is None:
            self._askers = {}
        asker: Deferred[SessionEnd] = Deferred(self._askers.pop)
        self._askers[asker] = None
        return asker

    def _tellAskers(self, end: SessionEnd) -> None:
        askers, self._askers = self._askers, None
        for asker in list(askers or ()):
            # A callback of one may have cancelled another.
            if not asker.called:
                asker.callback(end)
                result = getattr(asker, "result", None)
                if isinstance(result, Failure):
                    # Its frames refer to this one, and so to the session.
                    result.cleanFailure()
