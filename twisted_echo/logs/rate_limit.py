"""
A rate limit for the log: five events of each kind a minute, and the number of the rest.
Pure.

What must hold: however often something happens, a few events of each kind are allowed a
minute, and all others are counted.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["RateLimit"]

_A_MINUTE = 60.0
_PER_MINUTE = 5

_K = TypeVar("_K")


class _Window:
    """
    A minute of one kind of events: when it began, and how many there were.
    """

    __slots__ = ("began", "count")

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0


class RateLimit(Generic[_K]):
    """
    Allows five events of each kind a minute, and counts the others.
    """

    def __init__(self, report_omitted: Callable[[_K, int], object]) -> None:
        """
        @param report_omitted: called with a kind and the number of its events that were
            not allowed: at the first event after the minute, and by L{flush}.
        """
        self._report_omitted = report_omitted
        self._windows: dict[_K, _Window] = {}

    def allows(self, kind: _K, now: float) -> bool:
        """
        Count an event.

        @param now: the time in seconds.
        @return: whether the event may be logged.
        """
        window = self._windows.get(kind)
        if window is None or now - window.began >= _A_MINUTE:
            if window is not None:
                self._report(kind, window)
            window = self._windows[kind] = _Window(now)
        window.count += 1
        return window.count <= _PER_MINUTE

    def flush(self) -> None:
        """
        Report the events that were omitted since the last report.
        """
        windows, self._windows = self._windows, {}
        for kind, window in windows.items():
            self._report(kind, window)

    def _report(self, kind: _K, window: _Window) -> None:
        omitted = window.count - _PER_MINUTE
        if omitted > 0:
            self._report_omitted(kind, omitted)
