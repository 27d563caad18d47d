"""
The deadlines of all sessions, kept by one sweep.

Nothing is done for a message, and a session has no timer. Every now and then a sweep
looks at what each session has received, holds and has still to send, and compares it
with what it saw before (L{twisted_echo.session.bounds.timeout_checks}). So a deadline
expires at most two sweeps late, and never early.

What must hold: no deadline expires before all that had arrived from the peer by then
was read, and time that this process did not have is not counted
(L{twisted_echo.scheduling.fair_clock}).
"""

from collections.abc import Collection
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Protocol

from twisted_echo.net.receive_queue import readArrived
from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.session.bounds.buffered_memory import BufferedMemory, Holder
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.session.bounds.timeout_checks import TimeoutChecks
from twisted_echo.session.ends.end_reason import Detail, EndReason
from twisted_echo.session.session import Session
from twisted_echo.twisted_internals.check import require
from twisted_echo.validation.units import Seconds

__all__ = ["Handshake", "SweptFactory", "Timeouts"]

require(__name__)


class Handshake(Protocol):
    """
    A connection that has not become a session yet.
    """

    began: float
    transport: Any

    def fail(self, reason: EndReason, detail: str = "") -> None: ...

    def ownBytes(self) -> int: ...


class SweptFactory(Protocol):
    """
    What the sweep asks of a factory.
    """

    deadlines: Deadlines
    limits: Limits

    @property
    def fairClock(self) -> FairClock: ...

    @property
    def sessions(self) -> Collection[Session]: ...

    @property
    def handshakes(self) -> Collection[Handshake]: ...

    def handshakeFailed(self) -> None: ...

    def sessionFailed(self, session: Session, what: str) -> None: ...


class Timeouts:
    """
    Sweeps over the sessions of one factory, while there are any.
    """

    def __init__(self, factory: SweptFactory) -> None:
        self._factory = factory
        self._timer: FairCall | None = None
        self._checks = TimeoutChecks()
        # When they were paused, in that order.
        self._paused: dict[Holder, float] = {}
        self._buffered = BufferedMemory(factory, self._paused, self._checkFailed)

    def start(self) -> None:
        """
        Start sweeping: there is a session or a handshake.
        """
        if self._timer is None:
            self._schedule(self._factory.deadlines.sweep)

    def deadlinesChanged(self) -> None:
        """
        Look at every session soon, by the new deadlines.
        """
        for session in self._factory.sessions:
            if session.lastSeen is not None:
                session.lastSeen.lookAgain = 0.0
        self.sweepSoon()

    def sweepSoon(self) -> None:
        """
        Sweep in the next turn, if at all: something has changed that cannot wait.
        """
        timer = self._timer
        if timer is not None and timer.active():
            timer.reset(0)

    def sessionPaused(self, session: Session) -> None:
        """
        Record that a session's input has stopped, as its peer does not read.
        """
        factory = self._factory
        if session not in factory.sessions:
            return
        self._paused.setdefault(session, factory.fairClock.seconds())
        self._buffered.grown(session)

    def heldMore(self, session: Session) -> None:
        """
        Count a session that holds more than before.
        """
        self._buffered.grown(session)

    def forget(self, ended: Holder) -> None:
        """
        Keep nothing of a session or a handshake that has ended. Sweep no more if it was
        the last.
        """
        self._paused.pop(ended, None)
        self._buffered.forget(ended)
        factory, timer = self._factory, self._timer
        if timer is not None and not factory.sessions and not factory.handshakes:
            self._timer = None
            if timer.active():
                timer.cancel()

    @property
    def pausedSessions(self) -> int:
        """
        How many sessions' input has stopped, as their peers do not read.
        """
        return len(self._paused)

    def waitingSessions(self, most: int) -> dict[Session, float | None]:
        """
        Return the sessions that wait: the ones that have been paused longest, the ones
        that have waited longest, and the ones that hold most.

        @param most: how many of each at most.
        @return: for each, since when it is paused, by the fair clock; None if it is
            not.
        """
        found: dict[Session, float | None] = {}
        for each in chain(
            islice(self._paused, most),
            self._buffered.longest(most),
            self._buffered.largest(most),
        ):
            if isinstance(each, Session):
                found[each] = self._paused.get(each)
        return found

    def sessionResumed(self, session: Session) -> None:
        """
        Record that the input of a session goes on.
        """
        self._paused.pop(session, None)

    def _schedule(self, delay: float) -> None:
        self._timer = self._factory.fairClock.callLater(delay, self._sweep)

    def _sweep(self) -> None:
        factory, timer = self._factory, self._timer
        now = factory.fairClock.seconds()
        self._checks.beginSweep(factory.fairClock.lost)
        try:
            self._sweepHandshakes(now)
            self._sweepSessions(now)
        finally:
            # Another timer may run by now, if all have ended and one has come.
            if self._timer is timer:
                self._timer = None
                if factory.sessions or factory.handshakes:
                    self._schedule(factory.deadlines.sweep)

    def _sweepHandshakes(self, now: float) -> None:
        allowed = self._factory.deadlines.handshake
        if not allowed:
            return
        # (Not in the order in which they began: a TLS handshake that follows a PROXY
        # header is as old as its connection.)
        handshakes = self._factory.handshakes
        for late in [each for each in handshakes if now - each.began >= allowed]:
            try:
                readArrived(late.transport)
                if late in self._factory.handshakes:
                    why = Detail("over {allowed}", allowed=Seconds(allowed))
                    late.fail(EndReason.HANDSHAKE_TIMEOUT, why)
            except Exception:
                self._factory.handshakeFailed()

    def _sweepSessions(self, now: float) -> None:
        factory = self._factory
        deadlines = factory.deadlines
        for session in list(factory.sessions):
            try:
                seen = session.lastSeen
                # Of many sessions most are idle: nothing is called for those.
                if (
                    seen is None
                    or now >= seen.lookAgain
                    or session.bytesReceived != seen.received
                    or session.transport.dataBuffer
                    or session.transport._tempDataBuffer
                    or session.transport.disconnected
                ):
                    self._check(session, now, deadlines)
                    self._buffered.count(session)
            except Exception:
                self._checkFailed(session)
        for handshake in list(factory.handshakes):
            self._buffered.count(handshake)
        self._buffered.check()

    def _checkFailed(self, holder: Holder) -> None:
        """
        Handle the exception of a subclass's hook, which concerns no other session.
        """
        if isinstance(holder, Session):
            self._factory.sessionFailed(holder, "check its timeouts")
            with suppress(Exception):
                Session.abort(holder, EndReason.ERROR)
        else:
            self._factory.handshakeFailed()

    def _check(self, session: Session, now: float, deadlines: Deadlines) -> None:
        """
        Look at one session, and end it if it has missed one of its deadlines.
        """
        missed, pausedSince = self._checks.missed, self._paused.get(session)
        reason = missed(session, now, deadlines, pausedSince)
        if reason is not None:
            # What has arrived by now may well be what was waited for.
            session.readArrived()
            pausedSince = self._paused.get(session)
            reason = missed(session, now, deadlines, pausedSince)
        if reason is EndReason.WRITE_TIMEOUT:
            session.abort(reason)
        elif reason is not None:
            session.close(reason)
