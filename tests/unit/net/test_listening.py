"""
L{twisted_echo.net.listening}: the backlog of a listening socket.
"""

import socket
import struct
import sys
from tempfile import TemporaryDirectory
from typing import Any
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.endpoints import AdoptedStreamServerEndpoint
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import ServedTestCase, tls_endpoint
from twisted_echo import EchoProtocol, SessionFactory
from twisted_echo.net.listening import dropNewConnections, refuseNewConnections


def _backlog(port: Any) -> int:
    """
    How many connections the kernel lets wait: the sixth number of C{tcp_info},
    after eight bytes.
    """
    info = port.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return int(struct.unpack("8x6I", info)[5])


@skipUnless(sys.platform == "linux", "Linux tells a socket's backlog")
class BacklogTests(ServedTestCase):
    """
    How many connections may wait.
    """

    def backlogs(self, *endpoints: Any) -> list[int]:
        service = self.serve(SessionFactory.forProtocol(EchoProtocol), *endpoints)
        return [_backlog(each) for each in service._listeners.ports]

    def test_unnamed(self) -> None:
        """
        As many as the kernel allows, with TLS too.
        """
        with open("/proc/sys/net/core/somaxconn") as limit:
            most = int(limit.read())
        backlogs = self.backlogs("tcp:0:interface=127.0.0.1", tls_endpoint())
        self.assertEqual(backlogs, [most, most])

    def test_named(self) -> None:
        """
        As many as the endpoint says.
        """
        self.assertEqual(self.backlogs("tcp:0:interface=127.0.0.1:backlog=7"), [7])

    def test_adopted(self) -> None:
        """
        On an adopted socket, as many as whoever opened it said.
        """
        listening = socket.create_server(("127.0.0.1", 0), backlog=9)
        listening.setblocking(False)
        endpoint = AdoptedStreamServerEndpoint(
            reactor, listening.detach(), socket.AF_INET
        )
        self.assertEqual(self.backlogs(endpoint), [9])


@skipUnless(sys.platform == "linux", "this is done on Linux alone")
class NewConnectionsTests(SynchronousTestCase):
    """
    A listening socket that takes no new connections, and keeps those that wait.
    """

    def listen(self, family: int, address: Any) -> socket.socket:
        listening = socket.socket(family)
        self.addCleanup(listening.close)
        listening.bind(address)
        listening.listen()
        listening.setblocking(False)
        return listening

    def dial(self, listening: socket.socket) -> socket.socket:
        client = socket.socket(listening.family)
        self.addCleanup(client.close)
        client.settimeout(0.2)
        client.connect(listening.getsockname())
        return client

    def assert_rest(self, listening: socket.socket, count: int = 2) -> None:
        for _ in range(count):
            accepted, _ = listening.accept()
            accepted.close()
        self.assertRaises(BlockingIOError, listening.accept)

    def test_tcp(self) -> None:
        listening = self.listen(socket.AF_INET, ("127.0.0.1", 0))
        for _ in range(2):
            self.dial(listening)
        refuseNewConnections(listening)
        dropNewConnections(listening)
        self.assertRaises(TimeoutError, self.dial, listening)
        self.assert_rest(listening)

    def test_unix(self) -> None:
        with TemporaryDirectory(prefix="echo-") as folder:
            listening = self.listen(socket.AF_UNIX, f"{folder}/socket")
            for _ in range(2):
                self.dial(listening)
            dropNewConnections(listening)
            self.dial(listening)
            refuseNewConnections(listening)
            self.assertRaises(ConnectionRefusedError, self.dial, listening)
            self.assert_rest(listening, 3)
