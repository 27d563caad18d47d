"""
L{twisted_echo.session.session}: one connection's life, with every kind of protocol.
"""

import gc
import socket
import struct
from typing import Any
from weakref import ref

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import (
    Int16StringReceiver,
    LineOnlyReceiver,
    LineReceiver,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.clients import (
    LEFT,
    FullTransport,
    ServedTestCase,
    collect,
    connect,
    in_thread,
    pump,
    read_to_end,
    reset,
    stick,
    tls,
    tls_endpoint,
    turn,
    until,
)
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.net.transport_queries import bottomTransport
from twisted_echo.session.backpressure import Backpressure
from twisted_echo.testing.clocks import elapse

DONE = Failure(ConnectionDone())


class _Lines:
    """
    Answers each line by itself, in upper case; some lines are orders.
    """

    delimiter = b"\n"

    def connectionMade(self) -> None:
        self.lines: list[bytes] = []
        super().connectionMade()

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)
        if line == b"lose":
            self.transport.loseConnection()
        elif line == b"close":
            self.close()
        elif line == b"pause":
            self.pauseProducing()
        elif line == b"fail":
            raise ZeroDivisionError
        elif line == b"later":
            self.later: Deferred[None] = Deferred()
            self.answerLater(self.later.addCallback(lambda _: self.sendLine(b"LATE")))  # type: ignore[call-overload]
        elif line == b"big":
            self.sendLine(b"x" * 30_000_000)
        else:
            self.sendLine(line.upper())


class Upper(_Lines, Session, FastLineReceiver):
    """
    The package's receiver.
    """


class StockUpper(_Lines, Session, LineReceiver):
    """
    Twisted's receiver.
    """


class OnlyUpper(_Lines, Session, LineOnlyReceiver):
    """
    Twisted's simple receiver.
    """


class FastOnlyUpper(_Lines, Session, FastLineOnlyReceiver):
    """
    The package's simple receiver.
    """


class Strings(Session, Int16StringReceiver):
    """
    Length-prefixed.
    """

    def stringReceived(self, string: bytes) -> None:
        self.sendString(string.upper())


class Plain(Session, Protocol):
    """
    Bytes as they come.
    """

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data.upper())


def _made(protocol: type[Any], transport: Any = None, **options: Any) -> Any:
    """
    A session of a factory with a L{Clock}, on a fake transport.
    """
    options.setdefault("clock", Clock())
    factory = SessionFactory.forProtocol(protocol, **options)
    session = factory.buildProtocol(None)
    session.makeConnection(FullTransport() if transport is None else transport)
    return session


def _frame(string: bytes) -> bytes:
    return struct.pack("!H", len(string)) + string


class BeginningTests(SynchronousTestCase):
    """
    What happens in C{connectionMade}.
    """

    def test_interfaces(self) -> None:
        """
        A session and what it registers are what Twisted's transports ask for.
        """
        session = _made(Upper)
        verifyObject(IHalfCloseableProtocol, session)
        verifyObject(IPushProducer, session)
        verifyObject(IPushProducer, Backpressure(session, session.transport))

    def test_registeredFirst(self) -> None:
        """
        A session is on record before the code of its protocol runs.
        """
        recorded = []

        class Base(Protocol):
            def connectionMade(self) -> None:
                recorded.append(self in self.factory.sessions)

        class Mine(Session, Base):
            pass

        session = _made(Mine)
        self.assertEqual(recorded, [True])
        self.assertEqual(list(session.factory.sessions), [session])

    def test_wrongFactory(self) -> None:
        """
        A factory that keeps no sessions is refused, and the connection does not
        stay open.
        """
        factory = Factory.forProtocol(Upper)  # type: ignore[type-var]
        session = factory.buildProtocol(None)
        transport = StringTransport()
        error = self.assertRaises(TypeError, session.makeConnection, transport)
        self.assertIn("Upper is a Session", str(error))
        self.assertIn(repr(factory), str(error))
        self.assertTrue(transport.disconnecting)

    def test_noFactory(self) -> None:
        """
        Without any factory, as in a unit test of somebody's protocol, a session
        works, untracked.
        """
        session = Upper()
        transport = FullTransport()
        session.makeConnection(transport)
        session.dataReceived(b"a\n")
        session.close()
        self.assertEqual(transport.value(), b"A\n")
        self.assertTrue(transport.halfClosed)
        session.connectionLost(DONE)
        self.assertRaises(AssertionError, session.whenEnded)

    def test_producerOfItsOwn(self) -> None:
        """
        C{backpressure = False} leaves the transport's one producer to the
        protocol.
        """

        class Own(Upper):
            backpressure = False

            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.registerProducer(self, True)

        session = _made(Own)
        self.assertIs(session.transport.producer, session)
        session.close()
        self.assertIs(session.transport.producer, session)

    def test_transportWithoutProducers(self) -> None:
        """
        A transport that is no consumer is served without backpressure.
        """

        class Bare:
            disconnecting = False
            written = b""

            def write(self, data: bytes) -> None:
                self.written += data

        transport = Bare()
        session = _made(Upper, transport)
        session.dataReceived(b"a\n")
        self.assertEqual(transport.written, b"A\n")


