"""
A rate limit for the log: a few events of each kind a minute, and the number of those
that were left out. Pure.

What must hold: however often something happens, each kind is let through a few times a
minute at most, and every event that is left out is counted.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["RateLimit"]

_A_MINUTE = 60.0
_PER_MINUTE = 5

_K = TypeVar("_K")


class _Window:
    """
    How often something has happened in this minute.
    """

    __slots__ = ("began", "count")

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0


class RateLimit(Generic[_K]):
    """
    Lets five events of each kind a minute through, and counts the others.
    """

    def __init__(self, tell_rest: Callable[[_K, int], object]) -> None:
        """
        @param tell_rest: called with a kind and how many of it were not let through:
            when the next one comes after a minute, and by L{flush}.
        """
        self._tell_rest = tell_rest
        self._windows: dict[_K, _Window] = {}

    def allows(self, kind: _K, now: float) -> bool:
        """
        Count an event, and tell whether it is let through.

        @param now: the time in seconds.
        """
        window = self._windows.get(kind)
        if window is None or now - window.began >= _A_MINUTE:
            if window is not None:
                self._tell(kind, window)
            window = self._windows[kind] = _Window(now)
        window.count += 1
        return window.count <= _PER_MINUTE

    def flush(self) -> None:
        """
        Report the events that were left out since the last report.
        """
        windows, self._windows = self._windows, {}
        for kind, window in windows.items():
            self._tell(kind, window)

    def _tell(self, kind: _K, window: _Window) -> None:
        more = window.count - _PER_MINUTE
        if more > 0:
            self._tell_rest(kind, more)
