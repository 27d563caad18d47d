"""
The deadlines of all sessions, kept by one sweep.

Nothing is done per message and per session there is no timer: every now and then
the guard looks at what each session has received, holds and has still to send,
and compares it with what it saw before. So a deadline strikes late by two sweeps
at most, and never early.

The kernel is asked (C{tcp_info}) before a session is called idle or stuck: it
knows of what no counter of ours has seen. Where it does not tell, as on UNIX
sockets, only what the peer sends counts against C{idle}, and a protocol that does
not count what it receives (those of this package do) is never idle.

What must hold: no deadline strikes before all that had arrived from the peer by then
was read, and time that this process did not have is not counted
(L{twisted_echo.scheduling.fair_clock}).
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol

from twisted_echo.net.receive_queue import readArrived
from twisted_echo.net.tcp_info import outputProgress, queuedOutput, tcpState
from twisted_echo.net.transport_queries import pendingOutput
from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.session.buffered_memory import Buffered
from twisted_echo.session.end_reason import Detail, EndReason
from twisted_echo.session.last_seen import LastSeen
from twisted_echo.session.limits import Deadlines, Limits
from twisted_echo.session.session import Session
from twisted_echo.twisted_internals import require
from twisted_echo.validation.units import Seconds

__all__ = ["Guard", "Guarded", "Handshake"]

require(__name__)

_FOR_EVER = float("inf")


class Handshake(Protocol):
    """
    A connection that has not become a session yet.
    """

    began: float
    transport: Any

    def fail(self, reason: EndReason, detail: str = "") -> None: ...

    def ownBytes(self) -> int: ...


class Guarded(Protocol):
    """
    Whose sessions are guarded.
    """

    deadlines: Deadlines
    limits: Limits

    @property
    def fairClock(self) -> FairClock: ...

    @property
    def sessions(self) -> Mapping[Session, Any]: ...

    @property
    def handshakes(self) -> Mapping[Any, Any]: ...

    def handshakeFailed(self) -> None: ...

    def sessionFailed(self, session: Session, what: str) -> None: ...


class Guard:
    """
    Looks after the sessions of one factory, while there are any.
    """

    def __init__(self, guarded: Guarded) -> None:
        self._guarded = guarded
        self._timer: FairCall | None = None
        # Seconds that the process had not had by the last sweep, and by the one before.
        self._lost = self._lostBefore = 0.0
        # When they were paused, in that order.
        self._paused: dict[Session, float] = {}
        self._buffered = Buffered(guarded, self._paused, self._cannotLook)

    def watch(self) -> None:
        """
        There is something to look after.
        """
        if self._timer is None:
            self._schedule(self._guarded.deadlines.sweep)

    def rest(self) -> None:
        """
        Look no more if there is nothing to look after.
        """
        guarded, timer = self._guarded, self._timer
        if timer is not None and not guarded.sessions and not guarded.handshakes:
            self._timer = None
            if timer.active():
                timer.cancel()

    def forgetDeadlines(self) -> None:
        """
        The deadlines have changed: look at every session soon.
        """
        for session in self._guarded.sessions:
            if session.lastSeen is not None:
                session.lastSeen.lookAgain = 0.0
        self.sweepSoon()

    def sweepSoon(self) -> None:
        """
        Look in the next turn: something has changed that cannot wait.
        """
        timer = self._timer
        if timer is not None and timer.active():
            timer.reset(0)

    def paused(self, session: Session) -> None:
        """
        A session's input has stopped, as its peer does not read.
        """
        guarded = self._guarded
        if session not in guarded.sessions:
            return
        self._paused.setdefault(session, guarded.fairClock.seconds())
        self._buffered.grown(session)

    def heldMore(self, session: Session) -> None:
        """
        More is held for a session than is worth no look.
        """
        self._buffered.grown(session)

    def forget(self, ended: Any) -> None:
        """
        A session, or a handshake, has ended.
        """
        self._paused.pop(ended, None)
        self._buffered.forget(ended)

    @property
    def pausedSessions(self) -> int:
        """
        How many sessions' input has stopped, as their peers do not read.
        """
        return len(self._paused)

    def resumed(self, session: Session) -> None:
        """
        Its input goes on.
        """
        self._paused.pop(session, None)

    def _schedule(self, delay: float) -> None:
        self._timer = self._guarded.fairClock.callLater(delay, self._sweep)

    def _sweep(self) -> None:
        guarded, timer = self._guarded, self._timer
        now = guarded.fairClock.seconds()
        self._lostBefore, self._lost = self._lost, guarded.fairClock.lost
        try:
            self._sweepHandshakes(now)
            self._sweepSessions(now)
        finally:
            # Another timer may run by now, if all have ended and one has come.
            if self._timer is timer:
                self._timer = None
                if guarded.sessions or guarded.handshakes:
                    self._schedule(guarded.deadlines.sweep)

    def _sweepHandshakes(self, now: float) -> None:
        allowed = self._guarded.deadlines.handshake
        if not allowed:
            return
        # (Not in the order in which they began: a TLS handshake that follows a PROXY
        # header is as old as its connection.)
        handshakes = self._guarded.handshakes
        for late in [each for each in handshakes if now - each.began >= allowed]:
            try:
                readArrived(late.transport)
                if late in self._guarded.handshakes:
                    why = Detail("over {allowed}", allowed=Seconds(allowed))
                    late.fail(EndReason.HANDSHAKE_TIMEOUT, why)
            except Exception:
                self._guarded.handshakeFailed()

    def _sweepSessions(self, now: float) -> None:
        guarded = self._guarded
        deadlines = guarded.deadlines
        for session in list(guarded.sessions):
            try:
                mark = session.lastSeen
                # Of many sessions most are idle: nothing is called for those.
                if (
                    mark is None
                    or now >= mark.lookAgain
                    or session.bytesReceived != mark.received
                    or session.transport.dataBuffer
                    or session.transport._tempDataBuffer
                    or session.transport.disconnected
                ):
                    self._look(session, now, deadlines)
                    self._buffered.count(session)
            except Exception:
                self._cannotLook(session)
        for handshake in list(guarded.handshakes):
            self._buffered.count(handshake)
        self._buffered.check()

    def _cannotLook(self, session: Session) -> None:
        """
        Something that a subclass overrides has raised: that concerns no other.
        """
        self._guarded.sessionFailed(session, "be looked after")
        with suppress(Exception):
            Session.abort(session, EndReason.ERROR)

    def _look(self, session: Session, now: float, deadlines: Deadlines) -> None:
        """
        Look at one session, and end it if one of its deadlines has passed.
        """
        passed = self._judge(session, now, deadlines)
        if passed is not None:
            # What has arrived by now may well be what was waited for.
            session.readArrived()
            passed = self._judge(session, now, deadlines)
        if passed is EndReason.WRITE_TIMEOUT:
            session.abort(passed)
        elif passed is not None:
            session.close(passed)

    def _judge(
        self, session: Session, now: float, deadlines: Deadlines
    ) -> EndReason | None:
        """
        Compare a session with what was seen of it before.

        @return: which deadline has passed.
        """
        mark = session.lastSeen
        if mark is None:
            # It has begun since the sweep before.
            lost = self._lostBefore
            mark = session.lastSeen = LastSeen(min(now, session.began - lost), lost)
        mark.lookAgain = 0.0
        if session.isGone:
            session.endIfGone()
            return None
        transport = session.transport
        received = session.bytesReceived
        waiting = queued = held = 0
        # Layers hand on what they do not know themselves.
        isWaiting = (
            getattr(transport, "dataBuffer", b"")
            or getattr(transport, "_tempDataBuffer", ())
            or session in self._paused
        )
        if not isWaiting and (received != mark.received or mark.output is not None):
            queued = queuedOutput(transport)
        if isWaiting or queued:
            if session.isAborted:
                return None
            waiting = pendingOutput(transport)
            output: object = None
            if waiting or queued:
                output = outputProgress(transport)
            elif not hasattr(transport, "dataBuffer"):
                # It shows nothing but that it is full, and since when.
                output = self._paused.get(session)
            if output is None or mark.output != output:
                mark.output = output
                if output is not None:
                    mark.active = mark.moved = now
                    mark.lost = self._lost
            elif deadlines.write and now - mark.moved >= deadlines.write:
                return EndReason.WRITE_TIMEOUT
        else:
            mark.output = None
        isAnswering = session.isAnswering
        if received != mark.received or isAnswering:
            # (A peer that waits for an answer is not to blame.)
            mark.received, mark.active, mark.lost = received, now, self._lost
        line = None
        heldInput = session.heldInput()
        if heldInput is not None:
            held, line = heldInput
            if held and session.isAborted:
                return None
        if line is None or session.paused:
            mark.line = None
        elif mark.line != line:
            mark.line, mark.lineSince = line, now
        elif (
            deadlines.line
            and now - mark.lineSince >= deadlines.line
            and session.expectsInput
        ):
            return EndReason.LINE_TIMEOUT
        if getattr(transport, "disconnecting", False) and not (
            waiting or session.isClosing or session.isAborted
        ):
            # The protocol has closed it: what is left to do has a deadline too.
            session.close()
        if (
            not (waiting or queued)
            and not held
            and not isAnswering
            and hasattr(transport, "dataBuffer")
            and hasattr(transport, "_tempDataBuffer")
            and hasattr(transport, "disconnected")
        ):
            mark.lookAgain = mark.active + (deadlines.idle or _FOR_EVER)
        if (
            deadlines.idle
            and now - mark.active >= deadlines.idle
            and not (session.isClosing or session.isAborted)
        ):
            state = tcpState(transport)
            if state is None:
                isIdle = heldInput is not None
            else:
                # (The kernel counts the time that the process did not have.)
                quiet = max(0.0, state.quiet - (self._lost - mark.lost))
                mark.active, mark.lost = max(mark.active, now - quiet), self._lost
                isIdle = now - mark.active >= deadlines.idle
            if isIdle:
                return EndReason.IDLE
        return None