class MixInTests(ServedTestCase):
    """
    Any protocol that is made a session is tracked, throttled and drained.
    """

    async def answered(self, protocol, sent, answer):
        """
        Have the answer over a real connection, closed by the client's
        end-of-file, and another one by the session.
        """
        factory = SessionFactory.forProtocol(protocol)
        service = self.serve(factory)
        session, client = await self.session(service)
        ended = session.whenEnded()
        got = await in_thread(pump, client, sent)
        self.assertEqual(got, answer)
        self.assertIn((await ended).reason, LEFT)
        session, client = await self.session(service)
        client.sendall(sent)
        ended = session.whenEnded()
        self.assertEqual(await in_thread(collect, client, len(answer)), answer)
        session.close()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        self.assertIs((await ended).reason, EndReason.LOCAL_CLOSED)
        self.assertEqual(factory.sessions, {})

    async def test_fastLineReceiver(self) -> None:
        await self.answered(Upper, b"a\nb\n", b"A\nB\n")

    async def test_lineReceiver(self) -> None:
        await self.answered(StockUpper, b"a\nb\n", b"A\nB\n")

    async def test_lineOnlyReceiver(self) -> None:
        await self.answered(OnlyUpper, b"a\nb\n", b"A\nB\n")

    async def test_fastLineOnlyReceiver(self) -> None:
        await self.answered(FastOnlyUpper, b"a\nb\n", b"A\nB\n")

    async def test_int16(self) -> None:
        sent = _frame(b"a") + _frame(b"b" * 300)
        await self.answered(Strings, sent, sent.upper())

    async def test_plain(self) -> None:
        await self.answered(Plain, b"a\0b", b"A\0B")


class BackpressureTests(SynchronousTestCase):
    """
    A full transport stops a session's input, and nothing is lost by it.
    """

    protocols = (Upper, StockUpper)

    def test_midChunk(self) -> None:
        """
        A line protocol gets no more lines once the transport is full, though
        they were received; it gets them, in order, as the transport empties.
        """
        for protocol in self.protocols:
            session = _made(protocol)
            transport = session.transport
            session.dataReceived(b"".join(b"line%d\n" % n for n in range(10)))
            self.assertEqual(len(session.lines), 2, protocol)
            self.assertEqual(transport.producerState, "paused")
            transport.drain()
            self.assertEqual(len(session.lines), 4, protocol)
            self.assertEqual(transport.producerState, "paused")
            while len(session.lines) < 10:
                transport.drain()
            transport.drain()
            self.assertEqual(session.lines, [b"line%d" % n for n in range(10)])
            self.assertEqual(transport.producerState, "producing")

    def test_protocolsPauseStays(self) -> None:
        """
        An empty transport does not undo the pause that the protocol asked for.
        """
        for protocol in self.protocols:
            session = _made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\npause\nmore\n")
            self.assertEqual(len(session.lines), 1)
            transport.drain()
            self.assertEqual(session.lines[1:], [b"pause"])
            transport.producer.pauseProducing()
            transport.drain()
            self.assertEqual(session.lines[1:], [b"pause"])
            self.assertEqual(transport.producerState, "paused")
            session.resumeProducing()
            self.assertEqual(session.lines[1:], [b"pause", b"more"])
            self.assertEqual(transport.producerState, "producing")

    def test_transportsPauseStays(self) -> None:
        """
        A protocol that resumes does not overrun a full transport.
        """
        for protocol in self.protocols:
            session = _made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\nmore\n")
            session.pauseProducing()
            session.resumeProducing()
            self.assertEqual(len(session.lines), 1)
            self.assertEqual(transport.producerState, "paused")
            transport.drain()
            self.assertEqual(session.lines[1:], [b"more"])
            self.assertEqual(transport.producerState, "producing")

    def test_otherProtocols(self) -> None:
        """
        A protocol that cannot pause in mid-chunk has its transport paused.
        """
        for protocol in (OnlyUpper, FastOnlyUpper, Plain):
            session = _made(protocol)
            transport = session.transport
            session.dataReceived(b"long enough to fill it\nmore\n")
            self.assertEqual(transport.producerState, "paused")
            self.assertIn(b"MORE\n", transport.value())
            transport.drain()
            self.assertEqual(transport.producerState, "producing")

    def test_off(self) -> None:
        """
        C{backpressure = False}: nothing is registered.
        """

        class Own(Upper):
            backpressure = False

        session = _made(Own)
        self.assertIs(session.transport.producer, None)

    def test_stopProducing(self) -> None:
        """
        C{stopProducing} takes no more input, and closes.
        """
        for protocol in self.protocols:
            session = _made(protocol)
            session.stopProducing()
            # Which closes, as `ITransport` has it.
            self.assertEqual(session.transport.producerState, "stopped", protocol)
        session = _made(Plain)
        session.stopProducing()
        self.assertTrue(session.transport.disconnecting)

    def test_closedWhileChoked(self) -> None:
        """
        C{close} on a choked session: what was received is answered as the
        transport empties, and only then the end-of-file goes out.
        """
        for protocol in self.protocols:
            session = _made(protocol)
            transport = session.transport
            session.dataReceived(b"".join(b"line%d\n" % n for n in range(6)))
            session.close()
            while len(session.lines) < 6:
                self.assertFalse(transport.halfClosed, protocol)
                transport.drain()
            transport.drain()
            elapse(session.factory.clock, 0)
            self.assertEqual(session.lines, [b"line%d" % n for n in range(6)])
            self.assertTrue(transport.halfClosed, protocol)

    def test_endOfFileWhileChoked(self) -> None:
        """
        The peer's end-of-file likewise waits for the answers before it.
        """
        session = _made(Upper)
        transport = session.transport
        session.dataReceived(b"".join(b"line%d\n" % n for n in range(4)))
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        transport.drain()
        transport.drain()
        self.assertEqual(len(session.lines), 4)
        self.assertTrue(transport.disconnecting)


