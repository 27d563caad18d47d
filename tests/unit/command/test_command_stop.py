"""
L{twisted_echo.command.command_stop}: the stop of the command, step by step.
"""

import os
import signal
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.command_service import (
    CommandServiceTestCase,
    FakeAdmin,
    FakeManager,
    FakeServed,
)
from twisted_echo.command.command_stop import CommandStop, StopState
from twisted_echo.lifecycle import State


class CommandStopTests(CommandServiceTestCase):
    def test_stop(self) -> None:
        """
        Readiness goes first, the admin port last; meanwhile the log is told every
        five seconds.
        """
        service = self.running()
        stopped = service.stopService()
        self.assertEqual(service.readiness(), (False, "draining"))
        self.assertEqual(self.told, [("stopping", 6.0, "draining"), "stop"])
        self.served.sessions, self.served.stopsWithin = 1, 1.4
        with capturedLogs() as events:
            self.reactor.advance(5)
        (event,) = events
        self.assertEqual(
            (event["event"], event["sessions"], event["seconds"]), ("draining", 1, 1.4)
        )
        self.assertEqual(self.told[2:], [("status", "draining, 1 session")])
        self.told.clear()
        self.admin.closing = Deferred()
        self.served.stopped.callback(None)
        self.assertEqual(self.told, ["admin close"])
        self.assertNoResult(stopped)
        self.admin.closing.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.told[1:], ["manager close"])
        self.assertAllGivenBack()
        self.successResultOf(service.stopService())
        self.assertEqual(len(self.told), 2)

    def test_waiting(self) -> None:
        """
        The log says at once whom the stop waits for, and what becomes of them; later it
        says also when nobody is left.
        """
        for sessions, handshakes, begins, later in (
            (0, 0, [], "no session is left, and the stop ends in 6s at the latest"),
            (1, 0, ["waiting for 1 session, cut off in 6s at the latest"], None),
            (
                *(2, 1),
                ["waiting for 2 sessions and 1 handshake, cut off in 6s at the latest"],
                None,
            ),
            (
                *(0, 2),
                ["waiting for 2 handshakes, cut off in 6s at the latest"],
                None,
            ),
        ):
            self.setUp()
            service = self.running()
            self.served.sessions, self.served.handshakes = sessions, handshakes
            with capturedLogs() as events:
                service.stopService()
                told = [formatEvent(each) for each in events]
                self.assertEqual(told, [f"draining: {each}" for each in begins])
                self.reactor.advance(5)
            self.assertEqual(formatEvent(events[-1]), f"draining: {later or begins[0]}")

    def test_stopTwice(self) -> None:
        """
        Everybody who stops it gets a Deferred of his own.
        """
        service = self.running()
        one, other = service.stopService(), service.stopService()
        one.addCallback(lambda _: Deferred())
        self.assertEqual(self.told.count("stop"), 1)
        self.served.stopped.callback(None)
        self.successResultOf(other)

    def test_stopFails(self) -> None:
        """
        Whatever fails at the stop, it ends.
        """
        service = self.running()
        self.admin.closing = fail(ZeroDivisionError("admin"))
        stopped = service.stopService()
        self.served.stopped.errback(ValueError("served"))
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertAllGivenBack()

    def test_stopBeforeListening(self) -> None:
        """
        A stop while it is starting has no notice to give, and it never says that it
        is ready.
        """
        service = self.service(notice=9)
        service.privilegedStartService()
        service.startService()
        service.stopService()
        self.assertIn("stop", self.told)
        self.served.listening.callback(None)
        self.assertNotIn(("ready", "listening"), self.told)

    def test_notice(self) -> None:
        """
        It goes on for the time of notice, and is not ready.
        """
        service = self.running(notice=9)
        with capturedLogs() as events:
            service.stopService()
            self.reactor.advance(8)
        self.assertEqual(self.told[0], ("stopping", 15.0, "draining"))
        self.assertEqual([each["event"] for each in events], ["notice"])
        self.assertNotIn("stop", self.told)
        self.assertEqual(service.readiness(), (False, "draining"))
        self.reactor.advance(1)
        self.assertIn("stop", self.told)

    def test_stopNow(self) -> None:
        """
        Another signal cuts off what is left, and says how many that is.
        """
        service = self.running()
        stopped = service.stopService()
        for number in (signal.SIGTERM, signal.SIGINT):
            self.told.clear()
            with capturedLogs() as events:
                os.kill(os.getpid(), number)
            self.assertEqual(self.told, ["stop now"])
            (event,) = events
            self.assertEqual(
                (event["event"], event["sessions"], event["log_level"]),
                ("stop-now", 2, LogLevel.warn),
            )
        self.served.stopped.callback(None)
        self.successResultOf(stopped)
        self.assertAllGivenBack()

    def test_twoSignalsAtOnce(self) -> None:
        """
        The reactor hears of the first alone; the second counts when the stop begins.
        """
        heard: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
        # One that is ignored stays so.
        before = signal.getsignal(signal.SIGTERM), signal.SIG_IGN
        service = self.running(notice=9)
        self.assertIs(signal.getsignal(signal.SIGINT), signal.SIG_IGN)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual((heard, self.told), ([signal.SIGTERM], []))
        with capturedLogs() as events:
            stopped = service.stopService()
        self.assertEqual(self.told[1:], ["stop", "stop now"])
        self.assertEqual([each["event"] for each in events], ["stop-now"])
        self.served.stopped.callback(None)
        self.successResultOf(stopped)
        after = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        self.assertEqual(after, before)

    def test_stopNowInNotice(self) -> None:
        """
        In the time of notice that ends it, too.
        """
        service = self.running(notice=9)
        service.stopService()
        self.told.clear()
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(self.told, ["stop", "stop now"])
        self.reactor.advance(9)
        self.assertEqual(self.told.count("stop"), 1)


