"""
L{twisted_echo.scheduling.fair_clock}: time that this process did not have does not
count.
"""

import sys
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_echo.scheduling.fair_clock import HEARTBEAT, FairClock
from twisted_echo.testing import elapse


class FairClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.real = Clock()
        self.real.advance(1_700_000_000.25)
        self.clock = FairClock(self.real)
        self.called: list[Any] = []

    def later(self, delay: float, what: Any = None) -> Any:
        return self.clock.callLater(delay, self.called.append, what)

    def test_interfaces(self) -> None:
        verifyObject(IReactorTime, self.clock)
        call = self.later(1)
        verifyObject(IDelayedCall, call)
        other = FairClock(self.real).callLater(1, list)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        call.cancel()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        other.cancel()

    def test_onTime(self) -> None:
        """
        In a process that has its time it is as any other clock.
        """
        self.later(5, "five")
        elapse(self.real, 4.99)
        self.assertEqual(self.called, [])
        elapse(self.real, 0.01)
        self.assertEqual(self.called, ["five"])
        self.assertAlmostEqual(self.clock.lost, 0, 6)

    def test_stall(self) -> None:
        """
        What a stall took is waited for once more, but for a heartbeat at most.
        """
        self.later(5)
        elapse(self.real, 4)
        self.real.advance(60)
        elapse(self.real, 1 - HEARTBEAT - 0.01)
        self.assertEqual(self.called, [])
        elapse(self.real, HEARTBEAT + 0.01)
        self.assertEqual(len(self.called), 1)
        self.assertTrue(60 - HEARTBEAT <= self.clock.lost <= 60, self.clock.lost)

    def test_seenBeforeTheHeartbeat(self) -> None:
        """
        Who is called before the late heartbeat does not see the time of the stall.
        """
        self.later(5)
        seen: list[float] = []
        self.real.callLater(HEARTBEAT / 2, lambda: seen.append(self.clock.seconds()))
        before = self.clock.seconds()
        self.real.advance(60)
        self.assertLessEqual(seen[0] - before, HEARTBEAT + 1e-6)
        self.assertEqual(self.called, [])

    def test_late(self) -> None:
        """
        A heartbeat that is overdue can be seen until it comes.
        """
        self.assertFalse(self.clock.isLate)
        self.clock.callLater(60, list)
        self.real.rightNow += HEARTBEAT
        self.assertFalse(self.clock.isLate)
        self.real.rightNow += 0.01
        self.assertTrue(self.clock.isLate)
        self.real.advance(0)
        self.assertFalse(self.clock.isLate)

    def test_neverBack(self) -> None:
        """
        Fair time does not jump when a heartbeat is late, nor when the last call goes.
        """
        call = self.later(50)
        times = [self.clock.seconds()]
        for step in (0.05, 3, 0.01, 7, 0.3, 0.1):
            self.real.rightNow += step
            times.append(self.clock.seconds())
            self.real.advance(0)
            times.append(self.clock.seconds())
        self.real.rightNow += 9
        times.append(self.clock.seconds())
        call.cancel()
        times.append(self.clock.seconds())
        self.assertEqual(times, sorted(times))
        self.assertLess(times[-1] - times[0], 1)

    def test_manyStalls(self) -> None:
        """
        A process that never has much time gets there in the end.
        """
        self.later(1)
        for _ in range(9):
            self.real.advance(2.5)
        self.assertEqual(self.called, [])
        for _ in range(2):
            self.real.advance(2.5)
        self.assertEqual(len(self.called), 1)

    def test_promise(self) -> None:
        """
        A promise is kept, however little time there was.
        """
        called = self.called
        self.clock.callBy(self.real.seconds() + 12, 5, lambda: called.append("by then"))
        self.real.advance(11)
        self.assertEqual(called, [])
        self.real.advance(1)
        self.assertEqual(called, ["by then"])

    def test_promiseOnTime(self) -> None:
        called = self.called
        self.clock.callBy(self.real.seconds() + 12, 5, lambda: called.append("early"))
        elapse(self.real, 5)
        self.assertEqual(called, ["early"])

    def test_nothingLeft(self) -> None:
        """
        There is a heartbeat while something is waited for, and no longer.
        """
        self.assertEqual(self.real.getDelayedCalls(), [])
        first, second = self.later(1), self.later(2)
        self.assertEqual(len(self.real.getDelayedCalls()), 3)
        first.cancel()
        self.assertEqual(len(self.real.getDelayedCalls()), 2)
        elapse(self.real, 3)
        self.assertEqual(self.real.getDelayedCalls(), [])
        self.assertFalse(first.active() or second.active())

    def test_staysAsSmall(self) -> None:
        """
        Calls that are over leave nothing behind, not even room for as many.
        """

        def size() -> int:
            return sum(map(sys.getsizeof, vars(self.clock).values()))

        self.later(1).cancel()
        before = size()
        for call in [self.later(1) for _ in range(100)]:
            call.cancel()
        self.assertEqual(size(), before)

    def test_again(self) -> None:
        """
        A call may ask for another, also if it raises.
        """

        def again() -> None:
            self.later(1, "again")
            raise ZeroDivisionError

        self.clock.callLater(1, again)
        self.assertRaises(ZeroDivisionError, elapse, self.real, 1)
        elapse(self.real, 1)
        self.assertEqual(self.called, ["again"])
        self.assertEqual(self.real.getDelayedCalls(), [])

    def test_moved(self) -> None:
        call = self.later(5)
        call.reset(1)
        elapse(self.real, 0.9)
        call.delay(1)
        self.assertAlmostEqual(call.getTime() - self.real.seconds(), 1.1, 5)
        elapse(self.real, 1)
        self.assertEqual(self.called, [])
        call.reset(0)
        elapse(self.real, 0)
        self.assertEqual(len(self.called), 1)
        for do in (call.cancel, lambda: call.reset(1), lambda: call.delay(1)):
            self.assertRaises(AlreadyCalled, do)
        call = self.later(1)
        call.cancel()
        self.assertRaises(AlreadyCancelled, call.cancel)

    def test_setBack(self) -> None:
        """
        A clock that is set back is no stall, and nothing is struck early for it.
        """
        self.later(5)
        elapse(self.real, 1)
        self.real.rightNow -= 100
        elapse(self.real, 103.9)
        self.assertEqual(self.called, [])
        elapse(self.real, 0.1)
        self.assertEqual(len(self.called), 1)

    def test_keepsNothing(self) -> None:
        """
        A call that is kept keeps nothing of what was called.
        """
        calls = [self.later(1), self.later(2)]
        elapse(self.real, 1)
        calls[1].cancel()
        for call in calls:
            self.assertEqual((call.func, call.args, call.kw), (None, (), {}))
