"""
What is counted of a session: lines and bytes, each once, and how it has ended.
"""

import errno
import os
import select
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.clients import (
    ServedTestCase,
    collect,
    in_thread,
    read_to_end,
    tls,
    tls_endpoint,
    until,
)
from tests.support.counting_transports import Counting, Waiting
from tests.support.line_receivers import (
    LenientTransport,
    Scripted,
    actions,
    steps_of,
    thorough,
)
from tests.support.loop import (
    TCP,
    UNIX,
    LoopTestCase,
    close_with_reset,
    wait_for_event,
)
from tests.support.reference import chunks_of, delimiters, limits, split_lines
from twisted_echo import (
    EchoConfig,
    EchoFactory,
    EchoProtocol,
    EndReason,
    FastLineOnlyReceiver,
    FastLineReceiver,
    Session,
    SessionFactory,
)
from twisted_echo.session.session import Session as _Session
from twisted_echo.testing.clocks import elapse

DONE = Failure(ConnectionDone())

# Lines


class CountingLines(Scripted, Session, FastLineReceiver):
    """
    Does in each line what a script says.
    """


def echo_session(
    transport: Counting | None = None, measure: bool = True, **config: Any
) -> Any:
    factory = EchoFactory(EchoConfig(measure=measure, **config), clock=Clock())
    session = factory.buildProtocol(None)
    assert session is not None
    session.makeConnection(Counting() if transport is None else transport)
    return session


class LineCountTests(SynchronousTestCase):
    @given(
        delimiter=delimiters,
        limit=limits,
        script=st.lists(actions, max_size=30),
        steps=steps_of(),
    )
    @thorough
    def test_delivered(
        self, delimiter: bytes, limit: int, script: list[Any], steps: list[Any]
    ) -> None:
        """
        Whatever is done in a line or between two chunks, pausing and switching the
        mode among it: as many lines are counted as were delivered, each once.
        """
        session = CountingLines(script)
        session.delimiter, session.MAX_LENGTH = delimiter, limit
        # Not a session of a factory, which would have more to do with the script.
        session.transport = LenientTransport()
        for step in steps:
            session.step(step)
            delivered = sum(event[0] == "line" for event in session.events)
            self.assertEqual(session.linesDelivered, delivered, session.events)

    @given(chunks=chunks_of(), delimiter=delimiters, limit=limits)
    @thorough
    def test_lineOnly(self, chunks: list[bytes], delimiter: bytes, limit: int) -> None:
        """
        So it is with the simple receiver, however the lines are cut.
        """

        class Lines(FastLineOnlyReceiver):
            seen = 0

            def lineReceived(self, line: bytes) -> None:
                self.seen += 1

        receiver = Lines()
        receiver.delimiter, receiver.MAX_LENGTH = delimiter, limit
        receiver.makeConnection(LenientTransport())
        for chunk in chunks:
            receiver.dataReceived(chunk)
            self.assertEqual(receiver.lineCount, receiver.seen)

    @given(chunks=chunks_of(), delimiter=delimiters, limit=limits.filter(bool))
    @thorough
    def test_echo(self, chunks: list[bytes], delimiter: bytes, limit: int) -> None:
        """
        Echo counts the lines that it sends back, whatever ends them: a delimiter
        that overlaps itself among the rest.
        """
        session = echo_session(delimiter=delimiter, maxLength=limit)
        for chunk in chunks:
            session.dataReceived(chunk)
        expected = split_lines(b"".join(chunks), delimiter, limit)
        self.assertEqual(session.lineCount, len(expected.lines))
        session.connectionLost(DONE)
        self.assertEqual(session.end.lines, len(expected.lines))

    def test_overlapping(self) -> None:
        """
        Five times C{a} is two lines that C{aa} ends.
        """
        for cut in range(6):
            session = echo_session(delimiter=b"aa")
            session.dataReceived(b"aaaaa"[:cut])
            session.dataReceived(b"aaaaa"[cut:])
            self.assertEqual(session.lineCount, 2)

    def test_notMeasuring(self) -> None:
        """
        Unless it is told to, echo does not look at its lines.
        """
        session = echo_session(measure=False)
        session.dataReceived(b"a\nb\n")
        self.assertEqual((session.lineCount, session.transport.bytesSent), (0, 4))
        self.assertIs(type(session), EchoProtocol)

    def test_notCountedByItself(self) -> None:
        """
        One that takes blocks itself and does not count has counted nothing, and not
        less than that when it takes lines back.
        """

        class Own(Session, FastLineReceiver):
            delimiter = b"\n"
            taken = b""

            def blockReceived(self, block: bytes) -> object:
                return self.linesReceived(block.split(b"\n")[:-1])

            def lineReceived(self, line: bytes) -> None:
                self.taken = self.clearLineBuffer()

        session = Own()
        session.makeConnection(StringTransport())
        session.dataReceived(b"a\nb\nc\n")
        self.assertEqual(session.taken, b"b\nc\n")
        self.assertEqual((session.lineCount, session.linesDelivered), (0, 0))

    def test_otherProtocols(self) -> None:
        """
        One that has no lines has none.
        """
        self.assertEqual(_Session().linesDelivered, 0)


