"""
L{twisted_echo.session.starttls.session_tls}: handshakes that fail, backpressure and
producers.
"""

import io
import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress as ignored
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import FileSender

from tests.support.authority import Authority
from tests.support.authority import client as client_of
from tests.support.clients import collect, reset
from tests.support.start_tls import (
    CONTEXT,
    FOLDER,
    REACTORS,
    READY,
    Lines,
    StartTLSTestCase,
)
from tests.support.tlsclient import TLSClient, client_context, deprecated
from twisted_echo import Deadlines, EndReason, SessionFactory
from twisted_echo.session.bounds.buffered_memory import heldBytes
from twisted_echo.testing.command_process import DEADLINE
from twisted_echo.tls.counts import TLSFailure


class FailureTests(StartTLSTestCase):
    """
    A handshake that fails ends the session, and is counted once.
    """

    def fails(
        self, what: Callable[[socket.socket], object], reason: EndReason, **how: Any
    ) -> tuple[TLSFailure, str]:
        """
        @return: what it was counted as, and the detail.
        """
        ends = []
        for reactor in REACTORS:
            with self.serve(reactor=reactor, **how) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\n")
                self.assertEqual(collect(plain, len(READY)), READY)
                session = server.session
                what(plain)
                self.assertIs(server.ended(), reason)
                counts = server.factory.tls
                assert counts is not None
                self.assertEqual(counts.handshakes, {})
                self.assertEqual(counts.failures.total(), 1)
                ends.append((*counts.failures, session.end.detail))
        self.assertEqual(ends[0], ends[1])
        return ends[0]

    def test_notTLS(self) -> None:
        failure, detail = self.fails(
            lambda client: client.sendall(b"NOOP\r\n" * 5), EndReason.HANDSHAKE_FAILED
        )
        self.assertIs(failure, TLSFailure.NOT_TLS)
        self.assertIn("wrong version number", detail)

    def test_clientLeft(self) -> None:
        failure, detail = self.fails(
            lambda client: client.shutdown(socket.SHUT_WR), EndReason.HANDSHAKE_FAILED
        )
        self.assertEqual((failure, detail), (TLSFailure.CLIENT_LEFT, "the client left"))

    def test_clientLeftInTheMiddle(self) -> None:
        def leave(client: socket.socket) -> None:
            client.sendall(TLSClient(client).hello())
            client.recv(1)
            client.shutdown(socket.SHUT_WR)
            while client.recv(1 << 16):
                pass

        failure, _ = self.fails(leave, EndReason.HANDSHAKE_FAILED)
        self.assertIs(failure, TLSFailure.CLIENT_LEFT)

    def test_leftWhenClosed(self) -> None:
        """
        It is no failure if the session is being closed, however the client leaves.
        """
        for reactor in REACTORS:
            for leave in (reset, lambda client: client.shutdown(socket.SHUT_WR)):
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\n")
                    collect(plain, len(READY))
                    plain.sendall(TLSClient(plain).hello())
                    plain.recv(1)
                    session = server.session
                    server.thread.call(session.close)
                    server.until(lambda known=session: known.isFinished)  # type: ignore[misc]
                    leave(plain)
                    self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)
                    self.assertEqual(server.factory.tls.failures, {})

    def test_reset(self) -> None:
        failure, _ = self.fails(reset, EndReason.CONNECTION_LOST)
        self.assertIs(failure, TLSFailure.CLIENT_LEFT)

    def test_alert(self) -> None:
        """
        The client does not trust the server.
        """

        def distrust(client: socket.socket) -> None:
            tls = TLSClient(client, client_of(Authority()))
            with self.assertRaises(ssl.SSLError):
                tls.shake()
            client.sendall(tls._out.read())

        failure, detail = self.fails(distrust, EndReason.HANDSHAKE_FAILED)
        self.assertIs(failure, TLSFailure.ALERT)
        self.assertIn("unknown ca", detail)

    def test_deadline(self) -> None:
        """
        Both for a silent client and for one that stops in the middle.
        """

        def stop(client: socket.socket) -> None:
            client.sendall(TLSClient(client).hello())

        for what in stop, lambda client: None:
            failure, detail = self.fails(
                what,
                EndReason.HANDSHAKE_TIMEOUT,
                deadlines=Deadlines(handshake=0.05),
            )
            self.assertEqual((failure, detail), (TLSFailure.TIMEOUT, "over 50ms"))

    def test_deadlineIsOver(self) -> None:
        """
        It does not outlive the handshake.
        """
        deadlines = Deadlines(handshake=30.0)
        with self.serve(deadlines=deadlines) as server, server.begun() as client:
            self.assertWorks(client)
            self.assertIsNone(server.session.transport._deadline)

    def test_refused(self) -> None:
        """
        What cannot be taken is refused by name, and the session goes on in the clear.
        """

        class Refused(Lines):
            def command(self, line: bytes) -> None:
                try:
                    super().command(line)
                except (TypeError, ValueError) as error:
                    self.transport.write(str(error).encode() + b"\r\n")

            def ready(self) -> None:
                pass

        with deprecated():
            options = CertificateOptions()
        for given, word in (
            (options, b"got twisted.internet._sslverify.OpenSSLCertificateOptions"),
            (None, b"got builtins.NoneType"),
            (client_context(), b"for clients"),
        ):
            Refused.context = given
            for reactor in REACTORS:
                with self.serve(Refused, reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\nx\r\n")
                    plain.shutdown(socket.SHUT_WR)
                    told = b"".join(iter(lambda p=plain: p.recv(1 << 16), b""))  # type: ignore[misc]
                    self.assertIn(word, told)
                    self.assertTrue(told.endswith(b"\r\ngot x\r\n"))
                    self.assertIsNone(server.factory.tls)

    def test_second(self) -> None:
        class Twice(Lines):
            def command(self, line: bytes) -> None:
                try:
                    super().command(line)
                except RuntimeError as error:
                    self.transport.write(str(error).encode() + b"\r\n")

            def ready(self) -> None:
                if not ISSLTransport.providedBy(self.transport):
                    super().ready()

        for reactor in REACTORS:
            with self.serve(Twice, reactor) as server, server.begun() as client:
                client.send(b"STARTTLS\r\nx\r\n")
                self.assertEqual(
                    client.collect(30), b"TLS has begun already\r\ngot x\r\n"
                )
        with self.serve(Twice, kind="ssl") as server, server.client() as plain:
            client = TLSClient(plain).shake()
            client.send(b"STARTTLS\r\n")
            self.assertEqual(client.collect(23), b"TLS has begun already\r\n")

    def test_notServed(self) -> None:
        """
        Without a factory, and over what does not deliver to the session.
        """
        session = Lines()
        session.makeConnection(StringTransport())
        with self.assertRaisesRegex(RuntimeError, "SessionFactory"):
            session.startTLS(CONTEXT)
        factory = SessionFactory.forProtocol(Lines)
        session = factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        with self.assertRaisesRegex(TypeError, "StringTransport"):
            session.startTLS(CONTEXT)
        session.connectionLost()


class OutputTests(StartTLSTestCase):
    """
    Backpressure and producers.
    """

    def test_backpressure(self) -> None:
        """
        A client that does not read is not read from.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                data = 16 * (b"x" * 998 + b"\r\n")
                client.socket.setblocking(False)
                session, count, rest = server.session, 0, b""
                while not session.isPaused or count < 20:
                    rest = rest or client.sealed(data)
                    with ignored(BlockingIOError):
                        rest = rest[client.socket.send(rest) :]
                        count += not rest
                held = server.thread.call(lambda held=session: heldBytes(held))  # type: ignore[arg-type, misc]
                self.assertLess(held, 1 << 18)
                client.socket.settimeout(DEADLINE)
                count += bool(rest)
                rest += client.sealed(farewell=True)
                sender = Thread(target=client.socket.sendall, args=(rest,))
                sender.start()
                self.assertEqual(len(client.read_to_end()), count * 16 * 1004)
                sender.join()

    def test_producerFromBefore(self) -> None:
        """
        A file that is being sent in the clear goes on encrypted.
        """
        path = Path(FOLDER.name) / "file"
        path.write_bytes(os.urandom(300_000))

        class Sends(Lines):
            backpressure = False

            def command(self, line: bytes) -> None:
                if line == b"SEND":
                    content = io.BytesIO(path.read_bytes())
                    FileSender().beginFileTransfer(content, self.transport)
                    # (It has written its first chunk by now.)
                    self.startTLS(CONTEXT)
                    self.transport.loseConnection()

        for reactor in REACTORS:
            with self.serve(Sends, reactor) as server, server.client() as plain:
                plain.sendall(b"SEND\r\n")
                first = path.read_bytes()[: FileSender.CHUNK_SIZE]
                clear = collect(plain, len(first))
                self.assertEqual(clear, first)
                client = TLSClient(plain).shake()
                rest = b"".join(iter(client.read, None))
                self.assertTrue(client.farewell)
                self.assertTrue(clear + rest == path.read_bytes())
                plain.close()
                server.ended()

    def test_pushProducerFromBefore(self) -> None:
        """
        It is paused until the handshake is done.
        """
        told: list[str] = []

        class Push:
            def pauseProducing(self) -> None:
                told.append("pause")

            def resumeProducing(self) -> None:
                told.append("resume")

            def stopProducing(self) -> None:
                told.append("stop")

        class Pushes(Lines):
            backpressure = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(Push(), True)

            def command(self, line: bytes) -> None:
                if line == b"DONE":
                    self.transport.unregisterProducer()
                    self.transport.loseConnection()
                else:
                    super().command(line)

        for reactor in REACTORS:
            told.clear()
            with self.serve(Pushes, reactor) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\n")
                collect(plain, len(READY))
                server.until(lambda: told)
                self.assertEqual(told, ["pause"])
                with self.assertRaises(RuntimeError):
                    register = server.session.transport.registerProducer
                    server.thread.call(lambda call=register: call(Push(), True))  # type: ignore[misc]
                client = TLSClient(plain).shake()
                self.assertWorks(client)
                self.assertEqual(told, ["pause", "resume"])
                client.send(b"DONE\r\n")
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)

    def test_producerBesideBackpressure(self) -> None:
        """
        A producer beside the session's own is refused at once, as at any other time,
        and not when the handshake is done.
        """
        refused: list[str] = []

        class Registers(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                try:
                    self.transport.registerProducer(self, True)
                except RuntimeError as error:
                    refused.append(str(error))

        for reactor in REACTORS:
            refused.clear()
            with self.serve(Registers, reactor) as server, server.client() as plain:
                plain.sendall(b"x\r\nSTARTTLS\r\n")
                collect(plain, 7 + len(READY))
                self.assertWorks(TLSClient(plain).shake())
            self.assertEqual(len(refused), 3)
            for each in refused:
                self.assertIn("Backpressure", each)
