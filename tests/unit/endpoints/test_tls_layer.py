"""
L{twisted_echo.endpoints.tls_layer}: TLS that loses nothing, ends in order and keeps
nothing.
"""

import gc
import shutil
import socket
import ssl
import subprocess
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHandshakeListener, IProtocolNegotiationFactory
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from tests.support.certificates import make_certificate
from tests.support.clients import LEFT, in_thread, reset, turn, until
from tests.support.tls_sessions import VERSIONS, ended, text
from tests.support.tlsclient import (
    TLSClient,
    TLSTestCase,
    certificate_of,
    client_context,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.session.bounds.limits import Deadlines
from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.tls.counts import TLSFailure

SIZES = (1, 15_000, 3_000_000)


class WholeTests(TLSTestCase):
    """
    Every byte that a client sent before its farewell comes back.
    """

    async def assert_whole(self, **how: bool) -> None:
        service = self.serve_tls()
        for version in VERSIONS:
            for size in SIZES:
                data = text(size)
                client = await self.shaken(service, client_context(version))
                back = await in_thread(client.pump, data, **how)
                self.assertTrue(back == data, (version, size, len(back)))
                self.assertTrue(client.farewell, (version, size))
        await ended(service.factory)
        reasons = service.factory.ended
        self.assertEqual(reasons.total(), len(VERSIONS) * len(SIZES))
        self.assertLessEqual(set(reasons), set(LEFT))
        self.assertEqual(service.factory.refused, {})

    async def test_farewell(self) -> None:
        """
        Data and close_notify at once, and the connection stays open.
        """
        await self.assert_whole()

    async def test_farewellAndEndOfFile(self) -> None:
        """
        The same, with an end-of-file after it.
        """
        await self.assert_whole(fin=True)

    async def test_endOfFileAlone(self) -> None:
        """
        An end-of-file without close_notify: what came is answered, and the server
        says farewell.
        """
        await self.assert_whole(farewell=False, fin=True)

    async def test_choked(self) -> None:
        """
        A client that begins to read when the session is paused for it.
        """
        data = text(12_000_000)
        service = self.serve_tls()
        session, client = await self.shaken_session(service)
        sealed = client.sealed(data, farewell=True)
        sender = in_thread(client.socket.sendall, sealed)
        await until(lambda: session.paused)
        self.assertTrue(await in_thread(client.read_to_end) == data)
        await sender
        self.assertTrue(client.farewell)

    async def answers(self, protocol: Any, *, fin: bool = False) -> None:
        """
        A hundred lines in a hundred records and the farewell in one segment; all
        answers come.
        """
        factory: SessionFactory[Any] = SessionFactory.forProtocol(protocol)
        service = self.serve_tls(factory)
        for version in VERSIONS:
            client = await self.shaken(service, client_context(version))
            lines = [b"%d\r\n" % number for number in range(100)]
            client.send(*lines, farewell=True)
            if fin:
                client.socket.shutdown(socket.SHUT_WR)
            back = await in_thread(client.read_to_end)
            self.assertEqual(back, b"".join(lines), version)
            self.assertTrue(client.farewell, version)
        await ended(factory)
        self.assertEqual(factory.ended.total(), len(VERSIONS))
        self.assertLessEqual(set(factory.ended), set(LEFT))

    async def test_paused(self) -> None:
        """
        The farewell comes while the session is paused.
        """

        class Pausing(Session, FastLineReceiver):
            def lineReceived(self, line: bytes) -> None:
                self.sendLine(line)
                self.pauseProducing()
                reactor.callLater(0, self.resumeProducing)  # type: ignore[attr-defined]

        await self.answers(Pausing)
        await self.answers(Pausing, fin=True)

    async def test_answerInFlight(self) -> None:
        """
        The farewell comes before the answers do.
        """

        class Late(Session, FastLineReceiver):
            def lineReceived(self, line: bytes) -> None:
                answer: Deferred[None] = Deferred()
                answer.addCallback(lambda _: self.sendLine(line))
                self.answerLater(answer)
                reactor.callLater(0, answer.callback, None)  # type: ignore[attr-defined]

        await self.answers(Late)
        await self.answers(Late, fin=True)

    async def test_afterFarewell(self) -> None:
        """
        What comes after the farewell is not kept while the answer takes its time.
        """
        answers: list[Deferred[None]] = []

        class Late(Session, FastLineReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                answers.append(self.answerLater(Deferred()))

        factory = SessionFactory.forProtocol(Late)
        service = self.serve_tls(factory)
        client = await self.shaken(service)
        await in_thread(client.send, b"x\n")
        await until(lambda: answers)
        (session,) = factory.sessions
        await in_thread(lambda: client.send(farewell=True))
        await until(lambda: not session.expectsInput)
        records = session.transport._records
        records.incoming = incoming = _Watched(records.incoming)
        # More than the kernel holds: it has been read when this is done.
        await in_thread(client.socket.sendall, b"z" * 20_000_000)
        self.assertEqual(incoming.sizes, [])
        answers[0].callback(None)
        await ended(factory)


class _Watched:
    """
    A BIO, and the sizes of what was put into it.
    """

    def __init__(self, bio: ssl.MemoryBIO) -> None:
        self._bio = bio
        self.sizes: list[int] = []

    def write(self, data: bytes) -> int:
        self.sizes.append(len(data))
        return self._bio.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bio, name)


class MemoryTests(TLSTestCase):
    """
    What OpenSSL is given to keep.
    """

    async def test_pieces(self) -> None:
        """
        Its buffers, which never shrink, get no more than a record at once, however much
        comes; nor do they keep what has been decrypted.
        """
        service = self.serve_tls()
        session, client = await self.shaken_session(service)
        records = session.transport._records
        records.incoming = incoming = _Watched(records.incoming)
        data = text(300_000)
        self.assertEqual(await in_thread(client.pump, data), data)
        self.assertGreater(sum(incoming.sizes), len(data))
        self.assertEqual(max(incoming.sizes), 1 << 14)
        await ended(service.factory)


class CloseTests(TLSTestCase):
    """
    A session that the server closes, or that breaks.
    """

    async def test_closedByProtocol(self) -> None:
        """
        A protocol that has closed its transport is told nothing more, though TLS
        reads on for the farewell; and a peer that does not answer is cut off.
        """
        lines: list[bytes] = []

        class Quits(Session, LineReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                lines.append(line)
                self.transport.loseConnection()

        factory = SessionFactory.forProtocol(
            Quits, abortAfter=0.1, deadlines=Deadlines(write=0.4)
        )
        client = await self.shaken(self.serve_tls(factory))
        await in_thread(client.send, b"quit\n")
        await until(lambda: lines)
        await in_thread(client.send, b"more\n")
        await ended(factory)
        self.assertEqual(lines, [b"quit"])
        self.assertEqual(factory.ended, {EndReason.ABORTED: 1})

    async def test_farewell(self) -> None:
        """
        The server says farewell, and waits for the client's.
        """
        service = self.serve_tls()
        for version in VERSIONS:
            session, client = await self.shaken_session(
                service, client_context(version)
            )
            client.send(b"before\n")
            self.assertEqual(await in_thread(client.collect, 7), b"before\n")
            session.close()
            self.assertIsNone(await in_thread(client.read))
            self.assertTrue(client.farewell)
            for _ in range(5):
                await turn()
            self.assertIsNone(session.end)
            end = session.whenEnded()
            client.send(farewell=True)
            self.assertEqual((await end).reason, EndReason.LOCAL_CLOSED)

    async def test_endOfFileForFarewell(self) -> None:
        """
        A client that answers with a bare end-of-file, as most do, is not waited
        for.
        """
        service = self.serve_tls()
        session, client = await self.shaken_session(service)
        session.close()
        self.assertIsNone(await in_thread(client.read))
        end = session.whenEnded()
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual((await end).reason, EndReason.LOCAL_CLOSED)

    async def test_unanswered(self) -> None:
        """
        A client that never answers is aborted.
        """
        factory = EchoFactory(EchoConfig(abortAfter=0.05))
        service = self.serve_tls(factory)
        session, client = await self.shaken_session(service)
        session.close()
        self.assertIsNone(await in_thread(client.read))
        self.assertEqual((await session.whenEnded()).reason, EndReason.ABORTED)
        with self.assertRaises(ConnectionResetError):
            await in_thread(client.socket.recv, 1)

    async def test_stop(self) -> None:
        """
        At a stop the lines that were read are answered, then comes the farewell.
        """
        service = self.serve_tls()
        session, client = await self.shaken_session(service)
        client.send(b"first\n")
        await until(lambda: session.bytesReceived)
        stopped = service.stopService()
        self.assertEqual(await in_thread(client.collect, 100), b"first\n")
        self.assertTrue(client.farewell)
        client.send(farewell=True)
        await stopped
        self.assertEqual(service.factory.ended, {EndReason.STOPPED: 1})

    async def test_garbage(self) -> None:
        """
        Bytes that are no TLS end a session, without a traceback.
        """
        service = self.serve_tls()
        for version in VERSIONS:
            _, client = await self.shaken_session(service, client_context(version))
            client.socket.sendall(b"this is no record of TLS")
            with self.assertRaises((ssl.SSLError, ConnectionResetError)):
                await in_thread(client.read)
            await ended(service.factory)
        self.assertEqual(
            service.factory.ended, {EndReason.CONNECTION_LOST: len(VERSIONS)}
        )

    async def test_reset(self) -> None:
        service = self.serve_tls()
        _, client = await self.shaken_session(service)
        reset(client.socket)
        await ended(service.factory)
        self.assertEqual(service.factory.ended, {EndReason.CONNECTION_LOST: 1})


class TransportTests(TLSTestCase):
    """
    What a protocol asks of a TLS transport.
    """

    async def test_listener(self) -> None:
        """
        A protocol that wants to know is told once that hands are shaken, after its
        C{connectionMade}; by then its transport knows what was agreed upon.
        """
        seen: list[object] = []

        @implementer(IHandshakeListener)
        class Listening(EchoProtocol):
            def connectionMade(self) -> None:
                super().connectionMade()
                seen.append("made")

            def handshakeCompleted(self) -> None:
                transport = self.transport
                seen.append(transport.negotiatedProtocol)
                seen.append(transport.getPeerCertificate())
                seen.append(type(transport.getHandle()))

        @implementer(IProtocolNegotiationFactory)
        class Negotiating(EchoFactory):
            protocol = Listening

            def acceptableProtocols(self) -> list[bytes]:
                return [b"echo/2", b"echo/1"]

        service = self.serve_tls(Negotiating(EchoConfig()))
        client = await self.shaken(service, client_context(alpn=["echo/1"]))
        self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")
        self.assertEqual(client.object.selected_alpn_protocol(), "echo/1")
        self.assertEqual(seen, ["made", b"echo/1", None, ssl.SSLObject])

    async def test_newKeys(self) -> None:
        """
        A client that goes over to new keys, and asks the server to do so, is answered.
        """
        openssl = shutil.which("openssl")
        if openssl is None:
            raise SkipTest("openssl is not installed")
        service = self.serve_tls()
        host, port = service.addresses[0].host, service.addresses[0].port
        client = subprocess.Popen(
            [openssl, "s_client", "-tls1_3", "-connect", f"{host}:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert client.stdin is not None and client.stdout is not None
        said = client.stdout

        def send(line: bytes) -> None:
            client.stdin.write(line)
            client.stdin.flush()

        def wait_for(line: bytes) -> None:
            while (each := said.readline()) != line:
                assert each, "the client has ended"

        def talk() -> None:
            with client:
                send(b"with the first keys\n")
                wait_for(b"with the first keys\n")
                for _ in range(3):
                    # The command of s_client.
                    send(b"K\n")
                    wait_for(b"KEYUPDATE\n")
                    send(b"with new ones\n")
                    wait_for(b"with new ones\n")
                send(b"Q\n")

        await in_thread(talk)
        await ended(service.factory)
        self.assertLessEqual(set(service.factory.ended), set(LEFT))

    async def test_protocolsFail(self) -> None:
        """
        If a factory cannot say which protocols it has, its clients are refused.
        """

        @implementer(IProtocolNegotiationFactory)
        class Negotiating(EchoFactory):
            def acceptableProtocols(self) -> list[bytes]:
                raise ZeroDivisionError

        factory = Negotiating(EchoConfig())
        service = self.serve_tls(factory)
        for count in 1, 2:
            client = self.raw(service)
            self.assertEqual(await in_thread(client.recv, 1), b"")
            self.assertEqual(factory.refused, {EndReason.ERROR: count})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    async def test_protocolRequired(self) -> None:
        """
        Where one is required, a client without a protocol in common is closed after
        the handshake, and counted.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        context.set_alpn_protocols(["echo/1"])
        factory = EchoFactory(EchoConfig())
        certificates = Certificates(lambda: TLSSettings(context, requiresProtocol=True))
        service = self.serve(factory, self.endpoint(certificates))
        for alpn in None, ["other/1"]:
            client = await self.shaken(service, client_context(alpn=alpn))
            client.send(b"ignored\n")
            self.assertIsNone(await in_thread(client.read))
            self.assertTrue(client.farewell)
            client.socket.close()
        await until(lambda: factory.refused.total() == 2)
        self.assertEqual(factory.refused, {EndReason.HANDSHAKE_FAILED: 2})
        self.assertEqual(factory.tls.failures, {TLSFailure.NO_PROTOCOL: 2})
        client = await self.shaken(service, client_context(alpn=["echo/1"]))
        self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")

    def endpoint(self, certificates: Certificates | ssl.SSLContext) -> LayeredEndpoint:
        return LayeredEndpoint(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"),
            lambda factory: TLSFactory(factory, certificates),
        )

    async def test_clientCertificate(self) -> None:
        """
        The certificate that a client shows can be asked for.
        """
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = self.folder / "cert.pem", self.folder / "key.pem"
        server.load_cert_chain(*files)
        server.load_verify_locations(files[0])
        server.verify_mode = ssl.CERT_REQUIRED
        service = self.serve(EchoFactory(EchoConfig()), self.endpoint(server))
        context = client_context()
        context.load_cert_chain(*files)
        session, client = await self.shaken_session(service, context)
        certificate = session.transport.getPeerCertificate()
        self.assertEqual(certificate.der, certificate_of(files[0]))
        self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            # TLS 1.3 tells a client after its own side of the handshake.
            stranger = await self.shaken(service)
            await in_thread(stranger.read)
        await ended(service.factory)
        self.assertEqual(service.factory.refused, {EndReason.HANDSHAKE_FAILED: 1})


class CertificatesTests(TLSTestCase):
    async def test_reload(self) -> None:
        """
        New connections get the new certificate, and old ones live on.
        """
        path = self.folder / "cert.pem"
        listening = self.listen()
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        first = certificate_of(path)
        old = await self.shaken(service)
        make_certificate(self.folder)
        second = certificate_of(path)
        self.assertNotEqual(first, second)
        # Not before it is told to.
        same = await self.shaken(service)
        listening.certificates.reload()
        new = await self.shaken(service)
        for client, expected in ((old, first), (same, first), (new, second)):
            self.assertEqual(client.object.getpeercert(binary_form=True), expected)
            self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")

    async def test_broken(self) -> None:
        """
        Files that cannot be used are refused, and what was loaded before stays.
        """
        listening = self.listen()
        service = self.serve(EchoFactory(EchoConfig()), listening.endpoint)
        first = certificate_of(self.folder / "cert.pem")
        key = (self.folder / "key.pem").read_bytes()
        certificate = (self.folder / "cert.pem").read_bytes()
        make_certificate(self.folder)
        other = (self.folder / "cert.pem").read_bytes()
        for keyNow, certificateNow in (
            (b"", certificate),
            (key, b""),
            (key[:100], certificate),
            (key, b"no certificate at all"),
            # Of another key.
            (key, other),
        ):
            (self.folder / "key.pem").write_bytes(keyNow)
            (self.folder / "cert.pem").write_bytes(certificateNow)
            with self.assertRaises(Exception):  # noqa: B017
                listening.certificates.reload()
            client = await self.shaken(service)
            self.assertEqual(client.object.getpeercert(binary_form=True), first)
        (self.folder / "key.pem").unlink()
        with self.assertRaisesRegex(ValueError, "cannot read"):
            listening.certificates.reload()
        client = await self.shaken(service)
        self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")

    def test_brokenAtFirst(self) -> None:
        """
        Nothing is made of what cannot be loaded.
        """

        def load() -> Any:
            raise ValueError("broken")

        with self.assertRaisesRegex(ValueError, "broken"):
            Certificates(load)

    def test_unusable(self) -> None:
        """
        What loads, but makes no context, is no reload.
        """

        made: list[object] = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), None]
        (context, _) = made
        certificates = Certificates(lambda: made.pop(0))  # type: ignore[arg-type, return-value]
        with self.assertRaises(TypeError):
            certificates.reload()
        self.assertIs(certificates.context, context)


class LeakTests(TLSTestCase):
    """
    With the garbage collector switched off.
    """

    def setUp(self) -> None:
        super().setUp()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    async def assert_gone(self, kind: str, before: bytes) -> None:
        config = EchoConfig(deadlines=Deadlines(handshake=0.4), abortAfter=0.05)
        factory = EchoFactory(config)
        service = self.serve_tls(factory, kind)
        weak: dict[str, list[Any]] = {}

        async def session(name: str) -> TLSClient:
            made, client = await self.shaken_session(service, before=before)
            layer = made.transport
            weak[name] = [ref(made), ref(layer), ref(layer.getHandle())]
            while hasattr(layer, "transport"):
                layer = layer.transport
                weak[name].append(ref(layer))
            return client

        client = await session("farewell")
        await in_thread(client.pump, b"a\nb")
        await ended(factory)
        client = await session("end-of-file")
        await in_thread(client.pump, b"a\nb", farewell=False, fin=True)
        await ended(factory)
        reset((await session("reset")).socket)
        await ended(factory)
        client = await session("garbage")
        client.socket.sendall(b"this is no record of TLS")
        await ended(factory)
        await session("aborted by the server")
        factory.abortSessions()
        await ended(factory)
        await session("closed by the server")
        factory.closeSessions(EndReason.LOCAL_CLOSED)
        await ended(factory)
        factory.closing = None
        for name, data in (
            ("plain", b"no hello at all\r\n\r\n"),
            ("silent", b""),
            ("leaves", None),
        ):
            raw = self.raw(service)
            raw.sendall(before)
            await until(lambda: factory.handshakes)
            if before:
                await until(
                    lambda: "TLS" in type(next(iter(factory.handshakes))).__name__
                )
            weak[name] = [ref(next(iter(factory.handshakes)))]
            if data is None:
                raw.close()
            else:
                raw.sendall(data)
            await ended(factory)
        for _ in range(3):
            await turn()
        alive = {
            name: [each() for each in refs if each() is not None]
            for name, refs in weak.items()
        }
        self.assertEqual({name: all for name, all in alive.items() if all}, {})

    async def test_tls(self) -> None:
        """
        Layers and sessions are gone when they have ended, however they did.
        """
        await self.assert_gone("ssl", b"")

    async def test_behindProxy(self) -> None:
        """
        So are those of TLS behind a PROXY header.
        """
        await self.assert_gone("haproxy:ssl", b"PROXY TCP4 192.0.2.1 192.0.2.2 3 4\r\n")
