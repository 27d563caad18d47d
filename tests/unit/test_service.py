"""
L{twisted_echo.service}: listening, suspending, and the stop that loses nothing.
"""

import os
import socket
from select import select
from threading import Event
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList, gatherResults
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import (
    AlreadyListened,
    CannotListenError,
    ConnectionDone,
    ConnectionLost,
)
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.clients import (
    LEFT,
    TCP,
    FakeEndpoint,
    FullTransport,
    PausablePort,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    stick,
    tls,
    tls_endpoint,
    turn,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    IllegalTransition,
    Limits,
    SessionFactory,
    SessionService,
    State,
    WhenFull,
)
from twisted_echo.endpoints.strings import listenString
from twisted_echo.scheduling.fair_clock import MOST_FORGIVEN
from twisted_echo.service import _GIVE_UP_AFTER
from twisted_echo.testing.clocks import elapse

HOURS = 3600.0


class Broken(Exception):
    """
    What a fake endpoint fails with.
    """


def _factory(clock: Any = None, **config: Any) -> EchoFactory:
    return EchoFactory(EchoConfig(**config), clock=clock)


@implementer(IStreamServerEndpoint)
class _Unpausable:
    """
    A real port that can only be listened on and closed.
    """

    def listen(self, protocolFactory: Any) -> Any:
        listening = serverFromString(reactor, TCP).listen(protocolFactory)
        return listening.addCallback(_OnlyPort)


@implementer(IListeningPort)
class _OnlyPort:
    def __init__(self, port: Any) -> None:
        self._port = port
        self.startListening = port.startListening
        self.stopListening = port.stopListening
        self.getHost = port.getHost


