"""
L{twisted_echo.admin.pages} and L{twisted_echo.admin.http_server}, over real HTTP.
"""

import contextlib
import errno
import gc
import http.client
import json
import socket
import time
from typing import Any
from weakref import ref

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.internet import reactor, unix
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.logger import LogLevel, capturedLogs

from tests.support.clients import (
    FakeEndpoint,
    ServedTestCase,
    in_thread,
    turn,
    until,
)
from tests.support.clients import connect as connect_to
from tests.unit.session.test_statistics import DONE, Counting
from twisted_echo import EchoConfig, EchoFactory, SessionService
from twisted_echo.admin import http_server as bounded
from twisted_echo.admin.pages import AdminServer
from twisted_echo.admin.status_view import ServiceView
from twisted_echo.lifecycle import State

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Answer:
    """
    What a client gets.
    """

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.code = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def read_all(client: socket.socket) -> bytes:
    """
    Read until the connection ends, however it does.
    """
    data = b""
    try:
        while chunk := client.recv(1 << 16):
            data += chunk
    except ConnectionError:
        pass
    return data


class Slow(ServiceView):
    """
    A view that answers when it is told to.
    """

    def __init__(self, service: SessionService) -> None:
        super().__init__(service)
        self.asked: list[Deferred[Any]] = []

    def observe(self) -> Any:
        self.asked.append(Deferred())
        return self.asked[-1]

    def answer(self) -> None:
        super().observe().chainDeferred(self.asked.pop(0))


class AdminTestCase(ServedTestCase):
    async def opened(self, view: Any = ServiceView, **config: Any) -> None:
        config.setdefault("measure", True)
        self.service = self.serve(EchoFactory(EchoConfig(**config)))
        self.view = view(self.service)
        self.admin = AdminServer(
            TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), reactor
        )
        self.addCleanup(self.admin.close)
        await self.admin.open(self.view)
        self.address: Any = self.admin.address

    def _ask(self, method: str, path: str, body: Any, headers: Any) -> Answer:
        connection = http.client.HTTPConnection(
            self.address.host, self.address.port, timeout=20
        )
        try:
            connection.request(method, path, body, headers)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> Any:
        return in_thread(self._ask, method, path, body, headers)

    def raw(self, data: bytes = b"", receive_buffer: int = 0) -> socket.socket:
        client = connect_to(self.address, receive_buffer)
        self.addCleanup(client.close)
        if data:
            client.sendall(data)
        return client

    @property
    def connections(self) -> int:
        assert self.admin._site is not None
        return len(self.admin._site.protocols)


class MetricsTests(AdminTestCase):
    async def test_text(self) -> None:
        """
        Text, unless something else is asked for.
        """
        await self.opened()
        answer = await self.ask("/metrics")
        self.assertEqual(answer.code, 200)
        self.assertIn("text/plain; version=0.0.4", answer.headers["content-type"])
        self.assertEqual(answer.headers["cache-control"], "no-store")
        families = {family.name: family for family in read_text(answer.text)}
        self.assertEqual(families["twisted_echo_sessions"].samples[0].value, 0)
        self.assertIn("process_cpu_seconds", families)

    async def test_openMetrics(self) -> None:
        await self.opened()
        answer = await self.ask("/metrics", Accept=OPENMETRICS)
        self.assertEqual(answer.code, 200)
        self.assertTrue(
            answer.headers["content-type"].startswith("application/openmetrics-text")
        )
        families = {family.name: family for family in read_openmetrics(answer.text)}
        self.assertEqual(families["twisted_echo_sessions_ended"].type, "counter")

    async def test_accept(self) -> None:
        """
        Whatever is accepted, there is an answer that can be read.
        """
        await self.opened()
        for accept in (
            *("", "*/*", ";;;,,,", "text/plain;version=x", "\xff\xfe", "a" * 9000),
            "application/openmetrics-text;version=x.y",
            "application/openmetrics-text;version=-1",
            "application/openmetrics-text;version=1.0.0;escaping=x",
            "text/plain;version=1.0.0;escaping=allow-utf-8",
            "application/openmetrics-text;q=0.5;version=0.0.1,text/plain;q=0.1",
        ):
            answer = await self.ask("/metrics", Accept=accept)
            self.assertEqual(answer.code, 200, accept)
            isOpen = answer.headers["content-type"].startswith("application/openm")
            names = [
                each.name
                for each in (read_openmetrics if isOpen else read_text)(answer.text)
            ]
            self.assertIn("twisted_echo_sessions", names)

    async def test_counts(self) -> None:
        """
        What is shown is what has been, at the moment.
        """
        await self.opened()
        _, client = await self.session(self.service)
        client.sendall(b"a\nb\n")
        await until(lambda: self.service.snapshot().linesReceived == 2)
        found = {
            sample.name: sample.value
            for family in read_text((await self.ask("/metrics")).text)
            for sample in family.samples
            if not sample.labels
        }
        self.assertEqual(found["twisted_echo_lines_received_total"], 2)
        self.assertEqual(found["twisted_echo_received_bytes_total"], 4)
        self.assertEqual(found["twisted_echo_sessions"], 1)


