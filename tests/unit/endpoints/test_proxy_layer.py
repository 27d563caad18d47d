"""
L{twisted_echo.endpoints.proxy_layer}: connections that a proxy announces.
"""

import socket
from ipaddress import ip_address, ip_network
from typing import Any

from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs

from tests.support.clients import (
    LEFT,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    turn,
    until,
)
from tests.support.tlsclient import TLSClient, TLSTestCase
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EndReason,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.proxy_layer import ProxyFactory
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.session.session_log import LogSessions

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 7\r\n"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(family: int, block: bytes, command: int = 0x21) -> bytes:
    """
    A header of version 2.
    """
    size = len(block).to_bytes(2, "big")
    return SIGNATURE + bytes([command, family]) + size + block


def _packed(*hosts: str) -> bytes:
    return b"".join(ip_address(host).packed for host in hosts)


PORTS = b"\x0f\xa0\0\x07"
V2_TCP4 = v2(0x11, _packed("192.0.2.1", "198.51.100.1") + PORTS)
V2_TCP6 = v2(0x21, _packed("2001:db8::1", "2001:db8::2") + PORTS)
V2_UNIX = v2(0x31, b"/run/client".ljust(108, b"\0") + b"/run/echo".ljust(108, b"\0"))
V2_LOCAL = v2(0, b"", 0x20)

FROM4 = IPv4Address("TCP", "192.0.2.1", 4000)
TO4 = IPv4Address("TCP", "198.51.100.1", 7)
FROM6 = IPv6Address("TCP", "2001:db8::1", 4000)
TO6 = IPv6Address("TCP", "2001:db8::2", 7)

HEADERS = (
    (V1, FROM4, TO4),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 4000 7\r\n", FROM6, TO6),
    (b"PROXY UNKNOWN\r\n", None, None),
    (V2_TCP4, FROM4, TO4),
    (V2_TCP4[:14] + b"\0\x10" + V2_TCP4[16:] + b"\x04\0\x01x", FROM4, TO4),
    (V2_TCP6, FROM6, TO6),
    (V2_UNIX, UNIXAddress(b"/run/client"), UNIXAddress(b"/run/echo")),
    (V2_LOCAL, None, None),
)


class ProxyTestCase(TLSTestCase):
    def serve_proxy(
        self, factory: SessionFactory[Any] | None = None, *allowed: str
    ) -> SessionService:
        networks = [ip_network(each) for each in allowed]
        return self.serve_tls(factory, "haproxy:tcp", networks)

    async def ended(self, service: SessionService) -> None:
        factory = service.factory
        await until(lambda: not factory.sessions and not factory.handshakes)

    async def session_for(
        self, service: SessionService, data: bytes
    ) -> tuple[Any, socket.socket]:
        client = self.raw(service)
        client.sendall(data)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        return session, client


