"""
Tests for churns of C{python -m twisted_echo.bench}: connections that come and go. What
is measured is not judged here.
"""

import socket
import ssl

from twisted.trial.unittest import SynchronousTestCase

from tests.support.bench import (
    Answer,
    FakeTransport,
    LoadCase,
    MisbehavingServer,
    bench,
    serve_both,
)
from tests.support.certificates import make_certificate
from tests.support.processes import new_folder
from twisted_echo.bench.children import Child
from twisted_echo.bench.churn import Visit
from twisted_echo.bench.load_lines import Exchange, LineSource

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
            self.assertIn("--churn: a connection sends one line", said)
