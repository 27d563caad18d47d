"""
The log of sessions, and of connections that were refused.

What must hold: a session has one event at most, at its end, with all that there is to
say of it; an end for an offence or a fault is never left to chance; however many peers
misbehave, and however often a protocol raises an exception, each kind of it is logged
a few times a minute at most, with the number of what was left out; no byte of a
peer's payload is logged, and what a peer can choose is escaped.
"""

from collections.abc import Callable
from enum import Enum
from random import random
from typing import Protocol

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from twisted_echo.logs.rate_limit import RateLimit
from twisted_echo.logs.values import Counted
from twisted_echo.net.addresses import escaped
from twisted_echo.session.ends.end_reason import (
    EXPECTED_ENDS,
    Detail,
    EndReason,
    SessionEnd,
)
from twisted_echo.tls.x509 import shortened
from twisted_echo.validation.checks import InvalidSetting, fraction
from twisted_echo.validation.units import Seconds

__all__ = ["LogSessions", "SessionLog", "checkedSample"]

# What follows the reason, without a detail and with one.
_BRACKETS = ("", " ({detail})")


class LogSessions(Enum):
    """
    Which sessions have their end logged.
    """

    NONE = "none"
    """No session."""
    PROBLEMS = "problems"
    """Each session that ended because of a fault of the peer or of the protocol."""
    ALL = "all"
    """Each session."""


# (To ask an enumeration for one of its members costs more than a whole call.)
_NONE, _PROBLEMS, _ALL = LogSessions


# The ends of which a sample is enough. (A TLS client that leaves without a farewell, as
# many do, counts as a lost connection.)
_SAMPLED = EXPECTED_ENDS - {EndReason.ABORTED, EndReason.ABORTED_IN_DRAIN}


def checkedSample(sample: object, sessions: LogSessions) -> float:
    """
    Check the share of sessions that is logged, and return it.

    @raise InvalidSetting: if it is none, or if not C{ALL} sessions are logged.
    """
    share = fraction("logSample", sample)
    if share < 1 and sessions is not LogSessions.ALL:
        raise InvalidSetting(
            "logSample",
            f"is for a log of {LogSessions.ALL.value!r} sessions, got {share} with"
            f" {sessions.value!r}",
        )
    return share


def _escaped(detail: str) -> str:
    # A protocol may have let its peer choose it.
    return detail.encode("unicode_escape").decode("ascii")


def _numbers(detail: str) -> dict[str, float]:
    return detail.numbers if isinstance(detail, Detail) else {}


class Ended(Protocol):
    """
    What the log asks of a session that has ended.
    """

    @property
    def peer(self) -> IAddress | None: ...

    @property
    def peerSubject(self) -> str | None: ...


class SessionLog:
    """
    The log of one factory's sessions.

    @ivar sessions: whose end is logged.
    """

    _log = Logger()

    def __init__(
        self,
        sessions: LogSessions = LogSessions.PROBLEMS,
        sample: float = 1.0,
        draw: Callable[[], float] = random,
    ) -> None:
        """
        @param sample: with C{ALL}, the share that is logged of the sessions that end
            without an offence or a fault, and are not aborted.
        @param draw: draws a number from 0 up, below 1, for each of these.
        @raise InvalidSetting: if there is no such share.
        """
        self.sessions = sessions
        self._sample = checkedSample(sample, sessions)
        self._draw = draw
        # By reasons, and for errors by what has failed and how.
        self._rate: RateLimit[str] = RateLimit(self._logOmitted)

    def ended(self, session: Ended, end: SessionEnd, clock: IReactorTime) -> None:
        """
        Log the end of a session.
        """
        problem = end.reason not in EXPECTED_ENDS
        if self.sessions is not _ALL and (
            not problem or self.sessions is _NONE or self._isTooMany(end.reason, clock)
        ):
            return
        rate = self._sample if end.reason in _SAMPLED else 1.0
        if rate < 1 and self._draw() >= rate:
            return
        subject = session.peerSubject
        self._log.emit(
            LogLevel.warn if problem else LogLevel.info,
            "session of {peer}"
            + ("" if subject is None else " ({peerSubject})")
            + " ended: {reason}"
            + _BRACKETS[bool(end.detail)]
            + ", {bytesReceived} bytes received"
            + ("" if end.bytesSent is None else ", {bytesSent} sent")
            + (", {lines}" if end.lines else "")
            + ", after {seconds}"
            + ("" if rate == 1 else ", sample rate {sampleRate}"),
            event="session-ended",
            peer=escaped(session.peer),
            **({} if subject is None else {"peerSubject": shortened(subject)}),
            reason=end.reason.value,
            detail=_escaped(end.detail),
            numbers=_numbers(end.detail),
            bytesReceived=end.bytesReceived,
            bytesSent=end.bytesSent,
            lines=Counted(end.lines, "line"),
            seconds=Seconds(round(end.seconds, 3)),
            sampleRate=rate,
        )

    def refused(
        self, peer: IAddress | None, reason: EndReason, detail: str, clock: IReactorTime
    ) -> None:
        """
        Log that a connection was refused.
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

    def plainDropped(self, peer: IAddress | None, clock: IReactorTime) -> None:
        """
        Log that plaintext was dropped which came behind the command that began
        TLS.
        """
        if self.sessions is not LogSessions.NONE and self._rate.allows(
            "plain-input-dropped", clock.seconds()
        ):
            self._log.warn(
                "dropped the plaintext that {peer} sent behind the command that begins"
                " TLS",
                event="plain-input-dropped",
                peer=escaped(peer),
            )

    def failed(
        self,
        clock: IReactorTime,
        failure: Failure,
        event: str,
        text: str,
        **fields: str,
    ) -> None:
        """
        Log an exception that should not have been raised.

        @param failure: its references to frames are removed, so that it keeps no
            session alive.
        @param event: the event's name. Of each name and type of exception a few a
            minute are logged, whatever is logged of sessions.
        @param text: the event's format.
        @param fields: the event's fields, as text for the same reason.
        """
        kind = f"{event} ({type(failure.value).__name__})"
        if self._rate.allows(kind, clock.seconds()):
            self._log.failure(text, failure, LogLevel.critical, event=event, **fields)
        failure.cleanFailure()

    def _isTooMany(self, reason: EndReason, clock: IReactorTime) -> bool:
        return not self._rate.allows(reason.value, clock.seconds())

    def _logOmitted(self, reason: str, more: int) -> None:
        self._log.warn(
            "{reason}: {count} more, not logged one by one",
            event="more-not-logged",
            count=more,
            reason=reason,
        )

    def flush(self) -> None:
        """
        Log how many events were left out since this was logged last.
        """
        self._rate.flush()