# The end of input


class EndOfInputTests(SynchronousTestCase):
    """
    C{half-closed} is one that still was to get something when its peer had sent the
    last byte; C{peer-closed} one that had got all.
    """

    def ended(self, session: Any) -> EndReason:
        session.connectionLost(DONE)
        reason: EndReason = session.end.reason
        return reason

    def test_nothingOwed(self) -> None:
        session = echo_session()
        session.dataReceived(b"a\n")
        session.readConnectionLost()
        self.assertTrue(session.transport.disconnecting)
        self.assertIs(self.ended(session), EndReason.PEER_CLOSED)

    def test_nothingAtAll(self) -> None:
        session = echo_session()
        session.readConnectionLost()
        self.assertIs(self.ended(session), EndReason.PEER_CLOSED)

    def test_noHalfClose(self) -> None:
        """
        A connection that is told to be lost at once, as one end-of-file alone is
        none.
        """
        session = echo_session()
        session.dataReceived(b"rest")
        self.assertIs(self.ended(session), EndReason.PEER_CLOSED)

    def test_rest(self) -> None:
        """
        What was left is sent back after the end.
        """
        session = echo_session(Waiting())
        session.dataReceived(b"a\nrest")
        session.transport._tempDataBuffer.clear()
        session.readConnectionLost()
        self.assertEqual(session.transport._tempDataBuffer, [b"rest"])
        self.assertIs(self.ended(session), EndReason.HALF_CLOSED)

    def test_pendingOutput(self) -> None:
        """
        What had been answered before waits to be sent.
        """
        factory = EchoFactory(EchoConfig(), clock=Clock())
        session: Any = factory.buildProtocol(None)
        session.makeConnection(Waiting())
        session.dataReceived(b"a\n")
        session.readConnectionLost()
        self.assertIs(self.ended(session), EndReason.HALF_CLOSED)

    def test_notCounting(self) -> None:
        """
        With a transport that does not count, what waits is enough to tell by.
        """

        class Uncounted(Waiting):
            bytesSent = None  # type: ignore[assignment]

        for data, reason in (
            (b"rest", EndReason.HALF_CLOSED),
            (b"", EndReason.PEER_CLOSED),
        ):
            factory = EchoFactory(EchoConfig(), clock=Clock())
            session: Any = factory.buildProtocol(None)
            session.makeConnection(Uncounted())
            session.dataReceived(data)
            session.readConnectionLost()
            self.assertIs(self.ended(session), reason)
            self.assertIsNone(session.end.bytesSent)

    def test_answerInFlight(self) -> None:
        session = echo_session()
        answer: Deferred[None] = Deferred()
        session.answerLater(answer)
        session.readConnectionLost()
        self.assertFalse(session.transport.disconnecting)
        answer.callback(None)
        self.assertTrue(session.transport.disconnecting)
        self.assertIs(self.ended(session), EndReason.HALF_CLOSED)

    def test_answeredBefore(self) -> None:
        session = echo_session()
        answer: Deferred[None] = Deferred()
        session.answerLater(answer)
        answer.callback(None)
        session.readConnectionLost()
        self.assertIs(self.ended(session), EndReason.PEER_CLOSED)

    def test_paused(self) -> None:
        """
        Lines wait until the protocol goes on.
        """

        class Pausing(Session, FastLineReceiver):
            delimiter = b"\n"

            def lineReceived(self, line: bytes) -> None:
                self.pauseProducing()

        factory: Any = SessionFactory.forProtocol(Pausing, clock=Clock())
        session = factory.buildProtocol(None)
        session.makeConnection(Counting())
        session.dataReceived(b"a\nb\n")
        session.readConnectionLost()
        session.resumeProducing()
        session.resumeProducing()
        self.assertIs(self.ended(session), EndReason.HALF_CLOSED)
        self.assertEqual(session.end.lines, 2)

    def test_closedBefore(self) -> None:
        """
        One that the service had closed before has ended for that, whatever it was to
        get.
        """
        session = echo_session()
        session.dataReceived(b"rest")
        session.close(EndReason.STOPPED)
        session.readConnectionLost()
        self.assertIs(self.ended(session), EndReason.STOPPED)

    def test_lostAfterwards(self) -> None:
        """
        A reset after the end-of-file is a reset.
        """
        session = echo_session()
        session.dataReceived(b"rest")
        session.readConnectionLost()
        session.connectionLost(Failure(ConnectionLost()))
        self.assertIs(session.end.reason, EndReason.CONNECTION_LOST)


