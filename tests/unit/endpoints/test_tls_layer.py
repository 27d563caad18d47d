"""
L{twisted_echo.tls}: TLS that loses nothing, ends on time, and reloads.
"""

import gc
import shutil
import socket
import ssl
import subprocess
from collections import Counter
from typing import Any
from weakref import ref

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHandshakeListener, IProtocolNegotiationFactory
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SkipTest
from zope.interface import implementer

from tests.support.certificates import make_certificate
from tests.support.clients import LEFT, collect, in_thread, reset, turn, until
from tests.support.tlsclient import (
    TLSClient,
    TLSTestCase,
    certificate_of,
    client_context,
    deprecated,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.endpoints.layered_endpoint import LayeredEndpoint
from twisted_echo.endpoints.tls_layer import TLSFactory
from twisted_echo.net.receive_queue import readArrived
from twisted_echo.scheduling.time_share import SHARE, TimeShare
from twisted_echo.session.limits import Deadlines
from twisted_echo.testing.clocks import elapse
from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.tls.counts import TLSFailure

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
SIZES = (1, 15_000, 3_000_000)


def text(size: int) -> bytes:
    """
    Lines, and a rest without a delimiter.
    """
    return (b"x" * 98 + b"\n") * (size // 99) + b"y" * (size % 99)


async def ended(factory: SessionFactory[Any]) -> None:
    await until(lambda: not factory.sessions and not factory.handshakes)


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


class HandshakeTests(TLSTestCase):
    """
    Connections that do not get as far as a session.
    """

    async def refused(
        self, service: SessionService, reason: EndReason, count: int = 1
    ) -> None:
        """
        Wait for what came to be refused, all for one reason.
        """
        factory = service.factory
        await until(lambda: factory.refused.total() >= count)
        self.assertEqual(factory.refused, {reason: count})
        self.assertEqual((factory.opened, factory.ended), (0, Counter()))
        self.assertEqual(factory.handshakes, {})

    async def test_plainText(self) -> None:
        """
        It is told in OpenSSL's words, and none of the client's.
        """
        service = self.serve_tls()
        client = self.raw(service)
        with capturedLogs() as events:
            client.sendall(b"GET /secret HTTP/1.0\r\n\r\n")
            await self.refused(service, EndReason.HANDSHAKE_FAILED)
        (event,) = [each for each in events if each["log_level"] is LogLevel.warn]
        self.assertEqual(event["reason"], "handshake-failed")
        self.assertIn("http request", event["detail"])
        self.assertNotIn("secret", str(event))
        self.assertEqual(
            [each for each in events if each["log_level"] > LogLevel.warn], []
        )

    async def test_oldVersion(self) -> None:
        """
        TLS 1.1 is refused, with an alert that says why.
        """
        service = self.serve_tls()
        with deprecated():
            context = client_context(ssl.TLSVersion.TLSv1_1)
            context.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
            await self.shaken(service, context)
        await self.refused(service, EndReason.HANDSHAKE_FAILED)

    async def test_timeout(self) -> None:
        """
        A client that is silent, one that stops in mid-hello, and one that sends a
        byte now and then.
        """
        config = EchoConfig(deadlines=Deadlines(handshake=0.4))
        service = self.serve_tls(EchoFactory(config))
        silent, half, slow = (self.raw(service) for _ in range(3))
        hello = TLSClient(half).hello()
        half.sendall(hello[: len(hello) // 2])
        began = reactor.seconds()  # type: ignore[attr-defined]
        for byte in hello[:40]:
            if service.factory.refused.total():
                break
            slow.send(bytes([byte]))
            await turn()
        await self.refused(service, EndReason.HANDSHAKE_TIMEOUT, 3)
        self.assertGreaterEqual(reactor.seconds() - began, 0.3)  # type: ignore[attr-defined]
        for client in silent, half, slow:
            with self.assertRaises(ConnectionResetError):
                await in_thread(collect, client, 1)

    async def test_noTimeout(self) -> None:
        """
        A session that has shaken hands is not ended by the handshakes' deadline.
        """
        config = EchoConfig(deadlines=Deadlines(handshake=0.1))
        service = self.serve_tls(EchoFactory(config))
        client = await self.shaken(service)
        other = self.raw(service)
        await until(lambda: service.factory.refused)
        client.send(b"still\n")
        self.assertEqual(await in_thread(client.collect, 6), b"still\n")
        other.close()

    async def test_leaves(self) -> None:
        """
        Clients that close during the handshake: before the hello, within it and
        after it, with an end-of-file, a farewell or a reset.
        """
        service = self.serve_tls()
        count = 0
        for end in socket.socket.close, reset, _shut:
            for part in 0.0, 0.5, 1.0:
                client = self.raw(service)
                hello = TLSClient(client).hello()
                client.sendall(hello[: int(part * len(hello))])
                await until(lambda: service.factory.handshakes)
                end(client)
                count += 1
                await self.refused(service, EndReason.HANDSHAKE_FAILED, count)

    async def test_byteByByte(self) -> None:
        """
        A handshake that comes one byte at a time is one.
        """
        service = self.serve_tls()
        client = TLSClient(self.raw(service))
        await in_thread(client.shake, 1)
        self.assertEqual(await in_thread(client.pump, b"rest"), b"rest")

    async def test_stop(self) -> None:
        """
        A stop ends the handshakes that are under way in order, and waits for them.
        """
        service = self.serve_tls(grace=30)
        silent, half = self.raw(service), self.raw(service)
        half.sendall(TLSClient(half).hello()[:30])
        await until(lambda: len(service.factory.handshakes) == 2)
        stopped = service.stopService()
        for client in silent, half:
            self.assertEqual(await in_thread(client.recv, 1), b"")
            client.sendall(b"ignored")
            client.close()
        await stopped
        await self.refused(service, EndReason.STOPPED, 2)

    async def test_stopIgnored(self) -> None:
        """
        One that ignores the end is cut off after C{abortAfter} seconds, though the
        time of grace goes on.
        """
        clock = Clock()
        factory = EchoFactory(EchoConfig(), clock=clock)
        service = self.serve_tls(factory, grace=600)
        _, client = await self.shaken_session(service)
        self.raw(service)
        await until(lambda: factory.handshakes)
        stopped = service.stopService()
        await turn()
        elapse(clock, factory.abortAfter - 0.1)
        await turn()
        self.assertEqual(len(factory.handshakes), 1)
        elapse(clock, 0.1)
        await until(lambda: not factory.handshakes)
        self.assertEqual(await in_thread(client.pump, b"x"), b"x")
        await stopped
        self.assertEqual(factory.refused, {EndReason.STOPPED: 1})

    async def test_dataWithTheFinish(self) -> None:
        """
        A client whose first data comes with the end of its handshake.
        """
        service = self.serve_tls()
        client = TLSClient(self.raw(service))
        hello = client.hello()

        def run() -> bytes:
            client.socket.sendall(hello)
            while True:
                client._in.write(client.socket.recv(1 << 16))
                try:
                    client.object.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    assert not client._out.pending
            client.send(b"at once\nrest", farewell=True)
            return client.read_to_end()

        self.assertEqual(await in_thread(run), b"at once\nrest")


class _OneEachTurn(TimeShare):
    """
    Handshakes of which one step takes all of a turn's share.
    """

    def __init__(self) -> None:
        self.waited = 0
        self._time = 0.0
        super().__init__(self._tick)

    def _tick(self) -> float:
        self._time += SHARE
        return self._time

    def later(self, *args: Any) -> None:
        self.waited += 1
        super().later(*args)


class TurnsTests(TLSTestCase):
    """
    Handshakes that wait for their turn.
    """

    def waiting(self) -> tuple[EchoFactory, _OneEachTurn]:
        factory = EchoFactory(EchoConfig())
        factory.handshakeTurns = turns = _OneEachTurn()
        return factory, turns

    async def test_manyAtOnce(self) -> None:
        """
        All are served, and what their clients sent with the handshake, too.
        """
        factory, turns = self.waiting()
        service = self.serve_tls(factory)
        clients = [TLSClient(self.raw(service)) for _ in range(20)]
        await until(lambda: len(factory.handshakes) == 20)

        def shake_all() -> None:
            for client in clients:
                client.socket.sendall(client.hello())
            for client in clients:
                client.shake()
                client.send(b"at once\nrest", farewell=True)

        await in_thread(shake_all)
        for client in clients:
            self.assertEqual(await in_thread(client.read_to_end), b"at once\nrest")
        await ended(factory)
        self.assertGreater(turns.waited, 20)
        self.assertEqual((factory.opened, factory.refused), (20, {}))

    async def test_muchAtOnce(self) -> None:
        """
        A client whose last step of the handshake comes with many records, or with an
        end-of-file that is read before its turn: it is one session, and whole.
        """
        data = text(99 * 600)
        for fin in False, True:
            factory, _ = self.waiting()
            works, client = await self.one_waits(self.serve_tls(factory))
            works.pop()()
            (layer,) = factory.handshakes
            await in_thread(self.finish, client, data, fin)
            await until(lambda: works)  # noqa: B023
            if fin:
                await until(lambda: readArrived(layer.transport) or factory.opened)  # noqa: B023
            while works:
                works.pop(0)()
            self.assertTrue(await in_thread(client.collect, len(data)) == data)
            self.assertEqual((factory.opened, factory.refused), (1, {}))
            client.socket.close()
            await ended(factory)

    def finish(self, client: TLSClient, data: bytes, fin: bool) -> None:
        client._in.write(client.socket.recv(1 << 16))
        client.object.do_handshake()
        client.send(data)
        if fin:
            client.socket.shutdown(socket.SHUT_WR)

    async def test_deadline(self) -> None:
        """
        A handshake that the service lets wait is not late.
        """
        factory, _ = self.waiting()
        works, client = await self.one_waits(self.serve_tls(factory))
        (layer,) = factory.handshakes
        layer.fail(EndReason.HANDSHAKE_TIMEOUT)
        works.pop()()
        await in_thread(self.finish, client, b"line\n", False)
        await until(lambda: works)
        works.pop()()
        self.assertEqual(await in_thread(client.collect, 5), b"line\n")
        self.assertEqual(factory.refused, {})

    async def one_waits(self, service: SessionService) -> tuple[Any, TLSClient]:
        """
        A connection that has sent its hello and waits for its turn, while turns do not
        come.
        """
        factory: Any = service.factory
        self.patch(factory.handshakeTurns, "now", lambda work: False)
        works: list[Any] = []
        self.patch(
            factory.handshakeTurns, "later", lambda reactor, work: works.append(work)
        )
        client = TLSClient(self.raw(service))
        client.socket.sendall(client.hello())
        await until(lambda: works)
        return works, client

    async def test_leaves(self) -> None:
        """
        A client that leaves meanwhile is counted as any that leaves.
        """
        for leave in reset, _shut:
            factory, _ = self.waiting()
            service = self.serve_tls(factory)
            works, client = await self.one_waits(service)
            leave(client.socket)
            works.pop()()
            await until(lambda: factory.refused)  # noqa: B023
            self.assertEqual(factory.refused, {EndReason.HANDSHAKE_FAILED: 1})

    async def test_cutOff(self) -> None:
        """
        One that is cut off meanwhile is left alone.
        """
        factory, _ = self.waiting()
        works, _ = await self.one_waits(self.serve_tls(factory))
        (layer,) = factory.handshakes
        factory.abortSessions()
        self.patch(layer, "_stepHandshake", lambda: self.fail("it is gone"))
        works[0]()
        await until(lambda: factory.refused)
        works[0]()
        self.assertEqual(factory.refused, {EndReason.ABORTED: 1})

    async def test_stop(self) -> None:
        """
        A stop ends one in order that was not answered yet.
        """
        factory, _ = self.waiting()
        service = self.serve_tls(factory, grace=30)
        works, client = await self.one_waits(service)
        stopped = service.stopService()
        works.pop()()
        self.assertEqual(await in_thread(client.socket.recv, 1), b"")
        client.socket.close()
        await stopped
        self.assertEqual(factory.refused, {EndReason.STOPPED: 1})

    async def test_fails(self) -> None:
        """
        What the factory's own code raises then ends the connection.
        """

        class Broken(EchoFactory):
            def buildProtocol(self, addr: Any) -> Any:
                raise ZeroDivisionError

        factory = Broken(EchoConfig())
        factory.handshakeTurns = _OneEachTurn()
        service = self.serve_tls(factory)
        others = [TLSClient(self.raw(service)) for _ in range(3)]
        for client in others:
            shaking = in_thread(client.shake)
            shaking.addErrback(lambda failure: None)
        await until(lambda: factory.refused.total() == 3)
        self.assertEqual(factory.refused, {EndReason.ERROR: 3})
        await until(lambda: not factory.handshakes)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    async def test_protocolFails(self) -> None:
        """
        A protocol that raises an exception for what came with the handshake has failed,
        as it has at any other time.
        """

        class Broken(EchoProtocol):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        factory, _ = self.waiting()
        factory.protocol = Broken
        works, client = await self.one_waits(self.serve_tls(factory))
        works.pop()()
        await in_thread(self.finish, client, b"line\n", False)
        await until(lambda: works)
        works.pop()()
        await until(lambda: factory.ended)
        self.assertEqual(factory.ended, {EndReason.ERROR: 1})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


def _shut(client: socket.socket) -> None:
    client.shutdown(socket.SHUT_WR)


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