class FakeSignals:
    """
    Notes what is handled.
    """

    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def handleWhileStopping(self) -> None:
        self.told.append("signals")

    def restore(self) -> None:
        self.told.append("restored")


class FakeReports:
    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def start(self) -> None:
        self.told.append("reports")

    def stop(self) -> None:
        self.told.append("no reports")

    def drainBegins(self) -> None:
        self.told.append("waits")


class StateTests(SynchronousTestCase):
    """
    L{CommandStop} alone: its states, and what is done in each.
    """

    def setUp(self) -> None:
        self.told: list[Any] = []
        self.clock = Clock()
        self.served = FakeServed(self.told)
        self.served.state = State.LISTENING
        self.admin = FakeAdmin(self.told)
        self.admin.closing = Deferred()

    def stop(self, notice: float = 9.0) -> CommandStop:
        fakes: Any = FakeSignals(self.told), FakeReports(self.told)
        return CommandStop(
            self.served,
            self.clock,
            *fakes,
            admin=self.admin,
            manager=FakeManager(self.told),
            notice=notice,
        )

    def test_order(self) -> None:
        """
        Each step waits for the one before it.
        """
        stop = self.stop()
        self.assertIs(stop.state, StopState.NOT_BEGUN)
        self.assertFalse(stop.hasBegun)
        stopped = stop.stop()
        steps = [
            (
                StopState.NOTICE,
                ["signals", ("stopping", 15.0, "draining"), "reports"],
                lambda: self.clock.advance(9),
            ),
            (
                StopState.DRAINING,
                ["stop", "waits"],
                lambda: self.served.stopped.callback(None),
            ),
            (
                StopState.CLOSING,
                ["no reports", "admin close"],
                lambda: self.admin.closing.callback(None),
            ),
            (StopState.STOPPED, ["manager close", "restored"], lambda: None),
        ]
        for state, told, proceed in steps:
            self.assertIs(stop.state, state)
            self.assertTrue(stop.hasBegun)
            self.assertEqual(self.told, told)
            self.told.clear()
            proceed()
        self.successResultOf(stopped)
        self.successResultOf(stop.stop())
        self.assertEqual(self.told, [])

    def test_stopNow(self) -> None:
        """
        From every state before the end of the drain, the next thing is the cut.
        """
        for before, told in (
            (lambda stop: None, ["stop", "stop now"]),
            (lambda stop: stop.stop(), ["stop", "waits", "stop now"]),
            (lambda stop: (stop.stop(), self.clock.advance(9)), ["stop now"]),
        ):
            self.setUp()
            stop = self.stop()
            before(stop)
            self.told.clear()
            stop.stopNow()
            stop.stop()
            self.assertIs(stop.state, StopState.DRAINING)
            self.assertEqual(self.told[-len(told) :], told)
            self.assertEqual(self.told.count("stop"), told.count("stop"))
            self.clock.advance(9)
            self.assertEqual(self.told.count("stop now"), 1)

    def test_requested(self) -> None:
        """
        A stop that is to be one at once, before it has begun, waits until it begins.
        """
        stop = self.stop()
        stop.stopNow()
        self.assertIs(stop.state, StopState.STOP_NOW_REQUESTED)
        self.assertFalse(stop.hasBegun)
        self.assertEqual(self.told, [])

    def test_cancel(self) -> None:
        """
        Whoever cancels a wait ends that wait alone.
        """
        stop = self.stop(notice=0)
        mine, other = stop.stop(), stop.stop()
        mine.cancel()
        self.failureResultOf(mine, CancelledError)
        self.served.stopped.callback(None)
        self.admin.closing.callback(None)
        self.successResultOf(other)
