"""
L{twisted_echo.scheduling.lateness}: how late a reactor is.
"""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.scheduling.lateness import LatenessMonitor


class LatenessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.monitor = LatenessMonitor(self.clock)

    def test_lateness(self) -> None:
        """
        The seconds by which calls come late that are due twice a second.
        """
        self.assertFalse(self.monitor.isRunning)
        self.monitor.start()
        self.assertTrue(self.monitor.isRunning)
        self.clock.advance(0.5)
        self.clock.advance(0.75)
        self.clock.advance(0.25)
        self.assertEqual(self.monitor.lateness.count, 2)
        self.assertEqual(self.monitor.lateness.sum, 0.25)
        self.monitor.stop()
        self.assertFalse(self.monitor.isRunning)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_twice(self) -> None:
        """
        To start or stop twice is as good as once.
        """
        self.monitor.stop()
        self.monitor.start()
        self.monitor.start()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.monitor.stop()
        self.monitor.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again(self) -> None:
        """
        What was counted stays when it is started again.
        """
        for count in (1, 2):
            self.monitor.start()
            self.clock.advance(0.5)
            self.monitor.stop()
            self.assertEqual(self.monitor.lateness.count, count)
