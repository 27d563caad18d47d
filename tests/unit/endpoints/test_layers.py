"""
L{twisted_echo.endpoints.layers}: what is counted, refused, timed and stopped under
sessions.
"""

import socket
import ssl
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    FakeEndpoint,
    collect,
    connect,
    in_thread,
    read_to_end,
    until,
)
from tests.support.tlsclient import TLSClient, TLSTestCase
from twisted_echo import EchoConfig, EchoFactory, EchoProtocol, EndReason
from twisted_echo.endpoints.layer_factory import LayerFactory
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.layers import Layer
from twisted_echo.endpoints.proxy_layer import ProxyFactory
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.session.bounds.limits import Deadlines, Limits, WhenFull
from twisted_echo.testing.clocks import elapse


def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


PROXY = b"PROXY TCP4 192.0.2.%d 198.51.100.1 4000 7\r\n"


class FactoryTests(SynchronousTestCase):
    def test_keeper(self) -> None:
        """
        However many layers there are, the factory of the sessions keeps them.
        """
        sessionFactory = EchoFactory(EchoConfig(), clock=Clock())
        certificates = _context()
        factory = ProxyFactory(TLSFactory(LayerFactory(sessionFactory), certificates))
        self.assertIs(factory.sessionFactory, sessionFactory)
        self.assertIs(factory.wrappedFactory.sessionFactory, sessionFactory)

    def test_otherFactory(self) -> None:
        """
        A layer needs somebody who records its connections.
        """
        other = Factory.forProtocol(Protocol)
        for make in (
            LayerFactory,
            ProxyFactory,
            lambda other: TLSFactory(other, _context()),
        ):
            with self.assertRaisesRegex(TypeError, "a SessionFactory, got <"):
                make(other)

    def test_endpoint(self) -> None:
        """
        What is put under is nearer to the connection.
        """
        inner = FakeEndpoint()

        def wrap(name: str) -> Any:
            return lambda factory: (name, factory)

        endpoint = LayeredEndpoint(inner, wrap("upper"))
        lower = endpoint.withInnerLayer(wrap("lower"))
        verifyObject(IStreamServerEndpoint, lower)
        self.successResultOf(endpoint.listen("sessions"))  # type: ignore[arg-type]
        self.assertEqual(inner.ports[0].factory, ("upper", "sessions"))
        self.successResultOf(lower.listen("sessions"))  # type: ignore[arg-type]
        self.assertEqual(inner.ports[1].factory, ("lower", ("upper", "sessions")))

    def test_halfClose(self) -> None:
        """
        A layer takes half-closes from its transport.
        """
        factory = ProxyFactory(EchoFactory(EchoConfig(), clock=Clock()))
        verifyObject(IHalfCloseableProtocol, Layer(factory, Protocol()))

    def test_deadlineIsOfTheConnection(self) -> None:
        """
        The time for a handshake is one for all layers, and each connection's own,
        in whatever order they come to their handshakes.
        """
        clock = Clock()
        config = EchoConfig(deadlines=Deadlines(handshake=10))
        sessionFactory = EchoFactory(config, clock=clock)
        factory = ProxyFactory(TLSFactory(sessionFactory, _context()))

        def connected() -> tuple[Any, Any]:
            transport = StringTransport()
            layer = factory.buildProtocol(None)
            layer.makeConnection(transport)
            return layer, transport

        elapse(clock, 1)
        first, itsTransport = connected()
        elapse(clock, 5)
        _, otherTransport = connected()
        # It begins with its TLS after the other began with its header.
        elapse(clock, 2)
        first.dataReceived(PROXY % 1)
        for _ in range(30):
            elapse(clock, 0.1)
        self.assertFalse(itsTransport.disconnected)
        self.assertFalse(itsTransport.disconnecting)
        for _ in range(25):
            elapse(clock, 0.1)
        self.assertTrue(itsTransport.disconnecting)
        self.assertFalse(otherTransport.disconnecting)