class DrainTests(SynchronousTestCase):
    """
    C{aborted-in-drain} is one that a stop cuts off.
    """

    def test_deadline(self) -> None:
        """
        By its own deadline, or by the service's; not one that was cut off before.
        """
        session = echo_session()
        session.close(EndReason.STOPPED)
        elapse(session.factory.clock, session.factory.abortAfter)
        self.assertTrue(session.isAborted)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED_IN_DRAIN)

    def test_offenceSaysMore(self) -> None:
        """
        One that was closed for an offence has ended by that.
        """
        session = echo_session(maxLength=3)
        session.dataReceived(b"too long")
        session.factory.closeSessions(EndReason.STOPPED)
        session.factory.abortSessions(EndReason.ABORTED_IN_DRAIN)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.LINE_TOO_LONG)

    def test_localClose(self) -> None:
        """
        A close that nobody stopped, cut off, is an abort like any.
        """
        session = echo_session()
        session.close()
        elapse(session.factory.clock, session.factory.abortAfter)
        session.connectionLost(DONE)
        self.assertIs(session.end.reason, EndReason.ABORTED)

    def test_lengths(self) -> None:
        """
        The record has how long they lasted, whatever they ended by.
        """
        session = echo_session()
        factory = session.factory
        elapse(factory.clock, 0.05)
        session.abort()
        session.connectionLost(DONE)
        self.assertEqual(factory.counters.durations.counts, [0, 1, 0, 0, 0, 0, 0, 0, 0])

    def test_serial(self) -> None:
        """
        Sessions are numbered from 1 up, and no number comes twice.
        """
        first = echo_session()
        factory = first.factory
        first.connectionLost(DONE)
        second = factory.buildProtocol(None)
        second.makeConnection(Counting())
        self.assertEqual((first.serial, second.serial), (1, 2))
        # Of a protocol that no factory keeps there is none.
        self.assertEqual(EchoProtocol().serial, 0)


# Bytes sent, by the transports of the eager reactor


