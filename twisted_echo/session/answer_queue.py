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
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_echo.framing.delivery import WORTH_COUNTING
from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.session.backpressure import BY_ANSWERS
from twisted_echo.session.end_reason import Detail, EndReason
from twisted_echo.session.session import Session
from twisted_echo.validation.checks import callback, instance, seconds, whole
from twisted_echo.validation.units import Seconds

__all__ = ["DEFAULT_AT_ONCE", "Answer", "AnswerQueue"]

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

DEFAULT_AT_ONCE = 32
"""
Answers in flight for one session: enough to keep a database busy, and few beside what
a client can send in one chunk.
"""

_TURN, _TURNS = 0.005, 2
"""
How many timed calls, each so many seconds after the one before, it takes until the
reactor has read everything: some reactors call a reader one turn after it was ready.
"""

_log = Logger()


class _Pending:
    """
    A question that is not answered yet.

    @ivar result: what to send, or a C{Failure}, once C{isReady}.
    @ivar due: when it will have taken too long.
    @ivar isLate: whether it has; other time-outs are its own affair.
    """

    __slots__ = (
        *("deferred", "due", "factory", "isLate", "isReady"),
        *("question", "queue", "result"),
    )

    def __init__(self, queue: "AnswerQueue", question: bytes, due: float) -> None:
        self.queue: AnswerQueue | None = queue
        self.factory = queue.factory
        self.question = question
        self.due = due
        self.deferred: Deferred[Any] | None = None
        self.isReady = self.isLate = False
        self.result: object = None

    def settled(self, result: object) -> None:
        """
        Called by its Deferred, perhaps when nobody wants to know any more.
        """
        self.deferred = None
        queue = self.queue
        if queue is not None:
            self.isReady, self.result = True, result
            queue.pump()
            queue.holds(result)
        elif isinstance(result, Failure):
            if not result.check(CancelledError):
                _logFailure(self.factory, result)
            # The frames of its code refer to it, perhaps, and to the session.
            result.cleanFailure()

    def cancel(self) -> None:
        """
        Want it no more. What its code does with that concerns nobody.
        """
        self.queue = None
        deferred, self.deferred = self.deferred, None
        if deferred is not None:
            try:
                deferred.cancel()
            except Exception:
                _logNoCancel(self.factory)


class _NoFactory:
    """
    Logs the failures of a session that has no factory.
    """

    @staticmethod
    def logFailure(text: str, *, event: str, failure: Failure | None = None) -> None:
        _log.failure(text, failure=failure, event=event)


def _logFailure(factory: Any, failure: Failure) -> None:
    factory.logFailure("an answer failed", event="answer-failed", failure=failure)


def _logNoCancel(factory: Any) -> None:
    factory.logFailure("an answer cannot be cancelled", event="answer-cancel-failed")


def _close(coroutine: Coroutine[Any, Any, Any], factory: Any) -> None:
    try:
        coroutine.close()
    except Exception:
        _logNoCancel(factory)


