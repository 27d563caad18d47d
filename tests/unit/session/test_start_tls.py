"""
L{twisted_echo.session.start_tls} and L{twisted_echo.session.session_tls}: TLS that
begins in the middle of a session.
"""

import asyncio
import gc
import imaplib
import io
import os
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextlib import suppress as ignored
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from unittest import mock
from weakref import ref

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import (
    IHandshakeListener,
    INegotiated,
    ISSLTransport,
    ITLSTransport,
)
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.mail.imap4 import IMAP4Server
from twisted.mail.smtp import ESMTP
from twisted.protocols.basic import (
    FileSender,
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
    NetstringReceiver,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.authority import Authority
from tests.support.authority import client as client_of
from tests.support.certificates import make_certificate
from tests.support.clients import collect, reset
from tests.support.tlsclient import TLSClient, client_context, deprecated
from twisted_echo import (
    AnsweringLineReceiver,
    Deadlines,
    EndReason,
    FastInt16StringReceiver,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Limits,
    Session,
    SessionFactory,
    SessionService,
)
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.reactor import EagerEPollReactor
from twisted_echo.session.buffered_memory import heldBytes
from twisted_echo.testing.command_process import DEADLINE, environment
from twisted_echo.testing.threads import ServiceThread
from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.tls.counts import TLSFailure

REACTORS = (EagerEPollReactor, EPollReactor)
ENDPOINTS = ("tcp", "unix", "haproxy:tcp")
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
CLOSED = (EndReason.LOCAL_CLOSED, EndReason.CONNECTION_LOST)
READY = b"220 ready\r\n"
PROXY = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"

FOLDER = TemporaryDirectory(prefix="echo-")
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


def setUpModule() -> None:
    make_certificate(Path(FOLDER.name))
    CONTEXT.load_cert_chain(f"{FOLDER.name}/cert.pem", f"{FOLDER.name}/key.pem")


setUpModule()


class Commands:
    """
    What a protocol does with its commands, whatever its framing.
    """

    context: Any = CONTEXT
    transport: Any

    def ready(self) -> None:
        self.transport.write(READY)

    def command(self, line: bytes) -> Any:
        session: Any = self
        if line == b"STARTTLS":
            self.ready()
            session.startTLS(self.context)
        elif line == b"QUIT":
            self.transport.write(b"221 bye\r\n")
            self.transport.loseConnection()
        else:
            self.transport.write(b"got " + line + b"\r\n")


class Lines(Commands, Session, FastLineReceiver):
    def lineReceived(self, line: bytes) -> Any:
        return self.command(line)


class Server:
    """
    A service in a thread.
    """

    def __init__(self, thread: ServiceThread) -> None:
        self.thread = thread
        self.factory = thread.service.factory

    @property
    def session(self) -> Any:
        (session,) = self.factory.sessions
        return session

    def until(self, condition: Callable[[], Any]) -> None:
        give_up = time.monotonic() + DEADLINE
        while not self.thread.call(lambda: bool(condition())):
            assert time.monotonic() < give_up, "it waits for ever"
            time.sleep(0.005)

    def ended(self) -> EndReason:
        """
        Why its only session has ended.
        """
        self.until(lambda: self.factory.opened and not self.factory.sessions)
        (reason,) = self.factory.ended
        return reason

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        client = self.thread.connect()
        with client:
            yield client

    @contextmanager
    def begun(
        self, behind: bytes = b"", context: ssl.SSLContext | None = None
    ) -> Iterator[TLSClient]:
        """
        A client that has begun TLS.

        @param behind: what it sends in the clear behind the command.
        """
        with self.client() as client:
            client.sendall(b"STARTTLS\r\n" + behind)
            assert collect(client, len(READY)) == READY
            yield TLSClient(client, context).shake()


class StartTLSTestCase(SynchronousTestCase):
    @contextmanager
    def serve(
        self,
        protocol: Any = Lines,
        reactor: Callable[[], Any] = EagerEPollReactor,
        kind: str = "tcp",
        errors: bool = False,
        **settings: Any,
    ) -> Iterator[Server]:
        """
        @param errors: whether errors may be in the log.
        """
        if kind == "unix":
            endpoint = f"unix:{FOLDER.name}/socket"
        else:
            endpoint = f"{kind}:0:interface=127.0.0.1"
        if kind.endswith("ssl"):
            endpoint += f":privateKey={FOLDER.name}/key.pem"
            endpoint += f":certKey={FOLDER.name}/cert.pem"

        def make(clock: Any) -> SessionService:
            factory: SessionFactory[Any] = SessionFactory.forProtocol(
                protocol, clock=clock, **{"abortAfter": 30.0, **settings}
            )
            return SessionService(endpoint, factory)

        with mock.patch("twisted_echo.testing.threads._newReactor", reactor):
            thread = ServiceThread(make)
        try:
            yield Server(thread)
            if errors:
                thread.call(lambda: None)
                thread.flushLoggedErrors()
        finally:
            thread.stop()

    def assertWorks(self, client: TLSClient) -> None:
        client.send(b"hello\r\n")
        self.assertEqual(client.collect(11), b"got hello\r\n")


class BeginsTests(StartTLSTestCase):
    """
    What comes before is in the clear, and what comes after is not.
    """

    def begins(self, reactor: Any, kind: str, version: ssl.TLSVersion) -> None:
        with self.serve(reactor=reactor, kind=kind) as server, server.client() as plain:
            if kind.startswith("haproxy"):
                plain.sendall(PROXY)
            plain.sendall(b"one\r\n")
            self.assertEqual(collect(plain, 9), b"got one\r\n")
            plain.sendall(b"two\r\nSTARTTLS\r\n")
            before = b"got two\r\n" + READY
            self.assertEqual(collect(plain, len(before)), before)
            client = TLSClient(plain, client_context(version)).shake()
            self.assertWorks(client)
            session = server.session
            if kind.startswith("haproxy"):
                self.assertEqual(session.peer.host, "192.0.2.1")
            sent = None if reactor is not EagerEPollReactor else 9 + len(before) + 11
            self.assertEqual(session.bytesSent, sent)
            self.assertTrue(ISSLTransport.providedBy(session.transport))
            self.assertTrue(INegotiated.providedBy(session.transport))
            self.assertFalse(ITLSTransport.providedBy(session.transport))
            big = b"x" * 15_000 + b"\r\n"
            answers = client.pump(100 * big)
            self.assertEqual(len(answers), 100 * (len(big) + 4))
            self.assertTrue(client.farewell)
            self.assertIn(
                server.ended(), (EndReason.PEER_CLOSED, EndReason.HALF_CLOSED)
            )
            counts = server.factory.tls
            assert counts is not None
            (name,) = counts.handshakes
            self.assertEqual(name, client.object.version())
            self.assertEqual((counts.failures, counts.plainDropped), ({}, 0))

    def test_eager(self) -> None:
        for kind in ENDPOINTS:
            for version in VERSIONS:
                self.begins(EagerEPollReactor, kind, version)

    def test_stock(self) -> None:
        for kind in ENDPOINTS:
            self.begins(EPollReactor, kind, VERSIONS[1])
            self.begins(EPollReactor, kind, VERSIONS[0])

    def test_otherReactors(self) -> None:
        self.begins(SelectReactor, "haproxy:tcp", VERSIONS[1])
        with closing(asyncio.new_event_loop()) as loop:
            reactor = partial(AsyncioSelectorReactor, loop)
            self.begins(reactor, "haproxy:tcp", VERSIONS[1])

    def test_writtenMeanwhile(self) -> None:
        """
        What is written between the command and the end of the handshake waits, in
        order, and goes out encrypted, to whichever transport it is written.
        """

        class Hasty(Lines):
            def command(self, line: bytes) -> None:
                before = self.transport
                super().command(line)
                if line == b"STARTTLS":
                    self.transport.write(b"secret 1,")
                    before.write(b"secret 2,")
                    before.writeSequence([b"secret", b" 3,"])
                    self.transport.writeSequence([b"secret", b" 4,"])
                    for _ in range(1000):
                        self.transport.write(b"x" * 100)

        for reactor in REACTORS:
            for kind in ENDPOINTS:
                with (
                    self.serve(Hasty, reactor, kind) as server,
                    server.client() as client,
                ):
                    client.sendall(PROXY if kind.startswith("haproxy") else b"")
                    client.sendall(b"STARTTLS\r\n")
                    server.until(lambda: server.factory.tls)
                    self.assertEqual(client.recv(1000), READY)
                    held = server.thread.call(server.session.transport.ownBytes)
                    self.assertEqual(held, 100_036)
                    tls = TLSClient(client).shake()
                    got = tls.collect(held)
                    self.assertEqual(got[:36], b"secret 1,secret 2,secret 3,secret 4,")
                    self.assertEqual(len(got), held)

    def test_bounded(self) -> None:
        """
        What waits counts in what all sessions may hold, at once.
        """

        class Endless(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                while not self.isAborted:
                    self.transport.write(b"x" * 1000)

        with (
            self.serve(Endless, limits=Limits(buffered=1_000_000)) as server,
            server.client() as client,
        ):
            client.sendall(b"STARTTLS\r\n")
            self.assertIs(server.ended(), EndReason.OVER_BUFFERED)

    def test_fromConnectionMade(self) -> None:
        """
        The client's hello may come with the PROXY header.
        """

        class AtOnce(Lines):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.startTLS(CONTEXT)

        class First(Lines):
            def connectionMade(self) -> None:
                self.startTLS(CONTEXT)
                super().connectionMade()

        for protocol in AtOnce, First:
            for kind in ENDPOINTS:
                with self.serve(protocol, kind=kind) as server:
                    with server.client() as plain:
                        client = TLSClient(plain)
                        header = PROXY if kind.startswith("haproxy") else b""
                        plain.sendall(header + client.hello())
                        self.assertWorks(client.shake())
                    server.ended()
                    self.assertEqual(server.factory.tls.plainDropped, 0)

    def test_laterAndPaused(self) -> None:
        """
        A protocol that pauses, and begins TLS in a later turn. It is given nothing
        before it resumes, but the handshake goes on.
        """

        class Later(Lines):
            def command(self, line: bytes) -> None:
                if line == b"STARTTLS":
                    self.pauseProducing()
                    assert self.factory is not None
                    self.factory.clock.callLater(0, super().command, line)
                else:
                    super().command(line)

        for reactor in REACTORS:
            with (
                self.serve(Later, reactor) as server,
                server.begun(b"dropped\r\n") as client,
            ):
                client.send(b"one\r\n")
                server.until(lambda: server.factory.tls.handshakes)
                session = server.session
                self.assertTrue(session.paused)
                self.assertEqual(session.transport._records.bytesSent, 0)
                readers = server.thread.call(server.factory.clock.getReaders)
                self.assertNotIn(bottomTransport(session.transport), readers)
                server.thread.call(session.resumeProducing)
                self.assertEqual(client.collect(9), b"got one\r\n")
                self.assertWorks(client)
                self.assertEqual(server.factory.tls.plainDropped, 1)

    def test_handshakeCompleted(self) -> None:
        @implementer(IHandshakeListener)
        class Told(Lines):
            def handshakeCompleted(self) -> None:
                self.transport.write(self.transport.negotiatedProtocol)

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{FOLDER.name}/cert.pem", f"{FOLDER.name}/key.pem")
        context.set_alpn_protocols(["lines"])
        Told.context = Certificates(lambda: TLSSettings(context, requiresProtocol=True))
        knows, does_not = client_context(alpn=["lines"]), client_context()
        with self.serve(Told) as server, server.begun(context=knows) as client:
            self.assertEqual(client.collect(5), b"lines")
            self.assertWorks(client)
        with self.serve(Told) as server:
            with server.begun(context=does_not) as client:
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
            self.assertIs(server.ended(), EndReason.HANDSHAKE_FAILED)
            self.assertEqual(server.factory.tls.failures, {TLSFailure.NO_PROTOCOL: 1})

    def test_clientCertificate(self) -> None:
        authority = Authority()
        folder = Path(FOLDER.name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.load_verify_locations(cadata=authority.der)
        context.verify_mode = ssl.CERT_REQUIRED

        class Asking(Lines):
            def command(self, line: bytes) -> None:
                self.transport.write(str(self.peerSubject).encode() + b"\r\n")
                super().command(line)

        Asking.context = context
        who = client_of(None, authority.issue("anna"), folder)
        with self.serve(Asking) as server, server.client() as plain:
            plain.sendall(b"STARTTLS\r\n")
            self.assertEqual(collect(plain, 6 + len(READY)), b"None\r\n" + READY)
            client = TLSClient(plain, who).shake()
            client.send(b"x\r\n")
            self.assertEqual(client.collect(16), b"CN=anna\r\ngot x\r\n")
        with self.serve(Asking) as server, server.client() as plain:
            plain.sendall(b"STARTTLS\r\n")
            collect(plain, 6 + len(READY))
            with ignored(ssl.SSLError, OSError):
                TLSClient(plain).shake().read_to_end()
            self.assertIs(server.ended(), EndReason.HANDSHAKE_FAILED)
            counted = {TLSFailure.NO_CERTIFICATE: 1}
            self.assertEqual(server.factory.tls.failures, counted)

    def test_byteByByte(self) -> None:
        for reactor in REACTORS:
            for version in VERSIONS:
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    for each in b"one\r\nSTARTTLS\r\n":
                        plain.sendall(bytes([each]))
                    before = b"got one\r\n" + READY
                    self.assertEqual(collect(plain, len(before)), before)
                    client = TLSClient(plain, client_context(version)).shake(piece=1)
                    for each in client.sealed(b"two\r\n"):
                        plain.sendall(bytes([each]))
                    self.assertEqual(client.collect(9), b"got two\r\n")

    def test_hookRaises(self) -> None:
        """
        An exception of C{handshakeCompleted} ends the session, as one of any hook.
        """

        @implementer(IHandshakeListener)
        class Raises(Lines):
            def handshakeCompleted(self) -> None:
                raise ValueError("of the hook")

        for full in False, True:
            with self.serve(Raises, errors=True) as server, server.client() as plain:
                if full:
                    server.factory.handshakeTurns.now = lambda work: False
                plain.sendall(b"STARTTLS\r\n")
                collect(plain, len(READY))
                with ignored(OSError, ssl.SSLError):
                    TLSClient(plain).shake().read()
                server.ended()
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_certificates(self) -> None:
        """
        The factory knows those that can be loaded anew, and keeps none that cannot.
        """
        certificates = Certificates(lambda: CONTEXT)

        class Reloadable(Lines):
            context: Any = certificates

        for protocol, known in (Lines, []), (Reloadable, [certificates]):
            with self.serve(protocol) as server, server.begun() as client:
                self.assertWorks(client)
                self.assertEqual(list(server.factory.certificates), known)

    def test_turns(self) -> None:
        """
        A handshake waits for its turn.
        """
        with self.serve() as server:
            turns = server.factory.handshakeTurns
            asked = []

            def full(work: object) -> bool:
                asked.append(work)
                return False

            with mock.patch.object(turns, "now", full), server.begun() as client:
                self.assertWorks(client)
            self.assertTrue(asked)

    def test_lateTurn(self) -> None:
        """
        A client is not late while its handshake waits for its turn.
        """
        for end in "", "abort", "lose":
            works: list[Any] = []
            with self.serve() as server, server.client() as plain:
                turns: Any = server.factory.handshakeTurns
                turns.now = lambda work: False
                turns.later = lambda reactor, work, works=works: works.append(work)
                plain.sendall(b"STARTTLS\r\n")
                collect(plain, len(READY))
                client = TLSClient(plain)
                plain.sendall(client.hello())
                server.until(partial(len, works))
                session = server.session
                tls, deadline = session.transport, session.transport._deadline
                server.thread.call(partial(deadline.reset, 0))
                server.until(lambda t=tls, was=deadline: t._deadline is not was)  # type: ignore[misc]
                del turns.now, turns.later
                if end == "abort":
                    server.thread.call(session.abort)
                    self.assertIs(server.ended(), EndReason.ABORTED)
                    server.thread.call(works[0])
                elif end == "lose":
                    server.thread.call(tls.loseConnection)
                    self.assertEqual(plain.recv(100), b"")
                    plain.close()
                    self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)
                    server.thread.call(works[0])
                else:
                    server.thread.call(works[0])
                    self.assertWorks(client.shake())


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


class EndTests(StartTLSTestCase):
    """
    Sessions end as they do over TLS from the beginning.
    """

    def test_loseConnection(self) -> None:
        """
        After it, C{transport.loseConnection} closes.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                client.send(b"QUIT\r\n")
                self.assertEqual(client.collect(9), b"221 bye\r\n")
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                client.socket.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_close(self) -> None:
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                self.assertWorks(client)
                server.thread.call(server.session.close)
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                client.socket.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def closedMeanwhile(self, close: Callable[[Any], object], answered: bool) -> None:
        """
        It is closed before the hello, or, if C{answered}, in the middle of the
        handshake.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\n")
                self.assertEqual(collect(plain, len(READY)), READY)
                session = server.session
                client = TLSClient(plain)
                if answered:
                    plain.sendall(client.hello())
                    client._in.write(plain.recv(1 << 16))
                server.thread.call(partial(close, session))
                if answered:
                    client.shake()
                    self.assertIsNone(client.read())
                    self.assertTrue(client.farewell)
                else:
                    # In the clear, and in order: not by a reset.
                    self.assertEqual(plain.recv(100), b"")
                    plain.sendall(client.hello())
                    self.assertEqual(plain.recv(100), b"")
                plain.close()
                self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_closeMeanwhile(self) -> None:
        for answered in False, True:
            self.closedMeanwhile(lambda session: session.close(), answered)

    def test_loseConnectionMeanwhile(self) -> None:
        for answered in False, True:
            self.closedMeanwhile(
                lambda session: session.transport.loseConnection(), answered
            )

    def test_farewellWaits(self) -> None:
        """
        What was written goes out before the end, though the handshake has not begun.
        """

        class Brief(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                self.transport.write(b"farewell")
                self.transport.loseConnection()

        class Briefer(Brief):
            def command(self, line: bytes) -> None:
                Lines.command(self, line)
                self.transport.write(b"farewell")
                self.close()

        for protocol in Brief, Briefer:
            for reactor in REACTORS:
                with self.serve(protocol, reactor) as server:
                    with server.begun() as client:
                        self.assertEqual(client.read(), b"farewell")
                        self.assertIsNone(client.read())
                        self.assertTrue(client.farewell)
                    self.assertIs(server.ended(), EndReason.LOCAL_CLOSED)

    def test_halfClose(self) -> None:
        """
        A half-close before the end of the handshake takes place after it.
        """

        class Halves(Lines):
            def command(self, line: bytes) -> None:
                super().command(line)
                if line == b"STARTTLS":
                    self.transport.write(b"last")
                    self.transport.loseWriteConnection()

        for reactor in REACTORS:
            with self.serve(Halves, reactor) as server, server.begun() as client:
                self.assertEqual(client.read(), b"last")
                self.assertIsNone(client.read())
                self.assertTrue(client.farewell)
                self.assertFalse(server.session.transport.disconnecting)

    def test_stop(self) -> None:
        """
        A stop before the hello ends it in the clear; one in the middle of the handshake
        waits for its rest.
        """
        for reactor in REACTORS:
            for state in "told", "answered", "open":
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    client = TLSClient(plain)
                    if state == "answered":
                        plain.sendall(client.hello())
                        client._in.write(plain.recv(1 << 16))
                    elif state == "open":
                        client.shake()
                        # TLS 1.3: the server has finished.
                        self.assertWorks(client)
                        client.send(b"last\r\n")
                    stopped = server.thread.service.stopService
                    server.thread.call(lambda stop=stopped: (stop(), None)[1])  # type: ignore[arg-type, misc]
                    if state == "told":
                        self.assertEqual(plain.recv(100), b"")
                    else:
                        client.shake()
                        last = b"got last\r\n" if state == "open" else b""
                        self.assertEqual(client.collect(100), last)
                        self.assertTrue(client.farewell)
                    plain.close()
                    self.assertIs(server.ended(), EndReason.STOPPED)

    def test_stopWithTheCommandUnread(self) -> None:
        """
        The command has arrived when the service stops: it is answered, and nothing
        more is said.
        """

        class Blocks(Lines):
            def command(self, line: bytes) -> None:
                if line == b"block":
                    peer.sendall(b"STARTTLS\r\n")
                    assert self.factory is not None
                    self.factory.closeSessions(EndReason.STOPPED)
                else:
                    super().command(line)

        for reactor in REACTORS:
            with self.serve(Blocks, reactor) as server, server.client() as peer:
                peer.sendall(b"block\r\n")
                self.assertEqual(peer.recv(100), READY)
                self.assertEqual(peer.recv(100), b"")
                peer.close()
                self.assertIs(server.ended(), EndReason.STOPPED)

    def test_abort(self) -> None:
        """
        It is no failure of the client's.
        """
        for reactor in REACTORS:
            for opened, byTransport in product((False, True), repeat=2):
                with self.serve(reactor=reactor) as server, server.client() as plain:
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    client = TLSClient(plain)
                    if opened:
                        self.assertWorks(client.shake())
                    session = server.session
                    abort = session.abort
                    if byTransport:
                        abort = session.transport.abortConnection
                    server.thread.call(abort)
                    with self.assertRaises(ConnectionResetError):
                        while plain.recv(100):
                            pass
                    self.assertIs(server.ended(), EndReason.ABORTED)
                    failures = server.factory.tls.failures
                    self.assertEqual(failures, {})

    def test_bareEndOfFile(self) -> None:
        """
        Everything is answered after an end-of-file without close_notify, too.
        """
        for reactor in REACTORS:
            with self.serve(reactor=reactor) as server, server.begun() as client:
                data = b"x" * 998 + b"\r\n"
                answers = client.pump(3000 * data, farewell=False, fin=True)
                self.assertEqual(len(answers), 3000 * 1004)
                self.assertTrue(client.farewell)

    def test_tooLate(self) -> None:
        """
        Nothing is said in the clear if it begins when the session is closed, or its
        client has left.
        """

        class Closed(Lines):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)
                self.close()
                self.begin()

            def begin(self) -> None:
                self.startTLS(CONTEXT)
                self.transport.write(b"secret")
                # The one that it had before.
                self.transport.transport.write(b"secret")

        class Lost(Closed):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)
                self.transport.loseConnection()
                self.begin()

        class Ended(Closed):
            def command(self, line: bytes) -> None:
                self.transport.write(READY)

            def endOfInput(self) -> None:
                self.begin()

        for protocol in Closed, Lost, Ended:
            for reactor in REACTORS:
                with (
                    self.serve(
                        protocol, reactor, deadlines=Deadlines(handshake=0.2)
                    ) as server,
                    server.client() as plain,
                ):
                    plain.sendall(b"STARTTLS\r\n")
                    self.assertEqual(collect(plain, len(READY)), READY)
                    plain.shutdown(socket.SHUT_WR)
                    with ignored(ConnectionResetError):
                        self.assertEqual(plain.recv(100), b"", protocol)
                    server.ended()
                    if protocol is not Closed:
                        # (There something waits for a handshake.)
                        self.assertEqual(server.factory.tls.failures, {}, protocol)

    def test_gone(self) -> None:
        """
        If the connection is lost, nothing happens.
        """
        with self.serve() as server, server.client() as plain:
            plain.sendall(b"x\r\n")
            collect(plain, 7)
            session = server.session
            plain.close()
            server.ended()
            server.thread.call(lambda: session.startTLS(CONTEXT))
            self.assertFalse(ISSLTransport.providedBy(session.transport))

    def test_nothingKept(self) -> None:
        """
        A session and its TLS are gone when they have ended, without the garbage
        collector; however they end.
        """

        def leave(client: socket.socket) -> None:
            pass

        def shake(client: socket.socket) -> None:
            TLSClient(client).shake().sealed(farewell=True)

        def nonsense(client: socket.socket) -> None:
            client.sendall(b"nonsense\r\n" * 10)
            with ignored(OSError):
                client.recv(100)
                client.recv(100)

        for reactor in REACTORS:
            for kind in ENDPOINTS:
                for end in leave, shake, nonsense:
                    with self.serve(reactor=reactor, kind=kind) as server:
                        with server.client() as plain:
                            if kind.startswith("haproxy"):
                                plain.sendall(PROXY)
                            plain.sendall(b"STARTTLS\r\nmore\r\n")
                            collect(plain, len(READY))
                            session = server.session
                            known = [
                                ref(session),
                                ref(session.transport),
                                ref(session.transport.transport),
                            ]
                            gc.disable()
                            self.addCleanup(gc.enable)
                            end(plain)
                            del session
                        server.ended()
                        for each in known:
                            server.until(lambda known=each: not known())  # type: ignore[misc]
                        gc.enable()


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


class Mail(Session, ESMTP):
    """
    Twisted's own server, which calls C{transport.startTLS}.
    """

    given: Any = CONTEXT

    def __init__(self) -> None:
        ESMTP.__init__(self, contextFactory=self.given)  # type: ignore[no-untyped-call]

    def validateFrom(self, helo: object, origin: object) -> Any:
        return origin


class Mailbox(Session, IMAP4Server):
    def __init__(self) -> None:
        IMAP4Server.__init__(self, contextFactory=CONTEXT)  # type: ignore[no-untyped-call]


class TransportTests(StartTLSTestCase):
    """
    C{transport.startTLS}, as protocols of Twisted's call it.
    """

    def test_mail(self) -> None:
        """
        Python's own client; C{QUIT} closes at once.
        """
        for reactor in REACTORS:
            for kind in ENDPOINTS[::2]:
                with self.serve(Mail, reactor, kind) as server:
                    sender = smtplib.SMTP(timeout=DEADLINE)
                    sender.sock = server.thread.connect()
                    if kind.startswith("haproxy"):
                        sender.sock.sendall(PROXY)
                    self.assertEqual(sender.getreply()[0], 220)
                    sender._host = "localhost"  # type: ignore[attr-defined]
                    sender.ehlo()
                    self.assertTrue(sender.has_extn("starttls"))
                    sender.starttls(context=client_context())
                    sender.ehlo()
                    self.assertFalse(sender.has_extn("starttls"))
                    self.assertEqual(sender.mail("a@example.org")[0], 250)
                    self.assertEqual(sender.quit()[0], 221)
                    # (It closes before it has read the farewell: with a reset.)
                    self.assertIn(server.ended(), CLOSED)
                    self.assertEqual(server.factory.tls.handshakes.total(), 1)

    def test_pipelinedMail(self) -> None:
        """
        A command behind C{STARTTLS} is not carried out.
        """
        for reactor in REACTORS:
            with self.serve(Mail, reactor) as server, server.client() as plain:
                plain.sendall(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n")
                clear = b""
                while clear.count(b"\r\n") < 2:
                    clear += plain.recv(100)
                client = TLSClient(plain).shake()
                client.send(b"RSET\r\n")
                self.assertEqual(client.read()[:4], b"250 ")  # type: ignore[index]
                self.assertIsNone(server.session._from)
                self.assertEqual(server.factory.tls.plainDropped, 1)
                self.assertTrue(clear.endswith(b"220 Begin TLS negotiation now\r\n"))

    def test_otherContext(self) -> None:
        """
        What Twisted's TLS takes is refused, with an error that says what is taken.
        """

        class Old(Mail):
            with deprecated():
                given = CertificateOptions()

        for reactor in REACTORS:
            with (
                self.serve(Old, reactor) as server,
                server.client() as plain,
                mock.patch.object(server.thread, "stop", lambda: None),
            ):
                plain.sendall(b"STARTTLS\r\n")
                while plain.recv(100):
                    pass
                server.ended()
                (told,) = server.thread.flushLoggedErrors()
                self.assertIn("ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)", told)
                self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
            server.thread.stop()

    def test_otherSide(self) -> None:
        """
        A session does not shake hands as a client.
        """

        class Other(Lines):
            def command(self, line: bytes) -> None:
                try:
                    self.transport.startTLS(CONTEXT, False)
                except TypeError as error:
                    self.transport.write(str(error).encode())

        for reactor in REACTORS:
            with self.serve(Other, reactor) as server, server.client() as plain:
                plain.sendall(b"x\r\n")
                self.assertIn(b"normal=False", plain.recv(1000))

    def test_keptTransport(self) -> None:
        """
        The transport from before does not begin Twisted's TLS beside this one; nor does
        that under an C{ssl:} endpoint.
        """

        class Keeps(Lines):
            def command(self, line: bytes) -> None:
                if line == b"again":
                    transports = [self.transport, bottomTransport(self.transport)]
                    for each in transports[:1] if over == "ssl" else transports:
                        try:
                            each.startTLS(CONTEXT)
                        except RuntimeError as error:
                            self.transport.write(str(error).encode() + b"\r\n")
                else:
                    super().command(line)

        told = b"TLS has begun already\r\n"
        for reactor in REACTORS:
            for over in ENDPOINTS:
                with (
                    self.serve(Keeps, reactor, over) as server,
                    server.client() as plain,
                ):
                    plain.sendall(PROXY if over.startswith("haproxy") else b"")
                    plain.sendall(b"STARTTLS\r\n")
                    collect(plain, len(READY))
                    client = TLSClient(plain).shake()
                    client.send(b"again\r\n")
                    self.assertEqual(client.collect(2 * len(told)), 2 * told)
            over = "ssl"
            with self.serve(Keeps, reactor, over) as server, server.client() as plain:
                client = TLSClient(plain).shake()
                client.send(b"again\r\n")
                self.assertEqual(client.collect(len(told)), told)
                transport = server.session.transport
                self.assertFalse(ITLSTransport.providedBy(transport))

    def test_mailbox(self) -> None:
        for reactor in REACTORS:
            with self.serve(Mailbox, reactor) as server:
                name, port = server.thread.address  # type: ignore[str-unpack]
                box = imaplib.IMAP4(str(name), int(port), timeout=DEADLINE)
                self.assertIn("STARTTLS", box.capabilities)
                box.starttls(client_context())
                self.assertNotIn("STARTTLS", box.capabilities)
                box.logout()
                self.assertIn(server.ended(), CLOSED)

    def test_withoutPyOpenSSL(self) -> None:
        """
        Where Twisted has no TLS of its own, its protocols begin it all the same.
        """
        run = subprocess.run(
            [sys.executable, "-c", WITHOUT],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            cwd=FOLDER.name,
            env=environment(),
            check=False,
        )
        self.assertEqual(run.stderr, "")
        self.assertEqual(run.stdout, "TLSv1.3\n" * len(REACTORS))


WITHOUT = """\
import smtplib, ssl, sys
for name in ("OpenSSL", "cryptography", "service_identity"):
    sys.modules[name] = None
from twisted.internet.epollreactor import EPollReactor
from twisted.mail.smtp import ESMTP
from twisted_echo import Session
from twisted_echo.reactor import EagerEPollReactor
from twisted_echo.testing import threads

class Mail(Session, ESMTP):
    def __init__(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain("cert.pem", "key.pem")
        ESMTP.__init__(self, contextFactory=context)

for threads._newReactor in EagerEPollReactor, EPollReactor:
    with threads.ServiceThread(Mail) as server:
        with smtplib.SMTP(*server.address, timeout=30) as sender:
            sender.starttls(context=ssl.create_default_context(cafile="cert.pem"))
            sender.ehlo()
            print(sender.sock.version())
"""