class StateTests(SynchronousTestCase):
    """
    The states, over fake endpoints.
    """

    def service(self, *endpoints: Any, grace: float = 0.0) -> SessionService:
        self.clock = Clock()
        self.endpoint = FakeEndpoint(PausablePort)
        return SessionService(
            endpoints or (self.endpoint,), _factory(self.clock), grace=grace
        )

    def assertRefused(self, call: Any, message: str) -> None:
        error = self.assertRaises(IllegalTransition, call)
        self.assertEqual(str(error), message)

    def test_interface(self) -> None:
        verifyObject(IService, self.service())

    def test_oneEndpoint(self) -> None:
        """
        A single endpoint need not be put into a list.
        """
        endpoint = FakeEndpoint()
        service = SessionService(endpoint, _factory(Clock()))
        service.startService()
        self.assertEqual(service.addresses, endpoint.ports)

    def test_wholeLife(self) -> None:
        """
        The states in their order, and around again.
        """
        service = self.service()
        seen = [service.state]
        for step in ("privilegedStartService", "startService", "suspend", "resume"):
            getattr(service, step)()
            seen.append(service.state)
        self.assertTrue(service.running)
        self.successResultOf(service.stopService())
        self.assertFalse(service.running)
        seen.append(service.state)
        service.startService()
        seen.append(service.state)
        names = " ".join(state.name for state in seen)
        self.assertEqual(
            names, "IDLE LISTENING LISTENING SUSPENDED LISTENING STOPPED LISTENING"
        )
        self.assertEqual([port.closed for port in self.endpoint.ports], [1, 0])

    def test_startAlone(self) -> None:
        """
        C{startService} listens where C{privilegedStartService} was not called,
        and not twice where it was.
        """
        service = self.service()
        service.startService()
        self.assertIs(service.state, State.LISTENING)
        service = self.service()
        service.privilegedStartService()
        service.startService()
        self.assertEqual(len(self.endpoint.attempts), 1)

    def test_refusedWhileIdle(self) -> None:
        service = self.service()
        self.assertRefused(
            service.suspend, "cannot suspend while IDLE, only while LISTENING"
        )
        self.assertRefused(
            service.resume, "cannot resume while IDLE, only while SUSPENDED"
        )

    def test_refusedWhileStarting(self) -> None:
        service = self.service(FakeEndpoint(later=True))
        service.startService()
        self.assertRefused(
            service.suspend, "cannot suspend while STARTING, only while LISTENING"
        )
        self.assertRefused(
            service.resume, "cannot resume while STARTING, only while SUSPENDED"
        )
        self.assertRefused(
            service.startService,
            "cannot start while STARTING, only while IDLE or STOPPED",
        )

    def test_refusedWhileListening(self) -> None:
        service = self.service()
        service.startService()
        message = "cannot start while LISTENING, only while IDLE or STOPPED"
        self.assertRefused(service.startService, message)
        self.assertRefused(service.privilegedStartService, message)
        self.assertRefused(
            service.resume, "cannot resume while LISTENING, only while SUSPENDED"
        )
        self.assertIs(service.state, State.LISTENING)

    def test_refusedWhileSuspended(self) -> None:
        service = self.service()
        service.startService()
        service.suspend()
        self.assertRefused(
            service.suspend, "cannot suspend while SUSPENDED, only while LISTENING"
        )
        self.assertRefused(
            service.startService,
            "cannot start while SUSPENDED, only while IDLE or STOPPED",
        )

    def test_refusedWhileDraining(self) -> None:
        service = self.service()
        service.startService()
        self.endpoint.ports[0].closing = Deferred()
        stopped = service.stopService()
        self.assertIs(service.state, State.DRAINING)
        self.assertRefused(
            service.suspend, "cannot suspend while DRAINING, only while LISTENING"
        )
        self.assertRefused(
            service.resume, "cannot resume while DRAINING, only while SUSPENDED"
        )
        message = "cannot start while DRAINING, only while IDLE or STOPPED"
        self.assertRefused(service.startService, message)
        self.assertRefused(service.privilegedStartService, message)
        self.endpoint.ports[0].closing.callback(None)
        self.successResultOf(stopped)

    def test_refusedWhileStopped(self) -> None:
        service = self.service()
        service.startService()
        self.successResultOf(service.stopService())
        self.assertRefused(
            service.suspend, "cannot suspend while STOPPED, only while LISTENING"
        )
        self.assertRefused(
            service.resume, "cannot resume while STOPPED, only while SUSPENDED"
        )

    def test_stopIdleAndStopped(self) -> None:
        """
        To stop before the start, and after the stop, is legal and done at once.
        """
        service = self.service()
        stops = [service.stopService()]
        self.assertIs(service.state, State.IDLE)
        service.startService()
        stops += [service.stopService(), service.stopService()]
        for stopped in stops:
            self.assertIsInstance(stopped, DeferredList)
            self.successResultOf(stopped)

    def test_stopTwiceAtOnce(self) -> None:
        """
        A second stop, while the first goes on, has a C{DeferredList} of its own,
        and the port is closed once.
        """
        service = self.service()
        service.startService()
        (port,) = self.endpoint.ports
        port.closing = Deferred()
        first, second = service.stopService(), service.stopService()
        self.assertIsNot(first, second)
        self.assertNoResult(first)
        self.assertNoResult(second)
        port.closing.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(port.closed, 1)

    def test_stopSuspended(self) -> None:
        service = self.service()
        service.startService()
        service.suspend()
        self.successResultOf(service.stopService())
        self.assertEqual(self.endpoint.ports[0].closed, 1)

    def test_stopWhileStarting(self) -> None:
        """
        A stop while C{listen} is pending ends the attempt; the service can be
        started again.
        """
        endpoint = FakeEndpoint(later=True, canceller=lambda _: None)
        service = self.service(endpoint)
        service.startService()
        listening = service.whenListening()
        self.successResultOf(service.stopService())
        self.assertIs(service.state, State.STOPPED)
        self.failureResultOf(listening, IllegalTransition)
        endpoint.later = False
        self.flushLoggedErrors(IllegalTransition)
        service.startService()
        self.assertIs(service.state, State.LISTENING)
        self.assertEqual([port.closed for port in endpoint.ports], [0])

    def test_stopWhileStartingUncancellable(self) -> None:
        """
        An endpoint that listens after the stop, for it could not be told, does
        not stay open.
        """
        endpoint = FakeEndpoint(later=True)
        service = self.service(endpoint)
        service.startService()
        stopped = service.stopService()
        endpoint.settle()
        self.flushLoggedErrors(IllegalTransition)
        self.successResultOf(stopped)
        self.assertEqual(endpoint.ports[0].closed, 1)
        self.assertEqual(service.addresses, [])

    def test_stopWhileResuming(self) -> None:
        """
        A stop while a resumption is pending: nothing listens afterwards.
        """
        endpoint = FakeEndpoint()
        service = self.service(endpoint)
        service.startService()
        (port,) = endpoint.ports
        port.closing = Deferred()
        service.suspend()
        service.resume().addErrback(lambda failure: None)
        stopped = service.stopService()
        port.closing.callback(None)
        self.successResultOf(stopped)
        self.assertEqual([port.closed > 0 for port in endpoint.ports], [True])
        self.assertIs(service.state, State.STOPPED)

    def test_stopWhileStartingLogsNothing(self) -> None:
        """
        A stop while C{listen} is pending is legal, so it is no error in the log.
        """
        service = self.service(FakeEndpoint(later=True, canceller=lambda _: None))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_suspendUnpausable(self) -> None:
        """
        A port that cannot be paused is closed, and listened to again.
        """
        endpoint = FakeEndpoint()
        service = self.service(endpoint)
        service.startService()
        self.successResultOf(service.suspend())
        self.assertEqual(service.addresses, [])
        self.successResultOf(service.resume())
        self.assertEqual(service.addresses, [endpoint.ports[1]])

    def test_resumeFails(self) -> None:
        """
        If it cannot listen again the service stays suspended, and can be
        stopped, or resumed later.
        """
        endpoint = FakeEndpoint()
        service = self.service(endpoint)
        service.startService()
        service.suspend()
        endpoint.error = Broken()
        self.failureResultOf(service.resume(), Broken)
        self.assertIs(service.state, State.SUSPENDED)
        endpoint.error = None
        self.successResultOf(service.resume())
        self.assertIs(service.state, State.LISTENING)

    def test_failsAtOnce(self) -> None:
        """
        An endpoint that fails at once has its error raised, and the service can
        be started again.
        """
        endpoint = FakeEndpoint(error=Broken())
        service = self.service(endpoint)
        self.assertRaises(Broken, service.privilegedStartService)
        self.assertIs(service.state, State.STOPPED)
        self.failureResultOf(service.whenListening(), Broken)
        self.successResultOf(service.stopService())
        endpoint.error = None
        service.startService()
        self.successResultOf(service.whenListening())

    def test_failsLater(self) -> None:
        """
        One that fails later is logged, and told to who waits; the others are
        closed.
        """
        bad = FakeEndpoint(later=True, error=Broken())
        good = FakeEndpoint()
        service = self.service(bad, good)
        service.startService()
        first, second = service.whenListening(), service.whenListening()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        bad.settle()
        self.failureResultOf(second, Broken)
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)
        self.assertEqual(good.ports[0].closed, 1)
        self.assertIs(service.state, State.STOPPED)
        self.assertFalse(service.running)

    def test_listensLater(self) -> None:
        """
        C{whenListening} fires when the last endpoint listens.
        """
        slow = FakeEndpoint(later=True)
        service = self.service(slow, FakeEndpoint())
        service.startService()
        listening = service.whenListening()
        self.assertNoResult(listening)
        slow.settle()
        self.successResultOf(listening)
        self.assertIs(service.state, State.LISTENING)
        service.suspend()
        self.successResultOf(service.whenListening())

    def test_neverStarted(self) -> None:
        """
        To wait for a service that nobody has started fails at once.
        """
        failure = self.failureResultOf(
            self.service().whenListening(), IllegalTransition
        )
        self.assertEqual(
            str(failure.value), "cannot listen while IDLE, only while STARTING"
        )

    def test_stopFailure(self) -> None:
        """
        A port that cannot be closed is an entry that failed, and keeps nobody.
        """
        service = self.service(FakeEndpoint(), FakeEndpoint())
        service.startService()
        service._listeners.ports[0].closing = Deferred()
        closing = service._listeners.ports[0].closing
        stopped = service.stopService()
        closing.errback(Broken())
        first, second = self.successResultOf(stopped)
        self.assertFalse(first[0])
        first[1].trap(Broken)
        self.assertEqual(second, (True, None))
        self.assertIs(service.state, State.STOPPED)

    def test_portNeverCloses(self) -> None:
        """
        A port that never reports its end is given up a second after the
        deadline.
        """
        service = self.service()
        service.startService()
        self.endpoint.ports[0].closing = Deferred()
        stopped = service.stopService()
        elapse(self.clock, service.factory.abortAfter)
        self.assertNoResult(stopped)
        elapse(self.clock, _GIVE_UP_AFTER)
        self.successResultOf(stopped)
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_child(self) -> None:
        """
        It starts and stops with the service that it is a child of, once.
        """
        parent = MultiService()
        service = self.service()
        service.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        self.assertIs(service.state, State.LISTENING)
        self.successResultOf(parent.stopService())
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(len(self.endpoint.ports), 1)


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
        self.assertTrue(session._abortedFor)
        elapse(self.clock, _GIVE_UP_AFTER - 0.1)
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
            elapse(self.clock, service.factory.abortAfter + _GIVE_UP_AFTER)
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

    def test_askerHoldsNobody(self) -> None:
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
        self.assertFalse(session._abortedFor)
        elapse(self.clock, 0.1)
        self.assertTrue(session._abortedFor)
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
        self.assertFalse(session._abortedFor)
        elapse(self.clock, 1)
        self.assertTrue(session._abortedFor)
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
        self.assertIs(session._abortedFor, EndReason.ABORTED_IN_DRAIN)
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
        self.factory.handshakeEnded(self, None)
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
            "stopped, 0 sessions were open, after 0s; served 0; refused 0",
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
            "stopped, 1 sessions were open, after 1.5s;"
            " served 4 (peer-closed 2, connection-lost 1, stopped 1);"
            " refused 3 (refused-full 3)",
        )

    def test_flushed(self) -> None:
        """
        What the log has not been told of refusals is told before.
        """
        flushed = []
        self.patch(
            self.factory.journal, "flush", lambda: flushed.append(len(self.events))
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


class FullTests(ServedTestCase):
    """
    As many sessions as are allowed, over real ports.
    """

    async def served(self, whenFull: WhenFull, *endpoints: Any) -> SessionService:
        limits = Limits(sessions=1, whenFull=whenFull)
        return self.serve(_factory(limits=limits), *endpoints)

    async def answer(self, client: socket.socket) -> bytes:
        client.sendall(b"a\n")
        return await in_thread(collect, client, 2)

    async def test_wait(self) -> None:
        """
        Who comes when it is full is connected, waits in the backlog, and is
        served as soon as another has gone; also when more is allowed.
        """
        service = await self.served(WhenFull.WAIT)
        factory = service.factory
        session, first = await self.session(service)
        second = self.client(service)
        second.sendall(b"b\n")
        for _ in range(20):
            await turn()
        self.assertEqual(list(factory.sessions), [session])
        self.assertEqual(await self.answer(first), b"a\n")
        first.close()
        self.assertEqual(await in_thread(collect, second, 2), b"b\n")
        third = self.client(service)
        factory.limits = Limits(sessions=2)
        self.assertEqual(await self.answer(third), b"a\n")
        self.assertEqual((factory.opened, factory.refused.total()), (3, 0))

    async def test_waitUnpausable(self) -> None:
        """
        Where a port cannot be paused, one more is refused.
        """
        service = await self.served(WhenFull.WAIT, _Unpausable())
        _, first = await self.session(service)
        second = self.client(service)
        self.assertEqual(await in_thread(second.recv, 1), b"")
        self.assertEqual(service.factory.refused, {EndReason.REFUSED_FULL: 1})
        first.close()
        await until(lambda: not service.factory.sessions)
        self.assertEqual(await self.answer(self.client(service)), b"a\n")

    async def test_refuse(self) -> None:
        """
        Who comes when it is full sees an end at once; changed to wait, he waits.
        """
        service = await self.served(WhenFull.REFUSE)
        factory = service.factory
        _, first = await self.session(service)
        for _ in range(3):
            client = self.client(service)
            self.assertEqual(await in_thread(client.recv, 1), b"")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 3})
        factory.limits = Limits(sessions=1)
        last = self.client(service)
        first.close()
        self.assertEqual(await self.answer(last), b"a\n")
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 3})

    async def test_burst(self) -> None:
        """
        However many come at once, by however many ports, there are never more than are
        allowed; the others wait, and are served as soon as there is room.
        """

        class Counting(SessionFactory[Any]):
            most = 0

            def countChanged(self) -> None:
                now = len(self.sessions) + len(self.handshakes)
                self.most = max(self.most, now)
                super().countChanged()

        haproxy = listenString(reactor, f"haproxy:unix:{self.mktemp()}").endpoint
        for endpoints in (
            (TCP,),
            (f"unix:{self.mktemp()}", TCP, TCP),
            (haproxy, TCP),
        ):
            factory = Counting(limits=Limits(sessions=7))
            factory.protocol = EchoProtocol
            service = self.serve(factory, *endpoints)
            clients = [
                connect(address) for address in service.addresses for _ in range(60)
            ]
            for client in clients:
                self.addCleanup(client.close)
                if isinstance(client.getpeername(), str) and haproxy in endpoints:
                    client.sendall(b"PROXY UNKNOWN\r\n")
                client.sendall(b"a\n")
            # More room is filled, and no more than that.
            await until(lambda: factory.most)  # noqa: B023
            for _ in range(20):
                await turn()
            self.assertEqual((factory.most, len(factory.sessions)), (7, 7))
            factory.limits = Limits(sessions=9)
            await until(lambda: factory.most > 7)  # noqa: B023
            for _ in range(20):
                await turn()
            self.assertEqual((factory.most, len(factory.sessions)), (9, 9))
            # (Each port serves its clients in the order in which they came, but a port
            # need not have its turn before the others are empty.)
            waiting = set(clients)
            while waiting:
                answered, _, _ = await in_thread(select, list(waiting), [], [], 20.0)
                self.assertTrue(answered)
                for client in answered:
                    self.assertEqual(client.recv(100), b"a\n")
                    client.close()
                    waiting.discard(client)
            self.assertEqual(factory.most, 9)
            self.assertEqual(
                (factory.opened, factory.refused.total()), (len(clients), 0)
            )
            await service.stopService()

    async def test_suspendedInBatch(self) -> None:
        """
        A service that is suspended while a batch of connections is accepted takes no
        more of that batch.
        """

        class Suspending(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                if not suspended:
                    suspended.append(service.suspend())

        suspended: list[Any] = []
        service = self.serve(SessionFactory.forProtocol(Suspending))
        clients = [self.client(service) for _ in range(40)]
        await until(lambda: suspended)
        for _ in range(20):
            await turn()
        self.assertEqual(service.factory.opened, 1)
        await service.resume()
        for client in clients:
            self.assertEqual(await self.answer(client), b"a\n")

    async def test_suspended(self) -> None:
        """
        Suspended and full at once: accepted again when it is neither.
        """
        service = await self.served(WhenFull.WAIT)
        _, first = await self.session(service)
        await service.suspend()
        first.close()
        await until(lambda: not service.factory.sessions)
        client = self.client(service)
        for _ in range(20):
            await turn()
        self.assertFalse(service.factory.sessions)
        await service.resume()
        self.assertEqual(await self.answer(client), b"a\n")
        await service.suspend()
        await service.resume()
        other = self.client(service)
        for _ in range(20):
            await turn()
        self.assertEqual(len(service.factory.sessions), 1)
        client.close()
        self.assertEqual(await self.answer(other), b"a\n")

    async def test_stopWhileFull(self) -> None:
        """
        Those who wait when the service stops are served one after the other, as those
        before them have been sent their end-of-file, whether they close or not.
        """
        service = await self.served(WhenFull.WAIT)
        factory = service.factory
        _, first = await self.session(service)
        others = [self.client(service) for _ in range(5)]
        for number, client in enumerate(others):
            client.sendall(b"line %d\nrest" % number)
        served: list[int] = []
        started = factory.sessionStarted

        def count(session: Any) -> None:
            started(session)
            served.append(sum(not each.isFinished for each in factory.sessions))

        self.patch(factory, "sessionStarted", count)
        stopped = service.stopService()
        for number, client in enumerate(others):
            # It is the first who closes last.
            answer = await in_thread(read_to_end, client)
            self.assertEqual(answer, b"line %d\n" % number)
        self.assertEqual(await in_thread(read_to_end, first), b"")
        await stopped
        self.assertLessEqual(max(served), 1)
        self.assertEqual((factory.opened, factory.refused), (6, {}))
        self.assertEqual(factory.ended, {EndReason.STOPPED: 6})

    async def test_stopWhileFullUNIX(self) -> None:
        """
        The same by a UNIX socket; who comes when it is full is refused then.
        """
        service = await self.served(WhenFull.WAIT, f"unix:{self.mktemp()}")
        (address,) = service.addresses
        clients = [self.client(service) for _ in range(3)]
        for client in clients:
            client.sendall(b"line\n")
        stopped = service.stopService()
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"line\n")
        self.assertRaises(OSError, connect, address)
        await stopped
        self.assertEqual(service.factory.ended, {EndReason.STOPPED: 3})


