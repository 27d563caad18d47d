"""
What is logged of sessions and of connections that were refused.

Used by: L{twisted_echo.factory}; embedders choose a L{LogSessions}.

What must hold: a session has one event at most, at its end; however many peers
misbehave, each kind of misbehaviour is logged a few times a minute at most, with
the number of what was left out; no byte of a peer's payload is logged, and what
a peer can choose is escaped.
"""

from enum import Enum

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger, LogLevel

from twisted_echo.addresses import escaped
from twisted_echo.endings import EXPECTED_ENDS, Detail, EndReason, SessionEnd
from twisted_echo.units import Seconds

__all__ = ["Journal", "LogSessions"]

_A_MINUTE = 60.0
_PER_MINUTE = 5

# What follows the reason, without a detail and with one.
_BRACKETS = ("", " ({detail})")


class LogSessions(Enum):
    """
    Whose end is logged.
    """

    NONE = "none"
    PROBLEMS = "problems"
    """Of sessions that ended for a fault of the peer's or the protocol's."""
    ALL = "all"


def _escaped(detail: str) -> str:
    # A protocol may have let its peer choose it.
    return detail.encode("unicode_escape").decode("ascii")


def _numbers(detail: str) -> dict[str, float]:
    return detail.numbers if isinstance(detail, Detail) else {}


class _Window:
    """
    How often something has happened in this minute.
    """

    __slots__ = ("began", "count")

    def __init__(self, began: float) -> None:
        self.began = began
        self.count = 0


class Journal:
    """
    The log of one factory's sessions.

    @ivar sessions: whose end is logged.
    """

    _log = Logger()

    def __init__(self, sessions: LogSessions = LogSessions.PROBLEMS) -> None:
        self.sessions = sessions
        self._windows: dict[EndReason, _Window] = {}

    def ended(
        self, peer: IAddress | None, end: SessionEnd, clock: IReactorTime
    ) -> None:
        """
        A session has ended.
        """
        problem = end.reason not in EXPECTED_ENDS
        if self.sessions is not LogSessions.ALL and (
            not problem
            or self.sessions is LogSessions.NONE
            or self._isTooMany(end.reason, clock)
        ):
            return
        self._log.emit(
            LogLevel.warn if problem else LogLevel.info,
            "session of {peer} ended: {reason}"
            + _BRACKETS[bool(end.detail)]
            + ", {bytesReceived} bytes received"
            + ("" if end.bytesSent is None else ", {bytesSent} sent")
            + ", {seconds}",
            event="session-ended",
            peer=escaped(peer),
            reason=end.reason.value,
            detail=_escaped(end.detail),
            numbers=_numbers(end.detail),
            bytesReceived=end.bytesReceived,
            bytesSent=end.bytesSent,
            lines=end.lines,
            seconds=Seconds(round(end.seconds, 3)),
        )

    def refused(
        self, peer: IAddress | None, reason: EndReason, detail: str, clock: IReactorTime
    ) -> None:
        """
        A connection has not become a session.
        """
        if self.sessions is LogSessions.NONE or self._isTooMany(reason, clock):
            return
        self._log.warn(
            "connection from {peer} refused: {reason}" + _BRACKETS[bool(detail)],
            event="connection-refused",
            peer=escaped(peer),
            reason=reason.value,
            detail=_escaped(detail),
            numbers=_numbers(detail),
        )

    def _isTooMany(self, reason: EndReason, clock: IReactorTime) -> bool:
        now = clock.seconds()
        window = self._windows.get(reason)
        if window is None or now - window.began >= _A_MINUTE:
            if window is not None:
                self._tellRest(reason, window)
            window = self._windows[reason] = _Window(now)
        window.count += 1
        return window.count > _PER_MINUTE

    def _tellRest(self, reason: EndReason, window: _Window) -> None:
        more = window.count - _PER_MINUTE
        if more > 0:
            self._log.warn(
                "{count} more {reason} were not logged one by one",
                event="more-not-logged",
                count=more,
                reason=reason.value,
            )

    def flush(self) -> None:
        """
        Tell how many were not logged, as far as that has not been told.
        """
        windows, self._windows = self._windows, {}
        for reason, window in windows.items():
            self._tellRest(reason, window)
