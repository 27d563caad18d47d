"""
L{twisted_echo.session.ends.closing_deadlines}: exact deadlines, by one timer.
"""

import gc
from typing import Any
from weakref import ref

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FullTransport
from twisted_echo import Deadlines, EndReason, FastLineReceiver, Session, SessionFactory
from twisted_echo.scheduling.fair_clock import FairClock
from twisted_echo.session.ends.closing_deadlines import ClosingDeadlines
from twisted_echo.testing.clocks import elapse

DONE = Failure(ConnectionDone())
NO_DEADLINES = Deadlines(idle=0, line=0, write=0, handshake=0)


class Fake:
    """
    A session that notes when its deadline has passed.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.passed: list[tuple[float, EndReason]] = []
        self.next: Any = lambda: None

    def deadlinePassed(self, reason: EndReason) -> None:
        self.passed.append((round(self.clock.seconds(), 6), reason))
        self.next()


class CountedTable(dict[Any, Any]):
    """
    A table of deadlines that counts how often it is gone through.
    """

    searches = 0

    def items(self) -> Any:
        self.searches += 1
        return super().items()

    def __iter__(self) -> Any:
        self.searches += 1
        return super().__iter__()


class ClosingDeadlinesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.fairClock = FairClock(self.clock)
        self.deadlines = ClosingDeadlines(self)

    def begin(self, seconds: float, reason: EndReason = EndReason.ABORTED) -> Fake:
        session = Fake(self.clock)
        self.deadlines.begin(session, seconds, reason)
        return session

    def assertNothingLeft(self) -> None:
        self.assertEqual(len(self.deadlines), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_exact(self) -> None:
        """
        Each is called at its own time, whatever the order in which they began.
        """
        sessions = {}
        for seconds in (5.0, 0.5, 5.0, 2.0, 0.1):
            sessions[self.begin(seconds)] = self.clock.seconds() + seconds
            elapse(self.clock, 0.03)
        self.assertEqual(len(self.deadlines), 5)
        elapse(self.clock, 6)
        for session, due in sessions.items():
            self.assertEqual(session.passed, [(round(due, 6), EndReason.ABORTED)])
        self.assertNothingLeft()

    def test_oneTimer(self) -> None:
        """
        However many there are, there is one delayed call, beside the heartbeat.
        """
        for number in range(1000):
            self.begin(5.0 + number % 3)
        self.assertEqual(len(self.fairClock.getDelayedCalls()), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)

    def test_forgotten(self) -> None:
        """
        A deadline that is withdrawn does not pass, and leaves no timer.
        """
        first, second = self.begin(1.0), self.begin(2.0)
        self.deadlines.forget(first)
        self.deadlines.forget(first)
        elapse(self.clock, 1.5)
        self.assertEqual(first.passed, [])
        self.deadlines.forget(second)
        self.assertNothingLeft()
        elapse(self.clock, 5)
        self.assertEqual(second.passed, [])

    def test_againWithin(self) -> None:
        """
        One that has passed may be given another one from within.
        """
        session = self.begin(1.0)
        session.next = lambda: (
            None
            if len(session.passed) > 1
            else self.deadlines.begin(session, 0.5, EndReason.IDLE)
        )
        elapse(self.clock, 3)
        self.assertEqual(
            session.passed, [(1.0, EndReason.ABORTED), (1.5, EndReason.IDLE)]
        )
        self.assertNothingLeft()

    def test_endedWithin(self) -> None:
        """
        One that passes may end another that was due at the same time.
        """
        first, second = self.begin(1.0), self.begin(1.0)
        first.next = lambda: self.deadlines.forget(second)
        elapse(self.clock, 1)
        self.assertEqual(len(first.passed), 1)
        self.assertEqual(second.passed, [])
        self.assertNothingLeft()

    def test_raises(self) -> None:
        """
        One that raises does not keep the others.
        """
        first, second = self.begin(1.0), self.begin(1.0)
        first.next = lambda: 1 // 0
        with self.assertRaises(ZeroDivisionError):
            elapse(self.clock, 1)
        elapse(self.clock, 0)
        self.assertEqual(len(second.passed), 1)
        self.assertNothingLeft()

    def test_costOfMany(self) -> None:
        """
        Those that pass at once are listed once: to search a table for its next entry
        after each would cost the square of their number.
        """
        table = CountedTable()
        self.deadlines._tables[1.0] = table
        sessions = [self.begin(1.0) for _ in range(100)]
        elapse(self.clock, 1)
        self.assertEqual([len(each.passed) for each in sessions], [1] * 100)
        self.assertLess(table.searches, 5)

    def test_stall(self) -> None:
        """
        Time that the process did not have is not counted.
        """
        session = self.begin(1.0)
        elapse(self.clock, 0.5)
        self.clock.advance(60)
        self.assertEqual(session.passed, [])
        elapse(self.clock, 0.5)
        self.assertEqual(len(session.passed), 1)

    def test_nothingKept(self) -> None:
        """
        A session that has ended is referred to by nothing here.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        other, session = self.begin(2.0), Fake(self.clock)
        self.deadlines.begin(session, 2.0, EndReason.ABORTED)
        gone = ref(session)
        self.deadlines.forget(session)
        del session
        self.assertIs(gone(), None)
        self.deadlines.forget(other)


class Lines(Session, FastLineReceiver):
    """
    Any session.
    """


class StopTests(SynchronousTestCase):
    """
    Ten thousand sessions that are closed at once.
    """

    def test_timers(self) -> None:
        """
        They add one delayed call, beside the heartbeat. It is exact, with every other
        deadline off.
        """
        clock = Clock()
        factory = SessionFactory.forProtocol(
            Lines, clock=clock, deadlines=NO_DEADLINES, abortAfter=5.0
        )
        sessions: list[Any] = [factory.buildProtocol(None) for _ in range(10_000)]
        for session in sessions:
            session.makeConnection(FullTransport())
        before = len(clock.getDelayedCalls())
        factory.closeSessions(EndReason.STOPPED)
        self.assertEqual(len(clock.getDelayedCalls()), before + 1)
        elapse(clock, 4.999)
        self.assertFalse(any(each.isAborted for each in sessions))
        elapse(clock, 0.001)
        self.assertTrue(all(each.isAborted for each in sessions))
        for session in sessions:
            session.connectionLost(DONE)
        self.assertEqual(factory.ended, {EndReason.ABORTED_IN_DRAIN: 10_000})
        self.assertEqual(clock.getDelayedCalls(), [])
