"""
Tests for the load that C{compare} puts on a server.
"""

import io
import json
import socket
from collections.abc import Iterator
from dataclasses import replace

from tests.support.bench import RESET, Answer, LoadCase, MisbehavingServer, serve_both
from twisted_echo.bench import bursts
from twisted_echo.bench.bursts import (
    Burst,
    Order,
    SteadyLoad,
    VolleyChurn,
    VolleyLoad,
    new_load,
)
from twisted_echo.bench.latency import PERCENTILES


class BurstTests(LoadCase):
    def order(self, target: str, **more: int | bool) -> Order:
        host, _, port = target.removeprefix("tls:").rpartition(":")
        return replace(Order(host, int(port), 3, 64), **more)  # type: ignore[arg-type]

    def new_load(self, order: Order) -> VolleyLoad:
        load = new_load(order)
        self.addCleanup(load.close)
        return load

    def test_kinds(self) -> None:
        for more, kind in (
            ({}, VolleyLoad),
            ({"rate": 5}, SteadyLoad),
            ({"churn": True}, VolleyChurn),
        ):
            self.assertIs(type(new_load(self.order("h:7", **more))), kind)

    def test_volleys(self) -> None:
        """
        All connections send their lines, and all are back, at least once.
        """
        plain, _, _ = serve_both(self)
        load = self.new_load(self.order(plain, depth=4))
        load.connect()
        for _ in range(2):
            burst = load.burst(0.0)
            self.assertEqual(burst, Burst(12, {}))
        self.assertEqual(load.burst(0.02).lines % 12, 0)

    def test_steady(self) -> None:
        """
        As many lines as are due, each with its latency.
        """
        plain, _, _ = serve_both(self)
        load = self.new_load(self.order(plain, rate=1000))
        load.connect()
        burst = load.burst(0.05)
        self.assertEqual(burst.lines, 50)
        self.assertEqual(burst.latency_us.keys(), PERCENTILES.keys())
        self.assertGreater(burst.latency_us["p50"], 0)

    def test_churn(self) -> None:
        """
        Each line has a connection, which the server has seen and closed.
        """
        lines = []

        def answer(number: int, line: bytes) -> bytes:
            lines.append((number, line))
            return line

        load = self.new_load(
            self.order(MisbehavingServer(self, answer).target, churn=True)
        )
        load.connect()
        self.assertEqual(load.burst(0.0).lines, 3)
        self.assertEqual([number for number, _ in lines], [0] * 3)
        self.assertEqual(len({line for _, line in lines}), 3)

    def test_overTLS(self) -> None:
        _, tls, _ = serve_both(self)
        for more, lines in (({"churn": True}, 3), ({"depth": 2}, 6), ({"rate": 9}, 1)):
            load = self.new_load(self.order(tls, tls=True, **more))
            load.connect()
            self.assertEqual(load.burst(0.0).lines, lines)

    def test_records(self) -> None:
        """
        Several lines that come back in one TLS record are all noticed.
        """
        _, tls, _ = serve_both(self)
        load = self.new_load(self.order(tls, tls=True, rate=1))
        load.connect()
        client = load._clients[0]
        client.send(client.next_lines(1) + client.next_lines(1))
        client.take()
        self.assertEqual(client._exchange.outstanding, 0)

    def talk(self, order: Order, *seconds: float) -> list[str]:
        """
        @return: what the process says.
        """

        def lines() -> Iterator[str]:
            yield json.dumps(vars(order)) + "\n"
            yield from (f"{each}\n" for each in seconds)

        said = io.StringIO()
        bursts.main(io.StringIO("".join(lines())), said)
        return said.getvalue().splitlines()

    def test_process(self) -> None:
        plain, _, _ = serve_both(self)
        said = self.talk(self.order(plain), 0.0, 0.0)
        self.assertEqual(said, ["ready", "done [3, {}]", "done [3, {}]"])

    def test_broken(self) -> None:
        """
        Whatever a server does to a line or a connection is the last word.
        """
        self.patch(bursts, "PATIENCE", 0.2)

        def breaks(answer: Answer, says: str, **more: bool | int) -> None:
            order = self.order(MisbehavingServer(self, answer).target, **more)
            *_, last = self.talk(order, 0.05)
            self.assertRegex(last, f"^broken {says}")

        for more in ({}, {"churn": True}):
            breaks(lambda number, line: line.lower(), "line 1 came back wrong", **more)
            breaks(
                lambda number, line: None,
                "closed by the server; 1 lines",
                **more,
            )
            breaks(lambda number, line: b"", "nothing came back for 0.2 s", **more)
            breaks(lambda number, line: RESET, ".*(reset|Broken pipe)", **more)
        breaks(lambda number, line: line * 2, "(64 bytes )?more came back", churn=True)
        # The line that shows that the connection is accepted is answered.
        only_first = lambda number, line: b"" if number else line  # noqa: E731
        breaks(only_first, "nothing came back for 0.2 s", rate=100)
        breaks(only_first, "nothing came back for 0.2 s")

    def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = "{}:{}".format(*listener.getsockname())
        (said,) = self.talk(self.order(target))
        self.assertRegex(said, "^broken .*refused")
