"""
Find which deadline a session has missed.

A sweep compares a session with what the sweep before saw of it. It asks the kernel
(C{tcp_info}) before it calls a session idle or stuck, because the kernel knows of bytes
that no counter here has seen. Where the kernel does not tell, as on UNIX sockets, only
what the peer sends counts against C{idle}. A protocol that does not count what it
receives (those of this package do) is never idle then.
"""

from typing import Any, Protocol

from twisted_echo.net.tcp_info import outputProgress, queuedOutput, tcpState
from twisted_echo.net.transport_queries import (
    hasOutput,
    isClosing,
    isReadWithoutCalls,
    pendingOutput,
    showsOutput,
)
from twisted_echo.session.bounds.last_seen import LastSeen
from twisted_echo.session.bounds.limits import Deadlines
from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["TimeoutChecks", "WatchedSession"]

_FOR_EVER = float("inf")


class WatchedSession(Protocol):
    """
    What the checks ask of a session.
    """

    lastSeen: LastSeen | None
    bytesReceived: int
    paused: bool
    transport: Any

    @property
    def began(self) -> float: ...

    @property
    def isGone(self) -> bool: ...

    @property
    def isAborted(self) -> bool: ...

    @property
    def isClosing(self) -> bool: ...

    @property
    def isAnswering(self) -> bool: ...

    @property
    def expectsInput(self) -> bool: ...

    def heldInput(self) -> tuple[int, int | None] | None: ...

    def endIfGone(self) -> None: ...

    def close(self) -> None: ...


class TimeoutChecks:
    """
    Compares the sessions in each sweep with the sweep before.
    """

    def __init__(self) -> None:
        # Seconds that the process had lost by this sweep, and by the one before.
        self._lost = self._lostBefore = 0.0

    def beginSweep(self, lost: float) -> None:
        """
        Begin a sweep.

        @param lost: seconds that the process has lost so far.
        """
        self._lostBefore, self._lost = self._lost, lost

    def missed(
        self,
        session: WatchedSession,
        now: float,
        deadlines: Deadlines,
        pausedSince: float | None,
    ) -> EndReason | None:
        """
        Return the deadline that a session has missed, by what the last sweep saw of it.

        @param pausedSince: when its input was paused, as its peer does not read.
        @return: what to end it for; None if it has missed no deadline.
        """
        seen = session.lastSeen
        if seen is None:
            # It has begun since the sweep before.
            lost = self._lostBefore
            seen = session.lastSeen = LastSeen(min(now, session.began - lost), lost)
        seen.lookAgain = 0.0
        if session.isGone:
            session.endIfGone()
            return None
        waiting, queued = self._output(session, seen, pausedSince)
        if waiting or queued or pausedSince is not None:
            if session.isAborted:
                return None
            progress = self._progress(session, waiting or queued, pausedSince)
            if self._isStuck(seen, progress, now, deadlines.write):
                return EndReason.WRITE_TIMEOUT
        else:
            seen.output = None
        if session.bytesReceived != seen.received or session.isAnswering:
            # (A peer that waits for an answer is not to blame.)
            seen.received = session.bytesReceived
            seen.active, seen.lost = now, self._lost
        heldInput = session.heldInput()
        held, line = (0, None) if heldInput is None else heldInput
        if held and session.isAborted:
            return None
        if self._isLineLate(session, seen, line, now, deadlines.line):
            return EndReason.LINE_TIMEOUT
        if isClosing(session.transport) and not (
            waiting or session.isClosing or session.isAborted
        ):
            # The protocol has closed it: what is left to do has a deadline too.
            session.close()
        isQuiet = not (waiting or queued or held or session.isAnswering)
        if isQuiet and isReadWithoutCalls(session.transport):
            seen.lookAgain = seen.active + (deadlines.idle or _FOR_EVER)
        if self._isIdle(session, seen, now, deadlines.idle, heldInput is not None):
            return EndReason.IDLE
        return None

    def _output(
        self, session: WatchedSession, seen: LastSeen, pausedSince: float | None
    ) -> tuple[int, int]:
        """
        How many bytes wait in the process for the kernel to take them, and how many in
        the kernel for the peer. (The kernel is asked only if there may be some.)
        """
        transport = session.transport
        # (Layers hand on what they do not know themselves.)
        if hasOutput(transport) or pausedSince is not None:
            return pendingOutput(transport), 0
        if session.bytesReceived == seen.received and seen.output is None:
            return 0, 0
        queued = queuedOutput(transport)
        return (pendingOutput(transport) if queued else 0), queued

    def _progress(
        self, session: WatchedSession, isWaiting: int, pausedSince: float | None
    ) -> object:
        """
        Something that changes when the peer takes some of the output; None if there is
        nothing to take.
        """
        if isWaiting:
            return outputProgress(session.transport)
        if showsOutput(session.transport):
            return None
        # It shows nothing but that it is full, and since when.
        return pausedSince

    def _isStuck(
        self, seen: LastSeen, progress: object, now: float, allowed: float
    ) -> bool:
        """
        Whether the peer has taken nothing of the output for longer than is allowed.
        """
        if progress is not None and seen.output == progress:
            return bool(allowed) and now - seen.moved >= allowed
        seen.output = progress
        if progress is not None:
            seen.active = seen.moved = now
            seen.lost = self._lost
        return False

    def _isLineLate(
        self,
        session: WatchedSession,
        seen: LastSeen,
        line: int | None,
        now: float,
        allowed: float,
    ) -> bool:
        """
        Whether the peer has begun a line, and not finished it for longer than is
        allowed.

        @param line: where in the stream the line begins.
        """
        if line is None or session.paused:
            seen.line = None
        elif seen.line != line:
            seen.line, seen.lineSince = line, now
        else:
            return (
                bool(allowed)
                and now - seen.lineSince >= allowed
                and session.expectsInput
            )
        return False

    def _isIdle(
        self,
        session: WatchedSession,
        seen: LastSeen,
        now: float,
        allowed: float,
        isCounted: bool,
    ) -> bool:
        """
        Whether nothing was sent or received for longer than is allowed.

        @param isCounted: whether the protocol counts what it receives.
        """
        if (
            not allowed
            or now - seen.active < allowed
            or session.isClosing
            or session.isAborted
        ):
            return False
        state = tcpState(session.transport)
        if state is None:
            return isCounted
        # (The kernel counts the time that the process did not have.)
        quiet = max(0.0, state.quiet - (self._lost - seen.lost))
        seen.active, seen.lost = max(seen.active, now - quiet), self._lost
        return now - seen.active >= allowed