class LoseConnectionTests(ServedTestCase):
    """
    C{transport.loseConnection()}, called by the protocol itself.
    """

    async def choked(self, wrap, *endpoints):
        """
        Choke a session with 30 MB for a client that does not read, lose the
        connection, and have the client read: all is there, then end-of-file.
        """
        factory = SessionFactory.forProtocol(Upper)
        service = self.serve(factory, *endpoints)
        session, client = await self.session(service)
        client = await in_thread(wrap, client)
        self.addCleanup(client.close)
        await in_thread(client.sendall, b"big\n")
        await until(lambda: session.paused)
        ended = session.whenEnded()
        session.transport.loseConnection()
        await turn()
        self.assertEqual(len(await in_thread(read_to_end, client)), 30_000_001)
        self.assertIs((await ended).reason, EndReason.LOCAL_CLOSED)

    async def test_choked(self) -> None:
        """
        While the transport is full: after the flush the connection ends.
        """
        await self.choked(lambda client: client)

    async def test_chokedTLS(self) -> None:
        """
        Likewise over TLS.
        """
        await self.choked(tls, tls_endpoint())

    async def test_restIsDropped(self) -> None:
        """
        In the middle of a chunk: the lines after it are not delivered.
        """
        factory = SessionFactory.forProtocol(Upper)
        session, client = await self.session(self.serve(factory))
        client.sendall(b"a\nlose\nb\n")
        self.assertEqual(await in_thread(read_to_end, client), b"A\n")
        await until(lambda: session.end)
        self.assertEqual(session.lines, [b"a", b"lose"])

    async def test_stoppedMeanwhile(self) -> None:
        """
        A session that the protocol closes, with a peer that does not read, is
        given a deadline by the stop.
        """
        clock = Clock()
        factory = SessionFactory.forProtocol(Upper, clock=clock)
        service = self.serve(factory)
        session, client = await self.session(service)
        client.sendall(b"big\n")
        await until(lambda: session.paused)
        session.transport.loseConnection()
        stopped = service.stopService()
        elapse(clock, factory.abortAfter)
        await stopped
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)