class StringTests(ServedTestCase):
    """
    Endpoints by their strings.
    """

    async def test_listens(self) -> None:
        """
        One string, or many with endpoints among them; they are those of C{--listen}.
        """
        proxied = f"haproxy:{TCP}"
        for endpoints in (TCP, proxied, [serverFromString(reactor, TCP), TCP, proxied]):
            factory = SessionFactory.forProtocol(EchoProtocol)
            service = SessionService(endpoints, factory)
            service.startService()
            self.addCleanup(service.stopService)
            await service.whenListening()
            client = connect(service.addresses[-1])
            self.addCleanup(client.close)
            if endpoints != TCP:
                client.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 7 7\r\n")
            await until(lambda sessions=factory.sessions: sessions)
            (session,) = factory.sessions
            expected = "127.0.0.1" if endpoints == TCP else "192.0.2.1"
            self.assertEqual(session.peer.host, expected)

    def test_none(self) -> None:
        """
        What is no endpoint is told at once, and what would be one.
        """
        for wrong in ("7008", "", "unix:", "foo:1", "ssl:port="):
            with self.assertRaisesRegex(
                ValueError, f"'{wrong}' is no endpoint: .*; such as tcp:7007"
            ):
                SessionService(wrong, SessionFactory())


class RealPortTests(ServedTestCase):
    """
    Real ports over loopback.
    """

    async def test_addresses(self) -> None:
        """
        Several endpoints, of several kinds; the addresses are in their order.
        """
        path = self.mktemp()
        service = self.serve(_factory(), TCP, f"unix:{path}", TCP)
        first, second, third = service.addresses
        self.assertEqual(second.name, os.fsencode(path))
        self.assertNotEqual(first.port, third.port)
        for address in service.addresses:
            got = await in_thread(pump, connect(address), b"hello\n")
            self.assertEqual(got, b"hello\n")

    async def test_fileGone(self) -> None:
        """
        A UNIX socket whose file, or lock, somebody has removed is closed as any other,
        and can be listened on again.
        """
        path = self.mktemp()
        service = self.serve(_factory(), f"unix:{path}")
        for gone in (path, f"{path}.lock", ""):
            (port,) = service._listeners.ports
            if gone:
                os.unlink(gone)
            for done, result in await service.stopService():
                self.assertTrue(done, result)
            self.assertFalse(port.connected)
            self.assertFalse(os.path.lexists(path))
            self.assertFalse(os.path.lexists(f"{path}.lock"))
            service.startService()
            await service.whenListening()

    async def test_allOrNone(self) -> None:
        """
        If one address is in use none is listened on, whichever comes first,
        and the error is raised.
        """
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        used = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        for order in ((used, TCP), (TCP, used)):
            service = SessionService(
                [serverFromString(reactor, each) for each in order], _factory()
            )
            try:
                self.assertRaises(CannotListenError, service.privilegedStartService)
            finally:
                await turn()
                await turn()
                self.flushLoggedErrors(CannotListenError)
            self.assertEqual(service.addresses, [])
            self.assertIs(service.state, State.STOPPED)

    async def test_suspend(self) -> None:
        """
        While suspended, sessions go on, and a new connection waits; it is
        served after the resumption.
        """
        service = self.serve(_factory())
        _, old = await self.session(service)
        await service.suspend()
        new = self.client(service)
        new.sendall(b"new\n")
        old.sendall(b"old\n")
        self.assertEqual(await in_thread(collect, old, 4), b"old\n")
        self.assertEqual(len(service.factory.sessions), 1)
        await service.resume()
        self.assertEqual(await in_thread(collect, new, 4), b"new\n")
        self.assertEqual(len(service.factory.sessions), 2)

    async def test_stopSuspended(self) -> None:
        """
        A connection that waits when a suspended service stops sees end-of-file.
        """
        service = self.serve(_factory())
        await service.suspend()
        client = self.client(service)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        self.assertEqual(await reader, b"")

    async def test_startAgain(self) -> None:
        """
        Start after stop listens again, on the same port.
        """
        taken = socket.create_server(("127.0.0.1", 0))
        number = taken.getsockname()[1]
        taken.close()
        service = self.serve(_factory(), f"tcp:{number}:interface=127.0.0.1")
        for _ in range(3):
            got = await in_thread(pump, self.client(service), b"hello\n")
            self.assertEqual(got, b"hello\n")
            await service.stopService()
            service.startService()
        self.assertEqual(service.addresses[0].port, number)

    async def test_adopted(self) -> None:
        """
        An adopted socket can be listened on once: start after stop is refused,
        and says why.
        """
        given = socket.create_server(("127.0.0.1", 0))
        endpoint = AdoptedStreamServerEndpoint(
            reactor, os.dup(given.fileno()), socket.AF_INET
        )
        given.close()
        service = self.serve(_factory(), endpoint)
        got = await in_thread(pump, self.client(service), b"hello\n")
        self.assertEqual(got, b"hello\n")
        await service.stopService()
        self.addCleanup(self.flushLoggedErrors, AlreadyListened)
        error = self.assertRaises(AlreadyListened, service.startService)
        self.assertNotEqual(str(error), "")

    async def test_refusedAfterStop(self) -> None:
        """
        After the stop nothing listens.
        """
        service = self.serve(_factory())
        (address,) = service.addresses
        await service.stopService()
        self.assertRaises(ConnectionRefusedError, connect, address)


