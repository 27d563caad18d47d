"""
L{twisted_echo.service}: listening, suspending and stopping.
"""

import os
import socket
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.error import (
    AlreadyListened,
    CannotListenError,
)
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    TCP,
    FakeEndpoint,
    PausablePort,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    turn,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    IllegalTransition,
    SessionFactory,
    SessionService,
    State,
)
from twisted_echo.stop import GIVE_UP_AFTER
from twisted_echo.testing.clocks import elapse


class Broken(Exception):
    """
    What a fake endpoint fails with.
    """


def _factory(clock: Any = None, **config: Any) -> EchoFactory:
    return EchoFactory(EchoConfig(**config), clock=clock)


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

    def test_portsWhenGivenUp(self) -> None:
        """
        When those who wait for a start learn that it is given up, the ports that
        listened already are closed.
        """
        early, late = FakeEndpoint(), FakeEndpoint(later=True)
        service = self.service(early, late)
        service.startService()
        seen: list[Any] = []

        def failed(failure: Any) -> None:
            failure.trap(IllegalTransition)
            seen.append(([port.closed for port in early.ports], service.addresses))

        service.whenListening().addErrback(failed)
        service.stopService()
        self.assertEqual(seen, [([1], [])])

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
        elapse(self.clock, GIVE_UP_AFTER)
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
        What is not an endpoint is told at once, and what would be one.
        """
        for wrong in ("7008", "", "unix:", "foo:1", "ssl:port="):
            with self.assertRaisesRegex(
                ValueError, f"'{wrong}' is not an endpoint: .*; such as tcp:7007"
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
