"""
L{twisted_echo.endpoints.ports}: all ports or none, paused, closed.
"""

import os
import resource
import socket
from typing import Any

from twisted.internet import reactor, tcp
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.internet.error import AlreadyListened
from twisted.internet.interfaces import (
    IListeningPort,
    IPushProducer,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    FakeEndpoint,
    FakePort,
    PausablePort,
    ServedTestCase,
    connect,
    in_thread,
    turn,
    until,
)
from twisted_echo import EchoFactory, SessionService
from twisted_echo.endpoints.listener import Listener
from twisted_echo.endpoints.ports import Listeners
from twisted_echo.testing.clocks import elapse


class Broken(Exception):
    """
    What a fake endpoint fails with.
    """


class ListenersTests(SynchronousTestCase):
    """
    L{Listeners} over fake endpoints.
    """

    def listeners(self, *endpoints: Any) -> Listeners:
        self.factory = Factory()
        return Listeners(endpoints, self.factory)

    def test_fakes(self) -> None:
        """
        The fakes of these tests are what they pretend to be.
        """
        verifyObject(IStreamServerEndpoint, FakeEndpoint())
        verifyObject(IListeningPort, FakePort(None))
        verifyObject(IPushProducer, PausablePort(None))

    def test_open(self) -> None:
        """
        All endpoints listen, for the factory; the ports are in their order.
        """
        first, second = FakeEndpoint(later=True), FakeEndpoint()
        listeners = self.listeners(first, second)
        opened = listeners.open()
        self.assertNoResult(opened)
        first.settle()
        self.assertIs(self.successResultOf(opened), None)
        self.assertEqual(listeners.ports, [first.ports[0], second.ports[0]])
        self.assertIs(first.ports[0].factory, self.factory)

    def test_openAgain(self) -> None:
        """
        An endpoint that has a port is not asked again.
        """
        endpoint = FakeEndpoint()
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        self.successResultOf(listeners.open())
        self.assertEqual(len(endpoint.attempts), 1)

    def test_oneFailsAtOnce(self) -> None:
        """
        If an endpoint fails, those before it are closed and those after it are
        not tried.
        """
        first, bad, last = FakeEndpoint(), FakeEndpoint(error=Broken()), FakeEndpoint()
        listeners = self.listeners(first, bad, last)
        self.failureResultOf(listeners.open(), Broken)
        self.assertEqual([port.closed for port in first.ports], [1])
        self.assertEqual(last.attempts, [])
        self.assertEqual(listeners.ports, [] * 3)

    def test_oneRaises(self) -> None:
        """
        An endpoint that raises instead of failing is treated alike.
        """

        class Raising(FakeEndpoint):
            def listen(self, protocolFactory: Any) -> Any:
                raise Broken

        first = FakeEndpoint()
        self.failureResultOf(self.listeners(first, Raising()).open(), Broken)
        self.assertEqual(first.ports[0].closed, 1)

    def test_oneFailsLater(self) -> None:
        """
        If an endpoint fails later, all others are closed, those too that listen
        later still.
        """
        first = FakeEndpoint()
        bad = FakeEndpoint(later=True, error=Broken())
        last = FakeEndpoint(later=True)
        listeners = self.listeners(first, bad, last)
        opened = listeners.open()
        bad.settle()
        self.assertNoResult(opened)
        last.settle()
        self.failureResultOf(opened, Broken)
        self.assertEqual([first.ports[0].closed, last.ports[0].closed], [1, 1])
        self.assertEqual(listeners.ports, [] * 3)

    def test_suspendPauses(self) -> None:
        """
        A port that can be paused is, and goes on afterwards.
        """
        endpoint = FakeEndpoint(PausablePort)
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        self.successResultOf(listeners.suspend())
        (port,) = endpoint.ports
        self.assertTrue(port.paused)
        self.successResultOf(listeners.resume())
        self.assertFalse(port.paused)
        self.assertEqual((port.closed, len(endpoint.attempts)), (0, 1))

    def test_suspendCloses(self) -> None:
        """
        A port that cannot be paused is closed, and its endpoint listens again
        once that is done.
        """
        endpoint = FakeEndpoint()
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        (port,) = endpoint.ports
        port.closing = Deferred()
        suspended = listeners.suspend()
        self.assertNoResult(suspended)
        resumed = listeners.resume()
        self.assertNoResult(resumed)
        self.assertEqual(len(endpoint.attempts), 1)
        port.closing.callback(None)
        self.successResultOf(suspended)
        self.successResultOf(resumed)
        self.assertEqual(listeners.ports, [endpoint.ports[1]])

    def test_resumeFails(self) -> None:
        """
        If one cannot listen again, the others stay suspended.
        """
        pausable = FakeEndpoint(PausablePort)
        adopted = FakeEndpoint()
        listeners = self.listeners(pausable, adopted)
        self.successResultOf(listeners.open())
        self.successResultOf(listeners.suspend())
        adopted.error = AlreadyListened()
        self.failureResultOf(listeners.resume(), AlreadyListened)
        self.assertTrue(pausable.ports[0].paused)
        self.assertEqual(pausable.ports[0].closed, 0)
        adopted.error = None
        self.successResultOf(listeners.resume())
        self.assertFalse(pausable.ports[0].paused)

    def test_close(self) -> None:
        """
        There is one Deferred for each endpoint, each port is closed once, and
        closing again waits for the same.
        """
        endpoints = FakeEndpoint(), FakeEndpoint(PausablePort)
        listeners = self.listeners(*endpoints)
        self.successResultOf(listeners.open())
        slow = endpoints[0].ports[0]
        slow.closing = Deferred()
        first, second = listeners.close()
        self.successResultOf(second)
        self.assertNoResult(first)
        again = DeferredList(listeners.close())
        self.assertNoResult(again)
        slow.closing.callback(None)
        self.successResultOf(first)
        self.successResultOf(again)
        self.assertEqual([endpoint.ports[0].closed for endpoint in endpoints], [1, 1])

    def test_closeUnopened(self) -> None:
        """
        What never listened is closed already.
        """
        for closed in self.listeners(FakeEndpoint(), FakeEndpoint()).close():
            self.successResultOf(closed)

    def test_closeRaises(self) -> None:
        """
        A port whose C{stopListening} raises does not keep the others open.
        """

        class Raising(FakePort):
            def stopListening(self) -> Any:
                raise Broken

        last = FakeEndpoint()
        listeners = self.listeners(FakeEndpoint(Raising), last)
        self.successResultOf(listeners.open())
        first, second = listeners.close()
        self.failureResultOf(first, Broken)
        self.successResultOf(second)
        self.assertEqual(last.ports[0].closed, 1)

    def test_closeWhileOpening(self) -> None:
        """
        To close while an endpoint is still trying closes the ports that listen
        already, and has the opening fail.
        """
        first = FakeEndpoint()
        slow = FakeEndpoint(later=True, canceller=lambda _: None)
        listeners = self.listeners(first, slow)
        opened = listeners.open()
        closed = listeners.close()
        if not slow.attempts[0].called:
            # It was not told to give up, which is the listeners' choice.
            slow.settle()
        self.failureResultOf(opened)
        self.successResultOf(DeferredList(closed))
        self.assertEqual(first.ports[0].closed, 1)
        self.assertTrue(all(port.closed for port in slow.ports))
        self.assertEqual(listeners.ports, [])

    def test_closeWhileOpeningUncancellable(self) -> None:
        """
        An endpoint that cannot be told to give up, and listens after all, has
        its port closed.
        """
        slow = FakeEndpoint(later=True)
        listeners = self.listeners(slow)
        opened = listeners.open()
        opened.addErrback(lambda failure: None)
        listeners.close()
        slow.settle()
        self.assertEqual(slow.ports[0].closed, 1)
        self.assertEqual(listeners.ports, [])

    def test_closeWhileResuming(self) -> None:
        """
        To close while a port is still being closed for a suspension, and is to
        listen again: it does not.
        """
        endpoint = FakeEndpoint()
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        (port,) = endpoint.ports
        port.closing = Deferred()
        listeners.suspend()
        listeners.resume().addErrback(lambda failure: None)
        listeners.close()
        port.closing.callback(None)
        self.assertTrue(all(port.closed for port in endpoint.ports))
        self.assertEqual(listeners.ports, [])

    def test_resumeTwice(self) -> None:
        """
        A second resumption, while an endpoint is still trying, tries nothing
        twice.
        """
        endpoint = FakeEndpoint()
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        self.successResultOf(listeners.suspend())
        endpoint.later = True
        first = listeners.resume()
        second = listeners.resume()
        endpoint.settle()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(endpoint.attempts), 2)

    def opened(self, *kinds: Any) -> tuple[Listeners, list[Any]]:
        """
        Listeners, and their ports.
        """
        endpoints = [FakeEndpoint(kind) for kind in kinds]
        listeners = self.listeners(*endpoints)
        self.successResultOf(listeners.open())
        return listeners, [endpoint.ports[0] for endpoint in endpoints]

    def test_shut(self) -> None:
        """
        Ports that can be paused are, and go on afterwards; to shut twice is as
        good as once.
        """
        listeners, ports = self.opened(PausablePort, PausablePort)
        self.assertTrue(listeners.shut())
        self.assertTrue(listeners.shut())
        self.assertEqual([port.paused for port in ports], [True, True])
        listeners.reopen()
        self.assertEqual([port.paused for port in ports], [False, False])
        self.assertEqual([port.closed for port in ports], [0, 0])

    def test_shutUnpausable(self) -> None:
        """
        Where one cannot be paused, this is told; it is not closed, and the others
        go on afterwards.
        """
        listeners, (pausable, other) = self.opened(PausablePort, FakePort)
        self.assertFalse(listeners.shut())
        self.assertTrue(pausable.paused)
        self.assertEqual(other.closed, 0)
        listeners.reopen()
        self.assertFalse(pausable.paused)

    def test_shutAndSuspended(self) -> None:
        """
        A port goes on when there is neither reason left, in whatever order they
        came and went.
        """
        for ends in ("reopen", "resume"), ("resume", "reopen"):
            for begins in ("shut", "suspend"), ("suspend", "shut"):
                listeners, (port,) = self.opened(PausablePort)
                for begin in begins:
                    getattr(listeners, begin)()
                for end in ends:
                    self.assertTrue(port.paused)
                    getattr(listeners, end)()
                self.assertFalse(port.paused)

    def test_shutWhileOpening(self) -> None:
        """
        A port that begins to listen while the others are shut is shut too.
        """
        first = FakeEndpoint(PausablePort)
        late = FakeEndpoint(PausablePort, later=True)
        listeners = self.listeners(first, late)
        listeners.open()
        listeners.shut()
        late.settle()
        self.assertTrue(late.ports[0].paused)
        listeners.reopen()
        self.assertFalse(late.ports[0].paused)

    def test_shutForgotten(self) -> None:
        """
        What was shut or suspended when it was closed, accepts when it is opened
        again.
        """
        endpoint = FakeEndpoint(PausablePort)
        listeners = self.listeners(endpoint)
        self.successResultOf(listeners.open())
        listeners.shut()
        listeners.suspend()
        listeners.close()
        self.successResultOf(listeners.open())
        self.assertFalse(endpoint.ports[1].paused)

    def test_cannotAcceptWhileClosing(self) -> None:
        """
        Out of descriptors while the backlog is emptied for the last time: the
        port is closed all the same.
        """

        class Exhausted(PausablePort, tcp.Port):
            reactor = Clock()
            socket = None
            backlog = 0
            connected = False

            def stopListening(self) -> Any:
                self._logger.info("no more", acceptError="EMFILE")
                return super().stopListening()

        listeners, (port,) = self.opened(Exhausted)
        (closed,) = listeners.close()
        self.successResultOf(closed)
        self.assertEqual(port.closed, 1)