class _Stream:
    """
    A client that sends numbered lines, and reads, until end-of-file.
    """

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.sent = bytearray()
        self.received = bytearray()

    def run(self) -> None:
        """
        To be called in a thread; a reset is raised.
        """
        number = 0
        pending = b""
        with self.client:
            self.client.setblocking(False)
            while True:
                readable, writable, _ = select([self.client], [self.client], [], 20)
                if readable:
                    data = self.client.recv(1 << 16)
                    if not data:
                        return
                    self.received += data
                if writable:
                    if not pending:
                        pending = b"".join(
                            b"line %d\n" % n for n in range(number, number + 100)
                        )
                        number += 100
                    size = self.client.send(pending)
                    self.sent += pending[:size]
                    pending = pending[size:]


class StopTests(ServedTestCase):
    """
    What clients of real connections see of a stop.
    """

    async def underLoad(self, wrap, *endpoints):
        service = self.serve(_factory(), *endpoints)
        streams = [
            _Stream(await in_thread(wrap, self.client(service))) for _ in range(6)
        ]
        runs = gatherResults([in_thread(stream.run) for stream in streams])
        await until(lambda: all(len(stream.received) > 200_000 for stream in streams))
        results = await service.stopService()
        await runs
        self.assertEqual(len(results), 1 + 6)
        for (_, end), stream in zip(results[1:], streams, strict=True):
            self.assertIs(end.reason, EndReason.STOPPED)
            self.assertTrue(stream.sent.startswith(stream.received))
            self.assertTrue(stream.received.endswith(b"\n"))

    async def test_underLoad(self) -> None:
        """
        Clients in full flight get a whole-line prefix of what they sent, then
        end-of-file; never a reset.
        """
        await self.underLoad(lambda client: client)

    async def test_underLoadUNIX(self) -> None:
        """
        Likewise over a UNIX socket.
        """
        await self.underLoad(lambda client: client, f"unix:{self.mktemp()}")

    async def test_partialLine(self) -> None:
        """
        A line that is not whole when the service stops is not answered.
        """
        service = self.serve(_factory())
        session, client = await self.session(service)
        client.sendall(b"whole\nhalf")
        await until(lambda: session.bytesReceived)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        self.assertEqual(await reader, b"whole\n")

    async def test_idle(self) -> None:
        """
        An idle client, whose own end-of-file follows, ends with no deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        _, client = await self.session(service)
        reader = in_thread(read_to_end, client)
        await service.stopService()
        self.assertEqual(await reader, b"")
        self.assertEqual(clock.getDelayedCalls(), [])

    async def late(self, clock, service, session, client):
        """
        The stop does not fire before the deadline, and does then.
        """
        stopped = service.stopService()
        elapse(clock, service.factory.abortAfter - 0.1)
        for _ in range(5):
            await turn()
        self.assertNoResult(stopped)
        elapse(clock, 0.1)
        results = await stopped
        self.assertEqual(results[1], (True, session.end))
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(service.factory.sessions, {})

    async def test_neverReads(self) -> None:
        """
        A peer that has sent megabytes and reads nothing is aborted at the
        deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        client = self.client(service, receive_buffer=65536)
        await in_thread(stick, client, b"a line of sixteen\n" * 2_000_000)
        (session,) = service.factory.sessions
        self.assertTrue(session.paused)
        await self.late(clock, service, session, client)

    async def test_ignoresEndOfFile(self) -> None:
        """
        A peer that keeps its side open is aborted at the deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        session, client = await self.session(service)
        await self.late(clock, service, session, client)
        self.assertEqual(await in_thread(client.recv, 1), b"")

    async def test_keepsSending(self) -> None:
        """
        A peer that goes on sending after end-of-file is read, and aborted at
        the deadline.
        """
        clock = Clock()
        service = self.serve(_factory(clock))
        session, client = await self.session(service)

        def flood() -> int:
            sent = 0
            try:
                while True:
                    sent += client.send(b"more\n" * 10_000)
            except (ConnectionResetError, BrokenPipeError):
                return sent

        flooding = in_thread(flood)
        await until(lambda: session.bytesReceived > 1_000_000)
        await self.late(clock, service, session, client)
        self.assertGreater(await flooding, 1_000_000)

    async def test_silentHandshake(self) -> None:
        """
        A TLS client that has not shaken hands does not delay the stop.
        """
        clock = Clock()
        service = self.serve(_factory(clock), tls_endpoint())
        await self.session(service)
        stopped = service.stopService()
        elapse(clock, service.factory.abortAfter)
        await stopped

    async def test_tls(self) -> None:
        """
        A TLS client gets its answers and C{close_notify}.
        """
        service = self.serve(_factory(), tls_endpoint())
        _, client = await self.session(service)
        client = await in_thread(tls, client)
        client.sendall(b"a\nb")
        self.assertEqual(await in_thread(collect, client, 2), b"a\n")
        reader = in_thread(read_to_end, client)
        results = await service.stopService()
        self.assertEqual(await reader, b"")
        self.assertIs(results[1][1].reason, EndReason.STOPPED)

    async def test_inBacklog(self) -> None:
        """
        Clients that the kernel has connected, but the service has not accepted
        yet, see end-of-file and no reset.
        """
        service = self.serve(_factory())
        clients = [self.client(service) for _ in range(40)]
        self.assertEqual(service.factory.sessions, {})
        stopped = service.stopService()
        self.assertEqual(len(service.factory.sessions), 40)
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"")
        await stopped
        self.assertEqual(service.factory.sessions, {})

    async def test_atTheVeryMoment(self) -> None:
        """
        Of clients that connect while the stop goes on, each sees end-of-file, or
        is refused: none is reset.
        """
        service = self.serve(_factory())
        (address,) = service.addresses
        begun = Event()

        def hammer() -> list[bytes]:
            replies = []
            try:
                while True:
                    client = connect(address)
                    begun.set()
                    replies.append(read_to_end(client))
            except ConnectionRefusedError:
                return replies

        hammers = [in_thread(hammer) for _ in range(4)]
        await in_thread(begun.wait)
        service.factory.closing = EndReason.STOPPED
        await service.stopService()
        # Some may have come too late for their first, but not all.
        replies = [reply for each in hammers for reply in await each]
        self.assertEqual(set(replies), {b""})
        self.assertEqual(service.factory.sessions, {})

    async def test_sameBatch(self) -> None:
        """
        A stop in the middle of a batch of accepted connections: those that come
        after it in the batch are closed in order, and waited for.
        """
        await self.stoppedBySessions(1)

    async def test_sameBatchTwice(self) -> None:
        """
        Likewise if each of them stops the service.
        """
        await self.stoppedBySessions(10)

    async def stoppedBySessions(self, times):
        stops = []
        left = [None] * times

        class Stopping(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                if left:
                    left.pop()
                    stops.append(service.stopService())

        service = self.serve(SessionFactory.forProtocol(Stopping))
        clients = [self.client(service) for _ in range(10)]
        await until(lambda: not left)
        for client in clients:
            self.assertEqual(await in_thread(read_to_end, client), b"")
        self.addCleanup(self.flushLoggedErrors, AssertionError)
        self.assertEqual(len(stops), times)
        await DeferredList(stops)
        self.assertIs(service.state, State.STOPPED)
        self.assertEqual(service.factory.sessions, {})

    async def test_fromALine(self) -> None:
        """
        A line that stops the service is answered, and so are those after it in
        its chunk.
        """
        stops = []

        class Stopping(EchoProtocol):
            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                if line == b"stop":
                    stops.append(service.stopService())

            def blockReceived(self, block: bytes) -> object:
                return super(EchoProtocol, self).blockReceived(block)

        service = self.serve(SessionFactory.forProtocol(Stopping))
        _, client = await self.session(service)
        client.sendall(b"a\nstop\nb\n")
        self.assertEqual(await in_thread(read_to_end, client), b"a\nstop\nb\n")
        await stops[0]

    async def test_graceNewcomers(self) -> None:
        """
        In the time of grace nobody new is accepted, and who is there is served.
        """
        service = self.serve(_factory(), grace=HOURS)
        (address,) = service.addresses
        _, client = await self.session(service)
        stopped = service.stopService()
        await turn()
        await turn()
        self.assertRaises(ConnectionRefusedError, connect, address)
        self.assertEqual(await in_thread(pump, client, b"bye\n"), b"bye\n")
        results = await stopped
        self.assertIn(results[1][1].reason, LEFT)

    async def test_answerInFlight(self) -> None:
        """
        An answer that is still to come is waited for.
        """
        answers: list[Deferred[None]] = []

        class Slow(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                answer: Deferred[None] = Deferred()
                answer.addCallback(lambda _: self.transport.write(block))
                answers.append(self.answerLater(answer))

        service = self.serve(SessionFactory.forProtocol(Slow))
        _, client = await self.session(service)
        client.sendall(b"slow\n")
        await until(lambda: answers)
        reader = in_thread(read_to_end, client)
        stopped = service.stopService()
        await turn()
        answers[0].callback(None)
        self.assertEqual(await reader, b"slow\n")
        await stopped

    async def test_otherFactory(self) -> None:
        """
        A port in somebody else's hands is no business of the service.
        """
        other = await serverFromString(reactor, TCP).listen(Factory())
        self.addCleanup(other.stopListening)
        service = self.serve(_factory())
        await service.stopService()
        connect(other.getHost()).close()
