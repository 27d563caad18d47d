"""
Tests for churns of C{python -m twisted_echo.bench}: connections that come and go. What
is measured is not judged here.
"""

import json
import socket
import ssl
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import (
    Answer,
    FakeTransport,
    LinuxCase,
    LoadCase,
    MisbehavingServer,
    bench,
    serve_both,
)
from tests.support.certificates import make_certificate
from tests.support.marks import slow
from tests.support.processes import new_folder
from twisted_echo.bench import servers
from twisted_echo.bench.children import Child
from twisted_echo.bench.churn import Visit
from twisted_echo.bench.comparison import Case, Comparison, cases
from twisted_echo.bench.load import run_load
from twisted_echo.bench.load_lines import Exchange, LineSource
from twisted_echo.bench.plan import Plan, Target
from twisted_echo.bench.servers import (
    OURS,
    SERVERS,
    Server,
    address,
    listen_string,
)

LOAD = ("-m", "twisted_echo.bench", "load", "--churn")


def echo(number: int, line: bytes) -> bytes:
    """
    Send each line back, and see to it that it is the first of its connection.
    """
    return line if number == 0 else b"not the first line\n"


class VisitTests(SynchronousTestCase):
    """
    One connection, on fakes.
    """

    def setUp(self) -> None:
        self.recorded: list[tuple[int, int, int]] = []
        exchange = Exchange(
            LineSource(3, 64, 1), lambda *each: self.recorded.append(each)
        )
        self.visit = Visit(exchange, lambda: 50, 20)

    def test_oneLine(self) -> None:
        """
        The line is sent at once, its latency counts from when the connection began to
        be made, and the connection ends when the line is back.
        """
        transport = FakeTransport()
        self.visit.connection_made(transport)
        (line,) = transport.written
        self.visit.data_received(line[:10])
        self.assertEqual((self.recorded, transport.calls), ([], []))
        self.visit.data_received(line[10:])
        self.assertEqual(self.recorded, [(20, 50, 1)])
        self.assertEqual(transport.calls, ["write_eof"])
        self.visit.connection_lost(None)
        self.assertTrue(self.visit.closed.is_set())
        self.assertEqual(self.visit.fault, "")

    def test_overTLS(self) -> None:
        """
        Without a half-close, its transport is closed, which sends close_notify.
        """
        transport = FakeTransport(eof=False)
        self.visit.connection_made(transport)
        self.visit.data_received(*transport.written)
        self.assertEqual(transport.calls, ["close"])

    def test_faults(self) -> None:
        transport = FakeTransport()
        self.visit.connection_made(transport)
        (line,) = transport.written
        self.visit.data_received(line + b"more")
        self.assertIn("4 bytes more came back", self.visit.fault)


