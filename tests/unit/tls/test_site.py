"""
L{twisted_echo.tls.site} and L{twisted_echo.command.admin_port}: the admin port over
TLS.
"""

import gc
import http.client
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any
from unittest import mock
from weakref import ref

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from tests.support.authority import Authority
from tests.support.certificates import make_certificate
from tests.support.clients import connect, in_thread, reset, turn, until
from tests.support.tlsclient import (
    TLSClient,
    TLSTestCase,
    certificate_of,
    client_context,
)
from twisted_echo import EchoConfig, EchoFactory
from twisted_echo.admin.status_view import ServiceView
from twisted_echo.command.admin_port import ReloadableAdmin, adminPort
from twisted_echo.endpoints.strings import ParsedEndpoint, parseEndpoint
from twisted_echo.tap import Options
from twisted_echo.tls import site as web
from twisted_echo.tls.x509 import Certificate


class AdminTestCase(TLSTestCase):
    async def opened(
        self, words: str = "", listening: Sequence[ParsedEndpoint] = ()
    ) -> None:
        """
        An admin port over TLS.
        """
        service = self.serve(EchoFactory(EchoConfig(measure=True)))
        description = f"ssl:0:{self.files}{words}"
        self.admin = self.made(description, listening)
        self.addCleanup(self.admin.close)
        await self.admin.open(ServiceView(service))
        # (Without a word about it.)
        self.assertEqual(self.admin.address.host, "127.0.0.1")  # type: ignore[union-attr]

    def made(
        self, description: str, listening: Sequence[ParsedEndpoint] = ()
    ) -> ReloadableAdmin:
        # What Twisted's own TLS stands on is not needed.
        with mock.patch.dict(sys.modules, {"OpenSSL": None}):
            return adminPort(reactor, description, listening)

    @property
    def site(self) -> web.TLSSite:
        port: Any = self.admin._port
        site: web.TLSSite = port.factory
        return site

    def connect(self) -> socket.socket:
        client = connect(self.admin.address)
        self.addCleanup(client.close)
        return client

    async def ask(self, path: str, context: ssl.SSLContext | None = None) -> Any:
        """
        The status and the body of a page.
        """

        def ask() -> tuple[int, bytes]:
            address: Any = self.admin.address
            connection = http.client.HTTPSConnection(
                address.host, address.port, timeout=20, context=context
            )
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            finally:
                connection.close()

        trusted = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        context = context or trusted
        return await in_thread(ask)


class AdminTests(AdminTestCase):
    async def test_pages(self) -> None:
        """
        The pages are there, by each version, and large ones whole.
        """
        await self.opened()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = client_context(version)
            self.assertEqual((await self.ask("/healthz", context))[0], 200)
            status, body = await self.ask("/metrics", context)
            self.assertEqual(status, 200)
            self.assertIn(b"twisted_echo_sessions", body)
        self.assertEqual((await self.ask("/readyz"))[0], 200)

    async def test_clientCertificates(self) -> None:
        """
        Its words are those of every C{ssl:} string.
        """
        await self.opened(f":caFile={self.folder / 'cert.pem'}:minVersion=1.3")
        with self.assertRaises(OSError):
            await self.ask("/healthz")
        context = client_context()
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        self.assertEqual((await self.ask("/healthz", context))[0], 200)

    async def test_protocolRequired(self) -> None:
        """
        So are those that are looked at after the handshake.
        """
        await self.opened(":protocols=http/1.1:protocolRequired=yes")
        with self.assertRaises(OSError):
            await self.ask("/healthz", client_context())
        # The client has said its farewell, too.
        await until(lambda: not self.site.protocols)
        context = client_context(alpn=["http/1.1"])
        self.assertEqual((await self.ask("/healthz", context))[0], 200)

    async def test_reload(self) -> None:
        """
        Its certificate is loaded again with the others, or stays.
        """
        await self.opened()
        self.assertTrue(self.admin.canReload)
        make_certificate(self.folder)
        with self.assertRaises(ssl.SSLCertVerificationError):
            await self.ask("/healthz")
        with capturedLogs() as events:
            self.admin.reload()
        self.assertEqual([each["event"] for each in events], ["reloaded"])
        self.assertEqual((await self.ask("/healthz"))[0], 200)
        expected = certificate_of(self.folder / "cert.pem")
        (self.folder / "cert.pem").write_bytes(b"")
        with capturedLogs() as events:
            self.admin.reload()
        self.assertEqual([each["event"] for each in events], ["reload-failed"])
        client = TLSClient(self.connect())
        await in_thread(client.shake)
        self.assertEqual(client.object.getpeercert(binary_form=True), expected)

    async def test_expires(self) -> None:
        """
        Its certificate is watched like those of the service.
        """
        soon = Authority().issue("admin", days=5)
        (self.folder / "key.pem").write_bytes(soon.key)
        (self.folder / "cert.pem").write_bytes(soon.pem)
        with capturedLogs() as events:
            await self.opened()
        told = [each.get("event") for each in events]
        self.assertEqual(told.count("certificate-expires"), 1)
        self.assertEqual(
            self.admin.notAfter,
            {str(self.folder / "cert.pem"): Certificate(soon.der).notAfter},
        )

    async def test_expiresOnce(self) -> None:
        """
        The service itself warns of a certificate that it has, too.
        """
        soon = Authority().issue("both", days=5)
        (self.folder / "key.pem").write_bytes(soon.key)
        (self.folder / "cert.pem").write_bytes(soon.pem)
        same = parseEndpoint(reactor, f"ssl:0:{self.files}")
        with capturedLogs() as events:
            await self.opened(listening=[same])
        told = [each.get("event") for each in events]
        self.assertNotIn("certificate-expires", told)

    def test_option(self) -> None:
        """
        It is what C{--admin} makes.
        """
        for admin, canReload in (f"ssl:0:{self.files}", True), ("0", False):
            options = Options()
            options.parseOptions([f"--admin={admin}"])
            self.assertIs(options.settings.admin.canReload, canReload)

    async def test_others(self) -> None:
        """
        Other kinds have nothing to load again, and no TLS.
        """
        admin = self.made("tcp:0")
        self.assertFalse(admin.canReload)
        with capturedLogs() as events:
            admin.reload()
        self.assertEqual(events, [])

    async def test_folder(self) -> None:
        """
        C{tls:} has a folder of certificates here, too.
        """
        (self.folder / "hosts").mkdir()
        both = (self.folder / "key.pem").read_bytes()
        both += (self.folder / "cert.pem").read_bytes()
        (self.folder / "hosts" / "one.pem").write_bytes(both)
        service = self.serve(EchoFactory(EchoConfig(measure=True)))
        self.admin = self.made(f"tls:{self.folder / 'hosts'}:0")
        self.addCleanup(self.admin.close)
        await self.admin.open(ServiceView(service))
        self.assertEqual(self.admin.address.host, "127.0.0.1")  # type: ignore[union-attr]
        self.assertEqual((await self.ask("/healthz"))[0], 200)


