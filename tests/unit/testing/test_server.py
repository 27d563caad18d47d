"""
L{twisted_echo.testing.server}: a real server in a process of its own.
"""

import re
import sys
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from twisted_echo.testing import (
    EchoServer,
    server_checks,
)
from twisted_echo.validation.extras import (
    MissingPackage,
    install_extra,
    install_packages,
)


class EchoServerTests(SynchronousTestCase):
    def exchange(self, server: EchoServer) -> None:
        with server.connect() as client:
            client.sendall(b"hello\n")
            self.assertEqual(client.recv(100), b"hello\n")

    def test_port(self) -> None:
        """
        A free port, a log, options, and an end without a trace.
        """
        with EchoServer("--log-sessions", "all") as server:
            self.assertEqual(server.address, (server.host, server.port))
            self.exchange(server)
            self.assertIn("peer-closed", server.wait_for("ended: [a-z-]+")[0])
            self.assertIn("listening on", server.log)
            folder = server.folder
            with self.assertRaisesRegex(ValueError, "it listens on a port"):
                server.path  # noqa: B018
            with self.assertRaisesRegex(ValueError, "without metrics=True"):
                server.metrics()
        self.assertIsNotNone(server.process.poll())
        self.assertFalse(folder.exists())
        self.assertIn(": no session was open", server.log)
        server.stop()

    def test_unixWithMetrics(self) -> None:
        with EchoServer(unix=True, metrics=True) as server:
            self.assertEqual(server.path, server.address)
            self.exchange(server)
            with self.assertRaisesRegex(ValueError, "it listens on a UNIX socket"):
                server.port  # noqa: B018
            numbers = server.metrics()
            self.assertEqual(numbers["twisted_echo_sessions_opened_total"], 1)
            key = 'twisted_echo_sessions_ended_total{reason="idle"}'
            self.assertEqual(numbers[key], 0)

    def test_tls(self) -> None:
        with EchoServer(tls=True) as server:
            self.exchange(server)
            assert server.certificate is not None
            self.assertIn("CERTIFICATE", server.certificate.read_text())

    def test_openClient(self) -> None:
        """
        A client that is there at the end is no leak of the server's.
        """
        with EchoServer("--abort-after", "0.1") as server:
            client = server.connect()
            self.addCleanup(client.close)
            client.sendall(b"hello\n")
            self.assertEqual(client.recv(100), b"hello\n")

    def test_wrongUse(self) -> None:
        with self.assertRaisesRegex(ValueError, "either unix or tls"):
            EchoServer(unix=True, tls=True)
        with self.assertRaisesRegex(AssertionError, "--nonsense"):
            EchoServer("--nonsense")

    def test_missingExtras(self) -> None:
        """
        They are told what to install.
        """
        for how, module, install in (
            ("metrics", "prometheus_client", install_extra("metrics")),
            ("tls", "cryptography", install_packages("cryptography")),
        ):
            with (
                mock.patch.dict(sys.modules, {module: None}),
                mock.patch("twisted_echo.testing.server.find_spec", lambda name: None),
                self.assertRaisesRegex(MissingPackage, f"{re.escape(install)}$"),
            ):
                EchoServer(**{how: True})

    def test_error(self) -> None:
        """
        An error of the test's own is what is told, and the server is gone.
        """
        with self.assertRaises(KeyError), EchoServer() as server:
            raise KeyError
        self.assertIsNotNone(server.process.poll())

    def test_killed(self) -> None:
        """
        A server that did not end as it should is told of.
        """
        server = EchoServer()
        server.process.kill()
        with self.assertRaisesRegex(AssertionError, "ended with -9, not by SIGTERM"):
            server.stop()

    def test_leaks(self) -> None:
        """
        Descriptors that no session accounts for are named.
        """
        server = EchoServer()
        server._atStart -= 1
        with self.assertRaisesRegex(
            AssertionError, r"1 descriptors more than its 0 connections need: .*socket:"
        ):
            server.stop()

    def test_complaints(self) -> None:
        """
        So is what it has logged, and what it says that it served.
        """
        server = EchoServer()
        with (
            mock.patch.object(server_checks, "_COMPLAINTS", ("listening on",)),
            self.assertRaisesRegex(AssertionError, "'listening on' in its log"),
        ):
            server.stop()
