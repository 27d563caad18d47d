"""
L{twisted_echo.session.statistics}: what is asked of a service.
"""

import json
import socket
from typing import Any
from unittest.mock import ANY

from cryptography.x509.oid import NameOID
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.support.clients import (
    FullTransport,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    stick,
    turn,
    until,
)
from tests.support.counting_transports import DONE, PEER, Counting, Waiting
from tests.support.der_certificates import (
    attribute,
    certificate_der,
    common_name,
    server_context,
    x509_name,
)
from tests.support.marks import slow
from tests.support.tlsclient import TLSTestCase
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EndReason,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.metrics import Snapshot
from twisted_echo.session.bounds.limits import Deadlines, Limits
from twisted_echo.session.statistics import (
    MOST_ROWS,
    sessionRows,
    snapshotOf,
    waitingRows,
)
from twisted_echo.testing.clocks import elapse
from twisted_echo.tls.certificates import Certificates
from twisted_echo.tls.counts import TLSFailure
from twisted_echo.tls.x509 import LONGEST, BadCertificate, Certificate


@implementer(ISSLTransport)
class Certified(Counting):
    """
    One whose TLS has verified a certificate, perhaps.
    """

    def __init__(self, certificate: Any) -> None:
        super().__init__(peerAddress=PEER)
        self.certificate = certificate

    def getPeerCertificate(self) -> Any:
        return self.certificate


