"""
C{--framing}: the echo of lines, of length-prefixed frames, and of whatever comes; by
itself, and by real C{twistd} processes.
"""

import os
import signal
import struct
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import FullTransport
from tests.support.fault_clients import Client, Flood, exchange
from tests.support.faults import HEADER_V1, FaultTestCase
from tests.support.marks import slow
from tests.support.processes import (
    DEADLINE,
    Server,
    connect,
    echo_command,
    finished,
    read_to_end,
    wait_until,
)
from twisted_echo import Deadlines, EchoConfig, EchoFactory, EndReason, Framing
from twisted_echo.tap import Options
from twisted_echo.testing.clocks import elapse
from twisted_echo.testing.command_process import Books

PREFIXES = {Framing.INT8: "!B", Framing.INT16: "!H", Framing.INT32: "!I"}
PEER = IPv4Address("TCP", "192.0.2.1", 54321)
LIMIT = 100
BODIES = (b"", b"x", b"hello\0\r", bytes([7]) * 80, b"", b"y" * LIMIT)


def frame(framing: Framing, body: bytes) -> bytes:
    """
    What is echoed as a whole.
    """
    if framing in PREFIXES:
        return struct.pack(PREFIXES[framing], len(body)) + body
    return body + (b"\n" if framing is Framing.LINE else b"")


def whole(framing: Framing) -> bytes:
    return b"".join(frame(framing, body) for body in BODIES)


def options(framing: Framing) -> tuple[str, ...]:
    return f"--framing={framing.value}", f"--max-length={LIMIT}"


class ConfigTests(SynchronousTestCase):
    def refused(self, message: str, *arguments: str, **config: Any) -> None:
        if config:
            error = self.assertRaises(ValueError, EchoConfig, **config)
            self.assertEqual(str(error), message)
        if arguments:
            usage = self.assertRaises(UsageError, Options().parseOptions, arguments)
            self.assertEqual(str(usage), message)

    def test_chosen(self) -> None:
        """
        Each value of the option is one framing, lines are the default.
        """
        self.assertIs(EchoConfig().framing, Framing.LINE)
        for framing in Framing:
            for arguments in (["--framing", framing.value], ["-f", framing.value]):
                parsed = Options()
                parsed.parseOptions(arguments)
                self.assertEqual(parsed.settings.echo, EchoConfig(framing=framing))

    def test_unknown(self) -> None:
        self.refused("framing must be a Framing, got 'int16'", framing="int16")
        for text in ("int64", "", "LINE"):
            self.refused(
                "--framing must be 'line', 'int8', 'int16', 'int32' or 'raw', got"
                f" {text!r}",
                f"--framing={text}",
            )

    def test_delimiter(self) -> None:
        """
        What ends a line is refused where there are none.
        """
        for framing in set(Framing) - {Framing.LINE}:
            message = (
                "delimiter is for the framing 'line' alone, got b'|' with the"
                f" framing {framing.value!r}"
            )
            self.refused(message, framing=framing, delimiter=b"|")
            self.refused(f"--{message}", "--delimiter=|", f"--framing={framing.value}")
        EchoConfig(framing=Framing.LINE, delimiter=b"|")

    def test_refusedByCommand(self) -> None:
        """
        The command ends at once, and says why.
        """
        command = finished(
            self,
            echo_command(
                ("twistd", "-n"), (), ("--framing=raw", "--delimiter=|", "-m", "1")
            ),
        )
        self.assertEqual(command.process.returncode, 1)
        self.assertIn("--delimiter is for the framing 'line' alone", command.stderr)


class SessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def session(self, framing: Framing, bufferSize: int = 1 << 20, **more: Any) -> Any:
        config = EchoConfig(framing=framing, maxLength=LIMIT, **more)
        session = EchoFactory(config, clock=self.clock).buildProtocol(PEER)
        assert session is not None
        transport = FullTransport(peerAddress=PEER)
        transport.bufferSize = bufferSize
        session.makeConnection(transport)
        return session

    def end(self, session: Any) -> Any:
        session.readConnectionLost()
        session.connectionLost(Failure(ConnectionDone()))
        return session.end

    def test_cutEverywhere(self) -> None:
        """
        Wherever frames are cut in two, what came whole is answered at once, in as
        few writes as there are chunks, and the rest as soon as it is whole.
        """
        for framing in PREFIXES:
            data, ends = whole(framing), [0]
            for body in BODIES:
                ends.append(ends[-1] + len(frame(framing, body)))
            for cut in range(len(data) + 1):
                session = self.session(framing)
                session.dataReceived(data[:cut])
                end = max(each for each in ends if each <= cut)
                self.assertEqual(session.transport.value(), data[:end])
                session.dataReceived(data[cut:])
                self.assertEqual(session.transport.value(), data)

    def test_raw(self) -> None:
        """
        Whatever comes is answered at once, and nothing is too long.
        """
        session = self.session(Framing.RAW)
        for data in (b"a", b"\n" * 3, b"z" * 1000):
            before = len(session.transport.value())
            session.dataReceived(data)
            self.assertEqual(session.transport.value()[before:], data)
        self.assertEqual(self.end(session).bytesReceived, 1004)

    def test_counted(self) -> None:
        """
        Frames count as lines; there are none in what has no frames.
        """
        for measure in (False, True):
            for framing in Framing:
                session = self.session(framing, measure=measure)
                for byte in whole(framing) + frame(framing, b"rest")[:-1]:
                    session.dataReceived(bytes([byte]))
                counted = {Framing.RAW: 0, Framing.LINE: measure * len(BODIES)}
                self.assertEqual(
                    self.end(session).lines, counted.get(framing, len(BODIES))
                )

    def test_overlong(self) -> None:
        """
        The frames before one over the limit are answered, and nothing after; the
        connection is closed in order; one event tells whose it was, how long and
        what the limit is, as soon as its prefix is there; nothing of it is kept.
        """
        for framing in PREFIXES:
            data = whole(framing)
            overlong = frame(framing, b"z" * (LIMIT + 1))
            prefix = struct.calcsize(PREFIXES[framing])
            begun = len(data) + prefix
            for chunks, received in (
                ([data + overlong + data], len(data + overlong + data)),
                ([data + overlong[:prefix], overlong[prefix:], data], begun),
                ([bytes([byte]) for byte in data + overlong + data], begun),
            ):
                session = self.session(framing)
                with capturedLogs() as events:
                    for chunk in chunks:
                        session.dataReceived(chunk)
                    elapse(self.clock, 0)
                    self.assertTrue(session.transport.halfClosed)
                    self.assertLessEqual(session.heldInput()[0], prefix)
                    end = self.end(session)
                self.assertEqual(session.transport.value(), data)
                self.assertIs(end.reason, EndReason.FRAME_TOO_LONG)
                # The rest was read and forgotten.
                self.assertEqual(end.bytesReceived, received)
                (event,) = [each for each in events if "reason" in each]
                self.assertEqual(event["reason"], "frame-too-long")
                self.assertIn("192.0.2.1", event["peer"])
                self.assertEqual(
                    event["detail"], "a frame of 101 bytes is over the limit of 100"
                )

    def test_overlongThenCutOff(self) -> None:
        """
        Who does not leave then is cut off, and his offence is what is told.
        """
        session = self.session(Framing.INT16)
        session.dataReceived(b"\xff\xff")
        elapse(self.clock, session.factory.abortAfter)
        self.assertTrue(session.transport.disconnecting)
        session.connectionLost(Failure(ConnectionDone()))
        self.assertIs(session.end.reason, EndReason.FRAME_TOO_LONG)

    def test_endOfFileWhilePaused(self) -> None:
        """
        Whole frames that wait for a client which does not read are answered after
        its end-of-file, too, and the one that is not finished is not.
        """
        for framing in PREFIXES:
            session = self.session(framing, bufferSize=10)
            data = whole(framing)
            session.dataReceived(data)
            self.assertTrue(session.paused)
            session.dataReceived(data + frame(framing, b"rest")[:-1])
            self.assertEqual(session.transport.value(), data)
            session.readConnectionLost()
            self.assertFalse(session.transport.disconnecting)
            session.transport.drain()
            self.assertEqual(session.transport.value(), data + data)
            session.transport.drain()
            self.assertTrue(session.transport.disconnecting)

    def test_deadline(self) -> None:
        """
        A frame has a line's deadline, which bytes now and then do not extend; what
        has no frames has none.
        """
        deadlines = Deadlines(idle=0, line=2, write=0, handshake=0)
        for framing in Framing:
            session = self.session(framing, deadlines=deadlines)
            data = frame(framing, b"z" * LIMIT)
            session.dataReceived(data + data[:1])
            # Five seconds, of which the deadline and its lateness are less than three.
            for byte in data[1:50]:
                elapse(self.clock, 0.1)
                session.dataReceived(bytes([byte]))
            self.assertEqual(session.isClosing, framing is not Framing.RAW, framing)
            end = self.end(session)
            if framing is not Framing.RAW:
                self.assertIs(end.reason, EndReason.LINE_TIMEOUT)