class ChurnTests(LoadCase):
    def test_ways(self) -> None:
        """
        Each line has a connection of its own, over TCP, TLS and UNIX, in one process
        and several, by count and by time.
        """
        target = MisbehavingServer(self, echo).target
        self.assertEqual(self.load(target, "--churn", "-n", "50")["lines"], 50)

        plain, tls, folder = serve_both(self)
        ca = ("--ca", str(folder / "cert.pem"))
        for options in (
            (plain, "-p", "2", "-s", "64,100"),
            (tls, "--insecure"),
            (tls, *ca),
            (f"unix:{folder / 'echo.sock'}",),
        ):
            found = self.load(*options, "--churn", "-n", "40", "-c", "5")
            self.assertEqual((found["lines"], found["churn"]), (40, True), options)
        found = self.load(plain, "--churn", "-t", "0.2", "-c", "3")
        assert isinstance(found["lines"], int)
        self.assertGreater(found["lines"], 0)
        status, output, _ = bench("load", plain, "--churn", "-n", "9", "-c", "3")
        self.assertEqual(status, 0)
        self.assertIn("3 connections, one line each", output)

    def test_handshakes(self) -> None:
        """
        Over TLS every connection has a whole handshake: none is resumed.
        """
        folder = new_folder(self)
        make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            with Child(
                "load",
                [*LOAD, f"tls:127.0.0.1:{port}", "--insecure", "-n", "3", "-c", "1"],
            ):
                for _ in range(3):
                    accepted, _ = listener.accept()
                    with context.wrap_socket(accepted, server_side=True) as client:
                        self.assertFalse(client.session_reused)
                        client.sendall(client.recv(100))
                        # It ends by close_notify: without, this would raise.
                        self.assertEqual(client.recv(100), b"")

    def breaks(self, answer: Answer, says: str, *options: str) -> None:
        target = MisbehavingServer(self, answer).target
        status, output, problems = bench("load", target, "--churn", *options)
        self.assertEqual(status, 1, output)
        self.assertRegex(problems, rf"load: connection \d+ of 50 to {target}: {says}")

    def test_broken(self) -> None:
        """
        Whatever a server does to a connection ends the load with status 1.
        """
        silent = ("--timeout", "0.3")
        self.breaks(lambda number, line: line.lower(), "line 1 came back wrong at")
        self.breaks(lambda number, line: None, "closed by the server; 0 lines")
        self.breaks(lambda number, line: line * 2, "64 bytes more came back")
        self.breaks(
            lambda number, line: b"", "not sent its line back within 0.3 s", *silent
        )

    def test_staysOpen(self) -> None:
        """
        An error says that a server does not close after the client has.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = "{}:{}".format(*listener.getsockname())
            with Child(
                "load",
                [*LOAD, target, "-n", "1", "-c", "1", "--timeout", "0.3"],
            ) as load:
                client, _ = listener.accept()
                with client:
                    client.sendall(client.recv(100))
                    load.wait_for("to .*: not closed within 0.3 s")

    def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = "{}:{}".format(*listener.getsockname())
        status, _, problems = bench("load", target, "--churn", "-n", "1", "-c", "1")
        self.assertEqual(status, 1)
        self.assertRegex(problems, "cannot connect: .*refused")

    def test_arguments(self) -> None:
        for more in (("--depth", "2"), ("--rate", "5")):
            said = self.refused("127.0.0.1:7", "--churn", *more)
            self.assertIn("--churn: a connection has one line", said)


class CompareTests(LinuxCase):
    def test_cases(self) -> None:
        (case,) = cases((64,), (1,), (20,), tls=True, churn=True)
        self.assertEqual(
            str(case), "20 connections over TLS, 64 B a line, one line each"
        )
        self.assertEqual(str(Case(5, 64, 2)), "5 connections, 64 B a line, 2 in flight")

    def test_written(self) -> None:
        """
        What was written before there were TLS and churns can be read, too.
        """
        comparison = Comparison({}, {"a": "A"})
        text = json.loads(comparison.to_json())
        latencies = {"p50": 1, "p90": 1, "p99": 1, "p99.9": 1, "max": 1}
        run = {"server": "a", "round": 1, "lines_per_second": 1, "cpu_us": 1}
        run |= {"load_busy": 0, "stolen": 0, "tries": 1, "latency_us": latencies}
        run |= {"connections": 2, "size": 64, "depth": 1}
        old = Comparison.from_json(json.dumps(text | {"runs": [run]}))
        self.assertEqual(old.cases, [Case(2, 64, 1)])
        run |= {"tls": True, "churn": True}
        new = Comparison.from_json(json.dumps(text | {"runs": [run]}))
        self.assertEqual(new.cases, [Case(2, 64, 1, True, True)])
        self.assertEqual(Comparison.from_json(new.to_json()), new)

    def test_obstacles(self) -> None:
        """
        What cannot speak TLS is left out, or refused where it was asked for.
        """
        status, _, problems = bench("compare", "--tls", "--only", "fast-lines")
        self.assertEqual((status, problems.count("\n")), (2, 1))
        self.assertIn("--only: fast-lines has no TLS", problems)
        self.assertEqual(SERVERS["fast-lines"].obstacle(tls=False), "")
        self.patch(servers.importlib.util, "find_spec", lambda name: None)
        absent = Server("some", "a server", needs="", tls_needs="OpenSSL")
        self.assertEqual(absent.obstacle(tls=False), "")
        self.assertEqual(
            absent.obstacle(tls=True), "some needs OpenSSL: pip install 'twisted[tls]'"
        )

    def test_noDepths(self) -> None:
        status, _, problems = bench("compare", "--churn", "--depths", "1,2")
        self.assertEqual(status, 2)
        self.assertIn("so --depths does not go with it", problems)

    def test_noCertificate(self) -> None:
        """
        What is missing for a throw-away certificate is said.
        """
        from twisted_echo.bench import compare_command
        from twisted_echo.testing.self_signed import MissingExtra

        def missing(folder: Path) -> None:
            raise MissingExtra("this", "that")

        self.patch(compare_command, "make_certificate", missing)
        status, _, problems = bench("compare", "--quick", "--tls", "--only", "echo")
        self.assertEqual(status, 2)
        self.assertIn("--tls: this is not installed: pip install that", problems)

    def test_paths(self) -> None:
        self.assertEqual(
            listen_string("/a:b"),
            r"ssl:0:interface=127.0.0.1:privateKey=/a\:b/key.pem:certKey=/a\:b/cert.pem",
        )

    @slow
    def test_rivals(self) -> None:
        """
        Every server that has TLS sends every line back over it, and ends in order
        every connection that has a line of its own.
        """
        folder = new_folder(self)
        make_certificate(folder)
        for server in SERVERS.values():
            if server.obstacle(tls=True):
                continue
            with server.start((), certificate=str(folder)) as child:
                where = address(child)
                target = Target(where.host, where.port, tls=True, insecure=True)
                for churn in (False, True):
                    plan = Plan(target, connections=4, count=20, churn=churn)
                    result = run_load(plan)
                    self.assertEqual((server.name, result.failures), (server.name, []))
                    self.assertEqual(result.lines, 20)

    @slow
    def test_compare(self) -> None:
        """
        Both at once, measured, printed and written.
        """
        path = new_folder(self) / "result.json"
        options = ("--quick", "--only", "asyncio-raw", "--rounds", "1", "--seconds")
        status, output, problems = bench(
            "compare", *options, "0.3", "--tls", "--churn", "--json", str(path)
        )
        self.assertEqual(status, 0, problems)
        self.assertIn("20 connections over TLS, 64 B a line, one line each\n", output)
        comparison = Comparison.from_json(path.read_text())
        self.assertEqual([run.server for run in comparison.runs], [OURS, "asyncio-raw"])
        self.assertEqual(comparison.cases, [Case(20, 64, 1, tls=True, churn=True)])
