"""
L{twisted_echo.session.ends.closing}: answers, end-of-file, and the deadline.
"""

import gc
import socket
from typing import Any
from weakref import ref

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from tests.support.clients import (
    FullTransport,
    ServedTestCase,
    collect,
    in_thread,
    pump,
    read_to_end,
    tls,
    tls_endpoint,
    turn,
    until,
)
from tests.support.sessions import (
    DONE,
    FastOnlyUpper,
    OnlyUpper,
    Plain,
    StockUpper,
    Upper,
    made,
)
from twisted_echo import (
    EndReason,
    SessionFactory,
)
from twisted_echo.testing.clocks import elapse


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
            session = made(protocol)
            session.pauseProducing()
            session.close()
            self.assertFalse(session.transport.halfClosed, protocol)
            session.resumeProducing()
            self.assertTrue(session.transport.halfClosed, protocol)

    def test_noHalfClose(self) -> None:
        """
        A transport that cannot be closed in one direction is closed in both.
        """
        session = made(Upper, StringTransport())
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
        session = made(Upper)
        session.dataReceived(b"later\n")
        session.readConnectionLost()
        session.readConnectionLost()
        self.assertFalse(session.transport.disconnecting)

    def test_leavesNothing(self) -> None:
        """
        A transport that keeps its producer for good keeps no session by it.
        """
        gc.disable()
        self.addCleanup(gc.enable)
        for kind in (StringTransport, FullTransport):
            transport: Any = kind()
            session = made(Plain, transport)
            self.assertIsNotNone(transport.producer)
            session.readConnectionLost()
            session.connectionLost(DONE)
            self.assertIsNone(transport.producer)
            alive = ref(session), ref(transport)
            del session, transport
            self.assertEqual([each() for each in alive], [None, None], kind)

    def test_afterClose(self) -> None:
        """
        The peer's end-of-file after C{close} asks for no more answers.
        """
        asked = []

        class Asked(Upper):
            def endOfInput(self) -> None:
                asked.append(self)

        session = made(Asked)
        session.close()
        session.writeConnectionLost()
        session.readConnectionLost()
        self.assertEqual(asked, [])
        self.assertTrue(session.transport.disconnecting)
        session = made(Asked)
        session.dataReceived(b"later\n")
        session.close()
        session.readConnectionLost()
        self.assertEqual(asked, [])
        self.assertFalse(session.transport.disconnecting)
        session.later.callback(None)
        self.assertTrue(session.transport.disconnecting)


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