class HandshakeTests(AdminTestCase):
    """
    Connections whose handshake is not finished.
    """

    async def test_silent(self) -> None:
        """
        A client has its time for it; the log has nothing to say of it.
        """
        self.patch(web, "_HANDSHAKE_TIMEOUT", 0.3)
        await self.opened()
        with capturedLogs() as events:
            silent, half = self.connect(), self.connect()
            half.sendall(TLSClient(half).hello()[:40])
            for client in silent, half:
                with self.assertRaises(ConnectionResetError):
                    await in_thread(client.recv, 1)
        self.assertEqual(events, [])
        self.assertEqual((await self.ask("/healthz"))[0], 200)
        await until(lambda: not self.site.protocols)

    async def test_noDeadline(self) -> None:
        """
        A handshake that is finished has none any more.
        """
        clock = Clock()
        await self.opened()
        self.site._clock = clock
        client = TLSClient(self.connect())
        await in_thread(client.shake)
        await until(lambda: not self.site._deadlines)
        self.assertEqual(clock.getDelayedCalls(), [])
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertIn(b" 200 ", await in_thread(client.collect, 1 << 16))
        self.assertTrue(client.farewell)

    async def test_many(self) -> None:
        """
        One too many takes the place of the oldest, so that slow ones do not block it.
        """
        self.patch(web, "_MAX_HANDSHAKES", 3)
        await self.opened()
        silent = []
        for count in range(1, 4):
            silent.append(self.connect())
            await until(lambda: len(self.site._deadlines) == count)  # noqa: B023
        self.assertEqual((await self.ask("/healthz"))[0], 200)
        with self.assertRaises(ConnectionResetError):
            await in_thread(silent[0].recv, 1)
        self.assertEqual(len(self.site._deadlines), 2)

    async def test_failures(self) -> None:
        """
        One that is no TLS, is reset, or leaves, is gone; the log has nothing to say.
        """
        await self.opened()
        with capturedLogs() as events:
            plain = self.connect()
            plain.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            await in_thread(plain.recv, 100)
            for end in reset, socket.socket.close:
                client = self.connect()
                await until(lambda: self.site._deadlines)
                end(client)
                await until(lambda: not self.site._deadlines)
        self.assertEqual(events, [])
        await until(lambda: not self.site.protocols)

    async def test_close(self) -> None:
        """
        Handshakes end when it is closed, and nothing is left.
        """
        await self.opened()
        site = self.site
        client = self.connect()
        await until(lambda: site._deadlines)
        await self.admin.close()
        self.assertEqual(site._deadlines, {})
        with self.assertRaises(ConnectionResetError):
            await in_thread(client.recv, 1)
        await until(lambda: not site.protocols)

    async def test_freed(self) -> None:
        """
        A connection that has ended is freed without the garbage collector.
        """
        await self.opened()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        client = TLSClient(self.connect())
        await in_thread(client.shake)
        await until(lambda: self.site.protocols and not self.site._deadlines)
        connection = ref(next(iter(self.site.protocols)))
        client.socket.close()
        await until(lambda: not self.site.protocols)
        for _ in range(3):
            await turn()
        self.assertIsNone(connection())