class BytesSentTests(LoopTestCase):
    def test_everyWay(self) -> None:
        """
        Gathered writes, writes from outside, sequences, empty ones: each byte that
        the peer gets counts once, on each kind of connection.
        """
        for kind in TCP + UNIX:
            loop = self.eager()
            protocol, peer = loop.link(kind)
            transport = protocol.transport
            self.assertEqual(transport.bytesSent, 0)

            def answer(data: bytes, transport: Any = transport) -> None:
                for piece in (b"a", b"", b"bc"):
                    transport.write(piece)
                transport.writeSequence([b"d", b"", b"ef"])

            protocol.onReceived = answer
            peer.sendall(b"x")
            self.assertEqual(loop.take(peer, 6), b"abcdef", kind)
            self.assertEqual(transport.bytesSent, 6, kind)
            transport.write(b"1234")
            transport.writeSequence([b"5", b"6"])
            transport.writeSequence(iter([b"7"]))
            transport.write(b"")
            self.assertEqual(loop.take(peer, 7), b"1234567", kind)
            self.assertEqual(transport.bytesSent, 13, kind)

    def test_slowReader(self) -> None:
        """
        What the kernel does not take at once counts when it does: by C{doWrite}, a
        part at a time.
        """
        size = 5_000_000
        for kind in ("accepted TCP", "accepted UNIX"):
            loop = self.eager()
            protocol, peer = loop.link(kind, sendBuffer=1 << 14)
            transport = protocol.transport
            protocol.onReceived = lambda data, to=transport: to.write(b"x" * size)
            peer.sendall(b"x")
            loop.until(lambda to=transport: to.bytesSent)
            for _ in range(20):
                loop.turn()
            pending = len(transport.dataBuffer) - transport.offset
            pending += sum(map(len, transport._tempDataBuffer))
            self.assertGreater(pending, 0, kind)
            self.assertEqual(transport.bytesSent + pending, size, kind)
            self.assertEqual(len(loop.take(peer, size)), size, kind)
            self.assertEqual(transport.bytesSent, size, kind)

    def test_partialSends(self) -> None:
        """
        A kernel that takes some, none, and fails for a moment.
        """
        loop = self.eager()
        protocol, peer = loop.link("adopted TCP", tap=True)
        transport = protocol.transport
        transport.socket.plan = [
            3,
            OSError(errno.EAGAIN, "full"),
            1,
            OSError(errno.ENOBUFS, "full"),
        ]
        transport.write(b"0123456789")
        loop.turn()
        self.assertEqual(transport.bytesSent, 3)
        self.assertEqual(loop.take(peer, 10), b"0123456789")
        self.assertEqual(transport.bytesSent, 10)
        self.assertEqual(sum(map(len, transport.socket.sent)), 10)

    def test_reset(self) -> None:
        """
        A send that fails has sent nothing; what was sent before stays counted.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted TCP")
        transport = protocol.transport
        transport.write(b"before")
        loop.turn()
        wait_for_event(peer, select.POLLIN)
        close_with_reset(peer)
        wait_for_event(transport, select.POLLERR)
        transport.write(b"after")
        loop.until(lambda: protocol.reason)
        self.assertEqual(transport.bytesSent, 6)

    def test_fileDescriptor(self) -> None:
        """
        The byte that a descriptor travels with counts like any.
        """
        loop = self.eager()
        protocol, peer = loop.link("accepted UNIX")
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        protocol.transport.write(b"ab")
        protocol.transport.sendFileDescriptor(reader)
        loop.turn()
        data, descriptors, _, _ = socket.recv_fds(peer, 10, 1)
        for each in descriptors:
            os.close(each)
        self.assertEqual((data, len(descriptors)), (b"a", 1))
        self.assertEqual(loop.take(peer, 1), b"b")
        self.assertEqual(protocol.transport.bytesSent, 2)

    def test_session(self) -> None:
        """
        A session has its transport's count, at its end too.
        """
        loop = self.eager()
        factory = EchoFactory(EchoConfig(), clock=loop.reactor)
        session: Any = factory.buildProtocol(None)
        _, peer = loop.link("accepted TCP", session)
        peer.sendall(b"a\nb")
        self.assertEqual(loop.take(peer, 2), b"a\n")
        self.assertEqual(session.bytesSent, 2)
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(loop.drain(peer), (b"b", "end of file"))
        loop.until(lambda: session.end)
        self.assertEqual((session.end.bytesSent, factory.counters.bytesSent), (3, 3))
        self.assertIs(session.end.reason, EndReason.HALF_CLOSED)

    def test_own(self) -> None:
        """
        A protocol that counts by itself has its own count, at its end too.
        """

        class Own(Session, FastLineReceiver):
            bytesSent = 7  # type: ignore[assignment]

        factory = SessionFactory.forProtocol(Own, clock=Clock())
        session: Any = factory.buildProtocol(None)
        session.makeConnection(StringTransport())
        session.connectionLost(DONE)
        self.assertEqual((session.end.bytesSent, factory.counters.bytesSent), (7, 7))


class OtherTransportsTests(ServedTestCase):
    """
    Of transports that do not count, nothing is made up.
    """

    async def test_twistedsTLS(self) -> None:
        """
        Twisted's own TLS does not know how many bytes it has been given.
        """
        service = self.serve(EchoFactory(EchoConfig()), tls_endpoint())
        session, client = await self.session(service)
        # As on the eager reactor, whose count is of what is encrypted.
        session.transport.transport.bytesSent = 77
        client = await in_thread(tls, client)
        await in_thread(client.sendall, b"a\n")
        self.assertEqual(await in_thread(collect, client, 2), b"a\n")
        self.assertIsNone(session.bytesSent)
        self.assertIsNone(service.snapshot().bytesSent)
        reading = in_thread(read_to_end, client)
        session.close()
        await reading
        await until(lambda: session.end)
        self.assertIsNone(session.end.bytesSent)

    async def test_startTLS(self) -> None:
        """
        Nor does a connection that turned to TLS.
        """
        session = echo_session()
        self.assertEqual(session.bytesSent, 0)
        session.transport.TLS = True
        self.assertIsNone(session.bytesSent)


# Connections that cannot be accepted