class AcceptErrorTests(SynchronousTestCase):
    def test_each(self) -> None:
        """
        Each counts, though the log has one a minute; the port pauses for a second.
        """

        class Port(PausablePort, tcp.Port):
            reactor = clock = Clock()
            socket = None
            backlog = 0

        endpoint = FakeEndpoint(Port)
        listener = Listener(endpoint, Factory())
        self.successResultOf(listener.open())
        (port,) = endpoint.ports
        with capturedLogs() as events:
            for count in (1, 2, 3):
                port._logger.info("no", acceptError="EMFILE")
                port._logger.info("more", reserve="closed")
                self.assertEqual(listener.acceptErrors, count)
        (event,) = events
        self.assertEqual((event["event"], event["reason"]), ("accept-failed", "EMFILE"))
        self.assertTrue(port.paused)
        elapse(Port.clock, 1)
        self.assertFalse(port.paused)
        self.assertEqual(Port.clock.getDelayedCalls(), [])
        with capturedLogs() as events:
            port._logger.info("closed at once", address=None)
            elapse(Port.clock, 60)
            port._logger.info("no", acceptError="ENFILE")
        (event,) = events
        self.assertEqual(event["reason"], "ENFILE")
        self.assertEqual(listener.acceptErrors, 5)
        self.successResultOf(listener.close())
        self.assertEqual(Port.clock.getDelayedCalls(), [])


