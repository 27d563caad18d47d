"""
L{twisted_echo.command.status_report}: what the log and the service manager are told.
"""

import os
import signal
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.command_service import (
    CommandServiceTestCase,
    FakeManager,
    FakeServed,
)
from tests.support.snapshots import seen_worker
from twisted_echo.command.status_report import StatusReports
from twisted_echo.metrics import Observation, Snapshot


class Source:
    """
    A service that drains when it is told to.
    """

    drainsWithin: float | None = None

    def __init__(self) -> None:
        self.served = FakeServed([])

    def observe(self) -> "Deferred[Observation]":
        return self.served.observe()


class StatusReportsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[Any] = []
        self.clock = Clock()
        self.source = Source()

    def test_manager(self) -> None:
        """
        The manager hears every five seconds, from the start to the stop.
        """
        reports = StatusReports(self.source, self.clock, FakeManager(self.told))
        self.clock.advance(5)
        self.assertEqual(self.told, [])
        # A second start changes nothing.
        reports.start()
        reports.start()
        for _ in range(2):
            self.clock.advance(5)
        self.assertEqual(self.told, [("status", "idle, 2 sessions")] * 2)
        reports.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_log(self) -> None:
        """
        The log hears as long as the service drains, whether or not there is a manager.
        """
        reports = StatusReports(self.source, self.clock, None)
        reports.start()
        with capturedLogs() as events:
            self.clock.advance(5)
            self.source.drainsWithin = 1.44
            self.clock.advance(5)
            self.source.drainsWithin = None
            self.clock.advance(5)
        reports.stop()
        self.assertEqual(
            [(each["event"], each["sessions"], each["seconds"]) for each in events],
            [("draining", 2, 1.4)],
        )


class CommandStatusTests(CommandServiceTestCase):
    def test_status(self) -> None:
        """
        SIGUSR2 has the log told of the whole, and of each worker that has a process.
        """
        snapshots = {
            "0": Snapshot(sessions=1),
            "1": Snapshot(bytesSent=None),
            "2": None,
        }
        self.served.workers = {
            name: seen_worker(snapshot) for name, snapshot in snapshots.items()
        }
        self.running()
        with capturedLogs() as events:
            os.kill(os.getpid(), signal.SIGUSR2)
        whole, workers, first, second = events
        self.assertEqual(workers["event"], "status-workers")
        self.assertEqual(workers["restarts"], {"exited": 6, "hung": 0})
        statuses = [each for each in events if each["event"] == "status"]
        self.assertEqual([each.get("worker") for each in statuses], [None, 0, 1])
        self.assertEqual((whole["sessions"], whole["state"]), (2, "listening"))
        self.assertEqual(whole["ended"], {"peer-closed": 2, "idle": 1})
        self.assertEqual((first["sessions"], second["sent"]), (1, None))

    def test_cannotTell(self) -> None:
        """
        What cannot be told is logged, and told the next time.
        """
        self.running()
        self.served.observed = ZeroDivisionError("no")
        os.kill(os.getpid(), signal.SIGUSR2)
        self.reactor.advance(5)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.served.observed = None
        self.reactor.advance(5)
        self.assertEqual(self.told, [("status", "listening, 2 sessions")])
