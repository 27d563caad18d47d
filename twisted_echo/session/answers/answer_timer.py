"""
The time limit of answers: one timer for all that a session has in flight.

What must hold: an answer that had arrived when it was due is not late, although the
reactor calls timers before it reads.
"""

from collections.abc import Callable, Sequence

from twisted.internet.defer import TimeoutError
from twisted.python.failure import Failure

from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.session.answers.pending_answer import PendingAnswer

__all__ = ["AnswerTimer"]

_TURN, _TURNS = 0.005, 2
"""
How many timed calls, each so many seconds after the one before, it takes until the
reactor has read everything: some reactors call a reader one turn after it was ready.
"""


class AnswerTimer:
    """
    The timer of one queue. Its questions are in order, so the first is due first.
    """

    def __init__(
        self,
        clock: FairClock,
        timeout: float,
        pending: Sequence[PendingAnswer],
        onLate: Callable[[], None],
    ) -> None:
        """
        @param timeout: seconds for one answer.
        @param pending: the queue's pending answers, which change.
        @param onLate: called when some have become late.
        """
        self._clock = clock
        self._timeout = timeout
        self._pending = pending
        self._onLate = onLate
        self._call: FairCall | None = None

    def watch(self) -> None:
        """
        Schedule a call for the first pending answer, if none is scheduled.
        """
        if self._call is None:
            delay = max(0.0, self._pending[0].due - self._clock.seconds())
            self._call = self._clock.callLater(delay, self._look)

    def stop(self) -> None:
        """
        Cancel the call. A second call of this does nothing.
        """
        call, self._call = self._call, None
        if call is not None and call.active():
            call.cancel()

    def _look(self, due: float | None = None, turns: int = 0) -> None:
        """
        Fail late answers, once the reactor has read all that had arrived when they were
        due. (The first one may have changed since this was scheduled.)

        @param due: what was due by then is late.
        @param turns: how many turns of the reactor there were since.
        """
        self._call = None
        if due is None:
            due = self._clock.seconds()
        late = [each for each in self._pending if each.isInFlight and each.due <= due]
        if late and turns < _TURNS:
            self._call = self._clock.callLater(_TURN, self._look, due, turns + 1)
            return
        for each in late:
            # Unless it has ended since, as the one before it was cancelled.
            if each.isInFlight:
                each.expire(Failure(TimeoutError(self._timeout, "answer")))
        if late:
            self._onLate()
        if self._pending:
            self.watch()