class StateTests(AdminTestCase):
    async def test_health(self) -> None:
        """
        While the reactor turns, whatever the service does.
        """
        await self.opened()
        for _ in range(2):
            answer = await self.ask("/healthz")
            self.assertEqual((answer.code, answer.text), (200, "ok\n"))
            await self.service.stopService()

    async def test_readiness(self) -> None:
        """
        200 while it listens; else 503, and what it is doing.
        """
        await self.opened()
        for state in State:
            seen = self.patch(type(self.service), "state", state)
            answer = await self.ask("/readyz")
            seen.restore()
            if state is State.LISTENING:
                self.assertEqual((answer.code, answer.text), (200, "ready\n"))
            else:
                self.assertEqual((answer.code, answer.text), (503, f"{state.value}\n"))

    async def test_drain(self) -> None:
        """
        It outlives the drain, and tells of it.
        """
        await self.opened()
        _, client = await self.session(self.service)
        self.assertEqual((await self.ask("/readyz")).code, 200)
        self.service.suspend()
        self.assertEqual((await self.ask("/readyz")).text, "suspended\n")
        stopped = self.service.stopService()
        answer = await self.ask("/readyz")
        self.assertEqual((answer.code, answer.text), (503, "draining\n"))
        text = (await self.ask("/metrics")).text
        self.assertIn('twisted_echo_state{twisted_echo_state="draining"} 1.0', text)
        (row,) = (await self.ask("/sessions")).json["sessions"]
        self.assertEqual(row["state"], "closing")
        client.close()
        await stopped
        self.assertEqual((await self.ask("/readyz")).text, "stopped\n")
        self.assertIn("twisted_echo_sessions 0.0", (await self.ask("/metrics")).text)


class SessionsTests(AdminTestCase):
    def made(self, count: int, peer: Any = None) -> None:
        for _ in range(count):
            session = self.service.factory.buildProtocol(None)
            assert session is not None
            session.makeConnection(Counting(peerAddress=peer))
            self.addCleanup(session.connectionLost, DONE)

    async def test_pages(self) -> None:
        """
        From the first page to the one that has no next.
        """
        await self.opened()
        self.made(2345)
        ids: list[int] = []
        path, pages = "/sessions?limit=1000", 0
        while True:
            answer = await self.ask(path)
            self.assertEqual(answer.headers["content-type"], "application/json")
            page = answer.json
            ids += [row["id"] for row in page["sessions"]]
            pages += 1
            self.assertEqual(page["total"], 2345)
            if page["next"] is None:
                break
            path = f"/sessions?limit=1000&after={page['next']}"
        self.assertEqual((ids, pages), (list(range(1, 2346)), 3))
        self.assertEqual(len((await self.ask("/sessions")).json["sessions"]), 100)

    async def test_badQueries(self) -> None:
        """
        What was given, and what is allowed.
        """
        await self.opened()
        for query, given, allowed in (
            ("limit=0", "'0'", "from 1 to 1000"),
            ("limit=1001", "'1001'", "from 1 to 1000"),
            ("limit=-1", "'-1'", "from 1 to 1000"),
            ("limit=", "''", "from 1 to 1000"),
            ("limit=ten", "'ten'", "from 1 to 1000"),
            ("limit=%d9%a3", "'\ufffd\ufffd'", "from 1 to 1000"),
            ("limit=" + "9" * 5000, "'999", "from 1 to 1000"),
            ("after=x", "'x'", "a number"),
            ("after=1_0", "'1_0'", "a number"),
            ("after=" + "9" * 5000, "'999", "a number"),
            ("peer=1", "b'peer'", "only 'after' and 'limit'"),
        ):
            answer = await self.ask("/sessions?" + query)
            self.assertEqual(answer.code, 400, query)
            self.assertIn(given, answer.text)
            self.assertIn(allowed, answer.text)
            self.assertIn("text/plain", answer.headers["content-type"])

    async def test_escaped(self) -> None:
        """
        A peer's path, which a PROXY header has, holds what the peer likes.
        """
        await self.opened()
        for name in (b"/\n\r\0\x1b\x7f\xff", "/\u2028<script>\"'\\", b"\n" * 107):
            self.made(1, UNIXAddress(name))
        answer = await self.ask("/sessions")
        self.assertTrue(answer.text.removesuffix("\n").isprintable())
        self.assertTrue(answer.text.isascii())
        for row in answer.json["sessions"]:
            self.assertTrue(row["peer"].isprintable(), row)


