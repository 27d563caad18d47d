"""
Handle an answer that has failed.

What must hold: every failure is logged once, unless the failure handler answers for it
or it is only late; and none keeps the session alive by its frames.
"""

from collections.abc import Callable, Coroutine
from typing import TypeAlias

from twisted.python.failure import Failure

from twisted_echo.session.answers.pending_answer import (
    FailureLog,
    closeCoroutine,
    logFailedAnswer,
)
from twisted_echo.session.empty_buffers import emptyBuffers
from twisted_echo.session.ends.end_reason import Detail, EndReason
from twisted_echo.session.session import Session
from twisted_echo.validation.units import Seconds

__all__ = ["FailureHandler", "asFailure", "closeFailed", "keepFailure", "replacement"]

FailureHandler: TypeAlias = Callable[[bytes, Failure], bytes | Failure | None]
"""
A function of a question and of the failure of its answer. It returns what to send
instead, None for nothing, or a failure, which closes the session.
"""


def keepFailure(question: bytes, failure: Failure) -> Failure:
    """
    Close the session for a failure: the failure handler by default.
    """
    return failure


def asFailure(result: object) -> Failure:
    """
    Return the failure of an answer: its own, or that it has an illegal type.
    """
    if isinstance(result, Failure):
        return result
    return Failure(
        TypeError(
            "an answer must be bytes, None, a Deferred or a coroutine of these, got"
            f" {type(result).__name__}"
        )
    )


def replacement(
    handler: FailureHandler, question: bytes, failure: Failure, log: FailureLog
) -> bytes | Failure | None:
    """
    Call the failure handler, and check what it returns.

    @return: as the handler; the handler's own failure, if it fails.
    """
    try:
        instead: object = handler(question, failure)
    except Exception:
        logFailedAnswer(log, failure)
        return Failure()
    if instead is None or isinstance(instead, bytes | Failure):
        return instead
    if isinstance(instead, Coroutine):
        closeCoroutine(instead, log)
    logFailedAnswer(log, failure)
    return Failure(
        TypeError(
            "answerFailed must return bytes, None or a Failure, got"
            f" {type(instead).__name__}"
        )
    )


def closeFailed(
    session: Session, failure: Failure, timeout: float | None, log: FailureLog
) -> None:
    """
    Take nothing more from the peer, and close the session after what was answered.

    @param timeout: the seconds within which there was no answer; None if there was one
        that failed.
    """
    if timeout is not None:
        detail: str = Detail("no answer within {within}", within=Seconds(timeout))
    else:
        # What the exception says may be what the peer has sent.
        detail = f"an answer failed: {type(failure.value).__name__}"
        logFailedAnswer(log, failure)
    failure.cleanFailure()
    try:
        session.discardInput()
        emptyBuffers(session)
        session.close(EndReason.ERROR, detail)
    except Exception:
        # This may be a timed call, so no caller would end the session.
        logFailedAnswer(log, Failure())
        Session.abort(session, EndReason.ERROR)
