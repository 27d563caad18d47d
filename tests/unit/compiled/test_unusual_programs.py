"""
What programs do with a transport beside its interface goes with the compiled part as it
goes without. (These tests run with either.)
"""

import inspect
import select
import socket
from typing import Any

from twisted.internet import tcp

from tests.support.loop import Loop, LoopTestCase, Recorder, wait_for_event
from tests.support.processes import read_exactly
from twisted_echo.eager.sending import EagerMixin, WritingMixin
from twisted_echo.eager.tcp_transports import EagerServer


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


class WriteTests(Case):
    """
    C{write} is called as Twisted's may be.
    """

    def test_byName(self) -> None:
        self.protocol.onReceived = lambda data: self.transport.write(data=data)
        self.assertIsNone(self.read())
        self.transport.write(data=b"later")
        self.loop.turn()
        self.assertEqual(read_exactly(self.peer, 6), b"xlater")

    def test_wrongArguments(self) -> None:
        for given, named in (((), {}), ((b"x", b"x"), {}), ((b"x",), {"data": b"x"})):
            self.assertRaises(TypeError, self.transport.write, *given, **named)

    def test_signature(self) -> None:
        self.assertEqual(
            [*inspect.signature(self.transport.write).parameters], ["data"]
        )


class ReplacedTests(Case):
    """
    A program has replaced methods, or set attributes, of the classes of a transport.
    """

    def test_methods(self) -> None:
        self.protocol.onReceived = lambda data: self.transport.write(data)
        for kind, name in (
            (tcp.Connection, "doRead"),
            (WritingMixin, "write"),
            (WritingMixin, "sendNow"),
            (EagerMixin, "_dataReceived"),
            (EagerServer, "doRead"),
            (EagerServer, "write"),
            (EagerServer, "sendNow"),
            (EagerServer, "_dataReceived"),
        ):
            calls: list[str] = []
            replaced = getattr(kind, name)

            def method(
                *args: Any, calls: Any = calls, name: str = name, call: Any = replaced
            ) -> Any:
                calls.append(name)
                return call(*args)

            patched = self.patch(kind, name, method)
            self.read()
            patched.restore()
            self.read()
            self.assertEqual(calls, [name])
        self.assertEqual(read_exactly(self.peer, 16), b"x" * 16)

    def test_whileItReceives(self) -> None:
        """
        A method that C{dataReceived} replaces is called when that returns.
        """
        sent: list[Any] = []

        def replace(data: bytes) -> None:
            self.transport.write(data)
            self.patch(EagerServer, "sendNow", lambda transport: sent.append(transport))

        self.protocol.onReceived = replace
        self.read()
        self.assertEqual(sent, [self.transport])

    def test_limits(self) -> None:
        self.protocol.onReceived = lambda data: self.transport.write(b"1234567")
        self.patch(EagerServer, "SEND_LIMIT", 3)
        self.read()
        self.assertEqual(self.transport.bytesSent, 3)
        self.loop.turn()
        self.patch(EagerServer, "bufferSize", 1)
        self.peer.sendall(b"abc")
        self.read()
        self.assertEqual(self.protocol.events[-1], ("received", b"a"))

    def test_baseOfASubclass(self) -> None:
        """
        The methods of a subclass's other bases are called, in their order.
        """
        calls = []

        class Reading(tcp.Connection):
            def doRead(self) -> Any:
                calls.append("doRead")
                return super().doRead()

        class Writing(EagerMixin):
            def write(self, data: bytes) -> None:
                calls.append("write")
                super().write(data)

            def sendNow(self) -> None:
                calls.append("sendNow")
                super().sendNow()

        class Mine(EagerServer, Writing, Reading):
            pass

        self.transport.__class__ = Mine
        self.protocol.onReceived = lambda data: self.transport.write(data)
        self.read()
        self.assertEqual(calls, ["doRead", "write", "sendNow"])
        self.assertEqual(read_exactly(self.peer, 1), b"x")

    def test_results(self) -> None:
        """
        What a replaced method returns does not end the connection.
        """
        self.transport._keepRest = self.transport.startWriting = lambda *given: 1
        self.transport.SEND_LIMIT = 1

        def write(data: bytes) -> None:
            self.transport.write(b"xx")

        self.protocol.onReceived = write
        self.assertIsNone(self.read())

        def pause(data: bytes) -> None:
            self.transport.write(b"x")
            self.transport.producerPaused = True

        self.protocol.onReceived = pause
        self.assertIsNone(self.read())


class ReceivingTests(Case):
    """
    C{dataReceived} does what it should not.
    """

    def test_noList(self) -> None:
        """
        It replaces what was written by nothing.
        """
        for nothing in (None, (), {}):

            def replace(data: bytes, nothing: Any = nothing) -> None:
                self.transport._tempDataBuffer = nothing

            self.protocol.onReceived = replace
            self.transport._tempDataBuffer = []
            self.assertIsNone(self.read())
            self.assertFalse(self.transport.isGathering)

    def test_errorWithinAnError(self) -> None:
        """
        What goes wrong after an exception has that as its context.
        """
        first = ValueError()

        def stopGathering() -> None:
            raise KeyError

        def fail(data: bytes) -> None:
            self.transport.stopGathering = stopGathering
            raise first

        self.protocol.onReceived = fail
        error = self.assertRaises(KeyError, self.read)
        del self.transport.stopGathering
        self.assertIs(error.__context__, first)
