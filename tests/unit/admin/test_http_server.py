"""
L{twisted_echo.admin.http_server}: its limits hold whatever clients do, over real HTTP.
"""

import errno
import gc
import socket
import time
from typing import Any
from weakref import ref

from twisted.internet import reactor, unix
from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.logger import capturedLogs

from tests.support.admin import (
    OPENMETRICS,
    AdminTestCase,
    SlowView,
    read_all,
    send,
    succeeded,
)
from tests.support.clients import (
    FakeEndpoint,
    in_thread,
    turn,
    until,
)
from tests.support.clients import connect as connect_to
from twisted_echo import EchoConfig, EchoFactory
from twisted_echo.admin import http_server
from twisted_echo.admin.pages import AdminServer
from twisted_echo.admin.status_view import ServiceView


class RequestTests(AdminTestCase):
    async def test_garbage(self) -> None:
        """
        What is no HTTP is an end.
        """
        self.patch(http_server, "_TIMEOUT", 0.3)
        await self.opened()
        for data in (
            b"\x16\x03\x01\0\n\n",
            b"GET\r\n\r\n",
            b"a\n" * 100,
            b"\0" * 70000,
        ):
            client = self.raw()
            answer = in_thread(read_all, client)
            await in_thread(send, client, data)
            self.assertNotIn(b" 200 ", await answer)
        await until(lambda: not self.connections)
        self.assertEqual((await self.ask("/healthz")).code, 200)


class BodyTests(AdminTestCase):
    async def test_notKept(self) -> None:
        """
        A body is read, and forgotten: no more of it than a read is held at a time.
        """
        await self.opened()
        held = []
        forget = http_server._Request.handleContentChunk

        def watched(request: Any, data: bytes) -> None:
            forget(request, data)
            request.content.seek(0, 2)
            held.append(
                request.content.tell() + sum(map(len, request.channel._dataBuffer))
            )

        self.patch(http_server._Request, "handleContentChunk", watched)
        answer = await self.ask("/metrics", "POST", b"x" * 30_000_000)
        self.assertEqual(answer.code, 405)
        self.assertGreater(len(held), 100)
        self.assertEqual(set(held), {0})

    async def test_chunked(self) -> None:
        await self.opened()
        body = iter([b"x" * 10_000] * 1000)
        answer = await self.ask("/metrics", "POST", body)
        self.assertEqual(answer.code, 405)

    async def test_form(self) -> None:
        """
        Nor is a form made of it.
        """
        await self.opened()
        for kind in (
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "multipart/form-data",
        ):
            headers = {"Content-Type": kind}
            answer = await self.ask("/sessions", "POST", b"after=x", **headers)
            self.assertIn(answer.code, (400, 405), kind)
        self.assertEqual((await self.ask("/healthz")).code, 200)
        self.flushLoggedErrors()