class DescriptorTests(ServedTestCase):
    """
    A process that has no descriptor left.
    """

    async def test_counted(self) -> None:
        """
        Each connection that cannot be accepted counts once, however much Twisted says
        of it.
        """
        service = self.serve(EchoFactory())
        await service.suspend()
        clients = [connect(service.addresses[0]) for _ in range(3)]
        for client in clients:
            self.addCleanup(client.close)
        # The reactor has descriptors of its own.
        await turn()
        free = os.dup(0)
        os.close(free)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        try:
            await service.resume()
            await until(lambda: service.snapshot().acceptErrors)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        counts = service.snapshot()
        self.assertEqual((counts.opened, counts.acceptErrors), (0, 3))
        for client in clients:
            self.assertEqual(await in_thread(client.recv, 100), b"")


class AdoptedTests(ServedTestCase):
    """
    A port whose socket somebody else keeps.
    """

    def setUp(self) -> None:
        self.kept = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.kept.close)
        self.kept.settimeout(0)

    def adopting(self) -> SessionService:
        """
        A service that listens on the socket.
        """
        copy = os.dup(self.kept.fileno())
        endpoint = AdoptedStreamServerEndpoint(reactor, copy, socket.AF_INET)
        return self.serve(EchoFactory(), endpoint)

    def connected(self) -> socket.socket:
        host, port = self.kept.getsockname()
        client = connect(IPv4Address("TCP", host, port))
        self.addCleanup(client.close)
        return client

    async def test_backlogIsLeft(self) -> None:
        """
        Who waits when it is closed, and who comes until the last turn before it is,
        waits for the next who listens.
        """
        for isSuspended in (False, True):
            service = self.adopting()
            if isSuspended:
                await service.suspend()
            clients = [self.connected()]
            stopped = service.stopService()
            clients.append(self.connected())
            await turn()
            clients.append(self.connected())
            await stopped
            self.assertEqual(service.factory.opened, 0)
            for client in clients:
                client.sendall(b"hello\n")
                served, peer = self.kept.accept()
                with served:
                    self.assertEqual(peer, client.getsockname())
                    self.assertEqual(await in_thread(served.recv, 100), b"hello\n")

    async def test_successor(self) -> None:
        """
        The next who listens serves them.
        """
        first = self.adopting()
        waiting = self.connected()
        waiting.sendall(b"hello\n")
        await first.stopService()
        self.adopting()
        self.assertEqual(await in_thread(waiting.recv, 100), b"hello\n")
