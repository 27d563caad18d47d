"""
Count and bound the memory that is held for all sessions of a factory together.

What must hold:

  - after a sweep of the deadlines the sum is exact. Between two it lacks less than
    C{WORTH_COUNTING} bytes of input for each session; under another reactor than the
    eager ones also what waits to be sent, up to the transport's C{bufferSize} (64 KiB);
  - when the sum is over the limit by a sixteenth of it, at the latest, sessions are cut
    off: in that moment, for until the next turn of the reactor each of the others can
    bring a chunk more; and what was held for them is given up in that moment, too;
  - nothing is done per line, and nothing for a chunk that leaves nothing behind.
"""

from collections.abc import Callable, Collection, Mapping
from heapq import nlargest, nsmallest
from typing import Any, Protocol

from twisted_echo.net.transport_queries import (
    bufferedOutput,
    discardOutput,
    layerBuffers,
)
from twisted_echo.session.bounds.limits import Limits
from twisted_echo.session.ends.end_reason import EndReason
from twisted_echo.session.session import Session

__all__ = ["BoundedFactory", "BufferedMemory", "Holder", "heldBytes"]

_SHARE = 16
"""
By which part of the limit the sum may grow before all sessions are counted again.
"""


class Holder(Protocol):
    """
    A session, or a connection that is to become one.
    """

    transport: Any

    def ownBytes(self) -> int: ...


def heldBytes(holder: Holder) -> int:
    """
    How many bytes this process holds for a session, or for a connection that is to
    become one: input that waits to be answered, answers that wait for their turn, and
    output that waits for the kernel, in all layers. What OpenSSL holds, it does not
    tell.
    """
    transport = holder.transport
    return holder.ownBytes() + layerBuffers(transport) + bufferedOutput(transport)


class BoundedFactory(Protocol):
    """
    What the count asks of a factory.
    """

    @property
    def limits(self) -> Limits: ...

    @property
    def sessions(self) -> Collection[Session]: ...

    @property
    def handshakes(self) -> Collection[Holder]: ...


class BufferedMemory:
    """
    Counts the bytes that are held, in all and for each session.
    """

    def __init__(
        self,
        bounded: BoundedFactory,
        paused: Mapping[Holder, float],
        failed: Callable[[Holder], None],
    ) -> None:
        """
        @param paused: the sessions whose peers do not read, the first first.
        @param failed: called when a session cannot be looked at, or cut off.
        """
        self._bounded = bounded
        self._paused = paused
        self._failed = failed
        # What is held by each session or handshake that holds anything, as it was when
        # it was counted last, and the sum of that.
        self._held: dict[Holder, int] = {}
        self._sum = 0
        # From which sum on all sessions are counted again.
        self._next = 0

    def grown(self, session: Session) -> None:
        """
        Count a session that may hold more than when it was counted last.
        """
        self.count(session)
        if 0 < self._bounded.limits.buffered < self._sum and self._sum > self._next:
            for each in list(self._held):
                self.count(each)
            self.check()

    def count(self, holder: Holder) -> None:
        """
        Count what is held for a session or a handshake, if it has not ended.
        """
        held = 0
        try:
            if holder in self._bounded.sessions or holder in self._bounded.handshakes:
                isAborted = isinstance(holder, Session) and holder.isAborted
                held = 0 if isAborted else heldBytes(holder)
        except Exception:
            self._failed(holder)
        before = self._held.pop(holder, 0)
        if held:
            self._held[holder] = held
        self._sum += held - before

    def forget(self, holder: Holder) -> None:
        """
        Stop counting a session or a handshake: it has ended.
        """
        self._sum -= self._held.pop(holder, 0)

    def largest(self, most: int) -> list[Session]:
        """
        Return the sessions that held most when they were counted last.

        @param most: how many at most.
        """
        held = self._held
        sessions = (each for each in held if isinstance(each, Session))
        return nlargest(most, sessions, key=held.__getitem__)

    def longest(self, most: int) -> list[Session]:
        """
        Return the sessions that had waited longest at the last sweep of the deadlines:
        for their client to read, or for the rest of a line.

        @param most: how many at most.
        """
        held = self._held
        sessions = (each for each in held if isinstance(each, Session))
        return nsmallest(
            most, sessions, key=lambda each: (_waitsSince(each), -held[each])
        )

    def check(self) -> None:
        """
        End sessions until no more than allowed is held, when all have been counted:
        first the sessions that are paused longest, then the ones that hold most.
        """
        most, held = self._bounded.limits.buffered, self._held
        if 0 < most < self._sum:
            others = [each for each in held if each not in self._paused]
            others.sort(key=held.__getitem__, reverse=True)
            for each in [*self._paused, *others]:
                if self._sum <= most:
                    break
                if (
                    each in held
                    and isinstance(each, Session)
                    and each in self._bounded.sessions
                ):
                    self._cutOff(each)
        self._next = self._sum + most // _SHARE

    def _cutOff(self, session: Session) -> None:
        self.forget(session)
        try:
            session.abort(EndReason.OVER_BUFFERED)
            # The connection is closed only in the next turn of the reactor.
            session.discardInput()
            session.forgetInput()
            discardOutput(session.transport)
        except Exception:
            self._failed(session)


def _waitsSince(session: Session) -> float:
    seen = session.lastSeen
    if seen is not None and seen.line is not None:
        return seen.lineSince
    return float("inf") if seen is None or seen.output is None else seen.moved