class AnswerLaterTests(SynchronousTestCase):
    """
    L{Session.answerLater} holds the end back until the answer is written.
    """

    def made(self):
        session = _made(Upper)
        session.dataReceived(b"later\n")
        return session, session.transport

    def test_endOfFile(self) -> None:
        """
        The peer's end-of-file waits for the answer.
        """
        session, transport = self.made()
        session.readConnectionLost()
        self.assertFalse(transport.disconnecting)
        session.later.callback(None)
        self.assertEqual(transport.value(), b"LATE\n")
        self.assertTrue(transport.disconnecting)

    def test_close(self) -> None:
        """
        C{close} waits for the answer, and takes nothing more meanwhile.
        """
        session, transport = self.made()
        session.close()
        self.assertFalse(transport.halfClosed)
        self.assertEqual(transport.producerState, "paused")
        session.later.callback(None)
        self.assertEqual(transport.value(), b"LATE\n")
        self.assertTrue(transport.halfClosed)
        self.assertEqual(transport.producerState, "producing")

    def test_failure(self) -> None:
        """
        A failure is an answer, and stays its owner's to handle.
        """
        session, transport = self.made()
        session.close()
        answer = session.answerLater(Deferred())
        session.later.callback(None)
        self.assertFalse(transport.halfClosed)
        answer.errback(ZeroDivisionError())
        self.assertTrue(transport.halfClosed)
        self.failureResultOf(answer, ZeroDivisionError)

    def test_several(self) -> None:
        """
        The last of several answers counts, in whatever order they come; the
        results are the caller's.
        """
        session = _made(Upper)
        answers = [session.answerLater(Deferred()) for _ in range(3)]
        session.readConnectionLost()
        for answer in (answers[2], answers[0]):
            answer.callback("result")
            self.assertEqual(self.successResultOf(answer), "result")
        self.assertFalse(session.transport.disconnecting)
        answers[1].callback(None)
        self.assertTrue(session.transport.disconnecting)

    def test_notClosing(self) -> None:
        """
        An answer alone closes nothing.
        """
        session, transport = self.made()
        session.later.callback(None)
        self.assertFalse(transport.disconnecting or transport.halfClosed)

    def test_afterTheEnd(self) -> None:
        """
        An answer that comes when the connection is gone does no harm.
        """
        session, transport = self.made()
        session.connectionLost(DONE)
        session.later.callback(None)
        self.assertFalse(transport.disconnecting or transport.halfClosed)

    def test_deadline(self) -> None:
        """
        An answer that never comes is waited for until the deadline.
        """
        session, transport = self.made()
        session.close()
        clock = session.factory.clock
        elapse(clock, session.factory.abortAfter - 0.1)
        self.assertFalse(transport.disconnecting)
        elapse(clock, 0.1)
        self.assertTrue(transport.disconnecting)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED)