class MadeTestCase(SynchronousTestCase):
    """
    Sessions on fakes, by a clock that stands still.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.factory = EchoFactory(EchoConfig(measure=True), clock=self.clock)

    def made(self, transport: Any = None, factory: Any = None) -> Any:
        session = (factory or self.factory).buildProtocol(None)
        session.makeConnection(
            Counting(peerAddress=PEER) if transport is None else transport
        )
        return session


class SnapshotTests(MadeTestCase):
    def test_empty(self) -> None:
        limits = Snapshot(maxSessions=0, maxPendingBytes=256 << 20)
        self.assertEqual(snapshotOf(self.factory), limits)

    def test_openAndEnded(self) -> None:
        """
        What sessions have done counts while they are open and afterwards, once.
        """
        first, second = self.made(), self.made()
        first.dataReceived(b"a\nbb\n")
        second.dataReceived(b"ccc\nrest")
        seen = snapshotOf(self.factory)
        growing = (seen.opened, seen.linesReceived, seen.bytesReceived, seen.bytesSent)
        self.assertEqual(growing, (2, 3, 13, 9))
        self.assertEqual((seen.sessions, seen.ended), (2, {}))
        self.clock.advance(5)
        first.connectionLost(DONE)
        later = snapshotOf(self.factory)
        self.assertEqual(
            growing,
            (later.opened, later.linesReceived, later.bytesReceived, later.bytesSent),
        )
        self.assertEqual((later.sessions, later.ended), (1, {"peer-closed": 1}))
        self.assertEqual((later.durations.count, later.durations.sum), (1, 5.0))
        # The one from before stays as it was.
        self.assertEqual(seen.durations.count, 0)

    def test_lostTwice(self) -> None:
        """
        A session that is given up, and then lost after all, counts once.
        """
        session = self.made()
        session.dataReceived(b"a\n")
        self.factory.forgetSessions()
        self.flushLoggedErrors()
        seen = snapshotOf(self.factory)
        session.connectionLost(DONE)
        self.assertEqual(snapshotOf(self.factory), seen)
        self.assertEqual((seen.linesReceived, seen.bytesSent), (1, 2))

    def test_comesAndGoes(self) -> None:
        """
        What waits, who is paused, and what there may be.
        """
        self.factory.limits = Limits(sessions=7)
        waiting = self.made(Waiting())
        waiting.dataReceived(b"12345\n")
        waiting.transport.dataBuffer, waiting.transport.offset = b"1234567", 4
        full = FullTransport()
        paused = self.made(full)
        paused.dataReceived(b"x" * 20 + b"\n")
        seen = snapshotOf(self.factory)
        # (A buffer is held as a whole until all of it is sent.)
        self.assertEqual(
            (seen.pendingBytes, seen.paused, seen.maxSessions), (6 + 7, 1, 7)
        )
        full.drain()
        self.assertEqual(snapshotOf(self.factory).paused, 0)

    def test_notCounting(self) -> None:
        """
        One transport that does not count what it sends is enough for the sum not to
        be known, for as long as the factory lives: a sum of some would be none.
        """
        counting = self.made()
        counting.dataReceived(b"a\n")
        self.assertEqual(snapshotOf(self.factory).bytesSent, 2)
        stock = self.made(StringTransport())
        self.assertIsNone(snapshotOf(self.factory).bytesSent)
        stock.connectionLost(DONE)
        self.assertIsNone(snapshotOf(self.factory).bytesSent)
        counting.connectionLost(DONE)
        self.made()
        self.assertIsNone(snapshotOf(self.factory).bytesSent)

    def test_refused(self) -> None:
        self.factory.countRefused(PEER, EndReason.REFUSED_FULL)
        self.assertEqual(snapshotOf(self.factory).refused, {"refused-full": 1})

    def test_tls(self) -> None:
        """
        Handshakes are there as soon as there is TLS, and what was told stays as it was.
        """
        one, other = Certificates(server_context), Certificates(server_context)
        tls = self.factory.useTLS(one)
        self.assertIs(self.factory.useTLS(other), tls)
        self.assertEqual(set(self.factory.certificates), {one, other})
        # Those that sessions had for themselves are not kept for ever.
        del one
        self.assertEqual(set(self.factory.certificates), {other})
        none = snapshotOf(self.factory)
        self.assertEqual((none.tlsHandshakes, none.tlsFailures), ({}, {}))
        self.assertEqual(none.tlsResumptions, 0)
        tls.succeeded(0.004, "TLSv1.3", True)
        tls.succeeded(0.004, "TLSv1.2", False)
        tls.failed(TLSFailure.NOT_TLS)
        seen = snapshotOf(self.factory)
        tls.succeeded(0.004, "TLSv1.3", True)
        self.assertEqual(seen.tlsHandshakes, {"TLSv1.3": 1, "TLSv1.2": 1})
        self.assertEqual(seen.tlsFailures, {"not-tls": 1})
        self.assertEqual(seen.tlsResumptions, 1)
        assert seen.tlsSeconds is not None
        self.assertEqual((seen.tlsSeconds.count, seen.tlsSeconds.sum), (2, 0.008))

    def test_neverDecreases(self) -> None:
        """
        Lines that wait behind a pause, and then turn out to be no lines, have not
        been counted in between.
        """

        class Modal(Session, FastLineReceiver):
            delimiter = b"\n"
            raw = b""

            def lineReceived(self, line: bytes) -> None:
                if line == b"raw":
                    self.pauseProducing()

            def rawDataReceived(self, data: bytes) -> None:
                self.raw += data

        factory: Any = SessionFactory.forProtocol(Modal, clock=self.clock)
        session = self.made(factory=factory)
        session.dataReceived(b"a\nraw\nno\nlines\n")
        self.assertEqual(snapshotOf(factory).linesReceived, 2)
        session.setRawMode()
        session.resumeProducing()
        self.assertEqual(session.raw, b"no\nlines\n")
        self.assertEqual(snapshotOf(factory).linesReceived, 2)
        session.connectionLost(DONE)
        self.assertEqual(snapshotOf(factory).linesReceived, 2)

    def test_neverDelivered(self) -> None:
        """
        Lines that a session ends before are not counted, before and after its end.
        """

        class Paused(Session, FastLineReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                self.pauseProducing()

        factory: Any = SessionFactory.forProtocol(Paused, clock=self.clock)
        session = self.made(factory=factory)
        session.dataReceived(b"a\nb\nc\n")
        self.assertEqual(snapshotOf(factory).linesReceived, 1)
        session.connectionLost(DONE)
        self.assertEqual(snapshotOf(factory).linesReceived, 1)


class WaitingTests(MadeTestCase):
    def waiting(self, limit: int = 10) -> list[tuple[Any, ...]]:
        rows = waitingRows(self.factory, limit)
        self.assertEqual(json.loads(json.dumps(rows)), rows)
        return [
            tuple(row[name] for name in ("id", "waitsFor", "waited", "pending"))
            for row in rows
        ]

    def test_none(self) -> None:
        """
        A session for which nothing is held does not wait.
        """
        self.made().dataReceived(b"a\n")
        elapse(self.clock, 10)
        self.assertEqual(self.waiting(), [])

    def test_longest(self) -> None:
        """
        Those that wait longest come first, each with what it waits for: its client to
        read, since it was paused; or the rest of a line, since that was seen.
        """
        full = FullTransport()
        self.made(full).dataReceived(b"x" * 20 + b"\n")
        elapse(self.clock, 7)
        self.made().dataReceived(b"half")
        sweep = self.factory.deadlines.sweep
        elapse(self.clock, sweep)
        elapse(self.clock, 3)
        one, other = self.waiting()
        self.assertEqual((one[:2], other[:2]), ((1, "client"), (2, "input")))
        self.assertEqual(one[2], 10 + sweep)
        # A sweep saw it at some moment of the first seconds.
        self.assertTrue(3 <= other[2] <= 3 + sweep, other)
        self.assertEqual((one[3], other[3]), (0, 4))
        full.drain()
        self.assertEqual([row[0] for row in self.waiting()], [2])

    def test_output(self) -> None:
        """
        A client that does not read may not be paused yet.
        """
        waits = self.made(Waiting())
        waits.dataReceived(b"12345\n")
        elapse(self.clock, 5)
        ((number, waitsFor, waited, pending),) = self.waiting()
        self.assertEqual((number, waitsFor, pending), (1, "client", 6))
        self.assertTrue(5 - self.factory.deadlines.sweep <= waited <= 5, waited)

    def test_answer(self) -> None:
        """
        A session whose answer is late waits for the program.
        """
        session = self.made()
        session.dataReceived(b"half")
        session.answerLater(Deferred())
        elapse(self.clock, 5)
        ((_, waitsFor, _, _),) = self.waiting()
        self.assertEqual(waitsFor, "answer")

    def test_most(self) -> None:
        """
        Only those for which most is held, of those that are not paused.
        """
        for length in 30, 10, 20, 40:
            self.made().dataReceived(b"x" * length)
        elapse(self.clock, 2 * self.factory.deadlines.sweep)
        self.assertEqual({row[3] for row in self.waiting(2)}, {30, 40})
        self.made(FullTransport()).dataReceived(b"x" * 20 + b"\n")
        self.assertEqual({row[0] for row in self.waiting(1)}, {4})
        self.assertEqual(len(self.waiting(10)), 5)

    def test_slowBesideLarge(self) -> None:
        """
        One that waits long is found, however much is held for others; and a line that
        began after the last sweep has not waited since that sweep.
        """
        self.made().dataReceived(b"slow")
        sweep = self.factory.deadlines.sweep
        elapse(self.clock, 5 * sweep)
        busy = [self.made() for _ in range(3)]
        for each in busy:
            each.dataReceived(b"x" * 50)
        elapse(self.clock, sweep)
        for each in busy:
            each.dataReceived(b"\n" + b"x" * 50)
        ((number, _, waited, _),) = self.waiting(1)
        self.assertEqual(number, 1)
        self.assertTrue(waited >= 5 * sweep, waited)


class RowTests(MadeTestCase):
    def test_row(self) -> None:
        self.clock.advance(100)
        session = self.made()
        session.dataReceived(b"a\nb\nrest")
        # The sweep of the deadlines, which sees that it has received something.
        elapse(self.clock, self.factory.deadlines.sweep)
        elapse(self.clock, 0.5)
        (row,) = sessionRows(self.factory)
        self.assertEqual(
            row,
            {
                "id": 1,
                "peer": "192.0.2.1:7",
                "age": 1.75,
                "idle": 0.5,
                "lines": 2,
                "bytesReceived": 8,
                "bytesSent": 4,
                "pending": len(b"rest"),
                "state": "open",
            },
        )
        self.assertEqual(json.loads(json.dumps(row)), row)

    def test_pages(self) -> None:
        """
        In the order in which they began, and nothing twice or left out, though
        sessions end and begin between two pages.
        """
        sessions = [self.made() for _ in range(7)]
        self.assertEqual(
            [row["id"] for row in sessionRows(self.factory, limit=3)], [1, 2, 3]
        )
        for each in sessions[1:4]:
            each.connectionLost(DONE)
        self.made()
        rest = sessionRows(self.factory, after=3, limit=100)
        self.assertEqual([row["id"] for row in rest], [5, 6, 7, 8])
        self.assertEqual(sessionRows(self.factory, after=8), [])

    def test_most(self) -> None:
        """
        However many are asked for, it is a bounded number.
        """
        for _ in range(MOST_ROWS + 1):
            self.made()
        self.assertEqual(len(sessionRows(self.factory, limit=10**9)), MOST_ROWS)
        self.assertEqual(len(sessionRows(self.factory)), 100)

    def state(self, session: Any) -> str:
        (row,) = sessionRows(self.factory, session.serial - 1, 1)
        return str(row["state"])

    def test_states(self) -> None:
        full = FullTransport()
        session = self.made(full)
        self.assertEqual(self.state(session), "open")
        session.dataReceived(b"x" * 20 + b"\n")
        self.assertEqual(self.state(session), "paused")
        full.drain()
        self.assertEqual(self.state(session), "open")
        session.answerLater(Deferred())
        session.readConnectionLost()
        self.assertEqual(self.state(session), "half-closed")
        session.close()
        self.assertEqual(self.state(session), "closing")
        session.abort()
        self.assertEqual(self.state(session), "aborting")

    def test_pausedByProtocol(self) -> None:
        """
        One that takes its time is not C{paused}: its peer has nothing to do with it.
        """
        session = self.made()
        session.pauseProducing()
        self.assertEqual(self.state(session), "open")

    def test_pending(self) -> None:
        session = self.made(Waiting())
        session.dataReceived(b"12345\n")
        (row,) = sessionRows(self.factory)
        self.assertEqual((row["pending"], row["bytesSent"]), (6, 0))

    def test_escaped(self) -> None:
        """
        A path that a peer chose has neither control characters nor any length.
        """
        for name in (b"\0a\n\r\x1b[2J\xff", b"/" + b"\n" * 107, "/\u2028\u202e'\""):
            session = self.made(Counting(peerAddress=UNIXAddress(name)))
            (row,) = sessionRows(self.factory, session.serial - 1)
            peer = row["peer"]
            self.assertTrue(peer.isascii() and peer.isprintable(), peer)
            self.assertLessEqual(len(peer), 120)
            self.assertTrue(peer.startswith("unix:"), peer)

    def test_subject(self) -> None:
        """
        Whose certificate a client has shown, if it has, and not at any length.
        """
        anna, long = (
            Certificate(
                certificate_der(
                    x509_name(*[attribute(NameOID.COMMON_NAME, each)] * many)
                )
            )
            for each, many in (("anna\n", 1), ("a" * 50, 9))
        )
        for certificate in (anna, long, None):
            self.made(Certified(certificate))
        self.made()
        one, two, *others = sessionRows(self.factory)
        self.assertEqual(one["peerSubject"], r"CN=anna\0A")
        self.assertEqual(len(two["peerSubject"]), LONGEST)
        for row in others:
            self.assertNotIn("peerSubject", row)

    def test_certificate(self) -> None:
        """
        A session knows the certificate, while it lasts and in its C{connectionLost}; of
        what is no certificate of this package's kind, or cannot be told, it knows none.
        """
        anna = Certificate(certificate_der(common_name("anna")))
        session = self.made(Certified(anna))
        self.assertIs(session.peerCertificate, anna)
        self.assertEqual(session.peerSubject, "CN=anna")
        seen = []
        session.callAtEnd(lambda: seen.append(session.peerSubject))
        session.connectionLost(DONE)
        self.assertEqual(seen, ["CN=anna"])

        class Broken(Certified):
            def getPeerCertificate(self) -> Any:
                raise self.certificate

        for transport in (
            Counting(peerAddress=PEER),
            Certified(None),
            Certified(b"another kind"),
            Broken(BadCertificate("cut off")),
            Broken(AttributeError("it is gone")),
        ):
            session = self.made(transport)
            self.assertIsNone(session.peerCertificate)
            self.assertIsNone(session.peerSubject)

    def test_idleByMark(self) -> None:
        """
        Where the kernel does not tell, it is as the sweep of the deadlines saw it.
        """
        session = self.made()
        elapse(self.clock, 10)
        session.dataReceived(b"a\n")
        elapse(self.clock, 10)
        (row,) = sessionRows(self.factory)
        self.assertEqual(row["age"], 20.0)
        # Seen at a sweep, of which there is one every two seconds.
        self.assertGreaterEqual(row["idle"], 8.0)
        self.assertLessEqual(row["idle"], 10.0)


class SocketRowTests(ServedTestCase):
    """
    Transports as they are.
    """

    async def rows(self, *endpoints: Any) -> None:
        service = self.serve(EchoFactory(EchoConfig(measure=True)), *endpoints)
        session, client = await self.session(service)
        client.sendall(b"hello\nyou\n")
        self.assertEqual(await in_thread(collect, client, 10), b"hello\nyou\n")
        (row,) = sessionRows(service.factory)
        age, idle = row.pop("age"), row.pop("idle")
        self.assertTrue(0 <= idle <= age < 30, (idle, age))
        self.assertIn(row.pop("bytesSent"), (10, None))
        self.assertEqual(
            row,
            {
                "id": 1,
                "peer": ANY,
                "lines": 2,
                "bytesReceived": 10,
                "pending": 0,
                "state": "open",
            },
        )
        await self.states(session, client)

    async def states(self, session: Any, client: socket.socket) -> None:
        factory = session.factory

        def state() -> Any:
            return sessionRows(factory)[0]["state"]

        line = b"x" * 60_000 + b"\n"
        await in_thread(stick, client, line * 400)
        await until(lambda: state() == "paused")
        (row,) = sessionRows(factory)
        self.assertGreater(row["pending"], 0)
        self.assertEqual(snapshotOf(factory).paused, 1)
        self.assertEqual(snapshotOf(factory).pendingBytes, row["pending"])
        session.close()
        self.assertEqual(state(), "closing")
        session.abort()
        self.assertEqual(state(), "aborting")
        await until(lambda: not factory.sessions)
        self.assertEqual(sessionRows(factory), [])
        self.assertEqual(snapshotOf(factory).pendingBytes, 0)

    async def test_tcp(self) -> None:
        await self.rows()

    async def test_unix(self) -> None:
        await self.rows(f"unix:{self.mktemp()}")


class TLSRowTests(TLSTestCase):
    async def test_row(self) -> None:
        """
        Under TLS bytes are those of the protocols.
        """
        service = self.serve_tls(EchoFactory(EchoConfig(measure=True)))
        _, client = await self.shaken_session(service)
        self.assertEqual(await in_thread(client.pump, b"one\ntwo\n" * 5000), ANY)
        await until(lambda: not service.factory.sessions)
        seen = service.snapshot()
        self.assertEqual(seen.linesReceived, 10_000)
        self.assertEqual((seen.bytesReceived, seen.bytesSent), (40_000, 40_000))

    async def test_handshakes(self) -> None:
        """
        A connection that is to become a session is one.
        """
        service = self.serve_tls()
        self.client(service)
        await until(lambda: service.snapshot().handshakes)
        seen = service.snapshot()
        self.assertEqual((seen.opened, seen.sessions, seen.handshakes), (0, 0, 1))


class ReactorTests(ServedTestCase):
    @slow
    async def test_idleUNIX(self) -> None:
        """
        On a UNIX socket C{idle} is what the deadlines know, never more than the age.
        """
        config = EchoConfig(deadlines=Deadlines(idle=0.4))
        service = self.serve(EchoFactory(config), f"unix:{self.mktemp()}")
        client = connect(service.addresses[0])
        self.addCleanup(client.close)
        await until(lambda: service.factory.sessions)
        while service.factory.sessions:
            for row in sessionRows(service.factory):
                self.assertTrue(0 <= row["idle"] <= row["age"], row)
            await turn()
        self.assertEqual(service.snapshot().ended, {"idle": 1})
