"""
L{twisted_echo.service}: the numbers that a service gives of itself.
"""

from typing import Any

from twisted.internet import reactor
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FakeEndpoint,
    ServedTestCase,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EchoService,
    LogSessions,
    SessionFactory,
    SessionService,
)
from twisted_echo.lifecycle import State
from twisted_echo.testing.clocks import elapse

DONE = Failure(ConnectionDone())


class MeasureTests(SynchronousTestCase):
    """
    A service measures while it runs.
    """

    def service(self, endpoint: Any = None) -> SessionService:
        self.clock = Clock()
        factory: Any = SessionFactory.forProtocol(EchoProtocol, clock=self.clock)
        return SessionService(endpoint or FakeEndpoint(), factory)

    @property
    def isMeasuring(self) -> bool:
        calls = self.clock.getDelayedCalls()
        self.assertLessEqual(len(calls), 1)
        return bool(calls)

    def test_off(self) -> None:
        """
        Unless told to it does not, and says so.
        """
        service = self.service()
        service.startService()
        self.assertFalse(self.isMeasuring)
        self.assertIsNone(service.snapshot().lateness)
        service.stopService()

    def test_lifeCycle(self) -> None:
        """
        From the start to the end of the stop, and again; what was counted stays.
        """
        service = self.service()
        service.measure()
        service.measure()
        self.assertFalse(self.isMeasuring)
        for times in (1, 2):
            service.startService()
            self.assertTrue(self.isMeasuring)
            self.clock.advance(0.5)
            self.successResultOf(service.stopService())
            self.assertFalse(self.isMeasuring)
            seen = service.snapshot()
            assert seen.lateness is not None
            self.assertEqual(seen.lateness.count, times)

    def test_whileRunning(self) -> None:
        """
        It can be told to later, suspended too.
        """
        service = self.service()
        service.startService()
        service.suspend()
        service.measure()
        self.assertTrue(self.isMeasuring)
        service.stopService()
        self.assertFalse(self.isMeasuring)

    def test_measuredWhileDraining(self) -> None:
        """
        During a drain, too; to its end.
        """
        service = self.service()
        service.measure()
        service.startService()
        session = service.factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        stopped = service.stopService()
        elapse(self.clock, 0.5)
        lateness = service.snapshot().lateness
        assert lateness is not None
        self.assertEqual(lateness.count, 1)
        session.connectionLost(DONE)
        self.successResultOf(stopped)
        self.assertFalse(self.isMeasuring)

    def test_snapshotsOwn(self) -> None:
        """
        A snapshot does not go on counting.
        """
        service = self.service()
        service.measure()
        service.startService()
        seen = service.snapshot()
        self.clock.advance(0.5)
        assert seen.lateness is not None
        self.assertEqual(seen.lateness.count, 0)
        service.stopService()

    def test_failedStart(self) -> None:
        """
        What cannot listen, now or later, does not measure either.
        """
        error = CannotListenError("", 1, OSError("no"))
        service = self.service(FakeEndpoint(error=error))
        service.measure()
        self.assertRaises(CannotListenError, service.privilegedStartService)
        self.assertFalse(self.isMeasuring)
        endpoint = FakeEndpoint(error=error, later=True)
        service = self.service(endpoint)
        service.measure()
        service.startService()
        self.assertTrue(self.isMeasuring)
        endpoint.settle()
        self.assertFalse(self.isMeasuring)
        self.assertEqual(len(self.flushLoggedErrors(CannotListenError)), 1)

    def test_stoppedWhileStarting(self) -> None:
        endpoint = FakeEndpoint(later=True)
        service = self.service(endpoint)
        service.measure()
        service.startService()
        stopped = service.stopService()
        endpoint.settle()
        self.successResultOf(stopped)
        self.assertFalse(self.isMeasuring)
        self.assertIs(service.state, State.STOPPED)

    def test_acceptErrors(self) -> None:
        """
        Connections that no listener could accept are the service's.
        """
        service = self.service([FakeEndpoint(), FakeEndpoint()])
        service.startService()
        for listener in service._listeners._listeners:
            listener.acceptErrors += 2
        self.assertEqual(service.snapshot().acceptErrors, 4)
        service.stopService()
        self.assertEqual(service.snapshot().acceptErrors, 4)

    def test_stopsBy(self) -> None:
        """
        How long a stop takes at most, and until when.
        """
        service = self.service()
        service.grace, service.factory.abortAfter = 3.0, 2.0
        self.assertEqual(service.longestStop, 16.0)
        self.assertIsNone(service.stopsBy)
        service.startService()
        self.clock.advance(10)
        session = service.factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        stopped = service.stopService()
        self.assertEqual(service.stopsBy, 26.0)
        # A transport that never says that it has ended.
        elapse(self.clock, 5)
        self.assertNoResult(stopped)
        elapse(self.clock, 1)
        self.successResultOf(stopped)
        self.flushLoggedErrors()
        service.startService()
        self.assertIsNone(service.stopsBy)
        service.stopService()

    def test_config(self) -> None:
        """
        L{EchoConfig.measure} has the service measure, and lines counted.
        """
        clock = Clock()
        service = EchoService(
            EchoConfig(measure=True), reactor=clock, endpoints=[FakeEndpoint()]
        )
        service.startService()
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        service.stopService()
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_countedLines(self) -> None:
        """
        Lines are counted where metrics or the log of all sessions show them.
        """
        for config, counted in (
            (EchoConfig(), 0),
            (EchoConfig(measure=True), 2),
            (EchoConfig(logSessions=LogSessions.ALL), 2),
        ):
            session = EchoFactory(config, clock=Clock()).buildProtocol(None)
            session.makeConnection(StringTransport())
            session.dataReceived(b"one\ntwo\nthr")
            self.assertEqual(session.linesDelivered, counted)


class ReactorTests(ServedTestCase):
    async def test_lateness(self) -> None:
        """
        With a real clock nothing is left either, which trial looks for.
        """
        service = self.serve(EchoFactory(EchoConfig()))
        service.measure()
        await until(lambda: service.snapshot().lateness.count)
        await service.stopService()
        self.assertFalse(service._monitor.isRunning)
        self.assertIs(service.factory.clock, reactor)