class ClientTests(AdminTestCase):
    async def test_goesAway(self) -> None:
        """
        A client that goes away while its answer is being made: nobody minds.
        """
        await self.opened(SlowView)
        client = self.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: self.view.asked)
        client.close()
        await until(lambda: not self.connections)
        with capturedLogs() as events:
            self.view.answer()
            await turn()
        self.assertEqual(events, [])

    async def test_atMost(self) -> None:
        """
        There are no more connections than allowed. The oldest makes room for one more.
        """
        await self.opened()
        self.patch(http_server, "_MAX_CONNECTIONS", 3)
        clients = [self.raw()]
        await until(lambda: self.connections == 1)
        clients += [self.raw() for _ in range(2)]
        await until(lambda: self.connections == 3)
        newest = self.raw()
        self.assertEqual(await in_thread(read_all, clients[0]), b"")
        await until(lambda: self.connections == 3)
        for client in (*clients[1:], newest):
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            self.assertIn(b" 200 ", await in_thread(read_all, client))

    async def assert_healthy(self, crowd: list[socket.socket]) -> None:
        """
        However many connections there are, those who ask are answered.
        """
        site = self.admin._site
        assert site is not None
        most, register = 0, site.registerProtocol

        def counted(protocol: Any) -> None:
            nonlocal most
            register(protocol)
            most = max(most, len(site.protocols))

        self.patch(site, "registerProtocol", counted)
        for path in ("/healthz", "/readyz") * 5:
            self.assertEqual((await self.ask(path)).code, 200)
        self.assertLessEqual(most, http_server._MAX_CONNECTIONS)
        self.assertGreater(len(crowd), 0)

    async def test_healthAmongSlowRequests(self) -> None:
        """
        Clients that say nothing, half of a request, or a line, keep nobody out.
        """
        await self.opened()
        for begun in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nX: y\r\n"):
            crowd = [self.raw(begun) for _ in range(http_server._MAX_CONNECTIONS)]
            await until(lambda: self.connections >= http_server._MAX_CONNECTIONS)
            await self.assert_healthy(crowd)

    async def test_healthAmongSlowReaders(self) -> None:
        """
        Nor do those that do not read their answers.
        """
        await self.opened(SlowView)
        self.view.sessionsPage = lambda after, limit: succeeded(
            {"sessions": ["x" * 1000] * 5_000}
        )
        asked = b"GET /sessions HTTP/1.0\r\n\r\n"
        crowd = [
            self.raw(asked, receive_buffer=4096)
            for _ in range(http_server._MAX_CONNECTIONS)
        ]
        await until(lambda: self.connections >= http_server._MAX_CONNECTIONS)
        await self.assert_healthy(crowd)

    async def test_healthAmongUnanswered(self) -> None:
        """
        Nor those whose answers take their time.
        """
        await self.opened(SlowView)
        asked = b"GET /metrics HTTP/1.0\r\n\r\n"
        crowd = [self.raw(asked) for _ in range(http_server._MAX_CONNECTIONS)]
        await until(lambda: len(self.view.asked) == http_server._MAX_CONNECTIONS)
        await self.assert_healthy(crowd)

    async def test_healthAmongJunk(self) -> None:
        """
        Nor those that send a thousand requests at once, or what is none.
        """
        await self.opened()
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for junk in (request * 1000, b"\x16\x03\x01" * 1000, b"\r\n" * 1000):
            crowd = [self.raw(junk) for _ in range(2 * http_server._MAX_CONNECTIONS)]
            await self.assert_healthy(crowd)

    async def test_healthInBurst(self) -> None:
        """
        A thousand that come at once and say nothing are over in a moment, and a request
        among them is answered.
        """
        await self.opened()
        # All of them before the reactor turns again, so they wait in the backlog.
        crowd = [self.raw() for _ in range(300)]
        among = self.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
        crowd += [self.raw() for _ in range(300)]
        self.assertIn(b" 200 ", await in_thread(read_all, among))
        await self.assert_healthy(crowd)

    async def test_arrivedMeanwhile(self) -> None:
        """
        A request that came while the process was busy is answered before its
        connection makes room.
        """
        await self.opened()
        self.patch(http_server, "_MAX_CONNECTIONS", 2)
        first = self.raw()
        await until(lambda: self.connections == 1)
        second = self.raw()
        await until(lambda: self.connections == 2)
        # In one turn there are a request and two more clients.
        first.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        third, fourth = self.raw(), self.raw()
        self.assertIn(b" 200 ", await in_thread(read_all, first))
        for client in second, third, fourth:
            client.close()

    async def test_leftMeanwhile(self) -> None:
        """
        A client that left while the process was busy has made room.
        """
        await self.opened()
        self.patch(http_server, "_MAX_CONNECTIONS", 1)
        for left in range(3):
            first = self.raw()
            await until(lambda: self.connections == 1)
            # In one turn another comes, and it leaves.
            second = self.raw(b"GET /healthz HTTP/1.0\r\n\r\n")
            first.close()
            self.assertIn(b" 200 ", await in_thread(read_all, second), left)
            await until(lambda: self.connections == 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_otherPort(self) -> None:
        """
        With a port of another kind, which is not asked before it accepts, the oldest
        make room, too.
        """
        await self.opened()
        site: Any = self.admin._site
        self.patch(http_server, "_MAX_CONNECTIONS", 2)
        first, second = self.raw(), None
        await until(lambda: self.connections == 1)
        second = self.raw()
        await until(lambda: self.connections == 2)
        self.assertIsNotNone(site.buildProtocol(None))
        self.assertEqual(await in_thread(read_all, first), b"")
        second.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        self.assertIn(b" 200 ", await in_thread(read_all, second))

    async def test_once(self) -> None:
        """
        Many requests at once on one connection have one answer.
        """
        await self.opened()
        client = self.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 300)
        data = await in_thread(read_all, client)
        self.assertEqual(data.count(b"HTTP/1.1 200"), 1)
        self.assertIn(b"connection: close", data.lower())
        await until(lambda: not self.connections)

    async def test_silent(self) -> None:
        """
        A request has its time, whether nothing of it comes or a line now and then;
        and the log has nothing to say of it.
        """
        self.patch(http_server, "_TIMEOUT", 0.5)
        await self.opened()
        with capturedLogs() as events:
            silent = self.raw()
            half = self.raw(b"GET /healthz HT")
            slow = self.raw(b"GET /healthz HTTP/1.1\r\n")
            await until(lambda: self.connections == 3)
            lines = 0
            while self.connections:
                if lines < 300:
                    lines += 1
                    await in_thread(send, slow, b"X-%d: y\r\n" % lines)
                await turn()
            for client in silent, half, slow:
                self.assertEqual(await in_thread(read_all, client), b"")
        self.assertGreater(lines, 1)
        self.assertEqual(events, [])

    async def test_doesNotRead(self) -> None:
        """
        One that does not read its answer is cut off.
        """
        self.patch(http_server, "_TIMEOUT", 0.2)
        await self.opened(SlowView)
        # More than the kernel takes.
        self.view.sessionsPage = lambda after, limit: succeeded(
            {"sessions": ["x" * 1000] * 20_000}
        )
        self.raw(b"GET /sessions HTTP/1.0\r\n\r\n", receive_buffer=4096)
        await until(lambda: self.connections)
        await until(lambda: not self.connections)

    async def test_stall(self) -> None:
        """
        A client whose request is on its way while this process has no time, or comes
        right after, is answered.
        """
        self.patch(http_server, "_TIMEOUT", 0.3)
        await self.opened()
        client = self.raw(b"GET /healthz HTTP/1.0\r\n")
        await until(lambda: self.connections)
        time.sleep(0.6)
        for _ in range(3):
            await turn()
        client.sendall(b"\r\n")
        self.assertIn(b"200 OK", await in_thread(read_all, client))

    async def test_nothingIsKept(self) -> None:
        """
        Connections that came and went, answered or not, leave nothing, without the
        garbage collector's help for more than Twisted's own cycles.
        """
        await self.opened()
        kept: list[Any] = []
        make = http_server.BoundedSite.buildProtocol

        def remembered(site: Any, addr: Any) -> Any:
            connection = make(site, addr)
            kept.append(ref(connection))
            return connection

        self.patch(http_server.BoundedSite, "buildProtocol", remembered)
        for path in ("/metrics", "/sessions", "/healthz", "/nothing") * 5:
            await self.ask(path)
            self.raw(b"GET / HT").close()
        await until(lambda: len(kept) == 40 and not self.connections)
        await turn()
        gc.collect()
        self.assertEqual([each for each in kept if each() is not None], [])