class AnswerQueue:
    """
    The answers of one session that are in flight, whatever its framing.
    """

    def __init__(
        self,
        session: Session,
        send: Callable[[bytes], object],
        *,
        atOnce: int = DEFAULT_AT_ONCE,
        timeout: float = 0.0,
        failed: Callable[[bytes, Failure], bytes | Failure | None] | None = None,
        sendMany: Callable[[list[bytes]], object] | None = None,
    ) -> None:
        """
        @param send: sends one answer, framed.
        @param atOnce: how many may be in flight; those that are ready and wait for
            their turn count.
        @param timeout: seconds for one answer, from its question on; 0 for as many as
            it takes. One that is late is cancelled, and fails with a
            C{twisted.internet.defer.TimeoutError}.
        @param failed: called, when its turn has come, with the question of an answer
            that has failed, and its failure. What it returns is sent instead; a
            failure, as by default, closes the session.
        @param sendMany: sends several by one write, all of them or, if it raises, none;
            if there is something that does.
        @raise ValueError: if C{atOnce} or C{timeout} is not legal.
        @raise TypeError: if something else is of another kind.
        """
        self._session: Session | None = instance("session", session, Session)
        # Which logs what fails, also when the session has ended.
        self.factory: Any = session.factory or _NoFactory
        self._send: Any = callback("send", send)
        self._sendMany: Any = sendMany and callback("sendMany", sendMany)
        self._failed: Any = failed and callback("failed", failed)
        self._atOnce = whole("atOnce", atOnce, " from 1 up", least=1)
        self._timeout = seconds("timeout", timeout)
        self._waiting: deque[_Pending] = deque()
        self._ownClock: FairClock | None = None
        self._timer: FairCall | None = None
        self._isPumping = self._isFull = self._isOwing = False
        session.callAtEnd(self.end)
        session.countHeld(self.ownBytes)

    def __len__(self) -> int:
        """
        How many are in flight.
        """
        return len(self._waiting)

    @property
    def isOver(self) -> bool:
        """
        Whether nothing more is answered: an answer has failed, or the session has
        ended.
        """
        return self._session is None

    def add(self, result: object, question: bytes = b"") -> None:
        """
        Answer the next question.

        @param result: an L{Answer}. Anything else, and a C{Failure}, is an answer
            that has failed.
        @param question: for C{failed}.
        """
        session = self._session
        if session is None:
            self._drop(result)
            return
        due = self._clock.seconds() + self._timeout if self._timeout else 0.0
        pending = _Pending(self, question, due)
        self._waiting.append(pending)
        if not self._isOwing:
            self._isOwing = True
            session.answersBegin()
        if isinstance(result, Coroutine):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            pending.deferred = result
            result.addBoth(pending.settled)
        else:
            pending.isReady, pending.result = True, result
        if pending.isReady:
            self.pump()
        elif self._timeout and self._timer is None and pending.queue is not None:
            self._schedule()
        if len(self._waiting) >= self._atOnce and not self._isFull:
            self._isFull = True
            session.stopInput(BY_ANSWERS)
        self.holds(question)

    def ownBytes(self) -> int:
        """
        How many bytes the questions have that are not answered yet, and the answers
        that wait for their turn.
        """
        return sum(
            len(each.question)
            + (len(each.result) if isinstance(each.result, bytes) else 0)
            for each in self._waiting
        )

    def holds(self, what: object) -> None:
        """
        Report to the session that it holds more, if it does.
        """
        session = self._session
        if (
            session is not None
            and self._waiting
            and isinstance(what, bytes)
            and len(what) >= WORTH_COUNTING
        ):
            session.heldMore()

    def _drop(self, result: object) -> None:
        if isinstance(result, Coroutine):
            _close(result, self.factory)
        elif isinstance(result, Deferred):
            late = _Pending(self, b"", 0.0)
            late.deferred = result
            late.queue = None
            result.addBoth(late.settled)
            late.cancel()

    def pump(self) -> None:
        """
        Send what is ready and has its turn. Called when something has become ready.
        """
        if self._isPumping:
            return
        self._isPumping = True
        try:
            while self._waiting and self._waiting[0].isReady:
                self._sendReady()
        finally:
            self._isPumping = False
        session = self._session
        if session is None:
            return
        if self._isFull and len(self._waiting) < self._atOnce:
            self._isFull = False
            session.startInput(BY_ANSWERS)
        # Perhaps it has taken more questions now, or ended.
        if self._isOwing and not self._waiting:
            self._isOwing = False
            session.answersDone()

    def _sendReady(self) -> None:
        """
        Send the first answer, and those behind it that are ready, too. (They stay in
        the queue meanwhile, so that nothing overtakes them.)
        """
        answers: list[bytes] = []
        count = 0
        for pending in self._waiting:
            result = pending.result
            if not pending.isReady or not (result is None or isinstance(result, bytes)):
                break
            count += 1
            if result is not None:
                answers.append(result)
            if self._sendMany is None:
                break
        if not count:
            self._fail(self._waiting[0])
            return
        try:
            if len(answers) == 1:
                self._send(answers[0])
            elif answers:
                self._sendMany(answers)
        except Exception:
            # One cannot be framed, such as one that is too long.
            if not self._waiting:
                # It has ended the session, too.
                _logFailure(self.factory, Failure())
            elif count == 1:
                self._waiting[0].result = Failure()
            else:
                sendMany, self._sendMany = self._sendMany, None
                self._sendReady()
                if self._session is not None:
                    self._sendMany = sendMany
            return
        for _ in range(min(count, len(self._waiting))):
            self._waiting.popleft()

    def _fail(self, pending: _Pending) -> None:
        """
        Have somebody else answer, or close the session.
        """
        result, pending.result = pending.result, None
        if not isinstance(result, Failure):
            result = Failure(
                TypeError(
                    "an answer must be bytes, None, a Deferred or a coroutine of"
                    f" these, got {type(result).__name__}"
                )
            )
        instead: Any = result
        failed, self._failed = self._failed, None
        if failed is not None:
            try:
                instead = failed(pending.question, result)
            except Exception:
                _logFailure(self.factory, result)
                instead = Failure()
            if not (instead is None or isinstance(instead, (bytes, Failure))):
                if isinstance(instead, Coroutine):
                    _close(instead, self.factory)
                _logFailure(self.factory, result)
                instead = Failure(
                    TypeError(
                        "answerFailed must return bytes, None or a Failure, got"
                        f" {type(instead).__name__}"
                    )
                )
        if instead is None or isinstance(instead, bytes):
            try:
                if instead is not None and self._send is not None:
                    self._send(instead)
            except Exception:
                instead = Failure()
        if self._session is None:
            result.cleanFailure()
            return
        if instead is None or isinstance(instead, bytes):
            # Who asked for it may still hold what its frames refer to.
            result.cleanFailure()
            self._failed = failed
            self._waiting.popleft()
        else:
            isLate = pending.isLate and instead.value is result.value
            self._breakOff(instead, isLate)
            result.cleanFailure()

    def _breakOff(self, failure: Failure, isLate: bool) -> None:
        """
        Answer nothing more, and close after what has been answered.

        @param isLate: whether it has failed by C{timeout}.
        """
        session = self._session
        assert session is not None
        if isLate:
            detail: str = Detail(
                "no answer within {within}", within=Seconds(self._timeout)
            )
        else:
            # What the exception says may be what the peer has sent.
            detail = f"an answer failed: {type(failure.value).__name__}"
            _logFailure(self.factory, failure)
        failure.cleanFailure()
        try:
            session.discardInput()
            forgetInput = getattr(session, "clearLineBuffer", None)
            if forgetInput is not None:
                forgetInput()
            session.close(EndReason.ERROR, detail)
        except Exception:
            # This may be a timed call, so no caller would end the session.
            _logFailure(self.factory, Failure())
            Session.abort(session, EndReason.ERROR)
        self.end()
        if self._isFull:
            session.startInput(BY_ANSWERS)
        session.answersDone()

    def end(self) -> None:
        """
        Cancel what is in flight, and forget the session.
        """
        self._session = self._send = self._sendMany = self._failed = None
        for pending in self._takeWaiting():
            pending.cancel()

    def forgetQuestions(self) -> bool:
        """
        Answer none of the questions that wait. Answers in flight are cancelled in the
        next turn: one of them may be what calls this.

        @return: whether there was one beside that.
        """
        waiting = self._takeWaiting()
        for pending in waiting:
            pending.queue = None
            self._clock.real.callLater(0, pending.cancel)
        self.pump()
        return len(waiting) > 1

    def _takeWaiting(self) -> list[_Pending]:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiting = list(self._waiting)
        self._waiting.clear()
        for pending in waiting:
            pending.result = None
        return waiting

    # Time: what was asked first is due first, so the head's is all there is to watch.

    @property
    def _clock(self) -> FairClock:
        factory = None if self._session is None else self._session.factory
        if factory is not None:
            return factory.fairClock
        if self._ownClock is None:
            from twisted.internet import reactor

            self._ownClock = FairClock(IReactorTime(reactor))
        return self._ownClock

    def _schedule(self) -> None:
        clock = self._clock
        delay = max(0.0, self._waiting[0].due - clock.seconds())
        self._timer = clock.callLater(delay, self._look)

    def _look(self, due: float | None = None, turns: int = 0) -> None:
        """
        Fail late answers, but not before the reactor has read all that had arrived by
        then: an answer may be among it. (The head may have changed since this was
        scheduled.)

        @param due: what was due by then is late.
        @param turns: how many turns of the reactor there were since.
        """
        self._timer = None
        if due is None:
            due = self._clock.seconds()
        late = [each for each in self._waiting if not each.isReady and each.due <= due]
        if late and turns < _TURNS:
            self._timer = self._clock.callLater(_TURN, self._look, due, turns + 1)
            return
        for pending in late:
            if pending.queue is not None and not pending.isReady:
                pending.cancel()
                pending.isReady = pending.isLate = True
                pending.result = Failure(TimeoutError(self._timeout, "answer"))
        if late:
            self.pump()
        if self._waiting and self._timer is None:
            self._schedule()