class PeerTests(ProxyTestCase):
    async def test_announced(self) -> None:
        """
        The peer is the one announced, wherever it is asked for.
        """
        service = self.serve_proxy()
        for header, peer, host in HEADERS:
            session, client = await self.session_for(service, header)
            own = client.getsockname(), client.getpeername()
            if peer is None:
                peer, host = (IPv4Address("TCP", *each) for each in own)
            self.assertEqual(session.peer, peer)
            self.assertEqual(session.transport.getPeer(), peer)
            self.assertEqual(session.transport.getHost(), host)
            self.assertEqual(await in_thread(pump, client, b"a\nb"), b"a\nb")
            await self.ended(service)
        self.assertEqual(service.factory.ended.total(), len(HEADERS))
        self.assertLessEqual(set(service.factory.ended), set(LEFT))

    async def test_overUnix(self) -> None:
        """
        A proxy that comes by a UNIX socket announces as well.
        """
        path = self.mktemp()
        listening = parseEndpoint(
            reactor, f"haproxy:unix:{path}", [ip_network("203.0.113.0/24")]
        )
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        client = connect(service.addresses[0])
        self.addCleanup(client.close)
        client.sendall(V2_TCP6)
        await until(lambda: service.factory.sessions)
        (session,) = service.factory.sessions
        self.assertEqual(session.peer, FROM6)
        self.assertEqual(await in_thread(pump, client, b"a\nb"), b"a\nb")
        # One that closes both directions at once has lost nothing.
        await self.ended(service)
        service.factory.ended.clear()
        client = connect(service.addresses[0])
        client.sendall(V2_TCP6)
        await until(lambda: service.factory.sessions)
        client.close()
        await self.ended(service)
        self.assertEqual(service.factory.ended, {EndReason.PEER_CLOSED: 1})

    async def test_factoryAndLog(self) -> None:
        """
        The factory is asked for a protocol for the announced peer, and the log
        tells of that.
        """
        asked: list[Any] = []

        class Asked(EchoFactory):
            def buildProtocol(self, addr: Any) -> Any:
                asked.append(addr)
                return super().buildProtocol(addr)

        factory = Asked(EchoConfig(logSessions=LogSessions.ALL))
        service = self.serve_proxy(factory)
        with capturedLogs() as events:
            for header, *_ in HEADERS[:2]:
                client = self.raw(service)
                client.sendall(header)
                await in_thread(pump, client, b"x")
            await self.ended(service)
        self.assertEqual(asked, [FROM4, FROM6])
        told = [each["peer"] for each in events if "session of" in each["log_format"]]
        self.assertEqual(told, ["192.0.2.1:4000", "[2001:db8::1]:4000"])

    async def test_unixPathInLog(self) -> None:
        """
        Newlines and control bytes of an announced path are escaped in the log.
        """
        service = self.serve_proxy(EchoFactory(EchoConfig(logSessions=LogSessions.ALL)))
        path = b"/\nFAKE \x1b[2J\xff"
        header = v2(0x31, path.ljust(108, b"\0") + bytes(108))
        with capturedLogs() as events:
            client = self.raw(service)
            client.sendall(header)
            self.assertEqual(await in_thread(pump, client, b"x"), b"x")
            await self.ended(service)
        (told,) = [each for each in events if "session of" in each["log_format"]]
        self.assertTrue(told["peer"].isprintable() and told["peer"].isascii())
        self.assertIn(r"/\nFAKE", told["peer"])

    async def test_countsFor(self) -> None:
        """
        C{Limits.sessionsPerPeer} counts who is announced: a host, or the path of a UNIX
        socket. An announced client without a path is not counted. A header that
        announces nobody counts for the proxy.
        """
        nobody = v2(0x31, bytes(216))
        for header, isCounted in (
            (V1, True),
            (V2_UNIX, True),
            (nobody, False),
            (V2_LOCAL, True),
        ):
            factory: SessionFactory[Any] = EchoFactory(
                EchoConfig(limits=Limits(sessionsPerPeer=1))
            )
            service = self.serve_proxy(factory)
            await self.session_for(service, header)
            client = self.raw(service)
            client.sendall(header)
            if isCounted:
                await until(lambda: factory.refused)  # noqa: B023
                self.assertEqual(factory.refused, {EndReason.REFUSED_PEER: 1})
            else:
                await until(lambda: len(factory.sessions) == 2)  # noqa: B023
            # Another one is welcome.
            client = self.raw(service)
            client.sendall(V2_TCP6)
            before = factory.opened
            await until(lambda: factory.opened > before)  # noqa: B023
            factory.abortSessions()
            await self.ended(service)
            self.assertFalse(factory.admission.peers)

    async def test_beforeTLS(self) -> None:
        """
        The header is in the clear, before TLS; and TLS before the header is none.
        """
        service = self.serve_tls(None, "haproxy:ssl")
        for header, peer, _ in HEADERS:
            session, client = await self.shaken_session(service, before=header)
            if peer is not None:
                self.assertEqual(session.peer, peer)
            self.assertEqual(await in_thread(client.pump, b"a\nb"), b"a\nb")
            self.assertTrue(client.farewell)
            await self.ended(service)
        raw = self.raw(service)
        raw.sendall(TLSClient(raw).hello())
        await until(lambda: service.factory.refused)
        self.assertEqual(service.factory.refused, {EndReason.BAD_PROXY_HEADER: 1})

    async def test_helloWithTheHeader(self) -> None:
        """
        The first bytes of TLS may come with the header, and everything up to the
        farewell behind it is answered.
        """
        service = self.serve_tls(None, "haproxy:ssl")
        for size in 1, 15_000, 3_000_000:
            data = b"x" * 999 + b"\n"
            data = data * (size // 1000) + b"y" * (size % 1000)
            raw = self.raw(service)
            client = TLSClient(raw)
            raw.sendall(V2_TCP4 + client.hello())
            await in_thread(client.shake)
            self.assertTrue(await in_thread(client.pump, data) == data, size)
            self.assertTrue(client.farewell)


class CutTests(ProxyTestCase):
    async def test_everyByte(self) -> None:
        """
        However a header is cut in two, it is one; and its first part is none.
        """
        factory = EchoFactory(EchoConfig(keepAlive=None))
        service = self.serve_proxy(factory)
        (port,) = service._listeners.ports
        for header, peer, _ in HEADERS:
            for cut in range(1, len(header)):
                layer = port.factory.buildProtocol(None)
                transport = StringTransport(peerAddress=TO4)
                layer.makeConnection(transport)
                layer.dataReceived(header[:cut])
                self.assertEqual(factory.sessions, {}, (header, cut))
                layer.dataReceived(header[cut:] + b"a\n")
                (session,) = factory.sessions
                self.assertEqual(session.peer, peer or TO4)
                self.assertEqual(transport.value(), b"a\n")
                self.assertEqual(factory.handshakes, {})
                session.connectionLost()
        self.assertEqual(factory.refused, {})

    async def test_byteByByte(self) -> None:
        """
        The same from a real client that sends single bytes, for a header and what
        follows it.
        """
        service = self.serve_proxy()
        for header, *_ in HEADERS:
            client = self.raw(service)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in header + b"a\nrest":
                client.send(bytes([byte]))
                await turn()
            self.assertEqual(await in_thread(pump, client, b""), b"a\nrest")
        self.assertEqual(service.factory.refused, {})

    async def test_oneSegment(self) -> None:
        """
        Header, data and end-of-file at once.
        """
        service = self.serve_proxy()
        for header, *_ in HEADERS:
            client = self.raw(service)
            self.assertEqual(
                await in_thread(pump, client, header + b"a\nrest"), b"a\nrest"
            )
        self.assertEqual(service.factory.refused, {})

    async def test_headerAlone(self) -> None:
        """
        A client that says nothing is a session too.
        """
        service = self.serve_proxy()
        client = self.raw(service)
        self.assertEqual(await in_thread(pump, client, V1), b"")
        await self.ended(service)
        self.assertEqual(service.factory.ended.total(), 1)
        self.assertLessEqual(set(service.factory.ended), set(LEFT))


class HalfCloseTests(ProxyTestCase):
    async def test_byClient(self) -> None:
        """
        What a client sent before its end-of-file comes back, much or little.
        """
        service = self.serve_proxy()
        data = (b"x" * 99 + b"\n") * 30_000 + b"rest"
        for header in V1, V2_TCP4:
            client = self.raw(service)
            self.assertTrue(await in_thread(pump, client, header + data) == data)
        await self.ended(service)
        self.assertEqual(service.factory.ended.total(), 2)
        self.assertLessEqual(set(service.factory.ended), set(LEFT))

    async def test_byServer(self) -> None:
        """
        A session that is closed sends its end-of-file, and reads until the
        client's: no client is reset, and its protocol is told.
        """
        told: list[str] = []

        class Told(EchoFactory):
            class protocol(EchoFactory.protocol):  # type: ignore[misc, name-defined, valid-type]
                def writeConnectionLost(self) -> None:
                    told.append("write")
                    super().writeConnectionLost()

                def readConnectionLost(self) -> None:
                    told.append("read")
                    super().readConnectionLost()

        service = self.serve_proxy(Told(EchoConfig()))
        session, client = await self.session_for(service, V1 + b"a\n")
        self.assertEqual(await in_thread(collect, client, 2), b"a\n")
        session.close()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        client.sendall(b"too late\n")
        for _ in range(5):
            await turn()
        self.assertIsNone(session.end)
        self.assertEqual(told, ["write"])
        client.shutdown(socket.SHUT_WR)
        await self.ended(service)
        self.assertEqual(told, ["write", "read"])
        self.assertEqual(service.factory.ended, {EndReason.LOCAL_CLOSED: 1})


class RefusedTests(ProxyTestCase):
    async def assert_refused(self, data: bytes, *, fin: bool = False) -> None:
        """
        Some data end a connection, and nothing of them is in the log as it is.
        """
        service = self.serve_proxy()
        factory = service.factory
        client = self.raw(service)
        with capturedLogs() as events:
            client.sendall(data)
            if fin:
                client.shutdown(socket.SHUT_WR)
            await until(lambda: factory.refused)
        self.assertEqual(factory.refused, {EndReason.BAD_PROXY_HEADER: 1}, data)
        self.assertEqual((factory.opened, factory.handshakes), (0, {}))
        warnings = [each for each in events if each["log_level"] >= LogLevel.warn]
        (event,) = warnings
        self.assertEqual(event["reason"], "bad-proxy-header")
        for key in "peer", "reason", "detail":
            self.assertTrue(event[key].isprintable() and event[key].isascii())
        self.assertLess(len(event["detail"]), 150)

        def rest() -> bytes:
            try:
                return client.recv(1)
            except ConnectionResetError:
                return b""

        self.assertEqual(await in_thread(rest), b"")
        await service.stopService()

    async def test_garbage(self) -> None:
        """
        What is no header ends the connection.
        """
        for data in (
            b"hello\n",
            b"\n",
            b"\0",
            b"P\n",
            b"GET / HTTP/1.0\r\nX: \x1b[2J\r\n",
            b"PROXY TCP4 a\nFAKE 1.2.3.4 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 x\r\n",
            b"PROXY TCP4 \xff\xfe\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n",
            SIGNATURE + b"\x31\x11\0\x0c",
            v2(0x11, bytes(11)),
        ):
            await self.assert_refused(data)

    async def test_oversized(self) -> None:
        """
        A header longer than any: the connection ends before it has come.
        """
        await self.assert_refused(b"PROXY UNKNOWN " + b"x" * 200)
        await self.assert_refused(SIGNATURE + b"\x21\x11\xff\xff")

    async def test_truncated(self) -> None:
        """
        A client that ends in the middle of its header, or before it.
        """
        await self.assert_refused(b"", fin=True)
        for header, *_ in HEADERS:
            await self.assert_refused(header[: len(header) // 2], fin=True)
            await self.assert_refused(header[:-1], fin=True)

    async def test_reset(self) -> None:
        from tests.support.clients import reset

        service = self.serve_proxy()
        client = self.raw(service)
        client.sendall(V1[:9])
        await until(lambda: service.factory.handshakes)
        reset(client)
        await until(lambda: service.factory.refused)
        self.assertEqual(service.factory.refused, {EndReason.BAD_PROXY_HEADER: 1})

    async def test_nothingAfterIt(self) -> None:
        """
        A good header after a bad one is nothing any more.
        """
        factory = EchoFactory(EchoConfig())
        layer: Any = ProxyFactory(factory).buildProtocol(None)
        transport = StringTransport()
        layer.makeConnection(transport)
        layer.dataReceived(b"bad")
        layer.dataReceived(V1 + b"a\n")
        self.assertEqual(factory.opened, 0)
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnecting)
        layer.connectionLost()
        self.assertEqual(factory.refused, {EndReason.BAD_PROXY_HEADER: 1})

    async def test_deadline(self) -> None:
        """
        A header that does not come, comes in part, or byte by byte, in time.
        """
        config = EchoConfig(deadlines=Deadlines(handshake=0.4))
        service = self.serve_proxy(EchoFactory(config))
        factory = service.factory
        silent, half, slow = (self.raw(service) for _ in range(3))
        half.sendall(V2_TCP4[:20])
        for byte in V2_UNIX[:-1]:
            if factory.refused:
                break
            slow.send(bytes([byte]))
            await turn()
        await until(lambda: factory.refused.total() == 3)
        self.assertEqual(factory.refused, {EndReason.HANDSHAKE_TIMEOUT: 3})
        self.assertEqual((factory.opened, factory.handshakes), (0, {}))
        for client in silent, half, slow:
            with self.assertRaises(ConnectionResetError):
                await in_thread(collect, client, 1)

    async def test_stop(self) -> None:
        service = self.serve_proxy()
        client = self.raw(service)
        client.sendall(V1[:9])
        await until(lambda: service.factory.handshakes)
        stopped = service.stopService()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        client.close()
        await stopped
        self.assertEqual(service.factory.refused, {EndReason.STOPPED: 1})


class ProxyFromTests(ProxyTestCase):
    async def test_allowed(self) -> None:
        service = self.serve_proxy(None, "203.0.113.0/24", "127.0.0.0/8")
        client = self.raw(service)
        self.assertEqual(await in_thread(pump, client, V1 + b"x"), b"x")

    async def test_refused(self) -> None:
        """
        From others the connection is closed at once, and counted, whatever they
        announce.
        """
        for kind in "haproxy:tcp", "haproxy:ssl":
            service = self.serve_tls(None, kind, [ip_network("203.0.113.0/24")])
            with capturedLogs() as events:
                client = self.raw(service)
                await until(lambda: service.factory.refused)  # noqa: B023
            self.assertEqual(
                service.factory.refused, {EndReason.REFUSED_PROXY: 1}, kind
            )
            self.assertEqual(await in_thread(read_to_end, client), b"")
            self.assertEqual(service.factory.handshakes, {})
            (event,) = [each for each in events if "refused:" in each["log_format"]]
            self.assertIn("127.0.0.1", event["peer"])

    def test_networks(self) -> None:
        """
        Whoever is in one of the networks may announce; an IPv4 address that is
        written as IPv6, as a port for both sees it, is an IPv4 address.
        """
        for networks, host, expected in (
            ((), "192.0.2.1", True),
            (("192.0.2.0/24",), "192.0.2.1", True),
            (("192.0.2.0/24",), "192.0.3.1", False),
            (("192.0.2.0/24",), "::ffff:192.0.2.1", True),
            (("192.0.2.0/24",), "::ffff:192.0.3.1", False),
            (("192.0.2.0/24",), "2001:db8::1", False),
            (("0.0.0.0/0",), "::ffff:192.0.2.1", True),
            (("0.0.0.0/0",), "2001:db8::1", False),
            (("::/0",), "2001:db8::1", True),
            (("::/0",), "::ffff:192.0.2.1", True),
            (("::/0",), "192.0.2.1", False),
            (("::ffff:192.0.2.0/120",), "::ffff:192.0.2.1", True),
            (("fe80::/10",), "fe80::1%eth0", True),
            (("192.0.2.0/24", "2001:db8::/32"), "2001:db8::1", True),
        ):
            factory = EchoFactory(EchoConfig())
            kind = IPv6Address if ":" in host else IPv4Address
            allowed = [ip_network(each) for each in networks]
            layer = ProxyFactory(factory, allowed).buildProtocol(kind("TCP", host, 1))
            self.assertEqual(layer is not None, expected, (networks, host))
            self.assertEqual(
                factory.refused, {} if expected else {EndReason.REFUSED_PROXY: 1}
            )

    def test_unixIsLetIn(self) -> None:
        """
        Who comes by a UNIX socket has no address, and was let in by its file.
        """
        factory = EchoFactory(EchoConfig())
        allowed = [ip_network("192.0.2.0/24")]
        layer = ProxyFactory(factory, allowed).buildProtocol(UNIXAddress(None))
        self.assertIsNotNone(layer)
