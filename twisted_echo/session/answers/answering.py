"""
Answers from your own code: at once or later, in the order of the questions.

L{AnsweringLineReceiver} is for lines; L{AnsweringSession} makes one of any receiver in
two lines::

    class Answering16(AnsweringSession, Int16StringReceiver):
        stringReceived = AnsweringSession.questionReceived

        def sendAnswer(self, answer):
            self.sendString(answer)

What must hold: C{bytes} with nothing ahead of them go straight to the transport, with
no Deferred and no queue; all else is an L{AnswerQueue}'s.
"""

from collections.abc import Callable
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ITransport
from twisted.python.failure import Failure

from twisted_echo.framing.line_receiver import FastLineReceiver
from twisted_echo.session.answers.answer_queue import (
    DEFAULT_AT_ONCE,
    Answer,
    AnswerQueue,
)
from twisted_echo.session.overlong import RefusesOverlong
from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.validation.checks import seconds, whole

__all__ = ["AnsweringLineReceiver", "AnsweringSession"]


class AnsweringSession(RefusesOverlong):
    """
    A session whose questions are answered by L{answer}. Put it before a receiver,
    have the receiver's hook for one message be L{questionReceived}, and override
    L{sendAnswer}.

    @cvar answersAtOnce: how many answers may be in flight; then no input is taken.
    @cvar answerTimeout: seconds for one answer; 0 for as many as it takes.
    """

    answersAtOnce = DEFAULT_AT_ONCE
    answerTimeout = 0.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Checked now and not when the first answer is late; a property is checked then.
        if not hasattr(cls.answersAtOnce, "__get__"):
            whole("answersAtOnce", cls.answersAtOnce, " from 1 up", least=1)
        if not hasattr(cls.answerTimeout, "__get__"):
            seconds("answerTimeout", cls.answerTimeout)

    if TYPE_CHECKING:

        def sendAnswers(self, answers: list[bytes]) -> object: ...

    # Made when there is an answer that is not there at once: most have none.
    _answers: AnswerQueue | None = None

    def makeConnection(self, transport: ITransport) -> None:
        # (The instance's own is faster to load, with each question, than the class's.)
        self._answers = self._answers
        super().makeConnection(transport)

    def answer(self, question: bytes) -> Answer:
        """
        Override this to answer a question; it may be C{async def}.

        @param question: one message, without its framing.
        """
        raise NotImplementedError(f"{type(self).__name__} must override answer")

    def sendAnswer(self, answer: bytes) -> None:
        """
        Override this to frame and send one answer.
        """
        raise NotImplementedError(f"{type(self).__name__} must override sendAnswer")

    def answerFailed(self, question: bytes, failure: Failure) -> bytes | Failure | None:
        """
        Override this to answer a question whose answer has failed, for example with a
        line that names the error. Called when its turn has come.

        @param failure: of the answer's own code, or a
            C{twisted.internet.defer.TimeoutError}.
        @return: what to send instead; None for nothing; or, by default, the failure,
            to close the session with L{EndReason.ERROR} after the answers before
            this one. Nothing later is answered then.
        """
        return failure

    def questionReceived(self, question: bytes) -> bool | None:
        """
        Answer a question. A receiver calls this for each message.

        @return: True if nothing more will be answered.
        """
        answers = self._answers
        if answers is not None and answers.isOver:
            return True
        try:
            answer = self.answer(question)
        except Exception:
            self._queue().add(Failure(), question)
        else:
            if answers:
                self._queue().add(answer, question)
            elif type(answer) is bytes:
                try:
                    self.sendAnswer(answer)
                except Exception:
                    # It cannot be framed, such as one that is too long.
                    self._queue().add(Failure(), question)
                else:
                    return None
            elif answer is None:
                return None
            else:
                self._queue().add(answer, question)
        return self._queue().isOver

    def startTLS(self, certificates: Certificates | TLSSettings | SSLContext) -> None:
        """
        Begin TLS. Questions that are not answered yet came in the clear, too: they are
        dropped with the rest. So what the client waits for, such as C{220}, is sent
        before, by L{sendAnswer}, and is no answer.
        """
        super().startTLS(certificates)
        if self._answers is not None and self._answers.forgetQuestions():
            self.plainInputDropped()

    def _queue(self) -> AnswerQueue:
        answers = self._answers
        if answers is None:
            answers = self._answers = AnswerQueue(
                self,
                self.sendAnswer,
                atOnce=self.answersAtOnce,
                timeout=self.answerTimeout,
                failureHandler=self.answerFailed,
                sendMany=self._sendMany(),
            )
        return answers

    def _sendMany(self) -> Callable[[list[bytes]], object] | None:
        """
        C{sendAnswers}, if there is one, and it is not older than C{sendAnswer}: else
        it does not know how to frame an answer.
        """
        for each in type(self).__mro__:
            if "sendAnswers" in vars(each):
                return self.sendAnswers
            if "sendAnswer" in vars(each):
                break
        return None


class AnsweringLineReceiver(AnsweringSession, FastLineReceiver):
    """
    A session that answers lines with lines, at once or later, in the order of the
    lines::

        class Lookup(AnsweringLineReceiver):
            answerTimeout = 5.0

            async def answer(self, line: bytes) -> bytes:
                return await database.lookup(line)
    """

    lineReceived = AnsweringSession.questionReceived  # type: ignore[assignment]

    def sendAnswer(self, answer: bytes) -> None:
        """
        Send a line. (Override this instead of C{sendLine}, which is not called.)
        """
        self.transport.write(answer + self.delimiter)

    def sendAnswers(self, answers: list[bytes]) -> None:
        """
        Send several answers that are ready by one write.
        """
        self.sendLines(answers)