class MethodTests(AdminTestCase):
    async def test_others(self) -> None:
        """
        Nothing can be done but to look.
        """
        await self.opened()
        for path in "/metrics", "/healthz", "/readyz", "/sessions":
            for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "NONE"):
                answer = await self.ask(path, method)
                self.assertEqual(answer.code, 405, (method, path))
                self.assertEqual(answer.headers["allow"], "GET, HEAD")

    async def test_head(self) -> None:
        """
        The same without a body; and the log has nothing to say of it.
        """
        await self.opened()
        with capturedLogs() as events:
            for path, code in (
                ("/metrics", 200),
                ("/healthz", 200),
                ("/readyz", 200),
                ("/sessions", 200),
                ("/sessions?limit=x", 400),
            ):
                answer = await self.ask(path, "HEAD")
                self.assertEqual((answer.code, answer.body), (code, b""), path)
                self.assertGreater(int(answer.headers["content-length"]), 0)
        self.assertEqual([event["log_format"] for event in events], [])

    async def test_paths(self) -> None:
        await self.opened()
        for path in (
            *("/", "/metric", "/metrics/", "/metrics/x", "/healthz/..", "//"),
            *("/sessions/1", "/%2e%2e/etc/passwd", "/metrics%00"),
        ):
            answer = await self.ask(path)
            self.assertEqual(answer.code, 404, path)

    async def test_garbage(self) -> None:
        """
        What is no HTTP is an end.
        """
        self.patch(bounded, "_TIMEOUT", 0.3)
        await self.opened()
        for data in (
            b"\x16\x03\x01\0\n\n",
            b"GET\r\n\r\n",
            b"a\n" * 100,
            b"\0" * 70000,
        ):
            client = self.raw()
            answer = in_thread(read_all, client)
            await in_thread(_send, client, data)
            self.assertNotIn(b" 200 ", await answer)
        await until(lambda: not self.connections)
        self.assertEqual((await self.ask("/healthz")).code, 200)


def _send(client: socket.socket, data: bytes) -> None:
    """
    Send what the server takes.
    """
    with contextlib.suppress(ConnectionError):
        client.sendall(data)


class BodyTests(AdminTestCase):
    async def test_notKept(self) -> None:
        """
        A body is read, and forgotten: no more of it than a read is held at a time.
        """
        await self.opened()
        held = []
        forget = bounded._Request.handleContentChunk

        def watched(request: Any, data: bytes) -> None:
            forget(request, data)
            request.content.seek(0, 2)
            held.append(
                request.content.tell() + sum(map(len, request.channel._dataBuffer))
            )

        self.patch(bounded._Request, "handleContentChunk", watched)
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


class FailureTests(AdminTestCase):
    async def failing(self, observe: Any) -> None:
        await self.opened()
        self.view.observe = observe
        for number in (1, 2):
            with capturedLogs() as events:
                answer = await self.ask("/metrics")
            self.assertEqual(answer.code, 500)
            self.assertNotIn("ZeroDivision", answer.text)
            self.assertIn("text/plain", answer.headers["content-type"])
            bad = [each for each in events if each["log_level"] >= LogLevel.warn]
            self.assertEqual(len(bad), 1, number)
            self.assertEqual(bad[0]["path"], "/metrics")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual((await self.ask("/healthz")).code, 200)

    async def test_fails(self) -> None:
        """
        A page that cannot be made is a 500 that tells nothing, and one event in the
        log that tells all.
        """
        await self.failing(lambda: fail(ZeroDivisionError()))

    async def test_raises(self) -> None:
        def observe() -> None:
            raise ZeroDivisionError

        await self.failing(observe)

    async def test_cannotBeShown(self) -> None:
        """
        So is one of numbers that are none.
        """
        await self.opened(Slow)
        answer = self.ask("/metrics", Accept=OPENMETRICS)
        await until(lambda: self.view.asked)
        self.view.asked.pop().callback(None)
        shown = await answer
        self.assertEqual(shown.code, 500)
        self.assertIn("text/plain", shown.headers["content-type"])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)