class FrameFlood(Flood):
    """
    A client that sends numbered frames until the server ends it.
    """

    def __init__(self, client: Client, framing: Framing) -> None:
        self._framing = framing
        super().__init__(client, "")

    def line(self, number: int) -> bytes:
        return frame(self._framing, b"%d %s" % (number, b"." * (number % 80)))

    def is_whole(self, received: bytes) -> bool:
        if self._framing is Framing.RAW:
            return True
        number = end = 0
        while end < len(received):
            end += len(self.line(number))
            number += 1
        return end == len(received)


class FramingTestCase(FaultTestCase):
    def assert_framing(self, framing: Framing) -> None:
        server = self.serve(*options(framing))
        data = whole(framing)
        # Byte by byte, each frame answered before the next one is sent.
        with self.client(server) as client:
            for body in BODIES:
                sent = frame(framing, body)
                for byte in sent:
                    client.send(bytes([byte]))
                self.assertEqual(client.read_exactly(len(sent)), sent)
            client.leave()
        # End-of-file after whole frames, and within one.
        rest = frame(framing, b"rest")
        for cut in (0, 1, len(rest) - 1):
            with self.client(server) as client:
                echoed = data if framing in PREFIXES else data + rest[:cut]
                self.assertEqual(exchange(client, [data, rest[:cut]]), echoed)
        if framing is not Framing.RAW:
            with self.client(server) as client:
                client.send(data + frame(framing, b"z" * (LIMIT + 1)) + data)
                self.assertEqual(client.read_to_end(), data)
            what = "line" if framing is Framing.LINE else "frame"
            self.wait_for_end(
                server,
                client,
                rf"{what}-too-long \(a {what} of 101 bytes is over the limit of 100\),",
            )
        self.assert_stop(server, framing)

    def wait_for_end(self, server: Server, client: Client, reason: str) -> None:
        server.wait_for(rf"session of [^\n]*\b{client.port}\b[^\n]* ended: {reason}")

    def assert_stop(self, server: Server, framing: Framing) -> Books:
        """
        Who is being served at a stop gets whole frames, and then end-of-file.
        """
        flood = FrameFlood(self.client(server), framing)
        self.assertTrue(flood.busy.wait(DEADLINE))
        server.process.send_signal(signal.SIGTERM)
        flood.check()
        flood.close()
        self.assertEqual(server.wait(), -signal.SIGTERM)
        self.assert_calm(server)
        books = Books.of(server.stdout)
        self.assertEqual(books.ended["stopped"], 1)
        return books


class ServerTests(FramingTestCase):
    """
    Each framing, by a server of its own.
    """

    def test_line(self) -> None:
        self.assert_framing(Framing.LINE)

    def test_int8(self) -> None:
        self.assert_framing(Framing.INT8)

    def test_int16(self) -> None:
        self.assert_framing(Framing.INT16)

    def test_int32(self) -> None:
        self.assert_framing(Framing.INT32)

    def test_raw(self) -> None:
        self.assert_framing(Framing.RAW)

    def test_proxy(self) -> None:
        """
        Behind a PROXY header, which is not a part of the first frame.
        """
        server = self.serve(*options(Framing.INT16), proxy=True)
        data = whole(Framing.INT16)
        client = self.client(server, header=HEADER_V1 + data[:1])
        self.assertEqual(exchange(client, [data[1:], b"\0"]), data)
        client = self.client(server, header=HEADER_V1 + b"\xff\xff")
        self.assertEqual(client.read_to_end(), b"")
        client.close()
        server.wait_for(r"session of [^\n]*192\.0\.2\.1\b[^\n]* ended: frame-too-long")
        self.books(server)

    @slow
    def test_workers(self) -> None:
        """
        All workers have the framing, and what they count is shown as lines.
        """
        path = "unix:admin.sock"
        server = self.serve(*options(Framing.INT32), "--workers=2", f"--admin={path}")
        data = whole(Framing.INT32)
        for _ in range(10):
            with self.client(server) as client:
                self.assertEqual(exchange(client, [data, b"\0"]), data)
        wait_until(
            lambda: f"lines_received_total {10 * len(BODIES)}.0" in self.metrics(server)
        )
        with self.client(server) as client:
            client.send(data + frame(Framing.INT32, b"z" * (LIMIT + 1)))
            self.assertEqual(client.read_to_end(), data)
        self.wait_for_end(server, client, r"frame-too-long \(a frame of 101 bytes")
        self.assertEqual(server.signal(signal.SIGTERM), -signal.SIGTERM)
        self.assert_calm(server)

    def metrics(self, server: Server) -> str:
        asked = connect(self, os.path.relpath(server.folder / "admin.sock"))
        asked.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return read_to_end(asked).decode()


class TLSTests(FramingTestCase):
    tls = True

    def test_int8(self) -> None:
        self.assert_framing(Framing.INT8)
