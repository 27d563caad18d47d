"""
Wait for something that happens once, each caller by a Deferred of its own.

What must hold: a callback that returns a Deferred or raises, and a cancel, of one
caller change nothing for another, nor for whoever notifies them.
"""

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["Waiters"]

_T = TypeVar("_T")


class Waiters(Generic[_T]):
    """
    Callers that wait for one event. Once it has happened, callers can wait for the
    next one.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        # In the order in which they came.
        self._waiting: dict[Deferred[_T], None] = {}

    def __len__(self) -> int:
        """
        How many wait.
        """
        return len(self._waiting)

    def wait(self) -> "Deferred[_T]":
        """
        Wait for the event.

        @return: a Deferred of the caller's own. Cancelling it ends that wait alone.
        """
        waiter: Deferred[_T] = Deferred(self._waiting.pop)
        self._waiting[waiter] = None
        return waiter

    def notify(self, result: "_T | Failure") -> None:
        """
        Fire the Deferred of every caller that waits: the event has happened.

        @param result: what each of them fires with, or fails with.
        """
        waiting, self._waiting = self._waiting, {}
        for waiter in list(waiting):
            # A callback of one may have cancelled another.
            if not waiter.called:
                waiter.callback(result)
                _forgetFrames(waiter)


def _forgetFrames(waiter: "Deferred[_T]") -> None:
    """
    Release the frames of a callback's failure: it may never be handled, and the
    frames refer to the caller of C{notify}.
    """
    result: object = waiter.result
    if isinstance(result, Failure):
        result.cleanFailure()
