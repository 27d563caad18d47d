"""
L{twisted_echo.admin.status_page.page}, over real HTTP.
"""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import capturedLogs

from tests.support.admin import AdminTestCase, SlowView, succeeded
from tests.support.clients import until
from tests.support.counting_transports import DONE, Counting
from tests.support.snapshots import full, observed, seen_worker
from twisted_echo.admin.status_page.answers import MOST_WAITING


class Page(HTMLParser):
    """
    The texts of a page: those of its places, and the cells of its tables by their rows.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.rows: dict[str, list[str]] = {}
        self._place = self._row = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        self._place = given.get("data-text", "")
        if tag == "tbody":
            self._table = given["data-table"]
        elif tag == "tr" and "data-key" in given:
            self._row = f"{self._table}:{given['data-key']}"
            self.rows[self._row] = []
        elif tag in ("th", "td") and self._row:
            self.rows[self._row].append("")

    def handle_endtag(self, tag: str) -> None:
        self._place = ""
        if tag == "tr":
            self._row = ""

    def handle_data(self, data: str) -> None:
        if self._place:
            self.texts[self._place] = data
        elif self._row and self.rows[self._row]:
            self.rows[self._row][-1] += data


class PageTests(AdminTestCase):
    async def page(self) -> Page:
        answer = await self.ask("/")
        self.assertEqual(answer.code, 200, answer.text)
        self.assertNotIn("<!--", answer.text)
        return Page(answer.text)

    async def test_figures(self) -> None:
        """
        The page has the figures of the moment in it, and C{/status} has the same.
        """
        await self.opened()
        _, client = await self.session(self.service)
        client.sendall(b"a\nb\n")
        await until(lambda: self.service.snapshot().linesReceived == 2)
        page = await self.page()
        self.assertEqual(page.texts["state"], "listening")
        self.assertEqual(page.texts["healthy-word"], "Yes")
        self.assertEqual(page.rows["counts:lines_received"], ["Lines received", "2"])
        self.assertEqual(page.rows["counts:received_bytes"], ["Bytes received", "4"])
        status = (await self.ask("/status")).json
        self.assertEqual(status["total"]["lines_received"], 2)
        self.assertEqual(status["total"]["sessions"], 1)
        # Every place of the page has a text that the script can bring up to date.
        self.assertLessEqual(set(page.texts), set(status["texts"]))
        tables = {
            given["data-table"] for _, given in page.tags if "data-table" in given
        }
        self.assertEqual(tables, set(status["tables"]))
        html = next(given for tag, given in page.tags if tag == "html")
        self.assertEqual(html["data-revision"], status["texts"]["revision"])

    async def test_workers(self) -> None:
        await self.opened()
        workers = {"0": seen_worker(full()), "1": seen_worker(None)}
        self.view.observe = lambda: succeeded(observed(full(), workers=workers))
        page = await self.page()
        self.assertIn("Worker 1 is gone.", page.texts["healthy-text"])
        self.assertIn("processes:worker 1", page.rows)

    async def test_drain(self) -> None:
        await self.opened()
        _, client = await self.session(self.service)
        stopped = self.service.stopService()
        page = await self.page()
        self.assertEqual(page.texts["state"], "draining")
        self.assertEqual(page.texts["healthy-word"], "No")
        client.close()
        await stopped
        self.assertEqual((await self.page()).texts["state"], "stopped")

    async def test_waiting(self) -> None:
        """
        At most ten of the sessions that wait, however many there are.
        """
        await self.opened()
        row = {
            "id": 1,
            "peer": "192.0.2.1:7",
            "state": "paused",
            "pending": 2048,
            "waitsFor": "client",
            "waited": 61.4,
            "age": 99.0,
        }
        asked: list[int] = []

        def waiting(limit: int) -> Any:
            asked.append(limit)
            return succeeded([{**row, "id": number} for number in range(30)])

        self.view.waitingSessions = waiting
        found = [key for key in (await self.page()).rows if key.startswith("waiting:")]
        self.assertEqual((len(found), asked), (MOST_WAITING, [MOST_WAITING]))

    async def test_atOnce(self) -> None:
        """
        It does not wait for one figure before it asks for the other: a worker that
        hangs delays it once.
        """
        await self.opened()
        observe, seen, waiting = self.view.observe, Deferred(), Deferred()
        asked = []

        def sessions(limit: int) -> Any:
            asked.append(limit)
            return waiting

        self.view.observe = lambda: seen
        self.view.waitingSessions = sessions
        page = Deferred.fromCoroutine(self.page())
        await until(lambda: asked)
        seen.callback(await maybeDeferred(observe))
        waiting.callback([])
        self.assertIn("healthy-word", (await page).texts)

    async def test_escaped(self) -> None:
        """
        What a peer chooses is text, in the page and in its figures.
        """
        await self.opened()
        names = (b"/<script>alert(1)</script>", b"/\"'><img src=x>&amp;\xff\n")
        for name in names:
            transport = Counting(peerAddress=UNIXAddress(name))
            session = self.service.factory.buildProtocol(None)
            session.makeConnection(transport)
            session.dataReceived(b"x" * 2000)
            self.addCleanup(session.connectionLost, DONE)
        page = await self.page()
        tags = {tag for tag, _ in page.tags}
        self.assertNotIn("img", tags)
        self.assertEqual([tag for tag, _ in page.tags].count("script"), 1)
        found = [cells[0] for key, cells in page.rows.items() if "waiting:" in key]
        self.assertEqual(len(found), 2)
        self.assertIn("/<script>alert(1)</script>", "".join(found))
        self.assertTrue((await self.ask("/status")).text.removesuffix("\n").isascii())

    async def test_policy(self) -> None:
        """
        The browser runs what the file has, by its hash, and asks nobody else.
        """
        await self.opened()
        answer = await self.ask("/")
        policy = dict(
            part.split(" ", 1)
            for part in answer.headers["content-security-policy"].split("; ")
        )
        for element in "style", "script":
            (text,) = re.findall(f"<{element}>(.*?)</{element}>", answer.text, re.S)
            digest = hashlib.sha256(text.encode()).digest()
            expected = f"'sha256-{base64.b64encode(digest).decode()}'"
            self.assertEqual(policy.pop(f"{element}-src"), expected)
        self.assertEqual(
            policy,
            {
                "default-src": "'none'",
                "img-src": "data:",
                "connect-src": "'self'",
                "base-uri": "'none'",
                "form-action": "'none'",
                "frame-ancestors": "'none'",
                "require-trusted-types-for": "'script'",
                "trusted-types": "'none'",
            },
        )
        tags = Page(answer.text).tags
        # Without one, browsers ask for /favicon.ico.
        (icon,) = [given["href"] for _, given in tags if given.get("rel") == "icon"]
        self.assertTrue(str(icon).startswith("data:image/svg+xml,"))
        for tag, given in tags:
            self.assertNotIn("style", given, tag)
            self.assertEqual([each for each in given if each.startswith("on")], [])
            for name in "src", "href":
                self.assertNotRegex(given.get(name) or "", "^(?!data:)[a-z]*:?//")

    async def test_headers(self) -> None:
        """
        Nothing is kept, nothing is guessed, and no other site may look.
        """
        await self.opened()
        for path in "/", "/status", "/metrics", "/sessions", "/healthz", "/readyz":
            headers = (await self.ask(path)).headers
            self.assertEqual(headers["cache-control"], "no-store", path)
            self.assertEqual(headers["x-content-type-options"], "nosniff", path)
            self.assertEqual(headers["cross-origin-resource-policy"], "same-origin")
        page = (await self.ask("/")).headers
        self.assertEqual(page["content-type"], "text/html; charset=utf-8")
        self.assertEqual(page["referrer-policy"], "no-referrer")
        self.assertEqual(page["cross-origin-opener-policy"], "same-origin")
        status = (await self.ask("/status")).headers
        self.assertEqual(status["content-type"], "application/json")

    async def test_costsNothing(self) -> None:
        """
        While nobody looks, nothing is asked of the service; each look asks once.
        """
        await self.opened(SlowView)
        self.assertEqual(self.view.asked, [])
        answer = self.ask("/")
        await until(lambda: self.view.asked)
        self.assertEqual(len(self.view.asked), 1)
        self.view.answer()
        self.assertEqual((await answer).code, 200)
        self.assertEqual(self.view.asked, [])

    async def test_fails(self) -> None:
        """
        A page that cannot be made is a 500 without details, and an event in the log.
        """
        await self.opened()
        self.view.waitingSessions = lambda limit: fail(ZeroDivisionError())
        for path in "/", "/status":
            with capturedLogs() as events:
                answer = await self.ask(path)
            self.assertEqual(answer.code, 500)
            self.assertNotIn("ZeroDivision", answer.text)
            self.assertIn("text/plain", answer.headers["content-type"])
            self.assertIn(path, [each.get("path") for each in events])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
