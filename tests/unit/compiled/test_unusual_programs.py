"""
What programs do with a transport beside its interface goes with the compiled part as it
goes without. (These tests run with either.)
"""

import select
import socket
from typing import Any

from tests.support.loop import Loop, LoopTestCase, Recorder, wait_for_event
from tests.support.processes import read_exactly


class Case(LoopTestCase):
    def setUp(self) -> None:
        self.loop: Loop = self.eager()
        self.protocol: Recorder
        self.peer: socket.socket
        self.protocol, self.peer = self.loop.link("accepted TCP")
        self.transport: Any = self.protocol.transport

    def read(self) -> Any:
        """
        Have the protocol receive, and what it does sent.
        """
        self.peer.sendall(b"x")
        wait_for_event(self.transport, select.POLLIN)
        return self.transport.doRead()


class ForeignCodeTests(Case):
    """
    Code of a program runs where it is not expected: while pieces are joined or dropped.
    """

    def test_listReplacedWhileItIsJoined(self) -> None:
        transport = self.transport

        class Piece(bytes):
            def __buffer__(self, flags: int) -> memoryview:
                transport._tempDataBuffer = []
                return memoryview(bytes(self))

        def write(data: bytes) -> None:
            transport.write(b"first")
            transport.write(Piece(b"second"))

        self.protocol.onReceived = write
        self.read()
        self.assertEqual(read_exactly(self.peer, 11), b"firstsecond")

    def test_socketClosedByAPiece(self) -> None:
        """
        What has the number of the socket then gets nothing.
        """
        transport, opened = self.transport, []

        class Piece(bytes):
            def __del__(self) -> None:
                if not opened:
                    transport.socket.close()
                    opened.extend(socket.socketpair())

        def write(data: bytes) -> None:
            transport.write(Piece(b"one"))
            transport.write(b"other")

        self.protocol.onReceived = write
        transport.stopReading()
        # (What is closed cannot be watched any more.)
        self.assertRaises(ValueError, self.read)
        for each in opened:
            self.addCleanup(each.close)
            each.setblocking(False)
            self.assertRaises(BlockingIOError, each.recv, 1)
        self.assertEqual(len(opened), 2)


class BytesSentTests(Case):
    """
    A program has set C{bytesSent}.
    """

    def test_numbers(self) -> None:
        self.protocol.onReceived = self.transport.write
        for before in (0, 1.5, True, 2**62, 2**63 - 1, 2**64, -1, -7):
            self.transport.bytesSent = before
            self.read()
            self.assertEqual(self.transport.bytesSent, before + 1)

    def test_noNumbers(self) -> None:
        self.protocol.onReceived = self.transport.write
        for before in (None, "x"):
            self.transport.bytesSent = before
            self.assertRaises(TypeError, self.read)
        del self.transport.bytesSent
        self.assertRaises(AttributeError, self.read)
