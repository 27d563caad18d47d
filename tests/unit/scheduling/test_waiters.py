"""
L{twisted_echo.scheduling.waiters}: each caller waits for itself alone.
"""

import gc
import weakref

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.scheduling.waiters import Waiters


class WaitersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.waiters: Waiters[int] = Waiters()

    def test_everybody(self) -> None:
        """
        Everybody who waits is told, in the order of their coming, and once.
        """
        told: list[tuple[str, int]] = []
        for name in "abc":
            self.waiters.wait().addCallback(lambda n, name=name: told.append((name, n)))  # type: ignore[call-overload]
        self.assertEqual(len(self.waiters), 3)
        self.waiters.notify(7)
        self.waiters.notify(8)
        self.assertEqual(told, [("a", 7), ("b", 7), ("c", 7)])
        self.assertEqual(len(self.waiters), 0)

    def test_again(self) -> None:
        """
        Whoever comes when it has happened waits for the next time, a callback of
        somebody else's included.
        """
        later: list[Deferred[int]] = []
        self.waiters.wait().addCallback(lambda _: later.append(self.waiters.wait()))
        self.waiters.notify(1)
        self.assertNoResult(later[0])
        self.waiters.notify(2)
        self.assertEqual(self.successResultOf(later[0]), 2)

    def test_failure(self) -> None:
        """
        What has happened may be a failure.
        """
        one, other = self.waiters.wait(), self.waiters.wait()
        self.waiters.notify(Failure(ValueError("no")))
        self.failureResultOf(one, ValueError)
        self.failureResultOf(other, ValueError)

    def test_cancelled(self) -> None:
        """
        Who cancels is not told any more; the others are.
        """
        one, other = self.waiters.wait(), self.waiters.wait()
        one.cancel()
        self.failureResultOf(one, CancelledError)
        self.assertEqual(len(self.waiters), 1)
        self.waiters.notify(3)
        self.assertEqual(self.successResultOf(other), 3)

    def test_cancelledByAnother(self) -> None:
        """
        A callback of one may cancel another, before or behind it.
        """
        first, one, last = (self.waiters.wait() for _ in range(3))
        for each in (first, last):
            each.addErrback(lambda _: "cancelled")
            one.addCallback(lambda n, each=each: each.cancel() or n)  # type: ignore[call-overload]
        first.addCallback(lambda n: n)
        self.waiters.notify(4)
        self.assertEqual(self.successResultOf(one), 4)
        self.assertEqual(self.successResultOf(first), 4)
        self.assertEqual(self.successResultOf(last), "cancelled")

    def test_callbacks(self) -> None:
        """
        A callback that raises, or that returns a Deferred which never fires, concerns
        its own caller.
        """
        one, two, three = (self.waiters.wait() for _ in range(3))
        one.addCallback(lambda _: 1 / 0)
        two.addCallback(lambda _: Deferred())
        self.waiters.notify(5)
        self.failureResultOf(one, ZeroDivisionError)
        self.assertEqual(self.successResultOf(three), 5)

    def test_frames(self) -> None:
        """
        A failure that nobody asks for keeps nothing of who has notified.
        """

        class Notifier:
            pass

        def notify() -> "weakref.ref[Notifier]":
            notifier = Notifier()
            self.waiters.notify(6)
            return weakref.ref(notifier)

        waiter = self.waiters.wait().addCallback(lambda _: 1 / 0)
        gc.disable()
        self.addCleanup(gc.enable)
        self.assertIsNone(notify()())
        self.failureResultOf(waiter, ZeroDivisionError)
