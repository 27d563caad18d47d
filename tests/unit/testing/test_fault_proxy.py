"""
L{twisted_echo.testing.FaultProxy}, before plain sockets: each fault by itself.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import DEADLINE, new_folder, wait_until
from twisted_echo.testing import FaultProxy, Flow


class FaultProxyTests(SynchronousTestCase):
    """
    @ivar server: the server's end of the last connection.
    """

    def setUp(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.listener.settimeout(DEADLINE)
        self.proxy = FaultProxy(self.listener.getsockname())
        self.addCleanup(self.proxy.stop)

    def join(self, proxy: FaultProxy | None = None) -> Any:
        """
        Both ends of a connection.
        """
        client = (proxy or self.proxy).connect()
        self.addCleanup(client.close)
        server, _ = self.listener.accept()
        self.addCleanup(server.close)
        server.settimeout(DEADLINE)
        return client, server

    def read(self, end: socket.socket) -> bytes:
        return b"".join(iter(lambda: end.recv(1 << 16), b""))

    def test_noFault(self) -> None:
        client, server = self.join()
        client.sendall(b"question")
        self.assertEqual(server.recv(100), b"question")
        server.sendall(b"answer")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(server.recv(100), b"")
        server.close()
        self.assertEqual(self.read(client), b"answer")
        wait_until(lambda: self.proxy.connections == 0)
        self.assertEqual(self.proxy.to_server.forwarded, 8)
        self.assertEqual(self.proxy.to_client.forwarded, 6)

    def test_large(self) -> None:
        client, server = self.join()
        data = os.urandom(1 << 20)
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        got = b""
        while len(got) < len(data):
            got += server.recv(1 << 16)
        sender.join()
        self.assertEqual(got, data)

    def test_pieces(self) -> None:
        self.proxy.to_server.pieces = 1
        self.proxy.to_server.delay = 0.005
        client, server = self.join()
        began = time.monotonic()
        client.sendall(b"abcdef")
        got: list[bytes] = []
        while len(b"".join(got)) < 6:
            got.append(server.recv(100))
        self.assertGreater(len(got), 1)
        self.assertEqual(b"".join(got), b"abcdef")
        self.assertGreaterEqual(time.monotonic() - began, 6 * 0.005)

    def test_cutByEnd(self) -> None:
        """
        One direction ends; the other goes on.
        """
        self.proxy.to_server.cut_after = 3
        client, server = self.join()
        client.sendall(b"abcdef")
        self.assertEqual(self.read(server), b"abc")
        server.sendall(b"answer")
        self.assertEqual(client.recv(100), b"answer")

    def test_cutByReset(self) -> None:
        """
        Both ends see a reset, when so many bytes have passed.
        """
        self.proxy.to_client.cut_after = 3
        self.proxy.to_client.cut_by = "reset"
        client, server = self.join()
        server.sendall(b"abcdef")
        got = b""
        with self.assertRaises(ConnectionResetError):
            while True:
                got += client.recv(100)
        self.assertTrue(b"abc".startswith(got), got)
        with self.assertRaises(ConnectionResetError):
            server.recv(100)

    def test_stall(self) -> None:
        client, server = self.join()
        self.proxy.to_server.stall()
        client.sendall(b"abc")
        # The other direction has its way meanwhile.
        server.sendall(b"answer")
        self.assertEqual(client.recv(100), b"answer")
        server.settimeout(0.05)
        with self.assertRaises(TimeoutError):
            server.recv(100)
        server.settimeout(DEADLINE)
        self.proxy.to_server.release()
        self.assertEqual(server.recv(100), b"abc")

    def test_reset(self) -> None:
        ends = [end for _ in range(3) for end in self.join()]
        self.proxy.reset()
        for end in ends:
            with self.assertRaises(ConnectionResetError):
                end.recv(100)
        # It goes on.
        client, server = self.join()
        client.sendall(b"abc")
        self.assertEqual(server.recv(100), b"abc")

    def test_dropFIN(self) -> None:
        self.proxy.to_server.drop_fin = True
        client, server = self.join()
        client.sendall(b"abc")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(server.recv(100), b"abc")
        server.settimeout(0.05)
        with self.assertRaises(TimeoutError):
            server.recv(100)
        server.sendall(b"answer")
        self.assertEqual(client.recv(100), b"answer")

    def test_resetIsPassedOn(self) -> None:
        """
        In both directions.
        """
        for whose in (0, 1):
            ends = self.join()
            ends[whose].setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
            )
            ends[whose].close()
            with self.assertRaises(ConnectionResetError):
                ends[1 - whose].recv(100)

    def test_nobodyListens(self) -> None:
        self.listener.close()
        # Perhaps it is gone before it is told that it is there.
        with contextlib.suppress(ConnectionResetError):
            client = self.proxy.connect()
            self.addCleanup(client.close)
            self.assertEqual(client.recv(100), b"")
        wait_until(lambda: self.proxy.connections == 0)

    def test_most(self) -> None:
        """
        One more than there may be waits.
        """
        proxy = FaultProxy(self.listener.getsockname(), most=1)
        self.addCleanup(proxy.stop)
        first, _ = self.join(proxy)
        second = proxy.connect()
        self.addCleanup(second.close)
        self.listener.settimeout(0.05)
        with self.assertRaises(TimeoutError):
            self.listener.accept()
        self.listener.settimeout(DEADLINE)
        first.close()
        _.close()
        server, _ = self.listener.accept()
        server.close()

    def test_path(self) -> None:
        path = str(new_folder(self) / "server.sock")
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen()
        with FaultProxy(path) as proxy:
            assert isinstance(proxy.address, str)
            client = proxy.connect()
            self.addCleanup(client.close)
            server, _ = listener.accept()
            self.addCleanup(server.close)
            client.sendall(b"abc")
            self.assertEqual(server.recv(100), b"abc")
        self.assertFalse(os.path.exists(proxy.address))

    def test_stallsAtOnce(self) -> None:
        """
        What is sent after C{stall} has returned is not passed on, though the loop has
        yet to run what it was to do before.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        flow = Flow(loop)
        (sender, source), (sink, receiver) = socket.socketpair(), socket.socketpair()
        for each in (sender, source, sink, receiver):
            each.setblocking(False)
            self.addCleanup(each.close)
        pump = loop.create_task(flow.pump(source, sink))
        flow.stall()
        sender.sendall(b"abc")
        for _ in range(10):
            loop.run_until_complete(asyncio.sleep(0))
        self.assertRaises(BlockingIOError, receiver.recv, 100)
        flow.release()
        sender.shutdown(socket.SHUT_WR)
        loop.run_until_complete(asyncio.wait_for(pump, DEADLINE))
        self.assertEqual(receiver.recv(100), b"abc")

    def test_nothingIsLeft(self) -> None:
        """
        No thread, no descriptor, whatever was open; and changes come too late then.
        """
        before = threading.active_count(), len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            # At once, perhaps before its thread has begun.
            FaultProxy(self.listener.getsockname()).stop()
        proxy = FaultProxy(self.listener.getsockname())
        client, server = self.join(proxy)
        proxy.to_client.stall()
        server.sendall(b"abc")
        proxy.stop()
        proxy.stop()
        for end in (client, server):
            with self.assertRaises(ConnectionResetError):
                end.recv(100)
            end.close()
        proxy.to_client.release()
        after = threading.active_count(), len(os.listdir("/proc/self/fd"))
        self.assertEqual(after, before)
