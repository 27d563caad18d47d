"""
The closing deadlines of all sessions of a factory, kept by one timer.

A session that was closed has some seconds for its peer. A service that stops closes all
its sessions at once, and they may be ten thousand: so there is one timer, for the
deadline that is next.

What must hold:

  - a deadline is exact: the sweep of L{twisted_echo.session.bounds.timeouts} may be
    late, and rests when every other deadline is off;
  - nothing is kept of a session whose deadline is withdrawn, and no timer if there is
    no deadline;
  - to set a deadline, to withdraw it, and to have it pass takes the same time however
    many there are.
"""

from itertools import takewhile
from typing import Protocol, TypeAlias

from twisted_echo.scheduling.fair_clock import FairCall, FairClock
from twisted_echo.session.ends.end_reason import EndReason

__all__ = ["ClosingDeadlines", "Expiring", "HasFairClock"]


class Expiring(Protocol):
    """
    A session, which has a closing deadline.
    """

    def deadlinePassed(self, reason: EndReason) -> None: ...


# When it passes, and the reason for the abort.
_Deadline: TypeAlias = tuple[float, EndReason]
_Table: TypeAlias = dict[Expiring, _Deadline]


class HasFairClock(Protocol):
    """
    The factory, whose clock the deadlines use.
    """

    @property
    def fairClock(self) -> FairClock: ...


class ClosingDeadlines:
    """
    Calls each session when its time is over.
    """

    def __init__(self, owner: HasFairClock) -> None:
        """
        @param owner: the factory, which makes its clock when it is asked for it first.
        """
        self._owner = owner
        # The sessions by the seconds that they were given: each table is in the order
        # of the deadlines, so the next one is the first of a table.
        self._tables: dict[float, _Table] = {}
        self._timer: FairCall | None = None
        # What the timer is set to.
        self._due = 0.0

    def __len__(self) -> int:
        """
        How many sessions have a deadline.
        """
        return sum(map(len, self._tables.values()))

    def begin(self, session: Expiring, seconds: float, reason: EndReason) -> None:
        """
        Set the deadline of a session that has none.

        @param reason: what the session is to be aborted for.
        """
        clock = self._owner.fairClock
        due = clock.seconds() + seconds
        self._tables.setdefault(seconds, {})[session] = due, reason
        if self._timer is None:
            self._due, self._timer = due, clock.callLater(seconds, self._expire)
        elif due < self._due:
            self._due = due
            self._timer.reset(seconds)

    def forget(self, session: Expiring) -> None:
        """
        Withdraw the deadline of a session, if it has one.
        """
        for seconds, table in self._tables.items():
            if table.pop(session, None) is not None:
                if not table:
                    del self._tables[seconds]
                break
        if self._timer is not None and not self._tables:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> tuple[float, Expiring, EndReason] | None:
        """
        Return the next deadline, its session, and the reason for the abort.
        """
        following = None
        for table in self._tables.values():
            session, (due, reason) = next(iter(table.items()))
            if following is None or due < following[0]:
                following = due, session, reason
        return following

    def _passed(self, now: float) -> list[tuple[_Deadline, Expiring, _Table]]:
        """
        The deadlines that have passed, in their order, each with its session and its
        table.

        They are listed once. A table whose first entries are gone would search for its
        next one in all of their places, and so for ten thousand sessions ten thousand
        times.
        """
        passed = [
            (deadline, session, table)
            for table in self._tables.values()
            for session, deadline in takewhile(
                lambda entry: entry[1][0] <= now, table.items()
            )
        ]
        passed.sort(key=lambda each: each[0][0])
        return passed

    def _expire(self) -> None:
        self._timer = None
        # (The clock may be short of it by what is rounded.)
        clock = self._owner.fairClock
        now = max(self._due, clock.seconds())
        try:
            for deadline, session, table in self._passed(now):
                # (One that has passed may have ended another.)
                if table.get(session) is deadline:
                    self.forget(session)
                    session.deadlinePassed(deadline[1])
        finally:
            # If a session has raised, the others are called by the next timer.
            following = self._next()
            if following is not None:
                self._due = following[0]
                delay = max(0.0, self._due - clock.seconds())
                if self._timer is None:
                    self._timer = clock.callLater(delay, self._expire)
                else:
                    self._timer.reset(delay)