class LimitTests(TLSTestCase):
    """
    Limits behind layers.
    """

    def factory(self, **limits: Any) -> EchoFactory:
        return EchoFactory(EchoConfig(limits=Limits(**limits), abortAfter=600))

    async def is_closed(self, client: socket.socket) -> None:
        """
        The server closes, without a byte.
        """

        def read() -> bytes:
            try:
                return client.recv(1)
            except ConnectionResetError:
                return b""

        self.assertEqual(await in_thread(read), b"")

    async def test_refusedWhenFull(self) -> None:
        """
        One that is too many is closed at once, before any handshake, and counted
        once; when there is room again, the next is served.
        """
        for kind, before in (
            ("ssl", b""),
            ("haproxy:ssl", PROXY % 1),
        ):
            factory = self.factory(sessions=2, whenFull=WhenFull.REFUSE)
            service = self.serve_tls(factory, kind)
            _, first = await self.shaken_session(service, before=before)
            # One that is still shaking hands counts as well.
            second = self.raw(service)
            await until(lambda: factory.handshakes)  # noqa: B023
            third = self.raw(service)
            await self.is_closed(third)
            self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1}, kind)
            self.assertEqual((factory.opened, len(factory.handshakes)), (1, 1))
            second.close()
            await until(lambda: not factory.handshakes)  # noqa: B023
            fourth = await self.shaken(service, before=before)
            self.assertEqual(await in_thread(fourth.pump, b"x"), b"x")
            self.assertEqual(await in_thread(first.pump, b"x"), b"x")
            self.assertEqual(factory.refused[EndReason.REFUSED_FULL], 1)
            await until(lambda: not factory.sessions)  # noqa: B023
            await service.stopService()

    async def test_refusedAfterTheHandshake(self) -> None:
        """
        One that turns out to be too many when its handshake is done is closed at
        once too, even if its client does not answer the farewell.
        """
        factory = self.factory(sessions=2, whenFull=WhenFull.REFUSE)
        service = self.serve_tls(factory)
        _, first = await self.shaken_session(service)
        second = TLSClient(self.raw(service))
        await until(lambda: factory.handshakes)
        factory.limits = Limits(sessions=1, whenFull=WhenFull.REFUSE)
        await in_thread(second.shake)
        self.assertEqual(await in_thread(second.read_to_end), b"")
        self.assertTrue(second.farewell)
        self.assertEqual(factory.refused, {EndReason.REFUSED_FULL: 1})
        self.assertEqual(factory.opened, 1)
        self.assertEqual(await in_thread(first.pump, b"x"), b"x")

    async def test_refusedAfterTheHeader(self) -> None:
        """
        The same behind a PROXY header, with data of the client's behind it.
        """
        factory = self.factory(sessionsPerPeer=1)
        service = self.serve_tls(factory, "haproxy:tcp")
        first, second = self.raw(service), self.raw(service)
        first.sendall(PROXY % 1 + b"a\n")
        self.assertEqual(await in_thread(collect, first, 2), b"a\n")
        second.sendall(PROXY % 1 + b"a\n")
        await self.is_closed(second)
        self.assertEqual(factory.refused, {EndReason.REFUSED_PEER: 1})

    async def test_peerIsTheAnnounced(self) -> None:
        """
        The limit for one peer counts whom the proxy announces, not the proxy; and
        counts a connection once, whether it shakes hands or is a session.
        """
        for kind in "haproxy:tcp", "haproxy:ssl":
            factory = self.factory(sessionsPerPeer=2)
            service = self.serve_tls(factory, kind)
            clients = []
            for peer in 1, 2, 1, 2:
                client = self.raw(service)
                client.sendall(PROXY % peer)
                if kind == "haproxy:ssl":
                    await in_thread(TLSClient(client).shake)
                clients.append(client)
            await until(lambda: len(factory.sessions) == 4)  # noqa: B023
            self.assertEqual(factory.refused, {})
            third = self.raw(service)
            third.sendall(PROXY % 2)
            await self.is_closed(third)
            self.assertEqual(factory.refused, {EndReason.REFUSED_PEER: 1}, kind)
            clients[1].close()
            await until(lambda: len(factory.sessions) == 3)  # noqa: B023
            again = self.raw(service)
            again.sendall(PROXY % 2)
            if kind == "haproxy:ssl":
                await in_thread(TLSClient(again).shake)
            await until(lambda: len(factory.sessions) == 4)  # noqa: B023
            for client in (*clients, again):
                client.close()
            await until(lambda: not factory.sessions)  # noqa: B023
            self.assertEqual(factory.admission.peers, {})
            await service.stopService()

    async def test_peerWhileShakingHands(self) -> None:
        """
        A connection counts for its peer from its first moment.
        """
        factory = self.factory(sessionsPerPeer=1)
        service = self.serve_tls(factory)
        first = self.raw(service)
        await until(lambda: factory.handshakes)
        await self.is_closed(self.raw(service))
        self.assertEqual(factory.refused, {EndReason.REFUSED_PEER: 1})
        first.close()
        await until(lambda: not factory.handshakes)
        second = await self.shaken(service)
        self.assertEqual(await in_thread(second.pump, b"x"), b"x")

    async def test_gateReopens(self) -> None:
        """
        Those that wait for room come in when a connection ends, however it does:
        as a session, by a failed handshake, or refused for its peer.
        """
        for kind, before in ("ssl", b""), ("haproxy:ssl", PROXY % 1):
            factory = self.factory(sessions=1)
            service = self.serve_tls(factory, kind)
            holding = self.raw(service)
            await until(lambda: factory.handshakes)  # noqa: B023
            waiting = TLSClient(self.raw(service))
            waiting.socket.sendall(before)
            shaking = in_thread(waiting.shake)
            holding.sendall(b"no handshake\r\n")
            await shaking
            self.assertEqual(await in_thread(waiting.pump, b"x"), b"x")
            last = await self.shaken(service, before=before)
            self.assertEqual(await in_thread(last.pump, b"x"), b"x")
            self.assertEqual(factory.opened, 2)
            self.assertEqual(factory.refused.total(), 1)
            await until(lambda: not factory.sessions)  # noqa: B023
            await service.stopService()

    async def test_gateReopensForRefused(self) -> None:
        factory = self.factory(sessions=2, sessionsPerPeer=1)
        service = self.serve_tls(factory, "haproxy:tcp")
        first, second = self.raw(service), self.raw(service)
        first.sendall(PROXY % 1)
        await until(lambda: len(factory.sessions) + len(factory.handshakes) == 2)
        third = self.raw(service)
        third.sendall(PROXY % 3 + b"x\n")
        second.sendall(PROXY % 1)
        self.assertEqual(await in_thread(collect, third, 2), b"x\n")
        self.assertEqual(factory.refused, {EndReason.REFUSED_PEER: 1})

    async def test_gateReopensForFailed(self) -> None:
        """
        A protocol that fails before it is a session leaves room for another.
        """
        failures = [ZeroDivisionError("the first")]

        class Failing(EchoProtocol):
            def connectionMade(self) -> None:
                if failures:
                    raise failures[0]
                super().connectionMade()

        factory = self.factory(sessions=1)
        factory.protocol = Failing
        service = self.serve_tls(factory, "haproxy:tcp")
        with capturedLogs():
            self.raw(service).sendall(PROXY % 1)
            await until(lambda: self.flushLoggedErrors(ZeroDivisionError))
            failures.clear()
        self.assertEqual(factory.refused, {EndReason.ERROR: 1})
        second = self.raw(service)
        second.sendall(PROXY % 1 + b"x\n")
        self.assertEqual(await in_thread(collect, second, 2), b"x\n")


