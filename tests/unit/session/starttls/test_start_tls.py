"""
L{twisted_echo.session.starttls.start_tls}: TLS begins in the middle of a session, by
the session's C{startTLS} or by its transport's.
"""

import asyncio
import imaplib
import smtplib
import ssl
import subprocess
import sys
from contextlib import closing
from contextlib import suppress as ignored
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import (
    IHandshakeListener,
    INegotiated,
    ISSLTransport,
    ITLSTransport,
)
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.ssl import CertificateOptions
from twisted.mail.imap4 import IMAP4Server
from twisted.mail.smtp import ESMTP
from zope.interface import implementer

from tests.support.authority import Authority
from tests.support.authority import client as client_of
from tests.support.clients import collect
from tests.support.start_tls import (
    CLOSED,
    CONTEXT,
    ENDPOINTS,
    FOLDER,
    PROXY,
    REACTORS,
    READY,
    VERSIONS,
    Lines,
    StartTLSTestCase,
)
from tests.support.tlsclient import TLSClient, client_context, deprecated
from twisted_echo import EndReason, Limits, Session
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.reactor import EagerEPollReactor
from twisted_echo.testing.command_process import DEADLINE, environment
from twisted_echo.tls.certificates import Certificates, TLSSettings
from twisted_echo.tls.counts import TLSFailure


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
        The factory knows those that can be loaded again, and keeps none that cannot.
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
