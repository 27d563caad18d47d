"""
One question that is not answered yet.

What must hold: a Deferred that no caller waits for any more keeps no session alive, and
its failure is logged.
"""

from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any, Protocol, TypeAlias

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

__all__ = [
    "Answer",
    "FailureLog",
    "PendingAnswer",
    "PendingState",
    "closeCoroutine",
    "discardAnswer",
    "logFailedAnswer",
]

Answer: TypeAlias = (
    bytes
    | Deferred[bytes]
    | Deferred[None]
    | Deferred[bytes | None]
    | Coroutine[Any, Any, bytes | None]
    | None
)
"""
What a question is answered with. None answers nothing.
"""


class FailureLog(Protocol):
    """
    Where failures are logged: as a rule the session's factory.
    """

    def logFailure(
        self, text: str, *, event: str, failure: Failure | None = None
    ) -> None: ...


class PendingState(Enum):
    """
    The state of a pending answer::

        IN_FLIGHT ---> READY, LATE ---> (sent)
            |               |
            `---> DROPPED <-'
    """

    IN_FLIGHT = "in flight"
    """Its Deferred has not fired."""
    READY = "ready"
    """Its result is known, and waits for its turn."""
    LATE = "late"
    """It took too long. Its result is the failure that says so."""
    DROPPED = "dropped"
    """The queue has given it up."""


class PendingAnswer:
    """
    A question that is not answered yet.

    @ivar question: for the failure handler.
    @ivar due: the time at which the answer is late.
    @ivar state: what has become of the answer.
    @ivar result: what to send, or a C{Failure}, when the answer is ready or late.
    """

    __slots__ = ("_deferred", "_log", "_onReady", "due", "question", "result", "state")

    def __init__(self, question: bytes, due: float, log: FailureLog) -> None:
        self.question = question
        self.due = due
        self.state = PendingState.IN_FLIGHT
        self.result: object = None
        self._log = log
        self._deferred: Deferred[Any] | None = None
        self._onReady: Callable[[object], None] | None = None

    @property
    def isInFlight(self) -> bool:
        """
        Whether the answer is still being made.
        """
        return self.state is PendingState.IN_FLIGHT

    @property
    def hasFailed(self) -> bool:
        """
        Whether the answer has a result that cannot be sent.
        """
        return not (self.result is None or isinstance(self.result, bytes))

    def take(
        self, result: object, onReady: Callable[[object], None] | None = None
    ) -> None:
        """
        Take the answer.

        @param result: an L{Answer}, or anything else, which is a failure.
        @param onReady: called with what a Deferred or a coroutine gives. None discards
            that.
        """
        if isinstance(result, Coroutine):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            self._deferred, self._onReady = result, onReady
            result.addBoth(self._fired)
        else:
            self.state, self.result = PendingState.READY, result

    def expire(self, failure: Failure) -> None:
        """
        Cancel it, as it took too long, with C{failure} for its result.
        """
        self._onReady = None
        self.cancel()
        if self.isInFlight:
            self.state, self.result = PendingState.LATE, failure

    def drop(self) -> None:
        """
        Give the answer up. L{cancel} may follow.
        """
        self.state, self.result = PendingState.DROPPED, None
        self._onReady = None

    def cancel(self) -> None:
        """
        Cancel the Deferred of the answer, if that has not fired.
        """
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            try:
                deferred.cancel()
            except Exception:
                _logFailedCancel(self._log)

    def _fired(self, result: object) -> None:
        self._deferred = None
        onReady, self._onReady = self._onReady, None
        if onReady is not None:
            self.state, self.result = PendingState.READY, result
            onReady(result)
        elif isinstance(result, Failure):
            if not result.check(CancelledError):
                logFailedAnswer(self._log, result)
            # The frames of its code may refer to it, and to the session.
            result.cleanFailure()


def discardAnswer(result: object, log: FailureLog) -> None:
    """
    Cancel an answer that comes when the queue is over.
    """
    if isinstance(result, Coroutine):
        closeCoroutine(result, log)
    elif isinstance(result, Deferred):
        pending = PendingAnswer(b"", 0.0, log)
        pending.take(result)
        pending.cancel()


def closeCoroutine(coroutine: Coroutine[Any, Any, Any], log: FailureLog) -> None:
    """
    Close a coroutine that is not awaited.
    """
    try:
        coroutine.close()
    except Exception:
        _logFailedCancel(log)


def logFailedAnswer(log: FailureLog, failure: Failure) -> None:
    log.logFailure("an answer failed", event="answer-failed", failure=failure)


def _logFailedCancel(log: FailureLog) -> None:
    log.logFailure("cannot cancel an answer", event="answer-cancel-failed")