class CloseTests(ServedTestCase):
    """
    L{Session.close}: answers, end-of-file, the peer's end-of-file; or the
    deadline.
    """

    async def opened(self, protocol=Upper, *endpoints):
        self.clock = Clock()
        factory = SessionFactory.forProtocol(protocol, clock=self.clock)
        return await self.session(self.serve(factory, *endpoints))

    async def test_inOrder(self) -> None:
        """
        The client gets its answers and end-of-file; what it sends after that is
        discarded, not refused with a reset; its own end-of-file ends it.
        """
        session, client = await self.opened()
        ended = session.whenEnded()
        client.sendall(b"a\n")
        self.assertEqual(await in_thread(collect, client, 2), b"A\n")
        session.close()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        await in_thread(client.sendall, b"ignored\n" * 500_000)
        self.assertIs(session.end, None)
        client.shutdown(socket.SHUT_WR)
        self.assertIs((await ended).reason, EndReason.LOCAL_CLOSED)
        self.assertEqual(await in_thread(client.recv, 1), b"")
        self.assertEqual(session.lines, [b"a"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_flushed(self) -> None:
        """
        Megabytes that were written before are flushed first.
        """
        session, client = await self.opened()
        client.sendall(b"big\n")
        await until(lambda: session.lines)
        session.close()
        self.assertEqual(len(await in_thread(read_to_end, client)), 30_000_001)
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_deadline(self) -> None:
        """
        A peer that does not close is aborted at the deadline, not before.
        """
        session, client = await self.opened()
        session.close()
        self.assertEqual(await in_thread(client.recv, 1), b"")
        elapse(self.clock, session.factory.abortAfter - 0.1)
        await turn()
        self.assertIs(session.end, None)
        elapse(self.clock, 0.1)
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.ABORTED)

    async def test_twice(self) -> None:
        """
        A second call changes neither the reason nor the deadline.
        """
        session, _ = await self.opened()
        session.close()
        elapse(self.clock, 4)
        before = self.clock.getDelayedCalls()
        session.close(EndReason.STOPPED)
        self.assertEqual(self.clock.getDelayedCalls(), before)
        elapse(self.clock, 1)
        await until(lambda: session.end)

    async def test_twiceReason(self) -> None:
        """
        The first caller's reason is told.
        """
        session, client = await self.opened()
        session.close(EndReason.LINE_TOO_LONG)
        session.close(EndReason.STOPPED)
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)
        session.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def midChunk(self, protocol, wrap=lambda client: client, *endpoints):
        """
        Close in the middle of a chunk.
        """
        session, client = await self.opened(protocol, *endpoints)
        client = await in_thread(wrap, client)
        self.addCleanup(client.close)
        client.sendall(b"a\nclose\nb\nc\n")
        await until(lambda: session.lines)
        elapse(self.clock, 0)
        self.assertEqual(await in_thread(read_to_end, client), b"A\nB\nC\n")
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_midChunk(self) -> None:
        """
        The other lines of the chunk are answered, whatever the receiver.
        """
        for protocol in (Upper, StockUpper, OnlyUpper, FastOnlyUpper):
            await self.midChunk(protocol)

    async def test_midChunkTLS(self) -> None:
        """
        Likewise over TLS.
        """
        await self.midChunk(Upper, tls, tls_endpoint())

    async def test_midChunkTLSLineOnly(self) -> None:
        """
        Likewise over TLS, with a receiver that cannot say that it is busy.
        """
        await self.midChunk(FastOnlyUpper, tls, tls_endpoint())

    async def test_unix(self) -> None:
        """
        Over a UNIX socket the client gets all and end-of-file, though it has
        sent more.
        """
        session, client = await self.opened(Upper, f"unix:{self.mktemp()}")
        client.sendall(b"a\n")
        self.assertEqual(await in_thread(collect, client, 2), b"A\n")
        client.sendall(b"not read yet\n")
        session.close()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_tls(self) -> None:
        """
        Over TLS likewise, with a TLS end (C{close_notify}) on both sides.
        """
        session, client = await self.opened(Upper, tls_endpoint())
        client = await in_thread(tls, client)
        self.addCleanup(client.close)
        client.sendall(b"big\n")
        await until(lambda: session.lines)
        client.sendall(b"not read yet\n")
        session.close()

        self.assertEqual(len(await in_thread(read_to_end, client)), 30_000_001)
        await until(lambda: session.end)
        self.assertIs(session.end.reason, EndReason.LOCAL_CLOSED)

    async def test_tlsHandshake(self) -> None:
        """
        A TLS client that never shakes hands cannot keep the session.
        """
        session, _ = await self.opened(Upper, tls_endpoint())
        session.close()
        elapse(self.clock, session.factory.abortAfter)
        await until(lambda: session.end)

    async def test_pausedByProtocol(self) -> None:
        """
        A protocol that has paused itself is waited for, its lines too.
        """
        session, client = await self.opened()
        client.sendall(b"a\npause\nb\n")
        await until(lambda: len(getattr(session, "lines", ())) == 2)
        session.close()
        self.assertFalse(session.transport._writeDisconnecting)
        session.resumeProducing()
        self.assertEqual(await in_thread(read_to_end, client), b"A\nB\n")

    def test_pausedWithNothingLeft(self) -> None:
        """
        It is waited for even if it was given every line: it may have paused in
        order to answer.
        """
        for protocol in (Upper, StockUpper, Plain):
            session = _made(protocol)
            session.pauseProducing()
            session.close()
            self.assertFalse(session.transport.halfClosed, protocol)
            session.resumeProducing()
            self.assertTrue(session.transport.halfClosed, protocol)

    def test_noHalfClose(self) -> None:
        """
        A transport that cannot be closed in one direction is closed in both.
        """
        session = _made(Upper, StringTransport())
        session.close()
        self.assertTrue(session.transport.disconnecting)


class HalfCloseTests(ServedTestCase):
    """
    The peer's end-of-file, as C{SHUT_WR} sends it.
    """

    async def test_answered(self) -> None:
        """
        What came before is answered, C{endOfInput} is asked once, and the
        connection ends.
        """
        asked = []

        class Asked(Upper):
            def endOfInput(self) -> None:
                asked.append(self.clearLineBuffer())
                self.sendLine(b"BYE")

        factory = SessionFactory.forProtocol(Asked)
        session, client = await self.session(self.serve(factory))
        got = await in_thread(pump, client, b"a\nrest")
        self.assertEqual(got, b"A\nBYE\n")
        await until(lambda: session.end)
        self.assertEqual(asked, [b"rest"])

    def test_twice(self) -> None:
        """
        A second end-of-file means nothing.
        """
        session = _made(Upper)
        session.dataReceived(b"later\n")
        session.readConnectionLost()
        session.readConnectionLost()
        self.assertFalse(session.transport.disconnecting)

    def test_afterClose(self) -> None:
        """
        The peer's end-of-file after C{close} asks for no more answers.
        """
        asked = []

        class Asked(Upper):
            def endOfInput(self) -> None:
                asked.append(self)

        session = _made(Asked)
        session.close()
        session.writeConnectionLost()
        session.readConnectionLost()
        self.assertEqual(asked, [])
        self.assertTrue(session.transport.disconnecting)
        session = _made(Asked)
        session.dataReceived(b"later\n")
        session.close()
        session.readConnectionLost()
        self.assertEqual(asked, [])
        self.assertFalse(session.transport.disconnecting)
        session.later.callback(None)
        self.assertTrue(session.transport.disconnecting)


