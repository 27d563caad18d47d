"""
L{twisted_echo.endpoints.tls_layer}: handshakes, their failures and their turns.
"""

import socket
import ssl
from collections import Counter
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from tests.support.clients import collect, in_thread, reset, turn, until
from tests.support.tls_sessions import ended, shut, text
from tests.support.tlsclient import TLSClient, TLSTestCase, client_context, deprecated
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    SessionService,
)
from twisted_echo.net.receive_queue import readArrived
from twisted_echo.scheduling.time_share import SHARE, TimeShare
from twisted_echo.session.bounds.limits import Deadlines
from twisted_echo.testing.clocks import elapse


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
        for end in socket.socket.close, reset, shut:
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
        for leave in reset, shut:
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
