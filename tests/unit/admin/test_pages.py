"""
L{twisted_echo.admin.pages}, over real HTTP.
"""

from typing import Any

from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import fail
from twisted.logger import LogLevel, capturedLogs

from tests.support.admin import OPENMETRICS, AdminTestCase, SlowView
from tests.support.clients import (
    until,
)
from tests.support.counting_transports import DONE, Counting
from twisted_echo.lifecycle import State


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
        for path in "/", "/status", "/metrics", "/healthz", "/readyz", "/sessions":
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
                ("/", 200),
                ("/status", 200),
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
            *(
                "/index.html",
                "/status/",
                "/favicon.ico",
                "/metric",
                "/metrics/",
                "/metrics/x",
                "/healthz/..",
                "//",
            ),
            *("/sessions/1", "/%2e%2e/etc/passwd", "/metrics%00"),
        ):
            answer = await self.ask(path)
            self.assertEqual(answer.code, 404, path)


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
        await self.opened(SlowView)
        answer = self.ask("/metrics", Accept=OPENMETRICS)
        await until(lambda: self.view.asked)
        self.view.asked.pop().callback(None)
        shown = await answer
        self.assertEqual(shown.code, 500)
        self.assertIn("text/plain", shown.headers["content-type"])
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