class EndTests(ServedTestCase):
    """
    What a session tells of its end, and to whom.
    """

    async def opened(self, protocol=Upper, *endpoints):
        self.service = self.serve(SessionFactory.forProtocol(protocol), *endpoints)
        return await self.session(self.service)

    async def ends(self, session, reason):
        end = await session.whenEnded()
        self.assertIs(end.reason, reason)
        self.assertIs(session.end, end)
        self.assertEqual(session.factory.sessions, {})
        return end

    async def test_peerClosed(self) -> None:
        session, client = await self.opened()
        client.close()
        await self.ends(session, EndReason.PEER_CLOSED)

    async def test_peerClosedUNIX(self) -> None:
        """
        A peer at a UNIX socket closes both directions at once, which is no loss:
        neither by itself, nor when it was sent its end-of-file.
        """
        session, client = await self.opened(Upper, f"unix:{self.mktemp()}")
        client.close()
        await self.ends(session, EndReason.PEER_CLOSED)
        session, client = await self.opened(Upper, f"unix:{self.mktemp()}")
        session.close(EndReason.STOPPED)
        self.assertEqual(await in_thread(read_to_end, client), b"")
        client.close()
        await self.ends(session, EndReason.STOPPED)

    async def test_localClosed(self) -> None:
        session, client = await self.opened()
        client.sendall(b"lose\n")
        await self.ends(session, EndReason.LOCAL_CLOSED)

    async def test_stopped(self) -> None:
        session, client = await self.opened()
        stopped = self.service.stopService()
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await stopped
        await self.ends(session, EndReason.STOPPED)

    async def test_lineTooLong(self) -> None:
        factory = EchoFactory(EchoConfig(maxLength=3))
        session, client = await self.session(self.serve(factory))
        client.sendall(b"over\n")
        self.assertEqual(await in_thread(read_to_end, client), b"")
        await self.ends(session, EndReason.LINE_TOO_LONG)

    async def test_aborted(self) -> None:
        session, client = await self.opened()
        session.abort()
        await self.ends(session, EndReason.ABORTED)
        with self.assertRaises(ConnectionResetError):
            await in_thread(client.recv, 1)

    async def test_abortedByTransport(self) -> None:
        session, _ = await self.opened()
        session.transport.abortConnection()
        await self.ends(session, EndReason.ABORTED)

    async def test_connectionLost(self) -> None:
        session, client = await self.opened()
        reset(client)
        await self.ends(session, EndReason.CONNECTION_LOST)

    async def test_tlsError(self) -> None:
        """
        What is no TLS ends as a connection lost, not as an error of ours.
        """
        service = self.serve(SessionFactory.forProtocol(Upper), tls_endpoint())
        session, client = await self.session(service)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        await self.ends(session, EndReason.CONNECTION_LOST)

    async def test_error(self) -> None:
        session, client = await self.opened()
        client.sendall(b"fail\n")
        await self.ends(session, EndReason.ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_errorAtEndOfFile(self) -> None:
        class Failing(Upper):
            def endOfInput(self) -> None:
                raise ZeroDivisionError

        session, client = await self.opened(Failing)
        client.shutdown(socket.SHUT_WR)
        await self.ends(session, EndReason.ERROR)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_connectionLostRaises(self) -> None:
        """
        A session whose protocol fails in C{connectionLost} has ended all the
        same.
        """

        class Base(Protocol):
            def connectionLost(self, reason: Any = None) -> None:
                raise ZeroDivisionError

        class Failing(Session, Base):
            pass

        session, client = await self.opened(Failing)
        client.close()
        await until(lambda: session.transport.disconnected)
        self.addCleanup(session.factory.sessions.clear)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(session.factory.sessions, {})
        self.assertIs(session.end.reason, EndReason.PEER_CLOSED)

    def test_counts(self) -> None:
        """
        The record tells how much was received, and how long it took.
        """
        session = _made(Upper)
        session.dataReceived(b"a\nb")
        session.dataReceived(b"c\n")
        elapse(session.factory.clock, 2.5)
        session.connectionLost(DONE)
        self.assertEqual(session.end.bytesReceived, 5)
        self.assertEqual(session.end.seconds, 2.5)
        self.assertIs(session.end.reason, EndReason.PEER_CLOSED)

    def test_reasonsAreDistinct(self) -> None:
        """
        What logs and metrics show is one word for each reason.
        """
        self.assertEqual(len(EndReason.__members__), len(EndReason))


class WhenEndedTests(SynchronousTestCase):
    """
    L{Session.whenEnded}: everybody who asks gets a Deferred of his own.
    """

    def test_own(self) -> None:
        """
        Each fires with the same record, after the session left the factory.
        """
        session = _made(Upper)
        seen = []
        askers = [session.whenEnded() for _ in range(3)]
        for asker in askers:
            asker.addCallback(lambda end: seen.append((end, len(sessions))))  # type: ignore[has-type]
        sessions = session.factory.sessions
        self.assertEqual(len(set(map(id, askers))), 3)
        session.connectionLost(DONE)
        self.assertEqual(seen, [(session.end, 0)] * 3)

    def test_afterTheEnd(self) -> None:
        """
        It is told at once when it is asked for later.
        """
        session = _made(Upper)
        session.connectionLost(DONE)
        first, second = session.whenEnded(), session.whenEnded()
        self.assertIsNot(first, second)
        for asker in (first, second):
            self.assertIs(self.successResultOf(asker), session.end)

    def test_cancel(self) -> None:
        """
        To cancel one is no business of the session, the factory or the others.
        """
        session = _made(Upper)
        first, second, third = (session.whenEnded() for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertIn(session, session.factory.sessions)
        session.connectionLost(DONE)
        for asker in (first, third):
            self.assertIs(self.successResultOf(asker), session.end)

    def test_cancelAnother(self) -> None:
        """
        One who is told may cancel another who is not told yet.
        """
        session = _made(Upper)
        first, second, third = (session.whenEnded() for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        session.connectionLost(DONE)
        self.failureResultOf(second, CancelledError)
        self.assertIs(self.successResultOf(third), session.end)

    def test_disturb(self) -> None:
        """
        A callback that returns a Deferred, fails or changes the result is its
        asker's alone.
        """
        session = _made(Upper)
        askers = [session.whenEnded() for _ in range(4)]
        askers[0].addCallback(lambda _: Deferred())
        askers[1].addCallback(lambda _: 1 // 0)
        askers[2].addCallback(lambda _: None)
        session.connectionLost(DONE)
        self.assertNoResult(askers[0])
        self.failureResultOf(askers[1], ZeroDivisionError)
        self.assertIs(self.successResultOf(askers[2]), None)
        self.assertIs(self.successResultOf(askers[3]), session.end)
        self.assertIs(self.successResultOf(session.whenEnded()), session.end)

    def test_twice(self) -> None:
        """
        A transport that reports its end twice ends the session once.
        """
        session = _made(Upper)
        asker = session.whenEnded()
        session.connectionLost(DONE)
        end = self.successResultOf(asker)
        session.connectionLost(DONE)
        self.assertIs(session.end, end)

    def test_raises(self) -> None:
        """
        An asker's exception, which refers to what called it, does not keep the session.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        # (This transport would keep the producer that throttles it.)
        session = _made(type("Free", (Upper,), {"backpressure": False}))
        asker: Deferred[Any] = session.whenEnded().addCallback(lambda _: 1 // 0)
        gone = ref(session)
        session.connectionLost(DONE)
        del session
        # (An old pytest keeps the traceback of each failure in there.)
        vars(asker.result).pop("_rawexcinfo", None)
        self.assertIs(gone(), None)
        self.failureResultOf(asker, ZeroDivisionError)

    def test_cancelledIsForgotten(self) -> None:
        """
        Somebody who asks again and again, and gives up each time, leaves
        nothing behind.
        """
        session = _made(Upper)
        cancelled = session.whenEnded()
        cancelled.addErrback(lambda failure: failure.trap(CancelledError))
        cancelled.cancel()
        gone = ref(cancelled)
        del cancelled
        self.assertIs(gone(), None)


class TLSBackpressureTests(ServedTestCase):
    """
    Backpressure over TLS.
    """

    async def test_choked(self) -> None:
        """
        A TLS client that sends and does not read is not read from; when it
        reads, everything is there.
        """
        factory = EchoFactory()
        session, client = await self.session(self.serve(factory, tls_endpoint()))
        client = await in_thread(tls, client)
        self.addCleanup(client.close)
        client.settimeout(0.5)
        data = b"0123456789abcde\n" * 1_000_000

        def fill() -> int:
            sent = 0
            try:
                while sent < len(data):
                    sent += client.send(data[sent : sent + 16384])
            except TimeoutError:
                pass
            return sent

        sent = await in_thread(fill)
        self.assertTrue(session.paused)
        self.assertLess(session.bytesReceived, len(data))
        bottom = bottomTransport(session.transport)
        held = len(bottom.dataBuffer) + bottom._tempDataLen
        self.assertLess(held, 4 * 65536)
        client.settimeout(20)
        # What was cut off by the time-out was not sent, or is sent by OpenSSL.
        whole = sent - sent % 16384
        got = await in_thread(collect, client, whole)
        self.assertEqual(got, data[:whole])


class ConnectTests(ServedTestCase):
    """
    The helpers of these tests.
    """

    async def test_stick(self) -> None:
        """
        L{stick} ends when a server takes no more, and the server still serves
        others.
        """
        factory = SessionFactory.forProtocol(Plain)
        service = self.serve(factory)
        client = self.client(service, receive_buffer=65536)
        sent = await in_thread(stick, client, b"x" * 100_000_000)
        self.assertLess(sent, 100_000_000)
        other = connect(service.addresses[0])
        self.assertEqual(await in_thread(pump, other, b"hello"), b"HELLO")


class ReasonTests(SynchronousTestCase):
    """
    What is told of a session's end, and what can be asked before.
    """

    def test_detail(self) -> None:
        """
        What its closer had to say is kept; what a second one says is not.
        """
        session = _made(Upper)
        session.close(EndReason.LINE_TOO_LONG, "by 7 bytes")
        session.close(EndReason.IDLE, "since Monday")
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)
        self.assertEqual(session.end.detail, "by 7 bytes")

    def test_noDetail(self) -> None:
        session = _made(Upper)
        session.connectionLost(DONE)
        self.assertEqual(session.end.detail, "")

    def test_abortReason(self) -> None:
        """
        The first who cuts it off says why.
        """
        session = _made(Upper)
        session.abort(EndReason.WRITE_TIMEOUT)
        session.abort(EndReason.OVER_BUFFERED)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.WRITE_TIMEOUT)

    def test_abortAfterClose(self) -> None:
        """
        Who closed it for an offence has said why; other closings say less than the
        abort.
        """
        for closing, told in (
            (EndReason.IDLE, EndReason.IDLE),
            (EndReason.LINE_TIMEOUT, EndReason.LINE_TIMEOUT),
            (EndReason.LINE_TOO_LONG, EndReason.LINE_TOO_LONG),
            (EndReason.STOPPED, EndReason.WRITE_TIMEOUT),
            (EndReason.LOCAL_CLOSED, EndReason.WRITE_TIMEOUT),
        ):
            session = _made(Upper)
            session.close(closing)
            session.abort(EndReason.WRITE_TIMEOUT)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, told)

    def test_closedWhileClosing(self) -> None:
        """
        A connection that the protocol closed itself, and that does not end: what
        found it so is told. (Such as under TLS, when the peer says no farewell.)
        """
        for reason, told in (
            (EndReason.IDLE, EndReason.IDLE),
            (EndReason.STOPPED, EndReason.ABORTED_IN_DRAIN),
        ):
            session = _made(Upper)
            session.transport.loseConnection()
            session.close(reason)
            elapse(session.factory.clock, session.factory.abortAfter)
            session.connectionLost(DONE)
            self.assertIs(session.end.reason, told)

    def test_states(self) -> None:
        """
        Whether more is expected of the peer, and whether it is being closed or was
        cut off.
        """

        def states(session: Any) -> tuple[bool, bool, bool]:
            return session.expectsInput, session.isClosing, session.isAborted

        session = _made(Upper)
        self.assertEqual(states(session), (True, False, False))
        session.close()
        self.assertEqual(states(session), (False, True, False))
        session = _made(Upper)
        session.abort()
        self.assertEqual(states(session), (False, False, True))
        session = _made(Upper)
        session.answerLater(Deferred())
        session.readConnectionLost()
        self.assertEqual(states(session), (False, False, False))
        session = _made(Upper)
        session.transport.loseConnection()
        self.assertEqual(states(session), (False, False, False))

    def test_peer(self) -> None:
        """
        The peer is the transport's; who has no transport, or one that cannot tell,
        has none.
        """
        session = _made(Upper)
        self.assertEqual(session.peer, session.transport.getPeer())
        session.transport = object()
        self.assertIs(session.peer, None)

    def test_began(self) -> None:
        clock = Clock()
        elapse(clock, 7)
        self.assertEqual(_made(Upper, clock=clock).began, 7)

    def test_mark(self) -> None:
        """
        What is remembered of a session is its own, and none before it is looked
        at.
        """
        first, second = _made(Upper), _made(Upper)
        self.assertIs(first.lastSeen, None)
        elapse(first.factory.clock, 10)
        self.assertIsNot(first.lastSeen, None)
        self.assertIs(second.lastSeen, None)

    def test_factoryIsTold(self) -> None:
        """
        The factory hears when its input stops and goes on because of the
        transport, not because of the protocol.
        """
        session = _made(Upper)
        told = []
        session.factory.inputStopped = lambda who: told.append(("stopped", who))
        session.factory.inputStarted = lambda who: told.append(("started", who))
        session.pauseProducing()
        session.resumeProducing()
        self.assertEqual(told, [])
        session.transport.producer.pauseProducing()
        session.transport.producer.resumeProducing()
        self.assertEqual(told, [("stopped", session), ("started", session)])
