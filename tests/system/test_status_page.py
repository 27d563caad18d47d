"""
The status page in a real Chromium, with a real C{twistd echo} behind it.
"""

import os
import re
import signal
import urllib.request
from typing import Any
from unittest import skipIf

from prometheus_client.parser import text_string_to_metric_families

from tests.support.balancer import held_port
from tests.support.browser import CHROMIUM, Browser
from tests.support.marks import slow
from tests.support.processes import (
    Server,
    connect,
    read_to_end,
    round_trip,
    wait_until,
)
from tests.support.workers_case import WorkersTestCase
from twisted_echo.admin.status_page.answers import Level

# What the page shows, by the tables and the keys of their rows: each cell's text,
# numbers without their commas.
READ = """\
Object.fromEntries([...document.querySelectorAll("tbody")].map((body) => [
  body.dataset.table, Object.fromEntries([...body.rows].map((row) => [
    row.dataset.key,
    [...row.cells].map((cell) => cell.innerText.replace(/(\\d),(?=\\d)/g, "$1")),
  ])),
]))
"""

# The least contrast between a text and what is behind it, with the text.
CONTRAST = """\
(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      const alpha = channels(color)[3];
      if (alpha === undefined || alpha === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  let least = [99, ""];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    const text = texts.currentNode.data.trim();
    if (!text || !element.checkVisibility()) continue;
    const ones = [getComputedStyle(element).color, background(element)];
    const [dark, light] = ones.map(luminance).sort((a, b) => a - b);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < least[0]) least = [contrast, text];
  }
  return least;
})()
"""


