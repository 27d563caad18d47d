"""
What is known of TLS clients: who they are by their certificates, and what becomes of
their handshakes.
"""

import contextlib
import ssl
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.logger import capturedLogs

from tests.support.authority import Authority
from tests.support.authority import client as as_client
from tests.support.clients import in_thread, until
from tests.support.tlsclient import TLSClient, TLSTestCase, client_context
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    FastLineReceiver,
    LogSessions,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.proxy_layer import ProxyFactory
from twisted_echo.endpoints.strings import parseEndpoint
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.session.bounds.limits import Deadlines
from twisted_echo.session.statistics import sessionRows, snapshotOf
from twisted_echo.tls import handshake as handshakes
from twisted_echo.tls.counts import TLSFailure
from twisted_echo.tls.x509 import Certificate

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (V12, V13)


class Who(Session, FastLineReceiver):
    """
    Tells its clients who they are, and keeps who has ended.
    """

    ended: list[str | None]

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(repr(self.peerSubject).encode())

    def connectionLost(self, *args: Any) -> None:
        super().connectionLost(*args)
        self.ended.append(self.peerSubject)


class ClientsTestCase(TLSTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")

    def served(self, factory: SessionFactory[Any], *, proxy: bool = False) -> Any:
        endpoint = LayeredEndpoint(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            lambda wrapped: TLSFactory(wrapped, self.context),
        )
        return self.serve(
            factory, endpoint.withInnerLayer(ProxyFactory) if proxy else endpoint
        )


class CertificateTests(ClientsTestCase):
    """
    A client's certificate that was verified is known; nothing else is.
    """

    def setUp(self) -> None:
        super().setUp()
        authority = Authority()
        self.anna = authority.issue("anna\n")
        self.authority = self.folder / "authority.pem"
        self.authority.write_bytes(authority.pem)
        self.context.load_verify_locations(self.authority)
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.ended: list[str | None] = []
        self.factory: SessionFactory[Any] = SessionFactory.forProtocol(
            type("Who", (Who,), {"ended": self.ended}), logSessions=LogSessions.ALL
        )

    async def tell(
        self,
        service: SessionService,
        context: ssl.SSLContext,
        subject: str | None,
        before: bytes = b"",
    ) -> None:
        """
        Have a client tell who it is: to its session until after the end, in its row and
        in the log.
        """
        with capturedLogs() as events:
            session, client = await self.shaken_session(service, context, before)
            shown = None if subject is None else Certificate(self.anna.der)
            self.assertEqual(session.peerCertificate, shown)
            (row,) = sessionRows(service.factory)
            client.send(b"who?\r\n", farewell=True)
            answer = await in_thread(client.read_to_end)
            await until(lambda: not service.factory.sessions)
        self.assertEqual(answer, f"{subject!r}\r\n".encode())
        self.assertEqual(self.ended.pop(), subject)
        (event,) = [each for each in events if each.get("event") == "session-ended"]
        for fields in event, row:
            self.assertEqual("peerSubject" in fields, subject is not None)
            self.assertEqual(fields.get("peerSubject"), subject)

    async def test_known(self) -> None:
        """
        Over both versions, and behind PROXY.
        """
        for proxy, before in (False, b""), (True, b"PROXY UNKNOWN\r\n"):
            factory = SessionFactory.forProtocol(
                self.factory.protocol,  # type: ignore[arg-type]
                logSessions=LogSessions.ALL,
            )
            service = self.served(factory, proxy=proxy)
            for version in VERSIONS:
                context = as_client(None, self.anna, self.folder, version)
                await self.tell(service, context, r"CN=anna\0A", before)

    async def test_unknown(self) -> None:
        """
        Nobody without one, and nobody on a server that asks for none.
        """
        service = self.served(self.factory)
        for version in VERSIONS:
            self.context.verify_mode = ssl.CERT_OPTIONAL
            await self.tell(service, client_context(version), None)
            self.context.verify_mode = ssl.CERT_NONE
            context = as_client(None, self.anna, self.folder, version)
            await self.tell(service, context, None)

    async def test_string(self) -> None:
        """
        The same by strings, with C{caFile}.
        """
        for kind, before in ("ssl", b""), ("haproxy:ssl", b"PROXY UNKNOWN\r\n"):
            string = (
                f"{kind}:0:interface=127.0.0.1:{self.files}:caFile={self.authority}"
                ":clientCert=optional"
            )
            factory = SessionFactory.forProtocol(
                self.factory.protocol,  # type: ignore[arg-type]
                logSessions=LogSessions.ALL,
            )
            service = self.serve(factory, parseEndpoint(reactor, string).endpoint)
            for version in VERSIONS:
                context = as_client(None, self.anna, self.folder, version)
                await self.tell(service, context, r"CN=anna\0A", before)
                await self.tell(service, client_context(version), None, before)

    async def test_notVerified(self) -> None:
        """
        One that could not be verified does not get as far as a session.
        """
        service = self.served(self.factory)
        for version in VERSIONS:
            liar = Authority().issue("anna\n")
            context = as_client(None, liar, self.folder, version)
            client = self.raw(service)
            with contextlib.suppress(ssl.SSLError, OSError):
                await in_thread(TLSClient(client, context).shake)
            client.close()
        tls = self.factory.tls
        assert tls is not None
        await until(lambda: tls.failures[TLSFailure.BAD_CERTIFICATE] == 2)
        self.assertEqual(self.factory.opened, 0)

    async def test_resumed(self) -> None:
        """
        A client that resumes an earlier session is who it was then.
        """
        service = self.served(self.factory)
        for version in VERSIONS:
            context = as_client(None, self.anna, self.folder, version)
            client = await self.shaken(service, context)
            client.send(b"who?\r\n")
            self.assertIn(b"anna", await in_thread(client.collect, 8))
            again = self.raw(service)
            other = TLSClient(again, context)
            other.object.session = client.object.session
            await in_thread(other.shake)
            other.send(b"who?\r\n")
            self.assertIn(b"anna", await in_thread(other.collect, 8))
            self.assertTrue(other.object.session_reused)
        assert self.factory.tls is not None
        self.assertEqual(self.factory.tls.resumptions, len(VERSIONS))

    async def test_resumedTooLate(self) -> None:
        """
        By a session of before it does not get in any more when its certificate has
        expired, which OpenSSL does not look at again.
        """
        service = self.served(self.factory)
        end = Certificate(self.anna.der).notAfter
        for count, version in enumerate(VERSIONS, 1):
            context = as_client(None, self.anna, self.folder, version)
            client = await self.shaken(service, context)
            client.send(b"who?\r\n")
            await in_thread(client.collect, 8)
            opened = self.factory.opened
            for now, isIn in ((end, True), (end + 1, False)):
                self.patch(handshakes, "time", lambda now=now: now)
                other = TLSClient(self.raw(service), context)
                other.object.session = client.object.session
                await in_thread(other.shake)
                other.send(b"who?\r\n", farewell=True)
                answer = await in_thread(other.read_to_end)
                # The server would wait for its end.
                other.socket.close()
                self.assertEqual(b"anna" in answer, isIn)
            self.assertEqual(self.factory.opened, opened + 1)
            assert self.factory.tls is not None
            await until(lambda: not self.factory.handshakes)
            failures = self.factory.tls.failures
            self.assertEqual(failures, {TLSFailure.BAD_CERTIFICATE: count})


class CountTests(ClientsTestCase):
    """
    Every handshake is counted once.
    """

    def setUp(self) -> None:
        super().setUp()
        self.factory = EchoFactory(EchoConfig(deadlines=Deadlines(handshake=0.4)))

    def counts(self) -> Any:
        tls = self.factory.tls
        assert tls is not None
        return tls

    async def failed(self, failure: TLSFailure, count: int = 1) -> None:
        """
        Wait until all that came has failed, for one reason.
        """
        await until(lambda: self.counts().failures[failure] >= count)
        self.assertEqual(self.counts().failures, {failure: count})
        self.assertEqual(self.counts().handshakes, {})
        await until(lambda: not self.factory.handshakes)
        self.assertEqual(self.factory.refused.total(), count)

    async def test_finished(self) -> None:
        """
        By version, with the time that they took.
        """
        service = self.served(self.factory, proxy=True)
        for version in (V12, V13, V13):
            client = await self.shaken(
                service, client_context(version), b"PROXY UNKNOWN\r\n"
            )
            self.assertEqual(await in_thread(client.pump, b"x"), b"x")
        counts = self.counts()
        self.assertEqual(counts.handshakes, {"TLSv1.2": 1, "TLSv1.3": 2})
        self.assertEqual((counts.failures, counts.resumptions), ({}, 0))
        self.assertEqual(counts.seconds.count, 3)
        self.assertGreater(counts.seconds.sum, 0)
        self.assertEqual(snapshotOf(self.factory).tlsHandshakes, counts.handshakes)

    async def test_refused(self) -> None:
        """
        What OpenSSL refuses is counted as what it is.
        """
        service = self.served(self.factory)
        client = self.raw(service)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        await self.failed(TLSFailure.NOT_TLS)

    async def test_alert(self) -> None:
        service = self.served(self.factory)
        context = ssl.create_default_context()
        context.check_hostname = False
        with self.assertRaises(ssl.SSLCertVerificationError):
            client = TLSClient(self.raw(service), context)
            try:
                await in_thread(client.shake)
            finally:
                client.socket.sendall(client._out.read())
        await self.failed(TLSFailure.ALERT)

    async def test_left(self) -> None:
        service = self.served(self.factory)
        for part in 0.0, 0.5, 1.0:
            client = self.raw(service)
            hello = TLSClient(client).hello()
            client.sendall(hello[: int(part * len(hello))])
            await until(lambda: self.factory.handshakes)
            client.close()
            await until(lambda: not self.factory.handshakes)
        await self.failed(TLSFailure.CLIENT_LEFT, 3)

    async def test_timeout(self) -> None:
        service = self.served(self.factory)
        self.raw(service)
        await self.failed(TLSFailure.TIMEOUT)

    async def test_stopped(self) -> None:
        """
        What the service itself ends is no failure.
        """
        service = self.served(self.factory)
        client = self.raw(service)
        await until(lambda: self.factory.handshakes)
        stopped = service.stopService()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        client.close()
        await stopped
        self.assertEqual(self.factory.refused.total(), 1)
        self.assertEqual((self.counts().failures, self.counts().handshakes), ({}, {}))

    async def test_belowTLS(self) -> None:
        """
        What fails before it gets to TLS is no handshake of TLS.
        """
        service = self.served(self.factory, proxy=True)
        client = self.raw(service)
        client.sendall(b"no header\r\n")
        await until(lambda: self.factory.refused)
        self.assertEqual(self.counts().failures, {})