class ClientTests(AdminTestCase):
    async def test_goesAway(self) -> None:
        """
        A client that goes away while its answer is being made: nobody minds.
        """
        await self.opened(Slow)
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
        self.patch(bounded, "_MAX_CONNECTIONS", 3)
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
        self.assertLessEqual(most, bounded._MAX_CONNECTIONS)
        self.assertGreater(len(crowd), 0)

    async def test_healthAmongSlowRequests(self) -> None:
        """
        Clients that say nothing, half of a request, or a line, keep nobody out.
        """
        await self.opened()
        for begun in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nX: y\r\n"):
            crowd = [self.raw(begun) for _ in range(bounded._MAX_CONNECTIONS)]
            await until(lambda: self.connections >= bounded._MAX_CONNECTIONS)
            await self.assert_healthy(crowd)

    async def test_healthAmongSlowReaders(self) -> None:
        """
        Nor do those that do not read their answers.
        """
        await self.opened(Slow)
        self.view.sessionsPage = lambda after, limit: _succeeded(
            {"sessions": ["x" * 1000] * 5_000}
        )
        asked = b"GET /sessions HTTP/1.0\r\n\r\n"
        crowd = [
            self.raw(asked, receive_buffer=4096)
            for _ in range(bounded._MAX_CONNECTIONS)
        ]
        await until(lambda: self.connections >= bounded._MAX_CONNECTIONS)
        await self.assert_healthy(crowd)

    async def test_healthAmongUnanswered(self) -> None:
        """
        Nor those whose answers take their time.
        """
        await self.opened(Slow)
        asked = b"GET /metrics HTTP/1.0\r\n\r\n"
        crowd = [self.raw(asked) for _ in range(bounded._MAX_CONNECTIONS)]
        await until(lambda: len(self.view.asked) == bounded._MAX_CONNECTIONS)
        await self.assert_healthy(crowd)

    async def test_healthAmongJunk(self) -> None:
        """
        Nor those that send a thousand requests at once, or what is none.
        """
        await self.opened()
        request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        for junk in (request * 1000, b"\x16\x03\x01" * 1000, b"\r\n" * 1000):
            crowd = [self.raw(junk) for _ in range(2 * bounded._MAX_CONNECTIONS)]
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
        self.patch(bounded, "_MAX_CONNECTIONS", 2)
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

    async def test_otherPort(self) -> None:
        """
        With a port of another kind, which is not asked before it accepts, the oldest
        make room, too.
        """
        await self.opened()
        site: Any = self.admin._site
        self.patch(bounded, "_MAX_CONNECTIONS", 2)
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
        self.patch(bounded, "_TIMEOUT", 0.5)
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
                    await in_thread(_send, slow, b"X-%d: y\r\n" % lines)
                await turn()
            for client in silent, half, slow:
                self.assertEqual(await in_thread(read_all, client), b"")
        self.assertGreater(lines, 1)
        self.assertEqual(events, [])

    async def test_doesNotRead(self) -> None:
        """
        One that does not read its answer is cut off.
        """
        self.patch(bounded, "_TIMEOUT", 0.2)
        await self.opened(Slow)
        # More than the kernel takes.
        self.view.sessionsPage = lambda after, limit: _succeeded(
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
        self.patch(bounded, "_TIMEOUT", 0.3)
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
        make = bounded.BoundedSite.buildProtocol

        def remembered(site: Any, addr: Any) -> Any:
            connection = make(site, addr)
            kept.append(ref(connection))
            return connection

        self.patch(bounded.BoundedSite, "buildProtocol", remembered)
        for path in ("/metrics", "/sessions", "/healthz", "/nothing") * 5:
            await self.ask(path)
            self.raw(b"GET / HT").close()
        await until(lambda: len(kept) == 40 and not self.connections)
        await turn()
        gc.collect()
        self.assertEqual([each for each in kept if each() is not None], [])


def _succeeded(value: Any) -> Any:
    deferred: Deferred[Any] = Deferred()
    deferred.callback(value)
    return deferred


class CloseTests(AdminTestCase):
    async def test_siteTwice(self) -> None:
        """
        Whoever closes it again is told as well when it is done.
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
        Whoever is being answered gets the answer, whole.
        """
        await self.opened(Slow)
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
        self.patch(bounded, "_CLOSE_TIMEOUT", 0.1)
        await self.opened(Slow)
        client = self.raw(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: self.view.asked)
        await self.admin.close()
        self.assertEqual(await in_thread(read_all, client), b"")

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
