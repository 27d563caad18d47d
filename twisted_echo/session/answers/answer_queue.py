"""
The answers of one session that are still to come, in the order of the questions.

What must hold:

  - answers go out in the order of the questions, and no more than C{atOnce} are in
    flight: while they are, the session takes no input;
  - the session is not closed in order before they are out, and when it is lost, what
    is in flight is cancelled, and nothing is kept;
  - there is one timer for a session, not one for an answer.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.framing.message_receiver import WORTH_COUNTING
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.session.answers.answer_failure import (
    FailureHandler,
    asFailure,
    closeFailed,
    keepFailure,
    replacement,
)
from twisted_echo.session.answers.answer_sender import AnswerSender
from twisted_echo.session.answers.answer_timer import AnswerTimer
from twisted_echo.session.answers.pending_answer import (
    Answer,
    FailureLog,
    PendingAnswer,
    PendingState,
    discardAnswer,
)
from twisted_echo.session.backpressure import BY_ANSWERS
from twisted_echo.session.session import Session
from twisted_echo.validation.checks import callback, instance, seconds, whole

__all__ = ["DEFAULT_AT_ONCE", "Answer", "AnswerQueue", "QueueState"]

DEFAULT_AT_ONCE = 32
"""
Answers in flight for one session: enough to keep a database busy, and few beside what
a client can send in one chunk.
"""

_log = Logger()


class _NoFactory:
    """
    Logs the failures of a session that has no factory.
    """

    @staticmethod
    def logFailure(text: str, *, event: str, failure: Failure | None = None) -> None:
        _log.failure(text, failure=failure, event=event)


class QueueState(Enum):
    """
    The state of a queue::

        EMPTY <--> ANSWERING <--> FULL
          |            |            |
          `----------> OVER <-------'
    """

    EMPTY = "empty"
    """Every question is answered: the session may be closed."""
    ANSWERING = "answering"
    """The session stays open until the pending answers are out."""
    FULL = "full"
    """As many are pending as may be: the session takes no input, either."""
    OVER = "over"
    """Nothing more is answered: an answer has failed, or the session has ended."""


class AnswerQueue:
    """
    The pending answers of one session, in the order of its questions.

    @ivar state: what the queue has to do.
    """

    def __init__(
        self,
        session: Session,
        send: Callable[[bytes], object],
        *,
        atOnce: int = DEFAULT_AT_ONCE,
        timeout: float = 0.0,
        failureHandler: FailureHandler = keepFailure,
        sendMany: Callable[[list[bytes]], object] | None = None,
    ) -> None:
        """
        @param send: sends one answer, framed.
        @param atOnce: how many may be in flight; answers that are ready and wait for
            their turn count.
        @param timeout: seconds for one answer, from its question on; 0 for as many as
            it takes. One that is late is cancelled, and fails with a
            C{twisted.internet.defer.TimeoutError}.
        @param failureHandler: called with the question of an answer that has failed,
            and its failure, when its turn has come. It returns what to send instead,
            or None for nothing. A failure, as by default, closes the session.
        @param sendMany: sends several answers by one write, if there is such a
            function: all of them, or, if it raises an exception, none.
        @raise ValueError: if C{atOnce} or C{timeout} is not legal.
        @raise TypeError: if an argument is of an illegal type.
        """
        self._session: Session | None = instance("session", session, Session)
        # Logs failures also when the session has ended.
        self._failures: FailureLog = session.factory or _NoFactory
        self._sender: AnswerSender | None = AnswerSender(
            callback("send", send),
            None if sendMany is None else callback("sendMany", sendMany),
            self._failures,
        )
        self._handler: FailureHandler = callback("failureHandler", failureHandler)
        self._atOnce = whole("atOnce", atOnce, " from 1 up", least=1)
        self._timeout = seconds("timeout", timeout)
        self._pending: deque[PendingAnswer] = deque()
        self._ownClock: FairClock | None = None
        self._timer: AnswerTimer | None = None
        self._isSending = False
        self.state = QueueState.EMPTY
        session.callAtEnd(self.end)
        session.countHeld(self.ownBytes)

    def __len__(self) -> int:
        """
        How many answers are pending.
        """
        return len(self._pending)

    @property
    def isOver(self) -> bool:
        """
        Whether the queue answers nothing more.
        """
        return self.state is QueueState.OVER

    # Questions

    def add(self, result: object, question: bytes = b"") -> None:
        """
        Answer the next question.

        @param result: an L{Answer}. Anything else, and a C{Failure}, is an answer
            that has failed.
        @param question: for the failure handler.
        """
        session = self._session
        if session is None:
            discardAnswer(result, self._failures)
            return
        due = self._clock.seconds() + self._timeout if self._timeout else 0.0
        pending = PendingAnswer(question, due, self._failures)
        self._pending.append(pending)
        if self.state is QueueState.EMPTY:
            self.state = QueueState.ANSWERING
            session.answersBegin()
        pending.take(result, self._becameReady)
        if pending.state is PendingState.READY:
            self._sendReady()
        elif self._timeout and pending.isInFlight:
            self._watch()
        if self.state is QueueState.ANSWERING and len(self._pending) >= self._atOnce:
            self.state = QueueState.FULL
            session.stopInput(BY_ANSWERS)
        self._reportHeld(question)

    def forgetQuestions(self) -> bool:
        """
        Drop the questions that wait. Answers in flight are cancelled in the next turn,
        because one of them may be the caller.

        @return: whether there was one beside that.
        """
        dropped = self._dropAll()
        for pending in dropped:
            self._clock.real.callLater(0, pending.cancel)
        self._sendReady()
        return len(dropped) > 1

    def end(self) -> None:
        """
        Cancel what is in flight, and forget the session.
        """
        self.state = QueueState.OVER
        self._session = self._sender = None
        self._handler = keepFailure
        dropped, self._timer = self._dropAll(), None
        for pending in dropped:
            pending.cancel()

    def _dropAll(self) -> list[PendingAnswer]:
        if self._timer is not None:
            self._timer.stop()
        dropped = list(self._pending)
        self._pending.clear()
        for pending in dropped:
            pending.drop()
        return dropped

    # Memory

    def ownBytes(self) -> int:
        """
        How many bytes the questions have that are not answered yet, and the answers
        that wait for their turn.
        """
        return sum(
            len(each.question)
            + (len(each.result) if isinstance(each.result, bytes) else 0)
            for each in self._pending
        )

    def _reportHeld(self, added: object) -> None:
        """
        Tell the session that it holds more, if it does.
        """
        session = self._session
        if (
            session is not None
            and self._pending
            and isinstance(added, bytes)
            and len(added) >= WORTH_COUNTING
        ):
            session.heldMore()

    # Answers

    def _becameReady(self, result: object) -> None:
        self._sendReady()
        self._reportHeld(result)

    def _sendReady(self) -> None:
        """
        Send what is ready and has its turn.
        """
        sender = self._sender
        if sender is None or self._isSending:
            return
        pending = self._pending
        self._isSending = True
        try:
            while pending and not pending[0].isInFlight:
                if pending[0].hasFailed:
                    self._handleFailure(pending[0], sender)
                    continue
                for each in sender.sendFirst(pending):
                    # (Sending may have ended the session, or begun TLS.)
                    if pending and pending[0] is each:
                        pending.popleft()
        finally:
            self._isSending = False
        self._reportState()

    def _reportState(self) -> None:
        """
        Let the session take input again, or close, as far as answers kept it from that.
        """
        session = self._session
        if session is None:
            return
        if self.state is QueueState.FULL and len(self._pending) < self._atOnce:
            self.state = QueueState.ANSWERING
            session.startInput(BY_ANSWERS)
        # The input that was started may have brought more questions.
        if self.state is QueueState.ANSWERING and not self._pending:
            self.state = QueueState.EMPTY
            session.answersDone()

    def _handleFailure(self, pending: PendingAnswer, sender: AnswerSender) -> None:
        """
        Send what the failure handler returns, or close the session.
        """
        failure, pending.result = asFailure(pending.result), None
        instead = replacement(self._handler, pending.question, failure, self._failures)
        if isinstance(instead, bytes) and pending.state is not PendingState.DROPPED:
            try:
                sender.send(instead)
            except Exception:
                instead = Failure()
        session = self._session
        if session is None or pending.state is PendingState.DROPPED:
            # The handler, or sending, has ended the session, or begun TLS.
            pass
        elif isinstance(instead, Failure):
            isSame = instead.value is failure.value
            isLate = isSame and pending.state is PendingState.LATE
            self._close(session, instead, self._timeout if isLate else None)
        else:
            self._pending.popleft()
        # The caller may still hold the failure, and its frames refer to the session.
        failure.cleanFailure()

    def _close(self, session: Session, failure: Failure, timeout: float | None) -> None:
        """
        Answer nothing more, and close the session after what has been answered.
        """
        closeFailed(session, failure, timeout, self._failures)
        wasFull = self.state is QueueState.FULL
        self.end()
        if wasFull:
            session.startInput(BY_ANSWERS)
        session.answersDone()

    # Time

    def _watch(self) -> None:
        timer = self._timer
        if timer is None:
            clock, send = self._clock, self._sendReady
            timer = self._timer = AnswerTimer(clock, self._timeout, self._pending, send)
        timer.watch()

    @property
    def _clock(self) -> FairClock:
        factory = None if self._session is None else self._session.factory
        if factory is not None:
            return factory.fairClock
        if self._ownClock is None:
            from twisted.internet import reactor

            self._ownClock = FairClock(IReactorTime(reactor))
        return self._ownClock
