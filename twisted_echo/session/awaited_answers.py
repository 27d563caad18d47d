"""
Answers that are still to come, and that a session waits for before it closes.
"""

from typing import TypeVar

from twisted.internet.defer import Deferred

from twisted_echo.session.arrived_input import ReadsArrived
from twisted_echo.validation.checks import instance

__all__ = ["AwaitsAnswers"]

_T = TypeVar("_T")


class AwaitsAnswers(ReadsArrived):
    """
    A session that counts the answers which it is still to write.
    """

    def answerLater(self, answer: "Deferred[_T]") -> "Deferred[_T]":
        """
        Say that the answer to something that was received is still to come: the
        session is not closed before it, neither by the peer's end-of-file nor
        by C{close}.

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
        Announce an answer that is still to come, as L{answerLater} does, without a
        Deferred. The session is not closed before as many calls of L{answersDone}.
        """
        self._answersInFlight += 1

    def answersDone(self) -> None:
        """
        Say that the answer which one L{answersBegin} announced has been written.
        """
        if self._answersInFlight:
            self._answersInFlight -= 1
            self.finishWhenAnswered()