class StopTests(TLSTestCase):
    """
    A stop, while there are connections that are not sessions yet.
    """

    async def test_acceptedLast(self) -> None:
        """
        One that is accepted while the port closes, and is silent, does not hold
        the stop up.
        """
        factory = EchoFactory(
            EchoConfig(deadlines=Deadlines(handshake=0), abortAfter=0.2)
        )
        path = self.mktemp()
        listening = parseEndpoint(reactor, f"haproxy:unix:{path}")
        service = self.serve(factory, listening.endpoint, grace=600)
        (address,) = service.addresses
        early = connect(address)
        self.addCleanup(early.close)
        await until(lambda: factory.handshakes)
        stopped = service.stopService()
        late = connect(address)
        self.addCleanup(late.close)
        await stopped
        self.assertEqual(factory.refused, {EndReason.STOPPED: 2})
        self.assertEqual(factory.handshakes, {})

    async def test_grace(self) -> None:
        """
        Sessions have their time of grace; what is none yet has not.
        """
        factory = EchoFactory(EchoConfig())
        service = self.serve_tls(factory, grace=600)
        session, client = await self.shaken_session(service)
        silent = self.raw(service)
        await until(lambda: factory.handshakes)
        stopped = service.stopService()
        self.assertEqual(await in_thread(read_to_end, silent), b"")
        await until(lambda: not factory.handshakes)
        self.assertIsNone(session.end)
        self.assertEqual(await in_thread(client.pump, b"x"), b"x")
        await stopped
        self.assertEqual(factory.refused, {EndReason.STOPPED: 1})

    async def test_closing(self) -> None:
        """
        What becomes a session after the sessions were closed is closed in order.
        """
        factory = EchoFactory(EchoConfig())
        service = self.serve_tls(factory, "haproxy:tcp")
        client = self.raw(service)
        await until(lambda: factory.handshakes)
        factory.closeSessions(EndReason.STOPPED)
        client.sendall(PROXY % 1)
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await until(lambda: not factory.sessions)
        self.assertEqual(factory.ended, {EndReason.STOPPED: 1})

    async def test_receiverRaises(self) -> None:
        """
        A protocol that raises an exception gets nothing more, and its session has
        ended, with an error.
        """
        calls: list[bytes] = []

        class Broken(EchoProtocol):
            def blockReceived(self, block: bytes) -> None:
                calls.append(block)
                raise ZeroDivisionError

        for kind, before in ("ssl", b""), ("haproxy:ssl", PROXY % 1):
            factory = EchoFactory(EchoConfig())
            factory.protocol = Broken
            service = self.serve_tls(factory, kind)
            _, client = await self.shaken_session(service, before=before)
            client.send(b"first\n", b"second\n", farewell=True)
            await until(lambda: factory.ended)  # noqa: B023
            self.assertEqual(factory.ended, {EndReason.ERROR: 1}, kind)
            self.assertEqual(factory.sessions, {})
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(calls, [b"first\nsecond\n"] * 2)

    async def test_protocolRaises(self) -> None:
        """
        A session that cannot begin is an error, in the log and in the books.
        """

        class Broken(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                raise ZeroDivisionError

        for kind, before in ("ssl", b""), ("haproxy:tcp", PROXY % 1):
            factory = EchoFactory(EchoConfig())
            factory.protocol = Broken
            service = self.serve_tls(factory, kind)
            client = self.raw(service)
            client.sendall(before)
            if kind == "ssl":
                shaking = in_thread(TLSClient(client).shake)
                shaking.addErrback(lambda failure: None)
            await until(lambda: factory.ended)  # noqa: B023
            self.assertEqual(factory.ended, {EndReason.ERROR: 1}, kind)
            self.assertEqual((factory.sessions, factory.handshakes), ({}, {}))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_factoryRaises(self) -> None:
        """
        A session that cannot be made is an error too, and counted as refused.
        """

        class Broken(EchoFactory):
            def buildProtocol(self, addr: Any) -> Any:
                raise ZeroDivisionError

        factory = Broken(EchoConfig())
        service = self.serve_tls(factory, "haproxy:tcp")
        self.raw(service).sendall(PROXY % 1)
        await until(lambda: factory.refused)
        self.assertEqual(factory.refused, {EndReason.ERROR: 1})
        self.assertEqual((factory.sessions, factory.handshakes), ({}, {}))
        await until(lambda: self.flushLoggedErrors(ZeroDivisionError))

    async def test_log(self) -> None:
        """
        What was refused is told once, and at the stop in sum.
        """
        factory = EchoFactory(EchoConfig())
        service = self.serve_tls(factory)
        with capturedLogs() as events:
            self.raw(service).close()
            await until(lambda: factory.refused)
            await service.stopService()
        told = [each for each in events if "refused:" in each["log_format"]]
        self.assertEqual([each["reason"] for each in told], ["handshake-failed"])
        (stop,) = [each for each in events if "served" in each]
        self.assertEqual(stop["refused"], {"handshake-failed": 1})
