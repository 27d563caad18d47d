"""
L{twisted_echo.session.starttls.plain_input}: what came in the clear is dropped.
"""

import gc
import socket
from collections.abc import Callable
from contextlib import suppress as ignored
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)

from tests.support.clients import collect
from tests.support.start_tls import (
    CONTEXT,
    REACTORS,
    READY,
    Commands,
    Lines,
    StartTLSTestCase,
)
from tests.support.tlsclient import TLSClient
from twisted_echo import (
    AnsweringLineReceiver,
    EndReason,
    FastInt16StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
)


class PlainInputTests(StartTLSTestCase):
    """
    What the client has sent in the clear behind the command is dropped, and counted.
    """

    def dropped(
        self,
        protocol: Any,
        frame: Callable[[bytes], bytes] = lambda line: line + b"\r\n",
        behind: Callable[[Callable[[bytes], bytes]], bytes] | None = None,
    ) -> None:
        for reactor in REACTORS:
            with (
                self.serve(protocol, reactor) as server,
                server.client() as plain,
                capturedLogs() as logged,
            ):
                rest = frame(b"evil") * 3 + frame(b"unfinished")[:-4]
                if behind is not None:
                    rest = behind(frame)
                plain.sendall(frame(b"before") + frame(b"STARTTLS") + rest)
                clear = b"got before\r\n" + READY
                self.assertEqual(collect(plain, len(clear)), clear)
                client = TLSClient(plain).shake()
                client.send(frame(b"hello") + frame(b"again"))
                self.assertEqual(client.collect(22), b"got hello\r\ngot again\r\n")
                self.assertEqual(server.factory.tls.plainDropped, 1)
                told = [each for each in logged if each.get("event")]
                self.assertEqual(
                    [each["event"] for each in told], ["plain-input-dropped"]
                )
                self.assertEqual(told[0]["log_level"], LogLevel.warn)

    def test_lines(self) -> None:
        self.dropped(Lines)

    def test_oneLine(self) -> None:
        """
        The case of the issue.
        """
        self.dropped(Lines, behind=lambda frame: frame(b"NOOP"))

    def test_unfinished(self) -> None:
        self.dropped(Lines, behind=lambda frame: b"x")

    def test_emptyLine(self) -> None:
        self.dropped(Lines, behind=lambda frame: frame(b""))

    def test_linesOnly(self) -> None:
        class Only(Commands, Session, FastLineOnlyReceiver):
            def lineReceived(self, line: bytes) -> Any:
                self.command(line)

        self.dropped(Only)

    def test_stockLines(self) -> None:
        class Stock(Commands, Session, LineReceiver):
            def lineReceived(self, line: bytes) -> Any:
                return self.command(line)

        self.dropped(Stock)

    def test_stockLinesOnly(self) -> None:
        class Stock(Commands, Session, LineOnlyReceiver):
            def lineReceived(self, line: bytes) -> Any:
                return self.command(line)

        self.dropped(Stock)

    def test_raw(self) -> None:
        """
        Also what a protocol puts back when it leaves the raw mode.
        """
        for receiver in FastLineReceiver, LineReceiver:

            class Raw(Commands, Session, receiver):  # type: ignore[misc,valid-type]
                def connectionMade(self) -> None:
                    super().connectionMade()
                    self.setRawMode()

                def rawDataReceived(self, data: bytes) -> None:
                    line, _, rest = data.partition(b"\r\n")
                    self.command(line)
                    if line == b"STARTTLS":
                        self.setLineMode(rest)
                    elif rest:
                        self.rawDataReceived(rest)

                def lineReceived(self, line: bytes) -> Any:
                    return self.command(line)

            self.dropped(Raw)

    def test_frames(self) -> None:
        def frame(data: bytes) -> bytes:
            return len(data).to_bytes(2, "big") + data

        for receiver in FastInt16StringReceiver, Int16StringReceiver:

            class Frames(Commands, Session, receiver):  # type: ignore[misc,valid-type]
                def stringReceived(self, string: bytes) -> Any:
                    self.command(string)

            self.dropped(Frames, frame)

    def test_netstrings(self) -> None:
        class Strings(Commands, Session, NetstringReceiver):
            def stringReceived(self, string: bytes) -> Any:
                self.command(string)

        self.dropped(Strings, lambda data: b"%d:%s," % (len(data), data))

    def test_ownBuffer(self) -> None:
        """
        A protocol that splits by itself empties its buffer in C{forgetInput}.
        """

        class Own(Commands, Session):
            held = b""

            def dataReceived(self, data: bytes) -> None:
                self.held += data
                while b"\r\n" in self.held:
                    line, _, self.held = self.held.partition(b"\r\n")
                    self.command(line)

            def heldInput(self) -> Any:
                return len(self.held), None

            def forgetInput(self) -> None:
                self.held = b""

        self.dropped(Own)

    def test_ownLoop(self) -> None:
        """
        Also if it puts the rest back into its buffer after its loop.
        """

        class Own(Commands, Session):
            held = b""

            def dataReceived(self, data: bytes) -> None:
                *lines, rest = (self.held + data).split(b"\r\n")
                for line in lines:
                    self.command(line)
                self.held = rest

            def heldInput(self) -> Any:
                return len(self.held), None

            def forgetInput(self) -> None:
                self.held = b""

        self.dropped(Own, behind=lambda frame: b"x")

    def test_forgetInputRaises(self) -> None:
        """
        Then TLS does not begin, and the session goes on in the clear.
        """

        class Raises(Lines):
            def command(self, line: bytes) -> None:
                with ignored(ZeroDivisionError):
                    super().command(line)

            def forgetInput(self) -> None:
                raise ZeroDivisionError

        for reactor in REACTORS:
            with self.serve(Raises, reactor) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\n")
                self.assertEqual(collect(plain, len(READY)), READY)
                plain.sendall(b"x\r\n")
                self.assertEqual(collect(plain, 7), b"got x\r\n")
                known = ref(server.session)
                gc.disable()
                self.addCleanup(gc.enable)
                plain.close()
                server.ended()
                server.until(lambda known=known: not known())  # type: ignore[misc]
                gc.enable()

    def test_answers(self) -> None:
        """
        Neither the questions behind it are answered afterwards, nor those that have no
        answer yet.
        """

        class Answers(AnsweringLineReceiver):
            never: Any

            async def answer(self, question: bytes) -> bytes | None:
                if question == b"STARTTLS":
                    self.transport.write(READY)
                    self.startTLS(CONTEXT)
                    return None
                if question == b"evil":
                    await self.silence()
                return b"got " + question

            async def silence(self) -> None:
                waiting: Deferred[None] = Deferred()
                self.never.append(waiting)
                await waiting

        Answers.never = []
        self.dropped(Answers)
        for reactor in REACTORS:
            Answers.never = []
            with self.serve(Answers, reactor) as server, server.client() as plain:
                plain.sendall(b"evil\r\nSTARTTLS\r\n")
                self.assertEqual(collect(plain, len(READY)), READY)
                client = TLSClient(plain).shake()
                server.until(lambda: Answers.never[0].called)
                client.send(b"hello\r\nand\r\n")
                self.assertEqual(client.collect(20), b"got hello\r\ngot and\r\n")
                self.assertFalse(server.session.isAnswering)

    def test_helloInTheSameChunk(self) -> None:
        """
        A hello that did not wait for the answer is plain input, too: the handshake
        fails, and is not taken for one.
        """
        with self.serve() as server, server.client() as plain:
            client = TLSClient(plain)
            plain.sendall(b"STARTTLS\r\n" + client.hello())
            self.assertEqual(collect(plain, len(READY)), READY)
            plain.shutdown(socket.SHUT_WR)
            self.assertEqual(plain.recv(100), b"")
            self.assertIs(server.ended(), EndReason.HANDSHAKE_FAILED)
            self.assertEqual(server.factory.tls.plainDropped, 1)

    def test_nothingDropped(self) -> None:
        with self.serve() as server, server.begun() as client:
            self.assertWorks(client)
            self.assertEqual(server.factory.tls.plainDropped, 0)
            self.assertNotIn("lineReceived", vars(server.session))
            self.assertNotIn("dataReceived", vars(server.session))