@slow
@skipIf(CHROMIUM is None, "chromium is missing")
class StatusPageTests(WorkersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.admin = held_port(self)
        self.url = f"http://127.0.0.1:{self.admin}"
        self.browser = Browser(self)

    def serve(self, *options: str, **more: Any) -> Server:
        return Server.start(self, "--admin", str(self.admin), *options, **more)

    def metrics(self) -> dict[tuple[str, ...], float]:
        """
        What C{/metrics} says, by names without the prefix, and labels.
        """
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=20) as page:
            text = page.read().decode()
        return {
            (
                sample.name.removeprefix("twisted_echo_").removesuffix("_total"),
                *sample.labels.values(),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def shown(self) -> dict[str, dict[str, list[str]]]:
        return self.browser.evaluate(READ)

    def text(self, name: str) -> str:
        return self.browser.evaluate(
            f"document.querySelector('[data-text={name}]').innerText"
        )

    def wait_for_lines(self, number: int) -> None:
        self.browser.wait_until(
            "document.querySelector('[data-key=lines_received]')"
            f".cells[1].innerText.replaceAll(',', '') === '{number}'"
        )

    def assert_quiet(self) -> None:
        """
        The browser had nothing to complain of: no error, no refused style or script,
        nothing that could not be loaded.
        """
        self.assertEqual((self.browser.messages, self.browser.failures), ([], []))

    def test_figures(self) -> None:
        """
        While clients come and go, the figures grow, and are never ahead of those of
        C{/metrics}; when they have gone, they are the same.
        """
        server = self.serve("--max-length", "1000")
        early = connect(self, server.address)
        round_trip(early, b"before\n")
        self.browser.open(self.url)
        self.wait_for_lines(1)
        lines, last = 1, 0
        for number in range(1, 121):
            client = connect(self, server.address)
            for _ in range(number % 7):
                round_trip(client, b"hello\n" * 5)
                lines += 5
            if number % 10 == 0:
                client.sendall(b"x" * 2000)
                self.assertEqual(read_to_end(client), b"")
            client.close()
            now = int(self.shown()["counts"]["lines_received"][1])
            self.assertTrue(last <= now <= lines, (last, now, lines))
            last = now
        wait_until(lambda: self.metrics()["sessions",] == 1)
        self.wait_for_lines(lines)
        wait_until(lambda: self.shown()["counts"]["sessions_opened"][1] == "121")
        self.browser.wait_until(
            "document.getElementById('sessions-now').innerText === '1'"
        )

        metrics, shown = self.metrics(), self.shown()
        for name, cells in shown["counts"].items():
            self.assertEqual(float(cells[1]), metrics[name,], name)
        ended = {
            key[1]: value
            for key, value in metrics.items()
            if key[0] == "sessions_ended" and value
        }
        self.assertEqual(
            {reason: float(cells[2]) for reason, cells in shown["ends"].items()}, ended
        )
        self.assertEqual(ended, {"peer-closed": 108, "line-too-long": 12})
        self.assertEqual(shown["refusals"].keys(), {"none"})
        used = re.search(
            r"(\d+) of (\d+)", shown["limits"]["sessions and handshakes"][0]
        )
        assert used is not None
        self.assertEqual(float(used[1]), metrics["sessions",])
        self.assertEqual(float(used[2]), metrics["sessions_max",])
        # What has changed since the page was opened, and the last hundred.
        self.assertEqual(int(shown["counts"]["lines_received"][2]), lines - 1)
        since = {reason: int(cells[3]) for reason, cells in shown["ends"].items()}
        self.assertEqual(since, {name: int(value) for name, value in ended.items()})
        recent = sum(int(cells[4]) for cells in shown["ends"].values())
        self.assertTrue(100 <= recent <= 120, recent)
        self.assertIn(
            f"Of the last {recent}: peer-closed",
            self.browser.evaluate("document.getElementById('ends-since').innerText"),
        )
        self.assert_quiet()

    def test_slow(self) -> None:
        """
        A client that does not read is named, with what is held for it.
        """
        server = self.serve("--max-length", "1000")
        client = connect(self, server.address, receive_buffer=4096)
        client.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                client.send(b"x" * 999 + b"\n")
        self.browser.open(self.url)
        host, port = client.getsockname()
        self.browser.wait_until(
            f"document.querySelector('[data-text=slow-word]').innerText ==="
            f" '{host}:{port}'"
        )
        (cells,) = self.shown()["waiting"].values()
        self.assertIn(f"{host}:{port}", cells[0])
        self.assertIn("waits until the client reads; paused", cells[0])
        self.assertRegex(cells[2], "KiB$")
        self.assertEqual(self.metrics()["sessions_paused",], 1)
        self.assert_quiet()

    def test_workers(self) -> None:
        """
        The figures are those of all workers, and each has its row.
        """
        server, service = self.start("--admin", str(self.admin))
        clients = self.clients_of_each(server, service, each=2)
        total = sum(map(len, clients.values()))
        self.browser.open(self.url)
        self.wait_for_lines(total)
        processes = self.shown()["processes"]
        self.assertEqual({*processes}, {"parent", "worker 0", "worker 1"})
        for number, pid in service.pids.items():
            cells = processes[f"worker {number}"]
            self.assertEqual(cells[0], f"worker {number}\nlistening")
            self.assertEqual(cells[1], str(len(clients[pid])))
            self.assertEqual(cells[3], "none")
        # One that is killed shows, and so does what it is replaced by.
        victim = service.pids[1]
        os.kill(victim, signal.SIGKILL)
        self.browser.wait_until(
            "document.querySelector('[data-key=\"worker 1\"]').cells[3].innerText"
            " === '1 killed'"
        )
        service.successor(1, victim)
        self.browser.wait_until(
            "document.getElementById('healthy-since').innerText"
            ".includes('restarts of workers: 1')"
        )
        self.assert_quiet()
        self.assert_stops(server, service)

    def test_drain(self) -> None:
        """
        A drain shows. When the service is gone, the page says so, and keeps what it
        had. It goes on when there is another one, from zero.
        """
        server = self.serve("--abort-after", "1000")
        client = connect(self, server.address)
        round_trip(client, b"hello\n")
        self.browser.open(self.url)
        self.wait_for_lines(1)
        self.assertEqual(self.text("healthy-word"), "Yes")
        server.process.send_signal(signal.SIGTERM)
        self.browser.wait_until(
            "document.getElementById('state').innerText === 'draining'"
        )
        self.assertEqual(self.text("healthy-word"), "No")
        self.assert_quiet()
        client.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.browser.wait_until(
            "document.getElementById('state').innerText.includes('does not answer')"
        )
        self.assertEqual(self.shown()["counts"]["lines_received"][1], "1")
        self.assertEqual(self.text("healthy-word"), "No answer")
        self.assertIn("no answer", self.browser.evaluate("document.title"))
        # That, the browser itself says.
        for message in self.browser.messages:
            self.assertRegex(message, "ERR_CONNECTION|ERR_EMPTY_RESPONSE|ERR_NETWORK")
        self.browser.messages.clear()
        self.serve()
        self.browser.wait_until(
            "document.getElementById('state').innerText === 'listening'"
        )
        self.assertEqual(self.shown()["counts"]["lines_received"][1:], ["0", "0"])
        self.assertEqual(self.text("healthy-word"), "Yes")
        since = self.browser.evaluate(
            "document.getElementById('healthy-since').innerText"
        )
        self.assertIn("Since the service was restarted at ", since)
        self.browser.messages[:] = [
            each for each in self.browser.messages if "ERR_CONNECTION" not in each
        ]
        self.assert_quiet()

    def test_otherSoftware(self) -> None:
        """
        A page of other software than that which answers loads itself anew.
        """
        self.serve()
        self.browser.open(self.url)
        self.browser.evaluate("document.documentElement.dataset.revision = 'older'")
        self.browser.wait_for_load()
        self.wait_for_lines(0)
        revision = self.browser.evaluate("document.documentElement.dataset.revision")
        self.assertRegex(revision, "^[0-9a-f]{16}$")
        self.assert_quiet()

    def test_rates(self) -> None:
        """
        A rate is what was counted between two looks, by the seconds between them; what
        is not counted has none.
        """
        self.serve()
        self.browser.open(self.url)
        seconds, counted, expected = 2.5, 10, 4
        found = self.browser.evaluate(
            "(() => {"
            " const total = (n) => ({ sessions: n, lines_received: n,"
            "   received_bytes: 3 * n, sent_bytes: null });"
            f" last = {{ time: 100, total: total({counted}) }};"
            f" return point({{ time: 100 - {seconds}, total: total(0) }});"
            "})()"
        )
        self.assertEqual(
            found,
            {
                "time": 100,
                "sessions": counted,
                "lines": expected,
                "received": 3 * expected,
                "sent": None,
            },
        )
        # The lateness may be measured only since the page was opened, or never.
        for then, now, late in (
            ([1, 2], [4, 2], [3, 0]),
            (None, [4, 2], [4, 2]),
            (None, None, []),
        ):
            counts = [
                "null" if each is None else f"{{ counts: {each} }}"
                for each in (then, now)
            ]
            # In one turn of the page, or else a look of its own comes between.
            found = self.browser.evaluate(
                "([first, last] = "
                f"[{', '.join(counts)}].map((each) =>"
                " ({ total: { reactor_lateness_seconds: each } })), lateCounts())"
            )
            self.assertEqual(found, late)
        for size, text in ((1, "1 byte"), (1536, "1.5 KiB"), (200 << 20, "200 MiB")):
            self.assertEqual(self.browser.evaluate(f"bytes({size})"), text)

    def test_cells(self) -> None:
        """
        A row of a table may take the place of another kind of row.
        """
        self.serve()
        self.browser.open(self.url)
        share, text = '{ share: 0.5, text: "50 %" }', '"5d left"'
        detail = '{ text: "one", detail: "two" }'
        for cell, expected in (
            (share, "50 %"),
            (text, "5d left"),
            (share, "50 %"),
            (detail, "onetwo"),
            (text, "5d left"),
        ):
            found = self.browser.evaluate(
                f'table("limits", [{{ key: "x", cells: ["x", {cell}] }}]),'
                " document.querySelector('[data-key=x]').cells[1].textContent"
            )
            self.assertEqual(found, expected)

    def test_withoutScript(self) -> None:
        """
        Without JavaScript the figures are there, and nothing that would have to move.
        """
        server = self.serve()
        client = connect(self, server.address)
        round_trip(client, b"hello\n")
        self.browser.call("Emulation.setScriptExecutionDisabled", value=True)
        self.browser.open(self.url)
        shown = self.shown()
        self.assertEqual(shown["counts"]["lines_received"], ["Lines received", "1"])
        self.assertIn("this process", shown["processes"])
        self.assertEqual(self.text("full-word"), "No")
        body = self.browser.evaluate("document.body.innerText")
        self.assertIn("reload for newer figures", body)
        for moving in "every 2 seconds", "Since opened", "Lines a second":
            self.assertNotIn(moving, body)
        self.assert_quiet()

    def test_looks(self) -> None:
        """
        On a telephone and on a desk the page does not scroll sideways, and every text
        can be read, light and dark.
        """
        server = self.serve("--max-length", "100", "--max-sessions", "5")
        for _ in range(4):
            half = connect(self, server.address)
            half.sendall(b"x")
        client = connect(self, server.address)
        client.sendall(b"x" * 200)
        read_to_end(client)
        client.close()
        self.browser.open(self.url)
        self.browser.wait_until("document.querySelectorAll('.chart path').length >= 7")
        self.browser.wait_until(
            "document.querySelector('[data-key=line-too-long]') !== null"
        )
        self.assertEqual(self.text("full-word"), "Nearly")
        for width in 390, 1280:
            for dark in False, True:
                self.browser.view(width, dark=dark)
                # (A scroll bar takes some of the width.)
                wide, room = self.browser.evaluate(
                    "[document.documentElement.scrollWidth, innerWidth]"
                )
                self.assertLessEqual(wide, room)
                self.assertEqual(room, width)
                for level in Level:
                    contrast, text = self.browser.evaluate(
                        "document.querySelectorAll('[data-level]').forEach("
                        f"(each) => {{ each.dataset.level = '{level.value}' }}), "
                        + CONTRAST
                    )
                    self.assertGreaterEqual(contrast, 4.5, (text, width, dark, level))
        self.assert_quiet()

    def test_names(self) -> None:
        """
        A screen reader is told what each part is, and hears the state when it changes.
        """
        self.serve()
        self.browser.open(self.url)
        self.browser.wait_until("document.querySelectorAll('.chart path').length >= 7")
        names = self.browser.names()
        for heading in (
            *("twisted-echo", "Is it healthy?", "Is it full?", "Who is slow?"),
            *("Why did sessions end?", "Why sessions ended", "Limits", "Processes"),
        ):
            self.assertIn(heading, names["heading"])
        self.assertEqual(len(names["status"]), 1)
        tables = names["table"]
        self.assertEqual(len({*tables}), len(self.shown()))
        self.assertNotIn("", tables)
        images = [name for name in names["image"] if name]
        self.assertEqual(len(images), 3)
        for name in images:
            self.assertRegex(name, r"^Over the last \d+ seconds: now .+, at most .+$")
        for role in "columnheader", "rowheader", "link", "region":
            self.assertNotIn("", names[role], role)
        self.assertEqual(self.browser.evaluate("document.documentElement.lang"), "en")
        self.assert_quiet()
