"""
Sends answers that are ready, several by one write where that is possible.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from twisted.python.failure import Failure

from twisted_echo.session.answers.pending_answer import (
    FailureLog,
    PendingAnswer,
    logFailedAnswer,
)

__all__ = ["AnswerSender"]


class AnswerSender:
    """
    The functions of one protocol that frame and send answers.
    """

    __slots__ = ("_log", "_sendMany", "send")

    def __init__(
        self,
        send: Callable[[bytes], object],
        sendMany: Callable[[list[bytes]], object] | None,
        log: FailureLog,
    ) -> None:
        """
        @param send: sends one answer.
        @param sendMany: sends several by one write: all of them or, if it raises an
            exception, none.
        """
        self.send = send
        self._sendMany = sendMany
        self._log = log

    def sendFirst(self, pending: deque[PendingAnswer]) -> list[PendingAnswer]:
        """
        Send the first answer, which is ready, and those behind it that are ready, too.
        They stay in the queue meanwhile, so that nothing overtakes them. If the first
        cannot be sent, it has failed.

        @return: the answers that were sent.
        """
        return self._sendUpTo(1 if self._sendMany is None else len(pending), pending)

    def _sendUpTo(
        self, most: int, pending: deque[PendingAnswer]
    ) -> list[PendingAnswer]:
        ready: list[PendingAnswer] = []
        answers: list[bytes] = []
        for each in islice(pending, most):
            if each.isInFlight or each.hasFailed:
                break
            ready.append(each)
            if isinstance(each.result, bytes):
                answers.append(each.result)
        try:
            if len(answers) == 1:
                self.send(answers[0])
            elif answers and self._sendMany is not None:
                self._sendMany(answers)
        except Exception:
            # One cannot be framed, such as one that is too long.
            if not pending:
                # Sending has ended the session, too.
                logFailedAnswer(self._log, Failure())
            elif len(ready) > 1:
                return self._sendUpTo(1, pending)
            else:
                ready[0].result = Failure()
            return []
        return ready
