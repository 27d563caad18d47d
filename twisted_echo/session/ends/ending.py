"""
The end of a session: why it has ended, and who waits for that.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from twisted_echo.net.transport_queries import (
    bottomTransport,
    pendingOutput,
)
from twisted_echo.scheduling.waiters import Waiters
from twisted_echo.session.ends.closing import ClosesInOrder
from twisted_echo.session.ends.end_classification import (
    BROKEN,
    DONE,
    HANGUP,
    Loss,
    endReason,
    lossOf,
)
from twisted_echo.session.ends.end_reason import EndReason, SessionEnd
from twisted_echo.session.state import ENDED, FINISHED, LOST, NEW, isTLS
from twisted_echo.validation.checks import callback

__all__ = ["ReportsEnd"]


class ReportsEnd(ClosesInOrder):
    """
    A session whose end others wait for.
    """

    # Why it ended, once its transport is gone.
    _reason = EndReason.ERROR
    _waiters: Waiters[SessionEnd] | None = None
    _atEnd: tuple[Callable[[], None], ...] = ()

    if TYPE_CHECKING:
        # (A receiver's, or the default of `HeldInput`, which comes after it.)
        def undeliveredLines(self) -> int: ...

    @property
    def linesDelivered(self) -> int:
        """
        How many lines the protocol was given. Unlike C{lineCount} this never goes
        back: lines that wait may turn out to be none, when the mode is switched.
        """
        try:
            delivered = self.lineCount - self.undeliveredLines()
            return delivered if delivered > 0 else 0
        except Exception:
            self.hookFailed("count its delivered lines")
            return self.lineCount

    def callAtEnd(self, function: Callable[[], None]) -> None:
        """
        Register a function to call once when the connection is lost, before the
        Deferreds of L{whenEnded} fire. It is called at once if the connection is lost
        already.
        """
        self._atEnd += (callback("what is called", function),)
        if self._sessionState is ENDED:
            self._callAtEnd()

    def transportLost(self, reason: Failure) -> None:
        """
        Ask nothing of the transport any more: it is gone, or does not report its end.
        """
        if self._sessionState >= LOST:
            return
        if self._connection is not None:
            self.transport = self._connection
        if self._isClosing:
            record = self._record or self.factory
            if record is not None:
                record.closingDeadlines.forget(self)
        if self.factory is not None and self._sessionState is not NEW:
            try:
                self._reason = self._classify(reason)
            except Exception:
                self.reportFailure("find out why it ended")
        self._enter(LOST)

    def _classify(self, reason: Failure) -> EndReason:
        transport, closeReason = self.transport, self._closeReason
        # (Most end so.)
        isDone = reason.type is ConnectionDone
        # (By position: to pass them by name costs more than all the rest of it. Whether
        # there is TLS is asked only where it makes a difference.)
        return endReason(
            DONE if isDone else self._lossOf(reason),
            self._abortReason,
            closeReason,
            self._sessionState is FINISHED,
            self._inputEnded,
            self._isOwed,
            not isDone and closeReason is not None and isTLS(transport),
            transport.disconnecting,
        )

    def _lossOf(self, reason: Failure) -> Loss:
        loss, transport = lossOf(reason), self.transport
        if (
            loss is BROKEN
            and reason.check(ConnectionLost)
            and isinstance(bottomTransport(transport).getPeer(), UNIXAddress)
            and not pendingOutput(transport)
        ):
            return HANGUP
        return loss

    def _callAtEnd(self) -> None:
        functions, self._atEnd = self._atEnd, ()
        for function in functions:
            try:
                function()
            except Exception:
                self.hookFailed("call a function that waited for its end")

    def whenEnded(self) -> "Deferred[SessionEnd]":
        """
        Wait for the end of this session.

        @return: a Deferred of the caller's own, which fires with what ended the
            session, never with a failure. Its callbacks, and cancelling it, do not
            affect other callers.
        """
        if self.end is not None:
            return succeed(self.end)
        record = self._record or self.factory
        assert record is not None, "a session without a factory is not recorded"
        if self._waiters is None:
            self._waiters = Waiters()
        return self._waiters.wait()
