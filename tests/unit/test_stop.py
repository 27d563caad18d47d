"""
L{twisted_echo.stop}: a stop that loses nothing and ends on time.
"""

from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    FakeEndpoint,
    FullTransport,
    PausablePort,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    SessionFactory,
    SessionService,
    State,
)
from twisted_echo.scheduling.fair_clock import MOST_FORGIVEN
from twisted_echo.stop import GIVE_UP_AFTER
from twisted_echo.testing.clocks import elapse

HOURS = 3600.0


def _factory(clock: Any = None, **config: Any) -> EchoFactory:
    return EchoFactory(EchoConfig(**config), clock=clock)


class FakeSessionTests(SynchronousTestCase):
    """
    The stop, with sessions on fake transports and the time in hand.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(PausablePort)

    def start(self, grace: float = 0.0, factory: Any = None) -> SessionService:
        service = SessionService(
            self.endpoint, factory or _factory(self.clock), grace=grace
        )
        service.startService()
        return service

    def session(self, service: SessionService) -> Any:
        session = service.factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        return session

    def test_neverReports(self) -> None:
        """
        A transport that does not report its end, not even aborted, is waited
        for until a second after the deadline, and no longer.
        """
        service = self.start()
        session = self.session(service)
        stopped = service.stopService()
        elapse(self.clock, service.factory.abortAfter)
        self.assertTrue(session.isAborted)
        elapse(self.clock, GIVE_UP_AFTER - 0.1)
        self.assertNoResult(stopped)
        elapse(self.clock, 0.1)
        results = self.successResultOf(stopped)
        self.assertEqual(results, [(True, None), (True, session.end)])
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_connectionLostRaises(self) -> None:
        """
        A session whose C{connectionLost} fails cannot keep the stop from firing.
        """

        class Failing(EchoProtocol):
            def connectionLost(self, reason: Any = None) -> None:
                raise ZeroDivisionError

        service = self.start(
            factory=SessionFactory.forProtocol(Failing, clock=self.clock)
        )
        self.session(service)
        self.addCleanup(self.flushLoggedErrors, ZeroDivisionError)
        stopped = service.stopService()
        for _ in range(3):
            elapse(self.clock, service.factory.abortAfter + GIVE_UP_AFTER)
        self.successResultOf(stopped)

    def test_entries(self) -> None:
        """
        The C{DeferredList} has one entry for each endpoint, then one for each
        session, with its record.
        """
        service = SessionService([FakeEndpoint(), FakeEndpoint()], _factory(self.clock))
        service.startService()
        sessions = [self.session(service) for _ in range(3)]
        stopped = service.stopService()
        self.assertIsInstance(stopped, DeferredList)
        for session in sessions:
            session.connectionLost()
        self.assertEqual(
            self.successResultOf(stopped),
            [(True, None)] * 2 + [(True, session.end) for session in sessions],
        )

    def test_cancel(self) -> None:
        """
        To cancel the C{DeferredList} ends its owner's wait and nothing else.
        """
        service = self.start()
        session = self.session(service)
        cancelled, other = service.stopService(), service.stopService()
        cancelled.cancel()
        self.successResultOf(cancelled)
        self.assertIn(session, service.factory.sessions)
        self.assertIs(service.state, State.DRAINING)
        self.assertNoResult(other)
        session.connectionLost()
        self.assertEqual(
            self.successResultOf(other), [(True, None), (True, session.end)]
        )
        self.assertIs(service.state, State.STOPPED)

    def test_waiterHoldsNobody(self) -> None:
        """
        Somebody whose callback on a session's end returns a Deferred that never
        fires does not hold back the stop.
        """
        service = self.start()
        session = self.session(service)
        held = session.whenEnded().addCallback(lambda _: Deferred())
        stopped = service.stopService()
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertNoResult(held)

    def test_graceOver(self) -> None:
        """
        In the time of grace sessions go on as if nothing was; then they are
        closed; then they have their deadline.
        """
        service = self.start(grace=10.0)
        session = self.session(service)
        stopped = service.stopService()
        self.assertEqual(self.endpoint.ports[0].closed, 1)
        elapse(self.clock, 9.9)
        session.dataReceived(b"still served\n")
        self.assertEqual(session.transport.value(), b"still served\n")
        self.assertFalse(session.transport.disconnecting)
        elapse(self.clock, 0.1)
        self.assertTrue(session.transport.disconnecting)
        elapse(self.clock, service.factory.abortAfter - 0.1)
        self.assertFalse(session.isAborted)
        elapse(self.clock, 0.1)
        self.assertTrue(session.isAborted)
        session.connectionLost()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stalled(self) -> None:
        """
        A stall gives the sessions its time back.
        """
        service = self.start()
        session = self.session(service)
        stopped = service.stopService()
        elapse(self.clock, service.factory.abortAfter - 1)
        self.clock.advance(MOST_FORGIVEN / 2)
        self.assertFalse(session.isAborted)
        elapse(self.clock, 1)
        self.assertTrue(session.isAborted)
        session.connectionLost()
        self.successResultOf(stopped)

    def test_alwaysStalled(self) -> None:
        """
        A process that never has time stops all the same, by one bound for all parts of
        the stop.
        """
        service = self.start(grace=3.0)
        session = self.session(service)
        stopped = service.stopService()
        promised = service.stopsBy
        assert promised is not None
        while self.clock.seconds() < promised - 0.5:
            self.assertNoResult(stopped)
            self.clock.advance(0.45)
            self.clock.advance(0)
        self.assertIs(session._abortReason, EndReason.ABORTED_IN_DRAIN)
        self.clock.advance(0.5)
        self.clock.advance(0.5)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_graceFinished(self) -> None:
        """
        When the last client has finished by itself the stop is over at once.
        """
        service = self.start(grace=HOURS)
        sessions = [self.session(service) for _ in range(2)]
        stopped = service.stopService()
        elapse(self.clock, 1)
        sessions[0].connectionLost()
        self.assertNoResult(stopped)
        sessions[1].connectionLost()
        self.successResultOf(stopped)
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_graceUnused(self) -> None:
        """
        Without sessions there is nothing to wait for, and one that comes after
        all is closed at once.
        """
        service = self.start(grace=HOURS)
        self.successResultOf(service.stopService())
        self.assertTrue(self.session(service).transport.disconnecting)

    def test_startAgain(self) -> None:
        """
        After a stop and a start sessions are welcome again.
        """
        service = self.start()
        self.successResultOf(service.stopService())
        late = self.session(service)
        self.assertTrue(late.transport.disconnecting)
        late.connectionLost()
        service.startService()
        session = self.session(service)
        self.assertFalse(session.transport.disconnecting)


class Handshaking:
    """
    A connection that is to become a session, and never does by itself.
    """

    began = 0.0
    transport: Any = None

    def __init__(self, factory: Any) -> None:
        self.factory = factory
        factory.handshakeStarted(self, None)

    def ownBytes(self) -> int:
        return 0

    def fail(self, reason: EndReason, detail: str = "") -> None:
        self.factory.handshakeEnded(self)
        self.factory.countRefused(None, reason, detail)


class StopLogTests(SynchronousTestCase):
    """
    The account that a stop gives, and the handshakes that it ends.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = _factory(self.clock)
        self.endpoint = FakeEndpoint(PausablePort)
        self.service = SessionService([self.endpoint], self.factory)
        self.events: list[Any] = []
        logger = Logger(observer=self.events.append)  # type: ignore[arg-type]
        self.patch(SessionService, "_log", logger)
        self.service.startService()

    def told(self) -> str:
        return str(formatEvent(self.events[-1]))

    def session(self) -> Any:
        session: Any = self.factory.buildProtocol(None)
        session.makeConnection(FullTransport())
        return session

    def test_nothing(self) -> None:
        self.service.stopService()
        self.assertEqual(
            self.told(),
            "stopped after 0s: no session was open; since the start: served 0,"
            " refused 0",
        )

    def test_counts(self) -> None:
        """
        Sessions and refusals by their reasons, the most frequent first.
        """
        for _ in range(2):
            self.session().connectionLost(Failure(ConnectionDone()))
        self.session().connectionLost(Failure(ConnectionLost()))
        for _ in range(3):
            self.factory.countRefused(None, EndReason.REFUSED_FULL)
        session = self.session()
        self.service.stopService()
        elapse(self.clock, 1.5)
        session.readConnectionLost()
        session.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(
            self.told(),
            "stopped after 1.5s: 1 session was open; since the start:"
            " served 4 (peer-closed 2, connection-lost 1, stopped 1),"
            " refused 3 (refused-full 3)",
        )

    def test_flushed(self) -> None:
        """
        What the log has not been told of refusals is told before.
        """
        flushed = []
        self.patch(
            self.factory.sessionLog, "flush", lambda: flushed.append(len(self.events))
        )
        before = len(self.events)
        self.service.stopService()
        self.assertEqual(flushed, [before])

    def test_handshakes(self) -> None:
        """
        Handshakes are cut off at once: nothing of theirs is lost.
        """
        for _ in range(2):
            Handshaking(self.factory)
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.factory.refused, {EndReason.STOPPED: 2})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lateHandshakes(self) -> None:
        """
        So are those that begin while the ports close; without it the stop would
        wait as long as their peers like.
        """
        (port,) = self.endpoint.ports
        port.closing = Deferred()
        stopped = self.service.stopService()
        Handshaking(self.factory)
        port.closing.callback(None)
        self.successResultOf(stopped)
        self.assertIs(self.service.state, State.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StopNowTests(SynchronousTestCase):
    """
    The stop that waits for no client.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(PausablePort)

    def start(self, grace: float = 0.0) -> SessionService:
        service = SessionService(self.endpoint, _factory(self.clock), grace=grace)
        service.startService()
        return service

    def session(self, service: SessionService) -> Any:
        session = service.factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        return session

    def assertStopped(
        self, service: SessionService, session: Any, stopped: Any
    ) -> None:
        """
        The session is being aborted, and its end is that of the stop.
        """
        self.assertTrue(session.transport.disconnected)
        self.assertIs(service.state, State.DRAINING)
        session.connectionLost(Failure(ConnectionAborted()))
        self.assertEqual(
            self.successResultOf(stopped), [(True, None), (True, session.end)]
        )
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_listening(self) -> None:
        """
        It begins the stop, if there is none.
        """
        for grace in 0.0, HOURS:
            service = self.start(grace)
            session = self.session(service)
            stopped = service.stopNow()
            self.assertStopped(service, session, stopped)

    def test_inGrace(self) -> None:
        """
        It ends the time of grace.
        """
        service = self.start(HOURS)
        session = self.session(service)
        first = service.stopService()
        self.assertFalse(session.transport.disconnecting)
        self.assertStopped(service, session, service.stopNow())
        self.successResultOf(first)

    def test_whileClosing(self) -> None:
        """
        It ends the wait for the peers of closed sessions.
        """
        service = self.start()
        session = self.session(service)
        first = service.stopService()
        self.assertTrue(session.transport.disconnecting)
        self.assertFalse(session.transport.disconnected)
        self.assertStopped(service, session, service.stopNow())
        self.successResultOf(first)

    def test_again(self) -> None:
        """
        A second call changes nothing: a transport has its second to report the abort,
        and no more.
        """
        service = self.start()
        self.session(service)
        stops = [service.stopNow(), service.stopNow()]
        elapse(self.clock, GIVE_UP_AFTER - 0.1)
        stops.append(service.stopNow())
        for each in stops:
            self.assertNoResult(each)
        elapse(self.clock, 0.1)
        for each in stops:
            self.successResultOf(each)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothingRuns(self) -> None:
        """
        Before the start, and after the stop, there is nothing to do.
        """
        service = self.start()
        idle = SessionService(self.endpoint, _factory(self.clock))
        self.assertEqual(self.successResultOf(idle.stopNow()), [])
        self.assertIs(idle.state, State.IDLE)
        self.successResultOf(service.stopService())
        self.assertEqual(self.successResultOf(service.stopNow()), [])
        service.startService()
        self.assertFalse(self.session(service).transport.disconnecting)

    def test_whileStarting(self) -> None:
        """
        A start that is pending is given up.
        """
        self.endpoint.later = True
        self.endpoint.canceller = lambda _: None
        service = self.start()
        self.successResultOf(service.stopNow())
        self.assertIs(service.state, State.STOPPED)

    def test_newcomers(self) -> None:
        """
        While the ports close, nobody becomes a session any more.
        """
        service = self.start()
        self.endpoint.ports[0].closing = Deferred()
        stopped = service.stopNow()
        self.assertIsNone(service.factory.buildProtocol(None))
        self.assertEqual(service.factory.refused, {EndReason.STOPPED: 1})
        self.endpoint.ports[0].closing.callback(None)
        self.successResultOf(stopped)

    def test_stopsBy(self) -> None:
        """
        The promised time of the end comes nearer, and never later.
        """
        service = self.start(HOURS)
        self.assertIsNone(service.stopsBy)
        self.session(service)
        service.stopService()
        self.assertEqual(service.stopsBy, self.clock.seconds() + service.longestStop)
        service.stopNow()
        soon = self.clock.seconds() + GIVE_UP_AFTER + MOST_FORGIVEN
        self.assertEqual(service.stopsBy, soon)
        elapse(self.clock, 0.5)
        service.stopNow()
        self.assertEqual(service.stopsBy, soon)
        elapse(self.clock, 0.5)
        self.assertIs(service.state, State.STOPPED)

    def test_cancel(self) -> None:
        """
        To cancel what it returns ends that wait alone.
        """
        service = self.start()
        session = self.session(service)
        one, other = service.stopNow(), service.stopNow()
        one.cancel()
        self.assertStopped(service, session, other)

    def test_fromSession(self) -> None:
        """
        A session may call it when it is closed, in the middle of the stop.
        """
        stops = []

        class Impatient(EchoProtocol):
            def close(self, *args: Any) -> None:
                super().close(*args)
                stops.append(service.stopNow())

        factory = SessionFactory.forProtocol(Impatient, clock=self.clock)
        service = SessionService(self.endpoint, factory)
        service.startService()
        session = self.session(service)
        stopped = service.stopService()
        self.assertStopped(service, session, stops[0])
        self.successResultOf(stopped)


class BrokenStopTests(SynchronousTestCase):
    """
    A stop in which something raises that must not.
    """

    def test_portRaises(self) -> None:
        """
        It is logged, sessions are aborted, and the stop fires with the failure.
        """
        clock = Clock()
        service = SessionService([FakeEndpoint(), FakeEndpoint()], _factory(clock))
        service.startService()
        session: Any = service.factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        self.patch(service._listeners, "close", lambda: 1 / 0)
        stopped = service.stopService()
        self.assertTrue(session.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        session.connectionLost(Failure(ConnectionAborted()))
        first, second, third = self.successResultOf(stopped)
        for isDone, failure in first, second:
            self.assertFalse(isDone)
            failure.trap(ZeroDivisionError)
        self.assertEqual(third, (True, session.end))
        self.assertIs(service.state, State.STOPPED)