class CloseTests(AdminTestCase):
    async def test_siteTwice(self) -> None:
        """
        A second call of C{close} waits for the same end.
        """
        await self.opened()
        self.raw()
        await until(lambda: self.connections == 1)
        site = self.admin._site
        assert site is not None
        closed = DeferredList([site.close(), site.close()])
        closed.addTimeout(5, reactor)
        await closed
        self.assertEqual(self.connections, 0)

    async def test_idle(self) -> None:
        """
        Connections on which nothing was asked end, and nothing is left: which trial
        looks for.
        """
        await self.opened()
        clients = [self.raw() for _ in range(3)]
        await until(lambda: self.connections == 3)
        site = self.admin._site
        await self.admin.close()
        assert site is not None
        self.assertEqual(site.protocols, {})
        for client in clients:
            self.assertEqual(client.recv(1), b"")
        self.assertIsNone(self.admin.address)
        self.assertRaises(ConnectionRefusedError, connect_to, self.address)

    async def test_whileAnswering(self) -> None:
        """
        A client whose request is being answered gets the whole answer.
        """
        await self.opened(SlowView)
        answer = self.ask("/metrics", Accept=OPENMETRICS)
        await until(lambda: self.view.asked)
        done: list[object] = []
        closed = self.admin.close().addCallback(done.append)
        for _ in range(3):
            await turn()
        self.assertEqual(done, [])
        self.view.answer()
        self.assertTrue((await answer).text.endswith("# EOF\n"))
        await closed

    async def test_neverAnswered(self) -> None:
        """
        But nobody is waited for longer than allowed.
        """
        self.patch(http_server, "_CLOSE_TIMEOUT", 0.1)
        await self.opened(SlowView)
        client = self.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: self.view.asked)
        await self.admin.close()
        self.assertEqual(await in_thread(read_all, client), b"")

    async def test_pastItsDeadline(self) -> None:
        """
        A connection whose deadline has struck, and which is not lost yet, ends too.
        """
        await self.opened()
        self.raw()
        await until(lambda: self.connections)
        assert self.admin._site is not None
        for connection in self.admin._site.protocols:
            connection._deadline.cancel()
        await self.admin.close()

    async def test_twice(self) -> None:
        await self.opened()
        first, second = self.admin.close(), self.admin.close()
        await first
        await second

    async def test_noRight(self) -> None:
        """
        A UNIX socket whose file this user cannot remove, as after C{--uid}, is closed,
        and so are its connections.
        """
        self.service = self.serve(EchoFactory(EchoConfig()))
        path = self.mktemp()
        admin = AdminServer(UNIXServerEndpoint(reactor, path), reactor)
        await admin.open(ServiceView(self.service))
        self.address = admin.address
        client = self.raw()
        port: Any = admin._port

        def unlink(_: object) -> None:
            raise PermissionError(errno.EACCES, "no right")

        self.patch(unix.os, "unlink", unlink)
        await admin.close()
        self.assertFalse(port.connected)
        self.assertEqual(await in_thread(read_all, client), b"")

    async def test_unopened(self) -> None:
        admin = AdminServer(FakeEndpoint(), reactor)
        self.assertIsNone(admin.address)
        await admin.close()

    async def test_whileOpening(self) -> None:
        """
        A port that opens when nobody wants it any more does not stay.
        """
        endpoint = FakeEndpoint(later=True)
        admin = AdminServer(endpoint, reactor)
        opening = admin.open(None)  # type: ignore[arg-type]
        await admin.close()
        endpoint.settle()
        await opening
        self.assertEqual(endpoint.ports[0].closed, 1)
        self.assertIsNone(admin.address)

    async def test_again(self) -> None:
        """
        It can be opened again.
        """
        await self.opened()
        await self.admin.close()
        await self.admin.open(self.view)
        self.address = self.admin.address
        self.assertEqual((await self.ask("/healthz")).code, 200)
