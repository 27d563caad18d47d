"""
The close in order of a session: the answers to what was read, an end-of-file, and a
wait for the peer's.

What must hold:

  - after L{ClosesInOrder.close} the peer gets the answers to all that was read from it,
    whole, and then end-of-file;
  - what the peer sends meanwhile is read and discarded: unread bytes would make the
    kernel send a reset, which can destroy the answers on their way;
  - a peer that does not finish is aborted at the deadline.
"""

from typing import TYPE_CHECKING

from twisted.internet import tcp

from twisted_echo.net.transport_queries import (
    abort,
    bottomTransport,
    canHalfClose,
    hasOutput,
    isClosing,
    isGone,
    pendingOutput,
)
from twisted_echo.session.awaited_answers import AwaitsAnswers
from twisted_echo.session.backpressure import BY_PROTOCOL
from twisted_echo.session.ends.end_classification import ABORT_REASONS, OFFENCES
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.state import (
    ABORTED,
    DRAINING,
    FINISHED,
    LOST,
    OPEN,
    READING,
    isTLS,
)
from twisted_echo.validation.checks import instance

__all__ = ["ClosesInOrder"]

_LEAVES_WITHIN = 0.5
"""
Seconds for the reactor to end a connection of which nothing is waited for any more.
"""


def _discard(data: bytes) -> None:
    """
    Read and forget. A function of no session, so that a session which has it for
    its C{dataReceived} does not refer to itself.
    """


class ClosesInOrder(AwaitsAnswers):
    """
    A session that can be closed in order, or aborted.
    """

    # Whether its `Backpressure` is registered with the bottom transport.
    _hasBackpressure = False

    if TYPE_CHECKING:
        # (A receiver's, or the defaults of `HeldInput`, which come after it.)
        @property
        def isReceiving(self) -> bool: ...

        def hasUndeliveredLines(self) -> bool: ...

    # The peer's end-of-file

    def endOfInput(self) -> None:
        """
        Override this to answer what is left when the peer has sent its last
        byte.
        """

    def readConnectionLost(self) -> None:
        """
        The peer will send nothing more: answer what is left, then close. An override
        must call C{super().readConnectionLost()}; L{endOfInput} needs no C{super()}.
        """
        state = self._sessionState
        if self._inputEnded or state >= LOST or isGone(self._connection):
            return
        self._inputEnded = True
        if state >= FINISHED:
            # The peer's answer to the end-of-file that it was sent.
            self.transport.loseConnection()
            return
        if state < DRAINING:
            # (If it came before the stop, it is as if there was none.)
            self._enter(DRAINING)
            self.endOfInput()
            if self._answersInFlight or self._pausedFor or hasOutput(self.transport):
                self._isOwed = True
        self.finishWhenAnswered()

    def writeConnectionLost(self) -> None:
        """
        Wait for the peer's end-of-file: it has been sent the session's.
        """

    # The close

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

        @param reason: the reason that C{end} and C{whenEnded} give.
        @param detail: what else to say of it in the log.
        @raise TypeError: if C{reason} is no L{EndReason}, or C{detail} no C{str}.
        """
        if self.isGone:
            return
        instance("reason", reason, EndReason)
        instance("detail", detail, str)
        state, factory = self._sessionState, self.factory
        if self._isClosing and state is not READING:
            return
        self._detail = detail
        if not self._isClosing:
            # If it is closing already, it is this deadline that has to tell.
            self._isClosing = True
            if factory is not None:
                abortReason = ABORT_REASONS.get(reason, EndReason.ABORTED)
                factory.closingDeadlines.begin(self, factory.abortAfter, abortReason)
        if state >= FINISHED:
            return
        if self.transport.disconnecting:
            # It is closing already, and has a deadline now.
            if state is READING:
                self._enter(DRAINING)
            return
        self._closeReason = reason
        self._drain()

    def _drain(self) -> None:
        """
        Take nothing more from the peer, and finish when all is answered.
        """
        factory = self.factory
        if not self._inputEnded:
            self.transport.pauseProducing()
            if self._closeReason is EndReason.STOPPED and self._canReadArrived():
                self._beginReading()
                return
        if self._sessionState < DRAINING:
            self._enter(DRAINING)
        if factory is not None and (self.isReceiving or isTLS(self.transport)):
            # Perhaps called by the answer to one of several lines: the others
            # first. (The end of a TCP session leaves time for them anyway.)
            factory.clock.callLater(0, self.finishWhenAnswered)
        else:
            self.finishWhenAnswered()

    def inputStarted(self) -> None:
        if OPEN < self._sessionState < FINISHED and self._closeReason is not None:
            self.transport.pauseProducing()
        super().inputStarted()
        self.finishWhenAnswered()

    def finishWhenAnswered(self) -> None:
        try:
            if (
                self._sessionState is DRAINING
                and not isGone(self._connection)
                and not self._answersInFlight
                and not self._pausedFor & BY_PROTOCOL
                and not (self._pausedFor and self.hasUndeliveredLines())
            ):
                self._finish()
        except Exception:
            self.hookFailed("be closed")

    def _finish(self) -> None:
        """
        Close after what has been written.
        """
        self._enter(FINISHED)
        if self.factory is not None:
            self.factory.endSent(self)
        transport = self.transport
        bottom = bottomTransport(transport)
        # (Twisted's own connections, when they are closed, let a `Backpressure`
        # unregister itself, and they stop it at their end. Of others nobody knows.)
        if self._hasBackpressure and not (
            self._inputEnded and isinstance(bottom, tcp.Connection)
        ):
            self._hasBackpressure = False
            bottom.unregisterProducer()
        if self._inputEnded:
            transport.loseConnection()
            return
        self.discardInput()
        if isTLS(transport):
            # TLS ends both directions at once, and then waits for the peer.
            transport.loseConnection()
            transport.resumeProducing()
        elif canHalfClose(transport):
            transport.loseWriteConnection()
            transport.resumeProducing()
        else:
            transport.loseConnection()

    def discardInput(self) -> None:
        """
        Read and forget whatever the peer still sends.
        """
        # Not a flag, which each chunk would have to ask.
        self.dataReceived = _discard

    # The abort

    def abort(self, reason: EndReason = EndReason.ABORTED, detail: str = "") -> None:
        """
        Cut the connection off, with a reset. Output that was not sent is lost.

        @param reason: the reason that C{end} and C{whenEnded} give, unless the session
            was closed for an offence of the peer before, which says more.
        @param detail: what else to say of it in the log.
        @raise TypeError: if one is of another kind.
        """
        if self.isGone:
            return
        instance("reason", reason, EndReason)
        instance("detail", detail, str)
        if self._sessionState is not ABORTED:
            closed = self._closeReason
            self._abortReason = closed if closed in OFFENCES else reason
            self._detail = self._detail or detail
            self._enter(ABORTED)
        abort(self.transport if self._connection is None else self._connection)

    # The deadline

    def deadlinePassed(self, reason: EndReason) -> None:
        """
        L{Expire<expire>} the session. Called by the factory's timer, at its deadline.
        """
        try:
            self.expire(reason)
        except Exception:
            self.hookFailed("be aborted")

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
        deadlines = self.factory.closingDeadlines
        deadlines.forget(self)
        deadlines.begin(self, _LEAVES_WITHIN, reason)
        self._isClosing = True

    def _isLeaving(self) -> bool:
        """
        Whether the session waits for nothing more from the peer.
        """
        bottom = bottomTransport(self._connection)
        return (
            isClosing(bottom) or (self._sessionState >= FINISHED and self._inputEnded)
        ) and not pendingOutput(bottom)
